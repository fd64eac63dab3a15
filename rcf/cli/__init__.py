"""The command ``rcf``."""

from __future__ import annotations

import sys

from .._version import __version__

HINT = 'the command line needs more packages: python -m pip install "rcf[cli,plot]"'


def _reflowed(text: str) -> str:
    """The paragraphs of a docstring with their lines joined, because the terminal wraps them itself."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def main() -> None:
    """Entry point. Imports everything else here, so that a missing extra gives one line instead of a traceback."""
    try:
        import typer

        from . import worker
        from .detect import detect
        from .export import export
        from .hotspots import hotspots
        from .stream import stream
        from .watch import watch
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rcf"):
            raise
        sys.exit(f"rcf: no module {error.name}; {HINT}")

    app = typer.Typer(
        name="rcf",
        help="Random cut forests: anomalies in tables and streams.",
        no_args_is_help=True,
        add_completion=False,
    )

    def print_version(wanted: bool) -> None:
        if wanted:
            print(f"rcf {__version__}")
            raise typer.Exit

    @app.callback()
    def shared(
        version: bool = typer.Option(
            False, "--version", callback=print_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        pass

    for command in (detect, export, hotspots, stream, watch):
        app.command(command.__name__, help=_reflowed(command.__doc__ or ""))(command)
    app.add_typer(worker.app)
    app()
