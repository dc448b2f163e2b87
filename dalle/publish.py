"""Weights to the Hub: `python -m dalle push FOLDER USER/REPO`.

Everything is checked before anything is sent: the card, the files, the token, and that the folder draws. What has changed goes
up in one commit, so that a repository holds either the old model or the new one; what was uploaded before an interruption is
kept by the Hub and is not sent again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalle import hub
from dalle.card import CARD, SAMPLES, SHEET, complete, draw_samples, licence_id, read_card, results_of
from dalle.config import CheckpointError, DalleError, SettingError
from dalle.hub_errors import BUSY, check_token, may_pass, patiently, status_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    from dalle.pipeline import DallePipeline

Files = Mapping[str, Path | bytes]
"""Path in a repository -> a file here, or its content."""

LAYOUT = {
    "vae": ("config.json", hub.WEIGHTS),
    "prior": ("config.json", hub.WEIGHTS, "trained_with.json"),
    "ranker": ("config.json", hub.WEIGHTS, "trained_with.json"),
    "judge": ("captions.json", "vectors.safetensors"),
    "reference": ("drawings.json", "pictures.safetensors"),
    "history": ("moments.json", "pictures.safetensors"),
    "samples": (SHEET.split("/")[-1],),
}
"""Folders of a checkpoint -> the files that this program writes there. No other file in a repository is ever deleted."""
TEXTS, WEIGHTS, PICTURES = (".json", ".md", ".txt"), (".safetensors",), (".webp", ".png")
EVALUATIONS = ("evaluation.json", "docs/evaluation.json")
"""Where an evaluation is looked for: in the checkpoint, then where `python -m train evaluate` writes it."""

SILENCE = 120.0
"""Seconds without a byte after which a connection is given up; the library itself would wait for ever."""

_SECRET = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}|\bhf_(?:jwt|oauth)_[\w.-]{20,}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|/\.))[A-Za-z0-9_][\w./-]{0,99}")


class PublishError(DalleError):
    """Something could not be sent to the Hub; says what is wrong and what to do, and holds no token."""


@dataclass(frozen=True)
class Remote:
    """A repository as the Hub has it; `commit` is "" and `files` empty where there is none yet."""

    commit: str = ""
    private: bool | None = None
    files: Mapping[str, RepoFile] = field(default_factory=dict)
    branch: bool = True
    """Whether the branch that was asked for is there; the files are those of main where not."""

    @property
    def exists(self) -> bool:
        return self.private is not None


@dataclass(frozen=True)
class Pushed:
    """What a push did. `sent` and `deleted` are both empty where there was nothing to do, and `commit` is then the last one."""

    repo: str
    commit: str
    url: str
    pull_request: str | None
    private: bool
    sent: tuple[str, ...]
    deleted: tuple[str, ...]


def say(message: str) -> None:
    """A line of progress."""
    print(message, file=sys.stderr, flush=True)


# The Hub


def scrubbed(text: str) -> str:
    """The text without anything that is, or looks like, a token."""
    from huggingface_hub import get_token

    token = get_token()
    return _SECRET.sub("(token)", text.replace(token, "(token)") if token else text)


def api_for(token: str | None = None) -> HfApi:
    """The Hub's interface, with the given token, or else that of HF_TOKEN or of `hf auth login`.

    Raises:
        PublishError: there is none.
        CheckpointError: it can't be one.
    """
    from huggingface_hub import HfApi, constants, get_token

    token = token or get_token()
    if not token:
        raise PublishError(
            f"There is no token for the Hub. Make one that may write at {constants.ENDPOINT}/settings/tokens, then run "
            "`hf auth login`, or set HF_TOKEN."
        )
    check_token(token)
    return HfApi(token=token)


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turns what huggingface_hub raises into PublishError.

    Args:
        what: the beginning of the message: "Could not push to user/repo".
    """
    from huggingface_hub import get_session
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    get_session().timeout = SILENCE
    try:
        yield
    except DalleError:
        raise
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        root = _root(error)
        if isinstance(root, OfflineModeIsEnabled):
            advice = "HF_HUB_OFFLINE is set, so the Hub is not asked: unset it."
        elif isinstance(root, HfHubHTTPError):
            advice = _advice(root)
        elif isinstance(root, HTTPError):
            from huggingface_hub import constants

            advice = (
                f"the Hub can't be reached at {constants.ENDPOINT} ({type(root).__name__}). Check the network, then run it again: "
                "what was uploaded is not sent again."
            )
        elif isinstance(root, ValueError):
            advice = scrubbed(" ".join(str(root).split()))
        elif isinstance(root, OSError):
            advice = scrubbed(f"{root.strerror or root}: {root.filename}." if root.filename else f"{root}.")
        else:
            advice = f"{type(root).__name__}: {scrubbed(' '.join(str(root).split()))}"
        raise PublishError(f"{what}: {advice}") from error


