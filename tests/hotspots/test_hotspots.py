"""HotSpots: the documented example, the interface, the clusterer, bad input, and degenerate data."""

import copy
import itertools
import json
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import DBSCAN
from sklearn.datasets import make_blobs
from sklearn.utils.estimator_checks import parametrize_with_checks

from rcf.hotspots import Change, HotSpots, k_distances, suggest_radius


def documented_example(seed, n_windows=3):
    """Points that are uniform on 10 x 10, except a fifth in a square of side 1 that moves every 1000 points; and the corners of the
    square.
    """
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 9, size=(n_windows, 2))
    X = rng.uniform(0, 10, size=(1000 * n_windows, 2))
    hot = rng.random(len(X)) < 0.2
    X[hot] = (np.repeat(corners, 1000, axis=0) + rng.uniform(0, 1, size=X.shape))[hot]
    return X, corners


@pytest.mark.parametrize("seed", range(60))
def test_documented_example(seed):
    X, corners = documented_example(seed)
    spots = HotSpots(window_size=1000, scan_radius=0.2, min_points=17, strict=True)
    for window, corner in zip(np.split(X, 3), corners, strict=True):
        found = spots.update_many(window)
        (spot,) = [spot for spot in found if spot.density >= 40]
        assert spot.density >= 100
        np.testing.assert_allclose(spot.min_values, corner, atol=0.25)
        np.testing.assert_allclose(spot.max_values, corner + 1, atol=0.25)
        assert len(found) == 1


