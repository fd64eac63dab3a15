"""The steps of an ordinary record, compiled: clock, views, window, trees, evidence.

A record is ordinary if the detector has settled, no value is missing in it or in the window before it, and it comes when it is due.
All other records take the same steps in stream.py. The records of several detectors take each step together, because the detectors
of thousands of keys are in no cache: while the trees of one wait for memory, those of the others continue.
"""

import numpy as np

from rcf._native.state import LIMIT as _LIMIT
from rcf._pool import in_threads

from libc.math cimport NAN, sqrt
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc

from shingle._ring cimport ring_push, ring_window

from rcf._core cimport Forest, kind_of, learn_of_many, room_to_learn
from rcf.detector.evidence cimport Evidence, likelihood_of
from rcf._native.tree cimport rcf_prefetch_bytes
from rcf.detector.feature cimport HEAD, Feature
from rcf.detector.season cimport Season
from rcf.detector.times cimport Times
from rcf.detector.views cimport FLOOR, NOVELTY, Views
from rcf.detector.window cimport Window

cdef double LIMIT = _LIMIT

cdef enum:
    TOGETHER = 12  # number of detectors whose records take each step together
    PAIRS = 128    # number of trees that walk together


cpdef double joint(double point, double whole) noexcept nogil:
    """The score of both forests: ``point ** (3 / 8) * whole ** (5 / 8)``, with the same bits on every CPU."""
    return sqrt(sqrt(sqrt((point * point * point) * (whole * whole * whole * whole * whole))))


