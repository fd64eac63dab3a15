"""User-defined scores at native speed: numba compiles three functions of the user into a walk over the trees.

If a record is inserted into a tree, a random cut separates it from the other records. For each box on its path that does not
contain the record, the probability of a cut at this box is known. A score is the expected value of a function of the place of the
cut. A walk follows the record to its leaf and climbs back to the root, and a visitor returns the value of that function at each
node.

All records of a batch walk through a tree together. With 10 000 records and 100 trees, a walk takes 27 ns per record and tree with
one feature, 44 ns with 8 features, and 90 ns with 32 (`python -m bench walks` compares this with the core). Each call also costs a
millisecond, so do not walk record by record.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._core import LIMIT, Forest

try:
    import numba
    from llvmlite import ir
    from numba import njit
    from numba.core import cgutils
    from numba.extending import intrinsic
except ImportError as error:
    raise ImportError("visitors are compiled by numba: pip install 'rcf[numba]'") from error

_ROWS = 8192, 4096  # rows per pass through a tree with up to 16 features, and with more; as in the core


class Visitor(NamedTuple):
    """The functions that give the values of a walk. They are compiled with `numba.njit` unless they already are.

    Parameters
    ----------
    equal : callable(depth, mass, n, above)
        The value if the record equals a leaf of `mass` records at `depth` (0 at the root) of a tree of `n` records. The
        walk ends at this leaf.
    unequal : callable(depth, mass, n, above, gap)
        The value if the record reaches such a leaf but does not equal it. `gap` > 0 is their distance, summed over
        the features.
    ancestor : callable(value, depth, mass, n, above, gap, extent)
        Called during the climb for each node of `mass` records whose box does not contain the record. The sides of the box
        sum to `extent`, and its distance from the record is `gap` > 0. The function gets the value from below and returns the
        new value. The cut falls outside the box with probability ``q = gap / (gap + extent)``, so an expectation is
        ``value + q * (here - value)``. The climb ends at the first box that contains the record, because all boxes above
        contain it too.
    finish : callable(mean), default=None
        Converts the mean over the trees, which is an array with one number per row. None leaves the mean as it is. This
        function is not compiled.

    Notes
    -----
    `above` is the largest ratio of masses at the ancestors of the node: the mass of the child that is not on the path, divided by
    the mass of the child on the path including the record. It is 0 at the root. `depth`, `mass` and `n` are integers; the other
    arguments and the results are floats. The functions must have no side effects, because a function may be called more often than
    there are nodes.

    Examples
    --------
    The score in this example is the square root of the mass of the record's sibling, as a share of the tree:

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
    finish: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None

    @property
    def name(self) -> str:
        names = [getattr(f, "__qualname__", getattr(f, "__name__", repr(f))) for f in self[:3]]
        return f"({', '.join(names)})"


_SPAN = np.dtype(
    [
        ("node", np.int64),
        ("begin", np.uint64),
        ("end", np.uint64),
        ("depth", np.int64),
        ("first", np.uint64),
        ("above", np.float64),
    ]
)
_ONE = np.uint64(1)


