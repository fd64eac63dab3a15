"""A sample of bounded size of a stream of arbitrary objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rcf._validate import not_negative, seed_entropy, whole_number

from ._core import ReservoirCore

T = TypeVar("T")


class Reservoir(Generic[T]):
    """A time-decayed, weighted, mergeable sample of a stream.

    Record `n` (counted from 1) of weight `w` gets the key ``ln(E / w) - time_decay * n``, where ``E`` is drawn from Exp(1). The
    records with the `capacity` smallest keys stay. Without decay and with equal weights this is a uniform sample without
    replacement. The trees of a forest use the same sampler. It draws no random number for a record that does not enter.

    Parameters
    ----------
    capacity : int
        The largest number of records that it holds.
    time_decay : float, default=0.0
        The weight of a record is multiplied by ``exp(-time_decay)`` for each record that follows. The mean age of the
        held records tends to ``1 / time_decay`` if this is much larger than `capacity`.
    random_state : int, RandomState, Generator or None, default=None
        Seed. The same seed and the same stream give the same sample.

    Notes
    -----
    P. Efraimidis, P. Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 97 (2006).
    If the weight of a record exceeds the sum of all other weights, the record is nearly always held. No record is held twice. The
    number of a record and its place share 64 bits. So a reservoir with a capacity of a million can count 2^43 records, and one
    with a capacity of 256 can count 2^55.

    Examples
    --------
    >>> from rcf.sampling import Reservoir
    >>> reservoir = Reservoir(3, random_state=0)
    >>> reservoir.extend(range(1000)).n_seen
    1000
    >>> len(reservoir)
    3
    """

    def __init__(self, capacity: int, *, time_decay: float = 0.0, random_state: Any = None) -> None:
        self.capacity = whole_number("capacity", capacity, 1, 2**30 - 1)
        self.time_decay = not_negative("time_decay", time_decay)
        self._core = ReservoirCore(self.capacity, self.time_decay, seed_entropy(random_state))
        self._items: list[T] = []

    def offer(self, item: T, weight: float = 1.0) -> bool:
        """Offer one record; return True if it entered the sample.

        Parameters
        ----------
        item : object
            A reference to the object is kept, not a copy.
        weight : float, default=1.0
            From 1e-150 to 1e150, so that sums and ratios of weights stay finite.

        Raises
        ------
        TypeError
            If the weight is not a number.
        ValueError
            If the weight is out of range. The reservoir is unchanged.
        """
        if not isinstance(weight, Real):
            raise TypeError(f"weight must be a number, got {weight!r}")
        if not 1e-150 <= weight <= 1e150:
            raise ValueError(f"weight must be between 1e-150 and 1e150, got {weight!r}")
        place = self._core.offer(float(weight))
        if place < 0:
            return False
        if place == len(self._items):
            self._items.append(item)
        else:
            self._items[place] = item
        return True

    def extend(self, items: Iterable[T], weights: ArrayLike | None = None) -> Self:
        """Offer many records in order. The sample is the same as if `offer` were called for each record, but this is faster."""
        if weights is not None:
            items = list(items)
            checked = np.asarray(weights, dtype=np.float64)
            if checked.shape != (len(items),):
                raise ValueError(f"weights has shape {checked.shape} for {len(items)} items")
            bad = np.flatnonzero(~((checked >= 1e-150) & (checked <= 1e150)))
            if bad.size:
                raise ValueError(f"weights must be between 1e-150 and 1e150, got {checked[bad[0]]} (item {bad[0]})")
            for item, weight in zip(items, checked.tolist(), strict=True):
                self.offer(item, weight)
        elif isinstance(items, (Sequence, np.ndarray)):  # indexing can skip to the next record that enters
            at, n = 0, len(items)
            while True:
                at += self._core.pass_by(n - at)
                if at == n:
                    break
                self.offer(items[at])
                at += 1
        else:
            for item in items:
                self.offer(item)
        return self

    def _slots(self) -> NDArray[np.void]:
        """The slots of the core, in order of arrival."""
        slots: NDArray[np.void] = self._core.slots
        return np.sort(slots, order="arrival")

    def sample(self) -> list[T]:
        """The held records, oldest first."""
        return [self._items[place] for place in self._slots()["place"]]

    def ages(self) -> NDArray[np.int64]:
        """The number of records that came after each held record, in the order of `sample()`; shape ``(len(self),)``."""
        arrivals: NDArray[np.int64] = self._slots()["arrival"]
        return self.n_seen - arrivals

    def merge(self, other: Reservoir[T]) -> Self:
        """Merge the sample of a stream that followed this one. `other` does not change.

        Record `k` of the other reservoir counts as record ``n_seen + k`` of this one. The `capacity` smallest keys of the
        union stay, so the result has the distribution of one reservoir that saw both streams one after the other. Without time
        decay the order does not matter. Later records use the random numbers of this reservoir.

        Raises
        ------
        TypeError
            If `other` is not a reservoir.
        ValueError
            If `other` is this reservoir, or differs from it in capacity or time decay.
        """
        if not isinstance(other, Reservoir):
            raise TypeError(f"can merge with a Reservoir, got {type(other).__name__}")
        if other is self:
            raise ValueError("cannot merge a reservoir with itself: its records would count twice")
        for name in ("capacity", "time_decay"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(f"{name} differs: {getattr(self, name)} and {getattr(other, name)}")
        self._core.check_count(other.n_seen)
        mine, theirs = self._core.slots, other._core.slots
        theirs["key"] -= self.time_decay * self.n_seen
        theirs["arrival"] += self.n_seen
        items = self._items + other._items
        theirs["place"] += len(self._items)
        slots = np.concatenate([mine, theirs])
        # above this key, one of the two reservoirs has already dropped records
        threshold = min(self._core.threshold, other._core.threshold - self.time_decay * self.n_seen)
        slots = slots[slots["key"] <= threshold]
        slots = slots[np.argsort(slots["key"], kind="stable")]
        if len(slots) > self.capacity:
            slots = slots[: self.capacity]
        slots = slots[::-1]
        self._items = [items[place] for place in slots["place"]]
        self._core.replace(slots, threshold, self.n_seen + other.n_seen)
        return self

    @property
    def n_seen(self) -> int:
        """Number of records that have been offered."""
        return self._core.n_seen

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Reservoir(capacity={self.capacity}, time_decay={self.time_decay}) with {len(self)} of {self.n_seen} records"
