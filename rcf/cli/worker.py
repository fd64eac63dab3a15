"""``rcf worker``: a service that reads a stream of records and writes them with their scores."""

from __future__ import annotations

import inspect
import json
import logging
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from ..persist import ModelFileError
from ..streams import StreamError, settings
from ..streams.service import log_to_stderr, signals
from ..streams.settings import Settings, SettingsError
from .options import names_in

app = typer.Typer(
    name="worker",
    help="Score a stream of records as a service, with the same results after every crash.",
    no_args_is_help=True,
)
Flags = Callable[..., dict[str, Any]]
# errors of these libraries concern the service, not this program
CLIENTS = ("botocore", "boto3", "redis", "confluent_kafka", "cimpl")
log = logging.getLogger("rcf.streams")

Config = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.NAME=VALUE", help="A setting, which overrides the file. May be repeated."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", "-c", metavar="NAME,NAME", help="Fields to score. Default: those that hold numbers."),
]
Key = Annotated[str | None, typer.Option("--key", help="Field that identifies streams. @key: the key of the source.")]
Time = Annotated[str | None, typer.Option("--time", "-t", help="Field of time stamps.")]
Metrics = Annotated[str | None, typer.Option("--metrics", metavar="HOST:PORT", help="Serve /metrics for Prometheus.")]
LogFormat = Annotated[str, typer.Option("--log-format", help="json or text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the settings and what would be read, and read nothing.")]


def read_settings(
    config: Path | None, pairs: list[str] | None, own: Mapping[str, tuple[str, ...]], flags: dict[str, Any]
) -> Settings:
    """The settings from the file, the pairs and the flags. Flags override the others; their names are ``section.name``."""
    found = settings.read(config, pairs or (), own=own)
    for name, value in flags.items():
        if value is not None:
            section, _, setting = name.partition(".")
            found.setdefault(section, {})[setting] = value
    return found


def records_flags(columns: list[str] | None, key: str | None, time: str | None, metrics: str | None) -> dict[str, Any]:
    return {
        "records.columns": names_in(columns) or None,
        "records.key": key,
        "records.time": time,
        "worker.metrics": metrics,
    }


def required(found: Settings, section: str, *names: str) -> list[Any]:
    values = [found.get(section, {}).get(name) for name in names]
    for name, value in zip(names, values, strict=True):
        if value is None:
            raise SettingsError(f"{section}.{name} is not set: give it on the command line or as {name} in [{section}]")
    return values


