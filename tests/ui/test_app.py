"""app.py as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

import app
from tests.ui.conftest import free_port

ROOT = Path(__file__).parents[2]


def test_where_it_listens(monkeypatch):
    for name in ("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    options = app.parse_arguments([])
    assert (options.host, options.port, options.device) == ("127.0.0.1", 7860, "auto") and options.word_filter
    assert not app.parse_arguments(["--no-word-filter"]).word_filter
    monkeypatch.setenv("SPACE_ID", "someone/something")
    assert app.parse_arguments([]).host == "0.0.0.0"
    monkeypatch.setenv("GRADIO_SERVER_NAME", "192.0.2.1")
    assert app.parse_arguments([]).host == "192.0.2.1"
    assert app.parse_arguments(["--host", "127.0.0.1", "--port", "80"]).port == 80


def test_which_model_it_starts_with(monkeypatch):
    monkeypatch.delenv("DALLE_MODEL", raising=False)
    assert app.parse_arguments([]).model == "checkpoints/default"
    monkeypatch.setenv("DALLE_MODEL", "user/repo@v1")
    assert app.parse_arguments([]).model == "user/repo@v1"
    assert app.parse_arguments(["--model", "elsewhere"]).model == "elsewhere"


@pytest.mark.parametrize("value", ["70000", "-1", "0", "abc"])
def test_a_port_that_is_none_is_told(value, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        app.parse_arguments(["--port", value])
    assert "--port" in capsys.readouterr().err
    monkeypatch.setenv("GRADIO_SERVER_PORT", value)
    with pytest.raises(SystemExit):
        app.parse_arguments([])


OFFLINE = """
import socket
def refuse(self, address):
    raise AssertionError(f"a connection to {address}")
socket.socket.connect = socket.socket.connect_ex = refuse
import torch
from dalle import DallePipeline
pipeline = DallePipeline.from_pretrained("checkpoints/default")
text = pipeline.encode_prompt("a red apple")
assert pipeline.judge.score("a red apple", text.pooled[0].numpy()).verdict == "known"
image = pipeline("a red apple", num_inference_steps=1, generator=torch.Generator().manual_seed(0)).images[0]
print(image.mode, image.size[0], len(set(image.getdata())) > 100)
"""


def test_the_committed_checkpoint_draws_without_any_connection():
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    found = subprocess.run([sys.executable, "-c", OFFLINE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.stdout.split() == ["RGBA", "256", "True"], found.stderr


def test_the_committed_checkpoints_are_light_and_hold_nothing_but_data():
    files = [path for path in (ROOT / "checkpoints").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    assert max(path.stat().st_size for path in files) <= 48 * 2**20
    default = [path.stat().st_size for path in files if "default" in path.relative_to(ROOT).parts]
    assert 0 < sum(default) <= 80 * 2**20


def test_importing_it_loads_nothing_and_the_page_needs_no_torch():
    code = (
        "import sys, app; first = set(sys.modules); import ui.layout;"
        "print([name for name in ('torch', 'gradio', 'transformers') if name in first],"
        "[name for name in ('torch', 'diffusers', 'train') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["[]", "[]"]


@pytest.fixture
def started(tmp_path):
    """started(*arguments) -> a running app.py and its address, with no way to the network."""
    running = []

    def start(*arguments: str) -> tuple[subprocess.Popen, str]:
        port = free_port()
        environment = {**os.environ, "TMPDIR": str(tmp_path), "GRADIO_TEMP_DIR": "", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "app.py", "--port", str(port), *arguments]
        running.append(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))
        return running[-1], f"http://127.0.0.1:{port}"

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=30)
        process.stderr.close()


def wait_for(url: str, process: subprocess.Popen) -> httpx.Response:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(process.stderr.read() if process.poll() is not None else "no page after 90 s")


def test_a_missing_checkpoint_and_a_taken_port_are_told(started, tmp_path):
    missing = ("--model", str(tmp_path / "nowhere"), "--device", "cpu")
    first, url = started(*missing)
    assert "Open DALL" in wait_for(url, first).text

    second, _ = started(*missing, "--port", url.rsplit(":", 1)[1])
    _, told = second.communicate(timeout=90)
    assert second.returncode == 1
    assert "--port" in told and "Traceback" not in told

    with pytest.raises(AppError, match="nowhere"):
        Client(url, verbose=False).predict("a cat", api_name="/generate")
