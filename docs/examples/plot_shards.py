"""
Training on many machines
=========================

Forests that were fitted on parts of the data can be merged. The result has exactly the distribution of a forest fitted on all data.
"""

import matplotlib.pyplot as plt
import numpy as np

import rcf
from rcf import RandomCutForest

rng = np.random.default_rng(0)
parts = [rng.normal(center, 1.0, size=(20_000, 4)) for center in (0.0, 3.0, 6.0)]

# %%
# Each machine uses its own random_state, because equal random numbers would choose the same positions. The machines exchange
# model files, which are bytes and not pickles.

sent = [RandomCutForest(random_state=i).fit(part).to_bytes() for i, part in enumerate(parts)]
print("sent", [f"{len(data) / 1000:.0f} kB" for data in sent])

whole = rcf.merge(RandomCutForest.from_bytes(data) for data in sent)
assert whole.n_seen_ == 60_000

# %%
# The forest of one part gives high scores to records of the other parts. The merged forest has learned all parts, and still
# finds the outlier.

one = RandomCutForest.from_bytes(sent[0])
middles = [[0.0] * 4, [3.0] * 4, [6.0] * 4, [3.0, -9.0, 3.0, 3.0]]
print("of the first part:", one.anomaly_score(middles).round(2))
print("of the whole:     ", whole.anomaly_score(middles).round(2))
scores = whole.anomaly_score(middles)
assert scores[3] > 2 * scores[:3].max()

figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
labels = ["part 1", "part 2", "part 3", "outlier"]
at = np.arange(len(labels))
ax.bar(at - 0.2, one.anomaly_score(middles), 0.4, label="forest of part 1")
ax.bar(at + 0.2, scores, 0.4, label="merged forest", hatch="//", edgecolor="white")
ax.set_xticks(at, labels)
ax.set_ylabel("score")
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
