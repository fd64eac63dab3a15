"""``rcf export``."""

import numpy as np
import pytest

typer = pytest.importorskip("typer")
from typer.testing import CliRunner  # noqa: E402

import rcf  # noqa: E402
from rcf.cli.export import export  # noqa: E402


@pytest.fixture
def model(tmp_path):
    X = np.random.default_rng(0).normal(size=(100, 2))
    path = tmp_path / "forest.rcf"
    rcf.RandomCutForest(5, 32, random_state=0).fit(X).save(path)
    return path


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(export)

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})

    return run


def test_frozen(run, model, tmp_path):
    result = run(model, "--to", "frozen")
    assert result.exit_code == 0, result.output
    frozen = rcf.load_frozen(tmp_path / "forest.frz")
    X = np.random.default_rng(1).normal(size=(50, 2))
    np.testing.assert_array_equal(frozen.anomaly_score(X), rcf.load(model).anomaly_score(X))
    assert f"forest.frz  {(tmp_path / 'forest.frz').stat().st_size} bytes" in result.output.replace("\n", "")


def test_c(run, model, tmp_path):
    result = run(model, "--to", "c", "-o", tmp_path / "device")
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "device").iterdir()}
    assert names == {"model.frz", "model.c", "rcf_frozen.c", "rcf_frozen.h", "rcf_frozen.mjs"}


def test_onnx(run, model, tmp_path):
    pytest.importorskip("onnx")
    sizes = []
    for options in ([], ["--float32"], ["--attribution"]):
        result = run(model, "--to", "onnx", "-o", tmp_path / "forest.onnx", *options)
        assert result.exit_code == 0, result.output
        sizes.append((tmp_path / "forest.onnx").stat().st_size)
    assert sizes[1] < sizes[0] < sizes[2]


def test_what_cannot_be_exported(run, model, tmp_path):
    rcf.StreamDetector().save(tmp_path / "detector.rcf")
    (tmp_path / "torn.rcf").write_bytes(model.read_bytes()[:100])
    for file, to, text in (
        ("detector.rcf", "frozen", "got StreamDetector"),
        ("torn.rcf", "c", "torn.rcf"),
        ("absent.rcf", "frozen", "No such file"),
    ):
        result = run(tmp_path / file, "--to", to)
        assert result.exit_code == 1
        assert text in result.output
    result = run(model, "--to", "frozen", "-o", tmp_path / "no" / "folder.frz")
    assert (result.exit_code, "No such file" in result.output) == (1, True)
    assert run(model, "--to", "c", "--float32").exit_code == 2
    assert run(model, "--to", "pmml").exit_code == 2
