"""The distribution of trees: after any insertions and deletions in any order, a tree has the distribution of a tree built from
the remaining points (Theorem 1 and Lemmas 4-6 of Guha et al., ICML 2016).

The trees of one forest are independent draws with the same history. For up to five points, all possible trees are enumerated with
their exact probabilities, and a chi-square test compares these with the counts.

Error rate: each p-value of a correct implementation falls below ALPHA with that probability for a new seed; the seeds are fixed.
With 10^5 trees, a relative error of 7 % in a cell of probability 0.1 is nearly always found, and with 10^4 trees an error of 25 %.
"""

import naive
import numpy as np
import pytest
from laws import ALPHA, chi_square, same_law
from scipy import stats

from rcf._core import Forest

TREES = 100_000
FEW = 10_000


def points_of(n, d, seed=0):
    """Points on a grid that floats represent exactly for any origin; no two points share a value."""
    rng = np.random.default_rng([n, d, seed])
    return np.stack([rng.permutation(256)[:n] / 64 for _ in range(d)], axis=1)


def forest_of(n_trees, d, seed, capacity=64):
    return Forest(n_trees, capacity, d, 0.0, [seed])


def emptied(n_trees, d, seed):
    """A forest that was fitted, so that its origin is determined, and has then forgotten all records."""
    forest = forest_of(n_trees, d, seed)
    forest.fit(np.zeros((1, d)), None, False, False, 1)
    assert forest.forget(np.zeros(d)) == n_trees
    return forest


def insert(forest, x):
    forest.update(np.array([x]), None, None, 1)


def forget(forest, x):
    assert forest.forget(np.array(x)) == forest.n_trees


def splits(forest, points):
    """(trees, n - 1, 4): for each inner node the points below it, the dimension, the points on the left, and the cut."""
    n, trees = len(points), [forest.tree(i) for i in range(forest.n_trees)]
    n_nodes, n_leaves = (max(len(t[k]) for t in trees) for k in ("nodes", "leaves"))
    cuts = np.zeros((len(trees), n_nodes), trees[0]["cuts"].dtype)
    alive = np.zeros((len(trees), n_nodes), bool)
    below = np.zeros((len(trees), n_leaves), np.int64)
    rows = (np.asarray(points) - forest.origin_).astype(np.float32)
    at = np.full((len(trees), n_leaves, points.shape[1]), np.nan, np.float32)
    for i, tree in enumerate(trees):
        cuts[i, : len(tree["cuts"])] = tree["cuts"]
        alive[i, : len(tree["nodes"])] = tree["nodes"]["mass"] > 0
        held = tree["leaves"]["mass"] > 0
        at[i, : len(held)][held] = tree["points"][held]
    for i, row in enumerate(rows):
        below |= (at == row).all(axis=2).astype(np.int64) << i
    assert (below.sum(axis=1) == 2**n - 1).all(), "each tree holds each of the points, and no other"
    child = cuts["child"]
    tree = np.arange(len(trees))[:, None, None]
    masks = np.zeros_like(child)
    for _ in range(n):
        inner = masks[tree, np.maximum(child, 0)].sum(axis=3)
        masks = np.where(child >= 0, inner, below[tree, np.minimum(~child, n_leaves - 1)])
    out = np.stack([masks.sum(axis=2), cuts["dim"], masks[..., 0], cuts["value"].astype(np.float64)], axis=2)
    out[~alive] = -1
    order = np.lexsort((out[..., 2], out[..., 1], -out[..., 0]))
    out = np.take_along_axis(out, order[..., None], axis=1)[:, : n - 1]
    assert (out >= -1e30).all()
    assert (out[..., 0] > 0).all()
    return out


def shape_counts(found):
    codes, counts = np.unique(found[..., :3].astype(np.int64), axis=0, return_counts=True)
    return {tuple(sorted(map(tuple, c.tolist()))): int(k) for c, k in zip(codes, counts, strict=True)}


def assert_law(forest, points, like=None):
    """Check that the shapes have their probabilities and that each cut is uniform in its gap. `like` are the points for which the
    probabilities are computed.
    """
    found = splits(forest, points)
    assert chi_square(shape_counts(found), naive.shapes(points if like is None else like)) > ALPHA
    assert_cuts_uniform(forest, points, found)


def assert_cuts_uniform(forest, points, found):
    rows = points - forest.origin_
    below = np.array([[mask >> i & 1 for i in range(len(points))] for mask in range(1 << len(points))], bool)
    mask, dim, left = (found[..., i].astype(np.int64) for i in range(3))
    low = np.where(below[left], rows.T[dim], -np.inf).max(axis=2)
    high = np.where(below[mask ^ left], rows.T[dim], np.inf).min(axis=2)
    where = (found[..., 3] - low) / (high - low)
    assert ((where >= 0) & (where < 1)).all()
    for i in range(where.shape[1]):
        assert stats.kstest(where[:, i], "uniform").pvalue > ALPHA


CASES = [(n, d) for n in (3, 4, 5) for d in (1, 2, 3)]


