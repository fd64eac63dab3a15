"""Evaluates the alarms of the default stream detector and its peers on labelled streams, on noise, and on incidents.

Every figure is one value of a table with the columns `part`, `case`, `figure`, `who` and `seed`. ``before.csv`` holds the
figures of the previous detector, for the column "before".
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from . import corpora, incidents, nab
from .contenders import OURS, Verdict, present
from .corpora import Stream
from .events import findings, peaks

Record = dict[str, Any]
Floats = NDArray[np.float64]
KEYS = ["part", "case", "figure"]
BEFORE = Path(__file__).parent / "before.csv"
PEER_SEEDS = 1  # the peers are only for comparison


# ---- labelled streams


def ranked(streams: list[Stream], verdicts: list[Verdict]) -> dict[str, float]:
    """How well the score ranks single records: the means of average precision and ROC-AUC over the series."""
    found = []
    for stream, verdict in zip(streams, verdicts, strict=True):
        label, score = stream.label[stream.first :], verdict.score[stream.first :]
        if label.any() and not label.all():
            found.append((average_precision_score(label, score), roc_auc_score(label, score)))
    ap, auc = np.mean(found, axis=0)
    return {"records' AP": float(ap), "records' ROC-AUC": float(auc)}


def by_events(streams: list[Stream], verdicts: list[Verdict]) -> dict[str, float]:
    """Event AP and best F1 of the evidence, and F1, precision, recall and rate of the alarms (else of the best threshold)."""
    pairs = list(zip(streams, verdicts, strict=True))
    figures = findings((s.label, peaks(v.evidence), s.first) for s, v in pairs).over_thresholds()
    own = [(s.label, v.alarms.astype(np.float64), s.first) for s, v in pairs if v.alarms is not None]
    return figures | (findings(own).at(1.0) if own else {})


def by_windows(corpus: list[nab.Series], verdicts: list[Verdict]) -> Iterator[tuple[str, str, float]]:
    """(case, figure, value) by the rules of the Numenta benchmark: three profiles, and the parts of the standard score."""
    detections = {series.name: peaks(verdict.evidence) for series, verdict in zip(corpus, verdicts, strict=True)}
    for name, value in nab_scores(detections, corpus).items():
        yield "all", name, value
    for name, value in nab.breakdown(detections, corpus, nab.PROFILES["standard"]).items():
        yield ("all", name, value) if name in ("leave one out", "oracle") else (name, "standard", value)
    if all(verdict.alarms is not None for verdict in verdicts):
        own = {s.name: np.asarray(v.alarms, dtype=np.float64) for s, v in zip(corpus, verdicts, strict=True)}
        yield "all", "standard, by its own alarms", nab_scores(own, corpus)["standard"]
        yield "all", "series refused with their time stamps", float(sum(verdict.refused for verdict in verdicts))


def on_streams(
    folder: Path, seeds: int, rivals: list[str] | None, tell: Callable[[str], None]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The figures on every corpus, and a row with the alarms of rcf for each seed and series of NAB (see :func:`counts`).

    rcf always takes part; `rivals` are the other detectors, all if None.
    """
    corpus, streams = corpora.numenta(folder)
    every = {"nab": streams, **dict(corpora.labelled(folder))}
    rows: list[tuple[str, str, str, str, int, float]] = []
    listed: list[Record] = []
    for who, run in present().items():
        if who != OURS and rivals is not None and who not in rivals:
            continue
        for seed in range(seeds if who == OURS else PEER_SEEDS):
            for name, series in every.items():
                tell(f"{who} on {name}, seed {seed}")
                verdicts = [run(stream, seed) for stream in series]
                if name == "nab":
                    rows += [("NAB", case, fig, who, seed, value) for case, fig, value in by_windows(corpus, verdicts)]
                    if who == OURS:
                        listed += [{"seed": seed, **row} for row in by_series(corpus, verdicts)]
                    # figures by events, as on the other corpora, for the series that have events
                    kept = [i for i, stream in enumerate(series) if stream.label[stream.first :].any()]
                    series, verdicts = [series[i] for i in kept], [verdicts[i] for i in kept]
                found = by_events(series, verdicts) | ranked(series, verdicts)
                rows += [("streams", name, fig, who, seed, value) for fig, value in found.items()]
    return pd.DataFrame(rows, columns=[*KEYS, "who", "seed", "value"]), pd.DataFrame(listed)


