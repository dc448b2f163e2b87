"""The text in a mixture's file brings it back, and other text is told."""

from __future__ import annotations

import json

import pytest

from dalle.config import SettingError
from dalle.engine import Engine
from dalle.requests import MixRequest, any_request_of, is_mixture, mix_request_of, picture_metadata, request_of

SETTINGS = {"prompts": ["a cat", "a dog"], "weights": [0.25, 0.75], "seeds": [1, 2], "num_inference_steps": 3, "style": "flat"}


def text(**changes: object) -> dict[str, str]:
    return {"prompt": "a cat | a dog", "seed": "1", "settings": json.dumps(SETTINGS | changes)}


def test_a_mixture_s_text_is_its_request():
    found = mix_request_of(text(guidance_scale=2.0, truncation=0.5))
    assert found == MixRequest(["a cat", "a dog"], [0.25, 0.75], [1, 2], 3, 2.0, "flat", 0.5)
    assert any_request_of(text()) == mix_request_of(text())
    single = {"prompt": "a cat", "seed": "1", "settings": "{}"}
    assert any_request_of(single) == request_of(single)
    assert is_mixture(text()) and not is_mixture(single)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": "ab"},
        {"prompts": []},
        {"prompts": ["a"]},
        {"prompts": ["a"] * 5, "weights": [1] * 5, "seeds": [1] * 5},
        {"prompts": ["a", 7]},
        {"prompts": None},
        {"weights": [1, -1]},
        {"weights": [1, "1"]},
        {"weights": [1, float("nan")]},
        {"weights": [1, float("inf")]},
        {"seeds": [1, 2**32]},
        {"seeds": [1, True]},
        {"seeds": {"0": 1}},
        {"style": ["flat"]},
    ],
)
def test_no_mixture_is_told(changes):
    with pytest.raises(SettingError):
        mix_request_of(text(**changes))


@pytest.mark.parametrize("settings", ["", "7", "[", "[" * 100_000, "null", '"prompts"'])
def test_text_that_can_t_be_read_is_no_mixture(settings):
    metadata = {"prompt": "a", "seed": "1", "settings": settings}
    assert not is_mixture(metadata)
    with pytest.raises(SettingError, match="no recipe"):
        mix_request_of(metadata)


@pytest.mark.parametrize("weights", [[0.1, 0.2, 0.7], [1, 1, 1], [0.49, 0.51, 3e-17], [3, 2, 1], [0.3, 0.3, 0.1]])
def test_a_mixture_that_is_made_again_is_the_same(tiny_checkpoint, weights):
    engine = Engine(str(tiny_checkpoint), device="cpu")
    engine.load()
    first = engine.mix(MixRequest(["a cat", "a dog", "a red apple"], weights, [5, 6, 7], 2, 1.5, "flat", 0.8))
    again = engine.mix(mix_request_of(picture_metadata(first)))
    assert again.settings == first.settings and again.image.tobytes() == first.image.tobytes()
