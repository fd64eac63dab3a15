"""``rcf hotspots``."""

import json

import numpy as np
import pandas as pd
import pytest

typer = pytest.importorskip("typer")
from typer.testing import CliRunner  # noqa: E402

from rcf.cli.hotspots import hotspots  # noqa: E402
from rcf.hotspots import HotSpots, suggest_radius  # noqa: E402


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 10, size=(5000, 2))
    X[::5] = rng.uniform([4, 7], [5, 8], size=(1000, 2))
    path = tmp_path / "points.csv"
    pd.DataFrame({"name": "a", "x": X[:, 0], "y": X[:, 1]}).to_csv(path, index=False)
    return path


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(hotspots)

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})

    return run


def table(file):
    return pd.read_csv(file)[["x", "y"]].to_numpy()


def test_prints_the_regions(run, file):
    result = run(file, "--columns", "x,y", "--radius", "0.2")
    assert result.exit_code == 0, result.output
    (spot,) = HotSpots(1000, 0.2, 17).update_many(table(file))
    assert "1 region among the last 1000 of 5000 rows; radius 0.2, at least 17 rows" in result.output
    assert f"{spot.min_values[0]:.6g} to {spot.max_values[0]:.6g}" in result.output


def test_json_and_the_suggested_radius(run, file):
    result = run(file, "--json")
    assert result.exit_code == 0, result.output
    (spot,) = json.loads(result.stdout)["hotspots"]
    np.testing.assert_allclose(spot["minValues"], [4, 7], atol=0.25)
    np.testing.assert_allclose(spot["maxValues"], [5, 8], atol=0.25)


def test_a_row_per_record_and_per_change(run, file, tmp_path):
    out, changes, picture = tmp_path / "out.csv", tmp_path / "changes.csv", tmp_path / "end.png"
    result = run(file, "-c", "x,y", "-w", 300, "-r", 0.4, "-m", 8, "-o", out, "--changes", changes, "--plot", picture)
    assert result.exit_code == 0, result.output
    X = table(file)
    spots = HotSpots(300, 0.4, 8)
    records = pd.read_csv(out)
    np.testing.assert_allclose(records[["x", "y"]], X)
    for i in range(1500):
        spots.update(X[i])
        assert records["hotspots"][i] == spots.kinesis_json()
    told = HotSpots(300, 0.4, 8).follow(X)
    lines = pd.read_csv(changes)
    assert list(lines["row"]) == [change.at + 1 for change in told]
    assert list(lines["change"]) == [change.kind for change in told]
    assert list(lines["region"]) == [change.id for change in told]
    assert list(lines["count"]) == [change.count for change in told]
    assert [None if np.isnan(other) else other for other in lines["other"]] == [change.other for change in told]
    assert picture.read_bytes().startswith(b"\x89PNG")
    alone = tmp_path / "alone.csv"
    assert run(file, "-c", "x,y", "-w", 300, "-r", 0.4, "-m", 8, "--changes", alone).exit_code == 0
    assert alone.read_bytes() == changes.read_bytes()


def test_finding_nothing_is_not_an_error(run, tmp_path):
    path = tmp_path / "few.csv"
    path.write_text("x\n1\n2\n3\n")
    result = run(path, "-r", 0.1, "-m", 2, "--changes", tmp_path / "none.csv")
    assert result.exit_code == 0
    assert "0 regions among the last 3 of 3 rows" in result.output
    assert (tmp_path / "none.csv").read_text() == "row,change,region,other,count\n"


