"""The same seed gives the same bits for any number of threads, any division of the stream into batches, any
instruction set, after saving and restoring at any point, in any process, and on any machine.

golden/forest.json holds digests of recorded results. If a change of the core is meant to change its random numbers,
``python tests/core/test_determinism.py`` writes new digests.
"""

import copy
import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rcf import RandomCutForest
from rcf._core import Forest, hook

GOLDEN = Path(__file__).parents[1] / "golden" / "forest.json"
KINDS = ("depth", "codisp", "displacement", "opensearch")
WIDTHS = (1, 4, 7, 8, 20)  # one for each loop over boxes: 4 floats, 8, and several times 8
SEED = 20160620


def rows(n, d, seed=SEED):
    """Numbers of all sizes, so that sums depend on the order of their terms. They are computed without the C library, so
    they are the same everywhere.
    """
    rng = np.random.default_rng([seed, d])
    return rng.integers(-(2**20), 2**20, (n, d)) * 2.0 ** rng.integers(-45, 1, (n, d))


def digest(forest, *more):
    found = hashlib.sha256()
    for name, value in sorted(forest.state().items()):
        found.update(name.encode() + np.ascontiguousarray(value).tobytes())
    for value in more:
        found.update(np.ascontiguousarray(value).tobytes())
    return found.hexdigest()


def in_batches(forest, X, size, kind="depth", n_jobs=1, weights=None):
    out = [
        forest.update(X[i : i + size], None if weights is None else weights[i : i + size], kind, n_jobs)
        for i in range(0, len(X), size)
    ]
    return np.concatenate(out)


def all_of(forest, queries, n_jobs=1):
    return [f(queries, kind, n_jobs) for kind in KINDS for f in (forest.score, forest.attribution)]


@pytest.mark.parametrize("kind", [*KINDS, "path"])
@pytest.mark.parametrize("d", WIDTHS)
def test_threads_and_batches(d, kind):
    X = rows(1500, d)
    found = set()
    for n_jobs in (1, 2, 5):
        for size in (1, 7, 1000, len(X)):
            if n_jobs > 1 and size < 1000:
                size = 500  # threads for each single record would take minutes and would not test more
            forest = Forest(11, 64, d, 1 / 640, [SEED])
            found.add(digest(forest, in_batches(forest, X, size, kind, n_jobs), *all_of(forest, X[:40], n_jobs)))
    forest = Forest(11, 64, d, 1 / 640, [SEED])
    one_by_one = np.array([forest.update_record(x, kind) for x in X])
    found.add(digest(forest, one_by_one, *all_of(forest, X[:40])))
    assert len(found) == 1


def test_threads_for_single_records():
    X = rows(60, 3)
    found = set()
    for n_jobs in (1, 2, 5):
        forest = Forest(11, 16, 3, 0.01, [SEED])
        found.add(digest(forest, in_batches(forest, X, 1, "codisp", n_jobs)))
    assert len(found) == 1


def test_long_batches_do_not_depend_on_internal_pieces():
    """The batch is longer than the pieces in which the core processes it (1024 and 16384 rows)."""
    X = rows(20_000, 2)
    found = set()
    for size in (20_000, 16_384, 1025, 999):
        forest = Forest(5, 32, 2, 0.0, [SEED])
        found.add(digest(forest, in_batches(forest, X, size)))
    assert len(found) == 1


def test_weighted_batches():
    X, weights = rows(700, 3), np.random.default_rng(1).integers(1, 9, 700) / 4
    found = set()
    for size, n_jobs in ((1, 1), (7, 1), (700, 1), (700, 5)):
        forest = Forest(6, 32, 3, 0.01, [SEED])
        found.add(digest(forest, in_batches(forest, X, size, "depth", n_jobs, weights)))
    assert len(found) == 1


@pytest.mark.parametrize(("weights", "decay", "disjoint"), [(0, 0.0, 0), (1, 0.0, 0), (0, 0.01, 0), (0, 0.0, 1)])
def test_threads_in_fit(weights, decay, disjoint):
    X = rows(3000, 5)
    w = np.random.default_rng(1).integers(1, 9, 3000) / 4 if weights else None
    found = set()
    for n_jobs in (1, 2, 5):
        forest = Forest(11, 64, 5, 0.01, [SEED])
        forest.fit(X, w, decay, bool(disjoint), n_jobs)
        found.add(digest(forest, *all_of(forest, X[:40], n_jobs)))
    assert len(found) == 1


