"""Findings. A finding is what decided an alarm; it makes the sentence that describes the alarm."""

from __future__ import annotations

from math import expm1, log1p
from typing import NamedTuple

VIEWS = ("none", "value", "logarithm", "change", "move")
KINDS = ("none", "stuck", "day", "week")
MEMORY = 5000  # number of records that the nets remember


class Finding(NamedTuple):
    """What decided that a record is unusual: the feature, what is new about it, and what was known before."""

    kind: str  # of VIEWS or KINDS
    feature: int
    came: float
    usual: float  # the nearest known number in that view; for a stuck sensor the value itself
    level: float  # the nearest known value
    unit: float  # unit of the feature's logarithm
    near: float  # the nearest known point in the view
    run: int  # number of equal values in a row, and the longest run before
    longest: int
    seen: int  # number of earlier records

    @property
    def side(self) -> str:
        if self.kind == "stuck":
            return "stuck"
        return "high" if self.came >= self.usual else "low"

    def text(self, name: str) -> str:
        """The finding as a sentence; `name` is the name of the feature."""
        came, usual = shown(self.came), shown(self.usual)
        past = f"the last {MEMORY:,} records" if self.seen > MEMORY else f"all {self.seen:,} records before"
        if self.kind == "stuck":
            before = f"the longest run of equal values before was {self.longest + 1}"
            return f"{name} has been {came} for {self.run + 1} records; {before}"
        if self.kind in KINDS[2:]:
            return f"{name} is {came}, where {usual} is usual at this time of the {self.kind}"
        if self.kind == "change":
            step, known = shown(self.came - (self.usual - self.near), 4, "+"), shown(self.near, 4, "+")
            return f"{name} changed by {step} to {came}; the nearest change in {past} was {known}"
        if self.kind == "move":
            return (
                f"{name} moved to {came}; from its recent level, the nearest move in {past} would have led to {usual}"
            )
        if self.kind == "lasting":
            return f"{name} is {came}, still out of the usual after {self.run} records"
        if self.kind == "none":
            return f"{name} is {came}, far from the recent records"
        return f"{name} is {came}; nothing within {shown(abs(self.came - self.usual))} of it came in {past}"


def shown(value: float, digits: int = 6, sign: str = "-") -> str:
    """A number as text with this many significant digits. Larger ones have no exponent. The sign "+" shows a plus too."""
    whole = 10.0 ** (digits - 1) <= abs(value) < 1e15
    return f"{value:{sign}.0f}" if whole else f"{value:{sign}.{digits}g}"


def finding(row: list[float], from_floor: bool, values: list[float], units: list[float], seen: int) -> Finding:
    """The finding in a row of findings: from the nets, a run of equal values, or the season."""
    _, _, feature, view, usual, near, _, kind, cause, season, run, longest, level = row
    what, j = (KINDS[int(kind)], int(cause)) if from_floor else (VIEWS[int(view)], max(int(feature), 0))
    came = values[j]
    if from_floor:
        level = usual = came if what == "stuck" else season
    return Finding(what, j, came, usual, level, units[j], near, int(run), int(longest), seen)


def signed_log(x: float, unit: float) -> float:
    """A logarithm that keeps the sign and is linear near 0."""
    y = log1p(abs(x) / unit) if unit > 0.0 else 0.0
    return y if x >= 0.0 else -y


def signed_exp(y: float, unit: float) -> float:
    """The number with this `signed_log`."""
    x = unit * expm1(abs(y))
    return x if y >= 0.0 else -x
