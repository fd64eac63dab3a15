"""The worker on files: its output, its checkpoints and its errors, and that a crash leaves no trace."""

import contextlib
import io
import json
import os
import subprocess

import numpy as np
import pytest
from servers import WORKER, killed_at_random, parameters, waves

import rcf
from rcf import HotSpots, KeyedDetector, RandomCutForest, StreamDetector
from rcf.explanation import explanation_json
from rcf.streams import Csv, Message, Rejected, Schema, StreamError, Worker
from rcf.streams.codecs import dead_letter
from rcf.streams.files import DeadLetterFile, FileStore, LineSink, LineSource

PARAMS, FLAGS = parameters()


def lines_of(values, **more):
    return "".join(json.dumps({"load": value, **more}) + "\n" for value in values)


def label(text, model=None, **options):
    """The output records for a text, and the worker."""
    out = io.BytesIO()
    model = StreamDetector(**PARAMS) if model is None else model
    worker = Worker(model, LineSource(io.BytesIO(text.encode())), LineSink(out), **options)
    worker.run()
    return [json.loads(line) for line in out.getvalue().splitlines()], worker


def undisturbed(values, **params):
    return StreamDetector(**{**PARAMS, **params}).update_many(np.array(values))


def forest_scores(windows):
    forest = RandomCutForest(10, 64, random_state=1)
    return forest.update_many(windows)


def check(path, values):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = undisturbed(values)
    assert [row["load"] for row in rows] == values
    assert [row["ANOMALY_SCORE"] for row in rows] == found.score.tolist()
    assert [row["IS_ANOMALY"] for row in rows] == found.is_anomaly.tolist()


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_results_do_not_depend_on_batches(batch):
    values = waves(700, spikes=[500])
    rows, worker = label(lines_of(values), batch=batch)
    found = undisturbed(values)
    assert [row["ANOMALY_SCORE"] for row in rows] == found.score.tolist()
    assert [i for i, row in enumerate(rows) if row["IS_ANOMALY"]] == found.anomalies.tolist() != []
    assert (worker.records, worker.anomalies) == (700, len(found.anomalies))


def test_records_are_written_unchanged():
    """The other fields, their order and the digits of numbers do not change."""
    came = '{"host": "a\\u00fc", "load": 1.50, "big": 123456789012345678901234567890, "deep": {"x": [1, 2.0]}}'
    out = io.BytesIO()
    Worker(
        StreamDetector(**PARAMS), LineSource(io.BytesIO(came.encode())), LineSink(out), schema=Schema(["load"])
    ).run()
    assert out.getvalue().decode() == came[:-1] + ', "ANOMALY_SCORE": 0.0, "IS_ANOMALY": false}\n'


def test_results_and_their_columns_can_be_chosen():
    values = waves(300, spikes=[250])
    output = {
        "record": "n", "line": "row", "position": "at", "partition": "of", "score": "s", "grade": "g", "threshold": "limit",
        "reason": "why", "is_anomaly": "flag", "feature": "field", "side": "side", "expected": "due", "explanation": "text",
    }  # fmt: skip
    rows, _ = label("\n" + lines_of(values), output=output)
    found = undisturbed(values)
    assert list(rows[0]) == ["load", *output.values()]
    assert [row["n"] for row in rows] == list(range(1, 301))
    assert [row["row"] for row in rows] == list(range(2, 302))
    assert [row["g"] for row in rows] == found.grade.tolist()
    (hit,) = [row for row in rows if row["flag"]]
    one = found[hit["n"] - 1]
    assert (hit["field"], hit["side"], hit["due"]) == ("load", one.cause.side, one.expected.tolist())
    assert hit["text"] == explanation_json(one.attribution, ["load"])
    assert rows[0]["due"] is rows[0]["text"] is None


