"""Batches in columns give the same bytes as one record after another, however the input is cut."""

import io
import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import waves

from rcf import KeyedDetector, StreamDetector
from rcf.streams import Csv, Json, Message, Recognised, Record, Schema, StreamError, Worker
from rcf.streams.columns import Batch, CsvCells, JsonCells
from rcf.streams.files import LineSink, LineSource

PARAMS = {"shingle_size": 2, "n_estimators": 4, "max_samples": 16, "random_state": 0}
VALUES = waves(160, spikes=[120])
NAMES = ("t", "host", "load", "heat")
RESULTS = ("record", "line", "position", "score", "evidence", "grade", "likelihood", "is_anomaly", "event", "confidence", "reason",
           "feature", "severity", "expected", "explanation")  # fmt: skip
# Unusual and invalid lines, which are put at random places of a stream. The time 10 is replaced by the time at that place.
ODD = {
    "csv": [
        "", " ", "\t", "\xa0", "1", "1,2,3,4,5", "10,a,x,1", "10,a,1_0,1", "10,a,inf,1", "10,a,1e400,1", "10,a,1e39,1",
        "10,a,NA,1", "10,a,,", "10,a,\u0661,2", '10,"a",5,1', '10,"a,b",5,1', '10,a"b,5,1', '10,"a,5,1', "HEADER",
        "load,t,heat,host", "t,a,5,1", " 10 , a ,  5 ,  1 ", "\ufeff10,a,5,1", "10,a,5,\ufeff", "10,a,5,1\r", "10,\r,5,1",
        "10,host,5,1", "x,a,5,1", "1e12,a,5,1", "2026-01-31T12:00,a,5,1", "2026-01-31,a,5,1",
        "20260131,a,5,1", "1.2e-5,a,5,1", "31.01.2026 12:00,a,5,1", "10,a,-nan,1", ",a,5,1", "10,a,5%,1", "10,%s,5,1", "10,\\,5,1",
        "10,,5,1", "10,a,-0,1", "10,a,5.,1", "10,new,5,1", b"10,\xff,5,1",
    ],
    "json": [
        "", " ", "{", "[1]", "5", "{}", '{"load": 5}', '{"t": 10, "host": "a", "load": "x", "heat": 1}',
        '{"t": 10, "host": "a", "heat": 1}', '{"t": 10, "host": "a", "load": 1, "heat": 2}, {"t": 10}',
        '  {"t": 10, "host": "a", "load": 5, "heat": 1 }  ', '{"t": 10, "host": "a", "load": null, "heat": "1"}',
        '{"t": 10, "host": "a", "load": true, "heat": 1}', '{"t": 10, "host": null, "load": 5, "heat": 1}',
        '{"t": 10, "host": 4, "load": 5, "heat": 1}', '{"t": 10, "host": [4], "load": 5, "heat": 1}',
        '{"t": 10, "host": NaN, "load": 5, "heat": 1}', '{"t": 10, "host": "a", "load": NaN, "heat": 1}',
        '{"t": 10, "host": "a", "load": 1e400, "heat": 1}', '{"t": 10, "host": "\\ud800", "load": 5, "heat": 1}',
        '{"t": 10, "host": "a", "load": 5, "heat": 1, "score": 3}', '{"t": "2026-01-31", "host": "a", "load": 5, "heat": 1}',
        '{"t": "x", "host": "a", "load": 5, "heat": 1}', '{"t": 10, "host": "%s", "load": 5, "heat": 1}',
        '\ufeff{"t": 10, "host": "a", "load": 5, "heat": 1}', '{"t": 10, "host": "a", "load": 5, "heat": 1' + "0" * 400 + "}",
        '{"t": 10, "host": "a",\r "load": 5, "heat": 1}', '{"heat": 1, "load": 5, "host": "a", "t": 10, "more": {"x": [1]}}',
        b'{"t": 10, "host": "\xff", "load": 5, "heat": 1}',
    ],
}  # fmt: skip


