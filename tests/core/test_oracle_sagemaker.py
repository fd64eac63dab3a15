"""SageMaker's taxi notebook: 50 trees, 512 samples, fitted on 10 320 rows by its rule (tree i takes rows
[i k, (i + 1) k)).

https://github.com/aws/amazon-sagemaker-examples, random_cut_forest.ipynb: mean score 0.89, standard
deviation 0.252, cut-off (mean + 3 sd) 1.65, maximum 4.6 on 2014-11-02 01:00, 232 to 240 rows above
the cut-off. The published mean and deviation come from one forest. The forest of rcf must agree within three standard
deviations of its own variation from seed to seed.
"""

import numpy as np
import pytest
import shared_data

from rcf._core import Forest


@pytest.fixture(scope="module")
def taxi():
    return shared_data.columns(shared_data.path("nab", "data", "realKnownCause", "nyc_taxi.csv"), "timestamp", "value")


def test_taxi(taxi):
    times, values = taxi
    assert len(values) == 10_320
    found = []
    for seed in range(20):
        forest = Forest(50, 512, 1, 0.0, [seed])
        forest.fit(values[:, None], None, False, True, 1)
        assert (forest.masses() == 206).all()
        scores = forest.score(values[:, None], "depth", 1)
        cutoff = scores.mean() + 3 * scores.std()
        assert times[scores.argmax()] == "2014-11-02 01:00:00"
        assert scores.max() <= np.log2(206)
        found.append([scores.mean(), scores.std(), cutoff, scores.max(), (scores > cutoff).sum()])
    mean, sd = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
    # half a unit of the last published digit plus three standard deviations
    for value, digit, m, s in zip(
        [0.89, 0.252, 1.65, 4.6, 236], [0.005, 0.0005, 0.005, 0.05, 4], mean, sd, strict=True
    ):
        assert abs(value - m) < digit + 3 * s
    assert mean[0] == pytest.approx(0.89, abs=0.01)
    assert mean[2] == pytest.approx(1.65, abs=0.02)
