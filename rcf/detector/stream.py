"""StreamDetector: from a raw stream to alarms that say why."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import log2
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .._core import LIMIT, ModelStateError
from .._validate import names_of, seed_entropy, whole_number, wrong_width
from ..persist import Savable
from .clock import Clock
from .detections import GONE, Detection, Detections, Run
from .ensemble import Ensemble
from .explain import Explanation, Replay, explain
from .forecast import Calibration, Forecast, forecast
from .missing import completed_record, filled
from .records import UNNAMED, as_frame, checked_time, moments_of, near_enough, nearness, seconds, table, values_of
from .settings import Fill, checked_settings, plain
from .threshold import Threshold
from .transform import HELD_BACK, Step, Transform
from .window import Window

Floats = NDArray[np.float64]
FORMAT = 1
RUN = 1 << 16  # records given to the forests at once
SHORT = 32  # records, below which they go alone: a run of arrays costs as much to begin
ALONE = 128  # the same where the trees would have to be copied first
LAG = 1 << 14  # records that a copy may be behind before another is made: to catch up takes 30 ms, to copy 0.4
KEPT = 16  # runs in which records were called and not yet explained; each holds forests of 2 MB with the defaults


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
    method : {"depth", "codisp", "displacement", "opensearch"}, default="depth"
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
    low_memory : bool, default=False
        Keep few bounding boxes, as in `RandomCutForest`: the same results, bit for bit, in less memory, 1.3 MiB in place of 1.7
        with the defaults and one feature, 9.3 in place of 15.2 for windows of 48 records of four; `update` then takes 1.2 to 1.4
        times as long. It takes effect with the first record.
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
        method: str = "depth",
        transform: str = "normalize",
        weights: Sequence[float] | None = None,
        anomaly_rate: float = 0.005,
        alert_once: bool = True,
        ignore_near_expected: dict[str, Any] | None = None,
        fill: Fill | float = "previous",
        interval: float | None = None,
        low_memory: bool = False,
        random_state: Any = None,
    ) -> None:
        self.shingle_size = shingle_size
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.time_decay = time_decay
        self.method = method
        self.transform = transform
        self.weights = weights
        self.anomaly_rate = anomaly_rate
        self.alert_once = alert_once
        self.ignore_near_expected = ignore_near_expected
        self.fill = fill
        self.interval = interval
        self.low_memory = low_memory
        self.random_state = random_state

    # ---- starting ----------------------------------------------------------------------------------------------

    def _start(self, d: int, grown: dict[str, Any] | None = None) -> None:
        """Check the parameters and make the parts, the trees from a state if given; changes nothing if one is wrong."""
        params = self.get_params(deep=False)
        s = checked_settings(params)
        size, samples = s.shingle_size, s.max_samples
        if size * d >= 2**31:
            raise ValueError(f"a window of {size} records of {d} features is too wide")
        weights = s.weights_of(d)
        near = nearness(self.ignore_near_expected, d)
        shape = s.n_estimators, samples, size, d, s.time_decay, s.method, s.low_memory
        if grown is None:
            trees = Ensemble.planted(*shape, seed_entropy(self.random_state))
        else:
            trees = Ensemble.from_state(grown, *shape)
        window = Window(size, d)
        self._trees, self._window, self._near, self._filling = trees, window, near, s.fill
        self._transform = Transform(s.transform, weights, min(HELD_BACK, samples))
        least = {"depth": 1.2, "opensearch": 1.2}.get(s.method, 3.0)
        most = log2(samples + 1) if least < 2.0 else float(samples)
        self._threshold = Threshold(s.anomaly_rate, size, samples, s.alert_once, least, most)
        self._clock = Clock(s.interval)
        self._calibration = Calibration()
        self._replay: Replay | None = None
        self._warm = False
        self.n_seen_ = 0
        self.n_features_in_ = d
        self._begun_with = params

    @property
    def _started(self) -> bool:
        return "_trees" in self.__dict__

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
        names = None
        if type(record) is float and -LIMIT <= record <= LIMIT:
            values = [record]
        else:
            values, names = values_of(record), names_of(record)
            self._check_names(names)
        if "_trees" not in self.__dict__:
            time = None if timestamp is None else seconds(timestamp)
            self._start(len(values))
        else:
            if len(values) != self.n_features_in_:
                raise wrong_width(len(values), self.n_features_in_, type(self).__name__)
            time = None if timestamp is None and self._clock.now is None else checked_time(timestamp, self._clock.now)
        if names is not None and not hasattr(self, "feature_names_in_"):
            self.feature_names_in_ = np.array(names, dtype=object)
        return self._one(values, time)

    def _check_names(self, names: list[str] | None) -> None:
        known = getattr(self, "feature_names_in_", None)
        if names is not None and known is not None and names != known.tolist():
            raise ValueError(f"the features are {names}, but {known.tolist()} are expected, in this order")

    def _one(self, values: list[float], time: float | None) -> Detection:
        """Take in a record that has been checked."""
        late = None
        if time is not None and (missed := self._clock.missed(time)):
            late = self._bridge(missed)
        self.n_seen_ += 1
        missing = 0
        for v in values:
            if v != v:
                missing += 1
        if missing:
            known = self._fill_in(values)
            if known is None:  # a feature has never been seen
                return Detection(0.0, self._threshold.limit, 0.0, False, 0.0, 0.0, "late start", self, self.n_seen_)
            values = known
        rows = self._window.take(values, missing / len(values), self._transform)
        if len(rows) != 1:
            for ready in rows[:-1]:
                self._learn(*ready)
            if not rows:
                return Detection(
                    0.0, self._threshold.limit, 0.0, False, 0.0, 0.0, late or "warming up", self, self.n_seen_
                )
        score, point = self._learn(*rows[-1])
        return self._judge(score, point, late)

    def _bridge(self, missed: int) -> str | None:
        """Fill in records that are missing; "gap" where they are as many as a window holds."""
        window = self._window
        if missed >= window.size:
            window.restart()
            return "gap"
        if window.last:
            for _ in range(missed):
                known = self._fill_in([float("nan")] * self.n_features_in_)
                assert known is not None
                for ready in window.take(known, 1.0, self._transform, bridged=True):
                    self._learn(*ready)
        return None

    def _fill_in(self, values: list[float]) -> list[float] | None:
        """The record with its gaps filled; None where nothing is known to fill them with."""
        window, trees = self._window, self._trees
        if self._filling == "forest" and window.last and window.full and trees.whole.n_seen > trees.warm_up:
            return completed_record(trees.whole, self._transform, window.row(), values, window.last[-1])
        return filled(values, self._filling, window.last)

    def _learn(self, row: list[float], full: bool, doubtful: bool) -> tuple[float, float]:
        """Score and learn one row: the mean over all trees, and that of the trees that watch the newest record alone."""
        record, window = np.array(row), self._window
        window.ring.push(record)
        whole = window.row() if full else None
        self._replay = None
        return self._trees.look(record, whole) if doubtful else self._trees.learn(record, whole)

    @property
    def _confidence(self) -> float:
        known = self._window.known_share
        if self._warm:
            return known
        n, sure = self._trees.whole.n_seen, 2 * self._trees.warm_up
        self._warm = bool(n >= sure)
        return known * min(1.0, n / sure)

    def _judge(self, score: float, point: float, late: str | None) -> Detection:
        """What becomes of the score of the record that the forests have just learned."""
        if self._calibration.pending:
            self._calibration.compare(self.n_seen_, self._window.last[-1])
        if score == 0.0:
            # a window that has to fill again, when the trees know enough
            gap = self._trees.whole.n_seen > self._trees.warm_up and not self._window.full
            why = late or ("gap" if gap else "warming up")
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
        window = self._window
        if not window.full or not self._transform.settled:
            raise RuntimeError("there is no full window yet to explain")
        result._names = getattr(self, "feature_names_in_", None)
        return explain(self._trees, window.row(), list(window.moments), result.score)

    # ---- many records ------------------------------------------------------------------------------------------

    def update_many(self, records: Any, timestamps: Any = None) -> Any:
        """Take in records one after the other: the same results as `update` on each, bit for bit, faster.

        Parameters
        ----------
        records : array-like, Series or frame of shape (n,) or (n, d)
        timestamps : array-like of shape (n,), str or None, default=None
            As for `update`; of a frame also the name of a column or of its index. None takes the index of a pandas object where it
            is a DatetimeIndex; ``reset_index(drop=True)`` leaves it out.

        Returns
        -------
        Detections
            Arrays, and the called records with all that there is to say of them. For a pandas or polars frame or Series a frame
            of its kind, one row a record: score, threshold, grade, likelihood, is_anomaly, confidence, reason, and of the called
            ones cause, lag and, for each feature, expected_<name>: what was expected of it `lag` records before.

        Raises
        ------
        ValueError
            As `update`, naming the row; nothing is taken in then.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from rcf import StreamDetector
        >>> hours = pd.date_range("2026-01-01", periods=1000, freq="h")
        >>> load = pd.Series(100 * np.sin(np.arange(1000) / 8), hours, name="load")
        >>> load.iloc[700] += 150
        >>> found = StreamDetector(random_state=0).update_many(load)
        >>> for hour, row in found[found.is_anomaly].iterrows():
        ...     print(hour, row.cause)
        2026-01-30 04:00:00 load high at lag 0
        """
        frame = as_frame(records)
        names, X, timestamps = table(frame, timestamps)
        columns = names or []
        if frame is not records and columns == [UNNAMED]:
            names = None
        self._check_names(names)
        if self._started and X.shape[1] != self.n_features_in_:
            raise wrong_width(X.shape[1], self.n_features_in_, type(self).__name__)
        before = self._clock.now if self._started else None
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
            if n < (ALONE if self._replay is None else SHORT):
                alone = parts[-1] if parts else None
                if not isinstance(alone, list):
                    alone = []
                    parts.append(alone)
                # these go alone; the few that are not worth a copy of the trees with them
                for k in range(i, i + max(n, 1)):
                    alone.append(self._one(X[k].tolist(), None if times is None else float(times[k])))
                i += max(n, 1)
            else:
                run = self._run(X[i : i + n])
                parts.append(run)
                i += n
                if times is not None:
                    self._clock.now = float(times[i - 1])
                if run.unread is not None:
                    waiting.append(run)
                if len(waiting) > KEPT:
                    waiting.popleft().explain()
        if parts and isinstance(parts[-1], Run):
            parts[-1].last = self
        found = Detections(parts)
        return found.like(frame, columns) if hasattr(frame, "columns") else found

    def _run_length(self, i: int, end: int, times: Floats | None) -> int:
        """How many of the records from i to `end` can go through the forests at once."""
        window = self._window
        if not self._transform.settled or not window.full or window.any_filled or self._calibration.pending:
            return 0
        return end - i if times is None else self._clock.even(times[i:end])

    def _run(self, X: Floats) -> Run:
        """Clean records at even steps: transform all, then the forests, then the threshold over their scores."""
        window, n = self._window, len(X)
        d, size = window.d, window.size
        earlier = list(window.moments)
        Z, step = self._transform.push_many(X)
        joined = np.concatenate([window.row()[d:], Z.reshape(-1)])
        windows = np.lib.stride_tricks.sliding_window_view(joined, size * d)[::d]

        def moments(i: int) -> list[Step]:
            """Those of the window that ends in record i of the run."""
            return [step(k) if k >= 0 else earlier[k] for k in range(i - size + 1, i + 1)]

        replay = self._replay
        if replay is None or replay.lag > LAG:
            replay = self._replay = Replay(self._trees.copy())
        first = self._trees.whole.n_seen
        scores, points = self._trees.learn_many(Z, windows)
        columns = self._threshold.steps(scores, points)
        called = np.flatnonzero(columns[3]).tolist()
        unread = replay.add(windows, moments, called, scores[called].tolist())
        confidence = np.minimum(1.0, np.arange(first + 1, first + n + 1) / (2 * self._trees.warm_up))
        run = Run(
            scores,
            columns,
            confidence,
            self.n_seen_,
            getattr(self, "feature_names_in_", None),
            unread if called else None,
        )
        if self._near is not None:
            for i in called:
                if near_enough(self._near, run[i].past, run[i].expected):
                    run.forgive(i)
        for row in Z[-size:]:
            window.ring.push(row)
        window.moments.extend(moments(n - 1))
        window.last = X[-2:].tolist()
        self.n_seen_ += n
        return run

    # ---- forecast ----------------------------------------------------------------------------------------------

    def forecast(self, horizon: int = 1, *, calibrate: bool = False) -> Forecast:
        """What comes next, in the user's units; changes nothing but what `calibrate` remembers.

        Each tree looks for the window it holds that is most like the last records, and takes what came next there, moved to
        the level of these records; then it goes on from that. Where all the trees hold shows a trend, over a season too, windows
        are first moved by that since they came. The forecast is the median over the trees.

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
        if not self._started or not self._window.full or self._trees.whole.n_seen < 2:
            raise ValueError("nothing to forecast from: the window is not full yet")
        window = self._window
        if window.size < 2:
            raise ValueError("a forecast needs a shingle_size of at least 2")
        found = forecast(self._trees.whole, self._transform, window.row(), horizon)
        return self._calibration.widen(self.n_seen_, found) if calibrate else found

    # ---- state -------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        """All that the future depends on, as arrays and plain values (see `_from_state`)."""
        params = self.get_params(deep=False)
        checked_settings(params)
        state: dict[str, Any] = {"format": FORMAT, "params": plain(params)}
        if not self._started:
            return {**state, "stream": None}
        names = getattr(self, "feature_names_in_", None)
        state["stream"] = {
            "begun_with": plain(self._begun_with),  # parameters may have been set since
            "n_features": self.n_features_in_,
            "feature_names": None if names is None else [str(name) for name in names],
            "n_seen": self.n_seen_,
            **self._clock.state(),
            **self._window.state(),
            "transform": self._transform.state(),
            "threshold": self._threshold.state(),
            **self._calibration.state(),
            **self._trees.state(),
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
            checked_settings(self.get_params(deep=False))
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
        d = whole_number("n_features", stream["n_features"])
        self._start(d, stream)
        names = stream["feature_names"]
        if names is not None:
            if [type(name) for name in names] != [str] * d:
                raise ValueError(f"feature_names are not {d} names")
            self.feature_names_in_ = np.array(names, dtype=object)
        self.n_seen_ = whole_number("n_seen", stream["n_seen"], 0, 2**62)
        self._clock.restore(stream)
        self._transform.restore(stream["transform"])
        self._window.restore(stream, len(self._transform.buffer or []))
        self._threshold.restore(stream["threshold"])
        self._calibration.restore(stream, self.n_seen_, d)

    def __reduce__(self) -> Any:
        return type(self)._from_state, (self._state(),)
