"""``pytest bench``: scores as visitors and by the core. pytest-benchmark compares runs by these names."""

from typing import Any

import numpy as np
import pytest

from .cases import FROZEN, Floats
from .walks import CASES, frozen, visitor

pytest.importorskip("pytest_benchmark")
pytest.importorskip("numba")


@pytest.fixture(scope="module")
def forests() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("who", ["core", "walk"])
@pytest.mark.parametrize("case", CASES)
def test_walk(benchmark: Any, forests: dict[str, tuple[Any, Floats]], case: str, who: str) -> None:
    kind, features = case.split("-T100-S256-d")
    if features not in forests:
        forests[features] = frozen(int(features))
    forest, rows = forests[features]
    expected, own = forest.anomaly_score(rows, kind), visitor(kind)
    benchmark.extra_info["records"] = FROZEN
    if who == "core":
        found = benchmark.pedantic(forest.anomaly_score, (rows, kind), rounds=5, warmup_rounds=1)
    else:
        found = benchmark.pedantic(forest.walk, (rows, own), rounds=5, warmup_rounds=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