def by_series(corpus: list[nab.Series], verdicts: list[Verdict]) -> Iterator[Record]:
    """The alarms of each series of NAB, counted after the benchmark's probation, and over `all` records as OpenSearch does."""
    for series, verdict in zip(corpus, verdicts, strict=True):
        assert verdict.alarms is not None
        alarms = np.flatnonzero(verdict.alarms)
        n = len(series.values)
        yield {
            "series": series.name,
            "records": n,
            "windows": len(series.windows),
            **counts(alarms[alarms >= nab.probation(n)], series.windows),
            **{f"{name}, all": value for name, value in counts(alarms, series.windows).items()},
        }


def nab_scores(detections: Mapping[str, Floats], corpus: list[nab.Series]) -> dict[str, float]:
    return {name: nab.score(detections, corpus, profile)[0] for name, profile in nab.PROFILES.items()}


def counts(alarms: NDArray[np.intp], windows: tuple[tuple[int, int], ...]) -> dict[str, int]:
    """The number of `alarms`, the number of `right` ones (inside a window), and the number of windows `found`."""
    left, right = np.array(windows, dtype=np.intp).reshape(-1, 2, 1).transpose(1, 0, 2)
    hits = (left <= alarms) & (alarms <= right)
    return {"alarms": len(alarms), "right": int(hits.any(axis=0).sum()), "found": int(hits.any(axis=1).sum())}


def rates(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with recall, precision by alarms, and precision by events (the right alarms of a window count once), in %.

    A share is left empty if its denominator is 0.
    """
    false = frame["alarms"] - frame["right"]
    return frame.assign(
        **{
            "precision %": 100 * frame["right"] / frame["alarms"].where(frame["alarms"] > 0),
            "by events %": 100 * frame["found"] / (frame["found"] + false).where(frame["alarms"] > 0),
            "recall %": 100 * frame["found"] / frame["windows"].where(frame["windows"] > 0),
        }
    )


# ---- noise and incidents, only of this package


def on_incidents(runs: int, hosts: int, tell: Callable[[str], None]) -> pd.DataFrame:
    """The figures on noise and on synthetic incidents: shares of the hosts, alarms per 10 000 records, alarms per host."""
    parts: list[tuple[str, Iterator[Record], list[str]]] = [
        ("noise", incidents.on_noise(runs), ["alarms"]),
        ("outliers", incidents.outliers(hosts), ["found"]),
        ("first day", incidents.early(hosts), ["found"]),
        ("incidents", incidents.incidents(hosts), ["found", "delay"]),
        ("clean hosts", incidents.clean(hosts), ["alarms"]),
        ("spikes", incidents.spikes(hosts), ["found"]),
        ("demo", incidents.demo(hosts), ["found of 5", "false alarms"]),
    ]
    rows = []
    for part, found, figures in parts:
        tell(part)
        for row in found:
            case = row["noise"] if part == "noise" else row.get("case", "five incidents")
            if part != "noise" and "noise" in row:
                case = f"{case}, noise {row['noise']}"
            rows += [(part, case, figure, OURS, row["seed"], float(row[figure])) for figure in figures]
    return pd.DataFrame(rows, columns=[*KEYS, "who", "seed", "value"])


# ---- tables


def summary(figures: pd.DataFrame) -> pd.DataFrame:
    """A row for each figure: the previous detector, rcf (mean and standard deviation over the seeds), and the other detectors."""
    groups = figures.groupby([*KEYS, "who"], sort=False)["value"]
    table = groups.mean().unstack("who")
    table = table[[who for who in figures["who"].unique() if who in table]]
    order = pd.MultiIndex.from_frame(figures[KEYS].drop_duplicates())
    table = table.reindex(order)
    spread = groups.std().unstack("who")[OURS].reindex(order)
    # a share needs no standard deviation
    table.insert(1, "sd", spread.where(order.get_level_values("figure") != "found"))
    table.insert(0, "before", before().reindex(order))
    return table.reset_index()


def before() -> pd.Series:
    """The figures of the previous detector by part, case and figure; empty if the file does not exist."""
    if not BEFORE.exists():
        return pd.Series(dtype=np.float64, index=pd.MultiIndex.from_arrays([[], [], []], names=KEYS))
    return pd.read_csv(BEFORE, comment="#").set_index(KEYS)["value"]
