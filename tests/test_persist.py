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
    """X with the feature names of the forest."""
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


def test_a_pickled_forest_has_the_same_state(forest):
    again = pickle.loads(pickle.dumps(forest))
    assert_same_state(forest._forest.state(), again._forest.state())


def test_names_are_checked_after_loading():
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
        assert tensors["forest"].tobytes() == forest._forest.to_bytes()
        assert set(tensors) == {"forest", "crc32"}


def test_planes_have_the_documented_format(things):
    safetensors = pytest.importorskip("safetensors.numpy", reason="the package safetensors is not installed")
    points = np.round(stream(3000, 2)).astype(np.float32)
    tensors = safetensors.load(Thing(points).to_bytes())
    planes = [tensors[f"content/{i}"].tobytes() for i in range(4)]
    assert min(map(len, planes)) < points.size
    planes = [zlib.decompress(p, -15) if len(p) < points.size else p for p in planes]
    found = np.frombuffer(bytes(b for four in zip(*planes, strict=True) for b in four), "<f4")
    np.testing.assert_array_equal(found, points.reshape(-1))


class Bits:
    """A reader of the format that packed.pxd and records.pxd describe, bit by bit. It returns a forest in the form of
    `Forest.state`.
    """

    def __init__(self, data):
        self.bits, self.at = int.from_bytes(data, "little"), 0
        self.where = {}  # (first bit, width) of each field that has a name

    def take(self, width, name=None):
        self.where.setdefault(name, []).append((self.at, width))
        found = self.bits >> self.at & ((1 << width) - 1)
        self.at += width
        return found

    def number(self):
        return self.take(self.take(6))

    def double(self, name=None):
        return struct.unpack("<d", struct.pack("<Q", self.take(64, name)))[0]

    def forest(self):
        n_trees, capacity, d, step = (self.take(32) for _ in range(4))
        growing, decay = bool(self.take(1)), self.double()
        seen, warm_up, table = self.number(), self.number(), self.number()
        origin = [self.double() for _ in range(d)]
        head = [[self.double() for _ in range(d)] for _ in range(seen if growing else 0)]
        arrival, points = self.records(d, step, origin)
        sizes = [self.number() for _ in range(n_trees)]
        trees = [self.tree(size, arrival, points, seen) for size in sizes]
        joined = {
            name: [value for tree in trees for value in tree[name]] for name in ("key", "record", "inner", "cut", "dim")
        }
        single = {
            name: [tree[name] for tree in trees] for name in ("rng", "threshold", "budget", "next", "settled", "leaves")
        }
        return {
            "n_trees": n_trees, "capacity": capacity, "n_features": d, "time_decay": decay, "seen": seen, "warm_up": warm_up,
            "table": table, "growing": growing, "origin": origin, "head": head, "size": sizes, "arrival": arrival, "points": points,
            **joined, **single,
        }  # fmt: skip

    def records(self, d, step, origin):
        rows = self.number()
        columns = [(self.take(5), self.take(5), self.take(31)) for _ in range(d)]
        arrival, points = [0], []
        for row in range(rows):
            distance = 1 if self.take(1) else self.number()
            arrival.append(arrival[-1] + distance)
            shift = d if row == 0 or step == 0 else step * distance
            values = []
            for k, (zeros, width, least) in enumerate(columns):
                code = self.take(2) if k + shift < d else 2
                if code == 2:
                    sign = self.take(1)
                    bits = (self.take(width) + least) << zeros | sign << 31
                    values.append(struct.unpack("<f", struct.pack("<I", bits))[0])
                else:
                    value = np.float32(points[-1][k + shift] + origin[k + shift] - origin[k])
                    values.append(
                        float(
                            [
                                value,
                                np.nextafter(value, np.float32(np.inf)),
                                0,
                                np.nextafter(value, -np.float32(np.inf)),
                            ][code]
                        )
                    )
            points.append(values)
        return arrival[1:], points

    def tree(self, size, arrival, points, seen):
        found = {"rng": [self.take(64, "rng") for _ in range(4)]}
        found |= {"threshold": self.double("threshold"), "budget": self.double("budget")}
        leaves = self.number()
        found |= {"leaves": leaves, "next": self.number() + seen + 1, "settled": seen - self.number()}
        found |= {"inner": [], "dim": [], "key": [], "record": [], "cut": []}
        if size == 0:
            return found
        d = len(points[0])
        children = {}  # the two children of each inner node; a leaf is ~number

        def below(first, many):
            """Read the node that has `many` leaves, and all nodes below it."""
            found["inner"].append(many > 1)
            if many == 1:
                return ~first
            node = len(found["dim"])
            left = 1 + self.take((many - 2).bit_length(), "left")
            found["dim"].append(self.take((d - 1).bit_length(), "dim"))
            children[node] = [below(first, left), below(first + left, many - left)]
            return node

        below(0, leaves)
        least, width = self.take(64, "least key"), self.take(7, "key width")
        held = {}
        for _ in range(size):
            rank = least + self.take(width, "key")
            rank ^= 1 << 63 if rank >> 63 else (1 << 64) - 1
            found["key"].append(struct.unpack("<d", struct.pack("<Q", rank))[0])
            found["record"].append(self.take((len(points) - 1).bit_length(), "record"))
            held.setdefault(~self.take((leaves - 1).bit_length(), "leaf"), []).append(points[found["record"][-1]])
        cuts = {}
        for node in range(leaves - 2, -1, -1):
            left, right = (held[child] for child in children[node])
            held[node] = left + right
            k = found["dim"][node]
            low, high = rank_of(max(x[k] for x in left)), rank_of(min(x[k] for x in right))
            rank = low + self.take((high - low - 1).bit_length(), "cut" if high - low & high - low - 1 else "whole cut")
            rank ^= 1 << 31 if rank >> 31 else (1 << 32) - 1
            cuts[node] = struct.unpack("<f", struct.pack("<I", rank))[0]
        found["cut"] = [cuts[node] for node in range(leaves - 1)]
        return found


