"""Parts of a checkpoint that are no networks: a JSON file and a safetensors file that belong together."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from dalle.config import SCHEMA_VERSION, CheckpointError
from dalle.hub import check_version
from dalle.images import webp_uri, write_whole

MAX_FILE_BYTES = 64 * 2**20


def save_part(folder: str | Path, text_file: str, tensor_file: str, content: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """Writes both files; the first has the hash of the second. Raises `StorageError` where that fails."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = safetensors_numpy.save(dict(tensors))
    whole = {"schema_version": SCHEMA_VERSION, _hash_name(tensor_file): hashlib.sha256(data).hexdigest(), **content}
    write_whole(folder / tensor_file, data)
    write_whole(folder / text_file, (json.dumps(whole, ensure_ascii=False, indent=0) + "\n").encode())


def load_part(folder: str | Path, text_file: str, tensor_file: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `save_part` wrote.

    Raises:
        CheckpointError: a file is missing, too large, truncated, foreign, or does not belong to the other.
    """
    folder = Path(folder)
    try:
        content = json.loads(_read(folder / text_file))
        version, checksum = content["schema_version"], content[_hash_name(tensor_file)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(folder / text_file) from error
    check_version(folder, version)
    data = _read(folder / tensor_file)
    if hashlib.sha256(data).hexdigest() != checksum:
        raise damaged(folder / tensor_file)
    try:
        return content, safetensors_numpy.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise damaged(folder / tensor_file) from error


def damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged or belongs to another checkpoint: fetch or train the checkpoint again.")


def _hash_name(tensor_file: str) -> str:
    return f"{Path(tensor_file).stem}_sha256"


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise damaged(path)
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror}): fetch or train the checkpoint again.") from error


class Packed:
    """Small pictures as WebP files end to end, so that one can be had without decoding any."""

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        """
        Args:
            data: (B,) uint8, the files.
            ends: (N,) int64, where each of them ends.

        Raises:
            ValueError: these are no such files.
        """
        if data.ndim != 1 or data.dtype != np.uint8 or ends.ndim != 1 or ends.dtype != np.int64:
            raise ValueError("packed pictures are bytes and where each picture ends")
        if len(ends) and (ends[0] <= 0 or (np.diff(ends) <= 0).any() or ends[-1] != len(data)):
            raise ValueError("packed pictures must end one behind the other")
        self.data, self.ends = data, ends
        if not all(self[place].startswith(b"RIFF") for place in range(len(self))):
            raise ValueError("packed pictures must be WebP")

    @classmethod
    def of(cls, images: Sequence[Image.Image], quality: int = 85, alpha_quality: int = 90) -> Packed:
        """Packs pictures of any size and mode; WebP's qualities, 0 to 100."""
        files = []
        for image in images:
            buffer = io.BytesIO()
            image.save(buffer, "WEBP", quality=quality, alpha_quality=alpha_quality, method=6)
            files.append(buffer.getvalue())
        return cls(np.frombuffer(b"".join(files), np.uint8), np.cumsum([len(file) for file in files], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: int) -> bytes:
        first = int(self.ends[place - 1]) if place else 0
        return self.data[first : int(self.ends[place])].tobytes()

    def image(self, place: int) -> Image.Image:
        """A picture, decoded."""
        return Image.open(io.BytesIO(self[place]))

    def uri(self, place: int) -> str:
        """A picture as a data URI."""
        return webp_uri(self[place])
