"""`python -m train evaluate`: measures a checkpoint and prints one table, with floor and ceiling beside each figure."""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from dalle.config import DEFAULT_GUIDANCE, DEFAULT_STEPS, CheckpointError
from dalle.engine import Engine
from dalle.hub import WEIGHTS, sha256
from dalle.images import storage_error, write_whole
from dalle.pipeline import check_settings
from dalle.sampling import draw_noise
from train.data import SpriteStore
from train.data.captions import with_article
from train.data.store import spread
from train.evaluator import Evaluator, evaluator_input, load_evaluator, r_precision
from train.losses import over, psnr

CANDIDATES = 100
FIRST_SEED = 5_000_000


@dataclass
class Row:
    """One line of the table; what does not apply is None."""

    figure: str
    value: float
    floor: float | None = None
    floor_is: str = ""
    ceiling: float | None = None
    ceiling_is: str = ""


def pixels_of(store: SpriteStore, row: int) -> Tensor:
    """One drawing as (1, 4, 256, 256) in [-1, 1]."""
    return torch.from_numpy(store.pixels[row].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


class Work:
    """Results kept as they are made, so that an interrupted evaluation goes on where it stopped."""

    def __init__(self, path: Path, key: dict[str, object]) -> None:
        self.path, self.key = path, key
        self.done: dict[str, object] = {}
        if path.exists():
            try:
                saved = json.loads(path.read_text(encoding="utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError):
                saved = {}
            if saved.get("key") == key:
                self.done = saved["done"]

    def keep(self, name: str, value: object) -> None:
        self.done[name] = value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps({"key": self.key, "done": self.done}).encode())


def reconstruction(engine: Engine, store: SpriteStore, rows: list[int], bar: tqdm) -> tuple[float, float]:
    """(PSNR of reconstructions over white, PSNR of the blurred originals), means in dB."""
    vae = engine.wait().vae
    dtype, device = next(vae.parameters()).dtype, next(vae.parameters()).device
    found, blurred = [], []
    for row in rows:
        pixels = pixels_of(store, row)
        with torch.inference_mode():
            x = pixels.to(device, dtype).contiguous(memory_format=torch.channels_last)
            again = vae.from_latents(vae.to_latents(x)).cpu()
        small = torch.nn.functional.interpolate(pixels, scale_factor=1 / 8, mode="area")
        blur = torch.nn.functional.interpolate(small, scale_factor=8, mode="bilinear", align_corners=False)
        reference = over(pixels, 1.0)
        found.append(float(psnr(over(again, 1.0), reference)))
        blurred.append(float(psnr(over(blur, 1.0), reference)))
        bar.update()
    return sum(found) / len(found), sum(blurred) / len(blurred)


def draw(engine: Engine, prompt: str, seed: int, steps: int, guidance: float) -> Tensor:
    """The picture of a prompt and a seed, premultiplied (1, 4, 256, 256)."""
    pipeline = engine.wait()
    noise = draw_noise([torch.Generator().manual_seed(seed)])
    text = pipeline.encode_prompt(prompt)
    *_, latents = pipeline.trajectory(noise, text, steps, guidance)
    return pipeline.decode_latents(latents).cpu()


@torch.inference_mode()
def picture_vector(evaluator: Evaluator, pixels: Tensor) -> list[float]:
    return evaluator.pictures(evaluator_input(pixels))[0].tolist()


def text_matching(vectors: Tensor, texts: Tensor, names: list[str]) -> tuple[float, float]:
    """(R-precision, the same with every picture judged against its neighbour's prompt)."""
    similarity = vectors @ texts.T
    shuffled = similarity.roll(1, dims=0)
    return r_precision(similarity, names, CANDIDATES), r_precision(shuffled, names, CANDIDATES)


def markdown(rows: list[Row], facts: dict[str, object]) -> str:
    def cell(value: float | None, note: str = "") -> str:
        return "" if value is None else f"{value:.3f}{f' ({note})' if note else ''}"

    lines = ["| figure | value | floor | ceiling |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row.figure} | **{row.value:.3f}** | {cell(row.floor, row.floor_is)} | {cell(row.ceiling, row.ceiling_is)} |"
        for row in rows
    ]
    told = ", ".join(f"{name}: {value}" for name, value in facts.items())
    return "\n".join(lines) + f"\n\n{told}.\n"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train evaluate", description=__doc__)
    parser.add_argument("--model", default="checkpoints/default", help="checkpoint folder or Hub id")
    parser.add_argument("--evaluator", type=Path, default=Path("checkpoints/evaluator"))
    parser.add_argument("--data", type=Path, default=Path("data/sprites"))
    parser.add_argument("--split", default="test", choices=("val", "test"), help="test reports; val selects")
    parser.add_argument("--out", type=Path, default=Path("docs/evaluation"), help="name of the .json and .md to write")
    parser.add_argument("--count", type=int, default=300, help="held-out drawings and prompts")
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    parser.add_argument("--guidance", type=float, default=DEFAULT_GUIDANCE)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)

    check_settings(arguments.steps, arguments.guidance)
    store = SpriteStore.open(arguments.data)
    rows = spread(store.rows(arguments.split), arguments.count)
    candidates = min(CANDIDATES, len({store.records[row].label for row in rows}))
    if candidates < CANDIDATES and arguments.split == "test":
        raise CheckpointError(
            f"{candidates} different things among {len(rows)} held-out drawings, and {CANDIDATES} are needed: raise --count, "
            f"or render the data in {arguments.data} again with `python -m train data`."
        )
    try:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, arguments.out) from error
    evaluator = load_evaluator(arguments.evaluator)
    engine = Engine(arguments.model, arguments.device)
    engine.load()
    names = [store.records[row].label for row in rows]
    prompts = [with_article(name) for name in names]
    facts: dict[str, object] = {
        "model": arguments.model,
        "revision": engine.revision,
        "evaluator": sha256(arguments.evaluator / WEIGHTS)[:12],
        "data": str(store.meta.get("fingerprint"))[:12],
        "split": arguments.split,
        "drawings and prompts": len(rows),
        "steps": arguments.steps,
        "guidance": arguments.guidance,
    }
    work = Work(Path("runs/evaluate") / f"{arguments.split}-{engine.revision}.json", dict(facts))
    before = float(work.done.get("minutes", 0.0))
    began = time.monotonic()
    bar = tqdm(total=2 * len(rows), desc="evaluate", unit="picture", mininterval=2)
    if "reconstruction" not in work.done:
        work.keep("reconstruction", reconstruction(engine, store, rows, bar))
    drawn: list[list[float]] = list(work.done.get("drawn", []))
    bar.update(len(drawn))
    for index in range(len(drawn), len(rows)):
        pixels = draw(engine, prompts[index], FIRST_SEED + index, arguments.steps, arguments.guidance)
        drawn.append(picture_vector(evaluator, pixels))
        bar.update()
        if index % 25 == 24 or index + 1 == len(rows):
            work.keep("drawn", drawn)
    bar.close()

    with torch.inference_mode():
        pooled = engine.wait().text.encode(prompts).pooled.cpu()
        texts = evaluator.texts(pooled)
    real = torch.tensor([picture_vector(evaluator, pixels_of(store, row)) for row in rows])
    found, control = text_matching(torch.tensor(drawn), texts, names)
    ceiling, _ = text_matching(real, texts, names)
    value, floor = work.done["reconstruction"]
    table = [
        Row("reconstruction PSNR, dB, 256 px over white", value, floor, "picture blurred to 32 px"),
        Row(f"R-precision, 1 of {candidates}", found, control, "shuffled prompts", ceiling, "real held-out drawings"),
    ]
    facts |= {"machine": f"{platform.machine()}, {torch.get_num_threads()} threads", "torch": torch.__version__}
    minutes = before + (time.monotonic() - began) / 60
    work.keep("minutes", minutes)
    facts["minutes"] = round(minutes, 1)
    report = {"facts": facts, "rows": [asdict(row) for row in table]}
    write_whole(arguments.out.with_suffix(".json"), (json.dumps(report, indent=2) + "\n").encode())
    text = markdown(table, facts)
    write_whole(arguments.out.with_suffix(".md"), text.encode())
    print(text)
    return 0
