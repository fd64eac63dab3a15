"""Invalid input gives the expected errors and messages, and an error changes nothing."""

import pickle
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError

from rcf import HotSpots, RandomCutForest

GOOD = np.random.default_rng(0).normal(size=(100, 2))


def with_cell(value, row=3, feature=1, kind=float):
    X = GOOD[:10].astype(kind)
    X[row, feature] = value
    return X


# X, the type of the error, and a pattern of its message
BAD = {
    "NaN": (with_cell(np.nan), ValueError, r"NaN.*\(row 3, feature 1\)"),
    "inf": (with_cell(np.inf), ValueError, r"infinity.*\(row 3, feature 1\)"),
    "-inf": (with_cell(-np.inf), ValueError, r"infinity.*\(row 3, feature 1\)"),
    "pandas NA": (pd.DataFrame({"a": [1.0, None], "b": [1.0, 2.0]}), ValueError, r"NaN.*\(row 1, feature 0\)"),
    "beyond float32": (with_cell(1e39), ValueError, r"1e\+39.*float32.*\(row 3, feature 1\)"),
    "at the limit": (with_cell(-1.8e38), ValueError, r"-1\.8e\+38.*\(row 3, feature 1\)"),
    "too narrow": (GOOD[:, :1], ValueError, "1 features, but .* 2 features"),
    "too wide": (np.c_[GOOD, GOOD], ValueError, "4 features, but .* 2 features"),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, "inhomogeneous|sequence"),
    "no rows": (np.empty((0, 2)), ValueError, "0 sample"),
    "no columns": (np.empty((5, 0)), ValueError, "0 feature"),
    "three axes": (np.zeros((2, 2, 2)), ValueError, "dim 3"),
    "strings": ([["a", "b"]], ValueError, "could not convert string to float: 'a'"),
    "complex": (with_cell(1j, kind=complex), ValueError, "Complex data not supported"),
    "objects": (with_cell({}, kind=object), TypeError, "dict"),
    "infinity in a sparse matrix": (
        sparse.csc_matrix(with_cell(-np.inf)),
        ValueError,
        r"infinity.*\(row 3, feature 1\)",
    ),
    "beyond float32 in a sparse array": (
        sparse.csr_array(with_cell(1e39)),
        ValueError,
        r"1e\+39.*float32.*\(row 3, feature 1\)",
    ),
    "sparse matrix": (sparse.csr_matrix(GOOD), TypeError, "dense data is required.*toarray"),
    "sparse array": (sparse.coo_array(GOOD), TypeError, "dense data is required.*toarray"),
}
# values that a table may hold but a stream may not
STREAMS_ALONE = {"NaN", "pandas NA", "sparse matrix", "sparse array"}
TABLES_ALONE = {"infinity in a sparse matrix", "beyond float32 in a sparse array"}
LEARN = {
    "fit": lambda forest, X: forest.fit(X),
    "partial_fit": lambda forest, X: forest.partial_fit(X),
    "update_many": lambda forest, X: forest.update_many(X),
}
READ = {
    "anomaly_score": lambda forest, X: forest.anomaly_score(X),
    "attribution": lambda forest, X: forest.attribution(X),
    "score_samples": lambda forest, X: forest.score_samples(X),
    "decision_function": lambda forest, X: forest.decision_function(X),
    "predict": lambda forest, X: forest.predict(X),
}


def state(forest):
    return pickle.dumps(forest.__dict__)


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize(
    ("grown", "method", "what"),
    [
        (grown, method, what)
        for grown in ("new", "growing", "full")
        for method in [*LEARN, *READ]
        for what in BAD
        if what not in (TABLES_ALONE if method in ("partial_fit", "update_many") else STREAMS_ALONE)
        # these may accept the input: a new forest cannot score yet and accepts any width, and fit accepts any width
        if not (grown == "new" and method in READ) and not ("too" in what and (grown == "new" or method == "fit"))
    ],
)
def test_refused_and_unchanged(grown, method, what):
    X, error, message = BAD[what]
    forest = RandomCutForest(5, 16, random_state=0)
    if grown != "new":
        forest.partial_fit(GOOD[: 4 if grown == "growing" else 100])
        _ = forest.offset_
    before = state(forest)
    with pytest.raises(error, match=message):
        {**LEARN, **READ}[method](forest, X)
    assert state(forest) == before
    assert forest.__sklearn_is_fitted__() == (grown != "new")


