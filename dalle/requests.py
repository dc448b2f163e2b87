"""What can be asked of the engine and what it answers: plain records, and the text that lets a picture be made again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from dalle.config import MAX_LENGTH, MAX_MIXED, MAX_NOISES, MAX_SEED, MIN_LENGTH, VARIATION_STRENGTH, SettingError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

DEFAULT_NUM_IMAGES = 4
DEFAULT_FRAMES = 33


@dataclass(frozen=True)
class GenerateRequest:
    """Picture i of a request has seed (seed + i) mod 2^32, so that each can be made again alone.

    With `candidates`, at least `num_images`, so many are drawn, and those come back, best first, that the ranker likes best.
    With `variation_of`, a noise as pairs of seed and weight, the noise of picture i lies `variation_strength` of the way from there
    to that of its seed: 0 is the same picture, 1 another one.
    """

    prompt: str
    num_images: int = DEFAULT_NUM_IMAGES
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    style: str | None = None
    strict: bool = False
    candidates: int | None = None
    truncation: float = 1.0
    negative_prompt: str | None = None
    variation_of: Sequence[tuple[int, float]] | None = None
    variation_strength: float = VARIATION_STRENGTH


@dataclass(frozen=True)
class Stage:
    """A picture that a path passes through: that of a prompt and a seed, the one that `drawn`, which has a seed, draws, or `image`.

    Of an image, which may have any size and mode, a prompt may say what it shows, and the seed is that of the noise around it.
    `length` is that of the way from here to the next stage, relative to the other ways.
    """

    prompt: str = ""
    seed: int | None = None
    length: float = 1.0
    drawn: GenerateRequest | None = None
    image: Image.Image | None = field(default=None, compare=False)


@dataclass(frozen=True)
class PathRequest:
    """A path through two to eight stages in `frames` pictures, and with `loop` back to the first, which is not drawn twice.

    Every stage is one of the pictures; those between are spread over the ways by their lengths. Their pacing on each way is "even",
    so that each differs as much from the next, or "raw": even steps of the mixture. `style` and `truncation` are those of the
    stages that have a prompt. What is `moving` is "both", noise and text, or "text" alone: the noise stays that of the first stage,
    so that the path meets the picture of no other.
    """

    stages: Sequence[Stage]
    loop: bool = False
    frames: int = DEFAULT_FRAMES
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    style: str | None = None
    pacing: str = "even"
    truncation: float = 1.0
    moving: str = "both"


@dataclass(frozen=True)
class InterpolateRequest:
    """The path of two prompts: from (prompt_a, seed_a) to (prompt_b, seed_b); see `PathRequest`."""

    prompt_a: str
    prompt_b: str
    seed_a: int | None = None
    seed_b: int | None = None
    frames: int = DEFAULT_FRAMES
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    style: str | None = None
    pacing: str = "even"
    truncation: float = 1.0


@dataclass(frozen=True)
class MixRequest:
    """One picture of up to four prompts, each with its weight and its seed; weights are at least 0 and not all 0.

    `scored`: whether the ranker is asked how well it fits.
    """

    prompts: Sequence[str]
    weights: Sequence[float] | None = None
    seeds: Sequence[int] | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    style: str | None = None
    truncation: float = 1.0
    scored: bool = True


@dataclass(frozen=True)
class StepProgress:
    """Picture `index` (from 0) has done `step` of `steps`.

    With `candidates` above 0, it is the first of `together` candidates that are drawn at once, of so many in all.
    `preview`, of a picture that is drawn alone, decodes what it would be if the drawing ended here.
    """

    index: int
    step: int
    steps: int
    candidates: int = 0
    together: int = 1
    preview: Callable[[], Image.Image] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Picture:
    """A finished picture and everything needed to make it again.

    `score` is the ranker's, 0 to 1, where there is one, and `vector` (D,) float32 of unit norm what it compares with a text.
    """

    image: Image.Image
    index: int
    prompt: str
    seed: int
    seconds: float
    score: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    vector: np.ndarray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Frame:
    """The `order`-th frame drawn; it stands at `index` of `total`, on the way from stage `leg` to the next.

    The next stage weighs `position` in it, 0..1.
    """

    order: int
    index: int
    position: float
    image: Image.Image
    total: int
    leg: int = 0


@dataclass(frozen=True)
class Match:
    """A picture found: its place among those that were searched, and how well it fits the text, 0 to 1."""

    index: int
    score: float


def whole_number(value: object, name: str, low: int, high: int) -> int:
    """`value` as an int between low and high, or SettingError with the range."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise SettingError(f"{name} must be a whole number between {low} and {high}.")
    if not low <= value <= high:
        told = f", not {int(value)}" if abs(value) < 1e18 else ""
        raise SettingError(f"{name} must lie between {low} and {high}{told}.")
    return int(value)


