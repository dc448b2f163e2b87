"""Finds a checkpoint, local or on the Hub, and checks it before anything is loaded from it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalle.config import READABLE_VERSIONS, STEPS, CheckpointError

if TYPE_CHECKING:
    from torch import nn

COMPONENTS = ("vae", "prior")
OPTIONAL_COMPONENTS = ("ranker",)
WEIGHTS = "diffusion_pytorch_model.safetensors"
ALLOWED_FILES = ["*.json", "*.safetensors", "*.txt", "*.md"]
"""What is fetched from the Hub: never pickles, never code."""

_REPO_ID = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$")


HUB_ARGUMENTS = ("revision", "cache_dir", "token", "force_download", "local_files_only")


def resolve(model: str, **where: Any) -> Path:
    """A folder, or a Hub id `user/repo[@revision]` fetched into the cache -> local folder.

    Args:
        where: any of `HUB_ARGUMENTS`, as huggingface_hub takes them.

    Raises:
        CheckpointError: neither a folder nor a repository that can be had.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(f"{model} is a file: --model takes a checkpoint folder or a Hub id such as user/repo.")
    if model == "checkpoints/default" or not _REPO_ID.match(model) or model.startswith((".", "/")):
        raise CheckpointError(f"There is no checkpoint folder {model}: check the path, or give a Hub id such as user/repo.")

    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    repo, _, revision = model.partition("@")
    where["revision"] = revision or where.get("revision")
    try:
        return Path(snapshot_download(repo, allow_patterns=ALLOWED_FILES, **where))
    except GatedRepoError as error:
        raise CheckpointError(f"{repo} is gated: accept its terms on the Hub, then log in with `hf auth login`.") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"There is no folder {repo} here and no public repository {repo} on the Hub.") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(f"{model} is not in the cache and the Hub can't be reached: check the network.") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(f"{model} could not be fetched from the Hub ({type(error).__name__}): try again.") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or CheckpointError with the file's name."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a checkpoint of this project: {path.name} is missing.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
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


def variant_of(folder: Path) -> str | None:
    return None


def commit_of(folder: Path) -> str:
    return ""


def describe(model: str):
    raise NotImplementedError
