"""Before anything is drawn: how well can this description be drawn, and why?

Two things are asked. How near is the prompt to a caption that the model was trained on, by the cosine of the language
model's vectors? And how many of its words did the training captions use at all? Either alone is fooled: vectors hardly
see a single new word, and known words can be strung together to something unheard of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dalle.config import CheckpointError
from dalle.languages import detect_language
from dalle.parts import damaged, load_part, save_part
from dalle.words import PHOTOGRAPHIC, content_words, known_word, stem, tokens

__all__ = ["THRESHOLD", "Judge", "Judgement", "detect_language"]

THRESHOLD = 0.3
"""Strict mode refuses below this score."""
CLOSE, KNOWN = 0.55, 0.75
FOREIGN_CEILING = 0.15
"""The text encoder learned English only: what it makes of another language is chance, however near the vector lies."""

# Cosine of MiniLM's vectors -> similarity part of the score. Measured on emoji labels: nonsense, finance and other
# languages reach 0.2 to 0.5 at the nearest caption, compositions of known things 0.5 to 0.7, known things 0.8 to 1.
COSINES, SIMILARITIES = (0.30, 0.65, 0.95), (0.0, 0.9, 1.0)

CAPTIONS_FILE, VECTORS_FILE = "captions.json", "vectors.safetensors"

Verdict = Literal["known", "close", "unsure", "unknown"]


@dataclass(frozen=True)
class Judgement:
    """What the judge thinks of a prompt.

    Attributes:
        score: 0 (can't be drawn) to 1 (known very well).
        verdict: the score in a word.
        reason: the score in plain English, for the page and the command line.
        nearest: up to three known captions with their cosines, best first.
        unused: words of the prompt that no training caption used.
        language: name of the prompt's language where it is not English.
        threshold: the score below which strict mode refuses.
    """

    score: float
    verdict: Verdict
    reason: str
    nearest: tuple[tuple[str, float], ...]
    unused: tuple[str, ...]
    language: str | None
    threshold: float = THRESHOLD

    @property
    def refused(self) -> bool:
        return self.score < self.threshold


class Judge:
    """Known captions, their vectors, and every word that training captions used. Build one with `build` or `load`."""

    def __init__(self, captions: list[str], codes: np.ndarray, scales: np.ndarray, vocabulary: list[str]) -> None:
        self.captions, self.vocabulary = captions, vocabulary
        self._codes, self._scales = codes, scales  # int8 (N, C), float32 (N,)
        vectors = codes.astype(np.float32) * scales[:, None]
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self._stems = frozenset(stem(word) for text in (*vocabulary, *captions) for word in tokens(text))

    def __len__(self) -> int:
        return len(self.captions)

    @classmethod
    def build(cls, captions: Sequence[str], vectors: np.ndarray, vocabulary: Sequence[str]) -> Judge:
        """From captions, their pooled vectors (N, C) of any length, and words; the vectors are kept as 8-bit integers.

        Raises:
            ValueError: no captions, another number of vectors, or a vector that is zero or not finite.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        if not captions or vectors.ndim != 2 or len(vectors) != len(captions):
            raise ValueError(f"{len(captions)} captions need as many vectors, got shape {vectors.shape}")
        peaks = np.abs(vectors).max(axis=1)
        if not np.isfinite(peaks).all() or not peaks.all():
            raise ValueError("vectors must be finite and not zero")
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        scales = np.abs(vectors).max(axis=1) / 127
        codes = np.rint(vectors / scales[:, None]).astype(np.int8)
        return cls(list(captions), codes, scales, sorted({word for word in vocabulary if word}))

    def save(self, folder: str | Path) -> None:
        """Writes the two files into `folder`. Raises `StorageError` where that fails."""
        content = {"captions": self.captions, "vocabulary": self.vocabulary}
        save_part(folder, CAPTIONS_FILE, VECTORS_FILE, content, {"codes": self._codes, "scales": self._scales})

    @classmethod
    def load(cls, folder: str | Path) -> Judge:
        """Reads what `save` wrote.

        Raises:
            CheckpointError: a file is missing, truncated, foreign, or does not belong to the other.
        """
        folder = Path(folder)
        content, tensors = load_part(folder, CAPTIONS_FILE, VECTORS_FILE)
        captions, vocabulary = content.get("captions"), content.get("vocabulary")
        if not (_all_text(captions) and _all_text(vocabulary) and captions):
            raise damaged(folder / CAPTIONS_FILE)
        codes, scales = tensors.get("codes"), tensors.get("scales")
        if codes is None or scales is None:
            raise damaged(folder / VECTORS_FILE)
        fits = codes.ndim == 2 and codes.dtype == np.int8 and scales.dtype == np.float32
        if not fits or len(codes) != len(captions) or scales.shape != (len(captions),):
            raise damaged(folder / VECTORS_FILE)
        if not np.isfinite(scales).all() or not (scales > 0).all() or not codes.any(axis=1).all():
            raise damaged(folder / VECTORS_FILE)
        return cls(captions, codes, scales, vocabulary)

    def vectors_of(self, captions: Sequence[str]) -> np.ndarray:
        """The vectors of captions that it knows, (N, C) float32 of unit norm; zeros for others."""
        places = {caption: row for row, caption in enumerate(self.captions)}
        found = np.zeros((len(captions), self._vectors.shape[1]), np.float32)
        for row, caption in enumerate(captions):
            if caption in places:
                found[row] = self._vectors[places[caption]]
        return found

    def score(self, prompt: str, pooled: np.ndarray) -> Judgement:
        """Judges a prompt by its words and its pooled vector (C,), from the text encoder that embedded the captions.

        Raises:
            CheckpointError: the vector has another length, so it comes from another text encoder.
        """
        vector = np.asarray(pooled, dtype=np.float32)
        if vector.shape != self._vectors.shape[1:]:
            raise CheckpointError(
                f"The judge knows vectors of {self._vectors.shape[1]} numbers, the text encoder gave {vector.shape}: "
                "the checkpoint was assembled with another text encoder."
            )
        cosines = self._vectors @ (vector / max(float(np.linalg.norm(vector)), 1e-12))
        nearest = self._nearest(cosines)
        words = content_words(prompt)
        unused = tuple(word for word in words if not known_word(word, self._stems))
        coverage = 1 - len(unused) / len(words) if words else 0.0
        similarity = float(np.interp(nearest[0][1], COSINES, SIMILARITIES))
        # Both count alike; a prompt without a single known word is at best a lucky guess.
        score = (similarity + coverage) / 2 * (0.7 + 0.3 * coverage)
        language = detect_language(prompt, self._stems)
        if language is not None:
            score = min(score, FOREIGN_CEILING)
        verdict: Verdict = (
            "known" if score >= KNOWN else "close" if score >= CLOSE else "unsure" if score >= THRESHOLD else "unknown"
        )
        reason = _reason(verdict, nearest[0][0], words, unused, language)
        if language is None and not PHOTOGRAPHIC.isdisjoint(word.lower() for word in tokens(prompt)):
            reason += " It will be a drawing: I know no photographs."
        return Judgement(round(score, 3), verdict, reason, nearest, unused, language)

    def _nearest(self, cosines: np.ndarray, count: int = 3) -> tuple[tuple[str, float], ...]:
        """The best captions, leaving out those that differ from a better one in function words or number only."""
        found: dict[tuple[str, ...], tuple[str, float]] = {}
        for row in np.argsort(-cosines, kind="stable")[: 32 * count]:
            caption = self.captions[row]
            found.setdefault(tuple(stem(word) for word in content_words(caption)), (caption, round(float(cosines[row]), 3)))
            if len(found) == count:
                break
        return tuple(found.values())


def _reason(verdict: Verdict, caption: str, words: list[str], unused: tuple[str, ...], language: str | None) -> str:
    if language is not None:
        return f"This looks like {language}. I understand English only: please describe the picture in English."
    if verdict == "known" and {stem(word) for word in words} <= {stem(word) for word in content_words(caption)}:
        return f"I know “{caption}” very well."
    openings: dict[Verdict, str] = {
        "known": f"I know all of these words; the nearest that I was taught is “{caption}”.",
        "close": f"I know something like it: “{caption}”.",
        "unsure": f"I know little of this; the nearest that I was taught is “{caption}”.",
        "unknown": f"I know nothing like it; the nearest that I was taught is “{caption}”, which is far away.",
    }
    if not unused:
        return openings[verdict]
    shown = [f"“{word}”" for word in unused[:4]]
    if len(unused) > 4:
        shown.append(f"{len(unused) - 4} more")
    listed = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    noun, pronoun = ("word", "it") if len(unused) == 1 else ("words", "they")
    opening = openings["close"] if verdict == "known" else openings[verdict]
    return f"{opening} I have never seen the {noun} {listed}; {pronoun} will be ignored or guessed."


def _all_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)

