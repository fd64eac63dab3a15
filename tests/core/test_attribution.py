"""Attribution, beyond what the state machine of the forest holds against the oracle."""

import ctypes

import numpy as np
import pytest

from rcf._core import Forest


@pytest.mark.parametrize("d", [2, 5, 9, 40])
@pytest.mark.parametrize("x", ["held", "new"])
def test_scratch_memory_is_not_read_before_it_is_written(d, x):
    """Freed memory full of NaN is handed out again, on glibc at once; no NaN may find its way into the
    result.
    """
    rows = np.random.default_rng(0).normal(size=(64, d))
    forest = Forest(4, 64, d, 0.0, [1])
    forest.fit(rows, None, False, False, 1)
    queries = rows[:1] if x == "held" else rows[:1] + 0.5
    expected = forest.attribution(queries, "depth", 1)
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    for kind in ("depth", "codisp", "displacement", "opensearch"):
        for size in range(16, 4096, 16):
            chunks = [libc.malloc(size) for _ in range(4)]
            for chunk in chunks:
                ctypes.memset(chunk, 0xFF, size)
            for chunk in chunks:
                libc.free(chunk)
        parts = forest.attribution(queries, kind, 1)
        assert np.isfinite(parts).all()
        assert parts.sum() == pytest.approx(forest.score(queries, kind, 1)[0], rel=1e-10)
    assert np.array_equal(forest.attribution(queries, "depth", 1), expected)