def test_every_record_can_have_an_explanation():
    values = waves(150)
    rows, _ = label(lines_of(values), output={"score": "s", "explanations": "e"}, batch=1000)
    for row in rows:
        total = sum(float(column["ATTRIBUTION_SCORE"]) for column in json.loads(row["e"]).values())
        assert total == pytest.approx(row["s"], abs=2e-4)
    assert sum(row["s"] > 0 for row in rows) > 50


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "not JSON: Expecting property name"),
        ("[1]", "not a JSON object, but a list"),
        ('{"lode": 1}', "no field 'load' among 'lode'"),
        ('{"load": "x"}', "'load': 'x' is not a number"),
        ('{"load": true}', "'load' is 'True', not a number"),
        ('{"load": [1]}', "'load' is '[1]', not a number"),
        ('{"load": 1e400}', "inf"),
        ('{"load": 1, "ANOMALY_SCORE": 2}', "the record has a field 'ANOMALY_SCORE' already"),
        ('{"load": 1' + "0" * 400 + "}", "'load' is too large"),
    ],
)
def test_invalid_records_are_dead_letters_with_position_and_reason(tmp_path, bad, reason):
    """The stream continues as if the record had not come."""
    values = waves(200)
    text = lines_of(values[:100]) + bad + "\n" + lines_of(values[100:])
    path = tmp_path / "dead.jsonl"
    rows, worker = label(text, dead_letters=DeadLetterFile(path))
    assert [row["ANOMALY_SCORE"] for row in rows] == undisturbed(values).score.tolist()
    (letter,) = map(json.loads, path.read_text().splitlines())
    assert (letter["position"], letter["line"], letter["data"]) == (101, 101, bad)
    assert reason in letter["reason"]
    assert (worker.records, worker.rejected) == (200, 1)


def test_bytes_that_are_not_text_are_invalid(tmp_path):
    path = tmp_path / "dead.jsonl"
    source = LineSource(io.BytesIO(b'{"load": 1}\n\xff\xfe\n{"load": 2}\n'))
    worker = Worker(StreamDetector(**PARAMS), source, LineSink(io.BytesIO()), dead_letters=DeadLetterFile(path))
    worker.run()
    assert (worker.records, worker.rejected) == (2, 1)
    assert json.loads(path.read_text())["reason"] == "not UTF-8: invalid start byte at byte 0"


def test_time_that_goes_back_makes_only_its_own_record_invalid():
    text = "".join(json.dumps({"t": t, "load": 1.0}) + "\n" for t in [0, 10, 20, -1e9, 30, 40])
    rows, worker = label(text, schema=Schema(["load"], time="t"))
    assert [row["t"] for row in rows] == [0, 10, 20, 30, 40]
    assert worker.rejected == 1


@pytest.mark.parametrize("batch", [1, 2, 3, 50, 1000])
@pytest.mark.parametrize("key", [None, "host"])
def test_results_with_jumping_clocks_do_not_depend_on_batches(batch, key):
    """There are single wrong stamps, two that agree, and a clock that is set permanently. Batches do not affect which records are
    refused.
    """
    times = 60.0 * np.arange(400)
    times[[100, 150, 151, 200]] += 1e9  # no three agree
    times[300:] += 1e8  # here the clock was set
    times[350:] -= 5e7
    lines = [json.dumps({"t": t, "host": "a", "load": v}) for t, v in zip(times.tolist(), waves(400), strict=True)]
    model = StreamDetector(**PARAMS)
    expected = []
    for line in map(json.loads, lines):
        with contextlib.suppress(ValueError):
            expected.append((line["t"], model.update(line["load"], line["t"]).score))
    assert len(expected) == 400 - 4 - 2 - 2
    model = StreamDetector(**PARAMS) if key is None else KeyedDetector(StreamDetector(**PARAMS))
    rows, worker = label("\n".join(lines), model, batch=batch, schema=Schema(["load"], key=key, time="t"))
    assert [(row["t"], row["ANOMALY_SCORE"]) for row in rows] == expected
    assert worker.rejected == 8


def test_keys_have_detectors_of_their_own():
    values = {"a": waves(300, 1), "b": waves(300, 2)}
    text = "".join(lines_of([a], host="a") + lines_of([b], host="b") for a, b in zip(*values.values(), strict=True))
    rows, _ = label(text, KeyedDetector(StreamDetector(**PARAMS)), schema=Schema(key="host"))
    for key, mine in values.items():
        assert [row["ANOMALY_SCORE"] for row in rows if row["host"] == key] == undisturbed(mine).score.tolist()


