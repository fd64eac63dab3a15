"""Batches in columns. Most records are read, judged and written column by column, which takes a third of the time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from .records import Message, Position, Record

Column = Sequence[Any] | NDArray[Any]
T = TypeVar("T")


class Lazy(Sequence[T]):
    """A sequence whose items are created when they are accessed."""

    @abstractmethod
    def one(self, i: int) -> T:
        """Item i, 0 <= i < len(self)."""

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[T]: ...
    def __getitem__(self, i: int | slice) -> T | Sequence[T]:
        places = range(len(self))[i]
        return self.one(places) if isinstance(places, int) else [self.one(k) for k in places]

    def __iter__(self) -> Iterator[T]:
        return map(self.one, range(len(self)))


class Lines(Lazy[Message]):
    """Lines of a source as messages.

    Parameters
    ----------
    data : list of bytes
    numbers : sequence of int
        The line numbers in the source.
    ends : sequence of int or None
        The offset in the file after each line; None if the source has no positions.
    inode : int
        Inode number of the file.
    """

    def __init__(self, data: list[bytes], numbers: Sequence[int], ends: Sequence[int] | None, inode: int) -> None:
        self.data, self.numbers = data, numbers
        self._ends, self._inode = ends, inode

    def __len__(self) -> int:
        return len(self.data)

    def one(self, i: int) -> Message:
        line = self.numbers[i]
        position: Position = line if self._ends is None else [self._inode, self._ends[i], line]
        return Message(self.data[i], position, line=line)


class Cells(Protocol):
    """The fields of a batch of records, column by column."""

    form: str
    """The form of the texts: "json" or "csv"."""
    texts: list[str]
    """The original text of each record."""

    def column(self, name: str) -> Sequence[Any]:
        """The values of a field; KeyError if a record does not have it."""

    def fields(self, i: int) -> Mapping[str, Any]:
        """The fields of record i."""

    def any_of(self, names: frozenset[str]) -> bool:
        """Whether a record has a field with one of these names."""


class CsvCells:
    """The cells of lines of CSV that have the same names."""

    form = "csv"

    def __init__(self, texts: list[str], names: list[str], columns: Sequence[Sequence[str]]) -> None:
        self.texts, self.names = texts, names
        self._columns = dict(zip(names, columns, strict=True))

    def column(self, name: str) -> list[str]:
        return list(map(str.strip, self._columns[name]))

    def fields(self, i: int) -> dict[str, str]:
        return {name: column[i].strip() for name, column in self._columns.items()}

    def any_of(self, names: frozenset[str]) -> bool:
        return not names.isdisjoint(self._columns)


class JsonCells:
    """The fields of JSON objects, which may have different names."""

    form = "json"

    def __init__(self, texts: list[str], records: list[dict[str, Any]]) -> None:
        self.texts, self._records = texts, records

    def column(self, name: str) -> list[Any]:
        return [record[name] for record in self._records]

    def fields(self, i: int) -> dict[str, Any]:
        return self._records[i]

    def any_of(self, names: frozenset[str]) -> bool:
        return not all(map(names.isdisjoint, self._records))


class Rows(NamedTuple):
    """The parts of a batch that a model needs; see :class:`rcf.streams.schema.Row`."""

    values: NDArray[np.float64]  # (n, d)
    keys: Sequence[Any] | None
    times: Sequence[float] | None
    stamps: Sequence[Any] | None


class Batch(Lazy[Record]):
    """Records with their results, which are stored as columns."""

    def __init__(self, messages: Sequence[Message], cells: Cells, results: Mapping[str, Column]) -> None:
        self.messages, self.cells, self.results = messages, cells, results

    def __len__(self) -> int:
        return len(self.messages)

    def one(self, i: int) -> Record:
        result = {name: _plain(column[i]) for name, column in self.results.items()}
        return Record(self.messages[i], self.cells.fields(i), self.cells.texts[i], self.cells.form, result)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def data_of(messages: Sequence[Message]) -> list[bytes] | None:
    """The data of the messages if all are text without a fault; otherwise None."""
    if isinstance(messages, Lines):
        return messages.data
    data = [message.data for message in messages if message.fault is None]
    return data if len(data) == len(messages) and set(map(type, data)) == {bytes} else None  # type: ignore[return-value]
