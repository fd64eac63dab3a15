"""A Spark ML pipeline that assembles and scales features and fits a forest. The forest can also be used without Spark."""

import tempfile

import numpy as np
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import StandardScaler, VectorAssembler
from pyspark.sql import SparkSession

import rcf
from rcf.spark import RandomCutForest

spark = SparkSession.builder.getOrCreate()
rng = np.random.default_rng(0)
load, latency = rng.normal(50, 10, 5000), rng.lognormal(3, 0.3, 5000)
odd = rng.choice(5000, 25, replace=False)
load[odd] += 80
rows = [(i, float(load[i]), float(latency[i]), float(i in odd)) for i in range(5000)]
frame = spark.createDataFrame(rows, "id long, load double, latency double, label double")

assembler = VectorAssembler(inputCols=["load", "latency"], outputCol="raw")
scaler = StandardScaler(inputCol="raw", outputCol="features")  # a forest cuts features in proportion to their extent
forest = RandomCutForest(contamination=0.005, attributionCol="why")
model = Pipeline(stages=[assembler, scaler, forest]).fit(frame)

scored = model.transform(frame)
area = BinaryClassificationEvaluator(rawPredictionCol="anomalyScore").evaluate(scored)
called = scored.filter("prediction = 1.0").select("id", "load", "latency", "anomalyScore", "why").collect()
print(
    f"area under ROC {area:.3f}; {len(called)} rows flagged, among them {sum(row.id in odd for row in called)} of 25 outliers"
)
row = max(called, key=lambda row: row.anomalyScore)
print(
    f"row {row.id}: load {row.load:.0f} adds {row.why[0].high:.2f}, latency {row.latency:.0f} adds {sum(row.why[1]):.2f}"
)
assert area > 0.99

with tempfile.TemporaryDirectory() as folder:
    model.write().overwrite().save(f"{folder}/pipeline")
    again = PipelineModel.load(f"{folder}/pipeline")
    assert again.transform(frame).select("anomalyScore").collect() == scored.select("anomalyScore").collect()
    again.stages[-1].forest.save(f"{folder}/forest.rcf")
    local = rcf.load(f"{folder}/forest.rcf")
features = np.array([row.features.toArray() for row in scored.select("features").collect()])
assert local.anomaly_score(features).tolist() == [row.anomalyScore for row in scored.select("anomalyScore").collect()]
