"""Model files are exact, compact and atomic, and damaged or hostile files do no harm."""

import json
import os
import pickle
import stat
import struct
import zlib

import golden_models
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

import rcf
from rcf import RandomCutForest, persist
from rcf._core import Forest, ModelStateError
from rcf.persist import ModelFileError


def stream(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def fitted_on_table(d=4):
    return RandomCutForest(20, 64, random_state=1).fit(stream(500, d))


def forgetful():
    X = stream(800, 2)
    forest = RandomCutForest(10, 32, method="codisp", random_state=2).partial_fit(X)
    for x in X[-30:]:
        forest.forget(x)
    return forest


def with_names():
    frame = pd.DataFrame(stream(300, 3), columns=["a", "ö", 'quote"d'])
    return RandomCutForest(7, 64, contamination=0.05, random_state=3, n_jobs=2).fit(frame)


FORESTS = {
    "table": fitted_on_table,
    "few rows": lambda: RandomCutForest(5, random_state=1).fit(stream(40, 2)),
    "weights": lambda: RandomCutForest(5, 64, random_state=1).fit(
        stream(500, 2), sample_weight=np.linspace(0.1, 9, 500)
    ),
    "disjoint": lambda: RandomCutForest(5, "disjoint", random_state=1).fit(stream(500, 2)),
    "share": lambda: RandomCutForest(5, 0.5, random_state=np.random.default_rng(4)).fit(stream(100, 2)),
    "stream": lambda: RandomCutForest(20, 256, method="opensearch", random_state=5).partial_fit(stream(20000, 8)),
    "wide": lambda: RandomCutForest(8, 64, method="displacement", random_state=5).partial_fit(stream(500, 48)),
    "no decay": lambda: RandomCutForest(8, 64, time_decay=0.0, random_state=5).partial_fit(stream(5000, 1)),
    "one record": lambda: RandomCutForest(8, 64, random_state=5).partial_fit(stream(1, 3)),
    "growing": lambda: RandomCutForest(8, 64, random_state=5).partial_fit(stream(9, 3) + 1e9),
    "constant": lambda: RandomCutForest(8, 64, random_state=5).partial_fit(np.full((300, 2), 7.25)),
    "duplicates": lambda: RandomCutForest(8, 64, random_state=5).partial_fit(np.round(stream(900, 2))),
    "capacity one": lambda: RandomCutForest(8, 1, random_state=5).partial_fit(stream(100, 2)),
    "forgetful": forgetful,
    "names": with_names,
}


@pytest.fixture(params=FORESTS)
def forest(request):
    return FORESTS[request.param]()


def like(forest, X):
    """X under the names that the forest knows."""
    names = getattr(forest, "feature_names_in_", None)
    return X if names is None else pd.DataFrame(X, columns=names)


def assert_same_state(one, two):
    assert one.keys() == two.keys()
    for name, value in one.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == two[name].dtype, name
            np.testing.assert_array_equal(value, two[name], err_msg=name)
        else:
            assert value == two[name], name


def test_restored_is_the_same_bit_for_bit(forest):
    again = RandomCutForest.from_bytes(forest.to_bytes())
    assert_same_state(forest._forest.state(), again._forest.state())
    assert again.to_bytes() == forest.to_bytes()
    X = like(forest, stream(10_000, forest.n_features_in_, seed=9))
    for kind in ("depth", "codisp", "displacement", "opensearch"):
        np.testing.assert_array_equal(forest.anomaly_score(X[:200], kind), again.anomaly_score(X[:200], kind))
    np.testing.assert_array_equal(forest.update_many(X), again.update_many(X))
    assert forest.to_bytes() == again.to_bytes()


def test_parameters_and_attributes(forest):
    again = RandomCutForest.from_bytes(forest.to_bytes())
    params = forest.get_params()
    if isinstance(params["random_state"], np.random.Generator):
        params["random_state"] = None
    assert again.get_params() == params
    for name in ("n_features_in_", "max_samples_", "time_decay_", "n_seen_", "offset_"):
        assert getattr(again, name) == getattr(forest, name), name
        assert type(getattr(again, name)) is type(getattr(forest, name)), name
    np.testing.assert_array_equal(getattr(again, "feature_names_in_", None), getattr(forest, "feature_names_in_", None))


def test_pickle_is_the_same_too(forest):
    again = pickle.loads(pickle.dumps(forest))
    assert_same_state(forest._forest.state(), again._forest.state())


def test_names_are_held_to_after_loading():
    again = RandomCutForest.from_bytes(with_names().to_bytes())
    with pytest.raises(ValueError, match="feature names"):
        again.predict(pd.DataFrame(stream(3, 3), columns=["a", "b", "c"]))


def test_an_unfitted_forest_keeps_its_parameters():
    again = RandomCutForest.from_bytes(RandomCutForest(7, method="codisp").to_bytes())
    assert again.get_params() == RandomCutForest(7, method="codisp").get_params()
    with pytest.raises(NotFittedError):
        again.predict(stream(3, 3))


def test_save_and_load(tmp_path, forest):
    path = tmp_path / "forest.rcf"
    forest.save(path)
    assert path.read_bytes() == forest.to_bytes()
    assert rcf.load(str(path)).to_bytes() == forest.to_bytes()


def test_size():
    """A peer's JSON of such a forest takes 2.2 MB; its points alone are 410 kB as floats."""
    forest = RandomCutForest(50, 256, random_state=0).partial_fit(stream(20_000, 8))
    assert len(forest.to_bytes()) <= 350_000


def test_the_package_safetensors_reads_it(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="the package safetensors is not installed")
    for build in FORESTS.values():
        forest = build()
        tensors = safetensors.load(forest.to_bytes())
        state = forest._forest.state()
        np.testing.assert_array_equal(tensors["forest.threshold"], state["threshold"])
        np.testing.assert_array_equal(tensors["forest.origin"], state["origin"])
        name = "forest.points"
        if name in tensors:
            points = tensors[name]
        else:  # as the notes on the format say
            planes = [tensors[f"{name}/{i}"].tobytes() for i in range(4)]
            longest = max(map(len, planes))
            planes = [zlib.decompress(p, -15) if len(p) < longest else p for p in planes]
            points = np.frombuffer(bytes(b for four in zip(*planes, strict=True) for b in four), "<f4")
        np.testing.assert_array_equal(points, state["points"].reshape(-1))


# ---- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_crash_leaves_the_old_file(tmp_path, monkeypatch, broken):
    path = tmp_path / "forest.rcf"
    fitted_on_table().save(path)
    old = path.read_bytes()

    def crash(*_):
        raise OSError("the power is gone")

    monkeypatch.setattr(persist.os, broken, crash)
    with pytest.raises(OSError, match="power"):
        forgetful().save(path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["forest.rcf"]


def test_the_data_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(persist.os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(persist.os, "replace", lambda *names: (calls.append("replace"), replace(*names)))
    fitted_on_table().save(tmp_path / "forest.rcf")
    assert calls[:2] == ["fsync", "replace"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions, and links need a privilege")
def test_permissions_and_links_stay(tmp_path):
    path, link = tmp_path / "forest.rcf", tmp_path / "link.rcf"
    forest = fitted_on_table()
    forest.save(path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link.symlink_to(path)
    forgetful().save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert rcf.load(path).n_seen_ == 800


def test_what_cannot_be_saved_is_named(tmp_path):
    class Derived(RandomCutForest):
        pass

    with pytest.raises(TypeError, match="Derived cannot be saved"):
        Derived().to_bytes()
    with pytest.raises(ValueError, match="n_estimators"):
        RandomCutForest(n_estimators=-1).save(tmp_path / "x")
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError, match=r"cannot save 'x': there is no folder: .*no folder'$"):
        RandomCutForest().save(tmp_path / "no folder" / "x")
    with pytest.raises(IsADirectoryError, match=f"there is a folder of this name: .*{tmp_path.name}'$"):
        RandomCutForest().save(tmp_path)
    assert os.listdir(tmp_path) == []


# ---- the notes on what `_state` may hold --------------------------------------------------------------------------------


class Thing(persist.Savable):
    """Holds any value; represents future classes."""

    def __init__(self, content):
        self.content = content

    def _state(self):
        return {"content": self.content}

    @classmethod
    def _from_state(cls, state):
        return cls(state["content"])


@pytest.fixture
def things(monkeypatch):
    monkeypatch.setitem(persist.KINDS, "Thing", Thing.__module__)
    monkeypatch.setattr(
        persist, "_class_of", lambda kind, find=persist._class_of: Thing if kind == "Thing" else find(kind)
    )


ARRAYS = [
    np.arange(5), np.arange(100_000) ** 2, -np.arange(9000), np.full(7000, 2**63, np.uint64), np.array([-(2**63), 2**63 - 1]),
    np.array([0, 2**62, 2**62 + 1] * 400), np.arange(20, dtype=np.uint8)[::-1], np.array([], dtype=np.int32),
    np.zeros((0, 7)), np.zeros((3, 0, 2), np.float32), np.array(5.5), np.array([np.nan, np.inf, -np.inf, -0.0]),
    np.random.default_rng(0).normal(size=(700, 3)).astype(np.float32),
    np.zeros(100_000), np.arange(24.0).reshape(2, 3, 4)[:, ::2].T,
    np.random.default_rng(0).random(90_001) < 0.1, np.array([True]), np.zeros((3, 5), bool), np.array([], dtype=bool),
    np.arange(-50, 4000, dtype=np.int16), np.array([0, 255] * 40, dtype=np.int64),
    np.array([-128, 127, -129] * 40), np.arange(9, dtype=">i4"),
    np.repeat(np.arange(1000), 9) * 1000,
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_every_array_comes_back(things, array):
    again = persist._unpack(Thing(array).to_bytes()).content
    assert again.dtype == array.dtype.newbyteorder("=")
    assert again.shape == array.shape
    assert again.tobytes() == np.ascontiguousarray(array).astype(again.dtype).tobytes()
    assert again.flags.writeable


def test_scalars_and_nested_objects_come_back(things):
    content = {
        "none": None, "yes": True, "big": 2**80, "tenth": 0.1, "least": 5e-324, "inf": float("inf"), "minus": -float("inf"),
        "text": "ö\"\n\0",
        "list": [1, [2.5, "x"], {"deep": np.arange(3.0)}], "numpy": np.float64(2.5), "forest": fitted_on_table(), "empty": {},
    }  # fmt: skip
    again = Thing.from_bytes(Thing(content).to_bytes()).content
    assert again.pop("forest").to_bytes() == content.pop("forest").to_bytes()
    np.testing.assert_array_equal(again["list"][2].pop("deep"), content["list"][2].pop("deep"))
    assert again == content
    assert np.isnan(Thing.from_bytes(Thing(float("nan")).to_bytes()).content)


@pytest.mark.parametrize("content", [object(), {1: 2}, {"$array": 1}, b"bytes", {"a": [np.array(["x"])]}, 1j])
def test_other_things_are_refused(things, content):
    with pytest.raises(TypeError, match="cannot be saved"):
        Thing(content).to_bytes()


# ---- files of released versions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(golden_models.FOLDER.glob("model_v*.json")), ids=lambda path: path.stem)
def test_files_of_every_version_load_and_go_on(path):
    golden = json.loads(path.read_text())
    model = golden_models.loaded(golden)
    assert type(model).__name__ == path.stem.split("_")[-1]
    found, expected = golden_models.answers(model, golden["following"]), golden["answers"]
    assert found.keys() == expected.keys()
    for name in found:
        assert repr(found[name]) == repr(expected[name]), (
            f"{name}: if a change of the core means to learn otherwise, `python tests/golden_models.py --answers` renews this"
        )


def test_every_class_has_a_file_of_this_version():
    names = {path.stem for path in golden_models.FOLDER.glob(f"model_v{persist.VERSION}_*.json")}
    assert names == {f"model_v{persist.VERSION}_{kind}" for kind in persist.KINDS}, (
        "python tests/golden_models.py writes them"
    )


# ---- files that are damaged or hostile --------------------------------------------------------------------------------------


def rewritten(data, change_header=None, change_state=None):
    """The file with a changed header or a changed JSON of the state, and a valid checksum."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    if change_state is not None:
        state = json.loads(header["__metadata__"]["state"])
        change_state(state)
        header["__metadata__"]["state"] = json.dumps(state)
    if change_header is not None:
        change_header(header)
    text = json.dumps(header).encode()
    return checked(struct.pack("<Q", len(text)) + text + data[8 + length :])


def checked(data):
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["__metadata__"].update(version="2"), "version '2' and was written by rcf"),
        (lambda h: h["__metadata__"].update(format="pt"), "safetensors file of something else"),
        (lambda h: h.pop("__metadata__"), "safetensors file of something else"),
        (lambda h: h["__metadata__"].update(kind="os.system"), "holds a 'os.system'"),
        (lambda h: h["__metadata__"].update(state="[" * 100_000), "state is damaged"),
        (lambda h: h["__metadata__"].update(state="[1]"), "state is not an object"),
        (lambda h: h["__metadata__"].update(state='{"a":NaN}'), "NaN is not JSON"),
        (lambda h: h["__metadata__"].update(state='{"a":1,"a":2}'), "comes twice"),
        (lambda h: h["__metadata__"].update(state="{}"), "belongs to nothing"),
        (lambda h: h["forest.origin"].update(dtype="F16"), "not described"),
        (lambda h: h["forest.origin"].update(shape=[3]), "does not lie"),
        (lambda h: h["forest.origin"].update(data_offsets=[0, 10**15]), "does not lie"),
        (lambda h: h.pop("crc32"), "cut off"),
    ],
)
def test_hostile_headers(change, message):
    with pytest.raises(ModelFileError, match=message):
        RandomCutForest.from_bytes(rewritten(fitted_on_table().to_bytes(), change_header=change))


def array_of(shape):
    return lambda s: s["forest"]["points"].update(shape=shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (array_of([10**14, 8]), "impossible shape|cannot hold|are due"),
        (array_of([-1, 8]), "impossible shape"),
        (array_of([2.0]), "impossible shape"),
        (array_of([10**13]), "cannot hold|are due"),
        (lambda s: s["forest"].pop("points"), "belongs to nothing"),
        (lambda s: s["forest"].update(n_trees=10**9), "impossible|entries"),
        (lambda s: s["forest"].update(n_trees=True), "n_trees is"),
        (lambda s: s["forest"].update(n_features=2**30), "wide"),
        (lambda s: s["forest"].update(time_decay="x" * 10**6), "time_decay is"),
        (lambda s: s["forest"].update(capacity=2**29, warm_up=-1), "impossible counts"),
        (lambda s: s["forest"].update(seen=10**4000), "impossible counts"),
        (lambda s: s["forest"].pop("seen"), "seen is missing"),
        (lambda s: s["params"].update(n_estimators="many"), "n_estimators"),
        (lambda s: s["params"].update(surprise=1), "surprise"),
        (lambda s: s["fitted"].update(surprise=1), "fitted attributes"),
        (lambda s: s["fitted"].update(_forest=1), "fitted attributes"),
        (lambda s: s["fitted"].update(n_features_in_=9), "fitted attributes"),
        (lambda s: s["fitted"].update(max_samples_=10**9), "fitted attributes"),
        (lambda s: s["fitted"].update(_offset=[1]), "fitted attributes"),
        (lambda s: s.update(forest={"$kind": "RandomCutForest", "state": {}}), "belongs to nothing|missing"),
    ],
)
def test_hostile_states(change, message):
    for build in (fitted_on_table, FORESTS["stream"]):
        with pytest.raises(ModelFileError, match=message):
            RandomCutForest.from_bytes(rewritten(build().to_bytes(), change_state=change))


def swapped(name, i, j):
    def change(state):
        state[name][[i, j]] = state[name][[j, i]]

    return change


def put(name, i, value):
    return lambda state: state[name].__setitem__(i, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("record", 1, 10**6), "a record that is not there"),
        (put("record", 1, -1), "a record that is not there"),
        (lambda s: s["record"].__setitem__(1, s["record"][0]), "held twice"),
        (put("key", 1, 1e9), "not a heap"),
        (put("key", 1, np.nan), "not finite"),
        (put("points", (3, 1), np.inf), "not finite"),
        (put("origin", 0, np.nan), "not finite"),
        (put("cut", 0, 1e30), "a leaf that no record falls into|different records in one leaf"),
        (put("cut", 0, np.nan), "not finite"),
        (put("dim", 0, 4), "a feature that is not there"),
        (put("dim", 0, -1), "a feature that is not there"),
        (put("inner", 0, False), "below no parent"),
        (lambda s: s["inner"].__setitem__(slice(None), True), "more inner nodes"),
        (lambda s: (put("size", 0, 63)(s), put("leaves", 0, 63)(s)), "entries where the trees have"),
        (put("leaves", 0, 65), "more leaves than records"),
        (put("rng", 2, 0), "not all zero"),
        (put("budget", 0, -1.0), "not numbers"),
        (put("threshold", 0, np.nan), "not numbers"),
        (put("next", 0, 0), "lies in the past"),
        (swapped("arrival", 0, 1), "ascend"),
        (put("arrival", 0, 0), "ascend"),
        (lambda s: s.update(growing=True), "500 records were seen"),
        (lambda s: s.update(points=s["points"].astype(float)), "not an array of float32"),
        (lambda s: s.pop("cut"), "cut is missing"),
    ],
)
def test_arrays_that_are_not_a_forest(change, message):
    state = fitted_on_table()._forest.state()
    change(state)
    with pytest.raises(ModelStateError, match=message):
        Forest.from_state(state)


def test_files_cut_short_or_of_something_else(tmp_path):
    data = fitted_on_table().to_bytes()
    for n in [*range(0, 40), *range(40, len(data), 97), len(data) - 1]:
        with pytest.raises(ModelFileError):
            RandomCutForest.from_bytes(data[:n])
    for other in (
        b"",
        b"\0" * 100,
        pickle.dumps([1, 2, 3]),
        b"{" * 50,
        data + b"\0",
        struct.pack("<Q", 2**63) + data[8:],
    ):
        with pytest.raises(ModelFileError):
            RandomCutForest.from_bytes(other)
    with pytest.raises(TypeError, match="got str"):
        RandomCutForest.from_bytes("text")
    with pytest.raises(OSError):
        rcf.load(tmp_path / "not there")
    (tmp_path / "else.rcf").write_bytes(b"else")
    with pytest.raises(ModelFileError, match=r"else\.rcf: not a model file"):
        rcf.load(tmp_path / "else.rcf")


def test_another_class_is_refused(things):
    with pytest.raises(ModelFileError, match="holds a RandomCutForest, not a Thing"):
        Thing.from_bytes(fitted_on_table().to_bytes())


def test_one_bit_is_enough():
    """A changed bit anywhere is found, also in a number for which any value is valid."""
    data = fitted_on_table().to_bytes()
    for at in [*range(0, len(data), max(1, len(data) // 400)), *range(len(data) - 40, len(data))]:
        damaged = bytearray(data)
        damaged[at] ^= 1
        with pytest.raises(ModelFileError):
            RandomCutForest.from_bytes(bytes(damaged))


def mutated(data, rng):
    """One to three changes of bits, bytes or runs. In half of the files the checksum is valid."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(data)))
        match rng.integers(6):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.integers(256))
            case 2:
                del data[at : at + int(rng.integers(1, 9))]
            case 3:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 4:
                data[at : at + 8] = rng.bytes(8)[: len(data) - at]
            case 5:
                other = int(rng.integers(len(data)))
                data[at : at + 8] = data[other : other + 8]
    return checked(bytes(data)) if rng.random() < 0.5 and len(data) > 4 else bytes(data)


def mutated_json(data, rng):
    """A value somewhere in the JSON of the state replaced."""

    def change(state):
        places = []

        def walk(node):
            for key in node if isinstance(node, dict) else range(len(node)):
                places.append((node, key))
                if isinstance(node[key], (dict, list)):
                    walk(node[key])

        walk(state)
        node, key = places[rng.integers(len(places))]
        values = [
            None,
            True,
            -1,
            0,
            1,
            2,
            3,
            2**31,
            2**63,
            10**30,
            0.5,
            -1e300,
            "",
            "<f8",
            "|u1",
            "|b1",
            "<i8",
            [],
            [0],
            [2, 2],
            {},
        ]
        if rng.random() < 0.2:
            del node[key]
        else:
            node[key] = values[rng.integers(len(values))]

    return rewritten(data, change_state=change)


def mutated_arrays(state, rng):
    state = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in state.items()}
    names = [name for name, value in state.items() if isinstance(value, np.ndarray) and value.size]
    for _ in range(rng.integers(1, 3)):
        array = state[names[rng.integers(len(names))]]
        flat = array.reshape(-1).view(np.uint8)
        width = array.itemsize
        at = int(rng.integers(array.size)) * width
        if array.dtype == bool:
            flat[at] ^= 1
        elif rng.random() < 0.5:
            other = int(rng.integers(array.size)) * width
            flat[at : at + width] = flat[other : other + width].copy()
        else:
            flat[at + int(rng.integers(width))] ^= 1 << int(rng.integers(8))
    return state


def use(forest):
    """A loaded object must work."""
    d = forest.n_features
    X = stream(40, d, seed=8)
    for kind in ("depth", "codisp", "displacement", "opensearch"):
        forest.update(X, None, kind)
        forest.score(X, kind)
        forest.attribution(X[:3], kind)
    forest.forget(X[-1])
    Forest.from_state(forest.state())


def peak_memory():
    resource = pytest.importorskip("resource", reason="no such figure on this system")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fuzz(n, seed):
    rng = np.random.default_rng(seed)
    before = peak_memory()
    forests = [
        RandomCutForest(3, 16, random_state=0).partial_fit(stream(200, 3)),
        RandomCutForest(2, 8, random_state=0).partial_fit(stream(10, 2)),
        RandomCutForest(4, 32, method="codisp", random_state=0).fit(np.round(stream(200, 5))),
    ]
    kept = persist._SMALL
    persist._SMALL = 64  # so that small files have planes too
    try:
        files = [forest.to_bytes() for forest in forests]
    finally:
        persist._SMALL = kept
    states = [forest._forest.state() for forest in forests]
    loaded = refused = 0
    for i in range(n):
        which = i % len(files)
        try:
            match i % 4:
                case 0:
                    use(Forest.from_state(mutated_arrays(states[which], rng)))
                case 1:
                    use(RandomCutForest.from_bytes(mutated_json(files[which], rng))._forest)
                case _:
                    use(RandomCutForest.from_bytes(mutated(files[which], rng))._forest)
            loaded += 1
        except (ModelFileError, ModelStateError):
            refused += 1
    assert loaded > n // 50, "the mutations are all so coarse that nothing is tried"
    assert refused > n // 3
    assert peak_memory() - before < 300, "megabytes more than before"


def test_mutations_are_refused_or_harmless():
    fuzz(2000, seed=0)


@pytest.mark.slow
def test_many_mutations_are_refused_or_harmless():
    fuzz(int(os.environ.get("RCF_MUTATIONS", 100_000)), seed=1)