cdef class Pipeline:
    """The parts of a detector that a record passes, and the facts that it needs about the other parts."""

    def __init__(self, Times clock not None, Views views not None, Window window not None, Forest whole, Forest point,
                 Evidence evidence not None, str method, int64_t sure, zone):
        self.clock, self.views, self.window, self.whole, self.point, self.evidence = clock, views, window, whole, point, evidence
        self.kind, self.sure = kind_of(method), sure
        self.zone, self.checked = zone, True

    cdef bint ordinary(self) noexcept nogil:
        """Whether the next record is ordinary if nothing is missing in it or before it."""
        return (self.views.n >= HEAD and not self.silent and self.window.whole()
                and (self.point is None or self.point.settled()) and (self.whole is None or self.whole.settled()))

    cdef int64_t learned(self) noexcept nogil:
        """Number of records that the trees have learned, or of windows if no trees see single records."""
        return self.whole.trees.seen if self.point is None else self.point.trees.seen

    cdef bint goes_on(self, double time, bint local) noexcept nogil:
        """Whether a record comes when it is due. `time` is NaN if the record has no time stamp."""
        if time != time:
            return self.clock.at != self.clock.at
        return self.clock.goes_on_at(time, local) and (self.views.day > 0 or self.clock.day_length() == 0.0)

    cdef bint begin(self, const double* record, double time, double offset) noexcept nogil:
        """Take the steps before the trees, which the caller has locked. If memory runs out, returns False and changes nothing."""
        cdef int j
        cdef double second = NAN
        if ((self.point is not None and not self.point.make_ready()) or (self.whole is not None and not self.whole.make_ready())
                or not self.evidence.make_room()):
            return False
        if time == time:
            self.clock.at, self.clock.offset = time, offset
            self.clock.forget_refused()
            second = self.clock.week_second()
        self.n_seen += 1
        for j in range(self.views.d):
            self.views.filled[j] = self.views.came[j] = record[j]
        self.views.take(second)
        self.window.take_whole(self.views)
        ring_push(&self.window.ring, self.views.z)
        return True

    cdef int method(self) noexcept nogil:
        return self.kind

    cdef bint has(self, bint whole) noexcept nogil:
        """Whether any trees see the window (if `whole`) or the newest record."""
        return self.whole is not None if whole else self.point is not None

    cdef void* for_trees(self, bint whole, const double** record) noexcept nogil:
        """The Forest that sees the window (if `whole`) or the newest record. `record` is set to its input."""
        record[0] = ring_window(&self.window.ring, False) if whole else self.views.p
        return <void*>self.whole if whole else <void*>self.point

    cdef void judge(self, double point, double whole, Result* result) noexcept nogil:
        """Take the steps after the trees, given the scores of both forests."""
        cdef double counted, seen = <double>self.views.n / max(self.sure, self.views.day)
        cdef double threshold = self.evidence.threshold
        result.score = point + whole if self.point is None or self.whole is None else joint(point, whole)
        result.evidence = self.evidence.weigh(point, whole, self.learned(), self.views.row[NOVELTY], self.views.row[FLOOR],
                                              &counted, &result.from_floor)
        result.threshold, result.seen = threshold, self.n_seen
        result.likelihood, result.alarm = likelihood_of(counted, threshold), counted >= threshold
        result.confidence = min(seen, 1.0)

    cdef void lock(self) noexcept:
        """Keep other threads from reading the detector."""
        if self.point is not None:
            self.point.lock()
        if self.whole is not None:
            self.whole.lock()

    cdef void lock_nogil(self) noexcept nogil:
        if self.point is not None:
            self.point.lock_nogil()
        if self.whole is not None:
            self.whole.lock_nogil()

    cdef void unlock(self) noexcept nogil:
        if self.point is not None:
            self.point.unlock()
        if self.whole is not None:
            self.whole.unlock()

    cdef void prefetch_parts(self) noexcept nogil:
        """Prefetch the objects of the parts, once this object is in the cache."""
        rcf_prefetch_bytes(<void*>self.views, 3 * 64)
        rcf_prefetch_bytes(<void*>self.window, 3 * 64)
        rcf_prefetch_bytes(<void*>self.clock, 2 * 64)
        rcf_prefetch_bytes(<void*>self.evidence, 5 * 64)
        if self.point is not None:
            rcf_prefetch_bytes(<void*>self.point, 4 * 64)
        if self.whole is not None:
            rcf_prefetch_bytes(<void*>self.whole, 4 * 64)

    cdef void prefetch_arrays(self) noexcept nogil:
        """Prefetch the arrays to which the objects of the parts point."""
        rcf_prefetch_bytes(self.views.features, self.views.d * sizeof(Feature))
        rcf_prefetch_bytes(self.views.room, (14 * self.views.d + 13) * sizeof(double))
        rcf_prefetch_bytes(self.window.room, 64)
        rcf_prefetch_bytes(self.evidence.when + self.evidence.held, 8)
        rcf_prefetch_bytes(self.evidence.high, self.evidence.held * sizeof(double) + 8)
        if self.point is not None:
            self.point.prefetch()
        if self.whole is not None:
            self.whole.prefetch()

    cdef void prefetch_seasons(self) noexcept nogil:
        """Prefetch the seasons, once the features are in the cache."""
        cdef int j
        for j in range(self.views.d):
            if self.views.features[j].season != NULL:
                rcf_prefetch_bytes(self.views.features[j].season, sizeof(Season))

    cdef int n_trees(self) noexcept nogil:
        """Number of trees of the larger forest."""
        return max(0 if self.point is None else self.point.trees.n_trees, 0 if self.whole is None else self.whole.trees.n_trees)

    cdef int width(self) noexcept nogil:
        return self.views.d

    cdef bint takes(self, const double* record, double time, bint local) noexcept nogil:
        """Whether the next record is ordinary and Python need not process it unless it raises an alarm."""
        return not self.watched and self.ordinary() and complete(record, self.views.d) and self.goes_on(time, local)

    cdef bint admits(self, const double* times, const uint8_t* local, const int64_t* rows, int64_t n) noexcept nogil:
        """Whether the time stamps of n records may follow in order. False also if only the Clock can decide this."""
        cdef int64_t i
        cdef double before = self.clock.at
        if times == NULL:
            return before != before
        if before != before or (n > 1 and self.clock.step != self.clock.step):
            return False  # the first stamps may determine the interval, which decides about the others
        for i in range(n):
            if not self.clock.may_follow(before, times[rows[i]], local[rows[i]]):
                return False
            before = times[rows[i]]
        return True

    cdef int64_t capacity(self) noexcept nogil:
        """Number of records that a tree holds."""
        return self.whole.trees.capacity if self.point is None else self.point.trees.capacity

    cdef bint alike(self, Pipeline other) noexcept nogil:
        """Whether the trees of both have the same layout and the same kind of score."""
        return self.kind == other.kind and same_layout(self.point, other.point) and same_layout(self.whole, other.whole)

    def take_number(self, double value, timestamp, bint cold):
        """The same as `take` for a record of one number, whose time stamp is None or a float. Returns None also if Python must
        check one of the two.

        `cold` says that the detector is in none of the caches.
        """
        cdef void* one = <void*>self
        cdef const double* record = &value
        cdef double time = NAN, offset = 0.0
        cdef Result result
        if cold:
            self.prefetch_parts()
            self.prefetch_arrays()
            self.prefetch_seasons()
        if timestamp is not None:
            time = <double>timestamp
            if time != time:
                return None
        if (not self.checked or self.views.d != 1 or not (-LIMIT <= value <= LIMIT) or self.zone is not None
                or not self.ordinary() or not self.goes_on(time, False)):
            return None
        self.lock()  # lock before using the shared scratch space, because another thread may run while this one waits
        try:
            make_shared_room(self)
            take_together(&one, &record, &time, &offset, &result, 1, cold, shared, shared_for)
        finally:
            self.unlock()
        return as_tuple(&result)

    def take(self, list record not None, double time, double offset, bint local):
        """The results for the next ordinary record: score, evidence, threshold, likelihood, confidence, alarm, from_floor.

        If the record is not ordinary, returns None and changes nothing. Without time stamps, `time` is NaN.
        """
        cdef void* one = <void*>self
        cdef double[16] few
        cdef double* values = few
        cdef Result result
        cdef int j, d = self.views.d
        cdef bint whole
        if not (self.ordinary() and self.goes_on(time, local)):
            return None
        if d > 16:
            values = <double*>malloc(d * sizeof(double))
            if values == NULL:
                raise MemoryError
        for j in range(d):
            values[j] = record[j]
        whole = complete(values, d)
        self.lock()
        try:
            if whole:
                make_shared_room(self)
                take_together(&one, <const double**>&values, &time, &offset, &result, 1, False, shared, shared_for)
        finally:
            self.unlock()
            if values != few:
                free(values)
        if not whole:
            return None
        return as_tuple(&result)


