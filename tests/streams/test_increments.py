"""Checkpoints of many keys as increments: what they add up to is the model, bit for bit, and a crash loses nothing."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from servers import WORKER, killed_at_random, parameters, waves
from test_persist import mutated, mutated_json

import rcf
from rcf import KeyedDetector, ModelFileError, StreamDetector
from rcf.streams import Checkpoint, Schema, Worker, checkpoint
from rcf.streams.files import FileStore, LineSink, LineSource

PARAMS, FLAGS = parameters()
KEYS = 40


@pytest.fixture
def always(monkeypatch):
    """Increments of small models too."""
    monkeypatch.setattr(checkpoint, "LEAST", 0)


def some_keyed(**params):
    return KeyedDetector(StreamDetector(2, n_estimators=3, max_samples=16, random_state=1), **params)


def zipf(n, rng, keys=KEYS):
    shares = 1 / np.arange(1, keys + 1) ** 1.5
    return rng.choice(keys, n, p=shares / shares.sum()).tolist()


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("state"))


def bytes_of(found):
    """All that a checkpoint says, without the name of its chain."""
    told = {name: value for name, value in vars(found).items() if name not in ("chain", "model")}
    return told, found.model.to_bytes()


def saved(store, keyed, position):
    given = Checkpoint("p", position, keyed, details={"at": position})
    store.save(given)
    found = FileStore(store.path).peek("p")
    assert bytes_of(found) == bytes_of(given)
    return found


@pytest.mark.parametrize("params", [{}, {"max_keys": 12}, {"ttl": 3000.0}, {"max_keys": 20, "ttl": 9000.0}])
def test_they_add_up_to_the_model(tmp_path, always, params):
    """With keys that are evicted and come back, by count and by time, are overridden, refused, read ahead and merged."""
    rng, gone = np.random.default_rng(0), {}
    keyed = some_keyed(**params, on_evict=gone.__setitem__)
    keyed.on_miss = lambda key: gone.pop(key, None) if key % 2 else None
    keyed.override(3, n_estimators=5)
    store, whole, numbers = FileStore(tmp_path / "state.rcf"), set(), set()
    for i in range(120):
        many = zipf(rng.integers(0, 8), rng)
        for key in many:
            keyed.update(key, float(rng.normal()), 60.0 * i)
        if i % 10 == 3 and len(keyed) > 4:  # of a key without another record
            for early in (-120.0, -60.0):  # two refused stamps; a third in a row would be accepted
                with pytest.raises(ValueError, match="timestamp"):
                    keyed.update(keyed.keys()[-4], 0.0, early)
        if (
            i % 10 == 5
            and many
            and keyed.detector(many[-1])._window.full
            and keyed.detector(many[-1])._trees.n_seen > 2
        ):
            keyed.detector(many[-1]).forecast(2, calibrate=True)
        if i == 70:
            keyed.override(1000, anomaly_rate=0.01)
        if i == 90:
            other = some_keyed()
            for j in range(240):
                other.update((30, 50, 51)[j % 3], float(rng.normal()), 60.0 * (j // 3))
            keyed.merge(other)
        found = saved(store, keyed, i)
        whole.add(found.chain)
        numbers.add(len(names(tmp_path)) - 1)
        if i in (40, 80):  # continue from what was stored
            callbacks = keyed.on_evict, keyed.on_miss
            keyed = found.model
            keyed.on_evict, keyed.on_miss = callbacks
            store = FileStore(tmp_path / "state.rcf")
    assert len(whole) > 3
    assert max(numbers) > 2


def test_a_restored_model_goes_on_bit_for_bit(tmp_path, always):
    keyed, store, rng = some_keyed(ttl=900.0), FileStore(tmp_path / "state.rcf"), np.random.default_rng(1)
    for i in range(397):
        keyed.update(zipf(1, rng)[0], float(rng.normal()), 10.0 * i)
        if i % 7 == 0:
            saved(store, keyed, i)
    store.compact()
    for i in (397, 398, 399):
        saved(store, keyed, i)
        keyed.update(zipf(1, rng)[0], float(rng.normal()), 10.0 * i)
    again = saved(store, keyed, 400).model
    assert names(tmp_path) == ["state.rcf", "state.rcf.1", "state.rcf.2", "state.rcf.3"]
    for i in range(400, 700):
        key, x = zipf(1, rng)[0], float(rng.normal())
        mine, other = keyed.update(key, x, 10.0 * i), again.update(key, x, 10.0 * i)
        assert (mine.score, mine.evidence) == (other.score, other.evidence)
        assert keyed.keys() == again.keys()
    assert keyed.to_bytes() == again.to_bytes()


def test_keys_that_are_not_used_yet_are_no_change(tmp_path, always):
    keyed = some_keyed()
    for i in range(200):
        keyed.update(i % KEYS, float(i))
    lazy = KeyedDetector.from_bytes(keyed.to_bytes(), lazy=True)
    store = FileStore(tmp_path / "state.rcf")
    saved(store, lazy, 0)
    lazy.update(5, 1.0)
    saved(store, lazy, 1)
    part = rcf.load(tmp_path / "state.rcf.1").model
    assert part.keys() == [5]
    lazy.detector(30)  # restored where it stands: all keys behind it are stored too, so that the order is kept
    saved(store, lazy, 2)
    assert rcf.load(tmp_path / "state.rcf.2").model.keys() == [*range(30, KEYS), 5]


def test_what_is_stored_is_bounded(tmp_path, always, monkeypatch):
    monkeypatch.setattr(checkpoint, "MOST", 6)
    keyed, rng = some_keyed(), np.random.default_rng(2)
    for i in range(2000):
        keyed.update(i % KEYS, float(rng.normal()))
    store, seen, kinds = FileStore(tmp_path / "state.rcf"), set(), []
    for i, many in enumerate([[0]] * 10 + [list(range(8))] * 10 + [list(range(KEYS // 2 + 1))]):
        for key in many:
            keyed.update(key, float(rng.normal()))
        saved(store, keyed, i)
        sizes = [path.stat().st_size for path in tmp_path.glob("state.rcf*")]
        whole = (tmp_path / "state.rcf").stat().st_size
        assert sum(sizes) <= 2.1 * whole
        kinds.append(len(sizes) - 1)
        seen.add(len(sizes))
    assert kinds[:8] == [0, 1, 2, 3, 4, 5, 6, 0]  # at most six
    assert max(kinds[14:20]) <= 5  # of a fifth each, not more than the whole holds
    assert kinds[20] == 0  # half of the keys
    assert store.compact() is False
    keyed.update(0, 1.0)
    saved(store, keyed, 21)
    assert names(tmp_path) == ["state.rcf"]


def test_other_models_have_none(tmp_path, always):
    detector, store = StreamDetector(2, n_estimators=3), FileStore(tmp_path / "state.rcf")
    for i in range(5):
        detector.update(float(i))
        store.save(Checkpoint("p", i, detector))
        assert names(tmp_path) == ["state.rcf"]
    assert FileStore(tmp_path / "state.rcf").peek("p").position == 4


def steps(folder, n=12):
    """A store after n checkpoints of one key each, and the model."""
    keyed, store = some_keyed(), FileStore(folder / "state.rcf")
    for i in range(20 * KEYS):
        keyed.update(i % KEYS, float(i % 7))
    for i in range(n):
        keyed.update(i % 3, float(i))
        store.save(Checkpoint("p", i, keyed))
    return keyed, store


def test_a_checkpoint_that_was_not_stored_is_not_counted(tmp_path, always, monkeypatch):
    keyed, store = steps(tmp_path, 4)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    keyed.update(30, 1.0)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.save(Checkpoint("p", 4, keyed))
    assert FileStore(store.path).peek("p").position == 3
    keyed.update(31, 1.0)
    saved(store, keyed, 5)  # whole, and so with what was not stored
    assert names(tmp_path) == ["state.rcf"]


def test_killed_between_the_whole_checkpoint_and_the_removal(tmp_path, always):
    keyed, store = steps(tmp_path, 5)
    assert len(names(tmp_path)) == 5
    shutil.copytree(tmp_path, tmp_path / "before")
    store.compact()
    saved(store, keyed, 5)
    assert names(tmp_path) == ["state.rcf"]
    for number in (1, 2, 3, 4):  # the highest were removed first
        shutil.copy(tmp_path / "before" / f"state.rcf.{number}", tmp_path)
        assert FileStore(tmp_path / "state.rcf").peek("p").position == 5
    again = FileStore(tmp_path / "state.rcf")
    keyed = again.peek("p").model
    saved(again, keyed, 6)
    assert names(tmp_path) == ["state.rcf"]
    for number in (1, 2, 3, 4):
        shutil.copy(tmp_path / "before" / f"state.rcf.{number}", tmp_path)
    keyed.update(0, 1.0)
    saved(again, keyed, 7)  # the first increment replaces an old one, and the others do not follow it


def test_increments_that_do_not_fit_are_refused(tmp_path, always):
    keyed, _ = steps(tmp_path, 3)
    first, second = (rcf.load(tmp_path / f"state.rcf.{n}") for n in (1, 2))
    path = tmp_path / "state.rcf.2"
    for change in ({"number": 3}, {"removed": ["nobody"]}, {"removed": [{}]}, {"model": some_keyed(max_keys=1)}):
        Checkpoint(**{**vars(second), **change}).save(path)
        with pytest.raises(ModelFileError, match="increment"):
            FileStore(tmp_path / "state.rcf").peek("p")
    Checkpoint(**{**vars(second), "model": keyed.detector(0)}).save(path)
    with pytest.raises(ModelFileError, match="an increment of a StreamDetector"):
        FileStore(tmp_path / "state.rcf").peek("p")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileError):
        FileStore(tmp_path / "state.rcf").peek("p")
    path.unlink()
    assert FileStore(tmp_path / "state.rcf").peek("p").position == first.position


@pytest.mark.parametrize("n", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutated_increments_are_refused_or_harmless(tmp_path, always, n):
    steps(tmp_path, 3)
    path, rng, refused, positions = tmp_path / "state.rcf.1", np.random.default_rng(3), 0, set()
    data = path.read_bytes()
    for i in range(n):
        path.write_bytes(mutated_json(data, rng) if i % 2 else mutated(data, rng))
        try:
            found = FileStore(tmp_path / "state.rcf").peek("p")
        except ModelFileError:
            refused += 1
        else:
            positions.add(found.position)
            for key in (0, 1, "new"):
                with contextlib.suppress(ValueError):  # a stamp of the clock may be missing
                    found.model.update(key, 1.0)
            found.to_bytes()
    assert n / 4 < refused < n
    assert {0, 2} <= positions  # what does not belong to the checkpoint is left, and what is harmless is taken


def records(n, keys):
    """Lines with values and keys: 70 of each key, then some keys often."""
    chosen = (list(range(keys)) * 70 + zipf(n, np.random.default_rng(5), keys))[:n]
    return [{"load": x, "host": f"h{key}"} for x, key in zip(waves(n), chosen, strict=True)]


def check(out, given):
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [{name: row[name] for name in ("load", "host")} for row in rows] == given
    keyed = KeyedDetector(StreamDetector(**PARAMS))
    found = keyed.update_many([row["host"] for row in given], [row["load"] for row in given])
    assert [row["ANOMALY_SCORE"] for row in rows] == found.score.tolist()


def test_a_worker_leaves_one_file(tmp_path, always):
    given = records(3000, 30)
    (tmp_path / "in").write_text("".join(json.dumps(row) + "\n" for row in given))
    most = 0

    class Watched(FileStore):
        def save(self, checkpoint):
            nonlocal most
            super().save(checkpoint)
            most = max(most, len(names(tmp_path)))

    worker = Worker(
        KeyedDetector(StreamDetector(**PARAMS)), LineSource(tmp_path / "in"), LineSink(tmp_path / "out"),
        Watched(tmp_path / "state.rcf"), schema=Schema(columns=["load"], key="host"), batch=20,
    )  # fmt: skip
    worker.run()
    assert most > 3
    assert [path.name for path in tmp_path.glob("state.rcf*")] == ["state.rcf"]
    assert rcf.load(tmp_path / "state.rcf").model.to_bytes() == worker.model.to_bytes()
    check(tmp_path / "out", given)


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_instants(tmp_path, times):
    """No record is lost, different or repeated."""
    pytest.importorskip("typer", reason="the command line needs rcf[cli]")
    n, out, increments = 1500 * times, tmp_path / "out", []
    given = records(n, 40)
    (tmp_path / "in").write_text("".join(json.dumps(row) + "\n" for row in given))
    command = [*WORKER, "files", str(tmp_path / "in"), str(out), "--state", str(tmp_path / "state.rcf"), "--follow", *FLAGS,
               "--columns", "load", "--key", "host",
               "--set", "worker.batch=20", "--set", "worker.checkpoint_every=0"]  # fmt: skip

    def progress():
        increments.append(len(list(tmp_path.glob("state.rcf.[0-9]*"))))
        return out.exists() and out.read_bytes().count(b"\n")

    killed_at_random(command, progress, n, times, np.random.default_rng(times))
    assert max(increments) > 2
    assert increments.count(0) < len(increments)
    check(out, given)
