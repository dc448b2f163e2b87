"""The one owner of the model at run time: loading, seeds, cancelling. Page, API, slider and command line all go through it."""

from __future__ import annotations

import contextlib
import math
import os
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dalle.config import (
    DEFAULT_GUIDANCE,
    DEFAULT_MODEL,
    MAX_CANDIDATES,
    MAX_FRAMES,
    MAX_IMAGES,
    MAX_MIXED,
    MAX_PATH_FRAMES,
    MAX_SEED,
    MAX_STAGES,
    STEPS,
    STYLES,
    Cancelled,
    CheckpointError,
    DalleError,
    ModelChangedError,
    NotReadyError,
    PromptError,
    RefusedError,
    SettingError,
)
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
    checked_length,
    checked_share,
    checked_weight,
    noise_recipe,
    path_metadata,
    seed_or_random,
    whole_number,
    with_seeds,
)
from dalle.turns import Turns

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image
    from torch import Tensor

    from dalle.history import TrainingHistory
    from dalle.hub import Description
    from dalle.insight import Insight
    from dalle.interpolation import Route
    from dalle.judge import Judge, Judgement
    from dalle.models import Model, Recipe
    from dalle.path import End
    from dalle.pipeline import DallePipeline
    from dalle.ranking import Ranker
    from dalle.reference import ReferenceSet
    from dalle.wordfilter import WordFilter

BATCH = 8
"""Pictures that the ranker looks at together."""

KEPT_TEXTS = 64

