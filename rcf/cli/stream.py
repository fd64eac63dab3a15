"""``rcf stream``: a line in, a line with what the detector says out, as it comes; the smallest case of a worker."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..detector import KeyedDetector, StreamDetector
from ..streams import Checkpoint, Csv, Json, Recognised, Rejected, Schema, StreamError, Worker
from ..streams.files import FileStore, LineSink, LineSource
from ..streams.service import signals
from ..text.dialect import separator
from .options import (
    PARAMETERS,
    AnomalyRate,
    Decimal,
    Fill,
    Header,
    Method,
    MethodOption,
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

COLUMNS = ("record", "line", "score", "evidence", "threshold", "grade", "likelihood", "is_anomaly", "event", "confidence", "reason",
           "feature", "lag", "side", "severity", "expected", "past")  # fmt: skip
# Lines that may fail before any is read: a stream of which nothing can be read wants other options, not a message a line.
PATIENCE = 10
HINT = " (--header or --no-header says whether the first line has names; --time and --columns say what the columns are)"


class Format(StrEnum):
    json = "json"
    csv = "csv"


class Explain(StrEnum):
    none = "none"
    anomalies = "anomalies"
    all = "all"


class Errors(StrEnum):
    fail = "fail"
    warn = "warn"


def say(text: Any) -> None:
    with suppress(OSError, AttributeError):  # standard error may be closed
        print(f"rcf stream: {text}", file=sys.stderr, flush=True)


class Told(logging.Handler):
    """Warnings of the worker, a line each; what is rejected `Complaints` tells."""

    def emit(self, record: logging.LogRecord) -> None:
        if "rejected" not in record.msg:
            say(record.getMessage())


class Complaints:
    """The lines that cannot be used, on standard error; ends the stream if it begins with nothing else."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.n = 0

    def reject(self, rejected: Sequence[Rejected]) -> None:
        assert self.worker is not None
        for one in rejected:
            self.n += 1
            hint = HINT if self.n == 1 and self.worker.records == 0 else ""
            if self.n == PATIENCE and self.worker.records == 0:
                raise StreamError(f"none of the first {PATIENCE} lines can be read: {one.reason}{HINT}")
            say(f"{one.message.place}: {one.reason}{hint}")


class PatientStore(FileStore):
    """A checkpoint that cannot be written is told, and the stream goes on."""

    failed = False

    def save(self, checkpoint: Checkpoint) -> None:
        try:
            super().save(checkpoint)
        except OSError as error:
            say(f"{self.path} could not be written: {error}")
            self.failed = True


def _compare(context: typer.Context, state: Path, held: Any, given: StreamDetector) -> None:
    """Say which options are not used, because the state was begun with others."""
    held = held.template if isinstance(held, KeyedDetector) else held
    for option, name in PARAMETERS.items():
        mine, theirs = getattr(held, name), getattr(given, name)
        if mine != theirs and getattr(context.get_parameter_source(option), "name", None) == "COMMANDLINE":
            say(f"--{option.replace('_', '-')} {theirs} is not used: {state} was begun with {mine}")


