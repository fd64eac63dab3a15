"""``rcf detect`` from the outside: its files, its output, its exit code."""

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.progress import Progress

from rcf import RandomCutForest, StreamDetector
from rcf.cli import main
from rcf.cli.ranks import Peaks, Ranks, whole_file
from rcf.cli.trace import Trace
from rcf.datasets import make_series
from rcf.shingle import shingle

pytest.importorskip("typer", reason="the command line needs rcf[cli]")
COMMAND = [sys.executable, "-c", "from rcf.cli import main; main()"]
DATA = Path(os.environ.get("RCF_DATA", Path(__file__).parents[2] / "../shared/data"))


def rcf(*args, stdin=b""):
    """Run the command in this process, because a start takes a second. Returns its exit code and its output as bytes."""
    streams = {"stdin": io.BytesIO(stdin), "stdout": io.BytesIO(), "stderr": io.BytesIO()}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["rcf", *map(str, args)])
        for name, stream in streams.items():
            patch.setattr(sys, name, io.TextIOWrapper(stream, encoding="utf-8", write_through=True))
        with pytest.raises(SystemExit) as end:
            main()
        sys.stdout.flush()
        sys.stderr.flush()
        return SimpleNamespace(
            returncode=end.value.code or 0, stdout=streams["stdout"].getvalue(), stderr=streams["stderr"].getvalue()
        )


