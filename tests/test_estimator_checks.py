"""scikit-learn's own checks of an estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from rcf import RandomCutForest

_SCORE = "`score` is a parameter here, the kind of score; this check calls any attribute of that name as a method"
_WEIGHT = "a random sample by weight equals one of repeated rows in distribution, not number by number"

EXPECTED_FAILURES = {
    "check_fit_score_takes_y": _SCORE,
    "check_n_features_in_after_fitting": _SCORE,
    "check_pipeline_consistency": _SCORE,
    "check_sample_weight_equivalence_on_dense_data": _WEIGHT,
}


@parametrize_with_checks(
    [RandomCutForest(n_estimators=20, random_state=0)], expected_failed_checks=lambda _: EXPECTED_FAILURES
)
def test_sklearn(estimator, check):
    check(estimator)
