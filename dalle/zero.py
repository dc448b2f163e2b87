"""The engine on ZeroGPU: a Space whose GPU comes for the seconds of one request, in a process of its own.

When a request is granted a GPU, the package `spaces` forks this process, moves the weights that were put on "cuda" to the real
one, and sends the request in and the items out, pickled. So what travels is plain data, and errors travel as items. All that takes
no evaluation of the drawing networks is done here, on the CPU: checks, judge, search. Elsewhere `spaces` is not needed.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dalle.place import on_zero_gpu

if on_zero_gpu():
    import spaces  # before torch, which it changes

from dalle import models
from dalle.config import DEFAULT_MODEL, Cancelled, DalleError, NotReadyError, SettingError
from dalle.engine import Engine
from dalle.requests import Frame, GenerateRequest, InterpolateRequest, MixRequest, PathRequest, Picture, StepProgress

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from dalle.insight import Insight
    from dalle.models import Model

Request = GenerateRequest | InterpolateRequest | PathRequest | MixRequest
Item = StepProgress | Picture | Frame | Any

START_SECONDS, EVALUATION_SECONDS, BILLION_SECONDS = 5.0, 0.02, 0.05
"""What is asked for: to begin with, for each row of an evaluation, and more of it for each billion weights. Estimates, meant to be
too long rather than too short: a request that is over sooner gives the GPU back, one that takes longer may be ended."""
MOST_SECONDS = 120
"""Longer than this a visitor's request is refused there."""


def gpu(seconds: Callable[..., int]) -> Callable[[Callable[..., Iterator[Item]]], Callable[..., Iterator[Item]]]:
    """Marks a generator function as one that needs the GPU, for so many `seconds` of what it is called with.

    Anywhere but on ZeroGPU the function stays as it is.
    """
    if not on_zero_gpu():
        return lambda work: work
    return spaces.GPU(duration=seconds)


@dataclass(frozen=True)
class Failed:
    """An error on its way out of the GPU's process: raised there, it would lose its class and its sentence."""

    error: DalleError


class ZeroEngine(Engine):
    """An `Engine` whose pictures are drawn in another process. Load it before the page opens, in the thread that opens it."""

    def __init__(self, model: str = DEFAULT_MODEL, device: str = "auto", word_filter: bool = False) -> None:
        super().__init__(model, device, word_filter)
        self._on_gpu = gpu(self.seconds)(self._items)

    def load_in_background(self) -> threading.Thread:
        """Loads at once: only weights that this thread has put on the GPU before the page opens are brought there later."""
        with contextlib.suppress(DalleError):  # kept in status, and raised again by `wait`
            self.load()
        return threading.current_thread()

    def switch(self, model: str) -> None:
        """Raises SettingError: the weights have to be there before the page opens."""
        raise SettingError(
            "The model can't be changed on a ZeroGPU Space: its weights have to be there before the page opens. Set the Space's "
            "variable DALLE_MODEL to another model, which starts it anew."
        )

    def generate(self, request: GenerateRequest, cancel: threading.Event | None = None) -> Iterator[StepProgress | Picture]:
        self._check(super().generate, request)
        return self._ask("generate", request, cancel)

    def interpolate(self, request: InterpolateRequest | PathRequest, cancel: threading.Event | None = None) -> Iterator[Frame]:
        self._check(super().interpolate, request)
        return self._ask("interpolate", request, cancel)

    def insight(self, request: GenerateRequest, cancel: threading.Event | None = None) -> Insight:
        self._check(super().insight, request)
        (found,) = self._ask("insight", request, cancel)
        return found

    def mix(self, request: MixRequest, cancel: threading.Event | None = None) -> Picture:
        self._check(super().mix, request)
        (picture,) = self._ask("mix", request, cancel)
        return picture

    def seconds(self, task: str, request: Request) -> int:
        """How long the GPU is asked for, for a checked request: by the rows of all evaluations and the size of the model."""
        model = self._loaded.pipeline
        steps = model.steps_of(request.num_inference_steps or self.default_steps[task == "interpolate"])
        if task == "generate":
            rows = steps * max(request.num_images, request.candidates or 0)
        elif task == "interpolate":
            rows = (steps + (request.pacing == "even")) * request.frames
        elif task == "insight":
            from dalle.insight import MAX_WORDS, SHOWN_STEPS

            rows = steps * (1 + MAX_WORDS) + SHOWN_STEPS
        else:
            rows = steps
        each = EVALUATION_SECONDS + BILLION_SECONDS * weights_of(model) / 1e9
        return min(MOST_SECONDS, math.ceil(START_SECONDS + rows * each))

    def _open(self, folder: Path, device: str, dtype: torch.dtype) -> Model:
        return models.load(folder, device, dtype, at_hand=False)

    def _draw(self, *given: Any, **named: Any) -> Iterator[Any]:
        raise models.NotAtHandError

    def _check(self, work: Callable[[Any], Any], request: Request) -> None:
        """Does all of `work` that comes before the first evaluation: a request is refused before a GPU is asked for."""
        with contextlib.suppress(models.NotAtHandError):
            work(request)

    def _ask(self, task: str, request: Request, cancel: threading.Event | None) -> Iterator[Item]:
        items = self._on_gpu(task, request)
        try:
            while True:
                if cancel is not None and cancel.is_set():
                    raise Cancelled("Stopped.")
                try:
                    item = next(items, None)
                except Exception as error:  # of the service: no GPU is free, the visitor's share is used up, the time is over
                    said = getattr(error, "message", None) or f"It could not be reached ({type(error).__name__}): try again."
                    raise NotReadyError(f"ZeroGPU: {said}") from error
                if item is None:
                    return
                if isinstance(item, Failed):
                    raise item.error
                yield item
        finally:
            items.close()

    # In the GPU's process

    def _items(self, task: str, request: Request) -> Iterator[Item]:
        """What the plain engine makes of a request, item by item, as it can be sent."""
        try:
            found = getattr(self._unlocked(), task)(request)
            for item in found if task in ("generate", "interpolate") else (found,):
                yield replace(item, preview=None) if isinstance(item, StepProgress) else item
        except DalleError as error:
            yield Failed(error)

    def _unlocked(self) -> Engine:
        """A plain engine of the same model, all of it on the GPU: the locks of this one may have been held when it was copied."""
        loaded = self._loaded
        loaded.pipeline.bring(loaded.device)
        engine = Engine(self.model, loaded.device)
        engine._loaded = loaded
        engine._finished.set()
        return engine


def weights_of(model: Model) -> int:
    """Weights of the largest network, of which more is evaluated in a step than of any other."""
    parts = getattr(model, "pipeline", model).components.values()
    networks = [part for part in parts if hasattr(part, "parameters")]
    return max(sum(weight.numel() for weight in network.parameters()) for network in networks)
