"""Complete windows from their nearest neighbours in the trees, after shifting these to the present level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._core import Forest
from .trend import trend

Floats = NDArray[np.float64]


class Analogues:
    """The windows that the trees of a forest hold. The object is valid until the forest learns another record.

    Each tree returns the window of its sample that is nearest in the known places (sum of absolute differences). In a series that
    has risen, older windows are lower, so the nearest one might have the right height but come from another time of the season.
    Therefore each window is first shifted by the :func:`trend` since it was learned. Then each feature of the returned window is
    shifted by the median of the remaining differences in the known records. The median is used because a single spike in the window
    is not a change of level.

    Parameters
    ----------
    forest : Forest
    d : int
        Number of features of a record; a window is several records side by side.
    """

    def __init__(self, forest: Forest, d: int) -> None:
        trees = forest.reading(lambda: [_held(forest, i) for i in range(forest.n_trees)])
        most = max(len(masses) for _, masses, _ in trees)
        self.points = np.zeros((len(trees), most, forest.n_features))
        self.masses = np.zeros((len(trees), most), dtype=np.int32)
        times = np.zeros((len(trees), most), dtype=np.int64)
        for i, (points, masses, arrivals) in enumerate(trees):
            here = slice(len(masses))
            self.points[i, here], self.masses[i, here], times[i, here] = points, masses, arrivals
        held = self.masses > 0
        when, first = np.unique(times[held], return_index=True)
        self.drift = np.tile(trend(self.points[held][first], when, d), forest.n_features // d)
        if self.drift.any():
            self.points += (forest.n_seen - times)[:, :, None] * self.drift
        self.origin, self.d = forest.origin_, d

    def __len__(self) -> int:
        """Number of trees."""
        return len(self.points)

    def found(self, windows: Floats, missing: list[int], ahead: int = 1) -> Floats:
        """The values that each tree finds for the missing places of its window, shape (trees, len(missing)).

        `windows` has the shape (trees, size * d). Their last records come `ahead` records after the last record learned.
        """
        size, level = windows.shape[1], self.origin + ahead * self.drift
        known = [place for place in range(size) if place not in missing]
        if not known:
            held = [points[masses > 0] for points, masses in zip(self.points, self.masses, strict=True)]
            return np.array([np.median(points, axis=0) for points in held])[:, missing] + level[missing]
        windows = windows - level
        off = np.abs(self.points[:, :, known] - windows[:, None, known]).sum(axis=2)
        off[self.masses == 0] = np.inf
        # of equally near points, take the one with most records
        nearest = np.where(off == off.min(axis=1, keepdims=True), self.masses, -1).argmax(axis=1)
        points = self.points[np.arange(len(self)), nearest]
        gaps = windows - points
        out = np.empty((len(self), len(missing)))
        for k, place in enumerate(missing):
            same = [other for other in known if other % self.d == place % self.d]
            out[:, k] = points[:, place] + level[place]
            if same:
                out[:, k] += np.median(gaps[:, same], axis=1)
        return out


def _held(forest: Forest, i: int) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """The points of a tree, the number of records that each represents, and the time of its last record."""
    tree = forest.tree(i)
    points, masses = tree["points"].copy(), tree["leaves"]["mass"].copy()
    arrivals = np.zeros(len(masses), dtype=np.int64)
    np.maximum.at(arrivals, tree["slots"]["leaf"], tree["slots"]["arrival"])
    return points, masses, arrivals
