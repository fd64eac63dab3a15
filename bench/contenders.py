"""Detectors with default settings, each run on a whole stream: rcf and its four peers in `python -m bench alarms`.

Each takes a stream and a seed and returns its evidence (n,), at least 0 and high for anomalies. rcf also returns its
alarms. No detector knows the labels or the length of the stream. The scale of the data is estimated from the records that are
not evaluated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rcf import StreamDetector

from .corpora import Stream
from .peers import PEERS

Floats = NDArray[np.float64]
SHINGLE, TREES, SAMPLES = 8, 50, 256  # sizes of the peers' forests: the defaults of rcf
WINDOW = 100  # number of records from which the moving mean and standard deviation are computed
REFIT, KEPT = 1000, 2560  # records between two fits of the isolation forest, and the records that it is fitted to


@dataclass(frozen=True)
class Verdict:
    """The output of a detector for each record of a stream."""

    evidence: Floats  # (n,), alarms are computed from it
    score: Floats  # (n,), records are ranked by it
    alarms: NDArray[np.bool_] | None = None  # (n,), its own alarms; None if it has no threshold
    refused: bool = False  # whether it refused the time stamps and ran without them


def stream_detector(stream: Stream, seed: int) -> Verdict:
    """rcf with its defaults, and with time stamps if the corpus has them."""
    x = stream.values[:, 0] if stream.values.shape[1] == 1 else stream.values
    refused = False
    try:
        found = StreamDetector(random_state=seed).update_many(x, stream.timestamps)
    except ValueError:  # the clock was set back, so an hour occurs twice
        refused = True
        found = StreamDetector(random_state=seed).update_many(x)
    return Verdict(found.likelihood, found.score, found.is_anomaly, refused)


def scaled(stream: Stream) -> Floats:
    """The values, standardised per feature by the records that are not evaluated."""
    head = stream.values[: max(stream.first, 2)]
    spread = head.std(axis=0)
    return (stream.values - head.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def windows(X: Floats, shingle: int) -> Floats:
    """The windows of `shingle` records that end at each record, (n, shingle * d). The first record is repeated at the start."""
    padded = np.concatenate([np.repeat(X[:1], shingle - 1, axis=0), X])
    views = np.lib.stride_tricks.sliding_window_view(padded, shingle, axis=0)
    return np.ascontiguousarray(views.transpose(0, 2, 1).reshape(len(X), -1))


def moving_z(stream: Stream, seed: int) -> Verdict:
    """The z-score relative to the last records; the largest over the features."""
    past = pd.DataFrame(stream.values).shift(1).rolling(WINDOW, min_periods=WINDOW // 4)
    spread = past.std(ddof=0).to_numpy()
    distance = np.abs(stream.values - past.mean().to_numpy())
    # rolling sums leave rounding errors where the series is constant
    floor = 1e-9 * (1.0 + np.abs(stream.values))
    z = np.where(np.isnan(spread) | (distance <= floor), 0.0, distance / np.maximum(spread, floor)).max(axis=1)
    return Verdict(z, z)


def isolation_forest(stream: Stream, seed: int) -> Verdict:
    """scikit-learn's forest on windows, refitted to the last ones; each record is scored before it is used in a fit."""
    X = windows(scaled(stream), SHINGLE)
    scores = np.zeros(len(X))
    begins = [64, 128, 256, 512, *range(REFIT, len(X), REFIT)]
    for begin, end in zip(begins, [*begins[1:], len(X)], strict=True):
        rows = X[max(0, begin - KEPT) : min(begin, len(X))]
        if begin >= len(X):
            break
        model = PEERS["IsolationForest"](TREES, min(SAMPLES, len(rows)), X.shape[1], 0.0, seed + 1)
        model.fit(rows)  # type: ignore[attr-defined]
        scores[begin:end] = model.score(X[begin:end])  # type: ignore[attr-defined]
    return Verdict(scores, scores)


def streamed(peer: str, shingle: int) -> Callable[[Stream, int], Verdict]:
    """A forest that learns each record after it has scored it."""

    def run(stream: Stream, seed: int) -> Verdict:
        X = windows(scaled(stream), shingle)
        model = PEERS[peer](TREES, SAMPLES, X.shape[1], 0.1 / SAMPLES, seed + 1)
        scores = np.maximum(model.update_one(model.prepare(X)), 0.0)  # type: ignore[attr-defined]
        scores[:SAMPLES] = 0.0  # until the trees are full
        return Verdict(scores, scores)

    return run


OURS = "rcf"
CONTENDERS: dict[str, Callable[[Stream, int], Verdict]] = {
    OURS: stream_detector,
    "moving z-score": moving_z,
    "IsolationForest": isolation_forest,
    "krcf": streamed("krcf", SHINGLE),
    "river HST": streamed("river HST", 1),
}


def present() -> dict[str, Callable[[Stream, int], Verdict]]:
    """The detectors whose package is installed."""
    return {name: run for name, run in CONTENDERS.items() if name not in PEERS or PEERS[name].version() is not None}