def _root(error: BaseException) -> BaseException:
    """What was raised at first: the library wraps what goes wrong in the threads that upload."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _advice(error: Any) -> str:
    """What the Hub's answer means, and what to do."""
    from huggingface_hub import constants

    status = error.response.status_code
    words = scrubbed(" ".join(str(error.server_message or "").split()))
    tokens = f"{constants.ENDPOINT}/settings/tokens"
    if status == 401:
        return f"the Hub does not accept the token. Make one that may write at {tokens}, then run `hf auth login`, or set HF_TOKEN."
    if status == 403:
        return f"the token may not do that. Make one that may write there at {tokens}. The Hub says: {words or 'forbidden'}"
    if status == 404:
        return "there is no such repository or branch, or the token may not see it: check the name."
    if status in (409, 412):
        return "it was changed at the same time by somebody else: run it again."
    if status == 429:
        return "the Hub asks to wait (too many requests): run it again in some minutes. What was uploaded is not sent again."
    if status in BUSY:
        return f"the Hub has a problem of its own ({status}): run it again later. What was uploaded is not sent again."
    return f"the Hub refuses it ({status}): {words or 'it gives no reason'}"


def checked_repo(repo: str) -> str:
    """A repository's id, `user/repo`.

    Raises:
        SettingError: it is none.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise SettingError(f"{repo!r} is no repository: write user/repo with letters, digits, -, _ and single dots.") from error
    if repo.count("/") != 1:
        raise SettingError(f"{repo!r} names no owner: write user/repo.")
    return repo


def checked_branch(revision: str | None) -> str | None:
    """A branch's name, or None for main.

    Raises:
        SettingError: it is no branch: a commit, or a name that git does not allow.
    """
    if revision is None or revision == "main":
        return None
    if not _BRANCH.fullmatch(revision) or _COMMIT.fullmatch(revision) or revision.endswith((".lock", "/", ".")):
        raise SettingError(f"{revision!r} is no branch to push to: give a name such as trial.")
    return revision


def may_write(api: HfApi, repo: str, pull_request: bool = False) -> str:
    """Asks the Hub who the token belongs to, and whether that account writes in the repository's namespace; -> its name.

    Raises:
        PublishError: the Hub does not know the token, it only reads, or the namespace is another's.
    """
    from huggingface_hub import constants

    account = patiently(api.whoami)
    name, owner = str(account.get("name")), repo.split("/")[0]
    role = ((account.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise PublishError(
            f"The token of {name} may only read. Make one that may write at {constants.ENDPOINT}/settings/tokens, then run "
            "`hf auth login`, or set HF_TOKEN."
        )
    groups = {str(group.get("name")): group.get("roleInOrg") for group in account.get("orgs") or []}
    if pull_request or owner == name or groups.get(owner, "read") != "read":
        return name
    if owner in groups:
        raise PublishError(f"{name} may only read in {owner}: ask its administrators for the right to write.")
    raise PublishError(
        f"The token is of {name}, who may not write in {owner}: push to {name}/{repo.split('/')[1]}, or log in with an account "
        f"of {owner} (`hf auth login`, or HF_TOKEN)."
    )


def look(api: HfApi, repo: str, revision: str | None = None, kind: str = "model") -> Remote:
    """A repository as it is now; its `kind` is "model" or "space"."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.hf_api import RepoFile

    info = None
    try:
        with contextlib.suppress(RevisionNotFoundError):
            info = patiently(lambda: api.repo_info(repo, repo_type=kind, revision=revision))
        branch = info is not None
        info = info or patiently(lambda: api.repo_info(repo, repo_type=kind))
        tree = patiently(lambda: list(api.list_repo_tree(repo, repo_type=kind, revision=info.sha, recursive=True)))
    except RepositoryNotFoundError as error:
        if status_of(error) == 401:
            raise
        return Remote()
    return Remote(info.sha or "", bool(info.private), {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}, branch)


