"""Every tab, light and dark, on a desktop and on a phone, looked at by axe-core: nothing serious may be found."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.ui.conftest import served
from tests.ui.fake_engine import FakeEngine
from tests.ui.test_page import draw, mat, open_path

SERIOUS = ("serious", "critical")


def found(page: Page) -> list[str]:
    """The serious findings, each with its rule and where it is."""
    result = Axe().run(page, options={"resultTypes": ["violations"]})
    return [
        f"{rule['id']}: {node['target']} {node.get('failureSummary', '')[:160]}"
        for rule in result.response["violations"]
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [{"viewport": {"width": 1280, "height": 900}}, {"viewport": {"width": 360, "height": 740}}])
def test_axe_finds_nothing_serious(site, visit, scheme: str, device: dict[str, Any]):
    page = visit(site.url, color_scheme=scheme, reduced_motion="reduce", **device)
    draw(page, "a red apple", num_images=2)
    expect(mat(page, "done")).to_be_visible()
    expect(page.locator("#verdict .verdict")).to_have_attribute("data-state", "judged")
    complaints = {"Generate": found(page)}
    page.locator('summary[aria-label="Save and share: picture 1"]').click()
    complaints["menu"] = found(page)
    page.keyboard.press("Escape")
    page.locator("#uses").get_by_role("button", name="Storybook").click()
    expect(page.locator("#uses .use-drawn")).to_contain_text("on a green meadow")
    expect(page.locator("#wall .for-use")).to_be_visible()
    complaints["a use"] = found(page)
    expect(open_path(page)).to_have_attribute("data-state", "done")
    complaints["Interpolate"] = found(page)
    page.get_by_role("button", name="Add a stage").click()
    page.get_by_label("Prompt of stage 3").fill("a star")
    page.get_by_label("Loop", exact=True).check()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#path .morph")).to_have_attribute("data-texts", "96")
    complaints["Stages, compared"] = found(page)
    page.get_by_role("button", name="A picture for stage 3").click()
    expect(page.get_by_role("dialog").locator("img").nth(1)).to_be_visible()
    complaints["A picture for a stage"] = found(page)
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("tab", name="Mix").click()
    expect(page.locator("#pad .corner img")).to_have_count(4)
    complaints["Mix"] = found(page)
    page.get_by_role("tab", name="Search").click()
    page.get_by_label("What are you looking for?").fill("a cat")
    expect(page.locator("#search .found .tile.done img").nth(1)).to_be_visible()
    complaints["Search"] = found(page)
    page.get_by_role("tab", name="Learn").click()
    expect(page.locator("#learn .learn[data-shown]")).to_be_visible()
    expect(page.get_by_label("Moment of the training")).to_be_visible()
    complaints["Learn"] = found(page)
    page.get_by_role("tab", name="Album").click()
    expect(page.locator("#album .tile.done img").nth(1)).to_be_visible()
    complaints["Album"] = found(page)
    page.locator("#album summary", has_text="Save as").click()
    complaints["saving many"] = found(page)
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#model-card")).to_contain_text("Drawn by a test.")
    complaints["About"] = found(page)
    assert {tab: told for tab, told in complaints.items() if told} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_line_and_beyond_it(cache_folder, visit, scheme: str):
    engine = FakeEngine()
    engine.pause_at = 0
    with served(engine, at_once=1, max_queue=1) as crowded:
        first, second, third = (visit(crowded.url, color_scheme=scheme, reduced_motion="reduce") for _ in range(3))
        draw(first, "a cat", num_images=1)
        expect(mat(first, "busy")).to_contain_text("Starting")
        draw(second, "a dog", num_images=1)
        expect(mat(second, "busy")).to_contain_text("you are next")
        draw(third, "a star", num_images=1)
        expect(third.locator("#wall").get_by_role("alert")).to_contain_text("the line is full")
        assert found(second) == [] and found(third) == []
        engine.pause_at = None


def test_axe_would_find_something(site, visit):
    page = visit(site.url)
    nameless = '<img src="data:,"><button></button>'
    page.evaluate("html => document.querySelector('.gradio-container').insertAdjacentHTML('beforeend', html)", nameless)
    rules = {complaint.split(":")[0] for complaint in found(page)}
    assert {"image-alt", "button-name"} <= rules
