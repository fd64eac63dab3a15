"""The estimator and model of Spark ML: the same bits as without Spark, exact merging, and clear errors."""

import copy
import re

import numpy as np
import pytest

import rcf

pytest.importorskip("pyspark", reason="the package pyspark is not installed")

from rcf.spark import RandomCutForest, RandomCutForestModel, columns
from rcf.spark import forest as module

X = np.random.default_rng(0).normal(size=(3000, 4))
X[5] += 9.0


def table(spark, *parts):
    """A frame with these partitions. Their order is fixed, unlike the order of rows after a shuffle."""
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    numbered = [
        [(start + i, row.tolist()) for i, row in enumerate(part)] for start, part in zip(starts, parts, strict=False)
    ]
    rows = spark.sparkContext.parallelize(numbered, len(parts)).flatMap(lambda part: part)
    return spark.createDataFrame(rows, "id long, features array<double>")


def parts_of(frame):
    """The rows of each partition, in Spark's order."""
    return [np.array([row.features for row in part]) for part in frame.rdd.glom().collect()]


def column(frame, name):
    return np.array([row[name] for row in frame.orderBy("id").select(name).collect()])


@pytest.fixture(scope="module")
def frame(spark):
    return table(spark, X).cache()


@pytest.fixture(scope="module")
def model(frame):
    return RandomCutForest(seed=3).fit(frame)


def test_one_partition_is_the_forest_of_a_local_fit(model):
    local = rcf.RandomCutForest(random_state=3).fit(X)
    local.offset_  # noqa: B018
    assert model.forest.to_bytes() == local.to_bytes()


def test_many_partitions_are_the_merge_of_their_forests(spark):
    many = table(spark, *np.split(X, 3))
    parts = parts_of(many)
    assert list(map(len, parts)) == [1000, 1000, 1000]
    states = [3, *[np.random.default_rng([3, p, 0]) for p in (1, 2)]]
    merged = rcf.merge([rcf.RandomCutForest(random_state=s).fit(part) for s, part in zip(states, parts, strict=True)])
    fitted = RandomCutForest(seed=3).fit(many)
    np.testing.assert_array_equal(fitted.forest.anomaly_score(X), merged.anomaly_score(X))
    assert fitted.forest.n_seen_ == len(X)
    assert fitted.forest.to_bytes() == RandomCutForest(seed=3).fit(many).forest.to_bytes()
    assert fitted.forest.to_bytes() != RandomCutForest(seed=4).fit(many).forest.to_bytes()


def test_every_row_is_held_with_the_same_probability(spark):
    """Partitions have very different lengths. The share of each partition in the samples is its share of the rows."""
    labelled = np.r_[np.full(300, 0.0), np.full(2700, 1.0)] + np.random.default_rng(1).normal(0, 0.01, 3000)
    rows = labelled.reshape(-1, 1)
    frame = table(spark, rows[:300], rows[300:])
    assert [len(part) for part in parts_of(frame)] == [300, 2700]
    forest = RandomCutForest(seed=0, numTrees=200).fit(frame).forest
    held = np.concatenate([forest._forest.points(i) for i in range(200)])
    share = (held[:, 0] < 0.5).mean()
    # hypergeometric: 256 of 3000 in each of 200 trees
    deviation = np.sqrt(0.1 * 0.9 / (200 * 256) * (3000 - 256) / 2999)
    assert abs(share - 0.1) < 4 * deviation


