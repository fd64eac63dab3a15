"""Bytes that a detector takes, by size: what a process grows by with many of them, and what of that is trees.

``python -m bench.keys`` prints a table. Each size is measured in a process of its own. The records have time stamps, so that the
detectors watch the seasons too.
"""

import subprocess
import sys
import time
from typing import Any

import numpy as np

from rcf import StreamDetector

from .cases import waves
from .memory import resident

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
    before, cpu, held = resident(), 0.0, []
    for key in range(KEYS):
        detector = StreamDetector(**template, random_state=key)
        detector.update_many(x[: RECORDS - 500], times[: RECORDS - 500])
        begin = time.process_time()
        if many:
            detector.update_many(x[RECORDS - 500 :], times[RECORDS - 500 :])
        else:
            for value, stamp in zip(values[RECORDS - 500 :], stamps[RECORDS - 500 :], strict=True):
                detector.update(value, stamp)
        cpu += time.process_time() - begin
        held.append(detector)
    bytes_held = (resident() - before) / KEYS
    trees = sum(forest.nbytes() for detector in held for forest in trees_of(detector)) / KEYS
    records = sum(int(forest.masses().sum()) for forest in trees_of(held[0]))
    return {
        "KiB": bytes_held / 1024,
        "of trees": trees / 1024,
        "bytes a record": trees / records,
        "us": cpu / (500 * KEYS) * 1e6,
    }


def main() -> None:
    columns = ["detector", "low_memory", "KiB a key", "after update_many", "of which trees"]
    columns += ["bytes of trees a held record", "us of CPU an update"]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for size in SIZES:
        for low in (False, True):
            found = []
            for many in (False, True):
                code = f"from bench.keys import fill; print(fill({size!r}, {low}, {many}))"
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
                found.append(eval(done.stdout))
            one, batch = found
            print(
                f"| {size} | {'yes' if low else 'no'} | {one['KiB']:.0f} | {batch['KiB']:.0f} | {one['of trees']:.0f} "
                f"| {one['bytes a record']:.0f} | {one['us']:.1f} |"
            )


if __name__ == "__main__":
    main()