def unchanged(content: Path | bytes, there: RepoFile | None) -> bool:
    """Whether the Hub has exactly this content: by its size, then by SHA-256 for large files and by git's SHA-1 for others."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if there is None or there.size != size:
        return False
    if there.lfs is not None:
        ours = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else hub.sha256(content)
        return ours == there.lfs.sha256
    data = content if isinstance(content, bytes) else content.read_bytes()
    return hashlib.sha1(b"blob %d\0" % size + data).hexdigest() == there.blob_id


def send(
    api: HfApi,
    repo: str,
    files: Files,
    *,
    message: str,
    private: bool | None = None,
    revision: str | None = None,
    pull_request: bool = False,
    ours: Collection[str] = (),
    remote: Remote | None = None,
    kind: str = "model",
    tell: Callable[[str], None] = say,
) -> Pushed:
    """Makes a repository hold these files, in one commit of what differs; creates it where it is missing.

    Args:
        private: True for a new repository where not given; None leaves an existing one as it is.
        revision: a branch, which is made of main where it is missing.
        pull_request: propose the commit instead.
        ours: paths that are deleted there where `files` lacks them.
        remote: what `look` found, where it was asked already.
        kind: "model", or "space" for one of Gradio.

    Raises:
        CheckpointError: the Hub does not take the card's metadata; nothing was made or changed.
        PublishError: it could not be sent; the repository holds what it held, and nothing where it is new.
    """
    with told(f"Could not push to {repo}"):
        remote = look(api, repo, revision, kind) if remote is None else remote
        if pull_request and not remote.exists:
            raise PublishError(f"There is no repository {repo} to propose changes to: push without --pull-request first.")
        card = files.get(CARD)
        if isinstance(card, bytes) and not unchanged(card, remote.files.get(CARD)):
            _ask_about(card, kind)
        if not remote.exists:
            private = private is not False
            sdk = "gradio" if kind == "space" else None
            patiently(lambda: api.create_repo(repo, repo_type=kind, space_sdk=sdk, private=private, exist_ok=True))
            tell(f"Created {repo}, {'private' if private else 'public'}.")
            remote = look(api, repo, revision, kind)
        elif private:  # before anything new is in it
            _show(api, repo, remote, private, kind, tell)
        if not remote.branch and not pull_request:
            patiently(lambda: api.create_branch(repo, branch=revision or "main", exist_ok=True))
        pushed = _commit(api, repo, files, message, revision, pull_request, ours, remote, kind, tell)
        if private is False:
            _show(api, repo, remote, private, kind, tell)
        return pushed if private is None else replace(pushed, private=private)


def _ask_about(card: bytes, kind: str) -> None:
    """Raises CheckpointError where the Hub would not take a card's metadata: before anything is made there."""
    from huggingface_hub import ModelCard

    try:
        read = ModelCard(card.decode())
        patiently(lambda: read.validate(kind))
    except ValueError as error:
        try:
            reasons = "; ".join(one["message"] for one in json.loads(str(error))["errors"])
        except (ValueError, KeyError, TypeError):
            reasons = str(error)
        raise CheckpointError(f"The Hub refuses the metadata at the top of {CARD}: {' '.join(reasons.split())}") from error


def _show(api: HfApi, repo: str, remote: Remote, private: bool, kind: str, tell: Callable[[str], None]) -> None:
    """Makes an existing repository private or public."""
    if remote.private != private:
        patiently(lambda: api.update_repo_settings(repo, repo_type=kind, private=private))
        tell(f"{repo} is {'private' if private else 'public'} now.")


