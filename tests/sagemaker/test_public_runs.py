"""Two notebooks that were run on the real service are repeated with the container: training job, archive and endpoint.

The first is a run of 2020-02-08 whose log and answers are public. It used NAB's elb_request_count_8c0756.csv (4032 rows of one
number), num_trees=50 and num_samples_per_tree=512. ForestInfo in its log gives the numbers of nodes of all 50 trees. Its answers
are 52 different values with their scores. The second is SageMaker's own taxi notebook
(https://github.com/aws/amazon-sagemaker-examples, random_cut_forest.ipynb).
"""

import json
import re
import tarfile
import urllib.request

import numpy as np
import pytest
import shared_data

for library in ("orjson", "pyarrow", "starlette", "uvicorn"):
    pytest.importorskip(library)

from rcf.sagemaker import recordio  # noqa: E402
from rcf.sagemaker.hyperparameters import Hyperparameters  # noqa: E402
from rcf.sagemaker.sample import Sample  # noqa: E402
from rcf.shingle import shingle  # noqa: E402

NODES = """
107 129 125 119 109 117 135 123 103 127 119 89 93 123 105 101 137 125 119 129 123 123 113 123 139 127 119 121 105 113
105 121 95 93 107 97 87 93 111 107 103 121 119 121 101 121 123 113 121 123
"""
DEPTHS = """
11 13 11 17 14 12 13 16 11 17 11 10 12 15 12 12 10 11 12 13 12 13 14 11 18 13 14 12 11 12 12 10 17 14 12 11 14 12 11 11
15 12 13 15 12 13 12 13 12 17
"""
SCORES = {
    94: 0.865573, 56: 0.786471, 187: 1.613852, 95: 0.866955, 51: 0.770862, 222: 2.159113, 255: 2.594596, 232: 2.267812,
    335: 3.586372, 264: 2.710799, 303: 3.197637, 209: 2.017933, 237: 2.381542, 203: 1.910654, 252: 2.557541, 266: 2.729446,
    220: 2.150669, 280: 2.898184, 226: 2.193046, 259: 2.653464, 272: 2.830559, 231: 2.254257, 294: 3.102726, 288: 3.019603,
    381: 3.951076, 283: 2.933365, 261: 2.702431, 212: 2.105080, 210: 2.011637, 284: 2.951369, 217: 2.098308, 234: 2.343383,
    219: 2.122204, 330: 3.560200, 204: 1.916887, 245: 2.424295, 208: 1.986095, 223: 2.163553, 207: 2.019778, 308: 3.237144,
    230: 2.242455, 244: 2.404212, 656: 5.102451, 256: 2.589191, 338: 3.578690, 235: 2.286132, 239: 2.343428, 229: 2.237990,
    227: 2.187403, 301: 3.165757, 313: 3.342713, 299: 3.205282,
}  # fmt: skip
FLAGGED = 101
EVENTS = ("2014-11-02", "2014-12-25", "2015-01-27")  # the marathon and the clock change, Christmas, the snowstorm
TAXI_DAYS = ("2014-11-02", "2015-01-01", "2015-01-27")  # the marathon and the clock change, New Year, the snowstorm


def csv_of(table):
    return "\n".join(",".join(map(repr, row)) for row in table.tolist()).encode()