class Cut(io.BytesIO):
    """A file whose reads return numbers of bytes that `sizes` lists, in turn."""

    def __init__(self, data, sizes):
        super().__init__(data)
        self._sizes, self._turn = sizes, 0

    def read(self, size=-1):
        self._turn += 1
        return super().read(self._sizes[self._turn % len(self._sizes)])


def when(i, zone):
    """The time of place i: seconds, or a date with this zone."""
    return 60 * i if zone is None else f"2026-01-31T{i // 60:02}:{i % 60:02}{zone}"


def lines_of(form, keys, names=NAMES, zone=None):
    rows = [(when(i, zone), "ab"[i % keys], value, 2.5 - value) for i, value in enumerate(VALUES)]
    if form == "csv":
        lines = [",".join(names), *(",".join(map(str, row)) for row in rows)]
    else:
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    return [line.encode() for line in lines]


def put(line, names, place, zone=None):
    """An odd line as it stands at a place of a stream with these names."""
    line = ",".join(names) if line == "HEADER" else line
    line = line.encode() if isinstance(line, str) else line
    time = json.dumps(when(place, zone)) if b"{" in line else str(when(place, zone))
    return line.replace(b"10,", f"{time},".encode(), 1)


@pytest.fixture(autouse=True)
def _quiet():
    """Switch the log off, because it would list thousands of rejected messages."""
    log = logging.getLogger("rcf.streams")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "disabled", True)
        yield


def run(data, sizes, batch, codec, sink, schema):
    """What a worker writes and rejects, its counts and its state, and how many records it judged in columns."""
    out, rejected, columns = io.BytesIO(), [], 0
    detector = StreamDetector(**PARAMS)
    model = detector if schema["key"] is None else KeyedDetector(detector)
    worker = Worker(model, LineSource(Cut(data, sizes)), LineSink(out, sink()), schema=Schema(**schema), codec=codec(),
                    output={name: name for name in RESULTS}, batch=batch)  # fmt: skip
    label = worker.labeller.label

    def watched(*arguments):
        nonlocal columns
        records, refused = label(*arguments)
        columns += len(records) if isinstance(records, Batch) else 0
        rejected.extend((one.message.line, one.message.data, one.reason) for one in refused)
        return records, refused

    worker.labeller.label = watched
    try:
        worker.run()
    except StreamError as error:  # before the first record
        return repr(error), columns
    counts = worker.records, worker.anomalies, worker.rejected, worker.skipped, worker.position
    return (out.getvalue(), sorted(rejected, key=str), counts, worker.labeller.state()), columns


