"""StreamDetector: alarms in a raw stream, each with its reason."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .._core import LIMIT, ModelStateError
from .._validate import check_settled, names_of, seed_entropy, whole_number, wrong_width
from ..persist import Savable
from .clock import Clock
from .detections import GONE, Detection, Detections, Run
from .ensemble import Ensemble, Scores, Shape
from .events import USUAL, Events, Running
from .evidence import Evidence, threshold_of
from .explain import Explanation, explain
from .findings import Finding, finding
from .forecast import Calibration, Forecast, checked_bounds, forecast
from .missing import completed_record, filled
from .pipeline import Pipeline
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
FORMAT = 2
RUN = 1 << 16  # largest number of records that the forests get in one call
SHORT = 32  # shorter runs are processed record by record, because setting up the arrays costs as much as 32 records
# number of records that the trees learn in one call after they were copied; the copy takes a twentieth of the time
PIECE = 1024
MANY = 16  # if more records than this of a piece may be flagged, it pays to copy the trees
NAN = float("nan")


class StreamDetector(Savable, BaseEstimator):  # type: ignore[misc]
    """Find anomalies in a stream of numbers or vectors, each with its cause and the expected value.

    The detector scales every record, joins it with the previous records to a window (a shingle), scores the window with a
    random cut forest, and learns it. Half of the trees see the window. The other half see the newest record: its value, the
    logarithm of the value, and the change from the previous record. The `score` is a weighted geometric mean: the mean over the
    trees that see the record to the power 3/8, times the mean over the trees that see the window to the power 5/8.

    An alarm needs more than a high score: the record must also be new. The detector keeps four nets, which are short lists of known
    numbers. They represent the values, logarithms, changes and departures from the recent mean in the last 5000 records. Its
    novelty is the distance of a new number from all known ones. The evidence is the product of score and novelty, multiplied by a
    factor that grows with the time since the product was last as high. Two further kinds of evidence are a run of equal values that
    is far too long (a stuck sensor) and, if time stamps are given, a value that is unusual for this time of the day or week. An
    alarm opens an event. The event lasts until the feature has been back to usual for 30 records.

    Parameters
    ----------
    shingle_size : int, default=8
        Number of records in a window. With 1 there is no window, and all trees see the newest record. This loses no alarms,
        but `score` ranks records worse and forecasts are not available. For thousands of streams use
        ``StreamDetector(1, n_estimators=10, low_memory=True)``: on labelled streams it finds as many events as the default in a
        tenth of the memory.
    n_estimators : int, default=50
        Number of trees.
    max_samples : int, default=256
        Number of records or windows that each tree holds.
    time_decay : float or None, default=None
        The weight of a record in the samples is multiplied by ``exp(-time_decay)`` for each record that follows. None means
        ``1 / (10 * max_samples)``, a memory of about 2 500 records.
    method : {"depth", "codisp", "displacement", "opensearch"}, default="depth"
        The kind of score. For alarms, the other scores are converted to the scale of "depth". docs/guide/methods.md compares the
        kinds and says how to choose `shingle_size`, `n_estimators` and `max_samples`.
    transform : {"normalize", "difference", "normalize_difference", "subtract_moving_average", "none"}, default="normalize"
        How features are transformed for the trees that see the window. "normalize" subtracts the median and divides by the
        spread. The first 64 records determine both, even if many of them are outliers, and both are determined again if they
        prove wrong. For a series with a trend use "difference" or, with several features, "normalize_difference". The moving
        average is taken over about 64 records.
    weights : sequence of float or None, default=None
        Factors by which the transformed features are multiplied; a feature with a larger weight counts more in the forest. None
        means 1 for each.
    anomaly_rate : float, default=0.005
        A higher rate gives more alarms. The threshold of the evidence is ``2 * (0.005 / anomaly_rate) ** 0.25``; it is not fitted
        to the stream. With the default, labelled operational series had 0.2 to 1.7 alarms per 1000 records, and noise of ten kinds
        had 0.1 to 0.8.
    alert_once : bool, default=True
        If True, only the alarms of an event are flagged. If False, every unusual record of the event is flagged.
    ignore_near_expected : mapping or None, default=None
        Do not flag records that are close to the expected values, even if they are unusual: ``{"above": (amount, ratio),
        "below": (amount, ratio)}``. A feature is close if it exceeds the expected value by at most `amount`, in its units, or
        by at most `ratio` times the size of the expected value; "below" applies to values under it. Each number may be a
        sequence with one number per feature. Without an entry for a side, no record is close on that side. `update_many` then
        processes records one at a time.
    fill : {"previous", "linear", "forest", "zero"} or float, default="previous"
        What replaces NaN, and records that are missing according to the time stamps: the last value, the line through the last
        two values, the forest's completion of the window, 0, or the given number. The nets do not learn filled values. A feature
        that stays missing does not affect the others.
    interval : float or None, default=None
        Seconds between time stamps. None means the median of the first 15 positive steps.
    time_order : {"clock", "strict"}, default="clock"
        Which time stamps are accepted. "clock": a stamp may equal the previous one, and a date without a zone may be up to an
        hour earlier, because clocks are set back. "strict": each stamp must be later than the previous one. Other stamps raise
        ValueError.
    max_step : float or None, default=None
        Largest step in seconds from one time stamp to the next; a later stamp raises ValueError. None means 10 000 intervals or a
        year, whichever is longer. If `update` refuses three stamps in a row that are consistent with each other, the third is
        accepted and the detector continues from there. So a single stamp from the future does not stop the detector.
    timezone : str or None, default=None
        The time zone of the daily and the weekly season, such as "Europe/Berlin". None means the local time that the dates show, or
        UTC for numbers.
    low_memory : bool, default=False
        Store trees in fewer bytes, as in `RandomCutForest`. The results are the same, bit for bit. The detector takes 34 to 45 %
        less memory, and `update` takes 1.1 to 1.4 times as long.
    random_state : int, RandomState, Generator or None, default=None
        The same int gives the same results, bit for bit.

    Attributes
    ----------
    n_seen_ : int
        Number of records so far, without filled ones.
    n_features_in_ : int
        Number of features of a record.
    feature_names_in_ : ndarray of str
        Names of the features, if the records were frames, Series or mappings.

    Notes
    -----
    The forest and the shingles are those of Guha, Mishra, Roy and Schrijvers, "Robust Random Cut Forest Based Anomaly Detection on
    Streams", ICML 2016. The AWS library's ThresholdedRandomCutForest solves the same task.

    No parameter can change within a stream: if one was set after the first record, `update` and `update_many` raise an error.
    One thread at a time may use a detector; `KeyedDetector` has a lock.

    The first 64 records raise no alarm. During the first day, new highs and lows count less than sudden changes.
    `Detection.confidence` says how much the detector has seen.

    If records stop coming, the earliest alarm is at the next record, because only records are judged. To be alerted earlier, send a
    heartbeat: if a missing record means zero, let a timer call ``update(0.0, now)`` when no record came within an interval.

    The detector misses the absence of a rare event (a weekly job that did not run), because a window of 8 records cannot know
    that the event was due. It also misses an unusual shape within the usual range if the shape is longer than the window, and
    a drift until it leaves the range of the last 5000 records.

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

    # True after the start while no parameter was set since the last check; `update` then skips the check
    _ready = False

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

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        """The names of the parameters, cached because scikit-learn's parsing takes a third of the time of `from_bytes`."""
        names: list[str] = super()._get_param_names()
        return names

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self.__dict__.get("_begun_with", ()):
            self._ready = self._pipeline.checked = False

    def _check_ready(self) -> None:
        """Raise an error if a parameter was set after the first record."""
        if self._started:
            check_settled(self, self._begun_with)
            self._ready = self._pipeline.checked = True

    # ---- starting ----------------------------------------------------------------------------------------------

    def _start(self, d: int, grown: dict[str, Any] | None = None) -> None:
        """Check the parameters and create the parts, with the trees of a state if one is given. An error changes nothing."""
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
        # without a window the transform sees only single values
        kind = s.transform if size > 1 else "normalize" if "normalize" in s.transform else "none"
        views = Views(kind, weights, max(samples // 2, 1))
        evidence = Evidence(threshold_of(s.anomaly_rate), s.method, samples)
        self._trees, self._window, self._near, self._filling = trees, window, near, s.fill
        self._views, self._evidence, self._alert_once = views, evidence, s.alert_once
        self._events = Events(samples)
        self._clock = Clock(s.interval, s.rules)
        self._calibration = Calibration()
        self._silence: list[int] = [0] * d  # number of records in a row in which each feature was missing
        self._sure = 2 * samples  # number of records after which the confidence is 1
        self._pipeline = Pipeline(
            self._clock, views, window, trees.whole, trees.point, evidence, s.method, self._sure, s.rules.zone
        )
        self.n_features_in_ = d
        self._begun_with = params

    @property
    def n_seen_(self) -> int:
        """Number of records so far, without filled ones."""
        if not self._started:
            raise AttributeError("n_seen_ exists from the first record on")
        return self._pipeline.n_seen

    @property
    def _started(self) -> bool:
        return "_trees" in self.__dict__

    def __sklearn_is_fitted__(self) -> bool:
        return self._started

    # ---- records in --------------------------------------------------------------------------------------------

    def update(self, record: Any, timestamp: Any = None) -> Detection:
        """Score, judge and learn the next record.

        Parameters
        ----------
        record : float, array-like of shape (d,), or mapping of str to float
            NaN marks a missing value. The keys of a mapping are the names of the features, in any order; the first record
            determines them.
        timestamp : float, datetime, numpy.datetime64, str or None, default=None
            Seconds, or a date; see `time_order`. A step of more than one and a half intervals means that records in between
            are missing.

        Returns
        -------
        Detection

        Raises
        ------
        ValueError
            If a value is infinite, the number or the names of the features differ, or the time stamp is not accepted. The
            detector does not change, except that it counts refused time stamps.
        """
        result = self._quick(record, timestamp, False)
        if result is not None:
            return result
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
                seconds(timestamp)  # if the stamp cannot be read, raises before anything is created
            self._start(len(values))
        elif len(values) != self.n_features_in_:
            raise wrong_width(len(values), self.n_features_in_, type(self).__name__)
        moment = None if timestamp is None and self._clock.now is None else self._clock.admit(timestamp)
        if names is not None and not hasattr(self, "feature_names_in_"):
            self.feature_names_in_ = np.array(names, dtype=object)
        return self._one(values, moment, timestamp)

    def _quick(self, record: Any, timestamp: Any, cold: bool) -> Detection | None:
        """The result of `update` if the record is a float and ordinary. Otherwise returns None and changes nothing.

        `cold` says that the detector is in none of the caches.
        """
        if type(record) is float and "_trees" in self.__dict__ and (timestamp is None or type(timestamp) is float):
            found = self._pipeline.take_number(record, timestamp, cold)
            if found is not None:
                return self._detection(found, [record], None, timestamp)
        return None

    def _check_names(self, names: list[str] | None) -> None:
        known = getattr(self, "feature_names_in_", None)
        if names is not None and known is not None and names != known.tolist():
            raise ValueError(f"the features are {names}, but {known.tolist()} are expected, in this order")

    def _one(self, values: list[float], moment: Moment | None, stamp: Any) -> Detection:
        """Process a record that has been checked."""
        found = (
            self._pipeline.take(values, NAN, 0.0, False)
            if moment is None
            else self._pipeline.take(values, moment.time, moment.offset, moment.local)
        )
        if found is not None:
            return self._detection(found, values, None, stamp)
        late, second = None, NAN
        if moment is not None:
            if missed := self._clock.missed(moment):
                late = self._bridge(missed)
                self._calibration.skip(self.n_seen_, missed)
            second = self._clock.second()
            if self._views.day == 0 and (day := self._clock.records_in_a_day()):
                self._views.open_seasons(int(day))
        self._pipeline.n_seen += 1
        known, share = values, 0.0
        for v in values:
            if v != v:
                known, share = self._fill_in(values), self._missing_share(values)
                if all(k != k for k in known):  # nothing has ever been seen
                    return self._nothing("late start", stamp)
                break
        else:
            if self._pipeline.silent:
                self._missing_share(values)
        scores = self._enter(known, values, share, False, second)
        if self._views.n <= HELD_BACK:
            return self._nothing(late or "warming up", stamp)
        return self._judge(scores, values, late, stamp)

    def _nothing(self, why: str, stamp: Any) -> Detection:
        """The detection of a record that cannot be judged."""
        return Detection(
            0.0, 0.0, self._evidence.threshold, 0.0, False, self._confidence, why, self, self.n_seen_, timestamp=stamp
        )

    def _missing_share(self, values: list[float]) -> float:
        """The share of missing features. Features that have been missing for longer than a window do not count."""
        silence = self._silence = [s + 1 if v != v else 0 for s, v in zip(self._silence, values, strict=True)]
        alive = [s for s in silence if s <= self._window.size]
        self._pipeline.silent = any(silence)
        return sum(s > 0 for s in alive) / len(alive) if alive else 1.0

    def _bridge(self, missed: int) -> str | None:
        """Fill in missing records. Returns "gap", and fills nothing, if at least a whole window is missing."""
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
        """The record with NaN filled. NaN stays if nothing is known that could replace it."""
        window, whole = self._window, self._trees.whole
        if self._filling == "forest" and whole is not None and window.full and whole.n_seen > whole.warm_up:
            return completed_record(whole, self._views, window.row(), values, window.last[-1])
        return filled(values, self._filling, window.last)

    def _enter(
        self, known: list[float], came: list[float], share: float, bridged: bool, second: float
    ) -> Scores | None:
        """Score and learn a record, given filled (`known`) and as it came. Returns None while the first records are held back."""
        views, window = self._views, self._window
        ready = views.push(known, came, second)
        flags = window.take(views, share, bridged)
        if ready == 1:
            return self._learn(views.for_window, views.for_point, *flags)
        window.held.append(flags)
        if ready == 0:
            return None
        scores = None
        Z, P = views.release()
        for z, p, (full, doubtful) in zip(Z, P, window.settle(views), strict=True):
            scores = self._learn(z, p, full, doubtful)
        return scores

    def _learn(self, z: Floats, p: Floats, full: bool, doubtful: bool) -> Scores:
        """Score and learn the transformed record."""
        window = self._window
        window.push(z.reshape(1, -1))
        whole = window.row() if full else None
        return self._trees.look(p, whole) if doubtful else self._trees.learn(p, whole)

    @property
    def _confidence(self) -> float:
        seen = self._views.n / max(self._sure, self._views.day)
        return self._window.known_share * (seen if seen < 1.0 else 1.0)

    def _judge(self, scores: Scores | None, values: list[float], late: str | None, stamp: Any) -> Detection:
        """The detection of the record that the forests have just scored and learned."""
        assert scores is not None
        score, point, whole = scores
        views, evidence = self._views, self._evidence
        e, likelihood, alarm, from_floor = evidence.step(point, whole, self._trees.n_seen, views.novelty, views.floor)
        if score == 0.0 and late is None:
            late = "warming up" if not self._trees.warm else None if self._window.full else "gap"
        return self._detection(
            (score, e, evidence.threshold, likelihood, self._confidence, alarm, from_floor), values, late, stamp
        )

    def _detection(
        self,
        found: tuple[float, float, float, float, float, bool, bool],
        values: list[float],
        why: str | None,
        stamp: Any,
    ) -> Detection:
        """The detection of a record with these results."""
        score, evidence, threshold, likelihood, confidence, alarm, from_floor = found
        seen = self._pipeline.n_seen
        result = Detection(
            score, evidence, threshold, likelihood, False, confidence, why, self, seen, None, None, (), stamp
        )
        if alarm or self._pipeline.watched:
            self._look_at(result, alarm, from_floor, values)
        return result

    def _look_at(self, result: Detection, alarm: bool, from_floor: bool, values: list[float]) -> None:
        """Process a record that raises an alarm, or comes during an event, or was forecast."""
        views, seen = self._views, self._pipeline.n_seen
        if self._calibration.pending:
            self._calibration.compare(seen, values)
        if alarm or self._events.running:
            decided = finding(views.findings, from_floor, values, views.units, seen - 1) if alarm else None
            self._settle(result, decided, values, views.residuals)
        self._watch()

    def _watch(self) -> None:
        """Tell the pipeline whether Python must process every record."""
        self._pipeline.watched = bool(self._events.running or self._calibration.pending)

    def _settle(self, result: Detection, alarm: Finding | None, values: list[float], left: list[float]) -> None:
        """Update the events with a record that raises an alarm or comes during an event, and flag it if necessary."""
        names = getattr(self, "feature_names_in_", None)
        if alarm is not None:
            result._names, result._finding = names, alarm
            if self._near is not None and near_enough(self._near, result.past, result.expected):
                alarm, result._why = None, "near expected"
        stamp = None if alarm is None else plain_time(result.timestamp)
        result.events, belongs, back = self._events.step(self.n_seen_ - 1, values, left, stamp, alarm, names)
        if back:
            alarm, result._finding, result._why = None, None, USUAL
        if alarm is None and belongs is not None and not self._alert_once:
            alarm = _lasting(belongs, values, self.n_seen_ - 1)
        if alarm is not None:
            result.flag(alarm, names)

    def _explanation(self, result: Detection) -> Explanation:
        """The explanation of the last record."""
        if self.n_seen_ != result._seen:
            raise RuntimeError(GONE)
        window, views, decided = self._window, self._views, result._finding
        result._names = getattr(self, "feature_names_in_", None)
        if window.full and views.settled:
            return explain(
                self._trees, views.for_point, window.row(), window.moments, result.score, decided is not None
            )
        if decided is None:
            raise RuntimeError("there is no full window yet to explain")
        # after a gap, only the nets know what is usual
        past = np.array(window.last[-1])
        expected = past.copy()
        expected[decided.feature] = decided.usual
        return Explanation(np.zeros((window.size, len(past), 2)), 0, expected, past)

    # ---- many records ------------------------------------------------------------------------------------------

    def update_many(self, records: Any, timestamps: Any = None) -> Any:
        """Score, judge and learn records in order. The results are those of `update` on each record, bit for bit, but faster.

        Parameters
        ----------
        records : array-like, Series or frame of shape (n,) or (n, d)
        timestamps : array-like of shape (n,), str or None, default=None
            As for `update`. For a frame it may also be the name of a column or of the index. None uses the index of a pandas
            object if that is a DatetimeIndex; call ``reset_index(drop=True)`` first to ignore it.

        Returns
        -------
        Detections
            Arrays with one entry per record, and a full Detection for each flagged record. If `records` is a pandas or polars
            frame or Series, the result is a frame of the same library with one row per record. Its columns are score, evidence,
            threshold, likelihood, grade, confidence, is_anomaly, reason and event, and, filled for flagged records only, cause,
            lag, severity and expected_<name> for each feature.

        Raises
        ------
        ValueError
            If `update` would refuse one of the records; the message names the row. No record is learned then. To leave out only
            the refused records, pass the records of the batch to `update` one by one.

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
        """Validate records and time stamps. Returns the times, the offsets of their zones, and whether a new clock starts."""
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
        """Score and learn validated records."""
        times, offsets, fresh = admitted
        timed = timestamps is not None
        stamps = list(getattr(timestamps, "to_numpy", lambda: timestamps)()) if timed else None
        if not self._started:
            self._start(X.shape[1])
        if fresh:
            self._clock.begin_anew()
        elif timed and len(X):
            self._clock.settle()
        if names is not None and not hasattr(self, "feature_names_in_"):
            self.feature_names_in_ = np.array(names, dtype=object)
        whole = ~np.isnan(X).any(axis=1)
        # a run of records that the forests process in one call must end before the next NaN
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
        """The number of records from i on, up to `end`, that the forests can process in one call."""
        window = self._window
        if self._views.n < HELD_BACK or not window.full or window.any_filled or self._pipeline.silent:
            return 0
        if self._calibration.pending or self._near is not None:
            return 0
        return end - i if times is None else self._clock.even(times[i:end])

    def _run(self, X: Floats, week: Floats | None, stamps: list[Any] | None) -> Run:
        """Process complete records at even steps: transform all, then score and learn all, then judge their scores."""
        window, n, views, trees = self._window, len(X), self._views, self._trees
        d, size, seen = window.d, window.size, self.n_seen_
        earlier = window.moments
        first = views.n
        Z, P, rows, left, bases, scales = views.push_many(X, week)
        begins = [begin for begin, _, _ in scales]
        zero = [0.0] * d

        def step(i: int) -> Step:
            _, centre, scale = scales[bisect_right(begins, i) - 1]
            return X[i].tolist(), zero if bases is None else bases[i].tolist(), centre, scale

        def moments(i: int) -> list[Step]:
            """The values of the window that ends with record i of the run."""
            return [step(k) if k >= 0 else earlier[k] for k in range(i - size + 1, i + 1)]

        joined = np.concatenate([window.row()[d:], Z.reshape(-1)])
        windows = np.lib.stride_tricks.sliding_window_view(joined, size * d)[::d]
        scores, evidence, likelihood = np.empty(n), np.empty(n), np.empty(n)
        names = getattr(self, "feature_names_in_", None)
        found: dict[int, Finding] = {}
        events: dict[int, Any] = {}
        explanations: dict[int, Explanation] = {}
        returned: list[int] = []
        silent = [NAN] * 2 * d
        able = np.flatnonzero(self._evidence.may_alarm(rows))
        i = 0
        while i < n:
            # The trees can explain only the last record that they learned. So they stop at each record that may be flagged. If
            # there are many such records, a copy of the trees follows behind and explains them.
            at, beyond = np.searchsorted(able, (i, i + PIECE))
            follower = None
            if beyond - at > MANY or (self._events.running and not self._alert_once):
                end, follower = min(n, i + PIECE), trees.copy()
            else:
                end = int(able[at]) + 1 if at < len(able) else n
            learned = trees.n_seen
            scores[i:end], points, wholes = trees.learn_many(P[i:end], windows[i:end])
            evidence[i:end], likelihood[i:end], alarms, from_floor = self._evidence.steps(
                points, wholes, learned + 1, rows[i:end]
            )
            waiting = (np.flatnonzero(alarms) + i).tolist()[::-1]
            k, followed = i, i
            while k < end and (waiting or self._events.running):
                if not self._events.running:
                    k = waiting[-1]
                values, residuals = X[k].tolist(), silent if left is None else left[k].tolist()
                alarm = None
                if waiting and waiting[-1] == k:
                    waiting.pop()
                    alarm = finding(rows[k].tolist(), bool(from_floor[k - i]), values, views.units, seen + k)
                stamp = None if alarm is None or stamps is None else plain_time(stamps[k])
                events[k], belongs, back = self._events.step(seen + k, values, residuals, stamp, alarm, names)
                if back:
                    alarm = None
                    returned.append(k)
                if alarm is None and belongs is not None and not self._alert_once:
                    alarm = _lasting(belongs, values, seen + k)
                if alarm is not None:
                    if follower is not None:
                        follower.follow(P[followed : k + 1], windows[followed : k + 1])
                        followed = k + 1
                    found[k] = alarm
                    explanations[k] = explain(follower or trees, P[k], windows[k], moments(k), float(scores[k]), True)
                k += 1
            i = end
        flags = np.zeros(n, dtype=np.bool_)
        flags[list(found)] = True
        why = dict.fromkeys(np.flatnonzero(scores == 0.0).tolist(), "warming up") | dict.fromkeys(returned, USUAL)
        sure = max(self._sure, views.day)
        confidence = np.minimum(1.0, np.arange(first + 1, first + n + 1) / sure)
        run = Run(
            scores, evidence, self._evidence.threshold, likelihood, flags, confidence, why, found, events, stamps, seen,
            names, explanations,
        )  # fmt: skip
        window.push(Z[-size:])
        window.hold(X[-2:].tolist(), moments(n - 1))
        self._pipeline.n_seen += n
        self._watch()
        return run

    # ---- forecast ----------------------------------------------------------------------------------------------

    def forecast(self, horizon: int = 1, *, calibrate: bool = False, bounds: Any = None) -> Forecast:
        """Forecast the next records, in the units of the data. The detector does not change, except for the calibration.

        Each tree finds the window in its sample that is most similar to the last records. It takes the record that followed
        that window, shifted to the level of the last records, and repeats this for each further step. If the samples show a trend,
        old windows are first shifted by the trend; this works for seasonal series too. The forecast is the median over the trees.

        Parameters
        ----------
        horizon : int, default=1
            Number of records ahead.
        calibrate : bool, default=False
            Adjust the width of the band to the errors of previous calibrated forecasts. There is a factor for each step ahead:
            it grows when a record falls outside and shrinks when a record falls inside, until 80 % are inside (adaptive
            conformal inference: Gibbs and Candès, NeurIPS 2021).
        bounds : pair of float, array-like of shape (d,) or None, default=None
            The lowest and the highest possible value, for all features or one for each; None means no bound. For counts use
            ``(0, None)``. Values beyond a bound are set to it.

        Returns
        -------
        Forecast `median`, `lower` (the 10 % quantile) and `upper` (the 90 % quantile), each of shape (horizon, d).

        Raises
        ------
        ValueError
            Before the forest has learned anything, after a gap until the window is full again, and for ``shingle_size=1``.
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
            self._watch()
        return Forecast(*(np.clip(values, least, most) for values in (found.median, found.lower, found.upper)))

    # ---- state -------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        """Everything that future results depend on, as arrays and plain values (see `_from_state`)."""
        # parameters that were set after the first record have no effect and are not saved
        params = self._begun_with if self._started else self.get_params(deep=False)
        checked_settings(params)
        state: dict[str, Any] = {"format": FORMAT, "params": plain(params)}
        if not self._started:
            return {**state, "stream": None}
        names = getattr(self, "feature_names_in_", None)
        state["stream"] = {
            "n_features": self.n_features_in_,
            "feature_names": None if names is None else [str(name) for name in names],
            # the trees are locked, because a KeyedDetector may learn in another thread
            **self._trees.reading(self._steps_state),
            "silence": list(self._silence),
            **self._events.state(),
            **self._calibration.state(),
            **self._trees.state(self.n_features_in_),
        }
        return state

    def _steps_state(self) -> dict[str, Any]:
        """The state of the parts that change with every record, except the trees."""
        return {
            "n_seen": self.n_seen_,
            **self._clock.state(),
            **self._window.state(),
            "views": self._views.state(),
            "evidence": self._evidence.state(),
        }

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        """The detector of a `_state`. Raises ModelStateError if the state is not valid."""
        if state.get("format") != FORMAT:
            raise ModelStateError(f"a detector state of format {state.get('format')!r}; this version reads {FORMAT}")
        try:
            self = cls(**state["params"])
            stream = state["stream"]
            if stream is None:
                checked_settings(self.get_params(deep=False))
            else:
                self._resume(stream)
        except ModelStateError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            raise ModelStateError(f"not the state of a detector: {error!r}") from error
        return self

    def _resume(self, stream: dict[str, Any]) -> None:
        """Restore the position in the stream from a `_state`."""
        d = whole_number("n_features", stream["n_features"])
        self._start(d, stream)
        names = stream["feature_names"]
        if names is not None:
            if [type(name) for name in names] != [str] * d:
                raise ValueError(f"feature_names are not {d} names")
            self.feature_names_in_ = np.array(names, dtype=object)
        self._pipeline.n_seen = whole_number("n_seen", stream["n_seen"], 0, 2**62)
        self._clock.restore(stream)
        self._views.restore(stream["views"])
        self._window.restore(stream, self._views.n if self._views.n < HELD_BACK else 0)
        self._evidence.restore(stream["evidence"])
        self._silence = [whole_number("silence", many, 0, 2**62) for many in stream["silence"]]
        if len(self._silence) != d:
            raise ValueError(f"silence has {len(self._silence)} entries for {d} features")
        self._pipeline.silent = any(self._silence)
        self._events.restore(stream, self.n_seen_, d)
        self._calibration.restore(stream, self.n_seen_, d)
        self._watch()

    def __reduce__(self) -> Any:
        return type(self)._from_state, (self._state(),)


def _lasting(event: Running, values: list[float], seen: int) -> Finding:
    """The finding of a record that belongs to an event but raises no alarm."""
    j = event.feature
    return Finding(
        "lasting", j, values[j], event.usual, event.usual, event.unit, NAN, event.last - event.start, 0, seen
    )
