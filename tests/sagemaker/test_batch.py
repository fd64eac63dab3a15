"""Batch transform: input files are split and output files assembled as by the service."""

import json

import numpy as np
import pytest

for library in ("orjson", "pyarrow", "starlette", "uvicorn"):
    pytest.importorskip(library)

import rcf  # noqa: E402
import rcf.sagemaker  # noqa: E402
from rcf.sagemaker import recordio  # noqa: E402
from rcf.sagemaker.batch import transform  # noqa: E402
from rcf.sagemaker.command import main  # noqa: E402

X = np.random.default_rng(2).normal(size=(1000, 3))
CSV = "\n".join(",".join(map(repr, row)) for row in X.tolist()).encode()
LINES = "\n".join(json.dumps({"features": row}) for row in X.tolist()).encode()


@pytest.fixture(scope="module")
def forest():
    return rcf.RandomCutForest(50, random_state=0).fit(X)


@pytest.fixture
def model(forest, tmp_path):
    rcf.sagemaker.pack(forest, tmp_path / "model.tar.gz")
    return tmp_path / "model.tar.gz"


@pytest.fixture
def expected(forest):
    return [f'{{"score":{score!r}}}' for score in np.round(forest.anomaly_score(X), 10).tolist()]


def put(folder, **files):
    for name, data in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("strategy", ["MultiRecord", "SingleRecord"])
def test_one_line_of_output_for_each_line_of_input(tmp_path, model, expected, strategy, end):
    source = put(tmp_path / "in", a=CSV + end, b__c=CSV[: CSV.index(b"\n")])
    written = transform(model, source, tmp_path / "out", batch_strategy=strategy)
    assert written == [tmp_path / "out" / "a.out", tmp_path / "out" / "b" / "c.out"]
    assert written[0].read_text() == "\n".join(expected) + "\n"
    assert written[1].read_text() == expected[0] + "\n"
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["a.out", "b", "c.out"]


def test_every_type(tmp_path, model, forest, expected):
    document = json.dumps({"instances": [json.loads(line) for line in LINES.splitlines()]}).encode()
    for name, data, kind, split in (
        ("lines", LINES, "application/jsonlines", "Line"),
        ("document", document, "application/json", "None"),
        ("frames", recordio.write(X), "application/x-recordio-protobuf", "RecordIO"),
        ("table", CSV, "text/csv", "None"),
    ):
        source = put(tmp_path / name, data=data)
        (out,) = transform(model, source / "data", tmp_path / "out", content_type=kind, split_type=split)
        assert out.read_text().splitlines() == expected
    (out,) = transform(
        model, source / "data", tmp_path / "out", accept="application/x-recordio-protobuf", assemble_with="None"
    )
    assert out.read_bytes() == recordio.write_scores(forest.anomaly_score(X))


def test_requests_are_cut_to_the_limit(tmp_path, model, monkeypatch):
    """With JSON output there is one document per request, so their number shows the number of requests."""
    long = b",".join(b"%s%s" % (n, b"0" * 60_000) for n in (b"1.5", b"2.5", b"3.5")) + b"\n"
    source = put(tmp_path / "in", a=long * 13)
    for megabytes, requests in ((1, 3), (2, 2), (6, 1), (0, 1)):
        (out,) = transform(model, source, tmp_path / "out", accept="application/json", max_payload_in_mb=megabytes)
        answers = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(answers) == requests
        rows = [len(answer["scores"]) for answer in answers]
        assert sum(rows) == 13
        assert max(rows) == min(13, megabytes * 2**20 // len(long) or 13)
    put(source, a=long * 3 + b"1," * 2**19 + b"1")
    with pytest.raises(ValueError, match="a: record 4 has 1048577 bytes, more than the 1048576"):
        transform(model, source, tmp_path / "again", max_payload_in_mb=1, batch_strategy="SingleRecord")


def test_a_failure_leaves_no_file(tmp_path, model, capsys):
    source = put(tmp_path / "in", a=CSV, b=CSV + b"\n1,2", c=CSV)
    with pytest.raises(SystemExit) as caught:
        main(["batch", str(source), str(tmp_path / "out"), "--model", str(model)])
    assert caught.value.code == 1
    assert "b: row 1001: 2 cells, expected 3 features" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.out"]
    for arguments, message in (
        ({"split_type": "TFRecord"}, "no split_type 'TFRecord'"),
        ({"max_payload_in_mb": 101}, "max_payload_in_mb must be from 0 to 100, got 101"),
        ({"content_type": "text/plain"}, "a: the Content-Type 'text/plain' is not supported"),
        ({"accept": "text/csv"}, "a: the Accept 'text/csv' is not supported"),
    ):
        with pytest.raises(ValueError, match=message):
            transform(model, source, tmp_path / "out", **arguments)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there are no files in"):
        transform(model, tmp_path / "empty", tmp_path / "out")


def test_the_command(tmp_path, model, expected):
    source = put(tmp_path / "in", a=CSV)
    with pytest.raises(SystemExit) as caught:
        main(["batch", str(source / "a"), str(tmp_path / "out"), "--model", str(model), "--max-payload-in-mb", "1"])
    assert caught.value.code == 0
    assert (tmp_path / "out" / "a.out").read_text().splitlines() == expected