def blobs(d, n=700, seed=0):
    centers = np.random.default_rng(seed).uniform(-10, 10, size=(6, d))
    X, _ = make_blobs(n, centers=centers, cluster_std=1.0, random_state=seed)
    return np.concatenate([X[: n // 2], np.random.default_rng(seed).uniform(-12, 12, size=(n // 4, d)), X[n // 2 :]])


def assert_like_dbscan(X, labels, radius, min_points, exact_numbers):
    """Labels equal scikit-learn's, except for border records within reach of several regions. They belong to the region of the
    nearest core.
    """
    # scikit-learn's brute force rounds distances, and its trees do not
    dbscan = DBSCAN(eps=radius, min_samples=min_points, algorithm="kd_tree").fit(X)
    core = np.zeros(len(X), dtype=bool)
    core[dbscan.core_sample_indices_] = True
    theirs = dbscan.labels_
    if not exact_numbers:
        number = dict(zip(theirs[core], labels[core], strict=True))
        assert len(set(number.values())) == len(number)
        theirs = np.array([number.get(label, -1) for label in theirs])
    np.testing.assert_array_equal(labels[core], theirs[core])
    np.testing.assert_array_equal(labels < 0, theirs < 0)
    for i in np.flatnonzero(~core & (theirs >= 0)):
        distance = np.sqrt(((X[core] - X[i]) ** 2).sum(axis=1))
        assert labels[i] == labels[core][distance.argmin()]
        if len(set(labels[core][distance <= radius])) == 1:
            assert labels[i] == theirs[i]
    return core


@pytest.mark.parametrize("d", [1, 2, 3, 4, 10, 30])
@pytest.mark.parametrize("min_points", [1, 2, 8])
def test_fit_predict_is_dbscan(d, min_points):
    X = blobs(d)
    radius = float(np.quantile(k_distances(X, 8), 0.5))
    spots = HotSpots(scan_radius=radius, min_points=min_points)
    labels = spots.fit_predict(X)
    core = assert_like_dbscan(X, labels, radius, min_points, exact_numbers=True)
    np.testing.assert_array_equal(spots.core_sample_indices_, np.flatnonzero(core))
    assert len(spots.hot_spots_) == labels.max() + 1 >= 2
    for i, spot in enumerate(spots.hot_spots_):
        members = X[labels == i]
        assert spot.count == len(members)
        assert spot.min_values == tuple(members.min(axis=0))
        assert spot.max_values == tuple(members.max(axis=0))
        np.testing.assert_allclose(spot.center, members.mean(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(spots.members(spot.id), np.flatnonzero(labels == i))


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("older", [-1.0, 1.0])
@pytest.mark.parametrize("gone", [False, True])
def test_a_border_record_belongs_to_the_oldest_of_equally_near_cores(d, older, gone):
    """A border record is assigned to a region when it enters, and again when its nearest core has left the window."""
    side = older * np.array([1.0, 1.125, 1.25, 1.375])
    values = np.concatenate([[older * 0.75] if gone else [], side, -side[gone:], [0.0], -side[:gone]])
    rows = np.zeros((len(values), d))
    rows[:, 0] = values
    spots = HotSpots(window_size=len(rows), scan_radius=1.0, min_points=4)
    spots.update_many(rows)
    if gone:
        spots.update([9.0] * d)
    sides = {np.sign(spot.center[0]): (spot.min_values[0], spot.max_values[0]) for spot in spots.hot_spots_}
    assert sides[older] == tuple(sorted([0.0, side[-1]]))
    assert sides[-older] == tuple(sorted([-side[0], -side[-1]]))


@pytest.mark.parametrize("d", [1, 2, 3, 4, 10, 30])
def test_windows_of_a_stream_are_dbscan(d):
    X = np.random.default_rng(1).permutation(blobs(d, n=1200))
    X = np.concatenate([X, np.sort(X, axis=0), X + 0.5])  # mixed, drifting, and mixed again
    radius, window_size = float(np.quantile(k_distances(X, 8), 0.3)), 300
    spots, most = HotSpots(window_size, radius, 6), 0
    for end in range(150, len(X) + 1, 150):
        spots.update_many(X[end - 150 : end])
        window = X[max(0, end - window_size) : end]
        np.testing.assert_array_equal(spots.records(), window)
        assert_like_dbscan(window, spots.labels_, radius, 6, exact_numbers=False)
        most = max(most, len(spots.hot_spots_))
    assert most > 2


def test_a_batch_equals_its_records_one_by_one():
    X, _ = documented_example(3)
    one, many, whole = (HotSpots(500, 0.2, 9) for _ in range(3))
    changes = []
    for i, x in enumerate(X):
        if i % 2:
            changes += one.follow([x])
        else:
            changes += one.follow(pd.DataFrame([x]).to_numpy())
    assert changes == many.follow(X)
    assert one.hot_spots_ == many.hot_spots_ == whole.update_many(X)
    single = HotSpots(500, 0.2, 9)
    for x in X:
        last = single.update(x)
    assert last == one.hot_spots_
    assert single.n_seen_ == len(X)


def test_changes_of_regions():
    spots = HotSpots(window_size=6, scan_radius=1, min_points=2)
    told = spots.follow([[0], [1], [5], [6], [3]])
    assert told == [Change(1, "born", 0, None, 2), Change(3, "born", 1, None, 2)]
    # 2 joins 0, 1 and 3; 4 joins them with 5 and 6, while 0 leaves. If two regions are equally large, the older one stays
    assert spots.follow([[2]]) == [Change(5, "grown", 0, None, 4)]
    assert spots.follow([[4]]) == [Change(6, "grown", 0, None, 6), Change(6, "merged", 1, 0, 0)]
    assert [spot.id for spot in spots.hot_spots_] == [0]
    # the records at 0, 1 and 5 leave one after the other
    assert spots.follow([[100], [100], [100]]) == [
        Change(7, "shrunk", 0, None, 5),
        Change(8, "born", 2, None, 2),
        Change(8, "shrunk", 0, None, 3),
        Change(9, "grown", 2, None, 3),
    ]
    split = HotSpots(window_size=5, scan_radius=1, min_points=2)
    split.update_many([[2], [0], [1], [3], [4]])
    assert split.follow([[50]]) == [Change(5, "split", 1, 0, 2), Change(5, "shrunk", 0, None, 2)]
    np.testing.assert_array_equal(split.members(0), [1, 2])  # of equal parts, the one with the oldest core keeps the id
    np.testing.assert_array_equal(split.members(1), [3, 4])
    assert [change.kind for change in split.follow([[60], [70], [80], [90]])] == ["died", "died"]
    with pytest.raises(KeyError, match="no region has the id 0"):
        split.members(0)


def test_a_box_that_shrinks_and_is_joined_before_it_is_read():
    spots = HotSpots(window_size=7, scan_radius=1, min_points=2)
    assert len(spots.update_many([[0], [1], [2], [4], [5], [6], [7]])) == 2
    (spot,) = spots.update_many([[100], [3]])
    assert (spot.min_values, spot.max_values, spot.count) == ((2.0,), (7.0,), 6)


def test_changes_account_for_every_id():
    X, _ = documented_example(5, n_windows=4)
    spots = HotSpots(300, 0.25, 5)
    alive, ever = {}, set()
    for change in spots.follow(X):
        if change.kind in ("born", "split"):
            assert change.id not in ever
            ever.add(change.id)
            alive[change.id] = change.count
        elif change.kind in ("merged", "died"):
            del alive[change.id]
        else:
            assert (change.count > alive[change.id]) == (change.kind == "grown")
            alive[change.id] = change.count
        assert (change.other is not None) == (change.kind in ("split", "merged"))
    assert alive == {spot.id: spot.count for spot in spots.hot_spots_}
    assert {change.kind for change in HotSpots(300, 0.25, 5).follow(X)} == {
        "born", "split", "grown", "shrunk", "merged", "died",
    }  # fmt: skip


# ---- the contract ----------------------------------------------------------------------------------------------


def test_kinesis_json():
    spots = HotSpots(window_size=100, scan_radius=1.0, min_points=2, strict=True)
    spots.update([1, 2])
    assert spots.kinesis_json() == '{"hotspots":[]}'
    spots.update_many([[1.25, 2.5], [8, 8], [8.5, 8]])
    assert spots.kinesis_json() == (
        '{"hotspots":[{"density":16.0,"minValues":[1.0,2.0],"maxValues":[1.25,2.5]},'
        '{"density":4.0,"minValues":[8.0,8.0],"maxValues":[8.5,8.0]}]}'
    )
    assert list(json.loads(spots.kinesis_json())["hotspots"][0]) == ["density", "minValues", "maxValues"]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"window_size": 99}, "window_size"),
        ({"window_size": 1001}, "window_size"),
        ({"min_points": 1}, "min_points"),
        ({"window_size": 100, "min_points": 101}, "min_points"),
    ],
)
def test_strict_limits(parameters, name):
    with pytest.raises(ValueError, match=rf"{name} must be .*, got {parameters[name]}"):
        HotSpots(**parameters, strict=True).update([0.0])
    if name != "min_points" or parameters[name] == 1:
        HotSpots(**parameters).update([0.0])
    HotSpots(100, 0.1, 100, strict=True).update([0.0])
    HotSpots(1000, 0.1, 2, strict=True).update([0.0])


# ---- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scan_radius": 0}, "'scan_radius' parameter .* Got 0"),
        ({"scan_radius": -1.5}, "'scan_radius' parameter .* Got -1.5"),
        ({"scan_radius": np.nan}, "'scan_radius' parameter .* Got nan"),
        ({"scan_radius": np.inf}, "'scan_radius' parameter .* Got inf"),
        ({"scan_radius": 1e-160}, "'scan_radius' parameter .* Got 1e-160"),
        ({"scan_radius": "0.2"}, "'scan_radius' parameter .* Got '0.2'"),
        ({"window_size": 0}, "'window_size' parameter .* Got 0"),
        ({"window_size": 10.5}, "'window_size' parameter .* Got 10.5"),
        ({"window_size": 2**40}, "'window_size' parameter .* Got 1099511627776"),
        ({"min_points": 0}, "'min_points' parameter .* Got 0"),
        ({"window_size": 10, "min_points": 11}, "min_points must be at most window_size, 10, got 11"),
    ],
)
@pytest.mark.parametrize("call", ["update", "update_many", "follow", "fit"])
def test_bad_parameters(parameters, message, call):
    spots = HotSpots(**parameters)
    before = copy.deepcopy(vars(spots))
    with pytest.raises(ValueError, match=message):
        getattr(spots, call)([1.0, 2.0] if call == "update" else [[1.0, 2.0]])
    assert str(vars(spots)) == str(before)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.0, 1.0], [np.nan, 0.0]], r"Input X contains NaN \(row 1, feature 0\)"),
        ([[0.0, np.inf]], r"Input X contains infinity \(row 0, feature 1\)"),
        ([[0.0, -np.inf]], r"Input X contains infinity \(row 0, feature 1\)"),
        ([[1.0, 2.0, 3.0]], "X has 3 features, but HotSpots is expecting 2"),
        ([["a", "b"]], "could not convert string"),
        ([1.0, 2.0], "Expected 2D array"),
        (np.empty((0, 2)), "0 sample"),
    ],
)
def test_bad_rows_change_nothing(rows, message):
    X, _ = documented_example(0, n_windows=1)
    spots, fresh = HotSpots(200, 0.3, 5), HotSpots(200, 0.3, 5)
    spots.update_many(X[:300])
    before = pickle.dumps((spots.hot_spots_, spots.labels_, spots.n_seen_))
    for call in ("update_many", "follow", "fit"):
        if call == "fit" and message.startswith("X has 3"):
            continue
        with pytest.raises(ValueError, match=message):
            getattr(spots, call)(rows)
        assert pickle.dumps((spots.hot_spots_, spots.labels_, spots.n_seen_)) == before
        assert spots.n_features_in_ == 2
        if not message.startswith("X has 3"):
            with pytest.raises(ValueError, match=message):
                getattr(fresh, call)(rows)
            assert vars(fresh) == vars(HotSpots(200, 0.3, 5))
    same = HotSpots(200, 0.3, 5)
    same.update_many(X[:300])
    assert spots.update_many(X[300:]) == same.update_many(X[300:])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([np.nan, 0.0], r"NaN \(row 0, feature 0\)"),
        ([0.0, np.inf], r"infinity \(row 0, feature 1\)"),
        ([1.0], "1 features"),
        ([1.0, 2.0, 3.0], "3 features"),
        ([[1.0, 2.0]], "one-dimensional"),
        ([], "at least one feature"),
        ("ab", "numbers"),
        (None, "must be 2 numbers, got None"),
        ([object(), 1], "numbers"),
    ],
)
def test_a_bad_record_changes_nothing(record, message):
    spots = HotSpots(200, 1.0, 2)
    spots.update_many([[0.0, 0.0], [0.5, 0.0]])
    before = spots.hot_spots_
    with pytest.raises(ValueError, match=message):
        spots.update(record)
    assert spots.hot_spots_ == before
    assert spots.n_seen_ == 2


