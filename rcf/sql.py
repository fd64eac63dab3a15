"""Random cut forests for relations that export an Arrow C stream: DuckDB, Polars, pyarrow, ADBC, DataFusion and others.

The functions and their result columns are those of Amazon Kinesis Data Analytics for SQL, which ended in January 2026.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .estimator import RandomCutForest
from .hotspots.radius import Metric
from .kinesis_sql import HotspotsFunction, RandomCutForestFunction, check_numbers

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as error:
    raise ImportError('rcf.sql needs pyarrow: pip install "rcf[sql]"') from error

__all__ = ["hotspots", "random_cut_forest", "register"]

Floats = NDArray[np.float64]
F = TypeVar("F")
# Rows that are scored in one call. This bounds the memory that is needed in addition to a batch of the relation: 50
# MB with 100 columns.
ROWS = 65_536


def random_cut_forest(
    relation: Any,
    columns: Sequence[str],
    *,
    key: str | None = None,
    order: str | None = None,
    number_of_trees: int = 100,
    sub_sample_size: int = 256,
    time_decay: int = 100_000,
    shingle_size: int = 1,
    explain: bool = False,
    directionality: bool = True,
    seed: int = 0,
) -> pa.RecordBatchReader:
    """Add an ANOMALY_SCORE to the rows of a relation. Each row is scored by the forest of the rows before it, then learned.

    Parameters
    ----------
    relation : object with ``__arrow_c_stream__``
        A DuckDB relation, a Polars or pandas frame, a pyarrow table or reader. The rows are processed in its order, so sort it.
    columns : sequence of str
        The columns with the numbers of a record.
    key : str, default=None
        A column that identifies streams. Each value of it has its own forest, which takes 1 to 4 MB with the defaults.
    order : str, default=None
        A column that must not decrease within a stream, for example a time. The order is checked, but the rows are
        not sorted.
    number_of_trees, sub_sample_size, time_decay, shingle_size, seed
        As in :class:`rcf.kinesis_sql.RandomCutForestFunction`, with the defaults of the service.
    explain : bool, default=False
        Add ANOMALY_EXPLANATION, as RANDOM_CUT_FOREST_WITH_EXPLANATION does. This takes about ten times as long.
    directionality : bool, default=True
        Include DIRECTION and STRENGTH in the explanation. The service calls it withDirectionality.

    Returns
    -------
    pyarrow.RecordBatchReader
        All columns of the relation and ANOMALY_SCORE. The relation is read once, while the reader is read, so the memory does
        not depend on the number of rows. ``reader.read_all()`` returns a table.

    Raises
    ------
    ValueError
        Raised immediately if a column does not exist, is named twice or does not hold numbers, or if a parameter is out of
        range. Raised during reading if a number is NULL, NaN or infinite, or if a row is out of order; the message names
        row and column.
    TypeError
        If the relation does not export an Arrow stream.

    Notes
    -----
    A DuckDB connection runs one query at a time, and the relation is read while the result is read. If you query the
    result on `con`, create the relation on a cursor: ``con.cursor().sql(...)``.

    Examples
    --------
    >>> import numpy as np, pyarrow as pa
    >>> from rcf.sql import random_cut_forest
    >>> values = np.random.default_rng(0).normal(size=1000)
    >>> values[900] = 9
    >>> found = random_cut_forest(pa.table({"t": range(1000), "value": values}), ["value"], order="t").read_all()
    >>> found.column_names, int(np.argmax(found["ANOMALY_SCORE"]))
    (['t', 'value', 'ANOMALY_SCORE'], 900)

    A DuckDB query (not run here)::

        con = duckdb.connect()
        rows = con.cursor().sql("SELECT * FROM 'log.parquet' ORDER BY ts")
        found = random_cut_forest(rows, ["load"], key="host", order="ts")
        con.sql("SELECT * FROM found ORDER BY ANOMALY_SCORE DESC LIMIT 10").show()
    """
    settings = {
        "number_of_trees": number_of_trees,
        "sub_sample_size": sub_sample_size,
        "time_decay": time_decay,
        "shingle_size": shingle_size,
        "seed": seed,
    }

    def work(function: RandomCutForestFunction, X: Floats) -> list[Any]:
        if not explain:
            return [function.scores(X)]
        scores, texts = function.explained(X, directionality)
        return [scores, np.array(texts, dtype=object)]

    added = [pa.field("ANOMALY_SCORE", pa.float64())]
    if explain:
        added.append(pa.field("ANOMALY_EXPLANATION", pa.string()))
    return _applied(
        relation, columns, key, order, added, lambda names: RandomCutForestFunction(names, **settings), work
    )


def hotspots(
    relation: Any,
    columns: Sequence[str],
    *,
    window_size: int,
    scan_radius: float,
    minimum_number_of_points: int,
    metric: Metric = "euclidean",
    key: str | None = None,
    order: str | None = None,
) -> pa.RecordBatchReader:
    """Add HOTSPOTS_RESULT to the rows of a relation: the dense regions of the last `window_size` rows as JSON.

    Parameters
    ----------
    relation, columns, key, order
        As for :func:`random_cut_forest`.
    window_size : int
        Number of rows in the window.
    scan_radius : float
        Distance within which rows are neighbours.
    minimum_number_of_points : int
        Number of neighbours, including itself, that make a row part of a hot spot. The service calls it
        minimumNumberOfPointsInAHotspot.
    metric : {"euclidean", "haversine"}, default="euclidean"
        With "haversine" `columns` are a latitude and a longitude in degrees, and the radius is in metres; see
        :class:`rcf.HotSpots`.

    Returns
    -------
    pyarrow.RecordBatchReader
        All columns of the relation and HOTSPOTS_RESULT:
        ``{"hotspots":[{"density":...,"minValues":[...],"maxValues":[...]}]}``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from rcf.sql import hotspots
    >>> places = pa.table({"x": [0.0, 0.5, 9.0], "y": [2.0, 2.5, 9.0]})
    >>> found = hotspots(places, ["x", "y"], window_size=2, scan_radius=1, minimum_number_of_points=2).read_all()
    >>> found["HOTSPOTS_RESULT"].to_pylist()[1]
    '{"hotspots":[{"density":8.0,"minValues":[0.0,2.0],"maxValues":[0.5,2.5]}]}'
    """

    def make(names: list[str]) -> HotspotsFunction:
        return HotspotsFunction(
            names,
            window_size=window_size,
            scan_radius=scan_radius,
            minimum_number_of_points=minimum_number_of_points,
            metric=metric,
        )

    def work(function: HotspotsFunction, X: Floats) -> list[Any]:
        return [np.array(function.results(X), dtype=object)]

    return _applied(relation, columns, key, order, [pa.field("HOTSPOTS_RESULT", pa.string())], make, work)


def register(con: Any, model: RandomCutForest, name: str = "rcf_score") -> None:
    """Register a fitted forest as a scalar function of a DuckDB connection: ``SELECT rcf_score(a, b) FROM t``.

    Parameters
    ----------
    con : duckdb.DuckDBPyConnection
    model : RandomCutForest
        The function returns ``model.anomaly_score``. The model does not change, so the rows may come in any order and from
        any thread.
    name : str, default="rcf_score"
        Name of the function. It takes one DOUBLE per feature, in the order of the model's features, and returns NULL if one of
        them is NULL.

    Raises
    ------
    TypeError
        If `model` is not a RandomCutForest.
    sklearn.exceptions.NotFittedError
        If the model is not fitted.

    Examples
    --------
    ::

        rcf.sql.register(con, forest)
        con.sql("SELECT *, rcf_score(load, latency) AS score FROM 'log.parquet' ORDER BY score DESC LIMIT 10")
    """
    if not isinstance(model, RandomCutForest):
        raise TypeError(f"model must be a RandomCutForest, got {type(model).__name__}")
    names = [f"argument {j + 1}" for j in range(_width(model))]

    def score(*arguments: pa.Array) -> pa.Array:
        X = np.column_stack([_floats(argument) for argument in arguments])
        check_numbers(X, names, where=f" of a call of {name}")
        return pa.array(model.anomaly_score(X))

    # DuckDB counts the parameters of the function and would interpret annotations as SQL types
    one = inspect.Parameter.POSITIONAL_ONLY
    score.__signature__ = inspect.Signature([inspect.Parameter(f"x{j}", one) for j in range(len(names))])  # type: ignore[attr-defined]
    score.__annotations__ = {}
    con.create_function(name, score, ["DOUBLE"] * len(names), "DOUBLE", type="arrow")


def _width(model: RandomCutForest) -> int:
    model.n_seen_  # noqa: B018  # raises NotFittedError if the model is not fitted
    return model.n_features_in_


def _applied(
    relation: Any,
    columns: Sequence[str],
    key: str | None,
    order: str | None,
    added: list[pa.Field],
    make: Callable[[list[str]], F],
    work: Callable[[F, Floats], list[Any]],
) -> pa.RecordBatchReader:
    """A reader of the relation's batches with the added columns. `work` computes them with the function of each key."""
    if not hasattr(relation, "__arrow_c_stream__"):
        raise TypeError(f"a relation must offer an Arrow stream (__arrow_c_stream__), got {type(relation).__name__}")
    if isinstance(columns, str):
        raise ValueError(f"columns must be a list of names, got {columns!r}: [{columns!r}]")
    names = list(columns)
    make(names)  # raises for wrong parameters before the relation is read
    reader = pa.RecordBatchReader.from_stream(relation)
    schema = reader.schema
    _check_columns(schema, names, key, order, [field.name for field in added])
    functions: dict[Hashable, F] = {}
    last: dict[Hashable, Any] = {}

    def batches() -> Iterator[pa.RecordBatch]:
        first = 0
        for whole in reader:
            for start in range(0, len(whole), ROWS):
                batch = whole.slice(start, ROWS)
                X = np.column_stack([_floats(batch.column(schema.get_field_index(name))) for name in names])
                check_numbers(X, names, first)
                results: list[Any] = [
                    np.empty(len(batch), dtype=object if field.type == pa.string() else float) for field in added
                ]
                for value, rows in _groups(batch, schema, key):
                    if order is not None:
                        ordered = batch.column(schema.get_field_index(order)).take(pa.array(rows))
                        last[value] = _check_order(ordered, rows, last.get(value), order, first)
                    if value not in functions:
                        functions[value] = make(names)
                    for result, part in zip(results, work(functions[value], X[rows]), strict=True):
                        result[rows] = part
                arrays = [pa.array(result, field.type) for result, field in zip(results, added, strict=True)]
                yield pa.RecordBatch.from_arrays([*batch.columns, *arrays], schema=pa.schema([*schema, *added]))
                first += len(batch)

    return pa.RecordBatchReader.from_batches(pa.schema([*schema, *added]), batches())


