"""`python -m train gallery`: the pictures of the docs, drawn by a checkpoint.

Contact sheets, interpolations, reconstructions, failures and training snapshots: all by a rule, nothing is picked.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from dalle.config import DEFAULT_GUIDANCE, IMAGE_SIZE, DalleError, PromptError, StorageError
from dalle.engine import Engine
from dalle.images import grid, over, to_pil
from dalle.requests import GenerateRequest, InterpolateRequest, Picture
from train.data import SpriteStore
from train.data.store import spread
from train.evaluation.reconstruction import pixels_of, reconstruct
from train.prior import SAMPLE_PROMPTS

PATHS = (
    ("a red apple", "a yellow sun"),
    ("a cat", "a dog"),
    ("a rocket", "a green tree"),
)
FAILURES = 24
SNAPSHOT_PROMPTS = SAMPLE_PROMPTS[::4]
SNAPSHOTS = 6
SAMPLE_COLUMNS, SAMPLE_GAP = 6, 16
"""How `train.prior` lays out its samples."""


class Missing(DalleError):
    """A picture can't be made, and the text says why; the others can."""


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


def draw(engine: Engine, prompt: str, seed: int, steps: int, guidance: float) -> Image.Image:
    """One picture over white."""
    request = GenerateRequest(prompt, 1, seed, num_inference_steps=steps, guidance_scale=guidance)
    (picture,) = (item for item in engine.generate(request) if isinstance(item, Picture))
    return over(picture.image)


