"""The table, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Row:
    """One figure. What does not apply stays empty; nothing is invented.

    Attributes:
        figure: what is measured, with its unit.
        better: "higher" or "lower".
        value: of the model at its default settings.
        baseline: the textbook's GAN.
        floor, ceiling: what it is -> its figure.
    """

    figure: str
    better: str
    value: float
    baseline: float | None = None
    floor: dict[str, float] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)


@dataclass
class StepRow:
    """One figure at each setting, in the order of the columns."""

    figure: str
    better: str
    values: list[float]
    ceiling: float | None = None


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def arrow(better: str) -> str:
    return "↑" if better == "higher" else "↓"


def several(values: dict[str, float]) -> str:
    return "; ".join(f"{number(value)} ({name})" for name, value in values.items())


def markdown(
    rows: Sequence[Row],
    columns: Sequence[str],
    step_rows: Sequence[StepRow],
    facts: dict[str, object],
    notes: Sequence[str] = (),
) -> str:
    """Both blocks, what they were made with, and what is missing; arrows point to the better side."""
    lines = ["| figure | model | textbook baseline | floor | ceiling |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        value = f"**{number(row.value)}**"
        cells = [f"{row.figure} {arrow(row.better)}", value, number(row.baseline), several(row.floor), several(row.ceiling)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"| figure | {' | '.join(columns)} | ceiling |", f"| --- {'| --- ' * (len(columns) + 1)}|"]
    for step_row in step_rows:
        values = [number(value) for value in step_row.values]
        lines.append(f"| {step_row.figure} {arrow(step_row.better)} | {' | '.join(values)} | {number(step_row.ceiling)} |")
    told = ", ".join(f"{name}: {value}" for name, value in facts.items())
    remarks = [f"- {note}" for note in notes]
    return "\n".join([*lines, "", f"{told[:1].upper()}{told[1:]}.", *([""] if remarks else []), *remarks]) + "\n"