@pytest.mark.parametrize("kind", ["plain", "timed", "keyed"])
@pytest.mark.parametrize(("form", "line"), [(form, line) for form, lines in ODD.items() for line in lines])
def test_a_batch_with_an_odd_line_gives_the_same_bytes(form, line, kind):
    names = ("7", "host", "3", "2") if line == "HEADER" else NAMES
    lines = lines_of(form, 1, names)
    lines.insert(100, put(line, names, 100))
    text = b"".join(line + b"\n" for line in lines)
    schema = {"columns": [names[2]], "key": "host" if kind == "keyed" else None,
              "time": names[0] if kind == "timed" else None, "decimal": "."}  # fmt: skip
    for sink in (Csv, Json):
        setting = (lambda: Recognised(header=True if form == "csv" else None)), sink, schema
        assert run(text, [1 << 20], 50, *setting)[0] == run(text, [1 << 20], 1, *setting)[0]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_cut_gives_the_same_bytes(data):
    form = data.draw(st.sampled_from(["csv", "json"]))
    keys = data.draw(st.integers(0, 2))
    # a header of numbers, when it is repeated, looks like a record
    names = data.draw(st.sampled_from([NAMES, ("7", "host", "3", "2")])) if form == "csv" else NAMES
    zone = data.draw(st.sampled_from([None, "", "Z", "+02:00"]))
    lines = lines_of(form, max(keys, 1), names, zone)
    odd = st.tuples(st.integers(0, len(lines)), st.sampled_from(ODD[form]))
    for place, line in data.draw(st.lists(odd, max_size=4)):
        lines.insert(place, put(line, names, place, zone))
    end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    text = end.join(lines) + data.draw(st.sampled_from([b"", end]))
    schema = {
        "columns": data.draw(st.sampled_from([None, [names[2]], [names[3], names[2]]])),
        "key": "host" if keys else None,
        "time": data.draw(st.sampled_from([None, names[0]])),
        "decimal": data.draw(st.sampled_from([".", ","])),
    }
    header = data.draw(st.sampled_from([True, None]))
    sink = data.draw(st.sampled_from([Csv, Json]))
    setting = (lambda: Recognised(header=header)), sink, schema
    singly, none = run(text, [1 << 20], 1, *setting)
    assert none == 0
    sizes = data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=8))
    batch = data.draw(st.integers(2, 200))
    assert run(text, sizes, batch, *setting)[0] == singly


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize("key", [None, "host"])
def test_plain_lines_are_judged_in_columns(form, key):
    """Only the lines of the first batch are judged singly, because its columns and keys are new."""
    text = b"".join(line + b"\n" for line in lines_of(form, 2))
    schema = {"columns": ["load"], "key": key, "time": "t", "decimal": "."}
    (out, rejected, counts, _), columns = run(text, [1 << 20], 40, Recognised, Csv, schema)
    assert (rejected, counts[0]) == ([], len(VALUES))
    assert columns == len(VALUES) - 40
    assert key is not None or b"opened" in out


@pytest.mark.parametrize("form", ["csv", "json"])
def test_repeated_records_are_skipped_after_a_restart(form):
    """The source repeats 20 records. Batches without them are judged in columns again.

    The detector would learn them: dates without a zone may go back when clocks are set back.
    """
    head, *lines = [*[b""] * (form == "json"), *lines_of(form, 1, zone="")]
    first, second = (Worker(StreamDetector(**PARAMS), LineSource(io.BytesIO(b"")), LineSink(io.BytesIO()), codec=Recognised(),
                            schema=Schema(["load"], time="t")).labeller for _ in range(2))  # fmt: skip

    def label(labeller, lines, batch=10):
        messages = [Message(line, i, line=i) for i, line in enumerate(lines)]
        return [labeller.label(messages[i : i + batch])[0] for i in range(0, len(messages), batch)]

    before = label(first, [head, *lines[:100]] if head else lines[:100])
    second.restore(first.model, first.state(), "")
    after = label(second, lines[80:])
    assert (second.skipped, second.records) == (20, 60)
    times = np.array([when(i, "") for i in range(160)], dtype="datetime64[us]")
    scores = [record.result["ANOMALY_SCORE"] for batch in (*before, *after) for record in batch]
    assert scores == StreamDetector(**PARAMS).update_many(np.array(VALUES), times).score.tolist()
    assert [type(batch) for batch in after[-4:]] == [Batch] * 4


@settings(max_examples=50, deadline=None)
@given(
    lines=st.lists(st.sampled_from([b"1", b"", b" ", b"\t\r", b"\r", b"a\rb", b"23\r", b" 4 "])),
    end=st.booleans(), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3), limit=st.integers(1, 5),
)  # fmt: skip
def test_lines_have_their_numbers_and_positions(tmp_path_factory, lines, end, sizes, limit):
    """Blank lines are counted but skipped. The position in a file is the offset after the line."""
    text = b"\n".join(lines) + b"\n" * end
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(text)
    expected, offset = [], 0
    for number, line in enumerate(text.split(b"\n"), 1):
        offset = min(offset + len(line) + 1, len(text))
        if line.strip():
            expected.append((line.rstrip(b"\r"), number, offset))
    for source in (LineSource(path), LineSource(Cut(text, sizes))):
        found = []
        while (messages := source.read(limit, 0.0)) is not None:
            assert len(messages) <= limit
            found += messages
        source.close()
        assert [(one.data, one.line) for one in found] == [row[:2] for row in expected]
        inode = path.stat().st_ino
        assert [one.position for one in found] == [
            [inode, offset, number] if source.replayable else number for _, number, offset in expected
        ]


