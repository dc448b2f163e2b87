"""The judge's opinion under a prompt: what the page shows of a `Judgement`, and the event that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from dalle.config import NotReadyError
from dalle.uses import drawn_as
from ui import inputs
from ui.failures import message_for

if TYPE_CHECKING:
    from dalle.engine import Engine
    from dalle.judge import Judgement

HEADLINES = {
    "known": "Knows this one",
    "close": "Close to what it knows",
    "unsure": "May miss this",
    "unknown": "Unlikely to get this",
}

EMPTY: dict[str, Any] = {"state": "empty"}


def judge_prompt(engine: Engine, prompt: object, style: object = None, use: object = None) -> dict[str, Any]:
    """The verdict on one prompt, with the words of a use, as the page's JSON. Never raises: a message takes its place."""
    try:
        prompt = inputs.text(prompt)
        if not prompt.strip() or "judge" in engine.lacks:
            return EMPTY
        return describe(engine.judge(drawn_as(prompt, inputs.use_of(use)), inputs.style_name(style)), prompt)
    except NotReadyError as error:
        # Asked again by the page while the model loads; a checkpoint without a judge is no error of the prompt.
        return {"state": "waiting" if engine.status.state == "loading" else "absent", "message": str(error)}
    except Exception as error:
        return {"state": "error", "message": message_for(error)}


def describe(judgement: Judgement, prompt: object) -> dict[str, Any]:
    """`prompt` goes along, so that the page can drop the opinion on a prompt that has changed meanwhile."""
    return {
        "state": "judged",
        "prompt": prompt,
        "verdict": judgement.verdict,
        "headline": HEADLINES.get(judgement.verdict, judgement.verdict),
        "score": judgement.score,
        "reason": judgement.reason,
        "nearest": [caption for caption, _ in judgement.nearest],
    }


def follow(engine: Engine, verdict: gr.HTML, prompt: gr.Textbox, style: gr.Dropdown, use: gr.HTML | None = None) -> None:
    """Judges `prompt` whenever typing stops (the component's script waits for that), or the style or the use changes."""

    def judged(prompt: object, style: object, use: object = None) -> dict[str, Any]:
        return judge_prompt(engine, prompt, style, use)

    gr.on(
        [verdict.submit, style.input, *([use.change] if use else [])],
        judged,
        inputs_kwargs={"prompt": prompt, "style": style} | ({"use": use} if use else {}),
        outputs=verdict,
        preprocess=False,
        show_progress="hidden",
        trigger_mode="always_last",
        concurrency_id="judge",
        concurrency_limit=2,
        api_visibility="private",
    )
