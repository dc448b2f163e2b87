"""Noise to latent: plain functions over a callable velocity field; they know nothing of the network inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from dalle.config import LATENT_CHANNELS, LATENT_SIZE
from dalle.text import TextFeatures

GUIDANCE_INTERVAL = 1.0
"""Guidance acts for t at most this (limited interval, Kynkäänniemi et al. 2024, arXiv:2404.07724). A young prior needs it from
the first step on: with 0.7 its shapes ignore the text (docs/LOG.md)."""

TIME_SHIFT = 3.0
"""What a picture shows is settled near t = 1 (docs/LOG.md), so more steps are spent there."""

Time = float | Tensor
"""One for all rows, or one a row, (B, 1, 1, 1)."""

Velocity = Callable[[Tensor, Time, Time], Tensor]
"""(z at time t, t, time r where the step ends) -> how fast z moves there; a flow's velocity at t does not depend on r."""


def moments(z: Tensor, t: Time) -> Tensor:
    """A time for each row of z, (B,)."""
    return t.flatten() if isinstance(t, Tensor) else z.new_full((len(z),), t)


def guided(
    network: Callable[..., Tensor], text: TextFeatures, guidance_scale: float, negative: TextFeatures | None = None
) -> Velocity:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): v = v_u + w (v_c - v_u); w = 1 costs one evaluation.

    A negative text, of as many rows as the text, takes the place of no text.
    """

    def velocity(z: Tensor, t: Time, r: Time) -> Tensor:
        t = moments(z, t)
        if guidance_scale == 1.0 or float(t.max()) > GUIDANCE_INTERVAL:
            return network(z, t, text)
        if negative is not None:
            v = network(z.repeat(2, 1, 1, 1), t.repeat(2), TextFeatures.stack([text, negative]))
            with_text, without = v.chunk(2)
            return without + guidance_scale * (with_text - without)
        both = text.repeat(2)
        drop = torch.tensor([False, True], device=z.device).repeat(len(z))
        v = network(z.repeat_interleave(2, dim=0), t.repeat_interleave(2), both, drop)
        with_text, without = v[0::2], v[1::2]
        return without + guidance_scale * (with_text - without)

    return velocity


def times(num_inference_steps: int, shift: float = TIME_SHIFT) -> list[float]:
    """t of each step's start and of the end: num_inference_steps + 1 numbers from 1 to 0, denser near 1 for a shift above 1.

    Even times u become s u / (1 + (s - 1) u) (Esser et al. 2024, arXiv:2403.03206, eq. 23).
    """
    even = torch.linspace(1, 0, num_inference_steps + 1, dtype=torch.float64)
    return (shift * even / (1 + (shift - 1) * even)).tolist()


def euler_steps(velocity: Velocity, noise: Tensor, num_inference_steps: int, start: Tensor | None = None) -> Iterator[Tensor]:
    """Steps z - (t - r) v from t = 1 to t = 0; yields the estimate of the clean latent, z - t v, after each step.

    With `start` (B,), the noise is none: each row is a latent at its own time to start from.

    For a flow these are Euler's, and for a flow map, whose v is the average velocity from t to r, they are exact. The last estimate
    is the sample itself, since the last step ends at t = 0.
    """
    z = noise
    scale = 1.0 if start is None else start.to(noise).view(-1, 1, 1, 1)
    for t, r in pairwise(scale * time for time in times(num_inference_steps)):
        v = velocity(z, t, r)
        yield z - t * v
        z = z - (t - r) * v


def draw_noise(generators: Sequence[torch.Generator | None], device: torch.device | str = "cpu") -> Tensor:
    """One generator a picture, drawn on the generator's own device: (B, C, S, S) of unit variance."""
    shape = (LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE)
    # In float32 also where another thread opens a model in half precision, for which libraries change torch's default.
    places = [g.device if g is not None else "cpu" for g in generators]
    rows = [torch.randn(shape, generator=g, device=p, dtype=torch.float32) for g, p in zip(generators, places, strict=True)]
    return torch.stack([row.to(device) for row in rows])


def truncate(noise: Tensor, truncation: float) -> Tensor:
    """Noise with a smaller spread around its mean, 0: pictures that are more typical and less varied.

    After the truncation of Brock et al. 2018, arXiv:1809.11096, as a factor.

    Args:
        truncation: factor on the spread, above 0 and at most 1; 1 leaves the noise as it is.
    """
    return noise if truncation == 1.0 else noise * truncation
