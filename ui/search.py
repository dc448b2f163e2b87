"""The Search tab: pictures found by text, among those made in this browser and in the model's reference set.

What is compared are the ranker's vectors. Those of a browser's own pictures lie beside their recipes in its storage, and come along
with the text; the server keeps none.
"""

from __future__ import annotations

import base64
import binascii
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from dalle.config import SettingError
from ui import components, inputs
from ui.album import Album
from ui.deliver import Deliver
from ui.direct import Direct, visitor_name
from ui.generate import GenerateTab
from ui.outbox import Outbox

if TYPE_CHECKING:
    from dalle.engine import Engine

MAX_OWN = 1000
"""Pictures of a browser that are searched at once; its album holds fewer."""
FOUND_OWN, FOUND_REFERENCE = 12, 24
"""Pictures that are shown of those made here, and of the reference set."""
MAX_VECTOR = 4096
"""Numbers of a vector that a browser may send."""

BLANK: dict[str, Any] = {"state": "error", "message": "", "own": [], "reference": [], "of": 0, "space": ""}


class Search:
    """The handlers of the tab, apart from its layout so that they can be run without a page."""

    kind = "search"

    def __init__(self, engine: Engine, direct: Direct) -> None:
        self._engine = engine
        self._direct = direct

    def find(self, question: object) -> dict[str, Any]:
        """{state, message, own, reference, of, space} for {visitor, text, vectors, space}. Never raises.

        `own` lists {index, score} of the vectors that were sent, and none of them if they are of another `space` than this model's;
        `reference` {image, label, style, set}; both the best first. `of` counts the reference set, and
        `space` is this model's.
        """
        sent = question if isinstance(question, dict) else {}

        def work(cancel: threading.Event) -> dict[str, Any]:
            text, own = inputs.text(sent.get("text")), []
            vectors = own_vectors(sent.get("vectors"))
            if len(vectors) and sent.get("space") == self._engine.revision:
                own = self._engine.search(text, vectors, FOUND_OWN)
            reference = self._engine.reference
            known = self._engine.search_reference(text, FOUND_REFERENCE)
            return {
                "own": [{"index": match.index, "score": match.score} for match in own],
                "reference": [reference_tile(self._engine, match.index) for match in known],
                "of": 0 if reference is None else len(reference),
                "space": self._engine.revision,
            }

        return self._direct.answer(self.kind, visitor_name(sent, self.kind), BLANK, work)


def reference_tile(engine: Engine, row: int) -> dict[str, Any]:
    """A drawing of the reference set for the page."""
    drawing = engine.reference.drawings[row]
    return {"image": engine.reference.pictures.uri(row), "label": drawing.label, "style": drawing.style, "set": drawing.set}


def own_vectors(given: object) -> np.ndarray:
    """Vectors that a browser sends, each as `ui.generate.packed_vector` made it, (N, D) of unit norm.

    Raises:
        SettingError: too many, or no such vectors.
    """
    if given is None:
        return np.zeros((0, 0), np.float32)
    if not isinstance(given, list) or len(given) > MAX_OWN:
        raise SettingError(f"At most {MAX_OWN} pictures can be searched at once.")
    try:
        rows = [np.frombuffer(base64.b64decode(text[: 2 * MAX_VECTOR], validate=True), np.int8) for text in given]
        vectors = np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), np.float32)
    except (TypeError, ValueError, binascii.Error) as error:
        raise SettingError("These are no pictures that were made here.") from error
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def search_tab(engine: Engine, direct: Direct, generate: GenerateTab) -> None:
    """Lays the tab out and wires it."""
    handlers, album = Search(engine, direct), Album(engine, direct)
    deliver = Deliver(engine, direct, lambda: Outbox(found))
    found = components.search("search", find=handlers.find, redraw=album.redraw, deliver=deliver.files)
    generate.open_on(found.select)
