"""Inline helpers of the trees: logarithms, random numbers and cuts; and scoring many rows gives the scores of single rows."""

import math

import hypothesis.strategies as st
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from laws import ALPHA
from scipy import stats

from rcf._core import Forest, hook

WORD = 2**64 - 1


def ulps(got, exact):
    """The error in units of the last place of a double, against an 80-bit value."""
    return float(abs(np.longdouble(got) - exact) / np.spacing(abs(np.float64(exact))))


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="no longer float to compare with on this machine")
@pytest.mark.parametrize(
    ("name", "low", "high", "bound"),
    [
        ("log", 1e-320, 1e308, 1.0),
        ("log2", 1.0, 2e9, 1.5),
        ("exp", -700, 709, 1.0),
        # near the point where they switch to log(1 + x) and exp(x) - 1, which round twice
        ("log1p", -0.9999, 1e6, 2.5),
        ("expm1", -40, 700, 3.0),
    ],
)
def test_functions_are_accurate(name, low, high, bound):
    """The errors in units in the last place, over the whole range and near the zeros of the functions."""
    rng = np.random.default_rng(0)
    x = rng.uniform(low, high, 4000)
    if low > 0:
        x = np.concatenate([x, np.exp(rng.uniform(np.log(low), np.log(high), 4000))])
    near = 1.0 if name in ("log", "log2") else 0.0
    x = np.concatenate([x, near + np.exp(rng.uniform(-30, -1, 2000)), near - np.exp(rng.uniform(-30, -2, 2000))])
    x = x[(x >= low) & (x <= high)]
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(x.astype(np.longdouble))
    worst = max(ulps(hook(name, float(v)), e) for v, e in zip(x, exact, strict=True) if e != 0)
    assert worst <= bound


def test_functions_at_their_limits():
    assert hook("log", 0.0) == -math.inf
    assert hook("log", math.inf) == math.inf
    assert hook("log", 1.0) == 0.0
    assert hook("log", 5e-324) == pytest.approx(math.log(5e-324), rel=1e-15)
    assert hook("exp", 1000.0) == math.inf
    assert hook("exp", -1000.0) == 0.0
    assert hook("exp", 0.0) == 1.0
    assert [hook("log2", 2.0**k) for k in range(40)] == list(range(40))


def xoshiro(words):
    """xoshiro256++ as its authors define it (https://prng.di.unimi.it/)."""
    s = [int(w) for w in words]
    while True:
        left = lambda x, k: ((x << k) | (x >> (64 - k))) & WORD  # noqa: E731
        yield (left((s[0] + s[3]) & WORD, 23) + s[0]) & WORD
        t = (s[1] << 17) & WORD
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = left(s[3], 45)


def words(seed):
    return np.random.SeedSequence(seed).generate_state(4, np.uint64).tolist()


def test_generator():
    for seed in range(5):
        expected = xoshiro(words(seed))
        assert hook("next_word", words(seed), 1000) == [next(expected) for _ in range(1000)]
    # the first outputs for the state 1, 2, 3, 4 in other implementations
    assert hook("next_word", [1, 2, 3, 4], 2) == [41943041, 58720359]


def test_each_tree_has_its_own_random_numbers():
    for seed in ([11, 12], [0], [], [2**32 - 1], [2**32], [2**64 - 1, 0, 7], [2**100 + 5], list(range(9))):
        state = Forest(3, 4, 1, 0.0, seed).state()["rng"]
        for row, child in zip(state, np.random.SeedSequence(seed).spawn(3), strict=True):
            assert row.tolist() == child.generate_state(4, np.uint64).tolist()


def test_draws_have_their_distributions():
    u = np.array(hook("uniform", words(1), 100_000))
    assert ((u >= 0) & (u < 1)).all()
    assert stats.kstest(u, "uniform").pvalue > ALPHA
    e = np.array(hook("exponential", words(2), 100_000))
    assert (e > 0).all()
    assert stats.kstest(e, "expon").pvalue > ALPHA
    for bound in (1, 2, 3, 10, 1000):
        drawn = hook("below", words(bound), 20_000, bound)
        assert stats.chisquare(np.bincount(drawn, minlength=bound)).pvalue > ALPHA if bound > 1 else not any(drawn)
    # words that would favour small numbers are rejected: one in four, if the range has 3/4 of the size of all words
    bound = 3 * 2**62
    assert max(hook("below", words(3), 1000, bound)) < bound
    assert stats.kstest(np.array(hook("below", words(4), 20_000, bound)) / bound, "uniform").pvalue > ALPHA


finite = st.floats(-(2.0**126), 2.0**126, width=32)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(base=finite, top=finite, where=st.floats(0, 1))
def test_a_cut_divides_its_interval(base, top, where):
    """base <= cut < top, and cut is the largest float that is not above v, for any rounding and for intervals of one ulp."""
    base, far = min(base, top), max(base, top)
    for top in (far, float(np.nextafter(np.float32(base), np.float32(np.inf)))):
        if not base < top:
            continue
        v = base + where * (top - base)
        cut = hook("cut_between", v, base, top)
        assert base <= cut < top
        assert math.copysign(1, cut) == 1 or cut != 0
        if v < top:
            assert cut <= max(v, base)
            assert float(np.nextafter(np.float32(cut), np.float32(np.inf))) > v
        else:
            assert float(np.nextafter(np.float32(cut), np.float32(np.inf))) == np.float32(top)


@pytest.mark.parametrize("kind", naive.KINDS)
@pytest.mark.parametrize(("capacity", "d"), [(1, 1), (2, 3), (9, 4), (30, 5), (60, 9), (200, 24)])
def test_many_rows_score_like_single_rows(capacity, d, kind):
    """Large batches go through a tree together and small ones row by row. The bits must be equal, and equal to the oracle's.
    The rows are in the sample, near it, inside the box, or far away.
    """
    rng = np.random.default_rng(capacity)
    held = np.round(rng.normal(size=(capacity, d)) * 4) / 4
    forest = Forest(3, capacity, d, 0.0, [capacity])
    forest.fit(held, None, False, False, 1)
    queries = np.concatenate([held, held + 1 / 8, rng.normal(size=(3 * capacity + 10, d)), 50 * held[:3], held])
    swept = forest.score(queries, kind, 1)
    assert swept.tolist() == [forest.score(x[None], kind, 1)[0] for x in queries]
    trees = [naive.read(forest.tree(i)) for i in range(3)]
    narrow = (queries - forest.origin_).astype(np.float32).astype(float)
    for i in rng.permutation(len(queries))[:60]:
        expected = np.mean([naive.score(tree, narrow[i], kind) for tree in trees])
        assert swept[i] == pytest.approx(expected, rel=1e-9, abs=1e-12)
