"""Files for the visitor: written into gradio's cache, served from there, deleted by age (`delete_cache` of the page).

Each file lies in a folder with a random name, so that nobody can guess another visitor's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gradio.blocks import Block
from gradio.data_classes import FileData
from PIL import Image

from dalle.config import StorageError
from dalle.images import save_png, save_webp, slug, write_whole
from dalle.requests import Picture, picture_metadata

logger = logging.getLogger("ui")


class Outbox:
    """Writes for one component, whose list of temporary files gradio's clean-up goes through."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def picture(self, picture: Picture) -> dict[str, Any]:
        """`picture` as PNG with its transparency, and prompt, seed, model and settings inside.

        Returns the file as gradio's FileData. Raises `StorageError` when the disk is full.
        """
        with self._placed(f"{slug(picture.prompt)}-{picture.seed}.png") as path:
            save_png(picture.image, path, picture_metadata(picture))
        return self._publish(path)

    def animation(
        self, frames: Sequence[Image.Image], name: str, *, fps: float, pingpong: bool, metadata: dict[str, str]
    ) -> dict[str, Any]:
        """`frames` as endless animated WebP. Raises `StorageError` when the disk is full."""
        with self._placed(f"{name}.webp") as path:
            save_webp(frames, path, fps=fps, loop=True, pingpong=pingpong, metadata=metadata)
        return self._publish(path)

    def file(self, data: bytes, name: str) -> dict[str, Any]:
        """`data` under a name. Raises `StorageError` when the disk is full."""
        with self._placed(name) as path:
            write_whole(path, data)
        return self._publish(path)

    @property
    def folder(self) -> Path:
        """Where the files lie, each in a folder of its own."""
        return Path(self._block.GRADIO_CACHE)

    @contextlib.contextmanager
    def _placed(self, name: str) -> Iterator[Path]:
        """Where to write the file; its folder goes again where that fails."""
        folder = self.folder / secrets.token_hex(16)
        with kept_from_visitors():
            folder.mkdir(parents=True)
            try:
                yield folder / name
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

    def _publish(self, path: Path) -> dict[str, Any]:
        # Registers the file for serving and for deletion; it is in the cache already, so nothing is copied.
        cached = self._block.move_resource_to_block_cache(path)
        return FileData(path=str(cached), orig_name=path.name).model_dump()


@contextlib.contextmanager
def kept_from_visitors() -> Iterator[None]:
    """A failed write as a sentence without the server's paths; the log has the whole of it."""
    try:
        yield
    except (OSError, StorageError) as error:
        logger.error("can't write to the cache: %s", error)
        raise StorageError(
            "The server could not write the file: its disk may be full. Free some space there and try again."
        ) from error


def sweep(folder: str | Path, max_age: float) -> None:
    """Deletes files older than `max_age` seconds: what a killed server could not delete itself."""
    oldest = time.time() - max_age
    expired = []
    for path in Path(folder).rglob("*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < oldest:
                expired.append(path)
    for path in sorted(expired, reverse=True):  # what is inside before its folder
        with contextlib.suppress(OSError):  # gone already, or a folder that isn't empty
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def claim_cache(max_age: float) -> Path:
    """A cache folder of this user's own for gradio, swept of what an earlier, killed server left behind.

    Must run before the page is built. A folder given in GRADIO_TEMP_DIR is used as it is, and swept of nothing.
    """
    if given := os.environ.get("GRADIO_TEMP_DIR"):
        return Path(given)
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"dalle-playground-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        mine = not folder.is_symlink() and (not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid())
    except OSError:
        mine = False
    if not mine:  # somebody else has taken the name
        folder = Path(tempfile.mkdtemp(prefix="dalle-playground-"))
    sweep(folder, max_age)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder
