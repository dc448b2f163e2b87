"""A repository on the Hub, pinned to a commit: its files come into the Hub's cache and are verified there, with patience and clear errors.

Downloads, cache and its layout are huggingface_hub's, which resumes a transfer whose connection broke. Added here: patience with a Hub
that is busy when it is asked for a listing or refuses a file, a check of every file against its hash, and words for what went wrong.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

from dalle.config import CheckpointError

logger = logging.getLogger(__name__)

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a request is made again that the Hub was too busy for."""
LONGEST_WAIT = 60.0
"""Seconds that the Hub may ask to wait for. Longer, and the user is told instead."""
PATIENCE = 180.0
"""Seconds after which nothing is tried again."""
BUSY = (408, 429, 500, 502, 503, 504)
ROOM_TO_SPARE = 100_000_000
"""Bytes that are left free on the disk."""

T = TypeVar("T")
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
        """Finds the commit and the list of files, and fetches the small files named in `glances` where they exist.

        Args:
            revision: branch, tag, pull request (refs/pr/1) or commit; the main branch if None.
            where: `cache_dir`, `token`, `force_download`, `local_files_only` as huggingface_hub takes them.

        Raises:
            CheckpointError: it can't be had, neither from the Hub nor from the cache.
        """
        self.name, self.where = name, {key: value for key, value in where.items() if value is not None}
        self.asked = f"{name}@{revision}" if revision else name
        _check_token(self.where.get("token"))
        try:
            self._open(revision, glances)
        except Exception as error:
            if not _is_wrong_token(error):
                raise _explained(error, self) from error
            logger.warning("The Hub does not accept the access token that is set: trying without it.")
            self.where["token"] = False
            try:
                self._open(revision, glances)
            except Exception as second:
                if _status(second) in (401, 404):
                    raise CheckpointError(WRONG_TOKEN.format(name=name)) from second
                raise _explained(second, self) from second

    def _open(self, revision: str | None, glances: Collection[str]) -> None:
        from huggingface_hub import HfApi, constants, get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError

        class Api(HfApi):
            def repo_info(self, *args: Any, **kwargs: Any) -> Any:
                """As it was, but not waiting for ever for a Hub that is silent."""
                return super().repo_info(*args, **kwargs | {"timeout": constants.HF_HUB_ETAG_TIMEOUT})

        cache = {key: self.where[key] for key in ("cache_dir", "token", "local_files_only") if key in self.where}
        resolved = _patiently(partial(Api().resolve_revision, self.name, revision=revision, **cache))
        self.commit: str = resolved.resolved
        self.folder = self._download(glances, quiet=True)
        try:
            tree = get_cached_repo_tree(self.name, revision=self.commit, cache_dir=self.where.get("cache_dir"))
            self.sizes = {file.path: file.size for file in tree}
            self._listed = {file.path: file.blob_id for file in tree}
        except CachedRepoTreeNotFoundError:  # fetched by an older huggingface_hub, and the Hub can't be reached
            there = [path for path in self.folder.rglob("*") if path.is_file()]
            self.sizes = {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in there}
            self._listed = {}
        self._verify([name for name in glances if (self.folder / name).exists()])

    def _download(self, names: Collection[str], quiet: bool = False) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils import tqdm

        class Silent(tqdm):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs | {"disable": True})

        patterns = [escape(name) for name in names]
        bars = {"tqdm_class": Silent} if quiet or not sys.stderr.isatty() else {}
        return Path(
            _patiently(partial(snapshot_download, self.name, revision=self.commit, allow_patterns=patterns, **bars, **self.where))
        )

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
                raise _explained(error, self) from error
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
            raise CheckpointError(_no_room(self, f"{wanted / 1e9:.1f} GB are to be fetched, {free / 1e9:.1f} GB are free"))

    def _verify(self, names: Collection[str]) -> None:
        """Removes files from the cache that are not what the Hub lists, and names them."""
        wrong = [name for name in names if not _is_intact(self.folder / name, self._listed.get(name, ""))]
        for name in wrong:
            path = self.folder / name
            for one in {path.resolve(), path}:
                one.unlink(missing_ok=True)
        if wrong:
            raise CheckpointError(
                f"{', '.join(wrong)} of {self.asked} came damaged: what was fetched is not what the Hub lists (its hash differs). It was "
                "removed from the cache: try again. If that happens again, something between here and the Hub changes files."
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


def _patiently(work: Callable[[], T]) -> T:
    """`work()`, again after a while where the Hub was busy or a connection broke. A network that isn't there is not waited for."""
    began = time.monotonic()
    for wait in WAITS:
        try:
            return work()
        except Exception as error:
            asked = _asked_to_wait(error)
            if not _may_pass(error) or (asked or 0) > LONGEST_WAIT or time.monotonic() - began > PATIENCE:
                raise
            logger.warning("The Hub is busy or the connection broke: trying again in %.0f s.", asked or wait)
        time.sleep(wait if asked is None else asked)
    return work()


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


def _find(error: BaseException, kind: type[T]) -> T | None:
    return next((one for one in _chain(error) if isinstance(one, kind)), None)


def _response(error: BaseException) -> Any:
    return next((one.response for one in _chain(error) if getattr(one, "response", None) is not None), None)


def _status(error: BaseException) -> int | None:
    response = _response(error)
    return None if response is None else response.status_code


def _asked_to_wait(error: BaseException) -> float | None:
    response = _response(error)
    text = "" if response is None else response.headers.get("Retry-After", "")
    return float(text) if text.strip().isdigit() else None


def _no_network(error: BaseException) -> bool:
    unreachable = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ETIMEDOUT)
    return any(isinstance(one, socket.gaierror) or getattr(one, "errno", None) in unreachable for one in _chain(error))


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may be answered a little later."""
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    if _find(error, OfflineModeIsEnabled) or _no_network(error):
        return False
    status = _status(error)
    if status is not None:
        return status in BUSY
    short = isinstance(error, OSError) and "Consistency check failed" in str(error)
    return short or _find(error, HTTPError) is not None


def _is_wrong_token(error: BaseException) -> bool:
    response = _response(error)
    return response is not None and response.status_code == 401 and "nvalid credentials" in response.headers.get("X-Error-Message", "")


def _check_token(token: object) -> None:
    """Raises CheckpointError for one that can't even be sent; the library would print it."""
    from huggingface_hub import get_token

    token = token if isinstance(token, str) else get_token() if token is not False else None
    if token and not re.fullmatch(r"[\x21-\x7e]+", token):
        raise CheckpointError(
            "The access token (HF_TOKEN, or the one of `hf auth login`) has characters that no token has: copy it again from "
            "https://huggingface.co/settings/tokens."
        )


