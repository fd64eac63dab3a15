"""Measures model files: their bytes, and the milliseconds to write and to read them, beside what krcf writes of the same stream."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

import rcf

from .cases import Setting
from .peers import PEERS
from .speed import timed, warmed

# The model: one channel in shingles of 8, 50 trees of 256 samples. Names are permanent.
SETTING = Setting("1x8", trees=50)
CASES = ("to_bytes", "from_bytes", "save", "load")
MARKS = {"kB": 350, "ms": 5}


def ours(folder: Path) -> dict[str, Callable[[], Any]]:
    """The operations of CASES on a forest that has learned the stream."""
    forest = warmed(SETTING, PEERS["rcf"]).forest  # type: ignore[attr-defined]
    data, path = forest.to_bytes(), folder / "forest.rcf"
    forest.save(path)
    return {
        "to_bytes": forest.to_bytes,
        "from_bytes": lambda: rcf.RandomCutForest.from_bytes(data),
        "save": lambda: forest.save(path),
        "load": lambda: rcf.load(path),
    }


def of_krcf() -> dict[str, tuple[int, Callable[[], Any], Callable[[], Any]]]:
    """Per format: bytes, how to write, how to read."""
    from krcf import RandomCutForest

    forest = warmed(SETTING, PEERS["krcf"]).forest  # type: ignore[attr-defined]
    text, packed = forest.to_json(), forest.to_msgpack()
    return {
        "krcf, JSON": (len(text.encode()), forest.to_json, lambda: RandomCutForest.from_json(text)),
        "krcf, msgpack": (len(packed), forest.to_msgpack, lambda: RandomCutForest.from_msgpack(packed)),
    }


def measure(rounds: int) -> Iterator[dict[str, Any]]:
    """Each operation in turn, again and again, in milliseconds; `save` waits for the disk, so wall time is kept too."""
    with tempfile.TemporaryDirectory() as folder:
        mine = ours(Path(folder))
        size = len(mine["to_bytes"]())
        work = {("rcf", case): (size, run) for case, run in mine.items()}
        if PEERS["krcf"].version() is not None:
            for name, (size, write, read) in of_krcf().items():
                work |= {(name, "to_bytes"): (size, write), (name, "from_bytes"): (size, read)}
        for number in range(rounds):
            for (name, case), (size, run) in work.items():
                wall, cpu = timed(run)
                yield {"file": name, "case": case, "round": number, "bytes": size, "wall": 1e3 * wall, "cpu": 1e3 * cpu}


def table(measured: pd.DataFrame) -> pd.DataFrame:
    """A row per format: kB, medians of CPU time, and for files on the disk of wall time."""
    cpu = measured.groupby(["file", "case"], sort=False)["cpu"].median().unstack()
    wall = measured.groupby(["file", "case"], sort=False)["wall"].median().unstack()
    out = pd.DataFrame({"kB": measured.groupby("file", sort=False)["bytes"].first() / 1e3})
    for case in CASES:
        out[f"{case}, ms"] = cpu[case]
    out["save, wall ms"], out["load, wall ms"] = wall["save"], wall["load"]
    return out.reset_index()
