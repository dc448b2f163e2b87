"""State to resume training, kept apart from the weights: one safetensors file, written aside and then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dalle.config import CheckpointError, StorageError

STATE_FILE = "state.safetensors"
TRAINED_WITH = "trained_with.json"
"""Beside trained weights: the latent space and the text encoder that they belong to; `assemble` compares."""


def save_state(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes tensors and a JSON header so that, killed at any moment, either the old file or the new one is there whole.

    Raises:
        StorageError: the file could not be written; the previous one is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp")
    try:
        flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(flat, aside, metadata={"meta": json.dumps(meta)})
        with open(aside, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(aside, path)
    except (OSError, SafetensorError) as error:
        aside.unlink(missing_ok=True)
        raise StorageError(f"Could not write the training state to {path}: {error}. Free some disk space.") from error


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_state` wrote.

    Raises:
        CheckpointError: no such file, or a damaged one.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            meta = json.loads((handle.metadata() or {})["meta"])
            return {name: handle.get_tensor(name) for name in handle.keys()}, meta  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"No training state at {path}: start the run without --resume.") from error
    except (SafetensorError, KeyError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"The training state {path} is damaged ({error}): remove it and start again.") from error


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as named tensors; its groups are rebuilt from the configuration, not stored."""
    return {
        f"{index}/{key}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
