"""The scoring rules of the Numenta Anomaly Benchmark, compared with its published results and with a slow implementation."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from bench_module import ROOT, of_bench

pytest.importorskip("pandas")
nab = of_bench("nab")

DATA = Path(os.environ.get("RCF_DATA", ROOT.parent / "shared" / "data")) / "nab"


@pytest.mark.skipif(not DATA.is_dir(), reason="no NAB data: set RCF_DATA")
@pytest.mark.parametrize(("profile", "published"), [("standard", 50.2458), ("low FP", 39.1739), ("low FN", 60.7299)])
def test_published_scores_of_kinesis_are_reproduced(profile, published):
    corpus = nab.load(DATA)
    detections = {}
    for series in corpus:
        table = np.genfromtxt(DATA / "kinesis_scores" / series.name, delimiter=",", skip_header=1, usecols=2)
        detections[series.name] = table
    score, threshold = nab.score(detections, corpus, nab.PROFILES[profile])
    assert score == pytest.approx(published, abs=5e-5)
    assert threshold > 0


def made_up(rng, name, n, windows):
    stamps = np.datetime64("2020-01-01T00:00") + np.arange(n) * np.timedelta64(5, "m")
    return nab.Series(name, stamps, rng.normal(size=n), windows)


def slow_totals(threshold, detections, corpus, profile):
    """The total at one threshold, computed record by record; each missed window has a cost."""

    def sigma(y):
        return -1.0 if y > 3.0 else 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0

    total = 0.0
    for series in corpus:
        n = len(series.values)
        first = min(math.floor(0.15 * n), 750)
        said = [i for i in range(first, n) if detections[series.name][i] >= threshold]
        for left, right in series.windows:
            hits = [i for i in said if left <= i <= right]
            width = right - left + 1
            if hits:
                total += profile.found * sigma(-(right - hits[0] + 1) / width) / sigma(-1.0)
            else:
                total -= profile.missed
        for i in said:
            if any(left <= i <= right for left, right in series.windows):
                continue
            before = [(left, right) for left, right in series.windows if right < i]
            if before:
                left, right = before[-1]
                total += profile.false_alarm * sigma((i - right) / (right - left))
            else:
                total -= profile.false_alarm
    return total


def slow_score(detections, corpus, profile):
    """All thresholds, computed record by record."""
    thresholds = [math.inf, *sorted({v for s in corpus for v in detections[s.name]})]
    best = max(slow_totals(threshold, detections, corpus, profile) for threshold in thresholds)
    silent = -windows_of(corpus) * profile.missed
    return 100.0 * (best - silent) / (windows_of(corpus) * profile.found - silent)


def gain_at(threshold, found, series, profile):
    """The gain of one threshold on one series relative to no detection, computed record by record."""
    return slow_totals(threshold, {series.name: found}, [series], profile) + len(series.windows) * profile.missed


def test_the_breakdown_agrees_with_thresholds_tried_one_by_one():
    rng = np.random.default_rng(5)
    corpus = [
        made_up(rng, "a/one", 200, ((60, 80), (150, 190))),
        made_up(rng, "a/two", 150, ((100, 120),)),
        made_up(rng, "b/one", 180, ((60, 90),)),
        made_up(rng, "c/none", 120, ()),
    ]
    detections = {s.name: np.round(rng.exponential(size=len(s.values)), 1) for s in corpus}
    for series in corpus:
        for left, right in series.windows:
            detections[series.name][left : right + 1] += rng.exponential()
    profile = nab.PROFILES["standard"]
    thresholds = [np.inf, *sorted({v for found in detections.values() for v in found})[::-1]]
    gains = {s.name: np.array([gain_at(v, detections[s.name], s, profile) for v in thresholds]) for s in corpus}
    possible = windows_of(corpus) * (profile.found + profile.missed)
    found = nab.breakdown(detections, corpus, profile)
    assert found["oracle"] == pytest.approx(100 * sum(g.max() for g in gains.values()) / possible)
    left_out = 0.0
    for category in "abc":
        others = sum(g for name, g in gains.items() if name[0] != category)
        chosen = int(np.argmax(others))  # of equal totals the first, which has the highest threshold
        left_out += sum(g[chosen] for name, g in gains.items() if name[0] == category)
    assert found["leave one out"] == pytest.approx(100 * left_out / possible)
    best = int(np.argmax(sum(gains.values())))
    assert found["a"] == pytest.approx(100 * (gains["a/one"][best] + gains["a/two"][best]) / 6)
    assert found["b"] == pytest.approx(100 * gains["b/one"][best] / 2)
    assert found["c"] == pytest.approx(100 * gains["c/none"][best] / possible)
    total = (6 * found["a"] + 2 * found["b"] + possible * found["c"]) / possible
    assert total == pytest.approx(nab.score(detections, corpus, profile)[0])
    assert found["oracle"] > found["leave one out"]


def windows_of(corpus):
    return sum(len(series.windows) for series in corpus)


@pytest.mark.parametrize("profile", ["standard", "low FP", "low FN"])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_loop_over_every_threshold_and_record(profile, seed):
    rng = np.random.default_rng(seed)
    corpus = [
        made_up(rng, "two", 300, ((60, 80), (150, 190))),
        made_up(rng, "none", 120, ()),
        made_up(rng, "late", 200, ((190, 199),)),
    ]
    detections = {s.name: np.round(rng.exponential(size=len(s.values)), 1) for s in corpus}  # many ties
    for series in corpus:
        for left, right in series.windows:
            detections[series.name][left : right + 1] *= 1.5
    expected = slow_score(detections, corpus, nab.PROFILES[profile])
    score, _ = nab.score(detections, corpus, nab.PROFILES[profile])
    assert score == pytest.approx(expected, abs=1e-9)


def test_a_perfect_detector_has_100_and_a_silent_one_0():
    rng = np.random.default_rng(0)
    corpus = [made_up(rng, "a", 400, ((100, 140), (300, 320)))]
    perfect = np.zeros(400)
    perfect[[100, 300]] = 1.0
    for profile in nab.PROFILES.values():
        assert nab.score({"a": perfect}, corpus, profile)[0] == pytest.approx(100.0)
        assert nab.score({"a": np.full(400, 0.5)}, corpus, profile)[0] == 0.0


def test_probation_is_15_percent_and_at_most_750_records():
    assert nab.probation(1000) == 150
    assert nab.probation(1001) == 150
    assert nab.probation(22695) == 750


@pytest.mark.parametrize(
    ("scores", "message"), [(np.zeros(5), "400 records"), (np.full(400, np.nan), "NaN .*record 0")]
)
def test_bad_scores_are_refused_by_name(scores, message):
    corpus = [made_up(np.random.default_rng(0), "a", 400, ((100, 140),))]
    with pytest.raises(ValueError, match=f"a: .*{message}"):
        nab.score({"a": scores}, corpus, nab.PROFILES["standard"])
