"""The training job: its inputs and outputs in /opt/ml, and its failures."""

import csv
import gzip
import io
import json
import os
import re
import signal
import tarfile
import threading
import time

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

for library in ("orjson", "pyarrow", "starlette", "uvicorn"):
    pytest.importorskip(library)

import rcf  # noqa: E402
import rcf.sagemaker  # noqa: E402
from rcf.sagemaker import channels, recordio  # noqa: E402

RECORDIO = "application/x-recordio-protobuf"


def csv_of(X, labels=None):
    rows = X.tolist() if labels is None else [[label, *row] for label, row in zip(labels, X.tolist(), strict=True)]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(1).normal(size=(2000, 3))


@pytest.fixture(scope="module")
def labelled(X):
    labels = np.zeros(500, dtype=int)
    labels[::25] = 1
    return X[:500] + labels[:, None] * 2.5, labels


def trained(job, capsys=None):
    assert rcf.sagemaker.train(job.root) == 0, job.failure
    assert job.failure is None
    return rcf.load(job.root / "model" / "model.rcf")


def failed(job, message, capsys):
    assert rcf.sagemaker.train(job.root) == 1
    assert re.search(message, job.failure), job.failure
    assert len(job.failure) <= 1024
    assert job.failure[:100] in capsys.readouterr().err
    assert not list((job.root / "model").glob("*")) if (job.root / "model").exists() else True


def same(forest, other, X):
    return forest.to_bytes() == other.to_bytes() and np.array_equal(forest.anomaly_score(X), other.anomaly_score(X))


def test_defaults_and_the_rule(job, X):
    job.hyperparameters(feature_dim=3).channel("train", data=csv_of(X))
    forest = trained(job)
    assert (forest.n_estimators, forest.max_samples_, forest.n_features_in_) == (100, 20, 3)
    expected = rcf.RandomCutForest(100, "disjoint", random_state=0).fit(X)
    assert np.array_equal(forest.anomaly_score(X), expected.anomaly_score(X))
    first = forest.to_bytes()
    assert trained(job).to_bytes() == first
    job.hyperparameters(feature_dim=3, seed=1)
    assert trained(job).to_bytes() != first


def test_every_form_of_input_gives_the_same_model(job, X, tmp_path):
    """The input is CSV or RecordIO, in one file, several files, compressed files, folders, pipes or wrapped files."""
    job.hyperparameters(feature_dim=3)
    job.channel("train", data=csv_of(X))
    first = trained(job).to_bytes()
    folder = job.root / "input" / "data" / "train"

    def again(content_type="text/csv;label_size=0", mode="File", wrapper="None", **files):
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        job.channel("train", content_type, mode, wrapper)
        for name, data in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return trained(job).to_bytes()

    assert again(a=csv_of(X[:700]), b=csv_of(X[700:1500]), c=csv_of(X[1500:])) == first
    assert again(a=csv_of(X[:700]).rstrip(), b__x=csv_of(X[700:800]), b__y=csv_of(X[800:])) == first
    assert again(a=gzip.compress(csv_of(X))) == first
    assert again(mode="FastFile", a=csv_of(X).replace(b"\n", b"\r\n")) == first
    assert again(RECORDIO, a=recordio.write(X)) == first
    assert again(RECORDIO, a=recordio.write(sparse.csr_matrix(X))) == first
    assert again(RECORDIO, a=gzip.compress(recordio.write(X[:900])), b=recordio.write(X[900:], np.zeros(1100))) == first
    assert again("text/csv;label_size=1", a=csv_of(X, np.arange(2000))) == first
    del job.channels["train"]["ContentType"]
    job.configure("train")
    assert again.__name__  # the default type of SageMaker is RecordIO
    for path in folder.iterdir():
        path.unlink()
    (folder / "matrix_0.pbr").write_bytes(recordio.write(X))
    (folder / ".amazon.manifest").write_text('[{"prefix": "s3://bucket/"}, "matrix_0.pbr"]')
    assert trained(job).to_bytes() == first


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize(
    ("content_type", "wrapper", "make"),
    [
        ("text/csv;label_size=0", "None", lambda X: csv_of(X)),
        ("text/csv", "RecordIO", lambda X: b"".join(recordio.frame(csv_of(part)) for part in (X[:5], X[5:]))),
        (RECORDIO, "None", lambda X: recordio.write(X)),
        (RECORDIO, "RecordIO", lambda X: recordio.write(X)),
        (RECORDIO, "None", lambda X: recordio.write(sparse.csr_matrix(X))),
    ],
)
def test_pipes(job, X, monkeypatch, content_type, wrapper, make):
    """The pipe may be created late, and its data may come in pieces."""
    monkeypatch.setattr(channels, "CHUNK", 1000)
    monkeypatch.setattr(recordio, "CHUNK", 1000)
    job.hyperparameters(feature_dim=3).channel("train", content_type, "Pipe", wrapper)
    pipe = job.root / "input" / "data" / "train_0"

    def feed():
        time.sleep(0.2)
        os.mkfifo(pipe)
        with pipe.open("wb", buffering=0) as file:
            data = make(X)
            for i in range(0, len(data), 7777):
                file.write(data[i : i + 7777])

    feeder = threading.Thread(target=feed)
    feeder.start()
    forest = trained(job)
    feeder.join()
    expected = rcf.RandomCutForest(100, "disjoint", random_state=0).fit(X)
    assert np.array_equal(forest.anomaly_score(X), expected.anomaly_score(X))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_labelled_channel_from_a_pipe(job, X, labelled, capsys):
    """The metrics are those of the same rows from a file."""
    data, labels = labelled
    job.hyperparameters(feature_dim=3).channel("train", data=csv_of(X))
    job.channel("test", RECORDIO, data=recordio.write(data, labels))
    trained(job)
    expected = re.findall(r"^test:.*$", capsys.readouterr().out, re.M)
    job.channel("test", RECORDIO, "Pipe")
    pipe = job.root / "input" / "data" / "test_0"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes(recordio.write(data, labels)))
    feeder.start()
    trained(job)
    feeder.join()
    assert re.findall(r"^test:.*$", capsys.readouterr().out, re.M) == expected != []


