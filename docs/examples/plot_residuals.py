"""
A forecaster's residuals
========================

A forest can judge the residuals of any forecaster, which are the differences between values and forecasts. Here a gradient
boosting model of scikit-learn predicts the next value from the hour and the last day. Its errors are compared with those
of ``StreamDetector.forecast``.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from rcf import RandomCutForest, StreamDetector, plot
from rcf.datasets import make_series
from rcf.shingle import shingle

DAY = 48
values, anomalies = make_series()
windows = shingle(values, DAY + 1)
X = np.c_[windows[:, :-1], np.arange(len(windows)) % DAY]
y = windows[:, -1]

# %%
# Train on the first 30 days, which contain no anomaly, and score the residuals of the other days.

train = 30 * DAY
model = HistGradientBoostingRegressor(max_iter=100, random_state=0).fit(X[:train], y[:train])
residuals = y - model.predict(X)
scores = RandomCutForest(random_state=0).fit(residuals[:train, None]).anomaly_score(residuals[:, None])
flags = scores > scores[:train].mean() + 4 * scores[:train].std()
found = sum(bool(flags[first - DAY : after - DAY].any()) for first, after in anomalies)
print(f"{found} of {len(anomalies)} anomalies are flagged by the residuals")
assert found >= 4
plot.scores(y, scores, flags, plt.subplots(2, 1, figsize=(9, 4), sharex=True, layout="constrained")[1])

# %%
# ``StreamDetector`` forecasts with the same forest that scores the records, so it needs no separate training. Both forecasters
# are compared on a day without anomalies after the training.

detector = StreamDetector(shingle_size=DAY, n_estimators=50, random_state=0)
detector.update_many(values[: 32 * DAY])
made = detector.forecast(DAY)
truth = values[32 * DAY : 33 * DAY]
theirs = model.predict(X[31 * DAY : 32 * DAY])
for name, predicted in (
    ("StreamDetector, one day ahead", made.median[:, 0]),
    ("gradient boosting, one step ahead", theirs),
):
    print(f"{name}: mean absolute error {np.abs(truth - predicted).mean():.2f}")
plot.forecast(values[30 * DAY : 32 * DAY], made, plt.subplots(figsize=(9, 3), layout="constrained")[1])
