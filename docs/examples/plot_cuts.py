"""
How a tree cuts, step by step
=============================

A random cut tree repeatedly divides the bounding box of its records. A feature is chosen with probability proportional to its
extent, and the cut is uniform within that extent. A record that lies apart is cut off early, so its leaf is near the root.
"""

import matplotlib.pyplot as plt
import numpy as np

from rcf import RandomCutForest, plot

rng = np.random.default_rng(1)
X = np.r_[rng.normal(size=(60, 2)), [[4.5, 4.0]]]
forest = RandomCutForest(10, 64, random_state=3).fit(X)
tree = forest.trees_[0]

# %%
# The left panel shows the cuts of one tree in the plane; thin lines are deep cuts. The right panel shows the shape of
# the tree.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
plot.cuts(tree, left)
left.set(title="cuts", xlabel="x0", ylabel="x1")
plot.tree(tree, right)
right.set_title("the tree: one leaf per record")

# %%
# Compare the depth of the outlier's leaf in each tree with the mean depth of all leaves.

depths = []
for tree in forest.trees_:
    leaves = {tuple((tree.points[~v] + tree.origin).round(3)): depth for v, depth in tree.walk() if v < 0}
    depths.append((leaves[4.5, 4.0], np.mean(list(leaves.values()))))
outlier, others = np.array(depths).T
print(f"mean depth of the outlier {outlier.mean():.1f}, of all leaves {others.mean():.1f}")
assert outlier.mean() < others.mean() - 2
