"""Earlier records must not blind the detector: outliers, wrong first values, silent features."""

import numpy as np
import pytest

from rcf import StreamDetector

HOSTS = 20
BEFORE = {
    "nothing": lambda x, r: None,
    "a time-out": lambda x, r: x.__setitem__(600, 30_000.0),
    "a time-out of a second": lambda x, r: x.__setitem__(600, 1000.0),
    "a number beyond reason": lambda x, r: x.__setitem__(600, 1e30),
    "a time-out among the first records": lambda x, r: x.__setitem__(30, 30_000.0),
    "three in eight records": lambda x, r: x.__setitem__([600, 603, 607], [20_000.0, 30_000.0, 15_000.0]),
    "ten in thirty records": lambda x, r: x.__setitem__(600 + 3 * np.arange(10), r.uniform(15_000, 30_000, 10)),
    "an hour": lambda x, r: x.__setitem__(slice(600, 660), r.uniform(15_000, 30_000, 60)),
    "five in a day": lambda x, r: x.__setitem__(np.sort(r.integers(100, 1400, 5)), r.uniform(15_000, 30_000, 5)),
}
# The required number of 20 hosts. At least 17 were measured with noise of .06. With noise of .12 and many outliers there were 11,
# because the outliers determine the whole range for a day.
DUE = {
    0.06: dict(zip(BEFORE, (19, 19, 19, 18, 19, 19, 18, 15, 19), strict=True)),
    0.12: dict(zip(BEFORE, (18, 17, 18, 13, 17, 15, 10, 10, 16), strict=True)),
}


def found(noise, before, hosts=HOSTS, step=1740):
    """The number of hosts for which a doubled latency is found within ten records. The latency is 25 ms +- 30 % over the day."""
    count = 0
    for seed in range(hosts):
        rng = np.random.default_rng(1000 + seed)
        t = np.arange(2880)
        x = 25 * (1 + 0.3 * np.sin(2 * np.pi * t / 1440 + seed)) * np.exp(rng.normal(0, noise, len(t)))
        BEFORE[before](x, rng)
        x[step:] *= 2
        count += StreamDetector(random_state=seed).update_many(x[: step + 10]).is_anomaly[step:].any()
    return count


@pytest.mark.parametrize("before", ["a time-out", "a time-out among the first records", "five in a day"])
def test_an_outlier_does_not_hide_a_step(before):
    assert found(0.06, before, hosts=5) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("noise", DUE)
@pytest.mark.parametrize("before", BEFORE)
def test_outliers_do_not_hide_a_step(before, noise):
    assert found(noise, before) >= DUE[noise][before]


@pytest.mark.parametrize("first", [
    np.zeros(70), np.full(70, 25.0), np.r_[np.zeros(90), 1e-9, np.zeros(10)],
    1e9 * np.random.default_rng(0).normal(1.0, 0.1, size=10),
    np.r_[np.full(80, 5.0), 1e12, np.full(10, 5.0)],
])  # fmt: skip
def test_a_wrong_initial_scale_is_corrected(first):
    """The stream starts with constants or test values. A later step is found, and the forest sees it (its value is not clipped)."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = np.r_[first, 25 * np.exp(rng.normal(0, 0.06, 3000))]
        at = len(first) + 2500
        x[at:] *= 2
        result = StreamDetector(random_state=seed).update_many(x)
        assert result.is_anomaly[at : at + 10].any()
        assert result.score[at] > 1.5 * np.median(result.score[at - 500 : at])


@pytest.mark.parametrize("fill", ["previous", "linear", "forest", "zero", 3.0])
@pytest.mark.parametrize("silent", [1, 2])
def test_silent_features_do_not_silence_the_others(fill, silent):
    x = np.random.default_rng(0).normal(size=(2000, 3))
    x[:, 3 - silent :] = np.nan
    x[1500, 0] = 15.0
    detector = StreamDetector(random_state=0, fill=fill)
    result = detector.update_many(x)
    assert result.is_anomaly[1500]
    assert result[1500].cause == ("x0", 0, "high")
    assert len(result.anomalies) < 8
    assert result.confidence[1999] == 1.0
    # a feature that begins late is judged from its first value on
    later = np.random.default_rng(1).normal(size=(600, 3)) * [1.0, 1.0, 50.0]
    later[500, 2] = 1000.0
    after = detector.update_many(later)
    assert after.is_anomaly[500]
    assert after[500].cause.feature == "x2"


def test_a_sensor_that_falls_silent():
    x = np.random.default_rng(0).normal(size=(3000, 2))
    x[1000:, 1] = np.nan
    x[2500, 0] = 20.0
    result = StreamDetector(random_state=0).update_many(x)
    assert result.is_anomaly[2500]
    assert len(result.anomalies) < 8
