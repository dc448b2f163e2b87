"""Drawings -> premultiplied RGBA of 256 px in a memory map. Killed at any moment, it goes on where it stopped."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dalle.config import COLOURS, IMAGE_SIZE, StorageError
from train.data.names import GROUP_WEIGHTS, Name, Names
from train.data.sources import SETS, DrawingSet, lock_hash
from train.data.store import Drawing, SpriteStore, new_memmap, write_index

VERSION = 1
"""To be raised when names, labels, the way of rendering or the split change: the drawings are then rendered again."""

HELD_OUT = {"test": 4, "val": 1}
"""Percent of drawings a split holds."""


@dataclass(frozen=True)
class Source:
    """A drawing before it is rendered: SVG text, or the path of a bitmap."""

    record: Drawing
    svg: str | None = None
    path: str | None = None


def iconify_sources(drawings: DrawingSet, modules: Path, names: Names) -> list[Source]:
    folder = modules / drawings.package
    data = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    sources: dict[str, tuple[int, Source]] = {}
    for icon, body in data["icons"].items():
        if drawings.name == "circle-flags":
            name = names.of_flag(icon)
        elif drawings.style == "icon" and drawings.name != "streamline-emojis":
            name = names.of_icon(icon)
        else:
            name = names.of_emoji(icon)
        if name is None:
            continue
        width, height = body.get("width", data.get("width", 16)), body.get("height", data.get("height", 16))
        left, top = body.get("left", 0), body.get("top", 0)
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{IMAGE_SIZE}" height="{IMAGE_SIZE}" viewBox="{left} {top} {width} {height}">{body["body"]}</svg>'
        )
        source = Source(make_record(drawings, icon, name), svg=svg)
        # Fluent colour icons come in several sizes of one drawing: the largest is the most detailed.
        key = f"{name.concept}" if drawings.name == "fluent-color" else icon
        size = int(icon.rsplit("-", 1)[-1]) if icon.rsplit("-", 1)[-1].isdigit() else 0
        if key not in sources or size > sources[key][0]:
            sources[key] = (size, source)
    return [source for _, source in sources.values()]


def bitmap_sources(drawings: DrawingSet, modules: Path, names: Names) -> list[Source]:
    found = []
    for path in sorted((modules / drawings.package / "assets").glob("*.webp")):
        name = names.of_hexcode(path.stem)
        if name is not None:
            found.append(Source(make_record(drawings, path.stem, name), path=str(path)))
    return found


def make_record(drawings: DrawingSet, icon: str, name: Name) -> Drawing:
    weight = drawings.weight * GROUP_WEIGHTS[name.group]
    return Drawing(
        set=drawings.name,
        version=drawings.version,
        licence=drawings.licence,
        name=icon,
        concept=name.concept,
        style=drawings.style,
        label=name.label,
        tags=list(name.tags),
        group=name.group,
        weight=round(weight, 4),
    )


def collect(modules: Path) -> list[Source]:
    """Every drawing of every set that has a name and is not left out, in a fixed order."""
    names = Names(modules)
    sources: dict[tuple[str, str, str], Source] = {}
    for drawings in SETS:
        reader = bitmap_sources if drawings.style == "3d" else iconify_sources
        for source in reader(drawings, modules, names):
            # Some sets list one drawing of a concept under several names, old and new: the first stays.
            sources.setdefault((source.record.set, source.record.concept, source.svg or source.path or ""), source)
    return list(sources.values())


def rasterise(source: Source) -> np.ndarray | None:
    """(256, 256, 4) uint8, premultiplied; None where nothing is drawn or the drawing is broken."""
    try:
        if source.svg is not None:
            import resvg_py

            data = bytes(resvg_py.svg_to_bytes(svg_string=source.svg, skip_system_fonts=True))
            image = Image.open(io.BytesIO(data)).convert("RGBA")
        else:
            image = Image.open(source.path).convert("RGBA")
        return premultiplied(fit(image))
    except (OSError, ValueError, RuntimeError, SyntaxError, Image.DecompressionBombError):
        return None


def fit(image: Image.Image) -> Image.Image:
    """Centred in the square, aspect kept."""
    if image.size == (IMAGE_SIZE, IMAGE_SIZE):
        return image
    scale = IMAGE_SIZE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGBA", (IMAGE_SIZE, IMAGE_SIZE))
    corner = ((IMAGE_SIZE - size[0]) // 2, (IMAGE_SIZE - size[1]) // 2)
    canvas.paste(image.resize(size, Image.Resampling.LANCZOS), corner)
    return canvas


def premultiplied(image: Image.Image) -> np.ndarray | None:
    array = np.asarray(image).astype(np.uint16)
    if (array[..., 3] > 32).mean() < 0.01:
        return None
    array[..., :3] = (array[..., :3] * array[..., 3:] + 127) // 255
    return array.astype(np.uint8)


def perceptual_hash(pixels: np.ndarray) -> str:
    """Difference hash of the picture over white, 8 rows of 8 bits for each colour: 192 bits as hex."""
    white = pixels[..., :3].astype(np.int32) + (255 - pixels[..., 3:].astype(np.int32))
    small = white[:, : 9 * 28].reshape(8, 32, 9, 28, 3).mean((1, 3))
    bits = (small[:, 1:] > small[:, :-1] + 2).reshape(-1)
    return np.packbits(bits).tobytes().hex()


def dominant_colour(pixels: np.ndarray) -> str:
    """Name of the colour that most of the drawing has, or "" where it has several."""
    small = pixels[::8, ::8].reshape(-1, 4).astype(np.float32)
    solid = small[small[:, 3] > 200]
    if len(solid) < 40:
        return ""
    chroma = solid[:, :3].max(1) - solid[:, :3].min(1)
    coloured = solid[chroma > 60, :3]
    if len(coloured) < 0.55 * len(solid):
        return ""
    names = [name for name in COLOURS if name not in ("black", "white", "gray")]
    centres = np.array([COLOURS[name] for name in names], np.float32)
    unit = coloured / np.linalg.norm(coloured, axis=1, keepdims=True)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    counts = np.bincount((unit @ centres.T).argmax(1), minlength=len(names))
    best = int(counts.argmax())
    return names[best] if counts[best] > 0.7 * len(coloured) else ""


def digest(record: Drawing) -> int:
    """A number from what the drawing is: the same on every machine and for every order."""
    return int(hashlib.sha256(f"{record.set}/{record.name}".encode()).hexdigest(), 16)


TWINS = 12
"""Perceptual hashes that differ in no more of their 192 bits belong to one drawing under two names."""


def split_drawings(records: Sequence[Drawing]) -> None:
    """Sets `split` of every record, in place.

    Held out is a style of a concept, never a whole concept: at least two other drawings of it stay in training. What
    has a look-alike anywhere in the sets stays in training with it. A reader's own pictures, which share no concepts,
    are held out one by one, and where a store is too small for shares, each split gets one.
    """
    by_concept: dict[str, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        record.split = "train"
        by_concept[record.concept if record.group else ""].append(place)
    hashes = np.array([list(bytes.fromhex(record.phash)) for record in records], np.uint8)  # (N, 24)
    for places in by_concept.values():
        if len(places) < 4:
            continue
        taken = 0
        for place in places:
            share = digest(records[place]) % 100
            split = "test" if share < HELD_OUT["test"] else "val" if share < sum(HELD_OUT.values()) else "train"
            if split == "train" or taken >= len(places) - 3:
                continue
            if (np.bitwise_count(hashes ^ hashes[place]).sum(1) <= TWINS).sum() > 1:
                continue
            records[place].split = split
            taken += 1
    for split in HELD_OUT:
        if not any(record.split == split for record in records):
            min((record for record in records if record.split == "train"), key=digest).split = split


def _render(job: tuple[int, Source]) -> tuple[int, np.ndarray | None]:
    return job[0], rasterise(job[1])


def read_json(path: Path) -> dict[str, object]:
    """The object in a file; empty where there is none, or half of one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def write_json(path: Path, value: dict[str, object]) -> None:
    """Written aside, then renamed: whole or not there."""
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(value), encoding="utf-8")
    os.replace(aside, path)


