"""`python -m dalle space`, over HTTP to a Hub on loopback, and the folder that a Space gets, run by itself."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from gradio_client import Client
from gradio_client.exceptions import AppError
from huggingface_hub import SpaceHardware
from packaging.requirements import Requirement
from PIL import Image

from dalle import cli, hub_errors, place, space
from dalle.config import DEFAULT_MODEL
from dalle.images import read_png_metadata
from tests.bare import add_encoder, running
from tests.ui.conftest import free_port

SPACE, MODEL = "user/page", "user/drawings"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(hub_errors, "WAITS", (0.0, 0.0, 0.0))


@pytest.fixture
def model(hub, tiny_checkpoint):
    return hub.add_repo(MODEL, folder=tiny_checkpoint)


def run(*arguments: object) -> int:
    return cli.main(["space", SPACE, "--model", MODEL, *map(str, arguments)])


def files(hub) -> dict[str, bytes]:
    return hub.files(SPACE, kind="space")


def commits(hub) -> int:
    return sum("/commit/" in one.path and one.status == 200 for one in hub.log)


def writes(hub) -> list[str]:
    return [one.path for one in hub.log if one.method in ("POST", "PUT", "DELETE") and "validate-yaml" not in one.path]


def facts(readme: bytes) -> dict:
    return yaml.safe_load(space.split(readme.decode())[0])


# To the Hub


def test_a_space_is_made_in_one_commit(hub, model, capsys):
    assert run("--json") == cli.OK
    told = json.loads(capsys.readouterr().out)
    assert told["url"].endswith("/spaces/user/page") and told["private"] and told["hardware"] == "cpu-basic"
    repo = hub.repo(SPACE, "space")
    assert repo.private and repo.sdk == "gradio" and commits(hub) == 1
    found = files(hub)
    assert set(told["sent"]) == set(found) == set(space.contents(space.Plan(MODEL)))
    assert found["app.py"] == (ROOT / "app.py").read_bytes()
    card = facts(found["README.md"])
    assert card["models"] == [MODEL] and card["app_file"] == "app.py" and card["sdk"] == "gradio"
    assert card["sdk_version"] == version("gradio") and card["python_version"] == "3.12"
    assert 0 < len(card["short_description"]) <= 60 and card["suggested_hardware"] == "cpu-basic"
    assert {"title", "emoji", "colorFrom", "colorTo", "tags", "license"} <= set(card)
    assert not repo.variables and not repo.secrets and hub.token not in str(found)


def test_a_second_run_sends_only_what_changed_and_leaves_what_is_the_owners(hub, model, capsys):
    assert run("--public") == cli.OK
    assert run() == cli.OK and commits(hub) == 1 and not hub.repo(SPACE, "space").private

    own = facts(files(hub)["README.md"]) | {"emoji": "🦊", "pinned": True, "title": "Mine"}
    readme = f"---\n{yaml.safe_dump(own, allow_unicode=True)}---\nMy own words.\n"
    hub.commit(SPACE, {"README.md": readme, "notes.md": "mine", "dalle/config.py": "old"}, kind="space")
    capsys.readouterr()
    assert run("--json", "--models", "user/drawings", "--hardware", "t4-small") == cli.OK
    told = json.loads(capsys.readouterr().out)
    assert set(told["sent"]) == {"README.md", "dalle/config.py", "requirements.txt", "space.json"} and told["deleted"] == []
    found = files(hub)
    assert found["notes.md"] == b"mine" and found["dalle/config.py"] == (ROOT / "dalle" / "config.py").read_bytes()
    card = facts(found["README.md"])
    assert (card["emoji"], card["pinned"], card["title"], card["suggested_hardware"]) == ("🦊", True, "Mine", "t4-small")
    assert found["README.md"].decode().endswith("---\nMy own words.\n")

    # What the first runs were told holds on.
    assert run("--title", "Another") == cli.OK
    card = facts(files(hub)["README.md"])
    assert card["title"] == "Another" and card["suggested_hardware"] == "t4-small"
    assert hub.repo(SPACE, "space").hardware == "t4-small"


def test_files_of_an_earlier_version_go_and_no_others(hub, model):
    assert run() == cli.OK
    record = json.loads(files(hub)["space.json"])
    record["files"] += ["dalle/older.py"]
    more = {"space.json": json.dumps(record), "dalle/older.py": "x = 1", "dalle/mine.py": "y = 2"}
    hub.commit(SPACE, more, kind="space")
    assert run() == cli.OK
    assert "dalle/older.py" not in files(hub) and files(hub)["dalle/mine.py"] == b"y = 2"


def test_another_app_in_that_place_stays(hub, model, capsys):
    hub.add_repo(SPACE, {"app.py": "print(1)", "README.md": "---\nsdk: gradio\n---\n"}, kind="space")
    before = hub.head(SPACE, kind="space")
    assert run() == cli.FAILED
    assert "app.py" in capsys.readouterr().err and hub.head(SPACE, kind="space") == before and not writes(hub)


def test_a_new_space_that_was_made_by_hand_is_filled(hub, model):
    hub.add_repo(SPACE, {"README.md": "---\ntitle: Page\nsdk: gradio\n---\nCheck out the reference\n"}, kind="space")
    assert run() == cli.OK
    assert b"Check out" not in files(hub)["README.md"] and "app.py" in files(hub)


def test_hardware_is_asked_for_and_a_refusal_is_told_but_the_space_is_there(hub, model, capsys):
    hub.fail("POST", r"/hardware$", 402, message="Payment required")
    assert run("--hardware", "a10g-small") == cli.FAILED
    told = capsys.readouterr()
    assert told.out.strip().endswith("/spaces/user/page")
    assert "Payment required" in told.err and "cpu-basic" in told.err and "payment method" in told.err
    assert "app.py" in files(hub) and hub.repo(SPACE, "space").hardware == "cpu-basic"
    assert run("--hardware", "zero-a10g") == cli.OK
    assert hub.repo(SPACE, "space").hardware == "zero-a10g" and "spaces>=" in files(hub)["requirements.txt"].decode()


def test_a_model_that_the_space_can_not_read_is_told(hub, tiny_checkpoint, capsys):
    hub.add_repo(MODEL, folder=tiny_checkpoint, private=True)
    assert run() == cli.OK
    assert "HF_TOKEN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--model", "checkpoints/default"), cli.USAGE, "python -m dalle push"),
        (("--model", "drawings"), cli.USAGE, "user/repo"),
        (("--model", "~nobody/model\0"), cli.USAGE, "user/repo"),
        (("--model", "user/drawings@"), cli.USAGE, "revision"),
        (("--model", "user/none"), cli.FAILED, "user/none"),
        (("--model", "user/empty"), cli.FAILED, "user/empty"),
        (("--models", "user/drawings,no model"), cli.USAGE, "no model"),
        (("--hardware", "tpu"), cli.USAGE, "t4-small"),
        (("--title", " "), cli.USAGE, "--title"),
    ],
)
def test_what_can_not_be_is_told_and_nothing_is_made(hub, model, capsys, monkeypatch, arguments, code, words):
    monkeypatch.chdir(ROOT)
    hub.add_repo("user/empty", {"README.md": "# Nothing\n"})
    assert run(*arguments) == code
    told = capsys.readouterr().err
    assert words in told and "Traceback" not in told and not writes(hub)


@pytest.mark.parametrize("name", ["page", "user/my page", "user/a/b", "../x"])
def test_a_name_that_does_not_fit_is_told(hub, model, capsys, name):
    assert cli.main(["space", name, "--model", MODEL]) == cli.USAGE
    assert name in capsys.readouterr().err and not writes(hub)


def test_without_a_token_or_with_a_wrong_one_nothing_is_made(hub, model, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert run() == cli.FAILED and "hf auth login" in capsys.readouterr().err
    wrong = "hf_" + "x" * 34
    monkeypatch.setenv("HF_TOKEN", wrong)
    assert run() == cli.FAILED
    told = capsys.readouterr().err
    assert "token" in told and wrong not in told and not writes(hub)
    monkeypatch.setenv("HF_TOKEN", hub.add_account("other"))
    assert run() == cli.FAILED and "other" in capsys.readouterr().err and not writes(hub)


def test_a_hub_that_is_busy_is_asked_again_and_one_that_is_down_is_told(hub, model, capsys):
    hub.fail("POST", "/commit/", 503, times=2)
    hub.fail("POST", "/hardware", 500)
    assert run("--hardware", "t4-small") == cli.OK and commits(hub) == 1
    assert hub.repo(SPACE, "space").hardware == "t4-small"
    hub.stop()
    assert run() == cli.FAILED
    told = capsys.readouterr().err
    assert "can't be reached" in told and "Traceback" not in told


def test_a_readme_with_wrong_yaml_is_told_and_nothing_is_sent(hub, model, capsys):
    assert run() == cli.OK
    hub.commit(SPACE, {"README.md": "---\ntitle: [\n---\n"}, kind="space")
    assert run() == cli.FAILED
    assert "YAML" in capsys.readouterr().err and commits(hub) == 1


# The folder


def test_the_folder_alone_takes_no_hub(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out = tmp_path / "page"
    assert run("--out", out, "--models", "other/model@v1, user/drawings") == cli.OK
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert str(out) in capsys.readouterr().out and found == set(space.contents(space.Plan(MODEL)))
    record = json.loads((out / "space.json").read_text())
    assert record["model"] == MODEL and record["models"] == [MODEL, "other/model@v1"] and set(record["files"]) == found
    assert facts((out / "README.md").read_bytes())["models"] == [MODEL, "other/model"]
    assert run("--out", out) == cli.USAGE and run("--out", out / "app.py") != cli.OK


def test_only_what_the_page_needs_goes_along():
    paths = set(space.contents(space.Plan(MODEL)))
    assert {path.partition("/")[0] for path in paths} == {
        *("app.py", "dalle", "ui", "LICENSE", "README.md", "requirements.txt", "space.json")
    }
    assert not paths & {"dalle/cli.py", "dalle/__main__.py", "dalle/publish.py", "dalle/space.py"}
    assert {"dalle/zero.py", "dalle/engine.py", "ui/static/page.js"} <= paths
    assert not [path for path in paths if re.search(r"\.safetensors|__pycache__|\.pyc$", path)]


def test_every_import_of_the_projects_own_is_there(tmp_path):
    """Also those inside functions, which no test may have reached."""
    space.write(tmp_path / "page", space.contents(space.Plan(MODEL)))
    names = set()
    for path in (tmp_path / "page").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in (
                "dalle",
                "ui",
                "train",
                "tests",
                "benchmarks",
            ):
                names |= {(node.module, alias.name) for alias in node.names}
    code = (
        "import importlib, sys\nsys.path[0] = ''\n"
        f"for module, name in {sorted(names)}:\n"
        "    found = importlib.import_module(module)\n"
        "    hasattr(found, name) or importlib.import_module(f'{module}.{name}')\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'train', 'tests', 'benchmarks'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "page", capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


@pytest.mark.parametrize("hardware", [one.value for one in SpaceHardware])
def test_the_requirements_suit_the_hardware(hardware):
    lines = space.requirements((ROOT / "requirements.txt").read_text(), hardware).splitlines()
    options = [line for line in lines if line.startswith("--")]
    wants = {each.name: each for each in map(Requirement, (line for line in lines if not line.startswith("--")))}
    assert str(wants["gradio"].specifier) == f"=={version('gradio')}"
    assert options == ([space.CPU_BUILDS] if hardware.startswith("cpu") else [])
    assert ("spaces" in wants) == (hardware == "zero-a10g") == (not wants["torch"].specifier.contains("2.13.0"))
    assert wants["torch"].specifier.contains("2.11.0") and wants["torch"].specifier.contains("2.11.0+cpu")
    own = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert {each.name for each in own} == set(wants) - {"spaces"}


def test_it_is_told_where_it_runs(tmp_path, monkeypatch):
    for name in ("SPACE_ID", "SPACES_ZERO_GPU", place.MODEL, place.MODELS):
        monkeypatch.delenv(name, raising=False)
    assert place.model_of(tmp_path) == DEFAULT_MODEL and place.models_of(tmp_path) is None
    (tmp_path / "space.json").write_text(json.dumps({"model": MODEL, "models": [MODEL, "a/b"]}))
    assert place.model_of(tmp_path) == MODEL and place.models_of(tmp_path) == (MODEL, "a/b")
    monkeypatch.setenv("SPACE_ID", SPACE)
    monkeypatch.setenv(place.MODEL, "c/d@e")
    monkeypatch.setenv(place.MODELS, " c/d@e, a/b ,, a/b")
    assert place.model_of(tmp_path) == "c/d@e" and place.models_of(tmp_path) == ("c/d@e", "a/b")
    monkeypatch.setenv(place.MODELS, "a/b")
    assert place.models_of(tmp_path) == ("c/d@e", "a/b")
    assert place.models_of(tmp_path, "e/f") == ("e/f", "a/b")  # --model says more
    monkeypatch.setenv(place.MODELS, "")
    assert place.models_of(tmp_path) == ()
    monkeypatch.delenv(place.MODELS)
    for broken in ("[]", "{", "[" * 100_000, '{"model": 7, "models": "a/b"}'):
        (tmp_path / "space.json").write_text(broken)
        monkeypatch.setenv(place.MODEL, " ")
        assert place.model_of(tmp_path) == DEFAULT_MODEL and place.models_of(tmp_path) == ()
    monkeypatch.setenv(place.MODELS, "a/b")
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert place.models_of(tmp_path) == ()


@pytest.mark.parametrize("zero", [False, True], ids=["cpu", "zero"])
def test_the_folder_by_itself_draws_with_model_and_encoder_from_the_hub(hub, model, tmp_path, zero):
    add_encoder(hub)
    folder = tmp_path / "page"
    space.write(folder, space.contents(space.Plan(MODEL)))
    with running(folder, hub, tmp_path / "home", free_port(), zero=zero) as url:
        client = Client(url, verbose=False, download_files=tmp_path)
        paths, seeds, records = client.predict("a red apple", 1, 7, 2, api_name="/generate")
        with pytest.raises(AppError, match="prompt is empty"):
            client.predict(" ", api_name="/generate")
    with Image.open(paths[0]) as image:
        assert image.size == (256, 256) and len(image.getcolors(256 * 256)) > 10
    assert seeds == [7] and read_png_metadata(paths[0])["prompt"] == "a red apple"
    assert records[0]["settings"]["model"].partition("@")[0] == MODEL
    asked = [path for path in hub.paths() if "/resolve/" in path]
    assert any("all-MiniLM-L6-v2/resolve" in path and path.endswith("model.safetensors") for path in asked)
    assert any(path.startswith(f"/{MODEL}/resolve") and "prior" in path for path in asked)
    assert sum(one.sent for one in hub.log) > 90_000_000  # the encoder's weights came that way
    assert {one.user for one in hub.log} == {""}
    said = (tmp_path / "home" / "output").read_text()
    assert ("on ZeroGPU" in said) == zero and "Traceback" not in said and "apple" not in said
