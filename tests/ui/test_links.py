"""Links, recipes and code bring back what they were made of, whatever else is sent is told."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from dalle.config import PromptError, SettingError
from dalle.engine import Engine
from dalle.requests import (
    GenerateRequest,
    InterpolateRequest,
    PathRequest,
    Picture,
    Stage,
    picture_metadata,
    request_of,
    two_prompts,
)
from tests.ui.fake_engine import disc
from ui import links
from ui.code import path_code, picture_code
from ui.deliver import linked_plan
from ui.settings import PageSettings

SETTINGS = {
    "num_inference_steps": 3,
    "guidance_scale": 2.5,
    "style": "flat",
    "truncation": 0.7,
    "negative_prompt": "red & blue, a=b#c",
    "model": "a/b",
    "revision": "1234567890ab",
}


def plan(link):
    return linked_plan(link, PageSettings())


def picture(prompt: str = "a cat & a dog? 100% #1", seed: int = 7, **changes) -> Picture:
    return Picture(disc((1, 2, 3)), 0, prompt, seed, 0.1, None, SETTINGS | changes)


@pytest.mark.parametrize(
    "found",
    [
        picture(),
        picture("два кота 🐈", 2**32 - 1, style=None, negative_prompt=None, truncation=1.0),
        picture(variation_of=[(7, 0.9689124217106447), (4294967295, 0.24740395925452294)], variation_strength=0.25),
    ],
)
def test_a_link_to_a_picture_is_its_recipe(found):
    link = "#" + links.picture_link(found)
    assert links.picture_of(link) == request_of(picture_metadata(found))
    assert links.made_by(links.parts_of(link)) == ("a/b", "1234567890ab")


def test_a_link_to_a_path_brings_its_place():
    engine = SimpleNamespace(model="m", revision="r")
    asked = InterpolateRequest("a cat & co", "a dog", 1, 2**32 - 1, style="pixel", pacing="raw", truncation=0.5)
    link = f"#{links.path_link(asked, engine)}&at=0.531"
    assert two_prompts(plan(link).request) == asked and links.path_of(link)["at"] == 0.531
    assert links.path_of("#from=a&to=b")["at"] == 0 and links.path_of("#from=a&to=b&at=9e9")["at"] == 1
    assert links.path_of("#from=a&to=b&at=nan")["at"] == 0


def test_a_link_to_stages_brings_each():
    engine = SimpleNamespace(model="m", revision="r")
    like = [(7, 0.5), (8, 0.25)]
    drawn = GenerateRequest("two dogs", 1, 8, 1, 2.5, "3d", truncation=0.8, variation_of=like, variation_strength=0.4)
    stages = (Stage("a cat", 1, 2.0), Stage("two dogs", 8, 0.5, drawn), Stage("a=b&c#d", 3), Stage("кот", 2**32 - 1, 3.0))
    asked = PathRequest(stages, True, 129, 1, style="flat")
    found = plan(links.path_link(asked, engine)).request
    assert found.stages == stages and found.loop and found.style == "flat" and found.frames == 128


def test_an_upload_is_in_no_link_for_others():
    engine = SimpleNamespace(model="m", revision="r")
    path = PathRequest((Stage("a cat", 1), Stage("", 2)))
    link = links.path_link(path, engine, ("", "ab" * 16))
    assert links.path_of(link)["stages"][1]["upload"] == "ab" * 16
    with pytest.raises(SettingError, match="nobody else can open it"):
        plan(link)


def test_a_link_to_the_pad_has_four_corners():
    asked = links.mix_of("#mix=a+cat&mix=&mix=&mix=a+dog&style=flat&seeds=1+2+3+4&at=.5+.5")
    assert asked.prompts == ["a cat", "", "", "a dog"] and asked.style == "flat"


@pytest.mark.parametrize("read", [links.picture_of, plan, links.mix_of])
@pytest.mark.parametrize(
    "link",
    [None, 7, "", "#", "#x", {"a": 1}, "#prompt", "#prompt=a&seed=x", "#prompt=a&seed=-1", "#prompt=a", "#prompt=a&seed=1e99",
     "#prompt=a&seed=1&like=7", "#prompt=a&seed=1&like=7:x", "#prompt=a&seed=1&steps=many", "#prompt=a&seed=" + "9" * 5000,
     "#from=a", "#from=a&to=b&seed_from=x", "#from=a&to=b&style=cubist", "#mix=a", "#" + "x=1&" * 50, "#prompt=" + "a" * 17000,
     "#prompt=a&seed=1&like=" + "1:1 " * 17, "#from=a&to=b" + "&stage=c" * 7, "#from=a&to=b&lengths=1", "#from=a&to=b&lengths=1+x",
     "#from=a&to=b&stage=c&stage_seed=1&stage_seed=2", "#from=a&to=b&picture_1=x", "#from=a&to=b&picture_1=prompt%3Da",
     "#from=a&to=b&upload_2=" + "0" * 32, "#from=a&to=b&stage=c&stage_seed=x"],
)  # fmt: skip
def test_a_link_that_is_none_gets_a_sentence(read, link):
    with pytest.raises((SettingError, PromptError)):
        read(link)


def test_another_model_is_told_and_the_same_is_not():
    here = SimpleNamespace(model="a/b", revision="1")
    assert links.other_model(("a/b", "1"), here) == "" == links.other_model(("", ""), here)
    assert "another version of a/b (2)" in links.other_model(("a/b", "2"), here)
    assert "c/d (2)" in links.other_model(("c/d", "2"), here)
    assert links.other_model(("a/b", "2"), SimpleNamespace(model="a/b", revision="")) == ""  # still loading


def run(code: str, folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(code, "shown", "exec"), {})


def test_the_code_of_a_picture_draws_it(tiny_checkpoint, tmp_path, monkeypatch):
    engine = Engine(str(tiny_checkpoint), "cpu")
    engine.load()
    asked = GenerateRequest("a red apple", 2, 7, 3, 2.0, style="flat", truncation=0.8, negative_prompt="blue")
    first = list(engine.generate(asked))[-1]
    like = GenerateRequest("a cat", 1, 9, 2, variation_of=[(8, 1.0)], variation_strength=0.4)
    for drawn in (first, list(engine.generate(like))[-1]):
        run(picture_code(request_of(picture_metadata(drawn)), str(tiny_checkpoint)), tmp_path, monkeypatch)
        with Image.open(tmp_path / "picture.png") as saved:
            assert saved.tobytes() == drawn.image.tobytes()


def test_the_code_of_a_path_draws_it(tiny_checkpoint, tmp_path, monkeypatch):
    asked = InterpolateRequest("a cat", "a dog", 1, 2, frames=3, pacing="raw")
    run(path_code(asked, str(tiny_checkpoint), 16), tmp_path, monkeypatch)
    with Image.open(tmp_path / "path.webp") as animation:
        assert animation.n_frames == 4  # there and back


def test_the_code_of_stages_draws_them(tiny_checkpoint, tmp_path, monkeypatch):
    drawn = GenerateRequest("a dog", 1, 2, variation_of=[(1, 1.0)], variation_strength=0.3)
    asked = PathRequest((Stage("a 'cat'", 1, 2.0), Stage("a dog", 2, drawn=drawn), Stage("a red apple", 3)), True, 6)
    code = path_code(asked, str(tiny_checkpoint), 16)
    assert "image=" not in code and "length=1.0" not in code
    run(code, tmp_path, monkeypatch)
    with Image.open(tmp_path / "path.webp") as animation:
        assert animation.n_frames == 6


def test_code_can_hold_any_prompt():
    nasty = "a \"cat\"\n'''; import os #\\"
    code = picture_code(GenerateRequest(nasty, seed=1), "a\\b")
    compile(code, "shown", "exec")
    names: dict = {}
    engine = SimpleNamespace(load=lambda: None, generate=lambda request: [names.update(found=request) or picture()])
    fake = SimpleNamespace(Engine=lambda model: engine)
    saved = sys.modules.get("dalle.engine")
    sys.modules["dalle.engine"] = fake
    try:
        exec(code.replace('picture.image.save("picture.png")', "pass"), {})
    finally:
        sys.modules["dalle.engine"] = saved
    assert names["found"] == GenerateRequest(nasty, 1, 1)
