"""The package rrcf (https://github.com/kLabUM/rrcf): random insertions into the same tree, averaged.

rrcf inserts a point with random cuts, reads its collusive displacement, and deletes it again. `codisp` must be the mean of this
over all insertions. The bound is five standard errors of rrcf's mean.
"""

import importlib.util
import sys
import types

import numpy as np
import pytest

from rcf._core import Forest

ROUNDS = 600


@pytest.fixture(scope="module")
def rrcf():
    if importlib.util.find_spec("rrcf") is None:
        pytest.skip("rrcf is not installed")
    # rrcf 0.4.4 reads its own version from pkg_resources, which setuptools no longer has
    added = types.ModuleType("pkg_resources")
    added.get_distribution = lambda name: types.SimpleNamespace(version="unknown")
    known = sys.modules.setdefault("pkg_resources", added)
    yield pytest.importorskip("rrcf")
    if known is added:
        del sys.modules["pkg_resources"]


def handed_over(rrcf, arrays, seed):
    """A tree of rcf as a tree of rrcf."""
    tree = rrcf.RCTree(random_state=seed)

    def grow(v, parent, depth):
        if v < 0:
            point = arrays["points"][~v].astype(float)
            mass = int(arrays["leaves"][~v]["mass"])
            leaf = rrcf.Leaf(i=~v, d=depth, u=parent, x=point, n=mass)
            leaf.b = point[None, :]
            tree.leaves[~v] = leaf
            return leaf
        node, cut = arrays["nodes"][v], arrays["cuts"][v]
        box = arrays["boxes"][v].astype(float)
        branch = rrcf.Branch(q=int(cut["dim"]), p=float(cut["value"]), u=parent, n=int(node["mass"]), b=box)
        branch.l, branch.r = (grow(int(c), branch, depth + 1) for c in cut["child"])
        return branch

    tree.ndim = arrays["points"].shape[1]
    tree.root = grow(int(arrays["root"]), None, 0)
    return tree


@pytest.mark.parametrize("d", [1, 3, 6])
def test_codisp_is_the_mean_over_random_insertions(rrcf, d):
    rng = np.random.default_rng(d)
    points = np.round(rng.normal(size=(60, d)) * 64) / 64
    forest = Forest(1, 64, d, 0.0, [d])
    forest.update(points, None, None, 1)
    tree = handed_over(rrcf, forest.tree(0), d)
    for query in (points[7], points.mean(axis=0), np.full(d, 1.2), np.full(d, 4.0), -np.eye(d)[0] * 3):
        query = (query * 64).round() / 64
        moved = query - forest.origin_
        values = np.empty(ROUNDS)
        for i in range(ROUNDS):
            tree.insert_point(moved, index="new")
            values[i] = tree.codisp("new")
            tree.forget_point("new")
        score = forest.score(query[None], "codisp", 1)[0]
        assert abs(values.mean() - score) < 5 * values.std(ddof=1) / np.sqrt(ROUNDS) + 1e-9