def checked_weight(value: object, name: str) -> float:
    """`value` as a finite number of at least 0, or SettingError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e6:
        raise SettingError(f"{name} must be a number of at least 0, not {value!r}.")
    return float(value)


def checked_share(value: object, name: str) -> float:
    """`value` as a number between 0 and 1, or SettingError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise SettingError(f"{name} must be a number between 0 and 1, not {value!r}.")
    return float(value)


def noise_recipe(recipe: object) -> list[tuple[int, float]]:
    """Pairs of seed and weight, checked: the noise of a picture as a mixture of the noises of its seeds.

    Raises:
        SettingError: not such pairs, none or more than `MAX_NOISES`, or weights that are all 0.
    """
    if not isinstance(recipe, list | tuple) or not all(isinstance(part, list | tuple) and len(part) == 2 for part in recipe):
        raise SettingError("A picture to vary is given as pairs of seed and weight, for example [[7, 1.0]].")
    if not 1 <= len(recipe) <= MAX_NOISES:
        raise SettingError(f"A picture to vary has between 1 and {MAX_NOISES} pairs of seed and weight, not {len(recipe)}.")
    pairs = [(whole_number(seed, "A seed", 0, MAX_SEED), checked_weight(share, "A weight")) for seed, share in recipe]
    if not any(share > 0 for _, share in pairs):
        raise SettingError("Give at least one seed a weight above 0.")
    return pairs


def noise_of(seed: int, settings: Mapping[str, Any]) -> list[tuple[int, float]]:
    """The noise of a picture that was drawn with these settings, as a recipe for variations of it."""
    from dalle.interpolation import varied

    if not settings.get("variation_of"):
        return [(seed, 1.0)]
    return varied(noise_recipe(settings["variation_of"]), seed, float(settings["variation_strength"]))


def seed_or_random(seed: int | None) -> int:
    return random.SystemRandom().randint(0, MAX_SEED) if seed is None else whole_number(seed, "The seed", 0, MAX_SEED)


def checked_length(value: object) -> float:
    """`value` as the length of a way, or SettingError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not MIN_LENGTH <= value <= MAX_LENGTH:
        raise SettingError(f"The length of a way must be a number between {MIN_LENGTH:g} and {MAX_LENGTH:g}.")
    return float(value)


def as_path(request: InterpolateRequest | PathRequest) -> PathRequest:
    """Any path as one through stages."""
    if isinstance(request, PathRequest):
        return request
    stages = (Stage(request.prompt_a, request.seed_a), Stage(request.prompt_b, request.seed_b))
    return PathRequest(stages, **{each.name: getattr(request, each.name) for each in fields(InterpolateRequest)[4:]})


Path = TypeVar("Path", InterpolateRequest, PathRequest)


def with_seeds(request: Path) -> Path:
    """The same path with its seeds drawn where it has none, so that they can be told and the path made again."""
    if isinstance(request, InterpolateRequest):
        return replace(request, seed_a=seed_or_random(request.seed_a), seed_b=seed_or_random(request.seed_b))
    stages = [stage if stage.drawn else replace(stage, seed=seed_or_random(stage.seed)) for stage in request.stages]
    return replace(request, stages=tuple(stages))


def two_prompts(request: InterpolateRequest | PathRequest) -> InterpolateRequest | None:
    """The path as one of two prompts, where it is no more than that."""
    if isinstance(request, InterpolateRequest):
        return request
    more = len(request.stages) != 2 or request.loop or request.moving != "both"
    if more or any(stage.drawn or stage.image for stage in request.stages):
        return None
    a, b = request.stages
    alike = {each.name: getattr(request, each.name) for each in fields(InterpolateRequest)[4:]}
    return InterpolateRequest(a.prompt, b.prompt, a.seed, b.seed, **alike)


def picture_metadata(picture: Picture) -> dict[str, str]:
    """The text that goes into a picture's file, so that it can be made again."""
    return {
        "prompt": picture.prompt,
        "seed": str(picture.seed),
        "model": str(picture.settings.get("model", "")),
        "settings": settings_text(picture.settings),
    }


def path_metadata(request: InterpolateRequest | PathRequest, settings: dict[str, Any]) -> dict[str, str]:
    """The same for a path."""
    if (plain := two_prompts(request)) is not None:
        told = {
            "prompt_a": plain.prompt_a,
            "prompt_b": plain.prompt_b,
            "seed_a": str(plain.seed_a),
            "seed_b": str(plain.seed_b),
        }
    else:
        stages = [stage_record(stage) for stage in request.stages]
        told = {"stages": json.dumps(stages, ensure_ascii=False), "loop": "yes" if request.loop else "no"}
    return told | {"model": str(settings.get("model", "")), "settings": settings_text(settings)}


