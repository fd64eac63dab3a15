"""The arrays of a tree, rrcf's format, and the drawings."""

import json
import sys
import types

import numpy as np
import pytest

from rcf import RandomCutForest, plot

ORIGIN = np.array([0, 100, 1e6])


@pytest.fixture
def X():
    return np.round(np.random.default_rng(0).normal(size=(600, 3)), 1) + ORIGIN


@pytest.fixture
def forest(X):
    forest = RandomCutForest(6, 64, random_state=0).partial_fit(X)
    for x in X[-40:-20]:
        forest.forget(x)  # leaves holes in the arrays
    return forest


def test_sequence(forest):
    trees = forest.trees_
    assert len(trees) == 6
    assert [t.n_records for t in trees] == forest._forest.masses().tolist()
    assert trees[-1].root == trees[5].root
    assert len(trees[1:3]) == 2
    assert repr(trees) == "6 trees"
    for i in (6, -7):
        with pytest.raises(IndexError, match=f"tree {i} of 6"):
            trees[i]


def test_arrays_describe_the_tree(forest, X):
    for tree in forest.trees_:
        held = X[tree.arrivals - 1]
        below = {}
        for v, _ in reversed(list(tree.walk())):
            if v < 0:
                below[v] = np.flatnonzero(tree.leaf == ~v)
                assert tree.leaf_mass[~v] == len(below[v]) > 0
                np.testing.assert_allclose(
                    held[below[v]] - tree.origin, np.tile(tree.points[~v], (len(below[v]), 1)), rtol=1e-6
                )
                continue
            left, right = tree.children[v].tolist()
            below[v] = np.concatenate([below[left], below[right]])
            assert tree.mass[v] == len(below[v])
            for child in (left, right):
                assert (tree.parent[child] if child >= 0 else tree.leaf_parent[~child]) == v
            points = tree.points[tree.leaf[below[v]]]
            np.testing.assert_array_equal(tree.boxes[v], [points.min(axis=0), points.max(axis=0)])
            assert tree.extent[v] == pytest.approx(np.ptp(points.astype(float), axis=0).sum())
            side = tree.points[tree.leaf[below[left]]][:, tree.cut_dimension[v]]
            assert side.max() <= tree.cut_value[v]
            side = tree.points[tree.leaf[below[right]]][:, tree.cut_dimension[v]]
            assert side.min() > tree.cut_value[v]
        assert len(below[tree.root]) == tree.n_records == len(tree.keys)
        assert tree.keys[0] == tree.keys.max()


def test_views_not_copies_and_read_only(forest):
    tree = forest.trees_[2]
    arrays = {name: value for name, value in vars(tree).items() if isinstance(value, np.ndarray)}
    assert len(arrays) == 14
    for name, array in arrays.items():
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
        if name not in ("origin", "keys", "arrivals", "leaf"):
            assert np.shares_memory(array, getattr(forest.trees_[2], name)), name


@pytest.fixture
def rrcf(monkeypatch):
    """The package rrcf, which requests its version in a way that setuptools no longer offers."""
    stand_in = types.ModuleType("pkg_resources")
    stand_in.get_distribution = lambda name: types.SimpleNamespace(version="0")
    monkeypatch.setitem(sys.modules, "pkg_resources", stand_in)
    return pytest.importorskip("rrcf", reason="the package rrcf is not installed")


