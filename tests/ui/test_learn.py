"""Learn: what a browser may ask for, and the tab in a real one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.ui.conftest import PATIENCE, served
from tests.ui.fake_engine import FakeEngine
from tests.ui.test_page import draw, mat, pictures
from tests.ui.test_search import cut_off
from ui.direct import Direct
from ui.learn import Learn
from ui.runs import Runs

expect.set_options(timeout=PATIENCE)


def look(question: Any, engine: FakeEngine | None = None) -> dict[str, Any]:
    engine = engine or FakeEngine()
    return Learn(engine, Direct(engine, Runs())).look(question)


def test_a_look_has_all_parts():
    answer = look({"prompt": "a red apple"})
    assert answer["state"] == "done"
    seen = answer["insight"]
    assert seen["pieces"] == ["[CLS]", "a", "red", "apple", "[SEP]"]
    assert [word["text"] for word in seen["words"]] == ["a", "red", "apple"]
    assert seen["words"][1]["attention"][0][1] == 1 and len(seen["words"][0]["difference"]) == 16
    assert len(seen["channels"]) == 8 and len(seen["channels"][0]) == 16 and len(seen["steps"]) == 2
    assert [tile["distance"] for tile in seen["nearest"]] == [0.25, 0.5]
    assert json.loads(seen["recipe"]["settings"])["model"] == "tests/fake"
    again = look({"recipe": seen["recipe"]})["insight"]
    assert again == seen


@pytest.mark.parametrize(
    "question",
    [
        None,
        7,
        {},
        {"prompt": ""},
        {"prompt": 7},
        {"prompt": "x" * 5000},
        {"prompt": "crash"},
        {"recipe": 7},
        {"recipe": {"prompt": "a"}},
        {"recipe": {"prompt": "a cat", "seed": "-1", "settings": "{}"}},
        {"recipe": {"prompt": "a", "seed": "1", "settings": '{"prompts": []}'}},
    ],
)
def test_any_question_gets_an_answer(question):
    answer = look(question)
    assert answer["state"] == "error" and answer["message"] and answer["insight"] is None
    assert "secret" not in answer["message"] and "Traceback" not in answer["message"]


def test_the_history_is_there_moment_by_moment():
    engine = FakeEngine()
    handlers = Learn(engine, Direct(engine, Runs()))
    answer = handlers.history({})
    assert answer["state"] == "done" and answer["prompts"] == engine.history.prompts
    assert [moment["minutes"] for moment in answer["moments"]] == [1.0, 2.5, 4.0]
    for place, moment in enumerate(answer["moments"]):
        assert moment["images"] == [engine.history.pictures.uri(engine.history.place(place, prompt)) for prompt in (0, 1)]
    engine.history = None
    assert handlers.history(None)["state"] == "error"


def test_a_picture_is_looked_into_from_its_menu(site, visit):
    page = visit(site.url, viewport={"width": 1100, "height": 900})
    draw(page, "a red apple", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    seed = pictures(page).nth(1).get_by_role("button", name="seed").text_content()
    page.locator('summary[aria-label="Save and share: picture 2"]').click()
    page.get_by_role("button", name="Look inside").click()
    learn = page.locator("#learn")
    expect(learn.locator(".learn")).to_have_attribute("data-shown", "a red apple")
    expect(learn.locator(".looked")).to_contain_text(seed)
    expect(learn.locator(".piece")).to_have_text(["[CLS]", "a", "red", "apple", "[SEP]"])
    word = learn.get_by_role("button", name="red", exact=True)
    word.click()
    expect(word).to_have_attribute("aria-pressed", "true")
    expect(learn.get_by_role("img", name="The picture without the word “red”")).to_be_visible()
    expect(learn.locator(".said-of")).to_contain_text("“red” got 6 % of the attention")
    # The patch that attended to the word is the one that is coloured.
    alpha = page.evaluate(
        """() => { const canvas = document.querySelector("#learn .over canvas");
          return [...canvas.getContext("2d").getImageData(0, 0, 4, 4).data].filter((_, place) => place % 4 === 3); }"""
    )
    assert alpha == [0, 230, *[0] * 14]
    expect(learn.get_by_role("img", name="Channel 8 of the latent")).to_be_visible()
    expect(learn).to_contain_text("flat, 0.25")


def test_the_tab_shows_the_newest_picture_or_a_prompt_of_its_own(cache_folder, visit):
    with served(FakeEngine()) as site:
        page = visit(site.url, viewport={"width": 1100, "height": 900})
        page.get_by_role("tab", name="Learn").click()
        learn = page.locator("#learn .learn")
        expect(learn).to_have_attribute("data-shown", "a blue cat to the left of a tree")
        field = page.get_by_label("Look inside a picture of")
        field.fill("a yellow star")
        field.press("Enter")
        expect(learn).to_have_attribute("data-shown", "a yellow star")
        field.fill("!!!")
        field.press("Enter")
        expect(learn.get_by_role("alert")).to_contain_text("no words")

        moment = page.get_by_label("Moment of the training")
        expect(learn).to_have_attribute("data-moment", "2")
        last = learn.get_by_role("img", name="a green apple").last.get_attribute("src")
        moment.press("Home")
        expect(learn).to_have_attribute("data-moment", "0")
        expect(moment).to_have_attribute("aria-valuetext", "minute 1, 10 optimiser steps: learning to draw")
        assert learn.get_by_role("img", name="a green apple").last.get_attribute("src") != last


def test_a_model_without_history_has_no_slider(cache_folder, visit):
    engine = FakeEngine()
    engine.history = None
    with served(engine) as site:
        page = visit(site.url)
        page.get_by_role("tab", name="Learn").click()
        expect(page.locator("#learn .learn[data-shown]")).to_be_visible()
        expect(page.get_by_label("Moment of the training")).to_have_count(0)


def test_nothing_is_cut_off_on_a_phone(site, visit):
    page = visit(site.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    tabs = page.locator("#tabs [role=tab]")
    assert all(tabs.nth(place).is_visible() for place in range(tabs.count()))
    assert cut_off(page, "#tabs .tab-wrapper") == []
    page.get_by_role("tab", name="Learn").click()
    expect(page.locator("#learn .learn[data-shown]")).to_be_visible()
    expect(page.get_by_label("Moment of the training")).to_be_visible()
    assert cut_off(page, "#learn") == []
    # A finger that scrolls over the slider leaves it where it is.
    assert page.locator("#learn-moment").evaluate("slider => getComputedStyle(slider).touchAction") == "pan-y"