def rank_of(x):
    (bits,) = struct.unpack("<I", struct.pack("<f", x))
    return bits ^ (0xFFFFFFFF if bits >> 31 else 0x80000000)


def test_the_bits_of_a_forest_have_the_documented_format(forest):
    assert_as_noted(forest._forest)


@pytest.mark.parametrize("step", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [5, 40, 900])
def test_overlapping_windows_are_stored_once(step, n):
    """The result does not depend on `step`, by which consecutive windows move. A wrong step only gives more bytes."""
    x = np.random.default_rng(0).normal(size=(n + 2, 2)).cumsum(axis=0)
    forest = Forest(3, 64, 6, 0.02, [1])
    forest.update(np.lib.stride_tricks.sliding_window_view(x, 3, axis=0).transpose(0, 2, 1).reshape(n, 6), None, None)
    assert_as_noted(forest, step)
    if n == 900:
        assert (len(forest.to_bytes(step)) < 0.9 * len(forest.to_bytes())) == (step == 2)


def test_whole_numbers_take_few_bits():
    X = np.round(stream(2000, 4))
    whole, other = (
        RandomCutForest(4, 128, random_state=0).fit(table)._forest for table in (X, X + 0.1 * stream(2000, 4))
    )
    assert_as_noted(whole)
    assert len(whole.to_bytes()) < 0.8 * len(other.to_bytes())


def assert_as_noted(forest, step=0):
    data, state = forest.to_bytes(step), forest.state()
    bits = Bits(data)
    told = bits.forest()
    assert 0 <= 8 * len(data) - bits.at < 8
    assert told.keys() == state.keys()
    for name, value in state.items():
        found = np.array(told[name], dtype=np.asarray(value).dtype).reshape(np.shape(value))
        np.testing.assert_array_equal(found, value, err_msg=name)
    again = Forest.from_bytes(data)
    assert_same_state(again.state(), state)
    assert again.to_bytes(step) == data


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


# ---- what `_state` may hold according to its documentation ---------------------------------------------------------------


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
def test_every_array_is_restored(things, array):
    again = persist.unpack(Thing(array).to_bytes()).content
    assert again.dtype == array.dtype.newbyteorder("=")
    assert again.shape == array.shape
    assert again.tobytes() == np.ascontiguousarray(array).astype(again.dtype).tobytes()
    assert again.flags.writeable


def test_scalars_and_nested_objects_are_restored(things):
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


@pytest.mark.parametrize("data", [b"", b"\0bytes", bytes(100_000)])
def test_bytes_are_restored(things, data):
    assert bytes(Thing.from_bytes(Thing({"deep": [data, data]}).to_bytes()).content["deep"][1]) == data


@pytest.mark.parametrize(
    "content", [object(), {1: 2}, {"$array": 1}, {"$bytes": 1}, bytearray(b"bytes"), {"a": [np.array(["x"])]}, 1j]
)
def test_other_things_are_refused(things, content):
    with pytest.raises(TypeError, match="cannot be saved"):
        Thing(content).to_bytes()


