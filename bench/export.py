"""Compares exported forests with the core: rows per second of CPU time, file size, and the largest difference of scores."""

import ctypes
import importlib.util
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rcf import RandomCutForest
from rcf.export import RUNTIME, FrozenForest, freeze, to_onnx

from .speed import timed

# 100 trees of 256 records; every second query is an outlier. The targets are rows per second in C, and WebAssembly's share of that.
MARKS = {8: 60_000, 48: 12_000, "wasm": 0.7, "runtime, bytes": 8192, "bytes": 1.0}
ROWS = 2000
LOOP = """
#include "rcf_frozen.h"
void rcf_rows(const rcf_model *m, const double *x, size_t n, void *work, double *out) {
    for (size_t r = 0; r < n; r++) out[r] = rcf_score(m, x + r * m->features, work);
}
"""
NODE = """
import { FrozenForest } from "./rcf_frozen.mjs"
import fs from "node:fs"
const forest = new FrozenForest(await WebAssembly.compile(fs.readFileSync("rcf_frozen.wasm")), fs.readFileSync("model.frz"))
const raw = fs.readFileSync("x"), x = new Float64Array(raw.buffer, raw.byteOffset, raw.length / 8), d = forest.features
const rows = Array.from({ length: x.length / d }, (_, r) => x.subarray(r * d, (r + 1) * d)), out = new Float64Array(rows.length)
let best = Infinity
for (let round = 0; round < ROUNDS; round++) {
  const begin = process.cpuUsage().user
  for (let r = 0; r < rows.length; r++) out[r] = forest.score(rows[r])
  best = Math.min(best, (process.cpuUsage().user - begin) / 1e6)
}
fs.writeFileSync("out", new Uint8Array(out.buffer))
console.log(JSON.stringify(best))
"""
Found = tuple[float, np.ndarray]


def best_of(rounds: int, run: Callable[[], np.ndarray]) -> Found:
    """The shortest CPU time, and the scores."""
    scores = run()
    return min(timed(run)[1] for _ in range(rounds)), scores


def in_c(folder: Path, data: bytes, X: np.ndarray, rounds: int, boxes: bool) -> Found:
    (folder / "loop.c").write_text(LOOP)
    flags = ["-std=c99", "-O3", "-ffp-contract=off", "-Wno-psabi", "-shared", "-fPIC", "-I", RUNTIME[1].parent]
    subprocess.run(["cc", *flags, RUNTIME[0], folder / "loop.c", "-o", folder / "runtime.so"], check=True)
    library = ctypes.CDLL(str(folder / "runtime.so"))
    library.rcf_open.restype = ctypes.c_char_p
    model, file = (ctypes.c_uint64 * 64)(), (ctypes.c_uint64 * (len(data) // 8)).from_buffer_copy(data)
    wrong = library.rcf_open(model, file, ctypes.c_size_t(len(data)))
    if wrong is not None:
        raise RuntimeError(wrong.decode())
    memory = np.empty(model[4] // 8)  # model.memory bytes
    if boxes:
        library.rcf_keep_boxes(model, memory.ctypes.data_as(ctypes.c_void_p))
    work, out = (ctypes.c_uint64 * 8192)(), np.empty(len(X))
    x = np.ascontiguousarray(X)

    def run() -> np.ndarray:
        library.rcf_rows(
            model, x.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(len(x)), work, out.ctypes.data_as(ctypes.c_void_p)
        )
        return out

    return best_of(rounds, run)


def in_wasm(folder: Path, data: bytes, X: np.ndarray, rounds: int) -> Found:
    for path in RUNTIME:
        shutil.copy(path, folder)
    command = re.search(r"clang [^\\]*\\\n[^\\]*\\\n[^\n]*", RUNTIME[2].read_text(encoding="utf-8"))
    assert command is not None
    subprocess.run(["bash", "-c", command[0].replace("\n *", "\n")], cwd=folder, check=True)
    (folder / "model.frz").write_bytes(data)
    np.ascontiguousarray(X).tofile(folder / "x")
    (folder / "run.mjs").write_text(NODE.replace("ROUNDS", str(rounds)), encoding="utf-8")
    done = subprocess.run(["node", "run.mjs"], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), np.fromfile(folder / "out")


def in_onnx(model: Any, X: np.ndarray, rounds: int) -> Found:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run() -> np.ndarray:
        return np.concatenate([session.run(["anomaly_score"], {"X": X[r : r + 100]})[0] for r in range(0, len(X), 100)])

    return best_of(rounds, run)


def runtime_bytes(level: str = "-Os") -> int:
    """The size of the runtime's code and constants, compiled by gcc for this machine."""
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder, "runtime.o")
        flags = ["-std=c99", level, "-ffp-contract=off", "-Wno-psabi", "-fno-asynchronous-unwind-tables"]
        subprocess.run(["cc", *flags, "-c", RUNTIME[0], "-o", at], check=True)
        sizes = subprocess.run(["size", at], capture_output=True, text=True, check=True).stdout.splitlines()[1].split()
    return int(sizes[0]) + int(sizes[1])


def forms_of(forest: RandomCutForest, X: np.ndarray, rounds: int) -> Iterator[tuple[str, int, Callable[[Path], Found]]]:
    """An exported format: its name, its size, and a function that runs it in a folder."""
    data = freeze(forest)
    yield "core", len(forest.to_bytes()), lambda _: best_of(rounds, lambda: forest.anomaly_score(X))
    frozen = FrozenForest(data)
    yield "load_frozen", len(data), lambda _: best_of(rounds, lambda: frozen.anomaly_score(X))
    if shutil.which("cc"):
        yield "C, gcc -O3", len(data), lambda folder: in_c(folder, data, X, rounds, True)
        yield "C, no boxes kept", len(data), lambda folder: in_c(folder, data, X, max(1, rounds // 5), False)
    if shutil.which("clang") and shutil.which("wasm-ld") and shutil.which("node"):
        yield "WebAssembly, node", len(data), lambda folder: in_wasm(folder, data, X, rounds)
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        for dtype in ("float64", "float32"):
            model = to_onnx(forest, dtype)  # type: ignore[arg-type]
            yield f"ONNX, {dtype}", model.ByteSize(), lambda _, model=model: in_onnx(model, X, max(1, rounds // 5))  # type: ignore[misc]


def measure(rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each forest and format: rows per second, the ratio to the core, and the size relative to the model file."""
    rng = np.random.default_rng(0)
    for d in (8, 48):
        X = rng.normal(size=(100_000, d))
        queries = rng.normal(size=(ROWS, d))
        queries[::2] *= 4
        for kind, forest in (
            ("table", RandomCutForest(random_state=0).fit(X)),
            ("stream", RandomCutForest(random_state=0).partial_fit(X[:20_000])),
        ):
            core, saved, scores = 0.0, 0, np.empty(0)
            for form, size, run in forms_of(forest, queries, rounds):
                with tempfile.TemporaryDirectory() as folder:
                    seconds, found = run(Path(folder))
                if form == "core":
                    core, saved, scores = seconds, size, found
                yield {
                    "features": d, "forest": kind, "form": form, "rows/s": ROWS / seconds, "of the core's": core / seconds,
                    "bytes": size, "of the saved": size / saved, "largest difference": float(np.abs(found - scores).max()),
                }  # fmt: skip
