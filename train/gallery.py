"""`python -m train gallery`: the pictures of the docs, drawn by a checkpoint: contact sheet, interpolations, reconstructions."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from dalle.config import DEFAULT_GUIDANCE, DEFAULT_STEPS, StorageError
from dalle.engine import Engine, GenerateRequest, InterpolateRequest, Picture
from dalle.images import grid, over, to_pil
from train.data import SpriteStore
from train.data.store import spread
from train.evaluate import pixels_of

PATHS = (
    ("a red apple", "a yellow sun"),
    ("a cat", "a dog"),
    ("a rocket", "a green tree"),
)


def save(image: Image.Image, path: Path) -> None:
    """Writes a picture as WebP or PNG by its name's ending, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        image.save(aside, quality=88) if path.suffix == ".webp" else image.save(aside, optimize=True)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StorageError(f"Could not write {path}: {error}.") from error
    print(path)


def contact_sheet(engine: Engine, prompts: list[str], seed: int, steps: int, guidance: float) -> Image.Image:
    """One picture a prompt, all with consecutive seeds: nothing is picked."""
    pictures = []
    for index, prompt in enumerate(prompts):
        request = GenerateRequest(prompt, 1, seed + index, steps, guidance)
        pictures += [over(item.image) for item in engine.generate(request) if isinstance(item, Picture)]
    return grid(pictures, columns=8, labels=prompts)


def interpolation_strip(engine: Engine, a: str, b: str, seed: int, frames: int) -> Image.Image:
    request = InterpolateRequest(a, b, seed, seed + 1, frames)
    found = sorted(engine.interpolate(request), key=lambda frame: frame.index)
    labels = [f"{frame.position:.2f}" for frame in found]
    labels[0], labels[-1] = a, b
    return grid([over(frame.image) for frame in found], columns=frames, labels=labels)


@torch.inference_mode()
def reconstructions(engine: Engine, store: SpriteStore, count: int) -> Image.Image:
    """Held-out drawings, each above its reconstruction."""
    vae = engine.wait().vae
    weight = next(vae.parameters())
    originals, again = [], []
    for row in spread(store.rows("test"), count):
        pixels = pixels_of(store, row)
        x = pixels.to(weight.device, weight.dtype).contiguous(memory_format=torch.channels_last)
        originals += [over(picture) for picture in to_pil(pixels)]
        again += [over(picture) for picture in to_pil(vae.from_latents(vae.to_latents(x)).cpu())]
    columns = 8
    cells: list[Image.Image] = []
    for begin in range(0, len(originals), columns):
        cells += originals[begin : begin + columns] + again[begin : begin + columns]
    return grid(cells, columns=columns)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train gallery", description=__doc__)
    parser.add_argument("--model", default="checkpoints/default")
    parser.add_argument("--prompts", type=Path, default=Path("docs/prompts.txt"))
    parser.add_argument("--data", type=Path, default=Path("data/sprites"), help="for the reconstructions")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    parser.add_argument("--guidance", type=float, default=DEFAULT_GUIDANCE)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    engine = Engine(arguments.model, arguments.device)
    engine.load()
    prompts = arguments.prompts.read_text(encoding="utf-8").split("\n")
    prompts = [line.strip() for line in prompts if line.strip()]
    sheet = contact_sheet(engine, prompts, arguments.seed, arguments.steps, arguments.guidance)
    save(sheet, arguments.out / "contact-sheet.webp")
    for number, (a, b) in enumerate(PATHS, 1):
        save(interpolation_strip(engine, a, b, arguments.seed, 9), arguments.out / f"interpolation-{number}.webp")
    if arguments.data.exists():
        save(reconstructions(engine, SpriteStore.open(arguments.data), 24), arguments.out / "reconstructions.webp")
    return 0
