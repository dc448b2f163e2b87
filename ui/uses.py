"""What the pictures are for: the presets of the Generate tab as its widget and its handlers see them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dalle.config import DalleError
from dalle.uses import drawn_as, opaque_words
from ui import inputs

NONE: dict[str, Any] = {"chosen": ""}
"""The widget's JSON (see static/uses.js) for pictures that are for nothing in particular."""


def choose(event: gr.EventData) -> tuple[Any, Any, Any]:
    """The widget, the number of pictures and the style for {use}; a use that isn't there changes nothing."""
    sent = event._data if isinstance(event._data, dict) else {}
    try:
        use = inputs.use_of(sent.get("use"))
    except DalleError:
        return gr.skip(), gr.skip(), gr.skip()
    if use is None:  # back to pictures: the number that was set stays
        return NONE, gr.skip(), inputs.ANY_STYLE
    return {"chosen": use.name}, use.num_images, use.style or inputs.ANY_STYLE


def drawn(question: object) -> dict[str, Any]:
    """{drawn, note} for {prompt, use}: the words that the model gets, where they are others, and what to mind. Never raises."""
    sent = question if isinstance(question, dict) else {}
    try:
        prompt, use = inputs.text(sent.get("prompt")), inputs.use_of(sent.get("use"))
    except DalleError as error:
        return {"drawn": "", "note": str(error)}
    if use is None or not prompt.strip():
        return {"drawn": "", "note": ""}
    words, note = opaque_words(prompt), ""
    if words:
        note = f"“{words}” stays the background." if use.words else f"“{words}” is drawn along: not transparent."
    text = drawn_as(prompt, use)
    return {"drawn": text if text != prompt else "", "note": note}
