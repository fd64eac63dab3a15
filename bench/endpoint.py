"""``python -m bench.endpoint``: requests per second of ``rcf-sagemaker serve``, and the waiting time of /ping under load.

Needs the extra ``sagemaker`` and wrk (``apt-get install wrk``), which sends the requests with single rows.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import rcf
from rcf.sagemaker import pack, recordio
from rcf.sagemaker.formats import RECORDIO

FEATURES = 8
SECONDS = 10.0
LIMIT = 6_291_456
LUA = 'wrk.method = "POST"\nwrk.body = "{}"\nwrk.headers["Content-Type"] = "text/csv"\n'


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and its descendants (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_seconds, map(int, children)))


def start(model: Path, workers: int) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "rcf.sagemaker",
        "serve",
        "--model",
        str(model),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    environment = {**os.environ, "MODEL_SERVER_WORKERS": str(workers)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            if ping(port) is not None:
                return server, port
        except OSError:
            time.sleep(0.1)
    server.kill()
    raise RuntimeError("the endpoint did not start")


def ping(port: int) -> float:
    """Seconds until a new connection receives the response to GET /ping."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/ping")
    connection.getresponse().read()
    connection.close()
    return time.perf_counter() - begin


def with_pings(port: int, work: Callable[[int], float]) -> tuple[float, NDArray[np.float64]]:
    """The result of `work`, and the response times in milliseconds of pings that are sent meanwhile, ten per second."""
    found, done = [], threading.Event()

    def pinging() -> None:
        while not done.wait(0.1):
            found.append(1e3 * ping(port))

    thread = threading.Thread(target=pinging)
    thread.start()
    try:
        return work(port), np.array(found)
    finally:
        done.set()
        thread.join()


def single_rows(port: int, row: str, folder: Path) -> float:
    """The number of requests from 8 connections in SECONDS."""
    script = folder / "post.lua"
    script.write_text(LUA.format(row))
    command = ["wrk", "-t1", "-c8", f"-d{SECONDS:g}s", "-s", str(script), f"http://127.0.0.1:{port}/invocations"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or (match := re.search(r"(\d+) requests in", out)) is None:
        raise RuntimeError(out)
    return float(match[1])


def bodies(port: int, body: bytes, kind: str, rows: int) -> float:
    """The number of rows in SECONDS, from two connections that send this body repeatedly."""
    counts = [0, 0]

    def sending(i: int) -> None:
        end = time.perf_counter() + SECONDS
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.perf_counter() < end:
            connection.request("POST", "/invocations", body, {"Content-Type": kind, "Accept": "application/jsonlines"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}")
            counts[i] += rows
        connection.close()

    threads = [threading.Thread(target=sending, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return float(sum(counts))


def idle(port: int) -> float:
    time.sleep(SECONDS)
    return 0.0


def csv(X: NDArray[np.float64]) -> bytes:
    return "\n".join(",".join(f"{value:.4f}" for value in row) for row in X.tolist()).encode()


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("bench.endpoint needs wrk: apt-get install wrk")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200_000, FEATURES))
    forest = rcf.RandomCutForest(random_state=0).fit(X[:10_000])
    text = csv(X)
    text = text[: text.rindex(b"\n", 0, LIMIT)]
    frames = recordio.write(X.astype(np.float32))
    stride = len(frames) // len(X)
    frames = frames[: LIMIT // stride * stride]
    print(
        f"100 trees of 256, {FEATURES} features; {os.cpu_count()} cores, which the clients use too; {SECONDS:g} s each\n"
    )
    print("| workers | requests | a second | a second of the server's CPU | /ping ms: median | 99 % | longest |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack(forest, folder / "model.tar.gz")
        row = csv(X[:1]).decode()
        works: dict[str, Callable[[int], float]] = {
            "none": idle,
            "one row, requests": lambda port: single_rows(port, row, folder),
            "CSV of 6 MB, rows": lambda port: bodies(port, text, "text/csv", text.count(b"\n") + 1),
            "RecordIO of 6 MB, rows": lambda port: bodies(port, frames, RECORDIO, len(frames) // stride),
        }
        for workers in (1, 2):
            server, port = start(folder / "model.tar.gz", workers)
            try:
                for what, work in works.items():
                    before, begin = cpu_seconds(server.pid), time.perf_counter()
                    count, pings = with_pings(port, work)
                    wall, cpu = time.perf_counter() - begin, cpu_seconds(server.pid) - before
                    rates = f"{count / wall:,.0f} | {count / cpu:,.0f}"
                    waits = f"{np.median(pings):.1f} | {np.quantile(pings, 0.99):.1f} | {pings.max():.1f}"
                    print(f"| {workers} | {what} | {rates} | {waits} |", flush=True)
            finally:
                server.terminate()
                server.wait()


if __name__ == "__main__":
    main()
