"""The files of the commands: CSV and Parquet longer than memory, a piece at a time, and the names of pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ROWS = 4096  # to a piece


class TableError(ValueError):
    """A file that is not the table it should be; the message names the place."""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class TableReader:
    """The columns of a CSV file (``-``: of standard input) or Parquet file, `ROWS` rows at a time.

    Iterating gives pairs of the frame as it stands in the file and its numeric columns as an array ``(rows, n_columns)``. Memory
    does not depend on the length of the file.

    Parameters
    ----------
    path : str
        ``-``, or a file; Parquet if the name ends in ``.parquet`` or ``.pq``.
    columns : list of str
        The columns to score; empty: all numeric ones but `time`.
    time : str or None
        A further column to read, of any type.
    encoding : str
        Of a CSV file.
    """

    def __init__(self, path: str, columns: list[str], time: str | None = None, *, encoding: str = "utf-8") -> None:
        self.name = "standard input" if path == "-" else path
        self.columns = list(dict.fromkeys(columns))
        if time in self.columns:
            raise TableError(f"{self.name}: column {time!r} is both the time and a column to score")
        self.time = time
        self.bytes_read = 0
        self.bytes_total: int | None = None
        self._encoding = encoding
        self._parquet = Path(path).suffix.lower() in (".parquet", ".pq")
        self._path = path
        self._index: list[str] = []
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

    def __iter__(self) -> Iterator[tuple[pd.DataFrame, NDArray[np.float64]]]:
        start = 0
        for frame in self._frames():
            if frame.empty:
                continue
            if start == 0:
                self._choose(frame)
            frame = frame[[*([self.time] if self.time else []), *self.columns]]
            yield frame, self._numbers(frame, start)
            start += len(frame)
        if start == 0:
            raise TableError(f"{self.name}: no rows")

    def _frames(self) -> Iterator[pd.DataFrame]:
        assert self._file is not None
        try:
            if self._parquet:
                table = pq.ParquetFile(self._file)
                # an index of pandas is a column like others here, but nothing to score unless it is named
                index = (table.schema_arrow.pandas_metadata or {}).get("index_columns", [])
                self._index = [name for name in index if isinstance(name, str)]
                self._check_names(table.schema_arrow.names)
                wanted = [*([self.time] if self.time else []), *self.columns] if self.columns else None
                for batch in table.iter_batches(ROWS, columns=wanted):
                    self.bytes_read = self._file.tell()
                    yield batch.to_pandas(ignore_metadata=True)
                return
            # str columns stay as they are written; a number with a stray letter is found in _numbers
            pieces = pd.read_csv(self._file, chunksize=ROWS, encoding=self._encoding, skipinitialspace=True)
            with pieces:
                for i, frame in enumerate(pieces):
                    if i == 0:
                        self._check_names([str(name) for name in frame.columns])
                        if not isinstance(frame.index, pd.RangeIndex):
                            raise TableError(f"{self.name}: rows have more cells than the header has names")
                    if self.bytes_total:
                        self.bytes_read = self._file.tell()
                    yield frame
        except UnicodeError as error:
            raise TableError(
                f"{self.name}: not {self._encoding} ({error}); give another --encoding, or, if it is no "
                "CSV file, turn it into CSV or Parquet"
            ) from error
        except LookupError as error:
            raise TableError(f"{self.name}: {error}") from error
        except pd.errors.EmptyDataError as error:
            raise TableError(f"{self.name}: empty") from error
        except pd.errors.ParserError as error:
            raise TableError(f"{self.name}: not a CSV table ({str(error).strip()})") from error
        except pa.ArrowInvalid as error:
            raise TableError(f"{self.name}: not a Parquet table ({str(error).strip()})") from error

    def _check_names(self, names: list[str]) -> None:
        wanted = [*([self.time] if self.time else []), *self.columns]
        missing = [name for name in wanted if name not in names]
        if names and all(_is_number(name) for name in names):
            raise TableError(f"{self.name}: the first line must name the columns, and is {','.join(names)!r}")
        if missing:
            raise TableError(f"{self.name}: no column {missing[0]!r}; there are {', '.join(map(repr, names))}")

    def _choose(self, frame: pd.DataFrame) -> None:
        if not self.columns:
            numeric = frame.select_dtypes("number").columns
            self.columns = [str(name) for name in numeric if name not in (self.time, *self._index)]
            if not self.columns:
                names = ", ".join(repr(str(name)) for name in frame.columns)
                if len(frame.columns) == 1 and set(";|\t") & set(str(frame.columns[0])):
                    raise TableError(f"{self.name}: the only column is {names}; cells must have commas between them")
                raise TableError(f"{self.name}: no column of numbers among {names}; name one with --columns")

    def _numbers(self, frame: pd.DataFrame, start: int) -> NDArray[np.float64]:
        values = np.empty((len(frame), len(self.columns)))
        for j, name in enumerate(self.columns):
            values[:, j] = pd.to_numeric(frame[name], errors="coerce")
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, j = bad[0]
            cell = frame[self.columns[j]].iloc[row]
            what = "an empty cell: fill it, or leave the row out" if pd.isna(cell) else f"{cell!r}, not a finite number"
            raise TableError(f"{self.name}: row {start + row + 1}, column {self.columns[j]!r}: {what}")
        return values


class TableWriter:
    """Write frames to a CSV file (``-``: to standard output) or a Parquet file, which appears when all are written."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._parquet = Path(path).suffix.lower() in (".parquet", ".pq")
        self._part = f"{path}.part"
        self._out: Any = None

    def write(self, frame: pd.DataFrame) -> None:
        first = self._out is None
        try:
            if self._parquet:
                table = pa.Table.from_pandas(frame, preserve_index=False)
                if first:
                    self._out = pq.ParquetWriter(self._part, table.schema)
                self._out.write_table(table.cast(self._out.schema))
                return
            if first and self._path == "-":
                self._out = sys.stdout
            elif first:
                self._out = open(self._part, "w", encoding="utf-8", newline="")  # noqa: SIM115 - closed in __exit__
        except pa.ArrowInvalid as error:
            raise TableError(f"{self._path}: a column changes its type ({error}); write CSV") from error
        except OSError as error:
            raise TableError(f"{self._path}: {error.strerror or error}") from error
        frame.to_csv(self._out, header=first, index=False, lineterminator="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._path == "-" or self._out is None:
            return
        self._out.close()
        if kind is None:
            os.replace(self._part, self._path)
        else:
            Path(self._part).unlink(missing_ok=True)


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