def render(sources: Sequence[Source], folder: Path, fingerprint: str, workers: int | None = None) -> SpriteStore:
    """Renders what is missing and writes the index.

    Raises:
        StorageError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meta_file, done_file, pixels_file = folder / "meta.json", folder / "rendered.npy", folder / "sprites.partial.npy"
    if read_json(meta_file).get("fingerprint") == fingerprint:
        return SpriteStore.open(folder)
    progress = folder / "progress.json"
    key = {"fingerprint": fingerprint, "count": len(sources)}
    fresh = read_json(progress) != key or not (pixels_file.exists() and done_file.exists())
    try:
        shape = (len(sources), IMAGE_SIZE, IMAGE_SIZE, 4)
        if fresh:
            new_memmap(pixels_file, np.uint8, shape)
            new_memmap(done_file, np.uint8, (len(sources),))
        pixels = np.lib.format.open_memmap(pixels_file, "r+")
        done = np.lib.format.open_memmap(done_file, "r+")  # 0: not yet, 1: rendered, 2: nothing to see
        write_json(progress, key)
        todo = [(i, source) for i, source in enumerate(sources) if not done[i]]
        bar = tqdm(total=len(sources), initial=len(sources) - len(todo), desc="render", unit="drawing", mininterval=2)
        for index, array in _parallel(todo, workers):
            if array is not None:
                pixels[index] = array
            done[index] = 1 if array is not None else 2
            bar.update()
        bar.close()
        pixels.flush()
        kept = np.flatnonzero(done == 1)
        records = [sources[i].record for i in kept]
        final = new_memmap(folder / "sprites.tmp.npy", np.uint8, (len(kept), *shape[1:]))
        for place, index in enumerate(tqdm(kept, desc="index", unit="drawing", mininterval=2)):
            final[place] = pixels[index]
            records[place].phash = perceptual_hash(pixels[index])
            records[place].colour = dominant_colour(pixels[index])
        final.flush()
        split_drawings(records)
        meta_file.unlink(missing_ok=True)  # an earlier store is whole until its pixels are replaced
        os.replace(folder / "sprites.tmp.npy", folder / "sprites.npy")
        write_index(folder / "index.jsonl", records)
        write_json(meta_file, {"fingerprint": fingerprint, "drawings": len(records)})
        for path in (pixels_file, done_file, progress):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"Could not write the drawings to {folder}: {error}. About {len(sources) * 2 * 256 / 2**20:.1f} GiB are "
            "needed: free some space, then run the same command again; what is rendered is kept."
        ) from error
    return SpriteStore.open(folder)


def _parallel(todo: list[tuple[int, Source]], workers: int | None) -> Iterable[tuple[int, np.ndarray | None]]:
    workers = workers if workers is not None else min(16, os.cpu_count() or 1)
    if workers <= 1 or len(todo) < 100:
        yield from map(_render, todo)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_render, todo, chunksize=16)


def fingerprint() -> str:
    """Changes where the pinned sets or what is made of them change."""
    return f"{VERSION}-{lock_hash()}"
