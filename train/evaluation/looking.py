"""What the evaluator sees in pictures: its features, its embeddings, and the words it knows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dalle.images import write_whole
from dalle.text import TextEncoder
from train.evaluator import Evaluator, evaluator_input


@dataclass
class Look:
    """`features` (N, F): what enters the evaluator's last layer; `embeddings` (N, D): what leaves it, of unit norm."""

    features: Tensor
    embeddings: Tensor


@torch.inference_mode()
def look(evaluator: Evaluator, pixels: Tensor) -> Look:
    """Premultiplied RGBA (N, 4, H, W) in [-1, 1], judged over white."""
    caught: list[Tensor] = []
    hook = evaluator.picture_head.register_forward_pre_hook(lambda _, given: caught.append(given[0].float()))
    try:
        embeddings = evaluator.pictures(evaluator_input(pixels))
    finally:
        hook.remove()
    return Look(caught[0], embeddings)


def joined(looks: Sequence[Look]) -> Look:
    return Look(torch.cat([each.features for each in looks]), torch.cat([each.embeddings for each in looks]))


def pooled_vectors(encoder: TextEncoder, texts: Sequence[str], size: int = 128) -> Tensor:
    """Sentence vectors (N, 384) on the CPU. Texts of like length are read together, so that little is padding."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = torch.empty(len(texts), encoder.dim)
    for begin in range(0, len(order), size):
        places = order[begin : begin + size]
        found[places] = encoder.encode([texts[place] for place in places]).pooled.cpu()
    return found


def kept_vectors(encoder: TextEncoder, texts: Sequence[str], root: Path) -> Tensor:
    """`pooled_vectors`, kept under `root` by the encoder's name and the texts: twenty thousand captions take a minute."""
    key = hashlib.sha256("\n".join((encoder.name, *texts)).encode()).hexdigest()[:12]
    path = root / f"captions-{key}.safetensors"
    try:
        return load_file(path)["pooled"]
    except (FileNotFoundError, SafetensorError, KeyError):
        pooled = pooled_vectors(encoder, texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save({"pooled": pooled}))
    return pooled
