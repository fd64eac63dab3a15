"""The codec, compared with Google's protobuf and the message definition of SageMaker's built-in algorithms."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

for library in ("orjson", "pyarrow", "starlette", "uvicorn"):
    pytest.importorskip(library)
descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
from google.protobuf import descriptor_pool, message_factory  # noqa: E402

from rcf.sagemaker import recordio  # noqa: E402

FIELD = descriptor_pb2.FieldDescriptorProto
TENSORS = {
    "Float32Tensor": (FIELD.TYPE_FLOAT, 2),
    "Float64Tensor": (FIELD.TYPE_DOUBLE, 3),
    "Int32Tensor": (FIELD.TYPE_INT32, 7),
}


def message_type(packed=True):
    """aialgs.data.Record, as https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-training.html gives it."""
    file = descriptor_pb2.FileDescriptorProto(name="record.proto", package="aialgs.data", syntax="proto2")

    def add(message, name, number, kind, *, repeated=False, packed=None, of=None, oneof=False):
        field = message.field.add(name=name, number=number, type=kind)
        field.label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
        if packed is not None:
            field.options.packed = packed
        if of is not None:
            field.type_name = f".aialgs.data.{of}"
        if oneof:
            field.oneof_index = 0

    for name, (kind, _) in TENSORS.items():
        tensor = file.message_type.add(name=name)
        add(tensor, "values", 1, kind, repeated=True, packed=packed)
        add(tensor, "keys", 2, FIELD.TYPE_UINT64, repeated=True, packed=packed)
        add(tensor, "shape", 3, FIELD.TYPE_UINT64, repeated=True, packed=packed)
    value = file.message_type.add(name="Value")
    value.oneof_decl.add(name="value")
    for name, (_, number) in TENSORS.items():
        add(value, name.lower().replace("tensor", "_tensor"), number, FIELD.TYPE_MESSAGE, of=name, oneof=True)
    add(value, "bytes", 9, FIELD.TYPE_BYTES, oneof=True)
    record = file.message_type.add(name="Record")
    for i, name in enumerate(("features", "label")):
        entry = record.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        add(entry, "key", 1, FIELD.TYPE_STRING)
        add(entry, "value", 2, FIELD.TYPE_MESSAGE, of="Value")
        add(record, name, i + 1, FIELD.TYPE_MESSAGE, repeated=True, of=f"Record.{name.capitalize()}Entry")
    for number, name in ((3, "uid"), (4, "metadata"), (5, "configuration")):
        add(record, name, number, FIELD.TYPE_STRING)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("aialgs.data.Record"))


Record, Unpacked = message_type(), message_type(packed=False)
FRAMES = struct.Struct("<II")


def frame(payload):
    return FRAMES.pack(0xCED7230A, len(payload)) + payload + b"\0" * (-len(payload) % 4)


def tensor_of(value, dtype):
    name = {"f4": "float32_tensor", "f8": "float64_tensor", "i8": "int32_tensor", "i4": "int32_tensor"}
    return getattr(value, name[np.dtype(dtype).str[1:]])


def record_of(row, label=None, keys=None, kind=Record, width=None):
    """A message as the SageMaker SDK fills it."""
    record = kind()
    tensor = tensor_of(record.features["values"], row.dtype)
    tensor.values.extend(row.tolist())
    if width is not None:
        tensor.keys.extend(keys)
        tensor.shape.extend([width])
    if label is not None:
        tensor_of(record.label["values"], label.dtype).values.append(label.item())
    return record


def protobuf(X, labels=None, kind=Record):
    return b"".join(
        frame(record_of(row, None if labels is None else labels[i], kind=kind).SerializeToString())
        for i, row in enumerate(X)
    )


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("label", [None, "f4", "f8", "i8"])
def test_2000_dense_records_are_protobufs_bytes(rng, dtype, label):
    X = (rng.normal(size=(2000, 7)) * 1000).astype(dtype)
    labels = None if label is None else rng.integers(0, 2, 2000).astype(label)
    data = recordio.write(X, labels)
    assert data == protobuf(X, labels)
    found = recordio.read(data)
    assert np.array_equal(found.X, X)
    assert found.labels is None if labels is None else np.array_equal(found.labels, labels)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csr_matrix, sparse.coo_array])
def test_2000_sparse_records_are_protobufs_bytes(rng, dtype, make):
    """Sparse tables, including rows of zeros."""
    table = np.where(rng.random((2000, 300)) < 0.01, rng.normal(size=(2000, 300)) * 100, 0).astype(dtype)
    labels = rng.random(2000)
    expected = b""
    for row, label in zip(table, labels, strict=True):
        keys = np.flatnonzero(row)
        record = record_of(row[keys], np.float64(label), keys.tolist(), width=300)
        expected += frame(record.SerializeToString())
    data = recordio.write(make(table), labels)
    assert data == expected
    found = recordio.read(data)
    assert np.array_equal(found.X, table)
    assert np.array_equal(found.labels, labels)


def test_scores_are_protobufs_bytes(rng):
    scores = rng.random(2000)
    expected = b""
    for score in scores:
        record = Record()
        record.label["score"].float32_tensor.values.append(score)
        expected += frame(record.SerializeToString())
    assert recordio.write_scores(scores) == expected


def test_numbers_that_are_not_packed(rng):
    for dtype in ("f4", "f8", "i8"):
        X = (rng.normal(size=(20, 5)) * 1000).astype(dtype)
        assert np.array_equal(recordio.read(protobuf(X, X[:, 0], Unpacked)).X, X)
    keys = [3, 200, 299]
    record = record_of(np.array([1.0, -2.0, 3.0]), keys=keys, kind=Unpacked, width=300)
    assert np.array_equal(np.flatnonzero(recordio.read(frame(record.SerializeToString())).X), keys)


def test_extreme_whole_numbers():
    X = np.array([[0, 1, -1, 127, 128, -(2**31), 2**31 - 1]])
    assert recordio.write(X) == protobuf(X)
    assert np.array_equal(recordio.read(recordio.write(X)).X, X)
    with pytest.raises(ValueError, match="do not fit into 32 bits"):
        recordio.write(X + 2**31)


def test_other_fields_and_other_names(rng):
    """uid, metadata and further features are ignored; the last entry of a name in a map counts."""
    record = record_of(np.array([1.0, 2.0]), np.float64(3.0))
    record.uid, record.metadata, record.configuration = "a", "b", "c"
    record.features["other"].float32_tensor.values.extend([9.0] * 5)
    record.label["other"].bytes = b"x"
    data = record.SerializeToString()
    again = record_of(np.array([4.0, 5.0, 6.0], dtype="f4")).SerializeToString()
    found = recordio.read(frame(data + again))
    assert found.X.tolist() == [[4.0, 5.0, 6.0]]
    assert found.labels.tolist() == [3.0]


def test_values_in_parts_are_joined():
    one, two = record_of(np.array([1.0, 2.0])), record_of(np.array([3.0]))
    parts = [r.features["values"].float64_tensor.SerializeToString() for r in (one, two)]
    value = b"".join(bytes([3 << 3 | 2, len(part)]) + part for part in parts)
    entry = bytes([1 << 3 | 2, 6]) + b"values" + bytes([2 << 3 | 2, len(value)]) + value
    payload = bytes([1 << 3 | 2, len(entry)]) + entry
    parsed = Record()
    parsed.ParseFromString(payload)
    assert list(parsed.features["values"].float64_tensor.values) == [1.0, 2.0, 3.0]
    assert recordio.read(frame(payload)).X.tolist() == [[1.0, 2.0, 3.0]]


def test_split_records():
    """A record that holds the magic number at a multiple of four bytes is split there by writers of dmlc's RecordIO."""
    magic = struct.pack("<I", 0xCED7230A)
    X = np.frombuffer(magic * 3, "<f4").reshape(1, 3)
    payload = record_of(X[0]).SerializeToString()
    pieces = payload.split(magic)
    assert len(pieces) == 4
    flags = [1, 2, 2, 3]
    data = b"".join(
        FRAMES.pack(0xCED7230A, flag << 29 | len(piece)) + piece + b"\0" * (-len(piece) % 4)
        for flag, piece in zip(flags, pieces, strict=True)
    )
    assert np.array_equal(recordio.read(data + recordio.write(X)).X, np.repeat(X, 2, axis=0).astype(float))
    with pytest.raises(ValueError, match="frame 1: part 2 of a split record is out of order"):
        recordio.read(data[FRAMES.size + len(pieces[0]) + -len(pieces[0]) % 4 :])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_mixture_of_frames_reads_as_protobuf_does(data):
    """Runs of similar frames are read by different code than single frames, and both must work in one file."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    width = data.draw(st.integers(1, 5))
    out, rows, labels = b"", [], []
    for _ in range(data.draw(st.integers(0, 6))):
        dtype = data.draw(st.sampled_from(["f4", "f8", "i8"]))
        labelled = data.draw(st.booleans())
        for _ in range(data.draw(st.integers(1, 40))):
            row = (rng.normal(size=width) * 100).astype(dtype)
            label = np.float32(rng.integers(0, 2)) if labelled else None
            out += frame(record_of(row, label).SerializeToString())
            rows.append(row.astype(float))
            labels.append(np.nan if label is None else float(label))
    found = recordio.read(out, width)
    assert np.array_equal(found.X, np.array(rows).reshape(len(rows), width))
    if np.isnan(labels).all():
        assert found.labels is None
    else:
        assert np.array_equal(found.labels, labels, equal_nan=True)


def test_a_file_in_pieces(rng, monkeypatch):
    X = rng.normal(size=(500, 3))
    data = recordio.write(X[:200]) + recordio.write((X[200:300] * 100).astype(int)) + recordio.write(X[300:])
    expected = recordio.read(data).X
    for chunk in (1, 7, 64, 1000):
        monkeypatch.setattr(recordio, "CHUNK", chunk)
        found = np.concatenate([rows.X for rows in recordio.blocks_of_file(io.BytesIO(data), 3)])
        assert np.array_equal(found, expected)
        frames = list(recordio.payloads(io.BytesIO(data)))
        assert b"".join(map(recordio.frame, frames)) == data
    with pytest.raises(ValueError, match="frame 500: its header says"):
        list(recordio.blocks_of_file(io.BytesIO(data[:-8]), 3))
    with pytest.raises(ValueError, match="frame 500: its header says"):
        list(recordio.payloads(io.BytesIO(data[:-8])))


def test_sparse_rows_come_in_blocks():
    """A file of 3 kB that expands to 800 MB is read in pieces of 16 MiB."""
    payload = record_of(np.array([1.0]), keys=[5], width=10_000).SerializeToString()
    found = list(recordio.blocks(frame(payload) * 1000, 10_000))
    assert sum(len(rows.X) for rows in found) == 1000
    assert max(rows.X.nbytes for rows in found) <= 17_000_000


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Record(), "frame 1: it has no features"),
        (record_of(np.array([1.0]), keys=[5], width=3), "frame 1: the key 5 is not one of 3 features"),
        (record_of(np.array([1.0, 2.0]), keys=[2], width=3), "frame 1: it is sparse and has 1 keys for 2 values"),
        (record_of(np.array([1.0, 2.0]), keys=[2, 2], width=3), "frame 1: a key occurs twice"),
        (record_of(np.array([1.0]), keys=[2], width=10**15), "frame 1: it has 1000000000000000 features"),
        (record_of(np.array([1.0, 2.0]), keys=[], width=3), "frame 1: its shape says 3 features, but it has 2 values"),
        (record_of(np.array([])), "frame 1: it has 0 features"),
    ],
)
def test_invalid_rows_are_refused_by_name(record, message):
    if not record.features and "no features" not in message:
        record.features["values"].float64_tensor.SetInParent()
    with pytest.raises(ValueError, match=message):
        recordio.read(frame(record.SerializeToString()))


def test_refusals_name_the_frame():
    data = recordio.write(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="frame 4: it starts with 0x6c6c6568, not with the magic number 0xced7230a"):
        recordio.read(data + b"hello, world")
    with pytest.raises(ValueError, match="frame 4: it ends after 3 of the 8 bytes"):
        recordio.read(data + b"abc")
    with pytest.raises(ValueError, match="frame 1: it has 2 features, expected 5"):
        recordio.read(data, 5)
    with pytest.raises(ValueError, match="frame 4: it has 3 features, expected 2"):
        recordio.read(data + recordio.write(np.zeros((2, 3))))
    record = record_of(np.array([1.0]))
    record.label["values"].float32_tensor.values.extend([1.0, 2.0])
    with pytest.raises(ValueError, match="frame 1: its label has 2 values, expected 1"):
        recordio.read(frame(record.SerializeToString()))
    record = Record()
    record.features["values"].bytes = b"123"
    with pytest.raises(ValueError, match="frame 1: its 'values' are not a tensor"):
        recordio.read(frame(record.SerializeToString()))


@pytest.mark.parametrize(
    ("X", "labels", "message"),
    [
        ([1.0, 2.0], None, r"X has shape \(2,\)"),
        (np.zeros((2, 0)), None, r"X has shape \(2, 0\)"),
        (np.zeros((2, 10_001)), None, "from 1 to 10000"),
        ([["a", "b"]], None, "X has dtype <U1"),
        ([[True, False]], None, "X has dtype bool"),
        ([[1.0, 2.0]], [1.0, 2.0], r"labels has shape \(2,\), expected \(1,\)"),
        ([[1.0, 2.0]], ["x"], "labels has dtype <U1"),
    ],
)
def test_what_cannot_be_written(X, labels, message):
    with pytest.raises(ValueError, match=message):
        recordio.write(X, labels)


def test_100_000_damaged_frames(rng):
    """Only ValueError is raised, and if protobuf can read a frame, the codec reads the same values."""
    valid = [
        recordio.write(np.array([[1.5, -2.5, 3.5]], dtype="f4"), np.array([1.0], dtype="f4")),
        recordio.write(np.array([[1.5, -2.5, 3.5]]), np.array([1])),
        recordio.write(np.array([[1, -2, 300000]])),
        recordio.write(sparse.csr_array([[0.0, 7.0, 0.0]]), np.array([0.0])),
        protobuf(np.array([[1.5, -2.5, 3.5]]), np.array([1.0]), Unpacked),
        recordio.write_scores([0.5]),
    ]
    refused = compared = 0
    for i in range(100_000):
        data = bytearray(valid[i % len(valid)])
        in_payload = i // len(valid) % 2  # half of them have a valid head, so that the code after it is tested
        for _ in range(1 if in_payload else rng.integers(1, 4)):
            at = int(rng.integers(8 if in_payload else 0, len(data)))
            what = rng.integers(3 if in_payload else 4)
            if what == 0:  # a bit
                data[at] ^= 1 << int(rng.integers(8))
            elif what == 1:
                data[at] = int(rng.integers(256))
            elif what == 2 and not in_payload:
                del data[at : at + int(rng.integers(1, 5))]
            else:
                data[at:at] = rng.bytes(int(rng.integers(1, 5)))
            if len(data) < 9:
                break
        if in_payload:
            data = bytearray(frame(bytes(data[8:])))
        try:
            found = recordio.read(bytes(data))
        except ValueError:
            refused += 1
            continue
        record = Record()
        if in_payload and len(found.X) == 1:
            try:
                record.ParseFromString(bytes(data[8 : 8 + FRAMES.unpack_from(data)[1]]))
            except Exception:
                continue
            value = record.features["values"]
            tensor = getattr(value, value.WhichOneof("value"))
            row = np.zeros_like(found.X[0])
            if tensor.keys:
                row[list(tensor.keys)] = tensor.values
            elif tensor.values:
                row[:] = tensor.values
            assert np.array_equal(row, found.X[0], equal_nan=True), bytes(data)
            compared += 1
    assert refused > 50_000
    assert compared > 5_000
