"""The ranker's lessons: small scenes, wrong captions, the loss, the stage as a whole."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F

from dalle.engine import Engine
from dalle.ranking import Ranker
from dalle.requests import GenerateRequest, Picture
from tests.train.test_training import TINY, log_of, run, stages  # noqa: F401  (a fixture)
from train.data.captions import wrong_caption
from train.data.scenes import SceneComposer, ThumbnailComposer
from train.ranker import contrastive_loss, fit_score


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_small_scenes_are_the_scenes_made_small(store):
    full, small = SceneComposer(store, seed=3), ThumbnailComposer(store, seed=3, size=64)
    for step in range(3):
        large, little = full.batch(step, 12), small.batch(step, 12)
        assert little.captions == large.captions and little.pixels.shape == (12, 4, 64, 64)
        shrunk = F.interpolate(large.pixels, size=(64, 64), mode="area")
        difference = (shrunk - little.pixels).abs().mean((1, 2, 3))
        assert difference.max() < 0.04
        assert difference.median() < 0.01


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("two bananas", {"three bananas", "four bananas", "five bananas"}),
        ("a cat above a tree", {"a cat below a tree", "a tree above a cat"}),
        ("a picture of a cat left of a tree", {"a picture of a cat right of a tree", "a picture of a tree left of a cat"}),
        ("a tiny owl", {"a huge owl"}),
        ("a cat in the snow", {"a cat at night", "a cat on a green meadow", "a cat on a beach"}),
    ],
)
def test_a_wrong_caption_differs_in_what_matters(caption, wrong):
    rng = random.Random(0)
    assert {wrong_caption(caption, rng) for _ in range(60)} == wrong


@pytest.mark.parametrize("caption", ["a cat", "an image of a rhinoceros", "an orange", "a redcurrant", "a tea-tray"])
def test_where_nothing_can_be_exchanged_there_is_no_wrong_caption(caption):
    assert wrong_caption(caption, random.Random(0)) is None


def test_the_colour_of_a_background_changes_and_its_things_stay():
    rng = random.Random(1)
    found = {wrong_caption("a cat on a red background", rng) for _ in range(80)}
    assert len(found) == 9 and all(text.startswith("a cat on a ") and text.endswith(" background") for text in found)


def test_the_loss_is_cross_entropy_both_ways():
    pictures, texts, wrong = unit(3, 8), unit(3, 8, seed=1), unit(2, 8, seed=2)
    scale = torch.tensor(5.0)
    rows = 5 * pictures @ torch.cat([texts, wrong]).T
    columns = 5 * texts @ pictures.T
    expected = sum(-rows.log_softmax(1)[i, i] - columns.log_softmax(1)[i, i] for i in range(3)) / 6
    torch.testing.assert_close(contrastive_loss(pictures, texts, wrong, ["a", "b", "c"], scale), expected)


def test_the_same_caption_twice_is_no_mistake():
    pictures, texts, none = unit(3, 8), unit(3, 8, seed=1), torch.empty(0, 8)
    scale = torch.tensor(5.0)
    twice = contrastive_loss(pictures, texts, none, ["a", "b", "a"], scale)
    assert twice < contrastive_loss(pictures, texts, none, ["a", "b", "c"], scale)
    assert torch.isfinite(twice)


def test_the_score_s_curve_is_fitted():
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(4000, generator=generator) * 2 - 1
    belongs = torch.rand(4000, generator=generator) < torch.sigmoid(6 * cosines - 2)
    scale, shift = fit_score(cosines[belongs], cosines[~belongs])
    assert scale == pytest.approx(6, abs=0.6) and shift == pytest.approx(-2, abs=0.3)


def test_it_trains_resumes_and_is_assembled(stages, store_folder, tmp_path, capsys):  # noqa: F811
    common = ["ranker", *TINY, "--data", store_folder, "--batch-size", 8, "--sample-steps", 4]
    assert run(*common, "--run-folder", tmp_path / "run", "--steps", 4) == 0
    rows = log_of(tmp_path / "run")
    assert {"loss", "accuracy", "scale"} <= rows[0].keys()
    assert {"val_first_of_128", "val_over_wrong_word"} <= rows[-1].keys()
    ranker = Ranker.from_pretrained(tmp_path / "run" / "ranker")
    assert float(ranker.score_scale) != 10.0  # fitted
    assert run(*common, "--run-folder", tmp_path / "run", "--steps", 4) == 1  # never over a run that is there
    assert run(*common, "--run-folder", tmp_path / "run", "--steps", 6, "--resume") == 0
    parts = ["--vae", stages / "vae" / "vae", "--prior", stages / "flow" / "prior", "--data", store_folder]
    parts += ["--ranker", tmp_path / "run" / "ranker"]
    assert run("assemble", *parts, "--out", tmp_path / "checkpoint") == 0
    engine = Engine(str(tmp_path / "checkpoint"), "cpu")
    engine.load()
    best = [item for item in engine.generate(GenerateRequest("a ball", 2, 1, 1, candidates=5)) if isinstance(item, Picture)]
    assert len(best) == 2 and best[0].score >= best[1].score
    (tmp_path / "run" / "ranker" / "trained_with.json").write_text('{"text_encoder": "another"}')
    assert run("assemble", *parts, "--out", tmp_path / "checkpoint") == 1
    assert "text_encoder another" in capsys.readouterr().err
