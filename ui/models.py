"""The model box: which model draws, what another one is, and the change to it, for everybody on the page.

A change may take minutes, so it runs in a thread of its own, and pages ask how it stands (static/model.js). In the same way a page
learns that somebody else has changed the model.
"""

from __future__ import annotations

import ipaddress
import math
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from gradio.context import LocalContext

from dalle.config import Cancelled, NotReadyError, SettingError
from ui.about import plain_card
from ui.direct import Direct, visitor_name
from ui.failures import message_for
from ui.line import caller_of
from ui.settings import PageSettings
from ui.waiting import is_loading

if TYPE_CHECKING:
    from dalle.engine import Engine
    from dalle.hub import Description

MAX_NAME = 300
MAX_TITLE = 120
MAX_CARD = 20_000
"""Characters of another model's card that are shown before it is loaded."""

_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_HUB_ID = re.compile(rf"{_PART}/{_PART}(@[\w-][\w.+-]*(/[\w-][\w.+-]*)*)?", re.ASCII)
_HUB_PAGE = re.compile(
    rf"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/({_PART}/{_PART})(?:/tree/([^?#]+?))?/?(?:[?#].*)?", re.ASCII
)

SPELT = {"Dalle": "Open DALL·E", "Un CLIP": "unCLIP", "Pix Art Alpha": "PixArt-α", "Pix Art Sigma": "PixArt-Σ"}
"""Kinds whose name is no words with capitals."""

PAGE_KEEPS = "This page keeps the model that it has."
NOT_LISTED = "This page offers the models of its list only: choose one of these."
NO_ID = "Give a model of the Hub as user/repo, or user/repo@revision for a revision of it."
ONE_AT_A_TIME = "Another model is on its way just now ({}): wait until it is there, then choose again."

BLANK: dict[str, Any] = {"state": "error", "message": ""}


@dataclass(frozen=True)
class Change:
    """One change of the model: what to, and how it stands. Who asked for it knows it by its stamp."""

    to: str = ""
    state: str = "none"
    message: str = ""
    stamp: str = ""


def asked_model(value: object, models: tuple[str, ...] | None, folders: bool) -> str:
    """The model that a page asks for, as the engine takes it.

    Where `folders` are not to be had, nothing can be found out about those of this machine: a name that is one here too is looked
    for on the Hub, with the revision that it has there by itself.

    Raises:
        SettingError: none that this page offers.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME or not value.isprintable():
        raise SettingError(NO_ID)
    name = value.strip()
    if models is not None:
        if name not in models:
            raise SettingError(NOT_LISTED if models else PAGE_KEEPS)
        return name
    if page := _HUB_PAGE.fullmatch(name):
        name = page[1] + (f"@{page[2]}" if page[2] else "")
    if folders:
        return name
    if not _HUB_ID.fullmatch(name):
        raise SettingError(NO_ID)
    return f"{name}@main" if "@" not in name and Path(name).exists() else name


def is_loopback(host: object) -> bool:
    """Whether an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def is_from_here(request: Any) -> bool:
    """Whether a request comes from this machine and calls it so.

    A tunnel's or a proxy's comes from here too, as does that of a page whose name was made to lead here: they call it otherwise.
    """
    named = (getattr(request, "headers", None) or {}).get("host", "")
    address = caller_of(request).address
    return (not address or is_loopback(address)) and (not named or is_loopback(re.sub(r":\d*$", "", named).strip("[]")))


