"""The rows of each tree: the rule of the service, and the distribution of the samples."""

import struct
import zlib

import numpy as np
import pytest
from scipy import stats

for library in ("orjson", "pyarrow", "starlette", "uvicorn"):
    pytest.importorskip(library)

from rcf.sagemaker.hyperparameters import Hyperparameters  # noqa: E402
from rcf.sagemaker.sample import Sample, union  # noqa: E402


def parameters(seed=0, samples=4):
    return Hyperparameters(feature_dim=1, num_trees=50, num_samples_per_tree=samples, seed=seed)


def drawn(n, seed=0, samples=4, host=0, first=0):
    sample = Sample(parameters(seed, samples), host)
    sample.add(np.arange(first, first + n, dtype=float)[:, None])
    return sample


def test_few_rows_are_kept_in_order():
    for n in (50, 123, 200):
        forest = drawn(n).forest()
        k = n // 50
        held = [sorted(tree.points.ravel() + tree.origin) for tree in forest.trees_]
        assert held == [list(range(i * k, (i + 1) * k)) for i in range(50)]
        assert forest.max_samples_ == k


def test_fewer_rows_than_trees():
    with pytest.raises(ValueError, match="there are 49 rows, fewer than num_trees=50"):
        drawn(49).forest()


def test_batches_do_not_change_the_sample():
    X = np.random.default_rng(0).normal(size=(3000, 1))
    expected = Sample(parameters())
    expected.add(X)
    for step in (1, 7, 199, 200, 201, 1000):
        sample = Sample(parameters())
        for i in range(0, len(X), step):
            sample.add(X[i : i + step])
        assert np.array_equal(sample.rows, expected.rows)
        assert sample.n_seen == 3000


def test_the_caller_may_use_its_array_again():
    X = np.zeros((100, 1))
    sample = Sample(parameters())
    sample.add(X)
    X += 1
    assert not sample.rows.any()


def test_every_row_is_as_likely_as_every_other():
    """200 of 600 rows are held without replacement, each with the same probability (chi-square, p > 1e-6)."""
    runs = 400
    counts = np.zeros(600)
    for seed in range(runs):
        rows = drawn(600, seed).rows.ravel().astype(int)
        assert len(set(rows)) == 200
        counts[rows] += 1
    # the indicators of one run have a correlation of -1/(n-1), so the statistic below has n - 1 degrees of freedom
    p = 200 / 600
    statistic = ((counts - runs * p) ** 2 / (runs * p * (1 - p))).sum() * 599 / 600
    assert 1e-6 < stats.chi2.sf(statistic, 599) < 1 - 1e-6


def test_the_first_row_beyond_the_capacity():
    """With 50 places, the 51st row enters with probability 50/51."""
    entered = 0
    for seed in range(4000):
        entered += 50.0 in drawn(51, seed, samples=1).rows
    assert stats.binomtest(entered, 4000, 50 / 51).pvalue > 1e-6


def test_the_union_of_hosts_is_drawn_as_one_host_would():
    """With 300 rows on one host and 900 on another, the number of rows from the first has a hypergeometric distribution."""
    runs, counts, places = 400, np.zeros(1200), np.zeros(200)
    from_first = []
    for seed in range(runs):
        whole = union([drawn(300, seed, host=0), drawn(900, seed, host=1, first=300)])
        rows = whole.rows.ravel().astype(int)
        assert len(set(rows)) == 200
        assert whole.n_seen == 1200
        counts[rows] += 1
        from_first.append((rows < 300).sum())
        places += rows < 300
    p = 200 / 1200
    statistic = ((counts - runs * p) ** 2 / (runs * p * (1 - p))).sum() * 1199 / 1200
    assert 1e-6 < stats.chi2.sf(statistic, 1199) < 1 - 1e-6
    law = stats.hypergeom(1200, 300, 200)
    assert abs(np.mean(from_first) - law.mean()) < 5 * law.std() / runs**0.5
    assert abs(np.std(from_first) / law.std() - 1) < 5 / (2 * runs) ** 0.5
    # every place gets its share of rows from the first host, and therefore every tree does
    statistic = ((places - runs / 4) ** 2 / (runs * 3 / 16)).sum()
    assert 1e-6 < stats.chi2.sf(statistic, 199) < 1 - 1e-6


def test_few_rows_of_hosts_follow_each_other():
    whole = union([drawn(80), drawn(70, host=1, first=80), drawn(13, host=2, first=150)])
    assert np.array_equal(whole.rows.ravel(), np.arange(163))


def test_hosts_have_different_random_numbers():
    assert not np.array_equal(drawn(5000).rows, drawn(5000, host=1).rows)


def test_bytes():
    for n in (0, 130, 1000):
        sample = drawn(n, seed=2**32 - 1)
        again = Sample.from_bytes(sample.to_bytes())
        assert np.array_equal(again.rows, sample.rows)
        assert (again.n_seen, again.parameters) == (n, sample.parameters)


def test_damaged_bytes():
    data = drawn(300).to_bytes()
    rng = np.random.default_rng(0)
    for i in range(2000):
        damaged = bytearray(data)
        if i % 2:
            del damaged[int(rng.integers(len(data))) :]
        else:
            at = int(rng.integers(len(data)))
            damaged[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(ValueError, match="sample of a host"):
            Sample.from_bytes(bytes(damaged))
    for head, rows in (
        (struct.pack("<8s5Q", b"rcf-rows", 5, 1, 50, 4, 0), 4),
        (struct.pack("<8s5Q", b"rcf-rows", 2, 1, 7, 4, 0), 2),
    ):
        made = head + bytes(8 * rows)
        with pytest.raises(ValueError, match=r"has 4 numbers, expected 5 rows of 1|num_trees must be"):
            Sample.from_bytes(made + zlib.crc32(made).to_bytes(4, "little"))
    with pytest.raises(ValueError, match="drawn with different hyperparameters"):
        union([drawn(10), drawn(10, samples=5)])