def test_parameters_cannot_change_within_a_stream():
    spots = HotSpots(10, 1.0, 2)
    spots.update([0.0])
    spots.set_params(scan_radius=2.0)
    with pytest.raises(ValueError, match=r"scan_radius cannot change within a stream: it was 1\.0 .* and is 2\.0"):
        spots.update([0.0])
    spots.fit([[0.0], [1.5]])
    assert spots.update([1.0])[0].count == 3


def test_reading_before_the_first_record():
    for name in ("hot_spots_", "labels_", "core_sample_indices_", "n_seen_"):
        assert not hasattr(HotSpots(), name)
    assert HotSpots().kinesis_json() == '{"hotspots":[]}'
    for read in (lambda s: s.members(0), lambda s: s.records()):
        with pytest.raises(ValueError, match="not fitted"):
            read(HotSpots())


# ---- degenerate data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3, 4, 10, 30])
def test_one_point_and_all_identical(d):
    spots = HotSpots(window_size=400, scan_radius=0.5, min_points=1)
    (spot,) = spots.update(np.full(d, 7.0))
    assert spot.count == 1
    assert spot.density == 2.0**d  # a side without length counts as the radius
    assert spot.center == spot.min_values == spot.max_values == (7.0,) * d
    (spot,) = spots.update_many(np.full((1000, d), 7.0))
    assert spot.count == 400
    assert spot.density == 400 * 2.0**d
    assert spots.update_many(np.full((400, d), 8.0))[0].min_values == (8.0,) * d
    assert HotSpots(scan_radius=0.5, min_points=2).update(np.full(d, 7.0)) == []


