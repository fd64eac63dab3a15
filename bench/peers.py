"""One small adapter per package, which builds the same forest through the interface of the package.

``prepare`` converts records to the form that the package reads fastest; it is never timed. isotree has two adapters: one
passes a table in NumPy's row order, which isotree copies, and the other a table in column order. If a package lacks an
operation, its adapter lacks the method: see :func:`can`.
"""

import importlib.metadata
import sys
import types
import unittest.mock
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Peer:
    """A forest of `trees` trees of `samples` records with `features` features, on one thread by default.

    The operations, each defined only if the package has it:

    ``one(record)``  score a record, then learn it
    ``update_one(records)``  the same for each record in turn
    ``update_batch(records)``  the same in one call
    ``learn(records)``  learn in turn, without scores
    ``score(records)``  scores of a frozen forest
    ``fit(records)``  a forest from all records at once

    Scores are high for anomalies.
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    note: ClassVar[str] = ""
    kinds: ClassVar[tuple[str, ...]] = ("",)
    loops: ClassVar[bool] = False  # accepts one record per call, so the batch size does not matter
    fifo: ClassVar[bool] = False  # holds only the last `samples` records, so older ones need not be learned

    def __init__(
        self,
        trees: int,
        samples: int,
        features: int,
        decay: float,
        seed: int,
        kind: str = "",
        threads: int = 1,
    ) -> None:
        self.trees, self.samples, self.features = trees, samples, features
        self.decay, self.seed, self.kind, self.threads = decay, seed, kind, threads
        self.build()

    def build(self) -> None:
        raise NotImplementedError

    def prepare(self, X: Floats) -> Any:
        return np.ascontiguousarray(X, dtype=np.float64)

    @classmethod
    def version(cls) -> str | None:
        """Version of the installed package; None if it is not installed."""
        try:
            return importlib.metadata.version(cls.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None


class Streaming(Peer):
    """A peer that scores and learns one record per call."""

    def one(self, record: Any) -> float:
        raise NotImplementedError

    def update_one(self, records: Any) -> Floats:
        one = self.one
        return np.array([one(x) for x in records])


def can(peer: type[Peer], operation: str) -> bool:
    return hasattr(peer, operation)


class Rcf(Streaming):
    """This package."""

    name = "rcf"
    distribution = "rcf"
    kinds = ("depth", "codisp", "displacement", "opensearch", "path")

    def build(self) -> None:
        from rcf import RandomCutForest

        self.forest = RandomCutForest(
            self.trees,
            self.samples,
            method=self.kind or "depth",  # type: ignore[arg-type]
            time_decay=self.decay,
            n_jobs=self.threads,
            random_state=self.seed,
        )
        self.one = self.forest.update  # type: ignore[method-assign, assignment]

    def update_batch(self, records: Floats) -> Floats:
        return self.forest.update_many(records)

    def learn(self, records: Floats) -> None:
        self.forest.partial_fit(records)

    def fit(self, records: Floats) -> None:
        self.forest.fit(records)

    def score(self, records: Floats) -> Floats:
        return self.forest.anomaly_score(records)

    @classmethod
    def version(cls) -> str | None:
        from rcf._version import __version__

        return __version__


class RcfLowMemory(Rcf):
    """This package in low-memory mode."""

    name = "rcf, low memory"

    def build(self) -> None:
        super().build()
        self.forest.set_params(low_memory=True)


class RcfPath(Rcf):
    """This package with the score of IsolationForest, which measures no boxes."""

    name = "rcf, path"

    def build(self) -> None:
        self.kind = "path"
        super().build()


class Krcf(Streaming):
    """AWS's own Rust code, from PyPI. All boxes are cached, because it is 4 times slower without them."""

    name = "krcf"
    distribution = "krcf"
    kinds = ("depth", "displacement")
    loops = True

    def build(self) -> None:
        import krcf

        self.forest = krcf.RandomCutForest(
            {
                "dimensions": self.features,
                "shingle_size": 1,
                "num_trees": self.trees,
                "sample_size": self.samples,
                "random_seed": self.seed,
                "lambda": self.decay,
                "parallel_execution_enabled": False,
                "internal_shingling": False,
                "bounding_box_cache_fraction": 1.0,
            }
        )
        self.score_of = self.forest.displacement_score if self.kind == "displacement" else self.forest.score

    def prepare(self, X: Floats) -> Any:
        return X.tolist()  # 30 % faster than arrays

    def one(self, record: Any) -> float:
        score = self.score_of(record)
        self.forest.update(record)
        return score

    def learn(self, records: Any) -> None:
        for x in records:
            self.forest.update(x)

    def score(self, records: Any) -> Floats:
        return np.array([self.score_of(x) for x in records])


