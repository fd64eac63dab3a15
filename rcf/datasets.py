"""Synthetic data with known anomalies, so that examples and demos need no download."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Series(NamedTuple):
    """A series and the positions of its anomalies."""

    values: NDArray[np.float64]
    anomalies: NDArray[np.int64]


def make_series(n_days: int = 100, *, random_state: Any = 0) -> Series:
    """A series with a daily rhythm, sampled every half hour, and five anomalies of different kinds.

    The rhythm has two peaks a day and is weaker on weekends. Noise is added to each value. The anomalies are evenly spaced over the
    last two thirds of the series: a day without its evening peak, a spike, an outage, a sensor that is stuck at one value for half
    a day, and a day of strong noise.

    Parameters
    ----------
    n_days : int, default=100
        Length of the series, with 48 values per day; at least 30.
    random_state : int, Generator or None, default=0
        Seed of the noise and of the hours at which the anomalies begin.

    Returns
    -------
    values : ndarray of shape (48 * n_days,)
    anomalies : ndarray of shape (5, 2)
        Position of the first value of each anomaly, and position of the first value after it.

    Examples
    --------
    >>> from rcf.datasets import make_series
    >>> values, anomalies = make_series()
    >>> values.shape, anomalies.shape
    ((4800,), (5, 2))
    """
    if n_days < 30:
        raise ValueError(f"n_days must be at least 30, got {n_days}")
    rng = np.random.default_rng(random_state)
    n = 48 * n_days
    t = np.arange(n) / 48
    day = np.exp(-(((t % 1) - 0.35) ** 2) / 0.015) + 1.5 * np.exp(-(((t % 1) - 0.75) ** 2) / 0.04)
    busy = np.where(t.astype(np.int64) % 7 < 5, 1.0, 0.9)
    values = 20.0 + 40.0 * busy * day + rng.normal(0.0, 1.5, n)

    days = 48 * np.linspace(n_days / 3, n_days - 4, 5).astype(np.int64)
    hours = rng.integers(0, 12, 5)
    hours[0] = 26  # before the evening peak
    starts = days + hours
    ends = starts + np.array([20, 2, 10, 24, 30])
    quiet, spike, outage, stuck, noise = (slice(*span) for span in zip(starts, ends, strict=True))
    values[quiet] = rng.normal(20.0, 1.5, 20)
    values[spike] += 60.0
    values[outage] = rng.normal(2.0, 1.5, 10)
    values[stuck] = values[stuck.start]
    values[noise] += rng.normal(0.0, 30.0, 30)
    return Series(values, np.stack([starts, ends], axis=1))