WRONG_TOKEN = (
    "The Hub does not accept the access token that is set, and without one {name} can't be read: it is private, or there is no such "
    "repository. Make a new token at https://huggingface.co/settings/tokens and log in with `hf auth login`, or put it into HF_TOKEN; "
    "`hf auth logout` (and no HF_TOKEN) forgets the old one."
)


def _no_room(repository: Repository, numbers: str) -> str:
    return (
        f"There is no room for {repository.asked} on the disk of the cache: {numbers}. Free some, or set HF_HOME to a folder on another disk."
    )


def _explained(error: BaseException, repository: Repository) -> CheckpointError:
    """What went wrong with a repository, and what to do. Names no token, no address and no folder."""
    from huggingface_hub.errors import (
        DisabledRepoError,
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        HTTPError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
        RevisionResolutionError,
    )

    name, asked = repository.name, repository.asked
    status, number = _status(error), getattr(error, "errno", None)
    if isinstance(error, CheckpointError):
        return error
    if number in (errno.ENOSPC, errno.EDQUOT):
        return CheckpointError(_no_room(repository, "it is full"))
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CheckpointError(
            f"{asked} could not be stored: the Hub's cache can't be written. Set HF_HOME to a folder that you may write into."
        )
    if _find(error, GatedRepoError):
        text = (
            f"{name} is gated: open https://huggingface.co/{name}, accept its terms, then log in here with `hf auth login`, or set HF_TOKEN "
            "to a token that may read it."
        )
    elif _find(error, DisabledRepoError):
        text = f"{name} was disabled by the Hub: choose another model."
    elif _find(error, RepositoryNotFoundError):
        text = (
            f"There is no folder {name} here and no public repository {name} on the Hub. Check the spelling; if it is private, log in with "
            "`hf auth login`, or set HF_TOKEN to a token that may read it."
        )
    elif _find(error, RevisionNotFoundError):
        text = (
            f"{name} has no revision {asked.partition('@')[2] or 'main'}: give a branch, a tag, a commit of 40 digits or a pull request "
            f"(refs/pr/1) that https://huggingface.co/{name}/commits lists, or none for the newest."
        )
    elif _find(error, RemoteEntryNotFoundError):
        text = f"{asked} lacks a file that the Hub lists: try again, or choose another revision."
    elif _find(error, HFValidationError):
        text = f"{name} is not a name that a repository on the Hub can have: it looks like user/repo."
    elif status == 429:
        seconds = _asked_to_wait(error)
        text = (
            f"The Hub gets too many requests from here, so {asked} could not be fetched: try again in "
            f"{f'{seconds / 60:.0f} minutes' if seconds and seconds > 90 else 'a few minutes'}. It takes more from users who are logged in (`hf auth login`)."
        )
    elif status in (401, 403):
        text = f"The access token that is set may not read {name}: give one that may (https://huggingface.co/settings/tokens)."
    elif status is not None and status in BUSY:
        text = f"The Hub has trouble (it answered {status}), and {asked} is not in the cache: try again later."
    elif _find(error, IncompleteSnapshotError):
        text = f"Only a part of {asked} is in the cache, and the Hub can't be reached for the rest: {_way_out(repository, error)}"
    elif _find(error, OfflineModeIsEnabled) or _no_network(error) or repository.where.get("local_files_only"):
        text = f"{asked} is not in the cache and the Hub can't be reached: {_way_out(repository, error)}"
    elif isinstance(error, OSError) and "Consistency check failed" in str(error):
        text = f"{asked} came incomplete, again and again: check the network and try again."
    elif _find(error, HTTPError):
        text = f"The connection to the Hub broke, again and again, and {asked} could not be fetched: check the network and try again."
    elif isinstance(error, LocalEntryNotFoundError | EntryNotFoundError | RevisionResolutionError):
        text = f"{asked} is not in the cache and the Hub can't be reached: {_way_out(repository, error)}"
    else:
        text = f"{asked} could not be fetched from the Hub ({type(error).__name__}): try again."
    return CheckpointError(text)


def _way_out(repository: Repository, error: BaseException) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    if repository.where.get("local_files_only"):
        return "local_files_only says not to ask it. Fetch it without that once."
    if _find(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE says not to ask it. Unset that once, to fetch it."
    return "check the network, and HF_ENDPOINT if you set it."
