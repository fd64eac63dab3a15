"""Fuzz forests, detectors and hot spots: random calls on random numbers, and random damage to what was saved.

pip install atheris
python tests/fuzz.py -runs=100000 [-seed=1]

Nothing may crash the interpreter, and calls may raise only ValueError or, for wrong types, TypeError. After every successful
call the trees must be valid; after an error the forest must not have changed. A damaged model file raises ModelFileError, or
its object can be used and saved.
"""

import contextlib
import pickle
import struct
import sys
import zlib

import atheris
import numpy as np

with atheris.instrument_imports(include=["rcf", "naive"]):
    import naive

    from rcf import HotSpots, KeyedDetector, RandomCutForest, StreamDetector
    from rcf._core import Forest
    from rcf.persist import ModelFileError, Savable

PARTS = [0.0, -0.0, 1.0, 48.08, 48.08001, 1e30, -1e30, 1.7e38, 1.8e38, 1e-45, 5e-324, float("nan"), float("inf")]
KINDS = [*naive.KINDS, "nonsense"]


def numbers(data, n):
    """Numbers drawn from a few values, so that they repeat, or from raw bytes."""
    if data.ConsumeBool():
        return np.array([PARTS[data.ConsumeIntInRange(0, len(PARTS) - 1)] for _ in range(n)])
    raw = data.ConsumeBytes(8 * n).ljust(8 * n, b"\0")
    return np.frombuffer(raw, np.float64).copy()


def mostly_fine(data, rows):
    """Only one call in eight has invalid numbers, because otherwise long batches would always be refused."""
    if data.ConsumeIntInRange(0, 7) == 0:
        return rows
    return np.where(np.abs(rows) <= 1.7e38, rows, 2.0)


def check(forest):
    for i in range(forest.n_trees):
        naive.check(forest.tree(i))


@atheris.instrument_func
def drive(data):
    d = data.ConsumeIntInRange(1, 10)
    forest = Forest(2, data.ConsumeIntInRange(1, 12), d, data.PickValueInList([0.0, 0.01, 1.0, 300.0]), [1])
    for _ in range(data.ConsumeIntInRange(1, 30)):
        if not data.remaining_bytes():
            break
        n = data.ConsumeIntInRange(0, 6)
        rows, kind = numbers(data, n * d).reshape(n, d), data.PickValueInList(KINDS)
        weights = np.abs(numbers(data, n)) if data.ConsumeBool() else None
        before = pickle.dumps(forest.state())
        try:
            match data.ConsumeIntInRange(0, 6):
                case 0:
                    forest.update(rows, weights, kind, 1)
                case 1:
                    forest.update_record(rows[0] if n else np.empty(0), kind)
                case 2:
                    forest.forget(rows[0] if n else np.empty(0))
                case 3:
                    forest.fit(rows, weights, False, data.ConsumeBool(), 1)
                case 4:
                    forest.score(rows, kind, 1)
                case 5:
                    forest.attribution(rows, kind, 1)
                case 6:
                    forest = Forest.from_state(damaged(data, forest.state()))
        except (ValueError, TypeError):
            assert pickle.dumps(forest.state()) == before
        check(forest)


