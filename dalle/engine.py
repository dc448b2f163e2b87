"""The one owner of the model at run time: loading, seeds, cancelling. Page, API, slider and command line all go through it."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from dalle.config import (
    DEFAULT_GUIDANCE,
    DEFAULT_MODEL,
    DEFAULT_PATH_STEPS,
    DEFAULT_STEPS,
    MAX_FRAMES,
    MAX_IMAGES,
    MAX_SEED,
    STYLES,
    Cancelled,
    CheckpointError,
    DalleError,
    NotReadyError,
    PromptError,
    RefusedError,
    SettingError,
)

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from dalle.judge import Judgement
    from dalle.pipeline import DallePipeline
    from dalle.text import TextFeatures

DEFAULT_NUM_IMAGES = 4
DEFAULT_FRAMES = 33


@dataclass(frozen=True)
class GenerateRequest:
    """Picture i of a request has seed (seed + i) mod 2^32, so that each can be made again alone."""

    prompt: str
    num_images: int = DEFAULT_NUM_IMAGES
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    style: str | None = None
    strict: bool = False


@dataclass(frozen=True)
class InterpolateRequest:
    """A path from (prompt_a, seed_a) to (prompt_b, seed_b) in `frames` even steps."""

    prompt_a: str
    prompt_b: str
    seed_a: int | None = None
    seed_b: int | None = None
    frames: int = DEFAULT_FRAMES
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    style: str | None = None


@dataclass(frozen=True)
class StepProgress:
    """Picture `index` (from 0) has done `step` of `steps`."""

    index: int
    step: int
    steps: int


@dataclass(frozen=True)
class Picture:
    """A finished picture and everything needed to make it again."""

    image: Image.Image
    index: int
    prompt: str
    seed: int
    seconds: float
    score: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Frame:
    """The `order`-th frame drawn; it stands at `index` of `total` on the path, at `position` in 0..1."""

    order: int
    index: int
    position: float
    image: Image.Image
    total: int


@dataclass(frozen=True)
class EngineStatus:
    state: Literal["loading", "ready", "failed"]
    message: str
    device: str
    model: str


def whole_number(value: object, name: str, low: int, high: int) -> int:
    """`value` as an int between low and high, or SettingError with the range."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise SettingError(f"{name} must be a whole number between {low} and {high}.")
    if not low <= value <= high:
        told = f", not {int(value)}" if abs(value) < 1e18 else ""
        raise SettingError(f"{name} must lie between {low} and {high}{told}.")
    return int(value)


def seed_or_random(seed: int | None) -> int:
    return random.SystemRandom().randint(0, MAX_SEED) if seed is None else whole_number(seed, "The seed", 0, MAX_SEED)


def with_seeds(request: InterpolateRequest) -> InterpolateRequest:
    """The same path with its seeds drawn where it has none, so that they can be told and the path made again."""
    return replace(request, seed_a=seed_or_random(request.seed_a), seed_b=seed_or_random(request.seed_b))


