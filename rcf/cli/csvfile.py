"""Read CSV files in pieces of whole lines."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
from numpy.typing import NDArray

from ..text.cells import number_like
from ..text.dates import forms_of
from ..text.dialect import Dialect, first_line_is_data, rows_of, separator, sniff

BLOCK = 1 << 20  # bytes per read
LONGEST = 1 << 26  # longest quoted cell in bytes
_BLANK = re.compile(rb"^[ \t]*\r?\n", re.MULTILINE)
_NAMED = ("--header if it names the columns", "--no-header if it is a record")


class TableError(ValueError):
    """The file is not a valid table; the message names the place."""


class CsvFile:
    """The rows of a CSV file.

    Parameters
    ----------
    file : binary file
    name : str
        Name of the file in error messages.
    size : int or None
        Length of the file in bytes, if it is known.
    encoding : str
        A byte-order mark is skipped.
    sep, decimal : str or None
        Separator and decimal mark; None recognises them.
    header : bool or None
        Whether the first line names the columns; None recognises it. Columns without names are identified by their numbers, from 1.

    Attributes
    ----------
    dialect : Dialect
    done : float or None
        The share of the file that has been returned so far.
    n_blank : int
        Number of blank lines so far. They are skipped, but counted in the row numbers.
    notes : list of str
        Notes for the user on how the file was read.
    """

    def __init__(
        self, file: BinaryIO, name: str, size: int | None, *, encoding: str, sep: str | None, decimal: str | None,
        header: bool | None,
    ) -> None:  # fmt: skip
        self.dialect = Dialect(",", ".")
        self.done: float | None = None
        self.n_blank = 0
        self.notes: list[str] = []
        self._file, self._name, self._size = file, name, size
        self._encoding = encoding
        self._sep = None if sep is None else separator(sep)
        if decimal not in (None, ".", ","):
            raise ValueError(f"--decimal must be '.' or ',', got {decimal!r}")
        self._decimal = decimal
        self._header = header

    def pieces(self, wanted: Callable[[list[str]], list[str]]) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """Yield row numbers and text cells, in pieces of BLOCK bytes. `wanted` selects columns from the list of their names."""
        names: list[str] | None = None
        number = 1  # number of the next row
        for block in self._blocks():
            lines, skipped = _without_blank_lines(block)
            if names is None:
                if not lines:
                    self.n_blank += len(skipped)
                    continue
                self.dialect = self._sniffed(lines)
                names, lines, header_lines = self._named(lines)
                columns = wanted(names)
                # blank lines above the header are not numbered
                above = next((i for i, at in enumerate(skipped) if at != i), len(skipped))
                self.n_blank += above
                skipped = [at - above - header_lines for at in skipped[above:]]
            self.n_blank += len(skipped)
            if not lines:
                number += len(skipped)
                continue
            table = self._parsed(lines, names, columns, number, skipped)
            rows = _row_numbers(number, len(table), skipped)
            number += len(table) + len(skipped)
            yield rows, table
        if names is None:
            raise TableError(f"{self._name}: empty")

    def _blocks(self) -> Iterator[bytes]:
        """Yield pieces of whole lines in UTF-8, each of about BLOCK bytes."""
        encoding = codecs.lookup(self._encoding).name
        decoder = None if encoding in ("utf-8", "utf-8-sig", "ascii") else codecs.getincrementaldecoder(encoding)()
        rest, first, read = b"", True, 0
        while True:
            data = self._file.read(BLOCK)
            read += len(data)
            if decoder is not None:
                text = decoder.decode(data, final=not data)
                more = text.encode()
            else:
                more = data
            if first:
                if decoder is None and more[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise TableError(
                        f"{self._name}: not {self._encoding}; it looks like UTF-16: give --encoding utf-16"
                    )
                more, first = more.removeprefix(codecs.BOM_UTF8), False
            rest += more
            if not data:
                break
            end = rest.rfind(b"\n") + 1
            if rest.count(b'"', 0, end) % 2:
                # the piece ends in a quoted cell: find the first line break after the cell
                if len(rest) > LONGEST:
                    raise TableError(f"{self._name}: a quoted cell does not end within {LONGEST >> 20} MB")
                continue
            if end:
                block, rest = rest[:end], rest[end:]
                if self._size:
                    self.done = min(1.0, (read - len(rest)) / self._size)
                yield self._checked(block)
        if self._size:
            self.done = 1.0
        if rest:
            yield self._checked(rest if rest.endswith(b"\n") else rest + b"\n")

    def _checked(self, block: bytes) -> bytes:
        if not block.isascii():
            block.decode(self._encoding if self._encoding.lower() == "ascii" else "utf-8")
        if b"\0" in block:
            raise TableError(f"{self._name}: not a CSV table (it has NUL bytes); turn it into CSV or Parquet")
        return block

    def _sniffed(self, lines: bytes) -> Dialect:
        text = lines[:BLOCK].decode("utf-8", errors="replace").splitlines()
        if len(lines) > BLOCK:
            text.pop()
        return sniff(text, self._sep, self._decimal)

    def _named(self, lines: bytes) -> tuple[list[str], bytes, int]:
        """The names of the columns, the lines after the header, and the number of header lines."""
        end = lines.find(b"\n") + 1
        while lines.count(b'"', 0, end) % 2 and end < len(lines):
            end = lines.find(b"\n", end) + 1 or len(lines)
        first = rows_of(io.StringIO(lines[:end].decode(), newline="").readlines(), self.dialect.sep)[0]
        is_data = None if self._header is None else not self._header
        if is_data is None:
            is_data = first_line_is_data(first)
            if is_data is None:
                cell = next(cell for cell in first if number_like(cell) or forms_of(cell))
                raise TableError(
                    f"{self._name}: the first line, {self.dialect.sep.join(first)!r}, has {cell!r} in it: {' or '.join(_NAMED)}"
                )
            if is_data:
                called = ", ".join(str(i + 1) for i in range(min(len(first), 3))) + (", ..." if len(first) > 3 else "")
                self.notes.append(
                    f"the first line, {self.dialect.sep.join(first)!r}, holds no names, so it is taken as a record and the "
                    f"columns are called {called} (--header if it names them)"
                )
        numbers = [str(i + 1) for i in range(len(first))]
        names = numbers if is_data else [name or number for name, number in zip(first, numbers, strict=True)]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise TableError(f"{self._name}: the first line names column {twice!r} twice: rename one")
        return names, lines if is_data else lines[end:], 0 if is_data else 1

    def _parsed(self, lines: bytes, names: list[str], columns: list[str], start: int, skipped: list[int]) -> pa.Table:
        wrong: list[Any] = []

        def on_wrong_row(row: Any) -> str:
            wrong.append(row)
            return "error"

        try:
            table = pcsv.read_csv(
                io.BytesIO(lines),
                read_options=pcsv.ReadOptions(column_names=names, use_threads=False, block_size=max(len(lines), 1)),
                parse_options=pcsv.ParseOptions(
                    delimiter=self.dialect.sep, newlines_in_values=b'"' in lines, invalid_row_handler=on_wrong_row
                ),
                convert_options=pcsv.ConvertOptions(
                    column_types={name: pa.string() for name in names}, include_columns=columns,
                    strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=True,
                ),
            )  # fmt: skip
        except pa.ArrowInvalid as error:
            if not wrong:
                raise TableError(f"{self._name}: not a CSV table ({str(error).strip()})") from error
            (row,) = wrong
            at = _row_numbers(start, row.number or 1, skipped)[-1]
            cells = "1 cell" if row.actual_columns == 1 else f"{row.actual_columns} cells"
            named = "1 column is" if len(names) == 1 else f"{len(names)} columns are"
            what = f"{cells} where {named} named"
            raise TableError(f"{self._name}: row {at} has {what}{self._fix(row, names)}: {row.text[:80]!r}") from error
        return table

    def _fix(self, row: Any, names: list[str]) -> str:
        if row.expected_columns == 1 and len(names) == 1:
            for mark, name in ((";", "';'"), ("\t", "tab"), ("|", "'|'")):
                if mark in names[0]:
                    return f"; the cells look separated by {name}: --sep {name}"
        return ""


def _without_blank_lines(block: bytes) -> tuple[bytes, list[int]]:
    """The lines that are not blank, and the numbers of the blank lines, from 0. Blank lines within quoted cells are kept."""
    blank = [found.span() for found in _BLANK.finditer(block)]
    if b'"' in block:
        blank = [(start, end) for start, end in blank if block.count(b'"', 0, start) % 2 == 0]
    if not blank:
        return block, []
    kept, numbers, at, lines = [], [], 0, 0
    for start, end in blank:
        kept.append(block[at:start])
        lines += sum(part.count(b"\n") for part in block[at:start].split(b'"')[::2])  # line breaks outside quoted cells
        numbers.append(lines)
        lines, at = lines + 1, end
    return b"".join([*kept, block[at:]]), numbers


def _row_numbers(start: int, n: int, skipped: list[int]) -> NDArray[np.int64]:
    """The numbers of n rows, starting with `start`. The lines whose numbers (from 0) are in `skipped` hold no row."""
    if not skipped:
        return np.arange(start, start + n)
    places: NDArray[np.int64] = np.delete(np.arange(n + len(skipped)), [at for at in skipped if at < n + len(skipped)])
    return places[:n] + start
