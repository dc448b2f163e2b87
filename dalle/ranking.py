"""Agreement of pictures and texts: two small towers that meet in one space, to put candidates in order and to search by text.

Trained by `python -m train ranker` on drawings and composed scenes. It never evaluates a model: that is another network's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from dalle.config import TEXT_DIM, RankerConfig
from dalle.text import TextFeatures

INPUT_SIZE = 64
PATCH = 16
"""Sixteen tokens a picture: with 64 of them a step of training takes twice the time."""


def ranker_input(pixels: Tensor) -> Tensor:
    """Premultiplied RGBA (B, 4, H, W) in [-1, 1] -> (B, 4, 64, 64), averaged over areas."""
    return F.interpolate(pixels.float(), size=(INPUT_SIZE, INPUT_SIZE), mode="area")


def transformer(width: int, depth: int, heads: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)


class Ranker(ModelMixin, ConfigMixin):
    """Pictures and texts -> unit vectors of one space (contrastive, Radford et al. 2021, arXiv:2103.00020).

    Unlike a sentence vector, the text tower reads the language model's token states, so that it can tell what stands left of what.
    """

    @register_to_config
    def __init__(
        self,
        width: int = RankerConfig.width,
        depth: int = RankerConfig.depth,
        text_depth: int = RankerConfig.text_depth,
        heads: int = RankerConfig.heads,
        dim: int = RankerConfig.dim,
        text_dim: int = TEXT_DIM,
    ) -> None:
        super().__init__()
        stem: list[nn.Module] = []
        for before, after in pairwise((4, width // 8, width // 4, width // 2, width)):
            stem += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.GELU()]
        self.stem = nn.Sequential(*stem[:-1])  # (B, width, 4, 4)
        self.place = nn.Parameter(0.02 * torch.randn(1, (INPUT_SIZE // PATCH) ** 2, width))
        self.picture_body = transformer(width, depth, heads)
        self.picture_head = nn.Linear(width, dim)
        self.text_norm = nn.LayerNorm(text_dim)
        self.text_in = nn.Linear(text_dim, width)
        self.text_body = transformer(width, text_depth, heads)
        self.text_head = nn.Linear(width, dim)
        self.log_scale = nn.Parameter(torch.tensor(2.7))
        self.register_buffer("score_scale", torch.tensor(10.0))
        self.register_buffer("score_shift", torch.tensor(0.0))

    def pictures(self, pixels: Tensor) -> Tensor:
        """Premultiplied RGBA (B, 4, H, W) in [-1, 1], any size -> (B, dim), unit norm."""
        x = self.stem(ranker_input(pixels).to(self.place)).flatten(2).transpose(1, 2) + self.place
        return F.normalize(self.picture_head(self.picture_body(x).mean(1)).float(), dim=-1)

    def texts(self, text: TextFeatures) -> Tensor:
        """Token states -> (B, dim), unit norm."""
        x = self.text_in(self.text_norm(text.tokens.to(self.place)))
        x = self.text_body(x, src_key_padding_mask=~text.mask)
        weights = text.mask.unsqueeze(-1).to(x)
        return F.normalize(self.text_head((x * weights).sum(1) / weights.sum(1)).float(), dim=-1)

    def forward(self, pixels: Tensor, text: TextFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """-> vectors of the pictures, vectors of the texts, and the scale of their cosines in the contrastive loss, at most 100."""
        return self.pictures(pixels), self.texts(text), self.log_scale.clamp(max=4.6).exp()

    def score(self, cosine: Tensor) -> Tensor:
        """Cosine of a picture and a text -> 0..1, how likely it is that they belong together rather than not.

        Two numbers, fitted on held-out scenes, half of them with a caption that is not theirs.
        """
        return torch.sigmoid(self.score_scale.float() * cosine + self.score_shift.float())

    @torch.inference_mode()
    def agreement(self, pixels: Tensor, text: TextFeatures) -> Tensor:
        """Scores (B,) in 0..1 of pictures (B, 4, H, W) with their texts, one a picture or one for all."""
        return self.agreement_of(self.pictures(pixels.to(self.place.device)), text)

    @torch.inference_mode()
    def agreement_of(self, vectors: Tensor, text: TextFeatures) -> Tensor:
        """The same for pictures whose vectors (B, dim) are known."""
        return self.score((vectors * self.texts(text.to(self.place.device))).sum(-1)).cpu()


def best_first(scores: Sequence[float]) -> list[int]:
    """Indices by falling score; equals keep their order."""
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def build_ranker(config: RankerConfig) -> Ranker:
    """The ranker of a configuration, with fresh weights."""
    return Ranker(
        width=config.width, depth=config.depth, text_depth=config.text_depth, heads=config.heads, dim=config.dim,
        text_dim=config.text_dim,
    )  # fmt: skip
