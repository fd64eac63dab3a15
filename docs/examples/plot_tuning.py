"""
Tuning with labels
==================

``rcf.tune.search`` uses labels to choose parameters, and other labels to evaluate the choice. It does not work without
labels, because on 40 labelled tables no criterion without labels was better than the defaults.
"""

import matplotlib.pyplot as plt
import numpy as np

from rcf import RandomCutForest
from rcf.tune import search

# %%
# The table has a tight cluster of outliers. To trees with large samples, such a cluster looks ordinary.

rng = np.random.default_rng(0)
X = np.r_[rng.normal(size=(3000, 3)), rng.normal(3.2, 0.15, size=(60, 3))]
y = np.r_[np.zeros(3000), np.ones(60)]

found = search(RandomCutForest(50, random_state=0), X, y, random_state=0, progress=False)
print("best:", found.best_params_)
print(f"held out: {found.held_out_score_:.3f}, the defaults {found.default_score_:.3f}")

# %%
# The plot shows all trials. Each point is the mean over three seeds, with its standard deviation.

found.plot(ax=plt.subplots(figsize=(8, 3.5), layout="constrained")[1])
