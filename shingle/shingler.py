"""Windows of consecutive records of a stream or an array, and the conversion of scores of windows to scores of records."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rcf._validate import as_record, whole_number

from ._core import RingCore


class Shingler:
    """The last `size` records of a stream as one point.

    `push` returns None until `size` records have come. The records of a window must be evenly spaced in time. If there is
    a gap, fill it or call `reset`, because a window across the gap would mix records from before and after.

    Parameters
    ----------
    size : int
        Number of records in a window.
    n_features : int, default=1
        Number of features of a record.
    rotate : bool, default=False
        Keep record `k` at position ``k % size`` instead of shifting every record by one position. Consecutive windows then
        differ in one record only. If `size` is a multiple of the period of the data, each position corresponds to one
        phase.

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
        """Add a record ``(n_features,)`` and return the window ``(size * n_features,)`` as a new array, or None at the start.

        NaN is allowed. Callers can use it to mark gaps in the window.
        """
        self._core.push(as_record(record, self.n_features, type(self).__name__))
        return self.window

    @property
    def window(self) -> NDArray[np.float64] | None:
        """A copy of the current window, oldest record first (or at fixed positions with `rotate`). None before it is full."""
        return self._core.window(self.rotate) if self.full else None

    @property
    def full(self) -> bool:
        """Whether `size` records have come since the start or the last reset."""
        return self._core.seen >= self.size

    @property
    def n_seen(self) -> int:
        """Number of records since the start or the last reset."""
        return self._core.seen

    def reset(self) -> None:
        """Start again, as after a gap."""
        self._core.reset()

    def __repr__(self) -> str:
        return f"Shingler(size={self.size}, n_features={self.n_features}, rotate={self.rotate})"


def shingle(X: ArrayLike, size: int, step: int = 1) -> NDArray[Any]:
    """All windows of a series, one per row, oldest record first.

    Parameters
    ----------
    X : array-like of shape (n,) or (n, d)
        Records in order of time, evenly spaced.
    size : int
        Number of records in a window.
    step : int, default=1
        Number of records between the starts of two consecutive windows.

    Returns
    -------
    ndarray of shape ((n - size) // step + 1, size * d)
        A read-only view of `X` if `X` is contiguous, otherwise a view of a copy. Row `i` ends at record
        ``i * step + size - 1``.

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
    """Turn scores of windows into scores of records.

    Parameters
    ----------
    scores : array-like of shape (m,)
        One score for each row of ``shingle(X, size, step)``.
    size, step : int
        The values that were given to `shingle`.
    reduce : {"last", "mean", "max"}, default="last"
        With "last", the score of a record is that of the window that ends with it, which is the only score that is
        available in a stream at that time. "mean" and "max" reduce over all windows that contain the record, and
        locate an anomaly better in hindsight.

    Returns
    -------
    ndarray of shape ((m - 1) * step + size,)
        The scores of the records. They are NaN if no window gives a score; with "last" these are the first
        ``size - 1`` records and the records between steps.

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
        # A running sum would carry the rounding error of a large score to all records that follow.
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
