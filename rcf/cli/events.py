"""What is kept of a long run of scores: the strongest events, a running threshold, a thinned picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(slots=True)
class Event:
    """A window that no overlapping window outscores."""

    score: float
    row: int  # the window's last, from 0
    attribution: FloatArray | None = None  # (size, d, 2)
    flagged: bool = False


class Events:
    """The `top` strongest windows of a stream that do not overlap, each standing for those around it.

    Windows end at successive rows and are `size` rows long. A window starts an event, a stronger one that overlaps
    it takes the event over, weaker ones that overlap it belong to it.
    """

    def __init__(self, size: int, top: int) -> None:
        self.size = size
        self.top = top
        self._closed: list[Event] = []
        self._open: Event | None = None

    def add(self, first_row: int, scores: FloatArray) -> list[Event]:
        """Take in the scores of the next rows; returns those new events that are among the strongest so far."""
        fresh: list[Event] = []
        event = self._open
        for row, score in enumerate(scores.tolist(), first_row):
            if not score > 0.0:
                continue
            if event is not None and row - event.row < self.size:
                if score <= event.score:
                    continue
            elif event is not None:
                self._closed.append(event)
            event = Event(score, row)
            fresh.append(event)
        self._open = event
        self._closed = self._strongest(self._closed)
        kept = {id(one) for one in self.strongest()}
        return [one for one in fresh if id(one) in kept]

    def strongest(self) -> list[Event]:
        """At most `top` events, the strongest first."""
        return self._strongest([*self._closed, *([self._open] if self._open else [])])

    def _strongest(self, events: list[Event]) -> list[Event]:
        return sorted(events, key=lambda event: -event.score)[: self.top]


class ThreeSigma:
    """Flag what scores above the mean plus `sigmas` standard deviations of all scores before it.

    Nothing is flagged before `patience` scores have been seen. Running sums, so flags do not depend on how the stream is cut.
    """

    def __init__(self, patience: int, sigmas: float = 3.0) -> None:
        self.patience = patience
        self.sigmas = sigmas
        self.threshold = math.inf
        self._sums = np.zeros(2)
        self._n = 0

    def flag(self, scores: FloatArray) -> NDArray[np.bool_]:
        """Which of the next scores are anomalous; shape ``(len(scores),)``."""
        if not len(scores):
            return np.zeros(0, dtype=np.bool_)
        # sums before each score, and after the last
        sums = np.cumsum(np.vstack([self._sums, np.stack([scores, scores * scores], axis=1)]), axis=0)
        n = self._n + np.arange(len(scores) + 1)
        mean, square = sums.T / np.maximum(n, 1)
        thresholds = mean + self.sigmas * np.sqrt(np.maximum(square - mean * mean, 0.0))
        thresholds[n < self.patience] = np.inf
        self._sums, self._n, self.threshold = sums[-1], int(n[-1]), float(thresholds[-1])
        flags: NDArray[np.bool_] = scores > thresholds[:-1]
        return flags


class Trace:
    """Rows of a long series for a picture: of each of `bins` stretches the extremes of value and score.

    Never holds more than a few rows for each bin, however long the series.
    """

    def __init__(self, bins: int = 1000) -> None:
        self.bins = bins
        self._parts: list[NDArray[np.void]] = []
        self._size = 0

    def add(self, rows: NDArray[np.int64], times: FloatArray, values: FloatArray, scores: FloatArray,
            flags: NDArray[np.bool_]) -> None:  # fmt: skip
        width = values.shape[1]
        kind = [("row", "i8"), ("time", "f8"), ("value", "f8", (width,)), ("score", "f8"), ("flag", "?")]
        part = np.empty(len(rows), dtype=kind)
        part["row"], part["time"], part["value"], part["score"], part["flag"] = rows, times, values, scores, flags
        self._parts.append(part)
        self._size += len(part)
        if self._size > 4 * self.bins * (width + 1):  # twice what thinning leaves
            self._thin()

    def _thin(self) -> None:
        kept = np.concatenate(self._parts)
        which = (kept["row"] - kept["row"][0]) * self.bins // (kept["row"][-1] - kept["row"][0] + 1)
        picks = []
        for column in [*kept["value"].T, np.nan_to_num(kept["score"], nan=-np.inf)]:
            order = np.lexsort((column, which))
            edges = np.flatnonzero(np.diff(which[order])) + 1
            picks += [order[np.r_[0, edges]], order[np.r_[edges - 1, len(order) - 1]]]
        kept = kept[np.unique(np.concatenate(picks))]
        self._parts, self._size = [kept], len(kept)

    def rows(self) -> NDArray[np.void]:
        """A structured array: row, time, value ``(d,)``, score, flag."""
        self._thin()
        return self._parts[0]
