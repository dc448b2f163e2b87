"""Paths between two prompts: how long they are to the eye, and how even their steps.

Distances are between unit embeddings of the evaluator, so "perceptual" means what this small network sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from dalle.engine import Engine
from dalle.images import from_pil
from dalle.requests import InterpolateRequest
from train.evaluation.looking import look
from train.evaluator import Evaluator

PAIRS = (
    ("a red apple", "a yellow sun"),
    ("a cat", "a dog"),
    ("a rocket", "a green tree"),
    ("a house", "a castle"),
    ("a red heart", "a strawberry"),
    ("a blue car", "a bicycle"),
    ("a grinning face", "a pumpkin"),
    ("a butterfly", "an umbrella"),
)
FRAMES = 33
FIRST_SEED = 7_000_000
PACINGS = ("even", "raw")


NEAR = 0.2
"""Distance of the ends' unit embeddings below which a path leads nowhere, and has no length to compare its steps with."""


def path_request(pair: tuple[str, str], seed: int, frames: int, steps: int, guidance: float, pacing: str) -> InterpolateRequest:
    return InterpolateRequest(*pair, seed, seed + 1, frames, num_inference_steps=steps, guidance_scale=guidance, pacing=pacing)


def draw_path(engine: Engine, request: InterpolateRequest) -> Tensor:
    """The frames in their order, (F, 4, 256, 256) premultiplied in [-1, 1]."""
    found = sorted(engine.interpolate(request), key=lambda frame: frame.index)
    return from_pil([frame.image for frame in found])


def cross_fade(first: Tensor, last: Tensor, frames: int) -> Tensor:
    """Pictures (4, H, W) laid over each other, more and more of the last: (F, 4, H, W)."""
    return torch.stack([torch.lerp(first, last, place / (frames - 1)) for place in range(frames)])


def steps_of(evaluator: Evaluator, frames: Tensor, nearest: Callable[[Tensor], list[float]]) -> dict[str, object]:
    """Embedding distances from frame to frame, from the first to the last, and of three frames to the training drawings.

    Args:
        nearest: embeddings (N, D) -> 1 - cosine to the training drawing that is nearest.
    """
    seen = look(evaluator, frames).embeddings
    first, middle, last = nearest(seen[[0, len(seen) // 2, -1]])
    steps = (seen[1:] - seen[:-1]).norm(dim=1).tolist()
    return {"steps": steps, "ends": float((seen[-1] - seen[0]).norm()), "middle": middle, "at_ends": (first + last) / 2}


def path_length(steps: Iterable[float], ends: float) -> float | None:
    """Mean of (d / e)^2 over steps of e = 1 / (F - 1) (perceptual path length, Karras et al. 2018, arXiv:1812.04948), over ends^2.

    1 for a straight path in even steps from end to end, F - 1 for one jump; None where the ends are too near to each other.
    """
    steps = list(steps)
    return len(steps) * sum(step**2 for step in steps) / ends**2 if ends >= NEAR else None


def unevenness(steps: Iterable[float], ends: float) -> float | None:
    """Largest step over median step; 1 for an even path, None where the ends are too near to each other."""
    steps = torch.tensor(list(steps))
    return float(steps.max() / steps.quantile(0.5).clamp(min=1e-9)) if ends >= NEAR else None
