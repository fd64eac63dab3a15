"""Writes the results as a Markdown report with plots, and prints each table as soon as it is complete."""

import os
import platform
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from .alarms import KEYS, rates, summary
from .cases import MARKS, OPERATIONS
from .contenders import OURS
from .detectors import RATIOS
from .peers import PEERS

PARTS = {
    "NAB": "NAB: the score of three profiles, its origin, and the standard score of each category; {seeds} seeds",
    "streams": "Labelled streams: events and single records; {seeds} seeds (others: best F1 of any threshold, one seed)",
    "noise": "Alarms in 10 000 records of noise, all of them false; {seeds} runs",
    "outliers": "A step at record 1740: share of {seeds} hosts where it is found within ten records, by what came before",
    "first day": "A step on the first day: share of {seeds} hosts where it is found within ten records",
    "incidents": "Incidents on the third day: share of {seeds} hosts where they are found, mean delay in records",
    "clean hosts": "Alarms a day on hosts where nothing happens, mean of {seeds}",
    "spikes": "Spikes among 800 counts: share of {seeds} runs with an alarm at that record (505 and 511: the event of 500)",
    "demo": "The five incidents of rcf.datasets.make_series, mean of {seeds}",
}
ANCHORS = tomllib.loads((Path(__file__).parent / "anchors.toml").read_text())


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def number(value: Any) -> str:
    """A number with three or four digits, and with thousands separated."""
    if not isinstance(value, (float, np.floating)):
        return str(value)
    if np.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(float(value)) >= 1000 else f"{value:.4g}"


