"""KeyedDetector: eviction of keys, batches, threads, and invalid states. Model files are in test_persist.py."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from rcf import KeyedDetector, StreamDetector


def small(**more):
    return KeyedDetector(StreamDetector(2, n_estimators=2, max_samples=8, random_state=0), **more)


def test_a_key_without_records_for_longer_than_ttl_starts_again():
    """A single key also expires, at its next record, and is evicted like the others."""
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
def test_keys_expire_by_the_time_of_the_records(stamp):
    """Dates work like numbers. The records determine the time, even if a file of an earlier year is read within a second."""
    moments = [datetime(2020, 1, 1, 0, 0, s) for s in (0, 1, 20, 30, 31)]
    keyed = small(ttl=10.0)
    for key, moment in zip("abaac", moments, strict=True):
        keyed.update(key, 1.0, stamp(moment))
    assert keyed.keys() == ["a", "c"]
    assert keyed.detector("a").n_seen_ == 2  # the records at 20 and 30 seconds


def test_a_failed_eviction_admits_no_new_key():
    """The record is refused and not learned. It is learned when it comes again and the callback no longer fails."""

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
    for key in ("a", "c"):  # because of age, and because of max_keys
        before = keyed.to_bytes()
        with pytest.raises(OSError, match="the disk is full"):
            keyed.update(key, 1.0, 5.5)
        assert keyed.to_bytes() == before
    keyed.on_evict = None
    keyed.update("c", 1.0, 5.5)
    assert keyed.keys() == ["b", "c"]


def test_a_refused_record_evicts_no_key():
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
    for value in np.sin(np.arange(80.0)):
        keyed.update("a", value)
    assert keyed.detector("a").forecast(2).median.shape == (2, 1)
    assert len(keyed) == 1
    for missing in (keyed.detector, keyed.evict):
        with pytest.raises(KeyError, match="b"):
            missing("b")


def test_numbers_of_numpy_can_be_keys():
    keyed = small()
    keys = [np.int64(7), (np.str_("press"), np.int32(3)), np.float64(0.5)]
    for key in keys:
        keyed.update(key, 1.0)
    again = KeyedDetector.from_bytes(keyed.to_bytes())
    assert again.keys() == [7, ("press", 3), 0.5]
    assert all(key in again for key in keys)
    before = keyed.keys()
    for key in (b"bytes", pd.Timestamp(0), ("a", b"b")):
        with pytest.raises(TypeError, match=r"the key .* cannot be saved: only None"):
            keyed.update(key, 1.0)
    assert keyed.keys() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(keys=["a", "a"]), "'a' comes twice"),
        (lambda s: s.update(overridden=["c", "c"], overrides=[{}, {}]), "'c' comes twice"),
        (lambda s: s.update(keys=["a", {}]), "is not a valid key"),
        (lambda s: s.update(max_keys=1), "2 keys exceed max_keys=1"),
        (lambda s: s.update(models=np.zeros(9, np.int64)), "their models are not bytes"),
        (lambda s: s.update(ends=s["ends"][:1]), "must hold the end of each model"),
        (lambda s: s.update(ends=s["ends"][::-1].copy()), "cut off"),
        (lambda s: s.update(ends=s["ends"] + np.array([0, 1])), "lies outside the stored bytes"),
        (lambda s: s.update(ends=s["ends"] * 0), "lies outside the stored bytes"),
        (lambda s: s.update(models=s["models"] + b"\0"), "1 bytes belong to no key"),
        (lambda s: s.update(stamps=np.array([[0.0, 1.0], [np.inf, 1.0]])), "stamps"),
        (lambda s: s.update(arrivals=np.zeros((1, 2))), "arrivals"),
        (lambda s: s.update(clocks=[[None, None, None]]), "zip"),
        (lambda s: s.update(clocks=[["now", None, None]] * 2), "not a valid time"),
    ],
)
def test_invalid_states(change, message):
    keyed = small()
    for key in ("a", "b"):
        keyed.update(key, 1.0)
    state = keyed._state()
    state["models"] = b"".join(state["models"])
    assert KeyedDetector._from_state(dict(state)).keys() == ["a", "b"]
    change(state)
    with pytest.raises((ValueError, TypeError), match=message):
        KeyedDetector._from_state(state)


# ---- clocks ----------------------------------------------------------------------------------------------------


def test_one_host_with_a_wrong_clock_evicts_nobody():
    keyed = small(ttl=60.0)
    for t in range(0, 600, 20):
        for host in "abc":
            keyed.update(host, 1.0, float(t))
        keyed.update("ahead", 1.0, t + 7200.0)
        keyed.update("behind", 1.0, t - 7200.0)
    assert keyed.keys() == ["a", "b", "c", "ahead", "behind"]
    assert all(keyed.detector(host).n_seen_ == 30 for host in ("a", "b", "c", "ahead", "behind"))


def test_records_without_a_time_stamp_have_a_clock_of_their_own(monkeypatch):
    """With one clock for both, the first record without a stamp would evict every key with the stamps 0, 1, 2 ..."""
    now = [1e9]
    monkeypatch.setattr("rcf.detector.keyed.time.time", lambda: now[0])
    keyed = small(ttl=60.0)
    for t in range(3):
        for host in "ab":
            keyed.update(host, 1.0, float(t))
    keyed.update("c", 1.0)
    assert keyed.keys() == ["a", "b", "c"]
    now[0] += 100.0
    keyed.update("d", 1.0)
    assert keyed.keys() == ["a", "b", "d"]


def test_an_old_key_expires_although_it_was_used_after_a_younger_one():
    keyed = small(ttl=60.0)
    keyed.update("young", 1.0, 1000.0)
    keyed.update("old", 1.0, 5.0)
    keyed.update("third", 1.0, 1001.0)
    keyed.update("third", 1.0, 1002.0)
    assert keyed.keys() == ["young", "third"]


# ---- threads ---------------------------------------------------------------------------------------------------


def test_saves_during_updates_evictions_and_restores():
    """Four threads update while a fifth saves. Every file loads, and each of its keys equals a detector of the first n records."""
    rng = np.random.default_rng(0)
    values = {key: rng.normal(size=400) for key in range(12)}
    stored = {}
    keyed = small(max_keys=10, on_evict=stored.__setitem__, on_miss=stored.get)
    done, files = threading.Event(), []

    def update(keys):
        for i in range(400):
            for key in keys:
                keyed.update(key, values[key][i])

    def save():
        while not done.is_set():
            files.append(keyed.to_bytes())

    with ThreadPoolExecutor(5) as pool:
        saver = pool.submit(save)
        workers = [pool.submit(update, range(first, 12, 4)) for first in range(4)]
        try:
            for worker in workers:
                worker.result()
        finally:
            done.set()
        saver.result()
    alone = {}
    for key, series in values.items():
        detector = StreamDetector(2, n_estimators=2, max_samples=8, random_state=0)
        alone[key] = [detector.update(value) and detector.to_bytes() for value in series]
    assert len(files) > 3
    for data in [*files[:3], files[-1], keyed.to_bytes()]:
        again = KeyedDetector.from_bytes(data)
        keys = again.keys()
        for key in keys:
            detector = again.detector(key)
            assert detector.to_bytes() == alone[key][detector.n_seen_ - 1]
    for key in values:
        model = keyed.detector(key).to_bytes() if key in keyed else stored[key]
        assert model == alone[key][-1]


def test_a_file_has_every_key_at_the_moment_of_the_call(monkeypatch):
    """A key that is not stored yet is stored before it learns more."""
    keyed = small()
    for key in "abc":
        keyed.update(key, 1.0)
    expected = keyed.to_bytes()
    taken = []

    def between(self, left):
        for key in left:
            with self._lock:
                self._take(key)
            taken.append(key)
            if len(taken) == 1:
                self.update("c", 5.0)  # not stored yet
                self.update("a", 5.0)  # stored already
                self.update("d", 5.0)  # new
                self.evict("b")
        return False

    monkeypatch.setattr(KeyedDetector, "_some", between)
    assert keyed.to_bytes() == expected
    assert keyed.keys() == ["c", "a", "d"]


def test_pickles_and_copies_leave_the_callbacks_out():
    keyed = small(on_evict=lambda key, data: None)
    keyed.update("a", 1.0)
    for again in (pickle.loads(pickle.dumps(keyed)), copy.deepcopy(keyed)):
        assert again.to_bytes() == keyed.to_bytes()
        assert again.on_evict is None


def test_merging_keeps_the_detector_that_saw_more():
    one, two = small(max_keys=3), small()
    for i in range(5):
        one.update("a", float(i))
        two.update("b", float(i))
        if i < 3:
            two.update("a", float(i))
    before = two.to_bytes()
    assert one.merge(two).keys() == ["a", "b"]
    assert one.detector("a").n_seen_ == one.detector("b").n_seen_ == 5
    one.update("b", 1.0)
    assert two.to_bytes() == before


# ---- many records ----------------------------------------------------------------------------------------------


def told(result):
    return result.to_json(), result.score, result.evidence, result.is_anomaly


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("more", [{}, {"max_keys": 3}, {"ttl": 50.0}], ids=str)
def test_update_many_equals_a_loop(d, timed, more, monkeypatch):
    """Results and states are equal, bit for bit, with and without evictions of keys."""
    monkeypatch.setattr("rcf.detector.keyed.time.time", lambda: 1e9)
    rng = np.random.default_rng(d)
    n = 1500
    keys = [f"host {i}" for i in rng.integers(4, size=n)]
    X = rng.normal(size=(n, d))
    X[[500, 900, 901]] += 40
    X = X if d > 1 else X[:, 0]
    times = np.cumsum(rng.integers(1, 9, size=n)).astype(float) if timed else None
    template = StreamDetector(2, n_estimators=4, max_samples=16, random_state=0)
    many, loop = KeyedDetector(template, **more), KeyedDetector(template, **more)
    many.override("host 1", anomaly_rate=0.05)
    loop.override("host 1", anomaly_rate=0.05)
    found = []
    for part in (slice(0, 7), slice(7, 1100), slice(1100, n)):
        found += list(many.update_many(keys[part], X[part], None if times is None else times[part]))
    expected = [
        loop.update(key, x, None if times is None else times[i]) for i, (key, x) in enumerate(zip(keys, X, strict=True))
    ]
    assert [told(result) for result in found] == [told(result) for result in expected]
    assert more or any(result.is_anomaly for result in found)
    assert many.keys() == loop.keys()
    assert many.to_bytes() == loop.to_bytes()


@pytest.mark.parametrize("stamps", [None, "numbers", "dates", "with a zone"])
def test_batches_with_a_few_records_of_each_key(stamps, monkeypatch):
    """These batches are processed record by record. They have gaps, missing values, names that come late, and a stamp that is
    refused.
    """
    monkeypatch.setattr("rcf.detector.keyed.time.time", lambda: 1e9)
    rng = np.random.default_rng(7)
    n = 1200
    keys = [int(key) for key in rng.integers(12, size=n)]
    X = rng.normal(size=(n, 2))
    X[rng.random(X.shape) < 0.05] = np.nan
    X[[700, 701]] += 40
    times = np.cumsum(rng.integers(0, 3, size=n) + 90.0 * (rng.random(n) < 0.01))
    dates = pd.to_datetime(times, unit="s")
    given = {None: None, "numbers": times, "dates": dates.to_numpy(), "with a zone": dates.tz_localize("UTC")}[stamps]
    order = "strict" if stamps == "numbers" else "clock"
    template = StreamDetector(2, n_estimators=3, max_samples=16, time_order=order, random_state=0)
    if order == "strict":
        given = np.arange(n, dtype=float)
    many, loop = KeyedDetector(template), KeyedDetector(template)
    found, expected, at = [], [], 0
    while at < n:
        part = slice(at, min(n, at + int(rng.integers(1, 60))))
        own = None if given is None else given[part]
        if at < 300:
            found += list(many.update_many(keys[part], X[part], own))
        else:
            found += list(many.update_many(keys[part], pd.DataFrame(X[part], columns=["a", "b"]), own))
        for i in range(part.start, part.stop):
            record = X[i] if at < 300 else dict(zip("ab", X[i], strict=True))
            expected.append(told(loop.update(keys[i], record, None if given is None else given[i])))
        at = part.stop
        assert many.to_bytes() == loop.to_bytes()
    assert [told(result) for result in found] == expected
    if stamps == "numbers":
        before = many.to_bytes()
        with pytest.raises(ValueError, match=f"key {keys[-1]}: row 1: timestamp"):
            many.update_many([keys[-2], keys[-1]], X[:2], given[[-1, 0]])
        assert many.to_bytes() == before


def test_a_record_that_is_refused_refuses_the_batch():
    keyed = small()
    keyed.update_many(["a", "b", "a"], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    before = keyed.to_bytes()
    for records, times, message in (
        ([1.0, np.inf, 2.0], [4.0, 5.0, 6.0], r"\(row 1, feature 0\)"),
        ([1.0, 2.0, 3.0], [4.0, 5.0, 2.0], "key 'a': row 2: "),
        ([[1.0, 2.0]] * 3, [4.0, 5.0, 6.0], "key 'a': X has 2 features, but StreamDetector is expecting 1"),
        ([1.0, 2.0], [4.0, 5.0], "3 keys for 2 records"),
    ):
        with pytest.raises(ValueError, match=message):
            keyed.update_many(["a", "c", "a"], records, times)
        assert keyed.to_bytes() == before
    with pytest.raises(TypeError, match="cannot be saved"):
        keyed.update_many([b"x"], [1.0], [9.0])
    assert keyed.to_bytes() == before


def test_frames_with_names_and_an_index_of_dates():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}, pd.date_range("2026-01-01", periods=3, freq="h"))
    keyed = small()
    assert len(keyed.update_many(["x", "y", "x"], frame)) == 3
    assert keyed.detector("x").feature_names_in_.tolist() == ["a", "b"]


def test_the_default_is_the_small_detector():
    keyed = KeyedDetector()
    assert keyed.template.get_params()["shingle_size"] == 1
    assert keyed.template.n_estimators == 10
    with pytest.raises(TypeError, match="template must be a StreamDetector, got int"):
        KeyedDetector(3)
