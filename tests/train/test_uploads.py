"""`--push-to-hub`: what a run uploads while it goes on, over HTTP to a Hub on loopback, and what can't stop it."""

from __future__ import annotations

import argparse
import json
import threading

import pytest
import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load

from dalle import hub_errors
from dalle.config import SettingError
from dalle.hub import WEIGHTS
from tests.train.test_training import TINY, log_of, run, train_autoencoder
from train import uploads
from train.loop import RunConfig, add_run_arguments, run_config

REPO = "user/parts"
OFTEN = ["--push-to-hub", REPO, "--push-every", "1e-6"]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(hub_errors, "WAITS", (0.0, 0.0, 0.0))


def titles(hub) -> list[str]:
    """Of the commits, the last first."""
    commit, found = hub.repo(REPO).find("main"), []
    while commit is not None:
        found.append(commit.title)
        commit = commit.parent
    return found


def test_a_run_uploads_while_it_goes_on_and_what_it_ends_with(hub, store_folder, tmp_path, capsys):
    folder = tmp_path / "run"
    assert train_autoencoder(store_folder, folder, 5, *OFTEN, "--sample-steps", 1) == 0
    told = titles(hub)
    assert told[0] == "Step 5" and "Step 1" in told and told[-1] == "initial commit"
    assert hub.repo(REPO).private
    files = hub.files(REPO)
    assert files[f"vae/{WEIGHTS}"] == (folder / "vae" / WEIGHTS).read_bytes()
    assert files["log.jsonl"] == (folder / "log.jsonl").read_bytes()
    samples = {f"samples/{path.name}" for path in (folder / "samples").iterdir()}
    assert samples and files.keys() == {f"vae/{WEIGHTS}", "vae/config.json", "README.md", "log.jsonl", *samples}
    card = files["README.md"].decode()
    assert "not a whole one" in card and "after all 5 steps" in card and "val_psnr" in card
    assert not list(folder.glob("upload-*"))
    assert "goes on without" not in capsys.readouterr().err
    assert hub.token.encode() not in b"".join(files.values())
    began = next(commit for commit in hub.repo(REPO).history.values() if commit.title == "Step 1").files
    assert {tensor.dtype for tensor in load(began[f"vae/{WEIGHTS}"].data).values()} == {torch.float16}
    assert "of a run that goes on" in began["README.md"].data.decode()


def test_what_is_uploaded_on_the_way_can_be_put_together(hub, store_folder, tmp_path):
    assert train_autoencoder(store_folder, tmp_path, 1) == 0
    prior = ["prior", *TINY, "--data", store_folder, "--vae", tmp_path / "vae", "--steps", 3, "--batch-size", 4]
    assert run(*prior, "--run-folder", tmp_path / "run", "--cache", 0, *OFTEN, "--push-public") == 0
    assert not hub.repo(REPO).private
    first = next(commit.oid for commit in hub.repo(REPO).history.values() if commit.title == "Step 1")
    pulled = snapshot_download(REPO, revision=first)
    parts = ["--vae", tmp_path / "vae", "--prior", f"{pulled}/prior", "--data", store_folder]
    assert run("assemble", *parts, "--out", tmp_path / "whole") == 0
    assert json.loads((tmp_path / "whole" / "model_index.json").read_text())["prior"][1] == "FlowPrior"


def test_a_hub_with_problems_is_told_of_once_and_tried_again(hub, store_folder, tmp_path, capsys):
    hub.fail("POST", "/repos/create", 500, times=4)  # the attempts of the first upload
    assert train_autoencoder(store_folder, tmp_path / "run", 6, *OFTEN) == 0
    said = capsys.readouterr().err
    assert said.count("goes on without an upload") == 1 and "problem of its own (500)" in said
    assert not hub.faults
    assert titles(hub)[0] == "Step 6"


