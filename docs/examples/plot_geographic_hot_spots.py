"""
Taxi pickups
============

Where do passengers gather, and when? The pickups are synthetic: a city, an airport, a station in the rush hours, and a concert
that ends at 22:30. With ``metric="haversine"`` records are latitudes and longitudes in degrees, and the radius is in metres.
"""

import matplotlib.pyplot as plt
import numpy as np

from rcf import HotSpots, plot

rng = np.random.default_rng(0)
METRES = 1 / 111_195  # degrees of latitude


def scattered(center, metres, n):
    """Normally distributed places around a center."""
    stretch = [1.0, 1 / np.cos(np.radians(center[0]))]
    return np.array(center) + METRES * metres * rng.normal(size=(n, 2)) * stretch


def pickups(hours, center, metres):
    return np.column_stack([hours, scattered(center, metres, len(hours))])


city, airport, station, arena = (40.745, -73.975), (40.6413, -73.7781), (40.7527, -73.9772), (40.7505, -73.9934)
day = np.concatenate([
    pickups(rng.uniform(0, 24, 12_000), city, 6000),
    pickups(rng.uniform(5, 24, 2000), airport, 120),
    pickups(rng.normal(8.5, 0.6, 900), station, 120),
    pickups(rng.normal(17.8, 0.8, 900), station, 120),
    pickups(22.5 + rng.exponential(0.3, 500), arena, 100),
])  # fmt: skip
day = day[np.argsort(day[:, 0])]
hours, places = day[:, 0], day[:, 1:]

# %%
# The window holds the last 1500 pickups. A region needs 40 pickups within 150 m.

spots = HotSpots(window_size=1500, scan_radius=150, min_points=40, metric="haversine")
changes = spots.follow(places)
for change in changes:
    if change.kind in ("born", "died", "merged"):
        hour = hours[change.at]
        print(f"{int(hour):02}:{int(60 * hour % 60):02}  region {change.id} {change.kind}")

# %%
# The picture shows the regions at 23:15, after the concert. Each region is labelled with its id, count and density.

late = HotSpots(window_size=1500, scan_radius=150, min_points=40, metric="haversine")
late.update_many(places[hours < 23.25])
figure, ax = plt.subplots(figsize=(8, 6), layout="constrained")
plot.hotspots(late, ax, title="Pickups before 23:15")

for spot in late.hot_spots_:
    latitude, longitude = spot.center
    print(f"{spot.count} pickups around {latitude:.4f}, {longitude:.4f}: {1e6 * spot.density:,.0f} per km²")

crowds = {name: min(np.hypot(*np.subtract(spot.center, place)) for spot in late.hot_spots_) / METRES
          for name, place in (("airport", airport), ("arena", arena))}  # fmt: skip
assert max(crowds.values()) < 100, "both crowds are found within 100 m"
