"""A detector for each key of a table: the results of StreamDetector, bit for bit, for any order of the rows."""

from datetime import date, datetime, timedelta

import numpy as np
import pytest

import rcf

pytest.importorskip("pyspark", reason="the package pyspark is not installed")

from rcf.spark import detect, hot_spots

PARAMS = {"shingle_size": 2, "n_estimators": 10, "max_samples": 64}
START = datetime(2026, 1, 1)


def series(keys=3, n=300, d=2):
    values = np.random.default_rng(0).normal(size=(n, keys, d))
    values[5 * n // 6, 1] += 9.0
    return values


def frame(spark, values, stamp, kind):
    n, keys, _ = values.shape
    rows = [(f"k{k}", stamp(i), *values[i, k].tolist(), f"{k} {i}") for i in range(n) for k in range(keys)]
    shuffled = np.random.default_rng(1).permutation(len(rows)).tolist()
    return spark.createDataFrame(
        [rows[i] for i in shuffled], f"key string, at {kind}, a double, b double, other string"
    )


@pytest.mark.parametrize(
    ("kind", "stamp", "seconds"),
    [
        ("timestamp", lambda i: START + timedelta(seconds=60 * i + 0.25), lambda i: 1_767_225_600 + 60 * i + 0.25),
        ("timestamp_ntz", lambda i: START + timedelta(seconds=60 * i), lambda i: 1_767_225_600.0 + 60 * i),
        ("date", lambda i: date(2026, 1, 1) + timedelta(days=i), lambda i: 1_767_225_600.0 + 86_400 * i),
        ("long", lambda i: 7 * i, lambda i: 7.0 * i),
    ],
)
def test_the_bits_of_one_detector_for_each_key(spark, kind, stamp, seconds):
    values = series()
    found = detect(
        frame(spark, values, stamp, kind), keyCols=["key"], timeCol="at", valueCols=["a", "b"], random_state=4, **PARAMS
    )
    assert found.columns[:5] == ["key", "at", "a", "b", "other"]
    rows = found.orderBy("key", "at").collect()
    assert len(rows) == 900
    for k in range(3):
        own = rows[300 * k : 300 * (k + 1)]
        detector = rcf.StreamDetector(random_state=4, **PARAMS)
        detector.feature_names_in_ = np.array(["a", "b"], dtype=object)
        one = detector.update_many(values[:, k], [seconds(i) for i in range(300)])
        assert [row.other for row in own] == [f"{k} {i}" for i in range(300)]
        assert [row.at for row in own] == [stamp(i) for i in range(300)]
        for name in ("score", "evidence", "threshold", "grade", "likelihood", "is_anomaly", "reason"):
            assert [row[name] for row in own] == getattr(one, name).tolist(), name
        for i in range(300):
            if one.is_anomaly[i]:
                assert tuple(own[i].cause) == tuple(one[i].cause)
                assert own[i].expected == one[i].expected.tolist()
                assert own[i].severity == one[i].severity
            else:
                assert own[i].cause is None
        assert [row.event for row in own] == [found.event and found.event.state for found in one]
    assert rows[300 + 250].is_anomaly
    assert rows[300 + 250].event == "opened"


def test_rows_that_are_refused_come_out_with_the_reason(spark):
    values = series()[:, 0, 0].tolist()
    rows = [(1, "x", float(i), value) for i, value in enumerate(values)]
    rows[100] = (1, "x", 100.0, None)  # a missing value
    rows += [(1, "x", None, 5.0), (1, "x", 200.5, float("inf"))]
    given = spark.createDataFrame(rows, "key int, part string, at double, a double")
    found = detect(given, keyCols=["key", "part"], timeCol="at", valueCols=["a"], **PARAMS).orderBy("at").collect()
    assert len(found) == 302
    assert (found[0].at, found[0].score, found[0].reason) == (None, None, "the time is NULL")
    assert (found[202].score, found[202].is_anomaly) == (None, None)
    assert "infinite" in found[202].reason
    del found[202], found[0]
    values[100] = np.nan
    one = rcf.StreamDetector(random_state=0, **PARAMS).update_many(values, np.arange(300.0))
    assert [row.score for row in found] == one.score.tolist()


def test_what_cannot_be_used_is_refused_before_anything_runs(spark):
    given = frame(spark, series(n=2), lambda i: i, "long")
    right = {"keyCols": ["key"], "timeCol": "at", "valueCols": ["a", "b"]}
    for changes, message in [
        ({"timeCol": "when"}, "no column 'when' among 'key', 'at', 'a', 'b', 'other'"),
        ({"valueCols": ["a", "a"]}, "column 'a' is named twice"),
        ({"valueCols": ["other"]}, "column 'other' must hold numbers, got string"),
        ({"valueCols": "a"}, "valueCols must be a list"),
        ({"timeCol": "other"}, "column 'other' must hold timestamps, dates or numbers"),
        ({"shingle_size": 0}, "shingle_size must be"),
        ({"weights": [1.0]}, "weights has 1 entries for 2 features"),
    ]:
        with pytest.raises(ValueError, match=message):
            detect(given, **{**right, **changes})
    with pytest.raises(ValueError, match="column 'score' exists already"):
        detect(given.withColumnRenamed("other", "SCORE").withColumnRenamed("SCORE", "score"), **right)
    with pytest.raises(ValueError, match="two columns 'a'"):
        detect(given.withColumnRenamed("other", "a"), **right)
    assert detect(given.limit(0), **right).collect() == []


def test_hot_spots_are_those_of_the_class(spark):
    noise = np.random.default_rng(0)
    points = {key: noise.uniform(0, 10, size=(500, 2)) for key in ("here", "there")}
    points["here"][::4] = np.array([4, 7]) + noise.uniform(0, 0.5, size=(125, 2))
    points["few"] = np.zeros((3, 2))
    rows = [(key, i, *point) for key, held in points.items() for i, point in enumerate(held.tolist())]
    given = spark.createDataFrame(rows, "key string, at long, x double, y double").repartition(3, "at")
    asked = {"keyCols": ["key"], "valueCols": ["x", "y"], "scan_radius": 0.2, "min_points": 10}
    found = hot_spots(given, **asked).collect()
    order = np.lexsort((points["here"][:, 1], points["here"][:, 0]))
    [region] = rcf.HotSpots(500, 0.2, 10).fit(points["here"][order]).hot_spots_
    [row] = found
    assert (row.key, row.id, row["count"], row.density) == ("here", region.id, region.count, region.density)
    assert (tuple(row.min_values), tuple(row.max_values)) == (region.min_values, region.max_values)
    assert tuple(row.center) == region.center

    last = hot_spots(given, **asked, timeCol="at", window_size=200).collect()
    expected = rcf.HotSpots(200, 0.2, 10)
    expected.update_many(points["here"])
    assert sorted(row["count"] for row in last) == sorted(spot.count for spot in expected.hot_spots_)
    assert {tuple(row.min_values) for row in last} == {spot.min_values for spot in expected.hot_spots_}


def test_hot_spots_on_the_earth(spark):
    places = np.array([-17.5, 180.0]) + np.random.default_rng(0).normal(0, 0.01, size=(200, 2))
    rows = [("fiji", i, *point) for i, point in enumerate(places.tolist())]
    given = spark.createDataFrame(rows, "key string, at long, lat double, lon double")
    asked = {
        "keyCols": ["key"],
        "valueCols": ["lat", "lon"],
        "scan_radius": 500.0,
        "min_points": 5,
        "metric": "haversine",
    }
    expected = rcf.HotSpots(200, 500.0, 5, metric="haversine")
    expected.update_many(places)
    found = hot_spots(given, **asked, timeCol="at", window_size=200).collect()
    assert {(row["count"], tuple(row.max_values)) for row in found} == {
        (spot.count, spot.max_values) for spot in expected.hot_spots_
    }
    assert max(row.max_values[1] for row in found) > 180
    with pytest.raises(ValueError, match="takes 2 valueCols, latitude and longitude, got 1"):
        hot_spots(given, **{**asked, "valueCols": ["lat"]})
    wrong = given.selectExpr("key", "at", "lat + 120 AS lat", "lon")
    with pytest.raises(Exception, match=r"key \['fiji'\]: latitude must be between -90 and 90 degrees"):
        hot_spots(wrong, **asked).collect()


def test_hot_spots_refuse_what_they_cannot_use(spark):
    given = spark.createDataFrame([("a", 1, 0.0, None)], "key string, at long, x double, y double")
    right = {"keyCols": ["key"], "valueCols": ["x", "y"], "scan_radius": 0.2, "min_points": 10}
    for changes, message in [
        ({"window_size": 5}, "window_size needs timeCol"),
        ({"window_size": 5, "timeCol": "at"}, "min_points must be at most window_size"),
        ({"scan_radius": -1.0}, "scan_radius"),
        ({"valueCols": ["z"]}, "no column 'z'"),
    ]:
        with pytest.raises(ValueError, match=message):
            hot_spots(given, **{**right, **changes})
    with pytest.raises(Exception, match=r"key \['a'\], column 'y': nan \(NULL appears as nan\)"):
        hot_spots(given, **right).collect()
    with pytest.raises(ValueError, match="key column 'id' has the name"):
        hot_spots(given.withColumnRenamed("key", "id"), **{**right, "keyCols": ["id"]})
