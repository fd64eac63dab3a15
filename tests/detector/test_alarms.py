"""The nets, the evidence and the alarms, compared record by record with the slow oracle, on labelled and on synthetic streams."""

import numpy as np
import pytest
from naive import KnownValues, alarms_of, evidence_of, novelty_of, seasonal_novelty, stuck_records
from shared_data import columns, path

from rcf import StreamDetector
from rcf.detector.evidence import Evidence, threshold_of
from rcf.detector.views import COLUMNS, HELD_BACK, Views

NAN = float("nan")


def viewed(X, seconds=None, day=0, cuts=()):
    """The findings of all records except those held back at first, one row per record. The records come in batches."""
    X = X[:, None] if X.ndim == 1 else X
    views = Views("normalize", [1.0] * X.shape[1], 128)
    if day:
        views.open_seasons(day)
    for i in range(HELD_BACK):
        views.push(X[i].tolist(), X[i].tolist(), NAN if seconds is None else float(seconds[i]))
    views.release()
    rows = []
    for a, b in zip([HELD_BACK, *cuts], [*cuts, len(X)], strict=True):
        batch = None if seconds is None else np.ascontiguousarray(seconds[a:b])
        rows.append(views.push_many(np.ascontiguousarray(X[a:b]), batch)[2])
    return np.vstack(rows)


