"""``pytest bench``: the time per record of the stream detector. pytest-benchmark compares runs by these names."""

from typing import Any

import pytest

from .cases import BATCH, WARM_UP
from .detectors import CASES, contestant

pytest.importorskip("pytest_benchmark")


@pytest.mark.parametrize("case", CASES)
def test_detector(benchmark: Any, case: str) -> None:
    work = contestant(case)
    at = iter(range(WARM_UP, WARM_UP + 20 * BATCH, BATCH))
    benchmark.extra_info["records"] = BATCH
    benchmark.pedantic(work, setup=lambda: ((next(at),), {}), rounds=18, warmup_rounds=1)
