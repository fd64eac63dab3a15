"""Worker: reads one ordered stream, writes the records with their scores, and saves model and position together."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from threading import Event
from typing import Any

from ..detector import KeyedDetector
from .checkpoint import Checkpoint
from .codecs import Codec, Fields, Json
from .labeller import Labeller
from .protocols import DeadLetters, Sink, Source, Store
from .records import Message, Rejected
from .schema import Schema

log = logging.getLogger("rcf.streams")

POLL = 0.2  # seconds that a read waits for records; SIGTERM is noticed within this time
BATCH = 1000


class Worker:
    """Read a stream, score and learn each record, write it with its results, and save model and position together.

    After a crash the worker continues from its last checkpoint and reads the records after it again. Scores do not depend
    on how the stream is divided into batches, so the output that is repeated is equal to the first output, bit for bit.
    If sink and store share a transaction (Redis, Kafka, files), each record is written exactly once. Otherwise (Kinesis),
    readers can remove duplicates, because each output record holds its position in the input.

    Parameters
    ----------
    model : StreamDetector, KeyedDetector or RandomCutForest
        Used if the store has no checkpoint yet. Otherwise the worker continues with the model of the checkpoint.
    source : Source
    sink : Sink
    store : Store or None, default=None
        None keeps no checkpoints.
    schema : Schema, default=Schema()
        Determines which fields are scored, and which fields are the key and the time.
    codec : Codec or None, default=None
        Decodes the messages. None means Json, or Fields if the source has fields.
    output : mapping of str to str, default={"score": "ANOMALY_SCORE", "is_anomaly": "IS_ANOMALY"}
        Names of results, and the columns to which they are written. A result can be

        - an attribute of a Detection, such as "score", "is_anomaly", "threshold", "grade" or "reason";
        - "feature", "lag", "side", "severity", "expected" or "past", for anomalies only;
        - "event", the state of an event ("opened", "open" or "closed");
        - "explanation", Kinesis's ANOMALY_EXPLANATION for anomalies, or "explanations", the same for all records;
        - "record" (the number of the record), "line", "position" or "partition".
    dead_letters : DeadLetters or None, default=None
        Receives the messages that cannot be used. They are also logged, and the stream continues.
    checkpoint_every : float, default=0.0
        Seconds between checkpoints. 0 means after each batch.
    batch : int, default=1000
        Largest number of records that are read at once.
    shingle_size, threshold, learn
        Parameters for a forest; see :class:`rcf.streams.judges.ForestJudge`.

    Attributes
    ----------
    records, anomalies, rejected : int
        Numbers of records, anomalies and rejected messages since the first start.
    skipped : int
        Number of records in this run that were seen before a restart.
    position : int, str, list of int or None
        Position of the last record that was read.

    Examples
    --------
    >>> import io, rcf
    >>> from rcf.streams import Worker
    >>> from rcf.streams.files import LineSink, LineSource
    >>> out = io.BytesIO()
    >>> source = LineSource(io.BytesIO(b'{"load": 1.5}\\n{"load": "high"}\\n{"load": 2.5}\\n'))
    >>> worker = Worker(rcf.StreamDetector(random_state=0), source, LineSink(out))
    >>> worker.run()
    >>> print(out.getvalue().decode(), end="")
    {"load": 1.5, "ANOMALY_SCORE": 0.0, "IS_ANOMALY": false}
    {"load": 2.5, "ANOMALY_SCORE": 0.0, "IS_ANOMALY": false}
    >>> worker.rejected
    1
    """

    def __init__(
        self,
        model: Any,
        source: Source,
        sink: Sink,
        store: Store | None = None,
        *,
        schema: Schema | None = None,
        codec: Codec | None = None,
        output: Mapping[str, str] | None = None,
        dead_letters: DeadLetters | None = None,
        checkpoint_every: float = 0.0,
        batch: int = BATCH,
        shingle_size: int | None = None,
        threshold: float | None = None,
        learn: bool | None = None,
    ) -> None:
        self.source, self.sink, self.store, self.dead_letters = source, sink, store, dead_letters
        codec = codec or (Fields() if getattr(source, "has_fields", False) else Json())
        self.labeller = Labeller(
            model,
            schema=schema,
            codec=codec,
            output=output,
            shingle_size=shingle_size,
            threshold=threshold,
            learn=learn,
        )
        self.checkpoint_every, self.batch = checkpoint_every, batch
        self.position: Any = None
        self.finished = False
        self._unsaved = False
        self.saved_at = time.monotonic()
        self._stop = Event()

    @property
    def model(self) -> Any:
        """The current model. Do not change it while the worker runs."""
        return self.labeller.model

    @property
    def records(self) -> int:
        return self.labeller.records

    @property
    def anomalies(self) -> int:
        return self.labeller.anomalies

    @property
    def rejected(self) -> int:
        return self.labeller.rejected

    @property
    def skipped(self) -> int:
        return self.labeller.skipped

    # ---- running -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Resume, read until the source ends or :meth:`stop` is called, and save a checkpoint."""
        try:
            self.resume()
            while not self._stop.is_set() and self.step():
                pass
            self.finish()
        except BaseException:
            self.abandon()
            raise

    def stop(self) -> None:
        """Ask `run` to end after the current batch. Signal handlers and other threads may call it."""
        self._stop.set()

    def resume(self) -> None:
        """Continue from the newest checkpoint. If there is none, save a first checkpoint with the start position of the sink."""
        found = None if self.store is None else self.store.load(self.source.partition)
        if found is not None:
            self._restore(found)
        self.position = self.source.seek(self.position)
        if found is None and self.store is not None:
            self.store.save(self._checkpoint())
        log.info(
            "reading %s from %s", self.source.partition, "the beginning" if self.position is None else self.position
        )

    def step(self, wait: float = POLL) -> bool:
        """Read and write one batch, and save a checkpoint if one is due. Returns False when the source has ended.

        If no record arrives within `wait` seconds, the batch is empty.
        """
        messages = self.source.read(self.batch, wait)
        if messages:
            self._process(messages)
        if self._unsaved and time.monotonic() - self.saved_at >= self.checkpoint_every:
            self.checkpoint()
        return messages is not None

    def finish(self) -> None:
        """Process records that the source has read and cannot repeat, save a checkpoint, and close source, sink and store."""
        try:
            if not self.source.replayable:
                while messages := self.source.read(self.batch, None):
                    self._process(messages)
            if hasattr(self.store, "compact"):
                self._unsaved |= self.store.compact()  # type: ignore[union-attr]
            self.checkpoint()
        finally:
            self.close()

    def abandon(self) -> None:
        """Close everything after an error.

        If the source can be read again, the next run continues from the last checkpoint. If it cannot, as with a pipe, the model
        is saved in its current state, and results that were not written are lost.
        """
        try:
            if not self.source.replayable:
                self.checkpoint()
        finally:
            self.close()

    def _process(self, messages: Sequence[Message]) -> None:
        records, rejected = self.labeller.label(messages, self.source.partition)
        self.position, self._unsaved = messages[-1].position, True
        if records:
            refused = self.sink.write(records) or ()
            self.labeller.rejected += len(refused)
            rejected.extend(refused)
        if rejected:
            self._reject(rejected)

    def close(self) -> None:
        for part in (self.source, self.sink, self.store, self.dead_letters):
            if part is not None and hasattr(part, "close"):
                part.close()

    def _reject(self, rejected: Sequence[Rejected]) -> None:
        for one in rejected:
            log.warning("%s of %s is rejected: %s", one.message.place, self.source.partition, one.reason)
        if self.dead_letters is not None and rejected:
            self.dead_letters.reject(rejected)

    # ---- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint(self, finished: bool = False) -> None:
        """Save model and position together, if something has changed since the last checkpoint."""
        if self.store is not None and (self._unsaved or finished):
            self.finished = finished
            self.store.save(self._checkpoint())
        self._unsaved = False
        self.saved_at = time.monotonic()

    def _checkpoint(self) -> Checkpoint:
        details = self.labeller.state()
        if self.source.replayable:
            del details["replay"]
        for name, part in (("sink", self.sink), ("dead", self.dead_letters)):
            mark = getattr(part, "mark", None)
            if mark is not None:
                details[name] = mark()
        if hasattr(self.source, "start"):
            details["start"] = self.source.start
        return Checkpoint(
            self.source.partition, self.position, self.model, self.finished, self.records, self.anomalies, self.rejected,
            details,
        )  # fmt: skip

    def inherit(self, parents: Sequence[Checkpoint]) -> None:
        """Start a partition with the model of its parents, as for a Kinesis shard that was split or merged.

        Models with a detector per key are merged. Other models cannot be merged, so the model of the first parent is used.
        """
        model = parents[0].model
        if isinstance(model, KeyedDetector):
            for parent in parents[1:]:
                model.merge(parent.model)
        details = {name: value for name, value in parents[0].details.items() if name not in ("sink", "dead")}
        self._restore(Checkpoint(self.source.partition, None, model, details=details))

    def _restore(self, found: Checkpoint) -> None:
        labeller = self.labeller
        labeller.restore(found.model, found.details, found.partition)
        for name, part in (("sink", self.sink), ("dead", self.dead_letters)):
            rewind = getattr(part, "rewind", None)
            if rewind is not None and name in found.details:
                rewind(found.details[name])
        if "start" in found.details:
            self.source.start = found.details["start"]  # type: ignore[attr-defined]
        self.position, self.finished = found.position, found.finished
        labeller.records, labeller.anomalies, labeller.rejected = found.records, found.anomalies, found.rejected
