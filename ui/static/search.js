// Pictures found by text. server.find_pictures answers {visitor, text, vectors, space} with {state, message, own: [{index, score}],
// reference: [{image, label, style, set}], of, space}; server.redraw_pictures as for the album. Its "select" asks to open a picture
// of this browser: {recipe}.
const { make, asker, groundSwitch, menu, album, starButton, visitor, fill, openTab, box, abilities } = window.playground;

const AT_ONCE = 4;
const WAIT = 350; // after the last key

const field = make("input", { type: "search", id: "search-text", maxlength: 400, placeholder: "round and yellow", autocomplete: "off" });
const form = make("form.find", { role: "search" }, make("label", { for: "search-text" }, "What are you looking for?"), field, make("button.tool", { type: "submit" }, "Search"));
const status = make("p.wall-status", { role: "status", "aria-live": "polite" }, "Search by words, in English");
const alarm = make("p.wall-alarm", { role: "alert", hidden: true });
const why = make("p.wall-note", { role: "note", hidden: true });
const own = make("ul.tiles.found", { "aria-label": "Found among your pictures" });
const known = make("ul.tiles.known", { "aria-label": "Found in the reference set" });
const ownPart = make("section.found-part", { hidden: true }, make("h3", {}, "Made in this browser"), own);
const knownPart = make("section.found-part", { hidden: true }, make("h3", {}, "Drawings that the model learned from"), known);
const root = make("section.wall.search", { "aria-label": "Search" });
root.append(make("div.wall-bar", {}, status, groundSwitch(root)), why, form, alarm, ownPart, knownPart);
element.replaceChildren(root);

const complain = (message) => {
  alarm.hidden = !message;
  alarm.textContent = message;
};
const fit = (score) => make("span.score", { title: "How well the picture fits the words, 0 to 1" }, `fit ${score.toFixed(2)}`);
const picture = (image, alt, ...corner) =>
  make("div.picture", {}, make("img", { src: image.startsWith("data:image/webp;base64,") ? image : "", alt, translate: "no", width: 256, height: 256 }), ...corner);
const ask = asker(element);

// Pictures are drawn anew from their recipes: what the album knows of each by then is enough to find it later without.
const redrawn = new Map();
const redraw = async (recipes, current) => {
  const missing = recipes.filter((recipe) => !redrawn.has(album.idOf(recipe)));
  for (let first = 0; first < missing.length && current(); first += AT_ONCE) {
    const some = missing.slice(first, first + AT_ONCE);
    const answer = await ask(() => server.redraw_pictures({ visitor, recipes: some }));
    if (answer.state !== "done") return complain(answer.message);
    answer.pictures.forEach((drawn, place) => {
      redrawn.set(album.idOf(some[place]), drawn);
      album.learn(some[place], drawn);
    });
  }
};

const ownTile = ({ recipe }, score) => {
  const drawn = redrawn.get(album.idOf(recipe)) ?? {};
  const corner = make("div.corner-tools", {}, starButton(recipe.prompt, recipe), menu(recipe.prompt, { recipe, ...drawn }, server, complain));
  const open = make("button.like", { type: "button", title: "Load its settings and make it again", "aria-label": `Open: ${recipe.prompt}` }, "Open");
  open.addEventListener("click", () => trigger("select", { recipe }));
  const shown = drawn.image ? picture(drawn.image, recipe.prompt, corner) : make("p.lost", {}, drawn.message ?? "");
  return make("li.tile.done", {}, make("figure", {}, shown, make("figcaption", {}, make("span.said", { translate: "no" }, recipe.prompt), fit(score)), make("div.likes", {}, open)));
};
const knownTile = ({ image, label, style, set }) => {
  const draw = make("button.like", { type: "button", title: "Take the words as a prompt", "aria-label": `Draw one: ${label}` }, "Draw one");
  draw.addEventListener("click", () => {
    fill("prompt", label);
    openTab("generate");
    box("prompt")?.focus();
  });
  const from = make("span.from.style-name", { title: `From the set ${set}` }, style);
  return make("li.tile.done", {}, make("figure", {}, picture(image, label), make("figcaption", {}, make("span.said", { translate: "no" }, label), from), make("div.likes", {}, draw)));
};

let turn = 0;
const search = async () => {
  const text = abilities.why("search") ? "" : field.value.trim();
  const mine = ++turn;
  const current = () => mine === turn && element.isConnected;
  complain("");
  if (!text) {
    if (!field.disabled) status.textContent = "Search by words, in English";
    ownPart.hidden = knownPart.hidden = true;
    return;
  }
  status.textContent = "Searching";
  // Each picture's vector belongs to the model that drew it: the newest picture tells which one this is.
  const entries = album.all();
  const space = entries.find((entry) => entry.space)?.space ?? "";
  const searched = entries.filter((entry) => entry.vector && entry.space === space);
  const answer = await ask(() => server.find_pictures({ visitor, text, vectors: searched.map(({ vector }) => vector), space }));
  if (!current()) return;
  if (answer.state !== "done") {
    status.textContent = "Nothing found";
    ownPart.hidden = knownPart.hidden = true;
    return complain(answer.message);
  }
  known.replaceChildren(...answer.reference.map(knownTile));
  knownPart.hidden = !answer.reference.length;
  const found = answer.own.filter(({ index }) => searched[index]);
  ownPart.hidden = !found.length;
  status.textContent = `Best of ${answer.space === space ? searched.length : 0} of yours and ${answer.of} reference drawings`;
  own.replaceChildren(...found.map(({ index }) => make("li.tile.pending", { "aria-label": `${searched[index].recipe.prompt}, not made yet` })));
  for (let first = 0; first < found.length && current(); first += AT_ONCE) {
    const some = found.slice(first, first + AT_ONCE);
    await redraw(some.map(({ index }) => searched[index].recipe), current);
    if (!current()) return;
    some.forEach(({ index, score }, place) => own.children[first + place]?.replaceWith(ownTile(searched[index], score)));
  }
  // What was made before vectors were kept, or by another model, is looked at now, for the next search.
  const unseen = entries.filter((entry) => !entry.vector || entry.space !== answer.space);
  if (unseen.length && current()) await redraw(unseen.map(({ recipe }) => recipe), current);
};

// Without a ranker nothing can be found; without a reference set only what was made here.
abilities.listen(element, () => {
  const useless = abilities.why("search");
  abilities.tellIn(why, useless || abilities.why("search/reference"));
  for (const part of [field, form.lastChild]) part.disabled = Boolean(useless);
  turn += 1;
  redrawn.clear();
  ownPart.hidden = knownPart.hidden = true;
  status.textContent = useless ? "Nothing to search with" : "Search by words, in English";
  if (!useless && field.value.trim()) search();
});

let timer = 0;
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  search();
});
field.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(search, WAIT);
});
