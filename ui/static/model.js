// Which model draws, and the change to another one, for everybody. Value: {key, state: loading|ready|failed, model, device, message, lacks,
// change: {to, state: none|working|done|failed, message, stamp}}; its "submit" asks for the page to be set up for another model.
// server.look_at_model answers with the same and {folders}; server.describe_model answers {visitor, model} with {state, message, model,
// pinned, title, kind, licence, size, revision, card}; server.switch_model answers {model} with {state, message, stamp}. props.models lists what
// may be chosen: null for anything, [] for nothing. props.needs goes to the widgets (ui/abilities.py).
const { make, asker, visitor, abilities } = window.playground;

const LOOK = 5000; // milliseconds between two looks, of a page that is seen
const SOON = 1000; // while a model is on its way

const WORDS = { loading: "Loading the model", ready: "Ready", failed: "The model could not be loaded" };

const words = make("b");
const details = make("span");
const line = make("p.model-status", { role: "status" }, words, details);
const coming = make("p.model-coming", { role: "status", hidden: true });
const change = make("button.model-change", { type: "button", "aria-haspopup": "dialog" }, "Change model");
change.hidden = props.models?.length === 0;
const root = make("div.model-box", {}, line, change, coming);
element.replaceChildren(root);

const ask = asker(element);
let told = props.value ?? {};
let folders = false;
let dialog = null; // what is open, {news, close}

// A model's name is data, never translated; of a commit seven digits are enough to tell it.
const short = (model) => model.replace(/@([0-9a-f]{7})[0-9a-f]{33}$/, "@$1");
const name = (model) => make("span", { translate: "no", title: model }, short(model));

const show = () => {
  const { state = "loading", model = "", device = "", message = "", change: { to = "", state: going = "none" } = {} } = told;
  line.dataset.state = state;
  line.setAttribute("role", state === "failed" ? "alert" : "status");
  words.textContent = WORDS[state] ?? "";
  details.textContent = state === "ready" ? `${short(model)} on ${device}` : state === "failed" ? message : short(model);
  details.title = model;
  const working = going === "working";
  if (working && coming.hidden) coming.replaceChildren(name(to), " is on its way, for everybody on this page");
  coming.hidden = !working;
  dialog?.news();
};

// The page follows the model that the server has: its controls, its card, its steps.
let asked = "";
let askedAt = 0;
const follow = () => {
  abilities.tell(told.key ?? "", told.lacks ?? {}, props.needs);
  if (told.key === props.value?.key || !told.key) return;
  if (asked === told.key && performance.now() - askedAt < LOOK) return;
  asked = told.key;
  askedAt = performance.now();
  trigger("submit");
};

let timer = 0;
const look = async () => {
  clearTimeout(timer);
  if (!element.isConnected) return;
  try {
    const now = await server.look_at_model({});
    folders = now.folders;
    told = now;
    show();
    follow();
  } catch {
    // The server can't be reached: asked again.
  }
  clearTimeout(timer);
  if (document.hidden) return;
  timer = setTimeout(look, told.state === "loading" || told.change?.state === "working" ? SOON : LOOK);
};
const wake = () => {
  if (!element.isConnected) return document.removeEventListener("visibilitychange", wake);
  if (!document.hidden) look();
};
document.addEventListener("visibilitychange", wake);
abilities.lookAgain = look;

