"""An adversary for latents, with the frozen flow prior as its eyes.

A flow map learns from squared errors alone, and a young one draws what lies between the drawings. Here a discriminator tells what
it draws from encoded drawings, and drawings from drawings that carry another's text (Reed et al. 2016, arXiv:1605.05396). It
looks at them through the teacher, at a random noise level (Sauer et al. 2024, arXiv:2403.12015): what the teacher's blocks hold and
which drawing it expects, given the text. So only a small head has to be learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dalle.prior import FlowPrior
from dalle.text import TextFeatures

TAPS = (0.5, 0.75)
"""How deep in the teacher the blocks lie whose states are looked at."""
NOISE_LEVELS = ((0.02, 0.5), (0.5, 0.95))
"""Ranges of times t at which latents are looked at, half of them at each: little noise shows outlines, and under much of it the
teacher has to ask the text what it is."""
SIDE = 4
"""The head judges a latent in SIDE x SIDE places."""


@dataclass
class Seen:
    """What the head is given of B latents: fields (B, 3 C, S, S) and states of the teacher's tokens (B, F, SIDE, SIDE)."""

    fields: Tensor
    states: Tensor

    def detach(self) -> Seen:
        return Seen(self.fields.detach(), self.states.detach())

    def shaken(self, size: float, generator: torch.Generator) -> Seen:
        """The same with a little noise of standard deviation `size`."""
        parts = (self.fields, self.states)
        return Seen(*(part + size * torch.randn(part.shape, generator=generator).to(part) for part in parts))

    @staticmethod
    def cat(several: Sequence[Seen]) -> Seen:
        return Seen(torch.cat([s.fields for s in several]), torch.cat([s.states for s in several]))


class TeacherEyes:
    """Latents as a frozen flow prior sees them; gradients pass through to the latents."""

    def __init__(self, teacher: FlowPrior) -> None:
        self.teacher = teacher
        blocks = teacher.trunk.blocks
        self.taps = sorted({max(1, round(share * len(blocks))) - 1 for share in TAPS})

    @property
    def width(self) -> int:
        return len(self.taps) * self.teacher.trunk.width

    def __call__(self, latents: Tensor, text: TextFeatures, t: Tensor, noise: Tensor) -> Seen:
        """Latents and noise (B, C, S, S), times (B,) -> what is seen of them."""
        t4 = t[:, None, None, None]
        z = (1 - t4) * latents + t4 * noise
        trunk, found, hooks = self.teacher.trunk, [], []
        for place in self.taps:
            hooks.append(trunk.blocks[place].register_forward_hook(lambda _module, _given, out: found.append(out.float())))
        try:
            expected = z - t4 * self.teacher(z, t, text)
        finally:
            for hook in hooks:
                hook.remove()
        states = []
        for x in found:
            x = F.layer_norm(x, x.shape[-1:]).transpose(1, 2).unflatten(2, (trunk.side, trunk.side))
            states.append(F.adaptive_avg_pool2d(x, SIDE))
        return Seen(torch.cat([z, expected, z - expected], dim=1), torch.cat(states, dim=1))


