"""Files for the visitor: what is in them, where they lie, how long."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image

from dalle.config import StorageError
from dalle.images import read_png_metadata, slug
from dalle.requests import Picture
from tests.ui.fake_engine import disc
from ui.outbox import Outbox, claim_cache, sweep


@pytest.fixture
def picture() -> Picture:
    settings = {"num_inference_steps": 4, "model": "tests/fake"}
    return Picture(disc((200, 30, 40)), 0, "A red apple, 中文!", 7, 0.1, None, settings)


def test_a_picture_keeps_its_transparency_and_its_recipe(picture, cache_folder):
    block = gr.HTML()
    file = Outbox(block).picture(picture)
    path = Path(file["path"])
    assert cache_folder in path.parents
    assert path.name == "a-red-apple-7.png"
    with Image.open(path) as image:
        assert image.mode == "RGBA"
        assert image.getpixel((0, 0))[3] == 0 and image.getpixel((128, 128)) == (200, 30, 40, 255)
    metadata = read_png_metadata(path)
    assert metadata["prompt"] == picture.prompt
    assert (metadata["seed"], metadata["model"]) == ("7", "tests/fake")
    assert json.loads(metadata["settings"])["num_inference_steps"] == 4
    # Gradio deletes by age what a component lists as its temporary files.
    assert str(path) in block.temp_files


def test_the_same_picture_twice_lies_in_two_places(picture):
    outbox = Outbox(gr.HTML())
    assert outbox.picture(picture)["path"] != outbox.picture(picture)["path"]


def test_a_full_disk_is_told_without_the_server_s_paths(picture, cache_folder, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(cache_folder.rglob("*"))
    monkeypatch.setattr("dalle.images.os.replace", full)
    for write in (
        lambda: Outbox(gr.HTML()).picture(picture),
        lambda: Outbox(gr.HTML()).animation([picture.image] * 2, "path", fps=8, pingpong=False, metadata={}),
    ):
        with pytest.raises(StorageError, match="disk may be full") as caught:
            write()
        assert str(cache_folder) not in str(caught.value)
    assert sorted(cache_folder.rglob("*")) == before


def test_slugs_are_plain_and_short():
    assert slug("  A red/../apple\n") == "a-red-apple"
    assert slug("🍎") == "picture"
    assert len(slug("a" * 500)) <= 48


def test_sweeping_takes_the_old_only(tmp_path):
    for name, age in (("old", 7200), ("new", 10)):
        folder = tmp_path / name
        folder.mkdir()
        file = folder / "picture.png"
        file.touch()
        for path in (file, folder):
            os.utime(path, (time.time() - age,) * 2)
    sweep(tmp_path, 3600)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "picture.png"]


def test_the_cache_is_this_user_s_own(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    first = claim_cache(3600)
    assert first.parent == tmp_path and first.stat().st_mode & 0o077 == 0
    assert os.environ["GRADIO_TEMP_DIR"] == str(first)
    assert claim_cache(3600) == first

    # The name taken by a link that somebody else has put there: another folder is made.
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    first.rmdir()
    first.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert claim_cache(3600) != first
