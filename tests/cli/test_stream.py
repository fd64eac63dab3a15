"""``rcf stream``: its columns, output, errors and saved states."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

import rcf
from rcf.cli import main
from rcf.detector import StreamDetector
from rcf.explanation import explanation_json

pytest.importorskip("typer", reason="the command line needs rcf[cli]")
SMALL = ["--seed", "0", "--trees", "6", "--samples", "32"]
COMMAND = [sys.executable, "-m", "rcf", "stream", *SMALL]
PARAMS = {"n_estimators": 6, "max_samples": 32, "random_state": 0}


def stream(text, *arguments):
    """Run the command in this process, because a start takes a second."""
    streams = {"stdin": io.BytesIO(text.encode()), "stdout": io.BytesIO(), "stderr": io.BytesIO()}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["rcf", "stream", *SMALL, *map(str, arguments)])
        for name, file in streams.items():
            patch.setattr(sys, name, io.TextIOWrapper(file, encoding="utf-8", write_through=True))
        with pytest.raises(SystemExit) as end:
            main()
        out, err = (streams[name].getvalue().decode() for name in ("stdout", "stderr"))
    return SimpleNamespace(returncode=end.value.code or 0, stdout=out, stderr=err)


def rows(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("columns", [["heat, load"], ["3,2"], ["heat", "-c", "load"]])
def test_columns_by_name_and_by_number(columns):
    """Columns are scored in the requested order. Blank lines are ignored."""
    X = np.random.default_rng(0).normal(size=(220, 2)).round(3)
    X[200, 1] += 30
    lines = "".join(f"m{i},{load},{heat}\n{chr(10) * (i % 7 == 0)}" for i, (load, heat) in enumerate(X.tolist()))
    done = stream("name,load,heat\n" + lines, "--header", "--columns", *columns)
    assert (done.returncode, done.stderr) == (0, "")
    got = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["record"] for line in got] == list(range(1, 221))
    expected = StreamDetector(n_estimators=6, max_samples=32, random_state=0).update_many(X[:, ::-1])
    assert [line["score"] for line in got] == expected.score.tolist()
    assert [line["record"] - 1 for line in got if line["is_anomaly"]] == expected.anomalies.tolist() != []
    assert {line["feature"] for line in got if line["is_anomaly"]} <= {"heat", "load"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--columns", "load,cold"], "no column 'cold' among ['name', 'load']"),
        (["--columns", "3"], "no column '3' among ['name', 'load']"),
        (["--time", "0", "--columns", "load"], "no column '0' among ['name', 'load']"),
    ],
)
def test_a_missing_column_ends_the_command(arguments, message):
    done = stream("name,load\na,1\nb,2\n", "--header", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"rcf stream: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--transform", "zz"], "--transform must be one of 'none', 'normalize',"),
        (["--fill", "mean"], "--fill must be 'previous', 'linear', 'forest', 'zero' or a number, got 'mean'"),
        (["--anomaly-rate", "2"], "--anomaly-rate must be above 0 and at most 0.5, got 2.0"),
        (["--samples", str(2**40)], "Invalid value for '--samples':"),
        (["--seed", "-1"], "--seed"),
        (["--no-header", "--columns", "1,value"], "--columns: no column 'value' without names (--no-header)"),
        (["--no-header", "--time", "when"], "--time: no column 'when' without names (--no-header)"),
        (["--columns", "a", "--time", "a"], "'a' is both the time and a column to score"),
        (["--sep", "xx"], "a separator is one character"),
    ],
)
def test_wrong_options_are_a_usage_error_before_a_line_is_read(arguments, message):
    done = stream("1\n", *arguments)
    told = " ".join(done.stderr.replace("│", " ").split())  # the box wraps lines
    assert (done.returncode, done.stdout) == (2, "")
    assert told.count(message) == 1


def test_the_default_seed_is_fixed():
    lines = "".join(f"{v}\n" for v in np.random.default_rng(0).normal(size=120).round(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "SMALL", SMALL[2:])
        found = stream(lines)
    assert found.returncode == 0
    assert found.stdout == stream(lines).stdout


def test_a_state_keeps_its_parameters_and_says_so(tmp_path):
    """The note is printed only for options that were given, because defaults are not requests."""
    state = ["--state", str(tmp_path / "state.rcf")]
    assert stream("1\n2\n", *state, "--transform", "none").returncode == 0
    done = stream("3\n", *state)
    assert (done.returncode, done.stderr) == (0, "")
    done = stream("4\n", *state, "--transform", "difference", "--shingle", "8", "--fill", "0")
    assert done.returncode == 0
    told = [f"rcf stream: {option} is not used: {state[1]} was begun with {value}"
            for option, value in (("--transform difference", "none"), ("--fill 0.0", "previous"))]  # fmt: skip
    assert done.stderr.splitlines() == told
    assert rcf.load(tmp_path / "state.rcf").model.n_seen_ == 4


def test_a_missing_folder_of_the_state_is_reported_at_once(tmp_path):
    done = stream("1\n", "--state", tmp_path / "none" / "state.rcf")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().endswith(f"state.rcf cannot be written: there is no folder {tmp_path / 'none'}")


def test_lines_are_counted_as_in_the_file():
    done = stream("name\n\n1\nx\n2\n", "--header")
    assert (done.returncode, done.stderr) == (1, "rcf stream: line 4: 'name': 'x' is not a number\n")
    assert [(row["record"], row["line"]) for row in rows(done)] == [(1, 3), (2, 5)]


def test_a_failed_save_is_reported_and_the_stream_continues(tmp_path):
    folder = tmp_path / "states"
    folder.mkdir()
    with subprocess.Popen(
        [*COMMAND, "--state", folder / "state.rcf", "--save-every", "0.1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as run:  # fmt: skip

        def answer(value):
            run.stdin.write(f"{value}\n")
            run.stdin.flush()
            return json.loads(run.stdout.readline())["record"]

        assert answer(1.0) == 1
        shutil.rmtree(folder)
        time.sleep(0.2)
        assert answer(2.0) == 2
        assert "states/state.rcf could not be written: " in run.stderr.readline()
        assert answer(3.0) == 3
        run.stdin.close()
        assert run.wait() == 1
        assert "could not be written" in run.stderr.read()
    assert not folder.exists()


# ---- as part of a service ---------------------------------------------------------------------------------------------------


def noise(n, seed=0):
    return np.random.default_rng(seed).normal(size=n).round(3).tolist()


def test_json_lines_in_and_out():
    """Fields are selected by name. The other fields of a record are written unchanged."""
    values = noise(100)
    text = "".join(f'{{"host": "a", "load": {v:.4f}, "note": [1, {{"x": 2.50}}]}}\n' for v in values)
    done = stream(text, "--columns", "load")
    assert (done.returncode, done.stderr) == (0, "")
    expected = StreamDetector(**PARAMS).update_many(np.array(values)).score.tolist()
    assert [row["score"] for row in rows(done)] == expected
    for came, line in zip(text.splitlines(), done.stdout.splitlines(), strict=True):
        assert line.startswith(came[:-1] + ', "record": ')


def test_time_stamp_key_and_values_pass_through():
    done = stream("time,host,load\n2026-01-31T12:00:00Z,a,1.50\n", "--time", "time", "--key", "host")
    assert done.stdout.startswith(
        '{"time":"2026-01-31T12:00:00Z","host":"a","load":1.50, "record": 1, "line": 2, "score": 0.0'
    )


def test_a_key_has_a_detector_of_its_own():
    """There are two hosts in one log, each with its own clock."""
    values = {"a": noise(120, 1), "b": noise(120, 2)}
    lines = "".join(f"{60 * i},{host},{values[host][i]}\n" for i in range(120) for host in values)
    done = stream("t,host,load\n" + lines, "--time", "t", "--key", "host")
    assert (done.returncode, done.stderr) == (0, "")
    for host, mine in values.items():
        expected = StreamDetector(**PARAMS).update_many(np.array(mine), np.arange(120) * 60.0)
        assert [row["score"] for row in rows(done) if row["host"] == host] == expected.score.tolist()


def test_keys_resume(tmp_path):
    state = ["--state", tmp_path / "state.rcf", "--key", "host"]
    lines = [f"{host},{value}" for value in noise(150) for host in "ab"]
    whole = rows(stream("\n".join(["host,load", *lines]), "--key", "host"))
    parts = [rows(stream("\n".join(["host,load", *part]), *state)) for part in (lines[:131], lines[131:])]
    assert [row["score"] for part in parts for row in part] == [row["score"] for row in whole]
    assert [row["record"] for part in parts for row in part] == list(range(1, 301))


def test_record_and_line_count_on_after_a_restart(tmp_path):
    state = ["--state", tmp_path / "state.rcf"]
    stream("load\n1\n2\n", *state)
    assert [(row["record"], row["line"]) for row in rows(stream("load\n3\n", *state))] == [(3, 5)]


def test_a_replay_after_a_restart_is_skipped(tmp_path):
    """After a restart, `tail -n 20 -F` prints the last 20 lines again; 400 new ones follow."""
    values = noise(820)
    lines = [f"{60 * i},{value}" for i, value in enumerate(values)]
    state = ["--state", tmp_path / "state.rcf", "--time", "t"]
    first = rows(stream("\n".join(["t,load", *lines[:420]]), *state))
    done = stream("\n".join(lines[400:]), *state)
    assert (done.returncode, done.stderr) == (
        0,
        "rcf stream: 20 records that were seen before the restart are skipped\n",
    )
    expected = StreamDetector(**PARAMS).update_many(np.array(values), np.arange(820) * 60.0).score.tolist()
    assert [row["score"] for row in [*first, *rows(done)]] == expected


def test_a_replay_is_reported_for_each_key(tmp_path):
    state = ["--state", tmp_path / "state.rcf", "--time", "t", "--key", "host"]
    stream("t,host,load\n1,a,1\n2,a,2\n5,b,1\n", *state)
    done = stream("t,host,load\n2,a,2\n5,b,1\n3,a,3\n6,b,2\n4,c,1\n", *state)
    assert [(row["host"], row["t"]) for row in rows(done)] == [("a", 3), ("b", 6), ("c", 4)]


def test_a_restart_continues_within_the_file(tmp_path):
    values = noise(100)
    path, state = tmp_path / "in.csv", ["--state", tmp_path / "state.rcf"]
    path.write_text("load\n" + "".join(f"{v}\n" for v in values[:60]))
    first = rows(stream("", path, *state))
    with path.open("a") as file:
        file.writelines(f"{v}\n" for v in values[60:])
    second = rows(stream("", path, *state))
    assert (len(first), len(second)) == (60, 40)
    expected = StreamDetector(**PARAMS).update_many(np.array(values)).score.tolist()
    assert [row["score"] for row in first + second] == expected


def test_bad_lines_need_not_count():
    text = "load,other\n1,2\n3\n4,5,6\nx,1\n7,8\n"
    for errors, status in (("fail", 1), ("warn", 0)):
        done = stream(text, "--errors", errors)
        assert done.returncode == status
        assert done.stderr.splitlines() == [
            "rcf stream: line 3: the line has too few fields: 1 instead of 2",
            "rcf stream: line 4: the line has too many fields: 3 instead of 2",
            "rcf stream: line 5: 'load': 'x' is not a number",
        ]
        assert len(rows(done)) == 2


@pytest.mark.parametrize("path", ["/dev/full", "/dev/zero", "."])
@pytest.mark.skipif(sys.platform == "win32", reason="devices of POSIX")
def test_a_state_must_be_a_file(path):
    done = stream("1\n", "--state", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("the state needs a file\n")
    assert len(done.stderr.splitlines()) == 1


def test_a_second_process_on_one_state_is_refused_by_name(tmp_path):
    state = tmp_path / "state.rcf"
    with subprocess.Popen(
        [*COMMAND, "--state", state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        run.stdin.write("1\n")
        run.stdin.flush()
        assert run.stdout.readline()
        done = stream("1\n", "--state", state)
        run.stdin.close()
        assert run.wait() == 0
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"rcf stream: {state} is in use by process {run.pid}\n"
    assert stream("2\n", "--state", state).returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_gives_one_line_of_error_and_keeps_the_state(tmp_path):
    state = tmp_path / "state.rcf"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "--state", state], input=b"1\n2\n", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b"rcf stream: standard output could not be written: No space left on device\n"
    assert rcf.load(state).model.n_seen_ == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_a_closed_output_gives_one_line_of_error(tmp_path):
    command = f"echo 1 | {' '.join(COMMAND)} >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "rcf stream: standard output is closed\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_sighup_saves_the_state(tmp_path):
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        pytest.skip("the tests run under nohup, so processes that they start ignore SIGHUP")
    state = tmp_path / "state.rcf"
    with subprocess.Popen(
        [*COMMAND, "--state", state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        for i in range(3):
            run.stdin.write(f"{i}\n")
            run.stdin.flush()
            assert run.stdout.readline()
        run.send_signal(signal.SIGHUP)
        assert run.wait(30) == 0
    assert rcf.load(state).model.n_seen_ == 3


def test_explanations():
    values = noise(150)
    values[120] = 30.0
    text = "load\n" + "".join(f"{v}\n" for v in values)
    one = rows(stream(text, "--explain", "anomalies"))
    every = rows(stream(text, "--explain", "all"))
    flagged = [i for i, row in enumerate(one) if row["is_anomaly"]]
    assert 120 in flagged
    detector = StreamDetector(**PARAMS)
    for i, value in enumerate(values):
        found = detector.update(value)
        expected = explanation_json(found.attribution, ["load"]) if found.score else None
        if expected is not None:
            assert every[i]["ANOMALY_EXPLANATION"] == expected
        assert one[i]["ANOMALY_EXPLANATION"] == (expected if i in flagged else None)


def test_names_of_results_can_have_a_prefix():
    """A prefix is needed if records have a field with the same name."""
    done = stream("score,load\n1,2\n", "--columns", "load")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the record has a field 'score' already" in done.stderr
    (row,) = rows(stream("score,load\n1,2\n", "--columns", "load", "--prefix", "rcf_"))
    assert (row["score"], row["rcf_score"], row["rcf_record"]) == (1, 0.0, 1)


def test_separator_decimal_comma_and_dates():
    text = "Zeit;Last\n31.01.2026 12:00;1,5\n31.01.2026 12:01;2,5\n"
    done = stream(text, "--time", "Zeit", "--decimal", ",", "--time-format", "%d.%m.%Y %H:%M")
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["Last"] for row in rows(done)] == ["1,5", "2,5"]
    done = stream(text, "--time", "Zeit")
    assert "--decimal ," in done.stderr


def test_an_ambiguous_first_line_is_an_error():
    done = stream("country,2019\nx,1\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "give --header if it names them, --no-header if it is a record" in done.stderr


@pytest.mark.parametrize(("first", "why"), [("\xa0", "has only spaces"), ('"a', "not CSV: unexpected end of data")])
def test_an_unreadable_first_line_is_reported(first, why):
    """The next one tells what the columns are."""
    done = stream(f"{first}\n1,\r,2\n3,4,5\n")
    assert (done.returncode, len(rows(done))) == (1, 2)
    assert done.stderr.startswith("rcf stream: line 1: ")
    assert why in done.stderr


def test_a_saved_detector_can_be_the_first_state(tmp_path):
    values = noise(200)
    detector = StreamDetector(**PARAMS)
    detector.update_many(np.array(values[:150]))
    detector.save(tmp_path / "state.rcf")
    found = rows(stream("load\n" + "".join(f"{v}\n" for v in values[150:]), "--state", tmp_path / "state.rcf"))
    assert [row["score"] for row in found] == detector.update_many(np.array(values[150:])).score.tolist()


def test_events_are_opened_open_and_closed():
    """A pager opens an incident on "opened" and resolves it on "closed"."""
    values = noise(400)
    values[200:220] = [30.0] * 20
    found = rows(stream("load\n" + "".join(f"{v}\n" for v in values)))
    detector = StreamDetector(**PARAMS)
    expected = [detector.update(v) for v in values]
    assert [row["event"] for row in found] == [one.event and one.event.state for one in expected]
    assert {"opened", "open", "closed"} <= {row["event"] for row in found}
    flagged = [i for i, row in enumerate(found) if row["is_anomaly"]]
    assert [found[i]["severity"] for i in flagged] == [expected[i].severity for i in flagged]
    assert [found[i]["reason"] for i in flagged] == [expected[i].reason.replace("x0", "load") for i in flagged]
    assert all(row["severity"] is None for row in found if not row["is_anomaly"])


def test_local_dates_may_repeat_an_hour():
    """Dates without a zone may repeat an hour, as in `rcf detect`. The zone and the longest step are options."""
    local = [f"2026-10-25T{hour:02d}:{minute:02d}:00" for hour in (1, 2, 2, 3) for minute in range(60)]
    values = noise(240)
    text = "t,load\n" + "".join(f"{stamp},{value}\n" for stamp, value in zip(local, values, strict=True))
    done = stream(text, "--time", "t")
    assert (done.returncode, done.stderr) == (0, "")
    expected = StreamDetector(**PARAMS).update_many(np.array(values), np.array(local, dtype="datetime64[us]"))
    assert [row["score"] for row in rows(done)] == expected.score.tolist()
    done = stream(text, "--time", "t", "--time-order", "strict")
    assert done.returncode == 1
    assert "line 122: timestamp 2026-10-25 02:00:00 is before the last one, 2026-10-25T02:59:00" in done.stderr
    done = stream("t,load\n0,1\n1,2\n9,3\n", "--time", "t", "--max-step", "5")
    assert (
        "line 4: timestamp 9.0 is more than 5 seconds after the last one, 1: correct it, or set max_step" in done.stderr
    )
    zoned = "".join(
        f'{{"t": "{stamp}+02:00", "load": {value}}}\n' for stamp, value in zip(local[:120], values, strict=False)
    )
    done = stream(zoned, "--time", "t", "--timezone", "Asia/Tokyo")
    assert (done.returncode, done.stderr) == (0, "")
    assert stream("1\n", "--timezone", "Mars").returncode == 2
