"""Estimate the drift of each feature's level from windows of the same shape at different times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PAIRS = 64  # windows compared in each half. With a season, the error of the drift is 1 in 100; with 32 windows it is 1.4 in 100
# Share of the pairs with the same sign. If only 16 pairs are independent, this happens by chance in both halves once in 300 cases.
AGREE = 0.75
LEAST = 16


def trend(windows: Floats, times: NDArray[np.int64], d: int) -> Floats:
    """The drift of each feature per record, shape (d,). It is 0 if the windows do not agree on its sign.

    A series can have a season, noise and a drift. A line through the levels would mistake half a season for a drift. Therefore
    each window is compared with the earlier window that is nearest in shape after the level is subtracted. Both come from the same
    part of the season, so the difference of their levels is drift. The result is the median of many such slopes (as in the
    estimator of Theil and Sen). It is used only if two medians agree: that of the slopes between the last and the middle third of
    the windows, and that between the middle and the first third. They disagree after a single step of the level, which affects only
    one of them, and after a change of the scale, which changes the unit of one.

    Parameters
    ----------
    windows : (n, size * d) array
    times : (n,) array
        The time of each window, ascending.
    d : int
        Features of a record.
    """
    rates, n = np.zeros(d), len(windows) // 3
    if n < LEAST:
        return rates
    for j in range(d):
        heights = windows[:, j::d].T
        levels = heights.mean(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):  # values up to the limit of a float32 are allowed
            shapes = (heights - levels).astype(np.float32)
            slopes = [
                _slopes(shapes[:, at : at + 2 * n], levels[at : at + 2 * n], times[at : at + 2 * n]) for at in (0, n)
            ]
        older, newer = (float(np.median(found)) for found in slopes)
        agree = any(all(np.mean(sign * found > 0.0) >= AGREE for found in slopes) for sign in (1.0, -1.0))
        if agree and 0.5 <= newer / older <= 2.0:
            rates[j] = np.median(np.concatenate(slopes))
    return rates


def _slopes(shapes: NDArray[np.float32], levels: Floats, times: NDArray[np.int64]) -> Floats:
    """Slopes between each window of the later half and the window of the earlier half that is nearest in shape."""
    n = len(times) // 2
    late = np.arange(n, 2 * n, max(1, n // PAIRS))
    off, gap = np.zeros((2, len(late), n), dtype=np.float32)
    for record in shapes:  # a matrix product is avoided, because its rounding depends on the machine
        np.subtract(record[late, None], record[:n], out=gap)
        off += np.abs(gap, out=gap)
    early = off.argmin(axis=1)
    found: Floats = (levels[late] - levels[early]) / (times[late] - times[early])
    return found
