"""Rates of rcf.spark: ``python -m bench.spark [fit transform key stream]``; needs the extra `spark` and Java.

Rates are in rows per second of wall time, with `--cores` local cores. The first round, in which the Python workers start, is
printed separately. The CPU seconds are those of the JVM and its Python workers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PARAMS: dict[str, Any] = {"shingle_size": 4, "n_estimators": 30, "max_samples": 128}


def session(cores: int) -> Any:
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    root = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    spark = (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", str(cores))
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config(
            "spark.sql.streaming.stateStore.providerClass",
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
        )
        .config("spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled", "true")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    return spark


def cpu_seconds() -> float:
    """CPU seconds of all descendants of this process: the JVM and the Python workers, including those that have ended."""
    ticks = os.sysconf("SC_CLK_TCK")
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = sum(map(int, fields[11:15])) / ticks
    total = 0.0
    for pid in used:
        above = pid
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid() and pid != above:
            total += used[pid]
    return total


def rounds(name: str, rows: int, work: Callable[[], Any], times: int = 4) -> None:
    rates = []
    for _ in range(times):
        begin, cpu = time.perf_counter(), cpu_seconds()
        work()
        rates.append((rows / (time.perf_counter() - begin), cpu_seconds() - cpu))
    first, *warm = rates
    best = max(warm)
    print(
        f"{name:<32} {first[0]:>10,.0f} first {best[0]:>10,.0f} warm, best of {len(warm)}; CPU {best[1]:.2f} s",
        flush=True,
    )


def table(spark: Any, n: int = 1_000_000, d: int = 8) -> Any:
    """The rows as vectors in the JVM's cache, so that reading files is not measured."""
    from pyspark.ml.feature import VectorAssembler
    from pyspark.sql import functions as F

    names = [f"x{j}" for j in range(d)]
    frame = spark.range(n).select("id", *[F.randn(seed=j).alias(name) for j, name in enumerate(names)])
    cached = VectorAssembler(inputCols=names, outputCol="features").transform(frame).select("id", "features").cache()
    cached.count()
    return cached


def fit_and_transform(spark: Any, which: set[str]) -> None:
    from rcf.spark import RandomCutForest

    frame = table(spark)
    if "fit" in which:
        rounds("fit 1 000 000 x 8", 1_000_000, lambda: RandomCutForest().fit(frame))
    if "transform" in which:
        model = RandomCutForest().fit(frame)
        rounds(
            "transform 1 000 000 x 8",
            1_000_000,
            lambda: model.transform(frame).write.format("noop").mode("overwrite").save(),
        )


def series(keys: int, n: int) -> np.ndarray:
    noise = np.random.default_rng(0)
    return np.sin(np.arange(n) / 8)[:, None] + noise.normal(0, 0.1, (n, keys))


def per_key(spark: Any, which: set[str], keys: int = 200, n: int = 1000) -> None:
    import pandas as pd

    from rcf.spark import detect

    values = series(keys, n)
    pandas = pd.DataFrame(
        {"k": np.tile(np.arange(keys), n), "t": np.repeat(np.arange(n) * 60.0, keys), "v": values.ravel()}
    )
    frame = spark.createDataFrame(pandas).repartition("k").cache()
    frame.count()
    if "key" in which:
        found = detect(frame, keyCols=["k"], timeCol="t", valueCols=["v"], **PARAMS)
        rounds(f"detect, {keys} keys x {n}", keys * n, lambda: found.write.format("noop").mode("overwrite").save())


def stream(spark: Any, keys: int = 200, each: int = 50, batches: int = 12) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rcf.spark import detect_stream

    values = series(keys, each * batches)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        source.mkdir()
        for i in range(batches):
            part = values[i * each : (i + 1) * each]
            times = np.repeat((np.arange(each) + i * each) * 60.0, keys)
            columns = {"k": np.tile(np.arange(keys), each), "t": times, "v": part.ravel()}
            pq.write_table(pa.table(columns), source / f"{i:03}.parquet")
            os.utime(source / f"{i:03}.parquet", (1e9 + i, 1e9 + i))
        rows = (
            spark.readStream.schema("k long, t double, v double").option("maxFilesPerTrigger", 1).parquet(str(source))
        )
        found = detect_stream(rows, keyCols=["k"], timeCol="t", valueCols=["v"], **PARAMS)
        cpu = cpu_seconds()
        query = (
            found.writeStream.format("noop")
            .option("checkpointLocation", f"{folder}/state")
            .trigger(availableNow=True)
            .start()
        )
        query.awaitTermination()
        if query.exception() is not None:
            raise query.exception()
        cpu = cpu_seconds() - cpu
        progress = [batch for batch in query.recentProgress if batch["numInputRows"]]
        rates = [batch["numInputRows"] / batch["durationMs"]["triggerExecution"] * 1000 for batch in progress]
        name = f"stream, {keys} keys x {each} a batch"
        later = f"median of {len(rates) - 2} later batches, best {max(rates):,.0f}"
        print(
            f"{name:<32} {rates[0]:>10,.0f} first {np.median(rates[2:]):>10,.0f} {later}; CPU {cpu / len(rates):.2f} s a batch"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["fit", "transform", "key", "stream"])
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    which = set(arguments.what)
    spark = session(arguments.cores)
    if which & {"fit", "transform"}:
        fit_and_transform(spark, which)
    if "key" in which:
        per_key(spark, which)
    if "stream" in which:
        stream(spark)
    spark.stop()


if __name__ == "__main__":
    main()