class Rcf3(Streaming):
    """Another random cut forest in Rust."""

    name = "rcf3"
    distribution = "rcf3"
    kinds = ("depth", "displacement")
    loops = True

    def build(self) -> None:
        import rcf3

        self.forest = rcf3.Forest(
            self.features,
            num_trees=self.trees,
            capacity=self.samples,
            time_decay=self.decay or 1e-12,  # 0 would select its default, 0.1 / capacity
            internal_shingling=False,
            seed=self.seed,
        )
        self.score_of = self.forest.displacement_score if self.kind == "displacement" else self.forest.score

    def prepare(self, X: Floats) -> Any:
        return X.tolist()

    def one(self, record: Any) -> float:
        if self.kind != "displacement":
            return self.forest.update_and_score(record)
        score = self.score_of(record)
        self.forest.update(record)
        return score

    def learn(self, records: Any) -> None:
        for x in records:
            self.forest.update(x)

    def score(self, records: Any) -> Floats:
        return np.array([self.score_of(x) for x in records])


class SklearnIF(Peer):
    """scikit-learn's isolation forest, the most widely used one."""

    name = "IsolationForest"
    distribution = "scikit-learn"
    note = "depth only, no stream"

    def build(self) -> None:
        from sklearn.ensemble import IsolationForest

        self.forest = IsolationForest(
            n_estimators=self.trees, max_samples=self.samples, random_state=self.seed, n_jobs=self.threads
        )

    def fit(self, records: Floats) -> None:
        self.forest.set_params(max_samples=min(self.samples, len(records)))
        self.forest.fit(records)

    def score(self, records: Floats) -> Floats:
        return -self.forest.score_samples(records)


class Coniferest(Peer):
    """An isolation forest in Rust."""

    name = "coniferest"
    distribution = "coniferest"
    note = "depth only, no stream"

    def build(self) -> None:
        from coniferest.isoforest import IsolationForest

        self.forest = IsolationForest(
            n_trees=self.trees, n_subsamples=self.samples, random_seed=self.seed, n_jobs=self.threads
        )

    def fit(self, records: Floats) -> None:
        self.forest.n_subsamples = min(self.samples, len(records))
        self.forest.fit(records)

    def score(self, records: Floats) -> Floats:
        return -self.forest.score_samples(records)


class Isotree(Peer):
    """Isolation forests in C++. With ndim=1 they are like scikit-learn's. The table is passed in NumPy's row order."""

    name = "isotree"
    distribution = "isotree"
    note = "depth only, no stream; copies a table of rows to columns first"

    def build(self) -> None:
        from isotree import IsolationForest

        self.forest = IsolationForest(
            ntrees=self.trees, sample_size=self.samples, ndim=1, random_seed=self.seed, nthreads=self.threads
        )

    def fit(self, records: Floats) -> None:
        self.forest.set_params(sample_size=min(self.samples, len(records)))
        self.forest.fit(records)

    def score(self, records: Floats) -> Floats:
        return self.forest.predict(records)


class IsotreeColumns(Isotree):
    """The same with the table in column order, which changes only the time of `fit`."""

    name = "isotree columns"
    note = "depth only, no stream; the table given column by column, which is not timed"

    def prepare(self, X: Floats) -> Any:
        return np.asfortranarray(X)


