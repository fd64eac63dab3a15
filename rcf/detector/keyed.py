"""KeyedDetector: a stream detector per key."""

from __future__ import annotations

import gc
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from threading import Lock, RLock
from typing import Any, Self
from weakref import ref

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from .._pool import thread_count
from .._validate import not_negative, whole_number
from ..persist import Pieces, Savable, unpack
from .batch import Batch, Outcome
from .detections import Detection, Detections
from .expiry import Expiry
from .pipeline import FROM_FLOOR, Pass
from .records import UNNAMED, Moment, as_frame, moments_of, seconds, table
from .settings import checked_settings
from .stream import SHORT, StreamDetector

Floats = NDArray[np.float64]
CACHED = 64  # number of detectors that fit into the caches of a machine


class KeyedDetector(Savable):
    """A stream detector for each key: one object for all hosts, machines or metrics of a service.

    Parameters
    ----------
    template : StreamDetector or None, default=None
        The detector of each key is a clone of it. The template itself does not change. None means the small detector
        ``StreamDetector(1, n_estimators=10, low_memory=True)``. It has no windows, finds as many events as the default detector on
        labelled streams (event AP .529 each), and needs a tenth of the memory, which is 156 KiB for one feature. Its `score` ranks
        single records worse (AP .332 against .396), and it makes no forecasts.
    max_keys : int, default=10000
        Largest number of detectors held. When one more key comes, the least recently used detector is evicted.
    ttl : float or None, default=None
        Seconds without a record after which a key is evicted. None keeps keys until `max_keys` is reached. The time comes from the
        time stamps for keys whose records have them, and from the clock of the machine for other keys. With time stamps, the
        current time is the latest time that two different keys have reached, so one host with a wrong clock evicts nobody.
    on_evict : callable or None, default=None
        Called with ``(key, data)`` before a detector is evicted; `data` is its model file as bytes. Without a callback the
        detector is lost. If the callback raises, the detector is kept, and the record that triggered the eviction is not learned.
    on_miss : callable or None, default=None
        Called with the key if a record comes whose key is not held. It may return the bytes that `on_evict` received; the detector
        then continues where it left off, bit for bit. If it returns None, a new detector starts. If the record is not learned
        because of an error, the callback is called again at the next record of the key.

    n_jobs : int or None, default=None
        Number of threads among which `update_many` divides the keys. None means 1, and -1 means all cores. The results do not
        depend on it.

    Attributes
    ----------
    on_evict, on_miss : callable or None
        The callbacks can be set at any time. Model files, pickles and copies do not contain them: set them again after loading.
    n_jobs : int or None
        It can be set at any time too, and model files do not contain it.

    Notes
    -----
    **Threads.** Any number of threads may call any method. Updates take turns. `save`, `to_bytes` and pickling may run during
    updates: the file holds every key as it was at the moment of the call, and an update waits at most a few
    milliseconds. The callbacks run in the thread that caused them, while the lock is held. A detector that `detector(key)` returned
    is not protected by the lock. It can be read, but do not update it while other threads update its key.

    **Cost.** A record takes about ten microseconds while the detectors fit in the caches, and two to three times as long with
    thousands of keys, because their trees then come from memory. `update_many` on batches of many keys takes less, because it
    overlaps the waits for memory. With `on_evict`, evicting a key takes about .3 ms, because its model file
    is written. Choose `max_keys` above the number of keys in use.

    **Model files.** Keys must be None, booleans, numbers, strings, or tuples of these; the first record of any other key raises
    TypeError. Each detector is stored as a model file within the file. `save` needs memory for the content of the file once,
    `to_bytes` twice.

    **Limits.** Keys are judged independently. If the streams of several keys depend on each other, join them to vectors and use
    one `StreamDetector`.

    Examples
    --------
    >>> from rcf import KeyedDetector
    >>> machines = KeyedDetector(max_keys=1000)
    >>> machines.override("press 7", anomaly_rate=0.001)
    >>> machines.update("press 7", 21.5).is_anomaly
    False
    >>> len(machines)
    1
    """

    def __init__(
        self,
        template: StreamDetector | None = None,
        *,
        max_keys: int = 10_000,
        ttl: float | None = None,
        on_evict: Callable[[Hashable, bytes], None] | None = None,
        on_miss: Callable[[Hashable], bytes | None] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        if not isinstance(template, StreamDetector | None):
            raise TypeError(f"template must be a StreamDetector, got {type(template).__name__}")
        self.template = StreamDetector(1, n_estimators=10, low_memory=True) if template is None else clone(template)
        self.max_keys = whole_number("max_keys", max_keys)
        self.ttl = None if ttl is None else not_negative("ttl", ttl)
        thread_count(n_jobs)  # raises if it is not valid
        self.on_evict, self.on_miss, self.n_jobs = on_evict, on_miss, n_jobs
        self._overrides: dict[Hashable, dict[str, Any]] = {}
        # in the order of last use, the oldest first; a memoryview is a model that was restored lazily and has not been used yet
        self._held: OrderedDict[Hashable, StreamDetector | memoryview] = OrderedDict()
        self._stamps, self._arrivals = Expiry(shared=False), Expiry(shared=True)
        self._lock, self._saving = RLock(), Lock()
        self._snapshot: dict[Hashable, bytes | None] | None = (
            None  # models of a save in progress; None means not stored yet
        )

    def override(self, key: Hashable, **params: Any) -> None:
        """Set parameters for the detector of one key. The others come from the template. The key must not have started yet.

        Raises
        ------
        ValueError
            If there is no such parameter, or the key has started.
        """
        _saved_key(key)
        with self._lock:
            if key in self._held:
                raise ValueError(f"the detector of {key!r} has started: evict it first")
            clone(self.template).set_params(**params)
            self._overrides[key] = {**self._overrides.get(key, {}), **params}

    def update(self, key: Hashable, record: Any, timestamp: Any = None) -> Detection:
        """Score and learn the next record of a key; see :meth:`StreamDetector.update`.

        Raises
        ------
        ValueError
            If the record is invalid; the message names the key. The record is not learned, and a new key is not added.
        TypeError
            If a model file cannot hold the type of the key.
        """
        with self._lock:
            # the system time, because the monotonic clock has no meaning after a restart
            clock, other = (self._arrivals, self._stamps) if timestamp is None else (self._stamps, self._arrivals)
            now = time.time() if timestamp is None else seconds(timestamp)
            if key not in self._held:
                _saved_key(key)
            if self.ttl is not None:
                last = clock.last(key)
                if last is not None and now - last[0] > self.ttl:
                    self.evict(key)
                for silent in clock.silent(self.ttl, clock.now_at(key, now)):
                    self.evict(silent)
            held = self._of(key)
            detector = self._new(key) if held is None else held
            if self._snapshot is not None and held is not None:
                self._take(key)
            try:
                result = detector._quick(record, timestamp, len(self._held) > CACHED) or detector.update(
                    record, timestamp
                )
            except ValueError as error:
                raise ValueError(f"key {key!r}: {error}") from error
            if held is None and len(self._held) == self.max_keys:
                self.evict(next(iter(self._held)))  # if on_evict raises, the new detector is dropped
            result.key = key
            self._held[key] = detector
            self._held.move_to_end(key)
            other.forget(key)
            clock.touch(key, now)  # even without a ttl, because that may be set later
            return result

    def update_many(self, keys: Sequence[Hashable], records: Any, timestamps: Any = None) -> Detections:
        """Score and learn many records in order. The results are those of `update` on each record, bit for bit.

        If no key has to be evicted, the records of many keys are judged together, in `n_jobs` threads. While the trees of one key
        wait for memory, those of other keys continue. The more keys a batch has, the more time this saves.

        Parameters
        ----------
        keys : sequence of hashable of length n
        records : array-like of shape (n,) or (n, d)
            Every key has the same number of features.
        timestamps : array-like of shape (n,), default=None

        Returns
        -------
        Detections
            In the order of the records.

        Raises
        ------
        ValueError
            If a record is invalid; the message names the key. No record is learned then.
        """
        frame = as_frame(records)
        names, X, times = table(frame, timestamps)
        threads = thread_count(self.n_jobs)
        if frame is not records and names == [UNNAMED]:
            names = None
        keys = list(keys)
        if len(keys) != len(X):
            raise ValueError(f"{len(keys)} keys for {len(X)} records")
        if not keys:
            return Detections([])
        stamps = None if times is None else getattr(times, "to_numpy", lambda: times)()
        if stamps is not None and len(stamps) != len(X):
            raise ValueError(f"{len(stamps)} timestamps for {len(X)} records")
        rows: dict[Hashable, list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, []).append(row)
        zone = checked_settings(self.template.get_params(deep=False)).rules.zone
        moments = None if stamps is None else moments_of(stamps, zone)
        with self._lock:
            detectors = {key: self._of(key) or self._begun(key) for key in rows}
            few: list[Hashable] = []  # the keys whose records are judged together
            if stamps is None or moments is not None:
                few = [key for key, at in rows.items() if len(at) < SHORT and _goes_on_with(detectors[key], names)]
            task, starts = _pass(few, rows, detectors, X, moments)
            admitted = task.admitted(zone)
            if not admitted.all():
                few = [key for key, fine in zip(few, admitted.tolist(), strict=True) if fine]
                task, starts = _pass(few, rows, detectors, X, moments)
            others = {}
            together = set(few)
            for key, at in rows.items() if len(few) < len(rows) else ():
                if key in together:
                    continue
                of_key = None if stamps is None else [stamps[row] for row in at]
                try:
                    others[key] = of_key, detectors[key]._admit_many(names, X[at], of_key)
                except ValueError as error:
                    raise ValueError(f"key {key!r}: {_of_table(str(error), at)}") from error
            if self.ttl is not None or len(self._held.keys() | rows.keys()) > self.max_keys:
                return self._in_turn(keys, names, X, None if stamps is None else list(stamps))
            if self._snapshot is not None:
                for key in rows:
                    if key in self._held:
                        self._take(key)
            outcome = Outcome.of(len(X))
            made: dict[int, Detection] = {}
            parts: list[tuple[NDArray[np.int64], Detections]] = []
            taken, alarms = task.take(outcome, threads)
            # continue each key from its first record that raises an alarm or is not an ordinary one
            for i in np.flatnonzero((alarms > 0) | (taken < np.diff(starts))).tolist():
                detector, at, n = detectors[few[i]], rows[few[i]], int(taken[i])
                if alarms[i]:
                    row = at[n - 1]
                    one = outcome.at(row, True, bool(alarms[i] == FROM_FLOOR))
                    made[row] = detector._detection(one, X[row].tolist(), None, None if stamps is None else stamps[row])
                for row in at[n:]:
                    moment, stamp = None, None
                    if moments is not None and stamps is not None:
                        moment, stamp = Moment(*(column[row].item() for column in moments)), stamps[row]
                        detector._clock.settle()
                    made[row] = detector._one(X[row].tolist(), moment, stamp)
            for key, (of_key, valid) in others.items():
                found = detectors[key]._take_many(names, X[rows[key]], of_key, valid)
                parts.append((np.array(rows[key]), found))
            for key, detector in detectors.items():
                if key not in self._held:
                    self._held[key] = detector
            if stamps is not None:
                self._note(keys, rows, [seconds(stamp) for stamp in stamps] if moments is None else moments[0].tolist())
            else:
                self._note(keys, rows, None)
            return Detections([Batch(outcome, keys, stamps, detectors, made, parts)])

    def _note(self, keys: list[Hashable], rows: dict[Hashable, list[int]], times: Sequence[float] | None) -> None:
        """Store the time of the last record of each key (from the stamps, if any), and the order of the keys."""
        clock, other = (self._arrivals, self._stamps) if times is None else (self._stamps, self._arrivals)
        for key in rows:
            other.forget(key)
        if times is None:
            clock.touch_all(list(rows), [time.time()] * len(rows))
        else:
            clock.touch_all(keys, times)
        for key in rows if len(rows) == len(keys) else reversed(list(dict.fromkeys(reversed(keys)))):
            self._held.move_to_end(key)

    def _in_turn(
        self, keys: list[Hashable], names: list[str] | None, X: Floats, stamps: list[Any] | None
    ) -> Detections:
        """Process one record after the other, because keys may have to be evicted in between."""
        records: list[Any] = X.tolist() if X.shape[1] > 1 else X[:, 0].tolist()
        if names is not None:
            records = [dict(zip(names, values, strict=True)) for values in X.tolist()]
        found = [self.update(*parts) for parts in zip(keys, records, stamps or [None] * len(X), strict=True)]
        return Detections([found])

    def _of(self, key: Hashable) -> StreamDetector | None:
        """The detector of a key, or None if it is not held."""
        held = self._held.get(key)
        if not isinstance(held, memoryview):
            return held
        detector = self._held[key] = StreamDetector.from_bytes(held)
        return detector

    def _begun(self, key: Hashable) -> StreamDetector:
        """`_new` for a key that a model file can hold."""
        _saved_key(key)
        return self._new(key)

    def _new(self, key: Hashable) -> StreamDetector:
        if self.on_miss is not None:
            data = self.on_miss(key)
            if data is not None:
                return StreamDetector.from_bytes(data)
        detector: StreamDetector = clone(self.template)
        if key in self._overrides:
            detector.set_params(**self._overrides[key])
        return detector

    def evict(self, key: Hashable) -> None:
        """Call `on_evict`, then remove the detector of a key. If `on_evict` raises, the detector is kept.

        Raises
        ------
        KeyError
            If the key is not held.
        """
        with self._lock:
            held = self._held[key]
            if self._snapshot is not None:
                self._take(key)
            if self.on_evict is not None:
                self.on_evict(key, _model(held))
            del self._held[key]
            self._stamps.forget(key)
            self._arrivals.forget(key)

    def merge(self, other: KeyedDetector) -> Self:
        """Add the detectors of another KeyedDetector, which does not change. If both hold a key, the detector with more records
        stays.

        Use it to unite the detectors of two workers. If there are more than `max_keys` then, the least recently used ones are
        evicted.
        """
        with self._lock, other._lock:
            for key in other._held:
                mine, detector = self._of(key), other._of(key)
                assert detector is not None
                if mine is not None and mine.n_seen_ >= detector.n_seen_:
                    continue
                if mine is not None:
                    if self._snapshot is not None:
                        self._take(key)
                    del self._held[key]
                elif len(self._held) == self.max_keys:
                    self.evict(next(iter(self._held)))
                self._held[key] = StreamDetector.from_bytes(detector.to_bytes())
                for clock, theirs in ((self._stamps, other._stamps), (self._arrivals, other._arrivals)):
                    last = theirs.last(key)
                    if last is not None:
                        clock.touch(key, last[0])
        return self

    def detector(self, key: Hashable) -> StreamDetector:
        """The detector of a key, for example for a forecast. Raises KeyError if it is not held."""
        with self._lock:
            detector = self._of(key)
            if detector is None:
                raise KeyError(key)
            return detector

    def keys(self) -> list[Hashable]:
        """All keys, the least recently used first."""
        with self._lock:
            return list(self._held)

    def __repr__(self) -> str:
        return f"KeyedDetector({self.template!r}, max_keys={self.max_keys}, ttl={self.ttl}): {len(self)} keys"

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._held

    # ---- state -------------------------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        return type(self).from_bytes, (self.to_bytes(),)

    def _take(self, key: Hashable) -> None:
        """Store the model of a key for a save in progress, before the key changes."""
        assert self._snapshot is not None
        if self._snapshot.get(key, b"") is None:
            self._snapshot[key] = _model(self._held[key])

    def _state(self) -> dict[str, Any]:
        """The state at the moment of the call. Updates may continue: a key is stored before it changes."""
        with self._saving:
            with self._lock:
                keys = list(self._held)
                state = {
                    "template": self.template,
                    "max_keys": self.max_keys,
                    "ttl": self.ttl,
                    "overridden": [_saved_key(key) for key in self._overrides],
                    "overrides": list(self._overrides.values()),
                    "keys": [_saved_key(key) for key in keys],
                    "stamps": _times(self._stamps, keys),
                    "arrivals": _times(self._arrivals, keys),
                    "clocks": [
                        [now, latest, _saved_key(leader)]
                        for now, latest, leader in (self._stamps.state(), self._arrivals.state())
                    ],
                }
                models = self._snapshot = dict.fromkeys(keys)
            try:
                left = iter(keys)
                while self._some(left):
                    # Python's locks are not fair, so a waiting update would not get the lock without this pause.
                    time.sleep(1e-4)
            finally:
                with self._lock:
                    self._snapshot = None
        data = Pieces(model for model in models.values() if model is not None)
        # One array holds all models, because a header that lists the arrays of ten thousand detectors would be larger than the
        # arrays.
        state["ends"] = np.cumsum([len(model) for model in data], dtype=np.int64)
        state["models"] = data
        return state

    def _some(self, left: Iterator[Hashable]) -> bool:
        """Store models for about 3 ms. Returns False if none are left."""
        with self._lock:
            begun = time.monotonic()
            for key in left:
                self._take(key)
                if time.monotonic() - begun > 0.003:
                    return True
        return False

    # ---- increments of a checkpoint (see rcf/streams/checkpoint.py)

    def _marks(self) -> dict[Hashable, Any]:
        """A mark for each key. It differs from a later mark if the detector has changed in between."""
        with self._lock:
            return {key: _mark(held) for key, held in self._held.items()}

    def _since(self, marks: dict[Hashable, Any]) -> tuple[Self, list[Any]]:
        """A KeyedDetector of the keys changed since the marks (the detectors are not copied), and the keys that are gone."""
        with self._lock:
            part = type(self)(self.template, max_keys=self.max_keys, ttl=self.ttl)
            part._overrides, part._stamps, part._arrivals = self._overrides, self._stamps, self._arrivals
            for key, held in self._held.items():
                # a key that is used moves to the end; all keys after a changed one are taken too, to keep the order
                if part._held or key not in marks or marks[key] != _mark(held):
                    part._held[key] = held
            gone = [_saved_key(key) for key in marks if key not in self._held]
        return part, gone

    def _follow(self, increments: Sequence[tuple[KeyedDetector, list[Any]]]) -> None:
        """Apply increments in order; each is a result of `_since`."""
        times = [{key: clock.last(key) for key in self._held} for clock in (self._stamps, self._arrivals)]
        for part, gone in increments:
            for key in map(_loaded_key, gone):
                del self._held[key]
            for key, held in part._held.items():
                self._held[key] = held
                self._held.move_to_end(key)
                for known, clock in zip(times, (part._stamps, part._arrivals), strict=True):
                    known[key] = clock.last(key)
            self.template, self.max_keys, self.ttl = part.template, part.max_keys, part.ttl
            self._overrides = part._overrides
        if len(self._held) > self.max_keys:
            raise ValueError(f"{len(self._held)} keys exceed max_keys={self.max_keys}")
        last, _ = increments[-1]
        self._stamps, self._arrivals = last._stamps, last._arrivals
        for known, clock in zip(times, (self._stamps, self._arrivals), strict=True):
            clock.renew((key, known[key]) for key in self._held)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, *, lazy: bool = False) -> Self:
        """Restore an object from the bytes of a model file.

        Parameters
        ----------
        data : bytes
        lazy : bool, default=False
            Restore the detector of a key when the key is first used. Ten thousand keys are then ready in a tenth of a second
            instead of a few seconds, and saving copies the models of keys that have not been used. The bytes stay in memory until
            every key has been used. The checksum of the whole file is verified at once, but each model only when it is restored.

        Raises
        ------
        ModelFileError
            If the bytes are not a model file of this class, or are damaged; the message says how.
        """
        found: Self = unpack(bytes(data) if lazy else data, cls, lazy=lazy)
        return found

    @classmethod
    def _from_state(cls, state: dict[str, Any], lazy: bool = False) -> Self:
        self = cls(state["template"], max_keys=state["max_keys"], ttl=state["ttl"])
        for key, params in zip(map(_loaded_key, state["overridden"]), state["overrides"], strict=True):
            if key in self._overrides:
                raise ValueError(f"the key {key!r} comes twice")
            self.override(key, **params)
        keys, ends, models = state["keys"], state["ends"], state["models"]
        last = []
        for name, clock, saved in zip(
            ("stamps", "arrivals"), (self._stamps, self._arrivals), state["clocks"], strict=True
        ):
            times = np.asarray(state[name])
            if times.dtype != np.float64 or times.shape != (len(keys), 2) or np.isinf(times).any():
                raise ValueError(f"{name} must hold a time and a clock reading for each key")
            last.append(times.tolist())
            now, latest, leader = saved
            clock.restore([now, latest, _loaded_key(leader)])
        data = memoryview(models)
        if len(keys) > self.max_keys or data.format != "B" or data.ndim != 1:
            raise ValueError(f"{len(keys)} keys exceed max_keys={self.max_keys}, or their models are not bytes")
        if not isinstance(ends, np.ndarray) or ends.dtype != np.int64 or ends.shape != (len(keys),):
            raise ValueError("ends must hold the end of each model")
        begin = 0
        with _collector_paused():
            for i, (key, end) in enumerate(zip(map(_loaded_key, keys), ends.tolist(), strict=True)):
                if key in self._held:
                    raise ValueError(f"the key {key!r} comes twice")
                if not begin < end <= len(data):
                    raise ValueError(f"the model of {key!r} is empty, or lies outside the stored bytes")
                model = data[begin:end]
                self._held[key] = model if lazy else StreamDetector.from_bytes(model)
                for clock, times in zip((self._stamps, self._arrivals), last, strict=True):
                    if times[i][0] == times[i][0]:
                        clock.resume(key, *times[i])
                begin = end
        if begin != len(data):
            raise ValueError(f"{len(data) - begin} bytes belong to no key")
        return self


