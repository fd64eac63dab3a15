"""The records and time stamps that a detector accepts, in all forms, and those that it refuses."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from rcf.detector import StreamDetector


def small(size=3, **more):
    return StreamDetector(size, n_estimators=4, max_samples=16, random_state=0, **more)


def series(n=200):
    x = 10 * np.sin(np.arange(n) / 5) + np.random.default_rng(0).normal(size=n)
    x[n // 2] += 60
    return x


FORMS = {
    "seconds": lambda i: 1.6e9 + 60 * i,
    "whole seconds": lambda i: 1_600_000_000 + 60 * i,
    "numpy": lambda i: np.datetime64("2020-09-13T12:26:40") + np.timedelta64(60 * i, "s"),
    "numpy days": lambda i: np.datetime64("2020-09-13T12:26:40.000000000") + np.timedelta64(i, "m"),
    "naive": lambda i: datetime(2020, 9, 13, 12, 26, 40) + timedelta(minutes=i),
    "aware": lambda i: datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC) + timedelta(minutes=i),
    "elsewhere": lambda i: datetime(2020, 9, 13, 14, 26, 40, tzinfo=timezone(timedelta(hours=2))) + timedelta(minutes=i),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_time_stamps_of_any_form_are_the_same_seconds(form):
    """Three records in the middle are missing, and the detector must notice it in every form of time stamp."""
    x = series()
    keep = np.r_[0:120, 123:200]
    expected = small().update_many(x[keep], [FORMS["seconds"](i) for i in keep])
    detector = small()
    got = [detector.update(float(x[i]), FORMS[form](i)) for i in keep.tolist()]
    assert [r.score for r in got] == expected.score.tolist()
    assert got[120].reason == "gap"
    with pytest.raises(ValueError, match="is before the last"):
        detector.update(0.0, FORMS["seconds"](198))


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_column_of_a_frame_is_the_time(package):
    frames = pytest.importorskip(package)
    x, times = series(), [FORMS["naive"](i) for i in range(200)]
    frame = frames.DataFrame({"when": times, "load": x, "heat": x[::-1].copy()})
    out = small().update_many(frame, "when")
    expected = small().update_many(np.c_[x, x[::-1]], times)
    assert list(out["score"]) == expected.score.tolist()
    assert type(out).__module__.startswith(package)
    with pytest.raises(ValueError, match=r"no column 'then' among 'when', 'load', 'heat'"):
        small().update_many(frame, "then")


def test_records_that_are_refused():
    detector = small().update_many(np.c_[series(), series()]) and small()
    with pytest.raises(ValueError, match="'when' names a column, but the records are a ndarray"):
        detector.update_many(np.ones((3, 2)), "when")
    with pytest.raises(ValueError, match="2 timestamps for 3 records"):
        detector.update_many(np.ones((3, 2)), [1.0, 2.0])
    with pytest.raises(ValueError, match="records must be numbers"):
        detector.update_many([["a"], ["b"]])
    with pytest.raises(ValueError, match=r"shape \(n,\) or \(n, d\), got \(2, 2, 2\)"):
        detector.update_many(np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="at least one feature"):
        detector.update([])
    with pytest.raises(ValueError, match="finite"):
        detector.update(1.0, np.datetime64("NaT"))
    assert not detector.__sklearn_is_fitted__()
    detector.update_many(np.ones((30, 2)))
    with pytest.raises(ValueError, match="X has 3 features, but StreamDetector is expecting 2"):
        detector.update_many(np.ones((3, 3)))
    assert detector.n_seen_ == 30


def test_near_expected_one_at_a_time_and_many():
    x = np.r_[np.tile([5.0, 10.0, 2.0], 500), 5.0, 10.0, 3.0]
    for near, called in (({"above": (1.0, 0.0)}, False), ({"above": (0.0, 0.5)}, False), ({"below": (9.0, 9.0)}, True)):
        one, many = (StreamDetector(random_state=0, ignore_near_expected=near) for _ in range(2))
        results = [one.update(value) for value in x]
        assert (results[-1].is_anomaly, results[-1].reason == "near expected") == (called, not called)
        assert (results[-1].grade > 0) == called
        found = many.update_many(x)
        assert found.is_anomaly.tolist() == [r.is_anomaly for r in results]
        assert list(found.reason) == [r.reason for r in results]
    for bad in ({"above": 1.0}, {"above": ("a", 0.0)}, {"above": ([1.0, 2.0], 0.0)}):
        with pytest.raises(ValueError, match=r"ignore_near_expected\['above'\] must be \(amount, ratio\)"):
            small(ignore_near_expected=bad).update(1.0)


def test_nothing_is_explained_before_the_window_is_full():
    detector = small(8)
    result = detector.update(1.0)
    with pytest.raises(RuntimeError, match="no full window yet"):
        _ = result.attribution


def test_what_is_printed():
    detector = StreamDetector(random_state=0)
    found = detector.update_many(series(1000))
    assert repr(found[0]) == "Detection(score=0, evidence=0, grade=0, is_anomaly=False, reason='warming up')"
    assert found.is_anomaly[500]
    assert "is_anomaly=True, cause=('x0', 0, 'high'), expected=[" in repr(found[500])
    ahead = detector.forecast()
    assert repr(ahead).startswith(f"Forecast(median=[[{float(ahead.median[0, 0])!r}]], lower=[[")


@pytest.mark.parametrize(
    "stamps", [60.0 * np.arange(3000), np.datetime64("2026-01-01") + np.arange(3000) * np.timedelta64(60, "s")]
)
def test_arrays_and_lists_of_time_stamps_agree(stamps):
    """Ascending arrays are checked as a whole, and lists are checked element by element."""
    stamps = stamps.copy()
    stamps[500] = stamps[499]
    stamps[600:] += stamps[100] - stamps[0]  # a gap
    x = np.random.default_rng(0).normal(size=3000)
    whole, single = StreamDetector(random_state=0), StreamDetector(random_state=0)
    for i in range(0, 3000, 300):
        part = slice(i, i + 300)
        found, expected = whole.update_many(x[part], stamps[part]), single.update_many(x[part], list(stamps[part]))
        np.testing.assert_array_equal(found.score, expected.score)
        np.testing.assert_array_equal(found.is_anomaly, expected.is_anomaly)
    assert whole._clock.state() == single._clock.state()
    at_once = StreamDetector(random_state=0)
    at_once.update_many(x, stamps)
    assert at_once._clock.state() == single._clock.state()
    for bad, told in ((np.array([np.nan]), "finite"), (stamps[5:6], "is before the last one")):
        with pytest.raises(ValueError, match=told):
            whole.update_many(x[:1], bad)
    assert whole._clock.state() == single._clock.state()
