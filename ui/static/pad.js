// A pad between four prompts. Value: {stamp, state, message, points: [{x, y, image}], file, recipe}; state is idle, done, waiting or error.
// server.draw_points answers with such a value: {visitor, stamp, prompts, style, points: [[x, y], …], seeds}; the widget's "submit" asks
// for one picture to keep, which comes with a file and a recipe: {stamp, points, seeds}, and its "input" for the prompts and the style of a link: {link}.
const { make, address, after, album, box, fill, groundSwitch, copy, linkTo, onLink, visitor, abilities } = window.playground;

const STILL = 500; // milliseconds without a key before the corners are drawn anew
const AGAIN = 600; // milliseconds before the server is asked again, when it said to wait
const STRIDE = 0.05; // of a key
const PLACES = ["left above", "right above", "left below", "right below"];
const CORNERS = [[0, 0], [1, 0], [0, 1], [1, 1]];

const status = make("p.wall-status");
const alarm = make("p.wall-alarm", { role: "alert", hidden: true });
const corners = CORNERS.map((_, index) => {
  const button = make("button.corner", { type: "button", disabled: true });
  button.addEventListener("click", () => move(...CORNERS[index]));
  return button;
});
const picture = make("img", { alt: "", width: 256, height: 256, draggable: "false", hidden: true });
const handle = make("div.handle", { role: "slider", tabindex: 0, "aria-label": "Place between the four prompts", "aria-valuemin": 0, "aria-valuemax": 100 }, picture);
const field = make("div.pad-field", {}, ...corners, handle);
const seedsAnew = make("button.tool", { type: "button" }, "New seeds");
const keep = make("button.tool", { type: "button", disabled: true }, "Keep this one");
const save = make("a.tool.save", { role: "link", "aria-disabled": "true" }, "Save PNG");
const share = make("button.tool", { type: "button", title: "A link that opens this pad at this point" }, "Copy link");
const root = make("section.wall.pad", { "aria-label": "The mix pad" });
root.append(make("div.wall-bar", {}, status, groundSwitch(root)), alarm, field, make("div.morph-tools", {}, seedsAnew, keep, save, share));
element.replaceChildren(root);

const texts = () => props.fields.map((id) => box(id)?.value.trim() ?? "");
const fresh = () => CORNERS.map(() => crypto.getRandomValues(new Uint32Array(1))[0]);
const clamp = (value) => Math.min(1, Math.max(0, value));

let at = [0.5, 0.5];
let seeds = fresh();
let stamp = 0;
let asked = null; // what the server is at work on
let cornersWanted = false;
let pointWanted = false;
let told = ["", "", "", ""]; // the prompts of what is shown

// Asking: one question at a time, and always about where the handle is by then

const ask = () => {
  if (asked || !(cornersWanted || pointWanted) || abilities.why("pad")) return;
  if (!texts().some(Boolean)) return (cornersWanted = pointWanted = false);
  told = texts();
  const filled = CORNERS.map((_, index) => index).filter((index) => told[index]);
  const points = [...(cornersWanted ? filled.map((index) => CORNERS[index]) : []), [...at]];
  asked = { stamp: ++stamp, corners: cornersWanted ? filled : [], at: [...at] };
  cornersWanted = pointWanted = false;
  patience();
  const style = box(props.style)?.value ?? "";
  server.draw_points({ visitor, stamp, prompts: told, style, points, seeds }).then(receive, () => {}); // lost: see patience
};
// An answer may be lost with the connection: then the next question is asked after all.
const patience = after(8000, () => {
  asked = null;
  ask();
});
const again = after(AGAIN, ask);
const begin = after(STILL, () => {
  if (texts().every((text, index) => text === told[index])) return;
  cornersWanted = true;
  ask();
});

const place = () => {
  const [x, y] = at;
  handle.style.setProperty("--x", x);
  handle.style.setProperty("--y", y);
  handle.setAttribute("aria-valuenow", Math.round(x * 100));
  const weights = [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y];
  const all = weights.reduce((sum, weight, index) => sum + (told[index] ? weight : 0), 0) || 1;
  const parts = weights.map((weight, index) => [told[index], Math.round((100 * weight) / all)]).filter(([text, share]) => text && share);
  const words = parts.map(([text, share]) => `${share} percent ${text}`).join(", ") || "nothing yet";
  handle.setAttribute("aria-valuetext", words);
  picture.alt = words;
  return parts;
};

const move = (x, y) => {
  at = [clamp(x), clamp(y)];
  place();
  pointWanted = true;
  ask();
};

// Dragging: by the handle everywhere; a press on the pad brings it there, except by touch, where it may be the start of a scroll

