"""scikit-learn's own checks of an estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from rcf import RandomCutForest

_WEIGHT = "a random sample by weight equals one of repeated rows in distribution, not number by number"

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": _WEIGHT,
    "check_sample_weight_equivalence_on_sparse_data": _WEIGHT,
}


@parametrize_with_checks(
    [RandomCutForest(n_estimators=20, random_state=0)], expected_failed_checks=lambda _: EXPECTED_FAILURES
)
def test_sklearn(estimator, check):
    check(estimator)
