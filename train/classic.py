"""`python -m train classic`: the textbook's text-conditioned DCGAN, the baseline that the default model is measured against.

The networks of Radford et al. 2015 (arXiv:1511.06434), conditioned on a sentence vector as in Reed et al. 2016
(arXiv:1605.05396). As in the usual tutorials, initial weights are Glorot's, Adam's rate is a constant 1e-4, and the
discriminator has dropout instead of batch norm. It is trained on the composed scenes and captions that the prior is trained
on, over white. Nothing newer is in it, on purpose: no moving average, no gradient penalty, no augmentation, no mismatched texts.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from dalle.config import IMAGE_SIZE, TEXT_DIM, CheckpointError
from dalle.hub import WEIGHTS, check_weights
from dalle.images import grid, to_pil, write_whole
from dalle.text import TextEncoder
from train.checkpoint import TRAINED_WITH
from train.data import SceneComposer, SpriteStore
from train.loop import Loop, RunConfig, add_run_arguments, make_accelerator, run_config, step_generator
from train.losses import over

Z_DIM = 100
START_SIZE = 8
WIDTHS: dict[str, tuple[int, ...]] = {
    "tiny": (16, 16, 8, 8, 8),
    "small": (128, 128, 64, 32, 16),
    "base": (128, 128, 128, 64, 32),
}
"""Channels at 8x8, 16x16, 32x32, 64x64 and 128x128; the discriminator has the same from the other end."""

SAMPLE_PROMPTS = [
    "a red apple",
    "a red heart",
    "a cat",
    "a tree",
    "a house",
    "an umbrella",
    "a bicycle",
    "a sun",
    "a rose",
    "a grinning face",
]
SAMPLE_NOISES = 10


def text_numbers(pooled: Tensor) -> Tensor:
    """Sentence vectors (B, text_dim) of unit norm, scaled so that a number is as large as one of z: mean square 1."""
    return pooled * math.sqrt(pooled.shape[-1])


def glorot(module: nn.Module) -> None:
    """Initial weights of Glorot & Bengio 2010, biases zero; norms stay at one and zero."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ClassicGenerator(ModelMixin, ConfigMixin):
    """z and a sentence vector -> picture: joined, dense to 8x8, then five transposed convolutions up to 256x256, tanh."""

    @register_to_config
    def __init__(self, channels: tuple[int, ...] = WIDTHS["small"], z_dim: int = Z_DIM, text_dim: int = TEXT_DIM) -> None:
        super().__init__()
        self.start = nn.Linear(z_dim + text_dim, channels[0] * START_SIZE**2, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels[0]), nn.ReLU()]
        for before, width in pairwise(channels):
            up = nn.ConvTranspose2d(before, width, 4, stride=2, padding=1, bias=False)
            layers += [up, nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.ConvTranspose2d(channels[-1], 3, 4, stride=2, padding=1), nn.Tanh()]
        self.body = nn.Sequential(*layers)
        self.apply(glorot)

    def forward(self, text_pooled: Tensor, z: Tensor) -> Tensor:
        """Sentence vectors (B, text_dim) of unit norm, noise (B, z_dim) ~ N(0, 1) -> RGB (B, 3, 256, 256) in [-1, 1]."""
        h = self.start(torch.cat([z, text_numbers(text_pooled)], dim=1))
        h = h.view(len(z), -1, START_SIZE, START_SIZE).contiguous(memory_format=torch.channels_last)
        return self.body(h)

    @torch.no_grad()
    def draw(self, text_pooled: Tensor, z: Tensor) -> Tensor:
        """The same picture as premultiplied RGBA (B, 4, 256, 256) in [-1, 1], opaque: alpha is 1 everywhere.

        In eval mode, as `load_classic` gives it, a picture does not depend on the others of its batch.
        """
        rgb = self(text_pooled, z).float()
        return torch.cat([rgb, torch.ones_like(rgb[:, :1])], dim=1)


