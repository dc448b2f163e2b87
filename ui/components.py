"""The page's own components: gr.HTML with our JavaScript, which draws them from a JSON value.

The template is empty on purpose: gradio fills templates in by string substitution, whereas the scripts set text as
text, so that nothing in a prompt or a caption can become markup. They are made by functions, not by subclasses, since
gradio writes a stub file beside the source of every subclass of a component.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from dalle.config import MAX_MADE_OF, MIN_TRUNCATION
from dalle.uses import USES

STATIC = Path(__file__).parent / "static"


@cache
def asset(name: str) -> str:
    """A file of ui/static as text."""
    return (STATIC / name).read_text(encoding="utf-8")


Answerer = Callable[[dict[str, Any]], dict[str, Any]]
"""Answers a question of a widget's script; see `ui.direct`."""


def model(
    value: dict[str, Any],
    elem_id: str,
    *,
    models: tuple[str, ...] | None,
    needs: dict[str, tuple[str, ...]],
    look: Answerer,
    describe: Answerer,
    switch: Answerer,
) -> gr.HTML:
    """Which model draws, and the box that changes it to one of `models` (None: any).

    Its script asks `look` how things stand, `describe` for a model's card, and `switch` for the change; its "submit" asks for the
    page to be set up for another model. `needs` says which part of the page needs which features.
    """

    def look_at_model(question: dict[str, Any]) -> dict[str, Any]:
        return look(question)

    def describe_model(question: dict[str, Any]) -> dict[str, Any]:
        return describe(question)

    def switch_model(question: dict[str, Any]) -> dict[str, Any]:
        return switch(question)

    functions = [look_at_model, describe_model, switch_model]
    return _widget("model.js", value, elem_id, models=models, needs=needs, server_functions=functions)


def why(elem_id: str) -> gr.HTML:
    """Why a tab is of no use with the loaded model, where it isn't. The element's id is its row of the table (`ui.abilities`)."""
    return _widget("why.js", {}, elem_id, part=elem_id)


def wall(value: dict[str, Any], elem_id: str, *, deliver: Answerer) -> gr.HTML:
    """The pictures of a run, as they come. Its script asks `deliver` for files; its "input" asks for a link to be opened."""

    def deliver_files(question: dict[str, Any]) -> dict[str, Any]:
        return deliver(question)

    return _widget("wall.js", value, elem_id, server_functions=[deliver_files])


def uses(value: dict[str, Any], elem_id: str, *, field: str, drawn: Answerer) -> gr.HTML:
    """What the pictures are for. Its "select" asks for a preset.

    Its script asks `drawn` how the prompt in the box `field` is drawn.
    """

    def drawn_for_use(question: dict[str, Any]) -> dict[str, Any]:
        return drawn(question)

    return _widget("uses.js", value, elem_id, field=field, uses=used(), server_functions=[drawn_for_use])


def album(elem_id: str, *, redraw: Answerer, deliver: Answerer) -> gr.HTML:
    """The pictures that this browser keeps recipes of. Its script asks `redraw` for them; its "select" asks to open one."""

    def redraw_pictures(question: dict[str, Any]) -> dict[str, Any]:
        return redraw(question)

    def deliver_files(question: dict[str, Any]) -> dict[str, Any]:
        return deliver(question)

    return _widget("album.js", {}, elem_id, uses=used(), most=MAX_MADE_OF, server_functions=[redraw_pictures, deliver_files])


def search(elem_id: str, *, find: Answerer, redraw: Answerer, deliver: Answerer) -> gr.HTML:
    """Pictures found by text. Its script asks `find`, and `redraw` for those of this browser; its "select" asks to open one."""

    def find_pictures(question: dict[str, Any]) -> dict[str, Any]:
        return find(question)

    def redraw_pictures(question: dict[str, Any]) -> dict[str, Any]:
        return redraw(question)

    def deliver_files(question: dict[str, Any]) -> dict[str, Any]:
        return deliver(question)

    return _widget("search.js", {}, elem_id, server_functions=[find_pictures, redraw_pictures, deliver_files])


