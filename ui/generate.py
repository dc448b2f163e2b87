"""The Generate tab: a prompt in, pictures one by one."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from dalle.config import (
    MAX_GUIDANCE,
    MAX_IMAGES,
    MAX_STEPS,
    MIN_TRUNCATION,
    VARIATION_STRENGTH,
    DalleError,
    RefusedError,
)
from dalle.images import data_uri, read_png_metadata
from dalle.requests import (
    DEFAULT_NUM_IMAGES,
    GenerateRequest,
    Picture,
    StepProgress,
    is_mixture,
    mix_request_of,
    picture_metadata,
    request_of,
    variation,
)
from dalle.uses import drawn_as
from ui import components, inputs, links, uses, verdict
from ui.abilities import settable
from ui.code import mix_code, picture_code
from ui.deliver import Deliver
from ui.direct import Direct
from ui.failures import message_for
from ui.outbox import Outbox
from ui.runner import QUIET, Handlers, session_of, wire
from ui.runs import Runs
from ui.settings import PageSettings

if TYPE_CHECKING:
    from dalle.engine import Engine

BEST_OF = 16
"""Candidates that are drawn where the best are wanted."""

MORE_STRENGTH = 0.6
"""How far "More like this" goes: other shapes and colours of the same kind (docs/LOG.md)."""

MIN_STRENGTH = 0.05

PROGRESS_SECONDS = 0.1
"""Steps are reported at most this often: a message costs the server a few milliseconds."""

IDLE: dict[str, Any] = {
    "ticket": "",
    "number": 0,
    "state": "idle",
    "message": "Nothing drawn yet",
    "note": "",
    "prompt": "",
    "total": 0,
    "pictures": [],
    "progress": None,
    "elsewhere": "",
}
"""The wall's JSON (see static/wall.js)."""

Update = tuple[Any, Any, Any]
"""What one yield of a run sets: the wall, the verdict, the seed box (any of them may be gr.skip())."""


@dataclass(frozen=True)
class Wish:
    """What to draw where it is not what stands in the page's boxes; `made` is the model and revision that drew it first."""

    request: GenerateRequest
    made: tuple[str, str] = ("", "")


