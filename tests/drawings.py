"""A few dozen SVG drawings in three styles, made here: what the tests render."""

from __future__ import annotations

import colorsys

from train.data.render import Source
from train.data.store import Drawing

STYLES = {"flat": 1.0, "soft": 0.75, "bold": 0.5}
"""Style -> saturation of its fills."""

SHAPES = {
    "ball": '<circle cx="50" cy="50" r="40" {}/>',
    "box": '<rect x="12" y="12" width="76" height="76" {}/>',
    "kite": '<polygon points="50,5 85,50 50,95 15,50" {}/>',
    "tent": '<polygon points="50,10 95,90 5,90" {}/>',
    "bar": '<rect x="5" y="35" width="90" height="30" {}/>',
    "egg": '<ellipse cx="50" cy="50" rx="28" ry="40" {}/>',
    "cross": '<path d="M38 5h24v33h33v24H62v33H38V62H5V38h33z" {}/>',
    "moon": '<path d="M65 8a42 42 0 1 0 0 84a55 55 0 0 1 0-84z" {}/>',
    "arch": '<path d="M10 90V50a40 40 0 0 1 80 0v40H65V50a15 15 0 0 0-30 0v40z" {}/>',
    "drop": '<path d="M50 5c25 35 32 45 32 58a32 32 0 0 1-64 0c0-13 7-23 32-58z" {}/>',
    "arrow": '<path d="M5 40h50V15l40 35-40 35V60H5z" {}/>',
    "stair": '<path d="M10 90V65h25V40h25V15h30v75z" {}/>',
}


def svg(shape: str, style: str) -> str:
    """One drawing; the outline is see-through, so that its edges are neither there nor not."""
    hue = list(SHAPES).index(shape) / len(SHAPES)
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, STYLES[style], 0.9))
    width = 3 if style == "bold" else 1
    paint = f'fill="rgb({red},{green},{blue})" stroke="#222" stroke-opacity=".5" stroke-width="{width}"'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256" viewBox="0 0 100 100">'
        f"{SHAPES[shape].format(paint)}</svg>"
    )


def sources() -> list[Source]:
    """36 drawings, ready to render."""
    return [
        Source(
            Drawing("made", "1", "CC0-1.0", f"{shape}-{style}", shape, style, shape, [shape], "object"),
            svg(shape, style),
        )
        for style in STYLES
        for shape in SHAPES
    ]
