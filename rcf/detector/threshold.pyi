from typing import Any

import numpy as np
from numpy.typing import NDArray

REASONS: tuple[str | None, ...]
Floats = NDArray[np.float64]

class Threshold:
    @property
    def limit(self) -> float: ...
    def __init__(
        self, anomaly_rate: float, shingle_size: int, max_samples: int, alert_once: bool, least: float, most: float
    ) -> None: ...
    def step(self, score: float, point: float) -> tuple[float, float, float, bool, str | None]: ...
    def steps(
        self, scores: Floats, points: Floats
    ) -> tuple[Floats, Floats, Floats, NDArray[np.bool_], NDArray[np.uint8]]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...
