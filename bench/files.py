"""Measures the time to write and read model files, beside krcf, and the time and memory of `rcf detect` and `rcf stream`."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import rcf

from .cases import Setting
from .peers import PEERS
from .speed import timed, warmed

# The model: one channel in shingles of 8, 50 trees of 256 samples. Names are permanent.
SETTING = Setting("1x8", trees=50)
CASES = ("to_bytes", "from_bytes", "save", "load")
MARKS = {"kB": 350, "ms": 5}
# Detectors of one feature, as services keep them for each key.
DETECTORS: dict[str, dict[str, Any]] = {
    "10 x 256, no windows": {"shingle_size": 1, "n_estimators": 10},
    "30 x 128, shingle 4": {"shingle_size": 4, "n_estimators": 30, "max_samples": 128},
    "50 x 256, shingle 8": {},
}
# Tables of the commands: columns, and whether there are time stamps. Noise on a sine, with a spike every 5000 rows.
TABLES = {"1 column": (1, False), "1 column, times": (1, True), "4 columns": (4, False)}
RATIO = 1.3  # the target: CPU time of the command without its start, divided by the CPU time of update_many


def ours(folder: Path) -> dict[str, Callable[[], Any]]:
    """The operations of CASES on a forest that has learned the stream."""
    forest = warmed(SETTING, PEERS["rcf"]).forest  # type: ignore[attr-defined]
    data, path = forest.to_bytes(), folder / "forest.rcf"
    forest.save(path)
    return {
        "to_bytes": forest.to_bytes,
        "from_bytes": lambda: rcf.RandomCutForest.from_bytes(data),
        "save": lambda: forest.save(path),
        "load": lambda: rcf.load(path),
    }


def of_krcf() -> dict[str, tuple[int, Callable[[], Any], Callable[[], Any]]]:
    """For each format its size, and functions to write and to read it."""
    from krcf import RandomCutForest

    forest = warmed(SETTING, PEERS["krcf"]).forest  # type: ignore[attr-defined]
    text, packed = forest.to_json(), forest.to_msgpack()
    return {
        "krcf, JSON": (len(text.encode()), forest.to_json, lambda: RandomCutForest.from_json(text)),
        "krcf, msgpack": (len(packed), forest.to_msgpack, lambda: RandomCutForest.from_msgpack(packed)),
    }


def measure(rounds: int) -> Iterator[dict[str, Any]]:
    """Milliseconds of each operation, run in turn for several rounds. Wall time is kept too, because `save` waits for the disk."""
    with tempfile.TemporaryDirectory() as folder:
        mine = ours(Path(folder))
        size = len(mine["to_bytes"]())
        work = {("rcf", case): (size, run) for case, run in mine.items()}
        if PEERS["krcf"].version() is not None:
            for name, (size, write, read) in of_krcf().items():
                work |= {(name, "to_bytes"): (size, write), (name, "from_bytes"): (size, read)}
        for number in range(rounds):
            for (name, case), (size, run) in work.items():
                wall, cpu = timed(run)
                yield {"file": name, "case": case, "round": number, "bytes": size, "wall": 1e3 * wall, "cpu": 1e3 * cpu}


def table(measured: pd.DataFrame) -> pd.DataFrame:
    """A row per format: kB, medians of CPU time, and for files on disk also medians of wall time."""
    cpu = measured.groupby(["file", "case"], sort=False)["cpu"].median().unstack()
    wall = measured.groupby(["file", "case"], sort=False)["wall"].median().unstack()
    out = pd.DataFrame({"kB": measured.groupby("file", sort=False)["bytes"].first() / 1e3})
    for case in CASES:
        out[f"{case}, ms"] = cpu[case]
    out["save, wall ms"], out["load, wall ms"] = wall["save"], wall["load"]
    return out.reset_index()


def some_detector(params: dict[str, Any], records: int) -> rcf.StreamDetector:
    """A detector that has learned noise on a sine."""
    detector = rcf.StreamDetector(random_state=0, **params)
    detector.update_many(5 * np.sin(np.arange(records) / 15) + np.random.default_rng(0).normal(size=records))
    return detector


def detectors(rounds: int, keys: int) -> pd.DataFrame:
    """A row per detector: kB, medians of CPU time in microseconds, and seconds for 10 000 such keys, extrapolated from fewer."""
    found = []
    for name, params in DETECTORS.items():
        detector = some_detector(params, 5000)
        data = detector.to_bytes()
        many = rcf.KeyedDetector(rcf.StreamDetector(**params), max_keys=keys)
        for key in range(keys):
            many._held[key] = detector
        file = many.to_bytes()
        work: dict[str, Callable[[], Any]] = {
            "to_bytes": detector.to_bytes,
            "from_bytes": partial(rcf.StreamDetector.from_bytes, data),
            "keys saved": many.to_bytes,
            "keys restored": partial(rcf.KeyedDetector.from_bytes, file),
            "restored lazily": partial(rcf.KeyedDetector.from_bytes, file, lazy=True),
        }
        times: dict[str, list[float]] = {case: [] for case in work}
        for number in range(rounds):
            for case, run in work.items():
                # other cases run only three times, because a thousand keys take a second
                if "bytes" in case or number < 3:
                    times[case].append(timed(run)[1])
        cpu = {case: float(np.median(taken)) for case, taken in times.items()}
        found.append({
            "detector": name, "kB": len(data) / 1e3,
            **{f"{case}, µs": 1e6 * cpu[case] for case in ("to_bytes", "from_bytes")},
            **{f"10 000 {case}, s": 1e4 / keys * cpu[case] for case in ("keys saved", "keys restored", "restored lazily")},
        })  # fmt: skip
    return pd.DataFrame(found)


def write_table(path: Path, rows: int, columns: int, times: bool) -> Any:
    """A CSV file, its values as an array and, if it has them, its time stamps."""
    rng = np.random.default_rng(0)
    values = 10 * np.sin(np.arange(rows) / 50)[:, np.newaxis] + rng.normal(size=(rows, columns))
    values[5000::5000, 0] += 15
    frame = pd.DataFrame(values.round(4), columns=[f"x{j}" for j in range(columns)])
    stamps = None
    if times:
        stamps = pd.date_range("2026-01-01", periods=rows, freq="min")
        frame.insert(0, "time", stamps.strftime("%Y-%m-%d %H:%M:%S"))
    frame.to_csv(path, index=False)
    return values.round(4), None if stamps is None else stamps.astype("int64").to_numpy() / 1e6


def run_command(*arguments: str) -> tuple[float, float]:
    """CPU seconds of a command, and its peak memory in MiB."""
    command = [sys.executable, "-m", "rcf", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def tables(rows: int) -> pd.DataFrame:
    """A row per table: CPU seconds for a million rows, and the memory above that of a table of 100 rows."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path, short, out = (str(Path(folder) / name) for name in ("long.csv", "short.csv", "out.csv"))
        for name, (columns, times) in TABLES.items():
            asked = ["--time", "time"] if times else []
            write_table(Path(short), 100, columns, times)
            values, stamps = write_table(Path(path), rows, columns, times)
            start, least = run_command("detect", short, *asked)
            begun = time.process_time()
            rcf.StreamDetector(random_state=0).update_many(values, stamps)
            alone = time.process_time() - begun
            plain, most = run_command("detect", path, *asked)
            written, _ = run_command("detect", path, *asked, "--output", out)
            streamed, needed = run_command("stream", path, *asked, "--format", "csv")
            million = 1e6 / rows
            found.append({
                "table": name, "start, s": start, "update_many, s": alone * million, "detect, s": (plain - start) * million,
                "ratio": (plain - start) / alone, "with --output, s": (written - start) * million, "MiB more": most - least,
                "stream, records/s": rows / (streamed - start), "stream, MiB more": needed - least,
            })  # fmt: skip
    return pd.DataFrame(found)
