"""Spark columns as NumPy tables. Errors name the column and the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DateType, NumericType, TimestampNTZType, TimestampType

from .._core import LIMIT


def features_of(frame: DataFrame, name: str) -> Column:
    """The column of feature vectors as an array of doubles.

    Raises
    ------
    ValueError
        If the column holds neither vectors nor arrays of numbers. A missing or ambiguous column raises Spark's own
        AnalysisException, which lists the existing columns.
    """
    kind = frame.select(F.col(name)).schema[0].dataType
    if isinstance(kind, VectorUDT):
        # vector_to_array would fail on NULL without naming the column, whereas the error of `table` names it
        return F.when(F.col(name).isNotNull(), vector_to_array(F.col(name)))
    if isinstance(kind, ArrayType) and isinstance(kind.elementType, NumericType):
        return F.col(name).cast("array<double>")
    raise ValueError(f"column {name!r} must be a vector or an array of numbers, got {kind.simpleString()}")


def table(column: pa.Array, name: str, first: int = 0, where: str = "") -> NDArray[np.float64]:
    """The rows of an array column as a table of shape (n, d); NaN and NULL in a row mark a missing value.

    Parameters
    ----------
    column : pyarrow.Array
        An array of lists of doubles.
    name : str
        The column's name, for errors.
    first : int, default=0
        The number of the first row, for errors.
    where : str, default=""
        Added to the number of a row in errors, for instance " of partition 3".

    Raises
    ------
    ValueError
        If a row is NULL, if the width of a row differs from that of the first row, or if a number is infinite or beyond
        float32.
    """

    def at(row: int) -> str:
        return f"column {name!r}, row {first + row}{where}"

    if column.null_count:
        raise ValueError(f"{at(int(np.argmax(column.is_null())))}: NULL; drop such rows or fill them first")
    if len(column) == 0:
        return np.empty((0, 0))
    widths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    if widths.min() != widths.max():
        row = int(np.argmax(widths != widths[0]))
        raise ValueError(f"{at(row)}: {widths[row]} values, but row {first}{where} has {widths[0]}")
    width = int(widths[0])
    if width == 0:
        raise ValueError(f"{at(0)}: an array without values")
    values = column.flatten()  # unlike `column.values`, it respects the offset of a slice
    rows: NDArray[np.float64] = values.to_numpy(zero_copy_only=False).reshape(-1, width)  # NULL becomes NaN
    bad = np.abs(rows) > LIMIT
    if bad.any():
        row, place = map(int, np.argwhere(bad)[0])
        raise ValueError(f"{at(row)}: value {place} is {rows[row, place]}, infinite or beyond float32")
    return rows


def refuse_taken(frame: DataFrame, added: list[str]) -> None:
    """Raise a ValueError if an added column exists already, or if two have the same name. Spark ignores the case of names."""
    taken = {column.lower() for column in frame.columns}
    for name in added:
        if name.lower() in taken:
            raise ValueError(f"column {name!r} exists already, or is added twice: choose another name for the output")
        taken.add(name.lower())


def check_roles(frame: DataFrame, keys: Sequence[str], values: Sequence[str], time: str | None = None) -> None:
    """Raise a ValueError if a column of keys, values or time does not exist, is named twice, or has the wrong type."""
    for role, names in (("keyCols", keys), ("valueCols", values)):
        if isinstance(names, str) or not names:
            raise ValueError(f"{role} must be a list of at least one column, got {names!r}")
    asked = [*keys, *values, *([] if time is None else [time])]
    lowered = [name.lower() for name in frame.columns]
    for i, name in enumerate(asked):
        if name not in frame.columns:
            raise ValueError(f"no column {name!r} among {', '.join(map(repr, frame.columns))}")
        if name in asked[:i]:
            raise ValueError(f"column {name!r} is named twice in keyCols, valueCols and timeCol")
    for i, name in enumerate(lowered):
        if name in lowered[:i]:
            raise ValueError(f"the DataFrame has two columns {frame.columns[i]!r}: rename one")
    for name in values:
        if not isinstance(frame.schema[name].dataType, NumericType):
            raise ValueError(f"column {name!r} must hold numbers, got {frame.schema[name].dataType.simpleString()}")
    if time is not None:
        kind = frame.schema[time].dataType
        if not isinstance(kind, (TimestampType, TimestampNTZType, DateType, NumericType)):
            raise ValueError(
                f"column {time!r} must hold timestamps, dates or numbers of seconds, got {kind.simpleString()}"
            )


def seconds_of(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Seconds since 1970 of timestamps, dates or numbers; NaN for NULL."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(column.type):
        column = pc.divide(column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).cast(pa.float64()), 1e6)
    return column.cast(pa.float64()).to_numpy()


def numbers_of(rows: pa.Table, names: Sequence[str]) -> NDArray[np.float64]:
    """The columns as an array (n, d), with NaN for NULL."""
    return np.column_stack([rows.column(name).cast(pa.float64()).to_numpy() for name in names])


def in_order(times: NDArray[np.float64], X: NDArray[np.float64]) -> NDArray[np.intp]:
    """The order by time, then by values, because Spark delivers the rows of a key in an arbitrary order."""
    return np.lexsort((*X.T[::-1], times))


def partition() -> int:
    """The number of the partition that this worker process handles."""
    from pyspark import TaskContext

    context: Any = TaskContext.get()
    return int(context.partitionId())
