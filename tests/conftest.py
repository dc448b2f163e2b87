"""Fixtures that every test may use: the text encoder, and a tiny checkpoint with random weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

if TYPE_CHECKING:
    from tests.hub_server import Hub

CAPTIONS = [
    "a red apple",
    "a green tree",
    "a cat",
    "a dog",
    "a yellow star on a blue background",
    "two bananas",
    "a grinning face",
    "a cat to the left of a tree",
]


@pytest.fixture(scope="session")
def encoder():
    from dalle.text import TextEncoder

    return TextEncoder.load()


@pytest.fixture(scope="session")
def tiny_pipeline(encoder):
    """A pipeline of the tiny preset whose random weights all act (none left at zero)."""
    import torch

    from dalle.config import PRESETS
    from dalle.judge import Judge
    from dalle.pipeline import DallePipeline
    from dalle.prior import build_prior
    from dalle.ranking import build_ranker
    from dalle.vae import build_vae

    torch.manual_seed(0)
    preset = PRESETS["tiny"]
    vae = build_vae(preset.vae)
    prior = build_prior(preset.prior)
    ranker = build_ranker(preset.ranker)
    with torch.no_grad():
        for parameter in (*vae.parameters(), *prior.parameters()):
            if not parameter.any():
                parameter.normal_(0, 0.05)
    pipeline = DallePipeline(vae.eval(), prior.eval(), encoder.model, encoder.tokenizer, ranker=ranker.eval())
    words = {word for caption in CAPTIONS for word in caption.split()}
    pipeline.judge = Judge.build(CAPTIONS, encoder.encode(CAPTIONS).pooled.numpy(), sorted(words))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_pipeline, tmp_path_factory) -> Path:
    """The tiny pipeline, saved: a checkpoint folder."""
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    tiny_pipeline.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Tiny\n\nRandom weights, for tests.\n")
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """An empty Hub on loopback that huggingface_hub uses, logged in as "user", with an empty cache (see tests/hub_server.py)."""
    from tests.hub_server import hub_for_client

    with hub_for_client(tmp_path / "huggingface") as hub:
        yield hub
        monkeypatch.undo()  # what a test changed of the Hub's settings goes before they do
