"""The last records of a stream: as they came, as the forests see them, and the share that was filled."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validate import whole_number
from ..shingle._core import RingCore

Values = list[float]
Floats = NDArray[np.float64]
# For each record: the original values, the base of its change, the centre and the scale, to convert its numbers back. It is a
# tuple, because one is created for every record and few are read.
Step = tuple[Values, Values, Values, Values]


# Whether the window of a record is full, and whether the record is scored but not learned, because more than half of its window
# was filled or it fills a gap. It is a tuple, because one is created for every record.
Fate = tuple[bool, bool]


class Window:
    """`size` records side by side."""

    __slots__ = ("any_filled", "d", "filled", "held", "last", "moments", "ring", "size")

    def __init__(self, size: int, d: int) -> None:
        self.size, self.d = size, d
        self.ring = RingCore(size, d)
        # lists, because a deque takes 760 bytes however short it is
        self.moments: list[Step] = []
        self.filled: list[float] = []  # the share of each record that was filled; empty if none was
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
        if len(self.moments) > self.size:
            del self.moments[0]
        if filled or self.any_filled:
            self.filled.append(filled)
            if len(self.filled) > self.size:
                del self.filled[0]
            self.any_filled = any(self.filled)
            if not self.any_filled:
                self.filled.clear()
        doubtful = bridged or (self.any_filled and self.filled_share > 0.5)
        return len(self.moments) == self.size, doubtful

    def settle(self, centre: Values, scale: Values) -> list[Fate]:
        """Process the records that were held back, because their scale is known now."""
        self.moments = [(raw, base, centre, scale) for raw, base, _, _ in self.moments]
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
        ring = self.row().reshape(size, d)[max(0, size - self.ring.seen) :]
        parts = [np.array(part, dtype="<f8").ravel() for part in (self.last, self.filled, self.moments, ring)]
        return {
            "window": np.concatenate(parts).tobytes(),  # one piece, because each takes 20 microseconds
            "rows": [len(self.last), len(self.filled), len(self.moments), len(ring)],
            "held": [list(fate) for fate in self.held],
        }

    def restore(self, state: dict[str, Any], held_back: int) -> None:
        """Restore a state with that many records held back; ValueError if it is not valid."""
        size, d = self.size, self.d
        rows = [
            whole_number("rows of a window", many, 0, most)
            for many, most in zip(state["rows"], (2, size, size, size), strict=True)
        ]
        numbers = np.frombuffer(state["window"], dtype="<f8").astype(np.float64)
        one, two, three, end = accumulate((rows[0] * d, rows[1], rows[2] * 4 * d, rows[3] * d))
        if len(numbers) != end or np.isinf(numbers).any():
            raise ValueError("the window has the wrong number of values, or an infinite value")
        # a missing feature is NaN in what came and in its moment
        self.last = numbers[:one].reshape(rows[0], d).tolist()
        self.filled = numbers[one:two].tolist()
        moments, ring = numbers[two:three].reshape(rows[2], 4, d), numbers[three:].reshape(rows[3], d)
        if np.isnan(ring).any() or not all(0.0 <= share <= 1.0 for share in self.filled):
            raise ValueError("the window has a missing value, or a share outside 0 to 1")
        for record in ring:
            self.ring.push(record)
        self.moments = [(raw, base, centre, scale) for raw, base, centre, scale in moments.tolist()]
        self.held = [(full, doubtful) for full, doubtful in state["held"]]
        if len(self.held) != held_back or not all(type(part) is bool for fate in self.held for part in fate):
            raise ValueError(f"held must have two booleans for each of the {held_back} records held back")
        self.any_filled = any(self.filled)
