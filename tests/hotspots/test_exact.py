"""The incremental clustering, compared after every record with a new clustering of the window in plain Python.

Ids and changes of regions follow the definition in two steps: the new record enters, then the oldest leaves.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from rcf.hotspots import EARTH_RADIUS
from rcf.hotspots.window import KINDS, Window, unit_sphere


def cluster(points, radius, min_points):
    """[(cores, members)] as sets of keys, for a dict of points in order of age."""
    keys, X = list(points), np.array(list(points.values()), dtype=float)
    squared = np.zeros((len(keys), len(keys)))
    for j in range(X.shape[1]):  # added feature by feature
        squared += (X[:, None, j] - X[None, :, j]) ** 2
    near = squared <= radius * radius
    core = near.sum(axis=1) >= min_points
    region = np.full(len(keys), -1)
    n = 0
    for first in np.flatnonzero(core):
        if region[first] >= 0:
            continue
        waiting = [first]
        region[first] = n
        while waiting:
            for other in np.flatnonzero(near[waiting.pop()] & core & (region < 0)):
                region[other] = n
                waiting.append(other)
        n += 1
    for i in np.flatnonzero(~core):
        seen = np.flatnonzero(near[i] & core)
        if len(seen):
            # of equally near cores the first, which is the oldest
            region[i] = region[seen[np.argmin(squared[i, seen])]]
    return [
        (
            frozenset(keys[i] for i in np.flatnonzero(core & (region == r))),
            frozenset(keys[i] for i in np.flatnonzero(region == r)),
        )
        for r in range(n)
    ]


class Naive:
    """Regions {id: (cores, members)} of a sliding window, and what each record changes."""

    def __init__(self, window_size, radius, min_points):
        self.parameters = window_size, radius, min_points
        self.points, self.regions, self.seen, self.next_id = {}, {}, 0, 0

    def push(self, x):
        window_size, radius, min_points = self.parameters
        told, before = [], self.regions
        base = {id: len(members) for id, (_, members) in before.items()}
        self.points[self.seen] = tuple(x)
        regions = {}
        for cores, members in cluster(self.points, radius, min_points):  # in the order of their oldest cores
            inside = [id for id, (old, _) in before.items() if old <= cores]
            if inside:
                id = min(inside, key=lambda id: (-base[id], id))
                told += [("merged", other, id, 0) for other in inside if other != id]
            else:
                id = self.next_id
                self.next_id += 1
                told.append(("born", id, -1, len(members)))
                base[id] = len(members)
            regions[id] = cores, members
        if self.seen >= window_size:
            del self.points[self.seen - window_size]
            fresh, before, regions = cluster(self.points, radius, min_points), regions, {}
            rest = []
            for id, (old, _) in before.items():
                parts = [part for part in fresh if part[0] <= old]
                if not parts:
                    told.append(("died", id, -1, 0))
                    continue
                largest = max(parts, key=lambda part: (len(part[1]), -min(part[0])))
                regions[id] = largest
                rest += [(part, id) for part in parts if part is not largest]
            for part, parent in sorted(rest, key=lambda item: min(item[0][0])):
                regions[self.next_id] = part
                base[self.next_id] = len(part[1])
                told.append(("split", self.next_id, parent, len(part[1])))
                self.next_id += 1
        for id, (_, members) in regions.items():
            if len(members) != base[id]:
                told.append(("grown" if len(members) > base[id] else "shrunk", id, -1, len(members)))
        self.regions = regions
        self.seen += 1
        return sorted(told)


def same_as_naive(X, window_size, radius, min_points):
    fast, slow = Window(len(X[0]), window_size, radius, min_points), Naive(window_size, radius, min_points)
    shown = {}
    for i, x in enumerate(X):
        told = fast.push(np.array([x], dtype=float), log=True)
        assert sorted((KINDS[c["kind"]], c["id"], c["other"], c["count"]) for c in told) == slow.push(x), i
        assert set(told["at"]) <= {i}
        ids = fast.ids()
        oldest = i + 1 - len(ids)
        assert {id: set(oldest + np.flatnonzero(ids == id)) for id in set(ids) - {-1}} == {
            id: members for id, (_, members) in slow.regions.items()
        }, i
        assert set(oldest + np.flatnonzero(fast.cores())) == set().union(*(c for c, _ in slow.regions.values())), i
        if i % 3 == 2 and i != len(X) - 1:
            continue  # reports at intervals, so that several changes accumulate between them
        ended, changed = fast.report()
        for id in ended:
            del shown[id]
        shown.update((id, rest) for id, *rest in changed)
        assert shown.keys() == slow.regions.keys(), i
        for id, (_, members) in slow.regions.items():
            held = np.array([slow.points[k] for k in sorted(members)])
            count, lower, upper, mean = shown[id]
            assert count == len(held)
            assert lower == tuple(held.min(axis=0))
            assert upper == tuple(held.max(axis=0))
            np.testing.assert_allclose(mean, held.mean(axis=0), rtol=1e-12, atol=1e-12)
            np.testing.assert_array_equal(fast.members(id), sorted(members))


@st.composite
def histories(draw, most=60):
    """Streams in which regions join and split.

    There are few places, so many distances equal the radius and many records are equal.
    """
    dims = draw(st.sampled_from([1, 1, 2, 2, 3, 4, 6]))
    side = draw(st.integers(1, {1: 14, 2: 5, 3: 3, 4: 2, 6: 1}[dims]))
    n = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.integers(0, side + 1, (n, dims)).astype(float)
    if draw(st.booleans()):
        X += rng.normal(0, 0.1, X.shape)
    window_size = draw(st.integers(1, 25))
    return X, window_size, draw(st.sampled_from([0.5, 1.0, 1.0, 1.5, 2.0])), draw(st.integers(1, min(5, window_size)))


@given(histories())
@settings(max_examples=300, deadline=None)
def test_every_record_of_random_histories(history):
    same_as_naive(*history)


@pytest.mark.parametrize("seed", range(40))
def test_a_hub_with_arms_and_loops(seed):
    """The hub leaves first. The searches from its arms meet around the loops and end in the other arms."""
    rng = np.random.default_rng(seed)
    right, up, left, down = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    points = []
    for one, other in ((right, up), (left, down)):
        n, m = rng.integers(1, 6, size=2)
        points += [i * one for i in range(1, n + 1)] + [i * other for i in range(1, m + 1)]
        if n > 1 and m > 1 and rng.random() < 0.7:  # the two arms form a loop
            points += [n * one + i * other for i in range(1, m + 1)] + [m * other + i * one for i in range(1, n)]
    X = np.concatenate([np.zeros((1, 2)), rng.permutation(points), 100 + 10 * np.arange(12)[:, None] * np.ones((1, 2))])
    same_as_naive(X, len(points) + 1, 1.0, 2)
    same_as_naive(np.pad(X, ((0, 0), (1, 2))), len(points) + 1, 1.0, 2)


@pytest.mark.slow
@given(histories())
@settings(max_examples=10_000, deadline=None)
def test_ten_thousand_random_histories(history):
    same_as_naive(*history)


@pytest.mark.parametrize(("d", "sphere"), [(1, False), (2, False), (3, False), (4, False), (2, True)])
def test_a_window_too_large_for_the_caches(d, sphere):
    """In a large window, lookups around later records are prefetched. Batches, single records and restored windows give the same
    results.
    """
    n, window_size, min_points = 76_000, 66_000, 12
    rng = np.random.default_rng(d)
    side = (n / 8) ** (1 / d)
    X = rng.uniform(0, side, size=(n, d))
    X[::6] = rng.uniform(0, side - 1, size=(40, d))[rng.integers(40, size=len(X[::6]))] + rng.uniform(
        0, 1, size=X[::6].shape
    )
    X[1::50] = X[::50]
    if sphere:
        X = np.array([-17.0, 179.9]) + X * 0.002
    metres = 130.0 if sphere else 0.6
    many, mixed = (Window(d, window_size, metres, min_points, sphere) for _ in range(2))
    many.push(X[: n - 2000])
    mixed.push(X[: n - 4000])
    for i in range(n - 4000, n - 3000):
        mixed.push(X[i : i + 1])
    again = Window.restore(mixed.state(), sphere)
    for window in (mixed, again):
        for begin in range(n - 3000, n, 250):
            window.push(X[begin : begin + 250])
    many.push(X[n - 2000 :])
    for window in (mixed, again):
        np.testing.assert_array_equal(window.ids(), many.ids())
        np.testing.assert_array_equal(window.cores(), many.cores())
    points = unit_sphere(X[-window_size:]) if sphere else X[-window_size:]
    radius = 2 * np.sin(metres / EARTH_RADIUS / 2) if sphere else metres
    dbscan = DBSCAN(eps=radius, min_samples=min_points, algorithm="kd_tree").fit(points)
    core, ids = many.cores(), many.ids()
    np.testing.assert_array_equal(np.flatnonzero(core), dbscan.core_sample_indices_)
    np.testing.assert_array_equal(ids < 0, dbscan.labels_ < 0)
    pairs = set(zip(ids[core].tolist(), dbscan.labels_[core].tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) >= 10
