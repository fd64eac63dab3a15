"""The records of many keys in one call: the bits of a loop of `update`, whatever comes, in any number of threads."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcf import KeyedDetector, StreamDetector

TEMPLATES = {
    "small": {"shingle_size": 1, "low_memory": True},
    "windows": {"shingle_size": 3, "transform": "normalize_difference", "fill": "linear"},
    "codisp": {"shingle_size": 2, "method": "codisp", "low_memory": True, "alert_once": False, "time_order": "strict"},
    "near": {"shingle_size": 1, "ignore_near_expected": {"above": [0.5, 0.1]}, "timezone": "Europe/Berlin"},
}
KEYS, WARM, STEP = 15, 170, 600.0


def values(n, d, seed):
    rng = np.random.default_rng(seed)
    return np.sin(np.arange(n) / 5)[:, None] * 10 + rng.normal(size=(n, d))


def warmed(name, d, timed):
    """A keyed detector whose keys have settled, except two: their trees still grow, or they are held back."""
    template = StreamDetector(n_estimators=5, max_samples=32, random_state=1, anomaly_rate=0.1, **TEMPLATES[name])
    keyed = KeyedDetector(template)
    keyed.override(1, n_estimators=9)
    keyed.override(2, low_memory=not template.low_memory)
    keyed.override(3, max_samples=16, timezone="Asia/Tokyo")
    for key in range(KEYS):
        n = {4: 66, 5: 20}.get(key, WARM)
        keyed.update_many([key] * n, values(WARM, d, key)[:n], np.arange(n) * STEP if timed else None)
    return keyed


WARMED = {
    (name, d, timed): warmed(name, d, timed).to_bytes()
    for name in TEMPLATES
    for d, timed in ((1, True), (2, True), (1, False))
}


def said(one):
    told = one.to_dict()
    return (told, one.reason, one.events, *((one.attribution.tolist(), one.cause) if one.is_anomaly else ()))


@st.composite
def batches(draw):
    """A few batches of records of some keys: some values are missing or far away, some records come late or miss their turn."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draw(st.integers(1, 3))):
        per_key = draw(st.sampled_from([1, 1, 3, 40]))
        n = draw(st.integers(1, 60)) if per_key == 1 else per_key * draw(st.integers(1, 4))
        most = KEYS + 1 if per_key == 1 else max(2, n // per_key)
        found.append((rng.integers(0, most, n).tolist(), rng))
    return found


@settings(max_examples=60, deadline=None)
@given(model=st.sampled_from(sorted(WARMED)), many=batches(), n_jobs=st.sampled_from([None, 2, 3]))
def test_a_batch_of_many_keys_equals_a_loop(model, many, n_jobs):
    """Every attribute of every record, and the saved state afterwards."""
    _, d, timed = model
    batch, loop = (KeyedDetector.from_bytes(WARMED[model]) for _ in range(2))
    batch.n_jobs = n_jobs
    now = dict.fromkeys(range(KEYS + 1), WARM * STEP) | {4: 66 * STEP, 5: 20 * STEP}
    for keys, rng in many:
        X = 10 * np.sin(rng.integers(100) + np.arange(len(keys))[:, None] / 5) + rng.normal(size=(len(keys), d))
        X[rng.random(X.shape) < 0.03] = np.nan
        X[rng.random(len(keys)) < 0.05] += 80.0
        stamps = None
        if timed:
            stamps = []
            for key in keys:
                now[key] += STEP * rng.choice([0.9, 1.0, 1.0, 1.0, 2.2, 12.0], p=[0.1, 0.3, 0.3, 0.26, 0.03, 0.01])
                stamps.append(now[key])
        found = batch.update_many(keys, X, stamps)
        records = X.tolist() if d > 1 else X[:, 0].tolist()
        single = [
            loop.update(key, record, stamp)
            for key, record, stamp in zip(keys, records, stamps or [None] * len(keys), strict=True)
        ]
        assert len(found) == len(single)
        for name in ("score", "evidence", "threshold", "likelihood", "grade", "confidence", "is_anomaly", "reason"):
            assert getattr(found, name).tolist() == [getattr(one, name) for one in single], name
        assert found.events.tolist() == [one.events for one in single]
        last = {key: i for i, key in enumerate(keys)}
        for i, (one, other) in enumerate(zip(found, single, strict=True)):
            if i == last[keys[i]] or one.is_anomaly:
                assert said(one) == said(other)
            assert (one.key, one.timestamp) == (other.key, other.timestamp)
    if timed:  # otherwise the times of arrival differ
        assert batch.to_bytes() == loop.to_bytes()
    else:
        held = batch.keys()
        assert held == loop.keys()
        assert [batch.detector(key).to_bytes() for key in held] == [loop.detector(key).to_bytes() for key in held]


def test_most_records_of_a_batch_take_the_compiled_steps():
    """Otherwise the tests above would compare the loop with itself."""
    keyed = KeyedDetector.from_bytes(WARMED["small", 1, True])
    found = keyed.update_many(range(KEYS), values(KEYS, 1, 0), [WARM * STEP] * KEYS)
    made = set(found._parts[0]._made)
    assert made >= {4, 5}
    assert len(made) <= 4  # an alarm among the others is possible


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, stamps: X.__setitem__((12, 0), np.inf), "infinite"),
        (lambda X, stamps: stamps.__setitem__(12, 3.0), "key 12: row 12: timestamp 3.0 is before"),
        (lambda X, stamps: stamps.__setitem__(12, "soon"), "key 12: row 12: timestamp must be"),
        (lambda X, stamps: stamps.__setitem__(12, True), "key 12: row 12: timestamp must be"),
        (lambda X, stamps: stamps.__setitem__(12, np.nan), "key 12: row 12: timestamp must be finite"),
        (lambda X, stamps: stamps.pop(), "14 timestamps for 15 records"),
    ],
)
def test_a_refused_record_leaves_every_key_as_it_was(change, message):
    keyed = KeyedDetector.from_bytes(WARMED["small", 1, True])
    before = keyed.to_bytes()
    X, stamps = values(KEYS, 1, 0), [WARM * STEP] * KEYS
    change(X, stamps)
    with pytest.raises(ValueError, match=message):
        keyed.update_many(range(KEYS), X, stamps)
    assert keyed.to_bytes() == before


