"""What comes next, by what came after windows like the last, and how wide the band must be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import Forest
from .._validate import finite, whole_number
from . import html
from .analogues import Analogues
from .views import Views

Floats = NDArray[np.float64]
OUTSIDE = 0.2  # of the records, beyond the 10 and 90 % points
RATE = 0.05  # about 100 errors settle the factor


class Forecast:
    """What a detector expects of the next records.

    Attributes
    ----------
    median, lower, upper : ndarray of shape (horizon, d)
        The median over the trees and the 10 and 90 % points, in the user's units; ``[0]`` is of the next record.

    See Also
    --------
    StreamDetector : Whose `forecast` gives one.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import StreamDetector
    >>> detector = StreamDetector(random_state=0)
    >>> _ = detector.update_many(100 * np.sin(np.arange(1000) / 8))
    >>> ahead = detector.forecast(3)
    >>> ahead.median.shape
    (3, 1)
    >>> bool((ahead.lower <= ahead.median).all() and (ahead.median <= ahead.upper).all())
    True
    """

    __slots__ = ("lower", "median", "upper")

    def __init__(self, median: Floats, lower: Floats, upper: Floats) -> None:
        self.median, self.lower, self.upper = median, lower, upper

    def __repr__(self) -> str:
        return f"Forecast(median={self.median.tolist()}, lower={self.lower.tolist()}, upper={self.upper.tolist()})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        edges = (self.lower.tolist(), self.median.tolist(), self.upper.tolist())
        rows = [(step + 1, *values) for step, values in enumerate(zip(*edges, strict=True))]
        return html.table(("step", "10 %", "median", "90 %"), rows)


def forecast(forest: Forest, views: Views, window: Floats, horizon: int) -> Forecast:
    """The records after `window`, in the user's units.

    Each tree goes its own way, from what it found to what it finds next: the ways part as the future does, where one way in the
    middle would make the steps ahead look surer than the first.
    """
    d = len(views.centre)
    analogues, missing = Analogues(forest, d), list(range(len(window) - d, len(window)))
    windows = np.tile(window, (len(analogues), 1))
    base = np.tile(views.next_base(), (len(analogues), 1))
    bands = np.empty((3, horizon, d))
    for h in range(horizon):
        windows = np.concatenate([windows[:, d:], windows[:, -d:]], axis=1)
        windows[:, -d:] = found = analogues.found(windows, missing, h + 1)
        values = found * views.scale + views.centre + base
        base = views.base_after(base, values)
        bands[:, h] = band(values)
    return Forecast(*bands)


def band(found: Floats) -> Floats:
    """(3, d): median, 10 and 90 % points of what the trees found (trees, d).

    Trees find the same point again and again; for the tails each counts once, at the place ``k / (n + 1)`` that an order
    statistic of n holds on average.
    """
    middle, tails = np.median(found, axis=0), np.empty((2, found.shape[1]))
    for j, column in enumerate(found.T):
        values = np.unique(column)
        n = len(values)
        tails[:, j] = np.interp([0.1 * (n + 1), 0.9 * (n + 1)], np.arange(1.0, n + 1), values)
    return np.array([middle, np.minimum(tails[0], middle), np.maximum(tails[1], middle)])


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

    def skip(self, now: int, missed: int) -> None:
        """Note that so many records are missing after `now` records, so that the next is that many steps further ahead."""
        ahead = [(then - missed, made) for then, made in self.pending]
        self.pending = [(then, made) for then, made in ahead if now - then < len(made.median)]

    def compare(self, now: int, value: list[float]) -> None:
        """Compare the forecasts with record `now`, unless it misses a value, because the filled value is a guess."""
        kept = []
        known = all(v == v for v in value)
        for then, made in self.pending:
            h = now - then - 1
            if known:
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
            ahead = now - whole_number("pending_made", then, -(2**62))  # below 0 after a gap
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


def checked_bounds(bounds: Any, d: int) -> tuple[Floats, Floats]:
    """The least and the largest value of each feature; infinite where there is no bound."""
    if bounds is None:
        return np.full(d, -np.inf), np.full(d, np.inf)
    try:
        low, high = bounds
        least = np.broadcast_to(np.asarray(-np.inf if low is None else low, dtype=np.float64), (d,))
        most = np.broadcast_to(np.asarray(np.inf if high is None else high, dtype=np.float64), (d,))
    except (TypeError, ValueError) as error:
        raise ValueError(f"bounds must be (least, largest), such as (0, None), got {bounds!r}") from error
    if not (least <= most).all():
        raise ValueError(f"the least of bounds must not be above the largest, got {bounds!r}")
    return least, most
