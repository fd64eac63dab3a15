"""The scores of the real Kinesis service: RANDOM_CUT_FOREST with 100 trees, 256 records, time decay 100000, shingle 1.

The repository of the Numenta Anomaly Benchmark publishes the scores for 26 series (https://github.com/numenta/NAB,
results/randomCutForest); they are multiplied by 8, which undoes its scaling. The service is another random forest, so its scores
must be as close to those of rcf as the scores of two forests of rcf are to each other.
"""

import numpy as np
import pytest
import shared_data

from rcf._core import Forest

CAPACITY = 256
SERIES = [
    "artificialNoAnomaly/art_daily_no_noise",
    "artificialNoAnomaly/art_daily_perfect_square_wave",
    "artificialNoAnomaly/art_daily_small_noise",
    "artificialNoAnomaly/art_flatline",
    "artificialNoAnomaly/art_noisy",
    "artificialWithAnomaly/art_daily_flatmiddle",
    "artificialWithAnomaly/art_daily_jumpsdown",
    "artificialWithAnomaly/art_daily_jumpsup",
    "artificialWithAnomaly/art_daily_nojump",
    "artificialWithAnomaly/art_increase_spike_density",
    "artificialWithAnomaly/art_load_balancer_spikes",
    "realAWSCloudwatch/ec2_cpu_utilization_24ae8d",
    "realAWSCloudwatch/ec2_cpu_utilization_5f5533",
    "realAWSCloudwatch/ec2_cpu_utilization_825cc2",
    "realAWSCloudwatch/ec2_cpu_utilization_fe7f93",
    "realAWSCloudwatch/ec2_disk_write_bytes_1ef3de",
    "realAWSCloudwatch/ec2_network_in_257a54",
    "realAWSCloudwatch/elb_request_count_8c0756",
    "realAWSCloudwatch/rds_cpu_utilization_cc0c53",
    "realKnownCause/ambient_temperature_system_failure",
    "realKnownCause/cpu_utilization_asg_misconfiguration",
    "realKnownCause/ec2_request_latency_system_failure",
    "realKnownCause/machine_temperature_system_failure",
    "realKnownCause/nyc_taxi",
    "realKnownCause/rogue_agent_key_hold",
    "realKnownCause/rogue_agent_key_updown",
]
every_series = pytest.mark.parametrize("name", SERIES)


def load(name):
    return shared_data.columns(shared_data.path("nab", "kinesis_scores", f"{name}.csv"), "value", "anomaly_score")


def ours(values, seed):
    return Forest(100, CAPACITY, 1, 1 / 100_000, [seed]).update(values[:, None], None, "depth", 1)


@every_series
def test_scores(name):
    """Exactly the first 256 scores are 0; the mean ratio is 1 +- 0.02; the correlation is at least 0.97.

    The mean of one forest varies by 0.7 % from seed to seed, so eight forests of rcf are averaged; the service has one. On
    art_noisy, which is uniform noise, two forests of 100 trees have a correlation of only 0.94, and so have the service and a
    forest of rcf. Therefore the service is compared with the mean of the eight forests on this series, and with one of them on the
    others.
    """
    values, kinesis = load(name)
    forests = [ours(values, seed) for seed in range(8)]
    scores = np.mean(forests, axis=0)
    assert (kinesis[:CAPACITY] == 0).all()
    assert (scores[:CAPACITY] == 0).all()
    assert (scores[CAPACITY:] > 0).all()
    assert scores.max() <= np.log2(CAPACITY) + 1e-12
    a, b = scores[CAPACITY:], kinesis[CAPACITY:]
    assert a.mean() / b.mean() == pytest.approx(1, abs=0.02)
    if name.endswith("art_flatline"):
        assert a == pytest.approx(0.0311284, abs=5e-8)
        assert a == pytest.approx(b, abs=1e-9)
    else:
        one = a if name.endswith("art_noisy") else forests[0][CAPACITY:]
        assert np.corrcoef(one, b)[0, 1] >= 0.97


@every_series
def test_the_first_score(name):
    """In both implementations, the trees hold exactly the first 256 records when record 256 comes. The scores agree within 4
    standard errors over 40 seeds.

    If the series has only one or two different values, the score does not depend on the tree, and all nine published digits agree.
    """
    values, kinesis = load(name)
    scores = [ours(values[: CAPACITY + 1], seed)[CAPACITY] for seed in range(40)]
    assert abs(kinesis[CAPACITY] - np.mean(scores)) < 4 * np.std(scores, ddof=1) + 1e-9


@pytest.mark.parametrize(
    "name", ["artificialNoAnomaly/art_noisy", "artificialWithAnomaly/art_daily_nojump", SERIES[-2], SERIES[-1]]
)
def test_the_service_is_as_close_as_another_seed(name):
    """The distance of the service from the mean of eight forests, relative to that of each forest from the other seven."""
    values, kinesis = load(name)
    scores = np.array([ours(values, seed)[CAPACITY:] for seed in range(8)])
    theirs = np.sqrt(np.mean((kinesis[CAPACITY:] - scores.mean(axis=0)) ** 2))
    own = [np.sqrt(np.mean((scores[i] - np.delete(scores, i, axis=0).mean(axis=0)) ** 2)) for i in range(8)]
    assert theirs < 1.5 * np.mean(own)
