"""Time stamps: how far apart they are, and how many records are missing between two."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validate import finite

GAPS = 15  # time steps whose median is the interval


class Clock:
    """The last time stamp, and the interval between them: given, or learned from the first steps."""

    __slots__ = ("interval", "now", "steps")

    def __init__(self, interval: float | None) -> None:
        self.interval = interval
        self.now: float | None = None
        self.steps: list[float] = []

    def missed(self, time: float) -> int:
        """How many records are missing before the one of `time`, which is now the last."""
        before, self.now = self.now, time
        if before is None:
            return 0
        step = time - before
        if self.interval is None:
            self.steps.append(step)
            if len(self.steps) == GAPS:
                self.interval = sorted(self.steps)[GAPS // 2]
            return 0
        return 0 if step <= 1.5 * self.interval else round(step / self.interval) - 1

    def even(self, times: NDArray[np.float64]) -> int:
        """How many of the next time stamps come before one with records missing; 0 while the interval is not known."""
        if self.interval is None or self.now is None:
            return 0
        late = np.flatnonzero(np.diff(times, prepend=self.now) > 1.5 * self.interval)
        return int(late[0]) if len(late) else len(times)

    def state(self) -> dict[str, Any]:
        return {"time": self.now, "step": self.interval, "steps": list(self.steps)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state; ValueError where it is none."""
        self.now = None if state["time"] is None else float(finite("time", state["time"], ()))
        self.interval = None if state["step"] is None else float(finite("step", state["step"], (), 5e-324))
        self.steps = finite("steps", state["steps"], (GAPS - (self.interval is None),), 0.0).tolist()
