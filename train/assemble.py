"""`python -m train assemble`: the trained parts and the judge as one checkpoint folder, with its card."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dalle.config import CheckpointError, SettingError
from dalle.hub import WEIGHTS, check_weights, read_json
from dalle.judge import Judge
from dalle.pipeline import DallePipeline
from dalle.prior import PRIORS
from dalle.ranking import Ranker
from dalle.text import TextEncoder
from dalle.vae import DalleVAE
from train.data import SceneComposer, SpriteStore
from train.data.sources import attribution
from train.latents import TRAINED_WITH, check_trained_with, latent_space

KNOWN_CAPTIONS = 8_000


def known_captions(store: SpriteStore, limit: int) -> tuple[list[str], list[str]]:
    """(captions that the judge keeps, every word that training captions use): labels first, then composed captions."""
    rows = store.rows("train")
    labels = sorted({store.records[row].label for row in rows})
    composer = SceneComposer(store, split="train", seed=0)
    captions = dict.fromkeys(labels[:limit])
    words = {word for row in rows for text in (store.records[row].label, *store.records[row].tags) for word in text.split()}
    for step in range(64):
        composed = composer.captions(step, 64)
        words.update(word for caption in composed for word in caption.split())
        captions.update(dict.fromkeys(composed))
    return list(captions)[:limit], sorted({word.strip(".,:;!?()").lower() for word in words if word})


def build_judge(store: SpriteStore, encoder: TextEncoder, limit: int = KNOWN_CAPTIONS) -> Judge:
    captions, words = known_captions(store, limit)
    vectors = [encoder.encode(captions[i : i + 64]).pooled.cpu().numpy() for i in tqdm(range(0, len(captions), 64))]
    return Judge.build(captions, np.concatenate(vectors), words)


STORY = ("| run | minutes | steps | samples a second (last) | last validation |", "| --- | --- | --- | --- | --- |")


def told_before(card: Path) -> list[str]:
    """The rows of the runs in an older card: what a checkpoint that was trained further was made of, where its logs are gone.

    Raises:
        CheckpointError: there is no such card, or no runs in it.
    """
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    _, found, rest = text.partition("\n".join(STORY) + "\n")
    if not found:
        raise CheckpointError(f"{card} tells of no training: name with --before the folder of a checkpoint made by this command.")
    return rest.partition("\n\n")[0].splitlines()


def training_story(runs: list[Path], before: list[str]) -> str:
    """What the run logs say: a Markdown row a run, after those of `before`."""
    rows = [*STORY, *before]
    for run in runs:
        log = run / "log.jsonl"
        if not log.exists():
            continue
        entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        last = entries[-1]
        rates = [e["samples_per_second"] for e in entries if "samples_per_second" in e]
        metrics = [f"{k} {v:.3f}" for e in entries[-1:] for k, v in e.items() if k.startswith("val_")]
        rate = f"{rates[-1]:.0f}" if rates else "-"
        rows.append(f"| {run.name} | {last['minutes']:.0f} | {last['step']:,} | {rate} | {', '.join(metrics) or '-'} |")
    return "\n".join(rows)


PRIOR_TOLD = {
    "flow": "transformer that carries noise and text to a latent by flow matching",
    "flowmap": "transformer that carries noise and text to a latent in a few steps or one: a flow map, distilled from a flow",
    "gaussian": "transformer that makes of a text the mean and log-variance of a latent",
}
"""What a card says of each kind of prior."""


def card(store: SpriteStore | None, runs: list[Path], hardware: str, prior: str, before: list[str]) -> str:
    """The checkpoint's README."""
    data = attribution(store) if store is not None else "The data folder was not there when this card was made."
    return f"""---
license: cc-by-4.0
pipeline_tag: text-to-image
library_name: diffusers
language: en
tags: [text-to-image, drawings, icons, rgba]
---
# A small open DALL·E for drawings

A prompt in English goes in, a 256x256 picture with transparency comes out: drawings, stickers, icons and simple scenes. It was
trained from scratch, in the open, by the package `train` of this repository.

## Parts

- `vae/`: variational autoencoder trained with an adversary, 256x256 RGBA to 16x16x8 latents.
- `prior/`: {PRIOR_TOLD[prior]}.
- `ranker/`, where there is one: tells how well a picture fits a text, to put candidates in order.
- `judge/`: the captions it knows, as quantised vectors, to tell before drawing how well a description can be drawn.
- `reference/`, where there is one: a small copy of one training drawing for each thing that was taught, with the ranker's vectors,
  to search in and to compare with; `drawings.json` names the set and licence of each. The sets are attributed below.
- `history/`, where there is one: the same prompts with the same noise at moments of the training.
- The text encoder, all-MiniLM-L6-v2 (Apache-2.0), is not copied here: it is loaded by name.

## Training

Trained on {hardware}.

{training_story(runs, before)}

## Trained on

{data}

## What it can't do

It knows drawings, not photographs: no real persons, no places, no legible writing, no language but English. Fine detail, counting,
colours on the right object and relations between objects often go wrong; words that its captions never used are guessed.
Do not use it for medical pictures or to deceive.

## Licence

The weights are CC BY 4.0, with the attribution of every drawing set as above; the code is Apache-2.0.
"""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train assemble", description=__doc__)
    parser.add_argument("--vae", type=Path, default=Path("runs/autoencoder/vae"))
    parser.add_argument("--prior", type=Path, default=Path("runs/prior/prior"))
    parser.add_argument(
        "--teachers", type=Path, nargs="*", default=[Path("runs/prior/prior")], help="what the prior was made of, for the card"
    )
    parser.add_argument("--ranker", type=Path, default=None, help="weights of the ranker; without, there will be none")
    parser.add_argument("--data", type=Path, default=Path("data/sprites"), help="for the judge's captions and the card")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/default"))
    parser.add_argument("--text-encoder", default="minilm")
    older = "a checkpoint that these weights were trained on from: its card's runs come before these runs'"
    parser.add_argument("--before", type=Path, default=None, help=older)
    parser.add_argument("--hardware", default="two CPU cores", help="what the runs were made on, for the card")
    arguments = parser.parse_args(argv)
    for part in filter(None, (arguments.vae, arguments.prior, arguments.ranker)):
        check_weights(part / WEIGHTS)
        read_json(part / "config.json")
    if arguments.out.exists() and not (arguments.out / "model_index.json").exists():
        raise SettingError(f"{arguments.out} is there and is no checkpoint: --out names the checkpoint's own folder.")
    before = told_before(arguments.before / "README.md") if arguments.before else []
    store = SpriteStore.open(arguments.data)
    encoder = TextEncoder.load(arguments.text_encoder)
    config = read_json(arguments.prior / "config.json")
    kinds = {cls.__name__: cls for cls in PRIORS.values()}
    prior = kinds[config["_class_name"]].from_pretrained(arguments.prior, dtype=torch.float16)
    vae = DalleVAE.from_pretrained(arguments.vae, dtype=torch.float16)
    check_trained_with(arguments.prior, {"latent_space": latent_space(arguments.vae), "text_encoder": encoder.name})
    ranker = None
    if arguments.ranker is not None:
        check_trained_with(arguments.ranker, {"text_encoder": encoder.name})
        ranker = Ranker.from_pretrained(arguments.ranker, dtype=torch.float16)
    pipeline = DallePipeline(
        vae, prior, encoder.model, encoder.tokenizer, ranker=ranker, text_encoder_name=arguments.text_encoder
    )
    pipeline.judge = build_judge(store, encoder)
    aside = arguments.out.with_name(arguments.out.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    pipeline.save_pretrained(aside)
    shutil.copy(arguments.prior / TRAINED_WITH, aside / "prior" / TRAINED_WITH)
    if arguments.ranker is not None:
        shutil.copy(arguments.ranker / TRAINED_WITH, aside / "ranker" / TRAINED_WITH)
    parts = filter(None, (arguments.vae, *arguments.teachers, arguments.prior, arguments.ranker))
    runs = list(dict.fromkeys(part.parent for part in parts))
    story = card(store, runs, arguments.hardware, prior.kind, before)
    (aside / "README.md").write_text(story, encoding="utf-8")
    old = arguments.out.with_name(arguments.out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if arguments.out.exists():
        arguments.out.rename(old)
    aside.rename(arguments.out)
    shutil.rmtree(old, ignore_errors=True)
    print(f"{arguments.out}: {sum(f.stat().st_size for f in arguments.out.rglob('*') if f.is_file()) / 2**20:.1f} MiB")
    return 0
