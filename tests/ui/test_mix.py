"""The mix pad: what a point of it means, what a browser may send, and the pad in a real one."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Page, expect

from dalle.images import read_png_metadata
from tests.ui.conftest import PATIENCE, served
from tests.ui.fake_engine import FakeEngine
from tests.ui.test_page import save
from ui.direct import MAX_AT_ONCE, Direct
from ui.mix import Mix, corner_weights
from ui.outbox import Outbox
from ui.runs import Runs

expect.set_options(timeout=PATIENCE)

ME = SimpleNamespace(session_hash="me")
PROMPTS = ("a cat", "a dog", "a red apple", "a yellow star")


def pad(engine: FakeEngine) -> Mix:
    return Mix(engine, Direct(engine, Runs()), Outbox(gr.HTML()))


def ask(handlers: Mix, sent: Any, prompts: tuple = PROMPTS, style: Any = "any", keep: bool = False) -> dict[str, Any]:
    if keep:
        return handlers.keep(*prompts, style, gr.EventData(None, sent), ME)
    return handlers.follow({"prompts": list(prompts), "style": style, **sent} if isinstance(sent, dict) else sent)


def question(*points: list[float], **changes: Any) -> dict[str, Any]:
    return {"stamp": 3, "points": list(points), "seeds": [1, 2, 3, 4]} | changes


def test_corners_count_alone_and_the_middle_counts_all_alike():
    for index, point in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        assert corner_weights(*point) == tuple(float(place == index) for place in range(4))
    assert corner_weights(0.5, 0.5) == (0.25,) * 4
    for x, y in [(0.1, 0.7), (0.33, 0.9)]:
        assert sum(corner_weights(x, y)) == pytest.approx(1)


def test_a_point_is_drawn_of_all_corners_with_their_weights_and_seeds():
    engine = FakeEngine()
    answer = ask(pad(engine), question([0, 0], [0.25, 0.5]))
    assert answer["state"] == "done" and answer["stamp"] == 3 and answer["file"] is None
    assert [(point["x"], point["y"]) for point in answer["points"]] == [(0, 0), (0.25, 0.5)]
    assert all(point["image"].startswith("data:image/webp;base64,") for point in answer["points"])
    last = engine.mixed[-1]
    assert tuple(last.prompts) == PROMPTS and list(last.seeds) == [1, 2, 3, 4]
    assert list(last.weights) == pytest.approx([0.375, 0.125, 0.375, 0.125])
    assert last.num_inference_steps == engine.default_steps[1] and not last.scored


def test_an_empty_corner_is_left_out():
    engine = FakeEngine()
    handlers = pad(engine)
    assert ask(handlers, question([0.5, 0.5]), ("a cat", "", "  ", "a dog"))["state"] == "done"
    assert list(engine.mixed[-1].prompts) == ["a cat", "a dog"] and list(engine.mixed[-1].seeds) == [1, 4]
    # At a corner without a prompt nothing weighs anything: the others then count alike.
    assert ask(handlers, question([1, 0]), ("a cat", "", "", "a dog"))["state"] == "done"
    assert list(engine.mixed[-1].weights) == [1, 1]
    empty = ask(handlers, question([0.5, 0.5]), ("", "", None, ""))
    assert empty["state"] == "error" and "at least one" in empty["message"]


def test_a_picture_that_is_kept_says_how_it_was_made():
    engine = FakeEngine()
    answer = ask(pad(engine), question([0.5, 0.5]), keep=True)
    metadata = read_png_metadata(answer["file"]["path"])
    settings = json.loads(metadata["settings"])
    assert settings["prompts"] == list(PROMPTS) and settings["seeds"] == [1, 2, 3, 4] and settings["weights"] == [0.25] * 4


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (None, "four corners"),
        ([], "four corners"),
        (question([0, 0], prompts="a cat"), "four corners"),
        (question([0, 0], prompts=["a cat"] * 3), "four corners"),
        (question([0, 0], prompts=["a cat", "", "", 7]), "must be text"),
        (question([0, 0], style="cubist"), "no such style"),
        (question([0, 0], style={}), "no such style"),
        ({"stamp": "x"}, "1 to 5 points"),
        (question(), "1 to 5 points"),
        (question(*[[0, 0]] * 6), "1 to 5 points"),
        (question([0]), "between 0 and 1"),
        (question([0, 1.5]), "between 0 and 1"),
        (question([0, None]), "between 0 and 1"),
        (question([0, float("nan")]), "must be a number"),
        (question([0, "1"]), "must be a number"),
        (question("ab"), "between 0 and 1"),
        (question([0, 0], seeds=[1, 2, 3]), "four corners"),
        (question([0, 0], seeds=[1, 2, 3, -1]), "four corners"),
        (question([0, 0], seeds=[1, 2, 3, None]), "four corners"),
        (question([0, 0], seeds="1234"), "four corners"),
    ],
)
def test_what_a_browser_should_not_send_gets_a_sentence(sent, message):
    engine = FakeEngine()
    answer = ask(pad(engine), sent)
    assert answer["state"] == "error" and message in answer["message"] and not engine.mixed


@pytest.mark.parametrize(("prompts", "message"), [((7, "", "", ""), "must be text"), (("🍎", "", "", ""), "no words")])
def test_a_bad_prompt_gets_a_sentence(prompts, message):
    answer = ask(pad(FakeEngine()), question([0, 0]), prompts)
    assert answer["state"] == "error" and message in answer["message"]


def test_the_pad_waits_for_the_model_and_for_its_turn():
    loading = ask(pad(FakeEngine(ready=False)), question([0, 0]))
    assert loading["state"] == "waiting" and loading["stamp"] == 3 and "Loading" in loading["message"]
    handlers = pad(FakeEngine())
    for _ in range(MAX_AT_ONCE):
        handlers._direct._places.acquire()
    busy = ask(handlers, question([0, 0]))
    assert busy["state"] == "waiting" and "Many people" in busy["message"]
    for _ in range(MAX_AT_ONCE):
        handlers._direct._places.release()
    for sent in (question([0, 0]), None):  # and each answer, whatever its ending, frees its place
        for _ in range(MAX_AT_ONCE + 1):
            assert ask(handlers, sent)["state"] != "waiting"


# In the browser


def open_pad(page: Page) -> Any:
    page.get_by_role("tab", name="Mix").click()
    expect(page.locator("#pad .pad")).to_have_attribute("data-point", "0.500 0.500")
    return page.get_by_role("slider", name="Place between the four prompts")


def test_the_picture_follows_the_pointer(site, visit):
    page = visit(site.url)
    handle = open_pad(page)
    expect(page.locator("#pad .corner img")).to_have_count(4)
    middle = page.locator("#pad .handle img").get_attribute("src")
    box, area = handle.bounding_box(), page.locator("#pad .pad-field").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(area["x"] + 5, area["y"] + 5, steps=8)
    page.mouse.up()
    expect(page.locator("#pad .pad")).to_have_attribute("data-point", "0.000 0.000")
    expect(page.locator("#pad .handle img")).not_to_have_attribute("src", middle)
    assert handle.get_attribute("aria-valuetext").startswith("100 percent ")
    assert site.engine.mixed[-1].weights[0] == 1


def test_arrow_keys_move_the_picture(site, visit):
    page = visit(site.url)
    handle = open_pad(page)
    handle.press("ArrowRight")
    handle.press("ArrowRight")
    handle.press("ArrowUp")
    expect(page.locator("#pad .pad")).to_have_attribute("data-point", "0.600 0.450")
    for _ in range(12):
        handle.press("ArrowLeft")
    expect(page.locator("#pad .pad")).to_have_attribute("data-point", "0.000 0.450")


def test_a_corner_can_be_pressed_and_changed(site, visit):
    page = visit(site.url)
    open_pad(page)
    before = page.locator("#pad .corner img").nth(3).get_attribute("src")
    page.get_by_role("textbox", name="Right below").fill("a lone house")
    expect(page.get_by_role("button", name="Go to a lone house, right below")).to_be_visible()
    page.get_by_role("textbox", name="Right above").fill("")
    expect(page.locator("#pad .corner img")).to_have_count(3)
    page.get_by_role("button", name="Go to a lone house, right below").click()
    expect(page.locator("#pad .pad")).to_have_attribute("data-point", "1.000 1.000")
    assert list(site.engine.mixed[-1].prompts)[-1] == "a lone house" and before


def test_a_point_can_be_kept(site, visit, tmp_path):
    page = visit(site.url)
    open_pad(page)
    page.get_by_role("button", name="Keep this one").click()
    link = page.locator("#pad").get_by_role("link", name="Save PNG")
    expect(link).to_have_attribute("aria-disabled", "false")
    settings = json.loads(read_png_metadata(save(page, link, tmp_path))["settings"])
    seeds = settings["seeds"]
    assert settings["weights"] == [0.25] * 4
    page.get_by_role("button", name="New seeds").click()
    expect(link).to_have_attribute("aria-disabled", "true")
    assert list(site.engine.mixed[-1].seeds) != seeds


def test_a_bad_prompt_is_told_and_forgotten(site, visit):
    page = visit(site.url)
    open_pad(page)
    page.get_by_role("textbox", name="Left above").fill("🍎")
    expect(page.locator("#pad").get_by_role("alert")).to_contain_text("no words")
    page.get_by_role("textbox", name="Left above").fill("a lone house")
    expect(page.locator("#pad").get_by_role("alert")).to_be_hidden()


def test_the_pad_is_drawn_once_the_model_is_there(cache_folder, visit):
    with served(FakeEngine(ready=False)) as site:
        page = visit(site.url)
        page.get_by_role("tab", name="Mix").click()
        expect(page.locator("#pad")).to_contain_text("Loading the weights.")
        site.engine.become("ready")
        expect(page.locator("#pad .corner img")).to_have_count(4)


def test_a_finger_scrolls_past_the_pad(site, visit):
    page = visit(site.url, viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    open_pad(page)
    area = page.locator("#pad .pad-field").bounding_box()
    page.touchscreen.tap(area["x"] + area["width"] / 2, area["y"] + 8)
    expect(page.locator("#pad .pad")).to_have_attribute("data-point", "0.500 0.500")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
