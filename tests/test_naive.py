"""The oracle, compared with the definitions that it implements."""

import naive
import numpy as np
import pytest


def random_tree(rng, points, masses):
    """A random cut tree, straight from the definition."""
    if len(points) == 1:
        return naive.Leaf(points[0], masses[0])
    lower, upper = points.min(axis=0), points.max(axis=0)
    dim = int(rng.choice(points.shape[1], p=(upper - lower) / (upper - lower).sum()))
    cut = rng.uniform(lower[dim], upper[dim])
    left = points[:, dim] <= cut
    return naive.Node(
        dim, cut, random_tree(rng, points[left], masses[left]), random_tree(rng, points[~left], masses[~left])
    )


@pytest.fixture(params=range(12))
def case(request):
    rng = np.random.default_rng(request.param)
    d = 1 + request.param % 4
    points = rng.normal(size=(9, d))
    tree = random_tree(rng, points, rng.integers(1, 4, size=9))
    queries = [*points, *rng.normal(size=(4, d)), np.full(d, 10.0), points.mean(axis=0)]
    return tree, queries


def test_insertions_are_a_distribution(case):
    tree, queries = case
    for x in queries:
        outcomes = naive.insertions(tree, x)
        assert sum(p for p, _ in outcomes) == pytest.approx(1)
        for _, after in outcomes:
            assert after.mass == tree.mass + 1
            assert np.array_equal(naive.path(after, x)[-1].point, x)


@pytest.mark.parametrize(("kind", "value"), [("codisp", naive.codisp_of), ("displacement", naive.displacement_of)])
def test_displacements_are_means_over_insertions(case, kind, value):
    """Insert x in every possible way, measure its displacement by the paper's definition, and take the mean."""
    tree, queries = case
    for x in queries:
        mean = sum(p * value(after, x) for p, after in naive.insertions(tree, x))
        assert naive.score(tree, x, kind) == pytest.approx(mean, rel=1e-12, abs=1e-12)


def test_depth_is_the_mean_inverse_depth_of_the_inserted_leaf(case):
    tree, queries = case
    for x in queries:
        if (tree.points == x).all(axis=1).any():
            continue
        mean = sum(p / (len(naive.path(after, x)) - 1) for p, after in naive.insertions(tree, x))
        assert naive.score(tree, x, "depth") == pytest.approx(mean * np.log2(tree.mass), rel=1e-12)


@pytest.mark.parametrize("kind", naive.KINDS)
def test_attribution_sums_to_the_score(case, kind):
    tree, queries = case
    for x in queries:
        parts = naive.attribution(tree, x, kind)
        assert (parts >= 0).all()
        assert parts.sum() == pytest.approx(naive.score(tree, x, kind), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_shapes_are_a_distribution_and_that_of_the_definition(d):
    rng = np.random.default_rng(d)
    points = rng.normal(size=(4, d))
    law = naive.shapes(points)
    assert sum(law.values()) == pytest.approx(1)
    # the first cut by hand: the probability of a gap is proportional to its length, in each dimension
    values = np.sort(points, axis=0)
    first = {}
    for splits, p in law.items():
        mask, dim, left = max(splits)
        assert mask == 15
        first[dim, left] = first.get((dim, left), 0) + p
    for (dim, left), p in first.items():
        k = left.bit_count()
        assert p == pytest.approx((values[k, dim] - values[k - 1, dim]) / np.ptp(points, axis=0).sum())


def test_inclusion_of_equal_weights_is_uniform():
    law = naive.inclusion(np.ones(5), 2)
    assert len(law) == 10
    assert np.allclose(list(law.values()), 0.1)


def test_inclusion_by_hand():
    """Of three records with weights 1, 2 and 3, two are held: P({2, 3}) = 2/6 * 3/4 + 3/6 * 2/3."""
    law = naive.inclusion([1, 2, 3], 2)
    assert law[2, 3] == pytest.approx(2 / 6 * 3 / 4 + 3 / 6 * 2 / 3)
    assert sum(law.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("decay", "age", "acceptance"),
    [(0.0, 15_000, 256 / 30_000), (1 / 2560, 2575, 0.097), (1 / 256, 296, 0.738)],
)
def test_reservoir_has_the_expected_ages(decay, age, acceptance):
    """100 draws of 256: the standard error of the mean is 0.6 % at most, an eighth of the bound."""
    rng = np.random.default_rng(1)
    mean = np.mean([30_000 - naive.reservoir(rng, 30_000, 256, decay).mean() for _ in range(100)])
    assert mean == pytest.approx(age, rel=0.05)
    expected, kept = naive.mean_age(30_000, 256, decay)
    assert mean == pytest.approx(expected, rel=0.05)
    assert kept == pytest.approx(acceptance, rel=0.01)


def test_shingle():
    assert naive.shingle([1, 2, 3, 4], 3).tolist() == [[1, 2, 3], [2, 3, 4]]
    assert naive.shingle([[1, 5], [2, 6], [3, 7]], 2, step=1).tolist() == [[1, 5, 2, 6], [2, 6, 3, 7]]
