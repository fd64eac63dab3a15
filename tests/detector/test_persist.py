"""Model files of the detectors: restored detectors continue bit for bit, and no damaged file does harm."""

import gc
import json
import os
import pickle
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from test_persist import assert_same_state, mutated, mutated_json, peak_memory, rewritten

import rcf
from rcf import HotSpots, KeyedDetector, RandomCutForest, StreamDetector, persist
from rcf._core import Forest
from rcf.detector.views import KINDS
from rcf.persist import ModelFileError


def holes(n, d, seed=0):
    """A stream with missing values and spikes, and its time stamps with some gaps."""
    rng = np.random.default_rng(seed)
    X = np.sin(np.arange(n) / 5)[:, None] * 10 + rng.normal(size=(n, d))
    X[rng.random(n) < 0.01] += 60
    X[rng.random((n, d)) < 0.05] = np.nan
    steps = np.where(rng.random(n) < 0.02, 3, 1)
    steps[rng.random(n) < 0.003] = 50
    return X, np.cumsum(steps) * 60.0


def said(result):
    return (result.score, result.evidence, result.threshold, result.grade, result.events,
             result.likelihood, result.is_anomaly, result.confidence, result.reason,
            *((result.cause, result.past.tolist(), result.expected.tolist(), result.attribution.tolist())
              if result.is_anomaly else ()))  # fmt: skip


# ---- StreamDetector ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 5, 40, 63, 64, 68, 700])
@pytest.mark.parametrize("transform", KINDS)
def test_a_restored_detector_continues_bit_for_bit(transform, at):
    d = 2
    X, times = holes(at + 2000, d)
    fill = {"normalize": "forest", "difference": "linear", "none": "zero"}.get(transform, "previous")
    detector = StreamDetector(
        6, n_estimators=8, max_samples=64, transform=transform, fill=fill, weights=[1, 2.5], anomaly_rate=0.02,
        ignore_near_expected={"above": [0.5, 0.1]}, random_state=3,
    )  # fmt: skip
    for x, t in zip(X[:at], times[:at], strict=True):
        detector.update(x, t)
    if at > 500:
        detector.forecast(5, calibrate=True)
    again = StreamDetector.from_bytes(detector.to_bytes())
    assert again.to_bytes() == detector.to_bytes()
    assert again.get_params() == detector.get_params()
    called = 0
    for x, t in zip(X[at:], times[at:], strict=True):
        one, two = detector.update(x, t), again.update(x, t)
        assert said(one) == said(two)
        called += one.is_anomaly
    assert called >= 3
    assert again.to_bytes() == detector.to_bytes()
    np.testing.assert_array_equal(detector.forecast(3).upper, again.forecast(3).upper)


def test_saved_in_the_middle_of_a_gap():
    detector = StreamDetector(8, n_estimators=6, max_samples=32, interval=1.0, random_state=0)
    X = np.random.default_rng(1).normal(size=300)
    detector.update_many(X[:200], np.arange(200.0))
    detector.update_many(X[200:203], 1000.0 + np.arange(3))  # the window again holds three records
    again = pickle.loads(pickle.dumps(detector))
    assert again.to_bytes() == detector.to_bytes()
    found = [d.update_many(X[203:], 1003.0 + np.arange(97)).score for d in (detector, again)]
    np.testing.assert_array_equal(*found)


def test_a_gap_while_records_are_held_back():
    """Single records and batches have the same results there."""
    X, times = np.random.default_rng(1).normal(size=200), np.arange(200.0)
    times[61:] += 1000
    one, many = (StreamDetector(8, n_estimators=6, max_samples=64, interval=1.0, random_state=0) for _ in range(2))
    scores = [one.update(x, t).score for x, t in zip(X, times, strict=True)]
    np.testing.assert_array_equal(scores[:64], many.update_many(X[:64], times[:64]).score)
    np.testing.assert_array_equal(scores[64:], many.update_many(X[64:], times[64:]).score)


