"""Stage 1, picture <-> latent distribution: a convolutional variational autoencoder for RGBA drawings.

The autoencoder owns the latent scale (buffers `latent_mean`, `latent_std`) and the pixel range (premultiplied RGBA in [-1, 1]).
Every normalisation is over the channels of one position, so a network trained on crops sees the same statistics on whole
pictures. No convolution runs at full resolution: pictures enter through a pixel unshuffle by 4 and leave through a pixel
shuffle by 2 (Shi et al. 2016, arXiv:1609.05158).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from dalle.config import LATENT_CHANNELS, VAEConfig


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position of a (B, C, H, W) tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(norm(x)))); the second convolution starts at zero, so a new block is the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(self.norm(x))))


class Upsample(nn.Module):
    """Doubles the resolution: a convolution to four times the channels, then a pixel shuffle."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, 4 * channels_out, 3, padding=1)
        # The four sub-pixels start equal, which avoids checkerboards (Aitken et al. 2017, arXiv:1707.02937).
        with torch.no_grad():
            self.conv.weight.copy_(self.conv.weight[::4].repeat_interleave(4, dim=0))
            self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)


class Encoder(nn.Module):
    """(B, 4, H, W) -> mean and log-variance (B, 2 * latent_channels, H / 16, W / 16)."""

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...], latent_channels: int) -> None:
        super().__init__()
        c16, c32, c64 = channels[:3]
        n16, n32, n64 = blocks
        self.stem = nn.Conv2d(4 * 16, c64, 3, padding=1)
        self.body = nn.Sequential(
            *[ResidualBlock(c64) for _ in range(n64)],
            nn.Conv2d(c64, c32, 3, stride=2, padding=1),
            *[ResidualBlock(c32) for _ in range(n32)],
            nn.Conv2d(c32, c16, 3, stride=2, padding=1),
            *[ResidualBlock(c16) for _ in range(n16)],
        )
        self.head = nn.Sequential(ChannelNorm(c16), nn.SiLU(), nn.Conv2d(c16, 2 * latent_channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x, 4)  # (B, 64, H/4, W/4)
        return self.head(self.body(self.stem(x)))


class Decoder(nn.Module):
    """(B, latent_channels, h, w) -> (B, 4, 16 h, 16 w)."""

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...], latent_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(latent_channels, channels[0], 3, padding=1)]
        for level, (width, count) in enumerate(zip(channels, blocks, strict=True)):
            if level:
                layers.append(Upsample(channels[level - 1], width))
            layers += [ResidualBlock(width) for _ in range(count)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(ChannelNorm(channels[-1]), nn.SiLU(), Upsample(channels[-1], 4))

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight at which the adversarial gradient is compared with the reconstruction's."""
        return self.head[-1].conv.weight

    def forward(self, z: Tensor) -> Tensor:
        return self.head(self.body(z))


class DalleVAE(ModelMixin, ConfigMixin):
    """Variational autoencoder of RGBA pictures whose sides are multiples of 16.

    Source: Kingma & Welling 2013, arXiv:1312.6114. Use `to_latents` and `from_latents` for latents of zero mean and unit
    variance a channel; `encode` and `decode` work on the raw ones, as diffusers' autoencoders do.
    """

    @register_to_config
    def __init__(
        self,
        channels: tuple[int, ...] = VAEConfig.channels,
        encoder_blocks: tuple[int, ...] = VAEConfig.encoder_blocks,
        decoder_blocks: tuple[int, ...] = VAEConfig.decoder_blocks,
        latent_channels: int = LATENT_CHANNELS,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(tuple(channels), tuple(encoder_blocks), latent_channels)
        self.decoder = Decoder(tuple(channels), tuple(decoder_blocks), latent_channels)
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """(B, 4, H, W) in [-1, 1], premultiplied -> output with `.latent_dist` (mean, logvar: (B, C, H/16, W/16))."""
        if x.ndim != 4 or x.shape[1] != 4 or x.shape[2] % 16 or x.shape[3] % 16:
            raise ValueError(f"expected (B, 4, H, W) with H and W multiples of 16, got {tuple(x.shape)}")
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(self.encoder(x).float()))

    def decode(self, z: Tensor) -> DecoderOutput:
        """(B, C, h, w) raw latents -> output with `.sample` (B, 4, 16 h, 16 w), unclamped."""
        return DecoderOutput(sample=self.decoder(z))

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> DecoderOutput:
        """Reconstruction through a reparameterised sample."""
        return self.decode(self.encode(x).latent_dist.sample(generator))

    def normalize(self, z: Tensor) -> Tensor:
        """Raw latents -> zero mean, unit variance a channel over the training drawings."""
        return (z - self.latent_mean.view(1, -1, 1, 1)) / self.latent_std.view(1, -1, 1, 1)

    def denormalize(self, z: Tensor) -> Tensor:
        return z * self.latent_std.view(1, -1, 1, 1) + self.latent_mean.view(1, -1, 1, 1)

    def to_latents(self, x: Tensor) -> Tensor:
        """Pictures (B, 4, H, W) -> normalised posterior means (B, C, H/16, W/16)."""
        return self.normalize(self.encode(x).latent_dist.mean)

    def from_latents(self, z: Tensor) -> Tensor:
        """Normalised latents (B, C, h, w) -> premultiplied RGBA (B, 4, 16 h, 16 w), clamped to [-1, 1]."""
        z = self.denormalize(z.to(self.latent_std.dtype)).contiguous(memory_format=torch.channels_last)
        return self.decode(z).sample.float().clamp(-1, 1)


def build_vae(config: VAEConfig) -> DalleVAE:
    """The autoencoder of a configuration, with fresh weights."""
    return DalleVAE(
        channels=config.channels,
        encoder_blocks=config.encoder_blocks,
        decoder_blocks=config.decoder_blocks,
        latent_channels=config.latent_channels,
    )
