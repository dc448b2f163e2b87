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

  // The name by which the server tells this page's newer questions from its older ones.
  const visitor = crypto.getRandomValues(new Uint32Array(4)).join("-");

  // Links. A widget takes the link that the page was opened with, once, if it has the part that is its own.
  let opened = location.hash;
  const parts = () => new URLSearchParams(opened.slice(1));
  const takeLink = (part) => {
    if (!parts().has(part)) return "";
    const link = opened;
    opened = "";
    // What is drawn next is something else: a reload should not bring the old one back.
    history.replaceState(null, "", location.pathname + location.search);
    return link;
  };
  // A widget that opens links of its own kind: the page's, and those that are opened while it is there.
  const openers = new Map();
  const onLink = (part, open) => {
    openers.set(part, open);
    const link = takeLink(part);
    if (link) open(link);
  };
  const openLink = (behind) => {
    opened = `#${behind}`;
    for (const [part, open] of openers) {
      const link = takeLink(part);
      if (link) open(link);
    }
  };
  const linkTo = (behind) => `${location.origin}${location.pathname}${location.search}#${behind}`;
  addEventListener("hashchange", () => location.reload());
  const tabOf = (id) => document.querySelector(`#tabs [role=tab][data-tab-id="${id}"]`);
  const openTab = (id) => tabOf(id)?.click();
  const tabsOfLinks = { from: "interpolate", mix: "mix" };
  const wantedTab = Object.keys(tabsOfLinks).find((part) => parts().has(part));
  if (wantedTab) {
    // A tab's widgets are made when it is first seen, and its button comes with the page.
    const look = setInterval(() => {
      const button = tabOf(tabsOfLinks[wantedTab]);
      if (!button) return;
      clearInterval(look);
      button.click();
    }, 50);
  }

  const copy = async (text, button) => {
    const label = button.textContent;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Pages that are served without encryption have no clipboard of the newer kind.
      const field = make("textarea.unseen", { "aria-hidden": "true" });
      field.value = text;
      document.querySelector(".gradio-container").append(field);
      field.select();
      done = document.execCommand("copy");
      field.remove();
    }
    button.textContent = done ? "Copied" : "Could not copy";
    setTimeout(() => (button.textContent = label), 1600);
  };

  // Asks a widget's server for as long as it says to wait and the widget is there. Never throws: that it can't be reached is an answer.
  const BUSY = 800;
  const asker = (element) => async (question) => {
    for (;;) {
      let answer;
      try {
        answer = await question();
      } catch {
        return { state: "error", message: "The server can't be reached: try again in a moment." };
      }
      if (answer.state !== "waiting" || !element.isConnected) return answer;
      await new Promise((resolve) => setTimeout(resolve, BUSY));
    }
  };

  // Asks a widget's server for files of pictures and saves them. Resolves to a sentence where that fails or something is to be told,
  // else to "". A file of many pictures comes in slices: `news` gets each answer, and says whether to go on.
  const TRIES = 6;
  const saveFiles = async (server, question, news = () => true) => {
    let asked = question;
    let answer;
    for (let tries = TRIES; ; ) {
      try {
        answer = await server.deliver_files({ visitor, ...asked });
      } catch {
        return "The server can't be reached: try again in a moment.";
      }
      if (answer.token) asked = { token: answer.token };
      if (answer.state === "working") tries = TRIES;
      else if (answer.state !== "waiting" || tries-- === 0) break;
      else await new Promise((resolve) => setTimeout(resolve, BUSY));
      if (!news(answer)) {
        server.deliver_files({ visitor, ...asked, stop: true }).catch(() => {}); // given up by itself, if this is lost
        return "";
      }
    }
    if (answer.state !== "done") return answer.message || "The server is busy: try again in a moment.";
    const link = make("a", { href: address({ url: answer.address }), download: answer.name });
    document.body.append(link);
    link.click();
    link.remove();
    return answer.note ?? "";
  };

  // Saving many pictures as one file: how far it is, and a button to stop it. `save` disables `buttons` meanwhile.
  const bulkSaver = (server, say) => {
    const progress = make("span.bulk-progress", { role: "status" });
    const cancel = make("button.tool", { type: "button", hidden: true }, "Cancel");
    let wanted = true;
    cancel.addEventListener("click", () => {
      wanted = false;
      cancel.disabled = true;
      progress.textContent = "Stopping";
    });
    const save = async (question, buttons) => {
      const focused = document.activeElement;
      wanted = true;
      cancel.hidden = cancel.disabled = false;
      for (const button of buttons) button.disabled = true;
      say("");
      progress.textContent = "Making the file";
      const told = await saveFiles(server, question, (answer) => {
        if (wanted && answer.message) progress.textContent = answer.message;
        return wanted;
      });
      for (const button of buttons) button.disabled = false;
      cancel.hidden = true;
      progress.textContent = wanted ? "" : "Stopped";
      say(told);
      if (document.activeElement === document.body) focused?.focus();
    };
    return { save, parts: [progress, cancel] };
  };

  // What the pictures are for: one of the uses of the page, or null.
  const use = (() => {
    const listeners = new Set();
    let chosen = null;
    return {
      chosen: () => chosen,
      listen: (listener) => listeners.add(listener),
      choose: (preset) => {
        chosen = preset;
        for (const listener of listeners) listener();
      },
    };
  })();

  // A picture on a square canvas, whole and in its proportions.
  const paint = (pen, picture, side) => {
    const { width = side, height = side } = picture;
    const scale = side / Math.max(width, height);
    pen.drawImage(picture, (side - width * scale) / 2, (side - height * scale) / 2, width * scale, height * scale);
  };

  // What the loaded model can't do: {feature: reason}, and which part of the page needs which features (ui/abilities.py).
  const abilities = (() => {
    const listeners = new Map(); // a widget's element -> what it does about it
    let needs = {};
    let lacks = {};
    let told = "";
    return {
      why: (part) => (needs[part] ?? []).map((feature) => lacks[feature]).find(Boolean) ?? "",
      // Called at once, and whenever there is another model.
      listen: (element, listener) => {
        listeners.set(element, listener);
        listener();
      },
      tell: (key, now, table) => {
        if (JSON.stringify([key, now]) === told) return;
        told = JSON.stringify([key, now]);
        [lacks, needs] = [now, table];
        for (const [element, listener] of listeners) {
          if (element.isConnected) listener();
          else listeners.delete(element);
        }
      },
      // A sentence in the place of what can't be used; "" takes it away.
      tellIn: (place, reason) => {
        place.hidden = !reason;
        place.textContent = reason;
      },
      lookAgain: () => {},
    };
  })();

  // Behind a picture: other sizes and formats to save, its link, its Python. `kept` is {recipe, link, code}.
  const dropdown = (name, title, label, ...items) =>
    make("details.more", {}, make("summary", { "aria-label": name, title }, label), make("div.items", {}, ...items));
  const item = (text, action, title) => {
    const button = make("button.item", { type: "button", title }, text);
    button.addEventListener("click", () => action(button));
    return button;
  };
  // What an item does that saves a file: `question` is asked of the server, `say` gets a sentence where that fails.
  const saver = (server, question, say) => async (button) => {
    button.disabled = true; // which takes the focus away from it
    say(await saveFiles(server, question()));
    button.disabled = false;
    if (document.activeElement === document.body) button.focus();
  };
  const menu = (name, kept, server, say) => {
    const save = (what, size) => saver(server, () => ({ what, recipes: [kept.recipe], size }), say);
    const sizes = [64, 128, 512, 1024].map((size) => item(`${size}`, save("png", size), `PNG, ${size} by ${size} pixels`));
    const inside = mixture(kept.recipe) ? null : item("Look inside", () => look(kept.recipe), "What the model did, step by step");
    const why = make("p.item-why", { hidden: true });
    const opened = dropdown(
      `Save and share: ${name}`,
      "Save and share",
      "⋯",
      make("div.sizes", { role: "group", "aria-label": "PNG in another size" }, make("span", { "aria-hidden": "true" }, "PNG"), ...sizes),
      item("SVG", save("svg"), "Traced into vector graphics"),
      inside,
      inside ? why : null,
      kept.link ? item("Copy link", (button) => copy(linkTo(kept.link), button), "A link that opens this picture here") : null,
      kept.code ? item("Copy Python", (button) => copy(kept.code, button), "A program that makes this picture") : null,
    );
    opened.addEventListener("toggle", () => {
      if (!inside || !opened.open) return;
      abilities.tellIn(why, abilities.why("look-inside"));
      inside.disabled = !why.hidden;
    });
    return opened;
  };
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const open of document.querySelectorAll("details.more[open]")) {
      open.open = false;
      open.firstChild.focus();
    }
  });
  document.addEventListener("pointerdown", (event) => {
    for (const open of document.querySelectorAll("details.more[open]")) if (!open.contains(event.target)) open.open = false;
  });

  // What was drawn in this browser: recipes, the newest first, in the browser's own storage. Nothing of it is on the server.
  const album = (() => {
    const KEY = "open-dalle-album-1";
    const MOST = 500;
    const listeners = new Set();
    let lasting = true;
    let entries = [];
    const whole = (entry) =>
      entry && typeof entry.recipe === "object" && entry.recipe && ["prompt", "seed", "settings"].every((part) => typeof entry.recipe[part] === "string");
    const read = () => {
      try {
        const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
        entries = Array.isArray(found) ? found.filter(whole) : [];
      } catch (error) {
        if (!(error instanceof SyntaxError)) lasting = false; // no storage here: kept as long as the page is open
      }
    };
    const write = () => {
      try {
        localStorage.setItem(KEY, JSON.stringify(entries));
      } catch {
        lasting = false;
      }
      for (const listener of listeners) listener();
    };
    const idOf = (recipe) => [recipe.prompt, recipe.seed, recipe.settings].join("\n");
    const find = (id) => entries.find((entry) => idOf(entry.recipe) === id);
    // Another page of this browser may have written meanwhile.
    const change = (action) => {
      if (lasting) read();
      action();
      write();
    };
    addEventListener("storage", (event) => {
      if (event.key !== KEY && event.key !== null) return;
      read();
      for (const listener of listeners) listener();
    });
    read();
    return {
      idOf,
      all: () => entries,
      lasting: () => lasting,
      starred: (recipe) => Boolean(find(idOf(recipe))?.star),
      listen: (listener) => listeners.add(listener),
      unlisten: (listener) => listeners.delete(listener),
      // `seen` is {vector, space}: what a search compares, and the model that it belongs to.
      add: (recipe, seen = {}) =>
        change(() => {
          const star = Boolean(find(idOf(recipe))?.star);
          const { vector = "", space = "" } = seen;
          entries = [{ recipe, at: Date.now(), star, vector, space }, ...entries.filter((entry) => idOf(entry.recipe) !== idOf(recipe))];
          // The oldest go first, and favourites never.
          for (let place = entries.length - 1; entries.length > MOST && place >= 0; place--) if (!entries[place].star) entries.splice(place, 1);
        }),
      learn: (recipe, { vector = "", space = "" }) => {
        const entry = find(idOf(recipe));
        if (entry && vector && (entry.vector !== vector || entry.space !== space)) change(() => Object.assign(find(idOf(recipe)) ?? {}, { vector, space }));
      },
      star: (recipe, on) =>
        change(() => {
          const entry = find(idOf(recipe));
          if (entry) entry.star = on;
          else entries = [{ recipe, at: Date.now(), star: on }, ...entries];
        }),
      remove: (recipe) => change(() => (entries = entries.filter((entry) => idOf(entry.recipe) !== idOf(recipe)))),
      forget: () => change(() => (entries = entries.filter((entry) => entry.star))),
    };
  })();

  // A mixture of several prompts has no words of its own to look into.
  const mixture = (recipe) => recipe.settings.includes('"prompts"');

  // The Learn tab looks inside one picture at a time; it may not be there yet when it is asked to.
  let looked = null;
  let lookNow = null;
  const look = (recipe) => {
    looked = recipe;
    openTab("learn");
    lookNow?.();
  };
  const toLook = (listener) => {
    lookNow = listener;
    const recipe = looked;
    looked = null;
    return recipe;
  };

  const starButton = (name, recipe) => {
    const button = make("button.star", { type: "button" });
    const show = () => {
      const on = album.starred(recipe);
      button.setAttribute("aria-pressed", on);
      button.setAttribute("aria-label", `Favourite: ${name}`);
      button.title = on ? "No favourite any more" : "Keep as a favourite";
      button.textContent = on ? "★" : "☆";
    };
    button.addEventListener("click", () => {
      album.star(recipe, !album.starred(recipe));
      show();
    });
    show();
    return button;
  };

  // Where one stands in the line, for a screen reader: at once, then at most every quarter of a minute.
  const LINE = 15000;
  const lineVoice = (spoken) => {
    let said = -Infinity;
    return (waiting, message) => {
      if (!waiting) said = -Infinity;
      else if (performance.now() - said >= LINE && spoken.textContent !== message) {
        said = performance.now();
        spoken.textContent = message;
      }
    };
  };

  return {
    box, fill, check, make, address, after, groundSwitch, chooseGround: choose, visitor, takeLink, onLink, openLink, linkTo, copy, saveFiles, bulkSaver,
    use, saver, dropdown, item, menu, album, starButton, lineVoice, openTab, look, toLook,
    mixture, asker, abilities, paint,
  };
})();
