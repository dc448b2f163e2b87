"""What was drawn, as it was measured: all that the rows of the table are put together from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from train.evaluation.components import Thing
from train.evaluation.looking import Look

Walk = dict[str, Any]
"""A path as `paths.steps_of` measures it, and as "fade" the cross-fade of the same ends."""


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
class Scenes:
    """What scenes of drawings show: floor and ceiling of the compositions.

    Attributes:
        true, nearest: for all compositions.
        pasted, composed: for the unseen ones, through the autoencoder.
        sharp: `pasted` as it is.
    """

    true: Drawn
    nearest: Drawn
    pasted: Drawn
    composed: Drawn
    sharp: Drawn


@dataclass
class Measured:
    """Everything.

    Attributes:
        again, blurred: [PSNR, edge F-score], means over the held-out drawings: of the reconstructions, and of blurred originals.
        drawings: looks at the held-out drawings ("held-out"), the same "blurred" and as "jpeg", and at "training" drawings of the
            same things.
        scenes: None where no composition is asked for.
        columns: the model at each setting, and the baseline last if there is one.
        main: the column of the default settings.
        baseline: as in the last column, or None.
        walks: paths with each pacing, and the "baseline".
        column_walks: paths in even pacing, of the columns that have any.
    """

    again: list[float]
    blurred: list[float]
    drawings: dict[str, Look]
    scenes: Scenes | None
    columns: dict[str, Drawn]
    main: Drawn
    baseline: Drawn | None
    walks: dict[str, list[Walk]]
    column_walks: dict[str, list[Walk]]
