"""The engine of a ZeroGPU Space, with a stand-in for `spaces` that really forks and pickles."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import dalle.zero
from dalle import config
from dalle.config import Cancelled, DalleError, NotReadyError, PromptError, RefusedError, SettingError
from dalle.engine import Engine
from dalle.judge import Judgement
from dalle.requests import Frame, GenerateRequest, InterpolateRequest, MixRequest, PathRequest, Picture, Stage, StepProgress
from tests import pipelines
from tests.dalle.forking_spaces import ForkingSpaces

GIVEN = Image.linear_gradient("L").convert("RGB")


@pytest.fixture
def spaces(monkeypatch):
    """ZeroGPU, as far as this program can see it."""
    found = ForkingSpaces()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "spaces", found)
        patch.setenv("SPACES_ZERO_GPU", "true")
        importlib.reload(dalle.zero)
        yield found
    importlib.reload(dalle.zero)


@pytest.fixture(scope="module")
def plain(tiny_checkpoint):
    engine = Engine(str(tiny_checkpoint), device="cpu")
    engine.load()
    return engine


@pytest.fixture
def engine(spaces, tiny_checkpoint):
    engine = dalle.zero.ZeroEngine(str(tiny_checkpoint), device="cpu")
    engine.load_in_background()
    assert engine.status.state == "ready"
    return engine


def pixels(picture: Picture | Frame) -> np.ndarray:
    return np.asarray(picture.image)


def test_pictures_are_those_of_the_plain_engine(engine, plain, spaces):
    request = GenerateRequest("a red apple", num_images=2, seed=7, num_inference_steps=3, negative_prompt="a tree")
    items, expected = list(engine.generate(request)), list(plain.generate(request))
    assert [type(item) for item in items] == [type(item) for item in expected]
    steps = [item for item in items if isinstance(item, StepProgress)]
    assert len(steps) == 6 and all(item.preview is None for item in steps)
    for mine, other in zip(items, expected, strict=True):
        if isinstance(mine, Picture):
            assert np.array_equal(pixels(mine), pixels(other)) and np.array_equal(mine.vector, other.vector)
            assert (mine.seed, mine.settings, mine.score) == (other.seed, other.settings, other.score)
    assert spaces.sent == [8]


def test_the_best_of_candidates_paths_mixtures_and_looks_inside_travel_too(engine, plain):
    best = GenerateRequest("a cat", num_images=1, seed=3, num_inference_steps=1, candidates=3)
    assert np.array_equal(pixels(list(engine.generate(best))[-1]), pixels(list(plain.generate(best))[-1]))
    stages = (Stage("a cat", 1), Stage(image=GIVEN, seed=2), Stage(drawn=GenerateRequest("a dog", seed=5, style="flat")))
    for request in (
        InterpolateRequest("a cat", "a dog", 1, 2, frames=5, num_inference_steps=1),
        PathRequest(stages, frames=4, num_inference_steps=1, pacing="raw"),
    ):
        mine, other = list(engine.interpolate(request)), list(plain.interpolate(request))
        assert [frame.index for frame in mine] == [frame.index for frame in other]
        assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(mine, other, strict=True))
    mixture = MixRequest(["a cat", "a dog"], seeds=[1, 2], num_inference_steps=1)
    assert np.array_equal(pixels(engine.mix(mixture)), pixels(plain.mix(mixture)))
    request = GenerateRequest("a red apple", seed=7, num_inference_steps=2)
    mine, other = engine.insight(request), plain.insight(request)
    assert mine.pieces == other.pieces and len(mine.long) == len(other.long)
    assert np.array_equal(mine.channels, other.channels)
    assert np.array_equal(pixels(mine.picture), pixels(other.picture))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_pipeline_of_another_family_is_drawn_there_and_checked_here(spaces, tmp_path):
    folder = pipelines.save("pixart", tmp_path / "pixart")
    plain, engine = Engine(str(folder), device="cpu"), dalle.zero.ZeroEngine(str(folder), device="cpu")
    plain.load()
    engine.load()
    request = GenerateRequest("a cat", num_images=1, seed=3, num_inference_steps=2)
    mine, other = list(engine.generate(request))[-1], list(plain.generate(request))[-1]
    assert np.array_equal(pixels(mine), pixels(other)) and mine.settings == other.settings
    path = InterpolateRequest("a cat", "a dog", 1, 2, frames=3, num_inference_steps=2)
    for a, b in zip(engine.interpolate(path), plain.interpolate(path), strict=True):
        assert np.array_equal(pixels(a), pixels(b))
    asked = len(spaces.asked)
    for request in (GenerateRequest("?"), GenerateRequest("a cat", style="flat"), GenerateRequest("a cat", truncation=0.5)):
        with pytest.raises((PromptError, SettingError)):
            list(engine.generate(request))
    with pytest.raises(SettingError):
        engine.insight(GenerateRequest("a cat"))
    assert len(spaces.asked) == asked


def test_what_needs_no_drawing_asks_for_no_gpu(engine, plain, spaces):
    assert engine.judge("a red apple") == plain.judge("a red apple")
    assert engine.surprise(1) == plain.surprise(1)
    vectors = engine.picture_vectors([GIVEN])
    assert engine.search("a cat", vectors) == plain.search("a cat", vectors)
    assert engine.search_reference("a cat") == []
    request = InterpolateRequest("a cat", "a dog", 1, 2, frames=5)
    assert engine.path_metadata(request) == plain.path_metadata(request)
    assert not spaces.asked


BAD = [
    ("generate", GenerateRequest(""), PromptError),
    ("generate", GenerateRequest("a cat", num_images=0), SettingError),
    ("generate", GenerateRequest("a cat", style="none"), SettingError),
    ("generate", GenerateRequest("a cat", negative_prompt="?"), PromptError),
    ("interpolate", InterpolateRequest("a cat", "", frames=5), PromptError),
    ("interpolate", InterpolateRequest("a cat", "a dog", frames=1), SettingError),
    ("mix", MixRequest(["a cat", ""]), PromptError),
    ("mix", MixRequest(["a cat"], weights=[0]), SettingError),
    ("insight", GenerateRequest("a cat " * 60), PromptError),
]


@pytest.mark.parametrize(("task", "request_", "kind"), BAD)
def test_a_bad_request_is_told_before_a_gpu_is_asked_for(engine, plain, spaces, task, request_, kind):
    with pytest.raises(kind) as expected:
        getattr(plain, task)(request_)
    with pytest.raises(kind) as found:
        getattr(engine, task)(request_)
    assert str(found.value) == str(expected.value) and not spaces.asked


@pytest.mark.parametrize(("task", "request_", "kind"), BAD)
def test_errors_come_out_of_the_other_process_with_class_and_sentence(engine, plain, spaces, task, request_, kind, monkeypatch):
    monkeypatch.setattr(engine, "seconds", lambda *given: 1)
    monkeypatch.setattr(engine, "_on_gpu", dalle.zero.gpu(engine.seconds)(engine._items))
    with pytest.raises(kind) as expected:
        getattr(plain, task)(request_)
    with pytest.raises(kind) as found:
        list(engine._ask(task, request_, None))
    assert str(found.value) == str(expected.value) and spaces.sent == [1]


def test_every_error_of_ours_can_be_sent():
    kinds = [kind for kind in vars(config).values() if isinstance(kind, type) and issubclass(kind, DalleError)]
    assert len(kinds) >= 9
    judgement = Judgement(0.1, "unknown", "why", (), (), None)
    for kind in kinds:
        error = kind("why", judgement) if kind is RefusedError else kind("why")
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is kind and str(back) == "why" and vars(back) == vars(error)


def test_what_goes_wrong_with_the_gpu_is_told(engine, spaces, monkeypatch):
    request = GenerateRequest("a cat", num_images=1, num_inference_steps=1)
    spaces.refuses = "You have exceeded your free ZeroGPU quota. Try again in 1:00:00."
    with pytest.raises(NotReadyError, match=r"^ZeroGPU: You have exceeded your free ZeroGPU quota. Try again in 1:00:00.$"):
        list(engine.generate(request))
    spaces.refuses = None
    monkeypatch.setattr(Engine, "_decode", lambda *given: 1 / 0)
    with pytest.raises(NotReadyError, match="ZeroDivisionError"):
        list(engine.generate(request))
    monkeypatch.setattr(engine, "_on_gpu", lambda *given: iter_of(OSError("http://10.0.0.1/schedule")))
    with pytest.raises(NotReadyError) as found:
        list(engine.generate(request))
    assert "10.0.0.1" not in str(found.value) and "OSError" in str(found.value)


def iter_of(error):
    raise error
    yield


def test_a_stop_ends_the_drawing_at_its_next_item(engine, spaces):
    cancel = threading.Event()
    items = engine.generate(GenerateRequest("a cat", num_images=4, num_inference_steps=50), cancel)
    next(items)
    cancel.set()
    with pytest.raises(Cancelled):
        list(items)
    assert spaces.sent == [1]

    with closing(engine.interpolate(InterpolateRequest("a cat", "a dog", frames=9, num_inference_steps=1))) as frames:
        next(frames)
    assert spaces.sent == [1, 1]

    for task, request in (("mix", MixRequest(["a cat"])), ("insight", GenerateRequest("a cat"))):
        with pytest.raises(Cancelled):
            getattr(engine, task)(request, cancel)
    assert spaces.sent == [1, 1]


def test_locks_that_were_held_at_the_fork_stop_nothing(engine):
    with engine._turn, engine._loading, engine._finished._cond:
        items = list(engine._ask("generate", GenerateRequest("a cat", num_images=1, num_inference_steps=1), None))
    assert isinstance(items[-1], Picture)


def test_the_gpu_is_asked_for_as_long_as_the_request_may_take(engine):
    def asked(task, request):
        return engine.seconds(task, request)

    few = asked("generate", GenerateRequest("a cat", num_images=1, num_inference_steps=10))
    assert few < asked("generate", GenerateRequest("a cat", num_images=16, num_inference_steps=10))
    assert few < asked("generate", GenerateRequest("a cat", num_images=1, num_inference_steps=100))
    assert few < asked("generate", GenerateRequest("a cat", num_images=1, num_inference_steps=10, candidates=32))
    path = InterpolateRequest("a cat", "a dog", frames=9, num_inference_steps=10)
    assert asked("interpolate", path) < asked("interpolate", replace(path, frames=65))
    mixture = MixRequest(["a cat"], num_inference_steps=1)
    assert asked("mix", mixture) < asked("mix", replace(mixture, num_inference_steps=100))
    assert few < asked("insight", GenerateRequest("a cat", num_inference_steps=10))
    assert asked("interpolate", PathRequest([Stage("a cat")] * 8, frames=129, num_inference_steps=100)) == 120


def test_the_model_stays(engine, plain, tiny_checkpoint):
    with pytest.raises(SettingError, match="DALLE_MODEL"):
        engine.switch(str(tiny_checkpoint))


def test_a_model_that_is_not_there_is_in_the_status(spaces, tmp_path):
    engine = dalle.zero.ZeroEngine(str(tmp_path / "nowhere"))
    engine.load_in_background()
    assert engine.status.state == "failed" and "nowhere" in engine.status.message


def test_elsewhere_spaces_is_not_imported_and_there_it_comes_before_torch(tmp_path):
    (tmp_path / "spaces.py").write_text("import sys\nprint('torch' in sys.modules)\nGPU = lambda duration: lambda work: work\n")
    code = "import sys, dalle.zero; print(sorted({'spaces', 'gradio', 'torch'} & set(sys.modules)))"

    def told(**more: str) -> list[str]:
        path = [str(tmp_path), *filter(None, sys.path)]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(path), **more}
        found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return found.stdout.splitlines()

    assert told() == ["[]"]
    assert told(SPACES_ZERO_GPU="true") == ["False", "['spaces']"]


@pytest.mark.skipif(importlib.util.find_spec("spaces") is None, reason="spaces is only needed on ZeroGPU")
def test_the_real_package_leaves_functions_alone_elsewhere():
    import spaces

    def work() -> None: ...

    assert spaces.GPU(duration=lambda: 1)(work) is work
