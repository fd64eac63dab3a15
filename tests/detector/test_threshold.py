"""From scores to alarms: how often chance is called, and what a few anomalies do to the calls of others."""

import numpy as np
import pytest

from rcf.detector import StreamDetector
from rcf.detector.threshold import Threshold

RATE = 0.005  # the default


def threshold(rate=RATE, samples=256):
    return Threshold(rate, 8, samples, True, 1.2, 8.0)


def calls(x, seed=0, **params):
    return StreamDetector(random_state=seed, **params).update_many(x).anomalies


# ---- scores given ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [64, 256, 1000])
@pytest.mark.parametrize("rate", [0.0005, 0.005, 0.05])
def test_a_tenth_of_the_rate_is_called_of_independent_scores(rate, samples):
    # the tail of these lies between that of forest scores of a noisy sine and of heavy tails: scale over deviation 2.3
    scores = 2.0 + 0.3 * np.random.default_rng(0).exponential(size=200_000) ** 1.5
    called = threshold(rate, samples).steps(scores, np.full(200_000, 1.0))[3].mean()
    # echoes within the shingle of 8 are not called
    assert 0.03 * rate < called < 0.2 * rate


def test_the_first_limit_comes_after_32_scores_and_follows_a_change_of_scale():
    rng = np.random.default_rng(1)
    scores = np.r_[1.0 + 0.2 * rng.random(4000), 3.0 + rng.random(4000)]
    limits, _, _, called, why = threshold().steps(scores, scores)
    assert set(why[:32]) == {1}  # warming up
    assert 1 not in why[32:]
    assert limits[31] == 1.2
    assert 1.2 < limits[33] < 2.2
    assert called[4000]
    assert called[4001:].sum() == 0
    assert (limits[5000:] > 3.9).all()


def test_one_high_score_leaves_the_limit_where_it_was():
    rng = np.random.default_rng(2)
    scores = 1.0 + rng.exponential(0.2, 4000)
    spiked = scores.copy()
    spiked[3000] = 7.0
    # at so low a rate the memory is too short for the other limit, the highest score in it
    plain, other = (threshold(0.001).steps(s, s)[0] for s in (scores, spiked))
    # the maxima tell nothing of it; the deviation, half of the scale, takes in one of 2048 scores at some 12 deviations:
    # sqrt(1 + 144 / 2048) is 3.5 %, and of the maxima one fewer of the others is cut
    assert abs(other / plain - 1.0).max() < 0.035
    assert (other != plain).any()


def test_what_comes_in_more_than_a_quarter_of_the_blocks_is_how_the_stream_is():
    rng = np.random.default_rng(3)
    scores = 1.0 + rng.exponential(0.1, 20_000)
    scores[4000::200] = 5.0
    called = threshold().steps(scores, scores)[3]
    assert called[4000:4801].sum() >= 4
    assert called[7000:].sum() == 0
    assert (threshold().steps(scores, scores)[0][7000:] > 5.0).all()


def test_a_new_height_is_called_where_most_are_alike_and_some_much_higher():
    rng = np.random.default_rng(7)
    scores = 1.0 + rng.exponential(0.1, 6000)
    scores[::288] = 4.0 + 0.2 * rng.random(21)  # a spike a day; the law of the mixture would put the limit above 4.8
    scores[5000] = 4.6
    limits, _, _, called, _ = threshold().steps(scores, scores)
    assert np.flatnonzero(called[3000:]).tolist() == [2000]
    assert 4.2 < limits[5000] < 4.45


def test_an_event_ends_when_scores_have_been_ordinary_for_a_window():
    scores = 1.0 + np.random.default_rng(4).exponential(0.1, 3000)
    scores[2000:2040:4] = 4.0
    scores[2040:2120:4] = 1.7  # under the limit, but not ordinary: the event goes on
    scores[2121] = 4.0
    scores[2200] = 4.0
    limits, _, _, called, _ = threshold().steps(scores, np.full(3000, 1.0))
    assert 1.7 < limits[2100] < 4.0
    assert np.flatnonzero(called[1900:]).tolist() == [100, 300]


