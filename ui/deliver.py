"""Files of what was drawn before: other sizes, vectors, what many become, a path as video. Made anew, from recipes and links.

Many pictures take a while. Such a file is made in slices: the browser asks for the next one, with the token of the last, and so a
page that is closed ends the work, and everybody else has the model and the place in line in between.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dalle.config import MAX_MADE_OF, Cancelled, DalleError, SettingError
from dalle.images import MAX_FPS, bounded, png_bytes, slug
from dalle.requests import (
    GenerateRequest,
    InterpolateRequest,
    MixRequest,
    PathRequest,
    Picture,
    as_path,
    picture_metadata,
    with_seeds,
)
from ui import inputs
from ui.direct import Direct, visitor_name
from ui.links import path_of
from ui.outbox import Outbox
from ui.settings import PageSettings
from ui.stages import Plan, Uploads, label_of, plan_of

if TYPE_CHECKING:
    from dalle.engine import Engine
    from dalle.makers import Maker

SLICE_SECONDS = 1.0
"""How long a browser waits for news of a file that is being made; at least one picture is drawn in it."""

MAX_HALF_MADE = 4
"""Files that are being made at once; the next visitor is asked to wait."""

FORGOTTEN_SECONDS = 60.0
"""A file that nobody has asked for so long is given up."""

LOST = "This file was given up, since nobody asked for it in a while: save it again."

BLANK = {"state": "error", "message": "", "address": "", "name": ""}
"""An answer before anything was made."""


@dataclass
class HalfMade:
    """A file of many pictures on its way: what has still to be drawn for it, and who makes it."""

    maker: Maker
    name: str
    wishes: list[GenerateRequest | MixRequest]
    done: int = 0
    touched: float = field(default_factory=time.monotonic)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def draw_next(self, draw: Callable[[GenerateRequest | MixRequest], Picture]) -> None:
        """One more picture; where `draw` raises, nothing has changed."""
        with told_of(self.done + 1, len(self.wishes)):
            self.maker.add(draw(self.wishes[self.done]))
        self.done += 1
        self.touched = time.monotonic()


def begun(engine: Engine, what: object, recipes: object, size: int | None = None) -> HalfMade:
    """A file of one kind (`dalle.makers`), of pictures whose recipes anybody may have sent.

    Raises:
        SettingError: no such kind, too many pictures, or one that has no recipe.
    """
    from dalle.makers import MAKERS

    if not isinstance(what, str) or what not in MAKERS:
        raise SettingError(f"Choose what to save: {', '.join(('png', 'svg', *MAKERS))}.")
    if not isinstance(recipes, list) or not 1 <= len(recipes) <= MAX_MADE_OF:
        raise SettingError(f"Choose 1 to {MAX_MADE_OF} pictures to save.")
    wishes = []
    for place, recipe in enumerate(recipes, 1):
        with told_of(place, len(recipes)):
            wishes.append(inputs.any_recipe(recipe))
    first = wishes[0].prompt if isinstance(wishes[0], GenerateRequest) else wishes[0].prompts[0]
    card = engine.card() or ""
    maker = MAKERS[what](card, size) if what == "kit" and size else MAKERS[what](card)
    return HalfMade(maker, f"{slug(first)}-{what}.{maker.ending}", wishes)


def asked_size(sent: dict[str, Any]) -> int | None:
    """The side of a picture that a browser asks for, or None for the one it has."""
    from dalle.export import SIZES

    size = inputs.whole_number(sent.get("size"), "size")
    if size is not None and size not in SIZES:
        raise SettingError(f"Choose a size of {', '.join(map(str, SIZES))} pixels.")
    return size


class Deliver:
    """Makes files for one widget; `outbox` gives where they lie, once it is there."""

    kind = "deliver"

    def __init__(self, engine: Engine, direct: Direct, outbox: Callable[[], Outbox], slice_seconds: float | None = None) -> None:
        self._engine = engine
        self._direct = direct
        self._outbox = outbox
        self._slice_seconds = SLICE_SECONDS if slice_seconds is None else slice_seconds
        self._half_made: dict[str, HalfMade] = {}
        self._list = threading.Lock()

    def files(self, question: object) -> dict[str, Any]:
        """{state, message, address, name} for a question {visitor, what, recipes, size}. Never raises.

        What is made of many pictures may come in slices: the state is then "working", with {token, done, total}, and the next
        question is {visitor, token}, or {visitor, token, stop: true} to give it up. A file that is done may have a `note`.
        """
        sent = question if isinstance(question, dict) else {}
        if sent.get("stop"):
            self._forget(sent.get("token"))
            return BLANK | {"state": "stopped"}
        # One picture is saved while a file of many is on its way: neither stops the other.
        kind = self.kind if sent.get("what") in ("png", "svg") else f"{self.kind} many"
        return self._direct.answer(kind, visitor_name(sent, kind), BLANK, lambda cancel: self._make(sent, cancel))

    def _make(self, sent: dict[str, Any], cancel: threading.Event) -> dict[str, Any]:
        if "token" in sent:
            return self._go_on(sent["token"], cancel)
        what, recipes, size = sent.get("what"), sent.get("recipes"), asked_size(sent)
        if what in ("png", "svg"):
            if not isinstance(recipes, list) or len(recipes) != 1:
                raise SettingError("Choose 1 picture to save.")
            return self._one(what, inputs.any_recipe(recipes[0]), size, cancel)
        return self._go_on(self._listed(begun(self._engine, what, recipes, size)), cancel)

    def _one(self, what: str, wish: GenerateRequest | MixRequest, size: int | None, cancel: threading.Event) -> dict[str, Any]:
        from dalle.export import resized, svg

        picture = self._direct.draw(wish, cancel)
        size = size or picture.image.width
        name, metadata = f"{slug(picture.prompt)}-{picture.seed}", picture_metadata(picture)
        if what == "png":
            return self._placed(png_bytes(resized(picture.image, size), metadata), f"{name}-{size}.png")
        return self._placed(svg(picture.image, picture.prompt, metadata).encode(), f"{name}.svg")

    def _placed(self, data: bytes, name: str) -> dict[str, Any]:
        return {"address": address(self._outbox().file(data, name)["path"]), "name": name}

    def _listed(self, made: HalfMade) -> str:
        """A token for a file that is to be made, where there is a place for it."""
        token = secrets.token_hex(16)
        with self._list:
            for old, other in list(self._half_made.items()):
                if time.monotonic() - other.touched > FORGOTTEN_SECONDS:
                    del self._half_made[old]
            if len(self._half_made) >= MAX_HALF_MADE:
                raise Cancelled("Many files are being made just now.")
            self._half_made[token] = made
        return token

    def _forget(self, token: object) -> None:
        with self._list:
            self._half_made.pop(token if isinstance(token, str) else "", None)

    def _go_on(self, token: object, cancel: threading.Event) -> dict[str, Any]:
        """Draws for a slice's time; the file, once the last picture is in it."""
        with self._list:
            made = self._half_made.get(token) if isinstance(token, str) else None
        if made is None:
            raise SettingError(LOST)
        began, total = time.monotonic(), len(made.wishes)

        def news(state: str) -> dict[str, Any]:
            message = f"{made.done} of {total} pictures"
            return {"state": state, "message": message, "token": token, "done": made.done, "total": total}

        with made.turn:
            if self._half_made.get(token) is not made:  # a question was asked twice, and the other one has made it
                raise SettingError(LOST)
            try:
                while made.done < total:
                    made.draw_next(lambda wish: self._direct.draw(wish, cancel))
                    if made.done < total and made.touched - began >= self._slice_seconds:
                        return news("working")
                file = self._placed(made.maker.finish(), made.name)
            except Cancelled:
                return news("waiting")
            except Exception:
                self._forget(token)
                raise
            self._forget(token)
            return file | {"note": made.maker.note}


@contextmanager
def told_of(place: int, total: int) -> Iterator[None]:
    """Says which of many pictures an error is about."""
    try:
        yield
    except Cancelled:
        raise
    except DalleError as error:
        if total == 1:
            raise
        raise SettingError(f"Picture {place} of {total}: {error}") from error


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
            metadata = self._engine.path_metadata(request)
            found = {frame.index: bounded(frame.image) for frame in items}
        frames = [found[index] for index in sorted(found)]
        name = path_name(request)
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
