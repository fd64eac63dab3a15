"""Anomalies in a stream of many series, with structured streaming. The state of a key is the bytes of its detector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.streaming import StatefulProcessor, StatefulProcessorHandle
from pyspark.sql.types import TimestampType

from .._validate import not_negative
from ..detector import StreamDetector
from .columns import in_order
from .judge import CAUSE, NAMES, judge, output_schema, started, template

_TIME = "__rcf_time"
_PROVIDER = "spark.sql.streaming.stateStore.providerClass"
_ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"


def detect_stream(
    df: DataFrame,
    *,
    keyCols: Sequence[str],
    timeCol: str,
    valueCols: Sequence[str],
    ttl: float | timedelta | None = None,
    **detector: Any,
) -> DataFrame:
    """Run a StreamDetector for each key of a streaming DataFrame. The detectors survive a restart of the query.

    Spark's state store holds the detector of each key, and its checkpoints include the offsets of the query. After a
    crash the query continues from the last checkpoint. No row is lost, and every score is the same as without the
    crash, bit for bit.

    Parameters
    ----------
    df : streaming DataFrame
    keyCols, timeCol, valueCols, **detector
        As for :func:`rcf.spark.detect`.
    ttl : float or timedelta, default=None
        Seconds without a row after which Spark deletes a key's detector. None keeps all detectors.

    Returns
    -------
    streaming DataFrame
        The columns of :func:`rcf.spark.detect`; write it with ``outputMode("append")``.

    Raises
    ------
    ValueError, TypeError
        In the same cases as :func:`rcf.spark.detect`, and if the state store is not RocksDB, which
        `transformWithState` needs.

    Notes
    -----
    **Late rows.** Within a batch the rows of a key are sorted by time. Batches do not wait for late rows. If a row is not later
    than the last row of its key in an earlier batch, its score is NULL, `reason` holds the error, and the row is not learned.
    Use longer batches (`trigger`) to wait for late rows. No watermark is used, because it would drop late rows silently.

    **Cost.** The detector of a key is read and written once per batch. This takes longer than judging 50 rows, so use long
    batches. A full detector takes ``len(detector.to_bytes())`` bytes: about 80 kB for
    ``shingle_size=4, n_estimators=30, max_samples=128`` and 240 kB with the defaults. Set
    ``spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled`` to write only changes.

    **Kafka** needs Spark's package ``spark-sql-kafka-0-10``, which is not on PyPI: use ``spark.readStream.format("kafka")``,
    and ``from_json(col("value").cast("string"), schema)`` for the columns.

    Examples
    --------
    ::

        rows = spark.readStream.schema(schema).parquet("in/")
        found = detect_stream(rows, keyCols=["host"], timeCol="time", valueCols=["load"], ttl=7 * 86400)
        found.writeStream.format("parquet").option("checkpointLocation", "state/").start("out/")
    """
    if not df.isStreaming:
        raise ValueError("detect_stream takes a streaming DataFrame; detect is for tables")
    schema = output_schema(df, keyCols, timeCol, valueCols)
    params = template(detector, len(valueCols))
    if "RocksDB" not in df.sparkSession.conf.get(_PROVIDER):
        raise ValueError(f'detect_stream keeps its state in RocksDB: spark.conf.set("{_PROVIDER}", "{_ROCKSDB}")')
    milliseconds = None
    if ttl is not None:
        milliseconds = round(1000 * not_negative("ttl", ttl.total_seconds() if isinstance(ttl, timedelta) else ttl))
        if milliseconds == 0:
            raise ValueError(f"ttl must be at least a millisecond, got {ttl!r}")
    # the JVM converts the time to seconds, because Python would get a local time, which is ambiguous when clocks are
    # set back
    exact = isinstance(df.schema[timeCol].dataType, TimestampType)
    processor = Detecting(df.columns, list(valueCols), params, milliseconds, 1e6 if exact else 1.0)
    timed = df.withColumn(_TIME, F.unix_micros(timeCol) if exact else F.col(timeCol))
    mode = "None" if ttl is None else "ProcessingTime"
    return timed.groupBy(*keyCols).transformWithState(processor, schema, "Append", mode)


class Detecting(StatefulProcessor):
    """Reads the detector of a key, judges the rows of the key in the batch, and writes the detector back."""

    def __init__(
        self, columns: list[str], values: list[str], params: dict[str, Any], ttl: int | None, unit: float
    ) -> None:
        self._columns, self._values, self._params, self._ttl, self._unit = columns, values, params, ttl, unit
        self._values_at = [columns.index(name) for name in values]

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = handle.getValueState("detector", "detector binary", self._ttl)
        self._row = Row(*self._columns, *NAMES)
        self._cause = Row(*CAUSE.fieldNames())

    def handleInputRows(self, key: Any, rows: Iterator[Row], timerValues: Any) -> Iterator[Row]:
        held = list(rows)
        times = np.array([_seconds(row[-1]) for row in held]) / self._unit
        X = np.array([[row[i] for i in self._values_at] for row in held], dtype=np.float64)  # None becomes NaN
        order = in_order(times, X)
        state = self._state.get()
        detector = started(self._params, self._values) if state is None else StreamDetector.from_bytes(bytes(state[0]))
        found = judge(detector, times[order], X[order])
        self._state.update((detector.to_bytes(),))
        found["cause"] = [part and self._cause(*part) for part in found["cause"]]
        for i, *result in zip(order.tolist(), *(found[name] for name in NAMES), strict=True):
            yield self._row(*held[i][:-1], *result)

    def close(self) -> None:
        pass


def _seconds(time: Any) -> float:
    """Seconds since 1970. As in `detect`, a time without a zone is UTC."""
    if isinstance(time, datetime):
        return (time - datetime(1970, 1, 1)).total_seconds()
    if isinstance(time, date):
        return (time - date(1970, 1, 1)).total_seconds()
    return float("nan") if time is None else float(time)
