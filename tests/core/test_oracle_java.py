"""The Java library of AWS (https://github.com/aws/random-cut-forest-by-aws, 4.3): the score
"opensearch".

The figures are means and standard deviations over 30 seeds of that library on data that can be generated again. They are compared
with means of rcf over at most as many seeds. The two means may differ by five standard errors of their difference; a correct
implementation fails one comparison in 1.7 million.
"""

import numpy as np
import pytest

from rcf._core import Forest
from rcf.shingle import shingle

SEEDS = 20


def assert_same(ours, theirs):
    mean, sd = theirs
    ours = np.array(ours)
    error = np.sqrt(ours.var(ddof=1) / len(ours) + sd**2 / 30)
    assert abs(ours.mean() - mean) < 5 * error, f"{ours.mean():.4f} against {mean}"


def test_two_clusters_in_twenty_dimensions():
    r = np.random.default_rng(7)
    X = r.normal(0, 0.1, (1000, 20))
    X[:, 0] += np.where(r.random(1000) < 0.5, 5, -5)
    queries = np.zeros((2, 20))
    queries[1, 0] = 5
    scores, displacements, parts = [], [], []
    for seed in range(SEEDS):
        forest = Forest(50, 256, 20, 1 / 2560, [seed])
        forest.update(X, None, None, 1)
        scores.append(forest.score(queries, "opensearch", 1))
        displacements.append(forest.score(queries, "displacement", 1))
        parts.append(forest.attribution(queries[:1], "opensearch", 1)[0])
    scores, displacements, parts = np.array(scores), np.array(displacements), np.array(parts)
    assert_same(scores[:, 0], (2.010, 0.068))
    assert_same(scores[:, 1], (0.472, 0.012))
    assert_same(displacements[:, 0], (79.4, 2.8))
    assert_same(displacements[:, 1], (1.35, 0.02))
    assert_same(parts[:, 0, 0], (1.01, 0.12))
    assert_same(parts[:, 0, 1], (0.99, 0.12))
    # published without a spread, so the bound is the spread of rcf plus half a unit of the last digit
    others = parts[:, 1:].sum(axis=(1, 2))
    assert abs(others.mean() - 0.006) < 0.0005 + 5 * others.std(ddof=1) * np.sqrt(1 / SEEDS + 1 / 30)


def test_normal_cloud_in_three_dimensions():
    X = np.random.default_rng(11).normal(size=(10_000, 3))
    queries = np.array([[0, 0, 0], [1, 1, 1], [3, 0, 0], [6, 0, 0], [8, 8, 8.0]])
    scores, displacements, high, means = [], [], [], []
    for seed in range(SEEDS):
        forest = Forest(100, 256, 3, 0.0, [seed])
        forest.update(X, None, None, 1)
        scores.append(forest.score(queries, "opensearch", 1))
        displacements.append(forest.score(queries, "displacement", 1))
        high.append(forest.attribution(queries[3:4], "opensearch", 1)[0, 0, 0] / scores[-1][3])
        means.append(forest.score(X, "opensearch", 1).mean())
    expected = [(0.540, 0.012), (0.705, 0.013), (1.428, 0.056), (3.145, 0.037), (5.594, 0.016)]
    for ours, theirs in zip(np.transpose(scores), expected, strict=True):
        assert_same(ours, theirs)
    expected = [(1.86, 0.07), (1.90, 0.10), (21.5, 1.7), (110.3, 3.3), (167.2, 3.9)]
    for ours, theirs in zip(np.transpose(displacements), expected, strict=True):
        assert_same(ours, theirs)
    assert_same(high, (0.968, 0.008))
    assert_same(means, (0.747, 0.006))


def test_shingled_cosine():
    r = np.random.default_rng(13)
    series = 100 * np.cos(2 * np.pi * np.arange(5000) / 60) + r.normal(0, 5, 5000)
    windows = shingle(series, 8)
    means = []
    for seed in range(SEEDS // 2):
        scores = Forest(50, 256, 8, 1 / 2560, [seed]).update(windows, None, "opensearch", 1)
        means.append(scores[1000 - 7 :].mean())
    assert_same(means, (0.818, 0.003))


@pytest.mark.parametrize("n", [2, 100, 256, 1000])
def test_constant_data(n):
    """By default, the score is exactly 0.5 for the constant itself and log2(N + 1) for any other value.

    With "depth", it is log2(N) / (N + 1) for the constant and log2(N) for any other value.
    """
    forest = Forest(10, 256, 2, 0.0, [1])
    forest.update(np.full((n, 2), 3.5), None, None, 1)
    mass = min(n, 256)
    same, other = np.full((1, 2), 3.5), np.array([[3.5, 3.6]])
    assert forest.score(same, "opensearch", 1)[0] == pytest.approx(0.5, rel=1e-14)
    assert forest.score(other, "opensearch", 1)[0] == pytest.approx(np.log2(mass + 1), rel=1e-14)
    assert forest.score(same, "depth", 1)[0] == pytest.approx(np.log2(mass) / (mass + 1), rel=1e-14)
    assert forest.score(other, "depth", 1)[0] == pytest.approx(np.log2(mass), rel=1e-14)