def test_a_pipe_that_never_comes(job, capsys, monkeypatch):
    monkeypatch.setattr(channels, "_PATIENCE", 0.1)
    job.hyperparameters(feature_dim=3).channel("train", mode="Pipe")
    failed(job, "train_0: .*No such file", capsys)


def test_several_hosts(tmp_path, job, X):
    """Each host writes its part, and the parts together give the model that one host would train on all files."""
    whole = type(job)(tmp_path / "whole").hyperparameters(feature_dim=3).channel("train", a=csv_of(X))
    expected = trained(whole)
    job.hyperparameters(feature_dim=3)
    names = [f"algo-{i + 1}" for i in range(11)]
    parts = np.array_split(X, 11)
    for name, part in zip(names, parts, strict=True):
        job.hosts(name, names[::-1]).channel("train", a=csv_of(part))
        assert rcf.sagemaker.train(job.root) == 0, job.failure
    assert len(list((job.root / "model").iterdir())) == 11
    found = rcf.sagemaker.unpack(job.root / "model")
    assert same(found, expected, X)
    (job.root / "model" / "host-3-of-11.sample").unlink()
    with pytest.raises(ValueError, match="the files of 11 hosts are needed, but there are"):
        rcf.sagemaker.unpack(job.root / "model")
    (job.root / "model" / "host-3-of-11.sample").write_bytes(b"rcf")
    with pytest.raises(ValueError, match="not the sample of a host"):
        rcf.sagemaker.unpack(job.root / "model")


def test_metrics_are_scikit_learns(job, X, labelled, capsys):
    data, labels = labelled
    job.hyperparameters(feature_dim=3).channel("train", data=csv_of(X))
    for content_type, body in (
        ("text/csv;label_size=1", csv_of(data, labels)),
        ("text/csv", csv_of(data, labels)),
        (RECORDIO, recordio.write(data, labels)),
    ):
        job.channel("test", content_type, data=body)
        forest = trained(job)
        scores = forest.anomaly_score(data)
        called = scores > scores.mean() + 3 * scores.std()
        precision, recall, f1, _ = precision_recall_fscore_support(labels, called, average="binary")
        out = capsys.readouterr().out
        found = {name: float(value) for name, value in re.findall(r"^test:(\w+)=([0-9.]+)$", out, re.M)}
        expected = {"accuracy": accuracy_score(labels, called), "precision": precision, "recall": recall, "f1": f1}
        assert 0 < f1 < 1
        assert found == pytest.approx(expected, abs=1e-6)
        records = [json.loads(line.split(" ", 1)[1]) for line in out.splitlines() if line.startswith("#metrics ")]
        assert records[-1]["Metrics"]["test:f1"]["sum"] == pytest.approx(f1)
        assert records[-1]["Dimensions"] == {"Host": "algo-1", "Operation": "training", "Algorithm": "RandomCutForest"}
    job.hyperparameters(feature_dim=3, eval_metrics='["accuracy"]')
    trained(job)
    assert re.findall(r"^test:(\w+)", capsys.readouterr().out, re.M) == ["accuracy"]


