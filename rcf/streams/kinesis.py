"""Kinesis data streams: one worker per shard, output to a stream or Firehose, and checkpoints in DynamoDB and S3."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from .codecs import Codec, Json, dead_letter
from .dynamo import DynamoStore
from .group import Group
from .labeller import KINESIS
from .records import Message, Position, Record, Rejected, StreamError
from .settings import Settings, codec_of, model_of, options_of
from .worker import POLL, Worker

try:
    import boto3
    from botocore.exceptions import ClientError
except ImportError as error:
    raise ImportError('rcf.streams.kinesis needs boto3: python -m pip install "rcf[kinesis]"') from error

log = logging.getLogger("rcf.streams")
MOST = 10_000  # largest number of records per GetRecords
LONGEST_KEY = 1024  # bytes of a partition key, 256 characters
TRIES = 10  # attempts of a put, with pauses that double from 0.05 s to 5 s
CHECKPOINT_EVERY = 10.0  # seconds between checkpoints; records after the last one are read again after a crash


class KinesisSource:
    """Reads the records of one shard.

    Parameters
    ----------
    client : boto3 client of "kinesis"
    stream, shard : str
    start : str, default="TRIM_HORIZON"
        Where a worker without a checkpoint begins. TRIM_HORIZON means the oldest available record, and LATEST means the
        records that arrive from now on. Any other value is a date in ISO format or a number of seconds since 1970.

    Attributes
    ----------
    start : str
        The argument. The first `seek` replaces LATEST by the current time, which the checkpoints of the worker contain. So no
        record is lost if the worker dies before the first checkpoint with a position, and the shards after a split begin at
        the same time.
    """

    replayable = True

    def __init__(self, client: Any, stream: str, shard: str, *, start: Any = "TRIM_HORIZON") -> None:
        self._client, self._stream = client, stream
        self.start = str(start)
        self.partition = shard
        self._after: str | None = None  # sequence number
        self._iterator: str | None = None
        self._lag: float | None = None
        self._next = 0.0  # time of the next allowed read: a shard allows five reads per second

    def seek(self, position: Position | None) -> Position | None:
        self._after = None if position is None else str(position)
        self._iterator = self._new_iterator()
        return position

    def _new_iterator(self) -> str:
        where: dict[str, Any] = {"ShardIteratorType": self.start}
        if self._after is not None:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self._after}
        elif self.start not in ("TRIM_HORIZON", "LATEST"):
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": self.start}
        found = self._client.get_shard_iterator(StreamName=self._stream, ShardId=self.partition, **where)
        if where["ShardIteratorType"] == "LATEST":
            # the clock of the service counts whole seconds, so earlier records of the current second may be read too
            self.start = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"]).isoformat()
            return self._new_iterator()
        return str(found["ShardIterator"])

    def read(self, limit: int, wait: float | None) -> Sequence[Message] | None:
        if self._iterator is None:
            return None
        wait = wait or 0.0
        pause = self._next - time.monotonic()
        if pause > 0:
            time.sleep(min(pause, wait))
            if pause > wait:
                return []
        try:
            found = self._client.get_records(ShardIterator=self._iterator, Limit=min(limit, MOST))
        except self._client.exceptions.ExpiredIteratorException:  # iterators expire after five minutes
            self._iterator = self._new_iterator()
            return []
        except self._client.exceptions.ProvisionedThroughputExceededException:
            self._next = time.monotonic() + 1.0
            return []
        messages = [Message(r["Data"], r["SequenceNumber"], r["PartitionKey"]) for r in found["Records"]]
        if messages:
            self._after = str(messages[-1].position)
        self._iterator = found.get("NextShardIterator")
        self._lag = found.get("MillisBehindLatest", 0) / 1000
        if not messages:
            self._next = time.monotonic() + POLL
        return messages if messages or self._iterator is not None else None

    def lag(self) -> float | None:
        return self._lag

    def close(self) -> None:
        pass


class _BatchedPut:
    """Writes records in batches, and repeats those that the service refused."""

    def __init__(self, name: str, most: int, most_bytes: int, largest: int) -> None:
        self.name, self._most, self._most_bytes, self._largest = name, most, most_bytes, largest

    def _put(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write entries. Returns those that failed."""
        raise NotImplementedError

    def put(self, entries: Iterable[tuple[dict[str, Any], int]]) -> None:
        """Write entries, each given with its size in bytes."""
        batch: list[dict[str, Any]] = []
        size = 0
        for entry, n in entries:
            if batch and (len(batch) == self._most or size + n > self._most_bytes):
                self._repeatedly(batch)
                batch, size = [], 0
            batch.append(entry)
            size += n
        if batch:
            self._repeatedly(batch)

    def _repeatedly(self, batch: list[dict[str, Any]]) -> None:
        pause = 0.05
        for _ in range(TRIES):
            batch = self._put(batch)
            if not batch:
                return
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        raise StreamError(f"{self.name} refused {len(batch)} records {TRIES} times")

    def too_large(self, message: Message, size: int) -> Rejected | None:
        if size <= self._largest:
            return None
        return Rejected(message, f"the record with its results has {size} bytes; {self.name} takes {self._largest}")


