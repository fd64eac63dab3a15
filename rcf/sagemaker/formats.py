"""The content types of SageMaker's forest: CSV, JSON, JSON Lines and RecordIO-protobuf, converted to and from arrays."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .._core import LIMIT
from . import recordio
from .recordio import BLOCK_VALUES, Rows

CSV, JSON = "text/csv", "application/json"
LINES, RECORDIO = "application/jsonlines", "application/x-recordio-protobuf"
INPUTS = (CSV, JSON, LINES, RECORDIO)
OUTPUTS = (JSON, LINES, RECORDIO)
# Up to this number of bytes, Python's csv module is faster, because pyarrow's reader takes 0.3 ms to start.
_SMALL = 4096
_PIECE = 4096  # rows converted to or from JSON at once, about a millisecond
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def media_type(text: str) -> tuple[str, dict[str, str]]:
    """The type of a content-type header, in lower case, and its parameters."""
    kind, *parts = text.split(";")
    pairs = (part.partition("=") for part in parts)
    return kind.strip().lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def label_size(parameters: dict[str, str], default: int) -> int:
    """The number of label columns, which come first in a CSV table."""
    text = parameters.get("label_size", str(default))
    if text not in ("0", "1"):
        raise ValueError(f"label_size must be 0 or 1, got {text[:20]!r}")
    return int(text)


def decode(body: bytes, content_type: str, n_features: int) -> Iterator[Rows]:
    """The rows of a request body, in blocks. A ValueError names the row and the reason."""
    kind, parameters = media_type(content_type)
    if kind == CSV:
        found, name = csv_rows(body.rstrip(b"\r\n"), label_size(parameters, 0), n_features), "row"
    elif kind == JSON:
        found, name = _instances(_parse(body, "the body"), n_features), "instance"
    elif kind == LINES:
        found, name = _lines(body, n_features), "line"
    else:
        assert kind == RECORDIO
        found, name = recordio.blocks(body, n_features), "frame"
    return checked(found, name)


def checked(blocks: Iterator[Rows], name: str = "row") -> Iterator[Rows]:
    """Check the blocks. ValueError for a number that a forest cannot hold; it counts the rows of all blocks, as `name`."""
    before = 0
    for rows in blocks:
        bad = ~(np.abs(rows.X) <= LIMIT)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            number = rows.X[row, column]
            fault = "beyond the range of float32" if np.isfinite(number) else "not a finite number"
            raise ValueError(f"{name} {before + row + 1}, feature {column + 1}: {number} is {fault}")
        yield rows
        before += len(rows.X)


def encode(scores: NDArray[np.float64], accept: str) -> bytes:
    """The body of the response, in one of the types OUTPUTS."""
    if accept == RECORDIO:
        return recordio.write_scores(scores)
    # The scores have at most ten decimals, as in responses of SageMaker. They are encoded in pieces, because orjson
    # blocks other requests.
    rounded = np.round(scores, 10)
    parts = []
    for start in range(0, len(scores), _PIECE):
        answers = [{"score": score} for score in rounded[start : start + _PIECE].tolist()]
        parts.append(orjson.dumps(answers)[1:-1])
    if accept == JSON:
        return b'{"scores":[' + b",".join(parts) + b"]}"
    return b"\n".join(part.replace(b"},{", b"}\n{") for part in parts)


# ---- CSV -------------------------------------------------------------------------------------------------------


def csv_rows(data: bytes, labels: int, n_features: int, before: int = 0) -> Iterator[Rows]:
    """The rows of CSV text without a header. The first `labels` columns are labels. Errors number rows from `before` + 1."""
    if not data:
        return
    table = None if len(data) < _SMALL else _csv_by_arrow(data, labels + n_features)
    if table is None or not np.isfinite(table).all():
        table = _csv_by_hand(data, labels + n_features, labels, before)
    yield Rows(table[:, labels:], table[:, 0] if labels else None)


def _csv_by_arrow(data: bytes, n_columns: int) -> NDArray[np.float64] | None:
    """The table, or None if pyarrow cannot read it."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    names = [str(i) for i in range(n_columns)]
    try:
        table = arrow.read_csv(
            pa.BufferReader(data),
            arrow.ReadOptions(use_threads=False, column_names=names, block_size=2**20 + len(data) // 8),
            arrow.ParseOptions(ignore_empty_lines=False),
            arrow.ConvertOptions(column_types=dict.fromkeys(names, pa.float64()), null_values=[]),
        )
    except pa.ArrowInvalid:
        return None
    return np.column_stack([column.to_numpy() for column in table.columns])


def _csv_by_hand(data: bytes, n_columns: int, labels: int, before: int) -> NDArray[np.float64]:
    """The table, read cell by cell. Used for small bodies, for cells that pyarrow does not accept, and to find an invalid cell."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"row {before + line}: not UTF-8 text ({error.reason})") from None
    table = []
    try:
        for i, cells in enumerate(csv.reader(text.split("\n"))):
            if len(cells) != n_columns:
                expected = f"{n_columns - labels}" if not labels else f"a label and {n_columns - labels}"
                found = f"{len(cells)} cells" if len(cells) != 1 else "1 cell"
                raise ValueError(
                    f"row {before + i + 1}: {found if cells else 'an empty line'}, expected {expected} features"
                )
            table.append([_number(cell, before + i, j) for j, cell in enumerate(cells)])
    except csv.Error as error:
        raise ValueError(f"row {before + len(table) + 1}: {error}") from None
    return np.array(table, dtype=np.float64)


def _number(cell: str, row: int, column: int) -> float:
    cell = cell.strip()
    if not _NUMBER.fullmatch(cell):
        what = "an empty cell" if not cell else f"{cell[:80]!r} is not a finite number"
        hint = "; there must be no header" if row == 0 and cell and not re.match("[+-]?(nan|inf)", cell, re.I) else ""
        raise ValueError(f"row {row + 1}, column {column + 1}: {what}{hint}")
    number = float(cell)
    if number in (np.inf, -np.inf):
        raise ValueError(f"row {row + 1}, column {column + 1}: {cell[:80]!r} is not a finite number")
    return number


# ---- JSON ------------------------------------------------------------------------------------------------------


def _parse(text: bytes, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{what} is not JSON: {error}") from None


def _instances(document: Any, n_features: int) -> Iterator[Rows]:
    found = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise ValueError('the body must be {"instances": [{"features": [...]}, ...]}')
    yield from _blocks(found, "instance", n_features)


def _lines(body: bytes, n_features: int) -> Iterator[Rows]:
    lines = body.rstrip().split(b"\n") if body.strip() else []
    step = max(1, min(_PIECE, BLOCK_VALUES // n_features))
    for start in range(0, len(lines), step):
        parsed = [_parse(line, f"line {start + i + 1}") for i, line in enumerate(lines[start : start + step])]
        yield from _blocks(parsed, "line", n_features, start)


def _blocks(instances: list[Any], what: str, n_features: int, before: int = 0) -> Iterator[Rows]:
    step = max(1, min(_PIECE, BLOCK_VALUES // n_features))
    for start in range(0, len(instances), step):
        block = instances[start : start + step]
        X = _dense(block, n_features)
        if X is None:
            X = np.stack([_row(x, f"{what} {before + start + i + 1}", n_features) for i, x in enumerate(block)])
        yield Rows(X, None)


def _dense(instances: list[Any], n_features: int) -> NDArray[np.float64] | None:
    """The rows if all instances have the form {"features": [numbers]}; otherwise None."""
    try:
        table = np.array([instance["features"] for instance in instances])
    except (TypeError, KeyError, ValueError):
        return None
    # because numpy would convert True among numbers to 1
    fine = table.ndim == 2 and table.shape[1] == n_features and table.dtype.kind in "iuf"
    if not fine or any(bool in map(type, instance["features"]) for instance in instances):
        return None
    return table.astype(np.float64)


def _row(instance: Any, name: str, n_features: int) -> NDArray[np.float64]:
    features = instance.get("features") if isinstance(instance, dict) else None
    if isinstance(features, list):
        tensor: Any = {"values": features}
    else:
        data = instance.get("data") if isinstance(instance, dict) else None
        tensor = data.get("features") if isinstance(data, dict) else None
    if not isinstance(tensor, dict) or not isinstance(tensor.get("values"), list):
        raise ValueError(f'{name}: expected {{"features": [...]}} or {{"data": {{"features": {{"values": [...]}}}}}}')
    values = _numbers(tensor["values"], (int, float), "values", name)
    keys = _numbers(tensor.get("keys", []), (int,), "keys", name)
    shape = _numbers(tensor.get("shape", []), (int,), "shape", name)
    try:
        return recordio.to_row(np.array(values, dtype=np.float64), keys, shape, n_features)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _numbers(found: Any, kinds: Iterable[type], what: str, name: str) -> list[Any]:
    if not isinstance(found, list):
        raise ValueError(f"{name}: {what} must be a list")
    for i, number in enumerate(found):
        if type(number) not in kinds:
            raise ValueError(f"{name}: number {i + 1} of its {what} is {orjson.dumps(number).decode()[:80]}")
    return found
