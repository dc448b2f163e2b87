"""The Interpolate tab: two prompts, and the model's pictures on the way from one to the other.

The frames travel to the page once, coarse to fine, as small WebP data URIs; dragging then needs no server
(static/morph.js). A frame of 256 px takes 3 to 6 KB.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from dalle.config import Cancelled
from dalle.engine import InterpolateRequest
from dalle.images import slug
from ui import components, inputs, verdict
from ui.failures import message_for
from ui.generate import TURNED_AWAY, session_of
from ui.outbox import Outbox
from ui.runs import Run, Runs
from ui.settings import PageSettings
from ui.waiting import until_ready

if TYPE_CHECKING:
    from dalle.engine import Engine

KIND = "interpolate"
BATCH_SECONDS = 0.2
"""Frames are sent together at most this often, and at once when a level (5, 9, 17, 33 frames) is whole."""

IDLE: dict[str, Any] = {"ticket": "", "state": "idle", "message": "", "total": 0, "frames": {}}

Update = tuple[Any, Any, Any, Any, Any]
"""What one yield of a run sets: the path, both verdicts, both seed boxes (any of them may be gr.skip())."""


class Interpolate:
    """The handlers of the tab, apart from its layout so that they can be run without a page."""

    def __init__(self, engine: Engine, runs: Runs, outbox: Outbox, settings: PageSettings) -> None:
        self._engine = engine
        self._runs = runs
        self._outbox = outbox
        self._settings = settings

    def begin(self, prompt_a: object, prompt_b: object, request: gr.Request) -> tuple[str, dict[str, Any]]:
        """Takes a ticket, at once and outside the queue, and clears the path."""
        run = self._runs.begin(session_of(request), KIND)
        return run.ticket, self._path(run, "busy", "Waiting for a turn", (prompt_a, prompt_b))

    def prepare(
        self,
        ticket: str,
        prompt_a: object,
        prompt_b: object,
        seed_a: object,
        seed_b: object,
        style: object,
        request: gr.Request,
    ) -> Iterator[Update]:
        """Draws the path in the queue. Every ending is a state of the path, never an exception."""
        run = self._runs.claim(session_of(request), KIND, ticket)
        if run is None:
            return
        sent: dict[str, str] = {}

        def state(name: str, message: str, exports: dict[str, Any] | None = None) -> Update:
            path = self._path(run, name, message, (prompt_a, prompt_b), sent, exports)
            return path, gr.skip(), gr.skip(), gr.skip(), gr.skip()

        try:
            wish = inputs.interpolate_request(
                prompt_a=prompt_a,
                prompt_b=prompt_b,
                seed_a=seed_a,
                seed_b=seed_b,
                frames=self._settings.frames,
                style=style,
            )
            wish = replace(
                wish,
                seed_a=inputs.random_seed() if wish.seed_a is None else wish.seed_a,
                seed_b=inputs.random_seed() if wish.seed_b is None else wish.seed_b,
            )
            for message in until_ready(self._engine, run.cancel):
                yield state("busy", message)
            yield (
                self._path(run, "busy", "Starting", (prompt_a, prompt_b)),
                verdict.judge_prompt(self._engine, prompt_a, style),
                verdict.judge_prompt(self._engine, prompt_b, style),
                str(wish.seed_a),
                str(wish.seed_b),
            )

            started = reported = time.monotonic()
            frames: dict[int, Image.Image] = {}
            with closing(self._engine.interpolate(wish, cancel=run.cancel)) as items:
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
                self._exports(wish, [frames[index] for index in sorted(frames)]),
            )
        except Cancelled:
            if not run.superseded:
                yield state("stopped", f"Stopped after {len(sent)} of {self._settings.frames} frames")
        except Exception as error:
            yield state("error", message_for(error))
        finally:
            self._runs.finish(run)

    def stop(self, request: gr.Request) -> Any:
        """Stops at the next step. A run that still waits for its turn has nobody else to say so."""
        run = self._runs.cancel(session_of(request), KIND)
        if run and run.state == "waiting":
            return self._path(run, "stopped", "Stopped before drawing began", ("", ""))
        return gr.skip()

    def settle(self, ticket: str, request: gr.Request) -> Any:
        """After a run that failed before its handler could say why: the queue has turned it away."""
        if self._runs.never_started(session_of(request), KIND, ticket):
            return {**IDLE, "ticket": ticket, "state": "error", "message": TURNED_AWAY}
        return gr.skip()

    def _path(
        self,
        run: Run,
        state: str,
        message: str,
        prompts: tuple[object, object],
        frames: dict[str, str] | None = None,
        exports: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The path's JSON (see static/morph.js)."""
        return {
            "ticket": run.ticket,
            "state": state,
            "message": message,
            "total": self._settings.frames,
            "prompts": [prompt if isinstance(prompt, str) else "" for prompt in prompts],
            "frames": dict(frames or {}),
            "exports": exports,
            "fps": self._settings.frames_per_second,
        }

    def _exports(self, wish: InterpolateRequest, frames: list[Image.Image]) -> dict[str, Any]:
        """Both animations, ready to be saved: 17 ms and some 100 KB each."""
        name = f"{slug(wish.prompt_a, 24)}-to-{slug(wish.prompt_b, 24)}"
        metadata = path_metadata(wish, self._engine.status.model)
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


