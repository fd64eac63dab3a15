"""A forest with `low_memory` stores few boxes. It needs fewer bytes, and everything else is the same, bit for bit."""

import copy
import pickle

import numpy as np
import pytest

import rcf
from rcf import KeyedDetector, RandomCutForest, StreamDetector
from rcf._core import Forest, hook

KINDS = ("depth", "codisp", "displacement", "opensearch")


def rows(n, d, seed=1):
    """Rows with many duplicates, and with values that many records share."""
    rng = np.random.default_rng([seed, d])
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 3, d)
    X[::3] = np.round(X[::3])
    X[n // 2 : n // 2 + n // 8] = X[n // 2]
    return X


def inside(forest):
    """Every used node with its box, and the samples, as bytes, independent of where boxes are in memory."""
    shown = []
    for i in range(forest.n_trees):
        tree = forest.tree(i)
        used = tree["nodes"]["mass"] > 0
        shown += [
            tree["cuts"][used],
            tree["nodes"][used],
            tree["wide_boxes"][used],
            tree["points"],
            tree["leaves"],
            tree["slots"],
        ]
    return [part.tobytes() for part in shown]


def life(forest, X):
    """All results of a forest that learns and forgets, with calls of every reading method in between."""
    n = len(X) // 3
    for kind in (*KINDS, "path"):
        yield forest.update(X[:n], None, kind, 1)
        yield [forest.update_record(x, kind) for x in X[n : n + 20]]
    yield forest.score(X[:40], "codisp")
    yield [forest.forget(x) for x in X[n // 2 : n]]
    yield inside(forest)
    yield forest.update(X, np.linspace(0.5, 2.0, len(X)), "depth", 2)
    for queries in (X[:5], X):  # row by row, and with rows partitioned at each node
        for kind in (*KINDS, "path"):
            yield forest.score(queries, kind)
    for kind in KINDS:
        yield forest.attribution(X[:40], kind)
    yield forest.density(X[:40])
    if X.shape[1] > 1:
        yield [forest.complete(x, [0]) for x in X[:10]]
        yield forest.complete(X[-1], [1], True)
    yield inside(forest)
    for x in X[::-1]:
        yield forest.forget(x)
    yield forest.masses()
    forest.fit(X, None, False, False, 2)
    yield inside(forest)
    yield forest.update(X, None, "depth", 2)
    yield inside(forest)


@pytest.mark.parametrize("instructions", ["portable", "avx2", "avx512"])
@pytest.mark.parametrize("d", [1, 3, 8, 20, 48])
def test_same_bits(d, instructions):
    X = rows(900, d)
    try:
        if not hook("use_instructions", instructions):
            pytest.skip(f"this machine has no {instructions}")
        pair = [Forest(7, 40, d, 0.002, [3], low) for low in (False, True)]
        for step, (usual, low) in enumerate(zip(*(life(forest, X) for forest in pair), strict=True)):
            assert pickle.dumps(np.asarray(usual).tolist()) == pickle.dumps(np.asarray(low).tolist()), step
    finally:
        for name in ("portable", "avx2", "avx512"):
            hook("use_instructions", name)


def test_more_open_boxes_than_a_walk_keeps():
    """A chain: each record lies beyond all previous ones, so that the next record is outside every box."""
    X = np.cumprod(np.full(60, 2.0))[:, None] * [1.0, -1.0]
    usual, low = [Forest(5, 60, 2, 0.0, [1], mode) for mode in (False, True)]
    for forest in (usual, low):
        for x in np.r_[X, X[::-1]]:
            forest.update_record(x, "depth")
    assert max(rcf.trees.Trees(low)[i].parent.size for i in range(5)) > 40
    assert inside(usual) == inside(low)


@pytest.mark.parametrize("capacity", [32_765, 32_766])
def test_the_largest_compact_trees_and_the_next(capacity):
    """Up to 32 766 leaves, one more than the capacity, have numbers of 16 bits."""
    X = np.random.default_rng(capacity).normal(size=(34_000, 2))
    usual, low = [Forest(2, capacity, 2, 1e-4, [3], mode) for mode in (False, True)]
    for forest in (usual, low):
        forest.update(X, None, None, 1)
    assert (low.nbytes() < 0.55 * usual.nbytes()) == (capacity == 32_765)
    for name, value in usual.state().items():
        np.testing.assert_array_equal(value, low.state()[name])
    for kind in (*KINDS, "path"):
        np.testing.assert_array_equal(usual.score(X[:200], kind), low.score(X[:200], kind))
    np.testing.assert_array_equal(usual.update(X[:500], None, "depth", 1), low.update(X[:500], None, "depth", 1))


# ---- bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "share"), [(8, 0.80), (48, 0.66)])
@pytest.mark.parametrize("how", ["stream", "fit", "copy", "load"])
def test_bytes(d, share, how):
    """100 trees of 256 records need less than krcf: 3.5 MiB with 8 features and 12.6 MiB with 48 (python -m bench speed)."""
    X = np.random.default_rng(4).normal(size=(6000, d))
    usual, low = [RandomCutForest(100, 256, low_memory=mode, random_state=1) for mode in (False, True)]
    for forest in (usual, low):
        forest.partial_fit(X) if how != "fit" else forest.fit(X)
    if how == "copy":
        low = copy.deepcopy(low)
    if how == "load":
        low = RandomCutForest.from_bytes(low.to_bytes())
    assert low._forest.nbytes() < share * usual._forest.nbytes()
    assert low._forest.nbytes() < {8: 3.2, 48: 10.3}[d] * 2**20


def test_no_worse_than_a_box_for_each_node():
    """In a chain nearly every node is large."""
    X = np.cumprod(np.full(100, 2.0))[:, None]
    usual, low = [Forest(10, 100, 1, 0.0, [1], mode) for mode in (False, True)]
    for forest in (usual, low):
        forest.update(X, None, None, 1)
    assert low.nbytes() < 1.1 * usual.nbytes()


@pytest.mark.parametrize("equal", [False, True])
def test_boxes_are_reused(equal):
    """Over a long stream, boxes that nodes no longer need are reused, also if equal records come and go."""
    forest = Forest(10, 64, 3, 1 / 640, [1], True)
    X = np.random.default_rng(5).normal(size=(20_000, 3))
    if equal:
        X = np.round(4.0 * X[:, :1]) * [1.0, 1.0, 1.0]
    forest.update(X, None, None, 1)
    before = forest.nbytes()
    for _ in range(5):
        forest.update(X, None, None, 1)
        for x in X[:300]:
            forest.forget(x)
    assert forest.nbytes() < 1.05 * before


# ---- the setting stays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "again",
    [
        copy.deepcopy,
        lambda f: pickle.loads(pickle.dumps(f)),
        lambda f: RandomCutForest.from_bytes(f.to_bytes()),
        lambda f: f.merge(RandomCutForest(10, 64, random_state=9).partial_fit(rows(500, 8, 2))),
    ],
    ids=["copy", "pickle", "file", "merge"],
)
def test_the_parameter_is_kept(again):
    X = rows(600, 8)
    made = [again(RandomCutForest(10, 64, low_memory=low, random_state=1).partial_fit(X)) for low in (False, True)]
    usual, low = made
    assert low.low_memory
    assert low._forest.low_memory
    assert not usual._forest.low_memory
    assert low._forest.nbytes() < 0.95 * usual._forest.nbytes()
    np.testing.assert_array_equal(usual.update_many(X), low.update_many(X))
    np.testing.assert_array_equal(usual.anomaly_score(X), low.anomaly_score(X))


def test_the_state_does_not_depend_on_the_parameter():
    """The states are equal, so a model of either kind can be loaded as the other."""
    X = rows(600, 8)
    usual, low = [RandomCutForest(10, 64, low_memory=mode, random_state=1).partial_fit(X) for mode in (False, True)]
    first, second = usual._forest.state(), low._forest.state()
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_trees_show_all_boxes():
    X = rows(300, 3)
    usual, low = [RandomCutForest(5, 64, low_memory=mode, random_state=1).fit(X) for mode in (False, True)]
    for one, two in zip(usual.trees_, low.trees_, strict=True):
        used = one.mass > 0
        np.testing.assert_array_equal(one.boxes[used], two.boxes[used])
        assert not two.boxes.flags.writeable
        if one.n_records:
            assert one.to_dict() == two.to_dict()


def test_visitors():
    walk = pytest.importorskip("rcf.walk")
    X = rows(300, 3)
    usual, low = [RandomCutForest(5, 64, low_memory=mode, random_state=1).fit(X) for mode in (False, True)]
    np.testing.assert_array_equal(usual.walk(X, walk.depth), low.walk(X, walk.depth))


# ---- no memory -----------------------------------------------------------------------------------------------


@pytest.fixture(params=[3, 5])
def hungry(request):
    """A forest of either layout without memory for further boxes, and rows that need boxes."""
    d = request.param
    forest = Forest(6, 256, d, 0.0, [2], True)
    X = np.random.default_rng(6).normal(size=(256, d))
    forest.update(X[:222], None, None, 1)
    hook("starve", True)
    yield forest, X[222:]
    hook("starve", False)


@pytest.mark.parametrize("d", [1, 5])
def test_no_memory_for_a_record(d):
    """A full forest does not change."""
    forest = Forest(6, 64, d, 0.05, [2], True)
    forest.update(np.random.default_rng(6).normal(size=(200, d)), None, None, 1)
    chain = np.cumprod(np.full((100, d), 2.0), axis=0)  # nearly every node of a chain needs a box
    hook("starve", True)
    try:
        for x in chain:
            before, seen = inside(forest), forest.n_seen
            try:
                forest.update_record(x, "depth")
            except MemoryError:
                break
        else:
            pytest.fail("memory was never short")
    finally:
        hook("starve", False)
    assert seen > 200
    assert forest.n_seen == seen
    assert inside(forest) == before
    assert forest.update_record(x, "depth") > 0
    assert forest.n_seen == seen + 1


def test_no_memory_in_a_batch(hungry):
    """Trees without memory for a record omit it. All trees stay valid and continue."""
    forest, X = hungry
    with pytest.raises(MemoryError, match="34 of 34 records were learned, some of them not by every tree"):
        forest.update(X, None, None, 1)
    assert forest.n_seen == 256
    assert (forest.masses() < 256).any()
    for i in range(forest.n_trees):
        tree = forest.tree(i)
        assert len(tree["slots"]) == tree["mass"] == tree["leaves"]["mass"].sum()
    hook("starve", False)
    again = Forest.from_state(forest.state())
    for kind in KINDS:
        np.testing.assert_array_equal(forest.score(X, kind), again.score(X, kind))
    forest.update(X, None, None, 1)
    assert forest.n_seen == 290


@pytest.mark.parametrize(("size", "d", "saved"), [(4, 1, 0.14), (8, 1, 0.18), (48, 2, 0.35)])
def test_detectors_in_low_memory_mode(size, d, saved):
    """The results are equal in every respect and need fewer bytes, and a model file keeps the parameter."""
    X = np.random.default_rng(0).normal(size=(1500, d))
    X[[1000, 1300]] += 30
    X[1200, 0] = np.nan
    said, taken, ahead = [], [], []
    for low in (False, True):
        detector = StreamDetector(size, fill="forest", low_memory=low, random_state=0)
        found = list(detector.update_many(X[:1100]))
        detector = StreamDetector.from_bytes(detector.to_bytes())
        assert detector.low_memory == low
        found += [detector.update(x) for x in X[1100:]]
        forests = detector._trees.whole, detector._trees.point
        assert [forest.low_memory for forest in forests] == [low, low]
        said.append(
            [(r.score, r.threshold, str(r.reason), r.is_anomaly and (r.cause, r.expected.tolist())) for r in found]
        )
        taken.append(sum(forest.nbytes() for forest in forests))
        ahead.append(detector.forecast(5).upper.tolist())
    assert said[0] == said[1]
    assert ahead[0] == ahead[1]
    assert sum(bool(what[-1]) for what in said[0]) >= 2
    assert taken[1] < (1.0 - saved) * taken[0]


def test_many_keys_in_low_memory_mode():
    keyed = KeyedDetector(StreamDetector(4, n_estimators=4, max_samples=16, low_memory=True, random_state=0))
    keyed.override("b", low_memory=False)
    for key in "ab":
        keyed.update(key, 1.0)
    again = KeyedDetector.from_bytes(keyed.to_bytes())
    for held in (keyed, again):
        assert [held.detector(key)._trees.whole.low_memory for key in "ab"] == [True, False]
