"""Histories that random operations rarely produce."""

import naive
import numpy as np
import pytest

from rcf._core import Forest, ModelStateError


def whole(forest):
    for i in range(forest.n_trees):
        naive.check(forest.tree(i))


@pytest.mark.parametrize("around", [0.0, 1.0, -1.0, 2.0**-126, 1e30])
def test_boxes_one_ulp_wide(around):
    """The only possible cut between two neighbouring floats is the lower one, and records with x <= cut must go left."""
    values = [np.float32(around)]
    for _ in range(5):
        values.append(np.nextafter(values[-1], np.float32(np.inf)))
    values = np.array(values, dtype=float)
    forest = Forest(20, 64, 2, 0.0, [1])
    forest.fit(np.zeros((3, 2)), None, False, False, 1)  # the origin is 0: the floats stay neighbours
    rng, held = np.random.default_rng(1), []
    for step in range(80):
        if held and rng.random() < 0.4:
            assert forest.forget(held.pop(rng.integers(len(held)))) == 20
        else:
            held.append(rng.choice(values, 2))
            forest.update(held[-1][None], None, None, 1)
            assert (forest.score(held[-1][None], "displacement", 1) == 0).all()  # the record is found in its leaf
        if step % 4 == 0:
            whole(forest)
    whole(forest)


def test_the_sample_stays_a_heap():
    """Records leave in any order. The key that fills the gap may have to move up or down in the heap."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(60, 1))
    forest = Forest(20, 60, 1, 0.05, [2])
    forest.update(X, None, None, 1)
    for i in rng.permutation(60):
        assert forest.forget(X[i]) == 20
        whole(forest)
    assert not forest.masses().any()


@pytest.mark.parametrize("d", [1, 100, 230_000])
def test_many_features(d):
    """The records differ only in the last feature."""
    X = np.full((5, d), 0.1)
    X[:, -1] = [1, 2, 3, 4, 5]
    forest = Forest(2, 4, d, 0.0, [3])
    forest.update(X, None, "codisp", 1)
    whole(forest)
    parts = forest.attribution(X[:1] + 1, "depth", 1)[0] if d < 1000 else None
    if parts is not None:
        assert parts.sum() == pytest.approx(forest.score(X[:1] + 1, "depth", 1)[0], rel=1e-10)


@pytest.mark.parametrize("capacity", [1, 2])
def test_smallest_samples(capacity):
    forest = Forest(5, capacity, 1, 0.1, [4])
    scores = forest.update(np.arange(50.0)[:, None], None, "opensearch", 1)
    assert (scores[:capacity] == 0).all()
    assert (scores[capacity:] > 0).all()
    assert (forest.masses() == capacity).all()
    whole(forest)


def test_alternating_near_equal_values():
    """A float32 can distinguish 48.08 and 48.08001 only after the origin is subtracted."""
    X = np.where(np.arange(400) % 2, 48.08, 48.08001)[:, None]
    forest = Forest(5, 64, 1, 0.001, [5])
    forest.update(X, None, "depth", 1)
    whole(forest)
    assert len(forest.tree(0)["points"]) >= 2


def test_an_offset_costs_no_digits():
    """A 30-sigma outlier at 10^9 +- 1, which a forest of plain float32 cannot see."""
    X = 1e9 + np.random.default_rng(6).normal(size=(1000, 1))
    forest = Forest(50, 256, 1, 0.0, [6])
    forest.update(X, None, None, 1)
    usual, odd = forest.score(np.array([[1e9], [1e9 + 30]]), "depth", 1)
    assert odd > 4 * usual


def test_many_live_points():
    """The forest holds more points than 16 bits can count: 300 trees of 256."""
    X = np.random.default_rng(7).normal(size=(300, 2))
    forest = Forest(300, 256, 2, 0.0, [7])
    forest.update(X, None, None, 1)
    assert forest.masses().sum() == 300 * 256 > 2**16
    for i in (0, 150, 299):
        naive.check(forest.tree(i))


def test_no_rows():
    """An empty batch, before the first record and after it, returns nothing and changes nothing."""
    empty, forest = np.empty((0, 2)), Forest(3, 8, 2, 0.0, [1])
    for _ in range(2):
        seen = forest.n_seen
        assert forest.update(empty, None, "depth", 2).shape == (0,)
        assert forest.update(empty, None, None, 1) is None
        assert forest.score(empty, "depth", 2).shape == (0,)
        assert forest.attribution(empty, "depth", 1).shape == (0, 2, 2)
        assert forest.density(empty, 1).shape == (0, 3, 2, 2)
        assert forest.n_seen == seen
        whole(forest)
        forest.update(np.arange(40.0).reshape(20, 2), None, None, 1)


def test_trees_that_are_empty_when_the_origin_settles():
    """All fifteen records are forgotten. The sixteenth record enters a tree only if its key would have been among the smallest."""
    X = np.random.default_rng(0).normal(size=(40, 2)) + 100
    forest = Forest(60, 1, 2, 0.0, [1])
    forest.update(X[:15], None, None, 1)
    for x in X[:15]:
        forest.forget(x)
    assert not forest.masses().any()
    forest.update(X[15:16], None, None, 1)
    assert 0 < forest.masses().sum() < 60
    np.testing.assert_array_equal(forest.origin_, np.median(X[:16], axis=0))
    whole(forest)
    forest.update(X[16:], None, "depth", 1)
    assert forest.masses().any()
    whole(forest)


def test_a_stream_longer_than_can_be_counted():
    """The number of a record shares 64 bits with that of its leaf. With 256 records a tree, 2^55 - 1 records can be counted."""
    X = np.random.default_rng(3).normal(size=(300, 2))
    forest = Forest(3, 256, 2, 0.0, [1])
    forest.update(X, None, None, 1)
    state = forest.state()
    most = 2**55 - 1
    state["arrival"] = state["arrival"] + (most - 303)  # the last record held is then number most - 3
    state["seen"] = most - 3
    state["next"] = np.full(3, most - 2)
    state["settled"] = np.full(3, most - 3)
    state["table"] = 0
    late = Forest.from_state(state)
    arrivals = np.sort(late.tree(0)["slots"]["arrival"])
    assert arrivals[-1] == state["arrival"].max()
    late.update(X[:2], None, None, 1)
    late.update_record(X[2], "depth")
    assert late.n_seen == most
    assert late.tree(0)["slots"]["arrival"].max() <= most
    before = late.state()
    for call in (lambda: late.update(X[:1], None, None, 1), lambda: late.update_record(X[0], "depth")):
        with pytest.raises(ValueError, match=f"256 records per tree can learn at most {most} records, got {most + 1}"):
            call()
    assert late.n_seen == most
    for name, value in before.items():
        np.testing.assert_array_equal(value, late.state()[name])
    state["seen"] = most + 1
    state["next"] = np.full(3, most + 2)
    with pytest.raises(ModelStateError, match=f"with 256 records per tree cannot have learned {most + 1} records"):
        Forest.from_state(state)
    whole(late)
