"""`python -m train ranker`: which of these pictures fits the text best? Two towers, trained by contrast on composed scenes.

The contrastive loss of CLIP (Radford et al. 2021, arXiv:2103.00020) over a batch of scenes and their captions; beside the
captions of the batch, each picture also meets its own caption with one word exchanged (hard negatives, Yuksekgonul et al. 2022,
arXiv:2210.01936): "two" for "three", "above" for "below". The evaluator is another network, trained on other pictures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from dalle.config import PRESETS
from dalle.ranking import INPUT_SIZE, Ranker, build_ranker
from dalle.text import TextEncoder, TextFeatures
from train.checkpoint import TRAINED_WITH
from train.data import SpriteStore
from train.data.captions import wrong_caption
from train.data.scenes import ThumbnailComposer
from train.loop import Loop, RunConfig, add_run_arguments, make_accelerator, run_config, step_generator


@dataclass
class Meeting:
    """Pictures (B, 4, 64, 64) in [-1, 1], the features of their captions, and of the wrong captions of the rows in `wrong_of`."""

    pixels: Tensor
    captions: list[str]
    wrong_of: list[int]
    text: TextFeatures


def contrastive_loss(pictures: Tensor, texts: Tensor, wrong: Tensor, captions: list[str], scale: Tensor) -> Tensor:
    """Cross-entropy of pictures over all texts and of texts over all pictures; a caption that occurs twice is no mistake.

    Args:
        pictures, texts: unit vectors (B, D), row by row a pair.
        wrong: unit vectors (K, D) of further texts that belong to no picture.
        scale: what cosines are multiplied with.
    """
    target = torch.arange(len(pictures), device=pictures.device)
    numbers = {caption: number for number, caption in enumerate(captions)}
    same = torch.tensor([numbers[caption] for caption in captions], device=pictures.device)
    twice = (same[:, None] == same[None]) & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = (scale * pictures @ texts.T).masked_fill(twice, -torch.inf)
    with_wrong = torch.cat([logits, scale * pictures @ wrong.T], dim=1)
    return (F.cross_entropy(with_wrong, target) + F.cross_entropy(logits.T, target)) / 2


def fit_score(matching: Tensor, other: Tensor, steps: int = 200) -> tuple[float, float]:
    """Scale and shift of the logistic curve that tells cosines of pairs from those of pictures with other captions."""
    x = torch.cat([matching, other])
    y = torch.cat([torch.ones_like(matching), torch.zeros_like(other)])
    found = torch.tensor([10.0, -3.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([found], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        # A weak pull keeps the curve finite where the two are told apart without a mistake.
        loss = F.binary_cross_entropy_with_logits(found[0] * x + found[1], y) + 1e-5 * found.pow(2).sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return float(found[0].detach()), float(found[1].detach())


class RankerTask:
    averaged = "ranker"

    def __init__(
        self,
        store: SpriteStore,
        encoder: TextEncoder,
        config: RunConfig,
        accelerator: Accelerator,
        out: Path,
        *,
        learning_rate: float = 1e-3,
        init: Path | None = None,
    ) -> None:
        self.encoder, self.config, self.accelerator, self.out = encoder, config, accelerator, out
        self.trained_with = {"text_encoder": encoder.name}
        self.composer = ThumbnailComposer(store, "train", config.seed, INPUT_SIZE)
        self.held_out = ThumbnailComposer(store, "val", 1, INPUT_SIZE)
        torch.manual_seed(config.seed)
        preset = dataclasses.replace(PRESETS[config.preset].ranker, text_dim=encoder.dim)
        ranker = Ranker.from_pretrained(init, dtype=torch.float32) if init else build_ranker(preset)
        ranker.train()
        optimizer = torch.optim.AdamW(ranker.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.02)
        self.wrapped, optimizer = accelerator.prepare(ranker, optimizer)
        self.modules: dict[str, nn.Module] = {"ranker": ranker}
        self.optimizers = {"ranker": optimizer}
        self.validation = [self._meeting(self.held_out, place, 128) for place in range(1 if config.preset == "tiny" else 4)]

    def _meeting(self, composer: ThumbnailComposer, index: int, size: int, some: int | None = None) -> Meeting:
        """Batch `index` of a split, with wrong captions for the first `some` rows, or for all."""
        scenes = composer.batch(index, size)
        rng = random.Random(f"{composer.seed}/{index}/wrong")
        wrong = {row: other for row, caption in enumerate(scenes.captions[:some]) if (other := wrong_caption(caption, rng))}
        with self.accelerator.autocast():  # the frozen encoder is half of a step
            text = self.encoder.encode([*scenes.captions, *wrong.values()])
        return Meeting(scenes.pixels, scenes.captions, list(wrong), text)

    def step(self, step: int, progress: float) -> dict[str, Tensor | float]:
        accelerator, config = self.accelerator, self.config
        index = step * accelerator.num_processes + accelerator.process_index
        # A wrong caption is a negative for every picture of the batch; one for each row would cost more than it teaches.
        meeting = self._meeting(self.composer, index, config.batch_size, config.batch_size // 2)
        generator = step_generator(config.seed, step, accelerator.process_index)
        pixels = meeting.pixels
        # Drawn pictures are softer than rendered ones: a little blur and noise, so that neither tells anything.
        soft = torch.rand(len(pixels), 1, 1, 1, generator=generator)
        pixels = torch.lerp(pixels, F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False), soft)
        pixels = pixels + 0.1 * torch.rand(1, generator=generator) * torch.randn(pixels.shape, generator=generator)
        device, count = accelerator.device, len(pixels)
        with accelerator.autocast():
            pictures, texts, scale = self.wrapped(pixels.to(device), meeting.text.to(device))
        loss = contrastive_loss(pictures, texts[:count], texts[count:], meeting.captions, scale)
        optimizer = self.optimizers["ranker"]
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(self.modules["ranker"].parameters(), config.clip)
        optimizer.step()
        right = (pictures @ texts[:count].T).argmax(1).cpu() == torch.arange(count)
        return {"loss": loss.detach(), "accuracy": right.float().mean(), "scale": scale.detach(), "gradient_norm": norm}

    @torch.no_grad()
    def _cosines(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Over the held-out scenes: (of pairs, of pairs that have a wrong caption, of those with it, of all with all (N, B, B))."""
        ranker, device = self.modules["ranker"].eval(), self.accelerator.device
        own, own_hard, hard, every = [], [], [], []
        for meeting in self.validation:
            with self.accelerator.autocast():
                pictures, texts, _ = ranker(meeting.pixels.to(device), meeting.text.to(device))
            count = len(pictures)
            similarity = (pictures @ texts[:count].T).float().cpu()
            every.append(similarity)
            own.append(similarity.diagonal())
            own_hard.append(similarity.diagonal()[meeting.wrong_of])
            hard.append((pictures[meeting.wrong_of] * texts[count:]).sum(-1).float().cpu())
        ranker.train()
        return torch.cat(own), torch.cat(own_hard), torch.cat(hard), torch.stack(every)

    def validate(self) -> dict[str, float]:
        """Share of held-out scenes whose caption wins against the batch's others, and against itself with a word exchanged."""
        _, own, hard, every = self._cosines()
        first = every.argmax(2) == torch.arange(every.shape[1])
        return {"val_first_of_128": float(first.float().mean()), "val_over_wrong_word": float((own > hard).float().mean())}

    def sample(self) -> None:
        """A ranker draws nothing."""

    def export(self) -> None:
        """Fits what turns a cosine into a score, then writes the weights in half precision."""
        own, _, hard, every = self._cosines()
        # As many wrong words as other captions: a picture's neighbour in its batch.
        others = torch.cat([hard, every.roll(1, 2).diagonal(dim1=1, dim2=2).flatten()[: len(hard)]])
        ranker = self.modules["ranker"]
        scale, shift = fit_score(own, others)
        ranker.score_scale.fill_(scale)
        ranker.score_shift.fill_(shift)
        half = Ranker.from_config(ranker.config)
        half.load_state_dict(ranker.state_dict())
        half.half().save_pretrained(self.out)
        told = json.dumps(self.trained_with, indent=2) + "\n"
        (self.out / TRAINED_WITH).write_text(told, encoding="utf-8")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train ranker", description=__doc__.splitlines()[0])
    add_run_arguments(parser, "ranker", batch_size=192, sample_steps=100, warmup_steps=50, log_steps=10, ema_decay=0.99)
    parser.add_argument("--data", type=Path, default=Path("data/sprites"), help="folder made by `python -m train data`")
    parser.add_argument("--out", type=Path, default=None, help="where the weights go (default: RUN_FOLDER/ranker)")
    parser.add_argument("--init", type=Path, default=None, help="start warm from these weights")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--text-encoder", default="minilm", help="minilm, a folder or a Hub id of a transformers encoder")
    arguments = parser.parse_args(argv)
    config = run_config(arguments)
    accelerator = make_accelerator()
    task = RankerTask(
        SpriteStore.open(arguments.data),
        TextEncoder.load(arguments.text_encoder, accelerator.device.type),
        config,
        accelerator,
        arguments.out or config.run / "ranker",
        learning_rate=arguments.learning_rate,
        init=arguments.init,
    )
    Loop(task, config, accelerator).fit()
    return 0
