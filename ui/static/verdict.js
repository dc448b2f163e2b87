// The judge under a prompt box. Value: {state: empty|waiting|absent|judged|error, verdict, headline, score, reason, nearest, message}.
const { box, fill, make, after, abilities } = window.playground;

const WAIT = 400; // milliseconds without a key before the judge is asked

const headline = make("strong.verdict-headline");
const score = make("span.verdict-score");
const meter = make("div.verdict-meter", { role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": "How well this can be drawn" });
const reason = make("p.verdict-reason");
const nearest = make("div.chips", { role: "group", "aria-label": "Nearest captions it knows; press one to use it" });
// Spoken: the headline and the reason. The captions below would be read again at every pause in typing.
const root = make("div.verdict");
root.append(make("div.verdict-said", { "aria-live": "polite" }, make("div.verdict-head", {}, headline, score), meter, reason), nearest);
element.replaceChildren(root);

const ask = after(WAIT, () => abilities.why("verdict") || trigger("submit"));
// The answer may be the same as before, and then nothing calls `show`: it asks until it is told otherwise.
const retry = after(1500, () => {
  if (!element.isConnected) return;
  trigger("submit");
  retry();
});

// The box may be drawn after this script has run, so its events are caught on their way up.
const listen = (event) => {
  if (!element.isConnected) return document.removeEventListener("input", listen, true);
  if (event.target === box(props.field)) ask();
};
document.addEventListener("input", listen, true);

const show = () => {
  const value = props.value ?? { state: "empty" };
  const field = box(props.field);
  if (value.state === "judged" && field && value.prompt !== field.value) return; // of a text that has changed since, and is asked about already
  root.dataset.state = value.state;
  root.dataset.verdict = value.verdict ?? "";
  retry.drop();
  if (value.state === "waiting") retry();
  const judged = value.state === "judged";
  const percent = judged ? Math.round(value.score * 100) : 0;
  headline.textContent = judged ? value.headline : "";
  score.textContent = judged ? `${percent} of 100` : "";
  meter.hidden = !judged;
  meter.style.setProperty("--score", percent / 100);
  meter.setAttribute("aria-valuenow", percent);
  reason.textContent = judged ? value.reason : (value.message ?? "");
  const captions = judged ? value.nearest : [];
  nearest.replaceChildren(
    ...(captions.length ? [make("span.chips-title", {}, "It knows")] : []),
    ...captions.map((caption) => {
      const chip = make("button.chip", { type: "button", translate: "no" }, caption);
      chip.addEventListener("click", () => fill(props.field, caption));
      return chip;
    }),
  );
};

watch("value", show);
show();
// Quiet where the model has no judge; asked anew where another model has one.
let quiet = "";
abilities.listen(element, () => {
  const reason = abilities.why("verdict");
  root.hidden = Boolean(reason);
  if (quiet && !reason) ask();
  quiet = reason;
});
