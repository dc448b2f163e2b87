"""Pipelines of other families through the same engine: seeds, turns, mixtures, and what they can't do."""

from __future__ import annotations

import gc
import itertools
import json
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dalle.config import Cancelled, CheckpointError, ModelChangedError, NotReadyError, PromptError, SettingError
from dalle.engine import Engine
from dalle.foreign import DiffusersModel, MixedGenerator, MixedNoise, mixed, pipeline_class, stepwise
from dalle.hardware import check_room, free_memory
from dalle.images import read_png_metadata, save_png
from dalle.interpolation import mix_noise
from dalle.models import WITHOUT
from dalle.requests import (
    GenerateRequest,
    InterpolateRequest,
    MixRequest,
    PathRequest,
    Picture,
    Stage,
    StepProgress,
    picture_metadata,
    request_of,
)
from tests import pipelines

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

MIXING = ("stable-diffusion", "pixart", "unclip")
"""A UNet with a random sampler, a transformer, and three diffusion models in a row."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A repository of each family, made when it is wanted."""
    root = tmp_path_factory.mktemp("families")

    class Made(dict):
        def __missing__(self, family: str) -> Path:
            self[family] = pipelines.save(family, root / family)
            return self[family]

    return Made()


@pytest.fixture(scope="module")
def engines(folders) -> dict[str, Engine]:
    class Loaded(dict):
        def __missing__(self, family: str) -> Engine:
            self[family] = Engine(str(folders[family]), device="cpu")
            self[family].load()
            return self[family]

    return Loaded()


def drawn(engine: Engine, prompt: str = "a red cat", seed: int = 5, **more: object) -> list[Picture]:
    request = GenerateRequest(prompt, **({"num_images": 1, "seed": seed, "num_inference_steps": 2} | more))
    return [item for item in engine.generate(request) if isinstance(item, Picture)]


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.int16)


def apart(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(pixels(a) - pixels(b)).mean())


@pytest.mark.parametrize("family", pipelines.FAMILIES)
def test_a_seed_draws_what_the_pipeline_itself_draws_with_it(engines, family):
    engine = engines[family]
    model: DiffusersModel = engine.wait()
    asked = {"num_inference_steps": 2, "guidance_scale": 3.0}
    if family == "unclip":
        asked = {"decoder_num_inference_steps": 2, "decoder_guidance_scale": 3.0}
    if family in ("pixart", "sana"):
        asked["clean_caption"] = False
    own = model.pipeline("a red cat", generator=torch.Generator().manual_seed(5), **asked).images[0]
    ours = drawn(engine, guidance_scale=3.0)[0].image
    assert ours.mode == "RGBA" and ours.size == own.size and np.asarray(ours)[..., 3].min() == 255
    assert np.abs(pixels(ours) - pixels(own)).max() <= 1
    assert apart(ours, drawn(engine, seed=6, guidance_scale=3.0)[0].image) > 1
    assert apart(ours, drawn(engine, "two dogs", guidance_scale=3.0)[0].image) > 0.01


@pytest.mark.parametrize("family", pipelines.FAMILIES)
def test_what_it_can_and_what_it_lacks_is_told(engines, family):
    engine = engines[family]
    never = {"judge", "ranker", "reference", "history", "styles", "truncation", "pacing", "given", "insight"}
    assert set(engine.lacks) - {"negative"} == never and set(engine.lacks.values()) <= set(WITHOUT.values())
    assert ("negative" in engine.lacks) == (family == "unclip")
    assert engine.styles == ()
    steps, path_steps = engine.default_steps
    assert 20 <= steps <= 50 and path_steps == 20 and 3 < engine.default_guidance <= 10


def test_steps_are_told_one_by_one_and_those_of_all_stages_counted(engines):
    items = list(engines["unclip"].generate(GenerateRequest("a cat", num_images=1, seed=1, num_inference_steps=2)))
    told = [item for item in items if isinstance(item, StepProgress)]
    assert {each.steps for each in told} == {25 + 2 + 7} and [each.step for each in told[:34]] == list(range(1, 35))
    assert all(each.preview is None for each in told[:34]) and isinstance(items[-1], Picture)