class ClassicDiscriminator(nn.Module):
    """Real drawing with its text, or generated: strided convolutions to 8x8, where the text joins (Reed et al., section 4.1)."""

    def __init__(self, channels: tuple[int, ...] = WIDTHS["small"][::-1], text_dim: int = TEXT_DIM, dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in pairwise((3, *channels)):
            layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width = channels[-1]
        self.body = nn.Sequential(*layers)
        self.text = nn.Sequential(nn.Linear(text_dim, width), nn.LeakyReLU(0.2))
        self.join = nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.LeakyReLU(0.2))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width * START_SIZE**2, 1))
        self.apply(glorot)

    def forward(self, x: Tensor, text_pooled: Tensor) -> Tensor:
        """RGB (B, 3, 256, 256) in [-1, 1], sentence vectors (B, text_dim) -> logits (B,).

        The sigmoid of the textbook is in `probability` and in the losses, where together with the logarithm it is
        stable in half precision.
        """
        h = self.body(x)
        text = self.text(text_numbers(text_pooled))[:, :, None, None].expand(-1, -1, START_SIZE, START_SIZE)
        return self.head(self.join(torch.cat([h, text], dim=1)).flatten(1)).squeeze(1)

    def probability(self, x: Tensor, text_pooled: Tensor) -> Tensor:
        """D(x, text): the probability (B,) that the drawing is real."""
        return torch.sigmoid(self(x, text_pooled).float())


def discriminator_loss(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """Binary cross-entropy -[log D(x) + log(1 - D(G(z)))] of logits (B,), means over the batch (Goodfellow et al. 2014)."""
    real = F.binary_cross_entropy_with_logits(on_real, torch.ones_like(on_real))
    return real + F.binary_cross_entropy_with_logits(on_fake, torch.zeros_like(on_fake))


def generator_loss(on_fake: Tensor) -> Tensor:
    """Binary cross-entropy with the other label, -log D(G(z)), of logits (B,)."""
    return F.binary_cross_entropy_with_logits(on_fake, torch.ones_like(on_fake))


def load_classic(folder: Path) -> ClassicGenerator:
    """Raises CheckpointError where the generator is missing or damaged."""
    check_weights(folder / WEIGHTS)
    try:
        return ClassicGenerator.from_pretrained(folder, dtype=torch.float32).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"The textbook baseline in {folder} can't be loaded: {error}") from error


def over_white(pixels: Tensor) -> Tensor:
    """Premultiplied RGBA (B, 4, H, W) in [-1, 1] -> RGB in [-1, 1]."""
    return over(pixels, 1.0).clamp(0, 1) * 2 - 1


