"""
Tables: a forest beside IsolationForest
=======================================

A random cut forest cuts a feature in proportion to its extent, whereas IsolationForest cuts every feature equally often. So if
all features have the same unit, many features that hardly vary do not hide a few that vary much. If the units are arbitrary,
scale the features first.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from rcf import RandomCutForest, plot

# %%
# Three active sensors contain the outliers. Forty idle sensors of the same unit hardly vary.

rng = np.random.default_rng(0)
busy = np.r_[rng.normal(size=(4000, 3)), rng.normal(0, 2.5, size=(80, 3))]
idle = rng.normal(0, 0.1, size=(4080, 40))
X, is_outlier = np.c_[busy, idle], np.r_[np.zeros(4000), np.ones(80)]

figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
quality = {}
for model, panel in zip((IsolationForest(random_state=0), RandomCutForest(random_state=0)), panels, strict=True):
    name = type(model).__name__
    scores = -model.fit(X).score_samples(X)
    quality[name] = roc_auc_score(is_outlier, scores)
    print(f"{name:16} ROC-AUC {quality[name]:.3f}")
    ranks = scores.argsort().argsort() / len(scores)
    panel.hist([ranks[is_outlier == 0], ranks[is_outlier == 1]], bins=20, density=True, label=["ordinary", "outliers"])
    panel.set(title=f"{name}, ROC-AUC {quality[name]:.2f}", xlabel="rank of the score, 1 is the highest")
panels[0].set_ylabel("density")
panels[0].legend(frameon=False, loc="upper left")
assert quality["RandomCutForest"] > quality["IsolationForest"]

# %%
# The attribution shows which feature made a row anomalous, and on which side. Its parts sum to the score.

forest = RandomCutForest(random_state=0).fit(X[:4000])
record = X[0].copy()
record[2] += 20
parts = forest.attribution([record])[0]
feature, side = np.unravel_index(parts.argmax(), parts.shape)
print(f"feature {feature}, {('high', 'low')[side]}: {parts.max() / parts.sum():.0%} of the score")
assert (feature, side) == (2, 0)
plot.attribution(parts, plt.subplots(figsize=(7, 3), layout="constrained")[1], most=5)