@pytest.mark.parametrize("cell", [np.inf, 1e300])
def test_a_failed_fit_on_another_table_leaves_the_first(cell):
    """Width, names, threshold and trees do not change."""
    forest = RandomCutForest(5, 16, random_state=0).fit(pd.DataFrame(GOOD, columns=["a", "b"]))
    before = state(forest)
    with pytest.raises(ValueError, match=r"row 1, feature 2"):
        forest.fit(pd.DataFrame([[1.0, 2.0, 3.0], [1.0, 2.0, cell]], columns=["x", "y", "z"]))
    with pytest.raises(ValueError, match="entries"):
        forest.fit(np.zeros((5, 7)), sample_weight=[1.0])
    assert state(forest) == before


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        ([1.0, np.nan], ValueError, r"NaN.*feature 1"),
        ([np.inf, 1.0], ValueError, r"infinity.*feature 0"),
        (np.array([1.0, -np.inf]), ValueError, r"infinity.*feature 1"),
        (np.array([1e300, 1.0]), ValueError, r"1e\+300.*feature 0"),
        ([1.0], ValueError, "1 features, but"),
        (np.array([1.0, 2.0, 3.0]), ValueError, "3 features, but"),
        (np.array([], dtype=float), ValueError, "feature"),
        ([], ValueError, "empty"),
        (["a", "b"], ValueError, "'a'"),
        (np.array(["a", "b"]), ValueError, "a"),
        ([1j, 2.0], ValueError, "1j"),
        (np.array([1j, 2.0]), ValueError, "must be 2 numbers, got"),
        ([None, 1.0], ValueError, r"NaN|None"),
        ([{}, 1.0], ValueError, "{}"),
        ([[1.0], 2.0], ValueError, r"\[\[1.0\], 2.0\]|inhomogeneous"),
        (None, ValueError, "must be 2 numbers, got None"),
        ("x", ValueError, "x"),
        (np.array([True, False], dtype=object) * np.nan, ValueError, "NaN"),
    ],
)
@pytest.mark.parametrize("grown", [4, 100])
def test_one_record_refused_and_unchanged(record, error, message, grown):
    forest = RandomCutForest(5, 16, random_state=0).partial_fit(GOOD[:grown])
    before = state(forest)
    with pytest.raises(error, match=message):
        forest.update(record)
    assert state(forest) == before
    with pytest.raises(error):
        forest.forget(record)
    assert state(forest) == before


@pytest.mark.parametrize("method", [*LEARN, *READ])
@pytest.mark.parametrize("kind", [pd.DataFrame, polars.DataFrame])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["1", "many", "x"],
            r"column 'z' must hold numbers, got 'many' \(row 1\): encode it as numbers, or leave it out",
        ),
        (
            [datetime(2026, 1, 1, i) for i in range(3)],
            r"column 'z' must hold numbers, got 2026-01-01T00:00:00\S* \(row 0\)",
        ),
        ([timedelta(hours=1)] * 3, r"column 'z' must hold numbers, got \d+ \w+ \(row 0\)"),
        ([datetime(2026, 1, 1, tzinfo=UTC)] * 3, r"column 'z' must hold numbers, got .*2026.* \(row 0\)"),
    ],
)
def test_a_column_that_holds_no_numbers_is_named(method, kind, values, message):
    """A frame that holds only dates is refused too, because NumPy would convert it to nanoseconds."""
    forest = RandomCutForest(5, 16, random_state=0).fit(GOOD)
    before = state(forest)
    for frame in (kind({"a": [1.0, 2.0, 3.0], "z": values}), kind({"z": values})):
        with pytest.raises(ValueError, match=message):
            {**LEARN, **READ}[method](forest, frame)
    assert state(forest) == before


@pytest.mark.parametrize("method", LEARN)
def test_an_empty_frame(method):
    for frame, message in (
        (pd.DataFrame(), r"the frame is empty: it has no columns \(0 rows\)"),
        (pd.DataFrame(index=range(3)), r"the frame is empty: it has no columns \(3 rows\)"),
        (pd.DataFrame({"a": []}), r"0 sample\(s\)"),
        (polars.DataFrame(), "the frame is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            LEARN[method](RandomCutForest(5, 16), frame)


def test_columns_that_hold_numbers_in_other_types():
    """Integers, truth values, categories of numbers, and numbers written as text are accepted, as in scikit-learn."""
    plain = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0.0, 1.0, 1.0, 0.0]})
    forest = RandomCutForest(5, 16, random_state=0).fit(plain)
    for a in ([1, 2, 3, 4], pd.Categorical([1, 2, 3, 4]), ["1", "2", "3", "4"], pd.array([1, 2, 3, 4], "Int64")):
        other = pd.DataFrame({"a": a, "b": [False, True, True, False]})
        assert forest.anomaly_score(other).tolist() == forest.anomaly_score(plain).tolist()


def test_none_is_not_a_record():
    for grown in (RandomCutForest(5, 16), RandomCutForest(5, 16).fit(GOOD[:, :1])):
        with pytest.raises(ValueError, match=r"must be (a number|numbers), got None"):
            grown.update(None)


