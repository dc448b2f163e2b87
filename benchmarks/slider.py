"""How soon the page answers the slider, in headless Chromium: from moving it to the new frame being shown."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

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


def slider_response(model: str, port: int, moves: int = 40) -> list[tuple[str, float, float]]:
    """(what, milliseconds, limit) rows: median and 95th percentile of the answer, and the first five frames in the page."""
    from playwright.sync_api import expect, sync_playwright

    from tests.ui.browser import find_chromium

    command = [sys.executable, "app.py", "--model", model, "--port", str(port), "--device", "cpu"]
    app = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            for _ in range(200):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).read()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.1)
            page.goto(f"http://127.0.0.1:{port}/")
            expect(page.locator("#status")).to_contain_text("Ready", timeout=60_000)
            page.get_by_role("tab", name="Interpolate").click()
            page.get_by_label("From", exact=True).fill("a cat")
            page.get_by_label("To", exact=True).fill("a dog")
            path = page.locator("[data-frames]").first
            began = time.perf_counter()
            page.get_by_role("button", name="Prepare the path").click()
            page.wait_for_function("Number(document.querySelector('[data-frames]')?.getAttribute('data-frames')) >= 5")
            first_five = 1000 * (time.perf_counter() - began)
            expect(path).to_have_attribute("data-frames", "33", timeout=120_000)
            times = []
            for move in range(moves):
                times.append(page.evaluate(MEASURE, ((move * 13) % 31 + 0.5) / 32))
                page.wait_for_timeout(30)
            browser.close()
    finally:
        app.terminate()
        app.wait(10)
    times.sort()
    return [
        ("slider to new frame in the page", statistics.median(times), 16),
        ("the same, 95th percentile", times[int(0.95 * len(times))], float("inf")),
        ("first five frames in the page", first_five, 3000),
    ]