@pytest.fixture
def table(tmp_path):
    """2000 rows of two features and a time; row 1500 (from 0) is odd in the second one."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(2000, 2)), columns=["a", "b"])
    frame.loc[1500, "b"] = -12.0
    frame.insert(0, "when", pd.date_range("2026-01-01", periods=2000, freq="5min"))
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    return path


def rows_of(done):
    """The lines of the table as lists of cells."""
    return [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.decode().splitlines() if "│" in line
    ]


def test_without_file_finds_the_known_anomalies():
    done = subprocess.run([*COMMAND, "detect"], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert (
        b"Found 5 of the 5 known anomalies of a synthetic series of 4,800 values, with no false event." in done.stdout
    )


def test_an_event_is_one_line(table):
    """An event keeps the time, column, side and value of its first record."""
    frame = pd.read_csv(table)
    frame.loc[1000:1019, "a"] += 15.0
    frame.to_csv(table, index=False)
    done = rcf("detect", table, "--time", "when")
    assert done.returncode == 0, done.stderr.decode()
    rows = rows_of(done)
    assert len(rows) == 2
    level, spike = sorted(rows, key=lambda cells: cells[0])
    assert level[:2] == ["2026-01-04 11:20:00", "2026-01-04 12:55:00"]
    assert level[2] == f"{frame['a'][1000:1020].max():.6g}"
    assert level[3:5] == ["a high", f"{frame['a'][1000]:.6g}"]
    assert spike[:5] == ["2026-01-06 05:00:00", "2026-01-06 05:00:00", "-12", "b low", "-12"]
    came, expected, severity = map(float, spike[4:])
    assert abs(expected) < 3.0
    assert severity == pytest.approx(expected - came, rel=1e-4)
    assert "2026-01-06 05:00:00: b " in done.stdout.decode()
    assert "2 events in 2,000 rows; the first 64 rows were warm-up, in which nothing is flagged" in done.stdout.decode()


def test_the_side_is_that_of_the_flagged_values():
    """30 values that were 12 too high once had the cause "low", because the forest had learned them before it explained them."""
    x = np.random.default_rng(0).normal(size=1200)
    x[900:930] += 12.0
    done = rcf("detect", "-", stdin=("x\n" + "\n".join(map(str, x))).encode())
    strongest = rows_of(done)[0]
    assert strongest[:2] == ["901", "930"]
    assert strongest[3] == "x high"


def test_noise_is_hardly_ever_flagged(tmp_path):
    """Once, 14 968 of a million rows of noise on a sine were flagged."""
    x = np.sin(np.arange(50_000) / 50) * 10 + np.random.default_rng(0).normal(size=50_000)
    np.savetxt(tmp_path / "x.csv", x, header="x", comments="")
    done = rcf("detect", tmp_path / "x.csv", "--output", tmp_path / "o.csv")
    assert done.returncode == 0
    assert pd.read_csv(tmp_path / "o.csv")["is_anomaly"].sum() <= 15


@pytest.mark.parametrize("form", ["csv", "parquet", "-"])
def test_output_has_the_results_of_the_detector(table, tmp_path, form):
    """The table has gaps in its time stamps and missing cells. Flags, scores and likelihoods are equal, bit for bit."""
    frame = pd.read_csv(table)
    frame.loc[[70, 800, 801], "a"] = np.nan
    frame = frame.drop(index=range(1200, 1203))
    frame.to_csv(table, index=False)
    out = "-" if form == "-" else tmp_path / f"scores.{form}"
    options = ["--shingle", 3, "--method", "codisp", "--trees", 10, "--samples", 128, "--seed", 4, "--fill", "linear"]
    done = rcf("detect", table, "--time", "when", *options, "--anomaly-rate", 0.01, "--output", out)
    assert done.returncode == 0, done.stderr.decode()
    if form == "-":
        (tmp_path / "scores.csv").write_bytes(done.stdout)
    got = pd.read_parquet(out) if form == "parquet" else pd.read_csv(tmp_path / "scores.csv", dtype=str)
    detector = StreamDetector(
        3, method="codisp", n_estimators=10, max_samples=128, fill="linear", anomaly_rate=0.01, random_state=4
    )
    expected = detector.update_many(frame.set_index(pd.to_datetime(frame["when"]))[["a", "b"]])
    flags = got["is_anomaly"].astype(str).str.lower() == "true"
    assert flags.tolist() == expected["is_anomaly"].tolist()
    for name in ("score", "likelihood"):
        assert got[name].map(float).tolist() == expected[name].tolist()
    assert list(got.columns) == [
        "when", "a", "b", "score", "likelihood", "is_anomaly", "event", "cause", "expected", "severity", "reason",
    ]  # fmt: skip
    flagged = got[flags]
    assert 1497 in flagged.index
    assert flagged["cause"][1497] == "b low"
    assert float(flagged["expected"][1497]) == expected["expected_b"].iloc[1497]
    assert got["cause"].notna().sum() == len(flagged)
    assert not list(tmp_path.glob("*.part"))


def hosts(tmp_path, n=1500):
    """A log of two hosts with a row each per minute. Host b has another level and a spike; host c has only ten rows."""
    rng = np.random.default_rng(0)
    load = {"a": rng.normal(20.0, 1.0, n), "b": rng.normal(500.0, 20.0, n)}
    load["b"][1200:1210] = 900.0
    load["a"][1300] = 60.0
    parts = [
        pd.DataFrame({"when": pd.date_range("2026-03-02", periods=n, freq="min"), "host": host, "load": load[host]})
        for host in load
    ]
    parts.append(parts[0][:10].assign(host="c"))
    frame = pd.concat(parts).sort_values("when", kind="stable")
    frame.to_csv(tmp_path / "hosts.csv", index=False)
    return tmp_path / "hosts.csv", frame


def test_a_key_has_a_detector_of_its_own(tmp_path):
    """The results are those of a detector for each host; the table and the sentences name the host."""
    path, frame = hosts(tmp_path)
    done = rcf(
        "detect", path, "--time", "when", "--key", "host", "--output", tmp_path / "o.csv", "--plot", tmp_path / "p.png"
    )
    assert done.returncode == 0, done.stderr.decode()
    assert sorted(cells[:5] for cells in rows_of(done)[:2]) == [
        ["a", "2026-03-02 21:40:00", "2026-03-02 21:40:00", "60", "load high"],
        ["b", "2026-03-02 20:00:00", "2026-03-02 20:09:00", "900", "load high"],
    ]
    out = done.stdout.decode()
    assert "2026-03-02 20:00:00, b: load " in out
    assert " events in 3,010 rows of 3 keys; the first 64 rows of each were warm-up" in out
    assert "1 of the keys has no more rows than that: 'c'" in out
    strongest = rows_of(done)[0][0]
    assert f"the plot shows host {strongest}, which has the strongest event" in done.stderr.decode()
    assert (tmp_path / "p.png").stat().st_size > 1000
    got = pd.read_csv(tmp_path / "o.csv")
    assert (
        got[["when", "host"]].to_numpy().tolist()
        == frame.assign(when=frame["when"].astype(str))[["when", "host"]].to_numpy().tolist()
    )
    for host in "abc":
        own = frame[frame["host"] == host]
        expected = StreamDetector(random_state=0).update_many(own["load"].to_numpy(), own["when"].to_numpy())
        mine = got[got["host"] == host]
        assert mine["score"].tolist() == expected.score.tolist()
        assert mine["is_anomaly"].tolist() == expected.is_anomaly.tolist()
    assert rcf("detect", path, "--time", "when", "--key", "host", "--ranks").returncode == 2
    again = rcf("detect", "-", "--time", "when", "--key", "host", stdin=path.read_bytes())
    assert again.stdout == done.stdout


def test_an_error_of_time_names_the_key(tmp_path):
    path, _ = hosts(tmp_path)
    done = rcf("detect", path, "--time", "when", "--time-order", "strict")
    assert done.returncode == 1
    assert "is the same as 2026-03-02 00:00:00 in the row above; keep one row of each time" in done.stderr.decode()
    lines = path.read_text().splitlines()
    lines[2000], lines[2002] = lines[2002], lines[2000]
    path.write_text("\n".join(lines))
    # the rows go back by a minute, which is allowed because clocks are set back
    assert rcf("detect", path, "--time", "when").returncode == 0
    done = rcf("detect", path, "--time", "when", "--key", "host", "--time-order", "strict")
    assert done.returncode == 1
    assert re.search(
        r"row 2002, column 'when': .* is before .* in the row above of key '[ab]'; sort", done.stderr.decode()
    )


def test_invalid_key_columns(tmp_path):
    path, _ = hosts(tmp_path)
    for options, told in (
        (["--key", "host", "--columns", "host,load"], "column 'host' is both the key and a column to score"),
        (["--key", "when", "--time", "when"], "column 'when' is both the time and the key"),
        (["--key", "machine"], "no column 'machine'; there are 'when', 'host', 'load'"),
    ):
        done = rcf("detect", path, *options)
        assert done.returncode == 1
        assert told in done.stderr.decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rcf.cli.judging.MOST_KEYS", 2)
        done = rcf("detect", path, "--key", "host")
    assert done.returncode == 1
    assert "column 'host' has more than 2 values: is it the one that tells series apart?" in done.stderr.decode()


def test_time_zone_and_longest_step(tmp_path):
    """The options have the effect of the detector's parameters."""
    rng, n = np.random.default_rng(0), 24 * 28
    when = 1.7e9 + 3600.0 * np.arange(n)
    x = 100 + 80 * np.sin(2 * np.pi * np.arange(n) / 24) + rng.normal(0, 3, n)
    x[600:606] = 175.0
    pd.DataFrame({"t": when, "x": x}).to_csv(tmp_path / "hours.csv", index=False)
    for options, params in (
        ([], {}), (["--timezone", "Asia/Kolkata"], {"timezone": "Asia/Kolkata"}), (["--max-step", "7200"], {"max_step": 7200.0})
    ):  # fmt: skip
        done = rcf("detect", tmp_path / "hours.csv", "--time", "t", *options, "--output", tmp_path / "o.csv")
        assert done.returncode == 0, done.stderr.decode()
        found = StreamDetector(random_state=0, **params).update_many(x, when)
        assert pd.read_csv(tmp_path / "o.csv")["likelihood"].tolist() == found.likelihood.tolist()
    done = rcf("detect", tmp_path / "hours.csv", "--time", "t", "--max-step", "60")
    assert done.returncode == 1
    told = "row 2, column 't': 1700003600.0 is more than 60 seconds after 1700000000.0 in the row above; correct it, allow it by"
    assert told in done.stderr.decode()
    for option, value, words in (
        ("--timezone", "Mars", "--timezone must be the name of a time zone"), ("--max-step", "0", "--max-step must be above zero"),
        ("--time-order", "any", "--time-order"),
    ):  # fmt: skip
        done = rcf("detect", tmp_path / "hours.csv", option, value)
        assert done.returncode == 2
        assert words in " ".join(done.stderr.decode().replace("│", " ").split())