let grip = null;
const point = (event) => {
  const area = field.getBoundingClientRect();
  const size = handle.offsetWidth;
  return [(event.clientX - area.left - size / 2) / (area.width - size), (event.clientY - area.top - size / 2) / (area.height - size)];
};
handle.addEventListener("pointerdown", (event) => {
  const [x, y] = point(event);
  grip = [at[0] - x, at[1] - y];
  handle.setPointerCapture(event.pointerId);
  event.preventDefault();
  event.stopPropagation();
  handle.focus({ preventScroll: true });
});
handle.addEventListener("pointermove", (event) => {
  if (!grip) return;
  const [x, y] = point(event);
  move(x + grip[0], y + grip[1]);
});
for (const type of ["pointerup", "pointercancel"]) handle.addEventListener(type, () => (grip = null));
field.addEventListener("pointerdown", (event) => {
  if (event.target === field && event.pointerType !== "touch") move(...point(event));
});
handle.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  move(at[0] + STRIDE * step[0], at[1] + STRIDE * step[1]);
});

seedsAnew.addEventListener("click", () => {
  seeds = fresh();
  cornersWanted = true;
  ask();
});
keep.addEventListener("click", () => {
  if (asked) return;
  asked = { stamp: ++stamp, corners: [], at: [...at] };
  patience();
  trigger("submit", { stamp, points: [at], seeds });
});

share.addEventListener("click", () => {
  const parts = new URLSearchParams(texts().map((text) => ["mix", text]));
  const style = box(props.style)?.value ?? "";
  if (style && style !== "any") parts.set("style", style);
  parts.set("seeds", seeds.join(" "));
  parts.set("at", at.map((number) => number.toFixed(3)).join(" "));
  copy(linkTo(parts), share);
});
onLink("mix", (link) => {
  const opened = new URLSearchParams(link.slice(1));
  const numbers = (name, count, highest) => {
    const found = (opened.get(name) ?? "").split(" ").map(Number);
    return found.length === count && found.every((number) => number >= 0 && number <= highest) ? found : null;
  };
  seeds = numbers("seeds", 4, 2 ** 32 - 1)?.map(Math.trunc) ?? seeds;
  at = numbers("at", 2, 1) ?? at;
  told = told.map(() => null); // drawn anew, even where only the seeds or the point are others
  trigger("input", { link });
  const prompts = opened.getAll("mix");
  if (prompts.length === CORNERS.length) prompts.forEach((prompt, index) => fill(props.fields[index], prompt));
  begin();
});

// Receiving

const receive = (value) => {
  if (!asked || value.stamp !== asked.stamp) return;
  const answered = asked;
  asked = null;
  patience.drop();
  root.dataset.state = value.state;
  const failed = value.state === "error";
  alarm.hidden = !failed;
  alarm.textContent = failed ? value.message : "";
  if (value.state === "waiting") {
    if (value.message) status.textContent = value.message;
    cornersWanted ||= answered.corners.length > 0;
    pointWanted = true;
    return again();
  }
  if (value.state === "done") {
    const images = value.points.map((found) => (found.image?.startsWith("data:image/webp;base64,") ? found.image : ""));
    if (answered.corners.length) {
      corners.forEach((corner, index) => {
        const source = images[answered.corners.indexOf(index)];
        corner.disabled = !source;
        corner.replaceChildren(...(source ? [make("img", { src: source, alt: "", width: 96, height: 96 })] : []));
        if (source) corner.setAttribute("aria-label", `Go to ${told[index]}, ${PLACES[index]}`);
        else corner.removeAttribute("aria-label");
      });
    }
    picture.src = images.at(-1);
    picture.hidden = false;
    keep.disabled = false;
    root.dataset.point = answered.at.map((number) => number.toFixed(3)).join(" ");
    const parts = place();
    status.replaceChildren(...parts.flatMap(([text, share], index) => [`${index ? " · " : ""}${share} % `, make("span", { translate: "no" }, text)]));
    if (value.recipe) album.add(value.recipe);
    const href = address(value.file);
    save.toggleAttribute("href", Boolean(href));
    save.setAttribute("aria-disabled", String(!href));
    if (href) {
      save.href = href;
      save.download = value.file.orig_name ?? "mix.png";
    }
  }
  ask();
};

// Drawn when it is first seen, and anew when a prompt or the style has changed

const seen = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) begin();
});
seen.observe(root);
const listen = (event) => {
  if (!element.isConnected) return document.removeEventListener(event.type, listen, true);
  if (props.fields.some((id) => event.target === box(id))) begin();
};
document.addEventListener("input", listen, true);
window.playground.redraw = () => {
  cornersWanted = true;
  ask();
};

status.textContent = "Drag the picture between the corners";
place();
// Another model draws the corners anew.
abilities.listen(element, () => {
  const useless = Boolean(abilities.why("pad"));
  handle.setAttribute("aria-disabled", useless);
  for (const button of [seedsAnew, share]) button.disabled = useless;
  if (useless) keep.disabled = true;
  else if (root.checkVisibility()) {
    cornersWanted = true;
    ask();
  } else told = told.map(() => null);
});
watch("value", () => receive(props.value ?? {}));
