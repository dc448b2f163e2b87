"""The adversary: a discriminator that owns its optimiser, so that a training step stays readable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Real or reconstructed, judged patch by patch (Isola et al. 2017, arXiv:1611.07004).

    (B, 4, H, W) -> logits (B, 1, H / 16, W / 16) and the features of each level.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(16, width, 3, padding=1)
        self.levels = nn.ModuleList(
            [
                nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
                nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
                nn.Conv2d(4 * width, 4 * width, 4, stride=2, padding=1),
            ]
        )
        self.head = nn.Conv2d(4 * width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        h = F.leaky_relu(self.stem(F.pixel_unshuffle(x, 2)), 0.2)
        features = []
        for level in self.levels:
            h = F.leaky_relu(level(h), 0.2)
            features.append(h)
        return self.head(h), features


class Adversary:
    """Non-saturating game, L_D = -[log D(x) + log(1 - D(G(z)))], L_G = -log D(G(z)) (Goodfellow et al. 2014).

    The gradient penalties on real and generated pictures (R1 and R2) are taken as finite differences, without a second
    backward pass (Lin et al. 2025, arXiv:2501.08316, section 3.4).
    """

    def __init__(
        self,
        discriminator: nn.Module,
        optimizer: torch.optim.Optimizer,
        penalty: float = 1.0,
        parallel: nn.Module | None = None,
    ) -> None:
        """`parallel`: the discriminator in its data-parallel wrapper, for its own steps."""
        self.discriminator = discriminator
        self.parallel = parallel if parallel is not None else discriminator
        self.optimizer = optimizer
        self.penalty = penalty

    def discriminator_loss(self, real: Tensor, fake: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the discriminator's own step; `fake` must carry no gradient."""
        noise = 0.02 * torch.randn(real.shape, generator=generator).to(real)
        batch = torch.cat([real, fake, real + noise, fake + noise])
        on_real, on_fake, near_real, near_fake = self.parallel(batch)[0].float().chunk(4)
        game = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        smooth = ((on_real - near_real).pow(2).mean() + (on_fake - near_fake).pow(2).mean()) / 0.02**2
        parts = {"d_game": game, "d_penalty": smooth, "d_real": on_real.mean(), "d_fake": on_fake.mean()}
        return game + self.penalty * 1e-3 * smooth, {k: v.detach() for k, v in parts.items()}

    def generator_losses(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """(-log D(G(z)), distance of the discriminator's features): the game and a perceptual loss of our own features."""
        self.discriminator.requires_grad_(False)
        try:
            with torch.no_grad():
                wanted = self.discriminator(real)[1]
            logits, found = self.discriminator(fake)
        finally:
            self.discriminator.requires_grad_(True)
        feature = sum((a.float() - b.float()).abs().mean() for a, b in zip(found, wanted, strict=True)) / len(found)
        return F.softplus(-logits.float()).mean(), feature
