"""`python -m train history`: what a run's sample grids tell of its training, kept as a part of the checkpoint."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from dalle.config import CheckpointError, SettingError
from dalle.history import Moment, TrainingHistory
from dalle.hub import read_json
from dalle.parts import Packed
from train.data.store import spread
from train.gallery import SNAPSHOT_PROMPTS, sample_cells

CELL = 128
MOMENTS = 24


def minutes_at(log: Path, step: int) -> float:
    """The minutes that a run had been training at a step, by its log; between two entries in proportion.

    Raises:
        CheckpointError: there is no log.
    """
    try:
        entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        known = [(0, 0.0), *((int(entry["step"]), float(entry["minutes"])) for entry in entries)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{log} can't be read: name run folders that this program trained.") from error
    before = max((entry for entry in known if entry[0] <= step), default=known[0])
    after = min((entry for entry in known if entry[0] >= step), default=before)
    share = (step - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
    return before[1] + share * (after[1] - before[1])


def history_of(runs: Sequence[Path], stages: Sequence[str], before: TrainingHistory | None = None) -> TrainingHistory:
    """The samples of runs, each of which went on from the one before, after those of an earlier history.

    Raises:
        SettingError, CheckpointError: a run has no samples, or they are laid out in another way.
    """
    moments = list(before.moments) if before else []
    cells = [before.pictures.image(place) for place in range(len(before.pictures))] if before else []
    for run, stage in zip(runs, stages, strict=True):
        paths = sorted((run / "samples").glob("step-*.png"))
        if not paths:
            raise SettingError(f"{run} holds no samples: name run folders of a prior or its distillation.")
        steps, minutes = (moments[-1].steps, moments[-1].minutes) if moments else (0, 0.0)
        for path in paths:
            step = int(re.sub(r"\D", "", path.stem))
            moments.append(Moment(stage, step, steps + step, round(minutes + minutes_at(run / "log.jsonl", step), 1)))
            cells += [cell.resize((CELL, CELL), Image.Resampling.LANCZOS) for cell in sample_cells(path, SNAPSHOT_PROMPTS)]
    kept = [*spread(list(range(len(moments) - 1)), MOMENTS - 1), len(moments) - 1]  # the last is what is shipped
    wide = len(SNAPSHOT_PROMPTS)
    pictures = [cells[moment * wide + prompt] for moment in kept for prompt in range(wide)]
    return TrainingHistory(SNAPSHOT_PROMPTS, [moments[moment] for moment in kept], Packed.of(pictures))


def stage_of(run: Path) -> str:
    """What a run trained: distill or prior, by what it wrote into its folder.

    Raises:
        CheckpointError: it wrote no prior.
    """
    kind = read_json(run / "prior" / "config.json").get("_class_name")
    return "distill" if kind == "FlowMapPrior" else "prior"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train history", description=__doc__)
    runs = "run folders, each of which went on from the one before: the prior's, then its distillation's"
    parser.add_argument("runs", type=Path, nargs="+", help=runs)
    parser.add_argument("--model", type=Path, default=Path("checkpoints/default"), help="the checkpoint that gets the history")
    parser.add_argument("--before", type=Path, help="a checkpoint that these runs went on from: its history comes first")
    arguments = parser.parse_args(argv)
    read_json(arguments.model / "model_index.json")
    before = TrainingHistory.load(arguments.before / "history") if arguments.before else None
    if before is not None and before.prompts != list(SNAPSHOT_PROMPTS):
        raise SettingError(f"{arguments.before} was sampled with other prompts: its history can't be gone on with.")
    found = history_of(arguments.runs, [stage_of(run) for run in arguments.runs], before)
    found.save(arguments.model / "history")
    first, last = found.moments[0], found.moments[-1]
    print(f"{arguments.model / 'history'}: {len(found.moments)} moments, minutes {first.minutes:g} to {last.minutes:g}")
    return 0
