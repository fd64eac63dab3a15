"""Pictures of what the forest found; needs matplotlib (``pip install "rcf[plot]"``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .hotspots import HotSpots, k_distances, suggest_radius

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .trees import Tree


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


def hotspots(
    spots: HotSpots,
    *,
    features: tuple[int, int] = (0, 1),
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Any:
    """The records of the window and the boxes of its regions, coloured by density.

    Parameters
    ----------
    spots : HotSpots
        With at least one record.
    features : tuple of int, default=(0, 1)
        The features across and up. With one feature alone the age of the records goes up, the latest on top.
    names : sequence of str, default=None
        Names of all features; by default those that the records came with.
    title : str, default=None

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, not registered with pyplot: call ``savefig`` on it.

    Raises
    ------
    ValueError
        If there is no such feature, or names for another number of features.

    Examples
    --------
    >>> from rcf import plot
    >>> from rcf.hotspots import HotSpots
    >>> figure = plot.hotspots(HotSpots(scan_radius=1, min_points=2).fit([[0, 0], [0, 1], [5, 5]]))
    >>> len(figure.axes[0].patches)
    1
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    records, found, labels = spots.records(), spots.hot_spots_, spots.labels_
    d = records.shape[1]
    across, up = features if d > 1 else (0, 0)
    for feature in (across, up):
        if not 0 <= feature < d:
            raise ValueError(f"there are {d} features, no feature {feature}")
    if names is None:
        names = list(getattr(spots, "feature_names_in_", [f"feature {i}" for i in range(d)]))
    if len(names) != d:
        raise ValueError(f"{len(names)} names for {d} features")
    age = np.arange(spots.n_seen_ - len(records), spots.n_seen_)
    x, y = records[:, across], records[:, up] if d > 1 else age

    figure = Figure(figsize=(7.5, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(x[labels < 0], y[labels < 0], s=6, color="0.7", linewidths=0, rasterized=len(x) > 20_000)
    density = np.array([spot.density for spot in found])
    if len(found):
        low, high = density.min(), density.max()
        scale = LogNorm(low / 1.5, high * 1.5) if low > 0 and high < 1e300 else None
        # the palest end of the map is left out: it would not show on white
        colors = colormaps["viridis_r"]
        shade = colors(0.15 + 0.85 * np.asarray(scale(density))) if scale else colors(np.full(len(found), 0.9))
        inside = labels >= 0
        axes.scatter(x[inside], y[inside], s=8, color=shade[labels[inside]], linewidths=0, rasterized=len(x) > 20_000)
        for i, spot in enumerate(found):
            left, width = spot.min_values[across], spot.max_values[across] - spot.min_values[across]
            if d > 1:
                bottom, height = spot.min_values[up], spot.max_values[up] - spot.min_values[up]
            else:
                own = age[labels == i]
                bottom, height = float(own.min()), float(own.max() - own.min())
            axes.add_patch(Rectangle((left, bottom), width, height, fill=False, edgecolor=shade[i], linewidth=1.5))
            if len(found) <= 20:
                axes.annotate(
                    f"{spot.id}: {spot.count}, {spot.density:.3g}", (left, bottom + height), xytext=(0, 4),
                    textcoords="offset points", fontsize=9, annotation_clip=True,
                )  # fmt: skip
        if scale is not None and len(found) > 1:
            listed = colors(np.linspace(0.15, 1.0, 256))
            from matplotlib.colors import ListedColormap

            figure.colorbar(ScalarMappable(scale, ListedColormap(listed)), ax=axes, label="density")
    axes.margins(0.05)
    axes.set_xlabel(names[across])
    axes.set_ylabel(names[up] if d > 1 else "record")
    what = "region" if len(found) == 1 else "regions"
    axes.set_title(title or f"{len(found)} {what} among {len(records)} records (id: count, density)", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def k_distance(X: ArrayLike, min_points: int, *, title: str | None = None) -> Any:
    """The k-distance curve of data, and the radius that :func:`rcf.hotspots.suggest_radius` takes from it.

    Look for the step: rows to its left lie in dense regions, the height of its foot is a scan radius.

    Parameters
    ----------
    X : array-like of shape (n, d)
    min_points : int
        From 2 to n.
    title : str, default=None

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, not registered with pyplot: call ``savefig`` on it.

    Raises
    ------
    ValueError
        As `suggest_radius`.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import plot
    >>> figure = plot.k_distance(np.random.default_rng(0).normal(size=(200, 2)), min_points=8)
    >>> figure.axes[0].get_yscale()
    'log'
    """
    from matplotlib.figure import Figure

    radius, curve = suggest_radius(X, min_points), k_distances(X, min_points)
    rows = np.arange(1, len(curve) + 1)
    foot = int(np.searchsorted(curve, radius, side="right"))

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rows[curve > 0], curve[curve > 0], color="C0")
    axes.axhline(radius, color="C3", linewidth=1, linestyle="--")
    axes.plot(foot, radius, "o", color="C3")
    axes.annotate(
        f"{radius:.4g}: {foot} of {len(curve)} rows would be cores", (foot, radius), xytext=(8, -14),
        textcoords="offset points", color="C3",
    )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("rows, sorted")
    axes.set_ylabel(f"radius that takes in {min_points} rows")
    axes.set_title(title or "k-distance curve", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


# ---- one tree ----------------------------------------------------------------------------------------------------------


def _axes(ax: Axes | None) -> Axes:
    from matplotlib.figure import Figure

    return Figure(layout="constrained").subplots() if ax is None else ax


def tree(tree: Tree, ax: Axes | None = None, *, max_depth: int | None = None, **lines: Any) -> Axes:
    """Draw the shape of a tree: depth downwards, leaves side by side, as wide as they hold records.

    Parameters
    ----------
    tree : Tree
        One of ``forest.trees_``.
    ax : matplotlib Axes, default=None
        None makes a figure, ``ax.figure``, that is not registered with pyplot.
    max_depth : int, default=None
        What lies deeper is left out; None draws everything.
    **lines
        For :class:`matplotlib.collections.LineCollection`, such as ``color`` or ``linewidths``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the tree is empty.
    """
    from matplotlib.collections import LineCollection

    if not tree.n_records:
        raise ValueError("cannot draw a tree that holds no records")
    ax = _axes(ax)
    start = {tree.root: 0}  # of the records below a node, counted from the left
    strokes, depth = [], 0

    def middle(v: int) -> float:
        return start[v] + 0.5 * int(tree.mass[v] if v >= 0 else tree.leaf_mass[~v])

    for v, h in tree.walk():
        if v < 0:
            continue
        left, right = tree.children[v].tolist()
        start[left] = start[v]
        start[right] = start[v] + int(tree.mass[left] if left >= 0 else tree.leaf_mass[~left])
        if max_depth is not None and h >= max_depth:
            continue
        depth = max(depth, h + 1)
        strokes.append([(middle(left), h + 1), (middle(left), h), (middle(right), h), (middle(right), h + 1)])
    ax.add_collection(LineCollection(strokes, **({"linewidths": 0.8} | lines)))
    ax.set(xlim=(0, tree.n_records), ylim=(depth + 0.5, -0.5), xlabel="records", ylabel="depth")
    return ax


def cuts(
    tree: Tree, ax: Axes | None = None, *, features: tuple[int, int] = (0, 1), points: bool = True, **lines: Any
) -> Axes:
    """Draw how a tree of two features parts the plane: each cut across the region that it divides, thinner with depth.

    Parameters
    ----------
    tree : Tree
        One of ``forest.trees_``, of a forest of at least two features.
    ax : matplotlib Axes, default=None
        None makes a figure, ``ax.figure``, that is not registered with pyplot.
    features : tuple of two ints, default=(0, 1)
        What goes along x and y. With more than two features the cuts of the others are left out, so regions overlap.
    points : bool, default=True
        Draw the records too.
    **lines
        For :class:`matplotlib.collections.LineCollection`, such as ``color``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the tree is empty or has no such features.
    """
    from matplotlib.collections import LineCollection

    if not tree.n_records:
        raise ValueError("cannot draw a tree that holds no records")
    chosen = list(features)
    if len(set(chosen)) != 2 or not all(0 <= f < len(tree.origin) for f in chosen):
        raise ValueError(f"features must be two different ones of {len(tree.origin)}, got {features}")
    ax = _axes(ax)
    used = tree.leaf_mass > 0
    held = tree.points[used][:, chosen] + tree.origin[chosen]
    lower, upper = held.min(axis=0), held.max(axis=0)
    margin = 0.05 * np.where(upper > lower, upper - lower, 1.0)
    regions = {tree.root: np.array([lower - margin, upper + margin])}
    strokes, widths = [], []
    for v, depth in tree.walk():
        region = regions.pop(v)
        if v < 0:
            continue
        left, right = tree.children[v].tolist()
        regions[left], regions[right] = region.copy(), region.copy()
        dim = int(tree.cut_dimension[v])
        if dim not in chosen:
            continue
        axis, at = chosen.index(dim), float(tree.cut_value[v] + tree.origin[dim])
        regions[left][1, axis] = regions[right][0, axis] = at
        ends = region.copy()
        ends[:, axis] = at
        strokes.append(ends)
        widths.append(max(0.3, 2.0 * 0.8**depth))
    ax.add_collection(LineCollection(strokes, **({"linewidths": widths, "color": "0.4"} | lines)))
    if points:
        ax.scatter(held[:, 0], held[:, 1], s=4 + 8 * np.log2(tree.leaf_mass[used]), zorder=2)
    ax.set(xlim=(lower[0] - margin[0], upper[0] + margin[0]), ylim=(lower[1] - margin[1], upper[1] + margin[1]))
    return ax


def detections(
    values: ArrayLike,
    found: Any,
    *,
    times: ArrayLike | None = None,
    feature: int = 0,
    band: tuple[ArrayLike, ArrayLike] | None = None,
    ax: Any = None,
) -> Any:
    """A series with what was expected of it, and below it the grade of each record.

    Called records are marked where they began, with their cause, and joined to what was expected there.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, d)
    found : Detections, or frame
        What `update_many` returned for the values (or a list of what `update` did).
    times : array-like of shape (n,), default=None
        Numbers or dates; by default the index of a pandas frame that was found, else 0, 1, ....
    feature : int, default=0
        The feature that is drawn.
    band : pair of array-like of shape (n,), default=None
        What was expected: lower and upper ends, from forecasts made a step before each record.
    ax : sequence of two matplotlib Axes, default=None
        Where to draw; by default a new figure.

    Returns
    -------
    list of two matplotlib Axes

    Raises
    ------
    ValueError
        If values and detections differ in number.
    """
    import matplotlib.pyplot as plt

    data = np.asarray(values, dtype=np.float64)
    data = data.reshape(len(data), -1)[:, feature]
    grades, called = _called(found, feature)
    if len(grades) != len(data):
        raise ValueError(f"{len(grades)} detections for {len(data)} values")
    t = np.asarray(getattr(found, "index", np.arange(len(data))) if times is None else times)
    if ax is None:
        _, ax = plt.subplots(2, 1, sharex=True, figsize=(10, 4.5), height_ratios=[3, 1], layout="constrained")
    top, bottom = ax
    if band is not None:
        lower, upper = (np.asarray(edge, dtype=np.float64).reshape(len(data)) for edge in band)
        top.fill_between(t, lower, upper, color="tab:blue", alpha=0.2, linewidth=0, label="expected, 80 %")
    top.plot(t, data, color="tab:blue", linewidth=0.8)
    for at, expected, cause in called:
        top.plot([t[at], t[at]], [data[at], expected], color="tab:red", linewidth=0.8)
        top.plot(t[at], expected, "_", color="tab:red")
        top.plot(t[at], data[at], "o", color="tab:red", markersize=4)
        top.annotate(cause, (t[at], data[at]), (4, 4), textcoords="offset points", fontsize=8)
    bottom.fill_between(t, grades, step="mid", color="tab:red")
    bottom.set_ylim(0, 1)
    bottom.set_ylabel("grade")
    if band is not None:
        top.legend(loc="upper left")
    return [top, bottom]


def _called(found: Any, feature: int) -> tuple[NDArray[np.float64], list[tuple[int, float, str]]]:
    """The grades of all records; of each called one where it began, what was expected there, and the cause."""
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
