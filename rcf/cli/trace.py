"""Select the rows of a long series that a plot shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Trace:
    """Selects rows of a long series for a plot.

    The series is divided into `bins` stretches of equal length. Of each stretch, the rows with the lowest and the highest value and
    score are kept, and one flagged row if there is any. So the number of rows kept does not grow with the series.
    """

    def __init__(self, bins: int = 1000) -> None:
        self.bins = bins
        self._parts: list[NDArray[np.void]] = []
        self._size = 0

    def add(
        self, rows: NDArray[np.int64], times: Floats, values: Floats, scores: Floats, flags: NDArray[np.bool_]
    ) -> None:
        width = values.shape[1]
        kind = [("row", "i8"), ("time", "f8"), ("value", "f8", (width,)), ("score", "f8"), ("flag", "?")]
        part = np.empty(len(rows), dtype=kind)
        part["row"], part["time"], part["value"], part["score"], part["flag"] = rows, times, values, scores, flags
        self._parts.append(part)
        self._size += len(part)
        if self._size > 4 * self.bins * (width + 2):  # twice as many as _thin() keeps
            self._thin()

    def _thin(self) -> None:
        kept = np.concatenate(self._parts)
        which = (kept["row"] - kept["row"][0]) * self.bins // (kept["row"][-1] - kept["row"][0] + 1)
        picks = []
        for column in [*kept["value"].T, kept["score"], kept["flag"].astype(np.float64)]:
            order = np.lexsort((np.nan_to_num(column, nan=-np.inf), which))
            edges = np.flatnonzero(np.diff(which[order])) + 1
            picks += [order[np.r_[0, edges]], order[np.r_[edges - 1, len(order) - 1]]]
        kept = kept[np.unique(np.concatenate(picks))]
        self._parts, self._size = [kept], len(kept)

    def rows(self) -> NDArray[np.void]:
        """A structured array: row, time, value ``(d,)``, score, flag."""
        self._thin()
        return self._parts[0]
