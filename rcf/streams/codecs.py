"""Codecs that convert between bytes and fields: for JSON objects, for lines of CSV, and for sources that have fields."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from ..text.dialect import first_line_is_data, sniff
from .columns import Batch, Cells, Column, CsvCells, JsonCells
from .records import Message, PoisonError, Record, Rejected, StreamError

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


class Codec(Protocol):
    """Decodes messages and encodes records."""

    def decode(self, message: Message) -> Record | None:
        """The record in a message. None if there is none, as in a header line. PoisonError if the message cannot be read."""

    def encode(self, record: Record) -> bytes: ...

    def cells(self, data: list[bytes]) -> Cells | None:
        """The fields of a batch in columns. None if a message needs `decode`. The codec does not change."""
        return None

    def encode_many(self, records: Sequence[Record]) -> bytes:
        return b"".join(map(self.encode, records))

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


def text_of(data: bytes | Mapping[str, str]) -> str:
    """The data of a message as text."""
    if not isinstance(data, bytes):
        return json.dumps(dict(data), ensure_ascii=False)
    return data.decode("utf-8", errors="backslashreplace")


def plain(value: Any) -> Any:
    """Convert a value to one that JSON can express. NaN and the infinities become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _text(message: Message) -> str:
    if not isinstance(message.data, bytes):
        raise TypeError("the source has fields, not text; use the codec Fields")
    data = message.data.removeprefix(BOM_UTF8)  # the codec utf-8-sig takes five times as long
    try:
        return data.decode().strip()
    except UnicodeDecodeError as error:
        raise PoisonError(f"not UTF-8: {error.reason} at byte {error.start}") from error


