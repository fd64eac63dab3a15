"""The trees of a forest, as arrays: read-only views of the memory that the forest itself works in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ._core import Forest


class Tree:
    """One random cut tree, seen from inside.

    Inner nodes and leaves are numbered apart, each from 0. Where a number stands for either, as in `root` and `children`, one
    of at least 0 is an inner node and ``v < 0`` is leaf ``~v``. The arrays are views, not copies: nothing is spent on
    taking them, and they change, or fall behind, as the forest learns; take ``forest.trees_[i]`` again then. A forest of
    `low_memory` does not hold all of the boxes: there they are a copy.

    Numbers within the tree are relative to `origin`, which the forest subtracts from each feature before it narrows to 32 bits.

    Attributes
    ----------
    root : int
        The node at the top; -1 is leaf 0. Of an empty tree (`n_records` is 0) it means nothing.
    n_records : int
        Records that the tree holds.
    children : ndarray of shape (n_nodes, 2), int32
        Records with ``x[cut_dimension] <= cut_value`` are below the first, the others below the second.
    cut_dimension : ndarray of shape (n_nodes,), int32
    cut_value : ndarray of shape (n_nodes,), float32
    extent : ndarray of shape (n_nodes,), float64
        The sum of the sides of the node's box.
    mass : ndarray of shape (n_nodes,), int32
        Records below; 0 marks a node that is not in use, whose other entries mean nothing.
    parent : ndarray of shape (n_nodes,), int32
        -1 for the root.
    boxes : ndarray of shape (n_nodes, 2, d), float32
        The lower and the upper corner of what lies below.
    points : ndarray of shape (n_leaves, d), float32
        The record in each leaf; equal records share one.
    leaf_mass, leaf_parent : ndarray of shape (n_leaves,), int32
        Records in each leaf (0: not in use), and the node above.
    keys : ndarray of shape (n_records,), float64
        Of the reservoir: the records with the smallest stay. A heap, the largest first.
    arrivals : ndarray of shape (n_records,), int64
        Which record of the stream it was, counted from 1.
    leaf : ndarray of shape (n_records,), int32
        Where each record lies.
    origin : ndarray of shape (d,), float64

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import RandomCutForest
    >>> forest = RandomCutForest(10, random_state=0).fit(np.random.default_rng(0).normal(size=(100, 2)))
    >>> tree = forest.trees_[0]
    >>> int(tree.mass[tree.root]), tree.boxes[tree.root].shape
    (100, (2, 2))
    >>> tree  # doctest: +ELLIPSIS
    Tree(100 records, 100 leaves, depth ...)
    """

    def __init__(self, forest: Forest, i: int) -> None:
        view = forest.reading(lambda: forest.tree(i))
        cuts, nodes, leaves, slots = view["cuts"], view["nodes"], view["leaves"], view["slots"]
        self.root: int = view["root"]
        self.n_records: int = view["mass"]
        self.children: NDArray[np.int32] = cuts["child"]
        self.cut_dimension: NDArray[np.int32] = cuts["dim"]
        self.cut_value: NDArray[np.float32] = cuts["value"]
        self.extent: NDArray[np.float64] = nodes["range"]
        self.mass: NDArray[np.int32] = nodes["mass"]
        self.parent: NDArray[np.int32] = nodes["parent"]
        self.boxes: NDArray[np.float32] = view["boxes"]
        self.points: NDArray[np.float32] = view["points"]
        self.leaf_mass: NDArray[np.int32] = leaves["mass"]
        self.leaf_parent: NDArray[np.int32] = leaves["parent"]
        self.keys: NDArray[np.float64] = slots["key"]
        self.arrivals: NDArray[np.int64] = slots["arrival"]
        self.leaf: NDArray[np.int32] = slots["leaf"]
        self.origin = forest.origin_
        self.origin.flags.writeable = False

    def walk(self) -> Iterator[tuple[int, int]]:
        """Every node and leaf in use with its depth, from the root down, left before right."""
        stack = [(self.root, 0)] if self.n_records else []
        while stack:
            v, depth = stack.pop()
            yield v, depth
            if v >= 0:
                left, right = self.children[v].tolist()
                stack += [(right, depth + 1), (left, depth + 1)]

    def to_dict(self) -> dict[str, Any]:
        """The tree as nested dicts of plain numbers, in the format that the package rrcf writes and loads.

        Records are named by their places in the stream, from 0; numbers are those of the data. ``rrcf.RCTree.from_dict`` takes it,
        and `json.dump` writes it.

        Raises
        ------
        ValueError
            If the tree is empty: the format has no word for that.
        """
        if not self.n_records:
            raise ValueError("the tree holds no records")
        held: dict[int, list[int]] = {}
        for arrival, leaf in sorted(zip(self.arrivals.tolist(), self.leaf.tolist(), strict=True)):
            held.setdefault(leaf, []).append(arrival - 1)
        made: dict[int, dict[str, Any]] = {}
        top: dict[str, Any] = {}
        for v, depth in self.walk():
            above = int(self.parent[v] if v >= 0 else self.leaf_parent[~v])
            here = top
            if above >= 0:
                here = made[above]["l" if self.children[above, 0] == v else "r"]
            if v < 0:
                records = held[~v]
                here |= {"type": "Leaf", "i": records[0], "x": (self.points[~v] + self.origin).tolist(), "d": depth}
                here |= {"n": len(records), "ixs": records}
            else:
                q = int(self.cut_dimension[v])
                here |= {
                    "type": "Branch",
                    "q": q,
                    "p": float(self.cut_value[v] + self.origin[q]),
                    "n": int(self.mass[v]),
                }
                here |= {"b": (self.boxes[v] + self.origin).tolist(), "l": {}, "r": {}}
                made[v] = here
        return top

    def __repr__(self) -> str:
        leaves, depth = 0, 0
        for v, h in self.walk():
            leaves, depth = leaves + (v < 0), max(depth, h)
        return f"Tree({self.n_records} records, {leaves} leaves, depth {depth})"


class Trees(Sequence[Tree]):
    """The trees of a forest; a `Tree` is made when it is asked for."""

    def __init__(self, forest: Forest) -> None:
        self._forest = forest

    def __len__(self) -> int:
        return self._forest.n_trees

    @overload
    def __getitem__(self, i: int) -> Tree: ...
    @overload
    def __getitem__(self, i: slice) -> list[Tree]: ...
    def __getitem__(self, i: int | slice) -> Tree | list[Tree]:
        if isinstance(i, slice):
            return [Tree(self._forest, k) for k in range(*i.indices(len(self)))]
        k = i + len(self) if i < 0 else i
        if not 0 <= k < len(self):
            raise IndexError(f"tree {i} of {len(self)}")
        return Tree(self._forest, k)

    def __repr__(self) -> str:
        return f"{len(self)} trees"
