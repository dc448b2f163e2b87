"""An engine that draws circles: the interface of `dalle.engine.Engine` with known answers and a known pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from PIL import Image, ImageDraw

from dalle.config import (
    DEFAULT_GUIDANCE,
    IMAGE_SIZE,
    MAX_CANDIDATES,
    MAX_GUIDANCE,
    MAX_IMAGES,
    MAX_SEED,
    MAX_STEPS,
    STYLES,
    Cancelled,
    CheckpointError,
    ModelChangedError,
    NotReadyError,
    PromptError,
    RefusedError,
    SettingError,
)
from dalle.engine import BATCH, EngineStatus, route_of
from dalle.history import Moment, TrainingHistory
from dalle.hub import Description
from dalle.insight import Insight, Word
from dalle.interpolation import Route
from dalle.judge import Judgement
from dalle.parts import Packed
from dalle.reference import Reference, ReferenceSet
from dalle.requests import (
    Frame,
    GenerateRequest,
    InterpolateRequest,
    Match,
    MixRequest,
    PathRequest,
    Picture,
    StepProgress,
    as_path,
    path_metadata,
)

MAX_CHARACTERS = 200
CARD = "Drawn by a test. ![badge](https://elsewhere.example/badge.svg)"
VECTOR = np.eye(16, dtype=np.float32)[3]
"""What its ranker makes of every picture."""
KNOWN = ("a red apple", "a green apple", "a cat", "a dog", "a yellow star")


@dataclass(frozen=True)
class Other:
    """A model to change to."""

    model: str
    kind: str = "StableDiffusionPipeline"
    card: str = CARD
    lacks: dict[str, str] = field(default_factory=dict)
    steps: tuple[int, int] = (2, 1)
    guidance: float = DEFAULT_GUIDANCE
    size: tuple[int, int] = (IMAGE_SIZE, IMAGE_SIZE)
    broken: str = ""

    @property
    def description(self) -> Description:
        return Description(self.model, "a1b2c3d4e5" * 4, self.kind, self.card, "openrail++", 5_200_000_000)


class FakeEngine:
    """Deterministic: a picture's colour follows from its seed, a frame's from its place.

    `delay` is the time of a step in seconds; a run halts after its `pause_at`-th step for as long as that is set.
    `steps_done` counts the steps of all runs, `active` the runs at work, so that a test can see whether work goes on.
    The prompt "crash" raises an error that no user should see.

    `others` are the models that it can change to, with what is known of each and what it lacks; `arriving` holds a change up for as
    long as it is cleared. `size` is that of its pictures, which are opaque where it is another than the usual.
    """

    def __init__(self, delay: float = 0.0, ready: bool = True, size: tuple[int, int] = (IMAGE_SIZE, IMAGE_SIZE)) -> None:
        self.delay = delay
        self.pause_at: int | None = None
        self.steps_done = 0
        self.active = 0
        self.most_active = 0
        self.styles = tuple(STYLES)
        self.default_steps = (2, 1)
        self.default_guidance = DEFAULT_GUIDANCE
        self.lacks: dict[str, str] = {}
        self.others: dict[str, Other] = {}
        self.arriving = threading.Event()
        self.arriving.set()
        self.described: list[str] = []
        self.size = size
        self.model = "tests/fake"
        self.revision = "fa4e"
        self.mixed: list[MixRequest] = []
        tiles = Packed.of([disc((40 * place, 90, 200)).resize((32, 32)) for place in range(len(KNOWN))])
        drawings = [Reference(label, "flat", "a set", "MIT") for label in KNOWN]
        self.reference = ReferenceSet.build(drawings, tiles, np.eye(len(KNOWN), len(VECTOR)), "")
        moments = [Moment("prior", 10, 10, 1.0), Moment("prior", 20, 20, 2.5), Moment("distill", 5, 25, 4.0)]
        self.history = TrainingHistory(KNOWN[:2], moments, Packed.of([disc((30 * place, 0, 0)) for place in range(6)]))
        self.paths: list[PathRequest] = []
        self._card = CARD
        self._lock = threading.Lock()
        self._status = EngineStatus("ready" if ready else "loading", "" if ready else "Loading the weights.", "cpu", "tests/fake")

    @property
    def status(self) -> EngineStatus:
        return self._status

    def become(self, state: str, message: str = "") -> None:
        self._status = EngineStatus(state, message, "cpu", self.model)  # type: ignore[arg-type]

    def describe(self, model: str) -> Description:
        self.described.append(model)
        found = self.others.get(model)
        if found is None:
            raise CheckpointError(f"There is no folder {model} here and no public repository {model} on the Hub.")
        return found.description

    def switch(self, model: str) -> None:
        """What is at work then ends at its next step."""
        found = self.others.get(model, Other(model))
        assert self.arriving.wait(60)
        if found.broken:
            raise CheckpointError(found.broken)
        self.model, self.revision = model, f"fa4e of {model}"
        self.lacks, self.default_steps, self.default_guidance = found.lacks, found.steps, found.guidance
        self.styles = () if "styles" in self.lacks else tuple(STYLES)
        self.size, self._card = found.size, found.card
        self.become("ready")

    def card(self) -> str | None:
        return self._card

    def judge(self, prompt: str, style: str | None = None) -> Judgement:
        self._ready()
        if "judge" in self.lacks:
            raise NotReadyError(self.lacks["judge"])
        words = set(self._clean(prompt).split())
        overlap = sorted(KNOWN, key=lambda caption: -len(words & set(caption.split())))
        share = len(words & set(overlap[0].split())) / len(words | set(overlap[0].split()))
        kind = "known" if share == 1 else "close" if share > 0.4 else "unsure" if share > 0.1 else "unknown"
        return Judgement(
            score=share,
            verdict=kind,
            reason=f"Judged {len(words)} words.",
            nearest=tuple((caption, share) for caption in overlap[:3]),
            unused=(),
            language=None,
            threshold=0.2,
        )

    def generate(self, request: GenerateRequest, cancel: threading.Event | None = None) -> Iterator[StepProgress | Picture]:
        self._ready()
        prompt = self._clean(request.prompt)
        steps = self.default_steps[0] if request.num_inference_steps is None else request.num_inference_steps
        guidance = self.default_guidance if request.guidance_scale is None else request.guidance_scale
        self._within("number of pictures", request.num_images, 1, MAX_IMAGES)
        self._within("number of steps", steps, 1, MAX_STEPS)
        self._within("guidance", guidance, 0, MAX_GUIDANCE)
        seed = 0 if request.seed is None else request.seed
        self._within("seed", seed, 0, MAX_SEED)
        if prompt == "crash":
            raise RuntimeError(f"secret: {prompt}")
        self._needs("styles", request.style)
        self._needs("truncation", request.truncation != 1)
        self._needs("negative", request.negative_prompt)
        self._needs("guidance", guidance != self.default_guidance)
        self._needs("ranker", request.candidates)
        if request.strict and (judgement := self.judge(prompt)).refused:
            raise RefusedError("Strict mode: this prompt would not be drawn well.", judgement)
        if request.candidates is not None:
            self._within("number of candidates", request.candidates, request.num_images, MAX_CANDIDATES)
        settings = {
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "style": request.style,
            "truncation": request.truncation,
            "model": self.model,
            "revision": self.revision,
        }
        if request.negative_prompt:
            settings["negative_prompt"] = self._clean(request.negative_prompt)
        if request.variation_of is not None:
            settings |= {"variation_of": list(request.variation_of), "variation_strength": request.variation_strength}
        if request.candidates:
            return self._best(request, seed, steps, settings, cancel)
        return self._generate(request, seed, steps, settings, cancel)

    def _best(
        self, request: GenerateRequest, seed: int, steps: int, settings: dict, cancel: threading.Event | None
    ) -> Iterator[StepProgress | Picture]:
        """Candidates eight at a time; the later a candidate, the better it is."""
        with self._at_work() as model:
            for first in range(0, request.candidates, BATCH):
                for step in range(1, steps + 1):
                    self._step(cancel, first * steps + step, model)
                    yield StepProgress(first, step, steps, request.candidates, min(BATCH, request.candidates - first))
            for place in range(request.num_images):
                index = request.candidates - 1 - place
                own = (seed + index) % 2**32
                picture = self._disc((own * 47 % 256, own * 91 % 256, own * 13 % 256))
                yield Picture(picture, place, request.prompt, own, self.delay, (index + 1) / request.candidates, settings)

    def surprise(self, seed: int | None = None) -> str:
        self._ready()
        self._needs("judge")
        return KNOWN[-1]

    def mix(self, request: MixRequest, cancel: threading.Event | None = None) -> Picture:
        self._ready()
        self._needs("mixing")
        self._needs("styles", request.style)
        self.mixed.append(request)
        for prompt in request.prompts:
            self._clean(prompt)
        weights = request.weights or [1] * len(request.prompts)
        settings = {
            "prompts": list(request.prompts),
            "weights": [weight / sum(weights) for weight in weights],
            "seeds": list(request.seeds or range(len(weights))),
            "num_inference_steps": request.num_inference_steps or self.default_steps[0],
            "guidance_scale": DEFAULT_GUIDANCE if request.guidance_scale is None else request.guidance_scale,
            "style": request.style,
            "truncation": request.truncation,
            "model": self.model,
            "revision": self.revision,
        }
        for seed in settings["seeds"]:
            self._within("seed", seed, 0, MAX_SEED)
        self._step(cancel, 1, self.model)
        parts = (round(255 * share) + seed for share, seed in zip(settings["weights"], settings["seeds"], strict=True))
        colour = tuple(part % 256 for part in (*parts, 0, 0))[:3]
        score = None if "ranker" in self.lacks else 0.5
        return Picture(self._disc(colour), 0, " | ".join(request.prompts), settings["seeds"][0], self.delay, score, settings)

    def search(self, prompt: str, vectors: np.ndarray, limit: int | None = None) -> list[Match]:
        """The later a picture, the better it fits."""
        self._ready()
        self._needs("ranker")
        self._clean(prompt)
        if len(vectors) and vectors.shape[1] != len(VECTOR):
            raise SettingError("Give the vectors that this model's ranker made.")
        return [Match(index, index / len(vectors)) for index in range(len(vectors) - 1, -1, -1)][:limit]

    def search_reference(self, prompt: str, limit: int | None = None) -> list[Match]:
        """By shared words."""
        self._ready()
        self._needs("ranker")
        if "reference" in self.lacks:
            return []
        words = set(self._clean(prompt).split())
        fit = [len(words & set(drawing.label.split())) / len(words) for drawing in self.reference.drawings]
        return [Match(index, fit[index]) for index in sorted(range(len(fit)), key=lambda index: -fit[index])][:limit]

    def insight(self, request: GenerateRequest, cancel: threading.Event | None = None) -> Insight:
        """Each word attended to from the patch of its own number alone."""
        self._needs("insight")
        picture = next(item for item in self.generate(request, cancel) if isinstance(item, Picture))
        text = request.prompt.lower()
        found = text.split()
        words = []
        for place, word in enumerate(found):
            attention = np.zeros((4, 4), np.float32)
            attention.flat[place % 16] = 1
            without = self._disc((200, 0, 0)) if len(found) > 1 else None
            words.append(Word(word, (word,), attention, without, np.full((16, 16), 0.1 * place) if without else None))
        grey = self._disc((128, 128, 128))
        pieces = ("[CLS]", *found, "[SEP]")
        channels = np.linspace(-1, 1, 8 * 256, dtype=np.float32).reshape(8, 16, 16)
        nearest = ((0, 0.25), (1, 0.5))
        return Insight(picture, text, pieces, tuple(words), self.judge(text), channels, (grey, picture.image), (), nearest)

    def _generate(
        self, request: GenerateRequest, seed: int, steps: int, settings: dict, cancel: threading.Event | None
    ) -> Iterator[StepProgress | Picture]:
        with self._at_work() as model:
            for index in range(request.num_images):
                for step in range(1, steps + 1):
                    self._step(cancel, index * steps + step, model)
                    yield StepProgress(index, step, steps, preview=lambda: self._disc((128, 128, 128)))
                own = (seed + index) % 2**32
                picture = self._disc((own * 47 % 256, own * 91 % 256, own * 13 % 256))
                seen = (None, settings) if "ranker" in self.lacks else (0.5, settings, VECTOR)
                yield Picture(picture, index, request.prompt, own, steps * self.delay, *seen)

    def interpolate(self, request: InterpolateRequest | PathRequest, cancel: threading.Event | None = None) -> Iterator[Frame]:
        self._ready()
        path = as_path(request)
        self._needs("mixing")
        self._needs("pacing", path.pacing == "even")
        self._needs("styles", path.style)
        self._needs("truncation", path.truncation != 1)
        self._needs("given", any(stage.image for stage in path.stages))
        route = route_of(path)
        for stage in path.stages:
            if stage.image is None or stage.prompt.strip():
                self._clean(stage.prompt)
            if stage.seed is not None:
                self._within("seed", stage.seed, 0, MAX_SEED)
        if path.pacing not in ("even", "raw"):
            raise SettingError(f"Unknown pacing {path.pacing!r}: choose even or raw.")
        if path.moving == "text" and any(stage.image for stage in path.stages):
            raise SettingError("There is no path of the text alone to or from a picture that was given.")
        self.paths.append(path)
        return self._interpolate(path, route, cancel)

    def path_metadata(self, request: InterpolateRequest | PathRequest) -> dict[str, str]:
        return path_metadata(request, {"model": self.model, "style": request.style, "frames": request.frames})

    def _interpolate(self, path: PathRequest, route: Route, cancel: threading.Event | None) -> Iterator[Frame]:
        """Red grows along the path, less where only the text moves; the frames of given pictures have their middle's green."""
        total = route.frames
        with self._at_work() as model:
            for order, index in enumerate(chain.from_iterable(route.levels())):
                self._step(cancel, order, model)
                position = index / (total - 1)
                leg, step = route.place(index)
                stage = path.stages[leg] if index in route.stages else None
                green = stage.image.resize((1, 1)).getpixel((0, 0))[1] if stage is not None and stage.image else 0
                colour = (round((255 if path.moving == "both" else 100) * position), green, round(255 * (1 - position)))
                yield Frame(order, index, step / route.gaps[leg], self._disc(colour), total, leg)

    def _disc(self, colour: tuple[int, int, int]) -> Image.Image:
        return disc(colour, self.size)

    def _ready(self) -> None:
        if self._status.state != "ready":
            raise NotReadyError(self._status.message)

    def _needs(self, feature: str, wanted: object = True) -> None:
        if wanted and feature in self.lacks:
            raise SettingError(self.lacks[feature])

    def _clean(self, prompt: str) -> str:
        if not prompt.strip():
            raise PromptError("The prompt is empty. Describe a picture.")
        if not any(character.isalpha() for character in prompt):
            raise PromptError("The prompt has no words, only symbols.")
        if len(prompt) > MAX_CHARACTERS:
            raise PromptError(f"The prompt is too long: at most {MAX_CHARACTERS} characters.")
        return prompt.strip().lower()

    def _within(self, name: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:
            raise SettingError(f"The {name} must be {low} to {high}, not {value:g}.")

    def _step(self, cancel: threading.Event | None, number: int, model: str) -> None:
        while True:
            if cancel is not None and cancel.is_set():
                raise Cancelled("Stopped.")
            if model != self.model:
                raise ModelChangedError("The model was changed while this was drawn: draw it again.")
            if self.pause_at is None or number <= self.pause_at:
                break
            time.sleep(0.01)
        time.sleep(self.delay)
        self.steps_done += 1

    @contextmanager
    def _at_work(self) -> Iterator[str]:
        """Gives the model that is asked."""
        with self._lock:
            self.active += 1
            self.most_active = max(self.most_active, self.active)
        try:
            yield self.model
        finally:
            with self._lock:
                self.active -= 1


def disc(colour: tuple[int, int, int], size: tuple[int, int] = (IMAGE_SIZE, IMAGE_SIZE)) -> Image.Image:
    """A disc on transparency; on white where the picture has another size than the usual."""
    usual = size == (IMAGE_SIZE, IMAGE_SIZE)
    image = Image.new("RGBA" if usual else "RGB", size, (0, 0, 0, 0) if usual else (255, 255, 255))
    side = min(size)
    ImageDraw.Draw(image).ellipse(
        (side * 5 // 32, side * 5 // 32, side * 27 // 32, side * 27 // 32), fill=(*colour, 255) if usual else colour
    )
    return image
