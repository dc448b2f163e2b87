"""The rows of the table, put together from what was measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from train.evaluation import composition, matching, memorisation, paths, reconstruction
from train.evaluation.asked import Compositions, Prompts
from train.evaluation.components import Thing
from train.evaluation.composition import TASKS, UNSEEN_TASKS
from train.evaluation.distances import cmmd, kid
from train.evaluation.looking import Look
from train.evaluation.measured import Drawn, Measured, Walk
from train.evaluation.table import Interval, Row, StepRow, wilson

FAILURES_A_TASK = 3
"""Failed compositions that are told, the first ones of each task."""

# Figures


def present(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def mean(values: Sequence[float | None]) -> float | None:
    """Of what is there; None where nothing is."""
    found = present(values)
    return sum(found) / len(found) if found else None


def worst(values: Sequence[float | None]) -> float | None:
    return max(present(values), default=None)


def fades(walked: list[Walk]) -> list[Walk]:
    """The cross-fades of the same ends."""
    return [each["fade"] for each in walked]


def lengths(walked: list[Walk]) -> list[float | None]:
    return [paths.path_length(each["steps"], each["ends"]) for each in walked]


def uneven(walked: list[Walk]) -> list[float | None]:
    return [paths.unevenness(each["steps"], each["ends"]) for each in walked]


def ranks(prompts: Prompts, seen: Look, hard: bool = True, shuffled: bool = False) -> list[int]:
    """Rank of each picture's own text; with `shuffled`, of the picture before."""
    pictures = seen.embeddings.roll(1, dims=0) if shuffled else seen.embeddings
    return matching.ranks(pictures, prompts.own, prompts.texts, prompts.others[hard])


def r_precision(prompts: Prompts, seen: Look, **settings: bool) -> float:
    return matching.r_precision(ranks(prompts, seen, **settings))


def naming(prompts: Prompts, held_out: Look) -> float:
    """Share of the held-out drawings that the evaluator names right among 20: what it is as a namer of things."""
    others = [matching.other_texts(drawing, prompts.known, composition.CANDIDATES, False) for drawing in prompts.drawings]
    return matching.r_precision(matching.ranks(held_out.embeddings, prompts.own, prompts.texts, others))


def places_of(compositions: Compositions, unseen: bool, tasks: Sequence[str]) -> list[int]:
    return [place for place, each in enumerate(compositions.asked) if each.unseen == unseen and each.task in tasks]


def score(compositions: Compositions, things: list[list[Thing]], places: Sequence[int], shuffled: bool = False) -> dict[str, float]:
    """Shares of some of the compositions by task, and their mean."""
    judge = composition.shuffled_score if shuffled else composition.score
    return judge([compositions.asked[k] for k in places], [things[k] for k in places], compositions.names)


def copied(drawn: Drawn | None) -> tuple[float | None, Interval | None]:
    """Share of the things that are copies, and its interval; none where no thing was drawn."""
    if drawn is None or not drawn.ratios:
        return None, None
    share = sum(map(memorisation.is_copy, drawn.ratios)) / len(drawn.ratios)
    return share, wilson(share, len(drawn.ratios))


# The first block: the default settings, with floor and ceiling


def reconstruction_rows(measured: Measured, count: int) -> list[Row]:
    blur_is = f"picture blurred to {reconstruction.BLUR_SIZE} px"
    again, blur = measured.again, measured.blurred
    return [
        Row("reconstruction PSNR, dB, 256 px over white", "higher", again[0], floor={blur_is: blur[0]}, n=count),
        Row(
            f"reconstruction edge F-score, {reconstruction.EDGE_TOLERANCE} px tolerance",
            "higher",
            again[1],
            floor={blur_is: blur[1]},
            ceiling={"itself": 1.0},
            n=count,
        ),
    ]


