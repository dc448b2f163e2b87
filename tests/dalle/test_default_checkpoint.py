"""The shipped weights, in the number format that this machine draws with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dalle.engine import Engine
from dalle.images import over
from dalle.requests import GenerateRequest, InterpolateRequest, Picture

CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoints" / "default"


@pytest.fixture(scope="module")
def engine():
    engine = Engine(str(CHECKPOINT), "cpu")
    engine.load()
    return engine


def seen(image) -> np.ndarray:
    return np.asarray(over(image)).astype(int)


def test_it_is_light_enough_for_the_tree():
    files = [path for path in CHECKPOINT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 80 * 2**20
    assert all(path.stat().st_size < 48 * 2**20 for path in files)
    assert all(path.suffix in (".safetensors", ".json", ".md", ".txt") for path in files)


def test_its_ranker_finds_the_picture_that_a_text_was_drawn_as(engine):
    """For things that the model draws well; chance would be right in one of six."""
    prompts = ["a red heart", "a green tree", "a yellow star on a blue background", "a purple butterfly", "an umbrella", "a trophy"]
    drawn = [next(p for p in engine.generate(GenerateRequest(prompt, 1, 3)) if isinstance(p, Picture)) for prompt in prompts]
    vectors = engine.picture_vectors([picture.image for picture in drawn])
    right = sum(engine.search(prompt, vectors, 1)[0].index == place for place, prompt in enumerate(prompts))
    assert right >= 5


def test_frames_drawn_together_are_the_pictures_drawn_alone(engine):
    """Within 2/255: a seed means the same picture at any batch size, and beside texts of any length."""
    request = InterpolateRequest("a red apple", "a yellow star on a blue background", 3, 4, frames=5, pacing="raw")
    frames = sorted(engine.interpolate(request), key=lambda frame: frame.index)
    for frame, prompt, seed in ((frames[0], request.prompt_a, 3), (frames[-1], request.prompt_b, 4)):
        steps = engine.default_steps[1]
        (picture,) = (p for p in engine.generate(GenerateRequest(prompt, 1, seed, steps)) if isinstance(p, Picture))
        assert abs(seen(frame.image) - seen(picture.image)).max() <= 2
