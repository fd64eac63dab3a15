"""How fast the level of each feature drifts, told by windows of the same shape that came at different times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PAIRS = 64  # of windows, in each half: beside a season the drift is then known as well as 1 in 100, with 32 to 1.4
AGREE = 0.75  # of the pairs. If but 16 of them are independent, chance does that in both halves once in 300 times
LEAST = 16


def trend(windows: Floats, times: NDArray[np.int64], d: int) -> Floats:
    """The drift of each feature per record, (d,); 0 where windows do not agree on its sign.

    Season, noise and drift come together, and a line through the levels takes half a season for a drift. So each window is
    compared with the earlier one that is nearest in shape, its level taken off: they stand in the same place of the season, and
    what is between their levels is drift. The median of many such slopes is taken (as Theil and Sen do of all pairs), if they
    agree, from the last third of the time to the middle one and from there to the first: a step lies in one of the two or
    between, and where a scale was settled anew both have a drift, but in other units.

    Parameters
    ----------
    windows : (n, size * d) array
    times : (n,) array
        When each came, ascending.
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
    """Between windows of the later half and the one of the earlier half that is nearest to each in shape."""
    n = len(times) // 2
    late = np.arange(n, 2 * n, max(1, n // PAIRS))
    off, gap = np.zeros((2, len(late), n), dtype=np.float32)
    for record in shapes:  # not as a product of matrices, whose rounding depends on the machine
        np.subtract(record[late, None], record[:n], out=gap)
        off += np.abs(gap, out=gap)
    early = off.argmin(axis=1)
    found: Floats = (levels[late] - levels[early]) / (times[late] - times[early])
    return found
