"""Measures the time per record of the stream detector and of the bare forest, one record at a time and in batches."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rcf import KeyedDetector, RandomCutForest, StreamDetector

from .cases import BATCH, WARM_UP, Floats, waves
from .speed import Record, timed

# names and stream are permanent: one channel of noisy waves and a default detector
CASES = ("forest-T50-S256-1x8", "update-1x8", "update_many-1x8", "update_many-read-1x8", "keyed-100-1x8")
RATIOS = {
    "update-1x8": "forest-T50-S256-1x8",
    "update_many-1x8": "update-1x8",
    "update_many-read-1x8": "update-1x8",
    "keyed-100-1x8": "update-1x8",
}
KEYS = 100


def series(n: int, channels: int = 1) -> Floats:
    return waves(n, channels, 1)


def contestant(case: str) -> Callable[[int], object]:
    """A function that processes the next `BATCH` records of the stream from a position on; it is warmed up."""
    x = series(WARM_UP + 20 * BATCH)[:, 0]
    values = x.tolist()
    if case.startswith("forest"):
        forest = RandomCutForest(50, 256, time_decay=0.1 / 256, random_state=0)
        windows = np.lib.stride_tricks.sliding_window_view(x, 8)
        forest.update_many(windows[:WARM_UP])
        rows = list(np.ascontiguousarray(windows))
        return lambda at: [forest.update(row) for row in rows[at : at + BATCH]]
    if case.startswith("keyed"):
        keyed = KeyedDetector(StreamDetector(random_state=0))
        for value in values[:1000]:
            for key in range(KEYS):
                keyed.update(key, value)
        return lambda at: [keyed.update(i % KEYS, value) for i, value in enumerate(values[at : at + BATCH])]
    detector = StreamDetector(random_state=0)
    detector.update_many(x[:WARM_UP])
    if case == "update-1x8":
        return lambda at: [detector.update(value) for value in values[at : at + BATCH]]
    if case == "update_many-1x8":
        return lambda at: detector.update_many(x[at : at + BATCH])
    return read(detector, x)


def read(detector: StreamDetector, x: Floats) -> Callable[[int], object]:
    """Reads the cause and the expected value of each flagged record, as in a frame."""

    def work(at: int) -> list[Any]:
        found = detector.update_many(x[at : at + BATCH])
        return [(found[i].cause, found[i].expected) for i in found.anomalies.tolist()]

    return work


def measure(rounds: int) -> Iterator[Record]:
    """Run the cases in turn for several rounds, with two batches per turn."""
    work = {case: contestant(case) for case in CASES}
    for number in range(rounds):
        at = WARM_UP + (2 * number) % 18 * BATCH
        for case, run in work.items():
            wall, cpu = timed(lambda run=run, at=at: (run(at), run(at + BATCH)))  # type: ignore[misc]
            yield {"case": case, "round": number, "records": 2 * BATCH, "wall": wall, "cpu": cpu}