LOOKS = 0.5
"""What a drawing's looks count beside its name in a search of the reference set."""
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
NUMERALS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class EngineStatus:
    state: Literal["loading", "ready", "failed"]
    message: str
    device: str
    model: str


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that is there. A request keeps the one that it was checked against, to the end.

    `model` is its name, pinned to a commit where it comes from the Hub, and `folder` where it lies.
    `names` (N, C): the language model's vectors of the reference set's labels, where there are a set and a judge that knows them.
    """

    model: str
    folder: Path
    device: str
    pipeline: Model
    revision: str
    filter: WordFilter | None
    names: np.ndarray | None = None

    def allowed(self, prompt: str) -> str:
        """The prompt, where no filter refuses it. What is no text at all is left to those who read it."""
        if self.filter is not None and isinstance(prompt, str):
            self.filter.check(prompt)
        return prompt

    def needs(self, feature: str) -> None:
        """Raises SettingError, with the reason, where the model lacks something (`dalle.models.WITHOUT`)."""
        if feature in self.pipeline.lacks:
            raise SettingError(self.pipeline.lacks[feature])


class Engine:
    """Loads a checkpoint and draws from it; safe to call from several threads, one network evaluation at a time.

    Those who draw at the same time take turns, an evaluation each (`dalle.turns`). `switch` changes the checkpoint.
    """

    def __init__(self, model: str = DEFAULT_MODEL, device: str = "auto", word_filter: bool = False) -> None:
        """
        Args:
            model: a checkpoint folder or a Hub id, of this project or of any text-to-image pipeline of diffusers.
            device: "auto", "cpu" or "cuda".
            word_filter: refuse prompts with a word of a kept list (`dalle.wordfilter`), for pages that strangers use.
        """
        self.model = model
        self._wants_filter = word_filter
        self._wanted_device = device
        self._loaded: Loaded | None = None
        self._error: DalleError | None = None
        self._finished = threading.Event()
        self._loading = threading.Lock()
        self._turn = Turns()
        self._texts: OrderedDict[tuple[str, str | None], Any] = OrderedDict()

    @property
    def status(self) -> EngineStatus:
        if (now := self._loaded) is not None:
            return EngineStatus("ready", f"Ready on {now.device}.", now.device, now.model)
        if (error := self._error) is not None:
            return EngineStatus("failed", str(error), self._wanted_device, self.model)
        return EngineStatus("loading", "The model is loading.", self._wanted_device, self.model)

    @property
    def revision(self) -> str:
        """Short hash of the loaded weights: tells two versions of a checkpoint apart; "" before they are loaded."""
        return "" if self._loaded is None else self._loaded.revision

    @property
    def lacks(self) -> Mapping[str, str]:
        """What the loaded model can't do (`dalle.models.WITHOUT`) -> why; nothing before it is loaded."""
        return {} if (now := self._loaded) is None else now.pipeline.lacks

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the styles that the model knows; of one that is still on its way, this project's."""
        return tuple(STYLES) if (now := self._loaded) is None else now.pipeline.styles

    @property
    def default_steps(self) -> tuple[int, int]:
        """Default steps of a picture and of a frame of a path; of a model that is still on its way, the default model's."""
        from dalle.hub import prior_class

        if (now := self._loaded) is not None:
            return now.pipeline.default_steps, now.pipeline.default_path_steps
        return STEPS[prior_class(self.model)]

    @property
    def default_guidance(self) -> float:
        """Of a model that is still on its way, that of this project's."""
        return DEFAULT_GUIDANCE if (now := self._loaded) is None else now.pipeline.default_guidance

    def load(self) -> None:
        """Loads the model; a second call does nothing.

        Raises:
            CheckpointError, SettingError: what is wrong with the checkpoint or the device.
        """
        with self._loading:
            if self._loaded is not None:
                return
            try:
                self._loaded = self._load(self.model)
                self.model = self._loaded.model
                self._error = None
            except DalleError as error:
                self._error = error
                raise
            finally:
                self._finished.set()

    def switch(self, model: str) -> None:
        """Loads another checkpoint, and then draws with the other.

        The present one goes on drawing while the other is fetched, and waits while it is opened. What was asked of it and isn't
        done by then ends with `ModelChangedError`, so that nothing is drawn by two. For a moment both are in memory.

        Args:
            model: a checkpoint folder or a Hub id.

        Raises:
            CheckpointError, SettingError: what is wrong with it; the present one stays.
        """
        with self._loading:
            other = self._load(model)
            with self._turn:
                self._loaded, self.model = other, other.model
                self._error = None
                self._texts.clear()
            self._finished.set()

    def _load(self, model: str) -> Loaded:
        try:
            return self._read(model)
        except DalleError:
            raise
        except Exception as error:
            raise CheckpointError(f"{model} could not be loaded ({type(error).__name__}: {error}).") from error

    def _read(self, model: str) -> Loaded:
        import torch
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        from dalle import models
        from dalle.hardware import resolve_device, supports_bf16
        from dalle.hub import resolve

        # Loading takes a second or two: two progress bars on the console tell nobody anything.
        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        device = resolve_device(self._wanted_device)
        dtype = torch.bfloat16 if supports_bf16(device) else torch.float32
        # Of one on the Hub, kind and size are asked before gigabytes are fetched for nothing.
        name = model if os.path.isdir(os.path.expanduser(model)) else self.describe(model).pinned
        folder = resolve(name)
        pipeline = self._open(folder, device, dtype)
        word_filter = None
        if self._wants_filter:
            from dalle.wordfilter import WordFilter

            judge = pipeline.judge
            word_filter = WordFilter((*judge.captions, *judge.vocabulary) if judge else ())
        names = None
        if pipeline.judge is not None and pipeline.reference is not None:
            names = pipeline.judge.vectors_of([drawing.label for drawing in pipeline.reference.drawings])
        return Loaded(name, folder, device, pipeline, models.revision(folder), word_filter, names)

    def describe(self, model: str) -> Description:
        """What a model is, from its card and its configs; its weights are not fetched.

        Raises:
            CheckpointError: there is no such model, it is none that can be used, or has no room in memory.
        """
        from dalle.hardware import check_room, resolve_device
        from dalle.hub import describe
        from dalle.models import check_kind

        found = describe(model)
        check_kind(found.kind)
        check_room(found.size, resolve_device(self._wanted_device))
        return found

    def _open(self, folder: Path, device: str, dtype: torch.dtype) -> Model:
        from dalle import models

        with self._turn:  # the libraries change torch's default number format meanwhile, for every thread
            return models.load(folder, device, dtype)

    def load_in_background(self) -> threading.Thread:
        """Starts loading; `status` tells how it went."""

        def work() -> None:
            with contextlib.suppress(DalleError):  # kept in status, and raised again by `wait`
                self.load()

        thread = threading.Thread(target=work, name="load-model", daemon=True)
        thread.start()
        return thread

    def wait(self, timeout: float | None = None) -> Model:
        """The loaded model.

        Raises:
            NotReadyError: still loading after `timeout` seconds, or loading failed.
        """
        return self._ready(timeout).pipeline

    def _ready(self, timeout: float | None = 0) -> Loaded:
        """What is loaded; raises as `wait`."""
        if not self._finished.wait(timeout):
            raise NotReadyError("The model is still loading: try again in a few seconds.")
        if (now := self._loaded) is None:
            raise NotReadyError(f"The model could not be loaded. {self.status.message}")
        return now

    @contextlib.contextmanager
    def _turn_of(self, loaded: Loaded) -> Iterator[Model]:
        """One turn at the model, of a request that was checked against `loaded`.

        Raises:
            ModelChangedError: another has taken its place meanwhile.
        """
        with self._turn:
            if loaded is not self._loaded:
                raise ModelChangedError("The model was changed while this was drawn: draw it again.")
            yield loaded.pipeline

    def card(self) -> str | None:
        """The loaded model's README, without its front matter, where there is one."""
        from dalle.hub import read_card

        return (read_card(now.folder)[0] or None) if (now := self._loaded) is not None else None

    def judge(self, prompt: str, style: str | None = None) -> Judgement:
        """How well the prompt can be drawn, before drawing.

        Raises:
            PromptError, SettingError, NotReadyError: bad input, or no model yet.
        """
        from dalle.text import clean_prompt

        now = self._ready()
        judge = self._judge(now)
        clean = now.allowed(clean_prompt(prompt))
        with self._turn_of(now) as pipeline:
            if style is not None:
                pipeline.encode_prompt(clean, style)  # the same errors as drawing: an unknown style, a prompt too long with it
            text = pipeline.encode_prompt(clean)
        return judge.score(clean, text.pooled[0].float().cpu().numpy())

    def surprise(self, seed: int | None = None) -> str:
        """A prompt from what this model was taught: one of the captions that its judge knows, chosen at random.

        Raises:
            NotReadyError: no model yet, or it has no judge.
        """
        return random.Random(seed_or_random(seed)).choice(self._judge(self._ready()).captions)

    def _judge(self, now: Loaded) -> Judge:
        if now.pipeline.judge is None:
            raise NotReadyError(now.pipeline.lacks["judge"])
        return now.pipeline.judge

    def _settings(
        self, now: Loaded, steps: int | None, guidance: float | None, truncation: float = 1.0, path: bool = False
    ) -> tuple[int, float]:
        from dalle.config import MAX_STEPS
        from dalle.pipeline import check_settings

        model = now.pipeline
        usual = model.default_path_steps if path else model.default_steps
        steps = usual if steps is None else whole_number(steps, "Steps", 1, MAX_STEPS)
        guidance = model.default_guidance if guidance is None else guidance
        check_settings(steps, guidance, truncation)
        if truncation != 1:
            now.needs("truncation")
        return (1 if model.one_step else steps), float(guidance)

    def _record(self, now: Loaded, steps: int, guidance: float, style: str | None, truncation: float) -> dict[str, Any]:
        from dalle import __version__
        from dalle.pipeline import library_versions

        return {
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "style": style,
            "truncation": truncation,
            "model": now.model,
            "revision": now.revision,
            "dalle": __version__,
            **library_versions(),
        }

    def _draw(
        self,
        now: Loaded,
        noise: Any,
        text: Any,
        steps: int,
        guidance: float,
        cancel: threading.Event | None,
        negative: Any = None,
        attention: list[Tensor] | None = None,
        start: Tensor | None = None,
    ) -> Iterator[Any]:
        """What the model yields step by step; each step takes the model for itself, so that nobody waits for more than one.

        `attention` gets that of the first row to its text, (patches, tokens), of each block in each step.
        """
        with contextlib.closing(now.pipeline.trajectory(noise, text, steps, guidance, negative, start)) as trajectory:
            while True:
                if cancel is not None and cancel.is_set():
                    raise Cancelled("Stopped.")
                with self._turn_of(now) as model, recording(model, attention):
                    latents = next(trajectory, trajectory)
                if latents is trajectory:
                    return
                yield latents

    def _decode(self, now: Loaded, latents: Tensor) -> Tensor:
        with self._turn_of(now) as pipeline:
            return pipeline.decode_latents(latents).cpu()

    def _seen(self, now: Loaded, pixels: Tensor, parts: Sequence[tuple[Any, float]]) -> tuple[float, np.ndarray]:
        """How well the ranker finds a decoded picture (1, 4, H, W) to fit texts by their shares, and its vector (D,)."""
        import torch

        ranker = self._ranker(now)
        with self._turn_of(now), torch.inference_mode():
            vectors = ranker.pictures(pixels.to(ranker.device))
            score = sum(share * float(ranker.agreement_of(vectors, text)) for text, share in parts)
        return score, vectors[0].cpu().numpy()

    def _ranker(self, now: Loaded) -> Ranker:
        ranker = now.pipeline.ranker
        if ranker is None:
            raise SettingError(now.pipeline.lacks["ranker"])
        return ranker

    def picture_vectors(self, images: Sequence[Image.Image], cancel: threading.Event | None = None) -> np.ndarray:
        """What `search` compares with a text: pictures of any size and mode -> (N, D) float32, unit norm.

        A vector belongs to the ranker that made it; a checkpoint's other parts may change.

        Raises:
            SettingError, NotReadyError: the model has no ranker, or is not there yet.
            Cancelled: within a few pictures of `cancel` being set.
        """
        import numpy as np
        import torch

        from dalle.images import from_pil
        from dalle.ranking import INPUT_SIZE

        now = self._ready()
        ranker, found = self._ranker(now), [np.zeros((0, 0), np.float32)]
        for first in range(0, len(images), BATCH):
            if cancel is not None and cancel.is_set():
                raise Cancelled("Stopped.")
            pixels = from_pil(images[first : first + BATCH], INPUT_SIZE)
            with self._turn_of(now), torch.inference_mode():
                found.append(ranker.pictures(pixels.to(ranker.device)).cpu().numpy())
        return np.concatenate(found[1:] or found)

    def search(self, prompt: str, vectors: np.ndarray, limit: int | None = None) -> list[Match]:
        """The pictures that fit a text best, best first, all of them or `limit`.

        Raises:
            PromptError, SettingError, NotReadyError: bad prompt, vectors of another ranker or none here, no model yet.
        """
        import numpy as np
        import torch

        from dalle.ranking import best_first

        now = self._ready()
        ranker = self._ranker(now)
        with self._turn_of(now) as pipeline, torch.inference_mode():
            text = ranker.texts(pipeline.encode_prompt(prompt).to(ranker.device))[0].cpu()
            if limit is not None:
                limit = whole_number(limit, "The limit", 1, 10**9)
            if not len(vectors):
                return []
            known = torch.from_numpy(np.array(vectors, np.float32))
            if known.shape[1:] != text.shape or not torch.isfinite(known).all():
                raise SettingError(f"Give the vectors that this model's ranker made, (N, {len(text)}): others can't be compared.")
            scores = ranker.score((known @ text).to(ranker.device)).tolist()
        return [Match(index, scores[index]) for index in best_first(scores)[:limit]]

    def generate(self, request: GenerateRequest, cancel: threading.Event | None = None) -> Iterator[StepProgress | Picture]:
        """Draws pictures one by one, or the best of several candidates. The request is checked before this returns.

        Raises:
            PromptError, SettingError, NotReadyError: bad input, or no model yet.
            RefusedError: strict, and the judge's score lies below its threshold.
            Cancelled: while iterating, within one step of `cancel` being set.
        """
        now = self._ready()
        count = whole_number(request.num_images, "The number of pictures", 1, MAX_IMAGES)
        candidates = 0
        if request.candidates is not None:
            candidates = whole_number(request.candidates, "The number of candidates", count, MAX_CANDIDATES)
        if candidates:
            now.needs("ranker")
        wish, seed = self._checked(now, request), seed_or_random(request.seed)
        if request.strict:
            judgement = self.judge(request.prompt, request.style)
            if judgement.refused:
                raise RefusedError(f"Not drawn, since strict mode is on: {judgement.reason}", judgement)
        if candidates:
            return self._best(wish, count, candidates, seed, cancel)
        return self._generate(wish, count, seed, cancel)

    def _checked(self, now: Loaded, request: GenerateRequest) -> Drawing:
        """What a request asks to be drawn, its texts encoded; raises as `generate`."""
        self._settings(now, request.num_inference_steps, request.guidance_scale, request.truncation)
        with self._turn_of(now) as pipeline:
            text = pipeline.encode_prompt(now.allowed(request.prompt), request.style)
        return self._wish_of(now, request, text)

    def _negative(self, now: Loaded, prompt: str | None) -> Any:
        """Features of what shall not be drawn; an empty text is none."""
        if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
            return None
        now.needs("negative")
        with self._turn_of(now) as pipeline:
            try:
                return pipeline.encode_prompt(prompt)
            except PromptError as error:
                raise PromptError(f"The negative prompt: {error}") from error

    def _generate(self, wish: Drawing, count: int, seed: int, cancel: threading.Event | None) -> Iterator[StepProgress | Picture]:
        from dalle.images import to_pil

        for index in range(count):
            began = time.perf_counter()
            own_seed = (seed + index) % (MAX_SEED + 1)
            noise = self._noise_for(wish, [own_seed])
            clean = noise
            steps = wish.by.pipeline.steps_of(wish.steps)
            drawing = self._draw(wish.by, noise, wish.text, wish.steps, wish.guidance, cancel, wish.negative)
            for step, clean in enumerate(drawing, 1):

                def preview(latents: Tensor = clean) -> Image.Image:
                    return to_pil(self._decode(wish.by, latents))[0]

                yield StepProgress(index, min(step, steps), steps, preview=None if clean is None else preview)
            yield self._finished_picture(wish, clean, index, own_seed, began)

    def _best(
        self, wish: Drawing, count: int, candidates: int, seed: int, cancel: threading.Event | None
    ) -> Iterator[StepProgress | Picture]:
        """Draws candidates, several at a time, and then yields those with the highest scores, best first."""
        from dalle.ranking import best_first

        found: list[Picture] = []
        batch = wish.by.pipeline.batch
        for first in range(0, candidates, batch):
            began = time.perf_counter()
            seeds = [(seed + index) % (MAX_SEED + 1) for index in range(first, min(first + batch, candidates))]
            noise = self._noise_for(wish, seeds)
            clean = noise
            negative = None if wish.negative is None else wish.negative.repeat(len(seeds))
            texts = wish.text.repeat(len(seeds))
            drawing = self._draw(wish.by, noise, texts, wish.steps, wish.guidance, cancel, negative)
            for step, clean in enumerate(drawing, 1):  # noqa: B007
                yield StepProgress(first, step, wish.steps, candidates, len(seeds))
            share = (time.perf_counter() - began) / len(seeds)
            for row, own_seed in enumerate(seeds):
                if cancel is not None and cancel.is_set():
                    raise Cancelled("Stopped.")
                found.append(self._finished_picture(wish, clean[row : row + 1], 0, own_seed, time.perf_counter() - share))
        order = best_first([picture.score for picture in found])
        for place, chosen in enumerate(order[:count]):
            yield replace(found[chosen], index=place, settings=found[chosen].settings | {"candidates": candidates})

    def _noise_for(self, wish: Drawing, seeds: Sequence[int]) -> Any:
        """The noise of a request's pictures with these seeds."""
        from dalle.interpolation import varied

        recipes: list[Recipe] = [[(seed, 1.0)] for seed in seeds]
        if wish.variation_of is not None:
            recipes = [varied(wish.variation_of, seed, wish.variation_strength) for seed in seeds]
        return wish.by.pipeline.noise(recipes, wish.truncation)

    def _finished_picture(
        self,
        wish: Drawing,
        latents: Tensor,
        index: int,
        seed: int,
        began: float,
        parts: Sequence[tuple[Any, float]] | None = None,
    ) -> Picture:
        """`parts`: texts and their shares in a mixture, whose score is the mean of theirs; of no parts there is no score."""
        from dalle.images import to_pil

        pixels = self._decode(wish.by, latents)
        score, vector = None, None
        parts = [(wish.text, 1.0)] if parts is None else parts
        if parts and wish.by.pipeline.ranker is not None:
            score, vector = self._seen(wish.by, pixels, parts)
        settings = self._record(wish.by, wish.steps, wish.guidance, wish.style, wish.truncation) | {"seed": seed}
        if wish.negative_prompt is not None:
            settings["negative_prompt"] = wish.negative_prompt
        if wish.variation_of is not None:
            settings |= {"variation_of": wish.variation_of, "variation_strength": wish.variation_strength}
        return Picture(to_pil(pixels)[0], index, wish.prompt, seed, time.perf_counter() - began, score, settings, vector)

    def interpolate(self, request: InterpolateRequest | PathRequest, cancel: threading.Event | None = None) -> Iterator[Frame]:
        """Draws the frames of a path coarse to fine. The request is checked before this returns; raises as `generate`."""
        now = self._ready()
        path = with_seeds(as_path(request))
        route = route_of(path)
        if path.pacing not in ("even", "raw"):
            raise SettingError(f"Unknown pacing {path.pacing!r}: choose even or raw.")
        if path.moving not in ("both", "text"):
            raise SettingError(f"Unknown way to move {path.moving!r}: choose both or text.")
        if path.moving == "text" and any(stage.image is not None for stage in path.stages):
            raise SettingError("There is no path of the text alone to or from a picture that was given: no text leads to it.")
        if any(stage.image is not None for stage in path.stages):
            now.needs("given")
        if len({stage.drawn.prompt if stage.drawn else stage.prompt for stage in path.stages}) > 1:
            now.needs("mixing")
        given = path.num_inference_steps, path.guidance_scale, path.truncation
        steps, guidance = self._settings(now, *given, path=True)
        ends = [self._end(now, path, place, steps, guidance, cancel) for place in range(len(path.stages))]
        if path.moving == "text":
            ends = [replace(end, noise=ends[0].noise, given=None) for end in ends]
        return self._interpolate(now, ends, route, steps, guidance, path.pacing, cancel)

    def _end(self, now: Loaded, path: PathRequest, place: int, steps: int, guidance: float, cancel: threading.Event | None) -> End:
        """What a stage is made of, for a path of so many steps and such guidance."""
        from dalle.path import End

        stage, count = path.stages[place], len(path.stages)
        if stage.drawn is not None:
            text = self._encode_one(now, stage.drawn.prompt, stage.drawn.style, place, count)
            wish = self._wish_of(now, stage.drawn, text)
            noise = self._noise_for(wish, [whole_number(stage.drawn.seed, "The seed", 0, MAX_SEED)])
            if (wish.steps, wish.guidance, wish.negative) == (steps, guidance, None):
                return End(noise, text)
            now.needs("given")
            # Drawn otherwise than the path is: its own way, and the frames beside it start from there.
            return End(noise, text, lambda: last(self._draw(now, noise, text, wish.steps, wish.guidance, cancel, wish.negative)))
        noise = now.pipeline.noise([[(whole_number(stage.seed, "The seed", 0, MAX_SEED), 1.0)]], path.truncation)
        if stage.image is None:
            return End(noise, self._encode_one(now, stage.prompt, path.style, place, count))
        silent = isinstance(stage.prompt, str) and not stage.prompt.strip()
        text = None if silent else self._encode_one(now, stage.prompt, path.style, place, count)
        return End(noise, text, lambda: self._encode_picture(now, stage.image))

    def _wish_of(self, now: Loaded, request: GenerateRequest, text: Any) -> Drawing:
        """A request for pictures of this text, checked but for its seed, its number of pictures and candidates."""
        steps, guidance = self._settings(now, request.num_inference_steps, request.guidance_scale, request.truncation)
        base = None if request.variation_of is None else noise_recipe(request.variation_of)
        strength = checked_share(request.variation_strength, "The strength of a variation")
        wish = Drawing(now, request.prompt, text, steps, guidance, request.truncation, request.style)
        if (negative := self._negative(now, request.negative_prompt)) is not None:
            wish = replace(wish, negative=negative, negative_prompt=request.negative_prompt)
        if base is not None:
            wish = replace(wish, variation_of=base, variation_strength=strength)
        return wish

    def _encode_picture(self, now: Loaded, image: Image.Image) -> Tensor:
        with self._turn_of(now) as pipeline:
            return pipeline.encode_pictures([image])

    def _encode_all(self, now: Loaded, prompts: Sequence[str], style: str | None) -> list[Any]:
        """Features of several prompts; an error says which of them it is about."""
        return [self._encode_one(now, prompt, style, place, len(prompts)) for place, prompt in enumerate(prompts)]

    def _encode_one(self, now: Loaded, prompt: str, style: str | None, place: int, count: int) -> Any:
        try:
            return self._encode(now, prompt, style)
        except PromptError as error:
            if count == 1:
                raise
            raise PromptError(f"The {ORDINALS[place]} of the {NUMERALS[count - 1]} prompts: {error}") from error

    def _encode(self, now: Loaded, prompt: str, style: str | None) -> Any:
        """Features of a prompt; the last few are kept, since a point that is dragged between prompts asks for them anew."""
        with self._turn_of(now) as pipeline:
            if (found := self._texts.get((prompt, style))) is None:
                found = self._texts[prompt, style] = pipeline.encode_prompt(now.allowed(prompt), style)
            self._texts.move_to_end((prompt, style))
            while len(self._texts) > KEPT_TEXTS:
                self._texts.popitem(last=False)
        return found

    def path_metadata(self, request: InterpolateRequest | PathRequest) -> dict[str, str]:
        """The text that goes into the file of a path whose request has seeds, so that it can be made again.

        Ask for it after `interpolate` and before its first frame: should the model be changed in between, there are no frames.
        """
        now = self._ready()
        given = request.num_inference_steps, request.guidance_scale, request.truncation
        steps, guidance = self._settings(now, *given, path=True)
        settings = self._record(now, steps, guidance, request.style, request.truncation)
        settings |= {"frames": request.frames, "pacing": pacing_of(now, request.pacing)}
        moving = as_path(request).moving
        return path_metadata(request, settings if moving == "both" else settings | {"moving": moving})

    def _interpolate(
        self,
        now: Loaded,
        ends: list[End],
        route: Route,
        steps: int,
        guidance: float,
        pacing: str,
        cancel: threading.Event | None,
    ) -> Iterator[Frame]:
        from dalle.images import to_pil
        from dalle.path import Path

        def draw(noise: Any, text: Any, steps: int, start: Tensor | None = None) -> Tensor:
            return last(self._draw(now, noise, text, steps, guidance, cancel, start=start))

        path = Path(ends, route, draw, steps, now.pipeline, even=pacing_of(now, pacing) == "even")
        batch = now.pipeline.batch
        levels = list(route.levels())
        # The first batch is the first levels that have five frames or more: of two prompts, both ends and three between.
        first = next((place for place in range(1, len(levels)) if sum(map(len, levels[:place])) >= 5), len(levels))
        order, start = list(chain.from_iterable(levels)), sum(map(len, levels[:first])) if batch > 1 else 1
        groups = [order[:start], *(order[place : place + batch] for place in range(start, len(order), batch))]
        drawn = 0
        for group in groups:
            # Nobody waits for a closer look before there is something to see.
            points = [path.point(index, rough=drawn == 0) for index in group]
            latents = path.latents(points)
            for row, index in enumerate(group):
                if cancel is not None and cancel.is_set():
                    raise Cancelled("Stopped.")
                leg, share = points[row]
                yield Frame(drawn, index, share, to_pil(self._decode(now, latents[row : row + 1]))[0], route.frames, leg)
                drawn += 1

    @property
    def reference(self) -> ReferenceSet | None:
        """Small drawings of what the model was taught, where it has any."""
        return self.wait(0).reference

    def search_reference(self, prompt: str, limit: int | None = None) -> list[Match]:
        """The drawings of the reference set that fit a text best, best first: by what they show and by what they are called.

        A score is the cosine of the language model's vectors of text and name, plus `LOOKS` times the ranker's of text and picture,
        as a share of the most that can be. On single icons the ranker alone is a poor judge (docs/LOG.md). Raises as `search`.
        """
        import numpy as np
        import torch

        from dalle.ranking import best_first

        now = self._ready()
        ranker, reference = self._ranker(now), now.pipeline.reference
        if limit is not None:
            limit = whole_number(limit, "The limit", 1, 10**9)
        with self._turn_of(now) as pipeline, torch.inference_mode():
            text = pipeline.encode_prompt(now.allowed(prompt))
            looks = ranker.texts(text.to(ranker.device))[0].float().cpu().numpy()
        if reference is None:
            return []
        names = np.zeros(len(reference), np.float32)
        if now.names is not None:
            names = now.names @ text.pooled[0].float().cpu().numpy()
        scores = ((names + LOOKS * (reference.vectors @ looks)) / (1 + LOOKS)).clip(0, 1).tolist()
        return [Match(index, scores[index]) for index in best_first(scores)[:limit]]

    @property
    def history(self) -> TrainingHistory | None:
        """Pictures of how the model learned, where it has any."""
        return self.wait(0).history

    def insight(self, request: GenerateRequest, cancel: threading.Event | None = None) -> Insight:
        """Draws the first picture of a request and looks inside: words, attention, latent, steps, nearest drawings.

        Takes some twenty evaluations of the model, one for each word and step, and gives it to others between them.

        Raises:
            As `generate`; `Cancelled` within one step of `cancel` being set.
        """
        import torch
        import torch.nn.functional as F

        from dalle.images import to_pil
        from dalle.insight import MAX_WORDS, NEAREST, SHOWN_STEPS, Insight, Word, left_out, words_of
        from dalle.pipeline import with_style
        from dalle.text import TextFeatures, clean_prompt

        began = time.perf_counter()
        now = self._ready()
        now.needs("insight")
        pipeline: DallePipeline = now.pipeline
        wish, seed = self._checked(now, request), seed_or_random(request.seed)
        text = with_style(clean_prompt(request.prompt), request.style)
        pieces, spans = pipeline.text.pieces(text), pipeline.text.spans(text)
        noise = self._noise_for(wish, [seed])

        def shown(latents: Tensor) -> Image.Image:
            return to_pil(self._decode(now, latents))[0]

        attention: list[Tensor] = []
        own = list(self._draw(now, noise, wish.text, wish.steps, wish.guidance, cancel, wish.negative, attention))
        picture = self._finished_picture(wish, own[-1], 0, seed, began)
        side = pipeline.prior.trunk.side
        maps = torch.stack(attention).mean(0)[:, : len(pieces)]
        maps = (maps / maps.sum(1, keepdim=True)).T.unflatten(1, (side, side)).numpy()
        found = words_of(text, pieces, spans)
        # What would be drawn without each word: of the same noise, all together in batches.
        spared = {place: rest for place, (_, *ends, _) in enumerate(found[:MAX_WORDS]) if (rest := left_out(text, *ends))}
        without: dict[int, tuple[Image.Image, np.ndarray]] = {}
        whole = self._decode(now, own[-1])
        for first in range(0, len(spared), pipeline.batch):
            places = list(spared)[first : first + pipeline.batch]
            with self._turn_of(now):
                rows = TextFeatures.stack([pipeline.encode_prompt(spared[place]) for place in places])
            negative = None if wish.negative is None else wish.negative.repeat(len(places))
            *_, latents = self._draw(now, noise.repeat(len(places), 1, 1, 1), rows, wish.steps, wish.guidance, cancel, negative)
            for row, place in enumerate(places):
                pixels = self._decode(now, latents[row : row + 1])
                difference = F.adaptive_avg_pool2d((pixels - whole).abs().mean(1) / 2, 16)[0].numpy()
                without[place] = to_pil(pixels)[0], difference
        words = tuple(
            Word(word, tuple(pieces[at] for at in places), maps[places].sum(0), *without.get(place, ()))
            for place, (word, _, _, places) in enumerate(found)
        )
        start = shown(noise)
        long: tuple[Image.Image, ...] = ()
        if pipeline.prior.kind != "gaussian" and wish.steps < SHOWN_STEPS:
            drawing = self._draw(now, noise, wish.text, SHOWN_STEPS, wish.guidance, cancel, wish.negative)
            long = (start, *(shown(latents) for latents in drawing))
        nearest = ()
        if pipeline.reference is not None and picture.vector is not None:
            nearest = tuple(pipeline.reference.nearest(picture.vector, NEAREST))
        return Insight(
            picture,
            text,
            tuple(pieces),
            words,
            self.judge(request.prompt, request.style) if pipeline.judge is not None else None,
            own[-1][0].float().cpu().numpy(),
            (start, *(shown(latents) for latents in own)),
            long,
            nearest,
        )

    def mix(self, request: MixRequest, cancel: threading.Event | None = None) -> Picture:
        """One picture of several prompts. Weights count relative to each other; raises as `generate`."""
        began = time.perf_counter()
        now = self._ready()
        if isinstance(request.prompts, str):
            raise SettingError("Give the prompts as a list.")
        prompts = list(request.prompts)
        weights = [1.0] * len(prompts) if request.weights is None else list(request.weights)
        if not 1 <= len(prompts) <= MAX_MIXED:
            raise SettingError(f"Mix between 1 and {MAX_MIXED} prompts, not {len(prompts)}.")
        seeds = [None] * len(prompts) if request.seeds is None else list(request.seeds)
        if not len(weights) == len(seeds) == len(prompts):
            raise SettingError(f"{len(prompts)} prompts need as many weights and seeds.")
        total = sum(checked_weight(value, "A weight") for value in weights)
        if not total > 0:
            raise SettingError("Give at least one prompt a weight above 0.")
        seeds = [seed_or_random(seed) for seed in seeds]
        steps, guidance = self._settings(now, request.num_inference_steps, request.guidance_scale, request.truncation)
        texts = self._encode_all(now, prompts, request.style)
        # Shares that sum to 1 stay as they are, to the bit: a mixture that is made again is the same.
        shares = weights if math.isclose(total, 1, rel_tol=1e-12) else [value / total for value in weights]
        noises = [now.pipeline.noise([[(seed, 1.0)]], request.truncation) for seed in seeds]
        noise, text = now.pipeline.mix(noises, texts, shares)
        *_, latents = self._draw(now, noise, text, steps, guidance, cancel)
        wish = Drawing(now, " | ".join(prompts), text, steps, guidance, request.truncation, request.style)
        scored = list(zip(texts, shares, strict=True)) if request.scored else []
        picture = self._finished_picture(wish, latents, 0, seeds[0], began, scored)
        return replace(picture, settings=picture.settings | {"prompts": prompts, "weights": shares, "seeds": seeds})


