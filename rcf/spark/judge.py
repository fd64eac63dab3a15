"""The results of a key's detector as columns of a Spark table, used by `detect` and `detect_stream`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    LongType,
    StringType,
    StructType,
)

from ..detector import Detection, StreamDetector
from .columns import check_roles

CAUSE = StructType().add("feature", StringType()).add("lag", LongType()).add("side", StringType())
FIELDS = (
    StructType()
    .add("score", DoubleType())
    .add("evidence", DoubleType())
    .add("threshold", DoubleType())
    .add("grade", DoubleType())
    .add("likelihood", DoubleType())
    .add("is_anomaly", BooleanType())
    .add("reason", StringType())
    .add("event", StringType())
    .add("cause", CAUSE)
    .add("severity", DoubleType())
    .add("expected", ArrayType(DoubleType()))
)
NAMES = FIELDS.fieldNames()
_EVERY = ["score", "evidence", "threshold", "grade", "likelihood", "is_anomaly", "reason"]
Columns = dict[str, list[Any]]


def template(detector: dict[str, Any], features: int) -> dict[str, Any]:
    """The parameters of each key's detector. Raises ValueError or TypeError for an invalid one before a job starts."""
    params = {"random_state": 0, **detector}
    StreamDetector(**params).update([0.0] * features)
    return params


def output_schema(frame: DataFrame, keys: Sequence[str], time: str, values: Sequence[str]) -> StructType:
    """The columns of the frame and the added columns. ValueError if a column cannot be used as requested."""
    check_roles(frame, keys, values, time)
    for name in NAMES:
        if name in map(str.lower, frame.columns):
            raise ValueError(f"column {name!r} exists already, and the result has one of this name: rename it")
    return StructType([*frame.schema, *FIELDS])


def judge(detector: StreamDetector, times: NDArray[np.float64], X: NDArray[np.float64]) -> Columns:
    """The results of the detector for rows in the order of time: a list for each of `NAMES`.

    If the detector refuses a row, the row is not learned. Its results are None, except `reason`, which holds the
    error.
    """
    columns: Columns = {name: [None] * len(X) for name in NAMES}
    known = len(times) - int(np.isnan(times).sum())  # NaN is sorted to the end
    columns["reason"][known:] = ["the time is NULL"] * (len(times) - known)
    if not known:
        return columns
    try:
        found = detector.update_many(X[:known], times[:known])
    except ValueError:  # the error names only the first invalid row
        _one_by_one(detector, times[:known], X[:known], columns)
        return columns
    for name in _EVERY:
        columns[name][:known] = getattr(found, name).tolist()
    columns["event"][:known] = [events[0].state if events else None for events in found.events]
    for i in found.anomalies.tolist():
        _explain(columns, i, found[i])
    return columns


def _one_by_one(detector: StreamDetector, times: NDArray[np.float64], X: NDArray[np.float64], columns: Columns) -> None:
    for i, (time, record) in enumerate(zip(times.tolist(), X, strict=True)):
        try:
            found = detector.update(record, time)
        except ValueError as error:
            columns["reason"][i] = str(error)
            continue
        for name in _EVERY:
            columns[name][i] = getattr(found, name)
        columns["event"][i] = found.event and found.event.state
        if found.is_anomaly:
            _explain(columns, i, found)


def _explain(columns: Columns, i: int, found: Detection) -> None:
    columns["cause"][i] = tuple(found.cause)
    columns["severity"][i], columns["expected"][i] = found.severity, found.expected.tolist()


def started(params: dict[str, Any], features: Sequence[str]) -> StreamDetector:
    """A new detector whose causes use the names of the columns."""
    detector = StreamDetector(**params)
    detector.feature_names_in_ = np.array(features, dtype=object)
    return detector