@pytest.mark.parametrize("batch", [1, 40, 1000])
def test_results_of_keys_do_not_depend_on_batches(batch):
    """The results of a key do not depend on other records in between, and invalid records are refused alone."""
    keys, rng = ["a", "b", "c", 4, None], np.random.default_rng(0)
    which = rng.integers(len(keys), size=1500)
    which[:600] = np.minimum(which[:600], 2)  # some keys come late
    values = {key: waves(1500, i, spikes=[200]) for i, key in enumerate(keys)}
    lines, expected, place = [], [], dict.fromkeys(keys, 0)
    alone = {key: StreamDetector(**PARAMS) for key in keys}
    for key in map(keys.__getitem__, which.tolist()):
        value = values[key][place[key]]
        place[key] += 1
        lines.append(json.dumps({"host": key, "load": value}))
        found = alone[key].update({"load": value})
        due = found.explanation_json() if found.is_anomaly else None
        expected.append((key, value, found.score, found.is_anomaly, found.reason, due))
        if rng.random() < 0.01:
            lines.append('{"host": "a", "load": 1e300}')
    output = {"score": "s", "is_anomaly": "flag", "reason": "why", "feature": "field", "explanation": "text"}
    model = KeyedDetector(StreamDetector(**PARAMS))
    rows, worker = label("\n".join(lines), model, batch=batch, output=output, schema=Schema(["load"], key="host"))
    assert [(row["host"], row["load"], row["s"], row["flag"], row["why"], row["text"]) for row in rows] == expected
    assert {row["field"] for row in rows if row["flag"]} == {"load"}
    assert (worker.rejected, worker.anomalies) == (len(lines) - 1500, sum(row[3] for row in expected))


def test_a_missing_value_is_filled():
    values = waves(200)
    text = lines_of([*values[:100], None, *values[101:]])
    rows, worker = label(text)
    assert [row["ANOMALY_SCORE"] for row in rows] == undisturbed([*values[:100], np.nan, *values[101:]]).score.tolist()
    assert worker.rejected == 0


def test_columns_are_the_numbers_of_the_first_record():
    rows, worker = label('{"host": "a", "b": 1, "up": true, "a": 2.5, "t": 7}\n{"a": 1, "b": "2", "host": 3, "t": 8}\n',
                         schema=Schema(time="t"))  # fmt: skip
    assert worker.labeller.schema.columns == ["b", "a"]
    assert len(rows) == 2


def test_a_line_that_is_too_long_is_invalid(tmp_path, monkeypatch):
    """Such a line must not stop the worker, because each restart would read it again."""
    monkeypatch.setattr("rcf.streams.files.LONGEST", 100_000)
    monkeypatch.setattr("rcf.streams.files.CHUNK", 1000)
    values = waves(200)
    long = json.dumps({"load": 1.0, "text": "x" * 1_000_000})
    path = tmp_path / "in"
    path.write_text(lines_of(values[:100]) + long + "\n" + lines_of(values[100:]) + long)
    for pipe in (False, True):
        dead = tmp_path / f"dead{pipe}"
        out = io.BytesIO()
        source = LineSource(io.BytesIO(path.read_bytes()) if pipe else path)
        Worker(StreamDetector(**PARAMS), source, LineSink(out), dead_letters=DeadLetterFile(dead)).run()
        scores = [json.loads(line)["ANOMALY_SCORE"] for line in out.getvalue().splitlines()]
        assert scores == undisturbed(values).score.tolist()
        first, last = map(json.loads, dead.read_text().splitlines())
        assert (first["line"], last["line"]) == (101, 202)
        assert first["reason"] == f"the line has {len(long) + 1} bytes, more than 100000"
        assert first["data"] == long[:1024]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('{"host": NaN, "load": 1}', "'host' is 'nan', which cannot be a key"),
        ('{"host": [1], "load": 1}', "'host' is '[1]', which cannot be a key"),
        ('{"host": "\\ud800", "load": 1}', "a lone surrogate, such as \\ud800, is not valid text"),
        ('{"host": "a", "\\uDfff": 2, "load": 1}', "a lone surrogate"),
    ],
)
def test_keys_that_cannot_be_saved_are_invalid(tmp_path, record, reason):
    text = f'{{"host": "\\ud83d\\ude00", "load": 1}}\n{record}\n{{"host": "a", "load": 2}}\n'
    (tmp_path / "in").write_text(text)
    dead = DeadLetterFile(tmp_path / "dead")
    model = KeyedDetector(StreamDetector(**PARAMS))
    store = FileStore(tmp_path / "state")
    worker = Worker(model, LineSource(tmp_path / "in"), LineSink(tmp_path / "out"), store, schema=Schema(["load"], key="host"),
                    dead_letters=dead)  # fmt: skip
    worker.run()
    assert (worker.records, worker.rejected) == (2, 1)
    assert reason in json.loads((tmp_path / "dead").read_text())["reason"]
    assert rcf.load(tmp_path / "state").model.keys() == ["\U0001f600", "a"]


