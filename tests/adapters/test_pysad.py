"""The adapter to PySAD: its interface, single records and batches, and PySAD's own tools."""

import numpy as np
import pytest

import rcf
from rcf.adapters.pysad import RandomCutForest


def stream(n=400, seed=0):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, 3)), rng.random(n) < 0.05
    X[y] += 6.0
    return X, y.astype(int)


def test_single_records_and_batches_agree():
    X, _ = stream()
    batch, single, apart, forest = (RandomCutForest(20, 32, method="codisp", random_state=4) for _ in range(4))
    scores = batch.fit_score(X)
    assert [single.fit_score_partial(x) for x in X] == scores.tolist()
    found = []
    for x in X:
        found.append(apart.score_partial(x))
        assert isinstance(found[-1], float)
        assert apart.fit_partial(x, 1) is apart
    assert found == scores.tolist()
    assert scores[0] == 0.0
    assert (scores[2:32] > 0).any()  # the score uses the few records that the forest knows
    np.testing.assert_array_equal(forest.fit(X, None).score(X[:50]), batch.score(X[:50]))
    ours = rcf.RandomCutForest(20, 32, method="codisp", random_state=4)
    np.testing.assert_array_equal(ours.update_many(X)[32:], scores[32:])


def test_errors_leave_the_model_unchanged():
    X, _ = stream(50)
    forest = RandomCutForest(5, 16, random_state=0)
    assert forest.score(X[:3]).tolist() == [0.0] * 3
    forest.fit(X[:10])
    before = forest._forest.to_bytes()
    for bad in (np.nan, np.inf, 1e300):
        Z = X.copy()
        Z[5, 1] = bad
        for call in (forest.fit, forest.score, forest.fit_score):
            if call == forest.score and np.isnan(bad):
                continue  # the forest scores rows with missing values
            with pytest.raises(ValueError):
                call(Z)
        for call in (forest.fit_partial, forest.score_partial, forest.fit_score_partial):
            if call == forest.score_partial and np.isnan(bad):
                continue
            with pytest.raises(ValueError):
                call(Z[5])
    with pytest.raises(ValueError, match="2 features"):
        forest.fit_score_partial(X[0, :2])
    with pytest.raises(ValueError, match="one-dimensional"):
        forest.fit_partial(X)
    assert forest._forest.to_bytes() == before


def test_in_a_pipeline_of_pysad():
    base = pytest.importorskip("pysad.core.base_model", reason="the package pysad is not installed")
    from pysad.evaluation import AUROCMetric
    from pysad.transform.postprocessing import RunningAveragePostprocessor
    from pysad.transform.preprocessing import IdentityScaler
    from pysad.utils import ArrayStreamer

    X, y = stream(800)
    model = RandomCutForest(30, 64, random_state=1)
    assert isinstance(model, base.BaseModel)
    scaler, smooth, metric = IdentityScaler(), RunningAveragePostprocessor(window_size=2), AUROCMetric()
    for x, label in ArrayStreamer(shuffle=False).iter(X, y):
        score = model.fit_score_partial(scaler.fit_transform_partial(x))
        metric.update(label, score)
        assert np.isfinite(smooth.fit_transform_partial(score))
    assert metric.get() > 0.9
    again = RandomCutForest(30, 64, random_state=1)
    np.testing.assert_array_equal(
        base.BaseModel.fit_score(again, X), RandomCutForest(30, 64, random_state=1).fit_score(X)
    )