@pytest.mark.parametrize(
    "changed",
    [{"fill": "zero"}, {"fill": "nonsense"}, {"n_estimators": 99}, {"alert_once": False}, {"weights": np.array([2.0])}],
    ids=str,
)
def test_a_parameter_set_after_the_first_record_is_refused_and_not_saved(changed):
    X, _ = holes(400, 1)
    detector, twin = (StreamDetector(4, n_estimators=6, max_samples=32, random_state=0) for _ in range(2))
    for model in (detector, twin):
        model.update_many(X[:300])
    (name,) = changed
    was, before = getattr(detector, name), detector.to_bytes()
    detector.set_params(**changed)
    for learn in (lambda: detector.update(X[300]), lambda: detector.update_many(X[300:])):
        with pytest.raises(
            ValueError, match=f"{name} cannot change within a stream: it was {was!r} at the first record"
        ):
            learn()
    assert detector.to_bytes() == before
    assert getattr(StreamDetector.from_bytes(before), name) == was
    detector.set_params(**{name: was})
    assert [said(detector.update(x)) for x in X[300:]] == [said(twin.update(x)) for x in X[300:]]


def test_names_are_restored():
    import pandas as pd

    detector = StreamDetector(2, n_estimators=2, random_state=0)
    detector.update_many(pd.DataFrame({"ö": [1.0, 2.0], "b": [2.0, 3.0]}))
    assert StreamDetector.from_bytes(detector.to_bytes()).feature_names_in_.tolist() == ["ö", "b"]


def test_invalid_parameters_are_refused_when_saving():
    with pytest.raises(ValueError, match="anomaly_rate"):
        StreamDetector(anomaly_rate=2).to_bytes()
    with pytest.raises(ValueError, match="scan_radius"):
        HotSpots(scan_radius=-1).to_bytes()


# ---- KeyedDetector -----------------------------------------------------------------------------------------------------


def small_keyed(**params):
    return KeyedDetector(StreamDetector(3, n_estimators=4, max_samples=16, random_state=0), **params)


@pytest.mark.parametrize("lazy", [False, True])
def test_keys_continue_bit_for_bit_after_eviction_and_return(lazy):
    keys = ["a", 7, 2.5, None, ("rack", ("x", 3)), True, "ö"]
    X, _ = holes(2600, 2)
    order = np.random.default_rng(5).integers(len(keys), size=len(X))

    def store(keyed, models):
        def put(key, data):
            models[key] = data

        keyed.on_evict, keyed.on_miss = put, lambda key: models.pop(key, None)
        return keyed

    models = {}
    keyed = store(small_keyed(max_keys=4, ttl=300.0), models)
    keyed.override("a", shingle_size=2, weights=(1.0, 3.0))
    for i in range(600):
        keyed.update(keys[order[i]], X[i], i * 60.0)
    assert models, "nothing was evicted"
    again = store(KeyedDetector.from_bytes(keyed.to_bytes(), lazy=lazy), dict(models))
    assert again.keys() == keyed.keys()
    assert list(map(type, again.keys())) == list(map(type, keyed.keys()))
    assert again.to_bytes() == keyed.to_bytes()
    for i in range(600, 2600):
        key = keys[order[i]]
        assert said(keyed.update(key, X[i], i * 60.0)) == said(again.update(key, X[i], i * 60.0))
        assert again.keys() == keyed.keys()
    assert again.to_bytes() == keyed.to_bytes()