@pytest.mark.parametrize("family", MIXING)
def test_a_path_begins_and_ends_with_the_pictures_of_its_prompts(engines, family):
    engine = engines[family]
    request = InterpolateRequest("a cat", "two big dogs", 3, 4, frames=5, num_inference_steps=2)
    frames = sorted(engine.interpolate(request), key=lambda frame: frame.index)
    assert [frame.position for frame in frames] == [0, 0.25, 0.5, 0.75, 1]
    ends = drawn(engine, "a cat", 3)[0].image, drawn(engine, "two big dogs", 4)[0].image
    assert apart(frames[0].image, ends[0]) == 0 and apart(frames[4].image, ends[1]) == 0
    for frame in frames[1:4]:
        assert apart(frame.image, ends[0]) > 0.5 and apart(frame.image, ends[1]) > 0.5
    # Of one seed only the text moves, here between prompts of as many tokens: then each frame lies nearer to the nearer end.
    still = PathRequest((Stage("a cat", 3), Stage("a dog", 4)), frames=5, num_inference_steps=2, moving="text")
    frames = [frame.image for frame in sorted(engine.interpolate(still), key=lambda frame: frame.index)]
    ways = [apart(frame, frames[0]) for frame in frames]
    assert ways == sorted(ways) and ways[4] > 0 and apart(frames[3], frames[4]) < ways[4]
    assert json.loads(engine.path_metadata(request)["settings"])["pacing"] == "raw"


def test_frames_come_one_by_one_since_each_takes_long(engines):
    engine = engines["stable-diffusion"]
    steps = []
    original = type(engine.wait()).trajectory

    def counted(model, noise, *more):
        steps.append(len(noise.recipes))
        return original(model, noise, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiffusersModel, "trajectory", counted)
        frames = engine.interpolate(InterpolateRequest("a cat", "a dog", 1, 2, frames=9, num_inference_steps=1))
        assert next(frames).index == 0 and steps == [1]
        frames.close()


def test_mixtures_and_variations_have_the_noise_they_say(engines):
    engine = engines["stable-diffusion"]
    alone = drawn(engine, "a cat", 3)[0].image
    mixture = engine.mix(MixRequest(["a cat", "a dog"], [1, 0], [3, 4], num_inference_steps=2))
    assert apart(mixture.image, alone) == 0
    halves = engine.mix(MixRequest(["a cat", "a dog"], [1, 1], [3, 4], num_inference_steps=2))
    assert apart(halves.image, alone) > 0.5 and halves.settings["weights"] == [0.5, 0.5]
    near = drawn(engine, "a cat", 9, variation_of=[(3, 1.0)], variation_strength=0.1)[0].image
    far = drawn(engine, "a cat", 9, variation_of=[(3, 1.0)], variation_strength=1.0)[0].image
    assert 0 < apart(near, alone) < apart(far, alone) and apart(far, drawn(engine, "a cat", 9)[0].image) == 0


def test_a_saved_picture_says_how_to_draw_it_again(engines, tmp_path):
    engine = engines["pixart"]
    picture = drawn(engine, negative_prompt="a dog")[0]
    save_png(picture.image, tmp_path / "a.png", picture_metadata(picture))
    again = request_of(read_png_metadata(tmp_path / "a.png"))
    assert again.negative_prompt == "a dog" and again.guidance_scale == 4.5
    (same,) = [item for item in engine.generate(again) if isinstance(item, Picture)]
    assert apart(same.image, picture.image) == 0 and apart(drawn(engine)[0].image, picture.image) > 0
    assert picture.settings["model"] == engine.model and picture.settings["revision"] == engine.revision != ""


