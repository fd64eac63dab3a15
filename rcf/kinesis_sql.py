"""The functions RANDOM_CUT_FOREST and HOTSPOTS of Amazon Kinesis Data Analytics for SQL, on NumPy arrays.

`rcf.sql` offers them for Arrow streams and `rcf.spark` for Spark SQL. Amazon ended the service in January 2026.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ._core import LIMIT
from ._validate import whole_number
from .estimator import RandomCutForest
from .explanation import explanation_json
from .hotspots import HotSpots
from .hotspots.radius import Metric
from .hotspots.window import check_places

Floats = NDArray[np.float64]


class RandomCutForestFunction:
    """RANDOM_CUT_FOREST and RANDOM_CUT_FOREST_WITH_EXPLANATION for one stream of records.

    Parameters
    ----------
    columns : sequence of str
        Names of the columns of a record, which the explanation and errors use.
    number_of_trees : int, default=100
        Number of trees.
    sub_sample_size : int, default=256
        Number of records, or windows, that each tree holds. The score is 0 until the trees are full.
    time_decay : int, default=100000
        Number of records, or windows, after which the weight of a record has fallen to 1/e. It must exceed
        `sub_sample_size`.
    shingle_size : int, default=1
        Number of records in a window. The score is 0 until the first window is full.
    seed : int, default=0
        The same seed gives the same scores. The service did not promise this.

    Notes
    -----
    The defaults are those of the service. The service accepted at most 1000 trees, samples of 10 to 1000 records, windows of
    at most 30 records, and at most 30 columns. Here memory is the only limit. With the defaults, the scores agree with
    recorded output of the service: the correlation is at least 0.97 on each of 21 series.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf.kinesis_sql import RandomCutForestFunction
    >>> values = np.random.default_rng(0).normal(size=(1000, 1))
    >>> values[900] = 9
    >>> int(RandomCutForestFunction(["load"]).scores(values).argmax())
    900
    """

    def __init__(
        self,
        columns: Sequence[str],
        *,
        number_of_trees: int = 100,
        sub_sample_size: int = 256,
        time_decay: int = 100_000,
        shingle_size: int = 1,
        seed: int = 0,
    ) -> None:
        self.columns = list(columns)
        if not self.columns:
            raise ValueError("RANDOM_CUT_FOREST needs at least one numeric column")
        trees = whole_number("number_of_trees", number_of_trees, 1, 2**31 - 1)
        samples = whole_number("sub_sample_size", sub_sample_size, 1, 2**30 - 1)
        decay = whole_number("time_decay", time_decay, 1, 2**31 - 1)
        if decay <= samples:
            raise ValueError(f"time_decay must be greater than sub_sample_size, {samples}, got {decay}")
        self._size = whole_number("shingle_size", shingle_size, 1, 2**20)
        seed = whole_number("seed", seed, 0, 2**32 - 1)
        self._forest = RandomCutForest(trees, samples, time_decay=1.0 / decay, random_state=seed)
        self._samples = samples
        self._seen = 0
        self._last = np.empty((0, len(self.columns)))  # records that belong to the next window

    def scores(self, X: Floats) -> Floats:
        """Score the next records of the stream, (n, d), and learn each after it is scored. Returns ANOMALY_SCORE.

        Raises
        ------
        ValueError
            If a number is NaN, infinite or beyond float32. The message names row and column, and no record is
            learned.
        """
        scores = np.zeros(len(X))
        windows = self._windows(X)
        if len(windows):
            scores[len(X) - len(windows) :] = self._forest.update_many(windows)
        return scores

    def explained(self, X: Floats, directionality: bool) -> tuple[Floats, list[str]]:
        """Like :meth:`scores`, but also returns ANOMALY_EXPLANATION, written by :func:`rcf.explanation.explanation_json`.

        This takes about ten times as long per record as :meth:`scores`.
        """
        scores = np.zeros(len(X))
        windows = self._windows(X)
        nothing = np.zeros((len(self.columns), 2))
        texts = [explanation_json(nothing, self.columns, directionality=directionality)] * len(X)
        first = len(X) - len(windows)
        shape = (self._size, len(self.columns), 2)
        for i, window in enumerate(windows):
            known = hasattr(self._forest, "n_features_in_") and self._forest.n_seen_ >= self._samples
            if known:
                parts = self._forest.attribution(window[np.newaxis]).reshape(shape)
                texts[first + i] = explanation_json(parts, self.columns, directionality=directionality)
            scores[first + i] = self._forest.update(window)
        return scores, texts

    def _windows(self, X: Floats) -> Floats:
        """The windows that end with these records, (m, size * d), the oldest record first."""
        check_numbers(X, self.columns, self._seen, " of its stream")
        self._seen += len(X)
        if self._size == 1:
            return np.ascontiguousarray(X)
        joined = np.concatenate([self._last, X])
        d = joined.shape[1]
        self._last = joined[max(0, len(joined) - self._size + 1) :].copy()
        if len(joined) < self._size:
            return np.empty((0, self._size * d))
        flat = np.lib.stride_tricks.sliding_window_view(joined.reshape(-1), self._size * d)[::d]
        return np.ascontiguousarray(flat)


class HotspotsFunction:
    """HOTSPOTS for one stream of records.

    Parameters
    ----------
    columns : sequence of str
        Names of the columns of a record, which error messages use.
    window_size : int
        Number of records in the window.
    scan_radius : float
        Distance within which records are neighbours.
    minimum_number_of_points : int
        Number of neighbours, including itself, that make a record part of a hot spot. The service calls it
        minimumNumberOfPointsInAHotspot.
    metric : {"euclidean", "haversine"}, default="euclidean"
        As in :class:`rcf.HotSpots`. The service had only Euclidean distances.

    See Also
    --------
    rcf.HotSpots : The class that finds the regions.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf.kinesis_sql import HotspotsFunction
    >>> spots = HotspotsFunction(["x", "y"], window_size=100, scan_radius=1, minimum_number_of_points=2)
    >>> spots.results(np.array([[0.0, 2.0], [0.5, 2.5]]))[1]
    '{"hotspots":[{"density":8.0,"minValues":[0.0,2.0],"maxValues":[0.5,2.5]}]}'
    """

    def __init__(
        self,
        columns: Sequence[str],
        *,
        window_size: int,
        scan_radius: float,
        minimum_number_of_points: int,
        metric: Metric = "euclidean",
    ) -> None:
        self.columns = list(columns)
        if not self.columns:
            raise ValueError("HOTSPOTS needs at least one numeric column")
        if metric == "haversine" and len(self.columns) != 2:
            raise ValueError(f"metric 'haversine' takes 2 columns, latitude and longitude, got {len(self.columns)}")
        self._spots = HotSpots(window_size, scan_radius, minimum_number_of_points, metric=metric)
        self._spots._check_settings()
        self._seen = 0

    def results(self, X: Floats) -> list[str]:
        """Add the next records, (n, d). Returns HOTSPOTS_RESULT after each of them.

        Raises
        ------
        ValueError
            If a number is NaN, infinite or beyond float32, or if a latitude or longitude is out of range. The message names the
            row, and no record is added.
        """
        check_numbers(X, self.columns, self._seen, " of its stream")
        if self._spots.metric == "haversine":
            check_places(np.ascontiguousarray(X), range(self._seen, self._seen + len(X)))
        self._seen += len(X)
        texts = []
        for record in X:
            self._spots.update(record)
            texts.append(self._spots.kinesis_json())
        return texts


def check_numbers(X: Floats, columns: Sequence[str], first: int = 0, where: str = "") -> None:
    """Raise a ValueError that names row and column of the first number that is NULL (NaN), infinite or beyond float32."""
    bad = ~(np.abs(X) <= LIMIT)
    if bad.any():
        row, j = map(int, np.argwhere(bad)[0])
        value = X[row, j]
        what = "NULL or NaN" if np.isnan(value) else f"{value}, infinite or beyond float32"
        raise ValueError(f"row {first + row}{where}, column {columns[j]!r}: {what}")
