"""The interfaces of a worker: sources, sinks and stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .checkpoint import Checkpoint
from .records import Message, Position, Record, Rejected


class Source(Protocol):
    """One ordered stream of messages, such as a shard, a partition or a file.

    A source may have an attribute `start` that says where to begin without a position. Checkpoints then contain it, and a restart
    sets it.
    """

    partition: str
    """Name of the partition, unique within the store."""
    replayable: bool
    """Whether `seek` can go back, so that records read after the last checkpoint are read again."""

    def seek(self, position: Position | None) -> Position | None:
        """Continue after `position`, or from the configured start if it is None. Returns the position if it is known."""

    def read(self, limit: int, wait: float | None) -> Sequence[Message] | None:
        """Return at most `limit` messages as soon as there are any, an empty list after `wait` seconds, or None at the end.

        With `wait=None`, return only messages that the source has already fetched and cannot fetch again. This is used only
        for sources that are not replayable.
        """

    def lag(self) -> float | None:
        """Seconds by which the last message read is behind the newest one; None if this is unknown."""

    def close(self) -> None: ...


class Sink(Protocol):
    """Receives records. When `write` returns, they are stored, or belong to the transaction that the next checkpoint commits."""

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
