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
Encoding = Annotated[str, typer.Option("--encoding", help="Of a CSV file.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Picture of what was found (.png, .svg, .pdf).")]
Samples = Annotated[int, typer.Option("--samples", min=1, max=2**20, help="Records (windows) that each tree holds.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same results.")]
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
