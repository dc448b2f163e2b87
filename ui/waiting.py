"""Waiting for the model without holding anyone's Stop button."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dalle.config import Cancelled, NotReadyError

if TYPE_CHECKING:
    from dalle.engine import Engine

POLL_SECONDS = 0.2


def is_loading(engine: Engine) -> bool:
    return engine.status.state == "loading"


def until_ready(engine: Engine, cancel: threading.Event) -> Iterator[str]:
    """Yields a message for as long as the model loads.

    Raises `NotReadyError` when loading has failed and `Cancelled` when `cancel` is set meanwhile.
    """
    while (status := engine.status).state == "loading":
        yield status.message or "The model is still loading."
        if cancel.wait(POLL_SECONDS):
            raise Cancelled("Stopped before the model was ready.")
    if status.state == "failed":
        raise NotReadyError(status.message)