def test_dead_letters_can_be_truncated():
    """A service accepts records only up to some size. A letter that it refuses would stop the worker at each restart."""
    for data in (b"x" * 50_000, b"\xff" * 50_000, b"\x00" * 50_000, '"\u00fc\U0001f600'.encode() * 9000):
        rejected = Rejected(Message(data, 7, "k"), "no good")
        whole = dead_letter(rejected)
        assert "cut" not in json.loads(whole)
        assert dead_letter(rejected, len(whole)) == whole
        cut = dead_letter(rejected, 10_000)
        assert 1000 < len(cut) <= 10_000
        letter = json.loads(cut)
        assert (letter["position"], letter["reason"], letter["key"]) == (7, "no good", "k")
        assert letter["cut"] == len(json.loads(whole)["data"])
        assert json.loads(whole)["data"].startswith(letter["data"])


class TestCsv:
    def label(self, text, codec, sink=None, **options):
        out = io.BytesIO()
        worker = Worker(StreamDetector(**PARAMS), LineSource(io.BytesIO(text.encode())),
                        LineSink(out, sink or codec), codec=codec, **options)  # fmt: skip
        worker.run()
        return out.getvalue().decode().splitlines(), worker

    def test_lines_are_written_unchanged(self):
        lines, _ = self.label('host,load\n"a,b",1.50\nc, 2\n', Csv(header=True), schema=Schema(["load"]))
        assert lines == ["host,load,ANOMALY_SCORE,IS_ANOMALY", '"a,b",1.50,0.0,False', "c, 2,0.0,False"]

    def test_to_json_numbers_stay_numbers_with_their_digits(self):
        codec = Csv(header=True)
        out = io.BytesIO()
        text = "host,load,note\na,1.50,007\nb,2,\n"
        Worker(StreamDetector(**PARAMS), LineSource(io.BytesIO(text.encode())), LineSink(out), codec=codec,
               schema=Schema(["load"])).run()  # fmt: skip
        found = [line.split(', "ANOMALY')[0] for line in out.getvalue().decode().splitlines()]
        assert found == ['{"host":"a","load":1.50,"note":"007"', '{"host":"b","load":2,"note":null']

    def test_too_few_and_too_many_fields(self, tmp_path):
        dead = DeadLetterFile(tmp_path / "dead")
        lines, _ = self.label("1,2\n3\n4,5,6\n7,8\n", Csv(), dead_letters=dead)
        assert len(lines) == 3
        reasons = [json.loads(line)["reason"] for line in (tmp_path / "dead").read_text().splitlines()]
        assert reasons == [
            "the line has too few fields: 1 instead of 2",
            "the line has too many fields: 3 instead of 2",
        ]

    def test_a_repeated_header_is_left_out(self):
        lines, worker = self.label("a,b\n1,2\na,b\n3,4\n", Csv(header=True))
        assert (len(lines), worker.records, worker.rejected) == (3, 2, 0)

    def test_columns_are_put_into_the_order_of_the_first_header(self, tmp_path):
        """This occurs in the next file after a rotation, and after a restart within that file."""
        values = waves(100)
        path, out = tmp_path / "in", tmp_path / "out"
        first = [f"a,{v},0" for v in values[:40]]
        later = [f'{v},"a",0' for v in values[40:]]
        for text in (first, [*first, "load,host,x", *later[:20]], [*first, "load,host,x", *later]):
            path.write_text("\n".join(["host,load,x", *text, ""]))
            Worker(StreamDetector(**PARAMS), LineSource(path), LineSink(out, Csv()), FileStore(tmp_path / "state"),
                   codec=Csv(header=True), schema=Schema(["load"])).run()  # fmt: skip
        head, *rows = out.read_text().splitlines()
        assert head == "host,load,x,ANOMALY_SCORE,IS_ANOMALY"
        assert [row.split(",")[:3] for row in rows] == [["a", str(v), "0"] for v in values]
        assert [float(row.split(",")[3]) for row in rows] == undisturbed(values).score.tolist()

    def test_a_byte_order_mark_is_not_part_of_a_name(self):
        _, worker = self.label("\ufeffload\n1\n", Csv(header=True))
        assert worker.labeller.schema.columns == ["load"]


