"""What a Hub keeps: repositories with their history, accounts, and the rules for a card. Only for tests (see hub_server.py)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import yaml

LARGE_FILES = re.compile(r"\.(safetensors|bin|ckpt|pt|pth|onnx|msgpack|h5|npz|npy|png|jpe?g|webp|gif|mp4|zip|tar|model)$")
LARGE_SIZE = 10_000_000
"""Bytes from which on a file is large whatever its name."""
LICENCES = {
    "apache-2.0", "mit", "openrail", "creativeml-openrail-m", "openrail++", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "bsd-3-clause", "gpl-3.0", "agpl-3.0", "unlicense", "other", "unknown",
}  # fmt: skip
"""Some of those that the Hub knows."""
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
SDKS = {"gradio", "streamlit", "docker", "static"}


class Refusal(Exception):
    """An answer other than the one hoped for: its HTTP status, the Hub's code for it (X-Error-Code), and a sentence."""

    def __init__(self, status: int, message: str, code: str = "", **extra: object) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.extra = status, message, code, extra


@dataclass(frozen=True)
class Blob:
    """Content of a file, kept in git itself or as a large file (LFS)."""

    data: bytes
    large: bool

    @classmethod
    def of(cls, path: str, data: bytes) -> Blob:
        return cls(data, is_large(path, len(data)))

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def oid(self) -> str:
        """Git's hash of the file, or of the pointer that stands for a large one."""
        stored = self.pointer if self.large else self.data
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.oid


def is_large(path: str, size: int) -> bool:
    return size > 0 and (size >= LARGE_SIZE or LARGE_FILES.search(path.lower()) is not None)


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: Commit | None
    title: str
    user: str
    files: Mapping[str, Blob]


@dataclass
class Repo:
    """A repository of one kind ("model" or "space"). `private`: nobody else sees it; `gated`: others must be let in first."""

    id: str
    kind: str = "model"
    private: bool = False
    gated: bool = False
    let_in: set[str] = field(default_factory=set)
    refs: dict[str, Commit] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    history: dict[str, Commit] = field(default_factory=dict)
    sdk: str = ""
    hardware: str = "cpu-basic"
    sleep_time: int | None = None
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    @property
    def path(self) -> str:
        """Of its page, below the Hub's address."""
        return self.id if self.kind == "model" else f"{self.kind}s/{self.id}"

    def find(self, revision: str) -> Commit:
        """Of a branch, a tag, a pull request ("refs/pr/1") or a commit; seven or more digits of one are enough."""
        commit = self.refs.get(revision) or self.history.get(revision)
        if commit is None and re.fullmatch(r"[0-9a-f]{7,39}", revision):
            commit = next((self.history[oid] for oid in self.history if oid.startswith(revision)), None)
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def commit(
        self, changes: Mapping[str, Blob | None], title: str, user: str, ref: str = "main", parent: Commit | None = None
    ) -> Commit:
        """Adds a commit to a ref; None as a file's content deletes it. `parent`: the head of the ref if not given."""
        parent = parent or self.refs.get(ref)
        files = dict(parent.files) if parent else {}
        for path, blob in changes.items():
            if blob is not None:
                files[path] = blob
            elif files.pop(path, None) is None:
                raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        made_of = [
            parent.oid if parent else "",
            title,
            user,
            len(self.history),
            sorted((path, blob.oid) for path, blob in files.items()),
        ]
        oid = hashlib.sha1(json.dumps(made_of).encode()).hexdigest()
        commit = Commit(oid, parent, title, user, files)
        self.history[oid] = self.refs[ref] = commit
        return commit

    def open_pull_request(self) -> str:
        number = 1 + sum(name.startswith("refs/pr/") for name in self.refs)
        return f"refs/pr/{number}"


def front_matter(text: str) -> str | None:
    """The YAML between the two lines of three dashes that a card begins with."""
    match = re.match(r"\s*---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(\r?\n|$)", text, re.DOTALL)
    return match[1] if match else None


def card_errors(text: str, kind: str) -> tuple[list[str], list[str]]:
    """What is wrong with a README's front matter: errors, for which the Hub refuses the file, and warnings."""
    matter = front_matter(text)
    if not matter or not matter.strip():
        missing = "empty or missing yaml metadata in repo card"
        return ([f"Missing configuration in README: {missing}"], []) if kind == "space" else ([], [missing])
    try:
        data = yaml.safe_load(matter)
    except yaml.YAMLError as error:
        return [f"Invalid YAML: {' '.join(str(error).split())}"], []
    if not isinstance(data, dict):
        return ["YAML metadata must be an object"], []
    errors = []

    def expect(holds: bool, message: str) -> None:
        if not holds:
            errors.append(message)

    licence = data.get("license")
    for one in licence if isinstance(licence, list) else [licence]:
        expect(
            one is None or (isinstance(one, str) and one in LICENCES), f'"license" must be one of [{", ".join(sorted(LICENCES))}]'
        )
    for name in ("tags", "datasets", "language", "base_model"):
        value = data.get(name)
        expect(
            value is None or isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value)),
            f'"{name}" must be a string or an array of strings',
        )
    for name in ("library_name", "pipeline_tag", "title", "app_file", "python_version", "sdk_version"):
        expect(name not in data or isinstance(data[name], str), f'"{name}" must be a string')
    expect(data.get("emoji") is None or isinstance(data["emoji"], str), '"emoji" must be a string')
    for name in ("colorFrom", "colorTo"):
        expect(str(data.get(name, "red")) in COLOURS, f'"{name}" must be one of [{", ".join(sorted(COLOURS))}]')
    expect(len(str(data.get("short_description", ""))) <= 60, '"short_description" length must be at most 60 characters long')
    if kind == "space":
        expect(str(data.get("sdk")) in SDKS, f'"sdk" must be one of [{", ".join(sorted(SDKS))}]')
    errors += _index_errors(data.get("model-index", []))
    return errors, []


def _index_errors(index: object) -> list[str]:
    """What is wrong with the evaluation (model-index) of a card."""
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    for at, model in enumerate(index):
        where = f'"model-index[{at}]'
        if not isinstance(model, dict) or not isinstance(model.get("name"), str) or not isinstance(model.get("results"), list):
            return [f'{where}" needs a name and an array of results']
        for number, result in enumerate(model["results"]):
            here = f"{where}.results[{number}]"
            if not isinstance(result, dict):
                return [f'{here}" must be an object']
            for part, names in (("task", ("type",)), ("dataset", ("type", "name"))):
                if not isinstance(result.get(part), dict) or any(not isinstance(result[part].get(name), str) for name in names):
                    return [f'{here}.{part}" needs {" and ".join(names)}']
            metrics = result.get("metrics")
            if not isinstance(metrics, list) or not metrics:
                return [f'{here}.metrics" is required']
            if any(
                not isinstance(one, dict) or not isinstance(one.get("type"), str) or one.get("value") is None for one in metrics
            ):
                return [f'{here}.metrics" need type and value']
    return []
