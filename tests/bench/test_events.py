"""The evaluation of alarms by events, compared with scikit-learn's average precision, a slow implementation, and cases by hand."""

import numpy as np
import pytest
from bench_module import of_bench
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

events = of_bench("events")

some_evidence = st.lists(st.integers(0, 6), min_size=1, max_size=90).map(lambda v: np.array(v, dtype=float))


@given(some_evidence, st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_a_peak_exceeds_the_values_before_it(e, hold):
    expected = [v if v > max([0.0, *e[max(0, t - hold) : t]]) else 0.0 for t, v in enumerate(e)]
    found = events.peaks(e, hold)
    assert found.tolist() == expected
    assert events.peaks(found, hold).tolist() == expected  # evidence that already consists of peaks does not change


def slow(series, threshold):
    """Events found, all events, false alarms, alarms and evaluated records at a threshold, counted alarm by alarm."""
    found, every, false, called, judged = set(), set(), 0, 0, 0
    for number, (label, evidence, first) in enumerate(series):
        label = [bool(v) for v in label[first:]]
        evidence = evidence[first:]
        judged += len(label)
        spans, begin = [], None
        for t, inside in enumerate([*label, False]):
            if inside and begin is None:
                begin = t
            if not inside and begin is not None:
                spans.append((begin, t))
                begin = None
        every |= {(number, *span) for span in spans}
        for t, value in enumerate(evidence):
            if value <= 0 or value < threshold:
                continue
            called += 1
            right = [(number, b, e) for b, e in spans if b <= t < e + 10]
            found |= set(right)
            false += not right
    return len(found), len(every), false, called, judged


def made_up(seed):
    """Three series with events, some so close to each other that an alarm is right for two of them."""
    rng = np.random.default_rng(seed)
    series = []
    for n in (60, 120, 200):
        label = np.zeros(n, dtype=bool)
        for begin in rng.integers(0, n, 4):
            label[begin : begin + rng.integers(1, 12)] = True
        evidence = np.round(rng.exponential(size=n) + 0.7 * label, 1) * (rng.random(n) < 0.3)
        label[-15:] = [True] * 3 + [False] * 12
        evidence[-15:] = 0.0  # an event that is never found
        series.append((label, evidence, 12))
    return series


@pytest.mark.parametrize("seed", range(6))
def test_figures_at_a_threshold(seed):
    series = made_up(seed)
    whole = events.findings(series)
    for threshold in (0.1, 0.5, 1.0, 2.0, 9.0):
        found, every, false, called, judged = slow(series, threshold)
        figures = whole.at(threshold)
        assert figures["F1"] == pytest.approx(2 * found / (found + false + every))
        assert figures["recall"] == pytest.approx(found / every)
        assert figures["alarms in 1000"] == pytest.approx(1000 * called / judged)
        if found + false:
            assert figures["precision"] == pytest.approx(found / (found + false))
        else:
            assert np.isnan(figures["precision"])


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_that_of_scikit_learn(seed):
    whole = events.findings(made_up(seed))
    values = np.concatenate([whole.events, whole.others])
    right = np.concatenate([np.ones(len(whole.events)), np.zeros(len(whole.others))])
    known = values > 0  # scikit-learn would find an event without evidence at the threshold 0
    assert not known.all()
    share = right[known].sum() / len(whole.events)
    figures = whole.over_thresholds()
    assert figures["event AP"] == pytest.approx(share * average_precision_score(right[known], values[known]))
    precision, recall, _ = precision_recall_curve(right[known], values[known])
    recall = recall[:-1] * share
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision[:-1] * recall / (precision[:-1] + recall))
    assert figures["best F1"] == pytest.approx(f1.max())
    assert figures["best F1"] == pytest.approx(max(whole.at(v)["F1"] for v in values[known]))


def test_an_event_ends_ten_records_after_its_label():
    label = np.zeros(60, dtype=bool)
    label[20:25] = True
    for at, right in ((19, False), (20, True), (24, True), (34, True), (35, False)):
        evidence = np.zeros(60)
        evidence[at] = 3.0
        figures = events.findings([(label, evidence, 0)]).at(2.0)
        assert (figures["recall"], figures["precision"]) == ((1.0, 1.0) if right else (0.0, 0.0)), at


def test_without_evidence_no_event_is_found():
    silent = events.findings([(np.arange(50) == 20, np.zeros(50), 5)])
    assert silent.over_thresholds() == {"event AP": 0.0, "best F1": 0.0}
    assert silent.at(1.0)["alarms in 1000"] == 0.0


@pytest.mark.parametrize("evidence", [np.zeros(3), np.full(5, np.nan), np.full(5, -1.0)])
def test_invalid_evidence_is_refused(evidence):
    with pytest.raises(ValueError, match="at least 0, without NaN"):
        events.findings([(np.zeros(5, dtype=bool), evidence, 0)])
