"""Finds the Chromium for the browser tests. `python -m tests.ui.browser` prints its path, or fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def works(path: str) -> bool:
    """Whether this is a browser that starts; Ubuntu's `chromium-browser` may be only a pointer to a snap."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return "Chrom" in answer.stdout


def find_chromium() -> str | None:
    """The path in the environment variable CHROMIUM, else the system's browser, else the one playwright manages."""
    if named := os.environ.get("CHROMIUM"):
        return named
    for path in filter(None, map(shutil.which, NAMES)):
        if works(path):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) and works(path) else None


if __name__ == "__main__":
    found = find_chromium()
    if found is None:
        sys.exit(1)
    print(found)
