"""The folder of a Space run as the Hub would run it: by itself, with model and text encoder from a Hub on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import httpx

from dalle.text import MINILM_PACKAGE, MINILM_REPO, MINILM_REVISION
from tests.hub_server import Hub, environment

SPACES = "from forking_spaces import ForkingSpaces\nprint('on ZeroGPU', flush=True)\nGPU = ForkingSpaces().GPU\n"
HIDE = f"import sys\nsys.modules[{MINILM_PACKAGE!r}] = None\n"
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")
STARTUP_SECONDS = 300


def add_encoder(hub: Hub) -> None:
    """The text encoder under its own name and commit, with the files of the package that brings it."""
    folder = Path(find_spec(MINILM_PACKAGE).origin).parent / "model"
    repo = hub.add_repo(MINILM_REPO, folder=folder)
    repo.history[MINILM_REVISION] = repo.refs["main"] = replace(repo.refs["main"], oid=MINILM_REVISION)


@contextmanager
def running(folder: Path, hub: Hub, home: Path, port: int, python: str = sys.executable, zero: bool = False) -> Iterator[str]:
    """`python app.py` in a Space's folder and an environment with nothing else in it -> its address, once the page is there.

    The package with the text encoder is hidden from it, should this Python have it. With `zero` it finds itself on ZeroGPU, where
    `spaces` is the stand-in of tests/dalle/forking_spaces.py.
    """
    (home / "hide").mkdir(parents=True)
    (home / "hide" / "sitecustomize.py").write_text(HIDE)
    (home / "tmp").mkdir()
    given = {name: os.environ[name] for name in KEPT if name in os.environ} | environment(hub)
    given |= {
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "HF_HOME": str(home / "hub"),
        "HF_HUB_CACHE": str(home / "hub" / "cache"),
        "PYTHONPATH": str(home / "hide"),
        "SPACE_ID": "user/page",
        "GRADIO_SERVER_PORT": str(port),
        "TOKENIZERS_PARALLELISM": "false",
    }
    if zero:
        shutil.copy(Path(__file__).parent / "dalle" / "forking_spaces.py", home / "hide")
        (home / "hide" / "spaces.py").write_text(SPACES)
        given["SPACES_ZERO_GPU"] = "true"
    said = home / "output"
    with open(said, "w") as output:
        process = subprocess.Popen([python, "app.py"], cwd=folder, env=given, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + STARTUP_SECONDS
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"No page: {said.read_text()}")
            try:
                httpx.get(url, timeout=30)
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                break
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)
