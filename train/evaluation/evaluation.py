"""The whole of it: draws what is asked for with every system, measures, and hands over the table."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dalle.engine import Engine
from dalle.images import slug
from dalle.text import TextEncoder
from dalle.vae import DalleVAE
from train.data import SceneComposer, SpriteStore
from train.data.scenes import Scene
from train.evaluation import composition, memorisation, paths, reconstruction, rows
from train.evaluation.asked import Compositions, Prompts
from train.evaluation.components import Thing, name_parts, observe, on_white, take_apart
from train.evaluation.composition import Composition
from train.evaluation.looking import Look, joined, look
from train.evaluation.measured import Drawn, Measured, Scenes, Walk
from train.evaluation.reconstruction import blurred, jpeg, pixels_of
from train.evaluation.systems import CANDIDATES, Classic, Model, System, finite, in_chunks, ranker_of
from train.evaluation.table import Row, StepRow
from train.evaluation.work import SOURCES, Work, config_of, folders, rounded, sources_hash
from train.evaluator import Evaluator

FEW_STEPS = (1, 2, 4)
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
    captions: int = 20_000
    pairs: int = len(paths.PAIRS)
    frames: int = paths.FRAMES


QUICK = Counts(drawings=24, a_task=4, captions=300, pairs=1, frames=9)


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
        self.engine, self.store, self.evaluator, self.root = engine, store, evaluator, root
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
        self.ranked = Model(engine, self.main_steps, guidance, CANDIDATES) if self.ranker else None
        if self.ranked is None:
            self.notes.append("No column with ranking: the checkpoint has no ranker.")
        if classic is None:
            self.notes.append("No textbook baseline: there is none in the folder that --baseline names.")

        self.composer = SceneComposer(store, "train")
        self.prompts = Prompts.build(store, evaluator, encoder, split, counts.drawings, FIRST_SEED)
        after = FIRST_SEED + len(self.prompts.asked)
        self.compositions = Compositions.build(store, self.composer, encoder, root, counts.a_task, counts.captions, after)
        self.notes += self.prompts.notes + self.compositions.notes
        asked, unseen = self.compositions.asked, self.compositions.unseen
        self.namer = composition.EvaluatorNamer(evaluator, encoder, self.compositions.names) if asked else None
        self.work = self._folders()

        # Step counts of the paths: those of the first block, and those that the second compares.
        walks = {("raw", self.path_steps), *(("even", steps) for steps in (self.path_steps, 1, self.main_steps))}
        systems = len(self.models) + (self.ranked is not None) + (classic is not None)
        drawings = len(self.prompts.rows)
        pictures = drawings + systems * (drawings + len(asked)) + 2 * len(asked) + 3 * len(unseen)
        pictures += (len(walks) + (classic is not None)) * counts.pairs * counts.frames
        self.bar = tqdm(total=pictures, desc="evaluate", unit="picture", mininterval=2)

    def _folders(self) -> dict[str, Work]:
        """The folders of results, each named by everything that its results depend on."""
        asked = [*self.prompts.asked, *(each.prompt for each in self.compositions.asked), *self.compositions.names]
        key: dict[str, object] = self.common | asdict(self.counts) | {
            "sources": self.sources,
            "split": self.split,
            "device": self.engine.status.device,
            "torch": torch.__version__,
            "prompts": hashlib.sha256("\n".join(asked).encode()).hexdigest()[:12],
            "evaluator config": config_of(self.evaluator),
        }
        settings = {"guidance": self.guidance, "path steps": self.path_steps}
        return folders(self.root, key, self.engine, settings, self.ranker, self.classic)

    @cached_property
    def bank(self) -> memorisation.Bank:
        """All training drawings as things that may be copied."""
        parts = [f"train/evaluation/{name}.py" for name in ("components", "looking", "memorisation", "reconstruction")]
        key = json.dumps([self.common, sources_hash(*parts, "train/evaluator.py", "train/data/store.py")], sort_keys=True)
        folder = self.root / f"bank-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        return memorisation.Bank.build(self.store, self.evaluator, folder)

    @cached_property
    def neighbours(self) -> memorisation.Neighbours:
        return memorisation.Neighbours(self.bank.shapes, memorisation.concepts_of(self.store))

    # Drawing and measuring

    def _draw(self, system: System, prompts: Sequence[str], first: int) -> Tensor:
        return finite(system.draw(prompts, [first + place for place in range(len(prompts))]), system.name)

    def _look_at(self, system: System, places: range) -> dict[str, Any]:
        prompts = [self.prompts.asked[place] for place in places]
        seen = look(self.evaluator, self._draw(system, prompts, self.prompts.first_seed + places.start))
        return {
            "features": [rounded(row) for row in seen.features.tolist()],
            "embeddings": [rounded(row) for row in seen.embeddings.tolist()],
        }

    def _take_apart(self, system: System, asked: Sequence[Composition], start: int, white: bool) -> dict[str, Any]:
        pixels = self._draw(system, [each.prompt for each in asked], self.compositions.first_seed + start)
        cuts = take_apart(pixels)
        copied = [cut for each, parts in zip(asked, cuts, strict=True) if each.unseen for cut in parts]
        over_white = observe(on_white(pixels), self.namer) if white else []
        return {
            "things": [[asdict(thing) for thing in things] for things in name_parts(cuts, self.namer)],
            "white": [[asdict(thing) for thing in things] for things in over_white],
            "ratios": rounded(self.neighbours.ratios(memorisation.shapes(copied))) if copied else [],
        }

    def measure(self, system: System, work: Work, asked: Sequence[Composition] | None = None, *, white: bool = False) -> Drawn:
        """Draws and judges; scenes of drawings only compose.

        Args:
            asked: the compositions, if not all.
            white: judge them over white too.
        """
        asked = self.compositions.asked if asked is None else asked
        folder = slug(system.name)
        looks, things, whites, ratios = [], [], [], []
        for places in in_chunks(0 if isinstance(system, SceneSystem) else len(self.prompts.asked), CHUNK):
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
            pixels = pixels_of(self.store, [self.prompts.rows[place] for place in places])
            found = finite(reconstruction.reconstruct(self.pipeline.vae, pixels), "The autoencoder")
            again, blur = reconstruction.compare(found, pixels), reconstruction.compare(blurred(pixels), pixels)
            return [a + b for a, b in zip(again, blur, strict=True)]

        found: list[list[float]] = []
        for places in in_chunks(len(self.prompts.rows), CHUNK):
            found += self.work["model"].part(f"reconstruction/drawings-{places.start:04d}", lambda places=places: compare(places))
            self.bar.update(len(places))
        means = torch.tensor(found, dtype=torch.float64).mean(0).tolist()
        return means[:2], means[2:]

    def _look_at_drawings(self) -> dict[str, Look]:
        """Held-out drawings, the same blurred and as JPEG, and for each a training drawing of the same thing."""
        looks: dict[str, list[Look]] = defaultdict(list)
        for places in in_chunks(len(self.prompts.rows), 32):
            held_out = pixels_of(self.store, [self.prompts.rows[place] for place in places])
            kinds = {
                "held-out": held_out,
                "blurred": blurred(held_out),
                "jpeg": jpeg(held_out),
                "training": pixels_of(self.store, [self.prompts.mates[place] for place in places]),
            }
            for kind, pixels in kinds.items():
                looks[kind].append(look(self.evaluator, pixels))
        return {kind: joined(parts) for kind, parts in looks.items()}

    def _walk(self, pacing: str, steps: int) -> list[Walk]:
        """Steps of every path with a pacing of the engine, or of the baseline ("baseline", whose steps are none)."""
        found = []
        for number, pair in enumerate(paths.PAIRS[: self.counts.pairs]):
            seed = paths.FIRST_SEED + 2 * number

            def measured(pair: tuple[str, str] = pair, seed: int = seed) -> Walk:
                if pacing == "baseline":
                    pixels = finite(self.classic.draw_path(pair, seed, self.counts.frames), self.classic.name)
                else:
                    request = paths.path_request(pair, seed, self.counts.frames, steps, self.guidance, pacing)
                    pixels = paths.draw_path(self.engine, request)
                fade = paths.steps_of(self.evaluator, paths.cross_fade(pixels[0], pixels[-1], len(pixels)), self.bank.nearest)
                return paths.steps_of(self.evaluator, pixels, self.bank.nearest) | {"fade": fade}

            work = self.work["baseline" if pacing == "baseline" else "model"]
            found.append(work.part(f"paths/{pacing}-{steps}-steps-{number}", measured))
            self.bar.update(self.counts.frames)
        return found

    def _show_scenes(self) -> Scenes | None:
        """Scenes of drawings in place of pictures, if any composition is asked for."""
        found = self.compositions
        if not found.asked:
            return None
        drawings, model = self.work["drawings"], self.work["model"]
        # Through the checkpoint's autoencoder: none of its pictures can be sharper, and what is blurred is harder to know again.
        vae, unseen, composer = self.pipeline.vae, found.unseen, self.composer
        return Scenes(
            true=self.measure(SceneSystem("true renders", composer, found.true), drawings, white=True),
            nearest=self.measure(SceneSystem("nearest caption", composer, found.nearest), drawings, white=True),
            pasted=self.measure(SceneSystem("pasted training drawings", composer, found.pasted, vae), model, unseen),
            composed=self.measure(SceneSystem("composed held-out drawings", composer, found.composed, vae), model, unseen),
            sharp=self.measure(SceneSystem("pasted training drawings, sharp", composer, found.pasted), drawings, unseen),
        )

    def _measure_all(self) -> Measured:
        again, blur = self._reconstruct()
        drawings = self._look_at_drawings()
        scenes = self._show_scenes()
        model, classic = self.work["model"], self.classic
        columns = {each.name: self.measure(each, model, white=each is self.main) for each in self.models}
        if self.ranked is not None:
            columns[self.ranked.name] = self.measure(self.ranked, model)
        baseline = self.measure(classic, self.work["baseline"]) if classic else None
        # What both blocks of the table have is drawn once, and read from the disk again.
        walks = {"baseline": self._walk("baseline", 0)} if classic else {}
        walks |= {pacing: self._walk(pacing, self.path_steps) for pacing in paths.PACINGS}
        compared = [each for each in self.models if each.steps in (1, self.main_steps)]
        even = {steps: self._walk("even", steps) for steps in {each.steps for each in compared} - {self.path_steps}}
        even[self.path_steps] = walks["even"]
        column_walks = {each.name: even[each.steps] for each in compared}
        if baseline:
            columns["textbook baseline"] = baseline
            column_walks["textbook baseline"] = walks["baseline"]
        return Measured(again, blur, drawings, scenes, columns, columns[self.main.name], baseline, walks, column_walks)

    # The table

    def run(self) -> Report:
        prompts, compositions = self.prompts, self.compositions
        measured = self._measure_all()
        first_block = [
            *rows.reconstruction_rows(measured, len(prompts.rows)),
            *rows.picture_rows(prompts, measured),
            *rows.composition_rows(compositions, measured),
            *rows.path_rows(measured.walks, self.counts.frames),
        ]
        second_block = rows.step_rows(prompts, compositions, measured, self.counts.pairs)
        self.bar.close()
        seconds = sum(work.seconds - work.seconds_here for work in self.work.values()) + time.monotonic() - self.began
        facts = self._facts(measured) | {"minutes": round(seconds / 60, 1)}
        details = rows.details(prompts, compositions, measured.main, self.main_steps, self.guidance)
        return Report(first_block, list(measured.columns), second_block, facts, self.notes, details)

    def _facts(self, measured: Measured) -> dict[str, object]:
        baseline: dict[str, object] = {}
        if self.classic:
            trained = self.classic.trained_with
            told = f"{trained['samples_seen']:,} samples in {trained['minutes']} minutes" if trained else "training not told"
            baseline = {"baseline": f"{self.classic.hash} ({told})"}
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
            "drawings and prompts": len(self.prompts.rows),
            "prompts a task": self.counts.a_task,
            "things in them": len(self.compositions.things),
            **rows.trust(self.prompts, self.compositions, measured),
            "captions to retrieve from": self.counts.captions,
            "paths": self.counts.pairs,
            "machine": f"{platform.machine()}, {self.engine.status.device}, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
            "sources": self.sources[:12],
        }