// A card as text: headings, lists, paragraphs, code. Nothing in it can become markup.
const inline = (text) =>
  text.split(/(\*\*[^*]+\*\*|\*[^*\s][^*]*\*|`[^`]+`|\[[^[\]]*\]\([^()\s]*\))/).map((part) => {
    if (/^\*\*.+\*\*$/.test(part)) return make("b", {}, part.slice(2, -2));
    if (/^\*.+\*$/.test(part)) return make("i", {}, part.slice(1, -1));
    if (/^`.+`$/.test(part)) return make("code", {}, part.slice(1, -1));
    const link = /^\[([^\]]*)\]\(/.exec(part);
    return link ? link[1] : part;
  });
const cardParts = (card) => {
  const parts = [];
  let list = null;
  let code = null;
  let text = null;
  const rest = () => (list = text = null);
  for (const row of card.split("\n")) {
    const fence = /^\s*(```|~~~)/.test(row);
    if (code) {
      if (fence) code = null;
      else code.append(`${row}\n`);
    } else if (fence || row.startsWith("|")) {
      rest();
      const table = !fence && parts.at(-1)?.dataset.table !== undefined;
      const block = table ? parts.at(-1) : make("pre", fence ? {} : { "data-table": "" });
      if (!table) parts.push(block);
      if (fence) code = block;
      else block.append(`${row}\n`);
    } else if (/^#{1,6}\s/.test(row)) {
      rest();
      parts.push(make("p.card-heading", {}, ...inline(row.replace(/^#+\s*/, ""))));
    } else if (/^\s*[-*+]\s/.test(row)) {
      text = null;
      if (!list) parts.push((list = make("ul")));
      list.append(make("li", {}, ...inline(row.replace(/^\s*[-*+]\s/, ""))));
    } else if (!row.trim()) rest();
    else if (list) list.lastChild.append(" ", ...inline(row.trim()));
    else {
      if (text) text.append(" ", ...inline(row.trim()));
      else parts.push((text = make("p", {}, ...inline(row.trim()))));
    }
  }
  return parts;
};

const openDialog = () => {
  const alarm = make("p.wall-alarm", { role: "alert", hidden: true });
  const complain = (message) => {
    alarm.hidden = !message;
    alarm.textContent = message;
    if (message) alarm.scrollIntoView({ block: "nearest" });
  };
  const spoken = make("p.model-news", { role: "status" });
  const listed = props.models?.length;
  const field = listed
    ? make("select.model-field", { id: "model-name", translate: "no" }, ...props.models.map((each) => make("option", { value: each }, each)))
    : make("input.model-field", { id: "model-name", type: "text", maxlength: 300, autocomplete: "off", spellcheck: "false", autocapitalize: "off", placeholder: "user/repo", "aria-describedby": "model-hint" });
  const press = make("button.tool", { type: "submit" }, "Look");
  const hint = listed ? null : make("p.model-hint", { id: "model-hint" }, folders ? "A model of the Hub, user/repo or user/repo@revision, or a folder on this machine." : "A model of the Hub: user/repo or user/repo@revision.");
  const form = make("form.model-form", {}, make("label", { for: "model-name" }, listed ? "Models of this page" : "Which model?"), field, press, hint);
  const found = make("section.model-found", { hidden: true, "aria-label": "The model that was looked at" });
  const start = make("button.tool.model-switch", { type: "button" }, "Switch to it");
  const close = make("button.tool", { type: "button" }, "Close");
  const present = make("p.model-now");
  const shared = make("p.model-shared", {}, "There is one model for everybody on this page: a switch changes it for all, and what is being drawn by then has to be drawn again.");
  const box = make("dialog.picker.model-dialog", { "aria-labelledby": "model-title" }, make("h3", { id: "model-title" }, "Change the model"), present, shared, form, alarm, found, spoken, make("div.picker-tools", {}, start, close));
  start.hidden = true;

  let seen = null; // what was looked at
  let stamp = ""; // of the change that was asked for here
  let began = 0;
  let turn = 0;
  const fact = (term, text, translate = null) => (text ? [make("dt", {}, term), make("dd", { translate }, text)] : []);
  const present_ = () => present.replaceChildren("Now draws: ", name(told.model ?? ""));
  const offer = () => {
    const there = seen && [seen.model, seen.pinned].includes(told.model);
    start.hidden = !seen;
    start.disabled = there || told.change?.state === "working";
    start.textContent = there ? "It draws already" : "Switch to it";
  };
  const describe = async () => {
    const mine = ++turn;
    seen = null;
    complain("");
    found.hidden = true;
    offer();
    spoken.textContent = "Looking at its card";
    press.disabled = true;
    const answer = await ask(() => server.describe_model({ visitor, model: field.value }));
    press.disabled = false;
    if (mine !== turn || !box.isConnected) return;
    spoken.textContent = "";
    if (answer.state !== "done") return complain(answer.message || "The server is busy: try again in a moment.");
    seen = answer;
    found.replaceChildren(
      make("h4", { translate: "no" }, answer.title),
      make("dl.model-facts", {}, ...fact("Model", answer.model, "no"), ...fact("Kind", answer.kind, "no"), ...fact("Licence", answer.licence || "not said", answer.licence ? "no" : null), ...fact("Weights", answer.size, "no"), ...fact("Commit", answer.revision.slice(0, 7), "no")),
      answer.card ? make("div.model-card-text", { translate: "no", tabindex: 0, role: "region", "aria-label": "Its card" }, ...cardParts(answer.card)) : make("p.model-hint", {}, "It has no card."),
    );
    found.hidden = false;
    offer();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!press.disabled) describe();
  });
  if (listed) field.addEventListener("change", describe);
  start.addEventListener("click", async () => {
    complain("");
    start.disabled = true;
    const answer = await ask(() => server.switch_model({ model: seen.model }));
    if (answer.state !== "done") {
      offer();
      return complain(answer.message || "The server is busy: try again in a moment.");
    }
    stamp = answer.stamp;
    began = performance.now();
    look();
  });
  const news = () => {
    present_();
    const { to = "", state = "none", message = "", stamp: of = "" } = told.change ?? {};
    box.toggleAttribute("data-working", state === "working");
    if (state === "working") {
      const seconds = began ? Math.round((performance.now() - began) / 1000) : 0;
      const so = "Fetching and loading; the present model goes on drawing, and waits while this one is opened.";
      if (spoken.dataset.to !== to) spoken.replaceChildren(name(to), ": ", make("span", {}, so), make("span.model-seconds", { "aria-hidden": "true" }));
      spoken.dataset.to = to;
      spoken.querySelector(".model-seconds").textContent = seconds ? ` ${seconds} s` : "";
    } else if (spoken.dataset.to) {
      delete spoken.dataset.to;
      spoken.replaceChildren();
    }
    if (stamp && of === stamp && state === "failed") {
      stamp = "";
      complain(message);
    }
    if (stamp && of === stamp && state === "done") return box.close();
    offer();
  };
  close.addEventListener("click", () => box.close());
  box.addEventListener("click", (event) => event.target === box && event.detail < 2 && box.close()); // a double click on what opens it ends out here
  box.addEventListener("close", () => {
    dialog = null;
    box.remove();
    change.focus();
  });
  dialog = { news };
  root.append(box);
  box.showModal();
  field.focus();
  news();
  if (listed) {
    field.value = props.models.find((each) => each === told.model || each === told.model?.split("@")[0]) ?? props.models[0];
    describe();
  }
};
change.addEventListener("click", () => dialog || openDialog());

watch("value", () => {
  told = { ...told, ...props.value };
  show();
  abilities.tell(told.key ?? "", told.lacks ?? {}, props.needs);
});
show();
look();
