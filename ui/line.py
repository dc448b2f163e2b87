"""The line for the model: a few requests are at work at once, the others wait in order and are told their place, and it has an end.

Everything that draws for longer than a moment stands in it, whether a page, a program or an MCP client asks. What is at work shares
the model by turns (`dalle.turns`); the scripts' short questions don't stand in line (`ui.direct`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from dalle.config import Cancelled, DalleError

LOOK_SECONDS = 0.2
"""How soon somebody who waits sees that a stop signal is set: nobody calls then."""

REPEAT_SECONDS = 2.0
"""A place is told again after so long although it hasn't changed: only then does gradio see that a program has gone away."""

FULL = "Many people are drawing just now, and the line is full ({} waiting). Nothing is lost: please try again in a minute."
CROWDED = "Many people are drawing just now ({} at your network address). Nothing is lost: please try again in a minute."
YOURS = "Already in the line for you: {}. Stop one or let it end, and try again."


class BusyError(DalleError):
    """The line has no place for one more request."""


@dataclass(frozen=True)
class Caller:
    """Who asks: a session of gradio's, which is a page, a client program, or all MCP clients together; and a network address."""

    session: str
    address: str = ""


def caller_of(request: Any) -> Caller:
    """Of a request of gradio's or of the web server's. The session is the browser's own choice, the address is not."""
    client = getattr(request, "client", None)
    return Caller(getattr(request, "session_hash", None) or "", getattr(client, "host", None) or "")


class Place:
    """A request's place in the line, from `Line.join` to `leave`. One whose `cancel` is set counts as gone at once."""

    def __init__(self, line: Line, caller: Caller, cancel: threading.Event, rank: int) -> None:
        self.caller = caller
        self.cancel = cancel
        self.rank = rank
        self.at_work = False
        self._line = line

    def wait(self) -> Iterator[str]:
        """Yields a sentence when the place is another, until the request may draw; at once where nobody is before it.

        Raises:
            Cancelled: `cancel` was set meanwhile.
        """
        return self._line._wait(self)

    def leave(self) -> None:
        """Gives the place to the next; a second time does nothing."""
        self._line._leave(self)


class Line:
    """Places in order of arrival, one at work for each session; thread-safe.

    Who asks for many things in a row goes behind those who ask for one: a request counts as having come a whole line later for
    each of the same session's that are still here. So everybody's turn comes, however many newcomers there are.
    """

    def __init__(self, at_once: int = 2, longest: int = 32, per_session: int = 4, per_address: int = 24) -> None:
        """
        Args:
            at_once: how many may draw at the same time.
            longest: how many may wait.
            per_session, per_address: how many one session and one address may have here, waiting or at work.
        """
        self._at_once = at_once
        self._longest = longest
        self._per_session = per_session
        self._per_address = per_address
        self._changed = threading.Condition()
        self._waiting: list[Place] = []
        self._working: list[Place] = []
        self._arrivals = count()

    def join(self, caller: Caller, cancel: threading.Event) -> Place:
        """A place at work where one is free, else at the end of the line.

        Raises:
            BusyError: too many wait, or too many of this session or address are here; with a sentence for the visitor.
        """
        with self._changed:
            here = [place for place in (*self._working, *self._waiting) if not place.cancel.is_set()]
            own = sum(place.caller.session == caller.session for place in here)
            if own >= self._per_session:
                raise BusyError(YOURS.format(own))
            near = sum(place.caller.address == caller.address for place in here) if caller.address else 0
            if near >= self._per_address:
                raise BusyError(CROWDED.format(near))
            place = Place(self, caller, cancel, next(self._arrivals) + own * (self._at_once + self._longest))
            self._waiting.append(place)
            self._waiting.sort(key=lambda place: place.rank)
            self._advance()
            if not place.at_work and len(self._waiting) > self._longest:
                self._waiting.remove(place)
                raise BusyError(FULL.format(len(self._waiting)))
            return place

    def _advance(self) -> None:
        """Lets those go to work whose turn it is; those who have gone are forgotten."""
        self._waiting = [place for place in self._waiting if not place.cancel.is_set()]
        busy = {place.caller.session for place in self._working}
        for place in list(self._waiting):
            if len(self._working) >= self._at_once:
                break
            if place.caller.session not in busy:
                busy.add(place.caller.session)
                self._waiting.remove(place)
                self._working.append(place)
                place.at_work = True
        self._changed.notify_all()

    def _leave(self, place: Place) -> None:
        with self._changed:
            for places in (self._working, self._waiting):
                if place in places:
                    places.remove(place)
            self._advance()

    def _wait(self, place: Place) -> Iterator[str]:
        said, at = "", 0.0
        while True:
            with self._changed:
                if place.cancel.is_set():
                    raise Cancelled("Stopped before its turn came.")
                if place.at_work:
                    return
                message = self._told(place)
                if message == said and time.monotonic() < at + REPEAT_SECONDS:
                    self._changed.wait(LOOK_SECONDS)
                    continue
            said, at = message, time.monotonic()
            yield message

    def _told(self, place: Place) -> str:
        """A place in words. Other people count once each, however many things they wait for."""
        before = [other for other in self._waiting if other.rank < place.rank and not other.cancel.is_set()]
        people = len({other.caller.session for other in before} - {place.caller.session})
        if people:
            return f"Waiting for a turn: {people} {'person is' if people == 1 else 'people are'} before you"
        if any(other.caller.session == place.caller.session for other in (*self._working, *before)):
            return "Waiting for a turn: the one you asked for before comes first"
        return "Waiting for a turn: you are next"
