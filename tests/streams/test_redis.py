"""The worker on Redis streams with Debian's redis-server: each record is written exactly once, however the worker is killed."""

import json
import subprocess
import threading
import time

import numpy as np
import pytest

redis = pytest.importorskip("redis", reason="needs rcf[redis]")
pytest.importorskip("typer", reason="the command line needs rcf[cli]")

from servers import WORKER, killed_at_random, parameters, process, wait_until, waves  # noqa: E402

from rcf import KeyedDetector, StreamDetector  # noqa: E402
from rcf.streams import Schema, StreamError, Worker  # noqa: E402
from rcf.streams.redis import RedisSource, RedisTransaction  # noqa: E402

PARAMS, FLAGS = parameters()


@pytest.fixture
def client(redis_url):
    found = redis.Redis.from_url(redis_url)
    found.flushall()
    yield found
    found.close()


def fill(client, values, stream="in", **more):
    with client.pipeline(transaction=False) as pipe:
        for i, value in enumerate(values):
            pipe.xadd(stream, {"load": value, "n": f"r{i}", **more})
        pipe.execute()


def written(client, stream="out"):
    return [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in client.xrange(stream)]


def undisturbed(values, **params):
    return StreamDetector(**{**PARAMS, **params}).update_many(np.array(values))


def check(rows, values):
    """Each record once, in order, with the bits of an undisturbed detector."""
    assert [row["n"] for row in rows] == [f"r{i}" for i in range(len(values))]
    found = undisturbed(values)
    assert [float(row["ANOMALY_SCORE"]) for row in rows] == found.score.tolist()
    assert [row["IS_ANOMALY"] == "true" for row in rows] == found.is_anomaly.tolist()


def worker(client, redis_url, **options):
    own = redis.Redis.from_url(redis_url)
    sink = RedisTransaction(own, "out")
    return Worker(
        StreamDetector(**PARAMS),
        RedisSource(own, "in"),
        sink,
        sink,
        schema=Schema(["load"]),
        dead_letters=sink,
        **options,
    )


def run_until_read(one, n):
    """Repeat steps until `n` records are scored. Only the steps write checkpoints."""
    one.resume()
    while one.records < n:
        one.step()


@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_instants(client, redis_url, times):
    """After repeated kill -9, no record is lost, different or repeated."""
    n, values = 2500 * times, waves(2500 * times, spikes=[1000, 2000])
    fill(client, values)
    command = [*WORKER, "redis", "in", "out", "--url", redis_url, "-c", "load", *FLAGS, "--set", "worker.batch=20"]
    killed_at_random(command, lambda: client.xlen("out"), n, times, np.random.default_rng(times))
    check(written(client), values)


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_with_many_keys(client, redis_url, times):
    """The checkpoints are increments, whose fields are removed with the next whole checkpoint."""
    keys, n, seen = 40, 2800 + 600 * times, []
    values, rng = waves(n), np.random.default_rng(times)
    chosen = list(range(keys)) * 70 + rng.integers(4, size=n - 70 * keys).tolist()
    with client.pipeline(transaction=False) as pipe:
        for i, (value, key) in enumerate(zip(values, chosen, strict=True)):
            pipe.xadd("in", {"load": value, "n": f"r{i}", "host": f"h{key}"})
        pipe.execute()
    command = [
        *WORKER,
        "redis",
        "in",
        "out",
        "--url",
        redis_url,
        "-c",
        "load",
        "--key",
        "host",
        *FLAGS,
        "--set",
        "worker.batch=20",
    ]

    def progress():
        seen.append(json.loads(client.hget("rcf:in", "increments") or "[]"))
        return client.xlen("out")

    killed_at_random(command, progress, n, times, rng)
    rows = written(client)
    assert [row["n"] for row in rows] == [f"r{i}" for i in range(n)]
    found = KeyedDetector(StreamDetector(**PARAMS)).update_many([f"h{key}" for key in chosen], values)
    assert [float(row["ANOMALY_SCORE"]) for row in rows] == found.score.tolist()
    assert max(map(len, seen)) > 2
    assert min(map(len, seen)) == 0
    counts, fields = progress() and seen[-1], client.hkeys("rcf:in")
    assert sorted(name for name in fields if name.startswith(b"increment/")) == sorted(
        f"increment/{k}/{i}".encode() for k, count in enumerate(counts, 1) for i in range(count)
    )


def test_uncommitted_results_are_discarded(client, redis_url):
    values = waves(500)
    fill(client, values)
    first = worker(client, redis_url, batch=50, checkpoint_every=3600)
    run_until_read(first, 200)
    assert client.xlen("out") == 0
    first.checkpoint()
    assert client.xlen("out") == 200
    run = worker(client, redis_url, batch=7)
    run_until_read(run, 500)
    check(written(client), values)


