"""Scenes as the prior sees them: normalised latents and text features, made live or read from a cache on disk.

On a GPU scenes are composed and encoded as they are needed. On a CPU that would cost as much as the training itself, so a fixed
number is encoded once into memory maps; an interrupted build goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from dalle.config import LATENT_CHANNELS, LATENT_SIZE, CheckpointError, StorageError
from dalle.hub import WEIGHTS, read_json
from dalle.text import TextEncoder, TextFeatures
from dalle.vae import DalleVAE
from train import data
from train.checkpoint import TRAINED_WITH
from train.data import SceneComposer
from train.data.store import new_memmap
from train.loop import step_generator


def check_trained_with(folder: Path, found: dict[str, str]) -> None:
    """Raises CheckpointError where weights belong to another latent space or text encoder than those `found`."""
    if not (folder / TRAINED_WITH).exists():
        raise CheckpointError(f"{folder} does not tell what it was trained with ({TRAINED_WITH} is missing): train it again.")
    wanted = read_json(folder / TRAINED_WITH)
    for name, value in found.items():
        if wanted.get(name) != value:
            option = "--vae" if name == "latent_space" else "--text-encoder"
            raise CheckpointError(
                f"{folder} was trained with {name} {wanted.get(name)}, and this is {value}: name with {option} the one that it was "
                "trained with, or train it again."
            )


@dataclass
class LatentBatch:
    """latents (B, C, S, S) normalised; text features of the captions."""

    latents: Tensor
    text: TextFeatures
    captions: list[str]


def stack_features(rows: Sequence[Tensor], pooled: Tensor) -> TextFeatures:
    """Token states of different lengths (T_i, C) -> padded features."""
    tokens = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    padding = torch.arange(tokens.shape[1])[None] >= lengths[:, None]
    return TextFeatures(tokens, torch.zeros(padding.shape).masked_fill(padding, -torch.inf), pooled)


def latent_space(vae: Path) -> str:
    """Hash of what makes latents what they are, an autoencoder's encoder and scale; a decoder trained further keeps it."""
    digest = hashlib.sha256()
    with safe_open(vae / WEIGHTS, framework="np") as weights:
        for name in sorted(name for name in weights.keys() if name.startswith(("encoder.", "latent_"))):  # noqa: SIM118
            digest.update(name.encode() + weights.get_tensor(name).tobytes())
    return digest.hexdigest()[:16]


def scene_recipe() -> str:
    """Hash of the code that plans scenes and words captions: what a seed's scenes are, it decides."""
    folder = Path(data.__file__).parent
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in ("scenes.py", "captions.py"))).hexdigest()[:16]


def grown(path: Path, shape: tuple[int, ...], rows: int) -> np.memmap:
    """A float16 memory map of the shape, with the first `rows` rows of the file that was there, if any."""
    if path.exists() and (old := np.load(path, mmap_mode="r")).shape == shape:
        return np.lib.format.open_memmap(path, "r+")
    aside = path.with_suffix(".tmp")
    new = new_memmap(aside, np.float16, shape)
    if path.exists() and rows:
        new[:rows] = old[:rows]
    new.flush()
    os.replace(aside, path)
    return new


class LiveLatents:
    """Composes and encodes each batch as it is asked for."""

    def __init__(self, composer: SceneComposer, vae: DalleVAE, encoder: TextEncoder, device: torch.device | str) -> None:
        self.composer, self.vae, self.encoder, self.device = composer, vae.eval(), encoder, device

    @torch.no_grad()
    def batch(self, index: int, size: int) -> LatentBatch:
        scenes = self.composer.batch(index, size)
        dtype = next(self.vae.parameters()).dtype
        pixels = scenes.pixels.to(self.device, dtype).contiguous(memory_format=torch.channels_last)
        latents = self.vae.to_latents(pixels).float()
        return LatentBatch(latents, self.encoder.encode(scenes.captions).to(self.device), scenes.captions)


