"""`python -m train evaluate`: measures a checkpoint and prints one table, with floor and ceiling beside each figure."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from dalle.config import DEFAULT_GUIDANCE, CheckpointError
from dalle.engine import Engine
from dalle.hub import WEIGHTS, sha256
from dalle.images import storage_error, write_whole
from dalle.pipeline import check_settings
from dalle.text import TextEncoder
from train.data import SpriteStore
from train.evaluation.asked import known_labels
from train.evaluation.evaluation import QUICK, Counts, Evaluation
from train.evaluation.matching import CANDIDATES
from train.evaluation.memorisation import concepts_of
from train.evaluation.systems import find_classic
from train.evaluation.table import markdown
from train.evaluator import load_evaluator

MANY_STEPS = 16
ROOT = Path("runs/evaluate")
BASELINE = Path("checkpoints/classic")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train evaluate", description=__doc__)
    parser.add_argument("--model", default="checkpoints/default", help="checkpoint folder or Hub id")
    parser.add_argument("--evaluator", type=Path, default=Path("checkpoints/evaluator"))
    parser.add_argument("--baseline", type=Path, help=f"the textbook GAN ({BASELINE}, if it is there)")
    parser.add_argument("--data", type=Path, default=Path("data/sprites"))
    parser.add_argument("--split", default="test", choices=("val", "test"), help="test reports; val selects")
    parser.add_argument("--out", type=Path, help="name of the .json and .md to write (docs/evaluation, or in runs/evaluate)")
    parser.add_argument("--count", type=int, help=f"held-out drawings and prompts ({Counts.drawings})")
    parser.add_argument("--steps", type=int, default=MANY_STEPS, help="the many steps, beside 1, 2 and 4")
    parser.add_argument("--guidance", type=float, default=DEFAULT_GUIDANCE)
    parser.add_argument("--quick", action="store_true", help="a rehearsal: a few pictures, whose figures mean nothing")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)

    check_settings(arguments.steps, arguments.guidance)
    counts = QUICK if arguments.quick else Counts()
    if arguments.count is not None:
        counts = replace(counts, drawings=arguments.count)
    if arguments.baseline and not arguments.baseline.is_dir():
        raise CheckpointError(f"There is no baseline in {arguments.baseline}: check the path, or leave --baseline out.")
    store = SpriteStore.open(arguments.data)
    candidates = len(known_labels(store))
    if len(set(concepts_of(store))) < 2:
        raise CheckpointError(f"The training drawings in {arguments.data} all show one thing, and two things are needed.")
    if candidates < CANDIDATES and arguments.split == "test":
        raise CheckpointError(
            f"{candidates} different things among the drawings in {arguments.data}, and {CANDIDATES} are needed: "
            "render the data again with `python -m train data`."
        )
    if min(counts.drawings, len(store.rows(arguments.split))) < 2:
        raise CheckpointError("Two held-out drawings are needed at least: raise --count, or render more data.")
    evaluator = load_evaluator(arguments.evaluator)
    encoder = TextEncoder.load("minilm")
    engine = Engine(arguments.model, arguments.device)
    engine.load()
    given = arguments.split, counts, arguments.steps, arguments.guidance
    whole = given == ("test", Counts(), MANY_STEPS, DEFAULT_GUIDANCE)
    usual = Path("docs/evaluation") if whole else ROOT / f"{'quick-' * arguments.quick}{arguments.split}-{engine.revision}"
    out = arguments.out or usual
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, out) from error
    hashes: dict[str, object] = {
        "evaluator": sha256(arguments.evaluator / WEIGHTS)[:12],
        "data": str(store.meta.get("fingerprint"))[:12],
        "index": sha256(arguments.data / "index.jsonl")[:12],
    }
    evaluation = Evaluation(
        engine,
        store,
        evaluator,
        encoder,
        split=arguments.split,
        counts=counts,
        many_steps=arguments.steps,
        guidance=arguments.guidance,
        classic=find_classic(arguments.baseline or BASELINE, encoder),
        common=hashes,
        root=ROOT,
    )
    report = evaluation.run()
    rehearsal = {"rehearsal": "--quick, few pictures: these figures mean nothing"} if arguments.quick else {}
    facts = rehearsal | report.facts | hashes
    told = {
        "facts": facts,
        "notes": report.notes,
        "rows": [asdict(row) for row in report.rows],
        "steps": {"columns": report.columns, "rows": [asdict(row) for row in report.step_rows]},
        "details": report.details,
    }
    write_whole(out.with_name(f"{out.name}.json"), (json.dumps(told, indent=1, allow_nan=False) + "\n").encode())
    text = markdown(report.rows, report.columns, report.step_rows, facts, report.notes)
    write_whole(out.with_name(f"{out.name}.md"), text.encode())
    print(text)
    return 0
