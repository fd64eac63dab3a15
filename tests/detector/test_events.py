"""Events: when they open and close, their contents, and their sentences."""

import json

import numpy as np
import pytest

from rcf import KeyedDetector, StreamDetector
from rcf.detector.findings import shown


def told(found):
    """(record, state, side, why) of each event that changes."""
    return [
        (i, event.state, event.side, event.why)
        for i, events in enumerate(found.events)
        for event in events
        if event.state != "open"
    ]


def latency(n, seed, noise=0.06):
    rng = np.random.default_rng(seed)
    return 25 * np.exp(rng.normal(0, noise, n))


@pytest.mark.parametrize("seed", range(5))
def test_a_step_of_an_hour_opens_and_closes_once(seed):
    x = latency(1500, seed)
    x[1000:1060] *= 3
    found = StreamDetector(random_state=seed).update_many(x)
    changes = [change for change in told(found) if change[0] >= 990]
    assert changes == [(1000, "opened", "high", None), (1089, "closed", "high", "back to usual")]
    event = found[1089].event
    assert (event.feature, event.start, event.duration) == ("x0", 1000, 60)
    assert event.peak == x[1000:1060].max()
    assert [found[i].event.state for i in (1001, 1059, 1088)] == ["open"] * 3
    assert found[1090].event is None


@pytest.mark.parametrize("seed", range(5))
def test_a_level_that_lasts_becomes_usual(seed):
    x = latency(1500, seed)
    x[1000:] *= 3
    found = StreamDetector(random_state=seed).update_many(x)
    changes = [change for change in told(found) if change[0] >= 990 and change[2] == "high"]
    assert changes == [(1000, "opened", "high", None), (1256, "closed", "high", "the new level has become usual")]


@pytest.mark.parametrize("seed", range(3))
def test_a_second_incident_soon_after_the_first(seed):
    x = latency(1500, seed)
    x[1000:1060] *= 3
    x[1100:1110] *= 5
    found = StreamDetector(random_state=seed).update_many(x)
    assert (1100, "opened", "high", None) in told(found)


def test_another_cause_is_an_event_of_its_own():
    for seed in range(3):
        x = np.c_[latency(1500, seed), latency(1500, seed + 100)]
        x[1000:1100, 0] *= 4
        x[1040:1100, 1] *= 4
        found = StreamDetector(random_state=seed).update_many(x)
        opened = [
            (i, e.feature) for i, events in enumerate(found.events[990:], 990) for e in events if e.state == "opened"
        ]
        assert opened == [(1000, "x0"), (1040, "x1")]
        assert {e.feature for e in found.events[1050]} == {"x0", "x1"}


def test_spikes_soon_after_the_start():
    """Among five spikes in 800 counts, the first, the fourth and the fifth open an event; the others belong to the first."""
    opened, belong = np.zeros(3, dtype=int), np.zeros(2, dtype=int)
    for seed in range(20):
        x = np.random.default_rng(seed).poisson(40, 800).astype(float)
        x[[500, 505, 511, 600, 700]] = [1200, 1350, 1100, 1500, 1050]
        events = StreamDetector(random_state=seed).update_many(x).events
        opened += [any(e.state == "opened" for e in events[i]) for i in (500, 600, 700)]
        belong += [any(e.state == "open" and e.start == 500 for e in events[i]) for i in (505, 511)]
    assert (opened >= 18).all()
    assert (belong >= 18).all()


def test_every_record_of_an_event():
    for seed in range(3):
        x = latency(1500, seed)
        x[1000:1060] *= 3
        once = StreamDetector(random_state=seed).update_many(x).is_anomaly
        every = StreamDetector(random_state=seed, alert_once=False).update_many(x).is_anomaly
        assert every[1000:1060].all()
        assert not every[1062:1500].any()
        assert once[1000:1060].sum() <= 3
        assert (every | ~once).all()


