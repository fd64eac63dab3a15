"""The forest as an estimator of Spark ML. The workers grow a forest on each partition, and the driver merges them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import keyword_only
from pyspark.ml.base import Estimator, Model
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from .._core import METHODS
from .._validate import whole_number
from ..estimator import RandomCutForest as Forest
from ..estimator import merge
from .columns import features_of, partition, refuse_taken, table
from .params import ForestParams, OutputParams
from .storage import ForestReader, ForestWriter

# A worker grows a forest after this number of values (128 MiB), so that a partition may be larger than memory.
CHUNK = 1 << 24
# A partition sends this number of scores for the quantile of `contamination`. The error of the rank is then at most 1 /
# 8192 of the rows.
QUANTILES = 4096
_ATTRIBUTION = "array<struct<high: double, low: double>>"


class RandomCutForest(Estimator, ForestParams, MLReadable, MLWritable):
    """A random cut forest as an estimator of Spark ML.

    `fit` grows a forest on each partition and merges the forests. Merging is exact, so the result has the distribution of one
    forest fitted on all rows. Each row is read once, or twice with `contamination`, and no cache is needed.

    Parameters
    ----------
    featuresCol : str, default="features"
        A column of vectors, such as VectorAssembler creates, or of arrays of numbers. Sparse vectors are made dense. NaN, and NULL
        within an array, mark missing values. If a whole vector is NULL, an error is raised.
    predictionCol : str, default="prediction"
        The model adds this column: 1.0 for an anomaly and 0.0 otherwise, as in the isolation forests of LinkedIn and SynapseML.
        The values differ from scikit-learn's -1 and 1. An empty name adds no column.
    scoreCol : str, default="anomalyScore"
        The model adds this column with the score, at least 0 and high for anomalies. Use it as the `rawPredictionCol` of a
        BinaryClassificationEvaluator.
    attributionCol : str, default=""
        If not empty, the model adds this column with each feature's part of the score, for high and for low values. This takes
        about five times as long as the score.
    numTrees : int, default=100
        Number of trees.
    maxSamples : int, default=256
        Number of rows that each tree holds.
    contamination : float, default=0.0
        The share of training rows to flag as anomalies, at most 0.5. The error of the share is at most 1/8192 of the rows. This
        needs a second pass over the rows. With 0, the threshold is the mean plus three standard deviations of the scores of the
        rows that the trees hold.
    method : {"depth", "path", "codisp", "displacement", "opensearch"}, default="depth"
        The kind of score; see :class:`rcf.RandomCutForest`.
    seed : int, default=0
        The same seed gives the same forest, bit for bit, if the same rows are in the same partitions in the same order.
        After a shuffle, Spark delivers rows in a different order each time: sort within the partitions to repeat a result.

    See Also
    --------
    rcf.RandomCutForest : The forest itself, available as the model's attribute `forest`.
    rcf.spark.detect : A detector for each key, for time series.

    Notes
    -----
    If there is a single partition of at most 2^24 numbers, the result of `fit` is the forest of
    ``rcf.RandomCutForest(..., random_state=seed).fit(rows)``. The random numbers of further partitions come from
    ``numpy.random.default_rng([seed, partition, 0])``. A partition with more numbers is divided into pieces of that
    size, and the forests of the pieces are merged.

    Missing values are treated as in :class:`rcf.RandomCutForest`. ``VectorAssembler(handleInvalid="keep")`` turns NULL columns
    into NaN. `fit` replaces each missing value by a random value of the feature from the same partition, or by 0 if there
    is none. So `repartition` a DataFrame in which whole partitions lack a feature.

    The driver needs 20 ms and half a megabyte for each partition with 8 columns, so `coalesce` a DataFrame with many thousands
    of partitions.

    Sparse data become dense in Python. With 10 000 columns a batch of 10 000 rows takes 800 MB, so lower
    ``spark.sql.execution.arrow.maxRecordsPerBatch``.

    Examples
    --------
    A pipeline (a Spark session must be running)::

        assembler = VectorAssembler(inputCols=["load", "latency"], outputCol="features")
        pipeline = Pipeline(stages=[assembler, RandomCutForest(contamination=0.01)])
        model = pipeline.fit(train)
        model.transform(test).filter("prediction = 1.0").show()
        model.stages[-1].forest.save("forest.rcf")  # the same forest for Python without Spark
    """

    __module__ = "rcf.spark"  # saved folders contain the public name of the class
    _input_kwargs: dict[str, Any]

    @keyword_only
    def __init__(
        self,
        *,
        featuresCol: str = "features",
        predictionCol: str = "prediction",
        scoreCol: str = "anomalyScore",
        attributionCol: str = "",
        numTrees: int = 100,
        maxSamples: int = 256,
        contamination: float = 0.0,
        method: str = "depth",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._set(**self._input_kwargs)

    def setParams(self, **params: Any) -> Self:
        """Set the given parameters, named as in the constructor, and keep the others."""
        return self._set(**params)

    def write(self) -> ForestWriter:
        return ForestWriter(self)

    @classmethod
    def read(cls) -> ForestReader:
        return ForestReader(cls)

    def _fit(self, dataset: DataFrame) -> RandomCutForestModel:
        params = self._checked()
        name, seed, contamination = self.getFeaturesCol(), self.getSeed(), self.getContamination()
        rows = dataset.select(features_of(dataset, name).alias("row"))
        grown = rows.mapInArrow(_growing(name, params, seed), "partition int, width int, forest binary").collect()
        if not grown:
            raise ValueError(f"cannot fit: the DataFrame has no rows (column {name!r})")
        grown.sort(key=lambda part: part.partition)
        for part in grown[1:]:
            if part.width != grown[0].width:
                raise ValueError(
                    f"column {name!r}: {part.width} values in the rows of partition {part.partition}, "
                    f"but {grown[0].width} in those of partition {grown[0].partition}"
                )
        forest = merge([Forest.from_bytes(bytes(part.forest)) for part in grown])
        if contamination:
            forest.contamination = contamination
            data = forest.to_bytes()
            parts = rows.mapInArrow(_scoring(name, data), "partition int, n long, scores binary").collect()
            forest.offset_ = -_quantile(parts, 1.0 - contamination)
        model = RandomCutForestModel(forest)
        model._resetUid(self.uid)
        return self._copyValues(model)

    def _checked(self) -> dict[str, Any]:
        """The parameters of the forest under the names of rcf. ValueError if one is out of range."""
        contamination, method = self.getContamination(), self.getMethod()
        if not 0.0 <= contamination <= 0.5:
            raise ValueError(f"contamination must be between 0 and 0.5, got {contamination}")
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
        whole_number("seed", self.getSeed(), 0, 2**32 - 1)
        return {
            "n_estimators": whole_number("numTrees", self.getNumTrees(), 1, 2**31 - 1),
            "max_samples": whole_number("maxSamples", self.getMaxSamples(), 1, 2**30 - 1),
            "method": method,
        }


class RandomCutForestModel(Model, OutputParams, MLReadable, MLWritable):
    """A fitted random cut forest. `transform` adds the score and the prediction of each row.

    The scores are those of ``forest.anomaly_score``, bit for bit. A prediction is 1.0 where ``forest.predict`` returns -1. The
    other columns of the DataFrame stay in the JVM.

    Attributes
    ----------
    forest : rcf.RandomCutForest
        The forest. ``forest.save(path)`` saves it for use without Spark.
    """

    __module__ = "rcf.spark"

    def __init__(self, forest: Forest | None = None) -> None:
        super().__init__()
        if forest is None:  # for ForestReader, which sets the forest later
            self._forest_bytes = b""
        else:
            forest.offset_  # noqa: B018 # computed now, because computing it later would change the bytes
            self._forest_bytes = forest.to_bytes()

    @property
    def forest(self) -> Forest:
        return _forest(self._forest_bytes)

    def write(self) -> ForestWriter:
        return ForestWriter(self, self._forest_bytes)

    @classmethod
    def read(cls) -> ForestReader:
        return ForestReader(cls)

    def _transform(self, dataset: DataFrame) -> DataFrame:
        score, prediction, attribution = self.getScoreCol(), self.getPredictionCol(), self.getAttributionCol()
        if not score:
            raise ValueError("scoreCol must not be empty")
        refuse_taken(dataset, [name for name in (score, prediction, attribution) if name])
        name = self.getFeaturesCol()
        features = features_of(dataset, name)
        if attribution:
            both = f"__{self.uid}"
            found = dataset.withColumn(both, _explainer(name, self._forest_bytes)(features))
            added = {score: F.col(both)["score"], attribution: F.col(both)["attribution"]}
            found = found.withColumns(added).drop(both)
        else:
            found = dataset.withColumn(score, _scorer(name, self._forest_bytes)(features))
        if prediction:
            found = found.withColumn(prediction, (F.col(f"`{score}`") > -self.forest.offset_).cast("double"))
        return found


def random_state_of(seed: int, partition: int, chunk: int = 0) -> int | np.random.Generator:
    """The random_state of the forest that is grown on one piece of a partition."""
    return seed if partition == chunk == 0 else np.random.default_rng([seed, partition, chunk])


@lru_cache(maxsize=8)
def _forest(data: bytes) -> Forest:
    """The forest of a model file. Each process reads it once."""
    return Forest.from_bytes(data)


Batches = Iterator[pa.RecordBatch]


def _tables(batches: Batches, name: str) -> Iterator[NDArray[np.float64]]:
    """The feature vectors of a partition, one table per batch."""
    first, where = 0, f" of partition {partition()}"
    for batch in batches:
        if len(batch):
            yield table(batch.column(0), name, first, where)
            first += len(batch)


def _chunks(tables: Iterator[NDArray[np.float64]]) -> Iterator[NDArray[np.float64]]:
    """The same rows in pieces of about `CHUNK` numbers."""
    held: list[NDArray[np.float64]] = []
    for rows in tables:
        held.append(rows)
        if sum(part.size for part in held) >= CHUNK:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


def _growing(name: str, params: dict[str, Any], seed: int) -> Callable[[Batches], Batches]:
    def grow(batches: Batches) -> Batches:
        parts = []
        for chunk, rows in enumerate(_chunks(_tables(batches, name))):
            parts.append(Forest(**params, random_state=random_state_of(seed, partition(), chunk)).fit(rows))
            if len(parts) == 2:
                parts = [merge(parts)]
        for forest in parts:
            forest.offset_  # noqa: B018  # computed now, so that it is saved; a single partition uses it unchanged
            columns = {"partition": [partition()], "width": [forest.n_features_in_], "forest": [forest.to_bytes()]}
            types = [("partition", pa.int32()), ("width", pa.int32()), ("forest", pa.binary())]
            yield pa.RecordBatch.from_pydict(columns, schema=pa.schema(types))

    return grow


def _scoring(name: str, data: bytes) -> Callable[[Batches], Batches]:
    """Return the sorted scores of a partition, or `QUANTILES` evenly spaced ones."""

    def score(batches: Batches) -> Batches:
        parts = [_forest(data).anomaly_score(rows) for rows in _tables(batches, name)]
        if parts:
            scores = np.sort(np.concatenate(parts))
            n = len(scores)
            if n > QUANTILES:
                scores = scores[((np.arange(QUANTILES) + 0.5) * (n / QUANTILES)).astype(np.int64)]
            columns = {"partition": [partition()], "n": [n], "scores": [scores.tobytes()]}
            types = [("partition", pa.int32()), ("n", pa.int64()), ("scores", pa.binary())]
            yield pa.RecordBatch.from_pydict(columns, schema=pa.schema(types))

    return score


def _quantile(parts: list[Any], share: float) -> float:
    """The quantile of all scores, estimated from the scores that each partition returned."""
    parts = sorted(parts, key=lambda part: part.partition)
    values = [np.frombuffer(bytes(part.scores)) for part in parts]
    weights = np.concatenate([np.full(len(held), part.n / len(held)) for held, part in zip(values, parts, strict=True)])
    scores = np.concatenate(values)
    order = np.argsort(scores, kind="stable")
    scores, weights = scores[order], weights[order]
    # like numpy.percentile: linear between the ranks, from 0 for the lowest score to n - 1 for the highest
    ranks = np.cumsum(weights) - 0.5 * weights - 0.5
    return float(np.interp(share * (weights.sum() - 1.0), ranks, scores))


def _scorer(name: str, data: bytes) -> Callable[[Column], Column]:
    def score(columns: Iterator[pa.Array]) -> Iterator[pa.Array]:
        forest, first, where = _forest(data), 0, f" of partition {partition()}"
        for column in columns:
            rows = _checked_table(forest, column, name, first, where)
            yield pa.array(forest.anomaly_score(rows) if len(rows) else [], pa.float64())
            first += len(column)

    score.__annotations__ = {"columns": Iterator[pa.Array], "return": Iterator[pa.Array]}
    return F.arrow_udf(score, "double")


def _explainer(name: str, data: bytes) -> Callable[[Column], Column]:
    def explain(columns: Iterator[pa.Array]) -> Iterator[pa.Array]:
        forest, first, where = _forest(data), 0, f" of partition {partition()}"
        side = pa.struct([("high", pa.float64()), ("low", pa.float64())])
        for column in columns:
            rows = _checked_table(forest, column, name, first, where)
            scores = forest.anomaly_score(rows) if len(rows) else np.empty(0)
            parts = forest.attribution(rows).reshape(-1, 2) if len(rows) else np.empty((0, 2))
            sides = pa.StructArray.from_arrays([pa.array(parts[:, j]) for j in (0, 1)], fields=list(side))
            ends = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * forest.n_features_in_)
            attribution = pa.ListArray.from_arrays(ends, sides)
            yield pa.StructArray.from_arrays([pa.array(scores), attribution], names=["score", "attribution"])
            first += len(column)

    explain.__annotations__ = {"columns": Iterator[pa.Array], "return": Iterator[pa.Array]}
    return F.arrow_udf(explain, f"score double, attribution {_ATTRIBUTION}")


def _checked_table(forest: Forest, column: pa.Array, name: str, first: int, where: str) -> NDArray[np.float64]:
    rows = table(column, name, first, where)
    if len(rows) and rows.shape[1] != forest.n_features_in_:
        width = forest.n_features_in_
        raise ValueError(
            f"column {name!r}, row {first}{where}: {rows.shape[1]} values, but the model was fitted on {width}"
        )
    return rows
