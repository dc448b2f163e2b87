"""The command line: what it prints, where it writes, how it fails. Most tests put a stub in the engine's place."""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from dalle import cli, images
from dalle.config import (
    STYLES,
    CheckpointError,
    DalleError,
    NotReadyError,
    PromptError,
    RefusedError,
    SettingError,
)
from dalle.images import read_png_metadata
from dalle.judge import Judgement
from dalle.requests import Frame, GenerateRequest, InterpolateRequest, MixRequest, Picture, StepProgress, path_metadata

JUDGEMENT = Judgement(0.8, "known", "I know “cat” very well.", (("cat", 0.9), ("dog", 0.5)), (), None)


class StubEngine:
    """Draws plain colours after checking as little as the tests need; `fails` is raised where `when` says."""

    def __init__(self, fails: BaseException | None = None, when: str = "", judged: bool = True) -> None:
        self.fails, self.when, self.judged = fails, when, judged
        self.requests: list[GenerateRequest | InterpolateRequest | MixRequest] = []
        self.chosen: tuple[str, str] | None = None

    def __call__(self, model: str, device: str) -> StubEngine:
        self.chosen = (model, device)
        return self

    def _maybe_fail(self, when: str) -> None:
        if self.fails is not None and when == self.when:
            raise self.fails

    def load(self) -> None:
        self._maybe_fail("load")

    def judge(self, prompt: str, style: str | None = None) -> Judgement:
        if not self.judged:
            raise NotReadyError("There is no judge.")
        return JUDGEMENT

    def generate(self, request: GenerateRequest) -> Iterator[StepProgress | Picture]:
        self._maybe_fail("request")
        self.requests.append(request)
        return self._pictures(request)

    def _pictures(self, request: GenerateRequest) -> Iterator[StepProgress | Picture]:
        for index in range(request.num_images):
            for step in (1, 2):
                yield StepProgress(index, step, 2)
            self._maybe_fail(f"picture {index}")
            seed = (request.seed or 0) + index
            image = Image.new("RGBA", (256, 256), (seed % 256, 0, 0, 128))
            score = 0.25 if index == 0 else None
            yield Picture(image, index, request.prompt, seed, 0.5, score, {"model": "stub", "style": request.style})

    def path_metadata(self, request: InterpolateRequest) -> dict[str, str]:
        return path_metadata(request, {"model": "stub", "style": request.style})

    def mix(self, request: MixRequest) -> Picture:
        self._maybe_fail("request")
        self.requests.append(request)
        told = {"prompts": list(request.prompts), "weights": [0.5, 0.5], "seeds": list(request.seeds or (8, 9))}
        return Picture(Image.new("RGBA", (256, 256)), 0, " | ".join(request.prompts), 8, 0.5, None, told)

    def interpolate(self, request: InterpolateRequest) -> Iterator[Frame]:
        self._maybe_fail("request")
        self.requests.append(request)
        return self._frames(request)

    def _frames(self, request: InterpolateRequest) -> Iterator[Frame]:
        last = request.frames - 1
        for order, index in enumerate((0, last, *range(1, last))):
            self._maybe_fail(f"picture {order}")
            image = Image.new("RGBA", (256, 256), (round(200 * index / last), 0, 0, 255))
            yield Frame(order, index, index / last, image, request.frames)


Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in an empty folder: `.code`, `.out`, `.err`. A traceback is never right."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: str, engine: object = None) -> SimpleNamespace:
        code = cli.main(argv, engine_factory=engine or StubEngine())
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return SimpleNamespace(code=code, out=out, err=err)

    return run


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Generate


