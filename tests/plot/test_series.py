"""Plots of series show the given numbers on the given axes."""

import io
import sys

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

import rcf
from rcf import RandomCutForest, StreamDetector, plot


@pytest.fixture(scope="module")
def series():
    values = 100 * np.sin(np.arange(1000) / 8)
    values[700] += 150
    detector = StreamDetector(random_state=0)
    return values, detector.update_many(values), detector.forecast(10)


def test_scores(series):
    values, found, _ = series
    axes = plot.scores(np.c_[values, -values], found.score, found.is_anomaly, threshold=1.0, title="a series")
    assert len(axes) == 3
    np.testing.assert_array_equal(axes[1].lines[0].get_ydata(), -values)
    np.testing.assert_array_equal(axes[2].lines[0].get_ydata(), found.score)
    assert axes[2].lines[1].get_xdata().tolist() == found.anomalies.tolist()
    axes[0].figure.savefig(io.BytesIO())


def test_detections_mark_the_cause(series):
    values, found, _ = series
    top, bottom = plot.detections(values, found)
    np.testing.assert_array_equal(top.lines[0].get_ydata(), values)
    at = found.anomalies[0] - found[int(found.anomalies[0])].lag
    assert at in top.lines[1].get_xdata()
    assert bottom.get_ylabel() == "grade"
    top.figure.savefig(io.BytesIO())
    top, _ = plot.detections(values, list(found))
    assert top.lines[0].get_xdata().tolist() == list(range(1000))
    frame = StreamDetector(random_state=0).update_many(
        pd.Series(values, pd.date_range("2026-01-01", periods=1000, freq="h"))
    )
    top, bottom = plot.detections(values, frame)
    assert (top.lines[0].get_xdata() == frame.index.to_numpy()).all()
    assert bottom.get_xlabel() == "time"


def test_forecast_follows_the_series(series):
    values, _, made = series
    ax = plot.forecast(values[-50:], made)
    assert ax.lines[1].get_xdata().tolist() == list(range(50, 60))
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), made.median[:, 0])
    days = np.datetime64("2026-01-01") + np.arange(50)
    later = plot.forecast(values[-50:], made, times=days).lines[1].get_xdata()
    assert later[0] == np.datetime64("2026-02-20")
    with pytest.raises(ValueError, match="3 times for 50 values"):
        plot.forecast(values[-50:], made, times=[1, 2, 3])


def test_bars_of_an_attribution_add_up_to_the_score():
    X = np.random.default_rng(0).normal(size=(500, 20))
    forest = RandomCutForest(random_state=0).fit(X)
    row = np.zeros((1, 20))
    row[0, 7] = -9.0
    ax = plot.attribution(forest.attribution(row)[0])
    assert ax.get_yticklabels()[0].get_text() == "x7"
    assert ax.get_yticklabels()[-1].get_text() == "10 others"
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(forest.anomaly_score(row)[0])
    lagged = plot.attribution(np.arange(12.0).reshape(3, 2, 2), names=["a", "b"])
    assert lagged.get_yticklabels()[0].get_text() == "b, lag 0"
    for wrong, names in ((np.zeros((2, 3)), None), (np.zeros((2, 2)), ["a"])):
        with pytest.raises(ValueError, match=r"got \(2, 3\)|1 names for 2"):
            plot.attribution(wrong, names=names)


def test_axes_that_are_given_are_used_and_pyplot_is_left_alone(series):
    values, found, made = series
    one, two = Figure().subplots(2)
    assert plot.scores(values, found.score, ax=[one, two]) == [one, two]
    assert plot.detections(values, found, [one, two]) == [one, two]
    assert plot.forecast(values, made, one) is one
    with pytest.raises(ValueError, match="ax must be 2 Axes, one for each panel, got 1"):
        plot.scores(values, found.score, ax=one)
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []
    assert rcf.plot is plot
