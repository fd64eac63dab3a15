"""Three Spark pipelines on handwritten digits: PCA with K-Means, PCA with a forest, and a forest that also gets a distance.

PCA discards the distance of an image from the plane of its components. Images of shuffled pixels lie far from the plane. Without
the distance, a forest on five components finds them more ordinary than digits. If the distance is added as a feature, they have
the highest scores.
"""

import numpy as np
from pyspark.ml import Pipeline, Transformer
from pyspark.ml.clustering import KMeans
from pyspark.ml.feature import PCA, StandardScaler, VectorAssembler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from rcf.spark import RandomCutForest

spark = SparkSession.builder.getOrCreate()


def frame_of(images, labels):
    rows = spark.createDataFrame(
        list(zip(images.tolist(), labels.tolist(), strict=True)), "pixels array<double>, label int"
    )
    return rows.select(array_to_vector("pixels").alias("pixels"), "label").coalesce(1)


class Distance(Transformer):
    """Adds twice the distance of an image from the plane of its components, by Pythagoras."""

    def _transform(self, frame):
        def squared(name):
            return F.aggregate(vector_to_array(F.col(name)), F.lit(0.0), lambda total, x: total + x * x)

        return frame.withColumn("distance", 2 * F.sqrt(F.greatest(F.lit(0.0), squared("centred") - squared("plane"))))


X, digits = load_digits(return_X_y=True)
centre = StandardScaler(
    inputCol="pixels", outputCol="centred", withMean=True, withStd=False
)  # Spark's PCA does not centre

# ---- PCA and K-Means -----------------------------------------------------------------------------------------------

clusters = Pipeline(
    stages=[
        centre,
        PCA(k=20, inputCol="centred", outputCol="plane"),
        KMeans(k=10, featuresCol="plane", seed=0, maxIter=50),
    ]
)
images = frame_of(X, digits)
counts = clusters.fit(images).transform(images).groupBy("prediction").pivot("label").count().fillna(0).collect()
purity = sum(max(row[1:]) for row in counts) / len(X)
print(f"ten clusters of 20 components: purity {purity:.3f}")
assert purity > 0.7

# ---- PCA and a forest ----------------------------------------------------------------------------------------------

rng = np.random.default_rng(0)
order = rng.permutation(len(X))
known, new = X[order[:1200]], X[order[1200:]]
strange = rng.permuted(new, axis=1)
train = frame_of(known, np.zeros(len(known), dtype=int))
truth = np.r_[np.zeros(len(new), dtype=int), np.ones(len(strange), dtype=int)]
test = frame_of(np.r_[new, strange], truth)


def quality(stages):
    """ROC-AUC of the shuffled images among digits that the forest has not seen."""
    found = Pipeline(stages=stages).fit(train).transform(test).select("label", "anomalyScore").collect()
    return roc_auc_score([row.label for row in found], [row.anomalyScore for row in found])


for k in (5, 20):
    pca = PCA(k=k, inputCol="centred", outputCol="plane")
    both = VectorAssembler(inputCols=["plane", "distance"], outputCol="features")
    alone = quality([centre, pca, RandomCutForest(featuresCol="plane")])
    repaired = quality([centre, pca, Distance(), both, RandomCutForest()])
    print(f"{k:2} components: ROC-AUC {alone:.3f}, with the distance {repaired:.3f}")
    assert repaired > 0.98
    if k == 5:
        assert alone < 0.25  # shuffled images look more ordinary than digits do
