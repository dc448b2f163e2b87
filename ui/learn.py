"""The Learn tab: what happens inside between a prompt and its picture, for a picture that the visitor chooses."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from dalle.config import SettingError
from dalle.images import data_uri
from dalle.requests import GenerateRequest
from ui import components, inputs, lineage
from ui.direct import Direct, visitor_name
from ui.generate import kept
from ui.search import reference_tile
from ui.settings import PageSettings

if TYPE_CHECKING:
    from dalle.engine import Engine
    from dalle.insight import Insight

BLANK: dict[str, Any] = {"state": "error", "message": "", "insight": None}
NO_HISTORY: dict[str, Any] = {"state": "error", "message": "", "prompts": [], "moments": []}


class Learn:
    """The handlers of the tab, apart from its layout so that they can be run without a page."""

    kind = "learn"

    def __init__(self, engine: Engine, direct: Direct) -> None:
        self._engine = engine
        self._direct = direct

    def look(self, question: object) -> dict[str, Any]:
        """{state, message, insight} for {visitor, recipe}, or {visitor, prompt} for a picture of its own. Never raises."""
        sent = question if isinstance(question, dict) else {}

        def work(cancel: threading.Event) -> dict[str, Any]:
            if sent.get("recipe") is not None:
                wish = inputs.recipe(sent["recipe"])
            else:
                wish = inputs.with_seed(GenerateRequest(inputs.text(sent.get("prompt")), 1))
            return {"insight": self._told(self._engine.insight(wish, cancel))}

        return self._direct.answer(self.kind, visitor_name(sent, self.kind), BLANK, work)

    def _told(self, seen: Insight) -> dict[str, Any]:
        judged = seen.judgement
        return {
            "prompt": seen.picture.prompt,
            "seed": seen.picture.seed,
            "image": data_uri(seen.picture.image),
            **kept(seen.picture),
            "text": seen.text,
            "pieces": list(seen.pieces),
            "words": [
                {
                    "text": word.text,
                    "pieces": list(word.pieces),
                    "attention": numbers(word.attention),
                    "without": None if word.without is None else data_uri(word.without),
                    "difference": None if word.difference is None else numbers(word.difference),
                }
                for word in seen.words
            ],
            "judgement": None
            if judged is None
            else {"score": judged.score, "reason": judged.reason, "nearest": [list(pair) for pair in judged.nearest]},
            "channels": [numbers(channel) for channel in seen.channels],
            "steps": [data_uri(image) for image in seen.steps],
            "long": [data_uri(image) for image in seen.long],
            "nearest": [reference_tile(self._engine, row) | {"distance": round(distance, 3)} for row, distance in seen.nearest],
        }

    def history(self, question: object) -> dict[str, Any]:
        """{state, message, prompts, moments} for {visitor}; of a moment {stage, steps, minutes, images}. Never raises."""
        sent = question if isinstance(question, dict) else {}

        def work(cancel: threading.Event) -> dict[str, Any]:
            found = self._engine.history
            if found is None:
                raise SettingError("This model came without the pictures that were kept while it was trained.")
            wide = range(len(found.prompts))
            return {
                "prompts": found.prompts,
                "moments": [
                    {
                        "stage": moment.stage,
                        "steps": moment.steps,
                        "minutes": moment.minutes,
                        "images": [found.pictures.uri(found.place(place, prompt)) for prompt in wide],
                    }
                    for place, moment in enumerate(found.moments)
                ],
            }

        return self._direct.answer("history", visitor_name(sent, "history"), NO_HISTORY, work)


def numbers(values: np.ndarray) -> list[list[float]]:
    """A map as rows of numbers."""
    return [[round(float(value), 4) for value in row] for row in values]


def learn_tab(engine: Engine, direct: Direct, settings: PageSettings) -> None:
    """Lays the tab out: the look inside, and below it where the design comes from."""
    handlers = Learn(engine, direct)
    components.learn("learn", look=handlers.look, history=handlers.history, example=settings.examples[3])
    gr.HTML(lineage.whole_page(), apply_default_css=False, js_on_load=None, elem_id="lineage")
