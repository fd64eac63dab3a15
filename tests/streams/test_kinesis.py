"""The worker on Kinesis, Firehose, DynamoDB and S3, with boto3 and moto's server."""

import itertools
import json
import subprocess
import time

import numpy as np
import pytest

boto3 = pytest.importorskip("boto3", reason="needs rcf[kinesis]")
pytest.importorskip("moto.server", reason='needs "moto[server]"')
pytest.importorskip("typer", reason="the command line needs rcf[cli]")

from accounts import PARAMS, Service  # noqa: E402
from servers import WORKER, killed_at_random, parameters, waves  # noqa: E402

from rcf import KeyedDetector, RandomCutForest, StreamDetector  # noqa: E402
from rcf.streams import Message, Record, Rejected, Schema, StreamError  # noqa: E402
from rcf.streams.kinesis import FirehoseSink, KinesisSink, KinesisSource  # noqa: E402

_, FLAGS = parameters()


@pytest.fixture
def service(aws):
    return Service(aws)


def run_until(group, condition):
    """Run the group until the condition holds; it is tested between batches."""
    real = group._stop.is_set
    group._stop.is_set = lambda: real() or condition()
    group.run()


def loads(values, key="a"):
    return [{"k": key, "n": i, "load": value} for i, value in enumerate(values)]


def once(rows):
    """The rows without repetitions; repeated rows must be equal."""
    found = {}
    for row in rows:
        assert found.setdefault((row["SHARD"], row.get("AT") or row["SEQUENCE_NUMBER"]), row) == row
    return list(found.values())


def undisturbed(values, **params):
    return StreamDetector(**{**PARAMS, **params}).update_many(np.array(values)).score.tolist()


@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_instants(service, times):
    """Each record is written at least once, and repeated records are equal, bit for bit."""
    n = 400 * times
    values = waves(n)
    service.put(loads(values))
    command = [*WORKER, "kinesis", "in", "--output", "out", "-c", "load", *FLAGS, "--set", "worker.batch=20",
               "--set", "worker.checkpoint_every=0.2"]  # fmt: skip
    killed_at_random(command, service.count, n, times, np.random.default_rng(times), step=0.05)
    rows = service.written()
    unique = sorted(once(rows), key=lambda row: row["n"])
    assert [row["n"] for row in unique] == list(range(n))
    assert [row["ANOMALY_SCORE"] for row in unique] == undisturbed(values)
    assert {"k", "n", "load", "ANOMALY_SCORE", "IS_ANOMALY", "SHARD", "SEQUENCE_NUMBER"} == set(rows[0])


