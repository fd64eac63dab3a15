"""The points of a search space to try: a grid, random points, Sobol points, or points chosen by a Gaussian process."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc

from ._spaces import Range


def points_of(
    dimensions: Mapping[str, Range],
    method: str,
    n_iter: int,
    seed: list[int],
    trials: list[dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """The points to try. The caller adds each to `trials`, with its score, before it requests the next."""
    if method == "grid":
        for values in itertools.product(*(one.grid() for one in dimensions.values())):
            yield dict(zip(dimensions, values, strict=True))
        return
    rng = np.random.default_rng([*seed, 2])
    seen: set[tuple[Any, ...]] = set()
    first = n_iter if method != "bayes" else max(3, n_iter // 3)
    count = 0
    for params in _distinct(dimensions, method != "random", rng, seen):
        yield params
        count += 1
        if count == min(first, n_iter):
            break
    while method == "bayes" and count < n_iter:
        candidates = list(itertools.islice(_distinct(dimensions, True, rng, set(seen)), 512))
        if not candidates:
            return
        chosen = _most_improving(dimensions, trials, candidates)
        seen.add(tuple(chosen.values()))
        yield chosen
        count += 1


def _distinct(
    dimensions: Mapping[str, Range],
    sobol: bool,
    rng: np.random.Generator,
    seen: set[tuple[Any, ...]],
) -> Iterator[dict[str, Any]]:
    """Distinct points of the unit cube, converted to parameters. Ends after 4096 consecutive points that are not new."""
    cube = qmc.Sobol(len(dimensions), seed=rng) if sobol else None
    idle = 0
    while idle < 4096:
        for u in rng.random((64, len(dimensions))) if cube is None else cube.random(64):
            values = tuple(one.value(at) for one, at in zip(dimensions.values(), u, strict=True))
            idle += 1
            if values not in seen:
                idle = 0
                seen.add(values)
                yield dict(zip(dimensions, values, strict=True))


def _most_improving(
    dimensions: Mapping[str, Range],
    trials: list[dict[str, Any]],
    candidates: list[dict[str, Any]],
) -> dict[str, Any]:
    """The candidate with the largest expected improvement over the best posterior mean of a Gaussian process.

    Integers are rounded before the process is fitted. Otherwise it could propose the same integer repeatedly. The improvement is
    measured from the best mean, because the best observation is biased upwards by chance.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    def places(points: Iterable[Mapping[str, Any]]) -> NDArray[np.float64]:
        return np.array([[x for name, one in dimensions.items() for x in one.place(point[name])] for point in points])

    tried, scores = places(trials), np.array([trial["score"] for trial in trials])
    kernel = ConstantKernel(1.0) * Matern(0.5, (0.05, 5.0), nu=2.5) + WhiteKernel(0.1, (1e-4, 1.0))
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(tried, scores)
        best = process.predict(tried).max()
        mean, spread = process.predict(places(candidates), return_std=True)
    spread = np.maximum(spread, 1e-12)
    z = (mean - best) / spread
    return candidates[int(np.argmax((mean - best) * norm.cdf(z) + spread * norm.pdf(z)))]
