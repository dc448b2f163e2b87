"""Whose turn it is: in the order of asking, counted in turns and never by the clock."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from dalle.config import CheckpointError, ModelChangedError
from dalle.engine import Engine
from dalle.requests import GenerateRequest, InterpolateRequest, MixRequest, Picture
from dalle.turns import Turns

OTHERS = 4


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "this never came"
        time.sleep(0.001)


class Watched(Turns):
    """Writes down whose turn it was. A turn lasts until everybody else at work has asked again, as an evaluation does."""

    def __init__(self) -> None:
        super().__init__()
        self.at_work: set[str] = set()
        self.had: list[str] = []

    def __enter__(self) -> None:
        super().__enter__()
        self.had.append(threading.current_thread().name)

    def __exit__(self, *error: object) -> None:
        until(lambda: self.waiting >= len(self.at_work - {threading.current_thread().name}))
        super().__exit__(*error)

    def start(self, name: str, work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            finally:
                self.at_work.discard(name)

        self.at_work.add(name)
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread


def hammer(turns: Watched, stop: threading.Event, work: Callable[[], object]) -> list[threading.Thread]:
    """OTHERS threads that ask for one turn after the other, without end."""

    def again_and_again() -> None:
        while not stop.is_set():
            work()

    return [turns.start(f"other {index}", again_and_again) for index in range(OTHERS)]


def take(turns: Turns) -> None:
    with turns:
        pass


def test_turns_come_in_the_order_of_asking():
    turns, order = Turns(), []

    def ask(name: int) -> None:
        with turns:
            order.append(name)

    threads = []
    with turns:
        for name in range(6):
            threads.append(threading.Thread(target=ask, args=(name,)))
            threads[-1].start()
            until(lambda: turns.waiting == len(threads))
    for thread in threads:
        thread.join()
    assert order == list(range(6)) and turns.waiting == 0


def test_one_at_a_time_and_free_again_after_an_error():
    turns, inside, most = Turns(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with turns:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    with pytest.raises(ValueError), turns:
        raise ValueError
    take(turns)


def test_those_who_ask_for_much_keep_nobody_waiting():
    turns, stop = Watched(), threading.Event()
    others = hammer(turns, stop, lambda: take(turns))
    mine = turns.start("me", lambda: [take(turns) for _ in range(10)])
    mine.join()
    stop.set()
    for thread in others:
        thread.join()
    places = [index for index, name in enumerate(turns.had) if name == "me"]
    assert len(places) == 10
    assert all(later - earlier <= OTHERS + 1 for earlier, later in pairwise(places))


@pytest.fixture
def interruptible():
    """A shell's background job ignores Ctrl+C from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("come", [False, True])
def test_who_gives_up_waiting_gives_the_turn_back(come, interruptible):
    """Ctrl+C while the main thread waits; or, worse, just after its turn has come."""
    turns, holding, leave = Turns(), threading.Event(), threading.Event()

    def hold() -> None:
        with turns:
            holding.set()
            leave.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait()

    def interrupt() -> None:
        until(lambda: turns.waiting == 1)
        if come:
            turns._asking.popleft()  # as if it had been handed over
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        take(turns)
    assert turns.waiting == 0
    leave.set()
    holder.join()
    take(turns)


@pytest.fixture(scope="module")
def engine(tiny_checkpoint):
    engine = Engine(str(tiny_checkpoint), "cpu")
    engine.load()
    return engine


@pytest.fixture
def watched(engine, monkeypatch):
    turns = Watched()
    monkeypatch.setattr(engine, "_turn", turns)
    return turns


STEPS = 12


def generation(engine):
    return list(engine.generate(GenerateRequest("a cat", 1, 1, STEPS)))


def point(engine):
    return engine.mix(MixRequest(("a cat", "a dog"), (1, 1), (1, 2), num_inference_steps=1, scored=False))


def test_a_generation_ends_however_many_points_are_asked_for(engine, watched):
    stop = threading.Event()
    others = hammer(watched, stop, lambda: point(engine))
    watched.start("generation", lambda: generation(engine)).join()
    stop.set()
    for thread in others:
        thread.join()
    places = [index for index, name in enumerate(watched.had) if name == "generation"]
    # The text, the steps, the decoder and the ranker; and between two of them each of the others once.
    assert STEPS <= len(places) <= STEPS + 4
    assert places[-1] - places[0] <= len(places) * (OTHERS + 1)


def test_a_point_waits_for_one_evaluation_of_each_generation(engine, watched):
    stop = threading.Event()
    others = hammer(watched, stop, lambda: generation(engine))
    watched.start("point", lambda: point(engine)).join()
    stop.set()
    for thread in others:
        thread.join()
    places = [index for index, name in enumerate(watched.had) if name == "point"]
    assert places and all(later - earlier <= OTHERS + 1 for earlier, later in pairwise(places))


