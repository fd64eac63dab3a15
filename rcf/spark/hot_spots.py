"""Dense regions in a table with many sets of points, one set per key."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DoubleType, LongType, StructType

from .._validate import whole_number
from ..hotspots import HotSpots
from ..hotspots.radius import Metric
from ..hotspots.window import check_places
from .columns import check_roles, in_order, numbers_of, seconds_of

_REGION = (
    StructType()
    .add("id", LongType())
    .add("count", LongType())
    .add("density", DoubleType())
    .add("min_values", ArrayType(DoubleType()))
    .add("max_values", ArrayType(DoubleType()))
    .add("center", ArrayType(DoubleType()))
)


def hot_spots(
    df: DataFrame,
    *,
    keyCols: Sequence[str],
    valueCols: Sequence[str],
    scan_radius: float,
    min_points: int,
    timeCol: str | None = None,
    window_size: int | None = None,
    metric: Metric = "euclidean",
) -> DataFrame:
    """Find the dense regions of each key's points.

    Parameters
    ----------
    df : DataFrame
    keyCols : sequence of str
        The columns that identify a set of points.
    valueCols : sequence of str
        The columns with the coordinates of a point; none may be NULL.
    scan_radius : float
        Distance within which points are neighbours.
    min_points : int
        Number of neighbours, including itself, that make a point part of a region.
    timeCol : str, default=None
        A column that orders the points; required with `window_size`.
    window_size : int, default=None
        Use only the last `window_size` points of each key. None uses all points.
    metric : {"euclidean", "haversine"}, default="euclidean"
        With "haversine" `valueCols` are a latitude and a longitude in degrees, and the radius is in metres; see
        :class:`rcf.HotSpots`.

    Returns
    -------
    DataFrame
        One row per region with `keyCols`, id, count (of points), density, min_values and max_values (the corners of the
        bounding box, as arrays with one number for each of `valueCols`), and center, as in :class:`rcf.hotspots.HotSpot`. Keys
        without a region have no row.

    Raises
    ------
    ValueError, TypeError
        Raised immediately if a column does not exist or does not hold numbers, or if a parameter is out of range. Raised while
        the rows are read if a value is NULL or not finite; the message names the key and the column.

    Examples
    --------
    ::

        hot_spots(df, keyCols=["city"], valueCols=["x", "y"], scan_radius=0.2, min_points=17).orderBy("density").show()
    """
    check_roles(df, keyCols, valueCols, timeCol)
    if window_size is not None:
        whole_number("window_size", window_size)
        if timeCol is None:
            raise ValueError("window_size needs timeCol, which orders the points of a key")
    HotSpots(
        2**30 - 2 if window_size is None else window_size, scan_radius, min_points, metric=metric
    )._check_settings()
    if metric == "haversine" and len(valueCols) != 2:
        raise ValueError(f"metric='haversine' takes 2 valueCols, latitude and longitude, got {len(valueCols)}")
    for name in _REGION.fieldNames():
        if name in map(str.lower, keyCols):
            raise ValueError(f"key column {name!r} has the name of a column of the result: rename it")
    schema = StructType([*(df.schema[name] for name in keyCols), *_REGION])
    needed = df.select(*keyCols, *valueCols, *([timeCol] if timeCol else []))
    find = _finding(list(keyCols), list(valueCols), timeCol, window_size, scan_radius, min_points, metric, schema)
    return needed.groupBy(*keyCols).applyInArrow(find, schema)


def _finding(
    keys: list[str],
    values: list[str],
    time: str | None,
    window: int | None,
    radius: float,
    points: int,
    metric: Metric,
    schema: StructType,
) -> Callable[[pa.Table], pa.Table]:
    from pyspark.sql.pandas.types import to_arrow_schema

    arrow = to_arrow_schema(schema, timezone="UTC")

    def find(rows: pa.Table) -> pa.Table:
        key = [rows.column(name)[0] for name in keys]
        X = numbers_of(rows, values)
        bad = ~np.isfinite(X)
        if bad.any():
            row, j = np.argwhere(bad)[0]
            raise ValueError(
                f"key {[part.as_py() for part in key]}, column {values[j]!r}: {X[row, j]} (NULL appears as nan)"
            )
        if metric == "haversine":
            try:
                check_places(X)
            except ValueError as error:
                raise ValueError(f"key {[part.as_py() for part in key]}: {error}") from error
        times = np.zeros(len(X)) if time is None else seconds_of(rows.column(time))
        if np.isnan(times).any():
            raise ValueError(f"key {[part.as_py() for part in key]}, column {time!r}: NULL")
        X = X[in_order(times, X)]
        spots = HotSpots(window or len(X), radius, points if window else min(points, len(X)), metric=metric)
        # fewer points than min_points cannot form a region
        found = [] if len(X) < points else spots.fit(X[-window:] if window else X).hot_spots_
        columns = [[getattr(spot, name) for spot in found] for name in _REGION.fieldNames()]
        own = [pa.array([part.as_py()] * len(found), part.type) for part in key]
        regions = [pa.array(column, arrow.field(i).type) for i, column in enumerate(columns, start=len(keys))]
        return pa.table([*own, *regions], arrow.names).cast(arrow)

    return find
