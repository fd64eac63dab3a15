"""FrozenForest: a frozen model in Python, scored by the core."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from ..persist import ModelFileError
from ._frozen import thawed


class FrozenForest:
    """A forest from a file that :func:`rcf.export.freeze` wrote. It can score but not learn.

    The scores and attributions equal those of the original forest and those of the C runtime, bit for bit.

    Attributes
    ----------
    method : str
        The kind of score; see :class:`rcf.RandomCutForest`.
    threshold : float
        `predict` returns -1 for records with a higher score.
    n_features_in_ : int
        Number of features of a record.
    n_trees : int
        Number of trees.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import RandomCutForest
    >>> from rcf.export import FrozenForest, freeze
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> forest = RandomCutForest(random_state=0).fit(X)
    >>> frozen = FrozenForest.from_bytes(freeze(forest))
    >>> bool((frozen.anomaly_score(X) == forest.anomaly_score(X)).all())
    True
    """

    def __init__(self, data: bytes) -> None:
        tables, self._forest = thawed(data)
        self.method = tables.method
        self.threshold = tables.threshold
        self.n_features_in_ = tables.n_features
        self.n_trees = len(tables.sizes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Load a frozen forest from bytes. Raises ModelFileError if they are damaged."""
        return cls(bytes(data))

    def anomaly_score(self, X: ArrayLike) -> NDArray[np.float64]:
        """The anomaly score of each row, (n,); high for anomalies."""
        return self._forest.score(self._checked(X), self.method)

    def attribution(self, X: ArrayLike) -> NDArray[np.float64]:
        """The parts of each row's score by feature, (n, d, 2): ``[..., 0]`` for high values, ``[..., 1]`` for low values."""
        return self._forest.attribution(self._checked(X), self.method)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """-1 for outliers, 1 for inliers; (n,)."""
        return np.where(self.anomaly_score(X) > self.threshold, -1, 1)

    def _checked(self, X: ArrayLike) -> NDArray[np.float64]:
        # the core checks the values and names the position
        data: NDArray[np.float64] = check_array(X, dtype=np.float64, ensure_all_finite=False)
        return data

    def __repr__(self) -> str:
        return f"FrozenForest({self.n_trees} trees, {self.n_features_in_} features, method={self.method!r})"


def load_frozen(path: str | os.PathLike[str]) -> FrozenForest:
    """Load a forest from a file that :func:`rcf.export.freeze` wrote. Files from untrusted sources are safe to load.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    FrozenForest

    Raises
    ------
    ModelFileError
        If the file is not a frozen model or is damaged; the message gives the details.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile, numpy as np, rcf
    >>> from rcf.export import freeze
    >>> forest = rcf.RandomCutForest(random_state=0).fit(np.random.default_rng(0).normal(size=(500, 3)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "forest.frz")
    ...     with open(path, "wb") as file:
    ...         length = file.write(freeze(forest))
    ...     rcf.load_frozen(path)
    FrozenForest(100 trees, 3 features, method='depth')
    """
    try:
        return FrozenForest(Path(path).read_bytes())
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error


def c_array(data: bytes, name: str) -> str:
    """A C file with the bytes as an array of 64-bit numbers, so that the address of the array is divisible by 8."""
    words: Any = np.frombuffer(data, "<u8")
    lines = [", ".join(f"0x{word:016x}u" for word in row) for row in np.array_split(words, max(1, len(words) // 6))]
    return f"#include <stdint.h>\n\nconst uint64_t {name}[{len(words)}] = {{\n" + ",\n".join(lines) + "\n};\n"
