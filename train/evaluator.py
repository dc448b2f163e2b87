"""`python -m train evaluator`: the frozen judge of evaluations, a small picture encoder that meets the text encoder half-way.

Trained with the contrastive loss of CLIP (Radford et al. 2021, arXiv:2103.00020) on real drawings of the training split
alone, some of them recoloured as composed scenes are, so that it knows a purple lemon when it sees one; it never sees a
generated picture, and nothing is ever trained, ranked or chosen with it.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from dalle.config import COLOURS, TEXT_DIM, CheckpointError
from dalle.hub import WEIGHTS, check_weights, read_json
from dalle.text import TextEncoder
from train.data import SpriteStore
from train.data.captions import with_article, without_colour
from train.data.scenes import recolour
from train.data.store import small_pictures
from train.loop import Loop, RunConfig, add_run_arguments, make_accelerator, run_config, step_generator
from train.losses import over

INPUT_SIZE = 64
RECOLOURED = 0.25
"""Share of the drawings that can be recoloured that are; half of them with the colour in their text."""


class Evaluator(ModelMixin, ConfigMixin):
    """Pictures and sentence vectors -> unit vectors of a common space.

    Works at 32x32 and below: the same training time shows it twice the drawings that a first layer at 64x64 would.
    """

    @register_to_config
    def __init__(
        self, channels: tuple[int, ...] = (48, 96, 192, 320), dim: int = 192, text_dim: int = TEXT_DIM
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in pairwise((3, *channels)):
            layers += [nn.Conv2d(before, width, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.picture_head = nn.Linear(channels[-1] * 2, dim)
        self.text_head = nn.Sequential(nn.Linear(text_dim, 384), nn.ReLU(), nn.Linear(384, dim))
        self.log_scale = nn.Parameter(torch.tensor(2.5))

    def pictures(self, x: Tensor) -> Tensor:
        """RGB (B, 3, 64, 64) in [0, 1] -> (B, dim), unit norm."""
        h = self.body(x * 2 - 1)
        return F.normalize(self.picture_head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1)).float(), dim=-1)

    def texts(self, pooled: Tensor) -> Tensor:
        """Sentence vectors (B, text_dim) -> (B, dim), unit norm."""
        return F.normalize(self.text_head(pooled).float(), dim=-1)

    def forward(self, x: Tensor, pooled: Tensor) -> Tensor:
        """Similarity of every picture with every text, scaled: (B, B)."""
        return self.log_scale.exp() * self.pictures(x) @ self.texts(pooled).T


def evaluator_input(pixels: Tensor) -> Tensor:
    """Premultiplied RGBA (B, 4, H, W) in [-1, 1] -> RGB over white (B, 3, 64, 64) in [0, 1]."""
    small = F.interpolate(pixels.float(), size=(INPUT_SIZE, INPUT_SIZE), mode="area")
    return over(small, 1.0).clamp(0, 1)


def load_evaluator(folder: Path) -> Evaluator:
    """Raises CheckpointError where the evaluator is missing or damaged."""
    check_weights(folder / WEIGHTS)
    if (found := read_json(folder / "config.json").get("_class_name")) != Evaluator.__name__:
        raise CheckpointError(f"{folder} holds a {found}, not an evaluator.")
    try:
        return Evaluator.from_pretrained(folder, dtype=torch.float32).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"The evaluator in {folder} can't be loaded: {error}") from error


class EvaluatorTask:
    averaged = "evaluator"

    def __init__(
        self, store: SpriteStore, encoder: TextEncoder, config: RunConfig, accelerator: Accelerator, out: Path
    ) -> None:
        self.config, self.accelerator, self.out = config, accelerator, out
        self.rows = store.rows("train")
        self.pixels = small_pictures(store, self.rows, INPUT_SIZE)
        labels = [store.records[row].label for row in self.rows]
        self.concepts, self.concept_of = np.unique(labels, return_inverse=True)
        texts = [with_article(label) for label in self.concepts.tolist()]
        self.pooled = torch.cat([encoder.encode(texts[i : i + 128]).pooled.cpu() for i in range(0, len(texts), 128)])
        self.encoder = encoder
        self._pooled: dict[str, Tensor] = {}
        bare = [without_colour(label) for label in labels]
        self.bare = [name if name and store.records[row].colour else None for name, row in zip(bare, self.rows, strict=True)]
        self.by_concept = [np.flatnonzero(self.concept_of == c) for c in range(len(self.concepts))]
        val = store.rows("val")
        self.val_x = evaluator_input(small_pictures(store, val, INPUT_SIZE).float() / 127.5 - 1)
        self.val_pooled = encoder.encode([with_article(store.records[row].label) for row in val]).pooled.cpu()
        self.val_names = [store.records[row].label for row in val]
        torch.manual_seed(config.seed)
        evaluator = Evaluator().to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(evaluator.parameters(), lr=2e-3, weight_decay=0.05)
        self.wrapped, optimizer = accelerator.prepare(evaluator, optimizer)
        self.modules: dict[str, nn.Module] = {"evaluator": evaluator}
        self.optimizers = {"evaluator": optimizer}

    def step(self, step: int, progress: float) -> dict[str, Tensor | float]:
        self.modules["evaluator"].train()
        generator = step_generator(self.config.seed, step, self.accelerator.process_index)
        size = min(self.config.batch_size, len(self.concepts))
        chosen = torch.randperm(len(self.concepts), generator=generator)[:size].tolist()
        picks = torch.rand(size, generator=generator).tolist()
        rows = [self.by_concept[c][int(p * len(self.by_concept[c]))] for c, p in zip(chosen, picks, strict=True)]
        x, pooled = self._recoloured(rows, self.pixels[rows].float() / 255, self.pooled[chosen], generator)
        # Random background, size, place and mirror image: what is drawn counts, not where.
        paint = torch.rand(size, 3, 1, 1, generator=generator)
        white = torch.rand(size, 1, 1, 1, generator=generator) < 0.5
        x = x[:, :3] + (1 - x[:, 3:]) * torch.where(white, 1.0, paint)
        fill = torch.where(white, 1.0, paint)
        scale = 1 / (0.55 + 0.5 * torch.rand(size, generator=generator))
        mirror = torch.where(torch.rand(size, generator=generator) < 0.5, -1.0, 1.0)
        shift = (torch.rand(size, 2, generator=generator) - 0.5) * 0.4
        theta = torch.zeros(size, 2, 3)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * mirror, scale, shift
        grid = F.affine_grid(theta, [size, 3, INPUT_SIZE, INPUT_SIZE], align_corners=False)
        x = F.grid_sample(x - fill, grid, align_corners=False) + fill
        device = self.accelerator.device
        x = x.to(device, memory_format=torch.channels_last)
        with self.accelerator.autocast():
            logits = self.wrapped(x, pooled.to(device)).float()
        target = torch.arange(size, device=device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer = self.optimizers["evaluator"]
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        optimizer.step()
        return {"loss": loss.detach(), "accuracy": (logits.argmax(1) == target).float().mean()}

    def _recoloured(self, rows: list[int], x: Tensor, pooled: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Drawings (B, 4, 64, 64) in [0, 1], some in other colours, and the vectors of what they show then."""
        paints = [paint for paint in COLOURS if paint not in ("black", "white", "gray")]
        draws = torch.rand(len(rows), 3, generator=generator).tolist()
        chosen = [place for place, row in enumerate(rows) if self.bare[row] and draws[place][0] < RECOLOURED]
        if not chosen:
            return x, pooled
        x, pooled = x.clone(), pooled.clone()
        names = [paints[int(draws[place][1] * len(paints))] for place in chosen]
        x[chosen] = recolour(x[chosen], torch.tensor([COLOURS[name] for name in names]) / 255)
        for place, name in zip(chosen, names, strict=True):
            bare = self.bare[rows[place]]
            said = f"{name} {bare}" if draws[place][2] < 0.5 else bare
            pooled[place] = self._vector(with_article(said, bare))
        return x, pooled

    def _vector(self, text: str) -> Tensor:
        if text not in self._pooled:
            self._pooled[text] = self.encoder.encode([text]).pooled[0].cpu()
        return self._pooled[text]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        evaluator = self.modules["evaluator"].eval()
        device = self.accelerator.device
        similarity = evaluator.pictures(self.val_x.to(device)) @ evaluator.texts(self.val_pooled.to(device)).T
        return {"val_r_precision": r_precision(similarity.cpu(), self.val_names, 100)}

    def sample(self) -> None:
        """An evaluator draws nothing."""

    def export(self) -> None:
        half = Evaluator.from_config(self.modules["evaluator"].config)
        half.load_state_dict(self.modules["evaluator"].state_dict())
        half.half().save_pretrained(self.out)


