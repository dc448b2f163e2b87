"""Results kept as they are made, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from dalle.engine import Engine
from dalle.images import write_whole
from train.evaluation.systems import Classic

SOURCES = (
    "dalle/*.py",
    "train/evaluation/*.py",
    "train/evaluator.py",
    *(f"train/data/{name}.py" for name in ("scenes", "captions", "render", "store")),
)
"""What a figure depends on, from the root of the sources."""


def sources_hash(*patterns: str) -> str:
    """SHA-256 over names and texts of source files, by patterns from the root; their order does not matter."""
    root = Path(__file__).parents[2]
    found = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
        text = path.read_bytes()
        found.update(f"{path.relative_to(root).as_posix()} {len(text)}\n".encode() + text)
    return found.hexdigest()


class Work:
    """Parts of an evaluation, a file each, in a folder of their own for everything that they depend on.

    Args:
        root: where the folders are.
        name: what is worked on, the folder's readable part.
        key: everything that a part depends on besides its name. Another key is another folder, so that results of two
            models, evaluators or renderings never meet.
    """

    def __init__(self, root: Path, name: str, key: dict[str, object]) -> None:
        told = json.dumps(key, sort_keys=True)
        self.key = key
        self.folder = root / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
        self.seconds = 0.0
        """What the parts asked for so far took when they were made."""
        self.seconds_here = 0.0
        """What of that was spent by this object."""

    def part(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, as JSON knows it; read from the disk where an earlier session made it."""
        path = self.folder / f"{name}.json"
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            self.seconds += saved["seconds"]
            return saved["value"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            began = time.monotonic()
        value = make()
        spent = time.monotonic() - began
        text = json.dumps({"value": value, "seconds": spent}, allow_nan=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "key.json").exists():
            write_whole(self.folder / "key.json", (json.dumps(self.key, indent=2) + "\n").encode())
        write_whole(path, text.encode())
        self.seconds += spent
        self.seconds_here += spent
        # Through the text, so that a resumed evaluation has the very same numbers.
        return json.loads(text)["value"]


def config_of(network: nn.Module) -> dict[str, object]:
    """A network's settings, without where it was loaded from and with which library."""
    return {name: value for name, value in dict(network.config).items() if not name.startswith("_")}


def folders(
    root: Path, key: dict[str, object], engine: Engine, settings: dict[str, object], ranker: str | None, classic: Classic | None
) -> dict[str, Work]:
    """The folders of results, each named by everything that its results depend on.

    Args:
        key: what all results depend on, the drawings' with nothing else.
        settings: how the model draws.
        ranker: hash of the checkpoint's.
    """
    pipeline = engine.wait()
    networks = {name: getattr(pipeline, name) for name in ("vae", "prior", "ranker")}
    model_key = key | {
        "revision": engine.revision,
        **settings,
        "text encoder": pipeline.text.name,
        "configs": {name: config_of(network) for name, network in networks.items() if network is not None},
        "dtypes": {name: str(next(n.parameters()).dtype) for name, n in networks.items() if n is not None},
        "ranker": ranker,  # it sets the pace of paths as well
    }
    baseline_key = key | {"sources": sources_hash(*SOURCES, "train/classic.py")}
    if classic:
        baseline_key |= {"baseline": classic.hash, "config": config_of(classic.generator)}
    return {
        "drawings": Work(root, "drawings", key),
        "model": Work(root, f"model-{engine.revision}", model_key),
        "baseline": Work(root, "baseline", baseline_key),
    }


def rounded(values: list[float]) -> list[float]:
    """Six digits: as many as float32 has, in a third of the space."""
    return [float(f"{value:.6g}") for value in values]
