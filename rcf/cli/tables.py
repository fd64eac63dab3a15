"""The files of the commands: CSV and Parquet longer than memory, a piece at a time, and the names of pictures."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .._core import LIMIT
from ..text.cells import MISSING, NUMBER, CellError, number_like, problem
from ..text.dates import AmbiguousDates, Dates, forms_of
from ..text.dialect import Dialect, first_line_is_data, rows_of, separator, sniff

Floats = NDArray[np.float64]
BLOCK = 1 << 20  # bytes of a CSV file that are read at once
LONGEST = 1 << 26  # bytes in which a quoted cell must end
ROWS = 1 << 14  # of a Parquet file at once
COUNTED = 10  # rows at least, in which a column that counts them shows itself
_BLANK = re.compile(rb"^[ \t]*\r?\n", re.MULTILINE)
_NAMED = ("--header if it names the columns", "--no-header if it is a record")


class TableError(ValueError):
    """A file that is not the table it should be; the message names the place."""


class Piece(NamedTuple):
    """Some rows of a table."""

    rows: NDArray[np.int64]  # their numbers: from 1, after the header, blank lines counted
    cells: pa.Table  # the time and the columns to score, as they stand in the file
    values: Floats  # (n, d); NaN where the value is missing
    times: Floats | None  # seconds since 1970, or the numbers as they stand


class TableReader:
    """The columns of a CSV file (``-``: of standard input) or Parquet file, a piece at a time.

    Iterating gives a :class:`Piece` each time. Memory does not depend on the length of the file.

    Parameters
    ----------
    path : str
        ``-``, or a file; Parquet if the name ends in ``.parquet`` or ``.pq``.
    columns : list of str
        The columns to score; empty: all that hold numbers, but `time`. `notes` names those left out.
    time : str or None
        Column of time stamps.
    time_format : str or None
        How they are written; None recognises it over the whole column.
    encoding : str
        Of a CSV file. A byte-order mark is left out.
    sep, decimal : str or None
        Separator and decimal mark of a CSV file; None recognises them.
    header : bool or None
        Whether the first line names the columns; None recognises it. Without names columns are called by their numbers, from 1.
    missing : bool, default=True
        Whether a value may be missing.

    Attributes
    ----------
    notes : list of str
        What a user should know of how the file was read.
    n_blank : int
        Blank lines so far. They are left out, and counted in the numbers of the rows.
    bytes_read, bytes_total : int
        Of the file; the second is None where it is not known.
    """

    def __init__(
        self,
        path: str,
        columns: list[str],
        time: str | None = None,
        *,
        time_format: str | None = None,
        encoding: str = "utf-8",
        sep: str | None = None,
        decimal: str | None = None,
        header: bool | None = None,
        missing: bool = True,
    ) -> None:
        self.name = "standard input" if path == "-" else path
        self.columns = list(dict.fromkeys(columns))
        if time in self.columns:
            raise TableError(f"{self.name}: column {time!r} is both the time and a column to score")
        self.time = time
        self.bytes_read = 0
        self.bytes_total: int | None = None
        self.notes: list[str] = []
        self.n_blank = 0
        self._chosen = bool(columns)
        self._missing = missing
        self._dates = Dates(time_format)
        self._sep = None if sep is None else separator(sep)
        if decimal not in (None, ".", ","):
            raise ValueError(f"--decimal must be . or , and is {decimal!r}")
        self._decimal = decimal
        self._header = header
        self._encoding = encoding
        self._parquet = Path(path).suffix.lower() in (".parquet", ".pq")
        self._path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._path == "-":
            self._file = sys.stdin.buffer
            return self
        try:
            self._file = open(self._path, "rb")
            self.bytes_total = os.fstat(self._file.fileno()).st_size or None
        except OSError as error:
            raise TableError(f"{self.name}: {error.strerror}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None and self._path != "-":
            self._file.close()

    def __iter__(self) -> Iterator[Piece]:
        assert self._file is not None
        any_row = False
        try:
            for rows, cells in self._parquet_pieces() if self._parquet else self._csv_pieces():
                if not len(rows):
                    continue
                if not any_row:
                    any_row = True
                    self._choose(cells)
                    if self.time is not None:
                        self._recognise(cells.column(self.time))
                wanted = cells.select([*([self.time] if self.time else []), *self.columns])
                values = self._numbers(wanted, rows)
                yield Piece(rows, wanted, values, None if self.time is None else self._times(wanted, rows))
        except UnicodeError as error:
            raise TableError(
                f"{self.name}: not {self._encoding} ({error}); give another --encoding, or, if it is no "
                "CSV file, turn it into CSV or Parquet"
            ) from error
        except LookupError as error:
            raise TableError(f"{self.name}: {error}") from error
        if not any_row:
            raise TableError(f"{self.name}: no rows")

    def remarks(self) -> list[str]:
        """What a user should know of how the file was read, once it is read."""
        lines = f"{self.n_blank} blank lines were" if self.n_blank > 1 else "1 blank line was"
        return [*self.notes, *([f"{lines} left out"] if self.n_blank else [])]

    # ---- Parquet -----------------------------------------------------------------------------------------------

    def _parquet_pieces(self) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        assert self._file is not None
        try:
            file = pq.ParquetFile(self._file)
            names = file.schema_arrow.names
            self._check_names(names)
            # an index of pandas is a column like others here, but nothing to score unless it is named
            index = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
            dropped = {name for name in index if isinstance(name, str)} - {self.time, *self.columns}
            start, wanted = 0, self._wanted() if self._chosen else [name for name in names if name not in dropped]
            for batch in file.iter_batches(ROWS, columns=wanted):
                table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
                start += len(table)
                self.bytes_read = self._file.tell()
                yield np.arange(start - len(table) + 1, start + 1), table
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TableError(f"{self.name}: not a Parquet table ({str(error).strip()})") from error

    def _wanted(self) -> list[str]:
        return [*([self.time] if self.time else []), *self.columns]

    # ---- CSV ---------------------------------------------------------------------------------------------------

    def _csv_pieces(self) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        names: list[str] | None = None
        dialect = Dialect(",", ".")
        number = 1  # of the next row
        for block in self._blocks():
            lines, skipped = _without_blank_lines(block)
            if names is None:
                if not lines:
                    self.n_blank += len(skipped)
                    continue
                dialect = self._sniffed(lines)
                names, lines, header_lines = self._named(lines, dialect)
                # blank lines above the header have no number
                above = next((i for i, at in enumerate(skipped) if at != i), len(skipped))
                self.n_blank += above
                skipped = [at - above - header_lines for at in skipped[above:]]
            self.n_blank += len(skipped)
            if not lines:
                number += len(skipped)
                continue
            table = self._parsed(lines, names, dialect, number, skipped)
            rows = _row_numbers(number, len(table), skipped)
            number += len(table) + len(skipped)
            yield rows, table
        if names is None:
            raise TableError(f"{self.name}: empty")

    def _blocks(self) -> Iterator[bytes]:
        """Whole lines in UTF-8, about BLOCK bytes at a time."""
        assert self._file is not None
        encoding = codecs.lookup(self._encoding).name
        decoder = None if encoding in ("utf-8", "utf-8-sig", "ascii") else codecs.getincrementaldecoder(encoding)()
        rest, first = b"", True
        while True:
            data = self._file.read(BLOCK)
            self.bytes_read += len(data)
            if decoder is not None:
                text = decoder.decode(data, final=not data)
                more = text.encode()
            else:
                more = data
            if first:
                if decoder is None and more[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise TableError(f"{self.name}: not {self._encoding}, it looks like UTF-16: --encoding utf-16")
                more, first = more.removeprefix(codecs.BOM_UTF8), False
            rest += more
            if not data:
                break
            end = rest.rfind(b"\n") + 1
            if rest.count(b'"', 0, end) % 2:  # in a quoted cell: take the line breaks after it, if there are any
                if len(rest) > LONGEST:
                    raise TableError(f"{self.name}: a quoted cell does not end within {LONGEST >> 20} MB")
                continue
            if end:
                yield self._checked(rest[:end])
                rest = rest[end:]
        if rest:
            yield self._checked(rest if rest.endswith(b"\n") else rest + b"\n")

    def _checked(self, block: bytes) -> bytes:
        if not block.isascii():
            block.decode(self._encoding if self._encoding.lower() == "ascii" else "utf-8")
        if b"\0" in block:
            raise TableError(f"{self.name}: not a CSV table (it has NUL bytes); turn it into CSV or Parquet")
        return block

    def _sniffed(self, lines: bytes) -> Dialect:
        text = lines[:BLOCK].decode("utf-8", errors="replace").splitlines()
        if len(lines) > BLOCK:
            text.pop()
        return sniff(text, self._sep, self._decimal)

    def _named(self, lines: bytes, dialect: Dialect) -> tuple[list[str], bytes, int]:
        """The names of the columns, the lines after the header, and how many lines that is."""
        end = lines.find(b"\n") + 1
        while lines.count(b'"', 0, end) % 2 and end < len(lines):
            end = lines.find(b"\n", end) + 1 or len(lines)
        first = rows_of(io.StringIO(lines[:end].decode(), newline="").readlines(), dialect.sep)[0]
        is_data = None if self._header is None else not self._header
        if is_data is None:
            is_data = first_line_is_data(first)
            if is_data is None:
                cell = next(cell for cell in first if number_like(cell) or forms_of(cell))
                raise TableError(
                    f"{self.name}: the first line, {dialect.sep.join(first)!r}, has {cell!r} in it: {' or '.join(_NAMED)}"
                )
            if is_data:
                called = ", ".join(str(i + 1) for i in range(min(len(first), 3))) + (", ..." if len(first) > 3 else "")
                self.notes.append(
                    f"the first line, {dialect.sep.join(first)!r}, holds no names, so it is taken as a record and the "
                    f"columns are called {called} (--header if it names them)"
                )
        numbers = [str(i + 1) for i in range(len(first))]
        names = numbers if is_data else [name or number for name, number in zip(first, numbers, strict=True)]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise TableError(f"{self.name}: the first line names column {twice!r} twice: rename one")
        self._check_names(names)
        return names, lines if is_data else lines[end:], 0 if is_data else 1

    def _parsed(self, lines: bytes, names: list[str], dialect: Dialect, start: int, skipped: list[int]) -> pa.Table:
        wrong: list[Any] = []

        def on_wrong_row(row: Any) -> str:
            wrong.append(row)
            return "error"

        wanted = self._wanted() if self._chosen else names
        try:
            table = pcsv.read_csv(
                io.BytesIO(lines),
                read_options=pcsv.ReadOptions(column_names=names, use_threads=False, block_size=max(len(lines), 1)),
                parse_options=pcsv.ParseOptions(
                    delimiter=dialect.sep, newlines_in_values=b'"' in lines, invalid_row_handler=on_wrong_row
                ),
                convert_options=pcsv.ConvertOptions(
                    column_types={name: pa.string() for name in names}, include_columns=wanted,
                    strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=True,
                ),
            )  # fmt: skip
        except pa.ArrowInvalid as error:
            if not wrong:
                raise TableError(f"{self.name}: not a CSV table ({str(error).strip()})") from error
            (row,) = wrong
            at = _row_numbers(start, row.number or 1, skipped)[-1]
            what = f"{row.actual_columns} cells where {row.expected_columns} columns are named"
            raise TableError(f"{self.name}: row {at} has {what}{self._fix(row, names)}: {row.text[:80]!r}") from error
        self._dialect = dialect
        return table

    def _fix(self, row: Any, names: list[str]) -> str:
        if row.expected_columns == 1 and len(names) == 1:
            for mark, name in ((";", "';'"), ("\t", "tab"), ("|", "'|'")):
                if mark in names[0]:
                    return f"; the cells look separated by {name}: --sep {name}"
        return ""

    # ---- columns -----------------------------------------------------------------------------------------------

    def _check_names(self, names: list[str]) -> None:
        missing = [name for name in self._wanted() if name not in names]
        if missing:
            raise TableError(f"{self.name}: no column {missing[0]!r}; there are {', '.join(map(repr, names))}")

    def _choose(self, cells: pa.Table) -> None:
        """Which columns to score, by the first piece; those left out are named with the reason."""
        if self._chosen:
            return
        self._chosen = True
        left: dict[str, str] = {}
        counts: list[str] = []
        for name in cells.column_names:
            if name == self.time:
                continue
            why = self._why_not(cells.column(name))
            if why is not None:
                left[name] = why
                continue
            self.columns.append(name)
            if _counts_rows(cells.column(name)):
                counts.append(name)
        if counts and len(counts) < len(self.columns):
            self.columns = [name for name in self.columns if name not in counts]
            left |= dict.fromkeys(counts, "counts the rows")
        told = ", ".join(f"{name!r} {why}" for name, why in list(left.items())[:20])
        if not self.columns:
            raise TableError(f"{self.name}: no column of numbers: {told or 'there is none but the time'}")
        if left:
            self.notes.append(f"left out: {told}" + (f" and {len(left) - 20} more" if len(left) > 20 else ""))

    def _why_not(self, column: pa.ChunkedArray) -> str | None:
        """Why a column is not one of numbers; None if it is."""
        kind = column.type
        if pa.types.is_boolean(kind):
            return "holds true and false"
        if pa.types.is_temporal(kind):
            return f"holds times (--time {'NAME' if self.time else 'takes them'})"
        if _is_numeric(kind):
            return None
        if not _is_text(kind):
            return f"holds {kind}"
        values, bad = _numbers_in(column, self._decimal_mark())
        if not bad.any():
            return f"has no value in the first {len(column)} rows" if np.isnan(values).all() else None
        cell = column[int(np.flatnonzero(bad)[0])].as_py()
        if forms_of(cell):
            return f"holds times such as {_short(cell)}" + ("" if self.time else " (--time takes them)")
        if bad.mean() <= 0.5 and np.isfinite(values).any():
            return None  # a column of numbers with a cell that is none, which is named when it is read
        told = problem(cell, self._decimal_mark())
        return (
            f"holds text such as {_short(cell)}" if told == "is not a number" else f"holds {_short(cell)}, which {told}"
        )

    def _decimal_mark(self) -> str:
        return "." if self._parquet else self._dialect.decimal

    def _numbers(self, cells: pa.Table, rows: NDArray[np.int64]) -> Floats:
        values = np.empty((len(cells), len(self.columns)))
        bad = np.zeros(values.shape, dtype=np.bool_)
        for j, name in enumerate(self.columns):
            column = cells.column(name)
            if _is_text(column.type):
                values[:, j], bad[:, j] = _numbers_in(column, self._decimal_mark())
            elif _is_numeric(column.type) or pa.types.is_boolean(column.type):
                values[:, j] = column.cast(pa.float64()).to_numpy()
            else:
                raise TableError(f"{self.name}: column {name!r} holds {column.type}, not numbers")
        empty = np.isnan(values) & ~bad if not self._missing else np.zeros_like(bad)
        wrong = bad | empty | (np.abs(values) > LIMIT)
        if wrong.any():
            i, j = (int(k) for k in np.argwhere(wrong)[0])
            cell = cells.column(self.columns[j])[i].as_py()
            if empty[i, j]:
                told = "a missing value: fill it, or leave the row out"
            elif bad[i, j]:
                told = f"{_short(cell)} {problem(str(cell), self._decimal_mark())}"
            else:
                told = f"{_short(cell)} is not a finite number, or beyond float32 (3.4e38)"
            raise TableError(f"{self.name}: row {rows[i]}, column {self.columns[j]!r}: {told}")
        return values

    # ---- times -------------------------------------------------------------------------------------------------

    def _recognise(self, column: pa.ChunkedArray) -> None:
        """Whether day or month comes first, from as much of the file as it takes."""
        if not _is_text(column.type):
            return
        cells = [cell for cell in column.to_pylist() if cell is not None]
        if self._dates.look(cells):
            return
        if self._path != "-":
            with TableReader(self._path, [self.time or ""], encoding=self._encoding, sep=self._sep,
                             decimal=self._decimal, header=self._header) as again:  # fmt: skip
                pieces = again._parquet_pieces() if again._parquet else again._csv_pieces()
                for i, (_, table) in enumerate(pieces):
                    more = [] if i == 0 else [c for c in table.column(self.time).to_pylist() if c is not None]
                    if self._dates.look(more):
                        return
        try:
            self._dates.settle(next(cell for cell in cells if len(forms_of(cell)) == 2))
        except AmbiguousDates as error:
            raise TableError(f"{self.name}: column {self.time!r}: {error}") from error

    def _times(self, cells: pa.Table, rows: NDArray[np.int64]) -> Floats:
        """Seconds since 1970, or the numbers as they stand."""
        column = cells.column(self.time)
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            micro = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
            times = np.where(column.is_null().to_numpy(), np.nan, micro.fill_null(0).to_numpy() / 1e6)
        elif _is_numeric(kind):
            times = column.cast(pa.float64()).to_numpy()
        elif _is_text(kind):
            try:
                times = self._dates.seconds(column.fill_null("").to_pylist())
            except CellError as error:
                raise TableError(f"{self.name}: row {rows[error.row]}, column {self.time!r}: {error}") from error
            except AmbiguousDates as error:
                raise TableError(f"{self.name}: column {self.time!r}: {error}") from error
            if self._dates.unit in ("ms", "us", "ns") and self._dates.given is None and not self._unit_told:
                self._unit_told = True
                unit = {"ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[self._dates.unit]
                self.notes.append(f"column {self.time!r} is read as {unit} since 1970 (--time-format s for seconds)")
        else:
            raise TableError(f"{self.name}: column {self.time!r} holds {kind}, not times")
        if not np.isfinite(times).all():
            i = int(np.flatnonzero(~np.isfinite(times))[0])
            raise TableError(f"{self.name}: row {rows[i]}, column {self.time!r}: {column[i].as_py()!r} is not a time")
        return np.asarray(times, dtype=np.float64)

    _unit_told = False
    _dialect = Dialect(",", ".")


def _without_blank_lines(block: bytes) -> tuple[bytes, list[int]]:
    """The lines that are not blank, and the numbers of the others, from 0; a blank line within a quoted cell stays."""
    blank = [found.span() for found in _BLANK.finditer(block)]
    if b'"' in block:
        blank = [(start, end) for start, end in blank if block.count(b'"', 0, start) % 2 == 0]
    if not blank:
        return block, []
    kept, numbers, at, lines = [], [], 0, 0
    for start, end in blank:
        kept.append(block[at:start])
        lines += sum(part.count(b"\n") for part in block[at:start].split(b'"')[::2])  # those not in a quoted cell
        numbers.append(lines)
        lines, at = lines + 1, end
    return b"".join([*kept, block[at:]]), numbers


def _row_numbers(start: int, n: int, skipped: list[int]) -> NDArray[np.int64]:
    """The numbers of n rows, of which the first has `start`, where the lines `skipped` (from 0) hold none."""
    if not skipped:
        return np.arange(start, start + n)
    places: NDArray[np.int64] = np.delete(np.arange(n + len(skipped)), [at for at in skipped if at < n + len(skipped)])
    return places[:n] + start


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _numbers_in(column: pa.ChunkedArray, decimal: str) -> tuple[Floats, NDArray[np.bool_]]:
    """The numbers in cells of text, NaN where a value is missing, and which cells are neither.

    It says what :func:`rcf.text.cells.number` says of each cell; the parser of Arrow does it a column at a time.
    """
    cells = column.cast(pa.string())
    if decimal == ".":
        try:
            values = cells.cast(pa.float64()).to_numpy()
            return values, np.isinf(values)
        except pa.ArrowInvalid:
            pass
    text = pc.utf8_trim_whitespace(cells)
    point = text
    if decimal != ".":
        point = pc.if_else(pc.match_substring(text, "."), pa.scalar("?"), pc.replace_substring(text, decimal, "."))
    good = pc.match_substring_regex(point, f"^{NUMBER}$")
    values = pc.if_else(good, point, pa.scalar(None, pa.string())).cast(pa.float64()).to_numpy()
    missing = pc.is_in(pc.utf8_lower(text), value_set=pa.array(sorted(MISSING)))
    bad = ~pc.fill_null(pc.or_(good, missing), True).to_numpy()
    return values, bad | np.isinf(values)


def _counts_rows(column: pa.ChunkedArray) -> bool:
    """Whether each row holds the whole number after that of the row before."""
    if len(column) < COUNTED or pa.types.is_floating(column.type):
        return False
    try:
        numbers = column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return False
    return bool((np.diff(numbers) == 1).all())


def _short(cell: Any) -> str:
    text = str(cell)
    return repr(text if len(text) <= 60 else f"{text[:57]}...") if isinstance(cell, str) else str(cell)


class TableWriter:
    """Write tables to a CSV file (``-``: to standard output) or a Parquet file, which appears when all are written."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._parquet = Path(path).suffix.lower() in (".parquet", ".pq")
        self._part = f"{path}.part"
        self._out: Any = None

    def write(self, table: pa.Table) -> None:
        first = self._out is None
        try:
            if self._parquet:
                if first:
                    self._out = pq.ParquetWriter(self._part, table.schema)
                self._out.write_table(table.cast(self._out.schema))
                return
            if first:
                self._out = sys.stdout.buffer if self._path == "-" else open(self._part, "wb")  # noqa: SIM115 - closed in __exit__
                self._out.write((",".join(map(_quoted, table.column_names)) + "\n").encode())
            rows = memoryview(_csv(table))
            for start in range(
                0, len(rows), 1 << 16
            ):  # in writes that a pipe takes whole, or refuses once its reader has gone
                self._out.write(rows[start : start + (1 << 16)])
        except pa.ArrowInvalid as error:
            raise TableError(f"{self._path}: a column changes its type ({error}); write CSV") from error
        except BrokenPipeError:
            raise
        except OSError as error:
            raise TableError(f"{self._path}: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._out is None:
            return
        if self._path == "-":
            if kind is None:
                self._out.flush()
            return
        self._out.close()
        if kind is None:
            os.replace(self._part, self._path)
        else:
            Path(self._part).unlink(missing_ok=True)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') or text != text.strip() else text


def _csv(table: pa.Table) -> Any:
    """The rows as CSV; the cells of a piece are quoted only where one of them needs it."""
    for quoting in ("none", "needed"):
        out = pa.BufferOutputStream()
        try:
            pcsv.write_csv(table, out, pcsv.WriteOptions(include_header=False, quoting_style=quoting))
        except pa.ArrowInvalid:
            if quoting == "needed":
                raise
            continue
        return out.getvalue()
    raise AssertionError


def check_output(option: str, path: str) -> None:
    """A command looks at the name of a table it is to write before the work, not after; ValueError where it cannot be written."""
    if path == "-":
        return
    if Path(path).suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise ValueError(f"{option} {path}: the name must end in .csv or .parquet, or be - for CSV to standard output")
    if not Path(path).absolute().parent.is_dir():
        raise ValueError(f"{option} {path}: no such folder")


def check_plot(plot: Path) -> None:
    """A command looks at the name of its picture before the work, not after; ValueError where it cannot be written."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ModuleNotFoundError as error:
        raise ValueError('--plot needs matplotlib: python -m pip install "rcf[plot]"') from error
    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if plot.suffix[1:].lower() not in kinds:
        raise ValueError(f"--plot {plot}: the name must end in one of .{', .'.join(kinds)}")
    if not plot.absolute().parent.is_dir():
        raise ValueError(f"--plot {plot}: no such folder")
