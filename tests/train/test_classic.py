"""The textbook baseline: its networks, its losses, its turns, and a run at the tiny preset."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dalle.config import CheckpointError
from train.__main__ import main
from train.checkpoint import load_state
from train.classic import (
    WIDTHS,
    Z_DIM,
    ClassicDiscriminator,
    ClassicGenerator,
    ClassicTask,
    discriminator_loss,
    generator_loss,
    load_classic,
    over_white,
)
from train.data import SceneComposer
from train.loop import RunConfig, make_accelerator

DRAWINGS = 32
"""Drawings of the training split that conftest makes."""


def unit(count: int, seed: int = 0) -> torch.Tensor:
    """Stand-ins for sentence vectors."""
    return torch.nn.functional.normalize(torch.randn(count, 384, generator=torch.Generator().manual_seed(seed)), dim=-1)


def noise(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, Z_DIM, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return ClassicGenerator(channels=WIDTHS["tiny"]).eval(), ClassicDiscriminator(WIDTHS["tiny"][::-1]).eval()


@pytest.fixture
def task(store, tmp_path):
    fake_encoder = SimpleNamespace(encode=lambda texts: SimpleNamespace(pooled=unit(len(texts))))
    config = RunConfig(run=tmp_path, preset="tiny", steps=10, batch_size=4)
    return ClassicTask(store, fake_encoder, config, make_accelerator(), tmp_path / "out")


def train_classic(store_folder: Path, root: Path, steps: int, *more: object) -> int:
    arguments = [
        "classic", "--preset", "tiny", "--data", store_folder, "--run-folder", root / "run", "--out", root / "classic",
        "--steps", steps, "--batch-size", 16, "--log-steps", 1, "--sample-steps", 1000, *more,
    ]  # fmt: skip
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def whole(store_folder, tmp_path_factory):
    """An uninterrupted run of two epochs and a step."""
    root = tmp_path_factory.mktemp("classic")
    assert train_classic(store_folder, root, 5) == 0
    return root


# Networks and losses


def test_the_generator_draws_opaque_pictures_in_range(networks):
    picture = networks[0].draw(unit(3), noise(3))
    assert picture.shape == (3, 4, 256, 256) and picture.dtype == torch.float32
    assert float(picture.abs().max()) <= 1 and torch.equal(picture[:, 3], torch.ones(3, 256, 256))


def test_a_picture_of_a_batch_is_the_picture_alone(networks):
    together = networks[0].draw(unit(3), noise(3))
    torch.testing.assert_close(together[1:2], networks[0].draw(unit(3)[1:2], noise(3)[1:2]), atol=1e-5, rtol=1e-4)


def test_text_and_noise_both_change_the_picture(networks):
    first, other = networks[0].draw(unit(2), noise(1).expand(2, -1))
    by_text = float((first - other).abs().mean())
    first, other = networks[0].draw(unit(1).expand(2, -1), noise(2))
    by_noise = float((first - other).abs().mean())
    assert by_noise > 1e-3 and by_text > 0.5 * by_noise


def test_the_discriminator_sees_picture_and_text(networks):
    x = torch.rand(2, 3, 256, 256) * 2 - 1
    logits = networks[1](x, unit(2))
    chance = networks[1].probability(x, unit(2))
    assert logits.shape == chance.shape == (2,)
    torch.testing.assert_close(chance, 1 / (1 + torch.exp(-logits)))
    assert not torch.allclose(logits, networks[1](x, unit(2, seed=5)))
    assert not torch.allclose(logits, networks[1](-x, unit(2)))


def test_the_dense_layer_is_the_textbooks():
    for preset in ("small", "base"):
        generator = ClassicGenerator(channels=WIDTHS[preset])
        assert generator.start.weight.shape == (8 * 8 * 128, 100 + 384)
        assert sum(2 * tensor.numel() for tensor in generator.state_dict().values()) < 12 * 2**20


def test_losses_equal_the_formula():
    real, fake = [2.0, -0.5], [0.25, -3.0]

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    by_hand = -(sum(math.log(sigmoid(x)) for x in real) / 2 + sum(math.log(1 - sigmoid(x)) for x in fake) / 2)
    assert float(discriminator_loss(torch.tensor(real), torch.tensor(fake))) == pytest.approx(by_hand, rel=1e-5)
    by_hand = -sum(math.log(sigmoid(x)) for x in fake) / 2
    assert float(generator_loss(torch.tensor(fake))) == pytest.approx(by_hand, rel=1e-5)
    undecided = torch.zeros(3)
    assert float(discriminator_loss(undecided, undecided)) == pytest.approx(2 * math.log(2))


# Turns and data


def test_each_turn_changes_one_network(task):
    def copies():
        return {name: {k: v.clone() for k, v in task.modules[name].state_dict().items()} for name in task.optimizers}

    def changed(before, after):
        return {name for name in before if any(not torch.equal(before[name][k], after[name][k]) for k in before[name])}

    device = task.accelerator.device
    real, text = task.batch(0)[0], unit(4).to(device)
    fake = task.modules["generator"].train()(text, noise(4).to(device))
    start = copies()
    task.discriminator_step(real, fake.detach(), text)
    middle = copies()
    assert changed(start, middle) == {"discriminator"}
    assert all(parameter.grad is None for parameter in task.modules["generator"].parameters())
    task.optimizers["discriminator"].zero_grad()
    task.generator_step(fake, text)
    assert changed(middle, copies()) == {"generator"}
    assert all(parameter.grad is None for parameter in task.modules["discriminator"].parameters())
    assert all(parameter.requires_grad for parameter in task.modules["discriminator"].parameters())


def test_the_rate_is_the_textbooks(task):
    for optimizer in task.optimizers.values():
        assert isinstance(optimizer.optimizer, torch.optim.Adam) and optimizer.param_groups[0]["lr"] == 1e-4


def test_it_is_shown_the_scenes_that_the_prior_is_shown(task, store):
    read = []
    task.encoder = SimpleNamespace(encode=lambda texts: read.append(texts) or SimpleNamespace(pooled=unit(len(texts))))
    assert task.epoch_steps == DRAWINGS // 4
    scenes = SceneComposer(store, "train", task.config.seed).batch(3, 4)
    real, text = task.batch(3)
    assert read == [scenes.captions] and torch.equal(text.cpu(), unit(4))
    torch.testing.assert_close(real.cpu(), over_white(scenes.pixels))


def test_scenes_lie_on_white():
    pixels = torch.full((1, 4, 4, 4), -1.0)
    pixels[0, :, 1, 1] = torch.tensor([0.5, -0.5, -1, 1])
    pixels[0, :, 2, 2] = torch.tensor([0, -1, -1, 0])  # half covered with red
    found = over_white(pixels)
    assert found.shape == (1, 3, 4, 4) and found[0, :, 0, 0].tolist() == [1, 1, 1]
    assert found[0, :, 1, 1].tolist() == pytest.approx([0.5, -0.5, -1]) and found[0, :, 2, 2].tolist() == pytest.approx([1, 0, 0])


# The run


def test_every_epoch_is_printed_and_logged(store_folder, tmp_path, capsys):
    assert train_classic(store_folder, tmp_path, 5) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line[:4] for line in printed] == [["epoch", "1:", "D", "loss"], ["epoch", "2:", "D", "loss"]]
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    epochs = [row for row in rows if "epoch" in row]
    steps = {row["step"]: row for row in rows if "samples_per_second" in row}
    assert {row["learning_rate_factor"] for row in steps.values()} == {1}
    assert [(row["epoch"], row["step"]) for row in epochs] == [(1, 2), (2, 4)] and sorted(steps) == [1, 2, 3, 4, 5]
    assert epochs[1]["epoch_d_loss"] == pytest.approx((steps[3]["d_loss"] + steps[4]["d_loss"]) / 2, abs=1e-5)
    assert epochs[1]["epoch_g_loss"] == pytest.approx((steps[3]["g_loss"] + steps[4]["g_loss"]) / 2, abs=1e-5)
    assert float(printed[1][4].rstrip(",")) == pytest.approx(epochs[1]["epoch_d_loss"], abs=1e-4)
    assert float(printed[1][7]) == pytest.approx(epochs[1]["epoch_g_loss"], abs=1e-4)


def test_the_figure_is_ten_by_ten(whole):
    (path,) = (whole / "run" / "samples").iterdir()
    with Image.open(path) as figure:
        assert path.name == "step-0000005.png" and figure.size == (10 * 128 + 11 * 4,) * 2


def test_a_resumed_run_equals_an_uninterrupted_one(whole, store_folder, tmp_path):
    """Stopped within an epoch, so that its losses go over the interruption too."""
    assert train_classic(store_folder, tmp_path, 3) == 0
    assert train_classic(store_folder, tmp_path, 5) == 1
    assert train_classic(store_folder, tmp_path, 5, "--resume") == 0
    a, b = (load_state(root / "run" / "state.safetensors")[0] for root in (whole, tmp_path))
    assert a.keys() == b.keys() and "module/epoch/sums" in a
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-5, rtol=1e-4)
    logs = [[json.loads(x) for x in (root / "run" / "log.jsonl").read_text().splitlines()] for root in (whole, tmp_path)]
    last = [next(row for row in reversed(rows) if "epoch" in row) for rows in logs]
    assert last[0] == pytest.approx(last[1], abs=1e-4)


def test_a_run_shorter_than_an_epoch_is_kept(store_folder, tmp_path):
    assert train_classic(store_folder, tmp_path, 0, "--minutes", 0.0001) == 0
    assert load_classic(tmp_path / "classic").draw(unit(1), noise(1)).shape == (1, 4, 256, 256)


def test_the_last_weights_are_exported_in_half_precision(whole):
    weights = load_file(whole / "classic" / "diffusion_pytorch_model.safetensors")
    state = load_state(whole / "run" / "state.safetensors")[0]
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float16}
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor.float(), state[f"module/generator/{name}"].half().float(), atol=1e-5, rtol=1e-3)
    told = json.loads((whole / "classic" / "trained_with.json").read_text())
    assert told["samples_seen"] == 5 * 16 and told["minutes"] >= 0 and told["data"] == "made"
    generator = load_classic(whole / "classic")
    assert not generator.training and tuple(generator.config.channels) == WIDTHS["tiny"]
    first, other = generator.draw(unit(2), noise(1).expand(2, -1))
    assert float((first - other).abs().mean()) > 1e-4


def test_a_missing_or_damaged_baseline_is_named(whole, tmp_path):
    with pytest.raises(CheckpointError, match="missing"):
        load_classic(tmp_path / "nowhere")
    weights = "diffusion_pytorch_model.safetensors"
    for name, spoil in {
        "truncated": lambda folder: (folder / weights).write_bytes((folder / weights).read_bytes()[:-100]),
        "no config": lambda folder: (folder / "config.json").unlink(),
        "no json": lambda folder: (folder / "config.json").write_text("{"),
        "other widths": lambda folder: (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace("16", "24")
        ),
    }.items():
        shutil.copytree(whole / "classic", tmp_path / name)
        spoil(tmp_path / name)
        with pytest.raises(CheckpointError, match=name):
            load_classic(tmp_path / name)