def test_metrics_without_flagged_rows(job, X, capsys):
    """If all scores are equal, none is above mean + 3 sd, and no ratio raises an error."""
    job.hyperparameters(feature_dim=3).channel("train", data=csv_of(X))
    job.channel("test", "text/csv", data=csv_of(np.zeros((5, 3)), [0, 0, 1, 0, 0]))
    trained(job)
    out = capsys.readouterr().out
    assert "test:accuracy=0.800000\ntest:precision=0.000000\ntest:recall=0.000000\ntest:f1=0.000000\n" in out


def test_the_log(job, X, capsys):
    job.hyperparameters(feature_dim=3).channel("train", data=csv_of(X))
    trained(job)
    out = capsys.readouterr().out
    for line in (
        "#progress_metric: host=algo-1, completed 100 % epochs",
        "2000 samples gathered",
        "Test data is not provided.",
    ):
        assert line in out.splitlines()
    assert re.search(r"^#throughput_metric: host=algo-1, train throughput=[\d.]+ records/second$", out, re.M)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "feature_dim is required"),
        ({"feature_dim": "0"}, "feature_dim must be a whole number from 1 to 10000, got '0'"),
        ({"feature_dim": "10001"}, "feature_dim must be"),
        ({"feature_dim": "3.0"}, "feature_dim must be"),
        ({"feature_dim": "3", "num_trees": "49"}, "num_trees must be a whole number from 50 to 1000, got '49'"),
        ({"feature_dim": "3", "num_trees": "1001"}, "num_trees must be"),
        ({"feature_dim": "3", "num_samples_per_tree": "0"}, "num_samples_per_tree must be .* from 1 to 2048"),
        ({"feature_dim": "3", "num_samples_per_tree": "2049"}, "num_samples_per_tree must be"),
        ({"feature_dim": "3", "eval_metrics": "accuracy"}, "eval_metrics must be a JSON list of 'accuracy' and"),
        ({"feature_dim": "3", "eval_metrics": '["f1"]'}, "eval_metrics must be"),
        ({"feature_dim": "3", "eval_metrics": "[]"}, "eval_metrics must be"),
        ({"feature_dim": "3", "seed": str(2**32)}, "seed must be a whole number from 0 to 4294967295"),
        ({"feature_dim": "3", "seed": "-1"}, "seed must be a whole number from 0"),
        ({"feature_dim": "3", "n_trees": "60"}, "no hyperparameter 'n_trees'; there are feature_dim, num_trees"),
        ({"feature_dim": "3", "x" * 5000: "60"}, "no hyperparameter 'xxx"),
        ({"feature_dim": "4"}, "train/data: row 1: 3 cells, expected 4 features"),
    ],
)
def test_hyperparameters_that_are_refused(job, X, capsys, values, message):
    job.hyperparameters(**values).channel("train", data=csv_of(X))
    failed(job, message, capsys)


def test_hyperparameters_at_their_limits_and_those_that_are_ignored(job, X):
    ignored = {
        "mini_batch_size": 1000,
        "epochs": 1,
        "force_dense": "true",
        "_kvstore": "dist_async",
        "_log_level": "info",
    }
    job.hyperparameters(feature_dim=3, num_trees=1000, num_samples_per_tree=2048, **ignored)
    job.channel("train", data=csv_of(X))
    assert trained(job).max_samples_ == 2
    job.hyperparameters(feature_dim=3, num_trees=50, num_samples_per_tree=1)
    forest = trained(job)
    assert forest.max_samples_ == 1
    assert not forest.anomaly_score(X).any()  # times log2(1)


def test_channels_that_are_refused(job, X, capsys):
    job.hyperparameters(feature_dim=3)
    failed(job, "there is no .*inputdataconfig.json", capsys)
    job.channel("train", data=csv_of(X))
    for name, value, message in (
        ("S3DistributionType", "FullyReplicated", "channel 'train' must have S3DistributionType ShardedByS3Key"),
        ("TrainingInputMode", "Stream", "TrainingInputMode 'Stream', expected File, FastFile or Pipe"),
        ("ContentType", "application/json", "ContentType 'application/json', expected text/csv or application/x-rec"),
        ("ContentType", "text/csv;label_size=x", "label_size must be 0 or 1, got 'x'"),
        ("ContentType", RECORDIO, "train/data: frame 1: it starts with"),
    ):
        before = dict(job.channels["train"])
        job.configure("train", **{name: value})
        failed(job, message, capsys)
        job.channels["train"] = before
    job.configure("train")
    job.channels["other"] = {}
    job.configure("train")
    failed(job, "no channel 'other'; there are 'train' and 'test'", capsys)
    del job.channels["other"]
    job.channel("test", "text/csv", data=csv_of(X, np.full(2000, 2)))
    failed(job, "channel 'test': row 1 has the label 2, expected 1 for an anomaly", capsys)
    job.channel("test", RECORDIO, data=recordio.write(X))
    failed(job, "channel 'test': row 1 has no label", capsys)
    (job.root / "input" / "data" / "test" / "data").write_bytes(b"")
    failed(job, "channel 'test': there are no rows", capsys)
    del job.channels["test"], job.channels["train"]
    job._write("inputdataconfig", job.channels)
    failed(job, "the channel 'train' is required", capsys)


