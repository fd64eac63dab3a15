"""The labelled streams of the data folder: the Numenta Anomaly Benchmark, and each ``streams/*.npz``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import nab


@dataclass(frozen=True)
class Stream:
    """A series with its labels. A detector gets all records; those from `first` on are evaluated."""

    corpus: str
    name: str
    values: NDArray[np.float64]  # (n, d)
    label: NDArray[np.bool_]  # (n,)
    first: int
    timestamps: NDArray[np.datetime64] | None = None


def numenta(folder: Path) -> tuple[list[nab.Series], list[Stream]]:
    """The Numenta series in two forms: for the rules of the benchmark, and as streams whose events are the labelled windows."""
    corpus = nab.load(folder / "nab")
    streams = []
    for series in corpus:
        label = np.zeros(len(series.values), dtype=bool)
        for left, right in series.windows:
            label[left : right + 1] = True
        first = nab.probation(len(label))
        streams.append(Stream("nab", series.name, series.values[:, None], label, first, series.timestamps))
    return corpus, streams


def labelled(folder: Path) -> Iterator[tuple[str, list[Stream]]]:
    """Each corpus of ``folder/streams`` with its series. A series must have an event among the evaluated records.

    A file holds ``NAME/values`` (n, d), ``NAME/label`` (n,) and ``NAME/n_train`` for each series. The first `n_train`
    records, which have no labels, are not evaluated, and neither are the first 15 % (at most 750).
    """
    for path in sorted((folder / "streams").glob("*.npz")):
        with np.load(path) as file:
            names = sorted({key.rsplit("/", 1)[0] for key in file})
            streams = []
            for name in names:
                values = file[f"{name}/values"].astype(np.float64).reshape(len(file[f"{name}/label"]), -1)
                first = max(int(file[f"{name}/n_train"]), nab.probation(len(values)))
                streams.append(Stream(path.stem, name, values, file[f"{name}/label"].astype(bool), first))
        yield path.stem, [stream for stream in streams if stream.label[stream.first :].any()]
