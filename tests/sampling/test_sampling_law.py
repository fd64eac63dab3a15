"""The distribution of the sample: which records it holds, their ages, and the sample after a merge.

The keys of a reservoir are a race of exponential variables, so the probability of each sample of a short stream is known exactly
(`naive.inclusion`). It is compared with counts over many reservoirs, or over the trees of one forest.

Error rate: a p-value of a correct implementation falls below ALPHA with that probability for a new seed; the seeds are fixed.
"""

from collections import Counter

import naive
import numpy as np
import pytest
from laws import ALPHA, chi_square, same_law
from scipy import stats

from rcf._core import Forest
from rcf.sampling import Reservoir

MANY = 20_000
N, CAPACITY = 7, 3
WEIGHTS = np.array([1.0, 5.0, 0.2, 1.0, 3.0, 0.5, 2.0])
weights_and_decay = pytest.mark.parametrize(
    ("weights", "decay"), [(None, 0.0), (WEIGHTS, 0.0), (None, 0.3), (WEIGHTS, 0.3), (None, 2.0)]
)


def assert_law(samples, law):
    assert chi_square(Counter(tuple(sorted(s)) for s in samples), law) > ALPHA


def held(forest):
    return [forest.tree(i)["slots"]["arrival"].tolist() for i in range(forest.n_trees)]


def rows(n):
    return np.arange(float(n))[:, None]


def law_of(weights, decay, capacity=CAPACITY, n=N):
    return naive.inclusion(np.ones(n) if weights is None else weights, capacity, decay)


# ---- a short stream ----------------------------------------------------------------------------------------


@weights_and_decay
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_stream(weights, decay, batch):
    forest = Forest(MANY, CAPACITY, 1, decay, [1, batch])
    for i in range(0, N, batch):
        forest.update(rows(N)[i : i + batch], None if weights is None else weights[i : i + batch], None, 1)
    assert_law(held(forest), law_of(weights, decay))


