"""Raw values from the page or the API become requests, or a sentence that says what is wrong."""

from __future__ import annotations

import pytest

from dalle.config import MAX_SEED, PromptError, SettingError
from ui import inputs


def test_the_page_s_values_become_a_request():
    request = inputs.generate_request(
        prompt="a cat", num_images=2.0, seed=7.0, num_inference_steps=12, guidance_scale=3, style="any", strict=False
    )
    assert (request.prompt, request.num_images, request.seed) == ("a cat", 2, 7)
    assert isinstance(request.num_images, int) and isinstance(request.guidance_scale, float)
    assert request.style is None


def test_empty_boxes_are_left_to_the_engine():
    request = inputs.interpolate_request(prompt_a="a", prompt_b="b", seed_a="", seed_b=None, style=None)
    assert request.seed_a is request.seed_b is request.style is request.num_inference_steps is None


@pytest.mark.parametrize("value", ["seven", "7.5", "0x7", "٧", True, [7], {"seed": 7}, float("nan"), float("inf"), 1.5])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(SettingError, match="seed must be a"):
        inputs.generate_request(prompt="a cat", seed=value)


def test_seed_boxes_send_text():
    assert inputs.whole_number(" 4294967295 ", "seed") == MAX_SEED
    assert inputs.whole_number("-1", "seed") == -1
    assert inputs.whole_number("  ", "seed") is None


def test_large_whole_numbers_stay_exact():
    assert inputs.whole_number(2**53 + 1, "seed") == 2**53 + 1


@pytest.mark.parametrize("value", ["cubist", 3, ["flat"]])
def test_an_unknown_style_is_refused_with_the_known_ones(value):
    with pytest.raises(SettingError, match="any, flat"):
        inputs.style_name(value)


def test_a_prompt_must_be_text():
    with pytest.raises(PromptError):
        inputs.generate_request(prompt=["a cat"])
    assert inputs.generate_request(prompt=None).prompt == ""


def test_random_seeds_are_in_range_and_differ():
    empty = inputs.generate_request(prompt="a cat")
    seeds = {inputs.with_seed(empty).seed for _ in range(50)}
    assert len(seeds) > 40
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


@pytest.mark.parametrize("name", ["num_images", "seed", "num_inference_steps", "guidance_scale"])
@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_numbers_beyond_any_float_are_out_of_range(name, value):
    with pytest.raises(SettingError, match="out of range"):
        inputs.generate_request(prompt="a cat", **{name: value})


@pytest.mark.parametrize("value", ["false", "no", 0, 1, [True]])
def test_yes_and_no_are_not_guessed(value):
    with pytest.raises(SettingError, match="true or false"):
        inputs.generate_request(prompt="a cat", strict=value)


def test_half_a_surrogate_pair_is_no_character():
    assert inputs.text("caf\udce9 au lait").encode() == b"caf? au lait"
