"""The distribution of the reservoir: which records it holds, their ages and weights, and the effect of merging."""

import pickle

import numpy as np
import pytest
from scipy import stats

from rcf.sampling import Reservoir


def test_holds_everything_until_full():
    reservoir = Reservoir(5, random_state=0)
    assert [reservoir.offer(i) for i in range(5)] == [True] * 5
    assert reservoir.sample() == [0, 1, 2, 3, 4]
    assert reservoir.ages().tolist() == [4, 3, 2, 1, 0]
    assert len(reservoir) == reservoir.n_seen == 5


def test_same_seed_same_sample_however_offered():
    one, many, lazy, weighted = (Reservoir(20, time_decay=0.01, random_state=3) for _ in range(4))
    for i in range(1000):
        one.offer(i)
    many.extend(range(400)).extend(np.arange(400, 1000))
    lazy.extend(iter(range(1000)))
    weighted.extend(range(1000), np.ones(1000))
    assert one.sample() == [int(i) for i in many.sample()] == lazy.sample() == weighted.sample()
    assert Reservoir(20, time_decay=0.01, random_state=4).extend(range(1000)).sample() != one.sample()


def test_uniform_without_decay():
    """All of 40 records are held equally often: a chi-square test over 4000 seeds."""
    counts = np.zeros(40)
    for seed in range(4000):
        counts[Reservoir(10, random_state=seed).extend(range(40)).sample()] += 1
    # the 10 of one sample are distinct, so counts spread by (1 - 10/40) of the multinomial
    statistic = ((counts - 1000) ** 2 / 1000).sum() / (1 - 10 / 40) * 39 / 40
    assert 1e-4 < stats.chi2.sf(statistic, 39) < 1 - 1e-4


def test_weights():
    """With capacity 1, the probability of being held is the share of the weight."""
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    counts = np.zeros(4)
    for seed in range(8000):
        counts[Reservoir(1, random_state=seed).extend(range(4), weights).sample()] += 1
    assert stats.chisquare(counts, 8000 * weights / weights.sum()).pvalue > 1e-4


def test_decay_is_a_weight_that_grows():
    """Weights exp(decay * n) without decay give the same distribution as weights 1 with decay."""
    decayed, grown = np.zeros(30), np.zeros(30)
    weights = np.exp(0.1 * np.arange(30))
    for seed in range(3000):
        decayed[Reservoir(5, time_decay=0.1, random_state=seed).extend(range(30)).sample()] += 1
        grown[Reservoir(5, random_state=10_000 + seed).extend(range(30), weights).sample()] += 1
    assert stats.chi2_contingency(np.array([decayed, grown])).pvalue > 1e-4


@pytest.mark.parametrize(("decay", "mean"), [(0.0, 15044), (1 / 2560, 2575), (1 / 256, 296)])
def test_mean_age_in_the_steady_state(decay, mean):
    """The mean age agrees with an independent simulation of 30 000 records, of which 256 are held."""
    ages = [
        Reservoir(256, time_decay=decay, random_state=seed).extend(range(30_000)).ages().mean() for seed in range(40)
    ]
    error = np.std(ages, ddof=1) / np.sqrt(len(ages))
    # the expected means are rounded and come from one run, so 1 % is added to four standard errors
    assert abs(np.mean(ages) - mean) < 4 * error + 0.01 * mean


def test_merge_is_one_reservoir_over_both_streams():
    merged, whole = np.zeros(40), np.zeros(40)
    for seed in range(3000):
        a = Reservoir(6, time_decay=0.05, random_state=seed).extend(range(25))
        b = Reservoir(6, time_decay=0.05, random_state=50_000 + seed).extend(range(25, 40))
        merged[a.merge(b).sample()] += 1
        assert a.n_seen == 40
        whole[Reservoir(6, time_decay=0.05, random_state=90_000 + seed).extend(range(40)).sample()] += 1
    assert merged.sum() == whole.sum()
    assert stats.chi2_contingency(np.array([merged, whole])).pvalue > 1e-4


def test_a_merged_reservoir_continues_like_one():
    """Records that come after a merge are compared with the right threshold."""
    merged, whole = np.zeros(60), np.zeros(60)
    for seed in range(3000):
        a = (
            Reservoir(4, random_state=seed)
            .extend(range(20))
            .merge(Reservoir(4, random_state=70_000 + seed).extend(range(20, 40)))
        )
        merged[a.extend(range(40, 60)).sample()] += 1
        whole[Reservoir(4, random_state=30_000 + seed).extend(range(60)).sample()] += 1
    assert stats.chi2_contingency(np.array([merged, whole])).pvalue > 1e-4


def test_merge_leaves_the_other_alone():
    a, b = Reservoir(3, random_state=0).extend("abcdef"), Reservoir(3, random_state=1).extend("uvwxyz")
    before = (b.sample(), b.ages().tolist(), b.n_seen)
    a.merge(b)
    assert (b.sample(), b.ages().tolist(), b.n_seen) == before
    assert set(a.sample()) <= set("abcdefuvwxyz")
    assert len(a) == 3
    assert (np.diff(a.ages()) < 0).all()


def test_rows_and_objects_are_kept_as_they_are():
    rows = np.arange(12.0).reshape(6, 2)
    assert all(
        any(np.array_equal(kept, row) for row in rows) for kept in Reservoir(3, random_state=0).extend(rows).sample()
    )
    thing = object()
    reservoir = Reservoir(2)
    reservoir.offer(thing)
    assert reservoir.sample()[0] is thing