def test_a_return_to_usual_is_not_flagged():
    """The return to normal after a step of an hour, a spike and a stuck sensor is not flagged, although it has evidence."""
    returned = 0
    for seed in range(10):
        for kind, at, end in (("step", 1000, 1060), ("spike", 1000, 1001), ("stuck", 1000, 1200)):
            x = latency(1500, seed)
            x[at:end] = x[at] if kind == "stuck" else 5 * x[at:end]
            one, many = StreamDetector(random_state=seed), StreamDetector(random_state=seed)
            found = many.update_many(x)
            singly = [one.update(value) for value in x.tolist()]
            assert found.is_anomaly[at:end].any()
            assert not found.is_anomaly[end : end + 30].any()
            assert [r.reason for r in singly] == found.reason.tolist()
            assert [r.is_anomaly for r in singly] == found.is_anomaly.tolist()
            assert one.to_bytes() == many.to_bytes()
            back = np.flatnonzero(found.reason == "back to usual")
            assert ((back >= end) & (back < end + 30)).all()
            assert (found.grade[back] == 0.0).all()
            returned += len(back)
    assert returned > 5  # without the rule, these records would be flagged


@pytest.mark.parametrize(("hour", "factor"), [(3, 5.0), (15, 0.1)])
def test_an_event_of_a_seasonal_series_ends(hour, factor):
    """In these hourly values, the next noon is as high as the incident at night. The event ends nevertheless, a day and six hours
    after it.
    """
    n = 24 * 56
    stamps = 3600.0 * np.arange(n)
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0, 0.05, n)
        x = (100 + 80 * np.sin(2 * np.pi * (np.arange(n) - 9) / 24)) * np.exp(noise)
        at = 24 * 51 + hour
        x[at] *= factor
        found = StreamDetector(random_state=seed).update_many(x, stamps)
        side = "high" if factor > 1 else "low"
        assert [change for change in told(found) if change[0] >= at] == [
            (at, "opened", side, None),
            (at + 30, "closed", side, "back to usual"),
        ]


def test_the_side_agrees_with_the_expected_value():
    """With many seeds, a spike of 1100 soon after another spike once had the expected value 41 and nevertheless the cause "low"."""
    flagged = 0
    for seed in range(10):
        x = np.random.default_rng(seed).poisson(40, 800).astype(float)
        x[[500, 505, 511, 600, 700]] = [1200, 1350, 1100, 1500, 1050]
        for alert_once in (True, False):
            found = StreamDetector(random_state=seed, alert_once=alert_once).update_many(x)
            for i in found.anomalies.tolist():
                one = found[i]
                j = int(one.cause.feature[1:])
                assert (one.past[j] > one.expected[j]) == (one.cause.side == "high")
                assert one.severity == abs(one.past[j] - one.expected[j])
                flagged += 1
    assert flagged > 50


def test_severity_is_in_the_units_of_the_user():
    x = np.tile([1.0, 2.0, 3.0, 2.0], 300)
    for jump in (0.5, 5.0, 500.0):
        y = x.copy()
        y[1001] += jump
        found = StreamDetector(random_state=0).update_many(y)[1001]
        assert found.is_anomaly
        assert found.severity == pytest.approx(jump, rel=0.05)


def test_a_stuck_sensor_is_found_and_named():
    for seed in range(5):
        x = np.random.default_rng(seed).normal(20.0, 1.0, size=(1500, 2))
        x[1000:, 1] = x[1000, 1]
        alone = StreamDetector(random_state=seed).update_many(x[:, 1])
        assert alone.is_anomaly[1014:1018].any()
        found = StreamDetector(random_state=seed).update_many(x)
        assert found.is_anomaly[1015]
        one = found[1015]
        assert one.cause == ("x1", 15, "stuck")
        assert one.severity == 0.0
        assert one.expected[1] == one.past[1]
        assert one.reason.startswith("x1 has been ")
        assert one.reason.endswith("for 16 records; the longest run of equal values before was 1")
        assert found[1300].event is None or found[1300].event.side == "stuck"


