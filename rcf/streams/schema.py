"""Schema: which fields of a record are the numbers to score, the key and the time stamp."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ..detector.records import seconds
from .codecs import MISSING
from .protocols import PoisonError, Record

NAN = float("nan")
SOURCE_KEY = "@key"


class Row(NamedTuple):
    """What a model takes of a record."""

    values: list[float]
    key: Hashable
    time: float | None


def number(value: Any, name: str) -> float:
    """A field as a number; NaN where it is missing."""
    if type(value) is float or type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise PoisonError(f"{name!r} is too large: {str(value)[:20]}...") from None
    if value is None:
        return NAN
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            if value.strip().lower() in MISSING:
                return NAN
    raise PoisonError(f"{name!r} is {str(value)[:60]!r}, not a number")


def moment(value: Any, name: str) -> float:
    """A field as a time stamp, in seconds."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                value = datetime.fromisoformat(value.strip())
            except ValueError:
                raise PoisonError(
                    f"{name!r} is {value[:60]!r}, neither a number of seconds nor a date in ISO form"
                ) from None
    try:
        return seconds(value)
    except ValueError as error:
        raise PoisonError(f"{name!r}: {error}") from error


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, (int, float)):
        return True
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return False


class Schema:
    """Which fields are scored, and which are key and time.

    Parameters
    ----------
    columns : sequence of str or None, default=None
        Fields to score. None: those that hold numbers in the first record, without `key` and `time`.
    key : str or None, default=None
        Field that tells streams apart; each value has a detector of its own. ``"@key"`` is the key of the source: the partition
        key of a Kinesis record, the key of a Kafka message.
    time : str or None, default=None
        Field of time stamps: seconds since 1970, or dates in ISO form.
    """

    def __init__(
        self, columns: Sequence[str] | None = None, *, key: str | None = None, time: str | None = None
    ) -> None:
        self.columns = None if columns is None else list(columns)
        self.key, self.time = key, time
        if self.columns is not None and (not self.columns or len(set(self.columns)) != len(self.columns)):
            raise ValueError(f"columns must be names, each once, got {self.columns}")
        for what, name in (("key", key), ("time", time)):
            if name is not None and name in (self.columns or ()):
                raise ValueError(f"{name!r} is both the {what} and a column to score")

    def row(self, record: Record) -> Row:
        """The numbers, key and time of a record; PoisonError where one is absent or cannot be read."""
        fields = record.fields
        columns = self.columns
        if columns is None:
            columns = self._choose(fields)
        try:
            values = [number(fields[name], name) for name in columns]
        except KeyError as error:
            raise PoisonError(self._absent(error.args[0], fields)) from None
        key: Hashable = None
        if self.key == SOURCE_KEY:
            key = record.message.key
        elif self.key is not None:
            if self.key not in fields:
                raise PoisonError(self._absent(self.key, fields))
            key = fields[self.key]
            if isinstance(key, (list, dict)):
                raise PoisonError(f"{self.key!r} is {str(key)[:60]!r}, which cannot be a key")
        time = None
        if self.time is not None:
            if self.time not in fields:
                raise PoisonError(self._absent(self.time, fields))
            time = moment(fields[self.time], self.time)
        self.columns = columns
        return Row(values, key, time)

    @staticmethod
    def _absent(name: str, fields: Mapping[str, Any]) -> str:
        return f"no field {name!r} among {', '.join(map(repr, list(fields)[:20])) or 'none'}"

    def _choose(self, fields: Mapping[str, Any]) -> list[str]:
        chosen = [name for name, value in fields.items() if name not in (self.key, self.time) and _is_number(value)]
        if not chosen:
            raise PoisonError(f"no field holds a number among {', '.join(map(repr, list(fields)[:20])) or 'none'}")
        return chosen