def read_prompts(path: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        PromptError: it is not there, no text, or has no such lines.
    """
    try:
        prompts = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except FileNotFoundError as error:
        raise PromptError(f"There is no file {path}: --prompts takes a text file with a prompt a line.") from error
    except UnicodeDecodeError as error:
        raise PromptError(f"{path} is no text in UTF-8: --prompts takes a text file with a prompt a line.") from error
    if not prompts:
        raise PromptError(f"{path} has no prompts.")
    return prompts


def contact_sheets(default: int) -> dict[int, str]:
    """Steps -> file name of the sheet drawn with so many: one, four, and the default, each once."""
    return {1: "contact-sheet-1-step", 4: "contact-sheet-4-steps"} | {default: "contact-sheet"}


def contact_sheet(engine: Engine, prompts: list[str], seed: int, steps: int, guidance: float) -> Image.Image:
    """One picture a prompt, all with consecutive seeds."""
    pictures = [draw(engine, prompt, seed + index, steps, guidance) for index, prompt in enumerate(prompts)]
    return grid(pictures, columns=8, labels=prompts)


def failures(engine: Engine, evaluation: Path) -> tuple[Image.Image, str]:
    """The pictures of an evaluation whose own prompt had the worst ranks among others, the worst first, then the first failed
    compositions of each task; and how many there are of each.

    Raises:
        Missing: there is no evaluation of these weights.
    """
    try:
        report = json.loads(evaluation.read_text(encoding="utf-8"))
        details, revision = report["details"], report["facts"]["revision"]
        steps, guidance = int(details["steps"]), float(details["guidance"])
        failed = [each for each in details["prompts"] if each["rank"] > 1]
        worst = sorted(failed, key=lambda each: -each["rank"])[:FAILURES]  # equals keep their order
        wanted = [(str(each["prompt"]), int(each["seed"]), f"rank {each['rank']}") for each in worst]
        wanted += [(str(each["prompt"]), int(each["seed"]), str(each["task"])) for each in details["compositions"]]
        among = len(details["prompts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Missing(f"{evaluation} names no prompts: run `python -m train evaluate` first") from error
    if revision != engine.revision:
        raise Missing(f"{evaluation} is of weights {revision}, not of {engine.revision}: run `python -m train evaluate` first")
    if not wanted:
        raise Missing(f"{evaluation} has no failures")
    pictures = [draw(engine, prompt, seed, steps, guidance) for prompt, seed, _ in wanted]
    told = f"{len(worst)} of {len(failed)} failures among {among} prompts, and {len(wanted) - len(worst)} failed compositions"
    return grid(pictures, columns=8, labels=[f"{prompt} ({why})" for prompt, _, why in wanted]), told


def sample_cells(path: Path, prompts: Sequence[str]) -> list[Image.Image]:
    """The pictures of some of the sample prompts in a sample grid of a prior's run.

    Raises:
        Missing: the grid is laid out in another way.
    """
    rows = -(-len(SAMPLE_PROMPTS) // SAMPLE_COLUMNS)
    with Image.open(path) as opened:
        sheet = opened.convert("RGB")
    pitch, rest = divmod(sheet.height - SAMPLE_GAP, rows)
    if sheet.width != SAMPLE_COLUMNS * (IMAGE_SIZE + SAMPLE_GAP) + SAMPLE_GAP or rest or pitch < IMAGE_SIZE:
        raise Missing(f"{path} does not show the {len(SAMPLE_PROMPTS)} prompts of this version")
    cells = []
    for prompt in prompts:
        row, column = divmod(SAMPLE_PROMPTS.index(prompt), SAMPLE_COLUMNS)
        x, y = SAMPLE_GAP + column * (IMAGE_SIZE + SAMPLE_GAP), SAMPLE_GAP + row * pitch
        cells.append(sheet.crop((x, y, x + IMAGE_SIZE, y + IMAGE_SIZE)))
    return cells


def snapshots(runs: Sequence[Path]) -> Image.Image:
    """The same prompts with the same noise at moments of the prior's training, evenly spread from the first to the last.

    Args:
        runs: run folders, each of which went on from the weights of the one before; so do the steps that are told.

    Raises:
        Missing: a run has no samples, or they are laid out in another way.
    """
    paths: list[Path] = []
    steps_of: dict[Path, int] = {}
    for run in runs:
        found = sorted((run / "samples").glob("step-*.png"))
        if not found:
            raise Missing(f"{run} holds no samples of a prior")
        before = steps_of[paths[-1]] if paths else 0
        steps_of |= {path: before + int(re.sub(r"\D", "", path.stem)) for path in found}
        paths += found
    first, last = steps_of[paths[0]], steps_of[paths[-1]]
    wanted = [first + place * (last - first) / (SNAPSHOTS - 1) for place in range(SNAPSHOTS)]
    chosen = sorted({min(paths, key=lambda path: abs(steps_of[path] - step)) for step in wanted}, key=steps_of.__getitem__)
    cells: dict[tuple[str, int], Image.Image] = {}
    for path in chosen:
        found_cells = zip(SNAPSHOT_PROMPTS, sample_cells(path, SNAPSHOT_PROMPTS), strict=True)
        cells |= {(prompt, steps_of[path]): cell for prompt, cell in found_cells}
    steps = sorted({step for _, step in cells})
    order = [(prompt, step) for prompt in SNAPSHOT_PROMPTS for step in steps]
    labels = [f"{prompt}: step {step:,}" for prompt, step in order]
    return grid([cells[each] for each in order], columns=len(steps), labels=labels, cell=IMAGE_SIZE // 2)


def interpolation_strip(engine: Engine, a: str, b: str, seed: int, frames: int) -> Image.Image:
    request = InterpolateRequest(a, b, seed, seed + 1, frames)
    found = sorted(engine.interpolate(request), key=lambda frame: frame.index)
    labels = [f"{frame.position:.2f}" for frame in found]
    labels[0], labels[-1] = a, b
    return grid([over(frame.image) for frame in found], columns=frames, labels=labels)


def reconstructions(engine: Engine, store: SpriteStore, count: int) -> Image.Image:
    """Held-out drawings, each above its reconstruction."""
    vae = engine.wait().vae
    originals, again = [], []
    for row in spread(store.rows("test"), count):
        pixels = pixels_of(store, row)
        originals += [over(picture) for picture in to_pil(pixels)]
        again += [over(picture) for picture in to_pil(reconstruct(vae, pixels))]
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
    parser.add_argument("--evaluation", type=Path, default=Path("docs/evaluation.json"), help="for the failures")
    runs = "run folders of a prior, in their order, for the snapshots"
    parser.add_argument("--snapshots", type=Path, nargs="+", default=[Path("runs/prior")], help=runs)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of the contact sheet; by default what the model was made for")
    parser.add_argument("--guidance", type=float, default=DEFAULT_GUIDANCE)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    prompts = read_prompts(arguments.prompts)
    engine = Engine(arguments.model, arguments.device)
    engine.load()
    for steps, name in contact_sheets(arguments.steps or int(engine.wait().prior.default_steps)).items():
        sheet = contact_sheet(engine, prompts, arguments.seed, steps, arguments.guidance)
        save(sheet, arguments.out / f"{name}.webp")
    for number, (a, b) in enumerate(PATHS, 1):
        save(interpolation_strip(engine, a, b, arguments.seed, 9), arguments.out / f"interpolation-{number}.webp")

    def of_drawings() -> Image.Image:
        if not arguments.data.exists():
            raise Missing(f"there are no drawings in {arguments.data}")
        return reconstructions(engine, SpriteStore.open(arguments.data), 24)

    def of_failures() -> Image.Image:
        page, told = failures(engine, arguments.evaluation)
        print(told)
        return page

    makers = {
        "reconstructions": of_drawings,
        "failures": of_failures,
        "snapshots": lambda: snapshots(arguments.snapshots),
    }
    for name, make in makers.items():
        try:
            save(make(), arguments.out / f"{name}.webp")
        except Missing as reason:
            print(f"No {name}.webp: {reason}.")
    return 0
