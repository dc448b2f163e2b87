// The stages of a path. Value: {stages: [{prompt, seed, length, recipe, upload}, …], loop}; prompt and seed of the first two stand in the
// boxes props.fields and props.seeds. Its "submit" says that something else than a text has changed. server.take_picture answers {visitor,
// path} of an upload with {state, message, image, recipe, upload}; server.redraw_pictures is the album's. Other scripts of the tab find
// what is asked for in window.playground.plan.
const { make, box, fill, album, visitor, after, abilities } = window.playground;

const STILL = 500; // milliseconds without a change before it is told
const PAGE = 12; // pictures of the album at first, and more at a time
const AT_ONCE = 4;
const AGAIN = 800; // milliseconds before the server is asked again, when it said to wait
const LARGE = 3_000_000; // bytes: larger pictures are made smaller here before they are sent
const SIDE = 1024;
const FIRST = props.fields.length;
const YOURS = "a picture of yours";

const blank = () => ({ prompt: "", seed: "", length: 1, recipe: null, upload: "", image: "" });
let rows = [blank(), blank()];
let told = ""; // the value that this script has set

const textOf = (place) => (place < FIRST ? box(props.fields[place])?.value : rows[place].prompt) ?? "";
const seedOf = (place) => (place < FIRST ? box(props.seeds[place])?.value : rows[place].seed) ?? "";
const given = (row) => Boolean(row.recipe || row.upload);
const nameOf = (place) => `stage ${place + 1}`;

const list = make("ol.stage-list", { "aria-label": "Stages of the path", hidden: true });
const spoken = make("p.unseen", { role: "status", "aria-live": "polite" });
const add = make("button.stage-add", { type: "button" }, "+ Add a stage");
const loop = make("input", { type: "checkbox" });
const firsts = ["From a picture", "To a picture"].map((label, place) => {
  const button = make("button.stage-add", { type: "button" }, label);
  button.addEventListener("click", () => choosePicture(place, button));
  return button;
});
const bar = make("div.stage-bar", {}, ...firsts, add, make("label.stage-loop", { title: "From the last stage back to the first" }, loop, "Loop"));
const root = make("section.stages", { "aria-label": "Stages" });
root.append(list, bar, spoken);

// What is told

const value = () => ({
  stages: rows.map((row, place) => ({
    prompt: textOf(place),
    seed: seedOf(place),
    length: row.length,
    ...(row.recipe ? { recipe: row.recipe } : row.upload ? { upload: row.upload } : {}),
  })),
  loop: loop.checked,
});
const keep = () => {
  const now = value();
  told = JSON.stringify(now);
  props.value = now;
};
const submit = after(STILL, () => trigger("submit"));
const changed = () => {
  keep();
  submit();
};

// Rows

let writing = false; // the boxes are filled by this script, not by the visitor
const write = (place, { prompt, seed, recipe = null, upload = "", image = "" }) => {
  Object.assign(rows[place], { prompt, seed, recipe, upload, image });
  if (place >= FIRST) return;
  writing = true;
  fill(props.fields[place], prompt);
  fill(props.seeds[place], seed);
  writing = false;
};
const read = (place) => ({ ...rows[place], prompt: textOf(place), seed: seedOf(place) });

const move = (place, by) => {
  const other = place + by;
  if (other < 0 || other >= rows.length) return;
  const [a, b] = [read(place), read(other)];
  write(place, b);
  write(other, a);
  show();
  list.children[other].querySelector(by < 0 ? ".up" : ".down").focus();
  if (document.activeElement.disabled || document.activeElement === document.body) list.children[other].querySelector(by < 0 ? ".down" : ".up").focus();
  spoken.textContent = `Now stage ${other + 1} of ${rows.length}`;
  changed();
};
const remove = (place) => {
  if (rows.length <= FIRST) write(place, { prompt: given(rows[place]) && !rows[place].recipe ? "" : textOf(place), seed: seedOf(place) });
  else {
    for (let next = place; next + 1 < rows.length; next++) {
      write(next, read(next + 1));
      rows[next].length = rows[next + 1].length;
    }
    rows.pop();
  }
  show();
  const left = list.hidden ? add : (list.children[Math.min(place, rows.length - 1)]?.querySelector(".remove") ?? add);
  left.focus();
  changed();
};

