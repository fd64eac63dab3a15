"""Ranges of parameters, and their conversion from the description of a SageMaker tuning job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Scale = Literal["linear", "log", "reverse_log"]


@dataclass(frozen=True)
class Real:
    """A range of real numbers from `low` to `high`.

    Parameters
    ----------
    low, high : float
        The ends of the range, which belong to it.
    scale : {"linear", "log", "reverse_log"}, default="linear"
        "log" places more points near 0, and "reverse_log" more points near 1. "log" needs ``low > 0``, "reverse_log" needs
        ``high < 1``.
    """

    low: float
    high: float
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        if not -np.inf < self.low < self.high < np.inf:
            raise ValueError(f"low must be below high, both finite, got {self.low} and {self.high}")
        if self.scale not in ("linear", "log", "reverse_log"):
            raise ValueError(f"scale must be 'linear', 'log' or 'reverse_log', got {self.scale!r}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"scale='log' needs low > 0, got {self.low}")
        if self.scale == "reverse_log" and not (self.low >= 0 and self.high < 1):
            raise ValueError(f"scale='reverse_log' needs 0 <= low and high < 1, got {self.low} and {self.high}")

    def value(self, u: float) -> Any:
        """The number at position `u` of the scale, from 0 to 1."""
        if self.scale == "log":
            found = float(np.exp(np.log(self.low) + u * (np.log(self.high) - np.log(self.low))))
        elif self.scale == "reverse_log":
            found = 1.0 - float(np.exp(np.log1p(-self.low) + u * (np.log1p(-self.high) - np.log1p(-self.low))))
        else:
            found = self.low + u * (self.high - self.low)
        return min(max(found, self.low), self.high)

    def place(self, value: Any) -> list[float]:
        """The position of the value on the scale, from 0 to 1, for the Gaussian process."""
        low, high, at = self.low, self.high, float(value)
        if self.scale == "log":
            low, high, at = np.log(low), np.log(high), np.log(at)
        elif self.scale == "reverse_log":
            low, high, at = np.log1p(-low), np.log1p(-high), np.log1p(-at)
        return [float((at - low) / (high - low))]

    def grid(self) -> list[Any]:
        """Four values, evenly spaced on the scale."""
        return list(dict.fromkeys(self.value(u) for u in np.linspace(0, 1, 4)))


@dataclass(frozen=True)
class Integer(Real):
    """A range of whole numbers from `low` to `high`. The parameters are those of `Real`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low != int(self.low) or self.high != int(self.high):
            raise ValueError(f"low and high must be whole numbers, got {self.low} and {self.high}")

    def value(self, u: float) -> int:
        return int(round(super().value(u)))  # noqa: RUF046


@dataclass(frozen=True)
class Categorical:
    """A choice among values without an order.

    Parameters
    ----------
    values : sequence
    """

    values: Sequence[Any]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not len(self.values):
            raise ValueError(f"values must be a sequence of at least one value, got {self.values!r}")

    def value(self, u: float) -> Any:
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def place(self, value: Any) -> list[float]:
        return [float(value == one) for one in self.values]

    def grid(self) -> list[Any]:
        return list(self.values)


Range = Real | Categorical
# The only two parameters of SageMaker's algorithm that can be tuned.
_SAGEMAKER = {"num_trees": "n_estimators", "num_samples_per_tree": "max_samples"}
_SCALES: dict[str, Scale] = {"Linear": "linear", "Logarithmic": "log", "ReverseLogarithmic": "reverse_log"}


def from_sagemaker(ranges: Mapping[str, Any] | str) -> dict[str, Range]:
    """Convert the parameter ranges of SageMaker's automatic model tuning to a search space.

    Parameters
    ----------
    ranges : mapping or str
        A ``ParameterRanges`` object of SageMaker's API, or an object that contains one (``HyperParameterTuningJobConfig``), as a
        mapping or as JSON. Values may be strings, as in the API. ``ScalingType`` may be Linear, Logarithmic, ReverseLogarithmic
        or Auto. Auto means Logarithmic if all values are positive and the largest is at least ten times the smallest, and
        Linear otherwise.

    Returns
    -------
    dict
        The space with the names of rcf: ``num_trees`` becomes ``n_estimators``, and ``num_samples_per_tree`` becomes
        ``max_samples``. Other names do not change.

    Raises
    ------
    ValueError
        If the object has another structure; the message names the parameter.

    Examples
    --------
    >>> from_sagemaker({"IntegerParameterRanges": [
    ...     {"Name": "num_samples_per_tree", "MinValue": "16", "MaxValue": "1024", "ScalingType": "Logarithmic"}]})
    {'max_samples': Integer(low=16, high=1024, scale='log')}
    """
    found = json.loads(ranges) if isinstance(ranges, str) else ranges
    for name in ("HyperParameterTuningJobConfig", "ParameterRanges"):
        if isinstance(found, Mapping):
            found = found.get(name, found)
    kinds = ("IntegerParameterRanges", "ContinuousParameterRanges", "CategoricalParameterRanges")
    if not isinstance(found, Mapping) or not set(found) & set(kinds) or set(found) - {*kinds, "AutoParameters"}:
        raise ValueError(f"expected an object with {', '.join(kinds)}, got {str(found)[:200]}")
    space: dict[str, Range] = {}
    for kind in kinds:
        for entry in found.get(kind, ()):
            name = entry.get("Name")
            if not isinstance(name, str) or name in space:
                raise ValueError(f"{kind}: an entry has no Name, or its Name occurs twice: {str(entry)[:200]}")
            try:
                space[_SAGEMAKER.get(name, name)] = _range_of(kind, entry)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{kind}: {name}: {error!r}") from error
    return space


def _range_of(kind: str, entry: Mapping[str, Any]) -> Range:
    if kind == "CategoricalParameterRanges":
        return Categorical(tuple(entry["Values"]))
    whole = kind == "IntegerParameterRanges"
    low, high = ((int if whole else float)(entry[end]) for end in ("MinValue", "MaxValue"))
    scaling = entry.get("ScalingType", "Auto")
    if scaling == "Auto":
        scaling = "Logarithmic" if low > 0 and high >= 10 * low else "Linear"
    return (Integer if whole else Real)(low, high, _SCALES[scaling])
