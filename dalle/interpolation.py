"""Paths through the latent space: mixtures of noise and of text, even pacing, and the order in which frames are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dalle.config import MAX_NOISES
from dalle.text import TextFeatures


def slerp(a: Tensor, b: Tensor, position: float) -> Tensor:
    """Spherical interpolation along the last axis (Shoemake 1985); straight where the vectors are nearly parallel.

    The angle is that of whole vectors; the length runs linearly from |a| to |b|.
    """
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    unit_a, unit_b = a / length_a.clamp(min=1e-12), b / length_b.clamp(min=1e-12)
    cosine = (unit_a * unit_b).sum(-1, keepdim=True).clamp(-1, 1)
    angle = cosine.acos()
    straight = F.normalize(torch.lerp(unit_a, unit_b, position), dim=-1)
    sine = angle.sin()
    arc = (((1 - position) * angle).sin() * unit_a + (position * angle).sin() * unit_b) / sine.clamp(min=1e-12)
    direction = torch.where(sine < 1e-4, straight, arc)
    return direction * torch.lerp(length_a, length_b, position)


def mix_noise(noises: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted sum of noises brought back to unit variance.

    For independent noises this is sum(w_i z_i) / sqrt(sum(w_i^2)), which equals slerp for two of them; measured correlations
    are taken into account, so that a mixture of one noise with itself is that noise.
    """
    stacked = torch.stack([noise.flatten() for noise in noises])
    w = stacked.new_tensor(list(weights))
    lengths = stacked.norm(dim=1)
    correlation = (stacked @ stacked.T) / (lengths[:, None] * lengths[None])
    # Off the diagonal only true overlap counts: chance correlation of independent noises is about 1/sqrt(d).
    correlation = torch.where(correlation.abs() < 0.2, torch.eye(len(noises)).to(correlation), correlation)
    scale = (w @ correlation @ w).clamp(min=1e-8).sqrt()
    return ((w @ stacked) / scale).view_as(noises[0])


def varied(base: Sequence[tuple[int, float]], seed: int, strength: float) -> list[tuple[int, float]]:
    """The recipe of a noise some way from that of `base` to that of `seed`, along the arc between them.

    Args:
        base: a recipe, that is pairs of seed and weight, as `mix_noise` mixes them.
        strength: 0 is the noise of `base`, 1 that of `seed`.

    Where a recipe becomes longer than `MAX_NOISES`, what weighs least in `base` is left out.
    """
    kept = sorted(sorted(range(len(base)), key=lambda place: -abs(base[place][1]))[: MAX_NOISES - 1])
    length = math.sqrt(sum(base[place][1] ** 2 for place in kept))
    angle = strength * math.pi / 2
    recipe = [(base[place][0], math.cos(angle) * base[place][1] / length) for place in kept] if strength < 1 else []
    return [*recipe, (seed, math.sin(angle))] if strength > 0 else recipe


def mix_text(texts: Sequence[TextFeatures], weights: Sequence[float]) -> TextFeatures:
    """A mixture of prompts, each given as features of one row, as one row; weights are at least 0, and one is above.

    The image attends to the tokens of all prompts at once, with log(weight) added to the attention logits. So a weight of 1
    is that prompt exactly, the path between two prompts is smooth, and mixing a prompt with itself changes nothing. The
    pooled vectors are averaged on the sphere.
    """
    pairs = [(text, weight) for text, weight in zip(texts, weights, strict=True) if weight > 0]
    texts, weights = [text for text, _ in pairs], [weight for _, weight in pairs]
    if len(texts) == 1:
        return texts[0]
    tokens = torch.cat([text.tokens for text in texts], dim=1)
    logs = [torch.tensor(float(weight)).log() for weight in weights]
    bias = torch.cat([text.bias + log.to(text.bias) for text, log in zip(texts, logs, strict=True)], dim=1)
    if len(texts) == 2:
        pooled = slerp(texts[0].pooled, texts[1].pooled, float(weights[1]) / max(1e-12, sum(weights)))
    else:
        pooled = F.normalize(sum(w * text.pooled for w, text in zip(weights, texts, strict=True)), dim=-1)
    return TextFeatures(tokens, bias, pooled, torch.cat([text.places for text in texts], dim=1))


def coarse_to_fine(frames: int) -> Iterator[int]:
    """Every index of 0..frames-1 once: both ends and the middle first, then halving the gaps (5, 9, 17, 33 frames)."""
    seen: set[int] = set()
    parts = 1
    while len(seen) < frames:
        for place in range(parts + 1):
            index = round(place * (frames - 1) / parts)
            if index not in seen:
                seen.add(index)
                yield index
        parts *= 2


def even_positions(positions: Sequence[float], gaps: Sequence[float], frames: int) -> list[float]:
    """Positions of `frames` pictures that are equally far from each other along a path that was measured at `positions`.

    Args:
        positions: rising, from 0 to 1.
        gaps: distance between the pictures at neighbouring positions, one fewer.
    """
    length = np.concatenate([[0.0], np.cumsum(np.asarray(gaps, dtype=np.float64))])
    if not length[-1] > 0:
        return np.linspace(0, 1, frames).tolist()
    # A little of the raw pace keeps the map invertible where pictures do not change at all.
    length = length / length[-1] + 1e-3 * np.asarray(positions)
    found = np.interp(np.linspace(0, length[-1], frames), length, positions)
    found[0], found[-1] = 0.0, 1.0
    return found.tolist()


def pace(looks_at: Callable[[list[float]], Tensor], frames: int, measured: int = 17, refined: int = 8) -> list[float]:
    """Positions at which the pictures of a path change evenly.

    The path is sampled at `measured` even positions, then twice more where it changes fastest: where the picture turns from one
    thing into another, the distance between two samples says nothing of where between them it happened.

    Args:
        looks_at: positions -> vectors (N, ...), cheap estimates of how the pictures there look.
        frames: how many positions are wanted; the first is 0 and the last is 1.
    """
    positions = np.linspace(0, 1, measured).tolist()
    looks = looks_at(positions).float()
    for _ in range(2):
        gaps = (looks[1:] - looks[:-1]).flatten(1).norm(dim=1).tolist()
        usual = sum(gaps) / max(1, frames - 1)
        wide = sorted(range(len(gaps)), key=lambda place: -gaps[place])[:refined]
        wide = sorted(place for place in wide if gaps[place] > usual)
        if not wide:
            break
        between = [(positions[place] + positions[place + 1]) / 2 for place in wide]
        more = looks_at(between).float()
        order = np.argsort([*positions, *between], kind="stable").tolist()
        positions = [[*positions, *between][index] for index in order]
        looks = torch.cat([looks, more])[order]
    gaps = (looks[1:] - looks[:-1]).flatten(1).norm(dim=1).tolist()
    return even_positions(positions, gaps, frames)