def test_a_midday_value_at_night():
    """Hourly sales have the values of noon at night: usual values at the wrong hour."""
    import pandas as pd

    hours = pd.date_range("2026-01-05", periods=24 * 42, freq="h")
    hit = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = 100 + 80 * np.sin(2 * np.pi * (np.arange(len(hours)) - 6) / 24) + rng.normal(0, 5, len(hours))
        at = 24 * 35 + 1
        x[at : at + 6] = 175.0  # values of noon from one to seven at night
        found = StreamDetector(random_state=seed).update_many(x, hours)
        hit += found.is_anomaly[at : at + 9].any()
        without = StreamDetector(random_state=seed).update_many(x)
        assert found.score.tolist() == without.score.tolist()
    assert hit >= 4


def test_a_detection_as_json():
    keyed = KeyedDetector(StreamDetector(random_state=0))
    x = latency(800, 0)
    x[700] = 812.0
    for i, value in enumerate(x):
        found = keyed.update("host 7", {"load": float(value)}, 60.0 * i)
        if i == 700:
            one = json.loads(found.to_json())
            assert (one["key"], one["timestamp"], one["features"]) == ("host 7", 42000.0, ["load"])
            assert one["cause"] == {"feature": "load", "lag": 0, "side": "high"}
            assert one["came"] == [812.0]
            assert one["severity"] == pytest.approx(812.0 - one["expected"][0])
            assert one["event"]["state"] == "opened"
            assert one["since"] == 42000.0
            assert "load" in one["reason"]
    plain = json.loads(keyed.update("host 7", {"load": 25.0}, 60.0 * 800).to_json())
    assert plain["cause"] is None
    assert not plain["is_anomaly"]


def test_mappings_are_records():
    one, two = StreamDetector(random_state=0), StreamDetector(random_state=0)
    x = np.random.default_rng(0).normal(size=(200, 2))
    for a, b in x.tolist():
        assert one.update({"a": a, "b": b}).score == two.update([a, b]).score
    assert one.update({"b": 1.0, "a": 2.0}).score == two.update([2.0, 1.0]).score
    assert one.feature_names_in_.tolist() == ["a", "b"]
    before = one.to_bytes()
    for record, words in (
        ({"a": 1.0}, "the record has no 'b'"),
        ({"a": 1.0, "b": 2.0, "c": 3.0}, "unknown features: 'c'"),
        ({"a": 1.0, "b": "x"}, "vector of numbers"),
        ({"a": 1.0, "b": float("inf")}, "inf"),
    ):
        with pytest.raises(ValueError, match=words):
            one.update(record)
    with pytest.raises(ValueError, match="the names of a mapping must be text"):
        StreamDetector().update({1: 2.0})
    assert one.to_bytes() == before


@pytest.mark.parametrize("alert_once", [True, False])
def test_events_go_on_in_a_saved_detector(alert_once):
    x = latency(1500, 3)
    x[1000:1060] *= 3
    for at in (1001, 1030, 1070):
        detector = StreamDetector(random_state=0, alert_once=alert_once)
        detector.update_many(x[:at])
        again = StreamDetector.from_bytes(detector.to_bytes())
        assert again.to_bytes() == detector.to_bytes()
        singly = [detector.update(value) for value in x[at:]]
        many = again.update_many(x[at:])
        assert [r.events for r in singly] == many.events.tolist()
        assert [r.is_anomaly for r in singly] == many.is_anomaly.tolist()
        assert [r.reason for r in singly] == many.reason.tolist()


@pytest.mark.parametrize(
    ("value", "text"),
    [(23.600000044, "23.6"), (39197123.0, "39197123"), (-999_999.6, "-1000000"), (0.00001, "1e-05"), (1e30, "1e+30")],
)
def test_numbers_are_shown_without_needless_exponents(value, text):
    assert shown(value) == text
    assert shown(abs(value), sign="+") == "+" + text.lstrip("-")
    assert shown(405.602, 4) == "405.6"
    assert shown(16087.6, 4) == "16088"
