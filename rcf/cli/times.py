"""Recognise the format of the time stamps of a table, and convert them for a detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..text.cells import CellError
from ..text.dates import AmbiguousDates, Dates, forms_of, offset_of
from .csvfile import TableError

Floats = NDArray[np.float64]
UNITS = {"ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


class TimeColumn:
    """The column of time stamps of a table.

    Parameters
    ----------
    source, name : str
        Names of the file and of the column, for error messages.
    form : str or None
        The format that the user gave; None recognises it.

    Attributes
    ----------
    notes : list of str
        Notes for the user on how the column was read.
    """

    def __init__(self, source: str, name: str, form: str | None) -> None:
        self.notes: list[str] = []
        self._source, self._name = source, name
        self._dates = Dates(form)

    def recognise(self, first: pa.ChunkedArray, later: Callable[[], Iterable[list[str]]]) -> None:
        """Determine whether the day or the month comes first, from the first cells and as many later cells as necessary."""
        if not is_text(first.type):
            return
        cells = [cell for cell in first.to_pylist() if cell is not None]
        if self._dates.look(cells):
            return
        for more in later():
            if self._dates.look(more):
                return
        try:
            self._dates.settle(next(cell for cell in cells if len(forms_of(cell)) == 2))
        except AmbiguousDates as error:
            raise TableError(f"{self._source}: column {self._name!r}: {error}") from error

    def read(self, column: pa.ChunkedArray, rows: NDArray[np.int64]) -> tuple[Floats, Any]:
        """Two results: seconds since 1970, or numbers unchanged; and the time stamps in the form that a detector accepts."""
        kind = column.type
        if is_text(kind):
            times, stamps = self._texts(column, rows)
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            zone = getattr(kind, "tz", None)
            micro = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
            times = np.where(column.is_null().to_numpy(), np.nan, micro.fill_null(0).to_numpy() / 1e6)
            stamps = column.to_pylist() if zone else _local(times)
        elif is_numeric(kind):
            times = stamps = column.cast(pa.float64()).to_numpy()
        else:
            raise TableError(f"{self._source}: column {self._name!r} holds {kind}, not times")
        if not np.isfinite(times).all():
            i = int(np.flatnonzero(~np.isfinite(times))[0])
            cell = column[i].as_py()
            raise TableError(f"{self._source}: row {rows[i]}, column {self._name!r}: {cell!r} is not a time")
        return np.asarray(times, dtype=np.float64), stamps

    def _texts(self, column: pa.ChunkedArray, rows: NDArray[np.int64]) -> tuple[Floats, Any]:
        iso = self._iso(column)
        if iso is not None:
            return iso, _local(iso)
        cells = column.fill_null("").to_pylist()
        try:
            times = self._dates.seconds(cells)
        except CellError as error:
            raise TableError(f"{self._source}: row {rows[error.row]}, column {self._name!r}: {error}") from error
        except AmbiguousDates as error:
            raise TableError(f"{self._source}: column {self._name!r}: {error}") from error
        unit = self._dates.unit
        if unit in UNITS and self._dates.given is None and not self.notes:
            self.notes.append(
                f"column {self._name!r} is read as {UNITS[unit]} since 1970 (--time-format s for seconds)"
            )
        if self._dates.numeric:
            return times, times
        offsets = [offset_of(cell) for cell in cells]
        if all(offset is None for offset in offsets):
            return times, _local(times)
        zones = [timezone(timedelta(seconds=offset or 0.0)) for offset in offsets]
        return times, [datetime.fromtimestamp(time, zone) for time, zone in zip(times.tolist(), zones, strict=True)]

    def _iso(self, column: pa.ChunkedArray) -> Floats | None:
        """Seconds since 1970 if all cells are ISO dates without a zone, else None. Arrow's parser is 20 times as fast as ours."""
        if self._dates.given is not None or column.null_count:
            return None
        try:
            micro: Floats = column.cast(pa.string()).cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
        except pa.ArrowInvalid:
            return None
        return micro / 1e6


def _local(times: Floats) -> NDArray[np.datetime64]:
    """The times as dates without a zone; NaN becomes NaT."""
    micro = np.where(np.isfinite(times), np.rint(times * 1e6), np.iinfo(np.int64).min)
    return micro.astype(np.int64).view("datetime64[us]")


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, dictionary-encoded or not."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))
