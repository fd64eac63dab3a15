"""Attribution and density, in addition to the comparison with the oracle in test_forest_machine.py."""

import numpy as np
import pytest

from rcf._core import ATTRIBUTED, Forest


@pytest.mark.parametrize("d", [2, 5, 9, 40])
def test_rows_do_not_depend_on_the_rows_before(d):
    """All rows of a call share scratch memory, so held and new records alternate here."""
    held = np.random.default_rng(0).normal(size=(64, d))
    forest = Forest(4, 64, d, 0.0, [1])
    forest.fit(held, None, False, False, 1)
    queries = np.concatenate([held[:8], held[:8] + 0.5, 1e6 * held[:8]])[np.random.default_rng(1).permutation(24)]
    for kind in ATTRIBUTED:
        alone = np.concatenate([forest.attribution(queries[i : i + 1], kind, 1) for i in range(24)])
        np.testing.assert_array_equal(forest.attribution(queries, kind, 1), alone)
        np.testing.assert_array_equal(forest.attribution(queries[::-1], kind, 2), alone[::-1])
        np.testing.assert_allclose(alone.sum(axis=(1, 2)), forest.score(queries, kind, 1), rtol=1e-10, atol=1e-300)
    alone = np.concatenate([forest.density(queries[i : i + 1], 1) for i in range(24)])
    np.testing.assert_array_equal(forest.density(queries, 1), alone)