@pytest.mark.parametrize("block", [64, 1 << 12])
def test_pieces_do_not_change_the_result(table, tmp_path, monkeypatch, block):
    outputs = []
    for size in (block, 1 << 20):
        monkeypatch.setattr("rcf.cli.csvfile.BLOCK", size)
        outputs.append(rcf("detect", table, "--time", "when", "--trees", 10, "--output", "-").stdout)
    assert outputs[0] == outputs[1] != b""


def test_a_file_with_fewer_rows_than_the_warm_up(tmp_path):
    """The rows are judged by a forest that was fitted to all of them, and the output says so."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"day": pd.date_range("2026-01-01", periods=40), "a": rng.normal(size=40), "b": rng.normal(size=40)}
    )
    frame.loc[17, "b"] = 30.0
    frame.loc[20, "a"] = np.nan
    frame.to_csv(tmp_path / "few.csv", index=False)
    done = rcf("detect", tmp_path / "few.csv", "--time", "day", "--top", 3, "--output", tmp_path / "o.csv")
    assert done.returncode == 0, done.stderr.decode()
    first, *others = rows_of(done)
    assert first[0] == "2026-01-18"
    assert first[2:5] == ["yes", "b high", "30"]
    assert [cells[2] for cells in others] == ["no", "no"]
    assert (
        b"1 of 40 rows flagged; these are no more than the 64 rows of the warm-up, so a forest was fitted"
        in done.stdout
    )
    got = pd.read_csv(tmp_path / "o.csv")
    assert np.flatnonzero(got["is_anomaly"]).tolist() == [17]
    assert got["score"].idxmax() == 17
    frame.iloc[np.r_[:40, :25]].reset_index(drop=True).drop(columns="day").to_csv(tmp_path / "more.csv", index=False)
    assert b"in 65 rows; the first 64 rows were warm-up" in rcf("detect", tmp_path / "more.csv").stdout


def test_few_normal_rows_are_seldom_flagged():
    rng = np.random.default_rng(0)
    flagged = sum(
        whole_file(RandomCutForest(2, 4, random_state=0), rng.normal(size=(20, 1))).flags.any() for _ in range(200)
    )
    assert flagged == 0
    assert not whole_file(RandomCutForest(2, 4, random_state=0), np.array([[0.0], [1.0], [100.0]])).flags.any()


def test_parquet_and_csv_give_the_same_result(table, tmp_path):
    pd.read_csv(table).to_parquet(tmp_path / "table.parquet")
    a = rcf("detect", table, "--trees", 10)
    b = rcf("detect", tmp_path / "table.parquet", "--trees", 10)
    c = rcf("detect", "-", "--trees", 10, stdin=table.read_bytes())
    assert a.stdout == b.stdout == c.stdout
    assert a.returncode == b.returncode == c.returncode == 0


def test_version():
    from rcf import __version__

    done = rcf("--version")
    assert (done.returncode, done.stdout.decode()) == (0, f"rcf {__version__}\n")


def test_the_demonstration_can_be_kept(tmp_path):
    done = rcf("detect", "--output", tmp_path / "made_up.csv")
    assert done.returncode == 0
    kept, series = pd.read_csv(tmp_path / "made_up.csv"), make_series()
    np.testing.assert_array_equal(kept["value"], series.values)
    for first, after in series.anomalies:
        assert kept["event"][first:after].notna().any()
    evening = kept[kept["is_anomaly"]].iloc[0]  # the first anomaly is an evening without its peak of about 60
    assert evening["cause"] == "value low"
    assert evening["expected"] > 40


def test_times_that_are_numbers(tmp_path):
    """Numbers of any size are accepted; a cell that is not a number is named."""
    frame = pd.DataFrame({"t": np.arange(800) * 0.5 + 3, "v": np.sin(np.arange(800) / 4)})
    frame.to_csv(tmp_path / "even.csv", index=False)
    arguments = ["--time", "t", "--shingle", 4, "--trees", 5, "--top", 1]
    done = rcf("detect", tmp_path / "even.csv", *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    frame.loc[600, "t"] = np.nan
    frame.to_csv(tmp_path / "hole.csv", index=False)
    done = rcf("detect", tmp_path / "hole.csv", *arguments)
    assert done.returncode == 1
    assert b"hole.csv: row 601, column 't': '' is not a time" in done.stderr


def test_columns_by_name(table):
    done = rcf("detect", table, "--columns", "b", "--trees", 10, "--top", 1)
    assert done.returncode == 0
    assert rows_of(done)[0][3] == "b low"


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_plot(table, tmp_path, kind):
    path = tmp_path / f"picture.{kind}"
    assert rcf("detect", table, "--time", "when", "--trees", 10, "--plot", path).returncode == 0
    assert path.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml"}[kind])


def test_no_progress_bar_and_no_colour_without_a_terminal(table):
    done = rcf("detect", table, "--columns", "a,b", "--trees", 10)
    assert done.stderr == b""
    assert b"\x1b" not in done.stdout


def test_memory_does_not_grow_with_the_file(tmp_path):
    """A much longer file has the same peak memory, within a few pieces of the file."""
    script = (
        "import resource, sys; from rcf.cli import main; sys.argv = ['rcf', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    peaks = []
    for n in (40_000, 300_000):
        path = tmp_path / f"{n}.csv"
        pd.DataFrame(np.random.default_rng(0).normal(size=(n, 4)).round(3)).add_prefix("x").to_csv(path, index=False)
        arguments = ["detect", str(path), "--trees", "2", "--samples", "16", "--plot", str(tmp_path / "p.png")]
        arguments += ["--output", str(tmp_path / "o.csv")]
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stderr.split()[-1]) / 1024)
    # the numbers of the longer file take 10 MB, and 20 MB with scores and output
    assert peaks[1] - peaks[0] < 12


# ---- what goes wrong ---------------------------------------------------------------------------------------------


def bad(tmp_path, text, *args, name="bad.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = rcf("detect", path, *args)
    assert done.returncode == 1, done.stdout
    assert b"Traceback" not in done.stderr
    message = done.stderr.decode()
    assert name in message
    assert not list(tmp_path.glob("*.part"))
    return message


def test_missing_file(tmp_path):
    done = rcf("detect", tmp_path / "none.csv")
    assert done.returncode == 1
    assert "none.csv: No such file or directory" in done.stderr.decode()


def test_time_that_goes_back(table, tmp_path):
    """The time goes back within a piece of the file, or at the border of two pieces. The error shows the stamps as they are in the
    file.
    """
    frame = pd.concat([pd.read_csv(table)] * 3, ignore_index=True)
    frame["when"] = pd.date_range("2026-01-01", periods=6000, freq="5min").strftime("%d %b %Y %H:%M")
    for row in (700, 4096):
        bad = frame.copy()
        bad.loc[row, "when"] = "31 Dec 2025 12:00"
        bad.to_csv(tmp_path / "bad.csv", index=False)
        done = rcf("detect", tmp_path / "bad.csv", "--time", "when", "--trees", 2, "--output", tmp_path / "o.csv")
        assert (done.returncode, done.stdout) == (1, b"")
        told = f"bad.csv: row {row + 1}, column 'when': 31 Dec 2025 12:00 is before {frame['when'][row - 1]} in the row above; sort"
        assert told in done.stderr.decode()
        assert not (tmp_path / "o.csv").exists()
        assert rcf("detect", tmp_path / "bad.csv", "--trees", 2).returncode == 0


def test_equal_times_and_a_clock_that_is_set_back(tmp_path):
    """Exports in local time repeat an hour in autumn, and logs repeat seconds. The flags are those of the detector."""
    when = pd.date_range("2025-10-20", periods=1440, freq="10min", tz="Europe/Berlin")
    local = when.tz_localize(None)  # 02:00 to 02:50 of 26 October come twice
    assert (np.diff(local) < np.timedelta64(0)).sum() == 1
    values = np.random.default_rng(0).normal(size=1440)
    values[900] = 12.0
    stamps = local.to_numpy(copy=True)
    stamps[500] = stamps[499]
    pd.DataFrame({"t": stamps, "v": values}).to_csv(tmp_path / "local.csv", index=False)
    done = rcf("detect", tmp_path / "local.csv", "--time", "t", "--output", tmp_path / "o.csv")
    assert done.returncode == 0, done.stderr.decode()
    expected = StreamDetector(random_state=0).update_many(values, stamps)
    got = pd.read_csv(tmp_path / "o.csv")
    assert np.flatnonzero(got["is_anomaly"]).tolist() == expected.anomalies.tolist()
    assert 900 in expected.anomalies
    pd.DataFrame({"t": when, "v": values}).to_csv(tmp_path / "zoned.csv", index=False)
    done = rcf("detect", tmp_path / "zoned.csv", "--time", "t", "--output", tmp_path / "o.csv")
    assert done.returncode == 0, done.stderr.decode()
    expected = StreamDetector(random_state=0).update_many(values, when)
    assert np.flatnonzero(pd.read_csv(tmp_path / "o.csv")["is_anomaly"]).tolist() == expected.anomalies.tolist()


@pytest.mark.parametrize("name", ["when", None])
def test_the_index_of_a_frame_in_parquet(table, tmp_path, name):
    """The index can be the time, like any column. It is never scored."""
    pd.read_csv(table, parse_dates=["when"], index_col="when").rename_axis(name).to_parquet(tmp_path / "t.parquet")
    arguments = ["--time", name or "__index_level_0__", "--trees", 10, "--top", 3]
    done = rcf("detect", tmp_path / "t.parquet", *arguments)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == rcf("detect", table, "--time", "when", *arguments[2:]).stdout
    pd.read_csv(table).set_index(pd.Index(np.arange(2000) ** 2, name="id")).to_parquet(tmp_path / "n.parquet")
    assert rcf("detect", tmp_path / "n.parquet", "--trees", 10).stdout == rcf("detect", table, "--trees", 10).stdout


def test_missing_column(tmp_path):
    assert "no column 'v'; there are 'a', 'b'" in bad(tmp_path, "a,b\n1,2\n", "--columns", "v")
    assert "no column 't'" in bad(tmp_path, "a,b\n1,2\n", "--time", "t")


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("x", "'x' is not a number"),
        ("1%", "'1%' is a percentage: leave the % sign out"),
        ("inf", "not a finite number"),
    ],
)
def test_bad_cell(tmp_path, cell, what):
    rows = [f"{i},{i % 7}" for i in range(5000)]
    rows[4500] = f"4500,{cell}"
    message = bad(tmp_path, "a,b\n" + "\n".join(rows), "--columns", "b", "--output", tmp_path / "o.csv", "--trees", 5)
    assert "row 4501, column 'b'" in message
    assert what in message
    assert not (tmp_path / "o.csv").exists()


def test_bad_time(tmp_path):
    assert "row 2, column 't': 'noon-ish' is not a time" in bad(
        tmp_path, "t,a\n2026-01-01,1\nnoon-ish,2\n", "--time", "t"
    )


def test_time_that_is_also_scored(table):
    done = rcf("detect", table, "--time", "a", "--columns", "a")
    assert done.returncode == 1
    assert b"both the time and a column" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_progress_bar_on_a_terminal(table):
    import pty

    ours, theirs = pty.openpty()
    command = [*COMMAND, "detect", str(table), "--trees", "20"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # closed at the other end
                break
            if not piece:
                break
            shown += piece
        assert process.wait(60) == 0
    os.close(ours)
    assert b"100 %, 2,000 rows" in shown


def test_wrong_encoding(tmp_path):
    text = "größe,wert\n1,2\n".encode("latin-1")
    assert "not utf-8" in bad(tmp_path, text)
    assert "turn it into CSV or Parquet" in bad(tmp_path, b"PK\x03\x04\xff\xfe\x00", name="bad.xlsx")
    assert "unknown encoding: nonsense" in bad(tmp_path, text, "--encoding", "nonsense")
    (tmp_path / "ok.csv").write_bytes(text)
    done = rcf("detect", tmp_path / "ok.csv", "--encoding", "latin-1", "--columns", "größe")
    assert done.returncode == 0


@pytest.mark.parametrize(
    "args",
    [
        ["--method", "best"],
        ["--trees", "0"],
        ["--shingle", "0"],
        ["--seed", "-1"],
        ["--fill", "mean"],
        ["--transform", "zz"],
        ["--anomaly-rate", "2"],
        ["--top", "x"],
        ["--what"],
    ],
)
def test_wrong_arguments(table, args):
    done = rcf("detect", table, *args)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_plot_is_refused_before_the_work(table, tmp_path):
    for path in (tmp_path / "p.xyz", tmp_path / "none" / "p.png"):
        done = rcf("detect", table, "--plot", path)
        assert done.returncode == 1
        assert done.stdout == b""
        assert b"--plot" in done.stderr


def test_a_plot_that_cannot_be_written(table, tmp_path):
    """The anomalies are printed nevertheless."""
    (tmp_path / "p.png").mkdir()
    done = rcf("detect", table, "--trees", 5, "--plot", tmp_path / "p.png")
    assert done.returncode == 1
    assert b"event in 2,000 rows" in done.stdout
    assert b"p.png: Is a directory" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "option"), [("detect", "--output"), ("hotspots", "--output"), ("hotspots", "--changes")]
)
def test_output_is_refused_before_the_work(tmp_path, command, option):
    """The input file is not even opened."""
    for name, message in (
        ("o.xlsx", "o.xlsx: the name must end in .csv or .parquet; - writes CSV to standard output"),
        ("none/o.csv", "none/o.csv: no such folder"),
    ):
        done = rcf(command, tmp_path / "none.csv", option, tmp_path / name)
        assert (done.returncode, done.stdout) == (1, b"")
        told = done.stderr.decode()
        assert told.startswith(f"rcf {command}: {option} ")
        assert told.strip().endswith(message)


def test_output_that_cannot_be_written(table, tmp_path):
    (tmp_path / "o.csv.part").mkdir()
    done = rcf("detect", table, "--trees", 5, "--output", tmp_path / "o.csv")
    assert done.returncode == 1
    assert b"o.csv: Is a directory" in done.stderr
    assert b"Traceback" not in done.stderr


def test_commands_share_the_names_of_options():
    """Options that two commands share have the same short form, and a letter has the same meaning in all commands."""
    found = {}
    for command in ("detect", "stream", "hotspots"):
        shown = rcf(command, "--help").stdout.decode()
        found[command] = set(re.findall(r"^│ +(--[\w-]+) +(?:--no-[\w-]+ +)?(-\w)? ", shown, re.MULTILINE))
    times = Counter(option for options in found.values() for option in options)
    common = {("--columns", "-c"): 3, ("--time", "-t"): 2, ("--shingle", "-s"): 2, ("--trees", ""): 2, ("--samples", ""): 2,
              ("--seed", ""): 2, ("--output", "-o"): 2, ("--plot", ""): 2,
              ("--encoding", ""): 2, ("--sep", ""): 3, ("--decimal", ""): 3, ("--header", ""): 3, ("--time-format", ""): 2,
              ("--anomaly-rate", ""): 2, ("--fill", ""): 3, ("--transform", ""): 2, ("--method", ""): 2,
              ("--key", "-k"): 2, ("--timezone", ""): 2, ("--time-order", ""): 2, ("--max-step", ""): 2,
              ("--help", ""): 3}  # fmt: skip
    assert {option: n for option, n in times.items() if n > 1} == common
    assert max(Counter(letter for _, letter in times if letter).values()) == 1
    assert max(Counter(name for name, _ in times).values()) == 1


@pytest.mark.parametrize("columns", [["--columns", "a,b"], ["-c", "a", "-c", "b"], ["--columns", "a, b"]])
def test_columns_with_commas_or_one_by_one(table, columns):
    assert rcf("detect", table, *columns, "--trees", 10).stdout == rcf("detect", table, "--trees", 10).stdout


def test_a_name_with_a_comma(table, tmp_path):
    pd.read_csv(table).rename(columns={"b": "b, in mm"}).to_csv(tmp_path / "comma.csv", index=False)
    done = rcf("detect", tmp_path / "comma.csv", "--columns", 'a, "b, in mm"', "--trees", 10, "--top", 1)
    assert done.returncode == 0, done.stderr.decode()
    assert "b, in mm low" in done.stdout.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_broken_pipe(tmp_path):
    pd.DataFrame({"a": np.arange(60_000) % 17}).to_csv(tmp_path / "a.csv", index=False)
    command = f"{sys.executable} -c 'from rcf.cli import main; main()' detect {tmp_path}/a.csv --trees 5 --output - | head -n 2"
    done = subprocess.run(["bash", "-c", command + "; echo ${PIPESTATUS[0]}"], capture_output=True, timeout=120)
    assert done.stdout.splitlines()[0] == b"a,score,likelihood,is_anomaly,event,cause,expected,severity,reason"
    assert done.stdout.splitlines()[-1] == b"1"
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_missing_extra_gives_one_line_of_error():
    script = "import sys; sys.modules['typer'] = None; from rcf.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert done.returncode == 1
    assert b"rcf[cli,plot]" in done.stderr
    assert b"Traceback" not in done.stderr


# ---- the taxi series -----------------------------------------------------------------------------------------------


def test_taxi_events_are_among_the_strongest(tmp_path):
    """The anomalies are ranked by the displacement of windows of a day."""
    path = DATA / "nab/data/realKnownCause/nyc_taxi.csv"
    if not path.exists():
        pytest.skip(f"no taxi series under {DATA} (set RCF_DATA)")
    windows = json.loads((DATA / "nab/labels/combined_windows.json").read_text())["realKnownCause/nyc_taxi.csv"]
    done = rcf(
        "detect", path, "--time", "timestamp", "--shingle", 48, "--ranks", "--method", "displacement", "--trees", 100,
        "--plot", tmp_path / "taxi.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    starts = [pd.Timestamp(cells[0]) for cells in rows_of(done)]
    assert len(starts) == 15
    for first, last in windows:
        assert any(pd.Timestamp(first) - pd.Timedelta("1D") <= start <= pd.Timestamp(last) for start in starts)
    assert (tmp_path / "taxi.png").stat().st_size > 20_000


# ---- the parts -----------------------------------------------------------------------------------------------------


def brute_force_peaks(scores, size, top):
    """Window by window: a weaker overlapping window joins the peak, a stronger one replaces it, and any other starts a new peak."""
    events = []
    for row, score in enumerate(scores):
        if events and row - events[-1][1] < size:
            if score > events[-1][0]:
                events[-1] = (score, row)
        else:
            events.append((score, row))
    return sorted(events, key=lambda event: -event[0])[:top]


@pytest.mark.parametrize("top", [6, 1000])
@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_peaks_do_not_overlap_and_do_not_depend_on_the_pieces(cut, top):
    scores = np.random.default_rng(0).exponential(size=1000)
    events = Peaks(20, top)
    for start in range(0, 1000, cut):
        events.add(start, scores[start : start + cut])
    got = [(event.score, event.row) for event in events.strongest()]
    assert got == brute_force_peaks(scores, 20, top)
    rows = sorted(row for _, row in got)
    assert min(np.diff(rows)) >= 20
    assert got[0][0] == scores.max()


@pytest.mark.parametrize("size", [1, 4])
def test_ranks_ask_for_causes_before_a_window_is_learned(size):
    """The causes are those of a forest that learns one window at a time. The side is that of the record with the largest part."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(900, 2))
    x[600:610] += [9.0, 0.0]
    ranks = Ranks(RandomCutForest(10, 64, random_state=0), size, 8)
    scores = [ranks.feed(x[i : i + 131])[0] for i in range(0, 900, 131)]
    forest = RandomCutForest(10, 64, random_state=0)
    expected, parts = [np.nan] * (size - 1), {}
    for i, window in enumerate(shingle(x, size)):
        parts[i + size - 1] = forest.attribution(window[np.newaxis])[0] if i else None
        expected.append(forest.update(window))
    np.testing.assert_array_equal(np.concatenate(scores), expected)
    assert len(ranks.peaks.strongest()) == 8
    for peak in ranks.peaks.strongest():
        told = parts[peak.row].reshape(size, 2, 2)
        np.testing.assert_allclose(peak.attribution, told, rtol=1e-12)
        feature, lag, side = peak.cause()
        place = told[size - 1 - lag]
        assert place[feature].sum() == told.sum(axis=2).max()
        assert side == ("high" if place[feature, 0] >= place[feature, 1] else "low")
        assert peak.came == x[peak.row - lag, feature]
    told = [(*peak.cause()[::2], peak.came > 5) for peak in ranks.peaks.strongest() if 600 <= peak.row < 610 + size]
    assert (0, "high", True) in told


