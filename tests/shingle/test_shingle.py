"""Windows of a stream and of an array, compared with the oracle."""

import copy
import pickle

import hypothesis.strategies as st
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rcf.shingle import Shingler, shingle, unshingle

numbers = st.one_of(st.sampled_from([0.0, -0.0, 1e300, 5e-324]), st.floats(allow_nan=False))


class ShinglerMachine(RuleBasedStateMachine):
    @initialize(size=st.integers(1, 6), d=st.integers(1, 3), rotate=st.booleans())
    def start(self, size, d, rotate):
        self.size, self.d, self.rotate = size, d, rotate
        self.shingler = Shingler(size, d, rotate=rotate)
        self.records = []

    def expected(self):
        n = len(self.records)
        if n < self.size:
            return None
        if not self.rotate:
            return naive.shingle(self.records, self.size)[-1]
        # record k stays in place k % size
        last = {k % self.size: self.records[k] for k in range(n)}
        return np.concatenate([last[place] for place in range(self.size)])

    @rule(data=st.data())
    def push(self, data):
        record = np.array(data.draw(st.lists(numbers, min_size=self.d, max_size=self.d)))
        self.records.append(record)
        got = self.shingler.push(record)
        assert (got is None) == (len(self.records) < self.size)
        if got is not None:
            assert got.tobytes() == self.expected().tobytes()
            got[:] = 99.0  # a copy: the shingler does not see it

    @rule()
    def reset(self):
        self.shingler.reset()
        self.records = []

    @rule(how=st.sampled_from([copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]))
    def restore(self, how):
        self.shingler = how(self.shingler)

    @precondition(lambda self: self.d > 1)
    @rule()
    def refuse(self):
        with pytest.raises(ValueError, match=rf"{self.d}"):
            self.shingler.push(np.zeros(self.d + 1))

    @invariant()
    def same(self):
        if not hasattr(self, "shingler"):
            return
        window, expected = self.shingler.window, self.expected()
        assert self.shingler.n_seen == len(self.records)
        assert self.shingler.full == (expected is not None)
        assert (window is None) == (expected is None)
        if window is not None:
            assert window.tobytes() == expected.tobytes()


ShinglerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None, derandomize=True)
test_shingler = ShinglerMachine.TestCase


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_shingle_of_an_array(data):
    n, d, size, step = (data.draw(st.integers(1, 12)) for _ in range(4))
    series = np.arange(float(n * d)).reshape(n, d)
    layout = data.draw(st.sampled_from([np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, 1)[:, ::2]]))
    if size > n:
        with pytest.raises(ValueError, match="does not fit"):
            shingle(layout(series), size, step)
        return
    windows = shingle(layout(series), size, step)
    assert np.array_equal(windows, naive.shingle(series, size, step))
    if layout is np.ascontiguousarray:
        assert np.shares_memory(windows, series)
    with pytest.raises(ValueError, match="read-only"):
        windows[0, 0] = 1.0


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_unshingle_of_scores(data):
    size, step, m = (data.draw(st.integers(1, 8)) for _ in range(3))
    scores = np.array(data.draw(st.lists(st.floats(-10, 10), min_size=m, max_size=m)))
    n = (m - 1) * step + size
    covering = [[scores[i] for i in range(m) if i * step <= t < i * step + size] for t in range(n)]
    ending = [[scores[i] for i in range(m) if t == i * step + size - 1] for t in range(n)]
    for how, expected in (
        ("last", [s[-1] if s else np.nan for s in ending]),
        ("mean", [np.mean(s) if s else np.nan for s in covering]),
        ("max", [max(s) if s else np.nan for s in covering]),
    ):
        got = unshingle(scores, size, step, reduce=how)
        assert got == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)


def test_shingled_stream_and_shingled_array_agree():
    series = np.random.default_rng(0).normal(size=(50, 3))
    shingler = Shingler(7, 3)
    pushed = [window for window in map(shingler.push, series) if window is not None]
    assert np.array_equal(pushed, shingle(series, 7))
