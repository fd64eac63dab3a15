"""What a detector says of a record, and how it is found in the forests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._core import Forest

Floats = NDArray[np.float64]


class Cause(NamedTuple):
    """The largest part of a score: which feature, how many records ago, and on which side it lay."""

    feature: str
    lag: int
    side: str  # "high" or "low"


# of a record, what makes a Moment; a tuple, for one is made for every record and few are looked at
Step = tuple[list[float], list[float], list[float], list[float]]


class Moment:
    """A record as it came, and the way back to its units from what the forest saw."""

    __slots__ = ("base", "centre", "raw", "scale")

    def __init__(self, raw: list[float], base: list[float], centre: list[float], scale: list[float]) -> None:
        self.raw, self.base, self.centre, self.scale = raw, base, centre, scale

    def restored(self, values: dict[int, float]) -> dict[int, float]:
        """Transformed values of some features in the user's units."""
        return {j: z * self.scale[j] + self.centre[j] + self.base[j] for j, z in values.items()}


def completed(forest: Forest, window: Floats, missing: list[int], held: bool) -> Floats:
    """(k, len(missing)): what stands in the places that are missing, in the points that fit the others best."""
    if len(missing) == len(window):  # nothing is known: what the forest holds
        return np.concatenate([forest.points(i)[:, missing] for i in range(forest.n_trees)])
    found = forest.complete(window, missing, held)
    return found if len(found) else window[missing].reshape(1, -1)


def band(found: Floats) -> Floats:
    """(3, d): median, 10 and 90 % points of what the trees found.

    Trees find the same point again and again; for the tails each counts once, at the place ``k / (n + 1)`` that an order
    statistic of n holds on average.
    """
    rows = [np.median(found, axis=0)]
    columns = [np.quantile(np.unique(column), [0.1, 0.9], method="weibull") for column in found.T]
    rows.extend(np.array(columns).T)
    return np.array([rows[0], np.minimum(rows[1], rows[0]), np.maximum(rows[2], rows[0])])


def explain(
    forest: Forest, point: Forest | None, window: Floats, moments: list[Step], score: str, total: float, share: float
) -> tuple[Floats, int, Floats, Floats]:
    """Attribution (size, d, 2), the lag of its largest part, and the expected and actual record at that lag.

    The forests have just learned the window; both walks look past their only copy of it, and the parts are scaled to the
    score that
    it had before.
    """
    size, d = len(moments), len(moments[0][0])
    parts = (1.0 - share) * forest.attribution(window.reshape(1, -1), score).reshape(size, d, 2)
    if point is not None:
        parts[-1] += share * point.attribution(window[-d:].reshape(1, -1), score)[0]
    whole = parts.sum()
    if whole > 0.0:
        parts *= total / whole
    lag = size - 1 - int(parts.sum(axis=(1, 2)).argmax())
    place, moment = (size - 1 - lag) * d, Moment(*moments[size - 1 - lag])
    found = np.median(completed(forest, window, list(range(place, place + d)), True), axis=0)
    expected = moment.restored(dict(enumerate(found.tolist())))
    return parts, lag, np.array(list(expected.values())), np.array(moment.raw)


class Detection:
    """What a detector says of one record.

    What explains a record costs ten times what judges it. For a record that was called it is worked out
    at once; for others when it is first read, which must be before the detector takes in the next record.

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
        In [0, 1]: how far the score stands above all scores of the last 448 records (``7/4 * max_samples``), both
        squared, as a share of the highest
        score there is. Defined for every record, called or not; rank records by it, or choose one threshold of your own
        for many streams.
    confidence : float
        In [0, 1]: the share of the window that was not filled in, times how far the forest has warmed up.
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
    """

    __slots__ = (
        "_detector",
        "_found",
        "_seen",
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
        reason: str | None, detector: Any, seen: int,
    ) -> None:  # fmt: skip
        self.score = score
        self.threshold = threshold
        self.grade = grade
        self.is_anomaly = is_anomaly
        self.likelihood = likelihood
        self.confidence = confidence
        self.reason = reason
        self._detector = detector
        self._seen = seen
        self._found: tuple[Floats, int, Floats, Floats, Any] | None = None

    def _set(self, parts: Floats, lag: int, expected: Floats, past: Floats, names: Any) -> None:
        self._found = parts, lag, expected, past, names

    def _explained(self) -> tuple[Floats, int, Floats, Floats, Any]:
        if self._found is None:
            detector = self._detector
            if detector is None or detector.n_seen_ != self._seen:
                raise RuntimeError(
                    "this record was not called, and the detector has moved on: read it before the next update"
                )
            if not detector._full or not detector._transform.settled:
                raise RuntimeError("there is no full window yet to explain")
            detector._explain(
                self, detector._forest, detector._point, detector._ring.window(False), list(detector._moments)
            )
            assert self._found is not None
        return self._found

    @property
    def attribution(self) -> Floats:
        return self._explained()[0]

    @property
    def lag(self) -> int:
        return self._explained()[1]

    @property
    def expected(self) -> Floats:
        return self._explained()[2]

    @property
    def past(self) -> Floats:
        return self._explained()[3]

    @property
    def cause(self) -> Cause:
        parts, names = self.attribution, self._explained()[4]
        place, feature, side = np.unravel_index(int(parts.argmax()), parts.shape)
        name = f"x{feature}" if names is None else str(names[feature])
        return Cause(name, int(len(parts) - 1 - place), ("high", "low")[int(side)])

    def __getstate__(self) -> Any:
        return {name: None if name == "_detector" else getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        text = f"Detection(score={self.score:.4g}, threshold={self.threshold:.4g}, grade={self.grade:.2g}"
        if self.is_anomaly:
            return f"{text}, is_anomaly=True, cause={tuple(self.cause)}, expected={self.expected.tolist()})"
        return f"{text}, is_anomaly=False, reason={self.reason!r})"


class Detections:
    """What a detector says of many records: each attribute of :class:`Detection` that is a number, as an array (n,).

    ``detections[i]`` is that of record i; `anomalies` has the numbers of those called.
    """

    def __init__(self, results: list[Detection]) -> None:
        self._results = results

    def _column(self, name: str, kind: Any) -> Any:
        return np.array([getattr(r, name) for r in self._results], dtype=kind)

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
        return len(self._results)

    def __getitem__(self, i: int) -> Detection:
        return self._results[i]

    def __iter__(self) -> Iterator[Detection]:
        return iter(self._results)

    def like(self, frame: Any) -> Any:
        """As a frame of the kind of `frame`, one row a record."""
        names = ("score", "threshold", "grade", "likelihood", "is_anomaly", "confidence", "reason")
        columns: dict[str, Any] = {name: getattr(self, name) for name in names}
        columns["reason"] = columns["reason"].tolist()
        columns["cause"] = ["{0} {2} at lag {1}".format(*r.cause) if r.is_anomaly else None for r in self._results]
        columns["lag"] = [r.lag if r.is_anomaly else None for r in self._results]
        kind = type(frame)
        return kind(columns, index=frame.index) if hasattr(frame, "index") else kind(columns)
