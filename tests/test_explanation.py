"""ANOMALY_EXPLANATION, the JSON of Kinesis's SQL function, for an attribution, a forest and a detector."""

import json
import re

import numpy as np
import pytest

from rcf import RandomCutForest, StreamDetector
from rcf.explanation import explanation_json

# the record in the documentation of RANDOM_CUT_FOREST_WITH_EXPLANATION (Amazon Kinesis Data Analytics for SQL)
DOCUMENTED = (
    '{"Systolic":{"DIRECTION":"HIGH","STRENGTH":"0.8567","ATTRIBUTION_SCORE":"1.7447"},'
    '"Diastolic":{"DIRECTION":"HIGH","STRENGTH":"7.0982","ATTRIBUTION_SCORE":"2.1111"}}'
)


def test_the_form_is_the_documented_one():
    """Without the numbers, both texts are equal."""
    mine = explanation_json([[1.3007, 0.444], [2.1, 0.0111]], ["Systolic", "Diastolic"])
    number = re.compile(r'"\d+\.\d{4}"')
    assert number.sub("#", mine) == number.sub("#", DOCUMENTED)
    assert json.loads(mine)["Systolic"] == {"DIRECTION": "HIGH", "STRENGTH": "0.8567", "ATTRIBUTION_SCORE": "1.7447"}


def test_an_empty_attribution_has_the_direction_low():
    """As in the service, the explanation while learning has score 0, strength 0 and direction LOW."""
    assert explanation_json(np.zeros((1, 2)), ["a"]) == (
        '{"a":{"DIRECTION":"LOW","STRENGTH":"0.0000","ATTRIBUTION_SCORE":"0.0000"}}'
    )


def test_lags_are_added_up():
    parts = np.arange(12.0).reshape(3, 2, 2)
    assert explanation_json(parts, ["a", "b"]) == explanation_json(parts.sum(axis=0), ["a", "b"])


@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 3), (1, 2, 2, 2)])
def test_another_shape_is_refused(shape):
    with pytest.raises(
        ValueError, match=re.escape(f"attribution has shape {shape}, but (2, 2) is expected for 2 names")
    ):
        explanation_json(np.zeros(shape), ["a", "b"])


def test_equal_names_are_refused():
    with pytest.raises(ValueError, match="two of the names are equal"):
        explanation_json(np.zeros((2, 2)), ["a", "a"])


def test_names_are_quoted_as_json_and_kept_as_written():
    names = ['a"b', "Blutdruck °", "\n"]
    assert list(json.loads(explanation_json(np.zeros((3, 2)), names))) == names


def test_the_parts_of_a_forest_add_up_to_the_score():
    X = np.random.default_rng(0).normal(size=(500, 3))
    forest = RandomCutForest(20, random_state=0).fit(X)
    rows = [[0.0, 9.0, 0.0], [-8.0, 0.0, 0.1]]
    found = [json.loads(text) for text in forest.explanation_json(rows)]
    for one, score in zip(found, forest.anomaly_score(rows), strict=True):
        assert sum(float(column["ATTRIBUTION_SCORE"]) for column in one.values()) == pytest.approx(score, abs=2e-4)
    assert list(found[0]) == ["x0", "x1", "x2"]
    assert (found[0]["x1"]["DIRECTION"], found[1]["x0"]["DIRECTION"]) == ("HIGH", "LOW")
    assert list(json.loads(forest.explanation_json(rows, directionality=False)[0])["x0"]) == ["ATTRIBUTION_SCORE"]


def test_the_parts_of_a_detector_add_up_to_the_score():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    X[-1] = 0.0, -40.0
    detector = StreamDetector(4, n_estimators=20, max_samples=64, random_state=0)
    found = [detector.update(x) for x in X][-1]
    columns = json.loads(found.explanation_json(["Systolic", "Diastolic"]))
    assert sum(float(column["ATTRIBUTION_SCORE"]) for column in columns.values()) == pytest.approx(
        found.score, abs=2e-4
    )
    assert columns["Diastolic"]["DIRECTION"] == "LOW"
    assert float(columns["Diastolic"]["ATTRIBUTION_SCORE"]) > float(columns["Systolic"]["ATTRIBUTION_SCORE"])
    assert list(json.loads(found.explanation_json())) == ["x0", "x1"]


def test_everything_is_zero_while_a_detector_warms_up():
    found = StreamDetector(random_state=0).update([1.0, 2.0])
    assert found.explanation_json(["a", "b"]) == explanation_json(np.zeros((2, 2)), ["a", "b"])
