"""Many visitors and one model: the line, everybody's share of it, and nothing of one visitor's with another."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.context import LocalContext
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import expect

import ui.layout
from dalle.config import Cancelled
from dalle.images import read_png_metadata
from tests.ui.conftest import PATIENCE, served
from tests.ui.fake_engine import FakeEngine, disc
from tests.ui.test_page import draw, mat, open_path, pictures, prompt_box, save, settled
from ui.direct import MAX_AT_ONCE, MAX_OF_ADDRESS, MAX_OF_VISITOR, Direct
from ui.generate import Generate
from ui.line import BusyError, Caller, Line, Place, caller_of
from ui.outbox import Outbox
from ui.runs import Runs

expect.set_options(timeout=PATIENCE)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < deadline, "this never came"
        time.sleep(0.01)


def join(line: Line, session: str, address: str = "") -> Place:
    return line.join(Caller(session, address), threading.Event())


def told(place: Place) -> str:
    """What is said of a place just now; "" of one at work."""
    return next(place.wait(), "")


# The line


def test_the_line_moves_in_the_order_of_arrival():
    line = Line(at_once=2)
    places = [join(line, name) for name in "abcde"]
    assert [place.at_work for place in places] == [True, True, False, False, False]
    assert [told(place) for place in places[2:]] == [
        "Waiting for a turn: you are next",
        "Waiting for a turn: 1 person is before you",
        "Waiting for a turn: 2 people are before you",
    ]
    places[1].leave()
    places[1].leave()
    assert places[2].at_work and not places[3].at_work and told(places[4]) == "Waiting for a turn: 1 person is before you"


def test_a_place_that_moves_is_told_anew():
    line = Line(at_once=1)
    first, second, third = (join(line, name) for name in "abc")
    said = third.wait()
    assert "1 person is" in next(said)
    threading.Timer(0.05, second.leave).start()
    assert "you are next" in next(said)
    threading.Timer(0.05, first.leave).start()
    assert list(said) == [] and third.at_work


def test_who_asks_for_many_goes_behind_who_asks_for_one():
    line = Line(at_once=1)
    mine = [join(line, "me") for _ in range(4)]
    others = [join(line, name) for name in "abc"]
    assert told(others[0]) == "Waiting for a turn: you are next"
    assert told(mine[1]) == "Waiting for a turn: 3 people are before you"
    order, waiting = [], [*mine, *others]
    while at_work := [place for place in waiting if place.at_work]:
        waiting.remove(at_work[0])
        order.append(at_work[0].caller.session)
        at_work[0].leave()
    assert "".join(name[0] for name in order) == "mabcmmm" and not waiting


def test_newcomers_without_end_don_t_keep_the_one_behind_waiting():
    line = Line(at_once=1, longest=5)
    mine = [join(line, "me") for _ in range(2)]
    present, mine_came = [mine[0], join(line, "newcomer 0")], 0
    for number in range(1, 50):
        if mine[1].at_work:
            break
        present.append(join(line, f"newcomer {number}"))
        at_work = next(place for place in present if place.at_work)
        present.remove(at_work)
        at_work.leave()
        mine_came += 1
    assert mine[1].at_work and 5 < mine_came < 15


def test_one_session_draws_one_thing_at_a_time():
    line = Line(at_once=3)
    first, second, other = join(line, "me"), join(line, "me"), join(line, "you")
    assert first.at_work and not second.at_work and other.at_work
    assert told(second) == "Waiting for a turn: the one you asked for before comes first"
    first.leave()
    assert second.at_work


def test_the_bounds_answer_with_a_sentence_and_change_nothing():
    line = Line(at_once=1, longest=2, per_session=2, per_address=3)
    places = [join(line, "me", "here"), join(line, "me", "here")]
    with pytest.raises(BusyError, match="for you: 2"):
        join(line, "me", "there")
    places.append(join(line, "you", "here"))
    with pytest.raises(BusyError, match="3 at your network address"):
        join(line, "they", "here")
    with pytest.raises(BusyError, match=r"2 waiting.*try again in a minute"):
        join(line, "they", "there")
    for place in places:
        place.leave()
    assert join(line, "they", "here").at_work


def test_who_has_gone_counts_no_more():
    line = Line(at_once=1, longest=2, per_session=1, per_address=3)
    first, second, third = (join(line, name, "here") for name in "abc")
    second.cancel.set()
    with pytest.raises(Cancelled):
        told(second)
    assert told(third) == "Waiting for a turn: you are next"
    join(line, "b", "here")  # neither the session's bound, nor the address's, nor the line's
    third.cancel.set()
    first.leave()
    assert not third.at_work


def test_nobody_may_wait_where_the_line_has_no_length():
    line = Line(at_once=1, longest=0)
    first = join(line, "a")
    with pytest.raises(BusyError):
        join(line, "b")
    first.leave()
    assert join(line, "b").at_work


def test_callers_are_told_apart_by_session_and_address():
    request = SimpleNamespace(session_hash="me", client=SimpleNamespace(host="192.0.2.1", port=1))
    assert caller_of(request) == Caller("me", "192.0.2.1")
    assert caller_of(SimpleNamespace(session_hash=None)) == caller_of(None) == Caller("")


def test_a_visitor_who_goes_away_gives_the_place_back():
    runs = Runs(Line(at_once=1))
    handlers = Generate(FakeEngine(), runs, Outbox(gr.HTML()))

    def begin(name: str) -> Any:
        visitor = SimpleNamespace(session_hash=name)
        ticket, _ = handlers.begin("a cat", 1, visitor)
        return handlers.draw(ticket, "a cat", 1, 1, True, 3, 3.0, "any", False, False, 1, "", visitor)

    first, second, third = (begin(name) for name in "abc")
    assert next(first)[0]["message"] == "Starting"
    wall = next(second)[0]
    assert wall["waiting"] and wall["state"] == "busy" and wall["message"] == "Waiting for a turn: you are next"
    assert next(third)[0]["message"] == "Waiting for a turn: 1 person is before you"
    runs.leave("b")
    assert [update[0]["state"] for update in second] == ["stopped"]
    first.close()  # what gradio does with the handler of a closed connection
    updates = [update[0] for update in third]
    assert updates[-1]["state"] == "done" and not any(update["waiting"] for update in updates)


# The scripts' questions


@pytest.mark.parametrize(("most", "same"), [(MAX_OF_VISITOR, "visitor"), (MAX_OF_ADDRESS, "address")])
def test_nobody_has_all_places_for_questions(most, same):
    direct = Direct(FakeEngine(), Runs())
    go_on, blank = threading.Event(), {"message": ""}

    def ask(number: int, visitor: str, address: str, wait: bool = True) -> str:
        LocalContext.request.set(SimpleNamespace(client=SimpleNamespace(host=address)))
        kind = f"kind {number}"  # one question of a kind replaces the other
        answer = direct.answer(kind, f"{kind} {visitor}", blank, lambda cancel: {"went": not wait or go_on.wait(60)})
        return answer["state"]

    def who(number: int) -> tuple[str, str]:
        return ("me" if same == "visitor" else f"visitor-{number}", "here" if same == "address" else f"address {number}")

    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(ask, number, *who(number)) for number in range(most)]
        until(lambda: direct._places._value == MAX_AT_ONCE - most)
        assert pool.submit(ask, most, *who(most), False).result() == "waiting"
        assert pool.submit(ask, most, "another", "elsewhere", False).result() == "done"
        go_on.set()
        assert [answer.result() for answer in asked] == ["done"] * most
        assert pool.submit(ask, most, *who(most), False).result() == "done"


# Programs


def client(site: Any, folder: Any) -> Client:
    return Client(site.url, verbose=False, download_files=folder)


def place_of(job: Any) -> str:
    """What a program is told while it waits."""
    status = job.status()
    return (status.progress_data[0].desc or "") if status.progress_data else ""


STYLES = ("flat", "icon")


def test_twenty_visitors_at_once_get_their_own_pictures(cache_folder, tmp_path):
    engine = FakeEngine()
    engine.pause_at = 0
    with served(engine) as site:
        clients = [client(site, tmp_path) for _ in range(20)]
        jobs = [
            own.submit(f"a cat number {number}", 2, 100 * number, 3 + number, style=STYLES[number % 2], api_name="/generate")
            for number, own in enumerate(clients)
        ]
        until(lambda: sum("Waiting for a turn" in place_of(job) for job in jobs) == 18)
        engine.pause_at = None
        for number, job in enumerate(jobs):
            files, seeds, _ = job.result(timeout=PATIENCE / 1000)
            assert seeds == [100 * number, 100 * number + 1]
            for file, seed in zip(files, seeds, strict=True):
                metadata = read_png_metadata(file)
                settings = json.loads(metadata["settings"])
                assert (metadata["prompt"], int(metadata["seed"])) == (f"a cat number {number}", seed)
                assert (settings["num_inference_steps"], settings["style"]) == (3 + number, STYLES[number % 2])
                with Image.open(file) as picture:
                    own = picture.getpixel((128, 128))
                assert own == disc((seed * 47 % 256, seed * 91 % 256, seed * 13 % 256)).getpixel((128, 128))
        assert engine.most_active == 2
        settled(engine)


def test_beyond_the_bounds_programs_get_a_sentence(cache_folder, tmp_path):
    engine = FakeEngine()
    engine.pause_at = 0
    with served(engine, at_once=1, max_queue=2, max_per_session=2) as site:
        first, second, third = (client(site, tmp_path) for _ in range(3))
        jobs = [first.submit("a cat", 1, api_name="/generate") for _ in range(2)]
        until(lambda: engine.active == 1 and "the one you asked for before" in "".join(map(place_of, jobs)))
        with pytest.raises(AppError, match="Already in the line for you: 2"):
            first.predict("a cat", 1, api_name="/generate")
        jobs.append(second.submit("a cat", "a dog", frames=2, api_name="/interpolate"))
        until(lambda: "you are next" in place_of(jobs[2]))
        for arguments, name in ((("a cat",), "/generate"), (("a cat", "a dog"), "/interpolate"), ((["a cat"],), "/mix")):
            with pytest.raises(AppError, match=r"the line is full.*try again in a minute"):
                third.predict(*arguments, api_name=name)
        assert third.predict("a cat", api_name="/judge")["verdict"] == "known"  # takes nobody's place
        engine.pause_at = None
        assert all(job.result(timeout=PATIENCE / 1000) for job in jobs)
        assert third.predict("a cat", 1, api_name="/generate")


def test_an_address_has_its_share_too(cache_folder, tmp_path, visit, monkeypatch):
    monkeypatch.setattr("ui.direct.MAX_OF_ADDRESS", 0)
    engine = FakeEngine()
    engine.pause_at = 0
    with served(engine, max_per_address=1) as site:
        first, second = (client(site, tmp_path) for _ in range(2))
        job = first.submit("a cat", 1, api_name="/generate")
        until(lambda: engine.active == 1)
        with pytest.raises(AppError, match="1 at your network address"):
            second.predict("a cat", 1, api_name="/generate")
        engine.pause_at = None
        assert job.result(timeout=PATIENCE / 1000)
        # The scripts' questions come by another way, and their page asks again.
        page = visit(site.url)
        page.get_by_role("tab", name="Mix").click()
        expect(page.locator("#pad .wall-status")).to_have_text("Many people are drawing just now.")
        monkeypatch.setattr("ui.direct.MAX_OF_ADDRESS", 1)
        expect(page.locator("#pad .corner img")).to_have_count(4)


def test_a_program_that_goes_away_gives_its_place_back(cache_folder, tmp_path):
    engine = FakeEngine()
    engine.pause_at = 1
    with served(engine, at_once=1) as site:
        jobs = [client(site, tmp_path).submit("a cat", 1, num_inference_steps=4, api_name="/generate") for _ in range(3)]
        until(lambda: engine.active == 1 and sum("you are next" in place_of(job) for job in jobs) == 1)
        for job in jobs:
            if "you are next" in place_of(job):
                job.cancel()
        until(lambda: sum("you are next" in place_of(job) for job in jobs if not job.done()) == 1)
        engine.pause_at = None
        until(lambda: all(job.done() for job in jobs))
        settled(engine)


def test_a_program_without_a_session_stands_in_the_line_too(cache_folder):
    engine = FakeEngine()
    engine.pause_at = 0
    with served(engine, at_once=1, max_queue=0) as site:

        def call() -> str:
            asked = httpx.post(f"{site.url}/gradio_api/call/v2/generate", json={"prompt": "a cat", "num_images": 1})
            return asked.json()["event_id"]

        def answer(event: str) -> str:
            with httpx.stream("GET", f"{site.url}/gradio_api/call/generate/{event}", timeout=60) as stream:
                return stream.read().decode()

        first = call()
        until(lambda: engine.active == 1)
        assert "the line is full" in answer(call())
        engine.pause_at = None
        assert "event: complete" in answer(first)


# In the browser


def test_the_place_in_the_line_is_told_and_moves(cache_folder, visit):
    engine = FakeEngine()
    engine.pause_at = 3
    with served(engine, at_once=1) as site:
        first, second, third = (visit(site.url) for _ in range(3))
        draw(first, "a cat", num_images=1, steps=8)
        until(lambda: engine.active == 1)
        draw(second, "a dog", num_images=1)
        expect(mat(second, "busy")).to_contain_text("Waiting for a turn: you are next")
        draw(third, "a star", num_images=1)
        expect(third.locator("#wall .wall-status")).to_have_text("Waiting for a turn: 1 person is before you")
        voice = third.locator("#wall .unseen[role=status]")
        expect(voice).to_have_text("Waiting for a turn: 1 person is before you")
        second.close()
        expect(third.locator("#wall .wall-status")).to_have_text("Waiting for a turn: you are next")
        expect(voice).to_have_text("Waiting for a turn: 1 person is before you")  # one move is no reason to speak again
        engine.pause_at = None
        expect(mat(third, "done")).to_contain_text("1 picture in")
        expect(voice).to_contain_text("1 picture in")
        expect(mat(first, "done")).to_be_visible()
        assert engine.most_active == 1


def test_a_path_waits_in_the_same_line(cache_folder, visit):
    engine = FakeEngine()
    engine.pause_at = 3
    with served(engine, at_once=1) as site:
        first, second = visit(site.url), visit(site.url)
        draw(first, "a cat", num_images=1, steps=8)
        until(lambda: engine.active == 1)
        path = open_path(second)
        expect(second.locator("#path .wall-status")).to_have_text("Waiting for a turn: you are next")
        expect(second.locator("#path .unseen[role=status]")).to_have_text("Waiting for a turn: you are next")
        mine = open_path(first)
        expect(first.locator("#path .wall-status")).to_have_text("Waiting for a turn: 1 person is before you")
        engine.pause_at = None
        expect(path).to_have_attribute("data-state", "done")
        expect(mine).to_have_attribute("data-state", "done")
        assert engine.most_active == 1


def test_a_waiting_visitor_can_leave_the_line(cache_folder, visit):
    engine = FakeEngine()
    engine.pause_at = 15
    with served(engine, at_once=1) as site:
        first, second = visit(site.url), visit(site.url)
        draw(first, "a cat", num_images=9, steps=12)
        expect(pictures(first)).to_have_count(1)
        draw(second, "a dog", num_images=1, steps=8)
        expect(mat(second, "busy")).to_contain_text("you are next")
        second.get_by_role("button", name="Stop").click()
        expect(mat(second, "stopped")).to_contain_text("Stopped before drawing began")
        first.get_by_role("button", name="Stop").click()
        expect(mat(first, "stopped")).to_be_visible()
        settled(engine)
        expect(pictures(second)).to_have_count(0)


def test_a_later_press_keeps_no_place_of_the_earlier(cache_folder, visit):
    engine = FakeEngine()
    engine.pause_at = 3
    with served(engine, at_once=1, max_queue=1) as site:
        first, second = visit(site.url), visit(site.url)
        draw(first, "a cat", num_images=1, steps=8)
        until(lambda: engine.active == 1)
        for prompt in ("a dog", "a star", "a red apple"):
            draw(second, prompt, num_images=1)
            expect(mat(second, "busy")).to_contain_text("you are next")
        engine.pause_at = None
        expect(mat(second, "done").get_by_role("img", name="a red apple")).to_have_count(1)


def test_where_even_gradio_s_queue_is_full_the_page_says_so(cache_folder, visit, monkeypatch):
    monkeypatch.setattr(ui.layout, "OUTER_QUEUE", 0)
    with served(FakeEngine()) as site:
        page = visit(site.url)
        draw(page, "a cat", num_images=1)
        expect(page.locator("#wall").get_by_role("alert")).to_contain_text("Many people are drawing just now. Nothing is lost")
        expect(prompt_box(page)).to_have_value("a cat")


def test_the_settings_of_one_visitor_are_nobody_else_s(cache_folder, visit, tmp_path):
    engine = FakeEngine()
    engine.pause_at = 1
    wanted = {"a cat": (5, "flat", 3), "a dog": (900, "pixel", 7)}
    with served(engine) as site:
        pages = {prompt: visit(site.url, viewport={"width": 1280, "height": 900}) for prompt in wanted}
        for prompt, (seed, style, steps) in wanted.items():
            page = pages[prompt]
            page.get_by_label("Seed", exact=True).fill(str(seed))
            page.get_by_label("Style").first.click()
            page.get_by_role("option", name=style, exact=True).click()
            draw(page, prompt, num_images=2, steps=steps)
        until(lambda: engine.active == 2)  # both at the same time
        engine.pause_at = None
        for prompt, (seed, style, steps) in wanted.items():
            page = pages[prompt]
            expect(mat(page, "done").get_by_role("img", name=prompt)).to_have_count(2)
            for place in range(2):
                folder = tmp_path / f"{seed}-{place}"
                folder.mkdir()
                metadata = read_png_metadata(save(page, pictures(page).nth(place).get_by_role("link"), folder))
                settings = json.loads(metadata["settings"])
                assert (metadata["prompt"], int(metadata["seed"])) == (prompt, seed + place)
                assert (settings["style"], settings["num_inference_steps"]) == (style, steps)
            expect(prompt_box(page)).to_have_value(prompt)
            expect(page.get_by_label("Seed", exact=True)).to_have_value(str(seed))
        assert engine.most_active == 2


def test_a_browser_that_is_closed_leaves_nothing_at_work(cache_folder, visit):
    engine = FakeEngine()
    engine.pause_at = 3
    with served(engine, at_once=1) as site:
        first, second, third = (visit(site.url, viewport={"width": 1280, "height": 900}) for _ in range(3))
        draw(first, "a cat", num_images=9, steps=8)
        until(lambda: engine.active == 1)
        draw(second, "a dog", num_images=9, steps=8)
        expect(mat(second, "busy")).to_contain_text("you are next")
        second.context.close()
        draw(third, "a star", num_images=1, steps=2)
        expect(mat(third, "busy")).to_contain_text("you are next")
        first.context.close()
        expect(mat(third, "done")).to_be_visible()  # in spite of the pause: it has two steps only
        settled(engine)
        assert engine.steps_done == 3 + 2


def test_another_model_in_the_middle_of_the_line(cache_folder, visit, tmp_path):
    engine = FakeEngine()
    engine.pause_at = 3
    with served(engine, at_once=1) as site:
        first, second = visit(site.url), visit(site.url)
        draw(first, "a cat", num_images=1, steps=8)
        until(lambda: engine.active == 1)
        draw(second, "a dog", num_images=1, steps=3)
        expect(mat(second, "busy")).to_contain_text("you are next")
        engine.switch("tests/other")
        expect(first.locator("#wall").get_by_role("alert")).to_contain_text("The model was changed while this was drawn")
        expect(mat(second, "done")).to_be_visible()
        metadata = read_png_metadata(save(second, pictures(second).first.get_by_role("link"), tmp_path))
        assert metadata["prompt"] == "a dog" and metadata["model"] == "tests/other"
        draw(first, "a cat", num_images=1, steps=2)
        expect(mat(first, "done")).to_be_visible()
