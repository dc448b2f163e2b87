"""The whole of it: draws with every system, measures, and puts the table together."""

from __future__ import annotations

import hashlib
import json
import platform
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dalle.engine import Engine
from dalle.images import slug
from dalle.text import TextEncoder
from dalle.vae import DalleVAE
from train.data import SceneComposer, SpriteStore
from train.data.captions import with_article
from train.data.scenes import Scene
from train.data.store import spread
from train.evaluation import composition, matching, memorisation, paths, reconstruction
from train.evaluation.components import Thing, name_parts, observe, on_white, take_apart
from train.evaluation.composition import TASKS, UNSEEN_TASKS, Composition
from train.evaluation.distances import cmmd, kid
from train.evaluation.looking import Look, joined, kept_vectors, look, pooled_vectors
from train.evaluation.reconstruction import blurred, jpeg, pixels_of
from train.evaluation.systems import CANDIDATES, Classic, Model, System, finite, in_chunks, ranker_of
from train.evaluation.table import Interval, Row, StepRow, wilson
from train.evaluation.work import SOURCES, Work, rounded, sources_hash
from train.evaluator import Evaluator

FEW_STEPS = (1, 2, 4)
RANKED_STEPS = 4
FIRST_SEED = 5_000_000
CHUNK = 8
"""Pictures drawn at once, and lost at most when interrupted."""
FAILURES_A_TASK = 3
"""Failed compositions that are told, the first ones of each task."""


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
    captions: int = 20_000
    pairs: int = len(paths.PAIRS)
    frames: int = paths.FRAMES


QUICK = Counts(drawings=24, a_task=4, captions=300, pairs=1, frames=9)


@dataclass
class Drawn:
    """What one system drew, as it was measured.

    Attributes:
        looks: of the pictures for the names of held-out drawings; None for a system that only composes.
        things: of the pictures for the compositions, in their order.
        white: the same, judged over white; empty where that was not done.
        ratios: nearest over second-nearest training drawing, of each thing in the unseen compositions.
    """

    looks: Look | None
    things: list[list[Thing]]
    white: list[list[Thing]]
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
    """Draws nothing: shows a scene of drawings for each prompt, as sharp as an autoencoder leaves it where one is given."""

    def __init__(self, name: str, composer: SceneComposer, scenes: dict[str, Scene], vae: DalleVAE | None = None) -> None:
        self.name, self.composer, self.scenes, self.vae = name, composer, scenes, vae

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        pixels = self.composer.paint([self.scenes[prompt] for prompt in prompts]).cpu()
        return pixels if self.vae is None else reconstruction.reconstruct(self.vae, pixels)


