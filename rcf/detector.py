"""StreamDetector: from a raw stream to alarms that say why."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import isfinite, log2
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from ._core import LIMIT, SCORES, Forest, ModelStateError, RingCore
from ._detections import GONE, Detection, Detections, Run
from ._explain import Explanation, Replay, explain
from ._forecast import Forecast, adapted, forecast, widened
from ._missing import completed_record, filled
from ._records import checked_time, moments_of, near_enough, nearness, seconds, table, values_of
from ._threshold import Threshold
from ._transform import HELD_BACK, KINDS, Step, Transform
from ._validate import finite, not_negative, seed_entropy, whole_number
from .persist import Savable

Floats = NDArray[np.float64]
Fill = Literal["previous", "linear", "forest", "zero"]
FORMAT = 1
RUN = 1 << 16  # records given to the forests at once
SHORT = 128  # records, below which they go alone: to copy the forests takes as long as these
KEPT = 16  # runs in which records were called and not yet explained; each holds forests of 2 MB with the defaults
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
        An upper estimate of the share of records in anomalies; lower makes fewer alarms. Of the alarms one in ten may then be
        chance: the threshold is where the tail of the last ``8 * max_samples`` scores has the mass ``anomaly_rate / 10``, so on a
        stream where nothing stands out some three to ten records in 10 000 are called. What comes again and again, in
        more than a quarter of the blocks of ``max_samples / 2`` records, is taken for how the stream is.
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
        near = nearness(self.ignore_near_expected, d)
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
        values = [record] if type(record) is float and -LIMIT <= record <= LIMIT else values_of(record)
        if "_forest" not in self.__dict__:
            time = None if timestamp is None else seconds(timestamp)
            self._start(len(values))
        else:
            if len(values) != self.n_features_in_:
                raise ValueError(f"X has {len(values)} features, but {self.n_features_in_} are expected.")
            time = None if timestamp is None and self._time is None else checked_time(timestamp, self._time)
        return self._one(values, time)

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
        if self.fill == "forest" and self._last and self._full and self._forest.n_seen > self._rows:
            window = self._ring.window(False)
            return completed_record(self._forest, self._transform, window, values, self._last[-1])
        return filled(values, self.fill, self._last)

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
        limit, grade, likelihood, call, reason = self._threshold.step(score, point)
        result = Detection(score, limit, grade, call, likelihood, self._confidence, reason or late, self, self.n_seen_)
        if call:
            result._found = self._explanation(result)
            if self._near is not None and near_enough(self._near, result.past, result.expected):
                result.is_anomaly, result.grade, result.reason = False, 0.0, "near expected"
        return result

    def _explanation(self, result: Detection) -> Explanation:
        """Of the record that came last."""
        if self.n_seen_ != result._seen:
            raise RuntimeError(GONE)
        if not self._full or not self._transform.settled:
            raise RuntimeError("there is no full window yet to explain")
        result._names = getattr(self, "feature_names_in_", None)
        window, moments = self._ring.window(False), list(self._moments)
        return explain(self._forest, self._point, window, moments, self.score, result.score, self._share)

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
        names, X = table(records, timestamps)
        if isinstance(timestamps, str):
            timestamps = records[timestamps].to_numpy()
        if self._started and X.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[1]} features, but {self.n_features_in_} are expected.")
        before = self._time if self._started else None
        times = None
        if timestamps is not None or before is not None:
            times = moments_of(timestamps, len(X), before)
        if not self._started:
            self._start(X.shape[1])
        if names is not None and not hasattr(self, "feature_names_in_"):
            self.feature_names_in_ = np.array(names, dtype=object)
        whole = ~np.isnan(X).any(axis=1)
        # where a run of records that can go through the forests at once may not reach beyond: NaN
        stops = np.append(np.flatnonzero(~whole), len(X))
        parts: list[list[Detection] | Run] = []
        waiting: deque[Run] = deque()
        i = 0
        while i < len(X):
            stop = int(stops[np.searchsorted(stops, i)])
            n = self._run_length(i, min(stop, i + RUN), times)
            if n < SHORT:
                alone = parts[-1] if parts else None
                if not isinstance(alone, list):
                    alone = []
                    parts.append(alone)
                # these go alone; the few that are not worth a copy of the forests with them
                for k in range(i, i + max(n, 1)):
                    alone.append(self._one(X[k].tolist(), None if times is None else float(times[k])))
                i += max(n, 1)
            else:
                run = self._run(X[i : i + n])
                parts.append(run)
                i += n
                if times is not None:
                    self._time = float(times[i - 1])
                if run.replay is not None:
                    waiting.append(run)
                if len(waiting) > KEPT:
                    waiting.popleft().explain()
        if parts and isinstance(parts[-1], Run):
            parts[-1].last = self
        found = Detections(parts)
        return found.like(records) if hasattr(records, "columns") else found

    def _run_length(self, i: int, end: int, times: Floats | None) -> int:
        """How many of the records from i to `end` can go through the forests at once."""
        if not self._transform.settled or not self._full or self._any_filled or self._pending:
            return 0
        if times is None:
            return end - i
        if self._step is None or self._time is None:
            return 0
        late = np.flatnonzero(np.diff(times[i:end], prepend=self._time) > 1.5 * self._step)
        return int(late[0]) if len(late) else end - i

    def _run(self, X: Floats) -> Run:
        """Clean records at even steps: transform all, then the forests, then the threshold over their scores."""
        d, size, n = self.n_features_in_, self._size, len(X)
        earlier = list(self._moments)
        Z, step = self._transform.push_many(X)
        joined = np.concatenate([self._ring.window(False)[d:], Z.reshape(-1)])
        windows = np.lib.stride_tricks.sliding_window_view(joined, size * d)[::d]

        def moments(i: int) -> list[Step]:
            """Those of the window that ends in record i of the run."""
            return [step(k) if k >= 0 else earlier[k] for k in range(i - size + 1, i + 1)]

        # as they are now, to explain from what is called
        before = self._forest.copy(), None if self._point is None else self._point.copy()
        first = self._forest.n_seen
        whole = self._forest.update(windows, None, self.score)
        if self._point is None:
            scores = points = whole
        else:
            points = self._point.update(Z, None, self.score)
            scores = self._share * points + (1.0 - self._share) * whole
        columns = self._threshold.steps(scores, points)
        called = np.flatnonzero(columns[3]).tolist()
        replay = None
        if called:
            replay = Replay(*before, windows, moments, called, scores[called].tolist(), self.score, self._share)
        confidence = np.minimum(1.0, np.arange(first + 1, first + n + 1) / (2 * self._rows))
        run = Run(scores, columns, confidence, self.n_seen_, getattr(self, "feature_names_in_", None), replay)
        if self._near is not None:
            for i in called:
                if near_enough(self._near, run[i].past, run[i].expected):
                    run.forgive(i)
        for row in Z[-size:]:
            self._ring.push(row)
        self._moments.extend(moments(n - 1))
        self._last = X[-2:].tolist()
        self.n_seen_ += n
        return run

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
        found = forecast(self._forest, self._transform, self._ring.window(False), self._last[-1], horizon)
        if not calibrate:
            return found
        self._widening += [1.0] * (horizon - len(self._widening))
        self._pending.append((self.n_seen_, horizon, found.median, found.lower, found.upper))
        return widened(found, np.array(self._widening[:horizon])[:, None])

    def _compare(self) -> None:
        """Hold forecasts made before against the record that has come."""
        value = np.array(self._last[-1])
        kept = []
        for made, horizon, median, lower, upper in self._pending:
            h = self.n_seen_ - made - 1
            self._widening[h] = adapted(self._widening[h], Forecast(median[h], lower[h], upper[h]), value)
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


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters as they can be saved."""
    seed, weights = params["random_state"], params["weights"]
    return {
        **params,
        # used up: the forests carry their own streams
        "random_state": seed if seed is None or isinstance(seed, (int, np.integer)) else None,
        "weights": None if weights is None else [float(w) for w in weights],
    }
