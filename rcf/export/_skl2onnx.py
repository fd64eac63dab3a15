"""The converter that lets skl2onnx convert a RandomCutForest, alone or in a pipeline."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType

from ..estimator import RandomCutForest
from ._onnx import add_forest
from ._onnx_graph import Graph, used_constants
from ._tables import tables_of

ALIAS = "RcfRandomCutForest"


def _declare(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    operator = scope.declare_local_operator(ALIAS, model)
    operator.inputs.extend(inputs)
    operator.outputs.append(scope.declare_local_variable("label", Int64TensorType()))
    operator.outputs.append(scope.declare_local_variable("anomaly_score", DoubleTensorType()))
    return operator.outputs


def _shapes(operator: Any) -> None:
    n = operator.inputs[0].get_first_dimension()
    for output, kind in zip(operator.outputs, (Int64TensorType, DoubleTensorType), strict=True):
        output.type = kind([n])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    graph = Graph(scope.get_unique_operator_name("rcf") + "_")
    x = graph.add("Cast", operator.inputs[0].full_name, to=TensorProto.DOUBLE)
    label, score = (output.full_name for output in operator.outputs)
    add_forest(graph, tables_of(operator.raw_operator), "float64", x, [score, label])
    container.nodes.extend(graph.nodes)
    container.initializers.extend(used_constants(graph))
    container.node_domain_version_pair_sets.add(("", 15))  # opset of Shape with a start; other operators are older


def register() -> None:
    update_registered_converter(RandomCutForest, ALIAS, _shapes, _convert, parser=_declare)
