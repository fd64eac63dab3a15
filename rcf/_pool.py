"""Run parts of a range in threads. Threads are kept between calls, because starting one takes as long as 100 records."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from numbers import Integral

_pool: tuple[ThreadPoolExecutor, int] | None = None  # the pool, and the largest number of threads that it can start


def _forget_pool() -> None:
    """Make a new pool in a forked child, because it has none of the parent's threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def in_threads(work: Callable[[int, int], object], begin: int, end: int, n_jobs: int) -> None:
    """Call work(a, b) for n_jobs equal parts of begin .. end - 1, the first part in this thread and the others in the pool."""
    global _pool
    n = end - begin
    parts = min(n, n_jobs)
    if parts <= 1:
        if n > 0:
            work(begin, end)
        return
    bounds = [begin + n * i // parts for i in range(parts + 1)]
    pool = _pool
    if pool is None or pool[1] < parts - 1:
        # calls that still use the old pool finish on it
        pool = _pool = ThreadPoolExecutor(parts - 1, thread_name_prefix="rcf"), parts - 1
    others: list[Future[object]] = []
    try:
        others.extend(pool[0].submit(work, a, b) for a, b in pairwise(bounds[1:]))
        work(bounds[0], bounds[1])
    finally:
        wait(others)  # even after an error, because the threads write into the caller's memory
    for other in others:
        other.result()


def thread_count(n_jobs: int | None) -> int:
    """The number of threads for the parameter `n_jobs`, which has scikit-learn's meaning.

    Raises
    ------
    ValueError
        If it is 0 or not a whole number.
    """
    if n_jobs is None:
        return 1
    if not isinstance(n_jobs, Integral) or n_jobs == 0:
        raise ValueError(f"n_jobs must be None, a number of threads, or -1 for all cores, got {n_jobs!r}")
    from joblib import effective_n_jobs  # not at the top, because the core needs only numpy

    return int(effective_n_jobs(n_jobs))