def _pass(
    keys: list[Hashable],
    rows: dict[Hashable, list[int]],
    detectors: dict[Hashable, StreamDetector],
    X: Floats,
    moments: Any,
) -> tuple[Pass, NDArray[np.int64]]:
    """A Pass over the records of these keys, and the positions where those of each key begin."""
    lists = [rows[key] for key in keys]
    starts = np.cumsum([0, *map(len, lists)])
    order = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=int(starts[-1]))
    return Pass([detectors[key]._pipeline for key in keys], starts, order, X, moments), starts


def _goes_on_with(detector: StreamDetector, names: list[str] | None) -> bool:
    """Whether a detector has started and, if names are given, its features have these names."""
    if not detector._started:
        return False
    known = None if names is None else getattr(detector, "feature_names_in_", None)
    return names is None or (known is not None and known.tolist() == names)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector while very many objects are created; with 10 000 keys it takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _mark(held: StreamDetector | memoryview) -> Any:
    """A value that differs once a detector has changed, by another object, a record, a refused time or a calibrated forecast."""
    if isinstance(held, memoryview):
        return None
    clock = held._clock
    return ref(held), held.n_seen_, clock.refused, clock.refusals, len(held._calibration.pending)


def _model(held: StreamDetector | memoryview) -> bytes:
    """The model file of a detector."""
    return bytes(held) if isinstance(held, memoryview) else held.to_bytes()


def _of_table(message: str, at: list[int]) -> str:
    """The message with the row number in the whole table instead of that among the records of the key."""
    return re.sub(r"^row (\d+)", lambda found: f"row {at[int(found[1])]}", message)


def _times(clock: Expiry, keys: list[Hashable]) -> NDArray[np.float64]:
    """The time and reading of each key on the clock, or NaN for a key that it does not know."""
    return np.array([clock.last(key) or (np.nan, np.nan) for key in keys], dtype=np.float64).reshape(-1, 2)


def _saved_key(key: Hashable) -> Any:
    """A key as JSON. A tuple becomes a list, which could not be a key itself."""
    if isinstance(key, np.generic):
        key = key.item()
    if key is None or isinstance(key, (bool, int, float, str)):
        return key
    if type(key) is tuple:
        return [_saved_key(part) for part in key]
    raise TypeError(f"the key {key!r} cannot be saved: only None, booleans, numbers, strings, and tuples of these")


def _loaded_key(saved: Any) -> Hashable:
    if isinstance(saved, list):
        return tuple(_loaded_key(part) for part in saved)
    if saved is None or isinstance(saved, (bool, int, float, str)):
        return saved
    raise TypeError(f"{str(saved)[:40]!r} is not a valid key")
