"""Paths through several stages, and between pictures: on the page, and from whatever a browser sends."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.utils import get_upload_folder
from PIL import Image
from playwright.sync_api import Page, expect

from dalle.config import SettingError
from dalle.images import png_bytes, save_png
from dalle.requests import GenerateRequest, Picture, picture_metadata
from tests.ui.fake_engine import FakeEngine, disc
from tests.ui.test_handlers import ME, interpolate
from tests.ui.test_page import draw, mat, open_path, save
from ui.direct import Direct
from ui.interpolate import Compare, Interpolate
from ui.outbox import Outbox
from ui.runs import Runs
from ui.settings import PageSettings
from ui.stages import GONE, Given, Uploads, plan_of, usual_frames

THREE = {"stages": [{}, {"length": 3}, {"prompt": "a star", "seed": "9"}], "loop": False}
RECIPE = picture_metadata(
    Picture(disc((0, 0, 0)), 0, "a red apple", 12, 0, None, {"style": "3d", "num_inference_steps": 2, "guidance_scale": 2.5})
)


def given(image: Image.Image, name: str = "mine.png", **how: Any) -> str:
    """The image as gradio takes an upload: a file in a folder of its own."""
    folder = Path(get_upload_folder()) / os.urandom(8).hex()
    folder.mkdir(parents=True)
    image.save(folder / name, **how)
    return str(folder / name)


@pytest.fixture
def uploads() -> Uploads:
    outbox = Outbox(gr.HTML())
    return Uploads(lambda: outbox)


def answers(uploads: Uploads) -> Given:
    return Given(Direct(FakeEngine(), Runs()), uploads)


def compared(engine: FakeEngine, sent: Any) -> dict[str, Any]:
    outbox = Outbox(gr.HTML())
    return Compare(engine, Direct(engine, Runs()), Uploads(lambda: outbox), PageSettings(frames=5)).text_path(sent)


# What is sent


@pytest.mark.parametrize(
    ("stages", "loop", "frames"), [(2, False, 33), (2, True, 64), (3, False, 65), (4, True, 128), (5, False, 129), (8, True, 129)]
)
def test_each_way_has_its_frames_as_far_as_they_fit(stages, loop, frames):
    assert usual_frames(stages, loop, 33) == frames


def test_a_path_through_stages_tells_where_they_lie():
    engine = FakeEngine()
    path = interpolate(engine, plan=THREE)[-1][0]
    assert path["state"] == "done" and path["prompts"] == ["a cat", "a dog", "a star"] and path["seeds"] == ["1", "2", "9"]
    assert path["total"] == len(path["frames"]) == 65 and sum(path["gaps"]) == 64 and path["gaps"][1] in range(47, 50)
    assert path["link"] == path["way"] != "" and path["why"] == "" and "PathRequest" in path["code"]
    assert [stage.length for stage in engine.paths[-1].stages] == [1, 3, 1]


def test_a_picture_of_the_album_brings_its_recipe():
    engine = FakeEngine()
    path = interpolate(engine, prompt_b="a red apple", plan={"stages": [{}, {"recipe": RECIPE}]})[-1][0]
    assert path["state"] == "done" and "picture_2=" in path["link"]
    asked = engine.paths[-1]
    assert asked.stages[1].drawn == GenerateRequest("a red apple", 1, 12, 2, 2.5, style="3d", variation_strength=0.0)
    assert asked.num_inference_steps == 2  # as the picture was drawn, so that it is the path's end exactly


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"stages": [{}] * 9}, "between 2 and 8"),
        ({"stages": [{}, {}, {"prompt": ""}]}, "empty"),
        ({"stages": [{}, {}, {"prompt": ["x"]}]}, "must be text"),
        ({"stages": [{}, {}, 7]}, "an object with a prompt"),
        ({"stages": [{"length": 1e9}, {}]}, "length of a way"),
        ({"stages": [{"length": float("nan")}, {}]}, "must be a number"),
        ({"stages": [{"length": 10**400}, {}]}, "out of range"),
        ({"stages": [{}, {}, {"prompt": "a star", "seed": "-3"}]}, "seed"),
        ({"stages": [{}, {}], "loop": "yes"}, "true or false"),
        ({"stages": [{"upload": "../../etc/passwd"}, {}]}, "Give it again"),
        ({"stages": [{"upload": "0" * 32}, {}]}, "Give it again"),
        ({"stages": [{"recipe": {"prompt": "x", "seed": "1", "settings": "{"}}, {}]}, "no recipe"),
    ],
)
def test_bad_stages_are_answered_on_the_path(plan, message):
    engine = FakeEngine()
    path = interpolate(engine, plan=plan)[-1][0]
    assert path["state"] == "error" and message in path["message"] and engine.steps_done == 0


@pytest.mark.parametrize("plan", [None, 7, "x", [], {"stages": 7}, {"stages": {"0": 1}}, {}])
def test_what_is_no_plan_is_a_path_of_two(plan):
    assert interpolate(FakeEngine(), plan=plan)[-1][0]["total"] == 33


def test_stopping_tells_of_how_many():
    engine = FakeEngine()
    handlers = Interpolate(engine, Runs(), Outbox(gr.HTML()), PageSettings())
    ticket, first = handlers.begin("a cat", "a dog", THREE, ME)
    assert first["total"] == 65 and first["prompts"] == ["a cat", "a dog", "a star"]
    for update in handlers.prepare(ticket, "a cat", "a dog", 1, 2, "any", True, 1, THREE, request=ME):
        if len(update[0]["frames"]) >= 5:
            done = engine.steps_done
            handlers.stop(ME)
    assert update[0]["state"] == "stopped" and update[0]["message"].endswith("of 65 frames")
    assert engine.steps_done <= done + 1


def test_a_replaced_run_leaves_the_other_s_path_alone():
    engine = FakeEngine()
    handlers = Interpolate(engine, Runs(), Outbox(gr.HTML()), PageSettings())
    first, _ = handlers.begin("a cat", "a dog", {}, ME)
    handlers.begin("a cat", "a dog", THREE, ME)
    # One update that changes nothing: of a generator without any, gradio makes empty values.
    assert list(handlers.prepare(first, "a cat", "a dog", 1, 2, "any", True, 1, {}, request=ME)) == [(gr.skip(),) * 5]
    assert engine.steps_done == 0


# Pictures that are given


def test_an_upload_is_kept_small_and_opened_by_nobody_else(uploads):
    answer = answers(uploads).take({"visitor": "v", "path": given(Image.new("RGB", (600, 300), "red"), "x.jpg")})
    assert answer["state"] == "done" and answer["recipe"] is None and answer["image"].startswith("data:image/webp")
    picture = uploads.open(answer["upload"])
    assert picture.size == (256, 256) and picture.getpixel((128, 10))[3] == 0 and picture.getpixel((128, 128))[0] > 240
    for token in ("", None, 7, answer["upload"].upper(), answer["upload"][:-1], f"../{answer['upload']}", "0" * 32):
        with pytest.raises(SettingError, match="Give it again"):
            uploads.open(token)
    os.remove(uploads._outbox().folder / answer["upload"] / "given.png")
    with pytest.raises(SettingError) as told:
        uploads.open(answer["upload"])
    assert str(told.value) == GONE


def test_a_png_that_was_saved_here_is_drawn_again(uploads, tmp_path):
    path = given(disc((9, 9, 9)))
    save_png(disc((9, 9, 9)), path, RECIPE)
    answer = answers(uploads).take({"path": path})
    assert answer["state"] == "done" and answer["recipe"]["prompt"] == "a red apple" and not answer["upload"]
    # A mixture has no recipe of one prompt: its picture is taken as it is.
    settings = json.dumps({"prompts": ["a", "b"]})
    save_png(disc((9, 9, 9)), path, RECIPE | {"settings": settings})
    assert answers(uploads).take({"path": path})["upload"]


def test_what_is_no_upload_is_not_opened(uploads, tmp_path, cache_folder):
    outside = tmp_path / "secret.png"
    disc((1, 2, 3)).save(outside)
    link = Path(given(disc((1, 2, 3)))).parent / "link.png"
    link.symlink_to(outside)
    broken = given(disc((1, 2, 3)))
    Path(broken).write_bytes(b"<svg/>")
    for path in (None, "", 7, "/etc/passwd", str(outside), str(link), f"{cache_folder}/../x", str(cache_folder), "a\0b", broken):
        answer = answers(uploads).take({"path": path})
        assert answer["state"] == "error" and answer["message"] and not answer["upload"] and not answer["image"]
        assert str(tmp_path) not in answer["message"] and str(cache_folder) not in answer["message"]
    assert answers(uploads).take(None)["state"] == "error"


def test_a_path_with_an_upload_has_no_link_but_its_files(uploads):
    from ui.deliver import DeliverPath

    engine, outbox = FakeEngine(), Outbox(gr.HTML())
    token = Uploads(lambda: outbox).keep(Image.new("RGBA", (9, 9), (0, 200, 0, 255)))
    path = interpolate(engine, prompt_a="", plan={"stages": [{"upload": token}, {}]})[-1][0]
    assert path["state"] == "done" and path["prompts"] == ["a picture of yours", "a dog"]
    assert path["link"] == path["code"] == "" and "deleted after an hour" in path["why"] and token in path["way"]
    assert engine.paths[-1].stages[0].image.getpixel((128, 128))[1] == 200
    answer = DeliverPath(engine, Direct(engine, Runs()), lambda: outbox, PageSettings()).files({"what": "zip", "link": path["way"]})
    assert answer["state"] == "done" and answer["name"] == "a-picture-of-yours-to-a-dog-frames.zip"
    handlers = Interpolate(engine, Runs(), outbox, PageSettings())
    _, opened, *_ = handlers.open_sent(gr.EventData(None, {"link": path["way"]}), ME)
    assert opened["state"] == "error" and "nobody else can open it" in opened["message"]


def test_a_way_s_uploads_are_pictures_before_they_are_stages(uploads):
    with pytest.raises(SettingError, match="nobody else"):
        plan_of(stages=[{"upload": "0" * 32}, {"prompt": "a dog"}], leg_frames=33)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (None, "not whole"),
        ({"link": 7}, "not whole"),
        ({"link": "from=a&to="}, "empty"),
        ({"link": "from=a&to=b&upload_1=x"}, "Give it again"),
    ],
)
def test_what_can_t_be_compared_gets_a_sentence(sent, message):
    answer = compared(FakeEngine(), sent)
    assert answer["state"] == "error" and message in answer["message"] and not answer["frames"]


def test_the_text_path_has_as_many_frames():
    engine = FakeEngine()
    answer = compared(engine, {"link": "from=a+cat&to=a+dog&stage=a+star&seed_from=1&seed_to=2&stage_seed=3"})
    assert answer["state"] == "done" and set(answer["frames"]) == {str(index) for index in range(9)}
    assert engine.paths[-1].moving == "text"


# The page


def stage_prompt(page: Page, number: int) -> Any:
    return page.get_by_label(f"Prompt of stage {number}", exact=True)


def open_stages(page: Page, *more: str) -> Any:
    path = open_path(page, by_itself=True)
    for number, prompt in enumerate(more, 3):
        page.get_by_role("button", name="Add a stage").click()
        stage_prompt(page, number).fill(prompt)
    return path


def test_stages_are_added_moved_and_removed(site, visit):
    page = visit(site.url)
    path = open_stages(page, "a star", "a red apple")
    expect(path).to_have_attribute("data-frames", "97")
    expect(path).to_have_attribute("data-state", "done")
    expect(page.locator(".strip .of-stage")).to_have_count(4)
    expect(page.get_by_label("Seed of stage 4")).not_to_have_value("")
    page.get_by_role("button", name="Go to stage 3: a star").click()
    expect(path).to_have_attribute("data-frame", "64")
    expect(page.locator("#path canvas")).to_have_attribute("aria-label", "a star turning into a red apple, 0 percent of the way")
    expect(page.get_by_role("slider", name="Place on the path")).to_have_attribute(
        "aria-valuetext", "0 percent of the way from a star to a red apple"
    )

    stage_prompt(page, 3).press("Alt+ArrowUp")
    expect(page.get_by_label("To", exact=True)).to_have_value("a star")
    expect(stage_prompt(page, 3)).to_have_value("a dog")
    expect(page.get_by_role("button", name="Move stage 2 up")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("From", exact=True)).to_have_value("a star")
    expect(page.get_by_role("button", name="Go to stage 1: a star")).to_be_enabled()
    expect(path).to_have_attribute("data-state", "done")
    assert [stage.prompt for stage in site.engine.paths[-1].stages] == ["a star", "a cat", "a dog", "a red apple"]

    page.get_by_role("button", name="Remove stage 1").click()
    expect(page.get_by_label("From", exact=True)).to_have_value("a cat")
    expect(page.locator(".stage")).to_have_count(3)
    expect(path).to_have_attribute("data-frames", "65")
    expect(path).to_have_attribute("data-state", "done")
    for _ in range(5):
        page.get_by_role("button", name="Add a stage").click()
    expect(page.get_by_role("button", name="8 stages are the most")).to_be_disabled()


def test_lengths_and_a_loop_lead_the_path(site, visit, tmp_path):
    page = visit(site.url)
    path = open_stages(page, "a star")
    page.get_by_label("Length of the way from stage 1 to stage 2").fill("3")
    page.get_by_label("Loop", exact=True).check()
    expect(path).to_have_attribute("data-frames", "96")
    expect(path).to_have_attribute("data-state", "done")
    expect(page.get_by_label("Length of the way from stage 3 to stage 1")).to_be_visible()
    path_request = site.engine.paths[-1]
    assert path_request.loop and [stage.length for stage in path_request.stages] == [3, 1, 1]
    at = page.locator(".morph-marks span").evaluate_all("marks => marks.map(mark => Number(mark.style.getPropertyValue('--at')))")
    assert at == pytest.approx([0, 57 / 95, 77 / 95])
    slider = page.get_by_role("slider", name="Place on the path")
    slider.press("End")
    expect(page.locator("#path canvas")).to_have_attribute("aria-label", "a star turning into a cat, 95 percent of the way")

    page.get_by_role("button", name="Play").click()
    expect(path).not_to_have_attribute("data-frame", "95")
    page.get_by_role("button", name="Pause").click()
    with Image.open(io.BytesIO(save(page, page.get_by_role("link", name="Save WebP"), tmp_path).read_bytes())) as animation:
        # Frames that look alike are one that is shown longer.
        shown = 0
        for index in range(animation.n_frames):
            animation.seek(index)
            animation.load()
            shown += animation.info["duration"]
        assert shown == 6000

    page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    page.locator("#path").get_by_role("button", name="Copy link").click()
    page.wait_for_function("window.copied")
    other = visit(page.evaluate("window.copied"))
    expect(other.locator("#path .morph")).to_have_attribute("data-state", "done")
    expect(stage_prompt(other, 3)).to_have_value("a star")
    expect(other.get_by_label("Loop", exact=True)).to_be_checked()
    again = site.engine.paths[-1]
    assert again.stages == path_request.stages and again.loop and again.frames == 96


def test_a_picture_of_the_album_is_an_end(site, visit):
    page = visit(site.url)
    draw(page, "a red apple", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    path = open_path(page)
    expect(path).to_have_attribute("data-state", "done")
    page.get_by_role("button", name="To a picture").click()
    page.get_by_role("dialog").get_by_role("button", name="a red apple").first.click()
    expect(page.get_by_label("To", exact=True)).to_have_value("a red apple")
    expect(page.get_by_role("button", name="Picture of stage 2: choose another")).to_be_focused()
    expect(page.locator(".morph-ends span").last).to_have_text("a red apple")
    expect(path).to_have_attribute("data-state", "done")
    drawn = site.engine.paths[-1].stages[1].drawn
    assert drawn.prompt == "a red apple" and str(drawn.seed) == page.get_by_label("Seed to").input_value()
    # Another text is another picture.
    page.get_by_label("To", exact=True).fill("a star")
    expect(page.get_by_role("button", name="A picture for stage 2")).to_have_count(0)
    expect(page.locator(".morph-ends span").last).to_have_text("a star")
    expect(path).to_have_attribute("data-state", "done")
    assert site.engine.paths[-1].stages[1].drawn is None


def test_an_upload_is_an_end_and_is_in_no_link(site, visit, tmp_path):
    picture = tmp_path / "mine.png"
    Image.new("RGB", (300, 200), (0, 180, 0)).save(picture)
    page = visit(site.url)
    path = open_path(page)
    expect(path).to_have_attribute("data-state", "done")
    page.get_by_role("button", name="From a picture").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("deleted after an hour")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    dialog.get_by_label("A picture from this device").set_input_files(bad)
    expect(dialog.get_by_role("alert")).to_contain_text("PNG, JPEG or WebP")
    dialog.get_by_label("A picture from this device").set_input_files(picture)
    expect(dialog).to_have_count(0)
    expect(page.locator(".morph-why")).to_contain_text("No link")
    expect(page.locator("#path").get_by_role("button", name="Copy link")).to_be_hidden()
    expect(path).to_have_attribute("data-state", "done")
    told = "a picture of yours turning into a dog, 0 percent of the way"
    expect(page.locator("#path canvas")).to_have_attribute("aria-label", told)
    pixel = page.locator("#path canvas").evaluate("c => [...c.getContext('2d').getImageData(128, 128, 1, 1).data]")
    assert abs(pixel[1] - 180) < 12
    page.locator('summary[aria-label="Save the path as"]').click()
    assert save(page, page.get_by_role("button", name="Frames (zip)"), tmp_path).name == "a-picture-of-yours-to-a-dog-frames.zip"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="No picture for stage 1").click()
    page.get_by_label("From", exact=True).fill("a cat")
    expect(page.locator(".morph-why")).to_be_hidden()
    expect(path).to_have_attribute("data-state", "done")


def test_a_saved_picture_dropped_in_brings_its_recipe(site, visit, tmp_path):
    saved = tmp_path / "saved.png"
    saved.write_bytes(png_bytes(disc((1, 2, 3)), RECIPE))
    page = visit(site.url)
    open_path(page)
    page.get_by_role("button", name="From a picture").click()
    page.get_by_role("dialog").get_by_label("A picture from this device").set_input_files(saved)
    expect(page.get_by_label("From", exact=True)).to_have_value("a red apple")
    expect(page.get_by_label("Seed from")).to_have_value("12")
    expect(page.locator("#path canvas")).to_have_attribute("aria-label", "a red apple turning into a dog, 0 percent of the way")
    assert site.engine.paths[-1].stages[0].drawn.style == "3d"


def test_the_path_that_is_shown_stays_until_the_next_has_frames(site, visit):
    page = visit(site.url)
    path = open_path(page)
    expect(path).to_have_attribute("data-state", "done")
    slider = page.get_by_role("slider", name="Place between the two prompts")
    slider.press("End")
    expect(path).to_have_attribute("data-frame", "32")
    site.engine.pause_at = -1
    page.get_by_label("To", exact=True).fill("a star")
    expect(path).to_have_attribute("data-state", "busy")
    expect(path).to_have_attribute("data-frames", "33")
    slider.press("ArrowLeft")
    expect(path).to_have_attribute("data-frame", "31")
    expect(page.locator("#path canvas")).to_have_attribute("aria-label", "a cat turning into a dog, 97 percent of the way")
    site.engine.pause_at = None
    expect(page.locator(".morph-ends span").last).to_have_text("a star")
    expect(page.locator("#path canvas")).to_have_attribute("aria-label", "a cat turning into a star, 0 percent of the way")
    expect(path).to_have_attribute("data-state", "done")


def test_three_ways_are_compared_at_the_same_place(site, visit):
    page = visit(site.url)
    path = open_stages(page, "a star")
    expect(path).to_have_attribute("data-frames", "65")
    expect(path).to_have_attribute("data-state", "done")
    page.get_by_role("button", name="Compare").click()
    expect(path).to_have_attribute("data-texts", "65")
    assert site.engine.paths[-1].moving == "text" and site.engine.paths[-1].stages == site.engine.paths[-2].stages
    for name in ("Latent path", "Text path", "Cross-fade"):
        expect(path.get_by_text(name, exact=True)).to_be_visible()

    def middles() -> list[list[int]]:
        """Red, green, blue and alpha in the middle of the latent, the text and the cross-faded picture."""
        return page.locator("#path canvas").evaluate_all(
            "all => all.map(one => [...one.getContext('2d').getImageData(128, 128, 1, 1).data])"
        )

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    slider = page.get_by_role("slider", name="Place on the path")
    for key, place in (("Home", 0), ("End", 64)):
        slider.press(key)
        expect(path).to_have_attribute("data-frame", str(place))
        latent, text, fade = middles()
        assert max(abs(one - other) for one, other in zip(latent, fade, strict=True)) <= 2
        assert abs(text[0] - 100 * place / 64) < 12
    slider.evaluate("s => { s.value = 40; s.dispatchEvent(new Event('input')); }")
    first, last = 0.5, 1.0  # red of the stages around, of which the second has a quarter
    assert abs(middles()[2][0] - 255 * (0.75 * first + 0.25 * last)) < 12 and middles()[2][3] == 255
    expect(page.get_by_role("img", name="Cross-fade, 25 percent of the way from a dog to a star")).to_be_visible()
    assert not [url for url in asked if not url.startswith("data:")]

    page.get_by_role("button", name="Compare").click()
    expect(path.get_by_text("Cross-fade", exact=True)).to_have_count(0)


def test_a_given_picture_has_no_text_path(site, visit, tmp_path):
    picture = tmp_path / "mine.png"
    Image.new("RGB", (300, 200), (0, 180, 0)).save(picture)
    page = visit(site.url)
    path = open_path(page)
    expect(path).to_have_attribute("data-state", "done")
    page.get_by_role("button", name="Compare").click()
    expect(path).to_have_attribute("data-texts", "33")
    page.get_by_role("button", name="To a picture").click()
    page.get_by_role("dialog").get_by_label("A picture from this device").set_input_files(picture)
    expect(page.locator(".morph-why")).to_contain_text("No link")
    expect(page.locator(".of-text")).to_contain_text("no path of the text alone")
    expect(path).not_to_have_attribute("data-texts", "33")


def test_stages_fit_a_phone(site, visit):
    page = visit(site.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    path = open_stages(page, "a star", "a red apple on a very long description of a table", "a dog")
    page.get_by_label("Loop", exact=True).check()
    expect(path).to_have_attribute("data-state", "done")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    outside = page.locator(".stages :is(button, input:not([type=checkbox]), label)").evaluate_all(
        "found => found.filter(each => each.checkVisibility()).map(each => each.getBoundingClientRect())"
        ".filter(box => box.left < 0 || box.right > 360 || box.height < 24).length"
    )
    assert outside == 0
    page.get_by_role("button", name="Compare").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator(".stage").last.locator(".stage-picture").click()
    box = page.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 360
