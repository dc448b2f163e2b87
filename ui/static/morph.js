// A path through the stages of the tab. Value: {ticket, number, state, message, waiting, total, prompts, seeds: of each stage, gaps: steps from frame
// to frame of each way, loop, frames: {index: data URI}, exports: {loop: file, pingpong: file}, fps, way, link, why, code, note, at}; `at`,
// 0 to 1, is where the slider stands at first, `way` says all that it takes to draw the path again, `link` is that where it may be given
// away, and `why` tells where it may not. Its "input" asks for what a link says: {link}. server.deliver_files answers {visitor, what:
// "webp", "mp4" or "zip", link, speed, eased, pingpong} with {state, message, address, name}; server.compare_path answers {visitor, link}
// with {state, message, frames} of the path on which only the text moves. All frames are kept here, decoded, so that a drag never asks the
// server.
const { make, address, after, box, groundSwitch, visitor, copy, linkTo, takeLink, dropdown, item, saver, lineVoice, abilities, paint } = window.playground;

const SIDE = 256;
const AGAIN = 800; // milliseconds before the server is asked again, when it said to wait
const STILL = 250; // milliseconds without a key before the path is prepared by itself; the one that is shown stays until there is more

const canvas = make("canvas", { width: SIDE, height: SIDE, role: "img", "aria-hidden": "true" });
const context = canvas.getContext("2d");
const hint = make("p.morph-hint", {}, "Two prompts make a path. Its pictures appear here.");
const slider = make("input.morph-slider", { type: "range", min: 0, max: 32, step: 1, value: 0, disabled: true, "aria-label": "Place between the two prompts" });
const ends = [make("span", { translate: "no" }), make("span", { translate: "no" })];
const play = make("button.tool.play", { type: "button", disabled: true, "aria-pressed": "false" }, "Play");
const mode = make("button.tool", { type: "button", "aria-pressed": "false", title: "There and back instead of starting over" }, "Ping-pong");
const save = make("a.tool.save", { role: "link", "aria-disabled": "true" }, "Save WebP");
const share = make("button.tool", { type: "button", disabled: true, title: "A link that opens this path at this place" }, "Copy link");
const pressed = (button) => button.getAttribute("aria-pressed") === "true";
const toggle = (button) => button.setAttribute("aria-pressed", String(!pressed(button)));
const ease = make("button.tool", { type: "button", "aria-pressed": "false", title: "Slow at both ends" }, "Ease");
const speed = make("select.tool.speed", { "aria-label": "Speed" });
for (const [value, label] of [[0.25, "¼ ×"], [0.5, "½ ×"], [1, "1 ×"], [2, "2 ×"], [3, "3 ×"]]) speed.append(make("option", { value, selected: value === 1 }, label));
const fileOf = (what) => saver(server, () => ({ what, link: props.value.way, speed: Number(speed.value), eased: pressed(ease), pingpong: pressed(mode) }), (message) => complain(message));
const files = dropdown(
  "Save the path as",
  "At this speed, eased and there and back as chosen",
  "Save as…",
  item("WebP, animated", fileOf("webp")),
  item("MP4", fileOf("mp4"), "Over white"),
  item("Frames (zip)", fileOf("zip"), "PNG with transparency, recipe and attribution"),
);
files.classList.add("in-tools");
const code = make("button.tool", { type: "button", disabled: true, title: "A program that makes this path" }, "Copy Python");
const note = make("p.wall-note", { hidden: true });
const why = make("p.morph-why", { hidden: true });
const marks = make("div.morph-marks", { "aria-hidden": "true" });
const compare = make("button.tool", { type: "button", disabled: true, "aria-pressed": "false", title: "Beside two simpler ways from picture to picture" }, "Compare");
const side = () => make("canvas", { width: SIDE, height: SIDE, role: "img" });
const textual = side();
const faded = side();
const figure = (kind, name, said, canvas) => make(`figure.rival.${kind}`, {}, canvas, make("figcaption", {}, make("b", {}, name), make("span", {}, said)));
const TEXT_ONLY = "Only the words move; the noise stays that of the first picture. It passes none of the other pictures.";
const rivals = [
  figure("of-text", "Text path", TEXT_ONLY, textual),
  figure("of-fade", "Cross-fade", "Two pictures laid over each other: halfway you see both, and nothing new.", faded),
];
const about = make("p.latent-about", { hidden: true }, make("b", {}, "Latent path"), make("span", {}, "Noise and words move together: each picture between is one that the model draws."));
const ways = make("div.morph-stages", {}, make("div.morph-stage", {}, canvas, hint, about));
const strip = make("div.strip", { role: "group", "aria-label": "Film strip" });
const status = make("p.wall-status");
const spoken = make("p.unseen", { role: "status", "aria-live": "polite" });
const alarm = make("p.wall-alarm", { role: "alert", hidden: true });
const bar = make("div.wall-progress", { role: "progressbar", "aria-label": "Preparing the path", "aria-valuemin": 0, "aria-valuemax": 100 });
const root = make("section.wall.morph", { "aria-label": "The path between two prompts" });
root.append(
  make("div.wall-bar", {}, status, groundSwitch(root)),
  bar,
  alarm,
  note,
  ways,
  make("div.morph-track", {}, make("div.morph-rail", {}, slider, marks), make("div.morph-ends", { "aria-hidden": "true" }, ...ends)),
  strip,
  make("div.morph-tools", {}, play, mode, ease, speed, compare, save, files, share, code),
  why,
  spoken,
);
element.replaceChildren(root);

