"""The worker on Kafka, with confluent-kafka and a broker that can be installed from the package index."""

import itertools
import json
import subprocess

import numpy as np
import pytest

confluent_kafka = pytest.importorskip("confluent_kafka", reason="needs rcf[kafka]")
pytest.importorskip("typer", reason="the command line needs rcf[cli]")

from servers import WORKER, killed_at_random, parameters, waves  # noqa: E402

from rcf import KeyedDetector, StreamDetector  # noqa: E402
from rcf.streams import Checkpoint, Schema, StreamError, Worker  # noqa: E402
from rcf.streams.kafka import KafkaSource, KafkaTransaction, make_topics  # noqa: E402

PARAMS, FLAGS = parameters()
NUMBER = itertools.count()


class Topics:
    """New topics for each test, because a broker keeps what earlier tests wrote."""

    def __init__(self, address, partitions=1):
        self.config = {"bootstrap.servers": address, "log_level": 0}
        number = next(NUMBER)
        self.source, self.output, self.state = (f"{name}-{number}" for name in ("in", "out", "state"))
        topics = [(self.source, partitions), (self.output, 1), (f"{self.output}-rejected", 1)]
        make_topics(self.config, [confluent_kafka.admin.NewTopic(name, n) for name, n in topics])

    def put(self, records, partition=0):
        producer = confluent_kafka.Producer(self.config)
        for record in records:
            data = record if isinstance(record, bytes) else json.dumps(record).encode()
            producer.produce(self.source, data, key="a", partition=partition)
        assert producer.flush(30) == 0

    def written(self, topic=None):
        own = {"group.id": "test", "enable.partition.eof": True, "isolation.level": "read_committed"}
        consumer = confluent_kafka.Consumer({**self.config, **own})
        consumer.assign([confluent_kafka.TopicPartition(topic or self.output, 0, confluent_kafka.OFFSET_BEGINNING)])
        found = []
        try:
            while True:
                message = consumer.poll(10)
                assert message is not None
                if message.error():
                    assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
                    return found
                found.append(json.loads(message.value()))
        finally:
            consumer.close()

    def worker(self, model=None, schema=None, partition=0, **options):
        sink = KafkaTransaction(self.config, self.output, f"{self.source}-{partition}", state=self.state)
        source = KafkaSource(self.config, self.source, partition)
        return Worker(
            StreamDetector(**PARAMS) if model is None else model,
            source,
            sink,
            sink,
            schema=schema or Schema(["load"]),
            dead_letters=sink,
            **options,
        )


@pytest.fixture
def topics(kafka):
    return Topics(kafka)


@pytest.fixture(scope="module")
def hides_aborted(kafka):
    """Whether the broker hides the records of aborted transactions from readers of committed records, as Apache Kafka does.

    Tansu 0.6 does not hide them: a reader sees the records that a killed worker sent before its commit, and then sees them again.
    """
    topics = Topics(kafka)
    producer = confluent_kafka.Producer({**topics.config, "transactional.id": "aborted"})
    producer.init_transactions(30)
    for end in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        producer.produce(topics.output, json.dumps(end.__name__).encode())
        producer.flush(30)
        end(30)
    return topics.written() == ["commit_transaction"]


def loads(values):
    return [{"n": i, "load": value} for i, value in enumerate(values)]


def undisturbed(values):
    return StreamDetector(**PARAMS).update_many(np.array(values)).score.tolist()


def run_until_read(worker, n):
    if worker.records == 0:
        worker.resume()
    while worker.records < n:
        worker.step()


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_instants(topics, kafka, hides_aborted, times):
    """Each record is written once, in order, with the bits of an undisturbed run.

    On a broker that shows aborted records, repeated records must be equal.
    """
    n = 400 * times
    values = waves(n)
    topics.put(loads(values))
    command = [*WORKER, "kafka", topics.source, topics.output, "--servers", kafka, "-c", "load", *FLAGS,
               "--set", "worker.batch=10", "--set", f"kafka.state={topics.state}"]  # fmt: skip

    def count():
        return len({row["OFFSET"] for row in topics.written()})

    killed_at_random(command, count, n, times, np.random.default_rng(times), step=0.05)
    rows = topics.written()
    if not hides_aborted:
        unique = {}
        assert all(unique.setdefault(row["OFFSET"], row) == row for row in rows)
        rows = [unique[offset] for offset in sorted(unique)]
    assert [row["n"] for row in rows] == list(range(n))
    assert [row["ANOMALY_SCORE"] for row in rows] == undisturbed(values)
    assert [row["OFFSET"] for row in rows] == list(range(n))


