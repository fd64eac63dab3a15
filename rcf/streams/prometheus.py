"""Watch the series of a Prometheus query with a detector per series, and export the results as metrics."""

from __future__ import annotations

import base64
import json
import logging
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from math import isnan
from threading import Event, Lock
from typing import Any, NamedTuple

import numpy as np

from ..detector import Detection, KeyedDetector, StreamDetector
from .checkpoint import Checkpoint
from .protocols import Store
from .records import StreamError

log = logging.getLogger("rcf.streams")
POINTS = 10_000  # points of a series per request; Prometheus returns at most 11 000
PARTITION = "watch"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, None: 1.0}

Labels = tuple[tuple[str, str], ...]
Band = tuple[float | None, float | None, float | None]  # median, 10 and 90 % points
NO_BAND: Band = (None, None, None)


class QueryError(StreamError):
    """The error if Prometheus cannot be reached or does not answer the query."""


class Answer(NamedTuple):
    """The result of a series' detector for the newest sample."""

    score: float
    is_anomaly: bool
    expected: float | None  # None while the detector warms up
    lower: float | None
    upper: float | None


def duration(text: str) -> float:
    """Seconds of a duration such as 90, 30s, 5m, 1h, 7d.

    Examples
    --------
    >>> duration("90"), duration("1h"), duration("1.5d")
    (90.0, 3600.0, 129600.0)
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m, 1h or 7d")
    return float(found[1]) * _SECONDS[found[2]]


class Client:
    """A client for the part of Prometheus's HTTP API that :class:`Watch` needs.

    Parameters
    ----------
    url : str
        Such as ``http://127.0.0.1:9090``; ``user:password@`` before the host is sent as basic authentication.
    timeout : float, default=30.0
        Seconds.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an address such as http://127.0.0.1:9090")
        host = parts.hostname if ":" not in parts.hostname else f"[{parts.hostname}]"
        port = f":{parts.port}" if parts.port else ""
        self.url = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
        self._headers = {}
        if parts.username is not None:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        self._timeout = timeout

    def _ask(self, path: str, **params: Any) -> list[dict[str, Any]]:
        data = urllib.parse.urlencode(params).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data, self._headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            try:
                told = json.loads(error.read()).get("error", error.reason)
            except ValueError:
                told = error.reason
            raise QueryError(f"{self.url}: {told}") from error
        except (OSError, ValueError, HTTPException) as error:
            raise QueryError(f"{self.url}: {error}") from error
        try:
            if found["status"] != "success":
                raise QueryError(f"{self.url}: {found.get('error', 'no answer')}")
            kind = found["data"]["resultType"]
            result: list[dict[str, Any]] = found["data"]["result"]
        except (TypeError, KeyError, AttributeError) as error:
            raise QueryError(f"{self.url}/api/v1/{path} does not answer as Prometheus does") from error
        if kind not in ("vector", "matrix"):
            raise QueryError(f"the query returns a {kind}, not series")
        # native histograms have "histogram" instead of numbers and cannot be watched
        return [series for series in result if "value" in series or "values" in series]

    def at(self, query: str, when: float) -> dict[Labels, float]:
        """The value of each series at a time."""
        return {_labels(one): float(one["value"][1]) for one in self._ask("query", query=query, time=when)}

    def between(
        self, query: str, start: float, end: float, step: float
    ) -> Iterator[dict[Labels, list[tuple[float, float]]]]:
        """Times and values of each series at ``start, start + step, ...``, page by page."""
        while start <= end:
            last = min(end, start + (POINTS - 1) * step)
            found = self._ask("query_range", query=query, start=start, end=last, step=step)
            yield {_labels(one): [(float(t), float(v)) for t, v in one["values"]] for one in found}
            start = last + step


def _labels(series: dict[str, Any]) -> Labels:
    return tuple(sorted((name, value) for name, value in series["metric"].items() if name != "__name__"))


