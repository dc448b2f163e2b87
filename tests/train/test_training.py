"""Every stage trains, resumes and draws, at the tiny preset on drawings made here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from dalle.config import CheckpointError, SettingError, StorageError
from train.__main__ import main
from train.adversary import Adversary, PatchDiscriminator
from train.autoencoder import Objective, Turn
from train.checkpoint import load_state, optimizer_tensors, restore_optimizer, save_state
from train.latents import LatentBatch, LatentCache, stack_features
from train.loop import RunConfig, agree, schedule, step_generator
from train.losses import charbonnier, edges, over, psnr, sobel
from train.prior import flow_loss, split_parameters, text_share

TINY = ["--preset", "tiny", "--warmup-steps", "1", "--log-steps", "1"]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def train_autoencoder(store_folder, folder, steps, *more):
    return run(
        "autoencoder", *TINY, "--data", store_folder, "--run-folder", folder, "--steps", steps, "--batch-size", 2,
        "--sample-steps", 1000, *more,
    )  # fmt: skip


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def stages(store_folder, tmp_path_factory):
    """Both stages trained for some steps, and what they give put together."""
    root = tmp_path_factory.mktemp("stages")
    assert train_autoencoder(store_folder, root / "vae", 6) == 0
    prior = ["prior", *TINY, "--data", store_folder, "--vae", root / "vae" / "vae", "--steps", 4, "--batch-size", 4]
    assert run(*prior, "--run-folder", root / "flow", "--cache", 16, "--sample-steps", 4) == 0
    assert run(*prior, "--run-folder", root / "gaussian", "--cache", 0, "--kind", "gaussian", "--sample-steps", 1000) == 0
    for kind in ("flow", "gaussian"):
        parts = ["--vae", root / "vae" / "vae", "--prior", root / kind / "prior", "--data", store_folder]
        assert run("assemble", *parts, "--out", root / f"checkpoint-{kind}") == 0
    return root


def test_the_adversary_comes_in_for_the_last_part(stages):
    rows = [row for row in log_of(stages / "vae") if "loss" in row]
    names = [{"g_game", "d_game", "d_penalty"} <= row.keys() for row in rows]
    assert names == [False, False, False, False, True, True]
    assert all({"reconstruction", "kl", "edge", "samples_per_second"} <= row.keys() for row in rows)


@pytest.mark.parametrize("kind", ["flow", "gaussian"])
def test_what_was_trained_draws(stages, kind):
    from dalle.pipeline import DallePipeline

    pipeline = DallePipeline.from_pretrained(stages / f"checkpoint-{kind}")
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    (image,) = pipeline("a red ball", num_inference_steps=2, generator=generator).images
    assert image.mode == "RGBA" and image.size == (256, 256)
    assert pipeline.prior.kind == kind
    assert pipeline.judge.score("a ball", pipeline.encode_prompt("a ball").pooled[0].numpy()).nearest
    card = (stages / f"checkpoint-{kind}" / "README.md").read_text()
    assert "made" in card and "CC0-1.0" in card


def test_parts_that_do_not_fit_are_not_put_together(stages, store_folder, tmp_path, capsys):
    assert train_autoencoder(store_folder, tmp_path / "other", 1, "--seed", 5) == 0
    parts = ["--prior", stages / "flow" / "prior", "--data", store_folder, "--out", tmp_path / "checkpoint"]
    assert run("assemble", *parts, "--vae", tmp_path / "other" / "vae") == 1
    assert "latent_space" in capsys.readouterr().err
    shutil.copytree(stages / "flow" / "prior", tmp_path / "unknown")
    (tmp_path / "unknown" / "trained_with.json").unlink()
    parts[1] = tmp_path / "unknown"
    assert run("assemble", *parts, "--vae", stages / "vae" / "vae") == 1
    assert "trained_with.json is missing" in capsys.readouterr().err
    assert not list(tmp_path.glob("checkpoint*"))


def test_a_folder_that_is_no_checkpoint_is_never_replaced(stages, store_folder, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    parts = ["--vae", stages / "vae" / "vae", "--prior", stages / "flow" / "prior", "--data", store_folder]
    assert run("assemble", *parts, "--out", tmp_path / "mine") == 1
    assert "no checkpoint" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_state_of_another_shape_is_named(stages, store_folder, capsys):
    state = ["--run-folder", stages / "flow", "--steps", 9, "--resume", "--data", store_folder, "--vae", stages / "vae" / "vae"]
    assert run("prior", *TINY, *state, "--kind", "gaussian", "--cache", 0) == 1
    assert "another shape" in capsys.readouterr().err


def test_samples_and_weights_are_kept(stages):
    assert sorted(path.name for path in (stages / "flow" / "samples").iterdir()) == ["step-0000004.png"]
    weights = load_file(stages / "flow" / "prior" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}


def test_a_resumed_run_equals_an_uninterrupted_one(store_folder, tmp_path):
    train_autoencoder(store_folder, tmp_path / "whole", 4, "--cooldown", 0, "--adversarial-share", 0)
    train_autoencoder(store_folder, tmp_path / "parts", 2, "--cooldown", 0, "--adversarial-share", 0)
    train_autoencoder(store_folder, tmp_path / "parts", 4, "--cooldown", 0, "--adversarial-share", 0, "--resume")
    a, b = (load_state(tmp_path / name / "state.safetensors")[0] for name in ("whole", "parts"))
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-5, rtol=1e-4)


def test_a_killed_run_resumes_from_its_last_whole_state(store_folder, tmp_path):
    command = [
        sys.executable, "-m", "train", "autoencoder", *TINY, "--data", str(store_folder), "--run-folder", str(tmp_path / "run"),
        "--steps", "100000", "--batch-size", "1", "--save-seconds", "0", "--sample-steps", "1000000",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = tmp_path / "run" / "state.safetensors"
    for _ in range(1200):
        if state.exists() and load_state(state)[1]["step"] >= 3:
            break
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = load_state(state)[1]["step"]
    assert step >= 3
    assert train_autoencoder(store_folder, tmp_path / "run", step + 2, "--resume") == 0
    assert load_state(state)[1]["step"] == step + 2


def test_two_processes_train_one_model(store_folder, tmp_path):
    """Gradients are shared: the loop itself fails where the weights of the two differ at the end."""
    run_folder = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "train"]
    stage = ["autoencoder", *TINY, "--data", str(store_folder), "--run-folder", str(run_folder), "--steps", "4"]
    more = ["--batch-size", "2", "--adversarial-share", "0.5", "--sample-steps", "1000"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*launcher, *stage, *more], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert load_state(run_folder / "state.safetensors")[1]["samples_seen"] == 4 * 2 * 2


def test_processes_that_drift_apart_are_noticed():
    sums = torch.rand(3, 50, dtype=torch.float64) + 1
    same = sums[:1].expand(3, -1).clone()
    assert agree(same) and not agree(sums)
    same[2, 7] *= 1.0001
    assert not agree(same)


def test_a_run_is_never_overwritten(store_folder, stages):
    state = stages / "vae" / "state.safetensors"
    before = state.read_bytes()
    assert train_autoencoder(store_folder, stages / "vae", 6) == 1
    assert state.read_bytes() == before


def test_missing_parts_are_named(tmp_path, store_folder, capsys):
    assert run("autoencoder", *TINY, "--data", tmp_path, "--run-folder", tmp_path / "r", "--steps", 1) == 1
    assert "python -m train data" in capsys.readouterr().err
    assert run("prior", *TINY, "--data", store_folder, "--vae", tmp_path, "--steps", 1) == 1
    assert "python -m train autoencoder" in capsys.readouterr().err
    assert run("nonsense") == 2


# State files


def test_state_round_trip(tmp_path):
    tensors = {"a/b": torch.randn(3), "c": torch.arange(4)}
    save_state(tmp_path / "state.safetensors", tensors, {"step": 7})
    found, meta = load_state(tmp_path / "state.safetensors")
    assert meta == {"step": 7} and all(torch.equal(found[k], tensors[k]) for k in tensors)
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_damaged_or_missing_state_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="without --resume"):
        load_state(tmp_path / "state.safetensors")
    (tmp_path / "state.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(CheckpointError, match="damaged"):
        load_state(tmp_path / "state.safetensors")


def test_a_state_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    save_state(path, {"a": torch.ones(1)}, {"step": 1})

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.checkpoint.save_file", full)
    with pytest.raises(StorageError, match="disk space"):
        save_state(path, {"a": torch.zeros(1)}, {"step": 2})
    assert load_state(path)[1] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_optimiser_state_round_trip():
    def steps(layer, optimizer, count):
        for index in range(count):
            optimizer.zero_grad()
            layer(torch.full((2, 3), float(index))).pow(2).sum().backward()
            optimizer.step()

    def make():
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 3)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)

    whole, optimizer = make()
    steps(whole, optimizer, 3)
    kept = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}
    copy, second = make()
    copy.load_state_dict({k: v.clone() for k, v in whole.state_dict().items()})
    restore_optimizer(second, kept)
    steps(whole, optimizer, 2)
    steps(copy, second, 2)
    assert torch.equal(whole.weight, copy.weight)


# Losses and schedules


def test_schedule_warms_up_and_falls():
    config = RunConfig(run="x", steps=100, warmup_steps=10, cooldown=0.5)
    assert schedule(0, 0.0, config) == pytest.approx(0.1)
    assert schedule(50, 0.4, config) == 1.0
    assert schedule(75, 0.75, config) == pytest.approx(0.5)
    assert schedule(100, 1.0, config) == 0.0
    with pytest.raises(SettingError):
        RunConfig(run="x")


def test_step_generators_differ_by_step_seed_and_process():
    draws = {float(torch.rand(1, generator=step_generator(*key))) for key in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1))}
    assert len(draws) == 4


def test_losses_are_zero_on_equal_and_see_a_difference():
    x = torch.rand(2, 4, 32, 32) * 2 - 1
    y = x.clone()
    y[..., 10:20, 10:20] += 0.5
    for loss in (charbonnier, edges):
        assert float(loss(x, x)) == pytest.approx(0, abs=1e-6)
        assert float(loss(x, y)) > 1e-3


def test_sobel_measures_a_ramp_exactly():
    ramp = torch.arange(8.0).repeat(8, 1)[None, None]
    found = sobel(ramp)[..., 1:-1, 1:-1]
    assert torch.equal(found[:, 0], torch.ones(1, 6, 6)) and torch.equal(found[:, 1], torch.zeros(1, 6, 6))


def test_psnr_and_over_follow_their_definitions():
    x = torch.zeros(1, 3, 8, 8)
    assert float(psnr(x, x + 0.1)) == pytest.approx(20.0, abs=1e-3)
    clear = torch.tensor([-1.0, -1, -1, -1]).view(1, 4, 1, 1)
    half_red = torch.tensor([0.0, -1, -1, 0]).view(1, 4, 1, 1)
    assert over(clear, 1.0).flatten().tolist() == [1, 1, 1]
    assert over(half_red, 1.0).flatten().tolist() == [1, 0.5, 0.5]


def test_a_turn_is_the_same_for_latent_and_picture():
    """Turning a picture and shrinking it to latent size is turning its shrunk version."""
    turn = Turn(torch.Generator().manual_seed(3))
    x = torch.rand(1, 4, 64, 64)
    small = torch.nn.functional.avg_pool2d(x, 16)
    turn.scale = 1.0
    torch.testing.assert_close(turn(small), torch.nn.functional.avg_pool2d(turn(x), 16))


def test_a_frozen_encoder_gets_no_gradient(tiny_pipeline):
    from dalle.config import PRESETS
    from dalle.vae import build_vae

    vae = build_vae(PRESETS["tiny"].vae)
    objective = Objective(vae, 1e-3, 1.0, 0.1)
    loss, *_ = objective(torch.rand(1, 4, 64, 64) * 2 - 1, torch.Generator().manual_seed(0), None, True)
    loss.backward()
    assert all(p.grad is None for p in vae.encoder.parameters())
    assert all(p.grad is not None for p in vae.decoder.parameters())


def test_the_adversary_learns_to_tell_and_leaves_itself_alone_in_the_generators_step():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(8)
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=3e-3)
    adversary = Adversary(discriminator, optimizer)
    real = torch.zeros(4, 4, 32, 32)
    real[..., ::4, :] = 1.0
    fake = torch.zeros(4, 4, 32, 32)
    games = []
    for step in range(30):
        loss, parts = adversary.discriminator_loss(real, fake, step_generator(0, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        games.append(float(parts["d_game"]))
    assert games[-1] < 0.5 * games[0]
    optimizer.zero_grad()
    fake = fake.requires_grad_()
    game, feature = adversary.generator_losses(real, fake)
    (game + feature).backward()
    assert fake.grad.abs().sum() > 0
    assert all(p.grad is None for p in discriminator.parameters())
    assert all(p.requires_grad for p in discriminator.parameters())


def test_flow_loss_of_a_perfect_network_is_zero():
    latents = torch.randn(3, 8, 16, 16)

    def oracle(z, t, text, drop):
        noise = (z - (1 - t.view(-1, 1, 1, 1)) * latents) / t.view(-1, 1, 1, 1)
        return noise - latents

    loss = flow_loss(oracle, latents, None, torch.Generator().manual_seed(0), 0.1)
    assert loss.shape == (3,) and float(loss.max()) < 1e-5


@pytest.mark.parametrize("mean", [-2.0, 0.0, 2.0])
def test_the_mean_of_the_times_moves_towards_noise(mean):
    seen = []

    def network(z, t, text, drop):
        seen.append(t)
        return torch.zeros_like(z)

    flow_loss(network, torch.zeros(4000, 1, 1, 1), None, torch.Generator().manual_seed(0), 0.1, mean)
    assert float(torch.logit(seen[0]).mean()) == pytest.approx(mean, abs=0.1)
    assert float(torch.logit(seen[0]).std()) == pytest.approx(1.0, abs=0.1)


def test_what_the_text_explains():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(64, 8, 16, 16, generator=generator)
    known = text_share(lambda z, t, text: z - latents, latents, None, generator)
    mean = text_share(lambda z, t, text: z - latents.mean(0), latents, None, generator)
    half = text_share(lambda z, t, text: z - (latents + latents.mean(0)) / 2, latents, None, generator)
    assert (known, mean, half) == pytest.approx((1.0, 0.0, 0.75), abs=1e-4)


class Numbered:
    """A source of scenes whose contents say which they are."""

    encoder = SimpleNamespace(dim=384)

    def batch(self, index, size):
        first = index * size
        latents = torch.arange(first, first + size).float().view(-1, 1, 1, 1).expand(-1, 8, 16, 16)
        states = [torch.full((1 + row % 3, 384), float(row)) for row in range(first, first + size)]
        text = stack_features(states, torch.arange(first, first + size).float()[:, None].expand(-1, 384))
        return LatentBatch(latents, text, [f"scene {row}" for row in range(first, first + size)])


def test_a_cache_of_scenes_grows_and_keeps_what_it_has(tmp_path):
    LatentCache.build(tmp_path, Numbered(), 40, "made")
    cache = LatentCache.build(tmp_path, Numbered(), 75, "made")
    assert len(cache) == 75 and len(LatentCache.build(tmp_path, Numbered(), 10, "made")) == 75
    rows = cache.rows(range(75))
    assert rows.captions == [f"scene {row}" for row in range(75)]
    assert rows.latents[:, 0, 0, 0].tolist() == rows.text.pooled[:, 0].tolist() == list(range(75))
    assert [float(rows.text.tokens[row, -1 if row % 3 == 2 else 0, 0]) for row in range(75)] == list(range(75))
    with pytest.raises(CheckpointError, match="another autoencoder"):
        LatentCache.build(tmp_path, Numbered(), 75, "other")


def test_a_cache_tells_where_another_version_of_the_scenes_begins(tmp_path, monkeypatch, capsys):
    for count, recipe in ((40, "first"), (60, "first"), (75, "second")):
        monkeypatch.setattr("train.latents.scene_recipe", lambda recipe=recipe: recipe)
        assert len(LatentCache.build(tmp_path, Numbered(), count, "made")) == count
    assert json.loads((tmp_path / "index.json").read_text())["recipes"] == [[0, "first"], [60, "second"]]
    assert capsys.readouterr().out.count("another version") == 1


def test_muon_gets_the_hidden_matrices_only(tiny_pipeline):
    matrices, others = split_parameters(tiny_pipeline.prior)
    names = {id(p): n for n, p in tiny_pipeline.prior.named_parameters()}
    assert {names[id(p)].split(".")[-2] for p in matrices} == {"q", "kv", "proj", "gate_up", "down"}
    assert len(matrices) + len(others) == len(names)
