"""Random operations on a reservoir, with checks of properties that always hold."""

import copy
import math
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rcf.sampling import Reservoir

weights = st.one_of(st.sampled_from([1.0, 1e-150, 1e150, 0.1, 7.0]), st.floats(1e-3, 1e3))


def keys(reservoir):
    return {int(s["arrival"]): float(s["key"]) for s in reservoir._core.slots}


class ReservoirMachine(RuleBasedStateMachine):
    @initialize(
        capacity=st.sampled_from([1, 2, 3, 8, 50]),
        decay=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
        seed=st.integers(0, 5),
    )
    def start(self, capacity, decay, seed):
        self.capacity, self.decay = capacity, decay
        self.sampler = Reservoir(capacity, time_decay=decay, random_state=seed)
        self.twin = Reservoir(capacity, time_decay=decay, random_state=seed)  # fed one by one
        self.n = 0

    def items(self, n):
        """Items that hold their position in the stream."""
        self.n += n
        return [("record", i) for i in range(self.n - n + 1, self.n + 1)]

    def passed(self, before, n):
        """Check a pass of n records: only the records with the smallest keys stay, and those that stay do not change."""
        after = keys(self.sampler)
        assert len(after) == min(self.capacity, len(before) + n)
        for arrival, key in after.items():
            assert arrival > self.n - n or before[arrival] == key
        gone = [key for arrival, key in before.items() if arrival not in after]
        assert not gone or max(after.values()) <= min(gone)

    @rule(weight=weights)
    def offer(self, weight):
        before = keys(self.sampler)
        (item,) = self.items(1)
        entered = self.sampler.offer(item, weight)
        assert entered == (self.n in keys(self.sampler))
        assert self.twin.offer(item, weight) == entered
        self.passed(before, 1)

    @rule(n=st.integers(0, 40), how=st.sampled_from([list, tuple, iter]))
    def extend(self, n, how):
        before, items = keys(self.sampler), self.items(n)
        assert self.sampler.extend(how(items)) is self.sampler
        for item in items:
            self.twin.offer(item)
        self.passed(before, n)

    @rule(w=st.lists(weights, min_size=1, max_size=20))
    def extend_weighted(self, w):
        before, items = keys(self.sampler), self.items(len(w))
        self.sampler.extend(items, w)
        for item, weight in zip(items, w, strict=True):
            self.twin.offer(item, weight)
        self.passed(before, len(w))

    @rule(n=st.integers(0, 60), seed=st.integers(0, 5), w=st.sampled_from([1.0, 0.5]))
    def merge(self, n, seed, w):
        other = Reservoir(self.capacity, time_decay=self.decay, random_state=100 + seed)
        offset, before = self.n, keys(self.sampler)
        other.extend(self.items(n), np.full(n, w))
        theirs, kept = keys(other), other.sample()
        union = before | {a + offset: key - self.decay * offset for a, key in theirs.items()}
        self.sampler.merge(other)
        self.twin.merge(other)
        assert keys(self.sampler) == dict(sorted(union.items(), key=lambda item: item[1])[: self.capacity])
        assert (keys(other), other.sample()) == (theirs, kept)

    @rule(how=st.sampled_from([copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))]))
    def restore(self, how):
        self.sampler = how(self.sampler)

    @rule(weight=st.sampled_from([0.0, -1.0, math.nan, math.inf, 1e-200]))
    def refuse(self, weight):
        before, n = pickle.dumps(self.sampler), self.sampler.n_seen
        with pytest.raises(ValueError, match="weight must be between 1e-150 and 1e150"):
            self.sampler.offer("bad", weight)
        with pytest.raises(ValueError, match="weights must be between 1e-150 and 1e150"):
            self.sampler.extend(["good", "bad"], [1.0, weight])
        with pytest.raises(ValueError, match="has shape"):
            self.sampler.extend(["good", "bad"], [1.0])
        with pytest.raises(ValueError, match="itself"):
            self.sampler.merge(self.sampler)
        with pytest.raises(ValueError, match="capacity"):
            self.sampler.merge(Reservoir(self.capacity + 1, time_decay=self.decay))
        assert pickle.dumps(self.sampler) == before
        assert self.sampler.n_seen == n

    @invariant()
    def whole(self):
        if not hasattr(self, "sampler"):
            return
        sampler = self.sampler
        assert sampler.n_seen == self.n
        assert len(sampler) <= self.capacity
        assert sampler.sample() == [("record", self.n - age) for age in sampler.ages()]
        assert (np.diff(sampler.ages()) < 0).all()
        heap = sampler._core.slots["key"]
        assert all(heap[(i - 1) // 2] >= heap[i] for i in range(1, len(heap)))
        assert sorted(sampler._core.slots["place"].tolist()) == list(range(len(sampler)))
        assert keys(sampler) == keys(self.twin)
        assert sampler.sample() == self.twin.sample()


ReservoirMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None, derandomize=True)
test_reservoir = ReservoirMachine.TestCase
