"""``pytest bench``: the speed of HotSpots. The names of the cases are permanent, because pytest-benchmark compares runs by them."""

import pytest
from sklearn.cluster import DBSCAN

from bench.hotspots import clusters, constant_density, example, full
from rcf.hotspots import HotSpots

N = 10_000


def benchmark_stream(benchmark, X, window, radius, min_points, take):
    """Each round processes the next N records of the stream, so that no round repeats the work of another."""
    spots = full(X, window, radius, min_points)
    starts = iter(range(window, len(X) - N + 1, N))
    benchmark.pedantic(
        lambda part: take(spots, part),
        setup=lambda: ((X[(start := next(starts)) : start + N],), {}),
        rounds=5,
    )
    benchmark.extra_info["records"] = N


def test_hotspots_update_many_example(benchmark):
    benchmark_stream(benchmark, example(1000 + 5 * N), 1000, 0.2, 17, HotSpots.update_many)


def test_hotspots_follow_example(benchmark):
    benchmark_stream(benchmark, example(1000 + 5 * N), 1000, 0.2, 17, HotSpots.follow)


def test_hotspots_update_example(benchmark):
    def take(spots, part):
        for row in part:
            spots.update(row)

    benchmark_stream(benchmark, example(1000 + 5 * N), 1000, 0.2, 17, take)


def test_hotspots_fit_example(benchmark):
    benchmark(HotSpots(scan_radius=0.2, min_points=17).fit, example(1000))


def test_hotspots_dbscan_example(benchmark):
    benchmark(DBSCAN(eps=0.2, min_samples=17, algorithm="kd_tree").fit, example(1000))


@pytest.mark.parametrize("window", [1_000, 10_000, 100_000, 1_000_000])
def test_hotspots_window(benchmark, window):
    X = constant_density(window + 5 * N, window)
    benchmark_stream(benchmark, X, window, 0.2, 17, lambda spots, part: spots._window.push(part))


@pytest.mark.parametrize("d", [1, 2, 3, 4, 10, 30])
def test_hotspots_d(benchmark, d):
    X, radius = clusters(1000 + 5 * N, d)
    benchmark_stream(benchmark, X, 1000, radius, 10, HotSpots.update_many)
