"""Search: what a browser may send, and the tab in a real one."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import PATIENCE, served
from tests.ui.fake_engine import KNOWN, VECTOR, FakeEngine
from tests.ui.test_page import draw, mat, pictures, prompt_box
from ui.direct import Direct
from ui.generate import packed_vector
from ui.runs import Runs
from ui.search import MAX_OWN, Search, own_vectors

expect.set_options(timeout=PATIENCE)

SENT = base64.b64encode(np.rint(VECTOR * 127).astype(np.int8).tobytes()).decode()


def ask(engine: FakeEngine, **sent: Any) -> dict[str, Any]:
    return Search(engine, Direct(engine, Runs())).find({"text": "a cat", "space": engine.revision} | sent)


def test_vectors_come_back_as_they_were_sent():
    rng = np.random.default_rng(1)
    for _ in range(5):
        vector = rng.normal(size=128).astype(np.float32)
        vector /= np.linalg.norm(vector)
        sent = packed_vector(type("Drawn", (), {"vector": vector}))
        (again,) = own_vectors([sent])
        assert float(again @ vector) > 0.999 and abs(np.linalg.norm(again) - 1) < 1e-5
    assert packed_vector(type("Drawn", (), {"vector": None})) == ""


def test_both_are_searched_and_the_best_come_first():
    engine = FakeEngine()
    answer = ask(engine, vectors=[SENT] * 3)
    assert answer["state"] == "done" and answer["of"] == len(KNOWN)
    assert [match["index"] for match in answer["own"]] == [2, 1, 0]
    assert answer["reference"][0]["label"] == "a cat" and answer["reference"][0]["set"] == "a set"
    assert all(tile["image"].startswith("data:image/webp;base64,") for tile in answer["reference"])
    assert ask(engine)["own"] == []
    assert ask(engine, vectors=[SENT], space="another model's")["own"] == []


@pytest.mark.parametrize(
    "vectors",
    [7, "abc", [7], ["!"], [SENT, SENT[:-4]], [SENT] * (MAX_OWN + 1), [None], [[1, 2]], [base64.b64encode(b"1").decode()]],
)
def test_what_is_no_vector_is_refused(vectors):
    answer = ask(FakeEngine(), vectors=vectors)
    assert answer["state"] == "error" and answer["message"] and "Traceback" not in answer["message"]


@pytest.mark.parametrize("question", [None, 7, [], {}, {"text": 7}, {"text": "  "}, {"text": "x" * 100_000}])
def test_any_question_gets_an_answer(question):
    engine = FakeEngine()
    answer = Search(engine, Direct(engine, Runs())).find(question)
    assert answer["state"] == "error" and answer["message"]


def find(page: Page, text: str) -> None:
    page.get_by_role("tab", name="Search").click()
    field = page.get_by_label("What are you looking for?")
    field.fill(text)
    field.press("Enter")


def test_pictures_are_found_and_opened(site, visit):
    page = visit(site.url, viewport={"width": 1100, "height": 900})
    draw(page, "a cat", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    find(page, "a dog")
    found = page.locator("#search")
    expect(found.locator(".found .tile.done img")).to_have_count(2)
    expect(found.locator(".known .tile img").first).to_have_attribute("alt", "a dog")
    expect(found).to_contain_text("Best of 2 of yours and 5 reference drawings")
    found.get_by_role("button", name="Open: a cat").first.click()
    expect(pictures(page)).to_have_count(1)
    expect(prompt_box(page)).to_have_value("a cat")
    page.get_by_role("tab", name="Search").click()
    found.get_by_role("button", name="Draw one: a dog").click()
    expect(prompt_box(page)).to_have_value("a dog")
    expect(prompt_box(page)).to_be_visible()


def test_pictures_from_before_vectors_were_kept_are_found_the_second_time(site, visit):
    page = visit(site.url, viewport={"width": 1100, "height": 900})
    draw(page, "a cat", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    page.evaluate(
        """() => {
          const kept = JSON.parse(localStorage.getItem("open-dalle-album-1"));
          localStorage.setItem("open-dalle-album-1", JSON.stringify(kept.map(({ recipe, at, star }) => ({ recipe, at, star }))));
        }"""
    )
    page.reload()
    find(page, "a cat")
    found = page.locator("#search")
    expect(found).to_contain_text("Best of 0 of yours")
    page.wait_for_function("() => JSON.parse(localStorage.getItem('open-dalle-album-1')).every((entry) => entry.vector)")
    page.get_by_label("What are you looking for?").press("Enter")
    expect(found.locator(".found .tile.done img")).to_have_count(2)


def test_what_can_not_be_searched_is_told(cache_folder, visit):
    with served(FakeEngine()) as site:
        page = visit(site.url)
        find(page, "!!!")
        expect(page.locator("#search").get_by_role("alert")).to_contain_text("no words")
        find(page, "")
        expect(page.locator("#search").get_by_role("alert")).to_be_hidden()


def test_nothing_is_cut_off_on_a_phone(site, visit):
    page = visit(site.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    draw(page, "a cat", num_images=1)
    expect(mat(page, "done")).to_be_visible()
    find(page, "a cat")
    expect(page.locator("#search .known .tile img").first).to_be_visible()
    assert cut_off(page, "#search") == []


def cut_off(page: Page, where: str) -> list[str]:
    """Elements that reach beyond the page's right edge."""
    return page.evaluate(
        """(where) => [...document.querySelectorAll(`${where} *`)]
          .filter((each) => each.checkVisibility() && each.getBoundingClientRect().right > innerWidth + 1)
          .map((each) => each.className || each.tagName)""",
        where,
    )


def test_pictures_of_another_model_are_drawn_anew_for_the_next_search(site, visit):
    page = visit(site.url, viewport={"width": 1100, "height": 900})
    draw(page, "a cat", num_images=1)
    expect(mat(page, "done")).to_be_visible()
    page.evaluate(
        """() => {
          const kept = JSON.parse(localStorage.getItem("open-dalle-album-1"));
          localStorage.setItem("open-dalle-album-1", JSON.stringify(kept.map((entry) => ({ ...entry, space: "another model's" }))));
        }"""
    )
    page.reload()
    find(page, "a cat")
    expect(page.locator("#search")).to_contain_text("Best of 0 of yours")
    page.wait_for_function("() => JSON.parse(localStorage.getItem('open-dalle-album-1')).every((entry) => entry.space === 'fa4e')")
    page.get_by_label("What are you looking for?").press("Enter")
    expect(page.locator("#search .found .tile.done img")).to_have_count(1)
