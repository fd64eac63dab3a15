"""
A score of your own at native speed
===================================

A walk follows a record to its leaf and climbs back to the root. If the record were inserted, it would be cut off at a box that
does not contain it with probability ``q = gap / (gap + extent)``. A visitor defines the value ``here`` of such a cut, and
``value + q * (here - value)`` is the expectation. Each of the three visitors below consists of three short functions. This
example needs the extra ``numba``.
"""

import matplotlib.pyplot as plt
import numpy as np

from rcf import RandomCutForest
from rcf.walk import Visitor

rng = np.random.default_rng(0)
X = np.r_[rng.normal(size=(2000, 3)), [[7.0, 0.0, 0.0]]]
forest = RandomCutForest(random_state=0).fit(X[:-1])


# %%
# **Height** is the depth at which a cut would separate the record from the rest. It is low for anomalies.


def height_equal(depth, mass, n, above):
    return depth + np.log2(mass)


def height_unequal(depth, mass, n, above, gap):
    return depth + 1.0


def height_ancestor(value, depth, mass, n, above, gap, extent):
    return value + gap / (gap + extent) * (depth + 1.0 - value)


height = forest.walk(X, Visitor(height_equal, height_unequal, height_ancestor))


# %%
# **Density** is the number of records on the other side of the cut, divided by the length of the box around both sides.


def density_equal(depth, mass, n, above):
    return mass / 1e-3  # a box of length zero counts as one of 0.001


def density_unequal(depth, mass, n, above, gap):
    return mass / max(gap, 1e-3)


def density_ancestor(value, depth, mass, n, above, gap, extent):
    return value + gap / (gap + extent) * (mass / (gap + extent) - value)


density = forest.walk(X, Visitor(density_equal, density_unequal, density_ancestor))


# %%
# **Loneliness** is the distance of the record from the box of the others, relative to the box that includes the record. It
# does not depend on the size of the sample.


def lonely_equal(depth, mass, n, above):
    return 0.0


def lonely_unequal(depth, mass, n, above, gap):
    return 0.0  # the box of a single record has no extent


def lonely_ancestor(value, depth, mass, n, above, gap, extent):
    q = gap / (gap + extent)
    return value + q * (q * mass / n - value)


lonely = forest.walk(X, Visitor(lonely_equal, lonely_unequal, lonely_ancestor))

# %%
# All three find the outlier, which is the last row.

figure, panels = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
for name, worth, low in (("height", height, True), ("density", density, True), ("lonely", lonely, False)):
    print(f"{name:8} median {np.median(worth):8.3f}, of the outlier {worth[-1]:8.3f}")
    assert (worth.argmin() if low else worth.argmax()) == 2000
    panel = panels[["height", "density", "lonely"].index(name)]
    panel.hist(worth[:-1], bins=40)
    panel.axvline(worth[-1], color="black", linestyle="--")
    panel.set(title=f"{name}; dashed: the outlier", yticks=[])