const sayPlace = lineVoice(spoken);
let ticket = null;
let number = 0;
let total = 0;
let frames = []; // decoded pictures by place on the path; holes until they come
let sources = [];
let thumbs = [];
let shown = -1;
let prompts = ["", ""];
let gaps = [];

// Frame of each stage; of a loop the last way ends where the path begins.
const stages = () => gaps.reduce((found, gap) => [...found, found.at(-1) + gap], [0]).slice(0, prompts.length);
// Where a frame lies: the stages around it, and how far between them.
const between = (frame) => {
  const starts = stages();
  let leg = 0;
  while (leg + 1 < gaps.length && starts[leg + 1] <= frame) leg += 1;
  const [first, share] = [starts[leg], (frame - starts[leg]) / gaps[leg]];
  return { from: prompts[leg], to: prompts[(leg + 1) % prompts.length], share, first, last: (first + gaps[leg]) % total };
};

const nearest = (place) => {
  for (let away = 0; away < total; away++) {
    if (frames[place - away]) return place - away;
    if (frames[place + away]) return place + away;
  }
  return -1;
};

const draw = () => {
  const place = Number(slider.value);
  const frame = nearest(place);
  const share = total > 1 ? place / (total - 1) : 0;
  slider.style.setProperty("--share", share);
  const way = gaps.length ? between(place) : null;
  slider.setAttribute("aria-valuetext", gaps.length > 1 ? `${Math.round(way.share * 100)} percent of the way from ${way.from} to ${way.to}` : `${Math.round(share * 100)} percent of the way`);
  if (pressed(compare)) drawRivals(place);
  if (frame < 0 || frame === shown) return;
  shown = frame;
  context.clearRect(0, 0, SIDE, SIDE);
  paint(context, frames[frame], SIDE);
  root.dataset.frame = frame;
  const here = between(frame);
  canvas.removeAttribute("aria-hidden");
  canvas.setAttribute("aria-label", `${here.from} turning into ${here.to}, ${Math.round(here.share * 100)} percent of the way`);
  thumbs.forEach(({ button, index }) => button.setAttribute("aria-current", index === frame));
};

// Comparing

