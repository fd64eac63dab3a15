"""The error if the extra is not installed; this file runs without pyspark."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("missing", ["pyspark", "pyarrow", "pandas"])
def test_the_extra_is_named(missing):
    code = f"import sys; sys.modules[{missing!r}] = None\nimport rcf.spark"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: rcf.spark needs pyspark >= 4.1, pyarrow and pandas")
    assert 'pip install "rcf[spark]"' in done.stderr.splitlines()[-1]