def test_trace_keeps_extremes_and_little_else():
    rng = np.random.default_rng(2)
    values, scores = rng.normal(size=(100_000, 2)), rng.exponential(size=100_000)
    trace = Trace(bins=100)
    for i in range(0, 100_000, 1000):
        part = slice(i, i + 1000)
        trace.add(np.arange(i, i + 1000), np.arange(i, i + 1000.0), values[part], scores[part], scores[part] > 8)
    kept = trace.rows()
    assert len(kept) <= 100 * 4 * 2
    assert (np.diff(kept["row"]) > 0).all()
    assert kept["score"].max() == scores.max()
    np.testing.assert_array_equal(kept["value"].max(axis=0), values.max(axis=0))
    np.testing.assert_array_equal(kept["value"].min(axis=0), values.min(axis=0))
    np.testing.assert_array_equal(kept["score"], scores[kept["row"]])


def test_synthetic_series():
    series = make_series()
    again = make_series()
    np.testing.assert_array_equal(series.values, again.values)
    assert (series.values != make_series(random_state=1).values).any()
    assert (series.anomalies[:, 0] < series.anomalies[:, 1]).all()
    assert (series.anomalies[1:, 0] > series.anomalies[:-1, 1] + 48).all()
    with pytest.raises(ValueError, match="at least 30"):
        make_series(3)


