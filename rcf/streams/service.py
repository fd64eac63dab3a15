"""The parts that a worker needs as a service: signals, logs in JSON, and the metrics of all partitions."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

FIELDS = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None)))


class JsonFormatter(logging.Formatter):
    """Formats each log message as a JSON object with time, level, logger, message and the `extra` values."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in FIELDS and name != "message"}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr(form: str = "json", level: int = logging.INFO) -> None:
    """Write the log of `rcf.streams` to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter("%(levelname)s %(message)s"))
    log = logging.getLogger("rcf.streams")
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False


@contextmanager
def signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop`, which ends the worker after the current batch, on SIGTERM, SIGINT and SIGHUP. Further signals have no effect.

    A signal that the process ignores, such as SIGHUP under nohup, stays ignored.
    """
    numbers = [
        number for name in ("SIGTERM", "SIGINT", "SIGHUP") if (number := getattr(signal, name, None)) is not None
    ]
    old = {}
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            old[number] = signal.signal(number, lambda *_: stop())
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