@pytest.mark.parametrize("family", MIXING)
def test_drawings_that_take_turns_are_those_drawn_alone(engines, family):
    engine = engines[family]
    requests = [GenerateRequest(prompt, 1, seed, num_inference_steps=3) for prompt, seed in (("a cat", 1), ("a dog", 2))]
    alone = [next(item for item in engine.generate(request) if isinstance(item, Picture)) for request in requests]
    together = [item for pair in itertools.zip_longest(*map(engine.generate, requests)) for item in pair]
    pictures = [item for item in together if isinstance(item, Picture)]
    assert [apart(a.image, b.image) for a, b in zip(alone, pictures, strict=True)] == [0, 0]


@pytest.mark.parametrize("family", MIXING)
def test_a_drawing_stops_at_its_next_step_and_leaves_nothing_behind(engines, family):
    engine, cancel = engines[family], threading.Event()
    items = engine.generate(GenerateRequest("a cat", 1, 1, num_inference_steps=50), cancel=cancel)
    assert next(items).step == 1
    assert "draw" in [thread.name for thread in threading.enumerate()]
    cancel.set()
    with pytest.raises(Cancelled):
        next(items)
    assert "draw" not in [thread.name for thread in threading.enumerate()]
    items = engine.generate(GenerateRequest("a cat", 1, 1, num_inference_steps=50))
    next(items)
    items.close()
    assert "draw" not in [thread.name for thread in threading.enumerate()]


def test_a_model_that_was_changed_is_gone_though_it_was_drawing(folders):
    engine = Engine(str(folders["stable-diffusion"]), device="cpu")
    engine.load()
    items = engine.generate(GenerateRequest("a cat", 1, 1, num_inference_steps=50))
    next(items)
    former = weakref.ref(engine.wait())
    engine.switch(str(folders["pixart"]))
    with pytest.raises(ModelChangedError) as told:
        next(items)
    assert "draw" not in [thread.name for thread in threading.enumerate()]
    del told
    gc.collect()
    assert former() is None


def test_what_it_lacks_is_refused_with_the_same_sentence(engines, tmp_path):
    engine, image = engines["unclip"], Image.new("RGB", (8, 8))
    asked = {
        "styles": lambda: drawn(engine, style="flat"),
        "truncation": lambda: drawn(engine, truncation=0.5),
        "negative": lambda: drawn(engine, negative_prompt="dogs"),
        "ranker": lambda: drawn(engine, candidates=4),
        "given": lambda: engine.interpolate(PathRequest((Stage(image=image), Stage("a cat")))),
        "insight": lambda: engine.insight(GenerateRequest("a cat")),
    }
    for feature, ask in asked.items():
        with pytest.raises(SettingError) as error:
            ask()
        assert str(error.value) == engine.lacks[feature]
    for ask in (lambda: engine.judge("a cat"), engine.surprise, lambda: drawn(engine, strict=True)):
        with pytest.raises(NotReadyError) as error:
            ask()
        assert str(error.value) == engine.lacks["judge"]
    for prompt, said in ((" ", "empty"), ("a " * 150, "too long")):
        with pytest.raises(PromptError, match=said):
            drawn(engine, prompt)


def test_settings_that_its_sampler_does_not_take_are_told(engines):
    with pytest.raises(SettingError, match=r"can't draw with these settings \(ZeroDivisionError.*other steps"):
        drawn(engines["unclip"], num_inference_steps=1)
    assert len(drawn(engines["unclip"])) == 1


def test_a_stage_that_was_drawn_otherwise_is_refused_and_one_drawn_alike_is_not(engines):
    engine = engines["stable-diffusion"]
    alike = Stage(drawn=GenerateRequest("a cat", 1, 3, num_inference_steps=2))
    path = PathRequest((alike, Stage("a dog", 4)), frames=2, num_inference_steps=2)
    assert apart(next(engine.interpolate(path)).image, drawn(engine, "a cat", 3)[0].image) == 0
    otherwise = Stage(drawn=GenerateRequest("a cat", 1, 3, num_inference_steps=3))
    with pytest.raises(SettingError) as error:
        engine.interpolate(PathRequest((otherwise, Stage("a dog", 4)), frames=2, num_inference_steps=2))
    assert str(error.value) == engine.lacks["given"]


