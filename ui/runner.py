"""What every tab that draws does around its work: a ticket a press, one turn at the model, and endings without exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from typing import TYPE_CHECKING, Any

import gradio as gr

from dalle.config import Cancelled
from ui.failures import message_for
from ui.line import caller_of
from ui.runs import Run, Runs
from ui.waiting import until_ready

if TYPE_CHECKING:
    from dalle.engine import Engine
    from ui.outbox import Outbox

TURNED_AWAY = "Many people are drawing just now. Nothing is lost: please try again in a minute."
BEFORE = "Stopped before drawing began"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}


def session_of(request: gr.Request) -> str:
    return request.session_hash or ""


class Handlers:
    """The handlers that such tabs share. A tab's widget shows a JSON state with ticket, number, state, message and waiting."""

    kind: str
    idle: dict[str, Any]

    def __init__(self, engine: Engine, runs: Runs, outbox: Outbox) -> None:
        self._engine = engine
        self._runs = runs
        self._outbox = outbox

    def blank(self, run: Run, state: str, message: str, **more: Any) -> dict[str, Any]:
        """The widget's JSON before anything is drawn."""
        told = {"ticket": run.ticket, "number": run.number, "state": state, "message": message, "waiting": run.in_line}
        return {**self.idle, **told, **more}

    def enter(self, request: gr.Request, wish: Any = None, **more: Any) -> tuple[str, dict[str, Any]]:
        """Takes a ticket, and clears the widget."""
        run = self._runs.begin(session_of(request), self.kind, wish)
        return run.ticket, self.blank(run, "busy", "Waiting for a turn", **more)

    def claim(self, ticket: str, request: gr.Request) -> Run | None:
        return self._runs.claim(session_of(request), self.kind, ticket)

    def turn(self, run: Run, request: gr.Request) -> Iterator[str]:
        """What to tell until the run may draw: its place in the line, and then how the model loads.

        Raises:
            BusyError: the line has no place for it.
            Cancelled, NotReadyError: stopped meanwhile; the model could not be loaded.
        """
        run.place = self._runs.line.join(caller_of(request), run.cancel)
        yield from run.place.wait()
        yield from until_ready(self._engine, run.cancel)

    def guarded(self, run: Run, work: Iterator[Any], state: Callable[[str, str], Any], stopped: Callable[[], str]) -> Iterator[Any]:
        """`work`, with every ending turned into a state: of a run that a later press replaced nothing more is heard."""
        try:
            for update in work:
                if run.superseded:
                    raise Cancelled("Replaced by a later press.")
                yield update
        except Cancelled:
            if not run.superseded:
                yield state("stopped", BEFORE if run.in_line else stopped())
        except Exception as error:
            yield state("error", message_for(error))
        finally:
            self._runs.finish(run)

    def stop(self, request: gr.Request) -> Any:
        """Stops at the next step. A run that still waits for its turn has nobody else to say so."""
        run = self._runs.cancel(session_of(request), self.kind)
        return self.blank(run, "stopped", BEFORE) if run and run.state == "waiting" else gr.skip()

    def settle(self, ticket: str, request: gr.Request) -> Any:
        """After a run that failed before its handler could say why: the queue has turned it away."""
        run = self._runs.never_started(session_of(request), self.kind, ticket)
        return self.blank(run, "error", TURNED_AWAY) if run else gr.skip()


def never_silent(work: Callable[..., Iterator[Any]], outputs: int) -> Callable[..., Iterator[Any]]:
    """`work`, which leaves all as it is where it has nothing to say: gradio empties the outputs of a generator without a yield."""

    @wraps(work)
    def updates(*given: Any, **named: Any) -> Iterator[Any]:
        silent = True
        with closing(work(*given, **named)) as found:
            for update in found:
                silent = False
                yield update
        if silent:
            yield (gr.skip(),) * outputs if outputs > 1 else gr.skip()

    return updates


def wire(
    begun: Any, handlers: Handlers, work: Callable[..., Any], ticket: gr.Textbox, values: dict[str, Any], outputs: list[Any]
) -> None:
    """After `begun` has taken a ticket: `work` in gradio's queue, and what to say where that is full.

    It waits for the model in our own line, from inside: gradio's knows no order but that of arrival, and no one's share.

    `outputs` begins with the widget that shows the run.
    """
    begun.then(
        never_silent(work, len(outputs)),
        inputs_kwargs={"ticket": ticket, **values},
        outputs=outputs,
        concurrency_limit=None,
        trigger_mode="multiple",
        **QUIET,
    ).failure(handlers.settle, inputs_kwargs={"ticket": ticket}, outputs=outputs[0], queue=False, trigger_mode="multiple", **QUIET)
