"""The trees of a detector: those that watch the window, and those that watch the newest record alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import Forest

Floats = NDArray[np.float64]


class Ensemble:
    """Two forests that score as one: the mean over all trees.

    `point` is None where there is one view alone.
    """

    __slots__ = ("kind", "point", "share", "warm", "warm_up", "whole")

    def __init__(self, whole: Forest, point: Forest | None, kind: str) -> None:
        self.whole, self.point, self.kind = whole, point, kind
        self.warm_up, self.warm = whole.capacity, whole.n_seen > whole.capacity
        self.share = 0.0 if point is None else point.n_trees / (point.n_trees + whole.n_trees)

    @classmethod
    def planted(
        cls, trees: int, samples: int, size: int, d: int, decay: float, kind: str, low_memory: bool, seed: list[int]
    ) -> Ensemble:
        # half of the trees for each view; one view needs no halves
        alone = trees // 2 if size > 1 else 0
        point = Forest(alone, samples, d, decay, [*seed, 1], low_memory) if alone else None
        return cls(Forest(trees - alone, samples, d * size, decay, [*seed, 0], low_memory), point, kind)

    def learn(self, record: Floats, window: Floats | None) -> tuple[float, float]:
        """Score and learn: the mean over all trees, and that of the trees that watch the record alone.

        The mean is 0 without a window, where that is not full yet, and until `warm_up` windows have been learned.
        """
        point = 0.0 if self.point is None else self.point.update_record(record, self.kind)
        if window is None:
            return 0.0, point
        return self._joined(self.whole.update_record(window, self.kind), point)

    def look(self, record: Floats, window: Floats | None) -> tuple[float, float]:
        """Score alone."""
        point = 0.0 if self.point is None else self._score(self.point, record)
        return (0.0, point) if window is None else self._joined(self._score(self.whole, window), point)

    def _joined(self, whole: float, point: float) -> tuple[float, float]:
        if self.point is None:
            return whole, whole
        if not self.warm:
            self.warm = self.whole.n_seen > self.warm_up
            if not self.warm:
                return 0.0, point
        return self.share * point + (1.0 - self.share) * whole, point

    def _score(self, forest: Forest, row: Floats) -> float:
        return float(forest.score(row.reshape(1, -1), self.kind)[0]) if forest.n_seen > self.warm_up else 0.0

    def learn_many(self, records: Floats, windows: Floats) -> tuple[Floats, Floats]:
        """`learn` of rows in turn."""
        cold = max(0, self.warm_up - self.whole.n_seen)
        whole: Floats = self.whole.update(windows, None, self.kind)
        if self.point is None:
            return whole, whole
        points: Floats = self.point.update(records, None, self.kind)
        scores = self.share * points + (1.0 - self.share) * whole
        scores[:cold] = 0.0  # the point's trees are ahead: they need no full window
        return scores, points

    def follow(self, windows: Floats) -> None:
        """Learn rows in turn and score none, in a third of the time."""
        self.whole.update(windows, None, None)
        if self.point is not None:
            self.point.update(windows[:, -self.point.n_features :], None, None)

    def copy(self) -> Ensemble:
        return Ensemble(self.whole.copy(), None if self.point is None else self.point.copy(), self.kind)

    def state(self) -> dict[str, Any]:
        return {"forest": self.whole.state(), "point": None if self.point is None else self.point.state()}

    @classmethod
    def from_state(
        cls,
        state: dict[str, Any],
        trees: int,
        samples: int,
        size: int,
        d: int,
        decay: float,
        kind: str,
        low_memory: bool,
    ) -> Ensemble:
        """The trees of a state, which must be those that `planted` makes."""
        point = None if state["point"] is None else Forest.from_state(state["point"], low_memory)
        self = cls(Forest.from_state(state["forest"], low_memory), point, kind)
        alone = trees // 2 if size > 1 else 0
        for found, many, width in ((self.whole, trees - alone, d * size), (point, alone, d)):
            shape = None if found is None else (found.n_trees, found.capacity, found.n_features, found.time_decay)
            if shape != ((many, samples, width, decay) if many else None):
                raise ValueError("the forests are not those of the parameters")
        return self
