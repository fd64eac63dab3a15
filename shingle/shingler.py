"""Windows of consecutive records: of a stream, of an array, and back to time stamps."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rcf._core import RingCore
from rcf._validate import as_record, whole_number


class Shingler:
    """The last `size` records of a stream as one point.

    Until `size` records have come there is no window, and `push` returns None. A window is right only over records at
    even steps: after a gap in the time stamps call `reset`, or fill the gap, for windows across it mix
    what came before with what came after.

    Parameters
    ----------
    size : int
        Records to a window.
    n_features : int, default=1
        Numbers to a record.
    rotate : bool, default=False
        Leave each record in the place where it was written, ``k % size`` for record `k`, instead of moving all by one
        place: consecutive windows then differ in one record only. For data with a period that is a multiple of
        `size` each place then stands for a phase.

    Examples
    --------
    >>> from rcf.shingle import Shingler
    >>> shingler = Shingler(3)
    >>> [shingler.push(x) for x in (1, 2)]
    [None, None]
    >>> shingler.push(3)
    array([1., 2., 3.])
    >>> shingler.push(4)
    array([2., 3., 4.])
    """

    def __init__(self, size: int, n_features: int = 1, *, rotate: bool = False) -> None:
        self.size = whole_number("size", size)
        self.n_features = whole_number("n_features", n_features)
        self.rotate = bool(rotate)
        self._core = RingCore(self.size, self.n_features)

    def push(self, record: ArrayLike) -> NDArray[np.float64] | None:
        """Take in a record ``(n_features,)``; the window ``(size * n_features,)`` as a new array, or None at the start.

        NaN passes: whoever fills gaps does so in the window.
        """
        self._core.push(as_record(record, self.n_features, type(self).__name__))
        return self.window

    @property
    def window(self) -> NDArray[np.float64] | None:
        """The current window as a copy, oldest record first (in its fixed places with `rotate`); None before it is full."""
        return self._core.window(self.rotate) if self.full else None

    @property
    def full(self) -> bool:
        """Whether `size` records have come since the start or the last reset."""
        return self._core.seen >= self.size

    @property
    def n_seen(self) -> int:
        """Records since the start or the last reset."""
        return self._core.seen

    def reset(self) -> None:
        """Start again, as after a gap."""
        self._core.reset()

    def __repr__(self) -> str:
        return f"Shingler(size={self.size}, n_features={self.n_features}, rotate={self.rotate})"


def shingle(X: ArrayLike, size: int, step: int = 1) -> NDArray[Any]:
    """All windows of a series, one to a row, oldest record first.

    Parameters
    ----------
    X : array-like of shape (n,) or (n, d)
        Records in order of time, at even steps.
    size : int
        Records to a window.
    step : int, default=1
        How far each window starts after the one before.

    Returns
    -------
    ndarray of shape ((n - size) // step + 1, size * d)
        A read-only view of `X` where its records lie next to each other (it then costs no memory), else of a copy. Row
        `i` ends at record ``i * step + size - 1``.

    Raises
    ------
    ValueError
        If the series is shorter than a window.

    Examples
    --------
    >>> from rcf.shingle import shingle
    >>> shingle([1, 2, 3, 4], 3)
    array([[1, 2, 3],
           [2, 3, 4]])
    """
    size, step = whole_number("size", size), whole_number("step", step)
    series = np.ascontiguousarray(X)
    if series.ndim == 1:
        series = series[:, np.newaxis]
    if series.ndim != 2:
        raise ValueError(f"X must have one or two dimensions, got shape {series.shape}")
    n, d = series.shape
    if d == 0:
        raise ValueError(f"X must have at least one feature, got shape {series.shape}")
    if n < size:
        raise ValueError(f"a window of {size} records does not fit into a series of {n}")
    stride = series.itemsize
    return np.lib.stride_tricks.as_strided(
        series, ((n - size) // step + 1, size * d), (step * d * stride, stride), writeable=False
    )


def unshingle(
    scores: ArrayLike, size: int, step: int = 1, *, reduce: Literal["last", "mean", "max"] = "last"
) -> NDArray[np.float64]:
    """From scores of windows back to scores of time stamps.

    Parameters
    ----------
    scores : array-like of shape (m,)
        One for each row of ``shingle(X, size, step)``.
    size, step : int
        As they were given to `shingle`.
    reduce : {"last", "mean", "max"}, default="last"
        What a time stamp gets: the score of the window that ends there (what a stream knows at that moment), or the mean or
        the maximum over all windows that contain it (which find the place better, afterwards).

    Returns
    -------
    ndarray of shape ((m - 1) * step + size,)
        NaN where no window says anything: with "last" the first ``size - 1``, and between steps.

    Examples
    --------
    >>> from rcf.shingle import unshingle
    >>> unshingle([1.0, 5.0], 3, reduce="max")
    array([1., 5., 5., 5.])
    """
    size, step = whole_number("size", size), whole_number("step", step)
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"scores must be a non-empty one-dimensional array, got shape {values.shape}")
    ends = np.arange(values.size) * step + size - 1
    n = int(ends[-1]) + 1
    if reduce == "last":
        out = np.full(n, np.nan)
        out[ends] = values
        return out
    if reduce == "mean":
        # no running sum: it would carry the rounding of a great score to all that follow
        total, count = np.zeros(n), np.zeros(n)
        for offset in range(size):
            total[ends - offset] += values
            count[ends - offset] += 1.0
        out = np.full(n, np.nan)
        np.divide(total, count, out=out, where=count > 0)
        return out
    if reduce == "max":
        out = np.full(n, -np.inf)
        for offset in range(size):
            np.maximum.at(out, ends - offset, values)
        out[np.isneginf(out)] = np.nan
        return out
    raise ValueError(f"reduce must be 'last', 'mean' or 'max', got {reduce!r}")
