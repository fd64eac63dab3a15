"""Replay: recognises records that were seen before a restart, in streams without positions."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any


class Replay:
    """Recognises records that a source repeats after a restart, as ``tail -n 20 -F`` does, by their time stamps.

    For each key it keeps the latest time stamp and the number of records with this stamp. After a restart it skips the older
    records of the key, and as many records with this stamp as were seen before. The first other record ends the replay of the
    key. Records without time stamps are never skipped.

    If the clock of the stream was set back between the two runs, new records up to the old time are skipped too. The worker
    logs how many records it skips.
    """

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[float, int]] = {}
        self._due: dict[Hashable, tuple[float, int]] = {}  # records that may be repeated

    def note(self, key: Hashable, time: float | None) -> None:
        """Note that a record was learned."""
        if time is None:
            return
        latest, count = self._seen.get(key, (time, 0))
        if time >= latest:
            self._seen[key] = time, count + 1 if time == latest else 1

    def expects(self, keys: Iterable[Hashable]) -> bool:
        """Whether records of one of these keys may be repeated."""
        return bool(self._due) and not self._due.keys().isdisjoint(keys)

    def skips(self, key: Hashable, time: float | None) -> bool:
        """Whether a record was seen before the restart."""
        if not self._due or time is None or key not in self._due:
            return False
        latest, count = self._due[key]
        if time < latest:
            return True
        if time == latest and count > 0:
            self._due[key] = latest, count - 1
            return True
        del self._due[key]
        return False

    def keep(self, keys: Iterable[Hashable]) -> None:
        """Forget all keys except these."""
        self._seen = {key: self._seen[key] for key in keys if key in self._seen}

    def state(self) -> list[Any]:
        return [[key, time, count] for key, (time, count) in self._seen.items()]

    def restore(self, state: list[Any]) -> None:
        self._seen = {key: (float(time), int(count)) for key, time, count in state}
        self._due = dict(self._seen)
