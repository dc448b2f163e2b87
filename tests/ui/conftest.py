"""A page that is really served, and a real browser to look at it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ui.browser import FLAGS, find_chromium

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

PATIENCE = 90_000
"""Milliseconds before a browser test gives up: generous, since the machine may be busy. Nothing waits that long."""


def pytest_configure(config: pytest.Config) -> None:
    # Gradio's use of pandas; nothing here can change it.
    config.addinivalue_line("filterwarnings", r"ignore::DeprecationWarning:gradio\..*")


@dataclass
class Served:
    url: str
    engine: Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(engine: Any, **settings: Any) -> Iterator[Served]:
    """The playground around `engine` on a port of its own, for as long as the block runs."""
    from ui.layout import build_demo, serve
    from ui.settings import PageSettings

    demo = build_demo(engine, PageSettings(**settings))
    port = free_port()
    try:
        serve(demo, host="127.0.0.1", port=port, prevent_thread_lock=True, quiet=True)
        yield Served(f"http://127.0.0.1:{port}", engine)
    finally:
        demo.close(verbose=False)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Gradio's cache in a folder of the test run."""
    folder = tmp_path_factory.mktemp("gradio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared_site(cache_folder: Path) -> Iterator[Served]:
    from tests.ui.fake_engine import FakeEngine

    with served(FakeEngine()) as site:
        yield site


@pytest.fixture
def site(shared_site: Served) -> Iterator[Served]:
    """A page with a ready, quick, fake engine. A test may make it pause; that is undone."""
    yield shared_site
    shared_site.engine.pause_at = None


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if path is None:
        pytest.fail("No Chromium here: `make test` installs it, or set CHROMIUM to its path.")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="session")
def desktop(browser: Any) -> Iterator[Any]:
    """A browser profile whose cache keeps gradio's scripts between tests. Each page in it is a visitor of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def visit(browser: Any, desktop: Any) -> Iterator[Any]:
    """visit(url, **context options) -> a page of a new visitor.

    At the end, no visitor's page may have asked another site for anything, nor have met an error in its scripts.
    """
    opened = []
    requests: list[tuple[str, str]] = []
    errors: list[str] = []

    def arrive(url: str, **options: Any) -> Any:
        context = browser.new_context(**options) if options else desktop
        page = context.new_page()
        opened.append(context if options else page)
        page.set_default_timeout(PATIENCE)
        site, _, link = url.partition("#")
        page.on("request", lambda request: requests.append((site.rstrip("/"), request.url)))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        # A link may open another tab than the first.
        page.locator("#prompt textarea").wait_for(state="attached" if link else "visible")
        return page

    yield arrive
    for thing in opened:
        thing.close()
    outside = [asked for url, asked in requests if not asked.startswith((url, "data:", "blob:"))]
    assert requests and not outside
    assert not errors
