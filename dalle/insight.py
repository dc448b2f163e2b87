"""A look inside: what the text encoder saw, where each word acted, and what the picture is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dalle.judge import Judgement
from dalle.prior import Block, rotate
from dalle.requests import Picture

MAX_WORDS = 16
"""Words of a prompt that are left out one by one; a picture is drawn for each."""
SHOWN_STEPS = 8
"""Steps of the way from noise to picture that is shown beside a picture of fewer."""
NEAREST = 8


@dataclass(frozen=True)
class Word:
    """A word of the prompt and what it did.

    Attributes:
        text: as it stands in the prompt.
        pieces: the word pieces that the language model made of it.
        attention: (side, side) the share of their attention to the text that the patches of the picture gave to it, 0..1; the
            mean over heads, and over the blocks and steps of the drawing.
        without: the picture with the same noise and settings, of the prompt without the word; None where nothing would be left,
            and for words beyond the first `MAX_WORDS`.
        difference: (16, 16) where that changes the picture and how much: mean absolute difference of premultiplied RGBA, 0..1.
    """

    text: str
    pieces: tuple[str, ...]
    attention: np.ndarray
    without: Image.Image | None = None
    difference: np.ndarray | None = None


@dataclass(frozen=True)
class Insight:
    """All that there is to see of one picture.

    Attributes:
        picture: the picture itself.
        text: what was read: the prompt with the phrase of its style.
        pieces: all word pieces of it, the two special ones included.
        words: its words.
        judgement: what the judge says of it, where the model has one.
        channels: (C, S, S) float32, the latent that was decoded.
        steps: the noise decoded as it is, then the estimate after each step of this picture's own drawing.
        long: the same for a drawing of `SHOWN_STEPS` steps with the same noise; () where the picture's own had as many.
        nearest: rows of the reference set with their distances, nearest first; () where the model has none.
    """

    picture: Picture
    text: str
    pieces: tuple[str, ...]
    words: tuple[Word, ...]
    judgement: Judgement | None
    channels: np.ndarray
    steps: tuple[Image.Image, ...]
    long: tuple[Image.Image, ...]
    nearest: tuple[tuple[int, float], ...]


def words_of(text: str, pieces: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[tuple[str, int, int, list[int]]]:
    """The words of a text: (word, where it begins, where it ends, places of its word pieces), in their order.

    Args:
        pieces: all word pieces, special ones included.
        spans: the first and the last character of each, (0, 0) for special ones.
    """
    found = []
    for match in re.finditer(r"[^\W_]+(?:['’-][^\W_]+)*", text):
        first, last = match.span()
        places = [place for place, (begin, end) in enumerate(spans) if end > begin and begin < last and end > first]
        if places:
            found.append((match[0], first, last, places))
    return found


def left_out(text: str, first: int, last: int) -> str:
    """The text without the characters from `first` to `last`, its spaces and commas tidied."""
    rest = re.sub(r"\s+", " ", f"{text[:first]} {text[last:]}")
    return re.sub(r"^[\s,]+|[\s,]+$", "", re.sub(r"\s+([,.;])", r"\1", rest))


def attention_to_text(block: Block, x: Tensor, text: Tensor, bias: Tensor, shared: Tensor, table: Tensor) -> Tensor:
    """What `Block.forward` gives as attention from the patches of a picture to the text's tokens, (B, N, T), mean over the heads.

    Takes what `Block.forward` takes.
    """
    shift, scale = (shared + block.modulation).unsqueeze(2).unbind(1)[:2]
    h = block.norm1(x) * (1 + scale) + shift
    q = rotate(block.norm_q(block._split(block.q(h))), table)
    k = rotate(block.norm_k(block._split(block.kv(h).chunk(2, dim=-1)[0])), table)
    k_text = block.norm_k(block._split(block.kv(block.norm_text(text)).chunk(2, dim=-1)[0]))
    keys = torch.cat([k, k_text], dim=2).float()
    logits = q.float() @ keys.transpose(-1, -2) * block.head_dim**-0.5 + bias.float()
    return logits.softmax(-1)[..., x.shape[1] :].mean(1)


@contextmanager
def recorded_attention(blocks: Sequence[Block], found: list[Tensor] | None) -> Iterator[None]:
    """While this is open, each evaluation of a block adds to `found` its attention to the text, (N, T), of its batch's first row.

    Without a list nothing is done.
    """

    def record(block: Block, given: tuple[Tensor, ...]) -> None:
        x, text, bias, shared, table = given
        found.append(attention_to_text(block, x[:1], text[:1], bias[:1], shared[:1], table)[0].cpu())

    hooks = [] if found is None else [block.register_forward_pre_hook(record) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
