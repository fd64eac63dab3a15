"""The parameters of the Spark estimator as Params of Spark ML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasFeaturesCol, HasPredictionCol, HasSeed


def _param(name: str, doc: str, convert: Callable[[Any], Any]) -> Param[Any]:
    return Param(Params._dummy(), name, doc, convert)


class OutputParams(HasFeaturesCol, HasPredictionCol):
    """The columns that a model reads and writes."""

    scoreCol = _param(
        "scoreCol", "column for the anomaly score (double, at least 0, high for anomalies)", TypeConverters.toString
    )
    attributionCol = _param(
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

    def setFeaturesCol(self, value: str) -> Self:
        return self._set(featuresCol=value)

    def setPredictionCol(self, value: str) -> Self:
        return self._set(predictionCol=value)

    def setScoreCol(self, value: str) -> Self:
        return self._set(scoreCol=value)

    def setAttributionCol(self, value: str) -> Self:
        return self._set(attributionCol=value)


class ForestParams(OutputParams, HasSeed):
    """The parameters of the forest."""

    numTrees = _param("numTrees", "number of trees (at least 1)", TypeConverters.toInt)
    maxSamples = _param("maxSamples", "rows that each tree holds (at least 1)", TypeConverters.toInt)
    contamination = _param(
        "contamination",
        "share of the training rows that are flagged as anomalies (0 to 0.5); 0: those above mean + 3 standard deviations",
        TypeConverters.toFloat,
    )
    method = _param("method", "kind of score: depth, path, codisp, displacement or opensearch", TypeConverters.toString)

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

    def setNumTrees(self, value: int) -> Self:
        return self._set(numTrees=value)

    def setMaxSamples(self, value: int) -> Self:
        return self._set(maxSamples=value)

    def setContamination(self, value: float) -> Self:
        return self._set(contamination=value)

    def setMethod(self, value: str) -> Self:
        return self._set(method=value)

    def setSeed(self, value: int) -> Self:
        return self._set(seed=value)
