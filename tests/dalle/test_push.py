"""`python -m dalle push`, over HTTP to a Hub on loopback: round trips, what is refused before anything is sent, what goes wrong."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import HfApi, constants, lfs
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import http_backoff
from PIL import Image

from dalle import cli, hub_errors, publish
from dalle.card import BEGIN, complete, read_card, results_of
from dalle.config import CheckpointError
from dalle.hub import WEIGHTS, revision
from dalle.pipeline import DallePipeline

REPO = "user/drawings"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tiny_checkpoint, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(hub_errors, "WAITS", (0.0, 0.0, 0.0))


def push(*arguments: object) -> int:
    return cli.main(["push", *map(str, arguments)])


def writes(hub) -> list[str]:
    return [f"{one.method} {one.path}" for one in hub.log if one.method not in ("GET", "HEAD")]


def uploads(hub) -> int:
    """Large files that were sent whole."""
    return sum(one.method == "PUT" and one.status == 200 for one in hub.log)


def commits(hub) -> int:
    return sum("/commit/" in one.path and one.status == 200 for one in hub.log)


def metadata(hub) -> dict:
    return yaml.safe_load(hub.files(REPO)["README.md"].decode().split("---\n")[1])


def drawn(model: object) -> np.ndarray:
    pipeline = DallePipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    return np.asarray(pipeline("a cat", num_inference_steps=2, generator=torch.Generator().manual_seed(5)).images[0])


def changed(folder: Path, pipeline: DallePipeline, part: str = "vae") -> None:
    """The checkpoint with other weights in one part."""
    parameter = next(getattr(pipeline, part).parameters())
    before = parameter.detach().clone()
    try:
        with torch.no_grad():
            parameter.mul_(0.5)
        pipeline.save_pretrained(folder)
    finally:
        with torch.no_grad():
            parameter.copy_(before)


# Round trips


def test_a_pushed_model_is_pulled_and_draws_the_same_picture(hub, folder, capsys):
    assert push(folder, REPO) == 0
    said = capsys.readouterr()
    assert said.out == f"{hub.url}/{REPO}/commit/{hub.head(REPO)}\n"
    assert "Created user/drawings, private." in said.err
    assert hub.repo(REPO).private
    assert commits(hub) == 1  # the model and its card at once
    sent = hub.files(REPO)
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert sent[path.relative_to(folder).as_posix()] == path.read_bytes()
    np.testing.assert_array_equal(drawn(REPO), drawn(folder))


def test_the_card_says_what_the_model_is_and_how_it_is_loaded(hub, folder):
    assert push(folder, REPO) == 0
    told = metadata(hub)
    assert told["license"] == "cc-by-4.0"  # the card's own
    assert (told["library_name"], told["pipeline_tag"], told["language"]) == ("diffusers", "text-to-image", "en")
    assert "text-to-image" in told["tags"] and "datasets" not in told and "model-index" not in told
    text = hub.files(REPO)["README.md"].decode()
    assert "Random weights, for tests." in text
    assert f'DallePipeline.from_pretrained("{REPO}")' in text
    sheet = Image.open(io.BytesIO(hub.files(REPO)["samples/sheet.webp"]))
    assert "(samples/sheet.webp)" in text and revision(folder) in text
    assert sheet.format == "WEBP" and len(sheet.convert("RGB").getcolors(2**20)) > 100
    assert b"trainedAlgorithmicMedia" in sheet.info["xmp"]


def test_every_file_of_a_checkpoint_is_known(tiny_checkpoint):
    """What is not known here would stay on the Hub when its part is gone."""
    for folder in (tiny_checkpoint, ROOT / "checkpoints" / "default"):
        found, left = publish.files_of(folder)
        known = {f"{part}/{name}" for part, names in publish.LAYOUT.items() for name in names}
        assert found.keys() - known == {"README.md", "model_index.json"} and not left


def test_a_second_push_has_nothing_to_do(hub, folder, capsys):
    assert push(folder, REPO, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert "samples/sheet.webp" in first["sent"] and first["private"] is True
    before = len(hub.log)
    assert push(folder, REPO, "--json") == 0
    said = capsys.readouterr()
    again = json.loads(said.out)
    assert "Nothing to do" in said.err
    assert (again["sent"], again["deleted"], again["commit"]) == ([], [], first["commit"])
    assert {one.method for one in hub.log[before:]} == {"GET"}


def test_a_second_push_sends_only_what_changed(hub, folder, tiny_pipeline, capsys):
    assert push(folder, REPO, "--no-samples") == 0
    assert "samples/sheet.webp" not in hub.files(REPO)
    sent = uploads(hub)
    changed(folder, tiny_pipeline)
    capsys.readouterr()
    assert push(folder, REPO, "--no-samples", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["sent"]) == {"model_index.json", f"vae/{WEIGHTS}"}
    assert uploads(hub) == sent + 1
    np.testing.assert_array_equal(drawn(REPO), drawn(folder))


def test_parts_that_are_gone_are_deleted_and_nobody_s_own_files(hub, folder, capsys):
    assert push(folder, REPO) == 0
    hub.commit(REPO, {"vae/notes.md": "mine", "paper.pdf": b"%PDF", "vae/old.safetensors": b"\0" * 16})
    index = json.loads((folder / "model_index.json").read_text())
    index["ranker"] = [None, None]
    del index["weights_sha256"]["ranker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    shutil.rmtree(folder / "ranker")
    capsys.readouterr()
    assert push(folder, REPO, "--json") == 0
    said = capsys.readouterr()
    assert set(json.loads(said.out)["deleted"]) == {"ranker/config.json", f"ranker/{WEIGHTS}"}
    assert f"Deleting ranker/{WEIGHTS} there" in said.err
    left = hub.files(REPO)
    assert {"vae/notes.md", "paper.pdf", "vae/old.safetensors"} <= left.keys()
    assert "ranker/config.json" not in left
    np.testing.assert_array_equal(drawn(REPO), drawn(folder))


def test_a_pulled_model_is_pushed_on_with_one_section_in_its_card(hub, folder):
    assert push(folder, REPO) == 0
    pulled = DallePipeline.from_pretrained(REPO)
    assert pulled.judge is not None
    (snapshot,) = (hub.cache / "hub").glob("models--user--drawings/snapshots/*")
    assert push(snapshot, "user/copy", "--public") == 0
    assert not hub.repo("user/copy").private
    text = hub.files("user/copy")["README.md"].decode()
    assert text.count(BEGIN) == 1 and 'from_pretrained("user/copy")' in text and REPO not in text
    ours, theirs = hub.files("user/copy"), hub.files(REPO)
    assert {name: ours[name] for name in theirs if name != "README.md"} == {n: d for n, d in theirs.items() if n != "README.md"}


def test_a_branch_leaves_main_as_it_is(hub, folder, tiny_pipeline):
    assert push(folder, REPO) == 0
    main = hub.head(REPO)
    changed(folder, tiny_pipeline)
    assert push(folder, REPO, "--revision", "trial/half", "--message", "Half the weights") == 0
    assert hub.head(REPO) == main
    assert hub.repo(REPO).refs["trial/half"].title == "Half the weights"
    np.testing.assert_array_equal(drawn(f"{REPO}@trial/half"), drawn(folder))
    before = commits(hub)
    assert push(folder, REPO, "--revision", "trial/half") == 0
    assert commits(hub) == before


def test_a_pull_request_proposes_it_to_somebody_else(hub, folder, tiny_pipeline, monkeypatch, capsys):
    hub.add_account("ada")
    hub.add_repo("ada/drawings", folder=folder)
    main = hub.head("ada/drawings")
    changed(folder, tiny_pipeline)
    assert push(folder, "ada/drawings", "--pull-request", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["pull_request"] == f"{hub.url}/ada/drawings/discussions/1"
    assert hub.head("ada/drawings") == main
    proposed = hub.files("ada/drawings", "refs/pr/1")
    assert proposed[f"vae/{WEIGHTS}"] == (folder / "vae" / WEIGHTS).read_bytes()
    assert push(folder, "ada/other", "--pull-request") == 1
    assert "no repository ada/other" in capsys.readouterr().err


def test_only_who_asks_for_it_makes_a_repository_public(hub, folder):
    hub.add_repo("user/seen")
    assert push(folder, "user/seen") == 0
    assert not hub.repo("user/seen").private  # as it was
    assert push(folder, "user/seen", "--private") == 0
    assert hub.repo("user/seen").private
    assert push(folder, "user/seen", "--public") == 0
    assert not hub.repo("user/seen").private


def test_an_organisation_is_written_to_by_its_members(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.add_account("ada", organisations=("atelier",)))
    assert push(folder, "atelier/drawings") == 0
    assert "model_index.json" in hub.files("atelier/drawings")


# Interrupted, refused, busy


def test_an_interrupted_push_goes_on_where_it_was(hub, folder, monkeypatch, capsys):
    monkeypatch.setattr(lfs, "http_backoff", partial(http_backoff, max_retries=0))
    hub.drop("PUT", "", after=1000, times=100)
    hub.faults[0].pattern = hub_path_of(folder / "prior" / WEIGHTS)
    assert push(folder, REPO) == 1
    assert "can't be reached" in capsys.readouterr().err
    assert not hub.files(REPO)  # nothing is half there
    arrived = uploads(hub)
    assert arrived >= 1
    hub.faults.clear()
    assert push(folder, REPO) == 0
    large = sum(name.endswith((".safetensors", ".webp")) for name in hub.files(REPO))
    assert uploads(hub) == large > arrived  # each went over once
    np.testing.assert_array_equal(drawn(REPO), drawn(folder))


def hub_path_of(path: Path) -> str:
    from dalle.hub import sha256

    return sha256(path)


def test_a_commit_that_fails_is_repeated_without_the_large_files(hub, folder, capsys):
    hub.fail("POST", "/commit/", 500, times=100)
    assert push(folder, REPO) == 1
    assert "problem of its own (500)" in capsys.readouterr().err
    assert not hub.files(REPO)
    arrived = uploads(hub)
    hub.faults.clear()
    assert push(folder, REPO) == 0
    assert uploads(hub) == arrived
    assert drawn(REPO).shape == (256, 256, 4)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again(hub, folder, status):
    for method, path in (
        ("GET", "whoami"),
        ("POST", "validate-yaml"),
        ("POST", "repos/create"),
        ("GET", "/tree/"),
        ("POST", "/preupload/"),
        ("POST", "/objects/batch"),
        ("POST", "/commit/"),
    ):
        hub.fail(method, path, status, headers={"Retry-After": "0"})
    assert push(folder, REPO, "--no-samples") == 0
    assert not hub.faults
    assert commits(hub) == 1
    assert "model_index.json" in hub.files(REPO)


def test_it_is_not_asked_for_ever(hub, folder, capsys):
    hub.fail("GET", "whoami", 429, times=1000)
    assert push(folder, REPO) == 1
    assert "asks to wait" in capsys.readouterr().err
    assert len(hub.log) == 4
    hub.faults.clear()
    hub.fail("GET", "whoami", 429, times=1000, headers={"Retry-After": "7200"})
    assert push(folder, REPO) == 1
    assert len(hub.log) == 5  # two hours are too long
    assert not writes(hub)


def test_an_answer_that_got_lost_makes_no_second_commit(hub, folder, monkeypatch):
    commit = HfApi.create_commit

    def lost(self, *arguments, **options):
        monkeypatch.setattr(HfApi, "create_commit", commit)
        self.create_commit(*arguments, **options)
        raise HTTPError("the connection broke")

    monkeypatch.setattr(HfApi, "create_commit", lost)
    pushed = publish.push(folder, REPO, samples=False)
    assert pushed.commit == hub.head(REPO) and "model_index.json" in pushed.sent
    assert commits(hub) == 1


def test_somebody_else_s_change_at_the_same_time_is_not_written_over(hub, folder, monkeypatch, capsys):
    hub.add_repo(REPO)
    validate = publish._commit

    def meanwhile(*arguments):
        hub.commit(REPO, {"vae/config.json": "{}"})
        return validate(*arguments)

    monkeypatch.setattr(publish, "_commit", meanwhile)
    assert push(folder, REPO) == 1
    assert "changed at the same time" in capsys.readouterr().err
    assert hub.files(REPO) == {"vae/config.json": b"{}"}


def test_no_hub_is_a_clear_message(hub, folder, monkeypatch, capsys):
    hub.stop()
    assert push(folder, REPO) == 1
    error = capsys.readouterr().err
    assert "can't be reached" in error and "Check the network" in error and "Traceback" not in error


def test_a_hub_that_takes_the_call_and_says_nothing_is_given_up(hub, folder, monkeypatch, capsys):
    monkeypatch.setattr(publish, "SILENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert push(folder, REPO) == 1
    assert "can't be reached" in capsys.readouterr().err


def test_who_asked_for_no_network_is_told(folder, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "a" * 34)
    assert push(folder, REPO) == 1
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err


# Tokens


def test_no_token_says_how_to_log_in(hub, folder, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN")
    assert push(folder, REPO) == 1
    assert "hf auth login" in capsys.readouterr().err
    assert not hub.log


@pytest.mark.parametrize("token", ["hf_" + "x" * 34, "hf_" + "é" * 34, "hf_secret words of mine"])
def test_a_wrong_token_is_refused_and_never_shown(hub, folder, monkeypatch, capsys, token):
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("DALLE_TRACEBACK", "1")
    assert push(folder, REPO) == 1
    said = capsys.readouterr()
    assert "settings/tokens" in said.err
    assert token not in said.out + said.err and token[3:] not in said.out + said.err
    assert not writes(hub)


def test_who_may_not_write_there_is_told_before_anything_is_drawn(hub, folder, monkeypatch, capsys):
    assert push(folder, "ada/drawings") == 1
    assert "push to user/drawings" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", hub.add_account("reader", may_write=False))
    assert push(folder, "reader/drawings") == 1
    assert "may only read" in capsys.readouterr().err
    assert not writes(hub)


def test_the_token_is_nowhere_even_where_everything_is_logged(hub, folder):
    noisy = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "DALLE_TRACEBACK": "1", "OMP_NUM_THREADS": "1"}
    logged = "import logging, sys; logging.basicConfig(level=logging.DEBUG); from dalle.cli import main; sys.exit(main())"
    environment = hub.process_environment() | noisy
    hub.fail("POST", "/commit/", 400, message=f"Bad request with {hub.token}")
    for start in (["-m", "dalle"], ["-c", logged]):
        command = [sys.executable, *start, "push", str(folder), REPO]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
        assert "POST" in done.stderr  # it did log
        assert hub.token not in done.stdout + done.stderr
    assert done.returncode == 0
    assert all(hub.token.encode() not in data for data in hub.files(REPO).values())


# Refused before anything is sent


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("---\nlicense: mit\ntags: [a, b\nlanguage: en\n---\n# Mine\n", "line 4"),
        ("---\nlicense: mit\n# Mine\n", "has no end"),
        ("---\n- mit\n- en\n---\n# Mine\n", "names with values"),
        ("---\ntags: {a: b}\n---\n# Mine\n", "tags in the metadata"),
        ("---\nmodel-index: [{name: 3}]\n---\n# Mine\n", "can't be used"),
        ("---\nlicense: nobody-s\n---\n# Mine\n", '"license" must be one of'),
    ],
)
def test_a_card_with_wrong_metadata_is_refused(hub, folder, capsys, card, said):
    (folder / "README.md").write_text(card)
    assert push(folder, REPO) == 1
    error = capsys.readouterr().err
    assert said in error and "README.md" in error
    assert not {one.split()[-1] for one in writes(hub)} - {"/api/validate-yaml"}
    assert ("model", REPO) not in hub.repos


def test_a_folder_that_does_not_load_is_refused(hub, folder, tiny_checkpoint, tmp_path, capsys):
    weights = folder / "prior" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    assert push(folder, REPO) == 1
    assert "truncated" in capsys.readouterr().err
    assert push(tmp_path / "nowhere", REPO) == 1
    assert "no folder" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert push(tmp_path / "other", REPO) == 1
    assert "StableDiffusionPipeline" in capsys.readouterr().err
    assert not writes(hub)


def test_a_model_that_draws_nothing_is_refused(hub, tiny_pipeline, tmp_path, capsys):
    empty = type(tiny_pipeline.vae).from_config(tiny_pipeline.vae.config).eval()
    with torch.no_grad():
        for parameter in empty.parameters():
            parameter.zero_()
    parts = {name: getattr(tiny_pipeline, name) for name in ("prior", "text_encoder", "tokenizer")}
    DallePipeline(empty, **parts).save_pretrained(tmp_path / "empty")
    assert push(tmp_path / "empty", REPO) == 1
    assert "draws nothing" in capsys.readouterr().err
    assert not writes(hub)


def test_a_text_encoder_that_only_this_machine_has_is_refused(hub, folder, capsys):
    index = json.loads((folder / "model_index.json").read_text()) | {"text_encoder_name": str(folder)}
    (folder / "model_index.json").write_text(json.dumps(index))
    assert push(folder, REPO) == 1
    assert "text encoder" in capsys.readouterr().err
    assert not writes(hub)


def test_only_a_checkpoint_s_files_go_up(hub, folder, tmp_path, capsys):
    secret = tmp_path / "id_rsa.txt"
    secret.write_text("secret")
    inside = ("vae/old.pt", ".git/config", ".cache/a.json", "notes/b.txt", "vae/c/d.json")
    for name in ("weights.bin", "model.ckpt", "run.py", ".env", *inside):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    (folder / "link.txt").symlink_to(secret)
    (folder / "away").symlink_to(tmp_path)
    (folder / "LICENSE.txt").write_text("Do as you like.")
    (folder / "samples").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "samples" / "mine.png")
    (folder / "samples" / "movie.mp4").write_bytes(b"mine")
    config = json.loads((folder / "vae" / "config.json").read_text()) | {"_name_or_path": "/home/me/runs/vae"}
    (folder / "vae" / "config.json").write_text(json.dumps(config))
    assert push(folder, REPO) == 0
    error = capsys.readouterr().err
    sent = hub.files(REPO)
    assert {"LICENSE.txt", "samples/mine.png"} <= sent.keys()
    left = {"weights.bin", "model.ckpt", "run.py", ".env", "vae/old.pt", ".git/", ".cache/", "notes/", "vae/c/", "link.txt"}
    assert left | {"away/", "samples/movie.mp4"} <= set(error.split("part of a checkpoint: ")[1].split("\n")[0].split(", "))
    assert {name.rsplit(".", 1)[-1] for name in sent} == {"json", "safetensors", "md", "txt", "png", "webp"}
    assert not any(b"secret" in data or b"/home/me" in data for data in sent.values())
    assert "_name_or_path" not in json.loads(sent["vae/config.json"])


def test_a_token_in_a_file_is_not_published(hub, folder, capsys):
    for token in (hub.token, "hf_" + "Q" * 34):
        (folder / "README.md").write_text(f"# Mine\n\nexport HF_TOKEN={token}\n")
        assert push(folder, REPO) == 1
        error = capsys.readouterr().err
        assert "looks like an access token" in error and token not in error
    assert not writes(hub)


@pytest.mark.parametrize(
    "arguments",
    [
        ["drawings"],
        ["a/b/c"],
        ["user/dra wings"],
        ["../drawings"],
        [REPO, "--revision", "a" * 40],
        [REPO, "--revision", "../main"],
        [REPO, "--revision", "trial", "--pull-request"],
        [REPO, "--licence", "my own!"],
        [REPO, "--message", " "],
        [REPO, "--private", "--public"],
    ],
)
def test_what_can_not_be_asked_for_is_something_to_change(hub, folder, capsys, arguments):
    assert push(folder, *arguments) == 2
    assert capsys.readouterr().err
    assert not hub.log


# The card by itself


def evaluation(folder: Path, path: Path, **facts: object) -> Path:
    told = {"revision": revision(folder), "split": "test", "data": "made", "drawings and prompts": 300} | facts
    rows = [
        {"figure": "reconstruction PSNR, dB, 256 px over white", "value": 24.43807},
        {"figure": "composition: mean of six tasks", "value": 0.45833},
        {"figure": "composition: mean of six tasks, the model judged over white as the baseline is", "value": 0.39},
        {"figure": "KID x 1000, evaluator's features", "value": None},
    ]
    path.write_text(json.dumps({"facts": told, "rows": rows}))
    return path


def test_figures_of_these_very_weights_are_in_the_card(hub, folder, capsys):
    evaluation(folder, folder / "evaluation.json")
    assert push(folder, REPO, "--licence", "apache-2.0") == 0
    told = metadata(hub)
    (result,) = told["model-index"][0]["results"]
    assert {one["type"]: one["value"] for one in result["metrics"]} == {"psnr": 24.4381, "composition": 0.4583}
    assert result["dataset"]["split"] == "test" and result["dataset"]["args"]["weights"] == revision(folder)
    assert told["license"] == "apache-2.0"
    assert "No evaluation" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("facts", "said"), [({"revision": "0" * 12}, "of the weights 000000000000"), ({"rehearsal": "--quick"}, "rehearsal")]
)
def test_figures_of_other_weights_are_not(hub, folder, tmp_path, capsys, facts, said):
    path = evaluation(folder, tmp_path / "evaluation.json", **facts)
    with pytest.raises(CheckpointError):
        results_of(path, revision(folder))
    assert push(folder, REPO, "--evaluation", path) == 0
    assert said in capsys.readouterr().err
    assert "model-index" not in metadata(hub)


def test_the_project_s_evaluation_is_of_the_default_weights():
    weights = revision(ROOT / "checkpoints" / "default")
    assert len(results_of(ROOT / "docs" / "evaluation.json", weights)) == 6


def test_a_model_without_a_card_gets_an_honest_one(hub, folder, capsys):
    (folder / "README.md").unlink()
    assert push(folder, REPO) == 0
    assert "names no licence" in capsys.readouterr().err
    text = hub.files(REPO)["README.md"].decode()
    assert "# drawings" in text and "wrote no card" in text and "license" not in metadata(hub)


def test_a_card_s_own_words_and_metadata_stay(folder):
    card = "---\nlicense: mit\nlanguage: [en, de]\ndatasets:\n- me/sketches\ntags: art\n---\n# Mine\n\nWords.\n\n## Data\n\nMore.\n"
    (folder / "README.md").write_text(card)
    once = complete(read_card(folder / "README.md"), REPO)
    told = yaml.safe_load(once.split("---\n")[1])
    assert told["language"] == ["en", "de"] and told["datasets"] == ["me/sketches"] and told["tags"][0] == "art"
    assert once.index("Words.") < once.index(BEGIN) < once.index("## Data") < once.index("More.")
    (folder / "README.md").write_text(once)
    assert complete(read_card(folder / "README.md"), REPO) == once
