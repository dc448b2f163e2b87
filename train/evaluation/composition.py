"""The compositional test: six tasks as in GenEval (Ghosh et al. 2023, arXiv:2310.11513), for drawings on no background.

Which things are asked for is decided by how common their drawings are, never by what the evaluator recognises. How much it
does not is told by the score of true renders, which stands beside every figure: of held-out drawings where a name has one, else
of training drawings, which the evaluator was fitted on and so knows better than what a model draws.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dalle.text import TextEncoder
from train.data import SceneComposer, SpriteStore
from train.data.captions import NUMBERS, RELATIONS, countable, plural, with_article, without_colour
from train.data.scenes import PAINTS, PAIR_PAINTS, Layer, Scene, is_held_out_pair
from train.evaluation.components import Thing, in_one_piece
from train.evaluation.looking import pooled_vectors
from train.evaluation.reconstruction import pixels_of
from train.evaluator import Evaluator, evaluator_input

TASKS = ("single object", "two objects", "counting", "colours", "position", "colour attribution")
UNSEEN_TASKS = ("colours", "position", "colour attribution")
"""Those with combinations that training can leave out."""

NAMES = 80
"""Things that are asked for: as many as the detector of GenEval knows."""
CANDIDATES = 20
"""Names among which a part of a picture has to be nearest to the one that the prompt says."""
MIN_DRAWINGS = 2
WHOLE = 0.75
"""Share of a thing's drawings that must be one connected part: two cherries can't be counted by parts."""
LOOKED_AT = 8

HUES = tuple(paint for paint in PAINTS if paint not in ("black", "white", "gray"))
"""Colours that `dominant_colour` measures."""
PLACES = ("left", "right", "above", "below")
COUNTS = (2, 3, 4, 5)
CLEARANCE = 0.1
"""Distance of centroids, as a share of the picture, from which one thing is left of or above another."""
TRIES = 400
PATIENCE = 60
"""Tries with the things of another prompt, before others are taken."""


@dataclass(frozen=True)
class Composition:
    """What a prompt asks for. `colours`: one a thing, or none; `relation`: of the first thing to the second."""

    task: str
    prompt: str
    names: tuple[str, ...]
    count: int = 1
    colours: tuple[str, ...] = ()
    relation: str = ""
    unseen: bool = False

    @property
    def combinations(self) -> list[tuple[str, ...]]:
        """What training may have left out, as `is_held_out_pair` takes it."""
        found: list[tuple[str, ...]] = list(zip(self.colours, self.names, strict=True)) if self.colours else []
        if self.relation:
            found.append((self.names[0], self.relation, self.names[1]))
        return found


def common_things(store: SpriteStore, composer: SceneComposer, count: int = NAMES) -> dict[str, list[int]]:
    """Names of the most common things -> their training drawings, by falling weight.

    A thing is countable, drawn in one piece, has a drawing that can be recoloured, and shares no word of its name with a
    more common one ("cow" and "cow face" would be two names of a thing). Colours are no part of a name: "red apple" is "apple".
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row in composer.objects:
        name = without_colour(store.records[row].label)
        if name and countable(name):
            rows_of[name].append(row)
    tintable = set(composer.tintable)
    weight = {name: sum(store.records[row].weight for row in rows) for name, rows in rows_of.items()}
    found: dict[str, list[int]] = {}
    words: set[str] = set()
    for name in sorted(rows_of, key=lambda name: (-weight[name], name)):
        if len(found) == count:
            break
        rows = rows_of[name]
        if len(rows) < MIN_DRAWINGS or not tintable & set(rows) or words & set(name.split()):
            continue
        whole = in_one_piece(pixels_of(store, rows[:LOOKED_AT]))
        if sum(whole) >= WHOLE * len(whole):
            found[name] = rows
            words |= set(name.split())
    return found


