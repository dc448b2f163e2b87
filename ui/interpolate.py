"""The Interpolate tab: two prompts or pictures, or up to eight, and the model's pictures on the way from one to the next.

The frames travel to the page once, coarse to fine, as small WebP data URIs; dragging then needs no server
(static/morph.js). A frame of 256 px takes 3 to 6 KB.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from dalle.config import MAX_STAGES, MIN_TRUNCATION
from dalle.engine import route_of
from dalle.images import bounded, data_uri
from dalle.requests import PathRequest, seed_or_random, with_seeds
from ui import components, inputs, links, verdict
from ui.abilities import settable
from ui.album import Album
from ui.code import path_code
from ui.deliver import DeliverPath, linked_plan, path_name
from ui.direct import Direct, visitor_name
from ui.failures import message_for
from ui.generate import shown, within
from ui.outbox import Outbox
from ui.runner import QUIET, Handlers, session_of, wire
from ui.runs import Run, Runs
from ui.settings import PageSettings
from ui.stages import YOURS, Given, Uploads, plan_of, usual_frames

if TYPE_CHECKING:
    import threading

    from dalle.engine import Engine

BATCH_SECONDS = 0.2
"""Frames are sent together at most this often, and at once when a level (5, 9, 17, 33 frames) is whole."""

FIRST_FRAMES = 5
"""With so many the slider can be used."""

IDLE: dict[str, Any] = {
    "ticket": "",
    "number": 0,
    "state": "idle",
    "message": "",
    "total": 0,
    "prompts": ["", ""],
    "seeds": [],
    "gaps": [],
    "loop": False,
    "frames": {},
    "exports": None,
    "way": "",
    "link": "",
    "why": "",
    "code": "",
    "at": 0,
}
"""The path's JSON (see static/morph.js)."""

PRIVATE = "No link: a picture that you gave is deleted after an hour, and nobody else can open it."
TOO_LONG = "No link: the prompts are too long for one."

Update = tuple[Any, Any, Any, Any, Any]
"""What one yield of a run sets: the path, both verdicts, both seed boxes (any of them may be gr.skip())."""


