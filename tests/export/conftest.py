"""Forests that are difficult to export: duplicates, large offsets, deep or empty trees, a single value, two features."""

import numpy as np
import pytest

from rcf import RandomCutForest


def _rows(kind, n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    if kind == "duplicates":
        X = np.round(X * 2)
    elif kind == "offset":
        X = X + 1e9
    elif kind == "constant":
        X = np.full((n, d), 3.25)
    elif kind == "deep":  # the first cuts of each feature separate single points
        X = np.exp2(-rng.integers(0, 120, (n, d)).astype(float)) * rng.choice([-1.0, 1.0], (n, d))
    return X


def _grown(kind, method, d, trees):
    forest = RandomCutForest(trees, 64, method=method, random_state=1)
    if kind == "stream":
        return forest.partial_fit(_rows("normal", 700, d))
    if kind == "growing":  # the origin is not determined yet
        return forest.partial_fit(_rows("normal", 9, d))
    if kind == "holes":  # some trees are empty, others hold one record or two
        records = _rows("normal", 3, d)
        forest.set_params(max_samples=2, time_decay=0.5).partial_fit(np.repeat(records, 3, axis=0))
        for record in records[1:]:
            while forest.forget(record):
                pass
        return forest
    return forest.fit(_rows(kind, 400, d))


KINDS = ("normal", "duplicates", "offset", "constant", "deep", "stream", "growing", "holes")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def grown(kind):
    """grown(method, d, trees=10) -> (forest, queries).

    The queries are records of the forest, rows near and far from them, and rows on cuts.
    """

    def make(method, d, trees=10):
        forest = _grown(kind, method, d, trees)
        held = np.concatenate([forest._forest.points(i) for i in range(trees)])[:60]
        rng = np.random.default_rng(2)
        near = held + rng.normal(size=held.shape) * rng.choice([1e-6, 0.3], (len(held), 1))
        far = held[:20] + 10.0 ** rng.integers(1, 8, (min(20, len(held)), 1))
        state = forest._forest.state()
        cut, dim = state["cut"][:60], state["dim"][:60]
        on_cuts = np.resize(held, (len(cut), d))
        on_cuts[np.arange(len(cut)), dim] = state["origin"][dim] + cut
        return forest, np.concatenate([held, near, far, -far, on_cuts])

    return make
