"""The values that a walk takes at nodes and leaves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._tables import Tables

Floats = NDArray[np.float64]


class Values(NamedTuple):
    """The values at inner nodes and leaves, multiplied by the scale of their tree.

    For "path", both values of a leaf are the length of its path divided by the mean length.
    """

    extent: Floats  # for inner nodes: the sum of the sides of the box
    here: Floats  # for inner nodes: the value for a record that is separated from the box
    separated: Floats  # for leaves: the value for a record that is inside all boxes but differs from the leaf
    equal: Floats  # for leaves: the value for a record that equals the leaf


def values_of(tables: Tables) -> Values:
    lower, upper = tables.boxes()
    extent = (upper.astype(np.float64) - lower.astype(np.float64)).sum(axis=1)
    mass, tree_mass = tables.masses()
    depth, leaf_depth, leaf_mass = tables.nodes.depth, tables.depths(), tables.mass
    if tables.method == "codisp":
        above, leaf_above = _ratios(tables, mass)
        return Values(extent, np.maximum(above, mass), np.maximum(leaf_above, leaf_mass), leaf_above)
    if tables.method == "displacement":
        return Values(extent, mass.astype(float), leaf_mass.astype(float), np.zeros(len(leaf_mass)))
    if tables.method == "path":
        length = np.where(
            tree_mass < 2, 1.0, (leaf_depth + mean_length(leaf_mass)) / mean_length(np.maximum(tree_mass, 2))
        )
        return Values(extent, np.zeros(len(extent)), length, length)
    n = len(tables.sizes)
    tree_of_node = np.repeat(np.arange(n), np.maximum(tables.sizes - 1, 0))
    tree_of_leaf = np.repeat(np.arange(n), tables.sizes)
    mass_of_tree = np.zeros(n)
    mass_of_tree[tree_of_leaf] = tree_mass
    with np.errstate(divide="ignore"):
        if tables.method == "opensearch":
            scale = np.log2(mass_of_tree + 1)
            equal = (1 - leaf_mass / (2 * tree_mass)) / (leaf_depth + np.log2(leaf_mass + 1))
        else:
            scale = np.log2(mass_of_tree)
            equal = 1 / (leaf_depth + np.log2(leaf_mass))
            equal = np.where(leaf_depth == 0, 1 / (leaf_mass + 1), equal)
    at_leaf = scale[tree_of_leaf]
    return Values(extent, scale[tree_of_node] / (depth + 1), at_leaf / (leaf_depth + 1), at_leaf * equal)


def mean_length(n: NDArray[np.int64]) -> Floats:
    """The mean path length of a tree of n records, as in IsolationForest."""
    most = np.maximum(n, 3)
    length: Floats = np.where(n < 3, n == 2, 2 * (np.log(most - 1) + np.euler_gamma) - 2 * (most - 1) / most)
    return length


def _ratios(tables: Tables, mass: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """For each node and leaf, the largest ratio (mass of the sibling) / (mass of the child + 1) on the path down to it."""
    above, leaf_above = np.zeros(len(tables.cut)), np.zeros(len(tables.mass))
    for v in tables.nodes.levels:
        for child in tables.nodes.children[v].T:
            leaf = child < 0
            own = np.where(leaf, tables.mass[np.maximum(~child, 0)], mass[np.maximum(child, 0)])
            ratio = np.maximum(above[v], (mass[v] - own) / (own + 1))
            above[child[~leaf]], leaf_above[~child[leaf]] = ratio[~leaf], ratio[leaf]
    return above, leaf_above
