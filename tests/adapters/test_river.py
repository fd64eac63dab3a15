"""The adapter to river: river's own checks, and the same scores as the estimator."""

import math
import random

import numpy as np
import pytest

import rcf
from rcf.adapters.river import RandomCutForest


def records(n, seed=0):
    noise = random.Random(seed)
    return [{"b": noise.gauss(0, 1), "a": noise.gauss(5, 2), 3: noise.random()} for _ in range(n)]


def test_same_scores_as_the_estimator():
    adapter = RandomCutForest(20, 32, method="codisp", seed=4)
    forest = rcf.RandomCutForest(20, 32, method="codisp", random_state=4)
    assert adapter.score_one({"a": 1}) == 0.0
    for x in records(200):
        adapter.learn_one(x)
        forest.partial_fit([[x["a"], x["b"], x[3]]])
    for x in records(50, seed=1):
        shuffled = dict(random.sample(list(x.items()), 3))
        assert adapter.score_one(shuffled) == forest.anomaly_score([[x["a"], x["b"], x[3]]])[0]


def test_features_that_come_and_go():
    adapter = RandomCutForest(5, 16, seed=0)
    adapter.learn_one({})
    assert adapter.score_one({"a": 1.0}) == 0.0
    adapter.learn_one({"a": 1.0, "b": 2.0})
    adapter.learn_one({"b": 3.0, "c": 9.0})
    adapter.learn_one({"a": math.nan, "b": 4})
    assert adapter._forest.n_seen_ == 3
    held = np.unique(np.concatenate([adapter._forest._forest.points(i) for i in range(5)]), axis=0)
    np.testing.assert_array_equal(held, [[1, 2], [1, 3], [1, 4]])


def test_errors_leave_the_model_unchanged():
    adapter = RandomCutForest(5, 16, seed=0)
    with pytest.raises(ValueError, match=r"first record .* nan"):
        adapter.learn_one({"a": 1.0, "b": math.nan})
    adapter.learn_one({"a": 1.0, "b": 2.0})
    for bad in (math.inf, 1e300, "x"):
        with pytest.raises(ValueError):
            adapter.learn_one({"a": 5.0, "b": bad})
    adapter.learn_one({})
    assert adapter._forest.n_seen_ == 2
    assert adapter._last == {"a": 1.0, "b": 2.0}


class Stream:
    """Labelled records that replace the card payments that river's checks would download."""

    def __iter__(self):
        noise = random.Random(7)
        for _ in range(300):
            odd = noise.random() < 0.05
            yield {f"v{i}": noise.gauss(6.0 * odd, 1) for i in range(6)} | {"amount": noise.expovariate(1)}, odd


def river_checks():
    try:
        from river import checks
    except ImportError:
        return []
    fetch = checks._yield_datasets
    checks._yield_datasets = lambda model, **_: iter([Stream()])
    try:
        return list(checks.yield_checks(RandomCutForest(10, 32, seed=1)))
    finally:
        checks._yield_datasets = fetch


@pytest.mark.parametrize("check", river_checks(), ids=lambda c: c.__name__)
@pytest.mark.filterwarnings("ignore")  # river's own
def test_river(check):
    check(RandomCutForest(10, 32, seed=1).clone())


def test_river_knows_it():
    base = pytest.importorskip("river.base", reason="the package river is not installed")
    assert isinstance(RandomCutForest(), base.AnomalyDetector)
    assert len(river_checks()) > 20
