"""Spark Connect, where there is neither a JVM nor a SparkContext on the client: in a process of its own."""

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
from rcf.spark import RandomCutForest, RandomCutForestModel

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
print("equal")
spark.stop()
"""


def test_fit_transform_save_and_load(environment, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.stdout.strip().endswith("equal"), done.stderr[-3000:]
