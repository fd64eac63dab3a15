"""
Reading an attribution
======================

An attribution divides the score of a record among its features. Each feature has two parts: one for a high value, and one for a
low value. All parts are at least 0, and together they are the score.
"""

import matplotlib.pyplot as plt
import numpy as np

from rcf import RandomCutForest, StreamDetector, plot

rng = np.random.default_rng(0)
names = ["load", "latency", "errors", "disk"]
usual = np.column_stack(
    [rng.normal(50, 8, 2000), rng.normal(20, 3, 2000), rng.normal(5, 3, 2000), rng.normal(60, 5, 2000)]
)
forest = RandomCutForest(random_state=0).fit(usual)

# %%
# Two records
# -----------
# In the first record ``latency`` is far too high, and ``disk`` is a little low. The second record is ordinary, but its parts are
# not zero, because every record is cut off somewhere. Therefore look only at parts that are large compared with those of an
# ordinary record.

strange = [50.0, 45.0, 5.0, 48.0]
ordinary = [50.0, 20.0, 5.0, 60.0]
parts = forest.attribution([strange, ordinary])
figure, panels = plt.subplots(1, 2, figsize=(10, 2.8), sharex=True, layout="constrained")
for part, title, panel in zip(parts, ("strange", "ordinary"), panels, strict=True):
    plot.attribution(part, panel, names=names)
    panel.set_title(f"{title}: score {part.sum():.2f}")
panels[0].get_legend().remove()
assert np.allclose(parts.sum(axis=(1, 2)), forest.anomaly_score([strange, ordinary]))
assert np.unravel_index(parts[0].argmax(), (4, 2)) == (1, 0)

# %%
# What a part means
# -----------------
# A tree separates the record from the others by a random cut. The probability that the cut falls into a feature is proportional
# to the distance, in this feature, of the record from the box of the other records. This share of the score is the part of the
# feature. It is "high" if the record lies above the box, and "low" if the record lies below it.
#
# The methods measure different things, so their parts have different units. With ``depth``, a part is large if the cut is near the
# root. With ``codisp``, a part is a ratio of numbers of records: those on the other side of a cut, divided by those on the
# side of the new record. Here both methods divide the score in a similar way.

figure, panels = plt.subplots(1, 2, figsize=(10, 2.8), layout="constrained")
shares = {}
for method, panel in zip(("depth", "codisp"), panels, strict=True):
    part = forest.attribution([strange], method)[0]
    shares[method] = part.sum(axis=1) / part.sum()
    print(f"{method:7}" + "".join(f"{name} {share:4.0%}   " for name, share in zip(names, shares[method], strict=True)))
    plot.attribution(part, panel, names=names)
    panel.set_title(method)
panels[0].get_legend().remove()
assert max(abs(shares["depth"] - shares["codisp"])) < 0.2

# %%
# Two features that measure the same
# ----------------------------------
# If a second sensor measures the same latency, the two features divide the part between them, and each looks less important than
# it is. Add up the parts of features that belong together.

twice = np.c_[usual, usual[:, 1] + rng.normal(0, 0.5, 2000)]
both = RandomCutForest(random_state=0).fit(twice).attribution([[*strange, 45.0]])[0]
plot.attribution(both, plt.subplots(figsize=(7, 2.8), layout="constrained")[1], names=[*names, "latency again"])
share = both.sum(axis=1) / both.sum()
print(f"latency {share[1]:.0%}, latency again {share[4]:.0%}; alone it had {shares['depth'][1]:.0%}")
assert share[1] < shares["depth"][1]
assert share[1] + share[4] > 0.9 * shares["depth"][1]

# %%
# In a stream
# -----------
# The attribution of a :class:`~rcf.StreamDetector` covers all records of the window. A lag says how many records ago a value
# came. Here the error count rises for one record.

stream = usual[:1000].copy()
stream[900, 2] = 60.0
detector = StreamDetector(shingle_size=4, random_state=0)
detector.update_many(stream[:900])
found = detector.update(stream[900])
assert found.is_anomaly
assert (found.cause.feature, found.cause.side) == ("x2", "high")
print(found.reason)
plot.attribution(found.attribution, plt.subplots(figsize=(7, 3.2), layout="constrained")[1], names=names, most=5)

# %%
# There are two limits. First, the method ``path`` has no attribution, because it does not use boxes. Second, values can be
# unusual only in combination, such as a high load with a low latency. The parts then name the features in which the record lies
# outside a box, but not the relation between the features.
