"""StreamDetector: from a raw stream to alarms that say why."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from math import isfinite, log2
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from ._core import LIMIT, SCORES, Forest, ModelStateError, RingCore
from ._explain import Detection, Detections, Moment, Step, band, completed, explain
from ._threshold import Threshold
from ._transform import HELD_BACK, KINDS, Transform
from ._validate import finite, not_negative, seed_entropy, whole_number
from .persist import Savable

Floats = NDArray[np.float64]
Fill = Literal["previous", "linear", "forest", "zero"]
FORMAT = 1
RUN = 1024  # records given to the forests at once
GAPS = 15  # time steps whose median is the interval


class StreamDetector(Savable, BaseEstimator):  # type: ignore[misc]
    """Anomalies in a stream of numbers or vectors, each with its cause and with what was expected.

    Every record is put on its own scale, joined with the ones before it to a window (a shingle), scored by a random cut
    forest, and learned. Half of the trees watch the window, half the newest record alone: the first see what is
    out of order, the second what is out of range, at once and without an echo while it passes through the window. The score
    is the mean
    over all trees; a threshold that follows the scores makes alarms of it.

    Parameters
    ----------
    shingle_size : int, default=8
        Records in a window. 1 looks at records alone (all trees then do). Forecasts need at least 2.
    n_estimators : int, default=50
        Trees.
    max_samples : int, default=256
        Windows that each tree holds. Scores are 0 for the first `max_samples` windows, while the trees fill.
    time_decay : float or None, default=None
        A window's weight in the samples falls by ``exp(-time_decay)`` with each record. None is ``1 / (10 *
        max_samples)``, a memory of
        some 2 500 records.
    score : {"depth", "codisp", "displacement", "opensearch"}, default="depth"
        The kind of score. Measured on labelled operational series with all else equal, "depth" finds as much as the
        displacements and its
        scale does not depend on `max_samples` much.
    transform : {"normalize", "difference", "normalize_difference", "subtract_moving_average", "none"}, default="normalize"
        What is done to each feature first. "normalize" takes off the mean and divides by the standard deviation, both
        settled by the
        first 64 records; for a series with a trend take "difference" or, with several features, "normalize_difference";
        the moving average
        is over about 64 records.
    weights : sequence of float or None, default=None
        By which each transformed feature is multiplied: what a feature counts for in the forest. None is 1 each.
    anomaly_rate : float, default=0.005
        An upper estimate of the share of records in anomalies; lower makes fewer alarms. The threshold lies ``ln(1 /
        anomaly_rate)`` standard
        deviations above the mean of the last ``2 / anomaly_rate`` scores or so.
    alert_once : bool, default=True
        Whether a state that lasts is one alarm. If not, each of its records is called until the forest has learned it. An
        echo inside the
        window is never called.
    ignore_near_expected : mapping or None, default=None
        Records as near as this to what was expected are not called, however unusual: ``{"above": (amount, ratio),
        "below": (amount,
        ratio)}``. A feature is near if it lies above what was expected by at most `amount`, in its units, or by at most
        `ratio` times the expected value's size; `below` likewise. Each of the two may be a number for all
        features or a sequence. A side left out is not forgiven.
    fill : {"previous", "linear", "forest", "zero"} or float, default="previous"
        What stands in for NaN and for records that the time stamps show to be missing: the last value, the line through
        the last two, the
        forest's completion of the window, 0, or the number given. (Records missed before a vector with NaN use the same.)
    interval : float or None, default=None
        Seconds between time stamps. None learns it: the median of the first 15 steps.
    random_state : int, RandomState, Generator or None, default=None
        The same int gives the same results, bit for bit.

    Attributes
    ----------
    n_seen_ : int
        Records taken in, without those filled.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where a frame came in.

    Notes
    -----
    Guha, Mishra, Roy, Schrijvers, "Robust Random Cut Forest Based Anomaly Detection on Streams", ICML 2016, for forest and
    shingles; the
    alarm rules answer to what the AWS library's ThresholdedRandomCutForest is used for.

    It does badly where the anomaly is the absence of something rare (a weekly job that did not run), for a window of 8 does
    not know that it was due; and on slow drifts, which the forest learns as they come.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import StreamDetector
    >>> x = 100 * np.sin(np.arange(1000) / 8)
    >>> x[700] += 150
    >>> detector = StreamDetector(random_state=0)
    >>> found = [t for t, value in enumerate(x) if detector.update(value).is_anomaly]
    >>> found
    [700]
    """

    def __init__(
        self,
        shingle_size: int = 8,
        *,
        n_estimators: int = 50,
        max_samples: int = 256,
        time_decay: float | None = None,
        score: str = "depth",
        transform: str = "normalize",
        weights: Sequence[float] | None = None,
        anomaly_rate: float = 0.005,
        alert_once: bool = True,
        ignore_near_expected: dict[str, Any] | None = None,
        fill: Fill | float = "previous",
        interval: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.shingle_size = shingle_size
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.time_decay = time_decay
        self.score = score
        self.transform = transform
        self.weights = weights
        self.anomaly_rate = anomaly_rate
        self.alert_once = alert_once
        self.ignore_near_expected = ignore_near_expected
        self.fill = fill
        self.interval = interval
        self.random_state = random_state

    # ---- starting ----------------------------------------------------------------------------------------------

    def _checked(self) -> tuple[int, int, int, float, float]:
        """(shingle_size, n_estimators, max_samples, time_decay, anomaly_rate), after a look at all parameters."""
        size = whole_number("shingle_size", self.shingle_size, 1, 2**31 - 1)
        trees = whole_number("n_estimators", self.n_estimators, 1, 2**31 - 1)
        samples = whole_number("max_samples", self.max_samples, 1, 2**30 - 1)
        decay = 0.1 / samples if self.time_decay is None else not_negative("time_decay", self.time_decay)
        rate = not_negative("anomaly_rate", self.anomaly_rate)
        if not 0.0 < rate <= 0.5:
            raise ValueError(f"anomaly_rate must be above 0 and at most 0.5, got {self.anomaly_rate}")
        for name, allowed in (("score", SCORES), ("transform", KINDS)):
            if getattr(self, name) not in allowed:
                choice = ", ".join(map(repr, allowed))
                raise ValueError(f"{name} must be one of {choice}, got {getattr(self, name)!r}")
        if self.fill not in ("previous", "linear", "forest", "zero") and (
            not isinstance(self.fill, Real) or not isfinite(self.fill)
        ):
            raise ValueError(f"fill must be 'previous', 'linear', 'forest', 'zero' or a number, got {self.fill!r}")
        if self.interval is not None and not_negative("interval", self.interval) == 0:
            raise ValueError(f"interval must be above zero, got {self.interval}")
        if self.weights is not None:
            try:
                fine = all(1e-9 <= float(w) <= 1e9 for w in self.weights)
            except TypeError as error:
                raise ValueError(f"weights must be numbers, one for each feature, got {self.weights!r}") from error
            if not fine:
                raise ValueError(f"weights must lie between 1e-9 and 1e9, got {self.weights}")
        return size, trees, samples, decay, rate

    def _start(self, d: int, grown: tuple[Forest, Forest | None] | None = None) -> None:
        """Check the parameters and make the parts, the forests too unless they are given; changes nothing if one is wrong."""
        size, trees, samples, decay, rate = self._checked()
        if size * d >= 2**31:
            raise ValueError(f"a window of {size} records of {d} features is too wide")
        weights = [1.0] * d if self.weights is None else [float(w) for w in self.weights]
        if len(weights) != d:
            raise ValueError(f"weights has {len(weights)} entries for {d} features")
        near = _near(self.ignore_near_expected, d)
        # half of the trees for each view; one view needs no halves
        alone = trees // 2 if size > 1 else 0
        if grown is None:
            seed = seed_entropy(self.random_state)
            point = Forest(alone, samples, d, decay, [*seed, 1]) if alone else None
            forest = Forest(trees - alone, samples, d * size, decay, [*seed, 0])
        else:
            forest, point = grown
            for found, many, width in ((forest, trees - alone, d * size), (point, alone, d)):
                shape = None if found is None else (found.n_trees, found.capacity, found.n_features, found.time_decay)
                if shape != ((many, samples, width, decay) if many else None):
                    raise ValueError("the forests are not those of the parameters")
        self._near, self._forest, self._point = near, forest, point
        self._transform = Transform(self.transform, weights, min(HELD_BACK, samples))
        least = {"depth": 1.2, "opensearch": 1.2}.get(self.score, 3.0)
        most = log2(samples + 1) if least < 2.0 else float(samples)
        self._threshold = Threshold(rate, size, samples, bool(self.alert_once), least, most)
        self._share = alone / trees
        self._size, self._rows = size, samples
        self._ring = RingCore(size, d)
        self._moments: deque[Step] = deque(maxlen=size)
        self._filled: deque[float] = deque(
            maxlen=size
        )  # the share of each record that was filled in; empty while none was
        self._any_filled = self._warm = False
        self._last: list[list[float]] = []  # the last two records as they came, filled
        self._time: float | None = None
        self._steps: list[float] = []
        self._step = None if self.interval is None else float(self.interval)
        self._pending: list[tuple[int, int, Floats, Floats, Floats]] = []
        self._widening: list[float] = []
        self.n_seen_ = 0
        self.n_features_in_ = d
        self._begun_with = self.get_params(deep=False)

    @property
    def _started(self) -> bool:
        return "_forest" in self.__dict__

    def __sklearn_is_fitted__(self) -> bool:
        return self._started

    # ---- records in --------------------------------------------------------------------------------------------

    def update(self, record: Any, timestamp: Any = None) -> Detection:
        """Take in the next record and judge it.

        Parameters
        ----------
        record : float or array-like of shape (d,)
            NaN marks a missing value.
        timestamp : float, datetime, numpy.datetime64 or None, default=None
            Seconds, or a date. Later than the one before. A step of more than one and a half intervals shows that
            records are missing between.

        Returns
        -------
        Detection

        Raises
        ------
        ValueError
            For an infinite value, another number of features, a time stamp that does not move on; the detector is then as it was.
        """
        values = [record] if type(record) is float and -LIMIT <= record <= LIMIT else _values(record)
        if "_forest" not in self.__dict__:
            time = None if timestamp is None else _seconds(timestamp)
            self._start(len(values))
        else:
            if len(values) != self.n_features_in_:
                raise ValueError(f"X has {len(values)} features, but {self.n_features_in_} are expected.")
            time = None if timestamp is None and self._time is None else self._checked_time(timestamp, self._time)
        return self._one(values, time)

    def _checked_time(self, timestamp: Any, before: float | None) -> float:
        if timestamp is None:
            raise ValueError("the records before had time stamps: this one needs one too")
        time = _seconds(timestamp)
        if before is not None and time <= before:
            what = "is the same as" if time == before else "is before"
            raise ValueError(f"timestamp {timestamp} {what} the last one: time must move on")
        return time

    def _one(self, values: list[float], time: float | None) -> Detection:
        """Take in a record that has been checked."""
        late = None
        if time is not None:
            late = self._pass_time(time)
        self.n_seen_ += 1
        missing = 0
        for v in values:
            if v != v:
                missing += 1
        if missing:
            filled = self._fill_in(values)
            if filled is None:  # a feature has never been seen
                return Detection(0.0, self._threshold.limit, 0.0, False, 0.0, 0.0, "late start", self, self.n_seen_)
            values = filled
        rows = self._push(values, missing / len(values))
        if len(rows) != 1:
            for row in rows[:-1]:
                self._learn(row)
            if not rows:
                return Detection(
                    0.0, self._threshold.limit, 0.0, False, 0.0, 0.0, late or "warming up", self, self.n_seen_
                )
        score, point = self._learn(rows[-1])
        return self._judge(score, point, late)

    def _pass_time(self, time: float) -> str | None:
        """Fill in the records that the clock shows to be missing; "gap" where they are more than a window."""
        before, self._time = self._time, time
        if before is None:
            return None
        step = time - before
        if self._step is None:
            self._steps.append(step)
            if len(self._steps) == GAPS:
                self._step = sorted(self._steps)[GAPS // 2]
            return None
        if step <= 1.5 * self._step:
            return None
        missed = round(step / self._step) - 1
        if missed >= self._size:
            self._ring.reset()
            self._moments.clear()
            self._filled.clear()
            self._any_filled = False
            return "gap"
        if self._last:
            for _ in range(missed):
                filled = self._fill_in([float("nan")] * self.n_features_in_)
                assert filled is not None
                for row in self._push(filled, 1.0):
                    self._ring.push(np.array(row))
        return None

    def _fill_in(self, values: list[float]) -> list[float] | None:
        """The record with its gaps filled; None where nothing is known to fill them with."""
        if not isinstance(self.fill, str):
            return [float(self.fill) if v != v else v for v in values]
        if self.fill == "zero":
            return [0.0 if v != v else v for v in values]
        if not self._last:
            return None
        last = self._last[-1]
        if self.fill == "linear" and len(self._last) > 1:
            last = [2.0 * b - a if abs(2.0 * b - a) <= LIMIT else b for a, b in zip(self._last[-2], last, strict=True)]
        if self.fill == "forest" and self._full and self._forest.n_seen > self._rows:
            moment = Moment(self._last[-1], self._next_base(), self._transform.centre, self._transform.scale)
            known = self._transform.peek([b if v != v else v for v, b in zip(values, moment.raw, strict=True)])
            d = self.n_features_in_
            window = np.concatenate([self._ring.window(False)[d:], known])
            gaps = [j for j, v in enumerate(values) if v != v]
            found = completed(self._forest, window, [(self._size - 1) * d + j for j in gaps], False)
            middle = moment.restored(dict(zip(gaps, np.median(found, axis=0).tolist(), strict=True)))
            last = [middle.get(j, v) for j, v in enumerate(last)]
        return [b if v != v else v for v, b in zip(values, last, strict=True)]

    def _next_base(self) -> list[float]:
        return self._transform.next_base()

    @property
    def _full(self) -> bool:
        # a gap while the first records are held back empties `_moments` alone
        return bool(self._ring.seen >= self._size and len(self._moments) == self._size)

    def _push(self, values: list[float], filled: float) -> list[list[float]]:
        """Through the transform; the rows that are now ready for the forests."""
        self._last = [self._last[-1], values] if self._last else [values]
        t = self._transform
        rows = t.push(values)
        self._moments.append((values, t.base, t.centre, t.scale))
        if filled or self._any_filled:
            self._filled.append(filled)
            self._any_filled = any(self._filled)
            if not self._any_filled:
                self._filled.clear()
        if len(rows) > 1:  # settled only now: the moments before had no scale yet
            self._moments = deque(((raw, base, t.centre, t.scale) for raw, base, _, _ in self._moments), self._size)
        return rows

    def _learn(self, row: list[float]) -> tuple[float, float]:
        """Score and learn one row: the mean over all trees, and that of the trees that watch the newest record alone.

        A window of which more than half was filled in is scored and not learned.
        """
        record = np.array(row)
        self._ring.push(record)
        doubtful = self._any_filled and sum(self._filled) > 0.5 * self._size
        point = 0.0
        if self._point is not None:
            point = self._score(self._point, record) if doubtful else self._point.update_record(record, self.score)
        if len(self._moments) < self._size:
            return 0.0, point
        window = self._ring.window(False)
        whole = self._score(self._forest, window) if doubtful else self._forest.update_record(window, self.score)
        if self._point is None:
            return whole, whole
        return self._share * point + (1.0 - self._share) * whole, point

    def _score(self, forest: Forest, row: Floats) -> float:
        return float(forest.score(row.reshape(1, -1), self.score)[0]) if forest.n_seen > self._rows else 0.0

    @property
    def _confidence(self) -> float:
        known = 1.0 - sum(self._filled) / self._size if self._any_filled else 1.0
        if self._warm:
            return known
        n, sure = self._forest.n_seen, 2 * self._rows
        self._warm = bool(n >= sure)
        return known * min(1.0, n / sure)

    def _judge(self, score: float, point: float, late: str | None) -> Detection:
        """What becomes of the score of the record that the forests have just learned."""
        if self._pending:
            self._compare()
        if score == 0.0:
            why = late or "warming up"
            return Detection(0.0, self._threshold.limit, 0.0, False, 0.0, self._confidence, why, self, self.n_seen_)
        limit, likelihood, call, reason = self._threshold.step(score, point)
        grade = self._threshold.grade(score) if call else 0.0
        result = Detection(score, limit, grade, call, likelihood, self._confidence, reason or late, self, self.n_seen_)
        if call:
            self._explain(result, self._forest, self._point, self._ring.window(False), list(self._moments))
            if self._near is not None and self._is_near(result):
                result.is_anomaly, result.grade, result.reason = False, 0.0, "near expected"
        return result

    def _is_near(self, result: Detection) -> bool:
        assert self._near is not None
        above, below = self._near
        for value, expected, high, low in zip(
            result.past.tolist(), result.expected.tolist(), above, below, strict=True
        ):
            off = value - expected
            amount, ratio = high if off > 0 else low
            if off and abs(off) > max(amount, ratio * abs(expected)):
                return False
        return True

    def _explain(
        self, result: Detection, forest: Forest, point: Forest | None, window: Floats, moments: list[Step]
    ) -> None:
        parts, lag, expected, past = explain(forest, point, window, moments, self.score, result.score, self._share)
        result._set(parts, lag, expected, past, getattr(self, "feature_names_in_", None))

    # ---- many records ------------------------------------------------------------------------------------------

    def update_many(self, records: Any, timestamps: Any = None) -> Any:
        """Take in records one after the other: the same results as `update` on each, bit for bit, faster.

        Parameters
        ----------
        records : array-like or frame of shape (n,) or (n, d)
        timestamps : array-like of shape (n,), str or None, default=None
            As for `update`; of a frame also the name of a column.

        Returns
        -------
        Detections
            Arrays, and the called records with all that there is to say of them. For a pandas or polars frame a frame
            of its kind, one row
            a record: score, threshold, grade, likelihood, is_anomaly, confidence, reason, and of the called ones cause and lag.

        Raises
        ------
        ValueError
            As `update`, naming the row; nothing is taken in then.
        """
        names = None
        if hasattr(records, "columns"):
            frame, names = records, [str(c) for c in records.columns]
            if isinstance(timestamps, str):
                names.remove(timestamps)
                timestamps = records[timestamps].to_numpy()
            table = records[names].to_numpy()
        else:
            frame, table = None, records
        try:
            X = np.array(table, dtype=np.float64, ndmin=1)
        except (TypeError, ValueError) as error:
            raise ValueError(f"records must be numbers: {error}") from error
        if X.ndim == 1:
            X = X.reshape(-1, 1)
        if X.ndim != 2 or X.shape[1] == 0:
            raise ValueError(f"records must have shape (n,) or (n, d), got {X.shape}")
        if self._started and X.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[1]} features, but {self.n_features_in_} are expected.")
        bad = np.argwhere(~(np.abs(X) <= LIMIT) & ~np.isnan(X))
        if len(bad):
            row, j = bad[0]
            raise ValueError(f"Input X contains {X[row, j]}, infinite or beyond float32 (row {row}, feature {j}).")
        times: list[float | None] = [None] * len(X)
        before = self._time if self._started else None
        if timestamps is not None or before is not None:
            stamps = [None] * len(X) if timestamps is None else list(timestamps)
            if len(stamps) != len(X):
                raise ValueError(f"{len(stamps)} timestamps for {len(X)} records")
            for i, stamp in enumerate(stamps):
                try:
                    before = times[i] = self._checked_time(stamp, before)
                except ValueError as error:
                    raise ValueError(f"row {i}: {error}") from None
        if not self._started:
            self._start(X.shape[1])
        if names is not None and not hasattr(self, "feature_names_in_"):
            self.feature_names_in_ = np.array(names, dtype=object)
        rows: list[list[float]] = X.tolist()
        clean = [all(v == v for v in row) for row in rows]
        results: list[Detection] = []
        i = 0
        while i < len(rows):
            n = self._run_length(clean, times, i)
            if n < 2:
                results.append(self._one(rows[i], times[i]))
                i += 1
            else:
                self._run(rows[i : i + n], results)
                if times[i + n - 1] is not None:
                    self._time = times[i + n - 1]
                i += n
        found = Detections(results)
        return found if frame is None else found.like(frame)

    def _run_length(self, clean: list[bool], times: list[float | None], i: int) -> int:
        """How many records from i on can go through the forests at once."""
        if self._near is not None or not self._transform.settled or not self._full or self._any_filled or self._pending:
            return 0
        # a record of which the forests do not know enough, or that they are still growing for, goes alone
        end, before = min(len(clean), i + RUN), self._time
        if times[i] is not None and self._step is None:
            return 0
        for k in range(i, end):
            if not clean[k]:
                return k - i
            time = times[k]
            if time is not None and before is not None and self._step is not None:
                if time - before > 1.5 * self._step:
                    return k - i
                before = time
        return end - i

    def _run(self, rows: list[list[float]], results: list[Detection]) -> None:
        """Clean records at even steps: transform all, then the forests, then the threshold over their scores."""
        d, size, transform = self.n_features_in_, self._size, self._transform
        moments = list(self._moments)
        ready = []
        for values in rows:
            ready.extend(transform.push(values))
            moments.append((values, transform.base, transform.centre, transform.scale))
        Z = np.array(ready)
        joined = np.concatenate([self._ring.window(False)[d:].reshape(size - 1, d), Z])
        windows = np.lib.stride_tricks.sliding_window_view(joined, size, axis=0).transpose(0, 2, 1).reshape(len(Z), -1)
        windows = np.ascontiguousarray(windows)
        # as they are now, to explain from what is called: most runs of records have none, and a copy takes under a millisecond
        before = self._forest.copy(), None if self._point is None else self._point.copy()
        first_n = self._forest.n_seen
        whole = self._forest.update(windows, None, self.score)
        if self._point is None:
            scores = points = whole.tolist()
        else:
            alone = self._point.update(Z, None, self.score)
            points = alone.tolist()
            share = self._share
            scores = [share * p + (1.0 - share) * w for p, w in zip(points, whole.tolist(), strict=True)]
        for row in Z[-size:]:
            self._ring.push(row)
        done, sure, seen = 0, 2 * self._rows, self.n_seen_
        step, grade = self._threshold.step, self._threshold.grade
        for i, (score, point) in enumerate(zip(scores, points, strict=True)):
            n = first_n + i + 1
            confidence = 1.0 * min(1.0, n / sure)
            seen += 1
            if score == 0.0:
                limit = self._threshold.limit
                results.append(Detection(0.0, limit, 0.0, False, 0.0, confidence, "warming up", None, seen))
                continue
            limit, likelihood, call, reason = step(score, point)
            result = Detection(
                score, limit, grade(score) if call else 0.0, call, likelihood, confidence, reason, None, seen
            )
            if call:
                before[0].update(windows[done : i + 1], None, None)
                if before[1] is not None:
                    before[1].update(Z[done : i + 1], None, None)
                done = i + 1
                at = len(moments) - len(rows) + i + 1
                self._explain(result, before[0], before[1], windows[i], moments[at - size : at])
            results.append(result)
        self._moments.extend(moments[-size:])
        self._last = [*self._last, *rows][-2:]
        self.n_seen_ = seen
        for result in results[-1:]:
            result._detector = self

    # ---- forecast ----------------------------------------------------------------------------------------------

    def forecast(self, horizon: int = 1, *, calibrate: bool = False) -> Forecast:
        """What comes next, in the user's units; changes nothing but what `calibrate` remembers.

        The forest completes the window by one record, the median of what its trees find is appended, and so on.

        Parameters
        ----------
        horizon : int, default=1
            Records ahead.
        calibrate : bool, default=False
            Widen or narrow the band by the errors of the calibrated forecasts made before, a factor for each step ahead: it grows
            where records fell outside and shrinks where they fell inside until 80 % are inside (adaptive conformal
            inference: Gibbs
            and Candès, NeurIPS 2021).

        Returns
        -------
        Forecast
            `median`, `lower` and `upper`, the 10 and 90 % points, each (horizon, d).

        Raises
        ------
        ValueError
            Before the forest has learned anything, after a gap before the window is full again, and for ``shingle_size=1``.
        """
        horizon = whole_number("horizon", horizon)
        if not self._started or not self._full or self._forest.n_seen < 2:
            raise ValueError("nothing to forecast from: the window is not full yet")
        if self._size < 2:
            raise ValueError("a forecast needs a shingle_size of at least 2")
        d, t = self.n_features_in_, self._transform
        window = self._ring.window(False)
        missing = list(range((self._size - 1) * d, self._size * d))
        bands = np.empty((3, horizon, d))
        base, last = t.next_base(), self._last[-1]
        for h in range(horizon):
            window = np.concatenate([window[d:], window[-d:]])
            found = band(completed(self._forest, window, missing, False))
            window[-d:] = found[0]
            if h and t.origin == "previous":
                base = bands[0, h - 1].tolist()
            moment = Moment(last, base, t.centre, t.scale)
            for k in range(3):
                bands[k, h] = list(moment.restored(dict(enumerate(found[k].tolist()))).values())
        median, lower, upper = bands
        if calibrate:
            self._widening += [1.0] * (horizon - len(self._widening))
            self._pending.append((self.n_seen_, horizon, median.copy(), lower.copy(), upper.copy()))
            factor = np.array(self._widening[:horizon])[:, None]
            lower, upper = median - factor * (median - lower), median + factor * (upper - median)
        return Forecast(median, lower, upper)

    def _compare(self) -> None:
        """Hold forecasts made before against the record that has come."""
        value = np.array(self._last[-1])
        kept = []
        for made, horizon, median, lower, upper in self._pending:
            h = self.n_seen_ - made - 1
            factor = self._widening[h]
            low, high = median[h] - factor * (median[h] - lower[h]), median[h] + factor * (upper[h] - median[h])
            outside = float(np.mean((value < low) | (value > high)))
            # a step of 0.05: about 100 errors settle the factor
            self._widening[h] = min(max(factor * float(np.exp(0.05 * (outside - 0.2))), 0.1), 100.0)
            if h + 1 < horizon:
                kept.append((made, horizon, median, lower, upper))
        self._pending = kept

    # ---- state -------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        """All that the future depends on, as arrays and plain values (see `_from_state`)."""
        self._checked()
        state: dict[str, Any] = {"format": FORMAT, "params": _plain(self.get_params(deep=False))}
        if not self._started:
            return {**state, "stream": None}
        d = self.n_features_in_
        names = getattr(self, "feature_names_in_", None)
        state["stream"] = {
            "begun_with": _plain(self._begun_with),  # parameters may have been set since
            "n_features": d,
            "feature_names": None if names is None else [str(name) for name in names],
            "n_seen": self.n_seen_,
            "time": self._time,
            "step": self._step,
            "steps": list(self._steps),
            "last": np.array(self._last, dtype=np.float64).reshape(-1, d),
            "filled": np.array(self._filled, dtype=np.float64),
            "moments": np.array(self._moments, dtype=np.float64).reshape(-1, 4, d),
            "ring": self._ring.window(False).reshape(self._size, d)[max(0, self._size - self._ring.seen) :],
            "transform": self._transform.state(),
            "threshold": self._threshold.state(),
            "widening": list(self._widening),
            "pending_made": [p[0] for p in self._pending],
            "pending": [np.stack(p[2:], axis=1) for p in self._pending],
            "forest": self._forest.state(),
            "point": None if self._point is None else self._point.state(),
        }
        return state

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        """The detector of a `_state`; ModelStateError where it does not describe one."""
        if state.get("format") != FORMAT:
            raise ModelStateError(f"a detector state of format {state.get('format')!r}; this version reads {FORMAT}")
        try:
            self = cls(**state["params"])
            stream = state["stream"]
            self._checked()
            if stream is not None:
                self.set_params(**stream["begun_with"])
                self._resume(stream)
                self.set_params(**state["params"])
        except ModelStateError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            raise ModelStateError(f"not the state of a detector: {error!r}") from error
        return self

    def _resume(self, stream: dict[str, Any]) -> None:
        """Go on where the stream of a `_state` was."""
        point = None if stream["point"] is None else Forest.from_state(stream["point"])
        d = whole_number("n_features", stream["n_features"])
        self._start(d, (Forest.from_state(stream["forest"]), point))
        names = stream["feature_names"]
        if names is not None:
            if [type(name) for name in names] != [str] * d:
                raise ValueError(f"feature_names are not {d} names")
            self.feature_names_in_ = np.array(names, dtype=object)
        self._transform.restore(stream["transform"])
        self._threshold.restore(stream["threshold"])
        n_seen = self.n_seen_ = whole_number("n_seen", stream["n_seen"], 0, 2**62)
        for record in finite("ring", stream["ring"], (self._size, d)):
            self._ring.push(record)
        self._last = finite("last", stream["last"], (2, d)).tolist()
        self._moments.extend((raw, base, centre, scale) for raw, base, centre, scale in finite(
            "moments", stream["moments"], (self._size, 4, d)).tolist())  # fmt: skip
        self._filled.extend(finite("filled", stream["filled"], (self._size,), 0.0, 1.0).tolist())
        self._any_filled = any(self._filled)
        self._time = None if stream["time"] is None else float(finite("time", stream["time"], ()))
        self._step = None if stream["step"] is None else float(finite("step", stream["step"], (), 5e-324))
        self._steps = finite("steps", stream["steps"], (GAPS - (self._step is None),), 0.0).tolist()
        self._widening = finite("widening", stream["widening"], (2**31,), 0.0).tolist()
        for made, found in zip(stream["pending_made"], stream["pending"], strict=True):
            bands = finite("pending", found, (len(self._widening), 3, d))
            ahead = n_seen - whole_number("pending_made", made, 0)
            if not 0 <= ahead < len(bands):
                raise ValueError(f"a forecast for {len(bands)} records was made {ahead} records ago")
            self._pending.append((made, len(bands), bands[:, 0], bands[:, 1], bands[:, 2]))

    def __reduce__(self) -> Any:
        return type(self)._from_state, (self._state(),)


class Forecast:
    """What a detector expects: `median`, `lower` and `upper` (10 and 90 % points), each of shape (horizon, d)."""

    __slots__ = ("lower", "median", "upper")

    def __init__(self, median: Floats, lower: Floats, upper: Floats) -> None:
        self.median, self.lower, self.upper = median, lower, upper

    def __repr__(self) -> str:
        return f"Forecast(median={self.median.tolist()}, lower={self.lower.tolist()}, upper={self.upper.tolist()})"


def _values(record: Any) -> list[float]:
    """A record as plain floats; NaN passes."""
    if type(record) is float:
        values = [record]
    elif isinstance(record, np.ndarray) and record.ndim <= 1 and record.dtype == np.float64:
        values = record.tolist() if record.ndim else [float(record)]
    else:
        try:
            array: ArrayLike = np.array(record, dtype=np.float64, ndmin=1)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a record must be a number or a vector of numbers, got {record!r}") from error
        if np.ndim(array) != 1:
            raise ValueError(f"a record must be one-dimensional, got shape {np.shape(array)}")
        values = np.asarray(array).tolist()
    if not values:
        raise ValueError("a record must have at least one feature, got an empty one")
    for j, v in enumerate(values):
        if not -LIMIT <= v <= LIMIT and v == v:
            raise ValueError(f"Input X contains {v}, infinite or beyond float32 (feature {j}).")
    return values


def _seconds(timestamp: Any) -> float:
    if isinstance(timestamp, np.datetime64):
        seconds = (
            float(timestamp.astype("datetime64[us]").astype(np.int64)) / 1e6 if not np.isnat(timestamp) else np.nan
        )
    elif isinstance(timestamp, datetime):
        seconds = timestamp.timestamp() if timestamp.tzinfo else (timestamp - datetime(1970, 1, 1)).total_seconds()
    elif isinstance(timestamp, Real) and not isinstance(timestamp, bool):
        seconds = float(timestamp)
    else:
        raise ValueError(f"timestamp must be a number of seconds or a date, got {timestamp!r}")
    if not isfinite(seconds):
        raise ValueError(f"timestamp must be finite, got {timestamp!r}")
    return seconds


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters as they can be saved."""
    seed, weights = params["random_state"], params["weights"]
    return {
        **params,
        # used up: the forests carry their own streams
        "random_state": seed if seed is None or isinstance(seed, (int, np.integer)) else None,
        "weights": None if weights is None else [float(w) for w in weights],
    }


def _near(rules: Any, d: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]] | None:
    """(amount, ratio) of each feature, above and below what is expected."""
    if rules is None:
        return None
    if not isinstance(rules, dict) or not rules or set(rules) - {"above", "below"}:
        raise ValueError(f"ignore_near_expected must map 'above' and 'below' to (amount, ratio), got {rules!r}")
    sides = []
    for side in ("above", "below"):
        try:
            amount, ratio = rules.get(side, (0.0, 0.0))
            amounts = np.broadcast_to(np.asarray(amount, dtype=np.float64), (d,))
            ratios = np.broadcast_to(np.asarray(ratio, dtype=np.float64), (d,))
        except (TypeError, ValueError) as error:
            raise ValueError(f"ignore_near_expected[{side!r}] must be (amount, ratio), got {rules[side]!r}") from error
        if not (amounts >= 0).all() or not (ratios >= 0).all():
            raise ValueError(f"ignore_near_expected[{side!r}] must not be negative, got {rules[side]!r}")
        sides.append(list(zip(amounts.tolist(), ratios.tolist(), strict=True)))
    return sides[0], sides[1]
