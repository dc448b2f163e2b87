"""Are pictures copies of training drawings? A copy is far nearer to one of them than to whatever shows another thing.

Compared are small pixels, not the evaluator's vectors: those place every drawing of a cat near every other, whoever drew it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dalle.images import write_whole
from train.data import SpriteStore
from train.data.store import small_pictures
from train.losses import over

SIZE = 32
COPY_RATIO = 1 / 3
"""Nearest distance over second-nearest, below which a picture counts as memorised (Yoon et al. 2023)."""


def small_pixels(pixels: Tensor) -> Tensor:
    """Premultiplied RGBA (N, 4, H, W) in [-1, 1] -> over white at 32x32, flat: (N, 3072) in [0, 1]."""
    return over(F.interpolate(pixels.float(), size=(SIZE, SIZE), mode="area"), 1.0).clamp(0, 1).flatten(1)


def training_pixels(store: SpriteStore, root: Path) -> Tensor:
    """`small_pixels` of every training drawing, kept under `root` since reading all drawings takes a minute."""
    rows = store.rows("train")
    path = root / f"drawings-{str(store.meta.get('fingerprint'))[:12]}-{len(rows)}.safetensors"
    try:
        small = load_file(path)["small"]
    except (FileNotFoundError, SafetensorError, KeyError):
        small = small_pictures(store, rows, SIZE).contiguous()
        root.mkdir(parents=True, exist_ok=True)
        write_whole(path, save({"small": small}))
    return torch.cat([small_pixels(part.float() / 127.5 - 1) for part in small.split(1024)])


class Neighbours:
    """Training pictures to look for the nearest in.

    Args:
        pixels: (M, D).
        concepts: what each shows. The second-nearest must show something else: one thing is there in several styles that are
            nearly alike, and a copy of one of them would hide behind the others.
    """

    def __init__(self, pixels: Tensor, concepts: Sequence[str]) -> None:
        numbers = {concept: number for number, concept in enumerate(sorted(set(concepts)))}
        if len(numbers) < 2:
            raise ValueError("training pictures of at least two things are needed")
        self.pixels = pixels
        self.concepts = torch.tensor([numbers[concept] for concept in concepts])
        self._squares = pixels.pow(2).sum(1)

    def ratios(self, x: Tensor) -> list[float]:
        """Distance to the nearest over that to the nearest of another concept, for each of (N, D)."""
        distances = (x.pow(2).sum(1, keepdim=True) + self._squares - 2 * x @ self.pixels.T).clamp(min=0).sqrt()
        nearest, place = distances.min(1)
        other = distances.masked_fill(self.concepts[None] == self.concepts[place, None], torch.inf).amin(1)
        return (nearest / other.clamp(min=1e-6)).tolist()


def copied_share(ratios: Sequence[float]) -> float:
    return sum(ratio < COPY_RATIO for ratio in ratios) / len(ratios)
