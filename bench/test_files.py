"""``pytest bench``: the time to write and to read a model file. pytest-benchmark compares runs by these names."""

from collections.abc import Callable
from typing import Any

import pytest

from .files import CASES, SETTING, ours

pytest.importorskip("pytest_benchmark")


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[], Any]]:
    return ours(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("case", [f"{case}-{SETTING}" for case in CASES])
def test_file(benchmark: Any, operations: dict[str, Callable[[], Any]], case: str) -> None:
    benchmark.extra_info["bytes"] = len(operations["to_bytes"]())
    benchmark.pedantic(operations[case.split("-")[0]], rounds=20, warmup_rounds=2)