class Evaluation:
    """One checkpoint, measured.

    Args:
        engine: loaded.
        encoder: MiniLM, which the evaluator and the baseline read with, whatever the checkpoint has.
        split: whose drawings stand for the held-out ones.
        common: what every result depends on: the evaluator and the data.
        root: where results are kept.
    """

    def __init__(
        self,
        engine: Engine,
        store: SpriteStore,
        evaluator: Evaluator,
        encoder: TextEncoder,
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
        self.engine, self.store, self.evaluator, self.encoder, self.root = engine, store, evaluator, encoder, root
        self.counts, self.split, self.guidance, self.classic = counts, split, guidance, classic
        self.pipeline = engine.wait()
        self.common = common
        self.sources = sources_hash(*SOURCES)
        self.notes: list[str] = []

        self.ranker = ranker_of(engine)
        one_step = self.pipeline.prior.kind == "gaussian"
        self.main_steps = int(self.pipeline.prior.default_steps)
        self.path_steps = int(self.pipeline.prior.default_path_steps)
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
        self._prepare_work()
        # Step counts of the paths: those of the first block, and those that the second compares.
        self.walks = {("raw", self.path_steps), *(("even", steps) for steps in (self.path_steps, 1, self.main_steps))}
        systems = len(self.models) + (self.ranked is not None) + (classic is not None)
        pictures = len(self.rows) + systems * (len(self.rows) + len(self.asked)) + 2 * len(self.asked) + 3 * len(self.unseen)
        pictures += (len(self.walks) + (classic is not None)) * counts.pairs * counts.frames
        self.bar = tqdm(total=pictures, desc="evaluate", unit="picture", mininterval=2)

    # What is asked for

    def _prepare_prompts(self) -> None:
        store = self.store
        self.rows = spread(store.rows(self.split), self.counts.drawings)
        self.drawings = [store.records[row] for row in self.rows]
        self.prompts = [with_article(drawing.label) for drawing in self.drawings]
        self.known = known_labels(store)
        self.candidates = min(matching.CANDIDATES, len(self.known))
        if self.candidates < matching.CANDIDATES:
            self.notes.append(f"R-precision is easier than usual: {self.candidates} names in place of {matching.CANDIDATES}.")
        shown = {store.records[row].label for row in store.rows("train")}
        named = sum(drawing.label in shown for drawing in self.drawings)
        self.notes.append(
            f"Held out are drawings, not names: {named} of {len(self.rows)} held-out drawings have a name that training drawings "
            "in other styles have too."
        )
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
        self.unseen: list[Composition] = []
        self._bank: memorisation.Bank | None = None
        self._neighbours: memorisation.Neighbours | None = None
        names = list(self.things)
        if len(names) < 2:
            self.notes.append("No compositional test: the data has no two things that can be counted and recoloured.")
            return
        if len(names) < composition.CANDIDATES:
            self.notes.append(f"Naming is easier than usual: {len(names)} names in place of {composition.CANDIDATES}.")
        anyway = composition.drawn_anyway(self.store)
        self.unseen = composition.compositions(names, anyway, self.counts.a_task, unseen=True)
        self.asked = composition.compositions(names, anyway, self.counts.a_task, like=self.unseen) + self.unseen
        self.namer = composition.EvaluatorNamer(self.evaluator, self.encoder, names)

        held_out, tintable = composition.held_out_things(self.store)
        everything = [row for rows in held_out.values() for row in rows]
        tintable |= set(self.composer.tintable)

        def system(
            name: str, wanted: Sequence[Composition], *pools: dict[str, list[int]], vae: DalleVAE | None = None
        ) -> SceneSystem:
            scenes = {each.prompt: composition.true_scene(each, pools, tintable) for each in wanted}
            return SceneSystem(name, self.composer, scenes, vae)

        self.true_renders = system("true renders", self.asked, held_out, self.things)
        outside = set(everything)
        self.held_out_alone = [
            outside.issuperset(layer.row for layer in self.true_renders.scenes[each.prompt].layers) for each in self.asked
        ]
        # Through the checkpoint's autoencoder: none of its pictures can be sharper, and what is blurred is harder to know again.
        # Of any held-out drawings: only few of the names that are asked for have one.
        vae, every = self.pipeline.vae, dict.fromkeys(names, everything)
        self.pasted = system("pasted training drawings", self.unseen, self.things, vae=vae)
        self.composed = system("composed held-out drawings", self.unseen, every, self.things, vae=vae)
        self.sharp_paste = system("pasted training drawings, sharp", self.unseen, self.things)

        scenes = composition.training_scenes(self.composer, self.counts.captions)
        captions = kept_vectors(self.encoder, [scene.caption for scene in scenes], self.root)
        prompts = [each.prompt for each in self.asked]
        nearest = composition.nearest_texts(pooled_vectors(self.encoder, prompts), captions)
        plain = {place: replace(scenes[place], background="", procedural="") for place in nearest}
        found = {prompt: plain[place] for prompt, place in zip(prompts, nearest, strict=True)}
        self.retrieval = SceneSystem("nearest caption", self.composer, found)
        self.retrieval_is = f"scene of the nearest of {self.counts.captions:,} training captions"

    def _prepare_work(self) -> None:
        """The folders of results, each named by everything that its results depend on."""
        asked = [*self.prompts, *(each.prompt for each in self.asked), *self.things]
        key: dict[str, object] = self.common | asdict(self.counts) | {
            "sources": self.sources,
            "split": self.split,
            "device": self.engine.status.device,
            "torch": torch.__version__,
            "prompts": hashlib.sha256("\n".join(asked).encode()).hexdigest()[:12],
            "evaluator config": config_of(self.evaluator),
        }
        networks = {name: getattr(self.pipeline, name) for name in ("vae", "prior", "ranker")}
        model_key = key | {
            "revision": self.engine.revision,
            "guidance": self.guidance,
            "path steps": self.path_steps,
            "text encoder": self.pipeline.text.name,
            "configs": {name: config_of(network) for name, network in networks.items() if network is not None},
            "dtypes": {name: str(next(n.parameters()).dtype) for name, n in networks.items() if n is not None},
            "ranker": self.ranker,  # it sets the pace of paths as well
        }
        baseline_key = key | {"sources": sources_hash(*SOURCES, "train/classic.py")}
        if self.classic:
            baseline_key |= {"baseline": self.classic.hash, "config": config_of(self.classic.generator)}
        self.work = {
            "drawings": Work(self.root, "drawings", key),
            "model": Work(self.root, f"model-{self.engine.revision}", model_key),
            "baseline": Work(self.root, "baseline", baseline_key),
        }

    @property
    def bank(self) -> memorisation.Bank:
        """All training drawings as things that may be copied."""
        if self._bank is None:
            parts = [f"train/evaluation/{name}.py" for name in ("components", "looking", "memorisation", "reconstruction")]
            key = json.dumps([self.common, sources_hash(*parts, "train/evaluator.py", "train/data/store.py")], sort_keys=True)
            folder = self.root / f"bank-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
            self._bank = memorisation.Bank.build(self.store, self.evaluator, folder)
        return self._bank

    @property
    def neighbours(self) -> memorisation.Neighbours:
        if self._neighbours is None:
            self._neighbours = memorisation.Neighbours(self.bank.shapes, memorisation.concepts_of(self.store))
        return self._neighbours

    # Drawing and measuring

    def _draw(self, system: System, prompts: Sequence[str], first: int) -> Tensor:
        return finite(system.draw(prompts, [first + place for place in range(len(prompts))]), system.name)

    def _look_at(self, system: System, places: range) -> dict[str, Any]:
        seen = look(self.evaluator, self._draw(system, [self.prompts[place] for place in places], FIRST_SEED + places.start))
        return {
            "features": [rounded(row) for row in seen.features.tolist()],
            "embeddings": [rounded(row) for row in seen.embeddings.tolist()],
        }

    def _take_apart(self, system: System, asked: Sequence[Composition], start: int, white: bool) -> dict[str, Any]:
        pixels = self._draw(system, [each.prompt for each in asked], self.first_composed + start)
        cuts = take_apart(pixels)
        copied = [cut for each, parts in zip(asked, cuts, strict=True) if each.unseen for cut in parts]
        over_white = observe(on_white(pixels), self.namer) if white else []
        return {
            "things": [[asdict(thing) for thing in things] for things in name_parts(cuts, self.namer)],
            "white": [[asdict(thing) for thing in things] for things in over_white],
            "ratios": rounded(self.neighbours.ratios(memorisation.shapes(copied))) if copied else [],
        }

    @property
    def first_composed(self) -> int:
        """Seed of the first composition."""
        return FIRST_SEED + len(self.prompts)

    def measure(
        self, system: System, work: Work, asked: Sequence[Composition] | None = None, *, white: bool = False
    ) -> Drawn:
        """Draws and judges; scenes of drawings only compose.

        Args:
            asked: the compositions, if not all.
            white: judge them over white too.
        """
        asked = self.asked if asked is None else asked
        folder = slug(system.name)
        looks, things, whites, ratios = [], [], [], []
        for places in in_chunks(0 if isinstance(system, SceneSystem) else len(self.prompts), CHUNK):
            name = f"{folder}/prompts-{places.start:04d}"
            part = work.part(name, lambda places=places: self._look_at(system, places))
            looks.append(Look(torch.tensor(part["features"]), torch.tensor(part["embeddings"])))
            self.bar.update(len(places))
        for places in in_chunks(len(asked), CHUNK):
            name = f"{folder}/compositions-{places.start:04d}"
            chosen = [asked[place] for place in places]
            part = work.part(name, lambda chosen=chosen, start=places.start: self._take_apart(system, chosen, start, white))
            things += [[Thing(**thing) for thing in each] for each in part["things"]]
            whites += [[Thing(**thing) for thing in each] for each in part["white"]]
            ratios += part["ratios"]
            self.bar.update(len(places))
        return Drawn(joined(looks) if looks else None, things, whites, ratios)

    def _reconstruct(self) -> tuple[list[float], list[float]]:
        """[PSNR, edge F-score], means over the held-out drawings: of the reconstructions, and of the blurred originals."""

        def compare(places: range) -> list[list[float]]:
            pixels = pixels_of(self.store, [self.rows[place] for place in places])
            found = finite(reconstruction.reconstruct(self.pipeline.vae, pixels), "The autoencoder")
            again, blur = reconstruction.compare(found, pixels), reconstruction.compare(blurred(pixels), pixels)
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
        return {kind: joined(parts) for kind, parts in looks.items()}

    def _walk(self, pacing: str, steps: int) -> list[dict[str, Any]]:
        """Steps of every path with a pacing of the engine, or of the baseline ("baseline", whose steps are none)."""
        found = []
        for number, pair in enumerate(paths.PAIRS[: self.counts.pairs]):
            seed = paths.FIRST_SEED + 2 * number

            def frames(pair: tuple[str, str] = pair, seed: int = seed) -> Tensor:
                if pacing == "baseline":
                    return finite(self.classic.draw_path(pair, seed, self.counts.frames), self.classic.name)
                request = paths.path_request(pair, seed, self.counts.frames, steps, self.guidance, pacing)
                return paths.draw_path(self.engine, request)

            def measured(frames: Callable[[], Tensor] = frames) -> dict[str, Any]:
                pixels = frames()
                fade = paths.steps_of(self.evaluator, paths.cross_fade(pixels[0], pixels[-1], len(pixels)), self.bank.nearest)
                return paths.steps_of(self.evaluator, pixels, self.bank.nearest) | {"fade": fade}

            work = self.work["baseline" if pacing == "baseline" else "model"]
            found.append(work.part(f"paths/{pacing}-{steps}-steps-{number}", measured))
            self.bar.update(self.counts.frames)
        return found

    # The table

    def _ranks(self, seen: Look, hard: bool = True, shuffled: bool = False) -> list[int]:
        pictures = seen.embeddings.roll(1, dims=0) if shuffled else seen.embeddings
        return matching.ranks(pictures, self.own, self.texts, self.others[hard])

    def _r_precision(self, seen: Look, **settings: bool) -> float:
        return matching.r_precision(self._ranks(seen, **settings))

    def _naming(self, held_out: Look) -> float:
        """Share of the held-out drawings that the evaluator names right among 20: what it is as a namer of things."""
        others = [matching.other_texts(drawing, self.known, composition.CANDIDATES, False) for drawing in self.drawings]
        return matching.r_precision(matching.ranks(held_out.embeddings, self.own, self.texts, others))

    def _places(self, unseen: bool, tasks: Sequence[str]) -> list[int]:
        return [place for place, each in enumerate(self.asked) if each.unseen == unseen and each.task in tasks]

    def _score(self, things: list[list[Thing]], places: Sequence[int], shuffled: bool = False) -> dict[str, float]:
        """Shares of some of the compositions by task, and their mean."""
        judge = composition.shuffled_score if shuffled else composition.score
        return judge([self.asked[k] for k in places], [things[k] for k in places], list(self.things)) if places else {}

    def _copied(self, drawn: Drawn | None) -> tuple[float | None, Interval | None]:
        """Share of the things that are copies, and its interval; none where no thing was drawn."""
        if drawn is None or not drawn.ratios:
            return None, None
        share = sum(map(memorisation.is_copy, drawn.ratios)) / len(drawn.ratios)
        return share, wilson(share, len(drawn.ratios))

    def _picture_rows(self, main: Drawn, baseline: Drawn | None, drawings: dict[str, Look]) -> list[Row]:
        rows = []
        held_out = drawings["held-out"]
        count = len(self.rows)

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
                "n": count,
            }

        rows.append(Row("KID x 1000, evaluator's features", "lower", **distances(kid, lambda seen: seen.features)))
        rows.append(Row("MMD x 1000 as CMMD, evaluator's embeddings", "lower", **distances(cmmd, lambda seen: seen.embeddings)))
        for hard, told in ((True, "others of the same category"), (False, "others at random")):
            value = self._r_precision(main.looks, hard=hard)
            other = self._r_precision(baseline.looks, hard=hard) if baseline else None
            rows.append(
                Row(
                    f"R-precision, 1 of {self.candidates}, {told}",
                    "higher",
                    value,
                    other,
                    {"shuffled prompts": self._r_precision(main.looks, hard=hard, shuffled=True)},
                    {"held-out drawings": self._r_precision(held_out, hard=hard)},
                    count,
                    wilson(value, count),
                    None if other is None else wilson(other, count),
                )
            )
        return rows

    def _composition_rows(self, main: Drawn, baseline: Drawn | None) -> list[Row]:
        if not self.asked:
            return []
        true, retrieved = self.true, self.retrieved
        rows = []

        def row(figure: str, name: str, unseen: bool, tasks: Sequence[str] = TASKS, white: bool = False) -> None:
            places = self._places(unseen, tasks)
            if not places:
                return

            def score(drawn: Drawn, shuffled: bool = False) -> float:
                return self._score(drawn.white if white else drawn.things, places, shuffled)[name]

            value = score(main)
            # On opaque white the baseline is judged over white anyway.
            other = self._score(baseline.things, places)[name] if baseline else None
            floor = {self.retrieval_is: score(retrieved), "shuffled prompts": score(main, True)}
            count = len(places)
            rows.append(
                Row(figure, "higher", value, other, floor, {"true renders": score(true)}, count, wilson(value, count),
                    None if other is None else wilson(other, count))
            )  # fmt: skip

        for task in TASKS:
            row(f"composition: {task}", task, False, (task,))
        row("composition: mean of six tasks", "mean", False)
        row("composition: mean of six tasks, the model judged over white as the baseline is", "mean", False, white=True)
        if self.unseen:
            three = ", ".join(UNSEEN_TASKS)
            for unseen, told in ((False, "seen"), (True, "unseen")):
                row(f"composition, {told} combinations: mean of {three}", "mean", unseen, UNSEEN_TASKS)
            (value, interval), (other, other_interval) = self._copied(main), self._copied(baseline)
            rows.append(
                Row(
                    "share of drawn things that copy a training drawing, unseen combinations",
                    "lower",
                    value,
                    other,
                    {
                        "training drawings pasted into the same scenes, encoded and decoded": self._copied(self.measured_paste)[0],
                        "the same, not encoded": self._copied(self.measured_sharp)[0],
                    },
                    {"held-out drawings in the same scenes, encoded and decoded": self._copied(self.measured_held_out)[0]},
                    len(main.ratios),
                    interval,
                    other_interval,
                )
            )
        return rows

    def _path_rows(self) -> list[Row]:
        rows = []
        baseline = self._walk("baseline", 0) if self.classic else []
        for pacing in paths.PACINGS:
            found = self._walk(pacing, self.path_steps)
            named = f"{self.counts.frames - 1} steps of paths, {pacing} pacing"
            count = len(present(uneven(found)))
            rows.append(
                Row(
                    f"perceptual path length over distance of the ends, squared, {named}",
                    "lower",
                    mean(lengths(found)),
                    mean(lengths(baseline)),
                    {"one jump from end to end": self.counts.frames - 1},
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
        rows.append(
            Row(
                "1 - cosine of a path's middle frame and the training drawing that looks most like it, raw pacing",
                "lower",
                mean([each["middle"] for each in found]),
                mean([each["middle"] for each in baseline]),
                {"middle of the cross-fade of the ends": mean([each["middle"] for each in fades(found)])},
                {"the model's end frames": mean([each["at_ends"] for each in found])},
                len(found),
            )
        )
        return rows

    def _step_rows(self, drawn: list[Drawn], baseline: Drawn | None, drawings: dict[str, Look], main: Drawn) -> list[StepRow]:
        held_out, blurry, training = drawings["held-out"], drawings["blurred"], drawings["training"]
        every = [*drawn, *([baseline] if baseline else [])]
        count = len(self.rows)
        rows = [
            StepRow("KID x 1000", "lower", [kid(each.looks.features, held_out.features) for each in every],
                    kid(blurry.features, held_out.features), kid(training.features, held_out.features), count),
            StepRow("MMD x 1000", "lower", [cmmd(each.looks.embeddings, held_out.embeddings) for each in every],
                    cmmd(blurry.embeddings, held_out.embeddings), cmmd(training.embeddings, held_out.embeddings), count),
        ]  # fmt: skip
        for hard, told in ((True, "same category"), (False, "at random")):
            values = [self._r_precision(each.looks, hard=hard) for each in every]
            floor, ceiling = self._r_precision(main.looks, hard=hard, shuffled=True), self._r_precision(held_out, hard=hard)
            intervals = [wilson(value, count) for value in values]
            rows.append(StepRow(f"R-precision, {told}", "higher", values, floor, ceiling, count, intervals))

        def composed(figure: str, name: str, unseen: bool, tasks: Sequence[str]) -> None:
            places = self._places(unseen, tasks)
            if places:
                values = [self._score(each.things, places)[name] for each in every]
                floor, ceiling = (self._score(each.things, places)[name] for each in (self.retrieved, self.true))
                intervals = [wilson(value, len(places)) for value in values]
                rows.append(StepRow(figure, "higher", values, floor, ceiling, len(places), intervals))

        for task in TASKS:
            composed(f"composition: {task}", task, False, (task,))
        composed("composition: mean of six tasks", "mean", False, TASKS)
        if self.unseen:
            composed("composition, seen combinations (three tasks)", "mean", False, UNSEEN_TASKS)
            composed("composition, unseen combinations (the same three)", "mean", True, UNSEEN_TASKS)
            shares = [self._copied(each) for each in every]
            floor, ceiling = (self._copied(each)[0] for each in (self.measured_paste, self.measured_held_out))
            values, intervals = [share for share, _ in shares], [interval for _, interval in shares]
            rows.append(StepRow("share of things that copy a training drawing", "lower", values, floor, ceiling, None, intervals))
        walked = {steps: self._walk("even", steps) for steps in sorted({1, self.main_steps})}
        values = [mean(uneven(walked[model.steps])) if model.steps in walked else None for model in self.models]
        values += [None] * (self.ranked is not None)
        if baseline:
            values.append(mean(uneven(self._walk("baseline", 0))))
        told = "largest step / median step of paths, even pacing, so many steps a frame"
        rows.append(StepRow(told, "lower", values, None, 1.0, self.counts.pairs))
        return rows

    def run(self) -> Report:
        found, blur = self._reconstruct()
        blur_is = f"picture blurred to {reconstruction.BLUR_SIZE} px"
        count = len(self.rows)
        rows = [
            Row("reconstruction PSNR, dB, 256 px over white", "higher", found[0], floor={blur_is: blur[0]}, n=count),
            Row(
                f"reconstruction edge F-score, {reconstruction.EDGE_TOLERANCE} px tolerance",
                "higher",
                found[1],
                floor={blur_is: blur[1]},
                ceiling={"itself": 1.0},
                n=count,
            ),
        ]
        drawings = self._look_at_drawings()
        work = self.work["drawings"]
        if self.asked:
            self.true = self.measure(self.true_renders, work, white=True)
            self.retrieved = self.measure(self.retrieval, work, white=True)
            self.measured_paste, self.measured_held_out = (
                self.measure(each, self.work["model"], self.unseen) for each in (self.pasted, self.composed)
            )
            self.measured_sharp = self.measure(self.sharp_paste, work, self.unseen)
        drawn = {model.name: self.measure(model, self.work["model"], white=model is self.main) for model in self.models}
        if self.ranked is not None:
            drawn[self.ranked.name] = self.measure(self.ranked, self.work["model"])
        baseline = self.measure(self.classic, self.work["baseline"]) if self.classic else None
        main = drawn[self.main.name]
        rows += self._picture_rows(main, baseline, drawings)
        rows += self._composition_rows(main, baseline)
        rows += self._path_rows()
        step_rows = self._step_rows(list(drawn.values()), baseline, drawings, main)
        self.bar.close()
        kept = self.work.values()
        seconds = sum(work.seconds - work.seconds_here for work in kept) + time.monotonic() - self.began
        facts = self._facts(drawings["held-out"]) | {"minutes": round(seconds / 60, 1)}
        columns = [*drawn, *(["textbook baseline"] if baseline else [])]
        return Report(rows, columns, step_rows, facts, self.notes, self._details(main))

    def _details(self, main: Drawn) -> dict[str, object]:
        """What `gallery` makes its page of failures from: the prompts with their ranks, and the first failures of each task."""
        ranks = self._ranks(main.looks)
        failed: dict[str, list[dict[str, object]]] = defaultdict(list)
        for place, each in enumerate(self.asked):
            if not (each.unseen or composition.fulfilled(each, main.things[place], list(self.things))):
                failed[each.task].append({"task": each.task, "prompt": each.prompt, "seed": self.first_composed + place})
        return {
            "steps": self.main_steps,
            "guidance": self.guidance,
            "prompts": [
                {"prompt": prompt, "seed": FIRST_SEED + place, "rank": rank}
                for place, (prompt, rank) in enumerate(zip(self.prompts, ranks, strict=True))
            ],
            "compositions": [each for found in failed.values() for each in found[:FAILURES_A_TASK]],
        }

    def _facts(self, held_out: Look) -> dict[str, object]:
        baseline: dict[str, object] = {}
        if self.classic:
            trained = self.classic.trained_with
            told = f"{trained['samples_seen']:,} samples in {trained['minutes']} minutes" if trained else "training not told"
            baseline = {"baseline": f"{self.classic.hash} ({told})"}
        ceiling: dict[str, object] = {}
        alone = [place for place, whole in enumerate(self.held_out_alone) if whole] if self.asked else []
        if self.asked:
            ceiling["true renders of held-out drawings alone"] = f"{len(alone)} of {len(self.asked)}"
        if alone:
            verdicts = [composition.fulfilled(self.asked[k], self.true.things[k], list(self.things)) for k in alone]
            ceiling["of which the evaluator finds right"] = f"{sum(verdicts) / len(alone):.3f}"
        return {
            "model": self.engine.model,
            "revision": self.engine.revision,
            "prior": self.pipeline.prior.kind,
            "steps": self.main_steps,
            "path steps": self.path_steps,
            "guidance": self.guidance,
            **({"ranker": self.ranker} if self.ranker else {}),
            **baseline,
            "split": self.split,
            "drawings and prompts": len(self.rows),
            "prompts a task": self.counts.a_task,
            "things in them": len(self.things),
            **ceiling,
            f"naming held-out drawings, 1 of {min(composition.CANDIDATES, len(self.known))}": f"{self._naming(held_out):.3f}",
            "captions to retrieve from": self.counts.captions,
            "paths": self.counts.pairs,
            "machine": f"{platform.machine()}, {self.engine.status.device}, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
            "sources": self.sources[:12],
        }


def config_of(network: nn.Module) -> dict[str, object]:
    """A network's settings, without where it was loaded from and with which library."""
    return {name: value for name, value in dict(network.config).items() if not name.startswith("_")}


def present(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def mean(values: Sequence[float | None]) -> float | None:
    """Of what is there; None where nothing is."""
    found = present(values)
    return sum(found) / len(found) if found else None


def worst(values: Sequence[float | None]) -> float | None:
    return max(present(values), default=None)


def fades(walked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cross-fades of the same ends."""
    return [each["fade"] for each in walked]


def lengths(walked: list[dict[str, Any]]) -> list[float | None]:
    return [paths.path_length(each["steps"], each["ends"]) for each in walked]


def uneven(walked: list[dict[str, Any]]) -> list[float | None]:
    return [paths.unevenness(each["steps"], each["ends"]) for each in walked]


def known_labels(store: SpriteStore) -> list[Any]:
    """One drawing of every label that there is, whatever its split: what R-precision takes its wrong texts from."""
    return list({record.label: record for record in reversed(store.records)}.values())
