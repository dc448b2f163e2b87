"""The rendered drawings on disk: a memory map of premultiplied RGBA and one line of facts a drawing."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from dalle.config import IMAGE_SIZE, CheckpointError

SPLITS = ("train", "val", "test")


@dataclass
class Drawing:
    """One drawing: where it comes from, what it shows, and the split it belongs to."""

    set: str
    version: str
    licence: str
    name: str
    concept: str
    style: str
    label: str
    tags: list[str] = field(default_factory=list)
    group: str = ""
    split: str = "train"
    phash: str = ""
    colour: str = ""
    weight: float = 1.0


class SpriteStore:
    """`pixels` (N, 256, 256, 4) uint8, premultiplied; `records`, one a row."""

    def __init__(self, pixels: np.ndarray, records: Sequence[Drawing], meta: dict[str, object]) -> None:
        self.pixels, self.records, self.meta = pixels, list(records), meta
        self._rows = {split: [i for i, r in enumerate(self.records) if r.split == split] for split in SPLITS}

    def __len__(self) -> int:
        return len(self.records)

    @classmethod
    def open(cls, folder: Path | str) -> SpriteStore:
        """Raises CheckpointError where the folder holds no finished render."""
        folder = Path(folder)
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
            records = [Drawing(**json.loads(line)) for line in lines]
            pixels = np.load(folder / "sprites.npy", mmap_mode="r")
        except FileNotFoundError as error:
            raise CheckpointError(f"No rendered drawings in {folder}: run `python -m train data` first.") from error
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"The drawings in {folder} are damaged ({error}): remove the folder, then run `python -m train data`."
            ) from error
        if pixels.shape != (len(records), IMAGE_SIZE, IMAGE_SIZE, 4) or pixels.dtype != np.uint8:
            raise CheckpointError(
                f"The drawings in {folder} do not fit their index: remove the folder, then run `python -m train data`."
            )
        store = cls(pixels, records, meta)
        if not (store.rows("val") and store.rows("test")):
            raise CheckpointError(f"The drawings in {folder} lack the held-out split: render them again.")
        return store

    def rows(self, split: str = "train") -> list[int]:
        return self._rows[split]


def new_memmap(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy memory map whose space on the disk is taken at once.

    A sparse file would kill the process (SIGBUS) where the disk fills up later; this raises OSError now.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, os.fstat(handle.fileno()).st_size)
    return array


def spread(rows: list[int], count: int) -> list[int]:
    """At most `count` rows, evenly spread."""
    return rows if len(rows) <= count else [rows[i * len(rows) // count] for i in range(count)]


def small_pictures(store: SpriteStore, rows: list[int], size: int) -> Tensor:
    """Drawings averaged down, uint8 premultiplied RGBA (N, 4, size, size)."""
    parts = []
    for begin in tqdm(range(0, len(rows), 256), desc="small drawings", disable=None):
        chunk = torch.from_numpy(np.stack([store.pixels[row] for row in rows[begin : begin + 256]]))
        chunk = F.interpolate(chunk.permute(0, 3, 1, 2).float(), size=(size, size), mode="area")
        parts.append(chunk.round().to(torch.uint8))
    return torch.cat(parts)


def write_index(path: Path, records: Sequence[Drawing]) -> None:
    path.write_text("".join(json.dumps(asdict(r), ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