class KinesisSink(_BatchedPut):
    """Writes records to a stream with the partition keys of their messages.

    Parameters
    ----------
    client : boto3 client of "kinesis"
    stream : str
    codec : Codec, default=Json()
    """

    def __init__(self, client: Any, stream: str, codec: Codec | None = None) -> None:
        super().__init__(f"the stream {stream}", 500, 5 << 20, 1 << 20)
        self._client, self._stream, self._codec = client, stream, codec or Json()

    def write(self, records: Sequence[Record]) -> list[Rejected]:
        rejected, entries = [], []
        for record in records:
            entry, size = self._entry(self._codec.encode(record), record.message)
            large = self.too_large(record.message, size)
            if large is not None:
                rejected.append(large)
            else:
                entries.append((entry, size))
        self.put(entries)
        return rejected

    def reject(self, rejected: Sequence[Rejected]) -> None:
        self.put(self._entry(dead_letter(one, self._largest - LONGEST_KEY), one.message) for one in rejected)

    @staticmethod
    def _entry(data: bytes, message: Message) -> tuple[dict[str, Any], int]:
        key = message.key or str(message.position)
        return {"Data": data, "PartitionKey": key}, len(data) + len(key.encode())

    def _put(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = self._client.put_records(StreamName=self._stream, Records=entries)
        if not found["FailedRecordCount"]:
            return []
        return [entry for entry, answer in zip(entries, found["Records"], strict=True) if answer.get("ErrorCode")]

    def close(self) -> None:
        pass


class FirehoseSink(_BatchedPut):
    """Writes records to a Firehose delivery stream, one line per record.

    Parameters
    ----------
    client : boto3 client of "firehose"
    stream : str
    codec : Codec, default=Json()
    """

    def __init__(self, client: Any, stream: str, codec: Codec | None = None) -> None:
        super().__init__(f"the delivery stream {stream}", 500, 4 << 20, 1000 << 10)
        self._client, self._stream, self._codec = client, stream, codec or Json()

    def write(self, records: Sequence[Record]) -> list[Rejected]:
        rejected, entries = [], []
        for record in records:
            data = self._codec.encode(record)
            large = self.too_large(record.message, len(data))
            if large is not None:
                rejected.append(large)
            else:
                entries.append(({"Data": data}, len(data)))
        self.put(entries)
        return rejected

    def _put(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = self._client.put_record_batch(DeliveryStreamName=self._stream, Records=entries)
        if not found["FailedPutCount"]:
            return []
        return [
            entry for entry, answer in zip(entries, found["RequestResponses"], strict=True) if answer.get("ErrorCode")
        ]

    def close(self) -> None:
        pass


class Both:
    """Writes to several sinks, one after the other."""

    def __init__(self, sinks: Sequence[Any]) -> None:
        self._sinks = sinks

    def write(self, records: Sequence[Record]) -> list[Rejected]:
        return [one for sink in self._sinks for one in sink.write(records) or ()]

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


class ShardGroup(Group):
    """Runs a worker for each shard of a stream, also when the stream is resharded.

    A shard that was split or merged is read to its end first. Its children then start with its model. With keys, each detector
    continues in the child that receives its key. Without keys, each child continues with a copy of the detector; after a merge this
    is the detector of the parent that AWS names first.

    Parameters
    ----------
    client : boto3 client of "kinesis"
    stream : str
    make : callable
        Returns a Worker for a shard, given ``(shard, start)``.
    store : DynamoStore
    start : str, default="TRIM_HORIZON"
        See :class:`KinesisSource`.
    shards : sequence of str or None, default=None
        The shards to read; None means all. If several processes share a stream, each reads some of the shards.
    discover_every : float, default=10.0
        Seconds between searches for new shards.
    """

    def __init__(
        self, client: Any, stream: str, make: Any, store: DynamoStore, *, start: str = "TRIM_HORIZON",
        shards: Sequence[str] | None = None, discover_every: float = 10.0,
    ) -> None:  # fmt: skip
        super().__init__([])
        self._client, self._stream, self._make, self._store = client, stream, make, store
        self._begin, self._only, self._every = start, shards, discover_every
        self._finished: set[str] = set()
        self._looked = float("-inf")

    def _listed(self) -> dict[str, dict[str, Any]]:
        shards: dict[str, dict[str, Any]] = {}
        found = self._client.list_shards(StreamName=self._stream)
        while True:
            shards.update((shard["ShardId"], shard) for shard in found["Shards"])
            if not found.get("NextToken"):
                return shards
            found = self._client.list_shards(NextToken=found["NextToken"])

    def _ready(self) -> Iterator[Worker]:
        """Workers for the shards that can be read and have no worker yet."""
        listed = self._listed()
        read = {worker.source.partition for worker in self.workers}
        for name, shard in listed.items():
            if name in read or name in self._finished or not self._mine(name, listed):
                continue
            own = self._store.peek(name)
            if own is not None and own.finished:
                self._finished.add(name)
                continue
            parents = [shard[field] for field in ("ParentShardId", "AdjacentParentShardId") if shard.get(field)]
            if any(parent in listed and parent not in self._finished for parent in parents):
                continue
            models = [found for parent in parents if (found := self._store.peek(parent)) is not None]
            worker = self._make(name, self._begin)
            if own is None and models:
                worker.inherit(models)
                log.info("shard %s begins with the model of %s", name, ", ".join(found.partition for found in models))
            yield worker

    def _mine(self, name: str, listed: dict[str, dict[str, Any]]) -> bool:
        """Whether the shard or one of its ancestors is among the shards to read."""
        if self._only is None or name in self._only:
            return True
        parent = listed[name].get("ParentShardId")
        return parent in listed and self._mine(parent, listed)

    def _discover(self) -> None:
        self._looked = time.monotonic()
        known = -1
        while known != len(self._finished):  # when a shard has ended, its children can be read immediately
            known = len(self._finished)
            for worker in self._ready():
                self.workers.append(worker)
                worker.resume()

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                if time.monotonic() - self._looked >= self._every:
                    self._discover()
                if not self.workers:
                    self._stop.wait(POLL)
                for worker in list(self.workers):
                    if not worker.step(POLL / len(self.workers)):
                        worker.checkpoint(finished=True)
                        log.info("shard %s is read to its end", worker.source.partition)
                        self.workers.remove(worker)
                        self._finished.add(worker.source.partition)
                        self._looked = float("-inf")
            while self.workers:
                self.workers.pop().finish()
        except BaseException:
            for worker in self.workers:
                worker.abandon()
            raise

    def plan(self) -> list[dict[str, Any]]:
        plans = []
        for name in self._listed():
            found = self._store.peek(name)
            after = self._begin if found is None else found.position
            plan = {"partition": name, "after": after, "records": 0 if found is None else found.records}
            plans.append(plan | {"finished": found is not None and found.finished})
        return plans


def clients(own: dict[str, Any]) -> Any:
    """A function that creates boto3 clients with the settings ``region``, ``endpoint_url`` and ``profile``."""
    session = boto3.session.Session(region_name=own.get("region"), profile_name=own.get("profile"))
    return lambda service: session.client(service, endpoint_url=own.get("endpoint_url"))


def group(settings: Settings) -> ShardGroup:
    """The workers for the settings in the section ``[kinesis]``."""
    own = settings["kinesis"]
    client = clients(own)
    kinesis, stream, codec = client("kinesis"), own["stream"], codec_of(settings)
    sinks: list[Any] = []
    if own.get("output"):
        sinks.append(KinesisSink(kinesis, own["output"], codec))
    if own.get("firehose"):
        sinks.append(FirehoseSink(client("firehose"), own["firehose"], codec))
    if not sinks:
        raise StreamError("neither output nor firehose is set in [kinesis]: nothing would be written")
    dead = KinesisSink(kinesis, own["dead"]) if own.get("dead") else None
    bucket = own.get("bucket")
    store = DynamoStore(
        client("dynamodb"), own.get("table", "rcf"), str(own.get("application", stream)),
        s3=None if bucket is None else client("s3"), bucket=bucket, prefix=own.get("prefix", "rcf"),
    )  # fmt: skip
    output = {**KINESIS, "partition": "SHARD", "position": "SEQUENCE_NUMBER"}
    sink = sinks[0] if len(sinks) == 1 else Both(sinks)

    def make(shard: str, start: str) -> Worker:
        options = options_of(settings, output=output, checkpoint_every=CHECKPOINT_EVERY)
        source = KinesisSource(kinesis, stream, shard, start=start)
        return Worker(model_of(settings), source, sink, store, codec=codec_of(settings), dead_letters=dead, **options)

    return ShardGroup(
        kinesis, stream, make, store, start=own.get("start", "TRIM_HORIZON"), shards=own.get("shards"),
        discover_every=own.get("discover_every", 10.0),
    )  # fmt: skip


__all__ = ["ClientError", "FirehoseSink", "KinesisSink", "KinesisSource", "ShardGroup", "group"]