def run(name: str, make: Callable[[], tuple[Settings, Any]], dry_run: bool, log_format: str) -> None:
    """Create a worker, and run it until it ends or a signal stops it.

    `make` returns an object with `run`, `stop`, `workers` and `plan`, such as :class:`rcf.streams.group.Group`.
    """
    log_to_stderr(log_format)
    try:
        found, group = make()
        if dry_run:
            print(json.dumps({"settings": found, "reads": group.plan()}, indent=2, default=str))
            return
        listen = found.get("worker", {}).get("metrics")
        stop_metrics = None
        if listen:
            from ..streams.metrics import WorkerMetrics, address, serve

            address(listen)
            stop_metrics = serve(WorkerMetrics(group.workers), listen)
        try:
            with signals(group.stop):
                group.run()
        finally:
            if stop_metrics is not None:
                stop_metrics()
    except (SettingsError, ImportError) as error:
        print(f"rcf worker {name}: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    except (StreamError, ModelFileError, OSError, ValueError) as error:
        log.error("the worker ends: %s", error)
        raise typer.Exit(1) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in CLIENTS:
            raise
        log.error("the worker ends: %s", error)
        raise typer.Exit(1) from error


def _shared(
    columns: Columns = None,
    key: Key = None,
    time: Time = None,
    config: Config = None,
    pairs: Set = None,
    metrics: Metrics = None,
    log_format: LogFormat = "json",
    dry_run: DryRun = False,
) -> None:
    """Take the options that all workers share; only the signature is used."""


def worker(help: str, names: str, *needs: str) -> Callable[[Flags], Flags]:
    """Add a command that has the options of the decorated function and those of `_shared`.

    The function returns the settings of its options. Its name is the name of their section, and of the module in `rcf.streams` that
    makes the worker.

    Parameters
    ----------
    help : str
    names : str
        The names that the section may contain, separated by spaces.
    *needs : str
        Settings that must be given.
    """

    def add(flags: Flags) -> Flags:
        section = flags.__name__

        def command(**given: Any) -> None:
            columns, key, time, config, pairs, metrics, log_format, dry_run = (given.pop(name) for name in shared)

            def make() -> tuple[Settings, Any]:
                own = {f"{section}.{name}": value for name, value in flags(**given).items()}
                own |= records_flags(columns, key, time, metrics)
                found = read_settings(config, pairs, {section: tuple(names.split())}, own)
                required(found, section, *needs)
                return found, import_module(f"rcf.streams.{section}").group(found)

            run(section, make, dry_run, log_format)

        shared = inspect.signature(_shared, eval_str=True).parameters
        options = {**inspect.signature(flags, eval_str=True).parameters, **shared}
        command.__signature__ = inspect.Signature(list(options.values()))  # type: ignore[attr-defined]
        command.__annotations__ = {name: option.annotation for name, option in options.items()}
        app.command(section, help=help)(command)
        return flags

    return add


@worker(
    "Redis streams: records, results and state in one transaction.",
    "url stream output dead state start maxlen payload",
    "stream", "output",
)  # fmt: skip
def redis(
    stream: Annotated[str | None, typer.Argument(help="Stream to read.")] = None,
    output: Annotated[str | None, typer.Argument(help="Stream to write.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Default: redis://127.0.0.1:6379.")] = None,
) -> dict[str, Any]:
    return {"stream": stream, "output": output, "url": url}


@worker(
    "Kinesis data streams, a worker per shard; results to a stream, to Firehose, or both.",
    "stream output firehose dead table application bucket prefix start shards discover_every region endpoint_url profile",
    "stream",
)
def kinesis(
    stream: Annotated[str | None, typer.Argument(help="Stream to read.")] = None,
    output: Annotated[str | None, typer.Option("--output", help="Stream to write.")] = None,
    firehose: Annotated[str | None, typer.Option("--firehose", help="Firehose delivery stream to write.")] = None,
    table: Annotated[
        str | None, typer.Option("--table", help="DynamoDB table of the checkpoints. Default: rcf.")
    ] = None,
    bucket: Annotated[str | None, typer.Option("--bucket", help="S3 bucket for models above 380 KB.")] = None,
) -> dict[str, Any]:
    return {"stream": stream, "output": output, "firehose": firehose, "table": table, "bucket": bucket}


@worker(
    "Kafka topics, a worker per partition: records, results and state in one transaction.",
    "servers topic output dead state application partitions start config",
    "topic", "output",
)  # fmt: skip
def kafka(
    topic: Annotated[str | None, typer.Argument(help="Topic to read.")] = None,
    output: Annotated[str | None, typer.Argument(help="Topic to write.")] = None,
    servers: Annotated[str | None, typer.Option("--servers", help="Default: 127.0.0.1:9092.")] = None,
    partitions: Annotated[
        str | None, typer.Option("--partitions", metavar="N,N", help="Partitions to read. Default: all.")
    ] = None,
) -> dict[str, Any]:
    numbers = None if partitions is None else [int(n) if n.strip().isdigit() else n for n in partitions.split(",")]
    return {"topic": topic, "output": output, "servers": servers, "partitions": numbers}


@worker(
    "Lines of a file or pipe, written to another file or pipe.", "input output dead state follow", "input", "output"
)
def files(
    source: Annotated[str | None, typer.Argument(metavar="INPUT", help="File to read; - is standard input.")] = None,
    output: Annotated[str | None, typer.Argument(help="File to append to; - is standard output.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="File of the checkpoint.")] = None,
    follow: Annotated[
        bool | None, typer.Option("--follow", help="Wait for more lines at the end, also after rotations.")
    ] = None,
) -> dict[str, Any]:
    return {"input": source, "output": output, "state": state, "follow": follow}
