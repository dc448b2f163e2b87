"""What the loaded model can't do, and the controls that are greyed out for it, with the reason.

The one table that says what needs what: `Engine.lacks` names features, `CONTROLS` the parts of the page that need them. Gradio's
components are changed by `greyed`; the scripts of the widgets ask `window.playground.abilities` (static/page.js), which gets the
same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import FormComponent

from ui.inputs import ANY_STYLE

if TYPE_CHECKING:
    from dalle.engine import Engine

AS_IT_IS = object()
GUIDANCE = object()
"""The model's own."""


@dataclass(frozen=True)
class Control:
    """The features that a part of the page needs, and the value that a box has without them."""

    needs: tuple[str, ...]
    off: Any = AS_IT_IS


CONTROLS: dict[str, Control] = {
    # Generate
    "surprise": Control(("judge",)),
    "verdict": Control(("judge",)),
    "style": Control(("styles",), ANY_STYLE),
    "best": Control(("ranker",), False),
    "guidance": Control(("guidance",), GUIDANCE),
    "truncation": Control(("truncation",), 1),
    "negative": Control(("negative",), ""),
    "strict": Control(("judge",), False),
    "look-inside": Control(("insight",)),
    # Interpolate
    "why-interpolate": Control(("mixing",)),
    "morph-a": Control(("mixing",)),
    "morph-b": Control(("mixing",)),
    "stages": Control(("mixing",)),
    "stages/upload": Control(("given",)),
    "prepare": Control(("mixing",)),
    "pairs": Control(("mixing",)),
    "path": Control(("mixing",)),
    "morph-style": Control(("mixing", "styles"), ANY_STYLE),
    "even": Control(("mixing", "pacing"), False),
    "morph-truncation": Control(("mixing", "truncation"), 1),
    "morph-seed-a": Control(("mixing",)),
    "morph-seed-b": Control(("mixing",)),
    "roll": Control(("mixing",)),
    # Mix
    "why-mix": Control(("mixing",)),
    "mix-a": Control(("mixing",)),
    "mix-b": Control(("mixing",)),
    "mix-c": Control(("mixing",)),
    "mix-d": Control(("mixing",)),
    "pad": Control(("mixing",)),
    "mix-style": Control(("mixing", "styles"), ANY_STYLE),
    # Search and Learn
    "search": Control(("ranker",)),
    "search/reference": Control(("reference",)),
    "learn": Control(("insight",)),
    "learn/history": Control(("history",)),
}
"""Element id, or a name of a part of a widget -> what it needs."""

TOLD_ABOVE = ("mixing",)
"""Features whose reason stands at the head of a tab, and not under each of its controls."""


def reason(part: str, lacks: Mapping[str, str]) -> str:
    """Why a part of the page is of no use with this model; "" where it is."""
    return next((lacks[feature] for feature in CONTROLS[part].needs if feature in lacks), "")


def needs_table() -> dict[str, tuple[str, ...]]:
    """The table for the scripts."""
    return {part: control.needs for part, control in CONTROLS.items()}


def boxes(demo: gr.Blocks) -> list[Any]:
    """The page's own components that the table names; its widgets look after themselves."""
    return [
        block for block in demo.blocks.values() if getattr(block, "elem_id", None) in CONTROLS and not isinstance(block, gr.HTML)
    ]


def greyed(box: Any, lacks: Mapping[str, str], before: Mapping[str, str]) -> dict[str, Any]:
    """What is to be changed of a component where a model that `lacks` this comes after one that lacked `before`; {} for nothing.

    The reason takes the place of its hint. What was switched off comes back as the page begins with it.
    """
    part = box.elem_id
    why = reason(part, lacks)
    if why == reason(part, before):
        return {}
    change: dict[str, Any] = {"interactive": not why}
    if isinstance(box, FormComponent):
        told = next((lacks[name] for name in CONTROLS[part].needs if name in lacks and name not in TOLD_ABOVE), "")
        change["info"] = told or box.info or ""
    if CONTROLS[part].off not in (AS_IT_IS, GUIDANCE):
        change["value"] = CONTROLS[part].off if why else box.value
    return change


def settable(part: str, value: Any, engine: Engine) -> Any:
    """A value for a box; of one that is greyed out its neutral one, since nobody could change another there."""
    if not reason(part, engine.lacks):
        return value
    off = CONTROLS[part].off
    return engine.default_guidance if off is GUIDANCE else value if off is AS_IT_IS else off
