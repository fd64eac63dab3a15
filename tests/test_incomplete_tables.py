"""Tables with missing values and sparse tables, compared with complete and dense tables."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

import rcf.estimator
from rcf import RandomCutForest

METHODS = ("depth", "codisp", "displacement", "opensearch")
READ = ("anomaly_score", "score_samples", "decision_function", "predict", "attribution", "density")


def table(seed=0, n=1500, missing=0.0):
    """Correlated normals with 60 outliers at the end, and the same with cells missing at random."""
    rng = np.random.default_rng(seed)
    X = (
        rng.normal(size=(n, 2)) @ [[1.0, 0.8, 0.1, 0.0], [0.0, 0.6, 1.0, 0.3]]
        + 0.2 * rng.normal(size=(n, 4))
        + [0, 5, -3, 100]
    )
    X[-60:] += rng.choice([-5.0, 5.0], size=(60, 4)) * (rng.random((60, 4)) < 0.7)
    return X, np.where(rng.random(X.shape) < missing, np.nan, X)


def medians(forest):
    """The median of each feature over all records of all trees, computed by definition."""
    values = [[] for _ in range(forest.n_features_in_)]
    for tree in forest.trees_:
        for point, mass in zip(tree.points, tree.leaf_mass, strict=True):
            for j, value in enumerate(point):
                values[j] += [float(value) + tree.origin[j]] * int(mass)
    return np.array([np.median(column) for column in values])


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_value_is_scored_as_the_median_that_the_trees_hold(method):
    X, gaps = table(missing=0.2)
    X[:, 3] = np.round(X[:, 3])  # ties, so that the masses of the leaves matter
    gaps[:, 3] = np.where(np.isnan(gaps[:, 3]), np.nan, X[:, 3])
    forest = RandomCutForest(10, 64, method=method, random_state=0).fit(X)
    whole = np.where(np.isnan(gaps), medians(forest), gaps)
    for name in READ:
        np.testing.assert_array_equal(getattr(forest, name)(gaps), getattr(forest, name)(whole), err_msg=name)
    stream = RandomCutForest(10, 64, random_state=0).partial_fit(X)
    before = stream.anomaly_score(gaps)
    np.testing.assert_array_equal(before, stream.anomaly_score(np.where(np.isnan(gaps), medians(stream), gaps)))
    stream.partial_fit(X + 50.0)
    np.testing.assert_array_equal(
        stream.anomaly_score(gaps), stream.anomaly_score(np.where(np.isnan(gaps), medians(stream), gaps))
    )


def test_trees_hold_values_of_the_feature_in_the_place_of_missing_ones():
    _, gaps = table(missing=0.3)
    forest = RandomCutForest(20, random_state=0).fit(gaps)
    held = np.concatenate([tree.points[tree.leaf_mass > 0] + tree.origin for tree in forest.trees_])
    for j in range(4):
        known = gaps[~np.isnan(gaps[:, j]), j]
        nearest = np.abs(known[:, None] - np.unique(held[:, j])).min(axis=0)
        assert nearest.max() < 1e-5
        assert held[:, j].std() == pytest.approx(known.std(), rel=0.2)
    again = RandomCutForest(20, random_state=0, n_jobs=2).fit(gaps)
    np.testing.assert_array_equal(again.anomaly_score(gaps), forest.anomaly_score(gaps))
    np.testing.assert_array_equal(forest.predict(gaps), RandomCutForest.from_bytes(forest.to_bytes()).predict(gaps))
    assert np.isnan(gaps).any(), "the caller's table does not change"


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_ranking_with_missing_values_is_as_good_as_in_isolation_forest(share):
    truth = np.arange(1500) >= 1440
    ours, theirs = [], []
    for seed in range(4):
        _, gaps = table(seed, missing=share)
        ours.append(roc_auc_score(truth, RandomCutForest(random_state=seed).fit(gaps).anomaly_score(gaps)))
        theirs.append(roc_auc_score(truth, -IsolationForest(random_state=seed).fit(gaps).score_samples(gaps)))
    assert np.mean(ours) > np.mean(theirs) - 0.01
    assert np.mean(ours) > 0.85


@pytest.mark.parametrize("contamination", ["auto", 0.04])
def test_contamination_counts_rows_with_missing_values(contamination):
    _, gaps = table(missing=0.1)
    forest = RandomCutForest(contamination=contamination, random_state=0).fit(gaps)
    found = forest.fit_predict(gaps) == -1
    assert 20 <= found.sum() <= 80
    assert found[-60:].sum() > 0.5 * found.sum()


def test_a_feature_without_values_counts_as_constant():
    X, _ = table()
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["b"] = None
    forest = RandomCutForest(50, random_state=0).fit(frame)
    assert (forest.attribution(frame)[:, 1] == 0.0).all()
    without = RandomCutForest(50, random_state=0).fit(X[:, [0, 2, 3]])
    truth = np.arange(1500) >= 1440
    aucs = [roc_auc_score(truth, f.anomaly_score(x)) for f, x in ((forest, frame), (without, X[:, [0, 2, 3]]))]
    assert aucs[0] == pytest.approx(aucs[1], abs=0.02)


def test_one_missing_value_hides_no_outlier():
    X, _ = table()
    forest = RandomCutForest(random_state=0).fit(X)
    assert forest.predict([[np.nan, 5.0, -3.0, 140.0], [np.nan, 5.0, -3.0, 100.0]]).tolist() == [-1, 1]
    assert forest.predict([[np.nan] * 4]).tolist() == [1]


# ---- sparse


def thin(seed=0, n=800, d=12):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.2)
    X[-1] = 4.0
    return X


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "coo_array", "csr_array", "lil_matrix"])
def test_a_sparse_table_gives_the_bits_of_the_dense_one(kind, monkeypatch):
    given = getattr(sparse, kind)(thin())
    dense = thin()
    a, b = (RandomCutForest(20, contamination=0.05, random_state=0).fit(X) for X in (given, dense))
    monkeypatch.setattr(rcf.estimator, "blocks", lambda n, d: [slice(i, i + 7) for i in range(0, n, 7)])
    for name in READ:
        np.testing.assert_array_equal(getattr(a, name)(given), getattr(b, name)(dense), err_msg=name)
    assert a.offset_ == b.offset_
    assert (
        RandomCutForest(20, random_state=0).fit(given).offset_ == RandomCutForest(20, random_state=0).fit(dense).offset_
    )
    assert a.predict(given)[-1] == -1


def test_sparse_with_missing_values():
    given = sparse.csr_matrix(thin())
    given.data[::17] = np.nan
    a, b = (RandomCutForest(20, random_state=0).fit(X) for X in (given, given.toarray()))
    np.testing.assert_array_equal(a.anomaly_score(given), b.anomaly_score(given.toarray()))


def test_large_sparse_tables_are_subsampled(monkeypatch):
    """As many rows as fit are drawn, each with the same probability. The rows keep their weights."""
    n, fits = 6000, 1500
    X = sparse.csr_matrix(np.arange(1.0, n + 1)[:, None])
    monkeypatch.setattr(rcf.estimator, "_DENSE", fits)
    held = []
    for seed in range(40):
        forest = RandomCutForest(1, 128, random_state=seed).fit(X)
        assert forest.n_seen_ == fits
        held.append(forest._forest.points(0)[:, 0])
    held = np.concatenate(held)
    assert len(held) == 40 * 128
    counts = np.histogram(held, 10, (0.5, n + 0.5))[0]
    # a tenth is 512; the bound is 5 standard deviations of at most 21.5
    assert np.abs(counts - 512).max() < 108
    weights = np.where(np.arange(n) < n // 2, 1e-9, 1.0)
    assert RandomCutForest(1, 128, random_state=0).fit(X, sample_weight=weights)._forest.points(0).min() > n // 2
    shares = RandomCutForest(10, contamination=0.1, random_state=0).fit(X).predict(X)
    assert (shares == -1).mean() == pytest.approx(0.1, abs=0.02), "the threshold is that of all rows"
    assert RandomCutForest(4, 128, time_decay=0.01, random_state=0).fit(X).n_seen_ == n, "the decay counts every row"


def test_streams_take_whole_records_only():
    forest = RandomCutForest(5, 16, random_state=0).fit(np.eye(4))
    with pytest.raises(ValueError, match=r"NaN \(row 0, feature 1\)"):
        forest.partial_fit([[1.0, np.nan, 0.0, 0.0]])
    with pytest.raises(TypeError, match="dense data is required"):
        forest.update_many(sparse.eye(4, format="csr"))
