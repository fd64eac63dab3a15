"""Kafka: results, model and position in one transaction, so that each record is written exactly once."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any

from .checkpoint import Chain, Checkpoint
from .codecs import Codec, Json, dead_letter
from .group import Group
from .labeller import KINESIS
from .records import Message, Position, Record, Rejected, StreamError
from .settings import Settings, SettingsError, codec_of, model_of, options_of
from .worker import Worker

try:
    from confluent_kafka import (
        OFFSET_BEGINNING,
        Consumer,
        KafkaError,
        KafkaException,
        Producer,
        TopicPartition,
    )
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError as error:
    raise ImportError('rcf.streams.kafka needs confluent-kafka: python -m pip install "rcf[kafka]"') from error

log = logging.getLogger("rcf.streams")
PART = 900_000  # bytes of a checkpoint in one message; by default brokers accept 1 MB
# after a fatal error, every call of a producer raises _FATAL
FENCED = (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError._FATAL)
OVERHEAD = 1000  # largest number of bytes that a message has in addition to key and value
TIMEOUT = 30.0  # seconds


class KafkaSource:
    """Reads one partition of a topic. It needs no consumer group, because the checkpoint holds the offset.

    Parameters
    ----------
    config : dict
        Settings of librdkafka; at least ``bootstrap.servers``.
    topic : str
    partition : int
    start : {"beginning", "end"}, default="beginning"
        Where a worker without a checkpoint begins.
    """

    replayable = True

    def __init__(self, config: dict[str, Any], topic: str, partition: int, *, start: str = "beginning") -> None:
        if start not in ("beginning", "end"):
            raise ValueError(f"start must be beginning or end, got {start!r}")
        own = {"enable.auto.commit": False, "isolation.level": "read_committed", "auto.offset.reset": "error",
               "group.id": f"rcf-{topic}-{partition}", "enable.partition.eof": True}  # fmt: skip
        self._consumer = Consumer({**config, **own})
        self._topic, self._number, self._start = topic, partition, start
        self.partition = f"{topic}/{partition}"
        self._lag: float | None = None

    def seek(self, position: Position | None) -> Position | None:
        where = TopicPartition(self._topic, self._number)
        if position is None:
            low, high = self._consumer.get_watermark_offsets(where, timeout=TIMEOUT)
            offset = low if self._start == "beginning" else high
        else:
            offset = int(str(position)) + 1
        where.offset = offset
        self._consumer.assign([where])
        return int(offset) - 1  # -1 and not None for offset 0, because after a restart "end" could be another offset

    def read(self, limit: int, wait: float | None) -> Sequence[Message]:
        messages: list[Message] = []
        stamp, ended = None, False
        for found in self._consumer.consume(limit, timeout=wait or 0.0):
            error = found.error()
            if error is None:
                key = found.key()
                name = None if key is None else key.decode(errors="backslashreplace")
                messages.append(Message(found.value() or b"", found.offset(), name))
                stamp = found.timestamp()[1] / 1000
            elif error.code() == KafkaError._PARTITION_EOF:
                ended = True
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise StreamError(f"{self.partition}: the records after the checkpoint were deleted: {error.str()}")
            elif not error.retriable() and error.code() != KafkaError._ALL_BROKERS_DOWN:
                raise KafkaException(error)
        if ended or not messages:
            self._lag = 0.0 if ended else self._lag
        elif stamp is not None:
            self._lag = max(0.0, time.time() - stamp)
        return messages

    def lag(self) -> float | None:
        return self._lag

    def close(self) -> None:
        self._consumer.close()


class KafkaTransaction:
    """Sink, dead letters and store of one partition. Each checkpoint commits all output since the previous checkpoint.

    Checkpoints are written to a compacted topic in parts of 900 000 bytes. A worker loads the newest complete checkpoint. If the
    model has many keys, increments follow it, which hold the detectors of the keys that have changed since.

    Parameters
    ----------
    config : dict
        Settings of librdkafka; at least ``bootstrap.servers``.
    output : str
        Topic of the records with their results. They keep the keys of their messages.
    transactional_id : str
        Must be the same in each run. If a second worker starts with the same id, it takes over. The first worker then fails with a
        StreamError, and its output since its last checkpoint is not committed, so readers do not see it.
    state : str, default="rcf-state"
        Topic of the checkpoints. If it does not exist, it is created with one partition.
    dead : str or None, default=None
        Topic of the messages that cannot be used. None: ``<output>-rejected``.
    codec : Codec, default=Json()
    """

    def __init__(
        self, config: dict[str, Any], output: str, transactional_id: str, *, state: str = "rcf-state", dead: str | None = None,
        codec: Codec | None = None,
    ) -> None:  # fmt: skip
        self._config, self._output, self._state = config, output, state
        self._dead, self._codec = dead or f"{output}-rejected", codec or Json()
        own = {"transactional.id": transactional_id, "enable.idempotence": True, "linger.ms": 5}
        self._producer = Producer({**config, **own})
        self._largest = int(config.get("message.max.bytes", 1_000_000))
        self._open = self._ready = False
        self._chain = Chain()

    def _begin(self) -> None:
        if not self._open:
            self._producer.begin_transaction()
            self._open = True

    def _produce(self, topic: str, value: bytes, key: Any, headers: Any = None) -> None:
        self._begin()
        while True:
            try:
                self._producer.produce(topic, value, key=key, headers=headers)
                return
            except BufferError:  # the queue is full: wait until some messages are delivered
                self._producer.poll(0.1)

    def write(self, records: Sequence[Record]) -> list[Rejected]:
        rejected = []
        for record in records:
            data = self._codec.encode(record).rstrip(b"\n")
            try:
                self._fenced(self._produce, self._output, data, record.message.key)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                reason = f"the record with its results has {len(data)} bytes; message.max.bytes is {self._largest}"
                rejected.append(Rejected(record.message, reason))
        self._producer.poll(0)
        return rejected

    def reject(self, rejected: Sequence[Rejected]) -> None:
        for one in rejected:
            room = self._largest - len((one.message.key or "").encode()) - OVERHEAD
            self._fenced(self._produce, self._dead, dead_letter(one, room).rstrip(b"\n"), one.message.key)

    def load(self, partition: str) -> Checkpoint | None:
        make_topics(self._config, [NewTopic(self._state, 1, config={"cleanup.policy": "compact"})])
        if not self._ready:
            self._fenced(self._producer.init_transactions, TIMEOUT)  # aborts the open transaction of an earlier worker
            self._ready = True
        return self.peek(partition)

    def peek(self, partition: str) -> Checkpoint | None:
        own = {"enable.auto.commit": False, "isolation.level": "read_committed", "group.id": f"rcf-{self._state}",
               "enable.partition.eof": True}  # fmt: skip
        consumer = Consumer({**self._config, **own})
        try:
            known = consumer.list_topics(self._state, timeout=TIMEOUT).topics[self._state]
            if known.error is not None or not known.partitions:
                return None
            consumer.assign([TopicPartition(self._state, 0, OFFSET_BEGINNING)])
            # the parts of each checkpoint by its id; compaction may have removed some parts
            parts: dict[str, dict[int, bytes]] = {}
            whole: bytes | None = None
            increments: list[bytes] = []  # those that follow it
            chain = ""
            end = time.monotonic() + TIMEOUT
            while True:
                found = consumer.poll(1.0)
                if found is None:
                    if time.monotonic() > end:
                        raise StreamError(f"the topic {self._state} cannot be read to its end")
                    continue
                if found.error() is not None:
                    if found.error().code() == KafkaError._PARTITION_EOF:
                        break
                    raise KafkaException(found.error())
                name, _, part = (found.key() or b"").decode().rpartition("#")
                if name != partition:
                    continue
                about = json.loads(dict(found.headers())["rcf"])
                held = parts.setdefault(about["id"], {})
                held[int(part.rpartition("/")[2])] = found.value()
                if len(held) == about["parts"]:
                    data = b"".join(held[i] for i in range(about["parts"]))
                    parts.clear()
                    if about["number"] == 0:
                        whole, chain, increments = data, about["chain"], []
                    elif (about["chain"], about["number"]) == (chain, len(increments) + 1):
                        increments.append(data)
            if whole is None:
                return None
            return Checkpoint.from_bytes(whole).followed_by([Checkpoint.from_bytes(data) for data in increments])
        finally:
            consumer.close()

    def save(self, checkpoint: Checkpoint) -> None:
        due = self._chain.next(checkpoint)
        data = due.to_bytes()
        pieces = [data[at : at + PART] for at in range(0, len(data), PART)]
        about = {"id": secrets.token_hex(8), "parts": len(pieces), "position": checkpoint.position,
                 "chain": due.chain, "number": due.number}  # fmt: skip
        self._fenced(self._commit, checkpoint.partition, pieces, about)
        self._chain.stored(due, len(data))

    def _commit(self, partition: str, pieces: list[bytes], about: dict[str, Any]) -> None:
        key = f"{partition}#{about['number']}/" if about["number"] else f"{partition}#"
        for i, piece in enumerate(pieces):
            self._produce(self._state, piece, f"{key}{i}", {"rcf": json.dumps(about).encode()})
        self._producer.commit_transaction(TIMEOUT)  # fails if the broker has not accepted every message
        self._open = False

    def _fenced(self, call: Any, *args: Any) -> None:
        try:
            call(*args)
        except KafkaException as error:
            reason = error.args[0]
            if reason.fatal() or reason.code() in FENCED:
                raise StreamError(f"another worker has taken over: {reason.str()}") from error
            raise

    def close(self) -> None:
        if self._open:
            try:
                self._producer.abort_transaction(TIMEOUT)
            except KafkaException as error:
                log.warning("the open transaction could not be aborted and will time out: %s", error.args[0].str())
            self._open = False


def make_topics(config: dict[str, Any], topics: list[Any]) -> None:
    """Create the topics that do not exist."""
    admin = AdminClient(config)
    known = admin.list_topics(timeout=TIMEOUT).topics
    wanted = [topic for topic in topics if topic.topic not in known]
    if not wanted:
        return
    for name, done in admin.create_topics(wanted, operation_timeout=TIMEOUT).items():
        try:
            done.result(TIMEOUT)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise StreamError(f"the topic {name} cannot be created: {error.args[0].str()}") from error


def group(settings: Settings) -> Group:
    """The workers for the settings, one per partition. The section ``[kafka.config]`` is passed to librdkafka."""
    own = settings["kafka"]
    config = {"bootstrap.servers": own.get("servers", "127.0.0.1:9092"), **own.get("config", {})}
    topic, output, state = own["topic"], own["output"], own.get("state", "rcf-state")
    partitions = own.get("partitions")
    if partitions is None:
        known = AdminClient(config).list_topics(topic, timeout=TIMEOUT).topics[topic]
        if known.error is not None:
            raise StreamError(f"the topic {topic} cannot be read: {known.error.str()}")
        partitions = sorted(known.partitions)
    if not isinstance(partitions, list) or not all(type(number) is int and number >= 0 for number in partitions):
        raise SettingsError(f"kafka.partitions must be a list of numbers, got {partitions!r}")
    workers = []
    for number in partitions:
        name = f"{own.get('application', 'rcf')}-{topic}-{number}"
        sink = KafkaTransaction(config, output, name, state=state, dead=own.get("dead"), codec=codec_of(settings))
        source = KafkaSource(config, topic, number, start=own.get("start", "beginning"))
        options = options_of(settings, output={**KINESIS, "partition": "PARTITION", "position": "OFFSET"})
        workers.append(
            Worker(model_of(settings), source, sink, sink, codec=codec_of(settings), dead_letters=sink, **options)
        )
    return Group(workers)