def test_negative_zero_is_zero():
    (spot,) = HotSpots(scan_radius=0.5, min_points=1).fit([[-0.0]]).hot_spots_
    assert str(spot.min_values) == "(0.0,)"


@pytest.mark.parametrize("d", [1, 2, 3, 4, 10, 30])
def test_interleaved_regions_exactly_a_radius_apart(d):
    """Two lines of points are one region at the radius, and two regions at a slightly smaller radius."""
    along = np.arange(40) * 0.25
    X = np.zeros((80, d))
    X[0::2, 0], X[1::2, 0] = along, along
    X[1::2, -1] += 0.5 if d > 1 else 20.0
    for radius, regions in ((0.5, 1 if d > 1 else 2), (np.nextafter(0.5, 0), 2)):
        spots = HotSpots(window_size=80, scan_radius=radius, min_points=3)
        spots.update_many(X)
        assert len(spots.hot_spots_) == regions
        assert_like_dbscan(X, spots.labels_, radius, 3, exact_numbers=True)
        for x in X:  # each record leaves and enters again
            spots.update(x)
            assert len(spots.hot_spots_) == regions


def test_a_ring_that_opens_and_breaks():
    angle = np.arange(100) * 2 * np.pi / 100
    ring = np.c_[np.cos(angle), np.sin(angle)]
    spots = HotSpots(window_size=100, scan_radius=0.1, min_points=3)
    assert len(spots.update_many(np.roll(ring, 0, axis=0))) == 1
    far = 50 + np.arange(200)[:, None] * np.ones(2)
    kinds = [change.kind for change in spots.follow(far[:1])]
    assert kinds == ["shrunk"]
    order = np.r_[0, 50, np.setdiff1d(np.arange(100), [0, 50])]
    spots = HotSpots(window_size=100, scan_radius=0.1, min_points=3)
    spots.update_many(ring[order])
    kinds = [change.kind for change in spots.follow(far[:2])]
    assert kinds == ["shrunk", "split", "shrunk"]


