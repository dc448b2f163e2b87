"""Where the playground runs: at home, on a Space of the Hub, or on one whose GPU comes for a request at a time (ZeroGPU)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dalle.config import DEFAULT_MODEL

RECORD = "space.json"
"""File beside app.py in a Space: what `python -m dalle space` was told. A Space's variables count more."""

MODEL, MODELS = "DALLE_MODEL", "DALLE_MODELS"
"""Environment variables: the model to start with, and those that the page may switch to, with commas between."""


def on_space() -> bool:
    return bool(os.environ.get("SPACE_ID"))


def on_zero_gpu() -> bool:
    """Read as the package `spaces` reads it, which then changes torch."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def record(folder: Path) -> dict[str, Any]:
    """What a Space's folder says; {} of any other, and of a file that is no such record."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def model_of(folder: Path) -> str:
    """The model to start with, where the command line names none."""
    told = os.environ.get(MODEL, "").strip() or record(folder).get("model")
    return told if isinstance(told, str) and told else DEFAULT_MODEL


def models_of(folder: Path, first: str = "") -> tuple[str, ...] | None:
    """The models that the page may switch to: None for any, as at home; () for none, as on a Space that says nothing else.

    On ZeroGPU there are none: a model has to be there before the page opens.

    Args:
        first: the model that the page begins with; `model_of` where not given.
    """
    if on_zero_gpu():
        return ()
    if (told := os.environ.get(MODELS)) is not None:
        names = names_in(told)
        return tuple(dict.fromkeys((first or model_of(folder), *names))) if names else ()  # with a way back to the first
    if isinstance(told := record(folder).get("models"), list):
        return tuple(name for name in told if isinstance(name, str))
    return () if on_space() else None


def names_in(text: str) -> tuple[str, ...]:
    """ "a/b, c/d" -> ("a/b", "c/d")"""
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
