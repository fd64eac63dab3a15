"""The results of RANDOM_CUT_FOREST_WITH_EXPLANATION for the blood-pressure example of the Kinesis documentation.

https://docs.aws.amazon.com/kinesisanalytics/latest/dev/examine-results-with-exp.html shows a few results of a random stream
(0.5 % low, 0.5 % high, the rest normal). The stream itself is not published, so the test only checks that the shown values are
likely: within three standard deviations of the results of 30 such streams.
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
    """For the reading (144, 123), both pressures are reported as high."""
    parts = np.array([f.attribution(np.array([[144.0, 123.0]]), "depth", 1)[0] for f, _ in forests])
    assert_likely(3.855851061, parts.sum(axis=(1, 2)))
    assert_likely(1.7447, parts[:, 0].sum(axis=1))
    assert_likely(2.1111, parts[:, 1].sum(axis=1))
    assert (parts[..., 0].mean(axis=0) > parts[..., 1].mean(axis=0)).all()


@pytest.mark.parametrize(
    ("reading", "score", "systolic", "diastolic"),
    [
        ((101, 66), 0.711460417, 0.3792, 0.3323),
        ((113, 69), 0.740069409, 0.3750, 0.3650),
        ((105, 64), 0.739644157, 0.3667, 0.3729),
        ((100, 65), 0.736993425, 0.3516, 0.3854),
    ],
)
def test_normal_readings(forests, reading, score, systolic, diastolic):
    """A reading may be equal to one that a tree holds. Then both Kinesis and rcf explain it by the surrounding records."""
    query = np.array([reading], float)
    scores = [f.score(query, "depth", 1)[0] for f, _ in forests]
    parts = np.array([f.attribution(query, "depth", 1)[0].sum(axis=1) for f, _ in forests])
    assert parts.sum(axis=1) == pytest.approx(scores, rel=1e-10)
    assert_likely(score, scores)
    assert_likely(systolic, parts[:, 0])
    assert_likely(diastolic, parts[:, 1])