BOXES = 9
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
        self._uploads = Uploads(lambda: outbox)

    def blank(self, run: Run, state: str, message: str, **more: Any) -> dict[str, Any]:
        settings = self._settings
        return super().blank(run, state, message, **{"total": settings.frames, "fps": settings.frames_per_second, **more})

    def begin(self, prompt_a: object, prompt_b: object, plan: object, request: gr.Request) -> tuple[str, dict[str, Any]]:
        """Takes a ticket, at once and outside the queue, and clears the path."""
        return self.enter(request, **self._outline(sent_stages(prompt_a, prompt_b, plan), plan))

    def begin_if_given(self, prompt_a: object, prompt_b: object, plan: object, request: gr.Request) -> tuple[Any, Any]:
        """The same for what changes a path that is there: another style and other seeds are no reason to complain of no prompt."""
        if not all(label.strip() for label in map(label_sent, sent_stages(prompt_a, prompt_b, plan))):
            return gr.skip(), gr.skip()
        return self.begin(prompt_a, prompt_b, plan, request)

    def _outline(self, stages: list[Any], plan: object) -> dict[str, Any]:
        """What the page shows of a path before it was looked at more closely."""
        loop = isinstance(plan, dict) and plan.get("loop") is True
        total = usual_frames(min(len(stages), MAX_STAGES), loop, self._settings.frames)
        return {"prompts": [label_sent(stage) for stage in stages[:MAX_STAGES]], "total": total, "loop": loop}

    def open_sent(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Loads what a {link} says into the boxes, to be prepared anew."""
        sent = event._data if isinstance(event._data, dict) else {}
        try:
            said = links.path_of(sent.get("link"))
            asked = linked_plan(sent["link"], self._settings).request
            opened = Opened(said["at"], links.made_by(links.parts_of(sent["link"])))
        except Exception as error:
            ticket, path = self.enter(request)
            self._runs.cancel(session_of(request), self.kind)
            return ticket, path | {"state": "error", "message": message_for(error)}, *[gr.skip()] * BOXES
        stages = said["stages"]
        return (
            *self.enter(request, opened, at=opened.at, **self._outline(stages, said)),
            gr.Tabs(selected="interpolate"),
            *(stage["prompt"] or "" for stage in stages[:2]),
            *("" if stage["seed"] is None else str(stage["seed"]) for stage in stages[:2]),
            settable("morph-style", asked.style or inputs.ANY_STYLE, self._engine),
            settable("even", asked.pacing != "raw", self._engine),
            settable("morph-truncation", within(asked.truncation, MIN_TRUNCATION, 1, 1.0), self._engine),
            {"stages": stages, "loop": said["loop"]},
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
        plan: object,
        request: gr.Request,
    ) -> Iterator[Update]:
        """Draws the path in the queue. Every ending is a state of the path, never an exception."""
        run = self.claim(ticket, request)
        if run is None:
            # Not nothing at all: gradio would empty the path of the run that took this one's place.
            yield tuple(gr.skip() for _ in range(5))
            return
        sent: dict[str, str] = {}
        opened: Opened = run.wish or Opened()
        stages = sent_stages(prompt_a, prompt_b, plan, seed_a, seed_b)
        more: dict[str, Any] = {"at": opened.at, **self._outline(stages, plan)}

        def path(name: str, message: str, exports: dict[str, Any] | None = None) -> dict[str, Any]:
            return self.blank(run, name, message, frames=dict(sent), exports=exports, **more)

        def state(name: str, message: str, exports: dict[str, Any] | None = None) -> Update:
            return path(name, message, exports), gr.skip(), gr.skip(), gr.skip(), gr.skip()

        def work() -> Iterator[Update]:
            asked = plan_of(
                stages=stages,
                loop=plan.get("loop") if isinstance(plan, dict) else False,
                leg_frames=self._settings.frames,
                style=style,
                pacing="even" if inputs.flag(even, "Even pace") else "raw",
                truncation=truncation,
                uploads=self._uploads,
            )
            wish = with_seeds(asked.request)
            for message in self.turn(run, request):
                yield state("busy", message)
            more.update(told_of(wish, asked.uploads, self._engine, self._settings))
            more["note"] = links.other_model(opened.made, self._engine)
            given, made = asked.request.stages, wish.stages
            seeds = (gr.skip() if given[side].seed is not None else str(made[side].seed) for side in (0, 1))
            yield path("busy", "Starting"), gr.skip(), gr.skip(), *seeds

            started = reported = time.monotonic()
            frames: dict[int, Image.Image] = {}
            with closing(self._engine.interpolate(wish, cancel=run.cancel)) as items:
                metadata = self._engine.path_metadata(wish)
                for frame in items:
                    frames[frame.index] = bounded(frame.image)
                    sent[str(frame.index)] = data_uri(frame.image)
                    now = time.monotonic()
                    if is_level(len(frames)) or now - reported >= BATCH_SECONDS:
                        reported = now
                        yield state("busy", f"Frame {len(frames)} of {frame.total}: drag the slider any time")
                    if len(frames) == FIRST_FRAMES:
                        # Only now, so that nobody waits for the judge before there is something to see.
                        opinions = [verdict.judge_prompt(self._engine, prompt, style) for prompt in (prompt_a, prompt_b)]
                        yield path("busy", f"Frame {len(frames)} of {frame.total}"), *opinions, gr.skip(), gr.skip()
            yield state(
                "done",
                f"{len(frames)} frames in {time.monotonic() - started:.1f} s on {self._engine.status.device}",
                self._exports(path_name(wish), [frames[index] for index in sorted(frames)], metadata),
            )

        yield from self.guarded(run, work(), state, lambda: f"Stopped after {len(sent)} of {more['total']} frames")

    def _exports(self, name: str, frames: list[Image.Image], metadata: dict[str, str]) -> dict[str, Any]:
        """Both animations, ready to be saved: of 33 frames 17 ms and some 100 KB each."""
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


class Compare:
    """Draws, for a path that is on the page, the one on which only the text moves."""

    kind = "compare"

    def __init__(self, engine: Engine, direct: Direct, uploads: Uploads, settings: PageSettings) -> None:
        self._engine = engine
        self._direct = direct
        self._uploads = uploads
        self._settings = settings

    def text_path(self, question: object) -> dict[str, Any]:
        """{state, message, frames: {index: data URI}} for a question {visitor, link}. Never raises."""
        sent = question if isinstance(question, dict) else {}
        blank = {"state": "error", "message": "", "frames": {}}
        return self._direct.answer(self.kind, visitor_name(sent, self.kind), blank, lambda cancel: self._draw(sent, cancel))

    def _draw(self, sent: dict[str, Any], cancel: threading.Event) -> dict[str, Any]:
        wish = with_seeds(linked_plan(sent.get("link"), self._settings, self._uploads).request)
        with closing(self._engine.interpolate(replace(wish, moving="text"), cancel=cancel)) as items:
            return {"frames": {str(frame.index): data_uri(frame.image) for frame in items}}


def sent_stages(prompt_a: object, prompt_b: object, plan: object, seed_a: object = None, seed_b: object = None) -> list[Any]:
    """The stages that a page sends: its plan's, the first two of which have prompt and seed in boxes of their own."""
    given = plan.get("stages") if isinstance(plan, dict) else None
    stages = list(given) if isinstance(given, list) else []
    boxes = ({"prompt": prompt_a, "seed": seed_a}, {"prompt": prompt_b, "seed": seed_b})
    first = [(stage if isinstance(stage, dict) else {}) | box for stage, box in zip([*stages, {}, {}][:2], boxes, strict=True)]
    return [*first, *stages[2:]]


def label_sent(stage: object) -> str:
    """A stage in words, whatever was sent; "" of one that still has nothing."""
    if not isinstance(stage, dict):
        return ""
    return shown(stage.get("prompt")) or (YOURS if stage.get("upload") or stage.get("recipe") else "")


def told_of(wish: PathRequest, uploads: Sequence[str], engine: Engine, settings: PageSettings) -> dict[str, Any]:
    """What the page needs of a path to show where its stages lie, to save it, to link to it and to tell it in Python."""
    route = route_of(wish)
    way = links.path_link(wish, engine, uploads)
    why = PRIVATE if any(uploads) else TOO_LONG if len(way) > links.MAX_LINK else ""
    return {
        "total": route.frames,
        "gaps": list(route.gaps),
        "loop": wish.loop,
        "seeds": [str(stage.seed) if stage.drawn is None else "" for stage in wish.stages],
        "way": way,
        "link": "" if why else way,
        "why": why,
        "code": "" if any(uploads) else path_code(wish, engine.model, settings.frames_per_second),
    }


def is_level(count: int) -> bool:
    """5, 9, 17, 33, 65: the path is evenly filled at this many frames."""
    return count >= FIRST_FRAMES and (count - 1).bit_count() == 1


def interpolate_tab(engine: Engine, runs: Runs, direct: Direct, settings: PageSettings, tabs: gr.Tabs) -> Outbox:
    """Lays the tab out and wires it. Returns the outbox of its path, which the API shares."""
    fields = ["morph-a", "morph-b"]
    components.why("why-interpolate")
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="ask"):
            boxes, opinions, seeds = [], [], []
            for side, label, placeholder in (("a", "From", "a cat"), ("b", "To", "a dog")):
                boxes.append(gr.Textbox(label=label, placeholder=placeholder, lines=1, max_lines=4, elem_id=f"morph-{side}"))
                opinions.append(components.verdict(verdict.EMPTY, f"morph-verdict-{side}", field=f"morph-{side}"))
            uploads = Uploads(lambda: outbox)
            given = Given(direct, uploads)
            stages = components.stages(
                {},
                "stages",
                fields=fields,
                seeds=[f"morph-seed-{side}" for side in "ab"],
                most=MAX_STAGES,
                take=given.take,
                redraw=Album(engine, direct).redraw,
            )
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
            compare = Compare(engine, direct, uploads, settings)
            path = components.morph(IDLE, "path", fields=fields, deliver=deliver.files, compare=compare.text_path)
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
        "inputs_kwargs": {"prompt_a": boxes[0], "prompt_b": boxes[1], "plan": stages},
        "outputs": [ticket, path],
        "queue": False,
        "trigger_mode": "multiple",
        **QUIET,
    }
    rolled = roll.click(lambda: (str(seed_or_random(None)), str(seed_or_random(None))), outputs=seeds, queue=False, **QUIET)
    values = {"prompt_a": boxes[0], "prompt_b": boxes[1], "seed_a": seeds[0], "seed_b": seeds[1], "style": style}
    values |= {"even": even, "truncation": truncation, "plan": stages}
    for begun in (
        gr.on(
            [prepare.click, path.submit, *(box.submit for box in boxes), *(seed.submit for seed in seeds)],
            handlers.begin,
            **taken,
        ),
        gr.on([style.input, even.input, truncation.release, stages.submit], handlers.begin_if_given, **taken),
        rolled.then(handlers.begin_if_given, **taken),
        path.input(
            handlers.open_sent,
            outputs=[ticket, path, tabs, *boxes, *seeds, style, even, truncation, stages],
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
