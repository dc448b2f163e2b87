"""The page in headless Chromium: how soon it answers the slider, and what it looks like.

`python -m benchmarks` measures; `python -m benchmarks.page` writes the screenshots of the docs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent

MEASURE = """
async (position) => {
  const path = document.querySelector('[data-frames]');
  const slider = path.querySelector('input[type=range]') || document.querySelector('#path input[type=range]');
  const before = path.getAttribute('data-frame');
  const began = performance.now();
  const shown = new Promise((done) => {
    const watch = new MutationObserver(() => {
      if (path.getAttribute('data-frame') !== before) {
        watch.disconnect();
        requestAnimationFrame(() => done(performance.now() - began));
      }
    });
    watch.observe(path, { attributes: true });
  });
  slider.value = String(Number(slider.min || 0) + position * (Number(slider.max || 1) - Number(slider.min || 0)));
  slider.dispatchEvent(new Event('input', { bubbles: true }));
  return await shown;
}
"""

MEASURE_PAD = """
(key) => new Promise((resolve) => {
  const pad = document.querySelector('#pad .pad');
  const before = pad.dataset.point;
  const began = performance.now();
  const watch = new MutationObserver(() => {
    if (pad.dataset.point === before) return;
    watch.disconnect();
    const shown = () => requestAnimationFrame(() => resolve(performance.now() - began));
    pad.querySelector('.handle img').decode().then(shown, shown);
  });
  watch.observe(pad, { attributes: true });
  pad.querySelector('.handle').dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
})
"""
"""Milliseconds from a key on the mix pad to the frame that shows the picture of the new point."""


MEASURE_FIRST = """
() => new Promise((resolve) => {
  const wall = document.querySelector('#wall');
  const before = new Set([...wall.querySelectorAll('.tile.done img')].map((image) => image.src));
  const field = document.querySelector('#prompt textarea');
  const began = performance.now();
  const watch = new MutationObserver(() => {
    const image = [...wall.querySelectorAll('.tile.done img')].find(({ src }) => !before.has(src));
    if (!image) return;
    watch.disconnect();
    const shown = () => requestAnimationFrame(() => resolve(performance.now() - began));
    image.decode().then(shown, shown);
  });
  watch.observe(wall, { childList: true, subtree: true, attributes: true, attributeFilter: ['src'] });
  field.dispatchEvent(new KeyboardEvent('keypress', { key: 'Enter', code: 'Enter', bubbles: true, cancelable: true }));
})
"""
"""Milliseconds from Enter in the prompt's box to the frame that shows the first finished picture."""

WEIGHT = """
() => {
  const files = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
  const paint = performance.getEntriesByName('first-contentful-paint')[0].startTime;
  return [paint, files.reduce((sum, file) => sum + file.transferSize, 0), files.length];
}
"""
"""Milliseconds to the first paint of anything, bytes that were transferred, and files."""


@contextmanager
def served(model: str, port: int) -> Iterator[tuple[subprocess.Popen, str]]:
    """app.py with `model`, and its address, from the moment that its page answers."""
    address = f"http://127.0.0.1:{port}/"
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        raise SystemExit(f"Something else listens on port {port}: choose another with --port.")
    began = time.perf_counter()
    command = [sys.executable, "app.py", "--model", model, "--port", str(port), "--device", "cpu"]
    app = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(address, timeout=1).read()
                break
            except (urllib.error.URLError, OSError):
                if app.poll() is not None or time.perf_counter() - began > 60:
                    raise SystemExit(f"app.py did not start with {model}.") from None
                time.sleep(0.05)
        yield app, address
    finally:
        app.terminate()
        app.wait(10)


@contextmanager
def playground(model: str, port: int) -> Iterator[tuple[Browser, str]]:
    """A browser, and the address of the app that serves `model`; both are gone afterwards."""
    from playwright.sync_api import sync_playwright

    from tests.ui.browser import FLAGS, find_chromium

    with served(model, port) as (_, address), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield browser, address
        browser.close()


