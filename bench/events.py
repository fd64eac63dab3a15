"""Evaluates alarms by events: an event is a run of labelled records, and one alarm finds it.

* An alarm within an event, or at most `GRACE` records after its end, is right; every other alarm is false.
* An event counts once, even if several alarms find it. Precision is the number of events found, divided by itself plus the
  number of false alarms. Recall is the number of events found divided by the number of events.
* A record is an alarm only if its evidence exceeds the evidence of the last `HOLD` records (:func:`peaks`), so a lasting
  incident is one alarm. The rule is the same for every detector.
* One threshold serves all series of a corpus.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

GRACE, HOLD = 10, 30
Floats = NDArray[np.float64]


def peaks(evidence: ArrayLike, hold: int = HOLD) -> Floats:
    """The evidence (n,), at least 0, if it exceeds each of the `hold` values before it, otherwise 0."""
    e = np.asarray(evidence, dtype=np.float64)
    before = np.concatenate([np.zeros(hold), e[:-1]])
    highest = np.lib.stride_tricks.sliding_window_view(before, hold).max(axis=1)
    return np.where(e > highest, e, 0.0)


@dataclass(frozen=True)
class Findings:
    """The alarms at every possible threshold."""

    events: Floats  # the highest evidence of each event and the records of grace after it
    others: Floats  # the positive evidence of records outside events
    alarms: Floats  # the positive evidence of all records
    judged: int  # records

    def at(self, threshold: float) -> dict[str, float]:
        """F1, precision, recall and alarms per 1000 records, if evidence of at least `threshold` is an alarm."""
        found, false = int((self.events >= threshold).sum()), int((self.others >= threshold).sum())
        return {
            "F1": 2 * found / (found + false + len(self.events)),
            "precision": found / (found + false) if found + false else float("nan"),
            "recall": found / len(self.events) if len(self.events) else float("nan"),
            "alarms in 1000": 1000 * int((self.alarms >= threshold).sum()) / self.judged,
        }

    def over_thresholds(self) -> dict[str, float]:
        """The average precision (the area below precision as a step function of recall), and the best F1 of any threshold."""
        values = np.concatenate([self.events, self.others])
        right = np.concatenate([np.ones(len(self.events)), np.zeros(len(self.others))])
        kept = values > 0  # an event without any evidence is never found
        order = np.argsort(-values[kept], kind="stable")
        values, right = values[kept][order], right[kept][order]
        last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.array([], dtype=int)
        found = np.cumsum(right)[last]
        called = last + 1
        gained = np.diff(found, prepend=0.0) / len(self.events)
        best = (2 * found / (called + len(self.events))).max(initial=0.0)
        return {"event AP": float((gained * found / called).sum()), "best F1": float(best)}


def findings(series: Iterable[tuple[ArrayLike, ArrayLike, int]]) -> Findings:
    """The alarms of several series, each given as labels (n,), evidence (n,) and the first record that is evaluated."""
    events, others, alarms, judged = [], [], [], 0
    for labels, evidence, first in series:
        label, e = np.asarray(labels, dtype=bool)[first:], np.asarray(evidence, dtype=np.float64)[first:]
        if label.shape != e.shape or np.isnan(e).any() or (e < 0).any():
            raise ValueError(
                f"evidence must have shape {label.shape} and be at least 0, without NaN; got shape {e.shape}"
            )
        edges = np.diff(np.concatenate([[False], label, [False]]).astype(int))
        outside = np.ones(len(e), dtype=bool)
        for begin, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            events.append(e[begin : end + GRACE].max())
            outside[begin : end + GRACE] = False
        others.append(e[outside & (e > 0)])
        alarms.append(e[e > 0])
        judged += len(e)
    return Findings(np.array(events), np.concatenate(others), np.concatenate(alarms), judged)
