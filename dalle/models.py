"""What the engine asks of a model, of this project's kind and of any other.

`dalle.pipeline.DallePipeline` and `dalle.foreign.DiffusersModel` both are a `Model`; `load` opens whichever a folder holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dalle.history import TrainingHistory
    from dalle.judge import Judge
    from dalle.ranking import Ranker
    from dalle.reference import ReferenceSet

Recipe = Sequence[tuple[int, float]]
"""A noise: pairs of seed and weight, mixed and brought back to unit variance."""

WITHOUT = {
    "judge": "This model has no judge: it can't tell before drawing how well a prompt can be drawn.",
    "ranker": "This model has no ranker: it can't tell which pictures fit a text best.",
    "reference": "This model brings no reference drawings to search in.",
    "history": "This model brings no pictures of how it learned.",
    "negative": "This model takes no negative prompt: leave it empty.",
    "guidance": "This model draws without guidance.",
    "styles": "This model knows no styles by name: write the style into the prompt.",
    "truncation": "This model draws its noise by itself, always in full variety.",
    "mixing": "This model takes no mixture of prompts.",
    "pacing": "This model is too slow to be looked at along the path first, so a path runs at its raw pace.",
    "given": "This model can't start from a picture: stages of a path are prompts, drawn with the path's own settings.",
    "insight": "This model can't be looked into: that takes a model of this project.",
}
"""What a model may lack -> how that is told."""


class Model(Protocol):
    """Noise and text are the model's own; whoever uses it only hands them back to it.

    Attributes:
        lacks: what it can't do (keys of `WITHOUT`) -> why.
        batch: pictures to draw together where many are wanted.
        default_steps, default_path_steps: for a picture, and for a frame of a path.
        one_step: whether it always draws in a single step, whatever is asked.
        styles: names that `encode_prompt` takes.
        judge, ranker, reference, history: parts that it may have.
    """

    judge: Judge | None
    ranker: Ranker | None
    reference: ReferenceSet | None
    history: TrainingHistory | None

    @property
    def lacks(self) -> Mapping[str, str]: ...
    @property
    def batch(self) -> int: ...
    @property
    def default_steps(self) -> int: ...
    @property
    def default_path_steps(self) -> int: ...
    @property
    def default_guidance(self) -> float: ...
    @property
    def one_step(self) -> bool: ...
    @property
    def styles(self) -> tuple[str, ...]: ...

    def encode_prompt(self, prompt: str, style: str | None = None) -> Any:
        """One prompt as text of one row. Raises PromptError, SettingError; NotAtHandError where that takes the device."""

    def noise(self, recipes: Sequence[Recipe], truncation: float = 1.0) -> Any:
        """Noise of so many rows."""

    def mix(self, noises: Sequence[Any], texts: Sequence[Any], weights: Sequence[float]) -> tuple[Any, Any]:
        """Noise and text of one row, mixed of several; a weight of 1 among zeros is that noise and that text exactly."""

    def stack(self, rows: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Rows of noise and text together."""

    def steps_of(self, num_inference_steps: int) -> int:
        """How many times `trajectory` yields, as far as can be told beforehand."""

    def trajectory(
        self,
        noise: Any,
        text: Any,
        num_inference_steps: int,
        guidance_scale: float,
        negative: Any = None,
        start: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Yields after each step, so that others can have a turn; what is yielded last is what `decode_latents` takes."""

    def bring(self, device: str) -> None:
        """Tells a model that was loaded for it that its device is at hand from now on."""

    def decode_latents(self, latents: Tensor) -> Tensor:
        """-> premultiplied RGBA (B, 4, H, W) in [-1, 1]."""


OURS = "DallePipeline"


def is_ours(folder: Path) -> bool:
    """Whether a folder holds a model of this project."""
    from dalle.hub import read_json

    return read_json(folder / "model_index.json").get("_class_name") == OURS


def check_kind(kind: str) -> None:
    """Raises CheckpointError where a pipeline's class is none that draws pictures of a text."""
    if kind != OURS:
        with quiet_libraries():
            from dalle.foreign import pipeline_class

            pipeline_class(kind)


class NotAtHandError(Exception):
    """An evaluation was about to begin where the model's device is not at hand."""


def load(folder: Path, device: str, dtype: torch.dtype, at_hand: bool = True) -> Model:
    """Opens the model that a folder holds, and readies it for its first drawing.

    Args:
        at_hand: whether the device is there already. Where not, the weights are only put there, and nothing is evaluated on it.

    Raises:
        CheckpointError: it can't be opened, or is none that draws pictures of a text.
    """
    if is_ours(folder):
        from dalle.pipeline import DallePipeline

        return DallePipeline.ready(folder, device, dtype, at_hand)
    with quiet_libraries():
        from dalle.foreign import DiffusersModel

        return DiffusersModel.ready(folder, device, dtype, at_hand)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps to themselves what diffusers and transformers say of parts that are not wanted here, or of older pipelines."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    logs = diffusers_logging, transformers_logging
    before = [log.get_verbosity() for log in logs]
    for log in logs:
        log.set_verbosity_error()
    try:
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.set_verbosity(level)


def revision(folder: Path) -> str:
    """12 hexadecimal digits that tell two versions of a model apart: of its weights' hash, or of the Hub's commit."""
    import hashlib

    from dalle import hub

    if is_ours(folder):
        return hub.revision(folder)
    if commit := hub.commit_of(folder):
        return commit[:12]
    return hashlib.sha256("".join(map(hub.sha256, hub.weights_of(folder))).encode()).hexdigest()[:12]
