"""MLflow models: the forest is restored bit for bit, without pickle, and a server gives the same answer to every kind of body."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

import rcf

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's own

X = np.random.default_rng(0).normal(0, 10, size=(500, 2)).round()


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    module = pytest.importorskip("mlflow", reason="the package mlflow is not installed")
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the other stores need SQLAlchemy
    module.set_tracking_uri((tmp_path / "runs").as_uri())
    return module


def fitted(names):
    import pandas as pd

    table = pd.DataFrame(X, columns=["a", "b"]) if names else X
    return rcf.RandomCutForest(20, random_state=0).fit(table), table


@pytest.mark.parametrize("names", [True, False])
def test_saved_and_loaded(mlflow, tmp_path, names):
    from rcf.adapters.mlflow import load_model, save_model

    forest, table = fitted(names)
    save_model(forest, tmp_path / "model")
    again = load_model(str(tmp_path / "model"))
    assert again.to_bytes() == forest.to_bytes()
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(table)
    np.testing.assert_array_equal(found["anomaly_score"], forest.anomaly_score(table))
    np.testing.assert_array_equal(found["is_anomaly"], forest.predict(table) == -1)
    files = {path.name for path in (tmp_path / "model").rglob("*")}
    assert "model.rcf" in files
    assert not any(name.endswith((".pkl", ".pickle")) for name in files)
    assert f"rcf[mlflow]=={rcf.__version__}" in (tmp_path / "model" / "requirements.txt").read_text()


def test_logged_and_loaded(mlflow):
    from rcf.adapters.mlflow import load_model, log_model

    forest, _ = fitted(True)
    with mlflow.start_run():
        logged = log_model(forest, "forest")
    np.testing.assert_array_equal(load_model(logged.model_uri).anomaly_score(X), forest.anomaly_score(X))


def test_only_fitted_forests_are_accepted(mlflow, tmp_path):
    from rcf.adapters.mlflow import save_model

    with pytest.raises(TypeError, match="model must be a RandomCutForest, got StreamDetector"):
        save_model(rcf.StreamDetector(), tmp_path / "model")
    with pytest.raises(ValueError, match="not fitted"):
        save_model(rcf.RandomCutForest(), tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.fixture
def post(mlflow):
    """Serves a model in this process, and returns a function that sends requests to it."""
    uvicorn = pytest.importorskip("uvicorn", reason="the package uvicorn is not installed")
    from mlflow.pyfunc import scoring_server

    servers = []

    def serve(path):
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        config = uvicorn.Config(scoring_server.init(mlflow.pyfunc.load_model(str(path))), log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        servers.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)

        def ask(kind, body):
            url = f"http://127.0.0.1:{port}/invocations"
            request = urllib.request.Request(url, body.encode(), {"Content-Type": kind})
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["predictions"]

        return ask

    yield serve
    for server, thread in servers:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("names", [True, False])
def test_a_server_answers_every_kind_of_body_alike(mlflow, post, tmp_path, names):
    from rcf.adapters.mlflow import save_model

    forest, _ = fitted(names)
    save_model(forest, tmp_path / "model")
    ask = post(tmp_path / "model")
    rows = X[:3].astype(int).tolist()  # whole numbers for features of type double
    inputs = {"a": [row[0] for row in rows], "b": [row[1] for row in rows]} if names else rows
    bodies = [
        ("application/json", json.dumps({"inputs": inputs})),
        ("application/json", json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": rows}})),
        ("text/csv", "a,b\n" + "\n".join(f"{a},{b}" for a, b in rows) + "\n"),
    ]
    for kind, body in bodies:
        assert [row["anomaly_score"] for row in ask(kind, body)] == forest.anomaly_score(
            np.array(rows, dtype=float) if not names else fitted(True)[1].iloc[:3]
        ).tolist()
    with pytest.raises(urllib.error.HTTPError, match="400"):
        ask("application/json", json.dumps({"dataframe_split": {"columns": ["a"], "data": [[1.0]]}}))


def test_the_extra_is_named():
    code = "import sys; sys.modules['mlflow'] = None\nimport rcf.adapters.mlflow"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.stderr.splitlines()[-1].endswith('pip install "rcf[mlflow]"')