def test_uncommitted_results_are_not_visible(topics, hides_aborted):
    values = waves(200)
    topics.put(loads(values))
    first = topics.worker(batch=50, checkpoint_every=3600)
    run_until_read(first, 100)
    assert topics.written() == []
    first.close()
    second = topics.worker(batch=30)
    run_until_read(second, 200)
    second.close()
    rows = topics.written()
    aborted = 0 if hides_aborted else 100
    assert [row["n"] for row in rows[aborted:]] == list(range(200))
    assert [row["ANOMALY_SCORE"] for row in rows[aborted:]] == undisturbed(values)


def test_a_large_checkpoint_is_sent_in_parts(topics, monkeypatch):
    monkeypatch.setattr("rcf.streams.kafka.PART", 5000)
    values = waves(300)
    topics.put(loads(values[:200]))
    first = topics.worker()
    run_until_read(first, 200)
    assert len(first._checkpoint().to_bytes()) > 2 * 5000
    first.close()
    topics.put(loads(values)[200:])
    second = topics.worker()
    run_until_read(second, 300)
    second.close()
    assert [row["ANOMALY_SCORE"] for row in topics.written()] == undisturbed(values)


def test_a_second_worker_takes_over_and_the_first_can_no_longer_commit(topics, hides_aborted):
    values = waves(200)
    topics.put(loads(values[:100]))
    first = topics.worker()
    run_until_read(first, 100)
    second = topics.worker()
    second.resume()
    topics.put(loads(values)[100:])
    with pytest.raises(StreamError, match="another worker has taken over"):
        run_until_read(first, 200)
    run_until_read(second, 200)
    second.close()
    rows = topics.written()
    if not hides_aborted:  # leave out the records of the last batch that the first worker had sent
        rows = [*rows[:100], *rows[-100:]]
    assert [row["n"] for row in rows] == list(range(200))
    assert [row["ANOMALY_SCORE"] for row in rows] == undisturbed(values)


def test_invalid_records_go_to_a_separate_topic(topics):
    values = waves(60)
    topics.put([*loads(values)[:30], b"\xff", *loads(values)[30:]])
    worker = topics.worker()
    run_until_read(worker, 60)
    worker.close()
    (letter,) = topics.written(f"{topics.output}-rejected")
    assert (letter["position"], letter["key"]) == (30, "a")
    assert [row["ANOMALY_SCORE"] for row in topics.written()] == undisturbed(values)


def test_records_and_dead_letters_respect_the_size_limit_of_the_broker(topics):
    """One record fits, but not together with its results. Another one is invalid, and its dead letter would not fit."""
    values = waves(60)
    large = json.dumps({"load": 1.0, "text": "x" * 999_915}).encode()
    topics.put([*loads(values)[:30], large, b"\xff" * 900_000, *loads(values)[30:]])
    worker = topics.worker()
    run_until_read(worker, 61)
    worker.close()
    first, second = sorted(topics.written(f"{topics.output}-rejected"), key=lambda letter: letter["position"])
    assert (first["position"], second["position"]) == (30, 31)
    assert "bytes; message.max.bytes is 1000000" in first["reason"]
    assert second["reason"].startswith("not UTF-8")
    assert second["cut"] == 4 * 900_000
    assert [row["n"] for row in topics.written()] == list(range(60))
    assert worker.rejected == 2


