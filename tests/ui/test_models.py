"""The model box, pages that follow a change of the model, and what is greyed out for one that can do less."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from gradio.context import LocalContext
from PIL import Image
from playwright.sync_api import Page, expect

from dalle.images import read_png_metadata
from dalle.models import WITHOUT
from tests.ui.conftest import PATIENCE, Served, served
from tests.ui.fake_engine import FakeEngine, Other
from tests.ui.test_accessibility import found
from tests.ui.test_page import draw, mat, pictures, save
from ui import abilities
from ui.about import plain_card
from ui.direct import Direct
from ui.layout import build_demo
from ui.models import NO_ID, NOT_LISTED, PAGE_KEEPS, ModelBox, asked_model, is_loopback, kind_in_words, size_in_words, without_paths
from ui.runs import Runs
from ui.settings import PageSettings

expect.set_options(timeout=PATIENCE)

HOME = "tests/fake"
OTHER = "some/diffusion"
CARD = """# Dreams of <b>paper</b>

<script>document.title = "taken"</script>

It draws *paper* and **scissors**. ![shot](https://elsewhere.example/shot.png)

- a first thing
- a second with `code` and [a link](https://elsewhere.example/)

```
<img src=x onerror="document.title = 'taken'">
```
"""


def engine_with(**other: Any) -> FakeEngine:
    engine = FakeEngine()
    engine.others = {
        HOME: Other(HOME, kind="DallePipeline"),
        OTHER: Other(OTHER, card=CARD, **other),
        "some/pickles": Other("some/pickles", broken="some/pickles has weights as pickles only."),
    }
    return engine


@contextmanager
def site_with(engine: FakeEngine, **settings: Any) -> Iterator[Served]:
    with served(engine, **settings) as site:
        yield site
        engine.arriving.set()


def box_of(engine: FakeEngine, models: tuple[str, ...] | None = None, host: str = "127.0.0.1") -> ModelBox:
    return ModelBox(engine, Direct(engine, Runs()), PageSettings(models=models), lambda: host)


def settled(box: ModelBox) -> dict[str, Any]:
    """How the change that was begun has ended."""
    for thread in threading.enumerate():
        if thread.name == "switch-model":
            thread.join(60)
    return box.look({})["change"]


def test_a_list_is_not_run_through_again_and_again(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("ui.models.monotonic", lambda: clock[0])

    def change(box: ModelBox, model: str) -> str:
        return box.switch({"model": model})["message"] or settled(box)["message"]

    listed = box_of(engine_with(), models=(HOME, OTHER))
    assert change(listed, OTHER) == ""
    clock[0] += 50.5
    assert change(listed, HOME) == "The model was changed a moment ago: the next change can come in 10 s."
    clock[0] += 10
    assert change(listed, HOME) == ""
    free = box_of(engine_with())
    assert change(free, OTHER) == change(free, HOME) == ""


def dialog(page: Page) -> Any:
    return page.get_by_role("dialog")


def look(page: Page, model: str) -> None:
    page.get_by_role("button", name="Change model").click()
    page.get_by_label("Which model?").fill(model)
    page.get_by_label("Which model?").press("Enter")


def switch(page: Page, model: str) -> None:
    look(page, model)
    page.get_by_role("button", name="Switch to it").click()
    expect(page.locator("#status")).to_contain_text(f"{model} on cpu")


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def panel_of(page: Page, name: str) -> Any:
    """The tab that is open, which must be the one with that name."""
    expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
    return page.locator("[role=tabpanel]:visible")


# What may be asked for


@pytest.mark.parametrize("value", [None, 7, "", "   ", "x" * 400, "some/diffusion\n", "a\0b", ["some/diffusion"]])
@pytest.mark.parametrize("folders", [True, False])
def test_what_is_no_model_s_name_is_refused(value, folders):
    with pytest.raises(Exception, match="user/repo"):
        asked_model(value, None, folders)


@pytest.mark.parametrize(
    "value", ["/etc", "~", "../..", "../etc", ".ssh/keys", "checkpoints", "C:\\x", "a/b/c", "a/b@", "a/b@../../etc", "a/b@/etc"]
)
def test_a_stranger_can_t_name_a_folder(value):
    with pytest.raises(Exception, match=NO_ID):
        asked_model(value, None, folders=False)
    if value.strip("~"):
        assert asked_model(value, None, folders=True) == value


def test_a_folder_that_is_here_is_looked_for_on_the_hub():
    assert asked_model("checkpoints/default", None, folders=False) == "checkpoints/default@main"
    assert asked_model("no-such/folder", None, folders=False) == "no-such/folder"
    assert asked_model("checkpoints/default", None, folders=True) == "checkpoints/default"


def test_the_address_of_a_page_of_the_hub_names_its_model():
    for folders in (True, False):
        assert asked_model("https://huggingface.co/some/diffusion", None, folders) == "some/diffusion"
        assert asked_model(" https://hf.co/some/diffusion/tree/v1.5?x=1 ", None, folders) == "some/diffusion@v1.5"
    with pytest.raises(Exception, match=NO_ID):
        asked_model("https://elsewhere.example/some/diffusion", None, folders=False)


def test_a_list_is_all_that_is_offered():
    for value in ("some/other", "some/diffusion@main", "https://huggingface.co/some/diffusion", "/etc"):
        with pytest.raises(Exception, match=NOT_LISTED):
            asked_model(value, ("some/diffusion", "checkpoints/default"), folders=True)
        with pytest.raises(Exception, match=PAGE_KEEPS):
            asked_model(value, (), folders=True)
    assert asked_model("checkpoints/default", ("some/diffusion", "checkpoints/default"), folders=False) == "checkpoints/default"


def test_folders_are_for_who_sits_at_the_machine():
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "192.0.2.1", "", None)] == [True] * 3 + [
        False
    ] * 4
    assert box_of(engine_with()).folders
    assert not box_of(engine_with(), host="0.0.0.0").folders
    assert not box_of(engine_with(), models=(OTHER,)).folders


@pytest.mark.parametrize(
    ("address", "named", "here"),
    [
        ("127.0.0.1", "127.0.0.1:7860", True),
        ("127.0.0.1", "localhost:7860", True),
        ("::1", "[::1]:7860", True),
        ("192.0.2.1", "127.0.0.1:7860", False),
        ("127.0.0.1", "demo.example", False),
        ("127.0.0.1", "127.0.0.1.demo.example:7860", False),
        ("127.0.0.1", "[", False),
    ],
)
def test_what_comes_through_a_tunnel_is_not_from_here(address, named, here):
    asking = LocalContext.request.set(SimpleNamespace(client=SimpleNamespace(host=address), headers={"host": named}))
    try:
        assert box_of(engine_with()).folders is here
    finally:
        LocalContext.request.reset(asking)


def test_the_server_checks_what_a_page_can_t_send():
    engine = engine_with()
    for box, told in (
        (box_of(engine, ()), PAGE_KEEPS),
        (box_of(engine, (HOME,)), NOT_LISTED),
        (box_of(engine, host="0.0.0.0"), NO_ID),
    ):
        for question in ({"model": "/etc"}, {"model": OTHER + "\n"}, {"model": None}, {}, None, [], "x"):
            for answer in (box.describe(question), box.switch(question)):
                assert answer["state"] == "error" and answer["message"] in (told, NO_ID)
    assert engine.described == [] and engine.model == HOME


# The change


def test_a_change_is_made_once_at_a_time_and_told_to_all():
    engine = engine_with(lacks={"ranker": WITHOUT["ranker"]}, steps=(30, 4))
    box = box_of(engine)
    engine.arriving.clear()
    begun = box.switch({"model": OTHER})
    assert begun["state"] == "done"
    now = box.look({})
    assert now["model"] == HOME and now["change"] == {"to": OTHER, "state": "working", "message": "", "stamp": begun["stamp"]}
    second = box.switch({"model": HOME})
    assert second["state"] == "error" and f"on its way just now ({OTHER})" in second["message"]
    engine.arriving.set()
    assert settled(box)["state"] == "done"
    after = box.look({})
    assert after["model"] == OTHER and after["key"] != now["key"] and after["lacks"] == {"ranker": WITHOUT["ranker"]}
    assert box.switch({"model": HOME})["state"] == "done" and settled(box)["to"] == HOME


@pytest.mark.parametrize(("model", "told"), [("some/pickles", "pickles only"), ("some/missing", "no public repository")])
def test_a_change_that_fails_leaves_the_old_one(model, told):
    engine = engine_with()
    box = box_of(engine)
    stamp = box.switch({"model": model})["stamp"]
    ended = settled(box)
    assert ended["state"] == "failed" and ended["stamp"] == stamp and told in ended["message"]
    assert box.look({})["model"] == HOME and box.look({})["state"] == "ready"


def test_nothing_changes_while_the_first_model_loads():
    engine = engine_with()
    engine.become("loading", "Loading the weights.")
    box = box_of(engine)
    assert "still loading" in box.switch({"model": OTHER})["message"]
    assert box.describe({"model": OTHER})["state"] == "waiting"
    engine.become("failed", "It is damaged.")
    assert box.look({})["key"] == "" and box.look({})["message"] == "It is damaged."
    assert box.describe({"model": OTHER})["state"] == "done"
    box.switch({"model": OTHER})
    assert settled(box)["state"] == "done" and box.look({})["state"] == "ready"


def test_strangers_see_no_paths(monkeypatch):
    told = "/home/me/.cache/huggingface/hub/models--a--b/snapshots/1/prior/config.json is damaged: see user/repo, or https://hf.co/a."
    assert without_paths(told) == "config.json is damaged: see user/repo, or https://hf.co/a."
    engine = engine_with(broken=told)
    for host, shown in (("0.0.0.0", "config.json is damaged"), ("127.0.0.1", "/home/me/.cache")):
        box = box_of(engine, host=host)
        box.switch({"model": OTHER})
        assert settled(box)["message"].startswith(shown)
        engine.become("failed", told)
        assert box.look({})["message"].startswith(shown)


def test_one_model_is_described_at_a_time():
    engine = engine_with()
    box, waiting, go = box_of(engine), threading.Event(), threading.Event()
    describe = engine.describe

    def slow(model: str) -> Any:
        waiting.set()
        assert go.wait(60)
        return describe(model)

    engine.describe = slow
    first = threading.Thread(target=box.describe, args=({"model": OTHER, "visitor": "me"},))
    first.start()
    assert waiting.wait(60)
    assert box.describe({"model": OTHER, "visitor": "you"})["state"] == "waiting"
    go.set()
    first.join(60)
    assert box.describe({"model": OTHER, "visitor": "you"})["title"] == "Dreams of paper"


# Cards


def test_a_card_s_cost_grows_with_its_length_only():
    for part in ("![", "<!--", "<a", "![a](", "![a][", "<<", "[](", "!"):
        card = plain_card(part * 60_000)  # minutes, if it grew with the square
        assert "<a" not in card and "![" not in card


@pytest.mark.parametrize(
    "hostile",
    [
        "<<img>img src=x>",
        '<img alt="a<" src=https://x>',
        "<im<b>g src=x>",
        "![a]\n\n[a]: https://x",
        "[![a](https://x)](b)",
        "!![a[b]c](https://x)",
        "<script\n>",
    ],
)
def test_a_card_becomes_no_markup(hostile):
    card = plain_card(f"before {hostile} after")
    assert "before" in card and "after" in card
    assert not any(mark in card for mark in ("<img", "![", "<script", "<im<"))


def test_kinds_and_sizes_in_words():
    kinds = {
        "StableDiffusionXLPipeline": "Stable Diffusion XL",
        "DallePipeline": "Open DALL·E",
        "SanaPipeline": "Sana",
        "Pipeline": "Pipeline",
    }
    assert {kind: kind_in_words(kind) for kind in kinds} == kinds
    assert [size_in_words(size) for size in (0, 59_000_000, 5_200_000_000)] == ["1 MB", "59 MB", "5.2 GB"]


# The table


def test_every_feature_has_a_control_and_every_control_a_place():
    named = {feature for control in abilities.CONTROLS.values() for feature in control.needs}
    assert named == set(WITHOUT)
    demo = build_demo(FakeEngine())
    ids = {getattr(block, "elem_id", None) for block in demo.blocks.values()}
    inside = {"surprise": "examples", "look-inside": "wall"}
    assert [part for part in abilities.CONTROLS if inside.get(part, part.partition("/")[0]) not in ids] == []


def test_what_comes_back_is_as_the_page_begins_with_it():
    boxes = {box.elem_id: box for box in abilities.boxes(build_demo(FakeEngine()))}
    gone = abilities.greyed(boxes["even"], WITHOUT, {})
    assert gone == {"interactive": False, "info": WITHOUT["pacing"], "value": False}
    back = abilities.greyed(boxes["even"], {}, WITHOUT)
    assert back == {"interactive": True, "info": boxes["even"].info, "value": True}
    assert abilities.greyed(boxes["even"], WITHOUT, WITHOUT) == {}
    assert "value" not in abilities.greyed(boxes["morph-a"], WITHOUT, {})


# The page


def test_a_model_is_looked_at_and_switched_to(cache_folder, visit):
    engine = engine_with(lacks={"ranker": WITHOUT["ranker"]}, steps=(30, 4), guidance=7.5)
    with site_with(engine) as site:
        page, other = visit(site.url), visit(site.url)
        expect(page.locator("#steps input[type=number]")).to_have_value("2")
        look(page, "https://huggingface.co/some/diffusion")
        seen = dialog(page).get_by_role("region", name="The model that was looked at")
        expect(seen.get_by_role("heading")).to_have_text("Dreams of paper")
        expect(seen).to_contain_text("Stable Diffusion")
        expect(seen).to_contain_text("openrail++")
        expect(seen).to_contain_text("5.2 GB")
        expect(seen).to_contain_text("a1b2c3d")
        expect(seen.locator("li")).to_have_text(["a first thing", "a second with code and a link"])
        assert page.title() != "taken" and seen.locator("img, a, script").count() == 0
        expect(dialog(page)).to_contain_text("There is one model for everybody on this page")
        assert engine.model == HOME

        engine.arriving.clear()
        page.get_by_role("button", name="Switch to it").click()
        expect(dialog(page).get_by_role("status")).to_contain_text("the present model goes on drawing, and waits")
        expect(other.locator("#status")).to_contain_text(f"{OTHER} is on its way, for everybody on this page")
        draw(other, "a cat", num_images=1)  # the present one does go on
        expect(mat(other, "done")).to_be_visible()
        look(other, HOME)
        expect(dialog(other).get_by_role("button", name="It draws already")).to_be_disabled()
        other.keyboard.press("Escape")
        engine.arriving.set()
        for each in (page, other):
            expect(each.locator("#status")).to_contain_text(f"Ready{OTHER} on cpu")
            expect(each.locator("#steps input[type=number]")).to_have_value("30")
            expect(each.locator("#guidance input[type=number]")).to_have_value("7.5")
            expect(each.get_by_label("Best first")).to_be_disabled()
            expect(each.get_by_text("is on its way")).to_be_hidden()
            expect(dialog(each)).to_have_count(0)
        expect(page.get_by_role("button", name="Change model")).to_be_focused()
        tab(other, "About")
        expect(other.locator("#model-card")).to_contain_text("It draws paper and scissors.")


def test_a_setting_of_the_visitor_s_own_is_left_alone_except_by_a_switch(cache_folder, visit):
    with site_with(engine_with(steps=(30, 4))) as site:
        page = visit(site.url)
        expect(page.locator("#status")).to_contain_text("Ready")
        steps = page.locator("#steps input[type=number]")
        steps.fill("9")
        steps.press("Tab")
        with page.expect_response(lambda answer: "component_server" in answer.url):
            pass  # a look at the model, which is the same
        expect(steps).to_have_value("9")
        switch(page, OTHER)
        expect(steps).to_have_value("30")


def test_errors_are_sentences_and_a_way_back(cache_folder, visit):
    engine = engine_with()
    with site_with(engine) as site:
        page = visit(site.url)
        alarm = dialog(page).get_by_role("alert")
        look(page, "some/missing")
        expect(alarm).to_contain_text("no public repository some/missing")
        page.get_by_label("Which model?").fill("some/pickles")
        page.get_by_role("button", name="Look", exact=True).click()
        expect(alarm).to_be_hidden()
        page.get_by_role("button", name="Switch to it").click()
        expect(alarm).to_contain_text("pickles only")
        expect(dialog(page)).to_contain_text(f"Now draws: {HOME}")
        page.get_by_role("button", name="Close").click()
        draw(page, "a cat", num_images=1)
        expect(mat(page, "done")).to_be_visible()


def test_what_is_drawn_by_then_is_told(cache_folder, visit):
    engine = engine_with()
    with site_with(engine) as site:
        page, other = visit(site.url), visit(site.url)
        engine.pause_at = 3
        draw(page, "a cat", num_images=4)
        expect(pictures(page)).to_have_count(1)
        switch(other, OTHER)
        expect(page.locator("#wall").get_by_role("alert")).to_contain_text("The model was changed")
        engine.pause_at = None
        draw(page, "a cat", num_images=1)
        expect(mat(page, "done")).to_be_visible()
        recipe = page.evaluate("window.playground.album.all()[0].recipe")
        assert recipe["model"] == OTHER


def test_a_model_is_known_by_its_commit(cache_folder, visit):
    engine = engine_with()
    commit = engine.others[OTHER].description.revision
    engine.switch(f"{OTHER}@{commit}")
    with site_with(engine) as site:
        page = visit(site.url)
        expect(page.locator("#status")).to_contain_text(f"{OTHER}@{commit[:7]} on cpu")
        look(page, OTHER)
        expect(page.get_by_role("button", name="It draws already")).to_be_disabled()


def test_a_list_is_chosen_from_and_no_box_is_no_box(cache_folder, visit):
    with site_with(engine_with(), models=(HOME, OTHER)) as site:
        page = visit(site.url)
        page.get_by_role("button", name="Change model").click()
        expect(page.get_by_role("button", name="It draws already")).to_be_disabled()
        assert page.get_by_label("Which model?").count() == 0
        page.get_by_label("Models of this page").select_option(OTHER)
        expect(dialog(page).get_by_role("heading", name="Dreams of paper")).to_be_visible()
        page.get_by_role("button", name="Switch to it").click()
        expect(page.locator("#status")).to_contain_text(f"{OTHER} on cpu")
    with site_with(engine_with(), models=()) as site:
        page = visit(site.url)
        expect(page.locator("#status")).to_contain_text("Ready")
        expect(page.get_by_role("button", name="Change model")).to_have_count(0)


GREY = {
    "Generate": ["Best first", "Strict", "Not in the picture", "Style", "number input for Guidance", "number input for Variety"],
    "Interpolate": ["From", "To", "Even pace", "Style", "Seed from", "Seed to", "number input for Variety"],
    "Mix": ["Left above", "Right above", "Left below", "Right below", "Style"],
}
TOLD = {
    "Generate": ("ranker", "judge", "negative", "styles", "guidance", "truncation"),
    "Interpolate": ("mixing", "pacing", "styles", "truncation"),
    "Mix": ("mixing", "styles"),
    "Search": ("ranker",),
    "Learn": ("insight", "history"),
}


@pytest.mark.parametrize(
    "device",
    [
        {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
        {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"},
    ],
)
def test_what_a_model_can_t_do_is_grey_with_the_reason_and_comes_back(cache_folder, visit, device):
    engine = engine_with(lacks=dict(WITHOUT))
    with site_with(engine) as site:
        page = visit(site.url, reduced_motion="reduce", **device)
        complaints: dict[str, list[str]] = {}
        page.get_by_label("Strict").check()
        look(page, OTHER)
        expect(dialog(page).get_by_role("heading", name="Dreams of paper")).to_be_visible()
        complaints["dialog"] = found(page)
        page.get_by_role("button", name="Switch to it").click()
        expect(page.locator("#status")).to_contain_text(f"{OTHER} on cpu")
        expect(page.get_by_role("button", name="Surprise me")).to_be_disabled()
        expect(page.get_by_label("Strict")).not_to_be_checked()
        for name, reasons in TOLD.items():
            tab(page, name)
            panel = panel_of(page, name)
            for label in GREY.get(name, []):
                expect(panel.get_by_label(label, exact=name != "Generate").first).to_be_disabled()
            for feature in reasons:
                expect(panel.get_by_text(WITHOUT[feature]).first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= device["viewport"]["width"]
            complaints[name] = found(page)
        for name, button in (
            ("Interpolate", "Prepare the path"),
            ("Interpolate", "New seeds"),
            ("Mix", "New seeds"),
            ("Search", "Search"),
        ):
            tab(page, name)
            expect(panel_of(page, name).get_by_role("button", name=button, exact=True)).to_be_disabled()
        assert {state: told for state, told in complaints.items() if told} == {}

        # It draws what it can, and the page asks it for nothing that it can't.
        tab(page, "Generate")
        draw(page, "a cat", num_images=1)
        expect(mat(page, "done")).to_be_visible()
        expect(page.locator("#verdict .verdict")).to_be_hidden()
        page.locator("#wall summary").first.click()
        expect(page.get_by_role("button", name="Look inside")).to_be_disabled()
        expect(page.locator("#wall .item-why")).to_have_text(WITHOUT["insight"])
        page.keyboard.press("Escape")

        switch(page, HOME)
        expect(page.locator("#verdict .verdict")).to_have_attribute("data-state", "judged")
        for name, labels in GREY.items():
            tab(page, name)
            for label in labels:
                expect(panel_of(page, name).get_by_label(label, exact=name != "Generate").first).to_be_enabled()
        tab(page, "Interpolate")
        expect(page.get_by_label("Even pace")).to_be_checked()
        tab(page, "Search")
        page.get_by_label("What are you looking for?").fill("a cat")
        expect(page.locator("#search .known .tile img").first).to_be_visible()
        tab(page, "Learn")
        expect(page.locator("#learn .learn[data-shown][data-moment]")).to_be_visible()


def test_a_picture_of_another_model_sets_no_box_that_nobody_could_change(cache_folder, visit):
    with site_with(engine_with(lacks=dict(WITHOUT), guidance=0)) as site:
        recipe = {"prompt": "a cat", "seed": "7"}
        settings = {"num_inference_steps": 2, "guidance_scale": 2.5, "truncation": 0.7, "style": "flat", "negative_prompt": "red"}
        page = visit(site.url)
        page.evaluate("recipe => window.playground.album.add(recipe)", recipe | {"settings": json.dumps(settings)})
        switch(page, OTHER)
        tab(page, "Album")
        expect(page.locator("#album .lost")).to_have_text(WITHOUT["styles"])
        page.get_by_role("button", name="Open: a cat").click()
        expect(page.locator("#wall").get_by_role("alert")).to_be_visible()
        expect(page.locator("#guidance input[type=number]")).to_have_value("0")
        expect(page.get_by_label("Not in the picture")).to_have_value("")
        draw(page, "a cat", num_images=1)
        expect(mat(page, "done")).to_be_visible()


def test_another_reference_set_or_none(cache_folder, visit):
    with site_with(engine_with(lacks={name: WITHOUT[name] for name in ("reference", "given")})) as site:
        page = visit(site.url)
        draw(page, "a red apple", num_images=1)
        expect(mat(page, "done")).to_be_visible()
        switch(page, OTHER)
        tab(page, "Search")
        expect(page.locator("#search .wall-note")).to_have_text(WITHOUT["reference"])
        expect(page.get_by_label("What are you looking for?")).to_be_enabled()
        tab(page, "Interpolate")
        page.get_by_role("button", name="From a picture").click()
        expect(dialog(page).get_by_label("A picture from this device")).to_be_disabled()
        expect(dialog(page)).to_contain_text(WITHOUT["given"])


# Pictures that are opaque, larger, not square


@pytest.fixture(scope="module")
def wide(cache_folder) -> Iterator[Served]:
    engine = FakeEngine(size=(512, 384))
    engine.others = {HOME: Other(HOME)}
    with served(engine, frames=5) as site:
        yield site


def shape_of(image: Any) -> tuple[float, float]:
    box = image.bounding_box()
    return box["width"], box["height"]


def test_wide_pictures_are_shown_whole_and_saved_as_they_are(wide, visit, tmp_path):
    page = visit(wide.url)
    draw(page, "a red apple", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    image = pictures(page).first.locator("img")
    assert image.evaluate("image => getComputedStyle(image).objectFit") == "contain"
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [512, 384]
    width, height = shape_of(image)
    assert abs(width - height) < 1  # the tile stays square; nothing of the picture is cropped or stretched in it
    path = save(page, pictures(page).first.get_by_role("link"), tmp_path)
    with Image.open(path) as saved:
        assert saved.size == (512, 384) and saved.mode == "RGB"
    assert read_png_metadata(path)["prompt"] == "a red apple"
    tab(page, "Album")
    expect(page.locator("#album .tile.done img").nth(1)).to_be_visible()
    assert page.locator("#album .tile.done img").first.evaluate("image => getComputedStyle(image).objectFit") == "contain"


def test_other_sizes_keep_the_proportions(wide, visit, tmp_path):
    page = visit(wide.url)
    draw(page, "a red apple", num_images=1)
    expect(mat(page, "done")).to_be_visible()
    page.locator("#wall summary").first.click()
    path = save(page, page.get_by_role("button", name="128", exact=True), tmp_path)
    with Image.open(path) as saved:
        assert saved.size == (128, 96)


@pytest.mark.parametrize(
    ("use", "what", "ending"),
    [
        ("Storybook", "Save all as a storybook", ".pdf"),
        ("Advert", "Save all as adverts", ".zip"),
        ("Sprite sheet", "Save all as a sprite sheet", ".zip"),
        ("Teaching cards", "Save all as cards", ".pdf"),
        ("Icon set", "Save all as icons", ".zip"),
        ("Just pictures", "Save all as a kit", ".zip"),
    ],
)
def test_files_of_wide_pictures(wide, visit, tmp_path, use, what, ending):
    page = visit(wide.url)
    page.locator("#uses").get_by_role("button", name=use).click()
    draw(page, "a red apple", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    path = save(page, page.get_by_role("button", name=what), tmp_path)
    assert path.suffix == ending and path.stat().st_size > 1000
    if ending == ".zip":
        with zipfile.ZipFile(path) as archive:
            images = [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist() if name.endswith(".png")]
        assert images and all(image.getextrema() for image in images)


def test_a_path_of_wide_pictures(wide, visit, tmp_path):
    page = visit(wide.url)
    tab(page, "Interpolate")
    page.get_by_label("From", exact=True).fill("a cat")
    page.get_by_label("To", exact=True).fill("a dog")
    expect(page.locator("#path .morph")).to_have_attribute("data-state", "done")
    # White above and below, since the frames are wide: nothing of them is cropped, nothing stretched.
    corner, middle = page.locator("#path canvas").first.evaluate(
        """canvas => {
          const pen = canvas.getContext("2d");
          const at = (x, y) => [...pen.getImageData(x * canvas.width, y * canvas.height, 1, 1).data];
          return [at(0.5, 0.05), at(0.02, 0.5)];
        }"""
    )
    assert corner[3] == 0 and middle == [255, 255, 255, 255]
    path = save(page, page.get_by_role("link", name="Save WebP"), tmp_path)
    with Image.open(path) as saved:
        assert saved.size == (512, 384) and saved.n_frames == 5
    page.locator("#path summary").click()
    path = save(page, page.get_by_role("button", name="MP4"), tmp_path)
    assert path.stat().st_size > 1000
