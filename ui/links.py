"""Links that restore what is on the page: a picture, a path with a place on it, a point of the pad.

What to restore stands behind the "#" of the page's own address. Browsers keep that part to themselves, so a link's prompts reach
the server only as any other prompt does, and no log of addresses holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from dalle.config import SettingError
from dalle.requests import GenerateRequest, InterpolateRequest, MixRequest, PathRequest, Picture, as_path, settings_text
from ui import inputs

if TYPE_CHECKING:
    from dalle.engine import Engine

MAX_LINK = 16_000
"""Characters of a link; eight prompts of the longest kind fit."""

STALE = "This link is not whole, or is not from here: ask for it again, or type the prompt."

NUMBERS = {
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "variety": "truncation",
    "strength": "variation_strength",
}
"""Name in a link -> name in a picture's settings."""
TEXTS = {"style": "style", "without": "negative_prompt", "model": "model", "revision": "revision"}


def picture_link(picture: Picture) -> str:
    """What stands behind the "#" of a link to a picture of one prompt."""
    return _picture_link(picture.prompt, picture.seed, picture.settings)


def request_link(request: GenerateRequest) -> str:
    """The same from the request of one picture, which has a seed; it names no model."""
    return _picture_link(request.prompt, request.seed, vars(request))


def _picture_link(prompt: str, seed: int | None, settings: Mapping[str, Any]) -> str:
    parts: dict[str, Any] = {"prompt": prompt, "seed": seed}
    for name, key in (NUMBERS | TEXTS).items():
        if settings.get(key) is not None and not (name == "variety" and settings[key] == 1):
            parts[name] = settings[key]
    if settings.get("variation_of"):
        parts["like"] = " ".join(f"{seed}:{weight!r}" for seed, weight in settings["variation_of"])
    else:
        parts.pop("strength", None)
    return urlencode(parts)


def mix_link(request: MixRequest) -> str:
    """The same for a point of the pad that draws a mixture whose seeds are known.

    Two prompts lie on the upper edge, three around the corner of the heaviest, so that every mixture of them has its point.
    Of four, those have one that were mixed on a pad; else the link tells a near one.
    """
    weights = list(request.weights or [1.0] * len(request.prompts))
    order = list(range(len(weights)))
    if len(order) == 3:
        order.sort(key=lambda place: -weights[place])
    a, b, c, d = ([weights[place] / sum(weights) for place in order] + [0.0] * 4)[:4]
    if len(order) == 4:
        x, y = b + d, c + d
    else:
        x, y = b / (a + b), c / (a + c) if c else 0.0
    prompts = [request.prompts[place] for place in order] + [""] * (4 - len(order))
    seeds = [request.seeds[place] for place in order] + [0] * (4 - len(order))
    parts: list[tuple[str, str]] = [("mix", prompt) for prompt in prompts]
    parts += [("style", request.style)] if request.style else []
    # Shares that sum to a little more than 1 are no point.
    return urlencode([*parts, ("seeds", " ".join(map(str, seeds))), ("at", f"{min(1.0, x)!r} {min(1.0, y)!r}")])


def path_link(request: InterpolateRequest | PathRequest, engine: Engine, uploads: Sequence[str] = ()) -> str:
    """The same for a path whose seeds are known; the page adds the place on it, `at`, 0 to 1.

    With the tokens of its stages' `uploads` it is none to be given away, but says all that it takes to draw the path again.
    """
    path = as_path(request)
    prompts, seeds = [stage.prompt for stage in path.stages], [stage.seed for stage in path.stages]
    parts: list[tuple[str, Any]] = [("from", prompts[0]), ("to", prompts[1]), ("seed_from", seeds[0]), ("seed_to", seeds[1])]
    parts += [each for place in range(2, len(prompts)) for each in (("stage", prompts[place]), ("stage_seed", seeds[place]))]
    if any(stage.length != 1 for stage in path.stages):
        parts.append(("lengths", " ".join(f"{stage.length:g}" for stage in path.stages)))
    if path.loop:
        parts.append(("loop", 1))
    for place, stage in enumerate(path.stages, 1):
        if stage.drawn is not None:
            parts.append((f"picture_{place}", request_link(stage.drawn)))
    parts += [(f"upload_{place}", token) for place, token in enumerate(uploads, 1) if token]
    parts.append(("pace", path.pacing))
    parts += [("variety", path.truncation)] if path.truncation != 1 else []
    parts += [("style", path.style)] if path.style else []
    return urlencode([*parts, ("model", engine.model), ("revision", engine.revision)])


