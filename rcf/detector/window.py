"""The last records of a stream: as they came, as the forests see them, and the share that was filled."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._validate import finite
from ..shingle._core import RingCore

Values = list[float]
Floats = NDArray[np.float64]
# For each record: the original values, the base of its change, the centre and the scale, to convert its numbers back. It is a
# tuple, because one is created for every record and few are read.
Step = tuple[Values, Values, Values, Values]


class Fate(NamedTuple):
    """How a record is processed."""

    full: bool  # the window that ends with it is full
    doubtful: bool  # it is scored but not learned, because more than half of its window was filled, or it bridges a gap


class Window:
    """`size` records side by side."""

    __slots__ = ("any_filled", "d", "filled", "held", "last", "moments", "ring", "size")

    def __init__(self, size: int, d: int) -> None:
        self.size, self.d = size, d
        self.ring = RingCore(size, d)
        self.moments: deque[Step] = deque(maxlen=size)
        self.filled: deque[float] = deque(maxlen=size)  # the share of each record that was filled; empty if none was
        self.any_filled = False
        self.last: list[Values] = []  # the last two records with filled values; NaN for a feature without values so far
        self.held: list[Fate] = []  # one entry for each record that is held back

    @property
    def full(self) -> bool:
        # a gap while the first records are held back empties only `moments`
        return bool(self.ring.seen >= self.size and len(self.moments) == self.size)

    @property
    def filled_share(self) -> float:
        return sum(self.filled) / self.size if self.any_filled else 0.0

    @property
    def known_share(self) -> float:
        if self.any_filled or len(self.moments) < self.size:
            return len(self.moments) / self.size - self.filled_share
        return 1.0

    def row(self) -> Floats:
        """The input of the forests: (size * d,), the oldest record first."""
        return self.ring.window(False)

    def take(self, step: Step, filled: float, bridged: bool) -> Fate:
        """Add the next record and the share of it that was filled, which is 1 if it bridges a gap."""
        values = step[0]
        self.last = [self.last[-1], values] if self.last else [values]
        self.moments.append(step)
        if filled or self.any_filled:
            self.filled.append(filled)
            self.any_filled = any(self.filled)
            if not self.any_filled:
                self.filled.clear()
        doubtful = bridged or (self.any_filled and self.filled_share > 0.5)
        return Fate(len(self.moments) == self.size, doubtful)

    def settle(self, centre: Values, scale: Values) -> list[Fate]:
        """Process the records that were held back, because their scale is known now."""
        self.moments = deque(((raw, base, centre, scale) for raw, base, _, _ in self.moments), self.size)
        held, self.held = self.held, []
        return held

    def restart(self) -> None:
        """Start again after a gap."""
        self.ring.reset()
        self.moments.clear()
        self.filled.clear()
        self.any_filled = False

    def state(self) -> dict[str, Any]:
        size, d = self.size, self.d
        return {
            "last": np.array(self.last, dtype=np.float64).reshape(-1, d),
            "filled": np.array(self.filled, dtype=np.float64),
            "moments": np.array(self.moments, dtype=np.float64).reshape(-1, 4, d),
            "held": np.array(self.held, dtype=np.bool_).reshape(-1, 2),
            "ring": self.row().reshape(size, d)[max(0, size - self.ring.seen) :],
        }

    def restore(self, state: dict[str, Any], held_back: int) -> None:
        """Restore a state with that many records held back; ValueError if it is not valid."""
        size, d = self.size, self.d
        for record in finite("ring", state["ring"], (size, d)):
            self.ring.push(record)
        self.last = _records("last", state["last"], (2, d))
        for raw, base, centre, scale in _records("moments", state["moments"], (size, 4, d)):
            self.moments.append((raw, base, centre, scale))
        self.filled.extend(finite("filled", state["filled"], (size,), 0.0, 1.0).tolist())
        held = state["held"]
        if not isinstance(held, np.ndarray) or held.dtype != np.bool_ or held.shape != (held_back, 2):
            raise ValueError(f"held does not say what becomes of the {held_back} records held back")
        self.held = [Fate(full, doubtful) for full, doubtful in held.tolist()]
        self.any_filled = any(self.filled)


def _records(name: str, values: Any, shape: tuple[int, ...]) -> Any:
    """Saved records as lists; a missing feature is NaN."""
    array = np.array(values, dtype=np.float64)
    silent = np.isnan(array)
    array[~silent] = finite(name, array[~silent], (array.size,))
    if array.ndim != len(shape) or array.shape[1:] != shape[1:] or len(array) > shape[0]:
        raise ValueError(f"{name} has the shape {array.shape} where at most {shape} is due")
    return array.tolist()
