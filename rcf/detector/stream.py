"""StreamDetector: from a raw stream to alarms that say why."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .._core import LIMIT, ModelStateError
from .._validate import check_settled, names_of, seed_entropy, whole_number, wrong_width
from ..persist import Savable
from .clock import DAY, Clock
from .detections import GONE, Detection, Detections, Run
from .ensemble import Ensemble, Scores, Shape
from .events import Events, Running
from .evidence import Evidence, threshold_of
from .explain import Explanation, explain
from .findings import Finding, finding
from .forecast import Calibration, Forecast, checked_bounds, forecast
from .missing import completed_record, filled
from .records import (
    UNNAMED,
    Moment,
    as_frame,
    index_note,
    near_enough,
    nearness,
    plain_time,
    seconds,
    table,
    values_by_name,
    values_of,
)
from .settings import Fill, checked_settings, plain
from .views import HELD_BACK, Views
from .window import Step, Window

Floats = NDArray[np.float64]
FORMAT = 1
RUN = 1 << 16  # records given to the forests at once
SHORT = 32  # records, below which they go alone: a run of arrays costs as much to begin
PIECE = 1024  # records of a run that the trees learn at once, if a copy of them is made: to copy takes a twentieth of the time
MANY = 16  # records of a piece that may be flagged, above which it pays to copy the trees
NAN = float("nan")


class StreamDetector(Savable, BaseEstimator):  # type: ignore[misc]
    """Anomalies in a stream of numbers or vectors, each with its cause and with what was expected.

    Every record is put on its own scale, joined with the ones before it to a window (a shingle), scored by a random cut
    forest, and learned. Half of the trees watch the window, half the newest record: its value, the logarithm of it and its
    change. The mean over all trees is the `score`.

    Alarms weigh that score by how new the record is: nets remember which values, logarithms, changes and departures from the
    recent mean came in the last 5000 records, and tell how far a new one lies from all of them. The product is put in
    proportion to how long ago it was as high. A run of equal values that is far too long (a stuck sensor) and, where time
    stamps are given, a value that is not usual at this time of the day or week count beside it. An alarm opens an event,
    which lasts until the feature is back to usual for 30 records.

    Parameters
    ----------
    shingle_size : int, default=8
        Records in a window. 1 leaves the window out: all trees watch the newest record. That loses no alarms but ranks
        records worse by `score` and allows no forecasts. For very many streams take ``StreamDetector(1, n_estimators=10)``:
        measured on labelled streams it finds as many events as the default in a tenth of the memory.
    n_estimators : int, default=50
        Trees.
    max_samples : int, default=256
        Records or windows that each tree holds.
    time_decay : float or None, default=None
        A record's weight in the samples falls by ``exp(-time_decay)`` with each record that follows. None is ``1 / (10 *
        max_samples)``, a memory of some 2 500 records.
    method : {"depth", "codisp", "displacement", "opensearch"}, default="depth"
        The kind of score. Alarms put the others on the scale of "depth".
    transform : {"normalize", "difference", "normalize_difference", "subtract_moving_average", "none"}, default="normalize"
        What the trees that watch the window see of each feature. "normalize" takes off the median and divides by the spread,
        both settled by the first 64 records, however many outliers are among these, and settled again where they turn out
        wrong; for a series with a trend take "difference" or, with several features, "normalize_difference"; the moving
        average is over about 64 records.
    weights : sequence of float or None, default=None
        By which each transformed feature is multiplied: what a feature counts for in the forests. None is 1 each.
    anomaly_rate : float, default=0.005
        Higher makes more alarms. It sets the threshold of the evidence to ``2 * (0.005 / anomaly_rate) ** 0.25``, and nothing
        is fitted to the stream. At the default, labelled operational series had 0.2 to 1.7 alarms in 1000 records, noise of
        ten kinds 0.1 to 0.8.
    alert_once : bool, default=True
        Whether an event is flagged at its alarms alone. If not, each of its records that is out of the usual is flagged.
    ignore_near_expected : mapping or None, default=None
        Records as near as this to what was expected are not flagged, however unusual: ``{"above": (amount, ratio), "below":
        (amount, ratio)}``. A feature is near if it lies above what was expected by at most `amount`, in its units, or by at
        most `ratio` times the expected value's size; `below` likewise. Each of the two may be a number for all features or a
        sequence. A side left out is not forgiven. `update_many` then takes records one at a time.
    fill : {"previous", "linear", "forest", "zero"} or float, default="previous"
        What stands in for NaN and for records that the time stamps show to be missing: the last value, the line through the
        last two, the forest's completion of the window, 0, or the number given. (Records missed before a vector with NaN use
        the same.) The nets do not learn filled values, and a feature that is silent does not hold up the others.
    interval : float or None, default=None
        Seconds between time stamps. None learns it: the median of the first 15 steps above 0.
    time_order : {"clock", "strict"}, default="clock"
        What time stamps may follow each other. "clock": an equal stamp is that of a further record, and a date without a zone
        may go back by up to an hour, because clocks are put back. "strict": each must be later than the last. Anything else
        is a ValueError.
    max_step : float or None, default=None
        Seconds that a time stamp may be ahead of the last one; a later one is a ValueError. None is 10 000 intervals. Three
        refused stamps in a row that follow each other are believed: with the third the detector goes on from there, so one
        stamp from the future does not stop it.
    timezone : str or None, default=None
        The zone by whose clock the daily and the weekly season go, such as "Europe/Berlin". None is the clock that dates show
        themselves, and UTC for numbers.
    low_memory : bool, default=False
        Keep few bounding boxes, as in `RandomCutForest`: the same results, bit for bit, in less memory; `update` then takes
        1.2 to 1.4 times as long. It takes effect with the first record.
    random_state : int, RandomState, Generator or None, default=None
        The same int gives the same results, bit for bit.

    Attributes
    ----------
    n_seen_ : int
        Records taken in, without those filled.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where a frame or a mapping came in.

    Notes
    -----
    Guha, Mishra, Roy, Schrijvers, "Robust Random Cut Forest Based Anomaly Detection on Streams", ICML 2016, for forest and
    shingles. What an alarm may be compared with is the AWS library's ThresholdedRandomCutForest.

    All parameters shape the detector. `update` and `update_many` refuse to go on after the first record if one was set to
    another value. One thread at a time may use a detector; `KeyedDetector` has a lock.

    Nothing alarms in the first 64 records. While the first day unfolds, new highs and lows are counted less than sudden
    changes, and `Detection.confidence` says how much has been seen.

    Records that stop coming alarm at the earliest when they come again, because nothing is judged between. To alarm while they
    are absent, send a heartbeat: on a timer, where no record came for an interval and that means zero, call ``update(0.0, now)``.

    It misses the absence of a rare event (a weekly job that did not run), because a window of 8 records cannot know that the
    event was due; a shape that is wrong within the usual range, if it is longer than the window; and a drift until it leaves
    the range of the last 5000 records.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import StreamDetector
    >>> x = 100 * np.sin(np.arange(1000) / 8)
    >>> x[700] = 350
    >>> detector = StreamDetector(random_state=0)
    >>> found = [t for t, value in enumerate(x) if detector.update(value).is_anomaly]
    >>> found
    [700]
    """

    _ready = False  # begun, and no parameter was set since it was last looked at, so that `update` need not look

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
        time_order: str = "clock",
        max_step: float | None = None,
        timezone: str | None = None,
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
        self.time_order = time_order
        self.max_step = max_step
        self.timezone = timezone
        self.low_memory = low_memory
        self.random_state = random_state

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self.__dict__.get("_begun_with", ()):
            self._ready = False

    def _check_ready(self) -> None:
        """Refuse to go on with a parameter that was set after the first record."""
        if self._started:
            check_settled(self, self._begun_with)
            self._ready = True

    # ---- starting ----------------------------------------------------------------------------------------------

    def _start(self, d: int, grown: dict[str, Any] | None = None) -> None:
        """Check the parameters and make the parts, the trees from a state if given; changes nothing if one is wrong."""
        params = self.get_params(deep=False)
        s = checked_settings(params)
        size, samples = s.shingle_size, s.max_samples
        if max(size, 3) * d >= 2**31:
            raise ValueError(f"a window of {size} records of {d} features is too wide")
        weights = s.weights_of(d)
        near = nearness(self.ignore_near_expected, d)
        shape = Shape(s.n_estimators, samples, size, d, s.time_decay, s.method, s.low_memory)
        if grown is None:
            trees = Ensemble.planted(shape, seed_entropy(self.random_state))
        else:
            trees = Ensemble.from_state(grown, shape)
        window = Window(size, d)
        # without a window the transform has nothing to work on but the value itself
        kind = s.transform if size > 1 else "normalize" if "normalize" in s.transform else "none"
        views = Views(kind, weights, max(samples // 2, 1))
        evidence = Evidence(threshold_of(s.anomaly_rate), s.method, samples)
        self._trees, self._window, self._near, self._filling = trees, window, near, s.fill
        self._views, self._evidence, self._alert_once = views, evidence, s.alert_once
        self._events = Events(samples)
        self._clock = Clock(s.interval, s.rules)
        self._calibration = Calibration()
        self._silence: list[int] = [0] * d  # records in a row that each feature was missing
        self._silent = False  # whether any was missing in the last record
        self._sure = 2 * samples  # records that make confidence 1
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
        record : float, array-like of shape (d,), or mapping of str to float
            NaN marks a missing value. Of a mapping the names are the features, in any order; the first record sets them.
        timestamp : float, datetime, numpy.datetime64, str or None, default=None
            Seconds, or a date. See `time_order`. A step of more than one and a half intervals shows that
            records are missing between.

        Returns
        -------
        Detection

        Raises
        ------
        ValueError
            For an infinite value, another number of features, a time stamp that does not go on. The detector is then as it was, but
            that it counts refused time stamps.
        """
        if not self._ready:
            self._check_ready()
        names = None
        if type(record) is float and -LIMIT <= record <= LIMIT:
            values = [record]
        elif isinstance(record, Mapping):
            values, names = values_by_name(record, getattr(self, "feature_names_in_", None))
        else:
            values, names = values_of(record), names_of(record)
            self._check_names(names)
        if "_trees" not in self.__dict__:
            if timestamp is not None:
                seconds(timestamp)  # nothing is begun with one that cannot be read
            self._start(len(values))
        elif len(values) != self.n_features_in_:
            raise wrong_width(len(values), self.n_features_in_, type(self).__name__)
        moment = None if timestamp is None and self._clock.now is None else self._clock.admit(timestamp)
        if names is not None and not hasattr(self, "feature_names_in_"):
            self.feature_names_in_ = np.array(names, dtype=object)
        return self._one(values, moment, timestamp)

    def _check_names(self, names: list[str] | None) -> None:
        known = getattr(self, "feature_names_in_", None)
        if names is not None and known is not None and names != known.tolist():
            raise ValueError(f"the features are {names}, but {known.tolist()} are expected, in this order")

    def _one(self, values: list[float], moment: Moment | None, stamp: Any) -> Detection:
        """Take in a record that has been checked."""
        late, second = None, NAN
        if moment is not None:
            if missed := self._clock.missed(moment):
                late = self._bridge(missed)
                self._calibration.skip(self.n_seen_, missed)
            second = self._clock.second()
            if self._views.day == 0:
                self._open_seasons()
        self.n_seen_ += 1
        known, share = values, 0.0
        for v in values:
            if v != v:
                known, share = self._fill_in(values), self._missing_share(values)
                if all(k != k for k in known):  # nothing has ever been seen
                    return self._nothing("late start", stamp)
                break
        else:
            if self._silent:
                self._missing_share(values)
        scores = self._enter(known, values, share, False, second)
        if self._views.n <= HELD_BACK:
            return self._nothing(late or "warming up", stamp)
        return self._judge(scores, values, late, stamp)

    def _nothing(self, why: str, stamp: Any) -> Detection:
        """What is said of a record of which nothing can be said."""
        return Detection(
            0.0, 0.0, self._evidence.threshold, 0.0, False, self._confidence, why, self, self.n_seen_, timestamp=stamp
        )

    def _open_seasons(self) -> None:
        """Watch the seasons as soon as the interval between records is known."""
        if self._clock.interval is not None:
            day = round(DAY / self._clock.interval)
            if 2 <= day < 2**40:
                self._views.open_seasons(day)

    def _missing_share(self, values: list[float]) -> float:
        """The share of the record that is missing, of the features that have not been silent for longer than a window."""
        silence = self._silence = [s + 1 if v != v else 0 for s, v in zip(self._silence, values, strict=True)]
        alive = [s for s in silence if s <= self._window.size]
        self._silent = any(silence)
        return sum(s > 0 for s in alive) / len(alive) if alive else 1.0

    def _bridge(self, missed: int) -> str | None:
        """Fill in records that are missing; "gap" where they are as many as a window holds."""
        window = self._window
        if missed >= window.size:
            window.restart()
            self._views.restart()
            return "gap"
        if window.last:
            nothing = [NAN] * self.n_features_in_
            for _ in range(missed):
                self._enter(self._fill_in(nothing), nothing, 1.0, True, NAN)
        return None

    def _fill_in(self, values: list[float]) -> list[float]:
        """The record with its gaps filled; NaN stays where nothing is known to fill it with."""
        window, whole = self._window, self._trees.whole
        if self._filling == "forest" and whole is not None and window.full and whole.n_seen > whole.warm_up:
            return completed_record(whole, self._views, window.row(), values, window.last[-1])
        return filled(values, self._filling, window.last)

    def _enter(
        self, known: list[float], came: list[float], share: float, bridged: bool, second: float
    ) -> Scores | None:
        """Score and learn a record, filled and as it came; None while it is held back."""
        views, window = self._views, self._window
        ready = views.push(known, came, second)
        fate = window.take((known, views.last_base(), views.centre, views.scale), share, bridged)
        if ready == 1:
            return self._learn(views.z, views.p, fate.full, fate.doubtful)
        window.held.append(fate)
        if ready == 0:
            return None
        scores = None
        Z, P = views.release()
        for z, p, (full, doubtful) in zip(Z, P, window.settle(views.centre, views.scale), strict=True):
            scores = self._learn(z, p, full, doubtful)
        return scores

    def _learn(self, z: Floats, p: Floats, full: bool, doubtful: bool) -> Scores:
        """Score and learn what the trees see of a record."""
        window = self._window
        window.ring.push(z)
        whole = window.row() if full else None
        return self._trees.look(p, whole) if doubtful else self._trees.learn(p, whole)

    @property
    def _confidence(self) -> float:
        sure = max(self._sure, self._views.day)
        return self._window.known_share * min(1.0, self._views.n / sure)

    def _judge(self, scores: Scores | None, values: list[float], late: str | None, stamp: Any) -> Detection:
        """What becomes of the scores of the record that the forests have just learned."""
        assert scores is not None
        views, evidence = self._views, self._evidence
        if self._calibration.pending:
            self._calibration.compare(self.n_seen_, values)
        e, likelihood, alarm, beside = evidence.step(
            scores.point, scores.whole, self._trees.n_seen, views.novelty, views.floor
        )
        why = late
        if scores.mean == 0.0 and why is None:
            why = "warming up" if not self._trees.warm else None if self._window.full else "gap"
        result = Detection(
            scores.mean,
            e,
            evidence.threshold,
            likelihood,
            False,
            self._confidence,
            why,
            self,
            self.n_seen_,
            timestamp=stamp,
        )
        if alarm or self._events.running:
            decided = finding(views.row.tolist(), beside, values, views.units, self.n_seen_ - 1) if alarm else None
            self._settle(result, decided, values, views.left.tolist())
        return result

    def _settle(self, result: Detection, alarm: Finding | None, values: list[float], left: list[float]) -> None:
        """Events and flags of a record that alarms, or comes while an event is open."""
        names = getattr(self, "feature_names_in_", None)
        if alarm is not None:
            result._names, result._finding = names, alarm
            if self._near is not None and near_enough(self._near, result.past, result.expected):
                alarm, result._why = None, "near expected"
        stamp = None if alarm is None else plain_time(result.timestamp)
        result.events, belongs = self._events.step(self.n_seen_ - 1, values, left, stamp, alarm, names)
        if alarm is None and belongs is not None and not self._alert_once:
            alarm = _lasting(belongs, values, self.n_seen_ - 1)
        if alarm is not None:
            result.flag(alarm, names)

    def _explanation(self, result: Detection) -> Explanation:
        """Of the record that came last."""
        if self.n_seen_ != result._seen:
            raise RuntimeError(GONE)
        window, views, decided = self._window, self._views, result._finding
        result._names = getattr(self, "feature_names_in_", None)
        if window.full and views.settled:
            return explain(self._trees, views.p, window.row(), list(window.moments), result.score, decided is not None)
        if decided is None:
            raise RuntimeError("there is no full window yet to explain")
        # after a gap: the nets alone know what was usual
        past = np.array(window.last[-1])
        expected = past.copy()
        expected[decided.feature] = decided.usual
        return Explanation(np.zeros((window.size, len(past), 2)), 0, expected, past)

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
            Arrays, and the flagged records with all that there is to say of them. For a pandas or polars frame or Series a frame
            of its kind, one row a record: score, evidence, threshold, likelihood, grade, confidence, is_anomaly, reason, event, and
            of the flagged ones cause, lag, severity and, for each feature, expected_<name>.

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
        >>> load.iloc[700] = 350
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
        found = self._take_many(names, X, timestamps, self._admit_many(names, X, timestamps))
        return found.like(frame, columns) if hasattr(frame, "columns") else found

    def _admit_many(self, names: list[str] | None, X: Floats, timestamps: Any) -> tuple[Floats, Floats, bool]:
        """Refuse records that cannot be taken in; otherwise their times, the offsets of their zones, and whether a clock begins."""
        self._check_ready()
        self._check_names(names)
        if self._started and X.shape[1] != self.n_features_in_:
            raise wrong_width(X.shape[1], self.n_features_in_, type(self).__name__)
        clock = (
            self._clock if self._started else Clock(self.interval, checked_settings(self.get_params(deep=False)).rules)
        )
        return clock.admit_many(timestamps, len(X), index_note(timestamps))

    def _take_many(
        self, names: list[str] | None, X: Floats, timestamps: Any, admitted: tuple[Floats, Floats, bool]
    ) -> Detections:
        """Score and learn records that were admitted."""
        times, offsets, fresh = admitted
        timed = timestamps is not None
        stamps = list(getattr(timestamps, "to_numpy", lambda: timestamps)()) if timed else None
        if not self._started:
            self._start(X.shape[1])
        if fresh:
            self._clock.begin_anew()
        if names is not None and not hasattr(self, "feature_names_in_"):
            self.feature_names_in_ = np.array(names, dtype=object)
        whole = ~np.isnan(X).any(axis=1)
        # where a run of records that can go through the forests at once may not reach beyond: NaN
        stops = np.append(np.flatnonzero(~whole), len(X))
        parts: list[list[Detection] | Run] = []
        i = 0
        while i < len(X):
            stop = int(stops[np.searchsorted(stops, i)])
            n = self._run_length(i, min(stop, i + RUN), times if timed else None)
            if n < SHORT:
                alone = parts[-1] if parts else None
                if not isinstance(alone, list):
                    alone = []
                    parts.append(alone)
                for k in range(i, i + max(n, 1)):
                    moment = Moment(float(times[k]), float(offsets[k]), False) if timed else None
                    alone.append(self._one(X[k].tolist(), moment, stamps[k] if stamps else None))
                i += max(n, 1)
            else:
                week = self._clock.seconds(times[i : i + n], offsets[i : i + n]) if timed else None
                run = self._run(X[i : i + n], week, stamps[i : i + n] if stamps else None)
                parts.append(run)
                i += n
                if timed:
                    self._clock.now, self._clock.offset = float(times[i - 1]), float(offsets[i - 1])
        if parts and isinstance(parts[-1], Run):
            parts[-1].last = self
        return Detections(parts)

    def _run_length(self, i: int, end: int, times: Floats | None) -> int:
        """How many of the records from i to `end` can go through the forests at once."""
        window = self._window
        if self._views.n < HELD_BACK or not window.full or window.any_filled or self._silent:
            return 0
        if self._calibration.pending or self._near is not None:
            return 0
        return end - i if times is None else self._clock.even(times[i:end])

    def _run(self, X: Floats, week: Floats | None, stamps: list[Any] | None) -> Run:
        """Whole records at even steps: all through the views, then the forests, then the alarms over their scores."""
        window, n, views, trees = self._window, len(X), self._views, self._trees
        d, size, seen = window.d, window.size, self.n_seen_
        earlier = list(window.moments)
        first = views.n
        Z, P, rows, left, bases, scales = views.push_many(X, week)
        begins = [begin for begin, _, _ in scales]
        zero = [0.0] * d

        def step(i: int) -> Step:
            _, centre, scale = scales[bisect_right(begins, i) - 1]
            return X[i].tolist(), zero if bases is None else bases[i].tolist(), centre, scale

        def moments(i: int) -> list[Step]:
            """Those of the window that ends in record i of the run."""
            return [step(k) if k >= 0 else earlier[k] for k in range(i - size + 1, i + 1)]

        joined = np.concatenate([window.row()[d:], Z.reshape(-1)])
        windows = np.lib.stride_tricks.sliding_window_view(joined, size * d)[::d]
        scores, evidence, likelihood = np.empty(n), np.empty(n), np.empty(n)
        names = getattr(self, "feature_names_in_", None)
        found: dict[int, Finding] = {}
        events: dict[int, Any] = {}
        told: dict[int, Explanation] = {}
        silent = [NAN] * d
        able = np.flatnonzero(self._evidence.may_alarm(rows))
        i = 0
        while i < n:
            # Trees can explain the last record that they learned: they stop at each record that may be flagged, or, where
            # there are many, a copy follows them.
            at, beyond = np.searchsorted(able, (i, i + PIECE))
            behind = None
            if beyond - at > MANY or (self._events.running and not self._alert_once):
                end, behind = min(n, i + PIECE), trees.copy()
            else:
                end = int(able[at]) + 1 if at < len(able) else n
            learned = trees.n_seen
            scores[i:end], points, wholes = trees.learn_many(P[i:end], windows[i:end])
            evidence[i:end], likelihood[i:end], alarms, beside = self._evidence.steps(
                points, wholes, learned + 1, rows[i:end]
            )
            waiting = (np.flatnonzero(alarms) + i).tolist()[::-1]
            k, followed = i, i
            while k < end and (waiting or self._events.running):
                if not self._events.running:
                    k = waiting[-1]
                values, beside_season = X[k].tolist(), silent if left is None else left[k].tolist()
                alarm = None
                if waiting and waiting[-1] == k:
                    waiting.pop()
                    alarm = finding(rows[k].tolist(), bool(beside[k - i]), values, views.units, seen + k)
                stamp = None if alarm is None or stamps is None else plain_time(stamps[k])
                events[k], belongs = self._events.step(seen + k, values, beside_season, stamp, alarm, names)
                if alarm is None and belongs is not None and not self._alert_once:
                    alarm = _lasting(belongs, values, seen + k)
                if alarm is not None:
                    if behind is not None:
                        behind.follow(P[followed : k + 1], windows[followed : k + 1])
                        followed = k + 1
                    found[k] = alarm
                    told[k] = explain(behind or trees, P[k], windows[k], moments(k), float(scores[k]), True)
                k += 1
            i = end
        flags = np.zeros(n, dtype=np.bool_)
        flags[list(found)] = True
        why = dict.fromkeys(np.flatnonzero(scores == 0.0).tolist(), "warming up")
        sure = max(self._sure, views.day)
        confidence = np.minimum(1.0, np.arange(first + 1, first + n + 1) / sure)
        run = Run(
            scores, evidence, self._evidence.threshold, likelihood, flags, confidence, why, found, events, stamps, seen,
            names, told,
        )  # fmt: skip
        for row in Z[-size:]:
            window.ring.push(row)
        window.moments.extend(moments(n - 1))
        window.last = X[-2:].tolist()
        self.n_seen_ += n
        return run

    # ---- forecast ----------------------------------------------------------------------------------------------

    def forecast(self, horizon: int = 1, *, calibrate: bool = False, bounds: Any = None) -> Forecast:
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

        bounds : pair of float, array-like of shape (d,) or None, default=None
            The least and the largest value that a record can have, by feature or for all; None on a side is no bound. Counts have
            ``(0, None)``. What the trees find beyond a bound is put on it.

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
        least, most = checked_bounds(bounds, self.n_features_in_ if self._started else 1)
        if not self._started or not self._window.full or self._trees.n_seen < 2:
            raise ValueError("nothing to forecast from: the window is not full yet")
        window = self._window
        if self._trees.whole is None:
            raise ValueError("a forecast needs a shingle_size of at least 2")
        found = forecast(self._trees.whole, self._views, window.row(), horizon)
        if calibrate:
            found = self._calibration.widen(self.n_seen_, found)
        return Forecast(*(np.clip(values, least, most) for values in (found.median, found.lower, found.upper)))

    # ---- state -------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        """All that the future depends on, as arrays and plain values (see `_from_state`)."""
        # what was set after the first record cannot act, and is not saved
        params = self._begun_with if self._started else self.get_params(deep=False)
        checked_settings(params)
        state: dict[str, Any] = {"format": FORMAT, "params": plain(params)}
        if not self._started:
            return {**state, "stream": None}
        names = getattr(self, "feature_names_in_", None)
        state["stream"] = {
            "n_features": self.n_features_in_,
            "feature_names": None if names is None else [str(name) for name in names],
            "n_seen": self.n_seen_,
            **self._clock.state(),
            **self._window.state(),
            "views": self._views.state(),
            "evidence": self._evidence.state(),
            "silence": list(self._silence),
            **self._events.state(),
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
                self._resume(stream)
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
        self._views.restore(stream["views"])
        self._window.restore(stream, self._views.n if self._views.n < HELD_BACK else 0)
        self._evidence.restore(stream["evidence"])
        self._silence = [whole_number("silence", many, 0, 2**62) for many in stream["silence"]]
        if len(self._silence) != d:
            raise ValueError(f"silence has {len(self._silence)} entries for {d} features")
        self._silent = any(self._silence)
        self._events.restore(stream, self.n_seen_, d)
        self._calibration.restore(stream, self.n_seen_, d)

    def __reduce__(self) -> Any:
        return type(self)._from_state, (self._state(),)


def _lasting(event: Running, values: list[float], seen: int) -> Finding:
    """Of a record that does not alarm and belongs to an event."""
    j = event.feature
    return Finding(
        "lasting", j, values[j], event.usual, event.usual, event.unit, NAN, event.last - event.start, 0, seen
    )
