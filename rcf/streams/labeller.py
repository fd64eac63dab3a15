"""Labeller: converts messages to records with the results of the model, and collects messages that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

from ..detector import KeyedDetector
from .codecs import Codec, Json
from .columns import Batch, Column, Lines, data_of
from .judges import judge_of
from .records import Message, PoisonError, Record, Rejected, StreamError
from .replay import Replay
from .schema import Row, Schema

log = logging.getLogger("rcf.streams")
KINESIS = {"score": "ANOMALY_SCORE", "is_anomaly": "IS_ANOMALY"}


class Labeller:
    """Decodes messages, scores and learns the records, and adds the results of the model to them.

    Parameters
    ----------
    model : StreamDetector, KeyedDetector or RandomCutForest
    schema, codec, output, shingle_size, threshold, learn
        See :class:`Worker`.

    Attributes
    ----------
    records, anomalies, rejected : int
        Numbers of records, anomalies and rejected messages since the first start.
    skipped : int
        Number of records that were seen before a restart.
    """

    def __init__(
        self,
        model: Any,
        *,
        schema: Schema | None = None,
        codec: Codec | None = None,
        output: Mapping[str, str] | None = None,
        shingle_size: int | None = None,
        threshold: float | None = None,
        learn: bool | None = None,
    ) -> None:
        self.schema, self.codec = schema or Schema(), codec or Json()
        self.output = dict(KINESIS if output is None else output)
        self._columns = frozenset(self.output.values())
        if len(self._columns) != len(self.output):
            raise ValueError(f"output has two results for one column: {self.output}")
        if isinstance(model, KeyedDetector) != (self.schema.key is not None):
            raise ValueError("a KeyedDetector needs a schema with a key, and a key needs a KeyedDetector")
        forest = {"shingle_size": shingle_size, "threshold": threshold, "learn": learn}
        self._forest = {name: value for name, value in forest.items() if value is not None}
        self._judge = judge_of(model, self.output, **self._forest)
        self._replay = Replay()
        self.records = self.anomalies = self.rejected = self.skipped = 0

    @property
    def model(self) -> Any:
        return self._judge.model

    def label(self, messages: Sequence[Message], partition: str = "") -> tuple[Sequence[Record], list[Rejected]]:
        """Score and learn a batch. Returns the records with their results, and the messages that cannot be used."""
        batch = self._in_columns(messages, partition) if len(messages) > 1 else None
        return self._one_by_one(messages, partition) if batch is None else (batch, [])

    def _in_columns(self, messages: Sequence[Message], partition: str) -> Batch | None:
        """Label a batch column by column. None if a message must be handled separately; then nothing is learned."""
        data = data_of(messages)
        cells = None if data is None else self.codec.cells(data)
        if cells is None or cells.any_of(self._columns):
            return None
        rows = self.schema.rows(cells)
        if rows is None or self._replay.expects([None] if rows.keys is None else rows.keys):
            return None
        found = self._judge.columns(rows, self.schema.columns or [])
        if found is None:
            return None
        n = len(messages)
        columns: dict[str, Column] = {}
        for name, column in self.output.items():
            if name == "record":
                columns[column] = range(self.records + 1, self.records + n + 1)
            elif name == "line":
                own = isinstance(messages, Lines)
                columns[column] = messages.numbers if own else [message.line for message in messages]  # type: ignore[attr-defined]
            elif name == "position":
                columns[column] = [message.position for message in messages]
            elif name == "partition":
                columns[column] = [partition] * n
            else:
                columns[column] = found[name]
        self.records += n
        self.anomalies += sum(found.get("is_anomaly", ()))
        if rows.times is not None:
            for key, time in zip(rows.keys or repeat(None), rows.times):  # noqa: B905 - repeat has no end
                self._replay.note(key, time)
        return Batch(messages, cells, columns)

    def _one_by_one(self, messages: Sequence[Message], partition: str) -> tuple[list[Record], list[Rejected]]:
        records: list[Record] = []
        rows: list[Row] = []
        rejected: list[Rejected] = []
        skipped = self.skipped
        for message in messages:
            try:
                if message.fault is not None:
                    raise PoisonError(message.fault)
                record = self.codec.decode(message)
                if record is None:
                    continue
                self._check_names(record)
                row = self.schema.row(record)
            except PoisonError as error:
                rejected.append(Rejected(message, str(error)))
                continue
            if self._replay.skips(row.key, row.time):
                self.skipped += 1
                continue
            records.append(record)
            rows.append(row)
        if self.skipped > skipped:
            log.warning("%d records that were seen before the restart are skipped", self.skipped - skipped)
        results = self._judge.judge(rows, self.schema.columns or [])
        good: list[Record] = []
        for record, row, result in zip(records, rows, results, strict=True):
            if isinstance(result, ValueError):
                rejected.append(Rejected(record.message, str(result)))
                continue
            self.records += 1
            self._replay.note(row.key, row.time)
            record.result = self._named(record, result, partition)
            good.append(record)
        self.rejected += len(rejected)
        return good, rejected

    def _check_names(self, record: Record) -> None:
        if self._columns.isdisjoint(record.fields):
            return
        for result, column in self.output.items():
            if column in record.fields:
                raise PoisonError(
                    f"the record has a field {column!r} already; give the output column of {result!r} another name"
                )

    def _named(self, record: Record, result: dict[str, Any], partition: str) -> dict[str, Any]:
        """The results with the names of their columns."""
        named: dict[str, Any] = {}
        for name, column in self.output.items():
            if name == "record":
                named[column] = self.records
            elif name == "line":
                named[column] = record.message.line
            elif name == "position":
                named[column] = record.message.position
            elif name == "partition":
                named[column] = partition
            else:
                named[column] = result[name]
        if result.get("is_anomaly"):
            self.anomalies += 1
        return named

    # ---- state -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The state of the labeller without the model."""
        if isinstance(self.model, KeyedDetector):
            self._replay.keep(self.model.keys())
        parts = {"judge": self._judge.state(), "codec": self.codec.state(), "replay": self._replay.state()}
        return {**parts, **self.schema.state()}

    def restore(self, model: Any, state: dict[str, Any], name: str) -> None:
        """Continue with a saved model and state. StreamError if they were saved with other settings."""
        if type(model) is not type(self.model):
            raise StreamError(
                f"the checkpoint of {name} holds a {type(model).__name__}, not a {type(self.model).__name__}"
            )
        self.schema.restore(state, name)
        self._judge = judge_of(model, self.output, **self._forest)
        self._judge.restore(state.get("judge", {}))
        self.codec.restore(state.get("codec", {}))
        self._replay.restore(state.get("replay", []))
