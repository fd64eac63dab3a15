"""The cases: operations and streams. Their names are permanent, so that results can be compared over years."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WARM_UP = 20_000  # records that a forest has learned before it is measured
BATCH = 1_000  # records per call of update_batch
FROZEN = 10_000  # records scored by a forest that does not learn


def waves(n: int, channels: int, shingle: int, seed: int = 0) -> Floats:
    """n windows of `shingle` records of noisy, phase-shifted waves, as a plain matrix (n, shingle * channels)."""
    rng = np.random.default_rng(seed)
    t = np.arange(n + shingle - 1)[:, None] + 17.0 * np.arange(channels)
    series = 10.0 * np.sin(2 * np.pi * t / 100) + 3.0 * np.sin(2 * np.pi * t / 37) + rng.normal(size=t.shape)
    windows = np.lib.stride_tricks.sliding_window_view(series, shingle, axis=0)
    return np.ascontiguousarray(windows.transpose(0, 2, 1).reshape(n, -1))


def clusters(n: int, features: int, seed: int = 0) -> Floats:
    """n records of ten normal clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=5.0, size=(10, features))
    return centres[rng.integers(10, size=n)] + rng.normal(size=(n, features))


@dataclass(frozen=True)
class Setting:
    """A forest and the stream that it learns."""

    shape: str  # "1x48": one channel, shingles of 48; "d10": ten plain features
    trees: int = 100
    samples: int = 256
    warm_up: int = WARM_UP

    @property
    def features(self) -> int:
        if self.shape.startswith("d"):
            return int(self.shape[1:])
        channels, shingle = self.shape.split("x")
        return int(channels) * int(shingle)

    @property
    def decay(self) -> float:
        return 1.0 / (10 * self.samples)

    def stream(self, n: int) -> Floats:
        if self.shape.startswith("d"):
            return clusters(n, self.features)
        channels, shingle = map(int, self.shape.split("x"))
        return waves(n, channels, shingle)

    def __str__(self) -> str:
        return f"T{self.trees}-S{self.samples}-{self.shape}"


@dataclass(frozen=True)
class Case:
    """An operation on a forest. Peers without the operation use the most similar one."""

    operation: str
    setting: Setting

    @property
    def name(self) -> str:
        return f"{self.operation}-{self.setting}"


OPERATIONS = {
    "update_one": "score a record, then learn it; one record a call",
    "update_batch": f"the same, {BATCH} records a call (peers that take one record a call: in a loop)",
    "score": f"scores of {FROZEN} records by a forest that has stopped learning",
    "fit": "a forest from all records at once",
    "score_fitted": "scores of all records that it was fitted to",
}

SHAPES = ("1x8", "1x48", "4x8", "d32")
STREAMING = [Case(op, Setting(shape)) for shape in SHAPES for op in ("update_one", "update_batch", "score")]
FITTED = [Case(op, Setting("d10", warm_up=1_000_000)) for op in ("fit", "score_fitted")]

# The targets: records per second, as a multiple of the faster of krcf and rcf3 in the same run.
MARKS: dict[str, float] = {}
for _case in STREAMING:
    MARKS[_case.name] = {"update_one": 6.0, "update_batch": 10.0, "score": 5.0}[_case.operation]
MARKS[Case("score", Setting("d32")).name] = 8.0

# The time per record as one of the four sizes grows and the others are constant.
CURVES: dict[str, dict[int, Setting]] = {
    "n": {n: Setting("1x8", warm_up=n) for n in (1_000, 10_000, 100_000, 1_000_000)},
    "d": {d: Setting(f"d{d}") for d in (1, 2, 4, 8, 16, 32, 64, 128)},
    "T": {t: Setting("1x8", trees=t) for t in (10, 25, 50, 100, 200, 400)},
    "S": {s: Setting("1x8", samples=s) for s in (32, 64, 128, 256, 512, 1024, 2048)},
}

MEMORY = [Setting(shape, trees=trees) for trees in (50, 100) for shape in ("1x8", "1x48")]

stream: Callable[[Setting, int], Floats] = functools.lru_cache(maxsize=2)(Setting.stream)
