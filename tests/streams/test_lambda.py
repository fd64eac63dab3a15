"""The handlers for AWS Lambda, called with events in the form that AWS documents."""

import base64
import json

import numpy as np
import pytest

from rcf import RandomCutForest, StreamDetector
from rcf.streams import aws_lambda

X = np.random.default_rng(0).normal(size=(600, 2))
GOOD = [{"id": "a", "x": 0.0, "y": 0.1}, {"id": "b", "x": 12.0, "y": -9.0}, {"id": "c", "x": 0.5, "y": -0.5}]


@pytest.fixture
def forest(tmp_path, monkeypatch):
    import pandas as pd

    found = RandomCutForest(20, random_state=0).fit(pd.DataFrame(X, columns=["x", "y"]))
    found.save(tmp_path / "model.rcf")
    monkeypatch.setenv("RCF_MODEL", str(tmp_path / "model.rcf"))
    for name in ("RCF_COLUMNS", "RCF_FORMAT", "RCF_THRESHOLD", "RCF_OUTPUT", "RCF_EXPLANATION", "RCF_OUTPUT_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    aws_lambda._forest.cache_clear()
    aws_lambda._client.cache_clear()
    return found


def expected(forest):
    import pandas as pd

    frame = pd.DataFrame(GOOD)[["x", "y"]]
    return forest.anomaly_score(frame).tolist(), (forest.predict(frame) < 0).tolist()


def encoded(record):
    data = record if isinstance(record, bytes) else json.dumps(record).encode()
    return base64.b64encode(data).decode()


def kinesis_event(records):
    """https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html"""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "1",
                    "sequenceNumber": f"4959033827149025660855969253836157109592157598913659844{i}",
                    "data": encoded(record),
                    "approximateArrivalTimestamp": 1545084650.987,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"shardId-000000000006:4959033827149025660855969253836157109592157598913659844{i}",
                "eventName": "aws:kinesis:record",
                "awsRegion": "us-east-2",
                "eventSourceARN": "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
            }
            for i, record in enumerate(records)
        ]
    }


def firehose_event(records):
    """https://docs.aws.amazon.com/firehose/latest/dev/data-transformation.html"""
    return {
        "invocationId": "invocationIdExample",
        "deliveryStreamArn": "arn:aws:kinesis:EXAMPLE",
        "region": "us-east-1",
        "records": [
            {"recordId": f"4954{i}", "approximateArrivalTimestamp": 1495072949453, "data": encoded(record)}
            for i, record in enumerate(records)
        ],
    }


def test_a_firehose_transformation_answers_each_record(forest):
    answer = aws_lambda.transform(firehose_event([GOOD[0], {"x": 1}, GOOD[1], b"\xff", GOOD[2]]), None)
    assert [record["recordId"] for record in answer["records"]] == ["49540", "49541", "49542", "49543", "49544"]
    results = [record["result"] for record in answer["records"]]
    assert results == ["Ok", "ProcessingFailed", "Ok", "ProcessingFailed", "Ok"]
    data = [base64.b64decode(record["data"]) for record in answer["records"]]
    assert data[1] == b'{"x": 1}'
    assert data[0].endswith(b"}\n")
    rows = [json.loads(data[i]) for i in (0, 2, 4)]
    scores, flags = expected(forest)
    assert [row["ANOMALY_SCORE"] for row in rows] == scores
    assert [row["IS_ANOMALY"] for row in rows] == flags == [False, True, False]
    assert [row["id"] for row in rows] == ["a", "b", "c"]


def test_a_kinesis_event_without_faults(forest):
    assert aws_lambda.kinesis(kinesis_event(GOOD), None) == {"batchItemFailures": []}