@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", [1e-140, 1e-9, 1.0, 1e9, 1e140])
def test_any_scale_and_offset(d, scale):
    X = np.random.default_rng(0).permutation(blobs(d, n=300))
    plain, scaled = HotSpots(200, 1.0, 4), HotSpots(200, scale, 4)
    plain.update_many(X)
    scaled.update_many(X * scale)
    np.testing.assert_array_equal(plain.labels_, scaled.labels_)
    # at 10^9, doubles have 7 digits after the point, and so would the places in a grid that counts from 0
    shifted = HotSpots(200, 1.0, 4)
    grid = np.round(X * 16) / 16
    plain.fit(grid)
    np.testing.assert_array_equal(shifted.fit(grid + 1e9).labels_, plain.labels_)


@pytest.mark.parametrize("radius", [0.1, 0.3, 0.7, 1 / 3, 1.1, 2.3e-5])
def test_at_the_edges_of_cells(radius):
    """Records at multiples of the radius lie on the edges of cells, and rounding decides on which side."""
    X = np.concatenate([np.arange(3000), 10_000 + np.arange(3000)])[:, None] * radius
    for rows in (X, X[::-1], np.nextafter(X, -1), X + 1e6 * radius):
        labels = HotSpots(scan_radius=radius, min_points=2).fit_predict(rows)
        assert_like_dbscan(rows, labels, radius, 2, exact_numbers=True)


def test_farther_apart_than_cells_can_count():
    X = np.array([[0.0], [1e-3], [1e300], [1e300], [-1e300], [-1e300], [1e18], [1.7e308], [-1.7e308], [1e-3]])
    labels = HotSpots(scan_radius=0.01, min_points=2).fit_predict(X)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, -1, -1, -1, 0]


def test_density():
    rng = np.random.default_rng(0)
    for d in (1, 2, 3):
        X = rng.normal(size=(50, d))
        (spot,) = HotSpots(scan_radius=10.0, min_points=2).fit(X).hot_spots_
        assert spot.density == 50 / np.prod(X.max(axis=0) - X.min(axis=0))
    wide = HotSpots(scan_radius=1e150, min_points=1).fit(np.array([[-1e149] * 30, [1e149] * 30]) / 10)
    assert wide.hot_spots_[0].density == 0.0
    narrow = HotSpots(scan_radius=1e-140, min_points=1).fit(np.zeros((5, 30)))
    assert narrow.hot_spots_[0].density == sys.float_info.max
    # here the volume is out of the range of doubles, but the density need not be
    (spot,) = HotSpots(scan_radius=1.0, min_points=1).fit([[0.0] * 4, [1e-200, 1e-200, 0.5, 0.5]]).hot_spots_
    assert spot.density == sys.float_info.max
    mixed = HotSpots(scan_radius=1e150, min_points=1).fit([[0.0] * 4, [1e149, 1e149, 1e149, 1e149]])
    assert mixed.hot_spots_[0].density == 0.0
    balanced = HotSpots(scan_radius=1e149, min_points=1).fit([[0.0] * 4, [1e-200, 1e-200, 5e148, 5e148]])
    assert balanced.hot_spots_[0].density == pytest.approx(2 / 2.5e-103, rel=1e-9)


