"""A reproducible speed test: it compares instruction counts of valgrind's callgrind with a text file.

``python -m bench.instructions --check`` counts again and fails if a case differs by more than 5 % from
``instructions.toml``, in either direction, so that gains are recorded too. ``--write`` updates the file.

All cases run in one process under callgrind. Each case does its work once and then twice. A call of ``getsid`` of the C library
marks the end of each part, where callgrind writes its counters. The difference between the two parts is one run of the work,
because the cost of the mark is in both.

Counts depend on the compiler, and the one-record cases also on the version of the interpreter. The file records both. With other
versions the check only prints the differences. Valgrind emulates a CPU with AVX2 and
without AVX-512, so the AVX2 kernels are counted on every machine.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from .cases import Floats, Setting

FILE = Path(__file__).parent / "instructions.toml"
TOLERANCE = 0.05
MARK = "getsid"  # nothing else calls it
TREES, WARM_UP = 10, 2_000

Work = Callable[[], object]


def one_by_one(work: Callable[[Floats], object], X: Floats) -> None:
    for x in X:
        work(x)


def cases() -> dict[str, Work]:
    """Cases of about ten million instructions each. Repeated calls of a case differ only by what the forest has learned."""
    from rcf import RandomCutForest

    work: dict[str, Work] = {}

    def forest(setting: Setting, method: str = "depth") -> RandomCutForest:
        model = RandomCutForest(TREES, setting.samples, method=method, random_state=1)  # type: ignore[arg-type]
        model.partial_fit(setting.stream(WARM_UP))
        return model

    for shape in ("1x8", "1x48", "d32"):
        setting = Setting(shape, trees=TREES, warm_up=WARM_UP)
        spare = setting.stream(WARM_UP + 200)[WARM_UP:]
        model, frozen, learner = forest(setting), forest(setting), forest(setting)
        work[f"update_one-{shape}"] = partial(one_by_one, model.update, spare)
        work[f"update_batch-{shape}"] = partial(learner.update_many, spare)
        work[f"score-{shape}"] = partial(frozen.anomaly_score, spare)
    setting = Setting("1x8", trees=TREES, warm_up=WARM_UP)
    spare = setting.stream(WARM_UP + 200)[WARM_UP:]
    for method in ("codisp", "displacement"):
        model = forest(setting, method)
        work[f"score-{method}-1x8"] = partial(model.anomaly_score, spare)
    model = forest(setting)
    work["learn-1x8"] = partial(model.partial_fit, spare)
    work["attribution-1x8"] = partial(model.attribution, spare[:50])
    fitted = RandomCutForest(TREES, 256, random_state=1)
    table = Setting("d10").stream(5_000)
    work["fit-d10"] = partial(fitted.fit, table)
    return work


def drive() -> None:
    """The program that runs under callgrind."""
    # not called through ctypes, because callgrind loses track when libffi switches stacks
    mark = getattr(os, MARK)
    for work in cases().values():
        work()  # first calls do additional work, which is not counted
        mark(0)
        work()
        mark(0)
        work()
        work()
        mark(0)


def count() -> dict[str, int]:
    """Instructions of each case."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "count"
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [
                *("valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", f"--dump-before={MARK}"),
                *(sys.executable, "-m", "bench.instructions", "--drive"),
            ],
            check=True,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        parts = sorted(Path(folder).glob("count.*"), key=lambda p: int(p.suffix[1:]))
        totals = []
        for part in parts:
            found = re.search(r"^(?:totals|summary): (\d+)", part.read_text(errors="replace"), re.MULTILINE)
            if found is None:
                raise RuntimeError(f"no total in {part.name}: has the format of callgrind changed?")
            totals.append(int(found[1]))
    names = list(cases())
    if len(totals) < 3 * len(names):
        raise RuntimeError(f"{len(totals)} parts for {len(names)} cases: was {MARK} not seen?")
    return {name: totals[3 * i + 2] - totals[3 * i + 1] for i, name in enumerate(names)}


def made_with() -> dict[str, str]:
    """Compiler and interpreter, as far as they change the counts."""
    import rcf._core

    compiler = re.search(rb"GCC: \([^)]*\) [\d.]+|clang version [\d.]+", Path(rcf._core.__file__).read_bytes())
    return {
        "compiler": compiler[0].decode() if compiler else "unknown",
        "machine": platform.machine(),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def judge(kept: dict[str, Any], counts: dict[str, int], here: dict[str, str]) -> int:
    """Print the changes. Returns 1 if a case is new, missing, or beyond the tolerance with the same tools."""
    beyond = 0
    for name in dict.fromkeys([*kept["instructions"], *counts]):
        before, now = kept["instructions"].get(name), counts.get(name)
        if before is None or now is None:
            print(f"{name:24} {'is new' if before is None else 'is gone'}  <--")
            beyond += 1
            continue
        change = now / before - 1.0
        far = abs(change) > TOLERANCE
        beyond += far
        print(f"{name:24} {before:14,} {now:14,} {change:+8.2%}{'  <--' if far else ''}")
    if here != kept["made_with"]:
        print(f"bench.instructions: counted with {here}, kept with {kept['made_with']}, so they are only shown.")
        return 0
    if beyond:
        print(f"bench.instructions: {beyond} cases beyond {TOLERANCE:.0%}. If this is intended, run it with --write.")
    return 1 if beyond else 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description="Count instructions.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="compare with instructions.toml; exit 1 beyond 5 %%")
    action.add_argument("--write", action="store_true", help="write instructions.toml")
    action.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.drive:
        drive()
        return 0
    if shutil.which("valgrind") is None:
        print("bench.instructions: valgrind is not installed; nothing was counted.")
        return 0
    here, counts = made_with(), count()
    if arguments.write:
        lines = ["# Instructions of the core's cases, by `python -m bench.instructions --write`.", "", "[made_with]"]
        lines += [f'{key} = "{value}"' for key, value in here.items()]
        lines += ["", "[instructions]", *(f"{name} = {value:_}" for name, value in counts.items())]
        FILE.write_text("\n".join(lines) + "\n")
    return judge(tomllib.loads(FILE.read_text()), counts, here)


if __name__ == "__main__":
    sys.exit(main())
