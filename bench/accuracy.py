"""Measures the accuracy of scores: the taxi protocol, labelled tables, and the Numenta Anomaly Benchmark."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from . import nab
from .alarms import nab_scores
from .peers import Peer, can

Peers = Mapping[str, type[Peer]]
Record = dict[str, Any]

# Events of the taxi series, first and last day. Those before SCORED_FROM serve to warm up.
EVENTS = [
    ("2014-07-04", "2014-07-06"),
    ("2014-09-01", "2014-09-01"),
    ("2014-09-06", "2014-09-06"),
    ("2014-11-02", "2014-11-02"),
    ("2014-11-27", "2014-11-27"),
    ("2014-12-25", "2014-12-25"),
    ("2015-01-01", "2015-01-01"),
    ("2015-01-26", "2015-01-27"),
]
SCORED_FROM = np.datetime64("2014-09-16")
TAXI_SHINGLE, TAXI_TREES = 48, 200
TAXI_SAMPLES = (256, 512, 1024)


def data_folder(given: Path | None) -> Path | None:
    """The given folder, or that of RCF_DATA, or ../shared/data beside the checkout; None if it does not exist."""
    if given is None:
        beside = Path(__file__).resolve().parents[2] / "shared" / "data"
        given = Path(os.environ["RCF_DATA"]) if "RCF_DATA" in os.environ else beside
    return given if given.is_dir() else None


def stream_scores(model: Peer, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each record's score before it is learned."""
    update = getattr(model, "update_batch", None) or model.update_one  # type: ignore[attr-defined]
    return np.asarray(update(model.prepare(X)))


def taxi(folder: Path, peers: Peers, seeds: int) -> Iterator[Record]:
    """The protocol of the paper's Table 1 on the NYC taxi series.

    A forest of 200 trees scores windows of 48 half-hours as a stream. The score of a window belongs to its last time stamp. Time
    stamps on the days of the events are anomalous. Isolation forests do not learn from streams, so they are fitted to all windows.
    """
    table = pd.read_csv(folder / "nab" / "data" / "realKnownCause" / "nyc_taxi.csv", parse_dates=["timestamp"])
    series = table["value"].to_numpy(dtype=np.float64)
    X = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(series, TAXI_SHINGLE))
    day = table["timestamp"].to_numpy()[TAXI_SHINGLE - 1 :].astype("datetime64[D]")
    truth = np.zeros(len(day), dtype=bool)
    for first, last in EVENTS:
        truth |= (day >= np.datetime64(first)) & (day <= np.datetime64(last))
    scored = day >= SCORED_FROM
    for seed in range(seeds):
        for name, peer in peers.items():
            for kind in peer.kinds:
                for samples in TAXI_SAMPLES:
                    model = peer(TAXI_TREES, samples, TAXI_SHINGLE, 0.1 / samples, seed + 1, kind)
                    scores = stream_scores(model, X) if can(peer, "one") else fitted_scores(model, X, seed)
                    yield {
                        "peer": name,
                        "score": kind,
                        "samples": samples,
                        "seed": seed,
                        "auc": roc_auc_score(truth[scored], scores[scored]),
                        "ap": average_precision_score(truth[scored], scores[scored]),
                    }


def fitted_scores(model: Peer, X: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Scores of the training rows. A forest without `fit` learns them in random order."""
    rows = model.prepare(X)
    if can(type(model), "fit"):
        model.fit(rows)  # type: ignore[attr-defined]
    else:
        order = np.random.default_rng(seed).permutation(len(X))
        model.learn(model.prepare(X[order]))  # type: ignore[attr-defined]
    return np.asarray(model.score(rows))  # type: ignore[attr-defined]


def adbench(folder: Path, peers: Peers, seeds: int) -> Iterator[Record]:
    """ROC-AUC and average precision on the labelled tables, with 100 trees of 256, fitted to the rows that are scored."""
    for path in sorted((folder / "adbench").glob("*.npz"), key=lambda p: int(p.name.split("_")[0])):
        with np.load(path) as file:
            X, y = file["X"].astype(np.float64), file["y"]
        for seed in range(seeds):
            for name, peer in peers.items():
                if not can(peer, "score"):
                    continue
                for kind in peer.kinds:
                    model = peer(100, min(256, len(X)), X.shape[1], 0.0, seed + 1, kind)
                    scores = fitted_scores(model, X, seed)
                    yield {
                        "set": path.stem.split("_", 1)[1],
                        "rows": len(X),
                        "features": X.shape[1],
                        "anomalies": float(y.mean()),
                        "peer": name,
                        "score": kind,
                        "seed": seed,
                        "auc": roc_auc_score(y, scores),
                        "ap": average_precision_score(y, scores),
                    }


def numenta(folder: Path, peers: Peers, seeds: int) -> Iterator[Record]:
    """NAB with the settings of its Kinesis detector: 100 trees of 256, a time decay of 1 in 100 000 records."""
    corpus = nab.load(folder / "nab")
    kinesis = {
        s.name: pd.read_csv(folder / "nab" / "kinesis_scores" / s.name)["anomaly_score"].to_numpy() for s in corpus
    }
    yield {"peer": "Kinesis", "score": "depth", "shingle": 1, "seed": 0, **nab_scores(kinesis, corpus)}
    for seed in range(seeds):
        for name, peer in peers.items():
            if not can(peer, "one"):
                continue
            for kind in peer.kinds:
                for shingle in (1, 8):
                    detections = {}
                    for series in corpus:
                        X = np.lib.stride_tricks.sliding_window_view(series.values, shingle)
                        model = peer(100, 256, shingle, 1e-5, seed + 1, kind)
                        scores = stream_scores(model, np.ascontiguousarray(X))
                        detections[series.name] = np.concatenate([np.zeros(shingle - 1), scores])
                    yield {
                        "peer": name,
                        "score": kind,
                        "shingle": shingle,
                        "seed": seed,
                        **nab_scores(detections, corpus),
                    }
