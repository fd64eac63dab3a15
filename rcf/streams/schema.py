"""Schema: the fields of a record that hold the numbers to score, the key and the time stamp."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from ..detector.records import seconds
from ..text import cells
from ..text.dates import Dates, offset_of
from .columns import Cells, Rows
from .records import PoisonError, Record, StreamError

log = logging.getLogger("rcf.streams")
NAN = float("nan")
SOURCE_KEY = "@key"
DAY = re.compile(r"(19|20)\d{6}")
UNITS = ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6), (float("inf"), 1e-9))  # seconds reach 1e11 in the year 5138


class Row(NamedTuple):
    """The parts of a record that a model needs."""

    values: list[float]
    key: Hashable
    time: float | None  # seconds since 1970; a date without a zone counts as UTC
    # The time as the model takes it. It accepts that a date without a zone is an hour earlier than the last one, because clocks are
    # set back in autumn; it does not accept that of a number.
    stamp: Any = None


def number(value: Any, name: str, decimal: str = ".") -> float:
    """A field as a number; NaN if it is missing."""
    if type(value) is str:
        try:
            found = float(value)
            if isfinite(found) and "_" not in value:
                return found
        except ValueError:
            pass
        try:
            return cells.number(value, decimal)
        except cells.CellError as error:
            raise PoisonError(f"{name!r}: {error}") from None
    if type(value) is float or type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise PoisonError(f"{name!r} is too large: {str(value)[:20]}...") from None
    if value is None:
        return NAN
    raise PoisonError(f"{name!r} is {str(value)[:60]!r}, not a number")


def _plain(stamp: datetime) -> float | datetime:
    """Convert a date in UTC to seconds since 1970, because models process numbers four times as fast. Keep other dates."""
    return stamp.timestamp() if stamp.tzinfo is not None and not stamp.utcoffset() else stamp


def _seconds(stamps: list[float | datetime]) -> list[float]:
    """Seconds since 1970, as `seconds` gives for one stamp."""
    if all(isinstance(stamp, datetime) and stamp.tzinfo is None for stamp in stamps):
        micro: list[int] = np.array(stamps, dtype="datetime64[us]").astype(np.int64).tolist()
        return [one / 10**6 for one in micro]
    return [stamp if type(stamp) is float else seconds(stamp) for stamp in stamps]


def _number_like(value: Any) -> bool:
    """Whether a field is a number, or text that is a number or a missing value."""
    if isinstance(value, str):
        return cells.number_like(value) or (cells.is_missing(value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def numbers(values: Sequence[Any], name: str, decimal: str = ".") -> list[float]:
    """A column of fields as numbers. PoisonError if `number` refuses one of them."""
    if set(map(type, values)) == {str} and "_" not in "".join(values):
        try:
            found = list(map(float, values))
        except ValueError:
            pass  # a word for a missing value, a number with a decimal comma, or text that is not a number
        else:
            if all(map(isfinite, found)):
                return found
    return [number(value, name, decimal) for value in values]


class Schema:
    """Names the fields to score, the key and the time stamp.

    Parameters
    ----------
    columns : sequence of str or None, default=None
        Fields to score. None takes the fields that hold numbers in the first record, except `key` and `time`. A column of CSV can
        also be given by its number, counted from 1.
    key : str or None, default=None
        Field that identifies streams; each value has its own detector. ``"@key"`` is the key of the source: the partition
        key of a Kinesis record, or the key of a Kafka message.
    time : str or None, default=None
        Field with the time stamp: seconds, milliseconds, microseconds or nanoseconds since 1970, or a date.
    time_format : str or None, default=None
        The strptime format of dates, or the unit of numbers: s, ms, us, ns. None recognises the format. Dates such as 01.02.2026
        need a format, because a stream does not show whether the day or the month comes first.
    decimal : {".", ","}, default="."
        The decimal mark of numbers in text fields.
    """

    def __init__(
        self,
        columns: Sequence[str] | None = None,
        *,
        key: str | None = None,
        time: str | None = None,
        time_format: str | None = None,
        decimal: str = ".",
    ) -> None:
        self.columns = None if columns is None else list(columns)
        self.key, self.time, self.decimal = key, time, decimal
        self._dates = Dates(time_format)
        self._resolved = False
        if self.columns is not None and (not self.columns or len(set(self.columns)) != len(self.columns)):
            raise ValueError(f"columns must be names, each once, got {self.columns}")
        for what, name in (("key", key), ("time", time)):
            if name is not None and name in (self.columns or ()):
                raise ValueError(f"{name!r} is both the {what} and a column to score")

    def row(self, record: Record) -> Row:
        """The numbers, key and time of a record. PoisonError if one of them is absent or cannot be read."""
        fields = record.fields
        if not self._resolved and record.form == "csv":
            self._resolve(list(fields))
        columns = self.columns
        if columns is None:
            columns = self._choose(fields)
        try:
            values = [number(fields[name], name, self.decimal) for name in columns]
        except KeyError as error:
            raise PoisonError(_absent(error.args[0], fields)) from None
        key: Hashable = None
        if self.key == SOURCE_KEY:
            key = record.message.key
        elif self.key is not None:
            if self.key not in fields:
                raise PoisonError(_absent(self.key, fields))
            key = fields[self.key]
            if isinstance(key, (list, dict)) or key != key:
                raise PoisonError(f"{self.key!r} is {str(key)[:60]!r}, which cannot be a key")
        time = stamp = None
        if self.time is not None:
            if self.time not in fields:
                raise PoisonError(_absent(self.time, fields))
            stamp = self._stamp(fields[self.time])
            time = seconds(stamp)
        self.columns = columns
        return Row(values, key, time, stamp)

    def rows(self, cells: Cells) -> Rows | None:
        """The numbers, keys and times of a batch. None if `row` must read each record, for example if one is invalid."""
        if self.columns is None or (cells.form == "csv" and not self._resolved) or self.key == SOURCE_KEY:
            return None
        try:
            values = np.array([numbers(cells.column(name), name, self.decimal) for name in self.columns])
            keys = None if self.key is None else cells.column(self.key)
            stamps = None if self.time is None else self._stamps(cells.column(self.time))
        except (KeyError, PoisonError):
            return None
        if keys is not None and any(isinstance(key, (list, dict)) or key != key for key in keys):
            return None
        return Rows(np.ascontiguousarray(values.T), keys, None if stamps is None else _seconds(stamps), stamps)

    def _resolve(self, names: list[str]) -> None:
        """Replace the numbers of CSV columns by their names. StreamError if there is no such column."""

        def name(given: str) -> str:
            if given in names:
                return given
            if given.isdigit() and 1 <= int(given) <= len(names):
                return names[int(given) - 1]
            raise StreamError(f"no column {given!r} among {names}")

        columns = None if self.columns is None else [name(given) for given in self.columns]
        time = None if self.time is None else name(self.time)
        key = self.key if self.key in (None, SOURCE_KEY) else name(str(self.key))
        self.columns, self.time, self.key, self._resolved = columns, time, key, True

    def _choose(self, fields: Mapping[str, Any]) -> list[str]:
        others = [name for name in fields if name not in (self.key, self.time)]
        chosen = [name for name in others if _number_like(fields[name])]
        if not chosen:
            raise PoisonError(f"no field holds a number among {', '.join(map(repr, list(fields)[:20])) or 'none'}")
        left = [name for name in others if name not in chosen]
        if left:
            log.info("scored: %s; not numbers: %s", ", ".join(chosen), ", ".join(left))
        return chosen

    def _stamp(self, value: Any) -> float | datetime:
        """A time stamp: seconds since 1970, or a date that has no zone or a zone other than UTC."""
        try:
            if isinstance(value, datetime):
                return _plain(value)
            if not isinstance(value, str):
                return self._scaled(seconds(value))
            text = value.strip()
            if self._dates.given is None:
                if DAY.fullmatch(text):
                    return datetime.fromisoformat(text)  # a date without a time
                try:
                    return self._scaled(float(value))
                except ValueError:
                    pass
                try:
                    return _plain(datetime.fromisoformat(text))
                except ValueError:
                    pass
            time = self._dates.seconds_of(value)
            if self._dates.numeric:
                return time
            offset = offset_of(value)
            if offset is None:
                return datetime(1970, 1, 1) + timedelta(seconds=time)
            return datetime.fromtimestamp(time, timezone(timedelta(seconds=offset))) if offset else time
        except ValueError as error:
            raise PoisonError(f"{self.time!r}: {error}") from None

    def _stamps(self, values: Sequence[Any]) -> list[float | datetime]:
        """`_stamp` for each value. The dates of most streams have four digits and a dash, which no number has."""
        if self._dates.given is None and all(type(value) is str and value[4:5] == "-" for value in values):
            try:
                return [_plain(datetime.fromisoformat(value)) for value in values]
            except ValueError:
                pass
        return [self._stamp(value) for value in values]

    def _scaled(self, stamp: float) -> float:
        if not isfinite(stamp):
            raise ValueError(f"{stamp} is not a time")
        if self._dates.unit is not None:
            return float(stamp * {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[self._dates.unit])
        return stamp * next(unit for limit, unit in UNITS if abs(stamp) < limit)

    def state(self) -> dict[str, Any]:
        return {"columns": self.columns, "order": self._dates.order}

    def restore(self, state: dict[str, Any], name: str) -> None:
        """Use the columns with which the stream was started. StreamError if other columns were requested."""
        begun = state.get("columns")
        if begun is not None and self.columns is not None and self.columns != begun:
            given = self.columns
            if not all(column in begun or column.isdigit() for column in given) or len(given) != len(begun):
                raise StreamError(f"the checkpoint of {name} was started with the columns {begun}, not {given}")
        self.columns = begun or self.columns
        self._dates.order = state.get("order") or self._dates.order


def _absent(name: str, fields: Mapping[str, Any]) -> str:
    return f"no field {name!r} among {', '.join(map(repr, list(fields)[:20])) or 'none'}"
