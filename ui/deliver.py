"""Files of what was drawn before: other sizes, vectors, a kit of many, a path as video. Made anew, from recipes and links."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from dalle.config import MAX_IMAGES, SettingError
from dalle.images import MAX_FPS, png_bytes, slug
from dalle.requests import InterpolateRequest, PathRequest, as_path, picture_metadata, with_seeds
from ui import inputs
from ui.direct import Direct, visitor_name
from ui.links import path_of
from ui.outbox import Outbox
from ui.settings import PageSettings
from ui.stages import Plan, Uploads, label_of, plan_of

if TYPE_CHECKING:
    from dalle.engine import Engine

KINDS = ("png", "svg", "kit")
BLANK = {"state": "error", "message": "", "address": "", "name": ""}
"""An answer before anything was made."""


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
        return self._direct.answer(self.kind, visitor_name(sent, self.kind), BLANK, lambda cancel: self._make(sent, cancel))

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


class DeliverPath:
    """Files of a path that was drawn before, drawn anew from its link: at another speed, eased, as video, as frames."""

    kind = "deliver path"
    kinds = ("webp", "mp4", "zip")

    def __init__(self, engine: Engine, direct: Direct, outbox: Callable[[], Outbox], settings: PageSettings) -> None:
        self._engine = engine
        self._direct = direct
        self._outbox = outbox
        self._settings = settings
        self._uploads = Uploads(outbox)

    def files(self, question: object) -> dict[str, Any]:
        """{state, message, address, name} for a question {visitor, what, link, speed, eased, pingpong}. Never raises."""
        sent = question if isinstance(question, dict) else {}
        return self._direct.answer(self.kind, visitor_name(sent, self.kind), BLANK, lambda cancel: self._make(sent, cancel))

    def _make(self, sent: dict[str, Any], cancel: threading.Event) -> dict[str, Any]:
        from dalle.engine import route_of
        from dalle.export import frames_zip, mp4, timeline

        what = sent.get("what")
        if what not in self.kinds:
            raise SettingError(f"Choose what to save: {', '.join(self.kinds)}.")
        speed = inputs.number(sent.get("speed"), "speed")
        fps = self._settings.frames_per_second * (1.0 if speed is None else speed)
        if not 1 <= fps <= MAX_FPS:
            raise SettingError(f"The speed must give 1 to {MAX_FPS} frames a second.")
        eased, pingpong = inputs.flag(sent.get("eased"), "eased"), inputs.flag(sent.get("pingpong"), "ping-pong")
        request = with_seeds(linked_plan(sent.get("link"), self._settings, self._uploads).request)
        with closing(self._engine.interpolate(request, cancel=cancel)) as items:
            frames = [frame.image for frame in sorted(items, key=lambda frame: frame.index)]
        name, metadata = path_name(request), self._engine.path_metadata(request)
        shown = [frames[index] for index in timeline(len(frames), eased, pingpong, route_of(request).gaps)]
        outbox = self._outbox()
        if what == "webp":
            file = outbox.animation(shown, name, fps=fps, pingpong=False, metadata=metadata)
        elif what == "mp4":
            file = outbox.file(mp4(shown, fps, metadata), f"{name}.mp4")
        else:
            file = outbox.file(frames_zip(frames, metadata, self._engine.card() or ""), f"{name}-frames.zip")
        return {"address": address(file["path"]), "name": file["orig_name"]}


def linked_plan(link: object, settings: PageSettings, uploads: Uploads | None = None) -> Plan:
    """The path of a link, as long as the page makes it.

    Raises:
        PromptError, SettingError: no such link.
    """
    said = path_of(link)
    said.pop("at")
    return plan_of(**said, leg_frames=settings.frames, uploads=uploads)


def path_name(wish: InterpolateRequest | PathRequest) -> str:
    """The name of a path's file, without its ending."""
    labels = [slug(label_of(stage), 24) for stage in as_path(wish).stages]
    return f"{labels[0]}-to-{labels[-1]}" if len(labels) == 2 else f"{labels[0]}-by-{len(labels) - 2}-to-{labels[-1]}"


def address(path: str) -> str:
    """Where gradio serves a file of its cache, relative to the page."""
    return f"gradio_api/file={path}"
