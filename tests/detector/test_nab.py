"""The scoring rules of the Numenta Anomaly Benchmark: its published results, a slow restatement."""

import importlib.util
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pandas")
ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("bench_nab", ROOT / "bench" / "nab.py")
assert spec is not None
assert spec.loader is not None
nab = importlib.util.module_from_spec(spec)
sys.modules["bench_nab"] = nab  # dataclasses look their module up
spec.loader.exec_module(nab)

DATA = Path(os.environ.get("RCF_DATA", ROOT.parent / "shared" / "data")) / "nab"


@pytest.mark.skipif(not DATA.is_dir(), reason="no NAB data: set RCF_DATA")
@pytest.mark.parametrize(("profile", "published"), [("standard", 50.2458), ("low FP", 39.1739), ("low FN", 60.7299)])
def test_the_published_scores_of_kinesis_come_out(profile, published):
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


def slow_score(detections, corpus, profile):
    """Every threshold in turn, every record in turn."""

    def sigma(y):
        return -1.0 if y > 3.0 else 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0

    best = -math.inf
    for threshold in [math.inf, *sorted({v for s in corpus for v in detections[s.name]})]:
        total, windows = 0.0, 0
        for series in corpus:
            n = len(series.values)
            first = min(math.floor(0.15 * n), 750)
            said = [i for i in range(first, n) if detections[series.name][i] >= threshold]
            for left, right in series.windows:
                windows += 1
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
        best = max(best, total)
    silent = -windows_of(corpus) * profile.missed
    return 100.0 * (best - silent) / (windows_of(corpus) * profile.found - silent)


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


def test_perfection_is_100_and_silence_0():
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
