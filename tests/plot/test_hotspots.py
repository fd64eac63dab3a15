"""Plots of hot spots show the regions."""

import io

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.patches import Rectangle

from rcf import plot
from rcf.hotspots import HotSpots, k_distances, suggest_radius


def example(d=2, n_dense=2):
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 10, size=(600, d))
    for i in range(n_dense):
        X[i::5] = 2 + 4 * i + rng.uniform(0, 1, size=(120, d))
    return X


@pytest.mark.parametrize(("d", "features"), [(1, (0, 1)), (2, (0, 1)), (2, (1, 0)), (4, (3, 1))])
def test_a_box_for_each_region(d, features):
    spots = HotSpots(500, {1: 0.02, 2: 0.25, 4: 0.6}[d], 6)
    found = spots.update_many(example(d))
    assert len(found) >= 2
    ax = plot.hotspots(spots, features=features)
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    across, up = features if d > 1 else (0, None)
    for box, spot in zip(boxes, found, strict=True):
        assert box.get_x() == spot.min_values[across]
        assert box.get_x() + box.get_width() == pytest.approx(spot.max_values[across])
        if d == 1:
            assert box.get_y() == spots.members(spot.id)[0]
        else:
            assert box.get_y() == spot.min_values[up]
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 500
    ax.figure.savefig(io.BytesIO())


@pytest.mark.parametrize("rows", [[[0.0, 0.0]], [[1.0, 1.0]] * 9, [[0.0, 0.0], [1e-200, 1e-200]]])
def test_little_to_draw(rows):
    spots = HotSpots(scan_radius=1e-3, min_points=2)
    spots.update_many(rows)
    plot.hotspots(spots).figure.savefig(io.BytesIO())


def test_refuses():
    spots = HotSpots().fit(example())
    with pytest.raises(ValueError, match="no feature 2"):
        plot.hotspots(spots, features=(0, 2))
    with pytest.raises(ValueError, match="1 names for 2 features"):
        plot.hotspots(spots, names=["x"])
    with pytest.raises(ValueError, match="not fitted"):
        plot.hotspots(HotSpots())


def test_k_distance():
    X = example()
    ax = plot.k_distance(X, 8)
    curve, line = ax.lines[:2]
    np.testing.assert_array_equal(curve.get_ydata(), k_distances(X, 8))
    assert line.get_ydata()[0] == suggest_radius(X, 8)
    ax.figure.savefig(io.BytesIO())
    plot.k_distance([[0.0]] * 30 + [[1.0], [2.0]], 5).figure.savefig(io.BytesIO())
