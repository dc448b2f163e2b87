"""The page as a Space would run it: `python -m benchmarks.space` builds a fresh environment of the Space's own requirements.

The folder of `python -m dalle space --out` is written and started there by itself, with an empty cache and the model on a Hub on
loopback, and draws a picture. The text encoder comes over the same Hub, from the package that brings it here. Takes minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dalle import space
from dalle.config import DEFAULT_MODEL

MODEL = "user/model"
TOLD = ("torch", "gradio", "diffusers", "transformers", "huggingface-hub")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.space", description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="checkpoint folder (default: %(default)s)")
    parser.add_argument("--hardware", default=space.FREE, help="for its requirements (default: %(default)s)")
    parser.add_argument("--torch", metavar="REQUIREMENT", help="installed first, where this machine has it from another place")
    parser.add_argument("--pip-args", default="", help="more arguments for pip")
    options = parser.parse_args()

    from gradio_client import Client

    from tests.bare import add_encoder, running
    from tests.hub_server import hub_for_client
    from tests.ui.conftest import free_port

    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        folder, python = work / "space", work / "venv" / "bin" / "python"
        space.write(folder, space.contents(space.Plan(MODEL, hardware=options.hardware).checked()))
        print(f"{sum(1 for path in folder.rglob('*') if path.is_file())} files, Python {sys.version.split()[0]}", flush=True)
        with timed("environment made"):
            venv.create(work / "venv", with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options.pip_args.split()]
        if options.torch:
            with timed(f"{options.torch} installed"):
                subprocess.run([*pip, options.torch], check=True)
        with timed("requirements.txt installed"):
            subprocess.run([*pip, "-r", str(folder / space.REQUIREMENTS)], check=True)
        listed = subprocess.run([*pip[:3], "list", "--format=json"], check=True, capture_output=True, text=True).stdout
        versions = {each["name"].lower().replace("_", "-"): each["version"] for each in json.loads(listed)}
        print(", ".join(f"{name} {versions[name]}" for name in TOLD), flush=True)
        with hub_for_client(work / "hub") as hub:
            hub.add_repo(MODEL, folder=Path(options.model))
            add_encoder(hub)
            began = time.perf_counter()
            with running(folder, hub, work / "home", free_port(), str(python)) as url:
                print(f"page after {time.perf_counter() - began:.1f} s", flush=True)
                client = Client(url, verbose=False, download_files=work)
                for what in ("first picture (model and encoder fetched and loaded)", "second picture"):
                    with timed(what):
                        files, _, records = client.predict("a red apple", 1, 7, api_name="/generate")
            print(
                f"{Path(files[0]).stat().st_size} bytes of {records[0]['prompt']!r}, drawn with {records[0]['settings']['model']}"
            )
            print(f"{sum(one.sent for one in hub.log) / 1e6:.0f} MB fetched from the Hub in {len(hub.log)} requests")


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
