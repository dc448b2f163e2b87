"""Stage 2, `python -m train prior`: text and noise to latent by flow matching, or the textbook's one-step Gaussian prior.

Flow matching with logit-normal times (Esser et al. 2024, arXiv:2403.03206) and text dropped at random for classifier-free guidance.
Hidden matrices are trained with Muon (Jordan et al. 2024), everything else with AdamW.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn

from dalle.config import DEFAULT_GUIDANCE, PRESETS, CheckpointError, PriorConfig, SettingError
from dalle.hardware import supports_bf16
from dalle.hub import WEIGHTS, check_names, read_json
from dalle.prior import PRIORS, FlowMapPrior, FlowPrior, Prior, build_prior, with_refiner
from dalle.sampling import draw_noise
from dalle.text import TextEncoder, TextFeatures
from dalle.vae import DalleVAE
from train.data import SceneComposer, SpriteStore
from train.latents import TRAINED_WITH, LatentBatch, LatentCache, LiveLatents, check_trained_with, latent_space
from train.loop import Loop, RunConfig, add_run_arguments, make_accelerator, run_config, step_generator

SAMPLE_PROMPTS = (
    "a red apple",
    "a grinning face",
    "a cat",
    "a blue car",
    "a green tree",
    "a slice of pizza",
    "a sunflower",
    "a rocket",
    "a red heart",
    "a house",
    "a fish",
    "a cup of coffee",
    "a dog, 3d rendered style",
    "a bicycle, flat style",
    "an umbrella, glossy gradient style",
    "a guitar, classic style",
    "a penguin, soft shaded style",
    "a yellow star on a blue background",
    "two bananas",
    "three cherries",
    "a cat to the left of a tree",
    "an owl above a book",
    "a purple butterfly",
    "a snowman at night",
)
"""Drawn with fixed noise at every interval of a run."""


def flow_loss(
    prior: nn.Module,
    latents: Tensor,
    text: TextFeatures,
    generator: torch.Generator,
    dropout: float,
    time_mean: float = 0.0,
) -> Tensor:
    """Mean squared error of the velocity e - x_0 at a logit-normal time, a value a sample: (B,).

    Args:
        time_mean: mean of the time's logit. Above 0 there is more noise, and the shape has to come from the text.
    """
    count = len(latents)
    t = torch.sigmoid(torch.randn(count, generator=generator) + time_mean).to(latents.device)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    drop = (torch.rand(count, generator=generator) < dropout).to(latents.device)
    t4 = t[:, None, None, None]
    velocity = prior((1 - t4) * latents + t4 * noise, t, text, drop)
    return (velocity.float() - (noise - latents)).pow(2).flatten(1).mean(1)


def text_share(prior: nn.Module, latents: Tensor, text: TextFeatures, generator: torch.Generator) -> float:
    """Share of the latents' variance that a flow prior predicts from the text alone, with nothing but noise beside it (t = 1).

    A loss over all times is mostly about taking noise away; this is about knowing what to draw.
    """
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    predicted = noise - prior(noise, torch.ones(len(latents), device=latents.device), text).float()
    around = (latents - latents.mean(0)).pow(2).mean()
    return float(1 - (predicted - latents).pow(2).mean() / around)


def gaussian_loss(prior: nn.Module, latents: Tensor, text: TextFeatures) -> Tensor:
    """Negative log-likelihood of the latent, up to a constant, a value a sample: (B,)."""
    mean, logvar = prior(text)
    return 0.5 * (logvar + (latents - mean).pow(2) * torch.exp(-logvar)).flatten(1).mean(1)


def split_parameters(prior: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(hidden matrices of the blocks, everything else)."""
    matrices, others = [], []
    for name, parameter in prior.named_parameters():
        hidden = ".blocks." in name and parameter.ndim == 2 and not name.endswith("modulation")
        (matrices if hidden else others).append(parameter)
    return matrices, others


@dataclass
class Material:
    """What a run on latents needs beside its network: scenes, held-out scenes, the frozen parts, and where the weights go."""

    source: LatentCache | LiveLatents
    validation: list[LatentBatch]
    vae: DalleVAE
    encoder: TextEncoder
    config: RunConfig
    accelerator: Accelerator
    out: Path
    trained_with: dict[str, str] = field(default_factory=dict)


def load_prior(kind: type[Prior], folder: Path) -> Prior:
    """Weights of a kind of prior, in full precision.

    Raises:
        CheckpointError: the folder holds none of that kind.
    """
    if (found := read_json(folder / "config.json").get("_class_name")) != kind.__name__:
        raise CheckpointError(f"{folder} holds a {found}, and a {kind.__name__} is wanted.")
    try:
        prior = kind.from_pretrained(folder, dtype=torch.float32)
        check_names(folder / WEIGHTS, prior)
        return prior
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} holds no {kind.__name__} that can be loaded ({type(error).__name__}).") from error


