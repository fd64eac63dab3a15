"""The memory of a detector with full trees: as the growth of the process, and as the trees report it (nbytes)."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rcf import KeyedDetector, StreamDetector
from rcf._core import Forest

STATM = Path("/proc/self/statm")
KEYS, RECORDS = 40, 2600
# KiB per key by which the process may grow, for one feature with time stamps; 5 % above what was measured
MARKS = {
    (1, 10, 256, False): 300,
    (1, 10, 256, True): 165,
    (4, 30, 128, True): 260,
    (8, 50, 256, True): 900,
}


def resident():
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fill(size, trees, samples, low_memory, many):
    """Bytes a detector."""
    x = np.random.default_rng(0).normal(size=RECORDS).cumsum()
    times = np.arange(RECORDS) * 60.0
    held, before = [], 0
    for key in range(KEYS + 1):
        detector = StreamDetector(
            size, n_estimators=trees, max_samples=samples, low_memory=low_memory, random_state=key
        )
        detector.update_many(x[:-500], times[:-500])
        if many:
            detector.update_many(x[-500:], times[-500:])
        else:
            for value, stamp in zip(x[-500:].tolist(), times[-500:].tolist(), strict=True):
                detector.update(value, stamp)
        held.append(detector)
        if key == 0:
            before = resident()  # the first detector loads what all of them share
    return (resident() - before) / KEYS


def measured(*arguments):
    """`fill` in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc/self/statm")
@pytest.mark.parametrize("kind", MARKS, ids=str)
def test_memory_of_a_key(kind):
    """The memory after single updates is bounded, and after `update_many` it is the same."""
    one, many = measured(*kind, False), measured(*kind, True)
    assert one < MARKS[kind] * 1024
    assert many < 1.05 * one


def test_memory_of_the_default_trees():
    """The default trees of KeyedDetector take less than 57 bytes per held record."""
    keyed = KeyedDetector()
    keyed.update_many(["a"] * RECORDS, np.random.default_rng(0).normal(size=RECORDS))
    point = keyed.detector("a")._trees.point
    assert point.nbytes() < 57 * point.masses().sum()


@pytest.mark.parametrize(("d", "most"), [(1, 46), (2, 52), (3, 57), (4, 63), (8, 84)])
def test_memory_of_narrow_trees(d, most):
    """In low-memory mode, narrow trees take few bytes per held record."""
    X = np.random.default_rng(d).normal(size=(3000, d))
    forest = Forest(10, 256, d, 1 / 2560, [1], True)
    forest.update(X, None, None, 1)
    assert forest.nbytes() < most * forest.masses().sum()


def test_few_records_take_little_memory():
    """Arrays grow with the records. After 100 records, a detector has not yet allocated memory for 256 records per tree."""
    detectors = [StreamDetector(1, n_estimators=10, low_memory=True, random_state=0) for _ in range(2)]
    for detector, n in zip(detectors, (100, 1000), strict=True):
        detector.update_many(np.random.default_rng(0).normal(size=n))
    few, full = (detector._trees.point.nbytes() for detector in detectors)
    assert few < 0.6 * full


if __name__ == "__main__":
    size, trees, samples, low_memory, many = (eval(a) for a in sys.argv[1:])
    print(fill(size, trees, samples, low_memory, many))
