"""Errors as a visitor may see them: the message of our own errors, a plain sentence for all others."""

from __future__ import annotations

import logging
import traceback

from dalle.config import DalleError

logger = logging.getLogger("ui")

UNEXPECTED = "Something went wrong on the server. Please try again; whoever runs it finds the details in its log."


def message_for(error: Exception) -> str:
    """A sentence without any internals. An error that isn't ours is logged by type and place.

    Its text stays out of the log: it may quote the prompt, and prompts are not logged.
    """
    if isinstance(error, DalleError):
        return str(error)
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("unexpected %s (text withheld, it may quote a prompt)\n%s", type(error).__name__, where)
    return UNEXPECTED
