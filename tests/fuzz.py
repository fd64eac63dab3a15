"""Fuzz the forest: random calls on random numbers, and random damage to saved states.

pip install atheris
python tests/fuzz.py -runs=100000 [-seed=1]

Nothing may crash the interpreter, and nothing but a ValueError (or a TypeError at the door) may come
out. After every call that succeeds the trees are checked whole; after every one that is refused the
forest is as it was.
"""

import contextlib
import pickle
import sys

import atheris
import numpy as np

with atheris.instrument_imports(include=["rcf", "naive"]):
    import naive

    from rcf import RandomCutForest
    from rcf._core import Forest

PARTS = [0.0, -0.0, 1.0, 48.08, 48.08001, 1e30, -1e30, 1.7e38, 1.8e38, 1e-45, 5e-324, float("nan"), float("inf")]
KINDS = [*naive.KINDS, "nonsense"]


def numbers(data, n):
    """Drawn from few values, so that they repeat, or from raw bytes."""
    if data.ConsumeBool():
        return np.array([PARTS[data.ConsumeIntInRange(0, len(PARTS) - 1)] for _ in range(n)])
    raw = data.ConsumeBytes(8 * n).ljust(8 * n, b"\0")
    return np.frombuffer(raw, np.float64).copy()


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
    """A saved state with up to three of its numbers overwritten, or an array cut short, or a name gone."""
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
def from_bytes(data):
    """A saved estimator with some of its bytes changed."""
    raw = bytearray(SAVED)
    for _ in range(data.ConsumeIntInRange(1, 8)):
        raw[data.ConsumeIntInRange(0, len(raw) - 1)] = data.ConsumeIntInRange(0, 255)
    raw = bytes(raw[: data.ConsumeIntInRange(0, len(raw))]) if data.ConsumeIntInRange(0, 9) == 0 else bytes(raw)
    with contextlib.suppress(ValueError, TypeError):
        restored = RandomCutForest.from_bytes(raw)
        restored.anomaly_score(np.zeros((1, 3)))
        check(restored._forest)


def saved():
    forest = RandomCutForest(3, 8, random_state=0)
    forest.update(np.random.default_rng(0).normal(size=(40, 3)))
    return forest.to_bytes() if hasattr(forest, "to_bytes") else b""


SAVED = saved()


def one(raw):
    # The C code is not instrumented, so short inputs are not grown by what they reach: a random tail, which
    # depends on the input, stands in for that.
    data = atheris.FuzzedDataProvider(raw + np.random.default_rng([1, *raw]).bytes(2048))
    if SAVED and data.ConsumeIntInRange(0, 3) == 0:
        from_bytes(data)
    else:
        drive(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