def parts_of(link: object) -> dict[str, list[str]]:
    """The parts of a link by their names.

    Raises:
        SettingError: no link of ours, or one that is too long.
    """
    if not isinstance(link, str) or len(link) > MAX_LINK:
        raise SettingError(STALE)
    try:
        return parse_qs(link.removeprefix("#"), keep_blank_values=True, max_num_fields=40, errors="replace")
    except ValueError as error:
        raise SettingError(STALE) from error


def _one(parts: Mapping[str, Sequence[str]], name: str) -> str | None:
    return parts[name][0] if parts.get(name) else None


def _number(parts: Mapping[str, Sequence[str]], name: str) -> float | int | None:
    text = _one(parts, name)
    if text is None or text == "":
        return None
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError as error:
        raise SettingError(STALE) from error


def picture_of(link: object) -> GenerateRequest:
    """The request that a link to a picture stands for; the engine checks its ranges.

    Raises:
        PromptError, SettingError: no such link.
    """
    return inputs.recipe(recipe_of(link))


def recipe_of(link: object) -> dict[str, str]:
    """A link to a picture as the text that would stand in its file.

    Raises:
        PromptError, SettingError: no such link.
    """
    parts = parts_of(link)
    if "prompt" not in parts:
        raise SettingError(STALE)
    settings: dict[str, Any] = {key: _number(parts, name) for name, key in NUMBERS.items() if name in parts}
    settings |= {key: _one(parts, name) for name, key in TEXTS.items() if name in parts}
    if like := _one(parts, "like"):
        try:
            settings["variation_of"] = [(int(seed), float(weight)) for seed, weight in (each.split(":") for each in like.split())]
        except ValueError as error:
            raise SettingError(STALE) from error
    seed = _one(parts, "seed")
    return {"prompt": inputs.text(_one(parts, "prompt")), "seed": seed or "x", "settings": settings_text(settings)}


def path_of(link: object) -> dict[str, Any]:
    """What a link to a path says: stages (see `ui.stages.stage_of`), loop, style, pacing, truncation, and the place on it, 0 to 1.

    Raises:
        PromptError, SettingError: no such link.
    """
    parts = parts_of(link)
    if "from" not in parts or "to" not in parts:
        raise SettingError(STALE)
    more, more_seeds = parts.get("stage", []), parts.get("stage_seed", [])
    if len(more_seeds) not in (0, len(more)):
        raise SettingError(STALE)
    prompts = [_one(parts, "from"), _one(parts, "to"), *more]
    seeds = [_number(parts, "seed_from"), _number(parts, "seed_to"), *(more_seeds or [None] * len(more))]
    lengths: list[Any] = [None] * len(prompts)
    if told := _one(parts, "lengths"):
        try:
            lengths = [float(length) for length in told.split()]
        except ValueError as error:
            raise SettingError(STALE) from error
        if len(lengths) != len(prompts):
            raise SettingError(STALE)
    stages = [
        {"prompt": prompt, "seed": seed, "length": length} for prompt, seed, length in zip(prompts, seeds, lengths, strict=True)
    ]
    for place, stage in enumerate(stages, 1):
        if picture := _one(parts, f"picture_{place}"):
            stage["recipe"] = recipe_of(picture)
        if token := _one(parts, f"upload_{place}"):
            stage["upload"] = token
    at = _number(parts, "at") or 0.0
    return {
        "stages": stages,
        "loop": _one(parts, "loop") == "1",
        "style": _one(parts, "style"),
        "pacing": _one(parts, "pace"),
        "truncation": _number(parts, "variety"),
        "at": min(1.0, max(0.0, float(at))),
    }


def mix_of(link: object) -> MixRequest:
    """The prompts (four, some may be empty), seeds and style of a link to a point of the pad; the page reads the point itself.

    Raises:
        PromptError, SettingError: no such link.
    """
    parts = parts_of(link)
    prompts = parts.get("mix", [])
    if len(prompts) != 4:
        raise SettingError(STALE)
    return inputs.mix_request(prompts=prompts, style=_one(parts, "style"))


def made_by(parts: Mapping[str, Any]) -> tuple[str, str]:
    """Model and revision that a link or a picture's settings name; "" where they don't."""

    def text(value: object) -> str:
        value = value[0] if isinstance(value, list) and value else value
        return value[:200] if isinstance(value, str) else ""

    return text(parts.get("model")), text(parts.get("revision"))


def other_model(made: tuple[str, str], engine: Engine) -> str:
    """What to tell where something was made by another model than this one; "" where it was not, or nobody knows."""
    model, revision = made
    if not revision or not engine.revision or revision == engine.revision:
        return ""
    first, now = model.partition("@")[0], engine.model.partition("@")[0]  # the revision says which version
    by = f"another version of {first}" if first == now else (first or "another model")
    return f"Made by {by} ({revision}); drawn anew by {now} ({engine.revision}) it may look different."
