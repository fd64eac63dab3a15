"""Visitors are compared with the core and with plain Python. Density and neighbours are compared with known properties of the
data.
"""

import numpy as np
import pytest
from scipy.stats import norm, spearmanr
from sklearn.neighbors import NearestNeighbors

from rcf import RandomCutForest
from rcf._threshold import held_records

pytest.importorskip("numba", reason="the extra numba is not installed")
walk = pytest.importorskip("rcf.walk")


@pytest.fixture(params=[(3, 64, False), (8, 64, False), (1, 16, True), (21, 40, True), (130, 40, False)], ids=str)
def forest_and_queries(request):
    d, capacity, rounded = request.param
    rng = np.random.default_rng(d)
    X = rng.normal(size=(900, d)) + 1e6
    if rounded:
        X = np.round(X)
    forest = RandomCutForest(13, capacity, random_state=0).partial_fit(X)
    for x in X[-20:-5]:
        forest.forget(x)
    return forest, np.r_[X[-50:], rng.normal(size=(9000, d)) * 3 + 1e6]  # more rows than one pass through a tree


@pytest.mark.parametrize("kind", ["depth", "codisp", "displacement", "opensearch", "path"])
def test_our_scores_as_visitors(forest_and_queries, kind):
    forest, queries = forest_and_queries
    ours = forest.anomaly_score(queries, kind)
    np.testing.assert_allclose(forest.walk(queries, getattr(walk, kind)), ours, rtol=1e-9, atol=1e-12)
    alone = forest.walk(queries, getattr(walk, kind))
    np.testing.assert_array_equal(alone, forest.set_params(n_jobs=3).walk(queries, getattr(walk, kind)))
    some = forest.walk(queries[40:60], getattr(walk, kind))  # far fewer than leaves
    np.testing.assert_array_equal(some, alone[40:60])


def test_anomaly_score_takes_a_visitor(forest_and_queries):
    forest, queries = forest_and_queries
    for kind in ("depth", "path"):
        visitor = getattr(walk, kind)
        np.testing.assert_array_equal(forest.anomaly_score(queries, visitor), forest.walk(queries, visitor))
    with pytest.raises(TypeError, match=r"must be an rcf\.walk\.Visitor, got int"):
        forest.anomaly_score(queries, 3)
    with pytest.raises(ValueError, match=r"method must be one of 'depth'.*'path', got 'deep'"):
        forest.anomaly_score(queries, "deep")


def test_finish_is_given_the_means(forest_and_queries):
    forest, queries = forest_and_queries
    doubled = walk.depth._replace(finish=lambda mean: 2.0 * mean)
    np.testing.assert_array_equal(forest.walk(queries, doubled), 2.0 * forest.walk(queries, walk.depth))
    with pytest.raises(TypeError, match="finish of the visitor must be a function, got 3"):
        forest.walk(queries, walk.depth._replace(finish=3))


def test_visitors_get_the_documented_arguments():
    """A visitor that encodes all its arguments, compared with a walk over the arrays in plain Python."""

    def equal(depth, mass, n, above):
        return depth + 10.0 * mass + 100.0 * n + 1000.0 * above

    def unequal(depth, mass, n, above, gap):
        return depth + 10.0 * mass + 100.0 * n + 1000.0 * above + gap

    def ancestor(value, depth, mass, n, above, gap, extent):
        return 0.5 * value + depth + 10.0 * mass + 1000.0 * above + gap + 0.1 * extent

    X = np.round(np.random.default_rng(3).normal(size=(300, 2)), 1)
    forest = RandomCutForest(3, 32, random_state=0).partial_fit(X)
    queries = np.r_[X[-20:], np.random.default_rng(4).normal(size=(40, 2)) * 3]
    expected = np.zeros(len(queries))
    for r, query in enumerate(queries):
        for tree in forest.trees_:
            x = (query - tree.origin).astype(np.float32)
            v, path, ratios, above = tree.root, [], [], 0.0
            while v >= 0:
                path.append(v)
                ratios.append(above)
                child = int(tree.children[v, int(x[tree.cut_dimension[v]] > tree.cut_value[v])])
                mass = tree.mass[child] if child >= 0 else tree.leaf_mass[~child]
                above = max(above, (tree.mass[v] - mass) / (mass + 1))
                v = child
            gap = np.abs(x.astype(float) - tree.points[~v]).sum()
            arguments = (len(path), tree.leaf_mass[~v], tree.n_records, above)
            value = equal(*arguments) if gap == 0 else unequal(*arguments, gap)
            for depth in reversed(range(len(path))):
                low, high = tree.boxes[path[depth]].astype(float)
                gap = (np.maximum(x - high, 0) + np.maximum(low - x, 0)).sum()
                if gap == 0:
                    break
                value = ancestor(
                    value, depth, tree.mass[path[depth]], tree.n_records, ratios[depth], gap, tree.extent[path[depth]]
                )
            expected[r] += value / 3
    visitor = walk.Visitor(equal, unequal, ancestor)
    np.testing.assert_allclose(forest.walk(queries, visitor), expected, rtol=1e-12)


