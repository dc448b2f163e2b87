"""`python -m train tune`: with which guidance and how many steps does a checkpoint draw best?

Draws the captions of fresh scenes of the training drawings, and looks at the pictures through the checkpoint's own ranker: does a
picture fit its caption better than the others' captions, better than itself with a word exchanged, and how far are the
pictures as a set from the scenes themselves? It prints a table and sets nothing: `dalle.config` has the defaults. The
evaluator has no say in what is chosen, so that it can judge the choice.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from dalle.config import CheckpointError, PromptError, SettingError
from dalle.engine import Engine
from dalle.pipeline import DallePipeline, check_settings
from dalle.ranking import INPUT_SIZE
from dalle.text import TextFeatures, clean_prompt
from train.data import SpriteStore
from train.data.captions import wrong_caption
from train.data.scenes import ThumbnailComposer
from train.evaluation.distances import cmmd
from train.evaluation.systems import Model, finite, in_chunks

SEED = 9001
"""Of the scenes: one that no stage trains with by default."""
CHUNK = 8
GUIDANCE = (1.5, 2.5, 3.5, 5.0, 7.0)
STEPS = {"flowmap": (1, 2, 4), "flow": (8, 16), "gaussian": (1,)}
"""Kind of the prior -> numbers of steps."""


@dataclass(frozen=True)
class Setting:
    """What one guidance and number of steps gave; None of both for the scenes themselves."""

    guidance: float | None
    steps: int | None
    fits: float
    """Share of pictures that fit their own caption better than all others."""
    over_wrong_word: float | None
    """Share that fit it better than the same caption with a word exchanged, of those captions that have such a word."""
    distance: float
    """CMMD x 1000 to the scenes, on the ranker's vectors."""


class Tuning:
    """The prompts, and what the scenes that they tell of look like to the ranker.

    Raises:
        CheckpointError: the checkpoint has no ranker.
    """

    def __init__(self, engine: Engine, store: SpriteStore, count: int) -> None:
        self.engine = engine
        pipeline = engine.wait()
        if pipeline.ranker is None:
            raise CheckpointError(f"{engine.model} has no ranker to choose with: train one, and assemble with --ranker.")
        composer = ThumbnailComposer(store, "train", SEED, INPUT_SIZE)
        wanted: dict[str, Tensor] = {}
        for batch in range(count):
            scenes = composer.batch(batch, 32)
            pairs = zip(scenes.captions, scenes.pixels, strict=True)
            wanted |= {caption: pixels for caption, pixels in pairs if readable(pipeline, caption)}
            if len(wanted) >= count:  # not every data folder has so many captions
                break
        self.prompts = list(wanted)[:count]
        if len(self.prompts) < 2:
            raise CheckpointError("The data gives only one caption, and two are needed: render more.")
        rng = random.Random(SEED)
        wrong = {row: other for row, prompt in enumerate(self.prompts) if (other := wrong_caption(prompt, rng))}
        wrong = {row: other for row, other in wrong.items() if readable(pipeline, other)}
        self.wrong_of = list(wrong)
        self.texts = self._texts(self.prompts)
        self.wrong = self._texts(list(wrong.values())) if wrong else self.texts[:0]
        self.real = self._look(torch.stack([wanted[prompt] for prompt in self.prompts]))

    @torch.inference_mode()
    def _texts(self, texts: list[str]) -> Tensor:
        pipeline = self.engine.wait()

        def encode(chunk: range) -> TextFeatures:
            return pipeline.encode_prompt([texts[place] for place in chunk])

        return torch.cat([pipeline.ranker.texts(encode(chunk)).cpu() for chunk in in_chunks(len(texts), 64)])

    @torch.inference_mode()
    def _look(self, pixels: Tensor) -> Tensor:
        ranker = self.engine.wait().ranker
        chunks = in_chunks(len(pixels), 64)
        return torch.cat([ranker.pictures(pixels[chunk.start : chunk.stop].to(ranker.device)).cpu() for chunk in chunks])

    def _judge(self, vectors: Tensor, guidance: float | None, steps: int | None) -> Setting:
        similarity = vectors @ self.texts.T
        fits = float((similarity.argmax(1) == torch.arange(len(vectors))).float().mean())
        own = similarity.diagonal()[self.wrong_of]
        over = float((own > (vectors[self.wrong_of] * self.wrong).sum(1)).float().mean()) if self.wrong_of else None
        return Setting(guidance, steps, fits, over, cmmd(vectors, self.real))

    def scenes(self) -> Setting:
        """The scenes themselves: as well as can be."""
        return self._judge(self.real, None, None)

    def measure(self, guidance: float, steps: int, bar: tqdm | None = None) -> Setting:
        """Draws each prompt once; its noise is the same for every setting."""
        model, vectors = Model(self.engine, steps, guidance), []
        for chunk in in_chunks(len(self.prompts), CHUNK):
            pixels = model.draw([self.prompts[place] for place in chunk], [SEED + place for place in chunk])
            vectors.append(self._look(finite(pixels, self.engine.model)))
            if bar is not None:
                bar.update(len(chunk))
        return self._judge(torch.cat(vectors), guidance, steps)


def readable(pipeline: DallePipeline, caption: str) -> bool:
    """Whether a caption may be a prompt: training reads the beginning of longer ones too."""
    try:
        pipeline.text.check_length([clean_prompt(caption)])
    except PromptError:
        return False
    return True


def table(found: list[Setting]) -> str:
    lines = [
        "| guidance | steps | fits its caption best | better than a wrong word | distance to the scenes |",
        "| --- | --- | --- | --- | --- |",
    ]
    for setting in found:
        first = "| scenes | " if setting.guidance is None else f"| {setting.guidance:g} | {setting.steps}"
        over = "" if setting.over_wrong_word is None else f"{setting.over_wrong_word:.3f}"
        lines.append(f"{first} | {setting.fits:.3f} | {over} | {setting.distance:.1f} |")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train tune", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="checkpoints/default", help="checkpoint folder or Hub id, with a ranker")
    parser.add_argument("--data", type=Path, default=Path("data/sprites"))
    parser.add_argument("--guidance", type=float, nargs="+", help="default: " + ", ".join(f"{weight:g}" for weight in GUIDANCE))
    parser.add_argument("--steps", type=int, nargs="+", help="default: some that suit the kind of prior")
    parser.add_argument("--count", type=int, default=256, help="prompts, each drawn once with every setting")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    if arguments.count < 2:
        raise SettingError(f"--count must be at least 2, not {arguments.count}.")
    for guidance in arguments.guidance or ():
        check_settings(1, guidance)
    for steps in arguments.steps or ():
        check_settings(steps, 1.0)
    store = SpriteStore.open(arguments.data)
    engine = Engine(arguments.model, arguments.device)
    engine.load()
    tuning = Tuning(engine, store, arguments.count)
    found = [tuning.scenes()]
    kind = engine.wait().prior.kind
    weights = arguments.guidance or (GUIDANCE if kind != "gaussian" else GUIDANCE[:1])  # the textbook's prior has no guidance
    settings = [(guidance, steps) for steps in arguments.steps or STEPS[kind] for guidance in weights]
    with tqdm(total=len(settings) * len(tuning.prompts), desc="tune", unit="picture", mininterval=2) as bar:
        found += [tuning.measure(guidance, steps, bar) for guidance, steps in settings]
    print(table(found))
    return 0
