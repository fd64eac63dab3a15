"""The parameters of the Spark estimator as Params of Spark ML."""

from __future__ import annotations

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasFeaturesCol, HasPredictionCol, HasSeed


class OutputParams(HasFeaturesCol, HasPredictionCol):
    """The columns that a model reads and writes."""

    scoreCol: Param[str] = Param(
        Params._dummy(),
        "scoreCol",
        "column for the anomaly score (double, at least 0, high for anomalies)",
        TypeConverters.toString,
    )
    attributionCol: Param[str] = Param(
        Params._dummy(),
        "attributionCol",
        "column for each feature's part of the score (array of structs: high, low); empty for none",
        TypeConverters.toString,
    )

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(predictionCol="prediction", scoreCol="anomalyScore", attributionCol="")

    def getScoreCol(self) -> str:
        return self.getOrDefault(self.scoreCol)

    def getAttributionCol(self) -> str:
        return self.getOrDefault(self.attributionCol)


class ForestParams(OutputParams, HasSeed):
    """The parameters of the forest."""

    numTrees: Param[int] = Param(
        Params._dummy(),
        "numTrees",
        "number of trees (at least 1)",
        TypeConverters.toInt,
    )
    maxSamples: Param[int] = Param(
        Params._dummy(),
        "maxSamples",
        "rows that each tree holds (at least 1)",
        TypeConverters.toInt,
    )
    contamination: Param[float] = Param(
        Params._dummy(),
        "contamination",
        "share of the training rows that are flagged as anomalies (0 to 0.5); 0: those above mean + 3 standard deviations",
        TypeConverters.toFloat,
    )
    method: Param[str] = Param(
        Params._dummy(),
        "method",
        "kind of score: depth, path, codisp, displacement or opensearch",
        TypeConverters.toString,
    )

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(numTrees=100, maxSamples=256, contamination=0.0, method="depth", seed=0)

    def getNumTrees(self) -> int:
        return self.getOrDefault(self.numTrees)

    def getMaxSamples(self) -> int:
        return self.getOrDefault(self.maxSamples)

    def getContamination(self) -> float:
        return self.getOrDefault(self.contamination)

    def getMethod(self) -> str:
        return self.getOrDefault(self.method)
