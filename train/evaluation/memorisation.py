"""Are the things in pictures copies of training drawings? A copy is far nearer to one of them than to whatever shows another thing.

Each thing is cut out, brought to one size, and compared by shape and shading: where it stands, how large it is and what colour it
was given hide nothing. Not by the evaluator's vectors: those place every drawing of a cat near every other, whoever drew it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from dalle.images import write_whole
from train.data import SpriteStore
from train.data.captions import without_colour
from train.data.scenes import luminance
from train.evaluation.components import Cut, shrunk, take_apart
from train.evaluation.looking import look
from train.evaluation.reconstruction import pixels_of
from train.evaluation.systems import in_chunks
from train.evaluator import Evaluator

SIZE = 32
PART = 1024
COPY_RATIO = 1 / 3
"""Nearest distance over second-nearest, below which a thing counts as memorised (Yoon et al. 2023)."""


def tight(square: Tensor) -> Tensor:
    """A cut-out (4, S, S) in a square that is as large as its opaque part: to the pixel, whatever its size was."""
    mask = square[3] > 0.5
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if not len(rows):
        return square
    inside = square[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = inside.shape[1:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(inside, (left, side - width - left, top, side - height - top))


def shape_of(square: Tensor) -> Tensor:
    """A cut-out (4, S, S), premultiplied in [0, 1] -> its alpha and shading at 32x32, (2, 32, 32) in [-1, 1].

    Shading is how much lighter than its mean the thing is: another colour moves the mean, and leaves the rest nearly as it is.
    """
    small = shrunk(tight(square), SIZE)
    alpha, light = small[3:], luminance(small[None, :3])[0]
    return torch.cat([alpha, light - alpha * light.sum() / alpha.sum().clamp(min=1e-3)])


def shapes(cuts: Sequence[Cut]) -> Tensor:
    """(N, 2048), a row for each cut-out."""
    return torch.stack([shape_of(cut.square).flatten() for cut in cuts]) if cuts else torch.empty(0, 2 * SIZE**2)


@dataclass
class Bank:
    """What there is to be copied: `shapes` (M, 2048) and the evaluator's `embeddings` (M, D) of all training drawings."""

    shapes: Tensor
    embeddings: Tensor

    @classmethod
    def build(cls, store: SpriteStore, evaluator: Evaluator, folder: Path) -> Bank:
        """Takes every training drawing apart as pictures are.

        That takes minutes (17 ms a drawing), so it is kept in a folder, a file for every `PART` drawings: interrupted, it goes on
        with the next. A drawing is known by its largest part, or as a whole where all its parts are specks.
        """
        rows = store.rows("train")
        shapes, embeddings = [], []
        for places in tqdm(in_chunks(len(rows), PART), desc="training drawings", unit=f"{PART} drawings"):
            path = folder / f"{places.start:05d}.safetensors"
            try:
                kept = load_file(path)
            except (FileNotFoundError, SafetensorError):
                kept = _measured(store, evaluator, [rows[place] for place in places])
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(path, save(kept))
            shapes.append(kept["shapes"].float() / 127)
            embeddings.append(kept["embeddings"])
        return cls(torch.cat(shapes), torch.cat(embeddings))

    def nearest(self, embeddings: Tensor) -> list[float]:
        """1 - cosine of pictures (N, D) and the training drawing that looks most like each."""
        return (1 - (embeddings @ self.embeddings.T).amax(1)).tolist()


def _measured(store: SpriteStore, evaluator: Evaluator, rows: list[int]) -> dict[str, Tensor]:
    """A part of the bank, shapes in 127ths."""
    found, seen = [], []
    for places in in_chunks(len(rows), 64):
        pixels = pixels_of(store, [rows[place] for place in places])
        for drawing, parts in zip(pixels, take_apart(pixels), strict=True):
            square = parts[0].square if parts else (drawing + 1) / 2
            found.append((shape_of(square).flatten() * 127).round().to(torch.int8))
        seen.append(look(evaluator, pixels).embeddings)
    return {"shapes": torch.stack(found), "embeddings": torch.cat(seen)}


def concepts_of(store: SpriteStore) -> list[str]:
    """What each training drawing shows, whatever its colour: "red apple" and "green apple" are apples."""
    labels = [store.records[row].label for row in store.rows("train")]
    return [without_colour(label) or label for label in labels]


class Neighbours:
    """Things to look for the nearest in.

    Args:
        pixels: (M, D).
        concepts: what each shows. The second-nearest must show something else: one thing is there in several styles that are
            nearly alike, and a copy of one of them would hide behind the others.
    """

    def __init__(self, pixels: Tensor, concepts: Sequence[str]) -> None:
        numbers = {concept: number for number, concept in enumerate(sorted(set(concepts)))}
        if len(numbers) < 2:
            raise ValueError("training drawings of at least two things are needed")
        self.pixels = pixels
        self.concepts = torch.tensor([numbers[concept] for concept in concepts])
        self._squares = pixels.pow(2).sum(1)

    def ratios(self, x: Tensor) -> list[float]:
        """Distance to the nearest over that to the nearest of another concept, for each of (N, D)."""
        if not len(x):
            return []
        distances = (x.pow(2).sum(1, keepdim=True) + self._squares - 2 * x @ self.pixels.T).clamp(min=0).sqrt()
        nearest, place = distances.min(1)
        other = distances.masked_fill(self.concepts[None] == self.concepts[place, None], torch.inf).amin(1)
        return (nearest / other.clamp(min=1e-6)).tolist()


def is_copy(ratio: float) -> bool:
    return ratio < COPY_RATIO
