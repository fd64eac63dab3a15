"""StreamDetector: what it flags, and what it does not flag."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import clone

from rcf._core import ModelStateError
from rcf.detector import StreamDetector
from rcf.detector.evidence import Evidence, threshold_of
from rcf.detector.keyed import KeyedDetector
from rcf.detector.views import COLUMNS

FIELDS = ("score", "evidence", "threshold", "grade", "is_anomaly", "likelihood", "confidence", "reason", "events")


def same(a, b):
    """Assert that results are the same, bit for bit, and so are the explanations of flagged records."""
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert all(getattr(x, name) == getattr(y, name) for name in FIELDS)
        if x.is_anomaly:
            assert x.cause == y.cause
            assert x.lag == y.lag
            for name in ("attribution", "expected", "past"):
                np.testing.assert_array_equal(getattr(x, name), getattr(y, name))


def noisy(n, d=2, seed=0):
    rng = np.random.default_rng(seed)
    x = np.sin(np.arange(n)[:, None] / np.arange(5, 5 + d)) * 10 + rng.normal(size=(n, d))
    x[n // 2, 0] += 40
    x[3 * n // 4] -= 60
    return x


# ---- what is found ---------------------------------------------------------------------------------------------


def test_spike_in_a_sine():
    found = alarms = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        x = 100 * np.sin(2 * np.pi * (np.arange(1500) + 50 * rng.random()) / 50)
        at = int(rng.integers(800, 1400))
        x[at] += 100 * rng.choice([-1, 1])
        called = StreamDetector(random_state=seed).update_many(x).anomalies
        found += bool((np.abs(called - at) < 8).any())
        alarms += len(called)
    assert found >= 48
    assert alarms / 50 < 1.5


@pytest.mark.parametrize("size", [1, 4, 8])
def test_spike_on_a_constant(size):
    x = np.full(3000, 5.0)
    x[900] = 7.0
    for seed in range(3):
        found = StreamDetector(size, random_state=seed).update_many(x)
        assert found.anomalies[0] == 900
        # the fourth net measures from the recent mean, which needs a hundred records to return
        assert all(t < 1100 for t in found.anomalies)
        cause = found[900].cause
        assert (cause.feature, cause.lag, cause.side) == ("x0", 0, "high")
        assert found[900].expected.tolist() == [5.0]
        assert found[900].past.tolist() == [7.0]


@pytest.mark.parametrize("seed", range(5))
def test_level_shifts_are_flagged_once(seed):
    x = np.full(2500, 3.0)
    x[1000:] += 8
    x[1800:] -= 20
    assert StreamDetector(random_state=seed).update_many(x).anomalies.tolist() == [1000, 1800]
    rng = np.random.default_rng(seed)
    called = StreamDetector(random_state=seed).update_many(x + rng.normal(size=2500)).anomalies
    assert sum((called >= 1000) & (called < 1064)) == 1
    assert sum((called >= 1800) & (called < 1864)) == 1


def test_near_enough_to_expected():
    x = np.r_[np.tile([5.0, 10.0, 2.0], 500), 5.0, 10.0, 3.0]
    for seed in range(5):
        called = StreamDetector(random_state=seed).update_many(x)
        assert called.anomalies.tolist() == [1502]
        assert called[1502].expected[0] == pytest.approx(2.0, rel=1e-6)
        near = {"above": (1.0, 0.0)}
        quiet = StreamDetector(random_state=seed, ignore_near_expected=near).update_many(x)
        assert quiet.anomalies.tolist() == []
        assert quiet[1502].reason == "near expected"
        other_side = StreamDetector(random_state=seed, ignore_near_expected={"below": (1.0, 0.0)})
        assert other_side.update_many(x).anomalies.tolist() == [1502]


def test_a_second_anomaly_in_the_window_is_found_and_an_echo_is_not():
    x = 10 * np.sin(np.arange(1500) / 5)
    x[1000] += 40
    once = StreamDetector(random_state=0).update_many(x)
    # in the third block, the values of a wave without noise look rare until they have occurred again
    assert once.anomalies[once.anomalies > 384].tolist() == [1000]
    x[1004] -= 55
    twice = StreamDetector(random_state=0).update_many(x)
    assert twice[1000].event.state == "opened"
    assert [(e.feature, e.side) for e in twice.events[1004]] == [("x0", "high")]
    x[1040] -= 90
    last = StreamDetector(random_state=0).update_many(x)[1040]
    assert (last.event.state, last.event.side, last.is_anomaly) == ("opened", "low", True)


def test_without_alert_once_a_lasting_state_is_flagged_again():
    x = np.r_[np.zeros(1000), np.full(30, 9.0)]
    assert len(StreamDetector(random_state=0).update_many(x).anomalies) == 1
    assert len(StreamDetector(random_state=0, alert_once=False).update_many(x).anomalies) > 5


def test_a_trend_an_offset_or_a_constant_feature_does_no_harm():
    rng = np.random.default_rng(0)
    assert len(StreamDetector(random_state=0).update_many(np.arange(3000.0)).anomalies) == 0
    x = rng.normal(size=3000)
    x[2000] = 15
    plain = StreamDetector(random_state=0).update_many(x)
    high = StreamDetector(random_state=0).update_many(x + 1e9)
    pair = StreamDetector(random_state=0).update_many(np.c_[x, np.full(3000, 1e6)])
    for found in (plain, high, pair):
        assert 2000 in found.anomalies
        assert len(found.anomalies) < 30
    assert pair[2000].cause == ("x0", 0, "high")
    # far from 0, the logarithm is a different view of the values
    assert np.median(abs(plain.score - high.score)) < 0.05


def test_attribution_names_the_feature_and_adds_up():
    x = noisy(1600, 3)
    x[1000, 2] -= 50
    found = StreamDetector(random_state=1).update_many(x)[1000]
    assert found.is_anomaly
    assert found.cause == ("x2", 0, "low")
    assert found.attribution.shape == (8, 3, 2)
    assert found.attribution.sum() == pytest.approx(found.score, rel=1e-12)
    assert abs(found.expected[2] - found.past[2]) > 30


def test_likelihood_ranks_every_record():
    found = StreamDetector(random_state=0).update_many(noisy(2000, 1))
    assert found.likelihood.min() == 0.0
    assert found.likelihood.max() <= 1.0
    assert found.likelihood[500:].argmax() + 500 in (1000, 1500)


# ---- one at a time and many --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform", ["none", "normalize", "difference", "normalize_difference", "subtract_moving_average"]
)
def test_update_many_gives_the_bits_of_single_updates(transform):
    x = noisy(1500)
    x[400, 1] = x[900, 0] = x[901] = np.nan
    one = StreamDetector(4, transform=transform, n_estimators=20, random_state=3)
    singly = [one.update(row) for row in x]
    many = StreamDetector(4, transform=transform, n_estimators=20, random_state=3)
    cuts = [0, 1, 70, 300, 301, 1100, 1500]
    batches = [r for a, b in pairwise(cuts) for r in many.update_many(x[a:b])]
    same(singly, batches)
    assert sum(r.is_anomaly for r in singly) >= 1


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_have_the_expected_values_of_flagged_records(library):
    """The frame has an expected value for each feature, by name, and none for records that were not flagged."""
    module = pytest.importorskip(library)
    x = noisy(1200)
    plain = StreamDetector(random_state=0).update_many(x)
    frame = module.DataFrame({"load": x[:, 0], "heat": x[:, 1]})
    out = StreamDetector(random_state=0).update_many(frame)
    expected = np.column_stack([out["expected_load"], out["expected_heat"]]).astype(float)
    assert len(plain.anomalies)
    for i in range(len(x)):
        if plain.is_anomaly[i]:
            assert expected[i].tolist() == plain[i].expected.tolist()
        else:
            assert np.isnan(expected[i]).all()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_series_is_a_frame_of_one_column(library):
    """The name of a Series is the name of the feature. A Series without a name is accepted for any feature."""
    module = pytest.importorskip(library)
    x = noisy(1200, 1)[:, 0]
    plain = StreamDetector(random_state=0).update_many(x)
    detector = StreamDetector(random_state=0)

    def series(values, name=None):
        return module.Series(values, name=name) if library == "pandas" else module.Series(name, values)

    out = detector.update_many(series(x[:700], "load"))
    assert type(out) is module.DataFrame
    assert out["score"].to_list() == plain.score[:700].tolist()
    assert detector.feature_names_in_.tolist() == ["load"]
    assert out["cause"].to_list()[600] == "load high at lag 0"
    with pytest.raises(ValueError, match=r"\['heat'\], but \['load'\] are expected"):
        detector.update_many(series(x[700:], "heat"))
    nameless = detector.update_many(series(x[700:]))
    assert nameless["score"].to_list() == plain.score[700:].tolist()
    assert "expected_x0" in nameless.columns
    detector = StreamDetector(random_state=0)
    detector.update_many(series(x[:700]))
    assert not hasattr(detector, "feature_names_in_")


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_an_index_of_dates_is_the_time(zone):
    """The detector notices a gap in the index, whether the index is named, implied or passed. Other indexes are ignored."""
    pd = pytest.importorskip("pandas")
    x = np.delete(noisy(900), slice(700, 703), axis=0)
    index = pd.date_range("2026-01-01", periods=900, freq="5min", tz=zone, name="when").delete(slice(700, 703))
    frame = pd.DataFrame(x, columns=["load", "heat"], index=index)
    plain = StreamDetector(random_state=0).update_many(x)
    timed = StreamDetector(random_state=0).update_many(x, list(index))
    assert timed.score.tolist() != plain.score.tolist()
    for records, timestamps in ((frame, None), (frame, "when"), (frame.reset_index(), "when"), (frame, index)):
        out = StreamDetector(random_state=0).update_many(records, timestamps)
        assert out["score"].tolist() == timed.score.tolist()
        assert out.index.equals(records.index)
        assert "expected_when" not in out.columns
    alone = StreamDetector(random_state=0).update_many(frame["load"])
    assert alone["score"].tolist() == StreamDetector(random_state=0).update_many(x[:, 0], list(index)).score.tolist()
    for records in (frame.reset_index(drop=True), frame.set_axis(range(897))):
        assert StreamDetector(random_state=0).update_many(records)["score"].tolist() == plain.score.tolist()
    pairs = frame.set_index(pd.MultiIndex.from_arrays([["a"] * 897, index], names=["key", "when"]))
    assert StreamDetector(random_state=0).update_many(pairs, "when")["score"].tolist() == timed.score.tolist()


def test_score_is_the_geometric_mean_of_both_views():
    """The scores for the record and for its window have the weights 3 and 5. With only one forest, it is that forest's score."""
    x = np.random.default_rng(0).normal(size=400)
    one, many = StreamDetector(random_state=0), StreamDetector(random_state=0)
    many.update_many(x[:399])
    for value in x[:399].tolist():
        one.update(value)
    trees = one._trees.copy()
    score = one.update(float(x[399])).score
    point, whole = (forest.score(row[None, :], "depth")[0] for forest, row in
                    ((trees.point, one._views.for_point), (trees.whole, one._window.row())))  # fmt: skip
    assert score == pytest.approx(point ** (3 / 8) * whole ** (5 / 8), rel=1e-12)
    assert many.update_many(x[399:]).score[0] == score
    assert one.update(9.0).attribution.sum() > 0
    small = StreamDetector(1, random_state=0)
    small.update_many(x[:399])
    trees = small._trees.copy()
    assert small.update(float(x[399])).score == trees.point.score(small._views.for_point[None, :], "depth")[0]


