"""``rcf stream``: lines of CSV in, a line of JSON or CSV out for each as it comes."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import time
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..detector import Detection, StreamDetector
from ..detector.settings import checked_settings
from .options import Samples, Seed, Trees, names_in

COLUMNS = ("record", "score", "threshold", "grade", "likelihood", "is_anomaly", "confidence", "reason", "feature", "lag", "side",
           "expected", "past")  # fmt: skip


class Format(StrEnum):
    json = "json"
    csv = "csv"


# Options, and the detector's parameters that they are.
PARAMETERS = {"shingle": "shingle_size", "trees": "n_estimators", "samples": "max_samples", "transform": "transform",
              "anomaly_rate": "anomaly_rate", "fill": "fill", "seed": "random_state"}  # fmt: skip
# Lines that may fail before any is read: a stream of which nothing can be read wants other options, not a message a line.
PATIENCE = 10
NAMED = "--header if the first line has names"
HINT = f" ({NAMED}; --time and --columns say what the columns are)"


class Stop(Exception):
    """SIGTERM or SIGINT has come."""


def row(number: int, result: Detection) -> dict[str, Any]:
    """What is printed of a record."""
    known: dict[str, Any] = {"record": number}
    for name in COLUMNS[1:8]:
        known[name] = getattr(result, name)
    if result.is_anomaly:
        known["feature"], known["lag"], known["side"] = result.cause
        known["expected"], known["past"] = result.expected.tolist(), result.past.tolist()
    return known


def _number(text: str) -> float:
    text = text.strip()
    return float("nan") if text == "" or text.lower() in ("nan", "na", "null") else float(text)


def _stamp(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.strip())


def _asked(**options: Any) -> StreamDetector:
    """The detector that the options ask for; a usage error where one cannot be used."""
    with suppress(ValueError):
        options["fill"] = float(options["fill"])
    detector = StreamDetector(**{PARAMETERS[name]: value for name, value in options.items()})
    try:
        checked_settings(detector.get_params(deep=False))
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        option = next(option for option, parameter in PARAMETERS.items() if parameter == name)
        raise typer.BadParameter(f"--{option.replace('_', '-')} {rest}") from error
    return detector


def _check_folder(state: Path) -> None:
    folder = state.absolute().parent
    if not folder.is_dir():
        raise OSError(f"{state} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise OSError(f"{state} cannot be written: no permission to write in {folder}")


def stream(
    context: typer.Context = None,  # type: ignore[assignment]
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            "-c",
            metavar="NAME,NAME",
            help="Columns to take, or their numbers, from 1. Default: all but --time.",
        ),
    ] = None,
    time_column: Annotated[
        str | None, typer.Option("--time", "-t", help="Column of time stamps, or its number, from 1.")
    ] = None,
    header: Annotated[bool, typer.Option(help="The first line has names.")] = False,
    form: Annotated[Format, typer.Option("--format", "-f", help="Form of the lines written.")] = Format.json,
    shingle: Annotated[int, typer.Option("--shingle", "-s", min=1, help="Records in a window.")] = 8,
    trees: Trees = 50,
    samples: Samples = 256,
    transform: Annotated[
        str,
        typer.Option(
            help="What is done to each column first: normalize, difference, normalize_difference, subtract_moving_average, none."
        ),
    ] = "normalize",
    anomaly_rate: Annotated[float, typer.Option(help="Upper estimate of the share of anomalies.")] = 0.005,
    fill: Annotated[
        str, typer.Option(help="What stands in for a missing value: previous, linear, forest, zero or a number.")
    ] = "previous",
    seed: Seed = 0,
    state: Annotated[
        Path | None,
        typer.Option(
            help="File to resume from, whose parameters stand whatever the options say, and to save to: on exit and at intervals."
        ),
    ] = None,
    save_every: Annotated[float, typer.Option(min=0.1, help="Seconds between saves.")] = 60.0,
) -> None:
    """Judge the records of a stream as they come: CSV lines on stdin, one line each on stdout, flushed.

    Records count from 1, without the header. Of a called one the line says what made it: the feature, on which side, how many
    records ago (the lag: 0 is this one), what was expected there and what came.

    A line that cannot be read is named on stderr and left out; the exit status is then 1. If none of the first ten can be
    read, that is the end. SIGTERM and a closed pipe end the run in order: the state holds every record whose line was written.
    It is saved at intervals whether records come or not.

    Exit code 0: done. 1: a line could not be read, or the state not be written. 2: wrong options; no line was read.
    """
    detector = _asked(shingle=shingle, trees=trees, samples=samples, transform=transform, anomaly_rate=anomaly_rate,
                      fill=fill, seed=seed)  # fmt: skip
    wanted = names_in(columns)
    for option, asked_for in (("--columns", wanted), ("--time", [] if time_column is None else [time_column.strip()])):
        for name in [] if header else asked_for:
            if not name.isdigit():
                raise typer.BadParameter(f"{option}: no column {name!r} without names ({NAMED})")
    resumed = state is not None and state.exists()
    try:
        if resumed:
            assert state is not None
            given, detector = detector, StreamDetector.from_bytes(state.read_bytes())
            for option, name in PARAMETERS.items():
                mine, theirs = getattr(detector, name), getattr(given, name)
                if mine != theirs and getattr(context.get_parameter_source(option), "name", None) == "COMMANDLINE":
                    shown = f"--{option.replace('_', '-')} {theirs}"
                    print(f"rcf stream: {shown} is not used: {state} was begun with {mine}", file=sys.stderr)
        if state is not None:
            _check_folder(state)
    except (ValueError, OSError) as error:
        sys.exit(f"rcf stream: {error}" if not resumed or str(state) in str(error) else f"rcf stream: {state}: {error}")

    # between records only: a signal waits until the line that is being worked on is out
    asked, idle = False, False
    failed, unsaved, saved_at = False, False, time.monotonic()

    def remember(*_: Any) -> None:
        nonlocal asked, idle
        asked = True
        if idle:
            idle = False  # a second signal must not break off what the first has begun
            raise Stop

    def save() -> None:
        nonlocal failed, unsaved, saved_at
        if state is not None and unsaved:
            try:
                detector.save(state)
                unsaved = False
            except OSError as error:
                print(f"rcf stream: {state} could not be written: {error}", file=sys.stderr)
                failed = True
        saved_at = time.monotonic()

    def save_while_idle(*_: Any) -> None:
        nonlocal idle
        if idle and unsaved:
            idle = False
            save()
            idle = True
            if asked:
                remember()

    old = [(number, signal.signal(number, remember)) for number in (signal.SIGTERM, signal.SIGINT)]
    if state is not None and hasattr(
        signal, "setitimer"
    ):  # not on Windows: there a stream that falls silent waits for its end
        old.append((signal.SIGALRM, signal.signal(signal.SIGALRM, save_while_idle)))
        signal.setitimer(signal.ITIMER_REAL, save_every, save_every)
    any_read, unread = False, 0
    try:
        lines = iter(sys.stdin)
        names: list[str] | None = None
        picked: list[int] | None = None
        clock: int | None = None
        writer = csv.writer(sys.stdout, lineterminator="\n")
        if form is Format.csv:
            writer.writerow(COLUMNS)
        at, number = 0, 0  # lines of the file, those of them that are records
        while not asked:
            idle = True
            line = next(lines, None)
            idle = False
            if line is None:
                break
            at += 1
            if not line.strip():
                continue
            number += 1
            try:
                fields = next(csv.reader([line]))
                if header and names is None:
                    names = [field.strip() for field in fields]
                    number = 0
                    continue
                if picked is None:
                    clock = None if time_column is None else _place(time_column, names, len(fields))
                    picked = [_place(name, names, len(fields)) for name in wanted] or [
                        i for i in range(len(fields)) if i != clock
                    ]
                if max([*picked, -1 if clock is None else clock]) >= len(fields):
                    raise ValueError(f"{len(fields)} fields")
                stamp = None if clock is None else _stamp(fields[clock])
                result = detector.update([_number(fields[i]) for i in picked], stamp)
            except (ValueError, csv.Error) as error:
                if picked is None:
                    raise
                if not any_read:
                    unread += 1
                    if unread == PATIENCE:
                        raise ValueError(f"none of the first {PATIENCE} lines can be read: {error}{HINT}") from error
                print(f"rcf stream: line {at}: {error}{HINT if number == 1 else ''}", file=sys.stderr)
                failed = True
                continue
            if names is not None and not hasattr(detector, "feature_names_in_"):
                import numpy as np

                detector.feature_names_in_ = np.array([names[i] for i in picked], dtype=object)
            any_read = unsaved = True
            known = row(number, result)
            if form is Format.json:
                sys.stdout.write(json.dumps(known) + "\n")
            else:
                writer.writerow([json.dumps(v) if isinstance(v, list) else v for v in map(known.get, COLUMNS)])
            sys.stdout.flush()
            if time.monotonic() - saved_at >= save_every:
                save()
    except Stop:
        pass
    except BrokenPipeError:
        # nobody reads any more; what is left in the buffer must not raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, csv.Error) as error:
        print(f"rcf stream: {error}", file=sys.stderr)
        failed = True
    finally:
        idle = False
        save()
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number_, handler in old:
            signal.signal(number_, handler)
    if failed:
        raise typer.Exit(1)


def _place(name: str, names: list[str] | None, n: int) -> int:
    """The place of a column given by name or by number from 1."""
    name = name.strip()
    if names is not None and name in names:
        return names.index(name)
    if name.isdigit() and 1 <= int(name) <= n:
        return int(name) - 1
    raise ValueError(f"no column {name!r} among {names or n}")