@pytest.mark.parametrize("chunk", [400, 1 << 24])
def test_long_partitions_are_grown_in_pieces(monkeypatch, chunk):
    import pyarrow as pa

    monkeypatch.setattr(module, "partition", lambda: 2)
    monkeypatch.setattr(module, "CHUNK", chunk)
    batches = [pa.record_batch([pa.array(list(part))], ["row"]) for part in np.split(X[:1200], 12)]
    grow = module._growing("features", {"n_estimators": 10, "max_samples": 32}, 7)
    [[batch]] = [list(grow(iter([batches[0].slice(0, 0), *batches])))]
    forest = rcf.RandomCutForest.from_bytes(batch.column("forest")[0].as_py())
    size = min(1200, chunk // 4)
    pieces = [
        rcf.RandomCutForest(10, 32, random_state=np.random.default_rng([7, 2, chunk])).fit(rows)
        for chunk, rows in enumerate(np.split(X[:1200], 1200 // size))
    ]
    np.testing.assert_array_equal(forest.anomaly_score(X), rcf.merge(pieces).anomaly_score(X))
    assert forest.n_seen_ == 1200


@pytest.mark.parametrize("kind", ["vector", "sparse", "double", "float", "int"])
def test_transform_gives_the_bits_of_anomaly_score(spark, model, kind):
    from pyspark.ml.linalg import SparseVector, Vectors
    from pyspark.sql import functions as F

    rows = np.round(X[:200] * 3)
    rows[7] = 0.0
    frame = table(spark, rows)
    if kind in ("vector", "sparse"):
        make = (
            Vectors.dense if kind == "vector" else lambda row: SparseVector(4, {j: v for j, v in enumerate(row) if v})
        )
        frame = spark.createDataFrame([(i, make(row)) for i, row in enumerate(rows)], ["id", "features"])
    else:
        frame = frame.withColumn("features", F.col("features").cast(f"array<{kind}>"))
    found = model.transform(frame)
    assert found.columns == ["id", "features", "anomalyScore", "prediction"]
    np.testing.assert_array_equal(column(found, "anomalyScore"), model.forest.anomaly_score(rows))
    np.testing.assert_array_equal(column(found, "prediction") == 1.0, model.forest.predict(rows) == -1)
    assert set(column(found, "prediction")) == {0.0, 1.0}


def test_the_other_columns_stay_in_the_jvm(spark, model, frame, capsys):
    model.transform(frame.withColumn("other", frame.id * 2)).explain()
    plan = capsys.readouterr().out
    assert plan.count("EvalPython") == 1
    arguments = plan.split("ArrowEvalPython ")[1].split("]")[0]
    assert "features#" in arguments
    assert "other#" not in arguments
    assert "id#" not in arguments


def test_attribution(frame, model):
    explaining = model.copy({model.attributionCol: "why", model.predictionCol: ""})
    found = explaining.transform(frame)
    assert found.columns == ["id", "features", "anomalyScore", "why"]
    np.testing.assert_array_equal(column(found, "anomalyScore"), model.forest.anomaly_score(X))
    rows = [row.why for row in found.orderBy("id").select("why").collect()]
    parts = np.array([[(part.high, part.low) for part in row] for row in rows])
    np.testing.assert_array_equal(parts, model.forest.attribution(X))


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("share", [0.01, 0.2])
def test_contamination_is_the_share_of_training_rows_called(spark, share, partitions):
    many = table(spark, *np.split(X, partitions))
    fitted = RandomCutForest(contamination=share, seed=1).fit(many)
    called = column(fitted.transform(many), "prediction")
    assert called.sum() == round(share * len(X))
    if partitions == 1:
        local = rcf.RandomCutForest(contamination=share, random_state=1).fit(X)
        assert fitted.forest.offset_ == pytest.approx(local.offset_, rel=1e-12)
    assert fitted.forest.to_bytes() == RandomCutForest(contamination=share, seed=1).fit(many).forest.to_bytes()
    assert (fitted.forest.predict(X) == -1).sum() == called.sum()


@pytest.mark.parametrize("sizes", [[5], [4096], [50_000], [10, 100_000, 3], [7_000, 60_000]])
def test_the_quantile_of_what_partitions_send(monkeypatch, sizes):
    import pyarrow as pa

    noise = np.random.default_rng(2)
    scores = [noise.exponential(size=n) + i for i, n in enumerate(sizes)]

    class Part:
        def anomaly_score(self, rows):
            return rows[:, 0]

    monkeypatch.setattr(module, "partition", lambda: 0)
    monkeypatch.setattr(module, "_forest", lambda data: Part())
    sent = []
    for i, held in enumerate(scores):
        [batch] = module._scoring("x", b"")(iter([pa.record_batch([pa.array(list(held.reshape(-1, 1)))], ["x"])]))
        [row] = batch.to_pylist()
        sent.append(type("Row", (), {**row, "partition": i}))
        assert len(row["scores"]) <= 8 * module.QUANTILES
    whole = np.sort(np.concatenate(scores))
    for share in (0.5, 0.9, 0.99, 0.999):
        found = module._quantile(sent[::-1], share)
        assert found == module._quantile(sent, share)
        if max(sizes) <= module.QUANTILES:
            assert found == pytest.approx(np.percentile(whole, 100 * share))
        assert abs((whole > found).mean() - (1 - share)) <= 1 / 8192 + 1 / len(whole)


def test_a_pipeline_is_saved_and_loaded(spark, tmp_path):
    from pyspark.ml import Pipeline, PipelineModel
    from pyspark.ml.feature import StandardScaler, VectorAssembler

    frame = spark.createDataFrame(
        [(i, *map(float, row)) for i, row in enumerate(X[:500])], "id long, a double, b double, c double, d double"
    )
    forest = RandomCutForest(featuresCol="scaled", numTrees=20, contamination=0.02, seed=5)
    pipeline = Pipeline(
        stages=[
            VectorAssembler(inputCols=["a", "b", "c", "d"], outputCol="features"),
            StandardScaler(inputCol="features", outputCol="scaled", withMean=True),
            forest,
        ]
    )
    pipeline.write().overwrite().save(str(tmp_path / "pipeline"))
    again = Pipeline.load(str(tmp_path / "pipeline"))
    fitted = pipeline.fit(frame)
    fitted.write().overwrite().save(str(tmp_path / "model"))
    loaded = PipelineModel.load(str(tmp_path / "model"))
    expected = column(fitted.transform(frame), "anomalyScore")
    np.testing.assert_array_equal(column(loaded.transform(frame), "anomalyScore"), expected)
    np.testing.assert_array_equal(column(again.fit(frame).transform(frame), "anomalyScore"), expected)
    assert loaded.stages[-1].forest.to_bytes() == fitted.stages[-1].forest.to_bytes()
    assert loaded.stages[-1].uid == forest.uid
    assert again.getStages()[-1].extractParamMap() == {
        again.getStages()[-1].getParam(param.name): value for param, value in forest.extractParamMap().items()
    }


def test_saving_refuses_to_overwrite_unasked(model, tmp_path):
    path = str(tmp_path / "model")
    model.save(path)
    with pytest.raises(Exception, match="PATH_ALREADY_EXISTS"):
        model.save(path)
    model.setScoreCol("other").write().overwrite().save(path)
    assert RandomCutForestModel.load(path).getScoreCol() == "other"
    model.setScoreCol("anomalyScore")
    with pytest.raises(ValueError, match=r"holds a rcf.spark.RandomCutForestModel, not a rcf.spark.RandomCutForest"):
        RandomCutForest.load(path)


def test_a_damaged_model_is_refused(spark, model, tmp_path):
    path = str(tmp_path / "model")
    damaged = copy.copy(model)
    damaged._forest_bytes = model._forest_bytes[:-100] + b"\x00" * 100
    damaged.save(path)
    with pytest.raises(rcf.persist.ModelFileError):
        RandomCutForestModel.load(path)


def test_cross_validation_with_labels(spark):
    from pyspark.ml.evaluation import BinaryClassificationEvaluator
    from pyspark.ml.tuning import CrossValidator, ParamGridBuilder

    # a dense cluster of anomalies looks normal in large samples, but not in small ones
    rows = np.r_[
        np.random.default_rng(3).normal(size=(1500, 2)), np.random.default_rng(4).normal(4, 0.05, size=(150, 2))
    ]
    frame = spark.createDataFrame(
        [(float(i >= 1500), row.tolist()) for i, row in enumerate(rows)], "label double, features array<double>"
    ).coalesce(1)
    forest = RandomCutForest(numTrees=20)
    grid = ParamGridBuilder().addGrid(forest.maxSamples, [4, 512]).build()
    evaluator = BinaryClassificationEvaluator(rawPredictionCol="anomalyScore", metricName="areaUnderROC")
    best = CrossValidator(estimator=forest, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, seed=1).fit(frame)
    assert best.bestModel.forest.max_samples == 4
    assert best.avgMetrics[0] > best.avgMetrics[1] + 0.02


def test_parameters():
    forest = RandomCutForest(numTrees=7, method="codisp")
    assert (forest.getNumTrees(), forest.getMethod(), forest.getSeed(), forest.getMaxSamples()) == (7, "codisp", 0, 256)
    copied = forest.copy({forest.numTrees: 8})
    assert (copied.getNumTrees(), forest.getNumTrees()) == (8, 7)
    chained = forest.setNumTrees(9).setMaxSamples(64).setContamination(0.1).setMethod("depth").setSeed(2)
    assert chained.setFeaturesCol("x").setPredictionCol("p").setScoreCol("s").setAttributionCol("a") is forest
    assert [forest.getOrDefault(param.name) for param in forest.params] == ["a", 0.1, "x", 64, "depth", 9, "p", "s", 2]
    assert forest.setParams(numTrees=3).getNumTrees() == 3
    assert forest.getMaxSamples() == 64
    with pytest.raises(TypeError, match="numTrees"):
        RandomCutForest(numTrees="many")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"numTrees": 0}, "numTrees must be between 1"),
        ({"maxSamples": -3}, "maxSamples must be between 1"),
        ({"contamination": 0.7}, r"contamination must be between 0 and 0\.5, got 0\.7"),
        ({"contamination": float("nan")}, "contamination must be"),
        ({"method": "depht"}, "method must be one of 'depth'"),
        ({"seed": -1}, "seed must be between 0"),
    ],
)
def test_parameters_out_of_range(frame, bad, message):
    with pytest.raises(ValueError, match=message):
        RandomCutForest(**bad).fit(frame)


