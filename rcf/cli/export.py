"""``rcf export``: export a saved forest to other formats."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..export import freeze, to_c, to_onnx
from ..persist import load


class Form(StrEnum):
    onnx = "onnx"
    frozen = "frozen"
    c = "c"


_SUFFIX = {Form.onnx: ".onnx", Form.frozen: ".frz", Form.c: "_c"}


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model file of a fitted RandomCutForest.")],
    to: Annotated[
        Form,
        typer.Option(
            "--to",
            help="onnx: a graph for ONNX runtimes. frozen: a model file for the C runtime. c: the model file and the runtime.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write, or folder for c. Default: next to MODEL, with the same name."
        ),
    ] = None,
    float32: Annotated[
        bool, typer.Option("--float32", help="For onnx: compute in float32, which halves the size.")
    ] = False,
    attribution: Annotated[
        bool, typer.Option("--attribution", help="For onnx: add an output with each feature's part of the score.")
    ] = False,
) -> None:
    """Export a saved forest to a format that runs without Python.

    An exported forest can score but not learn. --to c writes a folder with the model, the C source of the runtime, and a
    JavaScript class that uses the runtime compiled to WebAssembly.

    Exit codes: 0, written; 1, the model cannot be read or exported, or the output cannot be written; 2, invalid arguments.
    """
    if to is not Form.onnx and (float32 or attribution):
        raise typer.BadParameter("--float32 and --attribution are options of --to onnx")
    place = model.with_name(model.stem + _SUFFIX[to]) if output is None else output
    try:
        forest = load(model)
        if to is Form.c:
            written = to_c(forest, place)
        else:
            if to is Form.frozen:
                data = freeze(forest)
            else:
                graph = to_onnx(forest, "float32" if float32 else "float64", attribution=attribution)
                data = graph.SerializeToString()
            place.write_bytes(data)
            written = [place]
    except (ValueError, TypeError, OSError, ImportError) as error:
        Console(stderr=True).print(f"[red]rcf export:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    for path in written:
        typer.echo(f"{path}  {path.stat().st_size} bytes")
