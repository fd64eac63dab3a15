"""Tables: the forest beside IsolationForest, and which feature it was.

A cut falls on a feature in proportion to its extent; IsolationForest takes each as often. Where features share a unit,
many that hardly vary do not drown the few that do. Where units mean nothing, scale the features first.
"""

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from rcf import RandomCutForest

rng = np.random.default_rng(0)
busy = np.r_[rng.normal(size=(4000, 3)), rng.normal(0, 2.5, size=(80, 3))]
idle = rng.normal(0, 0.1, size=(4080, 40))  # sensors of the same unit that hardly move
X, is_outlier = np.c_[busy, idle], np.r_[np.zeros(4000), np.ones(80)]

quality = {}
for model in (IsolationForest(random_state=0), RandomCutForest(random_state=0)):
    quality[type(model).__name__] = roc_auc_score(is_outlier, -model.fit(X).score_samples(X))
for name, area in quality.items():
    print(f"{name:16} ROC-AUC {area:.3f}")
assert quality["RandomCutForest"] > quality["IsolationForest"]

# Each part is what one feature, on one side, adds to the score.
forest = RandomCutForest(random_state=0).fit(X[:4000])
record = X[0].copy()
record[2] += 20
parts = forest.attribution([record])[0]
feature, side = np.unravel_index(parts.argmax(), parts.shape)
print(f"feature {feature}, {('high', 'low')[side]}: {parts.max() / parts.sum():.0%} of the score")
assert (feature, side) == (2, 0)
