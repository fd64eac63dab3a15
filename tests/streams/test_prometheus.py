"""`rcf watch` with Debian's Prometheus. Its history is written by promtool."""

import contextlib
import http.server
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
from servers import free_port, process, wait_until

from rcf import StreamDetector, load
from rcf.streams.files import FileStore
from rcf.streams.prometheus import Client, QueryError, Watch, duration

STEP = 15
HOSTS = ("a", "b", "c")
SMALL = {"shingle_size": 4, "n_estimators": 20, "max_samples": 64, "random_state": 0, "interval": STEP}


class Fake:
    """A stand-in for Prometheus: series by their labels, sampled at multiples of the step."""

    def __init__(self, series):
        self.series, self.down = series, False

    def at(self, query, when):
        if self.down:
            raise QueryError("down")
        return {labels: values[when] for labels, values in self.series.items() if when in values}

    def between(self, query, start, end, step):
        for page in np.array_split(np.arange(start, end + 1, step), 3):
            yield {
                labels: [(t, values[t]) for t in page.tolist() if t in values] for labels, values in self.series.items()
            }


def series(n, jump=None):
    """Series of three hosts. From `jump` on, the values of host b are 80 higher."""
    rng = np.random.default_rng(0)
    found = {}
    for host in HOSTS:
        values = 10 * np.sin(np.arange(n) / 7) + rng.normal(size=n)
        if host == "b" and jump is not None:
            values[jump:] += 80
        times = (STEP * np.arange(n)).astype(float).tolist()
        found[(("host", host), ("job", "x"))] = dict(zip(times, values.tolist(), strict=True))
    return found


def flagged(watch):
    return [dict(labels)["host"] for labels, answer in watch.answers.items() if answer.is_anomaly]


def test_history_is_learned_first_and_a_jump_is_found_only_in_its_series():
    client = Fake(series(600, jump=550))
    watch = Watch(client, "load", StreamDetector(**SMALL), step=STEP, history=1e6)
    watch.start(now=540 * STEP)
    assert watch.records == 3 * 540
    seen = []
    for t in range(540, 553):
        watch.tick(now=t * STEP + 3.0)
        assert len(watch.answers) == 3
        assert all(
            answer.score > 0 and answer.lower <= answer.expected <= answer.upper for answer in watch.answers.values()
        )
        seen += [(t, host) for host in flagged(watch)]
    assert {host for _, host in seen} == {"b"}
    assert seen[0][0] in (550, 551)


def test_scores_are_those_of_a_detector():
    client = Fake(series(200))
    watch = Watch(client, "load", StreamDetector(**SMALL), step=STEP, history=100 * STEP)
    watch.start(now=150 * STEP)
    for t in range(150, 200):
        watch.tick(now=t * STEP)
    for labels, values in client.series.items():
        detector = StreamDetector(**SMALL)
        found = [detector.update(values[t * STEP], float(t * STEP)) for t in range(50, 200)]
        assert watch.answers[labels].score == found[-1].score


def test_the_expected_value_is_a_forecast_made_before_the_sample():
    """The forecast is made after the previous tick, or now if samples were learned since then."""
    client = Fake(series(200))
    watch = Watch(client, "load", StreamDetector(**SMALL), step=STEP, history=100 * STEP)
    watch.start(now=150 * STEP)
    labels = next(iter(client.series))
    values = [client.series[labels][t * STEP] for t in range(200)]
    detector = StreamDetector(**SMALL)
    detector.update_many(np.array(values[50:150]), STEP * np.arange(50.0, 150.0))
    at = 150
    for t in (150, 151, 152, 160, 161, 190):
        watch.tick(now=t * STEP)
        for missed in range(at, t):
            detector.update(values[missed], float(missed * STEP))
        ahead = detector.forecast(1)
        found = detector.update(values[t], float(t * STEP))
        at = t + 1
        due = (found.score, found.is_anomaly, ahead.median[0, 0], ahead.lower[0, 0], ahead.upper[0, 0])
        assert watch.answers[labels] == due


