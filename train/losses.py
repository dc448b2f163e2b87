"""Reconstruction losses on premultiplied RGBA in [-1, 1]; every function returns a scalar."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def over(pixels: Tensor, background: Tensor | float) -> Tensor:
    """Premultiplied RGBA (B, 4, H, W) in [-1, 1] over a background colour in [0, 1] -> RGB (B, 3, H, W) in [0, 1]."""
    unit = (pixels + 1) / 2
    return unit[:, :3] + (1 - unit[:, 3:]) * background


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair (B, C, H, W) in [0, 1] -> (B,) in dB."""
    return -10 * torch.log10((x - y).pow(2).flatten(1).mean(1).clamp(min=1e-10))


def charbonnier(x: Tensor, y: Tensor, epsilon: float = 1e-2) -> Tensor:
    """A smooth L1 (Charbonnier et al. 1994): quadratic below `epsilon`, so that flat colours end exactly flat."""
    return ((x - y).pow(2) + epsilon**2).sqrt().mean() - epsilon


def two_scale(x: Tensor, y: Tensor) -> Tensor:
    """Charbonnier at full and at quarter resolution."""
    return charbonnier(x, y) + charbonnier(F.avg_pool2d(x, 4), F.avg_pool2d(y, 4))


def sobel(x: Tensor) -> Tensor:
    """Horizontal and vertical derivatives of each channel: (B, C, H, W) -> (B, 2C, H, W)."""
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=x.device, dtype=x.dtype) / 8
    weight = torch.stack([kernel, kernel.T])[:, None].repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(x, weight, padding=1, groups=x.shape[1])


def edges(x: Tensor, y: Tensor) -> Tensor:
    """L1 between Sobel derivatives."""
    return (sobel(x) - sobel(y)).abs().mean()
