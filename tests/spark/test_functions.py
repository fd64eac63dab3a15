"""The Kinesis functions in Spark SQL: the results of the classes, bit for bit, and the columns of the service."""

import json

import numpy as np
import pytest

import rcf

pytest.importorskip("pyspark", reason="the package pyspark is not installed")

from rcf.shingle import shingle
from rcf.spark import functions, register

X = np.random.default_rng(0).normal(size=(600, 2))
X[500] = 9.0


@pytest.fixture(scope="module")
def ask(spark):
    register(spark)
    rows = [(i % 2, f"k{i % 2}", i, *row) for i, row in enumerate(X.tolist())]
    spark.createDataFrame(rows, "n int, k string, ts long, a double, b double").repartition(3).createOrReplaceTempView(
        "t"
    )
    yield lambda query: spark.sql(query).collect()
    spark.catalog.dropTempView("t")


def forest(**changes):
    return rcf.RandomCutForest(
        **{"n_estimators": 100, "max_samples": 256, "time_decay": 1e-5, "random_state": 0, **changes}
    )


def test_random_cut_forest_for_each_partition(ask):
    rows = ask(
        "SELECT * FROM RANDOM_CUT_FOREST(TABLE(t) PARTITION BY (k) ORDER BY (ts), 30, 64, 1000, columns => 'a, b') ORDER BY ts"
    )
    assert list(rows[0].asDict()) == ["n", "k", "ts", "a", "b", "ANOMALY_SCORE"]
    for k in (0, 1):
        one = forest(n_estimators=30, max_samples=64, time_decay=1e-3).update_many(X[k::2])
        assert [row.ANOMALY_SCORE for row in rows[k::2]] == one.tolist()
    assert max(rows, key=lambda row: row.ANOMALY_SCORE).ts == 500


def test_all_numeric_columns_are_scored_and_a_key_changes_nothing(ask):
    table = "TABLE(SELECT k, n, a, b, string(ts) AS ts FROM t)"
    rows = ask(f"SELECT * FROM RANDOM_CUT_FOREST({table} PARTITION BY (n) ORDER BY (int(ts)), 20, 64) ORDER BY int(ts)")
    one = forest(n_estimators=20, max_samples=64).update_many(np.c_[np.zeros(300), X[0::2]])
    assert [row.ANOMALY_SCORE for row in rows[0::2]] == one.tolist()


def test_shingles(ask):
    rows = ask(
        "SELECT * FROM RANDOM_CUT_FOREST(TABLE(t) WITH SINGLE PARTITION ORDER BY (ts), 20, 64, 1000, 4, 'a', seed => 7) "
        "ORDER BY ts"
    )
    windows = np.ascontiguousarray(shingle(X[:, 0], 4))
    one = forest(n_estimators=20, max_samples=64, time_decay=1e-3, random_state=7).update_many(windows)
    assert [row.ANOMALY_SCORE for row in rows] == [0.0, 0.0, 0.0, *one.tolist()]


def test_explanation(ask):
    table = "TABLE(t) WITH SINGLE PARTITION ORDER BY (ts)"
    rows = ask(
        f"SELECT * FROM RANDOM_CUT_FOREST_WITH_EXPLANATION({table}, 20, 64, 1000, 1, TRUE, columns => 'a,b') ORDER BY ts"
    )
    one = forest(n_estimators=20, max_samples=64, time_decay=1e-3)
    for i, row in enumerate(rows):
        explanation = json.loads(row.ANOMALY_EXPLANATION)
        assert list(explanation) == ["a", "b"]
        parts = one.attribution(X[i : i + 1])[0] if i >= 64 else np.zeros((2, 2))
        for (high, low), column in zip(parts.tolist(), explanation.values(), strict=True):
            assert column["ATTRIBUTION_SCORE"] == f"{high + low:.4f}"
            assert column["DIRECTION"] == ("HIGH" if high > low else "LOW")
        assert one.update(X[i]) == row.ANOMALY_SCORE
        assert sum(float(column["ATTRIBUTION_SCORE"]) for column in explanation.values()) == pytest.approx(
            row.ANOMALY_SCORE, abs=2e-4
        )
    [short] = ask(f"SELECT * FROM RANDOM_CUT_FOREST_WITH_EXPLANATION({table}, 20, 64, columns => 'a') WHERE ts = 500")
    assert list(json.loads(short.ANOMALY_EXPLANATION)["a"]) == ["ATTRIBUTION_SCORE"]


