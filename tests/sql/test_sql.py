"""Relations with an Arrow C stream give the results of the classes, in one pass and constant memory. Errors name row and column."""

import json
import subprocess
import sys

import numpy as np
import pytest

import rcf

pytest.importorskip("pyarrow", reason="the package pyarrow is not installed")

import pyarrow as pa

from rcf.shingle import shingle
from rcf.sql import hotspots, random_cut_forest, register

X = np.random.default_rng(0).normal(size=(2000, 2))
X[1500] = 9.0
SMALL = {"number_of_trees": 20, "sub_sample_size": 64, "time_decay": 1000}


def forest(**changes):
    return rcf.RandomCutForest(
        **{"n_estimators": 20, "max_samples": 64, "time_decay": 1e-3, "random_state": 0, **changes}
    )


def table(**more):
    return pa.table({"t": np.arange(2000), "k": ["a", "b", None, "a"] * 500, "x": X[:, 0], "y": X[:, 1], **more})


def scores(found):
    return found.read_all()["ANOMALY_SCORE"].to_numpy()


@pytest.mark.parametrize("rows", [1, 77, 65_536])
@pytest.mark.parametrize("batch", [50, 2000])
def test_the_bits_of_update_for_any_batches(monkeypatch, rows, batch):
    monkeypatch.setattr("rcf.sql.ROWS", rows)
    given = pa.RecordBatchReader.from_batches(table().schema, table().to_batches(max_chunksize=batch))
    found = random_cut_forest(given, ["x", "y"], order="t", **SMALL).read_all()
    assert found.column_names == ["t", "k", "x", "y", "ANOMALY_SCORE"]
    np.testing.assert_array_equal(found["ANOMALY_SCORE"].to_numpy(), forest().update_many(X))
    assert found.drop(["ANOMALY_SCORE"]).equals(table())


def test_defaults_are_those_of_kinesis():
    np.testing.assert_array_equal(
        scores(random_cut_forest(table(), ["x"])),
        rcf.RandomCutForest(100, 256, time_decay=1e-5, random_state=0).update_many(X[:, :1]),
    )


def test_a_forest_for_each_key():
    found = random_cut_forest(table(), ["x", "y"], key="k", order="t", **SMALL).read_all()
    keys = np.array([str(key) for key in found["k"].to_pylist()])
    for key in ("a", "b", "None"):
        own = found["ANOMALY_SCORE"].to_numpy()[keys == key]
        np.testing.assert_array_equal(own, forest().update_many(X[keys == key]))


@pytest.mark.parametrize("size", [3, 30])
def test_shingles_across_batches(monkeypatch, size):
    monkeypatch.setattr("rcf.sql.ROWS", 20)
    found = scores(random_cut_forest(table(), ["x", "y"], shingle_size=size, **SMALL))
    windows = np.ascontiguousarray(shingle(X, size))
    np.testing.assert_array_equal(found[size - 1 :], forest().update_many(windows))
    assert (found[: size - 1] == 0).all()


@pytest.mark.parametrize("size", [1, 3])
def test_explanation(size):
    short = table().slice(0, 200)
    plain = scores(random_cut_forest(short, ["x", "y"], shingle_size=size, **SMALL))
    found = random_cut_forest(short, ["x", "y"], explain=True, shingle_size=size, **SMALL).read_all()
    np.testing.assert_array_equal(found["ANOMALY_SCORE"].to_numpy(), plain)
    texts = [json.loads(text) for text in found["ANOMALY_EXPLANATION"].to_pylist()]
    for score, text in zip(plain, texts, strict=True):
        assert list(text) == ["x", "y"]
        assert sum(float(column["ATTRIBUTION_SCORE"]) for column in text.values()) == pytest.approx(score, abs=2e-4)
    assert texts[0]["x"] == {"DIRECTION": "LOW", "STRENGTH": "0.0000", "ATTRIBUTION_SCORE": "0.0000"}
    undirected = random_cut_forest(short, ["x"], explain=True, directionality=False, **SMALL).read_all()
    assert list(json.loads(undirected["ANOMALY_EXPLANATION"][-1].as_py())["x"]) == ["ATTRIBUTION_SCORE"]


def test_hotspots():
    found = hotspots(table(), ["x", "y"], window_size=100, scan_radius=0.3, minimum_number_of_points=8).read_all()
    one = rcf.HotSpots(100, 0.3, 8)
    for record, text in zip(X, found["HOTSPOTS_RESULT"].to_pylist(), strict=True):
        one.update(record)
        assert text == one.kinesis_json()