def picture_rows(prompts: Prompts, measured: Measured) -> list[Row]:
    rows = []
    main, baseline, drawings = measured.main, measured.baseline, measured.drawings
    held_out = drawings["held-out"]
    count = len(prompts.rows)

    def distances(measure: Callable[[Tensor, Tensor], float], values: Callable[[Look], Tensor]) -> dict[str, Any]:
        def distance(seen: Look) -> float:
            return measure(values(seen), values(held_out))

        return {
            "value": distance(main.looks),
            "baseline": distance(baseline.looks) if baseline else None,
            "floor": {
                f"held-out drawings blurred to {reconstruction.BLUR_SIZE} px": distance(drawings["blurred"]),
                f"as JPEG of quality {reconstruction.JPEG_QUALITY}": distance(drawings["jpeg"]),
            },
            "ceiling": {"training drawings of the same things": distance(drawings["training"])},
            "n": count,
        }

    rows.append(Row("KID x 1000, evaluator's features", "lower", **distances(kid, lambda seen: seen.features)))
    rows.append(Row("MMD x 1000 as CMMD, evaluator's embeddings", "lower", **distances(cmmd, lambda seen: seen.embeddings)))
    for hard, told in ((True, "others of the same category"), (False, "others at random")):
        value = r_precision(prompts, main.looks, hard=hard)
        other = r_precision(prompts, baseline.looks, hard=hard) if baseline else None
        rows.append(
            Row(
                f"R-precision, 1 of {prompts.candidates}, {told}",
                "higher",
                value,
                other,
                {"shuffled prompts": r_precision(prompts, main.looks, hard=hard, shuffled=True)},
                {"held-out drawings": r_precision(prompts, held_out, hard=hard)},
                count,
                wilson(value, count),
                None if other is None else wilson(other, count),
            )
        )
    return rows


def composition_rows(compositions: Compositions, measured: Measured) -> list[Row]:
    main, baseline, scenes = measured.main, measured.baseline, measured.scenes
    if scenes is None:
        return []
    rows = []

    def row(figure: str, name: str, unseen: bool, tasks: Sequence[str] = TASKS, white: bool = False) -> None:
        places = places_of(compositions, unseen, tasks)
        if not places:
            return

        def share(drawn: Drawn, shuffled: bool = False) -> float:
            return score(compositions, drawn.white if white else drawn.things, places, shuffled)[name]

        value = share(main)
        # On opaque white the baseline is judged over white anyway.
        other = score(compositions, baseline.things, places)[name] if baseline else None
        nearest_is = f"scene of the nearest of {compositions.captions:,} training captions"
        floor = {nearest_is: share(scenes.nearest), "shuffled prompts": share(main, True)}
        count = len(places)
        rows.append(
            Row(figure, "higher", value, other, floor, {"true renders": share(scenes.true)}, count, wilson(value, count),
                None if other is None else wilson(other, count))
        )  # fmt: skip

    for task in TASKS:
        row(f"composition: {task}", task, False, (task,))
    row("composition: mean of six tasks", "mean", False)
    row("composition: mean of six tasks, the model judged over white as the baseline is", "mean", False, white=True)
    if compositions.unseen:
        three = ", ".join(UNSEEN_TASKS)
        for unseen, told in ((False, "seen"), (True, "unseen")):
            row(f"composition, {told} combinations: mean of {three}", "mean", unseen, UNSEEN_TASKS)
        (value, interval), (other, other_interval) = copied(main), copied(baseline)
        rows.append(
            Row(
                "share of drawn things that copy a training drawing, unseen combinations",
                "lower",
                value,
                other,
                {
                    "training drawings pasted into the same scenes, encoded and decoded": copied(scenes.pasted)[0],
                    "the same, not encoded": copied(scenes.sharp)[0],
                },
                {"held-out drawings in the same scenes, encoded and decoded": copied(scenes.composed)[0]},
                len(main.ratios),
                interval,
                other_interval,
            )
        )
    return rows


def path_rows(walks: dict[str, list[Walk]], frames: int) -> list[Row]:
    rows = []
    baseline = walks.get("baseline", [])
    for pacing in paths.PACINGS:
        found = walks[pacing]
        named = f"{frames - 1} steps of paths, {pacing} pacing"
        count = len(present(uneven(found)))
        rows.append(
            Row(
                f"perceptual path length over distance of the ends, squared, {named}",
                "lower",
                mean(lengths(found)),
                mean(lengths(baseline)),
                {"one jump from end to end": frames - 1},
                {"straight line in even steps": 1.0, "cross-fade of the ends, for reference": mean(lengths(fades(found)))},
                count,
            )
        )
        for told, gather in (("mean", mean), ("worst", worst)):
            rows.append(
                Row(
                    f"largest step / median step, {named}, {told}",
                    "lower",
                    gather(uneven(found)),
                    gather(uneven(baseline)),
                    {},
                    {"even steps": 1.0, "cross-fade of the ends, for reference": gather(uneven(fades(found)))},
                    count,
                )
            )
    raw = walks["raw"]
    rows.append(
        Row(
            "1 - cosine of a path's middle frame and the training drawing that looks most like it, raw pacing",
            "lower",
            mean([each["middle"] for each in raw]),
            mean([each["middle"] for each in baseline]),
            {"middle of the cross-fade of the ends": mean([each["middle"] for each in fades(raw)])},
            {"the model's end frames": mean([each["at_ends"] for each in raw])},
            len(raw),
        )
    )
    return rows


