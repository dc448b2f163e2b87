"""Many visitors at once: `python -m benchmarks.visitors` serves app.py, lets programs and browsers in, and checks what each gets.

Every visitor has a prompt and a seed. Each picture must carry them in its file and be the picture that the engine draws of them
alone. Then comes a crowd that the line has no place for, whose surplus must be told so in a sentence.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.page import open_page, served
from dalle.config import DEFAULT_MODEL
from dalle.requests import DEFAULT_NUM_IMAGES, GenerateRequest, Picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COLOURS = ("red", "green", "blue", "yellow", "purple")
THINGS = ("apple", "cat", "star", "fish", "house", "flower")
CROWD = 60
ADDRESSES = 3
"""The crowd comes from so many loopback addresses (Linux), since one address may not fill the line."""

POLITE = "try again in a minute"
ALIKE = 2
"""Of 255, how far a picture may lie from the one drawn alone."""

Row = tuple[str, float, str, float, int]
"""What, value, unit, limit, runs."""


@dataclass
class Visitor:
    """`first` and `last` are seconds from asking to the first and to the last picture; `wrong` says what isn't as it should be."""

    prompt: str
    seed: int
    files: list[str] = field(default_factory=list)
    first: float = 0.0
    last: float = 0.0
    wrong: list[str] = field(default_factory=list)


def visitors_of(count: int) -> list[Visitor]:
    texts = [f"a {colour} {thing}" for thing, colour in product(THINGS, COLOURS)]
    return [Visitor(texts[index % len(texts)], 1000 * (index + 1)) for index in range(count)]


def ask(visitor: Visitor, client: Any, together: threading.Barrier) -> None:
    """One program: asks when all others are ready to."""
    together.wait()
    began = time.perf_counter()
    try:
        job = client.submit(visitor.prompt, DEFAULT_NUM_IMAGES, visitor.seed, api_name="/generate")
        for files, *_ in job:
            if files and not visitor.first:
                visitor.first = time.perf_counter() - began
        visitor.files = list(job.result()[0])
    except Exception as error:
        visitor.wrong.append(f"{type(error).__name__}: {error}")
    visitor.last = time.perf_counter() - began


def type_in(page: Page, visitor: Visitor) -> None:
    page.get_by_label("What should it draw?").fill(visitor.prompt)
    page.get_by_label("Seed", exact=True).fill(str(visitor.seed))


def watch(pages: Sequence[Page], visitors: Sequence[Visitor], began: float, folder: Path) -> None:
    """Until each page has all of its pictures, and saves them."""
    left = list(zip(pages, visitors, strict=True))
    while left:
        for page, visitor in list(left):
            state = page.locator("#wall .wall").get_attribute("data-state")
            if not visitor.first and page.locator("#wall .tile.done").count():
                visitor.first = time.perf_counter() - began
            if state != "busy":
                visitor.last = time.perf_counter() - began
                left.remove((page, visitor))
        pages[0].wait_for_timeout(20)
    for page, visitor in zip(pages, visitors, strict=True):
        if alarm := page.locator("#wall .wall-alarm").text_content():
            visitor.wrong.append(alarm)
        for tile in page.locator("#wall .tile.done a.save").all():
            with page.expect_download() as download:
                tile.click()
            path = folder / f"{visitor.seed}-{len(visitor.files)}.png"
            download.value.save_as(path)
            visitor.files.append(str(path))


def let_in(url: str, programs: Sequence[Visitor], seen: Sequence[Visitor], browser: Browser | None, folder: Path) -> None:
    """All visitors at the same time, those of `seen` in a browser each with its own profile."""
    from gradio_client import Client

    clients = [Client(url, verbose=False, download_files=folder) for _ in programs]
    pages = [open_page(browser, url, 1280, 900) for _ in seen]
    for page, visitor in zip(pages, seen, strict=True):
        type_in(page, visitor)
    together = threading.Barrier(len(programs) + 1)
    with ThreadPoolExecutor(len(programs)) as pool:
        asked = [pool.submit(ask, *who, together) for who in zip(programs, clients, strict=True)]
        together.wait()
        began = time.perf_counter()
        for page in pages:
            page.get_by_role("button", name="Draw", exact=True).click()
            page.wait_for_function("() => document.querySelector('#wall .wall').dataset.state !== 'idle'")
        if pages:
            watch(pages, seen, began, folder)
        for job in asked:
            job.result()
    for page in pages:
        page.close()
    for client in clients:
        client.close()


