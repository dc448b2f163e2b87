"""The command line: draw pictures, morph one prompt into another, find pictures, judge a prompt, publish a model and the page.

Results go to stdout, one line each; progress and messages to stderr. Exit codes: 0 done, 1 checkpoint, storage, device
or Hub failed, 2 something to change in the command (prompt, setting, option), 130 stopped with Ctrl-C, 141 the reader
of stdout went away.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from dalle import publish, space
from dalle.config import (
    DEFAULT_GUIDANCE,
    DEFAULT_MODEL,
    MAX_CANDIDATES,
    MAX_FRAMES,
    MAX_GUIDANCE,
    MAX_IMAGES,
    MAX_MIXED,
    MAX_SEED,
    MAX_STEPS,
    MIN_TRUNCATION,
    STYLES,
    VARIATION_STRENGTH,
    DalleError,
    NotReadyError,
    PromptError,
    RefusedError,
    SettingError,
    StorageError,
)
from dalle.engine import Engine
from dalle.images import MAX_FPS, read_png_metadata, save_png, save_webp, slug, storage_error
from dalle.requests import (
    DEFAULT_FRAMES,
    DEFAULT_NUM_IMAGES,
    Frame,
    GenerateRequest,
    InterpolateRequest,
    MixRequest,
    Picture,
    StepProgress,
    picture_metadata,
    request_of,
    variation,
    with_seeds,
)

EngineFactory = Callable[[str, str], Engine]

PICTURE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
MAX_PICTURE_PIXELS = 50_000_000
"""Larger files are left out of a search."""

OK, FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141
TRACEBACK = "DALLE_TRACEBACK"
"""Environment variable: set to 1, an unexpected error shows where it happened."""


def main(argv: Sequence[str] | None = None, engine_factory: EngineFactory | None = None) -> int:
    """Runs one command and returns its exit code. `engine_factory(model, device)` replaces the real engine in tests."""
    with contextlib.suppress(AttributeError, ValueError):
        # A path or prompt that the terminal's encoding lacks is shown escaped instead of failing.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said why
        return int(stop.code or 0)
    try:
        arguments.run(arguments, engine_factory or _real_engine)
        sys.stdout.flush()
        return OK
    except KeyboardInterrupt:
        return _say("Stopped.", INTERRUPTED)
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except (PromptError, SettingError, RefusedError) as error:
        return _say(str(error), USAGE)
    except DalleError as error:
        return _say(str(error), FAILED)
    except Exception as error:
        if os.environ.get(TRACEBACK) == "1":
            traceback.print_exc()
        kind = type(error).__name__
        return _say(f"Unexpected error ({kind}: {error}). Set {TRACEBACK}=1 to see where it happened.", FAILED)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dalle", description="Draw what you describe, offline.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    generate = commands.add_parser("generate", help="draw pictures of a prompt", description="Draw pictures of a prompt.")
    generate.add_argument("prompt", nargs="?", help='what to draw, in English: "a red apple"')
    generate.add_argument(
        "--like",
        type=Path,
        metavar="PNG",
        help="draw variations of a picture that was saved here, instead of a prompt: its own settings hold, but for --num-images",
    )
    generate.add_argument(
        "--strength",
        type=float,
        default=VARIATION_STRENGTH,
        metavar="X",
        help="with --like: how far to go from it, 0 (the same picture) to 1 (another one; default: %(default)s)",
    )
    generate.add_argument("--negative", metavar="TEXT", help="what shall not be in the pictures")
    generate.add_argument(
        "--num-images",
        type=int,
        default=DEFAULT_NUM_IMAGES,
        metavar="N",
        help=f"1 to {MAX_IMAGES} (default: %(default)s)",
    )
    generate.add_argument("--seed", type=int, metavar="N", help=f"0 to {MAX_SEED}; picture i has seed N + i (default: random)")
    generate.add_argument(
        "--best-of",
        type=int,
        metavar="N",
        help=f"draw N candidates, up to {MAX_CANDIDATES}, and keep those that fit the words best, best first",
    )
    _add_drawing_options(generate)
    generate.add_argument("--strict", action="store_true", help="refuse what the judge thinks can't be drawn")
    generate.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out/")
    _add_common_options(generate, "print one JSON line a picture")
    generate.set_defaults(run=run_generate)

    interpolate = commands.add_parser(
        "interpolate",
        help="morph one prompt into another",
        description="Morph one prompt into another, through the model's latent space.",
    )
    interpolate.add_argument("prompt_a", metavar="A", help='where to start: "a cat"')
    interpolate.add_argument("prompt_b", metavar="B", help='where to end: "a dog"')
    interpolate.add_argument(
        "--frames", type=int, default=DEFAULT_FRAMES, metavar="N", help=f"2 to {MAX_FRAMES} (default: %(default)s)"
    )
    interpolate.add_argument("--seed-a", type=int, metavar="N", help="seed of the first picture (default: random)")
    interpolate.add_argument("--seed-b", type=int, metavar="N", help="seed of the last picture (default: random)")
    interpolate.add_argument("--fps", type=float, default=16, metavar="N", help=f"frames a second, 1 to {MAX_FPS} (default: 16)")
    interpolate.add_argument("--pingpong", action="store_true", help="run back to the start as well")
    interpolate.add_argument(
        "--pacing", choices=("even", "raw"), default="even", help="even: each frame changes as much as the next (default)"
    )
    _add_drawing_options(interpolate)
    interpolate.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="morph.webp (animation), morph.png (film strip) or morph/ (a folder of PNG frames)",
    )
    _add_common_options(interpolate, "print one JSON line")
    interpolate.set_defaults(run=run_interpolate)

    mix = commands.add_parser(
        "mix",
        help="draw one picture of several prompts",
        description="Draw one picture of several prompts, each with its weight: a point between them in the latent space.",
    )
    mix.add_argument("prompts", nargs="+", metavar="PROMPT", help=f"one to {MAX_MIXED} prompts")
    mix.add_argument("--weights", type=float, nargs="+", metavar="X", help="one a prompt (default: equal ones)")
    mix.add_argument("--seeds", type=int, nargs="+", metavar="N", help="one a prompt (default: random ones)")
    _add_drawing_options(mix)
    mix.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out/")
    _add_common_options(mix, "print one JSON line")
    mix.set_defaults(run=run_mix)

    search = commands.add_parser(
        "search",
        help="find pictures in a folder by what they show",
        description="Find pictures in a folder by what they show, best first. For drawings: photographs are foreign to the ranker.",
    )
    search.add_argument("prompt", help='what they should show: "a red apple"')
    search.add_argument("folder", type=Path, help="its PNG, WebP and JPEG files are looked at, and those in folders within")
    search.add_argument("--top", type=int, default=10, metavar="N", help="how many to tell (default: %(default)s)")
    _add_common_options(search, "print one JSON line a picture")
    search.set_defaults(run=run_search)

    judge = commands.add_parser(
        "judge", help="ask how well a prompt can be drawn", description="Ask how well a prompt can be drawn."
    )
    judge.add_argument("prompt", help="what to judge")
    _add_common_options(judge, "print one JSON line")
    judge.set_defaults(run=run_judge)

    publish.add_command(commands, run_push)
    space.add_command(commands, run_space)
    return parser


def _add_drawing_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, metavar="N", help=f"1 to {MAX_STEPS} (default: what the model was made for)")
    parser.add_argument(
        "--truncation",
        type=float,
        default=1.0,
        metavar="X",
        help=f"spread of the noise, {MIN_TRUNCATION:g} to 1: less gives more typical, less varied pictures (default: 1)",
    )
    parser.add_argument(
        "--guidance",
        type=float,
        metavar="X",
        help=f"weight of the text, 0 to {MAX_GUIDANCE:g} (default: the model's own, {DEFAULT_GUIDANCE:g} for one of this project)",
    )
    parser.add_argument("--style", choices=tuple(STYLES), metavar="STYLE", help=f"one of {', '.join(STYLES)}")


def _add_common_options(parser: argparse.ArgumentParser, json_help: str) -> None:
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="a checkpoint folder or a Hub id, user/repo[@revision], of this project or of any text-to-image pipeline of diffusers "
        "(default: %(default)s)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--json", action="store_true", help=json_help)


def run_generate(arguments: argparse.Namespace, engine_factory: EngineFactory) -> None:
    check_writable(arguments.out)
    request = _generate_request(arguments)
    engine = _load(engine_factory, arguments)
    items = engine.generate(request)
    if not arguments.json:
        _show_judgement(engine, request.prompt)
    with _progress("pictures") as advance, folder_for(arguments.out):
        for item in items:
            if isinstance(item, StepProgress):
                done = item.index * item.steps + item.step * item.together
                advance(done / (item.steps * (item.candidates or request.num_images)))
                continue
            path = save_picture(item, arguments.out)
            if arguments.json:
                line = {"file": str(path), "prompt": item.prompt, "seed": item.seed, "seconds": round(item.seconds, 3)}
                _print_json(line if item.score is None else line | {"score": round(item.score, 4)})
            else:
                score = "" if item.score is None else f", score {item.score:.2f}"
                _print_line(f"{path}  (seed {item.seed}, {item.seconds:.2f} s{score})")


def _generate_request(arguments: argparse.Namespace) -> GenerateRequest:
    if (arguments.prompt is None) == (arguments.like is None):
        raise SettingError("Give either a prompt or a picture with --like.")
    if arguments.like is not None:
        request = variation(request_of(read_png_metadata(arguments.like)), arguments.strength, arguments.num_images)
        seed = request.seed if arguments.seed is None else arguments.seed
        return dataclasses.replace(request, seed=seed, candidates=arguments.best_of)
    return GenerateRequest(
        prompt=arguments.prompt,
        num_images=arguments.num_images,
        seed=arguments.seed,
        num_inference_steps=arguments.steps,
        guidance_scale=arguments.guidance,
        style=arguments.style,
        strict=arguments.strict,
        candidates=arguments.best_of,
        truncation=arguments.truncation,
        negative_prompt=arguments.negative,
    )


def run_interpolate(arguments: argparse.Namespace, engine_factory: EngineFactory) -> None:
    save = _frame_writer(arguments)
    request = with_seeds(
        InterpolateRequest(
            prompt_a=arguments.prompt_a,
            prompt_b=arguments.prompt_b,
            seed_a=arguments.seed_a,
            seed_b=arguments.seed_b,
            frames=arguments.frames,
            num_inference_steps=arguments.steps,
            guidance_scale=arguments.guidance,
            style=arguments.style,
            pacing=arguments.pacing,
            truncation=arguments.truncation,
        )
    )
    engine = _load(engine_factory, arguments)
    began = time.perf_counter()
    frames: dict[int, Frame] = {}
    items = engine.interpolate(request)
    with _progress("frames") as advance:
        for frame in items:
            frames[frame.index] = frame
            advance(len(frames) / frame.total)
    path = save([frames[index] for index in sorted(frames)], engine.path_metadata(request))
    seconds = time.perf_counter() - began
    if arguments.json:
        ends = {key: getattr(request, key) for key in ("prompt_a", "prompt_b", "seed_a", "seed_b")}
        _print_json({"file": path, **ends, "frames": len(frames), "seconds": round(seconds, 3)})
    else:
        _print_line(f"{path}  ({len(frames)} frames, seeds {request.seed_a} and {request.seed_b}, {seconds:.1f} s)")


def run_mix(arguments: argparse.Namespace, engine_factory: EngineFactory) -> None:
    check_writable(arguments.out)
    request = MixRequest(
        prompts=arguments.prompts,
        weights=arguments.weights,
        seeds=arguments.seeds,
        num_inference_steps=arguments.steps,
        guidance_scale=arguments.guidance,
        style=arguments.style,
        truncation=arguments.truncation,
    )
    picture = _load(engine_factory, arguments).mix(request)
    with folder_for(arguments.out):
        path = save_picture(picture, arguments.out)
    told = {name: picture.settings[name] for name in ("prompts", "weights", "seeds")}
    if arguments.json:
        _print_json({"file": str(path), **told, "seconds": round(picture.seconds, 3)})
    else:
        _print_line(f"{path}  (seeds {', '.join(map(str, told['seeds']))}, {picture.seconds:.2f} s)")


def run_judge(arguments: argparse.Namespace, engine_factory: EngineFactory) -> None:
    judgement = _load(engine_factory, arguments).judge(arguments.prompt)
    if arguments.json:
        _print_json({"prompt": arguments.prompt, **dataclasses.asdict(judgement), "refused": judgement.refused})
        return
    _print_line(f"{judgement.verdict} ({judgement.score:.2f}): {judgement.reason}")
    for caption, cosine in judgement.nearest:
        _print_line(f"  {cosine:.2f}  {caption}")


def run_push(arguments: argparse.Namespace, engine_factory: EngineFactory) -> None:
    options = ("private", "revision", "pull_request", "message", "licence", "samples", "evaluation")
    pushed = publish.push(arguments.folder, arguments.repo, **{name: getattr(arguments, name) for name in options})
    if arguments.json:
        _print_json(dataclasses.asdict(pushed))
    else:
        _print_line(pushed.pull_request or pushed.url)


def run_space(arguments: argparse.Namespace, engine_factory: EngineFactory) -> None:
    if arguments.out is not None:
        check_writable(arguments.out)
        files = space.contents(space.plan_of(arguments, {}).checked())
        space.write(arguments.out, files)
        if arguments.json:
            _print_json({"folder": str(arguments.out), "files": sorted(files)})
        else:
            _print_line(f"{arguments.out}  ({len(files)} files)")
        return
    placed = space.place(arguments.space, lambda earlier: space.plan_of(arguments, earlier), private=arguments.private)
    if arguments.json:
        _print_json(dataclasses.asdict(placed))
    else:
        _print_line(placed.url)
    if placed.refused is not None:
        raise publish.PublishError(placed.refused)


def run_search(arguments: argparse.Namespace, engine_factory: EngineFactory) -> None:
    if arguments.top < 1:
        raise SettingError(f"--top must be at least 1, not {arguments.top}.")
    paths = pictures_in(arguments.folder)
    engine = _load(engine_factory, arguments)
    engine.search(arguments.prompt, np.zeros((0, 0), np.float32))  # what is wrong with the prompt is said before all is read
    found: list[Path] = []
    vectors: list[np.ndarray] = []
    with _progress("pictures") as advance:
        for number, path in enumerate(paths, 1):
            image = read_picture(path)
            if image is None:
                with tqdm.external_write_mode(file=sys.stderr):
                    print(f"Left out: {path} can't be read as a picture.", file=sys.stderr)
            else:
                vectors.append(engine.picture_vectors([image]))
                found.append(path)
            advance(number / len(paths))
    if not found:
        raise SettingError(f"None of the files in {arguments.folder} could be read as a picture.")
    for match in engine.search(arguments.prompt, np.concatenate(vectors), arguments.top):
        if arguments.json:
            _print_json({"file": str(found[match.index]), "score": round(match.score, 4)})
        else:
            _print_line(f"{match.score:.2f}  {found[match.index]}")


# Files


def pictures_in(folder: Path) -> list[Path]:
    """The picture files below a folder, in order.

    Raises:
        SettingError: no such folder, or no pictures in it.
    """
    if not os.path.isdir(folder):
        raise SettingError(f"{folder} is not a folder that can be read: name one that holds pictures.")
    # A folder within that may not be read is passed over.
    names = (Path(place, name) for place, _, files in os.walk(folder) for name in files)
    paths = sorted(path for path in names if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise SettingError(f"{folder} holds no pictures ({', '.join(PICTURE_SUFFIXES)}).")
    return paths


def read_picture(path: Path) -> Image.Image | None:
    """The picture as RGBA, the right way up; None where it can't be read, whatever is wrong with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                if image.width * image.height > MAX_PICTURE_PIXELS:
                    return None
                return ImageOps.exif_transpose(image).convert("RGBA")
        except Exception:  # foreign files make Pillow raise nearly anything
            return None


