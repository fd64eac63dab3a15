"""Random cut forests at native speed: streaming anomaly detection for Python.

The names below are loaded on first use. Therefore ``import rcf`` needs only numpy and takes milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .detector import Cause, Detection, Detections, Event, Forecast, KeyedDetector, StreamDetector
    from .estimator import Neighbors, RandomCutForest, merge
    from .export import load_frozen
    from .hotspots import Change, HotSpot, HotSpots
    from .persist import ModelFileError, load

_HOMES = {
    "Cause": "detector",
    "Change": "hotspots",
    "Detection": "detector",
    "Detections": "detector",
    "Event": "detector",
    "Forecast": "detector",
    "HotSpot": "hotspots",
    "HotSpots": "hotspots",
    "KeyedDetector": "detector",
    "ModelFileError": "persist",
    "Neighbors": "estimator",
    "RandomCutForest": "estimator",
    "StreamDetector": "detector",
    "load": "persist",
    "load_frozen": "export",
    "merge": "estimator",
}
_EXTENSIONS = ("_core", "detector.evidence", "detector.views", "hotspots.window")

__all__ = [
    "Cause",
    "Change",
    "Detection",
    "Detections",
    "Event",
    "Forecast",
    "HotSpot",
    "HotSpots",
    "KeyedDetector",
    "ModelFileError",
    "Neighbors",
    "RandomCutForest",
    "StreamDetector",
    "__version__",
    "load",
    "load_frozen",
    "merge",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        try:
            module = importlib.import_module(f".{_HOMES[name]}", __name__)
        except ModuleNotFoundError as error:
            if error.name not in {f"{__name__}.{part}" for part in _EXTENSIONS}:
                raise
            # the usual cause is that Python runs in a checkout, whose folder hides the installed package
            raise ImportError(
                f"rcf in {__path__[0]} is not built: leave the checkout's folder to use the installed package, "
                'or build it there: python -m pip install -e ".[test]"'
            ) from error
        value = getattr(module, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING", "annotations", "importlib"})
