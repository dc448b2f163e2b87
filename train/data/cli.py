"""`python -m train data`: fetch, render and split the drawings; or read a folder of your own captioned pictures."""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

from train.data.render import collect, fingerprint, render
from train.data.sources import fetch
from train.data.store import SpriteStore


def summary(store: SpriteStore) -> str:
    styles: dict[str, set[str]] = defaultdict(set)
    for record in store.records:
        styles[record.concept].add(record.style)
    splits = Counter(record.split for record in store.records)
    counts = [sum(len(s) >= n for s in styles.values()) for n in (6, 4, 2)]
    return (
        f"{len(store):,} drawings of {len(styles):,} concepts; in at least six drawn styles: {counts[0]:,}, "
        f"four: {counts[1]:,}, two: {counts[2]:,} (pixel art, silhouette, outline and sepia are made of any of them).\n"
        f"Splits: train {splits['train']:,}, val {splits['val']:,}, test {splits['test']:,}."
    )


def preview(store: SpriteStore, path: Path, split: str, seed: int) -> None:
    from dalle.images import checkerboard, grid, to_pil
    from train.data.scenes import SceneComposer

    batch = SceneComposer(store, split=split, seed=seed).batch(0, 64)
    pictures = [checkerboard(picture) for picture in to_pil(batch.pixels)]
    grid(pictures, columns=8, labels=batch.captions).save(path)
    print(f"64 captioned samples: {path}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train data", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/sprites"), help="folder of the rendered drawings")
    parser.add_argument("--packages", type=Path, default=Path("data/packages"), help="where npm installs the sets")
    parser.add_argument(
        "--folder", type=Path, default=None, help="your own pictures: metadata.jsonl, or NAME.txt beside NAME.png"
    )
    parser.add_argument("--workers", type=int, default=None, help="processes that render (default: one a core)")
    parser.add_argument("--preview", type=Path, default=None, help="write a picture of 64 captioned samples here")
    parser.add_argument("--split", default="train", choices=("train", "val", "test"), help="split of the preview")
    parser.add_argument("--seed", type=int, default=0, help="seed of the preview")
    arguments = parser.parse_args(argv)
    if arguments.folder is not None:
        from train.data.folder import folder_sources

        sources = folder_sources(arguments.folder)
        facts = "".join(f"{s.path}{Path(s.path).stat().st_mtime_ns}{s.record.label}" for s in sources)
        store = render(sources, arguments.out, hashlib.sha256(facts.encode()).hexdigest(), arguments.workers)
    else:
        modules = fetch(arguments.packages)
        meta = arguments.out / "meta.json"
        mark = fingerprint()
        done = meta.exists() and mark in meta.read_text(encoding="utf-8")
        sources = [] if done else collect(modules)
        store = SpriteStore.open(arguments.out) if done else render(sources, arguments.out, mark, arguments.workers)
    print(summary(store))
    if arguments.preview is not None:
        preview(store, arguments.preview, arguments.split, arguments.seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
