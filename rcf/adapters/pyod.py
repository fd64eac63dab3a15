"""The forest as a PyOD detector. The PyOD adapters of sktime, aeon and darts accept it too.

Give those adapters this class, not :class:`rcf.RandomCutForest`. The adapter of sktime treats both labels of scikit-learn, 1 and
-1, as anomalies, so it would flag every record without an error. In sktime 1.2, ``PyODDetector.predict`` returns a 1 for
each anomaly instead of its position. Take the labels from ``PyODDetector(...).fit(X).estimator_.predict(X)`` instead.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from ..estimator import RandomCutForest as _Forest

try:
    from pyod.models.base import BaseDetector
except ImportError as error:
    raise ImportError(f'rcf.adapters.pyod needs pyod ({error}): pip install "rcf[pyod]"') from error


class RandomCutForest(BaseDetector):  # type: ignore[misc]
    """A random cut forest with PyOD's methods: high scores and the label 1 are anomalies.

    Parameters
    ----------
    n_estimators, max_samples, method, time_decay, n_jobs, low_memory, random_state
        As in :class:`rcf.RandomCutForest`.
    contamination : float, default=0.1
        The share of training rows to flag as outliers. With PyOD's default, one row in ten is flagged in any data, so
        pass the share that you expect, or a thresholder of the package pythresh.

    Attributes
    ----------
    decision_scores_ : ndarray of shape (n,)
        The scores of the training rows.
    threshold_ : float
    labels_ : ndarray of shape (n,)
        1 for the training rows with a score above `threshold_`, else 0.
    detector_ : rcf.RandomCutForest

    Examples
    --------
    >>> import numpy as np
    >>> from rcf.adapters.pyod import RandomCutForest
    >>> X = np.r_[np.random.default_rng(0).normal(size=(500, 2)), [[6.0, 6.0]]]
    >>> detector = RandomCutForest(contamination=0.002, random_state=0).fit(X)
    >>> detector.labels_.nonzero()[0].tolist()
    [500]
    >>> detector.predict([[0.0, 0.0], [9.0, 9.0]])
    array([0, 1])
    """

    def __init__(
        self,
        n_estimators: int = 100,
        max_samples: int | float | Literal["auto", "disjoint"] = "auto",
        contamination: Any = 0.1,
        *,
        method: str = "depth",
        time_decay: float | None = None,
        n_jobs: int | None = None,
        low_memory: bool = False,
        random_state: Any = None,
    ) -> None:
        super().__init__(contamination=contamination)
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.method = method
        self.time_decay = time_decay
        self.n_jobs = n_jobs
        self.low_memory = low_memory
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Grow the forest, score the training rows and set the threshold; `y` is ignored.

        Raises
        ------
        ValueError
            If the data are empty, or a value is not a finite number. The message names the position.
        """
        forest = _Forest(
            self.n_estimators,
            self.max_samples,
            method=self.method,  # type: ignore[arg-type]
            time_decay=self.time_decay,
            n_jobs=self.n_jobs,
            low_memory=self.low_memory,
            random_state=self.random_state,
        ).fit(X)
        scores = forest.anomaly_score(X)
        self._set_n_classes(y)
        self.detector_, self.decision_scores_ = forest, scores
        self._process_decision_scores()
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """The scores of rows, as ``rcf.RandomCutForest.anomaly_score`` returns them. The forest does not change."""
        check_is_fitted(self, ["decision_scores_", "threshold_", "labels_"])
        scores: NDArray[np.float64] = self.detector_.anomaly_score(X)
        return scores
