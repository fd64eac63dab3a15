"""``rcf hotspots``: the dense regions of a file, and how they change."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..detector.missing import filled
from ..hotspots import Change, HotSpots, suggest_radius
from ..hotspots.window import check_places
from .csvfile import TableError
from .options import Columns, Decimal, Encoding, Header, Plot, Sep, fill_of, names_in
from .outputs import TableWriter, check_output, check_plot
from .tables import Piece, TableReader

FILLS = ("previous", "linear", "zero")


class Filling:
    """Replaces missing values with values from the previous records.

    Parameters
    ----------
    fill : str or float
        One of `FILLS`, or a number.
    """

    def __init__(self, fill: str | float) -> None:
        if isinstance(fill, str) and fill not in FILLS:
            raise ValueError(f"--fill must be 'previous', 'linear', 'zero' or a number, got {fill!r}")
        self._fill = fill
        self._last: list[list[float]] = []  # the last two records

    def __call__(self, piece: Piece, reader: TableReader) -> Piece:
        values = piece.values
        gaps = np.isnan(values)
        if not gaps.any():
            self._last = [*self._last, *values[-2:].tolist()][-2:]
            return piece
        values = values.copy()
        for i in range(len(values)):
            record = values[i].tolist()
            if gaps[i].any():
                values[i] = record = filled(record, self._fill, self._last)
                if np.isnan(values[i]).any():
                    name = reader.columns[int(np.isnan(values[i]).argmax())]
                    where = f"{reader.name}: row {piece.rows[i]}, column {name!r}"
                    raise TableError(
                        f"{where}: the value is missing, and there is no earlier value to replace it: use --fill zero or a number"
                    )
            self._last = [*self._last, record][-2:]
        return piece._replace(values=values)


class Metric(StrEnum):
    euclidean = "euclidean"
    haversine = "haversine"


def _table(spots: HotSpots, names: list[str]) -> Table:
    table = Table(title="Regions, the densest first", title_justify="left")
    for name in ("id", "records", "density"):
        table.add_column(name, justify="right")
    for name in names:
        table.add_column(escape(name), justify="right")
    for spot in sorted(spots.hot_spots_, key=lambda spot: -spot.density):
        sides = (f"{low:.6g} to {high:.6g}" for low, high in zip(spot.min_values, spot.max_values, strict=True))
        table.add_row(str(spot.id), str(spot.count), f"{spot.density:.4g}", *sides)
    return table


def _table_of(changes: list[Change], rows: NDArray[np.int64], first: int) -> pa.Table:
    """A table with one row per change. `rows` holds the row numbers in the file, starting with that of record `first`."""
    return pa.table(
        {
            "row": pa.array([int(rows[change.at - first]) for change in changes], pa.int64()),
            "change": pa.array([change.kind for change in changes], pa.string()),
            "region": pa.array([change.id for change in changes], pa.int64()),
            "other": pa.array([change.other for change in changes], pa.int64()),
            "count": pa.array([change.count for change in changes], pa.int64()),
        }
    )


def _scan(
    reader: TableReader,
    filling: Filling | None,
    window: int,
    radius: float | None,
    min_points: int,
    metric: Metric,
    output: str | None,
    changes: str | None,
) -> HotSpots:
    """Process the file. Returns the regions at its end."""
    with ExitStack() as stack:
        stack.enter_context(reader)
        record_writer = stack.enter_context(TableWriter(output)) if output else None
        change_writer = stack.enter_context(TableWriter(changes)) if changes else None
        waiting: list[Piece] = []
        spots: HotSpots | None = None
        any_written, seen = False, 0

        def feed(spots: HotSpots, piece: Piece) -> None:
            nonlocal any_written, seen
            if record_writer is None and change_writer is None:
                spots.update_many(piece.values)
                return
            first = seen
            seen += len(piece.values)
            found_changes: list[Change] = []
            if record_writer is None:
                found_changes = spots.follow(piece.values)
            else:
                states = []
                for row in piece.values:
                    found_changes += spots.follow(row[np.newaxis])
                    states.append(spots.kinesis_json())
                record_writer.write(piece.cells.append_column("hotspots", pa.array(states)))
            if change_writer is not None and (found_changes or not any_written):
                any_written = True
                change_writer.write(_table_of(found_changes, piece.rows, first))

        for piece in reader:
            if filling is not None:
                piece = filling(piece, reader)
            if metric is Metric.haversine:
                check_places(np.ascontiguousarray(piece.values), piece.rows)
            if spots is not None:
                feed(spots, piece)
                continue
            waiting.append(piece)
            if radius is not None or sum(len(one.values) for one in waiting) >= window:
                spots = _begin(window, radius, min_points, metric, waiting)
                for one in waiting:
                    feed(spots, one)
        if spots is None:  # the file is shorter than a window
            spots = _begin(window, radius, min_points, metric, waiting)
            for one in waiting:
                feed(spots, one)
        return spots


def _begin(window: int, radius: float | None, min_points: int, metric: Metric, waiting: list[Piece]) -> HotSpots:
    if radius is None:
        first = np.concatenate([piece.values for piece in waiting])[:window]
        radius = suggest_radius(first, min_points, metric.value)
    return HotSpots(window, radius, min_points, metric=metric.value)


def hotspots(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="CSV or Parquet; - reads CSV from standard input.")],
    columns: Columns = None,
    window: Annotated[int, typer.Option("--window", "-w", min=1, help="Number of records in the window.")] = 1000,
    radius: Annotated[
        float | None,
        typer.Option(
            "--radius",
            "-r",
            help="Scan radius, in metres with haversine. Default: the knee of the first window's k-distance curve.",
        ),
    ] = None,
    min_points: Annotated[
        int, typer.Option("--min-points", "-m", min=1, help="Number of records within the radius that form a region.")
    ] = 17,
    metric: Annotated[
        Metric, typer.Option("--metric", help="haversine: the columns are latitude and longitude, in degrees.")
    ] = Metric.euclidean,
    fill: Annotated[
        str | None,
        typer.Option(
            "--fill",
            help="Replacement for a missing value: previous, linear, zero or a number. Default: it is an error, because filled "
            "values can make a region dense.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Write all records with the regions after each, as JSON: .csv, .parquet, or - for standard output.",
        ),
    ] = None,
    changes: Annotated[
        str | None,
        typer.Option(
            "--changes", help="Write each change of a region and the row that caused it: .csv, .parquet or -."
        ),
    ] = None,
    plot: Plot = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the regions as JSON, as the Kinesis function does.")
    ] = False,
    encoding: Encoding = "utf-8",
    sep: Sep = None,
    decimal: Decimal = None,
    header: Header = None,
) -> None:
    """Find the dense regions among the last records of a CSV or Parquet file.

    The rows are read as a stream. The regions after each row are those of the last --window rows. The command prints the
    regions after the last row. Use --output to write the regions after each row, and --changes to write how they
    changed. Rows are counted from 1, after the header, including blank lines. Distances are Euclidean, so scale columns whose
    units differ. For positions on the earth, use --metric haversine and name the columns with --columns, latitude first.

    Exit codes: 0, finished, with or without regions; 1, reading or writing failed; 2, invalid arguments.
    """
    errors = Console(stderr=True)
    try:
        filling = None if fill is None else Filling(fill_of(fill))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        if "-" in (output, changes) and (output == changes or json):
            raise ValueError("only one of --output -, --changes - and --json can go to standard output")
        if plot is not None:
            check_plot(plot)
        for option, path in (("--output", output), ("--changes", changes)):
            if path is not None:
                check_output(option, path)
        reader = TableReader(
            file,
            names_in(columns),
            encoding=encoding,
            sep=sep,
            decimal=decimal,
            header=header,
            missing=fill is not None,
        )
        spots = _scan(reader, filling, window, radius, min_points, metric, output, changes)
        names = reader.columns
        if plot is not None:
            from .. import plot as pictures

            pictures.hotspots(spots, names=names).figure.savefig(plot, dpi=120)  # type: ignore[union-attr]
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        errors.print(f"[red]rcf hotspots:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    for remark in reader.remarks():
        errors.print(escape(remark), highlight=False, soft_wrap=True)
    if json:
        print(spots.kinesis_json())
        return
    console = errors if "-" in (output, changes) else Console()
    found = len(spots.hot_spots_)
    if found:
        console.print(_table(spots, names))
    what = "region" if found == 1 else "regions"
    console.print(
        f"{found} {what} among the last {len(spots.labels_)} of {spots.n_seen_} rows; "
        f"radius {spots.scan_radius:.6g}{' m' if metric is Metric.haversine else ''}, at least {spots.min_points} rows",
        highlight=False,
    )
