"""The Mix tab: up to four prompts at the corners of a pad, and the picture of the point that is dragged between them.

A point takes one evaluation of the model, so it is drawn while the visitor drags: the script (static/pad.js) asks for the next
point when it has the last (`ui.direct`).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import gradio as gr

from dalle.config import MAX_SEED, DalleError, SettingError
from dalle.images import data_uri
from dalle.requests import Picture, picture_metadata
from ui import components, inputs, links
from ui.abilities import settable
from ui.direct import Direct, visitor_name
from ui.outbox import Outbox
from ui.runner import QUIET, session_of
from ui.settings import PageSettings

if TYPE_CHECKING:
    from dalle.engine import Engine

CORNERS = ("a", "b", "c", "d")
"""Left above, right above, left below, right below."""

MAX_POINTS = 5
"""Points that may be asked for at once: the four corners and the one between them."""

IDLE: dict[str, Any] = {"stamp": 0, "state": "idle", "message": "", "points": [], "file": None, "recipe": None}
"""The pad's JSON (see static/pad.js)."""


def open_sent(event: gr.EventData) -> tuple[Any, ...]:
    """Tabs, the four prompts and the style of a {link}; seeds and point are the script's own. A bad link changes nothing."""
    sent = event._data if isinstance(event._data, dict) else {}
    try:
        asked = links.mix_of(sent.get("link"))
    except DalleError:
        return (gr.skip(),) * (len(CORNERS) + 2)
    return gr.Tabs(selected="mix"), *asked.prompts, asked.style or inputs.ANY_STYLE