class Watch:
    """Runs a detector for each series of a query, with one sample per step.

    The detectors first learn the history of the series, so there is no warm-up. The times of samples are multiples of
    the step, and no sample is learned twice. While a series is absent, it has no answer. Its detector is kept, and
    recognises the gap from the time stamps when the series returns.

    Parameters
    ----------
    client : Client
    query : str
        A query in PromQL. Query a counter as a rate: ``rate(requests_total[5m])``.
    detector : StreamDetector or None, default=None
        The detector of each series is a clone of it. None means a StreamDetector with the defaults and
        ``interval=step``.
    step : float, default=60.0
        Seconds between samples.
    history : float, default=86400.0
        Seconds of history to learn at the start. After a restart only the missed samples are learned.
    store : Store or None, default=None
        Saves the detectors for a restart.
    save_every : float, default=300.0
        Seconds between saves.
    max_keys : int, default=10000
        The largest number of series. If there are more, the series that has been absent longest is dropped.
    band : bool, default=True
        Whether to forecast each sample before it comes. This takes ten times as long as the score, about 1 ms per series. The
        answers of a step are computed first, which takes 0.1 s for 1000 series, and published. The forecasts for the next
        step are made afterwards.

    Attributes
    ----------
    answers : dict
        The :class:`Answer` of each series in the last step, by its labels.
    records, anomalies, errors : int
        Numbers of samples learned, of anomalies among them, and of failed queries.
    """

    def __init__(
        self,
        client: Client,
        query: str,
        detector: StreamDetector | None = None,
        *,
        step: float = 60.0,
        history: float = 86400.0,
        store: Store | None = None,
        save_every: float = 300.0,
        max_keys: int = 10_000,
        band: bool = True,
    ) -> None:
        if not step > 0.0 or history < 0.0:
            raise ValueError(f"step must be above 0 and history at least 0, got {step} and {history}")
        self.client, self.query, self.step, self.history = client, query, step, history
        self.store, self.save_every, self.band = store, save_every, band
        template = StreamDetector(interval=step, random_state=0) if detector is None else detector
        self.model = KeyedDetector(template, max_keys=max_keys)
        self.answers: dict[Labels, Answer] = {}
        self.records = self.anomalies = self.errors = 0
        self._latest: dict[Labels, float] = {}  # time of the last sample of each series
        # for each series: number of samples learned before the forecast, and the forecast
        self._ahead: dict[Labels, tuple[int, Band]] = {}
        self._now: float | None = None  # results of the last step
        self._lock = Lock()
        self._stop = Event()
        self._saved = time.monotonic()

    # ---- running -----------------------------------------------------------------------------------------------

    def start(self, now: float | None = None) -> None:
        """Resume from the store, and learn the history. After a restart, only the missed samples are learned."""
        found = None if self.store is None else self.store.load(PARTITION)
        if found is not None:
            if not isinstance(found.model, KeyedDetector):
                raise StreamError(f"the state holds a {type(found.model).__name__}, not a KeyedDetector")
            self.model, self._now = found.model, float(str(found.position))
            self.records, self.anomalies = found.records, found.anomalies
            self._latest = {_restored(key): float(stamp) for key, stamp in found.details.get("latest", [])}
        now = self._aligned(time.time() if now is None else now)
        start = self._aligned(now - self.history)
        if self._now is not None:
            start = max(start, self._now + self.step)
        for page in self.client.between(self.query, start, now - self.step, self.step):
            self._learn_page(page)
        log.info("learned %d samples of %d series", self.records, len(self.model))

    def tick(self, now: float | None = None) -> None:
        """Query the newest sample of each series, and compute its answer."""
        now = self._aligned(time.time() if now is None else now)
        try:
            found = self.client.at(self.query, now)
        except QueryError as error:
            self.errors += 1
            log.warning("%s", error)
            return
        if self._now is not None and now > self._now + 1.5 * self.step:  # ticks were missed
            try:
                for page in self.client.between(self.query, self._now + self.step, now - self.step, self.step):
                    self._learn_page(page)
            except QueryError as error:
                self.errors += 1
                log.warning("%s", error)
        answers = {}
        for labels, value in found.items():
            answer = self._answer(labels, value, now)
            if answer is None:
                answer = self.answers.get(labels)
            if answer is not None:
                answers[labels] = answer
        with self._lock:
            self.answers = answers
        self._now = now
        self._ahead = {labels: made for labels, made in self._ahead.items() if labels in answers}
        for labels in answers:  # forecasts are made after the answers are public, because they take ten times as long
            if not self._stop.is_set():
                self._expected(labels)

    def _learn_page(self, page: dict[Labels, list[tuple[float, float]]]) -> None:
        """Learn past samples, all of a series at once if possible, because this is ten times as fast with equal results."""
        for labels, samples in page.items():
            latest = self._latest.get(labels, float("-inf"))
            samples = [sample for sample in samples if sample[0] > latest]
            if len(samples) > 2:
                if labels not in self.model:
                    self._learn(labels, samples[0][1], samples[0][0])
                    del samples[0]
                middle = samples[:-1]
                with suppress(ValueError, KeyError):  # a sample was refused, so none was learned; continue one by one
                    values, times = np.array([value for _, value in middle]), np.array([stamp for stamp, _ in middle])
                    self.model.detector(labels).update_many(values, times)
                    self._latest[labels] = middle[-1][0]
                    self.records += len(middle)
                    samples = samples[-1:]
            for stamp, value in samples:
                self._learn(labels, value, stamp)

    def _learn(self, labels: Labels, value: float, stamp: float) -> Detection | None:
        """The detection for a sample; None if it was learned before or cannot be used."""
        if stamp <= self._latest.get(labels, float("-inf")):
            return None
        try:
            found = self.model.update(labels, float("nan") if isnan(value) else value, stamp)
        except ValueError as error:
            log.warning("a sample is skipped: %s", error)
            return None
        self._latest[labels] = stamp
        self.records += 1
        return found

    def _answer(self, labels: Labels, value: float, stamp: float) -> Answer | None:
        """The answer to a new sample."""
        band = self._expected(labels)
        found = self._learn(labels, value, stamp)
        if found is None:
            return None
        if found.is_anomaly:
            self.anomalies += 1
            log.warning("anomaly in %s: %g", json.dumps(dict(labels)), value)
        return Answer(found.score, bool(found.is_anomaly), *band)

    def _expected(self, labels: Labels) -> Band:
        """The expected value of the next sample of a series, with its band."""
        if not self.band or labels not in self.model:
            return NO_BAND
        detector = self.model.detector(labels)
        made, band = self._ahead.get(labels, (-1, NO_BAND))
        if made != detector.n_seen_:
            try:
                ahead = detector.forecast(1)
                band = float(ahead.median[0, 0]), float(ahead.lower[0, 0]), float(ahead.upper[0, 0])
            except ValueError:  # the detector warms up
                band = NO_BAND
            self._ahead[labels] = detector.n_seen_, band
        return band

    def _aligned(self, now: float) -> float:
        return now // self.step * self.step

    def run(self) -> None:
        """Start, process one sample of each series per step until :meth:`stop` is called, and save."""
        try:
            while True:  # Prometheus may start later than this process
                try:
                    self.start()
                    break
                except QueryError as error:
                    self.errors += 1
                    log.warning("%s", error)
                    if self._stop.wait(min(self.step, 5.0)):
                        return
            while not self._stop.is_set():
                self.tick()
                if time.monotonic() - self._saved >= self.save_every:
                    self.save()
                self._stop.wait(self.step - time.time() % self.step)
            self.save()
        finally:
            if self.store is not None:
                self.store.close()

    def stop(self) -> None:
        """Ask `run` to end. Signal handlers and other threads may call it."""
        self._stop.set()

    def save(self) -> None:
        """Save the detectors if there is a store and something was learned."""
        self._saved = time.monotonic()
        if self.store is None or not self._latest:
            return
        held = set(self.model.keys())
        self._latest = {labels: stamp for labels, stamp in self._latest.items() if labels in held}
        latest = [[[list(pair) for pair in labels], stamp] for labels, stamp in self._latest.items()]
        position = max(self._latest.values()) if self._now is None else self._now
        self.store.save(
            Checkpoint(
                PARTITION, repr(position), self.model, False, self.records, self.anomalies, 0, {"latest": latest}
            )
        )

    def snapshot(self) -> dict[Labels, Answer]:
        """The answers of the last step. Other threads may call it."""
        with self._lock:
            return dict(self.answers)


