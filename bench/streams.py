"""Rates and memory of workers on streams.

    python -m bench.streams [files] [redis] [kinesis] [keys] [hosts] [watch] [soak] [--records N]

Each rate is the number of records divided by the CPU time of the worker's thread, so that servers on the same machine do not count.
Redis needs redis-server; Kinesis runs against moto's server.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rcf import KeyedDetector, StreamDetector
from rcf.streams import Schema, Worker
from rcf.streams.files import FileStore, LineSink, LineSource


def values(n: int) -> list[float]:
    rng = np.random.default_rng(0)
    found = 10 * np.sin(np.arange(n) / 8) + rng.normal(size=n)
    found[::5000] += 40
    return found.round(3).tolist()  # type: ignore[no-any-return]


def until_read(worker: Worker, n: int) -> dict[str, float]:
    """Run the worker on `n` records. Returns records per second of CPU time and of wall time."""
    worker.resume()
    cpu, wall = time.thread_time(), time.perf_counter()
    while worker.records < n:
        worker.step()
    worker.checkpoint()
    cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
    worker.close()
    return {"records": n, "records/s of CPU": n / cpu, "records/s": n / wall}


def files(n: int, folder: Path) -> dict[str, float]:
    with (folder / "in").open("w") as file:
        file.writelines(f'{{"host": "a", "load": {v}}}\n' for v in values(n))
    source, sink = LineSource(folder / "in"), LineSink(folder / "out")
    store = FileStore(folder / "state.rcf")
    return until_read(Worker(StreamDetector(random_state=0), source, sink, store, checkpoint_every=10.0), n)


def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def server(command: list[str], ready: Callable[[], Any]) -> Iterator[None]:
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                ready()
                break
            except Exception:  # the server has not started yet
                if run.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield
    finally:
        run.kill()
        run.wait()


def redis(n: int, folder: Path) -> dict[str, float]:
    import redis as library

    from rcf.streams.redis import RedisSource, RedisTransaction

    number = port()
    client = library.Redis(port=number)
    command = [
        shutil.which("redis-server") or "redis-server",
        "--port",
        str(number),
        "--save",
        "",
        "--appendonly",
        "no",
    ]
    with server(command, client.ping):
        for at in range(0, n, 10_000):
            with client.pipeline(transaction=False) as pipe:
                for v in values(n)[at : at + 10_000]:
                    pipe.xadd("in", {"load": v})
                pipe.execute()
        sink = RedisTransaction(client, "out")
        return until_read(Worker(StreamDetector(random_state=0), RedisSource(client, "in"), sink, sink), n)


def kinesis(n: int, folder: Path) -> dict[str, float]:
    import boto3

    from rcf.streams import dynamo
    from rcf.streams.kinesis import KinesisSink, KinesisSource

    number = port()
    made_up = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "eu-central-1",
               "endpoint_url": f"http://127.0.0.1:{number}"}  # fmt: skip
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(number)]
    client = boto3.client("kinesis", **made_up)
    with server(command, client.list_streams):
        for stream in ("in", "out"):
            client.create_stream(StreamName=stream, ShardCount=1)
        records = [{"Data": json.dumps({"load": v}), "PartitionKey": "a"} for v in values(n)]
        for at in range(0, n, 500):
            client.put_records(StreamName="in", Records=records[at : at + 500])
        shard = client.list_shards(StreamName="in")["Shards"][0]["ShardId"]
        s3 = boto3.client("s3", **made_up)
        s3.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        dynamo.LARGEST = 200_000  # moto applies the limit of an item to the base64 text of a model
        store = dynamo.DynamoStore(boto3.client("dynamodb", **made_up), "rcf", "in", s3=s3, bucket="models")
        worker = Worker(
            StreamDetector(random_state=0), KinesisSource(client, "in", shard), KinesisSink(client, "out"), store,
            checkpoint_every=10.0,
        )  # fmt: skip
        return until_read(worker, n)


def keys(n: int, folder: Path, count: int = 10_000, template: StreamDetector | None = None) -> dict[str, float]:
    """Many keys in one worker, with small detectors and one checkpoint at the end."""
    with (folder / "in").open("w") as file:
        file.writelines(f'{{"host": "h{i % count}", "load": {v}}}\n' for i, v in enumerate(values(n)))
    small = StreamDetector(4, n_estimators=10, max_samples=64, random_state=0)
    model = KeyedDetector(template or small, max_keys=count)
    store = FileStore(folder / "state.rcf")
    worker = Worker(
        model, LineSource(folder / "in"), LineSink(folder / "out"), store, schema=Schema(["load"], key="host"),
        checkpoint_every=1e9,
    )  # fmt: skip
    worker.resume()
    cpu = time.thread_time()
    while worker.records < n:
        worker.step()
    cpu = time.thread_time() - cpu
    begin = time.thread_time()
    worker.checkpoint()
    save = time.thread_time() - begin
    worker.close()
    return {"records": n, "keys": len(model), "records/s of CPU": n / cpu, "seconds to save": save,
            "state in MB": (folder / "state.rcf").stat().st_size / 1e6, "memory in MB": peak()}  # fmt: skip


def hosts(n: int, folder: Path) -> dict[str, float]:
    """Fewer keys with the default detectors, so that each comes several times in a batch."""
    return keys(n, folder, 50, StreamDetector(random_state=0))


def watch(n: int, folder: Path) -> dict[str, float]:
    """CPU time of one tick of `rcf watch` over `n` series, without Prometheus: for the answers, and for the next forecasts."""
    from rcf.streams.prometheus import Labels, Watch

    step, length = 60.0, 303
    names: list[Labels] = [(("host", f"h{i}"),) for i in range(n)]
    series = [values(length)[i % 100 :] + values(length)[: i % 100] for i in range(n)]

    class Client:
        def at(self, query: str, when: float) -> dict[Labels, float]:
            return {name: one[int(when // step)] for name, one in zip(names, series, strict=True)}

        def between(self, query: str, start: float, end: float, step: float) -> Iterator[dict[Labels, Any]]:
            times = np.arange(start, end + 1, step).tolist()
            yield {name: [(t, one[int(t // step)]) for t in times] for name, one in zip(names, series, strict=True)}

    found = Watch(Client(), "load", step=step, history=(length - 3) * step)  # type: ignore[arg-type]
    logging.getLogger("rcf.streams").setLevel(logging.ERROR)
    found.start(now=(length - 3) * step)
    found.tick(now=(length - 3) * step)
    found.tick(now=(length - 2) * step)
    cpu = time.thread_time()
    found.stop()  # the tick then leaves out the forecasts of the next one
    found.tick(now=(length - 1) * step)
    answers, cpu = time.thread_time() - cpu, time.thread_time()
    for name in names:
        found._expected(name)
    return {"series": n, "seconds to the answers": answers, "seconds of the next forecasts": time.thread_time() - cpu}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident() -> float:
    """Memory of this process in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(n: int, folder: Path) -> dict[str, float]:
    """The memory after a tenth of the records, and at the end."""
    with (folder / "in").open("w") as file:
        for at in range(0, n, 100_000):
            file.writelines(f'{{"load": {v}}}\n' for v in values(min(100_000, n - at)))
    source, sink = LineSource(folder / "in"), LineSink(os.devnull)
    worker = Worker(StreamDetector(random_state=0), source, sink, FileStore(folder / "state.rcf"), checkpoint_every=1.0)
    worker.resume()
    early = 0.0
    while worker.records < n:
        worker.step()
        if not early and worker.records >= n // 10:
            early = resident()
    found = {"records": n, "MB after a tenth": early, "MB at the end": resident()}
    worker.close()
    return found


CASES: dict[str, tuple[Callable[[int, Path], dict[str, float]], int]] = {
    "files": (files, 200_000), "redis": (redis, 50_000), "kinesis": (kinesis, 20_000), "keys": (keys, 200_000),
    "hosts": (hosts, 100_000), "watch": (watch, 1000), "soak": (soak, 1_000_000),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], metavar="case", help=", ".join(CASES))
    parser.add_argument("--records", type=int)
    given = parser.parse_args()
    for name in given.cases or CASES:
        case, n = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            found = case(given.records or n, Path(folder))
        print(f"{name:8}", "  ".join(f"{what} {value:,.1f}" for what, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
