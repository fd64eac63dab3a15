"""Random operations on extreme floats; after every step the forest is compared with the slow oracle."""

import copy
import math
import pickle

import hypothesis.strategies as st
import naive
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rcf._core import Forest

ONE_UP = float(np.nextafter(np.float32(1), np.float32(2)))
NASTY = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    ONE_UP,
    48.08,
    48.08001,
    1e30,
    -1e30,
    1.7e38,
    -1.7e38,
    1e-45,
    -1e-45,
    5e-324,
    1e-38,
]
TAME = [float(v) for v in range(-3, 4)]
values = st.one_of(
    st.sampled_from(TAME),
    st.sampled_from(NASTY),
    st.floats(-1.7e38, 1.7e38),
    st.floats(-1, 1, width=32),
)
kinds = st.sampled_from(naive.METHODS)
BAD = [math.nan, math.inf, -math.inf, 1.8e38, -1e300]


def bits(forest):
    """Everything that a forest shows, as bytes."""
    state = [forest.n_seen.to_bytes(8, "little"), forest.origin_.tobytes()]
    for i in range(forest.n_trees):
        tree = forest.tree(i)
        state.append(np.array([tree["root"], tree["mass"]]).tobytes())
        state += [tree[k].tobytes() for k in ("cuts", "nodes", "boxes", "points", "leaves", "slots")]
    return b"".join(state)


def state(forest):
    """Everything that future results depend on, independent of memory layout."""
    return {name: np.asarray(value).tobytes() for name, value in forest.state().items()}