def test_a_key_is_restored_when_it_is_first_used(monkeypatch):
    keyed = small_keyed()
    for i in range(120):
        keyed.update(i % 4, float(i % 7))
    data, restored = keyed.to_bytes(), []
    read = StreamDetector.from_bytes
    monkeypatch.setattr(StreamDetector, "from_bytes", lambda data: (restored.append(1), read(data))[1])
    again = KeyedDetector.from_bytes(bytearray(data), lazy=True)
    assert again.to_bytes() == data
    assert (again.keys(), len(again), 3 in again, restored) == ([0, 1, 2, 3], 4, True, [])
    assert said(again.update(1, 90.0)) == said(keyed.update(1, 90.0))
    assert again.detector(2).to_bytes() == keyed.detector(2).to_bytes()
    assert again.detector(2) is again.detector(2)
    assert len(restored) == 2
    many = [d.update_many([3, 3, 2], [1.0, 50.0, 2.0]).score for d in (keyed, again)]
    np.testing.assert_array_equal(*many)
    assert len(restored) == 3
    evicted = {}
    again.on_evict = evicted.__setitem__
    again.evict(0)
    assert evicted == {0: keyed.detector(0).to_bytes()}
    assert len(restored) == 3
    with pytest.raises(KeyError):
        again.detector(0)
    united = small_keyed().merge(KeyedDetector.from_bytes(data, lazy=True))
    assert united.detector(0).to_bytes() == keyed.detector(0).to_bytes()


def test_a_damaged_model_is_found_when_its_key_is_used():
    keyed = small_keyed()
    for i in range(120):
        keyed.update(i % 2, float(i % 7))
    state = keyed._state()
    models = bytearray(b"".join(state["models"]))
    models[state["ends"][0] + 900] ^= 1
    keyed._state = lambda: {**state, "models": bytes(models)}
    data = keyed.to_bytes()
    assert gc.isenabled()
    with pytest.raises(ModelFileError):
        KeyedDetector.from_bytes(data)
    assert gc.isenabled()  # it was paused
    again = KeyedDetector.from_bytes(data, lazy=True)
    again.update(0, 1.0)
    with pytest.raises(ModelFileError, match="checksum"):
        again.update(1, 1.0)


def test_an_evicted_key_returns_as_if_it_had_stayed():
    X, _ = holes(900, 1)
    models = {}
    keyed = small_keyed(max_keys=1, on_evict=models.__setitem__, on_miss=models.get)
    stayed = small_keyed()
    for i, x in enumerate(X):
        assert said(keyed.update(i % 3, x)) == said(stayed.update(i % 3, x))
    assert len(keyed) == 1
    assert isinstance(models[0], bytes)
    assert isinstance(StreamDetector.from_bytes(models[0]), StreamDetector)


def test_on_miss_must_return_a_detector():
    X = np.random.default_rng(0).normal(size=(50, 2))
    for data in (b"no", RandomCutForest(2).fit(X).to_bytes(), small_keyed().to_bytes()):
        keyed = small_keyed(on_miss=lambda _, data=data: data)
        with pytest.raises(ModelFileError):
            keyed.update("a", 1.0)
        assert len(keyed) == 0


def test_nested_keyed_detectors_are_refused():
    """The file contains KeyedDetectors inside each other. It is refused at the first level."""
    file = small_keyed().to_bytes()
    state = KeyedDetector.from_bytes(file)._state()
    for _ in range(3):
        state |= {
            "keys": ["a"],
            "stamps": np.zeros((1, 2)),
            "arrivals": np.zeros((1, 2)),
            "models": file,
            "ends": np.array([len(file)]),
        }
        hostile = small_keyed()
        hostile._state = lambda state=dict(state): state
        file = hostile.to_bytes()
    with pytest.raises(ModelFileError, match="holds a KeyedDetector, not a StreamDetector"):
        KeyedDetector.from_bytes(file)


