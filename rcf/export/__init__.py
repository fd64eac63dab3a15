"""Export forests to run without Python: as ONNX graphs, or as frozen model files for a small C runtime.

An exported model scores and explains but cannot learn. To continue learning, save the forest itself and load it with
:func:`rcf.load`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ._frozen import frozen
from ._tables import tables_of
from .forest import FrozenForest, c_array, load_frozen

if TYPE_CHECKING:
    import onnx

__all__ = ["FrozenForest", "freeze", "load_frozen", "register_converter", "to_c", "to_onnx"]

RUNTIME = [Path(__file__).with_name(name) for name in ("rcf_frozen.c", "rcf_frozen.h", "rcf_frozen.mjs")]
MOST_AS_TEXT = 1 << 20  # bytes; larger models are not written as C arrays, because compilers take seconds per megabyte


def freeze(model: Any) -> bytes:
    """Convert a forest to a flat file that the C runtime uses in place, without copying it.

    The file holds the trees, with cuts and points as float32, and the threshold of `predict`. It does not hold the state that
    learning needs. ``rcf/export/_frozen.py`` describes the layout. The file is about as large as the one that
    :meth:`rcf.RandomCutForest.save` writes.

    Parameters
    ----------
    model : RandomCutForest
        A fitted forest. Its `method` is exported. For a stream, fit the forest to the windows of :func:`rcf.shingle.shingle`; the
        frozen model then scores the last records as one row, the oldest first. A `StreamDetector` cannot be frozen, because it
        rescales each record by what it has learned so far, before the trees see it.

    Returns
    -------
    bytes
        The content of the file.

    Raises
    ------
    TypeError
        If `model` is not a RandomCutForest.
    ValueError
        If the forest holds no records, or more than 2^27.

    See Also
    --------
    load_frozen : Score the file from Python.
    to_c : Write the file together with the sources of the runtime.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import RandomCutForest
    >>> from rcf.export import freeze
    >>> forest = RandomCutForest(random_state=0).fit(np.random.default_rng(0).normal(size=(500, 3)))
    >>> len(freeze(forest)) < len(forest.to_bytes())
    True
    """
    return frozen(tables_of(model))


def to_c(model: Any, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the frozen forest and the sources of its runtime into a folder.

    ``model.frz`` is the file of :func:`freeze`. ``rcf_frozen.c`` and ``rcf_frozen.h`` are the runtime: C99 code that allocates no
    memory and calls no library function except `memcpy`. ``rcf_frozen.mjs`` lets JavaScript call the same C code, compiled
    to WebAssembly. A model of at most one megabyte is also written as the array ``rcf_model_data`` in ``model.c``, for
    machines without a file system.

    The runtime needs a few kilobytes of scratch space. It scores seven times as fast if the caller gives it memory for the boxes
    of the trees. A tree of n distinct records with d features then needs (n - 1) (8 + 8 d) bytes, where d is rounded up to a
    multiple of 8.

    Parameters
    ----------
    model : RandomCutForest
        A fitted forest. Its `method` is exported.
    folder : str or path-like
        Created if it does not exist. Existing files with these names are replaced.

    Returns
    -------
    list of Path
        The written files.
    """
    data, place = freeze(model), Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    files = {path.name: path.read_bytes() for path in RUNTIME}
    files["model.frz"] = data
    if len(data) <= MOST_AS_TEXT:
        files["model.c"] = c_array(data, "rcf_model_data").encode()
    for name, content in files.items():
        (place / name).write_bytes(content)
    return [place / name for name in files]


def to_onnx(
    model: Any, dtype: Literal["float64", "float32"] = "float64", *, attribution: bool = False
) -> onnx.ModelProto:
    """Convert a forest to an ONNX model, which uses only core operators.

    The model has one input, ``X``, float64 of shape (n, d). It has two outputs of shape (n,): ``anomaly_score``, of
    type `dtype`, and ``label``, int64, which is -1 for outliers and 1 for inliers as in `predict`.

    Parameters
    ----------
    model : RandomCutForest
        A fitted forest. Its `method` is exported.
    dtype : {"float64", "float32"}, default="float64"
        The type in which the graph computes. With float64 the scores agree with `anomaly_score` to a relative error of 1e-15,
        because only the order of summation differs. With float32 they agree to 2e-7.
    attribution : bool, default=False
        Add the output ``attribution`` (n, d, 2), the result of :meth:`rcf.RandomCutForest.attribution`. The graph then takes
        three times as long.

    Returns
    -------
    onnx.ModelProto
        A model of opset 18. Pass ``model.SerializeToString()`` to `onnxruntime.InferenceSession`.

    Raises
    ------
    ImportError
        If onnx is not installed; the extra `onnx` installs it.
    TypeError
        If `model` is not a RandomCutForest.
    ValueError
        If `dtype` is unknown or the forest holds no records.

    Notes
    -----
    The graph walks through all trees at once, level by level, and needs about ten arrays of n x trees x d numbers. Score
    at most a few hundred rows in one call: 100 rows, 100 trees and 48 features take 40 MB.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import RandomCutForest
    >>> from rcf.export import to_onnx
    >>> forest = RandomCutForest(random_state=0).fit(np.random.default_rng(0).normal(size=(500, 3)))
    >>> model = to_onnx(forest)  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession(model.SerializeToString())  # doctest: +SKIP
    >>> score, label = session.run(None, {"X": np.zeros((1, 3))})  # doctest: +SKIP
    """
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    tables = tables_of(model)
    try:
        from ._onnx import model_of
    except ModuleNotFoundError as error:
        _name_the_extra(error)
        raise
    return model_of(tables, dtype, attribution)


def register_converter() -> None:
    """Register a converter, so that skl2onnx can convert a `RandomCutForest`, also as the last step of a pipeline.

    The converted model has the outputs ``label`` and ``anomaly_score``, which are those of :func:`to_onnx`.

    Raises
    ------
    ImportError
        If skl2onnx is not installed; the extra `onnx` installs it.

    Notes
    -----
    Use float64 inputs for the pipeline. With float32 the steps before the forest round their results. A training record then
    no longer equals its copy in the trees, and its score rises.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from rcf import RandomCutForest
    >>> from rcf.export import register_converter
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> pipeline = make_pipeline(StandardScaler(), RandomCutForest(random_state=0)).fit(X)
    >>> register_converter()  # doctest: +SKIP
    >>> model = skl2onnx.to_onnx(pipeline, X)  # doctest: +SKIP
    """
    try:
        from ._skl2onnx import register
    except ModuleNotFoundError as error:
        _name_the_extra(error)
        raise
    register()


def _name_the_extra(error: ModuleNotFoundError) -> None:
    if error.name in ("onnx", "skl2onnx"):
        error.msg = f'{error.msg}: pip install "rcf[onnx]"'
