"""Stage 1, `python -m train autoencoder`: a variational autoencoder, then the same with an adversary.

First part: reconstruction (two-scale Charbonnier, Sobel edges) + KL, decoding from a noisy latent so that the prior's small
errors do no harm, and on half the steps from a turned, mirrored or shrunk latent (EQ-VAE, arXiv:2502.09509). Last
`--adversarial-share` of the run: the encoder is frozen, and discriminator and decoder take their steps in alternation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from dalle.config import PRESETS
from dalle.vae import DalleVAE, build_vae
from train.adversary import Adversary, PatchDiscriminator
from train.data import SceneComposer, SpriteStore
from train.data.store import spread
from train.loop import Loop, RunConfig, add_run_arguments, make_accelerator, run_config, step_generator
from train.losses import edges, over, psnr, two_scale

CROP = 128


class Turn:
    """One symmetry of the square and one scale, applied alike to a latent and to its picture."""

    def __init__(self, generator: torch.Generator) -> None:
        self.quarters = int(torch.randint(0, 4, (1,), generator=generator))
        self.mirror = bool(torch.randint(0, 2, (1,), generator=generator))
        self.scale = (0.5, 0.75, 1.0)[int(torch.randint(0, 3, (1,), generator=generator))]

    def __call__(self, x: Tensor) -> Tensor:
        x = x.rot90(self.quarters, (2, 3))
        if self.mirror:
            x = x.flip(3)
        if self.scale != 1.0:
            x = F.interpolate(x, scale_factor=self.scale, mode="bilinear", antialias=True, align_corners=False)
        return x


class Objective(nn.Module):
    """The reconstruction losses as one module, so that data-parallel wrappers see one forward pass."""

    def __init__(self, vae: DalleVAE, kl_weight: float, edge_weight: float, noise: float) -> None:
        super().__init__()
        self.vae = vae
        self.kl_weight, self.edge_weight, self.noise = kl_weight, edge_weight, noise

    def forward(
        self, pixels: Tensor, generator: torch.Generator, turn: Turn | None, encoder_frozen: bool
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """-> (loss, reconstruction, its target, the losses by name)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not encoder_frozen):
            posterior = self.vae.encode(pixels).latent_dist
        mean, std = posterior.mean, posterior.std
        z = mean + std * torch.randn(mean.shape, generator=generator).to(mean)
        if turn is not None:
            z, pixels = turn(z), turn(pixels)
        # In units of the latent's own spread, so that the encoder can't escape the noise by growing its latents.
        sigma = self.noise * z.detach().std() * torch.rand(len(z), 1, 1, 1, generator=generator).to(z)
        z = z + sigma * torch.randn(z.shape, generator=generator).to(z)
        found = self.vae.decode(z).sample.float()
        reconstruction = two_scale(found, pixels)
        edge = edges(found, pixels)
        kl = 0.5 * (mean.pow(2) + std.pow(2) - 1 - posterior.logvar).mean()
        loss = reconstruction + self.edge_weight * edge
        if not encoder_frozen:
            loss = loss + self.kl_weight * kl
        parts = {"reconstruction": reconstruction, "edge": edge, "kl": kl}
        return loss, found, pixels, {name: value.detach() for name, value in parts.items()}