def open_page(browser: Browser, address: str, width: int, height: int, scheme: str = "light") -> Page:
    """The page, once its model is ready."""
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address)
    expect(page.locator("#status")).to_contain_text("Ready", timeout=120_000)
    return page


def prepare_path(page: Page, a: str, b: str, enter: bool = False) -> float:
    """Types two prompts, and presses Enter or nothing; seconds from the last key until the first five frames are in the page."""
    page.get_by_role("tab", name="Interpolate").click()
    page.get_by_label("From", exact=True).fill(a)
    page.get_by_label("To", exact=True).fill(b)
    began = time.perf_counter()
    if enter:
        page.get_by_label("To", exact=True).press("Enter")
    page.wait_for_function(
        "(prompt) => document.querySelector('.morph-ends')?.lastChild.textContent === prompt && "
        "Number(document.querySelector('[data-frames]')?.getAttribute('data-frames')) >= 5",
        arg=b,
    )
    return time.perf_counter() - began


def first_looks(browser: Browser, address: str, visits: int = 5) -> list[tuple[str, float, str, float, int]]:
    """The page seen for the first time, with nothing kept by the browser: first paint and weight, medians."""
    seen = []
    for _ in range(visits):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(address)
        page.locator("#prompt textarea").wait_for()
        page.wait_for_timeout(2000)  # the page never falls silent: it keeps a line open to the server
        seen.append(page.evaluate(WEIGHT))
        context.close()
    paint, weight, files = (statistics.median(values) for values in zip(*seen, strict=True))
    return [
        ("first paint of the page, nothing cached", paint, "ms", 1500, visits),
        ("the same, weight as transferred", weight / 1000, "KB", float("inf"), visits),
        ("the same, files", files, "files", float("inf"), visits),
    ]


def first_pictures(page: Page, count: int = 9) -> list[float]:
    """Milliseconds from Enter to the first of one picture, of prompt after prompt."""
    page.locator("#num-images input[type=number]").fill("1")
    page.locator("#num-images input[type=number]").press("Tab")
    times = []
    for number in range(count):
        page.get_by_label("What should it draw?").fill(f"{('a red apple', 'a cat', 'two bananas')[number % 3]}")
        page.wait_for_timeout(1200)  # the judge has had its say, as when somebody types
        times.append(page.evaluate(MEASURE_FIRST))
        page.locator('#wall .wall[data-state="done"]').wait_for()
        page.wait_for_timeout(200)
    return times


def slider_response(model: str, port: int, moves: int = 40) -> list[tuple[str, float, str, float, int]]:
    """(what, value, unit, limit, runs): first paint, first picture, slider and pad with their 95th percentiles, first frames."""
    from playwright.sync_api import expect

    with playground(model, port) as (browser, address):
        page = open_page(browser, address, 1280, 900)
        looks = first_looks(browser, address)
        drawn = first_pictures(page)
        pairs = [("a cat", "a dog"), ("a red apple", "a pumpkin"), ("a rocket", "a tree")]
        first_five = [1000 * prepare_path(page, *pair) for pair in pairs]
        pairs = [("a fish", "a bird"), ("a house", "a car"), ("a star", "a heart")]
        entered = [1000 * prepare_path(page, *pair, enter=True) for pair in pairs]
        path = page.locator("[data-frames]").first
        expect(path).to_have_attribute("data-frames", "33", timeout=120_000)
        expect(path).to_have_attribute("data-state", "done")

        def moved() -> list[float]:
            found = []
            for move in range(moves):
                found.append(page.evaluate(MEASURE, ((move * 13) % 31 + 0.5) / 32))
                page.wait_for_timeout(30)
            return sorted(found)

        times = moved()
        page.get_by_role("button", name="Compare").click()
        expect(path).to_have_attribute("data-texts", "33", timeout=120_000)
        compared = moved()
        page.get_by_role("tab", name="Mix").click()
        expect(page.locator("#pad .corner img")).to_have_count(4)
        dragged = []
        for move in range(moves):
            dragged.append(page.evaluate(MEASURE_PAD, "ArrowRight" if move % 10 < 5 else "ArrowLeft"))
            page.wait_for_timeout(30)
    dragged.sort()
    return [
        *looks,
        ("first picture in the page, from Enter", statistics.median(drawn), "ms", 600, len(drawn)),
        ("slider to new frame in the page", statistics.median(times), "ms", 16, moves),
        ("the same, 95th percentile", times[int(0.95 * len(times))], "ms", 16, moves),
        ("the same with three ways compared, 95th percentile", compared[int(0.95 * len(compared))], "ms", 16, moves),
        ("mix pad, from a key to its picture", statistics.median(dragged), "ms", float("inf"), moves),
        ("the same, 95th percentile", dragged[int(0.95 * len(dragged))], "ms", 120, moves),
        ("first five frames in the page, from the last key", statistics.median(first_five), "ms", 3000, len(first_five)),
        ("first five frames in the page, from Enter", statistics.median(entered), "ms", 600, len(entered)),
    ]