# ---- files of earlier versions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(golden_models.FOLDER.glob("model_v*.json")), ids=lambda path: path.stem)
def test_files_of_every_version_load_and_go_on(path):
    golden = json.loads(path.read_text())
    model = golden_models.loaded(golden)
    assert type(model).__name__ == path.stem.split("_")[-1]
    found, expected = golden_models.answers(model, golden["following"]), golden["answers"]
    assert found.keys() == expected.keys()
    for name in found:
        assert repr(found[name]) == repr(expected[name]), (
            f"{name}: if the core is meant to learn differently now, `python tests/golden_models.py --answers` renews this"
        )


def test_every_class_has_a_file_of_this_version():
    names = {path.stem for path in golden_models.FOLDER.glob(f"model_v{persist.VERSION}_*.json")}
    assert names == {f"model_v{persist.VERSION}_{kind}" for kind in persist.KINDS}, (
        "python tests/golden_models.py writes them"
    )


# ---- files that are damaged or hostile --------------------------------------------------------------------------------------


def rewritten(data, change_header=None, change_state=None):
    """The file with a changed header or a changed JSON text of the state, and with a valid checksum."""
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
        (lambda h: h["__metadata__"].update(version="1"), "version '1' and was written by rcf"),
        (lambda h: h["__metadata__"].update(version="3"), "version '3' and was written by rcf"),
        (lambda h: h["__metadata__"].update(format="pt"), "safetensors file of something else"),
        (lambda h: h.pop("__metadata__"), "safetensors file of something else"),
        (lambda h: h["__metadata__"].update(kind="os.system"), "holds a 'os.system'"),
        (lambda h: h["__metadata__"].update(state="[" * 100_000), "state is damaged"),
        (lambda h: h["__metadata__"].update(state="[1]"), "state is not a JSON object"),
        (lambda h: h["__metadata__"].update(state='{"a":NaN}'), "NaN is not JSON"),
        (lambda h: h["__metadata__"].update(state='{"a":1,"a":2}'), "occurs twice"),
        (lambda h: h["__metadata__"].update(state="{}"), "is not used by the model"),
        (lambda h: h["forest"].update(dtype="F16"), "not described"),
        (lambda h: h["forest"].update(shape=[3]), "not at the position"),
        (lambda h: h["forest"].update(data_offsets=[0, 10**15]), "not at the position"),
        (lambda h: h.pop("crc32"), "cut off"),
    ],
)
def test_hostile_headers(change, message):
    with pytest.raises(ModelFileError, match=message):
        RandomCutForest.from_bytes(rewritten(fitted_on_table().to_bytes(), change_header=change))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([10**14, 8], "impossible shape|cannot hold|expected .* numbers of"),
        ([-1, 8], "impossible shape"),
        ([2.0], "impossible shape"),
        ([10**13], "cannot hold|expected .* numbers of"),
    ],
)
def test_hostile_shapes(things, shape, message):
    for array in (np.arange(3.0), np.zeros(100_000)):
        with pytest.raises(ModelFileError, match=message):
            Thing.from_bytes(
                rewritten(Thing(array).to_bytes(), change_state=lambda s: s["content"].update(shape=shape))
            )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("forest"), "is not used by the model"),
        (lambda s: s.update(forest={"$bytes": "else"}), "there are no such bytes"),
        (lambda s: s.update(forest={"$bytes": {}}), "there are no such bytes"),
        (lambda s: s["params"].update(forest={"$bytes": "forest"}), "there are no such bytes"),
        (lambda s: s["params"].update(n_estimators="many"), "n_estimators"),
        (lambda s: s["params"].update(surprise=1), "surprise"),
        (lambda s: s["fitted"].update(surprise=1), "fitted attributes"),
        (lambda s: s["fitted"].update(_forest=1), "fitted attributes"),
        (lambda s: s["fitted"].update(n_features_in_=9), "fitted attributes"),
        (lambda s: s["fitted"].update(max_samples_=10**9), "fitted attributes"),
        (lambda s: s["fitted"].update(_offset=[1]), "fitted attributes"),
        (lambda s: s.update(forest={"$kind": "RandomCutForest", "state": {}}), "is not used by the model|missing"),
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
        (put("record", 1, 10**6), "a record that does not exist"),
        (put("record", 1, -1), "a record that does not exist"),
        (lambda s: s["record"].__setitem__(1, s["record"][0]), "holds a record twice"),
        (put("key", 1, 1e9), "not a heap"),
        (put("key", 1, np.nan), "not finite"),
        (put("points", (3, 1), np.inf), "not finite"),
        (put("origin", 0, np.nan), "not finite"),
        (put("cut", 0, 1e30), "a leaf has no record|different records share a leaf"),
        (put("cut", 0, np.nan), "not finite"),
        (put("dim", 0, 4), "a feature that does not exist"),
        (put("dim", 0, -1), "a feature that does not exist"),
        (put("inner", 0, False), "a node has no parent"),
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