def test_the_mean_does_not_drift():
    rng = np.random.default_rng(0)
    X = 1e8 + rng.normal(size=(200_000, 2))
    spots = HotSpots(50, 1e3, 2)
    (spot,) = spots.update_many(X)
    np.testing.assert_allclose(spot.center, X[-50:].mean(axis=0), rtol=1e-15)


# ---- the estimator ---------------------------------------------------------------------------------------------


@parametrize_with_checks([HotSpots()])
def test_sklearn(estimator, check):
    check(estimator)


def test_a_stream_goes_on_after_fit():
    X, _ = documented_example(2)
    spots = HotSpots(600, 0.2, 9).fit(X[:2000])
    assert len(spots.labels_) == 2000
    labels = clone(spots).fit(X[1401:2001]).labels_
    spots.update(X[2000])
    both = set(zip(spots.labels_.tolist(), labels.tolist(), strict=True))
    assert len(both) == len({a for a, _ in both}) == len({b for _, b in both}) > 1
    assert spots.n_seen_ == 2001


def test_frames():
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    X, _ = documented_example(1, n_windows=1)
    plain = HotSpots(500, 0.2, 9)
    expected = plain.update_many(X)
    for frame in (pandas.DataFrame(X, columns=["x", "y"]), polars.DataFrame(X, schema=["x", "y"])):
        spots = HotSpots(500, 0.2, 9)
        assert spots.update_many(frame) == expected
        assert spots.feature_names_in_.tolist() == ["x", "y"]
        with pytest.raises(ValueError, match="feature names"):
            spots.update_many(frame[["y", "x"]])