def test_json_lines_tell_where_each_picture_is(run: Run, tmp_path: Path) -> None:
    done = run("generate", "a red apple", "--num-images", "3", "--seed", "7", "--out", "some/where/", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0 and done.err == ""
    assert [line["seed"] for line in lines] == [7, 8, 9]
    assert [line.get("score") for line in lines] == [0.25, None, None] and "score" not in lines[1]
    assert all(line["prompt"] == "a red apple" and line["seconds"] == 0.5 for line in lines)
    assert [line["file"] for line in lines] == [f"some/where/a-red-apple-{seed}.png" for seed in (7, 8, 9)]
    metadata = read_png_metadata(tmp_path / lines[1]["file"])
    assert metadata["prompt"] == "a red apple" and metadata["seed"] == "8" and metadata["model"] == "stub"
    assert json.loads(metadata["settings"]) == {"model": "stub", "style": None}
    with Image.open(tmp_path / lines[0]["file"]) as picture:
        assert picture.mode == "RGBA" and picture.getpixel((0, 0)) == (7, 0, 0, 128)


def test_people_read_the_judge_and_the_files(run: Run) -> None:
    done = run("generate", "a cat", "--num-images", "1", "--seed", "3")
    assert done.code == 0 and done.out == "out/a-cat-3.png  (seed 3, 0.50 s, score 0.25)\n"
    assert "known (0.80). I know “cat” very well." in done.err
    assert run("generate", "a cat", engine=StubEngine(judged=False)).code == 0


def test_nothing_is_ever_overwritten(run: Run, tmp_path: Path) -> None:
    for _ in range(3):
        run("generate", "A cat!", "--num-images", "1", "--seed", "1")
    assert everything_in(tmp_path / "out") == ["a-cat-1-1.png", "a-cat-1-2.png", "a-cat-1.png"]


@pytest.mark.parametrize("prompt", ["../../etc/passwd", "/tmp/x", "红色的猫", "a\nb\x00c", "x" * 400, "caf\udce9"])
def test_file_names_are_safe_for_any_prompt(prompt: str, run: Run, tmp_path: Path) -> None:
    done = run("generate", prompt, "--num-images", "1", "--seed", "1", "--json")
    assert done.code == 0
    (name,) = everything_in(tmp_path / "out")
    assert json.loads(done.out)["file"] == f"out/{name}" and len(name) < 80
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")


def test_options_reach_the_engine(run: Run) -> None:
    engine = StubEngine()
    arguments = "--num-images 2 --seed 5 --steps 9 --guidance 1.5 --style pixel --strict --model a/b --device cpu "
    arguments += "--best-of 12 --truncation 0.6"
    assert run("generate", "a cat", *arguments.split(), engine=engine).code == 0
    assert engine.requests == [GenerateRequest("a cat", 2, 5, 9, 1.5, "pixel", True, 12, 0.6)]
    assert engine.chosen == ("a/b", "cpu")
    run("generate", "a cat", engine=engine)
    assert engine.requests[-1] == GenerateRequest("a cat")
    path = "--frames 3 --seed-a 1 --seed-b 2 --pacing raw --truncation 0.6 --out x.webp"
    assert run("interpolate", "a cat", "a dog", *path.split(), engine=engine).code == 0
    assert engine.requests[-1] == InterpolateRequest("a cat", "a dog", 1, 2, 3, pacing="raw", truncation=0.6)


def test_a_mixture_is_saved_with_its_weights_and_seeds(run: Run, tmp_path: Path) -> None:
    engine = StubEngine()
    done = run("mix", "a cat", "a dog", "--weights", "1", "1", "--seeds", "4", "5", "--steps", "2", "--json", engine=engine)
    assert engine.requests == [MixRequest(["a cat", "a dog"], [1, 1], [4, 5], 2)]
    line = json.loads(done.out)
    assert done.code == 0 and line["weights"] == [0.5, 0.5] and line["seeds"] == [4, 5]
    assert json.loads(read_png_metadata(tmp_path / line["file"])["settings"])["prompts"] == ["a cat", "a dog"]
    assert run("mix", "a cat", "a dog").out == "out/a-cat-a-dog-8-1.png  (seeds 8, 9, 0.50 s)\n"
    assert run("mix").code == 2
    assert run("mix", "a cat", engine=StubEngine(SettingError("Mix fewer."), "request")).code == 2


def test_frames_in_a_folder_tell_their_places(run: Run, tmp_path: Path) -> None:
    assert run("interpolate", "a cat", "a dog", "--frames", "3", "--out", "frames/").code == 0
    told = [read_png_metadata(path)["position"] for path in sorted((tmp_path / "frames").iterdir())]
    assert told == ["0.0000", "0.5000", "1.0000"]


# Interpolate


def test_an_animation_in_order(run: Run, tmp_path: Path) -> None:
    arguments = "--frames 5 --seed-a 1 --seed-b 2 --fps 10 --pingpong --out new/morph.webp --json"
    done = run("interpolate", "a cat", "a dog", *arguments.split())
    line = json.loads(done.out)
    assert done.code == 0 and (line["seed_a"], line["seed_b"], line["frames"]) == (1, 2, 5)
    with Image.open(tmp_path / line["file"]) as animation:
        assert animation.n_frames == 8 and b"a dog" in animation.info["xmp"]
        reds = []
        for index in range(8):
            animation.seek(index)
            reds.append(animation.convert("RGB").getpixel((128, 128))[0])
    assert reds == pytest.approx([0, 50, 100, 150, 200, 150, 100, 50], abs=12)


def test_a_strip_and_a_folder(run: Run, tmp_path: Path) -> None:
    assert run("interpolate", "a cat", "a dog", "--frames", "3", "--out", "strip.png").code == 0
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (768, 256) and [strip.getpixel((x, 9))[0] for x in (9, 300, 700)] == [0, 100, 200]
    done = run("interpolate", "a cat", "a dog", "--frames", "3", "--out", "frames/")
    assert done.out.startswith("frames/  (3 frames, seeds ")
    assert everything_in(tmp_path / "frames") == ["frame-000.png", "frame-001.png", "frame-002.png"]
    middle = read_png_metadata(tmp_path / "frames" / "frame-001.png")
    assert middle["position"] == "0.5000" and middle["prompt_b"] == "a dog" and int(middle["seed_a"]) >= 0
    again = run("interpolate", "a cat", "a dog", "--frames", "2", "--out", "frames/")
    assert again.code == 2 and "holds frames already" in again.err


def test_random_seeds_are_told_and_passed_on(run: Run) -> None:
    engine = StubEngine()
    line = json.loads(run("interpolate", "a", "b", "--out", "x.webp", "--frames", "2", "--json", engine=engine).out)
    (request,) = engine.requests
    assert (request.seed_a, request.seed_b) == (line["seed_a"], line["seed_b"]) and request.seed_a != request.seed_b


# Judge


def test_a_judgement_for_people_and_programs(run: Run) -> None:
    told = run("judge", "a cat").out
    assert told.startswith("known (0.80): I know “cat”") and "0.50  dog" in told
    line = json.loads(run("judge", "a cat", "--json").out)
    assert line["score"] == 0.8 and line["refused"] is False and line["nearest"] == [["cat", 0.9], ["dog", 0.5]]


# Failures

FAILURES: list[tuple[BaseException, int]] = [
    (PromptError("The prompt is empty."), 2),
    (SettingError("Steps must lie between 1 and 100."), 2),
    (RefusedError("Not drawn.", JUDGEMENT), 2),
    (CheckpointError("The checkpoint is truncated."), 1),
    (DalleError("Something of ours."), 1),
    (RuntimeError("CUDA out of memory"), 1),
    (KeyboardInterrupt(), 130),
]


@pytest.mark.parametrize("when", ["load", "request", "picture 0", "picture 1"])
@pytest.mark.parametrize(("error", "code"), FAILURES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("command", ["generate", "interpolate"])
def test_failures_are_a_sentence_and_a_code(
    command: str, error: BaseException, code: int, when: str, run: Run, tmp_path: Path
) -> None:
    argv = ["generate", "a cat"] if command == "generate" else ["interpolate", "a cat", "a dog"]
    done = run(*argv, "--out", "new/frames/", engine=StubEngine(error, when))
    assert done.code == code
    assert (str(error) or "Stopped.") in done.err and done.err.strip().count("\n") <= 1  # the judge's line and ours
    drawn_before = ["new", "new/frames", "new/frames/a-cat-0.png"]
    assert everything_in(tmp_path) == (drawn_before if (command, when) == ("generate", "picture 1") else [])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["draw"],
        ["generate"],
        ["generate", "a cat", "--seed", "x"],
        ["generate", "a cat", "--guidance", "much"],
        ["generate", "a cat", "--style", "cubist"],
        ["generate", "a cat", "--device", "tpu"],
        ["interpolate", "a cat", "a dog"],
        ["interpolate", "a cat", "a dog", "--out", "morph.gif"],
        ["interpolate", "a cat", "a dog", "--out", "morph"],
        ["interpolate", "a cat", "a dog", "--out", "morph.webp", "--fps", "0"],
        ["interpolate", "a cat", "a dog", "--out", "morph.webp", "--fps", "nan"],
        ["interpolate", "a cat", "a dog", "--out", "morph.webp", "--seed-a", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_code_2_before_anything_is_loaded(arguments: list[str], run: Run, tmp_path: Path) -> None:
    engine = StubEngine()
    done = run(*arguments, engine=engine)
    assert done.code == 2 and done.err and engine.chosen is None and not everything_in(tmp_path)


@pytest.mark.parametrize("out", ["file", "file/", "file/deeper/"])
def test_a_file_in_the_way_is_noticed_before_anything_is_loaded(out: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    engine = StubEngine()
    done = run("generate", "a cat", "--out", out, engine=engine)
    assert done.code == 1 and "not a folder" in done.err and engine.chosen is None
    done = run("interpolate", "a cat", "a dog", "--out", "file/x.webp", engine=engine)
    assert done.code == 1 and "not a folder" in done.err and engine.chosen is None
    assert (tmp_path / "file").read_text() == "mine" and everything_in(tmp_path) == ["file"]


def test_places_one_may_not_write_to_are_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.os, "access", lambda *_: False)  # the tests may run as root, who may everything
    done = run("generate", "a cat")
    assert done.code == 1 and "may not write" in done.err


@pytest.mark.parametrize("out", ["new/frames/", "new/morph.webp", "new/strip.png"])
def test_a_full_disk_leaves_nothing(out: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = os.replace

    def full(source: object, target: object) -> None:
        if str(target).endswith(("frame-002.png", "morph.webp", "strip.png", "a-cat-0.png")):
            raise OSError(errno.ENOSPC, "No space left on device")
        replaced(source, target)

    monkeypatch.setattr(images.os, "replace", full)
    monkeypatch.setattr(images.os, "link", full)
    for argv in (
        ["generate", "a cat", "--out", "new"],
        ["interpolate", "a cat", "a dog", "--frames", "4", "--out", out],
    ):
        done = run(*argv)
        assert done.code == 1 and "disk is full" in done.err and not everything_in(tmp_path)


def test_a_reader_that_goes_away_stops_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, _: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None: ...

        def fileno(self) -> int:
            raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Closed())
        code = cli.main(["generate", "a cat", "--json"], engine_factory=StubEngine())
    assert code == cli.BROKEN_PIPE


def test_an_unexpected_error_shows_its_place_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(cli.TRACEBACK, "1")
    assert cli.main(["judge", "a cat"], engine_factory=StubEngine(RuntimeError("odd"), "load")) == 1
    assert "Traceback" in capsys.readouterr().err


# In a process of its own


def test_help_is_there_without_loading_torch() -> None:
    script = (
        "import sys; sys.argv = ['dalle', '--help']\n"
        "import dalle.cli; code = dalle.cli.main()\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'gradio', 'train'} & set(sys.modules)\n"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("generate", "interpolate", "judge"))


def test_a_closed_pipe_is_silent() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_cli import StubEngine\n"
        "import os, tempfile; os.chdir(tempfile.mkdtemp())\n"
        "from dalle.cli import main; sys.exit(main(['judge', 'a cat', '--json'], StubEngine()))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (cli.BROKEN_PIPE, b"")


# With the real engine and random weights


def test_a_checkpoint_draws_the_same_twice(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--model", str(tiny_checkpoint), "--device", "cpu", "--steps", "2", "--json"]
    files = []
    for count in (2, 1):
        seed = str(7 + 2 - count)
        argv = ["generate", "a red apple", "--num-images", str(count), "--seed", seed, "--out", str(tmp_path / "out")]
        assert cli.main([*argv, *common]) == 0
        files += [Path(json.loads(line)["file"]) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in files] == ["a-red-apple-7.png", "a-red-apple-8.png", "a-red-apple-8-1.png"]
    pictures = [Image.open(path).convert("RGBA").tobytes() for path in files]
    assert pictures[1] == pictures[2] != pictures[0]  # picture 2 of a request is the picture of its own seed
    settings = json.loads(read_png_metadata(files[0])["settings"])
    assert settings["num_inference_steps"] == 2 and settings["model"] == str(tiny_checkpoint)


def test_a_checkpoint_judges_morphs_and_refuses(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--model", str(tiny_checkpoint), "--device", "cpu", "--steps", "1"]
    out = tmp_path / "morph.webp"
    assert cli.main(["interpolate", "a cat", "a dog", "--frames", "5", "--out", str(out), *common]) == 0
    with Image.open(out) as animation:
        assert animation.n_frames == 5 and animation.size == (256, 256)
    capsys.readouterr()
    argv = ["generate", "blockchain governance whitepaper", "--strict", "--out", str(tmp_path / "out"), *common]
    assert cli.main(argv) == 2
    assert "blockchain" in capsys.readouterr().err and not (tmp_path / "out").exists()


def png_with_bad_chunk() -> bytes:
    """A picture whose gamma is of the wrong length, which Pillow answers with an error of its own kind."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    data = buffer.getvalue()
    body = b"gAMA" + b"\x00\x01"
    bad = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + bad + data[33:]


def test_pictures_of_a_folder_are_found_by_text(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--model", str(tiny_checkpoint), "--device", "cpu"]
    folder = tmp_path / "pictures"
    (folder / "within").mkdir(parents=True)
    Image.new("RGBA", (256, 256), (200, 30, 30, 255)).save(folder / "red.png")
    Image.new("L", (40, 90), 128).save(folder / "within" / "GRAY.JPG", format="JPEG")
    Image.new("RGB", (64, 64), (30, 30, 200)).save(folder / "blue.webp")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "chunk.png").write_bytes(png_with_bad_chunk())
    (folder / "folder.png").mkdir()
    (folder / "notes.txt").write_text("none either")
    assert cli.main(["search", "a red apple", str(folder), "--json", *common]) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert {Path(line["file"]).name for line in lines} == {"red.png", "GRAY.JPG", "blue.webp"}
    assert [line["score"] for line in lines] == sorted((line["score"] for line in lines), reverse=True)
    assert "broken.png" in err and "chunk.png" in err and "notes.txt" not in err and "folder.png" not in err
    assert cli.main(["search", "a red apple", str(folder), "--top", "1", *common]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{lines[0]['score']:.2f}  {lines[0]['file']}"]
    for argv, told in (
        (["a cat", str(tmp_path / "none")], "not a folder"),
        (["a cat", str(tmp_path / "pictures"), "--top", "0"], "--top"),
        ([" ", str(folder)], "empty"),
    ):
        assert cli.main(["search", *argv, *common]) == 2
        out, err = capsys.readouterr()
        assert out == "" and told in err and "Traceback" not in err
    (folder / "red.png").unlink()
    only = tmp_path / "only-broken"
    only.mkdir()
    (folder / "broken.png").rename(only / "broken.png")
    assert cli.main(["search", "a cat", str(only), *common]) == 2
    assert "could be read" in capsys.readouterr().err


def test_a_missing_checkpoint_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "a cat", "--model", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "none" in err and "Traceback" not in err and not (tmp_path / "out").exists()


def test_every_style_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(style in shown for style in STYLES)
