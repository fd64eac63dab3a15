"""A score of one's own at native speed (needs the extra `numba`).

A walk follows a record to its leaf and climbs back. Inserting it would cut it off at a box that does not contain it with chance
``q = gap / (gap + extent)``; a visitor says what that would be worth at each station, and ``value + q * (here - value)`` is the
expectation. Three visitors, each three short functions.
"""

import numpy as np

from rcf import RandomCutForest
from rcf.walk import Visitor

rng = np.random.default_rng(0)
X = np.r_[rng.normal(size=(2000, 3)), [[7.0, 0.0, 0.0]]]
forest = RandomCutForest(random_state=0).fit(X[:-1])


# Height: the depth at which a cut would part the record from the rest; low for anomalies.
def height_equal(depth, mass, n, above):
    return depth + np.log2(mass)


def height_unequal(depth, mass, n, above, gap):
    return depth + 1.0


def height_ancestor(value, depth, mass, n, above, gap, extent):
    return value + gap / (gap + extent) * (depth + 1.0 - value)


height = forest.walk(X, Visitor(height_equal, height_unequal, height_ancestor))


# Density: how many records lie beside the record where it is cut off, by the length of the box that holds them and it.
def density_equal(depth, mass, n, above):
    return mass / 1e-3  # of length zero: as dense as anything within a thousandth


def density_unequal(depth, mass, n, above, gap):
    return mass / max(gap, 1e-3)


def density_ancestor(value, depth, mass, n, above, gap, extent):
    return value + gap / (gap + extent) * (mass / (gap + extent) - value)


density = forest.walk(X, Visitor(density_equal, density_unequal, density_ancestor))


# Loneliness: how far outside the rest it lies, as a share of the box that it would stretch; no sample size in it.
def lonely_equal(depth, mass, n, above):
    return 0.0


def lonely_unequal(depth, mass, n, above, gap):
    return 0.0  # beside a single record every one is as far away as that is


def lonely_ancestor(value, depth, mass, n, above, gap, extent):
    q = gap / (gap + extent)
    return value + q * (q * mass / n - value)


lonely = forest.walk(X, Visitor(lonely_equal, lonely_unequal, lonely_ancestor))

for name, worth, low in (("height", height, True), ("density", density, True), ("lonely", lonely, False)):
    print(f"{name:8} median {np.median(worth):8.3f}, of the outlier {worth[-1]:8.3f}")
    assert (worth.argmin() if low else worth.argmax()) == 2000
