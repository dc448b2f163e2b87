"""What chooses guidance and steps: the ranker's view of pictures and of the scenes that they were to show."""

from __future__ import annotations

import pytest
import torch

from dalle.engine import Engine
from train.__main__ import main
from train.data.scenes import ThumbnailComposer
from train.evaluation.systems import Model
from train.tune import SEED, Setting, Tuning, table


@pytest.fixture(scope="module")
def tuning(tiny_checkpoint, store):
    engine = Engine(str(tiny_checkpoint), "cpu")
    engine.load()
    return Tuning(engine, store, 12)


def test_the_prompts_are_different_and_each_has_its_scene(tuning):
    assert len(set(tuning.prompts)) == 12 == len(tuning.real) == len(tuning.texts)
    assert len(tuning.wrong) == len(tuning.wrong_of) > 0
    vectors = torch.cat([tuning.real, tuning.texts, tuning.wrong]).float()
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-2, rtol=1e-2)


def test_pictures_that_are_their_captions_fit_and_those_of_others_do_not(tuning):
    right = tuning._judge(tuning.texts, None, None)
    assert right.fits == 1 and right.over_wrong_word == 1
    assert tuning._judge(tuning.texts.roll(1, 0), None, None).fits == 0
    assert abs(tuning.scenes().distance) < 1e-6 < right.distance  # no distance from the scenes to themselves
    wrong = tuning.texts.clone()
    wrong[tuning.wrong_of] = tuning.wrong
    assert tuning._judge(wrong, None, None).over_wrong_word == 0


def test_a_model_that_draws_the_scenes_themselves_is_as_good_as_they_are(tuning, store, monkeypatch):
    composer, shown = ThumbnailComposer(store, "train", SEED, 64), {}
    for batch in range(12):
        scenes = composer.batch(batch, 32)
        shown |= dict(zip(scenes.captions, scenes.pixels, strict=True))
    monkeypatch.setattr(Model, "draw", lambda self, prompts, seeds: torch.stack([shown[prompt] for prompt in prompts]))
    found, scenes = tuning.measure(3.0, 1), tuning.scenes()
    assert (found.fits, found.over_wrong_word) == (scenes.fits, scenes.over_wrong_word)
    assert found.distance == pytest.approx(scenes.distance, abs=1e-3)
    every = tuning.prompts
    after = dict(zip(every, [*every[1:], every[0]], strict=True))
    monkeypatch.setattr(Model, "draw", lambda self, prompts, seeds: torch.stack([shown[after[prompt]] for prompt in prompts]))
    vectors = torch.cat([tuning.real[1:], tuning.real[:1]])
    shifted = tuning.measure(3.0, 1)  # the same set of pictures, each for another prompt
    expected = tuning._judge(vectors, 3.0, 1)
    assert (shifted.fits, shifted.over_wrong_word) == (expected.fits, expected.over_wrong_word)


def test_a_setting_is_measured_the_same_twice_and_settings_differ(tuning):
    once, again, other = tuning.measure(3.0, 1), tuning.measure(3.0, 1), tuning.measure(3.0, 2)
    assert once == again and (once.guidance, once.steps) == (3.0, 1)
    assert other.distance != once.distance


def test_the_table_has_the_scenes_first_and_a_row_a_setting(tiny_checkpoint, store_folder, capsys):
    common = ["tune", "--model", str(tiny_checkpoint), "--data", str(store_folder), "--device", "cpu", "--count", "4"]
    assert main([*common, "--guidance", "2", "5", "--steps", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:]] == [["| scenes", ""], ["| 2", "1"], ["| 5", "1"]]
    assert main([*common[:-1], "1"]) == 1 and "--count" in capsys.readouterr().err
    assert main([*common, "--guidance", "99"]) == 1 and "guidance_scale" in capsys.readouterr().err
    assert table([Setting(None, None, 1.0, None, 0.0)]).splitlines()[-1] == "| scenes |  | 1.000 |  | 0.0 |"


def test_a_checkpoint_without_a_ranker_is_told_so(tuning, store, monkeypatch):
    monkeypatch.setattr(tuning.engine.wait(), "ranker", None)
    with pytest.raises(Exception, match="no ranker"):
        Tuning(tuning.engine, store, 4)
