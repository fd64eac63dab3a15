"""The part of an ONNX graph that computes attributions.

A record that equals a leaf lies inside every box on its path, so no box separates it. Its score is divided as in the tree
without the record, in which the sibling of its leaf replaces the parent. The walk goes down below the sibling first, and
then up from the parent through the boxes of the other records. Parts and gaps come in pairs, one for values above a box and
one for values below it. Each has the shape (n, trees, d).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from ._onnx_graph import Body, Graph
from ._onnx_walks import Walks

Pair = tuple[str, str]


def add_attribution(walks: Walks, scores: str, leaf: str, equal: str) -> str:
    """(n, d, 2): the sum over the trees. The arguments are the results of `Walks.scores`."""
    g = walks.graph
    n_leaves = len(walks.tables.mass)
    here = walks.number(np.append(walks.values.here, np.zeros(n_leaves)), "here")
    end = walks.number(np.append(np.zeros(walks.n_nodes), walks.values.separated), "end")
    far = _down(walks, walks.roots, here, end)
    near = _of_equal(walks, scores, leaf)
    condition = g.add("Unsqueeze", equal, g.constant([2], np.int64))
    both = [
        g.add("Unsqueeze", walks.added(g, g.add("Where", condition, alike, apart), 1), g.constant([2], np.int64))
        for alike, apart in zip(near, far, strict=True)
    ]
    return g.add("Concat", *both, axis=2)


def _add_share(g: Graph, parts: Pair, factor: str, gaps: Pair) -> Pair:
    """parts + factor * gaps, where `factor` is (n, trees)."""
    wide = g.add("Unsqueeze", factor, g.constant([2], np.int64))
    high, low = (g.add("Add", part, g.add("Mul", wide, gap)) for part, gap in zip(parts, gaps, strict=True))
    return high, low


def _down(walks: Walks, start: str, here: str, end: str) -> Pair:
    """The parts of each tree's score for a walk down from `start`; `here` and `end`: values of a cut above a node or a leaf."""
    g = walks.graph
    wide = g.add("Concat", walks.shape, g.constant([walks.tables.n_features], np.int64), axis=0)
    nothing = g.add("Expand", walks.number([[[0.0]]]), wide)
    body = Body(g, [TensorProto.INT64, walks.kind, walks.kind, walks.kind])
    node, alone, high, low = body.state
    gaps = walks.gaps_of(body, node)
    total = walks.total(body, gaps)
    size = body.add("Add", total, walks.gather(body, walks.extent, node))
    share = body.add("Div", alone, size)
    parts = _add_share(body, (high, low), body.add("Mul", share, walks.gather(body, here, node)), gaps)
    body.results = [walks.step(body, node), body.add("Sub", alone, body.add("Mul", share, total)), *parts]
    body.going = walks.going(body, body.results[0])
    state = [start, walks.filled(1.0), nothing, nothing]
    node, alone, high, low = g.loop(walks.depth, body, state) if walks.depth else state
    gaps = walks.gaps_of(g, node)
    total = _not_zero(walks, g, walks.total(g, gaps))
    factor = g.add("Div", g.add("Mul", alone, walks.gather(g, end, node)), total)
    return _add_share(g, (high, low), factor, gaps)


def _of_equal(walks: Walks, scores: str, leaf: str) -> Pair:
    """The parts of the score of a record that equals the leaf."""
    g, d = walks.graph, walks.tables.n_features
    parent, sibling = (g.constant(table, np.int64, "family") for table in _family(walks))
    down, up = (walks.number(table, "here") for table in _values_without(walks))
    node = g.add("Add", leaf, g.constant(walks.n_nodes, np.int64))
    other = walks.gather(g, sibling, node)
    parts = _down(walks, other, down, down)
    by_mass = walks.tables.method in ("codisp", "displacement")
    less = walks.gather(g, walks.number(walks.tables.mass if by_mass else np.zeros(len(walks.tables.mass))), leaf)
    # state of the loop: a node, the box of the records below it except the explained one, and the parts
    corners = [walks.gather(g, table, other) for table in (walks.lower, walks.upper)]
    body = Body(g, [TensorProto.INT64, TensorProto.FLOAT, TensorProto.FLOAT, walks.kind, walks.kind])
    at, *shadow, high, low = body.state
    beside, above = walks.gather(body, sibling, at), walks.gather(body, parent, at)
    lower = body.add("Min", shadow[0], walks.gather(body, walks.lower, beside))
    upper = body.add("Max", shadow[1], walks.gather(body, walks.upper, beside))
    wide = [walks.wide(body, corner) for corner in (lower, upper)]
    gaps = walks.gaps(body, *wide)
    extent = walks.added(body, body.add("Sub", wide[1], wide[0]), -1)
    size = _not_zero(walks, body, body.add("Add", walks.total(body, gaps), extent))
    keep = body.add("Unsqueeze", body.add("Div", extent, size), body.constant([2], np.int64))
    kept = (body.add("Mul", high, keep), body.add("Mul", low, keep))
    here = body.add("Sub", walks.gather(body, up, above), less)
    body.results = [above, lower, upper, *_add_share(body, kept, body.add("Div", here, size), gaps)]
    state = [walks.gather(g, parent, node), *corners, *parts]
    *_, high, low = g.loop(walks.depth, body, state) if walks.depth else state
    total = g.add("Unsqueeze", walks.total(g, (high, low)), g.constant([2], np.int64))
    score = g.add("Unsqueeze", scores, g.constant([2], np.int64))
    nothing = g.add("Equal", total, walks.zero)  # the tree holds a single value, so all features get equal parts
    safe = _not_zero(walks, g, total)
    even = walks.number(1.0 / (2 * d))
    above, below = (g.add("Mul", score, g.add("Where", nothing, even, g.add("Div", p, safe))) for p in (high, low))
    return above, below


def _not_zero(walks: Walks, g: Graph, divisor: str) -> str:
    """Replace 0 by 1 in a divisor, to avoid 0 / 0. The quotient is later multiplied by gaps of 0, so its value is irrelevant."""
    return g.add("Where", g.add("Equal", divisor, walks.zero), walks.number(1.0), divisor)


def _family(walks: Walks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The parent and the sibling of each node and leaf. A root is its own parent and sibling."""
    children = walks.tables.nodes.children
    below = np.where(children < 0, walks.n_nodes + ~children, children)
    parent = np.arange(walks.n_nodes + len(walks.tables.mass))
    sibling = parent.copy()
    for side in (0, 1):
        parent[below[:, side]] = np.arange(walks.n_nodes)
        sibling[below[:, side]] = below[:, 1 - side]
    return parent, sibling


def _values_without(walks: Walks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The value of a cut above each node or leaf in the tree without the record, below the sibling and above it."""
    tables = walks.tables
    if tables.method in ("codisp", "displacement"):
        mass = np.append(tables.masses()[0], tables.mass).astype(np.float64)
        return mass, mass
    depth = np.append(tables.nodes.depth, tables.depths())
    return 1.0 / np.maximum(depth, 1), 1.0 / (depth + 1)
