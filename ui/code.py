"""What is on the page as Python that draws it again."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from dalle.requests import GenerateRequest, InterpolateRequest, MixRequest, PathRequest, Stage, two_prompts

IGNORED = ("num_images", "strict", "candidates")
"""Of one picture's request: how it was chosen among others."""


def arguments_of(request: Any, leave: tuple[str, ...] = ()) -> str:
    """The fields of a request that differ from their defaults, as Python."""
    given = []
    for each in fields(request):
        value = getattr(request, each.name)
        if each.name not in leave and (each.default is MISSING or value != each.default):
            given.append(f"{each.name}={_python(value)}")
    return ", ".join(given)


def _python(value: Any) -> str:
    if isinstance(value, Stage):
        leave = () if value.drawn is None else ("prompt", "seed")
        return f"Stage({arguments_of(value, leave)})"
    if isinstance(value, GenerateRequest):
        leave = IGNORED if value.variation_of is not None else (*IGNORED, "variation_strength")
        return f"GenerateRequest({arguments_of(value, leave)})"
    if isinstance(value, tuple) and any(isinstance(each, Stage) for each in value):
        return "(\n" + "".join(f"    {_python(each)},\n" for each in value) + ")"
    return repr(value)


def picture_code(request: GenerateRequest, model: str) -> str:
    """Draws the one picture of `request`, which has a seed, and saves it."""
    if request.variation_of is None:
        return _code(model, "GenerateRequest", f"{arguments_of(request, (*IGNORED, 'variation_strength'))}, num_images=1", PICTURE)
    return _code(model, "GenerateRequest", f"{arguments_of(request, IGNORED)}, num_images=1", PICTURE)


def mix_code(request: MixRequest, model: str) -> str:
    """Mixes the one picture of `request`, which has seeds, and saves it."""
    return _code(model, "MixRequest", arguments_of(request), MIXTURE)


def path_code(request: InterpolateRequest | PathRequest, model: str, fps: int) -> str:
    """Draws the path of `request`, which has seeds and no pictures from elsewhere, and saves it as an animation."""
    plain = two_prompts(request)
    if plain is not None:
        return _code(model, "InterpolateRequest", arguments_of(plain), PATH.format(fps=fps, pingpong=True))
    rest = PATH.format(fps=fps, pingpong=not request.loop)
    return _code(model, "PathRequest", arguments_of(request), rest)


PICTURE = """\
picture = list(engine.generate(request))[-1]
picture.image.save("picture.png")  # RGBA
"""

MIXTURE = """\
picture = engine.mix(request)
picture.image.save("picture.png")  # RGBA
"""

PATH = """\
frames = sorted(engine.interpolate(request), key=lambda frame: frame.index)
save_webp([frame.image for frame in frames], "path.webp", fps={fps}, pingpong={pingpong})
"""


def _code(model: str, kind: str, arguments: str, rest: str) -> str:
    more = "from dalle.images import save_webp\n" if "save_webp" in rest else ""
    names = [name for name in ("GenerateRequest", "Stage") if f"{name}(" in arguments and name != kind]
    return (
        f"from dalle.engine import Engine\n{more}from dalle.requests import {', '.join(sorted([kind, *names]))}\n\n"
        f"engine = Engine({model!r})\nengine.load()\nrequest = {kind}({arguments})\n{rest}"
    )