def test_the_key_of_a_message_can_be_the_key_of_the_detector(topics):
    topics.put(loads([1.0, 2.0]))
    worker = topics.worker(KeyedDetector(StreamDetector(**PARAMS)), Schema(["load"], key="@key"))
    run_until_read(worker, 2)
    assert worker.model.keys() == ["a"]
    worker.close()


def test_each_partition_has_a_model_of_its_own(kafka):
    topics = Topics(kafka, partitions=2)
    values = [waves(150, 1), waves(150, 2)]
    for partition in (0, 1):
        topics.put(loads(values[partition]), partition)
    command = [*WORKER, "kafka", topics.source, topics.output, "--servers", kafka, "-c", "load", *FLAGS,
               "--set", f"kafka.state={topics.state}"]  # fmt: skip
    killed_at_random(command, lambda: len(topics.written()), 300, 0, np.random.default_rng(0), step=0.05)
    for partition in (0, 1):
        rows = [row for row in topics.written() if row["PARTITION"] == f"{topics.source}/{partition}"]
        assert [row["ANOMALY_SCORE"] for row in rows] == undisturbed(values[partition])
    done = subprocess.run([*command, "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reads = json.loads(done.stdout)["reads"]
    assert [(read["after"], read["records"]) for read in reads] == [(149, 150), (149, 150)]


@pytest.mark.parametrize("before", [0, 5])
def test_a_crash_does_not_move_the_start_at_the_end(topics, before):
    """This is also true for an empty topic."""
    values = waves(80)
    # records are sent one by one, because Tansu 0.6 returns the first offset of the last batch plus 1 as the end
    for record in loads([0.5] * before):
        topics.put([record])

    def worker():
        found = topics.worker()
        found.source._start = "end"
        return found

    first = worker()
    first.resume()
    first.close()  # it dies before it reads
    topics.put(loads(values))
    second = worker()
    run_until_read(second, 80)
    second.close()
    assert [row["ANOMALY_SCORE"] for row in topics.written()] == undisturbed(values)


def test_many_keys_are_saved_as_increments(topics, monkeypatch):
    """The newest whole checkpoint and its increments are loaded, and none of another."""
    monkeypatch.setattr("rcf.streams.checkpoint.LEAST", 0)
    keyed = KeyedDetector(StreamDetector(**PARAMS))
    for i in range(400):
        keyed.update(i % 20, float(i % 7))
    sinks = [KafkaTransaction(topics.config, topics.output, f"keys {i}", state=topics.state) for i in range(2)]
    for sink in sinks:
        sink.load("p")
    numbers = []
    commit = KafkaTransaction._commit
    monkeypatch.setattr(
        KafkaTransaction,
        "_commit",
        lambda self, p, pieces, about: (numbers.append(about["number"]), commit(self, p, pieces, about)),
    )
    for i, sink in enumerate([sinks[0]] * 4 + [sinks[1]] * 3 + [sinks[0]]):
        keyed.update(i % 3, float(i))
        sink.save(Checkpoint("p", i, keyed))
        found = KafkaTransaction(topics.config, topics.output, "another", state=topics.state).peek("p")
        # the last is an increment of a checkpoint that is not the newest whole one
        assert found.position == min(i, 6)
        if i < 7:
            assert found.model.to_bytes() == keyed.to_bytes()
    assert numbers == [0, 1, 2, 3, 0, 1, 2, 4]
    for sink in sinks:
        sink.close()


def test_parts_left_over_by_compaction_are_ignored(topics):
    """If a newer checkpoint has two parts, only the last of three parts of an older one may remain."""
    sink = KafkaTransaction(topics.config, topics.output, "left over", state=topics.state)
    assert sink.load("p") is None
    sink._fenced(sink._commit, "p", [b"x"], {"id": "old", "parts": 3, "position": 1, "chain": "", "number": 0})
    checkpoint = Checkpoint("p", 5, StreamDetector(**PARAMS))
    sink.save(checkpoint)
    sink.close()
    found = KafkaTransaction(topics.config, topics.output, "another", state=topics.state).peek("p")
    assert found.position == 5
