"""Checkpoint: a model and the position of the last record that it learned, saved together.

With many keys, a whole checkpoint is large (470 MB for 10 000 keys), and few keys change from one checkpoint to the next. So a
store may save increments after a whole checkpoint: checkpoints that hold only the detectors of keys that have changed.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..detector import KeyedDetector
from ..persist import ModelFileError, Savable
from .records import Position

LEAST = 1 << 18  # bytes; smaller checkpoints have no increments, because writing them takes less than 3 ms
MOST = 256  # largest number of increments of a whole checkpoint


@dataclass
class Checkpoint(Savable):
    """The state from which a worker continues after a restart, bit for bit.

    Attributes
    ----------
    partition : str
        Name of the shard, partition, stream or file that was read.
    position : int, str, list of int or None
        Position of the last record that was read.
    model : StreamDetector, KeyedDetector or RandomCutForest
    finished : bool
        Whether the partition has been read to its end, which happens after a Kinesis shard was split or merged.
    records, anomalies, rejected : int
        Numbers of records, anomalies and rejected messages since the first start.
    details : dict
        The state of the worker's parts, such as the columns, the records of an incomplete window, and the end of the
        output.
    chain : str
        Random name that a whole checkpoint and its increments share; empty if there are no increments.
    number : int
        Number of an increment, from 1; 0 for a whole checkpoint. The model of an increment holds only the keys that have changed.
    removed : list
        Keys that an increment removes.
    """

    partition: str
    position: Position | None
    model: Any
    finished: bool = False
    records: int = 0
    anomalies: int = 0
    rejected: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    chain: str = ""
    number: int = 0
    removed: list[Any] = field(default_factory=list)

    def _state(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        self = cls(**state)
        counts = (self.records, self.anomalies, self.rejected, self.number)
        if type(self.partition) is not str or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError(
                f"partition must be a string and counts whole numbers of at least 0, got {self.partition!r} and {counts}"
            )
        if not isinstance(self.model, Savable) or type(self.finished) is not bool or type(self.details) is not dict:
            raise ValueError("model, finished or details has a type that a worker does not save")
        if not (self.position is None or isinstance(self.position, (int, str, list))):
            raise ValueError(f"{self.position!r} is not a valid position")
        if type(self.chain) is not str or type(self.removed) is not list:
            raise ValueError("chain must be a string, and removed a list")
        if self.number and not isinstance(self.model, KeyedDetector):
            raise ValueError(f"an increment of a {type(self.model).__name__}")
        return self

    def followed_by(self, increments: Sequence[Checkpoint]) -> Checkpoint:
        """The whole checkpoint with its increments, in order, applied to it. This changes the model of the whole checkpoint."""
        for number, one in enumerate(increments, 1):
            if (one.chain, one.number) != (self.chain, number):
                raise ModelFileError(
                    f"this is not increment {number} of the checkpoint, but {one.number} of {one.chain}"
                )
        if not increments:
            return self
        try:
            self.model._follow([(one.model, one.removed) for one in increments])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"the increments do not follow the checkpoint: {error!r}") from error
        return replace(increments[-1], model=self.model, number=0, removed=[])


class Chain:
    """Decides whether a store saves the next checkpoint whole or as an increment.

    An increment holds the keys of a :class:`KeyedDetector` that have changed since the last checkpoint. A checkpoint is whole if
    half of the keys have changed, if the increments would become larger than the whole checkpoint before them, or if the last
    checkpoint may not have been stored. So the stored bytes and the time to restore them at most double.
    """

    def __init__(self) -> None:
        self._name, self._number = "", 0
        # the marks of the keys when they were last stored; None means that the next checkpoint is whole
        self._marks: dict[Any, Any] | None = None
        self._next_marks: dict[Any, Any] | None = None
        self._whole = self._increments = 0  # bytes

    def next(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint to store, either whole or as an increment. Call :meth:`stored` after it was stored."""
        marks, self._marks, model = self._marks, None, checkpoint.model
        if not isinstance(model, KeyedDetector):
            return checkpoint
        self._next_marks = model._marks()
        if marks is not None and self._number < MOST:
            part, removed = model._since(marks)
            expected = self._whole * len(part) // max(len(model), 1)
            if 2 * len(part) <= len(model) and self._increments + expected <= self._whole:
                return replace(checkpoint, model=part, chain=self._name, number=self._number + 1, removed=removed)
        return replace(checkpoint, chain=secrets.token_hex(8))

    def stored(self, checkpoint: Checkpoint, size: int) -> None:
        """Note that the result of `next` was stored, and its size in bytes."""
        if checkpoint.number == 0:
            self._whole, self._increments = size, 0
        else:
            self._increments += size
        self._name, self._number = checkpoint.chain, checkpoint.number
        self._marks = self._next_marks if self._whole >= LEAST else None
        self._next_marks = None

    def compact(self) -> None:
        """Make the next checkpoint a whole one."""
        self._marks = None
