"""Finds a checkpoint, local or on the Hub, and checks it before anything is loaded from it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalle.config import READABLE_VERSIONS, STEPS, CheckpointError
from dalle.selection import CARD, INDEX, MAX_TEXT_BYTES, chosen_variant, component_files, components, needed, why_no_pipeline

if TYPE_CHECKING:
    from torch import nn

    from dalle.fetch import Repository

COMPONENTS = ("vae", "prior")
OPTIONAL_COMPONENTS = ("ranker",)
WEIGHTS = "diffusion_pytorch_model.safetensors"
MAX_DATA_BYTES = 100_000_000
"""Of any other file that holds no weights: a tokenizer's words take some ten million."""
MAX_MATTER, MAX_LICENCE = 50_000, 120
"""Characters of a card's front matter, and of the licence that it names, that are read."""

_REPO_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.+/-]+))?", re.ASCII)
_PAGE = re.compile(
    r"https?://(www\.)?(huggingface\.co|hf\.co)/(?P<repo>[\w.-]+/[\w.-]+)/?(tree/(?P<revision>[\w.+/%-]+))?", re.ASCII
)
_SNAPSHOT = re.compile(r"models--[^/\\]+[/\\]snapshots[/\\](?P<commit>[0-9a-f]{40})")

HUB_ARGUMENTS = ("revision", "cache_dir", "token", "force_download", "local_files_only")


@dataclass(frozen=True)
class Description:
    """What a model is, before its weights are fetched.

    Attributes:
        model: as asked: a folder, or user/repo[@revision].
        revision: commit of a Hub repository, 40 hexadecimal digits; "" of a folder.
        kind: pipeline class in its model_index.json: "DallePipeline", "StableDiffusionPipeline" ...
        card: its README without the front matter; "" where there is none.
        licence: of the card's front matter; "" where it says none.
        size: bytes of the weights that loading reads.
    """

    model: str
    revision: str
    kind: str
    card: str
    licence: str
    size: int

    @property
    def pinned(self) -> str:
        """A name that stands for the same weights for ever: user/repo@commit; of a folder its name."""
        return f"{_split(self.model)[0]}@{self.revision}" if self.revision and _local(self.model) is None else self.model


def _split(model: str) -> tuple[str, str | None]:
    """user/repo[@revision], or the address of a repository's page -> (user/repo, revision or None).

    Raises:
        CheckpointError: it is neither.
    """
    match = _REPO_ID.fullmatch(model) or _PAGE.fullmatch(model.strip())
    revision = match and match["revision"] and match["revision"].replace("%2F", "/")
    if model == "checkpoints/default" or not match or model.startswith((".", "/")) or ".." in (revision or "").split("/"):
        raise CheckpointError(f"There is no checkpoint folder {model}: check the path, or give a Hub id such as user/repo.")
    return match["repo"], revision or None


def _local(model: str) -> Path | None:
    """The folder that a model's name stands for; None where it stands for a repository."""
    folder = os.path.expanduser(model)
    if os.path.isdir(folder):
        return Path(folder)
    if os.path.exists(folder):  # asked so, a name that no file can have is none
        raise CheckpointError(f"{model} is a file: --model takes a checkpoint folder or a Hub id such as user/repo.")
    return None


def _repository(model: str, where: dict[str, Any]) -> tuple[Repository, list[str]]:
    """A model's repository, and the files in it that loading needs."""
    from dalle.fetch import Repository

    repo, revision = _split(model)
    revision = revision or where.pop("revision", None)
    repository = Repository(repo, revision, (INDEX, CARD), **{key: value for key, value in where.items() if key != "revision"})
    sizes = repository.sizes
    if INDEX not in sizes:
        raise CheckpointError(why_no_pipeline(sizes, repository.asked))
    names = [INDEX]
    if sizes[INDEX] <= MAX_TEXT_BYTES:
        names = needed(read_json(repository.folder / INDEX), sizes, repository.asked)
    for name in names:
        if sizes[name] > (MAX_TEXT_BYTES if name == INDEX else MAX_DATA_BYTES) and not name.endswith(".safetensors"):
            raise CheckpointError(f"{name} of {repository.asked} is too large to be what it is called: choose another model.")
    return repository, names


def resolve(model: str, **where: Any) -> Path:
    """A folder, or a Hub id `user/repo[@revision]` fetched into the cache -> local folder.

    Only what the pipeline in its model_index.json is loaded from is fetched, of one commit, and its hashes are checked.

    Args:
        where: any of `HUB_ARGUMENTS`, as huggingface_hub takes them.

    Raises:
        CheckpointError: neither a folder nor a repository that can be had, or one that holds no pipeline without code or pickles.
    """
    if (folder := _local(model)) is not None:
        return folder
    repository, names = _repository(model, where)
    return repository.get(names)


def describe(model: str, **where: Any) -> Description:
    """What a model is, from its model_index.json and its card; of a repository on the Hub, no weights are fetched for it.

    Args:
        where: as for `resolve`.

    Raises:
        CheckpointError: as `resolve`, for a folder too.
    """
    if (folder := _local(model)) is not None:
        size, revision = sum(path.stat().st_size for path in weights_of(folder)), commit_of(folder)
    else:
        repository, names = _repository(model, where)
        folder, revision = repository.folder, repository.commit
        size = sum(repository.sizes[name] for name in names if name.endswith(".safetensors"))
    card, licence = read_card(folder)
    return Description(model, revision, read_json(folder / INDEX)["_class_name"], card, licence, size)


def fetch_encoder(repo: str, revision: str | None) -> Path:
    """A text encoder and its tokenizer, which lie at the top of a repository for transformers -> local folder.

    Raises:
        CheckpointError: as `resolve`.
    """
    from dalle.fetch import Repository

    repository = Repository(repo, revision, ("config.json",))
    return repository.get(component_files("", "transformers", repository.sizes, repository.asked))


