"""Parts of a checkpoint that are no networks: packed pictures, the reference set, the history of the training."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dalle.config import CheckpointError, PromptError, SettingError
from dalle.engine import Engine
from dalle.history import Moment, TrainingHistory
from dalle.hub import WEIGHTS, sha256
from dalle.parts import Packed
from dalle.pipeline import DallePipeline
from dalle.reference import Reference, ReferenceSet


def tiles(count: int) -> list[Image.Image]:
    return [Image.new("RGBA", (20 + place, 20), (20 * place, 80, 160, 255)) for place in range(count)]


def reference(count: int = 3, ranker: str = "aa") -> ReferenceSet:
    drawings = [Reference(f"thing {place}", "flat", "a set", "MIT") for place in range(count)]
    vectors = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)
    return ReferenceSet.build(drawings, Packed.of(tiles(count)), vectors / np.linalg.norm(vectors, axis=1, keepdims=True), ranker)


def history() -> TrainingHistory:
    return TrainingHistory(["a cat", "a dog"], [Moment("prior", 5, 5, 1.0), Moment("distill", 3, 8, 2.5)], Packed.of(tiles(4)))


def test_packed_pictures_come_back_each_alone():
    images = tiles(5)
    packed = Packed.of(images, quality=100)
    again = Packed(packed.data, packed.ends)
    assert len(again) == 5
    for place, image in enumerate(images):
        assert again[place][:4] == b"RIFF" and again.uri(place).startswith("data:image/webp;base64,")
        found = again.image(place).convert("RGBA")
        assert found.size == image.size and abs(np.asarray(found).astype(int) - np.asarray(image).astype(int)).max() <= 8
    assert len(Packed.of([])) == 0


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (b"RIFFRIFF", [4, 4]),
        (b"RIFFRIFF", [4, 9]),
        (b"RIFFRIFF", [-4, 8]),
        (b"RIFFRIFF", [4, 7]),
        (b"RIFF<svg", [4, 8]),
    ],
)
def test_packed_pictures_are_checked(data, ends):
    with pytest.raises(ValueError, match="packed"):
        Packed(np.frombuffer(data, np.uint8), np.array(ends, np.int64))


def test_a_reference_set_is_saved_and_loaded(tmp_path):
    made = reference()
    made.save(tmp_path)
    found = ReferenceSet.load(tmp_path)
    assert found.drawings == made.drawings and found.ranker == "aa"
    assert np.array_equal(found.vectors, made.vectors) and found.pictures[2] == made.pictures[2]
    assert abs(np.linalg.norm(found.vectors, axis=1) - 1).max() < 1e-5
    nearest = found.nearest(found.vectors[1], 2)
    assert nearest[0][0] == 1 and nearest[0][1] == pytest.approx(0, abs=1e-5) and len(nearest) == 2
    distances = 1 - found.vectors @ found.vectors[1]
    assert nearest[1][1] == pytest.approx(float(np.sort(distances)[1]))


def test_a_history_is_saved_and_loaded(tmp_path):
    made = history()
    made.save(tmp_path)
    found = TrainingHistory.load(tmp_path)
    assert found.prompts == made.prompts and found.moments == made.moments
    assert found.pictures[found.place(1, 0)] == made.pictures[2]
    with pytest.raises(ValueError, match="2 prompts at 1 moments"):
        TrainingHistory(made.prompts, made.moments[:1], made.pictures)


@pytest.mark.parametrize("kind", [reference, history])
@pytest.mark.parametrize("harm", ["missing", "cut", "other", "no json", "wrong rows", "nothing"])
def test_damaged_parts_are_named(tmp_path, kind, harm):
    part = kind()
    part.save(tmp_path)
    text = next(path for path in tmp_path.iterdir() if path.suffix == ".json")
    tensors = tmp_path / "pictures.safetensors"
    content = json.loads(text.read_text())
    if harm == "missing":
        tensors.unlink()
    elif harm == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-9])
    elif harm == "other":
        content["pictures_sha256"] = "0" * 64
        text.write_text(json.dumps(content))
    elif harm == "no json":
        text.write_text("[1, 2")
    elif harm == "wrong rows":
        rows = next(key for key, value in content.items() if isinstance(value, list) and value and isinstance(value[0], dict))
        content[rows] = content[rows][1:]
        text.write_text(json.dumps(content))
    else:
        text.write_text("[]")
    with pytest.raises(CheckpointError):
        type(part).load(tmp_path)


def test_a_checkpoint_keeps_its_parts_and_refuses_another_rankers(tiny_checkpoint, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    ranker = sha256(folder / "ranker" / WEIGHTS)
    reference(ranker=ranker).save(folder / "reference")
    history().save(folder / "history")
    pipeline = DallePipeline.from_pretrained(folder)
    assert len(pipeline.reference) == 3 and pipeline.history.moments[-1].minutes == 2.5
    pipeline.save_pretrained(tmp_path / "again")
    again = DallePipeline.from_pretrained(tmp_path / "again")
    assert np.array_equal(again.reference.vectors, pipeline.reference.vectors) and again.history.prompts == ["a cat", "a dog"]
    reference(ranker="of another").save(folder / "reference")
    with pytest.raises(CheckpointError, match="train reference"):
        DallePipeline.from_pretrained(folder)


def test_the_reference_set_is_searched_by_name_and_by_looks(tiny_checkpoint, tmp_path):
    engine = Engine(str(tiny_checkpoint), "cpu")
    engine.load()
    assert engine.search_reference("a cat") == []  # it has none
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    pipeline = engine.wait()
    looks = pipeline.ranker.texts(pipeline.encode_prompt("a dog"))[0].detach().numpy()
    drawings = [Reference(label, "flat", "a set", "MIT") for label in ("a red apple", "a cat", "unheard of", "never said")]
    vectors = np.stack([-looks, np.roll(looks, 3), looks, -looks])
    ReferenceSet.build(drawings, Packed.of(tiles(4)), vectors, sha256(folder / "ranker" / WEIGHTS)).save(folder / "reference")
    engine.switch(str(folder))
    by_name = engine.search_reference("a cat")
    assert by_name[0].index == 1 and {match.index for match in by_name} == set(range(4))
    assert all(0 <= match.score <= 1 for match in by_name)
    found = [match.index for match in engine.search_reference("a dog")]
    assert found.index(2) < found.index(3)  # neither has a name that the judge knows: looks decide
    assert engine.search_reference("a cat", limit=2) == by_name[:2]
    with pytest.raises(PromptError):
        engine.search_reference("  ")
    with pytest.raises(SettingError):
        engine.search_reference("a cat", limit=0)


def test_the_default_checkpoint_has_both(request):
    folder = request.config.rootpath / "checkpoints" / "default"
    known, past = ReferenceSet.load(folder / "reference"), TrainingHistory.load(folder / "history")
    known.check_ranker(sha256(folder / "ranker" / WEIGHTS))
    assert len({drawing.label for drawing in known.drawings}) > 3000 and len({drawing.style for drawing in known.drawings}) >= 8
    assert past.moments[0].minutes < 15 and past.moments[-1].stage == "distill"
    assert sum(path.stat().st_size for path in (folder / "reference").iterdir()) <= 6 * 2**20