def corner_weights(x: float, y: float) -> tuple[float, float, float, float]:
    """How much each corner counts at a point of the unit square, bilinear: they sum to 1, and at a corner it counts alone."""
    return (1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y


class Mix:
    """The handlers of the tab, apart from its layout so that they can be run without a page."""

    kind = "mix"

    def __init__(self, engine: Engine, direct: Direct, outbox: Outbox) -> None:
        self._engine = engine
        self._direct = direct
        self._outbox = outbox

    def follow(self, question: object) -> dict[str, Any]:
        """Pictures of the points that a page asks for. Every ending is a state of the pad, never an exception.

        Called by the pad's script without the queue and its messages, which would cost a point as much time as drawing it does.

        Args:
            question: {visitor, stamp, prompts, style, points, seeds}; `visitor` is a name that the page has given itself, and only
                tells which question a newer one replaces.
        """
        sent = question if isinstance(question, dict) else {}
        given = sent.get("prompts")
        prompts = tuple(given) if isinstance(given, list) and len(given) == len(CORNERS) else ()
        return self._answer(prompts, sent.get("style"), sent, visitor_name(sent, self.kind), keep=False)

    def keep(
        self,
        prompt_a: object,
        prompt_b: object,
        prompt_c: object,
        prompt_d: object,
        style: object,
        event: gr.EventData,
        request: gr.Request,
    ) -> dict[str, Any]:
        """The same, and the last picture as a file to save and a recipe for the album."""
        sent = event._data if isinstance(event._data, dict) else {}
        return self._answer((prompt_a, prompt_b, prompt_c, prompt_d), style, sent, session_of(request), keep=True)

    def _answer(self, prompts: tuple[object, ...], style: object, sent: dict[str, Any], session: str, keep: bool) -> dict[str, Any]:
        def work(cancel: threading.Event) -> dict[str, Any]:
            if not prompts:
                raise SettingError("Give each of the four corners a prompt or an empty text.")
            points = asked_points(sent.get("points"))
            seeds = asked_seeds(sent.get("seeds"))
            drawn = [self._draw(prompts, style, seeds, x, y, cancel, keep) for x, y in points]
            found = [{"x": x, "y": y, "image": data_uri(drawn.image)} for (x, y), drawn in zip(points, drawn, strict=True)]
            if not keep:
                return {"points": found}
            return {"points": found, "file": self._outbox.picture(drawn[-1]), "recipe": picture_metadata(drawn[-1])}

        stamp = sent.get("stamp") if isinstance(sent.get("stamp"), int) else 0
        return self._direct.answer(self.kind, session, IDLE | {"stamp": stamp}, work)

    def _draw(
        self,
        prompts: tuple[object, ...],
        style: object,
        seeds: list[int],
        x: float,
        y: float,
        cancel: threading.Event,
        scored: bool,
    ) -> Picture:
        written = [(inputs.text(prompt), seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        parts = [(*part, weight) for part, weight in zip(written, corner_weights(x, y), strict=True) if part[0].strip()]
        if not parts:
            raise SettingError("Write something into at least one of the four corners.")
        weights = [weight for *_, weight in parts]
        wish = inputs.mix_request(
            prompts=[prompt for prompt, *_ in parts],
            # Far from every corner that has a prompt, all of those count alike.
            weights=weights if sum(weights) > 1e-6 else [1.0] * len(parts),
            seeds=[seed for _, seed, _ in parts],
            num_inference_steps=self._engine.default_steps[1],
            style=style,
            scored=scored,
        )
        return self._engine.mix(wish, cancel=cancel)


def asked_points(value: object) -> list[tuple[float, float]]:
    """Points of the unit square, from a browser.

    Raises:
        SettingError: no such points, or too many.
    """
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_POINTS:
        raise SettingError(f"Ask for 1 to {MAX_POINTS} points of the pad at once.")
    points = []
    for point in value:
        place = [inputs.number(number, "point") for number in point] if isinstance(point, list) and len(point) == 2 else []
        if not place or not all(number is not None and 0 <= number <= 1 for number in place):
            raise SettingError("A point of the pad is a pair of numbers between 0 and 1.")
        points.append((place[0], place[1]))
    return points


def asked_seeds(value: object) -> list[int]:
    """A seed for each corner, from a browser.

    Raises:
        SettingError: not four seeds.
    """
    seeds = [inputs.whole_number(seed, "seed") for seed in value] if isinstance(value, list) else []
    if len(seeds) != len(CORNERS) or not all(seed is not None and 0 <= seed <= MAX_SEED for seed in seeds):
        raise SettingError(f"Give each of the four corners a seed between 0 and {MAX_SEED}.")
    return seeds


def mix_tab(engine: Engine, direct: Direct, settings: PageSettings, tabs: gr.Tabs) -> None:
    """Lays the tab out and wires it."""
    components.why("why-mix")
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="ask"):
            boxes = []
            with gr.Row(elem_classes="corners"):
                for corner, label, example in zip(
                    CORNERS,
                    ("Left above", "Right above", "Left below", "Right below"),
                    settings.corners,
                    strict=True,
                ):
                    boxes.append(
                        gr.Textbox(value=example, label=label, lines=1, max_lines=3, elem_id=f"mix-{corner}", min_width=120)
                    )
        with gr.Column(elem_classes="show"):
            # The script's questions come only when the page is there, and the handlers by then as well.
            pad = components.pad(
                IDLE,
                "pad",
                fields=[f"mix-{corner}" for corner in CORNERS],
                style="mix-style",
                follow=lambda question: handlers.follow(question),
            )
        with gr.Column(elem_classes="tune"):
            style = gr.Dropdown([inputs.ANY_STYLE, *engine.styles], value=inputs.ANY_STYLE, label="Style", elem_id="mix-style")
    handlers = Mix(engine, direct, Outbox(pad))
    values = {f"prompt_{corner}": box for corner, box in zip(CORNERS, boxes, strict=True)} | {"style": style}
    pad.submit(handlers.keep, inputs_kwargs=values, outputs=pad, queue=False, trigger_mode="multiple", **QUIET)

    def open_link(event: gr.EventData) -> tuple[Any, ...]:
        *opened, named = open_sent(event)
        return *opened, settable("mix-style", named, engine)

    pad.input(open_link, outputs=[tabs, *boxes, style], queue=False, trigger_mode="multiple", **QUIET)
    style.input(None, js="() => { window.playground.redraw?.(); }", api_visibility="private")
