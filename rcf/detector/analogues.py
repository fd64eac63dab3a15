"""What windows like this one held where something is missing: nearest neighbours, moved to the level of now."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._core import Forest
from .trend import trend

Floats = NDArray[np.float64]


class Analogues:
    """The windows that the trees of a forest hold, to be asked as long as it learns nothing.

    Each tree answers with its window that is nearest in what is known (the sum of absolute differences). On a trend all that the
    trees hold lies in the past, and lower by what it rose since; so each window is first moved by the :func:`trend` since it
    came, else the nearest would be one of the same height in another place of the season. Of each feature, the answer is moved
    by the median difference that is left of the known records from that window's. A median, for a spike in the window is no level.

    Parameters
    ----------
    forest : Forest
    d : int
        Features of a record; a window is some records side by side.
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
        """Trees."""
        return len(self.points)

    def found(self, windows: Floats, missing: list[int], ahead: int = 1) -> Floats:
        """(trees, len(missing)): what each tree finds in the missing places of its window (trees, size * d).

        The last record of the windows is the one `ahead` records after the last learned.
        """
        size, level = windows.shape[1], self.origin + ahead * self.drift
        known = [place for place in range(size) if place not in missing]
        if not known:
            held = [points[masses > 0] for points, masses in zip(self.points, self.masses, strict=True)]
            return np.array([np.median(points, axis=0) for points in held])[:, missing] + level[missing]
        windows = windows - level
        off = np.abs(self.points[:, :, known] - windows[:, None, known]).sum(axis=2)
        off[self.masses == 0] = np.inf
        # of equally near ones the heaviest
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
    """Points of a tree, how many records each stands for, and when the last of them came."""
    tree = forest.tree(i)
    points, masses = tree["points"].copy(), tree["leaves"]["mass"].copy()
    arrivals = np.zeros(len(masses), dtype=np.int64)
    np.maximum.at(arrivals, tree["slots"]["leaf"], tree["slots"]["arrival"])
    return points, masses, arrivals
