"""Redis streams: results, model and position in one MULTI/EXEC, so that each record is written exactly once."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from .checkpoint import Chain, Checkpoint
from .codecs import plain, text_of
from .group import Group
from .labeller import KINESIS
from .records import Message, Position, Record, Rejected, StreamError
from .settings import Settings, codec_of, model_of, options_of
from .worker import Worker

try:
    import redis
except ImportError as error:
    raise ImportError('rcf.streams.redis needs the package redis: python -m pip install "rcf[redis]"') from error

PART = 1 << 26  # bytes of a model in one field; Redis accepts at most 512 MiB


class RedisSource:
    """Reads the entries of a Redis stream in order. It needs no consumer group, because the checkpoint holds the position.

    Parameters
    ----------
    client : redis.Redis
        A client without ``decode_responses``.
    stream : str
    start : str, default="0"
        The id after which a worker without a checkpoint begins; ``"$"`` means the newest entry at the start of the
        worker.
    payload : str or None, default=None
        The field that holds the whole record as text, for the codecs Json and Csv. None means that the fields of the entry are the
        fields of the record.
    """

    replayable = True

    def __init__(self, client: redis.Redis, stream: str, *, start: str = "0", payload: str | None = None) -> None:
        self._client, self._stream, self._start = client, stream, start
        self.partition = stream
        self.payload = payload
        self.has_fields = payload is None
        self._after = start
        self._lag: float | None = None

    def seek(self, position: Position | None) -> Position | None:
        self._after = self._start if position is None else str(position)
        if self._after == "$":
            newest: Any = self._client.xrevrange(self._stream, count=1)
            self._after = newest[0][0].decode() if newest else "0"
        return self._after

    def read(self, limit: int, wait: float | None) -> Sequence[Message]:
        found: Any = self._client.xread(
            {self._stream: self._after}, count=limit, block=max(1, int((wait or 0.0) * 1000))
        )
        entries = (next(iter(found.values())) if isinstance(found, dict) else found[0][1]) if found else []
        if entries and isinstance(entries[0], list) and entries[0] and isinstance(entries[0][0], (list, tuple)):
            entries = entries[0]
        messages = [Message(self._data(fields), name.decode()) for name, fields in entries]
        if messages:
            self._after = str(messages[-1].position)
        self._lag = max(0.0, time.time() - int(self._after.split("-")[0]) / 1000) if len(messages) == limit else 0.0
        return messages

    def _data(self, fields: dict[bytes, bytes]) -> Any:
        if self.payload is not None:
            return fields.get(self.payload.encode(), b"")
        return {
            name.decode(errors="backslashreplace"): v.decode(errors="backslashreplace") for name, v in fields.items()
        }

    def lag(self) -> float | None:
        return self._lag

    def close(self) -> None:
        pass


class RedisTransaction:
    """Sink, dead letters and store in one. Each checkpoint commits all output since the previous checkpoint.

    Parameters
    ----------
    client : redis.Redis
    output : str
        The stream for the records with their results.
    dead : str or None, default=None
        The stream for the messages that cannot be used. None: ``<output>:rejected``.
    state : str, default="rcf"
        Prefix of the checkpoint's key. The checkpoint of a stream is the hash ``<state>:<stream>``. If the model has many keys,
        the hash also holds increments, with the detectors of the keys that have changed since the last whole checkpoint.
    maxlen : int or None, default=None
        Approximate number of entries that the output stream keeps.
    payload : str or None, default=None
        The field to which the whole record is written as JSON. None writes each field of the record as a field of the
        entry.

    Notes
    -----
    If a second worker starts on the same stream, it takes over the state. The first worker then fails with a StreamError at its
    next checkpoint, and nothing that it wrote since its last checkpoint is committed.
    """

    def __init__(
        self, client: redis.Redis, output: str, *, dead: str | None = None, state: str = "rcf", maxlen: int | None = None,
        payload: str | None = None, codec: Any = None,
    ) -> None:  # fmt: skip
        self._client, self._output, self._state, self._maxlen = client, output, state, maxlen
        self._dead = dead or f"{output}:rejected"
        self._payload, self._codec = payload, codec
        self._owner = secrets.token_hex(8).encode()
        self._waiting: list[tuple[str, dict[str, Any]]] = []
        self._chain = Chain()

    def write(self, records: Sequence[Record]) -> None:
        self._waiting.extend((self._output, self._fields(record)) for record in records)

    def _fields(self, record: Record) -> dict[str, Any]:
        if self._payload is not None:
            return {self._payload: self._codec.encode(record).rstrip(b"\n")}
        return {**record.fields, **{name: _text(value) for name, value in record.result.items()}}

    def reject(self, rejected: Sequence[Rejected]) -> None:
        for one in rejected:
            letter = {"position": one.message.position, "reason": one.reason, "data": text_of(one.message.data)}
            self._waiting.append((self._dead, letter))

    def _key(self, partition: str) -> str:
        return f"{self._state}:{partition}"

    def load(self, partition: str) -> Checkpoint | None:
        self._client.hset(self._key(partition), "owner", self._owner)
        return self.peek(partition)

    def peek(self, partition: str) -> Checkpoint | None:
        key = self._key(partition)
        found: Any = self._client.hmget(key, ["parts", "increments"])
        if found[0] is None:
            return None
        # the numbers of parts of the whole checkpoint and of each increment
        counts = [int(found[0]), *json.loads(found[1] or "[]")]
        fields = [[f"{_prefix(n)}/{i}" for i in range(count)] for n, count in enumerate(counts)]
        read: Any = [self._client.hmget(key, names) for names in fields]
        whole, *increments = (Checkpoint.from_bytes(b"".join(parts)) for parts in read)
        return whole.followed_by(increments)

    def save(self, checkpoint: Checkpoint) -> None:
        key, due = self._key(checkpoint.partition), self._chain.next(checkpoint)
        data = due.to_bytes()
        parts = range(0, len(data), PART)
        with self._client.pipeline(transaction=True) as pipe:
            pipe.watch(key)
            if pipe.hget(key, "owner") != self._owner:
                raise StreamError(f"another worker has taken over the stream {checkpoint.partition}")
            counts: list[int] = json.loads(pipe.hget(key, "increments") or "[]")
            pipe.multi()
            for stream, fields in self._waiting:
                pipe.xadd(stream, fields, maxlen=self._maxlen if stream == self._output else None)
            state: dict[str, Any] = {f"{_prefix(due.number)}/{i}": data[at : at + PART] for i, at in enumerate(parts)}
            if due.number:
                state["increments"] = json.dumps([*counts, len(parts)])
            else:
                state |= {"parts": len(parts), "increments": "[]"}
                old = [f"{_prefix(n)}/{i}" for n, count in enumerate(counts, 1) for i in range(count)]
                if old:
                    pipe.hdel(key, *old)
            pipe.hset(key, mapping={**state, "position": str(checkpoint.position)})
            try:
                pipe.execute()
            except redis.WatchError as error:  # also raised if the connection was lost
                if self._client.hget(key, "owner") == self._owner:
                    raise StreamError(f"the checkpoint may not have been written: {error}") from error
                raise StreamError(f"another worker has taken over the stream {checkpoint.partition}") from error
        self._waiting.clear()
        self._chain.stored(due, len(data))

    def close(self) -> None:
        self._client.close()


def _prefix(number: int) -> str:
    """The prefix of the fields that hold the parts of increment `number`, or of the whole checkpoint if it is 0."""
    return f"increment/{number}" if number else "checkpoint"


def _text(value: Any) -> str:
    value = plain(value)
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)


def group(settings: Settings) -> Group:
    """The worker for the settings. The section ``[redis]`` has ``url`` and the parameters of the classes above."""
    own = settings["redis"]
    client = redis.Redis.from_url(own.get("url", "redis://127.0.0.1:6379"))
    codec = None if own.get("payload") is None else codec_of(settings)
    source = RedisSource(client, own["stream"], start=own.get("start", "0"), payload=own.get("payload"))
    sink = RedisTransaction(
        client, own["output"], dead=own.get("dead"), state=own.get("state", "rcf"), maxlen=own.get("maxlen"),
        payload=own.get("payload"), codec=codec,
    )  # fmt: skip
    options = options_of(settings, output={**KINESIS, "position": "POSITION"})
    return Group([Worker(model_of(settings), source, sink, sink, codec=codec, dead_letters=sink, **options)])