def test_the_engine_changes_from_one_kind_to_the_other_and_back(tiny_checkpoint, folders):
    engine = Engine(str(tiny_checkpoint), device="cpu")
    engine.load()
    ours, before = engine.lacks, drawn(engine)[0].image
    engine.switch(str(folders["stable-diffusion"]))
    assert engine.status.state == "ready" and engine.status.model == str(folders["stable-diffusion"])
    assert engine.default_guidance == 7.5 and "insight" in engine.lacks and "insight" not in ours
    assert drawn(engine)[0].image.size == (64, 64)
    engine.switch(str(tiny_checkpoint))
    assert engine.lacks == ours and apart(drawn(engine)[0].image, before) == 0


def test_two_versions_of_weights_have_two_revisions(folders, tmp_path):
    engine = Engine(str(folders["stable-diffusion"]), device="cpu")
    engine.load()
    first = engine.revision
    engine.switch(str(pipelines.save("stable-diffusion", tmp_path / "other", seed=1)))
    assert len(first) == len(engine.revision) == 12 and engine.revision != first


def opened(folder: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        Engine(str(folder), device="cpu").load()
    return str(error.value)


def test_pipelines_of_another_kind_are_named(folders, tmp_path):
    index = json.loads((folders["stable-diffusion"] / "model_index.json").read_text())

    def kind(name: str) -> str:
        (tmp_path / "model_index.json").write_text(json.dumps(index | {"_class_name": name}))
        return opened(tmp_path)

    assert "TextToVideoSDPipeline" in kind("TextToVideoSDPipeline") and "no pictures from a text" in kind("CogVideoXPipeline")
    assert "no pictures from a text" in kind("AudioLDM2Pipeline") and "doesn't know" in kind("PipelineOfTomorrow")
    assert "starts from a picture" in kind("StableDiffusionUpscalePipeline") and "doesn't know" in kind("UNet2DModel")
    # The same weights draw from a text too.
    assert pipeline_class("StableDiffusionImg2ImgPipeline").__name__ == "AutoPipelineForText2Image"


def test_a_pipeline_of_another_kind_is_told_before_its_weights_are_fetched(hub):
    index = {"_class_name": "CogVideoXPipeline", "vae": ["diffusers", "AutoencoderKLCogVideoX"]}
    hub.add_repo("someone/video", {"model_index.json": json.dumps(index), "vae/diffusion_pytorch_model.safetensors": b"weights"})
    with pytest.raises(CheckpointError, match="no pictures from a text"):
        Engine("someone/video", device="cpu").load()
    assert not [one for one in hub.log if "vae" in one.path]


def copied(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to))


def test_weights_that_are_missing_truncated_or_pickled_are_named(folders, tmp_path):
    folder = copied(folders["stable-diffusion"], tmp_path / "a")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    assert "truncated" in opened(folder)
    weights.unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04pickle")
    assert "unet" in opened(folder) or "safetensors" in opened(folder)


