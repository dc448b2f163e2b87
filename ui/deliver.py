"""Files of pictures that were drawn before: other sizes, vector graphics, a kit of many. Made from their recipes, anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dalle.config import MAX_IMAGES, SettingError
from dalle.images import png_bytes, slug
from dalle.requests import picture_metadata
from ui import inputs
from ui.direct import Direct, visitor_name
from ui.outbox import Outbox

if TYPE_CHECKING:
    from dalle.engine import Engine

KINDS = ("png", "svg", "kit")


class Deliver:
    """Makes files for one widget; `outbox` gives where they lie, once it is there."""

    kind = "deliver"

    def __init__(self, engine: Engine, direct: Direct, outbox: Callable[[], Outbox]) -> None:
        self._engine = engine
        self._direct = direct
        self._outbox = outbox

    def files(self, question: object) -> dict[str, Any]:
        """{state, message, address, name} for a question {visitor, what, recipes, size}. Never raises."""
        sent = question if isinstance(question, dict) else {}
        blank = {"state": "error", "message": "", "address": "", "name": ""}
        return self._direct.answer(self.kind, visitor_name(sent, self.kind), blank, lambda cancel: self._make(sent, cancel))

    def _make(self, sent: dict[str, Any], cancel: threading.Event) -> dict[str, Any]:
        from dalle.export import SIZES, kit, resized, svg

        what, given = sent.get("what"), sent.get("recipes")
        if what not in KINDS:
            raise SettingError(f"Choose what to save: {', '.join(KINDS)}.")
        most = MAX_IMAGES if what == "kit" else 1
        if not isinstance(given, list) or not 1 <= len(given) <= most:
            raise SettingError(f"Choose 1 to {most} pictures to save.")
        size = inputs.whole_number(sent.get("size"), "size")
        if size is not None and size not in SIZES:
            raise SettingError(f"Choose a size of {', '.join(map(str, SIZES))} pixels.")
        pictures = [self._direct.draw(request, cancel) for request in [inputs.recipe(recipe) for recipe in given]]
        first = pictures[0]
        size = size or first.image.width
        name = f"{slug(first.prompt)}-{first.seed}"
        metadata = picture_metadata(first)
        if what == "png":
            data, name = png_bytes(resized(first.image, size), metadata), f"{name}-{size}.png"
        elif what == "svg":
            data, name = svg(first.image, first.prompt, metadata).encode(), f"{name}.svg"
        else:
            data, name = kit(pictures, self._engine.card() or "", size), f"{slug(first.prompt)}-kit.zip"
        file = self._outbox().file(data, name)
        return {"address": address(file["path"]), "name": name}


def address(path: str) -> str:
    """Where gradio serves a file of its cache, relative to the page."""
    return f"gradio_api/file={path}"
