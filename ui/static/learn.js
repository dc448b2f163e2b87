// A look inside one picture. server.look_inside answers {visitor, recipe} or {visitor, prompt} with {state, message, insight};
// server.look_back answers {visitor} with {state, message, prompts, moments: [{stage, steps, minutes, images}]}.
const { make, asker, album, visitor, toLook, mixture, starButton, menu, groundSwitch, abilities } = window.playground;

const HOT = [242, 71, 106];
const COLD = [38, 120, 190];

const status = make("p.wall-status", { role: "status", "aria-live": "polite" }, "Nothing looked at yet");
const alarm = make("p.wall-alarm", { role: "alert", hidden: true });
const field = make("input", { type: "text", id: "learn-prompt", maxlength: 400, placeholder: props.example, autocomplete: "off" });
const form = make("form.find", {}, make("label", { for: "learn-prompt" }, "Look inside a picture of"), field, make("button.tool", { type: "submit" }, "Look inside"));
const hint = make("p.hint", {}, "Or press ⋯ on any picture of yours and choose “Look inside”.");
const why = make("p.wall-note", { role: "note", hidden: true });
const parts = make("div.parts");
const root = make("section.wall.learn", { "aria-label": "A look inside" });
root.append(make("div.wall-bar", {}, status, groundSwitch(root)), why, form, hint, alarm, parts);
element.replaceChildren(root);

const complain = (message) => {
  alarm.hidden = !message;
  alarm.textContent = message;
};
const ask = asker(element);
const image = (source, alt, size = 256, translate = null) =>
  make("img", { src: source.startsWith("data:image/webp;base64,") ? source : "", alt, translate, width: size, height: size });
// One whose alternative text is somebody's words.
const drawing = (source, words, size) => image(source, words, size, "no");
const part = (title, text, ...content) => make("section.part", {}, make("h3", {}, title), make("p", {}, text), ...content);
const figure = (shown, caption) => make("figure.plate", {}, shown, make("figcaption", {}, caption));

// Numbers as colours on a canvas of as many pixels, which the page enlarges.
const plot = (name, rows, colour) => {
  const canvas = make("canvas", { width: rows[0].length, height: rows.length, role: "img", "aria-label": name });
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(rows[0].length, rows.length);
  rows.flat().forEach((value, place) => pixels.data.set(colour(value), 4 * place));
  pen.putImageData(pixels, 0, 0);
  return canvas;
};
const heat = (name, rows) => {
  const all = rows.flat();
  const low = Math.min(...all);
  const span = Math.max(...all) - low || 1;
  return plot(name, rows, (value) => [...HOT, Math.round((230 * (value - low)) / span)]);
};

const words = (seen) => {
  const buttons = [];
  const stage = make("div.plates");
  const say = make("p.said-of", { role: "status", "aria-live": "polite" });
  const choose = (chosen) => {
    const word = seen.words[chosen];
    buttons.forEach((button, place) => button.setAttribute("aria-pressed", place === chosen));
    const over = (map) => make("div.over", {}, image(seen.image, ""), map);
    const share = word.attention.flat().reduce((sum, value) => sum + value, 0) / word.attention.flat().length;
    const plates = [figure(over(heat(`Where the picture attended to “${word.text}”`, word.attention)), "attention to it")];
    if (word.without) {
      plates.push(figure(image(word.without, `The picture without the word “${word.text}”`), "the same noise without it"));
      plates.push(figure(over(heat(`What changes without “${word.text}”`, word.difference)), "what that changes"));
    }
    stage.replaceChildren(...plates);
    say.textContent = `“${word.text}” got ${Math.round(100 * share)} % of the attention that the picture paid to the text.`;
  };
  seen.words.forEach((word, place) => {
    const button = make("button.chip", { type: "button", "aria-pressed": "false", translate: "no" }, word.text);
    button.addEventListener("click", () => choose(place));
    buttons.push(button);
  });
  const most = seen.words.reduce((best, word, place) => {
    const sum = (each) => (each.difference ?? [[0]]).flat().reduce((total, value) => total + value, 0);
    return sum(word) > sum(seen.words[best]) ? place : best;
  }, 0);
  if (seen.words.length) choose(most);
  return [make("div.chips", { role: "group", "aria-label": "Words of the prompt" }, ...buttons), stage, say];
};

