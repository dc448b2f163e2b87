// Ready-made prompts. Value: [[label, {element id: text}], …]; a press fills the boxes. The surprise is asked of the server.
const { fill, make, abilities } = window.playground;

const why = make("p.why-chip", { hidden: true });

const show = () => {
  const useless = abilities.why(props.part);
  const chips = (props.value ?? []).map(([label, texts]) => {
    const chip = make("button.chip", { type: "button", translate: "no", disabled: Boolean(useless) }, label);
    chip.addEventListener("click", () => {
      for (const [id, text] of Object.entries(texts)) fill(id, text);
    });
    return chip;
  });
  if (props.surprise) {
    const reason = abilities.why("surprise");
    const surprise = make("button.chip.surprise", { type: "button", disabled: Boolean(reason) }, props.surprise);
    surprise.addEventListener("click", () => trigger("submit"));
    chips.unshift(surprise);
    abilities.tellIn(why, reason);
  }
  element.replaceChildren(make("div.chips", { role: "group", "aria-label": props.title }, make("span.chips-title", { "aria-hidden": "true" }, "Try"), ...chips), why);
};

watch("value", show);
abilities.listen(element, show);
