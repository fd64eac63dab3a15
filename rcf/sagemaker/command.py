"""The command ``rcf-sagemaker``: train, serve, batch."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import batch, environment, formats, serving, training


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process with its exit code."""
    options = _parser().parse_args(arguments)
    if options.root is not None:
        os.environ["SAGEMAKER_DATA_PATH"] = str(options.root)
    try:
        sys.exit(options.run(options))
    except (ValueError, OSError) as error:
        print(f"rcf-sagemaker {options.command}: {error}", file=sys.stderr)
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rcf-sagemaker",
        description="SageMaker's Random Cut Forest: its training job, its endpoint, its batch transform.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    train = commands.add_parser("train", help="run the training job in input/ below the root")
    serve = commands.add_parser("serve", help="answer /ping and /invocations until SIGTERM")
    transform = commands.add_parser("batch", help="score files, as a batch transform job does")
    for command in (train, serve, transform):
        command.add_argument(
            "--root", type=Path, help="the folder that stands for /opt/ml (default: $SAGEMAKER_DATA_PATH, else /opt/ml)"
        )
    train.set_defaults(run=_train)

    model = "a model's folder, model.tar.gz or .rcf file (default: model/ below the root)"
    serve.add_argument("--model", type=Path, help=model)
    serve.add_argument("--host", default="0.0.0.0", help="the address to listen on (default: all)")
    serve.add_argument("--port", type=int, help="default: $SAGEMAKER_BIND_TO_PORT, else 8080")
    serve.set_defaults(run=_serve)

    transform.add_argument("input", type=Path, help="a file, or a folder of files")
    transform.add_argument(
        "output", type=Path, help="a folder; the answer to each file is named after it, with .out added"
    )
    transform.add_argument("--model", type=Path, help=model)
    transform.add_argument(
        "--content-type", default=formats.CSV, help="content type of the files (default: %(default)s)"
    )
    transform.add_argument("--accept", default=formats.LINES, help="content type of the answers (default: %(default)s)")
    transform.add_argument("--split-type", choices=batch.SPLITS, default="Line", help="default: %(default)s")
    transform.add_argument(
        "--batch-strategy", choices=batch.STRATEGIES, default="MultiRecord", help="default: %(default)s"
    )
    transform.add_argument("--assemble-with", choices=("None", "Line"), default="Line", help="default: %(default)s")
    transform.add_argument(
        "--max-payload-in-mb", type=int, default=6, help="0 to 100; 0: whole files (default: %(default)s)"
    )
    transform.set_defaults(run=_batch)
    return parser


def _train(options: argparse.Namespace) -> int:
    # The first process of a container ignores SIGTERM unless it installs a handler. Python runs a handler between two
    # operations, so a signal just before a read of an idle pipe would have no effect. Therefore a thread waits for the byte
    # that the signal writes. A model is written to a temporary file and renamed, so no incomplete model remains.
    signals, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    threading.Thread(target=_exit_on_signal, args=(signals,), daemon=True).start()
    return training.train()


def _exit_on_signal(signals: int) -> None:
    while (number := os.read(signals, 1)[0]) != signal.SIGTERM:
        pass  # for example SIGINT, which raises KeyboardInterrupt in the main thread
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + number)


def _serve(options: argparse.Namespace) -> int:
    if options.model is not None:
        os.environ[environment.MODEL_PATH] = str(options.model)  # the workers are separate processes
    # This handler is used until uvicorn installs its own. After uvicorn has finished, it restores this one and raises the
    # signal again.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    serving.serve(options.host, options.port)
    return 0


def _batch(options: argparse.Namespace) -> int:
    batch.transform(
        options.model or environment.model_path(),
        options.input,
        options.output,
        content_type=options.content_type,
        accept=options.accept,
        split_type=options.split_type,
        batch_strategy=options.batch_strategy,
        assemble_with=options.assemble_with,
        max_payload_in_mb=options.max_payload_in_mb,
    )
    return 0
