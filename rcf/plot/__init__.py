"""Plots of scores, detections, forecasts, hot spots and trees. They need matplotlib: ``pip install "rcf[plot]"``.

Every function takes ``ax``, draws on it, and returns the Axes. Without ``ax`` it makes a figure that is not registered with
pyplot: save it with ``ax.figure.savefig(path)``, or let a notebook show ``ax.figure``.
"""

from .hotspots import hotspots, k_distance
from .series import attribution, detections, forecast, scores
from .trees import cuts, tree

__all__ = ["attribution", "cuts", "detections", "forecast", "hotspots", "k_distance", "scores", "tree"]
