"""Replacements for missing values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._core import LIMIT, Forest
from .analogues import Analogues
from .explain import Moment
from .views import Views

Floats = NDArray[np.float64]


def filled(values: list[float], fill: str | float, last: list[list[float]]) -> list[float]:
    """The record with NaN filled from the two records before it; NaN stays if nothing is known to replace it."""
    if not isinstance(fill, str):
        return [float(fill) if v != v else v for v in values]
    if fill == "zero":
        return [0.0 if v != v else v for v in values]
    if not last:
        return values
    guess = last[-1]
    if fill == "linear" and len(last) > 1:
        guess = [2.0 * b - a if abs(2.0 * b - a) <= LIMIT else b for a, b in zip(last[-2], guess, strict=True)]
    return [b if v != v else v for v, b in zip(values, guess, strict=True)]


def completed_record(
    forest: Forest, views: Views, window: Floats, values: list[float], last: list[float]
) -> list[float]:
    """The record with NaN filled by the forest, with the median of records that fit its known values and the window before it.

    A feature that has never had a value stays NaN.
    """
    d = len(values)
    known = views.peek([b if v != v else v for v, b in zip(values, last, strict=True)])
    gaps = [j for j, v in enumerate(values) if v != v and last[j] == last[j]]
    if not gaps:
        return values
    analogues = Analogues(forest, d)
    windows = np.tile(np.concatenate([window[d:], known]), (len(analogues), 1))
    found = np.median(analogues.found(windows, [len(window) - d + j for j in gaps]), axis=0)
    moment = Moment(last, views.next_base(), views.centre, views.scale)
    guess = moment.restored(dict(zip(gaps, found.tolist(), strict=True)))
    return [guess.get(j, v) for j, v in enumerate(values)]
