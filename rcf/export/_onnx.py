"""Forests as ONNX graphs with scores, labels and attributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from .._version import __version__
from ._onnx_attribution import add_attribution
from ._onnx_graph import Graph, used_constants
from ._onnx_walks import TYPES, Walks
from ._tables import Tables

OPSET = 18


def add_forest(graph: Graph, tables: Tables, dtype: str, x: str, outputs: Sequence[str]) -> None:
    """Append the nodes that compute scores, labels and, if there is a third output, attributions from `x`, float64 (n, d)."""
    g = graph
    walks = Walks(g, tables, dtype, x)
    trees = walks.number(len(tables.sizes))
    if tables.method == "path":
        empty = walks.number((tables.sizes == 0).sum())  # an empty tree counts as a path of the mean length
        mean = g.add("Div", g.add("Add", walks.added(g, walks.path_lengths(), 1), empty), trees)
        score = g.add("Exp", g.add("Mul", mean, walks.number(-np.log(2))))
    else:
        each, leaf, equal = walks.scores()
        score = g.add("Div", walks.added(g, each, 1), trees)
    g.nodes.append(helper.make_node("Identity", [score], [outputs[0]]))
    beyond = g.add("Greater", score, walks.number(tables.threshold))
    labels = [g.constant(label, np.int64) for label in (-1, 1)]
    g.nodes.append(helper.make_node("Where", [beyond, *labels], [outputs[1]]))
    if len(outputs) > 2:
        parts = g.add("Div", add_attribution(walks, each, leaf, equal), trees)
        g.nodes.append(helper.make_node("Identity", [parts], [outputs[2]]))


def model_of(tables: Tables, dtype: str, attribution: bool) -> onnx.ModelProto:
    if attribution and tables.method == "path":
        raise ValueError(
            "method='path' has no attribution, because it measures no boxes; set another method, such as 'depth'"
        )
    graph = Graph("rcf_")
    n, d, kind = "n", tables.n_features, TYPES[dtype]
    described = [
        helper.make_tensor_value_info("anomaly_score", kind, [n]),
        helper.make_tensor_value_info("label", TensorProto.INT64, [n]),
    ]
    if attribution:
        described.append(helper.make_tensor_value_info("attribution", kind, [n, d, 2]))
    add_forest(graph, tables, dtype, "X", [output.name for output in described])
    inputs = [helper.make_tensor_value_info("X", TensorProto.DOUBLE, [n, d])]
    whole = helper.make_graph(graph.nodes, "random_cut_forest", inputs, described, used_constants(graph))
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    model.producer_name, model.producer_version = "rcf", __version__
    model.doc_string = (
        f"Random cut forest. anomaly_score: method {tables.method}, high for anomalies. "
        f"label: -1 (outlier) where anomaly_score > {tables.threshold!r}, else 1."
    )
    return model
