"""Rates and memory of rcf.sql over DuckDB: ``python -m bench.sql [--rows 10000000]``; needs the extra `sql`.

The rates are rows per second of wall time and of the process's CPU time, which includes the forest, the DuckDB query that creates
the rows, and the query that reads the result. Memory is the largest growth of the process.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROWS = "SELECT i AS ts, sin(i / 10.0) + random() * 0.1 AS a, i % 7 AS host FROM range({n}) t(i)"


def resident() -> float:
    """Resident memory in megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def measured(name: str, rows: int, work: Callable[[], Any]) -> None:
    base, peak, done = resident(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], resident())

    threading.Thread(target=watch, daemon=True).start()
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    clock, cpu = rows / (time.perf_counter() - clock), rows / (time.process_time() - cpu)
    done.set()
    more = peak[0] - base
    print(f"{name:<36} {clock:>10,.0f} rows/s by the clock {cpu:>10,.0f} by CPU {more:>6.0f} MB more", flush=True)


def main() -> None:
    import duckdb

    import rcf
    from rcf.sql import random_cut_forest, register

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    n = parser.parse_args().rows
    with duckdb.connect() as con:
        con.sql("SET threads = 1")

        def stream(**options: Any) -> None:
            found = random_cut_forest(con.cursor().sql(ROWS.format(n=n)), ["a"], order="ts", **options)
            con.register("found", found)
            con.sql("SELECT count(*), max(ANOMALY_SCORE) FROM found").fetchall()

        con.sql(f"SELECT max(a) FROM ({ROWS.format(n=100_000)})").fetchall()
        measured("random_cut_forest, one stream", n, stream)
        measured("random_cut_forest, seven keys", n, lambda: stream(key="host"))
        measured("random_cut_forest, windows of 8", n, lambda: stream(shingle_size=8))
        register(con, rcf.RandomCutForest(random_state=0).fit(np.random.default_rng(0).normal(size=(1000, 1))))
        frozen = f"SELECT max(rcf_score(a)) FROM ({ROWS.format(n=n)})"
        measured("a fitted forest as a function", n, lambda: con.sql(frozen).fetchall())
        values = np.random.default_rng(0).normal(size=(500_000, 1))
        forest = rcf.RandomCutForest(time_decay=1e-5, random_state=0)
        measured("RandomCutForest.update_many alone", len(values), lambda: forest.update_many(values))


if __name__ == "__main__":
    main()