def _commit(
    api: HfApi,
    repo: str,
    files: Files,
    message: str,
    revision: str | None,
    pull_request: bool,
    ours: Collection[str],
    remote: Remote,
    kind: str,
    tell: Callable[[str], None],
) -> Pushed:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    def differences(there: Remote) -> tuple[tuple[str, ...], tuple[str, ...]]:
        changed = tuple(path for path, content in files.items() if not unchanged(content, there.files.get(path)))
        return changed, tuple(path for path in there.files if path in ours and path not in files)

    def result(commit: str, url: str | None = None, proposed: str | None = None) -> Pushed:
        url = url or f"{api.endpoint}/{'' if kind == 'model' else 'spaces/'}{repo}/commit/{commit}"
        return Pushed(repo, commit, url, proposed, bool(remote.private), sent, deleted)

    def attempt() -> Pushed:
        operations = [CommitOperationAdd(path, c if isinstance(c, bytes) else str(c)) for path, c in files.items() if path in sent]
        try:
            made = api.create_commit(
                repo,
                [*operations, *(CommitOperationDelete(path) for path in deleted)],
                repo_type=kind,
                commit_message=message,
                revision=revision,
                create_pr=pull_request,
                parent_commit=remote.commit or None,
            )
        except Exception as error:
            if may_pass(error) and not pull_request:  # it may be the answer alone that got lost
                now = look(api, repo, revision, kind)
                if now.commit != remote.commit and differences(now) == ((), ()):
                    return result(now.commit)
            raise
        return result(made.oid, made.commit_url, made.pr_url)

    sent, deleted = differences(remote)
    if not sent and not deleted:
        tell(f"Nothing to do: {repo} has all of it.")
        return result(remote.commit)
    size = sum(len(c) if isinstance(c, bytes) else c.stat().st_size for c in (files[path] for path in sent))
    tell(f"Sending {len(sent)} of {len(files)} files to {repo} ({max(1, size // 1024):,} KiB).")
    for path in deleted:
        tell(f"Deleting {path} there: this folder has none.")
    # A second pull request of the same would be worse than a question.
    return attempt() if pull_request else patiently(attempt)


# A checkpoint


