"""Structured streaming: the results of an undisturbed detector for each key, bit for bit, whatever happens to the driver."""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import rcf

pytest.importorskip("pyspark", reason="the package pyspark is not installed")

import pyarrow as pa
import pyarrow.parquet as pq

from rcf.spark import detect_stream
from rcf.spark.stream import Detecting

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "spark" / "stream.py"
PARAMS = {"shingle_size": 4, "n_estimators": 10, "max_samples": 64}
START = datetime(2026, 1, 1)


def series(keys, n, seed=0):
    noise = np.random.default_rng(seed)
    values = np.sin(np.arange(n) / 5.0)[:, None] + noise.normal(0, 0.1, (n, keys))
    values[n - 20, 1] += 5.0
    return values


def write(folder, number, values, first, order):
    """Write the records of all keys from `first` on as one file, which appears as a whole and is younger than those before."""
    n, keys = values.shape
    host = [f"host {k}" for k in range(keys)] * n
    times = np.repeat(np.arange(first, first + n) * 60_000_000, keys)
    table = pa.table(
        {
            "host": host,
            "time": pa.array(times + 1_767_225_600_000_000, pa.timestamp("us", "UTC")),
            "load": values.ravel(),
        }
    )
    hidden = folder / f".{number}"
    pq.write_table(table.take(order.permutation(len(table))), hidden)
    os.utime(hidden, (1e9 + number, 1e9 + number))
    hidden.rename(folder / f"{number:03}.parquet")


def expected(values, key):
    times = 1_767_225_600.0 + 60.0 * np.arange(len(values))
    return named("load").update_many(values[:, key], times)


def named(feature):
    """A detector that knows the name of the column and uses it in causes and reasons."""
    detector = rcf.StreamDetector(random_state=0, **PARAMS)
    detector.feature_names_in_ = np.array([feature], dtype=object)
    return detector


def run(source, state, sink, files, environment, log):
    command = [sys.executable, str(EXAMPLE), str(source), str(state), str(sink), "--files", str(files)]
    return subprocess.Popen(
        command, env={**environment, "PYTHONWARNINGS": "ignore"}, stdout=log, stderr=log, start_new_session=True
    )


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_every_row_once_and_equal_after_kill_9(spark, environment, tmp_path, kills):
    keys, files, each = 5, 3 + kills, 60
    values = series(keys, files * each)
    source, state, sink = (tmp_path / name for name in ("in", "state", "out"))
    source.mkdir()
    for i in range(files):
        write(source, i, values[i * each : (i + 1) * each], i * each, np.random.default_rng(i))
    instants = random.Random(kills)
    with open(tmp_path / "log", "wb") as log:
        for kill in range(kills):
            driver = run(source, state, sink, files, environment, log)
            begun = len(list(state.glob("commits/[0-9]*")))
            deadline = time.monotonic() + 180
            while len(list(state.glob("commits/[0-9]*"))) <= begun and driver.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(instants.uniform(0.0, 1.0))
            assert driver.poll() is None, f"it ended before kill {kill}: {(tmp_path / 'log').read_text()[-2000:]}"
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
        driver = run(source, state, sink, files, environment, log)
        assert driver.wait(timeout=300) == 0, (tmp_path / "log").read_text()[-3000:]
    # Spark reads only files of committed batches, which are listed in _spark_metadata
    rows = spark.read.parquet(str(sink)).orderBy("host", "time").collect()
    assert len(rows) == keys * files * each
    for key in range(keys):
        own = [row for row in rows if row.host == f"host {key}"]
        one = expected(values, key)
        assert [row.load for row in own] == values[:, key].tolist()
        assert [row.score for row in own] == one.score.tolist()
        assert [row.threshold for row in own] == one.threshold.tolist()
        assert [row.is_anomaly for row in own] == one.is_anomaly.tolist()
        assert [row.reason for row in own] == one.reason.tolist()
        for i in one.anomalies.tolist():
            assert (own[i].cause.lag, own[i].cause.side) == one[i].cause[1:]
            assert own[i].cause.feature == "load"
            assert own[i].expected == one[i].expected.tolist()
    assert expected(values, 1).is_anomaly[-21:-15].any()


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    return source


