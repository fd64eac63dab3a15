"""method="path": the score of IsolationForest, taken from random cut trees."""

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.ensemble._iforest import _average_path_length

from rcf import RandomCutForest, _core
from rcf._core import Forest


def stream(n, d, duplicates=False):
    X = np.random.default_rng(d).normal(size=(n, d))
    return np.round(X) if duplicates else X


def leaf_of(tree, x):
    """The depth and the mass of the leaf that x reaches."""
    v, depth = tree["root"], 0
    while v >= 0:
        cut = tree["cuts"][v]
        v, depth = int(cut["child"][int(x[cut["dim"]] > cut["value"])]), depth + 1
    return depth, int(tree["leaves"]["mass"][~v])


def by_sklearn(forest, queries):
    """The score computed with scikit-learn's function for c(n) and its formula."""
    trees = [forest.tree(i) for i in range(forest.n_trees)]
    out = []
    for query in (queries - forest.origin_).astype(np.float32):
        leaves = [leaf_of(tree, query) for tree in trees]
        lengths = [depth + _average_path_length([mass])[0] for depth, mass in leaves]
        means = [_average_path_length([tree["mass"]])[0] for tree in trees]
        ratios = [length / mean if mean else 1.0 for length, mean in zip(lengths, means, strict=True)]
        out.append(2.0 ** -np.mean(ratios))
    return np.array(out)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 100, 256, 4095, 4096, 100_000])
def test_mean_length_is_sklearns(n):
    assert _core.hook("mean_length", n) == pytest.approx(_average_path_length([n])[0], rel=1e-14)


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
@pytest.mark.parametrize(("d", "duplicates"), [(1, True), (2, True), (3, False), (8, False), (21, True), (70, False)])
def test_scores_are_sklearns(d, duplicates, isa):
    if not _core.hook("use_instructions", isa):
        pytest.skip(f"no {isa} here")
    try:
        forest = Forest(7, 64, d, 1 / 640, [1])
        forest.update(stream(500, d, duplicates), None, None, 1)
        queries = np.r_[stream(500, d, duplicates)[-30:], 3 * stream(500, d)]
        expected = by_sklearn(forest, queries)
        np.testing.assert_allclose(forest.score(queries, "path"), expected, rtol=1e-13)  # many rows
        np.testing.assert_allclose(forest.score(queries[:5], "path"), expected[:5], rtol=1e-13)  # few
        learner = forest.copy()
        before = by_sklearn(learner, queries[:1])[0]
        assert learner.update_record(queries[0], "path") == pytest.approx(before, rel=1e-13)
        assert forest.update(queries[:1], None, "path")[0] == pytest.approx(before, rel=1e-13)
    finally:
        for widest in ("avx512", "avx2", "portable"):
            if _core.hook("use_instructions", widest):
                break


@pytest.mark.parametrize("size", [1, 7, 500])
def test_learning_does_not_depend_on_the_method(size):
    """The score of a path needs no climb, but an insertion must still find the boxes that it changes."""
    X = stream(800, 5)
    forests = [Forest(9, 32, 5, 1 / 320, [2]) for _ in range(2)]
    for i in range(0, len(X), size):
        for forest, method in zip(forests, ("path", "depth"), strict=True):
            if size == 1:
                forest.update_record(X[i], method)
            else:
                forest.update(X[i : i + size], None, method)
    one, two = (forest.state() for forest in forests)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_the_first_records_score_zero_and_an_empty_tree_counts_one():
    X = stream(40, 2)
    forest = Forest(3, 32, 2, 0.0, [3])
    scores = forest.update(X, None, "path")
    assert (scores[:32] == 0).all()
    assert (scores[32:] > 0).all()
    alone = Forest(3, 32, 2, 0.0, [3])
    assert [alone.update_record(x, "path") for x in X] == scores.tolist()
    assert Forest(3, 32, 2, 0.0, [3]).score(X, "path").tolist() == [0.5] * 40


def test_constant_data_score_as_in_sklearn():
    """All records are in one leaf, so the path has the mean length and the score is a half."""
    X = np.ones((300, 3))
    assert RandomCutForest(method="path", random_state=0).fit(X).anomaly_score(X[:2]).tolist() == [0.5, 0.5]


def test_it_ranks_as_an_isolation_forest_does():
    """Both forests cut at random, and if all features have the same extent, their cuts have similar distributions."""
    rng = np.random.default_rng(5)
    X = np.r_[rng.normal(size=(2000, 4)), rng.uniform(-6, 6, size=(60, 4))]
    ours = RandomCutForest(200, method="path", random_state=0).fit(X).score_samples(X)
    theirs = IsolationForest(n_estimators=200, random_state=0).fit(X).score_samples(X)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95


def test_it_has_no_attribution():
    forest = RandomCutForest(10, method="path", random_state=0).fit(stream(300, 2))
    with pytest.raises(ValueError, match=r"'path' has no attribution.*such as 'depth'"):
        forest.attribution([[0.0, 0.0]])
    assert forest.attribution([[0.0, 0.0]], method="depth").shape == (1, 2, 2)
