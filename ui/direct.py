"""What the page's scripts ask for by themselves, without the queue and its messages: a point of the pad, a picture from its recipe.

Such a question takes the model for a tenth of a second, and waiting in the queue would cost as much again. It takes turns with
what is drawn for the line (`dalle.turns`, `ui.line`), only a few are answered at once, and nobody has all of their places.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from gradio.context import LocalContext

from dalle.config import Cancelled
from dalle.requests import GenerateRequest, MixRequest, Picture
from ui.failures import message_for
from ui.line import caller_of
from ui.runs import Runs
from ui.waiting import is_loading

if TYPE_CHECKING:
    from dalle.engine import Engine

MAX_AT_ONCE = 4
"""Questions that are answered or wait for the model at once; beyond that a page is told to ask again."""

MAX_OF_VISITOR = 2
MAX_OF_ADDRESS = 3
"""How many may be one visitor's, and one network address's. A page names its visitor itself, and can't choose its address."""

BUSY = "Many people are drawing just now."


class Direct:
    """Answers to questions that bypass the queue. Every ending is a state, never an exception: done, waiting or error."""

    def __init__(self, engine: Engine, runs: Runs) -> None:
        self._engine = engine
        self._runs = runs
        self._places = threading.BoundedSemaphore(MAX_AT_ONCE)
        self._lock = threading.Lock()
        self._held: Counter[tuple[str, str]] = Counter()

    def answer(
        self, kind: str, session: str, blank: dict[str, Any], work: Callable[[threading.Event], dict[str, Any]]
    ) -> dict[str, Any]:
        """`blank` with what `work` finds; the same visitor's next question of this kind stops the work."""
        if is_loading(self._engine):
            return blank | {"state": "waiting", "message": self._engine.status.message}
        with self._place(session.rpartition(" ")[2]) as free:
            if not free:
                return blank | {"state": "waiting", "message": BUSY}
            return self._answer(kind, session, blank, work)

    def _answer(
        self, kind: str, session: str, blank: dict[str, Any], work: Callable[[threading.Event], dict[str, Any]]
    ) -> dict[str, Any]:
        run = self._runs.begin(session, kind)
        try:
            return blank | {"state": "done"} | work(run.cancel)
        except Cancelled:
            return blank | {"state": "waiting"}
        except Exception as error:
            return blank | {"state": "error", "message": message_for(error)}
        finally:
            self._runs.finish(run)

    @contextmanager
    def _place(self, visitor: str) -> Iterator[bool]:
        """One of the places, for as long as the block runs; False where there is none for this visitor or this address."""
        shares = {("visitor", visitor): MAX_OF_VISITOR}
        # The only way in which gradio tells who asks: a widget's functions are given nothing but the question.
        if address := caller_of(LocalContext.request.get(None)).address:
            shares["address", address] = MAX_OF_ADDRESS
        with self._lock:
            free = all(self._held[who] < most for who, most in shares.items()) and self._places.acquire(blocking=False)
            if free:
                self._held.update(shares.keys())
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self._held = self._held - Counter(shares.keys())
                    self._places.release()

    def draw(self, request: GenerateRequest | MixRequest, cancel: threading.Event) -> Picture:
        return drawn(self._engine, request, cancel)


def drawn(engine: Engine, request: GenerateRequest | MixRequest, cancel: threading.Event) -> Picture:
    """The one picture that a request asks for."""
    if isinstance(request, MixRequest):
        return engine.mix(request, cancel=cancel)
    with closing(engine.generate(request, cancel=cancel)) as items:
        return next(item for item in items if isinstance(item, Picture))


def visitor_name(sent: dict[str, Any], kind: str) -> str:
    """The name that a page has given itself. It only tells which question a newer one replaces."""
    visitor = sent.get("visitor")
    return f"{kind} {visitor[:64]}" if isinstance(visitor, str) and visitor else f"{kind} {secrets.token_hex(8)}"