const read = (seen) => {
  const pieces = make("p.pieces", { "aria-label": `Word pieces: ${seen.pieces.join(" ")}` }, ...seen.pieces.map((piece) => make("span.piece", { translate: "no" }, piece)));
  const rest = [];
  if (seen.judgement) {
    const near = make("ul.near", {}, ...seen.judgement.nearest.map(([caption, cosine]) => make("li", {}, make("span", { translate: "no" }, caption), ` ${cosine.toFixed(2)}`)));
    rest.push(make("p", {}, make("b", {}, `The judge gives it ${Math.round(100 * seen.judgement.score)} of 100. `), seen.judgement.reason), make("p", {}, "Nearest captions that it was taught, and the cosine of their vectors:"), near);
  }
  return [pieces, ...rest];
};

const strip = (pictures, name) =>
  make("div.plates.small", { role: "group", "aria-label": name }, ...pictures.map((source, step) => figure(image(source, step ? `After step ${step}` : "Noise, decoded"), step ? `${step}` : "noise")));

const show = (seen) => {
  const corner = make("div.corner-tools", {}, starButton(seen.prompt, seen.recipe), menu(seen.prompt, seen, server, complain));
  const peak = Math.max(...seen.channels.flat(2).map(Math.abs));
  const signed = (value) => {
    const share = Math.min(1, Math.abs(value) / peak);
    return [...(value > 0 ? HOT : COLD), Math.round(255 * share)];
  };
  const own = seen.steps.length - 1;
  const sections = [
    part(
      "1. The text, as it was read",
      "A language model that has read a lot cuts the prompt into word pieces and turns each into some hundred numbers, and all of it into one vector. Nothing else of your words reaches the painter.",
      ...read(seen),
    ),
    part(
      "2. Where each word acted",
      "The painter looks at the text from every patch of the picture. Choose a word: red shows the patches that attended to it most, and beside it what the same noise becomes when the word is left out.",
      ...words(seen),
    ),
    part(
      "3. From noise to picture",
      own === 1 ? "This picture took one step from pure noise. Below, the same noise in eight smaller steps: what each would give if the drawing ended there." : `This picture took ${own} steps from pure noise: what each would give if the drawing ended there.`,
      strip(seen.steps, "Steps of this picture"),
      seen.long.length ? strip(seen.long, "The same noise in eight steps") : null,
    ),
    part(
      "4. The latent",
      `What is drawn is no picture yet but ${seen.channels.length} channels of ${seen.channels[0].length} by ${seen.channels[0].length} numbers (red above zero, blue below). The decoder paints 256 by 256 pixels of four numbers each from them.`,
      make("div.plates.small", {}, ...seen.channels.map((rows, place) => figure(plot(`Channel ${place + 1} of the latent`, rows, signed), `${place + 1}`))),
    ),
  ];
  if (seen.nearest.length) {
    const near = seen.nearest.map(({ image: source, label, style, distance }) => figure(drawing(source, label, 80), make("span", {}, make("span", { translate: "no" }, label), make("small", {}, make("span.style-name", {}, style), `, ${distance.toFixed(2)}`))));
    sections.push(
      part(
        "5. What it was taught that looks like it",
        "The nearest of the reference drawings, one for each thing it learned, by the distance of the ranker's vectors (0 is the same, 1 has nothing in common). A copy would be among them at almost 0, and look like it.",
        make("div.plates.small", {}, ...near),
      ),
    );
  }
  const title = make("div.looked", {}, make("div.picture", {}, drawing(seen.image, seen.prompt), corner), make("p", {}, make("b", { translate: "no" }, seen.text), make("br"), `seed ${seen.seed}`));
  chosen.replaceChildren(title, ...sections);
};