def test_hotspots_of_places_on_the_earth():
    asked = {"window_size": 100, "scan_radius": 20_000, "minimum_number_of_points": 4, "metric": "haversine"}
    found = hotspots(table(), ["x", "y"], **asked).read_all()
    one = rcf.HotSpots(100, 20_000, 4, metric="haversine")
    for record, text in zip(X, found["HOTSPOTS_RESULT"].to_pylist(), strict=True):
        one.update(record)
        assert text == one.kinesis_json()
    assert len(set(found["HOTSPOTS_RESULT"].to_pylist())) > 100
    far = table().set_column(table().column_names.index("x"), "x", pa.array([*X[:1700, 0], 91.0, *X[1701:, 0]]))
    with pytest.raises(ValueError, match=r"latitude must be between -90 and 90 degrees, got 91\.0 \(row 1700"):
        hotspots(far, ["x", "y"], **asked).read_all()
    with pytest.raises(ValueError, match="takes 2 columns, latitude and longitude, got 1"):
        hotspots(table(), ["x"], **asked).read_all()


def test_polars_frames():
    pl = pytest.importorskip("polars")
    found = pl.DataFrame(random_cut_forest(pl.DataFrame(table()), ["x", "y"], **SMALL))
    np.testing.assert_array_equal(found["ANOMALY_SCORE"].to_numpy(), forest().update_many(X))
    lazy = pl.LazyFrame(table()).sort("t").collect()
    np.testing.assert_array_equal(scores(random_cut_forest(lazy, ["x", "y"], **SMALL)), forest().update_many(X))


def test_numbers_of_every_kind():
    whole = np.round(X * 10)
    for kind in (pa.int8(), pa.int64(), pa.float32(), pa.decimal128(10, 2)):
        given = pa.table({"x": pa.array(whole[:, 0]).cast(kind)})
        np.testing.assert_array_equal(
            scores(random_cut_forest(given, ["x"], **SMALL)), forest().update_many(whole[:, :1])
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ["x", "z"]}, "no column 'z' among 't', 'k', 'x', 'y'"),
        ({"columns": ["x", "x"]}, "column 'x' is named twice"),
        ({"columns": []}, "at least one numeric column"),
        ({"columns": "x"}, r"columns must be a list of names, got 'x': \['x'\]"),
        ({"columns": ["k"]}, "column 'k' must hold numbers, got string"),
        ({"key": "host"}, "no column 'host'"),
        ({"order": "ts"}, "no column 'ts'"),
        ({"number_of_trees": 0}, "number_of_trees must be between"),
        ({"sub_sample_size": 1000}, "time_decay must be greater than sub_sample_size, 1000"),
        ({"shingle_size": 0}, "shingle_size must be between"),
        ({"relation": pa.table({"x": [1.0], "ANOMALY_SCORE": [0.0]})}, "column 'ANOMALY_SCORE' exists already"),
        ({"relation": pa.table([[1.0], [1.0]], ["x", "x"])}, "more than one column 'x'"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(changes, message):
    given = {"relation": table(), "columns": ["x"], **SMALL, **changes}
    with pytest.raises(ValueError, match=message):
        random_cut_forest(given.pop("relation"), given.pop("columns"), **given)


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match=r"must offer an Arrow stream .* got list"):
        random_cut_forest([[1.0]], ["x"])


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 1e300])
def test_numbers_that_cannot_be_scored_are_named(monkeypatch, value):
    monkeypatch.setattr("rcf.sql.ROWS", 100)
    values = X[:, 1].tolist()
    values[1234] = value
    found = random_cut_forest(table().set_column(3, "y", pa.array(values)), ["x", "y"], key="k", **SMALL)
    kind = "NULL or NaN" if value is None or value != value else "infinite or beyond float32"
    with pytest.raises(ValueError, match=rf"row 1234, column 'y': .*{kind}"):
        found.read_all()


@pytest.mark.parametrize("rows", [100, 1234, 65_536])
def test_rows_out_of_order_are_named(monkeypatch, rows):
    monkeypatch.setattr("rcf.sql.ROWS", rows)
    times = np.arange(2000)
    times[1234] = 1000
    with pytest.raises(ValueError, match="row 1234, column 't': 1000 comes after 1233; sort the relation"):
        random_cut_forest(table().set_column(0, "t", pa.array(times)), ["x"], order="t", **SMALL).read_all()
    # each key has its own order
    blocks = table().take(pa.array(np.r_[0:2000:4, 1:2000:4]))
    assert len(scores(random_cut_forest(blocks, ["x"], key="k", order="t", **SMALL))) == 1000
    missing = pa.array([None if i == 77 else i for i in range(2000)])
    with pytest.raises(ValueError, match="row 77, column 't': NULL in the column of the order"):
        random_cut_forest(table().set_column(0, "t", missing), ["x"], order="t", **SMALL).read_all()


def test_empty_relations():
    found = random_cut_forest(table().slice(0, 0), ["x"], key="k", order="t", explain=True).read_all()
    assert found.num_rows == 0
    assert found.column_names[-2:] == ["ANOMALY_SCORE", "ANOMALY_EXPLANATION"]