def made_up(kind, n=3000):
    """Streams with all kinds of incidents."""
    rng = np.random.default_rng(len(kind))
    t = np.arange(n)
    if kind == "counts":
        x = rng.poisson(3, n).astype(float)
        x[n // 2 : n // 2 + 40] += 30
    elif kind == "wave":
        x = 25 * (1 + 0.3 * np.sin(2 * np.pi * t / 288)) * np.exp(rng.normal(0, 0.06, n))
        x[[500, 900]] = 30_000.0, 1e30
        x[2000:] *= 2
    elif kind == "heavy":
        x = rng.pareto(1.5, n) * rng.choice([-1, 1], n)
    elif kind == "flat":
        x = np.zeros(n)
        x[70:] = np.repeat(rng.normal(size=(n - 70) // 30 + 1), 30)[: n - 70]
    else:
        x = rng.normal(size=n).cumsum()
        x[1500:1560] = x[1500]
    return x


KINDS = ("counts", "wave", "heavy", "flat", "walk")


@pytest.mark.parametrize("kind", KINDS)
def test_novelty_is_that_of_the_oracle(kind):
    x = made_up(kind)
    novelty, views = novelty_of(x)
    for cuts in ((), (65, 700, 701)):
        rows = viewed(x, cuts=cuts)
        np.testing.assert_allclose(rows[:, 0], novelty[64:], rtol=1e-9, atol=1e-12)
        same = views[64:] == rows[:, COLUMNS.index("view")]
        # if several views are equally novel up to rounding, any of them may be named
        assert same[novelty[64:] > 0].mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_stuck_records_are_those_of_the_oracle(kind):
    x = made_up(kind)
    rows = viewed(x)
    np.testing.assert_array_equal(rows[:, COLUMNS.index("kind")] == 1, stuck_records(x)[64:])
    assert (kind == "walk") <= stuck_records(x).any()


@pytest.mark.parametrize("interval", [60, 300])
def test_seasons_are_those_of_the_oracle(interval):
    """Streams start at midnight, so that the oracle has the same bins. No week is judged in the first fortnight."""
    period = 86400 // interval
    n = int(5.5 * period)
    t, rng = np.arange(n), np.random.default_rng(interval)
    x = 100 * (1.5 + np.sin(2 * np.pi * t / period)) * np.exp(rng.normal(0, 0.05, n))
    x[-period // 2 - 20 : -period // 2] = 250.0
    rows = viewed(x, seconds=(t * float(interval)) % 604800, day=period)
    due = 0.8 * seasonal_novelty(x, period)[64:]
    assert due.max() > 0.3
    stuck = 0.5 * stuck_records(x)[64:]
    np.testing.assert_allclose(rows[:, 1], np.maximum(due, stuck), rtol=1e-9, atol=1e-12)


def test_a_net_in_its_first_blocks():
    """In the first blocks every group of values is rare. A few outliers must be excluded from the range, but not most of the
    values.
    """
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=250)
        x[20] = 1e6
        quiet = viewed(np.sin(np.arange(250) / 8))[:, 0]
        assert quiet.max() < 0.1
        rows = viewed(np.r_[x, 30.0, np.zeros(20)])
        # a level has the weight 250 / (250 + 150); the changes to the outlier and back hide the other views
        assert rows[250 - 64, 0] > 0.6
        assert np.median(rows[:, 0]) < 0.1


def test_evidence_is_that_of_the_oracle():
    rng = np.random.default_rng(0)
    for method in ("depth", "opensearch"):
        forest, rows = rng.exponential(size=4000) * 2, np.zeros((4000, len(COLUMNS)))
        rows[:, 0] = np.where(rng.random(4000) < 0.3, 0.0, rng.random(4000) ** 4)
        rows[:, 1] = np.where(rng.random(4000) < 0.01, 0.5, 0.0)
        rows[1000:1050] = 0.0  # equal evidence
        forest[1000:1050] = 1.0
        forest[:192] = rows[:192, 1] = 0.0  # before the trees are full, only a part of the evidence counts
        due = evidence_of(forest, rows[:, 0], rows[:, 1], begin=0)
        one, many = (Evidence(2.0, method, 256) for _ in range(2))
        e, likelihood, alarm, from_floor = many.steps(forest, np.zeros(4000), 257, rows)
        np.testing.assert_allclose(e, due, rtol=1e-12)
        np.testing.assert_array_equal(alarm, alarms_of(due))
        np.testing.assert_array_equal(likelihood >= 0.5, alarm)
        steps = [one.step(0.0, f, 257 + i, *rows[i, :2]) for i, f in enumerate(forest.tolist())]
        assert steps == list(zip(e.tolist(), likelihood.tolist(), alarm.tolist(), from_floor.tolist(), strict=True))


def test_other_methods_are_put_on_the_scale_of_depth():
    """A record that is cut off at depth h has a displacement of mass / 2**h."""
    rows = np.zeros((1, len(COLUMNS)))
    rows[0, 0] = 0.98
    for h in range(9):
        e = Evidence(2.0, "displacement", 256).steps(np.array([256 / 2.0**h]), np.zeros(1), 1000, rows)[0]
        assert e[0] == pytest.approx(8 / (h + 1) * 64 / 256)  # position of the first record that is judged


def test_the_rate_sets_the_threshold():
    rates = np.geomspace(1e-4, 0.5, 20)
    thresholds = [threshold_of(rate) for rate in rates]
    assert (np.diff(thresholds) < 0).all()
    assert threshold_of(0.005) == 2.0
    counts = [
        len(StreamDetector(n_estimators=10, anomaly_rate=rate, random_state=0).update_many(made_up("walk")).anomalies)
        for rate in (0.0005, 0.005, 0.05, 0.5)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


# ---- labelled streams ------------------------------------------------------------------------------------------


def given():
    """(name, values) of the labelled streams with one feature, and of the series of NAB."""
    for corpus in ("mscm", "smap_msl"):
        data = np.load(path("streams", f"{corpus}.npz"))
        for name in sorted({key.rsplit("/", 1)[0] for key in data}):
            yield name, data[f"{name}/values"].astype(float)
    for file in sorted(path("nab", "data").glob("*/*.csv")):
        yield file.name, columns(file, "value")[0][:, None]


def held_to_the_oracle(name, X):
    """Compare evidence and alarms for given scores with the oracle. Like the scores of a forest, they are 0 in the first 256
    records.
    """
    d = X.shape[1]
    forest = np.random.default_rng(0).gamma(4.0, 0.25, len(X))
    forest[:256] = 0.0
    novelty = sum(novelty_of(X[:, j])[0] for j in range(d)) / np.sqrt(d)
    floor = 0.5 * stuck_records(X[:, 0]) if d == 1 else np.zeros(len(X))
    due = evidence_of(forest, novelty, floor)
    rows = viewed(X)
    if d > 1:
        rows[:, 1] = 0.0
    e, _, alarm, _ = Evidence(2.0, "depth", 256).steps(forest[64:].copy(), np.zeros(len(X) - 64), 65, rows)
    # the evidence of a stuck sensor in the first 256 records is 0 in both
    np.testing.assert_allclose(e, due[64:], rtol=0, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(alarm, alarms_of(due)[64:], err_msg=name)
    return int(alarm.sum())


def test_some_labelled_streams():
    found = [held_to_the_oracle(name, X[:4000]) for name, X in list(given())[::12]]
    assert sum(found) > 5


@pytest.mark.slow
def test_all_labelled_streams():
    found = [held_to_the_oracle(name, X) for name, X in given()]
    for corpus in ("asd", "smd"):
        data = np.load(path("streams", f"{corpus}.npz"))
        names = sorted({key.rsplit("/", 1)[0] for key in data})
        found += [held_to_the_oracle(name, data[f"{name}/values"].astype(float)[:6000]) for name in names]
    assert sum(found) > 300


def test_known_values_of_the_oracle():
    """An example by hand: three values near each other, one far away, and one between them."""
    net = KnownValues()
    for x in [0.0, 1.0] * 200:
        net.take(x)
    assert net.take(0.5) == (0.5, 1.0)
    assert net.take(0.5)[0] == 0.0
    assert net.take(9.0) == (1.0, 1.0)
    assert net.take(8.0) == (1.0, 1.0)  # the distant value does not belong to the range


def test_noise_does_not_alarm_when_the_third_block_begins():
    """If nearly all points could be excluded from the range, 16 of 100 such streams would have alarms at records 256 to 264."""
    alarms = 0
    for seed in range(30):
        x = 10 * np.sin(np.arange(400) / 5) + np.random.default_rng(seed).normal(0, 0.3, 400)
        found = StreamDetector(n_estimators=10, random_state=seed).update_many(x).anomalies
        alarms += ((found >= 250) & (found <= 270)).sum()
    assert alarms == 0