def read_card(folder: Path) -> tuple[str, str]:
    """A folder's README without its front matter, and the licence that this names; "" for what is not there, or not to be read."""
    import yaml

    try:
        with open(folder / CARD, encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_TEXT_BYTES)
    except OSError:
        return "", ""
    match = re.match(r"\s*---[ \t]*\n(?P<matter>.*?)^---[ \t]*$", text, re.DOTALL | re.MULTILINE)
    if not match:
        return text.strip(), ""
    try:
        # Whoever wrote it may wish this program ill: nothing but text is made of it, no numbers, and no merged mappings.
        matter = yaml.load(match["matter"][:MAX_MATTER], yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        matter = None
    licence = matter.get("license") if isinstance(matter, dict) else None
    if licence == "other" and isinstance(matter.get("license_name"), str):
        licence = matter["license_name"]
    if isinstance(licence, list):
        licence = ", ".join(dict.fromkeys(one for one in licence if isinstance(one, str)))  # each once, however often it is named
    return text[match.end() :].strip(), licence[:MAX_LICENCE] if isinstance(licence, str) else ""


def commit_of(folder: Path) -> str:
    """Commit of a snapshot in the Hub's cache, 40 hexadecimal digits; "" of any other folder."""
    match = _SNAPSHOT.fullmatch(str(Path(*folder.absolute().parts[-3:])))
    return match["commit"] if match else ""


def weights_of(folder: Path) -> list[Path]:
    """The weight files of a local pipeline that loading reads, one variant of each component.

    Raises:
        CheckpointError: as `resolve`, for what is in the folder.
    """
    index = read_json(folder / INDEX)  # first: the folder may be any, and a large one
    there = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [folder / name for name in needed(index, there, str(folder)) if name.endswith(".safetensors")]


def variant_of(folder: Path) -> str | None:
    """The variant ("fp16") of a local pipeline's weights where a component has them in no other way, as diffusers takes it."""
    for name, library in components(read_json(folder / INDEX)).items():
        inside = [path.name for path in (folder / name).iterdir()] if (folder / name).is_dir() else []
        if (found := chosen_variant(inside, library)) and found[0]:
            return found[0]
    return None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or CheckpointError with the file's name."""
    try:
        if path.name == INDEX and path.stat().st_size > MAX_TEXT_BYTES:
            raise OSError("too large")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a checkpoint of this project: {path.name} is missing.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: fetch or train the checkpoint again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: fetch or train the checkpoint again.")
    return data


def prior_class(model: str) -> str:
    """Name of the class of a local checkpoint's prior; of one that is not here, or can't be read, the one that stage 3 makes."""
    try:
        name = read_json(Path(model).expanduser() / "prior" / "config.json").get("_class_name")
    except CheckpointError:
        name = None
    return name if name in STEPS else "FlowMapPrior"


def check_weights(path: Path) -> None:
    """Compares a safetensors file's length with what its header promises: a truncated download is named as such."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > min(size, 100_000_000):
                raise ValueError("header")
            header = json.loads(handle.read(length))
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: fetch or train the checkpoint again.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: fetch or train the checkpoint again.") from error
    if size != 8 + length + end:
        raise CheckpointError(f"{path} is truncated: {size} of {8 + length + end} bytes. Fetch it again.")


def check_names(path: Path, network: nn.Module) -> None:
    """Compares the names of a safetensors file's weights with those of the network that was made of it.

    The library that loads them only warns where some are missing or left over, and the network draws something else then.

    Raises:
        CheckpointError: the file is of another network, or of another version of it.
    """
    with open(path, "rb") as handle:
        header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
    wrong = set(header) - {"__metadata__"} ^ set(network.state_dict())
    if wrong:
        raise CheckpointError(
            f"{path} does not fit its config.json ({len(wrong)} weights are missing or left over, {min(wrong)} for one): it was "
            "made with another version of this program, or files of two checkpoints were mixed."
        )


def check_version(folder: Path, version: object) -> None:
    """Raises CheckpointError where this program does not read a layout of that version."""
    if type(version) is not int or version not in READABLE_VERSIONS:  # True and 2.0 would be equal to 1 and 2
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise CheckpointError(f"{folder} has checkpoint layout {version}, this program reads {known}: update the older of the two.")


def sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def present_components(folder: Path) -> list[str]:
    """The networks that a checkpoint has: those it must have, and what else is there."""
    return [*COMPONENTS, *(name for name in OPTIONAL_COMPONENTS if (folder / name).is_dir())]


def revision(folder: Path) -> str:
    """Short hash of a checkpoint's weights, 12 hexadecimal digits."""
    hashes = [sha256(folder / component / WEIGHTS) for component in present_components(folder)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:12]


def check(folder: Path) -> dict[str, Any]:
    """The pipeline's config, after checking layout, schema version, and the length and hash of every weight file.

    Raises:
        CheckpointError: missing, truncated or foreign files, or another schema version.
    """
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") != "DallePipeline":
        raise CheckpointError(
            f"{folder} holds a {index.get('_class_name', 'model of an unknown kind')}, not a DallePipeline: "
            "give the folder of a model of this project."
        )
    components(index)
    check_version(folder, index.get("schema_version"))
    for component in present_components(folder):
        read_json(folder / component / "config.json")
        check_weights(folder / component / WEIGHTS)
        if sha256(folder / component / WEIGHTS) != (index.get("weights_sha256") or {}).get(component):
            raise CheckpointError(
                f"{folder / component / WEIGHTS} is not the file that was saved with {folder / 'model_index.json'} (its hash "
                "differs): the download is corrupt, or weights were exchanged. Fetch the checkpoint again."
            )
    return index
