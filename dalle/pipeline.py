"""The whole of it, in diffusers' conventions: prompt -> text features -> latent -> picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from dalle import hub
from dalle.config import (
    DEFAULT_GUIDANCE,
    LATENT_CHANNELS,
    LATENT_SIZE,
    MAX_GUIDANCE,
    MAX_STEPS,
    MIN_TRUNCATION,
    SCHEMA_VERSION,
    STYLES,
    CheckpointError,
    SettingError,
)
from dalle.history import TrainingHistory
from dalle.interpolation import mix_noise, mix_text
from dalle.judge import Judge
from dalle.models import WITHOUT, Recipe
from dalle.prior import Prior
from dalle.ranking import Ranker
from dalle.reference import ReferenceSet
from dalle.sampling import draw_noise, times, truncate
from dalle.text import TextEncoder, TextFeatures, clean_prompt
from dalle.vae import DalleVAE

PARTS = {"judge": Judge, "reference": ReferenceSet, "history": TrainingHistory}
"""Folder of a checkpoint's part that is no network, and name of the pipeline's attribute -> its class; any may be missing."""

Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass
class DallePipelineOutput(BaseOutput):
    """`images`: list of RGBA pictures, an array (B, H, W, 4) in [0, 1], or a tensor, as `output_type` asks."""

    images: list[Image.Image] | np.ndarray | Tensor


def library_versions() -> dict[str, str]:
    return {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__}


def with_style(prompt: str, style: str | None) -> str:
    """The prompt with the phrase of a style, as captions say it.

    Raises:
        SettingError: no such style.
    """
    if style is None:
        return prompt
    if style not in STYLES:
        raise SettingError(f"Unknown style {style!r}: choose one of {', '.join(STYLES)}.")
    return f"{prompt}, {STYLES[style]}"


def check_settings(num_inference_steps: int, guidance_scale: float, truncation: float = 1.0) -> None:
    """Raises SettingError where a number is out of its range (a bool or a string is none)."""
    if isinstance(num_inference_steps, bool) or not isinstance(num_inference_steps, int):
        raise SettingError("num_inference_steps must be a whole number.")
    if not 1 <= num_inference_steps <= MAX_STEPS:
        raise SettingError(f"num_inference_steps must lie between 1 and {MAX_STEPS}, not {num_inference_steps}.")
    if isinstance(guidance_scale, bool) or not isinstance(guidance_scale, int | float):
        raise SettingError("guidance_scale must be a number.")
    if not 0 <= guidance_scale <= MAX_GUIDANCE:
        raise SettingError(f"guidance_scale must lie between 0 and {MAX_GUIDANCE:g}, not {guidance_scale}.")
    if isinstance(truncation, bool) or not isinstance(truncation, int | float):
        raise SettingError("truncation must be a number.")
    if not MIN_TRUNCATION <= truncation <= 1:
        raise SettingError(f"truncation must lie between {MIN_TRUNCATION:g} and 1, not {truncation}.")


class DallePipeline(DiffusionPipeline):
    """Text to 256x256 RGBA pictures.

    `from_pretrained` takes a folder or a Hub id and never runs remote code. The text encoder is not part of a checkpoint: it
    is loaded by its name.
    """

    _optional_components = ["text_encoder", "tokenizer", "ranker"]  # noqa: RUF012 (diffusers reads a plain list)

    def __init__(
        self,
        vae: DalleVAE,
        prior: Prior,
        text_encoder: Any = None,
        tokenizer: Any = None,
        ranker: Ranker | None = None,
        text_encoder_name: str = "minilm",
        schema_version: int = SCHEMA_VERSION,
        made_with: dict[str, str] | None = None,
        weights_sha256: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(vae=vae, prior=prior, text_encoder=text_encoder, tokenizer=tokenizer, ranker=ranker)
        self.register_to_config(
            text_encoder_name=text_encoder_name,
            schema_version=schema_version,
            made_with=made_with or library_versions(),
            weights_sha256=weights_sha256,
        )
        self.judge: Judge | None = None
        self.reference: ReferenceSet | None = None
        self.history: TrainingHistory | None = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> DallePipeline:
        """Loads a checkpoint folder or Hub id (`user/repo[@revision]`) with its text encoder and judge.

        Args:
            dtype: number format of the networks, float32 if not given (`torch_dtype` is the older name of the same).
            kwargs: components to use instead of the saved ones, as for any diffusers pipeline; `revision`, `cache_dir`,
                `token`, `force_download` and `local_files_only` go to the Hub.

        Raises:
            CheckpointError: missing, truncated or foreign checkpoint, or text encoder not to be had.
        """
        where = {name: kwargs.pop(name) for name in hub.HUB_ARGUMENTS if name in kwargs}
        folder = hub.resolve(str(pretrained_model_name_or_path), **where)
        index = hub.check(folder)
        kwargs["dtype"] = kwargs.pop("dtype", None) or kwargs.pop("torch_dtype", None) or torch.float32
        # Small networks load at once; low_cpu_mem_usage would want accelerate, which only training needs.
        kwargs.setdefault("low_cpu_mem_usage", False)
        given = {name: kwargs.pop(name, None) for name in ("text_encoder", "tokenizer")}
        try:
            pipeline = super().from_pretrained(folder, text_encoder=None, tokenizer=None, **kwargs)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{folder} can't be loaded ({type(error).__name__}: {error}): fetch it again.") from error
        for name in hub.present_components(folder):
            if name not in kwargs:
                hub.check_names(folder / name / hub.WEIGHTS, getattr(pipeline, name))
        if given["text_encoder"] is None:
            encoder = TextEncoder.load(index.get("text_encoder_name", "minilm"))
            given = {"text_encoder": encoder.model, "tokenizer": encoder.tokenizer}
        pipeline.register_modules(**given)
        for name, part in PARTS.items():
            setattr(pipeline, name, part.load(folder / name) if (folder / name).is_dir() else None)
        if pipeline.reference is not None:
            pipeline.reference.check_ranker((index.get("weights_sha256") or {}).get("ranker", ""))
        pipeline.set_progress_bar_config(disable=None)
        return pipeline

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Writes networks, configs, the hashes of the weights, and the other parts; the text encoder stays where it came from."""
        self.register_to_config(schema_version=SCHEMA_VERSION)  # whatever it was read from
        for name in PARTS:  # first, so that they are there when the folder goes to the Hub
            if (part := getattr(self, name)) is not None:
                part.save(Path(save_directory) / name)
        encoder = {"text_encoder": self.text_encoder, "tokenizer": self.tokenizer}
        self.register_modules(text_encoder=None, tokenizer=None)
        try:
            super().save_pretrained(save_directory, **kwargs)
            folder = Path(save_directory)
            weights = {name: folder / name / hub.WEIGHTS for name in hub.present_components(folder)}
            if all(path.exists() for path in weights.values()):  # not so for a variant or in shards
                self.register_to_config(weights_sha256={name: hub.sha256(path) for name, path in weights.items()})
                self.save_config(save_directory)
        finally:
            self.register_modules(**encoder)

    @classmethod
    def ready(cls, folder: Path, device: str, dtype: torch.dtype, at_hand: bool = True) -> DallePipeline:
        """`from_pretrained` of a folder, moved to a device and drawn with once: the first evaluation sets up the kernels.

        With a device that is not `at_hand`, what reads prompts and looks at pictures stays where it is, until `bring`.
        """
        pipeline = cls.from_pretrained(folder, dtype=dtype)
        pipeline.vae.to(memory_format=torch.channels_last)
        pipeline.set_progress_bar_config(disable=True)
        if not at_hand:
            pipeline.vae.to(device)
            pipeline.prior.to(device)
            return pipeline
        pipeline.to(device)
        pipeline("a red apple", num_inference_steps=2, output_type="pt")
        return pipeline

    # What `dalle.models.Model` asks for beside what follows.

    def bring(self, device: str) -> None:
        self.to(device)

    batch = 8
    """A step of so many pictures takes the model for a few hundredths of a second."""

    @property
    def lacks(self) -> Mapping[str, str]:
        missing = [name for name in ("judge", "ranker", "reference", "history") if getattr(self, name) is None]
        return {name: WITHOUT[name] for name in (*missing, *(("negative",) if self.one_step else ()))}

    @property
    def default_steps(self) -> int:
        return self.prior.default_steps

    @property
    def default_path_steps(self) -> int:
        return self.prior.default_path_steps

    @property
    def default_guidance(self) -> float:
        return DEFAULT_GUIDANCE

    @property
    def one_step(self) -> bool:
        return self.prior.kind == "gaussian"

    @property
    def styles(self) -> tuple[str, ...]:
        return tuple(STYLES)

    def steps_of(self, num_inference_steps: int) -> int:
        return 1 if self.one_step else num_inference_steps

    def noise(self, recipes: Sequence[Recipe], truncation: float = 1.0) -> Tensor:
        """Recipes -> (N, C, S, S); of one seed it is the noise of `draw_noise`."""
        rows = [self._noise_of(recipe, truncation) for recipe in recipes]
        return torch.cat(rows)

    def _noise_of(self, recipe: Recipe, truncation: float) -> Tensor:
        noises = [truncate(draw_noise([torch.Generator().manual_seed(seed)]), truncation) for seed, _ in recipe]
        return noises[0] if len(noises) == 1 else mix_noise(noises, [weight for _, weight in recipe])

    def mix(self, noises: Sequence[Tensor], texts: Sequence[TextFeatures], weights: Sequence[float]) -> tuple[Tensor, TextFeatures]:
        return mix_noise(noises, weights), mix_text(texts, weights)

    def stack(self, rows: Sequence[tuple[Tensor, TextFeatures]]) -> tuple[Tensor, TextFeatures]:
        return torch.cat([noise for noise, _ in rows]), TextFeatures.stack([text for _, text in rows])

    @property
    def text(self) -> TextEncoder:
        if self.text_encoder is None or self.tokenizer is None:
            raise CheckpointError("The pipeline has no text encoder: pass text_encoder= and tokenizer=.")
        return TextEncoder(self.text_encoder, self.tokenizer, self.config.text_encoder_name)

    def encode_prompt(self, prompt: str | Sequence[str], style: str | None = None) -> TextFeatures:
        """Prompts -> features on the text encoder's device.

        Raises:
            PromptError: nothing to draw in a prompt, or more of it than the model can read.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        texts = [with_style(clean_prompt(p), style) for p in prompts]
        encoder = self.text
        encoder.check_length(texts)
        return encoder.encode(texts)

    @torch.inference_mode()
    def trajectory(
        self,
        noise: Tensor,
        text: TextFeatures | None,
        num_inference_steps: int,
        guidance_scale: float,
        negative: TextFeatures | None = None,
        start: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Yields the estimate of the clean latent (B, C, S, S) after each step; the last is the sample.

        `negative` is what shall not be drawn, with as many rows as `text`. With `start` (B,), times between 0 and 1, `noise` is
        latents that are so noisy; the text may then be left out.
        """
        start = None if start is None else start.to(self.device)
        yield from self.prior.trajectory(noise.to(self.device), text, num_inference_steps, guidance_scale, negative, start)

    @torch.inference_mode()
    def encode_pictures(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> normalised latents (B, C, S, S), float32."""
        from dalle.images import from_pil

        return self.vae.to_latents(from_pil(images).to(self.device, self.vae.dtype)).float()

    @torch.inference_mode()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Normalised latents -> premultiplied RGBA (B, 4, 256, 256) in [-1, 1]."""
        return self.vae.from_latents(latents)

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        num_inference_steps: int | None = None,
        guidance_scale: float = DEFAULT_GUIDANCE,
        truncation: float = 1.0,
        style: str | None = None,
        generator: Generators = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[DallePipeline, int, float, dict[str, Tensor]], Any] | None = None,
    ) -> DallePipelineOutput | tuple:
        """Draws.

        Args:
            prompt: one or several descriptions, in English.
            negative_prompt: what shall not be in the pictures: one for all, or one a prompt.
            num_images_per_prompt: pictures for each of them.
            num_inference_steps: 1 to 100; if not given, what the prior was made for: 1 for a flow map, 16 for a flow. The Gaussian
                prior always takes one.
            guidance_scale: weight of the text, 0 to 10; for a flow 1 is no guidance and half the work.
            truncation: spread of the noise that is drawn, 0.1 to 1; a smaller one gives more typical, less varied pictures.
            style: a key of `dalle.config.STYLES`.
            generator: one, or one a picture: a picture of a list is the picture made alone with that generator.
            latents: the noise to start from, (B, 8, 16, 16), instead of generators.
            output_type: "pil", "np", "pt" (premultiplied, [-1, 1]) or "latent" (normalised).
            callback_on_step_end: called as f(pipeline, step, t after it, {"latents": estimate}).

        Raises:
            PromptError, SettingError: bad input, with what to do.
        """
        from dalle.images import to_pil

        if num_inference_steps is None:
            num_inference_steps = self.prior.default_steps
        check_settings(num_inference_steps, guidance_scale, truncation)
        if isinstance(num_images_per_prompt, bool) or not isinstance(num_images_per_prompt, int) or num_images_per_prompt < 1:
            raise SettingError("num_images_per_prompt must be a whole number of at least 1.")
        if output_type not in ("pil", "np", "pt", "latent"):
            raise SettingError(f"Unknown output_type {output_type!r}: choose pil, np, pt or latent.")
        text = self.encode_prompt(prompt, style).repeat(num_images_per_prompt)
        count = len(text)
        negative = None
        if negative_prompt is not None:
            negative = self.encode_prompt(negative_prompt)
            if len(negative) not in (1, count // num_images_per_prompt):
                raise SettingError(f"{len(negative)} negative prompts: give one, or one a prompt.")
            negative = negative.repeat(count // len(negative))
        if latents is None:
            if generator is None or isinstance(generator, torch.Generator):
                generators: list[torch.Generator | None] = [generator] * count
            else:
                generators = list(generator)
            if len(generators) != count:
                raise SettingError(f"{len(generators)} generators for {count} pictures: pass one, or one a picture.")
            latents = truncate(draw_noise(generators, self.device), truncation)
        elif tuple(latents.shape) != (count, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE):
            raise SettingError(
                f"latents must be ({count}, {LATENT_CHANNELS}, {LATENT_SIZE}, {LATENT_SIZE}), not {tuple(latents.shape)}."
            )
        clean = latents
        steps = 1 if self.prior.kind == "gaussian" else num_inference_steps
        ends = times(steps)[1:]
        with self.progress_bar(total=steps) as bar:
            for step, clean in enumerate(self.trajectory(latents, text, num_inference_steps, guidance_scale, negative)):
                bar.update()
                if callback_on_step_end is not None:
                    callback_on_step_end(self, step, ends[step], {"latents": clean})
        images: Any = clean
        if output_type != "latent":
            images = self.decode_latents(clean).cpu()
        if output_type in ("pil", "np"):
            images = to_pil(images)
        if output_type == "np":
            images = np.stack([np.asarray(image, dtype=np.float32) / 255 for image in images])
        return DallePipelineOutput(images=images) if return_dict else (images,)
