"""Merging: the forest of two parts of a stream has the distribution of one forest that saw the whole stream."""

from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, chisquare
from sklearn.exceptions import NotFittedError

import rcf
from rcf import RandomCutForest
from rcf._core import Forest

POINTS = np.array([[0, 0], [1, 3], [4, 1], [2, 2], [7, 5], [3, 9], [8, 0], [5, 5], [1, 8], [6, 2], [9, 9], [2, 6.0]])


def grown(X, seed, *, trees=4000, capacity=3, decay=0.0, weights=None):
    forest = Forest(trees, capacity, X.shape[1], decay, [seed])
    forest.update(np.asarray(X, dtype=float), weights, None)
    return forest


def shapes(forest):
    """For each tree, its records and the sets into which its cuts divide them."""
    state = forest.state()
    slot = cut = node = 0
    found = []
    for size, leaves in zip(state["size"].tolist(), state["leaves"].tolist(), strict=True):
        rows = state["record"][slot : slot + size]
        arrivals, points = state["arrival"][rows], state["points"][rows]
        sets = []
        stack = [np.arange(size)]
        while stack:
            here = stack.pop()
            inner = state["inner"][node]
            node += 1
            sets.append(tuple(sorted(arrivals[here].tolist())))
            if inner:
                above = points[here, state["dim"][cut]] > state["cut"][cut]
                cut += 1
                stack += [here[above], here[~above]]
        slot += size
        assert len(sets) == 2 * leaves - 1
        found.append((tuple(sorted(arrivals.tolist())), tuple(sorted(sets))))
    return found


def same_law(one, two):
    """The p-value for two lists of outcomes having the same distribution (chi-square; rare outcomes are combined)."""
    one, two = Counter(one), Counter(two)
    table = np.array([[one[key], two[key]] for key in {*one, *two}], dtype=float)
    rare = table.sum(axis=1) < 12
    table = np.vstack([table[~rare], table[rare].sum(axis=0, keepdims=True)])
    table = table[table.sum(axis=1) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return chi2.sf(((table - expected) ** 2 / expected).sum(), len(table) - 1)


@pytest.mark.parametrize("parts", [(6, 6), (2, 10), (1, 11), (10, 2)])
def test_uniform_samples_take_every_subset_alike(parts):
    first, second = np.split(POINTS, [parts[0]])
    forest = grown(first, 1)
    forest.merge(grown(second, 2))
    counts = Counter(held for held, _ in shapes(forest))
    subsets = list(combinations(range(1, 13), 3))
    assert set(counts) <= set(subsets)
    assert chisquare([counts[s] for s in subsets]).pvalue > 1e-3


CASES = {
    "uniform": {},
    "decay": {"decay": 0.2},
    "weights": {"weights": np.array([1, 2, 3, 1, 5, 1, 1, 9, 1, 0.5, 2, 4])},
    "decay and weights": {"decay": 0.3, "weights": np.array([1, 2, 3, 1, 5, 1, 1, 9, 1, 0.5, 2, 4])},
}


def halves(case, at, seeds):
    options, weights = dict(case), case.get("weights")
    forests = []
    for seed, rows in zip(seeds, np.split(np.arange(len(POINTS)), at), strict=True):
        if weights is not None:
            options["weights"] = np.ascontiguousarray(weights[rows])
        forests.append(grown(POINTS[rows], seed, **options))
    return forests


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("at", [3, 6, 11])
def test_samples_and_shapes_are_those_of_the_whole_stream(case, at):
    whole = grown(POINTS, 3, **CASES[case])
    one, two = halves(CASES[case], [at], [4, 5])
    one.merge(two)
    assert one.n_seen == 12
    assert same_law(shapes(one), shapes(whole)) > 1e-3


@pytest.mark.parametrize("case", ["uniform", "decay"])
def test_records_after_a_merge_have_the_same_distribution(case):
    more = POINTS[:6] + 0.5
    whole = grown(POINTS, 13, **CASES[case])
    one, two = halves(CASES[case], [5], [14, 15])
    one.merge(two)
    one.update(more, None, None)
    whole.update(more, None, None)
    assert same_law(shapes(one), shapes(whole)) > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_merging_is_associative(case):
    a, b, c = halves(CASES[case], [4, 7], [6, 7, 8])
    d, e, f = halves(CASES[case], [4, 7], [6, 7, 8])
    a.merge(b)
    a.merge(c)
    e.merge(f)
    d.merge(e)
    # only the keys decide which records stay; only the cuts are random
    assert [held for held, _ in shapes(a)] == [held for held, _ in shapes(d)]
    np.testing.assert_allclose(a.state()["threshold"], d.state()["threshold"], rtol=1e-14)
    assert same_law(shapes(a), shapes(d)) > 1e-3


def test_tables_merge_to_a_uniform_sample_of_both():
    X = np.arange(900.0).reshape(-1, 1)
    parts = [RandomCutForest(200, 30, random_state=i).fit(part) for i, part in enumerate(np.split(X, [100, 500]))]
    whole = rcf.merge(parts)
    assert whole.n_seen_ == 900
    assert (whole._forest.state()["leaves"] == 30).all()
    arrivals = np.concatenate([whole._forest.tree(i)["slots"]["arrival"] for i in range(200)])
    assert len(arrivals) == 200 * 30
    assert chisquare(np.histogram(arrivals, bins=9, range=(1, 901))[0]).pvalue > 1e-3


def test_a_stream_merged_after_a_table_counts_as_newer():
    X = np.arange(4000.0).reshape(-1, 1)
    for build in ("fit", "partial_fit"):
        first = RandomCutForest(100, 30, random_state=0).fit(X[:2000])
        second = getattr(RandomCutForest(100, 30, random_state=1), build)(X[2000:])
        if build == "fit":
            first.update([1.0])  # no longer a table
        whole = first.merge(second)
        arrivals = np.concatenate([whole._forest.tree(i)["slots"]["arrival"] for i in range(100)])
        assert (
            arrivals > 2000
        ).mean() > 0.99  # after 2000 records with a decay of 1/300, the first has the weight exp(-6.7)


def test_scores_are_those_of_one_forest_for_the_whole_stream():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 3)) + np.linspace(0, 3, 4000)[:, None]
    queries = np.array([[0, 0, 0], [3, 3, 3], [6, 0, 0], [9, 9, 9.0]])
    merged, whole = [], []
    for seed in range(12):
        parts = [RandomCutForest(30, 64, random_state=[100, 200][i] + seed).partial_fit(X[i::2]) for i in range(2)]
        halves = enumerate(np.split(X, [1500]))
        streams = [RandomCutForest(30, 64, random_state=300 + i + 10 * seed).partial_fit(half) for i, half in halves]
        assert rcf.merge(parts).n_seen_ == 4000
        merged.append(rcf.merge(streams).anomaly_score(queries))
        whole.append(RandomCutForest(30, 64, random_state=seed).partial_fit(X).anomaly_score(queries))
    error = np.sqrt((np.var(merged, axis=0, ddof=1) + np.var(whole, axis=0, ddof=1)) / 12)
    assert (np.abs(np.mean(merged, axis=0) - np.mean(whole, axis=0)) < 4 * error).all()


