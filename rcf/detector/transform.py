"""What is done to a record before the forest sees it: each feature freed of its place and its unit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import LIMIT
from .._validate import finite, whole_number
from .running import averages, learn, learn_rows, spread

Values = list[float]
Floats = NDArray[np.float64]
# of a record: as it came, what is to be added to its change, centre, scale: the way back from what the forest saw; a tuple,
# for one is made for every record and few are looked at
Step = tuple[Values, Values, Values, Values]

# (difference to what, scaled)
KINDS: dict[str, tuple[str, bool]] = {
    "none": ("zero", False),
    "normalize": ("zero", True),
    "difference": ("previous", False),
    "normalize_difference": ("previous", True),
    "subtract_moving_average": ("average", False),
}
HELD_BACK = 64  # records that settle centre and scale; their sd is then known to about 9 %
CLIP = 1e6  # in units of the scale: beyond, a float32 box could no longer tell ordinary values apart
KEPT = 1e3  # the farthest that a level is kept when the scale is settled anew: what lies about it stays within the clip
REVISED_EVERY = 256
SLOW = 10 * REVISED_EVERY  # records that the running spread is over, once there are so many
REVISED_BEYOND = 8.0  # times the spread, or a part of it


class Transform:
    """Turns records into what the forest learns, one by one; `push` gives them out once centre and scale are settled.

    Centre and scale are settled by the first records and then kept, so that equal records stay equal and a noiseless
    series stays noiseless. (Running estimates would move every value a little at each step, and a forest sees that.)
    The scale is settled anew only where the spread has become eight times what it was, or an eighth; the forest is
    indifferent to less than that.

    A feature that has stood still has no scale until it moves. It then gets its spread with that move: one in n records lies
    ``sqrt(n)`` deviations out, so the first move stands out whatever its size, 8 deviations at the start and 50 later.
    """

    __slots__ = ("average", "base", "buffer", "centre", "hold", "kind", "mean", "n", "origin", "previous",
                 "scale", "scales", "square", "still", "weights")  # fmt: skip

    def __init__(self, kind: str, weights: Values, hold: int) -> None:
        self.kind, self.scales, self.weights, self.hold = kind, KINDS[kind][1], weights, hold
        d = len(weights)
        self.origin = KINDS[kind][0]
        self.buffer: list[Values] | None = [] if KINDS[kind][1] else None
        self.centre, self.scale = [0.0] * d, [1.0 / w for w in weights]
        self.mean, self.square = [0.0] * d, [0.0] * d
        self.previous: Values | None = None
        self.average: Values = [0.0] * d
        self.base: Values = [0.0] * d  # what is to be added to a change to give the record
        self.still: list[int] = []  # features that have had one value since the first record
        self.n = 0

    @property
    def settled(self) -> bool:
        return self.buffer is None

    def push(self, x: Values) -> list[Values]:
        """The records that are ready for the forest: none while they are held back, then all of them, then one each."""
        n = self.n = self.n + 1
        origin = self.origin
        if (
            origin == "zero" and len(x) == 1 and self.buffer is None and self.scales
        ):  # all there is to do in the commonest case
            z = (x[0] - self.centre[0]) / self.scale[0]
            return [[CLIP if z > CLIP else -CLIP if z < -CLIP else z]]
        if origin == "zero":
            change = x
        else:
            if origin == "previous":
                self.base = x if self.previous is None else self.previous
                self.previous = x
            else:
                self.base = x if n == 1 else self.average
                rate = max(1.0 / n, 1.0 / HELD_BACK)
                self.average = [b + rate * (v - b) for b, v in zip(self.base, x, strict=True)]
            change = [v - b for v, b in zip(x, self.base, strict=True)]
        if not self.scales or (len(x) == 1 and self.buffer is None):  # alone, a feature needs no scale anew
            return [self.scaled(change)]
        learn(change, self.mean, self.square, 1.0 / n if n < SLOW else 1.0 / SLOW)
        if self.buffer is not None:
            self.buffer.append(change)
            if n < self.hold:
                return []
            self.settle()
            ready, self.buffer = self.buffer, None
            return [self.scaled(row) for row in ready]
        if self.still or n % REVISED_EVERY == 0:
            self.revise(change, n % REVISED_EVERY == 0)
        return [self.scaled(change)]

    def push_many(self, X: Floats) -> tuple[Floats, Callable[[int], Step]]:
        """`push` of each row once all is settled, and what gives the step of a row."""
        first, d = self.n + 1, X.shape[1]
        number = np.arange(first, first + len(X))
        self.n += len(X)
        bases = None
        change = X
        if self.origin == "average":
            average, bases = np.array(self.average), np.empty_like(X)
            averages(X, np.maximum(1.0 / number, 1.0 / HELD_BACK), average, bases)
            self.average = average.tolist()
        elif self.origin == "previous":
            bases = np.vstack([X[:1] if self.previous is None else [self.previous], X[:-1]])
            self.previous = X[-1].tolist()
        if bases is not None:
            change = X - bases
            self.base = bases[-1].tolist()
        base = self.base
        if not self.scales or d == 1:  # alone, a feature needs no scale anew
            begins, settled = [0], [(self.centre, self.scale)]
            Z = (change - self.centre) / self.scale
        else:
            begins, settled = [], []
            Z = np.empty_like(X)
            mean, square, rates = np.array(self.mean), np.array(self.square), 1.0 / np.minimum(number, SLOW)
            none = np.empty(0, dtype=np.int64)
            a = 0
            while a < len(X):  # a record that the scale is settled anew at has the new one
                learn_rows(change[a : a + 1], rates[a : a + 1], mean, square, none)
                self.mean, self.square = mean.tolist(), square.tolist()
                self.revise(change[a].tolist(), number[a] % REVISED_EVERY == 0)
                begins.append(a)
                settled.append((self.centre, self.scale))
                b = a + REVISED_EVERY - int(number[a]) % REVISED_EVERY
                still = np.array(self.still, dtype=np.int64)
                b = a + 1 + learn_rows(change[a + 1 : b], rates[a + 1 : b], mean, square, still)
                Z[a:b] = (change[a:b] - self.centre) / self.scale
                a = b
            self.mean, self.square = mean.tolist(), square.tolist()
        clip = CLIP if self.scales else LIMIT
        np.clip(Z, -clip, clip, out=Z)

        def step(i: int) -> Step:
            centre, scale = settled[bisect_right(begins, i) - 1]
            return X[i].tolist(), base if bases is None else bases[i].tolist(), centre, scale

        return Z, step

    def scaled(self, change: Values) -> Values:
        row, clip = [], CLIP if self.scales else LIMIT
        for v, c, s in zip(change, self.centre, self.scale, strict=True):
            z = (v - c) / s
            row.append(clip if z > clip else -clip if z < -clip else z)
        return row

    def next_base(self) -> Values:
        """What would be added to the next change to give the next record."""
        if self.origin == "zero" or self.n == 0:
            return [0.0] * len(self.weights)
        return self.average if self.origin == "average" else self.previous or self.base

    def base_after(self, base: Floats, values: Floats) -> Floats:
        """The next base, if the next records were `values` (n, d) on bases (n, d)."""
        if self.origin == "zero":
            return base
        return values if self.origin == "previous" else base + (values - base) / HELD_BACK

    def peek(self, x: Values) -> Values:
        """What the forest would see of x if it came next; learns nothing."""
        return self.scaled([v - b for v, b in zip(x, self.next_base(), strict=True)])

    def spread(self, i: int) -> float:
        return spread(self.mean[i], self.square[i])

    def settle(self) -> None:
        self.centre = list(self.mean)
        self.scale = [(self.spread(i) or 1.0) / w for i, w in enumerate(self.weights)]
        self.still = [i for i in range(len(self.weights)) if not self.spread(i)]

    def revise(self, change: Values, all_due: bool) -> None:
        """Settle scales anew. The record keeps its number and the centre moves: a constant, at whatever level, does not jump."""
        for i in range(len(self.weights)) if all_due else self.still:
            sd, scale, first = self.spread(i) / self.weights[i], self.scale[i], i in self.still
            if sd and (first or not 1.0 / REVISED_BEYOND <= sd / scale <= REVISED_BEYOND):
                if first:  # its centre is where it stood
                    self.still = [j for j in self.still if j != i]
                else:
                    number = min(max((change[i] - self.centre[i]) / scale, -KEPT), KEPT)
                    self.centre = replaced(self.centre, i, change[i] - number * sd)
                self.scale = replaced(self.scale, i, sd)

    def state(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "centre": self.centre,
            "scale": self.scale,
            "mean": self.mean,
            "square": self.square,
            "average": self.average,
            "base": self.base,
            "previous": self.previous or [],
            "still": list(self.still),
            "settled": self.buffer is None,
            "buffer": self.buffer or [],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state; ValueError where it is none."""
        d = len(self.weights)
        n = self.n = whole_number("n of the transform", state["n"], 0, 2**62)
        for name in ("centre", "scale", "mean", "square", "average", "base"):
            values = finite(name, state[name], (d,), 5e-324 if name == "scale" else 0.0 if name == "square" else -inf)
            if len(values) != d:
                raise ValueError(f"{name} of the transform has {len(values)} entries for {d} features")
            setattr(self, name, values.tolist())
        previous = finite("previous", state["previous"], (d,))
        buffer = finite("buffer", state["buffer"], (self.hold - 1, d))
        settled = state["settled"]
        if len(previous) not in (0, d) or type(settled) is not bool:
            raise ValueError("the transform's last record is cut")
        if not (self.scales or settled) or len(buffer) != (0 if settled else n):
            raise ValueError(f"the transform holds back {len(buffer)} of {n} records")
        still = [whole_number("a feature that stood still", i, 0, d - 1) for i in state["still"]]
        if still != sorted(set(still)) or (still and not (settled and self.scales)):
            raise ValueError(f"{still} cannot be the features that stood still")
        self.still = still
        self.previous = previous.tolist() or None
        self.buffer = None if settled else buffer.tolist()


def replaced(values: Values, i: int, value: float) -> Values:
    """A new list: who holds the old one can still go back from the records made with it."""
    return [*values[:i], value, *values[i + 1 :]]
