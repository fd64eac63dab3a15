"""What a record goes through before the trees see it."""

import copy
from itertools import pairwise

import numpy as np
import pytest

from rcf.detector.running import averages, learn, learn_rows
from rcf.detector.transform import KINDS, Transform


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


@pytest.mark.parametrize("kind", ["normalize", "normalize_difference"])
@pytest.mark.parametrize("at", [64, 65, 100, 255, 256, 257, 700])
def test_many_are_as_one_at_a_time_where_features_stand_still(kind, at):
    x = np.full((800, 4), [5.0, 0.1, 1e6, 3.0])
    x[:, 3] += np.random.default_rng(0).normal(size=800)
    x[at:, 0] += 1e-3
    x[at + 3, 1] = 0.2
    x[::7, 2] += 1e-7  # in the thirteenth digit: stands still
    x[at + 50 :, 2] += 1.0
    one = Transform(kind, [1.0, 2.0, 0.5, 1.0], 64)
    for row in x[:64].tolist():
        one.push(row)
    assert one.still == ([0, 1, 2] if kind == "normalize" else [0, 1])
    many = copy.deepcopy(one)
    rows = [z for row in x[64:].tolist() for z in one.push(row)]
    found = np.concatenate([many.push_many(x[a:b])[0] for a, b in pairwise([64, 80, 300, 800])])
    assert found.tolist() == rows
    assert many.state() == one.state()
    assert one.still == []
    other = Transform(kind, [1.0, 2.0, 0.5, 1.0], 64)
    other.restore(copy.deepcopy(one.state()))
    assert other.state() == one.state()


@pytest.mark.parametrize("jump", [1e-3, 20.0, -1e4])
@pytest.mark.parametrize("n", [65, 1000, 5000])
def test_the_first_move_of_a_still_feature_is_as_far_out_as_one_in_n(n, jump):
    transform = Transform("normalize", [1.0, 2.0], 64)
    rng = np.random.default_rng(0)
    for _ in range(n - 1):
        transform.push([7.0, rng.normal()])
    assert transform.still == [0]
    rate = 1.0 / min(n, 2560)
    z = transform.push([7.0 + jump, 0.0])[0][0]
    assert z == pytest.approx(np.sign(jump) / np.sqrt(rate * (1 - rate)), rel=1e-6)
    assert transform.still == []
    assert transform.push([7.0, 0.0])[0][0] == 0.0


def test_a_feature_that_wakes_from_a_long_sleep_is_seen_again():
    """Its scale has sunk by ten orders of magnitude; what lies beyond the clip must not stay there."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(203_000, 2))
    x[100:200_000, 0] = 7.0
    transform = Transform("normalize", [1.0, 1.0], 64)
    for row in x[:64].tolist():
        transform.push(row)
    Z, _ = transform.push_many(x[64:])
    assert transform.scale[0] > 0.1
    late = Z[-2000:, 0]
    assert 0.5 < late.std() < 10.0
    np.testing.assert_allclose(np.diff(late), np.diff(x[-2000:, 0]) / transform.scale[0], rtol=1e-6)
    # up to its sleep's end it has not jumped
    assert np.ptp(Z[100:199_000, 0]) < 1e-3


@pytest.mark.parametrize("still", [[2], [-1], [1, 0], [0, 0], [0.5]])
def test_features_that_stood_still_are_checked(still):
    transform = Transform("normalize", [1.0, 1.0], 4)
    for t in range(4):
        transform.push([7.0, t])
    state = transform.state()
    assert state["still"] == [0]
    state["still"] = still
    with pytest.raises((ValueError, TypeError), match="stood still"):
        Transform("normalize", [1.0, 1.0], 4).restore(state)


def test_running_numbers_are_those_of_all_records_at_rate_one_by_n():
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(500, 2))
    means, squares = [0.0, 0.0], [0.0, 0.0]
    for n, row in enumerate(x.tolist(), 1):
        learn(row, means, squares, 1.0 / n)
    np.testing.assert_allclose(means, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(squares, x.var(axis=0), rtol=1e-12)
    rates = 1.0 / np.arange(1, 501)
    mean, square, average, before = np.zeros(2), np.zeros(2), np.zeros(2), np.empty((500, 2))
    assert learn_rows(x, rates, mean, square, np.empty(0, dtype=np.int64)) == 500
    averages(x, rates, average, before)
    assert (mean.tolist(), square.tolist(), average.tolist()) == (means, squares, means)
    np.testing.assert_allclose(before[1:], np.cumsum(x, axis=0)[:-1] * rates[:-1, None], rtol=1e-12)


def test_the_largest_numbers_leave_no_infinity():
    transform = Transform("normalize", [1.0, 1.0], 4)
    ready = [row for x in ([1.7e38, 0.0], [-1.7e38, 1.0]) * 4 for row in transform.push(x)]
    assert np.isfinite(ready).all()
    assert np.isfinite([transform.mean, transform.square]).all()
