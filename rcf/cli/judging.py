"""Run detectors over a file, one for each key, and keep the results."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..detector import StreamDetector
from ..detector.views import HELD_BACK
from .csvfile import TableError
from .events import Event, EventLog, judged, strongest_of
from .ranks import Ranks
from .tables import Piece, TableReader
from .trace import Trace

MOST_KEYS = 10_000  # as many as a KeyedDetector holds
NAMED = 5  # keys that a sentence names
_REFUSED = re.compile(r"row (\d+): timestamp .+? is (before|the same as|more than [\d.e+]+ seconds after) the last one")


@dataclass(slots=True, frozen=True)
class Table:
    """The name and the columns of a file."""

    name: str
    columns: list[str]
    time: str | None
    key: str | None

    @classmethod
    def of(cls, reader: TableReader | None) -> Table:
        """The name and columns of the file that a reader reads; None means the synthetic series."""
        if reader is None:
            return cls("", ["value"], None, None)
        return cls(reader.name, reader.columns, reader.time, reader.key)


class Judging:
    """One pass of a detector over the rows of a file or of one key. It keeps the results.

    Parameters
    ----------
    detector : StreamDetector
    table : Table
    ranks : Ranks or None
        If given, these score the rows instead of the detector.
    trace : Trace or None
        Collects the data for a plot.
    key : str or None
        The key of the rows; None if the file has one series.
    """

    def __init__(
        self, detector: StreamDetector, table: Table, ranks: Ranks | None, trace: Trace | None, key: str | None = None
    ) -> None:
        self.detector, self.ranks, self.trace = detector, ranks, trace
        self.table, self.key = table, key
        self.log = EventLog(table.columns, table.time, key)
        self.n_warm_up = 0
        self.alarms: list[int] = []  # for `ranks`: the numbers of the flagged records, from 0
        detector.feature_names_in_ = np.array(table.columns, dtype=object)

    def feed(self, piece: Piece, wanted: bool) -> pa.Table | None:
        """Judge the next rows. Returns the rows with the results as further columns, if requested."""
        start = self.log.n_rows
        try:
            found = self.detector.update_many(piece.values, piece.stamps)
        except ValueError as error:
            raise self._named(error, piece) from error
        states = self.log.add(piece, found)
        scores = found.score
        self.n_warm_up += int((found.evidence[: max(0, HELD_BACK - start)] == 0.0).sum())
        if self.ranks is not None:
            scores, fresh = self.ranks.feed(piece.values)
            self.alarms += (start + found.anomalies).tolist()
            for peak in fresh:
                _, lag, _ = peak.cause()
                peak.where = self.log.place(peak.row - lag)
        if self.trace is not None:
            at = piece.rows.astype(np.float64) if piece.times is None or self.log.time is None else piece.times
            self.trace.add(piece.rows, at, piece.values, scores, found.is_anomaly)
        return judged(piece, found, states, scores, self.table.columns) if wanted else None

    def _named(self, error: ValueError, piece: Piece) -> ValueError:
        """The error; if it concerns a time stamp, with the row number in the file."""
        refused = _REFUSED.match(str(error))
        if refused is None:
            return error
        i, what = int(refused[1]), refused[2]
        stamps = piece.cells.column(self.table.time)
        above = stamps[i - 1] if i else self.log.place(self.log.n_rows - 1)
        fix = "sort the file by time, "
        if what.startswith("more"):
            fix = "correct it, allow it by --max-step, "
        elif what == "the same as":
            fix = "keep one row of each time, leave --time-order out, "
        if self.key is None and not what.startswith("more"):
            fix += "name the column that tells its series apart by --key, "
        of_key = "" if self.key is None else f" of key {self.key!r}"
        where = f"{self.table.name}: row {piece.rows[i]}, column {self.table.time!r}"
        fix += "or leave --time out to take the rows as they are"
        return TableError(f"{where}: {stamps[i]} is {what} {above} in the row above{of_key}; {fix}")


class Judgings:
    """The passes over a file. There is one per key, or a single one without a key.

    Parameters
    ----------
    begin : callable
        Called with each new key; returns the `Judging` that processes its rows. The key is None if the file has one series.
    table : Table
    """

    def __init__(self, begin: Callable[[str | None], Judging], table: Table) -> None:
        self.table = table
        self._begin = begin
        self._all: dict[str | None, Judging] = {}
        if table.key is None:
            self._all[None] = begin(None)

    def feed(self, piece: Piece, wanted: bool) -> pa.Table | None:
        """Judge the next rows, those of each key in its own pass.

        Returns the rows with the results as further columns, if requested.
        """
        if piece.keys is None:
            return self._all[None].feed(piece, wanted)
        tables, places = [], []
        for key, at in piece.by_key():
            table = self._of(key).feed(piece.part(at), wanted)
            tables.append(table)
            places.append(at)
        if not wanted:
            return None
        order = np.argsort(np.concatenate(places))
        return pa.concat_tables(tables).take(order)

    def _of(self, key: str) -> Judging:
        if key not in self._all:
            if len(self._all) == MOST_KEYS:
                raise TableError(
                    f"{self.table.name}: column {self.table.key!r} has more than {MOST_KEYS:,} values: is it the one that tells "
                    "series apart?"
                )
            self._all[key] = self._begin(key)
        return self._all[key]

    def __iter__(self) -> Iterator[Judging]:
        return iter(self._all.values())

    @property
    def only(self) -> Judging:
        """The pass over a file of one series."""
        return self._all[None]

    @property
    def n_rows(self) -> int:
        return sum(one.log.n_rows for one in self)

    @property
    def n_events(self) -> int:
        return sum(one.log.n_events for one in self)

    def strongest(self, top: int) -> list[Event]:
        """At most `top` events, sorted by descending evidence and then by severity."""
        return strongest_of((one.log.strongest(top) for one in self), top)

    def shown(self) -> Judging:
        """The pass to plot, which is the one with the strongest event, or the first if there is no event."""
        events = self.strongest(1)
        return self._all[events[0].key] if events else next(iter(self))

    def summary(self) -> str:
        """A sentence with the numbers of events and of warm-up rows."""
        n, n_open = self.n_events, sum(one.log.n_open for one in self)
        events = "no event" if not n else "1 event" if n == 1 else f"{n:,} events"
        still = f", {n_open} of them still open at the end" if n_open else ""
        if self.table.key is None:
            warm_up = f"the first {self.only.n_warm_up} rows were warm-up, in which nothing is flagged"
            return f"{events} in {self.n_rows:,} rows{still}; {warm_up}"
        keys = "1 key" if len(self._all) == 1 else f"{len(self._all):,} keys"
        warm_up = f"the first {HELD_BACK} rows of each were warm-up, in which nothing is flagged"
        return f"{events} in {self.n_rows:,} rows of {keys}{still}; {warm_up}{self._short()}"

    def _short(self) -> str:
        """The end of the summary: it names the keys that have no more rows than the warm-up."""
        short = [str(one.key) for one in self if one.log.n_rows <= HELD_BACK]
        if not short:
            return ""
        named = ", ".join(map(repr, short[:NAMED])) + (", ..." if len(short) > NAMED else "")
        return f"; {len(short):,} of the keys {'has' if len(short) == 1 else 'have'} no more rows than that: {named}"
