"""Anomalies in a table with many series. Each key has a detector, which runs on the worker that has the rows of the key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from .columns import in_order, numbers_of, seconds_of
from .judge import CAUSE, NAMES, judge, output_schema, started, template


def detect(
    df: DataFrame, *, keyCols: Sequence[str], timeCol: str, valueCols: Sequence[str], **detector: Any
) -> DataFrame:
    """Run a StreamDetector for each key over the rows of a table, in the order of time.

    Parameters
    ----------
    df : DataFrame
        All columns are kept and pass through Python, so select only those that you need.
    keyCols : sequence of str
        The columns that identify a series.
    timeCol : str
        A column of timestamps, dates, or numbers of seconds.
    valueCols : sequence of str
        The columns with the numbers of a record. NULL and NaN mark a missing value.
    **detector
        Parameters of :class:`rcf.StreamDetector`. `random_state` is 0 by default, so that a task that Spark repeats
        gives the same result.

    Returns
    -------
    DataFrame
        The rows of `df` with additional columns as in :class:`rcf.Detection`: score, evidence, threshold, grade, likelihood,
        is_anomaly, reason and event ("opened", "open" or "closed"). For anomalies, cause (feature, lag, side), severity and
        expected (an array with one number for each of `valueCols`) are filled too.

    Raises
    ------
    ValueError, TypeError
        If a column does not exist, has the wrong type or is named twice, or if a parameter of the detector is invalid. The error
        is raised before a job is started.

    Notes
    -----
    The scores of a key are those of ``StreamDetector(**detector).update_many(values, times)`` on its rows sorted by
    time, bit for bit. Rows with equal times are sorted by their values. If the detector refuses a row (its time is NULL or a
    value is infinite), its score is NULL, `reason` holds the error, and the row is not learned.

    The detector gets times as seconds since 1970, so its daily and weekly seasons follow UTC unless `timezone` is given.

    The worker holds all rows of a key in memory at once.

    Examples
    --------
    ::

        found = detect(df, keyCols=["host"], timeCol="time", valueCols=["load", "latency"], shingle_size=4)
        found.filter("is_anomaly").select("host", "time", "cause.feature", "score").show()
    """
    schema = output_schema(df, keyCols, timeCol, valueCols)
    params = template(detector, len(valueCols))
    return df.groupBy(*keyCols).applyInArrow(_detecting(timeCol, list(valueCols), params, schema), schema)


def _detecting(
    time: str, values: list[str], params: dict[str, Any], schema: StructType
) -> Callable[[pa.Table], pa.Table]:
    from pyspark.sql.pandas.types import to_arrow_schema

    arrow = to_arrow_schema(schema, timezone="UTC")

    def detect_key(rows: pa.Table) -> pa.Table:
        times, X = seconds_of(rows.column(time)), numbers_of(rows, values)
        order = in_order(times, X)
        found = judge(started(params, values), times[order], X[order])
        cause = [part and dict(zip(CAUSE.fieldNames(), part, strict=True)) for part in found["cause"]]
        columns = {**found, "cause": cause}
        rows = rows.take(pa.array(order))
        added = [pa.array(columns[name], arrow.field(name).type) for name in NAMES]
        # Spark passes timestamps in the session's time zone but accepts results only in UTC
        return pa.table([*rows.columns, *added], arrow.names).cast(arrow)

    return detect_key