let texts = []; // the frames of the path on which only the text moves, decoded
let textTicket = null; // whose they are
const drawRivals = (place) => {
  const [on, over] = [textual.getContext("2d"), faded.getContext("2d")];
  on.clearRect(0, 0, SIDE, SIDE);
  over.clearRect(0, 0, SIDE, SIDE);
  if (!gaps.length) return;
  const { from, to, share, first, last } = between(place);
  let near = texts[place];
  for (let away = 1; !near && away < total; away++) near = texts[place - away] ?? texts[place + away];
  if (near) paint(on, near, SIDE);
  textual.setAttribute("aria-label", near ? `Text path, ${Math.round(share * 100)} percent of the way from ${from} to ${to}` : "Text path, not there yet");
  faded.setAttribute("aria-label", `Cross-fade, ${Math.round(share * 100)} percent of the way from ${from} to ${to}`);
  if (!frames[first] || !frames[last]) return;
  // The sum of both with premultiplied alpha, which is what a canvas holds.
  over.globalCompositeOperation = "lighter";
  for (const [picture, weight] of [[frames[first], 1 - share], [frames[last], share]]) {
    over.globalAlpha = weight;
    paint(over, picture, SIDE);
  }
  over.globalAlpha = 1;
  over.globalCompositeOperation = "source-over";
};
const askTexts = async (tries = 8) => {
  const { way, state } = props.value ?? {};
  if (!pressed(compare) || !way || state !== "done" || textTicket === ticket) return;
  const owner = (textTicket = ticket);
  const said = rivals[0].querySelector("span");
  said.textContent = "Being drawn…";
  let answer = { state: "error", message: "The server can't be reached: try again in a moment." };
  for (; tries > 0 && owner === ticket; tries--) {
    try {
      answer = await server.compare_path({ visitor, link: way });
    } catch {
      break;
    }
    if (answer.state !== "waiting") break;
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
  if (owner !== ticket) return;
  said.textContent = answer.state === "done" ? TEXT_ONLY : answer.message || "The server is busy: try again in a moment.";
  if (answer.state === "waiting") textTicket = null;
  await Promise.all(
    Object.entries(answer.frames ?? {}).map(async ([index, source]) => {
      const picture = new Image();
      picture.src = source;
      await picture.decode().catch(() => {});
      if (owner === ticket) texts[index] = picture;
    }),
  );
  if (owner !== ticket) return;
  root.dataset.texts = texts.reduce((count) => count + 1, 0);
  drawRivals(Number(slider.value));
};
compare.addEventListener("click", () => {
  toggle(compare);
  const on = pressed(compare);
  root.classList.toggle("compared", on);
  about.hidden = !on;
  if (!on) return rivals.forEach((rival) => rival.remove());
  ways.append(...rivals);
  drawRivals(Number(slider.value));
  askTexts();
});

// Playing

let timer = 0;
let tick = 0; // of the animation, which shows frames more than once where it is eased or runs back
const playing = () => timer !== 0;
const stop = () => {
  clearInterval(timer);
  timer = 0;
  play.textContent = "Play";
  play.setAttribute("aria-pressed", "false");
};
const advance = () => {
  if (!root.checkVisibility()) return stop(); // another tab is open
  const order = timeline();
  tick = (tick + 1) % order.length;
  slider.value = order[tick];
  draw();
};
// As dalle.export.timeline has it for files.
const timeline = () => {
  let order = Array.from({ length: total }, (_, place) => place);
  if (pressed(ease) && total > 1) {
    const starts = stages();
    order = gaps.flatMap((gap, leg) =>
      Array.from({ length: gap }, (_, step) => {
        const share = step / gap;
        return (starts[leg] + Math.round((share < 0.5 ? 2 * share ** 2 : 1 - 2 * (1 - share) ** 2) * gap)) % total;
      }),
    );
    while (order.length < total) order.push(total - 1);
  }
  return pressed(mode) ? [...order, ...order.slice(1, -1).reverse()] : order;
};
const run = () => {
  clearInterval(timer);
  tick = Math.max(0, timeline().indexOf(Number(slider.value)));
  timer = setInterval(advance, 1000 / ((props.value?.fps ?? 16) * Number(speed.value)));
};
speed.addEventListener("change", () => playing() && run());
ease.addEventListener("click", () => {
  toggle(ease);
  if (playing()) run();
});
play.addEventListener("click", () => {
  if (playing()) return stop();
  run();
  play.textContent = "Pause";
  play.setAttribute("aria-pressed", "true");
});
const link = () => {
  const file = props.value?.exports?.[pressed(mode) ? "pingpong" : "loop"];
  const href = address(file);
  save.toggleAttribute("href", Boolean(href));
  if (href) {
    save.href = href;
    save.download = file.orig_name ?? "path.webp";
  }
  save.setAttribute("aria-disabled", String(!href));
};
mode.addEventListener("click", () => {
  toggle(mode);
  if (playing()) run();
  link();
});

share.addEventListener("click", () => copy(linkTo(`${props.value.link}&at=${(Number(slider.value) / Math.max(1, total - 1)).toFixed(3)}`), share));
code.addEventListener("click", () => copy(props.value.code, code));

// Dragging and keys

slider.addEventListener("input", () => {
  stop();
  draw();
});
root.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (move === undefined || event.target === slider || slider.disabled) return;
  event.preventDefault();
  stop();
  slider.value = Number(slider.value) + move;
  draw();
});

