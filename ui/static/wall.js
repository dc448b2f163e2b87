// The pictures of one run. Value: {ticket, number, state, message, waiting, note, total, prompt, pictures: [{index, seed, name, file, score,
// recipe, link, code, vector, space}], progress: {index, step, steps, preview}, elsewhere}; state is idle, busy, done, stopped or error,
// and elsewhere a link to open in another widget. Its "select" asks for pictures like one of these: {way: "vary" or "more", recipe}; its
// "input" for what a link says: {link}. server.deliver_files answers {visitor, what: "png", "svg", "kit" or the name of a use, recipes,
// size} with {state, message, address, name}.
const { box, make, address, fill, check, groundSwitch, menu, album, starButton, bulkSaver, use, takeLink, openLink, lineVoice, abilities } = window.playground;

const status = make("p.wall-status");
const spoken = make("p.unseen", { role: "status", "aria-live": "polite" });
const alarm = make("p.wall-alarm", { role: "alert", hidden: true });
const bar = make("div.wall-progress", { role: "progressbar", "aria-label": "Drawing", "aria-valuemin": 0, "aria-valuemax": 100 });
const tiles = make("ul.tiles", { "aria-label": "Pictures" });
const root = make("section.wall", { "aria-label": "Drawn pictures" });
const note = make("p.wall-note", { hidden: true });
const kit = make("button.tool.kit", { type: "button", title: "PNG and SVG of each, a sheet of stickers, recipes, attribution" }, "Save all as a kit");
const forUse = make("button.tool.for-use", { type: "button", hidden: true });
const complain = (message) => {
  alarm.hidden = !message;
  alarm.textContent = message;
};
const bulk = bulkSaver(server, complain);
const tools = make("div.wall-tools", { hidden: true }, forUse, kit, ...bulk.parts);
root.append(make("div.wall-bar", {}, status, groundSwitch(root)), bar, alarm, note, tiles, tools, spoken);
element.replaceChildren(root);

const sayPlace = lineVoice(spoken);
let ticket = null;
let number = 0;
let filled = 0;
let slots = [];

// A seed typed by hand is meant to be used, an empty box means a random one.
const listen = (event) => {
  if (!element.isConnected) return document.removeEventListener("input", listen, true);
  if (event.target === box("seed")) check("lock-seed", Boolean(event.target.value.trim()));
};
document.addEventListener("input", listen, true);

const saveAll = (what) => bulk.save({ what, recipes: (props.value?.pictures ?? []).map(({ recipe }) => recipe) }, [kit, forUse]);
kit.addEventListener("click", () => saveAll("kit"));
forUse.addEventListener("click", () => saveAll(use.chosen().name));
const offer = () => {
  const chosen = use.chosen();
  forUse.hidden = !chosen;
  forUse.textContent = chosen?.save ?? "";
  forUse.title = chosen?.output ?? "";
};
use.listen(offer);
offer();

const pictureTile = (picture, prompt) => {
  const href = address(picture.file);
  const image = make("img", { src: href, alt: prompt, translate: "no", width: 256, height: 256, decoding: "async" });
  const seed = make("button.seed", { type: "button", title: "Keep this seed for the next drawing" }, `seed ${picture.seed}`);
  seed.addEventListener("click", () => fill("seed", picture.seed));
  const save = make("a.save", { href, download: picture.name, "aria-label": `Save picture ${picture.index + 1} as PNG` }, "PNG");
  const score = picture.score == null ? null : make("span.score", { title: "How well the picture fits the words, 0 to 1" }, `fit ${picture.score.toFixed(2)}`);
  const like = (way, label, title) => {
    const button = make("button.like", { type: "button", title, "aria-label": `${label}: picture ${picture.index + 1}` }, label);
    button.addEventListener("click", () => trigger("select", { way, recipe: picture.recipe }));
    return button;
  };
  const likes = make("div.likes", {}, like("vary", "Vary", "Small changes to this picture"), like("more", "More like this", "Others of its kind"), save);
  const name = `picture ${picture.index + 1}`;
  album.add(picture.recipe, picture);
  const corner = make("div.corner-tools", {}, starButton(name, picture.recipe), menu(name, picture, server, complain));
  return make("li.tile.done", {}, make("figure", {}, make("div.picture", {}, image, corner), make("figcaption", {}, seed, score), likes));
};

const emptyTile = (index) =>
  make("li.tile.pending", { "aria-label": `Picture ${index + 1}, not drawn yet` }, make("span.ring", { "aria-hidden": "true" }));

const show = () => {
  const value = props.value ?? {};
  const { state = "idle", total = 0, pictures = [], progress = null, message = "" } = value;
  if (value.number < number) return; // of a run that a later press has replaced
  number = value.number ?? 0;

  if (value.ticket !== ticket) {
    ticket = value.ticket;
    filled = 0;
    slots = Array.from({ length: total }, (_, index) => emptyTile(index));
    tiles.replaceChildren(...slots);
    tiles.dataset.count = total;
    if (value.elsewhere) openLink(value.elsewhere);
    // On a phone the mat lies below the prompt: it is brought into view when drawing begins.
    if (state === "busy" && innerWidth <= 860) root.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }
  for (const picture of pictures) {
    const slot = slots[picture.index];
    if (!slot || slot.classList.contains("done")) continue;
    slots[picture.index] = pictureTile(picture, value.prompt);
    slot.replaceWith(slots[picture.index]);
  }
  slots.forEach((slot, index) => {
    const here = progress?.index === index;
    slot.classList.toggle("now", state === "busy" && here);
    slot.style.setProperty("--done", here ? progress.step / progress.steps : 0);
    if (slot.classList.contains("done")) return;
    const preview = here && progress.preview?.startsWith("data:image/webp;base64,") ? progress.preview : "";
    if (preview) slot.style.setProperty("--preview", `url("${preview}")`);
    else slot.style.removeProperty("--preview");
    slot.classList.toggle("previewed", Boolean(preview));
  });

  const within = progress ? progress.step / progress.steps : 0;
  const done = state === "done" ? 1 : total ? Math.min(1, Math.max(pictures.length, progress ? progress.index + within : 0) / total) : 0;
  bar.style.setProperty("--done", done);
  bar.setAttribute("aria-valuenow", Math.round(done * 100));

  root.dataset.state = state;
  document.body.toggleAttribute("data-drawing", state === "busy");
  const failed = state === "error";
  if (failed) abilities.lookAgain(); // it may be that there is another model
  complain(failed ? message : "");
  note.hidden = !value.note;
  note.textContent = value.note ?? "";
  tools.hidden = state === "busy" || !pictures.length;
  status.textContent = failed ? "" : message;
  // Spoken once a picture and at the end; every step would be noise.
  if (!failed && (state !== "busy" || pictures.length !== filled)) spoken.textContent = message;
  sayPlace(state === "busy" && value.waiting, message);
  filled = pictures.length;
};

watch("value", show);
show();
const link = takeLink("prompt");
if (link) trigger("input", { link });