def test_a_split_shard_passes_its_model_to_its_children(service):
    """The parent is read to its end first, so the scores of each key are those of one detector over the whole stream."""
    keys = [f"machine {i}" for i in range(6)]
    values = {key: waves(150, i) for i, key in enumerate(keys)}
    rows = [[{"k": key, "n": i, "load": values[key][i]} for key in keys] for i in range(150)]
    keyed = Schema(["load"], key="k")
    (first,) = service.shards()
    service.put(itertools.chain(*rows[:50]))
    service.split(first)
    service.put(itertools.chain(*rows[50:100]))
    group = service.group(lambda: KeyedDetector(StreamDetector(**PARAMS)), schema=keyed)
    run_until(group, lambda: service.count() >= 600 and len(group.workers) == 2)
    children = [shard for shard in service.shards() if shard != first]
    assert len(children) == 2
    assert service.store().peek(first).finished
    # then the children are merged, and the group is restarted
    service.kinesis.merge_shards(StreamName="in", ShardToMerge=children[0], AdjacentShardToMerge=children[1])
    service.put(itertools.chain(*rows[100:]))
    group = service.group(lambda: KeyedDetector(StreamDetector(**PARAMS)), schema=keyed)
    run_until(group, lambda: service.count() >= 900)
    found = service.written()
    assert len(found) == 900
    assert len({row["SHARD"] for row in found}) == 4
    for key in keys:
        mine = sorted((row for row in found if row["k"] == key), key=lambda row: row["n"])
        assert [row["S"] for row in mine] == undisturbed(values[key])


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_while_shards_are_split(service, times):
    """There is one detector without keys, and each child continues with the detector of the parent."""
    n = 200 * (times + 1)
    values = waves(n)
    (first,) = service.shards()
    service.put(loads(values[: n // 2]))
    service.split(first)
    service.put(loads(values[: n // 2], "a"))  # all records have one key, so one child has them all
    command = [*WORKER, "kinesis", "in", "--output", "out", "-c", "load", *FLAGS, "--set", "worker.batch=20",
               "--set", "worker.checkpoint_every=0.2", "--set", "kinesis.discover_every=0.1"]  # fmt: skip
    killed_at_random(command, service.count, n, times, np.random.default_rng(times), step=0.05)
    rows = sorted(once(service.written()), key=lambda row: (row["SHARD"], row["n"]))
    assert [row["n"] for row in rows] == 2 * list(range(n // 2))
    assert len({row["SHARD"] for row in rows}) == 2
    assert [row["ANOMALY_SCORE"] for row in rows] == undisturbed(2 * values[: n // 2])


def test_a_crash_does_not_move_the_start_latest(service):
    """If a worker dies before its first checkpoint with a position, the next worker still begins at the same place."""
    values = waves(120)
    service.put(loads([0.5] * 7))
    time.sleep(1.1)  # the start is a time stamp in whole seconds
    first = service.group(start="LATEST", checkpoint_every=3600, batch=20)
    first._discover()
    service.put(loads(values[:60]))
    for _ in range(20):  # these records are read and written, but are not in a checkpoint
        first.workers[0].step(0.0)
    assert 0 < first.workers[0].records < 120
    service.put(loads(values)[60:])
    time.sleep(1.1)
    run_until(service.group(start="LATEST"), lambda: service.count() >= 120)
    rows = sorted(once(service.written()), key=lambda row: row["n"])
    assert [row["load"] for row in rows] == values
    assert [row["S"] for row in rows] == undisturbed(values)


def test_start_latest_with_shards_of_a_split(service):
    """Children of an old split begin where the parent began. Those of a later split lose no record, whenever the worker is
    restarted.
    """
    (parent,) = service.shards()
    service.put(loads([0.5] * 5))
    service.split(parent)
    service.put(loads([0.5] * 5))
    time.sleep(1.1)
    first = service.group(start="LATEST")
    first._discover()
    (worker,) = first.workers
    while worker.step(0.0):
        pass
    worker.checkpoint(finished=True)  # here the worker dies, before the children are read
    values = waves(80)
    service.put(loads(values))
    time.sleep(1.1)
    run_until(service.group(start="LATEST"), lambda: service.count() >= 80)
    rows = sorted(service.written(), key=lambda row: row["n"])
    assert [row["load"] for row in rows] == values
    assert parent not in {row["SHARD"] for row in rows}


def test_a_child_takes_the_model_of_an_expired_parent(service):
    """The service no longer lists a shard whose records have all expired."""
    (parent,) = service.shards()
    values = waves(100)
    service.put(loads(values[:60]))
    run_until(service.group(), lambda: service.count() >= 60)
    service.split(parent)
    service.put(loads(values)[60:])
    group = service.group()
    listed = group._listed
    group._listed = lambda: {name: shard for name, shard in listed().items() if name != parent}
    run_until(group, lambda: service.count() >= 100)
    assert [row["S"] for row in sorted(service.written(), key=lambda row: row["n"])] == undisturbed(values)


def test_large_models_are_stored_in_s3_and_old_ones_are_removed(service):
    service.s3.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    values = waves(300)
    service.put(loads(values))
    large = {**PARAMS, "n_estimators": 100, "max_samples": 256, "shingle_size": 8}

    def group():
        store = service.store(s3=service.s3, bucket="models")
        return service.group(lambda: StreamDetector(**large), store=store, batch=100)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rcf.streams.dynamo.LARGEST", 50_000)
        run_until(group(), lambda: service.count() >= 100)
        run_until(group(), lambda: service.count() >= 300)
    assert sorted(row["S"] for row in service.written()) == sorted(undisturbed(values, **large))
    item = service.dynamo.scan(TableName="rcf")["Items"][0]
    objects = service.s3.list_objects_v2(Bucket="models")["Contents"]
    assert [found["Key"] for found in objects] == [item["object"]["S"]]
    assert "checkpoint" not in item
    assert json.loads(item["position"]["S"]) in item["object"]["S"]


def test_a_large_model_without_a_bucket_is_an_error(service, monkeypatch):
    monkeypatch.setattr("rcf.streams.dynamo.LARGEST", 100)
    with pytest.raises(StreamError, match="bytes, too many for DynamoDB: set a bucket"):
        service.group().run()


def test_a_second_worker_takes_over_and_the_first_can_no_longer_save(service):
    service.put(loads(waves(50)))
    first = service.group()
    first._discover()
    first.workers[0].step()
    second = service.group()
    second._discover()
    service.put(loads(waves(10)))
    with pytest.raises(StreamError, match="another worker has taken over shardId"):
        first.workers[0].step()
    assert second.workers[0].records == 50


def test_only_refused_records_are_sent_again():
    class Refusing:
        """A client that refuses every third record once."""

        def __init__(self):
            self.taken, self.calls, self.refused = [], [], set()

        def put_records(self, StreamName, Records):
            self.calls.append(len(Records))
            answers = []
            for i, record in enumerate(Records):
                if i % 3 == 2 and record["Data"] not in self.refused:
                    self.refused.add(record["Data"])
                    answers.append({"ErrorCode": "ProvisionedThroughputExceededException"})
                else:
                    self.taken.append(record["Data"])
                    answers.append({"SequenceNumber": "1"})
            failed = sum("ErrorCode" in answer for answer in answers)
            return {"FailedRecordCount": failed, "Records": answers}

        def put_record_batch(self, DeliveryStreamName, Records):
            found = self.put_records("", Records)
            return {"FailedPutCount": found["FailedRecordCount"], "RequestResponses": found["Records"]}

    records = [Record(Message(b"", i, "k"), {"i": i}) for i in range(1200)]
    for kind in (KinesisSink, FirehoseSink):
        client = Refusing()
        kind(client, "out").write(records)
        assert sorted(client.taken, key=lambda data: json.loads(data)["i"]) == [b'{"i":%d}\n' % i for i in range(1200)]
        assert client.calls[:2] == [500, 166]


def test_a_service_that_keeps_refusing_ends_the_worker(monkeypatch):
    class Refusing:
        def put_records(self, StreamName, Records):
            return {"FailedRecordCount": len(Records), "Records": [{"ErrorCode": "InternalFailure"}] * len(Records)}

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(StreamError, match="the stream out refused 2 records 10 times"):
        KinesisSink(Refusing(), "out").write([Record(Message(b"", i), {}) for i in range(2)])


def test_batches_respect_the_size_limit_of_requests():
    sizes = []

    class Client:
        def put_records(self, StreamName, Records):
            sizes.append(sum(len(record["Data"]) + len(record["PartitionKey"]) for record in Records))
            return {"FailedRecordCount": 0, "Records": []}

    records = [Record(Message(b"", i, "k"), {"text": "x" * 900_000}) for i in range(12)]
    large = Record(Message(b"", 99, "k"), {"text": "x" * (1 << 20)})
    (rejected,) = KinesisSink(Client(), "out").write([*records, large])
    assert len(sizes) == 3
    assert max(sizes) <= 5 << 20
    assert isinstance(rejected, Rejected)
    assert "the stream out takes 1048576" in rejected.reason


def test_the_largest_invalid_record_fits_into_a_dead_letter():
    sizes = []

    class Client:
        def put_records(self, StreamName, Records):
            sizes.extend(len(record["Data"]) + len(record["PartitionKey"]) for record in Records)
            return {"FailedRecordCount": 0, "Records": []}

    messages = [Message(byte * 1_048_000, 5, "k" * 256) for byte in (b"x", b"\xff", b"\x00")]
    KinesisSink(Client(), "dead").reject([Rejected(message, "not JSON") for message in messages])
    assert len(sizes) == 3
    assert 100_000 < min(sizes) <= max(sizes) <= 1 << 20


def test_an_iterator_that_has_expired_is_renewed(service):
    service.put(loads([1.0, 2.0, 3.0]))
    source = KinesisSource(service.kinesis, "in", service.shards()[0])
    source.seek(None)
    assert len(source.read(2, 0.0)) == 2

    class Expired(Exception):
        pass

    class Once:
        def __init__(self):
            self.exceptions = type(
                "", (), {"ExpiredIteratorException": Expired, "ProvisionedThroughputExceededException": Expired}
            )
            self.calls = 0

        def get_records(self, **kwargs):
            self.calls += 1
            if self.calls == 1:
                raise Expired
            return service.kinesis.get_records(**kwargs)

        def get_shard_iterator(self, **kwargs):
            return service.kinesis.get_shard_iterator(**kwargs)

    source._client = Once()
    assert source.read(10, 0.0) == []
    assert [json.loads(message.data)["load"] for message in source.read(10, 0.0)] == [3.0]
    assert source.lag() == 0.0


def test_firehose_delivers_to_s3(service):
    service.s3.create_bucket(Bucket="labelled", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    service.firehose.create_delivery_stream(
        DeliveryStreamName="deliver",
        ExtendedS3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::123456789012:role/r",
            "BucketARN": "arn:aws:s3:::labelled",
        },
    )
    values = waves(200)
    service.put(loads(values))
    seen = []
    sink = FirehoseSink(service.firehose, "deliver")
    write, sink.write = sink.write, lambda records: (write(records), seen.extend(records))[0]
    run_until(service.group(sink=sink), lambda: len(seen) >= 200)
    keys = [found["Key"] for found in service.s3.list_objects_v2(Bucket="labelled")["Contents"]]
    text = b"".join(service.s3.get_object(Bucket="labelled", Key=key)["Body"].read() for key in keys)
    rows = sorted(map(json.loads, text.splitlines()), key=lambda row: row["n"])
    assert [row["S"] for row in rows] == undisturbed(values)


def test_a_forest_works_like_the_function_of_kinesis(service):
    """Scores are 0 while the forest learns, and then those of the forest. Every record has an explanation."""
    rng = np.random.default_rng(0)
    X = rng.integers(60, 120, size=(150, 2)).tolist()
    X[140] = 200, 150
    service.put([{"Systolic": a, "Diastolic": b, "BloodPressureLevel": "NORMAL", "k": "k"} for a, b in X])
    command = [*WORKER, "kinesis", "in", "--output", "out", "-c", "Systolic,Diastolic", "--set", "model.kind=forest",
               "--set", "model.n_estimators=20", "--set", "model.max_samples=64", "--set", "model.time_decay=1e-5",
               "--set", "output.score=ANOMALY_SCORE", "--set", "output.explanation=ANOMALY_EXPLANATION",
               "--set", "output.partition=SHARD", "--set", "output.position=AT"]  # fmt: skip
    run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        from servers import wait_until

        wait_until(lambda: service.count() >= 150)
    finally:
        run.terminate()
        assert run.wait(20) == 0
    rows = service.written()
    forest = RandomCutForest(20, 64, time_decay=1e-5, random_state=0)
    assert [row["ANOMALY_SCORE"] for row in rows] == [float(forest.update(x)) for x in np.array(X, dtype=float)]
    assert all(row["ANOMALY_SCORE"] == 0 for row in rows[:64])
    worst = max(rows, key=lambda row: row["ANOMALY_SCORE"])
    assert worst["Systolic"] == 200
    told = json.loads(worst["ANOMALY_EXPLANATION"])
    assert told["Systolic"]["DIRECTION"] == told["Diastolic"]["DIRECTION"] == "HIGH"


def test_invalid_records_go_to_the_stream_of_dead_letters(service):
    service.kinesis.create_stream(StreamName="dead", ShardCount=1)
    values = waves(100)
    service.put(loads(values[:50]))
    service.kinesis.put_record(StreamName="in", Data=b"\xff", PartitionKey="a")
    service.put(loads(values[50:]))
    group = service.group(dead_letters=KinesisSink(service.kinesis, "dead"))
    run_until(group, lambda: service.count() >= 100)
    (letter,) = service.written("dead")
    assert letter["reason"].startswith("not UTF-8")
    assert letter["position"].isdigit()
    assert [row["S"] for row in service.written()] == undisturbed(values)


def test_dry_run_lists_the_shards_and_writes_nothing(service):
    command = [*WORKER, "kinesis", "in", "--output", "out", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["reads"]
    assert found == [{"partition": service.shards()[0], "after": "TRIM_HORIZON", "records": 0, "finished": False}]
    assert service.dynamo.list_tables()["TableNames"] == []


def test_a_missing_stream_gives_one_line_of_error(service):
    done = subprocess.run([*WORKER, "kinesis", "nowhere", "--output", "out"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "nowhere" in json.loads(done.stderr.splitlines()[-1])["message"]
    assert "Traceback" not in done.stderr
