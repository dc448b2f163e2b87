"""The page with pipelines of other families behind it, opened as any model is."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from dalle.engine import Engine
from dalle.images import read_png_metadata
from dalle.requests import request_of
from tests import pipelines
from tests.ui.conftest import PATIENCE, served

expect.set_options(timeout=PATIENCE)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.mark.parametrize("family", ["stable-diffusion", "pixart", "unclip"])
def test_it_is_drawn_with_stopped_saved_kept_and_dragged_through(family, visit, tmp_path):
    engine = Engine(str(pipelines.save(family, tmp_path / family)), device="cpu")
    engine.load()
    with served(engine, frames=5) as site:
        page = visit(site.url)
        expect(page.locator("#status")).to_contain_text("Ready")
        prompt = page.get_by_label("What should it draw?")
        prompt.fill("a red cat")
        steps = page.locator("#steps input[type=number]")
        steps.fill("2")
        steps.press("Tab")
        count = page.locator("#num-images input[type=number]")
        count.fill("2")
        count.press("Tab")
        prompt.press("Enter")
        pictures = page.locator("#wall .tile.done")
        expect(pictures).to_have_count(2)
        size = next(engine.interpolate(request_path())).image.width
        expect(page.get_by_role("img", name="a red cat").first).to_have_js_property("naturalWidth", size)

        with page.expect_download() as download:
            pictures.first.get_by_role("link").click()
        download.value.save_as(tmp_path / "picture.png")
        metadata = read_png_metadata(tmp_path / "picture.png")
        settings = json.loads(metadata["settings"])
        assert metadata["model"] == engine.model and settings["revision"] == engine.revision
        assert settings["num_inference_steps"] == 2 and metadata["seed"] == page.get_by_label("Seed", exact=True).input_value()
        *_, again = engine.generate(request_of(metadata))
        again.image.save(tmp_path / "again.png")
        assert again.image.size == (size, size)

        steps.fill("50")
        steps.press("Tab")
        prompt.press("Enter")
        page.get_by_role("button", name="Stop").first.click()
        expect(page.locator("#wall")).to_contain_text("Stopped")

        page.get_by_role("tab", name="Interpolate").click()
        page.get_by_label("From", exact=True).fill("a cat")
        page.get_by_label("To", exact=True).fill("a dog")
        path = page.locator("#path .morph")
        expect(path).to_have_attribute("data-state", "done")
        expect(path).to_have_attribute("data-frames", "5")
        slider = page.get_by_label("Place between the two prompts")
        seen = set()
        for key in ("Home", "End"):
            slider.press(key)
            seen.add(page.locator("#path canvas").evaluate("c => c.toDataURL()"))
        assert len(seen) == 2

        page.get_by_role("tab", name="Album").click()
        expect(page.locator("#album img")).to_have_count(2)


def request_path():
    from dalle.requests import InterpolateRequest

    return InterpolateRequest("a cat", "a dog", 1, 2, frames=2, num_inference_steps=2)