// Receiving

const complain = (message) => {
  alarm.hidden = !message;
  alarm.textContent = message;
};

const restart = (value, soon) => {
  stop();
  ticket = value.ticket;
  frames = [];
  sources = [];
  texts = [];
  shown = -1;
  delete root.dataset.frame;
  delete root.dataset.texts;
  if (!soon) {
    context.clearRect(0, 0, SIDE, SIDE);
    canvas.removeAttribute("aria-label");
    canvas.setAttribute("aria-hidden", "true");
  }
  slider.disabled = play.disabled = compare.disabled = true;
  root.dataset.frames = 0;
};

// Where frames and stages lie, as far as the server knows.
const layOut = (value) => {
  total = value.total ?? 0;
  prompts = value.prompts ?? ["", ""];
  gaps = value.gaps?.length ? value.gaps : total && prompts.length === 2 && !value.loop ? [total - 1] : [];
  slider.max = Math.max(total - 1, 1);
  slider.value = Math.round((value.at ?? 0) * (total - 1));
  const many = prompts.length > 2 || value.loop;
  slider.setAttribute("aria-label", many ? "Place on the path" : "Place between the two prompts");
  ends[0].textContent = prompts[0];
  ends[1].textContent = value.loop ? prompts[0] : prompts.at(-1);
  const places = stages();
  marks.replaceChildren(
    ...(many && gaps.length ? places : []).map((index, place) => {
      const mark = make("span", {}, place + 1);
      mark.style.setProperty("--at", index / (total - 1));
      return mark;
    }),
  );
  let wanted = total ? Array.from({ length: 9 }, (_, place) => Math.round((place * (total - 1)) / 8)) : [];
  if (many && gaps.length) wanted = gaps.flatMap((gap, leg) => (gap > 1 ? [places[leg] ?? 0, (places[leg] ?? 0) + Math.round(gap / 2)] : [places[leg]])).concat(value.loop ? [] : [total - 1]);
  thumbs = wanted.map((index) => {
    const stage = many ? places.indexOf(index) : -1;
    const where = gaps.length > 1 ? between(index) : null;
    const label = stage >= 0 ? `Go to stage ${stage + 1}: ${prompts[stage]}` : where ? `Go to between ${where.from} and ${where.to}` : `Go to ${Math.round((index / (total - 1)) * 100)} percent`;
    const button = make(stage >= 0 ? "button.thumb.of-stage" : "button.thumb", { type: "button", disabled: true, "aria-label": label, "data-stage": stage >= 0 ? stage + 1 : null });
    button.addEventListener("click", () => {
      stop();
      slider.value = index;
      draw();
    });
    return { button, index };
  });
  strip.replaceChildren(...thumbs.map(({ button }) => button));
  strip.classList.toggle("many", thumbs.length > 9);
};