def _check_columns(schema: pa.Schema, names: list[str], key: str | None, order: str | None, added: list[str]) -> None:
    known = ", ".join(map(repr, schema.names))
    for name in [*names, *filter(None, [key, order])]:
        if schema.names.count(name) != 1:
            how = "no" if name not in schema.names else "more than one"
            raise ValueError(f"{how} column {name!r} among {known}")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"column {name!r} is named twice")
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            raise ValueError(f"column {name!r} must hold numbers, got {kind}")
    for name in added:
        if name in schema.names:
            raise ValueError(f"column {name!r} exists already: rename it")


def _floats(column: Any) -> Floats:
    """The column as doubles; NULL becomes NaN."""
    floats: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return floats


def _groups(batch: pa.RecordBatch, schema: pa.Schema, key: str | None) -> Iterator[tuple[Hashable, NDArray[np.intp]]]:
    """The key values in the batch, each with its rows in order; None is a key like any other."""
    if key is None:
        yield None, np.arange(len(batch))
        return
    encoded = batch.column(schema.get_field_index(key)).dictionary_encode(null_encoding="encode")
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.diff(codes[order], append=-1)) + 1
    start = 0
    for end in ends.tolist():
        rows = order[start:end]
        yield encoded.dictionary[int(codes[rows[0]])].as_py(), rows
        start = end


def _check_order(values: pa.Array, rows: NDArray[np.intp], before: Any, name: str, first: int) -> Any:
    """Return the last value, or raise a ValueError if a value is NULL or lower than the previous one."""
    if values.null_count:
        row = int(rows[np.argmax(values.is_null().to_numpy(zero_copy_only=False))])
        raise ValueError(f"row {first + row}, column {name!r}: NULL in the column of the order")
    if before is not None:
        values = pa.concat_arrays([pa.array([before], values.type), values])
    down = pc.less(values.slice(1), values.slice(0, len(values) - 1)).to_numpy(zero_copy_only=False)
    if down.any():
        i = int(np.argmax(down))
        row = int(rows[i if before is not None else i + 1])
        raise ValueError(
            f"row {first + row}, column {name!r}: {values[i + 1]} comes after {values[i]}; sort the relation"
        )
    return values[-1].as_py()
