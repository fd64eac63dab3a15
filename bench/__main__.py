"""``python -m bench [speed|walks|files|export|alarms|accuracy|all]``: run benchmarks, and write report/report.md with plots."""

import importlib.util
import shutil
import subprocess
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.progress import track

from . import accuracy, alarms, cases, detectors, export, files, keys, memory, methods, report, services, speed, walks
from .peers import PEERS, Rcf, RcfLowMemory, RcfPath, can, installed


class Part(StrEnum):
    speed = "speed"
    walks = "walks"
    files = "files"
    export = "export"
    alarms = "alarms"
    accuracy = "accuracy"
    all = "all"


console = Console(stderr=True)


def start_up() -> float:
    """Median time of `import rcf` in seconds, minus that of an interpreter that loads only numpy; 11 starts each."""
    code = "import time; t = time.perf_counter(); import rcf; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(11)]
    return float(pd.Series([float(run.stdout) for run in runs]).median())


def run_speed(book: report.Report, names: list[str] | None, quick: bool, curves: bool) -> None:
    peers = installed(names)
    rounds, seconds, warm_up = (5, 0.1, 3_000) if quick else (11, 0.4, cases.WARM_UP)
    streaming = {name: peer for name, peer in peers.items() if can(peer, "one")}
    if quick and names is None:
        streaming.pop("rrcf", None)  # minutes to warm up
    rivals = {name: peer for name, peer in peers.items() if name in ("rcf", "krcf", "rcf3")}
    shapes = cases.SHAPES[:1] if quick else cases.SHAPES

    rows: list[speed.Record] = []
    for shape in track(shapes, "streams", console=console):
        setting = cases.Setting(shape, warm_up=warm_up)
        rows += speed.run_streaming(setting, ["update_one", "update_batch", "score"], streaming, rounds, seconds)
    book.streaming(speed.summary(pd.DataFrame(rows)))

    setting = cases.Setting("d10", warm_up=100_000 if quick else 1_000_000)
    console.print(f"tables of {setting.warm_up} records")
    contestants = {**peers, RcfPath.name: RcfPath}
    book.fitted(speed.summary(pd.DataFrame(speed.run_fitted(setting, contestants, 3 if quick else 5))), setting.warm_up)

    console.print("two threads, single updates")
    setting = cases.Setting("1x8", warm_up=warm_up)
    pair: speed.Contestants = {"rcf": Rcf, "rcf, 2 threads": partial(Rcf, threads=2)}
    rows = list(speed.run_streaming(setting, ["update_batch", "score"], pair, rounds, seconds))
    book.threads(speed.summary(pd.DataFrame(rows), by="wall"))
    console.print("low memory")
    pair, rows = {"rcf": Rcf, RcfLowMemory.name: RcfLowMemory}, []
    for shape in shapes[:2]:
        setting = cases.Setting(shape, warm_up=warm_up)
        rows += speed.run_streaming(setting, ["update_one", "update_batch", "score"], pair, rounds, seconds)
    book.low_memory(speed.summary(pd.DataFrame(rows)))
    book.latency(speed.latencies(setting, rivals, 2_000 if quick else 20_000))
    book.start_up(start_up())
    book.detector(pd.DataFrame(detectors.measure(3 if quick else 9)))
    book.table(keys.many_keys(500 if quick else 10_000), "KeyedDetector with its default detectors")

    if curves:
        rows = []
        points = [(axis, x, s) for axis, line in cases.CURVES.items() for x, s in line.items()]
        for axis, x, point in track(points, "curves", console=console):
            if quick and (x > 1_000 or point.features > 16 or point.trees > 100 or point.samples > 256):
                continue
            at = point if axis == "n" else cases.Setting(point.shape, point.trees, point.samples, warm_up)
            who = rivals if at.warm_up <= cases.WARM_UP else {"rcf": Rcf}
            found = speed.run_streaming(at, ["update_one", "update_batch", "score"], who, 3, seconds / 4)
            rows += [{**row, "axis": axis, "x": x, "case": row["case"].split("-")[0]} for row in found]
        book.curves(pd.DataFrame(rows))

    settings = [s if not quick else cases.Setting(s.shape, s.trees, s.samples, warm_up) for s in cases.MEMORY]
    names = [name for name in peers if name != "rrcf"] if names is None else list(peers)
    names.insert(1, RcfLowMemory.name)
    book.memory(pd.DataFrame(track(list(memory.measure(settings, names)), "memory", console=console)))


def run_walks(book: report.Report, quick: bool) -> None:
    if importlib.util.find_spec("numba") is None:
        console.print("no numba: visitors are left out")
        return
    with console.status("visitors"):
        found = walks.table(pd.DataFrame(walks.measure(3 if quick else 11)))
    book.table(found, f"Scores written as visitors, records/s of CPU time; the mark is {walks.MARK} of the core's")