const pictureButton = (row, place) => {
  const name = given(row) ? `Picture of ${nameOf(place)}: choose another` : `A picture for ${nameOf(place)}`;
  const inside = row.image.startsWith("data:image/webp;base64,") ? make("img", { src: row.image, alt: "", width: 40, height: 40 }) : given(row) ? "▣" : "Picture";
  const button = make("button.stage-picture", { type: "button", "aria-label": name, title: given(row) ? "Choose another picture" : "A picture instead of a prompt" }, inside);
  button.addEventListener("click", () => choosePicture(place, button));
  return button;
};
const tool = (kind, label, sign, action, disabled = false) => {
  const button = make(`button.stage-tool.${kind}`, { type: "button", "aria-label": label, title: label, disabled }, sign);
  button.addEventListener("click", action);
  return button;
};
const field = (kind, label, attributes, listen) => {
  const input = make(`input.stage-${kind}`, { "aria-label": label, autocomplete: "off", ...attributes });
  input.addEventListener("input", () => listen(input.value));
  return input;
};
const drop = (row) => {
  // What was drawn of another text or seed is another picture; an upload stays what it is.
  if (!row.recipe) return;
  Object.assign(row, { recipe: null, image: "" });
  const place = rows.indexOf(row);
  list.children[place]?.querySelector(".stage-picture")?.replaceWith(pictureButton(row, place));
};
const item = (row, place) => {
  const said = place < FIRST
    ? make("span.stage-name", {}, make("b", {}, place ? "To" : "From"), " ", make("span", { translate: textOf(place) ? "no" : null }, textOf(place) || (given(row) ? YOURS : "…")))
    : field("prompt", `Prompt of ${nameOf(place)}`, { type: "text", value: row.prompt, placeholder: row.upload ? "what it shows, if you like" : "a bird" }, (text) => {
        row.prompt = text;
        drop(row);
        keep();
      });
  const seed = place < FIRST ? null : field("seed", `Seed of ${nameOf(place)}`, { type: "text", inputmode: "numeric", value: row.seed, placeholder: "random seed" }, (text) => {
    row.seed = text;
    drop(row);
    keep();
  });
  seed?.addEventListener("change", changed);
  const last = place === rows.length - 1 && !loop.checked;
  const next = place === rows.length - 1 ? 1 : place + 2;
  const length = last ? null : field("length", `Length of the way from stage ${place + 1} to stage ${next}`, { type: "number", min: 0.1, max: 10, step: 0.1, value: row.length }, (text) => {
    row.length = text === "" ? 1 : Number(text);
    changed();
  });
  const tools = make(
    "div.stage-tools",
    {},
    tool("up", `Move ${nameOf(place)} up`, "↑", () => move(place, -1), place === 0),
    tool("down", `Move ${nameOf(place)} down`, "↓", () => move(place, 1), place === rows.length - 1),
    rows.length > FIRST || given(row) ? tool("remove", rows.length > FIRST ? `Remove ${nameOf(place)}` : `No picture for ${nameOf(place)}`, "✕", () => remove(place)) : null,
  );
  const way = length ? make("label.stage-way", { title: "Beside the other ways: 2 takes twice as long" }, "Length", length) : null;
  return make("li.stage", {}, make("span.stage-number", { "aria-hidden": "true" }, place + 1), said, tools, make("div.stage-more", {}, pictureButton(row, place), seed, way));
};
const show = () => {
  list.hidden = rows.length <= FIRST && !rows.some(given) && !loop.checked;
  for (const button of firsts) button.hidden = !list.hidden;
  list.replaceChildren(...rows.map(item));
  const full = rows.length >= props.most;
  const useless = Boolean(abilities.why("stages"));
  for (const part of root.querySelectorAll("button, input")) part.disabled ||= useless;
  for (const button of firsts) button.disabled = useless;
  loop.disabled = useless;
  add.disabled = full || useless;
  add.textContent = full ? `${props.most} stages are the most` : "+ Add a stage";
};

