"""Stage 2, text and noise -> latent: the networks, forward only.

`FlowPrior` predicts the velocity of a straight path from data to noise (flow matching, Lipman et al. 2022, arXiv:2210.02747;
Liu et al. 2022, arXiv:2209.03003): x_t = (1 - t) x_0 + t e, v = e - x_0, so t = 1 is noise. `FlowMapPrior` predicts the average
velocity of the guided flow from one time to another, so that a few steps, or one, do the work of many. `GaussianPrior` is the
textbook's prior, text -> mean and log-variance -> sample. All have the same trunk and the same `trajectory`; the config chooses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from dalle.config import (
    LATENT_CHANNELS,
    LATENT_SIZE,
    MAX_GUIDANCE,
    MAX_PROMPT_TOKENS,
    NEGATIVE_WEIGHT,
    NULL_TOKENS,
    STEPS,
    TEXT_DIM,
    PriorConfig,
    SettingError,
)
from dalle.sampling import Time, euler_steps, guided, moments
from dalle.text import TextFeatures

SHARED_LENGTH = 32
"""Text tokens are padded to a multiple of so many when drawing."""


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """(B,) in [0, 1] -> (B, width): cosines and sines at geometric frequencies (Vaswani et al. 2017)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=t.device) / (width // 2))
    angles = 1000 * t.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotary_table(side: int, head_dim: int) -> Tensor:
    """Cosines and sines of a 2-D rotary embedding: (2, side * side, head_dim / 2); half the channels turn with y, half with x."""
    quarter = head_dim // 4
    frequencies = 100.0 ** (-torch.arange(quarter) / quarter)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = torch.cat([y.flatten()[:, None] * frequencies, x.flatten()[:, None] * frequencies], dim=-1)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotary position embedding of (B, H, N, D) (Su et al. 2021, arXiv:2104.09864)."""
    cos, sin = table[0].to(x.dtype), table[1].to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square normalisation whose weight follows the input's number format."""

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return F.rms_norm(x, self.normalized_shape, weight, self.eps)


class TextAdapter(nn.Module):
    """Frozen token states -> the trunk's width, with a place for each token and a learned stand-in for no text."""

    def __init__(self, text_dim: int, width: int, null_tokens: int) -> None:
        super().__init__()
        self.null_tokens = null_tokens
        self.norm = nn.LayerNorm(text_dim)
        self.inner = nn.Linear(text_dim, 2 * width)
        self.outer = nn.Linear(2 * width, width)
        self.position = nn.Parameter(0.02 * torch.randn(MAX_PROMPT_TOKENS, width))
        self.pooled = nn.Linear(text_dim, width)
        self.null_token = nn.Parameter(0.02 * torch.randn(width))
        self.null_pooled = nn.Parameter(torch.zeros(width))

    def forward(self, text: TextFeatures, drop: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """-> tokens (B, T, width), attention bias (B, T), pooled (B, width); rows in `drop` (B,) see no text."""
        dtype = self.inner.weight.dtype
        places = text.places.clamp(max=MAX_PROMPT_TOKENS - 1)
        tokens = self.outer(F.silu(self.inner(self.norm(text.tokens.to(dtype))))) + self.position[places]
        # Unit-norm vectors have components of about 1/sqrt(C): brought to unit variance before they meet the weights.
        pooled = self.pooled(text.pooled.to(dtype) * text.pooled.shape[-1] ** 0.5)
        bias = text.bias
        if drop is not None:
            tokens = torch.where(drop[:, None, None], self.null_token.to(tokens.dtype), tokens)
            pooled = torch.where(drop[:, None], self.null_pooled.to(pooled.dtype), pooled)
            # Equal keys, as many as the batch is padded to: together they weigh as much as `null_tokens` of them.
            bias = bias.masked_fill(drop[:, None], math.log(self.null_tokens / bias.shape[1]))
        return tokens, bias, pooled


class Block(nn.Module):
    """Attention of image tokens over image and text tokens through the same projections, then SwiGLU; both modulated."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        hidden = 32 * round(width * 8 / 3 / 32)
        self.norm1 = RMSNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm2 = RMSNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm_text = RMSNorm(width, eps=1e-6)
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.norm_q = RMSNorm(self.head_dim, eps=1e-6)
        self.norm_k = RMSNorm(self.head_dim, eps=1e-6)
        self.proj = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.modulation = nn.Parameter(torch.zeros(6, width))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)  # (B, H, N, D)

    def forward(self, x: Tensor, text: Tensor, bias: Tensor, shared: Tensor, table: Tensor) -> Tensor:
        """x (B, N, C), text (B, T, C), bias (B, 1, 1, N + T), shared modulation (B, 6, C), rotary table."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (shared + self.modulation).unsqueeze(2).unbind(1)
        h = self.norm1(x) * (1 + scale1) + shift1
        q = rotate(self.norm_q(self._split(self.q(h))), table)
        k, v = self.kv(h).chunk(2, dim=-1)
        k_text, v_text = self.kv(self.norm_text(text)).chunk(2, dim=-1)
        k = torch.cat([rotate(self.norm_k(self._split(k)), table), self.norm_k(self._split(k_text))], dim=2)
        v = torch.cat([self._split(v), self._split(v_text)], dim=2)
        mixed = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), attn_mask=bias.to(q.dtype))
        x = x + gate1 * self.proj(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.norm2(x) * (1 + scale2) + shift2).chunk(2, dim=-1)
        return x + gate2 * self.down(F.silu(gate) * up)


