"""Hot spots that move: a region keeps its id while it wanders, and its life is told as it happens."""

import numpy as np

from rcf import HotSpots
from rcf.hotspots import suggest_radius

rng = np.random.default_rng(0)
n = 6000
X = rng.uniform(0, 10, size=(n, 2))
crowd = np.arange(n) % 4 == 0
path = np.column_stack([np.linspace(2, 8, n), 5 + 2 * np.sin(np.linspace(0, 3, n))])
X[crowd] = path[crowd] + rng.normal(0, 0.25, size=(crowd.sum(), 2))

radius = suggest_radius(X[:1000], min_points=25)
spots = HotSpots(window_size=1000, scan_radius=radius, min_points=25)
centers = {}
for start in range(0, n, 1000):
    for change in spots.follow(X[start : start + 1000]):
        if change.kind in ("born", "died", "split", "merged"):
            print(f"record {change.at}: region {change.id} {change.kind}")
    densest = max(spots.hot_spots_, key=lambda spot: spot.count)
    centers.setdefault(densest.id, []).append(densest.center)
    x, y = densest.center
    print(f"after {start + 1000}: region {densest.id} with {densest.count} records around ({x:.1f}, {y:.1f})")

trail = max(centers.values(), key=len)
assert len(trail) >= 4, "one region, one id"
assert trail[-1][0] - trail[0][0] > 3