def files_of(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """(path in the repository -> file, for all that may be sent; what is left out, by its path).

    Sent are texts, safetensors and pictures of a checkpoint's own folders; never a hidden file, a link that leads out of the
    folder, a pickle, or code.
    """
    cached = folder.resolve().parent.parent / "blobs" if folder.resolve().parent.name == "snapshots" else None
    found: dict[str, Path] = {}
    left: list[str] = []
    for place, folders, names in os.walk(folder):
        inside = Path(place).relative_to(folder)
        foreign = [name for name in folders if inside != Path() or name not in LAYOUT]
        left += [f"{(inside / name).as_posix()}/" for name in foreign]
        folders[:] = sorted(set(folders) - set(foreign))
        suffixes = PICTURES if inside == Path("samples") else (*TEXTS, *(WEIGHTS if inside != Path() else ()))
        for name in sorted(names):
            path, target = Path(place) / name, (Path(place) / name).resolve()
            within = target.is_relative_to(folder.resolve()) or (cached is not None and target.is_relative_to(cached))
            if name.startswith(".") or path.suffix.lower() not in suffixes or not within or not path.is_file():
                left.append((inside / name).as_posix())
            else:
                found[(inside / name).as_posix()] = path
    return found, left


def prepared(found: Mapping[str, Path]) -> dict[str, Path | bytes]:
    """The files as they are sent: configs without the folder of this machine that the library notes in them.

    Raises:
        CheckpointError: a text holds what looks like an access token.
    """
    from huggingface_hub import get_token

    token = (get_token() or "").encode()
    files: dict[str, Path | bytes] = {}
    for name, path in found.items():
        files[name] = path
        if path.suffix.lower() not in TEXTS:
            continue
        data = path.read_bytes()
        if (token and token in data) or _SECRET.search(data.decode("utf-8", "replace")):
            raise CheckpointError(f"{path} holds what looks like an access token: take it out of there, and revoke it on the Hub.")
        if path.name in ("config.json", "model_index.json"):
            config = hub.read_json(path)
            if config.pop("_name_or_path", None) is not None:
                files[name] = (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
    return files


def load(folder: Path) -> DallePipeline:
    """The checkpoint, in the one number format in which a seed is the same picture on every machine.

    Raises:
        CheckpointError: it can't be loaded here, or could not be elsewhere.
    """
    import diffusers
    import transformers

    from dalle.pipeline import DallePipeline

    index = hub.check(folder)
    encoder = str(index.get("text_encoder_name", "minilm"))
    if Path(encoder).expanduser().is_absolute() or Path(encoder).is_dir():
        raise CheckpointError(
            f"{folder} names a folder of this machine as its text encoder, which nobody else has: push the encoder to the Hub and "
            "train with its id."
        )
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    try:
        pipeline = DallePipeline.from_pretrained(folder)
    except DalleError:
        raise
    except Exception as error:
        raise CheckpointError(f"{folder} could not be loaded ({type(error).__name__}: {error}).") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def push(
    folder: Path,
    repo: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    pull_request: bool = False,
    message: str | None = None,
    licence: str | None = None,
    samples: bool = True,
    evaluation: Path | None = None,
    tell: Callable[[str], None] = say,
) -> Pushed:
    """Publishes a checkpoint folder as a model on the Hub.

    Args:
        repo: `user/repo`, or that of an organisation.
        private: whether it is to be private: a new repository is, where not given, and an existing one stays as it is.
        revision: a branch instead of main.
        pull_request: propose the change instead of making it.
        licence: a licence id of the Hub's for the card, in place of its own.
        samples: whether pictures that the model draws go with it.
        evaluation: a JSON file of `python -m train evaluate`; looked for where not given.

    Raises:
        SettingError: a name or a choice that can't be.
        CheckpointError: the folder does not load or draw, or its card is wrong: nothing was sent.
        PublishError: no or a wrong token, no network, or the Hub refuses; the repository holds what it held.
    """
    checked_repo(repo)
    revision = checked_branch(revision)
    if pull_request and revision is not None:
        raise SettingError("Either --revision or --pull-request: a pull request is against main.")
    licence = None if licence is None else licence_id(licence)
    if message is not None and not message.strip():
        raise SettingError("--message is empty: say what changed, or leave it out.")
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder} to push: check the path.")
    hub.check(folder)
    weights = hub.revision(folder)
    card = read_card(folder / CARD)
    found, left = files_of(folder)
    files = prepared(found)
    api = api_for()
    with told("Could not ask the Hub"):
        may_write(api, repo, pull_request)
        remote = look(api, repo, revision)
    tell("Drawing with it …")
    drawn = draw_samples(load(folder), weights, SAMPLES if samples else 1)
    results = None
    for path in [evaluation] if evaluation else [folder / EVALUATIONS[0], Path(EVALUATIONS[1])]:
        if evaluation or path.is_file():
            try:
                results = results_of(path, weights)
                break
            except CheckpointError as error:
                tell(f"No evaluation in the card: {error}")
    if samples:
        files[SHEET] = drawn.sheet
    files[CARD] = complete(card, repo, licence, results, drawn if samples else None).encode()
    if licence is None and (card is None or not card.data.get("license")):
        tell("The card names no licence, so nobody may use the model: give one with --licence.")
    if left:
        tell(f"Not sent, no part of a checkpoint: {', '.join(sorted(left))}")
    _show_bars()
    return send(
        api,
        repo,
        files,
        message=message or f"Model with the weights {weights}",
        private=private,
        revision=revision,
        pull_request=pull_request,
        ours={f"{part}/{name}" for part, names in LAYOUT.items() for name in names},
        remote=remote,
        tell=tell,
    )


def _show_bars() -> None:
    """The library's bars are for a terminal. Loading a model has turned them off."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        (enable_progress_bars if sys.stderr.isatty() else disable_progress_bars)()


def add_command(commands: Any, run: Callable[..., None]) -> None:
    """Adds `push` to the command line; `run` is called with its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "push",
        help="publish a checkpoint on the Hub",
        description="Publish a checkpoint folder on the Hugging Face Hub, after checking that it loads and draws. A second push "
        "sends only what changed. Log in with `hf auth login`, or set HF_TOKEN.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a checkpoint folder: checkpoints/default")
    parser.add_argument("repo", metavar="USER/REPO", help="where to; created if it is missing")
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument("--private", action="store_const", const=True, help="only you see it (default for a new one)")
    seen.add_argument("--public", dest="private", action="store_const", const=False, help="everybody sees it")
    parser.add_argument("--revision", metavar="BRANCH", help="a branch; created if it is missing (default: main)")
    parser.add_argument("--pull-request", action="store_true", help="propose the change instead of making it")
    parser.add_argument("--message", metavar="TEXT", help="what changed, for the commit")
    parser.add_argument("--licence", "--license", metavar="ID", help="for the card, such as cc-by-4.0 (default: the card's own)")
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="JSON",
        help="figures for the card, by `python -m train evaluate` (default: docs/evaluation.json, if it is of these weights)",
    )
    parser.add_argument("--no-samples", dest="samples", action="store_false", help="send no pictures")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.set_defaults(run=run)
