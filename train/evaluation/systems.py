"""What is measured: anything that draws a picture for a prompt and a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from dalle.config import CheckpointError
from dalle.engine import Engine
from dalle.hub import WEIGHTS, read_json, resolve, sha256
from dalle.sampling import draw_noise
from dalle.text import TextEncoder
from train.evaluation.looking import pooled_vectors
from train.latents import TRAINED_WITH

CANDIDATES = 4
"""Pictures of which the ranker keeps the best."""
NEXT_CANDIDATE = 1_000_000
"""Between the seeds of two candidates."""


class System(Protocol):
    """`name`: as the table says it, and the name of its parts on the disk."""

    name: str

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Premultiplied RGBA (B, 4, 256, 256) in [-1, 1] on the CPU."""
        ...


class Model:
    """The checkpoint with a number of steps; with `candidates` above 1, the best of them by its own ranker."""

    def __init__(self, engine: Engine, steps: int, guidance: float, candidates: int = 1) -> None:
        self.engine, self.steps, self.guidance, self.candidates = engine, steps, guidance, candidates
        self.name = f"{steps} step{'s' if steps > 1 else ''}" + (f", best of {candidates}" if candidates > 1 else "")

    @torch.inference_mode()
    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        pipeline = self.engine.wait()
        text = pipeline.encode_prompt(prompts)
        best, best_scores = None, None
        for candidate in range(self.candidates):
            generators = [torch.Generator().manual_seed(seed + candidate * NEXT_CANDIDATE) for seed in seeds]
            *_, latents = pipeline.trajectory(draw_noise(generators), text, self.steps, self.guidance)
            pixels = pipeline.decode_latents(latents)
            if self.candidates == 1:
                return pixels.float().cpu()
            scores = (pipeline.ranker.pictures(pixels) * pipeline.ranker.texts(text)).sum(1)
            if best is None:
                best, best_scores = pixels, scores
            else:
                better = scores > best_scores
                best = torch.where(better[:, None, None, None], pixels, best)
                best_scores = torch.where(better, scores, best_scores)
        return best.float().cpu()


def finite(pixels: Tensor, name: str) -> Tensor:
    """The pixels as they are.

    Raises:
        CheckpointError: some are no numbers, so that the pictures can't be judged.
    """
    if not torch.isfinite(pixels).all():
        raise CheckpointError(f"{name} draws pictures with pixels that are no numbers: its weights are damaged, or have diverged.")
    return pixels


def ranker_of(engine: Engine) -> str | None:
    """Hash of the checkpoint's ranker, or None where it has none."""
    if getattr(engine.wait(), "ranker", None) is None:
        return None
    path = resolve(engine.model) / "ranker" / WEIGHTS
    return sha256(path)[:12] if path.exists() else "unsaved"


class Classic:
    """The textbook baseline: a text-conditioned DCGAN that draws on opaque white.

    Args:
        encoder: MiniLM, whose sentence vectors it was trained with.
    """

    name = "baseline"

    def __init__(self, folder: Path, encoder: TextEncoder) -> None:
        from train.classic import load_classic

        self.generator, self.encoder, self.folder = load_classic(folder), encoder, folder

    @property
    def hash(self) -> str:
        return "".join(sha256(path)[:12] for path in sorted(self.folder.rglob("*.safetensors")))

    @property
    def trained_with(self) -> dict[str, object]:
        """What its export says of its training: samples seen, and minutes; nothing where an older export does not."""
        path = self.folder / TRAINED_WITH
        return read_json(path) if path.exists() else {}

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        numbers = int(self.generator.config.z_dim)
        z = torch.stack([torch.randn(numbers, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        return self.generator.draw(pooled_vectors(self.encoder, prompts), z).float().cpu()

    def draw_path(self, pair: tuple[str, str], seed: int, frames: int) -> Tensor:
        """Noise and text both mixed on the sphere, as the model's raw paths are: (F, 4, 256, 256)."""
        from dalle.interpolation import slerp

        ends = pooled_vectors(self.encoder, pair)
        noises = [torch.randn(int(self.generator.config.z_dim), generator=torch.Generator().manual_seed(seed + k)) for k in (0, 1)]
        places = [place / (frames - 1) for place in range(frames)]
        text = torch.stack([slerp(ends[0], ends[1], place) for place in places])
        z = torch.stack([slerp(noises[0], noises[1], place) for place in places])
        return self.generator.draw(text, z).float().cpu()


def find_classic(folder: Path, encoder: TextEncoder) -> Classic | None:
    """The baseline in a folder, or None where there is no such folder.

    Raises:
        CheckpointError: there is one, and it can't be loaded.
    """
    if not folder.is_dir():
        return None
    try:
        return Classic(folder, encoder)
    except ImportError as error:
        raise CheckpointError(f"The baseline in {folder} needs train/classic.py: {error}.") from error


def in_chunks(count: int, size: int) -> list[range]:
    return [range(begin, min(begin + size, count)) for begin in range(0, count, size)]
