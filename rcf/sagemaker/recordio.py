"""RecordIO-protobuf, the binary format of SageMaker's built-in algorithms, read and written without protobuf.

A file is a sequence of frames: a uint32 magic number, a uint32 length, the payload, and zeros up to a multiple of four bytes, all
little-endian. The payload is a message of proto2's ``aialgs.data.Record``::

    Record  { map<string, Value> features = 1; map<string, Value> label = 2; string uid = 3; metadata = 4; configuration = 5 }
    Value   { oneof { Float32Tensor = 2; Float64Tensor = 3; Int32Tensor = 7; Bytes = 9 } }
    Tensor  { values = 1 (packed); uint64 keys = 2 (packed); uint64 shape = 3 (packed) }

A row is the tensor ``features["values"]``. It is sparse if it has keys, and dense otherwise. Its label is ``label["values"]``. For
the same rows, `write` returns the same bytes as Google's protobuf and the SageMaker SDK (version 2).

Consecutive frames of a dense float table differ only in their floats. Such frames are read as a block, which takes 6 ns per value.
Every other frame is parsed field by field, which takes about 12 µs.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

MAGIC = 0xCED7230A
MAX_FEATURES = (
    10_000  # SageMaker's limit of feature_dim; it also bounds the memory that a small sparse record can require
)
BLOCK_VALUES = 2**21  # number of values in a block of rows (16 MiB)
CHUNK = 2**23  # bytes read from a file at once
_HEAD = struct.Struct("<II")
_LENGTH = 2**29 - 1  # mask of a length; the three bits above it say which part of a split record the frame contains
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # wire types of protobuf
_FEATURES, _LABEL = 1, 2
_FLOAT32, _FLOAT64, _INT32 = 2, 3, 7
_FLOATS: dict[int, np.dtype[Any]] = {_FLOAT32: np.dtype("<f4"), _FLOAT64: np.dtype("<f8")}


class Rows(NamedTuple):
    """Some rows of a table."""

    X: NDArray[np.float64]  # (n, d)
    labels: NDArray[np.float64] | None  # (n,), NaN for a row without a label; None if no row has a label


class _Tensor(NamedTuple):
    kind: int  # the field number in Value, which determines the type of the numbers
    values: NDArray[Any]
    keys: list[int]
    shape: list[int]
    at: int  # offset of the values in the payload; -1 if they are not contiguous


# ---- reading ---------------------------------------------------------------------------------------------------


def read(data: bytes, n_features: int | None = None) -> Rows:
    """The rows and labels of RecordIO-protobuf data.

    Parameters
    ----------
    data : bytes
        Any number of frames.
    n_features : int, default=None
        Number of features of every row. None takes the number of the first row, which may be at most 10 000
        (SageMaker's limit).

    Returns
    -------
    X : ndarray of shape (n, n_features)
        float64; sparse rows are filled with zeros.
    labels : ndarray of shape (n,) or None
        The label of each row, or NaN if a record has none. None if no record has a label.

    Raises
    ------
    ValueError
        If a frame is damaged, incomplete, or not a row of `n_features` numbers. The message gives the number of the frame, from 1.

    Examples
    --------
    >>> from rcf.sagemaker import recordio
    >>> X, labels = recordio.read(recordio.write([[1.5, 16.0], [2.5, 26.0]], labels=[0, 1]))
    >>> X
    array([[ 1.5, 16. ],
           [ 2.5, 26. ]])
    >>> labels
    array([0., 1.])
    """
    found = list(blocks(data, n_features))
    X = np.concatenate([rows.X for rows in found]) if found else np.empty((0, n_features or 0))
    if all(rows.labels is None for rows in found):
        return Rows(X, None)
    labels = [np.full(len(rows.X), np.nan) if rows.labels is None else rows.labels for rows in found]
    return Rows(X, np.concatenate(labels))


def blocks(data: bytes, n_features: int | None = None) -> Iterator[Rows]:
    """The rows of `read` in blocks of at most 16 MiB, because small sparse records can expand to gigabytes."""
    yield from _blocks(data, n_features, 1, whole=True)


def blocks_of_file(file: BinaryIO, n_features: int) -> Iterator[Rows]:
    """The rows of a file or pipe of any length, in blocks."""
    rest, number = b"", 1
    while chunk := file.read(CHUNK):
        data = rest + chunk
        used, number = yield from _blocks(data, n_features, number, whole=False)
        rest = data[used:]
    yield from _blocks(rest, n_features, number, whole=True)


def payloads(file: BinaryIO) -> Iterator[bytes]:
    """The payload of each frame of a file."""
    data, number, at = b"", 1, 0
    more = True
    while more or at < len(data):
        try:
            record = _next_record(data, at, whole=not more) if at < len(data) else None
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from None
        if record is None:
            chunk = file.read(CHUNK)
            data, at, more = data[at:] + chunk, 0, bool(chunk)
            continue
        yield record[0]
        number, at = number + 1, record[1]


def _blocks(data: bytes, n_features: int | None, number: int, *, whole: bool) -> Generator[Rows, None, tuple[int, int]]:
    """Yield blocks of rows; return the offset of the first incomplete frame, and its number."""
    at, ahead = 0, 1
    rows: list[NDArray[np.float64]] = []
    labels: list[float] = []

    def one_by_one() -> Rows:
        return Rows(np.stack(rows), None if np.isnan(labels).all() else np.array(labels))

    while at < len(data):
        try:
            if (record := _next_record(data, at, whole)) is None:
                break
            payload, end, pieces = record
            features, label = _parse(payload)
            if features is None:
                raise ValueError("it has no features['values']")
            row = to_row(features.values, features.keys, features.shape, n_features)
            if label is not None and label.values.size != 1:
                raise ValueError(f"its label has {label.values.size} values, expected 1")
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from None
        n_features = len(row)
        if ahead > 1 and pieces == 1 and (run := _alike(data, at, end - at, features, label, ahead)) is not None:
            if rows:
                yield one_by_one()
                rows, labels = [], []
            yield run
            number, at = number + len(run.X), at + len(run.X) * (end - at)
            ahead = min(4 * ahead, max(1, BLOCK_VALUES // n_features)) if len(run.X) == ahead else 1
            continue
        rows.append(row)
        labels.append(np.nan if label is None else float(label.values[0]))
        number, at, ahead = number + 1, end, 4
        if len(rows) * n_features >= BLOCK_VALUES:
            yield one_by_one()
            rows, labels = [], []
    if rows:
        yield one_by_one()
    return at, number


def _next_record(data: bytes, at: int, whole: bool) -> tuple[bytes, int, int] | None:
    """The payload of the record at `at`, the offset of the next record, and the number of frames; None if more data are needed."""
    payload, pieces = b"", 0
    while True:
        if len(data) - at < _HEAD.size:
            if not whole:
                return None
            raise ValueError(f"it ends after {len(data) - at} of the 8 bytes of its header")
        magic, word = _HEAD.unpack_from(data, at)
        if magic != MAGIC:
            raise ValueError(f"it starts with {magic:#010x}, not with the magic number {MAGIC:#010x} of RecordIO")
        part, length = word >> 29, word & _LENGTH
        start, end = at + _HEAD.size, at + _HEAD.size + (length + 3) // 4 * 4
        if end > len(data):
            if not whole:
                return None
            raise ValueError(f"its header says {length} bytes, but only {len(data) - start} are left")
        # Writers split a record where it contains the magic number, and omit the magic number at the split.
        if part not in ((_WHOLE, _FIRST) if pieces == 0 else (_MIDDLE, _LAST)):
            raise ValueError(f"part {part} of a split record is out of order")
        payload += (MAGIC.to_bytes(4, "little") if pieces else b"") + data[start : start + length]
        at, pieces = end, pieces + 1
        if part in (_WHOLE, _LAST):
            return payload, at, pieces


def _alike(data: bytes, at: int, stride: int, features: _Tensor, label: _Tensor | None, ahead: int) -> Rows | None:
    """The rows of at most `ahead` frames that differ from the first only in their floats; None if there are fewer than two."""
    tensors = [features] if label is None else [features, label]
    count = min(ahead, (len(data) - at) // stride)
    if count < 2 or features.keys or any(t.at < 0 or t.kind not in _FLOATS for t in tensors):
        return None
    frames = np.frombuffer(data, np.uint8, count * stride, at).reshape(count, stride)
    places = [slice(_HEAD.size + t.at, _HEAD.size + t.at + t.values.nbytes) for t in tensors]
    fixed = np.ones(stride, dtype=np.bool_)
    for place in places:
        fixed[place] = False
    differ = (frames[:, fixed] != frames[0, fixed]).any(axis=1)
    if differ.any():
        count = int(differ.argmax())
    if count < 2:
        return None
    columns = [
        np.ascontiguousarray(frames[:count, place]).view(_FLOATS[t.kind]).astype(np.float64)
        for t, place in zip(tensors, places, strict=True)
    ]
    return Rows(columns[0], None if label is None else columns[1][:, 0])


def to_row(
    values: NDArray[Any], keys: Sequence[int], shape: Sequence[int], n_features: int | None
) -> NDArray[np.float64]:
    """A dense row from the parts of a tensor, which is sparse if it has keys. ValueError if its width is not `n_features`."""
    if len(shape) > 1:
        raise ValueError(f"its shape is {list(shape)[:5]}, expected a single number, the number of features")
    if keys:
        if not shape and n_features is None:
            raise ValueError("it is sparse and has no shape")
        width = shape[0] if shape else n_features
        if len(keys) != len(values):
            raise ValueError(f"it is sparse and has {len(keys)} keys for {len(values)} values")
    else:
        width = len(values) if len(values) or not shape else shape[0]  # a sparse row of zeros has no keys
        if shape and shape[0] != width:
            raise ValueError(f"its shape says {shape[0]} features, but it has {width} values")
    if n_features is not None and width != n_features:
        raise ValueError(f"it has {width} features, expected {n_features}")
    assert width is not None
    if not 1 <= width <= MAX_FEATURES:
        raise ValueError(f"it has {width} features, expected 1 to {MAX_FEATURES}")
    if not keys and len(values):
        row = values.astype(np.float64)
    else:
        row = np.zeros(width)
        if keys:
            if not (min(keys) >= 0 and max(keys) < width):
                raise ValueError(f"the key {max(keys) if min(keys) >= 0 else min(keys)} is not one of {width} features")
            if len(set(keys)) < len(keys):
                raise ValueError("a key occurs twice")
            row[list(keys)] = values
    return row


def _parse(payload: bytes) -> tuple[_Tensor | None, _Tensor | None]:
    """features["values"] and label["values"] of a Record."""
    found: dict[int, _Tensor] = {}
    for number, wire, start, end in _fields(payload, 0, len(payload)):
        if number in (_FEATURES, _LABEL) and wire == _BYTES:
            name, value = b"", (0, 0)
            for part, kind, first, last in _fields(payload, start, end):
                if kind == _BYTES and part == 1:
                    name = payload[first:last]
                elif kind == _BYTES and part == 2:
                    value = (first, last)
            if name == b"values":
                found[number] = _value(payload, *value)
    return found.get(_FEATURES), found.get(_LABEL)


def _value(payload: bytes, start: int, end: int) -> _Tensor:
    chosen = 0
    parts: list[tuple[int, int]] = []
    for number, wire, first, last in _fields(payload, start, end):
        if wire == _BYTES and number in (_FLOAT32, _FLOAT64, _INT32, 9):
            if number != chosen:  # the last member of a oneof is used, and repetitions of a member are merged
                chosen, parts = number, []
            parts.append((first, last))
    if chosen not in (_FLOAT32, _FLOAT64, _INT32):
        raise ValueError("its 'values' are not a tensor of float32, float64 or int32")
    pieces: list[tuple[int, int]] = []
    integers: dict[int, list[int]] = {1: [], 2: [], 3: []}
    for part in parts:
        for number, wire, first, last in _fields(payload, *part):
            if number == 1 and chosen != _INT32:
                size = _FLOATS[chosen].itemsize
                if wire != _BYTES and wire != (_FOUR if size == 4 else _EIGHT):
                    raise ValueError("its values do not have the wire type of their tensor")
                if (last - first) % size:
                    raise ValueError(f"its values take {last - first} bytes, which is not a multiple of {size}")
                pieces.append((first, last))
            elif number in integers:
                if wire == _BYTES:
                    while first < last:
                        whole, first = _varint(payload, first, last)
                        integers[number].append(whole)
                elif wire == _VARINT:
                    integers[number].append(_varint(payload, first, last)[0])
                else:
                    raise ValueError("its integers are not varints")
    if chosen == _INT32:  # negative numbers are written as 64 bits
        values: NDArray[Any] = np.array([v & 0xFFFFFFFF for v in integers[1]], dtype=np.uint32).view(np.int32)
    else:
        arrays = [np.frombuffer(payload[a:b], _FLOATS[chosen]) for a, b in pieces]
        values = arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, _FLOATS[chosen]), *arrays])
    return _Tensor(chosen, values, integers[2], integers[3], pieces[0][0] if len(pieces) == 1 else -1)


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field of a message between two offsets: its number, its wire type, and the start and the end of its value."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            length, at = _varint(data, at, end)
        elif wire == _VARINT:
            length = _varint(data, at, end)[1] - at
        elif wire in (_FOUR, _EIGHT):
            length = 4 if wire == _FOUR else 8
        else:
            raise ValueError(f"wire type {wire} does not occur in a Record")
        if length > end - at:
            raise ValueError("a field is longer than the message that contains it")
        yield number, wire, at, at + length
        at += length


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """An unsigned number of 64 bits, and the offset after it."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise ValueError("a varint has more than 10 bytes" if at < end else "it ends within a number")


# ---- writing ---------------------------------------------------------------------------------------------------


def write(X: ArrayLike | sparse.sparray | sparse.spmatrix, labels: ArrayLike | None = None) -> bytes:
    """Encode a table as RecordIO-protobuf. The bytes are the same as those of the SageMaker SDK.

    Parameters
    ----------
    X : array-like of shape (n, d), or a scipy sparse matrix or array
        float32 becomes Float32Tensor, other floats Float64Tensor, integers Int32Tensor.
    labels : array-like of shape (n,), default=None
        The dtype of the labels determines their tensor type in the same way.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If the shapes do not match, the dtype is not one of these, or an integer does not fit into 32 bits.

    Examples
    --------
    >>> from rcf.sagemaker import recordio
    >>> len(recordio.write([[1.5, 16.0], [2.5, 26.0]], labels=[0, 1]))
    120
    """
    wide = sparse.csr_array(X) if sparse.issparse(X) else None
    table = np.asarray(X) if wide is None else wide
    if table.ndim != 2 or not 1 <= table.shape[1] <= MAX_FEATURES:
        raise ValueError(f"X has shape {table.shape}, expected (n, d) with d from 1 to {MAX_FEATURES}")
    names = None if labels is None else np.asarray(labels)
    if names is not None and names.shape != (table.shape[0],):
        raise ValueError(f"labels has shape {names.shape}, expected ({table.shape[0]},)")
    kind = _kind("X", table.data if wide is not None else table)
    label_kind = None if names is None else _kind("labels", names)
    if wide is None and kind in _FLOATS and label_kind in (None, *_FLOATS):
        return _write_alike(table.astype(_FLOATS[kind]), _FEATURES, b"values", names)
    out = []
    for i in range(table.shape[0]):
        if wide is None:
            tensor = _tensor(kind, table[i])
        else:
            row = slice(wide.indptr[i], wide.indptr[i + 1])
            tensor = _tensor(kind, wide.data[row], wide.indices[row].tolist(), [wide.shape[1]])
        record = _entry(_FEATURES, b"values", kind, tensor)
        if names is not None and label_kind is not None:
            record += _entry(_LABEL, b"values", label_kind, _tensor(label_kind, names[i : i + 1]))
        out.append(frame(record))
    return b"".join(out)


def write_scores(scores: ArrayLike) -> bytes:
    """Encode scores as SageMaker's endpoint does: one Record per score, a Float32Tensor in ``label["score"]``.

    Parameters
    ----------
    scores : array-like of shape (n,)

    Returns
    -------
    bytes
    """
    return _write_alike(np.asarray(scores, dtype=np.float32).reshape(-1, 1), _LABEL, b"score", None)


def _kind(name: str, numbers: Any) -> int:
    if numbers.dtype.kind in "iu":
        if numbers.size and not (numbers.min() >= -(2**31) and numbers.max() < 2**31):
            raise ValueError(f"{name} has whole numbers that do not fit into 32 bits: pass floats")
        return _INT32
    if numbers.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {numbers.dtype}, expected floats or whole numbers")
    return _FLOAT32 if numbers.dtype.itemsize == 4 else _FLOAT64


def _write_alike(table: NDArray[Any], field: int, name: bytes, labels: NDArray[Any] | None) -> bytes:
    """Encode rows whose frames differ only in their floats: one frame is encoded and repeated, then the floats are filled in."""
    kind = _kind("X", table)
    parts = [(field, name, kind, table)]
    if labels is not None:
        label_kind = _kind("labels", labels)
        parts.append((_LABEL, b"values", label_kind, labels.astype(_FLOATS[label_kind]).reshape(-1, 1)))
    payload, places = b"", []
    for number, key, of, numbers in parts:
        payload += _entry(number, key, of, _tensor(of, np.zeros(numbers.shape[1], numbers.dtype)))
        size = numbers.shape[1] * numbers.itemsize  # the values are at the end of an entry
        places.append(slice(_HEAD.size + len(payload) - size, _HEAD.size + len(payload)))
    frames = np.tile(np.frombuffer(frame(payload), np.uint8), (len(table), 1))
    for place, (*_, numbers) in zip(places, parts, strict=True):
        frames[:, place] = np.ascontiguousarray(numbers).view(np.uint8).reshape(len(table), -1)
    return frames.tobytes()


def frame(payload: bytes) -> bytes:
    """A frame: the payload with its header and padding."""
    return _HEAD.pack(MAGIC, len(payload)) + payload + b"\0" * (-len(payload) % 4)


def _entry(field: int, name: bytes, kind: int, tensor: bytes) -> bytes:
    """An entry of the map `field`: a name and a Value that holds the tensor."""
    return _message(field, _message(1, name) + _message(2, _message(kind, tensor)))


def _tensor(kind: int, values: NDArray[Any], keys: Sequence[int] = (), shape: Sequence[int] = ()) -> bytes:
    if kind == _INT32:
        packed = b"".join(_to_varint(int(v) & 0xFFFFFFFFFFFFFFFF) for v in values)
    else:
        packed = values.astype(_FLOATS[kind]).tobytes()
    out = _message(1, packed) if packed else b""
    for number, whole in ((2, keys), (3, shape)):
        if len(whole):
            out += _message(number, b"".join(map(_to_varint, whole)))
    return out


def _message(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | _BYTES]) + _to_varint(len(content)) + content


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
