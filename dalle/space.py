"""The page as a Space of the Hub: `python -m dalle space USER/SPACE --model USER/REPO`.

A Space gets app.py and what it imports, the same files as at home, with a README, requirements and `space.json` (`dalle.place`)
made for it. All goes up in one commit; a second run sends what changed, and leaves the owner's own files, text and title alone.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalle import hub
from dalle.config import SettingError
from dalle.hub_errors import patiently
from dalle.models import check_kind
from dalle.place import RECORD, names_in
from dalle.publish import PublishError, api_for, checked_repo, look, may_write, say, send, told

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ROOT = Path(__file__).resolve().parents[1]
APP, README, REQUIREMENTS, LICENCE = "app.py", "README.md", "requirements.txt", "LICENSE"
DATA = "ui/static/*"
NEW = {README, ".gitattributes"}
"""What the Hub puts into a new Space."""

FREE, ZERO = "cpu-basic", "zero-a10g"
PYTHON = "3.12"
"""ZeroGPU has no 3.11."""
TORCH_ON_ZERO, SPACES = "torch>=2.11,<2.12", "spaces>=0.51,<1"
CPU_BUILDS = "--extra-index-url https://download.pytorch.org/whl/cpu"
"""There torch's version has "+cpu" behind it, so pip prefers it to the same one of PyPI, which brings gigabytes for GPUs."""

DEFAULTS: dict[str, Any] = {
    "title": "Open DALL·E",
    "emoji": "🎨",
    "colorFrom": "red",
    "colorTo": "yellow",
    "short_description": "A sentence goes in, a picture comes out",
    "tags": ["text-to-image", "dalle"],
    "license": "apache-2.0",
}
TEXT = f"""
A sentence goes in, a picture comes out: draw, walk from one picture to another, mix, search, and see how it is done.

This Space was made by `python -m dalle space`. Which model it opens with stands in `{RECORD}`; the variable `DALLE_MODEL` in the
Space's settings counts more. `DALLE_MODELS`, names with commas between, are the models that visitors may switch to.
"""


@dataclass(frozen=True)
class Placed:
    """What was done. `sent` and `deleted` are empty where nothing was to do; `refused` says why the hardware is another."""

    space: str
    url: str
    commit: str
    hardware: str
    private: bool
    sent: tuple[str, ...]
    deleted: tuple[str, ...]
    refused: str | None = None


@dataclass(frozen=True)
class Plan:
    """What a Space is to serve, and on what. `models` are those that visitors may switch to."""

    model: str
    models: tuple[str, ...] = ()
    hardware: str = FREE
    title: str | None = None

    def checked(self) -> Plan:
        """Raises SettingError: a model that is none of the Hub's, or hardware that it does not have."""
        from huggingface_hub import SpaceHardware

        for model in (self.model, *self.models):
            check_model(model)
        known = [hardware.value for hardware in SpaceHardware]
        if self.hardware not in known:
            raise SettingError(f"Unknown hardware {self.hardware!r}: choose one of {', '.join(known)}.")
        if self.title is not None and not self.title.strip():
            raise SettingError("--title is empty: write a title, or leave it out.")
        return self

    @property
    def offered(self) -> list[str]:
        """The allow-list, with the first model in it so that there is a way back."""
        return list(dict.fromkeys((self.model, *self.models))) if self.models else []


def check_model(model: str) -> None:
    """Raises SettingError where a model is none of the Hub's, `user/repo[@revision]`."""
    if os.path.exists(os.path.expanduser(model)):
        raise SettingError(
            f"{model} lies on this machine, where a Space can't see it: push it first (python -m dalle push {model} USER/REPO), "
            "then give USER/REPO."
        )
    repo, at, revision = model.partition("@")
    checked_repo(repo)
    if at and not re.fullmatch(r"[\w.+/-]+", revision, re.ASCII):
        raise SettingError(f"{model!r} has no revision behind its @: give a branch, a tag or a commit.")


# The folder


def needed(root: Path = ROOT, start: str = APP) -> set[str]:
    """Paths of a script of the project and of all modules of it that are imported from there, also inside functions."""
    found: set[str] = set()
    left = [start]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse((root / path).read_text(encoding="utf-8"))):
            for name in imported(node):
                left += [file for file in files_of(name) if (root / file).is_file()]
    return found


def imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(name: str) -> Iterator[str]:
    """Where a module, and the packages it lies in, may be: "a.b" -> a.py, a/__init__.py, a/b.py, a/b/__init__.py."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        path = "/".join(parts[:count])
        yield from (f"{path}.py", f"{path}/__init__.py")


def contents(plan: Plan, readme: str | None = None, root: Path = ROOT) -> dict[str, bytes]:
    """Path -> content of all that a Space gets; `readme` is the one that it has, where it was made by an earlier run.

    Raises:
        SettingError: this is no copy of the project.
        PublishError: that README can't be read.
    """
    if not all((root / path).is_file() for path in (APP, REQUIREMENTS, LICENCE)):
        raise SettingError(f"A Space is made of a copy of the project, and {root} is none: run this in one.")
    paths = {*needed(root), LICENCE, *(path.relative_to(root).as_posix() for path in root.glob(DATA) if path.is_file())}
    files = {path: (root / path).read_bytes() for path in sorted(paths)}
    files[REQUIREMENTS] = requirements((root / REQUIREMENTS).read_text(encoding="utf-8"), plan.hardware).encode()
    files[README] = card(plan, readme).encode()
    record = {"model": plan.model, "models": plan.offered, "hardware": plan.hardware, "files": sorted([*files, RECORD])}
    return files | {RECORD: (json.dumps(record, indent=2) + "\n").encode()}


def requirements(own: str, hardware: str) -> str:
    """The project's requirements as a Space needs them: gradio as in the README, and the torch that suits the hardware."""
    lines = [line for line in own.splitlines() if line.strip() and not line.startswith("#")]
    swapped = {"gradio": f"gradio[mcp]=={version('gradio')}"}
    before, behind = [], []
    if hardware == ZERO:
        swapped["torch"] = TORCH_ON_ZERO
        behind = [SPACES]
    elif hardware.startswith("cpu-"):
        before = [CPU_BUILDS]
    return "\n".join([*before, *(swapped.get(re.match(r"[\w-]*", line)[0], line) for line in lines), *behind]) + "\n"


def card(plan: Plan, readme: str | None = None) -> str:
    """The README of a Space. What its owner wrote into an earlier one stays, but for what says how it is run.

    Raises:
        PublishError: the earlier one's front matter is none.
    """
    import yaml

    theirs, text = {}, TEXT
    if readme is not None:
        matter, text = split(readme)
        try:
            theirs = yaml.safe_load(matter)
        except yaml.YAMLError:
            theirs = None
        if not isinstance(theirs, dict):
            raise PublishError(f"The lines between --- at the top of the Space's {README} are no YAML: mend or delete it there.")
    run = {
        "sdk": "gradio",
        "sdk_version": version("gradio"),
        "python_version": PYTHON,
        "app_file": APP,
        "suggested_hardware": plan.hardware,
        "models": list(dict.fromkeys(model.partition("@")[0] for model in (plan.model, *plan.models))),
    }
    facts = {**DEFAULTS, **theirs, **run, **({} if plan.title is None else {"title": plan.title})}
    return f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=1000)}---\n{text}"


def split(readme: str) -> tuple[str, str]:
    """A README -> (its front matter, what follows)."""
    found = re.match(r"---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", readme, re.DOTALL | re.MULTILINE)
    return (found[1], readme[found.end() :]) if found else ("{}", readme)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes what a Space would get.

    Raises:
        SettingError: something is in the folder already.
        StorageError: it can't be written.
    """
    from dalle.images import storage_error

    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SettingError(f"There is something in {folder} already: give a new or an empty folder with --out.")
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    except OSError as error:
        raise storage_error(error, folder) from error


# The Space


def place(
    space: str,
    plan: Callable[[Mapping[str, Any]], Plan],
    *,
    private: bool | None = None,
    tell: Callable[[str], None] = say,
) -> Placed:
    """Creates or updates a Space.

    Args:
        space: `user/space`, or that of an organisation.
        plan: makes it of what an earlier run left in the Space's `space.json`; {} where there was none.
        private: whether it is to be private: a new one is, where not given, and an existing one stays as it is.

    Raises:
        SettingError: a name or a choice that can't be.
        CheckpointError: the model is not to be had, or is none.
        PublishError: no or a wrong token, no network, another app in that place, or the Hub refuses: the Space is as it was.
    """
    checked_repo(space)
    api = api_for()
    with told(f"Could not make the Space {space}"):
        may_write(api, space)
        remote = look(api, space, kind="space")
        earlier = {}
        if RECORD in remote.files:
            earlier = record_in(text_of(api, space, RECORD, remote.commit))
        elif others := sorted(set(remote.files) - NEW):
            raise PublishError(
                f"{space} holds something else already ({others[0]} for one), and that stays: give another name, or empty it first."
            )
        wish = plan(earlier).checked()
        readme = text_of(api, space, README, remote.commit) if RECORD in remote.files and README in remote.files else None
        files = contents(wish, readme)
        for model in dict.fromkeys((wish.model, *wish.models)):
            look_at(api, model, tell)
        ours = [path for path in earlier.get("files", ()) if isinstance(path, str)]
        message = f"Open DALL·E with {wish.model}"
        pushed = send(api, space, files, message=message, private=private, ours=ours, remote=remote, kind="space", tell=tell)
        hardware, refused = equipped(api, space, wish.hardware, tell)
    url = f"{api.endpoint}/spaces/{space}"
    return Placed(space, url, pushed.commit, hardware, pushed.private, pushed.sent, pushed.deleted, refused)


def text_of(api: HfApi, space: str, path: str, commit: str) -> str:
    """A text file of a Space."""
    found = patiently(lambda: api.hf_hub_download(space, path, repo_type="space", revision=commit))
    return Path(found).read_text(encoding="utf-8", errors="replace")


def record_in(text: str) -> dict[str, Any]:
    """What a Space's record says; {} where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def look_at(api: HfApi, model: str, tell: Callable[[str], None]) -> None:
    """Sees whether a model is there and can be opened, without its weights; says so where the Space will not get at it.

    Raises:
        CheckpointError: it is not there, or none.
    """
    check_kind(hub.describe(model).kind)
    repo, _, revision = model.partition("@")
    found = patiently(lambda: api.model_info(repo, revision=revision or None))
    if found.private or found.gated:
        kind = "private" if found.private else "gated"
        tell(f"{repo} is {kind}: give the Space a token that may read it, as the secret HF_TOKEN in its settings.")