class River(Streaming):
    """Half-space trees. Records are dicts of features between 0 and 1."""

    name = "river HST"
    distribution = "river"
    note = "half-space trees of fixed cuts; learns only whole windows"
    loops = True

    def build(self) -> None:
        from river.anomaly import HalfSpaceTrees

        self.forest = HalfSpaceTrees(n_trees=self.trees, height=8, window_size=self.samples, seed=self.seed)

    def prepare(self, X: Floats) -> Any:
        low, high = X.min(axis=0), X.max(axis=0)
        scaled = (X - low) / np.where(high > low, high - low, 1.0)
        return [dict(enumerate(x)) for x in scaled.tolist()]

    def one(self, record: Any) -> float:
        score = self.forest.score_one(record)
        self.forest.learn_one(record)
        return score

    def learn(self, records: Any) -> None:
        for x in records:
            self.forest.learn_one(x)

    def score(self, records: Any) -> Floats:
        return np.array([self.forest.score_one(x) for x in records])


class Rrcf(Streaming):
    """The Python package, used as in its README: with a sliding window, and a record is scored after it is learned."""

    name = "rrcf"
    distribution = "rrcf"
    note = "sliding window of the last records; scored after learning"
    fifo = True
    loops = True

    def build(self) -> None:
        # rrcf needs pkg_resources only for its own version, and setuptools 82 removed pkg_resources.
        stand_in = types.ModuleType("pkg_resources")
        stand_in.get_distribution = importlib.metadata.distribution  # type: ignore[attr-defined]
        with unittest.mock.patch.dict(sys.modules, {"pkg_resources": stand_in}):
            import rrcf

        np.random.seed(self.seed)  # noqa: NPY002 - it draws from the global generator only
        self.forest = [rrcf.RCTree() for _ in range(self.trees)]
        self.seen = 0

    def one(self, x: Floats) -> float:
        total = 0.0
        for tree in self.forest:
            if len(tree.leaves) >= self.samples:
                tree.forget_point(self.seen - self.samples)
            tree.insert_point(x, index=self.seen)
            total += tree.codisp(self.seen)
        self.seen += 1
        return total / self.trees

    def learn(self, records: Floats) -> None:
        for x in records:
            self.one(x)

    def score(self, records: Floats) -> Floats:
        scores = []
        for x in records:
            total = 0.0
            for tree in self.forest:
                tree.insert_point(x, index=-1)
                total += tree.codisp(-1)
                tree.forget_point(-1)
            scores.append(total / self.trees)
        return np.array(scores)


class DSalmon(Streaming):
    """Random cut trees in C++ with a sliding window, which process a stream in chunks.

    It is not among the requirements of the extra, because its source builds against numpy 2 only with ``CPATH=$(python -c "import
    numpy; print(numpy.get_include())") pip install --no-build-isolation dSalmon``.
    """

    name = "dSalmon"
    distribution = "dSalmon"
    note = "sliding window of the last records; scored after learning; no scores of a frozen forest"
    fifo = True

    def build(self) -> None:
        from dSalmon.outlier import SWRRCT

        self.forest = SWRRCT(self.samples, n_estimators=self.trees, seed=self.seed, n_jobs=self.threads)

    def one(self, record: Floats) -> float:
        return self.forest.fit_predict(record[None])[0]

    def update_batch(self, records: Floats) -> Floats:
        return self.forest.fit_predict(records)

    def learn(self, records: Floats) -> None:
        self.forest.fit(records)


PEERS: dict[str, type[Peer]] = {
    peer.name: peer for peer in (Rcf, Krcf, Rcf3, DSalmon, Rrcf, River, SklearnIF, Coniferest, Isotree, IsotreeColumns)
}


def installed(wanted: list[str] | None = None) -> dict[str, type[Peer]]:
    """The installed peers among the given names, or all installed peers. This package is always the first."""
    unknown = set(wanted or ()) - set(PEERS)
    if unknown:
        raise ValueError(f"unknown peers: {', '.join(sorted(unknown))}; choose among {', '.join(PEERS)}")
    names = ["rcf", *(wanted or PEERS)]
    return {name: PEERS[name] for name in dict.fromkeys(names) if PEERS[name].version() is not None}
