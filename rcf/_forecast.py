"""What comes next, by completing the window again and again, and how wide the band must be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._core import Forest
from ._explain import Moment, band, completed
from ._transform import Transform

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


def widened(made: Forecast, factor: Floats | float) -> Forecast:
    """The band, `factor` times as wide on either side."""
    middle = made.median
    return Forecast(middle, middle - factor * (middle - made.lower), middle + factor * (made.upper - middle))


def adapted(factor: float, made: Forecast, value: Floats) -> float:
    """The factor after a record came for which that had been forecast: adaptive conformal inference."""
    wide = widened(made, factor)
    outside = float(np.mean((value < wide.lower) | (value > wide.upper)))
    return min(max(factor * float(np.exp(RATE * (outside - OUTSIDE))), 0.1), 100.0)