def load_flow(folder: Path) -> FlowPrior:
    """A flow prior, or the one that a flow map holds (`FlowMapPrior.to_flow`): a published model can be trained on.

    Raises:
        CheckpointError: the folder holds neither.
    """
    if read_json(folder / "config.json").get("_class_name") == FlowMapPrior.__name__:
        return load_prior(FlowMapPrior, folder).to_flow()
    return load_prior(FlowPrior, folder)


class LatentTask:
    """What the stages that train a prior share: optimisers, sample grid, export."""

    averaged = "prior"

    def __init__(self, material: Material) -> None:
        self.source, self.validation, self.vae = material.source, material.validation, material.vae
        self.config, self.accelerator, self.out = material.config, material.accelerator, material.out
        self.trained_with = material.trained_with
        self.sample_text = material.encoder.encode(SAMPLE_PROMPTS).to(self.accelerator.device)
        generators = [torch.Generator().manual_seed(1000 + i) for i in range(len(SAMPLE_PROMPTS))]
        self.sample_noise = draw_noise(generators, self.accelerator.device)

    def prepare(self, prior: Prior, matrix_rate: float, other_rate: float) -> None:
        """Takes the network to be trained: Muon for its hidden matrices, AdamW for the rest."""
        prior.train().to(memory_format=torch.channels_last)
        matrices, others = split_parameters(prior)
        muon = torch.optim.Muon(matrices, lr=matrix_rate, momentum=0.95, weight_decay=0.0)
        adamw = torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.wrapped, muon, adamw = self.accelerator.prepare(prior, muon, adamw)
        self.modules: dict[str, nn.Module] = {"prior": prior}
        self.optimizers = {"muon": muon, "adamw": adamw}

    @property
    def prior(self) -> Prior:
        return self.modules["prior"]

    def update(self, loss: Tensor) -> dict[str, Tensor | float]:
        """One step of both optimisers."""
        own = [self.optimizers["muon"], self.optimizers["adamw"]]
        for optimizer in own:
            optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.prior.parameters(), self.config.clip)
        for optimizer in own:
            optimizer.step()
        return {"loss": loss.detach(), "gradient_norm": norm}

    @torch.no_grad()
    def sample(self) -> Image.Image:
        from dalle.images import grid, over, to_pil

        pictures = []
        for row in range(0, len(SAMPLE_PROMPTS), 8):
            with self.accelerator.autocast():
                *_, latents = self.prior.trajectory(
                    self.sample_noise[row : row + 8], self.sample_text[row : row + 8], self.prior.default_steps, DEFAULT_GUIDANCE
                )
                pictures += to_pil(self.vae.from_latents(latents).cpu())
        return grid([over(picture) for picture in pictures], columns=6, labels=list(SAMPLE_PROMPTS))

    def export(self) -> None:
        half = type(self.prior).from_config(self.prior.config)
        half.load_state_dict(self.prior.state_dict())
        half.half().save_pretrained(self.out)
        (self.out / TRAINED_WITH).write_text(json.dumps(self.trained_with, indent=2) + "\n", encoding="utf-8")


