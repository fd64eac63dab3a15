"""What a worker reads, writes and keeps: the interfaces of sources, sinks and stores."""

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
    """One record as the source holds it.

    Attributes
    ----------
    data : bytes or mapping of str to str
        What a codec decodes; a mapping where the source has fields itself.
    position : int, str or list of int
        Where the record stands. A source that is told to seek to it continues with the record after it.
    key : str or None
        The source's own key: Kinesis's partition key, the key of a Kafka message.
    line : int or None
        Number of the line, where the source is text.
    """

    data: bytes | Mapping[str, str]
    position: Position
    key: str | None = None
    line: int | None = None

    @property
    def place(self) -> str:
        return f"line {self.line}" if self.line is not None else f"record {self.position}"


@dataclass(slots=True)
class Record:
    """A message, its fields, and what the model says about it."""

    message: Message
    fields: Mapping[str, Any]
    text: str | None = None  # as it came, where it came as text
    form: str | None = None  # of the text: "json" or "csv"
    result: dict[str, Any] = field(default_factory=dict)  # the columns that the worker adds


@dataclass(slots=True)
class Rejected:
    """A message that could not be used, and why."""

    message: Message
    reason: str


class Source(Protocol):
    """One ordered stream of messages: a shard, a partition, a file."""

    partition: str
    """Name of what is read, unique within the store."""
    replayable: bool
    """Whether `seek` can go back, so that records read after the last checkpoint are read again."""

    def seek(self, position: Position | None) -> Position | None:
        """Continue after `position`; None: at the configured beginning. Returns the position, if it is known by now."""

    def read(self, limit: int, wait: float | None) -> Sequence[Message] | None:
        """Return at most `limit` messages as soon as there are any, none after `wait` seconds, or None at the end.

        With `wait=None` it returns messages that the source has already fetched and cannot fetch again. Only sources that are not
        replayable are called this way.
        """

    def lag(self) -> float | None:
        """Seconds by which the last message read is behind the newest one; None where that is unknown."""

    def close(self) -> None: ...


class Sink(Protocol):
    """Takes records. When `write` returns they are safe, or part of the transaction that the next checkpoint commits."""

    def write(self, records: Sequence[Record]) -> Sequence[Rejected] | None:
        """Write records; returns those that the sink cannot accept, for example because they are too large."""

    def close(self) -> None: ...


class DeadLetters(Protocol):
    """Takes the messages that could not be used."""

    def reject(self, rejected: Sequence[Rejected]) -> None: ...


class Store(Protocol):
    """Keeps the newest checkpoint of each partition.

    A sink gives exactly-once results if it is also the store and `save` commits everything written since the last `save`.
    """

    def load(self, partition: str) -> Checkpoint | None:
        """The newest checkpoint. From now on only the caller may save."""

    def peek(self, partition: str) -> Checkpoint | None:
        """The newest checkpoint. The store does not change."""

    def save(self, checkpoint: Checkpoint) -> None: ...

    def close(self) -> None: ...
