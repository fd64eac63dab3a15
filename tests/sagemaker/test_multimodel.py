"""A multi-model endpoint, by the contract of
https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html.
"""

import http.client
import json

import numpy as np
import pytest

for library in ("orjson", "pyarrow", "starlette", "uvicorn"):
    pytest.importorskip(library)

import rcf  # noqa: E402
import rcf.sagemaker  # noqa: E402
from rcf.sagemaker import artifact, environment  # noqa: E402

X = np.random.default_rng(0).normal(size=(300, 3))


@pytest.fixture
def forests(tmp_path):
    """Two models in the folders where SageMaker puts them."""
    found = {}
    for seed, name in enumerate(("a1b2", "c3d4")):
        found[name] = rcf.RandomCutForest(50, random_state=seed).fit(X)
        (tmp_path / name / "model").mkdir(parents=True)
        found[name].save(tmp_path / name / "model" / "model.rcf")
    return found


@pytest.fixture
def ask(served, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_MULTI_MODEL", "true")
    assert environment.workers() == 1
    with served(rcf.sagemaker.app()) as url:

        def request(method, path, body=None, **headers):
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer.status, json.loads(content) if answer.headers[
                "Content-Type"
            ] == "application/json" else content

        yield request


def load(name, folder):
    return json.dumps({"model_name": name, "url": str(folder / name / "model")})


def test_the_life_of_models(ask, forests, tmp_path):
    assert ask("GET", "/ping") == (200, b"")
    assert ask("GET", "/models") == (200, {"models": []})
    urls = {name: str(tmp_path / name / "model") for name in forests}
    for name in forests:
        assert ask("POST", "/models", load(name, tmp_path))[0] == 200
        assert ask("POST", "/models", load(name, tmp_path))[0] == 409
        assert ask("GET", f"/models/{name}") == (200, {"modelName": name, "modelUrl": urls[name]})
    listed = [{"modelName": name, "modelUrl": url} for name, url in urls.items()]
    assert ask("GET", "/models") == (200, {"models": listed})
    body = "\n".join(",".join(map(repr, row)) for row in X.tolist())
    for name, forest in forests.items():
        status, found = ask("POST", f"/models/{name}/invoke", body, Content_Type="text/csv")
        assert status == 200
        assert [d["score"] for d in found["scores"]] == np.round(forest.anomaly_score(X), 10).tolist()
    assert ask("POST", "/models/a1b2/invoke", "1,2", Content_Type="text/csv") == (
        400,
        b"row 1: 2 cells, expected 3 features",
    )
    assert ask("DELETE", "/models/a1b2")[0] == 200
    for method, path in (("DELETE", "/models/a1b2"), ("GET", "/models/a1b2"), ("POST", "/models/a1b2/invoke")):
        assert ask(method, path) == (404, b"no model 'a1b2' is loaded")
    assert ask("GET", "/models") == (200, {"models": listed[1:]})


def test_what_cannot_be_loaded(ask, forests, tmp_path, monkeypatch):
    for body in ("", "[]", "{}", '{"model_name": 3, "url": "x"}'):
        assert ask("POST", "/models", body) == (400, b'the body must be {"model_name": "...", "url": "..."}')
    status, text = ask("POST", "/models", load("none", tmp_path))
    assert status == 400
    assert text.startswith(b"no model in ")

    def full(path):
        raise MemoryError

    monkeypatch.setattr(artifact, "unpack", full)
    assert ask("POST", "/models", load("a1b2", tmp_path)) == (507, b"no memory for the model 'a1b2'")
    assert ask("GET", "/models") == (200, {"models": []})