def test_the_extra_is_named():
    code = "import sys; sys.modules['pyarrow'] = None\nimport rcf.sql"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == 'ImportError: rcf.sql needs pyarrow: pip install "rcf[sql]"'


# ---- DuckDB ------------------------------------------------------------------------------------------------------


@pytest.fixture
def con():
    duckdb = pytest.importorskip("duckdb", reason="the package duckdb is not installed")
    with duckdb.connect() as connection:
        connection.register("log", table())
        yield connection


def test_a_relation_of_duckdb_and_its_result(con):
    cursor = con.cursor()
    cursor.register("log", table())
    rows = cursor.sql("SELECT * FROM log ORDER BY t")
    found = random_cut_forest(rows, ["x", "y"], key="k", order="t", **SMALL)
    con.register("found", found)
    top = con.sql("SELECT t, ANOMALY_SCORE FROM found ORDER BY ANOMALY_SCORE DESC LIMIT 1").fetchall()
    assert top[0][0] == 1500
    # the result equals that for a table, which the tests above compare with `update_many`
    expected = random_cut_forest(table(), ["x", "y"], key="k", **SMALL).read_all()
    assert top[0][1] == expected["ANOMALY_SCORE"].to_numpy().max()


def test_an_error_reaches_the_query(con):
    duckdb = pytest.importorskip("duckdb")
    times = np.arange(2000)
    times[77] = 0
    con.register("found", random_cut_forest(table().set_column(0, "t", pa.array(times)), ["x"], order="t", **SMALL))
    with pytest.raises(duckdb.Error, match="row 77, column 't'"):
        con.sql("SELECT max(ANOMALY_SCORE) FROM found").fetchall()


def test_a_frozen_model_is_a_function(con):
    model = forest().fit(X)
    register(con, model)
    register(con, forest(method="codisp").fit(X[:, :1]), name="one")
    found = con.sql("SELECT t, rcf_score(x, y) AS score, one(x) AS other FROM log ORDER BY t").fetchnumpy()
    np.testing.assert_array_equal(found["score"], model.anomaly_score(X))
    np.testing.assert_array_equal(found["other"], forest(method="codisp").fit(X[:, :1]).anomaly_score(X[:, :1]))
    assert con.sql("SELECT rcf_score(1, NULL), rcf_score(1, 2)").fetchall()[0][0] is None


def test_a_frozen_model_refuses(con):
    duckdb = pytest.importorskip("duckdb")
    register(con, forest().fit(X))
    with pytest.raises(duckdb.Error, match="rcf_score, column 'argument 2': inf"):
        con.sql("SELECT rcf_score(1, 'inf'::DOUBLE)").fetchall()
    with pytest.raises(duckdb.Error, match="rcf_score"):
        con.sql("SELECT rcf_score(1)").fetchall()
    with pytest.raises(TypeError, match="model must be a RandomCutForest, got str"):
        register(con, "model")
    with pytest.raises(ValueError, match="not fitted"):
        register(con, forest(), name="other")


MEMORY = """
import sys, threading, time
import duckdb, numpy, pyarrow
from rcf.sql import random_cut_forest


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20


def run(n):
    con = duckdb.connect()
    con.sql("SET threads = 1; SET enable_progress_bar = false")  # the bar would go to standard output
    rows = con.cursor().sql(f"SELECT i, sin(i / 10.0) AS v, hash(i) % 1000 AS w FROM range({n}) t(i)")
    con.register("found", random_cut_forest(rows, ["v", "w"], order="i", number_of_trees=1, sub_sample_size=16))
    return con.sql("SELECT count(*), sum(ANOMALY_SCORE) FROM found").fetchall()[0][0]


run(100_000)
base, peak, done = resident(), [0.0], threading.Event()


def watch():
    while not done.wait(0.005):
        peak[0] = max(peak[0], resident())


threading.Thread(target=watch, daemon=True).start()
assert run(int(sys.argv[1])) == int(sys.argv[1])
done.set()
print(peak[0] - base)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("n", [1_000_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_memory_does_not_depend_on_the_number_of_rows(n):
    """The memory grows by less than 200 MB. The values of 10^6 rows of four columns alone take 32 MB."""
    pytest.importorskip("duckdb", reason="the package duckdb is not installed")
    done = subprocess.run([sys.executable, "-c", MEMORY, str(n)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200


def test_the_example_over_parquet(capsys):
    pytest.importorskip("duckdb", reason="the package duckdb is not installed")
    import runpy
    from pathlib import Path

    runpy.run_path(str(Path(__file__).parents[2] / "docs" / "examples" / "sql" / "parquet.py"))
    assert "20000 host 2" in capsys.readouterr().out
