"""``python -m bench.profile``: the time per record by part, measured by sampling.

perf (Linux) samples a process four thousand times per second by a timer. It needs no hardware counters, so it works on a
virtual machine too. The cost of a part is its share of the samples times the nanoseconds per tree and record.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import rcf

from . import cases

OPERATIONS = ["update_one", "update_batch", "score"]
# The part of each function of the core; the first pattern that matches counts.
PARTS = {
    "descents": r"rcf_descend",
    "climb: box distances": r"rcf_climb|rcf_walk",
    "sweep of a frozen tree": r"rcf_sweep",
    "insertion: choice of the cut": r"learn\b|find_gap|open_boxes|hull",
    "boxes enlarged by an insertion": r"widen_path",
    "boxes shrunk by a deletion": r"shrink_path",
    "sampler": r"reservoir|sample_",
    "gathering pairs, prefetching": r"learn_rows|learn_blocks|learn_record|update_record|score_(few_)?rows|score_by_tree",
}


def work(path: Path, case: cases.Case, seconds: float) -> float:
    """Repeat the operation for `seconds` with the forest of the file. Returns nanoseconds of CPU time per tree and record.

    perf starts to sample after the imports and after the file and the stream are loaded.
    """
    forest = rcf.load(path)
    records = cases.stream(case.setting, case.setting.warm_up + 20_000)[case.setting.warm_up :]
    path.with_name("control").write_text("enable\n")
    done, begin = 0, time.process_time()
    while time.process_time() - begin < seconds:
        if case.operation == "score":
            forest.anomaly_score(records)
            done += len(records)
            continue
        at = done % len(records)
        batch = records[at : at + cases.BATCH]
        if case.operation == "update_batch":
            forest.update_many(batch)
        else:
            for record in batch:
                forest.update(record)
        done += len(batch)
    return (time.process_time() - begin) / done / case.setting.trees * 1e9


def parts(case: cases.Case, seconds: float, folder: Path) -> dict[str, float]:
    """Nanoseconds per tree and record, for each part and in total."""
    forest = rcf.RandomCutForest(
        case.setting.trees, case.setting.samples, time_decay=case.setting.decay, method="depth", random_state=1
    )
    forest.update_many(cases.stream(case.setting, case.setting.warm_up))
    model, samples = folder / "forest.rcf", folder / "perf.data"
    forest.save(model)
    child = [
        sys.executable,
        "-m",
        "bench.profile",
        "--child",
        str(model),
        "--case",
        case.name,
        "--seconds",
        str(seconds),
    ]
    os.mkfifo(folder / "control")
    perf = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", "-o", str(samples)]
    perf += ["--delay=-1", f"--control=fifo:{folder / 'control'}", "--"]
    out = subprocess.run([*perf, *child], capture_output=True, text=True, check=True).stdout
    whole = float(out.split()[-1])
    shown = ["perf", "report", "--stdio", "-i", str(samples), "-F", "overhead,symbol", "--percent-limit", "0.1"]
    found = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    cost = dict.fromkeys([*PARTS, "rest, mostly Python"], 0.0)
    for share, symbol in re.findall(r"^\s*([\d.]+)%\s+\[.\]\s+(\S+)", found, re.MULTILINE):
        part = next((name for name, pattern in PARTS.items() if re.search(pattern, symbol)), "rest, mostly Python")
        cost[part] += float(share) / 100 * whole
    return {**cost, "all": whole}


def main(
    shapes: Annotated[str, typer.Option(help="streams, separated by commas")] = ",".join(cases.SHAPES),
    seconds: Annotated[float, typer.Option(help="seconds for which each case is sampled")] = 8.0,
    child: Annotated[Path | None, typer.Option(hidden=True)] = None,
    case: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print a table of nanoseconds per tree and record, by operation and part."""
    every = {
        c.name: c for shape in shapes.split(",") for op in OPERATIONS for c in [cases.Case(op, cases.Setting(shape))]
    }
    if child is not None:
        named = {c.name: c for c in cases.STREAMING}
        print(work(child, named[case], seconds))
        return
    if shutil.which("perf") is None:
        raise typer.BadParameter("perf is not installed: it comes with the kernel's tools (linux-perf, linux-tools)")
    with tempfile.TemporaryDirectory() as folder:
        columns = {}
        for i, (name, c) in enumerate(every.items()):
            at = Path(folder, str(i))
            at.mkdir()
            columns[name] = parts(c, seconds, at)
        table = pd.DataFrame(columns)
    print(table.round(1).to_string())


if __name__ == "__main__":
    typer.run(main)