def test_no_code_is_imported_that_a_repository_names(folders, tmp_path, monkeypatch):
    folder = copied(folders["stable-diffusion"], tmp_path / "a")
    (tmp_path / "stranger.py").write_text("raise SystemExit('ran')\n")
    (folder / "unet" / "stranger.py").write_text("raise SystemExit('ran')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"unet": ["stranger", "UNet"]}))
    assert "stranger" in opened(folder)


def test_a_model_with_no_room_in_memory_is_refused_before_it_is_read(folders, monkeypatch):
    monkeypatch.setattr("dalle.hardware.free_memory", lambda device="cpu": 100_000)
    said = opened(folders["pixart"])
    assert "0.0 GB are free" in said and "smaller" in said


def test_free_memory_is_the_machines_or_the_containers_whichever_is_less(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:     5000 kB\n")
    monkeypatch.setattr("dalle.hardware.MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr("dalle.hardware.CGROUP", tmp_path)
    assert free_memory() == 5000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500000\n")
    assert free_memory() == 5000 * 1024
    (tmp_path / "memory.max").write_text("4000000\n")
    assert free_memory() == 1_500_000


def test_what_a_former_model_had_on_the_gpu_counts_as_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2 * 2**30, 24 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 10 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 4 * 2**30)
    check_room(6 * 2**30, "cuda")
    with pytest.raises(CheckpointError, match=r"8\.0 GB are free"):
        check_room(8 * 2**30, "cuda")


def test_a_picture_that_the_models_own_filter_blacked_out_is_told(engines, monkeypatch):
    engine = engines["stable-diffusion"]
    original = type(engine.wait().pipeline).__call__

    def flagged(pipeline, **asked):
        found = original(pipeline, **asked)
        found.nsfw_content_detected = [True]
        return found

    monkeypatch.setattr(type(engine.wait().pipeline), "__call__", flagged)
    with pytest.raises(PromptError, match="filter"):
        drawn(engine)


def test_a_mixed_generator_draws_the_mixture_of_its_seeds():
    def own(seed: int, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    with MixedNoise([]):
        alone, both = MixedGenerator([(7, 1.0)]), MixedGenerator([(7, 0.3), (8, 0.7)])
        assert torch.randn(1, 4, 32, 32, generator=alone).equal(own(7, 1, 4, 32, 32))
        found = torch.randn((1, 4, 32, 32), generator=both, dtype=torch.float32)
    torch.testing.assert_close(found, mix_noise([own(7, 1, 4, 32, 32), own(8, 1, 4, 32, 32)], [0.3, 0.7]))
    assert abs(float(found.std()) - 1) < 0.05
    with MixedNoise([MixedGenerator([(7, 1.0)]), MixedGenerator([(8, 1.0)])]):
        like = torch.randn_like(torch.empty(2, 3, 5))
    assert like.equal(torch.stack([own(7, 3, 5), own(8, 3, 5)]))


def test_rows_together_are_rows_alone(engines):
    model: DiffusersModel = engines["pixart"].wait()
    rows = [(model.noise([[(seed, 1.0)]]), model.encode_prompt(prompt)) for seed, prompt in ((1, "a cat"), (2, "two big dogs"))]
    *_, both = model.trajectory(*model.stack(rows), 2, 3.0)
    for row, (noise, text) in enumerate(rows):
        *_, alone = model.trajectory(noise, text, 2, 3.0)
        torch.testing.assert_close(both[row : row + 1], alone, atol=2.5 / 127.5, rtol=0)


def test_a_mask_lets_through_what_any_prompt_has_and_the_rest_is_zero():
    long = {"prompt_embeds": torch.ones(1, 4, 2), "prompt_attention_mask": torch.tensor([[1, 1, 1, 0]])}
    short = {"prompt_embeds": 3 * torch.ones(1, 2, 2), "prompt_attention_mask": torch.tensor([[1, 0]])}
    found = mixed([long, short], [0.25, 0.75])
    assert found["prompt_attention_mask"].tolist() == [[1, 1, 1, 0]]
    assert found["prompt_embeds"][0, :, 0].tolist() == [0.25 + 2.25, 0.25, 0.25, 0]
    same = mixed([long, long], [0.5, 0.5])
    assert same["prompt_embeds"].equal(long["prompt_embeds"])


def test_work_in_steps_goes_on_only_when_asked_and_tells_its_errors():
    done = []

    def work(step):
        for number in range(3):
            done.append(number)
            step()
        raise ValueError("at last")

    steps = stepwise(work)
    assert done == []
    next(steps)
    assert done == [0]
    next(steps), next(steps)
    with pytest.raises(ValueError, match="at last"):
        next(steps)
