"""Measures speed. All contestants run in turn for several rounds, in one process (A B A B ...).

A temporary slow-down of the machine affects all contestants alike, and medians over the rounds remove outliers. Ratios use
CPU time, or wall time where threads are compared.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from .cases import BATCH, FROZEN, Case, Setting, stream
from .peers import Peer, can

Contestants = Mapping[str, Callable[..., Peer]]
Record = dict[str, Any]
SPARE = 20_000  # records of the stream after the warm-up; they are repeated


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall time and of CPU time."""
    gc.collect()
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return time.perf_counter() - wall, time.process_time() - cpu
    finally:
        gc.enable()


def warmed(setting: Setting, make: Callable[..., Peer]) -> Peer:
    """A forest that has learned the warm-up of its stream."""
    model = make(setting.trees, setting.samples, setting.features, setting.decay, seed=1)
    records = stream(setting, setting.warm_up + SPARE)[: setting.warm_up]
    if model.fifo:
        records = records[-2 * setting.samples :]
    model.learn(model.prepare(records))  # type: ignore[attr-defined]
    return model


class Turn:
    """One contestant's turn: `calls` calls with `size` records each, starting where its last turn ended."""

    def __init__(self, model: Peer, operation: str, records: Any, seconds: float) -> None:
        self.model, self.operation, self.records, self.at = model, operation, records, 0
        self.size = {"update_one": 20, "update_batch": BATCH, "score": FROZEN}[operation]
        if model.loops:
            self.size = 20
            if operation == "update_batch":
                self.operation = "update_one"
        once = timed(lambda: self.calls(1, self.size))[0]
        self.number = max(1, min(round(seconds / once), SPARE // self.size))

    def calls(self, number: int, size: int) -> None:
        work = getattr(self.model, self.operation)
        for _ in range(number):
            if self.at + size > len(self.records):
                self.at = 0
            work(self.records[self.at : self.at + size])
            self.at += size

    def take(self) -> Record:
        wall, cpu = timed(lambda: self.calls(self.number, self.size))
        return {"records": self.number * self.size, "wall": wall, "cpu": cpu}


def run_streaming(
    setting: Setting, operations: list[str], contestants: Contestants, rounds: int, seconds: float
) -> Iterator[Record]:
    """Time each operation on forests that have learned the warm-up. A turn takes about `seconds`."""
    models = {name: warmed(setting, make) for name, make in contestants.items()}
    spare = stream(setting, setting.warm_up + SPARE)[setting.warm_up :]
    prepared = {name: model.prepare(spare) for name, model in models.items()}
    for operation in operations:
        turns = {
            name: Turn(model, operation, prepared[name], seconds)
            for name, model in models.items()
            if operation != "score" or can(type(model), "score")
        }
        for number in range(rounds):
            for name, turn in turns.items():
                yield {"case": Case(operation, setting).name, "peer": name, "round": number, **turn.take()}


def run_fitted(setting: Setting, contestants: Mapping[str, type[Peer]], rounds: int) -> Iterator[Record]:
    """Time `fit` and then `score_fitted` on all records."""
    X = stream(setting, setting.warm_up)
    able = {name: make for name, make in contestants.items() if can(make, "fit")}
    prepared: dict[str, Any] = {}
    for number in range(rounds):
        for name, make in able.items():
            model = make(setting.trees, setting.samples, setting.features, 0.0, seed=number)
            if name not in prepared:
                prepared[name] = model.prepare(X)
            for operation, work in (("fit", model.fit), ("score_fitted", model.score)):  # type: ignore[attr-defined]
                wall, cpu = timed(partial(work, prepared[name]))
                yield {
                    "case": Case(operation, setting).name,
                    "peer": name,
                    "round": number,
                    "records": len(X),
                    "wall": wall,
                    "cpu": cpu,
                }


def latencies(
    setting: Setting, contestants: Contestants, calls: int
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Microseconds of wall time of each single update. The contestants take turns of 200 calls."""
    models = {name: warmed(setting, make) for name, make in contestants.items()}
    spare = stream(setting, setting.warm_up + SPARE)[setting.warm_up :]
    prepared = {name: model.prepare(spare) for name, model in models.items()}
    times: dict[str, list[int]] = {name: [] for name in models}
    clock = time.perf_counter_ns
    gc.disable()
    for begin in range(0, min(calls, SPARE), 200):
        for name, model in models.items():
            one = model.one  # type: ignore[attr-defined]
            for x in prepared[name][begin : begin + 200]:
                start = clock()
                one(x)
                times[name].append(clock() - start)
    gc.enable()
    return {name: np.array(values) / 1e3 for name, values in times.items()}


def summary(measured: pd.DataFrame, by: str = "cpu") -> pd.DataFrame:
    """The median rate over the rounds in records per second, and its spread, for each case and contestant."""
    rates = measured.assign(rate=measured["records"] / measured[by], wall_rate=measured["records"] / measured["wall"])
    grouped = rates.groupby(["case", "peer"], sort=False)
    table = grouped.agg(
        rate=("rate", "median"),
        low=("rate", lambda r: r.quantile(0.25)),
        high=("rate", lambda r: r.quantile(0.75)),
        wall_rate=("wall_rate", "median"),
        rounds=("rate", "size"),
    )
    return table.reset_index()
