"""What is asked for: names of held-out drawings, and compositions with the scenes that answer them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from dalle.text import TextEncoder
from train.data import Drawing, SceneComposer, SpriteStore
from train.data.captions import with_article
from train.data.scenes import Scene
from train.data.store import spread
from train.evaluation import composition, matching
from train.evaluation.composition import Composition
from train.evaluation.looking import kept_vectors, pooled_vectors
from train.evaluator import Evaluator


def known_labels(store: SpriteStore) -> list[Drawing]:
    """One drawing of every label that there is, whatever its split: what R-precision takes its wrong texts from."""
    return list({record.label: record for record in reversed(store.records)}.values())


@dataclass
class Prompts:
    """Names of held-out drawings, and the texts that each has to be told from.

    Attributes:
        asked: the prompts.
        first_seed: of the first prompt; the next has the next.
        rows, drawings: the drawings that have these names, as places in the store and as records.
        mates: for each, the place of a training drawing of the same thing, or of any where there is none.
        known: one drawing of every label.
        candidates: texts of which a picture's own should fit best.
        texts: (M, D), those of the known labels as the evaluator sees them.
        own: (N, D), the text of each drawing.
        others: places in `texts` of the wrong ones for each drawing: of its category first (True), or at random (False).
        notes: what is to be said of all this beneath the table.
    """

    asked: list[str]
    first_seed: int
    rows: list[int]
    drawings: list[Drawing]
    mates: list[int]
    known: list[Drawing]
    candidates: int
    texts: Tensor
    own: Tensor
    others: dict[bool, list[list[int]]]
    notes: list[str]

    @classmethod
    def build(
        cls, store: SpriteStore, evaluator: Evaluator, encoder: TextEncoder, split: str, count: int, first_seed: int
    ) -> Prompts:
        rows = spread(store.rows(split), count)
        drawings = [store.records[row] for row in rows]
        known = known_labels(store)
        candidates = min(matching.CANDIDATES, len(known))
        notes = []
        if candidates < matching.CANDIDATES:
            notes.append(f"R-precision is easier than usual: {candidates} names in place of {matching.CANDIDATES}.")
        train = store.rows("train")
        of_label: dict[str, list[int]] = {}
        for row in train:
            of_label.setdefault(store.records[row].label, []).append(row)
        named = sum(drawing.label in of_label for drawing in drawings)
        notes.append(
            f"Held out are drawings, not names: {named} of {len(rows)} held-out drawings have a name that training drawings "
            "in other styles have too."
        )
        with torch.inference_mode():
            texts = evaluator.texts(pooled_vectors(encoder, [with_article(drawing.label) for drawing in known]))
        place = {drawing.label: number for number, drawing in enumerate(known)}
        return cls(
            asked=[with_article(drawing.label) for drawing in drawings],
            first_seed=first_seed,
            rows=rows,
            drawings=drawings,
            mates=[random.Random(f"mate/{row}").choice(of_label.get(store.records[row].label, train)) for row in rows],
            known=known,
            candidates=candidates,
            texts=texts,
            own=texts[[place[drawing.label] for drawing in drawings]],
            others={
                hard: [matching.other_texts(drawing, known, candidates, hard) for drawing in drawings] for hard in (True, False)
            },
            notes=notes,
        )


@dataclass
class Compositions:
    """The compositional test; nothing is asked where the data has too few things.

    Attributes:
        things: names of the things that may be asked for -> their training drawings.
        first_seed: of the first composition; the next has the next.
        captions: training captions that retrieval chooses from.
        asked: all the compositions, the unseen ones last.
        unseen: those with combinations that training never shows.
        true: prompt -> the scene that it asks for, of held-out drawings where there are any.
        alone: whether that scene is of held-out drawings alone, for each of `asked`.
        nearest: prompt -> the scene of the training caption that is nearest.
        pasted: unseen prompt -> the scene that it asks for, of training drawings.
        composed: the same of held-out drawings, whatever they show: only few of the names that are asked for have one.
        notes: what is to be said of all this beneath the table.
    """

    things: dict[str, list[int]]
    first_seed: int
    captions: int
    asked: list[Composition] = field(default_factory=list)
    unseen: list[Composition] = field(default_factory=list)
    true: dict[str, Scene] = field(default_factory=dict)
    alone: list[bool] = field(default_factory=list)
    nearest: dict[str, Scene] = field(default_factory=dict)
    pasted: dict[str, Scene] = field(default_factory=dict)
    composed: dict[str, Scene] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def build(
        cls,
        store: SpriteStore,
        composer: SceneComposer,
        encoder: TextEncoder,
        root: Path,
        a_task: int,
        captions: int,
        first_seed: int,
    ) -> Compositions:
        """Asks for the most common things.

        Args:
            composer: of the training drawings.
            root: where the vectors of the captions are kept.
            a_task: prompts a task, seen and unseen.
        """
        found = cls(composition.common_things(store, composer), first_seed, captions)
        names = found.names
        if len(names) < 2:
            found.notes.append("No compositional test: the data has no two things that can be counted and recoloured.")
            return found
        if len(names) < composition.CANDIDATES:
            found.notes.append(f"Naming is easier than usual: {len(names)} names in place of {composition.CANDIDATES}.")
        anyway = composition.drawn_anyway(store)
        found.unseen = composition.compositions(names, anyway, a_task, unseen=True)
        found.asked = composition.compositions(names, anyway, a_task, like=found.unseen) + found.unseen

        held_out, tintable = composition.held_out_things(store)
        everything = [row for rows in held_out.values() for row in rows]
        tintable |= set(composer.tintable)

        def scenes(wanted: Sequence[Composition], *pools: dict[str, list[int]]) -> dict[str, Scene]:
            return {each.prompt: composition.true_scene(each, pools, tintable) for each in wanted}

        found.true = scenes(found.asked, held_out, found.things)
        outside = set(everything)
        found.alone = [outside.issuperset(layer.row for layer in found.true[each.prompt].layers) for each in found.asked]
        found.pasted = scenes(found.unseen, found.things)
        found.composed = scenes(found.unseen, dict.fromkeys(names, everything), found.things)
        found.nearest = nearest_scenes([each.prompt for each in found.asked], composer, encoder, root, captions)
        return found

    @property
    def names(self) -> list[str]:
        """What the places of `Thing.likeness` stand for."""
        return list(self.things)


def nearest_scenes(
    prompts: Sequence[str], composer: SceneComposer, encoder: TextEncoder, root: Path, captions: int
) -> dict[str, Scene]:
    """Prompt -> the training scene whose caption is nearest of so many, on no background."""
    scenes = composition.training_scenes(composer, captions)
    known = kept_vectors(encoder, [scene.caption for scene in scenes], root)
    places = composition.nearest_texts(pooled_vectors(encoder, prompts), known)
    plain = {place: replace(scenes[place], background="", procedural="") for place in places}
    return {prompt: plain[place] for prompt, place in zip(prompts, places, strict=True)}