def check(model: str, visitors: Sequence[Visitor]) -> None:
    """Compares every visitor's files with what the engine draws for that visitor alone."""
    import numpy as np
    from PIL import Image

    from dalle.engine import Engine
    from dalle.images import read_png_metadata

    engine = Engine(model, "cpu")
    engine.load()
    for visitor in visitors:
        wish = GenerateRequest(visitor.prompt, DEFAULT_NUM_IMAGES, visitor.seed)
        alone = [item for item in engine.generate(wish) if isinstance(item, Picture)]
        if len(visitor.files) != len(alone):
            visitor.wrong.append(f"{len(visitor.files)} pictures of {len(alone)}")
        for file, picture in zip(visitor.files, alone, strict=False):
            told = read_png_metadata(file)
            if (told["prompt"], told["seed"]) != (visitor.prompt, str(picture.seed)):
                visitor.wrong.append(f"{told['prompt']!r}, seed {told['seed']}")
            with Image.open(file) as drawn:
                ours, theirs = (np.asarray(image.convert("RGBa")).astype(int) for image in (picture.image, drawn))
            if (away := abs(ours - theirs).max()) > ALIKE:
                visitor.wrong.append(f"seed {picture.seed} lies {away} of 255 away from the picture drawn alone")


def crowd(url: str, count: int = CROWD) -> tuple[int, int, list[str]]:
    """More requests than the line has places for: how many were drawn, how many politely refused, and all other answers."""
    import httpx

    together = threading.Barrier(count)

    def one(number: int) -> str:
        transport = httpx.HTTPTransport(local_address=f"127.0.0.{1 + number % ADDRESSES}")
        with httpx.Client(transport=transport, timeout=600) as web:
            together.wait()
            sent = {"prompt": f"a {COLOURS[number % len(COLOURS)]} star", "seed": number}
            asked = web.post(f"{url}gradio_api/call/v2/generate", json=sent)
            if asked.status_code != 200:
                return asked.text
            return web.get(f"{url}gradio_api/call/generate/{asked.json()['event_id']}").text

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(one, range(count)))
    drawn = [answer for answer in answers if "event: complete" in answer]
    refused = [answer for answer in answers if "event: error" in answer and POLITE in answer and "Traceback" not in answer]
    other = [answer for answer in answers if answer not in drawn and answer not in refused]
    return len(drawn), len(refused), other if refused else [*other, "nobody was told to come again"]


def visitors(model: str, port: int, programs: int = 20, browsers: int = 3) -> list[Row]:
    """The rows of the table; what is wrong is printed as well."""
    everybody = visitors_of(programs + browsers)
    with tempfile.TemporaryDirectory() as folder, served(model, port) as (_, url):
        with ExitStack() as stack:
            browser = None
            if browsers:
                from playwright.sync_api import sync_playwright

                from tests.ui.browser import FLAGS, find_chromium

                playwright = stack.enter_context(sync_playwright())
                browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
                stack.callback(browser.close)
            ready(url)
            let_in(url, everybody[:programs], everybody[programs:], browser, Path(folder))
        drawn, refused, other = crowd(url)
        check(model, everybody)
    wrong = [f"{visitor.prompt}, seed {visitor.seed}: {what}" for visitor in everybody for what in visitor.wrong]
    for what in (*wrong, *(f"the crowd: {answer}" for answer in other)):
        print(what, file=sys.stderr)
    who = f"{len(everybody)} visitors at once ({programs} programs, {browsers} browsers), {DEFAULT_NUM_IMAGES} pictures each"
    count, unlimited = len(everybody), float("inf")
    return [
        (f"{who}: errors and pictures not their own", len(wrong), "", 0, count),
        ("until a visitor's last picture, median", statistics.median(one.last for one in everybody), "s", unlimited, count),
        ("until a visitor's first picture, the longest", max(one.first for one in everybody), "s", unlimited, count),
        ("until the last picture of all", max(one.last for one in everybody), "s", unlimited, count),
        (f"{CROWD} more at once, {drawn} drawn, {refused} told to come again: other answers", len(other), "", 0, CROWD),
    ]


def ready(url: str) -> None:
    """Waits for the model."""
    from gradio_client import Client

    client = Client(url, verbose=False)
    client.predict("a red apple", 1, api_name="/generate")
    client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.visitors", description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--port", type=int, default=7997)
    parser.add_argument("--programs", type=int, default=20)
    parser.add_argument("--browsers", type=int, default=3, help="0: without Chromium")
    options = parser.parse_args()
    rows = visitors(options.model, options.port, options.programs, options.browsers)
    for name, value, unit, *_ in rows:
        print(f"{name}: {value:.1f} {unit}" if unit else f"{name}: {value:g}")
    sys.exit(any(value > limit for _, value, _, limit, _ in rows))