REFUSED = [
    ([[1.0, 2.0], None], "column 'features', row 1 of partition 0: NULL"),
    ([[1.0, None], [3.0, float("inf")]], "column 'features', row 1 of partition 0: value 1 is inf"),
    (
        [[1.0, 2.0], [3.0, 4.0], [5.0]],
        "column 'features', row 2 of partition 0: 1 values, but row 0 of partition 0 has 2",
    ),
    ([[float("-inf"), 2.0]], "column 'features', row 0 of partition 0: value 0 is -inf"),
    ([[1.0, 1e300]], r"column 'features', row 0 of partition 0: value 1 is 1e\+300"),
    ([[]], "column 'features', row 0 of partition 0: an array without values"),
]


@pytest.mark.parametrize(("rows", "message"), REFUSED)
def test_rows_that_cannot_be_used_are_named(rows, message):
    import pyarrow as pa

    column = pa.array(rows, pa.list_(pa.float64()))
    with pytest.raises(ValueError, match=message):
        columns.table(column, "features", 0, " of partition 0")
    # the bad row is in a slice of a longer array
    longer = pa.concat_arrays([pa.array([[0.0, 0.0], None, [7.0, 7.0]], pa.list_(pa.float64())), column])
    first = 98
    moved = re.sub(r"row (\d)", lambda found: f"row {first + 1 + int(found[1])}", message)
    if "row 0 of partition 0 has" in message:
        moved = moved.replace("row 99 of partition 0 has", "row 98 of partition 0 has")
    if "without values" in message:
        moved = "row 99 of partition 0: 0 values, but row 98 of partition 0 has 2"
    with pytest.raises(ValueError, match=moved):
        columns.table(longer.slice(2), "features", first, " of partition 0")
    np.testing.assert_array_equal(columns.table(longer.slice(2, 1), "features"), [[7.0, 7.0]])


