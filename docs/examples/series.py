"""A series with a daily rhythm: windows of a day show what no single value shows."""

import numpy as np

from rcf import RandomCutForest
from rcf.datasets import make_series
from rcf.shingle import shingle

DAY = 48  # values of half an hour

values, anomalies = make_series()


def found(scores, size):
    """Anomalies of which a window scores above every window that holds none."""
    elsewhere = np.ones(len(scores), dtype=bool)
    spans = [slice(first, after + size - 1) for first, after in anomalies]
    for span in spans:
        elsewhere[span] = False
    return sum(bool(scores[span].max() > scores[elsewhere].max()) for span in spans)


alone = RandomCutForest(random_state=0).update_many(values.reshape(-1, 1))

# One score a window, at the time of its last value.
windows = shingle(values, DAY)
forest = RandomCutForest(method="displacement", random_state=0)
scores = np.r_[np.zeros(DAY - 1), forest.update_many(windows)]
print(
    f"of {len(anomalies)} anomalies, above all else: {found(alone, 1)} by values alone, {found(scores, DAY)} by windows of a day"
)
assert found(scores, DAY) > found(alone, 1)

# Two features: the row is their values record by record, so the parts say which feature and how many records ago.
pair = np.column_stack([values, np.roll(values, 5)])
wide = shingle(pair, DAY)
both = RandomCutForest(method="displacement", random_state=0).partial_fit(wide[:2000])
broken = wide[2100].reshape(DAY, 2).copy()
broken[DAY - 1 - 7, 1] += 100  # seven records ago, the second feature
parts = both.attribution(broken.reshape(1, -1)).reshape(DAY, 2, 2)
record, feature, side = np.unravel_index(parts.argmax(), parts.shape)
print(f"feature {feature}, {DAY - 1 - record} records ago, {('high', 'low')[side]}")
assert (DAY - 1 - record, feature, side) == (7, 1, 0)
