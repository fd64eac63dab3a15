"""Explain records with the forests: why a record stands out, and what was expected."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .ensemble import Ensemble
from .window import Step

Floats = NDArray[np.float64]


class Moment:
    """A record as it came, and how to convert the forest's numbers back to its units."""

    __slots__ = ("base", "centre", "raw", "scale")

    def __init__(self, raw: list[float], base: list[float], centre: list[float], scale: list[float]) -> None:
        self.raw, self.base, self.centre, self.scale = raw, base, centre, scale

    def restored(self, values: dict[int, float]) -> dict[int, float]:
        """Convert transformed values of some features to the units of the data."""
        return {j: z * self.scale[j] + self.centre[j] + self.base[j] for j, z in values.items()}


class Explanation(NamedTuple):
    """The attribution (size, d, 2), the lag of the explained record, the expected record, and the record that came."""

    attribution: Floats
    lag: int
    expected: Floats
    past: Floats


def explain(
    trees: Ensemble, record: Floats, window: Floats, moments: list[Step], total: float, newest: bool
) -> Explanation:
    """Explain the score of a record that the trees have just learned.

    Parameters
    ----------
    record, window : (3 d,) and (size * d,) arrays
        The input of the trees of each view.
    moments : list of Step
        The transformation back to the units of the data, for each record of the window.
    total : float
        The score.
    newest : bool
        Whether to give the expected value of the newest record, or that of the record with the largest part of the score.
    """
    size, d = len(moments), len(moments[0][0])
    parts = trees.attribution(record, window, total)
    lag = 0 if newest else size - 1 - int(parts.sum(axis=(1, 2)).argmax())
    moment, place = Moment(*moments[size - 1 - lag]), (size - 1 - lag) * d
    found = np.median(_alternatives(trees, window, list(range(place, place + d))), axis=0)
    expected = moment.restored(dict(enumerate(found.tolist())))
    return Explanation(parts, lag, np.array(list(expected.values())), np.array(moment.raw))


def _alternatives(trees: Ensemble, window: Floats, missing: list[int]) -> Floats:
    """The values in the missing places of the k points that fit the other places of the window best, shape (k, len(missing))."""
    forest = trees.whole or trees.point
    assert forest is not None
    if trees.whole is None or len(missing) == len(window):
        # no place is known, so all records of the forest fit equally well
        return np.concatenate([forest.points(i)[:, missing] for i in range(forest.n_trees)])
    found = forest.complete(window, missing, True)
    return found if len(found) else window[missing].reshape(1, -1)