def test_the_progress_is_the_share_of_the_bytes(tmp_path, monkeypatch):
    """Also if rows become longer. It never goes back, and 100 % is the end."""
    cells = [f"{value:.1f}" for value in np.random.default_rng(0).normal(size=20_000)]
    cells[10_000:] = [cell + "0" * 10 for cell in cells[10_000:]]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["x", *cells, ""]))
    ends, size = np.cumsum([2, *(len(cell) + 1 for cell in cells)]), path.stat().st_size
    seen = []

    class Watched(Progress):
        def update(self, task, **fields):
            super().update(task, **fields)
            seen.append((fields["completed"], fields["rows"], self.columns[1].render(self.tasks[0]).plain))

    monkeypatch.setattr("rcf.cli.detect.Progress", Watched)
    monkeypatch.setattr("rcf.cli.csvfile.BLOCK", 1 << 13)
    monkeypatch.setattr("rcf.cli.tables.ROWS", 100)
    assert rcf("detect", path, "--trees", "2", "--samples", "16").returncode == 0
    shares, rows, told = zip(*seen, strict=True)
    assert len(shares) >= 200
    assert (
        np.abs(np.array(shares) - ends[list(rows)] / size).max() < (1 << 13) / size
    )  # by less than the block that is read
    assert list(shares) == sorted(shares)
    assert (shares[-1], told[-1]) == (1.0, "100 %, 20,000 rows")
    assert not any(text.startswith("100") for text in told[:-1])
    assert told[-2].startswith("99 %, 19,9")
