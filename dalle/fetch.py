"""A repository on the Hub, pinned to a commit: its files come into the Hub's cache and are verified there.

Downloads and the cache are huggingface_hub's, which also resumes a transfer whose connection broke. Added here: patience with a
Hub that is busy when it is asked for a revision or refuses a file, a check of each file against its hash, and clear errors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

from dalle.config import CheckpointError
from dalle.hub_errors import BUSY, WRONG_TOKEN, check_token, explained, is_wrong_token, no_room, patiently, status_of
from dalle.selection import MAX_TEXT_BYTES

logger = logging.getLogger(__name__)
# It warns where no file is asked for, which is how its listing is had.
logging.getLogger("huggingface_hub._snapshot_download").addFilter(lambda record: "No files matched" not in record.getMessage())

ROOM_TO_SPARE = 100_000_000
"""Bytes that are left free on the disk."""

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Repository:
    """A model repository at one commit.

    Attributes:
        name: user/repo.
        commit: 40 hexadecimal digits.
        folder: its snapshot in the cache, where the files are that were fetched so far.
        sizes: path -> bytes of every file that it has, fetched or not.
    """

    def __init__(self, name: str, revision: str | None, glances: Collection[str], **where: Any) -> None:
        """Finds the commit and the list of files, and fetches the files named in `glances` where they exist and are small.

        Args:
            revision: branch, tag, pull request (refs/pr/1) or commit; the main branch if None.
            where: `cache_dir`, `token`, `force_download`, `local_files_only` as huggingface_hub takes them.

        Raises:
            CheckpointError: it can't be had, neither from the Hub nor from the cache.
        """
        self.name, self.where = name, {key: value for key, value in where.items() if value is not None}
        self.asked = f"{name}@{revision}" if revision else name
        try:
            check_token(self.where.get("token"))
            self._open(revision, glances)
        except Exception as error:
            if not is_wrong_token(error):
                raise explained(error, name, self.asked, **where) from error
            logger.warning("The Hub does not accept the access token that is set: trying without it.")
            self.where["token"] = False
            try:
                self._open(revision, glances)
            except Exception as second:
                if status_of(second) in (401, 404):
                    raise CheckpointError(WRONG_TOKEN.format(name=name)) from second
                raise explained(second, name, self.asked, **where) from second

    def _open(self, revision: str | None, glances: Collection[str]) -> None:
        from huggingface_hub import HfApi, constants, get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError, RevisionResolutionError

        class Api(HfApi):
            def repo_info(self, *args: Any, **kwargs: Any) -> Any:
                """As it was, but not waiting for ever for a Hub that is silent."""
                return super().repo_info(*args, **kwargs | {"timeout": constants.HF_HUB_ETAG_TIMEOUT})

        cache = {key: self.where[key] for key in ("cache_dir", "token", "local_files_only") if key in self.where}
        resolve = partial(Api().resolve_revision, self.name, revision=revision)
        try:
            resolved = patiently(partial(resolve, **cache))
        except Exception as error:
            resolved = None
            if status_of(error) in BUSY:
                with suppress(RevisionResolutionError):
                    resolved = resolve(**cache | {"local_files_only": True})
            if resolved is None:
                raise
        self.commit: str = resolved.resolved
        if revision == self.commit and not self._is_known(glances):  # the library would be long in telling that there is no network
            patiently(partial(Api().repo_info, self.name, revision=revision, token=self.where.get("token")))
        self.folder = self._download((), quiet=True)
        try:
            tree = get_cached_repo_tree(self.name, revision=self.commit, cache_dir=self.where.get("cache_dir"))
            self.sizes = {file.path: file.size for file in tree}
            self._listed = {file.path: file.blob_id for file in tree}
        except CachedRepoTreeNotFoundError:  # fetched by an older huggingface_hub, and the Hub can't be reached
            there = [path for path in self.folder.rglob("*") if path.is_file()]
            self.sizes = {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in there}
            self._listed = {}
        glances = [name for name in glances if self.sizes.get(name, math.inf) <= MAX_TEXT_BYTES]
        if glances:
            self._download(glances, quiet=True)
        self._verify([name for name in glances if (self.folder / name).exists()])

    def _is_known(self, glances: Collection[str]) -> bool:
        """Whether there is something of this commit in the cache, or nothing else is to be asked."""
        from huggingface_hub import try_to_load_from_cache

        cache = self.where.get("cache_dir")
        found = (try_to_load_from_cache(self.name, name, revision=self.commit, cache_dir=cache) for name in glances)
        return bool(self.where.get("local_files_only")) or any(isinstance(path, str) for path in found)

    def _download(self, names: Collection[str], quiet: bool = False) -> Path:
        from huggingface_hub import constants, snapshot_download
        from tqdm.auto import tqdm

        hidden = quiet or not sys.stderr.isatty() or constants.HF_HUB_DISABLE_PROGRESS_BARS

        class Bar(tqdm):
            """Its own bars are turned off by other libraries, as is good while a model is only opened."""

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs | {"leave": False, "disable": bool(hidden)})

        fetch = partial(snapshot_download, self.name, revision=self.commit, tqdm_class=Bar, **self.where)
        return Path(patiently(partial(fetch, allow_patterns=[escape(name) for name in names])))

    def get(self, names: Collection[str]) -> Path:
        """Fetches these files where they aren't there yet, and verifies them -> `folder`.

        Raises:
            CheckpointError: the network, the Hub or the disk failed, or a file is not the one that the Hub lists.
        """
        again = self.where.get("force_download")
        missing = [name for name in names if again or not (self.folder / name).exists()]
        unverified = set(missing) | self._left_unverified()
        if missing:
            try:
                self._check_room(missing)
                self._note.write_text(json.dumps(sorted(unverified)))
                self._download(missing)
            except CheckpointError:
                raise
            except Exception as error:
                raise explained(error, self.name, self.asked, **self.where) from error
        if unverified:
            self._verify([name for name in sorted(unverified) if (self.folder / name).exists()])
            self._note.unlink(missing_ok=True)
        return self.folder

    @property
    def _note(self) -> Path:
        """Says which files were being fetched and are not verified yet, should this be interrupted."""
        return self.folder.parent.parent / f".unverified-{self.commit}"

    def _left_unverified(self) -> set[str]:
        try:
            return {name for name in json.loads(self._note.read_text()) if name in self.sizes}
        except FileNotFoundError:
            return set()
        except (OSError, ValueError, TypeError):
            return set(self.sizes)

    def _check_room(self, names: Collection[str]) -> None:
        wanted = sum(self.sizes.get(name, 0) for name in names)
        free = shutil.disk_usage(self.folder).free
        if wanted + ROOM_TO_SPARE > free:
            raise CheckpointError(no_room(self.asked, f"{wanted / 1e9:.1f} GB are to be fetched, {free / 1e9:.1f} GB are free"))

    def _verify(self, names: Collection[str]) -> None:
        """Removes files from the cache that are not what the Hub lists, and names them."""
        wrong = [name for name in names if not _is_intact(self.folder / name, self._listed.get(name, ""))]
        for name in wrong:
            path = self.folder / name
            for one in {path.resolve(), path}:
                one.unlink(missing_ok=True)
        if wrong:
            raise CheckpointError(
                f"{', '.join(wrong)} of {self.asked} came damaged: what was fetched is not what the Hub lists (its hash differs). "
                "It was removed from the cache: try again. If that happens again, something between here and the Hub changes files."
            )


def _git_hash(size: int, pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _is_intact(path: Path, listed: str) -> bool:
    """Whether a file has the hash that the cache filed it under, or, where that is unknown, the one that the Hub lists.

    Large files go by their sha256, others by git's hash. The Hub lists git's hash for all: a large one's is that of its pointer.
    """
    filed = Path(os.readlink(path)).name if path.is_symlink() else ""
    expected = filed if _HASH.fullmatch(filed) else listed
    if not expected:
        return True
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if len(expected) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == expected
        if _git_hash(size, iter(partial(file.read, 1 << 20), b"")) == expected:
            return True
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return _git_hash(len(pointer), iter([pointer])) == expected