class Engine:
    """Loads a checkpoint once and draws from it; safe to call from several threads, one network evaluation at a time."""

    def __init__(self, model: str = DEFAULT_MODEL, device: str = "auto") -> None:
        self.model = model
        self._wanted_device = device
        self._device = device
        self._pipeline: DallePipeline | None = None
        self._error: DalleError | None = None
        self._message = "The model is loading."
        self._revision = ""
        self._finished = threading.Event()
        self._loading = threading.Lock()
        self._turn = threading.Lock()

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
        return pipeline

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
        clean = clean_prompt(prompt)
        with self._turn:
            if style is not None:
                pipeline.encode_prompt(clean, style)  # the same errors as drawing: an unknown style, a prompt too long with it
            text = pipeline.encode_prompt(clean)
        return pipeline.judge.score(clean, text.pooled[0].float().cpu().numpy())

    def _settings(
        self, steps: int | None, guidance: float | None, default_steps: int = DEFAULT_STEPS
    ) -> tuple[int, float]:
        from dalle.config import MAX_STEPS
        from dalle.pipeline import check_settings

        steps = default_steps if steps is None else whole_number(steps, "Steps", 1, MAX_STEPS)
        guidance = DEFAULT_GUIDANCE if guidance is None else guidance
        check_settings(steps, guidance)
        return (steps if self.wait(0).prior.kind == "flow" else 1), float(guidance)

    def _record(self, steps: int, guidance: float, style: str | None) -> dict[str, Any]:
        from dalle import __version__
        from dalle.pipeline import library_versions

        return {
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "style": style,
            "model": self.model,
            "revision": self._revision,
            "dalle": __version__,
            **library_versions(),
        }

    def _draw(
        self, noise: Tensor, text: TextFeatures, steps: int, guidance: float, cancel: threading.Event | None
    ) -> Iterator[Tensor]:
        """Latent estimates step by step; each step takes the model for itself, so that nobody waits for more than one."""
        pipeline = self.wait(0)
        trajectory = pipeline.trajectory(noise, text, steps, guidance)
        while True:
            if cancel is not None and cancel.is_set():
                trajectory.close()
                raise Cancelled("Stopped.")
            with self._turn:
                latents = next(trajectory, None)
            if latents is None:
                return
            yield latents

    def _picture(self, latents: Tensor) -> Image.Image:
        from dalle.images import to_pil

        with self._turn:
            return to_pil(self.wait(0).decode_latents(latents).cpu())[0]

    def generate(
        self, request: GenerateRequest, cancel: threading.Event | None = None
    ) -> Iterator[StepProgress | Picture]:
        """Draws the pictures of a request one by one. The request is checked before this returns.

        Raises:
            PromptError, SettingError, NotReadyError: bad input, or no model yet.
            RefusedError: strict, and the judge's score lies below its threshold.
            Cancelled: while iterating, within one step of `cancel` being set.
        """
        pipeline = self.wait(0)
        count = whole_number(request.num_images, "The number of pictures", 1, MAX_IMAGES)
        steps, guidance = self._settings(request.num_inference_steps, request.guidance_scale)
        seed = seed_or_random(request.seed)
        with self._turn:
            text = pipeline.encode_prompt(request.prompt, request.style)
        if request.strict:
            judgement = self.judge(request.prompt, request.style)
            if judgement.refused:
                raise RefusedError(f"Not drawn, since strict mode is on: {judgement.reason}", judgement)
        settings = self._record(steps, guidance, request.style)
        return self._generate(request, text, count, seed, steps, guidance, settings, cancel)

    def _generate(
        self,
        request: GenerateRequest,
        text: TextFeatures,
        count: int,
        seed: int,
        steps: int,
        guidance: float,
        settings: dict[str, Any],
        cancel: threading.Event | None,
    ) -> Iterator[StepProgress | Picture]:
        import torch

        from dalle.sampling import draw_noise

        for index in range(count):
            began = time.perf_counter()
            own_seed = (seed + index) % (MAX_SEED + 1)
            noise = draw_noise([torch.Generator().manual_seed(own_seed)])
            clean = noise
            for step, clean in enumerate(self._draw(noise, text, steps, guidance, cancel), 1):  # noqa: B007
                yield StepProgress(index, step, steps)
            image = self._picture(clean)
            seconds = time.perf_counter() - began
            yield Picture(image, index, request.prompt, own_seed, seconds, None, settings | {"seed": own_seed})

    def interpolate(self, request: InterpolateRequest, cancel: threading.Event | None = None) -> Iterator[Frame]:
        """Draws the frames of a path coarse to fine. The request is checked before this returns; raises as `generate`."""
        pipeline = self.wait(0)
        frames = whole_number(request.frames, "The number of frames", 2, MAX_FRAMES)
        steps, guidance = self._settings(request.num_inference_steps, request.guidance_scale, DEFAULT_PATH_STEPS)
        request = with_seeds(request)
        seeds = request.seed_a, request.seed_b
        ends = []
        for which, prompt in (("first", request.prompt_a), ("second", request.prompt_b)):
            with self._turn:
                try:
                    ends.append(pipeline.encode_prompt(prompt, request.style))
                except PromptError as error:
                    raise PromptError(f"The {which} of the two prompts: {error}") from error
        return self._interpolate(ends, seeds, frames, steps, guidance, cancel)

    def path_metadata(self, request: InterpolateRequest) -> dict[str, str]:
        """The text that goes into the file of a path whose request has seeds, so that it can be made again."""
        steps, guidance = self._settings(request.num_inference_steps, request.guidance_scale, DEFAULT_PATH_STEPS)
        settings = self._record(steps, guidance, request.style) | {"frames": request.frames}
        return path_metadata(request, settings)

    def _interpolate(
        self,
        ends: list[TextFeatures],
        seeds: tuple[int, int],
        frames: int,
        steps: int,
        guidance: float,
        cancel: threading.Event | None,
    ) -> Iterator[Frame]:
        import torch

        from dalle.interpolation import coarse_to_fine, mix_noise, mix_text
        from dalle.sampling import draw_noise

        noises = [draw_noise([torch.Generator().manual_seed(seed)]) for seed in seeds]
        for order, index in enumerate(coarse_to_fine(frames)):
            position = index / (frames - 1)
            weights = (1 - position, position)
            noise = mix_noise(noises, weights)
            *_, latents = self._draw(noise, mix_text(ends, weights), steps, guidance, cancel)
            yield Frame(order, index, position, self._picture(latents), frames)


def picture_metadata(picture: Picture) -> dict[str, str]:
    """The text that goes into a picture's file, so that it can be made again."""
    return {
        "prompt": picture.prompt,
        "seed": str(picture.seed),
        "model": str(picture.settings.get("model", "")),
        "settings": settings_text(picture.settings),
    }


def path_metadata(request: InterpolateRequest, settings: dict[str, Any]) -> dict[str, str]:
    """The same for a path."""
    return {
        "prompt_a": request.prompt_a,
        "prompt_b": request.prompt_b,
        "seed_a": str(request.seed_a),
        "seed_b": str(request.seed_b),
        "model": str(settings.get("model", "")),
        "settings": settings_text(settings),
    }


def settings_text(settings: dict[str, Any]) -> str:
    """Settings as the JSON that goes into a picture's metadata."""
    return json.dumps(settings, ensure_ascii=False, sort_keys=True)
