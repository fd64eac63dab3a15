"""The endpoint: exact responses over HTTP, behaviour under load, and shutdown."""

import concurrent.futures
import http.client
import json
import logging
import os
import signal
import socket
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

for library in ("orjson", "pyarrow", "starlette", "uvicorn"):
    pytest.importorskip(library)

import rcf  # noqa: E402
import rcf.sagemaker  # noqa: E402
from rcf.sagemaker import formats, recordio  # noqa: E402
from rcf.sagemaker.command import main  # noqa: E402

RNG = np.random.default_rng(4)
X = RNG.normal(size=(300, 3))
TYPES = ["text/csv", "application/json", "application/jsonlines", "application/x-recordio-protobuf"]


def body_of(rows, kind):
    rows = np.asarray(rows)
    if kind == "text/csv":
        return "\n".join(",".join(map(repr, row)) for row in rows.tolist()).encode()
    if kind == "application/json":
        return json.dumps({"instances": [{"features": row} for row in rows.tolist()]}).encode()
    if kind == "application/jsonlines":
        return "\n".join(json.dumps({"features": row}) for row in rows.tolist()).encode()
    return recordio.write(rows)


def post(url, body, kind=None, accept=None, path="/invocations"):
    headers = {name: value for name, value in (("Content-Type", kind), ("Accept", accept)) if value is not None}
    headers |= {"X-Amzn-SageMaker-Custom-Attributes": "anything"}
    server = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        server.request("POST", path, body, headers)
        answer = server.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        server.close()


@pytest.fixture(scope="module")
def forest():
    return rcf.RandomCutForest(50, random_state=0).fit(X)


@pytest.fixture(scope="module")
def model(forest, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.tar.gz"
    rcf.sagemaker.pack(forest, path)
    return path


@pytest.fixture(scope="module")
def url(model, serving):
    with serving(model) as (url, _):
        yield url


def test_ping(url):
    with urllib.request.urlopen(f"{url}/ping", timeout=10) as answer:
        assert (answer.status, answer.read()) == (200, b"")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("n", [1, 300])
def test_every_type_of_request_and_answer(url, forest, kind, n):
    expected = np.round(forest.anomaly_score(X[:n]), 10).tolist()
    shapes = {
        "application/json": json.dumps({"scores": [{"score": s} for s in expected]}, separators=(",", ":")).encode(),
        "application/jsonlines": "\n".join(f'{{"score":{s!r}}}' for s in expected).encode(),
        "application/x-recordio-protobuf": recordio.write_scores(forest.anomaly_score(X[:n])),
    }
    assert tuple(shapes) == formats.OUTPUTS
    for accept, shape in shapes.items():
        status, headers, content = post(url, body_of(X[:n], kind), kind, accept)
        assert (status, headers["Content-Type"], content) == (200, accept, shape)
    for accept in (None, "*/*", "application/*", "text/html, */*;q=0.5"):
        status, headers, content = post(url, body_of(X[:n], kind), kind, accept)
        assert (status, headers["Content-Type"], content) == (200, "application/json", shapes["application/json"])
    _, headers, _ = post(url, body_of(X[:n], kind), kind, "application/json;q=0.5, application/jsonlines")
    assert headers["Content-Type"] == "application/jsonlines"


def test_the_default_accept_can_be_set(forest, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "application/jsonlines")
    for accept in (None, "*/*"):
        assert rcf.sagemaker.answer(forest, b"1,2,3", "text/csv", accept)[1] == "application/jsonlines"
    assert rcf.sagemaker.answer(forest, b"1,2,3", "text/csv", "application/json")[1] == "application/json"


@pytest.mark.parametrize(
    ("body", "kind", "accept", "status", "message"),
    [
        (b"1,2,3", None, None, 415, "there is no Content-Type; send text/csv, application/json, "),
        (b"1,2,3", "text/plain", None, 415, "the Content-Type 'text/plain' is not supported; send text/csv"),
        (b"1,2,3", "text/csv", "text/csv", 406, "the Accept 'text/csv' is not supported; take application/json"),
        (b"1,2,3", "text/csv", "application/json;q=0", 406, "the Accept"),
        (b"", "text/csv", None, 400, "there are no rows"),
        (b"\n", "text/csv", None, 400, "there are no rows"),
        (b'{"instances":[]}', "application/json", None, 400, "there are no rows"),
        (b"", "application/json", None, 400, "the body is not JSON"),
        (b"1,2,3\n1,2", "text/csv", None, 400, "row 2: 2 cells, expected 3 features"),
        (b"1,2,3\n1,2,inf", "text/csv", None, 400, "row 2, column 3: 'inf' is not a finite number"),
        (b"1,2,3", "text/csv;label_size=2", None, 400, "label_size must be 0 or 1, got '2'"),
        (b"1,2,3", "application/x-recordio-protobuf", None, 400, "frame 1: it ends after 5 of the 8 bytes"),
        (b"1,2,3\n" * 2000 + b"1,2,a", "text/csv", None, 400, "row 2001, column 3: 'a' is not a finite number"),
        (b'{"features":[1,2,3]}\n{"features":[1,2]}', "application/jsonlines", None, 400, "line 2: it has 2 features"),
        (
            b'{"instances":[{"features":[1,2,1e999]}]}',
            "application/json",
            None,
            400,
            "the body is not JSON: number is inf",
        ),
    ],
)
def test_refusals(url, body, kind, accept, status, message):
    found, headers, text = post(url, body, kind, accept)
    assert (found, headers["Content-Type"]) == (status, "text/plain; charset=utf-8")
    assert text.decode().startswith(message)


def test_other_paths_and_methods(url):
    for path, method, status in (("/", "GET", 404), ("/invocations", "GET", 405), ("/ping", "POST", 405)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url + path, method=method), timeout=10)
        caught.value.close()
        assert caught.value.code == status