def route_of(path: PathRequest) -> Route:
    """Where the frames of a path lie.

    Raises:
        SettingError: too few or too many stages or frames, lengths out of range.
    """
    from dalle.interpolation import Route

    count = len(path.stages)
    if not 2 <= count <= MAX_STAGES:
        raise SettingError(f"A path has between 2 and {MAX_STAGES} stages, not {count}.")
    legs = path.stages if path.loop else path.stages[:-1]
    lengths = [checked_length(stage.length) for stage in legs]
    frames = whole_number(path.frames, "The number of frames", 2, MAX_PATH_FRAMES if len(legs) > 1 else MAX_FRAMES)
    if frames < len(legs) + (0 if path.loop else 1):
        raise SettingError(f"A path through {count} stages needs at least {count} frames, not {frames}.")
    return Route.shared_out(frames, lengths, path.loop)


def pacing_of(now: Loaded, pacing: str) -> str:
    """How a path is paced that should be paced so."""
    return "raw" if "pacing" in now.pipeline.lacks else pacing


def recording(model: Model, attention: list[Tensor] | None) -> contextlib.AbstractContextManager[None]:
    """Keeps the attention to the text in `attention`, where somebody wants it."""
    from dalle.insight import recorded_attention

    return recorded_attention(() if attention is None else model.prior.trunk.blocks, attention)


def last(drawing: Iterator[Tensor]) -> Tensor:
    """What a drawing ends with."""
    *_, latents = drawing
    return latents


@dataclass(frozen=True)
class Drawing:
    """A checked request for pictures of one text, and what it was checked against."""

    by: Loaded
    prompt: str
    text: Any
    steps: int
    guidance: float
    truncation: float
    style: str | None
    negative: Any = None
    negative_prompt: str | None = None
    variation_of: list[tuple[int, float]] | None = None
    variation_strength: float = 0.0
