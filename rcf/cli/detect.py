"""``rcf detect``: the anomalies of a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..datasets import make_series
from ..detector import StreamDetector
from ..detector.clock import HOUR
from ..detector.views import HELD_BACK
from ..estimator import RandomCutForest
from .csvfile import TableError
from .events import EventLog, beside, judged, sentences, table_of
from .options import (
    AnomalyRate,
    Columns,
    Decimal,
    Encoding,
    Fill,
    Header,
    Method,
    MethodOption,
    Plot,
    Samples,
    Seed,
    Sep,
    Shingle,
    Time,
    TimeFormat,
    Transform,
    Trees,
    detector_of,
    names_in,
)
from .outputs import TableWriter, check_output, check_plot
from .ranks import Ranks, table_of_ranks, whole_file
from .tables import Piece, TableReader
from .trace import Trace

STEP = 1800.0  # seconds between the values of the synthetic series


class Judging:
    """One pass of a detector over a file, with the results that are kept.

    Parameters
    ----------
    detector : StreamDetector
    reader : TableReader or None
        Source of the rows; None means the synthetic series.
    ranks : Ranks or None
        If given, these score the rows instead of the detector.
    trace : Trace or None
        Collects the data for a plot.
    """

    def __init__(
        self, detector: StreamDetector, reader: TableReader | None, ranks: Ranks | None, trace: Trace | None
    ) -> None:
        self.detector, self.ranks, self.trace = detector, ranks, trace
        self.source = reader.name if reader else ""
        self.names = names = reader.columns if reader else ["value"]
        time = reader.time if reader else None
        self.log = EventLog(names, time)
        self.n_warm_up = 0
        self._time = -np.inf  # of the last row
        self.alarms: list[int] = []  # for ranks: the records that are flagged, from 0
        detector.feature_names_in_ = np.array(names, dtype=object)

    def feed(self, piece: Piece, wanted: bool) -> pa.Table | None:
        """Judge the next rows. Returns the rows with the results as further columns, if requested."""
        start = self.log.n_rows
        if piece.times is not None:
            # if a whole batch goes back in time, the detector assumes that a clock was set; in a file the rows are out of order
            back = HOUR if isinstance(piece.stamps, np.ndarray) and piece.stamps.dtype.kind == "M" else 0.0
            if piece.times[0] < self._time - back:
                raise self._out_of_order(0, "before", piece)
            self._time = float(piece.times[-1])
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
        return judged(piece, found, states, scores, self.names) if wanted else None

    def _named(self, error: ValueError, piece: Piece) -> ValueError:
        """The error with the row number of the file, if it concerns a time stamp."""
        at = re.match(r"row (\d+): timestamp .+? is (before|more than [\d.e+]+ seconds after) the last one", str(error))
        return error if at is None else self._out_of_order(int(at[1]), at[2], piece)

    def _out_of_order(self, i: int, what: str, piece: Piece) -> TableError:
        """The error for row i of the piece, whose time is before that of the row above, or too long after it."""
        stamps = piece.cells.column(self.log.time)
        above = stamps[i - 1] if i else self.log.place(self.log.n_rows - 1)
        fix = "correct it"
        if what == "before":
            fix = "sort the file by time, make a file of each series if it has several, "
            fix += "or leave --time out to take the rows as they are"
        where = f"{self.source}: row {piece.rows[i]}, column {self.log.time!r}"
        return TableError(f"{where}: {stamps[i]} is {what} {above} in the row above; {fix}")


def _summary(judging: Judging) -> str:
    log = judging.log
    events = "no event" if not log.n_events else "1 event" if log.n_events == 1 else f"{log.n_events:,} events"
    still = f", {log.n_open} of them still open at the end" if log.n_open else ""
    return f"{events} in {log.n_rows:,} rows{still}; the first {judging.n_warm_up} rows were warm-up, in which nothing is flagged"


@contextmanager
def _bar(console: Console, shown: bool) -> Iterator[Progress]:
    columns = (BarColumn(), TextColumn("{task.percentage:.0f} %, {task.fields[rows]:,} rows"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        bar.add_task("", total=1.0, rows=0)
        yield bar


def detect(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|-]", help="CSV or Parquet; - reads CSV from standard input; none: a demonstration."
        ),
    ] = None,
    columns: Columns = None,
    time: Time = None,
    time_format: TimeFormat = None,
    shingle: Shingle = 8,
    method: MethodOption = Method.depth,
    trees: Trees = 50,
    samples: Samples = 256,
    transform: Transform = "normalize",
    anomaly_rate: AnomalyRate = 0.005,
    fill: Fill = "previous",
    seed: Seed = 0,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Write all rows with their results: .csv, .parquet, or - for standard output.",
        ),
    ] = None,
    plot: Plot = None,
    top: Annotated[int, typer.Option("--top", min=0, help="Number of events to list, the strongest first.")] = 15,
    ranks: Annotated[
        bool,
        typer.Option(
            "--ranks",
            help="List the windows with the highest scores of a forest instead of the events. The flags do not change.",
        ),
    ] = False,
    encoding: Encoding = "utf-8",
    sep: Sep = None,
    decimal: Decimal = None,
    header: Header = None,
) -> None:
    """Find the anomalies of a CSV or Parquet file.

    A StreamDetector reads the rows in order. It judges each row by the rows before it and then learns it. An alarm opens an
    event, which lasts until the column is back to usual or the new level has become usual. The table shows the strongest events
    first, with one line for each: its begin and end, its most extreme value (peak), the column and side that caused it (cause), the
    value at its begin (came), the expected value, and the distance of the peak from the expected value (severity). Rows are
    counted from 1, after the header, including blank lines. The memory does not grow with the file.

    The first 64 rows are the warm-up. A file with no more rows than that is judged by a forest that is fitted to all of them.

    Without FILE the command judges a synthetic series with five known anomalies.

    Exit codes: 0, finished, with or without anomalies; 1, reading or writing failed; 2, invalid arguments.
    """
    errors = Console(stderr=True)
    detector = detector_of(shingle=shingle, trees=trees, samples=samples, method=method.value, transform=transform,
                           anomaly_rate=anomaly_rate, fill=fill, seed=seed)  # fmt: skip
    forest = RandomCutForest(trees, samples, method=method.value, random_state=seed)
    try:
        if output is not None:
            check_output("--output", output)
        if plot is not None:
            check_plot(plot)
        reader = None
        if file is not None:
            reader = TableReader(
                file, names_in(columns), time, time_format=time_format, encoding=encoding, sep=sep, decimal=decimal,
                header=header,
            )  # fmt: skip
        console = errors if output == "-" else Console(width=None if Console().is_terminal else 160)
        with ExitStack() as stack:
            writer = stack.enter_context(TableWriter(output)) if output else None
            pieces = _demo() if reader is None else iter(stack.enter_context(reader))
            first = list(islice(pieces, 2))
            if len(first) == 1 and len(first[0].rows) <= HELD_BACK:
                _short(first[0], reader, forest, top, writer, console, errors)
                return
            judging = Judging(
                detector, reader, Ranks(forest, shingle, top) if ranks else None, Trace() if plot else None
            )
            bar = stack.enter_context(_bar(errors, file != "-"))
            for piece in chain(first, pieces):
                table = judging.feed(piece, writer is not None)
                if writer is not None and table is not None:
                    writer.write(table)
                bar.update(bar.task_ids[0], completed=piece.done or 0.0, rows=judging.log.n_rows)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        _fail(errors, str(error))
    _remarks(reader, errors)
    if judging.ranks is not None and top:
        console.print(table_of_ranks(judging.ranks, judging.alarms, judging.names))
    elif top and judging.log.n_events:
        events = judging.log.strongest(top)
        console.print(table_of(events, judging.log.n_events))
        for sentence in sentences(events):
            console.print(escape(sentence), highlight=False, soft_wrap=True)
    console.print(_summary(judging), highlight=False, soft_wrap=True)
    if reader is None:
        console.print(_verdict(judging.log), highlight=False, soft_wrap=True)
    if plot is not None:
        try:
            _draw(judging, plot, time is not None, Path(file).name if file else "a synthetic series")
        except OSError as error:
            _fail(errors, f"{plot}: {error.strerror}")


def _fail(errors: Console, message: str) -> None:
    errors.print(f"[red]rcf detect:[/red] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def _remarks(reader: TableReader | None, errors: Console) -> None:
    for remark in reader.remarks() if reader is not None else ():
        errors.print(escape(remark), highlight=False, soft_wrap=True)


def _demo() -> Iterator[Piece]:
    """The synthetic series as pieces of a file."""
    values = make_series().values
    rows = np.arange(1, len(values) + 1)
    times = np.asarray(STEP * rows, dtype=np.float64)
    yield Piece(rows, pa.table({"value": values}), values[:, np.newaxis], times, times, 1.0)


def _short(
    piece: Piece, reader: TableReader | None, forest: RandomCutForest, top: int, writer: TableWriter | None,
    console: Console, errors: Console,
) -> None:  # fmt: skip
    """Judge a file that is no longer than the warm-up."""
    names = reader.columns if reader else ["value"]
    log = EventLog(names, reader.time if reader else None)
    log.hold(piece)
    found = whole_file(forest, piece.values)
    if writer is not None:
        writer.write(beside(piece.cells, score=found.scores, is_anomaly=found.flags))
    _remarks(reader, errors)
    if top:
        console.print(found.table(top, names, [str(log.place(i)) for i in range(len(piece.rows))]))
    told = (
        f"{int(found.flags.sum())} of {len(piece.rows)} rows flagged; these are no more than the {HELD_BACK} rows of the warm-up, "
        "so a forest was fitted to all of them and each row is judged by all the others"
    )
    console.print(told, highlight=False, soft_wrap=True)


def _verdict(log: EventLog) -> str:
    """How many of the known anomalies of the synthetic series are events, and how many events are false alarms."""
    anomalies = make_series().anomalies + 1  # rows count from 1
    events = [(event.start.row, event.end.row) for event in log.strongest()]
    found = sum(any(start < after and end >= first for start, end in events) for first, after in anomalies)
    false = sum(not any(start < after and end >= first for first, after in anomalies) for start, end in events)
    return (
        f"Found {found} of the {len(anomalies)} known anomalies of a synthetic series of {log.n_rows:,} values, "
        f"with {false or 'no'} false {'event' if false < 2 else 'events'}."
    )


def _draw(judging: Judging, path: Path, timed: bool, title: str) -> None:
    from .. import plot

    assert judging.trace is not None
    rows = judging.trace.rows()
    times, spans = rows["time"], [(event.start.moment, event.end.moment) for event in judging.log.strongest()]
    if timed:
        times = (times * 1e3).astype("datetime64[ms]")
        spans = [tuple((np.array(span) * 1e3).astype("datetime64[ms]")) for span in spans]
    axes = plot.scores(
        rows["value"], rows["score"], rows["flag"], times=times, names=judging.names, events=spans, title=title
    )
    if not timed:
        axes[-1].set_xlabel("row")
    axes[0].figure.savefig(path, dpi=120)  # type: ignore[union-attr]