def test_history_with_gaps_and_faults_is_learned_like_single_samples():
    client = Fake(series(200))
    values = client.series[next(iter(client.series))]
    del values[40.0 * STEP], values[90.0 * STEP]
    values[60.0 * STEP], values[70.0 * STEP] = float("nan"), float("inf")
    watch = Watch(client, "load", StreamDetector(**SMALL), step=STEP, band=False)
    watch.start(now=150 * STEP)
    watch.tick(now=150 * STEP)
    detector = StreamDetector(**SMALL)
    for t in range(151):
        if t * STEP in values and t != 70:
            found = detector.update(values[t * STEP], float(t * STEP))
    answer = watch.answers[next(iter(client.series))]
    assert (answer.score, answer.expected) == (found.score, None)


def test_a_sample_that_comes_twice_is_dropped():
    watch = Watch(Fake(series(100)), "load", StreamDetector(**SMALL), step=STEP)
    watch.start(now=90 * STEP)
    watch.tick(now=90 * STEP)
    before, answers = watch.records, watch.answers
    watch.tick(now=90 * STEP + 7)
    assert watch.records == before
    assert watch.answers == answers


def test_missed_ticks_are_made_up():
    client = Fake(series(200))
    watch = Watch(client, "load", StreamDetector(**SMALL), step=STEP)
    watch.start(now=100 * STEP)
    watch.tick(now=100 * STEP)
    client.down = True
    watch.tick(now=101 * STEP)
    client.down = False
    watch.tick(now=120 * STEP)
    assert (watch.records, watch.errors) == (3 * 121, 1)


def test_an_absent_series_has_no_answer_until_it_returns():
    client = Fake(series(200))
    lost = next(iter(client.series))
    for t in range(110, 115):
        del client.series[lost][float(t * STEP)]
    watch = Watch(client, "load", StreamDetector(**SMALL), step=STEP)
    watch.start(now=109 * STEP)
    present = []
    for t in range(109, 117):
        watch.tick(now=t * STEP)
        present.append(lost in watch.answers)
    assert present == [True, *[False] * 5, True, True]


def test_a_restart_continues_bit_for_bit_and_learns_missed_samples(tmp_path):
    client = Fake(series(300))

    def watch():
        return Watch(client, "load", StreamDetector(**SMALL), step=STEP, store=FileStore(tmp_path / "state"))

    first = watch()
    first.start(now=200 * STEP)
    first.tick(now=200 * STEP)
    first.save()
    first.store.close()
    second = watch()
    second.start(now=250 * STEP)
    second.tick(now=250 * STEP)
    second.store.close()
    whole = Watch(client, "load", StreamDetector(**SMALL), step=STEP)
    whole.start(now=250 * STEP)
    whole.tick(now=250 * STEP)
    assert second.records == whole.records == 3 * 251
    assert {labels: answer.score for labels, answer in second.answers.items()} == {
        labels: answer.score for labels, answer in whole.answers.items()
    }


@pytest.mark.parametrize("text", ["", "1y", "-5m", "h", "1h30m"])
def test_invalid_durations(text):
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)


@pytest.mark.parametrize("url", ["127.0.0.1:9090", "ftp://a", "http://"])
def test_invalid_addresses(url):
    with pytest.raises(ValueError, match="is not an address"):
        Client(url)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", "does not answer as Prometheus does"),
        (b'{"status": "success"}', "does not answer as Prometheus does"),
        (b'{"status": "error", "error": "too much"}', "too much"),
        (b"<html>", "Expecting value"),
        (
            b'{"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}}',
            "returns a scalar, not series",
        ),
    ],
)
def test_invalid_answers(body, message):
    """Such answers come from another kind of server, or from a server that dies while it sends."""
    for missing in (0, 5):

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.send_response(200)
                self.send_header("Content-Length", len(body) + missing)  # noqa: B023
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            with pytest.raises(QueryError, match="IncompleteRead" if missing else message):
                Client(f"http://127.0.0.1:{server.server_port}", timeout=10).at("up", 0.0)
            thread.join()


