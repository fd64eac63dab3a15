"""Collect the events of a file, each with its start, end and cause, and list the strongest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from ..detector import Detection, Detections
from ..detector.findings import shown
from .tables import Piece

Floats = NDArray[np.float64]
KEPT = 1000  # number of strongest events that are kept
RECENT = 1 << 13  # number of records; an event may have started this many records before it is reported
FIELDS = ("start", "end", "peak", "cause", "came", "expected", "severity")


@dataclass(slots=True, frozen=True)
class Place:
    """The position of a record in the file."""

    row: int
    time: str | None  # as it is written in the file
    moment: float  # seconds, or the row number if there are no times

    def __str__(self) -> str:
        return str(self.row) if self.time is None else self.time


@dataclass(slots=True)
class Event:
    """An event of the file. The cause is that of its first record, found when the record arrived."""

    start: Place
    end: Place
    peak: float  # the most extreme value
    feature: str
    side: str
    came: float
    expected: float
    evidence: float  # that of its strongest alarm
    reason: str
    key: str | None  # the key of its series
    open: bool = True

    @property
    def severity(self) -> float:
        """The distance of the peak from the expected value, in the units of the feature."""
        return abs(self.peak - self.expected)


class EventLog:
    """Collects the events of a file that a detector judges, and keeps the strongest.

    Parameters
    ----------
    names : list of str
        The columns that are scored.
    time : str or None
        The column of time stamps.
    key : str or None
        The key of the series, if the file has several.

    Attributes
    ----------
    n_events, n_rows : int
        Numbers of events and rows so far.
    """

    def __init__(self, names: list[str], time: str | None, key: str | None = None) -> None:
        self.n_events = self.n_rows = 0
        self.time, self.key = time, key
        self._names = names
        self._closed: list[Event] = []
        self._open: dict[tuple[str, str, int], Event] = {}
        self._recent: deque[tuple[int, Piece]] = deque()  # pieces, each with the number of its first record

    @property
    def n_open(self) -> int:
        """The number of events that are still open after the last row."""
        return len(self._open)

    def add(self, piece: Piece, found: Detections) -> list[str | None]:
        """Add the results for the next rows. Returns the state of the event at each row, or None where there is none."""
        first = self.n_rows
        self.hold(piece)
        states: list[str | None] = [None] * len(piece.rows)
        flagged = found.is_anomaly
        if not (self._open or flagged.any()):
            return states  # only an alarm opens an event
        for i, events in enumerate(found.events):
            if not events:
                continue
            states[i] = events[0].state
            for event in events:
                key = (event.feature, event.side, int(event.start))
                if event.state == "opened":
                    self.n_events += 1
                    self._open[key] = self._begun(found[i], first + i)
                known = self._open[key]
                known.peak, known.end = event.peak, self.place(int(event.start + event.duration) - 1)
                if event.state == "closed":
                    known.open = False
                    self._closed.append(self._open.pop(key))
            if flagged[i]:
                self._strengthen(found[i])
        if len(self._closed) > 2 * KEPT:
            self._closed = nlargest(KEPT, self._closed, key=_strength)
        return states

    def hold(self, piece: Piece) -> None:
        """Remember the positions of the next rows, for `place`."""
        self._recent.append((self.n_rows, piece))
        self.n_rows += len(piece.rows)
        while self._recent[-1][0] - self._recent[0][0] >= RECENT + len(self._recent[0][1].rows):
            self._recent.popleft()

    def _begun(self, found: Detection, record: int) -> Event:
        feature, lag, side = found.cause
        j, start = self._names.index(feature), self.place(record - lag)
        came, expected = float(found.past[j]), float(found.expected[j])
        return Event(start, start, came, feature, side, came, expected, found.evidence, found.reason or "", self.key)

    def _strengthen(self, found: Detection) -> None:
        """Add a further alarm to its event. The evidence of an event is that of its strongest alarm."""
        feature, _, side = found.cause
        for key, event in self._open.items():
            if key[:2] == (feature, side):
                event.evidence = max(event.evidence, found.evidence)

    def place(self, record: int) -> Place:
        """The position in the file of a record (its number, from 0). For an old record it is the oldest known position."""
        first, piece = next((pair for pair in reversed(self._recent) if pair[0] <= record), self._recent[0])
        i = max(record - first, 0)
        row = int(piece.rows[i])
        time = None if self.time is None else str(piece.cells.column(self.time)[i])
        return Place(row, time, float(row if time is None or piece.times is None else piece.times[i]))

    def strongest(self, top: int = KEPT) -> list[Event]:
        """At most `top` events, sorted by descending evidence and then by severity."""
        return strongest_of([self._closed, self._open.values()], top)


def strongest_of(parts: Iterable[Iterable[Event]], top: int) -> list[Event]:
    """At most `top` events of several lists, sorted by descending evidence and then by severity."""
    return nlargest(top, chain.from_iterable(parts), key=_strength)


def _strength(event: Event) -> tuple[float, float]:
    return event.evidence, event.severity


def table_of(events: list[Event], total: int, key: str | None = None) -> Table:
    """A table of the events for a terminal, one line each. `key` is the column that identifies the series."""
    title = "Events, the strongest first" if len(events) == total else f"The {len(events)} strongest of {total} events"
    table = Table(title=title, title_justify="left")
    if key is not None:
        table.add_column(escape(key))
    for name in FIELDS:
        table.add_column(
            name, justify="left" if name in ("start", "end", "cause") else "right", no_wrap=name != "cause"
        )
    for event in events:
        cells = [str(event.start), "still open" if event.open else str(event.end), shown(event.peak),
                 f"{event.feature} {event.side}", shown(event.came), shown(event.expected), shown(event.severity)]  # fmt: skip
        table.add_row(*map(escape, cells if key is None else [str(event.key), *cells]))
    return table


def sentences(events: list[Event]) -> list[str]:
    """A sentence for each event."""
    lines = []
    for event in events:
        where = str(event.start) if event.start.time else f"row {event.start.row}"
        lines.append(f"{where}{'' if event.key is None else f', {event.key}'}: {event.reason}.")
    return lines


def judged(piece: Piece, found: Detections, states: list[str | None], scores: Floats, names: list[str]) -> pa.Table:
    """The rows of the file with the results as further columns."""
    n = len(piece.rows)
    cause: list[str | None] = [None] * n
    reason: list[str | None] = [None] * n
    expected, severity = np.full(n, np.nan), np.full(n, np.nan)
    for i in found.anomalies.tolist():
        one = found[i]
        feature, _, side = one.cause
        cause[i], reason[i], severity[i] = f"{feature} {side}", one.reason, one.severity
        expected[i] = one.expected[names.index(feature)]
    return with_columns(piece.cells, score=scores, likelihood=found.likelihood, is_anomaly=found.is_anomaly, event=states,
                  cause=cause, expected=expected, severity=severity, reason=reason)  # fmt: skip


def with_columns(table: pa.Table, **columns: Any) -> pa.Table:
    """The table with further columns; NaN and None become empty cells."""
    for name, column in columns.items():
        texts = isinstance(column, list)
        table = table.append_column(name, pa.array(column, pa.string() if texts else None, from_pandas=True))
    return table
