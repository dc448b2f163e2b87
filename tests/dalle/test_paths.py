"""Paths through several stages: where their frames lie, that they pass through their stages' pictures, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import threading
from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from dalle.config import (
    MAX_FRAMES,
    MAX_LENGTH,
    MAX_PATH_FRAMES,
    MAX_STAGES,
    PRESETS,
    Cancelled,
    PromptError,
    SettingError,
)
from dalle.images import to_pil
from dalle.interpolation import Route
from dalle.prior import build_prior
from dalle.requests import (
    GenerateRequest,
    InterpolateRequest,
    PathRequest,
    Picture,
    Stage,
    as_path,
    two_prompts,
    variation,
    with_seeds,
)
from tests.dalle.test_pipeline import exact_engine  # noqa: F401 (a fixture)
from tests.dalle.test_sampling import features

THREE = (Stage("a cat", 3), Stage("a dog", 4), Stage("a red apple", 5))


def frames_of(engine, path):
    return sorted(engine.interpolate(path), key=lambda frame: frame.index)


def picture_of(engine, request):
    return next(item for item in engine.generate(request) if isinstance(item, Picture)).image


def apart(one, other):
    return np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max()


# Where frames lie


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("lengths", [(1,), (1, 1, 1), (0.1, 10), (3, 1, 2, 0.5, 1, 1, 1, 1)])
@pytest.mark.parametrize("frames", [9, 17, 33, 128, 129])
def test_every_frame_has_its_place_and_every_leg_a_step(frames, lengths, loop):
    route = Route.shared_out(frames, lengths, loop)
    assert route.frames == frames and min(route.gaps) >= 1 and len(route.gaps) == len(lengths)
    spare = sum(route.gaps) - len(lengths)
    for gap, length in zip(route.gaps, lengths, strict=True):
        assert abs(gap - 1 - spare * length / sum(lengths)) < 1
    places = [route.place(index) for index in range(frames)]
    assert places == sorted(places) and len(set(places)) == frames
    assert [route.place(index)[1] for index in route.stages[: len(lengths)]] == [0] * len(lengths)
    assert len(route.stages) == len(lengths) + (0 if loop else 1)
    levels = list(route.levels())
    assert sorted(chain.from_iterable(levels)) == list(range(frames)) and set(levels[0]) == set(route.stages)


def test_a_finer_level_halves_the_gaps_of_every_leg():
    levels = list(Route((8, 4)).levels())
    assert levels == [[0, 8, 12], [4, 10], [2, 6, 9, 11], [1, 3, 5, 7]]
    assert [len(level) for level in Route((32,)).levels()] == [2, 1, 2, 4, 8, 16]


# What is drawn


@pytest.mark.parametrize("loop", [False, True])
def test_a_path_passes_through_the_pictures_of_its_stages(exact_engine, loop):  # noqa: F811
    frames = frames_of(exact_engine, PathRequest(THREE, loop, frames=9, num_inference_steps=2))
    assert [frame.index for frame in frames] == list(range(9)) and {frame.total for frame in frames} == {9}
    stages = Route.shared_out(9, [1] * (3 if loop else 2), loop).stages
    for index, stage in zip(stages, THREE, strict=True):
        assert apart(frames[index].image, picture_of(exact_engine, GenerateRequest(stage.prompt, 1, stage.seed, 2))) <= 3
    for frame in frames:
        if frame.index not in stages:
            assert 0 < frame.position < 1


def test_a_leg_is_the_path_of_its_two_prompts(exact_engine):  # noqa: F811
    path = frames_of(exact_engine, PathRequest(THREE, frames=9, num_inference_steps=1, pacing="raw"))
    alone = frames_of(exact_engine, InterpolateRequest("a dog", "a red apple", 4, 5, 5, num_inference_steps=1, pacing="raw"))
    for one, other in zip(path[4:], alone, strict=True):
        assert apart(one.image, other.image) <= 3
        assert one.position == pytest.approx(other.position if one.index > 4 else 0, abs=1e-6)
    assert [frame.leg for frame in path] == [0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_a_loop_leads_back_without_drawing_its_start_twice(exact_engine):  # noqa: F811
    frames = frames_of(exact_engine, PathRequest(THREE[:2], True, frames=8, num_inference_steps=1, pacing="raw"))
    there = frames_of(exact_engine, InterpolateRequest("a cat", "a dog", 3, 4, frames=5, num_inference_steps=1, pacing="raw"))
    order = [0, 1, 2, 3, 4, 3, 2, 1]
    for frame, place in zip(frames, order, strict=True):
        assert apart(frame.image, there[place].image) <= 3
    assert [frame.leg for frame in frames] == [0] * 4 + [1] * 4
    assert apart(frames[-1].image, frames[0].image) > 3


def test_a_batch_is_the_frames_one_by_one(exact_engine, monkeypatch):  # noqa: F811
    path = PathRequest(THREE, frames=7, num_inference_steps=1, pacing="raw")
    together = frames_of(exact_engine, path)
    monkeypatch.setattr("dalle.pipeline.DallePipeline.batch", 1)
    for one, other in zip(together, frames_of(exact_engine, path), strict=True):
        assert apart(one.image, other.image) <= 3


def test_stages_come_first_and_then_what_lies_between(exact_engine):  # noqa: F811
    order = [frame.index for frame in exact_engine.interpolate(PathRequest(THREE, frames=17))]
    assert set(order[:3]) == {0, 8, 16} and set(order[3:5]) == {4, 12} and set(order[5:9]) == {2, 6, 10, 14}


def test_an_earlier_picture_is_passed_exactly(exact_engine):  # noqa: F811
    first = GenerateRequest("a cat", 1, 7, 1, style="pixel", truncation=0.6)
    varied = variation(GenerateRequest("a dog", 1, 8, 1), 0.4, 1)
    path = PathRequest((Stage(drawn=first), Stage(drawn=varied), Stage("a red apple", 5)), frames=5, num_inference_steps=1)
    frames = frames_of(exact_engine, path)
    assert apart(frames[0].image, picture_of(exact_engine, first)) <= 3
    assert apart(frames[2].image, picture_of(exact_engine, varied)) <= 3
    assert apart(frames[2].image, picture_of(exact_engine, GenerateRequest("a dog", 1, 8, 1))) > 3


def test_cancelling_ends_a_path_within_a_step(exact_engine):  # noqa: F811
    cancel, seen = threading.Event(), []
    with pytest.raises(Cancelled):
        for frame in exact_engine.interpolate(PathRequest(THREE, frames=65), cancel):
            seen.append(frame)
            if len(seen) == 6:
                cancel.set()
    assert len(seen) == 6


def test_where_only_the_text_moves_the_noise_stays(exact_engine):  # noqa: F811
    path = PathRequest(THREE, frames=5, num_inference_steps=1, pacing="raw", moving="text")
    frames = frames_of(exact_engine, path)
    for index, prompt in ((0, "a cat"), (2, "a dog"), (4, "a red apple")):
        assert apart(frames[index].image, picture_of(exact_engine, GenerateRequest(prompt, 1, 3, 1))) <= 3
    both = frames_of(exact_engine, dataclasses.replace(path, moving="both"))
    assert apart(frames[1].image, both[1].image) > 3
    assert json.loads(exact_engine.path_metadata(path)["settings"])["moving"] == "text"
    with pytest.raises(SettingError, match="no text leads to it"):
        exact_engine.interpolate(PathRequest((Stage("a cat", 1), Stage("a dog", 2, image=drawing())), moving="text"))


# Given pictures


def drawing(width=90, height=60, mode="RGBA", colour=(200, 30, 30, 255)):
    image = Image.new("RGBA", (width, height))
    ImageDraw.Draw(image).ellipse((10, 10, width - 10, height - 10), fill=colour)
    return image.convert(mode)


def reconstructed(engine, image):
    pipeline = engine.wait()
    return to_pil(pipeline.decode_latents(pipeline.encode_pictures([image])))[0]


@pytest.mark.parametrize("prompts", [("", ""), ("a red ball", ""), ("a red ball", "a blue ball")])
def test_a_way_between_given_pictures_begins_and_ends_with_them(exact_engine, prompts):  # noqa: F811
    images = drawing(), drawing(256, 256, "RGB", (30, 30, 200, 255))
    stages = [Stage(prompt, seed, image=image) for prompt, seed, image in zip(prompts, (3, 4), images, strict=True)]
    frames = frames_of(exact_engine, PathRequest(stages, frames=9))
    for place, image in ((0, images[0]), (-1, images[1])):
        assert apart(frames[place].image, reconstructed(exact_engine, image)) <= 3
    pipeline = exact_engine.wait()
    ends = [pipeline.encode_pictures([image]) for image in images]
    faded = to_pil(pipeline.decode_latents((ends[0] + ends[1]) / 2))[0]
    assert np.abs(np.asarray(frames[4].image).astype(int) - np.asarray(faded)).mean() > 1


def test_a_given_picture_meets_prompts_and_earlier_pictures_exactly(exact_engine):  # noqa: F811
    earlier = GenerateRequest("a dog", 1, 8, 3, guidance_scale=4.0, negative_prompt="blue")
    stages = (Stage("a cat", 3), Stage("", 5, image=drawing()), Stage(drawn=earlier), Stage("a red apple", 6))
    frames = frames_of(exact_engine, PathRequest(stages, True, frames=12, num_inference_steps=2))
    expected = [
        picture_of(exact_engine, GenerateRequest("a cat", 1, 3, 2)),
        reconstructed(exact_engine, drawing()),
        picture_of(exact_engine, earlier),
        picture_of(exact_engine, GenerateRequest("a red apple", 1, 6, 2)),
    ]
    for index, picture in zip((0, 3, 6, 9), expected, strict=True):
        assert apart(frames[index].image, picture) <= 3


def test_a_given_picture_s_frames_in_a_batch_are_the_frames_one_by_one(exact_engine, monkeypatch):  # noqa: F811
    stages = (Stage("a cat", 3), Stage("", 5, image=drawing()), Stage("", 6, image=drawing(40, 90)), Stage("a dog", 9))
    path = PathRequest(stages, frames=13, pacing="raw")
    together = frames_of(exact_engine, path)
    monkeypatch.setattr("dalle.pipeline.DallePipeline.batch", 1)
    for one, other in zip(together, frames_of(exact_engine, path), strict=True):
        assert apart(one.image, other.image) <= 3


@pytest.mark.parametrize("kind", ["flow", "flowmap", "gaussian"])
def test_every_kind_of_prior_draws_a_way_between_given_pictures(kind):
    torch.manual_seed(0)
    prior = build_prior(dataclasses.replace(PRESETS["tiny"].prior, kind=kind)).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    z, start = torch.randn(3, 8, 16, 16), torch.tensor([0.2, 0.5, 0.8])
    with torch.no_grad():
        for text in (None, features(3, 4)):
            *_, together = prior.trajectory(z, text, 2, 2.5, start=start)
            for row in range(3):
                alone_text = None if text is None else text[row : row + 1]
                *_, alone = prior.trajectory(z[row : row + 1], alone_text, 2, 2.5, start=start[row : row + 1])
                torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-4)
            # From no noise at all there is nowhere to go.
            *_, still = prior.trajectory(z, text, 2, 2.5, start=torch.zeros(3))
            torch.testing.assert_close(still, z)


def test_no_text_is_not_some_text():
    prior = build_prior(dataclasses.replace(PRESETS["tiny"].prior, kind="flowmap")).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in prior.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
        z = torch.randn(2, 8, 16, 16)
        *_, without = prior.trajectory(z, None, 1, 2.5)
        *_, other = prior.trajectory(z, None, 1, 7.0)
        *_, with_text = prior.trajectory(z, features(2, 4), 1, 1.0)
    torch.testing.assert_close(without, other)  # there is nothing to guide towards
    assert not torch.allclose(without, with_text, atol=1e-3)


# What is told and what is refused


def test_two_prompts_are_the_shortest_path():
    asked = InterpolateRequest("a cat", "a dog", 3, 4, 9, style="pixel", pacing="raw", truncation=0.5)
    path = as_path(asked)
    assert [stage.prompt for stage in path.stages] == ["a cat", "a dog"] and path.frames == 9 and path.truncation == 0.5
    assert two_prompts(path) == asked
    assert two_prompts(PathRequest(THREE)) is None and two_prompts(PathRequest(THREE[:2], loop=True)) is None
    seeds = [stage.seed for stage in with_seeds(PathRequest([Stage("a cat"), Stage("a dog", 0)])).stages]
    assert isinstance(seeds[0], int) and seeds[1] == 0


def test_a_path_s_file_tells_its_stages(exact_engine):  # noqa: F811
    asked = PathRequest((Stage("a cat", 3, 2.5), Stage(drawn=GenerateRequest("a dog", 1, 4, style="3d"))), True, frames=9)
    told = exact_engine.path_metadata(asked)
    assert told["loop"] == "yes" and json.loads(told["settings"])["frames"] == 9
    first, second = json.loads(told["stages"])
    assert first == {"prompt": "a cat", "seed": 3, "length": 2.5}
    assert second == {"prompt": "a dog", "seed": 4, "style": "3d", "length": 1.0}
    assert "prompt_a" in exact_engine.path_metadata(PathRequest(THREE[:2]))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (PathRequest(THREE[:1]), f"between 2 and {MAX_STAGES} stages, not 1"),
        (PathRequest(THREE * 3), f"between 2 and {MAX_STAGES} stages, not 9"),
        (PathRequest(THREE[:2], frames=MAX_FRAMES + 1), f"between 2 and {MAX_FRAMES}"),
        (PathRequest(THREE, frames=MAX_PATH_FRAMES + 1), f"between 2 and {MAX_PATH_FRAMES}"),
        (PathRequest(THREE, frames=2), "at least 3 frames"),
        (PathRequest(THREE, True, frames=2), "at least 3 frames"),
        (PathRequest(THREE, frames=10**400), "between 2"),
        (PathRequest((Stage("a cat", 1, 0), *THREE[:2])), "The length of a way"),
        (PathRequest((Stage("a cat", 1, float("nan")), *THREE[:2])), "The length of a way"),
        (PathRequest((Stage("a cat", 1, MAX_LENGTH + 1), *THREE[:2])), "The length of a way"),
        (PathRequest((Stage("a cat", 1, "long"), *THREE[:2])), "The length of a way"),
        (PathRequest((Stage("a cat", -1), *THREE[:2])), "seed"),
        (PathRequest((*THREE, Stage(drawn=GenerateRequest("a dog", seed=2**32)))), "seed"),
        (PathRequest((*THREE, Stage(drawn=GenerateRequest("a dog", seed=1, truncation=7)))), "truncation"),
        (PathRequest(THREE, pacing="slow"), "Unknown pacing"),
        (PathRequest(THREE, moving="noise"), "Unknown way to move"),
    ],
)
def test_bounds_are_told(exact_engine, path, message):  # noqa: F811
    with pytest.raises(SettingError, match=message):
        exact_engine.interpolate(path)


def test_a_bad_prompt_is_named(exact_engine):  # noqa: F811
    with pytest.raises(PromptError, match="third of the three prompts"):
        exact_engine.interpolate(PathRequest((*THREE[:2], Stage("", 1))))
    with pytest.raises(PromptError, match="fourth of the four prompts"):
        exact_engine.interpolate(PathRequest((*THREE, Stage(drawn=GenerateRequest("x" * 500, seed=1)))))
