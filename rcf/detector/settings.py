"""Validation of a detector's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from numbers import Real
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from .._core import ATTRIBUTED
from .._validate import not_negative, whole_number
from .clock import ORDERS, Rules
from .views import KINDS

Fill = Literal["previous", "linear", "forest", "zero"]
FILLS = ("previous", "linear", "forest", "zero")


class Settings(NamedTuple):
    """The parameters of :class:`StreamDetector`, converted to the types in which they are used, with defaults inserted."""

    shingle_size: int
    n_estimators: int
    max_samples: int
    time_decay: float
    method: str
    transform: str
    weights: list[float] | None
    anomaly_rate: float
    alert_once: bool
    fill: str | float
    interval: float | None
    rules: Rules
    low_memory: bool

    def weights_of(self, d: int) -> list[float]:
        weights = [1.0] * d if self.weights is None else self.weights
        if len(weights) != d:
            raise ValueError(f"weights has {len(weights)} entries for {d} features")
        return weights


def checked_settings(params: dict[str, Any]) -> Settings:
    """Validate parameters. Raises ValueError or TypeError, which names the invalid one."""
    samples = whole_number("max_samples", params["max_samples"], 1, 2**30 - 1)
    decay, interval, fill = params["time_decay"], params["interval"], params["fill"]
    rate = not_negative("anomaly_rate", params["anomaly_rate"])
    if not 0.0 < rate <= 0.5:
        raise ValueError(f"anomaly_rate must be above 0 and at most 0.5, got {params['anomaly_rate']}")
    # flagged records are explained, so the method must have an attribution
    for name, allowed in (("method", ATTRIBUTED), ("transform", KINDS)):
        if not isinstance(params[name], str) or params[name] not in allowed:
            choice = ", ".join(map(repr, allowed))
            raise ValueError(f"{name} must be one of {choice}, got {params[name]!r}")
    if not (fill in FILLS if isinstance(fill, str) else isinstance(fill, Real) and isfinite(fill)):
        raise ValueError(f"fill must be 'previous', 'linear', 'forest', 'zero' or a number, got {fill!r}")
    if interval is not None and not_negative("interval", interval) == 0:
        raise ValueError(f"interval must be above zero, got {interval}")
    if params["time_order"] not in ORDERS:
        raise ValueError(f"time_order must be 'clock' or 'strict', got {params['time_order']!r}")
    step = params["max_step"]
    if step is not None and not_negative("max_step", step) == 0:
        raise ValueError(f"max_step must be above zero, got {step}")
    return Settings(
        shingle_size=whole_number("shingle_size", params["shingle_size"], 1, 2**31 - 1),
        n_estimators=whole_number("n_estimators", params["n_estimators"], 1, 2**31 - 1),
        max_samples=samples,
        time_decay=0.1 / samples if decay is None else not_negative("time_decay", decay),
        method=params["method"],
        transform=params["transform"],
        weights=_weights(params["weights"]),
        anomaly_rate=rate,
        alert_once=bool(params["alert_once"]),
        fill=fill,
        interval=None if interval is None else float(interval),
        rules=Rules(params["time_order"], None if step is None else float(step), _zone(params["timezone"])),
        low_memory=bool(params["low_memory"]),
    )


def _zone(name: Any) -> ZoneInfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ValueError(f"timezone must be the name of a time zone, such as 'Europe/Berlin', got {name!r}") from None


def _weights(given: Sequence[float] | None) -> list[float] | None:
    if given is None:
        return None
    try:
        weights = [float(w) for w in given]
    except (TypeError, ValueError) as error:
        raise ValueError(f"weights must be numbers, one for each feature, got {given!r}") from error
    if not all(1e-9 <= w <= 1e9 for w in weights):
        raise ValueError(f"weights must lie between 1e-9 and 1e9, got {given}")
    return weights


def plain(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters in a form that can be saved."""
    seed, weights = params["random_state"], params["weights"]
    return {
        **params,
        # it has been used already, and the forests have their own random state
        "random_state": seed if seed is None or isinstance(seed, (int, np.integer)) else None,
        "weights": None if weights is None else [float(w) for w in weights],
    }
