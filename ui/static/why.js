// Why a part of the page is of no use with the loaded model: props.part names it (ui/abilities.py). Nothing, where it is of use.
const { make, abilities } = window.playground;

const note = make("p.why", { role: "note", hidden: true });
element.replaceChildren(note);
abilities.listen(element, () => abilities.tellIn(note, abilities.why(props.part)));
