"""Handlers for AWS Lambda: Kinesis events, Firehose transformations, and objects in S3.

A Lambda function keeps no state between calls, so its model does not learn. The model is a fitted RandomCutForest, which is
loaded once, when the function starts.

Settings are environment variables:

``RCF_MODEL``
    The model file: a path, or ``s3://bucket/key``. Required.
``RCF_COLUMNS``
    Names of the fields to score, separated by commas. By default these are the feature names of the model. If it has none,
    they are the fields that hold numbers in the first record.
``RCF_FORMAT``
    ``json`` (default) or ``csv``. CSV without a header needs RCF_NAMES, the names of its columns separated by commas.
``RCF_THRESHOLD``
    A record with a higher score is an anomaly. Default: the threshold of the forest.
``RCF_EXPLANATION``
    ``1`` adds ANOMALY_EXPLANATION.
``RCF_OUTPUT``
    The Kinesis stream to which :func:`kinesis` writes the labelled records.
``RCF_OUTPUT_BUCKET``, ``RCF_OUTPUT_PREFIX``
    The place to which :func:`s3` writes the labelled objects. Default: the bucket of the object, and ``labelled/``.
"""

from __future__ import annotations

import base64
import logging
import os
from functools import cache
from typing import Any
from urllib.parse import unquote_plus

from ..estimator import RandomCutForest
from ..persist import load
from .codecs import Codec, Csv, Json, dead_letter
from .labeller import KINESIS, Labeller
from .records import Message
from .schema import Schema

log = logging.getLogger("rcf.streams")


@cache
def _client(service: str) -> Any:
    import boto3

    return boto3.client(service)


@cache
def _forest(name: str) -> RandomCutForest:
    if name.startswith("s3://"):
        bucket, _, key = name.removeprefix("s3://").partition("/")
        return RandomCutForest.from_bytes(_client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    found = load(name)
    if not isinstance(found, RandomCutForest):
        raise TypeError(f"RCF_MODEL {name} holds a {type(found).__name__}; a function needs a RandomCutForest")
    return found


def _names(variable: str) -> list[str] | None:
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()] or None


def labeller() -> Labeller:
    """A labeller with the model and the settings of the environment."""
    if "RCF_MODEL" not in os.environ:
        raise KeyError("the environment variable RCF_MODEL is not set: the model file, a path or s3://bucket/key")
    forest = _forest(os.environ["RCF_MODEL"])
    columns = _names("RCF_COLUMNS")
    if columns is None and hasattr(forest, "feature_names_in_"):
        columns = [str(name) for name in forest.feature_names_in_]
    names = _names("RCF_NAMES")
    codec: Codec = Json() if os.environ.get("RCF_FORMAT", "json") == "json" else Csv(names, header=names is None)
    output = dict(KINESIS)
    if os.environ.get("RCF_EXPLANATION") == "1":
        output["explanation"] = "ANOMALY_EXPLANATION"
    threshold = os.environ.get("RCF_THRESHOLD")
    return Labeller(
        forest,
        schema=Schema(columns),
        codec=codec,
        output=output,
        threshold=None if threshold is None else float(threshold),
        learn=False,
    )


def kinesis(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Label the records of a Kinesis event, and write them to the stream RCF_OUTPUT.

    Returns
    -------
    dict
        ``{"batchItemFailures": [...]}``. If a record cannot be used, the list holds the sequence number of the first such
        record, and the records before it are processed. Otherwise the list is empty. With ReportBatchItemFailures, Lambda
        repeats the call from that record on. Set the number of retries and a destination for failures; otherwise the shard
        stops at this record.
    """
    label = labeller()
    messages = [
        Message(base64.b64decode(r["kinesis"]["data"]), r["kinesis"]["sequenceNumber"], r["kinesis"]["partitionKey"])
        for r in event["Records"]
    ]
    records, rejected = label.label(messages)
    failures = []
    if rejected:
        first = min(rejected, key=lambda one: messages.index(one.message)).message
        for one in rejected:
            log.warning("%s is rejected: %s", one.message.place, one.reason)
        before = messages[: messages.index(first)]
        records = [record for record in records if record.message in before]
        failures = [{"itemIdentifier": str(first.position)}]
    output = os.environ.get("RCF_OUTPUT")
    if output and records:
        from .kinesis import KinesisSink

        for one in KinesisSink(_client("kinesis"), output, label.codec).write(records):
            log.warning("%s is not written: %s", one.message.place, one.reason)
    for record in records:
        if record.result["IS_ANOMALY"]:
            log.warning("anomaly: %s", label.codec.encode(record).decode().rstrip())
    return {"batchItemFailures": failures}


def transform(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Label the records of a Firehose stream. Use this handler as a Firehose data transformation.

    Returns
    -------
    dict
        ``{"records": [...]}``, with one entry for each recordId. Its result is ``Ok`` with the labelled record, or
        ``ProcessingFailed`` with the original record, which Firehose writes to its error prefix.
    """
    label = labeller()
    messages = [Message(base64.b64decode(record["data"]), record["recordId"]) for record in event["records"]]
    records, rejected = label.label(messages)
    done = {record.message.position: label.codec.encode(record) for record in records}
    for one in rejected:
        log.warning("%s is rejected: %s", one.message.place, one.reason)
    answers = []
    for message, record in zip(messages, event["records"], strict=True):
        data = done.get(message.position)
        answers.append(
            {
                "recordId": record["recordId"],
                "result": "ProcessingFailed" if data is None else "Ok",
                "data": record["data"] if data is None else base64.b64encode(data).decode(),
            }
        )
    return {"records": answers}


def s3(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Label the lines of the objects of an S3 event.

    The labelled lines are written to an object of the same name below RCF_OUTPUT_PREFIX. Lines that cannot be used are written
    with the reason to another object, whose name ends with ``.rejected``. Objects below the prefix are skipped, so that the
    function does not trigger itself.

    Returns
    -------
    dict
        For each object, its name and the numbers of records, anomalies and rejected lines.
    """
    client, done = _client("s3"), []
    prefix = os.environ.get("RCF_OUTPUT_PREFIX", "labelled/")
    for entry in event["Records"]:
        bucket, name = entry["s3"]["bucket"]["name"], unquote_plus(entry["s3"]["object"]["key"])
        target = os.environ.get("RCF_OUTPUT_BUCKET", bucket)
        if target == bucket and name.startswith(prefix):
            continue
        label = labeller()
        lines = client.get_object(Bucket=bucket, Key=name)["Body"].read().splitlines()
        messages = [Message(line, i, line=i) for i, line in enumerate(lines, 1) if line.strip()]
        records, rejected = label.label(messages)
        head = (
            [label.codec.header_of(records[0])]
            if isinstance(label.codec, Csv) and label.codec.header and records
            else []
        )
        client.put_object(Bucket=target, Key=prefix + name, Body=b"".join([*head, *map(label.codec.encode, records)]))
        if rejected:
            client.put_object(Bucket=target, Key=f"{prefix}{name}.rejected", Body=b"".join(map(dead_letter, rejected)))
        counts = {"records": label.records, "anomalies": label.anomalies, "rejected": label.rejected}
        done.append({"object": f"s3://{target}/{prefix}{name}", **counts})
    return {"objects": done}