def test_the_last_row_of_a_long_batch_refuses_the_batch():
    """The batch is longer than any internal block, and none of it is learned."""
    X = np.random.default_rng(1).normal(size=(40_000, 2))
    forest = RandomCutForest(3, 16, random_state=0).partial_fit(GOOD)
    before = state(forest)
    X[-1, 0] = np.nan
    with pytest.raises(ValueError, match=r"\(row 39999, feature 0\)"):
        forest.update_many(X)
    assert state(forest) == before


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.r_[np.ones(99), 0.0], r"above zero, got 0.0 \(row 99\)"),
        (np.r_[1.0, -2.0, np.ones(98)], r"got -2.0 \(row 1\)"),
        (np.r_[np.nan, np.ones(99)], r"got nan \(row 0\)"),
        (np.r_[np.inf, np.ones(99)], r"got inf \(row 0\)"),
        (np.ones(99), "99 entries for 100 rows"),
        (np.ones((100, 1)), r"shape \(100, 1\)"),
        (["heavy"] * 100, "heavy"),
        (2.0, "shape|entries"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_weights(weights, message, method):
    forest = RandomCutForest(5, 16, random_state=0).partial_fit(GOOD)
    before = state(forest)
    with pytest.raises(ValueError, match=message):
        getattr(forest, method)(GOOD, sample_weight=weights)
    assert state(forest) == before


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_estimators": 0},
        {"n_estimators": 1.5},
        {"n_estimators": -3},
        {"max_samples": 0},
        {"max_samples": -1},
        {"max_samples": 0.0},
        {"max_samples": 1.5},
        {"max_samples": "all"},
        {"max_samples": 2**31},
        {"max_samples": np.nan},
        {"method": "best"},
        {"method": None},
        {"time_decay": -0.1},
        {"time_decay": np.inf},
        {"time_decay": np.nan},
        {"time_decay": "fast"},
        {"contamination": 0.0},
        {"contamination": 0.6},
        {"contamination": "some"},
        {"n_jobs": 1.5},
        {"n_jobs": 0},
        {"random_state": -1},
        {"random_state": "seed"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "update_many", "update"])
def test_parameters(parameters, method):
    forest = RandomCutForest(5, 16).set_params(**parameters)
    name = next(iter(parameters))
    if name == "n_jobs" and method == "update":
        pytest.skip("one record takes no threads")
    X = GOOD[0] if method == "update" else GOOD
    message = (
        "n_jobs must be None, a number of threads, or -1 for all cores, got 0" if parameters == {"n_jobs": 0} else name
    )
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(forest, method.split()[0])(X)
    assert not forest.__sklearn_is_fitted__()
    assert not hasattr(forest, "n_features_in_")


def test_a_share_of_a_stream():
    with pytest.raises(ValueError, match=r"max_samples=0\.5 is a share of a table"):
        RandomCutForest(max_samples=0.5).update([1.0])


@pytest.mark.parametrize("method", [*READ, "forget"])
def test_before_anything_was_learned(method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(RandomCutForest(), method)(GOOD)


def test_unknown_methods():
    forest = RandomCutForest(5, 16, random_state=0).fit(GOOD)
    for call in (forest.anomaly_score, forest.attribution):
        with pytest.raises(ValueError, match="'best'"):
            call(GOOD, "best")


def test_too_few_rows_to_share_out():
    with pytest.raises(ValueError, match="at least one row per tree, got 4 rows for 5 trees"):
        RandomCutForest(5, "disjoint").fit(GOOD[:4])


def test_changed_parameters_after_growing():
    """Parameters are checked when a method uses them, and the forest stays usable."""
    forest = RandomCutForest(5, 16, random_state=0).partial_fit(GOOD)
    before = forest.anomaly_score(GOOD)
    forest.set_params(method="best")
    for call in (forest.update_many, forest.anomaly_score):
        with pytest.raises(ValueError, match="best"):
            call(GOOD)
    with pytest.raises(ValueError, match="best"):
        forest.update(GOOD[0])
    np.testing.assert_array_equal(forest.set_params(method="depth").anomaly_score(GOOD), before)


@pytest.mark.parametrize(
    "table", [GOOD, GOOD.tolist(), pd.DataFrame(GOOD), pd.DataFrame(GOOD[:1])], ids=lambda x: type(x).__name__
)
@pytest.mark.parametrize(
    "make", [lambda: RandomCutForest(5, 16), lambda: HotSpots(window_size=20, scan_radius=1.0, min_points=2)]
)
@pytest.mark.parametrize("grown", [False, True])
def test_update_takes_one_record_and_names_the_method_for_many(make, table, grown):
    model = make()
    if grown:
        model.update_many(GOOD)
    before = model.to_bytes()
    with pytest.raises(
        ValueError, match=r"a record must be one-dimensional, got shape \(\d+, 2\); update_many takes many"
    ):
        model.update(table)
    assert model.to_bytes() == before