class PriorTask(LatentTask):
    def __init__(
        self,
        material: Material,
        *,
        kind: str = "flow",
        matrix_rate: float = 0.02,
        other_rate: float = 1e-3,
        time_mean: float = 0.0,
        init: Path | None = None,
        refiner_depth: int | None = None,
    ) -> None:
        super().__init__(material)
        self.time_mean = time_mean
        preset = PRESETS[self.config.preset].prior
        self.preset: PriorConfig = dataclasses.replace(preset, kind=kind, text_dim=material.encoder.dim)
        if refiner_depth is not None:
            self.preset = dataclasses.replace(self.preset, refiner_depth=refiner_depth)
        torch.manual_seed(self.config.seed)
        loaded = (lambda: load_flow(init)) if kind == "flow" else (lambda: load_prior(PRIORS[kind], init))
        prior = loaded() if init else build_prior(self.preset)
        if self.preset.refiner_depth and not prior.config.refiner_depth:  # weights from before there was one
            prior = with_refiner(prior, self.preset.refiner_width, self.preset.refiner_depth)
        self.prepare(prior, matrix_rate, other_rate)

    def _losses(
        self, batch: LatentBatch, network: nn.Module, generator: torch.Generator, dropout: float, time_mean: float = 0.0
    ) -> Tensor:
        device = self.accelerator.device
        latents, text = batch.latents.to(device), batch.text.to(device)
        with self.accelerator.autocast():
            if self.preset.kind == "gaussian":
                return gaussian_loss(network, latents, text)
            return flow_loss(network, latents, text, generator, dropout, time_mean)

    def step(self, step: int, progress: float) -> dict[str, Tensor | float]:
        accelerator, config = self.accelerator, self.config
        index = step * accelerator.num_processes + accelerator.process_index
        generator = step_generator(config.seed, step, accelerator.process_index)
        batch = self.source.batch(index, config.batch_size)
        return self.update(self._losses(batch, self.wrapped, generator, self.preset.dropout_text, self.time_mean).mean())

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The loss on held-out scenes, at the same times and noise every time, and what the text alone tells about them."""
        losses = [
            self._losses(batch, self.prior, step_generator(99, place), 0.0) for place, batch in enumerate(self.validation)
        ]
        found = {"val_loss": float(torch.cat(losses).mean())}
        if self.preset.kind == "flow":
            device, shares = self.accelerator.device, []
            with self.accelerator.autocast():
                for place, batch in enumerate(self.validation):
                    given = batch.latents.to(device), batch.text.to(device)
                    shares.append(text_share(self.prior, *given, step_generator(98, place)))
            found["val_text_share"] = sum(shares) / len(shares)
        return found


def add_latent_arguments(parser: argparse.ArgumentParser, stage: str, **defaults: object) -> None:
    """The options of the stages that train on latents."""
    add_run_arguments(parser, stage, **defaults)
    parser.add_argument("--data", type=Path, default=Path("data/sprites"), help="folder made by `python -m train data`")
    parser.add_argument("--vae", type=Path, default=Path("runs/autoencoder/vae"), help="weights of stage 1")
    parser.add_argument("--out", type=Path, default=None, help="where the weights go (default: RUN_FOLDER/prior)")
    parser.add_argument("--init", type=Path, default=None, help="start warm from these weights")
    parser.add_argument("--text-encoder", default="minilm", help="minilm, a folder or a Hub id of a transformers encoder")
    parser.add_argument("--cache", type=int, default=None, help="scenes to encode beforehand; 0: live (default on a GPU)")
    shared = "where the encoded scenes lie, which stages may share (default: RUN_FOLDER/latents)"
    parser.add_argument("--latents", type=Path, default=None, help=shared)


def gather_latents(arguments: argparse.Namespace, teacher: Path | None = None) -> Material:
    """Loads the frozen parts, and encodes scenes beforehand where that is asked for.

    Args:
        teacher: a prior that has to belong to the same latent space and text encoder.

    Raises:
        CheckpointError: a part is missing, or the encoded scenes belong to other ones.
    """
    config = run_config(arguments)
    accelerator = make_accelerator()
    if not (arguments.vae / WEIGHTS).exists():
        raise CheckpointError(f"No autoencoder at {arguments.vae}: run `python -m train autoencoder` first, or name --vae.")
    device = accelerator.device
    dtype = torch.bfloat16 if supports_bf16(device.type) else torch.float32
    vae = DalleVAE.from_pretrained(arguments.vae, dtype=dtype).to(device, memory_format=torch.channels_last)
    encoder = TextEncoder.load(arguments.text_encoder, device.type)
    store = SpriteStore.open(arguments.data)
    live = LiveLatents(SceneComposer(store, split="train", seed=config.seed), vae, encoder, device)
    count = arguments.cache if arguments.cache is not None else (0 if device.type == "cuda" else 40_000)
    trained_with = {"latent_space": latent_space(arguments.vae), "text_encoder": encoder.name}
    if teacher is not None:
        check_trained_with(teacher, trained_with)
    fingerprint = " ".join((*trained_with.values(), str(config.seed), str(store.meta.get("fingerprint"))))
    with accelerator.main_process_first():
        source = LatentCache.build(arguments.latents or config.run / "latents", live, count, fingerprint) if count else live
    held_out = LiveLatents(SceneComposer(store, split="val", seed=1), vae, encoder, device)
    validation = [held_out.batch(i, 64) for i in range(1 if config.preset == "tiny" else 6)]
    out = arguments.out or config.run / "prior"
    return Material(source, validation, vae, encoder, config, accelerator, out, trained_with)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train prior", description=__doc__.splitlines()[0])
    add_latent_arguments(parser, "prior", batch_size=128, sample_steps=200, log_steps=10)
    parser.add_argument("--kind", default="flow", choices=("flow", "gaussian"), help="flow matching, or the one-step lesson")
    parser.add_argument("--time-mean", type=float, default=1.5, help="mean of the time's logit: above 0, more noise")
    parser.add_argument("--matrix-rate", type=float, default=0.02, help="learning rate of Muon")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="learning rate of AdamW")
    parser.add_argument("--refiner-depth", type=int, help="blocks of the refiner (default: the preset's; 0: none, as before)")
    arguments = parser.parse_args(argv)
    if arguments.refiner_depth is not None and not 0 <= arguments.refiner_depth <= 16:
        raise SettingError(f"--refiner-depth must lie between 0 and 16, not {arguments.refiner_depth}.")
    task = PriorTask(
        gather_latents(arguments),
        kind=arguments.kind,
        matrix_rate=arguments.matrix_rate,
        other_rate=arguments.learning_rate,
        time_mean=arguments.time_mean,
        init=arguments.init,
        refiner_depth=arguments.refiner_depth,
    )
    Loop(task, task.config, task.accelerator).fit()
    return 0
