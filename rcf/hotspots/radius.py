"""Derive a scan radius from the distances to the k-th neighbours."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_array

from .._validate import whole_number
from .window import EARTH_RADIUS, check_finite, check_places, unit_sphere

Metric: TypeAlias = Literal["euclidean", "haversine"]
# suggest_radius computes the k-distances of at most this many rows. The error of its quantiles is then at most half a
# percent.
_K_DISTANCE_ROWS = 10_000


def k_distances(X: ArrayLike, min_points: int, metric: Metric = "euclidean") -> NDArray[np.float64]:
    """For each row, the smallest radius that contains `min_points` rows including the row itself; in ascending order.

    Parameters
    ----------
    X : array-like of shape (n, d)
    min_points : int
        From 2 to n.
    metric : {"euclidean", "haversine"}, default="euclidean"
        As given to :class:`HotSpots`. With "haversine" the distances are in metres.

    Returns
    -------
    ndarray of shape (min(n, 10000),)
        The distances of all rows or, if there are more than 10 000, of 10 000 evenly spaced rows. Neighbours are searched among
        all rows.
    """
    rows: NDArray[np.float64] = check_array(X, dtype=np.float64, order="C", ensure_all_finite=False)
    check_finite(rows)
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be 'euclidean' or 'haversine', got {metric!r}")
    if metric == "haversine":
        check_places(rows)
        rows = unit_sphere(rows)
    k = whole_number("min_points", min_points, least=2)
    if k > len(rows):
        raise ValueError(f"min_points must be at most the number of rows, {len(rows)}, got {k}")
    some = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _K_DISTANCE_ROWS)).astype(np.int64))]
    distances: NDArray[np.float64] = NearestNeighbors(n_neighbors=k).fit(rows).kneighbors(some)[0][:, -1]
    if metric == "haversine":
        distances = 2 * EARTH_RADIUS * np.arcsin(np.minimum(0.5 * distances, 1.0))
    return np.sort(distances)


def suggest_radius(X: ArrayLike, min_points: int, metric: Metric = "euclidean") -> float:
    """Suggest a scan radius for given data: the knee of the k-distance curve.

    :func:`k_distances` gives the sorted distances. They are small and nearly constant for rows in dense regions, and rise
    where the sparse rows begin. The knee is the start of the span of 5 % of the rows over which the logarithm of the
    distance rises most. The lowest 5 % and the highest 2 % are ignored, because they always rise.

    Parameters
    ----------
    X : array-like of shape (n, d)
        A window of the stream, or more.
    min_points : int
        As given to :class:`HotSpots`; from 2 to n.
    metric : {"euclidean", "haversine"}, default="euclidean"
        As given to :class:`HotSpots`. With "haversine" the radius is in metres.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If every row is equal to at least `min_points` rows, including itself.

    See Also
    --------
    rcf.plot.k_distance : Plots the curve.

    Notes
    -----
    The k-distance curve is that of Ester et al. (1996), section 4.2. They find the knee by eye. A common rule takes the point
    with the largest distance to the chord of the curve. If few rows are dense, this point is near the end of the curve. On
    the documented example of Kinesis (a fifth of the records in a hundredth of the area) the common rule proposes 1.0, and
    this function 0.21.

    Check the value on the curve. If the density takes many values, there are several knees; if it is the same everywhere,
    there is none. The function may miss dense regions with less than a tenth of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf.hotspots import suggest_radius
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0, 10, size=(1000, 2))
    >>> X[::5] = [4, 7] + rng.uniform(0, 1, size=(200, 2))
    >>> 0.15 < suggest_radius(X, min_points=17) < 0.3
    True
    """
    curve = k_distances(X, min_points, metric)
    if not curve[-1] > 0.0:
        raise ValueError(f"every row of X has {min_points} rows equal to it; any radius will do")
    curve = np.maximum(curve, curve[curve > 0.0][0])
    n = len(curve)
    span = max(1, n // 20)
    first = n // 20
    last = max(first + 1, int(0.98 * n) - span)
    height = np.log(curve)
    return float(curve[first + np.argmax((height[span:] - height[:-span])[first:last])])
