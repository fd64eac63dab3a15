"""Options that several commands share; they have the same name in each command."""

from __future__ import annotations

import csv
from contextlib import suppress
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from ..detector import StreamDetector
from ..detector.settings import checked_settings


class Method(StrEnum):
    depth = "depth"
    codisp = "codisp"
    displacement = "displacement"
    opensearch = "opensearch"
    path = "path"


class TimeOrder(StrEnum):
    clock = "clock"
    strict = "strict"


AnomalyRate = Annotated[float, typer.Option("--anomaly-rate", help="A higher rate gives more alarms.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", "-c", metavar="NAME,NAME", help="Columns to use. Default: all that hold numbers."),
]
Decimal = Annotated[
    str | None,
    typer.Option("--decimal", metavar="MARK", help="Decimal mark of a CSV file, . or ,. Default: recognised."),
]
Encoding = Annotated[str, typer.Option("--encoding", help="Text encoding of a CSV file.")]
Fill = Annotated[
    str, typer.Option("--fill", help="Replacement for missing values: previous, linear, forest, zero or a number.")
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first line names the columns. Default: recognised."),
]
Key = Annotated[
    str | None,
    typer.Option("--key", "-k", help="Column that identifies streams; each of its values has its own detector."),
]
MaxStep = Annotated[
    float | None,
    typer.Option(
        "--max-step", metavar="SECONDS",
        help="Largest step from one time stamp to the next. Default: 10 000 intervals or a year, whichever is longer.",
    ),
]  # fmt: skip
Plot = Annotated[Path | None, typer.Option("--plot", help="Plot the results to a file (.png, .svg, .pdf).")]
Samples = Annotated[
    int, typer.Option("--samples", min=1, max=2**20, help="Number of records (windows) that each tree holds.")
]
MethodOption = Annotated[Method, typer.Option("--method", help="Kind of score.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same results.")]
Sep = Annotated[
    str | None,
    typer.Option(
        "--sep", metavar="MARK", help="Separator of a CSV file: a character, tab or space. Default: recognised."
    ),
]
Shingle = Annotated[int, typer.Option("--shingle", "-s", min=1, help="Number of records in a window.")]
Time = Annotated[str | None, typer.Option("--time", "-t", help="Column of time stamps.")]
TimeFormat = Annotated[
    str | None,
    typer.Option(
        "--time-format", metavar="FORMAT",
        help="Format of time stamps, such as %d.%m.%Y %H:%M, or s, ms, us, ns for numbers. Default: recognised.",
    ),
]  # fmt: skip
TimeOrderOption = Annotated[
    TimeOrder,
    typer.Option(
        "--time-order",
        help="clock: time stamps may be equal, and a date without a zone may go back by an hour, as clocks are put back; strict: "
        "each must be later.",
    ),
]
Timezone = Annotated[
    str | None,
    typer.Option(
        "--timezone", metavar="ZONE",
        help="Time zone of the daily and weekly seasons, such as Europe/Berlin. Default: the zone of the dates, or UTC for "
        "numbers.",
    ),
]  # fmt: skip
Transform = Annotated[
    str,
    typer.Option(
        "--transform",
        help="Transformation of each column: normalize, difference, normalize_difference, subtract_moving_average, none.",
    ),
]
Trees = Annotated[int, typer.Option("--trees", min=1, help="Number of trees.")]


def names_in(columns: list[str] | None) -> list[str]:
    """The names given to --columns, separated by commas. A name with a comma must be in double quotes, as in CSV."""
    return [
        name.strip()
        for text in columns or []
        for row in csv.reader([text], skipinitialspace=True)
        for name in row
        if name.strip()
    ]


def fill_of(text: str) -> str | float:
    """The argument of --fill: a number if it is one, otherwise the word."""
    with suppress(ValueError):
        number = float(text)
        if isfinite(number):
            return number
    return text


# Which parameter of the detector each option sets.
PARAMETERS = {"shingle": "shingle_size", "trees": "n_estimators", "samples": "max_samples", "method": "method",
              "transform": "transform", "anomaly_rate": "anomaly_rate", "fill": "fill", "time_order": "time_order",
              "max_step": "max_step", "timezone": "timezone", "seed": "random_state"}  # fmt: skip


def detector_of(**options: Any) -> StreamDetector:
    """The detector that the options describe. Raises a usage error if an option is invalid."""
    options["fill"] = fill_of(options["fill"])
    detector = StreamDetector(**{PARAMETERS[name]: value for name, value in options.items()})
    try:
        checked_settings(detector.get_params(deep=False))
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        option = next(option for option, parameter in PARAMETERS.items() if parameter == name)
        raise typer.BadParameter(f"--{option.replace('_', '-')} {rest}") from error
    return detector
