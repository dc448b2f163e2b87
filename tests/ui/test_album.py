"""Keeping and sharing: files from recipes, the album, links and saved pictures that are opened; handlers first, then the page."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from dalle.config import StorageError
from dalle.export import resized
from dalle.images import data_uri, read_png_metadata, save_png
from dalle.requests import MixRequest, Picture, picture_metadata
from tests.ui.conftest import PATIENCE, served
from tests.ui.fake_engine import FakeEngine
from tests.ui.test_page import draw, mat, open_path, pictures, prompt_box, save
from ui.album import MAX_REDRAWN, Album
from ui.deliver import MAX_HALF_MADE, Deliver, DeliverPath
from ui.direct import MAX_AT_ONCE, Direct
from ui.generate import BOXES, Generate
from ui.interpolate import BOXES as PATH_BOXES
from ui.interpolate import Interpolate
from ui.links import mix_of
from ui.mix import open_sent
from ui.outbox import Outbox
from ui.runs import Runs
from ui.settings import PageSettings

expect.set_options(timeout=PATIENCE)

ME = SimpleNamespace(session_hash="me")


def recipes(engine: FakeEngine, count: int = 2, **changes: Any) -> list[dict[str, str]]:
    from dalle.requests import GenerateRequest, Picture

    items = engine.generate(GenerateRequest("a red apple", count, 7, 3, 2.0, **changes))
    return [picture_metadata(item) for item in items if isinstance(item, Picture)]


def deliver(engine: FakeEngine) -> Deliver:
    return Deliver(engine, Direct(engine, Runs()), lambda: Outbox(gr.HTML()))


def answered(maker: Deliver, sent: Any) -> dict[str, Any]:
    """The last answer, as a page asks for it, however many slices that takes."""
    answer = maker.files(sent)
    while answer["state"] == "working":
        answer = maker.files({"token": answer["token"]})
    return answer


def file_of(answer: dict[str, Any]) -> bytes:
    assert answer["state"] == "done", answer
    path = answer["address"].removeprefix("gradio_api/file=")
    return Path(path).read_bytes()


def test_a_file_in_another_size_and_as_vectors(tmp_path):
    engine = FakeEngine()
    [recipe] = recipes(engine, 1, style="flat")
    answer = deliver(engine).files({"what": "png", "recipes": [recipe], "size": 64})
    path = tmp_path / "a.png"
    path.write_bytes(file_of(answer))
    with Image.open(path) as image:
        assert image.size == (64, 64)
    assert json.loads(read_png_metadata(path)["settings"])["style"] == "flat" and answer["name"] == "a-red-apple-7-64.png"
    answer = deliver(engine).files({"what": "svg", "recipes": [recipe]})
    assert answer["name"] == "a-red-apple-7.svg" and file_of(answer).startswith(b"<svg")


def test_a_kit_holds_all_pictures_and_the_card():
    engine = FakeEngine()
    answer = answered(deliver(engine), {"what": "kit", "recipes": recipes(engine, 3), "visitor": "v"})
    with zipfile.ZipFile(io.BytesIO(file_of(answer))) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == 4
        assert "Drawn by a test" in archive.read("MODEL-CARD.md").decode()


RECIPE = recipes(FakeEngine(), 1)[0]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (None, "what to save"),
        ([], "what to save"),
        ({"what": "exe", "recipes": [RECIPE]}, "what to save"),
        ({"what": ["png"], "recipes": [RECIPE]}, "what to save"),
        ({"what": "png"}, "1 picture"),
        ({"what": "png", "recipes": [RECIPE] * 2}, "1 picture"),
        ({"what": "kit", "recipes": [RECIPE] * 65}, "1 to 64"),
        ({"what": "kit", "recipes": []}, "1 to 64"),
        ({"what": "storybook", "recipes": [RECIPE, {}]}, "Picture 2 of 2: There is no recipe"),
        ({"what": "icons", "recipes": [RECIPE, RECIPE | {"prompt": "🍎"}]}, "Picture 2 of 2: The prompt has no words"),
        ({"token": "0"}, "given up"),
        ({"token": ["0"]}, "given up"),
        ({"what": "png", "recipes": [RECIPE], "size": 63}, "size of"),
        ({"what": "png", "recipes": [RECIPE], "size": "huge"}, "must be a number"),
        ({"what": "png", "recipes": [{}]}, "no recipe"),
        ({"what": "png", "recipes": [7]}, "no picture"),
        ({"what": "png", "recipes": [RECIPE | {"more": "x" * 30_000}]}, "too long"),
        ({"what": "png", "recipes": [RECIPE | {"prompt": "🍎"}]}, "no words"),
        ({"what": "png", "recipes": [RECIPE | {"settings": RECIPE["settings"].replace("3", "999")}]}, "1 to 100"),
    ],
)
def test_what_can_t_be_saved_gets_a_sentence(sent, message):
    answer = answered(deliver(FakeEngine()), sent)
    assert answer["state"] == "error" and message in answer["message"] and not answer["address"]


def test_a_full_disk_is_told(monkeypatch):
    def full(*arguments: Any, **options: Any) -> None:
        raise StorageError("/secret/place: the disk is full")

    monkeypatch.setattr("ui.outbox.write_whole", full)
    answer = deliver(FakeEngine()).files({"what": "png", "recipes": [RECIPE]})
    assert answer["state"] == "error" and "disk" in answer["message"] and "secret" not in answer["message"]


def test_the_album_draws_what_it_can():
    engine = FakeEngine()
    album = Album(engine, Direct(engine, Runs()))
    good = recipes(engine, 2, negative_prompt="blue")
    answer = album.redraw({"visitor": "v", "recipes": [good[0], {"prompt": "x"}, good[1]]})
    first, lost, second = answer["pictures"]
    assert answer["state"] == "done" and "no recipe" in lost["message"]
    assert first["image"].startswith("data:image/webp;base64,") and first["image"] != second["image"]
    assert "prompt=a+red+apple" in first["link"] and "seed=8" in second["code"] and "recipe" not in first
    for sent in (None, {}, {"recipes": "x"}, {"recipes": []}, {"recipes": good * MAX_REDRAWN}):
        answer = album.redraw(sent)
        assert answer["state"] == "error" and f"1 to {MAX_REDRAWN}" in answer["message"]


def test_the_album_tells_what_another_model_drew_first():
    engine = FakeEngine()
    album = Album(engine, Direct(engine, Runs()))
    (kept,) = recipes(engine, 1)
    (picture,) = album.redraw({"visitor": "v", "recipes": [kept]})["pictures"]
    assert picture["note"] == ""
    engine.revision = "another"
    (picture,) = album.redraw({"visitor": "v", "recipes": [kept]})["pictures"]
    assert picture["image"] and picture["note"].startswith("Made by another version of")


def test_questions_wait_for_the_model_and_for_a_place():
    loading = FakeEngine(ready=False)
    assert Album(loading, Direct(loading, Runs())).redraw({"recipes": [RECIPE]})["state"] == "waiting"
    engine = FakeEngine()
    direct = Direct(engine, Runs())
    for _ in range(MAX_AT_ONCE):
        direct._places.acquire()
    answer = Deliver(engine, direct, lambda: Outbox(gr.HTML())).files({"what": "png", "recipes": [RECIPE]})
    assert answer["state"] == "waiting" and "Many people" in answer["message"]


# Files of a path

LINK = "from=a+cat&to=a+dog&seed_from=3&seed_to=4&pace=raw"


def path_files(sent: Any) -> dict[str, Any]:
    engine = FakeEngine()
    return DeliverPath(engine, Direct(engine, Runs()), lambda: Outbox(gr.HTML()), PageSettings()).files(sent)


def test_a_path_is_saved_at_another_speed_as_video_and_as_frames():
    with Image.open(io.BytesIO(file_of(path_files({"what": "webp", "link": LINK, "speed": 2, "pingpong": True})))) as animation:
        assert animation.n_frames == 64
        animation.seek(1)
        animation.load()
        assert animation.info["duration"] in (31, 32)
        assert "seed_b" in animation.info["xmp"].decode()
    answer = path_files({"what": "mp4", "link": LINK, "eased": True})
    assert answer["name"] == "a-cat-to-a-dog.mp4" and b"ftyp" in file_of(answer)[:16]
    with zipfile.ZipFile(io.BytesIO(file_of(path_files({"what": "zip", "link": LINK})))) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == 33


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (None, "what to save"),
        ({"what": "gif", "link": LINK}, "what to save"),
        ({"what": "mp4"}, "not whole"),
        ({"what": "mp4", "link": "from=a"}, "not whole"),
        ({"what": "mp4", "link": LINK, "speed": 100}, "1 to 60"),
        ({"what": "mp4", "link": LINK, "speed": 0}, "1 to 60"),
        ({"what": "mp4", "link": LINK, "speed": "fast"}, "must be a number"),
        ({"what": "mp4", "link": LINK, "eased": "yes"}, "true or false"),
        ({"what": "mp4", "link": LINK.replace("cat", "%F0%9F%8D%8E").replace("a+", "")}, "no words"),
    ],
)
def test_a_path_that_can_t_be_saved_gets_a_sentence(sent, message):
    answer = path_files(sent)
    assert answer["state"] == "error" and message in answer["message"] and not answer["address"]


# What is opened


def opened(engine: FakeEngine, sent: Any) -> tuple[tuple[Any, ...], list[dict[str, Any]]]:
    """What the boxes are set to, and the walls that follow; the boxes of the page say something else by then."""
    handlers = Generate(engine, Runs(), Outbox(gr.HTML()))
    from_file = isinstance(sent, str)
    ticket, first, *boxes = handlers.open_file(sent, ME) if from_file else handlers.open_sent(gr.EventData(None, sent), ME)
    values = ("another prompt", 7, 9, True, 50, 0.0, "pixel", True, True, 0.5, "")
    walls = [first, *(update[0] for update in handlers.draw(ticket, *values, request=ME))]
    return tuple(boxes), walls


def test_a_link_a_recipe_and_a_file_bring_a_picture_back(tmp_path):
    engine = FakeEngine()
    recipe = recipes(engine, 2, style="flat", negative_prompt="blue", truncation=0.5)[1]
    save_png(Image.new("RGBA", (8, 8)), tmp_path / "a.png", recipe)
    answer = Album(engine, Direct(engine, Runs())).redraw({"recipes": [recipe]})["pictures"][0]
    for sent in ({"recipe": recipe}, str(tmp_path / "a.png"), {"link": "#" + answer["link"]}):
        (tabs, prompt, seed, lock, steps, guidance, style, truncation, negative), walls = opened(engine, sent)
        assert (prompt, seed, lock, steps, guidance, style, truncation, negative) == (
            "a red apple", "8", True, 3, 2.0, "flat", 0.5, "blue"
        )  # fmt: skip
        assert tabs.selected == "generate" if hasattr(tabs, "selected") else tabs["selected"] == "generate"
        last = walls[-1]
        assert last["state"] == "done" and last["total"] == 1 and last["note"] == ""
        assert last["pictures"][0]["recipe"] == recipe


def test_what_another_version_drew_is_told():
    engine = FakeEngine()
    recipe = recipes(engine, 1)[0]
    engine.revision = "0ther"
    *_, last = opened(engine, {"recipe": recipe})[1]
    assert last["state"] == "done" and "another version" in last["note"] and "0ther" in last["note"]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (None, "no picture"),
        ({"recipe": None}, "no picture"),
        ({"link": None}, "not whole"),
        ({"link": "#prompt=a+cat"}, "no recipe"),
        ({"recipe": {"prompt": "a | b", "seed": "1", "settings": '{"prompts": ["a", "b"]}'}}, "no recipe"),
        ({"recipe": {"prompt": "a | b", "seed": "1", "settings": '{"prompts": 7}'}}, "no recipe"),
        ({"recipe": {"prompt": "🍎", "seed": "1", "settings": "{}"}}, "no words"),
        ({"recipe": {"prompt": "a", "seed": "1", "settings": '{"num_inference_steps": 999}'}}, "1 to 100"),
        ("/etc/passwd", "not a PNG"),
        ("", "Could not read"),
    ],
)
def test_what_can_t_be_opened_gets_a_sentence(sent, message):
    engine = FakeEngine()
    boxes, walls = opened(engine, sent)
    assert len(boxes) == BOXES and walls[-1]["state"] == "error" and message in walls[-1]["message"]
    assert engine.steps_done == 0


def mixture(engine: FakeEngine, *weights: float) -> tuple[Picture, dict[str, str]]:
    prompts = ["a cat", "a dog", "a red apple", "a yellow star"][: len(weights)]
    found = engine.mix(MixRequest(prompts, weights, [11, 12, 13, 14][: len(weights)], style="flat"))
    return found, picture_metadata(found)


def test_a_mixture_is_opened_on_the_pad(tmp_path):
    engine = FakeEngine()
    kept, recipe = mixture(engine, 0.25, 0.25, 0.25, 0.25)
    save_png(kept.image, tmp_path / "mix.png", recipe)
    for sent in ({"recipe": recipe}, str(tmp_path / "mix.png")):
        (tabs, *boxes), (wall,) = opened(engine, sent)
        assert "mix" in (tabs.selected if hasattr(tabs, "selected") else tabs["selected"])
        assert all(box == gr.skip() for box in boxes) and len(boxes) == BOXES - 1
        assert wall["state"] == "idle" and "Mix tab" in wall["message"]
        asked = mix_of(wall["elsewhere"])
        assert asked.prompts == ["a cat", "a dog", "a red apple", "a yellow star"] and asked.style == "flat"
        assert "seeds=11+12+13+14" in wall["elsewhere"] and "at=0.5+0.5" in wall["elsewhere"]


def test_a_mixture_is_kept_drawn_again_and_saved(tmp_path):
    engine = FakeEngine()
    kept, recipe = mixture(engine, 0.2, 0.3, 0.5)
    answer = Album(engine, Direct(engine, Runs())).redraw({"recipes": [recipe]})["pictures"][0]
    assert answer["image"] == data_uri(kept.image) and "mix=a+red+apple" in answer["link"] and "engine.mix" in answer["code"]
    path = tmp_path / "mix.png"
    path.write_bytes(file_of(deliver(engine).files({"what": "png", "recipes": [recipe]})))
    with Image.open(path) as image:
        assert image.tobytes() == kept.image.tobytes()
    assert {key: text for key, text in read_png_metadata(path).items() if key != "xmp"} == recipe
    assert file_of(deliver(engine).files({"what": "svg", "recipes": [recipe]})).startswith(b"<svg")
    answer = answered(deliver(engine), {"what": "kit", "recipes": [recipe, RECIPE]})
    with zipfile.ZipFile(io.BytesIO(file_of(answer))) as archive:
        assert [entry["prompt"] for entry in json.loads(archive.read("recipes.json"))] == [recipe["prompt"], "a red apple"]


# Files of many pictures


def in_slices(engine: FakeEngine) -> Deliver:
    """One that answers after each picture."""
    return Deliver(engine, Direct(engine, Runs()), lambda: Outbox(gr.HTML()), slice_seconds=0.0)


def test_a_file_of_many_pictures_comes_in_slices():
    engine = FakeEngine()
    maker = in_slices(engine)
    many = recipes(engine, 5)
    engine.steps_done = 0
    answer = maker.files({"visitor": "v", "what": "kit", "recipes": many})
    for done in range(1, 5):
        assert answer["state"] == "working" and answer["done"] == done and answer["message"] == f"{done} of 5 pictures"
        assert engine.steps_done == 3 * done  # no more is drawn than was asked for
        answer = maker.files({"visitor": "v", "token": answer["token"]})
    with zipfile.ZipFile(io.BytesIO(file_of(answer))) as archive:
        assert sum(name.startswith("png-256/") for name in archive.namelist()) == 5
    assert maker._half_made == {}


def test_a_kit_may_have_sixty_four():
    engine = FakeEngine()
    found = [recipe for _ in range(4) for recipe in recipes(engine, 16)]
    answer = answered(deliver(engine), {"what": "sprites", "recipes": found})
    with zipfile.ZipFile(io.BytesIO(file_of(answer))) as archive:
        assert len(json.loads(archive.read("sprites.json"))["frames"]) == 64


def test_a_file_is_given_up_when_asked_and_when_nobody_asks(monkeypatch):
    engine = FakeEngine()
    maker = in_slices(engine)
    question = {"what": "kit", "recipes": recipes(engine, 2)}
    token = maker.files(question)["token"]
    assert maker.files({"token": token, "stop": True})["state"] == "stopped" and maker._half_made == {}
    assert "given up" in maker.files({"token": token})["message"]
    for sent in ({"stop": True}, {"stop": True, "token": ["x"]}):
        assert maker.files(sent)["state"] == "stopped"
    for _ in range(MAX_HALF_MADE):
        assert maker.files(question)["state"] == "working"
    assert maker.files(question)["state"] == "waiting" and len(maker._half_made) == MAX_HALF_MADE
    monkeypatch.setattr("ui.deliver.FORGOTTEN_SECONDS", -1.0)
    assert maker.files(question)["state"] == "working" and len(maker._half_made) == 1


def test_a_slice_that_is_interrupted_goes_on_where_it_was():
    engine = FakeEngine()
    runs = Runs()
    maker = Deliver(engine, Direct(engine, runs), lambda: Outbox(gr.HTML()), slice_seconds=0.0)
    question = {"visitor": "v", "what": "storybook", "recipes": recipes(engine, 3)}
    token = maker.files(question)["token"]
    engine.pause_at = 0
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(maker.files({"visitor": "v", "token": token})))
    asking.start()
    while not engine.active:
        time.sleep(0.01)
    runs.cancel("deliver many v", "deliver many")
    asking.join(PATIENCE / 1000)
    assert answers[0]["state"] == "waiting" and answers[0]["token"] == token and answers[0]["done"] == 1
    engine.pause_at = None
    assert maker.files({"visitor": "v", "token": token})["done"] == 2
    assert file_of(maker.files({"visitor": "v", "token": token})).startswith(b"%PDF")


def test_a_picture_that_can_t_be_drawn_ends_the_file():
    engine = FakeEngine()
    maker = in_slices(engine)
    answer = maker.files({"what": "kit", "recipes": [RECIPE, RECIPE | {"prompt": "crash"}]})
    answer = maker.files({"token": answer["token"]})
    assert answer["state"] == "error" and "secret" not in answer["message"] and maker._half_made == {}


def test_a_link_brings_a_path_back():
    engine = FakeEngine()
    handlers = Interpolate(engine, Runs(), Outbox(gr.HTML()), PageSettings())
    link = "#from=a+cat&to=a+dog&seed_from=3&seed_to=4&pace=raw&at=0.75&style=flat&variety=0.5&model=x&revision=y"
    ticket, path, _, *boxes, plan = handlers.open_sent(gr.EventData(None, {"link": link}), ME)
    assert [stage["prompt"] for stage in plan["stages"]] == ["a cat", "a dog"] and not plan["loop"]
    assert boxes == ["a cat", "a dog", "3", "4", "flat", False, 0.5] and path["at"] == 0.75
    values = dict(zip(("prompt_a", "prompt_b", "seed_a", "seed_b", "style", "even", "truncation"), boxes, strict=True))
    *_, last = [update[0] for update in handlers.prepare(ticket, **values, plan=plan, request=ME)]
    assert last["state"] == "done" and last["at"] == 0.75 and "another model" not in last["note"] and "x (y)" in last["note"]
    assert "from=a+cat" in last["link"] and "seed_a=3" in last["code"]
    bad = handlers.open_sent(gr.EventData(None, {"link": "#from=a"}), ME)
    assert bad[1]["state"] == "error" and len(bad) == 2 + PATH_BOXES


def test_a_link_brings_the_pad_s_prompts_back():
    _, *rest = open_sent(gr.EventData(None, {"link": "#mix=a&mix=&mix=b&mix=c&style=flat"}))
    assert rest == ["a", "", "b", "c", "flat"]
    assert len(open_sent(gr.EventData(None, None))) == 6


# In the browser


def tile_menu(page: Page, name: str) -> Any:
    page.locator(f'summary[aria-label="Save and share: {name}"]').click()
    return page.locator("details.more[open] .items")


def test_a_picture_is_saved_in_other_sizes_and_as_a_kit(site, visit, tmp_path):
    page = visit(site.url)
    draw(page, "a red apple", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    items = tile_menu(page, "picture 2")
    path = save(page, items.get_by_role("button", name="64", exact=True), tmp_path)
    with Image.open(path) as image:
        assert image.size == (64, 64) and read_png_metadata(path)["prompt"] == "a red apple"
    assert save(page, items.get_by_role("button", name="SVG"), tmp_path).read_text().startswith("<svg")
    page.keyboard.press("Escape")
    expect(page.locator("details.more[open]")).to_have_count(0)
    path = save(page, page.locator("#wall").get_by_role("button", name="Save all as a kit"), tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert sum(name.endswith(".svg") for name in archive.namelist()) == 2


def test_a_link_opens_the_same_picture_for_somebody_else(site, visit, tmp_path):
    page = visit(site.url)
    page.evaluate("() => { window.copied = []; navigator.clipboard.writeText = async (text) => { window.copied.push(text); }; }")
    page.get_by_label("Not in the picture").fill("a dog")
    page.get_by_label("Seed", exact=True).fill("7")
    draw(page, "a cat & co", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    items = tile_menu(page, "picture 2")
    items.get_by_role("button", name="Copy link").click()
    expect(items).to_contain_text("Copied")
    items.get_by_role("button", name="Copy Python").click()
    page.wait_for_function("window.copied.length === 2")
    link, code = page.evaluate("window.copied")
    assert "Engine('tests/fake')" in code and "seed=8" in code
    first = save(page, pictures(page).nth(1).get_by_role("link"), tmp_path).read_bytes()

    other = visit(link)
    expect(pictures(other)).to_have_count(1)
    expect(mat(other, "done")).to_be_visible()
    expect(prompt_box(other)).to_have_value("a cat & co")
    expect(other.get_by_label("Seed", exact=True)).to_have_value("8")
    expect(other.get_by_label("Not in the picture")).to_have_value("a dog")
    expect(other.get_by_label("Lock seed")).to_be_checked()
    assert save(other, pictures(other).first.get_by_role("link"), tmp_path).read_bytes() == first
    assert "#" not in other.url
    draw(other, "a dog", num_images=3)  # and the boxes are free again
    expect(other.get_by_role("img", name="a dog")).to_have_count(3)


def test_a_saved_picture_is_opened_again(site, visit, tmp_path):
    page = visit(site.url)
    page.get_by_label("Seed", exact=True).fill("41")
    draw(page, "a cat", num_images=1)
    expect(mat(page, "done")).to_be_visible()
    path = save(page, pictures(page).first.get_by_role("link"), tmp_path)
    other = visit(site.url)
    other.locator("#reopen input[type=file]").set_input_files(path)
    expect(pictures(other)).to_have_count(1)
    expect(prompt_box(other)).to_have_value("a cat")
    expect(other.get_by_label("Seed", exact=True)).to_have_value("41")
    foreign = tmp_path / "foreign.png"
    Image.new("RGB", (4, 4)).save(foreign)
    other.locator("#reopen input[type=file]").set_input_files(foreign)
    expect(other.locator("#wall").get_by_role("alert")).to_contain_text("no recipe")


def test_the_album_survives_a_reload_and_forgets_when_asked(site, visit, browser):
    page = visit(site.url, viewport={"width": 1100, "height": 900})
    draw(page, "a cat", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    star = pictures(page).nth(1).get_by_role("button", name="Favourite: picture 2")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    draw(page, "a dog", num_images=1)
    expect(page.get_by_role("img", name="a dog")).to_have_count(1)
    expect(mat(page, "done")).to_be_visible()

    page.reload()
    page.get_by_role("tab", name="Album").click()
    album = page.locator("#album")
    expect(album.locator(".tile.done img")).to_have_count(3)
    expect(album.locator("img").first).to_have_attribute("alt", "a dog")
    expect(album).to_contain_text("3 pictures, kept in this browser only")
    album.get_by_role("button", name="Favourites", exact=True).click()
    expect(album.locator(".tile.done img")).to_have_count(1)
    album.get_by_role("button", name="Open: a cat").click()
    expect(page.locator("#prompt textarea")).to_be_visible()
    expect(prompt_box(page)).to_have_value("a cat")
    expect(pictures(page)).to_have_count(1)

    page.get_by_role("tab", name="Album").click()
    album.get_by_role("button", name="All", exact=True).click()
    expect(album.locator(".tile.done img")).to_have_count(3)
    album.get_by_role("button", name="Remove: a dog").click()
    expect(album.locator(".tile.done img")).to_have_count(2)
    forget = album.get_by_role("button", name="forget")
    forget.click()
    expect(forget).to_contain_text("Really forget 1 picture?")
    expect(album.locator(".tile.done img")).to_have_count(2)
    forget.click()
    expect(album.locator(".tile.done img")).to_have_count(1)
    kept = page.evaluate("JSON.parse(localStorage.getItem('open-dalle-album-1'))")
    assert len(kept) == 1 and kept[0]["star"] and set(kept[0]) == {"recipe", "at", "star", "vector", "space"}


def keep_a_mixture(page: Page) -> Any:
    """Keeps the point right of the middle, and opens the album."""
    page.get_by_role("tab", name="Mix").click()
    expect(page.locator("#pad .pad")).to_have_attribute("data-point", "0.500 0.500")
    page.get_by_role("slider", name="Place between the four prompts").press("ArrowRight")
    expect(page.locator("#pad .pad")).to_have_attribute("data-point", "0.550 0.500")
    page.get_by_role("button", name="Keep this one").click()
    expect(page.locator("#pad").get_by_role("link", name="Save PNG")).to_have_attribute("aria-disabled", "false")
    page.get_by_role("tab", name="Album").click()
    album = page.locator("#album")
    expect(album.locator(".tile.done img")).to_have_count(1)
    return album


def test_a_kept_mixture_is_in_the_album_and_back_on_the_pad(cache_folder, visit, tmp_path):
    with served(FakeEngine()) as site:
        page = visit(site.url, viewport={"width": 1100, "height": 900})
        album = keep_a_mixture(page)
        first = site.engine.mixed[-1]
        page.get_by_role("tab", name="Mix").click()
        kept = save(page, page.locator("#pad").get_by_role("link", name="Save PNG"), tmp_path)
        page.get_by_role("tab", name="Album").click()
        name = read_png_metadata(kept)["prompt"]
        again = save(page, tile_menu(page, name).get_by_role("button", name="512", exact=True), tmp_path)
        with Image.open(kept) as small, Image.open(again) as large:
            assert resized(small, 512).tobytes() == large.tobytes()
        page.keyboard.press("Escape")

        # The pad has gone on meanwhile; the mixture brings prompts, seeds and point back.
        page.get_by_role("tab", name="Mix").click()
        page.get_by_role("button", name="New seeds").click()
        page.get_by_role("textbox", name="Left above").fill("a lone house")
        expect(page.get_by_role("button", name="Go to a lone house, left above")).to_be_visible()
        page.get_by_role("slider", name="Place between the four prompts").press("ArrowUp")
        expect(page.locator("#pad .pad")).to_have_attribute("data-point", "0.550 0.450")
        page.get_by_role("tab", name="Album").click()
        album.get_by_role("button", name=f"Open: {name}").click()
        expect(page.get_by_role("textbox", name="Left above")).to_have_value(first.prompts[0])
        expect(page.locator("#pad .pad")).to_have_attribute("data-point", "0.550 0.500")
        expect(page.get_by_role("button", name=f"Go to {first.prompts[0]}, left above")).to_be_visible()
        last = site.engine.mixed[-1]
        assert list(last.seeds) == list(first.seeds) and list(last.prompts) == list(first.prompts)
        assert list(last.weights) == pytest.approx(list(first.weights))

        page.get_by_role("tab", name="Generate").click()
        expect(page.locator("#wall .wall-status")).to_have_text("This picture was mixed: it is on the Mix tab")

        # So does its PNG, for somebody whose pad was never seen.
        other = visit(site.url)
        other.locator("#reopen input[type=file]").set_input_files(kept)
        expect(other.locator("#pad .pad")).to_have_attribute("data-point", "0.550 0.500")
        expect(other.get_by_role("textbox", name="Left above")).to_have_value(first.prompts[0])
        assert list(site.engine.mixed[-1].seeds) == list(first.seeds)


def fill_album(page: Page, count: int) -> None:
    one = recipes(FakeEngine(), 1)[0]
    page.evaluate(
        "([recipe, count]) => { for (let i = 0; i < count; i++) window.playground.album.add({ ...recipe, seed: String(i + 1) }); }",
        [one, count],
    )
    page.get_by_role("tab", name="Album").click()


def test_many_are_saved_with_progress_and_can_be_stopped(cache_folder, visit, tmp_path, monkeypatch):
    monkeypatch.setattr("ui.deliver.SLICE_SECONDS", 0.0)
    with served(FakeEngine()) as site:
        page = visit(site.url, viewport={"width": 1100, "height": 900})
        fill_album(page, 66)
        album = page.locator("#album")
        expect(album).to_contain_text("takes the first 64")
        expect(album.locator(".tile.done img")).to_have_count(24)
        save_as = album.locator("summary", has_text="Save as")
        save_as.click()
        path = save(page, album.get_by_role("button", name="Sprite sheet"), tmp_path)
        assert path.name == "a-red-apple-sprites.zip"
        with zipfile.ZipFile(path) as archive:
            assert len(json.loads(archive.read("sprites.json"))["frames"]) == 64
        expect(album.get_by_role("button", name="Cancel")).to_be_hidden()

        site.engine.delay = 0.05
        save_as.click()
        album.get_by_role("button", name="Kit").click()
        expect(album.locator(".bulk-progress[role=status]")).to_contain_text("of 64 pictures")
        album.get_by_role("button", name="Cancel").click()
        expect(album.locator(".bulk-progress[role=status]")).to_have_text("Stopped")
        expect(album.get_by_role("button", name="Cancel")).to_be_hidden()
        site.engine.delay = 0.0
        drawn = site.engine.steps_done
        save_as.click()
        expect(album.get_by_role("button", name="Kit")).to_be_enabled()
        assert site.engine.steps_done == drawn  # nothing goes on behind it


def test_a_broken_album_is_no_broken_page(site, visit):
    page = visit(site.url, viewport={"width": 1100, "height": 900})
    page.evaluate("localStorage.setItem('open-dalle-album-1', '[{\"recipe\": null}, 7, {\"recipe\": {\"prompt\": 1}}]')")
    page.reload()
    page.get_by_role("tab", name="Album").click()
    expect(page.locator("#album")).to_contain_text("will be here")
    page.evaluate("localStorage.setItem('open-dalle-album-1', 'no json')")
    page.reload()
    draw(page, "a cat", num_images=1)
    expect(mat(page, "done")).to_be_visible()
    page.get_by_role("tab", name="Album").click()
    expect(page.locator("#album .tile.done img")).to_have_count(1)


def test_links_open_paths_and_the_pad(cache_folder, visit):
    with served(FakeEngine()) as site:
        page = visit(f"{site.url}/#from=a+cat&to=a+dog&seed_from=3&seed_to=4&at=0.5&pace=raw")
        path = page.locator("#path .morph")
        expect(path).to_have_attribute("data-state", "done")
        expect(path).to_have_attribute("data-frame", "16")
        expect(page.get_by_label("Seed from")).to_have_value("3")
        expect(page.get_by_label("Even pace")).not_to_be_checked()
        page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
        page.get_by_role("slider", name="Place between the two prompts").press("End")
        page.locator("#path").get_by_role("button", name="Copy link").click()
        page.wait_for_function("window.copied")
        assert page.evaluate("window.copied").endswith("&at=1.000") and "seed_to=4" in page.evaluate("window.copied")

        pad = visit(f"{site.url}/#mix=a+cat&mix=a+lone+house&mix=&mix=a+dog&seeds=1+2+3+4&at=0.25+0.75")
        expect(pad.locator("#pad .pad")).to_have_attribute("data-point", "0.250 0.750")
        expect(pad.get_by_role("textbox", name="Right above")).to_have_value("a lone house")
        expect(pad.locator("#pad .corner img")).to_have_count(3)
        assert list(site.engine.mixed[-1].seeds) == [1, 2, 4]


def test_a_path_is_saved_as_video_from_the_page(site, visit, tmp_path):
    page = visit(site.url)
    path = open_path(page)
    expect(path).to_have_attribute("data-state", "done")
    page.get_by_label("Speed").select_option("0.5")
    page.get_by_role("button", name="Ease").click()
    page.locator('summary[aria-label="Save the path as"]').click()
    saved = save(page, page.get_by_role("button", name="MP4"), tmp_path)
    assert saved.name == "a-cat-to-a-dog.mp4" and b"ftyp" in saved.read_bytes()[:16]
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Play").click()
    expect(path).to_have_attribute("data-frame", "8")
    page.get_by_role("button", name="Pause").click()