class Refiner(nn.Module):
    """Residual convolutions at the latent's own resolution, for what lies inside patches and across their edges.

    A transformer with few large patches knows what to draw where, and takes long to learn how neighbouring numbers depend on each
    other. Starts as zero.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, depth: int, condition_width: int) -> None:
        super().__init__()
        self.start = nn.Conv2d(in_channels, width, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, width) for _ in range(depth)])
        self.modulations = nn.ModuleList([nn.Linear(condition_width, 2 * width) for _ in range(depth)])
        self.first = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(depth)])
        self.second = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(depth)])
        self.end = nn.Conv2d(width, out_channels, 3, padding=1)
        for layer in (*self.modulations, self.end):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            for layer in self.second:
                layer.weight.mul_((2 * depth) ** -0.5)

    def forward(self, fields: Tensor, local: Tensor, condition: Tensor) -> Tensor:
        """Fields (B, in_channels, S, S), features (B, width, S, S), condition (B, C) -> what is added, (B, out_channels, S, S)."""
        h = self.start(fields) + local
        for norm, modulation, first, second in zip(self.norms, self.modulations, self.first, self.second, strict=True):
            scale, shift = modulation(condition)[:, :, None, None].chunk(2, dim=1)
            h = h + second(F.silu(first(F.silu(norm(h) * (1 + scale) + shift))))
        return self.end(F.silu(h))


class Trunk(nn.Module):
    """Patches and text -> patches: the transformer that both priors share.

    The modulation by time and pooled text is one projection for all blocks plus a table a block (PixArt-alpha, arXiv:2310.00426).
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        patch: int,
        text_dim: int,
        channels: int,
        out_channels: int,
        size: int,
        null_tokens: int,
        refiner_width: int,
        refiner_depth: int,
        flow_map: bool = False,
    ) -> None:
        super().__init__()
        self.patch, self.width, self.side = patch, width, size // patch
        self.early = round(depth * 2 / 3)
        self.adapter = TextAdapter(text_dim, width, null_tokens)
        self.embed = nn.Linear(channels * patch**2, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        self.norm = RMSNorm(width, elementwise_affine=False, eps=1e-6)
        self.final_modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, out_channels * patch**2)
        if flow_map:
            self.guidance = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            nn.init.zeros_(self.guidance[-1].weight)
            nn.init.zeros_(self.guidance[-1].bias)
        self.refiner = None
        if refiner_depth:
            self.local = nn.Linear(width, refiner_width * patch**2)
            self.refiner = Refiner(channels + out_channels, out_channels, refiner_width, refiner_depth, width)
        self.register_buffer("rotary", rotary_table(self.side, width // heads), persistent=False)
        for layer in (self.modulation, self.final_modulation, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            for block in self.blocks:
                block.modulation[[2, 5]] = 1.0  # gates open
                block.proj.weight.mul_((2 * depth) ** -0.5)
                block.down.weight.mul_((2 * depth) ** -0.5)

    def _condition(self, t: Tensor, pooled: Tensor, guidance: Tensor | None) -> tuple[Tensor, Tensor]:
        """Time, pooled text and guidance weight -> condition (B, width), modulation of the blocks (B, 6, width)."""
        told = self.time(timestep_embedding(t, self.width).to(pooled.dtype)) + pooled
        if guidance is not None:
            told = told + self.guidance(timestep_embedding(guidance / MAX_GUIDANCE, self.width).to(pooled.dtype))
        condition = F.silu(told)
        return condition, self.modulation(condition).unflatten(-1, (6, self.width))

    def forward(
        self,
        z: Tensor,
        t: Tensor,
        text: TextFeatures,
        drop: Tensor | None = None,
        r: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """z (B, C, S, S), t (B,) -> (B, out_channels, S, S).

        Args:
            r: time (B,) where a flow map's step ends: the last third of the blocks sees it in place of t.
            guidance: weight (B,) of the guidance that a flow map has inside.
        """
        dtype = self.embed.weight.dtype
        tokens, bias, pooled = self.adapter(text, drop)
        x = F.pixel_unshuffle(z.to(dtype), self.patch).flatten(2).transpose(1, 2)  # (B, N, C p^2)
        x = self.embed(x)
        condition, shared = self._condition(t, pooled, guidance)
        start = condition
        if not self.training:
            # To a length that most texts share, so that sums over keys have the same order, and a picture the same bits, whatever
            # text it is drawn beside: one rounding of a bfloat16 the other way can be seen at an edge.
            spare = -tokens.shape[1] % SHARED_LENGTH
            tokens, bias = F.pad(tokens, (0, 0, 0, spare)), F.pad(bias, (0, spare), value=-torch.inf)
        bias = F.pad(bias, (x.shape[1], 0))[:, None, None]
        for depth, block in enumerate(self.blocks):
            if r is not None and depth == self.early:
                condition, shared = self._condition(r, pooled, guidance)
            x = block(x, tokens, bias, shared, self.rotary)
        shift, scale = self.final_modulation(condition).unsqueeze(1).chunk(2, dim=-1)
        x = self.norm(x) * (1 + scale) + shift
        out = self._unpatched(self.out(x))
        if self.refiner is not None:
            # It sees the noisy latent again, so it has to know how noisy that is (t), and where the step ends (r, or t as well).
            both = (start + condition) / 2
            out = out + self.refiner(torch.cat([z.to(out.dtype), out], dim=1), self._unpatched(self.local(x)), both)
        return out.float()

    def _unpatched(self, x: Tensor) -> Tensor:
        """(B, N, C p^2) -> (B, C, S, S)"""
        return F.pixel_shuffle(x.transpose(1, 2).unflatten(2, (self.side, self.side)), self.patch)


def no_text(z: Tensor, prior: FlowPrior | FlowMapPrior) -> TextFeatures:
    """Features for rows that see no text, as many as z has; see `every`."""
    dim = prior.config.text_dim
    return TextFeatures(z.new_zeros(len(z), 1, dim), z.new_zeros(len(z), 1), z.new_zeros(len(z), dim))


def every(z: Tensor) -> Tensor:
    """(B,) true: no row of z sees its text."""
    return torch.ones(len(z), dtype=torch.bool, device=z.device)


class FlowPrior(ModelMixin, ConfigMixin):
    """Velocity field of the flow from noise (t = 1) to latents (t = 0), given text."""

    kind = "flow"
    default_steps, default_path_steps = STEPS["FlowPrior"]

    @register_to_config
    def __init__(
        self,
        width: int = PriorConfig.width,
        depth: int = PriorConfig.depth,
        heads: int = PriorConfig.heads,
        patch: int = PriorConfig.patch,
        text_dim: int = TEXT_DIM,
        latent_channels: int = LATENT_CHANNELS,
        latent_size: int = LATENT_SIZE,
        null_tokens: int = NULL_TOKENS,
        refiner_width: int = PriorConfig.refiner_width,
        refiner_depth: int = 0,
    ) -> None:
        super().__init__()
        self.trunk = Trunk(
            width, depth, heads, patch, text_dim, latent_channels, latent_channels, latent_size, null_tokens, refiner_width,
            refiner_depth,
        )  # fmt: skip

    def forward(self, z: Tensor, t: Tensor, text: TextFeatures, drop: Tensor | None = None) -> Tensor:
        """Noisy latents (B, C, S, S) and times (B,) in [0, 1] -> velocities e - x_0 (B, C, S, S)."""
        return self.trunk(z, t, text, drop)

    def trajectory(
        self,
        noise: Tensor,
        text: TextFeatures | None,
        num_inference_steps: int,
        guidance_scale: float,
        negative: TextFeatures | None = None,
        start: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Yields the estimate of the clean latent after each step; the last one is the sample. `negative` is what to leave.

        With `start` (B,), `noise` is latents at such times; without a text, guidance can't act.
        """
        if text is None:
            velocity = guided(partial(self, drop=every(noise)), no_text(noise, self), 1.0)
            return euler_steps(velocity, noise, num_inference_steps, start)
        return euler_steps(guided(self, text, guidance_scale, negative), noise, num_inference_steps, start)


class FlowMapPrior(ModelMixin, ConfigMixin):
    """Average velocity of the guided flow between two times: u(z_t, t, r) with z_r = z_t - (t - r) u.

    A decoupled flow map (Lee et al. 2025, arXiv:2510.24474): the first two thirds of the blocks see t, the rest sees r, and the
    weights are those of a flow prior to start from. The guidance weight is one of its inputs (Meng et al. 2022, arXiv:2210.03142),
    so a step is one evaluation.
    """

    kind = "flowmap"
    default_steps, default_path_steps = STEPS["FlowMapPrior"]

    @register_to_config
    def __init__(
        self,
        width: int = PriorConfig.width,
        depth: int = PriorConfig.depth,
        heads: int = PriorConfig.heads,
        patch: int = PriorConfig.patch,
        text_dim: int = TEXT_DIM,
        latent_channels: int = LATENT_CHANNELS,
        latent_size: int = LATENT_SIZE,
        null_tokens: int = NULL_TOKENS,
        refiner_width: int = PriorConfig.refiner_width,
        refiner_depth: int = 0,
    ) -> None:
        super().__init__()
        self.trunk = Trunk(
            width, depth, heads, patch, text_dim, latent_channels, latent_channels, latent_size, null_tokens, refiner_width,
            refiner_depth, flow_map=True,
        )  # fmt: skip

    @classmethod
    def from_flow(cls, flow: FlowPrior) -> FlowMapPrior:
        """A flow map that does what the flow does, without guidance, wherever r = t; its guidance has no effect yet."""
        made = cls(**{name: flow.config[name] for name in PRIOR_SETTINGS})
        made.load_state_dict(made.state_dict() | flow.state_dict())
        return made.to(flow.dtype)

    @torch.no_grad()
    def to_flow(self) -> FlowPrior:
        """The flow that this map holds, its velocities where r = t without guidance (a weight of 1): where training can go on.

        The embedding of that weight is a constant, so it goes into the bias of the time's.
        """
        made = FlowPrior(**{name: self.config[name] for name in PRIOR_SETTINGS})
        weights = {name: value for name, value in self.state_dict().items() if not name.startswith("trunk.guidance.")}
        layers, bias = self.trunk.guidance, "trunk.time.2.bias"
        one = timestep_embedding(torch.full((1,), 1 / MAX_GUIDANCE, device=self.device), self.trunk.width)
        weights[bias] = weights[bias] + layers(one.to(weights[bias].dtype))[0]
        made.load_state_dict(weights)
        return made.to(self.dtype)

    def forward(self, z: Tensor, t: Tensor, r: Tensor, text: TextFeatures, guidance: Tensor, drop: Tensor | None = None) -> Tensor:
        """Latents (B, C, S, S) at times t (B,), times r (B,) <= t, guidance weights (B,) -> average velocities (B, C, S, S)."""
        return self.trunk(z, t, text, drop, r, guidance)

    def trajectory(
        self,
        noise: Tensor,
        text: TextFeatures | None,
        num_inference_steps: int,
        guidance_scale: float,
        negative: TextFeatures | None = None,
        start: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Yields an estimate of the clean latent after each step; the last one is the sample.

        With `start` (B,), `noise` is latents at such times; without a text, guidance can't act.

        With `negative` a step is three evaluations in one batch. The map has its guidance inside, against no text, so what the
        negative text would draw is taken away on top of that, both without guidance: u(text, w) + NEGATIVE_WEIGHT (u(text, 1) -
        u(negative, 1)).
        """

        def velocity(z: Tensor, t: Time, r: Time) -> Tensor:
            t, r = moments(z, t), moments(z, r)
            if text is None:
                return self(z, t, r, no_text(z, self), torch.ones_like(t), every(z))
            if negative is None:
                return self(z, t, r, text, torch.full_like(t, guidance_scale))
            rows = z.repeat(3, 1, 1, 1)
            weights = rows.new_tensor([guidance_scale, 1.0, 1.0]).repeat_interleave(len(z))
            both = TextFeatures.stack([text, text, negative])
            full, wanted, unwanted = self(rows, t.repeat(3), r.repeat(3), both, weights).chunk(3)
            return full + NEGATIVE_WEIGHT * (wanted - unwanted)

        return euler_steps(velocity, noise, num_inference_steps, start)


class GaussianPrior(ModelMixin, ConfigMixin):
    """Text -> mean and log-variance of the latent, then a reparameterised sample: one step, no guidance."""

    kind = "gaussian"
    default_steps, default_path_steps = STEPS["GaussianPrior"]

    @register_to_config
    def __init__(
        self,
        width: int = PriorConfig.width,
        depth: int = PriorConfig.depth,
        heads: int = PriorConfig.heads,
        patch: int = PriorConfig.patch,
        text_dim: int = TEXT_DIM,
        latent_channels: int = LATENT_CHANNELS,
        latent_size: int = LATENT_SIZE,
        null_tokens: int = NULL_TOKENS,
        refiner_width: int = PriorConfig.refiner_width,
        refiner_depth: int = 0,
    ) -> None:
        super().__init__()
        self.start = nn.Parameter(0.02 * torch.randn(1, latent_channels, latent_size, latent_size))
        self.trunk = Trunk(
            width, depth, heads, patch, text_dim, latent_channels, 2 * latent_channels, latent_size, null_tokens, refiner_width,
            refiner_depth,
        )  # fmt: skip

    def forward(self, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """-> mean and log-variance, each (B, C, S, S)."""
        count = len(text)
        start = self.start.expand(count, -1, -1, -1)
        mean, logvar = self.trunk(start, torch.zeros(count, device=start.device), text).chunk(2, dim=1)
        return mean, logvar.clamp(-10, 4)

    def trajectory(
        self,
        noise: Tensor,
        text: TextFeatures,
        num_inference_steps: int = 1,
        guidance_scale: float = 1.0,
        negative: TextFeatures | None = None,
        start: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Yields once: mean + std * noise. Steps and guidance do not apply, nor can it be guided away from anything.

        With `start` it yields `noise`, latents at such times, as they are: it has no steps to go on with.

        Raises:
            SettingError: a negative text was given.
        """
        if start is not None:
            yield noise
            return
        if negative is not None:
            raise SettingError("This model draws without guidance, so a negative prompt can't act: leave it empty.")
        mean, logvar = self(text)
        yield mean + (0.5 * logvar).exp() * noise.to(mean)


Prior = FlowPrior | FlowMapPrior | GaussianPrior

PRIORS: dict[str, type[Prior]] = {cls.kind: cls for cls in (FlowPrior, FlowMapPrior, GaussianPrior)}

PRIOR_SETTINGS = (
    "width", "depth", "heads", "patch", "text_dim", "latent_channels", "latent_size", "null_tokens",
    "refiner_width", "refiner_depth",
)  # fmt: skip


def build_prior(config: PriorConfig) -> Prior:
    """The prior that `config.kind` names, with fresh weights."""
    return PRIORS[config.kind](**{name: getattr(config, name) for name in PRIOR_SETTINGS})


def with_refiner(prior: Prior, width: int, depth: int) -> Prior:
    """The same prior with a fresh refiner, which changes nothing yet; for one that has none."""
    settings = {name: prior.config[name] for name in PRIOR_SETTINGS} | {"refiner_width": width, "refiner_depth": depth}
    made = type(prior)(**settings)
    made.load_state_dict(made.state_dict() | prior.state_dict())
    return made.to(prior.dtype)
