"""``python -m bench.hotspots``: measures HotSpots.

HotSpots and scikit-learn's DBSCAN run in turn. The figures are CPU seconds of one thread: the median of the rounds and their
spread.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from rcf import __version__
from rcf.hotspots import HotSpots, k_distances

Array = NDArray[np.float64]


def example(n: int, seed: int = 0) -> Array:
    """The documented example: uniform on 10 x 10, a fifth in a square of side 1 that moves every 1000 records."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(0, 10, size=(n, 2))
    hot = rng.random(n) < 0.2
    corner = rng.uniform(0, 9, size=(n // 1000 + 1, 2))[np.arange(n) // 1000]
    X[hot] = (corner + rng.uniform(0, 1, size=(n, 2)))[hot]
    return X


def constant_density(n: int, window: int, seed: int = 0) -> Array:
    """The example with the same density for any window: the plane grows with the window, with a dense square per 1000 records."""
    rng = np.random.default_rng(seed)
    side = 10 * np.sqrt(window / 1000)
    X = rng.uniform(0, side, size=(n, 2))
    hot = rng.random(n) < 0.2
    corners = rng.uniform(0, side - 1, size=(max(1, window // 1000), 2))
    X[hot] = (corners[rng.integers(len(corners), size=n)] + rng.uniform(0, 1, size=(n, 2)))[hot]
    return X


def clusters(n: int, d: int, seed: int = 0, window: int = 1000) -> tuple[Array, float]:
    """Five normal clusters, and the radius within which half of the records of a window have at least 10 records."""
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 10, size=(5, d))[rng.integers(5, size=n)] + rng.normal(size=(n, d))
    return X, float(np.median(k_distances(X[:window], 10)))


def on_earth(X: Array) -> Array:
    """The plane of `constant_density` at Fiji, where it crosses the date line; one unit is 1112 m."""
    return np.array([-17.0, 179.9]) + 0.01 * X


def full(
    X: Array, window: int, radius: float, min_points: int, metric: Literal["euclidean", "haversine"] = "euclidean"
) -> HotSpots:
    spots = HotSpots(window, radius, min_points, metric=metric)
    spots.update_many(X[:window])
    return spots


def seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def rows(samples: dict[str, list[float]], n: dict[str, int]) -> Iterator[str]:
    for name, taken in samples.items():
        each = sorted(1e6 * t / n[name] for t in taken)
        middle = statistics.median(each)
        yield f"| {name} | {middle:.3g} | {each[0]:.3g}-{each[-1]:.3g} | {1e6 / middle:,.0f} |"


def table(title: str, samples: dict[str, list[float]], n: dict[str, int]) -> None:
    print(
        f"\n## {title}\n\n| | µs/record | of {len(next(iter(samples.values())))} rounds | records/s |\n|---|---|---|---|"
    )
    print("\n".join(rows(samples, n)))


def against_dbscan(rounds: int) -> None:
    """Measure HotSpots and DBSCAN with a window of 1000 on the documented example."""
    window, n = 1000, 50_000
    X = example(window + rounds * n)
    many, one, told, text = (full(X, window, 0.2, 17) for _ in range(4))
    names = [
        "update_many",
        "follow",
        "update, regions of each record",
        "update and kinesis_json",
        "DBSCAN of the window",
    ]
    samples: dict[str, list[float]] = {name: [] for name in names}
    few, again = 5_000, 200

    def each(rows: Array) -> None:
        for row in rows:
            one.update(row)

    def each_json(rows: Array) -> None:
        for row in rows:
            text.update(row)
            text.kinesis_json()

    def afresh(end: int) -> None:
        for i in range(end - again, end):
            DBSCAN(eps=0.2, min_samples=17, algorithm="kd_tree").fit(X[i - window : i])

    for begin, end in pairwise(range(window, len(X) + 1, n)):
        part = X[begin:end]
        samples[names[0]].append(seconds(lambda part=part: many.update_many(part)))
        samples[names[1]].append(seconds(lambda part=part: told.follow(part)))
        samples[names[2]].append(seconds(lambda part=part: each(part[:few])))
        samples[names[3]].append(seconds(lambda part=part: each_json(part[:few])))
        samples[names[4]].append(seconds(lambda end=end: afresh(end)))
    counts = dict(zip(names, (n, n, few, few, again), strict=True))
    table("The documented example: window 1000, d = 2, radius 0.2, 17 points", samples, counts)
    of = {name: statistics.median(samples[name]) / counts[name] for name in names}
    for name in names[:-1]:
        print(f"\n{name}: {of[names[-1]] / of[name]:,.0f} x as fast as DBSCAN of the window for each record")


def by_window(rounds: int, most: int) -> None:
    windows = [w for w in (10**3, 10**4, 10**5, 10**6) if w <= most]
    n = 50_000
    data = {w: constant_density(w + rounds * n, w) for w in windows}
    spots = {w: full(data[w], w, 0.2, 17) for w in windows}
    samples: dict[str, list[float]] = {f"window {w:,}": [] for w in windows}
    for i in range(rounds):
        for w in windows:
            part = data[w][w + i * n : w + (i + 1) * n]
            samples[f"window {w:,}"].append(seconds(lambda w=w, part=part: spots[w]._window.push(part)))
    for w in windows:
        data[w] = on_earth(data[w])
        spots[w] = full(data[w], w, 0.2 * 1112, 17, metric="haversine")
    for i in range(rounds):
        for w in windows:
            part = data[w][w + i * n : w + (i + 1) * n]
            name = f"window {w:,}, haversine"
            samples.setdefault(name, []).append(seconds(lambda w=w, part=part: spots[w]._window.push(part)))
    table("The same density in windows of any size (regions not reported)", samples, dict.fromkeys(samples, n))


def by_dimension(rounds: int) -> None:
    cases = [(1000, d) for d in (1, 2, 3, 4, 10, 30)] + [(100_000, d) for d in (2, 3, 10)]
    samples: dict[str, list[float]] = {}
    counts = {}
    for w, d in cases:
        name, n = f"window {w:,}, d = {d}", 1000 if d == 10 and w > 1000 else 10_000
        X, radius = clusters(w + rounds * n, d, window=w)
        spots, counts[name] = full(X, w, radius, 10), n
        samples[name] = [seconds(partial(spots.update_many, part)) for part in np.split(X[w:], rounds)]
    table("Five normal clusters, 10 points, half of the records are cores", samples, counts)


def resident(window: int, d: int) -> int:
    """Bytes by which a process grows while it fills a window twice, with about 10 records per ball of radius 1."""
    code = f"""
import os, numpy as np
from rcf.hotspots import HotSpots
rng = np.random.default_rng(0)
side = ({window} / 10.0) ** (1 / {d})
def rows():
    return rng.uniform(0, side, size=(10_000, {d}))
def held():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
HotSpots({window}, 1.0, 5).update_many(rows())
spots, before = HotSpots({window}, 1.0, 5), held()
for _ in range({2 * window} // 10_000):
    spots.update_many(rows())
print(held() - before)
"""
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def memory(window: int = 200_000) -> None:
    print("\n## Memory\n")
    if not os.path.exists("/proc/self/statm"):
        print("Not measured, because resident memory is read from /proc (Linux).")
        return
    print("| | bytes/record |\n|---|---|")
    for d in (1, 2, 3, 4):
        print(f"| d = {d}, window {window:,} | {resident(window, d) / window:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=int, default=10**6, help="the largest window")
    given = parser.parse_args()
    print(f"# HotSpots of rcf {__version__}\n")
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numpy {np.__version__},")
    print(f"scikit-learn {sklearn.__version__}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    against_dbscan(given.rounds)
    by_window(given.rounds, given.window)
    by_dimension(given.rounds)
    memory()


if __name__ == "__main__":
    main()
