"""``rcf stream`` and the plot of its results on long streams."""

import json
import subprocess
import sys

import numpy as np
import pytest

from rcf.detector import StreamDetector

COMMAND = [sys.executable, "-m", "rcf", "stream"]


def lines(x):
    return "".join(f"{i * 60},{v}\n" for i, v in enumerate(x.tolist()))


@pytest.fixture(scope="module")
def series():
    x = 10 * np.sin(np.arange(600) / 5) + np.random.default_rng(0).normal(0, 0.3, 600)
    x[500] += 50
    return x


def test_lines_are_those_of_the_detector(series):
    pytest.importorskip("typer")
    run = subprocess.run(
        [*COMMAND, "--time", "1", "--seed", "0"], input=lines(series), capture_output=True, text=True, check=True
    )
    got = [json.loads(line) for line in run.stdout.splitlines()]
    expected = StreamDetector(random_state=0).update_many(series, np.arange(600) * 60.0)
    assert [r["score"] for r in got] == expected.score.tolist()
    assert [r["record"] - 1 for r in got if r["is_anomaly"]] == expected.anomalies.tolist() == [500]
    assert (got[500]["feature"], got[500]["lag"], got[500]["side"]) == ("2", 0, "high")


def test_bad_lines_are_named_and_left_out():
    pytest.importorskip("typer")
    run = subprocess.run([*COMMAND, "--header", "--format", "csv"], input="a,b\n1,2\n3\n4,inf\n5,x\n6,\n", capture_output=True,
                         text=True, check=False)  # fmt: skip
    assert run.returncode == 1
    assert [line.split(",")[:4] for line in run.stdout.splitlines()] == [
        ["a", "b", "record", "line"], ["1", "2", "1", "2"], ["6", "", "2", "6"]]  # fmt: skip
    assert [line.split(":")[1].strip() for line in run.stderr.splitlines()] == [
        "line 3",
        "line 4",
        "line 5",
    ]  # the lines of the file


def test_a_file_without_valid_lines_ends_soon_and_says_what_to_do():
    pytest.importorskip("typer")
    text = "timestamp,value\n" + "".join(f"2026-01-01 00:{i:02}:00,{i}\n" for i in range(50))
    run = subprocess.run([*COMMAND, "-c", "1"], input=text, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 10
    assert "--header" in run.stderr.splitlines()[0]
    assert "none of the first 10 lines" in run.stderr.splitlines()[-1]
    run = subprocess.run([*COMMAND, "--header", "--time", "timestamp"], input=text, capture_output=True, text=True)
    assert (run.returncode, run.stderr, len(run.stdout.splitlines())) == (0, "", 50)


def test_invalid_lines_after_valid_ones_do_not_end_the_stream():
    pytest.importorskip("typer")
    run = subprocess.run(COMMAND, input="1\n" + "x\n" * 20 + "2\n", capture_output=True, text=True)
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 20
    assert len(run.stdout.splitlines()) == 2


def test_each_line_is_written_before_the_next_is_read():
    pytest.importorskip("typer")
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        for i in range(3):
            run.stdin.write(f"{i}\n")
            run.stdin.flush()
            assert json.loads(run.stdout.readline())["record"] == i + 1
        run.stdout.close()
        run.stdin.write("3\n4\n")
        run.stdin.close()
        assert run.stderr.read() == ""
        assert run.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_sigterm_ends_in_order():
    pytest.importorskip("typer")
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        run.stdin.write("1\n")
        run.stdin.flush()
        assert json.loads(run.stdout.readline())["record"] == 1
        run.terminate()
        assert run.wait() == 0
        assert run.stderr.read() == ""


def test_picture(series):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from rcf.plot import detections

    found = StreamDetector(random_state=0).update_many(series)
    top, bottom = detections(series, found, band=(series - 1, series + 1))
    assert [text.get_text() for text in top.texts] == ["x0 high"]
    assert bottom.get_ylim() == (0.0, 1.0)
    pd = pytest.importorskip("pandas")
    dated = pd.Series(series, pd.date_range("2026-01-01", periods=600, freq="h"), name="load")
    frame = StreamDetector(random_state=0).update_many(dated)
    above, below = detections(dated, frame)
    assert [text.get_text() for text in above.texts] == ["load high"]
    assert above.lines[0].get_xdata()[500] == dated.index[500].to_datetime64()
    for plain, other in zip(top.lines[1:], above.lines[1:], strict=True):
        assert plain.get_ydata().tolist() == other.get_ydata().tolist()
    got, expected = (axes.collections[0].get_paths()[0].vertices[:, 1].tolist() for axes in (below, bottom))
    assert got == expected
    plt.close("all")
    with pytest.raises(ValueError, match="600 detections for 10"):
        detections(series[:10], found)