def test_positions_of_the_input_are_written(client, redis_url):
    fill(client, [1.0, 2.0])
    with process([*WORKER, "redis", "in", "out", "--url", redis_url, *FLAGS], stderr=subprocess.DEVNULL):
        wait_until(lambda: client.xlen("out") == 2)
    ids = [name.decode() for name, _ in client.xrange("in")]
    assert [row["POSITION"] for row in written(client)] == ids


def test_invalid_records_go_to_a_separate_stream(client, redis_url):
    values = waves(300)
    fill(client, values[:100])
    client.xadd("in", {"load": "much", "n": "bad"})
    client.xadd("in", {"lode": "1.0", "n": "bad"})
    client.xadd("in", {"load": "inf", "n": "bad"})
    for i, value in enumerate(values[100:], 100):
        client.xadd("in", {"load": value, "n": f"r{i}"})
    run = worker(client, redis_url)
    run_until_read(run, 300)
    check(written(client), values)
    dead = written(client, "out:rejected")
    assert [row["position"] for row in dead] == [name.decode() for name, _ in client.xrange("in")[100:103]]
    assert dead[0]["reason"] == "'load': 'much' is not a number"
    assert dead[1]["reason"] == "no field 'load' among 'lode', 'n'"
    assert "inf" in dead[2]["reason"]
    assert dead[0]["data"] == '{"load": "much", "n": "bad"}'
    assert run.rejected == 3


def test_a_second_worker_takes_over_and_the_first_can_no_longer_commit(client, redis_url):
    values = waves(300)
    fill(client, values[:100])
    first = worker(client, redis_url)
    run_until_read(first, 100)
    second = worker(client, redis_url)
    second.resume()
    fill(client, [])
    for i, value in enumerate(values[100:], 100):
        client.xadd("in", {"load": value, "n": f"r{i}"})
    with pytest.raises(StreamError, match="another worker has taken over the stream in"):
        first.step()
    assert client.xlen("out") == 100
    run_until_read(second, 300)
    check(written(client), values)


def test_keys_have_detectors_of_their_own_with_overrides(client, redis_url):
    values = {"press 7": waves(400, 1), "oven": waves(400, 2)}
    for a, b in zip(values["press 7"], values["oven"], strict=True):
        client.xadd("in", {"machine": "press 7", "load": a})
        client.xadd("in", {"machine": "oven", "load": b})
    command = [*WORKER, "redis", "in", "out", "--url", redis_url, "-c", "load", "--key", "machine", *FLAGS,
               "--set", "override.press 7={shingle_size=2}"]  # fmt: skip
    with process(command, stderr=subprocess.DEVNULL):
        wait_until(lambda: client.xlen("out") == 800)
    rows = written(client)
    for key, size in (("press 7", 2), ("oven", 4)):
        scores = [float(row["ANOMALY_SCORE"]) for row in rows if row["machine"] == key]
        assert scores == undisturbed(values[key], shingle_size=size).score.tolist()


def test_the_state_is_written_once_per_batch(client, redis_url):
    """To write a state costs some hundred times as much as to process a record."""
    fill(client, waves(1000))
    run = worker(client, redis_url, batch=100)
    saves = []
    save, run.store.save = run.store.save, lambda found: (saves.append(1), save(found))
    run_until_read(run, 1000)
    assert len(saves) == 1 + 10  # the first one is written before a record is read


def test_records_that_come_while_it_waits_are_processed_at_once(client, redis_url):
    run = worker(client, redis_url)
    thread = threading.Thread(target=run.run)
    thread.start()
    try:
        time.sleep(0.1)
        client.xadd("in", {"load": 1.0})
        wait_until(lambda: client.xlen("out") == 1, 5)
    finally:
        run.stop()
        thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_that_breaks_in_a_checkpoint(client, redis_url, monkeypatch, when):
    """The connection breaks before or after the transaction. The error says what is uncertain, and the next worker neither loses
    nor repeats records.
    """
    values = waves(200)
    fill(client, values)
    first = worker(client, redis_url, batch=50)
    first.resume()
    first.step()
    own = first.store._client
    send = redis.connection.AbstractConnection.send_packed_command

    def broken(connection, command, *args, **kwargs):
        data = b"".join(command) if isinstance(command, list) else command
        if b"EXEC" in data:
            if when == "after":
                send(connection, command, *args, **kwargs)
                connection.read_response()
            connection.disconnect()
            raise redis.ConnectionError("cut")
        return send(connection, command, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(redis.connection.AbstractConnection, "send_packed_command", broken)
        with pytest.raises(StreamError, match="the checkpoint may not have been written"):
            first.step()
    own.close()
    assert client.xlen("out") == (50 if when == "before" else 100)
    run_until_read(worker(client, redis_url), 200)
    check(written(client), values)