def height_equal(depth, mass, n, above):
    return float(depth)


def height_unequal(depth, mass, n, above, gap):
    return float(depth)


def height_ancestor(value, depth, mass, n, above, gap, extent):
    return value


@pytest.fixture
def small():
    return RandomCutForest(5, 16, random_state=0).fit(np.random.default_rng(0).normal(size=(50, 2)))


def by_gap(depth, mass, n, above, gap):
    return 1.0 / gap


def test_a_record_that_equals_its_leaf_is_never_unequal(small):
    """For a record that equals its leaf, only `equal` is called, in trees with many leaves and with one."""
    one = RandomCutForest(3, 8, random_state=0).partial_fit([[1.0, 2.0]] * 4)
    for forest, same in ((small, held_records(small._forest, 50)), (one, [[1.0, 2.0]])):
        apart = forest.walk(same, walk.Visitor(height_equal, by_gap, height_ancestor))
        assert np.isfinite(apart).all()
    assert one.walk([[1.0, 2.0], [1.0, 6.0]], walk.Visitor(height_equal, by_gap, height_ancestor)).tolist() == [0, 0.25]


def nan_equal(depth, mass, n, above):
    return np.nan


def nan_unequal(depth, mass, n, above, gap):
    return np.nan


def forgets_nan(value, depth, mass, n, above, gap, extent):
    return 1.0


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], np.random.default_rng(0).normal(size=(50, 2))], ids=len)
def test_nan_of_each_function_is_named(rows):
    forest = RandomCutForest(5, 16, random_state=0).partial_fit(rows)
    held = held_records(forest._forest, 50)
    with pytest.raises(ValueError, match=r"^equal of the visitor \(nan_equal, .*\) returned NaN for row 1$"):
        forest.walk([[9.0, 9.0], held[0]], walk.Visitor(nan_equal, height_unequal, forgets_nan))
    with pytest.raises(ValueError, match=r"^unequal of the visitor .* returned NaN for row 1$"):
        forest.walk([held[0], [9.0, 9.0]], walk.Visitor(height_equal, nan_unequal, forgets_nan))
    assert np.isfinite(forest.walk([held[0]], walk.Visitor(height_equal, height_unequal, forgets_nan))).all()


def bad_ancestor(value, depth, mass, n, above, gap, extent):
    return value / 0.0 if depth == 0 else value


def not_a_number(value, depth, mass, n, above, gap, extent):
    return np.nan


def no_number(depth, mass, n, above):
    return "high"


def test_a_bad_visitor_is_named(small):
    far = np.array([[0.0, 0.0], [50.0, 50.0]])
    with pytest.raises(ValueError, match=r"ancestor of the visitor \(height_.*not_a_number\) returned NaN for row \d"):
        small.walk(far, walk.Visitor(height_equal, height_unequal, not_a_number))
    with pytest.raises(RuntimeError, match=r"the visitor \(.*bad_ancestor\) raised ZeroDivisionError"):
        small.walk(far, walk.Visitor(height_equal, height_unequal, bad_ancestor))
    with pytest.raises(TypeError, match=r"the visitor \(no_number, .*\) does not compile"):
        small.walk(far, walk.Visitor(no_number, height_unequal, height_ancestor))
    with pytest.raises(TypeError, match="unequal of the visitor must be a function, got 3"):
        small.walk(far, walk.Visitor(height_equal, 3, height_ancestor))
    with pytest.raises(TypeError, match=r"must be an rcf\.walk\.Visitor, got function"):
        small.walk(far, height_equal)
    for bad in (np.inf, 1e200):
        with pytest.raises(ValueError):
            small.walk([[0.0, bad]], walk.depth)
    np.testing.assert_allclose(small.walk([[0.0, np.nan]], walk.depth), small.anomaly_score([[0.0, np.nan]]))
    assert small.walk(far, walk.Visitor(height_equal, height_unequal, height_ancestor)).shape == (2,)