let turn = 0;
let asked = null; // what is shown, or on its way
const look = async (question) => {
  if (abilities.why("learn")) return;
  const mine = ++turn;
  asked = question;
  stale = false;
  complain("");
  status.textContent = "Looking inside";
  root.setAttribute("aria-busy", "true");
  const answer = await ask(() => server.look_inside({ visitor, ...question }));
  if (mine !== turn || !element.isConnected) return;
  root.removeAttribute("aria-busy");
  if (answer.state !== "done") {
    status.textContent = "Nothing to see";
    return complain(answer.message);
  }
  status.textContent = "A look inside";
  root.dataset.shown = answer.insight.prompt;
  show(answer.insight);
};
form.addEventListener("submit", (event) => {
  event.preventDefault();
  look({ prompt: field.value.trim() || props.example });
});

// How it learned: the same noise and prompts from the first minutes of training to the last.
const chosen = make("div.parts");
const past = make("section.part", { hidden: true });
parts.append(chosen, past);
let back = 0;
const lookBack = async () => {
  const mine = ++back;
  const reason = abilities.why("learn/history");
  past.hidden = !reason;
  past.replaceChildren(...(reason ? [make("h3", {}, "How it learned"), make("p", {}, reason)] : []));
  if (reason) return;
  const answer = await ask(() => server.look_back({ visitor }));
  if (answer.state !== "done" || !answer.moments.length || mine !== back || !element.isConnected) return;
  const { prompts, moments } = answer;
  const pictures = prompts.map((prompt, place) => drawing(moments[0].images[place], prompt, 128));
  const told = make("output", { for: "learn-moment" });
  const slider = make("input", { type: "range", id: "learn-moment", min: 0, max: moments.length - 1, step: 1, value: moments.length - 1 });
  const move = () => {
    const moment = moments[Number(slider.value)];
    pictures.forEach((picture, place) => (picture.src = moment.images[place]));
    const stage = moment.stage === "distill" ? "distilled to one step" : "learning to draw";
    told.textContent = `minute ${Math.round(moment.minutes)}, ${moment.steps.toLocaleString("en")} optimiser steps: ${stage}`;
    slider.setAttribute("aria-valuetext", told.textContent);
    root.dataset.moment = slider.value;
  };
  slider.addEventListener("input", move);
  past.hidden = false;
  past.append(
    make("h3", {}, "How it learned"),
    make("p", {}, "The same prompts with the same noise, from the first minutes of training to the weights that draw here."),
    make("label", { for: "learn-moment" }, "Moment of the training"),
    slider,
    told,
    make("div.plates.small", {}, ...pictures.map((picture, place) => figure(picture, make("span", { translate: "no" }, prompts[place])))),
  );
  move();
};

// What is shown is of the model that was there: another one is looked at anew.
let stale = true;
let looked = false;
const arrive = () => {
  if (!element.isConnected) return;
  const recipe = toLook(arrive);
  if (recipe) look({ recipe });
  else if (stale && root.checkVisibility()) {
    const newest = album.all().find(({ recipe }) => !mixture(recipe));
    look(asked ?? (newest ? { recipe: newest.recipe } : { prompt: props.example }));
  }
  if (!looked && root.checkVisibility()) {
    looked = true;
    lookBack();
  }
};
abilities.listen(element, () => {
  const reason = abilities.why("learn");
  abilities.tellIn(why, reason);
  hint.hidden = Boolean(reason);
  for (const part of [field, form.lastChild]) part.disabled = Boolean(reason);
  stale = true;
  looked = false;
  if (reason) {
    turn += 1;
    chosen.replaceChildren();
    root.removeAttribute("aria-busy");
    delete root.dataset.shown;
    status.textContent = "Nothing to see";
  }
  arrive();
});
new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && arrive()).observe(root);
arrive();
