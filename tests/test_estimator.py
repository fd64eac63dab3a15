"""RandomCutForest: its scikit-learn interface, its parameters, and its guarantees."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rcf import RandomCutForest

ATTRIBUTED = ["depth", "codisp", "displacement", "opensearch"]
METHODS = [*ATTRIBUTED, "path"]


@pytest.fixture
def X():
    """300 rows around zero, of which the last three are far out."""
    return np.r_[np.random.default_rng(0).normal(size=(300, 3)), [[9.0, 0, 0], [0, -9, 0], [9, 9, 9]]]


# ---- with the tools of scikit-learn ----------------------------------------------------------------------------------


def test_in_a_pipeline(X):
    pipeline = make_pipeline(StandardScaler(), RandomCutForest(30, random_state=0)).fit(X)
    assert pipeline.predict(X)[-3:].tolist() == [-1, -1, -1]
    alone = RandomCutForest(30, random_state=0).fit(StandardScaler().fit_transform(X))
    np.testing.assert_array_equal(
        pipeline.decision_function(X), alone.decision_function(StandardScaler().fit_transform(X))
    )


def test_in_a_grid_search(X):
    y = np.r_[np.ones(300), -np.ones(3)]
    order = np.random.default_rng(1).permutation(len(X))
    auc = make_scorer(roc_auc_score, response_method="decision_function")
    search = GridSearchCV(
        RandomCutForest(10, random_state=0),
        {"max_samples": [8, 64], "method": METHODS},
        scoring=auc,
        cv=StratifiedKFold(3),
    )
    search.fit(X[order], y[order])
    assert search.best_score_ > 0.99
    with pytest.raises(TypeError, match="If no scoring is specified"):
        GridSearchCV(RandomCutForest(10), {"max_samples": [8, 64]}).fit(X, y)
    assert len(search.cv_results_["params"]) == 2 * len(METHODS)


def test_in_cross_validation(X):
    """The three far rows are in three folds. The forest that has not seen a far row flags it, and flags hardly any other row."""
    order = np.r_[0:100, 300, 100:200, 301, 200:300, 302]
    found = cross_val_predict(RandomCutForest(50, random_state=0), X[order], cv=3)
    assert found[[100, 201, 302]].tolist() == [-1, -1, -1]
    assert (found == -1).sum() <= 3 + 9


def test_clone_takes_parameters_and_nothing_else(X):
    forest = RandomCutForest(7, 31, method="codisp", time_decay=0.1, contamination=0.2, n_jobs=2, random_state=5).fit(X)
    copy = clone(forest)
    assert copy.get_params() == forest.get_params()
    assert not copy.__sklearn_is_fitted__()
    np.testing.assert_array_equal(copy.fit(X).anomaly_score(X), forest.anomaly_score(X))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_forest_continues(X, protocol):
    forest = RandomCutForest(20, 64, random_state=0).fit(X)
    again = pickle.loads(pickle.dumps(forest, protocol))
    np.testing.assert_array_equal(again.anomaly_score(X), forest.anomaly_score(X))
    np.testing.assert_array_equal(again.update_many(X), forest.update_many(X))
    np.testing.assert_array_equal(again.predict(X), forest.predict(X))


def test_pickle_of_a_forest_that_has_seen_nothing():
    assert pickle.loads(pickle.dumps(RandomCutForest(3))).get_params()["n_estimators"] == 3


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_and_feature_names(X, frame):
    names = ["speed", "heat", "load"]
    table = frame(dict(zip(names, X.T, strict=True)))
    forest = RandomCutForest(20, random_state=0).fit(table)
    assert forest.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(
        forest.anomaly_score(table), RandomCutForest(20, random_state=0).fit(X).anomaly_score(X)
    )
    with pytest.raises(ValueError, match="feature names should match"):
        forest.predict(table[["heat", "speed", "load"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        forest.predict(X)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_stream_of_frames(X, frame):
    table = frame(dict(zip("abc", X.T, strict=True)))
    forest = RandomCutForest(10, 64, random_state=0)
    scores = np.concatenate([forest.update_many(table[:100]), forest.update_many(table[100:])])
    np.testing.assert_array_equal(scores, RandomCutForest(10, 64, random_state=0).update_many(X))
    assert forest.feature_names_in_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda X: X.tolist(),
        lambda X: X[::-1][::-1],
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: X.astype(">f8"),
        lambda X: np.ma.masked_array(X),
        memoryview,
    ],
)
def test_every_layout_gives_the_same_bits(X, convert):
    expected = RandomCutForest(10, 64, random_state=0).fit(X)
    got = RandomCutForest(10, 64, random_state=0).fit(convert(X))
    np.testing.assert_array_equal(got.anomaly_score(convert(X)), expected.anomaly_score(X))
    a, b = RandomCutForest(10, 64, random_state=0), RandomCutForest(10, 64, random_state=0)
    np.testing.assert_array_equal(a.update_many(convert(X)), b.update_many(X))


def test_whole_numbers_and_floats_of_any_size():
    X = np.random.default_rng(0).integers(-100, 100, (200, 2))
    for kind in (np.int8, np.int64, np.float16, np.float32, np.longdouble, bool):
        plain = X.astype(kind).astype(float)
        expected = RandomCutForest(10, random_state=0).fit(plain).anomaly_score(plain)
        got = RandomCutForest(10, random_state=0).fit(X.astype(kind)).anomaly_score(X.astype(kind))
        np.testing.assert_array_equal(got, expected)


def test_drop_in_for_isolation_forest(X):
    ours, theirs = RandomCutForest(random_state=0).fit(X), IsolationForest(random_state=0).fit(X)
    for method in ("score_samples", "decision_function", "predict"):
        a, b = getattr(ours, method)(X), getattr(theirs, method)(X)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
    assert roc_auc_score(theirs.predict(X[-60:]) == 1, ours.score_samples(X[-60:])) > 0.9
    assert stats.spearmanr(ours.score_samples(X), theirs.score_samples(X)).statistic > 0.9
    assert ours.max_samples_ == theirs.max_samples_ == 256
    assert ours.n_features_in_ == theirs.n_features_in_ == 3
    np.testing.assert_array_equal(ours.decision_function(X), ours.score_samples(X) - ours.offset_)
    np.testing.assert_array_equal(ours.fit_predict(X), ours.predict(X))
    with pytest.raises(AttributeError):
        _ = RandomCutForest().offset_


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_contamination_is_the_share_of_training_rows(share):
    X = np.random.default_rng(0).normal(size=(3000, 2))
    for estimator in (
        RandomCutForest(30, contamination=share, random_state=0),
        IsolationForest(n_estimators=30, contamination=share, random_state=0),
    ):
        assert (estimator.fit_predict(X) == -1).mean() == pytest.approx(share, abs=2 / 3000)


def test_contamination_auto_is_three_sigma(X):
    forest = RandomCutForest(30, random_state=0).fit(X)
    scores = forest.anomaly_score(X)
    assert -forest.offset_ == pytest.approx(scores.mean() + 3 * scores.std())
    large = np.random.default_rng(0).normal(size=(20_000, 2))
    forest.fit(large)
    scores = forest.anomaly_score(large)
    # the standard error of mean + 3 sd from 2048 rows is about 3 sd / sqrt(2 * 2048)
    assert -forest.offset_ == pytest.approx(scores.mean() + 3 * scores.std(), abs=4 * 3 * scores.std() / 64)


@pytest.mark.parametrize("n", [300, 5000])
def test_the_offset_of_a_table_does_not_depend_on_when_it_is_read(n):
    X = np.random.default_rng(2).normal(size=(n, 2))

    def fitted():
        return RandomCutForest(20, 64, random_state=0).fit(X)

    at_once = fitted().offset_
    forest = fitted()
    carried = [copy.deepcopy(forest), pickle.loads(pickle.dumps(forest)), RandomCutForest.from_bytes(forest.to_bytes())]
    X = X.copy()
    assert {other.offset_ for other in [forest, *carried]} == {at_once}
    grown = fitted().partial_fit(X[:100])
    assert grown.offset_ != at_once, "the records that the forest holds now"
    grown.fit(X)
    assert grown.offset_ == at_once
    assert fitted().set_params(contamination=0.2).offset_ == at_once, "a parameter takes effect at the next fit"
    assert fitted().set_params(contamination=0.2).fit(X).offset_ > at_once


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "values", [[-1.1, 0.3, 0.5, 100.0], [0.0, 1.0, 3.0], [5.0] * 20 + [6.0], [1e9, 1e9 + 1, 1e9 + 2]]
)
def test_the_automatic_threshold_is_below_the_score_of_a_far_record(method, values):
    """With few rows, mean + 3 sd is above any possible score."""
    forest = RandomCutForest(30, method=method, random_state=0).fit(np.array(values)[:, None])
    far = [[max(values) + 1e6], [min(values) - 1e6]]
    if method == "path":  # a record beyond all others goes to the leaf of the outermost record and has the same score
        assert -forest.offset_ < forest.anomaly_score(far).max()
        return
    assert forest.predict(far).tolist() == [-1, -1]
    assert forest.predict([[values[1]]]).tolist() == [1]


def test_the_offset_of_a_method_does_not_depend_on_when_it_is_read(X):
    query = np.r_[X[:20], [[9.0] * 3]]

    def fitted():
        return RandomCutForest(50, random_state=0).fit(X)

    late, read = fitted(), fitted()
    first = read.offset_
    for other in ("codisp", "displacement"):
        for forest in (late, read):
            forest.set_params(method=other)
        assert read.offset_ == late.offset_ != first
        np.testing.assert_array_equal(late.predict(query), read.predict(query))
        assert late.predict(query).tolist() == [1] * 20 + [-1]
        carried = [copy.deepcopy(late), pickle.loads(pickle.dumps(late)), RandomCutForest.from_bytes(late.to_bytes())]
        assert {forest.offset_ for forest in carried} == {late.offset_}
        for forest in carried:
            assert forest.set_params(method="depth").offset_ == first, "the offset of the rows given to fit"
    assert late.set_params(method="depth").offset_ == read.set_params(method="depth").offset_ == first
    share = (
        RandomCutForest(50, contamination=0.1, random_state=0).fit(X).set_params(method="codisp", contamination="auto")
    )
    assert (share.predict(X) == -1).mean() == pytest.approx(0.1, abs=0.03), "the contamination of fit"


def test_the_offset_of_a_stream_follows_contamination(X):
    late, read = (RandomCutForest(20, 64, random_state=0).partial_fit(X) for _ in range(2))
    first = read.offset_
    for forest in (late, read):
        forest.set_params(contamination=0.2)
    assert read.offset_ == late.offset_ > first
    assert read.set_params(contamination="auto").offset_ == first


def test_offset_can_be_set(X):
    forest = RandomCutForest(20, random_state=0).fit(X)
    placed, scores = forest.offset_, forest.score_samples(X)
    forest.offset_ = float(np.quantile(scores, 0.25))
    assert (forest.predict(X) == -1).mean() == pytest.approx(0.25, abs=0.01)
    np.testing.assert_array_equal(forest.decision_function(X), scores - forest.offset_)
    carried = [copy.deepcopy(forest), pickle.loads(pickle.dumps(forest)), RandomCutForest.from_bytes(forest.to_bytes())]
    for other in carried:
        assert other.offset_ == forest.offset_
        assert other.partial_fit(X[:5]).offset_ == forest.offset_, "a stream keeps it"
        assert other.fit(X).offset_ == placed, "fit places it anew"
    for wrong in (np.nan, np.inf, None, "auto", True):
        with pytest.raises(ValueError, match="offset_ must be a finite number"):
            forest.offset_ = wrong
    with pytest.raises(NotFittedError):
        RandomCutForest().offset_ = 1.0


def test_offset_follows_the_stream():
    forest = RandomCutForest(20, 64, random_state=0)
    r = np.random.default_rng(0)
    forest.update_many(r.normal(size=(2000, 2)))
    assert forest.predict([[0.0, 0.0], [8.0, 8.0]]).tolist() == [1, -1]
    forest.update_many(r.normal(8.0, 1.0, size=(4000, 2)))
    assert forest.predict([[0.0, 0.0], [8.0, 8.0]]).tolist() == [-1, 1]


def test_offset_follows_forget_and_merge():
    r = np.random.default_rng(0)
    far = r.normal(8.0, 1.0, size=(30, 2))

    def grown(seed, *parts):
        forest = RandomCutForest(20, 64, time_decay=0, random_state=seed)
        forest.update_many(np.concatenate(parts))
        return forest

    forest = grown(0, r.normal(size=(30, 2)), far)
    before = forest.offset_
    assert forest.forget([100.0, 100.0]) == 0
    assert forest.offset_ == before
    for x in far:
        assert forest.forget(x) > 0
    fresh = copy.deepcopy(forest)
    fresh.__dict__.pop("_threshold", None)
    assert forest.offset_ == fresh.offset_ != before

    one, two = grown(1, r.normal(size=(30, 2))), grown(2, far)
    before = one.offset_
    one.merge(two)
    fresh = copy.deepcopy(one)
    del fresh._threshold
    assert one.offset_ == fresh.offset_ != before


# ---- guarantees ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_jobs", [2, 3, -1])
def test_same_bits_for_any_number_of_threads(X, method, n_jobs):
    one, many = (RandomCutForest(13, 64, method=method, n_jobs=n, random_state=0) for n in (1, n_jobs))
    np.testing.assert_array_equal(one.fit(X).anomaly_score(X), many.fit(X).anomaly_score(X))
    if method in ATTRIBUTED:
        np.testing.assert_array_equal(one.attribution(X), many.attribution(X))
    np.testing.assert_array_equal(one.update_many(X), many.update_many(X))
    assert one.offset_ == many.offset_


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cut", [1, 2, 17, 299])
def test_same_bits_for_any_batches(X, method, cut):
    whole, cut_up, learned = (RandomCutForest(13, 32, method=method, random_state=0) for _ in range(3))
    expected = whole.update_many(X)
    got = np.concatenate(
        [
            np.atleast_1d(cut_up.update(X[i]) if cut == 1 else cut_up.update_many(X[i : i + cut]))
            for i in range(0, len(X), cut)
        ]
    )
    np.testing.assert_array_equal(got, expected)
    learned.partial_fit(X)
    np.testing.assert_array_equal(learned.anomaly_score(X), whole.anomaly_score(X))
    assert whole.n_seen_ == cut_up.n_seen_ == learned.n_seen_ == len(X)


def test_seeds(X):
    def scores(seed):
        return RandomCutForest(10, random_state=seed).fit(X).anomaly_score(X)

    np.testing.assert_array_equal(scores(3), scores(3))
    assert (scores(3) != scores(4)).any()
    assert (scores(None) != scores(None)).any()
    np.testing.assert_array_equal(scores(np.random.RandomState(3)), scores(np.random.RandomState(3)))
    np.testing.assert_array_equal(scores(np.random.default_rng(3)), scores(np.random.default_rng(3)))
    shared = np.random.default_rng(3)
    assert (scores(shared) != scores(shared)).any()


def test_fitting_again_starts_afresh(X):
    forest = RandomCutForest(10, random_state=0).fit(X[:, :2])
    forest.fit(X)
    np.testing.assert_array_equal(forest.anomaly_score(X), RandomCutForest(10, random_state=0).fit(X).anomaly_score(X))
    assert forest.n_features_in_ == 3


def test_scoring_changes_nothing(X):
    forest = RandomCutForest(10, 64, random_state=0).fit(X)
    before = pickle.dumps(forest._forest)
    for method in METHODS:
        forest.anomaly_score(X, method)
    for method in ATTRIBUTED:
        forest.attribution(X, method)
    forest.predict(X)
    assert pickle.dumps(forest._forest) == before


@pytest.mark.parametrize("method", ATTRIBUTED)
def test_attribution_adds_up_and_points_the_right_way(X, method):
    forest = RandomCutForest(50, method=method, random_state=0).fit(X[:300])
    parts = forest.attribution(X)
    assert parts.shape == (303, 3, 2)
    assert (parts >= 0).all()
    np.testing.assert_allclose(parts.sum(axis=(1, 2)), forest.anomaly_score(X), rtol=1e-10)
    assert parts[300].argmax() == 0  # feature 0, high
    assert parts[301].argmax() == 3  # feature 1, low
    np.testing.assert_array_equal(
        forest.attribution(X, "depth"), RandomCutForest(50, random_state=0).fit(X[:300]).attribution(X)
    )


def test_the_first_records_of_a_stream_score_zero(X):
    scores = RandomCutForest(10, 40, random_state=0).update_many(X)
    assert (scores[:40] == 0).all()
    assert (scores[40:] > 0).all()


def test_update_after_fit_scores_at_once(X):
    forest = RandomCutForest(30, random_state=0).fit(X[:300])
    expected = forest.anomaly_score(X[300:301])[0]
    assert forest.update(X[300]) == expected
    assert forest.n_seen_ == 301


def test_update_takes_numbers_lists_and_series():
    forests = [RandomCutForest(5, 8, random_state=0) for _ in range(4)]
    values = np.random.default_rng(0).normal(size=50)
    a = [forests[0].update(v) for v in values]
    b = [forests[1].update([v]) for v in values.tolist()]
    c = forests[2].update_many(values[:, None])
    d = [forests[3].update(pd.Series({"v": v})) for v in values]
    assert a == b == c.tolist() == d
    assert isinstance(a[0], float)


def test_forget_takes_a_record_back(X):
    forest = RandomCutForest(20, 400, random_state=0).fit(X)
    outlier = X[-1]
    before = forest.anomaly_score([outlier], "displacement")[0]
    assert forest.forget(outlier) == 20
    assert forest.forget(outlier) == 0
    assert forest.anomaly_score([outlier], "displacement")[0] > before
    assert set(forest._forest.masses()) == {302}
    assert forest.n_seen_ == 303


def test_forget_of_equal_records_takes_one():
    forest = RandomCutForest(5, 10, random_state=0).fit([[1.0], [1.0], [2.0]])
    assert [forest.forget([1.0]) for _ in range(3)] == [5, 5, 0]
    assert [forest.forget([2.0]) for _ in range(2)] == [5, 0]
    assert np.isfinite(forest.update([3.0]))
    assert np.isfinite(forest.update([4.0]))


def test_forgetting_all_leaves_a_forest_that_learns_again(X):
    forest = RandomCutForest(5, 400, random_state=0).fit(X)
    for x in X:
        forest.forget(x)
    assert set(forest._forest.masses()) == {0}
    assert np.isfinite(forest.anomaly_score(X)).all()
    assert np.isfinite(forest.update_many(X)).all()


def test_sample_weight_is_honoured(X):
    """Rows of weight 1000 fill the samples; rows of weight 1/1000 hardly ever enter."""
    heavy = np.where(np.arange(303) < 150, 1e3, 1e-3)
    forest = RandomCutForest(30, 64, random_state=0).fit(X, sample_weight=heavy)
    held = np.concatenate([forest._forest.points(i) for i in range(30)])
    from_heavy = (np.abs(held[:, None, 0] - X[None, :150, 0]) < 1e-5).any(axis=1)
    assert from_heavy.mean() > 0.99
    same = RandomCutForest(30, 64, random_state=0).fit(X, sample_weight=np.full(303, 7.0))
    np.testing.assert_array_equal(
        same.anomaly_score(X), RandomCutForest(30, 64, random_state=0).fit(X).anomaly_score(X)
    )


def test_sample_weight_on_a_stream(X):
    ones, plain = RandomCutForest(10, 32, random_state=0), RandomCutForest(10, 32, random_state=0)
    ones.partial_fit(X, sample_weight=np.ones(303))
    np.testing.assert_array_equal(ones.anomaly_score(X), plain.partial_fit(X).anomaly_score(X))
    weighted = RandomCutForest(50, 8, time_decay=0.0, random_state=0)
    weighted.partial_fit(X, sample_weight=np.where(np.arange(303) == 5, 1e9, 1.0))
    assert weighted.forget(X[5]) == 50


def test_time_decay_prefers_recent_records(X):
    r = np.random.default_rng(0)
    data = np.r_[r.normal(0, 1, (2000, 1)), r.normal(50, 1, (500, 1))]
    for decay, late in ((0.0, 0.2), (0.05, 1.0)):
        forest = RandomCutForest(50, 64, time_decay=decay, random_state=0).fit(data)
        held = np.concatenate([forest._forest.points(i) for i in range(50)])
        assert (held > 25).mean() == pytest.approx(late, abs=0.05)


def test_disjoint_samples():
    """Tree i holds rows [i k, (i + 1) k), so the scale of the depth is log2(k)."""
    X = np.arange(1000.0)[:, None]
    forest = RandomCutForest(10, "disjoint", random_state=0).fit(X)
    for i in range(10):
        np.testing.assert_array_equal(np.sort(forest._forest.points(i)[:, 0]), X[100 * i : 100 * (i + 1), 0])
    assert forest.max_samples_ == 100


@pytest.mark.parametrize(
    ("given", "rows", "held"), [(256, 100, 100), (0.5, 100, 50), ("auto", 1000, 256), (1.0, 80, 80), (1e-9, 9, 1)]
)
def test_max_samples(given, rows, held):
    forest = RandomCutForest(4, given, random_state=0).fit(np.random.default_rng(0).normal(size=(rows, 2)))
    assert forest.max_samples_ == held
    assert set(forest._forest.masses()) == {held}


# ---- at the edges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("max_samples", [1, 2])
def test_tiny_samples(X, method, max_samples):
    forest = RandomCutForest(10, max_samples, method=method, random_state=0).fit(X)
    assert np.isfinite(forest.anomaly_score(X)).all()
    if method in ATTRIBUTED:
        np.testing.assert_allclose(forest.attribution(X).sum(axis=(1, 2)), forest.anomaly_score(X), atol=1e-12)
    assert np.isfinite(forest.offset_)
    stream = RandomCutForest(10, max_samples, method=method, random_state=0)
    assert np.isfinite(stream.update_many(X)).all()
    assert all(np.isfinite(stream.update(x)) for x in X)
    for x in X:
        stream.forget(x)
    assert np.isfinite(stream.update_many(X)).all()


@pytest.mark.parametrize("method", METHODS)
def test_one_row(method):
    forest = RandomCutForest(10, method=method, random_state=0).fit([[1.0, 2.0]])
    assert forest.max_samples_ == 1
    assert np.isfinite(forest.anomaly_score([[1.0, 2.0], [3.0, 4.0]])).all()
    if method in ("depth", "path"):  # the unit of "depth" is log2(1) = 0, and a path has no node
        with pytest.warns(UserWarning, match=f"method='{method}' and 1 records in a tree.*more rows"):
            assert forest.predict([[1.0, 2.0], [3.0, 4.0]]).tolist() == [1, 1]
    else:
        assert forest.predict([[1.0, 2.0], [3.0, 4.0]]).tolist() == [1, -1]
    assert RandomCutForest(method=method).fit([[0.0], [0.0], [1.0]]).predict([[9.0]]).tolist() == [-1]
    assert np.isfinite(forest.update([5.0, 6.0]))


@pytest.mark.parametrize("value", [0.0, -3.5, 1e9, 1e-40])
def test_constant_data(value):
    """The scores are those that the services return for a constant series."""
    X = np.full((1000, 2), value)
    forest = RandomCutForest(20, random_state=0).fit(X)
    np.testing.assert_allclose(forest.anomaly_score(X[:5]), 8 / 257, rtol=1e-12)
    np.testing.assert_allclose(forest.anomaly_score(X[:5] + 1), 8.0, rtol=1e-12)
    np.testing.assert_allclose(
        forest.anomaly_score(X[:5], "opensearch"), 0.5 * 8 / np.log2(257) * np.log2(257) / 8, rtol=0.2
    )
    assert (forest.predict(X) == 1).all()
    stream = RandomCutForest(20, random_state=0).update_many(X)
    np.testing.assert_allclose(stream[256:], 8 / 257, rtol=1e-12)


def test_range_of_float32():
    X = np.random.default_rng(0).uniform(-1, 1, (300, 2)) * 1.6e38
    for data in (X, X * 1e-76, X * 0 + 1e38):
        forest = RandomCutForest(20, random_state=0)
        assert np.isfinite(forest.fit(data).anomaly_score(data)).all()
        assert np.isfinite(forest.update_many(data)).all()
        assert np.isfinite(forest.attribution(data)).all()


def test_a_large_offset_does_not_hide_an_outlier():
    """1e9 +- 1 is a single value in float32, and both Rust forests miss an outlier of 30 sigma there."""
    noise = np.r_[np.random.default_rng(0).normal(size=(600, 1)), [[30.0]]]
    forest, shifted = (RandomCutForest(50, random_state=0) for _ in range(2))
    scores, far = forest.update_many(noise), shifted.update_many(noise + 1e9)
    assert far[-1] > 3 * far[300:-1].max() / 2
    assert far.argmax() == 600
    np.testing.assert_allclose(far[-1], scores[-1], rtol=0.02)
    fitted = RandomCutForest(50, random_state=0).fit(noise[:-1] + 1e9)
    assert fitted.predict(noise[-1:] + 1e9).tolist() == [-1]


def test_minus_zero_is_zero():
    X = np.random.default_rng(0).integers(-1, 2, (300, 3)).astype(float)
    signed = np.where(X == 0, -0.0, X)
    a, b = RandomCutForest(10, 32, random_state=0), RandomCutForest(10, 32, random_state=0)
    np.testing.assert_array_equal(a.update_many(X), b.update_many(signed))
    np.testing.assert_array_equal(a.anomaly_score(signed), b.anomaly_score(X))
    assert a.forget([0.0, 0.0, 0.0]) == b.forget([-0.0, -0.0, -0.0])


def test_near_duplicates():
    """Two neighbouring floats alternate. A cut between them must leave neither side empty."""
    X = np.where(np.arange(2000) % 2, 48.08, 48.08001).reshape(-1, 1)
    X = np.c_[X, np.nextafter(np.float32(1), np.float32(1 + np.arange(2000) % 2))]
    forest = RandomCutForest(20, 64, random_state=0)
    assert np.isfinite(forest.update_many(X)).all()
    assert np.isfinite(forest.fit(X).anomaly_score(X)).all()


def test_many_features():
    X = np.random.default_rng(0).normal(size=(20, 50_000))
    X[-1, 33_333] = 1e6
    forest = RandomCutForest(5, random_state=0).fit(X[:-1])
    assert forest.attribution(X[-1:])[0].argmax() == 2 * 33_333


def test_displacement_of_rows_that_every_tree_holds_is_zero():
    """As the docstring warns, this score is informative only for rows that the forest does not hold."""
    table = np.r_[np.random.default_rng(0).normal(size=(200, 2)), [[9.0, 9.0]]]
    forest = RandomCutForest(20, method="displacement", random_state=0).fit(table)
    assert (forest.anomaly_score(table) == 0.0).all()
    assert forest.anomaly_score([[9.0, -9.0]])[0] > 0.0
    for other in ("depth", "codisp", "opensearch"):
        assert forest.anomaly_score(table, other).argmax() == 200


def test_a_forest_fitted_to_few_rows_scores_what_comes_next():
    """The sample is not full, but the forest has all its data, so there is no warm-up."""
    X = np.random.default_rng(0).normal(size=(50, 3))
    forest = RandomCutForest(10, random_state=0).fit(X)
    assert forest.update([9.0, 9.0, 9.0]) > 1.5
    assert (forest.update_many(X[:5] + 0.01) > 0).all()


@pytest.mark.parametrize("grown", ["fit", "partial_fit", "update_many", "update of a Series"])
def test_names_of_records_must_be_those_of_the_features(grown):
    """The names of a Series are in its index. A Series in another order is refused, because learning it by position would be
    wrong.
    """
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=list("abc"))
    forest = RandomCutForest(5, 16, random_state=0)
    if grown == "update of a Series":
        for _, row in frame.iterrows():
            forest.update(row)
    else:
        {"fit": forest.fit, "partial_fit": forest.partial_fit}.get(grown, forest.update_many)(frame)
    before = pickle.dumps(forest.__dict__)
    other = frame[list("cba")]
    calls = (forest.update, forest.forget, forest.neighbors)
    for call, X in [(call, other.iloc[0]) for call in calls] + [
        (forest.update_many, other[:1]),
        (forest.partial_fit, other),
    ]:
        with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
            call(X)
    with pytest.raises(ValueError, match="Feature names unseen at fit time:\n- z"):
        forest.update(pd.Series([1.0, 2.0, 3.0], index=list("abz")))
    assert pickle.dumps(forest.__dict__) == before
    twin = pickle.loads(before)["_forest"]
    for row in (frame.iloc[3], pd.Series([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]):  # data without names are used by position
        assert forest.update(row) == twin.update_record(np.array(row, dtype=float), forest.method)
    assert RandomCutForest(5, 16).partial_fit(frame.to_numpy()).update(other.iloc[0]) >= 0


@pytest.mark.parametrize(
    "changed",
    [{"n_estimators": 9}, {"max_samples": 20}, {"time_decay": 0.5}, {"low_memory": True}, {"random_state": 1}],
    ids=str,
)
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_parameter_that_can_no_longer_act_is_refused(X, changed, by_hand):
    forest = RandomCutForest(10, 16, random_state=0).partial_fit(X[:100])
    forest.update(X[100])
    before, ([name, value],) = forest.to_bytes(), changed.items()
    was = getattr(forest, name)
    if by_hand:
        setattr(forest, name, value)
    else:
        forest.set_params(**changed)
    for learn in (lambda: forest.update(X[0]), lambda: forest.update_many(X), lambda: forest.partial_fit(X)):
        with pytest.raises(
            ValueError, match=f"{name} cannot change within a stream: it was {was!r} .* is {value!r} now"
        ):
            learn()
    assert forest.anomaly_score(X).shape == (len(X),)
    assert forest.to_bytes() == before, "the saved forest has the parameters with which it was begun"
    forest.set_params(**{name: was}).update(X[0])
    forest.set_params(**changed).fit(X).update(X[0])