# ---- what a merge keeps and what it does not change ----------------------------------------------------------------


def test_the_other_forest_is_unchanged_and_the_merged_one_is_valid():
    X = np.random.default_rng(1).normal(size=(2000, 4))
    one, two = [RandomCutForest(10, 64, random_state=i).partial_fit(part) for i, part in enumerate(np.split(X, [700]))]
    before = two.to_bytes()
    assert one.merge(two) is one
    assert two.to_bytes() == before
    again = RandomCutForest.from_bytes(one.to_bytes())  # checks every invariant of the trees
    Y = X[:500] + 0.1
    np.testing.assert_array_equal(again.update_many(Y), one.update_many(Y))
    two.update_many(Y)
    one.forget(Y[-1])


def test_a_forgotten_record_stays_forgotten():
    one, two = grown(POINTS[:4], 1, trees=500, capacity=8), grown(POINTS[4:8], 2, trees=500, capacity=8)
    assert two.forget(POINTS[5]) == 500
    one.merge(two)
    assert all(held == (1, 2, 3, 4, 5, 7, 8) for held, _ in shapes(one))


def test_equal_records_meet_in_one_leaf():
    X = np.repeat(POINTS, 2, axis=0) + 1e6
    one, two = grown(X, 1, trees=50, capacity=100), grown(X, 2, trees=50, capacity=100)
    one.merge(two)
    assert (one.state()["leaves"] == 12).all()
    assert (one.masses() == 48).all()


@pytest.mark.parametrize("lengths", [(1, 1), (5, 5), (9, 9), (15, 15), (5, 40), (40, 5), (40, 60)])
def test_origins_near_and_far(lengths):
    """The first 16 records determine the origin. Around 1e9, 24-bit numbers relative to 0 could not distinguish the records."""
    X = np.random.default_rng(2).normal(size=(sum(lengths), 3)) + np.array([1e9, -4e7, 0])
    X[lengths[0] :] += np.array([30, -20, 10])
    one, two = grown(X[: lengths[0]], 1, trees=20, capacity=200), grown(X[lengths[0] :], 2, trees=20, capacity=200)
    one.merge(two)
    for i in range(20):
        points = one.points(i)
        np.testing.assert_allclose(points[np.argsort(points[:, 2])], X[np.argsort(X[:, 2])], atol=2e-5, rtol=0)
    assert_can_go_on(one, X)