class ForestMachine(RuleBasedStateMachine):
    low_memory = False

    @initialize(
        d=st.sampled_from([1, 2, 3, 4, 5, 9, 17]),
        capacity=st.sampled_from([1, 2, 3, 5, 17, 40]),
        decay=st.sampled_from([0.0, 0.01, 1.0, 50.0]),
        seed=st.integers(0, 3),
    )
    def start(self, d, capacity, decay, seed):
        self.forest = Forest(3, capacity, d, decay, [seed], self.low_memory)
        self.twin = Forest(3, capacity, d, decay, [seed])  # the same records in another call
        self.d, self.capacity = d, capacity
        self.records = {}
        self.n_seen = 0
        self.warm_up = capacity
        self.full = False  # the sample may have dropped records

    def rows(self, data, n):
        """Extreme rows; many equal an earlier row, completely or in part."""
        out = np.empty((n, self.d))
        for i in range(n):
            old = [*self.records.values(), *out[:i]]
            out[i] = data.draw(st.lists(values, min_size=self.d, max_size=self.d))
            if old and data.draw(st.integers(0, 2)) == 0:
                source = old[data.draw(st.integers(0, len(old) - 1))]
                keep = data.draw(st.integers(0, self.d - 1))
                out[i, keep:] = source[keep:]
        return out

    def narrow(self, x):
        return (np.asarray(x) - self.forest.origin_).astype(np.float32).astype(np.float64) + 0.0

    def trees(self):
        return [naive.read(self.forest.tree(i)) for i in range(3)]

    def expected(self, x, kind):
        return naive.forest_score(self.trees(), self.narrow(x), kind)

    def arrivals(self):
        return [sorted(self.forest.tree(i)["slots"]["arrival"].tolist()) for i in range(3)]

    def learned(self, rows, before):
        for row in rows:
            self.n_seen += 1
            self.records[self.n_seen] = row
        new = set(range(self.n_seen - len(rows) + 1, self.n_seen + 1))
        for was, now in zip(before, self.arrivals(), strict=True):
            assert set(now) <= set(was) | new
            assert len(now) >= len(was)
            if not self.full and len(was) + len(new) <= self.capacity:
                assert set(now) == set(was) | new
        self.full |= any(len(was) + len(rows) >= self.capacity for was in before)

    # ---- learning

    @rule(data=st.data(), n=st.integers(1, 24), weighted=st.booleans(), jobs=st.integers(1, 3), kind=kinds)
    def update(self, data, n, weighted, jobs, kind):
        rows, before = self.rows(data, n), self.arrivals()
        weights = np.array(data.draw(st.lists(st.sampled_from([1.0, 0.25, 100.0]), min_size=n, max_size=n)))
        weights = weights if weighted else None
        scores = self.forest.update(rows, weights, kind, jobs)
        one_by_one = [
            self.twin.update(rows[i : i + 1], None if weights is None else weights[i : i + 1], kind, 1)[0]
            for i in range(n)
        ]
        assert scores.tolist() == one_by_one
        self.learned(rows, before)

    @rule(data=st.data(), kind=kinds)
    def update_one(self, data, kind):
        (x,), before = self.rows(data, 1), self.arrivals()
        expected = self.expected(x, kind) if self.n_seen >= self.warm_up and self.n_seen else 0.0
        score = self.forest.update_record(x, kind)
        assert score == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert self.twin.update(x[None], None, kind, 1)[0] == score
        self.learned([x], before)

    @rule(data=st.data(), n=st.integers(1, 30), how=st.sampled_from(["plain", "weights", "decay", "disjoint"]))
    def fit(self, data, n, how):
        if how == "disjoint":
            n = max(n, 3)
        rows = self.rows(data, n)
        weights = np.array(data.draw(st.lists(st.floats(0.1, 10), min_size=n, max_size=n)))
        arguments = (weights if how == "weights" else None, 0.1 if how == "decay" else 0.0, how == "disjoint")
        self.forest.fit(rows, *arguments, 2)
        self.twin.fit(rows, *arguments, 1)
        self.records = {i + 1: row for i, row in enumerate(rows)}
        self.n_seen, self.warm_up = n, 0
        held = self.arrivals()
        for i, arrivals in enumerate(held):
            assert len(set(arrivals)) == len(arrivals)
            first, last = (n // 3 * i + 1, n // 3 * (i + 1)) if how == "disjoint" else (1, n)
            assert all(first <= a <= last for a in arrivals)
            assert len(arrivals) == min(self.capacity, last - first + 1)
        self.full = any(len(a) >= min(self.capacity, n) for a in held) or how == "disjoint"

    # ---- forgetting

    @precondition(lambda self: self.records)
    @rule(data=st.data(), known=st.booleans())
    def forget(self, data, known):
        x = self.rows(data, 1)[0]
        if known:
            x = self.records[data.draw(st.sampled_from(sorted(self.records)))]
        before, point, expected = self.arrivals(), self.narrow(x), 0
        for arrivals in before:
            equal = [a for a in arrivals if np.array_equal(self.narrow(self.records[a]), point)]
            if equal:
                arrivals.remove(min(equal))
                expected += 1
        assert self.forest.forget(x) == expected
        assert self.twin.forget(x) == expected
        assert self.arrivals() == before

    # ---- reading

    @rule(data=st.data(), kind=kinds, jobs=st.integers(1, 3))
    def score(self, data, kind, jobs):
        queries = self.rows(data, 9)
        scores = self.forest.score(queries, kind, jobs)
        assert scores == pytest.approx([self.expected(x, kind) for x in queries], rel=1e-9, abs=1e-12)

    @rule(data=st.data(), kind=st.sampled_from(naive.KINDS), jobs=st.integers(1, 3))
    def attribution(self, data, kind, jobs):
        queries = self.rows(data, 2)
        parts = self.forest.attribution(queries, kind, jobs)
        assert (parts >= 0).all()
        for x, part, score in zip(queries, parts, self.forest.score(queries, kind, 1), strict=True):
            expected = np.mean([naive.attribution(tree, self.narrow(x), kind) for tree in self.trees()], axis=0)
            assert part == pytest.approx(expected, rel=1e-9, abs=1e-12)
            assert part.sum() == pytest.approx(score, rel=1e-10, abs=1e-14)

    @rule(data=st.data(), jobs=st.integers(1, 3))
    def density(self, data, jobs):
        queries = self.rows(data, 3)
        for x, found in zip(queries, self.forest.density(queries, jobs), strict=True):
            expected = np.mean([naive.density(tree, self.narrow(x)) for tree in self.trees()], axis=0)
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-300)

    @rule(data=st.data(), held=st.booleans())
    def complete(self, data, held):
        x = self.rows(data, 1)[0]
        missing = sorted(data.draw(st.sets(st.integers(0, self.d - 1), min_size=1)))
        found = self.forest.complete(x, missing, held)
        choices = [c for tree in self.trees() if (c := naive.nearest(tree, self.narrow(x), missing, held))]
        assert len(found) == len(choices)
        for got, points in zip(found, choices, strict=True):
            assert any(np.array_equal(got, point[missing] + self.forest.origin_[missing]) for point in points)

    # ---- a copy continues as the original would have

    @rule(how=st.sampled_from([copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))]))
    def restore(self, how):
        self.forest = how(self.forest)

    # ---- refused calls change nothing

    @rule(data=st.data(), bad=st.sampled_from(BAD), n=st.integers(1, 4))
    def refuse_value(self, data, bad, n):
        rows, before = self.rows(data, n), bits(self.forest)
        rows[n - 1, data.draw(st.integers(0, self.d - 1))] = bad
        for call in (
            lambda: self.forest.update(rows, None, "depth", 1),
            lambda: self.forest.fit(rows, None, False, False, 1),
            lambda: self.forest.score(rows, "depth", 1),
            lambda: self.forest.attribution(rows, "depth", 1),
            lambda: self.forest.density(rows, 1),
            lambda: self.forest.complete(rows[n - 1], [0]),
            lambda: self.forest.update_record(rows[n - 1], "depth"),
            lambda: self.forest.forget(rows[n - 1]),
        ):
            with pytest.raises(ValueError, match=r"NaN|infinity|beyond"):
                call()
        assert bits(self.forest) == before

    @rule(weight=st.sampled_from([0.0, -1.0, math.nan, math.inf, 1e-200]))
    def refuse_weight(self, weight):
        before = bits(self.forest)
        with pytest.raises(ValueError, match=r"finite and above zero, got .* \(row 1\)"):
            self.forest.update(np.zeros((2, self.d)), np.array([1.0, weight]), "depth", 1)
        with pytest.raises(ValueError, match="entries for 2 rows"):
            self.forest.update(np.zeros((2, self.d)), np.ones(3), "depth", 1)
        assert bits(self.forest) == before

    @rule()
    def refuse_width(self):
        before, wide = bits(self.forest), np.zeros((1, self.d + 1))
        for call in (
            lambda: self.forest.update(wide, None, "depth", 1),
            lambda: self.forest.update_record(wide[0], "depth"),
            lambda: self.forest.fit(wide, None, False, False, 1),
            lambda: self.forest.score(wide, "depth", 1),
            lambda: self.forest.attribution(wide, "depth", 1),
            lambda: self.forest.density(wide, 1),
            lambda: self.forest.complete(wide[0], [0]),
            lambda: self.forest.forget(wide[0]),
        ):
            with pytest.raises(ValueError, match=f"X has {self.d + 1} features"):
                call()
        assert bits(self.forest) == before

    # ---- invariants

    @invariant()
    def whole(self):
        if not hasattr(self, "forest"):
            return
        assert self.forest.n_seen == self.n_seen
        masses = self.forest.masses()
        for i in range(3):
            tree = self.forest.tree(i)
            naive.check(tree)
            assert masses[i] == tree["mass"] <= self.capacity
            assert len(set(tree["slots"]["arrival"].tolist())) == len(tree["slots"])
            for slot in tree["slots"]:
                point = tree["points"][slot["leaf"]]
                assert np.array_equal(point, self.narrow(self.records[int(slot["arrival"])]))

    @invariant()
    def fed_in_another_way_it_is_the_same(self):
        if hasattr(self, "forest"):
            assert state(self.forest) == state(self.twin)


ForestMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=25, deadline=None, derandomize=True)
test_forest = ForestMachine.TestCase


class LowMemory(ForestMachine):
    """A forest in low-memory mode, compared with a forest that stores all boxes."""

    low_memory = True


LowMemory.TestCase.settings = ForestMachine.TestCase.settings
test_forest_low_memory = LowMemory.TestCase


class Longer(ForestMachine):
    pass


Longer.TestCase.settings = settings(max_examples=500, stateful_step_count=40, deadline=None, derandomize=True)
test_forest_longer = pytest.mark.slow(Longer.TestCase)