def bits_changed(data, at, width, value):
    """The bytes with `value` in place of the `width` bits from `at` on."""
    bits = int.from_bytes(data, "little")
    return (bits & ~(((1 << width) - 1) << at) | value << at).to_bytes(len(data), "little")


@pytest.mark.parametrize(
    ("at", "width", "value", "message"),
    [
        (0, 32, 0, "impossible sizes"),
        (0, 32, 2**32 - 1, "impossible sizes"),
        (0, 32, 2**31 - 2, "end too early"),
        (32, 32, 2**31, "impossible sizes"),
        (32, 32, 10, "warm-up|impossible counts|larger than its capacity"),
        (64, 32, 2**31 - 2, "end too early"),
        (96, 32, 2**32 - 1, "impossible step"),
        (128, 1, 1, "the origin is final"),
        (129, 64, 0x7FF8 << 48, "impossible step or time_decay"),
        (193, 6, 63, "impossible counts|more records than can be counted|end too early|not finite"),
    ],
)
def test_bits_that_are_not_a_forest(at, width, value, message):
    data = fitted_on_table()._forest.to_bytes()
    before = peak_memory()
    with pytest.raises(ModelStateError, match=message):
        Forest.from_bytes(bits_changed(data, at, width, value))
    assert peak_memory() - before < 100


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rng", [0] * 4, "random number generator is zero"),
        ("threshold", [0x7FF8 << 48], "threshold or budget"),
        ("budget", [0xBFF0 << 48], "threshold or budget"),
        ("dim", [3], "a feature that does not exist"),
        ("left", [63], "more leaves on one side"),
        ("least key", [2**64 - 1], "a key is not finite|not a heap"),
        ("key width", [65], "more than 64 bits"),
        ("key", [0], "not a heap"),
        ("record", [None, 0], "holds a record twice"),
        ("record", [2**9 - 1], "does not exist"),
        ("leaf", [None, 0], "different records share a leaf"),
        ("leaf", [63], "a record or a leaf that does not exist|different records"),
        ("cut", [-1], "does not lie between the boxes"),
    ],
)
def test_bits_that_are_not_a_tree(name, value, message):
    """`value` replaces the first fields of this name. None keeps a field, -1 sets all its bits, and a later 0 copies the field
    before.
    """
    data = RandomCutForest(20, 64, random_state=1).fit(stream(300, 3))._forest.to_bytes()
    bits = Bits(data)
    bits.forest()
    for k, new in enumerate(value):
        at, width = bits.where[name][k]
        if new is not None:
            before = bits.where[name][k - 1]
            if new == 0 and k > 0 and name != "rng":
                new = bits.bits >> before[0] & ((1 << before[1]) - 1)
            data = bits_changed(data, at, width, (1 << width) - 1 if new == -1 else new)
    with pytest.raises(ModelStateError, match=f"tree 0: .*({message})"):
        Forest.from_bytes(data)


def test_bits_cut_short_or_too_many():
    data = fitted_on_table()._forest.to_bytes()
    for n in [*range(0, 40), *range(40, len(data), 97), len(data) - 1]:
        with pytest.raises(ModelStateError):
            Forest.from_bytes(data[:n])
    with pytest.raises(ModelStateError, match="go on after the last tree"):
        Forest.from_bytes(data + b"\0")


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


def test_one_changed_bit_is_found():
    """A changed bit is found anywhere, even in a number for which any value is valid."""
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
    """Replace or remove a random value in the JSON text of the state."""

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
    Forest.from_bytes(forest.to_bytes())


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
    files = [forest.to_bytes() for forest in forests]
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
    assert loaded > n // 50, "nearly all damaged files are refused, so that their use is not tested"
    assert refused > n // 3
    assert peak_memory() - before < 300, "megabytes more than before"


def test_every_bit_of_a_forest_is_refused_or_harmless():
    """Some bits determine how the bits after them are read, so changing one bit may change a single number or everything."""
    data = RandomCutForest(2, 8, random_state=0).partial_fit(stream(40, 2))._forest.to_bytes()
    found = 0
    for at in range(8 * len(data)):
        try:
            forest = Forest.from_bytes(bits_changed(data, at, 1, 1 - (data[at // 8] >> at % 8 & 1)))
        except ModelStateError:
            continue
        use(forest)
        found += 1
    assert len(data) < found < 7 * len(data)


def test_mutations_are_refused_or_harmless():
    fuzz(2000, seed=0)


@pytest.mark.slow
def test_many_mutations_are_refused_or_harmless():
    fuzz(int(os.environ.get("RCF_MUTATIONS", 100_000)), seed=1)
