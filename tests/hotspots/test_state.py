"""The saved state of a window: impossible states are refused, and false ones do no harm (`tests/sanitize` finds hidden harm)."""

import numpy as np
import pytest

from rcf import HotSpots
from rcf.hotspots.window import Window


def test_a_state_that_does_not_fit_is_refused():
    spots = HotSpots(300, 0.15, 4)
    spots.update_many(np.random.default_rng(0).normal(size=(500, 2)))
    state = spots._window.state()
    assert len(state["regions"]) > 1
    wrong = {
        "points": [state["points"][:-1], state["points"] * np.nan, state["points"][0]],
        "counts": [state["counts"][:-1], state["counts"] * 0, state["counts"] + 300, state["counts"] * 0 + 1],
        "cores": [state["cores"][:-1], state["cores"] - 1, state["cores"] + 1, state["cores"] * 0 + 300],
        "ids": [state["ids"][:-1], state["ids"] + 1, np.zeros_like(state["ids"]), state["ids"] - 1],
        "regions": [state["regions"][:-1], state["regions"] + 1, state["regions"][::-1]],
        "sums": [state["sums"][:, :-1]],
        "seen": [3],
        "next_id": [0],
        "scan_radius": [0.0, np.nan],
        "min_points": [0],
        "window_size": [0],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError):
                Window.restore({**state, name: value})
    Window.restore(state)


@pytest.mark.parametrize("d", [2, 5])
def test_a_false_state_does_no_harm(d):
    """To be fast, loading does not check the relations between records. Here they are false, which must not do harm."""
    rng = np.random.default_rng(d)
    for _ in range(100):
        n, m = int(rng.integers(2, 80)), int(rng.integers(2, 5))
        counts = rng.integers(1, min(n, 12) + 1, size=n)
        core = counts >= m
        regions = np.unique(rng.integers(0, 40, size=int(rng.integers(1, 30))))[: core.sum()]
        cores = np.where(
            core | (rng.random(n) < 0.3) | ~core.any(), -1, rng.choice(np.flatnonzero(core), n) if core.any() else -1
        )
        ids = np.full(n, -1)
        ids[core] = np.r_[regions, rng.choice(regions, core.sum() - len(regions))] if core.any() else []
        ids[cores >= 0] = ids[cores[cores >= 0]]
        points = np.round(rng.normal(size=(n, d)), int(rng.integers(3)))
        window = Window.restore({
            "window_size": max(int(n * rng.choice([0.2, 0.7, 1.0, 1.5])), 1), "scan_radius": 1.0, "min_points": m, "seen": n + 5,
            "next_id": 50, "points": points, "counts": counts, "cores": cores, "ids": ids, "regions": regions,
            "sums": np.zeros((len(regions), 2 * d)),
        })  # fmt: skip
        for part in np.split(np.round(rng.normal(size=(300, d)), 1), 30):
            window.push(part, log=bool(rng.integers(2)))
            window.report()
            assert len(window.ids()) == len(window.points())


def test_a_hub_whose_arms_were_never_one_region():
    """The state has as many regions as possible, all of them false. When the hub leaves, its arms would become even more
    regions.
    """
    d, n = 9, 400
    # the hub is a neighbour of all arms, and no arm is a neighbour of another
    arms = 0.9 * np.r_[np.eye(d), -np.eye(d)]
    points = np.r_[np.zeros((1, d)), arms, 100.0 + 10 * np.arange(n - 1 - 2 * d)[:, None] * np.ones(d)]
    window = Window.restore({
        "window_size": n, "scan_radius": 1.0, "min_points": 5, "seen": n, "next_id": n, "points": points,
        "counts": np.full(n, 9), "cores": np.full(n, -1), "ids": np.arange(n), "regions": np.arange(n),
        "sums": np.zeros((n, 2 * d)),
    })  # fmt: skip
    for _ in range(3):
        window.push(np.full((1, d), -50.0), log=True)
        window.report()
    ids = window.ids()
    assert len(np.unique(ids[ids >= 0])) == n - 3


def test_a_million_equal_records_are_restored_in_a_moment():
    n = 10**6
    window = Window.restore({
        "window_size": n, "scan_radius": 1.0, "min_points": 5, "seen": n, "next_id": 1, "points": np.zeros((n, 2)),
        "counts": np.full(n, n), "cores": np.full(n, -1), "ids": np.zeros(n, dtype=int), "regions": np.array([0]),
        "sums": np.zeros((1, 4)),
    })  # fmt: skip
    window.push(np.zeros((2, 2)))
    assert window.report()[1][0][:2] == (0, n)