class LatentDiscriminator(nn.Module):
    """What is seen of latents -> logits (B, 1, SIDE, SIDE), high where it looks like a drawing that fits the text."""

    def __init__(self, channels: int, size: int, states: int, width: int = 96) -> None:
        super().__init__()
        self.start = nn.Conv2d(3 * channels, width, 3, padding=1)
        levels = (size // SIDE).bit_length() - 1
        self.levels = nn.ModuleList(
            [nn.Conv2d(width * (1 if n == 0 else 2), 2 * width, 4, stride=2, padding=1) for n in range(levels)]
        )
        self.states = nn.Conv2d(states, 2 * width, 1)
        self.join = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.head = nn.Conv2d(2 * width, 1, 1)

    def forward(self, seen: Seen) -> Tensor:
        h = F.leaky_relu(self.start(seen.fields), 0.2)
        for level in self.levels:
            h = F.leaky_relu(level(h), 0.2)
        h = h + F.leaky_relu(self.states(seen.states), 0.2)
        return self.head(h + F.leaky_relu(self.join(h), 0.2)).float()


class LatentAdversary:
    """Non-saturating game on latents (Goodfellow et al. 2014), smoothed by finite differences at the head's inputs
    (Lin et al. 2025, arXiv:2501.08316)."""

    def __init__(
        self,
        eyes: TeacherEyes,
        discriminator: nn.Module,
        parallel: nn.Module | None = None,
        penalty: float = 0.1,
        step: float = 0.05,
    ) -> None:
        """`parallel`: the discriminator in its data-parallel wrapper, for its own steps."""
        self.eyes, self.discriminator, self.penalty, self.step = eyes, discriminator, penalty, step
        self.parallel = parallel if parallel is not None else discriminator

    @staticmethod
    def glimpse(latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Times (B,) and noise (B, C, S, S) to look at latents with."""
        low, high = torch.tensor(NOISE_LEVELS)[torch.arange(len(latents)) % len(NOISE_LEVELS)].unbind(1)
        t = low + (high - low) * torch.rand(len(latents), generator=generator)
        return t.to(latents.device), torch.randn(latents.shape, generator=generator).to(latents.device)

    def push(
        self, velocity: Tensor, z: Tensor, start: Tensor, text: TextFeatures, t: Tensor, noise: Tensor
    ) -> tuple[Tensor, Seen, Tensor]:
        """How velocities from z at times `start` (B,) to 0 would have to change for their drawings to look real.

        -> gradient of -log D at the velocities (B, C, S, S), what was seen of the drawings, -log D (a mean); nothing has a graph.
        """
        leaf = velocity.detach().float().requires_grad_(True)
        seen = self.eyes(z - start[:, None, None, None] * leaf, text, t, noise)
        loss = F.softplus(-self.discriminator(seen)).mean()
        (gradient,) = torch.autograd.grad(loss, leaf)
        return gradient, seen.detach(), loss.detach()

    @torch.no_grad()
    def look(self, real: Tensor, text: TextFeatures, t: Tensor, noise: Tensor) -> tuple[Seen, Seen]:
        """What is seen of two drawings or more with their own texts, and with their neighbours' texts."""
        order = torch.arange(len(real), device=real.device).roll(1)
        return self.eyes(real, text, t, noise), self.eyes(real, text[order], t, noise)

    def loss(self, real: Seen, wrong: Seen, fake: Seen, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the discriminator's own step: drawings are real; drawings with wrong texts, and fakes, are not."""
        given = Seen.cat([real, wrong, fake])
        logits, near = self.parallel(Seen.cat([given, given.shaken(self.step, generator)])).chunk(2)
        on_real, on_wrong, on_fake = logits.split([len(part.fields) for part in (real, wrong, fake)])
        against = 0.5 * (F.softplus(on_wrong).mean() + F.softplus(on_fake).mean())
        game = F.softplus(-on_real).mean() + against
        smooth = (logits - near).pow(2).mean() / self.step**2
        parts = {"d_game": game, "d_real": on_real.mean(), "d_wrong": on_wrong.mean(), "d_fake": on_fake.mean(), "d_slope": smooth}
        return game + self.penalty * smooth, {name: value.detach() for name, value in parts.items()}


def scaled_to(push: Tensor, reference: Tensor, weight: float) -> Tensor:
    """`push` brought to at most `weight` times the norm of `reference`, so that no other unit has to be chosen; zero stays zero.

    No row (first dimension) has more than twice the median row's norm: a drawing that gives itself away does not take all of it.
    """
    norms = push.flatten(1).norm(dim=1)
    push = push * (2 * norms.median() / norms.clamp(min=1e-12)).clamp(max=1.0).view(-1, *[1] * (push.ndim - 1))
    return push * (weight * reference.norm() / push.norm().clamp(min=1e-12))
