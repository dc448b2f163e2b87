"""Which files of a repository a pipeline is loaded from, judged by their names: data and safetensors, never pickles, never code."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dalle.config import CheckpointError

INDEX, CARD = "model_index.json", "README.md"
MAX_TEXT_BYTES = 1_000_000
"""Of these two."""
ALLOWED_FILES = ["*.json", "*.safetensors", "*.txt", "*.md"]
"""What is fetched of a checkpoint of this project."""
DATA_ENDINGS = (".json", ".txt", ".model")
"""Files beside a network's weights: configuration, and a tokenizer's words. sentencepiece's `*.model` are words too, no pickle."""
UNSAFE_ENDINGS = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".h5", ".msgpack", ".onnx", ".ot")
"""Weights in other formats. Most are pickles, which can run any program when they are read; none is needed."""

_WEIGHTS = re.compile(
    r"(?P<stem>diffusion_pytorch_model|model)(\.(?P<variant>[^.]+?))?(-(?P<shard>\d{5})-of-(?P<shards>\d{5}))?(\.(?P<older>[^.]+))?"
    r"\.safetensors"
)
_SHARD_INDEX = re.compile(r"(?P<stem>diffusion_pytorch_model|model)\.safetensors\.index(\.(?P<variant>[^.]+))?\.json")
_PREFERRED = ("", "fp16", "bf16")
"""Variants of the same weights in the order in which one is taken; any other comes after these."""


@dataclass
class _Weights:
    """One variant of a network's weights: a single file, or shards with the index that says which holds what."""

    single: str = ""
    shards: list[str] = field(default_factory=list)
    expected: int = 0
    index: str = ""

    @property
    def files(self) -> list[str]:
        return [self.single] if self.single else [self.index, *sorted(self.shards)]

    @property
    def whole(self) -> bool:
        return bool(self.single) or (bool(self.index) and len(self.shards) == self.expected)


def components(index: Mapping[str, Any]) -> dict[str, str]:
    """The components that a model_index.json names -> their libraries; those left empty are left out.

    Raises:
        CheckpointError: one comes from a library other than diffusers, transformers or this program: it is never imported.
    """
    found = {}
    if not isinstance(index.get("_class_name"), str):
        raise CheckpointError(
            f"{INDEX} names no pipeline of diffusers but one that comes as code with the model. Code from a repository is never "
            "run: choose a model with a pipeline of diffusers, or of this project."
        )
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
            continue
        library = value[0]
        if not re.fullmatch(r"\w+", name) or not _is_known(library):
            raise CheckpointError(
                f"{INDEX} takes the component {name[:40]!r} from {library[:40]!r}, which is neither diffusers nor transformers but "
                "code that comes with the model. Code from a repository is never run: choose a model that needs none."
            )
        found[name] = library
    return found


def _is_known(library: str) -> bool:
    """diffusers names its pipelines' own networks by the pipeline's module, `stable_diffusion` or `unclip`."""
    if library in ("diffusers", "transformers") or re.fullmatch(r"dalle(\.[a-z]+)?", library):  # not dalle.__main__
        return True
    spec = importlib.util.find_spec("diffusers")  # found, not imported
    folders = [Path(place) / "pipelines" for place in (spec.submodule_search_locations or ())] if spec else []
    return library.isidentifier() and any((root / library).is_dir() for place in folders for root in (place, place / "deprecated"))


def needed(index: Mapping[str, Any], names: Collection[str], place: str) -> list[str]:
    """The files that the pipeline of a model_index.json is loaded from, of those that there are.

    Args:
        names: paths relative to the repository, with slashes.
        place: the repository or folder as messages name it.

    Raises:
        CheckpointError: custom code, a component that is missing or incomplete, or weights as pickles only.
    """
    parts = components(index)
    chosen = [name for name in (INDEX, CARD) if name in names]
    if index["_class_name"] == "DallePipeline":
        for part in parts:
            component_files(part, "dalle", names, place)
        return chosen + [name for name in names if name not in chosen and any(fnmatchcase(name, end) for end in ALLOWED_FILES)]
    for part, library in parts.items():
        chosen += component_files(part, library, names, place)
    return chosen