# Another model


@pytest.fixture
def two(tiny_pipeline, tiny_checkpoint, tmp_path):
    """An engine, and another checkpoint of the same kind with other weights."""
    import torch

    from dalle.config import PRESETS
    from dalle.pipeline import DallePipeline
    from dalle.vae import build_vae

    torch.manual_seed(5)
    vae = build_vae(PRESETS["tiny"].vae).eval()
    other = DallePipeline(vae, tiny_pipeline.prior, tiny_pipeline.text_encoder, tiny_pipeline.tokenizer)
    other.judge = tiny_pipeline.judge
    other.save_pretrained(tmp_path / "other")
    engine = Engine(str(tiny_checkpoint), "cpu")
    engine.load()
    return engine, str(tmp_path / "other")


def pictures(engine, steps=2, **changes):
    return [item for item in engine.generate(GenerateRequest("a cat", 1, 3, steps, **changes)) if isinstance(item, Picture)]


def test_another_model_takes_the_place(two):
    engine, other = two
    (before,) = pictures(engine)
    first = engine.model, engine.revision
    engine.switch(other)
    assert engine.status.model == engine.model == other and engine.status.state == "ready"
    assert engine.revision not in ("", first[1]) and "ranker" in engine.lacks
    (after,) = pictures(engine)
    assert (after.settings["model"], after.settings["revision"]) == (other, engine.revision)
    assert (np.asarray(before.image) != np.asarray(after.image)).any() and after.score is None
    alone = Engine(other, "cpu")
    alone.load()
    assert (np.asarray(pictures(alone)[0].image) == np.asarray(after.image)).all()
    engine.switch(first[0])
    (again,) = pictures(engine)
    assert (np.asarray(again.image) == np.asarray(before.image)).all() and again.settings["revision"] == first[1]


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.generate(GenerateRequest("a cat", 2, 1, 3)),
        lambda engine: engine.generate(GenerateRequest("a cat", 1, 1, 3, candidates=4)),
        lambda engine: engine.interpolate(InterpolateRequest("a cat", "a dog", 1, 2, frames=9)),
    ],
    ids=["pictures", "candidates", "path"],
)
@pytest.mark.parametrize("begun", [False, True])
def test_what_was_asked_of_the_earlier_model_ends_with_a_sentence(two, ask, begun):
    engine, other = two
    items = ask(engine)
    if begun:
        next(items)
    engine.switch(other)
    with pytest.raises(ModelChangedError, match="draw it again"):
        list(items)
    assert len(list(ask(engine) if "ranker" not in engine.lacks else engine.generate(GenerateRequest("a cat", 1, 1, 1)))) > 0


def test_a_preview_is_never_decoded_by_another_model(two):
    engine, other = two
    progress = next(engine.generate(GenerateRequest("a cat", 1, 1, 3)))
    engine.switch(other)
    with pytest.raises(ModelChangedError):
        progress.preview()


def test_texts_are_not_kept_for_another_model(two):
    engine, other = two
    point(engine)
    assert engine._texts
    engine.switch(other)
    assert not engine._texts
    point(engine)


def test_a_model_that_can_t_be_loaded_changes_nothing(two, tmp_path):
    engine, _ = two
    before = engine.status, engine.revision, engine.default_steps
    items = engine.generate(GenerateRequest("a cat", 1, 1, 2))
    with pytest.raises(CheckpointError):
        engine.switch(str(tmp_path / "nowhere"))
    assert (engine.status, engine.revision, engine.default_steps) == before
    assert len(list(items)) == 3  # what was at work goes on


def test_a_model_after_one_that_failed(two, tmp_path):
    _, other = two
    engine = Engine(str(tmp_path / "nowhere"), "cpu")
    with pytest.raises(CheckpointError):
        engine.load()
    assert engine.status.state == "failed"
    engine.switch(other)
    assert engine.status.state == "ready" and len(pictures(engine)) == 1


def test_the_present_model_draws_while_the_other_is_on_its_way(two, monkeypatch):
    engine, other = two
    read, arrived, go_on = engine._read, threading.Event(), threading.Event()

    def slow(model):
        arrived.set()
        assert go_on.wait(60)
        return read(model)

    monkeypatch.setattr(engine, "_read", slow)
    thread = threading.Thread(target=engine.switch, args=(other,))
    thread.start()
    arrived.wait()
    assert pictures(engine)[0].settings["model"] != other
    go_on.set()
    thread.join()
    assert pictures(engine)[0].settings["model"] == other