def test_names_of_a_series_are_those_of_the_features():
    """As in the estimator, a record whose names have another order is refused, because reading it by position would be wrong."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=list("abc"))
    for begin in ("update_many", "fit", "update"):
        spots = HotSpots(50, 0.5, 2)
        getattr(spots, begin)(frame.iloc[0] if begin == "update" else frame)
        assert spots.feature_names_in_.tolist() == list("abc")
        before = spots.to_bytes()
        with pytest.raises(ValueError, match="must be in the same order"):
            spots.update(frame[list("cba")].iloc[0])
        with pytest.raises(ValueError, match="unseen at fit time:\n- z"):
            spots.update(pandas.Series([1.0, 2.0, 3.0], index=list("abz")))
        assert spots.to_bytes() == before
        twin = HotSpots.from_bytes(before)
        for row in (frame.iloc[1], pandas.Series([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]):
            assert spots.update(row) == twin.update(np.asarray(row))
    nameless = HotSpots(50, 0.5, 2)
    nameless.update([1.0, 2.0, 3.0])
    nameless.update(frame.iloc[0])
    assert not hasattr(nameless, "feature_names_in_")
    fresh = HotSpots(50, 0.5, 2)
    with pytest.raises(ValueError, match="NaN"):
        fresh.update(pandas.Series([1.0, np.nan], index=["a", "b"]))
    assert vars(fresh) == vars(HotSpots(50, 0.5, 2))


def test_a_column_that_holds_no_numbers_is_named():
    pandas = pytest.importorskip("pandas")
    dates = pandas.DataFrame({"when": pandas.date_range("2026-01-01", periods=3)})
    for call in ("update_many", "follow", "fit"):
        spots = HotSpots(50, 0.5, 2)
        with pytest.raises(ValueError, match=r"column 'when' must hold numbers, got 2026-01-01\S* \(row 0\)"):
            getattr(spots, call)(dates)
        assert vars(spots) == vars(HotSpots(50, 0.5, 2))


@pytest.mark.parametrize("d", [2, 5])
def test_copies_continue_alike(d):
    X = np.random.default_rng(4).permutation(blobs(d, n=1500))
    spots = HotSpots(300, float(np.quantile(k_distances(X[:300], 5), 0.3)), 5)
    spots.update_many(X[:900])
    copies = [pickle.loads(pickle.dumps(spots)), copy.deepcopy(spots)]
    for part in np.array_split(X[900:], 5):
        told = spots.follow(part)
        assert len({change.kind for change in told}) > 3
        for other in copies:
            assert other.follow(part) == told
            assert other.hot_spots_ == spots.hot_spots_
            np.testing.assert_array_equal(other.labels_, spots.labels_)
            assert other.n_seen_ == spots.n_seen_


# ---- suggest_radius --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_suggest_radius_on_the_documented_example(seed):
    X, corners = documented_example(seed, n_windows=1)
    radius = suggest_radius(X, min_points=17)
    assert 0.15 < radius < 0.35
    (spot,) = [spot for spot in HotSpots(1000, radius, 17).update_many(X) if spot.density >= 40]
    np.testing.assert_allclose(spot.min_values, corners[0], atol=0.3)
    np.testing.assert_allclose(spot.max_values, corners[0] + 1, atol=0.3)


def test_k_distances():
    X = np.random.default_rng(0).normal(size=(300, 3))
    distance = np.sqrt(((X[:, None] - X[None]) ** 2).sum(axis=2))
    for k in (2, 7, 300):
        np.testing.assert_allclose(k_distances(X, k), np.sort(np.sort(distance, axis=1)[:, k - 1]))
    # the rows with a k-distance of at most the radius are exactly the cores
    radius = k_distances(X, 7)[99]
    assert len(HotSpots(scan_radius=np.nextafter(radius, 9), min_points=7).fit(X).core_sample_indices_) == 100
    assert len(k_distances(np.random.default_rng(0).normal(size=(30_000, 2)), 5)) == 10_000


@pytest.mark.parametrize(
    ("X", "min_points", "message"),
    [
        (np.zeros((20, 2)), 5, "20|5 rows equal"),
        ([[0.0], [np.nan]], 2, r"NaN \(row 1, feature 0\)"),
        ([[0.0], [1.0]], 3, "at most the number of rows, 2, got 3"),
        ([[0.0], [1.0]], 1, "at least 2, got 1"),
    ],
)
def test_suggest_radius_refuses(X, min_points, message):
    with pytest.raises(ValueError, match=message):
        suggest_radius(X, min_points)


def test_suggest_radius_of_little_data():
    for n, k in itertools.product((2, 3, 5, 19, 41), (2, 3, 5)):
        if k <= n:
            radius = suggest_radius(np.arange(n)[:, None] ** 2.0, k)
            assert 0 < radius < np.inf
    assert suggest_radius([[0.0]] * 30 + [[1.0], [2.0]], 5) > 0


# ---- parameters and threads ------------------------------------------------------------------------------------


def test_a_radius_set_later_does_not_change_the_density():
    """Parameters that are set later change neither the cached regions nor those of a copy or a saved model, which are computed
    again.
    """
    spots = HotSpots(10, 1.0, 2)
    spots.update_many([[0.0, 0.0], [0.0, 0.5]])
    before = [spot.density for spot in spots.hot_spots_]
    spots.set_params(scan_radius=50.0)
    for model in (spots, copy.deepcopy(spots), HotSpots.from_bytes(spots.to_bytes())):
        assert [spot.density for spot in model.hot_spots_] == before


def test_regions_read_by_many_threads():
    rng = np.random.default_rng(0)
    spots, alone = HotSpots(400, 0.3, 4), HotSpots(400, 0.3, 4)
    X = rng.normal(size=(4000, 2)).round(2)
    known = set()
    for start in range(0, len(X), 50):
        known.add(str(alone.update_many(X[start : start + 50])))
    done = threading.Event()

    def read():
        seen = 0
        while not done.is_set():
            found = spots.hot_spots_ if spots.__sklearn_is_fitted__() else []
            assert not found or str(found) in known
            seen += 1
        return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        try:
            for start in range(0, len(X), 50):
                spots.update_many(X[start : start + 50])
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in readers)
    assert str(spots.hot_spots_) == str(alone.hot_spots_)