def stage_record(stage: Stage) -> dict[str, Any]:
    """What a path's file says of a stage."""
    if stage.drawn is None:
        told = {"prompt": stage.prompt, "seed": stage.seed, "length": stage.length}
        return told | {"image": "not drawn by the model"} if stage.image else told
    usual = {each.name: each.default for each in fields(GenerateRequest)}
    given = {name: value for name, value in vars(stage.drawn).items() if name != "num_images" and value != usual[name]}
    return given | {"length": stage.length}


def settings_text(settings: dict[str, Any]) -> str:
    """Settings as the JSON that goes into a picture's metadata."""
    return json.dumps(settings, ensure_ascii=False, sort_keys=True)


def request_of(metadata: Mapping[str, str]) -> GenerateRequest:
    """The request that draws a picture again, from the text in its file (`dalle.images.read_png_metadata`).

    Ranges are checked by the engine; here only what it takes to read the text, which may be anybody's.

    Raises:
        SettingError: there is no recipe, or it is none for a single prompt.
    """
    try:
        settings = json.loads(metadata["settings"])
        if not isinstance(settings, dict):
            raise TypeError("not an object")
        if "prompts" in settings:
            raise SettingError("This picture was mixed from several prompts: mix them again, with its seeds and weights.")
        recipe = settings.get("variation_of")
        negative, style = settings.get("negative_prompt"), settings.get("style")
        if not all(text is None or isinstance(text, str) for text in (negative, style)):
            raise TypeError("not text")
        return GenerateRequest(
            prompt=str(metadata["prompt"]),
            num_images=1,
            seed=whole_number(int(metadata["seed"]), "The seed", 0, MAX_SEED),
            num_inference_steps=settings.get("num_inference_steps"),
            guidance_scale=settings.get("guidance_scale"),
            style=style,
            truncation=settings.get("truncation", 1.0),
            negative_prompt=negative,
            variation_of=None if recipe is None else noise_recipe(recipe),
            variation_strength=checked_share(settings.get("variation_strength", 0.0), "The strength of a variation"),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError("There is no recipe in this file that I can read: take a PNG that was saved here, unchanged.") from error


def mix_request_of(metadata: Mapping[str, str]) -> MixRequest:
    """The request that draws a mixture again, from the text in its file; ranges are checked by the engine.

    Raises:
        SettingError: there is no recipe, or it is none of a mixture.
    """
    try:
        settings = json.loads(metadata["settings"])
        prompts, weights, seeds = (settings[name] for name in ("prompts", "weights", "seeds"))
        if not all(isinstance(part, list) and 1 <= len(part) <= MAX_MIXED for part in (prompts, weights, seeds)):
            raise TypeError("not lists")
        style = settings.get("style")
        if not all(isinstance(text, str) for text in (*prompts, "" if style is None else style)):
            raise TypeError("not text")
        if not len(prompts) == len(weights) == len(seeds):
            raise TypeError("not one each")
        return MixRequest(
            prompts=prompts,
            weights=[checked_weight(weight, "A weight") for weight in weights],
            seeds=[whole_number(seed, "A seed", 0, MAX_SEED) for seed in seeds],
            num_inference_steps=settings.get("num_inference_steps"),
            guidance_scale=settings.get("guidance_scale"),
            style=style,
            truncation=settings.get("truncation", 1.0),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError("There is no recipe in this file that I can read: take a PNG that was saved here, unchanged.") from error


def is_mixture(metadata: Mapping[str, str]) -> bool:
    """Whether the text in a picture's file says that it was mixed of several prompts; False for text that can't be read."""
    try:
        settings = json.loads(metadata["settings"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and "prompts" in settings


def any_request_of(metadata: Mapping[str, str]) -> GenerateRequest | MixRequest:
    """The request of a picture of one prompt or of several. Raises as `request_of` and `mix_request_of` do."""
    return mix_request_of(metadata) if is_mixture(metadata) else request_of(metadata)


def variation(request: GenerateRequest, strength: float, num_images: int = DEFAULT_NUM_IMAGES) -> GenerateRequest:
    """Pictures like the one that `request`, of one picture with a seed, draws; each has a random seed of its own."""
    noise = [(request.seed, 1.0)]
    if request.variation_of is not None:
        noise = noise_of(request.seed, {"variation_of": request.variation_of, "variation_strength": request.variation_strength})
    return replace(
        request, num_images=num_images, seed=seed_or_random(None), variation_of=noise, variation_strength=strength
    )