def r_precision(similarity: Tensor, names: list[str], candidates: int, seed: int = 0) -> float:
    """Share of rows whose own column wins against candidates - 1 columns of other names, drawn with the seed.

    Args:
        similarity: (N, N), row i is the picture made for names[i], column j the text of names[j].
    """
    generator = torch.Generator().manual_seed(seed)
    wins = 0
    for row, name in enumerate(names):
        order = torch.randperm(len(names), generator=generator).tolist()
        others = list({names[j]: j for j in order if names[j] != name}.values())[: candidates - 1]
        wins += int(similarity[row, row] > similarity[row, others].max())
    return wins / len(names)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train evaluator", description=__doc__.splitlines()[0])
    add_run_arguments(parser, "evaluator", batch_size=256, seed=4242, sample_steps=200, warmup_steps=50, log_steps=20)
    # A long average of a short run lags behind its weights, and its batch statistics are not its own.
    parser.set_defaults(ema_decay=0.9)
    parser.add_argument("--data", type=Path, default=Path("data/sprites"))
    parser.add_argument("--out", type=Path, default=Path("runs/evaluator/evaluator"), help="the frozen one is never written over")
    arguments = parser.parse_args(argv)
    config = run_config(arguments)
    store = SpriteStore.open(arguments.data)
    task = EvaluatorTask(store, TextEncoder.load(), config, make_accelerator(), arguments.out)
    Loop(task, config, task.accelerator).fit()
    return 0
