"""The example for PyFlink. It needs its own environment, because PyFlink requires old versions of numpy and pandas."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_keyed_process_function():
    pytest.importorskip("pyflink", reason="the package apache-flink is not installed")
    example = Path(__file__).parents[2] / "docs" / "examples" / "flink" / "keyed.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "b at 15000" in done.stdout
