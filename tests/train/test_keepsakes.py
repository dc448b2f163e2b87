"""What training leaves in a checkpoint beside weights: the reference set and the history."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dalle.config import CheckpointError, DalleError, SettingError
from dalle.engine import Engine
from dalle.history import TrainingHistory
from dalle.images import over
from train.gallery import SAMPLE_COLUMNS, SAMPLE_GAP, SNAPSHOT_PROMPTS
from train.history import main as history
from train.history import minutes_at
from train.prior import SAMPLE_PROMPTS
from train.reference import chosen_rows, sprite
from train.reference import main as make_reference


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    return folder


def test_there_is_one_training_drawing_for_each_concept(store):
    rows = chosen_rows(store)
    records = [store.records[row] for row in rows]
    assert len({record.concept for record in records}) == len(records) == len({r.concept for r in store.records})
    assert {record.split for record in records} == {"train"}
    assert len({record.style for record in records}) == 3  # the sets take turns


def test_the_set_holds_the_vectors_of_its_drawings(store, store_folder, checkpoint, capsys):
    assert make_reference(["--model", str(checkpoint), "--data", str(store_folder), "--device", "cpu"]) == 0
    assert f"{len(chosen_rows(store))} drawings" in capsys.readouterr().out
    engine = Engine(str(checkpoint), "cpu")
    engine.load()
    found = engine.reference
    for place, row in enumerate(chosen_rows(store)):
        (vector,) = engine.picture_vectors([sprite(store, row)])
        assert float(vector @ found.vectors[place]) > 0.999
        small = found.pictures.image(place).convert("RGBA")
        assert small.size == (80, 80)
        shrunk = over(sprite(store, row).resize((80, 80)))
        assert abs(np.asarray(over(small)).astype(int) - np.asarray(shrunk).astype(int)).mean() < 8
    # Made again it is the same, although the checkpoint has one.
    before = (checkpoint / "reference" / "pictures.safetensors").read_bytes()
    assert make_reference(["--model", str(checkpoint), "--data", str(store_folder), "--device", "cpu"]) == 0
    assert (checkpoint / "reference" / "pictures.safetensors").read_bytes() == before


def test_a_set_needs_a_ranker(store_folder, checkpoint):
    shutil.rmtree(checkpoint / "ranker")
    with pytest.raises(SettingError, match="no ranker"):
        make_reference(["--model", str(checkpoint), "--data", str(store_folder)])
    with pytest.raises(CheckpointError):
        make_reference(["--model", str(checkpoint.parent), "--data", str(store_folder)])


def run_folder(folder, steps, kind, shade):
    """A run as the stages leave it: samples whose cells are known by their colour."""
    (folder / "samples").mkdir(parents=True)
    (folder / "prior").mkdir()
    (folder / "prior" / "config.json").write_text(json.dumps({"_class_name": kind}))
    log = [{"step": step, "minutes": step / 10} for step in range(0, max(steps) + 50, 50)]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, log)))
    for step in steps:
        side, rows = 256 + SAMPLE_GAP, -(-len(SAMPLE_PROMPTS) // SAMPLE_COLUMNS)
        sheet = Image.new("RGB", (SAMPLE_COLUMNS * side + SAMPLE_GAP, rows * side + SAMPLE_GAP), "white")
        for place in range(len(SAMPLE_PROMPTS)):
            row, column = divmod(place, SAMPLE_COLUMNS)
            corner = (SAMPLE_GAP + column * side, SAMPLE_GAP + row * side)
            sheet.paste(Image.new("RGB", (256, 256), (10 * place, shade, step % 256)), corner)
        sheet.save(folder / "samples" / f"step-{step:07d}.png")
    return folder


def test_a_history_follows_the_runs_one_after_the_other(checkpoint, tmp_path, capsys):
    first = run_folder(tmp_path / "prior", [50, 125], "FlowPrior", 30)
    second = run_folder(tmp_path / "distill", [100], "FlowMapPrior", 90)
    assert history([str(first), "--model", str(checkpoint)]) == 0
    assert history([str(second), "--before", str(checkpoint), "--model", str(checkpoint)]) == 0
    assert "minutes 5 to 22.5" in capsys.readouterr().out
    found = TrainingHistory.load(checkpoint / "history")
    assert [(each.stage, each.steps, each.minutes) for each in found.moments] == [
        ("prior", 50, 5.0), ("prior", 125, 12.5), ("distill", 225, 22.5)
    ]  # fmt: skip
    for prompt, text in enumerate(SNAPSHOT_PROMPTS):
        pixel = found.pictures.image(found.place(2, prompt)).convert("RGB").getpixel((64, 64))
        wanted = (10 * SAMPLE_PROMPTS.index(text), 90, 100)
        assert max(abs(a - b) for a, b in zip(pixel, wanted, strict=True)) <= 6


def test_minutes_lie_between_the_entries_of_the_log(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 100, "minutes": 10}\n{"step": 200, "minutes": 40}')
    assert [minutes_at(log, step) for step in (50, 100, 150, 200, 300)] == [5, 10, 25, 40, 40]
    with pytest.raises(CheckpointError, match="can't be read"):
        minutes_at(tmp_path / "none", 5)


def test_runs_without_samples_are_refused(checkpoint, tmp_path):
    run = run_folder(tmp_path / "prior", [50], "FlowPrior", 30)
    Image.new("RGB", (40, 40)).save(run / "samples" / "step-0000050.png")
    with pytest.raises(DalleError, match="does not show"):
        history([str(run), "--model", str(checkpoint)])
    shutil.rmtree(run / "samples")
    with pytest.raises(SettingError, match="no samples"):
        history([str(run), "--model", str(checkpoint)])
