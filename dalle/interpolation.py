"""Paths through the latent space: mixtures of noise and of text, even pacing, where frames lie and in which order they come."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

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


@dataclass(frozen=True)
class Route:
    """How the frames of a path lie on its legs, the ways from one stage to the next.

    Attributes:
        gaps: steps from frame to frame on each leg, at least 1.
        loop: whether the last leg leads back to the first stage; its end is then the first frame, which is there already.
    """

    gaps: tuple[int, ...]
    loop: bool = False

    @classmethod
    def shared_out(cls, frames: int, lengths: Sequence[float], loop: bool = False) -> Route:
        """So many frames over legs of these lengths, at least one step each; there must be as many steps as legs."""
        steps = frames if loop else frames - 1
        spare = steps - len(lengths)
        wanted = [spare * length / sum(lengths) for length in lengths]
        gaps = [1 + math.floor(share) for share in wanted]
        # What rounding leaves goes where it is missed most (the largest remainder).
        missed = sorted(range(len(gaps)), key=lambda leg: math.floor(wanted[leg]) - wanted[leg])
        for leg in missed[: steps - sum(gaps)]:
            gaps[leg] += 1
        return cls(tuple(gaps), loop)

    @property
    def frames(self) -> int:
        return sum(self.gaps) + (0 if self.loop else 1)

    @property
    def stages(self) -> list[int]:
        """Index of each stage's frame."""
        ends = [0, *accumulate(self.gaps)]
        return ends[:-1] if self.loop else ends

    def place(self, index: int) -> tuple[int, int]:
        """Leg of a frame, and its step on it; a stage is where a leg begins, and the last of a path where its last leg ends."""
        leg = min(bisect_right(self.stages, index) - 1, len(self.gaps) - 1)
        return leg, index - self.stages[leg]

    def levels(self) -> Iterator[list[int]]:
        """Every index once, coarse to fine: first the stages, then again and again what halves the gaps of every leg."""
        seen: set[int] = set()
        parts = 1
        starts = [0, *accumulate(self.gaps)][:-1]
        while len(seen) < self.frames:
            level = []
            for start, gap in zip(starts, self.gaps, strict=True):
                for part in range(parts + 1):
                    index = (start + round(part * gap / parts)) % self.frames
                    if index not in seen:
                        seen.add(index)
                        level.append(index)
            yield level
            parts *= 2


def even_positions(
    positions: Sequence[float], gaps: Sequence[float], frames: int, fixed: Mapping[int, float] | None = None
) -> list[float]:
    """Positions of `frames` pictures that are equally far from each other along a path that was measured at `positions`.

    Args:
        positions: rising, from 0 to 1.
        gaps: distance between the pictures at neighbouring positions, one fewer.
        fixed: frames whose positions are settled, rising; the others are even between each two of them.
    """
    length = np.concatenate([[0.0], np.cumsum(np.asarray(gaps, dtype=np.float64))])
    known = {0: 0.0, **(fixed or {}), frames - 1: 1.0}
    if not length[-1] > 0:
        return np.interp(range(frames), sorted(known), [known[frame] for frame in sorted(known)]).tolist()
    # A little of the raw pace keeps the map invertible where pictures do not change at all.
    length = length / length[-1] + 1e-3 * np.asarray(positions)
    found = np.zeros(frames)
    for start, end in pairwise(sorted(known)):
        low, high = np.interp([known[start], known[end]], positions, length)
        found[start : end + 1] = np.interp(np.linspace(low, high, end - start + 1), length, positions)
        found[start], found[end] = known[start], known[end]
    return found.tolist()


class Pace:
    """Positions at which the pictures of a way change evenly, roughly at once and finely after looking closer."""

    def __init__(self, looks_at: Callable[[list[float]], Tensor], measured: int = 17) -> None:
        """Looks at `measured` even positions.

        Args:
            looks_at: positions -> vectors (N, ...), cheap estimates of how the pictures there look.
        """
        self._looks_at = looks_at
        self._positions = np.linspace(0, 1, measured).tolist()
        self._looks = looks_at(self._positions).float()

    def _gaps(self) -> list[float]:
        return (self._looks[1:] - self._looks[:-1]).flatten(1).norm(dim=1).tolist()

    def refine(self, frames: int, refined: int = 8) -> None:
        """Looks twice more where the way changes fastest, for so many frames.

        Where the picture turns from one thing into another, the distance between two samples says nothing of where between them it
        happened.
        """
        for _ in range(2):
            gaps = self._gaps()
            usual = sum(gaps) / max(1, frames - 1)
            wide = sorted(range(len(gaps)), key=lambda place: -gaps[place])[:refined]
            wide = sorted(place for place in wide if gaps[place] > usual)
            if not wide:
                break
            between = [(self._positions[place] + self._positions[place + 1]) / 2 for place in wide]
            more = self._looks_at(between).float()
            order = np.argsort([*self._positions, *between], kind="stable").tolist()
            self._positions = [[*self._positions, *between][index] for index in order]
            self._looks = torch.cat([self._looks, more])[order]

    def even(self, frames: int, fixed: Mapping[int, float] | None = None) -> list[float]:
        """So many positions, the first 0 and the last 1; those of `fixed` frames stay, and the others are even between them."""
        return even_positions(self._positions, self._gaps(), frames, fixed)


def pace(looks_at: Callable[[list[float]], Tensor], frames: int) -> list[float]:
    """The fine positions of so many frames, see `Pace`."""
    found = Pace(looks_at)
    found.refine(frames)
    return found.even(frames)