def test_a_pickled_reservoir_continues():
    reservoir = Reservoir(8, time_decay=0.01, random_state=0).extend(range(500))
    again = pickle.loads(pickle.dumps(reservoir))
    assert again.extend(range(500, 2000)).sample() == reservoir.extend(range(500, 2000)).sample()
    assert again.ages().tolist() == reservoir.ages().tolist()


def test_ages_have_the_same_distribution_on_long_streams():
    """The ages after 10^9 records are like those after 10^5. Records that do not enter cost nothing."""
    short, long = (
        np.concatenate(
            [Reservoir(64, time_decay=1e-3, random_state=s).extend(range(n)).ages() for s in range(10 * k, 10 * k + 10)]
        )
        for k, n in enumerate((100_000, 10_000_000))
    )
    assert stats.ks_2samp(short, long).pvalue > 1e-4


def test_great_and_small_weights():
    reservoir = Reservoir(3, random_state=0).extend(range(100), np.full(100, 1e-150))
    assert reservoir.offer("great", 1e150)
    assert "great" in reservoir.sample()
    reservoir.extend(range(1000))
    assert reservoir.sample().count("great") == 1


@pytest.mark.parametrize("weight", [0, -1, np.nan, np.inf, 1e-200, -0.0])
def test_bad_weight_changes_nothing(weight):
    reservoir = Reservoir(2, random_state=0).extend(range(10))
    before = pickle.dumps(reservoir)
    with pytest.raises(ValueError, match="weight must be between 1e-150 and 1e150"):
        reservoir.offer(11, weight)
    with pytest.raises(ValueError, match=r"\(item 1\)"):
        reservoir.extend([1, 2], [1.0, weight])
    assert pickle.dumps(reservoir) == before


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Reservoir(0), ValueError, "capacity must be between 1 and"),
        (lambda: Reservoir(2.5), TypeError, "capacity must be an int, got 2.5"),
        (lambda: Reservoir(2, time_decay=-1), ValueError, "time_decay"),
        (lambda: Reservoir(2, time_decay=np.nan), ValueError, "time_decay"),
        (lambda: Reservoir(2, time_decay="x"), TypeError, "time_decay"),
        (lambda: Reservoir(2, random_state=-1), ValueError, "random_state"),
        (lambda: Reservoir(2, random_state="x"), ValueError, "'x'"),
        (lambda: Reservoir(2).offer(1, "heavy"), TypeError, "weight must be a number, got 'heavy'"),
        (lambda: Reservoir(2).extend([1, 2], [1.0]), ValueError, r"shape \(1,\) for 2 items"),
        (lambda: Reservoir(2).extend([1, 2], [[1.0, 2.0]]), ValueError, "shape"),
        (lambda: Reservoir(2).merge([1, 2]), TypeError, "list"),
        (lambda: Reservoir(2).merge(Reservoir(3)), ValueError, "capacity differs: 2 and 3"),
        (lambda: Reservoir(2).merge(Reservoir(2, time_decay=0.1)), ValueError, "time_decay differs"),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_merging_with_itself_is_refused():
    reservoir = Reservoir(2)
    with pytest.raises(ValueError, match="itself"):
        reservoir.merge(reservoir)


def test_empty():
    reservoir = Reservoir(2)
    assert reservoir.sample() == []
    assert reservoir.ages().tolist() == []
    assert len(reservoir.merge(Reservoir(2))) == 0
    assert repr(reservoir) == "Reservoir(capacity=2, time_decay=0.0) with 0 of 0 records"


@pytest.mark.parametrize("decay", [1e-12, 1.0, 1e6])
def test_extreme_decay(decay):
    reservoir = Reservoir(3, time_decay=decay, random_state=0).extend(range(100_000))
    assert len(reservoir) == 3
    if decay > 100:
        assert reservoir.sample() == [99_997, 99_998, 99_999]


def test_usual_records_after_one_of_enormous_weight():
    """Without decay, one in 10^150 light records enters. With decay, they enter after ln(10^150) / decay records."""
    for decay, held in ((0.0, ["heavy"]), (1e-3, [])):
        reservoir = Reservoir(1, time_decay=decay, random_state=0)
        reservoir.offer("heavy", 1e150)
        reservoir.extend(range(300_000))
        assert reservoir.sample() == ["heavy"]
        reservoir.extend(range(10**6))
        assert [item for item in reservoir.sample() if item == "heavy"] == held
        assert reservoir.n_seen == 1 + 1_300_000
        entered = sum(reservoir.offer(i, 1e150) for i in range(100))
        assert 0 < entered < 100
    reservoir = Reservoir(1, random_state=0)
    reservoir.offer("heavy", 1e150)
    assert reservoir.extend(range(10**18)).sample() == ["heavy"]


def test_a_stream_longer_than_can_be_counted():
    """With 2^20 places, 43 bits are left for the number of a record."""
    reservoir = Reservoir(2**20, random_state=0).extend(range(10))
    most = 2**43 - 1
    state = list(reservoir._core.__getstate__())
    state[-1] = most - 1
    reservoir._core.__setstate__(tuple(state))
    reservoir.offer("last")
    assert reservoir.n_seen == most
    other = Reservoir(2**20).extend([1])
    for late in (lambda: reservoir.offer("late"), lambda: reservoir.extend(["late"]), lambda: reservoir.merge(other)):
        with pytest.raises(ValueError, match=f"a reservoir of 1048576 records counts at most {most} records"):
            late()
    assert reservoir.n_seen == most
