"""The Album tab: what was drawn in this browser, as recipes that the browser keeps and pictures that are drawn anew.

The server remembers nothing of it: the page's script holds the list in the browser's storage and asks for the pictures in view.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from dalle.config import Cancelled, DalleError, SettingError
from dalle.images import data_uri
from ui import components, inputs, links
from ui.deliver import Deliver
from ui.direct import Direct, visitor_name
from ui.generate import GenerateTab, kept
from ui.outbox import Outbox

if TYPE_CHECKING:
    from dalle.engine import Engine

MAX_REDRAWN = 4
"""Pictures that may be asked for at once."""


class Album:
    """The handlers of the tab, apart from its layout so that they can be run without a page."""

    kind = "album"

    def __init__(self, engine: Engine, direct: Direct) -> None:
        self._engine = engine
        self._direct = direct

    def redraw(self, question: object) -> dict[str, Any]:
        """{state, message, pictures} for {visitor, recipes}; of a picture {image, link, code, note} or {message}. Never raises.

        The note is there where another model drew it first.
        """
        sent = question if isinstance(question, dict) else {}

        def work(cancel: threading.Event) -> dict[str, Any]:
            given = sent.get("recipes")
            if not isinstance(given, list) or not 1 <= len(given) <= MAX_REDRAWN:
                raise SettingError(f"Ask for 1 to {MAX_REDRAWN} pictures at once.")
            return {"pictures": [self._one(recipe, cancel) for recipe in given]}

        blank = {"state": "error", "message": "", "pictures": []}
        return self._direct.answer(self.kind, visitor_name(sent, self.kind), blank, work)

    def _one(self, recipe: Any, cancel: threading.Event) -> dict[str, Any]:
        """One that can't be drawn any more is told, and is no reason to show no other."""
        try:
            wish = inputs.any_recipe(recipe)
            made = links.made_by(json.loads(recipe["settings"]))
            picture = self._direct.draw(wish, cancel)
        except Cancelled:
            raise
        except DalleError as error:
            return {"message": str(error)}
        # The browser's own recipe stays what it is: it names the model that drew the picture first.
        told = {name: text for name, text in kept(picture).items() if name != "recipe"}
        return told | {"image": data_uri(picture.image), "note": links.other_model(made, self._engine)}


def album_tab(engine: Engine, direct: Direct, generate: GenerateTab) -> None:
    """Lays the tab out and wires it."""
    handlers = Album(engine, direct)
    deliver = Deliver(engine, direct, lambda: Outbox(pictures))
    pictures = components.album("album", redraw=handlers.redraw, deliver=deliver.files)
    generate.open_on(pictures.select)


