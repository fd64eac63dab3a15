"""Builders of ONNX graphs and of the loops in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count = 0

    def name(self, stem: str) -> str:
        self._count += 1
        return f"{self.prefix}{stem}_{self._count}"

    def constant(self, value: Any, dtype: Any, stem: str = "c") -> str:
        name = self.name(stem)
        self.constants.append(
            numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype).reshape(np.shape(value)), name)
        )
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        output = self.name(op.lower())
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def loop(self, trips: int, body: Body, state: Sequence[str]) -> list[str]:
        """`state` after `trips` iterations of the body, which may use every name of this graph."""
        outputs = [self.name("loop") for _ in state]
        # ONNX allows an empty name for the condition, but skl2onnx does not handle an input without a name
        inputs = [self.constant(trips, np.int64, "trips"), self.constant(True, np.bool_, "go"), *state]
        self.nodes.append(helper.make_node("Loop", inputs, outputs, outputs[0], body=body.finished()))
        return outputs


class Body(Graph):
    """The body of a `Loop`. Its constants belong to the outer graph."""

    def __init__(self, outer: Graph, types: Sequence[int]) -> None:
        super().__init__(outer.name("body") + "_")
        self._outer, self._types = outer, types
        self.state = [self.name("in") for _ in types]
        self.results: list[str] = []
        self.going: str | None = None  # name of the condition for another iteration

    def constant(self, value: Any, dtype: Any, stem: str = "c") -> str:
        return self._outer.constant(value, dtype, stem)

    def finished(self) -> onnx.GraphProto:
        trip, on = self.name("trip"), self.name("on")
        still = self.add("Identity", on) if self.going is None else self.going
        inputs = [(trip, TensorProto.INT64), (on, TensorProto.BOOL), *zip(self.state, self._types, strict=True)]
        outputs = [(still, TensorProto.BOOL), *zip(self.results, self._types, strict=True)]
        scalars = {trip, on, still}
        described = (
            [helper.make_tensor_value_info(name, kind, [] if name in scalars else None) for name, kind in names]
            for names in (inputs, outputs)
        )
        return helper.make_graph(self.nodes, self.prefix + "graph", next(described), next(described))


def used_constants(graph: Graph) -> list[onnx.TensorProto]:
    """The constants that the graph uses. onnxruntime warns about constants of loops that never run."""

    def names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
        for node in nodes:
            yield from node.input
            for attribute in node.attribute:
                yield from names(attribute.g.node)

    used = set(names(graph.nodes))
    return [constant for constant in graph.constants if constant.name in used]
