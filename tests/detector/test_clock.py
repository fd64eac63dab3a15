"""Time stamps: which ones are accepted, the effect of wrong ones, and the time zone of the seasons."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcf import StreamDetector
from rcf.detector.clock import AGREED, Clock, Rules

START = datetime(2026, 3, 2, 8)


def small(**more):
    return StreamDetector(3, n_estimators=4, max_samples=16, random_state=0, **more)


def minutes(n, start=START):
    return [start + timedelta(minutes=i) for i in range(n)]


def noise(n):
    return np.random.default_rng(0).normal(size=n)


def both(x, stamps, **more):
    """The detector and its results after a batch, which are compared with those of single records."""
    one, many = small(**more), small(**more)
    singly = [one.update(value, stamp) for value, stamp in zip(x.tolist(), stamps, strict=True)]
    found = many.update_many(x, stamps)
    assert found.score.tolist() == [r.score for r in singly]
    assert many.to_bytes() == one.to_bytes()
    return many, found


def test_equal_stamps_are_accepted():
    stamps = sorted(minutes(150) + minutes(150))
    detector, found = both(noise(300), stamps)
    assert detector._clock.interval == 60.0
    assert (found.score[70:] > 0).all()
    with pytest.raises(ValueError, match=r'is the same as the last one, .*time_order="clock"'):
        small(time_order="strict").update_many(noise(300), stamps)


def test_a_clock_that_is_set_back():
    """The local clock shows the hour from two to three twice. Stamps with a zone never go back."""
    local = minutes(120, datetime(2026, 10, 25, 1)) + minutes(120, datetime(2026, 10, 25, 2))
    _, found = both(noise(240), local)
    assert (found.reason[80:] != "gap").all()
    with pytest.raises(ValueError, match=r"row 120: timestamp 2026-10-25 02:00:00 is before the last one"):
        small(time_order="strict").update_many(noise(240), local)
    berlin = ZoneInfo("Europe/Berlin")
    aware = [datetime(2026, 10, 24, 23, tzinfo=UTC) + timedelta(minutes=i) for i in range(240)]
    both(noise(240), [stamp.astimezone(berlin) for stamp in aware])
    further_back = [*local[:120], *minutes(10, datetime(2026, 10, 25, 1, 30))]
    with pytest.raises(ValueError, match=r"row 120: .* is before the last one"):
        small().update_many(noise(130), further_back)
    with pytest.raises(ValueError, match=r"row 1: timestamp 40\.0 is before the last one, 100"):
        small().update_many(noise(2), [100.0, 40.0])


@pytest.mark.parametrize("ahead", [2 * 3600.0, 30 * 86400.0, 1.7e12])
def test_a_stamp_from_the_future_costs_few_records(ahead):
    """A wrong stamp is two hours ahead, a month ahead, or in milliseconds instead of seconds."""
    detector, t, refused = small(), 1.7e9, []
    for i in range(400):
        stamp = t + 60.0 * i
        try:
            detector.update(float(i % 7), ahead + (0.0 if ahead > 1e12 else stamp) if i == 100 else stamp)
        except ValueError:
            refused.append(i)
        if i == 101:
            detector = StreamDetector.from_bytes(detector.to_bytes())  # refused stamps are saved too
    assert refused in ([100], [101, 102])
    assert detector._clock.now == t + 60.0 * 399


def test_inconsistent_refused_stamps_start_no_new_clock():
    detector = small()
    for i in range(50):
        detector.update(1.0, 1e9 + i)
    for stamp in (5.0, 3.0, 1.0, 9e8, 5.0, 3.0):
        with pytest.raises(ValueError, match="is before the last one"):
            detector.update(1.0, stamp)
    assert detector.n_seen_ == 50
    detector.update(1.0, 1e9 + 50)


def test_a_batch_is_refused_where_one_of_its_records_would_be():
    """The batch changes nothing. When records come one by one, the third consistent stamp starts a new clock."""
    detector = small()
    detector.update_many(noise(200), 1e9 + np.arange(200.0))
    before = detector.to_bytes()
    for stamps, words in (
        ([5.0, 6.0, 7.0, 8.0], r"row 0: timestamp 5.0 is before the last one, 1000000199: .*three in a row that agree"),
        ([1e9 + 200.0, 5.0], r"row 1: timestamp 5.0 is before the last one, 1000000200"),
        (
            [1e9 + 200.0, 9e9, 9e9 + 1.0, 9e9 + 2.0],
            r"row 1: timestamp 9000000000.0 is more than 31622400 seconds after",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            detector.update_many(noise(len(stamps)), stamps)
        assert detector.to_bytes() == before
    for stamp in (5.0, 6.0):
        with pytest.raises(ValueError, match="is before"):
            detector.update(1.0, stamp)
    found = detector.update_many(noise(20), np.arange(7.0, 27.0))
    assert list(found.reason[:2]) == ["gap", "gap"]
    with pytest.raises(ValueError, match=r"row 3: timestamp 30.0 is more than 5 seconds after the last one, 2"):
        small(max_step=5.0).update_many(noise(6), [0.0, 1.0, 2.0, 30.0, 31.0, 32.0])


def test_a_sensor_that_is_switched_off_for_a_night():
    """There is one record per second, and 10 000 intervals are less than three hours."""
    stamps = np.r_[np.arange(200.0), 40_000.0 + np.arange(200.0)]
    _, found = both(noise(400), stamps)
    assert found.reason[200] == "gap"


STAMPS = st.lists(
    st.one_of(st.sampled_from([0.0, 1.0, 1.0, 2.0, 1.0, 40.0, -30.0, -4000.0, 4e7]), st.integers(-5, 5).map(float)),
    min_size=1,
    max_size=60,
)


@settings(deadline=None, max_examples=100)
@given(
    steps=STAMPS,
    cuts=st.lists(st.integers(0, 60), max_size=8),
    local=st.booleans(),
    order=st.sampled_from(["clock", "strict"]),
    head=st.integers(0, 30),
)
def test_results_do_not_depend_on_batches(steps, cuts, local, order, head):
    """Stamps continue, jump and go back. They come in batches, and a refused batch is repeated record by record."""
    times = 1e9 + np.cumsum([*[1.0] * head, *steps])
    stamps = times.astype("datetime64[s]") if local else times
    x = noise(len(times))

    def fed(edges):
        detector, taken = small(time_order=order), []
        for a, b in zip([0, *edges], [*edges, len(x)], strict=True):
            try:
                taken += [
                    (a + i, score) for i, score in enumerate(detector.update_many(x[a:b], stamps[a:b]).score.tolist())
                ]
                continue
            except ValueError as error:
                row = int(re.match(r"row (\d+): timestamp", str(error))[1])
            for i in range(a, b):
                try:
                    taken.append((i, detector.update(float(x[i]), stamps[i]).score))
                    assert i != a + row
                except ValueError:
                    assert i >= a + row
        return taken, detector.to_bytes() if detector.n_seen_ else None

    singly = fed(range(1, len(x)))
    assert fed(sorted({cut for cut in cuts if 0 < cut < len(x)})) == singly
    assert fed([]) == singly


def test_local_time_of_a_zone():
    rules = Rules("clock", None, ZoneInfo("America/New_York"))
    clock = Clock(60.0, rules)
    # a Monday at noon UTC, in winter and in summer
    for stamp, hour in ((datetime(2026, 1, 5, 12, tzinfo=UTC), 7), (datetime(2026, 7, 6, 12, tzinfo=UTC), 8)):
        for form in (stamp, stamp.timestamp(), stamp.isoformat()):
            clock.now = None
            clock.missed(clock.admit(form))
            assert clock.second() == hour * 3600.0
    plain = Clock(60.0, Rules("clock", None, None))
    for stamp in (
        datetime(2026, 1, 5, 7),
        datetime(2026, 1, 5, 7, tzinfo=ZoneInfo("Asia/Tokyo")),
        np.datetime64("2026-01-05T07"),
    ):
        plain.now = None
        plain.missed(plain.admit(stamp))
        assert plain.second() == 7 * 3600.0


def test_parameters_of_time():
    for params, words in (
        ({"time_order": "any"}, "time_order must be 'clock' or 'strict', got 'any'"),
        ({"max_step": 0.0}, "max_step must be above zero"),
        ({"timezone": "Europe/Atlantis"}, "timezone must be the name of a time zone, such as 'Europe/Berlin'"),
        ({"timezone": 2}, "timezone must be the name"),
    ):
        with pytest.raises(ValueError, match=words):
            small(**params).update(1.0)
    assert AGREED == 3
