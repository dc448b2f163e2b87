"""Fetching, rendering and splitting drawings: nothing is downloaded here."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawings import sources
from PIL import Image

from dalle.config import CheckpointError, StorageError
from train.data import cli, folder, render
from train.data import sources as packages
from train.data.names import plain, squash
from train.data.store import Drawing, SpriteStore

HERE = Path(packages.__file__).parent


def test_versions_are_pinned_and_the_lock_holds_hashes_and_no_addresses():
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    lock = json.loads((HERE / "package-lock.json").read_text())["packages"]
    for package, version in wanted.items():
        entry = lock[f"node_modules/{package}"]
        assert version[0].isdigit() and entry["version"] == version
    assert all(entry["integrity"].startswith("sha512-") for path, entry in lock.items() if path)
    assert not any("resolved" in entry for entry in lock.values())
    assert {drawings.package for drawings in packages.SETS} | {packages.LABELS} == set(wanted)
    assert not any("SA" in drawings.licence for drawings in packages.SETS)


def test_without_npm_it_says_what_is_missing(tmp_path, monkeypatch, capsys):
    from train.__main__ import main

    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["data", "--packages", str(tmp_path / "packages"), "--out", str(tmp_path / "sprites")]) == 1
    said = capsys.readouterr().err
    assert "npm" in said and "twemoji" in said and "Traceback" not in said
    assert not (tmp_path / "sprites").exists()


def test_offline_it_says_what_is_missing(tmp_path, monkeypatch):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network getaddrinfo EAI_AGAIN' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(packages.DataError, match=r"network.*Missing: @iconify-json/twemoji.*EAI_AGAIN"):
        packages.fetch(tmp_path / "packages")
    assert not (tmp_path / "packages" / "fetched.sha256").exists()


def test_what_is_fetched_is_not_fetched_again(tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    npm = tmp_path / "npm"
    made = " ".join(f"node_modules/{d.package}" for d in packages.SETS) + f" node_modules/{packages.LABELS}"
    npm.write_text(
        f'#!/bin/sh\necho x >> {calls}\nfor p in {made}; do mkdir -p $p; echo "{{}}" > $p/package.json; done\n'
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    for _ in range(2):
        assert packages.fetch(tmp_path / "packages").name == "node_modules"
    assert calls.read_text().count("x") == 1
    (tmp_path / "packages" / "node_modules" / packages.LABELS / "package.json").unlink()
    packages.fetch(tmp_path / "packages")
    assert calls.read_text().count("x") == 2


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    out = tmp_path_factory.mktemp("rendered")
    return render.render(sources(), out, "one", workers=1), out


def test_drawings_are_premultiplied_and_stand_free(rendered):
    store, _ = rendered
    assert len(store) == 36 and store.pixels.shape[1:] == (256, 256, 4)
    pixels = store.pixels[:].astype(int)
    assert (pixels[..., :3] <= pixels[..., 3:]).all()
    assert ((pixels[..., 3] > 250).mean((1, 2)) > 0.1).all() and ((pixels[..., 3] == 0).mean((1, 2)) > 0.05).all()


def test_splits_are_the_same_for_every_order(rendered):
    store, _ = rendered
    assert {record.split for record in store.records} == {"train", "val", "test"}
    records = [replace(record, split="") for record in store.records]
    render.split_drawings(records[::-1])
    assert [r.split for r in records] == [r.split for r in store.records]


def test_a_style_of_a_concept_is_held_out_and_never_the_concept():
    styles = ("flat", "soft", "bold", "classic", "blob", "3d", "icon")
    rng = np.random.default_rng(0)
    records = [
        Drawing(
            "made",
            "1",
            "CC0-1.0",
            f"{n}-{style}",
            f"thing {n}",
            style,
            f"thing {n}",
            group="object",
            phash=rng.bytes(24).hex(),
        )
        for n in range(300)
        for style in styles
    ]
    render.split_drawings(records)
    share = Counter(record.split for record in records)
    assert 0.03 < share["test"] / len(records) < 0.05 and 0.004 < share["val"] / len(records) < 0.017
    kept = Counter(record.concept for record in records if record.split == "train")
    assert len(kept) == 300 and min(kept.values()) >= 3


def test_look_alikes_are_never_held_out():
    records = [source.record for source in sources()]
    for place, record in enumerate(records):
        record.concept, record.phash = "thing", f"{place // 2:048x}"
    render.split_drawings(records)
    assert Counter(record.split for record in records) == {"train": 34, "val": 1, "test": 1}  # the least a store needs


def test_a_finished_render_is_left_alone(rendered, monkeypatch):
    store, out = rendered
    monkeypatch.setattr(render, "rasterise", lambda source: pytest.fail("rendered again"))
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    again = render.render(sources(), out, "one", workers=1)
    assert [r.phash for r in again.records] == [r.phash for r in store.records]
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


def _slowly(out: str) -> None:
    quick = render.rasterise

    def slow(source):
        time.sleep(0.02)
        return quick(source)

    render.rasterise = slow
    render.render(sources(), Path(out), "one", workers=1)


def test_killed_while_rendering_it_goes_on(rendered, tmp_path, monkeypatch):
    store, _ = rendered
    process = multiprocessing.get_context("fork").Process(target=_slowly, args=(str(tmp_path),))
    process.start()
    done = tmp_path / "rendered.npy"
    deadline = time.monotonic() + 30
    while not (done.exists() and done.stat().st_size > 36 and np.count_nonzero(np.load(done)) > 5):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with pytest.raises(CheckpointError, match="python -m train data"):
        SpriteStore.open(tmp_path)
    count, quick = [], render.rasterise
    monkeypatch.setattr(render, "rasterise", lambda source: count.append(source) or quick(source))
    again = render.render(sources(), tmp_path, "one", workers=1)
    assert 0 < len(count) < 32
    assert (again.pixels[:] == store.pixels[:]).all()
    assert [r.split for r in again.records] == [r.split for r in store.records]


def test_broken_and_blank_drawings_are_dropped(tmp_path):
    found = sources()
    found[3] = render.Source(found[3].record, '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>')
    found[5] = render.Source(found[5].record, "no drawing at all")
    store = render.render(found, tmp_path, "two", workers=1)
    assert len(store) == 34
    assert not {found[3].record.name, found[5].record.name} & {r.name for r in store.records}


def test_a_damaged_store_is_named(rendered, tmp_path):
    _, out = rendered
    for name in ("meta.json", "index.jsonl", "sprites.npy"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    (tmp_path / "sprites.npy").write_bytes((out / "sprites.npy").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="remove the folder"):
        SpriteStore.open(tmp_path)


def make_pictures(root: Path, count: int) -> None:
    for number in range(count):
        Image.new("RGB", (60, 40), (20 * number, 90, 250 - 20 * number)).save(root / f"{number:02}.png")


def test_a_folder_of_ones_own_pictures(tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    make_pictures(pictures, 12)
    lines = [json.dumps({"file_name": f"{n:02}.png", "text": f"my picture number {n}"}) for n in range(12)]
    (pictures / "metadata.jsonl").write_text("\n".join(lines))
    assert cli.main(["--folder", str(pictures), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert "12 drawings" in capsys.readouterr().out
    store = SpriteStore.open(tmp_path / "out")
    assert {r.label for r in store.records} == {f"my picture number {n}" for n in range(12)}
    assert (store.pixels[0][:30] == 0).all() and (store.pixels[0][128, :, 3] == 255).all()  # 3:2, centred


def test_captions_beside_the_pictures(tmp_path):
    make_pictures(tmp_path, 10)
    for number in range(10):
        (tmp_path / f"{number:02}.txt").write_text(f"a card, number {number}\n")
    assert [s.record.label for s in folder.folder_sources(tmp_path)] == [f"a card, number {n}" for n in range(10)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{no json", "line 1"),
        ('{"file_name": "00.png"}', "file_name and text"),
        ('{"file_name": "00.png", "text": null}', "file_name and text"),
        ('{"file_name": "../secret.png", "text": "out"}', "inside the folder"),
        ('{"file_name": "gone.png", "text": "gone"}', "no such picture"),
    ],
)
def test_a_folder_with_a_mistake_is_told_which(tmp_path, line, says):
    make_pictures(tmp_path, 1)
    (tmp_path / "metadata.jsonl").write_text(line)
    with pytest.raises(packages.DataError, match=says):
        folder.folder_sources(tmp_path)


def test_captions_in_another_encoding_are_told(tmp_path):
    make_pictures(tmp_path, 1)
    (tmp_path / "00.txt").write_bytes("un café".encode("latin-1"))
    with pytest.raises(packages.DataError, match="UTF-8"):
        folder.folder_sources(tmp_path)


def test_a_full_disk_is_told_before_anything_is_written_into_a_map(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.data.store.os.posix_fallocate", full)
    with pytest.raises(StorageError, match="free some space"):
        render.render(sources()[:3], tmp_path / "out", "made", workers=1)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("flag: Peru", "flag of Peru"),
        ("man: beard", "man with beard"),
        ("family: man, woman, girl, boy", "family of a man, a woman, a girl and a boy"),
        ("family: woman, woman, boy, boy", "family of two women and two boys"),
        ("kiss: man, man", "kiss between two men"),
        ("woman running: facing right", "woman running facing right"),
        ("O button (blood type)", "O button"),
        ("woman’s hat", "woman's hat"),
    ],
)
def test_labels_are_plain_english(label, said):
    assert plain(label) == said


def test_names_are_compared_without_accents_and_signs():
    assert squash("São Tomé & Príncipe") == squash("sao-tome-and-principe")