cdef void take_together(void** pipelines, const double** records, const double* times, const double* offsets, Result* results, int n,
                        bint cold, void* scratch, int64_t capacity) noexcept nogil:
    """Process the next record of each of n pipelines, at most TOGETHER. They are alike and locked. `scratch` suits trees of that
    capacity.

    `cold` says that the pipelines are in none of the caches.
    """
    cdef void* forests[TOGETHER]
    cdef const double* rows[TOGETHER]
    cdef double[TOGETHER] points, wholes
    cdef int[TOGETHER] at
    cdef int g, k = 0
    for g in range(n):
        results[g].done = (<Pipeline>pipelines[g]).begin(records[g], times[g], offsets[g])
        at[k] = g
        k += <int>results[g].done
        points[g] = wholes[g] = 0.0
    if k == 0:
        return
    if (<Pipeline>pipelines[0]).has(False):
        for g in range(k):
            forests[g] = (<Pipeline>pipelines[at[g]]).for_trees(False, &rows[g])
        learn_of_many(forests, rows, k, (<Pipeline>pipelines[0]).method(), cold, scratch, capacity, points)
    if (<Pipeline>pipelines[0]).has(True):
        for g in range(k):
            forests[g] = (<Pipeline>pipelines[at[g]]).for_trees(True, &rows[g])
        learn_of_many(forests, rows, k, (<Pipeline>pipelines[0]).method(), cold, scratch, capacity, wholes)
    for g in range(k):
        (<Pipeline>pipelines[at[g]]).judge(points[g], wholes[g], &results[at[g]])


cdef as_tuple(const Result* result):
    if not result.done:
        raise MemoryError("not enough memory for a record")
    return (result.score, result.evidence, result.threshold, result.likelihood, result.confidence, bool(result.alarm),
            bool(result.from_floor))


cdef inline bint complete(const double* record, int d) noexcept nogil:
    """Whether no value is missing."""
    cdef int j
    for j in range(d):
        if record[j] != record[j]:
            return False
    return True


# The arrays to which the results of the records are written.
cdef struct Outcome:
    double* score
    double* evidence
    double* threshold
    double* likelihood
    double* confidence
    int64_t* seen


