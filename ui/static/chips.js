// Ready-made prompts. Value: [[label, {element id: text}], …]; a press fills the boxes. The surprise is asked of the server.
const { fill, make } = window.playground;

const show = () => {
  const chips = (props.value ?? []).map(([label, texts]) => {
    const chip = make("button.chip", { type: "button", translate: "no" }, label);
    chip.addEventListener("click", () => {
      for (const [id, text] of Object.entries(texts)) fill(id, text);
    });
    return chip;
  });
  if (props.surprise) {
    const surprise = make("button.chip.surprise", { type: "button" }, props.surprise);
    surprise.addEventListener("click", () => trigger("submit"));
    chips.unshift(surprise);
  }
  element.replaceChildren(make("div.chips", { role: "group", "aria-label": props.title }, make("span.chips-title", { "aria-hidden": "true" }, "Try"), ...chips));
};

watch("value", show);
show();
