"""How much of a drawing is left after encoding and decoding it: noise, and edges."""

from __future__ import annotations

import io

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dalle.images import from_pil, to_pil
from dalle.vae import DalleVAE
from train.data import SpriteStore
from train.losses import over, psnr, sobel

BLUR_SIZE = 32
JPEG_QUALITY = 10
EDGE_HEIGHT = 0.1
"""Sobel magnitude from which a pixel lies on an edge: a sharp step of 0.2 of the range from black to white has it."""
EDGE_TOLERANCE = 1
"""Pixels by which an edge may be off."""


def pixels_of(store: SpriteStore, rows: int | list[int]) -> Tensor:
    """Drawings as (N, 4, 256, 256) in [-1, 1], premultiplied."""
    rows = [rows] if isinstance(rows, int) else rows
    parts = [torch.from_numpy(store.pixels[row].copy()).permute(2, 0, 1) for row in rows]
    return torch.stack(parts).float() / 127.5 - 1


def blurred(pixels: Tensor, size: int = BLUR_SIZE) -> Tensor:
    """Pictures (N, 4, H, W) averaged down to `size` and interpolated up again."""
    small = F.interpolate(pixels, size=(size, size), mode="area")
    return F.interpolate(small, size=pixels.shape[-2:], mode="bilinear", align_corners=False)


def jpeg(pixels: Tensor, quality: int = JPEG_QUALITY) -> Tensor:
    """Pictures (N, 4, H, W) in [-1, 1] over white, through a JPEG file: opaque."""
    pictures = []
    for picture in to_pil(pixels):
        flat = Image.new("RGBA", picture.size, "white")
        flat.alpha_composite(picture)
        buffer = io.BytesIO()
        flat.convert("RGB").save(buffer, "JPEG", quality=quality)
        pictures.append(Image.open(buffer))
    return from_pil(pictures, pixels.shape[-1])


def edge_map(rgb: Tensor) -> Tensor:
    """RGB (N, 3, H, W) in [0, 1] -> (N, H, W), true where the Sobel magnitude of a channel reaches `EDGE_HEIGHT`."""
    dx, dy = sobel(rgb).unflatten(1, (3, 2)).unbind(2)
    return (dx.pow(2) + dy.pow(2)).sqrt().amax(1) >= EDGE_HEIGHT


def edge_f_score(found: Tensor, truth: Tensor, tolerance: int = EDGE_TOLERANCE) -> Tensor:
    """F-score of edge maps (N, H, W) bool -> (N,), 1 where both have none (boundary benchmark of Martin et al. 2004).

    Precision: share of the found edge pixels with a true one within `tolerance`; recall: the other way round.
    """

    def near(edges: Tensor) -> Tensor:
        return F.max_pool2d(edges[:, None].float(), 2 * tolerance + 1, 1, tolerance)[:, 0] > 0

    def share(part: Tensor, whole: Tensor) -> Tensor:
        count = whole.flatten(1).sum(1)
        return torch.where(count > 0, (part & whole).flatten(1).sum(1) / count.clamp(min=1), 1.0)

    precision, recall = share(near(truth), found), share(near(found), truth)
    return 2 * precision * recall / (precision + recall).clamp(min=1e-9)


@torch.inference_mode()
def reconstruct(vae: DalleVAE, pixels: Tensor) -> Tensor:
    """Pictures (N, 4, 256, 256) in [-1, 1], encoded and decoded, on the CPU."""
    weight = next(vae.parameters())
    x = pixels.to(weight.device, weight.dtype).contiguous(memory_format=torch.channels_last)
    return vae.from_latents(vae.to_latents(x)).float().cpu()


def compare(found: Tensor, truth: Tensor) -> list[list[float]]:
    """[PSNR over white in dB, edge F-score] of each pair of pictures (N, 4, H, W) in [-1, 1]."""
    found, truth = over(found, 1.0).clamp(0, 1), over(truth, 1.0)
    return torch.stack([psnr(found, truth), edge_f_score(edge_map(found), edge_map(truth))], dim=1).tolist()
