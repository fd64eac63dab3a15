from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from .._core import Forest
from .evidence import Evidence
from .times import Times
from .views import Views
from .window import Window

NO_ALARM: int
ALARM: int
FROM_FLOOR: int

def joint(point: float, whole: float) -> float: ...

class Pipeline:
    n_seen: int
    silent: bool
    watched: bool
    checked: bool
    def __init__(
        self,
        clock: Times,
        views: Views,
        window: Window,
        whole: Forest | None,
        point: Forest | None,
        evidence: Evidence,
        method: str,
        sure: int,
        zone: ZoneInfo | None,
    ) -> None: ...
    def take_number(
        self, value: float, timestamp: float | None, cold: bool
    ) -> tuple[float, float, float, float, float, bool, bool] | None: ...
    def take(
        self, record: list[float], time: float, offset: float, local: bool
    ) -> tuple[float, float, float, float, float, bool, bool] | None: ...

class Pass:
    def __init__(
        self,
        pipelines: list[Pipeline],
        starts: NDArray[np.int64],
        rows: NDArray[np.int64],
        X: NDArray[np.float64],
        moments: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]] | None,
    ) -> None: ...
    def admitted(self, zone: ZoneInfo | None) -> NDArray[np.bool_]: ...
    def take(self, outcome: Sequence[NDArray[Any]], n_jobs: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]: ...