@pytest.mark.parametrize(
    ("time_format", "stamps"),
    [
        (None, ["2026-01-31T12:00:00.123456", "2026-01-31 12:01", "2262-01-01"]),
        (None, ["2026-01-31T12:00:00Z", "2026-01-31T12:01:00+00:00", "2026-01-31T12:00:00.1+02:00"]),
        (None, ["2026-01-31T12:00:00", "2026-01-31T12:01:00Z", 1769860860.5]),
        (None, ["10000101", "10000102"]),  # seconds, and dates of the year 1000 in ISO's short form
        (None, ["20260131", "20260201"]),
        (None, ["1769860800000", "1769860860000"]),
        ("%Y-%d-%m", ["2026-02-01", "2026-03-01"]),  # January
        ("%d.%m.%Y %H:%M", ["01.02.2026 12:00", "01.02.2026 12:01"]),
        ("ms", ["1769860800000", 1769860860000]),
    ],
)
def test_time_stamps_of_a_batch_are_those_of_its_records(time_format, stamps):
    records = [{"t": stamp, "load": 1.0} for stamp in stamps]
    rows = Schema(["load"], time="t", time_format=time_format).rows(JsonCells([], records))
    singly = [Schema(["load"], time="t", time_format=time_format).row(Record(Message(b"", 1), one)) for one in records]
    assert (rows.stamps, rows.times) == ([row.stamp for row in singly], [row.time for row in singly])
    assert list(map(type, rows.stamps)) == [type(row.stamp) for row in singly]


def test_a_batch_is_encoded_as_its_records_are():
    """Numbers that JSON cannot express, lists, and names with signs that a template would read."""
    messages = [Message(b"", 1), Message(b"", 2)]
    results = {"x": np.array([1.5, np.nan]), "n": np.array([1, 2]), "flag": np.array([True, False]), "line": range(1, 3),
               "50 %s": [None, [1.0, np.inf]], "why": ['a, "b"', None]}  # fmt: skip
    plain = [{"a %d": "1", "b": "NA"}, {"a %d": " 2", "b": ""}]
    cells = [
        CsvCells(["1,NA", " 2,"], ["a %d", "b"], [("1", " 2"), ("NA", "")]),
        JsonCells(list(map(json.dumps, plain)), plain),
    ]
    for fields in cells:
        for kept in (results, {"x": results["x"]}, {"why": [None, None]}, {}):
            batch = Batch(messages, fields, kept)
            for codec in (Csv, Json):
                assert codec().encode_many(batch) == b"".join(map(codec().encode, batch))


def test_a_batch_is_a_sequence_of_records():
    """Sinks that write records one by one can iterate over a batch."""
    worker = Worker(
        StreamDetector(**PARAMS), LineSource(io.BytesIO(b"")), LineSink(io.BytesIO()), codec=Csv(header=True)
    )
    lines = LineSource(io.BytesIO(b"\n".join(lines_of("csv", 1))))
    worker.labeller.label(lines.read(2, 0.0))
    batch, rejected = worker.labeller.label(lines.read(50, 0.0))
    assert (type(batch), len(batch), rejected) == (Batch, 50, [])
    records = list(batch)
    assert (batch[-1], batch[3:5]) == (records[49], records[3:5])
    assert [record.message.line for record in records] == list(range(3, 53))
    assert records[0].fields == {"t": "60", "host": "a", "load": str(VALUES[1]), "heat": str(2.5 - VALUES[1])}
    assert {type(value) for value in records[0].result.values()} == {float, bool}
    with pytest.raises(IndexError):
        batch[50]
    assert np.isfinite([record.result["ANOMALY_SCORE"] for record in records]).all()
