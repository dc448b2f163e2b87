"""The handlers without a page: every ending is a state that the page can show."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from dalle.requests import StepProgress, request_of
from tests.ui.fake_engine import FakeEngine
from ui import verdict
from ui.about import card_text
from ui.generate import MORE_STRENGTH, Generate, told
from ui.interpolate import Interpolate, is_level
from ui.outbox import Outbox
from ui.runner import never_silent
from ui.runs import Runs
from ui.settings import PageSettings

ME = SimpleNamespace(session_hash="me")


def generate(engine: FakeEngine, **changes: Any) -> list[tuple[Any, Any, Any]]:
    handlers = Generate(engine, Runs(), Outbox(gr.HTML()))
    values: dict[str, Any] = {
        "prompt": "a red apple",
        "num_images": 2,
        "seed": 5,
        "lock_seed": True,
        "num_inference_steps": 3,
        "guidance_scale": 3.0,
        "style": "any",
        "strict": False,
        "best": False,
        "truncation": 1,
        "negative_prompt": "",
    } | changes
    ticket, _ = handlers.begin(values["prompt"], values["num_images"], ME)
    return list(handlers.draw(ticket, **values, request=ME))


def interpolate(engine: FakeEngine, **changes: Any) -> list[tuple[Any, ...]]:
    handlers = Interpolate(engine, Runs(), Outbox(gr.HTML()), PageSettings())
    values: dict[str, Any] = {
        "prompt_a": "a cat",
        "prompt_b": "a dog",
        "seed_a": 1,
        "seed_b": 2,
        "style": "any",
        "even": True,
        "truncation": 1,
        "plan": {},
    } | changes
    ticket, _ = handlers.begin(values["prompt_a"], values["prompt_b"], values["plan"], ME)
    return list(handlers.prepare(ticket, **values, request=ME))


def test_pictures_come_one_by_one_and_can_be_made_again():
    updates = generate(FakeEngine())
    counts = [len(wall["pictures"]) for wall, _, _ in updates]
    assert counts == sorted(counts) and {1, 2} <= set(counts)
    last = updates[-1][0]
    assert last["state"] == "done"
    assert [picture["seed"] for picture in last["pictures"]] == [5, 6]
    _, opinion, seed = updates[0]
    assert opinion["state"] == "judged" and opinion["prompt"] == "a red apple"
    assert seed == gr.skip()  # the box may hold the next one by now


def test_the_best_come_from_many_candidates():
    updates = generate(FakeEngine(), best=True)
    messages = [wall["message"] for wall, _, _ in updates]
    assert messages[-1].startswith("2 pictures") and any("of 2" in message for message in messages)
    last = updates[-1][0]["pictures"]
    assert [picture["seed"] for picture in last] == [5 + 15, 5 + 14]
    assert last[0]["score"] > last[1]["score"]


def test_candidates_fill_the_wall_from_nothing_to_all():
    shares = []
    for first in (0, 8):
        for step in (1, 2, 3, 4):
            message, place = told(StepProgress(first, step, 4, 16, 8), 3)
            shares.append((place["index"] + place["step"] / place["steps"]) / 3)
            assert message == f"Candidate {first + 8} of 16, step {step} of 4"
            assert place["index"] < 3
    assert shares == pytest.approx([k / 8 for k in range(1, 9)])
    assert told(StepProgress(1, 2, 4), 3) == ("Picture 2 of 3, step 2 of 4", {"index": 1, "step": 2, "steps": 4})


def vary(engine: FakeEngine, sent: Any, num_images: Any = 2, strength: Any = 0.3) -> list[tuple[Any, Any, Any]]:
    """What the wall shows of a variation, from its first state on; the boxes of the page say something else."""
    handlers = Generate(engine, Runs(), Outbox(gr.HTML()))
    ticket, first = handlers.begin_variation(num_images, strength, gr.EventData(None, sent), ME)
    boxes = ("another prompt", 7, 9, True, 50, 0.0, "pixel", True, True, 0.5, "")
    return [(first, None, None), *handlers.draw(ticket, *boxes, request=ME)]


def test_a_variation_keeps_the_settings_of_its_picture():
    picture = generate(FakeEngine(), style="flat", negative_prompt="red")[-1][0]["pictures"][1]
    recipe = [(6, 1.0)]
    for way, strength in (("vary", 0.3), ("more", MORE_STRENGTH)):
        first, *_, last = (update[0] for update in vary(FakeEngine(), {"way": way, "recipe": picture["recipe"]}))
        assert first["total"] == 2 and first["prompt"] == "a red apple"
        assert last["state"] == "done" and len(last["pictures"]) == 2
        drawn = request_of(last["pictures"][0]["recipe"])
        assert (drawn.prompt, drawn.style, drawn.negative_prompt) == ("a red apple", "flat", "red")
        assert drawn.num_inference_steps == 3 and drawn.variation_strength == pytest.approx(strength)
        assert [tuple(part) for part in drawn.variation_of] == recipe


@pytest.mark.parametrize(
    "sent",
    [None, {}, "x", {"way": "vary"}, {"way": "vary", "recipe": "x"}, {"way": "vary", "recipe": {"prompt": 7}},
     {"way": "vary", "recipe": {"prompt": "a cat", "seed": "7", "settings": "{}", "x": "\ud800"}, "num_images": -1}],
)  # fmt: skip
def test_a_variation_of_nothing_is_an_error_on_the_wall(sent):
    engine = FakeEngine()
    updates = vary(engine, sent, num_images=2 if not sent or "num_images" not in sent else sent["num_images"])
    last = updates[-1][0]
    assert last["state"] == "error" and last["message"] and engine.steps_done == 0


def test_steps_come_with_a_preview(monkeypatch):
    monkeypatch.setattr("ui.generate.PROGRESS_SECONDS", 0.0)
    walls = [wall for wall, _, _ in generate(FakeEngine())]
    previews = [wall["progress"].get("preview") for wall in walls if wall["progress"]]
    assert any(preview and preview.startswith("data:image/webp;base64,") for preview in previews)


def test_a_surprise_waits_for_the_model():
    handlers = Generate(FakeEngine(), Runs(), Outbox(gr.HTML()))
    assert handlers.surprise() == "a yellow star"
    assert Generate(FakeEngine(ready=False), Runs(), Outbox(gr.HTML())).surprise() == gr.skip()


def test_an_unlocked_seed_is_drawn_and_shown():
    seeds = {generate(FakeEngine(), lock_seed=False, seed=5)[0][2] for _ in range(5)}
    assert len(seeds) > 1
    assert generate(FakeEngine(), lock_seed=True, seed="")[0][2].isdecimal()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": " \t "}, "empty"),
        ({"prompt": None}, "empty"),
        ({"prompt": "🍎🍎"}, "no words"),
        ({"prompt": "a" * 1000}, "too long"),
        ({"prompt": 7}, "must be text"),
        ({"num_images": 0}, "1 to 16"),
        ({"num_images": 10**9}, "1 to 16"),
        ({"num_images": "many"}, "number of pictures"),
        ({"num_inference_steps": 101}, "1 to 100"),
        ({"guidance_scale": -1}, "0 to 10"),
        ({"guidance_scale": float("nan")}, "guidance"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"style": "cubist"}, "no such style"),
        ({"prompt": "qqq zzz", "strict": True}, "Strict"),
    ],
)
def test_bad_input_is_answered_on_the_wall(changes, message):
    engine = FakeEngine()
    wall = generate(engine, **changes)[-1][0]
    assert wall["state"] == "error" and message in wall["message"]
    assert wall["total"] <= 16 and engine.steps_done == 0


def test_a_refusal_comes_with_its_verdict():
    _, opinion, _ = generate(FakeEngine(), prompt="qqq zzz", strict=True)[-1]
    assert opinion["verdict"] == "unknown" and len(opinion["nearest"]) == 3


def test_an_unexpected_error_tells_nothing_and_logs_no_prompt(caplog):
    with caplog.at_level(logging.ERROR):
        wall = generate(FakeEngine(), prompt="crash")[-1][0]
    assert wall["state"] == "error" and "secret" not in wall["message"]
    assert "RuntimeError" in caplog.text and "fake_engine.py" in caplog.text
    assert "secret: crash" not in caplog.text


def test_nothing_more_is_heard_of_a_run_that_was_replaced():
    handlers = Generate(FakeEngine(), Runs(), Outbox(gr.HTML()))
    ticket, _ = handlers.begin("a cat", 2, ME)
    updates = handlers.draw(ticket, "a cat", 2, 1, True, 3, 3.0, "any", False, False, 1, "", ME)
    first = next(updates)[0]
    _, later = handlers.begin("a dog", 1, ME)
    assert list(updates) == []
    assert later["number"] > first["number"]


def test_a_change_of_style_asks_for_no_prompts():
    handlers = Interpolate(FakeEngine(), Runs(), Outbox(gr.HTML()), PageSettings())
    assert handlers.begin_if_given("a cat", "  ", {}, ME) == (gr.skip(), gr.skip())
    assert handlers.begin_if_given("a cat", "a dog", {}, ME)[1]["prompts"] == ["a cat", "a dog"]


def test_stop_ends_a_run_at_the_next_step():
    engine = FakeEngine()
    handlers = Generate(engine, Runs(), Outbox(gr.HTML()))
    ticket, _ = handlers.begin("a cat", 9, ME)
    updates = handlers.draw(ticket, "a cat", 9, 1, True, 50, 3.0, "any", False, False, 1, "", ME)
    for wall, _, _ in updates:
        if len(wall["pictures"]) == 2:
            done = engine.steps_done
            handlers.stop(ME)
    assert wall["state"] == "stopped" and wall["message"] == "Stopped after 2 of 9 pictures"
    assert engine.steps_done == done and engine.active == 0


def test_a_visitor_who_goes_away_stops_the_engine():
    engine = FakeEngine()
    handlers = Generate(engine, Runs(), Outbox(gr.HTML()))
    ticket, _ = handlers.begin("a cat", 9, ME)
    updates = handlers.draw(ticket, "a cat", 9, 1, True, 50, 3.0, "any", False, False, 1, "", ME)
    next(update for update in updates if len(update[0]["pictures"]) == 1)
    updates.close()  # what gradio does with the handler of a closed connection
    assert engine.active == 0


def test_a_run_that_says_nothing_leaves_the_page_as_it_is():
    def silent():
        yield from ()

    assert list(never_silent(silent, 3)()) == [(gr.skip(),) * 3]
    assert list(never_silent(silent, 1)()) == [gr.skip()]
    engine = FakeEngine()
    handlers = Generate(engine, Runs(), Outbox(gr.HTML()))
    ticket, _ = handlers.begin("a cat", 1, ME)
    values = ("a cat", 1, 1, True, 1, 3.0, "any", False, False, 1, "")
    updates = never_silent(handlers.draw, 3)(ticket, *values, request=ME)
    while not engine.active:
        assert next(updates)[0]["state"] == "busy"
    updates.close()  # as gradio does when a visitor leaves
    assert engine.active == 0


def test_a_stopped_or_foreign_ticket_draws_nothing():
    engine = FakeEngine()
    handlers = Generate(engine, Runs(), Outbox(gr.HTML()))
    ticket, _ = handlers.begin("a cat", 1, ME)
    values = ("a cat", 1, 1, True, 1, 3.0, "any", False, False, 1, "")
    assert list(handlers.draw(ticket, *values, SimpleNamespace(session_hash="you"))) == []
    assert handlers.stop(ME)["state"] == "stopped"
    assert list(handlers.draw(ticket, *values, ME)) == []
    assert engine.steps_done == 0


def test_a_failed_model_is_told():
    engine = FakeEngine()
    engine.become("failed", "The checkpoint is truncated: fetch it again.")
    assert generate(engine)[-1][0]["message"] == "The checkpoint is truncated: fetch it again."


def test_frames_come_coarse_to_fine_with_both_animations():
    updates = interpolate(FakeEngine())
    first_frames = next(path["frames"] for path, *_ in updates if path["frames"])
    assert set(first_frames) == {"0", "8", "16", "24", "32"}
    path = updates[-1][0]
    assert path["state"] == "done" and set(map(int, path["frames"])) == set(range(33))
    assert all(source.startswith("data:image/webp;base64,") for source in path["frames"].values())
    assert set(path["exports"]) == {"loop", "pingpong"}
    assert updates[0][3:] == (gr.skip(), gr.skip())  # as they were given
    drawn = interpolate(FakeEngine(), seed_a="", seed_b=None)[0][3:]
    assert all(seed.isdecimal() for seed in drawn)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"prompt_a": ""}, "empty"), ({"prompt_b": "🐶"}, "no words"), ({"seed_b": 1.5}, "whole number")],
)
def test_bad_input_is_answered_on_the_path(changes, message):
    path = interpolate(FakeEngine(), **changes)[-1][0]
    assert path["state"] == "error" and message in path["message"]


def test_levels():
    assert [count for count in range(70) if is_level(count)] == [5, 9, 17, 33, 65]


@pytest.mark.parametrize(
    ("prompt", "state"), [("", "empty"), ("a cat", "judged"), ("🍎", "error"), (None, "empty"), (["x"], "error")]
)
def test_verdicts(prompt, state):
    assert verdict.judge_prompt(FakeEngine(), prompt)["state"] == state


def test_the_judge_waits_for_the_model():
    engine = FakeEngine(ready=False)
    assert verdict.judge_prompt(engine, "a cat")["state"] == "waiting"
    engine.become("failed", "No weights.")
    assert verdict.judge_prompt(engine, "a cat") == {"state": "absent", "message": "No weights."}


def test_a_card_loads_nothing():
    card = card_text('Text ![a](https://x.example/a.svg) ![b][c] <IMG src="https://x.example/b"> end')
    assert "Text" in card and "end" in card and "x.example" not in card
    assert card_text(None) == ""
