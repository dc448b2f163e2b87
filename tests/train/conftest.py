"""A small store of drawings that the tests make themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from train.data.store import Drawing, SpriteStore, write_index

SHAPES = ("ball", "box", "kite", "bar", "ring", "cross", "star", "drop", "moon", "leaf", "tile", "arch")
PAINT = {"flat": (221, 46, 68), "soft": (60, 120, 220), "bold": (88, 168, 62)}


def drawing(shape: str, paint: tuple[int, int, int]) -> np.ndarray:
    """(256, 256, 4) uint8, premultiplied."""
    image = Image.new("RGBA", (256, 256))
    pen = ImageDraw.Draw(image)
    number = SHAPES.index(shape)
    box = (40 + 4 * number, 40, 216, 216 - 3 * number)
    if number % 3 == 0:
        pen.ellipse(box, fill=(*paint, 255))
    elif number % 3 == 1:
        pen.rectangle(box, fill=(*paint, 255))
    else:
        pen.polygon([(128, 30), (box[2], box[3]), (box[0], box[3])], fill=(*paint, 255))
    array = np.asarray(image).astype(np.uint16)
    array[..., :3] = array[..., :3] * array[..., 3:] // 255
    return array.astype(np.uint8)


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sprites")
    records, pixels = [], []
    for style, paint in PAINT.items():
        for shape in SHAPES:
            records.append(
                Drawing("made", "1", "CC0-1.0", f"{shape}-{style}", shape, style, shape, [shape], "object", colour="red")
            )
            pixels.append(drawing(shape, paint))
    for place, record in enumerate(records):
        record.split = "test" if place in (3, 16) else "val" if place in (8, 30) else "train"
    np.save(folder / "sprites.npy", np.stack(pixels))
    write_index(folder / "index.jsonl", records)
    (folder / "meta.json").write_text(json.dumps({"fingerprint": "made", "drawings": len(records)}))
    return folder


@pytest.fixture(scope="session")
def store(store_folder) -> SpriteStore:
    return SpriteStore.open(store_folder)