def scores_over_http(url, body, kind):
    request = urllib.request.Request(
        f"{url}/invocations", body, {"Content-Type": kind, "Accept": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return np.array([d["score"] for d in json.load(answer)["scores"]])


def run(job, command, serving, tmp_path, X, kind, body, **hyperparameters):
    """Train in a process, pack the model, and serve it. Returns the log and the scores of the training rows."""
    job.hyperparameters(feature_dim=X.shape[1], mini_batch_size=1000, **hyperparameters)
    job.channel("train", kind, matrix_0=body)
    process = command("train", environment={"SAGEMAKER_DATA_PATH": job.root})
    log = process.communicate(timeout=120)[0]
    assert process.returncode == 0, log
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(job.root / "model", ".")
    with serving(tmp_path / "model.tar.gz") as (url, _):
        return log, scores_over_http(url, csv_of(X), "text/csv")


@pytest.fixture(scope="module")
def requests():
    path = shared_data.path("nab", "data", "realAWSCloudwatch", "elb_request_count_8c0756.csv")
    return shared_data.columns(path, "value")[0][:, None]


@pytest.fixture(scope="module")
def taxi():
    return shared_data.columns(shared_data.path("nab", "data", "realKnownCause", "nyc_taxi.csv"), "timestamp", "value")


def test_the_run_of_4032_rows(job, command, serving, tmp_path, requests):
    assert len(requests) == 4032
    body = recordio.write(requests.astype(np.float32))
    kind = "application/x-recordio-protobuf"
    log, scores = run(job, command, serving, tmp_path, requests, kind, body, num_trees=50, num_samples_per_tree=512)

    info = re.search(r"^ForestInfo\{(.*)\}$", log, re.M)[1]
    assert info.startswith(
        "num_trees: 50, num_samples_in_forest: 4000, num_samples_per_tree: 80, sample_dim: 1, shingle_size: 1, "
        f"trees_num_nodes: [{'107, 129, 125, 119, 109, '}"
    )
    listed = {name: [int(n) for n in text.split(", ")[:-1]] for name, text in re.findall(r"(\w+): \[(.*?)\]", info)}
    assert listed["trees_num_nodes"] == [int(n) for n in NODES.split()]
    assert "max_num_nodes: 139, min_num_nodes: 87, avg_num_nodes: 114" in info
    assert "4032 samples gathered" in log
    assert "Test data is not provided." in log

    # Both are scores of one forest of 50 trees, so the service must not be further from the mean of rcf's forests than these
    # forests are themselves. The measure is the root mean square of z over the 52 values, which are correlated.
    values = np.array(list(SCORES), dtype=float)[:, None]
    published = np.array(list(SCORES.values()))
    ours, flagged, depths = [], [], []
    for seed in range(60):
        sample = Sample(Hyperparameters(feature_dim=1, num_trees=50, num_samples_per_tree=512, seed=seed))
        sample.add(requests)
        forest = sample.forest()
        ours.append(forest.anomaly_score(values))
        found = forest.anomaly_score(requests)
        if seed == 0:
            assert np.array_equal(np.round(found, 10), scores)  # the transfer changes nothing
        flagged.append((found > found.mean() + 3 * found.std(ddof=1)).sum())
        depths.append(np.mean([max(depth for _, depth in tree.walk()) + 1 for tree in forest.trees_]))
    mean, sd = np.mean(ours, axis=0), np.std(ours, axis=0, ddof=1)

    def distance(scores):
        return np.sqrt(np.mean(((scores - mean) / sd) ** 2))

    furthest = max(map(distance, ours))
    assert distance(published) < furthest
    # the bound is strict enough: if scores were divided by the normaliser of the nominal 512 samples, they would be far outside
    assert distance(mean * np.log2(512) / np.log2(80)) > 3 * furthest
    assert abs(FLAGGED - np.mean(flagged)) < 3 * np.std(flagged)
    # the depths of the trees, the root counted as 1
    theirs = np.mean([int(n) for n in DEPTHS.split()])
    assert abs(theirs - np.mean(depths)) < 3 * np.std(depths)
    assert np.mean(listed["trees_depth"]) == depths[0]


def test_the_taxi_notebook(job, command, serving, tmp_path, taxi):
    """The scores, the cut-off at mean + 3 standard deviations, and the well-known anomalous days."""
    times, values = taxi
    X = values[:, None]
    _, scores = run(
        job, command, serving, tmp_path, X, "text/csv;label_size=0", csv_of(X), num_trees=50, num_samples_per_tree=512
    )
    assert scores.shape == (10_320,)
    others = []
    for seed in range(20):
        sample = Sample(Hyperparameters(feature_dim=1, num_trees=50, num_samples_per_tree=512, seed=seed))
        sample.add(X)
        found = sample.forest().anomaly_score(X)
        cutoff = found.mean() + 3 * found.std(ddof=1)
        others.append([found.mean(), found.std(ddof=1), cutoff, found.max(), (found > cutoff).sum()])
    sd = np.std(others, axis=0, ddof=1)
    cutoff = scores.mean() + 3 * scores.std(ddof=1)
    found = [scores.mean(), scores.std(ddof=1), cutoff, scores.max(), (scores > cutoff).sum()]
    # the figures of the notebook; the bound is half a unit of the last published digit plus three standard deviations of rcf over
    # seeds
    for value, digit, ours, deviation in zip(
        [0.89, 0.252, 1.65, 4.6, 236], [0.005, 0.0005, 0.005, 0.05, 4], found, sd, strict=True
    ):
        assert abs(value - ours) < digit + 3 * deviation
    assert times[scores.argmax()] == "2014-11-02 01:00:00"
    days = {time[:10] for time in times[scores > cutoff]}
    assert set(TAXI_DAYS) <= days
    assert 68 <= len(days) <= 79  # with three seeds, 72 to 75 were found

    # The second part of the notebook: shingles of 48 half-hours, which "more clearly captures the major events".
    windows = shingle(values, 48)
    job.root = tmp_path / "shingled"
    (job.root / "input" / "config").mkdir(parents=True)
    kind = "application/x-recordio-protobuf"
    _, scores = run(
        job, command, serving, tmp_path, windows, kind, recordio.write(windows), num_trees=50, num_samples_per_tree=512
    )
    above = scores > scores.mean() + 3 * scores.std()
    shingled = {time[:10] for time in times[47:][above]}
    assert set(EVENTS) <= shingled
    assert len(shingled) <= 12 < len(days) / 5