class ModelBox:
    """The handlers of the box, apart from its layout so that they can be run without a page."""

    kind = "model"

    def __init__(self, engine: Engine, direct: Direct, settings: PageSettings, host: Callable[[], str]) -> None:
        """
        Args:
            host: the address that the page is served at, once it is.
        """
        self._engine = engine
        self._direct = direct
        self._models = settings.models
        self._pause = settings.change_seconds if settings.models is not None else 0
        self._changed = -math.inf
        self._host = host
        self._lock = threading.Lock()
        self._describing = threading.Lock()
        self._change = Change()

    @property
    def folders(self) -> bool:
        """Whether who asks now may name folders: somebody at this machine, of a page for this machine only."""
        return self._models is None and is_loopback(self._host()) and is_from_here(LocalContext.request.get(None))

    @property
    def key(self) -> str:
        """Tells one model from the next; "" while there is none."""
        ready = self._engine.status.state == "ready"
        return f"{self._engine.model} {self._engine.revision}" if ready else ""

    def told(self) -> dict[str, Any]:
        """The box's JSON (see static/model.js)."""
        key = self.key  # first: whatever changes after this is told by the next look
        now = self._engine.status
        return {
            "key": key,
            "state": now.state,
            "model": now.model,
            "device": now.device,
            "message": self._discreet(now.message) if now.state == "failed" else "",
            "lacks": dict(self._engine.lacks) if key else {},
            "change": asdict(self._change),
        }

    def look(self, question: object) -> dict[str, Any]:
        """How things stand. Asked by every page every few seconds: it costs next to nothing."""
        return self.told() | {"folders": self.folders}

    def describe(self, question: object) -> dict[str, Any]:
        """{state, message, model, pinned, title, kind, licence, size, revision, card} for {visitor, model}. Never raises.

        No weights are fetched. One is described at a time: it waits for the Hub, and the others' pictures shall not wait with it.
        """
        sent = question if isinstance(question, dict) else {}

        def work(cancel: threading.Event) -> dict[str, Any]:
            model = asked_model(sent.get("model"), self._models, self.folders)
            if not self._describing.acquire(blocking=False):
                raise Cancelled("Another one is described just now.")
            try:
                return card_of(self._engine.describe(model))
            finally:
                self._describing.release()

        answer = self._direct.answer(self.kind, visitor_name(sent, self.kind), BLANK, work)
        return answer | {"message": self._discreet(answer["message"])}

    def switch(self, question: object) -> dict[str, Any]:
        """Begins the change to {model}; `look` tells how it goes, under the stamp of the answer. Never raises."""
        sent = question if isinstance(question, dict) else {}
        try:
            model = asked_model(sent.get("model"), self._models, self.folders)
            change = self._begin(model)
        except Exception as error:
            return BLANK | {"message": message_for(error)}
        discreet = not self.folders
        threading.Thread(target=self._work, args=(change, discreet), name="switch-model", daemon=True).start()
        return BLANK | {"state": "done", "stamp": change.stamp}

    def _begin(self, model: str) -> Change:
        if is_loading(self._engine):
            raise NotReadyError("The model is still loading: try again in a few seconds.")
        with self._lock:
            if self._change.state == "working":
                raise SettingError(ONE_AT_A_TIME.format(self._change.to))
            if (left := self._changed + self._pause - monotonic()) > 0:
                raise SettingError(f"The model was changed a moment ago: the next change can come in {math.ceil(left)} s.")
            self._change = Change(model, "working", stamp=secrets.token_hex(8))
            return self._change

    def _work(self, change: Change, discreet: bool) -> None:
        try:
            self._engine.describe(change.to)  # what can't be loaded is told before anything large is fetched
            self._engine.switch(change.to)
            self._changed = monotonic()
            ended = Change(change.to, "done", stamp=change.stamp)
        except Exception as error:
            message = without_paths(message_for(error)) if discreet else message_for(error)
            ended = Change(change.to, "failed", message, change.stamp)
        with self._lock:
            self._change = ended

    def _discreet(self, message: str) -> str:
        return message if self.folders else without_paths(message)


def without_paths(message: str) -> str:
    """A sentence with the names of its files, and not where these lie."""
    return re.sub(r"(?<![\w/.:])(?:~|[A-Za-z]:)?[\\/](?:[^\s\\/:]+[\\/])+", "", message)


def card_of(found: Description) -> dict[str, Any]:
    """What the box shows of a model; `pinned` is its name once it is loaded."""
    card = plain_card(found.card)[:MAX_CARD]
    heading = re.match(r"#\s+(\S.*)\n?", card)
    return {
        "model": found.model,
        "pinned": f"{found.model.partition('@')[0]}@{found.revision}" if found.revision else found.model,
        "title": heading[1].strip()[:MAX_TITLE] if heading else Path(found.model.partition("@")[0]).name,
        "kind": kind_in_words(found.kind),
        "licence": found.licence,
        "size": size_in_words(found.size),
        "revision": found.revision,
        "card": card[heading.end() :].strip() if heading else card,
    }


def kind_in_words(kind: str) -> str:
    """The name of a pipeline's class in plain words: StableDiffusionXLPipeline is a Stable Diffusion XL."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", kind.removesuffix("Pipeline"))
    return SPELT.get(name, name) or kind


def size_in_words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"
