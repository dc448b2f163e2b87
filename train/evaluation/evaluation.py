"""The whole of it: draws with every system, measures, and puts the table together."""

from __future__ import annotations

import hashlib
import platform
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dalle.engine import Engine
from dalle.images import slug
from train.data import SceneComposer, SpriteStore
from train.data.captions import with_article
from train.data.scenes import Scene
from train.data.store import spread
from train.evaluation import composition, matching, memorisation, paths, reconstruction
from train.evaluation.components import Thing, observe
from train.evaluation.composition import TASKS, UNSEEN_TASKS, Composition
from train.evaluation.distances import cmmd, kid
from train.evaluation.looking import Look, joined, look, pooled_vectors
from train.evaluation.reconstruction import blurred, jpeg, pixels_of
from train.evaluation.systems import CANDIDATES, Classic, Model, System, in_chunks, ranker_of
from train.evaluation.table import Row, StepRow
from train.evaluation.work import Work, rounded
from train.evaluator import Evaluator

VERSION = 1
"""To be raised when what is measured changes: results kept by an earlier version are then left alone."""

FEW_STEPS = (1, 2, 4)
RANKED_STEPS = 4
FIRST_SEED = 5_000_000
CHUNK = 8
"""Pictures drawn at once, and lost at most when interrupted."""


@dataclass(frozen=True)
class Counts:
    """How much is drawn.

    Attributes:
        drawings: held-out drawings, and prompts made of their names.
        a_task: prompts a task, seen and unseen.
        captions: training captions that retrieval chooses from.
        pairs, frames: paths, and frames of each.
    """

    drawings: int = 300
    a_task: int = 40
    captions: int = 4000
    pairs: int = len(paths.PAIRS)
    frames: int = paths.FRAMES


QUICK = Counts(drawings=24, a_task=4, captions=300, pairs=1, frames=9)


@dataclass
class Drawn:
    """What one system drew, as it was measured.

    Attributes:
        looks: of the pictures for the names of held-out drawings; None for a system that only composes.
        things: of the pictures for the compositions, in their order.
        ratios: nearest over second-nearest training picture, of the unseen compositions.
    """

    looks: Look | None
    things: list[list[Thing]]
    ratios: list[float]


@dataclass
class Report:
    rows: list[Row]
    columns: list[str]
    step_rows: list[StepRow]
    facts: dict[str, object]
    notes: list[str]
    details: dict[str, object] = field(default_factory=dict)


class SceneSystem:
    """Draws nothing: shows a scene of training drawings for each prompt."""

    def __init__(self, name: str, composer: SceneComposer, scenes: dict[str, Scene]) -> None:
        self.name, self.composer, self.scenes = name, composer, scenes

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        return self.composer.paint([self.scenes[prompt] for prompt in prompts]).cpu()