def check_writable(folder: Path) -> None:
    """Raises `StorageError` where `folder` can't be created or written to: before a model is loaded, not after."""
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise StorageError(f"Could not write to {folder}: {existing} is not a folder. Choose another place with --out.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise StorageError(f"Could not write to {folder}: you may not write there. Choose another place with --out.")


@contextlib.contextmanager
def folder_for(folder: Path) -> Iterator[Path]:
    """`folder`, created; what was created and stayed empty is removed again where the block fails."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(missing)
        raise storage_error(error, folder) from error
    try:
        yield folder
    except BaseException:
        _remove_empty(missing)
        raise


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def save_picture(picture: Picture, folder: Path) -> Path:
    """Writes `folder/slug-seed.png`, or `slug-seed-1.png` and so on where that exists already."""
    metadata = picture_metadata(picture)
    stem = f"{slug(picture.prompt)}-{picture.seed}"
    number = 0
    while True:
        path = folder / (f"{stem}-{number}.png" if number else f"{stem}.png")
        try:
            return save_png(picture.image, path, metadata, overwrite=False)
        except FileExistsError:
            number += 1


def _frame_writer(arguments: argparse.Namespace) -> Callable[[list[Frame], dict[str, str]], str]:
    """What `--out` asks for, checked before anything is drawn: a function of frames and metadata to the path."""
    out, path = arguments.out, Path(arguments.out)
    if not 1 <= arguments.fps <= MAX_FPS:
        raise SettingError(f"--fps must lie between 1 and {MAX_FPS}, not {arguments.fps:g}.")
    if out.endswith(("/", os.sep)) or path.is_dir():
        check_writable(path)
        if path.is_dir() and any(path.glob("frame-*.png")):
            raise SettingError(f"{path} holds frames already: choose another folder with --out.")
        return lambda frames, metadata: _save_folder(frames, path, metadata)
    check_writable(path.parent)
    if path.suffix.lower() == ".webp":
        return lambda frames, metadata: _save_webp(frames, path, metadata, arguments)
    if path.suffix.lower() == ".png":
        return lambda frames, metadata: _save_strip(frames, path, metadata)
    raise SettingError(f"--out must end with .webp (animation), .png (film strip) or / (folder of frames), not {out!r}.")


def _save_webp(frames: list[Frame], path: Path, metadata: dict[str, str], arguments: argparse.Namespace) -> str:
    with folder_for(path.parent):
        images = [frame.image for frame in frames]
        return str(save_webp(images, path, arguments.fps, pingpong=arguments.pingpong, metadata=metadata))


def _save_strip(frames: list[Frame], path: Path, metadata: dict[str, str]) -> str:
    width, height = frames[0].image.size
    strip = Image.new("RGBA", (width * len(frames), height))
    for number, frame in enumerate(frames):
        strip.paste(frame.image, (number * width, 0))
    with folder_for(path.parent):
        return str(save_png(strip, path, metadata))


def _save_folder(frames: list[Frame], folder: Path, metadata: dict[str, str]) -> str:
    """All frames or none."""
    written: list[Path] = []
    with folder_for(folder):
        try:
            for number, frame in enumerate(frames):
                position = f"{frame.position:.4f}"
                written.append(save_png(frame.image, folder / f"frame-{number:03d}.png", metadata | {"position": position}))
        except BaseException:
            for path in written:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
    return str(folder) + os.sep


# Engine, progress and output


def _real_engine(model: str, device: str) -> Engine:
    import diffusers
    import transformers

    # One bar of ours is enough.
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    return Engine(model, device=device)


def _load(engine_factory: EngineFactory, arguments: argparse.Namespace) -> Engine:
    engine = engine_factory(arguments.model, arguments.device)
    if sys.stderr.isatty():
        print("Loading the model …", file=sys.stderr, flush=True)
    engine.load()
    return engine


def _show_judgement(engine: Engine, prompt: str) -> None:
    with contextlib.suppress(NotReadyError):  # a checkpoint without a judge draws all the same
        judgement = engine.judge(prompt)
        print(f"Judge: {judgement.verdict} ({judgement.score:.2f}). {judgement.reason}", file=sys.stderr)


@contextlib.contextmanager
def _progress(unit: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr where that is a terminal; yields a function that takes the share done, 0..1."""
    layout = "{l_bar}{bar:30}| {elapsed}<{remaining}"
    with tqdm(total=1.0, desc=unit, bar_format=layout, disable=None, leave=False, file=sys.stderr) as bar:

        def advance(share: float) -> None:
            bar.update(share - bar.n)

        yield advance


def _print_json(line: dict[str, Any]) -> None:
    _print_line(json.dumps(line))


def _print_line(line: str) -> None:
    """At once, so that whoever reads the pipe sees each picture when it is done."""
    try:
        with tqdm.external_write_mode():
            print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"Could not write the output: {error.strerror or error}.") from error


def _say(message: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        print(f"dalle: {message}", file=sys.stderr, flush=True)
    return code


def _silence_stdout() -> None:
    """Points stdout at nothing, so that the interpreter's last flush does not fail a second time."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
