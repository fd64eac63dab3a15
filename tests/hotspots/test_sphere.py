"""HotSpots of places on the earth: against scikit-learn's haversine DBSCAN, and after every record against plain Python."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from naive import great_circle, place_box
from sklearn.cluster import DBSCAN

from rcf import HotSpots, plot
from rcf.hotspots import EARTH_RADIUS, k_distances, suggest_radius
from rcf.hotspots.window import box_area, unit_sphere


def distances(X):
    """The distances in metres by the haversine formula, (n, n)."""
    lat, lon = np.radians(X).T
    north, east = np.sin((lat[:, None] - lat) / 2), np.sin((lon[:, None] - lon) / 2)
    half = north**2 + np.cos(lat[:, None]) * np.cos(lat) * east**2
    return 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.minimum(half, 1.0)))


def clear_of(metres, radius):
    """A radius near the given one that is not the distance of any two places, so that rounding has no effect."""
    for _ in range(50):
        if not (np.abs(metres - radius) < 1e-6 * radius + 1e-6).any():
            return radius
        radius *= 1.000_007
    return None


def around(rng, centers, n, metres):
    """Places within `metres` of the centers, some of them equal. Longitudes are from -180 to 180 for some and from 0 to 360 for
    others.
    """
    center = unit_sphere(np.array(centers, dtype=float))[rng.integers(len(centers), size=n)]
    point = center + rng.uniform(-1, 1, size=(n, 3)) * metres / EARTH_RADIUS
    point /= np.linalg.norm(point, axis=1)[:, None]
    X = np.degrees(np.c_[np.arcsin(point[:, 2]), np.arctan2(point[:, 1], point[:, 0])])
    X[rng.random(n) < 0.1] = X[0]
    at = rng.random(n) < 0.15
    X[at] = np.array(centers)[rng.integers(len(centers), size=n)][at]
    X[np.abs(X[:, 0]) == 90, 1] = rng.uniform(-180, 360, size=(np.abs(X[:, 0]) == 90).sum())
    X[:, 1] = np.where(rng.random(n) < 0.3, X[:, 1] % 360.0, X[:, 1])
    X[(X[:, 1] == 180) & (rng.random(n) < 0.5), 1] = -180.0
    return X


PLACES = [
    [[90.0, 0.0]],
    [[-90.0, 45.0]],
    [[0.0, 180.0]],
    [[-17.0, -180.0], [-17.0, 179.99]],
    [[0.0, 0.0], [0.0, 90.0]],
    [[89.999, 180.0], [90.0, 17.0], [89.999, -90.0]],
    [[52.5, 13.4], [40.7, -74.0], [-33.9, 151.2], [0.0, 0.0]],
]


def assert_like_dbscan(X, metres, labels, radius, min_points):
    dbscan = DBSCAN(eps=radius / EARTH_RADIUS, min_samples=min_points, metric="haversine", algorithm="ball_tree")
    theirs = dbscan.fit(np.radians(X)).labels_
    core = np.zeros(len(X), dtype=bool)
    core[dbscan.core_sample_indices_] = True
    number = dict(zip(theirs[core], labels[core], strict=True))
    assert len(set(number.values())) == len(number)
    np.testing.assert_array_equal(labels[core], [number[label] for label in theirs[core]])
    np.testing.assert_array_equal(labels < 0, theirs < 0)
    for i in np.flatnonzero(~core & (theirs >= 0)):
        nearest = metres[i][core].min()
        assert labels[i] in labels[core][metres[i][core] <= nearest + 1e-6]
    return core


@pytest.mark.parametrize("centers", PLACES)
@pytest.mark.parametrize("radius", [0.02, 30.0, 5e3, 1.5e6, 9.9e6, 2.1e7])
def test_fit_predict_is_dbscan(centers, radius):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = around(rng, centers, 250, radius * rng.choice([1.0, 4.0, 12.0]))
        metres = distances(X)
        near = clear_of(metres, radius)
        spots = HotSpots(scan_radius=near, min_points=int(rng.integers(1, 9)), metric="haversine")
        labels = spots.fit_predict(X)
        core = assert_like_dbscan(X, metres, labels, near, spots.min_points)
        np.testing.assert_array_equal(spots.core_sample_indices_, np.flatnonzero(core))
        for i, spot in enumerate(spots.hot_spots_):
            held = X[labels == i]
            assert spot.count == len(held)
            assert (spot.min_values, spot.max_values) == place_box(held.tolist())


def test_the_whole_earth():
    rng = np.random.default_rng(0)
    point = rng.normal(size=(3000, 3))
    point /= np.linalg.norm(point, axis=1)[:, None]
    X = np.degrees(np.c_[np.arcsin(point[:, 2]), np.arctan2(point[:, 1], point[:, 0])])
    metres = distances(X)
    for radius, min_points in ((3e5, 4), (4e5, 6), (6e5, 9)):
        near = clear_of(metres, radius)
        spots = HotSpots(scan_radius=near, min_points=min_points, metric="haversine")
        assert_like_dbscan(X, metres, spots.fit_predict(X), near, min_points)
        assert len(spots.hot_spots_) >= 2 or (spots.labels_ >= 0).mean() > 0.9


@st.composite
def journeys(draw):
    centers = draw(st.sampled_from(PLACES))
    radius = draw(st.sampled_from([0.05, 200.0, 3e5, 8e6]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = around(rng, centers, draw(st.integers(1, 45)), radius * draw(st.sampled_from([0.7, 1.5, 4.0])))
    near = clear_of(distances(X), radius)
    assume(near is not None)
    window_size = draw(st.integers(1, 25))
    return X, near, window_size, draw(st.integers(1, min(5, window_size)))


def check_journey(X, radius, window_size, min_points):
    """After every record, compare cores, regions, boxes and centers with a new clustering of the window in plain Python."""
    spots = HotSpots(window_size, radius, min_points, metric="haversine")
    for end in range(1, len(X) + 1):
        found = spots.update(X[end - 1])
        held = X[max(0, end - window_size) : end]
        np.testing.assert_array_equal(spots.records(), held)
        places, labels = held.tolist(), spots.labels_
        metres = [[great_circle(a, b) for b in places] for a in places]
        core = [i for i in range(len(held)) if sum(m <= radius for m in metres[i]) >= min_points]
        assert spots.core_sample_indices_.tolist() == core
        reach = {i: {i} for i in core}
        for _ in core:
            reach = {i: set().union(*(reach[j] for j in core if metres[i][j] <= radius)) for i in core}
        for i in core:
            assert {j for j in core if labels[j] == labels[i]} == reach[i]
        for i in set(range(len(held))) - set(core):
            seen = {j: metres[i][j] for j in core if metres[i][j] <= radius}
            assert (labels[i] >= 0) == bool(seen)
            assert not seen or labels[i] in {labels[j] for j in seen if seen[j] <= min(seen.values()) + 1e-6}
        for i, spot in enumerate(found):
            own = [place for place, label in zip(places, labels, strict=True) if label == i]
            assert spot.count == len(own)
            assert (spot.min_values, spot.max_values) == place_box(own)
            mean = unit_sphere(np.array(own)).mean(axis=0)
            if np.linalg.norm(mean) > 1e-6:
                there = unit_sphere(np.array([spot.center]))[0]
                np.testing.assert_allclose(there, mean / np.linalg.norm(mean), atol=1e-12 / np.linalg.norm(mean))
            sides = [high - low for low, high in zip(spot.min_values, spot.max_values, strict=True)]
            assert min(sides) >= 0
            assert sides[1] < 360
            assert -180 <= spot.min_values[1] < 180
            assert spot.density == len(own) / box_area(spot.min_values, spot.max_values, radius)


@given(journeys())
@settings(max_examples=150, deadline=None)
def test_every_record_of_random_journeys(journey):
    check_journey(*journey)


@pytest.mark.slow
@given(journeys())
@settings(max_examples=4000, deadline=None)
def test_four_thousand_random_journeys(journey):
    check_journey(*journey)


# ---- the sphere ------------------------------------------------------------------------------------------------


def test_points_of_the_unit_sphere():
    rng = np.random.default_rng(0)
    X = np.c_[rng.uniform(-90, 90, size=20_000), rng.uniform(-180, 360, size=20_000)]
    lat, lon = np.radians(X.astype(np.longdouble)).T
    exact = np.c_[np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
    assert np.abs(unit_sphere(X) - exact).max() < 4e-16
    quarters = np.array([[lat, lon] for lat in (-90.0, 0.0, 90.0) for lon in range(-180, 361, 90)], dtype=float)
    assert set(np.unique(unit_sphere(quarters))) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("metres", [1e-3, 1.0, 1e3, 1e6, 1.9e7])
def test_the_radius_is_in_metres_along_the_surface(metres):
    """The second place is just within or just beyond the radius, in all directions, also over the date line and the poles."""
    for center in ([0.0, 0.0], [51.0, 180.0], [-89.9999, 17.0], [90.0, 0.0]):
        a = unit_sphere(np.array([center]))[0]
        for turn in np.linspace(0, 2 * np.pi, 7):
            aside = np.cross(a, [math.cos(turn), math.sin(turn), 0.3])
            aside /= np.linalg.norm(aside)
            for share, together in ((1 - 1e-5, True), (1 + 1e-5, False)):
                angle = share * metres / EARTH_RADIUS
                x, y, z = math.cos(angle) * a + math.sin(angle) * aside
                other = np.degrees([math.atan2(z, math.hypot(x, y)), math.atan2(y, x)])
                spots = HotSpots(scan_radius=metres, min_points=2, metric="haversine")
                assert bool(spots.fit([center, other]).hot_spots_) == together


def test_a_box_over_the_date_line():
    spots = HotSpots(scan_radius=3e5, min_points=2, metric="haversine")
    (spot,) = spots.fit([[-17.0, 178.0], [-17.5, -179.0], [-16.0, 180.0], [-17.0, 181.5]]).hot_spots_
    assert spot.min_values == (-17.5, 178.0)
    assert spot.max_values == (-16.0, 181.5)
    assert spot.center[1] == pytest.approx(180.125, abs=0.01)
    assert json.loads(spots.kinesis_json())["hotspots"][0]["maxValues"] == [-16.0, 181.5]
    width, height = 3.5 * math.cos(math.radians(16.75)), 1.5
    assert spot.density == pytest.approx(4 / (width * height * math.radians(EARTH_RADIUS) ** 2), rel=1e-3)
    # also record by record and while records leave, because a box must not include former records
    stream = HotSpots(2, 3e5, 2, metric="haversine")
    boxes = [
        [(s.min_values[1], s.max_values[1]) for s in stream.update([0.0, x])] for x in (179.0, 181.0, 180.5, 179.5)
    ]
    assert boxes == [[], [(179.0, 181.0)], [(-179.5, -179.0)], [(179.5, 180.5)]]


def test_boxes_around_a_pole():
    around_it = [[89.0, lon] for lon in range(-180, 180, 30)]
    spots = HotSpots(20, 2e5, 2, metric="haversine")
    spots.update_many([[90.0, 77.0], [90.0, -13.0]])
    (spot,) = spots.hot_spots_
    assert (spot.min_values, spot.max_values, spot.center) == ((90.0, 0.0), (90.0, 0.0), (90.0, 0.0))
    (spot,) = spots.update_many(around_it)
    assert (spot.min_values, spot.max_values) == ((89.0, -180.0), (90.0, 150.0))
    assert spot.center[0] == pytest.approx(90.0, abs=1e-9)
    for lon in (-165.0, -135.0):  # several gaps are equally wide, and the box keeps the one from 150 to 180
        (spot,) = spots.update([89.0, lon])
    assert (spot.min_values[1], spot.max_values[1]) == (-180.0, 150.0)


def test_the_arc_of_a_box_may_change_when_a_record_leaves():
    spots = HotSpots(4, 1.8e7, 2, metric="haversine")
    (spot,) = spots.update_many([[0.0, 100.0], [0.0, 0.0], [0.0, 200.0], [0.0, 201.0]])
    assert (spot.min_values, spot.max_values) == ((0.0, 0.0), (0.0, 201.0))
    (spot,) = spots.update([0.0, 1.0])
    assert (spot.min_values, spot.max_values) == ((0.0, -160.0), (0.0, 1.0))


def test_area_of_boxes():
    earth = 4 * math.pi * EARTH_RADIUS**2
    assert box_area((-90.0, -180.0), (90.0, 180.0), 1.0) == pytest.approx(earth, rel=1e-14)
    assert box_area((0.0, 10.0), (90.0, 100.0), 1.0) == pytest.approx(earth / 8, rel=1e-14)
    metre = 1 / math.radians(EARTH_RADIUS)
    assert box_area((60.0, 0.0), (60.0 + metre, 2 * metre), 1.0) == pytest.approx(1.0, rel=1e-6)
    # a side without length counts as the radius
    assert box_area((60.0, 0.0), (60.0, 2 * metre), 25.0) == pytest.approx(25.0, rel=1e-6)
    assert box_area((60.0, 5.0), (60.0 + metre, 5.0), 25.0) == pytest.approx(25.0, rel=1e-6)
    assert box_area((90.0, 0.0), (90.0, 0.0), 25.0) == 625.0
    rng = np.random.default_rng(0)
    for _ in range(200):
        low, high = np.sort(rng.uniform(-90, 90, size=2))
        exact = EARTH_RADIUS**2 * (math.sin(math.radians(high)) - math.sin(math.radians(low))) * math.radians(33.0)
        assert box_area((low, 7.0), (high, 40.0), 1.0) == pytest.approx(exact, rel=1e-9)


# ---- the contract ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [[1.0, 2.0], [-74.0, 40.7], [91.0, 0.0]],
            r"latitude must be between -90 and 90 degrees, got 91\.0 \(row 2, feature 0\)",
        ),
        ([[-90.5, 0.0]], r"got -90\.5 \(row 0, feature 0\): a record is latitude, then longitude"),
        ([[0.0, 360.5]], r"longitude must be between -180 and 360 degrees, got 360\.5 \(row 0, feature 1\)"),
        ([[0.0, -181.0]], r"got -181\.0 \(row 0, feature 1\)"),
        ([[0.0, np.nan]], r"NaN \(row 0, feature 1\)"),
        ([[1.0, 2.0, 3.0]], "metric='haversine' takes 2 features, latitude and longitude in degrees, got 3"),
        ([[1.0]], "takes 2 features, latitude and longitude in degrees, got 1"),
    ],
)
def test_bad_places_change_nothing(rows, message):
    fresh = HotSpots(50, 1e3, 2, metric="haversine")
    begun = HotSpots(50, 1e3, 2, metric="haversine")
    begun.update_many([[1.0, 2.0], [1.0, 2.001]])
    before = begun.to_bytes()
    for call in ("update_many", "follow", "fit", "update"):
        given_rows = rows[-1] if call == "update" else rows
        pattern = message.replace("row 2", "row 0") if call == "update" else message
        with pytest.raises(ValueError, match=pattern):
            getattr(fresh, call)(given_rows)
        assert vars(fresh) == vars(HotSpots(50, 1e3, 2, metric="haversine"))
        if len(rows[0]) == 2:
            with pytest.raises(ValueError, match=pattern):
                getattr(begun, call)(given_rows)
            assert begun.to_bytes() == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"metric": "manhattan"}, "'metric' parameter .* Got 'manhattan'"),
        ({"metric": None}, "'metric' parameter .* Got None"),
        ({"metric": "haversine", "scan_radius": 1e-4}, r"at least 0\.001 metres with haversine, got 0\.0001"),
    ],
)
def test_bad_parameters(parameters, message):
    for call in ("update_many", "fit", "follow"):
        spots = HotSpots(**parameters)
        with pytest.raises(ValueError, match=message):
            getattr(spots, call)([[1.0, 2.0]])
        assert not hasattr(spots, "n_features_in_")
    for function in (k_distances, suggest_radius):
        if parameters["metric"] != "haversine":
            with pytest.raises(ValueError, match="metric must be 'euclidean' or 'haversine'"):
                function([[1.0, 2.0]] * 3, 2, metric=parameters["metric"])


def test_the_metric_cannot_change_within_a_stream():
    spots = HotSpots(50, 1e3, 2, metric="haversine")
    spots.update_many([[1.0, 2.0]])
    spots.set_params(metric="euclidean")
    with pytest.raises(ValueError, match="metric cannot change within a stream: it was 'haversine'"):
        spots.update([1.0, 2.0])
    assert HotSpots.from_bytes(spots.to_bytes()).metric == "haversine"
    spots.set_params(metric="haversine").update([1.0, 2.0])


def test_strict_and_repr():
    assert repr(HotSpots(metric="haversine")) == "HotSpots(metric='haversine')"
    with pytest.raises(ValueError, match="strict: window_size"):
        HotSpots(50, 1e3, 2, metric="haversine", strict=True).update([1.0, 2.0])


@pytest.mark.parametrize("centers", PLACES)
def test_copies_and_files_continue_alike(centers):
    X = around(np.random.default_rng(1), centers, 600, 3000.0)
    spots = HotSpots(100, 400.0, 4, metric="haversine")
    spots.update_many(X[:300])
    copies = [pickle.loads(pickle.dumps(spots)), copy.deepcopy(spots), HotSpots.from_bytes(spots.to_bytes())]
    for part in np.split(X[300:], 10):
        told = spots.follow(part)
        for other in copies:
            assert other.follow(part) == told
            assert other.hot_spots_ == spots.hot_spots_
            np.testing.assert_array_equal(other.records(), spots.records())


def test_a_state_with_false_places_is_refused():
    spots = HotSpots(50, 1e3, 2, metric="haversine")
    spots.update_many([[1.0, 2.0], [1.0, 2.001], [5.0, 5.0]])
    state = spots._window.state()
    restore = type(spots._window).restore
    restore(state, True)
    for wrong in ({"points": state["points"] + 89.5}, {"sums": state["sums"][:, :4]}, {"scan_radius": 1e-4}):
        with pytest.raises(ValueError):
            restore({**state, **wrong}, True)
    with pytest.raises(ValueError):
        restore(state, False)


def test_k_distances():
    rng = np.random.default_rng(0)
    for centers in PLACES:
        X = around(rng, centers, 300, 2e4)
        metres = np.sort(distances(X), axis=1)
        for k in (2, 9, 300):
            np.testing.assert_allclose(k_distances(X, k, "haversine"), np.sort(metres[:, k - 1]), rtol=1e-7, atol=1e-6)
    with pytest.raises(ValueError, match="latitude must be"):
        k_distances([[100.0, 0.0]] * 3, 2, "haversine")


@pytest.mark.parametrize("center", [[52.5, 13.4], [0.0, 180.0], [89.9, 0.0]])
def test_suggest_radius_separates_a_crowd(center):
    away = np.random.default_rng(3).normal(size=(1000, 3)) * np.where(np.arange(1000) < 800, 10_000, 500)[:, None]
    point = unit_sphere(np.array([center])) + away / EARTH_RADIUS
    X = np.degrees(np.c_[np.arctan2(point[:, 2], np.hypot(*point.T[:2])), np.arctan2(point[:, 1], point[:, 0])])
    radius = suggest_radius(X, 20, metric="haversine")
    assert 30 < radius < 1000
    spots = HotSpots(1000, radius, 20, metric="haversine")
    assert max(spot.count for spot in spots.update_many(X)) >= 150


# ---- the picture -----------------------------------------------------------------------------------------------


def test_the_picture_of_places():
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    X = np.r_[around(rng, [[-17.0, 180.0]], 300, 60_000.0), around(rng, [[-17.0, 179.9]], 80, 2000.0)]
    spots = HotSpots(500, 3000.0, 10, metric="haversine")
    found = spots.update_many(X)
    ax = plot.hotspots(spots)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("longitude (degrees)", "latitude (degrees)")
    for box, spot in zip(ax.patches, found, strict=True):
        assert box.get_x() in (spot.min_values[1], spot.min_values[1] + 360)
        assert box.get_x() > 178
        assert box.get_y() == spot.min_values[0]
        assert box.get_width() == pytest.approx(spot.max_values[1] - spot.min_values[1], abs=1e-9)
    across = np.concatenate([dots.get_offsets()[:, 0] for dots in ax.collections])
    assert len(across) == len(X)
    assert np.ptp(across) < 2
    ax.figure.canvas.draw()
    ticks = [float(text.get_text().replace("\N{MINUS SIGN}", "-")) for text in ax.get_xticklabels()]
    assert min(ticks) < -179
    assert max(ticks) > 179
    assert ax.get_aspect() == pytest.approx(1 / math.cos(math.radians(17)), rel=0.01)
    sideways = plot.hotspots(spots, features=(0, 1))
    assert (sideways.get_xlabel(), sideways.get_ylabel()) == ("latitude (degrees)", "longitude (degrees)")
    assert plot.k_distance(X, 10, metric="haversine").get_ylabel() == "radius that contains 10 rows (m)"


def test_the_picture_of_the_whole_earth():
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    X = np.c_[rng.uniform(-90, 90, 300), rng.uniform(-180, 360, 300)]
    spots = HotSpots(300, 2e6, 3, metric="haversine")
    spots.update_many(X)
    ax = plot.hotspots(spots)
    ax.figure.canvas.draw()
    for box, spot in zip(ax.patches, spots.hot_spots_, strict=True):
        assert box.get_width() == pytest.approx(spot.max_values[1] - spot.min_values[1])
