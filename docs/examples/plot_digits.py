"""
Handwritten digits: PCA for clusters and for anomalies
======================================================

For K-Means, twenty principal components of an 8 x 8 image are as good as all 64 pixels. For anomaly detection, a projection
alone is a trap. An image that is not a digit lies far from the plane of the components, and the projection drops this
distance. Images of shuffled pixels are projected to the middle of the plane, where they look more ordinary than digits.
Adding the distance from the plane as a feature solves the problem.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from rcf import RandomCutForest

X, digits = load_digits(return_X_y=True)


# %%
# The purity of ten clusters is the share of images whose digit is the most frequent one in their cluster.
def purity(images):
    clusters = KMeans(10, n_init=10, random_state=0).fit_predict(images)
    return sum(np.bincount(digits[clusters == k]).max() for k in range(10)) / len(digits)


pixels, components = purity(X), purity(PCA(20, random_state=0).fit_transform(X))
print(f"purity {pixels:.3f} on 64 pixels, {components:.3f} on 20 components")
assert abs(components - pixels) < 0.02


# %%
# The forest learns 1200 images. It then scores the other 597 images in four versions: unchanged, rotated by 90 degrees, with strong
# noise, and with their pixels in random order.
class Projection(TransformerMixin, BaseEstimator):
    """PCA with one more feature: twice the distance of the image from the plane of its components."""

    def __init__(self, n_components):
        self.n_components = n_components

    def fit(self, X, y=None):
        self.pca_ = PCA(self.n_components, random_state=0).fit(X)
        return self

    def transform(self, X):
        plane = self.pca_.transform(X)
        return np.c_[plane, 2 * np.linalg.norm(X - self.pca_.inverse_transform(plane), axis=1)]


rng = np.random.default_rng(0)
order = rng.permutation(len(X))
known, new = X[order[:1200]], X[order[1200:]]
strange = {
    "rotated": np.rot90(new.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64),
    "noise": np.clip(new + rng.normal(0, 5, new.shape), 0, 16),
    "shuffled": rng.permuted(new, axis=1),
}
truth = np.r_[np.zeros(len(new)), np.ones(len(new))]

print("ROC-AUC                  " + "".join(f"{kind:>10}" for kind in strange))
quality, ordinary = {}, {}
for k, kind in ((5, PCA), (5, Projection), (20, PCA), (20, Projection)):
    name = f"{k} components" + ("" if kind is PCA else " + distance")
    model = make_pipeline(kind(k), RandomCutForest(random_state=0)).fit(known)
    scores = {kind: -model.score_samples(images) for kind, images in {"digits": new, **strange}.items()}
    quality[name] = {kind: roc_auc_score(truth, np.r_[scores["digits"], scores[kind]]) for kind in strange}
    ordinary[name] = scores
    print(f"{name:25}" + "".join(f"{area:10.3f}" for area in quality[name].values()))

assert quality["5 components"]["shuffled"] < 0.25  # they look more ordinary than digits do
assert quality["5 components + distance"]["shuffled"] > 0.98
assert min(quality["20 components + distance"].values()) > 0.98

# %%
# Without the distance, the shuffled images score below the digits. With the distance, they score above them.
fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for ax, name in zip(axes, ("5 components", "5 components + distance"), strict=True):
    bins = np.linspace(0.4, 3.0, 53)
    ax.hist(ordinary[name]["digits"], bins, label="digits", color="0.7")
    ax.hist(ordinary[name]["shuffled"], bins, label="shuffled pixels", histtype="step", color="C3", linewidth=1.5)
    ax.set(title=name, xlabel="anomaly score")
axes[0].set_ylabel("images")
axes[1].legend(frameon=False)