class EpochLosses(nn.Module):
    """Losses of the epoch so far, as buffers: the state file keeps them, so that a resumed epoch's means are over all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def add(self, d_loss: Tensor, g_loss: Tensor) -> None:
        self.sums += torch.stack([d_loss, g_loss]).double().cpu()
        self.steps += 1

    def means(self) -> tuple[float, float]:
        """(D loss, G loss)"""
        d_loss, g_loss = (self.sums / self.steps).tolist()
        return d_loss, g_loss

    def clear(self) -> None:
        self.sums.zero_()
        self.steps.zero_()


class ClassicTask:
    averaged = "generator"

    def __init__(self, store: SpriteStore, encoder: TextEncoder, config: RunConfig, accelerator: Accelerator, out: Path) -> None:
        self.config, self.accelerator, self.out, self.encoder = config, accelerator, out, encoder
        self.composer = SceneComposer(store, "train", config.seed, accelerator.device.type)
        # As many scenes an epoch as there are drawings, and then up to a whole batch.
        self.epoch_steps = math.ceil(len(store.rows("train")) / (config.batch_size * accelerator.num_processes))
        self.report: Callable[[dict[str, float]], None] = lambda row: None

        torch.manual_seed(config.seed)
        widths = WIDTHS[config.preset]
        # By name: what is given by place, diffusers takes for a default when the config is loaded.
        generator = ClassicGenerator(channels=widths).to(memory_format=torch.channels_last)
        discriminator = ClassicDiscriminator(widths[::-1]).to(memory_format=torch.channels_last)
        # Adam's momentum as in Radford et al., who found the library's 0.9 unstable.
        g_adam = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.5, 0.999))
        d_adam = torch.optim.Adam(discriminator.parameters(), lr=1e-4, betas=(0.5, 0.999))
        self.g_parallel, self.d_parallel, g_adam, d_adam = accelerator.prepare(generator, discriminator, g_adam, d_adam)
        self.epoch = EpochLosses()
        self.modules: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator, "epoch": self.epoch}
        self.optimizers = {"generator": g_adam, "discriminator": d_adam}
        self.sample_text = encoder.encode(SAMPLE_PROMPTS).pooled.to(accelerator.device)
        self.sample_z = torch.randn(SAMPLE_NOISES, Z_DIM, generator=torch.Generator().manual_seed(1000)).to(accelerator.device)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The composed scenes that the prior is trained on: RGB over white (B, 3, 256, 256), and their captions' vectors."""
        index = step * self.accelerator.num_processes + self.accelerator.process_index
        scenes = self.composer.batch(index, self.config.batch_size)
        device = self.accelerator.device
        real = over_white(scenes.pixels).to(device, memory_format=torch.channels_last)
        return real, self.encoder.encode(scenes.captions).pooled.to(device)

    def discriminator_step(self, real: Tensor, fake: Tensor, text: Tensor) -> Tensor:
        """One update of D alone; `fake` must carry no gradient. -> its loss"""
        with self.accelerator.autocast():
            logits = self.d_parallel(torch.cat([real, fake]), text.repeat(2, 1)).float()
        loss = discriminator_loss(*logits.chunk(2))
        optimizer = self.optimizers["discriminator"]
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        optimizer.step()
        return loss.detach()

    def generator_step(self, fake: Tensor, text: Tensor) -> Tensor:
        """One update of G alone, through a D that stays as it is; `fake` is what G just drew. -> its loss"""
        discriminator = self.modules["discriminator"]
        discriminator.requires_grad_(False)
        try:
            with self.accelerator.autocast():
                logits = discriminator(fake, text).float()
        finally:
            discriminator.requires_grad_(True)
        loss = generator_loss(logits)
        optimizer = self.optimizers["generator"]
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        optimizer.step()
        return loss.detach()

    def step(self, step: int, progress: float) -> dict[str, Tensor | float]:
        device = self.accelerator.device
        self.modules["generator"].train()
        self.modules["discriminator"].train()
        noise = step_generator(self.config.seed, step, self.accelerator.process_index)
        torch.manual_seed(noise.initial_seed())  # dropout draws from the global generator
        real, text = self.batch(step)
        z = torch.randn(len(real), Z_DIM, generator=noise).to(device)
        with self.accelerator.autocast():
            fake = self.g_parallel(text, z)
        d_loss = self.discriminator_step(real, fake.detach(), text)
        g_loss = self.generator_step(fake, text)
        self.epoch.add(d_loss, g_loss)
        if (step + 1) % self.epoch_steps == 0:
            self.end_epoch(step)
        return {"d_loss": d_loss, "g_loss": g_loss}

    def end_epoch(self, step: int) -> None:
        """Prints and logs the epoch's mean losses."""
        epoch = step // self.epoch_steps + 1
        d_loss, g_loss = self.epoch.means()
        self.epoch.clear()
        if self.accelerator.is_main_process:
            tqdm.write(f"epoch {epoch}: D loss {d_loss:.4f}, G loss {g_loss:.4f}")
        self.report({"epoch": epoch, "step": step + 1, "epoch_d_loss": round(d_loss, 6), "epoch_g_loss": round(g_loss, 6)})

    def sample(self) -> Image.Image:
        """Ten prompts, one a row, by ten noises, one a column; the same ones each time."""
        generator = self.modules["generator"].eval()
        rows = [generator.draw(text.expand(SAMPLE_NOISES, -1), self.sample_z) for text in self.sample_text]
        return grid(to_pil(torch.cat(rows)), columns=SAMPLE_NOISES, cell=IMAGE_SIZE // 2, gap=4)

    def validate(self) -> dict[str, float]:
        """Nothing is chosen by a figure: the last weights are the baseline."""
        return {}

    def export(self) -> None:
        """Writes the generator's last weights in half precision."""
        half = ClassicGenerator.from_config(self.modules["generator"].config)
        half.load_state_dict(self.modules["generator"].state_dict())
        half.half().save_pretrained(self.out)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train classic", description=__doc__.splitlines()[0])
    add_run_arguments(parser, "classic", batch_size=64, sample_steps=250)
    # The textbook's: a constant rate and the last weights, whose batch statistics are their own.
    parser.set_defaults(warmup_steps=0, cooldown=0.0, ema_decay=0.0)
    parser.add_argument("--data", type=Path, default=Path("data/sprites"))
    parser.add_argument("--out", type=Path, default=Path("checkpoints/classic"))
    arguments = parser.parse_args(argv)
    config = run_config(arguments)
    store = SpriteStore.open(arguments.data)
    accelerator = make_accelerator()
    task = ClassicTask(store, TextEncoder.load("minilm", accelerator.device.type), config, accelerator, arguments.out)
    loop = Loop(task, config, task.accelerator)
    task.report = loop.log
    loop.fit()
    if task.accelerator.is_main_process:
        told = {"samples_seen": loop.samples_seen, "minutes": round(loop.seconds / 60, 1), "data": store.meta.get("fingerprint")}
        write_whole(arguments.out / TRAINED_WITH, (json.dumps(told, indent=2) + "\n").encode())
    return 0
