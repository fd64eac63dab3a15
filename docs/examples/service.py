"""A service's loop: judge every record as it comes, say why, forecast the next ones."""

import numpy as np

from rcf import StreamDetector

rng = np.random.default_rng(0)
t = np.arange(2000)
load = 100 + 40 * np.sin(t / 12) + rng.normal(0, 2, 2000)
errors = 5 + rng.normal(0, 1, 2000)
load[1500] = 20  # an outage of one record
errors[1800] += 30

detector = StreamDetector(shingle_size=12, random_state=0)
alarms = []
for now, record in enumerate(np.column_stack([load, errors])):
    result = detector.update(record, timestamp=60.0 * now)
    if result.is_anomaly:
        feature, lag, side = result.cause
        alarms.append(now)
        print(
            f"{now}: {feature} {side}, {lag} records ago; came {result.past.round().tolist()}, "
            f"expected about {result.expected.round().tolist()}, grade {result.grade:.2f}"
        )
assert {1500, 1800} <= set(alarms)

ahead = detector.forecast(6)
truth = 100 + 40 * np.sin(np.arange(2000, 2006) / 12)
for step, (lower, median, upper) in enumerate(
    zip(ahead.lower[:, 0], ahead.median[:, 0], ahead.upper[:, 0], strict=True)
):
    print(f"in {step + 1}: {median:.0f} ({lower:.0f} to {upper:.0f}), without noise {truth[step]:.0f}")
