"""Why a record stands out and what was expected, found in the forests."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._core import Forest
from ._transform import Step

Floats = NDArray[np.float64]


class Moment:
    """A record as it came, and the way back to its units from what the forest saw."""

    __slots__ = ("base", "centre", "raw", "scale")

    def __init__(self, raw: list[float], base: list[float], centre: list[float], scale: list[float]) -> None:
        self.raw, self.base, self.centre, self.scale = raw, base, centre, scale

    def restored(self, values: dict[int, float]) -> dict[int, float]:
        """Transformed values of some features in the user's units."""
        return {j: z * self.scale[j] + self.centre[j] + self.base[j] for j, z in values.items()}


def completed(forest: Forest, window: Floats, missing: list[int], held: bool) -> Floats:
    """(k, len(missing)): what stands in the places that are missing, in the points that fit the others best."""
    if len(missing) == len(window):  # nothing is known: what the forest holds
        return np.concatenate([forest.points(i)[:, missing] for i in range(forest.n_trees)])
    found = forest.complete(window, missing, held)
    return found if len(found) else window[missing].reshape(1, -1)


def band(found: Floats) -> Floats:
    """(3, d): median, 10 and 90 % points of what the trees found.

    Trees find the same point again and again; for the tails each counts once, at the place ``k / (n + 1)`` that an order
    statistic of n holds on average.
    """
    rows = [np.median(found, axis=0)]
    columns = [np.quantile(np.unique(column), [0.1, 0.9], method="weibull") for column in found.T]
    rows.extend(np.array(columns).T)
    return np.array([rows[0], np.minimum(rows[1], rows[0]), np.maximum(rows[2], rows[0])])


class Explanation(NamedTuple):
    """Attribution (size, d, 2), the lag of its largest part, and the expected and actual record at that lag."""

    attribution: Floats
    lag: int
    expected: Floats
    past: Floats


def explain(
    forest: Forest, point: Forest | None, window: Floats, moments: list[Step], score: str, total: float, share: float
) -> Explanation:
    """Explain the score of a window.

    The forests have just learned the window; both walks look past their only copy of it, and the parts are scaled to the
    score that
    it had before.
    """
    size, d = len(moments), len(moments[0][0])
    parts = (1.0 - share) * forest.attribution(window.reshape(1, -1), score).reshape(size, d, 2)
    if point is not None:
        parts[-1] += share * point.attribution(window[-d:].reshape(1, -1), score)[0]
    whole = parts.sum()
    if whole > 0.0:
        parts *= total / whole
    lag = size - 1 - int(parts.sum(axis=(1, 2)).argmax())
    place, moment = (size - 1 - lag) * d, Moment(*moments[size - 1 - lag])
    found = np.median(completed(forest, window, list(range(place, place + d)), True), axis=0)
    expected = moment.restored(dict(enumerate(found.tolist())))
    return Explanation(parts, lag, np.array(list(expected.values())), np.array(moment.raw))


class Replay:
    """Explains, when first asked, the called records of a run that the forests have learned since.

    Most runs are looked at for their scores alone. To learn the run again, without scores, takes a third of what it took, and an
    explanation as long as a hundred records; so the forests are kept as they were before, until then.
    """

    def __init__(
        self, forest: Forest, point: Forest | None, windows: Floats, moments: Callable[[int], list[Step]],
        called: list[int], totals: list[float], score: str, share: float,
    ) -> None:  # fmt: skip
        self.forest, self.point, self.windows, self.moments = forest, point, windows, moments
        self.called, self.totals, self.score, self.share = called, totals, score, share

    def explanations(self) -> dict[int, Explanation]:
        """Of all the called ones, by their place in the run; the forests are then used up."""
        found, done = {}, 0
        for i, total in zip(self.called, self.totals, strict=True):
            moments = self.moments(i)
            d = len(moments[0][0])
            self.forest.update(self.windows[done : i + 1], None, None)
            if self.point is not None:
                self.point.update(self.windows[done : i + 1, -d:], None, None)
            done = i + 1
            window = np.ascontiguousarray(self.windows[i])
            found[i] = explain(self.forest, self.point, window, moments, self.score, total, self.share)
        return found