def test_an_empty_tree_adds_nothing_to_the_score():
    forest = RandomCutForest(2, 8, random_state=0).partial_fit([[1.0, 2.0]])
    forest.forget([1.0, 2.0])
    assert forest.walk([[1.0, 2.0]], walk.depth).tolist() == [0.0]


# ---- density --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
def test_density_of_a_normal_cloud(d):
    X = np.random.default_rng(5).normal(size=(5000, d))
    forest = RandomCutForest(100, 256, random_state=0).fit(X)
    queries = np.random.default_rng(6).normal(size=(400, d))
    true, found = norm.pdf(queries).prod(axis=1), forest.density(queries)
    # this is as good as the distance to the eighth neighbour in a sample of the size of a tree
    distances = NearestNeighbors(n_neighbors=8).fit(X[:256]).kneighbors(queries)[0][:, -1]
    assert spearmanr(true, found).statistic > spearmanr(true, -distances).statistic
    assert 0.3 < np.median(found / true) < 3
    # a held record gets the same density as any other
    held = held_records(forest._forest, 400)
    assert 0.3 < np.median(forest.density(held) / norm.pdf(held).prod(axis=1)) < 3


def test_density_has_the_units_of_a_density():
    X = np.random.default_rng(5).normal(size=(2000, 2))
    small, large = [RandomCutForest(50, random_state=0).fit(X * scale) for scale in (1, 1024)]
    np.testing.assert_allclose(large.density(X * 1024), small.density(X) / 1024**2, rtol=1e-9)


def test_directional_density_points_at_the_cloud():
    X = np.random.default_rng(5).normal(size=(2000, 2))
    forest = RandomCutForest(50, random_state=0).fit(X)
    parts = forest.density([[8.0, 0.0], [0.0, -8.0]], directional=True)
    np.testing.assert_allclose(parts.sum(axis=(1, 2)), forest.density([[8.0, 0.0], [0.0, -8.0]]))
    assert parts[0, 0, 0] > 0.8 * parts[0].sum()  # the cloud lies below the point, along the first feature
    assert parts[1, 1, 1] > 0.8 * parts[1].sum()


def test_density_of_constant_data():
    forest = RandomCutForest(5, 16, random_state=0).fit(np.full((40, 2), 3.0))
    found = forest.density([[3.0, 3.0], [3.0, 4.0]])
    assert found[0] == np.inf
    assert np.isfinite(found[1])
    assert np.isfinite(forest.density([[3.0, 4.0]], directional=True)).all()
    with pytest.raises(ValueError, match="row 1, feature 0"):
        forest.density([[0.0, 0.0], [np.inf, 0.0]])


# ---- neighbours -------------------------------------------------------------------------------------------------------------


def test_neighbors_are_the_leaves_of_the_trees(small):
    x = np.array([0.3, -0.2])
    expected = {}
    for tree in small.trees_:
        v, row = tree.root, (x - tree.origin).astype(np.float32)
        while v >= 0:
            v = int(tree.children[v, int(row[tree.cut_dimension[v]] > tree.cut_value[v])])
        point = tuple((tree.points[~v] + tree.origin).tolist())
        expected[point] = expected.get(point, 0) + 1
    found = small.neighbors(x)
    assert {tuple(p): n for p, n in zip(found.points.tolist(), found.trees.tolist(), strict=True)} == expected
    np.testing.assert_allclose(found.distances, np.linalg.norm(found.points - x, axis=1))
    assert (np.diff(found.distances) >= 0).all()
    some = small.neighbors(x, max_distance=float(found.distances[1]))
    assert len(some.points) == (found.distances <= found.distances[1]).sum()
    assert len(small.neighbors(x, 0.0).points) == 0


def test_neighbors_include_the_nearest_record():
    X = np.random.default_rng(5).normal(size=(256, 3)) + 1e5
    forest = RandomCutForest(100, 256, random_state=0).fit(X)
    for x in X[:20]:
        found = forest.neighbors(x)
        assert found.distances[0] < 1e-5
        assert found.trees[0] == 100
    hits = [forest.neighbors(x + 0.1).distances[0] <= np.linalg.norm(X - x - 0.1, axis=1).min() + 1e-6 for x in X[:100]]
    assert np.mean(hits) > 0.9
    for bad, message in (((1.0, 2.0), "2 features"), ((1.0, 2.0, np.nan), "NaN")):
        with pytest.raises(ValueError, match=message):
            forest.neighbors(bad)
    with pytest.raises(ValueError, match="max_distance"):
        forest.neighbors(X[0], -1)
