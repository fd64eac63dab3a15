"""Compares the scores with published figures (anchors.toml) of AWS's services and its Java library on the same data."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rcf import RandomCutForest


def sagemaker_taxi(folder: Path, seed: int) -> dict[str, float]:
    table = pd.read_csv(folder / "nab" / "data" / "realKnownCause" / "nyc_taxi.csv")
    X = table["value"].to_numpy(dtype=np.float64).reshape(-1, 1)
    forest = RandomCutForest(50, "disjoint", random_state=seed)
    forest.fit(X)  # the rows are in order, so that each tree holds about four days
    scores = forest.anomaly_score(X)
    cutoff = scores.mean() + 3.0 * scores.std()
    return {
        "mean": scores.mean(),
        "sd": scores.std(),
        "mean + 3 sd": cutoff,
        "maximum": scores.max(),
        "rows above": float((scores > cutoff).sum()),
    }


def two_blobs(seed: int) -> dict[str, float]:
    rng = np.random.default_rng(7)
    X = rng.normal(0, 0.1, (1000, 20))
    X[:, 0] += np.where(rng.random(1000) < 0.5, 5, -5)
    forest = RandomCutForest(50, 256, method="opensearch", time_decay=1 / 2560, random_state=seed).partial_fit(X)
    return at_points(forest, {"at 0": np.zeros(20), "at +5 e0": np.eye(20)[0] * 5})


def normal(seed: int) -> dict[str, float]:
    X = np.random.default_rng(11).normal(size=(10_000, 3))
    forest = RandomCutForest(100, 256, method="opensearch", time_decay=0.0, random_state=seed).partial_fit(X)
    points = [(0, 0, 0), (1, 1, 1), (3, 0, 0), (6, 0, 0), (8, 8, 8)]
    found = at_points(forest, {str(p): np.array(p, dtype=np.float64) for p in points})
    return {**found, "mean": float(forest.anomaly_score(X).mean())}


def cosine(seed: int) -> dict[str, float]:
    rng = np.random.default_rng(13)
    series = 100 * np.cos(2 * np.pi * np.arange(5000) / 60) + rng.normal(0, 5, 5000)
    X = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(series, 8))
    forest = RandomCutForest(50, 256, method="opensearch", time_decay=1 / 2560, random_state=seed)
    return {"mean after 1000": float(forest.update_many(X)[1000 - 7 :].mean())}


def at_points(forest: RandomCutForest, points: dict[str, np.ndarray[Any, np.dtype[np.float64]]]) -> dict[str, float]:
    X = np.array(list(points.values()))
    scores, displacements = forest.anomaly_score(X), forest.anomaly_score(X, "displacement")
    found = dict(zip(points, map(float, scores), strict=True))
    return found | {f"{name}, displacement": float(v) for name, v in zip(points, displacements, strict=True)}


def compare(anchors: list[dict[str, Any]], folder: Path, seeds: int) -> pd.DataFrame:
    """Each published figure beside that of rcf, with mean and standard deviation over the seeds."""
    makers = {"taxi": lambda seed: sagemaker_taxi(folder, seed), "two blobs": two_blobs}
    makers |= {"normal": normal, "cosine": cosine}
    rows = []
    for anchor in anchors:
        ours = pd.DataFrame([makers[anchor["data"]](seed) for seed in range(seeds)])
        for name, (mean, *spread) in anchor["figures"].items():
            deviation = float(ours[name].std()) if seeds > 1 else float("nan")
            theirs = spread[0] if spread else float("nan")
            rows.append((anchor["source"], name, float(mean), theirs, float(ours[name].mean()), deviation))
    return pd.DataFrame(rows, columns=["source", "figure", "theirs", "sd of theirs", "ours", "sd of ours"])