class Json(Codec):
    """Records that are JSON objects: JSON Lines in files, or one object per Kinesis or Kafka record.

    The output is the original text of the object, to which the columns of the worker are added.
    """

    def decode(self, message: Message) -> Record | None:
        text = _text(message)
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PoisonError(f"not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise PoisonError(f"not a JSON object, but a {type(fields).__name__}")
        if "\\ud" in text or "\\uD" in text:
            try:
                json.dumps(fields, ensure_ascii=False).encode()
            except UnicodeEncodeError as error:
                raise PoisonError("a lone surrogate, such as \\ud800, is not valid text") from error
        if "\n" in text or "\r" in text:
            text = json.dumps(fields, ensure_ascii=False)
        return Record(message, fields, text, "json")

    def encode(self, record: Record) -> bytes:
        if record.form == "json" and record.text is not None:
            text = record.text
        else:
            text = "{" + ",".join(f"{_name(k)}:{_json(v)}" for k, v in record.fields.items()) + "}"
        added = _written(record.result)
        if len(added) > 2:
            separator = ", " if record.fields else ""
            text = text[:-1].rstrip() + separator + added[1:]
        return text.encode() + b"\n"

    def cells(self, data: list[bytes]) -> Cells | None:
        found = _texts(data)
        if found is None or any(mark in found[0] for mark in ("\\ud", "\\uD", "\r")):
            return None
        texts = found[1]
        try:
            records = list(map(json.loads, texts))
        except (ValueError, RecursionError):
            return None
        return JsonCells(texts, records) if set(map(type, records)) == {dict} else None

    def encode_many(self, records: Sequence[Record]) -> bytes:
        if not isinstance(records, Batch) or not records.results:
            return super().encode_many(records)
        cells = records.cells
        texts: Iterable[str] = cells.texts
        if isinstance(cells, CsvCells):
            form = "{" + ",".join(_name(name).replace("%", "%%") + ":%s" for name in cells.names) + "}"
            columns = (map(_json, cells.column(name)) for name in cells.names)
            texts = map(form.__mod__, zip(*columns, strict=True))
        added = "".join(f", {_ENCODER.encode(name)}: ".replace("%", "%%") + "%s" for name in records.results) + "}\n"
        rows = zip(*map(_written_column, records.results.values()), strict=True)
        lines = [text[:-1].rstrip() + added % row for text, row in zip(texts, rows, strict=True)]
        return "".join(lines).encode()

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


def _texts(data: list[bytes]) -> tuple[str, list[str]] | None:
    """`_text` of each message, and all of them in one string. None if they cannot be decoded together."""
    try:
        whole = b"\n".join(data).decode()
    except UnicodeDecodeError:
        return None
    texts = list(map(str.strip, whole.split("\n")))
    return (whole, texts) if len(texts) == len(data) and "\ufeff" not in whole else None


_name = lru_cache(1024)(json.dumps)


def _written(result: Any) -> str:
    """Results as JSON. If a value cannot be expressed in JSON, which is rare, all values are converted with `plain` first."""
    try:
        return _ENCODER.encode(result)
    except ValueError:
        return json.dumps(plain(result), ensure_ascii=False)


def _written_column(values: Column) -> Iterable[str]:
    """`_written` for each value."""
    if isinstance(values, np.ndarray):
        kind, values = values.dtype.kind, values.tolist()
        if kind == "b":
            return ["true" if value else "false" for value in values]
        texts = list(map(repr, values))
        return texts if np.isfinite(values).all() else map(_written, values)
    if isinstance(values, range):
        return map(repr, values)
    return ["null" if value is None else _written(value) for value in values]


def _json(value: Any) -> str:
    """A text field as JSON: a number keeps its digits, and an empty field becomes null."""
    if value == "":
        return "null"
    if isinstance(value, str) and JSON_NUMBER.fullmatch(value):
        return value
    return json.dumps(plain(value), ensure_ascii=False)


class Csv(Codec):
    """Records that are lines of separated fields.

    Parameters
    ----------
    names : list of str or None, default=None
        Names of the columns. By default they are the names in the header, or the numbers from 1 if there is no header.
    header : bool, default=False
        Whether the first line holds the names. Lines that repeat it are skipped. If a later header has the same names in another
        order, the fields of the lines below it are rearranged into the order of the first header.
    delimiter : str, default=","
        The separator of fields.
    """

    def __init__(self, names: list[str] | None = None, *, header: bool = False, delimiter: str = ",") -> None:
        self.names, self.header, self.delimiter = names, header, delimiter
        self._order: list[str] | None = None  # the names in a later header that has another order
        self._columns: list[str] = []  # columns of the output lines

    def fields(self, text: str) -> list[str]:
        """The fields of a line; PoisonError if its quotes are wrong."""
        if '"' not in text:
            return [field.strip() for field in text.split(self.delimiter)]
        try:
            row = next(csv.reader([text], delimiter=self.delimiter, skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise PoisonError(f"not CSV: {error}") from error
        return [field.strip() for field in row]

    def decode(self, message: Message) -> Record | None:
        text = _text(message)
        row = self.fields(text)
        if self.names is None:
            if self.header:
                if len(set(row)) != len(row):
                    raise StreamError(f"the header names a column twice: {text}")
                self.names = row
                return None
            self.names = [str(i) for i in range(1, len(row) + 1)]
        elif self.header and len(row) == len(self.names) and set(row) == set(self.names):
            self._order = None if row == self.names else row
            return None
        if len(row) != len(self.names):
            what = "too few" if len(row) < len(self.names) else "too many"
            raise PoisonError(f"the line has {what} fields: {len(row)} instead of {len(self.names)}")
        if self._order is not None:
            fields = dict(zip(self._order, row, strict=True))
            row = [fields[name] for name in self.names]
            text = self._line(row)
        return Record(message, dict(zip(self.names, row, strict=True)), text, "csv")

    def encode(self, record: Record) -> bytes:
        results = [
            json.dumps(v) if type(v) is list else v for v in record.result.values()
        ]  # None becomes an empty field
        if record.form == "csv" and record.text is not None:
            return (record.text + self.delimiter + self._line(results) + "\n").encode()
        self._columns = self._columns or list(record.fields)
        return (self._line([*map(record.fields.get, self._columns), *results]) + "\n").encode()

    def header_of(self, record: Record) -> bytes:
        """The header line of the output. The fields of the first written record are the columns of all lines."""
        self._columns = list(record.fields)
        return (self._line([*record.fields, *record.result]) + "\n").encode()

    def cells(self, data: list[bytes]) -> Cells | None:
        found, names = _texts(data), self.names
        if found is None or names is None or self._order is not None or '"' in found[0]:
            return None
        texts = found[1]
        columns: list[Sequence[str]] = [texts]
        if len(names) > 1 or self.delimiter in found[0]:
            lines = [text.split(self.delimiter) for text in texts]
            if set(map(len, lines)) != {len(names)}:
                return None
            columns = list(zip(*lines, strict=True))
        cells = CsvCells(texts, names, columns)
        if self.header and not set(names).isdisjoint(cells.column(names[0])):
            return None  # probably a line that repeats the header
        return cells

    def encode_many(self, records: Sequence[Record]) -> bytes:
        if not isinstance(records, Batch) or records.cells.form != "csv" or not records.results:
            return super().encode_many(records)
        rows = _Rows()
        columns = map(_csv_column, records.results.values())
        csv.writer(rows, lineterminator="", delimiter=self.delimiter).writerows(zip(*columns, strict=True))
        mark = self.delimiter
        return "".join([f"{text}{mark}{row}\n" for text, row in zip(records.cells.texts, rows, strict=True)]).encode()

    def _line(self, row: list[Any]) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="", delimiter=self.delimiter).writerow(row)
        return out.getvalue()

    def state(self) -> dict[str, Any]:
        return {"names": self.names, "header": self.header, "delimiter": self.delimiter, "order": self._order}

    def restore(self, state: dict[str, Any]) -> None:
        self.names = state.get("names") or self.names
        self.header = state.get("header", self.header)
        self._order = state.get("order")
        self.delimiter = state.get("delimiter", self.delimiter)


class _Rows(list[str]):
    """The lines that a csv.writer writes for the rows."""

    write = list.append


def _csv_column(values: Column) -> Sequence[Any]:
    """Convert results to the values that a csv.writer accepts. None becomes an empty field."""
    if isinstance(values, np.ndarray):
        found: list[Any] = values.tolist()
        return found
    if isinstance(values, range) or values.count(None) == len(values):
        return values
    return [json.dumps(value) if type(value) is list else value for value in values]


class Recognised(Codec):
    """JSON or CSV, depending on the first line: JSON starts with a brace.

    Parameters
    ----------
    header : bool or None, default=None
        Whether the first line of CSV holds the names. None: it does if none of its cells is a number or a date.
    delimiter : str or None, default=None
        The separator of fields. None recognises it in the first line.

    Attributes
    ----------
    codec : Json or Csv or None
        The recognised codec; None before the first line.
    """

    def __init__(self, *, header: bool | None = None, delimiter: str | None = None) -> None:
        self.header, self.delimiter = header, delimiter
        self.codec: Json | Csv | None = None

    def decode(self, message: Message) -> Record | None:
        if self.codec is None:
            text = _text(message)
            self.codec = Json() if text.startswith("{") else self._csv(text)
        return self.codec.decode(message)

    def _csv(self, line: str) -> Csv:
        delimiter = self.delimiter or sniff([line]).sep
        header = self.header
        if header is None:
            if not line:
                raise PoisonError("the line has only spaces")
            data = first_line_is_data(Csv(delimiter=delimiter).fields(line))
            if data is None:
                raise StreamError(
                    f"the first line may name the columns or be a record: {line[:80]!r}; "
                    "give --header if it names them, --no-header if it is a record"
                )
            header = not data
        return Csv(header=header, delimiter=delimiter)

    def cells(self, data: list[bytes]) -> Cells | None:
        return None if self.codec is None else self.codec.cells(data)

    def encode(self, record: Record) -> bytes:
        return (self.codec or Json()).encode(record)

    def encode_many(self, records: Sequence[Record]) -> bytes:
        return (self.codec or Json()).encode_many(records)

    def state(self) -> dict[str, Any]:
        return {} if self.codec is None else {"csv": isinstance(self.codec, Csv), **self.codec.state()}

    def restore(self, state: dict[str, Any]) -> None:
        if "csv" in state:
            self.codec = Csv() if state["csv"] else Json()
            self.codec.restore(state)


class Fields(Codec):
    """Records of a source that has fields, such as the entries of a Redis stream."""

    def decode(self, message: Message) -> Record | None:
        if isinstance(message.data, bytes):
            raise TypeError("the source has text, not fields; use the codec Json or Csv")
        return Record(message, message.data)

    def encode(self, record: Record) -> bytes:
        return Json().encode(record)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


def dead_letter(rejected: Rejected, most: int | None = None) -> bytes:
    """The JSON that a dead-letter sink writes: the message, its position, and the reason.

    If it would be longer than `most` bytes, the data are truncated, and "cut" holds their original number of characters.
    """
    message, data = rejected.message, text_of(rejected.message.data)
    letter: dict[str, Any] = {"position": message.position}
    if message.line is not None:
        letter["line"] = message.line
    letter |= {"reason": rejected.reason, "data": data}
    if message.key is not None:
        letter["key"] = message.key
    text = _utf8(json.dumps(letter, ensure_ascii=False))
    if most is not None and len(text) >= most:
        letter |= {"data": "", "cut": len(data)}
        room = most - len(_utf8(json.dumps(letter, ensure_ascii=False)))
        letter["data"] = data[: max(0, room // 6 - 1)]  # a character takes up to six bytes in JSON
        text = _utf8(json.dumps(letter, ensure_ascii=False))
    return text + b"\n"


def _utf8(text: str) -> bytes:
    """The text as UTF-8, with lone surrogates escaped as in JSON."""
    return text.encode("utf-8", errors="backslashreplace")