const receive = async (index, source) => {
  sources[index] = source;
  const owner = ticket;
  const picture = new Image();
  picture.src = source;
  try {
    await picture.decode();
  } catch {
    return;
  }
  if (owner !== ticket) return;
  frames[index] = picture;
  const thumb = thumbs.find((candidate) => candidate.index === index);
  if (thumb) {
    thumb.button.replaceChildren(make("img", { src: source, alt: "", width: 64, height: 64 }));
    thumb.button.disabled = false;
  }
  slider.disabled = play.disabled = compare.disabled = false;
  root.dataset.frames = frames.reduce((count) => count + 1, 0);
  // A nearer frame may have come for the place where the slider stands.
  draw();
};

const show = () => {
  const value = props.value ?? {};
  const { state = "idle", message = "" } = value;
  if (value.number < number) return; // of a run that a later press has replaced
  number = value.number ?? 0;
  const given = Object.entries(value.frames ?? {});
  // What is shown stays until a run has something to show in its place, or ends without.
  const pending = value.ticket !== ticket && state === "busy" && !given.length && frames.length > 0;
  if (value.ticket !== ticket && !pending) {
    restart(value, given.length > 0);
    layOut(value);
  } else if (!pending && (value.total !== total || (value.gaps?.length && String(value.gaps) !== String(gaps)))) layOut(value);
  if (value.seeds?.length) window.playground.plan?.seeds(value.seeds);
  for (const [index, source] of given) if (!sources[index]) receive(Number(index), source);
  const done = total ? given.length / total : 0;
  bar.style.setProperty("--done", done);
  bar.setAttribute("aria-valuenow", Math.round(done * 100));
  root.dataset.state = state;
  document.body.toggleAttribute("data-preparing", state === "busy");
  const failed = state === "error";
  if (failed) abilities.lookAgain(); // it may be that there is another model
  complain(failed ? message : "");
  status.textContent = failed ? "" : message;
  if (!failed && state !== "busy") spoken.textContent = message;
  sayPlace(state === "busy" && value.waiting, message);
  hint.hidden = given.length > 0 || pending;
  share.disabled = !value.link;
  share.hidden = Boolean(value.why);
  why.hidden = !value.why;
  why.textContent = value.why ?? "";
  files.hidden = !value.way;
  code.disabled = !value.code;
  askTexts();
  note.hidden = !value.note;
  note.textContent = value.note ?? "";
  link();
};

// Preparing by itself, once both prompts have stood still for a while

const prepare = () => {
  const texts = window.playground.plan?.texts() ?? props.fields.map((id) => box(id)?.value.trim() ?? "");
  const { state, prompts: current = [] } = props.value ?? {};
  const there = ["busy", "done"].includes(state) && texts.length === current.length && texts.every((text, side) => text === current[side]?.trim());
  if (texts.every(Boolean) && !there && !abilities.why("path")) trigger("submit");
};
const still = after(STILL, prepare);
const listen = (event) => {
  if (!element.isConnected) return document.removeEventListener(event.type, listen, true);
  // Whoever presses a button has said what is wanted.
  if (event.type === "click") return event.target.closest("#prepare, #morph-stop, #roll") && still.drop();
  // A seed that is being typed is waited for as well.
  if (event.type === "input" && event.target.closest("[id^=morph-seed]") && still.waiting()) still();
  if (!props.fields.some((id) => event.target === box(id)) && !event.target.matches(".stage-prompt")) return;
  // Enter sends the boxes at once, by gradio's own submit event.
  if (event.type === "input") still();
  else if (event.key === "Enter") still.drop();
};
for (const type of ["input", "keydown", "click"]) document.addEventListener(type, listen, true);

watch("value", show);
show();
const opened = takeLink("from");
if (opened) trigger("input", { link: opened });
