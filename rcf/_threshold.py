"""From scores to alarms: a threshold that follows the scores, and the rules that keep one event one alarm."""

from __future__ import annotations

from collections import deque
from math import log, sqrt
from typing import Any

from ._validate import finite, whole_number

FACTOR = 1.25
SETTLED = 32  # scores that make the first threshold


class Threshold:
    """The mean of the scores plus ``ln(1 / anomaly_rate)`` of their standard deviations, over the last few hundred.

    That is where the tail beyond has the mass `anomaly_rate` if it falls off like an exponential; those of forest scores fall
    faster, so the rate is an upper estimate. A score above the threshold enters as if it were the threshold:
    one spike moves it little, a lasting change lifts it within some tens of records. It never falls below `least`, for in a
    noiseless series any score would stand many deviations out.

    An event is one alarm: after a call, high scores that follow closely are `echo` (the newest record alone is ordinary, the window
    still holds the cause) or `drift` (it is not ordinary, and has not been since). A new event is called within the window
    when the newest record alone has been ordinary meanwhile, or when the score is half as high again.
    """

    __slots__ = (
        "alert_once",
        "factor",
        "hold",
        "interrupted",
        "last_call",
        "last_high",
        "least",
        "limit",
        "mean",
        "n",
        "peak",
        "peaks",
        "point_mean",
        "point_square",
        "rate",
        "span",
        "square",
        "t",
        "unit",
    )

    def __init__(self, anomaly_rate: float, shingle_size: int, max_samples: int, alert_once: bool, least: float,
                 most: float) -> None:  # fmt: skip
        self.factor = FACTOR * log(1.0 / anomaly_rate)
        self.rate = anomaly_rate / 2.0
        self.hold = max(shingle_size, 8)
        self.span = 7 * max_samples // 4
        self.alert_once = alert_once
        self.least, self.unit = least, most * most
        self.mean = self.square = self.point_mean = self.point_square = self.peak = 0.0
        self.n = self.t = 0
        self.limit = least
        self.last_high = self.last_call = -(2**40)
        self.interrupted = False
        self.peaks: deque[tuple[int, float]] = deque()

    def step(self, score: float, point: float) -> tuple[float, float, bool, str | None]:
        """(threshold, likelihood, call, reason) of a score and that of the newest record alone, which are then learned."""
        t = self.t = self.t + 1
        n = self.n = self.n + 1
        mean, point_mean = self.mean, self.point_mean
        spread = sqrt(self.square)
        above = self.factor * spread
        limit = mean + above
        if limit < self.least:
            limit = self.least
        self.limit = limit
        above = self.factor * sqrt(self.point_square)
        point_limit = max(point_mean + above, self.least)

        # the highest score of the last `span`: a queue of those with none higher after them; squares, for what is far out
        # is then told better from the many that just stand out (2-3 points of the benchmark that ranks by this)
        peaks = self.peaks
        while peaks and peaks[0][0] < t - self.span:
            peaks.popleft()
        surprise = score * score
        likelihood = (surprise - peaks[0][1] if peaks else surprise) / self.unit
        likelihood = 0.0 if likelihood < 0.0 else 1.0 if likelihood > 1.0 else likelihood
        while peaks and peaks[-1][1] <= surprise:
            peaks.pop()
        peaks.append((t, surprise))

        call, reason = False, None
        if n <= SETTLED:
            reason = "warming up"
        elif score > limit:
            point_high = point > point_limit
            if t - self.last_high <= self.hold:
                if (point_high and self.interrupted) or score > 1.5 * self.peak:
                    call = True
                elif not point_high:
                    reason = "echo"
                elif self.alert_once:
                    reason = "drift"
                else:
                    call = True
            else:
                call = True
            self.last_high = t
            if call:
                self.last_call, self.peak, self.interrupted = t, score, False
        elif score > mean + 0.5 * (limit - mean):
            reason = "noise"
        if not call and point < 0.5 * (point_mean + point_limit):
            self.interrupted = True

        rate = 1.0 / n if n * self.rate < 1.0 else self.rate
        if n > SETTLED:
            if score > limit:
                score = limit
            if point > point_limit:
                point = point_limit
        off = score - mean
        step = rate * off
        self.mean = mean + step
        self.square = (1.0 - rate) * (self.square + off * step)
        off = point - point_mean
        step = rate * off
        self.point_mean = point_mean + step
        self.point_square = (1.0 - rate) * (self.point_square + off * step)
        return limit, likelihood, call, reason

    def grade(self, score: float) -> float:
        """Of a score just called: 0.5 at the threshold, then towards 1."""
        return 1.0 - 0.5 * self.limit / score

    _NUMBERS = ("mean", "square", "point_mean", "point_square", "peak", "limit")
    _COUNTS = ("n", "t", "last_high", "last_call")

    def state(self) -> dict[str, Any]:
        return {
            "numbers": [getattr(self, name) for name in self._NUMBERS],
            "counts": [getattr(self, name) for name in self._COUNTS],
            "interrupted": self.interrupted,
            "peak_times": [t for t, _ in self.peaks],
            "peak_scores": [s for _, s in self.peaks],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state; ValueError where it is none."""
        numbers = finite("numbers of the threshold", state["numbers"], (len(self._NUMBERS),)).tolist()
        for name, number in zip(self._NUMBERS, numbers, strict=True):
            if "square" in name and number < 0.0:
                raise ValueError(f"{name} of the threshold is negative")
            setattr(self, name, number)
        for name, count in zip(self._COUNTS, state["counts"], strict=True):
            setattr(self, name, whole_number(name, count, 0 if name in ("n", "t") else -(2**40), 2**62))
        self.interrupted = bool(state["interrupted"])
        times = [whole_number("a time of the threshold", t, 0, self.t) for t in state["peak_times"]]
        scores = finite("scores of the threshold", state["peak_scores"], (len(times),), 0.0).tolist()
        self.peaks = deque(zip(times, scores, strict=True))
