"""The forest with the interface of PySAD: `fit_partial` and `score_partial` take arrays.

PySAD is optional. If it is installed, :class:`RandomCutForest` is a subclass of its models and works with its transformers,
metrics and ensembles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array

from .._core import LIMIT
from .._validate import as_record
from ..estimator import RandomCutForest as _Forest

if TYPE_CHECKING:

    class _BaseModel: ...

else:
    try:
        from pysad.core.base_model import BaseModel as _BaseModel
    except ImportError:
        _BaseModel = object


class RandomCutForest(_BaseModel):
    """A random cut forest that learns and scores a stream.

    Every method continues the stream of the previous call; as in all PySAD models, this includes `fit`. Labels are ignored.
    A batch is learned at native speed and gives the same result as its records one by one.

    Parameters
    ----------
    n_estimators, max_samples, method, time_decay, random_state
        As in :class:`rcf.RandomCutForest`.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf.adapters.pysad import RandomCutForest
    >>> X = np.r_[np.random.default_rng(0).normal(size=(500, 3)), [[8.0, 8.0, 8.0]]]
    >>> scores = RandomCutForest(random_state=0).fit_score(X)
    >>> int(scores.argmax())
    500
    """

    def __init__(
        self,
        n_estimators: int = 100,
        max_samples: int = 256,
        method: str = "depth",
        time_decay: float | None = None,
        random_state: int | None = None,
    ) -> None:
        self._warm_up = max_samples
        self._forest = _Forest(
            n_estimators,
            max_samples,
            method=method,  # type: ignore[arg-type]
            time_decay=time_decay,
            random_state=random_state,
        )

    def fit_partial(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn a record of shape (d,)."""
        return self.fit(self._row(X))

    def score_partial(self, X: ArrayLike) -> float:
        """The anomaly score of a record of shape (d,), 0 before the first record is learned. The forest does not change."""
        return float(self.score(self._row(X))[0])

    def fit_score_partial(self, X: ArrayLike, y: Any = None) -> float:
        """Score a record of shape (d,), then learn it. Returns the score."""
        return float(self.fit_score(self._row(X))[0])

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn the rows in order."""
        self._forest.partial_fit(X)
        return self

    def score(self, X: ArrayLike) -> NDArray[np.float64]:
        """The scores of the rows. The forest does not change."""
        return self._forest.anomaly_score(X) if self._n_seen else np.zeros(len(np.asarray(X)))

    def fit_score(self, X: ArrayLike, y: Any = None) -> NDArray[np.float64]:
        """Score each row, then learn it. Returns the scores."""
        rows: NDArray[np.float64] = check_array(X, dtype=np.float64)
        if (np.abs(rows) > LIMIT).any():  # checked before any row is learned
            raise ValueError(f"X has a number beyond +-{LIMIT}")
        scores = np.zeros(len(rows))
        # `update` returns 0 until the sample is full, whereas `score_partial` scores with the records learned so far
        warm_up = max(0, min(self._warm_up - self._n_seen, len(rows)))
        for i in range(warm_up):
            scores[i] = self.score(rows[i : i + 1])[0]
            self.fit(rows[i : i + 1])
        if warm_up < len(rows):
            scores[warm_up:] = self._forest.update_many(rows[warm_up:])
        return scores

    @property
    def _n_seen(self) -> int:
        return self._forest.n_seen_ if hasattr(self._forest, "n_features_in_") else 0

    def _row(self, X: ArrayLike) -> NDArray[np.float64]:
        return as_record(X, getattr(self._forest, "n_features_in_", None), type(self).__name__).reshape(1, -1)
