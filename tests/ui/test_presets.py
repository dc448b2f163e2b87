"""Presets: what a press sets, what is drawn then, and what all pictures become; handlers first, then the page."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from dalle.config import MAX_PROMPT_CHARACTERS
from dalle.uses import USES
from tests.ui.conftest import PATIENCE
from tests.ui.fake_engine import FakeEngine
from tests.ui.test_album import answered, deliver, file_of, recipes
from tests.ui.test_handlers import generate
from tests.ui.test_page import draw, mat, pictures, prompt_box, save
from ui import uses, verdict

expect.set_options(timeout=PATIENCE)


def chosen(sent: Any) -> tuple[Any, Any, Any]:
    return uses.choose(gr.EventData(None, sent))


def test_a_press_sets_number_and_style():
    for name, use in USES.items():
        assert chosen({"use": name}) == ({"chosen": name}, use.num_images, use.style)
    widget, count, style = chosen({"use": ""})
    assert widget == {"chosen": ""} and count == gr.skip() and style == "any"


@pytest.mark.parametrize("sent", [{"use": "wallpaper"}, {"use": 7}, {"use": ["icons"]}, {"use": {"chosen": {"chosen": 1}}}])
def test_a_use_that_isn_t_there_changes_nothing(sent):
    assert chosen(sent) == (gr.skip(),) * 3


@pytest.mark.parametrize("sent", [None, 7, {}])
def test_no_question_is_no_use(sent):
    assert chosen(sent)[0] == {"chosen": ""} and uses.drawn(sent) == {"drawn": "", "note": ""}


def test_what_is_drawn_is_told():
    assert uses.drawn({"prompt": "a cat", "use": "storybook"}) == {"drawn": "a cat on a green meadow", "note": ""}
    told = uses.drawn({"prompt": "a cat at night", "use": "sprites"})
    assert told["drawn"] == "" and told["note"] == "“at night” is drawn along: not transparent."
    assert uses.drawn({"prompt": "a cat at night", "use": "storybook"}) == {"drawn": "", "note": "“at night” stays the background."}
    assert uses.drawn({"prompt": "a cat", "use": ""}) == {"drawn": "", "note": ""}
    assert "There is no such use" in uses.drawn({"prompt": "a cat", "use": "wallpaper"})["note"]
    assert "must be text" in uses.drawn({"prompt": 7, "use": "icons"})["note"]


def test_the_words_of_a_use_are_drawn_judged_and_kept():
    updates = generate(FakeEngine(), prompt="a cat, flat style", use={"chosen": "storybook"})
    wall, _, _ = updates[-1]
    assert wall["prompt"] == "a cat on a green meadow, flat style"
    assert {picture["recipe"]["prompt"] for picture in wall["pictures"]} == {wall["prompt"]}
    # The verdict stands below what was typed.
    [judged] = [update[1] for update in updates if update[1] != gr.skip()]
    assert judged["prompt"] == "a cat, flat style"
    engine = FakeEngine()
    assert judged["score"] == engine.judge(wall["prompt"]).score != engine.judge("a cat, flat style").score
    assert verdict.judge_prompt(engine, "a cat, flat style", "any", {"chosen": "storybook"}) == judged


@pytest.mark.parametrize("use", [None, "", {}, {"chosen": ""}])
def test_without_a_use_the_prompt_stays(use):
    assert generate(FakeEngine(), prompt="a cat.", use=use)[-1][0]["prompt"] == "a cat."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use": "wallpaper"}, "no such use"),
        ({"use": {"chosen": ["icons"]}}, "no such use"),
        ({"use": 7}, "no such use"),
        ({"use": "storybook", "prompt": 7}, "must be text"),
        ({"use": "storybook", "prompt": "🍎" * (MAX_PROMPT_CHARACTERS + 1)}, "no words"),
        ({"use": "storybook", "prompt": "a cat " + "x" * 180}, "too long"),
        ({"use": "storybook", "prompt": ""}, "is empty"),
    ],
)
def test_bad_input_gets_a_sentence(changes, message):
    wall = generate(FakeEngine(), **changes)[-1][0]
    assert wall["state"] == "error" and message in wall["message"]


@pytest.mark.parametrize("use", USES)
def test_every_use_ends_in_a_file(use):
    ending = "pdf" if use in ("storybook", "cards") else "zip"
    engine = FakeEngine()
    answer = answered(deliver(engine), {"what": use, "recipes": recipes(engine, 2)})
    data = file_of(answer)
    assert answer["name"] == f"a-red-apple-{use}.{ending}" and answer["note"] == ""
    assert data.startswith(b"%PDF" if ending == "pdf" else b"PK")
    if ending == "zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert "Drawn by a test" in archive.read("MODEL-CARD.md").decode()
            assert [recipe["seed"] for recipe in json.loads(archive.read("recipes.json"))] == ["7", "8"]
    else:
        assert b"Drawn by a test" in data


def test_a_word_that_can_t_be_set_is_told():
    engine = FakeEngine()
    one = recipes(engine, 1)[0] | {"prompt": "一只猫"}
    assert "only Latin letters" in deliver(engine).files({"what": "cards", "recipes": [one]})["note"]


# In the browser


def use_button(page: Page, name: str) -> Any:
    return page.locator("#uses").get_by_role("button", name=name)


def test_a_storybook_from_one_press_to_its_file(site, visit, tmp_path):
    page = visit(site.url)
    expect(use_button(page, "Just pictures")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#uses .use-said")).to_be_hidden()
    prompt_box(page).fill("a red apple")
    use_button(page, "Storybook").click()
    expect(use_button(page, "Storybook")).to_have_attribute("aria-pressed", "true")
    expect(use_button(page, "Just pictures")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#style input")).to_have_value("3d")
    expect(page.locator("#uses .use-drawn")).to_have_text("Drawn as a red apple on a green meadow")
    prompt_box(page).press("Enter")
    expect(pictures(page)).to_have_count(USES["storybook"].num_images)
    expect(mat(page, "done").get_by_role("img", name="a red apple on a green meadow")).to_have_count(4)
    expect(prompt_box(page)).to_have_value("a red apple")
    expect(page.locator("#verdict .verdict")).to_have_attribute("data-state", "judged")
    path = save(page, page.locator("#wall").get_by_role("button", name="Save all as a storybook"), tmp_path)
    assert path.name == "a-red-apple-on-a-green-meadow-storybook.pdf" and path.read_bytes().startswith(b"%PDF")

    # What the server writes into the box is told as well as what is typed.
    page.locator("#examples").get_by_role("button", name="Surprise me").click()
    expect(page.locator("#uses .use-drawn")).to_have_text("Drawn as a yellow star on a green meadow")
    expect(mat(page, "done").get_by_role("img", name="a yellow star on a green meadow")).to_have_count(4)

    # What is typed next is drawn for the same use, and its own background stays.
    prompt_box(page).fill("a cat at night")
    expect(page.locator("#uses .use-note")).to_have_text("“at night” stays the background.")
    expect(page.locator("#uses .use-drawn")).to_be_hidden()
    use_button(page, "Just pictures").click()
    expect(page.locator("#uses .use-said")).to_be_hidden()
    expect(page.locator("#style input")).to_have_value("any")
    expect(page.locator("#wall .for-use")).to_be_hidden()
    draw(page, "a dog", num_images=1)
    expect(page.get_by_role("img", name="a dog", exact=True)).to_have_count(1)


def test_pictures_that_are_there_already_become_something_else(site, visit, tmp_path):
    page = visit(site.url)
    draw(page, "a cat", num_images=3)
    expect(mat(page, "done").locator(".tile.done")).to_have_count(3)
    for name, label, ground in (("Sprite", "Save all as a sprite sheet", "checker"), ("Icon", "Save all as icons", "white")):
        use_button(page, name).click()
        expect(page.locator("#wall .wall")).to_have_attribute("data-ground", ground)
        path = save(page, page.locator("#wall").get_by_role("button", name=label), tmp_path)
        with zipfile.ZipFile(path) as archive:
            file = "sprites.png" if name == "Sprite" else "favicon.ico"
            with Image.open(io.BytesIO(archive.read(file))) as image:
                assert image.size == ((256, 256) if name == "Sprite" else (48, 48))
    prompt_box(page).fill("a cat on a beach")
    expect(page.locator("#uses .use-note")).to_contain_text("“on a beach” is drawn along")
    assert page.locator("#wall").get_by_role("alert").is_hidden()


def test_the_uses_fit_a_phone(site, visit):
    page = visit(site.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    prompt_box(page).fill("a red apple")
    for use in USES.values():
        use_button(page, use.label).tap()
        expect(use_button(page, use.label)).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#uses .use-said")).to_contain_text(use.output)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
