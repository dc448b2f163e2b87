"""From raw values, of the page or of an API call, to the engine's requests.

Types are settled here, since whoever calls the API may send anything; ranges are the engine's business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

from dalle.config import STYLES, VARIATION_STRENGTH, PromptError, SettingError
from dalle.requests import (
    DEFAULT_FRAMES,
    DEFAULT_NUM_IMAGES,
    GenerateRequest,
    InterpolateRequest,
    MixRequest,
    any_request_of,
    noise_recipe,
    request_of,
    seed_or_random,
    settings_text,
)
from dalle.uses import Use, use_named

ANY_STYLE = "any"


def generate_request(
    *,
    prompt: object,
    num_images: object = DEFAULT_NUM_IMAGES,
    seed: object = None,
    num_inference_steps: object = None,
    guidance_scale: object = None,
    style: object = None,
    strict: object = False,
    candidates: object = None,
    truncation: object = None,
    negative_prompt: object = None,
    variation_of: object = None,
    variation_strength: object = None,
) -> GenerateRequest:
    """Raises `PromptError` or `SettingError` for a value of the wrong type."""
    count = whole_number(num_images, "number of pictures")
    return GenerateRequest(
        prompt=text(prompt),
        num_images=DEFAULT_NUM_IMAGES if count is None else count,
        seed=whole_number(seed, "seed"),
        num_inference_steps=whole_number(num_inference_steps, "number of steps"),
        guidance_scale=number(guidance_scale, "guidance"),
        style=style_name(style),
        strict=flag(strict, "strict"),
        candidates=whole_number(candidates, "number of candidates"),
        truncation=spread(truncation),
        negative_prompt=text(negative_prompt) or None,
        variation_of=None if variation_of is None or variation_of == "" else noise_recipe(variation_of),
        variation_strength=strength(variation_strength),
    )


def interpolate_request(
    *,
    prompt_a: object,
    prompt_b: object,
    seed_a: object = None,
    seed_b: object = None,
    frames: object = DEFAULT_FRAMES,
    num_inference_steps: object = None,
    guidance_scale: object = None,
    style: object = None,
    pacing: object = None,
    truncation: object = None,
) -> InterpolateRequest:
    """Raises `PromptError` or `SettingError` for a value of the wrong type."""
    count = whole_number(frames, "number of frames")
    return InterpolateRequest(
        prompt_a=text(prompt_a),
        prompt_b=text(prompt_b),
        seed_a=whole_number(seed_a, "first seed"),
        seed_b=whole_number(seed_b, "second seed"),
        frames=DEFAULT_FRAMES if count is None else count,
        num_inference_steps=whole_number(num_inference_steps, "number of steps"),
        guidance_scale=number(guidance_scale, "guidance"),
        style=style_name(style),
        pacing="even" if pacing is None or pacing == "" else text(pacing),
        truncation=spread(truncation),
    )


def mix_request(
    *,
    prompts: object,
    weights: object = None,
    seeds: object = None,
    num_inference_steps: object = None,
    guidance_scale: object = None,
    style: object = None,
    truncation: object = None,
    scored: bool = True,
) -> MixRequest:
    """Raises `PromptError` or `SettingError` for a value of the wrong type."""
    return MixRequest(
        prompts=[text(prompt) for prompt in some(prompts, "prompts") or []],
        weights=each(weights, "weight", number),
        seeds=each(seeds, "seed", whole_number),
        num_inference_steps=whole_number(num_inference_steps, "number of steps"),
        guidance_scale=number(guidance_scale, "guidance"),
        style=style_name(style),
        truncation=spread(truncation),
        scored=scored,
    )


def some(values: object, name: str) -> list | None:
    """A list, or None for an empty box."""
    if values is None or values == "":
        return None
    if not isinstance(values, list | tuple):
        raise SettingError(f"The {name} must be a list.")
    return list(values)


def each(values: object, name: str, read: Callable[[object, str], float | int | None]) -> list | None:
    """A list of numbers, or None for none."""
    found = some(values, f"{name}s")
    if found is None:
        return None
    numbers = [read(value, name) for value in found]
    if None in numbers:
        raise SettingError(f"A {name} is missing.")
    return numbers


def spread(value: object) -> float:
    """The truncation: how widely noise is drawn; an empty box is all of it."""
    found = number(value, "variety")
    return 1.0 if found is None else found


def strength(value: object) -> float:
    """How far a variation goes; an empty box is the usual."""
    found = number(value, "strength of the variation")
    return VARIATION_STRENGTH if found is None else found


MAX_RECIPE = 20_000
"""Characters of a recipe that a browser sends back."""


def recipe(value: object) -> GenerateRequest:
    """The request of a picture by the text in its file, which a browser sends back.

    Raises:
        SettingError: it is no such text.
    """
    return request_of(recipe_text(value))


def any_recipe(value: object) -> GenerateRequest | MixRequest:
    """The same for a picture of one prompt or of several."""
    return any_request_of(recipe_text(value))


def recipe_of_record(value: object) -> dict[str, str]:
    """The text of a recipe from the record that the API gives of a picture."""
    kept = value if isinstance(value, dict) else {}
    settings = kept.get("settings")
    if not isinstance(kept.get("prompt"), str) or not isinstance(settings, dict):
        raise SettingError("Give the records of pictures that were drawn here, as generate and mix return them.")
    return {"prompt": kept["prompt"], "seed": str(kept.get("seed")), "settings": settings_text(settings)}


def recipe_text(value: object) -> dict[str, str]:
    """The text itself, checked for its shape only."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise SettingError("That is no picture that was drawn here.")
    if sum(map(len, value.values())) > MAX_RECIPE:
        raise SettingError("That is no picture that was drawn here: its text is too long.")
    return value


def text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PromptError("The prompt must be text.")
    # Half of a surrogate pair is no character: it can't be sent back to the page.
    return value.encode("utf-8", "replace").decode()


def flag(value: object, name: str) -> bool:
    """Yes or no; an empty box is a no."""
    if value is None or isinstance(value, bool):
        return bool(value)
    raise SettingError(f"{name} must be true or false.")


def number(value: object, name: str) -> float | None:
    """A finite number, or None for an empty box."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SettingError(f"The {name} must be a number.")
    if isinstance(value, int) and abs(value) > 1e18:  # more than a float can hold, maybe
        raise SettingError(f"The {name} is out of range.")
    if not math.isfinite(value):
        raise SettingError(f"The {name} must be a number.")
    return float(value)


def whole_number(value: object, name: str) -> int | None:
    """A whole number, or None for an empty box. Sliders may send 4.0 for 4, seed boxes send text."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e18:
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*(-?[0-9]{1,20})?\s*", value):
        return int(value) if value.strip() else None
    found = number(value, name)
    if found is None:
        return None
    if not found.is_integer():
        raise SettingError(f"The {name} must be a whole number, not {found:g}.")
    return int(found)


def style_name(value: object) -> str | None:
    """A style's name, or None for "any"."""
    if value is None or value in ("", ANY_STYLE):
        return None
    if not isinstance(value, str) or value not in STYLES:
        raise SettingError(f"There is no such style. Choose one of: {', '.join((ANY_STYLE, *STYLES))}.")
    return value


def use_of(value: object) -> Use | None:
    """What the pictures are for: the page's widget sends {chosen}, a program a name; None for nothing in particular."""
    name = value.get("chosen") if isinstance(value, dict) else value
    return None if name is None or name == "" else use_named(name)


def with_seed(request: GenerateRequest) -> GenerateRequest:
    """The same request with a random seed, where it has none."""
    return request if request.seed is not None else replace(request, seed=seed_or_random(None))