def test_rrcf_loads_it_and_works_with_it(forest, X, rrcf):
    for tree in forest.trees_:
        theirs = rrcf.RCTree.from_dict(json.loads(json.dumps(tree.to_dict())))
        assert sorted(theirs.leaves) == sorted((tree.arrivals - 1).tolist())
        assert json.loads(json.dumps(theirs.to_dict())) == json.loads(json.dumps(tree.to_dict()))
        for i in list(theirs.leaves):
            np.testing.assert_allclose(theirs.leaves[i].x, X[i], rtol=1e-7, atol=1e-7)
        # rrcf's displacement of a held record depends on the masses and the shape of the tree
        codisp = {i: theirs.codisp(i) for i in theirs.leaves}
        for i, leaf in zip((tree.arrivals - 1).tolist(), tree.leaf.tolist(), strict=True):
            v, above = ~leaf, int(tree.leaf_parent[leaf])
            ratios = []
            while above >= 0:
                mass = int(tree.mass[v] if v >= 0 else tree.leaf_mass[~v])
                ratios.append((int(tree.mass[above]) - mass) / mass)
                v, above = above, int(tree.parent[above])
            assert codisp[i] == pytest.approx(max(ratios))
        theirs.insert_point(np.array([9.0, 109.0, 1e6 + 9]), index=-1)
        theirs.forget_point(int(tree.arrivals[0]) - 1)


def test_dict_of_one_record_and_of_an_empty_tree():
    forest = RandomCutForest(2, 8, random_state=0).partial_fit([[1.5, 2.5]])
    assert forest.trees_[0].to_dict() == {"type": "Leaf", "i": 0, "x": [1.5, 2.5], "d": 0, "n": 1, "ixs": [0]}
    forest.forget([1.5, 2.5])
    empty = forest.trees_[1]
    with pytest.raises(ValueError, match="holds no records"):
        empty.to_dict()
    assert repr(empty) == "Tree(0 records, 0 leaves, depth 0)"


# ---- drawings -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ax():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    yield ax
    figure.canvas.draw()
    plt.close(figure)


def test_plot_tree(forest, ax):
    tree = forest.trees_[0]
    assert plot.tree(tree, ax, color="k") is ax
    strokes = ax.collections[0].get_segments()
    inner = [(v, depth) for v, depth in tree.walk() if v >= 0]
    assert len(strokes) == len(inner)
    for (v, depth), stroke in zip(inner, strokes, strict=True):
        assert stroke[1][1] == stroke[2][1] == depth
        # the fork of a node is half as wide as the node has records
        assert stroke[2][0] - stroke[1][0] == tree.mass[v] / 2
    plot.tree(tree, ax, max_depth=2)
    assert len(ax.collections[1].get_segments()) <= 3


def test_plot_cuts(ax):
    X = np.random.default_rng(1).normal(size=(200, 2)) + np.array([50, -50])
    tree = RandomCutForest(2, 32, random_state=1).fit(X).trees_[0]
    assert plot.cuts(tree, ax) is ax
    strokes = ax.collections[0].get_segments()
    assert len(strokes) == 31
    # the stroke of a cut lies within the region that it divides, so the walk to its middle point passes the node of the cut
    for v, stroke in zip([v for v, _ in tree.walk() if v >= 0], strokes, strict=True):
        dim = tree.cut_dimension[v]
        np.testing.assert_allclose(stroke[:, dim], tree.cut_value[v] + tree.origin[dim])
        middle = stroke.mean(axis=0) - tree.origin
        at = tree.root
        while at != v:
            assert at >= 0, "the middle of a cut lies in the region that it cuts"
            at = int(tree.children[at, int(middle[tree.cut_dimension[at]] > tree.cut_value[at])])
    np.testing.assert_allclose(
        np.sort(ax.collections[1].get_offsets()[:, 0]), np.sort(X[tree.arrivals - 1, 0]), rtol=1e-6
    )


def test_plots_refuse(forest, ax):
    with pytest.raises(ValueError, match="features"):
        plot.cuts(forest.trees_[0], ax, features=(0, 3))
    with pytest.raises(ValueError, match="features"):
        plot.cuts(forest.trees_[0], ax, features=(1, 1))
    empty = RandomCutForest(1, 8, random_state=0).partial_fit([[1.0, 2.0]])
    empty.forget([1.0, 2.0])
    for draw in (plot.tree, plot.cuts):
        with pytest.raises(ValueError, match="holds no records"):
            draw(empty.trees_[0], ax)