# The second block: every column


def step_rows(prompts: Prompts, compositions: Compositions, measured: Measured, pairs: int) -> list[StepRow]:
    drawings, scenes = measured.drawings, measured.scenes
    held_out, blurry, training = drawings["held-out"], drawings["blurred"], drawings["training"]
    every = measured.columns.values()
    count = len(prompts.rows)
    rows = [
        StepRow("KID x 1000", "lower", [kid(each.looks.features, held_out.features) for each in every],
                kid(blurry.features, held_out.features), kid(training.features, held_out.features), count),
        StepRow("MMD x 1000", "lower", [cmmd(each.looks.embeddings, held_out.embeddings) for each in every],
                cmmd(blurry.embeddings, held_out.embeddings), cmmd(training.embeddings, held_out.embeddings), count),
    ]  # fmt: skip
    for hard, told in ((True, "same category"), (False, "at random")):
        values = [r_precision(prompts, each.looks, hard=hard) for each in every]
        floor = r_precision(prompts, measured.main.looks, hard=hard, shuffled=True)
        ceiling = r_precision(prompts, held_out, hard=hard)
        intervals = [wilson(value, count) for value in values]
        rows.append(StepRow(f"R-precision, {told}", "higher", values, floor, ceiling, count, intervals))

    def composed(figure: str, name: str, unseen: bool, tasks: Sequence[str]) -> None:
        places = places_of(compositions, unseen, tasks)
        if places:
            values = [score(compositions, each.things, places)[name] for each in every]
            floor, ceiling = (score(compositions, each.things, places)[name] for each in (scenes.nearest, scenes.true))
            intervals = [wilson(value, len(places)) for value in values]
            rows.append(StepRow(figure, "higher", values, floor, ceiling, len(places), intervals))

    for task in TASKS:
        composed(f"composition: {task}", task, False, (task,))
    composed("composition: mean of six tasks", "mean", False, TASKS)
    if compositions.unseen:
        composed("composition, seen combinations (three tasks)", "mean", False, UNSEEN_TASKS)
        composed("composition, unseen combinations (the same three)", "mean", True, UNSEEN_TASKS)
        shares = [copied(each) for each in every]
        floor, ceiling = (copied(each)[0] for each in (scenes.pasted, scenes.composed))
        values, intervals = [share for share, _ in shares], [interval for _, interval in shares]
        rows.append(StepRow("share of things that copy a training drawing", "lower", values, floor, ceiling, None, intervals))
    walked = measured.column_walks
    values = [mean(uneven(walked[column])) if column in walked else None for column in measured.columns]
    told = "largest step / median step of paths, even pacing, so many steps a frame"
    rows.append(StepRow(told, "lower", values, None, 1.0, pairs))
    return rows


# Beside the table


def trust(prompts: Prompts, compositions: Compositions, measured: Measured) -> dict[str, object]:
    """Facts that tell how far the evaluator can be trusted: what it makes of drawings that it has not seen."""
    facts: dict[str, object] = {}
    if measured.scenes is not None:
        alone = [place for place, whole in enumerate(compositions.alone) if whole]
        facts["true renders of held-out drawings alone"] = f"{len(alone)} of {len(compositions.asked)}"
        if alone:
            things = measured.scenes.true.things
            verdicts = [composition.fulfilled(compositions.asked[k], things[k], compositions.names) for k in alone]
            facts["of which the evaluator finds right"] = f"{sum(verdicts) / len(alone):.3f}"
    candidates = min(composition.CANDIDATES, len(prompts.known))
    share = naming(prompts, measured.drawings["held-out"])
    return facts | {f"naming held-out drawings, 1 of {candidates}": f"{share:.3f}"}


def details(prompts: Prompts, compositions: Compositions, main: Drawn, steps: int, guidance: float) -> dict[str, object]:
    """What `gallery` makes its page of failures from: the prompts with their ranks, and the first failures of each task."""
    failed: dict[str, list[dict[str, object]]] = defaultdict(list)
    for place, each in enumerate(compositions.asked):
        if not (each.unseen or composition.fulfilled(each, main.things[place], compositions.names)):
            failed[each.task].append({"task": each.task, "prompt": each.prompt, "seed": compositions.first_seed + place})
    return {
        "steps": steps,
        "guidance": guidance,
        "prompts": [
            {"prompt": prompt, "seed": prompts.first_seed + place, "rank": rank}
            for place, (prompt, rank) in enumerate(zip(prompts.asked, ranks(prompts, main.looks), strict=True))
        ],
        "compositions": [each for found in failed.values() for each in found[:FAILURES_A_TASK]],
    }
