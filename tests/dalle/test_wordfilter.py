"""The word filter: what it refuses, and that it refuses nothing that the model was taught."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dalle.config import PromptError
from dalle.engine import Engine
from dalle.requests import GenerateRequest, InterpolateRequest, MixRequest
from dalle.wordfilter import WordFilter, listed, words_of

TAUGHT = json.loads((Path(__file__).parents[2] / "checkpoints/default/judge/captions.json").read_text(encoding="utf-8"))
CAPTIONS, VOCABULARY = TAUGHT["captions"], TAUGHT["vocabulary"]
ENTRIES = ("blort", "blue waffle", "g-zap")


@pytest.fixture(scope="module")
def words() -> WordFilter:
    return WordFilter(entries=ENTRIES)


@pytest.mark.parametrize(
    "prompt",
    ["blort", "a BLORT cat", "a cat, blort!", "bl0rt", "b.l.o.r.t on a chair", "b l o r t", "blört", "ｂｌｏｒｔ", 
     "a blue   waffle", "blue-waffle", "g-zap", "a G ZAP"],
)  # fmt: skip
def test_listed_words_are_found_however_they_are_written(words, prompt):
    assert words.refuses(prompt)
    with pytest.raises(PromptError, match="seed and your settings") as refused:
        words.check(prompt)
    assert "blort" not in str(refused.value)


@pytest.mark.parametrize(
    "prompt", ["", "a cat", "blorts of fun", "ablort", "blue and waffle", "a waffle, blue", "gzapper", "🍎", "a 0 b 1 l"]
)
def test_words_that_only_look_alike_are_not(words, prompt):
    assert not words.refuses(prompt)
    words.check(prompt)


def test_words_that_the_model_was_taught_are_innocent():
    spared = WordFilter(["a blue apple", "a waffle"], ENTRIES)
    assert not spared.refuses("a blue waffle") and spared.refuses("blort")


def test_the_kept_list_refuses_much_and_nothing_that_the_default_model_knows():
    assert 350 < len(listed()) < 500
    words = WordFilter((*CAPTIONS, *VOCABULARY))
    assert len(CAPTIONS) > 5000
    assert len(words) > 0.85 * len(listed())
    assert not [caption for caption in CAPTIONS if words.refuses(caption)]
    innocent = ("a big black cat", "a jelly donut", "a blue waffle", "a rooster", "a gay couple", "a classic car", "a cocktail")
    assert not [prompt for prompt in innocent if words.refuses(prompt)]
    refused = [entry for entry in listed() if words.refuses(f"a drawing of {entry} on a chair")]
    assert len(refused) == len(words)


def test_words_of_a_text():
    assert words_of("Ｃafé-au_lait, 2 CUPS") == ["cafe", "au", "lait", "2", "cups"]


@pytest.fixture(scope="module")
def filtered(tiny_checkpoint) -> Engine:
    engine = Engine(str(tiny_checkpoint), "cpu", word_filter=True)
    engine.load()
    return engine


def test_an_engine_with_the_filter_draws_no_listed_word(filtered, tiny_checkpoint):
    bad = next(entry for entry in sorted(listed()) if entry.isalpha() and len(entry) > 4)
    for ask in (
        lambda engine: engine.generate(GenerateRequest(f"a {bad}")),
        lambda engine: engine.interpolate(InterpolateRequest("a cat", bad)),
        lambda engine: engine.mix(MixRequest(["a cat", f"a {bad} dog"])),
        lambda engine: engine.judge(bad),
    ):
        with pytest.raises(PromptError, match="not drawn here"):
            ask(filtered)
    assert list(filtered.generate(GenerateRequest("a cat", 1, negative_prompt=bad)))  # what shall not be drawn may be named
    plain = Engine(str(tiny_checkpoint), "cpu")
    plain.load()
    assert list(plain.generate(GenerateRequest(f"a {bad}", 1)))
