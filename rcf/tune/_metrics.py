"""Metrics that evaluate a choice of parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

Metric = Callable[[NDArray[np.int64], NDArray[np.float64]], float]


def event_recall(y: ArrayLike, scores: ArrayLike, rate: float = 0.001) -> float:
    """The share of events that are found at a given rate of false alarms.

    An event is a run of labels that are not 0. The threshold is the lowest one that at most the share `rate` of the records
    outside events exceed. An event is found if the score of one of its records exceeds the threshold.

    Parameters
    ----------
    y, scores : array-like of shape (n,)
        Labels and scores.
    rate : float, default=0.001
        The rate of false alarms.

    Examples
    --------
    >>> event_recall([0, 0, 1, 1, 0, 0, 1, 0], [0.1, 0.2, 0.1, 0.9, 0.3, 0.1, 0.2, 0.1])
    0.5
    """
    labels, values = np.asarray(y) != 0, np.asarray(scores, dtype=np.float64)
    outside = np.sort(values[~labels])[::-1]
    allowed = int(rate * len(outside))
    threshold = outside[allowed] if allowed < len(outside) else -np.inf
    starts = np.flatnonzero(np.diff(np.concatenate([[False], labels]).astype(np.int8)) == 1)
    event = np.cumsum(np.isin(np.arange(len(labels)), starts))[labels & (values > threshold)]
    return len(np.unique(event)) / max(1, len(starts))


METRICS: dict[str, Metric] = {
    "average_precision": average_precision_score,
    "roc_auc": roc_auc_score,
    "event_recall": event_recall,
}