def screenshots(model: str, port: int, folder: Path) -> None:
    """Each tab on a desktop in light and dark, and on a phone, as WebP."""
    from PIL import Image
    from playwright.sync_api import expect

    def keep(page: Page, name: str) -> None:
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        picture.convert("RGB").save(folder / f"{name}.webp", quality=85)
        print(folder / f"{name}.webp")

    folder.mkdir(parents=True, exist_ok=True)
    with playground(model, port) as (browser, address):
        for name, width, height, scheme in (
            ("playground", 1280, 900, "light"),
            ("playground-dark", 1280, 900, "dark"),
            ("playground-phone", 360, 740, "light"),
        ):
            page = open_page(browser, address, width, height, scheme)
            page.get_by_label("What should it draw?").fill("a red apple")
            page.get_by_label("Seed", exact=True).fill("3")
            page.get_by_role("button", name="Draw", exact=True).click()
            expect(page.locator("#wall .wall-status")).to_contain_text("4 pictures in", timeout=120_000)
            page.wait_for_timeout(700)
            keep(page, name)
            prepare_path(page, "a cat", "a dog")
            expect(page.locator("[data-frames]").first).to_have_attribute("data-frames", "33", timeout=120_000)
            page.wait_for_timeout(500)
            keep(page, f"{name}-interpolate")
            page.get_by_role("tab", name="Mix").click()
            expect(page.locator("#pad .corner img")).to_have_count(4)
            page.wait_for_timeout(500)
            keep(page, f"{name}-mix")
            page.get_by_role("tab", name="Search").click()
            page.get_by_label("What are you looking for?").fill("winter weather")
            page.get_by_label("What are you looking for?").press("Enter")
            expect(page.locator("#search .found .tile.done img")).to_have_count(4, timeout=120_000)
            keep(page, f"{name}-search")
            page.get_by_role("tab", name="Learn").click()
            expect(page.locator("#learn .learn[data-shown][data-moment]")).to_be_visible(timeout=120_000)
            page.wait_for_timeout(500)
            keep(page, f"{name}-learn")
            page.get_by_role("tab", name="Album").click()
            expect(page.locator("#album .tile.done img")).to_have_count(4, timeout=120_000)
            page.wait_for_timeout(500)
            keep(page, f"{name}-album")
            page.get_by_role("tab", name="About").click()
            expect(page.locator("#model-card")).to_contain_text("Trained on", timeout=120_000)
            keep(page, f"{name}-about")
            page.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Screenshots of the playground.")
    parser.add_argument("--model", default="checkpoints/default")
    parser.add_argument("--port", type=int, default=7998)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    screenshots(options.model, options.port, options.out)
