"""KeyedDetector beyond what its streams give: keys that go, and states that are none.

That streams do not mix, and which key goes first, is in test_detector.py; model files in test_persist_detectors.py.
"""

from datetime import datetime

import numpy as np
import pytest

from rcf import KeyedDetector, StreamDetector


def small(**more):
    return KeyedDetector(StreamDetector(2, n_estimators=2, max_samples=8, random_state=0), **more)


def test_a_key_that_was_away_too_long_starts_anew():
    """Also the only one: it goes when it comes back, through the same door as others."""
    gone = []
    keyed = small(ttl=10.0, on_evict=lambda key, data: gone.append((key, StreamDetector.from_bytes(data).n_seen_)))
    for time in (0.0, 1.0, 11.0):
        keyed.update("a", 1.0, time)
    assert gone == []
    keyed.update("a", 1.0, 21.5)
    assert gone == [("a", 3)]
    assert keyed.detector("a").n_seen_ == 1


STAMPS = {"date": lambda t: t, "datetime64": np.datetime64, "seconds": datetime.timestamp, "ISO": datetime.isoformat}


@pytest.mark.parametrize("stamp", STAMPS.values(), ids=STAMPS)
def test_keys_go_by_the_time_of_the_records(stamp):
    """Dates as well as numbers: a file of last year, read in a second, has its own clock."""
    moments = [datetime(2020, 1, 1, 0, 0, s) for s in (0, 1, 20, 30, 31)]
    keyed = small(ttl=10.0)
    for key, moment in zip("abaac", moments, strict=True):
        keyed.update(key, 1.0, stamp(moment))
    assert keyed.keys() == ["a", "c"]
    assert keyed.detector("a").n_seen_ == 2  # of 20 and 30 seconds


def test_a_key_that_cannot_go_lets_no_other_in():
    """Nothing is learned then that is not learned again when the record comes again."""

    def refuse(key, data):
        raise OSError("the disk is full")

    keyed = small(max_keys=2, on_evict=refuse, on_miss=lambda key: known if key == "known" else None)
    known = StreamDetector(2, n_estimators=2, max_samples=8, random_state=0).to_bytes()
    keyed.update("a", 1.0, 0.0)
    keyed.update("b", 1.0, 1.0)
    before = keyed.to_bytes()
    for key in ("c", "known"):
        with pytest.raises(OSError, match="the disk is full"):
            keyed.update(key, 1.0, 2.0)
        assert keyed.to_bytes() == before
    keyed.ttl = 5.0
    for key in ("a", "b", "c"):  # by age: also the records of a key that is held wait
        before = keyed.to_bytes()
        with pytest.raises(OSError, match="the disk is full"):
            keyed.update(key, 1.0, 5.5)
        assert keyed.to_bytes() == before
    keyed.on_evict = None
    keyed.update("c", 1.0, 5.5)
    assert keyed.keys() == ["b", "c"]


def test_a_record_that_is_refused_sends_no_key_away():
    keyed = small(max_keys=1, ttl=5.0)
    keyed.update("a", 1.0, 0.0)
    for record, timestamp in [(np.inf, 1.0), (1.0, np.inf), (1.0, True)]:
        with pytest.raises(ValueError):
            keyed.update("b", record, timestamp)
    assert keyed.keys() == ["a"]


def test_it_shows_what_it_holds():
    keyed = small(max_keys=5)
    keyed.update("a", 1.0)
    assert repr(keyed).startswith("KeyedDetector(StreamDetector(")
    assert repr(keyed).endswith("max_keys=5, ttl=None): 1 keys")


def test_the_detector_of_a_key():
    keyed = small()
    for value in np.sin(np.arange(40.0)):
        keyed.update("a", value)
    assert keyed.detector("a").forecast(2).median.shape == (2, 1)
    assert len(keyed) == 1
    for missing in (keyed.detector, keyed.evict):
        with pytest.raises(KeyError, match="b"):
            missing("b")


def test_numbers_of_numpy_are_keys_like_any_other():
    keyed = small()
    keys = [np.int64(7), (np.str_("press"), np.int32(3)), np.float64(0.5)]
    for key in keys:
        keyed.update(key, 1.0)
    again = KeyedDetector.from_bytes(keyed.to_bytes())
    assert again.keys() == [7, ("press", 3), 0.5]
    assert all(key in again for key in keys)
    keyed.update(b"bytes", 1.0)
    with pytest.raises(TypeError, match=r"the key b'bytes' cannot be saved"):
        keyed.to_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(keys=["a", "a"]), "'a' comes twice"),
        (lambda s: s.update(overridden=["c", "c"], overrides=[{}, {}]), "'c' comes twice"),
        (lambda s: s.update(keys=["a", {}]), "is no key"),
        (lambda s: s.update(max_keys=1), "2 keys are held where 1 may be"),
        (lambda s: s.update(models=s["models"].astype(np.int64)), "their models are not bytes"),
        (lambda s: s.update(ends=s["ends"][:1]), "does not say where the models end"),
        (lambda s: s.update(ends=s["ends"][::-1].copy()), "cut off"),
        (lambda s: s.update(ends=s["ends"] + np.array([0, 1])), "lies outside"),
        (lambda s: s.update(ends=s["ends"] * 0), "lies outside"),
        (lambda s: s.update(models=np.append(s["models"], np.uint8(0))), "1 bytes belong to no key"),
        (lambda s: s.update(used=np.array([0.0, np.nan])), "used"),
        (lambda s: s.update(used=np.zeros(1)), "zip"),
    ],
)
def test_states_that_are_none(change, message):
    keyed = small()
    for key in ("a", "b"):
        keyed.update(key, 1.0)
    state = keyed._state()
    assert KeyedDetector._from_state(dict(state)).keys() == ["a", "b"]
    change(state)
    with pytest.raises((ValueError, TypeError), match=message):
        KeyedDetector._from_state(state)
