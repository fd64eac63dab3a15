"""Detection and Detections: the results for one record and for many."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from .. import _html as html
from ..explanation import explanation_json
from .events import Event
from .explain import Explanation
from .findings import Finding
from .records import plain_time

Floats = NDArray[np.float64]
GONE = "this record was not flagged, and the detector has learned another since: read the explanation before the next update"


class Source(Protocol):
    """An object that can still explain a record."""

    def _explanation(self, result: Detection) -> Explanation: ...


class Part(Protocol):
    """Results of many records, with an array for each numeric attribute of a Detection. The array has the attribute's name."""

    def __len__(self) -> int: ...
    def __getitem__(self, i: int, /) -> Detection: ...


class Cause(NamedTuple):
    """The feature that stands out, how many records ago this began, and on which side of the expected value it lies.

    Examples
    --------
    >>> from rcf import Cause
    >>> feature, lag, side = Cause("load", 0, "high")
    >>> side
    'high'
    """

    feature: str
    lag: int
    side: str  # "high", "low", or "stuck"


class Detection:
    """The result for one record.

    Explaining a record costs ten times as much as scoring it. Flagged records are explained immediately; any other record is
    explained on first access, which must happen before the next update.

    Attributes
    ----------
    score : float
        The score of the trees. Use it to rank records. It is 0 while the forest warms up.
    evidence : float
        Score times novelty, multiplied by the fourth root of the number of records since the product was last as high. It is 0
        while nothing is known.
    threshold : float
        The lowest evidence that can raise an alarm.
    is_anomaly : bool
        Whether the record raises an alarm: its evidence reaches the threshold and exceeds that of the last 30 records.
    grade : float
        0 if the record is not flagged, otherwise ``evidence / (evidence + threshold)`` but at least 0.5.
    likelihood : float
        ``evidence / (evidence + threshold)``, which lies in [0, 1), or 0 if one of the last 30 records had as much evidence. Use it
        to rank alarms, or to apply your own threshold to many streams: 0.5 corresponds to `anomaly_rate`.
    confidence : float
        In [0, 1], the product of two shares: the share of the window that is neither missing after a gap nor filled, and the
        share of the learning time that has passed, which is ``2 * max_samples`` records or a day, whichever is longer.
    event : Event or None
        The event that begins, continues or ends with this record; see `events` if there are several. Its `state` is "opened",
        "open" or "closed". Send a page on "opened" and resolve it on "closed".
    events : tuple of Event
        All events that the record belongs to.
    reason : str or None
        For a flagged record, a sentence that says why. For others, why the record is not flagged ("near expected", "back to usual")
        or why little is known about it ("warming up", "late start", "gap").
    cause : Cause
        (feature, lag, side). For a flagged record, these are the feature that decided and when its value came. For any other record
        they belong to the largest part of its score. `side` is "high" or "low", by the sign of ``past - expected``, or "stuck".
    severity : float
        The distance of the cause's feature from the expected value, in its units. It is 0 for a stuck sensor, because the value
        itself is usual; only its duration is not.
    expected, past : ndarray of shape (d,)
        `expected` is the record that the forest expected at the time of the cause, given the rest of the window. `past` is the
        record that came then. Both are in the units of the data.
    lag : int
        How many records ago the cause began.
    attribution : ndarray of shape (size, d, 2)
        The parts of the score for the records of the window, oldest first: ``[..., 0]`` for high values, ``[..., 1]`` for low.
    timestamp : object
        The time stamp as it was given.
    key : object
        The key of the record in a :class:`KeyedDetector`.

    See Also
    --------
    StreamDetector : Its `update` returns a Detection.
    Detections : The results for many records.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import StreamDetector
    >>> values = 100 * np.sin(np.arange(700) / 8)
    >>> detector = StreamDetector(random_state=0)
    >>> found = [detector.update(value) for value in [*values, 350.0]][-1]
    >>> found.is_anomaly, found.event.state, found.cause
    (True, 'opened', Cause(feature='x0', lag=0, side='high'))
    >>> found.reason
    'x0 changed by +405.6 to 350; the nearest change in all 700 records before was +12.49'
    >>> bool(found.severity > 200)
    True
    """

    __slots__ = (
        "_finding",
        "_found",
        "_names",
        "_seen",
        "_source",
        "_why",
        "confidence",
        "events",
        "evidence",
        "is_anomaly",
        "key",
        "likelihood",
        "score",
        "threshold",
        "timestamp",
    )

    def __init__(
        self, score: float, evidence: float, threshold: float, likelihood: float, is_anomaly: bool, confidence: float,
        why: str | None, source: Source | None, seen: int, names: Any = None, finding: Finding | None = None,
        events: tuple[Event, ...] = (), timestamp: Any = None,
    ) -> None:  # fmt: skip
        self.score = score
        self.evidence = evidence
        self.threshold = threshold
        self.likelihood = likelihood
        self.is_anomaly = is_anomaly
        self.confidence = confidence
        self.events = events
        self.timestamp = timestamp
        self.key: Any = None
        self._why = why
        self._source = source
        self._seen = seen
        self._names = names
        self._finding = finding
        self._found: Explanation | None = None

    def flag(self, decided: Finding, names: Any) -> None:
        """Flag the record with its finding, and explain it."""
        self.is_anomaly, self._finding, self._names = True, decided, names
        self._explained()

    def _explained(self) -> Explanation:
        if self._found is None:
            if self._source is None:
                raise RuntimeError(GONE)
            found = self._source._explanation(self)
            decided = self._finding
            if decided is not None:
                j, expected = decided.feature, found.expected.copy()
                off = found.past[j] - expected[j]
                agrees = off > 0.0 if decided.side == "high" else off < 0.0
                if decided.side == "stuck":
                    # the value is usual: the forest would expect it too, but rounded to float32
                    expected[j] = found.past[j]
                elif not agrees or decided.kind in ("day", "week"):
                    # the forest and the nets disagree about the side of the value, or the forest does not know the season
                    expected[j] = decided.usual
                found = found._replace(expected=expected)
            self._found = found
        return self._found

    @property
    def grade(self) -> float:
        return grade(self.evidence, self.threshold) if self.is_anomaly else 0.0

    @property
    def event(self) -> Event | None:
        return self.events[0] if self.events else None

    @property
    def reason(self) -> str | None:
        if self.is_anomaly and self._finding is not None:
            return self._finding.text(self._name(self._finding.feature))
        return self._why

    @property
    def attribution(self) -> Floats:
        return self._explained().attribution

    @property
    def lag(self) -> int:
        return self.cause.lag

    @property
    def expected(self) -> Floats:
        return self._explained().expected

    @property
    def past(self) -> Floats:
        return self._explained().past

    @property
    def cause(self) -> Cause:
        decided = self._finding
        if decided is not None:
            return Cause(self._name(decided.feature), decided.run if decided.side == "stuck" else 0, decided.side)
        found = self._explained()
        place = len(found.attribution) - 1 - found.lag
        j = int(found.attribution[place].sum(axis=1).argmax())
        return Cause(self._name(j), found.lag, "high" if found.past[j] >= found.expected[j] else "low")

    @property
    def severity(self) -> float:
        found, j = self._explained(), self._feature
        return float(abs(found.past[j] - found.expected[j]))

    @property
    def _feature(self) -> int:
        if self._finding is not None:
            return self._finding.feature
        found = self._explained()
        return int(found.attribution[len(found.attribution) - 1 - found.lag].sum(axis=1).argmax())

    def _name(self, j: int) -> str:
        return f"x{j}" if self._names is None else str(self._names[j])

    def to_dict(self) -> dict[str, Any]:
        """The detection as a dict of plain values for JSON.

        The time stamp is a number or a string in ISO format, and `features` are the names. `cause`, `expected`, `came` and
        `severity` are None if the record is not flagged, and `event` and `since` are None if there is no event.

        Examples
        --------
        >>> from rcf import StreamDetector
        >>> StreamDetector(random_state=0).update(3.0, 60.0).to_dict()["timestamp"]
        60.0
        """
        event, state_of_event = self.event, None
        if event is not None:
            state_of_event = {**event._asdict(), "since": plain_time(event.since)}
        flagged = self.is_anomaly
        names = None
        if flagged:
            names = [self._name(j) for j in range(len(self.past))]
        return {
            "key": self.key,
            "timestamp": plain_time(self.timestamp),
            "record": self._seen - 1,
            "score": self.score,
            "evidence": self.evidence,
            "threshold": self.threshold,
            "likelihood": self.likelihood,
            "is_anomaly": flagged,
            "grade": self.grade,
            "confidence": self.confidence,
            "reason": self.reason,
            "features": names,
            "cause": self.cause._asdict() if flagged else None,
            "came": _plain(self.past) if flagged else None,
            "expected": _plain(self.expected) if flagged else None,
            "severity": self.severity if flagged else None,
            "event": state_of_event,
            "since": None if state_of_event is None else state_of_event["since"],
        }

    def to_json(self) -> str:
        """`to_dict` as one line of JSON. A key that JSON cannot represent is converted to a string.

        Examples
        --------
        >>> from rcf import StreamDetector
        >>> StreamDetector(random_state=0).update(3.0).to_json()[:40]
        '{"key": null, "timestamp": null, "record'
        """
        return json.dumps(self.to_dict(), default=str, allow_nan=False)

    def _repr_html_(self) -> str:
        """The table that a notebook shows."""
        values = self.to_dict()
        shown = ("key", "timestamp", "record", "score", "is_anomaly", "reason", "cause", "came", "expected", "severity")
        rows = []
        for name in shown:
            value = values[name]
            if value is not None:
                rows.append((name, list(value.values()) if isinstance(value, dict) else value))
        return html.table(("", "Detection"), rows)

    def explanation_json(self, names: Sequence[str] | None = None, *, directionality: bool = True) -> str:
        """The attribution as ANOMALY_EXPLANATION, the JSON of Amazon Kinesis Data Analytics for SQL.

        Parameters
        ----------
        names : sequence of str or None, default=None
            Names of the features. None means the names that the detector knows, or x0, x1, ...
        directionality : bool, default=True
            Write DIRECTION and STRENGTH too.

        Returns
        -------
        str
            An object with an entry per feature; see :func:`rcf.explanation.explanation_json`. While the detector warms up there
            is no attribution; if `names` are given, all numbers are then 0, as in Kinesis.

        Raises
        ------
        RuntimeError
            If the record was not flagged and the detector has learned another record since.
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
        text = f"Detection(score={self.score:.4g}, evidence={self.evidence:.4g}, grade={self.grade:.2g}"
        if self.is_anomaly:
            return f"{text}, is_anomaly=True, cause={tuple(self.cause)}, expected={self.expected.tolist()})"
        return f"{text}, is_anomaly=False, reason={self.reason!r})"


def grade(evidence: float, threshold: float) -> float:
    """The grade of a flagged record: 0.5 at the threshold or below, rising towards 1 above it."""
    return max(0.5, evidence / (evidence + threshold))


def grades(evidence: Floats, threshold: Floats, flagged: NDArray[np.bool_]) -> Floats:
    """The grades of records; 0 for those that are not flagged."""
    found = np.zeros(len(flagged))
    for i in np.flatnonzero(flagged).tolist():
        found[i] = grade(float(evidence[i]), float(threshold[i]))
    return found


def _plain(values: Floats) -> list[float | None]:
    return [None if v != v else v for v in values.tolist()]


class Run:
    """The results of one call for many records, with an array for each attribute of :class:`Detection`."""

    def __init__(
        self, score: Floats, evidence: Floats, threshold: float, likelihood: Floats, is_anomaly: NDArray[np.bool_],
        confidence: Floats, why: dict[int, str], findings: dict[int, Finding], events: dict[int, tuple[Event, ...]],
        stamps: Any, seen: int, names: Any, explanations: dict[int, Explanation],
    ) -> None:  # fmt: skip
        self.score, self.evidence, self.likelihood = score, evidence, likelihood
        self.is_anomaly, self.confidence = is_anomaly, confidence
        self.threshold = np.full(len(score), threshold)
        self._why, self.findings, self._events, self.stamps = why, findings, events, stamps
        self.seen, self.names = seen, names  # `seen`: number of records before the first
        self.explanations = explanations
        # explains the last record, even if it is not flagged, until the next record comes
        self.last: Source | None = None

    @property
    def grade(self) -> Floats:
        return grades(self.evidence, self.threshold, self.is_anomaly)

    @property
    def reason(self) -> NDArray[np.object_]:
        found = np.empty(len(self), dtype=object)
        for i in {*self._why, *np.flatnonzero(self.is_anomaly).tolist()}:
            found[i] = self[i].reason
        return found

    @property
    def events(self) -> NDArray[np.object_]:
        found = np.empty(len(self), dtype=object)
        found.fill(())
        for i, events in self._events.items():
            found[i] = events
        return found

    def _explanation(self, result: Detection) -> Explanation:
        return self.explanations[result._seen - self.seen - 1]

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, i: int) -> Detection:
        called = bool(self.is_anomaly[i])
        source = self if called else self.last if i == len(self) - 1 else None
        return Detection(
            float(self.score[i]), float(self.evidence[i]), float(self.threshold[i]), float(self.likelihood[i]), called,
            float(self.confidence[i]), self._why.get(i), source, self.seen + i + 1, self.names,
            self.findings.get(i) if called else None, self._events.get(i, ()),
            None if self.stamps is None else self.stamps[i],
        )  # fmt: skip


COLUMNS = ("score", "evidence", "threshold", "likelihood", "grade", "confidence")


class Detections:
    """The results for many records, with each numeric attribute of :class:`Detection` as an array of shape (n,).

    ``detections[i]`` is the Detection of record i, and a slice is again a Detections object. `anomalies` holds the positions of
    the flagged records.

    Attributes
    ----------
    score, evidence, threshold, likelihood, grade, confidence : ndarray of shape (n,)
    is_anomaly : ndarray of bool of shape (n,)
    reason : ndarray of str and None of shape (n,)
    events : ndarray of tuple of shape (n,)
        The events of each record.
    anomalies : ndarray of int
        The positions where `is_anomaly` is true, ascending.

    See Also
    --------
    StreamDetector : Its `update_many` returns Detections, or a frame if it was given a frame.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import StreamDetector
    >>> values = 100 * np.sin(np.arange(1000) / 8)
    >>> values[700] = 350
    >>> found = StreamDetector(random_state=0).update_many(values)
    >>> len(found), found.anomalies.tolist()
    (1000, [700])
    >>> found[700].cause
    Cause(feature='x0', lag=0, side='high')
    """

    def __init__(self, parts: Sequence[list[Detection] | Part]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def _column(self, name: str, kind: Any) -> Any:
        columns = []
        for part in self._parts:
            if not isinstance(part, list):
                columns.append(getattr(part, name))
                continue
            column = np.empty(len(part), dtype=kind)
            for i, one in enumerate(part):
                column[i] = getattr(one, name)
            columns.append(column)
        return np.concatenate(columns) if columns else np.empty(0, dtype=kind)

    @property
    def score(self) -> Floats:
        return self._column("score", np.float64)  # type: ignore[no-any-return]

    @property
    def evidence(self) -> Floats:
        return self._column("evidence", np.float64)  # type: ignore[no-any-return]

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
    def events(self) -> NDArray[np.object_]:
        return self._column("events", object)  # type: ignore[no-any-return]

    @property
    def anomalies(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.is_anomaly)

    def _repr_html_(self) -> str:
        """HTML for notebooks, with the scores as a line and the first 20 flagged records."""
        flagged = self.anomalies
        shown = [self[int(i)].to_dict() for i in flagged[:20]]
        rows = [
            (row["record"] if row["timestamp"] is None else row["timestamp"], *row["cause"].values(), row["came"], row["expected"],
             row["severity"], row["reason"])
            for row in shown
        ]  # fmt: skip
        more = f"<p>{len(flagged) - 20} more</p>" if len(flagged) > 20 else ""
        headings = ("record", "feature", "lag", "side", "came", "expected", "severity", "reason")
        return (
            f"<p>{len(self)} records, {len(flagged)} flagged</p>{html.sparkline(self.score, flagged)}"
            + (html.table(headings, rows) if rows else "")
            + more
        )

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, i: int) -> Detection: ...
    @overload
    def __getitem__(self, i: slice) -> Detections: ...
    def __getitem__(self, i: int | slice) -> Detection | Detections:
        n = len(self)
        if isinstance(i, slice):
            return Detections([[self[k] for k in range(*i.indices(n))]])
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
        return f"Detections({len(self)} records, {f'flagged: {shown}' if called else 'none flagged'})"

    def like(self, frame: Any, features: list[str]) -> Any:
        """A frame of the same library as `frame`, with one row per record."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in (*COLUMNS, "is_anomaly")}
        columns["reason"] = self.reason.tolist()
        columns["event"] = [events[0].state if events else None for events in self.events]
        cause: list[str | None] = [None] * len(self)
        lag: list[int | None] = [None] * len(self)
        severity, expected = np.full(len(self), np.nan), np.full((len(self), len(features)), np.nan)
        for i in self.anomalies.tolist():
            called = self[i]
            cause[i], lag[i] = "{0} {2} at lag {1}".format(*called.cause), called.lag
            severity[i], expected[i] = called.severity, called.expected
        columns |= {"cause": cause, "lag": lag, "severity": severity}
        columns |= {f"expected_{feature}": expected[:, j] for j, feature in enumerate(features)}
        kind = type(frame)
        return kind(columns, index=frame.index) if hasattr(frame, "index") else kind(columns)
