"""Find keys that have become silent, by a clock that no single key can move."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Iterator, Sequence
from math import inf, isnan
from typing import Any


class Expiry:
    """The time of the last record of each key, and the keys without a record for more than `ttl` seconds.

    The clock shows the latest time that two different keys have reached. So a host whose clock is two hours ahead makes no other
    host expire. If the clock followed the latest stamp, all other hosts would expire. A host whose clock is behind does not expire
    either, because the age of a key is the time since its last record by this clock, not by the stamp of the record. While there is
    only one key, there is no clock, and nothing expires.

    Parameters
    ----------
    shared : bool
        Whether all times come from one clock, such as that of the machine. Then the clock shows the latest time.
    """

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        # time of the key's last record, and what the clock showed then
        self._last: dict[Hashable, tuple[float, float]] = {}
        # One entry per key, not later than its last record. A key with a newer record is put back when its entry is reached.
        self._heap: list[tuple[float, int, Hashable]] = []
        self._pushed = 0  # orders entries of equal times, because keys need not be comparable
        self._leader: Hashable = None
        self._latest = -inf
        self._now = -inf

    def now_at(self, key: Hashable, time: float) -> float:
        """What the clock would show after a record of the key at this time."""
        if self._shared:
            return max(self._now, time)
        if key == self._leader or self._latest == -inf:
            return self._now
        return max(self._now, min(time, self._latest))

    def touch(self, key: Hashable, time: float) -> None:
        """Add a record of the key at this time."""
        self._now = self.now_at(key, time)
        if time > self._latest:
            self._leader, self._latest = key, time
        self.resume(key, time, max(self._now, time))

    def touch_all(self, keys: Sequence[Hashable], times: Sequence[float]) -> None:
        """Call `touch` for many records in order, in a third of the time."""
        last, now, latest, leader, shared = self._last, self._now, self._latest, self._leader, self._shared
        for key, time in zip(keys, times, strict=True):
            # the same as in `now_at`
            if shared:
                now = max(now, time)
            elif now < time and key != leader and latest > now:
                now = min(time, latest)
            if time > latest:
                leader, latest = key, time
            reading = now if now > time else time
            if key not in last:
                self._push(key, reading)
            last[key] = time, reading
        self._now, self._latest, self._leader = now, latest, leader

    def resume(self, key: Hashable, time: float, reading: float) -> None:
        """Store the time of a key's record without moving the clock."""
        if key not in self._last:
            self._push(key, reading)
        self._last[key] = time, reading

    def silent(self, ttl: float, now: float) -> Iterator[Hashable]:
        """Yield the keys whose last record is more than `ttl` before `now`, the oldest first.

        The caller must forget each key before it requests the next.
        """
        while self._heap and now - self._heap[0][0] > ttl:
            key = self._heap[0][2]
            last = self._last.get(key)
            if last is not None and now - last[1] > ttl:
                yield key
            heapq.heappop(self._heap)
            if key in self._last:
                self._push(key, self._last[key][1])

    def last(self, key: Hashable) -> tuple[float, float] | None:
        """The time of the key's last record, and what the clock showed then."""
        return self._last.get(key)

    def forget(self, key: Hashable) -> None:
        self._last.pop(key, None)

    def _push(self, key: Hashable, reading: float) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (reading, self._pushed, key))

    def renew(self, times: Iterable[tuple[Hashable, tuple[float, float] | None]]) -> None:
        """Replace the times of all keys; None means that a key has none. The clock stays as it is."""
        self._last.clear()
        self._heap.clear()
        for key, last in times:
            if last is not None:
                self.resume(key, *last)

    # ---- state -------------------------------------------------------------------------------------------------

    def state(self) -> list[Any]:
        """The clock: its time, the latest time, and the key that reached it."""
        return [None if self._now == -inf else self._now, None if self._latest == -inf else self._latest, self._leader]

    def restore(self, state: Any) -> None:
        now, latest, leader = state
        for time in (now, latest):
            if time is not None and (not isinstance(time, float) or isnan(time)):
                raise ValueError(f"{time!r} is not a valid time of the clock")
        self._now, self._latest, self._leader = -inf if now is None else now, -inf if latest is None else latest, leader
