"""The trees of a forest as arrays: read-only views of the memory that the forest itself uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ._core import Forest


class Tree:
    """The arrays of one random cut tree.

    Inner nodes and leaves are numbered separately, each from 0. In `root` and `children` a number can be either: ``v >= 0`` is an
    inner node, and ``v < 0`` is leaf ``~v``. Most arrays are views, so reading them costs little. They change or become outdated
    when the forest learns, so read ``forest.trees_[i]`` again afterwards. `keys`, `arrivals` and `leaf` are copies. In low-memory
    mode `boxes` is a copy too, because the forest does not store all boxes. With at most eight features, all arrays are copies in
    that mode.

    Values in the tree are relative to `origin`, which the forest subtracts from each feature before it rounds to 32 bits.

    Attributes
    ----------
    root : int
        The node at the top; -1 is leaf 0. It is undefined for an empty tree (`n_records` is 0).
    n_records : int
        Number of records that the tree holds.
    children : ndarray of shape (n_nodes, 2), int32
        Records with ``x[cut_dimension] <= cut_value`` are below the first child, the others below the second.
    cut_dimension : ndarray of shape (n_nodes,), int32
    cut_value : ndarray of shape (n_nodes,), float32
    extent : ndarray of shape (n_nodes,), float64
        The sum of the sides of the node's box.
    mass : ndarray of shape (n_nodes,), int32
        Number of records below the node; 0 marks an unused node, whose other entries are undefined.
    parent : ndarray of shape (n_nodes,), int32
        -1 for the root.
    boxes : ndarray of shape (n_nodes, 2, d), float32
        The lower and the upper corner of the bounding box of the records below.
    points : ndarray of shape (n_leaves, d), float32
        The record in each leaf; equal records share one leaf.
    leaf_mass, leaf_parent : ndarray of shape (n_leaves,), int32
        Number of records in each leaf (0 marks an unused leaf), and the node above it.
    keys : ndarray of shape (n_records,), float64
        Keys of the reservoir, as a heap with the largest first; the records with the smallest keys stay.
    arrivals : ndarray of shape (n_records,), int64
        Position of each record in the stream, counted from 1.
    leaf : ndarray of shape (n_records,), int32
        The leaf of each record.
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
        """Yield every used node and leaf with its depth, from the root down, left before right."""
        stack = [(self.root, 0)] if self.n_records else []
        while stack:
            v, depth = stack.pop()
            yield v, depth
            if v >= 0:
                left, right = self.children[v].tolist()
                stack += [(right, depth + 1), (left, depth + 1)]

    def to_dict(self) -> dict[str, Any]:
        """The tree as nested dicts, in the format of the package rrcf.

        Records are identified by their positions in the stream, counted from 0, and values are those of the data (the origin is
        added). ``rrcf.RCTree.from_dict`` reads the result, and `json.dump` can write it.

        Raises
        ------
        ValueError
            If the tree is empty, because the format cannot express that.
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
    """The trees of a forest as a sequence; each `Tree` is created when it is accessed."""

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