def test_bad_arguments_are_refused_before_anything_runs(spark, folder):
    stream = spark.readStream.schema("host string, time timestamp, load double, other string").parquet(str(folder))

    def ask(frame=stream, **changes):
        return detect_stream(frame, **{"keyCols": ["host"], "timeCol": "time", "valueCols": ["load"], **changes})

    assert ask(ttl=timedelta(days=1)).isStreaming
    for changes, message in [
        ({"keyCols": []}, "keyCols must be a list of at least one column"),
        ({"keyCols": "host"}, "keyCols must be a list"),
        ({"valueCols": ["load", "lode"]}, "no column 'lode' among 'host', 'time', 'load', 'other'"),
        ({"valueCols": ["load", "load"]}, "column 'load' is named twice"),
        ({"valueCols": ["other"]}, "column 'other' must hold numbers, got string"),
        ({"timeCol": "other"}, "column 'other' must hold timestamps"),
        ({"ttl": -1}, "ttl must be finite and not negative"),
        ({"ttl": 0}, "ttl must be at least a millisecond"),
        ({"max_samples": 0}, "max_samples must be"),
        ({"frame": stream.withColumn("score", stream.load)}, "column 'score' exists already"),
        (
            {"frame": spark.createDataFrame([("a", START, 1.0)], "host string, time timestamp, load double")},
            "streaming",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            ask(**changes)
    with pytest.raises(TypeError, match="max_sample"):
        ask(max_sample=3)
    name = "spark.sql.streaming.stateStore.providerClass"
    rocks = spark.conf.get(name)
    spark.conf.set(name, "org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider")
    try:
        with pytest.raises(ValueError, match="RocksDB"):
            ask()
    finally:
        spark.conf.set(name, rocks)


# ---- the processor without a stream ------------------------------------------------------------------------------


@pytest.fixture
def tester(spark):
    from pyspark.sql.streaming.tws_tester import TwsTester

    return TwsTester(Detecting(["k", "t", "v"], ["v"], {"random_state": 0, **PARAMS}, None, 1.0))


def given(times, values):
    from pyspark.sql import Row

    make = Row("k", "t", "v", "__rcf_time")
    return [make("a", t, None if v is None else float(v), t) for t, v in zip(times, values, strict=True)]


def test_batches_of_any_length_and_order_give_the_same_bits(tester):
    values = series(2, 400)[:, 1]
    out, i = [], 0
    for n in (1, 130, 3, 200, 66):
        rows = given(range(i, i + n), values[i : i + n])
        random.Random(n).shuffle(rows)
        out += tester.test("a", rows)
        i += n
    assert [row.t for row in out] == list(range(400))
    one = named("v").update_many(values, np.arange(400.0))
    assert [row.score for row in out] == one.score.tolist()
    assert [row.reason for row in out] == one.reason.tolist()
    [state] = tester.peekValueState("detector", "a")
    again = rcf.StreamDetector.from_bytes(bytes(state))
    assert again.n_seen_ == 400
    assert tester.peekValueState("detector", "b") is None


def test_rows_that_are_refused_come_out_with_the_reason(tester):
    """Late rows, rows without a time and infinite values are accepted or refused in the same way as by StreamDetector.update, row
    by row.
    """
    values = series(2, 300)[:, 0]
    tester.test("a", given(range(200), values[:200]))
    batch = given([200, 50, 199, None, 201, 202], [values[200], 9.0, 9.0, 1.0, float("inf"), values[202]])
    out = tester.test("a", batch)
    assert [row.t for row in out] == [50, 199, 200, 201, 202, None]

    one = named("v")
    one.update_many(values[:200], np.arange(200.0))
    refused = 0
    for row in out[:-1]:
        try:
            found = one.update(row.v, float(row.t))
            due = found.score, found.is_anomaly, found.reason
        except ValueError as error:
            due = None, None, str(error)
            refused += 1
        assert (row.score, row.is_anomaly, row.reason) == due
    assert refused >= 2  # at least the row of an hour ago and the infinite one
    assert (out[-1].score, out[-1].reason) == (None, "the time is NULL")
    assert bytes(tester.peekValueState("detector", "a")[0]) == one.to_bytes()


def test_missing_values_are_filled_as_by_the_detector(tester):
    values = series(2, 200)[:, 0].tolist()
    values[100] = None
    out = tester.test("a", given(range(200), values))
    found = named("v").update_many([np.nan if v is None else v for v in values], np.arange(200.0))
    assert [row.score for row in out] == found.score.tolist()


def test_times_of_every_kind(spark):
    from rcf.spark.stream import _seconds

    assert _seconds(datetime(1970, 1, 2, 0, 0, 1, 500_000)) == 86_401.5
    assert _seconds(date(1970, 1, 2)) == 86_400.0
    assert _seconds(7) == 7.0
    assert np.isnan(_seconds(None))
