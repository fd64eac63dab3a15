"""Scores of one's own at native speed: a walk over the trees with three functions of the user, compiled by numba.

Inserting a record would cut it off somewhere on its way down, at each box that does not contain it with a known probability. A score is
the expectation over that cut of what it would be worth there. A walk takes the record to its leaf and climbs back, and a
visitor says what each station is worth.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._core import LIMIT, Forest

try:
    import numba
    from numba import njit
except ImportError as error:
    raise ImportError("visitors are compiled by numba: pip install 'rcf[numba]'") from error

_CHUNK = 1024  # rows that go through a tree at a time, as in the core


class Visitor(NamedTuple):
    """What the stations of a walk are worth; each function is compiled with `numba.njit` if it is not yet.

    Parameters
    ----------
    equal : callable(depth, mass, n, above)
        The record equals a leaf of `mass` records at `depth` (0 at the root) of a tree of `n` records; the walk ends here.
    unequal : callable(depth, mass, n, above, gap)
        It fell into that leaf without being equal: it lies `gap` away, summed over the features.
    ancestor : callable(value, depth, mass, n, above, gap, extent)
        On the way up, a node of `mass` records whose box has sides adding up to `extent` and lies `gap` away: the value from here on, given
        that from below. The cut falls outside the box with probability ``q = gap / (gap + extent)``, so an expectation is
        ``value + q * (here - value)``. The walk ends at the first box that contains the record, for all above do.
    above : bool, default=False
        Whether the functions look at `above`: the largest ratio, over the ancestors of the station, of the mass beside the path to
        the mass on it, the record counted in. It costs a division a level, and is 0 otherwise.

    Examples
    --------
    The mass that a record would stand beside, as a share of the tree, scored by its square root:

    >>> import numpy as np
    >>> from rcf import RandomCutForest
    >>> from rcf.walk import Visitor
    >>> def equal(depth, mass, n, above):
    ...     return 0.0
    >>> def unequal(depth, mass, n, above, gap):
    ...     return (mass / n) ** 0.5
    >>> def ancestor(value, depth, mass, n, above, gap, extent):
    ...     return value + gap / (gap + extent) * ((mass / n) ** 0.5 - value)
    >>> X = np.r_[np.random.default_rng(0).normal(size=(500, 2)), [[8.0, 8.0]]]
    >>> forest = RandomCutForest(random_state=0).fit(X)
    >>> int(forest.walk(X, Visitor(equal, unequal, ancestor)).argmax())
    500
    """

    equal: Callable[..., float]
    unequal: Callable[..., float]
    ancestor: Callable[..., float]
    above: bool = False

    @property
    def name(self) -> str:
        names = [getattr(f, "__qualname__", getattr(f, "__name__", repr(f))) for f in self[:3]]
        return f"({', '.join(names)})"


# A node, seen as eight words of four bytes: children 0 and 1, cut 2 (a float), dimension 3, extent (a double, word 2 of
# four), mass 6, parent 7. A leaf: mass 0, parent 1. Numba reads plain arrays faster than records.


@njit(nogil=True, fastmath={"reassoc"}, inline="always")  # type: ignore[untyped-decorator]  # a sum in lanes; NaN keeps its meaning
def _gap(box: Any, x: Any, stride: int) -> float:
    """How far x lies outside the box, lower corner before upper, summed over the features."""
    total = 0.0
    for i in range(stride):
        nearest = min(max(x[i], box[i]), box[stride + i])
        total += abs(np.float64(x[i]) - np.float64(nearest))
    return total


@njit(nogil=True, fastmath={"reassoc"}, inline="always")  # type: ignore[untyped-decorator]
def _distance(point: Any, x: Any, stride: int) -> float:
    total = 0.0
    for i in range(stride):
        total += abs(np.float64(x[i]) - np.float64(point[i]))
    return total


@functools.lru_cache(maxsize=64)
def _compiled(visitor: Visitor) -> Any:
    """The walk of a block of rows over one tree; returns 3 * row + (which function gave NaN), or -1."""
    equal, unequal, ancestor = [f if numba.extending.is_jitted(f) else njit(nogil=True)(f) for f in visitor[:3]]
    uses_above = visitor.above

    @njit(nogil=True)  # type: ignore[untyped-decorator]
    def walk(root, n, words, cuts, extents, boxes, points, leaves, rows, ratios, out):  # type: ignore[no-untyped-def]
        stride = rows.shape[1]
        for r in range(rows.shape[0]):
            x = rows[r]
            v, depth, above = root, 0, 0.0
            while v >= 0:
                if uses_above:
                    ratios[depth] = above
                child = words[v, 1 if x[words[v, 3]] > cuts[v, 2] else 0]
                if uses_above:
                    mass = words[child, 6] if child >= 0 else leaves[~child, 0]
                    above = max(above, (words[v, 6] - mass) / (mass + 1.0))
                depth += 1
                v = child
            leaf = ~v
            gap = _distance(points[leaf], x, stride)
            if gap == 0.0:
                value = np.float64(equal(depth, leaves[leaf, 0], n, above))
                if value != value:
                    return 3 * r
            else:
                value = np.float64(unequal(depth, leaves[leaf, 0], n, above, gap))
                if value != value:
                    return 3 * r + 1
                v = leaves[leaf, 1]
                while v >= 0:
                    gap = _gap(boxes[v], x, stride)
                    if gap == 0.0:
                        break
                    depth -= 1
                    here = ratios[depth] if uses_above else 0.0
                    value = np.float64(ancestor(value, depth, words[v, 6], n, here, gap, extents[v, 2]))
                    if value != value:
                        return 3 * r + 2
                    v = words[v, 7]
            out[r] += value
        return -1

    return walk


def walk(forest: Forest, X: NDArray[np.float64], visitor: Visitor, n_jobs: int = 1) -> NDArray[np.float64]:
    """The mean over the trees of what the visitor makes of each row; see :meth:`rcf.RandomCutForest.walk`."""
    if not isinstance(visitor, Visitor):
        raise TypeError(f"a visitor must be an rcf.walk.Visitor, got {type(visitor).__name__}")
    for name, function in zip(Visitor._fields, visitor[:3], strict=False):
        if not callable(function):
            raise TypeError(f"{name} of the visitor must be a function, got {function!r}")
    if not (np.abs(X) <= LIMIT).all():
        raise ValueError(f"Input X contains a number that is not finite or beyond +-{LIMIT}")
    kernel = _compiled(visitor)
    return forest.reading(lambda: _walk(forest, X, visitor, kernel, n_jobs))


def _walk(forest: Forest, X: NDArray[np.float64], visitor: Visitor, kernel: Any, n_jobs: int) -> NDArray[np.float64]:
    views = [view for view in map(forest.tree, range(forest.n_trees)) if view["mass"]]
    trees, deepest = [], 1
    for view in views:
        nodes = view["nodes"]
        words = nodes.view(np.int32).reshape(-1, 8)
        trees.append((
            view["root"], view["mass"], words, nodes.view(np.float32).reshape(-1, 8), nodes.view(np.float64).reshape(-1, 4),
            view["wide_boxes"].reshape(len(nodes), -1), view["wide_points"], view["leaves"].view(np.int32).reshape(-1, 2),
        ))  # fmt: skip
        deepest = max(deepest, len(nodes) + 1)
    out = np.zeros(len(X))
    origin, stride = forest.origin_, views[0]["wide_points"].shape[1] if views else 0

    def work(begin: int, end: int) -> None:
        ratios = np.empty(deepest)
        for at in range(begin, end, _CHUNK):
            rows = np.zeros((min(_CHUNK, end - at), stride), dtype=np.float32)
            rows[:, : X.shape[1]] = (X[at : at + len(rows)] - origin).astype(np.float32) + np.float32(0)
            for tree in trees:
                try:
                    wrong = kernel(*tree, rows, ratios, out[at : at + len(rows)])
                except numba.TypingError as error:
                    raise TypeError(f"the visitor {visitor.name} does not compile: {error}") from error
                except Exception as error:
                    raise RuntimeError(f"the visitor {visitor.name} raised {type(error).__name__}: {error}") from error
                if wrong >= 0:
                    row, which = divmod(wrong, 3)
                    raise ValueError(f"{Visitor._fields[which]} of the visitor {visitor.name} returned NaN for row {at + row}")

    parts = max(1, min(n_jobs, len(X)))
    bounds = [len(X) * i // parts for i in range(parts + 1)]
    if parts == 1:
        work(0, len(X))
    else:
        with ThreadPoolExecutor(parts) as pool:
            for done in [pool.submit(work, a, b) for a, b in zip(bounds, bounds[1:], strict=False)]:
                done.result()
    return out / forest.n_trees


# ---- the scores of the library, as visitors ----------------------------------------------------------------------------


def _depth_equal(depth: int, mass: int, n: int, above: float) -> float:
    return np.log2(n) / (mass + 1.0 if depth == 0 else depth + np.log2(mass))


def _depth_unequal(depth: int, mass: int, n: int, above: float, gap: float) -> float:
    return np.log2(n) / (depth + 1.0)


def _depth_ancestor(value: float, depth: int, mass: int, n: int, above: float, gap: float, extent: float) -> float:
    return value + gap / (gap + extent) * (np.log2(n) / (depth + 1.0) - value)


def _codisp_equal(depth: int, mass: int, n: int, above: float) -> float:
    return above


def _codisp_unequal(depth: int, mass: int, n: int, above: float, gap: float) -> float:
    return max(above, mass)


def _codisp_ancestor(value: float, depth: int, mass: int, n: int, above: float, gap: float, extent: float) -> float:
    return value + gap / (gap + extent) * (max(above, mass) - value)


def _displacement_equal(depth: int, mass: int, n: int, above: float) -> float:
    return 0.0


def _displacement_unequal(depth: int, mass: int, n: int, above: float, gap: float) -> float:
    return float(mass)


def _displacement_ancestor(value: float, depth: int, mass: int, n: int, above: float, gap: float, extent: float) -> float:
    return value + gap / (gap + extent) * (mass - value)


def _opensearch_equal(depth: int, mass: int, n: int, above: float) -> float:
    return np.log2(n + 1) * (1.0 - mass / (2.0 * n)) / (depth + np.log2(mass + 1))


def _opensearch_unequal(depth: int, mass: int, n: int, above: float, gap: float) -> float:
    return np.log2(n + 1) / (depth + 1.0)


def _opensearch_ancestor(value: float, depth: int, mass: int, n: int, above: float, gap: float, extent: float) -> float:
    return value + gap / (gap + extent) * (np.log2(n + 1) / (depth + 1.0) - value)


depth = Visitor(_depth_equal, _depth_unequal, _depth_ancestor)
codisp = Visitor(_codisp_equal, _codisp_unequal, _codisp_ancestor, above=True)
displacement = Visitor(_displacement_equal, _displacement_unequal, _displacement_ancestor)
opensearch = Visitor(_opensearch_equal, _opensearch_unequal, _opensearch_ancestor)
