"""Anomalies of many series in a table: one detector per key, on the worker that has the rows of the key."""

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
    """A StreamDetector for each key over the rows of a table, in the order of time.

    Parameters
    ----------
    df : DataFrame
        Its columns are kept; select those you need, because all of them pass through Python.
    keyCols : sequence of str
        What tells the series apart.
    timeCol : str
        A timestamp, a date, or a number of seconds.
    valueCols : sequence of str
        The numbers of a record. NULL and NaN mark a missing value.
    **detector
        The parameters of :class:`rcf.StreamDetector`. `random_state` is 0 by default, so that a task that Spark runs
        again gives the same result.

    Returns
    -------
    DataFrame
        The rows of `df` with score, evidence, threshold, grade, likelihood, is_anomaly, reason and event ("opened", "open",
        "closed": page on the first, resolve on the last), as in :class:`rcf.Detection`; of anomalies also cause (feature,
        lag, side), severity and expected (a number for each of `valueCols`).

    Raises
    ------
    ValueError, TypeError
        For a column that does not exist or has the wrong type, a name given twice, or a wrong parameter of the
        detector; nothing is run then.

    Notes
    -----
    The scores of a key are those of ``StreamDetector(**detector).update_many(values, times)`` on its rows sorted by
    time, bit for bit. Rows of one time are sorted by their values. A row that the detector refuses (its time is NULL, a
    value is infinite) comes out with NULL in place of a score and the refusal in `reason`, and is not learned.

    Times reach the detector as seconds since 1970: its daily and weekly seasons go by UTC, unless `timezone` is given.

    All rows of a key are in the memory of one worker at once.

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
        # Spark passes timestamps in the session's zone, but accepts them only in UTC
        return pa.table([*rows.columns, *added], arrow.names).cast(arrow)

    return detect_key
