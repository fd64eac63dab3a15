"""Version 2 of the SageMaker SDK: its RandomCutForestPredictor with the endpoint, and its RecordIO bytes."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

for library in ("orjson", "pyarrow", "starlette", "uvicorn"):
    pytest.importorskip(library)

import rcf  # noqa: E402
import rcf.sagemaker  # noqa: E402
from rcf.sagemaker import recordio  # noqa: E402

pytestmark = pytest.mark.slow


def run(sdk, *arguments, cwd):
    environment = {**os.environ, "SAGEMAKER_SUPPRESS_V2_WARNING": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sdk, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_predictor_and_the_bytes(sdk, serving, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    table = np.where(rng.random((2000, 20)) < 0.3, rng.integers(-1000, 1000, (2000, 20)) / 4, 0)
    forest = rcf.RandomCutForest(50, random_state=0).fit(X)
    rcf.sagemaker.pack(forest, tmp_path / "model.tar.gz")
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "table.npy", table)
    (tmp_path / "ours.pbr").write_bytes(recordio.write(table))
    with serving(tmp_path / "model.tar.gz") as (url, _):
        run(sdk, Path(__file__).with_name("sdk_client.py"), url, tmp_path, cwd=tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    expected = np.round(forest.anomaly_score(X), 10).tolist()
    for name in ("CSV", "CSV, JSON Lines", "local mode"):
        assert found.pop(name) == expected, name
    sparse_rows = np.where(abs(X) > 1, X, 0)
    assert found.pop("sparse") == forest.anomaly_score(sparse_rows).astype(np.float32).tolist()
    for dtype in ("float32", "float64", "int"):
        rows = (X * 4).astype(dtype).astype(float)
        assert found.pop(f"RecordIO {dtype}") == forest.anomaly_score(rows).astype(np.float32).tolist()
        labels = (np.arange(2000) % 2).astype(dtype)
        assert (tmp_path / f"dense-{dtype}.pbr").read_bytes() == recordio.write(table.astype(dtype), labels)
        wide = sparse.csr_array(table.astype(dtype))
        assert (tmp_path / f"sparse-{dtype}.pbr").read_bytes() == recordio.write(wide, labels)
    assert not found
