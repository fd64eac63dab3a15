"""KeyedDetector: one stream detector per key, for as many keys as fit."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from sklearn.base import clone

from ._detections import Detection
from ._validate import not_negative, whole_number
from .detector import StreamDetector


def _packed(detector: StreamDetector) -> bytes:
    from .persist import _pack

    data: bytes = _pack(detector)
    return data


def _unpacked(data: bytes) -> StreamDetector:
    from .persist import _unpack

    detector = _unpack(data)
    if not isinstance(detector, StreamDetector):
        raise ValueError(f"the bytes hold a {type(detector).__name__}, not a StreamDetector")
    return detector


class KeyedDetector:
    """Many streams told apart by a key, each with a detector of its own.

    Parameters
    ----------
    template : StreamDetector
        What each key's detector is a clone of; it is not changed.
    max_keys : int, default=10000
        Detectors held at once. When one more comes, the one used longest ago goes.
    ttl : float or None, default=None
        Seconds without a record after which a key goes: by the time stamps where they are numbers of seconds, else by the
        clock of the machine. None
        keeps keys for good.
    on_evict : callable or None, default=None
        Called with ``(key, data)`` for a detector that goes, `data` being its model file as bytes. Without it the detector
        is lost.
    on_miss : callable or None, default=None
        Called with the key when one comes that is not held; may return the bytes that `on_evict` was given, and the detector goes
        on where it was, bit for bit. None starts a new one.

    Notes
    -----
    Not for one key with many records a second, nor for keys whose streams depend on each other: join these to vectors
    and use one `StreamDetector`.

    Examples
    --------
    >>> from rcf import KeyedDetector, StreamDetector
    >>> machines = KeyedDetector(StreamDetector(shingle_size=4, random_state=0), max_keys=1000)
    >>> machines.override("press 7", anomaly_rate=0.001)
    >>> machines.update("press 7", 21.5).is_anomaly
    False
    >>> len(machines)
    1
    """

    def __init__(
        self,
        template: StreamDetector,
        *,
        max_keys: int = 10_000,
        ttl: float | None = None,
        on_evict: Callable[[Hashable, bytes], None] | None = None,
        on_miss: Callable[[Hashable], bytes | None] | None = None,
    ) -> None:
        if not isinstance(template, StreamDetector):
            raise TypeError(f"template must be a StreamDetector, got {type(template).__name__}")
        self.template = clone(template)
        self.max_keys = whole_number("max_keys", max_keys)
        self.ttl = None if ttl is None else not_negative("ttl", ttl)
        self.on_evict, self.on_miss = on_evict, on_miss
        self._overrides: dict[Hashable, dict[str, Any]] = {}
        self._held: OrderedDict[Hashable, tuple[StreamDetector, float]] = OrderedDict()

    def override(self, key: Hashable, **params: Any) -> None:
        """Other parameters than the template's for the detector of one key, by name; of a key that has not started yet.

        Raises
        ------
        ValueError
            For a parameter that there is not, or a key that has started.
        """
        if key in self._held:
            raise ValueError(f"the detector of {key!r} has started: remove it first")
        clone(self.template).set_params(**params)
        self._overrides[key] = {**self._overrides.get(key, {}), **params}

    def update(self, key: Hashable, record: Any, timestamp: Any = None) -> Detection:
        """Take in the next record of a key; see :meth:`StreamDetector.update`.

        If the record is refused, a key that was not held before is not held after.
        """
        is_number = isinstance(timestamp, (int, float)) and not isinstance(timestamp, bool)
        now = float(timestamp) if is_number else time.monotonic()
        entry = self._held.get(key)
        if entry is not None and self.ttl is not None and now - entry[1] > self.ttl:
            self.evict(key)
            entry = None
        detector = self._new(key) if entry is None else entry[0]
        result = detector.update(record, timestamp)
        self._held[key] = detector, now
        self._held.move_to_end(key)
        self._make_room(now)
        return result

    def _new(self, key: Hashable) -> StreamDetector:
        if self.on_miss is not None:
            data = self.on_miss(key)
            if data is not None:
                return _unpacked(data)
        detector: StreamDetector = clone(self.template)
        if key in self._overrides:
            detector.set_params(**self._overrides[key])
        return detector

    def _make_room(self, now: float) -> None:
        while len(self._held) > self.max_keys:
            self.evict(next(iter(self._held)))
        while self.ttl is not None and len(self._held) > 1:
            oldest = next(iter(self._held))
            if now - self._held[oldest][1] <= self.ttl:
                break
            self.evict(oldest)

    def evict(self, key: Hashable) -> None:
        """Let a key's detector go, through `on_evict`; KeyError if it is not held.

        Where `on_evict` raises, the detector stays.
        """
        detector = self._held[key][0]
        if self.on_evict is not None:
            self.on_evict(key, _packed(detector))
        del self._held[key]

    def detector(self, key: Hashable) -> StreamDetector:
        """The detector of a key, for a forecast say; KeyError if it is not held."""
        return self._held[key][0]

    def keys(self) -> list[Hashable]:
        """The keys held, the one used longest ago first."""
        return list(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._held
