"""R-precision: does a picture fit its own text better than 99 others? (Xu et al. 2018, arXiv:1711.10485, section 4.1)"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from train.data import Drawing
from train.data.captions import SYNONYMS

CANDIDATES = 100


def other_texts(
    truth: Drawing, known: Sequence[Drawing], candidates: int = CANDIDATES, hard: bool = True, seed: int = 0
) -> list[int]:
    """Places in `known`, one drawing a label, of candidates - 1 wrong labels for a drawing.

    Those of its category first where `hard`, the rest at random. A label that people use for the same thing is never wrong.
    """
    same = {truth.label, *SYNONYMS.get(truth.label, ())}
    order = list(range(len(known)))
    random.Random(f"{seed}/{truth.set}/{truth.name}").shuffle(order)
    if hard:
        order.sort(key=lambda place: known[place].group != truth.group)  # stable: random within either part
    wrong = [place for place in order if known[place].label not in same and truth.label not in SYNONYMS.get(known[place].label, ())]
    return wrong[: candidates - 1]


def ranks(pictures: Tensor, own: Tensor, texts: Tensor, others: Sequence[Sequence[int]]) -> list[int]:
    """Rank of each picture's own text, from 1; a tie counts against it, and so does what is no number.

    Args:
        pictures: (N, D) unit vectors.
        own: (N, D), the text of each picture.
        texts: (M, D), the texts that `others` names, a list for each picture.
    """
    right = (pictures * own).sum(1)
    found = []
    for row, places in enumerate(others):
        wrong = texts[torch.tensor(places)] @ pictures[row]
        found.append(1 + int((~(wrong < right[row])).sum()))
    return found


def r_precision(found: Sequence[int]) -> float:
    """Share of first ranks."""
    return sum(rank == 1 for rank in found) / len(found)
