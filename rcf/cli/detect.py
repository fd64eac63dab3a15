"""``rcf detect``: the anomalies of a file."""

from __future__ import annotations

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
from sklearn.base import clone

from ..datasets import make_series
from ..detector.views import HELD_BACK
from ..estimator import RandomCutForest
from .events import EventLog, sentences, table_of, with_columns
from .judging import Judging, Judgings, Table
from .options import (
    AnomalyRate,
    Columns,
    Decimal,
    Encoding,
    Fill,
    Header,
    Key,
    MaxStep,
    Method,
    MethodOption,
    Plot,
    Samples,
    Seed,
    Sep,
    Shingle,
    Time,
    TimeFormat,
    TimeOrder,
    TimeOrderOption,
    Timezone,
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


@contextmanager
def _bar(console: Console, shown: bool) -> Iterator[Progress]:
    text = "{task.fields[percent]} %, {task.fields[rows]:,} rows"  # the percentage is rounded down, so that 100 % means the end
    columns = (BarColumn(), TextColumn(text), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        bar.add_task("", total=1.0, rows=0, percent=0)
        yield bar


def detect(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|-]",
            help="CSV or Parquet file; - reads CSV from standard input. Without FILE: a demonstration.",
        ),
    ] = None,
    columns: Columns = None,
    time: Time = None,
    time_format: TimeFormat = None,
    key: Key = None,
    shingle: Shingle = 8,
    method: MethodOption = Method.depth,
    trees: Trees = 50,
    samples: Samples = 256,
    transform: Transform = "normalize",
    anomaly_rate: AnomalyRate = 0.005,
    fill: Fill = "previous",
    time_order: TimeOrderOption = TimeOrder.clock,
    max_step: MaxStep = None,
    timezone: Timezone = None,
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

    A StreamDetector reads the rows in order. It judges each row by the rows before it and then learns it. An alarm opens an event.
    The event lasts until the column is back to usual or its new level has become usual. The table has one line per event, the
    strongest first. It shows the start and end of the event, its most extreme value (peak), the column and side that caused it
    (cause), the value at its start (came), the expected value, and the distance of the peak from the expected value (severity).
    Rows are counted from 1, after the header, including blank lines. The memory does not grow with the file.

    With --key a file may hold several series; each has its own detector. The first 64 rows are the warm-up. If the file has no more
    rows than that, a forest is fitted to all of them and judges them.

    Without FILE the command judges a synthetic series with five known anomalies.

    Exit codes: 0, finished, with or without anomalies; 1, reading or writing failed; 2, invalid arguments.
    """
    errors = Console(stderr=True)
    detector = detector_of(shingle=shingle, trees=trees, samples=samples, method=method.value, transform=transform,
                           anomaly_rate=anomaly_rate, fill=fill, time_order=time_order.value, max_step=max_step,
                           timezone=timezone, seed=seed)  # fmt: skip
    if ranks and key is not None:
        raise typer.BadParameter("--ranks lists the windows of one series: leave --key out")
    forest = RandomCutForest(trees, samples, method=method.value, random_state=seed)
    try:
        if output is not None:
            check_output("--output", output)
        if plot is not None:
            check_plot(plot)
        reader = None
        if file is not None:
            reader = TableReader(
                file, names_in(columns), time, key=key, time_format=time_format, encoding=encoding, sep=sep,
                decimal=decimal, header=header,
            )  # fmt: skip
        console = errors if output == "-" else Console(width=None if Console().is_terminal else 160)
        with ExitStack() as stack:
            writer = stack.enter_context(TableWriter(output)) if output else None
            pieces = _demo() if reader is None else iter(stack.enter_context(reader))
            first = list(islice(pieces, 2))
            if len(first) == 1 and len(first[0].rows) <= HELD_BACK and key is None:
                _short(first[0], reader, forest, top, writer, console, errors)
                return
            of_file = Table.of(reader)

            def begin(of_key: str | None) -> Judging:
                own = Ranks(forest, shingle, top) if ranks else None
                return Judging(clone(detector), of_file, own, Trace() if plot else None, of_key)

            judging = Judgings(begin, of_file)
            bar = stack.enter_context(_bar(errors, file != "-"))
            for piece in chain(first, pieces):
                table = judging.feed(piece, writer is not None)
                if writer is not None and table is not None:
                    writer.write(table)
                done = piece.done or 0.0
                bar.update(bar.task_ids[0], completed=done, percent=int(100 * done), rows=judging.n_rows)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        _fail(errors, str(error))
    _remarks(reader, errors)
    if ranks and top:
        only = judging.only
        assert only.ranks is not None
        console.print(table_of_ranks(only.ranks, only.alarms, of_file.columns))
    elif top and judging.n_events:
        events = judging.strongest(top)
        console.print(table_of(events, judging.n_events, key))
        for sentence in sentences(events):
            console.print(escape(sentence), highlight=False, soft_wrap=True)
    console.print(judging.summary(), highlight=False, soft_wrap=True)
    if reader is None:
        console.print(_verdict(judging.only.log), highlight=False, soft_wrap=True)
    if plot is not None:
        try:
            shown = judging.shown()
            title = Path(file).name if file else "a synthetic series"
            if key is not None:
                title += f", {key} {shown.key}"
                errors.print(f"the plot shows {key} {escape(str(shown.key))}, which has the strongest event"
                             if judging.n_events else f"the plot shows the first {key}, {escape(str(shown.key))}",
                             highlight=False, soft_wrap=True)  # fmt: skip
            _draw(shown, plot, time is not None, title)
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
        writer.write(with_columns(piece.cells, score=found.scores, is_anomaly=found.flags))
    _remarks(reader, errors)
    if top:
        console.print(found.table(top, names, [str(log.place(i)) for i in range(len(piece.rows))]))
    text = (
        f"{int(found.flags.sum())} of {len(piece.rows)} rows flagged; these are no more than the {HELD_BACK} rows of the warm-up, "
        "so a forest was fitted to all of them and each row is judged by all the others"
    )
    console.print(text, highlight=False, soft_wrap=True)


def _verdict(log: EventLog) -> str:
    """A sentence with the numbers of known anomalies that were found and of false events, for the synthetic series."""
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
        rows["value"], rows["score"], rows["flag"], times=times, names=judging.table.columns, events=spans, title=title
    )
    if not timed:
        axes[-1].set_xlabel("row")
    axes[0].figure.savefig(path, dpi=120)  # type: ignore[union-attr]
