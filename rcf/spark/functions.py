"""The functions of Amazon Kinesis Data Analytics in Spark SQL: Python table functions over ordered partitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql.functions import AnalyzeArgument, AnalyzeResult, udtf
from pyspark.sql.types import DoubleType, NumericType, Row, StringType, StructType

from ..kinesis_sql import HotspotsFunction, RandomCutForestFunction

# Number of rows that are collected and then scored in one call.
ROWS = 4096


def register(spark: SparkSession) -> None:
    """Register the Kinesis functions in the SQL of a session.

    ============================================  ======================================================================
    ``RANDOM_CUT_FOREST``                         (inputStream, numberOfTrees => 100, subSampleSize => 256, timeDecay => 100000,
                                                  shingleSize => 1, columns => all, seed => 0): adds ANOMALY_SCORE
    ``RANDOM_CUT_FOREST_WITH_EXPLANATION``        the same, with withDirectionality => FALSE after shingleSize: adds
                                                  ANOMALY_EXPLANATION too
    ``HOTSPOTS``                                  (inputStream, windowSize, scanRadius, minimumNumberOfPointsInAHotspot,
                                                  columns => all, metric => 'euclidean'): adds HOTSPOTS_RESULT
    ============================================  ======================================================================

    A record consists of all numeric columns of the table, as in Kinesis, or of the columns that `columns` names, separated by
    commas. A numeric column in PARTITION BY is constant within a partition, so it does not change the scores. If ORDER BY has
    a numeric column, exclude it with `columns`.

    Parameters
    ----------
    spark : SparkSession
        Classic Spark or Spark Connect.

    Notes
    -----
    Each partition has its own forest and is scored in order. The scores are those of ``RandomCutForest.update``, bit for bit.
    Write PARTITION BY and ORDER BY with parentheses, or write WITH SINGLE PARTITION; otherwise Spark divides the table
    arbitrarily. Spark passes the rows to Python one by one, so :func:`rcf.spark.detect` is several times as fast.

    Examples
    --------
    ::

        rcf.spark.register(spark)
        spark.sql('''
            SELECT * FROM RANDOM_CUT_FOREST(TABLE(log) PARTITION BY (host) ORDER BY (ts), columns => 'load')
            ORDER BY ANOMALY_SCORE DESC LIMIT 10
        ''').show()
    """
    # arrow_udtf of Spark 4.3 does not support `analyze`, which is needed to return the columns of any table (SPARK-53286). With
    # useArrow=True these functions are half as fast.
    for name, function in (
        ("RANDOM_CUT_FOREST", _RandomCutForest),
        ("RANDOM_CUT_FOREST_WITH_EXPLANATION", _RandomCutForestWithExplanation),
        ("HOTSPOTS", _Hotspots),
    ):
        spark.udtf.register(name, udtf(function))


@dataclass
class _Analyzed(AnalyzeResult):
    """The results of the query analysis that the workers need."""

    places: list[int] = field(default_factory=list)  # positions of the scored columns
    columns: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


def _analyzed(
    table: AnalyzeArgument, added: StructType, columns: AnalyzeArgument | None, given: dict[str, AnalyzeArgument | None]
) -> _Analyzed:
    """The schema of the result and the arguments of the function. ValueError if they are invalid."""
    if not table.isTable:
        raise ValueError("the first argument must be a table: TABLE(name)")
    settings = {name: _constant(name, argument) for name, argument in given.items() if argument is not None}
    names = table.dataType.fieldNames()
    numeric = [column.name for column in table.dataType if isinstance(column.dataType, NumericType)]
    if columns is None:
        chosen = numeric
    else:
        text = _constant("columns", columns)
        chosen = [name.strip() for name in str(text).split(",")]
        for i, name in enumerate(chosen):
            if names.count(name) != 1:
                how = "no" if name not in names else "more than one"
                raise ValueError(f"columns: {how} column {name!r} among {', '.join(map(repr, names))}")
            if name not in numeric:
                raise ValueError(
                    f"columns: {name!r} must hold numbers, got {table.dataType[name].dataType.simpleString()}"
                )
            if name in chosen[:i]:
                raise ValueError(f"columns: {name!r} is named twice")
    for column in added:
        if column.name.lower() in map(str.lower, names):
            raise ValueError(f"column {column.name!r} exists already: rename it")
    schema = StructType([*table.dataType, *added])
    return _Analyzed(schema, places=[names.index(name) for name in chosen], columns=chosen, settings=settings)


def _constant(name: str, argument: AnalyzeArgument) -> Any:
    if not argument.isConstantExpression or argument.value is None:
        raise ValueError(f"{name} must be a constant that is not NULL")
    return argument.value


class _Function:
    """Collects the rows of a partition and returns them with their results, `ROWS` at a time."""

    def __init__(self, analyzed: _Analyzed) -> None:
        self._places, self._columns, self._settings = analyzed.places, analyzed.columns, analyzed.settings
        self._rows: list[Row] = []
        self._make(analyzed)

    def eval(self, inputStream: Row, *others: Any, **named: Any) -> Iterator[tuple[Any, ...]]:
        self._rows.append(inputStream)
        if len(self._rows) == ROWS:
            yield from self._results()

    def terminate(self) -> Iterator[tuple[Any, ...]]:
        if self._rows:
            yield from self._results()

    def _results(self) -> Iterator[tuple[Any, ...]]:
        rows, self._rows = self._rows, []
        X = np.array([[row[place] for place in self._places] for row in rows], dtype=np.float64)  # None becomes NaN
        for row, *results in zip(rows, *self._work(X), strict=True):
            yield (*row, *results)

    def _make(self, analyzed: _Analyzed) -> None:
        raise NotImplementedError

    def _work(self, X: np.ndarray) -> list[list[Any]]:
        raise NotImplementedError


def _forest_settings(
    numberOfTrees: Any, subSampleSize: Any, timeDecay: Any, shingleSize: Any, seed: Any
) -> dict[str, AnalyzeArgument | None]:
    return {
        "number_of_trees": numberOfTrees,
        "sub_sample_size": subSampleSize,
        "time_decay": timeDecay,
        "shingle_size": shingleSize,
        "seed": seed,
    }


class _RandomCutForest(_Function):
    @staticmethod
    def analyze(
        inputStream: AnalyzeArgument,
        numberOfTrees: AnalyzeArgument | None = None,
        subSampleSize: AnalyzeArgument | None = None,
        timeDecay: AnalyzeArgument | None = None,
        shingleSize: AnalyzeArgument | None = None,
        columns: AnalyzeArgument | None = None,
        seed: AnalyzeArgument | None = None,
    ) -> AnalyzeResult:
        given = _forest_settings(numberOfTrees, subSampleSize, timeDecay, shingleSize, seed)
        analyzed = _analyzed(inputStream, StructType().add("ANOMALY_SCORE", DoubleType()), columns, given)
        RandomCutForestFunction(analyzed.columns, **analyzed.settings)
        return analyzed

    def _make(self, analyzed: _Analyzed) -> None:
        self._function = RandomCutForestFunction(analyzed.columns, **analyzed.settings)

    def _work(self, X: np.ndarray) -> list[list[Any]]:
        return [self._function.scores(X).tolist()]


class _RandomCutForestWithExplanation(_Function):
    @staticmethod
    def analyze(
        inputStream: AnalyzeArgument,
        numberOfTrees: AnalyzeArgument | None = None,
        subSampleSize: AnalyzeArgument | None = None,
        timeDecay: AnalyzeArgument | None = None,
        shingleSize: AnalyzeArgument | None = None,
        withDirectionality: AnalyzeArgument | None = None,
        columns: AnalyzeArgument | None = None,
        seed: AnalyzeArgument | None = None,
    ) -> AnalyzeResult:
        given = _forest_settings(numberOfTrees, subSampleSize, timeDecay, shingleSize, seed)
        added = StructType().add("ANOMALY_SCORE", DoubleType()).add("ANOMALY_EXPLANATION", StringType())
        analyzed = _analyzed(inputStream, added, columns, given)
        RandomCutForestFunction(analyzed.columns, **analyzed.settings)
        directed = False if withDirectionality is None else _constant("withDirectionality", withDirectionality)
        analyzed.settings["directionality"] = directed
        return analyzed

    def _make(self, analyzed: _Analyzed) -> None:
        settings = dict(analyzed.settings)
        self._directionality = bool(settings.pop("directionality"))
        self._function = RandomCutForestFunction(analyzed.columns, **settings)

    def _work(self, X: np.ndarray) -> list[list[Any]]:
        scores, texts = self._function.explained(X, self._directionality)
        return [scores.tolist(), texts]


class _Hotspots(_Function):
    @staticmethod
    def analyze(
        inputStream: AnalyzeArgument,
        windowSize: AnalyzeArgument,
        scanRadius: AnalyzeArgument,
        minimumNumberOfPointsInAHotspot: AnalyzeArgument,
        columns: AnalyzeArgument | None = None,
        metric: AnalyzeArgument | None = None,
    ) -> AnalyzeResult:
        given = {
            "window_size": windowSize,
            "scan_radius": scanRadius,
            "minimum_number_of_points": minimumNumberOfPointsInAHotspot,
            "metric": metric,
        }
        analyzed = _analyzed(inputStream, StructType().add("HOTSPOTS_RESULT", StringType()), columns, given)
        analyzed.settings["scan_radius"] = float(analyzed.settings["scan_radius"])  # 0.2 is a DECIMAL in SQL
        HotspotsFunction(analyzed.columns, **analyzed.settings)
        return analyzed

    def _make(self, analyzed: _Analyzed) -> None:
        self._function = HotspotsFunction(analyzed.columns, **analyzed.settings)

    def _work(self, X: np.ndarray) -> list[list[Any]]:
        return [self._function.results(X)]
