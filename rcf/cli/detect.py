"""``rcf detect``: the anomalies of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..datasets import make_series
from ..estimator import RandomCutForest
from ..shingle import shingle as windows_of
from .events import Event, Events, ThreeSigma, Trace
from .options import Columns, Decimal, Encoding, Header, Plot, Samples, Seed, Sep, Time, TimeFormat, Trees, names_in
from .tables import Piece, TableError, TableReader, TableWriter, check_output, check_plot

# Rows between two looks at what made an event: its attribution is taken before the forest has got used to it.
BLOCK = 256
LAG = "lag: how many rows before that one lies what weighs most"


class Kind(StrEnum):
    depth = "depth"
    codisp = "codisp"
    displacement = "displacement"
    opensearch = "opensearch"


class Scoring:
    """One pass over a series: shingle, score, flag, and what is kept of it."""

    def __init__(self, forest: RandomCutForest, samples: int, size: int, top: int, keep_trace: bool) -> None:
        self.forest = forest
        self.samples = samples
        self.size = size
        self.events = Events(size, top)
        self.rule = ThreeSigma(patience=samples)
        self.trace = Trace() if keep_trace else None
        self.n_rows = 0
        self.n_flagged = 0
        self._tail: NDArray[np.float64] | None = None

    def feed(
        self, values: NDArray[np.float64], times: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Scores and flags of the next rows; NaN before the first window is full."""
        parts = [self._block(values[i : i + BLOCK]) for i in range(0, len(values), BLOCK)]
        scores, flags = (np.concatenate(part) for part in zip(*parts, strict=True))
        if self.trace is not None:
            rows = np.arange(self.n_rows - len(values), self.n_rows)
            self.trace.add(rows, times, values, scores, flags)
        return scores, flags

    def _block(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        series = values if self._tail is None else np.concatenate([self._tail, values])
        self._tail = series[max(0, len(series) - self.size + 1) :]
        scores = np.full(len(values), np.nan)
        flags = np.zeros(len(values), dtype=np.bool_)
        if len(series) >= self.size:
            windows = windows_of(series, self.size)
            new = slice(len(values) - len(windows), None)
            scores[new] = self.forest.update_many(windows)
            silent = max(0, self.samples - (self.forest.n_seen_ - len(windows)))
            known = slice(new.start + min(silent, len(windows)), None)
            flags[known] = self.rule.flag(scores[known])
            fresh = self.events.add(self.n_rows + new.start, scores[new])
            if fresh:
                ends = np.array([event.row - self.n_rows - new.start for event in fresh])
                shape = (self.size, values.shape[1], 2)
                for event, parts in zip(fresh, self.forest.attribution(windows[ends]), strict=True):
                    event.attribution = parts.reshape(shape)
                    event.flagged = bool(flags[event.row - self.n_rows])
        self.n_rows += len(values)
        self.n_flagged += int(flags.sum())
        return scores, flags


def _check_order(piece: Piece, time: str, last: float, stamp: str, name: str) -> None:
    """Refuse rows whose time goes back; `last` and `stamp` are of the row before the first."""
    stamps = piece.cells.column(time)
    assert piece.times is not None
    back = np.flatnonzero(piece.times < np.r_[last, piece.times[:-1]])
    if len(back):
        row = int(back[0])
        before = stamps[row - 1] if row else stamp
        raise TableError(
            f"{name}: row {piece.rows[row]}, column {time!r}: {stamps[row]} is before {before} in the row above; "
            "sort the file by time, make a file of each series if it has several, or leave --time out to take the rows as they are"
        )


def _why(event: Event, names: list[str]) -> tuple[str, str, str]:
    """The feature, its direction and the lag that weigh most, each summed over the rest."""
    assert event.attribution is not None
    parts = event.attribution
    feature = int(parts.sum(axis=(0, 2)).argmax())
    lags = parts[:, feature].sum(axis=1)
    place = int(lags.argmax())
    high, low = parts[:, feature].sum(axis=0)
    share = parts[:, feature].sum() / max(parts.sum(), 1e-300)
    lag = len(parts) - 1 - place
    side = "high" if high >= low else "low"
    return f"{names[feature]} ({share:.0%})" if len(names) > 1 else names[feature], side, str(lag)


def _table(events: list[Event], labels: dict[int, str], names: list[str], size: int) -> Table:
    table = Table(title=f"The {len(events)} strongest anomalies", title_justify="left")
    table.add_column("row", justify="right")
    if labels:
        table.add_column("time")
    table.add_column("score", justify="right")
    table.add_column("flagged")
    table.add_column("feature")
    table.add_column("side")
    if size > 1:
        table.add_column("lag", justify="right")
    for event in events:
        feature, side, lag = _why(event, names)
        cells = [str(event.row + 1), *([labels[event.row]] if labels else []), f"{event.score:.3f}"]
        cells += ["yes" if event.flagged else "no", feature, side]
        table.add_row(*(escape(cell) for cell in [*cells, *([lag] if size > 1 else [])]))
    return table


def _legend(size: int) -> str:
    """What the columns of the table mean."""
    row = "row: from 1, after the header" + (f"; the last of a window of {size} rows" if size > 1 else "")
    flagged = "flagged: above the mean + 3 standard deviations of all rows before"
    lag = f"{LAG}, 0 to {size - 1}" if size > 1 else ""
    return ". ".join(part for part in (row, flagged, lag) if part) + "."


@contextmanager
def _bar(console: Console, total: int | None) -> Iterator[Progress]:
    columns = (TextColumn("{task.completed:,.0f} of {task.total:,.0f} bytes"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal or total is None) as bar:
        bar.add_task("", total=total)
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
    shingle: Annotated[
        int | None,
        typer.Option("--shingle", "-s", min=1, help="Rows to a window: one period of the series. Default: 1."),
    ] = None,
    score: Annotated[
        Kind | None,
        typer.Option("--method", help="How records are scored. Default: displacement with --shingle, else depth."),
    ] = None,
    trees: Trees = 100,
    samples: Samples = 256,
    seed: Seed = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Threads; -1 takes all cores.")] = 1,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Scores and flags by row: .csv, .parquet, or - for standard output."),
    ] = None,
    plot: Plot = None,
    top: Annotated[int, typer.Option("--top", min=0, help="How many of the strongest anomalies to list.")] = 15,
    encoding: Encoding = "utf-8",
    sep: Sep = None,
    decimal: Decimal = None,
    header: Header = None,
) -> None:
    """Find the anomalies of a CSV or Parquet file.

    Every row (with --shingle, the window that ends there) is scored as it comes and then learned; nothing is scored before
    --samples windows have come. A row is flagged when it scores above the mean plus three standard deviations of all
    rows before it. The table has one line for windows that overlap, flagged or not: the strongest of them. Rows count from
    1, after the header; a window has the number of its last row, and the lag says how many rows before that one lies what weighs
    most. Memory does not grow with the file.

    Without FILE a made-up series with five known anomalies is scored.

    Exit code 0: done, anomalies or not. 1: the input or output failed. 2: wrong arguments.
    """
    errors = Console(stderr=True)
    if jobs == 0:
        raise typer.BadParameter("--jobs must be a number of threads, or -1 for all cores, got 0")
    size = shingle or (1 if file else 24)
    kind = score or (Kind.depth if size == 1 else Kind.displacement)
    forest = RandomCutForest(trees, samples, method=kind.value, n_jobs=jobs, random_state=seed)
    scoring = Scoring(forest, samples, size, top, plot is not None)
    try:
        if output is not None:
            check_output("--output", output)
        if plot is not None:
            check_plot(plot)
        if file is None:
            labels, names, verdict = _demo(scoring, output)
        else:
            verdict = ""
            reader = TableReader(
                file, names_in(columns), time, time_format=time_format, encoding=encoding, sep=sep, decimal=decimal,
                header=header, missing=False,
            )  # fmt: skip
            labels, names = _scan(scoring, reader, output, errors)
            for remark in reader.remarks():
                errors.print(escape(remark), highlight=False, soft_wrap=True)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        errors.print(f"[red]rcf detect:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console = errors if output == "-" else Console()
    if top and scoring.events.strongest():
        console.print(_table(scoring.events.strongest()[:top], labels, names, size))
        console.print(_legend(size), highlight=False, soft_wrap=True)
    windows = max(0, scoring.n_rows - size + 1)
    if windows <= samples:
        errors.print(
            f"{scoring.n_rows} rows are too few to score: --samples {samples} windows are learned first",
            highlight=False,
        )
    else:
        console.print(f"{scoring.n_flagged} of {scoring.n_rows} rows flagged", highlight=False)
    if verdict:
        console.print(verdict, highlight=False, soft_wrap=True)
    if plot is not None:
        try:
            _draw(scoring, plot, names, time is not None, Path(file).name if file else "a made-up series")
        except OSError as error:
            errors.print(
                f"[red]rcf detect:[/red] {escape(f'{plot}: {error.strerror}')}", highlight=False, soft_wrap=True
            )
            raise typer.Exit(1) from error


def _scan(
    scoring: Scoring,
    reader: TableReader,
    output: str | None,
    errors: Console,
) -> tuple[dict[int, str], list[str]]:
    """Feed the file through; returns the time stamps of the strongest events and the names of the features."""
    labels: dict[int, str] = {}
    time = reader.time
    usual, uneven, last, stamp = np.nan, 0, np.nan, ""
    with ExitStack() as stack:
        stack.enter_context(reader)
        writer = stack.enter_context(TableWriter(output)) if output else None
        bar = stack.enter_context(_bar(errors, reader.bytes_total))
        for piece in reader:
            start = scoring.n_rows
            times = (
                np.arange(start, start + len(piece.values), dtype=np.float64) if piece.times is None else piece.times
            )
            steps = np.diff(times, prepend=last)[0 if start else 1 :]
            usual = float(np.median(steps)) if np.isnan(usual) and len(steps) else usual
            uneven += int((~np.isclose(steps, usual)).sum())
            if time is not None:
                _check_order(piece, time, last, stamp, reader.name)
                stamp = str(piece.cells.column(time)[-1])
            last = times[-1]
            scores, flags = scoring.feed(piece.values, times)
            if writer is not None:
                table = piece.cells.append_column("score", pa.array(scores, from_pandas=True))
                writer.write(table.append_column("is_anomaly", pa.array(flags)))
            if time is not None:
                for event in scoring.events.strongest():
                    if event.row >= start:
                        labels[event.row] = str(piece.cells.column(time)[event.row - start])
                labels = {event.row: labels[event.row] for event in scoring.events.strongest()}
            bar.update(bar.task_ids[0], completed=reader.bytes_read)
    if uneven and scoring.size > 1:
        errors.print(
            f"{uneven} of {scoring.n_rows - 1} time steps differ from the usual {usual:g}: "
            "windows across them mix what lies apart",
            highlight=False,
            soft_wrap=True,
        )
    return labels, reader.columns


def _demo(scoring: Scoring, output: str | None) -> tuple[dict[int, str], list[str], str]:
    """Feed the made-up series through; the third is how many of its anomalies were flagged."""
    values, anomalies = make_series()
    scores, flags = scoring.feed(values[:, np.newaxis], np.arange(len(values), dtype=np.float64))
    if output:
        with TableWriter(output) as writer:
            writer.write(pa.table({"value": values, "score": pa.array(scores, from_pandas=True), "is_anomaly": flags}))
    found, elsewhere = 0, flags.copy()
    for first, after in anomalies:
        touching = slice(first, after + scoring.size - 1)  # the windows that hold a value of it
        found += bool(flags[touching].any())
        elsewhere[touching] = False
    verdict = (
        f"Found {found} of the {len(anomalies)} known anomalies of a made-up series of {len(values)} values; "
        f"{elsewhere.sum()} rows flagged elsewhere."
    )
    return {}, ["value"], verdict


def _draw(scoring: Scoring, path: Path, names: list[str], timed: bool, title: str) -> None:
    from .. import plot

    assert scoring.trace is not None
    rows = scoring.trace.rows()
    times = rows["time"]
    if timed:
        times = (times * 1e3).astype("datetime64[ms]")
    axes = plot.scores(
        rows["value"],
        rows["score"],
        rows["flag"],
        times=times,
        names=names,
        threshold=scoring.rule.threshold,
        title=title,
    )
    axes[0].figure.savefig(path, dpi=120)  # type: ignore[union-attr]