def _propose(
    task: str, names: Sequence[str], index: int, rng: random.Random, pair: tuple[str, ...] | None = None
) -> Composition:
    """A prompt of things drawn at random; with `pair`, of those and with any relation."""
    first, second = (*pair, *rng.sample(names, 2))[:2] if pair else rng.sample(names, 2)
    one, two = with_article(first), with_article(second)
    if task == "single object":
        return Composition(task, one, (first,))
    if task == "two objects":
        return Composition(task, f"{one} and {two}", (first, second))
    if task == "counting":
        count = COUNTS[index % len(COUNTS)]
        return Composition(task, f"{NUMBERS[count]} {plural(first)}", (first,), count)
    if task == "colours":
        colour = rng.choice(HUES)
        return Composition(task, with_article(f"{colour} {first}", first), (first,), colours=(colour,))
    if task == "position":
        relation = rng.choice(PLACES) if pair else PLACES[index % len(PLACES)]
        return Composition(task, f"{one} {RELATIONS[relation][0]} {two}", (first, second), relation=relation)
    colours = tuple(rng.sample(PAIR_PAINTS, 2))
    said = [with_article(f"{colour} {name}", name) for colour, name in zip(colours, (first, second), strict=True)]
    return Composition(task, " and ".join(said), (first, second), colours=colours)


def drawn_anyway(store: SpriteStore) -> set[str]:
    """Labels of all drawings, and training drawings' own colours with their names: "red apple" is no unseen combination."""
    train = [store.records[row] for row in store.rows("train")]
    coloured = {f"{record.colour} {without_colour(record.label) or record.label}" for record in train if record.colour}
    return {record.label for record in store.records} | coloured


def compositions(
    names: Sequence[str],
    labels: set[str],
    count: int,
    unseen: bool = False,
    seed: int = 0,
    like: Sequence[Composition] = (),
) -> list[Composition]:
    """`count` different prompts a task, fewer where the things do not give as many.

    Args:
        labels: what `drawn_anyway` gives.
        unseen: only prompts with a combination that training never shows, instead of only such without.
        like: prompts whose things are taken first, in the same order, so that the two differ in the combinations alone.
    """
    found: list[Composition] = []
    for task in UNSEEN_TASKS if unseen else TASKS:
        rng = random.Random(f"{seed}/{task}/{'unseen' if unseen else 'seen'}")
        taken: dict[str, Composition] = {}
        pairs = [each.names for each in like if each.task == task]
        wait = 0
        for _ in range(TRIES * count):
            if len(taken) == count:
                break
            pair = pairs[len(taken)] if len(taken) < len(pairs) and wait < PATIENCE else None
            wait += 1
            proposed = _propose(task, names, len(taken), rng, pair)
            held_out = [parts for parts in proposed.combinations if is_held_out_pair(*parts)]
            new = any(" ".join(parts) not in labels for parts in held_out)
            if (new if unseen else not held_out) and proposed.prompt not in taken:
                taken[proposed.prompt] = replace(proposed, unseen=unseen)
                wait = 0
        found += taken.values()
    return found


def called(asked: Composition, things: Sequence[Thing], names: Sequence[str], candidates: int = CANDIDATES) -> list[str]:
    """A name for each thing: the likest of the asked names and of others, drawn by the prompt, `candidates` in all."""
    others = [place for place, name in enumerate(names) if name not in asked.names]
    random.Random(f"names/{asked.prompt}").shuffle(others)
    places = [names.index(name) for name in asked.names] + others
    places = places[:candidates]
    return [names[max(places, key=lambda place: thing.likeness[place])] for thing in things]


def fulfilled(asked: Composition, things: Sequence[Thing], names: Sequence[str]) -> bool:
    """Whether the things of a picture, the largest first, are what was asked for; others beside them do no harm.

    Args:
        names: what the places of `Thing.likeness` stand for.
    """
    of: dict[str, list[Thing]] = {name: [] for name in asked.names}
    for name, thing in zip(called(asked, things, names), things, strict=True):
        if name in of:
            of[name].append(thing)
    if not all(of.values()):
        return False
    if asked.task == "counting":
        return len(of[asked.names[0]]) == asked.count
    largest = [of[name][0] for name in asked.names]
    if asked.colours and any(thing.colour != colour for thing, colour in zip(largest, asked.colours, strict=True)):
        return False
    if asked.relation:
        dx, dy = largest[0].x - largest[1].x, largest[0].y - largest[1].y
        return {"left": -dx, "right": dx, "above": -dy, "below": dy}[asked.relation] >= CLEARANCE
    return True