class Report:
    """A report that is written part by part, so that results are on disk even if a later part fails."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "report.md"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "figures.csv").unlink(missing_ok=True)
        self.console = Console(width=160)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        self.path.write_text(
            f"# Benchmarks\n\n{datetime.now():%Y-%m-%d %H:%M}. {processor()}, {os.cpu_count()} cores, "
            f"{platform.system()}; Python {platform.python_version()}, numpy {np.__version__}. "
            f"Load average at the start: {load:.2f}"
            f"{' (others are at work on this machine: figures are indicative)' if load > 0.5 else ''}.\n\n"
        )
        versions = [(p.name, p.version(), p.note, p.__doc__.split("\n")[0]) for p in PEERS.values() if p.__doc__]
        rows = [(name, version or "not installed", f"{what} {note}") for name, version, note, what in versions]
        self.table(pd.DataFrame(rows, columns=["peer", "version", "what it is"]), "Contestants")

    def write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text + "\n\n")

    def table(self, frame: pd.DataFrame, title: str) -> None:
        frame = frame.map(number)
        self.write(f"## {title}\n\n{frame.to_markdown(index=False, disable_numparse=True)}")
        shown = Table(*map(str, frame.columns), title=title, title_justify="left")
        for row in frame.itertuples(index=False):
            shown.add_row(*row)
        self.console.print(shown)

    def anchors(self, part: str) -> None:
        for anchor in ANCHORS[part]:
            frame = pd.DataFrame.from_dict(anchor["rows"], orient="index", columns=anchor["columns"])
            table = frame.astype(float).map(number).to_markdown(disable_numparse=True)
            self.write(
                f"For orientation, published or measured before: {anchor['what']} ({anchor['source']}).\n\n{table}"
            )

    def plot(self, figure: Any, name: str) -> None:
        figure.savefig(self.folder / f"{name}.png", dpi=110, bbox_inches="tight")
        plt.close(figure)
        self.write(f"![{name}]({name}.png)")

    def bars(self, frame: pd.DataFrame, name: str, label: str, log: bool = True) -> None:
        """A bar chart with a group of bars per row and a bar per column."""
        figure, axes = plt.subplots(figsize=(max(6.0, 1.1 * len(frame) + 2.0), 4.0))
        frame.plot.bar(ax=axes, width=0.85, logy=log)
        axes.set_ylabel(label)
        axes.set_xlabel("")
        axes.set_xticklabels(axes.get_xticklabels(), rotation=30, ha="right")
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.grid(axis="y", alpha=0.3)
        self.plot(figure, name)

    # ---- speed -------------------------------------------------------------------------------------------------

    def streaming(self, measured: pd.DataFrame) -> None:
        """Rates, and the ratio of rcf to the faster of krcf and rcf3."""
        self.write("Operations: " + "; ".join(f"`{name}`: {what}" for name, what in OPERATIONS.items()) + ".")
        rates = measured.pivot(index="case", columns="peer", values="rate")
        rates = rates.loc[measured["case"].unique(), measured["peer"].unique()]
        rivals = [name for name in ("krcf", "rcf3") if name in rates]
        ratios = pd.DataFrame({"case": rates.index, "rcf, records/s": rates["rcf"].to_numpy()})
        if rivals:
            fastest = rates[rivals].max(axis=1)
            ratios["faster of krcf, rcf3"] = fastest.to_numpy()
            ratios["ratio"] = (rates["rcf"] / fastest).to_numpy()
            ratios["mark"] = [MARKS.get(case, np.nan) for case in rates.index]
            ratios["reached"] = np.where(ratios["ratio"] >= ratios["mark"], "yes", "no")
        self.table(ratios, "Streams: against the fastest peer")
        self.spread(measured, "Streams: all contestants, records per second of CPU time")
        self.bars(rates, "streams", "records per second of CPU time")
        self.anchors("speed")

    def spread(self, measured: pd.DataFrame, title: str) -> None:
        names = {"low": "lower quartile", "high": "upper quartile", "wall_rate": "by wall time"}
        self.table(measured.rename(columns=names), title)

    def fitted(self, measured: pd.DataFrame, n: int) -> None:
        measured = measured.assign(seconds=n / measured["rate"])
        ours = measured[measured["peer"] == "rcf"].set_index("case")["rate"]
        measured["rcf is faster by"] = measured["case"].map(ours) / measured["rate"]
        self.spread(measured, f"Tables: {n} x 10, 100 trees of 256, one thread")
        rates = measured.pivot(index="case", columns="peer", values="rate")
        self.bars(rates, "tables", "records per second of CPU time")

    def threads(self, measured: pd.DataFrame) -> None:
        one = measured[measured["peer"] == "rcf"].set_index("case")["rate"]
        measured = measured.assign(**{"speed-up": measured["rate"] / measured["case"].map(one)})
        self.table(measured.drop(columns="wall_rate"), "Two threads against one, records per second of wall time")

    def low_memory(self, measured: pd.DataFrame) -> None:
        usual = measured[measured["peer"] == "rcf"].set_index("case")["rate"]
        measured = measured.assign(price=measured["case"].map(usual) / measured["rate"])
        self.spread(
            measured, "The cost of low_memory: records per second of CPU time, and the factor in the time per record"
        )

    def latency(self, times: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]) -> None:
        rows = []
        for name, values in times.items():
            p50, p99, p999 = np.percentile(values, [50, 99, 99.9])
            rows.append((name, len(values), p50, p99, p999, p99 / p50))
        frame = pd.DataFrame(rows, columns=["peer", "calls", "p50 µs", "p99 µs", "p99.9 µs", "p99 / p50"])
        self.table(frame, "A single update (score, then learn), T=100, 1x8: wall time")

    def start_up(self, seconds: float) -> None:
        self.table(pd.DataFrame({"import rcf, ms": [1e3 * seconds]}), "Start-up (numpy included)")

    def curves(self, measured: pd.DataFrame) -> None:
        measured = measured.assign(us=1e6 * measured["cpu"] / measured["records"])
        keys = ["axis", "x", "case", "peer"]
        medians = measured.groupby(keys, sort=False)["us"].median().reset_index()
        wide = medians.pivot(index=["axis", "x"], columns=["case", "peer"], values="us")
        wide.columns = [f"{case} {peer}" for case, peer in wide.columns]
        self.table(wide.reset_index(), "Cost of a record in µs as a size grows")
        labels = {
            "n": "records seen before (n)",
            "d": "plain features (d)",
            "T": "trees (T)",
            "S": "samples a tree (S)",
        }
        figure, grid = plt.subplots(2, 2, figsize=(11, 8))
        for axes, (axis, label) in zip(grid.flat, labels.items(), strict=True):
            for (case, peer), line in medians[medians["axis"] == axis].groupby(["case", "peer"], sort=False):
                style = {"update_one": "-", "update_batch": "--", "score": ":"}[str(case)]
                colour = {"rcf": "C0", "krcf": "C1", "rcf3": "C2"}[str(peer)]
                if peer == "rcf" or case != "update_batch":
                    axes.plot(line["x"], line["us"], style, color=colour, marker=".", label=f"{peer} {case}")
            axes.set(xscale="log", yscale="log", xlabel=label, ylabel="µs a record")
            ticks = sorted(medians.loc[medians["axis"] == axis, "x"].unique())
            axes.set_xticks(ticks, [f"{x:,}" for x in ticks])
            axes.minorticks_off()
            axes.grid(alpha=0.3, which="both")
        grid.flat[0].legend(fontsize="small")
        self.plot(figure, "curves")
        self.write(
            "These are the expected curves. **n**: constant, because a forest always holds T·S records. Learning is more "
            "frequent only while the samples still fill (later 1 in about 10 records enters, with the default time decay). "
            "**T**: linear, and a little worse when the forest no longer fits in a cache; in batches, each tree processes "
            "many records while it is in the cache. **S**: like log S, the depth of a tree. **d**: sub-linear up to 32, because "
            "a walk takes its steps for all features at once and eight features are one vector operation; linear above."
        )

    def memory(self, measured: pd.DataFrame) -> None:
        if measured.empty:
            return
        measured = measured.assign(model="T" + measured["trees"].astype(str) + " " + measured["shape"])
        wide = measured.pivot(index="peer", columns="model", values="bytes") / 2**20
        wide = wide.loc[measured["peer"].unique(), measured["model"].unique()]
        self.table(wide.reset_index(), "Memory of a model, MiB")
        self.bars(wide.T, "memory", "MiB a model")
        self.anchors("memory")

    # ---- accuracy ----------------------------------------------------------------------------------------------

    def taxi(self, measured: pd.DataFrame) -> None:
        grouped = measured.groupby(["peer", "score", "samples"], sort=False)["auc"]
        means = grouped.mean().unstack()
        spread = grouped.std().unstack().add_suffix(" sd") if measured["seed"].nunique() > 1 else pd.DataFrame()
        ap = measured.groupby(["peer", "score", "samples"], sort=False)["ap"].mean().unstack().add_suffix(" AP")
        table = pd.concat([means, spread, ap], axis=1).reset_index()
        self.table(table, f"NYC taxi, shingle 48, 200 trees: ROC-AUC by samples, {measured['seed'].nunique()} seeds")
        means.index = [f"{peer} {score}".strip() for peer, score in means.index]
        self.bars(means, "taxi", "ROC-AUC", log=False)
        self.anchors("taxi")

    def adbench(self, measured: pd.DataFrame) -> None:
        seeds = measured["seed"].nunique()
        measured = measured.assign(who=(measured["peer"] + " " + measured["score"]).str.strip())
        for metric, title in (("auc", "ROC-AUC"), ("ap", "average precision")):
            wide = measured.groupby(["set", "who"], sort=False)[metric].mean().unstack()
            wide = wide.loc[measured["set"].unique(), measured["who"].unique()]
            wide.loc["mean"] = wide.mean()
            self.table(wide.reset_index(), f"ADBench: {title}, {seeds} seeds")
            self.bars(wide, f"adbench_{metric}", title, log=False)
        self.anchors("adbench")

    def numenta(self, measured: pd.DataFrame) -> None:
        keys = ["peer", "score", "shingle"]
        profiles = ["standard", "low FP", "low FN"]
        table = measured.groupby(keys, sort=False)[profiles].mean().reset_index()
        title = "NAB, 26 series, its official scoring rules, 100 trees of 256, time decay 1/100000"
        self.table(table, f"{title}, {measured['seed'].nunique()} seeds")
        table.index = [f"{p} {s} {w}" for p, s, w in table[keys].itertuples(index=False)]
        self.bars(table[profiles], "nab", "NAB score", log=False)
        self.anchors("nab")

    def figures(self, measured: pd.DataFrame) -> None:
        """A table for each part, and all figures in figures.csv."""
        table = summary(measured)
        for part, rows in table.groupby("part", sort=False):
            seeds = measured.loc[measured["part"] == part, "seed"].nunique()
            shown = rows.drop(columns="part").dropna(axis="columns", how="all")
            self.table(shown, PARTS[str(part)].format(seeds=seeds))
        path = self.folder / "figures.csv"
        kept = table[[*KEYS, OURS]].rename(columns={OURS: "value"})
        kept.to_csv(path, mode="a", header=not path.exists(), index=False, float_format="%.5g")

    def by_series(self, listed: pd.DataFrame) -> None:
        """The alarms on each series of NAB, and a comparison with OpenSearch."""
        seeds = listed["seed"].nunique()
        counts = ["windows", "alarms", "right", "found"]
        rows = listed.groupby(["series", "records"], sort=False)[counts].mean().reset_index()
        rows.loc[len(rows)] = pd.Series({"series": "all", **rows[["records", *counts]].sum()})
        rows["records"] = rows["records"].astype(int)
        self.table(rates(rows), f"StreamDetector, defaults: its own alarms on NAB, mean of {seeds} seeds")
        self.opensearch(listed)

    def opensearch(self, series: pd.DataFrame) -> None:
        """A comparison with the figures that OpenSearch published, counted in the same way: over all records, each window once."""
        published = ANCHORS["alarms"]
        theirs = pd.DataFrame.from_dict(published["rows"], orient="index", columns=published["columns"])
        name = series["series"].str.extract(r"/(\w+)\.csv")[0]
        ours = series.groupby(name)[["alarms, all", "found, all"]].mean().reindex(theirs.index)
        ours.columns = ["alarms", "true"]
        table = pd.concat({"": ours, "OpenSearch: ": theirs}, axis=1)
        table.columns = [first + second for first, second in table.columns]
        table = table.astype(float)
        given = table["alarms"].notna()
        total = table[given].sum()
        table.loc[f"{given.sum()} of {len(given)} series"] = total
        for prefix in ("", "OpenSearch: "):
            found = table[f"{prefix}true"]
            table[f"{prefix}precision %"] = 100 * found / table[f"{prefix}alarms"].where(table[f"{prefix}alarms"] > 0)
            table[f"{prefix}recall %"] = 100 * found / table["OpenSearch: anomalies"]
        self.table(table.reset_index(names="series"), f"{published['what']} ({published['source']})")
        self.write(
            f"On all {len(theirs)} series: {published['all']}. Series that are not in the data folder are left out of the sum."
        )

    def detector(self, measured: pd.DataFrame) -> None:
        measured = measured.assign(us=1e6 * measured["cpu"] / measured["records"])
        table = measured.groupby("case", sort=False)["us"].agg(["median", "min", "max"])
        for case, base in RATIOS.items():
            table.loc[case, "over"] = base
            table.loc[case, "times"] = table.loc[case, "median"] / table.loc[base, "median"]
        names = {"median": "µs a record", "over": "against", "times": "takes"}
        self.table(table.reset_index().rename(columns=names), "StreamDetector: CPU time")

    def close(self) -> None:
        plt.close("all")
