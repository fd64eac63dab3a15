"""Plots of dense regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..hotspots import HotSpots, k_distances, suggest_radius
from ..hotspots.radius import Metric
from .style import FLAGGED, SERIES, axes_of, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def hotspots(
    spots: HotSpots,
    ax: Axes | None = None,
    *,
    features: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the records of the window and the boxes of its regions, coloured by density.

    Parameters
    ----------
    spots : HotSpots
        It must have seen at least one record.
    ax : matplotlib Axes, default=None
        None makes a figure, ``ax.figure``, that is not registered with pyplot.
    features : tuple of int, default=None
        The features on the x and the y axis. None takes the first two, or longitude and latitude for places on the earth. With a
        single feature the y axis is the position of the record in the stream.
    names : sequence of str, default=None
        Names of all features. None takes the names that the records had, or latitude and longitude for places on the earth.
    title : str, default=None

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If a feature does not exist, or if `names` does not have one name per feature.

    Notes
    -----
    With ``metric="haversine"`` the axes are in degrees, and records on both sides of the date line lie side by side. If all
    records lie within ten degrees, both axes have the same scale in kilometres.

    Examples
    --------
    >>> from rcf import plot
    >>> from rcf.hotspots import HotSpots
    >>> ax = plot.hotspots(HotSpots(scan_radius=1, min_points=2).fit([[0, 0], [0, 1], [5, 5]]))
    >>> len(ax.patches)
    1
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    records, found, labels = spots.records(), spots.hot_spots_, spots.labels_
    d, earth = records.shape[1], spots.metric == "haversine"
    if features is None:
        features = (1, 0) if earth else (0, 1)
    across, up = features if d > 1 else (0, 0)
    for feature in (across, up):
        if not 0 <= feature < d:
            raise ValueError(f"no feature {feature}: the records have {d} features, counted from 0")
    if names is None:
        plainly = ["latitude", "longitude"] if earth else [f"feature {i}" for i in range(d)]
        names = list(getattr(spots, "feature_names_in_", plainly))
    if len(names) != d:
        raise ValueError(f"{len(names)} names for {d} features")
    age = np.arange(spots.n_seen_ - len(records), spots.n_seen_)
    lows, highs = [list(spot.min_values) for spot in found], [list(spot.max_values) for spot in found]
    if earth:
        records[:, 1], west = _from_west(records[:, 1])
        for low, high in zip(lows, highs, strict=True):
            if low[1] < west:
                low[1], high[1] = low[1] + 360.0, high[1] + 360.0
    x, y = records[:, across], records[:, up] if d > 1 else age

    axes = axes_of(ax, figsize=(7.5, 6))
    axes.scatter(x[labels < 0], y[labels < 0], s=6, color="0.7", linewidths=0, rasterized=len(x) > 20_000)
    density = np.array([spot.density for spot in found])
    if len(found):
        low, high = density.min(), density.max()
        scale = LogNorm(low / 1.5, high * 1.5) if low > 0 and high < 1e300 else None
        # the palest colours of the map would not be visible on white
        colors = colormaps["viridis_r"]
        shade = colors(0.15 + 0.85 * np.asarray(scale(density))) if scale else colors(np.full(len(found), 0.9))
        inside = labels >= 0
        axes.scatter(x[inside], y[inside], s=8, color=shade[labels[inside]], linewidths=0, rasterized=len(x) > 20_000)
        for i, spot in enumerate(found):
            left, width = lows[i][across], highs[i][across] - lows[i][across]
            if d > 1:
                bottom, height = lows[i][up], highs[i][up] - lows[i][up]
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

            label = "density (records/m²)" if earth else "density"
            axes.figure.colorbar(ScalarMappable(scale, ListedColormap(listed)), ax=axes, label=label)
    axes.margins(0.05)
    unit = " (degrees)" if earth else ""
    axes.set_xlabel(names[across] + unit)
    axes.set_ylabel(names[up] + unit if d > 1 else "record")
    if earth:
        _scale(axes, records, (across, up))
    what = "region" if len(found) == 1 else "regions"
    axes.set_title(title or f"{len(found)} {what} among {len(records)} records (id: count, density)", fontsize=11)
    return plain(axes)


def _from_west(longitudes: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The longitudes along the shortest arc that contains them, and the west end of this arc, from -180 to below 180."""
    longitudes = np.where(longitudes >= 180.0, longitudes - 360.0, longitudes)
    along = np.unique(longitudes)
    west = float(along[np.argmax(np.diff(along, prepend=along[-1] - 360.0))])
    return np.where(longitudes < west, longitudes + 360.0, longitudes), west


def _scale(axes: Axes, records: NDArray[np.float64], features: tuple[int, int]) -> None:
    """Write longitudes as maps do. In a small area, give both axes the same scale."""
    from matplotlib.ticker import FuncFormatter

    def written(degrees: float, _: object) -> str:
        return f"{(degrees + 180.0) % 360.0 - 180.0:.10g}"

    for feature, axis in zip(features, (axes.xaxis, axes.yaxis), strict=True):
        if feature == 1:
            axis.set_major_formatter(FuncFormatter(written))
    middle = 0.5 * (records[:, 0].min() + records[:, 0].max())
    if features[0] != features[1] and np.ptp(records, axis=0).max() < 10.0 and abs(middle) < 89.0:
        stretch = 1.0 / np.cos(np.radians(middle))
        axes.set_aspect(stretch if features == (1, 0) else 1.0 / stretch, adjustable="datalim")


def k_distance(
    X: ArrayLike,
    min_points: int,
    ax: Axes | None = None,
    *,
    metric: Metric = "euclidean",
    title: str | None = None,
) -> Axes:
    """Draw the k-distance curve of data, and the radius that :func:`rcf.hotspots.suggest_radius` derives from it.

    Look for a step in the curve. Rows to the left of the step lie in dense regions. The distance at which the step begins is a
    suitable scan radius.

    Parameters
    ----------
    X : array-like of shape (n, d)
    min_points : int
        From 2 to n.
    ax : matplotlib Axes, default=None
        None makes a figure, ``ax.figure``, that is not registered with pyplot.
    metric : {"euclidean", "haversine"}, default="euclidean"
        With "haversine" the rows are latitudes and longitudes in degrees, and distances are in metres.
    title : str, default=None

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        In the same cases as `suggest_radius`.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import plot
    >>> plot.k_distance(np.random.default_rng(0).normal(size=(200, 2)), min_points=8).get_yscale()
    'log'
    """

    radius, curve = suggest_radius(X, min_points, metric), k_distances(X, min_points, metric)
    rows = np.arange(1, len(curve) + 1)
    foot = int(np.searchsorted(curve, radius, side="right"))

    axes = axes_of(ax, figsize=(7, 4.5))
    axes.plot(rows[curve > 0], curve[curve > 0], color=SERIES)
    axes.axhline(radius, color=FLAGGED, linewidth=1, linestyle="--")
    axes.plot(foot, radius, "o", color=FLAGGED)
    axes.annotate(
        f"{radius:.4g}: {foot} of {len(curve)} rows would be cores", (foot, radius), xytext=(8, -14),
        textcoords="offset points", color=FLAGGED,
    )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("rows, sorted")
    axes.set_ylabel(f"radius that contains {min_points} rows" + (" (m)" if metric == "haversine" else ""))
    axes.set_title(title or "k-distance curve", fontsize=11)
    return plain(axes)
