"""The page with the real engine on a tiny checkpoint: nothing between the browser and the network is replaced."""

from __future__ import annotations

from playwright.sync_api import expect

from dalle.images import read_png_metadata
from tests.ui.conftest import PATIENCE, served


def test_a_prompt_is_drawn_and_the_slider_moves_through_latent_space(tiny_checkpoint, cache_folder, visit, tmp_path):
    from dalle.engine import Engine

    engine = Engine(str(tiny_checkpoint), device="cpu")
    expect.set_options(timeout=PATIENCE)
    with served(engine, frames=9) as site:
        page = visit(site.url)
        expect(page.locator("#status")).to_contain_text("Loading the model")
        engine.load_in_background()
        expect(page.locator("#status")).to_contain_text("Ready")

        prompt = page.get_by_label("What should it draw?")
        prompt.fill("a red apple")
        expect(page.locator("#verdict .verdict")).to_have_attribute("data-state", "judged")
        steps = page.locator("#steps input[type=number]")
        steps.fill("2")
        steps.press("Tab")
        prompt.press("Enter")
        pictures = page.locator("#wall .tile.done")
        expect(pictures).to_have_count(4)
        expect(page.get_by_role("img", name="a red apple").first).to_have_js_property("naturalWidth", 256)
        with page.expect_download() as download:
            pictures.first.get_by_role("link").click()
        download.value.save_as(tmp_path / "picture.png")
        metadata = read_png_metadata(tmp_path / "picture.png")
        assert metadata["prompt"] == "a red apple" and metadata["model"] == str(tiny_checkpoint)
        assert metadata["seed"] == page.get_by_label("Seed", exact=True).input_value()

        page.get_by_role("tab", name="Interpolate").click()
        page.get_by_label("From", exact=True).fill("a cat")
        page.get_by_label("To", exact=True).fill("a dog")
        path = page.locator("#path .morph")
        expect(path).to_have_attribute("data-frames", "9")
        expect(path).to_have_attribute("data-state", "done")

        slider = page.get_by_label("Place between the two prompts")
        box = slider.bounding_box()
        page.mouse.move(box["x"] + 15, box["y"] + box["height"] / 2)
        page.mouse.down()
        shown = []
        for share in (0, 0.5, 1):
            page.mouse.move(box["x"] + 15 + share * (box["width"] - 30), box["y"] + box["height"] / 2)
            shown.append((path.get_attribute("data-frame"), page.locator("#path canvas").evaluate("c => c.toDataURL()")))
        page.mouse.up()
        assert [frame for frame, _ in shown] == ["0", "4", "8"]
        assert len({pixels for _, pixels in shown}) == 3

        page.get_by_role("tab", name="About").click()
        expect(page.locator("#model-card")).to_contain_text("Random weights, for tests.")
