"""Why a record stands out and what was expected, found in the forests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple
from weakref import ReferenceType, ref

import numpy as np
from numpy.typing import NDArray

from .._core import Forest
from .ensemble import Ensemble
from .transform import Step

Floats = NDArray[np.float64]


class Moment:
    """A record as it came, and the way back to its units from what the forest saw."""

    __slots__ = ("base", "centre", "raw", "scale")

    def __init__(self, raw: list[float], base: list[float], centre: list[float], scale: list[float]) -> None:
        self.raw, self.base, self.centre, self.scale = raw, base, centre, scale

    def restored(self, values: dict[int, float]) -> dict[int, float]:
        """Transformed values of some features in the user's units."""
        return {j: z * self.scale[j] + self.centre[j] + self.base[j] for j, z in values.items()}


def completed(forest: Forest, window: Floats, missing: list[int], held: bool) -> Floats:
    """(k, len(missing)): what stands in the places that are missing, in the points that fit the others best."""
    if len(missing) == len(window):  # nothing is known: what the forest holds
        return np.concatenate([forest.points(i)[:, missing] for i in range(forest.n_trees)])
    found = forest.complete(window, missing, held)
    return found if len(found) else window[missing].reshape(1, -1)


class Explanation(NamedTuple):
    """Attribution (size, d, 2), the lag of its largest part, and the expected and actual record at that lag."""

    attribution: Floats
    lag: int
    expected: Floats
    past: Floats


def explain(trees: Ensemble, window: Floats, moments: list[Step], total: float) -> Explanation:
    """Explain the score of a window.

    The trees have just learned the window; both walks look past their only copy of it, and the parts are scaled to the
    score that
    it had before.
    """
    size, d = len(moments), len(moments[0][0])
    parts = (1.0 - trees.share) * trees.whole.attribution(window.reshape(1, -1), trees.kind).reshape(size, d, 2)
    if trees.point is not None:
        parts[-1] += trees.share * trees.point.attribution(window[-d:].reshape(1, -1), trees.kind)[0]
    whole = parts.sum()
    if whole > 0.0:
        parts *= total / whole
    lag = size - 1 - int(parts.sum(axis=(1, 2)).argmax())
    place, moment = (size - 1 - lag) * d, Moment(*moments[size - 1 - lag])
    found = np.median(completed(trees.whole, window, list(range(place, place + d)), True), axis=0)
    expected = moment.restored(dict(enumerate(found.tolist())))
    return Explanation(parts, lag, np.array(list(expected.values())), np.array(moment.raw))


class Replay:
    """A copy of the trees that stays behind, to explain records of runs that the trees have learned since.

    Most runs are looked at for their scores alone. To learn a run again, without scores, takes a third of what it took, and an
    explanation as long as a hundred records; so that is left until it is asked for. The copy then catches up, and goes on from
    there: one serves run after run.
    """

    def __init__(self, trees: Ensemble) -> None:
        self.trees = trees
        self._added = self._followed = 0  # rows, that the trees have learned and the copy has
        self._runs: deque[tuple[Floats, ReferenceType[Stretch]]] = deque()
        self._rest: Floats | None = None  # of the run that the copy stands in
        self._lock = Lock()  # results may be read in other threads than the one that takes in records

    @property
    def lag(self) -> int:
        """Rows by which the copy is behind."""
        return self._added - self._followed

    def add(
        self, windows: Floats, moments: Callable[[int], list[Step]], called: list[int], totals: list[float]
    ) -> Stretch:
        """The trees have learned a run of windows; who holds on to the result can have those called explained."""
        run = Stretch(self, moments, called, totals)
        self._runs.append((windows, ref(run)))
        self._added += len(windows)
        return run

    def catch_up(self, asked: Stretch) -> None:
        with self._lock:
            while asked.found is None:
                if self._rest is not None:
                    self._follow(self._rest)
                windows, who = self._runs.popleft()
                run, done = who(), 0
                if run is not None:
                    found = {}
                    for i, total in zip(run.called, run.totals, strict=True):
                        self._follow(windows[done : i + 1])
                        done = i + 1
                        found[i] = explain(self.trees, np.ascontiguousarray(windows[i]), run.moments(i), total)
                    run.found = found
                self._rest = windows[done:]

    def _follow(self, windows: Floats) -> None:
        self.trees.follow(windows)
        self._followed += len(windows)


class Stretch:
    """Records of a run that were called, by their place in it, and their explanations once these have been asked for."""

    __slots__ = ("__weakref__", "_replay", "called", "found", "moments", "totals")

    def __init__(
        self, replay: Replay, moments: Callable[[int], list[Step]], called: list[int], totals: list[float]
    ) -> None:
        self._replay: Replay | None = replay
        self.moments, self.called, self.totals = moments, called, totals
        self.found: dict[int, Explanation] | None = None

    def explanations(self) -> dict[int, Explanation]:
        if self._replay is not None:
            self._replay.catch_up(self)
            self._replay = None
        assert self.found is not None
        return self.found
