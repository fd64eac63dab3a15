"""KeyedDetector: one stream detector per key, for as many keys as fit."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Self

import numpy as np
from sklearn.base import clone

from .._validate import finite, not_negative, whole_number
from ..persist import Savable
from .detections import Detection
from .records import seconds
from .stream import StreamDetector


class KeyedDetector(Savable):
    """Many streams told apart by a key, each with a detector of its own.

    Parameters
    ----------
    template : StreamDetector
        What each key's detector is a clone of; it is not changed.
    max_keys : int, default=10000
        Detectors held at once. When one more comes, the one used longest ago goes.
    ttl : float or None, default=None
        Seconds without a record after which a key goes: by the records' own time stamps, numbers or dates, or by the clock of the
        machine for a record that has none. None keeps keys for good.
    on_evict : callable or None, default=None
        Called with ``(key, data)`` for a detector that goes, `data` being its model file as bytes. Without it the detector
        is lost. Where it raises, that detector stays, and the record for which it had to go is not learned.
    on_miss : callable or None, default=None
        Called with the key when one comes that is not held; may return the bytes that `on_evict` was given, and the detector goes
        on where it was, bit for bit. None starts a new one. It is asked again where the record was not learned.

    Attributes
    ----------
    on_evict, on_miss : callable or None
        The hooks, which can be set at any time. A model file does not hold them: set them again after loading.

    Notes
    -----
    With `on_evict`, a key that goes costs 1 to 3 milliseconds, in which its model file is written; a record takes some tens of
    microseconds. Let `max_keys` be above the number of keys in use.

    Memory is that of the trees, about 110 bytes for each record that each tree holds: 0.48 MB a key for 30 trees of 128 windows of
    4 records (measured), 1.7 MB with the defaults of `StreamDetector`. A template of `low_memory` takes a seventh less for
    the former, a fifth less for the latter, and 1.2 to 1.4 times as long for a record.

    A model file holds keys that are None, booleans, numbers, strings, and tuples of these, each detector as its own model
    file within; it needs memory for two copies of all of them while it is written or read.

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

        If the record is refused, with a ValueError that names the key, or `on_evict` raises, the record is not learned, and a
        key that was not held before is not held after.
        """
        # unlike the monotonic clock, that of the day means the same after a restart
        now = time.time() if timestamp is None else seconds(timestamp)
        entry = self._held.get(key)
        if entry is not None and self.ttl is not None and now - entry[1] > self.ttl:
            self.evict(key)
            entry = None
        self._let_go(now)
        detector = self._new(key) if entry is None else entry[0]
        try:
            result = detector.update(record, timestamp)
        except ValueError as error:
            raise ValueError(f"key {key!r}: {error}") from error
        if entry is None and len(self._held) == self.max_keys:
            self.evict(next(iter(self._held)))  # if it raises, the new detector is gone, and what it learned with it
        self._held[key] = detector, now
        self._held.move_to_end(key)
        return result

    def _new(self, key: Hashable) -> StreamDetector:
        if self.on_miss is not None:
            data = self.on_miss(key)
            if data is not None:
                return StreamDetector.from_bytes(data)
        detector: StreamDetector = clone(self.template)
        if key in self._overrides:
            detector.set_params(**self._overrides[key])
        return detector

    def _let_go(self, now: float) -> None:
        """Those that were away too long, the one used longest ago first."""
        while self.ttl is not None and self._held:
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
            self.on_evict(key, detector.to_bytes())
        del self._held[key]

    def detector(self, key: Hashable) -> StreamDetector:
        """The detector of a key, for a forecast say; KeyError if it is not held."""
        return self._held[key][0]

    def keys(self) -> list[Hashable]:
        """The keys held, the one used longest ago first."""
        return list(self._held)

    def __repr__(self) -> str:
        return f"KeyedDetector({self.template!r}, max_keys={self.max_keys}, ttl={self.ttl}): {len(self)} keys"

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._held

    # ---- state -------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        models = [detector.to_bytes() for detector, _ in self._held.values()]
        return {
            "template": self.template,
            "max_keys": self.max_keys,
            "ttl": self.ttl,
            "overridden": [_saved_key(key) for key in self._overrides],
            "overrides": list(self._overrides.values()),
            "keys": [_saved_key(key) for key in self._held],
            "used": np.array([used for _, used in self._held.values()], dtype=np.float64),
            # one array: a table of contents with those of ten thousand detectors would be larger than they are
            "ends": np.cumsum([len(model) for model in models], dtype=np.int64),
            "models": np.frombuffer(b"".join(models), dtype=np.uint8),
        }

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        self = cls(state["template"], max_keys=state["max_keys"], ttl=state["ttl"])
        for key, params in zip(map(_loaded_key, state["overridden"]), state["overrides"], strict=True):
            if key in self._overrides:
                raise ValueError(f"the key {key!r} comes twice")
            self.override(key, **params)
        keys, ends, models = state["keys"], state["ends"], state["models"]
        used = finite("used", state["used"], (len(keys),)).tolist()
        if len(keys) > self.max_keys or not isinstance(models, np.ndarray) or models.dtype != np.uint8:
            raise ValueError(f"{len(keys)} keys are held where {self.max_keys} may be, or their models are not bytes")
        if not isinstance(ends, np.ndarray) or ends.dtype != np.int64 or ends.shape != (len(keys),) or models.ndim != 1:
            raise ValueError("ends does not say where the models end")
        data, begin = models.tobytes(), 0
        for key, when, end in zip(map(_loaded_key, keys), used, ends.tolist(), strict=True):
            if key in self._held:
                raise ValueError(f"the key {key!r} comes twice")
            if not begin < end <= len(data):
                raise ValueError(f"the model of {key!r} lies outside")
            self._held[key] = StreamDetector.from_bytes(data[begin:end]), when
            begin = end
        if begin != len(data):
            raise ValueError(f"{len(data) - begin} bytes belong to no key")
        return self


def _saved_key(key: Hashable) -> Any:
    """A key as JSON; a list, which could not be a key itself, stands for a tuple."""
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
    raise TypeError(f"{str(saved)[:40]!r} is no key")
