"""What a record goes through before the trees see it."""

import copy
from itertools import pairwise

import numpy as np
import pytest

from rcf._running import averages, learn, learn_rows
from rcf._transform import KINDS, Transform


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_many_are_as_one_at_a_time(kind, d):
    rng = np.random.default_rng(0)
    # the spread grows and shrinks more than eightfold, so that the scale is settled anew
    x = rng.normal(size=(6000, d)) * np.where(np.arange(6000) // 1500 % 2, 40.0, 1.0)[:, None] + 1e3
    one = Transform(kind, [1.0, 2.0, 0.5][:d], 64)
    for row in x[:70].tolist():
        one.push(row)
    many, start = copy.deepcopy(one), list(one.scale)
    rows, steps = [], []
    for row in x[70:].tolist():
        rows.extend(one.push(row))
        steps.append((row, one.base, one.centre, one.scale))
    found, places = [], []
    for a, b in pairwise([70, 71, 255, 256, 512, 600, 3000, 6000]):
        Z, step = many.push_many(x[a:b])
        found.extend(Z.tolist())
        places.extend(map(step, range(b - a)))
    assert found == rows
    assert places == steps
    assert many.state() == one.state()
    assert (one.scale != start) == (d > 1 and "normalize" in kind)


def test_running_numbers_are_those_of_all_records_at_rate_one_by_n():
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(500, 2))
    means, squares = [0.0, 0.0], [0.0, 0.0]
    for n, row in enumerate(x.tolist(), 1):
        learn(row, means, squares, 1.0 / n)
    np.testing.assert_allclose(means, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(squares, x.var(axis=0), rtol=1e-12)
    rates = 1.0 / np.arange(1, 501)
    mean, square, average, before = np.zeros(2), np.zeros(2), np.zeros(2), np.empty((500, 2))
    learn_rows(x, rates, mean, square)
    averages(x, rates, average, before)
    assert (mean.tolist(), square.tolist(), average.tolist()) == (means, squares, means)
    np.testing.assert_allclose(before[1:], np.cumsum(x, axis=0)[:-1] * rates[:-1, None], rtol=1e-12)


def test_the_largest_numbers_leave_no_infinity():
    transform = Transform("normalize", [1.0, 1.0], 4)
    ready = [row for x in ([1.7e38, 0.0], [-1.7e38, 1.0]) * 4 for row in transform.push(x)]
    assert np.isfinite(ready).all()
    assert np.isfinite([transform.mean, transform.square]).all()