def test_files_that_are_refused(job, X, capsys):
    job.hyperparameters(feature_dim=3).channel("train")
    failed(job, "channel 'train' has no files", capsys)
    job.channel("train", data=b"")
    failed(job, "there are 0 rows, fewer than num_trees=100", capsys)
    job.channel("train", data=csv_of(X[:99]))
    failed(job, "there are 99 rows, fewer than num_trees=100", capsys)
    job.channel("train", data=csv_of(X) + b"1,2,1e39\n")
    failed(job, "train/data: row 2001, feature 3: 1e[+]39 is beyond the range of float32", capsys)
    job.channel("train", data=csv_of(X) + b"1,2,x\n")
    failed(job, "train/data: row 2001, column 3: 'x' is not a finite number", capsys)
    job.channel("train", data=gzip.compress(csv_of(X))[:-100])
    failed(job, "train/data: ", capsys)
    job.hosts("algo-9", ["algo-1"])
    failed(job, "current_host 'algo-9' is not among the hosts", capsys)
    (job.root / "input" / "config" / "resourceconfig.json").write_text("[")
    failed(job, "resourceconfig.json is not JSON", capsys)


def test_rows_are_counted_over_pieces_of_a_file(job, X, capsys, monkeypatch):
    monkeypatch.setattr(channels, "CHUNK", 1000)
    job.hyperparameters(feature_dim=3).channel("train", data=csv_of(X) + b"\n\n1,2,3\n")
    failed(job, "row 2001: an empty line", capsys)
    job.channel("train", data=csv_of(X) + b"\n\n\r\n")
    trained(job)


def test_the_failure_file_of_an_earlier_run_is_removed(job, X, capsys):
    job.hyperparameters(feature_dim=3).channel("train", data=b"x")
    failed(job, "row 1", capsys)
    job.channel("train", data=csv_of(X))
    trained(job)


def test_as_a_process(job, X, command, tmp_path):
    job.hyperparameters(feature_dim=3).channel("train", data=csv_of(X))
    process = command("train", environment={"SAGEMAKER_DATA_PATH": job.root})
    out = process.communicate(timeout=100)[0]
    assert process.returncode == 0, out
    expected = rcf.load(job.root / "model" / "model.rcf").to_bytes()
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:  # like SageMaker and `tar -C model .`
        archive.add(job.root / "model", ".")
    assert rcf.sagemaker.unpack(tmp_path / "model.tar.gz").to_bytes() == expected
    assert rcf.sagemaker.unpack(tmp_path).to_bytes() == expected
    assert rcf.sagemaker.unpack(job.root / "model" / "model.rcf").to_bytes() == expected
    job.channel("train", data=b"1,2")
    process = command("train", "--root", job.root)
    out = process.communicate(timeout=100)[0]
    assert process.returncode == 1
    assert "training failed: train/data: row 1: 2 cells, expected 3 features" in out
    assert "Traceback" not in out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_sigterm_ends_the_job_and_leaves_no_model(job, command):
    job.hyperparameters(feature_dim=3).channel("train", mode="Pipe")
    os.mkfifo(job.root / "input" / "data" / "train_0")
    process = command("train", "--root", job.root)
    with (job.root / "input" / "data" / "train_0").open("wb") as file:  # opens when the job reads
        file.write(b"1,2,3\n")
        file.flush()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=100) == 128 + signal.SIGTERM
    assert not (job.root / "model").exists()
    process.communicate()


def test_pack(tmp_path, X):
    forest = rcf.RandomCutForest(20, random_state=3).fit(X)
    rcf.sagemaker.pack(forest, tmp_path / "model.tar.gz")
    assert same(rcf.sagemaker.unpack(tmp_path / "model.tar.gz"), forest, X)
    (tmp_path / "model.tar.gz").write_bytes((tmp_path / "model.tar.gz").read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"no model in .*model.tar.gz"):
        rcf.sagemaker.unpack(tmp_path / "model.tar.gz")
    with pytest.raises(ValueError, match="no model in"):
        rcf.sagemaker.unpack(tmp_path / "nowhere")
    (tmp_path / "model.tar.gz").unlink()
    with pytest.raises(ValueError, match=r"there is neither model.rcf nor model.tar.gz"):
        rcf.sagemaker.unpack(tmp_path)
