"""The judge: what it knows, what it doesn't, other languages, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dalle.config import CheckpointError
from dalle.judge import THRESHOLD, Judge, detect_language
from dalle.words import content_words, stem

CAPTIONS = [
    "red apple",
    "a green apple",
    "cat",
    "two cats",
    "dog",
    "evergreen tree",
    "a dog to the left of a tree",
    "smiling face with sunglasses",
    "bicycle",
    "a yellow star on a blue background",
    "house with garden",
    "three bananas, flat style",
    "chart increasing",
    "owl",
    "mouse",
]
VOCABULARY = ["big", "small", "sleeping", "black", "left", "right", "above", "knife", "cherry", "run", "make", "rod"]

KNOWN = [
    "a red apple",
    "two cats",
    "a cat to the left of a tree",
    "smiling face with sunglasses",
    "a big green tree",
    "Sleeping Dogs",
    "A YELLOW STAR",
]
UNKNOWN = [
    "a photo of Barack Obama",
    "quarterly revenue chart of a SaaS company",
    "asdfgh qwerty",
    "blockchain governance whitepaper",
    "the theory of general relativity",
    "a lighthouse on a cliff",
]
FOREIGN = {
    "一只红色的猫": "Chinese",
    "赤いリンゴ": "Japanese",
    "빨간 사과": "Korean",
    "красный кот": "Russian",
    "рудий кіт і собака": "Ukrainian",
    "червена ябълка и кът": "Bulgarian",
    "κόκκινο μήλο": "Greek",
    "تفاحة حمراء": "Arabic",
    "یک گربه": "Persian",
    "תפוח אדום": "Hebrew",
    "लाल सेब": "Hindi",
    "แอปเปิ้ลแดง": "Thai",
    "eine rote Katze": "German",
    "grüner Apfel": "German",
    "un chat rouge": "French",
    "une maison avec un jardin": "French",
    "un gato negro": "Spanish",
    "um gato preto": "Portuguese",
    "una mela rossa": "Italian",
    "een rode appel": "Dutch",
    "czerwone jabłko": "Polish",
    "červené jablko": "Czech",
    "kırmızı bir elma": "Turkish",
    "en röd katt": "Swedish",
    "et rødt eple": "Danish or Norwegian",
    "punainen omena": "Finnish",
    "piros alma": "Hungarian",
    "o pisică neagră": "Romanian",
    "quả táo đỏ": "Vietnamese",
    "apel merah": "Indonesian or Malay",
}
ENGLISH = [
    "a red apple",
    "asdfgh qwerty",
    "crème brûlée in a café",
    "a piñata",
    "die hard poster",
    "the mare and her foal",
    "a jalapeño on a plate",
    "an elf in a red hat",
    "Beethoven's ninth symphony",
    "a cat named 猫",
    "bag of potato chips",
    "pies",
    "3 x 4",
    "...",
    "",
]


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 384)).astype(np.float32)


@pytest.fixture(scope="module")
def judge(encoder) -> Judge:
    return Judge.build(CAPTIONS, encoder.encode(CAPTIONS).pooled.numpy(), VOCABULARY)


@pytest.fixture(scope="module")
def ask(encoder, judge):
    return lambda prompt: judge.score(prompt, encoder.encode([prompt]).pooled[0].numpy())


# Verdicts


@pytest.mark.parametrize("prompt", KNOWN)
def test_known_things_pass(prompt: str, ask) -> None:
    judgement = ask(prompt)
    assert judgement.verdict in ("known", "close") and judgement.score > 0.55 and not judgement.refused
    assert judgement.unused == () and judgement.language is None


@pytest.mark.parametrize("prompt", UNKNOWN)
def test_unknown_things_are_refused_and_say_which_words(prompt: str, ask) -> None:
    judgement = ask(prompt)
    assert judgement.verdict == "unknown" and judgement.refused and judgement.score < judgement.threshold == THRESHOLD
    assert judgement.unused and f"“{judgement.unused[0]}”" in judgement.reason


@pytest.mark.parametrize("prompt", FOREIGN)
def test_another_language_is_named_and_scores_low(prompt: str, ask) -> None:
    judgement = ask(prompt)
    assert judgement.language == FOREIGN[prompt] and judgement.language in judgement.reason
    assert judgement.refused and "English" in judgement.reason


def test_the_reason_tells_what_is_known_and_what_is_not(ask) -> None:
    assert ask("a red apple").reason == "I know “red apple” very well."
    assert ask("a yellow apple").reason.startswith("I know all of these words; the nearest")
    assert "It will be a drawing" in ask("a photo of a dog").reason
    steampunk = ask("a steampunk owl")
    assert steampunk.unused == ("steampunk",) and steampunk.verdict == "close"
    assert "never seen the word “steampunk”; it will be ignored or guessed" in steampunk.reason
    many = ask("Alpha Bravo Charlie Delta Echo Foxtrot")
    assert many.unused[0] == "Alpha" and "and 2 more; they will be" in many.reason


def test_one_unknown_word_costs_something_but_not_everything(ask) -> None:
    assert ask("an owl").score > ask("a steampunk owl").score > ask("a steampunk zeppelin").score


def test_without_a_known_word_a_near_vector_is_a_lucky_guess(encoder, judge) -> None:
    judgement = judge.score("zyxgarble", encoder.encode(["cat"]).pooled[0].numpy())
    assert judgement.nearest[0][1] > 0.99 and judgement.score < 0.4 and judgement.verdict == "unsure"


def test_nearest_captions_are_three_different_things(ask) -> None:
    nearest = ask("two dogs").nearest
    assert len(nearest) == 3 and [cosine for _, cosine in nearest] == sorted((c for _, c in nearest), reverse=True)
    assert all(-1 <= cosine <= 1.0001 for _, cosine in nearest)
    assert ask("cat").nearest[0] == ("cat", pytest.approx(1, abs=0.002))
    twins = Judge.build(["a cat", "the cats", "dog"], vectors(3), [])
    assert len(twins.score("cat", vectors(3)[0]).nearest) == 2


def test_scores_stay_in_range_for_any_text_and_vector() -> None:
    judge = Judge.build(CAPTIONS, vectors(len(CAPTIONS)), VOCABULARY)
    for prompt in ("", "...", "the of and", "🍎", "a" * 400, "\udcff", "猫 " * 50, "red apple"):
        for vector in (*vectors(2, seed=1), np.zeros(384, dtype=np.float32)):
            judgement = judge.score(prompt, vector)
            assert 0 <= judgement.score <= 1 and judgement.reason


# Words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cats", "cat"),
        ("cherries", "cherry"),
        ("cookies", "cookie"),
        ("pies", "pie"),
        ("boxes", "box"),
        ("glasses", "glass"),
        ("horses", "horse"),
        ("buses", "bus"),
        ("running", "run"),
        ("falling", "fall"),
        ("rolled", "roll"),
        ("seeing", "see"),
        ("smiling", "smile"),
        ("opened", "open"),
        ("making", "makes"),
        ("spotted", "spots"),
        ("striped", "stripes"),
        ("fried", "fry"),
        ("crossing", "crossed"),
        ("leaves", "leaf"),
        ("mice", "mouse"),
        ("women", "woman"),
        ("grey", "gray"),
        ("Crème", "creme"),
    ],
)
def test_forms_of_a_word_share_a_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("red", "read"),
        ("king", "kin"),
        ("ring", "ran"),
        ("bus", "bun"),
        ("seed", "see"),
        ("star", "stare"),
        ("car", "caring"),
        ("kit", "kite"),
        ("bee", "be"),
        ("wing", "win"),
    ],
)
def test_other_words_do_not(one: str, other: str) -> None:
    assert stem(one) != stem(other)


def test_content_words_are_what_could_be_drawn() -> None:
    assert content_words("A picture of the cat's T-shirt, and a Cat") == ["cat", "T", "shirt"]
    assert content_words("the of") == ["the", "of"]


@pytest.mark.parametrize("prompt", ENGLISH)
def test_english_is_never_called_another_language(prompt: str) -> None:
    assert detect_language(prompt, frozenset()) is None


def test_known_words_speak_against_another_language() -> None:
    assert detect_language("gato perro", frozenset()) == "Spanish"
    assert detect_language("gato perro", {"gato", "perro"}) is None
    assert detect_language("en röd katt", {"rod"}) == "Swedish"  # the plain form is English, the accent decides


# Files


def test_a_saved_judge_judges_the_same(encoder, judge, tmp_path: Path) -> None:
    judge.save(tmp_path / "judge")
    again = Judge.load(tmp_path / "judge")
    for prompt in (*KNOWN, *UNKNOWN):
        pooled = encoder.encode([prompt]).pooled[0].numpy()
        assert again.score(prompt, pooled) == judge.score(prompt, pooled)
    assert again.captions == CAPTIONS and len(again) == len(CAPTIONS)


def test_eight_bits_are_enough(tmp_path: Path) -> None:
    known = vectors(64)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    judge = Judge.build([f"caption {i}" for i in range(64)], known, [])
    cosines = [judge.score("x", vector).nearest[0][1] for vector in known]
    assert min(cosines) > 0.999


def test_eight_thousand_captions_fit_into_six_mebibytes(tmp_path: Path) -> None:
    captions = [f"a big yellow star number {i} to the left of a small red apple, flat style" for i in range(8000)]
    Judge.build(captions, vectors(8000), [f"word{i}" for i in range(15_000)]).save(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 6 * 2**20


def test_bad_material_is_not_built_from() -> None:
    for captions, given in (
        ([], vectors(0)),
        (["a"], vectors(2)),
        (["a"], np.zeros((1, 384))),
        (["a"], vectors(1) * np.nan),
    ):
        with pytest.raises(ValueError):
            Judge.build(captions, given, [])


@pytest.mark.parametrize("name", ["captions.json", "vectors.safetensors"])
def test_missing_truncated_and_changed_files_are_refused(name: str, tmp_path: Path) -> None:
    Judge.build(["red apple", "cat"], vectors(2), ["big"]).save(tmp_path)
    path, whole = tmp_path / name, (tmp_path / name).read_bytes()
    for length in (0, 1, 8, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=name):
            Judge.load(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=name):
        Judge.load(tmp_path)


def test_files_of_two_judges_do_not_mix(tmp_path: Path) -> None:
    Judge.build(["red apple", "cat"], vectors(2), []).save(tmp_path / "a")
    Judge.build(["red apple", "cat"], vectors(2, seed=1), []).save(tmp_path / "b")
    (tmp_path / "a" / "vectors.safetensors").write_bytes((tmp_path / "b" / "vectors.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="another checkpoint"):
        Judge.load(tmp_path / "a")


@pytest.mark.parametrize(
    "change",
    [
        {"captions": ["one"]},
        {"captions": []},
        {"captions": "ab"},
        {"captions": [1, 2]},
        {"vocabulary": None},
        {"schema_version": 99},
    ],
)
def test_foreign_content_is_refused(change: dict, tmp_path: Path) -> None:
    Judge.build(["red apple", "cat"], vectors(2), []).save(tmp_path)
    content = json.loads((tmp_path / "captions.json").read_text())
    (tmp_path / "captions.json").write_text(json.dumps(content | change))
    with pytest.raises(CheckpointError):
        Judge.load(tmp_path)
    (tmp_path / "captions.json").write_text("[]")
    with pytest.raises(CheckpointError):
        Judge.load(tmp_path)


def test_another_text_encoder_is_noticed(judge) -> None:
    with pytest.raises(CheckpointError, match="another text encoder"):
        judge.score("a red apple", np.zeros(768))