def _restored(labels: Any) -> Labels:
    return tuple((str(name), str(value)) for name, value in labels)


class WatchMetrics:
    """Exports the answers as metrics with the labels of the series.

    Prometheus renames the labels `instance` and `job` when it scrapes them, unless its option ``honor_labels: true`` is set.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        answers = self._watch.snapshot()
        names = sorted({name for labels in answers for name, _ in labels})
        for metric, what, value in (
            ("rcf_anomaly_score", "How anomalous the newest sample is.", lambda answer: answer.score),
            ("rcf_is_anomaly", "1 if the newest sample is an anomaly.", lambda answer: float(answer.is_anomaly)),
            ("rcf_expected", "The expected value of the newest sample.", lambda answer: answer.expected),
            ("rcf_expected_lower", "The 10 % point of the expected values.", lambda answer: answer.lower),
            ("rcf_expected_upper", "The 90 % point of the expected values.", lambda answer: answer.upper),
        ):
            gauge = GaugeMetricFamily(metric, what, labels=names)
            for labels, answer in answers.items():
                shown = value(answer)
                if shown is not None:
                    known = dict(labels)
                    gauge.add_metric([known.get(name, "") for name in names], shown)
            yield gauge
        for metric, what, count in (
            ("rcf_records", "Samples that were learned.", self._watch.records),
            ("rcf_anomalies", "Samples that were anomalies when they came.", self._watch.anomalies),
            ("rcf_errors", "Queries that failed.", self._watch.errors),
        ):
            yield CounterMetricFamily(metric, what, value=count)
