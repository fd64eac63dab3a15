"""Pictures of what the forest found; needs matplotlib (``pip install "rcf[plot]"``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def scores(
    values: ArrayLike,
    scores: ArrayLike,
    flags: ArrayLike | None = None,
    *,
    times: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    threshold: float | None = None,
    title: str | None = None,
) -> Any:
    """A series above its scores, what was flagged marked in both.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, d)
        The series; the first six features get a panel each.
    scores : array-like of shape (n,)
        High for anomalies; NaN where there is none.
    flags : array-like of shape (n,), default=None
        True where the record is called an anomaly.
    times : array-like of shape (n,), default=None
        Numbers or datetimes; by default 0, 1, ....
    names : sequence of str, default=None
        Names of the features.
    threshold : float, default=None
        Drawn as a line through the scores.
    title : str, default=None

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, not registered with pyplot: call ``savefig`` on it.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> from rcf import plot
    >>> figure = plot.scores([0.0, 1.0, 9.0, 1.0], [1.0, 1.0, 4.0, 1.0], [False, False, True, False])
    >>> len(figure.axes)
    2
    """
    from matplotlib.figure import Figure

    series = np.asarray(values, dtype=np.float64)
    series = series[:, np.newaxis] if series.ndim == 1 else series
    score = np.asarray(scores, dtype=np.float64)
    marked = np.zeros(len(score), dtype=np.bool_) if flags is None else np.asarray(flags, dtype=np.bool_)
    when = np.arange(len(score)) if times is None else np.asarray(times)
    if series.ndim != 2 or not len(series) == len(score) == len(marked) == len(when):
        raise ValueError(
            f"values, scores, flags and times must go together, got shapes {series.shape}, {score.shape}, "
            f"{marked.shape} and {when.shape}"
        )
    shown = min(series.shape[1], 6)
    figure = Figure(figsize=(11, 2.0 + 1.6 * (shown + 1)), layout="constrained")
    axes = figure.subplots(shown + 1, 1, sharex=True, squeeze=False)[:, 0]
    for j, panel in enumerate(axes[:-1]):
        panel.plot(when, series[:, j], color="#30507a", linewidth=0.7)
        panel.plot(when[marked], series[marked, j], ".", color="#c8321e", markersize=4)
        panel.set_ylabel(names[j] if names is not None else f"feature {j}")
    axes[-1].plot(when, score, color="#555555", linewidth=0.7)
    axes[-1].plot(when[marked], score[marked], ".", color="#c8321e", markersize=4, label="flagged")
    if threshold is not None and np.isfinite(threshold):
        axes[-1].axhline(threshold, color="#c8321e", linewidth=0.7, linestyle="--", label="threshold at the end")
    if marked.any() or threshold is not None:
        axes[-1].legend(loc="upper left", frameon=False)
    axes[-1].set_ylabel("score")
    axes[-1].set_ylim(bottom=0)
    for panel in axes:
        panel.margins(x=0.01)
        panel.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title)
    return figure
