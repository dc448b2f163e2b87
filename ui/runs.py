"""Who is drawing what: one run of a kind per browser session, each with its own stop signal.

Nothing here is shared between sessions, so one visitor's Stop can't end another's run.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from ui.line import Line, Place

MAX_SESSIONS = 10_000
"""Sessions remembered; beyond it the oldest are stopped and forgotten."""


_numbers = count(time.time_ns() // 1000)
"""Higher than those before a restart of the server too: a page may outlive it."""


@dataclass
class Run:
    """One press of a button. `cancel` is handed to the engine, which looks at it before every step.

    Later runs have higher numbers, so that the page can tell a message of an earlier one that comes late. `wish` is what to draw
    where that is not what stands in the page's boxes, `place` where it stands in the line, once it does.
    """

    kind: str
    number: int = field(default_factory=lambda: next(_numbers))
    ticket: str = field(default_factory=lambda: secrets.token_hex(8))
    cancel: threading.Event = field(default_factory=threading.Event)
    state: Literal["waiting", "running", "done"] = "waiting"
    superseded: bool = False
    wish: Any = None
    place: Place | None = None

    @property
    def in_line(self) -> bool:
        """Whether it stands in the line and doesn't draw yet."""
        return self.place is not None and not self.place.at_work


class Runs:
    """The runs of all sessions, and the line in which they wait. Thread-safe: handlers run in a pool of threads."""

    def __init__(self, line: Line | None = None) -> None:
        self.line = line or Line()
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, dict[str, Run]] = OrderedDict()

    def begin(self, session: str, kind: str, wish: Any = None) -> Run:
        """A new run in the waiting state. The session's earlier run of this kind is stopped: the latest press wins."""
        run = Run(kind, wish=wish)
        with self._lock:
            runs = self._sessions.setdefault(session, {})
            self._sessions.move_to_end(session)
            if earlier := runs.get(kind):
                earlier.superseded = True
                earlier.cancel.set()
            runs[kind] = run
            forgotten = [self._sessions.popitem(last=False)[1] for _ in range(len(self._sessions) - MAX_SESSIONS)]
        for old in forgotten:
            for abandoned in old.values():
                abandoned.cancel.set()
        return run

    def claim(self, session: str, kind: str, ticket: str) -> Run | None:
        """The waiting run with this ticket, now running; None if it was stopped or replaced while it waited."""
        with self._lock:
            run = self._sessions.get(session, {}).get(kind)
            if run is None or run.ticket != ticket or run.state != "waiting" or run.cancel.is_set():
                return None
            run.state = "running"
            return run

    def finish(self, run: Run) -> None:
        """Marks a run as over, tells the engine to stop, should it still be at work, and gives its place to the next."""
        run.state = "done"
        run.cancel.set()
        if run.place is not None:
            run.place.leave()

    def cancel(self, session: str, kind: str) -> Run | None:
        """Stops the session's run of this kind; returns it, or None where there is nothing to stop."""
        with self._lock:
            run = self._sessions.get(session, {}).get(kind)
            if run is None or run.state == "done":
                return None
            run.cancel.set()
            return run

    def never_started(self, session: str, kind: str, ticket: str) -> Run | None:
        """The run with this ticket where it still waits although its turn is over: the queue turned it away."""
        with self._lock:
            run = self._sessions.get(session, {}).get(kind)
            if run is None or run.ticket != ticket or run.state != "waiting" or run.cancel.is_set():
                return None
            run.state = "done"
            return run

    def leave(self, session: str) -> None:
        """The browser has gone: stops everything that it asked for."""
        with self._lock:
            runs = self._sessions.pop(session, {})
        for run in runs.values():
            run.cancel.set()