# Records of many detectors: those of detector k are the rows rows[starts[k]] to rows[starts[k + 1] - 1], in this order.
cdef struct Task:
    void** pipelines
    const int64_t* starts
    const int64_t* rows
    const double* X
    const double* times        # NULL without time stamps
    const double* offsets
    const uint8_t* local
    Outcome to
    int64_t* done              # number of records taken of each detector
    uint8_t* alarm             # whether the last of them raises an alarm: ALARM, or FROM_FLOOR if its evidence comes from the floor
    int64_t capacity           # of the largest trees


cpdef enum:
    NO_ALARM, ALARM, FROM_FLOOR


cdef void take_many(const Task* t, int64_t first, int64_t last, void* scratch) noexcept nogil:
    """Take the records of detectors first to last - 1. Of each, stop before a record that is not ordinary and after an alarm."""
    cdef int64_t k = first, begin, i
    cdef int n
    while k < last:
        begin, n = k, 0
        while k < last and n < TOGETHER and (n == 0 or (
                (n + 1) * (<Pipeline>t.pipelines[begin]).n_trees() <= PAIRS
                and (<Pipeline>t.pipelines[begin]).alike(<Pipeline>t.pipelines[k]))):
            n += 1
            k += 1
        # prefetch for three later groups, each one step further than the next
        for i in range(min(k + 2 * TOGETHER, last), min(k + 2 * TOGETHER + n, last)):
            (<Pipeline>t.pipelines[i]).prefetch_parts()
        for i in range(min(k + TOGETHER, last), min(k + TOGETHER + n, last)):
            (<Pipeline>t.pipelines[i]).prefetch_arrays()
        for i in range(k, min(k + n, last)):
            (<Pipeline>t.pipelines[i]).prefetch_seasons()
        for i in range(min(k + 3 * TOGETHER, last), min(k + 3 * TOGETHER + n, last)):
            rcf_prefetch_bytes(t.pipelines[i], 3 * 64)
        take_group(t, begin, n, scratch)


cdef void take_group(const Task* t, int64_t begin, int n, void* scratch) noexcept nogil:
    """Take the records of n detectors that are alike: the first records of all together, then the second ones, and so on."""
    cdef int[TOGETHER] active, at
    cdef int64_t[TOGETHER] row
    cdef void* pipelines[TOGETHER]
    cdef const double* records[TOGETHER]
    cdef double[TOGETHER] times, offsets
    cdef Result[TOGETHER] results
    cdef int g, i, m, left = n, d = (<Pipeline>t.pipelines[begin]).width()
    cdef int64_t k
    for g in range(n):
        active[g] = g
        t.done[begin + g], t.alarm[begin + g] = 0, NO_ALARM
    while left > 0:
        m = 0
        for i in range(left):
            g = active[i]
            k = begin + g
            if t.starts[k] + t.done[k] == t.starts[k + 1]:
                continue
            row[m] = t.rows[t.starts[k] + t.done[k]]
            records[m] = t.X + row[m] * d
            times[m] = NAN if t.times == NULL else t.times[row[m]]
            offsets[m] = 0.0 if t.times == NULL else t.offsets[row[m]]
            if not (<Pipeline>t.pipelines[k]).takes(records[m], times[m], t.times != NULL and t.local[row[m]]):
                continue
            (<Pipeline>t.pipelines[k]).lock_nogil()
            pipelines[m], at[m] = t.pipelines[k], g
            m += 1
        if m == 0:
            return
        take_together(pipelines, records, times, offsets, results, m, True, scratch, t.capacity)
        left = 0
        for i in range(m):
            (<Pipeline>pipelines[i]).unlock()
            if not results[i].done:
                continue
            k = begin + at[i]
            t.done[k] += 1
            t.to.score[row[i]], t.to.evidence[row[i]] = results[i].score, results[i].evidence
            t.to.threshold[row[i]], t.to.likelihood[row[i]] = results[i].threshold, results[i].likelihood
            t.to.confidence[row[i]], t.to.seen[row[i]] = results[i].confidence, results[i].seen
            if results[i].alarm:
                t.alarm[k] = FROM_FLOOR if results[i].from_floor else ALARM
                continue
            active[left] = at[i]
            left += 1


