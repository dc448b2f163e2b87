"""Starts the playground: the page first, the model in the background. `python app.py --help` lists the options."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dalle.place import model_of, models_of, on_space, on_zero_gpu

HERE = Path(__file__).parent


def port(text: str) -> int:
    """A TCP port; argparse tells the user what is wrong with it."""
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is not a port: choose one between 1 and 65535")
    return number


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve the text-to-picture playground.")
    parser.add_argument("--model", default=model_of(HERE), help="a checkpoint folder or a Hub id (default: %(default)s)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s")
    parser.add_argument(
        "--no-word-filter",
        dest="word_filter",
        action="store_false",
        help="draw prompts with words of the kept list of crude ones too (default: they are refused)",
    )
    parser.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if on_space() else "127.0.0.1"),
        help="address to listen on; 0.0.0.0 lets other machines in (default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=port, default=os.environ.get("GRADIO_SERVER_PORT") or "7860", help="1 to 65535 (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = parse_arguments()
    # Read by gradio when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

    if on_zero_gpu():
        from dalle.zero import ZeroEngine as Engine  # first of all: it changes torch
    else:
        from dalle.engine import Engine
    from ui.layout import PageSettings, build_demo, serve
    from ui.models import is_loopback
    from ui.outbox import claim_cache

    models = models_of(HERE, options.model)
    if models is None and not is_loopback(options.host):
        models = ()  # strangers shall not have this machine fetch whatever they like: DALLE_MODELS says what they may
    settings = PageSettings(models=models)
    claim_cache(settings.keep_seconds)
    engine = Engine(options.model, device=options.device, word_filter=options.word_filter)
    demo = build_demo(engine, settings)
    engine.load_in_background()
    try:
        address = serve(demo, host=options.host, port=options.port, prevent_thread_lock=True, quiet=True)
    except OSError as error:
        sys.exit(f"Can't serve on {options.host}:{options.port} ({error}). Choose another port with --port.")
    print(f"The playground is at {address} (the model is still loading). Ctrl+C stops it.", flush=True)
    demo.block_thread()


if __name__ == "__main__":
    main()
