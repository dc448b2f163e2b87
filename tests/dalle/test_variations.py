"""Variations, negative prompts, previews, surprises, and pictures made again from what is in their files."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from dalle.config import MAX_NOISES, PRESETS, PromptError, SettingError
from dalle.engine import KEPT_TEXTS, Engine
from dalle.images import read_png_metadata, save_png
from dalle.interpolation import mix_noise, varied
from dalle.prior import FlowMapPrior, FlowPrior, GaussianPrior, build_prior
from dalle.requests import (
    GenerateRequest,
    MixRequest,
    Picture,
    StepProgress,
    noise_of,
    picture_metadata,
    request_of,
    variation,
)
from dalle.sampling import draw_noise
from tests.dalle.test_pipeline import seen
from tests.dalle.test_sampling import features


@pytest.fixture(scope="module")
def engine(tiny_checkpoint):
    found = Engine(str(tiny_checkpoint), device="cpu")
    found.load()
    return found


def pictures(engine, **wish):
    return [item for item in engine.generate(GenerateRequest(**wish)) if isinstance(item, Picture)]


def same(a, b, within=2):
    return np.abs(seen(a.image) - seen(b.image)).max() <= within


# Noise


def noise(recipe):
    return mix_noise([draw_noise([torch.Generator().manual_seed(seed)]) for seed, _ in recipe], [weight for _, weight in recipe])


def test_a_variation_leads_from_one_noise_to_another():
    base, other = noise([(1, 1.0)]), noise([(2, 1.0)])
    assert varied([(1, 1.0)], 2, 0) == [(1, 1.0)]
    torch.testing.assert_close(noise(varied([(1, 1.0)], 2, 0)), base)
    torch.testing.assert_close(noise(varied([(1, 1.0)], 2, 1)), other)
    for strength in (0.1, 0.5, 0.9):
        between = noise(varied([(1, 1.0)], 2, strength))
        assert float(between.std()) == pytest.approx(1, abs=0.05)
        cosine = float(torch.nn.functional.cosine_similarity(between.flatten(), base.flatten(), dim=0))
        assert cosine == pytest.approx(math.cos(strength * math.pi / 2), abs=0.05)


def test_a_long_line_of_variations_keeps_its_length():
    recipe = [(0, 5.0)]
    for seed in range(1, 40):
        recipe = varied(recipe, seed, 0.25)
    assert len(recipe) == MAX_NOISES and recipe[-1][0] == 39
    assert sum(weight**2 for _, weight in recipe) == pytest.approx(1)
    assert float(noise(recipe).std()) == pytest.approx(1, abs=0.05)


# Variations


def test_a_variation_of_no_strength_is_the_picture_itself(engine):
    (first,) = pictures(engine, prompt="a cat", num_images=1, seed=7)
    again, other = (
        pictures(engine, prompt="a cat", num_images=1, seed=8, variation_of=[(7, 1.0)], variation_strength=strength)[0]
        for strength in (0, 1)
    )
    assert same(first, again) and not same(first, other)
    assert same(other, pictures(engine, prompt="a cat", num_images=1, seed=8)[0])


def test_a_small_variation_stays_near(engine):
    (first,) = pictures(engine, prompt="a cat", num_images=1, seed=7)

    def distance(strength):
        found = pictures(engine, prompt="a cat", num_images=4, seed=20, variation_of=[(7, 1.0)], variation_strength=strength)
        return np.mean([np.abs(seen(picture.image) - seen(first.image)).mean() for picture in found])

    assert 0 < distance(0.1) < distance(0.4) < distance(1)


def test_a_variation_can_be_made_again_and_varied_again(engine, tmp_path):
    recipe = [(7, 1.0)]
    for step in range(3):
        found = pictures(engine, prompt="a cat", num_images=2, seed=50 + step, variation_of=recipe, variation_strength=0.3)[1]
        path = save_png(found.image, tmp_path / f"{step}.png", picture_metadata(found))
        assert same(found, pictures(engine, **dataclasses.asdict(request_of(read_png_metadata(path))))[0])
        recipe = noise_of(found.seed, found.settings)
    assert [seed for seed, _ in recipe] == [7, 51, 52, 53]


def test_the_best_variations_are_those_of_their_seeds(engine):
    wish = {"prompt": "a cat", "seed": 30, "variation_of": [(7, 1.0)], "variation_strength": 0.4}
    chosen = pictures(engine, num_images=2, candidates=9, **wish)
    for picture in chosen:
        assert same(picture, pictures(engine, num_images=1, **wish | {"seed": picture.seed})[0])


@pytest.mark.parametrize(
    "recipe", [[], "7", 7, [7], [[7]], [[7, 1, 1]], [[-1, 1]], [[7, -1]], [[7, float("nan")]], [[7, 0]], [["7", 1]], [[7, True]],
               [[seed, 1] for seed in range(MAX_NOISES + 1)]],
)  # fmt: skip
def test_a_bad_recipe_of_noise_is_refused(engine, recipe):
    with pytest.raises(SettingError):
        engine.generate(GenerateRequest("a cat", variation_of=recipe))


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), "much", True, None])
def test_a_bad_strength_is_refused(engine, strength):
    with pytest.raises(SettingError, match="between 0 and 1"):
        engine.generate(GenerateRequest("a cat", variation_of=[(7, 1.0)], variation_strength=strength))


# Negative prompts


def priors():
    torch.manual_seed(0)
    for kind in ("flow", "flowmap"):
        prior = build_prior(dataclasses.replace(PRESETS["tiny"].prior, kind=kind)).eval()
        for parameter in prior.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        yield prior


@pytest.mark.parametrize("prior", list(priors()), ids=lambda prior: prior.kind)
@torch.inference_mode()
def test_a_negative_text_acts_and_the_same_text_cancels(prior: FlowPrior | FlowMapPrior):
    z, text = torch.randn(2, 8, 16, 16), features(2, 5)

    def draw(negative, guidance=3.0):
        *_, found = prior.trajectory(z, text, 2, guidance, negative)
        return found

    assert (draw(None) - draw(features(2, 7, seed=1))).abs().max() > 1e-3
    # What is wanted and unwanted at once changes nothing: a flow then draws as it would without guidance.
    expected = draw(None, 3.0 if prior.kind == "flowmap" else 1.0)
    torch.testing.assert_close(draw(text), expected, atol=1e-4, rtol=1e-4)
    alone = [*prior.trajectory(z[:1], text[:1], 2, 3.0, features(2, 7, seed=1)[:1])][-1]
    torch.testing.assert_close(draw(features(2, 7, seed=1))[:1], alone, atol=1e-4, rtol=1e-4)


def test_a_negative_prompt_reaches_the_picture_and_its_file(engine):
    (plain,) = pictures(engine, prompt="a cat", num_images=1, seed=7)
    (led,) = pictures(engine, prompt="a cat", num_images=1, seed=7, negative_prompt="a red apple")
    (blank,) = pictures(engine, prompt="a cat", num_images=1, seed=7, negative_prompt="  ")
    assert not same(plain, led) and same(plain, blank)
    assert led.settings["negative_prompt"] == "a red apple" and "negative_prompt" not in blank.settings
    assert same(led, pictures(engine, **dataclasses.asdict(request_of(picture_metadata(led))))[0])
    with pytest.raises(PromptError, match="negative prompt"):
        engine.generate(GenerateRequest("a cat", negative_prompt="🍎"))


def test_the_pipeline_takes_negative_prompts(tiny_pipeline):
    def draw(negative, prompts=("a cat", "a dog"), seeds=(1, 2)):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return tiny_pipeline(list(prompts), negative_prompt=negative, generator=generators, output_type="pt").images

    for row, negative in enumerate(("a tree", "a house")):
        alone = draw(negative, [("a cat", "a dog")[row]], [row + 1])
        torch.testing.assert_close(draw(["a tree", "a house"])[row], alone[0], atol=2e-2, rtol=0)
    assert not torch.equal(draw("a tree"), draw(None))
    with pytest.raises(SettingError, match="3 negative prompts"):
        draw(["a tree"] * 3)


def test_a_prior_without_guidance_refuses_a_negative_text():
    prior: GaussianPrior = build_prior(dataclasses.replace(PRESETS["tiny"].prior, kind="gaussian"))
    with pytest.raises(SettingError, match="without guidance"):
        next(prior.trajectory(torch.randn(1, 8, 16, 16), features(1, 4), negative=features(1, 4)))


# Previews, surprises


def test_the_preview_of_the_last_step_is_the_picture(engine):
    items = list(engine.generate(GenerateRequest("a cat", num_images=2, seed=3, num_inference_steps=3)))
    steps = [item for item in items if isinstance(item, StepProgress)]
    found = [item for item in items if isinstance(item, Picture)]
    for step in steps:
        image = step.preview()
        assert image.size == found[0].image.size
        if step.step == step.steps:
            assert np.array_equal(np.asarray(image), np.asarray(found[step.index].image))


def test_a_surprise_is_something_that_was_taught(engine):
    known = engine.wait().judge.captions
    found = {engine.surprise() for _ in range(40)}
    assert found <= set(known) and (len(found) > 1 or len(known) == 1)
    assert engine.surprise(5) == engine.surprise(5)


# Recipes in files


def test_variation_of_a_request_starts_at_its_picture(engine):
    first = GenerateRequest("a cat", 1, 7, truncation=0.8)
    near = variation(first, 0.0, 2)
    found = pictures(engine, **dataclasses.asdict(near))
    assert len(found) == 2 and all(same(picture, pictures(engine, **dataclasses.asdict(first))[0]) for picture in found)
    nearer = variation(variation(first, 0.5, 1), 0.5)
    assert len(nearer.variation_of) == 2


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"prompt": "a cat", "seed": "7"},
        {"prompt": "a cat", "seed": "7", "settings": "no"},
        {"prompt": "a cat", "seed": "7", "settings": "[]"},
        {"prompt": "a cat", "seed": "7", "settings": "[" * 100_000},
        {"prompt": "a cat", "seed": "many", "settings": "{}"},
        {"prompt": "a cat", "seed": "-7", "settings": "{}"},
        {"prompt": "a cat", "seed": "7", "settings": '{"style": 7}'},
        {"prompt": "a cat", "seed": "7", "settings": '{"negative_prompt": ["x"]}'},
        {"prompt": "a cat", "seed": "7", "settings": '{"variation_of": [[7, -1]], "variation_strength": 0.5}'},
        {"prompt": "a cat", "seed": "7", "settings": '{"variation_of": [[7, 1]], "variation_strength": 5}'},
        {"prompt_a": "a cat", "prompt_b": "a dog", "settings": "{}"},
    ],
)
def test_a_file_without_a_recipe_is_refused(metadata):
    with pytest.raises(SettingError):
        request_of(metadata)


def test_a_mixture_says_what_it_is(engine):
    mixed = engine.mix(MixRequest(["a cat", "a dog"], seeds=[1, 2]))
    with pytest.raises(SettingError, match="several prompts"):
        request_of(picture_metadata(mixed))


def test_settings_are_read_back_whole(engine):
    wish = {"prompt": "a cat", "num_images": 1, "seed": 9, "num_inference_steps": 3, "guidance_scale": 1.5, "style": "flat",
            "truncation": 0.7, "negative_prompt": "a dog", "variation_of": [(3, 1.0)], "variation_strength": 0.5}  # fmt: skip
    (found,) = pictures(engine, **wish)
    read = request_of(json.loads(json.dumps(picture_metadata(found))))
    assert dataclasses.asdict(read) == dataclasses.asdict(GenerateRequest(**wish))


def test_a_prompt_is_encoded_once_for_many_mixtures(engine, monkeypatch):
    encoded = []
    real = type(engine.wait()).encode_prompt
    monkeypatch.setattr(type(engine.wait()), "encode_prompt", lambda self, *given: encoded.append(given) or real(self, *given))
    wish = MixRequest(["a lone wolf", "a long road"], [0.25, 0.75], [1, 2])
    first = engine.mix(wish)
    again = engine.mix(dataclasses.replace(wish, scored=False))
    assert len(encoded) == 2 and same(first, again)
    assert first.score is not None and again.score is None
    other = engine.mix(dataclasses.replace(wish, style="pixel"))
    assert len(encoded) == 4 and not same(first, other)
    for number in range(100):
        engine.mix(dataclasses.replace(wish, prompts=[f"{number} apples", "a long road"], num_inference_steps=1, scored=False))
    assert len(engine._texts) <= KEPT_TEXTS
