"""Forests as MLflow models: saved, logged, registered and served without pickle.

The MLflow model contains rcf's own model file and the name of this module, which reads that file. So `rcf` must be
installed on the machine that loads the model.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from .._version import __version__
from ..estimator import RandomCutForest
from ..persist import load

try:
    import mlflow
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
except ImportError as error:
    raise ImportError(f'rcf.adapters.mlflow needs mlflow and pandas ({error}): pip install "rcf[mlflow]"') from error

_FILE = "model.rcf"


def save_model(model: RandomCutForest, path: Any, **options: Any) -> None:
    """Save a fitted forest as an MLflow model in a local folder.

    Parameters
    ----------
    model : RandomCutForest
    path : str or path-like
        A folder that does not exist yet.
    **options
        Further arguments of ``mlflow.pyfunc.save_model``: `signature`, `input_example`, `metadata`, `pip_requirements`,
        ... By default the signature declares the features as doubles, so that whole numbers are accepted, and the
        requirement is this version of rcf.

    Raises
    ------
    TypeError
        If `model` is not a RandomCutForest. A StreamDetector cannot be served, because it learns every record.
    sklearn.exceptions.NotFittedError If the model is not fitted.

    Examples
    --------
    ::

        save_model(forest, "model")
        mlflow.pyfunc.load_model("model").predict(frame)      # a frame: anomaly_score, is_anomaly
        $ mlflow models serve --env-manager local -m model
    """
    with tempfile.TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(path=str(path), **_arguments(model, folder, options))


def log_model(model: RandomCutForest, name: str, **options: Any) -> Any:
    """Log a fitted forest to the active MLflow run.

    Parameters
    ----------
    model : RandomCutForest
    name : str
    **options
        Further arguments of ``mlflow.pyfunc.log_model``, as for :func:`save_model`. `registered_model_name` also
        registers the model.

    Returns
    -------
    mlflow.models.model.ModelInfo
        Pass its `model_uri` to :func:`load_model`.
    """
    with tempfile.TemporaryDirectory() as folder:
        return mlflow.pyfunc.log_model(name=name, **_arguments(model, folder, options))


def load_model(model_uri: str) -> RandomCutForest:
    """Load the forest of an MLflow model. It can learn more, whereas ``mlflow.pyfunc.load_model`` returns a model that only
    predicts.

    Parameters
    ----------
    model_uri : str
        A folder, or a URI of MLflow such as ``runs:/...`` or ``models:/...``.
    """
    forest: RandomCutForest = mlflow.pyfunc.load_model(model_uri).get_raw_model()
    return forest


class ServedForest:
    """The model that MLflow calls: it takes a frame or an array and returns a frame with `anomaly_score` and `is_anomaly`."""

    def __init__(self, forest: RandomCutForest) -> None:
        self.forest = forest

    def get_raw_model(self) -> RandomCutForest:
        return self.forest

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """The score of each row, and whether ``RandomCutForest.predict`` flags it. The forest does not change."""
        scores = self.forest.anomaly_score(data)
        return pd.DataFrame({"anomaly_score": scores, "is_anomaly": scores > -self.forest.offset_})


def _load_pyfunc(path: str) -> ServedForest:
    """Called by MLflow with the path of the model file."""
    return ServedForest(load(path))


def _arguments(model: RandomCutForest, folder: str, options: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(model, RandomCutForest):
        raise TypeError(f"model must be a RandomCutForest, got {type(model).__name__}")
    model.offset_  # noqa: B018  # raises NotFittedError if not fitted; computed once now, so that it is saved
    file = Path(folder, _FILE)
    model.save(file)
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        columns = [ColSpec("double") for _ in range(model.n_features_in_)]
    else:
        columns = [ColSpec("double", name) for name in names]
    answer = Schema([ColSpec("double", "anomaly_score"), ColSpec("boolean", "is_anomaly")])
    return {
        "loader_module": __name__,
        "data_path": str(file),
        "signature": ModelSignature(inputs=Schema(columns), outputs=answer),
        "pip_requirements": [f"rcf[mlflow]=={__version__}"],
        **options,
    }