def run_files(book: report.Report, quick: bool) -> None:
    with console.status("model files"):
        found = files.table(pd.DataFrame(files.measure(5 if quick else 25)))
    book.table(
        found, "Model files: T=50, S=256, shingle 8; CPU time; the marks are {kB} kB and {ms} ms".format(**files.MARKS)
    )
    with console.status("detectors"):
        found = files.detectors(25 if quick else 101, 100 if quick else 1000)
    book.table(
        found,
        "State of detectors; CPU time; the marks of 30 x 128 are 60 kB, 300 and 400 µs, and 3 and 4 s for 10 000 keys",
    )
    rows = 100_000 if quick else 1_000_000
    with console.status("rcf detect"):
        found = files.tables(rows)
    marks = f"the marks are a ratio of {files.RATIO} and {files.RATE:,} records/s"
    book.table(found, f"rcf detect and rcf stream, {rows:,} rows; CPU time for a million; {marks}")


def run_alarms(book: report.Report, names: list[str] | None, folder: Path, seeds: int, quick: bool) -> None:
    """Compare the detector with others. A quick run has only the moving z-score and a quarter of the hosts."""
    rivals = ["moving z-score"] if quick and names is None else names
    with console.status("alarms") as status:
        found, listed = alarms.on_streams(folder, seeds, rivals, status.update)
        book.figures(found)
        book.by_series(listed)
        book.figures(alarms.on_incidents(4 if quick else 20, 5 if quick else 20, status.update))


def run_export(book: report.Report, quick: bool) -> None:
    with console.status("exported forests"):
        found = pd.DataFrame(export.measure(3 if quick else 15))
    size = (
        f"the runtime takes {export.runtime_bytes()} bytes at -Os; "
        if shutil.which("cc") and shutil.which("size")
        else ""
    )
    book.table(
        found,
        f"Exported forests: T=100, S=256; {size}the marks are {export.MARKS[8]:,} and {export.MARKS[48]:,} rows/s in C, and "
        f"{export.MARKS['wasm']} of that in WebAssembly",
    )


def run_accuracy(book: report.Report, names: list[str] | None, folder: Path, seeds: int, quick: bool) -> None:
    # rrcf is left out by default, because it processes about 40 records per second with 100 trees
    peers = {name: peer for name, peer in installed(names).items() if names or name not in ("rrcf", "river HST")}
    if quick and names is None:
        peers = {name: peer for name, peer in peers.items() if name in ("rcf", "IsolationForest")}
    book.table(services.compare(report.ANCHORS["service"], folder, seeds), f"The services' own figures, {seeds} seeds")
    if not quick:
        with console.status("methods") as status:
            found = methods.table(methods.on_windows(folder, seeds, status.update))
        book.table(found, f"The bare forest on windows of a series, by method; 100 trees of 256, {seeds} seeds")
    for part in ("adbench",) if quick else ("adbench", "numenta", "taxi"):
        with console.status(part):
            rows = list(getattr(accuracy, part)(folder, peers, seeds))
        getattr(book, part)(pd.DataFrame(rows))


def main(
    part: Annotated[Part, typer.Argument(help="what to measure")] = Part.all,
    peers: Annotated[str, typer.Option(help="names of peers, separated by commas; empty: all installed ones")] = "",
    data: Annotated[Path | None, typer.Option(help="folder of the data sets (RCF_DATA, ../shared/data)")] = None,
    out: Annotated[Path, typer.Option(help="folder of the report")] = Path("report"),
    quick: Annotated[bool, typer.Option(help="fewer cases, rounds and seeds, to see whether everything runs")] = False,
    curves: Annotated[bool, typer.Option(help="also measure how the cost grows with n, d, T and S")] = True,
    seeds: Annotated[int, typer.Option(help="seeds of the accuracy runs; 1 if --quick")] = 5,
) -> None:
    """Measure this package and its peers; print the tables and write them, with plots, to a Markdown report."""
    names = [name.strip() for name in peers.split(",") if name.strip()] or None
    unknown = set(names or ()) - set(PEERS)
    if unknown:
        raise typer.BadParameter(f"unknown peers: {', '.join(sorted(unknown))}; choose among {', '.join(PEERS)}")
    folder = accuracy.data_folder(data)
    wanted = set(Part) if part is Part.all else {part}
    if part is Part.accuracy:
        wanted.add(Part.alarms)
    if folder is None and Part.alarms in wanted:
        if part in (Part.alarms, Part.accuracy) or data is not None:
            raise typer.BadParameter("found no folder of data: name it with --data or RCF_DATA")
        console.print("no data (--data, RCF_DATA): accuracy is left out")
    book = report.Report(out)
    if Part.speed in wanted:
        run_speed(book, names, quick, curves)
    if Part.walks in wanted:
        run_walks(book, quick)
    if Part.files in wanted:
        run_files(book, quick)
    if Part.export in wanted:
        run_export(book, quick)
    if Part.alarms in wanted and folder is not None:
        run_alarms(book, names, folder, 1 if quick else seeds, quick)
    if Part.accuracy in wanted and folder is not None:
        run_accuracy(book, names, folder, 1 if quick else seeds, quick)
    book.close()
    console.print(f"written: {book.path}")


typer.run(main)
