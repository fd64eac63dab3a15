"""
Hot spots that move
===================

A dense region keeps its id while it moves. ``follow`` returns how each record changed the regions.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation

from rcf import HotSpots, plot
from rcf.hotspots import suggest_radius

rng = np.random.default_rng(0)
n = 6000
X = rng.uniform(0, 10, size=(n, 2))
crowd = np.arange(n) % 4 == 0
path = np.column_stack([np.linspace(2, 8, n), 5 + 2 * np.sin(np.linspace(0, 3, n))])
X[crowd] = path[crowd] + rng.normal(0, 0.25, size=(crowd.sum(), 2))

# %%
# The radius comes from the k-distance curve of the first window.

radius = suggest_radius(X[:1000], min_points=25)
plot.k_distance(X[:1000], 25, plt.subplots(figsize=(6, 3.5), layout="constrained")[1])

# %%
# One region appears and moves to the right. Each frame shows the last 1000 records.

spots = HotSpots(window_size=1000, scan_radius=radius, min_points=25)
centers, frames = {}, []
for start in range(0, n, 500):
    for change in spots.follow(X[start : start + 500]):
        if change.kind in ("born", "died", "split", "merged"):
            print(f"record {change.at}: region {change.id} {change.kind}")
    densest = max(spots.hot_spots_, key=lambda spot: spot.count)
    centers.setdefault(densest.id, []).append(densest.center)
    frames.append(spots.to_bytes())

trail = max(centers.values(), key=len)
print(f"one region was followed from x = {trail[0][0]:.1f} to x = {trail[-1][0]:.1f}")
assert len(trail) >= 4, "one region, one id"
assert trail[-1][0] - trail[0][0] > 3

figure, ax = plt.subplots(figsize=(6, 5))


def draw(frame):
    ax.clear()
    plot.hotspots(HotSpots.from_bytes(frames[frame]), ax, title=f"after {500 * (frame + 1)} records")
    ax.set(xlim=(-0.5, 10.5), ylim=(-0.5, 10.5))


animation = FuncAnimation(figure, draw, frames=range(1, len(frames)), interval=500)