def test_time_that_goes_back_is_reported_with_both_stamps():
    pd = pytest.importorskip("pandas")
    series = pd.Series(range(4), pd.to_datetime(["2026-01-02", "2026-01-03", "2026-01-01", "2026-01-04"]), dtype=float)
    keys = r", or give each series a key of its own \(KeyedDetector\); after three in a row that agree, `update` goes on from there"
    advice = ": sort the records by time" + keys
    index = r"; reset_index\(drop=True\) if the index is not the time$"
    detector = StreamDetector()
    for records, stamps, message in (
        (series, None, "row 2: timestamp 2026-01-01T00:00:00.* is before the last one, 2026-01-03T00:00:00" + advice + index),
        (series.tz_localize("Europe/Berlin"), None,
         r"row 2: timestamp 2026-01-01 00:00:00\+01:00 is before the last one, 2026-01-02T23:00:00\+00:00" + advice + index),
        ([1.0, 2.0], ["2026-01-01T12:00:00.5Z", "2026-01-01T12:00:00Z"],
         r"row 1: timestamp 2026-01-01T12:00:00Z is before the last one, 2026-01-01T12:00:00.500000\+00:00" + advice + "$"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            detector.update_many(records, stamps)
        assert not hasattr(detector, "n_seen_")
    detector.update(1.0, datetime(2026, 1, 1))
    with pytest.raises(
        ValueError, match="timestamp 2025-01-01 00:00:00 is before the last one, 2026-01-01T00:00:00" + advice
    ):
        detector.update(1.0, datetime(2025, 1, 1))
    with pytest.raises(ValueError, match=r"an index of dates counts as such\): this one needs one too"):
        detector.update(1.0)
    keyed = KeyedDetector(StreamDetector())
    keyed.update("a", 1.0, 10.0)
    keyed.update("b", 1.0, 5.0)
    with pytest.raises(ValueError, match=r"^key 'a': timestamp 5\.0 is before the last one, 10: sort"):
        keyed.update("a", 1.0, 5.0)


def test_frames_give_frames():
    pd = pytest.importorskip("pandas")
    x = noisy(1200)
    frame = pd.DataFrame(x, columns=["load", "heat"], index=np.arange(1200) * 2)
    out = StreamDetector(random_state=0).update_many(frame)
    assert out.index.equals(frame.index)
    assert out["cause"].iloc[600] == "load high at lag 0"
    assert out["score"].tolist() == StreamDetector(random_state=0).update_many(x).score.tolist()


# ---- state ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 5, 63, 64, 200, 700])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies_continue_like_the_original(n, duplicate):
    x = noisy(1000)
    x[n // 2] = np.nan
    detector = StreamDetector(5, n_estimators=10, transform="normalize_difference", random_state=0)
    for i in range(n):
        detector.update(x[i], i * 60.0)
    if n > 500:
        detector.forecast(3, calibrate=True)
    twin = duplicate(detector)
    times = np.arange(n, 1000) * 60.0
    same(detector.update_many(x[n:], times), twin.update_many(x[n:], times))
    np.testing.assert_array_equal(detector.forecast(4, calibrate=True).upper, twin.forecast(4, calibrate=True).upper)


@pytest.mark.parametrize("change", [
    lambda s: s.update(format=99),
    lambda s: s["stream"].pop("evidence"),
    lambda s: s["stream"].update(whole=s["stream"]["point"]),
    lambda s: s["stream"].update(window=s["stream"]["window"][:-8]),
    lambda s: s["stream"].update(rows=[2, 0, 4, 5]),
    lambda s: s["stream"].update(held=[[True, False]]),
    lambda s: s["stream"].update(views=s["stream"]["views"][:-1]),
    lambda s: s["stream"].update(views=s["stream"]["views"] + b"\0"),
    lambda s: s["stream"].update(evidence=s["stream"]["evidence"][:-1]),
    lambda s: s["stream"].update(evidence=b""),
    lambda s: s["stream"].update(silence=[0]),
    lambda s: s["stream"].update(events=[[0, "value"]]),
    lambda s: s["params"].update(shingle_size=5),
])  # fmt: skip
def test_invalid_states_are_refused(change):
    detector = StreamDetector(4, n_estimators=4, random_state=0)
    detector.update_many(noisy(100))
    state = detector._state()
    StreamDetector._from_state(state)
    change(state)
    with pytest.raises(ModelStateError):
        StreamDetector._from_state(state)


def test_params():
    detector = StreamDetector(4, anomaly_rate=0.01)
    assert clone(detector).get_params() == detector.get_params()


# ---- gaps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["previous", "linear", "forest", "zero", 1.5])
def test_filled_values_lower_the_confidence_for_a_window(fill):
    x = 10 * np.sin(np.arange(1200) / 5)
    x[1000] = np.nan
    found = StreamDetector(random_state=0, fill=fill).update_many(x)
    assert found.confidence[999] == 1.0
    np.testing.assert_allclose(found.confidence[1000:1008], 7 / 8)
    assert found.confidence[1008] == 1.0
    if fill in ("linear", "forest"):
        assert found.is_anomaly[1000:1010].sum() == 0


def test_the_forest_fills_a_plausible_value():
    x = np.round(100 * np.sin(np.arange(1200) * 2 * np.pi / 30))
    detector = StreamDetector(random_state=0, fill="forest")
    detector.update_many(x[:1000])
    detector.update(np.nan)
    assert detector._window.last[-1][0] == pytest.approx(x[1000], abs=1.0)


def test_time_stamps_reveal_missing_records():
    x = 10 * np.sin(np.arange(1200) / 5)
    start = datetime(2024, 1, 1)
    times = [start + timedelta(minutes=5 * i) for i in range(1200)]
    keep = np.r_[0:1000, 1003:1200]
    found = StreamDetector(random_state=0, fill="linear").update_many(x[keep], [times[i] for i in keep])
    assert found.confidence[999] == 1.0
    assert found.confidence[1000] == pytest.approx(5 / 8)
    assert found.confidence[1006] == 7 / 8
    assert found.confidence[1007] == 1.0
    keep = np.r_[0:1000, 1020:1200]
    found = StreamDetector(random_state=0).update_many(x[keep], [times[i] for i in keep])
    assert (found.reason[1000:1007] == "gap").all()
    np.testing.assert_allclose(found.confidence[1000:1008], np.arange(1, 9) / 8)
    assert (found.score[1000:1007] == 0).all()
    assert found.score[1007] > 0


def test_late_start():
    x = noisy(400)
    x[:50, 1] = np.nan
    found = StreamDetector(random_state=0).update_many(x)
    assert set(found.reason[:50]) == {"warming up"}
    assert found.score[80] > 0
    x[:50] = np.nan
    assert set(StreamDetector(random_state=0).update_many(x).reason[:50]) == {"late start"}


def assert_learned(detector, x, skip=()):
    """The trees hold exactly the windows of consecutive records, except those that contain a position in `skip`."""
    forest, transform, size = detector._trees.whole, detector._views, detector.shingle_size
    z = (x - transform.centre[0]) / transform.scale[0]
    ends = [i for i in range(size, len(x) + 1) if not any(i - size < s < i for s in skip)]
    windows = np.array([z[i - size : i] for i in ends]).reshape(-1, size)
    held = np.concatenate([forest.points(i) for i in range(forest.n_trees)])
    off = np.abs(held[:, None, :] - windows).max(axis=2)
    assert forest.n_seen == len(windows)
    if len(windows):
        assert off.min(axis=1).max() < 1e-5
        assert off.min(axis=0).max() < 1e-5


@pytest.mark.parametrize("transform", ["none", "normalize"])
@pytest.mark.parametrize("n", [7, 8, 63, 64, 66, 100])
def test_only_windows_of_real_records_are_learned(transform, n):
    x = np.random.default_rng(0).normal(5.0, size=n)
    detector = StreamDetector(8, transform=transform, n_estimators=4, random_state=0)
    for value in x:
        detector.update(value)
    if n >= 64:
        assert_learned(detector, x)


@pytest.mark.parametrize("gap", [3, 20, 60])
def test_no_window_reaches_over_a_gap_among_the_records_held_back(gap):
    x = np.random.default_rng(0).normal(5.0, size=90)
    times = np.arange(90.0) + np.where(np.arange(90) >= gap, 50.0, 0.0)
    detector = StreamDetector(8, n_estimators=4, interval=1.0, random_state=0)
    for value, t in zip(x, times, strict=True):
        detector.update(value, t)
    assert_learned(detector, x, skip=[gap])


def test_filled_values_among_the_records_held_back_are_not_learned():
    x = np.random.default_rng(0).normal(5.0, size=80)
    x[20:28] = np.nan
    detector = StreamDetector(8, n_estimators=4, random_state=0)
    detector.update_many(x)
    # the windows that end at records 24 to 30 have at least five missing records
    assert detector._trees.whole.n_seen == 80 - 7 - 7
    # the last record that was held back is a filled one; the records before it are learned nevertheless
    keep = np.r_[0:60, 67:70]
    detector = StreamDetector(8, n_estimators=4, interval=1.0, random_state=0)
    detector.update_many(x[np.r_[28:80, 0:11]], keep.astype(float))
    assert detector._trees.whole.n_seen == 60 - 7


def test_scores_are_zero_for_the_first_records():
    """The first 64 records of each view score 0. The first window ends with the eighth record."""
    x = np.random.default_rng(0).normal(size=300)
    for transform in ("none", "normalize"):
        found = StreamDetector(8, transform=transform, random_state=0).update_many(x)
        assert (found.score[: 64 + 7] == 0).all()
        assert (found.score[64 + 7 :] > 0.3).all()
        assert (found.evidence[:64] == 0).all()
        assert (found.evidence[64:] > 0).all()
        assert found.confidence[99] == 100 / 512


# ---- forecast ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform", ["none", "normalize", "difference", "normalize_difference", "subtract_moving_average"]
)
def test_forecast_of_a_line(transform):
    t = np.arange(1010.0)
    x = np.c_[t + 7, 100 - 0.3 * t]
    detector = StreamDetector(transform=transform, random_state=0)
    detector.update_many(x[:1000])
    ahead = detector.forecast(10)
    assert abs(ahead.median - x[1000:]).max() < (0.6 if transform == "subtract_moving_average" else 0.01)
    single = StreamDetector(random_state=0)
    single.update_many(x[:1000, 0])
    assert abs(single.forecast(5).median[:, 0] - x[1000:1005, 0]).max() < 0.01


def test_forecast_continues_at_the_present_level():
    x = 0.5 * np.arange(2000) + np.random.default_rng(0).normal(size=2000)
    detector = StreamDetector(random_state=0)
    detector.update_many(x[:1000])
    errors = []
    for i in range(1000, 1990, 5):
        errors.append(detector.forecast(5).median[:, 0] - x[i : i + 5])
        detector.update_many(x[i : i + 5])
    # on average, the records in the trees are twenty records old and 10 lower
    assert abs(np.mean(errors, axis=0)).max() < 0.3
    assert np.std(errors, axis=0).max() < 2.0  # twice the noise
    # a spike does not change the level
    detector.update(x[1990] + 500)
    assert abs(detector.forecast(1).median[0, 0] - x[1991]) < 3.0


def test_bands_widen_with_the_horizon():
    rng = np.random.default_rng(0)
    x = np.zeros(4000)
    for i in range(1, 4000):
        x[i] = 0.9 * x[i - 1] + rng.normal()
    detector = StreamDetector(random_state=0)
    detector.update_many(x[:2000])
    inside, widths = [], []
    for i in range(2000, 3990, 5):
        ahead = detector.forecast(5)
        inside.append((ahead.lower[:, 0] <= x[i : i + 5]) & (x[i : i + 5] <= ahead.upper[:, 0]))
        widths.append((ahead.upper - ahead.lower)[:, 0])
        detector.update_many(x[i : i + 5])
    assert (np.mean(inside, axis=0) > 0.7).all()
    assert np.mean(widths, axis=0)[4] > 1.3 * np.mean(widths, axis=0)[0]


def test_forecast_of_a_noisy_cosine():
    # root mean square errors of the AWS library at 1 to 5 steps; the noise alone is 5
    published = np.array([5.81, 6.01, 6.09, 6.41, 6.20])
    rng = np.random.default_rng(13)
    x = 100 * np.cos(2 * np.pi * np.arange(5000) / 60) + rng.normal(0, 5, 5000)
    detector = StreamDetector(random_state=0)
    detector.update_many(x[:1000])
    errors = []
    for i in range(1000, 4990, 3):
        errors.append(detector.forecast(5).median[:, 0] - x[i : i + 5])
        detector.update_many(x[i : i + 3])
    assert (np.sqrt(np.mean(np.square(errors), axis=0)) <= 1.15 * published).all()


def test_forecasts_of_counts_stay_above_zero():
    x = np.random.default_rng(0).poisson(1.0, size=(600, 2)).astype(float)
    detector = StreamDetector(random_state=0)
    detector.update_many(x - [0.0, 5.0])
    free = detector.forecast(5)
    for bounds, low in (((0, None), [0.0, 0.0]), (([0.0, -4.5], None), [0.0, -4.5])):
        bound = detector.forecast(5, bounds=bounds)
        for name in ("median", "lower", "upper"):
            np.testing.assert_array_equal(getattr(bound, name), np.maximum(getattr(free, name), low))
    for bounds in (0, (1, 2, 3), ("a", None), (3, 1), ([1.0, 2.0, 3.0], None), (float("nan"), None)):
        with pytest.raises(ValueError, match="bounds"):
            detector.forecast(bounds=bounds)


@pytest.mark.parametrize("calibrate", [False, True])
def test_bands_cover_four_fifths_of_noise(calibrate):
    x = np.random.default_rng(5).normal(size=2600)
    detector = StreamDetector(random_state=0)
    detector.update_many(x[:1000])
    inside = []
    for i in range(1000, 2600):
        ahead = detector.forecast(2, calibrate=calibrate)
        if i < 2598:
            inside.append((ahead.lower[:, 0] <= x[i : i + 2]) & (x[i : i + 2] <= ahead.upper[:, 0]))
        detector.update(x[i])
    assert (np.abs(np.mean(inside, axis=0) - 0.8) < 0.05).all()


def test_forecast_needs_a_full_window():
    with pytest.raises(ValueError, match="not full yet"):
        StreamDetector().forecast()
    single = StreamDetector(1)
    single.update_many(np.arange(100.0))
    with pytest.raises(ValueError, match="shingle_size"):
        single.forecast()


# ---- bad input -----------------------------------------------------------------------------------------------------


def test_bad_records_leave_it_unchanged():
    x = noisy(600)
    detector, twin = (StreamDetector(4, n_estimators=10, random_state=0) for _ in range(2))
    for d in (detector, twin):
        d.update_many(x[:500], np.arange(500.0))
    for record, time, words in (
        (x[500], 3.0, "before the last"),
        (x[500], None, "needs one too"),
        (x[500], float("nan"), "finite"),
        (x[500], "noon", "number of seconds"),
        ([1.0], 500.0, "1 features"),
        ([1.0, np.inf], 500.0, "inf"),
        ([1.0, -np.inf], 500.0, "inf"),
        ([1.0, "a"], 500.0, "vector of numbers"),
        (None, 500.0, "got None; NaN marks a missing value"),
        (np.ones((2, 2)), 500.0, "one-dimensional"),
    ):
        with pytest.raises(ValueError, match=words):
            detector.update(record, time)
    bad = x[500:].copy()
    bad[50, 1] = np.inf
    with pytest.raises(ValueError, match="row 50, feature 1"):
        detector.update_many(bad, np.arange(500.0, 600.0))
    with pytest.raises(ValueError, match="row 3"):
        detector.update_many(x[500:504], [500.0, 501.0, 502.0, 501.5])
    times = np.arange(500.0, 600.0)
    same(detector.update_many(x[500:], times), twin.update_many(x[500:], times))


def test_frames_that_do_not_fit_are_refused():
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    for kind in (pd.DataFrame, pl.DataFrame):
        frame = kind({"when": [datetime(2024, 1, 1), datetime(2024, 1, 2)], "load": [1.0, 2.0], "heat": [3, 4]})
        detector = StreamDetector(random_state=0)
        with pytest.raises(
            ValueError, match=r"column 'when' must hold numbers, got 2024-01-01.* timestamps='when' if it is the time"
        ):
            detector.update_many(frame)
        with pytest.raises(ValueError, match="no column 'time'"):
            detector.update_many(frame, "time")
        assert not hasattr(detector, "n_seen_")
        detector.update_many(frame, "when")
        later = kind({"heat": [1.0], "load": [2.0], "when": [datetime(2024, 1, 3)]})
        with pytest.raises(ValueError, match=r"\['heat', 'load'\], but \['load', 'heat'\] are expected"):
            detector.update_many(later, "when")
        detector.update_many(later[["when", "load", "heat"]], "when")
        assert detector.n_seen_ == 3
        with pytest.raises(ValueError, match="the frame is empty"):
            detector.update_many(kind())
    with pytest.raises(ValueError, match="records must be numbers, got None"):
        StreamDetector().update_many(None)
    with pytest.raises(ValueError, match="the records are a list"):
        StreamDetector().update_many([1.0, 2.0], "when")


@pytest.mark.parametrize("params", [
    {"shingle_size": 0}, {"anomaly_rate": 0.0}, {"anomaly_rate": 0.7}, {"transform": "log"}, {"method": "height"},
    {"fill": "spline"}, {"fill": np.nan}, {"weights": [1.0, -1.0]}, {"weights": [1.0]}, {"interval": 0.0},
    {"ignore_near_expected": {"abov": (1, 1)}}, {"ignore_near_expected": {"above": (-1, 0)}}, {"n_estimators": 0},
])  # fmt: skip
def test_bad_parameters(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        StreamDetector(**params).update([1.0, 2.0])


def test_unflagged_records_can_be_explained_until_the_next_record():
    detector = StreamDetector(random_state=0)
    detector.update_many(noisy(500))
    result = detector.update(noisy(501)[500])
    assert result.attribution.sum() == pytest.approx(result.score)
    other = detector.update([0.0, 0.0])
    detector.update([0.0, 0.0])
    assert result.lag >= 0
    with pytest.raises(RuntimeError, match="before the next update"):
        other.expected  # noqa: B018


# ---- many streams ----------------------------------------------------------------------------------------------------


def test_keys_do_not_mix():
    x = {key: noisy(400, 1, seed) for seed, key in enumerate("abc")}
    keyed = KeyedDetector(StreamDetector(4, n_estimators=6, max_samples=64, random_state=0))
    keyed.override("b", shingle_size=2)
    got = {key: [] for key in x}
    for i in range(400):
        for key, values in x.items():
            got[key].append(keyed.update(key, values[i]))
    for key, values in x.items():
        alone = StreamDetector(2 if key == "b" else 4, n_estimators=6, max_samples=64, random_state=0)
        same(got[key], list(alone.update_many(values)))
    with pytest.raises(ValueError, match="has started"):
        keyed.override("b", shingle_size=3)
    with pytest.raises(ValueError, match="Invalid parameter"):
        keyed.override("z", shingel=3)


def test_least_recently_used_and_ttl():
    keyed = KeyedDetector(StreamDetector(2, n_estimators=2, max_samples=16), max_keys=3, ttl=100.0)
    for i, key in enumerate("abcad"):
        keyed.update(key, 1.0, float(i))
    assert keyed.keys() == ["c", "a", "d"]
    keyed.update("a", 1.0, 103.0)
    keyed.update("d", 1.0, 103.0)
    assert keyed.keys() == ["a", "d"]
    with pytest.raises(ValueError, match="inf"):
        keyed.update("new", np.inf)
    assert "new" not in keyed


def test_many_flagged_records_in_a_run_are_explained_like_single_ones():
    x = noisy(900)
    x[400:700:15] += (30 * 1.4 ** np.arange(20)).reshape(-1, *[1] * (x.ndim - 1))  # each value is new

    def make():
        return StreamDetector(4, n_estimators=10, max_samples=64, anomaly_rate=0.5, alert_once=False, random_state=0)

    one = make()
    singly = [one.update(row) for row in x]
    assert sum(r.is_anomaly for r in singly) > 15
    same(singly, list(make().update_many(x)))


def test_a_spike_beside_a_constant_feature_is_a_single_alarm():
    x = np.full((3000, 2), 5.0)
    x[900, 1] = 7.0
    assert StreamDetector(random_state=0).update_many(x).anomalies.tolist() == [900]


@pytest.mark.parametrize("jump", [1e-3, -0.3, 1e4])
@pytest.mark.parametrize("lasts", [1, 3000])
def test_a_change_of_a_flat_feature_is_flagged_in_any_unit(jump, lasts):
    """With an initial scale of 1, a change of a thousandth beside noise would never be flagged."""
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=(3000, 4)) * [1.0, 1e3, 1e-3, 50.0]
        x[:, 2] = 5.0
        steady = StreamDetector(random_state=seed).update_many(x).anomalies
        x[900 : 900 + lasts, 2] += jump
        found = StreamDetector(random_state=seed).update_many(x)
        assert 900 in found.anomalies
        assert found[900].cause == ("x2", 0, "high" if jump > 0 else "low")
        assert found[900].expected[2] == pytest.approx(5.0, abs=1e-6 * abs(jump))
        assert len(found.anomalies) <= len(steady) + 2


@pytest.mark.parametrize("jump", [0.1, 30.0])
def test_a_new_level_of_a_flat_feature_is_a_single_alarm(jump):
    """The spread keeps falling there. If the centre stayed, each new scale would move the level, with five more alarms."""
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(30_000, 2))
        x[:, 0] = 5.0
        x[2000:, 0] += jump
        found = StreamDetector(random_state=seed).update_many(x)
        # the recent mean reaches the new level within about 100 records
        called = [t for t in found.anomalies if found[int(t)].cause.feature == "x0" and t < 20_000]
        assert called[0] == 2000
        assert all(t < 2100 for t in called)
        level = [
            e
            for events in found.events[2000:3000]
            for e in events
            if e.feature == "x0" and e.side == "high" and e.state == "closed"
        ]
        assert [(e.start, e.why) for e in level if e.start == 2000] == [(2000, "the new level has become usual")]


def test_flagged_records_of_runs_are_explained_like_single_ones(monkeypatch):
    x = noisy(1500)
    x[[700, 1100]] += 30
    one, many = StreamDetector(random_state=0), StreamDetector(random_state=0)
    singly = [one.update(row) for row in x]
    found = many.update_many(x[:1200])
    many.update_many(x[1200:])  # the detector continues before any result is read
    assert {700, 1100} <= set(found.anomalies.tolist())
    same(singly[:1200], list(pickle.loads(pickle.dumps(found))))
    same(singly[:1200], list(found))
    monkeypatch.setattr("rcf.detector.stream.RUN", 150)
    same(singly, list(StreamDetector(random_state=0).update_many(x)))


@pytest.mark.parametrize("rate", [0.5, 0.05, 0.005])
@pytest.mark.parametrize("often", [False, True])
def test_runs_flag_what_single_records_flag(rate, often):
    """Above a rate of .05 nearly every record may be an alarm. Without `alert_once`, each record of an event is explained too."""
    x = noisy(1400, 1)
    x[250:1400:83] += np.linspace(60, 400, len(x[250:1400:83]))[:, None]  # each value is new
    one, many = (
        StreamDetector(4, n_estimators=10, max_samples=64, anomaly_rate=rate, alert_once=not often, random_state=0)
        for _ in range(2)
    )
    singly = [one.update(row) for row in x]
    found = [many.update_many(x[i : i + 200]) for i in range(0, 1400, 200)]
    assert sum(len(part.anomalies) for part in found) > 5
    same(singly, [result for part in found for result in part])
    assert pickle.dumps(one) == pickle.dumps(many)


@pytest.mark.parametrize("method", ["depth", "opensearch", "codisp", "displacement"])
@pytest.mark.parametrize("capacity", [1, 2, 256])
def test_may_alarm_excludes_no_alarm(method, capacity):
    """With the highest scores and random novelty, no record that `may_alarm` excludes is an alarm."""
    rng = np.random.default_rng(capacity)
    n = 3000
    rows = np.zeros((n, len(COLUMNS)))
    rows[:, 0], rows[:, 1] = rng.random(n) ** 6, rng.random(n) ** 6
    depth = method in ("depth", "opensearch")
    scores = np.full(n, np.log2(capacity + 1) if depth else float(capacity))
    scores[rng.random(n) < 0.5] *= 0.1
    called = 0
    for rate in (0.0005, 0.005, 0.05, 0.5):
        evidence = Evidence(threshold_of(rate), method, capacity)
        may = evidence.may_alarm(rows)
        alarms = evidence.steps(scores, np.zeros(n), 1000, rows)[2]
        called += alarms.sum()
        assert not (alarms & ~may).any()
        assert not may.all() or rate == 0.5
    assert called > 10


def test_results_are_read_in_a_thread_while_records_come():
    x = noisy(6000, 1)
    x[500::650] += 80
    one, many = StreamDetector(4, n_estimators=10, random_state=0), StreamDetector(4, n_estimators=10, random_state=0)
    expected = one.update_many(x)
    with ThreadPoolExecutor(3) as pool:
        read = [pool.submit(list, many.update_many(x[i : i + 200])) for i in range(0, 6000, 200)]
        got = [result for part in read for result in part.result()]
    assert len(expected.anomalies) >= 6
    same([expected[i] for i in expected.anomalies], [got[i] for i in expected.anomalies])


def test_repr_lists_the_flagged_records():
    x = noisy(1000)
    found = StreamDetector(random_state=0).update_many(x)
    assert repr(found) == f"Detections({len(found)} records, flagged: {', '.join(map(str, found.anomalies))})"
    assert repr(StreamDetector().update_many(x[:20])) == "Detections(20 records, none flagged)"
    restless = StreamDetector(n_estimators=10, anomaly_rate=0.5, alert_once=False, random_state=0)
    often = restless.update_many(noisy(9000)[:, 0] ** 9)
    assert len(often.anomalies) > 10
    assert repr(often).endswith(f", {often.anomalies[9]}, ... {len(often.anomalies) - 10} more)")


def test_indexing_of_detections():
    detector = StreamDetector(random_state=0)
    found = detector.update_many(noisy(1000))
    assert len(found) == len(list(found)) == 1000
    assert found[-1].score == found[999].score == found.score[-1]
    for i in (1000, -1001):
        with pytest.raises(IndexError, match=rf"record {i} of 1000"):
            found[i]
    assert found[-1].lag in range(8)  # the last record can be explained until the next one comes
    detector.update(noisy(1)[0])
    for i in (998, 999):
        with pytest.raises(RuntimeError, match="was not flagged"):
            _ = found[i].lag
    assert len(detector.update_many(np.empty((0, 2)))) == 0


def test_names_of_a_series_are_those_of_the_features():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=list("abc"))
    for begin in (lambda d: d.update_many(frame), lambda d: d.update(frame.iloc[0])):
        detector = StreamDetector(2, n_estimators=2, max_samples=8, random_state=0)
        begin(detector)
        before = pickle.dumps(detector)
        with pytest.raises(ValueError, match=r"\['c', 'b', 'a'\], but \['a', 'b', 'c'\] are expected, in this order"):
            detector.update(frame[list("cba")].iloc[0])
        assert pickle.dumps(detector) == before
        detector.update(frame.iloc[1])
        detector.update(frame.iloc[1].to_numpy())