def assert_can_go_on(forest, X):
    again = Forest.from_state(forest.state())
    np.testing.assert_array_equal(forest.update(X + 0.25, None, "depth"), again.update(X + 0.25, None, "depth"))


def test_equal_origins_leave_points_as_they_are():
    X = np.random.default_rng(2).normal(size=(40, 3)) * 1e-3 + 1e9
    one, two = grown(X, 1, trees=5, capacity=100), grown(X, 2, trees=5, capacity=100)
    before = {row.tobytes() for row in two.state()["points"]}
    one.merge(two)
    assert {row.tobytes() for row in one.state()["points"]} == before


def test_scores_are_zero_until_enough_records_were_seen():
    """The first `max_samples` records of a stream score 0, but a forest fitted to a table already knows as many records."""
    X = np.random.default_rng(3).normal(size=(100, 2))
    streams = [RandomCutForest(10, 64, random_state=i).partial_fit(X[:30]) for i in range(2)]
    scores = streams[0].merge(streams[1]).update_many(X[:20])
    assert (scores[:4] == 0).all()
    assert (scores[4:] > 0).all()
    stream, table = (
        RandomCutForest(10, 64, random_state=1).partial_fit(X[:5]),
        RandomCutForest(10, 64, random_state=2).fit(X[:9]),
    )
    assert (stream.merge(table).update_many(X[:20]) > 0).all()


def test_merge_of_one_is_a_copy():
    forest = RandomCutForest(5, 32, random_state=0).fit(POINTS)
    copy = rcf.merge([forest])
    assert copy is not forest
    assert copy.to_bytes() == forest.to_bytes()


# ---- what is refused --------------------------------------------------------------------------------------------------------


def table(seed=1, d=2, **parameters):
    return RandomCutForest(**{"n_estimators": 5, "max_samples": 32, "random_state": seed} | parameters).fit(
        np.random.default_rng(seed).normal(size=(100, d))
    )


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: table(d=3), "n_features differs: 2 and 3"),
        (lambda: table(n_estimators=6), "n_estimators differs: 5 and 6; only forests that agree"),
        (lambda: table(max_samples=16), "max_samples differs: 32 and 16"),
        (lambda: table(time_decay=0.5), "time_decay differs: 0.003125 and 0.5"),
        (lambda: table(method="codisp"), "method differs: 'depth' and 'codisp'"),
        (lambda: table(seed=0), "same random numbers"),
        (lambda: RandomCutForest.from_bytes(table(seed=0).to_bytes()), "same random numbers"),
        (lambda: table().partial_fit(np.full((40, 2), 1.6e38)), None),
    ],
)
def test_forests_that_do_not_fit(other, message):
    forest, other = table(seed=0), other()
    before, others = forest.to_bytes(), other.to_bytes()
    if message is None:
        forest.merge(other)
        return
    for merge in (forest.merge, lambda o: rcf.merge([forest, o])):
        with pytest.raises(ValueError, match=message):
            merge(other)
    assert forest.to_bytes() == before
    assert other.to_bytes() == others


def test_invalid_arguments():
    forest = table()
    with pytest.raises(ValueError, match="with itself"):
        forest.merge(forest)
    with pytest.raises(NotFittedError):
        forest.merge(RandomCutForest())
    with pytest.raises(NotFittedError):
        RandomCutForest().merge(forest)
    with pytest.raises(TypeError, match="got list"):
        forest.merge([forest])
    with pytest.raises(ValueError, match="at least one forest"):
        rcf.merge([])
    with pytest.raises(TypeError, match=r"must be RandomCutForests, got int \(number 1\)"):
        rcf.merge([forest, 3])
    with pytest.raises(TypeError, match=r"a list of forests, got one: call merge\(\[forest, other\]\)"):
        rcf.merge(forest)
    empty = Forest(5, 32, 2, forest.time_decay_, [9])
    with pytest.raises(ValueError, match="seen no records: the other"):
        forest._forest.merge(empty)
    with pytest.raises(ValueError, match="seen no records: this one"):
        empty.merge(forest._forest)


def test_other_feature_names():
    frames = [pd.DataFrame(POINTS, columns=columns) for columns in (["a", "b"], ["b", "a"])]
    one, two = [RandomCutForest(5, random_state=i).fit(frame) for i, frame in enumerate(frames)]
    with pytest.raises(ValueError, match=r"feature names differ: \['a', 'b'\] and \['b', 'a'\]"):
        one.merge(two)
