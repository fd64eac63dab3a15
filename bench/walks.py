"""Compares four scores written as visitors with the same scores of the core, on forests that no longer learn."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from rcf import RandomCutForest

from .cases import FROZEN, Floats, clusters
from .speed import Record, timed

# Names and data are permanent: ten normal clusters, fitted and scored on different rows, T=100, S=256.
KINDS = ("depth", "codisp", "displacement", "opensearch")
FEATURES = (1, 8, 32, 48)
CASES = [f"{kind}-T100-S256-d{features}" for features in FEATURES for kind in KINDS]
MARK = 0.5  # of the core's own speed


def frozen(features: int) -> tuple[RandomCutForest, Floats]:
    """A forest, and the rows to be scored."""
    rows = clusters(2 * FROZEN, features)
    return RandomCutForest(100, 256, random_state=1).fit(rows[:FROZEN]), rows[FROZEN:]


def visitor(kind: str) -> Any:
    from rcf import walk

    return getattr(walk, kind)


def measure(rounds: int) -> Iterator[Record]:
    """Time the core and the compiled walk in turn, for several rounds."""
    for features in FEATURES:
        forest, rows = frozen(features)
        for kind in KINDS:
            mine = visitor(kind)
            forest.walk(rows, mine)
            for number in range(rounds):
                for who, work in (
                    ("core", lambda: forest.anomaly_score(rows, kind)),  # type: ignore[arg-type]  # noqa: B023 - called at once
                    ("walk", lambda: forest.walk(rows, mine)),  # noqa: B023
                ):
                    wall, cpu = timed(work)
                    case = f"{kind}-T100-S256-d{features}"
                    yield {"case": case, "peer": who, "round": number, "records": len(rows), "wall": wall, "cpu": cpu}


def table(measured: pd.DataFrame) -> pd.DataFrame:
    """Records per second of CPU time (medians over the rounds), and the rate of the walk divided by that of the core."""
    rates = measured.assign(rate=measured["records"] / measured["cpu"])
    wide = rates.groupby(["case", "peer"], sort=False)["rate"].median().unstack()
    return wide.assign(ratio=wide["walk"] / wide["core"]).reset_index()