class TestForest:
    """As Kinesis's SQL function."""

    def test_scores_are_those_of_the_forest(self):
        values = waves(400)
        rows, _ = label(lines_of(values), RandomCutForest(10, 64, random_state=1))
        scores = forest_scores(np.array(values)[:, None])
        assert [row["ANOMALY_SCORE"] for row in rows] == scores.tolist()
        assert rows[0]["IS_ANOMALY"] is None

    @pytest.mark.parametrize("batch", [1, 9, 1000])
    def test_windows_and_explanations(self, batch):
        values = waves(200)
        rows, _ = label(lines_of(values), RandomCutForest(10, 64, random_state=1), shingle_size=3, batch=batch, threshold=1.5,
                        output={"score": "s", "is_anomaly": "flag", "explanation": "e"})  # fmt: skip
        windows = np.lib.stride_tricks.sliding_window_view(np.array(values), 3)
        scores = [0.0, 0.0, *forest_scores(windows).tolist()]
        assert [row["s"] for row in rows] == scores
        assert [row["flag"] for row in rows] == [score > 1.5 for score in scores]
        for row in rows:
            assert float(json.loads(row["e"])["load"]["ATTRIBUTION_SCORE"]) == pytest.approx(row["s"], abs=1e-4)

    def test_a_frozen_forest_learns_nothing(self):
        X = np.random.default_rng(0).normal(size=(500, 2))
        forest = RandomCutForest(10, random_state=0).fit(X)
        before = forest.to_bytes()
        text = '{"a": 0.0, "b": 0.1}\n{"a": 9.0, "b": 9.0}\n{"a": null, "b": 1}\n'
        rows, worker = label(text, forest, learn=False)
        assert [row["ANOMALY_SCORE"] for row in rows] == forest.anomaly_score([[0.0, 0.1], [9.0, 9.0]]).tolist()
        assert [row["IS_ANOMALY"] for row in rows] == [False, True]
        assert worker.rejected == 1
        assert worker.model.to_bytes() == before