add.addEventListener("click", () => {
  rows.push(blank());
  show();
  keep();
  list.lastChild.querySelector(".stage-prompt").focus();
});
loop.addEventListener("change", () => {
  show();
  changed();
});
list.addEventListener("keydown", (event) => {
  const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  const place = [...list.children].findIndex((row) => row.contains(event.target));
  if (event.altKey && by && place >= 0) {
    event.preventDefault();
    move(place, by);
  }
  if (event.key === "Enter" && event.target.matches("input")) {
    submit.drop();
    keep();
    trigger("submit");
  }
});
// The first two boxes are gradio's: what is typed there is followed.
const follow = (event) => {
  if (!element.isConnected) return document.removeEventListener("input", follow, true);
  const place = [0, 1].find((side) => event.target === box(props.fields[side]) || event.target === box(props.seeds[side]));
  if (place === undefined) return;
  if (!writing && rows[place].recipe) {
    drop(rows[place]);
    show();
    keep();
  }
  const name = list.children[place]?.querySelector(".stage-name span");
  if (!name) return;
  name.translate = !textOf(place); // a prompt stays as it is written
  name.textContent = textOf(place) || (given(rows[place]) ? YOURS : "…");
};
document.addEventListener("input", follow, true);
const roll = (event) => {
  if (!element.isConnected) return document.removeEventListener("click", roll, true);
  if (!event.target.closest("#roll")) return;
  rows.forEach((row, place) => {
    if (place >= FIRST && !row.recipe) row.seed = String(crypto.getRandomValues(new Uint32Array(1))[0]);
    if (place < FIRST) drop(row);
  });
  show();
  keep();
};
document.addEventListener("click", roll, true);

// A picture for a stage: of the album, or from a file

const chosen = (place, { image = "", recipe = null, upload = "" }) => {
  if (recipe) write(place, { prompt: recipe.prompt, seed: recipe.seed, recipe, image });
  else write(place, { prompt: "", seed: seedOf(place), upload, image });
  show();
  changed();
  list.children[place].querySelector(".stage-picture").focus();
};

const smaller = async (file) => {
  if (file.size <= LARGE) return file;
  try {
    const picture = await createImageBitmap(file); // turned as the camera was held
    const scale = Math.min(1, SIDE / Math.max(picture.width, picture.height));
    const canvas = make("canvas", { width: Math.max(1, Math.round(picture.width * scale)), height: Math.max(1, Math.round(picture.height * scale)) });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/webp", 0.92));
    return blob ? new File([blob], "picture.webp", { type: "image/webp" }) : file;
  } catch {
    return file; // the server says what is wrong with it
  }
};

