"""Forecast from the records that followed similar windows, and calibrate the width of the band."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _html as html
from .._core import Forest
from .._validate import finite, whole_number
from .analogues import Analogues
from .views import Views

Floats = NDArray[np.float64]
OUTSIDE = 0.2  # share of the records outside the 10 % and 90 % quantiles
RATE = 0.05  # the factor converges after about 100 errors


class Forecast:
    """A forecast of the next records.

    Attributes
    ----------
    median, lower, upper : ndarray of shape (horizon, d)
        The median over the trees, and the 10 % and 90 % quantiles, in the units of the data; ``[0]`` is the next record.

    See Also
    --------
    StreamDetector : Its `forecast` returns a Forecast.

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
        """The table that a notebook shows."""
        edges = (self.lower.tolist(), self.median.tolist(), self.upper.tolist())
        rows = [(step + 1, *values) for step, values in enumerate(zip(*edges, strict=True))]
        return html.table(("step", "10 %", "median", "90 %"), rows)


def forecast(forest: Forest, views: Views, window: Floats, horizon: int) -> Forecast:
    """The records after `window`, in the units of the data.

    Each tree continues from its own forecast, so the paths diverge as uncertainty grows. A single path of medians would
    make later steps look more certain than the first.
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
    """The median, 10 % and 90 % quantile of the trees' answers (trees, d), shape (3, d).

    Many trees find the same point, so for the quantiles each distinct point counts once, at the mean position ``k / (n + 1)`` of an
    order statistic.
    """
    middle, tails = np.median(found, axis=0), np.empty((2, found.shape[1]))
    for j, column in enumerate(found.T):
        values = np.unique(column)
        n = len(values)
        tails[:, j] = np.interp([0.1 * (n + 1), 0.9 * (n + 1)], np.arange(1.0, n + 1), values)
    return np.array([middle, np.minimum(tails[0], middle), np.maximum(tails[1], middle)])


class Calibration:
    """Scales a band by the errors of previous forecasts. This is adaptive conformal inference with a factor for each step ahead."""

    __slots__ = ("factors", "pending")

    def __init__(self) -> None:
        self.factors: list[float] = []
        # forecasts of future records; the keys are the numbers of records after which they were made
        self.pending: list[tuple[int, Forecast]] = []

    def widen(self, now: int, made: Forecast) -> Forecast:
        """Remember the forecast that was made after `now` records, to compare it with later records."""
        horizon = len(made.median)
        self.factors += [1.0] * (horizon - len(self.factors))
        self.pending.append((now, made))
        return widened(made, np.array(self.factors[:horizon])[:, None])

    def skip(self, now: int, missed: int) -> None:
        """Take account of records that are missing after record `now`: the next record is that many steps further ahead."""
        ahead = [(then - missed, made) for then, made in self.pending]
        self.pending = [(then, made) for then, made in ahead if now - then < len(made.median)]

    def compare(self, now: int, value: list[float]) -> None:
        """Compare the forecasts with record `now`, unless a value is missing, because a filled value is a guess."""
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
        """Restore a state. Raises ValueError if it is not valid."""
        if state["widening"] != []:
            self.factors = finite("widening", state["widening"], (2**31,), 0.0).tolist()
        for then, found in zip(state["pending_made"], state["pending"], strict=True):
            bands = finite("pending", found, (len(self.factors), 3, d))
            ahead = now - whole_number("pending_made", then, -(2**62))  # below 0 after a gap
            if not 0 <= ahead < len(bands):
                raise ValueError(f"a forecast for {len(bands)} records was made {ahead} records ago")
            self.pending.append((then, Forecast(bands[:, 0], bands[:, 1], bands[:, 2])))


def widened(made: Forecast, factor: Floats | float) -> Forecast:
    """The band, `factor` times as wide on each side."""
    middle = made.median
    return Forecast(middle, middle - factor * (middle - made.lower), middle + factor * (made.upper - middle))


def adapted(factor: float, made: Forecast, value: Floats) -> float:
    """The factor after the record that was forecast has come, by adaptive conformal inference."""
    wide = widened(made, factor)
    outside = float(np.mean((value < wide.lower) | (value > wide.upper)))
    return min(max(factor * float(np.exp(RATE * (outside - OUTSIDE))), 0.1), 100.0)


def checked_bounds(bounds: Any, d: int) -> tuple[Floats, Floats]:
    """The lower and upper bound of each feature; infinite if there is none."""
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