def test_a_kinesis_event_stops_at_the_first_bad_record(forest, aws, monkeypatch):
    """The records before the bad one are written; the records after it are left for the next call."""
    from accounts import Service

    service = Service(aws)
    monkeypatch.setenv("RCF_OUTPUT", "out")
    event = kinesis_event([GOOD[0], GOOD[1], {"x": "?"}, GOOD[2], {"y": 0}])
    answer = aws_lambda.kinesis(event, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": event["Records"][2]["kinesis"]["sequenceNumber"]}]}
    rows = service.written()
    scores, flags = expected(forest)
    assert [(row["id"], row["ANOMALY_SCORE"], row["IS_ANOMALY"]) for row in rows] == list(
        zip("ab", scores[:2], flags[:2], strict=True)
    )


def test_an_object_event_labels_its_lines(forest, aws, monkeypatch):
    from accounts import Service

    service = Service(aws)
    bucket = {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}
    service.s3.create_bucket(Bucket="records", **bucket)
    lines = [json.dumps(record) for record in GOOD]
    body = "\n".join([lines[0], "{", *lines[1:], ""])
    service.s3.put_object(Bucket="records", Key="day 1/a+b.jsonl", Body=body)
    entries = [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "records"}, "object": {"key": "day+1/a%2Bb.jsonl"}}}]
    answer = aws_lambda.s3({"Records": entries}, None)
    name = "labelled/day 1/a+b.jsonl"
    assert answer == {"objects": [{"object": f"s3://records/{name}", "records": 3, "anomalies": 1, "rejected": 1}]}

    def lines_of(key):
        return list(map(json.loads, service.s3.get_object(Bucket="records", Key=key)["Body"].read().splitlines()))

    assert [row["ANOMALY_SCORE"] for row in lines_of(name)] == expected(forest)[0]
    (letter,) = lines_of(f"{name}.rejected")
    assert (letter["line"], letter["data"]) == (2, "{")
    again = [{"s3": {"bucket": {"name": "records"}, "object": {"key": "labelled/day+1/a%2Bb.jsonl"}}}]
    assert aws_lambda.s3({"Records": again}, None) == {"objects": []}


def test_the_model_may_be_in_s3(forest, aws, monkeypatch):
    from accounts import Service

    service = Service(aws)
    service.s3.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    service.s3.put_object(Bucket="models", Key="a/forest.rcf", Body=forest.to_bytes())
    monkeypatch.setenv("RCF_MODEL", "s3://models/a/forest.rcf")
    answer = aws_lambda.transform(firehose_event(GOOD), None)
    assert [record["result"] for record in answer["records"]] == ["Ok"] * 3


def test_settings_of_the_environment(forest, monkeypatch):
    monkeypatch.setenv("RCF_THRESHOLD", "0.5")
    monkeypatch.setenv("RCF_EXPLANATION", "1")
    monkeypatch.setenv("RCF_FORMAT", "csv")
    monkeypatch.setenv("RCF_NAMES", "id,x,y")
    answer = aws_lambda.transform(firehose_event([b"a,0.0,0.1\n", b"b,12.0,-9.0\n"]), None)
    fields = [base64.b64decode(record["data"]).decode() for record in answer["records"]]
    scores, _ = expected(forest)
    assert fields[0].startswith(f"a,0.0,0.1,{scores[0]},True,")
    assert '""DIRECTION"":""HIGH""' in fields[1]


def test_an_invalid_model_is_an_error(tmp_path, monkeypatch):
    aws_lambda._forest.cache_clear()
    monkeypatch.delenv("RCF_MODEL", raising=False)
    with pytest.raises(KeyError, match="RCF_MODEL is not set"):
        aws_lambda.transform(firehose_event(GOOD), None)
    StreamDetector(random_state=0).save(tmp_path / "detector.rcf")
    monkeypatch.setenv("RCF_MODEL", str(tmp_path / "detector.rcf"))
    with pytest.raises(TypeError, match="holds a StreamDetector; a function needs a RandomCutForest"):
        aws_lambda.transform(firehose_event(GOOD), None)
