"""Frozen copies of a forest that score without Python: ONNX graphs, and model files for a small C runtime.

A frozen model scores and explains. It does not learn: for that, keep the model file of :func:`rcf.load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import onnx

__all__ = ["register_converter", "to_onnx"]


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
    from ._tables import tables_of

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
