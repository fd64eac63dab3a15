"""What a detector says of a record, and of many."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..explanation import explanation_json
from .explain import Explanation, Stretch
from .threshold import REASONS

Floats = NDArray[np.float64]
GONE = "this record was not called, and the detector has moved on: read it before the next update"


class Source(Protocol):
    """Who can still explain a record."""

    def _explanation(self, result: Detection) -> Explanation: ...


class Cause(NamedTuple):
    """The largest part of a score: which feature, how many records ago, and on which side it lay.

    Examples
    --------
    >>> from rcf import Cause
    >>> Cause("load", 0, "high").side
    'high'
    """

    feature: str
    lag: int
    side: str  # "high" or "low"


class Detection:
    """What a detector says of one record.

    What explains a record costs ten times what judges it. For a record that was called it is worked out
    at once, or when it is first read if it came with others in :meth:`StreamDetector.update_many`; for the rest when it is first
    read, which must be before the detector takes in the next record.

    Attributes
    ----------
    score : float
        The mean over the trees; 0 while the forest warms up.
    threshold : float
        What the score had to exceed.
    grade : float
        0 if it was not called, else from 0.5 towards 1.
    is_anomaly : bool
    likelihood : float
        In [0, 1): ``x / (1 + x)``, where x tells how far the score stands above all scores of the last 448 records (``7/4 *
        max_samples``): both squared, over the threshold and the highest score there is; twice that if the record was called.
        Defined for every record; rank records by it, or choose one threshold of your own for many streams.
    confidence : float
        In [0, 1]: the share of the window that is known, neither missing after a gap nor filled in, times how far the
        forest has warmed up.
    reason : str or None
        Why a record was not called though its score is high ("noise": high, but below the threshold; "echo": the cause
        was called and still stands
        in the window; "drift": a state that was called lasts; "near expected"), or why nothing can be said ("warming up",
        "late start", "gap").
    attribution : ndarray of shape (size, d, 2)
        The score shared out over the window, oldest record first, and [..., 0] high, [..., 1] low.
    cause : Cause
        Its largest part: (feature, lag, side).
    lag : int
        How many records ago it began: that of the record with the largest part.
    expected, past : ndarray of shape (d,)
        What the forest expected at that record, given the rest of the window, and what came; in the user's units.

    See Also
    --------
    StreamDetector : Whose `update` gives one.
    Detections : Of many records.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import StreamDetector
    >>> values = 100 * np.sin(np.arange(700) / 8)
    >>> detector = StreamDetector(random_state=0)
    >>> found = [detector.update(value) for value in [*values, values[-1] + 150]][-1]
    >>> found.is_anomaly, found.reason, found.lag
    (True, None, 0)
    >>> found.cause
    Cause(feature='x0', lag=0, side='high')
    >>> bool(found.past[0] - found.expected[0] > 100)
    True
    """

    __slots__ = (
        "_found",
        "_names",
        "_seen",
        "_source",
        "confidence",
        "grade",
        "is_anomaly",
        "likelihood",
        "reason",
        "score",
        "threshold",
    )

    def __init__(
        self, score: float, threshold: float, grade: float, is_anomaly: bool, likelihood: float, confidence: float,
        reason: str | None, source: Source | None, seen: int, names: Any = None,
    ) -> None:  # fmt: skip
        self.score = score
        self.threshold = threshold
        self.grade = grade
        self.is_anomaly = is_anomaly
        self.likelihood = likelihood
        self.confidence = confidence
        self.reason = reason
        self._source = source
        self._seen = seen
        self._names = names
        self._found: Explanation | None = None

    def _explained(self) -> Explanation:
        if self._found is None:
            if self._source is None:
                raise RuntimeError(GONE)
            self._found = self._source._explanation(self)
        return self._found

    @property
    def attribution(self) -> Floats:
        return self._explained().attribution

    @property
    def lag(self) -> int:
        return self._explained().lag

    @property
    def expected(self) -> Floats:
        return self._explained().expected

    @property
    def past(self) -> Floats:
        return self._explained().past

    @property
    def cause(self) -> Cause:
        parts, names = self.attribution, self._names
        place, feature, side = np.unravel_index(int(parts.argmax()), parts.shape)
        name = f"x{feature}" if names is None else str(names[feature])
        return Cause(name, int(len(parts) - 1 - place), ("high", "low")[int(side)])

    def explanation_json(self, names: Sequence[str] | None = None, *, directionality: bool = True) -> str:
        """The attribution as ANOMALY_EXPLANATION, the JSON of Amazon Kinesis Data Analytics for SQL.

        Parameters
        ----------
        names : sequence of str or None, default=None
            Names of the features. None: those that the detector knows, or x0, x1, ...
        directionality : bool, default=True
            Write DIRECTION and STRENGTH too.

        Returns
        -------
        str
            An object with an entry per feature; see :func:`rcf.explanation.explanation_json`. While the detector warms up there
            is nothing to explain: with `names` all numbers are then 0, as Kinesis writes them.

        Raises
        ------
        RuntimeError
            If the record was not flagged and the detector has taken in another record since.
        """
        if self.score == 0.0 and names is not None:
            parts = np.zeros((len(names), 2))
        else:
            parts = self.attribution
        if names is None:
            names = [f"x{j}" for j in range(parts.shape[-2])] if self._names is None else list(self._names)
        return explanation_json(parts, names, directionality=directionality)

    def __getstate__(self) -> Any:
        if self.is_anomaly:
            self._explained()
        return {name: None if name == "_source" else getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        text = f"Detection(score={self.score:.4g}, threshold={self.threshold:.4g}, grade={self.grade:.2g}"
        if self.is_anomaly:
            return f"{text}, is_anomaly=True, cause={tuple(self.cause)}, expected={self.expected.tolist()})"
        return f"{text}, is_anomaly=False, reason={self.reason!r})"


class Run:
    """Records judged at once: a column for each attribute of :class:`Detection`."""

    def __init__(
        self, score: Floats, columns: tuple[Floats, Floats, Floats, NDArray[np.bool_], NDArray[np.uint8]],
        confidence: Floats, seen: int, names: Any, unread: Stretch | None,
    ) -> None:  # fmt: skip
        self.score, self.confidence = score, confidence
        self.threshold, self.grade, self.likelihood, self.is_anomaly, self._reasons = columns
        self.seen, self.names = seen, names  # `seen` before the first
        self.unread = unread
        self._found: dict[int, Explanation] = {}
        self.last: Source | None = None  # who explains the last record, called or not, until the next one comes

    @property
    def reason(self) -> NDArray[np.object_]:
        return np.array(REASONS, dtype=object)[self._reasons]

    def explain(self) -> None:
        if self.unread is not None:
            self._found.update(self.unread.explanations())
            self.unread = None

    def _explanation(self, result: Detection) -> Explanation:
        self.explain()
        return self._found[result._seen - self.seen - 1]

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, i: int) -> Detection:
        called = bool(self.is_anomaly[i])
        source = self if called or i in self._found else self.last if i == len(self) - 1 else None
        return Detection(
            float(self.score[i]), float(self.threshold[i]), float(self.grade[i]), called, float(self.likelihood[i]),
            float(self.confidence[i]), self.reason_of(i), source, self.seen + i + 1, self.names,
        )  # fmt: skip

    def reason_of(self, i: int) -> str | None:
        return REASONS[int(self._reasons[i])]

    def forgive(self, i: int) -> None:
        """Take back a call that is near enough to what was expected."""
        self.is_anomaly[i], self.grade[i], self._reasons[i] = False, 0.0, REASONS.index("near expected")


class Detections:
    """What a detector says of many records: each attribute of :class:`Detection` that is a number, as an array (n,).

    ``detections[i]`` is that of record i; `anomalies` has the numbers of those called.

    Attributes
    ----------
    score, threshold, grade, likelihood, confidence : ndarray of shape (n,)
    is_anomaly : ndarray of bool of shape (n,)
    reason : ndarray of str and None of shape (n,)
    anomalies : ndarray of int
        Where `is_anomaly` is true, ascending.

    See Also
    --------
    StreamDetector : Whose `update_many` gives them, or for a frame a frame.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import StreamDetector
    >>> values = 100 * np.sin(np.arange(1000) / 8)
    >>> values[700] += 150
    >>> found = StreamDetector(random_state=0).update_many(values)
    >>> len(found), found.anomalies.tolist()
    (1000, [700])
    >>> found[700].cause
    Cause(feature='x0', lag=0, side='high')
    """

    def __init__(self, parts: list[list[Detection] | Run]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def _column(self, name: str, kind: Any) -> Any:
        columns = [
            getattr(part, name) if isinstance(part, Run) else np.array([getattr(r, name) for r in part], dtype=kind)
            for part in self._parts
        ]
        return np.concatenate(columns) if columns else np.empty(0, dtype=kind)

    @property
    def score(self) -> Floats:
        return self._column("score", np.float64)  # type: ignore[no-any-return]

    @property
    def threshold(self) -> Floats:
        return self._column("threshold", np.float64)  # type: ignore[no-any-return]

    @property
    def grade(self) -> Floats:
        return self._column("grade", np.float64)  # type: ignore[no-any-return]

    @property
    def likelihood(self) -> Floats:
        return self._column("likelihood", np.float64)  # type: ignore[no-any-return]

    @property
    def confidence(self) -> Floats:
        return self._column("confidence", np.float64)  # type: ignore[no-any-return]

    @property
    def is_anomaly(self) -> NDArray[np.bool_]:
        return self._column("is_anomaly", np.bool_)  # type: ignore[no-any-return]

    @property
    def reason(self) -> NDArray[np.object_]:
        return self._column("reason", object)  # type: ignore[no-any-return]

    @property
    def anomalies(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.is_anomaly)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, i: int) -> Detection:
        n = len(self)
        if not -n <= i < n:
            raise IndexError(f"record {i} of {n}")
        i += n if i < 0 else 0
        part = bisect_right(self._ends, i)
        return self._parts[part][i - (self._ends[part - 1] if part else 0)]

    def __iter__(self) -> Iterator[Detection]:
        return (part[i] for part in self._parts for i in range(len(part)))

    def __reduce__(self) -> Any:
        return Detections, ([list(self)],)

    def __repr__(self) -> str:
        called = self.anomalies.tolist()
        shown = ", ".join(map(str, called[:10])) + (f", ... {len(called) - 10} more" if len(called) > 10 else "")
        return f"Detections({len(self)} records, {f'called: {shown}' if called else 'none called'})"

    def like(self, frame: Any, features: list[str]) -> Any:
        """As a frame of the kind of `frame`, one row a record."""
        names = ("score", "threshold", "grade", "likelihood", "is_anomaly", "confidence", "reason")
        columns: dict[str, Any] = {name: getattr(self, name) for name in names}
        columns["reason"] = columns["reason"].tolist()
        cause: list[str | None] = [None] * len(self)
        lag: list[int | None] = [None] * len(self)
        expected = np.full((len(self), len(features)), np.nan)
        for i in self.anomalies.tolist():
            called = self[i]
            cause[i], lag[i], expected[i] = "{0} {2} at lag {1}".format(*called.cause), called.lag, called.expected
        columns["cause"], columns["lag"] = cause, lag
        columns |= {f"expected_{feature}": expected[:, j] for j, feature in enumerate(features)}
        kind = type(frame)
        return kind(columns, index=frame.index) if hasattr(frame, "index") else kind(columns)
