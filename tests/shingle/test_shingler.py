"""Windows of a stream and of an array, and scores of records from scores of windows, compared with the definition."""

import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rcf.shingle
from rcf.shingle import Shingler, shingle, unshingle


def windows(X, size, step=1):
    X = np.asarray(X, dtype=float)
    return np.array([np.ravel(X[i : i + size]) for i in range(0, len(X) - size + 1, step)])


@pytest.mark.parametrize("shape", [(20,), (20, 1), (20, 3)])
@pytest.mark.parametrize(("size", "step"), [(1, 1), (4, 1), (4, 3), (20, 1), (5, 7)])
def test_array_against_definition(shape, size, step):
    X = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_array_equal(shingle(X, size, step), windows(X, size, step))


def test_a_view_is_returned_if_possible():
    X = np.arange(30.0).reshape(10, 3)
    view = shingle(X, 4)
    assert np.shares_memory(view, X)
    assert not view.flags.writeable
    assert not np.shares_memory(shingle(X[:, ::2], 4), X)
    np.testing.assert_array_equal(shingle(X[:, ::2], 4), windows(X[:, ::2], 4))
    assert shingle(np.arange(5, dtype=np.float32), 2).dtype == np.float32


@pytest.mark.parametrize("d", [1, 2])
def test_stream_equals_array(d):
    X = np.random.default_rng(1).normal(size=(40, d))
    shingler = Shingler(6, d)
    out = [shingler.push(x) for x in X]
    assert out[:5] == [None] * 5
    assert not shingler.full or shingler.n_seen == 40
    np.testing.assert_array_equal(np.array(out[5:]), shingle(X, 6))


def test_start_and_reset():
    shingler = Shingler(3)
    assert shingler.window is None
    assert not shingler.full
    for x in range(3):
        shingler.push(x)
    assert shingler.full
    shingler.reset()
    assert shingler.window is None
    assert shingler.n_seen == 0
    assert [shingler.push(x) is None for x in (7, 8, 9)] == [True, True, False]
    np.testing.assert_array_equal(shingler.window, [7, 8, 9])


def test_window_is_a_copy():
    shingler = Shingler(2)
    shingler.push(1)
    first = shingler.push(2)
    first[:] = 99
    np.testing.assert_array_equal(shingler.push(3), [2, 3])


def test_rotated_windows_differ_in_one_record():
    X = np.random.default_rng(2).normal(size=(23, 2))
    shingler = Shingler(5, 2, rotate=True)
    out = np.array([w for w in map(shingler.push, X) if w is not None])
    for k, w in enumerate(out, 4):
        np.testing.assert_array_equal(w.reshape(5, 2)[k % 5], X[k])
        np.testing.assert_array_equal(np.sort(w), np.sort(X[k - 4 : k + 1].ravel()))
    assert ((np.diff(out, axis=0) != 0).reshape(-1, 5, 2).any(axis=2).sum(axis=1) == 1).all()


def test_nan_passes():
    shingler = Shingler(2)
    shingler.push(np.nan)
    np.testing.assert_array_equal(shingler.push(1), [np.nan, 1])


def test_a_pickled_shingler_continues():
    shingler = Shingler(4, 2)
    for x in np.arange(14.0).reshape(7, 2):
        shingler.push(x)
    again = pickle.loads(pickle.dumps(shingler))
    np.testing.assert_array_equal(again.push([1, 2]), shingler.push([1, 2]))
    assert again.n_seen == shingler.n_seen == 8


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 12), st.sampled_from(["last", "mean", "max"]))
def test_unshingle_against_definition(size, step, m, reduce):
    scores = np.random.default_rng(m).normal(size=m)
    n = (m - 1) * step + size
    reach = [[scores[k] for k in range(m) if k * step <= t < k * step + size] for t in range(n)]
    if reduce == "last":
        expected = np.full(n, np.nan)
        expected[np.arange(m) * step + size - 1] = scores
    else:
        expected = [getattr(np, reduce)(r) if r else np.nan for r in reach]
    np.testing.assert_allclose(unshingle(scores, size, step, reduce=reduce), expected, rtol=1e-12, atol=1e-12)


def test_the_mean_is_exact_after_a_huge_score():
    """A running sum would keep the rounding error of 1e16."""
    scores = np.array([1.0, 1e16, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(unshingle(scores, 2, reduce="mean")[3:], 1.0)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: shingle([1, 2], 3), ValueError, "window of 3 records does not fit into a series of 2"),
        (lambda: shingle([], 1), ValueError, "series of 0"),
        (lambda: shingle(np.zeros((2, 2, 2)), 1), ValueError, "shape"),
        (lambda: shingle([1, 2], 0), ValueError, "size must be at least 1, got 0"),
        (lambda: shingle([1, 2], 1.5), TypeError, "size must be an int, got 1.5"),
        (lambda: shingle([1, 2], 1, 0), ValueError, "step"),
        (lambda: shingle(np.zeros((5, 0)), 2), ValueError, "at least one feature"),
        (lambda: Shingler(0), ValueError, "size"),
        (lambda: Shingler(True), TypeError, "size"),
        (lambda: Shingler(2, 0), ValueError, "n_features"),
        (lambda: Shingler(2**40, 2**40), (MemoryError, ValueError, OverflowError), None),
        (lambda: Shingler(2).push([1, 2]), ValueError, "2 features, but Shingler is expecting 1"),
        (lambda: Shingler(2, 2).push([[1, 2]]), ValueError, "one-dimensional"),
        (lambda: Shingler(2).push("x"), ValueError, "'x'"),
        (lambda: Shingler(2).push(1j), ValueError, "1j"),
        (lambda: unshingle([], 2), ValueError, "non-empty"),
        (lambda: unshingle([1.0], 2, reduce="min"), ValueError, "'min'"),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_failed_push_changes_nothing():
    shingler = Shingler(2)
    shingler.push(1)
    with pytest.raises(ValueError, match="features"):
        shingler.push([1, 2])
    assert shingler.n_seen == 1
    np.testing.assert_array_equal(shingler.push(2), [1, 2])


def test_one_module_under_both_names(monkeypatch):
    """In a checkout, `import shingle` also finds the folder. It must return the same module as `rcf.shingle`."""
    monkeypatch.delitem(sys.modules, "shingle", raising=False)
    import importlib.util
    from pathlib import Path

    path = Path(rcf.shingle.__file__)
    spec = importlib.util.spec_from_file_location("shingle", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shingle", module)
    spec.loader.exec_module(module)
    assert sys.modules["shingle"] is rcf.shingle
