"""Training on many machines: forests of parts of the data become the forest of the whole, exactly in distribution."""

import numpy as np

import rcf
from rcf import RandomCutForest

rng = np.random.default_rng(0)
parts = [rng.normal(center, 1.0, size=(20_000, 4)) for center in (0.0, 3.0, 6.0)]

# On each machine: a random_state of its own, for equal random numbers would choose the same places. Bytes travel, not pickles.
sent = [RandomCutForest(random_state=i).fit(part).to_bytes() for i, part in enumerate(parts)]
print("sent", [f"{len(data) / 1000:.0f} kB" for data in sent])

whole = rcf.merge(RandomCutForest.from_bytes(data) for data in sent)
assert whole.n_seen_ == 60_000

# Where a forest of one part finds the others' records strange, that of the whole knows all of them and an outlier still.
one = RandomCutForest.from_bytes(sent[0])
middles = [[0.0] * 4, [3.0] * 4, [6.0] * 4, [3.0, -9.0, 3.0, 3.0]]
print("of the first part:", one.anomaly_score(middles).round(2))
print("of the whole:     ", whole.anomaly_score(middles).round(2))
scores = whole.anomaly_score(middles)
assert scores[3] > 2 * scores[:3].max()