def _excess(stride: int) -> Any:
    """Make the function that measures how far a row lies outside a box.

    It adds in the same lanes as the core, so the sums have the same bits on every machine. A plain loop would take several
    times as long. If the compiler were allowed to reorder a plain loop, the sums would depend on the machine.
    """
    width = min(stride, 8)
    single, double = ir.VectorType(ir.FloatType(), width), ir.VectorType(ir.DoubleType(), width)
    words, index = ir.VectorType(ir.IntType(64), width), ir.IntType(64)
    place = numba.types.uint64

    @intrinsic
    def excess(typing, lower, low, upper, high, rows, x):  # type: ignore[no-untyped-def]
        """The sum of |row - clamp(row)| over the features. The box begins at lower[low] and upper[high], the row at rows[x]."""

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            starts = []
            for k in (0, 2, 4):
                array = cgutils.create_struct_proxy(signature.args[k])(context, builder, arguments[k])
                starts.append(builder.gep(array.data, [arguments[k + 1]]))
            total = cgutils.alloca_once_value(builder, ir.Constant(double, [0.0] * width))
            with cgutils.for_range(builder, ir.Constant(index, -(-stride // 8))) as loop:
                at = builder.mul(loop.index, ir.Constant(index, 8))
                below, above, value = (
                    builder.load(builder.bitcast(builder.gep(start, [at]), single.as_pointer()), align=4)
                    for start in starts
                )
                near = builder.select(builder.fcmp_ordered(">", value, below), value, below)
                near = builder.select(builder.fcmp_ordered("<", near, above), near, above)
                gap = builder.fsub(builder.fpext(value, double), builder.fpext(near, double))
                gap = builder.and_(builder.bitcast(gap, words), ir.Constant(words, [2**63 - 1] * width))
                builder.store(builder.fadd(builder.load(total), builder.bitcast(gap, double)), total)
            lanes, n = builder.load(total), width
            while n > 1:  # add the upper half to the lower half
                n //= 2
                lower_half, upper_half = (
                    builder.shuffle_vector(
                        lanes, lanes, ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(k, k + n)))
                    )
                    for k in (0, n)
                )
                lanes = builder.fadd(lower_half, upper_half)
            return builder.extract_element(lanes, ir.Constant(ir.IntType(32), 0))

        return numba.types.float64(lower, place, upper, place, rows, place), generate

    return excess


def _descent(unequal: Any, excess: Any, wide: np.uint64) -> Any:
    """Make the function that partitions the rows at each node, from the root down. It returns the number of spans.

    A span holds the rows that reach one node or leaf. At a leaf, each row gets the value of `unequal`.
    Later, `_arrival` replaces this value for the rows that equal the leaf.
    """

    @njit(nogil=True)
    def part(rows, order, spare, begin, end, dim, cut):  # type: ignore[no-untyped-def]
        """Move the rows of order[begin:end] that go left before the others, without branches. Returns the start of the others."""
        left, right = begin, np.uint64(0)
        for i in range(begin, end):
            row = order[i]
            above = np.uint64(rows[np.uint64(row) * wide + dim] > cut)
            order[left] = row
            spare[right] = row
            left += _ONE - above
            right += above
        for i in range(right):
            order[left + i] = spare[i]
        return left

    @njit(nogil=True)
    def descend(root, n, cuts, nodes, leaf_mass, points, rows, room, count):  # type: ignore[no-untyped-def]
        order, spare, value, _, spans, waiting = room
        n_spans, n_waiting = _ONE, 1
        top = spans[0]
        top.node, top.begin, top.end, top.depth, top.above = root, 0, count, 0, 0.0
        waiting[0] = 0
        while n_waiting > 0:
            n_waiting -= 1
            span = spans[waiting[n_waiting]]
            depth, above = span.depth, span.above  # local variables, so that the compiler hoists expressions of them
            if span.node < 0:
                leaf = np.uint64(~span.node)
                point, mass = leaf * wide, np.int64(leaf_mass[leaf])
                for i in range(span.begin, span.end):
                    # Only rows inside the box above are compared for equality. If the visitor does not use the distance,
                    # the compiler removes it.
                    far = excess(points, point, points, point, rows, np.uint64(order[i]) * wide)
                    value[i] = unequal(depth, mass, n, above, far if far > 0.0 else 1.0)
                continue
            v = np.uint64(span.node)
            cut = cuts[v]
            middle = part(rows, order, spare, span.begin, span.end, np.uint64(cut.dim), cut.value)
            span.first = n_spans
            for side in range(2):
                child = spans[n_spans]
                child.node, child.depth = cut.child[side], depth + 1
                child.begin = span.begin if side == 0 else middle
                child.end = middle if side == 0 else span.end
                mass = leaf_mass[np.uint64(~child.node)] if child.node < 0 else nodes[np.uint64(child.node)].mass
                child.above = max(above, (nodes[v].mass - mass) / (mass + 1.0))
                if child.begin < child.end:
                    waiting[n_waiting] = n_spans
                    n_waiting += 1
                n_spans += _ONE
        return n_spans

    return descend


def _arrival(equal: Any, excess: Any, wide: np.uint64) -> Any:
    """Make the function that assigns the value of `equal` to the rows that equal their leaf."""

    @njit(nogil=True)
    def settle(span, n, leaf_mass, points, rows, order, value, begin, end):  # type: ignore[no-untyped-def]
        """Returns 3 * row if `equal` returned NaN for a row, 3 * row + 1 if `unequal` did, otherwise -1."""
        leaf = np.uint64(~span.node)
        point = leaf * wide
        for i in range(begin, end):
            row = np.int64(order[i])
            if excess(points, point, points, point, rows, np.uint64(row) * wide) == 0.0:
                value[i] = equal(span.depth, np.int64(leaf_mass[leaf]), n, span.above)
                if np.isnan(value[i]):
                    return 3 * row
            elif np.isnan(value[i]):
                return 3 * row + 1
        return -1

    return settle


def _climb(ancestor: Any, settle: Any, excess: Any, wide: np.uint64) -> Any:
    """Make the function that moves the rows from the leaves up. All rows that reach a box are processed together.

    It returns two numbers: 3 * row + k if function k of the visitor returned NaN, otherwise -1; and the end of the finished rows.
    """

    @njit(nogil=True)
    def first_nan(value, i):  # type: ignore[no-untyped-def]
        while value[i] == value[i]:
            i += _ONE
        return i

    @njit(nogil=True)
    def climb(n, nodes, leaf_mass, boxes, points, rows, room, n_spans, done):  # type: ignore[no-untyped-def]
        order, _, value, gap, spans, _ = room
        k = n_spans
        while k > 0:
            k -= _ONE
            span = spans[k]
            if span.node < 0 or span.begin == span.end:
                continue
            v = np.uint64(span.node)
            low = v * np.uint64(2) * wide
            high = low + wide
            to = span.begin
            for c in (span.first, span.first + _ONE):
                child, first_to, first_done = spans[c], to, done
                for i in range(child.begin, child.end):
                    row, worth = order[i], value[i]
                    far = excess(boxes, low, boxes, high, rows, np.uint64(row) * wide)
                    outside = np.uint64(far != 0.0)
                    place = to if outside else done
                    order[place], value[place], gap[place] = row, worth, far
                    to += outside
                    done += _ONE - outside
                if child.node < 0:
                    wrong = settle(child, n, leaf_mass, points, rows, order, value, first_done, done)
                    if wrong >= 0:
                        return wrong, done
                    fine = True
                    for i in range(first_to, to):
                        fine &= value[i] == value[i]
                    if not fine:
                        return 3 * np.int64(order[first_nan(value, first_to)]) + 1, done
            depth, above, mass, extent = span.depth, span.above, np.int64(nodes[v].mass), nodes[v].range
            fine = True
            for i in range(span.begin, to):
                value[i] = ancestor(value[i], depth, mass, n, above, gap[i], extent)
                fine &= value[i] == value[i]
            if not fine:
                return 3 * np.int64(order[first_nan(value, span.begin)]) + 2, done
            span.end = to
        return -1, done

    return climb


@functools.lru_cache(maxsize=64)
def _compiled(visitor: Visitor, stride: int) -> Any:
    """Make the function that walks all rows over one tree.

    It returns 3 * row + k if function k of the visitor returned NaN, otherwise -1. As in the core, the rows are partitioned at
    each node from the root down, and climb from the leaves up. All rows that reach a box are processed together, so that their
    computations overlap. Indices are unsigned, because numba checks each signed index for a negative value.
    """
    equal, unequal, ancestor = [f if numba.extending.is_jitted(f) else njit(nogil=True)(f) for f in visitor[:3]]
    excess, wide = _excess(stride), np.uint64(stride)
    settle = _arrival(equal, excess, wide)
    descend, climb = _descent(unequal, excess, wide), _climb(ancestor, settle, excess, wide)

    @njit(nogil=True)
    def walk(root, n, cuts, nodes, leaf_mass, boxes, points, rows, room, out):  # type: ignore[no-untyped-def]
        order, _, value, _, spans, _ = room
        # the first half of order, value and gap holds the rows that are still walking, the second half those that have arrived
        half, count = np.uint64(len(order) // 2), np.uint64(len(out))
        for r in range(count):
            order[r] = r
        n_spans = descend(root, n, cuts, nodes, leaf_mass, points, rows, room, count)
        wrong, done = climb(n, nodes, leaf_mass, boxes, points, rows, room, n_spans, half)
        top = spans[0]
        if wrong < 0 and root < 0:
            wrong = settle(top, n, leaf_mass, points, rows, order, value, np.uint64(0), count)
        if wrong >= 0:
            return wrong
        for i in range(top.end):
            out[order[i]] += value[i]
        for i in range(half, done):
            out[order[i]] += value[i]
        return -1

    return walk


def walk(forest: Forest, X: NDArray[np.float64], visitor: Visitor, n_jobs: int = 1) -> NDArray[np.float64]:
    """The mean over the trees of the visitor's value of each row; see :meth:`rcf.RandomCutForest.walk`."""
    if not isinstance(visitor, Visitor):
        raise TypeError(f"a visitor must be an rcf.walk.Visitor, got {type(visitor).__name__}")
    for name, function in zip(Visitor._fields, visitor, strict=True):
        if not callable(function) and not (name == "finish" and function is None):
            raise TypeError(f"{name} of the visitor must be a function, got {function!r}")
    if not (np.abs(X) <= LIMIT).all():
        raise ValueError(f"Input X contains a number that is not finite or beyond +-{LIMIT}")
    mean = forest.reading(lambda: _walk(forest, X, visitor, n_jobs))
    return mean if visitor.finish is None else visitor.finish(mean)


def _walk(forest: Forest, X: NDArray[np.float64], visitor: Visitor, n_jobs: int) -> NDArray[np.float64]:
    views = [view for view in map(forest.tree, range(forest.n_trees)) if view["mass"]]
    out = np.zeros(len(X))
    if not views:
        return out
    origin, stride = forest.origin_, views[0]["wide_points"].shape[1]
    kernel = _compiled(visitor, stride)
    trees, most = [], 0
    for view in views:
        boxes, points = view["wide_boxes"].reshape(-1), view["wide_points"].reshape(-1)
        trees.append((view["root"], view["mass"], view["cuts"], view["nodes"], view["leaves"]["mass"], boxes, points))
        most = max(most, 2 * len(view["leaves"]))
    chunk = _ROWS[0] if stride <= 16 else _ROWS[1]

    def work(begin: int, end: int) -> None:
        places = 2 * min(chunk, end - begin)
        order, spare = np.empty((2, places), dtype=np.uint32)
        value, gap = np.empty((2, places))
        room = order, spare, value, gap, np.empty(most, dtype=_SPAN), np.empty(most, dtype=np.uint64)
        for at in range(begin, end, chunk):
            n = min(chunk, end - at)
            rows = np.zeros((n, stride), dtype=np.float32)
            rows[:, : X.shape[1]] = (X[at : at + n] - origin).astype(np.float32) + np.float32(0)
            for tree in trees:
                try:
                    wrong = kernel(*tree, rows.reshape(-1), room, out[at : at + n])
                except numba.TypingError as error:
                    raise TypeError(f"the visitor {visitor.name} does not compile: {error}") from error
                except Exception as error:
                    raise RuntimeError(f"the visitor {visitor.name} raised {type(error).__name__}: {error}") from error
                if wrong >= 0:
                    row, which = divmod(wrong, 3)
                    raise ValueError(
                        f"{Visitor._fields[which]} of the visitor {visitor.name} returned NaN for row {at + row}"
                    )

    parts = max(1, min(n_jobs, len(X)))
    bounds = [len(X) * i // parts for i in range(parts + 1)]
    if parts == 1:
        work(0, len(X))
    else:
        with ThreadPoolExecutor(parts) as pool:
            for done in [pool.submit(work, a, b) for a, b in itertools.pairwise(bounds)]:
                done.result()
    return out / forest.n_trees


# ---- the scores of the library, as visitors ----------------------------------------------------------------------------


def _depth_equal(depth: int, mass: int, n: int, above: float) -> Any:
    return np.log2(n) / (mass + 1.0 if depth == 0 else depth + np.log2(mass))


def _depth_unequal(depth: int, mass: int, n: int, above: float, gap: float) -> Any:
    return np.log2(n) / (depth + 1.0)


def _depth_ancestor(value: float, depth: int, mass: int, n: int, above: float, gap: float, extent: float) -> Any:
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


def _displacement_ancestor(
    value: float, depth: int, mass: int, n: int, above: float, gap: float, extent: float
) -> float:
    return value + gap / (gap + extent) * (mass - value)


def _opensearch_equal(depth: int, mass: int, n: int, above: float) -> Any:
    return np.log2(n + 1) * (1.0 - mass / (2.0 * n)) / (depth + np.log2(mass + 1))


def _opensearch_unequal(depth: int, mass: int, n: int, above: float, gap: float) -> Any:
    return np.log2(n + 1) / (depth + 1.0)


def _opensearch_ancestor(value: float, depth: int, mass: int, n: int, above: float, gap: float, extent: float) -> Any:
    return value + gap / (gap + extent) * (np.log2(n + 1) / (depth + 1.0) - value)


@njit(nogil=True)  # type: ignore[untyped-decorator]
def _mean_length(n: int) -> float:
    """c(n), the mean path length of a tree of n records."""
    if n < 3:
        return 1.0 if n == 2 else 0.0
    return 2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n  # type: ignore[no-any-return]


def _path_equal(depth: int, mass: int, n: int, above: float) -> float:
    return (depth + _mean_length(mass)) / _mean_length(n) if n > 1 else 1.0


def _path_unequal(depth: int, mass: int, n: int, above: float, gap: float) -> float:
    return (depth + _mean_length(mass)) / _mean_length(n) if n > 1 else 1.0


def _path_ancestor(value: float, depth: int, mass: int, n: int, above: float, gap: float, extent: float) -> float:
    return value


def _path_finish(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp2(-mean)


depth = Visitor(_depth_equal, _depth_unequal, _depth_ancestor)
codisp = Visitor(_codisp_equal, _codisp_unequal, _codisp_ancestor)
displacement = Visitor(_displacement_equal, _displacement_unequal, _displacement_ancestor)
opensearch = Visitor(_opensearch_equal, _opensearch_unequal, _opensearch_ancestor)
path = Visitor(_path_equal, _path_unequal, _path_ancestor, _path_finish)
