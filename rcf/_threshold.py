"""The threshold of `RandomCutForest.predict`: `offset_` for each method, and the rows from which it is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from ._core import LIMIT, Forest

Contamination = float | Literal["auto"]
Score = Callable[[Any, str], NDArray[np.float64]]  # (rows, method) -> the score of each row

# The threshold is computed from the scores of this many rows: 2048 rows give mean + 3 sd within a few percent and take
# milliseconds for any n.
ROWS = 2048


class Threshold(NamedTuple):
    """The offsets of a forest after `n_seen` records.

    `offsets` holds the offset of each method for which it was read. Right after `fit` with `contamination="auto"`, the entry of
    the method of `fit` holds the rows from which the offset will be computed, so that callers who only score do not pay for it.
    """

    n_seen: int
    contamination: Contamination
    fitted: bool  # True after `fit`, whose contamination stays valid; on a stream the current parameter is used
    offsets: dict[str, float | NDArray[np.float64]]

    @classmethod
    def of_table(
        cls, X: Any, seed: list[int], forest: Forest, method: str, contamination: Contamination, score: Score
    ) -> Self:
        """The threshold of a forest that was fitted to the table X, which may be sparse."""
        offset: float | NDArray[np.float64]
        if contamination != "auto":
            offset = _offset(score(X, method), forest, method, contamination)
        else:
            n = X.shape[0]
            rows = np.arange(n) if n <= ROWS else np.sort(np.random.default_rng(seed).choice(n, ROWS, replace=False))
            offset = X[rows].toarray() if issparse(X) else X[rows]
        return cls(forest.n_seen, contamination, True, {method: offset})

    def valid(self, n_seen: int, contamination: Contamination) -> bool:
        """Whether the offsets are those of the forest after `n_seen` records, with this value of the parameter."""
        return self.n_seen == n_seen and (self.fitted or self.contamination == contamination)

    def offset(self, method: str, forest: Forest, score: Score) -> float:
        """The offset of the method, which is computed once."""
        offset = self.offsets.get(method)
        if not isinstance(offset, float):
            rows = held_records(forest, ROWS) if offset is None else offset
            offset = self.offsets[method] = _offset(score(rows, method), forest, method, self.contamination)
        return offset


def _offset(scores: NDArray[np.float64], forest: Forest, method: str, contamination: Contamination) -> float:
    if contamination != "auto":
        return float(np.percentile(-scores, 100.0 * contamination))
    # With few rows, mean + 3 sd may exceed every possible score, and nothing would ever be an outlier.
    mean, highest = scores.mean(), max(highest_score(forest, method), scores.max())
    return -float(min(mean + 3.0 * scores.std(), 0.5 * (mean + highest)))


def highest_score(forest: Forest, method: str) -> float:
    """The highest possible score: that of a record far from all records in the trees."""
    held = np.concatenate([forest.points(i) for i in range(forest.n_trees)])
    low, high = held.min(axis=0), held.max(axis=0)
    extent = (high - low).sum()
    far = high + 1e6 * (extent if extent > 0 else max(1.0, np.abs(high).max()))
    return float(forest.score(np.minimum(far, LIMIT)[None], method, 1)[0])


def held_records(forest: Forest, at_most: int) -> NDArray[np.float64]:
    """At most that many distinct records of the trees, evenly spaced in sorted order."""
    points = np.unique(np.concatenate([forest.points(i) for i in range(forest.n_trees)]), axis=0)
    return points[np.linspace(0, len(points) - 1, min(at_most, len(points))).astype(np.int64)]
