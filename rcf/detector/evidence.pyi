from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

def threshold_of(anomaly_rate: float) -> float: ...

class Evidence:
    threshold: float
    t: int
    def __init__(self, threshold: float, method: str, capacity: int) -> None: ...
    def step(
        self, point: float, whole: float, seen: int, novelty: float, floor: float
    ) -> tuple[float, float, bool, bool]: ...
    def steps(self, points: Floats, wholes: Floats, seen: int, rows: Floats) -> tuple[Floats, Floats, Flags, Flags]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...
