"""Finds data files that are not part of the repository."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest


def path(*parts):
    """A file below RCF_DATA, or below ../shared/data beside the checkout. Skips the test if it does not exist."""
    root = os.environ.get("RCF_DATA") or Path(__file__).parents[2] / "shared" / "data"
    found = Path(root, *parts)
    if not found.exists():
        pytest.skip(f"no {Path(*parts)} in RCF_DATA nor in ../shared/data beside the checkout")
    return found


def columns(file, *names):
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [np.array([row[name] for row in rows]).astype(float if name != "timestamp" else str) for name in names]
