"""The one owner of the model at run time: loading, seeds, cancelling. Page, API, slider and command line all go through it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
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

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

    from dalle.interpolation import Route
    from dalle.judge import Judgement
    from dalle.path import End
    from dalle.pipeline import DallePipeline
    from dalle.ranking import Ranker
    from dalle.text import TextFeatures
    from dalle.wordfilter import WordFilter

BATCH = 8
"""Pictures that are drawn together where many are wanted: a step of so many takes the model for a few hundredths of a second."""

KEPT_TEXTS = 64

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
NUMERALS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class EngineStatus:
    state: Literal["loading", "ready", "failed"]
    message: str
    device: str
    model: str


class Engine:
    """Loads a checkpoint once and draws from it; safe to call from several threads, one network evaluation at a time."""

    def __init__(self, model: str = DEFAULT_MODEL, device: str = "auto", word_filter: bool = False) -> None:
        """
        Args:
            model: a checkpoint folder or a Hub id.
            device: "auto", "cpu" or "cuda".
            word_filter: refuse prompts with a word of a kept list (`dalle.wordfilter`), for pages that strangers use.
        """
        self.model = model
        self._wants_filter = word_filter
        self._filter: WordFilter | None = None
        self._wanted_device = device
        self._device = device
        self._pipeline: DallePipeline | None = None
        self._error: DalleError | None = None
        self._message = "The model is loading."
        self._revision = ""
        self._finished = threading.Event()
        self._loading = threading.Lock()
        self._turn = threading.Lock()
        self._texts: OrderedDict[tuple[str, str | None], TextFeatures] = OrderedDict()

    @property
    def status(self) -> EngineStatus:
        if self._pipeline is not None:
            state: Literal["loading", "ready", "failed"] = "ready"
        else:
            state = "failed" if self._error is not None else "loading"
        return EngineStatus(state, self._message, self._device, self.model)

    @property
    def revision(self) -> str:
        """Short hash of the loaded weights: tells two versions of a checkpoint apart; "" before they are loaded."""
        return self._revision

    @property
    def styles(self) -> tuple[str, ...]:
        return tuple(STYLES)

    @property
    def default_steps(self) -> tuple[int, int]:
        """Default steps of a picture and of a frame of a path; of a model that is still on its way, the default model's."""
        from dalle.hub import prior_class

        if self._pipeline is not None:
            return self._pipeline.prior.default_steps, self._pipeline.prior.default_path_steps
        return STEPS[prior_class(self.model)]

    @property
    def has_ranker(self) -> bool:
        """Whether candidates can be put in order; of a model that is still on its way, whether its folder says so."""
        if self._pipeline is not None:
            return self._pipeline.ranker is not None
        return (Path(self.model).expanduser() / "ranker").is_dir()

    def load(self) -> None:
        """Loads the model; a second call does nothing.

        Raises:
            CheckpointError, SettingError: what is wrong with the checkpoint or the device.
        """
        with self._loading:
            if self._pipeline is not None:
                return
            try:
                self._pipeline = self._load()
                self._error = None
                self._message = f"Ready on {self._device}."
            except DalleError as error:
                self._error, self._message = error, str(error)
                raise
            except Exception as error:
                wrapped = CheckpointError(f"{self.model} could not be loaded ({type(error).__name__}: {error}).")
                self._error, self._message = wrapped, str(wrapped)
                raise wrapped from error
            finally:
                self._finished.set()

    def _load(self) -> DallePipeline:
        import torch
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        from dalle.hardware import resolve_device, supports_bf16
        from dalle.hub import resolve, revision
        from dalle.pipeline import DallePipeline

        # Loading takes a second or two: two progress bars on the console tell nobody anything.
        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        self._device = resolve_device(self._wanted_device)
        dtype = torch.bfloat16 if supports_bf16(self._device) else torch.float32
        pipeline = DallePipeline.from_pretrained(self.model, dtype=dtype)
        pipeline.vae.to(memory_format=torch.channels_last)
        pipeline.to(self._device)
        pipeline.set_progress_bar_config(disable=True)
        # The first evaluation sets up the kernels: better here than under a user's first prompt.
        pipeline("a red apple", num_inference_steps=2, output_type="pt")
        self._revision = revision(resolve(self.model))
        if self._wants_filter:
            from dalle.wordfilter import WordFilter

            judge = pipeline.judge
            self._filter = WordFilter((*judge.captions, *judge.vocabulary) if judge else ())
        return pipeline

    def _allowed(self, prompt: str) -> str:
        """The prompt, where no filter refuses it. What is no text at all is left to those who read it."""
        if self._filter is not None and isinstance(prompt, str):
            self._filter.check(prompt)
        return prompt

    def load_in_background(self) -> threading.Thread:
        """Starts loading; `status` tells how it went."""

        def work() -> None:
            with contextlib.suppress(DalleError):  # kept in status, and raised again by `wait`
                self.load()

        thread = threading.Thread(target=work, name="load-model", daemon=True)
        thread.start()
        return thread

    def wait(self, timeout: float | None = None) -> DallePipeline:
        """The loaded pipeline.

        Raises:
            NotReadyError: still loading after `timeout` seconds, or loading failed.
        """
        if not self._finished.wait(timeout):
            raise NotReadyError("The model is still loading: try again in a few seconds.")
        if self._pipeline is None:
            raise NotReadyError(f"The model could not be loaded. {self._message}")
        return self._pipeline

    def card(self) -> str | None:
        """The checkpoint's README, without its front matter, where there is one."""
        try:
            from dalle.hub import resolve

            text = (resolve(self.model) / "README.md").read_text(encoding="utf-8")
        except (DalleError, OSError, UnicodeDecodeError):
            return None
        if text.startswith("---\n"):
            text = text.split("\n---\n", 1)[-1]
        return text.strip()

    def judge(self, prompt: str, style: str | None = None) -> Judgement:
        """How well the prompt can be drawn, before drawing.

        Raises:
            PromptError, SettingError, NotReadyError: bad input, or no model yet.
        """
        from dalle.text import clean_prompt

        pipeline = self.wait(0)
        if pipeline.judge is None:
            raise NotReadyError(f"{self.model} has no judge: add one with `python -m train assemble`.")
        clean = self._allowed(clean_prompt(prompt))
        with self._turn:
            if style is not None:
                pipeline.encode_prompt(clean, style)  # the same errors as drawing: an unknown style, a prompt too long with it
            text = pipeline.encode_prompt(clean)
        return pipeline.judge.score(clean, text.pooled[0].float().cpu().numpy())

    def surprise(self, seed: int | None = None) -> str:
        """A prompt from what this model was taught: one of the captions that its judge knows, chosen at random.

        Raises:
            NotReadyError: no model yet, or it has no judge.
        """
        pipeline = self.wait(0)
        if pipeline.judge is None:
            raise NotReadyError(f"{self.model} has no list of what it knows: write a prompt yourself.")
        return random.Random(seed_or_random(seed)).choice(pipeline.judge.captions)

    def _settings(
        self, steps: int | None, guidance: float | None, truncation: float = 1.0, path: bool = False
    ) -> tuple[int, float]:
        from dalle.config import MAX_STEPS
        from dalle.pipeline import check_settings

        prior = self.wait(0).prior
        usual = prior.default_path_steps if path else prior.default_steps
        steps = usual if steps is None else whole_number(steps, "Steps", 1, MAX_STEPS)
        guidance = DEFAULT_GUIDANCE if guidance is None else guidance
        check_settings(steps, guidance, truncation)
        return (1 if prior.kind == "gaussian" else steps), float(guidance)

    def _record(self, steps: int, guidance: float, style: str | None, truncation: float) -> dict[str, Any]:
        from dalle import __version__
        from dalle.pipeline import library_versions

        return {
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "style": style,
            "truncation": truncation,
            "model": self.model,
            "revision": self._revision,
            "dalle": __version__,
            **library_versions(),
        }

    def _draw(
        self,
        noise: Tensor,
        text: TextFeatures | None,
        steps: int,
        guidance: float,
        cancel: threading.Event | None,
        negative: TextFeatures | None = None,
        start: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Latent estimates step by step; each step takes the model for itself, so that nobody waits for more than one."""
        pipeline = self.wait(0)
        trajectory = pipeline.trajectory(noise, text, steps, guidance, negative, start)
        while True:
            if cancel is not None and cancel.is_set():
                trajectory.close()
                raise Cancelled("Stopped.")
            with self._turn:
                latents = next(trajectory, None)
            if latents is None:
                return
            yield latents

    def _decode(self, latents: Tensor) -> Tensor:
        with self._turn:
            return self.wait(0).decode_latents(latents).cpu()

    def _score(self, pixels: Tensor, text: TextFeatures) -> float:
        """How well the ranker finds a decoded picture (1, 4, H, W) to fit the text."""
        with self._turn:
            return float(self.wait(0).ranker.agreement(pixels, text))

    def _ranker(self) -> Ranker:
        ranker = self.wait(0).ranker
        if ranker is None:
            raise SettingError(f"{self.model} has no ranker to search with: choose another model.")
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

        ranker, found = self._ranker(), [np.zeros((0, 0), np.float32)]
        for first in range(0, len(images), BATCH):
            if cancel is not None and cancel.is_set():
                raise Cancelled("Stopped.")
            pixels = from_pil(images[first : first + BATCH], INPUT_SIZE)
            with self._turn, torch.inference_mode():
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

        ranker = self._ranker()
        with self._turn, torch.inference_mode():
            text = ranker.texts(self.wait(0).encode_prompt(prompt).to(ranker.device))[0].cpu()
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
        pipeline = self.wait(0)
        count = whole_number(request.num_images, "The number of pictures", 1, MAX_IMAGES)
        candidates = 0
        if request.candidates is not None:
            candidates = whole_number(request.candidates, "The number of candidates", count, MAX_CANDIDATES)
        if candidates and pipeline.ranker is None:
            raise SettingError(f"{self.model} has no ranker to choose among candidates: draw without, or choose another model.")
        self._settings(request.num_inference_steps, request.guidance_scale, request.truncation)
        seed = seed_or_random(request.seed)
        with self._turn:
            text = pipeline.encode_prompt(self._allowed(request.prompt), request.style)
        wish = self._wish_of(request, text)
        if request.strict:
            judgement = self.judge(request.prompt, request.style)
            if judgement.refused:
                raise RefusedError(f"Not drawn, since strict mode is on: {judgement.reason}", judgement)
        if candidates:
            return self._best(wish, count, candidates, seed, cancel)
        return self._generate(wish, count, seed, cancel)

    def _negative(self, prompt: str | None) -> TextFeatures | None:
        """Features of what shall not be drawn; an empty text is none."""
        if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
            return None
        pipeline = self.wait(0)
        if pipeline.prior.kind == "gaussian":
            raise SettingError(f"{self.model} draws without guidance, so a negative prompt can't act: leave it empty.")
        with self._turn:
            try:
                return pipeline.encode_prompt(prompt)
            except PromptError as error:
                raise PromptError(f"The negative prompt: {error}") from error

    def _generate(
        self, wish: Drawing, count: int, seed: int, cancel: threading.Event | None
    ) -> Iterator[StepProgress | Picture]:
        from dalle.images import to_pil

        for index in range(count):
            began = time.perf_counter()
            own_seed = (seed + index) % (MAX_SEED + 1)
            noise = self._noise_for(wish, [own_seed])
            clean = noise
            for step, clean in enumerate(self._draw(noise, wish.text, wish.steps, wish.guidance, cancel, wish.negative), 1):
                yield StepProgress(index, step, wish.steps, preview=lambda latents=clean: to_pil(self._decode(latents))[0])
            yield self._finished_picture(wish, clean, index, own_seed, began)

    def _best(
        self, wish: Drawing, count: int, candidates: int, seed: int, cancel: threading.Event | None
    ) -> Iterator[StepProgress | Picture]:
        """Draws candidates, several at a time, and then yields those with the highest scores, best first."""
        from dalle.ranking import best_first

        found: list[Picture] = []
        for first in range(0, candidates, BATCH):
            began = time.perf_counter()
            seeds = [(seed + index) % (MAX_SEED + 1) for index in range(first, min(first + BATCH, candidates))]
            noise = self._noise_for(wish, seeds)
            clean = noise
            negative = None if wish.negative is None else wish.negative.repeat(len(seeds))
            drawing = self._draw(noise, wish.text.repeat(len(seeds)), wish.steps, wish.guidance, cancel, negative)
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

    def _noise(self, seeds: Sequence[int], truncation: float) -> Tensor:
        import torch

        from dalle.sampling import draw_noise, truncate

        return truncate(draw_noise([torch.Generator().manual_seed(seed) for seed in seeds]), truncation)

    def _noise_for(self, wish: Drawing, seeds: Sequence[int]) -> Tensor:
        """The noise of a request's pictures with these seeds, (N, C, S, S)."""
        import torch

        from dalle.interpolation import varied

        if wish.variation_of is None:
            return self._noise(seeds, wish.truncation)
        recipes = [varied(wish.variation_of, seed, wish.variation_strength) for seed in seeds]
        return torch.cat([self._mixed(recipe, wish.truncation) for recipe in recipes])

    def _mixed(self, recipe: Sequence[tuple[int, float]], truncation: float) -> Tensor:
        """The noise of a recipe, (1, C, S, S)."""
        from dalle.interpolation import mix_noise

        return mix_noise([self._noise([seed], truncation) for seed, _ in recipe], [weight for _, weight in recipe])

    def _finished_picture(
        self,
        wish: Drawing,
        latents: Tensor,
        index: int,
        seed: int,
        began: float,
        parts: Sequence[tuple[TextFeatures, float]] | None = None,
    ) -> Picture:
        """`parts`: texts and their shares in a mixture, whose score is the mean of theirs; of no parts there is no score."""
        from dalle.images import to_pil

        pixels = self._decode(latents)
        score = None
        parts = [(wish.text, 1.0)] if parts is None else parts
        if parts and self.wait(0).ranker is not None:
            score = sum(share * self._score(pixels, text) for text, share in parts)
        settings = self._record(wish.steps, wish.guidance, wish.style, wish.truncation) | {"seed": seed}
        if wish.negative_prompt is not None:
            settings["negative_prompt"] = wish.negative_prompt
        if wish.variation_of is not None:
            settings |= {"variation_of": wish.variation_of, "variation_strength": wish.variation_strength}
        return Picture(to_pil(pixels)[0], index, wish.prompt, seed, time.perf_counter() - began, score, settings)

    def interpolate(
        self, request: InterpolateRequest | PathRequest, cancel: threading.Event | None = None
    ) -> Iterator[Frame]:
        """Draws the frames of a path coarse to fine. The request is checked before this returns; raises as `generate`."""
        path = with_seeds(as_path(request))
        route = route_of(path)
        if path.pacing not in ("even", "raw"):
            raise SettingError(f"Unknown pacing {path.pacing!r}: choose even or raw.")
        if path.moving not in ("both", "text"):
            raise SettingError(f"Unknown way to move {path.moving!r}: choose both or text.")
        if path.moving == "text" and any(stage.image is not None for stage in path.stages):
            raise SettingError("There is no path of the text alone to or from a picture that was given: no text leads to it.")
        given = path.num_inference_steps, path.guidance_scale, path.truncation
        steps, guidance = self._settings(*given, path=True)
        ends = [self._end(path, place, steps, guidance, cancel) for place in range(len(path.stages))]
        if path.moving == "text":
            ends = [replace(end, noise=ends[0].noise, given=None) for end in ends]
        return self._interpolate(ends, route, steps, guidance, path.pacing, cancel)

    def _end(self, path: PathRequest, place: int, steps: int, guidance: float, cancel: threading.Event | None) -> End:
        """What a stage is made of, for a path of so many steps and such guidance."""
        from dalle.path import End

        stage, count = path.stages[place], len(path.stages)
        if stage.drawn is not None:
            text = self._encode_one(stage.drawn.prompt, stage.drawn.style, place, count)
            wish = self._wish_of(stage.drawn, text)
            noise = self._noise_for(wish, [whole_number(stage.drawn.seed, "The seed", 0, MAX_SEED)])
            if (wish.steps, wish.guidance, wish.negative) == (steps, guidance, None):
                return End(noise, text)
            # Drawn otherwise than the path is: its own way, and the frames beside it start from there.
            return End(noise, text, lambda: last(self._draw(noise, text, wish.steps, wish.guidance, cancel, wish.negative)))
        noise = self._noise([whole_number(stage.seed, "The seed", 0, MAX_SEED)], path.truncation)
        if stage.image is None:
            return End(noise, self._encode_one(stage.prompt, path.style, place, count))
        silent = isinstance(stage.prompt, str) and not stage.prompt.strip()
        text = None if silent else self._encode_one(stage.prompt, path.style, place, count)
        return End(noise, text, lambda: self._encode_picture(stage.image))

    def _wish_of(self, request: GenerateRequest, text: TextFeatures) -> Drawing:
        """A request for pictures of this text, checked but for its seed, its number of pictures and candidates."""
        steps, guidance = self._settings(request.num_inference_steps, request.guidance_scale, request.truncation)
        base = None if request.variation_of is None else noise_recipe(request.variation_of)
        strength = checked_share(request.variation_strength, "The strength of a variation")
        wish = Drawing(request.prompt, text, steps, guidance, request.truncation, request.style)
        if (negative := self._negative(request.negative_prompt)) is not None:
            wish = replace(wish, negative=negative, negative_prompt=request.negative_prompt)
        if base is not None:
            wish = replace(wish, variation_of=base, variation_strength=strength)
        return wish

    def _encode_picture(self, image: Image.Image) -> Tensor:
        with self._turn:
            return self.wait(0).encode_pictures([image])

    def _encode_all(self, prompts: Sequence[str], style: str | None) -> list[TextFeatures]:
        """Features of several prompts; an error says which of them it is about."""
        return [self._encode_one(prompt, style, place, len(prompts)) for place, prompt in enumerate(prompts)]

    def _encode_one(self, prompt: str, style: str | None, place: int, count: int) -> TextFeatures:
        try:
            return self._encode(prompt, style)
        except PromptError as error:
            if count == 1:
                raise
            raise PromptError(f"The {ORDINALS[place]} of the {NUMERALS[count - 1]} prompts: {error}") from error

    def _encode(self, prompt: str, style: str | None) -> TextFeatures:
        """Features of a prompt; the last few are kept, since a point that is dragged between prompts asks for them anew."""
        with self._turn:
            if (found := self._texts.get((prompt, style))) is None:
                found = self._texts[prompt, style] = self.wait(0).encode_prompt(self._allowed(prompt), style)
            self._texts.move_to_end((prompt, style))
            while len(self._texts) > KEPT_TEXTS:
                self._texts.popitem(last=False)
        return found

    def path_metadata(self, request: InterpolateRequest | PathRequest) -> dict[str, str]:
        """The text that goes into the file of a path whose request has seeds, so that it can be made again."""
        steps, guidance = self._settings(request.num_inference_steps, request.guidance_scale, request.truncation, path=True)
        settings = self._record(steps, guidance, request.style, request.truncation)
        settings |= {"frames": request.frames, "pacing": request.pacing}
        moving = as_path(request).moving
        return path_metadata(request, settings if moving == "both" else settings | {"moving": moving})

    def _interpolate(
        self,
        ends: list[End],
        route: Route,
        steps: int,
        guidance: float,
        pacing: str,
        cancel: threading.Event | None,
    ) -> Iterator[Frame]:
        from dalle.images import to_pil
        from dalle.path import Path

        def draw(noise: Tensor, text: TextFeatures | None, steps: int, start: Tensor | None = None) -> Tensor:
            return last(self._draw(noise, text, steps, guidance, cancel, start=start))

        path = Path(ends, route, draw, steps, even=pacing == "even", batch=BATCH)
        levels = list(route.levels())
        # The first batch is the first levels that have five frames or more: of two prompts, both ends and three between.
        first = next((place for place in range(1, len(levels)) if sum(map(len, levels[:place])) >= 5), len(levels))
        order, start = list(chain.from_iterable(levels)), sum(map(len, levels[:first]))
        groups = [order[:start], *(order[place : place + BATCH] for place in range(start, len(order), BATCH))]
        drawn = 0
        for group in groups:
            # Nobody waits for a closer look before there is something to see.
            points = [path.point(index, rough=drawn == 0) for index in group]
            latents = path.latents(points)
            for row, index in enumerate(group):
                if cancel is not None and cancel.is_set():
                    raise Cancelled("Stopped.")
                leg, share = points[row]
                yield Frame(drawn, index, share, to_pil(self._decode(latents[row : row + 1]))[0], route.frames, leg)
                drawn += 1

    def mix(self, request: MixRequest, cancel: threading.Event | None = None) -> Picture:
        """One picture of several prompts. Weights count relative to each other; raises as `generate`."""
        from dalle.interpolation import mix_noise, mix_text

        began = time.perf_counter()
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
        steps, guidance = self._settings(request.num_inference_steps, request.guidance_scale, request.truncation)
        texts = self._encode_all(prompts, request.style)
        shares = [value / total for value in weights]
        text = mix_text(texts, shares)
        noise = mix_noise([self._noise([seed], request.truncation) for seed in seeds], shares)
        *_, latents = self._draw(noise, text, steps, guidance, cancel)
        wish = Drawing(" | ".join(prompts), text, steps, guidance, request.truncation, request.style)
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


def last(drawing: Iterator[Tensor]) -> Tensor:
    """What a drawing ends with."""
    *_, latents = drawing
    return latents


@dataclass(frozen=True)
class Drawing:
    """A checked request for pictures of one text."""

    prompt: str
    text: TextFeatures
    steps: int
    guidance: float
    truncation: float
    style: str | None
    negative: TextFeatures | None = None
    negative_prompt: str | None = None
    variation_of: list[tuple[int, float]] | None = None
    variation_strength: float = 0.0
