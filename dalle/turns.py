"""A lock whose waiters get it in the order in which they asked: nobody who asks again at once gets ahead of one who waits."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class Turns:
    """Used as `with turns:`, one at a time, first come, first served; not to be taken again by who has it.

    Of N that ask again and again each gets every N-th turn, so who needs k of them waits for no more than k N, however many the
    others ask for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._asking: deque[threading.Lock] = deque()

    @property
    def waiting(self) -> int:
        """How many have asked and not got their turn yet."""
        return len(self._asking)

    def __enter__(self) -> None:
        mine = threading.Lock()
        mine.acquire()
        asked = False
        try:
            with self._lock:
                asked = True
                if self._taken:
                    self._asking.append(mine)
                else:
                    self._taken = True
                    mine.release()
            mine.acquire()
        except BaseException:  # Ctrl+C: a turn that has come meanwhile goes to the next
            with self._lock:
                if mine in self._asking:
                    self._asking.remove(mine)
                elif asked:
                    self._pass_on()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._pass_on()

    def _pass_on(self) -> None:
        """Hands the turn over without letting it go, so that nobody can take it in between."""
        if self._asking:
            self._asking.popleft().release()
        else:
            self._taken = False
