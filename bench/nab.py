"""The scoring rules of the Numenta Anomaly Benchmark, vectorised.

The rules (Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly
Benchmark", ICMLA 2015, and the benchmark's public scoring configuration), in our own words:

* The first 15 % of a series, at most 750 records, are probation and not scored.
* A detection inside a labelled window is worth more the earlier it comes:
  ``sigma(-(right - i + 1) / width) / sigma(-1)``, with ``sigma(y) = 2 / (1 + exp(5 y)) - 1``. Only the best
  detection of a window counts; a window without one costs the weight of a missed window.
* A detection outside costs ``sigma(distance past the last window / (width - 1))``: little just after a
  window, the whole weight from three widths on, and before the first window.
* One threshold serves the whole corpus: the one with the highest total. The total is put on a scale where
  0 is a detector that never speaks and 100 one that finds every window at its first record and nothing else.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Profile:
    """What an application gains by a window found, and loses by a false alarm or a window missed."""

    found: float
    false_alarm: float
    missed: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "low FP": Profile(1.0, 0.22, 1.0),
    "low FN": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True)
class Series:
    """One series of the benchmark; windows are pairs of row numbers, both ends included, in order."""

    name: str
    timestamps: NDArray[np.datetime64]
    values: NDArray[np.float64]
    windows: tuple[tuple[int, int], ...]


def sigma(position: ArrayLike) -> NDArray[np.float64]:
    """Worth of a detection by its position: near 1 at -1, the left edge, 0 at the right edge, -1 from 3 on."""
    y = np.asarray(position, dtype=np.float64)
    return np.where(y > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(y, 3.0))) - 1.0)


def probation(n: int) -> int:
    """How many records at the start of a series of n are not scored."""
    return int(min(np.floor(0.15 * n), 0.15 * 5000))


def worths(
    n: int, windows: Iterable[tuple[int, int]], profile: Profile
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """What a detection at each of n records is worth, and the number of the window around it (-1: none)."""
    rows = np.arange(n)
    worth = np.full(n, -profile.false_alarm)
    window_of = np.full(n, -1)
    for number, (left, right) in enumerate(windows):
        width = right - left + 1
        inside = slice(left, right + 1)
        worth[inside] = profile.found * sigma(-(right - rows[inside] + 1) / width) / sigma(-1.0)
        window_of[inside] = number
        past = slice(right + 1, n)
        if width > 1:
            worth[past] = profile.false_alarm * sigma((rows[past] - right) / (width - 1))
        else:
            worth[past] = -profile.false_alarm
    return worth, window_of


def score(detections: Mapping[str, ArrayLike], corpus: Iterable[Series], profile: Profile) -> tuple[float, float]:
    """The benchmark's score of a detector, and the threshold that gives it.

    Parameters
    ----------
    detections : mapping of str to (n,) array
        The anomaly scores of each series of the corpus by its name; high is anomalous, any scale.
    corpus : iterable of Series
    profile : Profile

    Returns
    -------
    score : float
        0 for silence, 100 for perfection; may be negative.
    threshold : float
        A record counts as detected from this anomaly score on; inf where silence is best.
    """
    scores, gains, windows = [], [], 0
    for series in corpus:
        found = np.asarray(detections[series.name], dtype=np.float64)
        n = len(series.values)
        if found.shape != (n,):
            raise ValueError(f"{series.name}: {n} records, but scores of shape {found.shape}")
        if np.isnan(found).any():
            first = int(np.argmax(np.isnan(found)))
            raise ValueError(f"{series.name}: NaN among the scores (record {first})")
        worth, window_of = worths(n, series.windows, profile)
        order = np.argsort(-found[probation(n) :], kind="stable") + probation(n)
        worth, window_of = worth[order], window_of[order]
        # As the threshold falls, records come in this order. Outside the windows each adds its worth; inside,
        # it adds what it improves on the best of its window so far, which starts at the cost of a miss.
        for number in np.unique(window_of[window_of >= 0]):
            members = np.flatnonzero(window_of == number)
            best = np.maximum.accumulate(np.concatenate([[-profile.missed], worth[members]]))
            worth[members] = np.diff(best)
            windows += 1
        scores.append(found[order])
        gains.append(worth)
    all_scores, all_gains = np.concatenate(scores), np.concatenate(gains)
    order = np.argsort(-all_scores, kind="stable")
    all_scores, totals = all_scores[order], np.cumsum(all_gains[order])
    # a threshold takes in all records of equal score
    complete = np.append(all_scores[1:] != all_scores[:-1], True)
    all_scores, totals = all_scores[complete], totals[complete]
    best_at = int(np.argmax(totals))
    gain, threshold = (totals[best_at], all_scores[best_at]) if totals[best_at] > 0.0 else (0.0, np.inf)
    return float(100.0 * gain / (windows * (profile.found + profile.missed))), float(threshold)


def load(folder: Path) -> list[Series]:
    """The series under ``folder/data`` with the windows of ``folder/labels/combined_windows.json``."""
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    corpus = []
    for name in sorted(labels):
        table = pd.read_csv(folder / "data" / name, parse_dates=["timestamp"])
        stamps = list(enumerate(table["timestamp"]))
        rows = {stamp: row for row, stamp in reversed(stamps)}  # the first of equal stamps
        windows = tuple(tuple(rows[pd.Timestamp(edge)] for edge in window) for window in labels[name])
        values = table["value"].to_numpy(dtype=np.float64)
        corpus.append(Series(name, table["timestamp"].to_numpy(), values, windows))
    return corpus
