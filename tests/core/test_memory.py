"""Memory does not grow over a long stream, or when many forests are created and deleted.

Each case runs in a separate interpreter, because memory that the allocator keeps from earlier tests would hide or simulate growth.
"""

import copy
import gc
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rcf import RandomCutForest
from rcf._core import Forest
from rcf.sampling import Reservoir

STATM = Path("/proc/self/statm")
MEGABYTE = 2**20
pytestmark = pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc/self/statm")


def resident():
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def long_stream(records):
    forest = Forest(4, 256, 3, 1 / 2560, [1])
    batch = np.random.default_rng(1).normal(size=(50_000, 3))
    forest.update(batch, None, "depth", 1)
    size, before = forest.nbytes(), resident()
    for _ in range(records // 50_000):
        forest.update(batch, None, "depth", 1)
        for x in batch[:1000]:
            forest.update_record(x, "codisp")
    return forest.nbytes() - size, resident() - before


def many_forests(n):
    X = np.random.default_rng(2).normal(size=(600, 5))

    def life(seed):
        forest = RandomCutForest(6, 64, random_state=seed).fit(X)
        forest.update_many(X[:50])
        forest.attribution(X[:2])
        forest.forget(X[3])
        pickle.loads(pickle.dumps(forest))
        copy.deepcopy(forest)
        with pytest.raises(ValueError, match="NaN"):
            forest.update_many(np.full((2, 5), np.nan))
        reservoir = Reservoir(50, random_state=seed).extend(range(200))
        reservoir.merge(Reservoir(50, random_state=seed).extend(range(200)))

    for seed in range(30):
        life(seed)
    before = resident()
    for seed in range(n):
        life(seed)
    return (resident() - before,)


def one_forest(trees):
    before = resident()
    forest = Forest(trees, 1024, 16, 0.0, [3])
    forest.update(np.random.default_rng(3).normal(size=(2048, 16)), None, None, 1)
    held, size = resident() - before, forest.nbytes()
    del forest
    return size, held, resident() - before


def measured(work, n):
    """The result of `work(n)` in a new interpreter."""
    done = subprocess.run(
        [sys.executable, __file__, work.__name__, str(n)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


@pytest.mark.parametrize("records", [300_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_a_long_stream(records):
    """Batches and single records. The bound is 2 MB, a fifth of a byte for each of 10^7 records."""
    said, grown = measured(long_stream, records)
    assert said == 0
    assert grown < 2 * MEGABYTE


def test_a_thousand_forests():
    """Each forest is grown, scored, copied, pickled and deleted. It takes 1 to 2 MB; the bound for all of them is 4 MB."""
    (grown,) = measured(many_forests, 1000)
    assert grown < 4 * MEGABYTE


def test_nbytes_is_what_deleting_frees():
    """Deleting a large forest frees about nbytes() of memory."""
    size, held, kept = measured(one_forest, 200)
    assert held == pytest.approx(size, rel=0.15, abs=2 * MEGABYTE)
    assert kept < 0.1 * size + 2 * MEGABYTE


if __name__ == "__main__":
    print(*globals()[sys.argv[1]](int(sys.argv[2])))
