"""Which things a picture shows, and where: connected parts of its foreground, each cut out, named and measured.

The foreground is what differs from the picture's border, whether that is transparent or white. So a white thing is seen on
transparency and lost on white: where an opaque system is compared with, the others are judged over white too (`on_white`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dalle.config import IMAGE_SIZE
from train.data.render import dominant_colour
from train.evaluator import INPUT_SIZE

LABEL_SIZE = 128
"""Side at which parts are told from each other: things two pixels of the picture apart are still two."""
DIFFERENCE = 0.25
"""From the border's median, in any of the premultiplied channels, 0..1; with a transparent border that is the alpha."""
MIN_AREA = 0.01
"""Share of the picture below which a part is a speck."""
MAX_THINGS = 16
MARGIN = 0.08
"""Space around a thing that is cut out, as a share of its longer side."""

Namer = Callable[[Tensor], Tensor]
"""Things (K, 4, 64, 64), premultiplied RGBA in [-1, 1] -> likeness to each of the names (K, N)."""


@dataclass(frozen=True)
class Thing:
    """A part of a picture; centroid and area as shares of the picture, `colour` "" where it has several.

    `likeness`: to each of the names that the namer knows.
    """

    likeness: tuple[float, ...]
    colour: str
    x: float
    y: float
    area: float


def foreground(pixels: Tensor) -> Tensor:
    """Premultiplied RGBA (B, 4, H, W) in [-1, 1] -> (B, 128, 128) bool: what differs from the median of the border."""
    small = (F.interpolate(pixels.float(), size=(LABEL_SIZE, LABEL_SIZE), mode="area") + 1) / 2
    border = torch.cat([small[:, :, 0], small[:, :, -1], small[..., 0], small[..., -1]], dim=2)
    ground = border.median(dim=2).values[:, :, None, None]
    return (small - ground).abs().amax(1) > DIFFERENCE


def label_parts(mask: Tensor) -> Tensor:
    """Connected parts (with corners) of masks (B, H, W): a number above 0 for each, 0 outside; a number is one picture's own.

    Every pixel starts with its own number and takes the largest around it until nothing changes. A number is also a pixel: that
    this pixel learns of what its followers found, and they of it, makes the rounds few (Shiloach & Vishkin 1982).
    """
    count, height, width = mask.shape
    inside = mask.flatten(1)
    labels = torch.arange(1, height * width + 1, device=mask.device) * inside
    while True:
        around = F.max_pool2d(labels.view(count, 1, height, width).float(), 3, 1, 1).flatten(1).long() * inside
        larger = around.scatter_reduce(1, (labels - 1).clamp(min=0), around, "amax") * inside
        larger = larger.gather(1, (larger - 1).clamp(min=0)) * inside
        if torch.equal(larger, labels):
            return labels.view(mask.shape)
        labels = larger


def parts_of(labels: Tensor) -> list[Tensor]:
    """Masks of the parts of one picture (H, W) that are no specks, the largest first."""
    numbers, areas = labels[labels > 0].unique(return_counts=True)
    big = [(-int(area), int(number)) for number, area in zip(numbers, areas, strict=True) if area >= MIN_AREA * labels.numel()]
    return [labels == number for _, number in sorted(big)[:MAX_THINGS]]


def cut_out(picture: Tensor, part: Tensor, others: Tensor) -> Tensor:
    """One part of a premultiplied picture (4, H, W) in [0, 1], alone on transparency and centred in a square (4, S, S).

    Args:
        part: (128, 128) mask of it. A pixel more around it is kept for the soft edge.
        others: (128, 128) mask of what belongs to other parts.
    """
    height, width = picture.shape[1:]
    wider = (F.max_pool2d(part[None, None].float(), 3, 1, 1)[0, 0] > 0) & ~others
    mask = F.interpolate(wider[None, None].float(), size=(height, width), mode="nearest")[0, 0] > 0
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    longer = max(bottom - top, right - left)
    side = longer + 2 * round(MARGIN * longer)
    square = picture.new_zeros(4, side, side)
    y, x = (side - (bottom - top)) // 2, (side - (right - left)) // 2
    inside = picture[:, top:bottom, left:right] * mask[top:bottom, left:right]
    square[:, y : y + bottom - top, x : x + right - left] = inside
    return square


def colour_of(square: Tensor) -> str:
    """Name of the colour that most of a cut-out (4, S, S) in [0, 1] has; "" where it has several, or is black, white or gray."""
    large = F.interpolate(square[None], size=(IMAGE_SIZE, IMAGE_SIZE), mode="nearest")[0]
    return dominant_colour((large.permute(1, 2, 0) * 255).round().numpy().astype(np.uint8))


@dataclass(frozen=True)
class Cut:
    """A part of a picture: `square` (4, S, S), premultiplied in [0, 1], and its `mask` (128, 128) in the picture."""

    square: Tensor
    mask: Tensor


def take_apart(pixels: Tensor) -> list[list[Cut]]:
    """The parts of each picture of (B, 4, H, W), premultiplied RGBA in [-1, 1], each cut out, the largest first."""
    labels = label_parts(foreground(pixels))
    unit = ((pixels.float() + 1) / 2).clamp(0, 1)
    return [
        [Cut(cut_out(picture, mask, (label > 0) & ~mask), mask) for mask in parts_of(label)]
        for picture, label in zip(unit, labels, strict=True)
    ]


def shrunk(square: Tensor, size: int) -> Tensor:
    """A cut-out (4, S, S) in [0, 1] -> (4, size, size) in [0, 1]."""
    return F.interpolate(square[None], size=(size, size), mode="bilinear", antialias=True)[0].clamp(0, 1)


def name_parts(cuts: list[list[Cut]], namer: Namer) -> list[list[Thing]]:
    """The things that the parts of each picture are, in the same order."""
    every = [cut for parts in cuts for cut in parts]
    if not every:
        return [[] for _ in cuts]
    likenesses = iter(namer(torch.stack([shrunk(cut.square, INPUT_SIZE) * 2 - 1 for cut in every])).tolist())

    def thing(cut: Cut) -> Thing:
        y, x = ((cut.mask.nonzero().float().mean(0) + 0.5) / LABEL_SIZE).tolist()
        likeness = tuple(round(value, 4) for value in next(likenesses))
        return Thing(likeness, colour_of(cut.square), x, y, float(cut.mask.float().mean()))

    return [[thing(cut) for cut in parts] for parts in cuts]


def observe(pixels: Tensor, namer: Namer) -> list[list[Thing]]:
    """The things in each picture of (B, 4, H, W), premultiplied RGBA in [-1, 1], the largest first."""
    return name_parts(take_apart(pixels), namer)


def on_white(pixels: Tensor) -> Tensor:
    """Premultiplied RGBA (B, 4, H, W) in [-1, 1], laid over white: the same, opaque."""
    white = pixels + (1 - pixels[:, 3:])
    return torch.cat([white[:, :3], torch.ones_like(white[:, 3:])], dim=1)


def in_one_piece(pixels: Tensor) -> list[bool]:
    """Whether each drawing of (B, 4, H, W) is a single connected part."""
    return [len(parts_of(each)) == 1 for each in label_parts(foreground(pixels))]
