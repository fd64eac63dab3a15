"""The interfaces of a worker: sources, sinks and stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

Position = int | str | list[int]  # JSON, so that checkpoints and outputs can hold it


class StreamError(RuntimeError):
    """A stream cannot go on, for example because another worker has taken over its state."""


class PoisonError(ValueError):
    """One record cannot be used; the stream goes on with the next."""


@dataclass(slots=True)
class Message:
    """One record in the form in which the source holds it.

    Attributes
    ----------
    data : bytes or mapping of str to str
        The content, which a codec decodes; a mapping if the source has fields.
    position : int, str or list of int
        Position of the record. After a seek to it, a source continues with the next record.
    key : str or None
        The key of the source: the partition key of a Kinesis record, or the key of a Kafka message.
    line : int or None
        Line number, if the source is text.
    fault : str or None
        Why the message cannot be used, if the source knows it.
    """

    data: bytes | Mapping[str, str]
    position: Position
    key: str | None = None
    line: int | None = None
    fault: str | None = None

    @property
    def place(self) -> str:
        return f"line {self.line}" if self.line is not None else f"record {self.position}"


@dataclass(slots=True)
class Record:
    """A message, its fields, and the results of the model."""

    message: Message
    fields: Mapping[str, Any]
    text: str | None = None  # the original text, if the source is text
    form: str | None = None  # of the text: "json" or "csv"
    result: dict[str, Any] = field(default_factory=dict)  # the columns that the worker adds


@dataclass(slots=True)
class Rejected:
    """A message that could not be used, and the reason."""

    message: Message
    reason: str


class Source(Protocol):
    """One ordered stream of messages: a shard, a partition, a file.

    If a source has an attribute `start`, where to begin without a position, then checkpoints contain it and a restart sets it.
    """

    partition: str
    """Name of the partition, unique within the store."""
    replayable: bool
    """Whether `seek` can go back, so that records read after the last checkpoint are read again."""

    def seek(self, position: Position | None) -> Position | None:
        """Continue after `position`, or at the configured beginning if it is None. Returns the position if it is known."""

    def read(self, limit: int, wait: float | None) -> Sequence[Message] | None:
        """Return at most `limit` messages as soon as there are any, an empty list after `wait` seconds, or None at the end.

        With `wait=None`, return messages that the source has already fetched and cannot fetch again. Only sources that are not
        replayable are called in this way.
        """

    def lag(self) -> float | None:
        """Seconds by which the last message read is behind the newest one; None if this is unknown."""

    def close(self) -> None: ...


class Sink(Protocol):
    """Receives records. When `write` returns, they are stored, or part of the transaction that the next checkpoint commits."""

    def write(self, records: Sequence[Record]) -> Sequence[Rejected] | None:
        """Write records; returns those that the sink cannot accept, for example because they are too large."""

    def close(self) -> None: ...


class DeadLetters(Protocol):
    """Receives the messages that could not be used."""

    def reject(self, rejected: Sequence[Rejected]) -> None: ...


class Store(Protocol):
    """Keeps the newest checkpoint of each partition.

    A sink gives exactly-once results if it is also the store and `save` commits everything written since the last `save`.
    """

    def load(self, partition: str) -> Checkpoint | None:
        """Load the newest checkpoint. From now on only the caller may save."""

    def peek(self, partition: str) -> Checkpoint | None:
        """Read the newest checkpoint without changing the store."""

    def save(self, checkpoint: Checkpoint) -> None: ...

    def close(self) -> None: ...
