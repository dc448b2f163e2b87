"""`python -m train reference`: one small drawing for each thing that the model was taught, for searching and comparing."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dalle.config import CheckpointError, SettingError
from dalle.engine import Engine
from dalle.hub import COMPONENTS, WEIGHTS, read_json, sha256
from dalle.parts import Packed
from dalle.reference import Reference, ReferenceSet
from train.data import SpriteStore

SIZE, QUALITY, ALPHA_QUALITY = 80, 70, 50
"""Of the small pictures: 1.4 KB each."""
BATCH = 256


def chosen_rows(store: SpriteStore) -> list[int]:
    """A training drawing for each concept, in the order of the store; the sets take turns, so that all styles are there."""
    rows: dict[str, list[int]] = {}
    for row in store.rows("train"):
        rows.setdefault(store.records[row].concept, []).append(row)
    return [drawings[turn % len(drawings)] for turn, drawings in enumerate(rows.values())]


def sprite(store: SpriteStore, row: int) -> Image.Image:
    """A drawing of the store as RGBA."""
    pixels = store.pixels[row].astype(np.float32)
    alpha = pixels[..., 3:]
    colour = np.where(alpha > 0, pixels[..., :3] * 255 / np.maximum(alpha, 1), 0).clip(0, 255)
    return Image.fromarray(np.concatenate([colour, alpha], -1).round().astype(np.uint8), "RGBA")


def build_reference(store: SpriteStore, engine: Engine, ranker: str) -> ReferenceSet:
    """The set of the store's drawings with the vectors of the engine's ranker, whose weights have the hash `ranker`."""
    rows, small, vectors = chosen_rows(store), [], []
    for first in tqdm(range(0, len(rows), BATCH), desc="reference set", disable=None):
        images = [sprite(store, row) for row in rows[first : first + BATCH]]
        vectors.append(engine.picture_vectors(images))
        small += [image.resize((SIZE, SIZE), Image.Resampling.LANCZOS) for image in images]
    facts = [store.records[row] for row in rows]
    drawings = [Reference(each.label, each.style, each.set, each.licence) for each in facts]
    return ReferenceSet.build(drawings, Packed.of(small, QUALITY, ALPHA_QUALITY), np.concatenate(vectors), ranker)


def ranker_of(checkpoint: Path) -> str:
    """The hash of a checkpoint's ranker.

    Raises:
        SettingError, CheckpointError: it has none, or is no checkpoint.
    """
    read_json(checkpoint / "model_index.json")
    if not (checkpoint / "ranker" / WEIGHTS).exists():
        raise SettingError(f"{checkpoint} has no ranker to compare pictures with: train one, then assemble the checkpoint with it.")
    return sha256(checkpoint / "ranker" / WEIGHTS)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train reference", description=__doc__)
    into = "a checkpoint with a ranker; the set goes into it"
    parser.add_argument("--model", type=Path, default=Path("checkpoints/default"), help=into)
    parser.add_argument("--data", type=Path, default=Path("data/sprites"))
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    for part in COMPONENTS:
        if not (arguments.model / part).is_dir():
            raise CheckpointError(f"{arguments.model} is no checkpoint of this project: {part}/ is missing.")
    ranker = ranker_of(arguments.model)
    store = SpriteStore.open(arguments.data)
    folder = arguments.model / "reference"
    for path in folder.glob("*"):  # a set of an older ranker would keep the checkpoint from loading
        path.unlink()
    if folder.exists():
        folder.rmdir()
    engine = Engine(str(arguments.model), arguments.device)
    engine.load()
    found = build_reference(store, engine, ranker)
    found.save(folder)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    print(f"{folder}: {len(found)} drawings, {size:.1f} MiB")
    return 0
