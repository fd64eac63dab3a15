"""The result of a search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone


@dataclass
class Search:
    """The result of `search`.

    Attributes
    ----------
    best_params_ : dict
        The recommended parameters: those of the best point, or {} (the defaults) if the defaults are at least as good on the
        held-out labels.
    best_score_ : float
        The metric of the best point on the labels that were used to choose it.
    held_out_score_, default_score_ : float
        The metric on the held-out labels, for the best point and for the estimator as it was given.
    trials : list of dict
        All points that were tried, each with its ``score`` (the mean over the repeats) and ``spread`` (the standard deviation).
    """

    estimator: Any
    metric: str
    best_params_: dict[str, Any] = field(default_factory=dict)
    best_score_: float = np.nan
    held_out_score_: float = np.nan
    default_score_: float = np.nan
    trials: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best_estimator_(self) -> Any:
        """An unfitted copy of the estimator with `best_params_`."""
        return clone(self.estimator).set_params(**self.best_params_)

    @property
    def history(self) -> Any:
        """`trials` as a pandas.DataFrame with one row per trial, in the order of the search."""
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('history needs pandas: pip install "rcf[cli]"', name="pandas") from error
        return pd.DataFrame(self.trials)

    def plot(self, ax: Any = None) -> Any:
        """Plot the scores of the points in the order of the search, and the best score so far.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure, ``ax.figure``, that is not registered with pyplot.

        Returns
        -------
        matplotlib Axes
        """
        try:
            from ..plot.style import axes_of, plain

            axes = plain(axes_of(ax, figsize=(8, 4)))
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('plot needs matplotlib: pip install "rcf[plot]"', name="matplotlib") from error
        scores = [trial["score"] for trial in self.trials]
        at = np.arange(1, len(scores) + 1)
        axes.errorbar(
            at, scores, [trial["spread"] for trial in self.trials], fmt="o", ms=4, lw=1, label="a point and its spread"
        )
        axes.step(at, np.maximum.accumulate(scores), where="post", label="best so far")
        axes.axhline(self.held_out_score_, ls="--", c="C2", label="best, on held-out labels")
        axes.axhline(self.default_score_, ls=":", c="C3", label="defaults, on held-out labels")
        axes.set_xlabel("point")
        axes.set_ylabel(self.metric)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        return axes

    def __repr__(self) -> str:
        return (
            f"Search({self.best_params_}, {self.metric}: {self.held_out_score_:.3f} on held-out labels, "
            f"{self.default_score_:.3f} by default)"
        )
