"""Compares the methods of a forest (without a detector) on windows of series. All other settings are equal."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from . import corpora
from .alarms import by_events, nab_scores, ranked
from .contenders import Verdict, scaled, windows
from .events import peaks
from .peers import Rcf

TREES, SAMPLES, SHINGLES = 100, 256, (8, 48)


def on_windows(folder: Path, seeds: int, tell: Callable[[str], None]) -> pd.DataFrame:
    """A row for each corpus with one feature, shingle, method and seed: how well the scores rank events and single records."""
    corpus, streams = corpora.numenta(folder)
    every = {"nab": streams, **dict(corpora.labelled(folder))}
    rows = []
    for name, series in every.items():
        if series[0].values.shape[1] > 1:
            continue
        for shingle in SHINGLES:
            tables = [windows(scaled(stream), shingle) for stream in series]
            for method in Rcf.kinds:
                for seed in range(seeds):
                    tell(f"{method} on {name}, shingle {shingle}, seed {seed}")
                    verdicts = []
                    for X in tables:
                        scores = Rcf(TREES, SAMPLES, shingle, 0.1 / SAMPLES, seed + 1, method).update_batch(X)
                        verdicts.append(Verdict(scores, scores))
                    row = {"corpus": name, "shingle": shingle, "method": method, "seed": seed}
                    if name == "nab":
                        found = {s.name: peaks(v.evidence) for s, v in zip(corpus, verdicts, strict=True)}
                        row["NAB"] = nab_scores(found, corpus)["standard"]
                    judged = [i for i, stream in enumerate(series) if stream.label[stream.first :].any()]
                    pair = [series[i] for i in judged], [verdicts[i] for i in judged]
                    rows.append(row | by_events(*pair) | ranked(*pair))
    return pd.DataFrame(rows)


def table(measured: pd.DataFrame) -> pd.DataFrame:
    """A row per corpus and shingle, a column per figure and method; means over the seeds."""
    figures = ["NAB", "event AP", "records' AP", "records' ROC-AUC"]
    long = measured.melt(["corpus", "shingle", "method"], figures, "figure").dropna()
    wide = long.groupby(["corpus", "shingle", "figure", "method"], sort=False)["value"].mean().unstack("method")
    wide = wide[[method for method in Rcf.kinds if method in wide]]
    wide["best"] = np.array(wide.columns)[wide.to_numpy().argmax(axis=1)]
    return wide.reset_index()
