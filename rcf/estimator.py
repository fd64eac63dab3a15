"""RandomCutForest: the forest as a scikit-learn estimator, with further methods for streams."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, OutlierMixin, _fit_context
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ._core import LIMIT, Forest
from ._html import NotebookView, table
from ._pool import thread_count
from ._threshold import Threshold, highest_score
from ._validate import (
    as_record,
    blocks,
    check_cells,
    check_columns,
    check_settled,
    check_weights,
    imputed,
    many_for_one,
    names_of,
    not_negative,
    seed_entropy,
    unchanged_on_error,
    whole_number,
)
from .explanation import explanation_json
from .persist import Savable
from .trees import Trees

if TYPE_CHECKING:
    from .walk import Visitor

Method = Literal["depth", "codisp", "displacement", "opensearch", "path"]
_METHODS = {"depth", "codisp", "displacement", "opensearch", "path"}
_FLOAT64 = np.dtype(np.float64)
# Parameters in which merged forests must agree, and their names in the core.
_MERGED_ALIKE = {
    "n_features": "n_features",
    "n_estimators": "n_trees",
    "max_samples": "capacity",
    "time_decay": "time_decay",
}
# Parameters that cannot change once the forest is grown.
_SETTLED = ("n_estimators", "max_samples", "time_decay", "low_memory", "random_state")
_FITTED = ("n_features_in_", "feature_names_in_", "max_samples_", "time_decay_", "_given_offset")
# `fit` converts at most this many cells (256 MB) of a sparse table to a dense one. From a larger table it draws rows at random. The
# trees hold at most n_estimators * max_samples rows in any case.
_DENSE = 1 << 25


class Neighbors(NamedTuple):
    """The result of :meth:`RandomCutForest.neighbors`, nearest record first.

    Examples
    --------
    >>> from rcf import RandomCutForest
    >>> forest = RandomCutForest(random_state=0).fit([[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]])
    >>> forest.neighbors([0.9, 1.0]).points[0]
    array([1., 1.])
    """

    distances: NDArray[np.float64]
    points: NDArray[np.float64]
    trees: NDArray[np.int64]


class RandomCutForest(Savable, NotebookView, OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """A random cut forest: anomaly scores for tables and streams.

    Each tree cuts its sample of the data at random until every distinct record is alone. A feature is chosen with probability
    proportional to its extent, and the cut is uniform within that extent. A record that a cut separates early is anomalous.
    Trees can learn and forget single records. At any time they have the same distribution as trees built from scratch on
    the records that they hold. A score is an expectation over the random cut that would insert the record; computing it does
    not change the forest.

    Use it as an estimator instead of :class:`sklearn.ensemble.IsolationForest` (`fit`, then `predict`), or on a stream
    (`update` for each record).

    Parameters
    ----------
    n_estimators : int, default=100
        Number of trees. The error of a score falls with the square root of this number; time and memory are proportional to it.
    max_samples : int, float, "auto" or "disjoint", default=256
        Number of records that each tree holds. A float is a share of the rows given to `fit`, and "auto" is 256. "disjoint"
        gives tree `i` the rows ``[i * k, (i + 1) * k)`` with ``k = len(X) // n_estimators``, as SageMaker does. Larger samples
        show finer structure, but make small clusters of anomalies look normal.
    method : {"depth", "codisp", "displacement", "opensearch", "path"}, default="depth"
        The kind of score.

        - "depth": the score of Kinesis and SageMaker, from 0 to about ``log2(max_samples)``, near 1 for normal records.
        - "path": the score of IsolationForest on random cut trees, ``2 ** -(mean path length / c(n))``, where ``c(n)`` is the
          mean path length of a tree of `n` records. It lies between 0 and 1, near 0.5 for normal records. It needs no bounding
          boxes, so it is the fastest method, but it has no attribution.
        - "codisp": the collusive displacement of Guha et al. (2016), as in the package rrcf.
        - "displacement": the displacement of Guha et al. (2016). It is exactly 0 for a record that every tree holds, so it
          cannot rank the rows of a table with at most `max_samples` rows (ROC-AUC 0.5).
        - "opensearch": the score of the AWS libraries and of OpenSearch.

        Use "depth" or "path" for tables and "depth" for windows of a series. The user guide has a table of measurements
        (docs/guide/methods.md).
    time_decay : float or None, default=None
        How strongly the samples prefer later records: the weight of a record is multiplied by ``exp(-time_decay)`` for each
        record that follows. None means ``1 / (10 * max_samples)`` on a stream, and 0 in `fit`, because the rows of a table have no
        order. With 0 a tree keeps a uniform sample of the whole stream.
    contamination : "auto" or float, default="auto"
        Determines the threshold of `predict`. With "auto" the threshold is the mean plus three standard deviations of the
        training scores, as SageMaker recommends, but at most halfway from the mean to the highest possible score, so that
        some score can always exceed it. It is estimated from at most 2048 training rows, so that the cost of `fit` does not
        depend on their number. If anomalies are common, for example a third of the table, they raise the threshold themselves,
        and few or none of them are flagged. In that case pass their share. A float in (0, 0.5] is the share of training rows that
        are flagged, as in IsolationForest; `fit` then scores all training rows.
    n_jobs : int or None, default=None
        Number of threads for batches. None means 1, and -1 means all cores. The results do not depend on it.
    low_memory : bool, default=False
        If True, the bounding boxes of nodes with at most six records are not stored but computed when they are needed. In trees of
        at most eight features this holds for up to 16 records, and the nodes are stored with shorter numbers too. The results are
        the same, bit for bit. 100 trees of 256 records take 1.1 to 1.5 MiB instead of 2.6 with one to four features, 2.0 instead of
        3.8 with 8, and 9.8 instead of 15.5 with 48. `update` takes 2 to 2.6 times as long with at most eight features, and 1.3 to
        1.7 times with more. Scoring large batches takes up to 1.3 times as long.
    random_state : int, RandomState, Generator or None, default=None
        The same int gives the same forest, bit for bit, on any machine.

    Attributes
    ----------
    offset_ : float
        `predict` returns -1 where ``score_samples(X) < offset_``. After `fit`, the offset is computed from the training rows and
        the `contamination` at that time. On a stream, and for a `method` other than that of `fit`, it is computed from at most 2048
        of the records that the forest holds now. It does not depend on when it is read. An assigned value is kept until
        the next `fit`.
    max_samples_ : int
        Number of records that a tree can hold; after `fit` on fewer rows, the number of rows.
    time_decay_ : float
        The decay that is used on a stream.
    n_features_in_ : int
        Number of features of a record.
    feature_names_in_ : ndarray of str
        Names of the features, if the data had names.
    n_seen_ : int
        Number of records learned so far, including forgotten ones.
    trees_ : sequence of rcf.trees.Tree
        The trees as read-only arrays.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Cuts every feature with equal probability; cannot learn from a stream.

    Notes
    -----
    S. Guha, N. Mishra, G. Roy, O. Schrijvers, "Robust Random Cut Forest Based Anomaly Detection on Streams", ICML 2016. Section 2
    describes the trees and section 3 the displacement. The samples follow Efraimidis and Spirakis (2006).

    **Scaling.** Features are cut in proportion to their extent, whereas IsolationForest cuts all features equally often. If
    the units of the features are arbitrary, use ``make_pipeline(RobustScaler(), RandomCutForest())``. The forest does not scale
    the features itself, because scaling hurts as often as it helps. On eleven labelled tables of ADBench, the mean average
    precision is .497 without scaling, .479 after scaling by quartiles, and .445 after scaling by standard deviations
    (IsolationForest: .513). Scaling by quartiles lowers "wine" from .768 to .191 and raises "thyroid" from .303 to .673.

    **Missing values.** In `fit`, NaN is replaced by a random value of the same feature from another row. In scoring, it is
    replaced by the median of the values in the trees, so that it neither adds to the score nor hides the other features. With
    a tenth of the cells missing, the average precision on the same tables is .523 (IsolationForest, which also accepts NaN,
    has .489); with three tenths missing it is .482 (.473). `update` and `partial_fit` raise an error for NaN; use
    `StreamDetector` to fill missing values on a stream.

    **Sparse tables** in any of SciPy's formats are converted to dense ones. Scoring does this block by block. From a table that
    would take more than 256 MB, `fit` draws as many rows as fit into 256 MB.

    **Limits.** If each feature of an anomaly is in its usual range and only the combination is unusual, large samples are needed to
    find it. Values are stored as 32-bit floats after a float64 origin, the median of the first records, is subtracted from each
    feature. A series around 1e9 therefore loses no precision, but a series that moves by 10^7 times its first spread does.

    **Parameters.** `method`, `contamination` and `n_jobs` take effect as soon as they are set. The other parameters
    (`n_estimators`, `max_samples`, `time_decay`, `low_memory`, `random_state`) take effect in the next `fit`; until then `update`,
    `update_many`, `partial_fit` and `merge` raise an error if one of them was changed.

    **Threads.** Threads may call any method. A call that learns excludes all other calls, so a thread that scores sees the forest
    before or after a whole batch.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import RandomCutForest
    >>> X = np.r_[np.random.default_rng(0).normal(size=(500, 2)), [[6.0, 6.0]]]
    >>> forest = RandomCutForest(random_state=0).fit(X)
    >>> int(forest.anomaly_score(X).argmax())
    500
    >>> forest.predict(X[-2:])
    array([ 1, -1])
    """

    n_features_in_: int
    max_samples_: int
    time_decay_: float
    # True if the forest is grown and no parameter that shapes it was set since the last check; `update` then skips the check.
    _ready = False
    _threshold: Threshold
    _given_offset: float  # exists if a caller has set offset_

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [
            StrOptions({"auto", "disjoint"}),
            Interval(Integral, 1, 2**30 - 1, closed="left"),
            Interval(Real, 0, 1, closed="right"),
        ],
        "method": [StrOptions(_METHODS)],
        "time_decay": [None, Interval(Real, 0, None, closed="left")],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "n_jobs": [None, Integral],
        "low_memory": ["boolean"],
        "random_state": ["random_state", np.random.Generator],
    }

    def __init__(
        self,
        n_estimators: int = 100,
        max_samples: int | float | Literal["auto", "disjoint"] = 256,
        *,
        method: Method = "depth",
        time_decay: float | None = None,
        contamination: float | Literal["auto"] = "auto",
        n_jobs: int | None = None,
        low_memory: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.method = method
        self.time_decay = time_decay
        self.contamination = contamination
        self.n_jobs = n_jobs
        self.low_memory = low_memory
        self.random_state = random_state

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _SETTLED:
            self._ready = False

    # ---- learning ----------------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Build a new forest from a table.

        Every tree takes a uniform sample of `max_samples` rows without replacement, so apart from one pass over `X` the cost
        does not grow with the number of rows. If `time_decay` is given, the rows count as a stream and later rows are preferred.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)
            Numbers; NaN marks a missing value.
        y : ignored
        sample_weight : array-like of shape (n,), default=None
            Positive weights by which rows are sampled (Efraimidis and Spirakis). Equal weights are the same as no weights.

        Returns
        -------
        self : RandomCutForest

        Raises
        ------
        ValueError
            If the data are infinite, empty or not numbers; the message names the place. The forest stays unchanged.
        """
        with unchanged_on_error(self):
            self._fit(X, sample_weight)
        return self

    def _fit(self, X: ArrayLike, sample_weight: ArrayLike | None) -> None:
        seed = seed_entropy(self.random_state)
        data = self._checked(X, reset=True, accept_sparse=True)
        weights = self._weights(sample_weight, data.shape[0])
        if weights is not None and weights.size and (weights == weights[0]).all():
            weights = None
        n, d = data.shape
        disjoint = isinstance(self.max_samples, str) and self.max_samples == "disjoint"
        capacity = max(256, n // self.n_estimators) if disjoint else self._capacity(n)
        decay = self._decay(capacity)
        forest = Forest(self.n_estimators, capacity, d, decay, seed, bool(self.low_memory))
        given = data
        if issparse(data):
            most = max(_DENSE // d, capacity)
            if n > most and not disjoint and not self.time_decay:
                rows = np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
                data, weights = data[rows], None if weights is None else weights[rows]
            data = data.toarray()
        try:
            forest.fit(data, weights, bool(self.time_decay), disjoint, self._threads())
        except ValueError:  # the core looks for NaN as it reads, so that tables without it pay nothing here
            if not np.isnan(data).any():
                raise
            forest.fit(imputed(data, seed), weights, bool(self.time_decay), disjoint, self._threads())
        self._forest, self.time_decay_ = forest, decay
        self._settled = {name: getattr(self, name) for name in _SETTLED}
        self.max_samples_ = int(forest.masses().max())
        self.__dict__.pop("_given_offset", None)
        # `given` may contain NaN, because training and scoring fill NaN differently
        self._threshold = Threshold.of_table(given, seed, forest, self.method, self.contamination, self._scores)

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the rows as the next records of the stream, without scoring them.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : ignored
        sample_weight : array-like of shape (n,), default=None
            Positive weights; 1 is the weight of a record without `sample_weight`.

        Returns
        -------
        self : RandomCutForest
        """
        with unchanged_on_error(self):
            data = self._checked(X, reset=not self._grown)
            weights = self._weights(sample_weight, len(data))
            self._stream(data.shape[1]).update(data, weights, None, self._threads())
        return self

    def update(self, record: ArrayLike) -> float:
        """Score the next record of the stream, then learn it.

        Parameters
        ----------
        record : array-like of shape (d,)
            A number is accepted if d is 1. The index of a pandas Series holds the names of the features, in their order. A
            contiguous float64 array is used without a copy.

        Returns
        -------
        float
            The score of the record before it was learned, high for anomalies. The first `max_samples` records
            of a stream have the score 0, because the forest does not know enough yet.

        Raises
        ------
        ValueError
            If the record is not finite, or the number, the names or the order of its features differ, or if a table is given (use
            `update_many`). The forest stays unchanged.
        """
        if type(record) is np.ndarray and record.ndim == 1 and self._ready:
            if record.dtype is not _FLOAT64 or not record.flags.c_contiguous:
                record = as_record(record, self.n_features_in_, type(self).__name__)
            return self._forest.update_record(record, self.method)
        with unchanged_on_error(self):
            if not self._grown:
                self._validate_params()
            if hasattr(record, "columns"):
                raise many_for_one(np.shape(record))
            row = self._record(record)
            self.n_features_in_ = row.size
            return self._stream(row.size).update_record(row, self.method)

    def update_many(self, X: ArrayLike) -> NDArray[np.float64]:
        """Score the next records of the stream and learn each after it is scored.

        The scores are those of `update` on one record after the other, bit for bit. One call with many records is faster and uses
        `n_jobs` threads.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The column names of a frame are the names of the features, in their order.

        Returns
        -------
        ndarray of shape (n,)
            The score of each record before it was learned, high for anomalies. The first `max_samples` records
            of a stream have the score 0.

        Raises
        ------
        ValueError
            If a record is not finite, or the number, the names or the order of the features differ. No record is learned
            then.

        Examples
        --------
        >>> import numpy as np
        >>> from rcf import RandomCutForest
        >>> X = np.r_[np.random.default_rng(0).normal(size=(1000, 2)), [[6.0, 6.0]]]
        >>> int(RandomCutForest(random_state=0).update_many(X).argmax())
        1000
        """
        with unchanged_on_error(self):
            if not self._grown:
                self._validate_params()
            data = self._checked(X, reset=not self._grown)
            return self._stream(data.shape[1]).update(data, None, self.method, self._threads())

    def forget(self, x: ArrayLike) -> int:
        """Remove a record from the trees: each tree that holds an equal record drops the oldest one.

        If the record occurred once, the trees then have the distribution of trees that never saw it. Its place in a sample stays
        empty until a record arrives that would have entered the sample anyway.

        Parameters
        ----------
        x : array-like of shape (d,)

        Returns
        -------
        int
            The number of trees that held the record.
        """
        check_is_fitted(self)
        held = self._forest.forget(self._record(x))
        if held:
            # both are cached under the number of records seen, which has not changed
            for name in ("_threshold", "_medians_at"):
                self.__dict__.pop(name, None)
        return held

    def merge(self, other: RandomCutForest) -> Self:
        """Merge a forest that was grown on another part of the data into this one. The other forest does not change.

        For each pair of trees, the records with the smallest keys in the two samples are kept, and a tree is built from them. The
        result has the distribution of a forest that saw the stream of this forest and then that of the other. Weights and decay
        are preserved: record `k` of the other counts as record ``n_seen_ + k``. If both forests were fitted on tables, whose rows
        have no order, the result is a forest fitted on both tables.

        Parameters
        ----------
        other : RandomCutForest
            Must have the same number of features, trees and samples, and the same time decay and method. It must have a different
            `random_state`, because equal random numbers would select the same positions from both parts.

        Returns
        -------
        self : RandomCutForest

        Raises
        ------
        TypeError
            If `other` is not a forest.
        ValueError
            If `other` is this forest or a copy of it, if one of them has seen no record, or if one of the properties above
            differs; the message names it. Both forests stay unchanged.

        Notes
        -----
        Values are stored as 32-bit floats relative to an origin. The values of `other` are converted to the origin of this forest,
        so a record that both forests hold may differ in the last of 24 bits afterwards and then counts as two points.

        Examples
        --------
        >>> import numpy as np
        >>> from rcf import RandomCutForest
        >>> X = np.random.default_rng(0).normal(size=(10000, 3))
        >>> one, two = [RandomCutForest(random_state=i).fit(part) for i, part in enumerate(np.split(X, 2))]
        >>> one.merge(two).n_seen_
        10000
        """
        if not isinstance(other, RandomCutForest):
            raise TypeError(f"can merge with a RandomCutForest, got {type(other).__name__}")
        for forest in (self, other):
            check_is_fitted(forest)
        if self.method != other.method:
            raise ValueError(f"method differs: {self.method!r} and {other.method!r}")
        names, others = [getattr(forest, "feature_names_in_", None) for forest in (self, other)]
        if names is not None and others is not None and list(names) != list(others):
            raise ValueError(f"feature names differ: {list(names)} and {list(others)}")
        for name, held in _MERGED_ALIKE.items():
            mine, theirs = getattr(self._forest, held), getattr(other._forest, held)
            if mine != theirs:
                raise ValueError(f"{name} differs: {mine} and {theirs}; only forests that agree in it can be merged")
        check_settled(self, self._settled)
        self._forest.merge(other._forest)
        self.max_samples_ = max(self.max_samples_, other.max_samples_, int(self._forest.masses().max()))
        return self

    # ---- scoring -----------------------------------------------------------------------------------------------

    def anomaly_score(self, X: ArrayLike, method: Method | Visitor | None = None) -> NDArray[np.float64]:
        """The anomaly score of each row. The forest does not change.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)
            NaN marks a missing value, which is replaced by the median of the values in the trees.
        method : {"depth", "codisp", "displacement", "opensearch", "path"} or rcf.walk.Visitor, default=None
            None means the `method` of the forest. A visitor defines a score of your own; see `walk`.

        Returns
        -------
        ndarray of shape (n,)
            High for anomalies. The scores of the built-in methods are at least 0.
        """
        check_is_fitted(self)
        if method is not None and not isinstance(method, str):
            return self.walk(X, method)
        return self._scores(self._checked(X, reset=False, accept_sparse=True), method or self.method)

    def attribution(self, X: ArrayLike, method: Method | None = None) -> NDArray[np.float64]:
        """The part of each row's score that is due to each feature.

        At each box, the probability that a cut separates the row is divided among the features. The part of a feature counts as
        high if the row lies above the box, and as low if it lies below. A row that a tree holds is explained as if the tree did
        not hold it.

        Parameters
        ----------
        X : array-like of shape (n, d)
        method : {"depth", "codisp", "displacement", "opensearch"}, default=None
            None means the `method` of the forest. "path" has no attribution, because it does not use boxes.

        Returns
        -------
        ndarray of shape (n, d, 2)
            ``[..., 0]`` holds the parts for high values, ``[..., 1]`` those for low values. All parts are at least 0, and the parts
            of a row sum to its `anomaly_score`.

        Raises
        ------
        ValueError
            If the method is "path".
        """
        check_is_fitted(self)
        data = self._checked(X, reset=False, accept_sparse=True)
        return self._over(data, lambda rows: self._forest.attribution(rows, method or self.method, self._threads()))

    def explanation_json(self, X: ArrayLike, *, directionality: bool = True) -> list[str]:
        """The attribution of each row as ANOMALY_EXPLANATION, the JSON of Amazon Kinesis Data Analytics for SQL.

        Parameters
        ----------
        X : array-like of shape (n, d)
        directionality : bool, default=True
            Write DIRECTION and STRENGTH too.

        Returns
        -------
        list of str
            One JSON object per row, with an entry per feature; see :func:`rcf.explanation.explanation_json`. Features without
            names are called x0, x1, ...

        Examples
        --------
        >>> import numpy as np
        >>> from rcf import RandomCutForest
        >>> forest = RandomCutForest(random_state=0).fit(np.random.default_rng(0).normal(size=(1000, 2)))
        >>> forest.explanation_json([[0.0, 50.0]], directionality=False)
        ['{"x0":{"ATTRIBUTION_SCORE":"0.0005"},"x1":{"ATTRIBUTION_SCORE":"7.1650"}}']
        """
        parts = self.attribution(X)
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(self.n_features_in_)])
        return [explanation_json(one, list(names), directionality=directionality) for one in parts]

    def walk(self, X: ArrayLike, visitor: Visitor) -> NDArray[np.float64]:
        """A score that you define: the visitor's functions compute a value per tree, and the result is the mean over the trees.

        This needs the extra `numba`. `anomaly_score` accepts a visitor as its `method` too.

        Parameters
        ----------
        X : array-like of shape (n, d)
        visitor : rcf.walk.Visitor
            Three functions. The first call compiles them into one walk, which takes about three seconds; later calls reuse it.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        ValueError
            If a function returns NaN; the message names the function and the row.
        RuntimeError
            If a function raises an error.
        TypeError
            If a function cannot be compiled.
        ImportError
            If numba is not installed.
        """
        from .walk import walk

        check_is_fitted(self)
        data = self._checked(X, reset=False, accept_sparse=True)
        return self._over(data, lambda rows: walk(self._forest, check_array(rows), visitor, self._threads()))

    def density(
        self, X: ArrayLike, *, directional: bool = False, dimension: float | None = None
    ) -> NDArray[np.float64]:
        """Estimate the probability density of the forest's records at each row.

        A random cut separates the row from a box of records. The density is the mass of the box, divided by its length (including
        the row) to the power of the dimension. Mass and length are averaged over cuts and trees. A row that a tree holds is treated
        as if the tree did not hold it.

        The density ranks rows as well as the distance to the eighth neighbour in a sample of `max_samples` records does. Its values
        are too high: at the median of a normal distribution they are 1.6, 2.0, 2.5 and 4.4 times the true density in 1, 2, 3 and 5
        dimensions. In more than about ten dimensions, powers of lengths carry little information.

        Parameters
        ----------
        X : array-like of shape (n, d)
        directional : bool, default=False
            If True, divide the density among the features, and between the records below and above the row.
        dimension : float, default=None
            The power. None means the number of features. Use a smaller number if the data lie on a surface of lower dimension.

        Returns
        -------
        ndarray of shape (n,), or (n, d, 2) if directional
            ``[..., 0]`` is the density below the row and ``[..., 1]`` that above. If all records are equal, the density at
            this value is infinite.
        """
        check_is_fitted(self)
        power = self.n_features_in_ if dimension is None else not_negative("dimension", dimension)
        data = self._checked(X, reset=False, accept_sparse=True)
        found = self._over(data, lambda rows: self._forest.density(rows, self._threads()))
        mass, length, share = np.moveaxis(found, 1, 0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            volume = np.where(share > 0, share * (length / share) ** power, 0.0).sum(axis=(1, 2))
            if not directional:
                return np.asarray(mass.sum(axis=(1, 2)) / volume)
            return np.where(mass > 0, mass / volume[:, None, None], 0.0)

    def neighbors(self, x: ArrayLike, max_distance: float | None = None) -> Neighbors:
        """Find approximate nearest neighbours of a record, one from each tree.

        A tree returns the record in the leaf that `x` falls into, in a time that hardly depends on the size of the sample. The
        true nearest neighbour is often, but not always, among them.

        Parameters
        ----------
        x : array-like of shape (d,)
        max_distance : float, default=None
            Largest distance of a neighbour. None means no limit.

        Returns
        -------
        Neighbors
            `distances` of shape (k,), Euclidean and ascending; `points` of shape (k, d), distinct records, rounded to 32 bits; and
            `trees` of shape (k,), the number of trees that returned each point.
        """
        check_is_fitted(self)
        record = self._record(x)
        most = np.inf if max_distance is None else not_negative("max_distance", max_distance)
        found, trees = np.unique(self._forest.leaves_of(record), axis=0, return_counts=True)
        points = found + self._forest.origin_
        distances = np.sqrt(((points - record) ** 2).sum(axis=1))
        order = np.argsort(distances, kind="stable")
        order = order[distances[order] <= most]
        return Neighbors(distances[order], points[order], trees[order])

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """The negative `anomaly_score`, as in scikit-learn: low for anomalies; shape (n,)."""
        return -self.anomaly_score(X)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """``score_samples(X) - offset_``: negative for outliers; shape (n,)."""
        scores, offset = self.score_samples(X), self.offset_
        if self.max_samples_ <= 2 and -offset >= highest_score(self._forest, self.method):
            warnings.warn(
                f"no score can lie beyond offset_: with method={self.method!r} and {self.max_samples_} records in a tree every "
                "record has the same score; fit more rows, or take another method",
                stacklevel=2,
            )
        return scores - offset

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """-1 for outliers, 1 for inliers; shape (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    # ---- state -------------------------------------------------------------------------------------------------

    @property
    def n_seen_(self) -> int:
        check_is_fitted(self)
        return self._forest.n_seen

    @property
    def offset_(self) -> float:
        check_is_fitted(self)
        if "_given_offset" in self.__dict__:
            return self._given_offset
        if not self._forest.masses().any():
            raise NotFittedError("offset_ is undefined, because all records were forgotten")
        threshold, n_seen = self.__dict__.get("_threshold"), self._forest.n_seen
        if threshold is None or not threshold.valid(n_seen, self.contamination):
            threshold = self._threshold = Threshold(n_seen, self.contamination, False, {})
        return threshold.offset(self.method, self._forest, self._scores)

    @offset_.setter
    def offset_(self, value: float) -> None:
        check_is_fitted(self)
        if not isinstance(value, Real) or isinstance(value, bool) or not np.isfinite(value):
            raise ValueError(f"offset_ must be a finite number, got {value!r}")
        self._given_offset = float(value)

    @property
    def trees_(self) -> Trees:
        """A sequence of :class:`rcf.trees.Tree`: the inside of each tree as read-only arrays, without copies."""
        check_is_fitted(self)
        return Trees(self._forest)

    def _medians(self) -> NDArray[np.float64]:
        """The median of each feature over the records in the trees."""
        known = self.__dict__.get("_medians_at")
        if known is None or known[0] != self._forest.n_seen:
            held = []
            for i in range(self._forest.n_trees):
                masses = self._forest.tree(i)["leaves"]["mass"]
                held.append(np.repeat(self._forest.points(i), masses[masses > 0], axis=0))
            known = self._medians_at = self._forest.n_seen, np.median(np.concatenate(held), axis=0)
        return known[1]

    def _over(self, X: Any, work: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Apply `work` to a checked table, with NaN replaced by medians and sparse tables converted to dense blocks."""
        if issparse(X):
            return np.concatenate([self._over(X[rows].toarray(), work) for rows in blocks(*X.shape)])
        try:
            return work(X)
        except ValueError:  # the core looks for NaN as it reads, so that tables without it pay nothing here
            missing = np.isnan(X)
            if not missing.any():
                raise
        return work(np.where(missing, self._medians(), X))

    def _scores(self, X: Any, method: str) -> NDArray[np.float64]:
        return self._over(X, lambda rows: self._forest.score(rows, method, self._threads()))

    def _state(self) -> dict[str, Any]:
        self._validate_params()
        params = self.get_params(deep=False)
        if self._grown:
            params.update(self._settled)  # changes after fit have no effect and are not saved
        if not isinstance(params["random_state"], (Integral, type(None))):
            params["random_state"] = None  # a generator may be shared; the random state of the trees is saved with them
        fitted = {name: getattr(self, name) for name in _FITTED if name in self.__dict__}
        threshold = self.__dict__.get("_threshold")
        if threshold is not None and threshold.fitted and threshold.n_seen == self._forest.n_seen:
            method = next(iter(threshold.offsets))  # the method of fit
            # compute the offset now, because the rows that it needs are not saved
            offset = threshold.offset(method, self._forest, self._scores)
            fitted["_offset"] = offset, threshold.n_seen
            fitted["_offset_for"] = method, threshold.contamination
        if "feature_names_in_" in fitted:
            fitted["feature_names_in_"] = list(fitted["feature_names_in_"])
        return {"params": params, "fitted": fitted, "forest": self._forest.to_bytes() if self._grown else None}

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        self = cls(**state["params"])
        self._validate_params()
        fitted = state["fitted"]
        if state["forest"] is None:
            return self
        forest = Forest.from_bytes(state["forest"], bool(self.low_memory))
        names, offset, given = (fitted.get(name) for name in ("feature_names_in_", "_offset", "_given_offset"))
        method, contamination = fitted.get("_offset_for", (self.method, self.contamination))
        if not (
            set(fitted) <= {*_FITTED, "_offset", "_offset_for"}
            and (fitted["n_features_in_"], fitted["time_decay_"]) == (forest.n_features, forest.time_decay)
            and 1 <= whole_number("max_samples_", fitted["max_samples_"]) <= forest.capacity
            and (offset is None or [type(part) for part in offset] == [float, int])
            and method in _METHODS
            and (given is None or type(given) is float)
            and (names is None or [type(name) for name in names] == [str] * forest.n_features)
        ):
            raise ValueError(f"the fitted attributes are not those of its forest: {str(fitted)[:200]}")
        self._forest = forest
        self._settled = {name: getattr(self, name) for name in _SETTLED}
        for name in _FITTED:
            if name in fitted:
                setattr(self, name, fitted[name])
        if offset is not None:
            self._threshold = Threshold(offset[1], contamination, True, {method: offset[0]})
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        return self

    @property
    def _grown(self) -> bool:
        return "_forest" in self.__dict__

    def __sklearn_is_fitted__(self) -> bool:
        return self._grown

    def _summary_html(self) -> str:
        if not self._grown:
            return ""
        held, names = self._forest.masses(), getattr(self, "feature_names_in_", ())
        listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        rows: list[tuple[str, Any]] = [
            ("records seen", self.n_seen_),
            ("features", f"{self.n_features_in_}: {listed}" if listed else self.n_features_in_),
            ("trees", len(held)),
            ("records per tree", f"{held.min()} to {held.max()}" if held.min() < held.max() else int(held.max())),
        ]
        if hasattr(self, "offset_"):  # undefined if all records were forgotten
            rows.append(("offset", self.offset_))
        return table(("forest", ""), rows)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags

    def _stream(self, n_features: int) -> Forest:
        """The forest, started here if this is the first record."""
        if not self._grown:
            if isinstance(self.max_samples, Real) and not isinstance(self.max_samples, Integral):
                raise ValueError(
                    f"max_samples={self.max_samples} is a share of a table; a stream has no length, so pass a number of records"
                )
            capacity = self._capacity(256)
            self.time_decay_ = self._decay(capacity)
            seed, low_memory = seed_entropy(self.random_state), bool(self.low_memory)
            forest = Forest(self.n_estimators, capacity, n_features, self.time_decay_, seed, low_memory)
            self._forest, self.max_samples_ = forest, capacity
            self._settled = {name: getattr(self, name) for name in _SETTLED}
        check_settled(self, self._settled)
        self._ready = True
        return self._forest

    def _capacity(self, n: int) -> int:
        if isinstance(self.max_samples, str):
            return 256
        if isinstance(self.max_samples, Integral):
            return int(self.max_samples)
        return max(1, int(self.max_samples * n))

    def _decay(self, capacity: int) -> float:
        return 0.1 / capacity if self.time_decay is None else float(self.time_decay)

    def _threads(self) -> int:
        return thread_count(self.n_jobs)

    def _checked(self, X: ArrayLike, reset: bool, accept_sparse: bool = False) -> Any:
        """X as float64, or as a CSR matrix if it is sparse. The core checks that the values are finite and names the place."""
        check_columns(X)
        data = validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite=False,
            accept_sparse="csr" if accept_sparse else False,
        )
        if issparse(data):
            check_cells(data, LIMIT)
        return data

    def _record(self, x: Any) -> NDArray[np.float64]:
        """One record as float64. The names of a Series are checked; the errors are those of `predict`."""
        names = names_of(x)
        known = list(getattr(self, "feature_names_in_", [])) if self._grown else None
        if names is not None and known != [] and known != names:
            validate_data(self, x.to_frame().T, reset=not self._grown, skip_check_array=True)
        return as_record(x, self.n_features_in_ if self._grown else None, type(self).__name__)

    @staticmethod
    def _weights(sample_weight: ArrayLike | None, n: int) -> NDArray[np.float64] | None:
        if sample_weight is None:
            return None
        weights = np.ascontiguousarray(sample_weight, dtype=np.float64)
        if weights.ndim != 1:
            raise ValueError(f"sample_weight has shape {weights.shape}, expected ({n},)")
        check_weights(weights, n)
        return weights


def merge(forests: Iterable[RandomCutForest]) -> RandomCutForest:
    """Merge forests that were grown on parts of the data. The given forests do not change.

    Parameters
    ----------
    forests : iterable of RandomCutForest
        At least one forest, each with its own `random_state`. With time decay, give them in the order of their streams.

    Returns
    -------
    RandomCutForest
        A new forest with the parameters of the first; see :meth:`RandomCutForest.merge`.

    Examples
    --------
    >>> import numpy as np, rcf
    >>> X = np.random.default_rng(0).normal(size=(9000, 3))
    >>> parts = [rcf.RandomCutForest(random_state=i).fit(part) for i, part in enumerate(np.split(X, 3))]
    >>> rcf.merge(parts).n_seen_
    9000
    """
    if isinstance(forests, RandomCutForest):
        raise TypeError("merge takes a list of forests, got one: call merge([forest, other]) or forest.merge(other)")
    parts = list(forests)
    if not parts:
        raise ValueError("merge needs at least one forest, got none")
    for i, part in enumerate(parts):
        if not isinstance(part, RandomCutForest):
            raise TypeError(f"forests must be RandomCutForests, got {type(part).__name__} (number {i})")
        check_is_fitted(part)
    whole = copy.deepcopy(parts[0])
    for part in parts[1:]:
        whole.merge(part)
    return whole