def test_a_hub_that_goes_down_does_not_stop_a_run(hub, store_folder, tmp_path, monkeypatch, capsys):
    check = uploads.check_login

    def then_down(repo):
        check(repo)
        hub.stop()

    monkeypatch.setattr("train.loop.check_login", then_down)
    assert train_autoencoder(store_folder, tmp_path / "run", 3, *OFTEN) == 0
    assert [row["step"] for row in log_of(tmp_path / "run") if "loss" in row] == [1, 2, 3]
    assert (tmp_path / "run" / "vae" / WEIGHTS).exists()
    said = capsys.readouterr().err
    assert said.count("goes on without an upload") == said.count("--resume uploads them again") == 1
    hub.start()
    monkeypatch.setattr("train.loop.check_login", check)
    assert train_autoencoder(store_folder, tmp_path / "run", 3, *OFTEN, "--resume") == 0
    assert hub.files(REPO)[f"vae/{WEIGHTS}"] == (tmp_path / "run" / "vae" / WEIGHTS).read_bytes()


def test_an_upload_that_hangs_neither_stops_a_run_nor_keeps_it_from_ending(hub, store_folder, tmp_path, monkeypatch, capsys):
    asked, answer = threading.Event(), threading.Event()

    def hangs(*_, **__):
        asked.set()
        answer.wait()

    monkeypatch.setattr(uploads, "send", hangs)
    monkeypatch.setattr(uploads, "LAST_WAIT", 0.0)
    try:
        assert train_autoencoder(store_folder, tmp_path / "run", 3, *OFTEN) == 0
        assert asked.is_set()
        assert "is given up" in capsys.readouterr().err
    finally:
        answer.set()


def test_a_copy_that_can_not_be_written_does_not_stop_a_run(hub, store_folder, tmp_path, monkeypatch, capsys):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads.tempfile, "mkdtemp", full)
    assert train_autoencoder(store_folder, tmp_path / "run", 2, *OFTEN) == 0
    said = capsys.readouterr().err
    assert "No space left" in said and said.count("goes on without an upload") == 1  # of two
    assert ("model", REPO) not in hub.repos


@pytest.mark.parametrize("token", ["", "hf_" + "x" * 34])
def test_a_wrong_token_is_said_before_anything_is_trained(hub, store_folder, tmp_path, monkeypatch, capsys, token):
    monkeypatch.setenv("HF_TOKEN", token)
    assert train_autoencoder(store_folder, tmp_path / "run", 2, *OFTEN) == 1
    error = capsys.readouterr().err
    assert "hf auth login" in error and (not token or token not in error)
    assert not (tmp_path / "run").exists()


def test_a_whole_model_is_not_written_over_by_a_part(hub, store_folder, tmp_path, tiny_checkpoint, capsys):
    hub.add_repo(REPO, folder=tiny_checkpoint)
    assert train_autoencoder(store_folder, tmp_path / "run", 2, *OFTEN) == 1
    assert "holds a whole model" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_of_several_processes_one_asks_the_hub(hub, monkeypatch):
    parser = argparse.ArgumentParser()
    add_run_arguments(parser, "prior")
    arguments = parser.parse_args(["--steps", "1", "--push-to-hub", REPO])
    monkeypatch.setenv("RANK", "1")
    assert run_config(arguments).push_to_hub == REPO
    assert not hub.log
    monkeypatch.setenv("RANK", "0")
    run_config(arguments)
    assert hub.log


def test_an_interval_is_more_than_nothing(tmp_path):
    with pytest.raises(SettingError):
        RunConfig(tmp_path, steps=1, push_every=0)


def test_the_card_of_every_stage_names_its_options(hub, tmp_path):
    for name in uploads.STAGES:
        upload = uploads.Uploads(REPO, tmp_path, name, 1, False)
        card = upload._card(7, b'{"step": 5, "val_loss": 0.25}\n')
        assert f"`{name}/`" in card and "val_loss 0.2500 after step 5" in card
        assert ("train assemble" in card) == (name in ("vae", "prior", "ranker"))
