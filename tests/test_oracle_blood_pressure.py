"""The blood-pressure example of the Kinesis documentation.

https://docs.aws.amazon.com/kinesisanalytics/latest/sqlref/sqlrf-random-cut-forest-with-
explanation.html: a random stream (0.5 % low, 0.5 % high, else normal) of which a few scores are
shown. The stream itself is not published, so the shown values are held to be likely ones: within
three standard deviations of what 30 such streams give.
"""

import numpy as np
import pytest

from rcf._core import Forest

STREAMS = 30
RANGES = {  # systolic, diastolic
    "low": ((50, 80), (30, 50)),
    "high": ((130, 200), (90, 150)),
    "normal": ((90, 120), (60, 80)),
}


def stream(rng, n):
    kinds = rng.choice(list(RANGES), size=n, p=[0.005, 0.005, 0.99])
    return kinds, np.array([[rng.integers(a, b, endpoint=True) for a, b in RANGES[k]] for k in kinds], float)


@pytest.fixture(scope="module")
def forests():
    out = []
    for seed in range(STREAMS):
        kinds, X = stream(np.random.default_rng(seed), 2000)
        forest = Forest(100, 256, 2, 1 / 100_000, [seed])
        forest.update(X, None, None, 1)
        out.append((forest, X[kinds == "normal"]))
    return out


def assert_likely(value, samples):
    assert abs(value - np.mean(samples)) < 3 * np.std(samples, ddof=1)


def test_the_high_reading(forests):
    """(144, 123) scores 3.86, of which 1.74 is the systolic and 2.11 the diastolic pressure, both by
    being high.
    """
    parts = np.array([f.attribution(np.array([[144.0, 123.0]]), "depth", 1)[0] for f, _ in forests])
    assert_likely(3.86, parts.sum(axis=(1, 2)))
    assert_likely(1.74, parts[:, 0].sum(axis=1))
    assert_likely(2.11, parts[:, 1].sum(axis=1))
    assert (parts[..., 0].mean(axis=0) > parts[..., 1].mean(axis=0)).all()


def test_normal_readings(forests):
    """Those shown score 0.71 to 0.74: what the middle of the normal readings does, and a quarter of all
    of them.
    """
    middle = [f.score(np.array([[105.0, 70.0]]), "depth", 1)[0] for f, _ in forests]
    assert_likely(0.71, middle)
    assert_likely(0.74, middle)
    share = [np.mean(np.abs(f.score(X, "depth", 1) - 0.725) < 0.02) for f, X in forests]
    assert np.mean(share) > 0.25
    assert np.mean([np.median(f.score(X, "depth", 1)) for f, X in forests]) == pytest.approx(0.74, abs=0.03)
