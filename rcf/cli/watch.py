"""``rcf watch``: watch each series of a Prometheus query with a detector, and export the results as metrics."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..detector import StreamDetector
from ..detector.settings import checked_settings
from ..streams import StreamError
from ..streams.files import FileStore
from ..streams.prometheus import Client, Watch, WatchMetrics, duration
from ..streams.service import log_to_stderr, signals
from .options import Samples, Seed, Trees


def watch(
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of Prometheus, such as http://127.0.0.1:9090.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="PromQL expression; use rate(...) for counters.")],
    step: Annotated[str, typer.Option("--step", help="Time between samples: 60, 30s, 5m.")] = "60",
    history: Annotated[
        str, typer.Option("--history", help="Length of the history to learn first: 12h, 1d, 7d.")
    ] = "1d",
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Address of /metrics.")
    ] = "127.0.0.1:9102",
    state: Annotated[Path | None, typer.Option("--state", help="File that saves the detectors for restarts.")] = None,
    save_every: Annotated[float, typer.Option(min=0.1, help="Seconds between saves.")] = 300.0,
    max_series: Annotated[
        int, typer.Option(min=1, help="Largest number of series. The one absent longest makes room for a new one.")
    ] = 10_000,
    shingle: Annotated[int, typer.Option("--shingle", "-s", min=1, help="Number of samples in a window.")] = 8,
    trees: Trees = 50,
    samples: Samples = 256,
    anomaly_rate: Annotated[float, typer.Option(help="A higher rate gives more alarms.")] = 0.005,
    band: Annotated[
        bool, typer.Option("--band/--no-band", help="Export expected values and bands, which takes most of the time.")
    ] = True,
    seed: Seed = 0,
    log_format: Annotated[str, typer.Option("--log-format", help="json or text.")] = "json",
) -> None:
    """Watch the series of a Prometheus query. The detectors first learn the history, and then one sample per step.

    /metrics exports rcf_anomaly_score, rcf_is_anomaly, rcf_expected, and the band rcf_expected_lower and rcf_expected_upper,
    with the labels of each series. Scrape it with honor_labels: true. On SIGTERM the command saves the state and exits with 0.
    """
    log_to_stderr(log_format)
    log = logging.getLogger("rcf.streams")
    try:
        seconds = duration(step)
        detector = StreamDetector(
            shingle,
            n_estimators=trees,
            max_samples=samples,
            anomaly_rate=anomaly_rate,
            interval=seconds,
            random_state=seed,
        )
        checked_settings(detector.get_params(deep=False))
        found = Watch(
            Client(url), query, detector, step=seconds, history=duration(history),
            store=None if state is None else FileStore(state), save_every=save_every, max_keys=max_series, band=band,
        )  # fmt: skip
        from ..streams.metrics import address, serve

        address(listen)
    except (ValueError, ImportError) as error:
        print(f"rcf watch: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    try:
        end = serve(WatchMetrics(found), listen)
        try:
            with signals(found.stop):
                found.run()
        finally:
            end()
    except (StreamError, OSError, ValueError) as error:
        log.error("the watch ends: %s", error)
        raise typer.Exit(1) from error