class LatentCache:
    """`count` encoded scenes in a folder: latents.npy, pooled.npy, tokens.npy (flat), index.json."""

    CHUNK = 32

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.captions: list[str] = index["captions"]
        self.offsets = np.array(index["offsets"])
        count = len(self.captions)
        self.latents = np.load(folder / "latents.npy", mmap_mode="r")[:count]
        self.pooled = np.load(folder / "pooled.npy", mmap_mode="r")[:count]
        self.tokens = np.memmap(folder / "tokens.f16", np.float16, "r").reshape(-1, self.pooled.shape[1])
        self._order: tuple[tuple[int, int], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.captions)

    @classmethod
    def build(cls, folder: Path, source: LiveLatents, count: int, fingerprint: str) -> LatentCache:
        """Encodes scenes until at least `count` are there; a folder that holds fewer grows.

        "recipes" in its index tells from which scene on which version of the scenes' code was at work.

        Raises:
            CheckpointError: the folder was made with other weights.
            StorageError: the disk is full.
        """
        folder.mkdir(parents=True, exist_ok=True)
        state_file = folder / "index.json"
        state = {"fingerprint": fingerprint, "captions": [], "offsets": [0]}
        if state_file.exists():
            state = json.loads(state_file.read_text(encoding="utf-8"))
            if state["fingerprint"] != fingerprint:
                raise CheckpointError(
                    f"{folder} was made with another autoencoder, text encoder, seed or data: name those, or another folder "
                    "(--latents), or remove it if nothing else needs it."
                )
        if len(state["captions"]) >= count:
            return cls(folder)
        recipes = state.setdefault("recipes", [])
        if not recipes or recipes[-1][1] != scene_recipe():
            if state["captions"]:
                first = len(state["captions"])
                tqdm.write(f"{folder}: scenes from {first:,} on are by another version of the program than those before.")
            recipes.append([len(state["captions"]), scene_recipe()])
        dim = source.encoder.dim
        try:
            shape = (LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE)
            latents = grown(folder / "latents.npy", (count, *shape), len(state["captions"]))
            pooled = grown(folder / "pooled.npy", (count, dim), len(state["captions"]))
            with open(folder / "tokens.f16", "ab") as tokens:
                tokens.truncate(state["offsets"][-1] * dim * 2)  # what a killed build wrote beyond its index
                bar = tqdm(total=count, initial=len(state["captions"]), desc="encode scenes", unit="scene", mininterval=2)
                while (done := len(state["captions"])) < count:
                    batch = source.batch(done // cls.CHUNK, cls.CHUNK)
                    first = done % cls.CHUNK  # above 0 where a cache grows whose size was no multiple
                    rows = min(cls.CHUNK - first, count - done)
                    latents[done : done + rows] = batch.latents[first : first + rows].cpu().numpy()
                    pooled[done : done + rows] = batch.text.pooled[first : first + rows].cpu().numpy()
                    for row in range(first, first + rows):
                        states = batch.text.tokens[row][batch.text.mask[row]].cpu().numpy().astype(np.float16)
                        tokens.write(states.tobytes())
                        state["offsets"].append(state["offsets"][-1] + len(states))
                    state["captions"] += batch.captions[first : first + rows]
                    bar.update(rows)
                    if (done // cls.CHUNK) % 64 == 63 or done + rows >= count:
                        tokens.flush()
                        latents.flush()
                        pooled.flush()
                        aside = state_file.with_suffix(".tmp")
                        aside.write_text(json.dumps(state), encoding="utf-8")
                        os.replace(aside, state_file)
                bar.close()
        except OSError as error:
            raise StorageError(f"Could not write the latents to {folder}: {error}. Free some disk space.") from error
        return cls(folder)

    def rows(self, chosen: Sequence[int]) -> LatentBatch:
        latents = torch.from_numpy(self.latents[list(chosen)].astype(np.float32))
        pooled = torch.from_numpy(self.pooled[list(chosen)].astype(np.float32))
        states = [
            torch.from_numpy(self.tokens[self.offsets[r] : self.offsets[r + 1]].astype(np.float32)) for r in chosen
        ]
        return LatentBatch(latents, stack_features(states, pooled), [self.captions[r] for r in chosen])

    def batch(self, index: int, size: int, seed: int = 0) -> LatentBatch:
        """Batch `index` of an endless stream that visits every scene once an epoch, in an order fixed by the seed."""
        per_epoch = max(1, len(self) // size)
        epoch, place = divmod(index, per_epoch)
        if self._order is None or self._order[0] != (epoch, seed):
            order = torch.randperm(len(self), generator=step_generator(seed, epoch, 7))
            self._order = ((epoch, seed), order)
        return self.rows(self._order[1][place * size : (place + 1) * size].tolist())