LONG = b",".join(b"%s%s" % (number, b"0" * 500) for number in (b"1.25", b"2.5", b"3.125")) + b"\n"  # a row of 1.5 kB


def test_a_client_that_leaves(forest, served, caplog):
    """It is not an error of the endpoint if a client leaves: nothing is logged, and the next request is answered."""
    with served(rcf.sagemaker.application(forest)) as url:
        # this logger passes no messages to the root logger
        logging.getLogger("uvicorn.error").addHandler(caplog.handler)
        host, port = url.removeprefix("http://").split(":")
        for path in ("/invocations", "/endpoints/rcf/invocations"):
            with socket.create_connection((host, int(port))) as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n\r\n1,2,3"
                connection.sendall(head.encode())
                time.sleep(0.1)
        assert post(url, b"1,2,3", "text/csv")[0] == 200
        logging.getLogger("uvicorn.error").removeHandler(caplog.handler)
    assert not caplog.records


def test_a_body_without_end_is_refused_in_time(url):
    """The request is refused when the limit is exceeded, not at the end of the body."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = "POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(7):
            connection.sendall(b"100000\r\n" + b"1" * 2**20 + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_bodies_over_six_megabytes_are_refused(url, forest):
    """The limit is exactly that of InvokeEndpoint. Longer bodies are refused, and the connection and the server continue."""
    body = LONG * (6_291_456 // len(LONG))
    body += b"\n" * (6_291_456 - len(body))
    status, _, content = post(url, body, "text/csv")
    expected = round(float(forest.anomaly_score([[1.25, 2.5, 3.125]])[0]), 10)
    assert status == 200
    scores = json.loads(content)["scores"]
    assert len(scores) == 6_291_456 // len(LONG)
    assert {s["score"] for s in scores} == {expected}
    chunked = (part for source in ([body], [b"1,2,3\n"]) for part in source)  # no Content-Length
    for longer in (body + b"\n", chunked):
        try:
            status, _, text = post(url, longer, "text/csv")
        except (BrokenPipeError, ConnectionResetError):  # the body is refused while the client is sending
            continue
        assert (status, text.decode()) == (413, "the body has more than 6291456 bytes; send fewer rows at a time")
    assert post(url, b"1,2,3", "text/csv")[0] == 200


def test_ping_is_answered_while_a_large_body_is_scored(url):
    """With one worker, a ping that is sent on another connection after a request must not wait for that request."""
    body = body_of(np.random.default_rng(0).normal(size=(30_000, 3)), "text/csv")
    order = []
    with concurrent.futures.ThreadPoolExecutor() as pool:

        def large():
            assert post(url, body, "text/csv")[0] == 200
            order.append("large")

        future = pool.submit(large)
        while not future.done():
            with urllib.request.urlopen(f"{url}/ping", timeout=10) as answer:
                assert answer.status == 200
            order.append("ping")
        future.result()
    assert order.index("large") >= 5


def test_many_clients_at_once(url, forest):
    expected = np.round(forest.anomaly_score(X), 10)

    def ask(i):
        status, _, content = post(url, body_of(X[i : i + 1], TYPES[i % 4]), TYPES[i % 4])
        return status, json.loads(content)["scores"][0]["score"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(len(X))))
    assert found == [(200, score) for score in expected.tolist()]


def test_execution_parameters(forest, served, monkeypatch):
    def asked(at):
        with urllib.request.urlopen(f"{at}/execution-parameters", timeout=30) as answer:
            return json.load(answer)

    with served(rcf.sagemaker.application(forest)) as url:
        monkeypatch.setenv("MODEL_SERVER_WORKERS", "3")
        assert asked(url) == {"MaxConcurrentTransforms": 3, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6}
        monkeypatch.setenv("SAGEMAKER_BATCH", "true")
        monkeypatch.setenv("SAGEMAKER_MAX_PAYLOAD_IN_MB", "50")
        assert asked(url) == {"MaxConcurrentTransforms": 2, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 50}
        body = LONG * 5000  # 7.6 MB
        # there are as many lines as in the input, whether or not the last one has a line end
        for text in (body, body.rstrip()):
            status, _, content = post(url, text, "text/csv", "application/jsonlines")
            assert (status, content.count(b"\n")) == (200, 4999)
        monkeypatch.setenv("SAGEMAKER_MAX_PAYLOAD_IN_MB", "1")
        assert post(url, body, "text/csv")[0] == 413
        monkeypatch.setenv("SAGEMAKER_MAX_PAYLOAD_IN_MB", "0")
        status, _, content = post(url, iter([body] * 2), "text/csv", "application/jsonlines")
        assert (status, content.count(b"\n")) == (200, 9999)


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_drains(model, serving, workers):
    """An accepted request is answered, later ones are not, and the exit code is 0."""
    body = LONG * (6_000_000 // len(LONG))
    with serving(model, MODEL_SERVER_WORKERS=workers) as (url, process):
        host, port = url.removeprefix("http://").split(":")
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
            connection.connect((host, int(port)))
            head = f"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: text/csv\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body[:-1000])  # the write ends when the server has read most of it
            process.send_signal(signal.SIGTERM)
            with pytest.raises(OSError, match=r"refused|reset|timed out|closed"):  # noqa: PT012
                deadline = time.monotonic() + 60
                while time.monotonic() < deadline:
                    urllib.request.urlopen(f"{url}/ping", timeout=5).close()
            connection.sendall(body[-1000:])
            answer = b"".join(iter(lambda: connection.recv(2**20), b""))
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert len(json.loads(content)["scores"]) == 6_000_000 // len(LONG)
        assert process.wait(timeout=60) == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_sigterm_while_it_starts(tmp_path, command):
    """The signal handler is installed before the model is read. Here reading never ends, because the model is a pipe."""
    os.mkfifo(tmp_path / "model.rcf")
    process = command("serve", "--model", tmp_path / "model.rcf")
    with (tmp_path / "model.rcf").open("wb"):  # the pipe opens when the model is read
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=100) == 0
    process.communicate()


def test_without_a_model(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--model", str(tmp_path)])
    assert caught.value.code == 1
    assert "rcf-sagemaker serve: no model in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MODEL_SERVER_WORKERS", "0", "MODEL_SERVER_WORKERS must be a whole number from 1, got '0'"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "101", "SAGEMAKER_MAX_PAYLOAD_IN_MB must be a whole number from 0 to 100"),
        ("SAGEMAKER_BIND_TO_PORT", "x", "SAGEMAKER_BIND_TO_PORT must be a port, got 'x'"),
        ("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/csv", "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT must be one of"),
    ],
)
def test_settings_that_are_refused(model, capsys, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--model", str(model)])
    assert caught.value.code == 1
    assert message in capsys.readouterr().err


def test_boto3(url, forest):
    boto3 = pytest.importorskip("boto3")
    from botocore.config import Config

    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"max_attempts": 1}),
    )
    expected = np.round(forest.anomaly_score(X), 10).tolist()
    for kind in TYPES:
        answer = client.invoke_endpoint(
            EndpointName="rcf", Body=body_of(X, kind), ContentType=kind, Accept="application/json"
        )
        assert answer["ContentType"] == "application/json"
        assert [d["score"] for d in json.loads(answer["Body"].read())["scores"]] == expected
    answer = client.invoke_endpoint(EndpointName="rcf", Body=body_of(X, "text/csv"), ContentType="text/csv")
    assert len(json.load(answer["Body"])["scores"]) == 300
    for body, kind, accept, status, message in (
        (b"1,2,3", "text/plain", "application/json", 415, "the Content-Type 'text/plain' is not supported"),
        (b"1,2,3", "text/csv", "image/png", 406, "the Accept 'image/png' is not supported"),
        (b"1,2,3\n1,2", "text/csv", "application/json", 400, "row 2: 2 cells, expected 3 features"),
    ):
        with pytest.raises(client.exceptions.ModelError) as caught:
            client.invoke_endpoint(EndpointName="rcf", Body=body, ContentType=kind, Accept=accept)
        assert caught.value.response["OriginalStatusCode"] == status
        assert caught.value.response["OriginalMessage"].startswith(message)
        assert message in str(caught.value)
    client.close()