def few_and(many):
    return pytest.mark.parametrize("trees", [FEW, pytest.param(many, marks=pytest.mark.slow)])


@few_and(TREES)
@pytest.mark.parametrize(("n", "d"), CASES)
def test_built(n, d, trees):
    points = points_of(n, d)
    forest = forest_of(trees, d, 10 * n + d)
    forest.fit(points, None, False, False, 1)
    assert_law(forest, points)


@few_and(TREES // 3)  # for each of three orders
@pytest.mark.parametrize(("n", "d"), CASES)
def test_inserted_in_any_order(n, d, trees):
    points = points_of(n, d)
    forest = emptied(trees, d, 100 + 10 * n + d)
    for order in (range(n), np.argsort(points[:, 0]), np.random.default_rng(n).permutation(n)):
        for i in order:
            insert(forest, points[i])
        assert_law(forest, points)
        for x in points:
            forget(forest, x)
        assert not forest.masses().any()


@few_and(TREES)
@pytest.mark.parametrize(("n", "d"), CASES)
def test_every_point_inserted_then_forgotten(n, d, trees):
    """Each point is inserted again and forgotten, each is forgotten and inserted again, and other points are inserted and
    forgotten.
    """
    points = points_of(n, d)
    forest = forest_of(trees, d, 200 + 10 * n + d)
    forest.fit(points, None, False, False, 1)
    for x in points:
        insert(forest, x)
        forget(forest, x)
    for x in points:
        forget(forest, x)
        insert(forest, x)
    for x in [*points_of(3, d, 1), np.full(d, 9.0), np.full(d, -9.0), points.min(axis=0), points.max(axis=0)]:
        if not (points == x).all(axis=1).any():
            insert(forest, x)
            forget(forest, x)
    assert_law(forest, points)


@few_and(TREES // 2)  # for each of two histories
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("n", "d"), CASES)
def test_random_history(n, d, seed, trees):
    """50 insertions and deletions, also of duplicates, after which n points remain."""
    rng = np.random.default_rng([n, d, seed])
    points = points_of(n, d, seed)
    pool = np.concatenate([points, points_of(6, d, seed + 10) + 1 / 128])
    forest = emptied(trees, d, 1000 * seed + 10 * n + d)
    held = []
    for _ in range(50 - n):
        if held and rng.random() < len(held) / 10:
            forget(forest, pool[held.pop(rng.integers(len(held)))])
        else:
            held.append(int(rng.integers(len(pool))))
            insert(forest, pool[held[-1]])
    for i in range(n):
        if i not in held:
            held.append(i)
            insert(forest, pool[i])
    for i in list(held):
        if i >= n or held.count(i) > 1:
            held.remove(i)
            forget(forest, pool[i])
    assert sorted(held) == list(range(n))
    assert_law(forest, points)


def test_before_and_after_the_origin_is_determined():
    """The trees are compared before the origin is determined, at that moment (the sixteenth record), and after it."""
    points = points_of(4, 2)
    forest = forest_of(FEW, 2, 5)
    forest.update(points, None, None, 1)
    assert_law(forest, points)
    others = points_of(20, 2, 7) + 1 / 128
    for x in others:
        insert(forest, x)
    for x in others:
        forget(forest, x)
    assert_law(forest, points)


def test_settling_the_origin_keeps_the_law():
    points = points_of(4, 2)
    forest = forest_of(FEW, 2, 6)
    others = points_of(12, 2, 7) + 1 / 128
    forest.update(others, None, None, 1)
    for x in others:
        forget(forest, x)
    before = forest.origin_
    forest.update(points, None, None, 1)
    assert (forest.origin_ != before).any()
    assert_law(forest, points)


def test_sample_and_tree_have_their_joint_distribution():
    """For a reservoir of three in a stream of six, sample and tree together have their exact joint distribution."""
    points = points_of(6, 2)
    forest = Forest(3 * FEW, 3, 2, 0.0, [8])
    forest.update(points, None, None, 1)
    rows = (points - forest.origin_).astype(np.float32)
    law, counts, found = {}, {}, {}
    for i in range(forest.n_trees):
        tree = forest.tree(i)
        taken = tuple(sorted(tree["slots"]["arrival"].tolist()))
        root = tree["cuts"][tree["root"]]
        first = rows[:, root["dim"]] <= root["value"]
        outcome = (taken, int(root["dim"]), tuple(k for k in taken if first[k - 1]))
        counts[outcome] = counts.get(outcome, 0) + 1
        found.setdefault(taken, []).append(i)
    assert len(found) == 20
    for taken in found:
        for shape, p in naive.shapes(points[np.array(taken) - 1]).items():
            _, dim, left = max(shape)
            outcome = (taken, dim, tuple(k for j, k in enumerate(taken) if left >> j & 1))
            law[outcome] = law.get(outcome, 0.0) + p / 20
    assert sum(law.values()) == pytest.approx(1)
    assert chi_square(counts, law) > ALPHA


# ---- larger trees ------------------------------------------------------------------------------------------


def grown(how, points, trees, seed):
    d = points.shape[1]
    rng = np.random.default_rng(seed)
    if how == "built":
        forest = forest_of(trees, d, seed, capacity=128)
        forest.fit(points, None, False, False, 1)
        return forest
    forest = Forest(trees, 128, d, 0.0, [seed])
    others = rng.normal(size=(40, d)) * 2
    if how == "inserted":
        forest.update(points, None, None, 1)
    else:
        mixed = np.concatenate([points, others])
        forest.update(mixed[rng.permutation(len(mixed))], None, None, 1)
        for x in others[rng.permutation(len(others))]:
            forget(forest, x)
    return forest


def depths_and_first_separation(forest):
    """Two arrays (trees, n): the depths of the points in the order of the first feature, and their side of the first cut."""
    depths, sides = [], []
    for i in range(forest.n_trees):
        tree = forest.tree(i)
        alive = np.flatnonzero(tree["leaves"]["mass"])
        order = alive[np.argsort(tree["points"][alive, 0])]
        parent = tree["leaves"]["parent"][order]
        depth = np.zeros(len(order), int)
        while (parent >= 0).any():
            depth += parent >= 0
            parent = np.where(parent >= 0, tree["nodes"]["parent"][parent], -1)
        depths.append(depth)
        root = tree["cuts"][tree["root"]]
        sides.append(tree["points"][order, root["dim"]] <= root["value"])
    return np.array(depths), np.array(sides)


@pytest.mark.parametrize("how", ["built", "inserted", "inserted and forgotten"])
def test_first_separation_of_pairs(how):
    """The first cut separates a pair with probability |x - y|_1 / (sum of the sides of the box)."""
    points = np.random.default_rng(3).normal(size=(40, 3))
    points = points[np.argsort(points[:, 0])]
    trees = 4000
    _, sides = depths_and_first_separation(grown(how, points, trees, 30))
    apart = (sides[:, :, None] != sides[:, None, :]).sum(axis=0)
    p = np.abs(points[:, None] - points[None]).sum(axis=2) / np.ptp(points, axis=0).sum()
    i, j = np.triu_indices(40, 1)
    z = (apart - trees * p)[i, j] / np.sqrt(trees * p * (1 - p))[i, j]
    assert np.abs(z).max() < stats.norm.isf(ALPHA / len(z) / 2)


@pytest.mark.parametrize("how", ["inserted", "inserted and forgotten"])
def test_depths_are_those_of_a_built_tree(how):
    """The depths of 40 points in two samples of 4000 trees, compared by chi-square tests with a Bonferroni correction."""
    points = np.random.default_rng(4).normal(size=(40, 3))
    points = points[np.argsort(points[:, 0])]
    a, _ = depths_and_first_separation(grown("built", points, 4000, 40))
    b, _ = depths_and_first_separation(grown(how, points, 4000, 41))
    for i in range(len(points)):
        assert same_law(a[:, i].tolist(), b[:, i].tolist()) > ALPHA / len(points)
    # also the mean depth of the whole forest, in which small errors add up
    assert stats.ttest_ind(a.mean(axis=1), b.mean(axis=1)).pvalue > ALPHA


# ---- what does not change the distribution -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fit", "update"])
@pytest.mark.parametrize(
    ("factor", "shift"), [(2.0**-120, 0.0), (2.0**-20, 0.0), (2.0**60, 0.0), (1.0, 1e9), (1.0, -1e12)]
)
def test_invariant_under_translation_and_scaling(factor, shift, how):
    """The distribution does not change with the scale. Factors are powers of two, so that scaling is exact."""
    points = points_of(4, 2)
    moved = points * factor + shift
    forest = forest_of(FEW, 2, 50)
    if how == "fit":
        forest.fit(moved, None, False, False, 1)
    else:
        forest.update(np.repeat(moved, 5, axis=0), None, None, 1)
    assert_law(forest, moved, like=points)


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0)])
def test_invariant_under_the_order_of_features(order):
    points = points_of(4, 3)
    forest = forest_of(FEW, 3, 60)
    forest.fit(np.ascontiguousarray(points[:, order]), None, False, False, 1)
    found = splits(forest, points[:, order])
    found[..., 1] = np.array(order)[found[..., 1].astype(int)]
    assert chi_square(shape_counts(found), naive.shapes(points)) > ALPHA


def test_a_feature_that_does_not_vary_is_never_cut():
    points = points_of(4, 3)
    points[:, 1] = 7.0
    forest = forest_of(FEW, 3, 70)
    forest.fit(points, None, False, False, 1)
    assert_law(forest, points)


@pytest.mark.parametrize("d", [5, 9, 17])
def test_many_features(d):
    """Wider rows use other loops. If all features except two are constant, the shapes have the distribution for two features."""
    points = np.full((4, d), 3.0)
    points[:, [0, d - 1]] = points_of(4, 2)
    forest = emptied(FEW, d, 80 + d)
    for x in points:
        insert(forest, x)
    assert_law(forest, points)
    forest.fit(points, None, False, False, 1)
    assert_law(forest, points)
