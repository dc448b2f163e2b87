"""One run of a kind per session; nobody stops a stranger's."""

from __future__ import annotations

import ui.runs
from ui.runs import Runs


def test_the_latest_press_wins():
    runs = Runs()
    first = runs.begin("me", "generate")
    assert runs.claim("me", "generate", first.ticket) is first
    second = runs.begin("me", "generate")
    assert first.cancel.is_set() and first.superseded
    assert not second.cancel.is_set()
    assert runs.claim("me", "generate", first.ticket) is None
    assert runs.claim("me", "generate", second.ticket) is second


def test_sessions_and_kinds_are_apart():
    runs = Runs()
    mine, yours = runs.begin("me", "generate"), runs.begin("you", "generate")
    path = runs.begin("me", "interpolate")
    assert runs.claim("you", "generate", mine.ticket) is None
    assert runs.cancel("me", "generate") is mine
    assert mine.cancel.is_set()
    assert not yours.cancel.is_set() and not path.cancel.is_set()


def test_a_run_stopped_while_it_waits_never_starts():
    runs = Runs()
    run = runs.begin("me", "generate")
    runs.cancel("me", "generate")
    assert runs.claim("me", "generate", run.ticket) is None
    assert not runs.never_started("me", "generate", run.ticket)


def test_a_run_that_the_queue_turned_away_is_known():
    runs = Runs()
    run = runs.begin("me", "generate")
    assert runs.never_started("me", "generate", run.ticket)
    started = runs.begin("me", "generate")
    runs.claim("me", "generate", started.ticket)
    assert not runs.never_started("me", "generate", started.ticket)


def test_nothing_to_stop():
    runs = Runs()
    assert runs.cancel("nobody", "generate") is None
    run = runs.begin("me", "generate")
    runs.finish(run)
    assert runs.cancel("me", "generate") is None


def test_leaving_stops_everything():
    runs = Runs()
    kinds = [runs.begin("me", kind) for kind in ("generate", "interpolate")]
    runs.leave("me")
    assert all(run.cancel.is_set() for run in kinds)
    runs.leave("me")


def test_the_number_of_sessions_is_bounded(monkeypatch):
    monkeypatch.setattr(ui.runs, "MAX_SESSIONS", 2)
    runs = Runs()
    oldest = runs.begin("a", "generate")
    newer = [runs.begin(name, "generate") for name in "bc"]
    assert oldest.cancel.is_set()
    assert not any(run.cancel.is_set() for run in newer)
