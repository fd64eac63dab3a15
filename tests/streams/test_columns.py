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
from rcf.streams import Csv, Json, Recognised, Schema, StreamError, Worker
from rcf.streams.columns import Batch
from rcf.streams.files import LineSink, LineSource

PARAMS = {"shingle_size": 2, "n_estimators": 4, "max_samples": 16, "random_state": 0}
VALUES = waves(160, spikes=[120])
RESULTS = ("record", "line", "position", "score", "evidence", "grade", "likelihood", "is_anomaly", "event", "confidence", "reason",
           "feature", "severity", "expected", "explanation")  # fmt: skip
# Unusual and invalid lines, which are put at random places of a stream. The time 10 is replaced by the time at that place.
ODD = {
    "csv": [
        "", " ", "\t", "\xa0", "1", "1,2,3,4,5", "10,a,x,1", "10,a,1_0,1", "10,a,inf,1", "10,a,1e400,1", "10,a,1e39,1",
        "10,a,NA,1", "10,a,,", "10,a,\u0661,2", '10,"a",5,1', '10,"a,b",5,1', '10,a"b,5,1', '10,"a,5,1', "t,host,load,heat",
        "load,t,heat,host", "t,a,5,1", " 10 , a ,  5 ,  1 ", "\ufeff10,a,5,1", "10,a,5,\ufeff", "10,a,5,1\r", "10,\r,5,1",
        "10,host,5,1", "x,a,5,1", "1e12,a,5,1", "2026-01-31T12:00,a,5,1", ",a,5,1", "10,a,5%,1", "10,%s,5,1", "10,\\,5,1",
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


def lines_of(form, keys):
    rows = [(60 * i, "ab"[i % keys], value, 2.5 - value) for i, value in enumerate(VALUES)]
    if form == "csv":
        return ["t,host,load,heat", *(",".join(map(str, row)) for row in rows)]
    return [json.dumps(dict(zip(("t", "host", "load", "heat"), row, strict=True))) for row in rows]


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


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_cut_gives_the_same_bytes(data):
    form = data.draw(st.sampled_from(["csv", "json"]))
    keys = data.draw(st.integers(0, 2))
    lines = [line.encode() for line in lines_of(form, max(keys, 1))]
    odd = st.tuples(st.integers(0, len(lines)), st.sampled_from(ODD[form]))
    for place, line in data.draw(st.lists(odd, max_size=4)):
        line = line if isinstance(line, bytes) else line.encode()
        lines.insert(place, line.replace(b"10,", b"%d," % (60 * place), 1))
    end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    text = end.join(lines) + data.draw(st.sampled_from([b"", end]))
    schema = {
        "columns": data.draw(st.sampled_from([None, ["load"], ["heat", "load"]])),
        "key": "host" if keys else None,
        "time": data.draw(st.sampled_from([None, "t"])),
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
    text = "".join(f"{line}\n" for line in lines_of(form, 2)).encode()
    schema = {"columns": ["load"], "key": key, "time": "t", "decimal": "."}
    (out, rejected, counts, _), columns = run(text, [1 << 20], 40, Recognised, Csv, schema)
    assert (rejected, counts[0]) == ([], len(VALUES))
    assert columns == len(VALUES) - 40
    assert key is not None or b"opened" in out


def test_a_batch_is_a_sequence_of_records():
    """Sinks that write records one by one can iterate over a batch."""
    worker = Worker(
        StreamDetector(**PARAMS), LineSource(io.BytesIO(b"")), LineSink(io.BytesIO()), codec=Csv(header=True)
    )
    lines = LineSource(io.BytesIO("\n".join(lines_of("csv", 1)).encode()))
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
