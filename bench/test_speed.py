"""``pytest bench``: the speed of rcf, case by case. pytest-benchmark compares runs by these names."""

from typing import Any

import pytest

from .cases import BATCH, FITTED, FROZEN, STREAMING, Case, Setting, stream
from .peers import Rcf
from .speed import SPARE, warmed

pytest.importorskip("pytest_benchmark")


@pytest.fixture(scope="module")
def models() -> dict[Setting, Any]:
    return {}


@pytest.mark.parametrize("case", STREAMING, ids=lambda case: case.name)
def test_speed(benchmark: Any, models: dict[Setting, Any], case: Case) -> None:
    setting = case.setting
    if setting not in models:
        models.clear()  # one case at a time, to save memory
        models[setting] = warmed(setting, Rcf)
    model = models[setting]
    records = stream(setting, setting.warm_up + SPARE)[setting.warm_up :]
    size = {"update_one": BATCH, "update_batch": BATCH, "score": FROZEN}[case.operation]
    parts = iter(range(0, 1_000_000, size))

    def part() -> tuple[tuple[Any], dict[str, Any]]:
        at = next(parts) % SPARE
        return (records[at : at + size],), {}

    benchmark.extra_info["records"] = size
    scores = benchmark.pedantic(getattr(model, case.operation), setup=part, rounds=20, warmup_rounds=2)
    assert (scores > 0).all()


@pytest.mark.parametrize("case", FITTED, ids=lambda case: case.name)
def test_table(benchmark: Any, case: Case) -> None:
    setting = case.setting
    X = stream(setting, setting.warm_up)
    model = Rcf(setting.trees, setting.samples, setting.features, 0.0, seed=1)
    benchmark.extra_info["records"] = len(X)
    if case.operation == "fit":
        benchmark.pedantic(model.fit, (X,), rounds=5)
    else:
        model.fit(X)
        scores = benchmark.pedantic(model.score, (X,), rounds=1)
        assert (scores > 0).all()
