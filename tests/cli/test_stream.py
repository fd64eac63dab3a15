"""``rcf stream``: which columns it watches, and what becomes of a state that cannot be saved."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from rcf.detector import StreamDetector

pytest.importorskip("typer", reason="the command line needs rcf[cli]")
COMMAND = [sys.executable, "-m", "rcf", "stream", "--seed", "0", "--trees", "6", "--samples", "32"]


def stream(text, *arguments):
    return subprocess.run([*COMMAND, *arguments], input=text, capture_output=True, text=True)


@pytest.mark.parametrize("columns", [["heat, load"], ["3,2"], ["heat", "-c", "load"]])
def test_columns_by_name_and_by_number(columns):
    """In the order they are asked for; lines without a word count for nothing."""
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
    assert got[200]["feature"] == "heat"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--columns", "load,cold"], "no column 'cold' among ['name', 'load']"),
        (["--columns", "3"], "no column '3' among ['name', 'load']"),
        (["--time", "0", "--columns", "load"], "no column '0' among ['name', 'load']"),
    ],
)
def test_a_column_that_is_not_there_ends_it(arguments, message):
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
        (["--columns", "1,value"], "--columns: no column 'value' without names (--header if the first line has names)"),
        (["--time", "when"], "--time: no column 'when' without names (--header if the first line has names)"),
    ],
)
def test_wrong_options_are_a_usage_error_before_a_line_is_read(arguments, message):
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    ) as run:  # fmt: skip
        assert run.wait(60) == 2  # with standard input still open
        assert run.stdout.read() == ""
        told = " ".join(run.stderr.read().replace("│", " ").split())  # the box wraps lines
        assert told.count(message) == 1


def test_the_same_seed_is_taken_where_none_is_given():
    lines = "".join(f"{v}\n" for v in np.random.default_rng(0).normal(size=120).round(3))
    command = [part for part in COMMAND if part not in ("--seed", "0")]
    run = subprocess.run(command, input=lines, capture_output=True, text=True)
    assert run.returncode == 0
    assert run.stdout == stream(lines).stdout


def test_a_state_keeps_its_parameters_and_says_so(tmp_path):
    """Only of options that were given: defaults ask for nothing."""
    state = ["--state", str(tmp_path / "state.rcf")]
    assert stream("1\n2\n", *state, "--transform", "none").returncode == 0
    done = stream("3\n", *state)
    assert (done.returncode, done.stderr) == (0, "")
    done = stream("4\n", *state, "--transform", "difference", "--shingle", "8", "--fill", "0")
    assert done.returncode == 0
    told = [f"rcf stream: {option} is not used: {state[1]} was begun with {value}"
            for option, value in (("--transform difference", "none"), ("--fill 0.0", "previous"))]  # fmt: skip
    assert done.stderr.splitlines() == told
    assert StreamDetector.from_bytes((tmp_path / "state.rcf").read_bytes()).n_seen_ == 4


def test_a_state_without_a_folder_is_told_at_once(tmp_path):
    done = stream("1\n", "--state", tmp_path / "none" / "state.rcf")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().endswith(f"state.rcf cannot be written: there is no folder {tmp_path / 'none'}")


def test_lines_are_counted_as_in_the_file():
    done = stream("name\n\n1\nx\n2\n", "--header")
    assert (done.returncode, done.stderr.split(": ")[1]) == (1, "line 4")
    assert [json.loads(line)["record"] for line in done.stdout.splitlines()] == [1, 3]


def test_a_state_that_cannot_be_saved_is_told_and_the_stream_goes_on(tmp_path):
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
