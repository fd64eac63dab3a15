"""Read CSV and Parquet files piece by piece, so that they may be larger than memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .._core import LIMIT
from ..text.cells import MISSING, NUMBER, problem
from ..text.dates import forms_of
from .csvfile import CsvFile, TableError
from .times import TimeColumn, is_numeric, is_text

Floats = NDArray[np.float64]
ROWS = 1 << 12  # rows per piece
COUNTED = 10  # a column is recognised as a row counter only if it has at least this many rows


class Piece(NamedTuple):
    """Some rows of a table."""

    rows: NDArray[np.int64]  # row numbers, from 1 after the header, including blank lines
    cells: pa.Table  # the time, the key and the columns to score, as in the file
    values: Floats  # (n, d); NaN if the value is missing
    times: Floats | None  # seconds since 1970, or the original numbers
    stamps: Any  # the time stamps for a detector: dates with a zone, dates without one, or numbers
    done: float | None  # the share of the file up to the end of the piece; None if unknown
    keys: pa.DictionaryArray | None = None  # the series of each row, if the file has several

    def by_key(self) -> Iterator[tuple[str, NDArray[np.intp]]]:
        """Yield each key and the positions of its rows, in the order of first occurrence."""
        assert self.keys is not None
        codes = self.keys.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        edges = np.flatnonzero(np.diff(codes[order])) + 1
        for at in sorted(np.split(order, edges), key=lambda at: int(at[0])):
            yield self.keys.dictionary[int(codes[at[0]])].as_py(), at

    def part(self, at: NDArray[np.intp]) -> Piece:
        """The rows at the positions `at`."""
        times = None if self.times is None else self.times[at]
        stamps = self.stamps
        if stamps is not None:
            stamps = stamps[at] if isinstance(stamps, np.ndarray) else [stamps[i] for i in at.tolist()]
        return Piece(self.rows[at], self.cells.take(at), self.values[at], times, stamps, self.done)


class TableReader:
    """Reads the columns of a CSV file (``-`` is standard input) or a Parquet file piece by piece.

    Iterating yields objects of :class:`Piece`. The memory does not depend on the length of the file.

    Parameters
    ----------
    path : str
        ``-`` or the name of a file. It is a Parquet file if the name ends in ``.parquet`` or ``.pq``.
    columns : list of str
        The columns to score. If empty, all columns that hold numbers, except `time` and `key`; `notes` lists the others.
    time : str or None
        Column of time stamps.
    key : str or None
        Column that identifies the series; an empty cell is a key like any other.
    time_format : str or None
        Format of the time stamps; None recognises it from the whole column.
    encoding : str
        Encoding of a CSV file. A byte-order mark is skipped.
    sep, decimal : str or None
        Separator and decimal mark of a CSV file; None recognises them.
    header : bool or None
        Whether the first line names the columns; None recognises it. Columns without names are identified by their numbers, from 1.
    missing : bool, default=True
        Whether values may be missing.

    Attributes
    ----------
    notes : list of str
        Notes for the user on how the file was read.
    """

    def __init__(
        self,
        path: str,
        columns: list[str],
        time: str | None = None,
        *,
        key: str | None = None,
        time_format: str | None = None,
        encoding: str = "utf-8",
        sep: str | None = None,
        decimal: str | None = None,
        header: bool | None = None,
        missing: bool = True,
    ) -> None:
        self.name = "standard input" if path == "-" else path
        self.columns = list(dict.fromkeys(columns))
        for what, name in (("time", time), ("key", key)):
            if name in self.columns:
                raise TableError(f"{self.name}: column {name!r} is both the {what} and a column to score")
        if time is not None and time == key:
            raise TableError(f"{self.name}: column {time!r} is both the time and the key")
        self.time, self.key = time, key
        self.notes: list[str] = []
        self._chosen = bool(columns)
        self._missing = missing
        self._clock = None if time is None else TimeColumn(self.name, time, time_format)
        self._options: dict[str, Any] = {"encoding": encoding, "sep": sep, "decimal": decimal, "header": header}
        self._csv: CsvFile | None = None
        self._parquet = Path(path).suffix.lower() in (".parquet", ".pq")
        self._path = path
        self._size: int | None = None
        self._done = 0.0
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._path == "-":
            self._file = sys.stdin.buffer
            return self
        try:
            self._file = open(self._path, "rb")
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise TableError(f"{self.name}: {error.strerror}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None and self._path != "-":
            self._file.close()

    def __iter__(self) -> Iterator[Piece]:
        assert self._file is not None
        any_row, before = False, 0.0
        try:
            for rows, cells in self._pieces():
                if not len(rows):
                    continue
                if not any_row:
                    any_row = True
                    self._choose(cells)
                    if self._clock is not None:
                        self._clock.recognise(cells.column(self.time), self._later_times)
                wanted = cells.select(self._wanted())
                keys = None if self.key is None else _keys_of(wanted.column(self.key))
                values = self._numbers(wanted, rows)
                times: Floats | None = None
                stamps: Any = None
                if self._clock is not None:
                    times, stamps = self._clock.read(wanted.column(self.time), rows)
                share = self._share
                for i in range(0, len(rows), ROWS):
                    part = slice(i, i + ROWS)
                    done = None if share is None else before + (share - before) * min(1.0, (i + ROWS) / len(rows))
                    now, stamp = (None, None) if times is None else (times[part], stamps[part])
                    own = None if keys is None else keys[part]
                    yield Piece(rows[part], wanted.slice(i, ROWS), values[part], now, stamp, done, own)
                before = share or 0.0
        except UnicodeError as error:
            raise TableError(
                f"{self.name}: not {self._options['encoding']} ({error}); use another --encoding or, if it is not a "
                "CSV file, turn it into CSV or Parquet"
            ) from error
        except LookupError as error:
            raise TableError(f"{self.name}: {error}") from error
        if not any_row:
            raise TableError(f"{self.name}: no rows")

    def remarks(self) -> list[str]:
        """Notes for the user on how the file was read. They are complete when the whole file was read."""
        own = [*self.notes, *(self._clock.notes if self._clock else [])]
        if self._csv is None:
            return own
        n = self._csv.n_blank
        lines = [f"{n} blank lines were left out" if n > 1 else "1 blank line was left out"] if n else []
        return [*self._csv.notes, *own, *lines]

    def _pieces(self) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        assert self._file is not None
        if self._parquet:
            return self._parquet_pieces()
        self._csv = CsvFile(self._file, self.name, self._size, **self._options)
        return self._csv.pieces(self._taken)

    @property
    def _share(self) -> float | None:
        return self._csv.done if self._csv is not None else self._done

    def _later_times(self) -> Iterator[list[str]]:
        """Yield the cells of the time column after the first piece, if the file can be read twice."""
        if self._path == "-":
            return
        with TableReader(self._path, [self.time or ""], **self._options) as again:
            for _, table in islice(again._pieces(), 1, None):
                yield [cell for cell in table.column(self.time).to_pylist() if cell is not None]

    def _taken(self, names: list[str]) -> list[str]:
        """The columns to read, from the names of all columns."""
        self._check_names(names)
        return self._wanted() if self._chosen else names

    # ---- Parquet -----------------------------------------------------------------------------------------------

    def _parquet_pieces(self) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        assert self._file is not None
        try:
            file = pq.ParquetFile(self._file)
            names = file.schema_arrow.names
            taken = self._taken(names)
            # the index of a pandas frame is an ordinary column here, but it is scored only if the user names it
            index = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
            dropped = {name for name in index if isinstance(name, str)} - {self.time, self.key, *self.columns}
            start, taken = 0, [name for name in taken if name not in dropped]
            for batch in file.iter_batches(4 * ROWS, columns=taken):
                table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
                start += len(table)
                self._done = start / file.metadata.num_rows
                yield np.arange(start - len(table) + 1, start + 1), table
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TableError(f"{self.name}: not a Parquet table ({str(error).strip()})") from error

    def _wanted(self) -> list[str]:
        return [name for name in (self.time, self.key) if name] + self.columns

    # ---- columns -----------------------------------------------------------------------------------------------

    def _check_names(self, names: list[str]) -> None:
        missing = [name for name in self._wanted() if name not in names]
        if missing:
            raise TableError(f"{self.name}: no column {missing[0]!r}; there are {', '.join(map(repr, names))}")

    def _choose(self, cells: pa.Table) -> None:
        """Choose the columns to score from the first piece. `notes` names the other columns and the reasons."""
        if self._chosen:
            return
        self._chosen = True
        left_out: dict[str, str] = {}
        counts: list[str] = []
        for name in cells.column_names:
            if name in (self.time, self.key):
                continue
            why = self._why_not(cells.column(name))
            if why is not None:
                left_out[name] = why
                continue
            self.columns.append(name)
            if _counts_rows(cells.column(name)):
                counts.append(name)
        if counts and len(counts) < len(self.columns):
            self.columns = [name for name in self.columns if name not in counts]
            left_out |= dict.fromkeys(counts, "counts the rows")
        reasons = ", ".join(f"{name!r} {why}" for name, why in list(left_out.items())[:20])
        if not self.columns:
            raise TableError(f"{self.name}: no column of numbers: {reasons or 'the only column holds the time'}")
        if left_out:
            self.notes.append(
                f"left out: {reasons}" + (f" and {len(left_out) - 20} more" if len(left_out) > 20 else "")
            )

    def _why_not(self, column: pa.ChunkedArray) -> str | None:
        """The reason why a column does not hold numbers; None if it does."""
        kind = column.type
        if pa.types.is_boolean(kind):
            return "holds true and false"
        if pa.types.is_temporal(kind):
            return f"holds times (--time {'NAME' if self.time else 'takes them'})"
        if is_numeric(kind):
            return None
        if not is_text(kind):
            return f"holds {kind}"
        values, bad = _numbers_in(column, self._decimal_mark())
        if not bad.any():
            return f"has no value in the first {len(column)} rows" if np.isnan(values).all() else None
        cell = column[int(np.flatnonzero(bad)[0])].as_py()
        if forms_of(cell):
            return f"holds times such as {_short(cell)}" + ("" if self.time else " (--time takes them)")
        if bad.mean() <= 0.5 and np.isfinite(values).any():
            return None  # a column of numbers with invalid cells, which raise an error when they are read
        reason = problem(cell, self._decimal_mark())
        return (
            f"holds text such as {_short(cell)}"
            if reason == "is not a number"
            else f"holds {_short(cell)}, which {reason}"
        )

    def _decimal_mark(self) -> str:
        return "." if self._csv is None else self._csv.dialect.decimal

    def _numbers(self, cells: pa.Table, rows: NDArray[np.int64]) -> Floats:
        values = np.empty((len(cells), len(self.columns)))
        bad = np.zeros(values.shape, dtype=np.bool_)
        for j, name in enumerate(self.columns):
            column = cells.column(name)
            if is_text(column.type):
                values[:, j], bad[:, j] = _numbers_in(column, self._decimal_mark())
            elif is_numeric(column.type) or pa.types.is_boolean(column.type):
                values[:, j] = column.cast(pa.float64()).to_numpy()
            else:
                raise TableError(f"{self.name}: column {name!r} holds {column.type}, not numbers")
        empty = np.isnan(values) & ~bad if not self._missing else np.zeros_like(bad)
        wrong = bad | empty | (np.abs(values) > LIMIT)
        if wrong.any():
            i, j = (int(k) for k in np.argwhere(wrong)[0])
            cell = cells.column(self.columns[j])[i].as_py()
            if empty[i, j]:
                reason = "a missing value: replace it with --fill, or leave the row out"
            elif bad[i, j]:
                reason = f"{_short(cell)} {problem(str(cell), self._decimal_mark())}"
            else:
                reason = f"{_short(cell)} is not a finite number, or beyond float32 (3.4e38)"
            raise TableError(f"{self.name}: row {rows[i]}, column {self.columns[j]!r}: {reason}")
        return values


def _numbers_in(column: pa.ChunkedArray, decimal: str) -> tuple[Floats, NDArray[np.bool_]]:
    """The numbers in text cells (NaN for missing values), and a mask of the cells that are neither.

    Each result is that of :func:`rcf.text.cells.number`, but Arrow's parser processes a whole column at once.
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


def _keys_of(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The keys in a column. Keys are texts, and an empty cell is a key like any other."""
    texts = column.cast(pa.string()).fill_null("")
    return texts.combine_chunks().dictionary_encode()


def _counts_rows(column: pa.ChunkedArray) -> bool:
    """Whether each row holds the number of the previous row plus one."""
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