def equipped(api: HfApi, space: str, hardware: str, tell: Callable[[str], None]) -> tuple[str, str | None]:
    """Asks for hardware where the Space has other -> (what it has then, why the wish was refused)."""
    from huggingface_hub.errors import HfHubHTTPError

    runtime = patiently(lambda: api.get_space_runtime(space))
    now = str(runtime.requested_hardware or runtime.hardware or FREE)
    if now == hardware:
        return now, None
    try:
        patiently(lambda: api.request_space_hardware(space, hardware))
    except HfHubHTTPError as error:
        if error.response.status_code not in (400, 402, 403):
            raise
        said = " ".join(str(error.server_message or "it gives no reason").split())
        needs = "a PRO account or an organisation with a plan" if hardware == ZERO else "a payment method in the account's settings"
        return now, (
            f"{space} is there and runs on {now}, for the Hub refuses {hardware}: {said}. That takes {needs}; "
            "run this again then, or choose the hardware in the Space's settings."
        )
    tell(f"{space} moves from {now} to {hardware}.")
    return hardware, None


# The command


def add_command(commands: Any, run: Callable[..., None]) -> None:
    """Adds `space` to the command line; `run` is called with its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "space",
        help="put the page on the Hub",
        description="Create or update a Gradio Space on the Hugging Face Hub that serves this page with a model of the Hub. A "
        "second run sends only what changed. Log in with `hf auth login`, or set HF_TOKEN.",
    )
    parser.add_argument("space", metavar="USER/SPACE", help="where to; created if it is missing")
    parser.add_argument("--model", required=True, metavar="USER/REPO[@REVISION]", help="what it draws with")
    parser.add_argument("--models", metavar="A,B", help="other models that visitors may switch to (default: none)")
    parser.add_argument(
        "--hardware",
        metavar="NAME",
        help=f"{FREE}, {ZERO} (a GPU for seconds at a time), t4-small ... (default: {FREE} for a new one)",
    )
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument("--private", action="store_const", const=True, help="only you see it (default for a new one)")
    seen.add_argument("--public", dest="private", action="store_const", const=False, help="everybody sees it")
    parser.add_argument("--title", help=f"what its page is called (default: {DEFAULTS['title']})")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="only write what would be sent to a folder; takes no token")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.set_defaults(run=run)


def plan_of(arguments: argparse.Namespace, earlier: Mapping[str, Any]) -> Plan:
    """What the command line asks for; what it leaves out is as it was."""

    def kept(name: str, kind: type, usual: Any) -> Any:
        return earlier[name] if isinstance(earlier.get(name), kind) else usual

    models = kept("models", list, []) if arguments.models is None else names_in(arguments.models)
    hardware = arguments.hardware or kept("hardware", str, FREE)
    others = tuple(str(name) for name in models if name != arguments.model)
    return Plan(arguments.model, others, hardware, arguments.title)