def test_calibration_compares_records_with_the_right_steps():
    """After a gap of two records, the value is compared with the third step and not with the first. Filled records are not
    compared.
    """
    t = np.arange(700)
    x = 100 * np.sin(t / 8) + np.random.default_rng(0).normal(0, 2, 700)

    def begun():
        detector = StreamDetector(interval=1.0, random_state=0)
        detector.update_many(x, t.astype(float))
        return detector, detector.forecast(4, calibrate=True)

    detector, made = begun()
    # the value is right for the third step, and far outside the band of the first one
    detector.update(float(made.median[2, 0]), 702.0)
    assert detector._calibration.factors[0] == 1.0
    assert detector._calibration.factors[2] < 1.0
    assert [700 - then for then, _ in detector._calibration.pending] == [2]
    again = StreamDetector.from_bytes(detector.to_bytes())
    for model in (detector, again):
        model.update(float(made.median[3, 0]), 703.0)
        assert model._calibration.factors[3] < 1.0
        assert model._calibration.pending == []

    detector, made = begun()
    detector.update(float("nan"), 700.0)
    assert detector._calibration.factors == [1.0] * 4
    detector.update(float(made.median[1, 0]), 701.0)
    assert detector._calibration.factors[1] < 1.0
    detector.update(0.0, 800.0)
    assert detector._calibration.pending == []
