"""Captions and composed scenes."""

from __future__ import annotations

import random

import pytest
import torch

from dalle.config import COLOURS, MAX_PROMPT_TOKENS
from train.data import SceneComposer, SpriteStore
from train.data.captions import article, countable, is_plain_noun, keywords, noun_phrase, other_names, plural, with_article
from train.data.scenes import PROCEDURAL, Layer, Scene, is_held_out_pair, place


@pytest.mark.parametrize(
    ("label", "one", "many"),
    [
        ("red apple", "a red apple", "red apples"),
        ("owl", "an owl", "owls"),
        ("cherry", "a cherry", "cherries"),
        ("hourglass", "an hourglass", "hourglasses"),
        ("unicorn", "a unicorn", "unicorns"),
        ("umbrella", "an umbrella", "umbrellas"),
        ("mouse", "a mouse", "mice"),
        ("knife", "a knife", "knives"),
        ("bus", "a bus", "buses"),
        ("box", "a box", "boxes"),
        ("tropical fish", "a tropical fish", "tropical fish"),
        ("slice of pizza", "a slice of pizza", "slices of pizza"),
        ("woman", "a woman", "women"),
        ("potato", "a potato", "potatoes"),
        ("toy", "a toy", "toys"),
    ],
)
def test_articles_and_plural_forms(label, one, many):
    assert noun_phrase(label) == one
    assert countable(label) and plural(label) == many
    assert noun_phrase(label, count=3) == f"three {many}"


@pytest.mark.parametrize("label", ["cherries", "cooked rice", "scissors", "flag of peru", "one o'clock", "mount fuji"])
def test_what_can_not_be_counted(label):
    assert not countable(label)


def test_phrases_that_take_no_indefinite_article():
    assert noun_phrase("cherries") == "cherries"
    assert noun_phrase("flag of peru") == "the flag of peru"
    assert noun_phrase("eight-thirty") == "a clock showing half past eight"
    assert with_article("orange apple", "apple") == "an orange apple"
    assert [article(word) for word in ("orange", "hour", "one-piece swimsuit", "x-ray", "8 ball")] == [
        "an",
        "an",
        "a",
        "an",
        "an",
    ]


@pytest.mark.parametrize("caption", ["a red apple", "The old mill", "three cats", "my dog"])
def test_whole_captions_are_left_alone(caption):
    assert with_article(caption) == caption
    assert not is_plain_noun(caption) and not countable(caption)


def test_captions_of_own_pictures_stay_what_they_are(store_folder):
    whole = SpriteStore.open(store_folder)
    for record in whole.records:
        record.label, record.group = f"a {record.label} in my garden", ""
    captions = [caption for step in range(4) for caption in SceneComposer(whole, seed=step).captions(step, 32)]
    assert all("in my garden" in caption for caption in captions)
    assert not any(" a a " in f" {caption}" or "an a " in caption for caption in captions)


@pytest.mark.parametrize(
    ("label", "one", "many"),
    [
        ("locked", "a closed padlock", "three closed padlocks"),
        ("usb port", "a usb port", "three usb ports"),
        ("rhinoceros", "a rhinoceros", "three rhinoceroses"),
        ("hot pepper", "a hot pepper", "three hot peppers"),
    ],
)
def test_labels_that_are_no_nouns_are_said_otherwise(label, one, many):
    assert noun_phrase(label) == one and noun_phrase(label, count=3) == many and countable(label)


def test_other_words_are_sensible():
    assert other_names("red apple", ["apple", "fruit", "healthy"]) == ["apple"]
    assert other_names("dog face", ["dog", "pet"], "animal") == ["dog"]
    assert other_names("grinning squinting face", ["happy", "lol"], "smiley") == []
    assert keywords("red apple", ["apples", "red", "c3"], random.Random(0)) == ""


@pytest.fixture(scope="module")
def train(store) -> SceneComposer:
    return SceneComposer(store)


def test_batches_are_the_same_after_opening_again(store_folder, train):
    again = SceneComposer(SpriteStore.open(store_folder))
    one, two = train.batch(7, 12), again.batch(7, 12)
    assert one.captions == two.captions == train.captions(7, 12)
    assert one.labels == two.labels and torch.equal(one.pixels, two.pixels)
    assert train.batch(8, 12).captions != one.captions
    assert SceneComposer(train.store, seed=1).captions(7, 12) != one.captions
    assert torch.equal(train.sprites(3, 6).pixels, again.sprites(3, 6).pixels)


def test_pixels_are_premultiplied_and_in_range(train):
    for pixels in (train.batch(0, 48).pixels, train.sprites(0, 48).pixels):
        assert pixels.shape == (48, 4, 256, 256) and pixels.dtype == torch.float32
        assert pixels.min() >= -1 and pixels.max() <= 1
        assert (pixels[:, :3] <= pixels[:, 3:]).all()


def test_scenes_without_background_are_transparent(train):
    batch = train.batch(1, 64)
    alpha = (batch.pixels[:, 3] + 1) / 2
    empty = [not label["background"] for label in batch.labels]
    assert 0.3 < sum(empty) / 64 < 0.9
    for covered, free in zip(alpha.mean((1, 2)).tolist(), empty, strict=True):
        assert (0.005 < covered < 0.99) if free else covered == pytest.approx(1, abs=1e-4)


def test_no_drawing_crosses_over_to_another_split(store):
    for split in ("train", "val", "test"):
        composer, rows = SceneComposer(store, split=split), set(store.rows(split))
        for step in range(4):
            labels = composer.batch(step, 1).labels + [
                composer.plan(composer._rng(step, "more")).label for step in range(200)
            ]
            assert all(set(label["rows"]) <= rows for label in labels)


