"""Plots of series: scores, detections, forecasts and attributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .style import EXPECTED, FLAGGED, SCORE, SERIES, axes_of, panels_of, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..detector import Forecast


def scores(
    values: ArrayLike,
    scores: ArrayLike,
    flags: ArrayLike | None = None,
    ax: Sequence[Axes] | None = None,
    *,
    times: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    threshold: float | None = None,
    events: Sequence[tuple[Any, Any]] = (),
    title: str | None = None,
) -> list[Axes]:
    """Draw a series above its scores, and mark the flagged records in both.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, d)
        The series; each of the first six features has a panel.
    scores : array-like of shape (n,)
        High for anomalies; NaN where there is no score.
    flags : array-like of shape (n,), default=None
        True where a record is flagged.
    ax : sequence of matplotlib Axes, default=None
        One for each panel; the last one is for the scores. None makes a figure, ``ax[0].figure``, that is not
        registered with pyplot.
    times : array-like of shape (n,), default=None
        Numbers or datetimes; by default 0, 1, ...
    names : sequence of str, default=None
        Names of the features.
    threshold : float, default=None
        Drawn as a horizontal line in the panel of the scores.
    events : sequence of (start, end), default=()
        Spans on the scale of `times`, which are shaded in all panels.
    title : str, default=None

    Returns
    -------
    list of matplotlib Axes

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> from rcf import plot
    >>> axes = plot.scores([0.0, 1.0, 9.0, 1.0], [1.0, 1.0, 4.0, 1.0], [False, False, True, False])
    >>> axes[-1].get_ylabel()
    'score'
    >>> axes[0].figure.savefig("series.png")  # doctest: +SKIP
    """
    series = np.asarray(values, dtype=np.float64)
    series = series[:, np.newaxis] if series.ndim == 1 else series
    score = np.asarray(scores, dtype=np.float64)
    marked = np.zeros(len(score), dtype=np.bool_) if flags is None else np.asarray(flags, dtype=np.bool_)
    when = np.arange(len(score)) if times is None else np.asarray(times)
    if series.ndim != 2 or not len(series) == len(score) == len(marked) == len(when):
        raise ValueError(
            f"values, scores, flags and times must have the same length, got shapes {series.shape}, {score.shape}, "
            f"{marked.shape} and {when.shape}"
        )
    shown = min(series.shape[1], 6)
    axes = panels_of(ax, shown + 1, figsize=(11, 2.0 + 1.6 * (shown + 1)))
    for j, panel in enumerate(axes[:-1]):
        panel.plot(when, series[:, j], color=SERIES, linewidth=0.7)
        panel.plot(when[marked], series[marked, j], ".", color=FLAGGED, markersize=4)
        panel.set_ylabel(names[j] if names is not None else f"feature {j}")
    axes[-1].plot(when, score, color=SCORE, linewidth=0.7)
    axes[-1].plot(when[marked], score[marked], ".", color=FLAGGED, markersize=4, label="flagged")
    if threshold is not None and np.isfinite(threshold):
        axes[-1].axhline(threshold, color=FLAGGED, linewidth=0.7, linestyle="--", label="threshold at the end")
    for number, (start, end) in enumerate(events):
        for panel in axes:
            panel.axvspan(start, end, color=FLAGGED, alpha=0.15, linewidth=1.0, label=None if number else "event")
    if marked.any() or threshold is not None or len(events):
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)  # the legend is beside the data
    axes[-1].set_ylabel("score")
    axes[-1].set_xlabel("record" if times is None else "time")
    axes[-1].set_ylim(bottom=0)
    for panel in axes:
        panel.margins(x=0.01)
        plain(panel)
    if title:
        axes[0].set_title(title)
    return axes


def detections(
    values: ArrayLike,
    found: Any,
    ax: Sequence[Axes] | None = None,
    *,
    times: ArrayLike | None = None,
    feature: int = 0,
    band: tuple[ArrayLike, ArrayLike] | None = None,
) -> list[Axes]:
    """Draw a series with the expected values, and below it the grade of each record.

    For each flagged record, the value that caused the flag is marked. A line joins it to the expected value.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, d)
    found : Detections, or frame
        The result of `update_many` for the values, or a list of the results of `update`.
    ax : sequence of two matplotlib Axes, default=None
        None makes a figure, ``ax[0].figure``, that is not registered with pyplot.
    times : array-like of shape (n,), default=None
        Numbers or dates; by default the index of `found` if it is a pandas frame, otherwise 0, 1, ...
    feature : int, default=0
        The feature to draw.
    band : pair of array-like of shape (n,), default=None
        Lower and upper bounds of the expected values, from forecasts made one step before each record.

    Returns
    -------
    list of two matplotlib Axes

    Raises
    ------
    ValueError
        If values and detections differ in number.
    """
    data = np.asarray(values, dtype=np.float64)
    data = data.reshape(len(data), -1)[:, feature]
    grades, called = _called(found, feature)
    if len(grades) != len(data):
        raise ValueError(f"{len(grades)} detections for {len(data)} values")
    if (
        times is None and hasattr(found, "columns") and hasattr(found, "index")
    ):  # a pandas frame; a list has a method named index
        times = found.index
    t = np.arange(len(data)) if times is None else np.asarray(times)
    top, bottom = panels_of(ax, 2, figsize=(10, 4.5), height_ratios=[3, 1])
    if band is not None:
        lower, upper = (np.asarray(edge, dtype=np.float64).reshape(len(data)) for edge in band)
        top.fill_between(t, lower, upper, color=EXPECTED, alpha=0.3, linewidth=0, label="expected, 80 %")
    top.plot(t, data, color=SERIES, linewidth=0.8)
    for at, expected, cause in called:
        top.plot([t[at], t[at]], [data[at], expected], color=FLAGGED, linewidth=0.8)
        top.plot(t[at], expected, "_", color=FLAGGED)
        top.plot(t[at], data[at], "o", color=FLAGGED, markersize=4)
        top.annotate(cause, (t[at], data[at]), (4, 4), textcoords="offset points", fontsize=8)
    bottom.fill_between(t, grades, step="mid", color=FLAGGED)
    bottom.set_ylim(0, 1)
    bottom.set_ylabel("grade")
    if band is not None:
        top.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    bottom.set_xlabel("record" if times is None else "time")
    return [plain(top), plain(bottom)]


def forecast(
    values: ArrayLike, made: Forecast, ax: Axes | None = None, *, times: ArrayLike | None = None, feature: int = 0
) -> Axes:
    """Draw a forecast with its band after the last values of the series.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, d)
        The records before the forecast.
    made : Forecast
        The result of `StreamDetector.forecast`.
    ax : matplotlib Axes, default=None
        None makes a figure, ``ax.figure``, that is not registered with pyplot.
    times : array-like of shape (n,), default=None
        Numbers or datetimes of the records, evenly spaced; by default 0, 1, ...
    feature : int, default=0
        The feature to draw.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import StreamDetector, plot
    >>> values = 100 * np.sin(np.arange(1000) / 8)
    >>> detector = StreamDetector(random_state=0)
    >>> _ = detector.update_many(values)
    >>> ax = plot.forecast(values[-100:], detector.forecast(20))
    >>> [line.get_label() for line in ax.lines]
    ['series', 'forecast']
    """
    data = np.asarray(values, dtype=np.float64)
    data = data.reshape(len(data), -1)[:, feature]
    t = np.arange(len(data)) if times is None else np.asarray(times)
    if len(t) != len(data):
        raise ValueError(f"{len(t)} times for {len(data)} values")
    ahead = t[-1] + (t[-1] - t[-2]) * np.arange(1, len(made.median) + 1)
    axes = axes_of(ax, figsize=(9, 3.5))
    axes.plot(t, data, color=SERIES, linewidth=0.9, label="series")
    axes.fill_between(
        ahead,
        made.lower[:, feature],
        made.upper[:, feature],
        color=EXPECTED,
        alpha=0.4,
        linewidth=0,
        label="10 % to 90 %",
    )
    axes.plot(ahead, made.median[:, feature], color=FLAGGED, linewidth=1.2, linestyle="--", label="forecast")
    axes.set_xlabel("record" if times is None else "time")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return plain(axes)


def attribution(
    parts: ArrayLike, ax: Axes | None = None, *, names: Sequence[str] | None = None, most: int = 10
) -> Axes:
    """Draw the attribution of one record as bars: what each feature adds to the score by being high, and by being low.

    Parameters
    ----------
    parts : array-like of shape (d, 2) or (size, d, 2)
        One row of `RandomCutForest.attribution`, or the `attribution` of a Detection. The bars of a window are named "<name>, lag
        <k>".
    ax : matplotlib Axes, default=None
        None makes a figure, ``ax.figure``, that is not registered with pyplot.
    names : sequence of str, default=None
        Names of the d features; by default x0, x1, ...
    most : int, default=10
        Largest number of bars. The features with smaller parts are added up as "others".

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import RandomCutForest, plot
    >>> forest = RandomCutForest(random_state=0).fit(np.random.default_rng(0).normal(size=(500, 3)))
    >>> ax = plot.attribution(forest.attribution([[0.0, 0.0, 9.0]])[0])
    >>> ax.get_yticklabels()[0].get_text()
    'x2'
    """
    shares = np.asarray(parts, dtype=np.float64)
    if shares.ndim not in (2, 3) or shares.shape[-1] != 2:
        raise ValueError(f"parts must have the shape (d, 2) or (size, d, 2), got {shares.shape}")
    d = shares.shape[-2]
    known = [f"x{j}" for j in range(d)] if names is None else [str(name) for name in names]
    if len(known) != d:
        raise ValueError(f"{len(known)} names for {d} features")
    if shares.ndim == 3:
        size = len(shares)
        known = [f"{name}, lag {size - 1 - k}" for k in range(size) for name in known]
        shares = shares.reshape(-1, 2)
    order = np.argsort(-shares.sum(axis=1), kind="stable")
    shown = order[:most] if len(order) > most + 1 else order
    rows, labels = shares[shown], [known[i] for i in shown]
    if len(shown) < len(order):
        rows = np.vstack([rows, shares[order[len(shown) :]].sum(axis=0)])
        labels.append(f"{len(order) - len(shown)} others")
    axes = axes_of(ax, figsize=(7, 1.2 + 0.3 * len(rows)))
    at = np.arange(len(rows))
    axes.barh(at, rows[:, 0], color=FLAGGED, label="high")
    # the hatch makes the bars distinguishable in grey
    axes.barh(at, rows[:, 1], left=rows[:, 0], color=SERIES, hatch="//", edgecolor="white", label="low")
    axes.set_yticks(at, labels)
    axes.invert_yaxis()
    axes.set_xlabel(f"part of the score ({shares.sum():.3g})")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, title="by being")
    return plain(axes)


def _called(found: Any, feature: int) -> tuple[NDArray[np.float64], list[tuple[int, float, str]]]:
    """The grades of all records, and for each flagged one the position of its cause, the expected value and the cause."""
    if hasattr(found, "columns"):
        expected = [name for name in found.columns if name.startswith("expected_")][feature]
        rows = zip(found["is_anomaly"], found["lag"], found[expected], found["cause"], strict=True)
        called = [
            (i - int(lag), float(middle), cause.rpartition(" at lag ")[0])
            for i, (is_anomaly, lag, middle, cause) in enumerate(rows)
            if is_anomaly
        ]
        return np.asarray(found["grade"], dtype=np.float64), called
    results = list(found)
    called = [
        (i - result.lag, float(result.expected[feature]), "{0} {2}".format(*result.cause))
        for i, result in enumerate(results)
        if result.is_anomaly
    ]
    return np.array([result.grade for result in results]), called