cdef class Pass:
    """Records of many detectors that are taken in one call.

    Parameters
    ----------
    pipelines : list of Pipeline
    starts : (len(pipelines) + 1,) of int64
    rows : (n,) of int64
        The records of detector k are the rows ``rows[starts[k]:starts[k + 1]]`` of X, in this order.
    X : (n, d) of float
    moments : (times, offsets, local), arrays of shape (n,), or None
    """
    cdef list pipelines
    cdef const int64_t[::1] starts, rows
    cdef const double[:, ::1] X
    cdef const double[::1] times, offsets
    cdef const uint8_t[::1] local
    cdef int64_t[::1] done
    cdef uint8_t[::1] alarm
    cdef void** at
    cdef Task task

    def __cinit__(self, list pipelines not None, const int64_t[::1] starts not None, const int64_t[::1] rows not None,
                  const double[:, ::1] X not None, moments):
        cdef int64_t k, n = len(pipelines)
        cdef Pipeline one
        self.pipelines, self.starts, self.rows, self.X = pipelines, starts, rows, X
        self.at = <void**>malloc(max(n, 1) * sizeof(void*))
        if self.at == NULL:
            raise MemoryError
        self.task.pipelines, self.task.starts, self.task.rows = self.at, &starts[0], &rows[0]
        self.task.X = &X[0, 0]
        if moments is not None:
            self.times, self.offsets, self.local = moments
            self.task.times, self.task.offsets, self.task.local = &self.times[0], &self.offsets[0], &self.local[0]
        for k in range(n):
            one = pipelines[k]
            self.at[k] = <void*>one

    def __dealloc__(self):
        free(self.at)

    def admitted(self, zone):
        """Which detectors may take their records, as n booleans. The time stamps were read in this zone. Nothing changes."""
        cdef int64_t k, n = len(self.pipelines), from_, many
        cdef Pipeline one
        cdef bint timed = self.task.times != NULL
        found = np.zeros(n, dtype=np.bool_)
        cdef uint8_t[::1] fine = found.view(np.uint8)
        for k in range(n):
            one = self.pipelines[k]
            from_, many = self.starts[k], self.starts[k + 1] - self.starts[k]
            fine[k] = (one.checked and one.views.d == self.X.shape[1] and (not timed or one.zone is zone)
                       and one.admits(self.task.times, self.task.local, &self.rows[from_], many))
        return found

    def take(self, outcome, int n_jobs):
        """Take the records and write their results to the arrays of an Outcome.

        Returns for each detector the number of records that were taken, and whether the last of them raises an alarm (1, or 2 if
        its evidence comes from the floor). A detector stops before its first record that is not ordinary, and after its first
        alarm.
        """
        cdef int64_t n = len(self.pipelines), k
        cdef double[::1] score, evidence, threshold, likelihood, confidence
        cdef int64_t[::1] seen
        done, alarm = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.uint8)
        if n == 0:
            return done, alarm
        score, evidence, threshold, likelihood, confidence, seen = outcome
        self.task.to.score, self.task.to.evidence, self.task.to.threshold = &score[0], &evidence[0], &threshold[0]
        self.task.to.likelihood, self.task.to.confidence, self.task.to.seen = &likelihood[0], &confidence[0], &seen[0]
        self.done, self.alarm = done, alarm
        self.task.done, self.task.alarm = &self.done[0], &self.alarm[0]
        self.task.capacity = 1
        for k in range(n):
            self.task.capacity = max(self.task.capacity, (<Pipeline>self.at[k]).capacity())
        in_threads(self._take, 0, n, n_jobs)
        return done, alarm

    def _take(self, int64_t first, int64_t last):
        cdef void* scratch = malloc(room_to_learn(self.task.capacity))
        if scratch == NULL:
            raise MemoryError
        with nogil:
            take_many(&self.task, first, last, scratch)
        free(scratch)


cdef bint same_layout(Forest one, Forest other) noexcept nogil:
    if one is None or other is None:
        return one is other
    return (one.trees.stride == other.trees.stride and one.trees.low_memory == other.trees.low_memory
            and one.trees.tree[0].compact == other.trees.tree[0].compact)


# Scratch space for single records. All detectors share it, because a buffer for each would dominate memory. This is safe because
# take() keeps the GIL.
cdef void* shared = NULL
cdef int64_t shared_for = 0


cdef int make_shared_room(Pipeline pipeline) except -1:
    global shared, shared_for
    cdef int64_t capacity = pipeline.capacity()
    if capacity > shared_for:
        free(shared)
        shared_for = 0
        shared = malloc(room_to_learn(capacity))
        if shared == NULL:
            raise MemoryError
        shared_for = capacity
    return 0