class AutoencoderTask:
    averaged = "vae"

    def __init__(
        self,
        composer: SceneComposer,
        validation: Tensor,
        config: RunConfig,
        accelerator: Accelerator,
        out: Path,
        *,
        learning_rate: float = 7e-4,
        kl_weight: float = 1e-3,
        edge_weight: float = 1.0,
        latent_noise: float = 0.2,
        adversarial_share: float = 0.4,
        adversarial_weight: float = 0.01,
        feature_weight: float = 0.05,
        crop_size: int = CROP,
        init: Path | None = None,
    ) -> None:
        self.composer, self.config, self.accelerator, self.out = composer, config, accelerator, out
        self.adversarial_share = adversarial_share
        self.adversarial_weight, self.feature_weight, self.crop_size = adversarial_weight, feature_weight, crop_size
        torch.manual_seed(config.seed)
        vae = DalleVAE.from_pretrained(init, dtype=torch.float32) if init is not None else build_vae(PRESETS[config.preset].vae)
        vae = vae.to(memory_format=torch.channels_last).train()
        objective = Objective(vae, kl_weight, edge_weight, latent_noise)
        optimizer = torch.optim.AdamW(vae.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
        discriminator = PatchDiscriminator().to(memory_format=torch.channels_last)
        critic = torch.optim.AdamW(discriminator.parameters(), lr=learning_rate / 2, betas=(0.5, 0.95), weight_decay=0)
        self.objective, optimizer, parallel, critic = accelerator.prepare(objective, optimizer, discriminator, critic)
        self.adversary = Adversary(discriminator, critic, parallel=parallel)
        self.modules = {"vae": vae, "discriminator": discriminator}
        self.optimizers = {"vae": optimizer, "discriminator": critic}
        self.validation = validation

    @property
    def vae(self) -> DalleVAE:
        return self.modules["vae"]

    def step(self, step: int, progress: float) -> dict[str, Tensor | float]:
        config, accelerator = self.config, self.accelerator
        generator = step_generator(config.seed, step, accelerator.process_index)
        index = step * accelerator.num_processes + accelerator.process_index
        # The last tenth sees whole pictures, a quarter as many, so that borders and large shapes settle too.
        if progress > 0.9:
            pixels = self.composer.sprites(index, max(1, config.batch_size // 4)).pixels
        else:
            pixels = self.composer.sprites(index, config.batch_size, self.crop_size).pixels
        pixels = pixels.to(accelerator.device, memory_format=torch.channels_last)
        adversarial = progress >= 1 - self.adversarial_share
        turn = Turn(generator) if step % 2 and not adversarial else None

        with accelerator.autocast():
            loss, found, target, parts = self.objective(pixels, generator, turn, adversarial)
            if adversarial:
                # The adversary's share grows over the first tenth of the run after its start.
                ramp = min(1.0, (progress - 1 + self.adversarial_share) / 0.1)
                game, feature = self.adversary.generator_losses(target, found)
                loss = loss + ramp * (self.adversarial_weight * game + self.feature_weight * feature)
                parts |= {"g_game": game.detach(), "g_feature": feature.detach()}
        self.optimizers["vae"].zero_grad(set_to_none=True)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(self.vae.parameters(), config.clip)
        self.optimizers["vae"].step()
        if adversarial:
            with accelerator.autocast():
                d_loss, d_parts = self.adversary.discriminator_loss(target, found.detach(), generator)
            self.optimizers["discriminator"].zero_grad(set_to_none=True)
            accelerator.backward(d_loss)
            self.optimizers["discriminator"].step()
            parts |= d_parts
        return {"loss": loss.detach(), **parts, "gradient_norm": norm, "samples": len(pixels)}

    @torch.no_grad()
    def _reconstruct(self, pixels: Tensor) -> Tensor:
        rows = [self.vae.decode(self.vae.encode(p[None]).latent_dist.mean).sample.float().clamp(-1, 1) for p in pixels]
        return torch.cat(rows)

    def sample(self) -> Image.Image:
        from dalle.images import grid, over, to_pil

        pixels = self.validation[:24].to(self.accelerator.device, memory_format=torch.channels_last)
        pairs = zip(to_pil(pixels.cpu()), to_pil(self._reconstruct(pixels).cpu()), strict=True)
        return grid([over(picture) for pair in pairs for picture in pair], columns=8)

    def validate(self) -> dict[str, float]:
        pixels = self.validation.to(self.accelerator.device, memory_format=torch.channels_last)
        return {"val_psnr": float(psnr(over(self._reconstruct(pixels), 1.0), over(pixels, 1.0)).mean())}

    @torch.no_grad()
    def export(self) -> None:
        """Measures the latent's scale over training scenes, then writes the weights in half precision."""
        vae = self.vae
        latents = []
        for step in tqdm(range(16), desc="latent scale", disable=None):
            pixels = self.composer.sprites(10_000_000 + step, 16).pixels.to(self.accelerator.device)
            latents.append(vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist.mean)
        z = torch.cat(latents).transpose(0, 1).flatten(1)
        vae.latent_mean.copy_(z.mean(1))
        vae.latent_std.copy_(z.std(1))
        half = DalleVAE.from_config(vae.config)
        half.load_state_dict(vae.state_dict())
        half.half().save_pretrained(self.out)


def validation_pictures(store: SpriteStore, count: int, split: str = "val") -> Tensor:
    """Held-out drawings, evenly spread over the split: (N, 4, 256, 256)."""
    rows = spread(store.rows(split), count)
    pixels = torch.stack([torch.from_numpy(store.pixels[row].copy()) for row in rows])
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train autoencoder", description=__doc__.splitlines()[0])
    add_run_arguments(parser, "autoencoder", batch_size=16, sample_steps=500)
    parser.add_argument("--data", type=Path, default=Path("data/sprites"), help="folder made by `python -m train data`")
    parser.add_argument("--out", type=Path, default=None, help="where the weights go (default: RUN_FOLDER/vae)")
    parser.add_argument("--init", type=Path, default=None, help="start warm from these weights")
    parser.add_argument("--learning-rate", type=float, default=7e-4)
    parser.add_argument("--adversarial-share", type=float, default=0.4, help="last part of the run, with the adversary")
    parser.add_argument("--adversarial-weight", type=float, default=0.01)
    parser.add_argument("--latent-noise", type=float, default=0.2, help="largest noise before decoding, in latent spreads")
    arguments = parser.parse_args(argv)
    config = run_config(arguments)
    accelerator = make_accelerator()
    store = SpriteStore.open(arguments.data)
    task = AutoencoderTask(
        SceneComposer(store, split="train", seed=config.seed),
        validation_pictures(store, 48),
        config,
        accelerator,
        arguments.out or config.run / "vae",
        learning_rate=arguments.learning_rate,
        latent_noise=arguments.latent_noise,
        adversarial_share=arguments.adversarial_share,
        adversarial_weight=arguments.adversarial_weight,
        init=arguments.init,
    )
    Loop(task, config, accelerator).fit()
    return 0