def component_files(part: str, library: str, names: Collection[str], place: str) -> list[str]:
    """The files of one component, in the folder `part`; "" stands for the repository itself, as of a text encoder.

    Raises:
        CheckpointError: none is there, or weights are there as pickles only, or not all of their shards.
    """
    prefix = f"{part}/" if part else ""
    inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix) and "/" not in name.removeprefix(prefix)]
    if not inside:
        raise CheckpointError(
            f"{place} is incomplete: its {INDEX} names {part}, and there is no such folder. Choose another model."
        )
    data = [name for name in inside if name.endswith(DATA_ENDINGS) and ".index." not in name]
    variant = chosen_variant(inside, library)
    if variant is None:
        unsafe = sorted(name for name in inside if name.endswith(UNSAFE_ENDINGS))
        if unsafe:
            raise CheckpointError(_only_unsafe(place, [prefix + name for name in unsafe]))
        return [prefix + name for name in data]
    weights = variant[1]
    if not weights.whole:
        raise CheckpointError(
            f"{place} is incomplete: {prefix}{weights.files[-1]} is one of {weights.expected} shards, and not all of them, or not "
            "their index, are there. Choose another revision or model."
        )
    return [prefix + name for name in [*data, *weights.files]]


def chosen_variant(inside: Collection[str], library: str) -> tuple[str, _Weights] | None:
    """Of one folder's files, the variant ("" the full weights, "fp16" ...) and the files of it; None without safetensors."""
    found: dict[tuple[str, str], _Weights] = {}
    for name in inside:
        if match := _WEIGHTS.fullmatch(name):
            weights = found.setdefault((match["stem"], match["variant"] or match["older"] or ""), _Weights())
            if match["shard"]:
                weights.shards.append(name)
                weights.expected = int(match["shards"])
            else:
                weights.single = name
    for name in inside:
        if (match := _SHARD_INDEX.fullmatch(name)) and (match["stem"], match["variant"] or "") in found:
            found[match["stem"], match["variant"] or ""].index = name
    if not found:
        return None

    def rank(key: tuple[str, str]) -> tuple[bool, int, str]:
        stem, variant = key
        usual = "model" if library == "transformers" else "diffusion_pytorch_model"
        return stem != usual, _PREFERRED.index(variant) if variant in _PREFERRED else len(_PREFERRED), variant

    best = min(found, key=rank)
    return best[1], found[best]


def _only_unsafe(place: str, files: list[str]) -> str:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return (
        f"{place} has weights as {files[0]}{more}, and no safetensors in their place. Only safetensors are loaded, since most "
        "other formats can run any program when they are read. See whether a pull request of the repository adds safetensors (give "
        "it as user/repo@refs/pr/1), convert it with https://huggingface.co/spaces/safetensors/convert, or choose another model."
    )


def why_no_pipeline(names: Collection[str], place: str) -> str:
    """What a repository without model_index.json seems to hold, and what to do."""
    root = {name for name in names if "/" not in name}
    safe = sorted(name for name in root if name.endswith(".safetensors"))
    unsafe = sorted(name for name in root if name.endswith((".ckpt", ".pt", ".pth", ".bin")))
    if any(name.endswith((".parquet", ".jsonl", ".arrow", ".csv")) for name in names):
        what = "holds data, not a model"
    elif not root - {".gitattributes", ".gitignore", CARD, "LICENSE"} and not any(name.endswith(".safetensors") for name in names):
        what = "is empty, or holds no model"
    elif "adapter_config.json" in root or any("lora" in name.lower() for name in safe + unsafe):
        what = "holds a LoRA, which only changes another model and draws nothing alone"
    elif "modular_model_index.json" in root:
        what = "holds a modular pipeline, which brings its own code"
    elif "config.json" in root and (root & {"tokenizer.json", "tokenizer_config.json", "vocab.json"}):
        what = "holds a model for transformers, which draws no pictures by itself"
    elif "config.json" in root:
        what = "holds one network of a pipeline, not a whole one"
    elif any(name.endswith(".gguf") for name in names):
        what = "holds GGUF files, which other programs read"
    elif safe or unsafe:
        what = f"holds a single-file checkpoint ({(safe + unsafe)[0]})"
    else:
        what = "holds something else"
    return (
        f"{place} has no {INDEX}: it {what}. Give a repository in the layout of diffusers (with {INDEX} and a folder for each "
        "component), or one of this project."
    )