def test_fit_and_transform_name_the_row(spark, model):
    rows, message = REFUSED[1]
    frame = spark.createDataFrame([(row,) for row in rows], "features array<double>").coalesce(1)
    for use in (RandomCutForest().fit, lambda frame: model.transform(frame).collect()):
        with pytest.raises(Exception, match=message):
            use(frame)


def test_a_null_vector_is_named(spark, model):
    from pyspark.ml.linalg import Vectors, VectorUDT
    from pyspark.sql.types import StructField, StructType

    kind = StructType([StructField("features", VectorUDT())])
    frame = spark.createDataFrame([(Vectors.dense(1, 2, 3, 4),), (None,)], kind).coalesce(1)
    for use in (RandomCutForest().fit, lambda frame: model.transform(frame).collect()):
        with pytest.raises(Exception, match="column 'features', row 1 of partition 0: NULL"):
            use(frame)


def test_columns_that_cannot_be_used_are_named(spark, model, frame):
    for kind, value in (("string", "x"), ("double", 1.0), ("array<string>", ["x"])):
        wrong = spark.createDataFrame([(value,)], f"features {kind}")
        for use in (RandomCutForest().fit, model.transform):
            with pytest.raises(
                ValueError, match="column 'features' must be a vector or an array of numbers, got " + kind
            ):
                use(wrong)
    twice = frame.join(frame.select("id", "features"), "id")
    missing = frame.withColumnRenamed("features", "other")
    for use in (RandomCutForest().fit, model.transform):
        with pytest.raises(Exception, match=r"AMBIGUOUS_REFERENCE.*features"):
            use(twice)
        with pytest.raises(Exception, match=r"UNRESOLVED_COLUMN.*features.*other"):
            use(missing)