def path_metadata(wish: InterpolateRequest, model: str) -> dict[str, str]:
    """What an animation says about itself."""
    return {
        "prompt": f"{wish.prompt_a} -> {wish.prompt_b}",
        "seed": f"{wish.seed_a} -> {wish.seed_b}",
        "style": wish.style or "",
        "model": model,
    }


def is_level(count: int) -> bool:
    """5, 9, 17, 33, 65: the path is evenly filled at this many frames."""
    return count >= 5 and (count - 1).bit_count() == 1


def data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=85, method=0)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def interpolate_tab(engine: Engine, runs: Runs, settings: PageSettings) -> Outbox:
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
            path = components.morph(IDLE, "path", fields=["morph-a", "morph-b"])
        with gr.Column(elem_classes="tune"):
            style = gr.Dropdown([inputs.ANY_STYLE, *engine.styles], value=inputs.ANY_STYLE, label="Style", elem_id="morph-style")
            with gr.Row(elem_classes="seeds"):
                for side, label in (("a", "Seed from"), ("b", "Seed to")):
                    seeds.append(components.seed_box(label, f"morph-seed-{side}"))
            roll = gr.Button("New seeds", size="sm", elem_id="roll")
    ticket = gr.Textbox(visible=False)

    outbox = Outbox(path)
    handlers = Interpolate(engine, runs, outbox, settings)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}
    begin: dict[str, Any] = {
        "fn": handlers.begin,
        "inputs_kwargs": {"prompt_a": boxes[0], "prompt_b": boxes[1]},
        "outputs": [ticket, path],
        "queue": False,
        "trigger_mode": "multiple",
        **quiet,
    }
    for begun in (
        gr.on(
            [
                prepare.click,
                path.submit,
                style.input,
                *(box.submit for box in boxes),
                *(seed.submit for seed in seeds),
            ],
            **begin,
        ),
        roll.click(lambda: (str(inputs.random_seed()), str(inputs.random_seed())), outputs=seeds, queue=False, **quiet).then(
            **begin
        ),
    ):
        begun.then(
            handlers.prepare,
            inputs_kwargs={
                "ticket": ticket,
                "prompt_a": boxes[0],
                "prompt_b": boxes[1],
                "seed_a": seeds[0],
                "seed_b": seeds[1],
                "style": style,
            },
            outputs=[path, *opinions, *seeds],
            concurrency_id="model",
            concurrency_limit=1,
            trigger_mode="multiple",
            **quiet,
        ).failure(
            handlers.settle,
            inputs_kwargs={"ticket": ticket},
            outputs=path,
            queue=False,
            trigger_mode="multiple",
            **quiet,
        )
    stop.click(handlers.stop, outputs=path, queue=False, trigger_mode="multiple", **quiet)
    for box, opinion in zip(boxes, opinions, strict=True):
        verdict.follow(engine, opinion, box, style)
    return outbox
