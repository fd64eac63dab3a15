"""The forest as a detector for Apache Beam's ``apache_beam.ml.anomaly``. It scores and learns record by record for each key."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..estimator import RandomCutForest as _Forest

try:
    from apache_beam.ml.anomaly.base import AnomalyDetector
    from apache_beam.ml.anomaly.specifiable import specifiable
except ImportError as error:
    raise ImportError(f'rcf.adapters.beam needs apache-beam ({error}): pip install "rcf[beam]"') from error


@specifiable
class RandomCutForest(AnomalyDetector):  # type: ignore[misc]
    """A random cut forest for ``AnomalyDetection``, Beam's transform of keyed rows.

    The features are the fields of the row, in their order, or those of Beam's argument `features`. A row with a missing
    value (None or NaN) has no score and is not learned.

    Parameters
    ----------
    n_estimators, max_samples, method, time_decay, random_state
        As in :class:`rcf.RandomCutForest`. `random_state` is 0 by default, so that a bundle that Beam repeats gives
        the same scores.
    **kwargs
        Arguments of ``AnomalyDetector``: `model_id`, `features`, `target`, `threshold_criterion`.

    Notes
    -----
    Beam requests the score before the record is learned. There is no score until the trees are full, after `max_samples`
    records. Beam writes the whole detector of a key after each record. This takes about a millisecond, which is most of
    the time, so choose few trees.

    Examples
    --------
    ::

        detector = RandomCutForest(30, 128, threshold_criterion=QuantileThreshold(0.999))
        rows | AnomalyDetection(detector)     # (key, beam.Row) in, (key, AnomalyResult) out
    """

    def __init__(
        self,
        n_estimators: int = 50,
        max_samples: int = 256,
        method: str = "depth",
        time_decay: float | None = None,
        random_state: int | None = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._forest = _Forest(
            n_estimators,
            max_samples,
            method=method,  # type: ignore[arg-type]
            time_decay=time_decay,
            random_state=random_state,
        )

    def learn_one(self, x: Any) -> None:
        """Learn a ``beam.Row`` of numbers."""
        record = _record(x)
        if record is not None:
            self._forest.partial_fit(record)

    def score_one(self, x: Any) -> float | None:
        """The anomaly score of a ``beam.Row``, at least 0; None until the trees are full, and for a row with a missing value."""
        record, forest = _record(x), self._forest
        if record is None or not hasattr(forest, "n_features_in_") or forest.n_seen_ < forest.max_samples_:
            return None
        return float(forest.anomaly_score(record)[0])


def _record(x: Any) -> NDArray[np.float64] | None:
    values = list(x)
    if any(value is None or (isinstance(value, float) and math.isnan(value)) for value in values):
        return None
    return np.array([values], dtype=np.float64)
