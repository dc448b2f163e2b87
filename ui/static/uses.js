// What the pictures are for. Value: {chosen}, the name of one of props.uses ({name, label, ground, save, output, …}) or "". Its "select"
// asks for the preset: {use}. server.drawn_for_use answers {prompt, use} with {drawn, note}: the words that the model gets, where they
// are others than those that were typed.
const { after, box, chooseGround, make, use } = window.playground;

const WAIT = 150; // milliseconds without a key before the server is asked

const presets = [{ name: "", label: "Just pictures" }, ...props.uses];
const buttons = presets.map(({ name, label }) => {
  const button = make("button.use", { type: "button", "data-use": name }, label);
  button.addEventListener("click", () => trigger("select", { use: name }));
  return button;
});
const output = make("span");
const drawn = make("span.use-drawn");
const note = make("span.use-note");
const said = make("p.use-said", { "aria-live": "polite", hidden: true }, output, drawn, note);
const title = make("span.chips-title", { "aria-hidden": "true" }, "Make it for");
element.replaceChildren(make("div.uses", {}, title, make("div.use-cards", { role: "group", "aria-label": "Make it for" }, ...buttons), said));

let number = 0;
const chosen = () => presets.find(({ name }) => name === (props.value?.chosen ?? "")) ?? presets[0];
const tell = async () => {
  const prompt = box(props.field)?.value ?? "";
  const { name } = chosen();
  const own = ++number;
  if (!name || !prompt.trim()) return drawn.replaceChildren(), note.replaceChildren();
  let answer = {};
  try {
    answer = await server.drawn_for_use({ prompt, use: name });
  } catch {
    return; // what the line says is told again with the next key
  }
  if (own !== number) return;
  drawn.replaceChildren(...(answer.drawn ? ["Drawn as ", make("q", { translate: "no" }, answer.drawn)] : []));
  note.textContent = answer.note ?? "";
};
use.retell = after(WAIT, tell); // called at every change of the prompt, by hand or by the server

const show = () => {
  const preset = chosen();
  buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.use === preset.name)));
  said.hidden = !preset.name;
  output.textContent = preset.name ? `“Save all” makes ${preset.output}.` : "";
  if (preset.ground) chooseGround(preset.ground);
  use.choose(preset.name ? preset : null);
  tell();
};

watch("value", show);
show();
