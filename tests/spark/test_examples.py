"""The examples of docs/examples/spark, in the session of the tests; test_stream.py runs stream.py."""

import runpy
from pathlib import Path

import pytest

pytest.importorskip("pyspark", reason="the package pyspark is not installed")

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "spark"


@pytest.mark.parametrize("name", ["pipeline", "per_key", "digits"])
def test_the_example_prints_what_it_says(spark, name, capsys):
    runpy.run_path(str(EXAMPLES / f"{name}.py"))
    assert capsys.readouterr().out
