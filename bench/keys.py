"""Memory and rates of the detectors of many keys: ``python -m bench.keys`` prints two tables.

The first table shows the memory of detectors of several sizes: by how much a process grows per detector, and how much of that its
trees take. The second shows a KeyedDetector with `--keys` default detectors: memory, rates, saving and restoring. Each row is
measured in a process of its own. The records have time stamps, so that the detectors watch the seasons too.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd

from rcf import KeyedDetector, StreamDetector

from .cases import waves
from .memory import resident
from .report import number
from .speed import timed

SIZES: dict[str, dict[str, Any]] = {
    "10 x 256, no window": {"shingle_size": 1, "n_estimators": 10},
    "30 x 128, windows of 4": {"shingle_size": 4, "n_estimators": 30, "max_samples": 128},
    "50 x 256, windows of 8": {"shingle_size": 8, "n_estimators": 50},
}
KEYS, RECORDS = 60, 3000


def trees_of(detector: StreamDetector) -> list[Any]:
    return [forest for forest in (detector._trees.whole, detector._trees.point) if forest is not None]


def fill(size: str, low_memory: bool, many: bool) -> dict[str, float]:
    """The detectors, full after 3000 records, and the rate of the last 500 of them."""
    x, times = waves(RECORDS, 1, 1)[:, 0], np.arange(RECORDS) * 60.0
    values, stamps = x.tolist(), times.tolist()
    template = {**SIZES[size], "low_memory": low_memory}
    StreamDetector(**template, random_state=0).update_many(x, times)  # what is loaded once
    before, seconds, held = resident(), 0.0, []
    for key in range(KEYS):
        detector = StreamDetector(**template, random_state=key)
        detector.update_many(x[: RECORDS - 500], times[: RECORDS - 500])
        if many:
            detector.update_many(x[RECORDS - 500 :], times[RECORDS - 500 :])
        else:
            last = zip(values[RECORDS - 500 :], stamps[RECORDS - 500 :], strict=True)
            seconds += timed(lambda detector=detector, last=last: [detector.update(*pair) for pair in last])[1]  # type: ignore[misc]
        held.append(detector)
    bytes_held = (resident() - before) / KEYS
    trees = sum(forest.nbytes() for detector in held for forest in trees_of(detector)) / KEYS
    records = sum(int(forest.masses().sum()) for forest in trees_of(held[0]))
    return {
        "KiB": bytes_held / 1024,
        "of trees": trees / 1024,
        "bytes a record": trees / records,
        "us": seconds / (500 * KEYS) * 1e6,
    }


def keyed(keys: int, records: int = 400) -> dict[str, float]:
    """A KeyedDetector of as many keys, each with `records` records; rates are records per second of CPU time."""
    values, n = waves(records + 30, 1, 1)[:, 0].tolist(), records
    warm = KeyedDetector()
    warm.update_many([0] * n, values[:n], [60.0 * i for i in range(n)])
    before, held = resident(), KeyedDetector(max_keys=keys)
    for key in range(keys):
        held.update_many([key] * n, values[:n], [60.0 * i for i in range(n)])
    found = {"keys": float(keys), "MiB": (resident() - before) / 2**20}

    def one(at: int) -> None:
        for key in range(keys):
            held.update(key, values[at], 60.0 * at)

    def several(first: int, count: int) -> None:
        """A batch of `count` records of each key, in the order of time."""
        at = np.repeat(np.arange(first, first + count), keys).tolist()
        held.update_many([*range(keys)] * count, [values[i] for i in at], [60.0 * i for i in at])

    found["update, records/s"] = 3 * keys / timed(lambda: [one(n + i) for i in range(3)])[1]
    found["update_many, one a key"] = 3 * keys / timed(lambda: [several(n + 3 + i, 1) for i in range(3)])[1]
    found["update_many, ten a key"] = 10 * keys / timed(lambda: several(n + 6, 10))[1]
    walls = []
    for turn in range(6):  # in turn, because other programs may slow down a part of the time
        held.n_jobs = 1 + turn % 2
        walls.append(timed(lambda at=n + 16 + turn: several(at, 1))[0])  # type: ignore[misc]
    found["one a key, wall time of 1 thread : 2"] = sum(walls[::2]) / sum(walls[1::2])
    held.n_jobs = None
    data: list[bytes] = []
    found["save, s"] = timed(lambda: data.append(held.to_bytes()))[1]
    found["MB"] = len(data[0]) / 1e6
    found["restore, s"] = timed(lambda: KeyedDetector.from_bytes(data[0]))[1]
    found["restore lazily, s"] = timed(lambda: KeyedDetector.from_bytes(data[0], lazy=True))[1]
    return found


def elsewhere(call: str) -> dict[str, float]:
    """The result of a function of this module in a process of its own."""
    code = f"import json; from bench import keys; print(json.dumps(keys.{call}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def many_keys(keys: int) -> pd.DataFrame:
    return pd.DataFrame([elsewhere(f"keyed({keys})")])


def sizes() -> pd.DataFrame:
    rows = []
    for size in SIZES:
        for low in (False, True):
            one, batch = (elsewhere(f"fill({size!r}, {low}, {many})") for many in (False, True))
            rows.append({
                "detector": size, "low_memory": "yes" if low else "no", "KiB a key": one["KiB"],
                "after update_many": batch["KiB"], "of which trees": one["of trees"],
                "bytes of trees a held record": one["bytes a record"], "us of CPU an update": one["us"],
            })  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000)
    for table in (sizes(), many_keys(parser.parse_args().keys)):
        print(table.map(number).to_markdown(index=False, disable_numparse=True), end="\n\n")


if __name__ == "__main__":
    main()
