// What was drawn in this browser. The recipes are the browser's own (window.playground.album); the pictures in view are drawn anew:
// server.redraw_pictures answers {visitor, recipes} with {state, message, pictures: [{image, link, code, note} or {message}]}. The widget's
// "select" asks to open one: {recipe}.
const { make, groundSwitch, menu, album, starButton, bulkSaver, dropdown, item, visitor } = window.playground;

const PAGE = 24;
const AT_ONCE = 4;
const AGAIN = 800; // milliseconds before the server is asked again, when it said to wait

const status = make("p.wall-status");
const alarm = make("p.wall-alarm", { role: "alert", hidden: true });
const filters = ["All", "Favourites"].map((label, index) => {
  const button = make("button.tool", { type: "button", "aria-pressed": String(index === 0) }, label);
  button.addEventListener("click", () => choose(index));
  return button;
});
const complain = (message) => {
  alarm.hidden = !message;
  alarm.textContent = message;
};
const bulk = bulkSaver(server, complain);
const kinds = [{ name: "kit", label: "Kit", output: "PNG and SVG of each, a sheet of stickers, recipes, attribution" }, ...props.uses];
const choices = kinds.map(({ name, label, output }) => item(label, () => saveAll(name), output));
const saveAs = dropdown("Save these pictures as", "One file of these pictures", "Save as ▾", ...choices);
saveAs.classList.add("in-tools");
const saveHint = make("span.bulk-progress");
const forget = make("button.tool", { type: "button" });
const tiles = make("ul.tiles", { "aria-label": "Your pictures" });
const more = make("button.tool", { type: "button", hidden: true }, "Show more");
const root = make("section.wall.album", { "aria-label": "Your album" });
root.append(
  make("div.wall-bar", {}, status, groundSwitch(root)),
  alarm,
  make("div.album-tools", { role: "group", "aria-label": "Which pictures" }, ...filters, saveAs, forget, saveHint, ...bulk.parts),
  tiles,
  make("div.wall-tools", {}, more),
);
element.replaceChildren(root);

let onlyStars = false;
let limit = PAGE;
const drawn = new Map(); // id -> what the server said
const shown = new Map(); // id -> its tile

const entries = () => album.all().filter((entry) => entry.star || !onlyStars);

const fill = (id, entry) => {
  const answer = drawn.get(id);
  const tile = shown.get(id);
  if (!answer || !tile || tile.dataset.filled) return;
  tile.dataset.filled = "yes";
  const { recipe } = entry;
  const corner = make("div.corner-tools", {}, starButton(recipe.prompt, recipe));
  let picture = make("p.lost", {}, answer.message ?? "");
  if (answer.image?.startsWith("data:image/webp;base64,")) {
    picture = make("img", { src: answer.image, alt: recipe.prompt, translate: "no", width: 256, height: 256 });
    corner.append(menu(recipe.prompt, { recipe, ...answer }, server, complain));
  }
  const open = make("button.like", { type: "button", title: "Load its settings and make it again", "aria-label": `Open: ${recipe.prompt}` }, "Open");
  open.addEventListener("click", () => trigger("select", { recipe }));
  const remove = make("button.like", { type: "button", "aria-label": `Remove: ${recipe.prompt}` }, "Remove");
  remove.addEventListener("click", () => album.remove(recipe));
  tile.classList.replace("pending", "done");
  tile.removeAttribute("aria-label");
  const likes = make("div.likes", {}, open, remove);
  const redrawn = answer.note ? make("span.redrawn", { title: answer.note }, "Drawn anew by another model") : null;
  const caption = make("figcaption", {}, make("span.said", { translate: "no" }, recipe.prompt), redrawn);
  tile.replaceChildren(make("figure", {}, make("div.picture", {}, picture, corner), caption, likes));
};

let asking = false;
const ask = async () => {
  if (asking || !root.checkVisibility()) return;
  const wanted = entries()
    .slice(0, limit)
    .filter(({ recipe }) => !drawn.has(album.idOf(recipe)))
    .slice(0, AT_ONCE);
  if (!wanted.length) return;
  asking = true;
  let answer = { state: "waiting" };
  try {
    answer = await server.redraw_pictures({ visitor, recipes: wanted.map(({ recipe }) => recipe) });
  } catch {
    answer = { state: "error", message: "The server can't be reached. Your album is safe in this browser." };
  }
  asking = false;
  if (!element.isConnected) return;
  if (answer.state === "waiting") return setTimeout(ask, AGAIN);
  complain(answer.state === "error" ? answer.message : "");
  if (answer.state !== "done") return;
  answer.pictures.forEach((picture, place) => {
    const id = album.idOf(wanted[place].recipe);
    drawn.set(id, picture);
    album.learn(wanted[place].recipe, picture);
    fill(id, wanted[place]);
  });
  ask();
};

const show = () => {
  if (!element.isConnected) return album.unlisten(show);
  const all = entries();
  const visible = all.slice(0, limit);
  const ids = visible.map(({ recipe }) => album.idOf(recipe));
  for (const [id, tile] of shown) {
    if (ids.includes(id)) continue;
    tile.remove();
    shown.delete(id);
  }
  visible.forEach((entry, place) => {
    const id = ids[place];
    let tile = shown.get(id);
    if (!tile) {
      tile = make("li.tile.pending", { "aria-label": `${entry.recipe.prompt}, not made yet` });
      shown.set(id, tile);
    }
    if (tiles.children[place] !== tile) tiles.insertBefore(tile, tiles.children[place] ?? null);
    fill(id, entry);
  });
  const stars = album.all().filter(({ star }) => star).length;
  const plain = album.all().length - stars;
  const what = onlyStars ? "favourite" : "picture";
  const kept = album.lasting() ? "kept in this browser only" : "kept until this page is closed: the browser lends no storage";
  status.textContent = all.length ? `${all.length} ${what}${all.length === 1 ? "" : "s"}, ${kept}` : onlyStars ? "No favourites yet: press ☆ on a picture" : "What you make in this browser will be here";
  more.hidden = all.length <= limit;
  saveAs.hidden = !all.length;
  saveHint.textContent = all.length > props.most ? `“Save as” takes the first ${props.most}` : "";
  forget.disabled = !plain;
  forget.textContent = stars ? "Forget all but favourites" : "Forget all";
  delete forget.dataset.sure;
  ask();
};

const choose = (index) => {
  onlyStars = index === 1;
  limit = PAGE;
  filters.forEach((button, place) => button.setAttribute("aria-pressed", String(place === index)));
  show();
};
more.addEventListener("click", () => {
  limit += PAGE;
  show();
});
const saveAll = (what) => {
  saveAs.open = false;
  saveAs.firstChild.focus();
  const recipes = entries().slice(0, props.most).map(({ recipe }) => recipe);
  bulk.save({ what, recipes }, choices);
};
// What is forgotten can't be brought back, so it takes a second press.
forget.addEventListener("click", () => {
  if (forget.dataset.sure) return album.forget();
  forget.dataset.sure = "yes";
  const count = album.all().filter(({ star }) => !star).length;
  forget.textContent = `Really forget ${count} picture${count === 1 ? "" : "s"}?`;
});

album.listen(show);
new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && show()).observe(root);
show();
