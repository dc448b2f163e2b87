"""How the model learned: the same prompts drawn with the same noise at moments of its training, from the first to the last.

Made by `python -m train history` from the sample grids that a run keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dalle.parts import Packed, damaged, load_part, save_part

MOMENTS_FILE, PICTURES_FILE = "moments.json", "pictures.safetensors"


@dataclass(frozen=True)
class Moment:
    """A moment of training: the stage and its step, and the optimiser steps and minutes of all stages up to then."""

    stage: str
    step: int
    steps: int
    minutes: float


class TrainingHistory:
    """`pictures` holds a picture for each moment and prompt, moment by moment."""

    def __init__(self, prompts: Sequence[str], moments: Sequence[Moment], pictures: Packed) -> None:
        """Raises ValueError where there are no prompts or moments, or not one picture for each pair of them."""
        if not prompts or not moments or len(pictures) != len(prompts) * len(moments):
            raise ValueError(f"{len(prompts)} prompts at {len(moments)} moments need as many pictures, not {len(pictures)}")
        self.prompts, self.moments, self.pictures = list(prompts), list(moments), pictures

    def place(self, moment: int, prompt: int) -> int:
        """Where a moment's picture of a prompt is among `pictures`."""
        return moment * len(self.prompts) + prompt

    def save(self, folder: str | Path) -> None:
        """Writes the two files into `folder`. Raises `StorageError` where that fails."""
        content = {"prompts": self.prompts, "moments": [asdict(moment) for moment in self.moments]}
        save_part(folder, MOMENTS_FILE, PICTURES_FILE, content, {"data": self.pictures.data, "ends": self.pictures.ends})

    @classmethod
    def load(cls, folder: str | Path) -> TrainingHistory:
        """Reads what `save` wrote.

        Raises:
            CheckpointError: a file is missing, truncated, foreign, or does not belong to the other.
        """
        folder = Path(folder)
        content, tensors = load_part(folder, MOMENTS_FILE, PICTURES_FILE)
        try:
            prompts, moments = content["prompts"], [Moment(**row) for row in content["moments"]]
            numbers = [number for each in moments for number in (each.step, each.steps, each.minutes)]
            if not all(isinstance(text, str) for text in (*prompts, *(each.stage for each in moments))):
                raise TypeError("not text")
            if not all(isinstance(number, int | float) for number in numbers):
                raise TypeError("not a number")
            return cls(prompts, moments, Packed(tensors["data"], tensors["ends"]))
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder / MOMENTS_FILE) from error
