"""The last records of a stream: as they came, as the forests see them, and how much of them was filled in."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import RingCore
from .._validate import finite
from .transform import Step, Transform

Values = list[float]
Floats = NDArray[np.float64]


class Window:
    """`size` records side by side."""

    __slots__ = ("any_filled", "d", "filled", "held", "last", "moments", "ring", "size")

    def __init__(self, size: int, d: int) -> None:
        self.size, self.d = size, d
        self.ring = RingCore(size, d)
        self.moments: deque[Step] = deque(maxlen=size)
        self.filled: deque[float] = deque(maxlen=size)  # the share of each that was filled in; empty while none was
        self.any_filled = False
        self.last: list[Values] = []  # the last two as they came, filled
        self.held: list[tuple[bool, bool]] = []  # (full, doubtful) of each record that the transform holds back

    @property
    def full(self) -> bool:
        # a gap while the first records are held back empties `moments` alone
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
        """What the forests see: (size * d,), the oldest record first."""
        return self.ring.window(False)

    def take(
        self, values: Values, filled: float, transform: Transform, bridged: bool = False
    ) -> list[tuple[Values, bool, bool]]:
        """The next record through the transform; the rows that are now ready for the trees.

        With each, whether the window that ends in it is full, and whether it is doubtful: to be scored and not learned, for more
        than half of it was filled in, or the row itself `bridged` a gap.
        """
        self.last = [self.last[-1], values] if self.last else [values]
        rows = transform.push(values)
        self.moments.append((values, transform.base, transform.centre, transform.scale))
        if filled or self.any_filled:
            self.filled.append(filled)
            self.any_filled = any(self.filled)
            if not self.any_filled:
                self.filled.clear()
        if len(rows) > 1:  # settled only now: the moments before had no scale yet
            centre, scale = transform.centre, transform.scale
            self.moments = deque(((raw, base, centre, scale) for raw, base, _, _ in self.moments), self.size)
        doubtful = bridged or (self.any_filled and self.filled_share > 0.5)
        full = len(self.moments) == self.size
        if len(rows) == 1 and not self.held:
            return [(rows[0], full, doubtful)]
        self.held.append((full, doubtful))
        if not rows:
            return []
        held, self.held = self.held, []
        return [(row, *fate) for row, fate in zip(rows, held, strict=True)]

    def restart(self) -> None:
        """Begin anew after a gap."""
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
        """Take over a state, while the transform holds so many records back; ValueError where it is none."""
        size, d = self.size, self.d
        for record in finite("ring", state["ring"], (size, d)):
            self.ring.push(record)
        self.last = finite("last", state["last"], (2, d)).tolist()
        for raw, base, centre, scale in finite("moments", state["moments"], (size, 4, d)).tolist():
            self.moments.append((raw, base, centre, scale))
        self.filled.extend(finite("filled", state["filled"], (size,), 0.0, 1.0).tolist())
        held = state["held"]
        if not isinstance(held, np.ndarray) or held.dtype != np.bool_ or held.shape != (held_back, 2):
            raise ValueError(f"held does not say what becomes of the {held_back} records held back")
        self.held = [(full, doubtful) for full, doubtful in held.tolist()]
        self.any_filled = any(self.filled)