class Generate(Handlers):
    """The handlers of the tab, apart from its layout so that they can be run without a page."""

    kind = "generate"
    idle = IDLE

    def begin(self, prompt: object, num_images: object, request: gr.Request) -> tuple[str, dict[str, Any]]:
        """Takes a ticket, at once and outside the queue, and clears the wall."""
        return self.enter(request, prompt=shown(prompt), total=places(num_images))

    def begin_variation(
        self, num_images: object, strength: object, event: gr.EventData, request: gr.Request
    ) -> tuple[str, dict[str, Any]]:
        """The same for pictures like one on the wall, whose own settings hold.

        `event` has the picture's recipe and the way: "vary" goes as far as the page's slider says, "more" goes further.
        """
        try:
            sent = event._data if isinstance(event._data, dict) else {}
            original = inputs.recipe(sent.get("recipe"))
            far = MORE_STRENGTH if sent.get("way") == "more" else inputs.strength(strength)
            count = inputs.whole_number(num_images, "number of pictures")
            wish = variation(original, far, DEFAULT_NUM_IMAGES if count is None else count)
        except Exception as error:
            return self._not_begun(request, error)
        return self.enter(request, Wish(wish), prompt=wish.prompt, total=places(num_images))

    def _not_begun(self, request: gr.Request, error: Exception) -> tuple[str, dict[str, Any]]:
        ticket, state = self.enter(request)
        self._runs.cancel(session_of(request), self.kind)
        return ticket, state | {"state": "error", "message": message_for(error)}

    def open_sent(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Loads a picture's settings into the boxes and draws it again: of a {link}, or of a {recipe} that the browser kept."""
        try:
            sent = event._data if isinstance(event._data, dict) else {}
            if "recipe" in sent and is_mixture(recipe := inputs.recipe_text(sent["recipe"])):
                return self._open_mixture(recipe, request)
            if "link" in sent:
                wish = Wish(links.picture_of(sent["link"]), links.made_by(links.parts_of(sent["link"])))
            else:
                wish = opened(inputs.recipe_text(sent.get("recipe")))
        except Exception as error:
            return (*self._not_begun(request, error), *[gr.skip()] * BOXES)
        return self._open(wish, request)

    def open_file(self, path: str | None, request: gr.Request) -> tuple[Any, ...]:
        """The same for a PNG that was saved here; gradio has put the upload at `path`."""
        try:
            metadata = read_png_metadata(Path(path or ""))
            if is_mixture(metadata):
                return self._open_mixture(metadata, request)
            wish = opened(metadata)
        except Exception as error:
            return (*self._not_begun(request, error), *[gr.skip()] * BOXES)
        return self._open(wish, request)

    def _open_mixture(self, metadata: dict[str, str], request: gr.Request) -> tuple[Any, ...]:
        """A mixture is opened on the pad, whose script takes the link from the wall's."""
        link = links.mix_link(mix_request_of(metadata))
        ticket, state = self.enter(request)
        self._runs.cancel(session_of(request), self.kind)
        state |= {"state": "idle", "message": "This picture was mixed: it is on the Mix tab", "elsewhere": link}
        return ticket, state, gr.Tabs(selected="mix"), *[gr.skip()] * (BOXES - 1)

    def _open(self, wish: Wish, request: gr.Request) -> tuple[Any, ...]:
        """Ticket, wall, tabs, and the boxes. The engine checks ranges, so sliders get what they can show."""
        asked = wish.request
        begun = self.enter(request, wish, prompt=shown(asked.prompt), total=1)
        usual = self._engine.default_steps[0]
        return (
            *begun,
            gr.Tabs(selected="generate"),
            asked.prompt,
            str(asked.seed),
            True,
            within(asked.num_inference_steps, 1, MAX_STEPS, usual),
            settable("guidance", within(asked.guidance_scale, 0, MAX_GUIDANCE, self._engine.default_guidance), self._engine),
            asked.style if asked.style in self._engine.styles else inputs.ANY_STYLE,
            settable("truncation", within(asked.truncation, MIN_TRUNCATION, 1, 1.0), self._engine),
            settable("negative", asked.negative_prompt or "", self._engine),
        )

    def surprise(self) -> Any:
        """Something to draw that the model was taught."""
        try:
            return self._engine.surprise()
        except DalleError:  # still loading, or a model without a list of what it knows
            return gr.skip()

    def draw(
        self,
        ticket: str,
        prompt: object,
        num_images: object,
        seed: object,
        lock_seed: object,
        num_inference_steps: object,
        guidance_scale: object,
        style: object,
        strict: object,
        best: object,
        truncation: object,
        negative_prompt: object,
        request: gr.Request,
        use: object = None,
    ) -> Iterator[Update]:
        """Draws in the queue. Every ending is a state of the wall, never an exception."""
        run = self.claim(ticket, request)
        if run is None:
            return
        total = 0
        pictures: list[dict[str, Any]] = []
        asked: Wish | None = run.wish
        varied = asked.request if asked else None
        note = ""
        if varied is not None:
            prompt, style, use = varied.prompt, varied.style, None
        typed = prompt

        def wall(name: str, message: str, progress: dict[str, Any] | None = None) -> dict[str, Any]:
            more = {"prompt": shown(prompt), "total": total, "pictures": list(pictures), "progress": progress, "note": note}
            return self.blank(run, name, message, **more)

        def state(name: str, message: str, progress: dict[str, Any] | None = None) -> Update:
            return wall(name, message, progress), gr.skip(), gr.skip()

        def work() -> Iterator[Update]:
            nonlocal total, note, prompt
            if varied is None:
                prompt = drawn_as(inputs.text(prompt), inputs.use_of(use))
            wish = varied or inputs.generate_request(
                prompt=prompt,
                num_images=num_images,
                seed=seed if inputs.flag(lock_seed, "Lock seed") else None,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                style=style,
                strict=strict,
                candidates=BEST_OF if inputs.flag(best, "Best first") else None,
                truncation=truncation,
                negative_prompt=negative_prompt,
            )
            drawn_seed = wish.seed is None
            wish = inputs.with_seed(wish)
            total = places(wish.num_images)
            for message in self.turn(run, request):
                yield state("busy", message)
            note = links.other_model(asked.made, self._engine) if asked else ""
            # A seed that was given stays as it stands in its box: the visitor may be typing the next one.
            shown_seed = str(wish.seed) if drawn_seed else gr.skip()
            yield wall("busy", "Starting"), verdict.judge_prompt(self._engine, typed, style, use), shown_seed

            started, reported = time.monotonic(), 0.0
            place: dict[str, Any] | None = None
            try:
                items = self._engine.generate(wish, cancel=run.cancel)
            except RefusedError as refused:
                total = 0
                yield wall("error", str(refused)), verdict.describe(refused.judgement, shown(typed)), gr.skip()
                return
            with closing(items):
                for item in items:
                    if isinstance(item, Picture):
                        pictures.append(self._tile(item))
                        if len(pictures) < total:
                            yield state("busy", f"Picture {len(pictures)} of {total} is there", place)
                    elif time.monotonic() - reported >= PROGRESS_SECONDS:
                        reported = time.monotonic()
                        message, place = told(item, total)
                        if item.preview is not None and item.step < item.steps:
                            place["preview"] = data_uri(item.preview())
                        yield state("busy", message, place)
            yield state("done", summary(len(pictures), time.monotonic() - started, self._engine.status.device))

        yield from self.guarded(run, work(), state, lambda: stopped(len(pictures), total))

    def _tile(self, picture: Picture) -> dict[str, Any]:
        file = self._outbox.picture(picture)
        return {
            "index": picture.index,
            "seed": picture.seed,
            "score": picture.score,
            "name": file["orig_name"],
            "file": file,
            **kept(picture),
        }


BOXES = 9
"""What `Generate._open` sets beside ticket and wall."""


def kept(picture: Picture) -> dict[str, Any]:
    """What the page needs of a picture to make it again, to link to it, to find it by text, and as Python."""
    recipe = picture_metadata(picture)
    seen = {"vector": packed_vector(picture), "space": str(picture.settings.get("revision", ""))}
    if is_mixture(recipe):
        mixture = mix_request_of(recipe)
        return {"recipe": recipe, "link": links.mix_link(mixture), "code": mix_code(mixture, recipe["model"]), **seen}
    code = picture_code(request_of(recipe), recipe["model"])
    return {"recipe": recipe, "link": links.picture_link(picture), "code": code, **seen}


def packed_vector(picture: Picture) -> str:
    """A picture's vector as base64 of 8-bit integers; "" where it has none. Its length is left out: it is always 1."""
    if picture.vector is None:
        return ""
    peak = np.abs(picture.vector).max()
    return base64.b64encode(np.rint(picture.vector / peak * 127).astype(np.int8).tobytes()).decode()


def opened(metadata: dict[str, str]) -> Wish:
    """What a file's text or a recipe asks for.

    Raises:
        SettingError: it is not from here.
    """
    request = request_of(metadata)
    return Wish(request, links.made_by(json.loads(metadata["settings"])))


def within(value: object, low: float, high: float, usual: float) -> float:
    """A number that a slider can show: `usual` for none, and for what is out of its range, which the engine will complain of."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    return value if fits else usual


def told(item: StepProgress, total: int) -> tuple[str, dict[str, Any]]:
    """Progress in words, and as place and share for the wall; candidates fill all places of the wall together."""
    if not item.candidates:
        message = f"Picture {item.index + 1} of {total}, step {item.step} of {item.steps}"
        return message, {"index": item.index, "step": item.step, "steps": item.steps}
    done, of = (item.index * item.steps + item.together * item.step) * total, item.candidates * item.steps
    place = min(total - 1, done // of)
    message = f"Candidate {item.index + item.together} of {item.candidates}, step {item.step} of {item.steps}"
    return message, {"index": place, "step": done - place * of, "steps": of}


def shown(prompt: object) -> str:
    """A prompt as the page can show it, whatever was sent."""
    return inputs.text(prompt) if isinstance(prompt, str) else ""


def places(num_images: object) -> int:
    """How many empty places the wall shows: none for a number that the engine will refuse."""
    return num_images if isinstance(num_images, int) and 1 <= num_images <= MAX_IMAGES else 0


def summary(count: int, seconds: float, device: str) -> str:
    return f"{count} picture{'s' if count != 1 else ''} in {seconds:.1f} s on {device}"


def stopped(count: int, total: int) -> str:
    return f"Stopped after {count} of {total} pictures" if total else "Stopped"


@dataclass(frozen=True)
class GenerateTab:
    """What others need of the tab: the outbox of its wall, what depends on the model, and a way in for what opens pictures."""

    outbox: Outbox
    steps: gr.Slider
    guidance: gr.Slider
    open_on: Callable[[Callable[..., Any]], None]
    """Given a listener of a widget whose event has {recipe} or {link}: the picture is drawn again here."""


def generate_tab(engine: Engine, runs: Runs, direct: Direct, settings: PageSettings, tabs: gr.Tabs) -> GenerateTab:
    """Lays the tab out and wires it."""
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="ask"):
            prompt = gr.Textbox(
                label="What should it draw?",
                placeholder="a red apple",
                lines=1,
                max_lines=5,
                elem_id="prompt",
                autofocus=True,
            )
            with gr.Row(elem_classes="act"):
                draw = gr.Button("Draw", variant="primary", elem_id="draw")
                stop = gr.Button("Stop", variant="stop", elem_id="stop")
            use = components.uses(uses.NONE, "uses", field="prompt", drawn=uses.drawn)
            opinion = components.verdict(verdict.EMPTY, "verdict", field="prompt")
            ready = [[text, {"prompt": text}] for text in settings.examples]
            examples = components.chips(ready, "examples", title="Examples", surprise="Surprise me")
        with gr.Column(elem_classes="show"):
            # The script's questions come only when the page is there, and the handlers by then as well.
            deliver = Deliver(engine, direct, lambda: outbox)
            canvas = components.wall(IDLE | {"total": DEFAULT_NUM_IMAGES}, "wall", deliver=deliver.files)
        with gr.Column(elem_classes="tune"):
            num_images = gr.Slider(1, MAX_IMAGES, value=DEFAULT_NUM_IMAGES, step=1, label="Pictures", elem_id="num-images")
            style = gr.Dropdown([inputs.ANY_STYLE, *engine.styles], value=inputs.ANY_STYLE, label="Style", elem_id="style")
            with gr.Row(elem_classes="seeds"):
                seed = components.seed_box("Seed", "seed")
                lock_seed = gr.Checkbox(label="Lock seed", elem_id="lock-seed")
            best = gr.Checkbox(
                label="Best first",
                info=f"Draw {BEST_OF}, show those that fit the words best",
                elem_id="best",
            )
            steps = gr.Slider(1, MAX_STEPS, value=engine.default_steps[0], step=1, label="Steps", elem_id="steps")
            guidance = gr.Slider(0, MAX_GUIDANCE, value=engine.default_guidance, step=0.1, label="Guidance", elem_id="guidance")
            truncation = components.variety("truncation")
            strength = gr.Slider(
                MIN_STRENGTH,
                1,
                value=VARIATION_STRENGTH,
                step=0.05,
                label="Variation",
                info="How far “Vary” goes from a picture",
                elem_id="strength",
            )
            negative = gr.Textbox(
                label="Not in the picture",
                placeholder="red, background",
                lines=1,
                max_lines=3,
                elem_id="negative",
            )
            strict = gr.Checkbox(label="Strict", info="Refuse a prompt that the judge expects to fail", elem_id="strict")
            reopen = gr.File(
                label="Open a PNG that was saved here", file_types=[".png"], height=124, elem_id="reopen", elem_classes="reopen"
            )
    ticket = gr.Textbox(visible=False)

    outbox = Outbox(canvas)
    handlers = Generate(engine, runs, outbox)
    taken: dict[str, Any] = {"outputs": [ticket, canvas], "queue": False, "trigger_mode": "multiple", **QUIET}
    asked: dict[str, Any] = {"inputs_kwargs": {"prompt": prompt, "num_images": num_images}, **taken}
    surprised = examples.submit(handlers.surprise, outputs=prompt, queue=False, **QUIET)
    like = {"num_images": num_images, "strength": strength}
    begun = [
        gr.on([draw.click, prompt.submit, negative.submit], handlers.begin, **asked),
        surprised.then(handlers.begin, **asked),
        canvas.select(handlers.begin_variation, inputs_kwargs=like, **taken),
    ]
    values = {
        "prompt": prompt,
        "num_images": num_images,
        "seed": seed,
        "lock_seed": lock_seed,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "style": style,
        "strict": strict,
        "best": best,
        "truncation": truncation,
        "negative_prompt": negative,
        "use": use,
    }
    for start in begun:
        wire(start, handlers, handlers.draw, ticket, values, [canvas, opinion, seed])
    opening = [ticket, canvas, tabs, prompt, seed, lock_seed, steps, guidance, style, truncation, negative]

    def choose_use(event: gr.EventData) -> tuple[Any, Any, Any]:
        chosen, count, named = uses.choose(event)
        return chosen, count, settable("style", named, engine)

    def open_on(listener: Callable[..., Any]) -> None:
        begun = listener(handlers.open_sent, outputs=opening, queue=False, trigger_mode="multiple", **QUIET)
        wire(begun, handlers, handlers.draw, ticket, values, [canvas, opinion, seed])

    open_on(canvas.input)
    # Preprocessed, unlike all others: gradio then makes sure that the path is an upload's.
    dropped = reopen.upload(handlers.open_file, inputs=reopen, outputs=opening, queue=False, **(QUIET | {"preprocess": True}))
    dropped.then(lambda: None, outputs=reopen, queue=False, **QUIET)
    wire(dropped, handlers, handlers.draw, ticket, values, [canvas, opinion, seed])
    stop.click(handlers.stop, outputs=canvas, queue=False, trigger_mode="multiple", **QUIET)
    prompt.change(None, js="() => { window.playground.use.retell?.(); }", api_visibility="private")
    use.select(choose_use, outputs=[use, num_images, style], queue=False, trigger_mode="multiple", **QUIET)
    verdict.follow(engine, opinion, prompt, style, use)
    return GenerateTab(outbox, steps, guidance, open_on)
