"""The options that commands have in common: one thing has one name in all of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", "-c", metavar="NAME,NAME", help="Columns to take. Default: all that hold numbers."),
]
Decimal = Annotated[
    str | None,
    typer.Option("--decimal", metavar="MARK", help="Decimal mark of a CSV file, . or ,. Default: recognised."),
]
Encoding = Annotated[str, typer.Option("--encoding", help="Of a CSV file.")]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first line names the columns. Default: recognised."),
]
Plot = Annotated[Path | None, typer.Option("--plot", help="Picture of what was found (.png, .svg, .pdf).")]
Samples = Annotated[int, typer.Option("--samples", min=1, max=2**20, help="Records (windows) that each tree holds.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same results.")]
Sep = Annotated[
    str | None,
    typer.Option(
        "--sep", metavar="MARK", help="Separator of a CSV file: a character, tab or space. Default: recognised."
    ),
]
Time = Annotated[str | None, typer.Option("--time", "-t", help="Column of time stamps.")]
TimeFormat = Annotated[
    str | None,
    typer.Option(
        "--time-format", metavar="FORMAT",
        help="How time stamps are written: such as %d.%m.%Y %H:%M, or s, ms, us, ns for numbers. Default: recognised.",
    ),
]  # fmt: skip
Trees = Annotated[int, typer.Option("--trees", min=1, help="Trees in the forest.")]


def names_in(columns: list[str] | None) -> list[str]:
    """The names that --columns was given, with commas between; a name that has one stands in double quotes, as in CSV."""
    return [
        name.strip()
        for text in columns or []
        for row in csv.reader([text], skipinitialspace=True)
        for name in row
        if name.strip()
    ]
