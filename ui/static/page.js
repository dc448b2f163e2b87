// Helpers that the widgets of the page share. Loaded once, in the head.
window.playground = (() => {
  const box = (id) => document.querySelector(`#${id} textarea, #${id} input`);

  // Gradio's boxes listen for "input"; setting the value alone would go unseen.
  const fill = (id, text) => {
    const field = box(id);
    if (!field) return;
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new Event("change", { bubbles: true }));
  };

  const check = (id, on) => {
    const field = document.querySelector(`#${id} input[type=checkbox]`);
    if (field && field.checked !== on) field.click();
  };

  // make("button.seed", {title: "…"}, "text", child …): text is set as text, never parsed.
  const make = (what, attributes = {}, ...children) => {
    const [tag, ...classes] = what.split(".");
    const element = document.createElement(tag);
    if (classes.length) element.className = classes.join(" ");
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false && value != null) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
  };

  // Only files of this server: a picture's address comes out of JSON, and a page never loads from elsewhere.
  const address = (file) => {
    if (!file?.url) return "";
    const url = new URL(file.url, location.href);
    return url.origin === location.origin ? url.href : "";
  };

  const after = (wait, action) => {
    let timer = 0;
    const later = (...given) => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        timer = 0;
        action(...given);
      }, wait);
    };
    later.drop = () => {
      clearTimeout(timer);
      timer = 0;
    };
    later.waiting = () => timer !== 0;
    return later;
  };

  // Behind transparent pictures: one choice for the whole page, kept while it is open.
  const grounds = ["checker", "white", "dark"];
  const walls = new Set();
  let ground = grounds[0];
  const choose = (name) => {
    ground = name;
    for (const wall of walls) {
      wall.dataset.ground = name;
      for (const button of wall.querySelectorAll("button.ground")) button.setAttribute("aria-pressed", button.dataset.ground === name);
    }
  };
  const groundSwitch = (root) => {
    const group = make("div.grounds", { role: "group", "aria-label": "Background behind the pictures" });
    for (const name of grounds) {
      const label = `${name === "checker" ? "Checkerboard" : name === "white" ? "White" : "Dark"} background`;
      const button = make(`button.ground.${name}`, { type: "button", "data-ground": name, "aria-label": label, title: label });
      button.addEventListener("click", () => choose(name));
      group.append(button);
    }
    walls.add(root);
    queueMicrotask(() => choose(ground)); // once the group stands in its wall
    return group;
  };

  return { box, fill, check, make, address, after, groundSwitch };
})();