def score(asked: Sequence[Composition], seen: Sequence[Sequence[Thing]], names: Sequence[str]) -> dict[str, float]:
    """Task -> share of fulfilled prompts, and "mean" over the tasks."""
    verdicts: dict[str, list[bool]] = defaultdict(list)
    for each, things in zip(asked, seen, strict=True):
        verdicts[each.task].append(fulfilled(each, things, names))
    shares = {task: sum(found) / len(found) for task, found in verdicts.items()}
    return shares | {"mean": sum(shares.values()) / len(shares)}


def shuffled_score(asked: Sequence[Composition], seen: Sequence[Sequence[Thing]], names: Sequence[str]) -> dict[str, float]:
    """The same with every picture judged for the prompt after its own."""
    return score([*asked[1:], asked[0]], seen, names)


class EvaluatorNamer:
    """Likeness of things to names, as cosines in the evaluator's space."""

    def __init__(self, evaluator: Evaluator, encoder: TextEncoder, names: Sequence[str]) -> None:
        self.evaluator = evaluator
        with torch.inference_mode():
            self.texts = evaluator.texts(pooled_vectors(encoder, [with_article(name) for name in names]))

    @torch.inference_mode()
    def __call__(self, things: Tensor) -> Tensor:
        return self.evaluator.pictures(evaluator_input(things)) @ self.texts.T


LAYOUTS: dict[int, tuple[tuple[tuple[float, float], ...], float]] = {
    1: (((0.5, 0.5),), 0.9),
    2: (((0.27, 0.5), (0.73, 0.5)), 0.42),
    3: (((0.27, 0.29), (0.73, 0.29), (0.5, 0.72)), 0.4),
    4: (((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)), 0.4),
    5: (((0.22, 0.24), (0.78, 0.24), (0.5, 0.5), (0.22, 0.76), (0.78, 0.76)), 0.28),
}
"""Number of things -> their centres and size, as training scenes have them, far enough apart to be told from each other."""


def held_out_things(store: SpriteStore) -> tuple[dict[str, list[int]], set[int]]:
    """Names -> the drawings outside of training that single things can be taken from, and those that can be recoloured."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    tintable: set[int] = set()
    for split in ("val", "test"):
        composer = SceneComposer(store, split)
        tintable |= set(composer.tintable)
        for row in composer.objects:
            rows_of[without_colour(store.records[row].label) or store.records[row].label].append(row)
    return dict(rows_of), tintable


def true_scene(asked: Composition, pools: Sequence[dict[str, list[int]]], tintable: set[int]) -> Scene:
    """The scene that a prompt asks for: what a perfect model would draw. The same prompt, the same scene.

    Args:
        pools: names -> drawings; each thing comes from the first that has one, of those that can be recoloured where need be.
    """
    rng = random.Random(f"scene/{asked.prompt}")
    names = asked.names * asked.count
    colours = asked.colours or ("",) * len(names)
    centres, size = LAYOUTS[len(names)]
    if asked.relation in ("above", "below"):
        centres = tuple((y, x) for x, y in centres)
    if asked.relation in ("right", "below"):
        centres = centres[::-1]
    rows = {}
    for name, colour in zip(asked.names, asked.colours or ("",) * len(asked.names), strict=True):
        fitting = ([row for row in pool.get(name, ()) if not colour or row in tintable] for pool in pools)
        rows[name] = rng.choice(next(filter(None, fitting)))
    layers = [
        Layer(rows[name], x, y, size, colour=colour) for name, colour, (x, y) in zip(names, colours, centres, strict=True)
    ]
    return Scene(layers, asked.prompt, label={"objects": list(asked.names)})


def training_scenes(composer: SceneComposer, count: int, seed: int = 0) -> list[Scene]:
    """Scenes as training sees them, of all kinds, with their captions."""
    rng = random.Random(f"{seed}/captions")
    return [composer.plan(rng) for _ in range(count)]


def nearest_texts(queries: Tensor, known: Tensor) -> list[int]:
    """Place of the unit vector in `known` (M, D) that is nearest to each of `queries` (N, D)."""
    return (queries @ known.T).argmax(1).tolist()
