"""The page in headless Chromium, with an engine whose answers are known."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from dalle.images import read_png_metadata
from dalle.models import WITHOUT
from dalle.requests import noise_of
from tests.ui.conftest import PATIENCE, served
from tests.ui.fake_engine import FakeEngine

expect.set_options(timeout=PATIENCE)


def prompt_box(page: Page) -> Any:
    return page.get_by_label("What should it draw?")


def set_number(page: Page, element: str, value: int) -> None:
    box = page.locator(f"#{element} input[type=number]")
    box.fill(str(value))
    box.press("Tab")


def draw(page: Page, prompt: str, **numbers: int) -> None:
    for element, value in numbers.items():
        set_number(page, element.replace("_", "-"), value)
    prompt_box(page).fill(prompt)
    prompt_box(page).press("Enter")


def pictures(page: Page) -> Any:
    return page.locator("#wall .tile.done")


def mat(page: Page, state: str) -> Any:
    return page.locator(f'#wall .wall[data-state="{state}"]')


def save(page: Page, link: Any, folder: Path) -> Path:
    with page.expect_download() as download:
        link.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def settled(engine: FakeEngine) -> None:
    """Waits until no run is at work."""
    deadline = time.monotonic() + PATIENCE / 1000
    while engine.active:
        assert time.monotonic() < deadline, "the engine still draws"
        time.sleep(0.02)


# Generate


def test_a_prompt_becomes_pictures_that_can_be_saved(site, visit, tmp_path):
    page = visit(site.url)
    draw(page, "a red apple", num_images=2)
    expect(pictures(page)).to_have_count(2)
    expect(mat(page, "done")).to_contain_text("2 pictures in")
    image = pictures(page).first.get_by_role("img", name="a red apple")
    expect(image).to_have_js_property("naturalWidth", 256)

    path = save(page, pictures(page).nth(1).get_by_role("link"), tmp_path)
    metadata = read_png_metadata(path)
    assert metadata["prompt"] == "a red apple" and metadata["model"] == "tests/fake"
    shown = int(page.get_by_label("Seed", exact=True).input_value())
    assert int(metadata["seed"]) == (shown + 1) % 2**32
    assert path.name == f"a-red-apple-{metadata['seed']}.png"
    with Image.open(path) as picture:
        assert picture.mode == "RGBA" and picture.getpixel((0, 0))[3] == 0


def test_pictures_stream_in_with_progress(site, visit, monkeypatch):
    monkeypatch.setattr("ui.generate.PROGRESS_SECONDS", 0.0)
    site.engine.pause_at = 17
    page = visit(site.url)
    draw(page, "a cat", num_images=3, steps=12)
    expect(mat(page, "busy")).to_contain_text("Picture 2 of 3, step 5 of 12")
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "47")
    expect(pictures(page)).to_have_count(1)
    site.engine.pause_at = None
    expect(mat(page, "done").locator(".tile.done")).to_have_count(3)


def test_a_locked_seed_draws_the_same_again(site, visit, tmp_path):
    page = visit(site.url)
    seeds, files = [], []
    for lock in (False, False, True):
        if lock:
            # The seed under a picture is kept by a press on it.
            pictures(page).first.get_by_role("button", name="seed").click()
            expect(page.get_by_label("Lock seed")).to_be_checked()
        before = page.get_by_label("Seed", exact=True).input_value()
        draw(page, "a dog", num_images=1)
        if not lock:
            expect(page.get_by_label("Seed", exact=True)).not_to_have_value(before)
        expect(mat(page, "done")).to_be_visible()
        seeds.append(page.get_by_label("Seed", exact=True).input_value())
        files.append(save(page, pictures(page).first.get_by_role("link"), tmp_path).read_bytes())
    assert seeds[0] != seeds[1] == seeds[2]
    assert files[0] != files[1] == files[2]


def test_a_seed_typed_by_hand_is_used(site, visit):
    page = visit(site.url)
    page.get_by_label("Seed", exact=True).fill("4294967295")
    expect(page.get_by_label("Lock seed")).to_be_checked()
    draw(page, "a dog", num_images=2)
    expect(pictures(page)).to_have_count(2)
    expect(pictures(page).nth(0)).to_contain_text("seed 4294967295")
    expect(pictures(page).nth(1)).to_contain_text("seed 0")


def test_stop_stops(site, visit):
    before = site.engine.steps_done
    site.engine.pause_at = 30
    page = visit(site.url)
    draw(page, "a cat", num_images=9, steps=12)
    expect(pictures(page)).to_have_count(2)
    page.get_by_role("button", name="Stop").click()
    expect(mat(page, "stopped")).to_contain_text("Stopped after 2 of 9 pictures")
    settled(site.engine)
    assert site.engine.steps_done - before == 30
    # And the page draws again at once.
    draw(page, "a dog", num_images=1)
    expect(mat(page, "done")).to_contain_text("1 picture in")


def test_a_second_enter_replaces_the_first(site, visit):
    settled(site.engine)
    site.engine.most_active = 0  # of earlier tests
    site.engine.pause_at = 30
    page = visit(site.url)
    draw(page, "a cat", num_images=9, steps=12)
    expect(pictures(page)).to_have_count(2)
    draw(page, "a dog", num_images=2)
    expect(mat(page, "done")).to_contain_text("2 pictures in")
    expect(page.get_by_role("img", name="a dog")).to_have_count(2)
    expect(page.get_by_role("img", name="a cat")).to_have_count(0)
    assert site.engine.most_active == 1


def test_closing_the_tab_stops_the_engine(site, visit):
    site.engine.pause_at = 30
    page = visit(site.url)
    draw(page, "a cat", num_images=9, steps=12)
    expect(pictures(page)).to_have_count(2)
    assert site.engine.active == 1
    page.close()
    settled(site.engine)


def test_bad_input_gets_a_sentence(site, visit):
    page = visit(site.url)
    alert = page.locator("#wall").get_by_role("alert")
    for prompt, message in {
        "": "empty",
        "🍎🍎🍎": "no words",
        "   ": "empty",
        "long " * 100: "at most 200",
        "crash": "went wrong",
    }.items():
        draw(page, prompt)
        expect(alert).to_contain_text(message)
        expect(pictures(page)).to_have_count(0)
    assert not page.get_by_text("Traceback").count() and not page.get_by_text("secret").count()
    page.get_by_label("Seed", exact=True).fill("99999999999")
    draw(page, "a cat")
    expect(alert).to_contain_text("seed must be 0 to")
    page.get_by_label("Seed", exact=True).fill("")
    draw(page, "a cat", num_images=1)
    expect(pictures(page)).to_have_count(1)
    expect(alert).to_be_hidden()


def test_what_is_typed_never_becomes_markup(site, visit):
    page = visit(site.url)
    hostile = "a cat <img src=x onerror=document.title='taken'> <b>bold</b>"
    draw(page, hostile, num_images=1)
    expect(page.get_by_role("img", name=hostile)).to_have_count(1)
    assert page.title() != "taken" and page.locator("b", has_text="bold").count() == 0


def test_the_judge_speaks_while_one_types(site, visit):
    page = visit(site.url)
    prompt_box(page).press_sequentially("a red apple")
    judged = page.locator("#verdict .verdict")
    expect(judged).to_have_attribute("data-verdict", "known")
    expect(judged.get_by_role("meter")).to_have_attribute("aria-valuenow", "100")
    expect(judged).to_contain_text("Judged 3 words.")
    expect(judged.get_by_role("button")).to_have_count(3)
    judged.get_by_role("button", name="a green apple").click()
    expect(prompt_box(page)).to_have_value("a green apple")
    prompt_box(page).fill("")
    expect(judged).to_have_attribute("data-state", "empty")


def test_an_example_fills_the_prompt(site, visit):
    page = visit(site.url)
    example = page.locator("#examples").get_by_role("button").nth(3)
    text = example.inner_text()
    example.click()
    expect(prompt_box(page)).to_have_value(text)
    page.get_by_role("button", name="Draw").click()
    expect(page.get_by_role("img", name=text)).to_have_count(4)


def test_strict_mode_refuses(site, visit):
    page = visit(site.url)
    page.get_by_label("Strict").check()
    draw(page, "zyx wvu")
    expect(page.locator("#wall").get_by_role("alert")).to_contain_text("Strict mode")
    expect(page.locator("#verdict .verdict")).to_have_attribute("data-verdict", "unknown")


def test_the_background_of_pictures_can_be_chosen(site, visit):
    page = visit(site.url)
    draw(page, "a cat", num_images=1)
    image = pictures(page).locator("img")
    expect(image).to_have_count(1)
    page.get_by_role("button", name="Dark background").click()
    expect(image).to_have_css("background-color", "rgb(35, 36, 44)")
    page.get_by_role("button", name="White background").click()
    expect(image).to_have_css("background-color", "rgb(255, 255, 255)")


def test_the_best_of_many_come_first(site, visit):
    page = visit(site.url)
    page.get_by_label("Best first").check()
    draw(page, "a cat", num_images=2)
    expect(pictures(page)).to_have_count(2)
    expect(mat(page, "done")).to_be_visible()
    fits = [float(text.removeprefix("fit ")) for text in page.locator("#wall .score").all_inner_texts()]
    assert fits == [1.0, 0.94]  # the last of sixteen candidates, and the one before it


def test_one_picture_leads_to_others_like_it(site, visit, tmp_path):
    page = visit(site.url)
    page.get_by_label("Not in the picture").fill("a dog")
    page.get_by_label("Seed", exact=True).fill("7")
    draw(page, "a cat", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    prompt_box(page).fill("a house")  # typed already, and not yet drawn: variations are of what is there
    noise = [[8, 1.0]]
    for label, strength in (("Vary: picture 2", 0.25), ("More like this: picture 1", 0.6)):
        before = mat(page, "done").locator("img").first.get_attribute("src")
        page.get_by_role("button", name=label).click()
        expect(mat(page, "done").locator("img").first).not_to_have_attribute("src", before)
        expect(mat(page, "done").get_by_role("img", name="a cat")).to_have_count(2)
        metadata = read_png_metadata(save(page, pictures(page).first.get_by_role("link"), tmp_path))
        settings = json.loads(metadata["settings"])
        assert settings["variation_strength"] == strength and settings["negative_prompt"] == "a dog"
        assert [seed for seed, _ in settings["variation_of"]] == [seed for seed, _ in noise]
        noise = noise_of(int(metadata["seed"]), settings)


def test_a_picture_is_seen_before_it_is_done(site, visit, monkeypatch):
    monkeypatch.setattr("ui.generate.PROGRESS_SECONDS", 0.0)
    site.engine.pause_at = 5
    page = visit(site.url)
    draw(page, "a cat", num_images=1, steps=12)
    expect(page.locator("#wall .tile.previewed")).to_have_count(1)
    site.engine.pause_at = None
    expect(mat(page, "done").locator(".tile.done")).to_have_count(1)
    expect(page.locator("#wall .tile.previewed")).to_have_count(0)


def test_a_surprise_is_drawn_at_once(site, visit):
    page = visit(site.url)
    page.get_by_role("button", name="Surprise me").click()
    expect(page.get_by_role("img", name="a yellow star")).to_have_count(4)
    expect(prompt_box(page)).to_have_value("a yellow star")


# While the model loads, and when it fails


def test_the_page_is_there_before_the_model(cache_folder, visit):
    with served(FakeEngine(ready=False)) as site:
        page = visit(site.url)
        status = page.locator("#status")
        expect(status).to_contain_text("Loading the model")
        draw(page, "a cat", num_images=1)
        expect(mat(page, "busy")).to_contain_text("Loading the weights.")
        expect(page.locator("#verdict")).to_contain_text("Loading the weights.")
        expect(page.locator("#steps input[type=number]")).to_have_value("2")
        expect(page.get_by_label("Best first")).to_be_visible()
        # A model from elsewhere turns out to be of another kind.
        site.engine.default_steps = (12, 6)
        site.engine.lacks = {"ranker": WITHOUT["ranker"]}
        site.engine.become("ready")
        expect(pictures(page)).to_have_count(1)
        expect(status).to_contain_text("Ready")
        expect(page.locator("#steps input[type=number]")).to_have_value("12")
        expect(page.get_by_label("Best first")).to_be_disabled()
        page.get_by_role("tab", name="About").click()
        expect(page.locator("#model-card")).to_contain_text("Drawn by a test.")


def test_the_judge_is_asked_until_the_model_is_there(cache_folder, visit):
    with served(FakeEngine(ready=False)) as site:
        page = visit(site.url)
        page.get_by_label("What should it draw?").fill("a red apple")
        verdict = page.locator("#verdict .verdict")
        expect(verdict).to_have_attribute("data-state", "waiting")
        page.wait_for_timeout(4000)  # more than two answers, all the same
        site.engine.become("ready")
        expect(verdict).to_have_attribute("data-state", "judged")


def test_a_model_that_fails_is_told(cache_folder, visit):
    with served(FakeEngine(ready=False)) as site:
        page = visit(site.url)
        draw(page, "a cat", num_images=1)
        expect(mat(page, "busy")).to_be_visible()
        site.engine.become("failed", "The checkpoint is truncated: fetch it again.")
        expect(page.locator("#wall").get_by_role("alert")).to_contain_text("truncated")
        expect(page.locator("#status").get_by_role("alert")).to_contain_text("truncated")


# Several visitors


def test_visitors_are_apart_and_the_line_is_bounded(cache_folder, visit):
    engine = FakeEngine()
    engine.pause_at = 15
    with served(engine, at_once=1, max_queue=1) as site:
        first, second, third = (visit(site.url) for _ in range(3))
        draw(first, "a cat", num_images=9, steps=12)
        expect(pictures(first)).to_have_count(1)
        draw(second, "a dog", num_images=1, steps=8)
        expect(mat(second, "busy")).to_contain_text("Waiting for a turn: you are next")
        third.get_by_label("Seed", exact=True).fill("7")
        draw(third, "a red apple", num_images=1, steps=8)
        expect(third.locator("#wall").get_by_role("alert")).to_contain_text("Many people are drawing just now, and the line is")
        expect(prompt_box(third)).to_have_value("a red apple")
        expect(third.get_by_label("Seed", exact=True)).to_have_value("7")
        # Somebody else's Stop changes nothing for the first.
        third.get_by_role("button", name="Stop").click()
        expect(mat(first, "busy")).to_be_visible()
        first.get_by_role("button", name="Stop").click()
        expect(pictures(second)).to_have_count(1)
        expect(second.get_by_role("img", name="a dog")).to_have_count(1)
        expect(first.get_by_role("img", name="a dog")).to_have_count(0)
        assert engine.most_active == 1


# Interpolate


def open_path(page: Page, *, by_itself: bool = False) -> Any:
    page.get_by_role("tab", name="Interpolate").click()
    page.get_by_label("From", exact=True).fill("a cat")
    page.get_by_label("To", exact=True).fill("a dog")
    if not by_itself:
        page.get_by_label("To", exact=True).press("Enter")
    return page.locator("#path .morph")


def colour(page: Page) -> list[int]:
    """The middle of the shown frame: its red and blue say where on the path it stands."""
    return page.locator("#path canvas").evaluate("c => [...c.getContext('2d').getImageData(128, 128, 1, 1).data]")


def test_both_prompts_prepare_the_path_and_dragging_shows_it(site, visit):
    page = visit(site.url)
    path = open_path(page, by_itself=True)
    expect(path).to_have_attribute("data-frames", "33")
    expect(path).to_have_attribute("data-state", "done")
    expect(page.locator("#morph-verdict-a .verdict")).to_have_attribute("data-verdict", "known")
    expect(page.locator("#morph-verdict-b .verdict")).to_have_attribute("data-verdict", "known")
    assert colour(page)[2] > 200 > 50 > colour(page)[0]

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    slider = page.get_by_label("Place between the two prompts")
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 15, box["y"] + box["height"] / 2)
    page.mouse.down()
    seen = []
    for share in (0.25, 0.5, 0.75, 1):
        page.mouse.move(box["x"] + 15 + share * (box["width"] - 30), box["y"] + box["height"] / 2)
        seen.append((int(path.get_attribute("data-frame")), colour(page)[0]))
    page.mouse.up()
    assert [frame for frame, _ in seen] == [8, 16, 24, 32]
    assert [red for _, red in seen] == sorted(red for _, red in seen) and seen[-1][1] > 200
    assert not [url for url in asked if not url.startswith("data:")]
    expect(page.locator("#path canvas")).to_have_attribute("aria-label", "a cat turning into a dog, 100 percent of the way")


def test_keys_strip_and_play_move_along_the_path(site, visit):
    page = visit(site.url)
    path = open_path(page)
    expect(path).to_have_attribute("data-frames", "33")
    slider = page.get_by_label("Place between the two prompts")
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    slider.press("ArrowLeft")
    expect(path).to_have_attribute("data-frame", "1")
    slider.press("End")
    expect(path).to_have_attribute("data-frame", "32")

    thumbs = page.get_by_role("group", name="Film strip").get_by_role("button")
    expect(thumbs).to_have_count(9)
    thumbs.nth(4).click()
    expect(path).to_have_attribute("data-frame", "16")
    expect(thumbs.nth(4)).to_have_attribute("aria-current", "true")
    page.keyboard.press("ArrowRight")
    expect(path).to_have_attribute("data-frame", "17")

    page.get_by_role("button", name="Play").click()
    expect(path).not_to_have_attribute("data-frame", "17")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_the_nearest_frame_is_shown_while_others_are_drawn(site, visit):
    site.engine.pause_at = 4
    page = visit(site.url)
    path = open_path(page)
    expect(path).to_have_attribute("data-frames", "5")
    slider = page.get_by_label("Place between the two prompts")
    slider.evaluate("s => { s.value = 9; s.dispatchEvent(new Event('input')); }")
    assert path.get_attribute("data-frame") == "8"
    site.engine.pause_at = None
    expect(path).to_have_attribute("data-frame", "9")


def test_the_animation_can_be_saved_both_ways(site, visit, tmp_path):
    page = visit(site.url)
    path = open_path(page)
    expect(path).to_have_attribute("data-state", "done")
    link = page.get_by_role("link", name="Save WebP")
    lengths = []
    for _ in range(2):
        with Image.open(io.BytesIO(save(page, link, tmp_path).read_bytes())) as animation:
            lengths.append(animation.n_frames)
            assert animation.format == "WEBP" and animation.info["loop"] == 0
        page.get_by_role("button", name="Ping-pong").click()
    assert lengths == [33, 64]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a-cat-to-a-dog-ping-pong.webp", "a-cat-to-a-dog.webp"]


def test_new_seeds_make_a_new_path(site, visit):
    page = visit(site.url)
    path = open_path(page)
    expect(path).to_have_attribute("data-state", "done")
    before = [page.get_by_label(f"Seed {side}").input_value() for side in ("from", "to")]
    page.get_by_role("button", name="New seeds").click()
    expect(page.get_by_label("Seed from")).not_to_have_value(before[0])
    expect(page.get_by_label("Seed to")).not_to_have_value(before[1])
    expect(path).to_have_attribute("data-frames", "33")


def test_a_path_can_be_stopped_and_its_prompts_corrected(site, visit):
    site.engine.pause_at = 4
    page = visit(site.url)
    path = open_path(page)
    expect(path).to_have_attribute("data-frames", "5")
    page.locator("#morph-stop").click()
    expect(path).to_have_attribute("data-state", "stopped")
    settled(site.engine)
    site.engine.pause_at = None
    page.get_by_label("To", exact=True).fill("🐶")
    page.get_by_role("button", name="Prepare the path").click()
    expect(page.locator("#path").get_by_role("alert")).to_contain_text("no words")
    page.locator("#pairs").get_by_role("button").first.click()
    expect(path).to_have_attribute("data-state", "done")
    expect(page.locator("#path").get_by_role("alert")).to_be_hidden()


# Look


@pytest.mark.parametrize("width", [360, 390])
def test_nothing_is_cut_off_on_a_phone(site, visit, width):
    page = visit(site.url, viewport={"width": width, "height": 740}, has_touch=True, is_mobile=True)
    draw(page, "a red apple")
    expect(pictures(page)).to_have_count(4)
    for tab in ("Generate", "Interpolate", "About"):
        page.get_by_role("tab", name=tab).click()
        if tab == "Interpolate":
            expect(open_path(page)).to_have_attribute("data-state", "done")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # What lies in a row that scrolls by itself may reach beyond the edge; nothing else may.
        cut = page.evaluate(
            """([width, free]) => [...document.querySelectorAll("button, input, textarea, a, canvas, p, h1, h2")]
              .filter((e) => e.checkVisibility() && !e.closest(free))
              .map((e) => [e.getBoundingClientRect(), e.outerHTML.slice(0, 80)])
              .filter(([box]) => box.width && (box.left < 0 || box.right > width + 0.5))""",
            [width, "#examples, #pairs, .strip, .unseen, .visually-hidden"],
        )
        assert cut == []


def test_light_and_dark_follow_the_browser(site, visit):
    lightness = {}
    for scheme in ("light", "dark"):
        page = visit(site.url, color_scheme=scheme)
        expect(page.locator("#wall .wall")).to_be_visible()
        lightness[scheme] = page.evaluate(
            """() => {
              const pixel = document.createElement("canvas").getContext("2d");
              pixel.fillStyle = getComputedStyle(document.body).getPropertyValue("--body-background-fill");
              pixel.fillRect(0, 0, 1, 1);
              return pixel.getImageData(0, 0, 1, 1).data[0];
            }"""
        )
    assert lightness["dark"] < 60 < 200 < lightness["light"]


def test_every_control_and_picture_has_a_name(site, visit):
    page = visit(site.url)
    draw(page, "a red apple", num_images=2)
    expect(pictures(page)).to_have_count(2)
    nameless = """() => [...document.querySelectorAll("button, input, textarea, a, img, canvas, select")]
      .filter((e) => e.checkVisibility() && !e.labels?.length && !e.closest("label") && !e.innerText?.trim())
      .filter((e) => !["aria-label", "aria-labelledby", "alt", "title"].some((name) => e.hasAttribute(name)))
      .map((e) => e.outerHTML.slice(0, 120))"""
    assert page.evaluate(nameless) == []
    expect(open_path(page)).to_have_attribute("data-state", "done")
    assert page.evaluate(nameless) == []