const choosePicture = (place, opener) => {
  const alarm = make("p.wall-alarm", { role: "alert", hidden: true });
  const complain = (message) => {
    alarm.hidden = !message;
    alarm.textContent = message;
  };
  const input = make("input.picker-file", { type: "file", accept: "image/png,image/jpeg,image/webp", "aria-label": "A picture from this device" });
  const close = make("button.tool", { type: "button" }, "Close");
  const pictures = make("ul.picker-pictures", { "aria-label": "Your album" });
  const more = make("button.tool", { type: "button", hidden: true }, "Show more");
  const zone = make("label.picker-drop", {}, make("b", {}, "A picture from this device"), make("span", {}, "PNG, JPEG or WebP. A PNG that was saved here is drawn again; any other is deleted after an hour. Its prompt may say what it shows: the pictures between are better then."), input);
  const dialog = make("dialog.picker", { "aria-label": `A picture for ${nameOf(place)}` }, make("h3", {}, `A picture for ${nameOf(place)}`), alarm, zone, make("h4", {}, "From your album"), pictures, make("div.picker-tools", {}, more, close));
  const useless = abilities.why("stages/upload");
  input.disabled = Boolean(useless);
  if (useless) zone.append(make("p.picker-why", {}, useless));
  let open = true;
  const take = async (file, tries = 6) => {
    complain("");
    zone.setAttribute("aria-busy", "true");
    let answer = { state: "error", message: "The picture could not be sent: it may be too large, or the server can't be reached." };
    try {
      const { path } = await upload(await smaller(file));
      for (; tries > 0; tries--) {
        answer = await server.take_picture({ visitor, path });
        if (answer.state !== "waiting") break;
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
      }
    } catch {}
    zone.removeAttribute("aria-busy");
    if (!open) return;
    if (answer.state !== "done") return complain(answer.message || "The server is busy: try again in a moment.");
    dialog.close();
    chosen(place, answer);
  };
  input.addEventListener("change", () => input.files[0] && take(input.files[0]));
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0] && !input.disabled) take(event.dataTransfer.files[0]);
  });

  const entries = album.all();
  let shown = 0;
  const fillAlbum = async () => {
    const page = entries.slice(shown, shown + PAGE);
    shown += page.length;
    more.hidden = shown >= entries.length;
    const tiles = page.map(({ recipe }) => make("li", {}, make("button.picker-picture", { type: "button", disabled: true, translate: "no", "aria-label": recipe.prompt, title: recipe.prompt })));
    pictures.append(...tiles);
    for (let first = 0; first < page.length && open; ) {
      const some = page.slice(first, first + AT_ONCE).map(({ recipe }) => recipe);
      let answer = {};
      try {
        answer = await server.redraw_pictures({ visitor: `${visitor} stages`, recipes: some });
      } catch {}
      if (answer.state === "waiting") {
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
        continue;
      }
      if (answer.state !== "done") return complain(answer.message || "The server can't be reached. Your album is safe in this browser.");
      answer.pictures.forEach(({ image }, place_) => {
        const button = tiles[first + place_].firstChild;
        if (!image?.startsWith("data:image/webp;base64,")) return tiles[first + place_].remove();
        button.append(make("img", { src: image, alt: "", width: 96, height: 96 }));
        button.disabled = false;
        button.addEventListener("click", () => {
          dialog.close();
          chosen(place, { image, recipe: some[place_] });
        });
      });
      first += AT_ONCE;
    }
  };
  if (entries.length) fillAlbum();
  else pictures.replaceWith(make("p.picker-empty", {}, "What you make in this browser will be here."));
  more.addEventListener("click", fillAlbum);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    open = false;
    dialog.remove();
    if (opener.isConnected) opener.focus();
  });
  root.append(dialog);
  dialog.showModal();
};

// What a link has opened

const receive = () => {
  const sent = props.value ?? {};
  if (!sent.stages || JSON.stringify(sent) === told) return;
  rows = sent.stages.map((stage) => ({ ...blank(), ...stage, prompt: stage.prompt ?? "", seed: String(stage.seed ?? ""), length: stage.length ?? 1 }));
  loop.checked = sent.loop === true;
  show();
  keep();
};

window.playground.plan = {
  texts: () => rows.map((row, place) => textOf(place).trim() || (given(row) ? YOURS : "")),
  seeds: (drawn) => {
    if (drawn.length !== rows.length) return;
    rows.forEach((row, place) => {
      if (place < FIRST || row.seed.trim() || !drawn[place]) return;
      row.seed = drawn[place];
      const input = list.children[place]?.querySelector(".stage-seed");
      if (input) input.value = row.seed;
    });
    keep();
  },
};

element.replaceChildren(root);
abilities.listen(element, show);
watch("value", receive);
receive();
