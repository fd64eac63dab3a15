"""RandomCutForest: the scikit-learn face of the forest, and its streaming face."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, OutlierMixin, _fit_context
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ._core import LIMIT, Forest, check_weights
from ._validate import (
    as_record,
    blocks,
    check_cells,
    check_columns,
    check_settled,
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
# Rows whose scores settle the threshold: 2048 place mean + 3 sd within a few percent and take milliseconds at any n.
_OFFSET_ROWS = 2048
_FLOAT64 = np.dtype(np.float64)
# In what forests that are merged must agree: the parameter, and what the core calls it.
_MERGED_ALIKE = {
    "n_features": "n_features",
    "n_estimators": "n_trees",
    "max_samples": "capacity",
    "time_decay": "time_decay",
}
_SETTLED = (
    "n_estimators",
    "max_samples",
    "time_decay",
    "low_memory",
    "random_state",
)  # what shapes a forest once it is grown
_FITTED = ("n_features_in_", "feature_names_in_", "max_samples_", "time_decay_", "_given_offset")
# A sparse table is made dense up to this many cells (256 MB); of a larger one that many, in rows drawn at random. The trees
# hold at most n_estimators * max_samples rows of either.
_DENSE = 1 << 25


class _Line(NamedTuple):
    """Where `predict` draws its line, for the forest as it was after `n_seen` records.

    `offsets` holds the offset of each method that was asked for. Right after `fit` with `contamination="auto"` it holds, for the
    method of `fit`, the rows from which the offset will be computed, so that callers who only score do not pay for it.
    """

    n_seen: int
    contamination: float | Literal["auto"]
    fitted: bool  # by `fit`, whose contamination stays in force; a stream follows the parameter
    offsets: dict[str, float | NDArray[np.float64]]


class Neighbors(NamedTuple):
    """What :meth:`RandomCutForest.neighbors` found, nearest first.

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


