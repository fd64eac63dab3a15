"""The rows that SageMaker's forest holds, and their distribution among the trees."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..estimator import RandomCutForest
from .hyperparameters import Hyperparameters

_MAGIC = b"rcf-rows"
_HEAD = struct.Struct("<8sQQQQQ")  # the magic bytes, rows seen, feature_dim, num_trees, num_samples_per_tree, seed


class Sample:
    """A uniform sample without replacement of ``num_trees * num_samples_per_tree`` rows, in a fixed order.

    Tree `i` gets the `i`-th part of the sample, which has ``k = len // num_trees`` rows; the remaining rows are dropped. If there
    are too few rows to fill the sample, all rows are kept in their order, so each tree holds `k` consecutive rows. A published
    run of the service shows this behaviour: its 50 trees hold 80 rows each of 4032, although 512 were requested. If there are
    more rows, each row that enters replaces a random one (Algorithm R; Vitter 1985).

    Parameters
    ----------
    parameters : Hyperparameters
    host : int, default=0
        The number of the host in a distributed job. Each host has its own random stream.
    """

    def __init__(self, parameters: Hyperparameters, host: int = 0) -> None:
        self.parameters = parameters
        self.n_seen = 0
        self._random = np.random.default_rng([parameters.seed, host])
        self._capacity = parameters.num_trees * parameters.num_samples_per_tree
        self._blocks: list[NDArray[np.float64]] = []
        self._table: NDArray[np.float64] | None = None

    @property
    def rows(self) -> NDArray[np.float64]:
        """The rows that are held, of shape (n, feature_dim)."""
        if self._table is None or self._blocks:
            parts = [*([] if self._table is None else [self._table]), *self._blocks]
            self._table = np.concatenate(parts) if parts else np.empty((0, self.parameters.feature_dim))
            self._blocks = []
        return self._table

    def add(self, X: NDArray[np.float64]) -> None:
        """Add the next rows of the stream. The result does not depend on how the rows are divided among calls."""
        room = max(0, self._capacity - self.n_seen)
        if room:
            self._blocks.append(X[:room].copy())
        late = X[room:]
        if len(late):
            table = self.rows
            count = np.arange(max(self.n_seen, self._capacity), self.n_seen + len(X)) + 1.0
            places = (self._random.random(len(late)) * count).astype(np.int64)
            for i in np.flatnonzero(places < self._capacity):
                table[places[i]] = late[i]
        self.n_seen += len(X)

    def forest(self) -> RandomCutForest:
        """The forest fitted on these rows; ValueError if there are fewer rows than trees."""
        rows, trees = self.rows, self.parameters.num_trees
        if len(rows) < trees:
            raise ValueError(f"there are {len(rows)} rows, fewer than num_trees={trees}; each tree needs at least one")
        forest: RandomCutForest = RandomCutForest(trees, "disjoint", random_state=self.parameters.seed, n_jobs=-1).fit(
            rows
        )
        forest.offset_  # noqa: B018 - computed now, because computing it later would change the bytes of the model
        forest.n_jobs = None
        return forest

    def to_bytes(self) -> bytes:
        """The file that a host writes for :func:`union`: a header, the rows, and the CRC-32 of both."""
        p = self.parameters
        head = _HEAD.pack(_MAGIC, self.n_seen, p.feature_dim, p.num_trees, p.num_samples_per_tree, p.seed)
        data = head + self.rows.astype("<f8").tobytes()
        return data + zlib.crc32(data).to_bytes(4, "little")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the file of a host. ValueError if it is damaged or is not such a file."""
        if data[: len(_MAGIC)] != _MAGIC:
            raise ValueError("not the sample of a host")
        if len(data) < _HEAD.size + 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise ValueError("the sample of a host is damaged")
        _, n_seen, *numbers = _HEAD.unpack_from(data)
        names = ("feature_dim", "num_trees", "num_samples_per_tree", "seed")
        sample = cls(Hyperparameters.parse(dict(zip(names, map(str, numbers), strict=True))))
        rows = np.frombuffer(data[_HEAD.size : -4], "<f8")
        width, held = sample.parameters.feature_dim, min(n_seen, sample._capacity)
        if len(rows) != held * width or not np.isfinite(rows).all():
            raise ValueError(
                f"the sample of a host has {len(rows)} numbers, expected {held} rows of {width}, all finite"
            )
        sample.n_seen, sample._table = n_seen, rows.astype(np.float64).reshape(held, width)
        return sample


def union(samples: Sequence[Sample]) -> Sample:
    """The sample of the rows of all hosts, as one host would draw it from all files.

    If all rows fit, they are concatenated. Otherwise the number of rows from each host is drawn from the multivariate
    hypergeometric distribution, and the rows are chosen at random. So all sets of rows are equally likely.

    Parameters
    ----------
    samples : sequence of Sample
        At least one sample, in the order of the hosts. All must have the same hyperparameters.

    Returns
    -------
    Sample
    """
    first = samples[0]
    if any(sample.parameters != first.parameters for sample in samples):
        raise ValueError("the samples of the hosts were drawn with different hyperparameters")
    whole = Sample(first.parameters, host=len(samples))
    seen = [sample.n_seen for sample in samples]
    tables = [sample.rows for sample in samples]
    if sum(seen) > whole._capacity:
        random = whole._random
        counts = random.multivariate_hypergeometric(seen, whole._capacity)
        tables = [random.permutation(table)[:count] for table, count in zip(tables, counts, strict=True)]
        tables = [random.permutation(np.concatenate(tables))]
    whole._table, whole.n_seen = np.concatenate(tables), sum(seen)
    return whole
