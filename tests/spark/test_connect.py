"""Spark Connect, where the client has neither a JVM nor a SparkContext. It runs in a separate process."""

import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("pyspark", reason="the package pyspark is not installed")
pytest.importorskip(
    "grpc", reason="Spark Connect needs the packages grpcio, grpcio-status and googleapis-common-protos"
)

SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from pyspark.sql import SparkSession

spark = SparkSession.builder.remote("local[2]").config("spark.ui.enabled", "false").getOrCreate()
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import VectorAssembler

import rcf
from rcf.spark import RandomCutForest, RandomCutForestModel, detect, detect_stream, hot_spots, register

path = sys.argv[1]
X = np.random.default_rng(0).normal(size=(600, 3))
frame = spark.createDataFrame([(i, *row) for i, row in enumerate(X.tolist())], "id long, a double, b double, c double").coalesce(1)
assembler = VectorAssembler(inputCols=["a", "b", "c"], outputCol="features")
estimator = RandomCutForest(numTrees=20, seed=4, contamination=0.05)
pipeline = Pipeline(stages=[assembler, estimator])
fitted = pipeline.fit(frame)
local = rcf.RandomCutForest(20, random_state=4).fit(X).anomaly_score(X)


def scores(model, frame):
    return [row.anomalyScore for row in model.transform(frame).orderBy("id").collect()]


assert scores(fitted, frame) == local.tolist()
model = fitted.stages[-1]
for kind, thing in (("estimator", estimator), ("model", model), ("pipeline", pipeline), ("fitted", fitted)):
    thing.save(f"{path}/{kind}")
    try:
        thing.save(f"{path}/{kind}")
    except Exception as error:
        assert "ALREADY_EXISTS" in str(error), error
    else:
        raise AssertionError("overwritten unasked")
    thing.write().overwrite().save(f"{path}/{kind}")
features = assembler.transform(frame)
assert RandomCutForest.load(f"{path}/estimator").extractParamMap().keys() == estimator.extractParamMap().keys()
assert scores(RandomCutForestModel.load(f"{path}/model"), features) == local.tolist()
assert scores(PipelineModel.load(f"{path}/fitted"), frame) == local.tolist()
assert scores(Pipeline.load(f"{path}/pipeline").fit(frame), frame) == local.tolist()
if len(sys.argv) == 2:
    print("equal")
    spark.stop()
    sys.exit()
found = detect(frame.withColumn("k", frame.id % 2), keyCols=["k"], timeCol="id", valueCols=["a", "b"], max_samples=64)
one = rcf.StreamDetector(random_state=0, max_samples=64).update_many(X[::2, :2], np.arange(0.0, 600.0, 2.0))
assert [row.score for row in found.filter("k = 0").orderBy("id").collect()] == one.score.tolist()
spots = hot_spots(frame.selectExpr("1 AS k", "a", "b"), keyCols=["k"], valueCols=["a", "b"], scan_radius=0.2, min_points=5)
assert spots.count() > 0
register(spark)
frame.createOrReplaceTempView("t")
sql = "SELECT * FROM RANDOM_CUT_FOREST(TABLE(t) WITH SINGLE PARTITION ORDER BY (id), 10, 64, columns => 'a, b') ORDER BY id"
one = rcf.RandomCutForest(10, 64, time_decay=1e-5, random_state=0).update_many(X[:, :2])
assert [row.ANOMALY_SCORE for row in spark.sql(sql).collect()] == one.tolist()
spark.conf.set(
    "spark.sql.streaming.stateStore.providerClass",
    "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
)
frame.repartition(1).write.parquet(f"{path}/in")
rows = spark.readStream.schema(frame.schema).parquet(f"{path}/in")
stream = detect_stream(rows.selectExpr("'x' AS k", "*"), keyCols=["k"], timeCol="id", valueCols=["a", "b"], max_samples=64)
query = stream.writeStream.format("parquet").option("checkpointLocation", f"{path}/state").trigger(availableNow=True)
query.start(f"{path}/out").awaitTermination()
one = rcf.StreamDetector(random_state=0, max_samples=64).update_many(X[:, :2], np.arange(600.0))
assert [row.score for row in spark.read.parquet(f"{path}/out").orderBy("id").collect()] == one.score.tolist()
print("equal")
spark.stop()
"""


@pytest.mark.parametrize("parts", [[], pytest.param(["all"], marks=pytest.mark.slow)])
def test_all_of_it_without_a_jvm(environment, tmp_path, parts):
    """This slow test also covers detectors, SQL and a stream, whose code is the same as with classic Spark."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), *parts]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            out, errors = process.communicate(timeout=600)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # this also stops the server that it started
            raise
    assert out.decode().strip().endswith("equal"), errors.decode()[-3000:]
