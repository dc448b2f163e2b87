"""The reference set: one small drawing for each thing that the model was taught, to search in and to compare pictures with.

Its vectors are the ranker's, so they belong to one ranker. Made by `python -m train reference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dalle.config import CheckpointError
from dalle.parts import Packed, damaged, load_part, save_part

DRAWINGS_FILE, PICTURES_FILE = "drawings.json", "pictures.safetensors"


@dataclass(frozen=True)
class Reference:
    """A drawing of the set: what it shows, its style, the set that it is from, and that set's licence."""

    label: str
    style: str
    set: str
    licence: str


class ReferenceSet:
    """Drawings, their pictures and their vectors, row by row."""

    def __init__(
        self, drawings: Sequence[Reference], pictures: Packed, codes: np.ndarray, scales: np.ndarray, ranker: str
    ) -> None:
        """
        Args:
            codes: (N, D) int8.
            scales: (N,) float32; a row of codes times its scale is a vector of unit length, nearly.
            ranker: the hash of the ranker's weights.
        """
        self.drawings, self.pictures, self.ranker = list(drawings), pictures, ranker
        self._codes, self._scales = codes, scales
        vectors = codes.astype(np.float32) * scales[:, None]
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def __len__(self) -> int:
        return len(self.drawings)

    @classmethod
    def build(cls, drawings: Sequence[Reference], pictures: Packed, vectors: np.ndarray, ranker: str) -> ReferenceSet:
        """From unit vectors (N, D), which are kept as 8-bit integers.

        Raises:
            ValueError: no drawings, or not one picture and one finite vector each.
        """
        vectors = np.asarray(vectors, np.float32)
        if not drawings or not len(drawings) == len(pictures) == len(vectors) or vectors.ndim != 2:
            raise ValueError(f"{len(drawings)} drawings need as many pictures and vectors")
        scales = np.abs(vectors).max(axis=1) / 127
        if not np.isfinite(scales).all() or not scales.all():
            raise ValueError("vectors must be finite and not zero")
        return cls(drawings, pictures, np.rint(vectors / scales[:, None]).astype(np.int8), scales, ranker)

    def save(self, folder: str | Path) -> None:
        """Writes the two files into `folder`. Raises `StorageError` where that fails."""
        content = {"ranker_sha256": self.ranker, "drawings": [asdict(drawing) for drawing in self.drawings]}
        tensors = {"codes": self._codes, "scales": self._scales, "data": self.pictures.data, "ends": self.pictures.ends}
        save_part(folder, DRAWINGS_FILE, PICTURES_FILE, content, tensors)

    @classmethod
    def load(cls, folder: str | Path) -> ReferenceSet:
        """Reads what `save` wrote.

        Raises:
            CheckpointError: a file is missing, truncated, foreign, or does not belong to the other.
        """
        folder = Path(folder)
        content, tensors = load_part(folder, DRAWINGS_FILE, PICTURES_FILE)
        try:
            drawings = [Reference(**row) for row in content["drawings"]]
            if not all(isinstance(text, str) for drawing in drawings for text in asdict(drawing).values()):
                raise TypeError("not text")
            pictures = Packed(tensors["data"], tensors["ends"])
            codes, scales, ranker = tensors["codes"], tensors["scales"], str(content["ranker_sha256"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder / DRAWINGS_FILE) from error
        fits = codes.ndim == 2 and codes.dtype == np.int8 and scales.dtype == np.float32 and len(pictures) == len(drawings) > 0
        if not fits or len(codes) != len(drawings) or scales.shape != (len(drawings),):
            raise damaged(folder / PICTURES_FILE)
        if not np.isfinite(scales).all() or not (scales > 0).all() or not codes.any(axis=1).all():
            raise damaged(folder / PICTURES_FILE)
        return cls(drawings, pictures, codes, scales, ranker)

    def check_ranker(self, ranker: str) -> None:
        """Raises CheckpointError where the vectors are not of the ranker with that hash."""
        if ranker != self.ranker:
            raise CheckpointError(
                "The reference set was made with another ranker than the checkpoint has: make it again with "
                "`python -m train reference`."
            )

    def nearest(self, vector: np.ndarray, limit: int) -> list[tuple[int, float]]:
        """(row, distance) of the drawings nearest to a picture's vector (D,), nearest first; a distance is 1 - cosine, 0 to 2."""
        distances = 1 - self.vectors @ np.asarray(vector, np.float32)
        return [(int(row), float(max(0.0, distances[row]))) for row in np.argsort(distances, kind="stable")[:limit]]
