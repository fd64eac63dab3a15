"""The forest in the terms of river: `learn_one` and `score_one` on dicts.

river need not be installed; where it is, :class:`RandomCutForest` is one of its anomaly detectors.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..estimator import RandomCutForest as _Forest

if TYPE_CHECKING:

    class _AnomalyDetector: ...

else:
    try:
        from river.base import AnomalyDetector as _AnomalyDetector
    except ImportError:
        _AnomalyDetector = object


class RandomCutForest(_AnomalyDetector):
    """A random cut forest that learns and scores records given as dicts of numbers.

    Features are told apart by name, in any order. The first record learned says which there are: what others have besides
    is left out, and what they lack, or have as NaN, is filled with the value that the feature had last. Scale features
    before, with river's `StandardScaler` for instance, if their units mean nothing.

    Parameters
    ----------
    n_estimators, max_samples, method, time_decay
        As in :class:`rcf.RandomCutForest`.
    seed : int, default=None
        The same seed and stream give the same scores.

    Examples
    --------
    >>> import random
    >>> from rcf.adapters.river import RandomCutForest
    >>> noise = random.Random(0)
    >>> forest = RandomCutForest(n_estimators=50, max_samples=64, seed=1)
    >>> for _ in range(500):
    ...     forest.learn_one({"x": noise.gauss(0, 1), "y": noise.gauss(0, 1)})
    >>> forest.score_one({"y": 9.0, "x": 9.0}) > 3 * forest.score_one({"x": 0.0, "y": 0.0})
    True
    """

    def __init__(
        self,
        n_estimators: int = 100,
        max_samples: int = 256,
        method: str = "depth",
        time_decay: float | None = None,
        seed: int | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.method = method
        self.time_decay = time_decay
        self.seed = seed
        self._last: dict[Hashable, float] = {}
        self._forest = _Forest(
            n_estimators,
            max_samples,
            method=method,  # type: ignore[arg-type]
            time_decay=time_decay,
            random_state=seed,
        )

    def _record(self, x: Mapping[Hashable, Any]) -> NDArray[np.float64]:
        values = []
        for name, last in self._last.items():
            value = x.get(name, math.nan)
            values.append(last if value != value else value)
        return np.array(values, dtype=np.float64)

    def learn_one(self, x: Mapping[Hashable, Any]) -> None:
        """Learn a record.

        Raises
        ------
        ValueError
            If a value is not a finite number; nothing is learned then.
        """
        if not self._last:
            first = {name: x[name] for name in sorted(x, key=repr)}
            if not first:  # nothing to go by yet
                return
            bad = {name: value for name, value in first.items() if not math.isfinite(value)}
            if bad:
                raise ValueError(f"the first record must have a finite number for each feature, got {bad}")
            record = np.array(list(first.values()), dtype=np.float64)
            self._forest.partial_fit(record.reshape(1, -1))
            self._last = dict(zip(first, record.tolist(), strict=True))
            return
        record = self._record(x)
        self._forest.partial_fit(record.reshape(1, -1))
        self._last = dict(zip(self._last, record.tolist(), strict=True))

    def score_one(self, x: Mapping[Hashable, Any]) -> float:
        """How anomalous a record is, at least 0; 0 before anything is learned. Learns nothing."""
        if not self._last:
            return 0.0
        return float(self._forest.anomaly_score(self._record(x).reshape(1, -1))[0])