class RandomCutForest(Savable, OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """A random cut forest: anomaly scores for tables and streams.

    Each tree cuts its sample of the data at random until every distinct record is alone. A feature is chosen in proportion to its
    extent, and the cut is uniform within it. A record that a cut separates early is anomalous. Trees can learn and forget
    single records; at any time they have the distribution of trees that were built afresh from the records they hold.
    A score is the expectation over the random cut that would insert the record. Computing it changes nothing.

    Use it as an estimator instead of :class:`sklearn.ensemble.IsolationForest` (`fit`, then `predict`), or on a stream
    (`update` for each record).

    Parameters
    ----------
    n_estimators : int, default=100
        Number of trees. The error of a score falls with its square root; time and memory grow in proportion.
    max_samples : int, float, "auto" or "disjoint", default=256
        Number of records that each tree holds. A float is a share of the rows given to `fit`, and "auto" is 256. "disjoint"
        gives tree `i` the rows ``[i * k, (i + 1) * k)`` with ``k = len(X) // n_estimators``, as SageMaker does. Larger samples
        show finer structure, and make small clusters of anomalies look ordinary.
    method : {"depth", "codisp", "displacement", "opensearch", "path"}, default="depth"
        How a record is scored.

        - "depth": the score of Kinesis and SageMaker, from 0 to about ``log2(max_samples)``, near 1 for ordinary records.
        - "path": the score of IsolationForest over random cut trees, ``2 ** -(mean path length / c(n))``, where ``c(n)`` is the
          mean path length of a tree of `n` records. It lies between 0 and 1, near 0.5 for ordinary records. It needs no bounding
          boxes, so it is the fastest, but it has no attribution.
        - "codisp": the collusive displacement of the paper and of the package rrcf.
        - "displacement": the displacement of the paper. It is exactly 0 for a record that every tree holds, so it cannot rank
          the rows of a table with at most `max_samples` rows (ROC-AUC 0.5).
        - "opensearch": the score of the AWS libraries and of OpenSearch.

        For tables take "depth" or "path", for windows of a series "depth" (docs/guide/methods.md has the measured table).
    time_decay : float or None, default=None
        How strongly the samples prefer later records: the weight of a record is multiplied by ``exp(-time_decay)`` for each
        record that follows. None means ``1 / (10 * max_samples)`` on a stream, and 0 in `fit`, where rows have no order. 0 keeps
        a uniform sample of the whole stream.
    contamination : "auto" or float, default="auto"
        Where `predict` draws the line. "auto" is the mean plus three standard deviations of the training scores, as
        SageMaker recommends, but at most halfway from the mean to the highest possible score, so that few training rows
        cannot put the line out of reach. It is estimated from at most 2048 training rows, so that the cost of `fit` does
        not depend on their number. If anomalies are common, for example a third of the table, they raise the line themselves, and
        few or none are flagged: pass their share. A float in (0, 0.5] is the share of training rows that are flagged, as
        in IsolationForest; all training rows are then scored.
    n_jobs : int or None, default=None
        Number of threads for batches. None means 1, and -1 means all cores. Results do not depend on it.
    low_memory : bool, default=False
        Do not store the bounding boxes of nodes with at most six records, and compute them from the records when they are needed.
        The results are the same, bit for bit. 100 trees of 256 records take 3.1 MiB instead of 3.9 with 8 features, and 9.9
        instead of 15.7 with 48. `update` takes 1.4 to 1.9 times as long; scoring large batches takes no longer.
    random_state : int, RandomState, Generator or None, default=None
        The same int gives the same forest, bit for bit, on any machine.

    Attributes
    ----------
    offset_ : float
        `predict` returns -1 where ``score_samples(X) < offset_``. After `fit` the offset comes from the training rows and the
        `contamination` at that time. On a stream, and for a `method` other than that of `fit`, it comes from at most 2048 of the
        records that the forest holds now. It does not depend on when it is read. An assigned value stays until the next `fit`.
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
    has the trees, section 3 the displacement; the samples are those of Efraimidis and Spirakis (2006).

    Features count in proportion to their extent, where IsolationForest cuts all equally often. If the units mean nothing, use
    ``make_pipeline(RobustScaler(), RandomCutForest())``. The forest does not scale by itself, because that loses as often as
    it wins. On eleven labelled tables of ADBench the mean average precision is .497 as the tables
    come, .479 scaled by quartiles, .445 by standard deviations (IsolationForest .513): scaled by quartiles, "wine" falls from .768
    to .191, and "thyroid" rises from .303 to .673.

    Missing values: in `fit`, a NaN is drawn from the values that the feature has in other rows; where rows are scored, it is
    the median of what the trees hold, so that it neither adds to the score nor hides what other features show. With a tenth of
    the cells missing, average precision on the same tables is .523 (IsolationForest, which takes NaN too, .489), with three tenths
    .482 (.473). Streams refuse NaN; `StreamDetector` fills it by the records before. Sparse tables (any of SciPy's formats) are
    made dense: for scores in blocks, in `fit` up to 256 MB; of a larger table as many rows as that are drawn.

    It does badly on anomalies that lie within the usual range of every feature and are unusual only jointly; they need many
    samples. Values are stored as 32-bit floats after a float64 origin (the median of the first records) is subtracted
    from each feature. A series around 1e9 therefore loses nothing, but a series that moves by 10^7 times its first spread does.

    `method`, `contamination` and `n_jobs` act at once when they are set; the parameters that shape a forest (`n_estimators`,
    `max_samples`, `time_decay`, `low_memory`, `random_state`) act in the next `fit`, and until then `update`, `update_many`,
    `partial_fit` and `merge` refuse to go on with other values.

    Threads may call any method. A call that learns excludes all others: a thread that scores sees the forest before or after
    a whole batch.

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
    # Whether the forest is grown and no parameter that shapes it was set since the last check, so that `update` need not check.
    _ready = False
    _line: _Line
    _given_offset: float  # where a caller has set offset_

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
        """Grow the forest afresh from a table.

        Every tree takes a uniform sample of `max_samples` rows without replacement, so the cost beyond looking at `X` once does
        not grow with its length. With an explicit `time_decay` the rows are taken as a stream and later ones are preferred.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)
            Numbers; NaN marks a missing value.
        y : ignored
        sample_weight : array-like of shape (n,), default=None
            Positive; rows enter the samples by weight (Efraimidis and Spirakis). Equal weights count as none.

        Returns
        -------
        self : RandomCutForest

        Raises
        ------
        ValueError
            For data that are infinite, empty or not numbers, naming the place; the forest is then as it was.
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
        given = data  # as it came: what fills gaps while trees grow is not what fills them when rows are scored
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
        offset: float | NDArray[np.float64]
        if self.contamination != "auto":
            offset = self._offset_of(self._scores(given, self.method), self.contamination, self.method)
        else:
            chosen = np.arange(n)
            if n > _OFFSET_ROWS:
                chosen = np.sort(np.random.default_rng(seed).choice(n, _OFFSET_ROWS, replace=False))
            offset = given[chosen].toarray() if issparse(given) else given[chosen]
        self._line = _Line(forest.n_seen, self.contamination, True, {self.method: offset})

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the rows as the next records of the stream, without scoring them.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : ignored
        sample_weight : array-like of shape (n,), default=None
            Positive; 1 is a record's usual weight.

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
            A number where d is 1. The labels of a pandas Series are the names of the features, in their order. A contiguous
            float64 array is used without a copy.

        Returns
        -------
        float
            The score of the record before it was learned, high for anomalies. The first `max_samples` records
            of a stream score 0, because the forest does not know enough yet.

        Raises
        ------
        ValueError
            If the record is not finite, has another width, or has other names or another order of them. The forest is then as
            it was. A table is refused too: `update_many` takes many records.
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

        The scores are those of `update` on one record after the other, bit for bit. One call is faster, and uses `n_jobs` threads.

        Parameters
        ----------
        X : array-like of shape (n, d)
            The names of a frame's columns are those of the features, in their order.

        Returns
        -------
        ndarray of shape (n,)
            The score of each record before it was learned, high for anomalies. The first `max_samples` records
            of a stream score 0.

        Raises
        ------
        ValueError
            If a record is not finite, has another width, or has other names or another order of them. None of the records
            is learned then.

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
        """Take a record back: one equal to it, the oldest held, leaves each tree that holds one.

        The trees that remain have the distribution of trees that never saw it, if it came once. The place in the sample stays empty
        until a record comes that would have entered anyway.

        Parameters
        ----------
        x : array-like of shape (d,)

        Returns
        -------
        int
            How many trees held it; 0 if none did.
        """
        check_is_fitted(self)
        held = self._forest.forget(self._record(x))
        if held:
            for name in ("_line", "_medians_at"):  # the count of records, by which they are kept, is the same
                self.__dict__.pop(name, None)
        return held

    def merge(self, other: RandomCutForest) -> Self:
        """Take in a forest that was grown on another part of the data; it is left as it is.

        Tree by tree the records with the smallest keys of both samples stay, and a tree is built on them: the result has the
        distribution of one forest that saw this one's stream and then the other's. Weights and decay carry over, record `k` of the
        other counting as record ``n_seen_ + k``. Two forests that were fitted on tables, rows without an order, become the forest
        fitted on both tables.

        Parameters
        ----------
        other : RandomCutForest
            Of the same width, number of trees, size of samples, time decay and method, and grown from another `random_state`: the
            same random numbers on both parts would choose the same places in them.

        Returns
        -------
        self : RandomCutForest

        Raises
        ------
        TypeError
            If `other` is not a forest.
        ValueError
            If it is this one or a copy, if either has seen nothing, or if they differ in one of the above, naming it; nothing has
            changed then.

        Notes
        -----
        Values are held as 32-bit floats after an origin is subtracted. The other's are moved to the origin of this one, so equal
        records of the two may differ in the last of 24 bits afterwards, and then count as two points.

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
        """How anomalous each row is; learns nothing.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)
            NaN marks a missing value: the median of what the trees hold is scored in its place.
        method : {"depth", "codisp", "displacement", "opensearch", "path"} or rcf.walk.Visitor, default=None
            Another method than the estimator's own. A visitor is a score of your own; see `walk`.

        Returns
        -------
        ndarray of shape (n,)
            High for anomalies, and at least 0 for the methods that have names.
        """
        check_is_fitted(self)
        if method is not None and not isinstance(method, str):
            return self.walk(X, method)
        return self._scores(self._checked(X, reset=False, accept_sparse=True), method or self.method)

    def attribution(self, X: ArrayLike, method: Method | None = None) -> NDArray[np.float64]:
        """What each feature adds to the score of each row.

        The probability that a cut separates the row is shared out among the features, and among lying above and
        below the box that is cut. A row that a tree holds is explained as if the tree did not hold it.

        Parameters
        ----------
        X : array-like of shape (n, d)
        method : {"depth", "codisp", "displacement", "opensearch"}, default=None
            Another method than the estimator's own. "path" has no attribution, because it measures no boxes.

        Returns
        -------
        ndarray of shape (n, d, 2)
            ``[..., 0]`` by being high, ``[..., 1]`` by being low. At least 0; a row's parts add up to its `anomaly_score`.

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
            One object per row with an entry per feature; see :func:`rcf.explanation.explanation_json`. Features without
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
        """A score of your own: the mean over the trees of what the visitor's functions make of each row. Needs the extra `numba`.

        `anomaly_score` takes a visitor as its `method` too.

        Parameters
        ----------
        X : array-like of shape (n, d)
        visitor : rcf.walk.Visitor
            Three functions, compiled into one walk at the first call (about three seconds) and kept.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        ValueError
            If a function returns NaN: which, and for which row.
        RuntimeError
            If one raises.
        TypeError
            If one does not compile.
        ImportError
            Without numba.
        """
        from .walk import walk

        check_is_fitted(self)
        data = self._checked(X, reset=False, accept_sparse=True)
        return self._over(data, lambda rows: walk(self._forest, check_array(rows), visitor, self._threads()))

    def density(
        self, X: ArrayLike, *, directional: bool = False, dimension: float | None = None
    ) -> NDArray[np.float64]:
        """An estimate of how densely the records that the forest holds lie around each row, as a probability density.

        Where a random cut would part the row from others, it leaves a box of some mass; the density is that mass over the
        length of the box (the row included) to the power of the dimension, both averaged over cuts and trees. A row that a
        tree holds is seen from the tree without it. It ranks as well as distances to the eighth neighbour in a sample of
        `max_samples` do. It is too high: on a normal cloud, at the median, 1.6, 2.0, 2.5 and 4.4 times in 1, 2, 3 and 5
        dimensions; in more than some ten, powers of lengths say little.

        Parameters
        ----------
        X : array-like of shape (n, d)
        directional : bool, default=False
            Share the density out among the features, and among what lies above and below the row.
        dimension : float, default=None
            The power. None is the number of features; less where the data are known to lie on something flatter.

        Returns
        -------
        ndarray of shape (n,), or (n, d, 2) if directional
            With ``[..., 0]`` what lies below the row and ``[..., 1]`` what lies above. Infinite for the one value of constant data.
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
        """Records near to this one: what each tree holds in the leaf where it falls, nearest first.

        A tree gives one record, in a time that hardly grows with how many it holds; the nearest of all is often among
        them, not surely.

        Parameters
        ----------
        x : array-like of shape (d,)
        max_distance : float, default=None
            Leave out what lies further away. None leaves out nothing.

        Returns
        -------
        Neighbors
            `distances` (k,), Euclidean; `points` (k, d), distinct, as they came but for the rounding to 32 bits; `trees` (k,), how
            many trees gave each.
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
        """The opposite of `anomaly_score`, as scikit-learn has it: low for anomalies; shape (n,)."""
        return -self.anomaly_score(X)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """``score_samples(X) - offset_``: negative for outliers; shape (n,)."""
        scores, offset = self.score_samples(X), self.offset_
        if self.max_samples_ <= 2 and -offset >= self._highest(self.method):
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
        line, n_seen = self.__dict__.get("_line"), self._forest.n_seen
        if line is None or line.n_seen != n_seen or not (line.fitted or line.contamination == self.contamination):
            line = self._line = _Line(n_seen, self.contamination, False, {})
        offset = line.offsets.get(self.method)
        if not isinstance(offset, float):
            rows = self._held(_OFFSET_ROWS) if offset is None else offset
            offset = self._offset_of(self._scores(rows, self.method), line.contamination, self.method)
            line.offsets[self.method] = offset
        return offset

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

    def _offset_of(self, scores: NDArray[np.float64], contamination: float | Literal["auto"], method: Method) -> float:
        if contamination != "auto":
            return float(np.percentile(-scores, 100.0 * contamination))
        # With few rows, mean + 3 sd may lie above every score that there can be, and nothing would ever be an outlier.
        mean, highest = scores.mean(), max(self._highest(method), scores.max())
        return -float(min(mean + 3.0 * scores.std(), 0.5 * (mean + highest)))

    def _highest(self, method: Method) -> float:
        """The score of a record far from all that the trees hold: no other is higher."""
        held = np.concatenate([self._forest.points(i) for i in range(self._forest.n_trees)])
        low, high = held.min(axis=0), held.max(axis=0)
        extent = (high - low).sum()
        far = high + 1e6 * (extent if extent > 0 else max(1.0, np.abs(high).max()))
        return float(self._forest.score(np.minimum(far, LIMIT)[None], method, 1)[0])

    def _held(self, at_most: int) -> NDArray[np.float64]:
        """Distinct records that the trees hold, evenly taken from them."""
        points = np.unique(np.concatenate([self._forest.points(i) for i in range(self._forest.n_trees)]), axis=0)
        return points[np.linspace(0, len(points) - 1, min(at_most, len(points))).astype(np.int64)]

    def _medians(self) -> NDArray[np.float64]:
        """The median of each feature over the records that the trees hold."""
        known = self.__dict__.get("_medians_at")
        if known is None or known[0] != self._forest.n_seen:
            held = []
            for i in range(self._forest.n_trees):
                masses = self._forest.tree(i)["leaves"]["mass"]
                held.append(np.repeat(self._forest.points(i), masses[masses > 0], axis=0))
            known = self._medians_at = self._forest.n_seen, np.median(np.concatenate(held), axis=0)
        return known[1]

    def _over(self, X: Any, work: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        """`work` on the rows of a checked table: dense blocks of a sparse one, and medians in the place of NaN."""
        if issparse(X):
            return np.concatenate([self._over(X[rows].toarray(), work) for rows in blocks(*X.shape)])
        try:
            return work(X)
        except ValueError:  # the core looks for NaN as it reads, so that tables without it pay nothing here
            missing = np.isnan(X)
            if not missing.any():
                raise
        return work(np.where(missing, self._medians(), X))

    def _scores(self, X: Any, method: Method) -> NDArray[np.float64]:
        return self._over(X, lambda rows: self._forest.score(rows, method, self._threads()))

    def _state(self) -> dict[str, Any]:
        self._validate_params()
        params = self.get_params(deep=False)
        if self._grown:
            params.update(self._settled)  # what was set since cannot act, and is not saved
        if not isinstance(params["random_state"], (Integral, type(None))):
            params["random_state"] = None  # a generator is shared with others; the forest's own are in its state
        fitted = {name: getattr(self, name) for name in _FITTED if name in self.__dict__}
        line = self.__dict__.get("_line")
        if line is not None and line.fitted and line.n_seen == self._forest.n_seen:
            method, offset = next(iter(line.offsets.items()))  # that of fit
            if not isinstance(offset, float):  # the rows from which it will be computed are not saved
                offset = self._offset_of(self._scores(offset, method), line.contamination, method)
            fitted["_offset"], fitted["_offset_for"] = (offset, line.n_seen), (method, line.contamination)
        if "feature_names_in_" in fitted:
            fitted["feature_names_in_"] = list(fitted["feature_names_in_"])
        return {"params": params, "fitted": fitted, "forest": self._forest.state() if self._grown else None}

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        self = cls(**state["params"])
        self._validate_params()
        fitted = state["fitted"]
        if state["forest"] is None:
            return self
        forest = Forest.from_state(state["forest"], bool(self.low_memory))
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
            self._line = _Line(offset[1], contamination, True, {method: offset[0]})
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        return self

    @property
    def _grown(self) -> bool:
        return "_forest" in self.__dict__

    def __sklearn_is_fitted__(self) -> bool:
        return self._grown

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
                    f"max_samples={self.max_samples} is a share of a table; a stream has no length: give a number"
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
        if self.n_jobs == 0:
            raise ValueError("n_jobs must be None, a number of threads, or -1 for all cores, got 0")
        return 1 if self.n_jobs is None else int(effective_n_jobs(self.n_jobs))

    def _checked(self, X: ArrayLike, reset: bool, accept_sparse: bool = False) -> Any:
        """X as float64, as a CSR matrix if it came sparse; the core looks for what is not finite, and names the place."""
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
        """One record as float64; the names of a Series are held against the features', in the words that `predict` has."""
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
    """One forest of many that were grown on parts of the data; they are left as they are.

    Parameters
    ----------
    forests : iterable of RandomCutForest
        At least one; in the order of their streams, where time decay makes that matter. Each from its own `random_state`.

    Returns
    -------
    RandomCutForest
        With the parameters of the first; see :meth:`RandomCutForest.merge`.

    Examples
    --------
    >>> import numpy as np, rcf
    >>> X = np.random.default_rng(0).normal(size=(9000, 3))
    >>> parts = [rcf.RandomCutForest(random_state=i).fit(part) for i, part in enumerate(np.split(X, 3))]
    >>> rcf.merge(parts).n_seen_
    9000
    """
    if isinstance(forests, RandomCutForest):
        raise TypeError("merge takes a list of forests, got one: merge([forest, other]), or forest.merge(other)")
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
