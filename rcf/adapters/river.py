"""The forest with the interface of river: `learn_one` and `score_one` take dicts.

river is optional. If it is installed, :class:`RandomCutForest` is a subclass of its anomaly detectors.
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

    Features are identified by name, in any order. The first learned record determines the features. Additional features of later
    records are ignored. A feature that is missing or NaN takes its last value. If the units of features are arbitrary, scale
    them first, for example with river's `StandardScaler`.

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
            If a value is not a finite number. The record is then not learned.
        """
        if not self._last:
            first = {name: x[name] for name in sorted(x, key=repr)}
            if not first:  # no features are known yet
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
        """The anomaly score of a record, at least 0; 0 before the first record is learned. The forest does not change."""
        if not self._last:
            return 0.0
        return float(self._forest.anomaly_score(self._record(x).reshape(1, -1))[0])