def combinations(label: dict) -> list[tuple[str, ...]]:
    found = [(colour, name) for colour, name in zip(label.get("colours", ()), label["objects"], strict=False)]
    if "relation" in label:
        found.append((label["objects"][0], label["relation"], label["objects"][1]))
    return found


def test_held_out_combinations_stay_out_of_training(store):
    train = SceneComposer(store)
    labels = [train.plan(train._rng(step, "scene")).label for step in range(4000)]
    seen = {parts for label in labels for parts in combinations(label)}
    assert len(seen) > 300 and not any(is_held_out_pair(*parts) for parts in seen)
    held_out = SceneComposer(store, split="test")
    for step in range(500):
        parts = combinations(held_out.plan(held_out._rng(step, "scene")).label)
        assert not parts or any(is_held_out_pair(*part) for part in parts)


def test_a_relation_and_its_mirror_image_are_held_out_together():
    names = [f"thing {n}" for n in range(40)]
    pairs = [(a, b) for a in names for b in names]
    for relation, mirrored in (("left", "right"), ("above", "below")):
        assert all(is_held_out_pair(a, relation, b) == is_held_out_pair(b, mirrored, a) for a, b in pairs)
    share = sum(is_held_out_pair(a, "left", b) for a, b in pairs) / len(pairs)
    assert 0.03 < share < 0.07


def islands(alpha: torch.Tensor) -> int:
    """Connected parts of a picture, (H, W) bool."""
    left = {tuple(point) for point in alpha[::4, ::4].nonzero().tolist()}
    count = 0
    while left:
        count += 1
        edge = [left.pop()]
        while edge:
            y, x = edge.pop()
            for near in ((y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)):
                if near in left:
                    left.discard(near)
                    edge.append(near)
    return count


def test_as_many_as_the_caption_says(train):
    scenes = [train._counted(random.Random(seed)) for seed in range(30)]
    pixels = train.paint(scenes)
    words = {"two": 2, "three": 3, "four": 4, "five": 5}
    for scene, alpha in zip(scenes, pixels[:, 3] > 0, strict=True):
        count = words[scene.caption.split()[0]]
        assert count == scene.label["count"] == len(scene.layers) == islands(alpha)


def test_objects_stand_where_the_caption_says(train):
    for seed in range(60):
        scene = train._pair(random.Random(seed), False)
        if "relation" not in scene.label:
            continue
        behind = scene.label["relation"] != "on"
        first, second = scene.layers if behind else scene.layers[::-1]
        dx, dy = second.x - first.x, second.y - first.y
        assert {
            "left": dx > 0.3,
            "right": dx < -0.3,
            "above": dy > 0.3,
            "below": dy < -0.3,
            "on": dy > 0.2,
            "behind": dy > 0.1,
        }[scene.label["relation"]]


def test_pairs_are_said_as_people_say_them(train):
    """Two things side by side are mostly "a and b", and only such are: what lies above another is never beside it."""
    rng = random.Random(0)
    scenes = [scene for scene in (train.plan(rng) for _ in range(3000)) if "pair" in scene.label["kind"]]
    level = [scene for scene in scenes if scene.label["relation"] in ("left", "right")]
    joined = [scene for scene in scenes if any(f" {word} " in scene.caption for word in ("and", "next to", "beside", "with"))]
    assert 0.4 < len(level) / len(scenes) < 0.6
    assert 0.5 < sum(scene in level for scene in joined) / len(level) < 0.75
    assert all(scene in level or " and " not in scene.caption.replace(scene.label["objects"][0], "") for scene in joined)


def test_recoloured_drawings_have_the_colour_they_are_called(train):
    for seed in range(20):
        scene = train._coloured(random.Random(seed))
        (colour,) = scene.label["colours"]
        assert colour in scene.caption.split()
        pixels = (train.paint([scene])[0] + 1) / 2
        solid = pixels[3] > 0.99
        mean = pixels[:3, solid].mean(1) * 255
        assert (mean - torch.tensor(COLOURS[colour])).abs().max() < 12


def test_windows_are_parts_of_the_whole(train):
    scenes = [Scene([Layer(row, 0.4, 0.6, 0.8, True)], "", background="meadow") for row in train.rows[:3]]
    whole = train.paint(scenes)
    for scene in scenes:
        scene.corner = (50, 90)
    assert torch.allclose(train.paint(scenes, 96), whole[:, :, 90:186, 50:146], atol=1e-4)


def test_a_drawing_in_its_place_is_not_resampled():
    pixels = torch.rand(2, 4, 256, 256)
    moved = place(pixels, [Layer(0), Layer(1, mirror=True)], [(0, 0)] * 2, 256)
    assert torch.equal(moved[0], pixels[0])
    assert torch.allclose(moved[1], pixels[1].flip(2), atol=1e-4)


@pytest.mark.parametrize("style", PROCEDURAL)
def test_procedural_styles_leave_the_picture_free(train, style):
    row = train.rows[0]
    pixels = (train.paint([Scene([Layer(row)], "", procedural=style)])[0] + 1) / 2
    assert 0.01 < pixels[3].mean() < 0.9
    assert pixels[3, :4].max() == 0 and pixels[3, :, -4:].max() == 0


def test_captions_are_short_enough_for_the_encoder(train, encoder):
    captions = [caption for step in range(20) for caption in train.captions(step, 50)]
    assert max(len(caption.split()) for caption in captions) <= 30
    assert max(len(tokens) for tokens in encoder.tokenizer(captions)["input_ids"]) <= MAX_PROMPT_TOKENS
    assert all(caption == caption.strip() and "  " not in caption and "{" not in caption for caption in captions)
    assert len(set(captions)) > 400
