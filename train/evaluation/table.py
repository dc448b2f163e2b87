"""The table, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

Interval = tuple[float, float]


def wilson(share: float, count: int, z: float = 1.96) -> Interval:
    """95 % interval of a share of `count` trials (Wilson 1927).

    For a mean of several tasks' shares with all their trials it is a little too wide: the tasks' differences are no chance.
    """
    squared = z * z / count
    centre, half = share + squared / 2, z * sqrt(max(0.0, share * (1 - share)) / count + squared / (4 * count))
    return max(0.0, (centre - half) / (1 + squared)), min(1.0, (centre + half) / (1 + squared))


@dataclass
class Row:
    """One figure. What does not apply stays empty; nothing is invented.

    Attributes:
        figure: what is measured, with its unit.
        better: "higher" or "lower".
        value: of the model at its default settings.
        baseline: the textbook's GAN.
        floor, ceiling: what it is -> its figure.
        n: of how many pictures, prompts, things or paths.
        interval, baseline_interval: 95 %, where the figure is a share.
    """

    figure: str
    better: str
    value: float | None
    baseline: float | None = None
    floor: dict[str, float | None] = field(default_factory=dict)
    ceiling: dict[str, float | None] = field(default_factory=dict)
    n: int | None = None
    interval: Interval | None = None
    baseline_interval: Interval | None = None


@dataclass
class StepRow:
    """One figure at each setting, in the order of the columns; `floor` and `ceiling` are those of the first block's row."""

    figure: str
    better: str
    values: list[float | None]
    floor: float | None = None
    ceiling: float | None = None
    n: int | None = None
    intervals: list[Interval | None] | None = None


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def measured(value: float | None, interval: Interval | None = None) -> str:
    """A figure with half the width of its interval."""
    return number(value) if interval is None else f"{number(value)} ± {(interval[1] - interval[0]) / 2:.3f}".replace("± 0.", "± .")


def arrow(better: str) -> str:
    return "↑" if better == "higher" else "↓"


def several(values: dict[str, float | None]) -> str:
    return "; ".join(f"{number(value)} ({name})" for name, value in values.items() if value is not None)


def counted(n: int | None) -> str:
    return "" if n is None else f", n {n}"


def markdown(
    rows: Sequence[Row],
    columns: Sequence[str],
    step_rows: Sequence[StepRow],
    facts: dict[str, object],
    notes: Sequence[str] = (),
) -> str:
    """Both blocks, what they were made with, and what is missing; arrows point to the better side, ± is a 95 % interval."""
    lines = ["| figure | model | textbook baseline | floor | ceiling |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        value = "" if row.value is None else f"**{measured(row.value, row.interval)}**{counted(row.n)}"
        baseline = measured(row.baseline, row.baseline_interval)
        lines.append(f"| {row.figure} {arrow(row.better)} | {value} | {baseline} | {several(row.floor)} | {several(row.ceiling)} |")
    heads = [*columns, "floor", "ceiling"]
    lines += ["", f"| figure | {' | '.join(heads)} |", f"| --- {'| --- ' * len(heads)}|"]
    for row in step_rows:
        intervals = row.intervals or [None] * len(row.values)
        values = [measured(value, interval) for value, interval in zip(row.values, intervals, strict=True)]
        cells = [f"{row.figure}{counted(row.n)} {arrow(row.better)}", *values, number(row.floor), number(row.ceiling)]
        lines.append(f"| {' | '.join(cells)} |")
    told = ", ".join(f"{name}: {value}" for name, value in facts.items())
    remarks = [f"- {note}" for note in notes]
    return "\n".join([*lines, "", f"{told[:1].upper()}{told[1:]}.", *([""] if remarks else []), *remarks]) + "\n"