class Evaluation:
    """One checkpoint, measured.

    Args:
        engine: loaded.
        split: whose drawings stand for the held-out ones.
        common: what every result depends on: the evaluator, the data and the counts.
        root: where results are kept.
    """

    def __init__(
        self,
        engine: Engine,
        store: SpriteStore,
        evaluator: Evaluator,
        *,
        split: str,
        counts: Counts,
        many_steps: int,
        guidance: float,
        classic: Classic | None,
        common: dict[str, object],
        root: Path,
    ) -> None:
        self.began = time.monotonic()
        self.engine, self.store, self.evaluator, self.root = engine, store, evaluator, root
        self.counts, self.split, self.guidance, self.classic = counts, split, guidance, classic
        self.pipeline = engine.wait()
        self.encoder = self.pipeline.text
        self.notes: list[str] = []

        self.ranker = ranker_of(engine)
        one_step = self.pipeline.prior.kind == "gaussian"
        self.main_steps = int(self.pipeline.prior.default_steps)
        wanted = {1} if one_step else {*FEW_STEPS, many_steps, self.main_steps}
        self.models = [Model(engine, steps, guidance) for steps in sorted(wanted)]
        self.main = next(model for model in self.models if model.steps == self.main_steps)
        self.ranked = Model(engine, 1 if one_step else RANKED_STEPS, guidance, CANDIDATES) if self.ranker else None
        if self.ranked is None:
            self.notes.append("No column with ranking: the checkpoint has no ranker.")
        if classic is None:
            self.notes.append("No textbook baseline: there is none in the folder that --baseline names.")

        self._prepare_prompts()
        self._prepare_compositions()
        key = common | asdict(counts) | {"version": VERSION, "split": split, "device": engine.status.device}
        asked = [*self.prompts, *(each.prompt for each in self.asked), *self.things]
        key["prompts"] = hashlib.sha256("\n".join(asked).encode()).hexdigest()[:12]
        model_key = key | {"revision": engine.revision, "guidance": guidance}
        self.work = {
            "drawings": Work(root, "drawings", key),
            "model": Work(root, f"model-{engine.revision}", model_key),
            "ranked": Work(root, f"ranked-{engine.revision}", model_key | {"ranker": self.ranker}),
            "baseline": Work(root, "baseline", key | {"baseline": classic.hash if classic else ""}),
        }
        systems = len(self.models) + (self.ranked is not None) + (classic is not None)
        pictures = len(self.rows) + systems * (len(self.rows) + len(self.asked)) + 2 * len(self.asked)
        pictures += (len(paths.PACINGS) + (classic is not None)) * counts.pairs * counts.frames
        self.bar = tqdm(total=pictures, desc="evaluate", unit="picture", mininterval=2)

    # What is asked for

    def _prepare_prompts(self) -> None:
        store = self.store
        self.rows = spread(store.rows(self.split), self.counts.drawings)
        self.drawings = [store.records[row] for row in self.rows]
        self.prompts = [with_article(drawing.label) for drawing in self.drawings]
        self.known = known_labels(store)
        self.candidates = min(matching.CANDIDATES, len(self.known))
        with torch.inference_mode():
            texts = pooled_vectors(self.encoder, [with_article(drawing.label) for drawing in self.known])
            self.texts = self.evaluator.texts(texts)
        place = {drawing.label: number for number, drawing in enumerate(self.known)}
        self.own = self.texts[[place[drawing.label] for drawing in self.drawings]]
        self.others = {
            hard: [matching.other_texts(drawing, self.known, self.candidates, hard) for drawing in self.drawings]
            for hard in (True, False)
        }

    def _prepare_compositions(self) -> None:
        self.composer = SceneComposer(self.store, "train")
        self.things = composition.common_things(self.store, self.composer)
        self.asked: list[Composition] = []
        self._neighbours: memorisation.Neighbours | None = None
        names = list(self.things)
        if len(names) < 2:
            self.notes.append("No compositional test: the data has no two things that can be counted and recoloured.")
            return
        labels = {record.label for record in self.store.records}
        for unseen in (False, True):
            self.asked += composition.compositions(names, labels, self.counts.a_task, unseen)
        self.namer = composition.EvaluatorNamer(self.evaluator, self.encoder, names)
        tintable = set(self.composer.tintable)
        true = {each.prompt: composition.true_scene(each, self.things, tintable) for each in self.asked}
        self.true_renders = SceneSystem("true renders", self.composer, true)
        scenes = composition.training_scenes(self.composer, self.counts.captions)
        captions = pooled_vectors(self.encoder, [scene.caption for scene in scenes])
        prompts = [each.prompt for each in self.asked]
        nearest = composition.nearest_texts(pooled_vectors(self.encoder, prompts), captions)
        found = {prompt: scenes[place] for prompt, place in zip(prompts, nearest, strict=True)}
        self.retrieval = SceneSystem("nearest caption", self.composer, found)

    @property
    def neighbours(self) -> memorisation.Neighbours:
        """All training drawings, and the training scenes whose captions are nearest to the unseen prompts."""
        if self._neighbours is None:
            concepts = [self.store.records[row].label for row in self.store.rows("train")]
            parts = [memorisation.training_pixels(self.store, self.root)]
            scenes = [self.retrieval.scenes[each.prompt] for each in self.asked if each.unseen]
            if scenes:
                parts.append(memorisation.small_pixels(self.composer.paint(scenes)))
                concepts += ["+".join(sorted(map(str, scene.label["objects"]))) for scene in scenes]
            self._neighbours = memorisation.Neighbours(torch.cat(parts), concepts)
        return self._neighbours

    # Drawing and measuring

    def _look_at(self, system: System, places: range) -> dict[str, Any]:
        pixels = system.draw([self.prompts[place] for place in places], [FIRST_SEED + place for place in places])
        seen = look(self.evaluator, pixels)
        return {
            "features": [rounded(row) for row in seen.features.tolist()],
            "embeddings": [rounded(row) for row in seen.embeddings.tolist()],
        }

    def _take_apart(self, system: System, places: range) -> dict[str, Any]:
        first = FIRST_SEED + len(self.prompts)
        pixels = system.draw([self.asked[place].prompt for place in places], [first + place for place in places])
        unseen = [index for index, place in enumerate(places) if self.asked[place].unseen]
        return {
            "things": [[asdict(thing) for thing in things] for things in observe(pixels, self.namer)],
            "ratios": self.neighbours.ratios(memorisation.small_pixels(pixels[unseen])) if unseen else [],
        }

    def measure(self, system: System, work: Work, prompts: bool = True) -> Drawn:
        folder = slug(system.name)
        looks, things, ratios = [], [], []
        for places in in_chunks(len(self.prompts) if prompts else 0, CHUNK):
            name = f"{folder}/prompts-{places.start:04d}"
            part = work.part(name, lambda places=places: self._look_at(system, places))
            looks.append(Look(torch.tensor(part["features"]), torch.tensor(part["embeddings"])))
            self.bar.update(len(places))
        for places in in_chunks(len(self.asked), CHUNK):
            name = f"{folder}/compositions-{places.start:04d}"
            part = work.part(name, lambda places=places: self._take_apart(system, places))
            things += [[Thing(**thing) for thing in each] for each in part["things"]]
            ratios += part["ratios"]
            self.bar.update(len(places))
        return Drawn(joined(looks) if looks else None, things, ratios)

    def _reconstruct(self) -> tuple[list[float], list[float]]:
        """[PSNR, edge F-score], means over the held-out drawings: of the reconstructions, and of the blurred originals."""

        def compare(places: range) -> list[list[float]]:
            pixels = pixels_of(self.store, [self.rows[place] for place in places])
            again = reconstruction.compare(reconstruction.reconstruct(self.pipeline.vae, pixels), pixels)
            blur = reconstruction.compare(blurred(pixels), pixels)
            return [a + b for a, b in zip(again, blur, strict=True)]

        found: list[list[float]] = []
        for places in in_chunks(len(self.rows), CHUNK):
            found += self.work["model"].part(
                f"reconstruction/drawings-{places.start:04d}", lambda places=places: compare(places)
            )
            self.bar.update(len(places))
        means = torch.tensor(found, dtype=torch.float64).mean(0).tolist()
        return means[:2], means[2:]

    def _look_at_drawings(self) -> dict[str, Look]:
        """Held-out drawings, the same blurred and as JPEG, and for each a training drawing of the same thing."""
        of_label: dict[str, list[int]] = defaultdict(list)
        train = self.store.rows("train")
        for row in train:
            of_label[self.store.records[row].label].append(row)
        mates = [random.Random(f"mate/{row}").choice(of_label[self.store.records[row].label] or train) for row in self.rows]
        looks: dict[str, list[Look]] = defaultdict(list)
        self.ratios_of_drawings: list[float] = []
        for places in in_chunks(len(self.rows), 32):
            held_out = pixels_of(self.store, [self.rows[place] for place in places])
            kinds = {
                "held-out": held_out,
                "blurred": blurred(held_out),
                "jpeg": jpeg(held_out),
                "training": pixels_of(self.store, [mates[place] for place in places]),
            }
            for kind, pixels in kinds.items():
                looks[kind].append(look(self.evaluator, pixels))
            if self.asked:
                self.ratios_of_drawings += self.neighbours.ratios(memorisation.small_pixels(held_out))
        return {kind: joined(parts) for kind, parts in looks.items()}

    def _walk(self, pacing: str) -> list[dict[str, Any]]:
        """Steps of every path with a pacing of the engine, or of the baseline ("baseline")."""
        found = []
        for number, pair in enumerate(paths.PAIRS[: self.counts.pairs]):
            seed = paths.FIRST_SEED + 2 * number
            if pacing == "baseline":
                work = self.work["baseline"]

                def frames(pair: tuple[str, str] = pair, seed: int = seed) -> Tensor:
                    return self.classic.draw_path(pair, seed, self.counts.frames)
            else:
                work = self.work["model"]
                request = paths.path_request(pair, seed, self.counts.frames, self.guidance, pacing)

                def frames(request: paths.InterpolateRequest = request) -> Tensor:
                    return paths.draw_path(self.engine, request)

            def measured(frames: Callable[[], Tensor] = frames) -> dict[str, Any]:
                pixels = frames()
                fade = paths.steps_of(self.evaluator, paths.cross_fade(pixels[0], pixels[-1], len(pixels)))
                return paths.steps_of(self.evaluator, pixels) | {"fade": fade["steps"]}

            found.append(work.part(f"paths/{pacing}-{number}", measured))
            self.bar.update(self.counts.frames)
        return found

    # The table

    def _ranks(self, seen: Look, hard: bool = True, shuffled: bool = False) -> list[int]:
        pictures = seen.embeddings.roll(1, dims=0) if shuffled else seen.embeddings
        return matching.ranks(pictures, self.own, self.texts, self.others[hard])

    def _r_precision(self, seen: Look, **settings: bool) -> float:
        return matching.r_precision(self._ranks(seen, **settings))

    def _score(self, drawn: Drawn, unseen: bool, tasks: Sequence[str] = TASKS, shuffled: bool = False) -> dict[str, float]:
        chosen = [k for k, each in enumerate(self.asked) if each.unseen == unseen and each.task in tasks]
        judge = composition.shuffled_score if shuffled else composition.score
        if not chosen:
            return {}
        return judge([self.asked[k] for k in chosen], [drawn.things[k] for k in chosen], list(self.things))

    def _picture_rows(self, main: Drawn, baseline: Drawn | None, drawings: dict[str, Look]) -> list[Row]:
        rows = []
        held_out = drawings["held-out"]

        def distances(measure: Callable[[Tensor, Tensor], float], values: Callable[[Look], Tensor]) -> dict[str, Any]:
            return {
                "value": measure(values(main.looks), values(held_out)),
                "baseline": measure(values(baseline.looks), values(held_out)) if baseline else None,
                "floor": {
                    f"held-out drawings blurred to {reconstruction.BLUR_SIZE} px": measure(
                        values(drawings["blurred"]), values(held_out)
                    ),
                    f"as JPEG of quality {reconstruction.JPEG_QUALITY}": measure(values(drawings["jpeg"]), values(held_out)),
                },
                "ceiling": {"training drawings of the same things": measure(values(drawings["training"]), values(held_out))},
            }

        rows.append(Row("KID x 1000, evaluator's features", "lower", **distances(kid, lambda seen: seen.features)))
        rows.append(Row("MMD x 1000 as CMMD, evaluator's embeddings", "lower", **distances(cmmd, lambda seen: seen.embeddings)))
        for hard, told in ((True, "others of the same category"), (False, "others at random")):
            rows.append(
                Row(
                    f"R-precision, 1 of {self.candidates}, {told}",
                    "higher",
                    self._r_precision(main.looks, hard=hard),
                    self._r_precision(baseline.looks, hard=hard) if baseline else None,
                    {"shuffled prompts": self._r_precision(main.looks, hard=hard, shuffled=True)},
                    {"held-out drawings": self._r_precision(held_out, hard=hard)},
                )
            )
        return rows

    def _composition_rows(self, main: Drawn, baseline: Drawn | None) -> list[Row]:
        if not self.asked:
            return []
        true = self.measure(self.true_renders, self.work["drawings"], prompts=False)
        retrieved = self.measure(self.retrieval, self.work["drawings"], prompts=False)
        rows = []

        def row(figure: str, name: str, unseen: bool, tasks: Sequence[str] = TASKS) -> Row:
            def score(drawn: Drawn, shuffled: bool = False) -> float:
                return self._score(drawn, unseen, tasks, shuffled)[name]

            floor = {"scene of the nearest training caption": score(retrieved), "shuffled prompts": score(main, True)}
            return Row(figure, "higher", score(main), score(baseline) if baseline else None, floor, {"true renders": score(true)})

        for task in TASKS:
            if any(each.task == task and not each.unseen for each in self.asked):
                rows.append(row(f"composition: {task}", task, False))
        rows.append(row("composition: mean of six tasks", "mean", False))
        self.true_scores = self._score(true, False) | {"unseen": self._score(true, True).get("mean")}
        if any(each.unseen for each in self.asked):
            three = ", ".join(UNSEEN_TASKS)
            for unseen, told in ((False, "seen"), (True, "unseen")):
                rows.append(row(f"composition, {told} combinations: mean of {three}", "mean", unseen, UNSEEN_TASKS))
            share = memorisation.copied_share
            rows.append(
                Row(
                    "share of memorised pictures, unseen combinations",
                    "lower",
                    share(main.ratios),
                    share(baseline.ratios) if baseline else None,
                    {"scene of the nearest training caption": share(retrieved.ratios)},
                    {"held-out drawings": share(self.ratios_of_drawings)},
                )
            )
        return rows

    def _path_rows(self) -> list[Row]:
        rows = []
        baseline = self._walk("baseline") if self.classic else None
        for pacing in paths.PACINGS:
            found = self._walk(pacing)
            named = f"{self.counts.frames - 1} steps of paths, {pacing} pacing"

            def mean(values: list[float]) -> float:
                return sum(values) / len(values)

            ends = [each["ends"] ** 2 for each in found]
            rows.append(
                Row(
                    f"perceptual path length, {named}",
                    "lower",
                    mean([paths.path_length(each["steps"]) for each in found]),
                    mean([paths.path_length(each["steps"]) for each in baseline]) if baseline else None,
                    {"one jump from end to end": (self.counts.frames - 1) * mean(ends)},
                    {"straight line from end to end": mean(ends)},
                )
            )
            for told, gather in (("mean", mean), ("worst", max)):
                rows.append(
                    Row(
                        f"largest step / median step, {named}, {told} of {len(found)}",
                        "lower",
                        gather([paths.unevenness(each["steps"]) for each in found]),
                        gather([paths.unevenness(each["steps"]) for each in baseline]) if baseline else None,
                        {"cross-fade of the two ends": gather([paths.unevenness(each["fade"]) for each in found])},
                        {"even steps": 1.0},
                    )
                )
        return rows

    def _step_rows(self, drawn: list[Drawn], drawings: dict[str, Look]) -> list[StepRow]:
        held_out = drawings["held-out"]
        rows = [
            StepRow("KID x 1000", "lower", [kid(each.looks.features, held_out.features) for each in drawn],
                    kid(drawings["training"].features, held_out.features)),
            StepRow("MMD x 1000", "lower", [cmmd(each.looks.embeddings, held_out.embeddings) for each in drawn],
                    cmmd(drawings["training"].embeddings, held_out.embeddings)),
            StepRow("R-precision, same category", "higher", [self._r_precision(each.looks) for each in drawn],
                    self._r_precision(held_out)),
            StepRow("R-precision, at random", "higher", [self._r_precision(each.looks, hard=False) for each in drawn],
                    self._r_precision(held_out, hard=False)),
        ]  # fmt: skip
        if self.asked:
            scores = [self._score(each, False) for each in drawn]
            for name in scores[0]:
                told = "mean of six tasks" if name == "mean" else name
                rows.append(StepRow(f"composition: {told}", "higher", [each[name] for each in scores], self.true_scores[name]))
            if drawn[0].ratios:
                values = [self._score(each, True)["mean"] for each in drawn]
                rows.append(StepRow("composition, unseen combinations", "higher", values, self.true_scores["unseen"]))
                rows.append(
                    StepRow(
                        "share of memorised pictures",
                        "lower",
                        [memorisation.copied_share(each.ratios) for each in drawn],
                        memorisation.copied_share(self.ratios_of_drawings),
                    )
                )
        return rows

    def run(self) -> Report:
        found, blur = self._reconstruct()
        blur_is = f"picture blurred to {reconstruction.BLUR_SIZE} px"
        rows = [
            Row("reconstruction PSNR, dB, 256 px over white", "higher", found[0], floor={blur_is: blur[0]}),
            Row(
                f"reconstruction edge F-score, {reconstruction.EDGE_TOLERANCE} px tolerance",
                "higher",
                found[1],
                floor={blur_is: blur[1]},
                ceiling={"itself": 1.0},
            ),
        ]
        drawings = self._look_at_drawings()
        drawn = {model.name: self.measure(model, self.work["model"]) for model in self.models}
        if self.ranked is not None:
            drawn[self.ranked.name] = self.measure(self.ranked, self.work["ranked"])
        baseline = self.measure(self.classic, self.work["baseline"]) if self.classic else None
        main = drawn[self.main.name]
        rows += self._picture_rows(main, baseline, drawings)
        rows += self._composition_rows(main, baseline)
        rows += self._path_rows()
        self.bar.close()
        ranks = self._ranks(main.looks)
        details = {
            "steps": self.main_steps,
            "guidance": self.guidance,
            "prompts": [
                {"prompt": prompt, "seed": FIRST_SEED + place, "rank": rank}
                for place, (prompt, rank) in enumerate(zip(self.prompts, ranks, strict=True))
            ],
        }
        step_rows = self._step_rows(list(drawn.values()), drawings)
        kept = self.work.values()
        seconds = sum(work.seconds - work.seconds_here for work in kept) + time.monotonic() - self.began
        facts = self._facts() | {"minutes": round(seconds / 60, 1)}
        return Report(rows, list(drawn), step_rows, facts, self.notes, details)

    def _facts(self) -> dict[str, object]:
        return {
            "model": self.engine.model,
            "revision": self.engine.revision,
            "prior": self.pipeline.prior.kind,
            "steps": self.main_steps,
            "path steps": int(self.pipeline.prior.default_path_steps),
            "guidance": self.guidance,
            **({"ranker": self.ranker} if self.ranker else {}),
            **({"baseline": self.classic.hash} if self.classic else {}),
            "split": self.split,
            "drawings and prompts": len(self.rows),
            "prompts a task": self.counts.a_task,
            "things in them": len(self.things),
            "captions to retrieve from": self.counts.captions,
            "paths": self.counts.pairs,
            "machine": f"{platform.machine()}, {self.engine.status.device}, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
        }


def known_labels(store: SpriteStore) -> list[Any]:
    """One drawing of every label that there is, whatever its split: what R-precision takes its wrong texts from."""
    return list({record.label: record for record in reversed(store.records)}.values())