@weights_and_decay
@pytest.mark.parametrize("how", ["offer", "extend", "in two"])
def test_reservoir(weights, decay, how):
    samples = []
    for seed in range(MANY // 4):
        reservoir = Reservoir(CAPACITY, time_decay=decay, random_state=seed)
        if how == "offer":
            for i in range(N):
                reservoir.offer(i + 1, 1.0 if weights is None else weights[i])
        elif how == "extend":
            reservoir.extend(range(1, N + 1), weights)
        else:
            reservoir.extend(range(1, 5), None if weights is None else weights[:4])
            reservoir.extend(iter(range(5, N + 1)), None if weights is None else weights[4:])
        assert reservoir.sample() == sorted(reservoir.sample())
        assert (reservoir.n_seen - reservoir.ages()).tolist() == reservoir.sample()
        samples.append(reservoir.sample())
    assert_law(samples, law_of(weights, decay))


@weights_and_decay
@pytest.mark.parametrize("capacity", [2, 3, 5])
def test_fit(weights, decay, capacity):
    """A table is sampled without a pass over its rows, in one of two ways: for few rows and for many."""
    forest = Forest(MANY, capacity, 1, decay or 0.1, [2])
    forest.fit(rows(N), weights, decay > 0, False, 1)
    assert_law(held(forest), law_of(weights, decay, capacity))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("decay", [0.0, 0.4])
def test_fit_then_stream(weights, decay):
    """The rows of a fitted table count as records that all came just before the stream continues."""
    forest = Forest(MANY, CAPACITY, 1, decay, [3])
    forest.fit(rows(N)[:5], None if weights is None else weights[:5], False, False, 1)
    forest.update(rows(N)[5:], None if weights is None else weights[5:], None, 1)
    strength = (np.ones(N) if weights is None else weights) * np.exp(decay * np.array([5, 5, 5, 5, 5, 6, 7]))
    assert_law(held(forest), naive.inclusion(strength, CAPACITY))


def test_each_record_enters_with_its_probability():
    """With skip-ahead, record n enters as often as it belongs to the sample of the first n, and the gaps are independent."""
    decay, weights = 0.2, np.ones(N)
    entered = np.zeros(N)
    for seed in range(MANY):
        reservoir = Reservoir(2, time_decay=decay, random_state=seed)
        entered += [reservoir.offer(None) for _ in range(N)]
    for n in range(3, N + 1):
        law = naive.inclusion(weights[:n], 2, decay)
        p = sum(q for sample, q in law.items() if n in sample)
        assert stats.binomtest(int(entered[n - 1]), MANY, p).pvalue > ALPHA
    assert (entered[:2] == MANY).all()


# ---- merge -------------------------------------------------------------------------------------------------


@weights_and_decay
@pytest.mark.parametrize("first", [1, 4, 6])
@pytest.mark.parametrize("after", [0, 2])
def test_merge_samples_the_union(weights, decay, first, after):
    """A stream is divided between two reservoirs. They are merged, and two more records come."""
    w = np.ones(N) if weights is None else weights
    split = N - after
    first = min(first, split - 1)
    samples = []
    for seed in range(MANY // 4):
        a = Reservoir(CAPACITY, time_decay=decay, random_state=seed)
        b = Reservoir(CAPACITY, time_decay=decay, random_state=MANY + seed)
        a.extend(range(1, first + 1), None if weights is None else w[:first])
        b.extend(range(first + 1, split + 1), None if weights is None else w[first:split])
        a.merge(b)
        assert a.n_seen == split
        assert b.sample()[0] > first
        a.extend(range(split + 1, N + 1), None if weights is None else w[split:])
        assert (a.n_seen - a.ages()).tolist() == a.sample()
        samples.append(a.sample())
    assert_law(samples, law_of(weights, decay))


# ---- forgetting --------------------------------------------------------------------------------------------


def test_rejected_records_stay_out_after_forgetting():
    """It is compared with a simulation that draws once per record. Only a record whose key is low enough in any case fills the
    gap.
    """
    forest = Forest(MANY, CAPACITY, 1, 0.1, [4])
    forest.update(rows(5), None, None, 1)
    forest.forget(np.array([3.0]))
    forest.update(rows(8)[5:], None, None, 1)
    rng = np.random.default_rng(4)
    simulated = []
    for _ in range(MANY):
        keys = np.log(rng.exponential(size=8)) - 0.1 * np.arange(8)
        sample = sorted(range(5), key=lambda i, k=keys: k[i])[:CAPACITY]
        threshold = keys[sample[-1]]
        sample = [i for i in sample if i != 3]
        for i in range(5, 8):
            if keys[i] < threshold:
                sample = sorted([*sample, i], key=lambda i, k=keys: k[i])[:CAPACITY]
                if len(sample) == CAPACITY:
                    threshold = keys[sample[-1]]
        simulated.append(tuple(sorted(i + 1 for i in sample)))
    assert same_law(simulated, [tuple(sorted(s)) for s in held(forest)]) > ALPHA


# ---- ages --------------------------------------------------------------------------------------------------

LENGTH, SIZE = 30_000, 256
DECAYS = [0.0, 1 / 2560, 1 / 1024, 1 / 256]
# Measured mean age and acceptance for a stream of 30 000 records and 256 places. The bounds include the noise of both measurements.
FIGURES = {0.0: (15_044, None), 1 / 2560: (2_575, 0.097), 1 / 1024: (None, 0.233), 1 / 256: (296, 0.738)}


def assert_ages(ages, decay, n=LENGTH):
    """The ages of many independent samples have the right mean (z-test) and distribution (Kolmogorov-Smirnov test)."""
    age, _ = naive.mean_age(n, SIZE, decay)
    ages = np.asarray(ages, dtype=float)  # (samples, SIZE)
    error = ages.std() / np.sqrt(ages.size)
    assert abs(ages.mean() - age) < 5 * error + 0.002 * age
    if FIGURES[decay][0] is not None and n == LENGTH:
        assert ages.mean() == pytest.approx(FIGURES[decay][0], abs=5 * error + 0.01 * age)
    rng = np.random.default_rng(5)
    slow = np.concatenate([n - naive.reservoir(rng, n, SIZE, decay) for _ in range(len(ages))])
    assert stats.ks_2samp(ages.ravel(), slow).pvalue > ALPHA


@pytest.mark.parametrize("decay", DECAYS)
def test_ages_of_a_long_stream(decay):
    forest = Forest(40, SIZE, 1, decay, [6])
    stream = np.random.default_rng(6).normal(size=(LENGTH, 1))
    forest.update(stream, None, None, 2)
    assert_ages([LENGTH - np.array(s) for s in held(forest)], decay)


@pytest.mark.parametrize("decay", DECAYS)
def test_ages_of_a_long_table(decay):
    forest = Forest(40, SIZE, 1, decay, [7])
    forest.fit(rows(LENGTH), None, True, False, 1)
    assert_ages([LENGTH - np.array(s) for s in held(forest)], decay)


@pytest.mark.parametrize("decay", DECAYS)
def test_acceptance(decay):
    """The share of accepted records in the second half of the stream. With 8 reservoirs the standard error of 25 000 draws is below
    1 %.
    """
    entered = 0
    for seed in range(8):
        reservoir = Reservoir(SIZE, time_decay=decay, random_state=seed)
        reservoir.extend(range(LENGTH // 2))
        entered += sum(reservoir.offer(i) for i in range(LENGTH // 2))
    rate = entered / (8 * LENGTH / 2)
    if decay == 0.0:
        expected = SIZE * np.log(2) / (LENGTH / 2)
    else:
        expected = naive.mean_age(LENGTH, SIZE, decay)[1]
        assert rate == pytest.approx(FIGURES[decay][1], rel=0.02)
    error = np.sqrt(expected * (1 - expected) / (8 * LENGTH / 2)) / expected
    assert rate == pytest.approx(expected, rel=5 * error + 0.002)


def later(state, by, decay):
    """The state of a sample `by` records later: the same sample with each key and number shifted."""
    capacity, d, slots, threshold, following, settled, budget, words, n_seen = state
    slots = slots.copy()
    slots["arrival"] += by
    slots["key"] -= decay * by
    return capacity, d, slots, threshold - decay * by, following + by, settled + by, budget, words, n_seen + by


@pytest.mark.parametrize("decay", DECAYS[1:])
def test_ages_after_a_billion_records(decay):
    """The counters are advanced and the stream continues for ten mean ages; the keys keep their resolution."""
    more, ages = LENGTH, []
    for seed in range(20):
        reservoir = Reservoir(SIZE, time_decay=decay, random_state=seed)
        reservoir.extend(range(2000))
        core = reservoir._core
        core.__setstate__(later(core.__getstate__(), 10**9, decay))
        assert reservoir.n_seen == 10**9 + 2000
        reservoir.extend(range(more))
        ages.append(reservoir.ages())
    assert_ages(ages, decay)


def test_uniform_after_a_billion_records():
    """Without decay, 10^9 numbers are sampled in milliseconds, because records that do not enter need no random number."""
    ages = []
    for seed in range(40):
        reservoir = Reservoir(SIZE, random_state=seed).extend(range(10**9))
        assert reservoir.n_seen == 10**9
        ages.append(reservoir.ages())
    assert stats.kstest(np.concatenate(ages) / 10**9, "uniform").pvalue > ALPHA


def test_a_table_of_a_billion_rows_with_decay_is_not_scanned():
    """The forest samples the end of a long stream: after the state of a tree is advanced by 10^9, the ages are as before."""
    decay = 1 / 2560
    forest = Forest(20, SIZE, 1, decay, [8])
    stream = np.random.default_rng(8).normal(size=(LENGTH, 1))
    forest.update(stream[:2000], None, None, 1)
    state = forest.state()
    by = 10**9
    for name in ("arrival", "next", "settled"):
        state[name] = state[name] + by
    for name in ("key", "threshold"):
        state[name] = state[name] - decay * by
    state["seen"] = int(state["seen"]) + by
    forest = Forest.from_state(state)
    forest.update(stream, None, None, 1)
    assert_ages([by + 2000 + LENGTH - np.array(s) for s in held(forest)], decay)
