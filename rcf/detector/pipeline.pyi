from .._core import Forest
from .evidence import Evidence
from .times import Times
from .views import Views
from .window import Window

def joint(point: float, whole: float) -> float: ...

class Pipeline:
    n_seen: int
    silent: bool
    watched: bool
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
    ) -> None: ...
    def take(
        self, record: list[float], time: float, offset: float, local: bool
    ) -> tuple[float, float, float, float, float, bool, bool] | None: ...
