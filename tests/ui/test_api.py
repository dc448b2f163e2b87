"""The endpoints as other programs see them, through gradio's own client over loopback."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from dalle.images import read_png_metadata
from tests.ui.conftest import served
from tests.ui.fake_engine import FakeEngine


@pytest.fixture
def client(site, tmp_path) -> Client:
    return Client(site.url, verbose=False, download_files=tmp_path)


def test_only_these_endpoints_are_named_and_typed(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/generate", "/interpolate", "/judge", "/mix", "/path"}
    types = {p["parameter_name"]: p["type"].get("type") for p in endpoints["/generate"]["parameters"]}
    assert types["prompt"] == "string" and types["num_images"] == "integer" and types["strict"] == "boolean"
    assert endpoints["/generate"]["returns"][0]["python_type"]["type"] == "list[filepath]"
    assert endpoints["/interpolate"]["returns"][0]["python_type"]["type"] == "filepath"
    assert all(endpoint["description"] for endpoint in endpoints.values())


def test_generate_returns_files_seeds_and_records(client):
    files, seeds, records = client.predict("a red apple", 3, 4294967295, 4, 2.5, "flat", api_name="/generate")
    assert seeds == [4294967295, 0, 1]
    assert [record["seed"] for record in records] == seeds
    assert records[0]["settings"]["style"] == "flat" and records[0]["settings"]["num_inference_steps"] == 4
    for file, seed in zip(files, seeds, strict=True):
        with Image.open(file) as image:
            assert image.format == "PNG" and image.mode == "RGBA" and image.size == (256, 256)
        metadata = read_png_metadata(file)
        assert metadata["prompt"] == "a red apple" and int(metadata["seed"]) == seed
        assert json.loads(metadata["settings"])["guidance_scale"] == 2.5


def test_defaults_suffice(client):
    files, seeds, _ = client.predict(prompt="a cat", api_name="/generate")
    assert len(files) == len(set(seeds)) == 4


def test_interpolate_returns_an_animation(client):
    file = client.predict("a cat", "a dog", 1, 2, 5, api_name="/interpolate")
    assert Path(file).name == "a-cat-to-a-dog.webp"
    with Image.open(file) as animation:
        assert animation.format == "WEBP" and animation.n_frames == 5
        red = [animation.seek(index) or animation.convert("RGB").getpixel((128, 128))[0] for index in range(5)]
    assert red == sorted(red) and red[0] < 40 and red[-1] > 215


def test_a_path_without_seeds_tells_the_ones_it_took(client):
    found = []
    for _ in range(2):
        with Image.open(client.predict("a cat", "a dog", frames=2, api_name="/interpolate")) as animation:
            xmp = animation.info["xmp"].decode()
        assert "None" not in xmp
        found.append(re.findall(r"seed_[ab]\W+(\d+)", xmp))
    assert all(len(seeds) == 2 for seeds in found) and found[0] != found[1]


def test_a_path_through_stages_returns_an_animation(client, site):
    settings = {"style": "3d", "num_inference_steps": 1, "guidance_scale": 2.5}
    drawn = {"prompt": "a dog", "seed": "8", "settings": json.dumps(settings)}
    stages = [{"prompt": "a cat", "seed": 7, "length": 3}, {"recipe": drawn}, {"prompt": "a star"}]
    file = client.predict(stages, True, 12, api_name="/path")
    assert Path(file).name == "a-cat-by-1-to-a-star.webp"
    with Image.open(file) as animation:
        assert animation.n_frames == 12 and "a star" in animation.info["xmp"].decode()
    path = site.engine.paths[-1]
    assert [stage.length for stage in path.stages] == [3, 1, 1] and path.loop
    assert path.stages[1].drawn.style == "3d" and path.stages[2].seed is not None


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "between 2 and 8 stages"),
        ([{"prompt": "a cat"}] * 9, "between 2 and 8 stages"),
        ("a cat", "must be a list"),
        (["a cat", "a dog"], "an object with a prompt"),
        ([{"prompt": "a cat"}, {"prompt": 7}], "must be text"),
        ([{"prompt": "a cat"}, {"prompt": "a dog", "seed": 1.5}], "whole number"),
        ([{"prompt": "a cat", "length": 0}, {"prompt": "a dog"}], "length of a way"),
        ([{"prompt": "a cat", "length": "long"}, {"prompt": "a dog"}], "length of a way"),
        ([{"prompt": "a cat"}, {"recipe": {"prompt": "x"}}], "no recipe"),
        ([{"prompt": "a cat"}, {"recipe": ["x"]}], "no picture that was drawn here"),
        ([{"prompt": "a cat"}, {"upload": "0" * 32}], "nobody else"),
    ],
)
def test_stages_that_are_none_get_a_sentence(client, stages, message):
    with pytest.raises(AppError, match=message):
        client.predict(stages, api_name="/path")


def test_the_best_of_many_and_a_mixture(client):
    files, seeds, records = client.predict("a cat", 2, 7, candidates=9, api_name="/generate")
    assert len(files) == 2 and records[0]["score"] > records[1]["score"] and set(seeds) <= set(range(7, 16))
    file, told = client.predict(["a cat", "a dog", "a star"], [1, 1, 2], [4, 5, 6], api_name="/mix")
    assert told["settings"]["weights"] == [0.25, 0.25, 0.5] and told["settings"]["seeds"] == [4, 5, 6]
    assert read_png_metadata(file)["prompt"] == "a cat | a dog | a star"


def test_a_variation_and_a_negative_prompt(client):
    settings = {"variation_of": [[7, 1]], "variation_strength": 0.5, "negative_prompt": "a dog"}
    _, _, (told,) = client.predict("a cat", 1, 3, **settings, api_name="/generate")
    assert {name: told["settings"][name] for name in settings} == settings | {"variation_of": [[7, 1.0]]}


def test_judge_returns_a_verdict(client):
    verdict = client.predict("a green apple", api_name="/judge")
    assert verdict["verdict"] == "known" and verdict["score"] == 1 and verdict["refused"] is False
    assert verdict["nearest"][0]["caption"] == "a green apple"


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/generate", {"prompt": ""}, "empty"),
        ("/generate", {"prompt": "🍎"}, "no words"),
        ("/generate", {"prompt": "x" * 100_000}, "at most 200"),
        ("/generate", {"prompt": 5}, "must be text"),
        ("/generate", {"prompt": "a cat", "num_images": 10**12}, "1 to 16"),
        ("/generate", {"prompt": "a cat", "num_images": "all"}, "number of pictures"),
        ("/generate", {"prompt": "a cat", "seed": -1}, "seed"),
        ("/generate", {"prompt": "a cat", "num_inference_steps": 10**6}, "1 to 100"),
        ("/generate", {"prompt": "a cat", "guidance_scale": 1e308}, "0 to 10"),
        ("/generate", {"prompt": "a cat", "style": "../../etc"}, "no such style"),
        ("/generate", {"prompt": "zyx", "strict": True}, "Strict"),
        ("/generate", {"prompt": "a cat", "strict": "no"}, "true or false"),
        ("/generate", {"prompt": "a cat", "seed": 10**400}, "out of range"),
        ("/interpolate", {"prompt_a": "a cat", "prompt_b": "a dog", "pingpong": "no"}, "true or false"),
        ("/interpolate", {"prompt_a": "a cat", "prompt_b": ""}, "empty"),
        ("/interpolate", {"prompt_a": "a cat", "prompt_b": "a dog", "frames": 10**6}, "between 2 and 65"),
        ("/interpolate", {"prompt_a": "a cat", "prompt_b": "a dog", "pacing": "slow"}, "even or raw"),
        ("/generate", {"prompt": "a cat", "candidates": 10**6}, "4 to 32"),
        ("/generate", {"prompt": "a cat", "truncation": "little"}, "variety must be a number"),
        ("/generate", {"prompt": "a cat", "negative_prompt": 5}, "must be text"),
        ("/generate", {"prompt": "a cat", "negative_prompt": "🍎"}, "no words"),
        ("/generate", {"prompt": "a cat", "variation_of": [[7]]}, "pairs of seed and weight"),
        ("/generate", {"prompt": "a cat", "variation_of": [[7, 1]], "variation_strength": "far"}, "strength of the variation"),
        ("/mix", {"prompts": "a cat"}, "must be a list"),
        ("/mix", {"prompts": ["a cat", 5]}, "must be text"),
        ("/mix", {"prompts": ["a cat", ""]}, "empty"),
        ("/mix", {"prompts": ["a cat"], "weights": ["much"]}, "weight must be a number"),
        ("/mix", {"prompts": ["a cat"], "seeds": [None]}, "seed is missing"),
        ("/judge", {"prompt": ["a cat"]}, "must be text"),
        ("/judge", {"prompt": "\t"}, "empty"),
    ],
)
def test_bad_input_gets_a_sentence(client, endpoint, arguments, message):
    with pytest.raises(AppError, match=message) as caught:
        client.predict(**arguments, api_name=endpoint)
    assert "Traceback" not in str(caught.value)


def test_an_unexpected_error_tells_nothing_and_logs_no_prompt(client, caplog, capfd):
    with caplog.at_level(logging.ERROR), pytest.raises(AppError, match="went wrong") as caught:
        client.predict("crash", api_name="/generate")
    assert "secret" not in str(caught.value)
    printed = capfd.readouterr()
    assert "RuntimeError" in caplog.text
    assert "secret: crash" not in caplog.text + printed.out + printed.err


def test_a_caller_waits_for_the_model(cache_folder, tmp_path):
    engine = FakeEngine(ready=False)
    with served(engine) as site:
        job = Client(site.url, verbose=False, download_files=tmp_path).submit("a cat", 1, api_name="/generate")
        assert not job.done()
        engine.become("ready")
        assert len(job.result(timeout=30)[0]) == 1
        engine.become("failed", "The checkpoint is truncated.")
        with pytest.raises(AppError, match="truncated"):
            Client(site.url, verbose=False).predict("a cat", api_name="/generate")


def test_files_outside_the_cache_are_not_served(site):
    import httpx

    for path in ("/etc/passwd", str(Path(__file__).resolve()), "app.py", "pyproject.toml"):
        assert httpx.get(f"{site.url}/gradio_api/file={path}").status_code in (403, 404)
