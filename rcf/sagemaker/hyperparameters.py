"""The hyperparameters of a training job: strings in a JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .recordio import MAX_FEATURES

METRICS = ("accuracy", "precision_recall_fscore")
# AWS's container accepts these too, and the SDK sends mini_batch_size. They have no effect on a forest.
_IGNORED = {"mini_batch_size", "epochs", "force_dense"}


@dataclass(frozen=True)
class Hyperparameters:
    """The settings of a training job, with SageMaker's ranges and defaults.

    Attributes
    ----------
    feature_dim : int
        Number of features of a row, 1 to 10 000; required.
    num_trees : int
        Number of trees, 50 to 1000.
    num_samples_per_tree : int
        Number of rows that each tree holds, 1 to 2048. AWS recommends the reciprocal of the expected share of
        anomalies.
    eval_metrics : tuple of str
        Metrics reported for the channel "test": "accuracy", "precision_recall_fscore", or both.
    seed : int
        0 to 2**32 - 1. The same data and seed give the same model, bit for bit. AWS's container has no such setting.
    """

    feature_dim: int
    num_trees: int = 100
    num_samples_per_tree: int = 256
    eval_metrics: tuple[str, ...] = METRICS
    seed: int = 0

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Hyperparameters:
        """Parse the strings of hyperparameters.json. A ValueError names the one that is missing, unknown or out of range."""
        known = cls.__dataclass_fields__
        for name in given:
            if name not in known and name not in _IGNORED and not name.startswith("_"):
                raise ValueError(f"no hyperparameter {name!r}; there are {', '.join(known)}")
        if "feature_dim" not in given:
            raise ValueError("the hyperparameter feature_dim is required: how many features a row has")
        ranges = {
            "feature_dim": (1, MAX_FEATURES),
            "num_trees": (50, 1000),
            "num_samples_per_tree": (1, 2048),
            "seed": (0, 2**32 - 1),
        }
        numbers = {name: _whole(name, given[name], *limits) for name, limits in ranges.items() if name in given}
        return cls(eval_metrics=_metrics(given.get("eval_metrics")), **numbers)


def _whole(name: str, text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"\s*\+?\d{1,20}\s*", str(text)) or not low <= int(text) <= high:
        raise ValueError(
            f"the hyperparameter {name} must be a whole number from {low} to {high}, got {str(text)[:80]!r}"
        )
    return int(text)


def _metrics(text: str | None) -> tuple[str, ...]:
    if text is None:
        return METRICS
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not names or not all(name in METRICS for name in names):
        raise ValueError(
            f"the hyperparameter eval_metrics must be a JSON list of {' and '.join(map(repr, METRICS))}, got {text[:80]!r}"
        )
    return tuple(dict.fromkeys(names))
