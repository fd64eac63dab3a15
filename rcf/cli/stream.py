"""``rcf stream``: for each input line, write a line with the results at once. This is the simplest use of a worker."""

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
    Key,
    MaxStep,
    Method,
    MethodOption,
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

COLUMNS = ("record", "line", "score", "evidence", "threshold", "grade", "likelihood", "is_anomaly", "event", "confidence", "reason",
           "feature", "lag", "side", "severity", "expected", "past")  # fmt: skip
# The command stops if this many lines fail before one is read, because the stream then needs other options.
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
    """Prints the warnings of the worker, one per line, except those of rejected lines, which `Complaints` reports."""

    def emit(self, record: logging.LogRecord) -> None:
        if "rejected" not in record.msg:
            say(record.getMessage())


class Complaints:
    """Reports lines that cannot be read on standard error, and ends the stream if the first PATIENCE lines are all of this kind."""

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
    """A store that only reports it if a checkpoint cannot be written, so that the stream continues."""

    failed = False

    def save(self, checkpoint: Checkpoint) -> None:
        try:
            super().save(checkpoint)
        except OSError as error:
            say(f"{self.path} could not be written: {error}")
            self.failed = True


def _compare(context: typer.Context, state: Path, held: Any, given: StreamDetector) -> None:
    """Report options that are ignored because the saved state has other values."""
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
    key: Key = None,
    header: Header = None,
    sep: Sep = None,
    decimal: Decimal = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for more lines at the end of INPUT, also after rotations.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", "-f", help="Format of the output lines.")] = Format.json,
    explain: Annotated[
        Explain,
        typer.Option(
            "--explain", help="Which records get an ANOMALY_EXPLANATION. With all, the command takes ten times as long."
        ),
    ] = Explain.none,
    prefix: Annotated[str, typer.Option("--prefix", help="Prefix of the names of the results.")] = "",
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
    state: Annotated[
        Path | None,
        typer.Option(
            help="File to resume from and to save to, at intervals and on exit. Its parameters override the options."
        ),
    ] = None,
    save_every: Annotated[float, typer.Option(min=0.1, help="Seconds between saves.")] = 60.0,
    errors: Annotated[
        Errors,
        typer.Option("--errors", help="What a line that cannot be read does: fail (the exit code is 1) or warn."),
    ] = Errors.fail,
) -> None:
    """Judge a stream of records: for each line of CSV or JSON, write a line with the results at once.

    Lines that start with a brace are JSON. A record is written with all of its original content, followed by the results. Records
    are counted from 1, without the header, and the count continues after a restart. For a flagged record, the line names the cause:
    the feature, the side, the lag (how many records ago the cause came; 0 is this record), the expected value and the actual value
    (past).

    A line that cannot be read is reported on standard error and skipped, and the exit code is then 1. If none of the first ten
    lines can be read, the command stops. On SIGTERM, SIGINT, SIGHUP and a closed pipe, the command ends normally: the state holds
    every record whose line was written. The state is also saved at intervals. After a restart, repeated records are recognised by
    their time stamps (--time) and skipped. If INPUT is a file name, reading continues where the last run ended.

    Exit codes: 0, finished; 1, a line could not be read, or the state or output could not be written; 2, invalid options, and no
    line was read.
    """
    given = detector_of(shingle=shingle, trees=trees, samples=samples, method=method.value, transform=transform,
                        anomaly_rate=anomaly_rate, fill=fill, time_order=time_order.value, max_step=max_step,
                        timezone=timezone, seed=seed)  # fmt: skip
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
        # the reader has closed the pipe; the rest of the buffer must not raise another error at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (StreamError, ValueError, OSError) as error:
        lost = isinstance(error, OSError) and error.strerror is not None and error.filename is None
        say(f"standard output could not be written: {error.strerror}" if lost else error)  # type: ignore[union-attr]
        raise typer.Exit(1) from error
    if (complaints.n and errors is Errors.fail) or (store is not None and store.failed):
        raise typer.Exit(1)
