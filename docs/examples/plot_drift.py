"""
A stream whose level drifts
===========================

The reservoir of each tree prefers recent records: the weight of a record is multiplied by ``exp(-time_decay)`` for each record that
follows. A forest with time decay adapts to a new level quickly, and a forest without it adapts slowly.
"""

import matplotlib.pyplot as plt
import numpy as np

from rcf import RandomCutForest

rng = np.random.default_rng(0)
values = rng.normal(size=4000)
values[2000:] += 6

# %%
# The example compares mean lives of 256, of 2560 (the default), and of infinitely many records.

figure, ax = plt.subplots(figsize=(9, 3.5), layout="constrained")
used_to = {}
for life, style in ((256, "-"), (2560, "--"), (np.inf, ":")):
    forest = RandomCutForest(time_decay=1 / life, random_state=0)
    scores = forest.update_many(values.reshape(-1, 1))
    smooth = np.convolve(scores, np.full(50, 1 / 50), mode="valid")
    ax.plot(np.arange(49, 4000), smooth, style, label=f"mean life {life:g}")
    used_to[life] = int(np.flatnonzero(smooth[2100:] < 1.1)[0]) + 100 if (smooth[2100:] < 1.1).any() else None
    print(f"mean life {life:g}: used to the new level after {used_to[life]} records")
ax.set(xlabel="record", ylabel="score, mean of 50", title="A step at record 2000")
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
assert used_to[256] <= used_to[2560]