# ---- streams -----------------------------------------------------------------------------------------------------


def noise(kind, seed, n=6000):
    rng = np.random.default_rng(seed)
    if kind == "white":
        return rng.normal(size=n)
    if kind == "heavy":
        return rng.standard_t(3, size=n)
    return 10 * np.sin(np.arange(n) / 8) + rng.normal(size=n)


@pytest.mark.parametrize(("kind", "most"), [("white", 8), ("heavy", 12), ("sine", 8)])
def test_noise_is_seldom_called(kind, most):
    """In 10 000 records; with the mean and 6.6 deviations of the scores as the limit it was 36 to 50."""
    many = sum(len(calls(noise(kind, seed), seed)) for seed in range(5))
    assert many / 3 < most


@pytest.mark.parametrize("gap", [5, 30, 300])
def test_four_anomalies_in_the_memory_do_not_hide_each_other(gap):
    found = 0
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=2400)
        at = 1200 + gap * np.arange(4)
        x[at] += [10, -10, 10, -10]
        found += np.isin(at, calls(x, seed)).sum()
    assert found >= 22


@pytest.mark.parametrize("shift", [8.0, -20.0])
def test_a_level_shift_in_noise_is_one_alarm(shift):
    for seed in range(12):
        x = np.random.default_rng(seed).normal(size=1800)
        x[1200:] += shift
        called = calls(x, seed)
        assert (called >= 1200).sum() == 1
        assert called[-1] < 1204


def test_a_clear_outlier_is_found_from_the_start():
    found = 0
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=700)
        x[[400, 600]] += [12, -12]
        found += np.isin([400, 600], calls(x, seed)).sum()
    assert found >= 19


# ---- state -------------------------------------------------------------------------------------------------------


def some_state():
    it = threshold()
    scores = 1.0 + np.random.default_rng(5).exponential(0.2, 1000)
    it.steps(scores, scores)
    return it.state()


@pytest.mark.parametrize("n", [0, 3, 31, 32, 127, 128, 129, 1000, 5000])
def test_a_restored_one_goes_on_as_it_was(n):
    scores = 1.0 + np.random.default_rng(6).exponential(0.2, 6000)
    it, twin = threshold(), threshold()
    it.steps(scores[:n], scores[:n] / 2)
    twin.restore(it.state())
    for a, b in zip(it.steps(scores[n:], scores[n:]), twin.steps(scores[n:], scores[n:]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("change", [
    lambda s: s.update(t=-1),
    lambda s: s.update(last_high=s["t"] + 1),
    lambda s: s.update(peak=-1.0),
    lambda s: s["peak_times"].append(s["t"] + 1),
    lambda s: s["peak_scores"].append(1.0),
    lambda s: s["scores"].update(highest=[1.0] * 17),
    lambda s: s["scores"].update(highest=[-1.0]),
    lambda s: s["points"].update(numbers=[1.0, -1.0, 1.0, 1.0, 1.0]),
    lambda s: s["points"].update(numbers=[1.0, 1.0, 1.0, float("nan"), 1.0]),
    lambda s: s["points"].update(numbers=[1.0, 1.0, 1.0, 1.0]),
    lambda s: s["scores"].update(counts=[1000, 8]),
    lambda s: s["scores"].update(counts=[1000, 24, 0]),
    lambda s: s["scores"].update(counts=[1000, 4, 0]),
    lambda s: s["scores"].update(counts=[1000, 256, 0]),
    lambda s: s["scores"].update(counts=[1000, 64, 64]),
    lambda s: s["scores"].update(counts=[2, 64, 0]),
])  # fmt: skip
def test_a_state_that_is_none_is_refused(change):
    state = some_state()
    threshold().restore(state)
    change(state)
    with pytest.raises((ValueError, TypeError)):
        threshold().restore(state)