def test_output_columns_do_not_hide_others(frame, model):
    from pyspark.sql import functions as F

    with pytest.raises(ValueError, match="column 'anomalyScore' exists already"):
        model.transform(frame.withColumn("ANOMALYSCORE", F.lit(1)))
    with pytest.raises(ValueError, match="column 'same' exists already, or is added twice"):
        model.copy({model.scoreCol: "same", model.predictionCol: "same"}).transform(frame)
    with pytest.raises(ValueError, match="scoreCol must not be empty"):
        model.copy({model.scoreCol: ""}).transform(frame)
    dotted = model.copy({model.scoreCol: "a.b"}).transform(frame)
    assert dotted.columns[-2:] == ["a.b", "prediction"]
    dotted.collect()


def test_other_widths_are_named(spark, model):
    narrow = spark.createDataFrame([([1.0, 2.0],)], "features array<double>")
    with pytest.raises(Exception, match=r"row 0 of partition .: 2 values, but the model was fitted on 4"):
        model.transform(narrow).collect()
    mixed = table(spark, np.ones((3, 2)), np.ones((2, 3)))
    with pytest.raises(
        ValueError, match="column 'features': 3 values in the rows of partition 1, but 2 in those of partition 0"
    ):
        RandomCutForest().fit(mixed)


def test_empty_and_small_partitions(spark, model):
    few = table(spark, X[:0], X[:1], X[:0], X[1:5])
    assert [len(part) for part in parts_of(few)] == [0, 1, 0, 4]
    forest = RandomCutForest(numTrees=10).fit(few).forest
    assert forest.n_seen_ == 5
    assert all(len(np.unique(forest._forest.points(i), axis=0)) == 5 for i in range(10))
    assert len(model.transform(few).collect()) == 5
    with pytest.raises(ValueError, match="cannot fit: the DataFrame has no rows"):
        RandomCutForest().fit(few.limit(0))
    assert model.transform(few.limit(0)).collect() == []
    assert RandomCutForest(numTrees=2).fit(table(spark, X[:1])).forest.n_seen_ == 1


def test_missing_values_are_those_of_the_forest(spark):
    """Missing values are NaN in a vector or NULL in an array. Fit and scores equal those of the estimator on the same table, bit
    for bit.
    """
    from pyspark.ml.feature import VectorAssembler

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 3))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    local = rcf.RandomCutForest(10, random_state=0).fit(rows)
    given = [[None if np.isnan(v) else v for v in row] for row in rows.tolist()]
    columns_ = spark.createDataFrame(
        [(i, *row) for i, row in enumerate(given)], "id long, a double, b double, c double"
    )
    assembled = VectorAssembler(inputCols=["a", "b", "c"], outputCol="features", handleInvalid="keep").transform(
        columns_
    )
    arrays = spark.createDataFrame(list(enumerate(given)), "id long, features array<double>")
    for frame in (assembled.coalesce(1), arrays.coalesce(1)):
        fitted = RandomCutForest(numTrees=10, attributionCol="parts", contamination=0.05).fit(frame)
        found = fitted.transform(frame).orderBy("id").collect()
        assert [row.anomalyScore for row in found] == local.anomaly_score(rows).tolist()
        parts = local.attribution(rows).reshape(400, 3, 2)
        assert [[list(side) for side in row.parts] for row in found] == parts.tolist()
        assert 10 <= sum(row.prediction for row in found) <= 30


def test_ten_thousand_columns(spark):
    rows = np.random.default_rng(0).normal(size=(40, 10_000))
    frame = table(spark, rows)
    fitted = RandomCutForest(numTrees=5, maxSamples=16).fit(frame)
    np.testing.assert_array_equal(column(fitted.transform(frame), "anomalyScore"), fitted.forest.anomaly_score(rows))
