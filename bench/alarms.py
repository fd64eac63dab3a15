"""Measures the alarms of the stream detector as it comes: on labelled series, and on noise, where each is false."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import lfilter

from rcf import StreamDetector

from . import nab

Record = dict[str, Any]
Floats = NDArray[np.float64]
NOISES = ("white", "AR(1), 0.9", "Student t, 3", "exponential", "sine of 50 + white")


def labelled(folder: Path, seeds: int) -> pd.DataFrame:
    """One row a seed and series of NAB: its alarms; and the detector's NAB scores with all series.

    Columns: `alarms` after the benchmark's probation, how many of them are `right` (inside a labelled window), the
    windows `found` by one; and the same over `all` records, as OpenSearch counts. Rows without a series have the scores:
    of the likelihood, with the threshold that the benchmark chooses, and of the alarms themselves.
    """
    corpus = nab.load(folder / "nab")
    rows: list[Record] = []
    for seed in range(seeds):
        found = {s.name: StreamDetector(random_state=seed).update_many(s.values) for s in corpus}
        for what, values in (("likelihood", "likelihood"), ("alarms", "is_anomaly")):
            detections = {name: np.asarray(getattr(result, values), dtype=np.float64) for name, result in found.items()}
            rows.append({"seed": seed, "what": what, **nab_scores(detections, corpus)})
        for s in corpus:
            called = found[s.name].anomalies
            n = len(s.values)
            rows.append(
                {
                    "seed": seed,
                    "series": s.name,
                    "records": n,
                    "windows": len(s.windows),
                    **counts(called[called >= nab.probation(n)], s.windows),
                    **{f"{name}, all": value for name, value in counts(called, s.windows).items()},
                }
            )
    return pd.DataFrame(rows)


def nab_scores(detections: Mapping[str, Floats], corpus: list[nab.Series]) -> dict[str, float]:
    return {name: nab.score(detections, corpus, profile)[0] for name, profile in nab.PROFILES.items()}


def counts(called: NDArray[np.intp], windows: tuple[tuple[int, int], ...]) -> dict[str, int]:
    left, right = np.array(windows, dtype=np.intp).reshape(-1, 2, 1).transpose(1, 0, 2)
    hits = (left <= called) & (called <= right)
    return {"alarms": len(called), "right": int(hits.any(axis=0).sum()), "found": int(hits.any(axis=1).sum())}


def rates(frame: pd.DataFrame) -> pd.DataFrame:
    """With precision by alarms, by events (the right ones of a window count once), and recall, in %; none of none is left empty."""
    false = frame["alarms"] - frame["right"]
    return frame.assign(
        **{
            "precision %": 100 * frame["right"] / frame["alarms"].where(frame["alarms"] > 0),
            "by events %": 100 * frame["found"] / (frame["found"] + false).where(frame["alarms"] > 0),
            "recall %": 100 * frame["found"] / frame["windows"].where(frame["windows"] > 0),
        }
    )


def noise(kind: str, seed: int, n: int) -> Floats:
    """Stationary series in which there is nothing to find."""
    rng = np.random.default_rng([seed, NOISES.index(kind)])
    if kind == "white":
        return rng.normal(size=n)
    if kind == "AR(1), 0.9":
        return np.asarray(lfilter([1.0], [1.0, -0.9], rng.normal(size=n)))
    if kind == "Student t, 3":
        return rng.standard_t(3, size=n)
    if kind == "exponential":
        return rng.exponential(size=n)
    return 10.0 * np.sin(2 * np.pi * (np.arange(n) + 50 * rng.random()) / 50) + rng.normal(size=n)


def on_noise(runs: int, n: int = 10_000) -> Iterator[Record]:
    """Alarms in `n` records of each kind of noise."""
    for kind in NOISES:
        for seed in range(runs):
            called = StreamDetector(random_state=seed).update_many(noise(kind, seed, n)).anomalies
            yield {"noise": kind, "seed": seed, "records": n, "alarms": len(called)}
