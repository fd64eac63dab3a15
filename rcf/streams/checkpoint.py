"""Checkpoint: a model and the position of the last record that it learned, saved together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from ..persist import Savable
from .records import Position


@dataclass
class Checkpoint(Savable):
    """The state with which a worker continues where it was, bit for bit.

    Attributes
    ----------
    partition : str
        Name of the shard, partition, stream or file that was read.
    position : int, str, list of int or None
        Position of the last record that was read.
    model : StreamDetector, KeyedDetector or RandomCutForest
    finished : bool
        Whether the partition has been read to its end, as after a split of a Kinesis shard.
    records, anomalies, rejected : int
        Numbers of records, anomalies and rejected messages since the first start.
    details : dict
        State of the worker's parts: the columns, the records of an incomplete window, the end of the output.
    """

    partition: str
    position: Position | None
    model: Any
    finished: bool = False
    records: int = 0
    anomalies: int = 0
    rejected: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    def _state(self) -> dict[str, Any]:
        names = ("partition", "position", "model", "finished", "records", "anomalies", "rejected", "details")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        self = cls(**state)
        counts = (self.records, self.anomalies, self.rejected)
        if type(self.partition) is not str or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError(
                f"partition must be a string and counts whole numbers of at least 0, got {self.partition!r} and {counts}"
            )
        if not isinstance(self.model, Savable) or type(self.finished) is not bool or type(self.details) is not dict:
            raise ValueError("model, finished or details has a type that a worker does not save")
        if not (self.position is None or isinstance(self.position, (int, str, list))):
            raise ValueError(f"{self.position!r} is not a valid position")
        return self
