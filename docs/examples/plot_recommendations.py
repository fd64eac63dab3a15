"""
Outliers among latent factors
=============================

Recommenders factorise a matrix of ratings into factors of users and factors of items. If the factors of an account
resemble those of no other account, it often rates at random or was paid for its ratings. Here scikit-learn factorises the
matrix, and the forest finds the unusual factors.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import NMF
from sklearn.metrics import roc_auc_score

from rcf import RandomCutForest

# %%
# 600 users with four tastes rate 80 items. Twenty fake accounts praise three items and otherwise rate like ordinary
# users.

rng = np.random.default_rng(0)
tastes = rng.gamma(1.0, size=(4, 80))
users = rng.dirichlet(np.full(4, 0.5), size=600) * 4
ratings = rng.poisson(users @ tastes).astype(float)
pushed = rng.poisson((rng.dirichlet(np.full(4, 0.5), size=20) * 4) @ tastes).astype(float)
pushed[:, rng.permutation(80)[:3]] += 15
ratings = np.vstack([ratings, pushed])
is_fake = np.r_[np.zeros(600), np.ones(20)]

# %%
# The factors alone do not show ratings that they cannot explain. The norm of the residual, added as a feature, shows them. The same
# is true of PCA.
#
# Active users are not suspicious. Therefore the factors of a user are divided by their sum, and the residual is divided by the
# square root of the number of ratings.

model = NMF(4, init="nndsvda", max_iter=800, random_state=0)
model.fit(ratings)


def features_of(rows):
    """Shares of the tastes, and the ratio of the residual to the noise of the counts."""
    latent = model.transform(rows)
    residual = np.linalg.norm(rows - latent @ model.components_, axis=1)
    return np.c_[latent / latent.sum(axis=1, keepdims=True), residual / np.sqrt(rows.sum(axis=1))]


features = features_of(ratings)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
quality = {}
for name, columns in (("factors", features[:, :-1]), ("factors and residual", features)):
    scores = RandomCutForest(random_state=0).fit(columns).anomaly_score(columns)
    quality[name] = roc_auc_score(is_fake, scores)
    print(f"{name}: ROC-AUC {quality[name]:.3f}")
    ax.plot(np.sort(scores)[::-1], label=f"{name}, ROC-AUC {quality[name]:.2f}")
ax.set(xlabel="users, sorted by score", ylabel="score")
ax.legend(frameon=False)
assert quality["factors and residual"] > 0.95

# %%
# The last figures show a cold start. An ordinary new user with few ratings has a higher score, because the shares are extreme.
# The score falls as the user rates more items, and stays below that of a fake account.

forest = RandomCutForest(random_state=0).fit(features)
taste = rng.dirichlet(np.full(4, 0.5), size=200) @ tastes
for n in (5, 20, 80, 320):
    newcomers = np.array([rng.multinomial(n, row / row.sum()) for row in taste]).astype(float)
    print(
        f"after {n:3} ratings an ordinary newcomer scores {np.median(forest.anomaly_score(features_of(newcomers))):.2f}"
    )
print(f"a fake account scores {np.median(forest.anomaly_score(features[600:])):.2f}")
