"""What goes wrong with the Hub: whether it may pass, so that it is tried again, and how a user is told."""

from __future__ import annotations

import errno
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from dalle.config import CheckpointError

logger = logging.getLogger(__name__)

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a request is made again that the Hub was too busy for."""
LONGEST_WAIT = 60.0
"""Seconds that the Hub may ask to wait for. Longer, and the user is told instead."""
PATIENCE = 60.0
"""Seconds after which nothing is tried again."""
BUSY = (408, 429, 500, 502, 503, 504)
WRONG_TOKEN = (
    "The Hub does not accept the access token that is set, and without one {name} can't be read: it is private or gated, or there "
    "is no such repository. Make a new token at https://huggingface.co/settings/tokens and log in with `hf auth login`, or put it "
    "into HF_TOKEN; `hf auth logout` (and no HF_TOKEN) forgets the old one."
)
_NOT_THE_HUB = "check the network (is there a page to log in to?), and HF_ENDPOINT if you set it."

T = TypeVar("T")


def patiently(work: Callable[[], T]) -> T:
    """`work()`, again after a while where the Hub was busy or a connection broke. A network that isn't there is not waited for."""
    began = time.monotonic()
    for wait in WAITS:
        try:
            return work()
        except Exception as error:
            asked = _asked_to_wait(error)
            if not may_pass(error) or (asked or 0) > LONGEST_WAIT or time.monotonic() - began > PATIENCE:
                raise
            pause = wait if asked is None else asked
            logger.warning("The Hub is busy or the connection broke: trying again in %.0f s.", pause)
        time.sleep(pause)
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


def status_of(error: BaseException) -> int | None:
    response = _response(error)
    return None if response is None else response.status_code


def _asked_to_wait(error: BaseException) -> float | None:
    response = _response(error)
    text = "" if response is None else response.headers.get("Retry-After", "")
    return float(text) if text.strip().isdigit() else None


def _no_network(error: BaseException) -> bool:
    unreachable = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ETIMEDOUT)
    return any(isinstance(one, socket.gaierror) or getattr(one, "errno", None) in unreachable for one in _chain(error))


def may_pass(error: BaseException) -> bool:
    """Whether the same request may be answered a little later."""
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    if _find(error, OfflineModeIsEnabled) or _no_network(error):
        return False
    status = status_of(error)
    if status is not None:
        return status in BUSY
    short = isinstance(error, OSError) and "Consistency check failed" in str(error)
    return short or _find(error, HTTPError) is not None


def is_wrong_token(error: BaseException) -> bool:
    response = _response(error)
    return (
        response is not None and response.status_code == 401 and "nvalid credentials" in response.headers.get("X-Error-Message", "")
    )


def check_token(token: object) -> None:
    """Raises CheckpointError for one that can't even be sent; the library would print it."""
    from huggingface_hub import get_token

    token = token if isinstance(token, str) else get_token() if token is not False else None
    if token and not re.fullmatch(r"[\x21-\x7e]+", token):
        raise CheckpointError(
            "The access token (HF_TOKEN, or the one of `hf auth login`) has characters that no token has: copy it again from "
            "https://huggingface.co/settings/tokens."
        )


def no_room(asked: str, numbers: str) -> str:
    return f"There is no room for {asked} on the cache's disk: {numbers}. Free some, or set HF_HOME to a folder on another one."


def explained(error: BaseException, name: str, asked: str, **where: Any) -> CheckpointError:
    """What went wrong with a repository, and what to do. Tells no token, no address and no folder.

    Args:
        name: user/repo.
        asked: the same with the revision that was asked for.
        where: how it was asked for, as for `dalle.hub.resolve`.
    """
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

    status, number = status_of(error), getattr(error, "errno", None)
    if isinstance(error, CheckpointError):
        return error
    only_cache = bool(where.get("local_files_only"))
    if number in (errno.ENOSPC, errno.EDQUOT):
        return CheckpointError(no_room(asked, "it is full"))
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CheckpointError(
            f"{asked} could not be stored: the Hub's cache can't be written. Set HF_HOME to a folder that you may write into."
        )
    if _find(error, GatedRepoError):
        text = (
            f"{name} is gated: open https://huggingface.co/{name}, accept its terms, then log in here with `hf auth login`, or set "
            "HF_TOKEN to a token that may read it."
        )
    elif _find(error, DisabledRepoError):
        text = f"{name} was disabled by the Hub: choose another model."
    elif _find(error, RepositoryNotFoundError):
        text = (
            f"There is no folder {name} here and no public repository {name} on the Hub. Check the spelling; if it is private, log "
            "in with `hf auth login`, or set HF_TOKEN to a token that may read it."
        )
    elif _find(error, RevisionNotFoundError):
        text = (
            f"{name} has no revision {asked.partition('@')[2] or 'main'}: give a branch, a tag, a commit of 40 digits or a pull "
            f"request (refs/pr/1) that https://huggingface.co/{name} lists, or none for the newest."
        )
    elif _find(error, RemoteEntryNotFoundError):
        text = f"{asked} lacks a file that the Hub lists: try again, or choose another revision."
    elif _find(error, HFValidationError):
        text = f"{name} is not a name that a repository on the Hub can have: it looks like user/repo."
    elif status == 429:
        seconds = _asked_to_wait(error) or 0
        when = f"{seconds / 60:.0f}" if seconds > 90 else "a few"
        text = (
            f"The Hub gets too many requests from here, so {asked} could not be fetched: try again in {when} minutes. It takes "
            "more from users who are logged in (`hf auth login`)."
        )
    elif status in (401, 403):
        text = f"The access token that is set may not read {name}: give one that may (https://huggingface.co/settings/tokens)."
    elif status is not None and status in BUSY:
        text = f"The Hub has trouble (it answered {status}), and {asked} is not in the cache: try again later."
    elif _find(error, IncompleteSnapshotError):
        text = f"Only a part of {asked} is in the cache, and the Hub can't be reached for the rest: {_way_out(error, only_cache)}"
    elif _find(error, OfflineModeIsEnabled) or _no_network(error) or only_cache:
        text = f"{asked} is not in the cache and the Hub can't be reached: {_way_out(error, only_cache)}"
    elif status is not None:
        text = f"What should be the Hub answered {status} when it was asked for {asked}: {_NOT_THE_HUB}"
    elif isinstance(error, OSError) and "Consistency check failed" in str(error):
        text = f"{asked} came incomplete, again and again: check the network and try again."
    elif _find(error, HTTPError):
        text = (
            f"The connection to the Hub broke, again and again, and {asked} could not be fetched: check the network and try again."
        )
    elif isinstance(error, LocalEntryNotFoundError | EntryNotFoundError | RevisionResolutionError):
        text = f"{asked} is not in the cache and the Hub can't be reached: {_way_out(error, only_cache)}"
    elif isinstance(error, OSError) and number is not None:
        text = (
            f"{asked} could not be stored in the Hub's cache ({error.strerror}): check the disk, or set HF_HOME to another folder."
        )
    else:
        text = f"What answered when the Hub was asked for {asked} does not look like it ({type(error).__name__}): {_NOT_THE_HUB}"
    return CheckpointError(text)


def _way_out(error: BaseException, only_cache: bool) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    if only_cache:
        return "local_files_only says not to ask it. Fetch it without that once."
    if _find(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE says not to ask it. Unset that once, to fetch it."
    return "check the network, and HF_ENDPOINT if you set it."
