"""`python -m benchmarks`: speed and memory of a checkpoint on this machine, medians, as one Markdown table."""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.page import served, slider_response
from benchmarks.visitors import visitors
from dalle.config import DEFAULT_GUIDANCE, DEFAULT_MODEL, MAX_STEPS


@dataclass
class Result:
    name: str
    value: float
    unit: str
    limit: float
    runs: int = 1

    @property
    def holds(self) -> bool:
        return self.value <= self.limit


def median_ms(work: Callable[[], object], runs: int) -> float:
    work()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def processor() -> str:
    """Name of the processor, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def most_resident_mb(pid: int | str = "self") -> float:
    """The most memory that a process ever had resident, in MB (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def model_speed(model: str, runs: int) -> list[Result]:
    """What the model itself needs, through the engine that the page uses."""
    import torch

    from dalle.engine import Engine
    from dalle.requests import GenerateRequest, InterpolateRequest

    engine = Engine(model, "cpu")
    engine.load()
    pipeline = engine.wait()

    def picture(steps: int | None, candidates: int | None = None) -> None:
        for _ in engine.generate(GenerateRequest("a red apple", 4 if candidates else 1, 1, steps, candidates=candidates)):
            pass

    def frames(count: int) -> None:
        path = engine.interpolate(InterpolateRequest("a cat", "a dog", 1, 2))
        for _ in range(count):
            next(path)

    latents = torch.randn(1, 8, 16, 16)
    steps_of_prior = pipeline.trajectory(latents, pipeline.encode_prompt("a red apple"), MAX_STEPS, DEFAULT_GUIDANCE)

    def result(name: str, work: Callable[[], object], limit: float, count: int = runs) -> Result:
        return Result(name, median_ms(work, count), "ms", limit, count)

    one_step_only = pipeline.prior.kind == "gaussian"
    step_of_prior = (lambda: None) if one_step_only else (lambda: next(steps_of_prior))
    evaluation = result("one step of the prior", step_of_prior, float("inf"), MAX_STEPS - 1)
    one = result("one picture, one step", lambda: picture(1), 250)
    four = result("one picture, four steps", lambda: picture(4), 1000)
    results = [
        result("decoder alone", lambda: pipeline.decode_latents(latents), 60),
        evaluation,
        one,
        four,
        # A step of four must cost no more than the prior's work.
        Result("four steps over one step and three of the prior", four.value / (one.value + 3 * evaluation.value), "x", 1.3),
        result(f"one picture, default steps ({engine.default_steps[0]})", lambda: picture(None), 1000),
        result("first five frames of a path", lambda: frames(5), 3000, 5),
        result("all 33 frames of a path", lambda: frames(33), 4000, 3),
    ]
    if pipeline.ranker is not None:
        results.append(result("the best 4 of 16 pictures", lambda: picture(None, 16), float("inf"), 3))
    return results


def page_start(model: str, port: int) -> tuple[float, float, float]:
    """Seconds from starting app.py to a page and to a loaded model, and the most memory it took for a picture and a path."""
    from gradio_client import Client

    began = time.perf_counter()
    with served(model, port) as (app, url):
        reachable = time.perf_counter() - began
        client = Client(url, verbose=False)
        while True:
            try:
                client.predict("a red apple", api_name="/judge")
                break
            except Exception:
                if time.perf_counter() - began > 120:
                    raise
                time.sleep(0.1)
        ready = time.perf_counter() - began
        client.predict("a red apple", api_name="/generate")
        client.predict("a cat", "a dog", api_name="/interpolate")
        memory = most_resident_mb(app.pid)
    return reachable, ready, memory


def page_starts(model: str, port: int, runs: int = 3) -> list[Result]:
    starts = [page_start(model, port) for _ in range(runs)]
    reachable, ready, memory = (statistics.median(values) for values in zip(*starts, strict=True))
    return [
        Result("page reachable", reachable, "s", 10, runs),
        Result("model ready", ready, "s", 20, runs),
        Result("most memory resident, a picture and a path drawn", memory, "MB", 1500, runs),
    ]


def table(results: list[Result], facts: str) -> str:
    lines = ["| what | median | runs | at most | holds |", "| --- | --- | --- | --- | --- |"]
    for r in results:
        digits = {"s": 1, "x": 2}.get(r.unit, 0)
        limit = "" if r.limit == float("inf") else f"{r.limit:g} {r.unit}"
        holds = "" if not limit else "yes" if r.holds else "**no**"
        lines.append(f"| {r.name} | {r.value:.{digits}f} {r.unit} | {r.runs} | {limit} | {holds} |")
    return "\n".join(lines) + f"\n\n{facts}\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--port", type=int, default=7999)
    parser.add_argument("--out", type=Path, default=None, help="write the table here (.md), and .json beside it")
    parser.add_argument("--no-page", action="store_true", help="the model alone")
    parser.add_argument(
        "--no-browser", action="store_true", help="without slider and visitors in headless Chromium (needs playwright)"
    )
    arguments = parser.parse_args(argv)
    browser = not (arguments.no_page or arguments.no_browser)
    if browser and importlib.util.find_spec("playwright") is None:
        parser.error("the page is measured in Chromium and playwright is missing: run `make test` once, or add --no-browser")
    results = [] if arguments.no_page else page_starts(arguments.model, arguments.port)
    results += model_speed(arguments.model, arguments.runs)
    if browser:
        rows = slider_response(arguments.model, arguments.port)
        results += [Result(name, value, "ms", limit, count) for name, value, limit, count in rows]
        results += [Result(*row) for row in visitors(arguments.model, arguments.port)]
    import torch

    from dalle.hardware import supports_bf16

    kind = "bfloat16" if supports_bf16("cpu") else "float32"
    facts = f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {kind}."
    text = table(results, facts)
    print(text)
    if arguments.out is not None:
        arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
        rows = [r.__dict__ | {"limit": None if r.limit == float("inf") else r.limit} for r in results]
        arguments.out.with_suffix(".json").write_text(json.dumps({"facts": facts, "rows": rows}, indent=2) + "\n")
    return 0 if all(r.holds for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
