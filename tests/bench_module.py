"""Loads a file of bench/ that needs nothing else of it: the folder is no part of the package, and may not be on the path."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def of_bench(name):
    """The module bench/NAME.py; skips the tests of a file that asks for it where the folder is not there."""
    file = ROOT / "bench" / f"{name}.py"
    if not file.exists():
        pytest.skip("no bench/ beside tests/", allow_module_level=True)
    spec = importlib.util.spec_from_file_location(f"bench_{name}", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