def test_fewer_rows_than_a_window_suggest_a_radius_too(run, tmp_path):
    X = np.random.default_rng(1).normal(size=(200, 2))
    path = tmp_path / "few.csv"
    pd.DataFrame(X, columns=["x", "y"]).to_csv(path, index=False)
    result = run(path, "--json", "-m", 10)
    assert result.exit_code == 0, result.output
    spots = HotSpots(1000, suggest_radius(X, 10), 10)
    spots.update_many(X)
    assert json.loads(result.stdout) == json.loads(spots.kinesis_json())
    assert len(spots.hot_spots_) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-r", "-1"], "scan_radius"),
        (["-r", "nan"], "scan_radius"),
        (["-w", "10", "-m", "11", "-r", "1"], "min_points must be at most window_size, 10, got 11"),
        (["-c", "x,z"], "no column 'z'"),
        (["-c", "name"], "row 1, column 'name': 'a' is not a number"),
        (["-o", "o.xlsx"], "the name must end in .csv or .parquet"),
        (["--plot", "end.xyz"], "must end in one of"),
        (["-o", "-", "--json"], "only one of"),
        (["-m", "5001", "-w", "6000"], "at most the number of rows, 5000, got 5001"),
    ],
)
def test_bad_input_gives_one_line_of_error(run, file, arguments, message):
    result = run(file, *arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
    assert result.output.count("\n") == 1


def test_places_on_the_earth(run, tmp_path):
    rng = np.random.default_rng(0)
    X = np.c_[rng.uniform(-18, -17, 1500), 180 + rng.uniform(-0.5, 0.5, 1500)]
    X[::4] = np.array([-17.5, 180.0]) + rng.normal(0, 0.004, size=(375, 2))
    X[:, 1] = np.where(X[:, 1] >= 180, X[:, 1] - 360, X[:, 1])
    path, picture = tmp_path / "pickups.csv", tmp_path / "end.png"
    pd.DataFrame(X, columns=["lat", "lon"]).to_csv(path, index=False)
    result = run(path, "--metric", "haversine", "-r", "800", "-m", "20", "--plot", picture)
    assert result.exit_code == 0, result.output
    spots = HotSpots(1000, 800.0, 20, metric="haversine")
    (spot,) = spots.update_many(pd.read_csv(path).to_numpy())
    assert spot.max_values[1] > 180 > spot.min_values[1]
    assert f"{spot.min_values[1]:.6g} to {spot.max_values[1]:.6g}" in result.output
    assert "radius 800 m" in result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    suggested = json.loads(run(path, "--metric", "haversine", "-m", "20", "--json").stdout)["hotspots"]
    assert len(suggested) == 1
    path.write_text(path.read_text() + "178.5,-17.5\n")
    result = run(path, "--metric", "haversine", "-r", "800")
    assert result.exit_code == 1
    assert "latitude must be between -90 and 90 degrees, got 178.5 (row 1501" in result.output


def test_missing_values_are_filled_on_request(run, tmp_path):
    """The result equals that for a file without missing cells.

    Without --fill, or without a previous value, the error names the row.
    """
    rng = np.random.default_rng(0)
    whole = pd.DataFrame({"x": rng.normal(size=600), "y": rng.normal(size=600)})
    holes = whole.copy()
    holes.loc[[100, 101, 300], "x"] = np.nan
    holes.to_csv(tmp_path / "holes.csv", index=False)
    x = whole["x"].tolist()
    for fill, value in (
        ("zero", [0.0] * 3), ("2.5", [2.5] * 3), ("previous", [x[99], x[99], x[299]]),
        ("linear", [2 * x[99] - x[98], 3 * x[99] - 2 * x[98], 2 * x[299] - x[298]]),
    ):  # fmt: skip
        due = whole.copy()
        due.loc[[100, 101, 300], "x"] = value
        due.to_csv(tmp_path / "due.csv", index=False, float_format="%.17g")
        results = [run(tmp_path / name, "-r", 0.3, "-w", 600, "--json", *more) for name, more in
                   (("holes.csv", ("--fill", fill)), ("due.csv", ()))]  # fmt: skip
        assert [result.exit_code for result in results] == [0, 0]
        for a, b in zip(*(json.loads(result.stdout)["hotspots"] for result in results), strict=True):
            assert a["density"] == pytest.approx(b["density"], rel=1e-12)
            np.testing.assert_allclose(a["minValues"], b["minValues"], rtol=1e-12)
    result = run(tmp_path / "holes.csv", "-r", 0.3)
    assert result.exit_code == 1
    assert "row 101, column 'x': a missing value: replace it with --fill, or leave the row out" in result.output
    holes.loc[0, "y"] = np.nan
    holes.to_csv(tmp_path / "first.csv", index=False)
    result = run(tmp_path / "first.csv", "-r", 0.3, "--fill", "previous")
    assert result.exit_code == 1
    assert (
        "row 1, column 'y': the value is missing, and there is no earlier value to replace it: use --fill zero or a number"
        in result.output
    )
    assert run(tmp_path / "holes.csv", "--fill", "forest").exit_code == 2
