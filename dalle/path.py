"""The latents along a path through several stages: between pictures that are made of noise and text, and between any two.

Drawing itself is a function that is handed in, so that whoever owns the model can let others have a turn in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from dalle.config import REDRAWN, REDRAWN_WITHOUT_TEXT
from dalle.interpolation import Pace, Route, mix_noise, mix_text
from dalle.text import TextFeatures

if TYPE_CHECKING:
    from dalle.models import Model

LOOKS = 17
"""Rows of one step that are drawn at once: those by which a leg is paced. More than of several steps, since it is over sooner."""

Point = tuple[int, float]
"""A place on a path: the leg, and the share of the stage that it leads to, 0 to 1."""


class Draw(Protocol):
    """Noise and text of B rows -> latents, in so many steps; with `start` (B,), of latents that are so noisy."""

    def __call__(self, noise: Any, text: Any, steps: int, start: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class End:
    """A stage of a path.

    Attributes:
        noise: one row, as the model has it: (1, C, S, S) of one of this project.
        text: one row; None where nobody said what the picture shows.
        given: finds the latents (1, C, S, S) of a picture that does not follow from noise and text alone.
    """

    noise: Any
    text: Any
    given: Callable[[], Tensor] | None = None


class Path:
    """Where each frame of a path lies, and the latents there."""

    def __init__(self, ends: Sequence[End], route: Route, draw: Draw, steps: int, model: Model, *, even: bool = True) -> None:
        """`draw` draws with `model`."""
        self._ends, self._route, self._draw, self._steps = ends, route, draw, steps
        self._even, self._batch, self._model = even, model.batch, model
        self._paces: dict[int, Pace] = {}
        self._rough: dict[int, dict[int, float]] = {}
        self._fine: dict[int, list[float]] = {}
        self._known: dict[int, Tensor] = {}

    def point(self, index: int, rough: bool = False) -> Point:
        """Where a frame lies. A leg is paced when a frame inside it is wanted for the first time.

        What is wanted first may be `rough`, after one look at the whole leg; it stays where it was then, and the frames that are
        wanted later are spread evenly between.
        """
        leg, step = self._route.place(index)
        gap = self._route.gaps[leg]
        if not self._even or step in (0, gap):
            return leg, step / gap
        if leg not in self._paces:
            # Distances of latents: the ranker's vectors were tried, and its pace looked less even to the evaluator (docs/LOG.md).
            self._paces[leg] = Pace(lambda shares: self._latents([(leg, share) for share in shares], 1))
        pace = self._paces[leg]
        if rough and leg not in self._fine:
            return leg, self._rough.setdefault(leg, {}).setdefault(step, pace.even(gap + 1)[step])
        if leg not in self._fine:
            pace.refine(gap + 1)
            self._fine[leg] = pace.even(gap + 1, self._rough.get(leg))
        return leg, self._fine[leg][step]

    def latents(self, points: Sequence[Point]) -> Tensor:
        """(N, C, S, S)"""
        return self._latents(points, self._steps)

    def _latents(self, points: Sequence[Point], steps: int) -> Tensor:
        # Rows of one kind together, a batch at a time: rows with a text and rows without can't be.
        batch = max(self._batch, LOOKS) if steps == 1 else self._batch
        kinds: dict[Callable[[Sequence[Point], int], Tensor], list[int]] = {}
        for row, (leg, share) in enumerate(points):
            kinds.setdefault(self._kind(leg, share), []).append(row)
        found: list[Tensor | None] = [None] * len(points)
        for draw, rows in kinds.items():
            for first in range(0, len(rows), batch):
                some = rows[first : first + batch]
                for row, latent in zip(some, draw([points[row] for row in some], steps).split(1), strict=True):
                    found[row] = latent
        return torch.cat(found)

    def _places(self, leg: int) -> tuple[int, int]:
        return leg, (leg + 1) % len(self._ends)

    def _kind(self, leg: int, share: float) -> Callable[[Sequence[Point], int], Tensor]:
        ends = [self._ends[place] for place in self._places(leg)]
        if not any(end.given for end in ends):
            return self._mixed
        if share in (0, 1):
            return self._whole
        return self._redrawn if any(end.text is not None for end in ends) else self._redrawn_without_text

    def _mixed(self, points: Sequence[Point], steps: int) -> Tensor:
        """Between pictures that are made of noise and text: made of a mixture of both."""
        rows = []
        for leg, share in points:
            pair = [self._ends[place] for place in self._places(leg)]
            rows.append(self._model.mix([end.noise for end in pair], [end.text for end in pair], (1 - share, share)))
        return self._draw(*self._model.stack(rows), steps)

    def _whole(self, points: Sequence[Point], steps: int) -> Tensor:
        """The pictures of stages themselves."""
        return torch.cat([self._picture(self._places(leg)[round(share)]) for leg, share in points])

    def _picture(self, place: int) -> Tensor:
        if place not in self._known:
            end = self._ends[place]
            self._known[place] = end.given() if end.given else self._draw(end.noise, end.text, self._steps)
        return self._known[place]

    def _redrawn(self, points: Sequence[Point], steps: int) -> Tensor:
        """Between any two pictures: their latents mixed, made noisy, most in the middle, and drawn anew from there.

        After SDEdit (Meng et al. 2021, arXiv:2108.01073); a mixture of latents alone is a cross-fade.
        """
        texts = []
        for leg, share in points:
            pair = zip([self._ends[place].text for place in self._places(leg)], (1 - share, share), strict=True)
            texts.append(mix_text(*zip(*[(text, weight) for text, weight in pair if text is not None], strict=True)))
        noisy, start = self._noisy(points)
        return self._draw(noisy, TextFeatures.stack(texts), steps, start)

    def _redrawn_without_text(self, points: Sequence[Point], steps: int) -> Tensor:
        noisy, start = self._noisy(points)
        return self._draw(noisy, None, steps, start)

    def _noisy(self, points: Sequence[Point]) -> tuple[Tensor, Tensor]:
        """What to draw mixtures of given pictures from: latents (N, C, S, S), and how noisy each is (N,)."""
        rows, start = [], []
        for leg, share in points:
            places, weights = self._places(leg), (1 - share, share)
            said = all(self._ends[place].text is not None for place in places)
            t = (REDRAWN if said else REDRAWN_WITHOUT_TEXT) * math.sin(math.pi * share)
            # A mixture of two pictures is paler than either: brought back to their spread, as noises are.
            clean = sum(weight * self._picture(place) for place, weight in zip(places, weights, strict=True)) / math.hypot(*weights)
            noise = mix_noise([self._ends[place].noise for place in places], weights)
            rows.append((1 - t) * clean + t * noise.to(clean))
            start.append(t)
        return torch.cat(rows), torch.tensor(start)
