"""What the size of a detector costs and gains: ``python -m bench.sizes`` prints one table.

Memory and rates are those of many detectors that take turns, as in a KeyedDetector. Event AP and the AP of single records are means
over the labelled corpora, with one seed; every alarm on noise is false.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rcf import KeyedDetector, StreamDetector

from . import alarms, corpora, incidents
from .accuracy import data_folder
from .contenders import Verdict
from .detectors import series
from .memory import resident
from .report import number
from .speed import timed

# if shingle_size is above 1, half of the trees watch windows
SIZES: dict[str, dict[str, Any]] = {
    "10 x 128": {"n_estimators": 10, "max_samples": 128},
    "10 x 256, low_memory (KeyedDetector)": {"n_estimators": 10, "low_memory": True},
    "10 x 256": {"n_estimators": 10},
    "25 x 256": {"n_estimators": 25},
    "25 x 256, windows of 8": {"shingle_size": 8, "n_estimators": 25},
    "30 x 128, windows of 4, low_memory": {
        "shingle_size": 4,
        "n_estimators": 30,
        "max_samples": 128,
        "low_memory": True,
    },
    "30 x 128, windows of 4": {"shingle_size": 4, "n_estimators": 30, "max_samples": 128},
    "50 x 256, windows of 8 (StreamDetector)": {"shingle_size": 8, "n_estimators": 50},
}


def detector(size: str, seed: int = 0) -> StreamDetector:
    return StreamDetector(**({"shingle_size": 1} | SIZES[size]), random_state=seed)


def fill(size: str, keys: int, records: int = 400) -> tuple[float, float, float]:
    """KiB per key, and records per second of CPU time of `update`, and of `update_many` with 100 records of a key at a time."""
    values = series(records + 200)[:, 0]
    warm = KeyedDetector(detector(size))
    warm.update_many([0] * records, values[:records])
    before = resident()
    keyed = KeyedDetector(detector(size), max_keys=keys)
    for key in range(keys):
        keyed.update_many([key] * records, values[:records])
    memory = (resident() - before) / 1024 / keys
    single = values[records : records + 20].tolist()
    _, one = timed(lambda: [keyed.update(key, value) for value in single for key in range(keys)])
    many = values[records + 20 : records + 120]
    _, batch = timed(lambda: [keyed.update_many([key] * 100, many) for key in range(keys)])
    return memory, 20 * keys / one, 100 * keys / batch


def judged(size: str, folder: Path) -> dict[str, float]:
    """The means over the labelled corpora."""
    _, numenta = corpora.numenta(folder)
    found = []
    for streams in [numenta, *(streams for _, streams in corpora.labelled(folder))]:
        kept = [stream for stream in streams if stream.label[stream.first :].any()]
        verdicts = []
        for stream in kept:
            x = stream.values[:, 0] if stream.values.shape[1] == 1 else stream.values
            each = detector(size).update_many(x)
            verdicts.append(Verdict(each.likelihood, each.score, each.is_anomaly))
        found.append(alarms.by_events(kept, verdicts) | alarms.ranked(kept, verdicts))
    means: dict[str, float] = pd.DataFrame(found).mean().to_dict()
    return means


def false_alarms(size: str, n: int = 10_000) -> float:
    """Per 10 000 records, the mean over the kinds of noise."""
    came = [len(detector(size).update_many(incidents.noise(kind, 0, n)).anomalies) for kind in incidents.NOISES]
    return 1e4 * float(np.mean(came)) / n


def table(folder: Path | None, keys: int) -> pd.DataFrame:
    rows = []
    for size in SIZES:
        code = f"from bench.sizes import fill; print(*fill({size!r}, {keys}))"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        row: dict[str, object] = {
            "trees x samples": size,
            "KiB per key": float(out[0]),
            "update, records/s": float(out[1]),
            "update_many, records/s": float(out[2]),
        }
        if folder is not None:
            found = judged(size, folder)
            row |= {"event AP": found["event AP"], "AP of records": found["records' AP"]}
            row["false alarms in 10 000"] = false_alarms(size)
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of the data sets (RCF_DATA, ../shared/data); without it, no accuracy is measured",
    )
    parser.add_argument("--keys", type=int, default=300)
    given = parser.parse_args()
    folder = data_folder(given.data)
    print(table(folder, given.keys).map(number).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