def stream(
    context: typer.Context = None,  # type: ignore[assignment]
    source: Annotated[
        str, typer.Argument(metavar="[INPUT]", help="File of lines; - is standard input.", show_default=False)
    ] = "-",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            "-c",
            metavar="NAME,NAME",
            help="Columns to score, or their numbers, from 1. Default: those that hold numbers in the first record.",
        ),
    ] = None,
    time_column: Time = None,
    time_format: TimeFormat = None,
    key: Annotated[
        str | None,
        typer.Option("--key", "-k", help="Column that tells streams apart, a detector for each of its values."),
    ] = None,
    header: Header = None,
    sep: Sep = None,
    decimal: Decimal = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for more at the end of INPUT, over rotations.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", "-f", help="Form of the lines written.")] = Format.json,
    explain: Annotated[
        Explain,
        typer.Option("--explain", help="Which records have an ANOMALY_EXPLANATION; all takes ten times as long."),
    ] = Explain.none,
    prefix: Annotated[str, typer.Option("--prefix", help="Put before the names of the results.")] = "",
    shingle: Shingle = 8,
    method: MethodOption = Method.depth,
    trees: Trees = 50,
    samples: Samples = 256,
    transform: Transform = "normalize",
    anomaly_rate: AnomalyRate = 0.005,
    fill: Fill = "previous",
    seed: Seed = 0,
    state: Annotated[
        Path | None,
        typer.Option(
            help="File to resume from, whose parameters stand whatever the options say, and to save to: on exit and at intervals."
        ),
    ] = None,
    save_every: Annotated[float, typer.Option(min=0.1, help="Seconds between saves.")] = 60.0,
    errors: Annotated[
        Errors, typer.Option("--errors", help="Whether lines that cannot be read make the exit status 1: fail or warn.")
    ] = Errors.fail,
) -> None:
    """Judge the records of a stream as they come: lines of CSV or JSON in, each out with what the detector says, flushed.

    A line that begins with a brace is JSON. All that a record holds goes out as it came, and the results after it. Records count
    from 1, without the header, over restarts. For a flagged record the line says what made it: the feature, on which side, how
    many records ago (the lag: 0 is this one), what was expected there and what came.

    A line that cannot be read is named on stderr and left out; the exit status is then 1. If none of the first ten can be read,
    that is the end. SIGTERM, SIGINT, SIGHUP and a closed pipe end the run in order: the state holds every record whose line was
    written. It is saved at intervals whether records come or not. After a restart, records that come again are told by their
    time stamps and skipped (--time); a file that is given by its name is read on where it was.

    Exit code 0: done. 1: a line could not be read, or the state or output not be written. 2: wrong options; no line was read.
    """
    given = detector_of(shingle=shingle, trees=trees, samples=samples, method=method.value, transform=transform,
                        anomaly_rate=anomaly_rate, fill=fill, seed=seed)  # fmt: skip
    wanted = names_in(columns) or None
    if header is False:
        for option, names in (("--columns", wanted or []), ("--time", [time_column]), ("--key", [key])):
            for name in names:
                if name is not None and not name.strip().isdigit():
                    raise typer.BadParameter(f"{option}: no column {name!r} without names (--no-header)")
    try:
        delimiter = None if sep is None else separator(sep)
        schema = Schema(wanted, key=key, time=time_column, time_format=time_format, decimal=decimal or ".")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    model = given if key is None else KeyedDetector(given)
    output = {name: prefix + name for name in COLUMNS}
    if explain is not Explain.none:
        output["explanations" if explain is Explain.all else "explanation"] = prefix + "ANOMALY_EXPLANATION"
    log = logging.getLogger("rcf.streams")
    log.handlers[:], log.propagate = [Told(logging.WARNING)], False
    complaints = Complaints()
    store = None
    try:
        codec = Recognised(header=header, delimiter=delimiter)
        sink = LineSink("-", Json() if form is Format.json else Csv(delimiter=delimiter or ","))
        if state is not None:
            store = PatientStore(state)
            found = store.peek("")
            if found is not None:
                _compare(context, state, found.model, given)
        worker = Worker(
            model, LineSource(source, follow=follow), sink, store, schema=schema, codec=codec, output=output,
            dead_letters=complaints, checkpoint_every=save_every,
        )  # fmt: skip
        complaints.worker = worker
        with signals(worker.stop):
            worker.run()
    except BrokenPipeError:
        # nobody reads any more; what is left in the buffer must not raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (StreamError, ValueError, OSError) as error:
        lost = isinstance(error, OSError) and error.strerror is not None and error.filename is None
        say(f"standard output could not be written: {error.strerror}" if lost else error)  # type: ignore[union-attr]
        raise typer.Exit(1) from error
    if (complaints.n and errors is Errors.fail) or (store is not None and store.failed):
        raise typer.Exit(1)