def learn(elem_id: str, *, look: Answerer, history: Answerer, example: str) -> gr.HTML:
    """A look inside a picture. Its script asks `look` for one, and `history` for how the model learned."""

    def look_inside(question: dict[str, Any]) -> dict[str, Any]:
        return look(question)

    def look_back(question: dict[str, Any]) -> dict[str, Any]:
        return history(question)

    return _widget("learn.js", {}, elem_id, example=example, server_functions=[look_inside, look_back])


def verdict(value: dict[str, Any], elem_id: str, *, field: str) -> gr.HTML:
    """What the judge says about the prompt in the box with element id `field`. Its "submit" asks for a judgement."""
    return _widget("verdict.js", value, elem_id, field=field)


def chips(value: list[list[Any]], elem_id: str, *, title: str, surprise: str = "") -> gr.HTML:
    """Buttons that fill prompt boxes: a list of [label, {element id: text}].

    With `surprise`, the label of one more, whose press is a "submit".
    """
    return _widget("chips.js", value, elem_id, title=title, surprise=surprise, part=elem_id)


def morph(value: dict[str, Any], elem_id: str, *, fields: list[str], deliver: Answerer, compare: Answerer) -> gr.HTML:
    """The path between the prompts in the boxes `fields`: frames, slider, film strip.

    Its "submit" asks for frames, its "input" for a link to be opened; its script asks `deliver` for files, and `compare` for the
    path on which only the text moves.
    """

    def deliver_files(question: dict[str, Any]) -> dict[str, Any]:
        return deliver(question)

    def compare_path(question: dict[str, Any]) -> dict[str, Any]:
        return compare(question)

    return _widget("morph.js", value, elem_id, fields=fields, server_functions=[deliver_files, compare_path])


def stages(
    value: dict[str, Any],
    elem_id: str,
    *,
    fields: list[str],
    seeds: list[str],
    most: int,
    take: Answerer,
    redraw: Answerer,
) -> gr.HTML:
    """The stages of a path, `most` of them; those of the first two that are text stand in the boxes `fields` and `seeds`.

    Its value is what the visitor makes of it; its "submit" says that it has changed. Its script asks `take` what an upload is, and
    `redraw` for pictures of the browser's album.
    """

    def take_picture(question: dict[str, Any]) -> dict[str, Any]:
        return take(question)

    def redraw_pictures(question: dict[str, Any]) -> dict[str, Any]:
        return redraw(question)

    functions = [take_picture, redraw_pictures]
    return _widget("stages.js", value, elem_id, fields=fields, seeds=seeds, most=most, server_functions=functions)


def pad(value: dict[str, Any], elem_id: str, *, fields: list[str], style: str, follow: Answerer) -> gr.HTML:
    """The pad between the prompts in the boxes `fields`, in the style of the box `style`.

    Its script asks `follow` for points, in the words of its value; its "submit" asks for one to keep.
    """

    def draw_points(question: dict[str, Any]) -> dict[str, Any]:
        return follow(question)

    return _widget("pad.js", value, elem_id, fields=fields, style=style, server_functions=[draw_points])


def used() -> list[dict[str, Any]]:
    """The uses as the scripts need them."""
    return [asdict(use) for use in USES.values()]


def seed_box(label: str, elem_id: str) -> gr.Textbox:
    """Text, not gr.Number: that one turns an empty box into 0, and here an empty box means a random seed."""
    return gr.Textbox(
        label=label,
        placeholder="random",
        lines=1,
        max_lines=1,
        elem_id=elem_id,
        html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
    )


def variety(elem_id: str) -> gr.Slider:
    """How widely noise is drawn: the truncation."""
    return gr.Slider(MIN_TRUNCATION, 1, value=1, step=0.05, label="Variety", info="Less: more typical pictures", elem_id=elem_id)


def _widget(script: str, value: Any, elem_id: str, **props: Any) -> gr.HTML:
    return gr.HTML(value, html_template="", js_on_load=asset(script), apply_default_css=False, elem_id=elem_id, **props)
