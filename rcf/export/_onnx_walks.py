"""Walks of records through trees as parts of an ONNX graph.

A walk goes through all trees at once, level by level, in a `Loop`. The core walks up from the leaf and computes
``score = q * here + (1 - q) * score`` at each node. The graph walks down and adds up the same terms: `alone` is the
probability that no box so far has separated the record, and a node adds ``alone * q * here``. Inner nodes and leaves
of all trees are numbered together, inner nodes first. A leaf is its own child, so that a walk that ends early stays
at its leaf.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from ._onnx_graph import Body, Graph
from ._tables import Tables
from ._values import values_of

TYPES = {"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT}


class Walks:
    """The common part of the graphs of scores and attributions: tables as constants, and the steps of a walk."""

    def __init__(self, graph: Graph, tables: Tables, dtype: str, x: str) -> None:
        self.tables, self.graph = tables, graph
        self.dtype = np.dtype(dtype)
        self.kind = TYPES[dtype]
        self.values = values_of(tables)
        self.n_nodes = len(tables.cut)
        nodes = tables.nodes
        leaves = self.n_nodes + np.arange(len(tables.mass))
        below = np.where(nodes.children < 0, self.n_nodes + ~nodes.children, nodes.children)
        children = np.concatenate([below, np.repeat(leaves[:, None], 2, axis=1)])
        lower, upper = tables.boxes()
        points = tables.points[tables.point]
        extent = np.append(self.values.extent, np.full(len(leaves), np.inf))  # no second cut at a leaf
        self.children = graph.constant(children.reshape(-1), np.int64, "children")
        self.dim = graph.constant(np.append(tables.dim, np.zeros(len(leaves))), np.int64, "dim")
        self.cut = graph.constant(np.append(tables.cut, np.zeros(len(leaves))), np.float32, "cut")
        self.lower = graph.constant(np.concatenate([lower, points]), np.float32, "lower")
        self.upper = graph.constant(np.concatenate([upper, points]), np.float32, "upper")
        self.extent = self.number(extent, "extent")
        self.zero = self.number(0.0, "zero")
        # the origin is subtracted in float64, because rounding first would remove the outliers of a series around 1e9
        centered = graph.add("Sub", x, graph.constant(tables.origin, np.float64, "origin"))
        self.x = graph.add("Cast", centered, to=TensorProto.FLOAT)
        rows = self.x if dtype == "float32" else graph.add("Cast", self.x, to=self.kind)
        self.rows = graph.add("Unsqueeze", rows, graph.constant([1], np.int64))  # (n, 1, d)
        # the shape of `rows` and not of `x`, so that the loops depend on all that they capture, because skl2onnx sorts by
        # dependency
        n = graph.add("Shape", self.rows, start=0, end=1)
        grown = np.flatnonzero(tables.sizes > 0)
        roots = np.where(tables.sizes > 1, tables.first_node, self.n_nodes + tables.first_leaf)[grown]
        self.shape = graph.add("Concat", n, graph.constant([len(grown)], np.int64), axis=0)  # (n, trees)
        self.roots = graph.add("Expand", graph.constant(roots[None, :], np.int64, "roots"), self.shape)
        self.depth = len(nodes.levels)

    def number(self, value: Any, stem: str = "c") -> str:
        return self.graph.constant(value, self.dtype, stem)

    def filled(self, value: float) -> str:
        """An array of shape (n, trees) filled with one number."""
        return self.graph.add("Expand", self.number([[value]]), self.shape)

    def gather(self, g: Graph, table: str, at: str) -> str:
        return g.add("Gather", table, at, axis=0)

    def wide(self, g: Graph, corner: str) -> str:
        return corner if self.dtype == np.float32 else g.add("Cast", corner, to=self.kind)

    def gaps(self, g: Graph, lower: str, upper: str) -> tuple[str, str]:
        """The distances of the rows above and below boxes, (n, trees, d) each."""
        high = g.add("Max", g.add("Sub", self.rows, upper), self.zero)
        low = g.add("Max", g.add("Sub", lower, self.rows), self.zero)
        return high, low

    def gaps_of(self, g: Graph, node: str) -> tuple[str, str]:
        corners = [self.wide(g, self.gather(g, table, node)) for table in (self.lower, self.upper)]
        return self.gaps(g, *corners)

    def total(self, g: Graph, gaps: tuple[str, str]) -> str:
        return self.added(g, g.add("Add", *gaps), -1)

    def added(self, g: Graph, array: str, axis: int) -> str:
        return g.add("ReduceSum", array, g.constant([axis], np.int64), keepdims=0)

    def step(self, g: Graph, node: str) -> str:
        """The child to which each row belongs."""
        value = g.add("GatherElements", self.x, self.gather(g, self.dim, node), axis=1)
        right = g.add("Cast", g.add("Greater", value, self.gather(g, self.cut, node)), to=TensorProto.INT64)
        place = g.add("Add", g.add("Mul", node, g.constant(2, np.int64)), right)
        return self.gather(g, self.children, place)

    def going(self, g: Graph, node: str) -> str:
        """Whether each walk is still above its leaf."""
        highest = g.add("ReduceMin", node, keepdims=0)
        return g.add("Less", highest, g.constant(self.n_nodes, np.int64))

    def path_lengths(self) -> str:
        """The length of the path of each row in each tree, (n, trees), as a share of the mean length."""
        g = self.graph
        body = Body(g, [TensorProto.INT64])
        body.results = [self.step(body, body.state[0])]
        body.going = self.going(body, body.results[0])
        node = g.loop(self.depth, body, [self.roots])[0] if self.depth else self.roots
        leaf = g.add("Sub", node, g.constant(self.n_nodes, np.int64))
        return self.gather(g, self.number(self.values.equal, "lengths"), leaf)

    def scores(self) -> tuple[str, str, str]:
        """The score of each row in each tree, the leaf that it reaches, and whether it equals this leaf; (n, trees) each."""
        g = self.graph
        n_leaves = len(self.tables.mass)
        here = self.number(np.append(self.values.here, np.zeros(n_leaves)), "here")
        body = Body(g, [TensorProto.INT64, self.kind, self.kind])
        node, alone, score = body.state
        total = self.total(body, self.gaps_of(body, node))
        q = body.add("Div", total, body.add("Add", total, self.gather(body, self.extent, node)))
        share = body.add("Mul", alone, q)
        gain = body.add("Mul", share, self.gather(body, here, node))
        body.results = [self.step(body, node), body.add("Sub", alone, share), body.add("Add", score, gain)]
        body.going = self.going(body, body.results[0])
        if self.depth:
            node, alone, score = g.loop(self.depth, body, [self.roots, self.filled(1.0), self.filled(0.0)])
        else:
            node, alone, score = self.roots, self.filled(1.0), self.filled(0.0)
        leaf = g.add("Sub", node, g.constant(self.n_nodes, np.int64))
        equal = g.add("Equal", self.total(g, self.gaps_of(g, node)), self.zero)
        ends = [self.gather(g, self.number(v, "ends"), leaf) for v in (self.values.equal, self.values.separated)]
        end = g.add("Where", equal, *ends)
        return g.add("Add", score, g.add("Mul", alone, end)), leaf, equal
