"""
A series in windows
===================

A window (shingle) of one day can show anomalies that no single value shows, such as a missing peak or a shifted
rhythm.
"""

import matplotlib.pyplot as plt
import numpy as np

from rcf import RandomCutForest, plot
from rcf.datasets import make_series
from rcf.shingle import shingle

DAY = 48  # half hours

values, anomalies = make_series()


def found(scores, size):
    """Number of anomalies with at least one window that scores higher than all windows without an anomaly."""
    elsewhere = np.ones(len(scores), dtype=bool)
    spans = [slice(first, after + size - 1) for first, after in anomalies]
    for span in spans:
        elsewhere[span] = False
    return sum(bool(scores[span].max() > scores[elsewhere].max()) for span in spans)


# %%
# One score per value, and one score per window at the time of its last value.

alone = RandomCutForest(random_state=0).update_many(values.reshape(-1, 1))
forest = RandomCutForest(method="displacement", random_state=0)
scores = np.r_[np.zeros(DAY - 1), forest.update_many(shingle(values, DAY))]
print(
    f"of {len(anomalies)} anomalies above all else: {found(alone, 1)} by single values, {found(scores, DAY)} by windows of a day"
)
assert found(scores, DAY) > found(alone, 1)

inside = np.zeros(len(values), dtype=bool)
for first, after in anomalies:
    inside[first:after] = True
axes = plt.subplots(2, 1, figsize=(9, 4), sharex=True, layout="constrained")[1]
plot.scores(
    values, scores, inside, axes, title="A daily rhythm with five anomalies, and the score of windows of one day"
)

# %%
# With two features, a row holds their values record by record. The attribution then shows which feature caused the score,
# and how many records ago.

pair = np.column_stack([values, np.roll(values, 5)])
wide = shingle(pair, DAY)
both = RandomCutForest(method="displacement", random_state=0).partial_fit(wide[:2000])
broken = wide[2100].reshape(DAY, 2).copy()
broken[DAY - 1 - 7, 1] += 100  # the second feature, seven records ago
parts = both.attribution(broken.reshape(1, -1)).reshape(DAY, 2, 2)
record, feature, side = np.unravel_index(parts.argmax(), parts.shape)
print(f"feature {feature}, {DAY - 1 - record} records ago, {('high', 'low')[side]}")
assert (DAY - 1 - record, feature, side) == (7, 1, 0)
