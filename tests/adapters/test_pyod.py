"""The adapter to PyOD: its interface, the scores of the forest, and the toolkits that take PyOD's detectors."""

import subprocess
import sys

import numpy as np
import pytest

import rcf

X = np.random.default_rng(0).normal(size=(600, 3))
X[100] = 7.0


@pytest.fixture
def RandomCutForest():
    pytest.importorskip("pyod", reason="the package pyod is not installed")
    from rcf.adapters.pyod import RandomCutForest

    return RandomCutForest


def test_scores_threshold_and_labels(RandomCutForest):
    detector = RandomCutForest(20, 64, contamination=0.01, method="codisp", random_state=3).fit(X)
    forest = rcf.RandomCutForest(20, 64, method="codisp", random_state=3).fit(X)
    np.testing.assert_array_equal(detector.decision_scores_, forest.anomaly_score(X))
    np.testing.assert_array_equal(detector.decision_function(X[:5]), forest.anomaly_score(X[:5]))
    assert detector.threshold_ == np.percentile(detector.decision_scores_, 99)
    assert detector.labels_.sum() == 6
    assert detector.labels_[100] == 1
    np.testing.assert_array_equal(detector.predict(X), detector.labels_)
    assert set(detector.labels_) == {0, 1}


def test_the_interface_of_pyod(RandomCutForest):
    from pyod.models.base import BaseDetector
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError

    detector = RandomCutForest(random_state=0)
    assert isinstance(detector, BaseDetector)
    with pytest.raises(NotFittedError):
        detector.decision_function(X)
    again = clone(detector.set_params(n_estimators=7))
    assert again.get_params() == detector.get_params()
    assert again.get_params()["contamination"] == 0.1
    labels, confidence = detector.fit(X).predict(X, return_confidence=True)
    assert confidence.shape == labels.shape == (600,)
    probability = detector.predict_proba(X)
    assert probability.shape == (600, 2)
    assert probability[:, 1].argmax() == 100
    with pytest.raises(ValueError, match="contamination must be in"):
        RandomCutForest(contamination=0.9)


def test_errors_leave_the_detector_unchanged(RandomCutForest):
    detector = RandomCutForest(random_state=0).fit(X)
    before = detector.decision_scores_
    bad = X.copy()
    bad[7, 2] = np.inf
    with pytest.raises(ValueError, match=r"inf.*row 7, feature 2"):
        detector.fit(bad)
    assert detector.decision_scores_ is before
    np.testing.assert_array_equal(detector.decision_function(X), before)


def test_the_extra_is_named():
    code = "import sys; sys.modules['pyod'] = None\nimport rcf.adapters.pyod"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith('pip install "rcf[pyod]"')


# ---- through the toolkits' own adapters ------------------------------------------------------------------------------

SERIES = np.sin(np.arange(1000) / 8.0) + np.random.default_rng(0).normal(0, 0.1, 1000)
SERIES[700] += 5.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_through_aeon(RandomCutForest):
    series = pytest.importorskip("aeon.anomaly_detection.series", reason="aeon is not installed")
    scores = series.PyODAdapter(RandomCutForest(random_state=0), window_size=8, stride=1).fit_predict(SERIES)
    assert scores.shape == (1000,)
    assert 693 <= int(scores.argmax()) <= 707


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_through_darts(RandomCutForest):
    darts = pytest.importorskip("darts", reason="darts is not installed")
    from darts.ad import PyODScorer

    scorer = PyODScorer(RandomCutForest(random_state=0), window=8)
    series = darts.TimeSeries.from_values(SERIES)
    scorer.fit(series)
    scores = scorer.score(series).values().ravel()
    assert 686 <= int(scores.argmax()) + 1000 - len(scores) <= 707


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_through_sktime(RandomCutForest):
    pytest.importorskip("sktime", reason="sktime is not installed")
    import pandas as pd
    from sktime.detection.adapters import PyODDetector

    frame = pd.DataFrame({"value": SERIES})
    ours = PyODDetector(RandomCutForest(contamination=0.01, random_state=0)).fit(frame)
    labels = ours.estimator_.predict(frame.to_numpy())
    assert labels[700] == 1
    assert labels.sum() == 10
    assert len(ours.predict(frame)) == 10  # sktime 1.2 returns a 1 for each flagged record, without its position
    # what not to do: scikit-learn's label of an ordinary record is 1, and the label -1 of an anomaly is not 0 either
    wrong = PyODDetector(rcf.RandomCutForest(random_state=0)).fit(frame)
    assert len(wrong.predict(frame)) == 1000
