"""The page as a whole: header, tabs, and how it is served."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.about import about_tab, card_text
from ui.album import album_tab
from ui.api import add_endpoints
from ui.components import asset
from ui.direct import Direct
from ui.generate import generate_tab
from ui.interpolate import interpolate_tab
from ui.language import SWITCH, language_head
from ui.learn import learn_tab
from ui.line import Line
from ui.mix import mix_tab
from ui.runner import session_of
from ui.runs import Runs
from ui.search import search_tab
from ui.settings import PageSettings
from ui.theme import playground_theme

if TYPE_CHECKING:
    from dalle.engine import Engine, EngineStatus

STATUS_SECONDS = 1.0

OUTER_QUEUE = 256
"""Requests that gradio holds before it refuses one by itself: enough for our line to answer all that come at once."""

SPARE_THREADS = 24
"""Beside one for each place in the line, since who waits there holds a thread: for everything that is quick."""


def build_demo(engine: Engine, settings: PageSettings | None = None) -> gr.Blocks:
    """The playground around `engine`, which may still be loading. Nothing is loaded here; `serve` starts it."""
    settings = settings or PageSettings()
    runs = Runs(Line(settings.at_once, settings.max_queue, settings.max_per_session, settings.max_per_address))
    direct = Direct(engine, runs)
    sweep_seconds = max(1, min(300, settings.keep_seconds))
    with gr.Blocks(
        title=settings.title,
        analytics_enabled=False,
        delete_cache=(sweep_seconds, settings.keep_seconds),
        fill_width=True,
    ) as demo:
        with gr.Row(elem_id="masthead"):
            gr.HTML(masthead(settings), apply_default_css=False, js_on_load=None, elem_id="title")
            status = gr.HTML(status_line(engine.status), apply_default_css=False, js_on_load=None, elem_id="status")
            gr.HTML(SWITCH, apply_default_css=False, js_on_load=None, elem_id="language")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Generate", id="generate"):
                generate = generate_tab(engine, runs, direct, settings, tabs)
            with gr.Tab("Interpolate", id="interpolate"):
                animations = interpolate_tab(engine, runs, direct, settings, tabs)
            with gr.Tab("Mix", id="mix"):
                mix_tab(engine, direct, settings, tabs)
            with gr.Tab("Search", id="search"):
                search_tab(engine, direct, generate)
            with gr.Tab("Learn", id="learn"):
                learn_tab(engine, direct, settings)
            with gr.Tab("Album", id="album"):
                album_tab(engine, direct, generate)
            with gr.Tab("About", id="about"):
                card = about_tab(settings)
        add_endpoints(engine, runs.line, generate.outbox, animations, settings)
        watch_status(engine, demo, status, card, generate.steps, generate.best)
        demo.unload(forget(runs))
    demo.max_threads = settings.at_once + settings.max_queue + SPARE_THREADS
    demo.queue(max_size=OUTER_QUEUE, default_concurrency_limit=4)
    return demo


def serve(demo: gr.Blocks, *, host: str | None = None, port: int | None = None, **arguments: Any) -> str:
    """Launches the page with its theme and its safe settings; returns its local address.

    `arguments` go to `gr.Blocks.launch`, for instance `prevent_thread_lock=True`.
    """
    _, address, _ = demo.launch(
        server_name=host,
        server_port=port,
        theme=playground_theme(),
        head=f"<script>{asset('page.js')}</script>{language_head()}",
        footer_links=["api"],
        show_error=False,
        strict_cors=True,
        max_threads=demo.max_threads,
        max_file_size="4mb",  # a picture that was saved here is smaller
        ssr_mode=False,
        pwa=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=find_spec("mcp") is not None,  # the endpoints of ui/api.py as tools, at /gradio_api/mcp/
        share=False,
        **arguments,
    )
    return address


def forget(runs: Runs) -> Callable[[gr.Request], None]:
    """What happens when a browser goes away: its work is stopped."""

    def leave(request: gr.Request) -> None:
        runs.leave(session_of(request))

    return leave


def masthead(settings: PageSettings) -> str:
    return (
        f'<div class="masthead">{asset("mark.svg")}<div><h1>{html.escape(settings.title)}</h1>'
        f"<p>{html.escape(settings.tagline)}</p></div></div>"
    )


def status_line(status: EngineStatus) -> str:
    """The model's state in words; its colour only repeats them."""
    words = {"loading": "Loading the model", "ready": "Ready", "failed": "The model could not be loaded"}[status.state]
    details = {"loading": status.model, "ready": f"{status.model} on {status.device}", "failed": status.message}
    role = "alert" if status.state == "failed" else "status"
    return (
        f'<p class="model-status" role="{role}" data-state="{status.state}"><b>{words}</b>'
        f"<span>{html.escape(details[status.state])}</span></p>"
    )


def watch_status(
    engine: Engine, demo: gr.Blocks, status: gr.HTML, card: gr.Markdown, steps: gr.Slider, best: gr.Checkbox
) -> None:
    """Keeps the status line current until the model is ready or has failed, then shows its card and stops the clock.

    What kind of model comes from elsewhere is known only then: the steps it was made for replace those that were guessed, and
    "best first" is offered where it has a ranker.
    """
    clock = gr.Timer(STATUS_SECONDS)
    guessed = steps.value

    @cache  # the card of a loaded model doesn't change, and finding it may ask the Hub
    def model_card() -> str:
        return card_text(engine.card())

    def look() -> tuple[str, gr.Timer, str, Any, Any]:
        now = engine.status
        ready = now.state == "ready"
        return (
            status_line(now),
            gr.Timer(active=now.state == "loading"),
            model_card() if ready else "",
            gr.update(value=engine.default_steps[0]) if ready and engine.default_steps[0] != guessed else gr.skip(),
            gr.update(visible=engine.has_ranker) if ready else gr.skip(),
        )

    gr.on(
        [demo.load, clock.tick],
        look,
        outputs=[status, clock, card, steps, best],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


__all__ = ["PageSettings", "build_demo", "serve"]