@pytest.mark.parametrize("d", WIDTHS)
def test_instruction_sets(d):
    found = {}
    available = [name for name in ("portable", "avx2", "avx512") if hook("use_instructions", name)]
    try:
        for name in available:
            hook("use_instructions", name)
            found[name] = work(d), one_at_a_time(d)
    finally:
        hook("use_instructions", available[-1])
    assert "portable" in found
    assert len(set(found.values())) == 1
    if len(found) == 1:
        pytest.skip("only the portable code is available (debug build or no AVX2), and test_golden checks its bits")


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("d", [*WIDTHS, 16, 40])
def test_many_rows_at_once(d, low_memory):
    """Many rows go through a tree together, and few rows one by one, with the same bits."""
    X = rows(900, d)
    forest = Forest(5, 48, d, 1 / 480, [SEED], low_memory)
    forest.update(X[:600], None, None, 1)
    queries = np.r_[X[500:], X[560:600] * (1 + 2.0**-20), np.repeat(X[597:600], 9, axis=0)]  # far, near and equal
    assert len(queries) % 16 % 8, "some words are filled only in part"
    available = [name for name in ("portable", "avx2", "avx512") if hook("use_instructions", name)]
    try:
        for kind in [*KINDS, "path"]:
            few = np.concatenate([forest.score(queries[i : i + 10], kind) for i in range(0, len(queries), 10)])
            for name in available:
                hook("use_instructions", name)
                np.testing.assert_array_equal(forest.score(queries, kind), few, err_msg=f"{kind}, {name}")
    finally:
        hook("use_instructions", available[-1])


@pytest.mark.parametrize("how", ["pickle", "copy"])
@pytest.mark.parametrize("at", [0, 1, 5, 15, 16, 17, 63, 64, 65, 200, 399])
def test_restored_at_any_point(at, how):
    X = rows(400, 3)
    whole, part = (RandomCutForest(7, 64, random_state=3, method="codisp") for _ in range(2))
    scores = np.array([whole.update(x) for x in X])
    first = [part.update(x) for x in X[:at]]
    part = pickle.loads(pickle.dumps(part)) if how == "pickle" else copy.deepcopy(part)
    second = [part.update(x) for x in X[at:]]
    assert scores.tolist() == first + second
    assert digest(whole._forest, *all_of(whole._forest, X[:9])) == digest(part._forest, *all_of(part._forest, X[:9]))


def test_restored_after_forgetting():
    X = rows(300, 3)
    forests = []
    for restored in (False, True):
        forest = Forest(7, 32, 3, 0.01, [SEED])
        for i, x in enumerate(X):
            forest.update_record(x, "depth")
            if i % 3 == 0:
                forest.forget(X[i // 2])
            if restored and i % 50 == 0:
                forest = pickle.loads(pickle.dumps(forest))
        forests.append(digest(forest))
    assert len(set(forests)) == 1


def test_two_processes():
    """The same results in a separate process, with another hash seed and more threads."""
    program = "import test_determinism as t; print(t.work(7))"
    path = os.pathsep.join([str(Path(__file__).parent), *(p for p in sys.path if p)])
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {work(7)}


def test_another_seed_is_another_forest():
    X = rows(100, 2)
    found = set()
    for seed in range(5):
        forest = Forest(2, 32, 2, 0.0, [seed])
        forest.update(X, None, None, 1)
        found.add(digest(forest))
    assert len(found) == 5
    trees = [forest.tree(i)["cuts"].tobytes() for i in range(2)]
    assert len(set(trees)) == 2


def work(d):
    """A long history of a forest with every operation."""
    X = rows(900, d)
    forest = Forest(6, 48, d, 1 / 480, [SEED])
    scores = [forest.update(X[:500], None, kind, 2) for kind in KINDS]
    forest.forget(X[450])
    scores.append(forest.update(X[500:], np.linspace(0.5, 2.0, 400), "codisp", 1))
    scores += all_of(forest, X[::30], 1)
    forest.fit(X, None, False, False, 2)
    scores.append(forest.update(np.repeat(X[:50], 3, axis=0), None, "opensearch", 1))
    return digest(forest, *scores)


def one_at_a_time(d):
    """Single records use a separate walk that goes through all trees at once."""
    X = rows(300, d)
    forest = Forest(11, 32, d, 1 / 320, [SEED])
    forest.update(X[:100], None, None, 1)
    return digest(forest, [forest.update_record(x, KINDS[i % 4]) for i, x in enumerate(X[100:])])


@pytest.mark.parametrize("d", WIDTHS)
def test_golden(d):
    golden = json.loads(GOLDEN.read_text())
    assert golden["seed"] == SEED
    assert work(d) == golden["digests"][str(d)]


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    content = {"seed": SEED, "digests": {str(d): work(d) for d in WIDTHS}}
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n")
