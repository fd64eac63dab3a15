"""Write tables as CSV or Parquet, and check the names of plots."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .csvfile import TableError

_SPECIAL = r'[",\r\n]|^\s|\s$'  # characters that require quotes


class TableWriter:
    """Write tables to a CSV file (``-`` is standard output) or a Parquet file. It appears when the last table is written."""

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
            rows = _csv(table)
            # in pieces that a pipe accepts as a whole, or refuses if its reader has ended
            for start in range(0, len(rows), 1 << 16):
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


def _csv(table: pa.Table) -> memoryview:
    """The rows as CSV. A cell is quoted only if necessary."""
    columns = [column.cast(pa.string()).combine_chunks() for column in table.columns]
    for i, column in enumerate(columns):
        special = pc.match_substring_regex(column, _SPECIAL)
        if pc.any(special).as_py():
            doubled = pc.replace_substring(column, '"', '""')
            columns[i] = pc.if_else(special, pc.binary_join_element_wise('"', doubled, '"', ""), column)
    lines = pc.binary_join_element_wise(*columns, ",", null_handling="replace")
    text = pc.binary_join_element_wise(lines, "\n", "").cast(pa.large_string())
    size = int(np.frombuffer(text.buffers()[1], np.int64)[len(text)]) if len(text) else 0
    return memoryview(text.buffers()[2])[:size] if size else memoryview(b"")


def check_output(option: str, path: str) -> None:
    """Raise ValueError if a table cannot be written under this name. Commands call it before any work is done."""
    if path == "-":
        return
    if Path(path).suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise ValueError(f"{option} {path}: the name must end in .csv or .parquet; - writes CSV to standard output")
    if not Path(path).absolute().parent.is_dir():
        raise ValueError(f"{option} {path}: no such folder")


def check_plot(plot: Path) -> None:
    """Raise ValueError if a plot cannot be written under this name. Commands call it before any work is done."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ModuleNotFoundError as error:
        raise ValueError('--plot needs matplotlib: python -m pip install "rcf[plot]"') from error
    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if plot.suffix[1:].lower() not in kinds:
        raise ValueError(f"--plot {plot}: the name must end in one of .{', .'.join(kinds)}")
    if not plot.absolute().parent.is_dir():
        raise ValueError(f"--plot {plot}: no such folder")
