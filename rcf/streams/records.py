"""The objects that a worker handles: messages of a source, records, and messages that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Position = int | str | list[int]  # JSON, so that checkpoints and outputs can hold it


class StreamError(RuntimeError):
    """The stream cannot continue, for example because another worker has taken over its state."""


class PoisonError(ValueError):
    """One record cannot be used. The stream continues with the next record."""


@dataclass(slots=True)
class Message:
    """One record in the form that the source has.

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
        The reason why the message cannot be used, if the source has found one.
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
    form: str | None = None  # the form of the text: "json" or "csv"
    result: dict[str, Any] = field(default_factory=dict)  # the columns that the worker adds


@dataclass(slots=True)
class Rejected:
    """A message that could not be used, and the reason."""

    message: Message
    reason: str
