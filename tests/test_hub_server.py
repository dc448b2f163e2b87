"""The stand-in of the Hub, as huggingface_hub sees it: what other tests rely on."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationDelete, HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server import Hub

CARD = "---\nlicense: mit\n---\n# Model\n"
WEIGHTS = bytes(range(256)) * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "vae").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "vae" / "config.json").write_text("{}")
    (folder / "vae" / "model.safetensors").write_bytes(WEIGHTS)
    return folder


def test_pushed_and_pulled(hub: Hub, folder: Path) -> None:
    api = HfApi()
    assert api.whoami()["name"] == "user"
    api.create_repo("user/model", exist_ok=True)
    api.create_repo("user/model", exist_ok=True)
    pushed = api.upload_folder(repo_id="user/model", folder_path=folder)
    assert pushed.oid == hub.head("user/model")
    assert hub.files("user/model") == {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }

    snapshot = Path(snapshot_download("user/model"))
    assert snapshot.name == pushed.oid
    assert (snapshot / "vae" / "model.safetensors").read_bytes() == WEIGHTS
    assert (snapshot / "README.md").read_text() == CARD
    storage = [one for one in hub.log if one.path.startswith("/storage/")]
    assert storage and not any("Authorization" in one.headers for one in storage)


def test_a_second_push_uploads_only_what_changed(hub: Hub, folder: Path) -> None:
    api = HfApi()
    api.create_repo("user/model")
    api.upload_folder(repo_id="user/model", folder_path=folder)
    hub.log.clear()
    assert api.upload_folder(repo_id="user/model", folder_path=folder).oid == hub.head("user/model")
    assert not [path for path in hub.paths("POST") if "/commit/" in path]
    (folder / "vae" / "config.json").write_text('{"a": 1}')
    api.upload_folder(repo_id="user/model", folder_path=folder)
    assert hub.paths("PUT") == []
    assert hub.files("user/model")["vae/config.json"] == b'{"a": 1}'


def test_revisions(hub: Hub) -> None:
    api = HfApi()
    hub.add_repo("user/model", {"a.txt": "one"})
    first = hub.head("user/model")
    api.create_tag("user/model", tag="v1")
    api.create_branch("user/model", branch="side/way")
    second = hub.commit("user/model", {"a.txt": "two"})
    request = api.upload_file(path_or_fileobj=b"three", path_in_repo="a.txt", repo_id="user/model", create_pr=True)
    assert (request.pr_revision, request.pr_num) == ("refs/pr/1", 1)
    expected = {None: "two", "main": "two", "v1": "one", "side/way": "one", "refs/pr/1": "three", first: "one", second: "two"}
    for revision, text in expected.items():
        assert Path(hf_hub_download("user/model", "a.txt", revision=revision)).read_text() == text
    refs = api.list_repo_refs("user/model", include_pull_requests=True)
    assert [ref.name for ref in refs.branches] == ["main", "side/way"]
    assert [ref.ref for ref in refs.pull_requests] == ["refs/pr/1"]
    assert [commit.commit_id for commit in api.list_repo_commits("user/model")][:2] == [second, first]
    api.create_commit("user/model", [CommitOperationDelete("a.txt")], commit_message="Gone", parent_commit=second)
    assert hub.files("user/model") == {}
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit("user/model", [CommitOperationDelete("b.txt")], commit_message="Late", parent_commit=second)


def test_listings(hub: Hub) -> None:
    hub.add_repo("user/model", {"vae/a.json": "{}", "vae/deep/model.safetensors": WEIGHTS, "b.txt": "b"})
    api = HfApi()
    tree = list(api.list_repo_tree("user/model"))
    assert [one.path for one in tree] == ["vae", ".gitattributes", "b.txt"]
    assert [one.path for one in api.list_repo_tree("user/model", "vae")] == ["vae/deep", "vae/a.json"]
    found = {one.rfilename: one for one in api.model_info("user/model", files_metadata=True).siblings}
    assert found["vae/deep/model.safetensors"].lfs.size == len(WEIGHTS)
    assert [one.path for one in api.get_paths_info("user/model", ["b.txt", "none.txt"])] == ["b.txt"]
    assert api.file_exists("user/model", "b.txt") and not api.file_exists("user/model", "none.txt")


def test_who_may_see_what(hub: Hub) -> None:
    hub.add_repo("other/private", {"a.txt": "a"}, private=True)
    hub.add_repo("other/gated", {"a.txt": "a", "a.safetensors": WEIGHTS}, gated=True)
    hub.add_repo("other/public", {"a.txt": "a"})
    hub.add_repo("user/own", {"a.txt": "a"}, private=True, gated=True)
    assert hf_hub_download("user/own", "a.txt")
    for token in (hub.token, False):
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("other/private", "a.txt", token=token)
        with pytest.raises(GatedRepoError):
            hf_hub_download("other/gated", "a.txt", token=token)
        with pytest.raises(RepositoryNotFoundError) as raised:
            hf_hub_download("other/none", "a.txt", token=token)
        assert not isinstance(raised.value, GatedRepoError)
    hub.repo("other/gated").let_in.add("user")
    assert hf_hub_download("other/gated", "a.safetensors")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("other/public", "a.txt", revision="none")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("other/public", "b.txt")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        HfApi(token="hf_wrong").model_info("other/public")
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi().upload_file(path_or_fileobj=b"b", path_in_repo="a.txt", repo_id="other/public")
    reader = hub.add_account("reader", may_write=False)
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi(token=reader).create_repo("reader/model")


def test_faults(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # what it goes on from after a connection broke
    hub.add_repo("user/model", {"a.safetensors": WEIGHTS, "b.txt": "b"})
    hub.fail("HEAD", r"b\.txt", status=503, times=2)
    assert Path(hf_hub_download("user/model", "b.txt")).read_text() == "b"
    hub.drop("GET", r"a\.safetensors", after=100_000)
    path = Path(hf_hub_download("user/model", "a.safetensors"))
    assert path.read_bytes() == WEIGHTS
    assert [one.status for one in hub.log if one.method == "GET" and one.path.startswith("/storage/")] == [200, 206]
    assert not hub.faults
    hub.damage("user/model", "a.safetensors")
    path = Path(hf_hub_download("user/model", "a.safetensors", force_download=True))
    assert len(path.read_bytes()) == len(WEIGHTS) and path.read_bytes() != WEIGHTS


def test_down_and_up_again(hub: Hub) -> None:
    hub.add_repo("user/model", {"a.txt": "a"})
    hub.stop()
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download("user/model")
    hub.start()
    folder = snapshot_download("user/model")
    hub.stop()
    assert snapshot_download("user/model") == folder


def test_an_upload_is_checked(hub: Hub, folder: Path) -> None:
    api = HfApi()
    api.create_repo("user/model")
    wrong = "0" * 64
    assert httpx2.put(f"{hub.storage_url}/upload/{wrong}", content=b"data").status_code == 400
    assert wrong not in hub.objects
    hub.drop("PUT", "^/upload/", after=50_000)
    api.upload_folder(repo_id="user/model", folder_path=folder)
    assert len([path for path in hub.paths("PUT") if wrong not in path]) == 2
    assert hub.files("user/model")["vae/model.safetensors"] == WEIGHTS
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(ValueError, match="Invalid metadata"):
        api.upload_folder(repo_id="user/model", folder_path=folder)
    assert hub.files("user/model")["README.md"].decode() == CARD


@pytest.mark.parametrize(
    ("card", "kind", "wrong"),
    [
        (CARD, "model", ""),
        ("# Model", "model", ""),
        ("---\nlicense: mine\n---\n", "model", "license"),
        ("---\ntags: {a: b}\n---\n", "model", "tags"),
        ("---\nmodel-index:\n- name: a\n  results:\n  - task: {type: x}\n---\n", "model", "dataset"),
        ("---\nsdk: gradio\n---\n", "space", ""),
        ("---\nsdk: tkinter\n---\n", "space", "sdk"),
        ("---\nsdk: gradio\ncolorFrom: teal\n---\n", "space", "colorFrom"),
        ("---\nsdk: gradio\nshort_description: " + "a" * 61 + "\n---\n", "space", "short_description"),
        ("no front matter", "space", "configuration"),
    ],
)
def test_cards_are_validated(hub: Hub, card: str, kind: str, wrong: str) -> None:
    api = HfApi()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if wrong:
            with pytest.raises(ValueError, match=wrong):
                api._validate_yaml(card, repo_type=kind)
        else:
            api._validate_yaml(card, repo_type=kind)


def test_a_space(hub: Hub) -> None:
    api = HfApi()
    variables = [{"key": "DALLE_MODEL", "value": "user/model"}]
    api.create_repo("user/demo", repo_type="space", space_sdk="gradio", space_hardware="zero-a10g", space_variables=variables)
    api.upload_file(path_or_fileobj=b"print()", path_in_repo="app.py", repo_id="user/demo", repo_type="space")
    assert api.get_space_runtime("user/demo").requested_hardware == "zero-a10g"
    assert api.request_space_hardware("user/demo", "t4-small").requested_hardware == "t4-small"
    api.add_space_variable("user/demo", "DALLE_MODELS", "a/b")
    assert {name: one.value for name, one in api.get_space_variables("user/demo").items()} == {
        "DALLE_MODEL": "user/model",
        "DALLE_MODELS": "a/b",
    }
    api.add_space_secret("user/demo", "HF_TOKEN", "hf_secret")
    assert "HF_TOKEN" in api.get_space_secrets("user/demo")
    assert api.space_info("user/demo").sdk == "gradio"
    assert set(hub.files("user/demo", kind="space")) == {"README.md", "app.py"}


def test_another_process_uses_it(hub: Hub) -> None:
    hub.add_repo("user/model", {"a.txt": "one"}, private=True)
    program = "from huggingface_hub import hf_hub_download; print(open(hf_hub_download('user/model', 'a.txt')).read())"
    ran = subprocess.run([sys.executable, "-c", program], env=hub.process_environment(), capture_output=True, text=True)
    assert ran.stdout.strip() == "one", ran.stderr
