"""A /metrics endpoint for Prometheus, with the counts and the progress of workers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from .worker import Worker

try:
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError('rcf.streams.metrics needs prometheus_client: python -m pip install "rcf[metrics]"') from error

COUNTERS = {
    "rcf_records": ("records", "Records that were scored, since the first start."),
    "rcf_anomalies": ("anomalies", "Records that were anomalies, since the first start."),
    "rcf_rejected": ("rejected", "Messages that could not be used, since the first start."),
}


class WorkerMetrics(Collector):  # type: ignore[misc]
    """Reads the counts of the workers when Prometheus requests them. So the workers need not update any metrics."""

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Any]:
        workers = list(self._workers)
        for name, (attribute, help_text) in COUNTERS.items():
            counter = CounterMetricFamily(name, help_text, labels=["partition"])
            for worker in workers:
                counter.add_metric([worker.source.partition], getattr(worker, attribute))
            yield counter
        lag = GaugeMetricFamily(
            "rcf_lag_seconds", "Age of the last record read, 0 when none waits.", labels=["partition"]
        )
        age = GaugeMetricFamily(
            "rcf_checkpoint_age_seconds", "Time since model and position were saved.", labels=["partition"]
        )
        for worker in workers:
            behind = worker.source.lag()
            if behind is not None:
                lag.add_metric([worker.source.partition], behind)
            age.add_metric([worker.source.partition], time.monotonic() - worker.saved_at)
        yield lag
        yield age


def serve(collector: Any, listen: str) -> Any:
    """Serve a collector on ``host:port`` in its own thread. Returns a function that stops it."""
    host, port = address(listen)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    server, thread = start_http_server(port, addr=host, registry=registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def address(listen: str) -> tuple[str, int]:
    """Host and port of ``host:port``, ``[ipv6]:port`` or ``:port``."""
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) < 65536:
        raise ValueError(f"{listen!r} is not host:port")
    return host.strip("[]") or "127.0.0.1", int(port)
