"""A stand-in for the package `spaces` on ZeroGPU: work is done in a forked process, and what goes in and out is pickled.

Like that package: of an exception no more than the name of its class comes out, locks stay as they were at the fork, the work is
done by a thread of the process, and a generator that is closed stops the work at its next item.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

OK, ENDED, BROKEN = "ok", "ended", "broken"


class GPUError(Exception):
    """As gradio's: what it says is in `message`, and it shows it in quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return repr(self.message)


class ForkingSpaces:
    """What `import spaces` gives. `asked` are the seconds that were asked for, `sent` the items that came out of each call."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.sent: list[int] = []
        self.refuses: str | None = None

    def GPU(self, *, duration: Callable[..., int]) -> Callable[..., Any]:
        def decorate(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            return lambda *given, **named: self._call(task, duration, given, named)

        return decorate

    def _call(self, task: Callable[..., Any], duration: Callable[..., int], given: tuple, named: dict) -> Iterator[Any]:
        self.asked.append(duration(*given, **named))
        if self.refuses is not None:
            raise GPUError(self.refuses)
        self.sent.append(0)
        fork = multiprocessing.get_context("fork")
        out, back = fork.Pipe(duplex=False)
        stop = fork.Event()
        process = fork.Process(target=serve, args=(task, pickle.dumps((given, named)), back, stop), daemon=True)
        process.start()
        back.close()
        try:
            while True:
                kind, value = out.recv()
                if kind == BROKEN:
                    raise GPUError(value)
                if kind == ENDED:
                    return
                self.sent[-1] += 1
                yield pickle.loads(value)
        finally:
            stop.set()
            with contextlib.suppress(EOFError):  # as there, whoever closes waits for the end
                while True:
                    out.recv()
            process.join()


def serve(task: Callable[..., Iterator[Any]], request: bytes, back: Any, stop: Any) -> None:
    def work() -> None:
        given, named = pickle.loads(request)
        try:
            items = task(*given, **named)
            for item in items:
                if stop.is_set():
                    items.close()
                    break
                back.send((OK, pickle.dumps(item)))
        except Exception as error:
            back.send((BROKEN, type(error).__name__))
        else:
            back.send((ENDED, None))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
