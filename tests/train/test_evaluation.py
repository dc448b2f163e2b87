"""The evaluation: every measure against its definition, and the whole of it on a tiny checkpoint and drawings made here."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import train.evaluate
import train.evaluation.evaluation
from dalle.config import COLOURS, CheckpointError, PromptError
from dalle.engine import Engine
from dalle.images import grid
from dalle.pipeline import DallePipeline
from train.__main__ import main
from train.classic import WIDTHS, ClassicGenerator
from train.data import SceneComposer, SpriteStore
from train.data.scenes import PAIR_PAINTS, Layer, Scene, is_held_out_pair
from train.data.store import Drawing, write_index
from train.evaluation import composition, distances, matching, memorisation, paths, reconstruction, table, work
from train.evaluation.components import Thing, label_parts, observe, on_white, take_apart
from train.evaluation.composition import TASKS, Composition, fulfilled, score
from train.evaluation.evaluation import Counts, Evaluation
from train.evaluation.looking import kept_vectors
from train.evaluation.systems import Classic, Model, finite
from train.evaluation.work import Work
from train.evaluator import load_evaluator
from train.gallery import SNAPSHOT_PROMPTS, Missing, contact_sheets, failures, read_prompts, snapshots
from train.prior import SAMPLE_PROMPTS


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def evaluators(store_folder, tmp_path_factory):
    """Two evaluators of different seeds."""
    root = tmp_path_factory.mktemp("evaluators")
    for seed in (1, 2):
        where = ["--run-folder", root / f"run-{seed}", "--out", root / str(seed), "--data", store_folder]
        tiny = ["--preset", "tiny", "--warmup-steps", "1", "--log-steps", "1"]
        assert run("evaluator", *tiny, *where, "--steps", 3, "--batch-size", 8, "--seed", seed) == 0
    return root


# Distances


def vectors(count, shift=0.0, seed=0):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.mark.parametrize("measure", [distances.kid, distances.cmmd])
def test_distances_are_zero_for_one_set_small_for_like_and_large_for_shifted_ones(measure):
    x = vectors(200)
    assert measure(x, x) == pytest.approx(0, abs=1e-9)
    like, shifted = measure(x, vectors(200, seed=1)), measure(x, vectors(200, 0.5, 2))
    assert abs(like) < 0.15 * shifted and shifted > 0
    assert measure(x, vectors(200, 1.0, 2)) > shifted


@pytest.mark.parametrize("kernel", [distances.polynomial_kernel, lambda a, b: distances.gaussian_kernel(a, b, 1.0)])
def test_the_unbiased_estimate_is_the_mean_over_all_different_pairs(kernel):
    x, y = vectors(7).double(), vectors(7, 0.3, 1).double()
    total = 0.0
    for i in range(7):
        for j in range(7):
            if i != j:
                k = [float(kernel(a[None], b[None])) for a, b in ((x[i], x[j]), (y[i], y[j]), (x[i], y[j]), (x[j], y[i]))]
                total += k[0] + k[1] - k[2] - k[3]
    assert distances.unbiased_mmd(x, y, kernel) == pytest.approx(total / 42, abs=1e-9)
    with pytest.raises(ValueError):
        distances.unbiased_mmd(x, y[:6], kernel)


def test_kernels_follow_their_formulas():
    x, y = vectors(1), vectors(1, seed=1)
    assert float(distances.polynomial_kernel(x, y)) == pytest.approx((float((x * y).sum()) / 8 + 1) ** 3, rel=1e-5)
    squared = float((x - y).pow(2).sum())
    assert float(distances.gaussian_kernel(x, y, 2.0)) == pytest.approx(np.exp(-squared / 8), rel=1e-5)


# Reconstruction


def test_edges_of_a_picture_are_its_own_and_a_blur_loses_them(store):
    pixels = reconstruction.pixels_of(store, [0, 1, 2])
    assert [f for _, f in reconstruction.compare(pixels, pixels)] == [1, 1, 1]
    slight, strong = (
        torch.tensor(reconstruction.compare(reconstruction.blurred(pixels, size), pixels)).mean(0) for size in (64, 32)
    )
    assert 1 > slight[1] > strong[1] and slight[0] > strong[0]


def test_edges_may_be_off_by_the_tolerance_and_no_more():
    truth = torch.zeros(1, 16, 16, dtype=torch.bool)
    truth[0, :, 8] = True
    found = [float(reconstruction.edge_f_score(truth.roll(shift, 2), truth)) for shift in (0, 1, 2)]
    assert found == pytest.approx([1, 1, 0], abs=1e-6)
    half = truth.clone()
    half[0, 8:] = False  # precision 1; the tolerance reaches one of the eight missing rows
    assert float(reconstruction.edge_f_score(half, truth)) == pytest.approx(2 * (9 / 16) / (1 + 9 / 16))
    nothing = torch.zeros_like(truth)
    assert float(reconstruction.edge_f_score(nothing, nothing)) == pytest.approx(1)
    assert float(reconstruction.edge_f_score(nothing, truth)) == 0


def test_a_jpeg_keeps_a_picture_roughly(store):
    pixels = reconstruction.pixels_of(store, [0])
    (psnr, _), (better, _) = (reconstruction.compare(reconstruction.jpeg(pixels, q), pixels)[0] for q in (10, 95))
    assert 20 < psnr < better


# R-precision


def labels_of(groups):
    return [Drawing("set", "1", "CC0-1.0", f"d{k}", f"c{k}", "flat", f"thing {k}", group=g) for k, g in enumerate(groups)]


def test_wrong_texts_are_of_the_same_category_as_far_as_they_go():
    known = labels_of(["food"] * 5 + ["animal"] * 20)
    hard = matching.other_texts(known[0], known, 10)
    assert len(hard) == len(set(hard)) == 9 and 0 not in hard
    assert sorted(hard[:4]) == [1, 2, 3, 4]
    assert hard == matching.other_texts(known[0], known, 10)
    assert set(matching.other_texts(known[0], known, 10, hard=False)) != set(hard)
    synonym = [replace(known[0], label="automobile"), replace(known[1], label="car"), *known[2:]]
    assert 1 not in matching.other_texts(synonym[0], synonym, 30) and 0 not in matching.other_texts(synonym[1], synonym, 30)


def test_ranks_count_the_texts_that_fit_as_well_or_better():
    texts = torch.eye(4)
    pictures = torch.tensor([[0.9, 0.1, 0.3, 0.2], [0.5, 0.4, 0.45, 0.6], [0.5, 0, 0.5, 0.1]])
    found = matching.ranks(pictures, texts[:3], texts, [[1, 2, 3], [0, 2, 3], [0, 1, 3]])
    assert found == [1, 4, 2]
    assert matching.r_precision(found) == pytest.approx(1 / 3)


def test_what_is_no_number_has_the_last_rank_and_is_not_measured(tmp_path):
    broken = torch.full((1, 4), torch.nan)
    assert matching.ranks(broken, torch.eye(4)[:1], torch.eye(4), [[1, 2, 3]]) == [4]
    with pytest.raises(CheckpointError, match="no numbers"):
        finite(torch.tensor([0.0, torch.nan]), "4 steps")
    with pytest.raises(ValueError, match="JSON"):
        Work(tmp_path, "model", {}).part("one", lambda: {"figure": float("nan")})


def test_intervals_of_shares_are_wilsons():
    assert table.wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert table.wilson(0.0, 40) == pytest.approx((0, 0.0876), abs=1e-4)
    assert table.wilson(1.0, 40)[1] == pytest.approx(1)
    assert table.measured(0.37, (0.315, 0.425)) == "0.370 ± .055" and table.measured(None) == ""


# Components


def flood_fill(mask):
    """Parts of a mask as sets of places, by walking."""
    left, parts = {tuple(place) for place in mask.nonzero().tolist()}, []
    while left:
        front = [left.pop()]
        part = set(front)
        while front:
            y, x = front.pop()
            for place in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                if place in left:
                    left.remove(place)
                    part.add(place)
                    front.append(place)
        parts.append(frozenset(part))
    return set(parts)


@pytest.mark.parametrize("density", [0.1, 0.3, 0.45, 0.7, 1.0])
def test_parts_are_those_of_a_flood_fill(density):
    mask = torch.rand(3, 24, 31, generator=torch.Generator().manual_seed(1)) < density
    labels = label_parts(mask)
    assert torch.equal(labels > 0, mask)
    for picture, found in zip(mask, labels, strict=True):
        parts = {frozenset(map(tuple, (found == number).nonzero().tolist())) for number in found[found > 0].unique()}
        assert parts == flood_fill(picture)


def test_a_spiral_is_one_part_and_an_empty_picture_none():
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    for k in range(0, 16, 2):  # rings that hang together at one place each
        mask[0, k, k : 32 - k] = mask[0, 31 - k, k : 32 - k] = True
        mask[0, k : 32 - k, k] = mask[0, k : 32 - k, 31 - k] = True
        mask[0, k + 1, k + 2] = True
    assert len(label_parts(mask)[mask].unique()) == len(flood_fill(mask[0])) == 1
    assert not label_parts(torch.zeros(2, 8, 8, dtype=torch.bool)).any()


SQUARE, BAR, OTHER = 0, 1, 2
NAMES = ("square", "bar", "kite")


def oracle(things):
    """Squares fill their box and are as high as wide, bars are not; what fills less is something else."""
    alpha = things[:, 3] > 0
    found = torch.zeros(len(things), 3)
    for row, mask in enumerate(alpha):
        height, width = int(mask.any(1).sum()), int(mask.any(0).sum())
        full = float(mask.float().sum()) / (height * width) > 0.9
        found[row, OTHER if not full else SQUARE if 0.8 < width / height < 1.25 else BAR] = 1
    return found


def picture(*boxes, ground=None):
    """A picture (1, 4, 256, 256) with boxes of (left, top, right, bottom, colour), on transparency or an opaque colour."""
    rgba = torch.zeros(1, 4, 256, 256)
    if ground:
        rgba[0, :3] = torch.tensor(COLOURS[ground]).view(3, 1, 1) / 255
        rgba[0, 3] = 1
    for left, top, right, bottom, colour in boxes:
        rgba[0, :3, top:bottom, left:right] = torch.tensor(COLOURS[colour]).view(3, 1, 1) / 255
        rgba[0, 3, top:bottom, left:right] = 1
    return rgba * 2 - 1


@pytest.mark.parametrize("ground", [None, "white", "yellow"])
def test_things_are_found_with_their_colour_and_place_on_any_plain_ground(ground):
    pixels = picture((10, 100, 90, 180, "red"), (150, 20, 250, 60, "blue"), (4, 4, 12, 12, "green"), ground=ground)
    (things,) = observe(pixels, oracle)
    assert [thing.colour for thing in things] == ["red", "blue"]  # the green speck is too small
    assert [thing.likeness.index(1.0) for thing in things] == [SQUARE, BAR]
    assert (things[0].x, things[0].y) == pytest.approx((50 / 256, 140 / 256), abs=0.01)
    assert things[0].area == pytest.approx(80 * 80 / 256**2, rel=0.05)


def test_a_cut_out_holds_nothing_of_what_is_beside_it():
    pixels = picture((20, 20, 120, 120, "red"), (126, 20, 226, 120, "blue"))
    crops = []
    observe(pixels, lambda things: crops.append(things) or torch.zeros(len(things), 3))
    first = (crops[0][0] + 1) / 2
    assert float(first[0].max()) > 0.8 and float((first[2] - first[0])[first[3] > 0.9].max()) < 0


def asked(task, *names, **settings):
    return Composition(task, f"{task} {names} {settings}", names, **settings)


LEFT, RIGHT = (10, 90, 100, 180), (150, 100, 250, 140)
RIGHT_VERDICTS = [
    (asked("single object", "square"), [(*LEFT, "red")]),
    (asked("two objects", "square", "bar"), [(*LEFT, "red"), (*RIGHT, "blue")]),
    (asked("counting", "bar", count=2), [(*RIGHT, "red"), (10, 10, 110, 50, "red"), (10, 100, 80, 170, "blue")]),
    (asked("colours", "square", colours=("purple",)), [(*LEFT, "purple")]),
    (asked("position", "square", "bar", relation="left"), [(*LEFT, "red"), (*RIGHT, "blue")]),
    (asked("position", "bar", "square", relation="right"), [(*LEFT, "red"), (*RIGHT, "blue")]),
    (asked("position", "bar", "square", relation="above"), [(20, 10, 120, 50, "red"), (60, 100, 160, 200, "red")]),
    (asked("colour attribution", "bar", "square", colours=("blue", "red")), [(*LEFT, "red"), (*RIGHT, "blue")]),
]
WRONG_VERDICTS = [
    (asked("single object", "bar"), [(*LEFT, "red")]),
    (asked("single object", "bar"), []),
    (asked("two objects", "square", "bar"), [(*LEFT, "red"), (150, 90, 240, 180, "red")]),
    (asked("counting", "bar", count=3), [(*RIGHT, "red"), (10, 10, 110, 50, "red"), (10, 100, 80, 170, "blue")]),
    (asked("counting", "square", count=2), [(*LEFT, "red")]),
    (asked("colours", "square", colours=("green",)), [(*LEFT, "purple")]),
    (asked("position", "square", "bar", relation="right"), [(*LEFT, "red"), (*RIGHT, "blue")]),
    (asked("position", "square", "bar", relation="above"), [(*LEFT, "red"), (*RIGHT, "blue")]),
    (asked("colour attribution", "bar", "square", colours=("red", "blue")), [(*LEFT, "red"), (*RIGHT, "blue")]),
]


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("ground", [None, "white"])
def test_the_judge_tells_what_was_asked_for_from_what_was_not(right, ground):
    for each, boxes in RIGHT_VERDICTS if right else WRONG_VERDICTS:
        (things,) = observe(picture(*boxes, ground=ground), oracle)
        assert fulfilled(each, things, NAMES) == right, each
    if right:
        shares = score([each for each, _ in RIGHT_VERDICTS], [observe(picture(*b), oracle)[0] for _, b in RIGHT_VERDICTS], NAMES)
        assert shares == dict.fromkeys((*TASKS, "mean"), 1.0)


def test_over_white_a_picture_stays_and_a_white_thing_is_lost():
    pixels = picture((*LEFT, "red"), (*RIGHT, "white"))
    white = on_white(pixels)
    assert torch.equal(white[:, 3], torch.ones(1, 256, 256)) and white[0, :, 0, 0].tolist() == [1] * 4
    assert torch.equal(on_white(white), white)
    assert [len(observe(each, oracle)[0]) for each in (pixels, white)] == [2, 1]


def test_a_name_has_to_win_among_the_candidates_of_its_prompt():
    names = [f"n{k}" for k in range(30)]
    thing = Thing(tuple(float(k) for k in range(30)), "", 0.5, 0.5, 0.2)
    single = Composition("single object", "n20", ("n20",))
    assert composition.called(single, [thing], names, 30) == ["n29"]
    (found,) = composition.called(single, [thing], names, 5)
    assert found == composition.called(single, [thing], names, 5)[0] and int(found[1:]) >= 20
    assert composition.called(single, [thing], names, 1) == ["n20"]


# Compositions


@pytest.fixture(scope="module")
def composer(store):
    return SceneComposer(store, "train")


@pytest.fixture(scope="module")
def things(store, composer):
    return composition.common_things(store, composer)


def test_prompts_are_seen_or_unseen_as_they_say(things, store):
    names = [f"{first} {second}" for first in ("small", "big", "old") for second in ("ball", "box", "kite", "bar")]
    seen = composition.compositions(names, set(), 12)
    unseen = composition.compositions(names, set(), 12, unseen=True)
    assert {each.task for each in seen} == set(TASKS) and {each.task for each in unseen} == set(composition.UNSEEN_TASKS)
    assert not any(is_held_out_pair(*parts) for each in seen for parts in each.combinations)
    assert all(any(is_held_out_pair(*parts) for parts in each.combinations) for each in unseen)
    prompts = [each.prompt for each in seen]
    assert len(prompts) == len(set(prompts)) and seen == composition.compositions(names, set(), 12)
    counted = [each for each in seen if each.task == "counting"]
    assert {each.count for each in counted} == {2, 3, 4, 5} and counted[0].prompt.startswith("two ")
    drawn_anyway = {" ".join(parts) for each in unseen for parts in each.combinations}
    assert not {each.prompt for each in composition.compositions(names, drawn_anyway, 12, True)} & {e.prompt for e in unseen}
    like = composition.compositions(names, set(), 12, like=unseen)
    assert not any(is_held_out_pair(*parts) for each in like for parts in each.combinations)
    for task in composition.UNSEEN_TASKS:
        pairs = zip(*([e for e in es if e.task == task] for es in (like, unseen)), strict=False)
        same = [a.names == b.names for a, b in pairs]
        assert sum(same) > 0.8 * len(same)
    two = {colour for each in seen + unseen if each.task == "colour attribution" for colour in each.colours}
    assert two <= set(PAIR_PAINTS)


def test_what_training_draws_in_its_own_colour_is_not_unseen(store):
    found = composition.drawn_anyway(store)
    assert {"red ball", "ball", "red moon"} <= found and "blue ball" not in found


def test_things_are_one_name_each_the_most_common_and_in_one_piece(tmp_path):
    """Two drawings a label; weights and shapes decide which labels stay."""

    def square(*boxes):
        pixels = np.zeros((256, 256, 4), np.uint8)
        for left, right in boxes:
            pixels[60:200, left:right] = (200, 40, 40, 255)
        return pixels

    whole, two = square((40, 220)), square((20, 90), (150, 240))
    wanted = {"cow face": (1.0, whole), "cow": (3.0, whole), "cherry": (9.0, two), "red apple": (2.0, whole), "kite": (0.5, whole)}
    records, pixels = [], []
    for label, (weight, drawn) in wanted.items():
        for style in ("flat", "soft"):
            records.append(
                Drawing("s", "1", "CC0-1.0", f"{label}-{style}", label, style, label, group="object", colour="red", weight=weight)
            )
            pixels.append(drawn)
    records[-1].colour = records[-2].colour = ""  # no kite can be recoloured
    small = SpriteStore(np.stack(pixels), records, {})
    found = composition.common_things(small, SceneComposer(small, "train"))
    assert list(found) == ["cow", "apple"] and found["cow"] == [2, 3]


def test_things_are_common_whole_and_of_the_training_split(store, things):
    train = set(store.rows("train"))
    assert len(things) > 8 and all(set(rows) <= train for rows in things.values())
    assert list(composition.common_things(store, SceneComposer(store, "train"), 3)) == list(things)[:3]


def test_true_renders_get_full_marks_from_an_oracle(store, composer, things):
    """The oracle knows which drawing it sees, by comparing it with every one of them."""
    things = {name: things[name] for name in ("ball", "box", "kite")}  # an ellipse, a rectangle, a triangle
    names = list(things)
    everything = composition.compositions(names, set(), 8) + composition.compositions(names, set(), 8, unseen=True)
    assert {each.task for each in everything} == set(TASKS)
    tintable = set(composer.tintable)
    scenes = [composition.true_scene(each, [things], tintable) for each in everything]
    alphas = []
    for name in names:
        (square,) = silhouettes(reconstruction.pixels_of(store, things[name][0]))
        alphas.append(square)

    def knowing(crops):
        return torch.stack([torch.stack([-(alpha - crop).abs().mean() for alpha in alphas]) for crop in crops[:, 3]])

    seen = observe(composer.paint(scenes), knowing)
    shares = score(everything, seen, names)
    assert min(shares.values()) > 0.9
    assert composition.shuffled_score(everything, seen, names)["mean"] < 0.3


def test_true_scenes_are_of_held_out_drawings_where_there_are_any(store, composer, things):
    held_out, tintable = composition.held_out_things(store)
    outside = {*store.rows("val"), *store.rows("test")}
    assert set().union(*held_out.values()) == outside == tintable
    for each in composition.compositions(list(things), set(), 8):
        scene = composition.true_scene(each, [held_out, things], tintable | set(composer.tintable))
        for layer in scene.layers:
            name = store.records[layer.row].label
            assert name in each.names and (layer.row in outside) == (name in held_out)


def silhouettes(pixels):
    crops = []
    observe(pixels, lambda squares: crops.append(squares) or torch.zeros(len(squares), 1))
    return crops[0][:, 3]


def test_retrieval_finds_the_identical_caption(composer, encoder):
    scenes = composition.training_scenes(composer, 60)
    captions = [scene.caption for scene in scenes]
    assert captions == [scene.caption for scene in composition.training_scenes(composer, 60)]
    vectors = encoder.encode(captions).pooled
    queries = random.Random(0).sample(range(60), 12)
    found = composition.nearest_texts(encoder.encode([captions[k] for k in queries]).pooled, vectors)
    assert [captions[place] for place in found] == [captions[k] for k in queries]


# Memorisation


def textured(seed):
    """A drawing (256, 256, 4) with an outline and shading of its own."""
    rng = np.random.default_rng(seed)
    shade = torch.from_numpy(rng.random((1, 1, 4, 4))).float()
    shade = torch.nn.functional.interpolate(shade, size=(256, 256), mode="bilinear")[0]
    y, x = torch.meshgrid(torch.linspace(-1, 1, 256), torch.linspace(-1, 1, 256), indexing="ij")
    angle, reach = torch.atan2(y, x), torch.full((256, 256), 0.55)
    for waves in range(2, 6):
        reach += 0.12 * torch.cos(waves * angle + 6.3 * rng.random())
    alpha = (x.hypot(y) < reach).float()
    rgb = torch.tensor([0.9, 0.25, 0.2])[:, None, None] * (0.3 + 0.7 * shade) * alpha
    return (torch.cat([rgb, alpha[None]]).permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def test_pasted_drawings_are_copies_and_other_drawings_in_the_same_scenes_are_not(evaluators, tmp_path):
    """Wherever, however large and in whatever colour they are pasted."""
    records = [Drawing("s", "1", "CC0-1.0", f"d{k}", f"c{k}", "flat", f"thing{'abcdefghijkl'[k]}", colour="red") for k in range(12)]
    for record in records[8:]:
        record.split = "test"
    small = SpriteStore(np.stack([textured(k) for k in range(12)]), records, {})
    evaluator = load_evaluator(evaluators / "1")
    bank = memorisation.Bank.build(small, evaluator, tmp_path)
    neighbours = memorisation.Neighbours(bank.shapes, memorisation.concepts_of(small))
    painter = SceneComposer(small, "train")

    def share(rows):
        scenes = [Scene([Layer(rows[k], 0.27, 0.5, 0.42, colour="blue"), Layer(rows[k + 1], 0.75, 0.45, 0.4)], "") for k in (0, 2)]
        cuts = [cut for parts in take_apart(painter.paint(scenes)) for cut in parts]
        ratios = neighbours.ratios(memorisation.shapes(cuts))
        return sum(map(memorisation.is_copy, ratios)) / len(ratios)

    assert share(range(4)) == 1 and share(range(8, 12)) == 0
    assert neighbours.ratios(memorisation.shapes([])) == []
    assert bank.nearest(bank.embeddings[:2]) == pytest.approx([0, 0], abs=1e-5)


def test_the_second_nearest_shows_another_thing():
    # Between two drawings of one thing: near to both, and still a copy since every other thing is far.
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0]])
    assert memorisation.Neighbours(line, ["a", "a", "b"]).ratios(torch.tensor([[0.4, 0.0], [6.0, 0.0]])) == pytest.approx(
        [0.4 / 9.6, 4 / 5], rel=1e-4
    )


def test_the_bank_is_kept_in_parts(store, evaluators, tmp_path, monkeypatch):
    monkeypatch.setattr(memorisation, "PART", 10)
    evaluator = load_evaluator(evaluators / "1")
    first = memorisation.Bank.build(store, evaluator, tmp_path)
    assert first.shapes.shape == (len(store.rows("train")), 2 * 32 * 32) and first.shapes.abs().max() <= 1
    (tmp_path / "00010.safetensors").unlink()  # interrupted there
    measured, again = memorisation._measured, []
    monkeypatch.setattr(memorisation, "_measured", lambda *given: again.append(given[2]) or measured(*given))
    second = memorisation.Bank.build(store, evaluator, tmp_path)
    assert again == [store.rows("train")[10:20]]
    assert torch.equal(first.shapes, second.shapes) and torch.equal(first.embeddings, second.embeddings)


def test_vectors_of_captions_are_kept(encoder, tmp_path):
    first = kept_vectors(encoder, ["a cat", "a dog"], tmp_path)
    assert torch.equal(kept_vectors(SimpleNamespace(name=encoder.name), ["a cat", "a dog"], tmp_path), first)


# Paths


def test_even_steps_are_even_and_a_jump_is_not():
    assert paths.unevenness([0.5] * 32, 1) == 1
    assert paths.path_length([1 / 32] * 32, 1) == paths.path_length([1 / 64] * 32, 0.5) == pytest.approx(1)
    jump = [0.0] * 31 + [1.0]
    assert paths.path_length(jump, 1) == pytest.approx(32) and paths.unevenness([0.1] * 31 + [1.0], 1) == pytest.approx(10)
    assert paths.unevenness([0.1, 0.1, 0.3, 0.4], 1) == pytest.approx(0.4 / 0.2)  # between the two in the middle
    assert paths.path_length(jump, 0.1) is None and paths.unevenness(jump, 0.1) is None
    fade = paths.cross_fade(torch.zeros(4, 2, 2), torch.ones(4, 2, 2), 5)
    assert fade[:, 0, 0, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]


# Results on the disk


def test_work_is_done_once_and_again_for_another_key(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"a": [0.1, 2]}

    kept = Work(tmp_path, "model", {"revision": "x"})
    assert kept.part("deep/one", make) == kept.part("deep/one", make) == {"a": [0.1, 2]} and len(made) == 1
    assert Work(tmp_path, "model", {"revision": "x"}).part("deep/one", make) and len(made) == 1
    Work(tmp_path, "model", {"revision": "y"}).part("deep/one", make)
    assert len(made) == 2
    (kept.folder / "deep" / "one.json").write_text('{"value": [1')  # the machine went down
    assert kept.part("deep/one", make) == {"a": [0.1, 2]} and len(made) == 3


# The whole


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """An untrained textbook GAN."""
    folder = tmp_path_factory.mktemp("classic")
    torch.manual_seed(0)
    ClassicGenerator(channels=WIDTHS["tiny"]).save_pretrained(folder)
    (folder / "trained_with.json").write_text(json.dumps({"samples_seen": 1234, "minutes": 5.0}))
    return folder


TINY = Counts(drawings=2, a_task=1, captions=20, pairs=1, frames=3)


def test_an_interrupted_evaluation_goes_on_and_gives_the_same_table(
    tiny_checkpoint, evaluators, baseline, store_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(train.evaluate, "QUICK", TINY)
    monkeypatch.setattr(paths, "NEAR", 0.0)  # an untrained model's ends look alike
    drawn, patience = [], [10**9]

    def counted(draw, told):
        def drawing(*given):
            if len(drawn) >= patience[0]:
                raise KeyboardInterrupt
            drawn.append(told)
            return draw(*given)

        return drawing

    for place, name, told in ((Model, "draw", "model"), (Classic, "draw", "baseline"), (paths, "draw_path", "path")):
        monkeypatch.setattr(place, name, counted(getattr(place, name), told))
    common = ["--model", tiny_checkpoint, "--data", store_folder, "--split", "val", "--quick", "--device", "cpu", "--steps", 3]

    def table(where, evaluator="1"):
        drawn.clear()
        (tmp_path / where).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / where)
        code = run("evaluate", *common, "--evaluator", evaluators / evaluator, "--baseline", baseline, "--out", "new/v1.2")
        return json.loads((tmp_path / where / "new" / "v1.2.json").read_text()) if code == 0 else code

    whole = table("whole")
    everything = list(drawn)
    figures = {row["figure"].split(",")[0].split(":")[0] for row in whole["rows"]}
    assert figures >= {
        "reconstruction PSNR", "reconstruction edge F-score", "KID x 1000", "MMD x 1000 as CMMD", "R-precision", "composition",
        "share of drawn things that copy a training drawing", "largest step / median step",
        "perceptual path length over distance of the ends",
        "1 - cosine of a path's middle frame and the training drawing that looks most like it",
    }  # fmt: skip
    copied = next(row for row in whole["rows"] if row["figure"].startswith("share of drawn things"))
    for row in whole["rows"]:
        assert row["value"] is not None and np.isfinite(row["value"]) and row["n"], row
        if not row["figure"].startswith("reconstruction") and row is not copied:
            assert row["baseline"] is not None and np.isfinite(row["baseline"]), row
        if row["figure"].startswith(("R-precision", "composition")):
            for value, interval in ((row["value"], row["interval"]), (row["baseline"], row["baseline_interval"])):
                assert interval[0] <= value <= interval[1]
    main_steps = whole["facts"]["steps"]
    expected = [f"{steps} step{'s' * (steps > 1)}" for steps in sorted({1, 2, 3, 4, main_steps})]
    assert whole["steps"]["columns"] == [*expected, f"{main_steps} steps, best of 4", "textbook baseline"]
    assert all(len(row["values"]) == len(whole["steps"]["columns"]) for row in whole["steps"]["rows"])
    (walked,) = (row for row in whole["steps"]["rows"] if row["figure"].startswith("largest step"))
    shown = zip(whole["steps"]["columns"], walked["values"], strict=True)
    assert {column for column, value in shown if value is not None} == {
        "1 step", f"{main_steps} steps", "textbook baseline",
    }  # fmt: skip
    assert "rehearsal" in whole["facts"] and "1,234 samples in 5.0 minutes" in whole["facts"]["baseline"]
    assert any("12 names in place of 100" in note for note in whole["notes"])
    assert [each["prompt"] for each in whole["details"]["prompts"]] == ["a moon", "a star"]
    assert len({each["task"] for each in whole["details"]["compositions"]}) == len(whole["details"]["compositions"])
    assert "| R-precision, 1 of 12, others of the same category ↑ |" in (tmp_path / "whole" / "new" / "v1.2.md").read_text()

    # Stopped among the compositions of the first setting, and then before the last path.
    assert everything[:2] == ["model"] * 2 and everything[-1] == "path"
    patience[0] = 2
    assert table("parts") == 130 and len(drawn) == 2
    patience[0] = len(everything) - 3
    assert table("parts") == 130 and len(drawn) == len(everything) - 3
    patience[0] = 10**9
    parts = table("parts")
    assert drawn == ["path"]
    for block in ("rows", "steps", "details"):
        assert parts[block] == whole[block]
    assert table("parts")["rows"] == whole["rows"] and drawn == []
    table("parts", "2")
    assert drawn == everything


def test_pictures_that_are_no_numbers_are_not_judged(tiny_checkpoint, evaluators, store_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train.evaluate, "QUICK", TINY)
    monkeypatch.setattr(Model, "draw", lambda self, prompts, seeds: torch.full((len(prompts), 4, 256, 256), torch.nan))
    monkeypatch.chdir(tmp_path)
    where = ["--model", tiny_checkpoint, "--data", store_folder, "--evaluator", evaluators / "1", "--split", "val", "--quick"]
    assert run("evaluate", *where, "--device", "cpu", "--out", "t") == 1
    assert "1 step draws pictures with pixels that are no numbers" in capsys.readouterr().err and not list(tmp_path.glob("t.*"))


@pytest.mark.parametrize("change", ["nothing", "guidance", "weights", "no ranker", "path steps", "source", "evaluator"])
def test_what_a_figure_depends_on_is_in_the_name_of_its_folder(
    change, tiny_pipeline, tiny_checkpoint, evaluators, encoder, store, tmp_path, monkeypatch
):
    def folder(model, evaluator="1", guidance=3.0):
        engine = Engine(str(model), "cpu")
        engine.load()
        if change == "path steps" and model != tiny_checkpoint:
            engine.wait().prior.default_path_steps = 77
        found = Evaluation(
            engine, store, load_evaluator(evaluators / evaluator), encoder, split="val", counts=TINY, many_steps=3,
            guidance=guidance, classic=None, common={"evaluator": evaluator}, root=tmp_path,
        )  # fmt: skip
        found.bar.close()
        return found.work["model"].folder

    first, other, settings = folder(tiny_checkpoint), tmp_path / "other", {}
    shutil.copytree(tiny_checkpoint, other)
    if change == "guidance":
        settings = {"guidance": 3.5}
    elif change == "weights":
        changed = DallePipeline.from_pretrained(tiny_checkpoint)
        next(changed.prior.parameters()).data.add_(0.01)
        changed.save_pretrained(other)
    elif change == "no ranker":
        changed = DallePipeline.from_pretrained(tiny_checkpoint)
        changed.register_modules(ranker=None)
        shutil.rmtree(other)
        changed.save_pretrained(other)
    elif change == "source":
        monkeypatch.setattr(train.evaluation.evaluation, "sources_hash", lambda *patterns: "another")
    elif change == "evaluator":
        settings = {"evaluator": "2"}
    assert (folder(other, **settings) == first) == (change == "nothing")


def test_a_hash_of_sources_sees_every_file_and_change(tmp_path, monkeypatch):
    assert work.sources_hash(*work.SOURCES) == work.sources_hash(*reversed(work.SOURCES))
    assert work.sources_hash(*work.SOURCES) != work.sources_hash(*work.SOURCES, "train/classic.py")
    root = Path(work.__file__).parents[2]
    files = [path for pattern in work.SOURCES for path in root.glob(pattern)]
    assert len(files) > 20 and all(list(root.glob(pattern)) for pattern in work.SOURCES)


def test_what_is_wrong_is_said(tiny_checkpoint, evaluators, store, store_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    right = {"--model": tiny_checkpoint, "--data": store_folder, "--evaluator": evaluators / "1", "--split": "val", "--out": "t"}

    def told(**wrong):
        settings = right | {f"--{name}": value for name, value in wrong.items()}
        assert run("evaluate", "--quick", *(part for pair in settings.items() for part in pair)) == 1
        assert not list(tmp_path.glob("t.*"))
        return capsys.readouterr().err

    assert "100 are needed" in told(split="test")
    assert "no-evaluator" in told(evaluator=tmp_path / "no-evaluator")
    assert "raise --count" in told(count=1)
    shutil.copytree(tiny_checkpoint, tmp_path / "old")
    index = json.loads((tmp_path / "old" / "model_index.json").read_text())
    (tmp_path / "old" / "model_index.json").write_text(json.dumps(index | {"schema_version": 99}))
    assert "layout 99" in told(model=tmp_path / "old")
    shutil.copytree(store_folder, tmp_path / "data")
    write_index(tmp_path / "data" / "index.jsonl", [replace(record, split="train") for record in store.records])
    assert "held-out split" in told(data=tmp_path / "data")
    (tmp_path / "classic").mkdir()
    assert "classic" in told(baseline=tmp_path / "classic")
    assert "no baseline in" in told(baseline=tmp_path / "nowhere")
    write_index(tmp_path / "data" / "index.jsonl", [replace(record, label="ball") for record in store.records])
    assert "two things are needed" in told(data=tmp_path / "data")
    shutil.copytree(evaluators / "1", tmp_path / "foreign")
    config = json.loads((tmp_path / "foreign" / "config.json").read_text())
    (tmp_path / "foreign" / "config.json").write_text(json.dumps(config | {"_class_name": "Ranker"}))
    assert "holds a Ranker" in told(evaluator=tmp_path / "foreign")


# Pages of pictures


def test_failures_are_the_worst_ranks_of_these_weights(tiny_checkpoint, tmp_path):
    engine = Engine(str(tiny_checkpoint), "cpu")
    engine.load()
    prompts = [{"prompt": f"a {word}", "seed": k, "rank": rank} for k, (word, rank) in enumerate([("cat", 3), ("dog", 40)])]
    composed = [{"task": "counting", "prompt": "two cats", "seed": 9}]
    details = {"steps": 1, "guidance": 1.0, "prompts": prompts, "compositions": composed}
    report = {"facts": {"revision": engine.revision}, "details": details}
    (tmp_path / "table.json").write_text(json.dumps(report))
    page, told = failures(engine, tmp_path / "table.json")
    assert page.width > 3 * 256 and told == "2 of 2 failures among 2 prompts, and 1 failed compositions"
    (tmp_path / "table.json").write_text(json.dumps(report | {"details": {"prompts": prompts}}))
    with pytest.raises(Missing, match="python -m train evaluate"):
        failures(engine, tmp_path / "table.json")
    report["facts"]["revision"] = "another"
    (tmp_path / "table.json").write_text(json.dumps(report))
    with pytest.raises(Missing, match="another"):
        failures(engine, tmp_path / "table.json")
    with pytest.raises(Missing, match="python -m train evaluate"):
        failures(engine, tmp_path / "none.json")


def test_sheets_are_drawn_at_one_four_and_the_default_steps_each_once():
    assert contact_sheets(16) == {1: "contact-sheet-1-step", 4: "contact-sheet-4-steps", 16: "contact-sheet"}
    assert contact_sheets(4) == {1: "contact-sheet-1-step", 4: "contact-sheet"}


def test_prompts_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "prompts.txt"
    with pytest.raises(PromptError, match="no file"):
        read_prompts(path)
    for content, told in ((b"a caf\xe9", "UTF-8"), (b"\n \n", "no prompts")):
        path.write_bytes(content)
        with pytest.raises(PromptError, match=told):
            read_prompts(path)
    path.write_bytes(b" a cat\r\n\na dog")
    assert read_prompts(path) == ["a cat", "a dog"]


def test_snapshots_cut_the_same_prompts_out_of_every_sheet(tmp_path):
    # The run went on in a second folder, whose steps begin at 0 again.
    for name, before, told in (("first", 0, range(100, 700, 100)), ("second", 600, range(50, 450, 50))):
        (tmp_path / name / "samples").mkdir(parents=True)
        for step in told:
            pictures = [Image.new("RGB", (256, 256), (10 * k, (before + step) // 5, 0)) for k in range(len(SAMPLE_PROMPTS))]
            grid(pictures, columns=6, labels=list(SAMPLE_PROMPTS)).save(tmp_path / name / "samples" / f"step-{step:07d}.png")
    strip = snapshots([tmp_path / "first", tmp_path / "second"])
    colours = {colour for _, colour in strip.getcolors(1 << 20)}
    steps = (100, 300, 500, 650, 800, 1000)
    expected = {(10 * SAMPLE_PROMPTS.index(prompt), step // 5, 0) for prompt in SNAPSHOT_PROMPTS for step in steps}
    assert expected <= colours
    assert not {(10 * k, 200 // 5, 0) for k in range(24)} & colours
    with pytest.raises(Missing, match="no samples"):
        snapshots([tmp_path / "first", tmp_path / "nowhere"])
