"""Why a record stands out and what was expected, found in the forests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple
from weakref import ReferenceType, ref

import numpy as np
from numpy.typing import NDArray

from .ensemble import Ensemble
from .window import Step

Floats = NDArray[np.float64]


class Moment:
    """A record as it came, and the way back to its units from what the forest saw."""

    __slots__ = ("base", "centre", "raw", "scale")

    def __init__(self, raw: list[float], base: list[float], centre: list[float], scale: list[float]) -> None:
        self.raw, self.base, self.centre, self.scale = raw, base, centre, scale

    def restored(self, values: dict[int, float]) -> dict[int, float]:
        """Transformed values of some features in the user's units."""
        return {j: z * self.scale[j] + self.centre[j] + self.base[j] for j, z in values.items()}


class Explanation(NamedTuple):
    """Attribution (size, d, 2), the lag of the record that is explained, and that record as it was expected and as it came."""

    attribution: Floats
    lag: int
    expected: Floats
    past: Floats


def explain(
    trees: Ensemble, record: Floats, window: Floats, moments: list[Step], total: float, newest: bool
) -> Explanation:
    """Explain the score of a record that the trees have just learned.

    Parameters
    ----------
    record, window : (3 d,) and (size * d,) arrays
        What the trees of each view saw.
    moments : list of Step
        The way back, for each record of the window.
    total : float
        The score.
    newest : bool
        Whether to say what was expected of the newest record; else of the one with the largest part of the score.
    """
    size, d = len(moments), len(moments[0][0])
    parts = trees.attribution(record, window, total)
    lag = 0 if newest else size - 1 - int(parts.sum(axis=(1, 2)).argmax())
    moment, place = Moment(*moments[size - 1 - lag]), (size - 1 - lag) * d
    found = np.median(_alternatives(trees, window, list(range(place, place + d))), axis=0)
    expected = moment.restored(dict(enumerate(found.tolist())))
    return Explanation(parts, lag, np.array(list(expected.values())), np.array(moment.raw))


def _alternatives(trees: Ensemble, window: Floats, missing: list[int]) -> Floats:
    """(k, len(missing)): what stands in these places of the window, in the points that fit its other places best."""
    forest = trees.whole or trees.point
    assert forest is not None
    if trees.whole is None or len(missing) == len(window):  # nothing is known: all that the forest holds
        return np.concatenate([forest.points(i)[:, missing] for i in range(forest.n_trees)])
    found = forest.complete(window, missing, True)
    return found if len(found) else window[missing].reshape(1, -1)


class Replay:
    """A copy of the trees that stays behind, to explain records of runs that the trees have learned since.

    Most runs are looked at for their scores alone. To learn a run again, without scores, takes a third of what it took, and an
    explanation as long as a hundred records; so that is left until it is asked for. The copy then catches up, and goes on from
    there: one serves run after run.
    """

    def __init__(self, trees: Ensemble) -> None:
        self.trees = trees
        self._added = self._followed = 0  # rows, that the trees have learned and the copy has
        self._runs: deque[tuple[Floats, Floats, ReferenceType[Stretch]]] = deque()
        self._rest: tuple[Floats, Floats] | None = None  # of the run that the copy stands in
        self._lock = Lock()  # results may be read in other threads than the one that takes in records

    @property
    def lag(self) -> int:
        """Rows by which the copy is behind."""
        return self._added - self._followed

    def add(
        self,
        records: Floats,
        windows: Floats,
        moments: Callable[[int], list[Step]],
        called: list[int],
        totals: list[float],
    ) -> Stretch:
        """The trees have learned a run of records; who holds on to the result can have those called explained."""
        run = Stretch(self, moments, called, totals)
        self._runs.append((records, windows, ref(run)))
        self._added += len(windows)
        return run

    def catch_up(self, asked: Stretch) -> None:
        with self._lock:
            while asked.found is None:
                if self._rest is not None:
                    self._follow(*self._rest)
                records, windows, who = self._runs.popleft()
                run, done = who(), 0
                if run is not None:
                    found = {}
                    for i, total in zip(run.called, run.totals, strict=True):
                        self._follow(records[done : i + 1], windows[done : i + 1])
                        done = i + 1
                        window = np.ascontiguousarray(windows[i])
                        found[i] = explain(self.trees, records[i], window, run.moments(i), total, True)
                    run.found = found
                self._rest = records[done:], windows[done:]

    def _follow(self, records: Floats, windows: Floats) -> None:
        self.trees.follow(records, windows)
        self._followed += len(records)


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