def test_hotspots(ask):
    rows = ask("SELECT * FROM HOTSPOTS(TABLE(t) WITH SINGLE PARTITION ORDER BY (ts), 100, 0.3, 8, 'a, b') ORDER BY ts")
    one = rcf.HotSpots(100, 0.3, 8)
    for record, row in zip(X, rows, strict=True):
        one.update(record)
        assert one.kinesis_json() == row.HOTSPOTS_RESULT


def test_hotspots_of_places_on_the_earth(ask):
    rows = ask(
        "SELECT * FROM HOTSPOTS(TABLE(t) WITH SINGLE PARTITION ORDER BY (ts), 100, 20000, 4, 'a, b', metric => 'haversine') "
        "ORDER BY ts"
    )
    one = rcf.HotSpots(100, 20_000, 4, metric="haversine")
    for record, row in zip(X, rows, strict=True):
        one.update(record)
        assert one.kinesis_json() == row.HOTSPOTS_RESULT


def test_partitions_longer_than_a_batch(monkeypatch):
    from pyspark.sql import Row

    monkeypatch.setattr(functions, "ROWS", 7)
    analyzed = functions._Analyzed(
        None, places=[1], columns=["a"], settings={"number_of_trees": 5, "sub_sample_size": 8}
    )
    function = functions._RandomCutForest(analyzed)
    given = [Row(k=i, a=float(x)) for i, x in enumerate(X[:60, 0])]
    out = [result for row in given for result in function.eval(row, 5, 8)] + list(function.terminate())
    assert [row[0] for row in out] == list(range(60))
    one = forest(n_estimators=5, max_samples=8).update_many(X[:60, :1])
    assert [row[-1] for row in out] == one.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "RANDOM_CUT_FOREST(TABLE(t) PARTITION BY (k), columns => 'a, c')",
            r"columns: no column 'c' among 'n', 'k', 'ts'",
        ),
        ("RANDOM_CUT_FOREST(TABLE(t) PARTITION BY (k), trees => 5)", "unexpected keyword argument 'trees'"),
        (
            "RANDOM_CUT_FOREST(TABLE(SELECT ts, NULLIF(a, 9) AS a FROM t) WITH SINGLE PARTITION ORDER BY (ts), columns=>'a')",
            "row 500 of its stream, column 'a': NULL",
        ),
    ],
)
def test_errors_of_a_query(ask, call, message):
    with pytest.raises(Exception, match=message):
        ask(f"SELECT * FROM {call}")


def argument(value, table=False, constant=True):
    from pyspark.sql.functions import AnalyzeArgument
    from pyspark.sql.types import DoubleType, LongType, StringType, StructType

    kind = StructType().add("k", StringType()).add("n", LongType()).add("a", DoubleType()) if table else None
    return AnalyzeArgument(kind, None if table else value, table, constant and not table)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": "k"}, "columns: 'k' must hold numbers, got string"),
        ({"columns": "a,a"}, "columns: 'a' is named twice"),
        ({"numberOfTrees": 0}, "number_of_trees must be between 1"),
        ({"numberOfTrees": None}, "number_of_trees must be a constant that is not NULL"),
        ({"timeDecay": 256}, "time_decay must be greater than sub_sample_size"),
        ({"shingleSize": 0}, "shingle_size must be between 1"),
        ({"seed": -1}, "seed must be between 0"),
    ],
)
def test_arguments_are_checked_when_the_query_is_planned(changes, message):
    table, given = argument(None, table=True), {name: argument(value) for name, value in changes.items()}
    for function in (functions._RandomCutForest, functions._RandomCutForestWithExplanation):
        with pytest.raises((ValueError, TypeError), match=message):
            function.analyze(table, **given)


def test_tables_are_checked_when_the_query_is_planned():
    from pyspark.sql.functions import AnalyzeArgument
    from pyspark.sql.types import DoubleType, StringType, StructType

    with pytest.raises(ValueError, match="the first argument must be a table"):
        functions._RandomCutForest.analyze(argument(5))
    with pytest.raises(ValueError, match="at least one numeric column"):
        functions._RandomCutForest.analyze(AnalyzeArgument(StructType().add("k", StringType()), None, True, False))
    taken = StructType().add("anomaly_score", DoubleType())
    with pytest.raises(ValueError, match="column 'ANOMALY_SCORE' exists already"):
        functions._RandomCutForest.analyze(AnalyzeArgument(taken, None, True, False))
    with pytest.raises(ValueError, match="min_points must be at most window_size"):
        functions._Hotspots.analyze(argument(None, table=True), argument(10), argument(0.1), argument(20))
