"""Frozen models and their C runtime give the same bits as the core."""

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

import rcf
from rcf import KeyedDetector, ModelFileError, RandomCutForest, StreamDetector
from rcf.export import RUNTIME, FrozenForest, freeze, to_c
from rcf.shingle import shingle

# the warning is for trees of two records, whose threshold no score can pass
pytestmark = pytest.mark.filterwarnings("ignore:no score can lie beyond")
ATTRIBUTED = ("depth", "codisp", "displacement", "opensearch")
METHODS = (*ATTRIBUTED, "path")
SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
BUILDS = {"fast": ["-O3"], "small": ["-Os"], "sanitized": SANITIZED}
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wno-psabi", "-Werror", "-ffp-contract=off"]


@pytest.fixture(scope="session")
def drivers(tmp_path_factory):
    """drivers(build) -> the compiled driver.c."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    folder, made = tmp_path_factory.mktemp("drivers"), {}

    def driver(build):
        if build not in made:
            made[build] = folder / build
            sources = [Path(__file__).with_name("driver.c"), RUNTIME[0]]
            flags = [*STRICT, *BUILDS[build], "-I", RUNTIME[1].parent]
            subprocess.run([compiler, *flags, *sources, "-o", made[build]], check=True)
        return made[build]

    return driver


def run_c(driver, folder, data, X):
    (folder / "model").write_bytes(data)
    np.ascontiguousarray(X, dtype=np.float64).tofile(folder / "x")
    names = [folder / name for name in ("model", "x", "out")]
    done = subprocess.run([driver, "score", *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    out = np.fromfile(folder / "out")
    return out[: len(X)], out[len(X) :].reshape(*X.shape, 2)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("method", METHODS)
def test_c_has_the_bits_of_the_core(grown, method, build, drivers, tmp_path):
    for d in (1, 5, 9):
        forest, queries = grown(method, d)
        scores, parts = run_c(drivers(build), tmp_path, freeze(forest), queries)
        np.testing.assert_array_equal(scores, forest.anomaly_score(queries))
        if method in ATTRIBUTED:
            np.testing.assert_array_equal(parts, forest.attribution(queries))


@pytest.mark.parametrize("method", METHODS)
def test_python_has_the_bits_of_the_core(grown, method, tmp_path):
    for d in (1, 3):
        forest, queries = grown(method, d)
        (tmp_path / "model.frz").write_bytes(freeze(forest))
        frozen = rcf.load_frozen(tmp_path / "model.frz")
        assert (frozen.method, frozen.threshold, frozen.n_features_in_) == (method, -forest.offset_, d)
        np.testing.assert_array_equal(frozen.anomaly_score(queries), forest.anomaly_score(queries))
        if method in ATTRIBUTED:
            np.testing.assert_array_equal(frozen.attribution(queries), forest.attribution(queries))
        np.testing.assert_array_equal(frozen.predict(queries), forest.predict(queries))


@pytest.mark.parametrize(("trees", "samples", "d"), [(2, 700, 300), (1, 70_000, 2), (3, 256, 48)])
def test_wide_numbers(trees, samples, d, drivers, tmp_path):
    """Numbers take two bytes with more than 256 leaves or features, and four bytes with more than 65 536."""
    X = np.random.default_rng(0).normal(size=(int(samples * 1.2), d))
    forest = RandomCutForest(trees, samples, random_state=0).fit(X)
    data, queries = freeze(forest), np.concatenate([X[:40], X[:40] * 3])
    scores, parts = run_c(drivers("sanitized"), tmp_path, data, queries)
    np.testing.assert_array_equal(scores, forest.anomaly_score(queries))
    np.testing.assert_array_equal(parts, forest.attribution(queries))
    np.testing.assert_array_equal(FrozenForest.from_bytes(data).anomaly_score(queries), forest.anomaly_score(queries))


def test_the_same_forest_gives_the_same_file():
    X = np.random.default_rng(0).normal(size=(500, 3))
    files = {freeze(RandomCutForest(10, random_state=0, low_memory=low).fit(X)) for low in (False, True, False)}
    assert len(files) == 1


def test_invalid_numbers(drivers, tmp_path):
    forest = RandomCutForest(5, random_state=0).fit(np.random.default_rng(0).normal(size=(100, 2)))
    queries = np.array([[np.nan, 0], [0, np.inf], [-np.inf, 0], [0, 1.8e38], [0, 1.6e38]])
    scores, _ = run_c(drivers("sanitized"), tmp_path, freeze(forest), queries)
    np.testing.assert_array_equal(np.isnan(scores), [True, True, True, True, False])
    with pytest.raises(ValueError, match=r"NaN \(row 0, feature 0\)"):
        FrozenForest.from_bytes(freeze(forest)).anomaly_score(queries)


def test_nothing_of_a_c_library_but_memcpy(tmp_path):
    compiler, nm = shutil.which("gcc"), shutil.which("nm")
    if compiler is None or nm is None:
        pytest.skip("no gcc or nm")
    for level in ("-Os", "-O2", "-O3"):
        subprocess.run([compiler, *STRICT, level, "-c", RUNTIME[0], "-o", tmp_path / "runtime.o"], check=True)
        found = subprocess.run([nm, "-u", tmp_path / "runtime.o"], capture_output=True, text=True, check=True).stdout
        assert set(found.split()) <= {"U", "memcpy"}, level
        sections = subprocess.run([nm, tmp_path / "runtime.o"], capture_output=True, text=True, check=True).stdout
        assert not {line.split()[-2] for line in sections.splitlines()} & set("DdBb"), (
            "static variables, which threads would share"
        )


# ---- damage -------------------------------------------------------------------------------------------------------


def small_model(method="depth"):
    X = np.round(np.random.default_rng(0).normal(size=(200, 3)), 1)
    return freeze(RandomCutForest(3, 40, method=method, random_state=0).fit(X)), X


def signed(data):
    """The file with a size and a checksum that fit."""
    data = data[:16] + struct.pack("<Q", len(data)) + data[24:]
    return data[:8] + struct.pack("<I", zlib.crc32(data[12:])) + data[12:]


@pytest.mark.parametrize("method", ["depth", "codisp"])
@pytest.mark.parametrize("many", [1500, pytest.param(50_000, marks=pytest.mark.slow)])
def test_damaged_files_in_c(many, method, drivers, tmp_path):
    data, X = small_model(method)
    (tmp_path / "model").write_bytes(data)
    X.tofile(tmp_path / "x")
    command = [drivers("sanitized"), "damage", tmp_path / "model", tmp_path / "x", str(many)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused, accepted, _ = map(int, done.stdout.split())
    assert refused > many / 3
    assert accepted > many / 10, "the walks were not reached"


@pytest.mark.parametrize("many", [500, pytest.param(5000, marks=pytest.mark.slow)])
def test_damaged_files_in_python(many):
    data, X = small_model()
    rng, refused = np.random.default_rng(1), 0
    for _ in range(many):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            damaged[at] = rng.integers(0, 256)
        damaged = bytes(damaged[: len(data) if rng.random() < 0.9 else rng.integers(0, len(data))])
        if rng.random() < 0.7 and len(damaged) >= 56:
            damaged = signed(damaged)
        try:
            FrozenForest.from_bytes(damaged).anomaly_score(X)
        except (ModelFileError, ValueError):  # ValueError if the queries no longer fit the damaged model
            refused += 1
    assert refused > many / 3


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda data: b"", "not a frozen model"),
        (lambda data: b"PK" + data[2:], "not a frozen model"),
        (lambda data: data[:-8], "cut off"),
        (lambda data: data + bytes(8), "cut off or too long"),
        (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], "checksum"),
        # a number of leaves that would take 30 GB
        (lambda data: signed(data[:44] + b"\xff\xff\xff\xff" + data[48:]), "header"),
        (lambda data: signed(data[:12] + b"\x09" + data[13:]), "header"),
        (lambda data: signed(data[:-8]), "match its size"),
    ],
)
def test_errors_describe_the_damage(damage, text, drivers, tmp_path):
    data, _ = small_model()
    (tmp_path / "model").write_bytes(damage(data))
    (tmp_path / "x").write_bytes(bytes(24))
    with pytest.raises(ModelFileError, match=text) as error:
        rcf.load_frozen(tmp_path / "model")
    assert str(tmp_path / "model") in str(error.value)
    command = [drivers("sanitized"), "score", *(tmp_path / name for name in ("model", "x", "out"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert text in done.stdout or not data or len(damage(data)) < 56


def test_a_detector_is_refused_and_the_suggested_forest_works(drivers, tmp_path):
    for detector in (StreamDetector(), KeyedDetector()):
        with pytest.raises(TypeError, match=f"got {type(detector).__name__}.*rcf.shingle.shingle"):
            freeze(detector)
    series = np.sin(np.arange(600) / 5) + np.random.default_rng(0).normal(0, 0.1, 600)
    windows = shingle(series, 8)
    forest = RandomCutForest(20, 64, random_state=0).fit(windows[:400])
    scores, _ = run_c(drivers("fast"), tmp_path, freeze(forest), windows[400:])
    np.testing.assert_array_equal(scores, forest.anomaly_score(windows[400:]))


def test_refusals():
    forest = RandomCutForest(3, random_state=0).partial_fit([[1.0, 2.0]])
    forest.forget([1.0, 2.0])
    with pytest.raises(ValueError, match="holds no records"):
        freeze(forest)


def test_the_sources_and_the_model_in_a_folder(tmp_path):
    """A separate program contains the model as a C array."""
    forest = RandomCutForest(5, 32, random_state=0).fit(np.random.default_rng(0).normal(size=(100, 2)))
    files = to_c(forest, tmp_path / "new" / "folder")
    names = {file.name for file in files}
    assert names == {"rcf_frozen.c", "rcf_frozen.h", "rcf_frozen.mjs", "model.frz", "model.c"}
    assert (tmp_path / "new/folder/model.frz").read_bytes() == freeze(forest)
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "main.c").write_text("""
#include <stdio.h>
#include "rcf_frozen.h"
extern const uint64_t rcf_model_data[];
int main(void) {
    rcf_model model;
    double x[2] = {3.0, -1.0};
    static double work[4096];
    if (rcf_open(&model, rcf_model_data, SIZE) != NULL || model.work > sizeof work) return 1;
    printf("%.17g %d\\n", rcf_score(&model, x, work), rcf_score(&model, x, work) > model.threshold);
    return 0;
}
""")
    sources = [tmp_path / "main.c", *(file for file in files if file.suffix == ".c")]
    flags = [f"-DSIZE={len(freeze(forest))}", "-I", tmp_path / "new/folder", "-O1", "-std=c99"]
    subprocess.run([compiler, *flags, "-Wno-psabi", *sources, "-o", tmp_path / "main"], check=True)
    found = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.split()
    assert float(found[0]) == forest.anomaly_score([[3.0, -1.0]])[0]
    assert int(found[1]) == (forest.predict([[3.0, -1.0]])[0] == -1)
