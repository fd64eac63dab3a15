"""Loads single files of bench/, because that folder is not part of the package and may not be on the path."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def of_bench(name):
    """The module bench/NAME.py. If the folder does not exist, the tests of the calling file are skipped."""
    file = ROOT / "bench" / f"{name}.py"
    if not file.exists():
        pytest.skip("no bench/ beside tests/", allow_module_level=True)
    spec = importlib.util.spec_from_file_location(f"bench_{name}", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module in sys.modules
    spec.loader.exec_module(module)
    return module
