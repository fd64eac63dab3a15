"""The adapter to Apache Beam: the scores of the forest for each key of a pipeline. The tests are slow and need an environment of
their own.
"""

import subprocess
import sys

import numpy as np
import pytest

import rcf


def test_the_extra_is_named():
    code = "import sys; sys.modules['apache_beam'] = None\nimport rcf.adapters.beam"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith('pip install "rcf[beam]"')


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_pipeline_scores_each_key(tmp_path):
    beam = pytest.importorskip("apache_beam", reason="the package apache-beam is not installed")
    from apache_beam.ml.anomaly.thresholds import FixedThreshold
    from apache_beam.ml.anomaly.transforms import AnomalyDetection

    from rcf.adapters.beam import RandomCutForest

    values = np.random.default_rng(0).normal(size=(200, 3, 2))
    values[150, 1] = 9.0
    rows = [
        (k, beam.Row(a=float(a), i=i, b=float(b))) for i in range(200) for k, (a, b) in enumerate(values[i].tolist())
    ]
    detector = RandomCutForest(10, 32, features=["a", "b"], threshold_criterion=FixedThreshold(3))
    out = tmp_path / "out"
    with beam.Pipeline("DirectRunner") as pipeline:
        found = pipeline | beam.Create(rows, reshuffle=False) | AnomalyDetection(detector)
        (
            found
            | beam.Map(
                lambda pair: (
                    f"{pair[0]} {pair[1].example.i} {pair[1].predictions[0].score} {pair[1].predictions[0].label}"
                )
            )
            | beam.io.WriteToText(str(out), num_shards=1)
        )
    lines = [line.split() for file in tmp_path.glob("out*") for line in file.read_text().splitlines()]
    assert len(lines) == 600
    for key in range(3):
        own = {int(i): (score, label) for k, i, score, label in lines if int(k) == key}
        assert len(own) == 200
        assert [own[i][0] for i in range(32)].count("None") > 0
        called = {i for i, (_, label) in own.items() if label == "1"}
        assert called == ({150} if key == 1 else set())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_bits_of_the_forest():
    beam = pytest.importorskip("apache_beam", reason="the package apache-beam is not installed")
    from rcf.adapters.beam import RandomCutForest

    X = np.random.default_rng(0).normal(size=(100, 2))
    detector = RandomCutForest(10, 32, _run_init=True)
    forest = rcf.RandomCutForest(10, 32, random_state=0)
    for i, (a, b) in enumerate(X.tolist()):
        row = beam.Row(a=a, b=b)
        assert detector.score_one(row) == (None if i < 32 else forest.anomaly_score(X[i : i + 1])[0])
        detector.learn_one(row)
        forest.partial_fit(X[i : i + 1])
    for missing in (None, float("nan")):
        assert detector.score_one(beam.Row(a=1.0, b=missing)) is None
        detector.learn_one(beam.Row(a=1.0, b=missing))
    assert detector._forest.n_seen_ == 100