def test_a_missing_server_is_an_error():
    with pytest.raises(QueryError, match="Connection refused"):
        Client(f"http://127.0.0.1:{free_port()}").at("up", 0.0)


# ---- a real server ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def prometheus(tmp_path):
    """A Prometheus server that has the last 700 samples of three hosts and scrapes `rcf watch`."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    now = time.time() // STEP * STEP
    rng = np.random.default_rng(1)
    values = {host: 10 * np.sin(np.arange(700) / 7) + rng.normal(size=700) for host in HOSTS}
    lines = ["# TYPE load gauge"]
    lines += [f'load{{host="{host}"}} {values[host][i]} {now - (700 - i) * STEP}' for host in HOSTS for i in range(700)]
    (tmp_path / "history.txt").write_text("\n".join([*lines, "# EOF", ""]))
    done = subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", tmp_path / "history.txt", tmp_path / "data"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    watched = free_port()
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n"
        f"- job_name: rcf\n  honor_labels: true\n  static_configs: [{{targets: ['127.0.0.1:{watched}']}}]\n"
    )
    port = free_port()
    command = ["prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    with process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:

        def ready():
            assert run.poll() is None
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1).status == 200

        wait_until(ready, 60)
        yield f"http://127.0.0.1:{port}", watched, now


def test_client_and_pages_of_a_real_server(prometheus, monkeypatch):
    url, _, now = prometheus
    client = Client(url)
    monkeypatch.setattr("rcf.streams.prometheus.POINTS", 100)
    pages = list(client.between("load", now - 700 * STEP, now - STEP, STEP))
    assert len(pages) == 7
    found = [sample for page in pages for sample in page[(("host", "a"),)]]
    assert [t for t, _ in found] == (now - STEP * np.arange(700, 0, -1)).tolist()
    assert set(client.at("load", now - STEP)) == {(("host", host),) for host in HOSTS}
    with pytest.raises(QueryError, match="parse error"):
        client.at("load{", now)
    with pytest.raises(QueryError, match="returns a scalar, not series"):
        client.at("1", now)


def test_watch_serves_what_prometheus_scrapes(prometheus, tmp_path):
    """The test covers history, ticks, /metrics, the scraped answer with the labels of the series, and the save on SIGTERM."""
    pytest.importorskip("prometheus_client", reason="needs rcf[metrics]")
    pytest.importorskip("typer", reason="the command line needs rcf[cli]")
    url, listen, _ = prometheus
    state = tmp_path / "state.rcf"
    command = [sys.executable, "-m", "rcf", "watch", url, "load", "--step", str(STEP), "--history", "3h", "--listen",
               f"127.0.0.1:{listen}", "--state", str(state), "--trees", "10", "--samples", "64"]  # fmt: skip

    def scraped():
        with contextlib.suppress(OSError):
            found = Client(url).at("rcf_anomaly_score", time.time())
            return {dict(labels)["host"]: score for labels, score in found.items()} or None

    with process(command, stderr=subprocess.PIPE, text=True) as run:
        found = wait_until(lambda: scraped() or run.poll() is not None, 60, 0.2)
        assert run.poll() is None, run.stderr.read()
        assert set(found) == set(HOSTS)
        assert all(score > 0 for score in found.values())
        text = urllib.request.urlopen(f"http://127.0.0.1:{listen}/metrics").read().decode()
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 0, run.stderr.read()
    for metric in ("rcf_is_anomaly", "rcf_expected", "rcf_expected_lower", "rcf_expected_upper"):
        assert f'{metric}{{host="a"}}' in text
    learned = int(float(next(line.split()[1] for line in text.splitlines() if line.startswith("rcf_records_total "))))
    assert learned >= 3 * 699
    held = load(state)
    assert held.records >= learned
    assert sorted(dict(labels)["host"] for labels in held.model.keys()) == list(HOSTS)  # noqa: SIM118
