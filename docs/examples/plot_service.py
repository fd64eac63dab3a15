"""
The loop of a service
=====================

This loop scores every record when it comes, explains anomalies, and forecasts the next records.
"""

import matplotlib.pyplot as plt
import numpy as np

from rcf import StreamDetector, plot

rng = np.random.default_rng(0)
t = np.arange(2000)
load = 100 + 40 * np.sin(t / 12) + rng.normal(0, 2, 2000)
errors = 5 + rng.normal(0, 1, 2000)
load[1500] = 20  # an outage of one record
errors[1800] += 30

# %%
# ``update`` takes one record. With time stamps the detector notices gaps.

detector = StreamDetector(shingle_size=12, random_state=0)
results = []
for now, record in enumerate(np.column_stack([load, errors])):
    result = detector.update(record, timestamp=60.0 * now)
    results.append(result)
    if result.is_anomaly:
        feature, lag, side = result.cause
        print(
            f"{now}: {feature} {side}, {lag} records ago; came {result.past.round().tolist()}, "
            f"expected about {result.expected.round().tolist()}, grade {result.grade:.2f}"
        )
assert {1500, 1800} <= {now for now, result in enumerate(results) if result.is_anomaly}
plot.detections(
    load, results, plt.subplots(2, 1, sharex=True, height_ratios=[3, 1], figsize=(9, 4), layout="constrained")[1]
)

# %%
# The forecast comes with a band that holds 80 % of the values.

ahead = detector.forecast(24)
plot.forecast(load[-100:], ahead, plt.subplots(figsize=(9, 3), layout="constrained")[1])
truth = 100 + 40 * np.sin(np.arange(2000, 2024) / 12)
for step in (0, 5, 11):
    lower, median, upper = (edge[step, 0] for edge in (ahead.lower, ahead.median, ahead.upper))
    print(f"in {step + 1}: {median:.0f} ({lower:.0f} to {upper:.0f}), without noise {truth[step]:.0f}")
