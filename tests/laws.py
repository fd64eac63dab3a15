"""Statistical tests with a stated error rate."""

import numpy as np
from scipy import stats

# A p-value of a correct implementation is below this for one new seed in a million; the seeds in the tests are fixed.
ALPHA = 1e-6


def chi_square(counts, law):
    """The p-value of {outcome: count} against {outcome: probability}.

    Cells with less than five expected are pooled.
    """
    assert set(counts) <= set(law), "an impossible outcome"
    total = sum(counts.values())
    observed = np.array([counts.get(k, 0) for k in law], dtype=float)
    expected = np.array(list(law.values())) * total
    small = expected < 5
    if small.any():
        observed = np.append(observed[~small], observed[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
        if expected[-1] < 5:
            assert stats.poisson.sf(observed[-1] - 1, expected[-1]) > ALPHA
            observed, expected = observed[:-1], expected[:-1] * observed[:-1].sum() / expected[:-1].sum()
    return 1.0 if len(expected) < 2 else float(stats.chisquare(observed, expected).pvalue)


def same_law(a, b):
    """The p-value for two samples of outcomes having the same distribution. Outcomes seen less than ten times are pooled."""
    outcomes = {k: i for i, k in enumerate(sorted({*a, *b}))}
    table = np.zeros((2, len(outcomes)))
    for row, sample in enumerate((a, b)):
        for k in sample:
            table[row, outcomes[k]] += 1
    rare = table.sum(axis=0) < 10
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    return float(stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue)