# ---- HotSpots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("begin", ["stream", "fit", "nothing"])
def test_restored_hot_spots_continue_bit_for_bit(d, begin, tmp_path):
    rng = np.random.default_rng(d)
    # two positions at a time, and these change
    place = (np.arange(2600) // 150 + rng.integers(2, size=2600) * 2) % 5
    X = rng.normal(size=(2600, d)) * 0.4 + place[:, None] * 2.5
    spots = HotSpots(200, 0.25 * d**0.8, 6)
    if begin == "stream":
        spots.update_many(X[:600])
    elif begin == "fit":
        spots.fit(X[:600])
    spots.save(tmp_path / "spots")
    again = rcf.load(tmp_path / "spots")
    assert again.to_bytes() == spots.to_bytes()
    kinds = set()
    for x in X[600:]:
        told = spots.follow([x])
        assert again.follow([x]) == told
        assert again.hot_spots_ == spots.hot_spots_  # ids, boxes, densities and centres
        kinds |= {change.kind for change in told}
    assert {"born", "died", "grown", "shrunk"} <= kinds
    np.testing.assert_array_equal(again.labels_, spots.labels_)
    assert again.n_seen_ == spots.n_seen_
    one, two = spots._window.state(), again._window.state()
    # The sums of a region are stored as a float and its rounding error. If a record moves many others, these are added in an order
    # that a file does not hold, so the two parts can differ.
    np.testing.assert_array_equal(*(sums[:, :d] + sums[:, d:] for sums in (one.pop("sums"), two.pop("sums"))))
    assert_same_state(one, two)
    assert pickle.loads(pickle.dumps(spots)).hot_spots_ == spots.hot_spots_


# ---- a copy has the saved state ----------------------------------------------------------------------------------------------


def core(n, d=3, capacity=32):
    forest = Forest(5, capacity, d, 0.01, [7])
    X = np.random.default_rng(0).normal(size=(n, d))
    forest.update(X, None, None)
    return forest


@pytest.mark.parametrize("forest", [
    lambda: core(0), lambda: core(5), lambda: core(16), lambda: core(5000), lambda: core(500, d=9, capacity=1),
    lambda: RandomCutForest(5, 64, random_state=0).fit(np.random.default_rng(0).normal(size=(300, 2)))._forest,
    lambda: RandomCutForest(5, 64, random_state=0).fit(np.round(np.random.default_rng(0).normal(size=(300, 2))),
                                                       sample_weight=np.linspace(0.5, 9, 300))._forest,
])  # fmt: skip
def test_a_copy_has_the_whole_state(forest):
    forest = forest()
    other = forest.copy()
    before = forest.state()
    assert_same_state(other.state(), before)
    X = np.random.default_rng(1).normal(size=(2000, forest.n_features))
    np.testing.assert_array_equal(other.update(X, None, "depth"), forest.copy().update(X, None, "depth"))
    assert_same_state(forest.state(), before)  # the copy does not share memory
    forest.update(X, None, "depth")
    assert_same_state(other.state(), forest.state())


# ---- damaged and hostile files --------------------------------------------------------------------------------------------


def some_detector():
    X, times = holes(300, 2)
    detector = StreamDetector(3, n_estimators=2, max_samples=8, fill="forest", random_state=0)
    for x, t in zip(X, times, strict=True):
        detector.update(x, t)
    detector.forecast(2, calibrate=True)
    return detector


def some_keyed():
    keyed = KeyedDetector(StreamDetector(3, n_estimators=2, max_samples=8, random_state=0), max_keys=3, ttl=1e9)
    keyed.override("a", anomaly_rate=0.1)
    for i in range(120):
        keyed.update(["a", ("b", 1)][i % 2], [float(i % 7), 1.0], float(i))
    return keyed


def some_spots():
    spots = HotSpots(60, 0.5, 4)
    spots.update_many(np.random.default_rng(0).normal(size=(100, 2)))
    return spots


def held_back():
    detector = StreamDetector(3, n_estimators=2, max_samples=8, transform="normalize_difference", random_state=0)
    for i in range(9):
        detector.update([float(i), 2.0])
    return detector


MODELS = {"detector": some_detector, "held back": held_back, "keyed": some_keyed, "spots": some_spots}


def use(model):
    """A loaded object must work, or raise a clear error for a record."""
    X, _ = holes(6, 2, seed=4)
    if isinstance(model, HotSpots):
        X = np.nan_to_num(X)
    for i, x in enumerate(X):
        try:
            if isinstance(model, KeyedDetector):
                model.update(["a", "new"][i % 2], x, 1e6 + i)
            elif isinstance(model, StreamDetector):
                model.update(x, 1e12 + i)
            else:
                model.update(x)
        except ValueError:
            pass
    model.to_bytes()


def fuzz(name, n, seed):
    rng = np.random.default_rng(seed)
    model = MODELS[name]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(persist, "_SMALL", 64)  # then small files also have planes
        data, owner, before = model.to_bytes(), type(model), peak_memory()
    loaded = refused = 0
    for i in range(n):
        try:
            found = owner.from_bytes(mutated_json(data, rng) if i % 2 else mutated(data, rng))
        except ModelFileError:
            refused += 1
        else:
            use(found)
            loaded += 1
    assert loaded > n / 100
    assert refused > n / 4
    assert peak_memory() - before < 300


@pytest.mark.parametrize("name", MODELS)
def test_mutated_files_are_refused_or_harmless(name):
    fuzz(name, 500, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_many_mutations_are_refused_or_harmless(name):
    # RCF_MUTATIONS=100000 takes three minutes of CPU time for all models; it was run once
    fuzz(name, int(os.environ.get("RCF_MUTATIONS", 15_000)), seed=1)


@pytest.mark.parametrize("name", MODELS)
def test_cut_files_and_files_of_another_kind(name, tmp_path):
    model = MODELS[name]()
    data = model.to_bytes()
    for n in [*range(0, 40), *range(40, len(data), max(1, len(data) // 100)), len(data) - 1]:
        with pytest.raises(ModelFileError):
            type(model).from_bytes(data[:n])
    for other in MODELS.values():
        if type(other()) is not type(model):
            with pytest.raises(ModelFileError, match=f"not a {type(model).__name__}"):
                type(model).from_bytes(other().to_bytes())
    path = tmp_path / "model"
    path.write_bytes(data[:-9])
    with pytest.raises(ModelFileError):
        rcf.load(path)
    assert os.listdir(tmp_path) == ["model"]
    later = rewritten(data, lambda header: header["__metadata__"].update(version="3", library="9.0"))
    with pytest.raises(ModelFileError, match=re.escape("version '3' and was written by rcf 9.0")):
        type(model).from_bytes(later)


def test_the_state_of_another_version():
    later = rewritten(some_detector().to_bytes(), change_state=lambda state: state.update(format=3))
    with pytest.raises(ModelFileError, match="a detector state of format 3; this version reads 2"):
        StreamDetector.from_bytes(later)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["params"].update(n_estimators=2**30),
        lambda s: s["params"].update(shingle_size=2**30),
        lambda s: s["stream"].update(n_features=2**40),
        lambda s: s["stream"].update(n_seen=10**400),
        lambda s: s["stream"].update(widening=[{"$float": "nan"}]),
        lambda s: s["stream"].update(views=s["stream"]["evidence"]),
        lambda s: s["stream"].update(whole=None),
        lambda s: s["stream"].update(point={"$array": "stream.point", "dtype": "|u1", "shape": [2**40]}),
        lambda s: s["stream"].update(rows=[10**30, 0, 0, 0]),
        lambda s: s["stream"].update(held=[[0, 1]]),
        lambda s: s["stream"].update(pending_made=[1, 1]),
        lambda s: s["stream"].update(feature_names=["a"]),
    ],
)
def test_hostile_states_of_a_detector(change):
    with pytest.raises(ModelFileError):
        StreamDetector.from_bytes(rewritten(some_detector().to_bytes(), change_state=change))


# ---- rcf stream --state ---------------------------------------------------------------------------------------------------

STREAM = [sys.executable, "-m", "rcf", "stream", "--seed", "0", "--trees", "8", "--samples", "32"]


def csv_lines(values):
    return "".join(f"{v}\n" for v in values)


def answers(out):
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def values():
    x = (10 * np.sin(np.arange(400) / 5)).tolist()
    x[350] += 50
    return x


@pytest.fixture(scope="module")
def whole(values):
    pytest.importorskip("typer")
    return answers(subprocess.run(STREAM, input=csv_lines(values), capture_output=True, text=True, check=True).stdout)


def test_two_runs_equal_one(values, whole, tmp_path):
    state = tmp_path / "state.rcf"
    got = []
    for part in (values[:170], values[170:]):
        run = subprocess.run(
            [*STREAM, "--state", state], input=csv_lines(part), capture_output=True, text=True, check=True
        )
        got += answers(run.stdout)
    assert got == whole
    assert rcf.load(state).model.n_seen_ == 400
    assert os.listdir(tmp_path) == ["state.rcf"]


def started(state, *more):
    return subprocess.Popen(
        [*STREAM, "--state", state, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def feed(run, values):
    lines = []
    for value in values:
        run.stdin.write(f"{value}\n")
        run.stdin.flush()
        lines.append(run.stdout.readline())
    return answers("".join(lines))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "twice"])
def test_a_signal_loses_nothing(values, whole, tmp_path, how):
    import signal

    state = tmp_path / "state.rcf"
    with started(state) as run:
        got = feed(run, values[:150])
        run.send_signal(signal.SIGINT if how == "SIGINT" else signal.SIGTERM)
        if how == "twice":
            run.send_signal(signal.SIGTERM)
        assert run.wait() == 0
        assert run.stderr.read() == ""
    assert rcf.load(state).model.n_seen_ == 150
    with started(state) as run:
        got += feed(run, values[150:])
        run.stdin.close()
        assert run.wait() == 0
    assert got == whole


def test_a_broken_pipe_loses_nothing(values, tmp_path):
    state = tmp_path / "state.rcf"
    with started(state) as run:
        feed(run, values[:100])
        run.stdout.close()
        run.stdin.write(f"{values[100]}\n")
        run.stdin.close()
        assert run.stderr.read() == ""
        assert run.wait() == 0
    assert rcf.load(state).model.n_seen_ == 101


def seen_in(state):
    """The number of records in a checkpoint. The first checkpoint may be written before the first record."""
    return getattr(rcf.load(state).model, "n_seen_", 0) if state.exists() else 0


def test_saved_at_intervals(values, tmp_path):
    state = tmp_path / "state.rcf"
    with started(state, "--save-every", "0.1") as run:
        for i in range(3):
            feed(run, values[10 * i : 10 * i + 10])
            until = time.monotonic() + 60
            while seen_in(state) < 10 * i + 10 and time.monotonic() < until:
                time.sleep(0.05)
            assert seen_in(state) == 10 * i + 10
        run.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no timer that interrupts a read")
def test_a_stream_that_falls_silent_is_saved(values, tmp_path):
    state = tmp_path / "state.rcf"
    with started(state, "--save-every", "0.2") as run:
        feed(run, values[:5])
        until = time.monotonic() + 60
        while seen_in(state) < 5 and time.monotonic() < until:
            time.sleep(0.05)
        assert seen_in(state) == 5
        written = state.stat().st_mtime_ns
        time.sleep(0.6)
        assert state.stat().st_mtime_ns == written  # without new records, nothing is written
        run.kill()
        run.wait()
    assert rcf.load(state).model.n_seen_ == 5


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_signals_among_saves_lose_nothing(values, whole, tmp_path):
    state, got = tmp_path / "state.rcf", []
    for part in np.array_split(np.array(values), 8):
        with started(state, "--save-every", "0.1") as run:
            got += feed(run, part.tolist())
            time.sleep(0.1)  # the signal then comes close to a save
            run.terminate()
            assert run.wait() == 0
            assert run.stderr.read() == ""
    assert got == whole
    assert os.listdir(tmp_path) == ["state.rcf"]


def test_an_invalid_state_file_is_named_and_kept(tmp_path):
    pytest.importorskip("typer")
    state = tmp_path / "state.rcf"
    for data in (b"no", some_spots().to_bytes(), some_detector().to_bytes()[:-5]):
        state.write_bytes(data)
        run = subprocess.run([*STREAM, "--state", state], input="1\n", capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout) == (1, "")
        assert "state.rcf" in run.stderr
        assert "Traceback" not in run.stderr
        assert state.read_bytes() == data
    run = subprocess.run(
        [*STREAM, "--state", tmp_path / "none" / "x"], input="1\n", capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert "cannot be written" in run.stderr
