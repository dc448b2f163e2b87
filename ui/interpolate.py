"""The Interpolate tab: two prompts, and the model's pictures on the way from one to the other.

The frames travel to the page once, coarse to fine, as small WebP data URIs; dragging then needs no server
(static/morph.js). A frame of 256 px takes 3 to 6 KB.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from dalle.config import MIN_TRUNCATION
from dalle.images import data_uri
from dalle.requests import seed_or_random, with_seeds
from ui import components, inputs, links, verdict
from ui.code import path_code
from ui.deliver import DeliverPath, path_name
from ui.direct import Direct
from ui.failures import message_for
from ui.generate import shown, within
from ui.outbox import Outbox
from ui.runner import QUIET, Handlers, session_of, wire
from ui.runs import Run, Runs
from ui.settings import PageSettings

if TYPE_CHECKING:
    from dalle.engine import Engine

BATCH_SECONDS = 0.2
"""Frames are sent together at most this often, and at once when a level (5, 9, 17, 33 frames) is whole."""

IDLE: dict[str, Any] = {
    "ticket": "",
    "number": 0,
    "state": "idle",
    "message": "",
    "total": 0,
    "prompts": ["", ""],
    "frames": {},
    "exports": None,
    "link": "",
    "code": "",
    "at": 0,
}
"""The path's JSON (see static/morph.js)."""

Update = tuple[Any, Any, Any, Any, Any]
"""What one yield of a run sets: the path, both verdicts, both seed boxes (any of them may be gr.skip())."""


BOXES = 8
"""What `Interpolate.open_sent` sets beside ticket and path."""


@dataclass(frozen=True)
class Opened:
    """Of a link: where on the path the slider stood, and the model and revision that drew it."""

    at: float = 0.0
    made: tuple[str, str] = ("", "")


