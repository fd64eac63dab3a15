"""The trees of a forest as flat arrays, in the order that exported models use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .._core import Forest
from ..detector import KeyedDetector, StreamDetector
from ..estimator import RandomCutForest

Ints = NDArray[np.int64]


class Nodes(NamedTuple):
    """Values that follow from the order of the nodes; one entry for each inner node of all trees."""

    children: Ints  # (n, 2): an inner node, or ~leaf
    depth: Ints  # 0 at the roots
    first: Ints  # the leftmost leaf below
    leaves: Ints  # number of leaves below
    levels: list[Ints]  # the inner nodes of each depth, the roots first


@dataclass(frozen=True)
class Tables:
    """All trees of a forest, one after the other.

    The inner nodes of a tree are in preorder, and its leaves are in order from left to right. Together with ``left[v]``, the
    number of leaves below the first child, this order determines the tree. The first child of `v` is ``v + 1``, and its
    second child is ``v + left[v]``. A subtree with one leaf is this leaf and has no inner node.

    Attributes
    ----------
    origin : ndarray of shape (d,), float64
        Subtracted from each record before the record is rounded to float32.
    sizes : ndarray of shape (trees,)
        Number of leaves of each tree; 0 for an empty tree.
    cut, dim, left : ndarrays, one entry for each inner node
        Records with ``x[dim] <= cut`` belong to the first child.
    points : ndarray of shape (m, d), float32
        The distinct records that the trees hold, relative to `origin`.
    point, mass : ndarrays, one entry for each leaf
        The row of `points`, and the number of records that equal it.
    """

    method: str
    threshold: float
    origin: NDArray[np.float64]
    sizes: Ints
    cut: NDArray[np.float32]
    dim: Ints
    left: Ints
    points: NDArray[np.float32]
    point: Ints
    mass: Ints

    @property
    def n_features(self) -> int:
        return len(self.origin)

    @cached_property
    def first_node(self) -> Ints:
        """The root of each tree, if it has inner nodes."""
        inner = np.maximum(self.sizes - 1, 0)
        return np.cumsum(inner) - inner

    @cached_property
    def first_leaf(self) -> Ints:
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def nodes(self) -> Nodes:
        n = len(self.cut)
        children, depth = np.empty((n, 2), dtype=np.int64), np.empty(n, dtype=np.int64)
        first, leaves = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
        levels: list[Ints] = []
        grown = self.sizes > 1
        v, leaf, many = self.first_node[grown], self.first_leaf[grown], self.sizes[grown]
        while len(v):
            first[v], leaves[v], depth[v] = leaf, many, len(levels)
            levels.append(v)
            left = self.left[v]
            right = many - left
            if ((left < 1) | (right < 1)).any():
                raise IndexError("a subtree without leaves")
            children[v, 0] = np.where(left > 1, v + 1, ~leaf)
            children[v, 1] = np.where(right > 1, v + left, ~(leaf + left))
            v, leaf, many = (
                np.concatenate([below[inner] for below, inner in ((a, left > 1), (b, right > 1))])
                for a, b in ((v + 1, v + left), (leaf, leaf + left), (left, right))
            )
        return Nodes(children, depth, first, leaves, levels)

    def masses(self) -> tuple[Ints, Ints]:
        """The number of records below each inner node, and the number of records in the tree of each leaf."""
        before = np.append(0, np.cumsum(self.mass))
        _, _, first, leaves, _ = self.nodes
        trees = before[self.first_leaf + self.sizes] - before[self.first_leaf]
        return before[first + leaves] - before[first], np.repeat(trees, self.sizes)

    def depths(self) -> Ints:
        """The depth of each leaf."""
        depth = np.zeros(len(self.mass), dtype=np.int64)
        children, above = self.nodes.children, self.nodes.depth
        for side in (0, 1):
            ends = children[:, side] < 0
            depth[~children[ends, side]] = above[ends] + 1
        return depth

    def boxes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The lower and the upper corners of the inner nodes, (n, d) each."""
        lower = np.empty((len(self.cut), self.n_features), dtype=np.float32)
        upper = np.empty_like(lower)
        points = self.points[self.point]
        for v in reversed(self.nodes.levels):
            for corner, join in ((lower, np.minimum), (upper, np.maximum)):
                one, two = (
                    np.where(c[:, None] < 0, points[np.maximum(~c, 0)], corner[np.maximum(c, 0)])
                    for c in self.nodes.children[v].T
                )
                corner[v] = join(one, two)
        return lower, upper

    def route(self, x: NDArray[np.float32], tree: Ints) -> Ints:
        """The leaf that each row reaches in its tree."""
        at = np.where(self.sizes > 1, self.first_node, ~self.first_leaf)[tree]
        inner = np.flatnonzero(at >= 0)
        while len(inner):
            v = at[inner]
            at[inner] = self.nodes.children[v, (x[inner, self.dim[v]] > self.cut[v]).astype(np.int64)]
            inner = inner[at[inner] >= 0]
        return ~at


def tables_of(model: Any) -> Tables:
    """The trees of a fitted RandomCutForest as flat arrays."""
    if isinstance(model, (StreamDetector, KeyedDetector)):
        raise TypeError(
            f"only a RandomCutForest can be exported, got {type(model).__name__}, which rescales each record by what it has "
            "learned so far. Instead, fit a RandomCutForest to the rows of rcf.shingle.shingle(records, size) and export that; "
            "it scores the last `size` records as one row, the oldest first"
        )
    if not isinstance(model, RandomCutForest):
        raise TypeError(f"only a RandomCutForest can be exported, got {type(model).__name__}")
    check_is_fitted(model)
    if not model._forest.masses().any():
        raise ValueError("the forest holds no records, so there is nothing to export")
    return forest_tables(model._forest, model.method, -model.offset_)


def forest_tables(forest: Forest, method: str, threshold: float) -> Tables:
    state = forest.state()
    sizes = state["leaves"].astype(np.int64)
    points, same = np.unique(_bytes_of(state["points"]), return_inverse=True)
    distinct = points.view(np.float32).reshape(-1, forest.n_features)
    n_leaves = int(sizes.sum())
    bare = Tables(
        method=method,
        threshold=threshold,
        origin=state["origin"],
        sizes=sizes,
        cut=state["cut"],
        dim=state["dim"].astype(np.int64),
        left=np.array(_left_counts(state["inner"].tolist()), dtype=np.int64),
        points=distinct,
        point=np.empty(n_leaves, dtype=np.int64),
        mass=np.empty(n_leaves, dtype=np.int64),
    )
    record = same.reshape(-1)[state["record"]]
    leaf = bare.route(distinct[record], np.repeat(np.arange(len(sizes)), state["size"]))
    bare.point[leaf] = record
    bare.mass[:] = np.bincount(leaf, minlength=n_leaves)
    return bare


def _bytes_of(rows: NDArray[np.float32]) -> NDArray[np.void]:
    """Each row as one item, so that numpy compares whole rows."""
    return np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * 4))).reshape(-1)


def _left_counts(inner: list[bool]) -> list[int]:
    """For each inner node, in the order of the flags, the number of leaves below its first child."""
    counts: list[int] = []
    below: list[int] = []  # a stack of subtrees; the next one is on top
    for flag in reversed(inner):
        if flag:
            left = below.pop()
            counts.append(left)
            below.append(left + below.pop())
        else:
            below.append(1)
    return counts[::-1]