class TestRestart:
    def worker(self, folder, model=None, **options):
        source, sink = LineSource(folder / "in"), LineSink(folder / "out")
        return Worker(model or StreamDetector(**PARAMS), source, sink, FileStore(folder / "state.rcf"), **options)

    def test_results_continue_bit_for_bit(self, tmp_path):
        values = waves(600, spikes=[400])
        for end in (100, 350, 351, 600):
            (tmp_path / "in").write_text(lines_of(values[:end]))
            worker = self.worker(tmp_path)
            worker.run()
            assert worker.records == end
        check(tmp_path / "out", values)

    @pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.slow)])
    def test_killed_at_random_instants(self, tmp_path, times):
        """No record is lost, different or repeated."""
        pytest.importorskip("typer", reason="the command line needs rcf[cli]")
        n = 3000 * times
        values, out = waves(n, spikes=[1000]), tmp_path / "out"
        (tmp_path / "in").write_text(lines_of(values))
        command = [*WORKER, "files", str(tmp_path / "in"), str(out), "--state", str(tmp_path / "state.rcf"), "--follow",
                   *FLAGS, "--set", "worker.batch=10", "--set", "worker.checkpoint_every=0.05"]  # fmt: skip
        killed_at_random(
            command, lambda: out.exists() and out.read_bytes().count(b"\n"), n, times, np.random.default_rng(times)
        )
        check(out, values)

    def test_what_was_written_after_the_checkpoint_is_cut_off(self, tmp_path):
        values = waves(200)
        (tmp_path / "in").write_text(lines_of(values))
        worker = self.worker(tmp_path, batch=30, checkpoint_every=3600)
        worker.resume()
        for _ in range(3):
            worker.step()
        worker.checkpoint()
        worker.step()
        worker.close()  # as if the process had died
        assert len((tmp_path / "out").read_text().splitlines()) == 120
        self.worker(tmp_path).run()
        check(tmp_path / "out", values)

    def test_a_full_disk_leaves_the_old_checkpoint(self, tmp_path, monkeypatch):
        values = waves(200)
        (tmp_path / "in").write_text(lines_of(values))
        worker = self.worker(tmp_path, batch=50)
        worker.resume()
        worker.step()
        good = (tmp_path / "state.rcf").read_bytes()

        def full(descriptor):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match=r"No space left on device: .*/out"):
                worker.step()
        worker.abandon()
        assert (tmp_path / "state.rcf").read_bytes() == good
        assert {path.name for path in tmp_path.iterdir()} == {"in", "out", "state.rcf"}
        self.worker(tmp_path).run()
        check(tmp_path / "out", values)

    @pytest.mark.parametrize("pipe", [False, True])
    def test_a_full_disk_leaves_whole_lines(self, tmp_path, monkeypatch, pipe):
        """Half a line would be joined to the first line that is written after the restart."""
        values = waves(200)
        (tmp_path / "in").write_text(lines_of(values))

        def worker():
            source = LineSource(io.BytesIO(lines_of(values).encode()) if pipe else tmp_path / "in")
            store = FileStore(tmp_path / "state.rcf")
            return Worker(StreamDetector(**PARAMS), source, LineSink(tmp_path / "out"), store, batch=50)

        first, write, calls = worker(), os.write, []

        def full(descriptor, data):
            if descriptor != first.sink._descriptor:
                return write(descriptor, data)
            calls.append(1)
            if len(calls) < 3:
                return write(descriptor, data)
            if len(calls) == 3:
                return write(descriptor, bytes(data[: len(data) // 2]))
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(OSError, match=r"No space left on device: .*out"):
                first.run()
        assert (tmp_path / "out").read_bytes().endswith(b"}\n")
        if not pipe:
            worker().run()
            check(tmp_path / "out", values)

    def test_a_forest_keeps_its_unfinished_window(self, tmp_path):
        values = waves(300)
        for end in (10, 11, 150, 300):
            (tmp_path / "in").write_text(lines_of(values[:end]))
            self.worker(tmp_path, RandomCutForest(10, 64, random_state=1), shingle_size=5).run()
        windows = np.lib.stride_tricks.sliding_window_view(np.array(values), 5)
        scores = [0.0] * 4 + forest_scores(windows).tolist()
        rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
        assert [row["ANOMALY_SCORE"] for row in rows] == scores

    def test_the_columns_of_the_first_run_are_kept(self, tmp_path):
        (tmp_path / "in").write_text('{"a": 1, "b": "x"}\n')
        self.worker(tmp_path).run()
        (tmp_path / "in").write_text('{"a": 1, "b": "x"}\n{"b": 2, "a": 1}\n')
        worker = self.worker(tmp_path)
        worker.run()
        assert worker.labeller.schema.columns == ["a"]
        with pytest.raises(StreamError, match="was started with the columns"):
            self.worker(tmp_path, schema=Schema(["b"])).run()

    def test_another_kind_of_model_is_refused(self, tmp_path):
        (tmp_path / "in").write_text('{"a": 1}\n')
        self.worker(tmp_path).run()
        with pytest.raises(StreamError, match="holds a StreamDetector, not a RandomCutForest"):
            self.worker(tmp_path, RandomCutForest()).run()

    def test_a_second_worker_on_the_state_is_refused_by_name(self, tmp_path):
        (tmp_path / "in").write_text('{"a": 1}\n')
        first = self.worker(tmp_path)
        first.resume()
        second = self.worker(tmp_path)
        with pytest.raises(OSError, match=f"state.rcf is in use by process {os.getpid()}"):
            second.run()
        first.finish()
        self.worker(tmp_path).run()
        assert not list(tmp_path.glob(".*"))

    def test_an_output_that_was_cut_is_not_written_over(self, tmp_path):
        (tmp_path / "in").write_text(lines_of(waves(10)))
        self.worker(tmp_path).run()
        (tmp_path / "out").write_text("")
        with pytest.raises(StreamError, match="the file was truncated or replaced"):
            self.worker(tmp_path).run()


def test_a_file_is_followed_across_a_rotation(tmp_path):
    values = waves(300)
    path = tmp_path / "in"
    path.write_text(lines_of(values[:100]))
    source = LineSource(path, follow=True)
    out = io.BytesIO()
    worker = Worker(StreamDetector(**PARAMS), source, LineSink(out))
    worker.resume()

    def read(n):
        for _ in range(50):
            worker.step(0.01)
            if worker.records == n:
                return
        raise AssertionError(worker.records)

    read(100)
    with path.open("a") as file:
        file.write(lines_of(values[100:150]) + '{"load":')
    read(150)
    with path.open("a") as file:
        file.write(f"{values[150]}}}")  # the last line of the old file has no line end
    path.rename(tmp_path / "in.1")
    path.write_text(lines_of(values[151:200]))
    read(200)
    path.write_text("")  # cut, as by logrotate's copytruncate
    worker.step(0.01)
    path.write_text(lines_of(values[200:]))
    read(300)
    worker.close()
    assert [json.loads(line)["ANOMALY_SCORE"] for line in out.getvalue().splitlines()] == undisturbed(
        values
    ).score.tolist()


def test_a_checkpoint_is_a_model_file(tmp_path):
    (tmp_path / "in").write_text(lines_of(waves(100)))
    worker = Worker(
        StreamDetector(**PARAMS), LineSource(tmp_path / "in"), LineSink(io.BytesIO()), FileStore(tmp_path / "state")
    )
    worker.run()
    found = rcf.load(tmp_path / "state")
    assert (found.records, found.position[1]) == (100, (tmp_path / "in").stat().st_size)
    assert found.model.n_seen_ == 100


def test_invalid_states_are_refused(tmp_path):
    with pytest.raises(OSError, match="/dev/full is a device or pipe; the state needs a file"):
        FileStore("/dev/full")
    with pytest.raises(OSError, match="is a folder; the state needs a file"):
        FileStore(tmp_path)
    with pytest.raises(OSError, match="there is no folder"):
        FileStore(tmp_path / "none" / "state")
    path = tmp_path / "spots.rcf"
    HotSpots(10, 1.0, 2).save(path)
    with pytest.raises(ValueError, match="holds a HotSpots, not the state of a worker"):
        FileStore(path).load("in")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "files.input is not set: give it on the command line or as input in [files]"),
        (["IN", "-", "--set", "model.trees=5"], 2, "[model]"),
        (["IN", "-", "--set", "files.inputs=5"], 2, "[files] has no setting 'inputs'; its settings are input,"),
        (["IN", "-", "--set", "nothing.x=5"], 2, "there is no section [nothing]"),
        (["IN", "-", "--set", "model"], 2, "'model' is not section.name=value"),
        (["IN", "-", "--set", "records.format=xml"], 2, "records.format must be json or csv, got 'xml'"),
        (["IN", "-", "--config", "IN"], 2, "is not TOML"),
        (["IN", "-", "--set", "override.a={shingle_size=1}"], 2, "[override] is for keys, but records.key is not set"),
        (["IN", "-", "--key", "k", "--set", "override.a={size=1}"], 2, "[model] or [override]:"),
        (["nowhere", "-"], 1, "No such file"),
        (["IN", "-", "--metrics", "8080x"], 1, "'8080x' is not host:port"),
        (["IN", "-", "--set", "worker.batch=0"], 2, "[worker] batch must be at least 1, got 0"),
        (["IN", "-", "--set", "worker.batch=many"], 2, "[worker] batch must be a whole number, got 'many'"),
        (
            ["IN", "-", "--set", "worker.checkpoint_every=-1"],
            2,
            "[worker] checkpoint_every must be finite and not negative",
        ),
        (["IN", "-", "--set", "records.columns=load"], 2, "[records] columns must be a list, got 'load'"),
        (["IN", "-", "--set", "records.columns=[1]"], 2, "[records] columns must be a list of texts, got [1]"),
        (["IN", "-", "--set", "records.header=yes"], 2, "[records] header must be true or false, got 'yes'"),
        (["IN", "-", "--set", "output.score=5"], 2, "[output] score must be a text, got 5"),
        (["IN", "-", "--set", "model.n_estimators=0"], 2, "[model]: n_estimators must be between 1"),
        (["IN", "-", "--set", "model.random_state=x"], 2, "[model]: 'x' cannot be used to seed a forest"),
        (
            ["IN", "-", "--set", "model.kind=forest", "--set", "model.max_samples=-5"],
            2,
            "[model]: The 'max_samples' parameter",
        ),
        (
            ["IN", "-", "--key", "k", "--set", "model.max_keys=0"],
            2,
            "[model] or [override]: max_keys must be at least 1",
        ),
        (["IN", "-", "--key", "k", "--set", "override.a=5"], 2, "[override] a must be a table of parameters, got 5"),
        (["IN", "-", "--key", "k", "--set", "override.a={shingle_size=0}"], 2, "[model] or [override]: shingle_size"),
    ],
)
def test_invalid_settings(tmp_path, arguments, status, message):
    pytest.importorskip("typer", reason="the command line needs rcf[cli]")
    if "--metrics" in arguments:
        pytest.importorskip("prometheus_client", reason="metrics need rcf[metrics]")
    path = tmp_path / "in"
    path.write_text('{"a": 1}\n')
    command = [*WORKER, "files", *(str(path) if part == "IN" else part for part in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_come_from_a_file_and_flags_come_first(tmp_path):
    pytest.importorskip("typer", reason="the command line needs rcf[cli]")
    config, path = tmp_path / "worker.toml", tmp_path / "in"
    path.write_text(
        "".join(json.dumps({"t": i, "host": "a", "load": v, "x": 0}) + "\n" for i, v in enumerate(waves(300)))
    )
    config.write_text(
        f'[files]\ninput = "{path}"\noutput = "-"\n[records]\ncolumns = ["x"]\nkey = "host"\ntime = "t"\n'
        "[model]\nshingle_size = 4\nn_estimators = 10\nmax_samples = 64\nrandom_state = 9\n"
        '[override.a]\nrandom_state = 3\n[output]\nscore = "S"\n'
    )
    done = subprocess.run([*WORKER, "files", "--config", str(config), "-c", "load"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["S"] for row in rows] == undisturbed(waves(300)).score.tolist()
    assert list(rows[0]) == ["t", "host", "load", "x", "S"]


def test_dry_run_reports_what_would_be_read_and_changes_nothing(tmp_path):
    pytest.importorskip("typer", reason="the command line needs rcf[cli]")
    path, state = tmp_path / "in", tmp_path / "state"
    path.write_text(lines_of(waves(20)))
    command = [*WORKER, "files", str(path), str(tmp_path / "out"), "--state", str(state), *FLAGS]
    assert subprocess.run(command, capture_output=True).returncode == 0
    before = state.read_bytes()
    done = subprocess.run([*command, "--dry-run"], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["reads"] == [
        {"partition": str(path), "after": [path.stat().st_ino, path.stat().st_size, 20], "records": 20}
    ]
    assert found["settings"]["model"]["shingle_size"] == 4
    assert state.read_bytes() == before