@atheris.instrument_func
def damaged(data, state):
    """A saved state with up to three numbers overwritten, an array truncated, or a name removed."""
    for _ in range(data.ConsumeIntInRange(0, 3)):
        name = data.PickValueInList(sorted(state))
        value = state[name]
        if not isinstance(value, np.ndarray):
            state[name] = data.PickValueInList([0, 1, -1, 3, 2**31, 2**62, -(2**63), 0.5, None])
        elif data.ConsumeIntInRange(0, 9) == 0:
            del state[name]
            break
        elif data.ConsumeIntInRange(0, 5) == 0:
            state[name] = value[: data.ConsumeIntInRange(0, max(len(value) - 1, 0))]
        elif value.size:
            flat = np.ascontiguousarray(value).copy()
            raw = flat.reshape(-1).view(np.uint8)
            at = data.ConsumeIntInRange(0, len(raw) // flat.itemsize - 1) * flat.itemsize
            new = data.ConsumeBytes(flat.itemsize).ljust(flat.itemsize, b"\xff")
            raw[at : at + flat.itemsize] = np.frombuffer(new, np.uint8)
            state[name] = flat
    return state


@atheris.instrument_func
def drive_detector(data):
    """A detector with gaps and jumping time stamps; a call that raises an error must not change it."""
    d = data.ConsumeIntInRange(1, 3)
    kind = data.PickValueInList(["normalize", "difference", "normalize_difference", "subtract_moving_average", "none"])
    fill = data.PickValueInList(["previous", "linear", "forest", "zero", 1.5])
    size = data.ConsumeIntInRange(1, 3)
    detector = StreamDetector(size, n_estimators=3, max_samples=8, transform=kind, fill=fill, random_state=1)
    timed, time = data.ConsumeBool(), 0.0
    for _ in range(data.ConsumeIntInRange(1, 30)):
        if not data.remaining_bytes():
            break
        n = data.ConsumeIntInRange(0, 40)
        rows = mostly_fine(data, numbers(data, n * d).reshape(n, d))
        if n and data.ConsumeIntInRange(0, 3) == 0:
            rows[data.ConsumeIntInRange(0, n - 1), 0] = np.nan
        steps = np.cumsum([data.PickValueInList([1.0, 1.0, 1.0, 0.5, 3.0, 1e6, 0.0]) for _ in range(n)])
        before = detector.to_bytes()
        try:
            match data.ConsumeIntInRange(0, 3):
                case 0:
                    detector.update(rows[0] if n else [], time + 1.0 if timed else None)
                    time += 1.0
                case 1:
                    detector.update_many(rows, time + steps if timed else None)
                    time += float(steps[-1]) if n else 0.0
                case 2:
                    found = detector.forecast(data.ConsumeIntInRange(1, 4))
                    assert np.isfinite(found.median).all()
                case 3:
                    detector = StreamDetector.from_bytes(detector.to_bytes())
                    assert detector.to_bytes() == before
        except (ValueError, TypeError):
            assert detector.to_bytes() == before


@atheris.instrument_func
def drive_spots(data):
    """Hot spots of extreme numbers; a batch that raises an error must not change them."""
    d = data.ConsumeIntInRange(1, 10)
    spots = HotSpots(data.ConsumeIntInRange(4, 30), data.PickValueInList([1e-150, 1e-9, 1.0, 50.0, 1e150]),
                     data.ConsumeIntInRange(1, 4))  # fmt: skip
    for _ in range(data.ConsumeIntInRange(1, 20)):
        if not data.remaining_bytes():
            break
        n = data.ConsumeIntInRange(0, 20)
        rows, before = mostly_fine(data, numbers(data, n * d).reshape(n, d)), spots.to_bytes()
        try:
            if data.ConsumeBool():
                spots.update_many(rows)
            else:
                spots.follow(rows)
        except (ValueError, TypeError):
            assert spots.to_bytes() == before
            continue
        held, cores = np.bincount(spots.labels_ + 1, minlength=1), spots.core_sample_indices_
        assert sorted(spot.count for spot in spots.hot_spots_) == sorted(held[1:][held[1:] > 0])
        assert (spots.labels_[cores] >= 0).all()


@atheris.instrument_func
def from_bytes(data):
    """A model file with changed or missing bytes. Most have a valid checksum, so that the code after the check is tested."""
    raw = bytearray(data.PickValueInList(SAVED))
    for _ in range(data.ConsumeIntInRange(1, 3)):
        at = data.ConsumeIntInRange(0, len(raw) - 5)
        if data.ConsumeBool():
            raw[at] = data.ConsumeIntInRange(0, 255)
        else:  # the numbers of the header
            digits = [i for i in range(at, min(at + 200, len(raw) - 4)) if chr(raw[i]).isdigit()]
            if digits:
                raw[digits[0]] = ord("0") + data.ConsumeIntInRange(0, 9)
    if data.ConsumeIntInRange(0, 9) == 0:
        del raw[data.ConsumeIntInRange(0, len(raw)) :]
    elif data.ConsumeIntInRange(0, 9) > 0:
        raw[-4:] = struct.pack("<I", zlib.crc32(raw[:-4]))
    try:
        restored = Savable.from_bytes(bytes(raw))
    except ModelFileError:
        return
    COUNTS[type(restored).__name__] = COUNTS.get(type(restored).__name__, 0) + 1
    restored.to_bytes()
    # the loaded model may need another number of features, or a time stamp
    with contextlib.suppress(ValueError, TypeError):
        match restored:
            case RandomCutForest():
                restored.anomaly_score(np.zeros((1, 3)))
                check(restored._forest)
            case StreamDetector():
                for value in (0.0, 1.0, float("nan"), 1e30):
                    restored.update([value, value])
                restored.forecast(2)
            case KeyedDetector():
                for key in restored.keys():  # noqa: SIM118
                    restored.update(key, 1.0)
                restored.update("another", 1.0)
            case HotSpots():
                restored.update_many(np.arange(20.0).reshape(10, 2))


def saved():
    rng = np.random.default_rng(0)
    forest = RandomCutForest(3, 8, random_state=0)
    forest.update_many(rng.normal(size=(40, 3)))
    detector = StreamDetector(3, n_estimators=4, max_samples=16, random_state=0)
    detector.update_many(rng.normal(size=(90, 2)))
    detector.forecast(3, calibrate=True)
    detector.update([float("nan"), 1.0])
    keyed = KeyedDetector(StreamDetector(2, n_estimators=2, max_samples=4, random_state=0))
    for i in range(40):
        keyed.update(("a", i % 3), float(i), float(i))
    spots = HotSpots(20, 1.0, 3)
    spots.update_many(rng.normal(size=(50, 2)))
    return [model.to_bytes() for model in (forest, detector, keyed, spots)]


SAVED = saved()
COUNTS: dict[str, int] = {}  # damaged files that could be read


def one(raw):
    # The C code is not instrumented, so the fuzzer cannot grow short inputs by coverage. Therefore the input is extended with
    # random bytes that depend on it.
    data = atheris.FuzzedDataProvider(raw + np.random.default_rng([1, *raw]).bytes(4096))
    data.PickValueInList([from_bytes, from_bytes, drive, drive, drive_detector, drive_spots])(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
