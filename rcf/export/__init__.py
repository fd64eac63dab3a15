"""Frozen copies of a forest that score without Python: ONNX graphs, and model files for a small C runtime.

A frozen model scores and explains. It does not learn: for that, keep the model file of :func:`rcf.load`.
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
MOST_AS_TEXT = (
    1 << 20
)  # bytes of a model that are written as a C array; a compiler takes seconds for each further megabyte


def freeze(model: Any) -> bytes:
    """The forest as one flat file that the C runtime scores where it lies, without a copy.

    The file holds the trees, with cuts, points and boxes as float32, and the threshold of `predict`. It does not hold what learning
    needs. Its layout stands at the head of ``rcf/export/_frozen.py``.

    Parameters
    ----------
    model : RandomCutForest
        Fitted. The method is its own.

    Returns
    -------
    bytes

    Raises
    ------
    TypeError
        If `model` is not a RandomCutForest.
    ValueError
        If the forest holds no records, or more than 2^27.

    See Also
    --------
    load_frozen : Score the file from Python.
    to_c : Write it beside the sources of the runtime.

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

    ``model.frz`` is what :func:`freeze` returns. ``rcf_frozen.c`` and ``rcf_frozen.h`` score it: C99, no allocation, no C
    library but `memcpy`. ``rcf_frozen.mjs`` scores it in JavaScript, by the same C code compiled to WebAssembly. A model of
    at most a megabyte is also written as ``model.c``, the array ``rcf_model_data``, for machines without files.

    Parameters
    ----------
    model : RandomCutForest
    folder : str or path-like
        Is made if it is not there; files of these names are replaced.

    Returns
    -------
    list of Path
        The files.
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
    """The forest as an ONNX model, made of core operators alone.

    The model has one input, ``X``, float64 of shape (n, d). Its outputs are ``anomaly_score`` (n,), of `dtype`, and
    ``label`` (n,), int64, -1 for outliers and 1 for inliers as in `predict`.

    Parameters
    ----------
    model : RandomCutForest
        Fitted. The method is its own.
    dtype : {"float64", "float32"}, default="float64"
        What the graph computes in. With float64 the scores agree with `anomaly_score` to 1e-15 of their size: only the order of
        summation differs. With float32 they agree to 2e-7 of their size.
    attribution : bool, default=False
        Add the output ``attribution`` (n, d, 2), as :meth:`rcf.RandomCutForest.attribution` returns it. The graph then takes
        three times as long.

    Returns
    -------
    onnx.ModelProto
        Opset 18. ``model.SerializeToString()`` is what `onnxruntime.InferenceSession` takes.

    Raises
    ------
    ImportError
        Without onnx, which the extra `onnx` installs.
    TypeError
        If `model` is not a RandomCutForest.
    ValueError
        If `dtype` is unknown or the forest holds no records.

    Notes
    -----
    The graph walks all trees at once, level by level, and holds some ten arrays of n x trees x d numbers on the way. Score
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
    """Let skl2onnx convert every `RandomCutForest`, also as the last step of a pipeline.

    The converted model has the outputs ``label`` and ``anomaly_score``, as those of :func:`to_onnx`.

    Raises
    ------
    ImportError
        Without skl2onnx, which the extra `onnx` installs.

    Notes
    -----
    Give the pipeline float64 inputs. In float32 the steps before the forest round, a record no longer equals the record that a
    tree holds of it, and its score rises.

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
