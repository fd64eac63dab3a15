"""ONNX graphs in onnxruntime give the results of the core."""

import subprocess
import sys

import numpy as np
import pytest
import shared_data
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rcf import RandomCutForest, StreamDetector
from rcf.export import register_converter, to_onnx

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime")

# the warning is for trees of two records, whose threshold no score can pass
pytestmark = pytest.mark.filterwarnings("ignore:no score can lie beyond")
ATTRIBUTED = ("depth", "codisp", "displacement", "opensearch")
METHODS = (*ATTRIBUTED, "path")
NEAR = {"float64": 1e-12, "float32": 2e-6}


def run(model, X, name="X"):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 2
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {name: X}), strict=True))


def distance(found, exact):
    """The largest error, relative for scores above 1 and absolute below."""
    return np.max(np.abs(found - exact) / np.maximum(1.0, np.abs(exact)), initial=0.0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_the_core(grown, method, dtype):
    for d in (1, 5):
        forest, queries = grown(method, d)
        model = to_onnx(forest, dtype)
        onnx.checker.check_model(model, full_check=True)
        found = run(model, queries)
        assert found["anomaly_score"].dtype == dtype
        assert distance(found["anomaly_score"], forest.anomaly_score(queries)) <= NEAR[dtype]
        if dtype == "float64":
            clear = np.abs(forest.decision_function(queries)) > 1e-12
            np.testing.assert_array_equal(found["label"][clear], forest.predict(queries)[clear])


@pytest.mark.parametrize("method", ATTRIBUTED)
def test_attributions_are_those_of_the_core(grown, method):
    forest, queries = grown(method, 3)
    for dtype in ("float64", "float32"):
        found = run(to_onnx(forest, dtype, attribution=True), queries)
        exact = forest.attribution(queries)
        assert distance(found["attribution"], exact) <= NEAR[dtype]


def test_labelled_sets():
    """On tables of ADBench, scores agree to 1e-12 in float64 and 2e-6 in float32, and so does each label that is not at the
    threshold.
    """
    files = sorted(shared_data.path("adbench").glob("*.npz"))
    assert len(files) > 5
    for file in files:
        X = np.load(file)["X"].astype(np.float64)
        forest = RandomCutForest(20, random_state=0).fit(X)
        rows = X[np.random.default_rng(0).permutation(len(X))[:200]]
        exact = forest.anomaly_score(rows)
        for dtype, near in NEAR.items():
            found = run(to_onnx(forest, dtype), rows)
            assert distance(found["anomaly_score"], exact) <= near, file.name
            clear = np.abs(exact + forest.offset_) > near * 10
            np.testing.assert_array_equal(found["label"][clear], forest.predict(rows)[clear])


def operators(nodes):
    for node in nodes:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            yield from operators(attribute.g.node)


def test_core_operators_alone():
    forest = RandomCutForest(3, random_state=0).fit(np.random.default_rng(0).normal(size=(50, 2)))
    model = to_onnx(forest, attribution=True)
    assert {domain for domain, _ in operators(model.graph.node)} == {""}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]


def test_the_number_of_rows_is_free():
    forest = RandomCutForest(3, random_state=0).fit(np.random.default_rng(0).normal(size=(50, 2)))
    model = to_onnx(forest, attribution=True)
    for n in (0, 1, 7):
        found = run(model, np.zeros((n, 2)))
        assert [found[name].shape for name in ("anomaly_score", "label", "attribution")] == [(n,), (n,), (n, 2, 2)]


def test_pipelines_convert():
    pytest.importorskip("skl2onnx")
    import skl2onnx

    register_converter()
    X = np.random.default_rng(0).normal(size=(600, 5)) * [1, 10, 100, 1, 1]
    pipeline = make_pipeline(StandardScaler(), PCA(3), RandomCutForest(20, random_state=0)).fit(X)
    exact = pipeline[-1].anomaly_score(pipeline[:-1].transform(X))
    for opset in (None, 15, 21):
        model = skl2onnx.to_onnx(pipeline, X[:1], target_opset=opset)
        onnx.checker.check_model(model, full_check=True)
        found = run(model, X)
        # PCA sums in another order and moves a record by an ulp, so that it no longer equals the record in the tree
        near = np.abs(found["anomaly_score"] - exact) <= 1e-12
        assert near.mean() > 0.99
        np.testing.assert_array_equal(found["label"][near], pipeline.predict(X)[near])
    new = np.random.default_rng(1).normal(size=(600, 5)) * [1, 10, 100, 1, 1]
    exact = pipeline[-1].anomaly_score(pipeline[:-1].transform(new))
    assert distance(run(model, new)["anomaly_score"], exact) <= 1e-9
    narrow = skl2onnx.to_onnx(pipeline, new[:1].astype(np.float32))
    assert distance(run(narrow, new.astype(np.float32))["anomaly_score"], exact) <= 1e-3


def test_refusals():
    forest = RandomCutForest(3, random_state=0)
    with pytest.raises(TypeError, match="got StreamDetector"):
        to_onnx(StreamDetector())
    with pytest.raises(ValueError, match="not fitted"):  # NotFittedError is one
        to_onnx(forest)
    forest.partial_fit([[1.0, 2.0]])
    with pytest.raises(ValueError, match="dtype must be 'float64' or 'float32', got 'float16'"):
        to_onnx(forest, "float16")
    with pytest.raises(ValueError, match="'path' has no attribution"):
        to_onnx(forest.set_params(method="path"), attribution=True)
    forest.forget([1.0, 2.0])
    with pytest.raises(ValueError, match="holds no records"):
        to_onnx(forest)


def test_without_onnx_the_extra_is_named():
    script = """
import sys
sys.modules["onnx"] = sys.modules["skl2onnx"] = None
from rcf import RandomCutForest
from rcf.export import register_converter, to_onnx
forest = RandomCutForest(2, random_state=0).fit([[0.0], [1.0]])
for use in (lambda: to_onnx(forest), register_converter):
    try:
        use()
    except ImportError as error:
        print(error)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.count('pip install "rcf[onnx]"') == 2
