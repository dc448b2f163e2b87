"""What is on the page as Python that draws it again."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from dalle.requests import GenerateRequest, InterpolateRequest, MixRequest

IGNORED = ("num_images", "strict", "candidates")
"""Of one picture's request: how it was chosen among others."""


def arguments_of(request: Any, leave: tuple[str, ...] = ()) -> str:
    """The fields of a request that differ from their defaults, as Python."""
    given = []
    for each in fields(request):
        value = getattr(request, each.name)
        if each.name not in leave and (each.default is MISSING or value != each.default):
            given.append(f"{each.name}={value!r}")
    return ", ".join(given)


def picture_code(request: GenerateRequest, model: str) -> str:
    """Draws the one picture of `request`, which has a seed, and saves it."""
    if request.variation_of is None:
        return _code(model, "GenerateRequest", f"{arguments_of(request, (*IGNORED, 'variation_strength'))}, num_images=1", PICTURE)
    return _code(model, "GenerateRequest", f"{arguments_of(request, IGNORED)}, num_images=1", PICTURE)


def mix_code(request: MixRequest, model: str) -> str:
    """Mixes the one picture of `request`, which has seeds, and saves it."""
    return _code(model, "MixRequest", arguments_of(request), MIXTURE)


def path_code(request: InterpolateRequest, model: str, fps: int) -> str:
    """Draws the path of `request`, which has seeds, and saves it as an animation."""
    return _code(model, "InterpolateRequest", arguments_of(request), PATH.format(fps=fps))


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
save_webp([frame.image for frame in frames], "path.webp", fps={fps}, pingpong=True)
"""


def _code(model: str, kind: str, arguments: str, rest: str) -> str:
    more = "from dalle.images import save_webp\n" if "save_webp" in rest else ""
    return (
        f"from dalle.engine import Engine\n{more}from dalle.requests import {kind}\n\n"
        f"engine = Engine({model!r})\nengine.load()\nrequest = {kind}({arguments})\n{rest}"
    )
