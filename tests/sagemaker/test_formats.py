"""CSV, JSON and JSON Lines: valid bodies, and the errors for invalid ones."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

for library in ("orjson", "pyarrow", "starlette", "uvicorn"):
    pytest.importorskip(library)

from rcf.sagemaker import formats, recordio  # noqa: E402


def read(body, kind, n_features):
    found = list(formats.decode(body, kind, n_features))
    return np.concatenate([rows.X for rows in found]) if found else np.empty((0, n_features))


@pytest.fixture
def rng():
    return np.random.default_rng(3)


CELLS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["1.", ".5", "+1.5", "-0", "1E5", "1e-400", " 2", "3 ", '"4.5"', "00012"]),
    st.sampled_from(["", " ", "nan", "inf", "-Infinity", "1e400", "1_0", "0x10", "a", "1;2", "NULL", "\u0661", "1,0"]),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_both_readers_of_csv_agree(table, end):
    """The fast parser gives the same result as the slow one, or returns nothing so that the slow one reads the text."""
    data = end.join(",".join(row) for row in table).encode().rstrip(b"\r\n")
    fast = formats._csv_by_arrow(data, 2) if data else None
    if fast is None or not np.isfinite(fast).all():
        return
    assert np.array_equal(fast, formats._csv_by_hand(data, 2, 0, 0))


def test_the_fast_reader_reads_usual_files(rng):
    X = rng.normal(size=(2000, 3))
    for end in ("\n", "\r\n"):
        data = end.join(",".join(map(repr, row)) for row in X.tolist()).encode()
        assert np.array_equal(formats._csv_by_arrow(data, 3), X)
        for tail in ("", end, 2 * end):
            assert np.array_equal(read(data + tail.encode(), "text/csv", 3), X)


@pytest.mark.parametrize("n", [3, 3000])  # by hand, by pyarrow
def test_label_size(rng, n):
    X = rng.normal(size=(n, 3))
    data = "\n".join(",".join(map(repr, row)) for row in X.tolist()).encode()
    for kind in ("text/csv", "text/csv; label_size=0", "TEXT/CSV;charset=utf-8;label_size=0"):
        assert np.array_equal(read(data, kind, 3), X)
    (rows,) = formats.decode(data, "text/csv;label_size=1", 2)
    assert np.array_equal(rows.X, X[:, 1:])
    assert np.array_equal(rows.labels, X[:, 0])


@pytest.mark.parametrize("filler", [0, 2000])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1", "row {}: 1 cell, expected 2 features"),
        ("1,2,3", "row {}: 3 cells, expected 2 features"),
        ("", "row {}: an empty line, expected 2 features"),
        ("1,", "row {}, column 2: an empty cell"),
        ("x,2", "row {}, column 1: 'x' is not a finite number"),
        ("1,nan", "row {}, column 2: 'nan' is not a finite number"),
        ("-inf,1", "row {}, column 1: '-inf' is not a finite number"),
        ("1,1e999", "row {}, column 2: '1e999' is not a finite number"),
        ("1_0,1", "row {}, column 1: '1_0' is not a finite number"),
    ],
)
def test_errors_of_csv(filler, line, message):
    body = "1.5,2.5\n" * filler + "1,2\n" + line + "\n3,4\n"
    with pytest.raises(ValueError, match="^" + message.format(filler + 2) + "$"):
        read(body.encode(), "text/csv", 2)


def test_a_header_and_other_text():
    with pytest.raises(ValueError, match="row 1, column 1: 'time' is not a finite number; there must be no header"):
        read(b"time,value\n1,2", "text/csv", 2)
    with pytest.raises(ValueError, match="row 2: not UTF-8 text"):
        read(b"1,2\n\xff\xfe,3", "text/csv", 2)
    with pytest.raises(ValueError, match="label_size must be 0 or 1, got '2'"):
        read(b"1,2", "text/csv;label_size=2", 2)
    assert read(b"\xef\xbb\xbf1,2\n", "text/csv", 2).tolist() == [[1.0, 2.0]]


INSTANCES = [
    {"features": [1.5, 16.0]},
    {"data": {"features": {"values": [1.5, 16.0]}}},
    {"data": {"features": {"keys": [1, 0], "shape": [2], "values": [16, 1.5]}}},
]


def test_every_shape_of_an_instance():
    for instance in INSTANCES:
        for many in ([instance], [instance] * 3, INSTANCES):
            expected = [[1.5, 16.0]] * len(many)
            assert read(json.dumps({"instances": many}).encode(), "application/json", 2).tolist() == expected
            for end in ("", "\n"):
                body = "\n".join(map(json.dumps, many)) + end
                assert read(body.encode(), "application/jsonlines", 2).tolist() == expected
    empty = {"data": {"features": {"keys": [], "shape": [2], "values": []}}}
    assert read(json.dumps({"instances": [empty]}).encode(), "application/json", 2).tolist() == [[0.0, 0.0]]
    assert read(b'{"instances":[]}', "application/json", 2).shape == (0, 2)


def test_all_formats_give_the_same_rows(rng):
    X = rng.normal(size=(300, 4))
    rows = X.tolist()
    bodies = {
        "text/csv": "\n".join(",".join(map(repr, row)) for row in rows).encode(),
        "application/json": json.dumps({"instances": [{"features": row} for row in rows]}).encode(),
        "application/jsonlines": "\n".join(json.dumps({"features": row}) for row in rows).encode(),
        "application/x-recordio-protobuf": recordio.write(X),
    }
    assert set(bodies) == set(formats.INPUTS)
    for kind, body in bodies.items():
        assert np.array_equal(read(body, kind, 4), X), kind


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ({"features": [1.0]}, "it has 1 features, expected 2"),
        ({"features": [1.0, None]}, "number 2 of its values is null"),
        ({"features": [True, 1.0]}, "number 1 of its values is true"),
        ({"features": ["1", 2]}, 'number 1 of its values is "1"'),
        ({"features": [[1], 2]}, r"number 1 of its values is \[1\]"),
        ({"features": {"values": [1, 2]}}, "expected {"),
        ({"data": {"features": {}}}, "expected {"),
        ({"data": [1]}, "expected {"),
        ([1, 2], "expected {"),
        (7, "expected {"),
        ({"data": {"features": {"values": [1], "keys": [2], "shape": [2]}}}, "the key 2 is not one of 2 features"),
        ({"data": {"features": {"values": [1], "keys": [-1], "shape": [2]}}}, "the key -1 is not one of 2 features"),
        ({"data": {"features": {"values": [1], "keys": [0.0], "shape": [2]}}}, "number 1 of its keys is 0.0"),
        ({"data": {"features": {"values": [1], "keys": 0, "shape": [2]}}}, "keys must be a list"),
        ({"data": {"features": {"values": [1], "keys": [0], "shape": [3]}}}, "it has 3 features, expected 2"),
        ({"data": {"features": {"values": [1, 2], "shape": [2, 1]}}}, r"its shape is \[2, 1\]"),
    ],
)
def test_errors_of_instances(instance, message):
    good = {"features": [1.0, 2.0]}
    with pytest.raises(ValueError, match=f"^instance 2: {message}"):
        read(json.dumps({"instances": [good, instance, good]}).encode(), "application/json", 2)
    with pytest.raises(ValueError, match=f"^line 3: {message}"):
        read("\n".join(map(json.dumps, [good, good, instance])).encode(), "application/jsonlines", 2)


def test_errors_of_json():
    for body in (b"", b"[1]", b'{"instances": 3}', b"{}", b"null"):
        with pytest.raises(ValueError, match="the body"):
            read(body, "application/json", 2)
    with pytest.raises(ValueError, match="the body is not JSON"):
        read(b'{"instances":[{"features":[NaN, 1]}]}', "application/json", 2)
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        read(b'{"features":[1,2]}\n\n{"features":[1,2]}', "application/jsonlines", 2)


def test_infinities_of_recordio_are_named():
    X = np.zeros((3000, 2))
    X[2500, 1] = np.inf
    with pytest.raises(ValueError, match="frame 2501, feature 2: inf is not a finite number"):
        read(recordio.write(X), formats.RECORDIO, 2)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(formats.CSV, "row"), (formats.JSON, "instance"), (formats.LINES, "line"), (formats.RECORDIO, "frame")],
)
def test_numbers_that_a_forest_cannot_hold_are_named(kind, name):
    """The number may be in any block, and either reader may read it."""
    for n in (5, 9000):
        X = np.zeros((n, 2))
        X[n - 2, 1] = -1e300
        rows = X.tolist()
        body = {
            formats.CSV: "\n".join(",".join(map(repr, row)) for row in rows).encode(),
            formats.JSON: json.dumps({"instances": [{"features": row} for row in rows]}).encode(),
            formats.LINES: "\n".join(json.dumps({"features": row}) for row in rows).encode(),
            formats.RECORDIO: recordio.write(X),
        }[kind]
        with pytest.raises(ValueError, match=rf"^{name} {n - 1}, feature 2: -1e\+300 is beyond the range of float32$"):
            read(body, kind, 2)


def test_sparse_instances_come_in_blocks():
    instance = {"data": {"features": {"keys": [5], "shape": [10_000], "values": [1]}}}
    for kind, body in (
        (formats.JSON, json.dumps({"instances": [instance] * 1000})),
        (formats.LINES, "\n".join([json.dumps(instance)] * 1000)),
    ):
        sizes = [rows.X.nbytes for rows in formats.decode(body.encode(), kind, 10_000)]
        assert max(sizes) <= 17_000_000
        assert sum(sizes) == 1000 * 10_000 * 8


def test_exact_bytes_of_answers():
    scores = np.array([0.02, 1.0191434980001, 0.25])
    assert formats.encode(scores, formats.JSON) == b'{"scores":[{"score":0.02},{"score":1.019143498},{"score":0.25}]}'
    assert formats.encode(scores, formats.LINES) == b'{"score":0.02}\n{"score":1.019143498}\n{"score":0.25}'
    assert formats.encode(scores, formats.RECORDIO) == recordio.write_scores(scores)


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=50))
def test_answers_are_rounded_as_python_rounds(scores):
    found = json.loads(formats.encode(np.array(scores), formats.JSON))["scores"]
    # numpy rounds x * 1e10 to even and Python rounds the exact decimal, so they differ by at most one unit
    assert all(abs(a["score"] - round(b, 10)) <= 1.0001e-10 for a, b in zip(found, scores, strict=True))
    assert all(a["score"] == float(f"{a['score']:.10f}") for a in found)
