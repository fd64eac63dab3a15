"""Many threads use one forest. A writer (update, fit, forget) has exclusive access. Readers share the forest and see it before or
after a whole call, never during one. Free-threaded interpreters are not tested here.
"""

import os
import pickle
import threading
import time

import numpy as np
import pytest

from rcf import RandomCutForest
from rcf._core import Forest

SECONDS = 1.0


def run(*jobs, seconds=SECONDS, repeat=True):
    """Repeat each job in its own thread until the time is up or one returns True. Errors of the threads are raised here."""
    errors, stop = [], threading.Event()

    def loop(job):
        try:
            while not stop.is_set():
                if job() is True:
                    stop.set()
                if not repeat:
                    return
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=loop, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    if repeat:
        stop.wait(seconds)
        stop.set()
    deadline = time.monotonic() + 60
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
        assert not thread.is_alive(), "a deadlock"
    for error in errors:
        raise error


@pytest.mark.parametrize(("batch", "n_jobs"), [(200, 1), (200, 3), (1, 1)])
def test_a_reader_sees_the_forest_before_or_after_a_batch(batch, n_jobs):
    """A forest that no other thread reads gives the expected scores after each batch. Readers must see these scores, in order."""
    X = np.random.default_rng(0).normal(size=(61, batch, 3))
    queries = np.random.default_rng(1).normal(size=(20, 3))

    def learn(forest, rows):
        if batch == 1:
            forest.update_record(rows[0], "depth")
        else:
            forest.update(rows, None, None, n_jobs)

    alone, forest = Forest(20, 64, 3, 1 / 64, [1]), Forest(20, 64, 3, 1 / 64, [1])
    for one in (alone, forest):
        one.update(np.random.default_rng(2).normal(size=(100, 3)), None, None, 1)
        learn(one, X[0])
    known = [alone.score(queries, "depth", 1).tobytes()]
    for rows in X[1:]:
        learn(alone, rows)
        known.append(alone.score(queries, "depth", 1).tobytes())
    assert len(set(known)) == len(known)
    order = {scores: i for i, scores in enumerate(known)}
    write_and_read(
        [lambda rows=rows: learn(forest, rows) for rows in X[1:]],
        lambda: order[forest.score(queries, "depth", n_jobs).tobytes()],
    )
    assert forest.n_seen == alone.n_seen


def write_and_read(writes, read, readers=4):
    """Call the writers in order in one thread while other threads read, from before the first call until after the last."""
    todo, readings = iter(writes), [[] for _ in range(readers)]

    def write():
        if not all(readings):
            return False
        call = next(todo, None)
        if call is not None:
            call()
            return False
        return all(seen[-1] == len(writes) for seen in readings)

    run(write, *(lambda into=into: into.append(read()) for into in readings), seconds=50)
    for seen in readings:
        assert seen == sorted(seen)
        assert (seen[0], seen[-1]) == (0, len(writes))


def test_everything_at_once():
    """Every method is called from many threads. Then the forest is valid, and has seen as many records as were given."""
    naive = pytest.importorskip("naive")
    forest = Forest(12, 32, 3, 0.01, [2])
    forest.update(np.random.default_rng(1).normal(size=(40, 3)), None, None, 1)
    given, lock = [40], threading.Lock()

    def rows(n):
        return np.random.default_rng().integers(-4, 5, (n, 3)).astype(float)

    def learn(n):
        if n == 1:
            forest.update_record(rows(1)[0], "codisp")
        else:
            forest.update(rows(n), None, "depth", 2)
        with lock:
            given[0] += n

    run(
        lambda: learn(1),
        lambda: learn(1),
        lambda: learn(30),
        lambda: forest.forget(rows(1)[0]),
        lambda: np.testing.assert_array_less(-1e-9, forest.score(rows(50), "opensearch", 2)),
        lambda: np.testing.assert_array_less(-1e-9, forest.attribution(rows(5), "depth", 1)),
        lambda: [naive.check(pickle.loads(pickle.dumps(forest)).tree(i)) for i in range(3)],
        lambda: forest.masses(),
        seconds=2 * SECONDS,
    )
    assert forest.n_seen == given[0]
    for i in range(forest.n_trees):
        naive.check(forest.tree(i))


def test_refitted_while_others_score():
    """Each fit replaces all trees and the origin. What a thread reads comes from one of the two fits, never from both."""
    tables = [np.random.default_rng(i).normal(size=(300, 2)) + 1000 * i for i in range(2)]
    queries = np.ascontiguousarray(tables[0][:10])
    alone, known = Forest(10, 64, 2, 0.0, [3]), {}
    for i in range(300):
        alone.fit(tables[i % 2], None, False, False, 1)
        known[alone.score(queries, "depth", 1).tobytes()] = i
    assert len(known) == 300
    forest = Forest(10, 64, 2, 0.0, [3])
    forest.fit(tables[0], None, False, False, 1)
    write_and_read(
        [lambda i=i: forest.fit(tables[i % 2], None, False, False, 2) for i in range(1, 300)],
        lambda: known[forest.score(queries, "depth", 1).tobytes()],
    )


def test_a_refused_call_releases_the_lock():
    """The forest is never left locked, whatever error a writer raises."""
    forest = Forest(3, 16, 2, 0.0, [4])
    forest.update(np.arange(40.0).reshape(20, 2), None, None, 1)
    bad = np.array([[1.0, np.nan]])

    def refused(call):
        with pytest.raises((ValueError, TypeError)):
            call()

    def all_refused():
        refused(lambda: forest.update(bad, None, "depth", 1))
        refused(lambda: forest.update(np.zeros((1, 2)), np.zeros(1), "depth", 1))
        refused(lambda: forest.update(np.zeros((1, 2)), None, "nonsense", 1))
        refused(lambda: forest.update_record(bad[0], "depth"))
        refused(lambda: forest.update_record(np.zeros(3), "depth"))
        refused(lambda: forest.update_record(np.zeros(2, np.float32), "depth"))
        refused(lambda: forest.fit(bad, None, False, False, 1))
        refused(lambda: forest.fit(np.zeros((1, 2)), None, False, True, 1))
        refused(lambda: forest.score(bad, "depth", 1))
        refused(lambda: forest.forget(bad[0]))
        forest.update(np.zeros((1, 2)), None, None, 1)
        forest.score(np.zeros((1, 2)), "depth", 1)

    run(all_refused, all_refused, repeat=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_works():
    """The process forks after threads were used, and the child uses threads too: no call leaves a pool or a lock behind."""
    forest = RandomCutForest(20, 64, n_jobs=2, random_state=0)
    X = np.random.default_rng(5).normal(size=(3000, 4))
    forest.update_many(X[:2000])
    twin = pickle.loads(pickle.dumps(forest))
    expected = twin.update_many(X[2000:])
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(into, b"same" if np.array_equal(forest.update_many(X[2000:]), expected) else b"differs")
        finally:
            os._exit(0)
    os.close(into)
    os.set_blocking(out, False)
    said, deadline = b"", time.monotonic() + 30
    while not said and time.monotonic() < deadline:
        time.sleep(0.05)
        try:
            said = os.read(out, 100)
        except BlockingIOError:
            continue
    if not said:
        os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(out)
    assert said == b"same"  # no output: the child hung or died
    assert np.array_equal(forest.update_many(X[2000:]), expected)
