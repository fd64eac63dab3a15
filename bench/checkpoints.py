"""Checkpoints of a worker with many keys: ``python -m bench.checkpoints`` prints a table.

Keys come with the shares of Zipf's law. After each batch the worker saves a whole checkpoint, or an increment with the keys that
have changed. The table shows bytes and CPU time of both, and the mean of all checkpoints after the first, whole ones included.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rcf import KeyedDetector
from rcf.streams import Checkpoint
from rcf.streams.files import FileStore

from .cases import waves
from .report import number
from .speed import timed

FULL = 400  # records of each key at the start


def filled(keys: int) -> bytes:
    values, keyed = waves(FULL, 1, 1)[:, 0].tolist(), KeyedDetector(max_keys=keys)
    for key in range(keys):
        keyed.update_many([key] * FULL, values, [60.0 * i for i in range(FULL)])
    return keyed.to_bytes()


def checkpoints(data: bytes, batch: int, exponent: float, rounds: int) -> dict[str, Any]:
    keyed, rng = KeyedDetector.from_bytes(data), np.random.default_rng(0)
    names = rng.permutation(len(keyed)).tolist()
    shares = 1 / np.arange(1, len(names) + 1) ** exponent
    learning, whole, parts, changed = 0.0, [], [], []
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(Path(folder) / "state.rcf")
        for i in range(rounds + 1):
            keys = [names[j] for j in rng.choice(len(names), batch, p=shares / shares.sum())]
            records, times = rng.normal(size=batch).tolist(), [60.0 * (FULL + i)] * batch
            learning += timed(lambda: keyed.update_many(keys, records, times))[1]  # noqa: B023
            changed.append(len(set(keys)))
            before = {path: path.stat().st_mtime_ns for path in Path(folder).iterdir()}
            seconds = timed(lambda: store.save(Checkpoint("", i, keyed)))[1]  # noqa: B023
            (path,) = (path for path in Path(folder).iterdir() if before.get(path) != path.stat().st_mtime_ns)
            (whole if path.suffix == ".rcf" else parts).append((seconds, path.stat().st_size))
        found: list[Any] = []
        restore = timed(lambda: found.append(FileStore(store.path).peek("")))[1]
        if found[0].model.to_bytes() != keyed.to_bytes():
            raise RuntimeError("the restored detectors differ")
    both = np.array([*whole[1:], *parts])
    return {
        "batch": batch, "exponent": exponent, "keys that change": np.mean(changed), "learning, s": learning / (rounds + 1),
        "whole, s": np.mean(whole, axis=0)[0], "whole, MB": whole[0][1] / 1e6,
        "increment, s": np.mean(parts, axis=0)[0] if parts else np.nan,
        "increment, MB": np.mean(parts, axis=0)[1] / 1e6 if parts else np.nan,
        "mean, s": both.mean(axis=0)[0], "mean, MB": both.mean(axis=0)[1] / 1e6, "restore, s": restore,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=24)
    asked = parser.parse_args()
    data = filled(asked.keys)
    cases = [(1000, 1.0), (1000, 1.5), (10_000, 1.0), (10_000, 1.5)]
    table = pd.DataFrame([checkpoints(data, *case, asked.rounds) for case in cases])
    print(table.map(number).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
