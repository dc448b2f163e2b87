"""Words of the uses: the background joins a prompt once, where captions say it."""

from __future__ import annotations

import pytest

from dalle.config import MAX_IMAGES, MAX_PROMPT_CHARACTERS, STYLES, SettingError
from dalle.makers import MAKERS
from dalle.uses import USES, caption_of, drawn_as, opaque_words, use_named, word_of

BOOK = USES["storybook"]


def test_the_table_holds_together():
    assert len(USES) == 5 and set(MAKERS) == {"kit", *USES}
    for use in USES.values():
        assert use.style in STYLES and 1 <= use.num_images <= MAX_IMAGES and use.ground in ("checker", "white", "dark")
        # What a use adds is found again, so that it is not added twice.
        assert not use.words or opaque_words(f"a cat {use.words}") == use.words


@pytest.mark.parametrize(
    ("prompt", "drawn"),
    [
        ("a red apple", "a red apple on a green meadow"),
        (" a red apple. ", "a red apple on a green meadow"),
        ("a smiling sun, 3d rendered style", "a smiling sun on a green meadow, 3d rendered style"),
        ("an apple, a pear", "an apple, a pear on a green meadow"),
        ("a meadow mouse", "a meadow mouse on a green meadow"),
        ("two stylish cats", "two stylish cats on a green meadow"),
    ],
)
def test_the_background_joins_the_prompt(prompt, drawn):
    assert drawn_as(prompt, BOOK) == drawn
    assert drawn_as(drawn, BOOK) == drawn


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat at night",
        "a cat in the snow",
        "a cat On A Beach",
        "a cat on a light blue background",
        "a cat on a dark purple gradient background",
        "a cat against a white backdrop",
        "a cat on a transparent background",
        "a cat with no background",
        "a sticker of a cat as a cut-out",
        "a cat on the meadow, flat style",
        "",
        "   ",
        "a" * (MAX_PROMPT_CHARACTERS + 1),
    ],
)
def test_a_prompt_keeps_its_own_background(prompt):
    assert drawn_as(prompt, BOOK) == prompt


def test_a_use_without_words_and_no_use_change_nothing():
    assert drawn_as("a cat.", USES["icons"]) == drawn_as("a cat.", None) == "a cat."


def test_only_what_is_drawn_makes_a_picture_opaque():
    assert opaque_words("a cat at night, flat style") == "at night"
    assert opaque_words("a cat on a transparent background") == opaque_words("a cat with no background") == ""
    assert opaque_words("a cat on a mat") == ""


@pytest.mark.parametrize(
    ("prompt", "caption", "word"),
    [
        ("a red apple", "A red apple.", "red apple"),
        ("an owl at night, 3d rendered style", "An owl at night.", "owl"),
        ("three bananas on a yellow background", "Three bananas on a yellow background.", "three bananas"),
        ("a cat | a dog", "A cat and a dog.", "cat and a dog"),
        ("", "", ""),
        ("。", "。.", "。"),
    ],
)
def test_what_stands_below_a_picture(prompt, caption, word):
    assert caption_of(prompt) == caption and word_of(prompt) == word


@pytest.mark.parametrize("name", [None, "", "wallpaper", 7, ["icons"], {"chosen": "icons"}])
def test_no_other_use(name):
    with pytest.raises(SettingError, match="storybook, advert"):
        use_named(name)