def test_parameters_set_after_the_first_record_are_refused():
    keyed = KeyedDetector.from_bytes(WARMED["small", 1, True])
    keyed.detector(7).set_params(anomaly_rate=0.2)
    before = keyed.detector(8).to_bytes()
    with pytest.raises(ValueError, match="anomaly_rate"):
        keyed.update_many(range(KEYS), values(KEYS, 1, 0), [WARM * STEP] * KEYS)
    assert keyed.detector(8).to_bytes() == before


def test_a_save_in_progress_holds_the_keys_before_the_batch():
    keyed = KeyedDetector.from_bytes(WARMED["windows", 2, True])
    held = keyed.keys()
    before = {key: keyed.detector(key).to_bytes() for key in held}
    keyed._snapshot = dict.fromkeys(held)
    keyed.update_many(range(KEYS), values(KEYS, 2, 0), [WARM * STEP] * KEYS)
    assert keyed._snapshot == before


def test_detectors_can_be_read_while_a_batch_is_judged():
    """Reading waits for the record of the key, and neither sees half of it nor writes beyond its memory."""
    keyed = KeyedDetector.from_bytes(WARMED["windows", 1, True])
    keyed.n_jobs = 2
    loop = KeyedDetector.from_bytes(WARMED["windows", 1, True])
    done, failed = threading.Event(), []

    def read():
        while not done.is_set():
            for key in range(KEYS):
                try:
                    data = keyed.detector(key).to_bytes()
                    StreamDetector.from_bytes(data)
                except Exception as error:
                    failed.append(error)
                    return

    reader = threading.Thread(target=read)
    reader.start()
    n = 200
    X = values(n * KEYS, 1, 0)
    keys = list(range(KEYS)) * n
    stamps = np.repeat(WARM * STEP + np.arange(n) * STEP, KEYS).tolist()
    size = 20 * KEYS
    try:
        for i in range(0, len(keys), size):
            keyed.update_many(keys[i : i + size], X[i : i + size], stamps[i : i + size])
    finally:
        done.set()
        reader.join()
    assert not failed
    loop.update_many(keys, X, stamps)
    assert keyed.to_bytes() == loop.to_bytes()


@pytest.mark.parametrize("key", [5, 7])  # one that is still held back, and one that has settled
def test_a_batch_forgets_a_refused_stamp_as_update_does(key):
    batch, loop = (KeyedDetector.from_bytes(WARMED["small", 1, True]) for _ in range(2))
    for keyed in (batch, loop):
        with pytest.raises(ValueError, match="is before"):
            keyed.update(key, 1.0, 5.0)
    batch.update_many([key], [1.0], [WARM * STEP])
    loop.update(key, 1.0, WARM * STEP)
    assert batch.to_bytes() == loop.to_bytes()


@pytest.mark.parametrize("n_jobs", [0, 1.5, "2"])
def test_an_impossible_number_of_threads_is_refused(n_jobs):
    with pytest.raises(ValueError, match=f"n_jobs must be None, a number of threads, .* got {n_jobs!r}"):
        KeyedDetector(n_jobs=n_jobs)
    keyed = KeyedDetector()
    keyed.n_jobs = n_jobs
    with pytest.raises(ValueError, match="n_jobs must be None"):
        keyed.update_many(["a"], [1.0])
    assert len(keyed) == 0
