"""The scoring rules of the Numenta Anomaly Benchmark, vectorised.

These are the rules (Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly
Benchmark", ICMLA 2015, and the benchmark's public scoring configuration):

* The first 15 % of a series, at most 750 records, are not scored (probation).
* The earlier a detection is inside a labelled window, the higher is its value:
  ``sigma(-(right - i + 1) / width) / sigma(-1)``, with ``sigma(y) = 2 / (1 + exp(5 y)) - 1``. Only the best
  detection of a window counts; a window without one costs the weight of a missed window.
* A detection outside a window costs ``sigma(distance past the last window / (width - 1))``. The cost is small just after a
  window. It is the full weight from three widths after a window on, and before the first window.
* One threshold is used for the whole corpus: the one with the highest total. The total is scaled so that a detector without
  detections has 0, and a detector that finds exactly the first record of every window has 100.
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
    """The gain of an application for a window found, and its costs of a false alarm and of a window missed."""

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
    """The value of a detection by its position: near 1 at the left edge (-1), 0 at the right edge, and -1 from 3 on."""
    y = np.asarray(position, dtype=np.float64)
    return np.where(y > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(y, 3.0))) - 1.0)


def probation(n: int) -> int:
    """The number of records at the start of a series of n that are not scored."""
    return int(min(np.floor(0.15 * n), 0.15 * 5000))


def worths(
    n: int, windows: Iterable[tuple[int, int]], profile: Profile
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The value of a detection at each of n records, and the number of the window that contains it (-1: none)."""
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


@dataclass(frozen=True)
class Curve:
    """The gain of a detector on one series for each threshold; no detection gains 0.

    `scores` is descending. If the threshold falls to ``scores[i]``, the gain grows by `steps[i]`.
    """

    scores: NDArray[np.float64]
    steps: NDArray[np.float64]
    windows: int

    def gain(self, threshold: float) -> float:
        """The gain at one threshold. Records with this score count as detected."""
        return float(self.steps[self.scores >= threshold].sum())


def curve(found: ArrayLike, series: Series, profile: Profile) -> Curve:
    """The gains of one series by threshold, from the anomaly score (n,) of each of its records; high is anomalous."""
    scores = np.asarray(found, dtype=np.float64)
    n = len(series.values)
    if scores.shape != (n,):
        raise ValueError(f"{series.name}: {n} records, but scores of shape {scores.shape}")
    if np.isnan(scores).any():
        first = int(np.argmax(np.isnan(scores)))
        raise ValueError(f"{series.name}: NaN among the scores (record {first})")
    worth, window_of = worths(n, series.windows, profile)
    order = np.argsort(-scores[probation(n) :], kind="stable") + probation(n)
    worth, window_of = worth[order], window_of[order]
    # As the threshold falls, records are detected in this order. A record outside the windows adds its value. A record
    # inside a window adds its improvement over the best record of the window so far. The first one is compared with a miss.
    numbers = np.unique(window_of[window_of >= 0])
    for number in numbers:
        members = np.flatnonzero(window_of == number)
        best = np.maximum.accumulate(np.concatenate([[-profile.missed], worth[members]]))
        worth[members] = np.diff(best)
    return Curve(scores[order], worth, len(numbers))


def best(curves: Iterable[Curve]) -> tuple[float, float]:
    """The highest total gain of all series at one threshold, and that threshold; (0, inf) if it is best to detect nothing."""
    parts = list(curves)
    scores, steps = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "steps"))
    order = np.argsort(-scores, kind="stable")
    scores, totals = scores[order], np.cumsum(steps[order])
    # a threshold detects all records of equal score
    complete = np.append(scores[1:] != scores[:-1], True)
    scores, totals = scores[complete], totals[complete]
    at = int(np.argmax(totals))
    return (float(totals[at]), float(scores[at])) if totals[at] > 0.0 else (0.0, np.inf)


def scaled(gain: float, curves: Iterable[Curve], profile: Profile) -> float:
    """A gain on the scale of the benchmark: 0 without detections, 100 if exactly the first record of every window is detected.

    NaN without windows.
    """
    windows = sum(part.windows for part in curves)
    return 100.0 * gain / (windows * (profile.found + profile.missed)) if windows else float("nan")


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
        0 without detections, 100 for a perfect detector; may be negative.
    threshold : float
        The lowest anomaly score that counts as a detection; inf if it is best to detect nothing.
    """
    curves = [curve(detections[series.name], series, profile) for series in corpus]
    gain, threshold = best(curves)
    return scaled(gain, curves, profile), threshold


def breakdown(detections: Mapping[str, ArrayLike], corpus: Iterable[Series], profile: Profile) -> dict[str, float]:
    """Scores with other thresholds, and the scores of the categories.

    Returns
    -------
    dict of str to float
        "leave one out": each category is scored with the best threshold of the other categories. "oracle": each series is
        scored with its own best threshold, so that only the ranking within a series counts. The other entries are the scores of
        the categories, by name, at the common threshold. A category without windows has only false alarms; they are given on the
        scale of the whole corpus.
    """
    series = list(corpus)
    curves = {s.name: curve(detections[s.name], s, profile) for s in series}
    every = list(curves.values())
    by_category: dict[str, list[Curve]] = {}
    for name, part in curves.items():
        by_category.setdefault(name.split("/")[0], []).append(part)
    _, threshold = best(every)
    left_out = 0.0
    parts = {}
    for category, own in by_category.items():
        others = [part for other, rest in by_category.items() if other != category for part in rest]
        _, chosen = best(others) if others else best(own)
        left_out += sum(part.gain(chosen) for part in own)
        gain = sum(part.gain(threshold) for part in own)
        parts[category] = scaled(gain, own if any(part.windows for part in own) else every, profile)
    oracle = sum(best([part])[0] for part in every)
    return {"leave one out": scaled(left_out, every, profile), "oracle": scaled(oracle, every, profile), **parts}


def load(folder: Path) -> list[Series]:
    """The series under ``folder/data`` with the windows of ``folder/labels/combined_windows.json``."""
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    corpus = []
    for name in sorted(labels):
        table = pd.read_csv(folder / "data" / name, parse_dates=["timestamp"])
        stamps = list(enumerate(table["timestamp"]))
        rows = {stamp: row for row, stamp in reversed(stamps)}  # the first of equal time stamps
        windows = tuple(tuple(rows[pd.Timestamp(edge)] for edge in window) for window in labels[name])
        values = table["value"].to_numpy(dtype=np.float64)
        corpus.append(Series(name, table["timestamp"].to_numpy(), values, windows))
    return corpus