class Interpolate(Handlers):
    """The handlers of the tab, apart from its layout so that they can be run without a page."""

    kind = "interpolate"
    idle = IDLE

    def __init__(self, engine: Engine, runs: Runs, outbox: Outbox, settings: PageSettings) -> None:
        super().__init__(engine, runs, outbox)
        self._settings = settings

    def blank(self, run: Run, state: str, message: str, **more: Any) -> dict[str, Any]:
        settings = self._settings
        return super().blank(run, state, message, total=settings.frames, fps=settings.frames_per_second, **more)

    def begin(self, prompt_a: object, prompt_b: object, request: gr.Request) -> tuple[str, dict[str, Any]]:
        """Takes a ticket, at once and outside the queue, and clears the path."""
        return self.enter(request, prompts=[shown(prompt_a), shown(prompt_b)])

    def begin_if_given(self, prompt_a: object, prompt_b: object, request: gr.Request) -> tuple[Any, Any]:
        """The same for what changes a path that is there: another style and other seeds are no reason to complain of no prompt."""
        if not (shown(prompt_a).strip() and shown(prompt_b).strip()):
            return gr.skip(), gr.skip()
        return self.begin(prompt_a, prompt_b, request)

    def open_sent(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Loads what a {link} says into the boxes, to be prepared anew."""
        sent = event._data if isinstance(event._data, dict) else {}
        try:
            asked, at = links.path_of(sent.get("link"))
            opened = Opened(at, links.made_by(links.parts_of(sent["link"])))
        except Exception as error:
            ticket, path = self.enter(request)
            self._runs.cancel(session_of(request), self.kind)
            return ticket, path | {"state": "error", "message": message_for(error)}, *[gr.skip()] * BOXES
        return (
            *self.enter(request, opened, prompts=[shown(asked.prompt_a), shown(asked.prompt_b)], at=at),
            gr.Tabs(selected="interpolate"),
            asked.prompt_a,
            asked.prompt_b,
            "" if asked.seed_a is None else str(asked.seed_a),
            "" if asked.seed_b is None else str(asked.seed_b),
            asked.style or inputs.ANY_STYLE,
            asked.pacing != "raw",
            within(asked.truncation, MIN_TRUNCATION, 1, 1.0),
        )

    def prepare(
        self,
        ticket: str,
        prompt_a: object,
        prompt_b: object,
        seed_a: object,
        seed_b: object,
        style: object,
        even: object,
        truncation: object,
        request: gr.Request,
    ) -> Iterator[Update]:
        """Draws the path in the queue. Every ending is a state of the path, never an exception."""
        run = self.claim(ticket, request)
        if run is None:
            return
        sent: dict[str, str] = {}
        opened: Opened = run.wish or Opened()
        more: dict[str, Any] = {"at": opened.at}

        def path(name: str, message: str, exports: dict[str, Any] | None = None) -> dict[str, Any]:
            prompts = [shown(prompt_a), shown(prompt_b)]
            return self.blank(run, name, message, prompts=prompts, frames=dict(sent), exports=exports, **more)

        def state(name: str, message: str, exports: dict[str, Any] | None = None) -> Update:
            return path(name, message, exports), gr.skip(), gr.skip(), gr.skip(), gr.skip()

        def work() -> Iterator[Update]:
            asked = inputs.interpolate_request(
                prompt_a=prompt_a,
                prompt_b=prompt_b,
                seed_a=seed_a,
                seed_b=seed_b,
                frames=self._settings.frames,
                style=style,
                pacing="even" if inputs.flag(even, "Even pace") else "raw",
                truncation=truncation,
            )
            wish = with_seeds(asked)
            for message in self.turn(run, request):
                yield state("busy", message)
            more.update(
                note=links.other_model(opened.made, self._engine),
                link=links.path_link(wish, self._engine),
                code=path_code(wish, self._engine.model, self._settings.frames_per_second),
            )
            yield (
                path("busy", "Starting"),
                verdict.judge_prompt(self._engine, prompt_a, style),
                verdict.judge_prompt(self._engine, prompt_b, style),
                str(wish.seed_a) if asked.seed_a is None else gr.skip(),
                str(wish.seed_b) if asked.seed_b is None else gr.skip(),
            )

            started = reported = time.monotonic()
            frames: dict[int, Image.Image] = {}
            with closing(self._engine.interpolate(wish, cancel=run.cancel)) as items:
                metadata = self._engine.path_metadata(wish)
                for frame in items:
                    frames[frame.index] = frame.image
                    sent[str(frame.index)] = data_uri(frame.image)
                    now = time.monotonic()
                    if is_level(len(frames)) or now - reported >= BATCH_SECONDS:
                        reported = now
                        yield state("busy", f"Frame {len(frames)} of {frame.total}: drag the slider any time")
            yield state(
                "done",
                f"{len(frames)} frames in {time.monotonic() - started:.1f} s on {self._engine.status.device}",
                self._exports(path_name(wish), [frames[index] for index in sorted(frames)], metadata),
            )

        stopped = f"Stopped after {{}} of {self._settings.frames} frames"
        yield from self.guarded(run, work(), state, lambda: stopped.format(len(sent)))

    def _exports(self, name: str, frames: list[Image.Image], metadata: dict[str, str]) -> dict[str, Any]:
        """Both animations, ready to be saved: 17 ms and some 100 KB each."""
        return {
            kind: self._outbox.animation(
                frames,
                name if kind == "loop" else f"{name}-ping-pong",
                fps=self._settings.frames_per_second,
                pingpong=kind == "pingpong",
                metadata=metadata,
            )
            for kind in ("loop", "pingpong")
        }


def is_level(count: int) -> bool:
    """5, 9, 17, 33, 65: the path is evenly filled at this many frames."""
    return count >= 5 and (count - 1).bit_count() == 1


def interpolate_tab(engine: Engine, runs: Runs, direct: Direct, settings: PageSettings, tabs: gr.Tabs) -> Outbox:
    """Lays the tab out and wires it. Returns the outbox of its path, which the API shares."""
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="ask"):
            boxes, opinions, seeds = [], [], []
            for side, label, placeholder in (("a", "From", "a cat"), ("b", "To", "a dog")):
                boxes.append(gr.Textbox(label=label, placeholder=placeholder, lines=1, max_lines=4, elem_id=f"morph-{side}"))
                opinions.append(components.verdict(verdict.EMPTY, f"morph-verdict-{side}", field=f"morph-{side}"))
            with gr.Row(elem_classes="act"):
                prepare = gr.Button("Prepare the path", variant="primary", elem_id="prepare")
                stop = gr.Button("Stop", variant="stop", elem_id="morph-stop")
            components.chips(
                [[f"{first} → {second}", {"morph-a": first, "morph-b": second}] for first, second in settings.pairs],
                "pairs",
                title="Example pairs",
            )
        with gr.Column(elem_classes="show"):
            # The script's questions come only when the page is there, and the outbox by then as well.
            deliver = DeliverPath(engine, direct, lambda: outbox, settings)
            path = components.morph(IDLE, "path", fields=["morph-a", "morph-b"], deliver=deliver.files)
        with gr.Column(elem_classes="tune"):
            style = gr.Dropdown([inputs.ANY_STYLE, *engine.styles], value=inputs.ANY_STYLE, label="Style", elem_id="morph-style")
            even = gr.Checkbox(
                value=True, label="Even pace", info="Each frame changes as much as the next; off: raw path", elem_id="even"
            )
            truncation = components.variety("morph-truncation")
            with gr.Row(elem_classes="seeds"):
                for side, label in (("a", "Seed from"), ("b", "Seed to")):
                    seeds.append(components.seed_box(label, f"morph-seed-{side}"))
            roll = gr.Button("New seeds", size="sm", elem_id="roll")
    ticket = gr.Textbox(visible=False)

    outbox = Outbox(path)
    handlers = Interpolate(engine, runs, outbox, settings)
    taken: dict[str, Any] = {
        "inputs_kwargs": {"prompt_a": boxes[0], "prompt_b": boxes[1]},
        "outputs": [ticket, path],
        "queue": False,
        "trigger_mode": "multiple",
        **QUIET,
    }
    rolled = roll.click(
        lambda: (str(seed_or_random(None)), str(seed_or_random(None))), outputs=seeds, queue=False, **QUIET
    )
    values = {"prompt_a": boxes[0], "prompt_b": boxes[1], "seed_a": seeds[0], "seed_b": seeds[1], "style": style}
    values |= {"even": even, "truncation": truncation}
    for begun in (
        gr.on(
            [prepare.click, path.submit, *(box.submit for box in boxes), *(seed.submit for seed in seeds)],
            handlers.begin,
            **taken,
        ),
        gr.on([style.input, even.input, truncation.release], handlers.begin_if_given, **taken),
        rolled.then(handlers.begin_if_given, **taken),
        path.input(
            handlers.open_sent,
            outputs=[ticket, path, tabs, *boxes, *seeds, style, even, truncation],
            queue=False,
            trigger_mode="multiple",
            **QUIET,
        ),
    ):
        wire(begun, handlers, handlers.prepare, ticket, values, [path, *opinions, *seeds])
    stop.click(handlers.stop, outputs=path, queue=False, trigger_mode="multiple", **QUIET)
    for box, opinion in zip(boxes, opinions, strict=True):
        verdict.follow(engine, opinion, box, style)
    return outbox
