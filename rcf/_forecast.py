"""What comes next, by completing the window again and again, and how wide the band must be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import Forest
from ._explain import Moment, band, completed
from ._transform import Transform
from ._validate import finite, whole_number

Floats = NDArray[np.float64]
OUTSIDE = 0.2  # of the records, beyond the 10 and 90 % points
RATE = 0.05  # about 100 errors settle the factor


class Forecast:
    """What a detector expects: `median`, `lower` and `upper` (10 and 90 % points), each of shape (horizon, d)."""

    __slots__ = ("lower", "median", "upper")

    def __init__(self, median: Floats, lower: Floats, upper: Floats) -> None:
        self.median, self.lower, self.upper = median, lower, upper

    def __repr__(self) -> str:
        return f"Forecast(median={self.median.tolist()}, lower={self.lower.tolist()}, upper={self.upper.tolist()})"


def forecast(forest: Forest, transform: Transform, window: Floats, last: list[float], horizon: int) -> Forecast:
    """The records after `window`, the last of which came as `last`; in the user's units."""
    d = len(last)
    missing = list(range(len(window) - d, len(window)))
    bands = np.empty((3, horizon, d))
    base = transform.next_base()
    for h in range(horizon):
        window = np.concatenate([window[d:], window[-d:]])
        found = band(completed(forest, window, missing, False))
        window[-d:] = found[0]
        if h and transform.origin == "previous":
            base = bands[0, h - 1].tolist()
        moment = Moment(last, base, transform.centre, transform.scale)
        for k in range(3):
            bands[k, h] = list(moment.restored(dict(enumerate(found[k].tolist()))).values())
    return Forecast(*bands)


class Calibration:
    """Widens a band by the errors of the forecasts made before: adaptive conformal inference, a factor for each step ahead."""

    __slots__ = ("factors", "pending")

    def __init__(self) -> None:
        self.factors: list[float] = []
        self.pending: list[tuple[int, Forecast]] = []  # of which records are still to come: made after so many

    def widen(self, now: int, made: Forecast) -> Forecast:
        """The forecast made after `now` records, to be held against the records to come."""
        horizon = len(made.median)
        self.factors += [1.0] * (horizon - len(self.factors))
        self.pending.append((now, made))
        return widened(made, np.array(self.factors[:horizon])[:, None])

    def compare(self, now: int, value: list[float]) -> None:
        """Hold the forecasts against record `now`, that has come."""
        kept = []
        for then, made in self.pending:
            h = now - then - 1
            step = Forecast(made.median[h], made.lower[h], made.upper[h])
            self.factors[h] = adapted(self.factors[h], step, np.array(value))
            if h + 1 < len(made.median):
                kept.append((then, made))
        self.pending = kept

    def state(self) -> dict[str, Any]:
        return {
            "widening": list(self.factors),
            "pending_made": [then for then, _ in self.pending],
            "pending": [np.stack([made.median, made.lower, made.upper], axis=1) for _, made in self.pending],
        }

    def restore(self, state: dict[str, Any], now: int, d: int) -> None:
        """Take over a state; ValueError where it is none."""
        self.factors = finite("widening", state["widening"], (2**31,), 0.0).tolist()
        for then, found in zip(state["pending_made"], state["pending"], strict=True):
            bands = finite("pending", found, (len(self.factors), 3, d))
            ahead = now - whole_number("pending_made", then, 0)
            if not 0 <= ahead < len(bands):
                raise ValueError(f"a forecast for {len(bands)} records was made {ahead} records ago")
            self.pending.append((then, Forecast(bands[:, 0], bands[:, 1], bands[:, 2])))


def widened(made: Forecast, factor: Floats | float) -> Forecast:
    """The band, `factor` times as wide on either side."""
    middle = made.median
    return Forecast(middle, middle - factor * (middle - made.lower), middle + factor * (made.upper - middle))


def adapted(factor: float, made: Forecast, value: Floats) -> float:
    """The factor after a record came for which that had been forecast: adaptive conformal inference."""
    wide = widened(made, factor)
    outside = float(np.mean((value < wide.lower) | (value > wide.upper)))
    return min(max(factor * float(np.exp(RATE * (outside - OUTSIDE))), 0.1), 100.0)
