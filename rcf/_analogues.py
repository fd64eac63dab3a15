"""What windows like this one held where something is missing: nearest neighbours, moved to the level of now."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._core import Forest

Floats = NDArray[np.float64]


class Analogues:
    """The windows that the trees of a forest hold, to be asked as long as it learns nothing.

    Each tree answers with its window that is nearest in what is known (the sum of absolute differences). Of each feature, the
    answer is moved by the median difference of the known records from that window's: on a trend all that the trees hold lies
    in the past, and lower by what it rose since. A median, for a spike in the window is no level.

    Parameters
    ----------
    forest : Forest
    d : int
        Features of a record; a window is some records side by side.
    """

    def __init__(self, forest: Forest, d: int) -> None:
        trees = forest.reading(lambda: [_held(forest, i) for i in range(forest.n_trees)])
        most = max(len(masses) for _, masses in trees)
        self.points = np.zeros((len(trees), most, forest.n_features))
        self.masses = np.zeros((len(trees), most), dtype=np.int32)
        for i, (points, masses) in enumerate(trees):
            self.points[i, : len(masses)], self.masses[i, : len(masses)] = points, masses
        self.origin, self.d = forest.origin_, d

    def __len__(self) -> int:
        """Trees."""
        return len(self.points)

    def found(self, windows: Floats, missing: list[int]) -> Floats:
        """(trees, len(missing)): what each tree finds in the missing places of its window (trees, size * d)."""
        size = windows.shape[1]
        known = [place for place in range(size) if place not in missing]
        if not known:
            held = [points[masses > 0] for points, masses in zip(self.points, self.masses, strict=True)]
            return np.array([np.median(points, axis=0) for points in held])[:, missing] + self.origin[missing]
        windows = windows - self.origin
        off = np.abs(self.points[:, :, known] - windows[:, None, known]).sum(axis=2)
        off[self.masses == 0] = np.inf
        # of equally near ones the heaviest
        nearest = np.where(off == off.min(axis=1, keepdims=True), self.masses, -1).argmax(axis=1)
        points = self.points[np.arange(len(self)), nearest]
        gaps = windows - points
        out = np.empty((len(self), len(missing)))
        for k, place in enumerate(missing):
            same = [other for other in known if other % self.d == place % self.d]
            out[:, k] = points[:, place] + self.origin[place]
            if same:
                out[:, k] += np.median(gaps[:, same], axis=1)
        return out


def _held(forest: Forest, i: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    tree = forest.tree(i)
    return tree["points"].copy(), tree["leaves"]["mass"].copy()
