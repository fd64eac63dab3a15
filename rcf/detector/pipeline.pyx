"""The steps of an ordinary record, compiled: clock, views, window, trees, evidence.

A record is ordinary if the detector has settled, no value is missing in it or in the window before it, and it comes when it is due.
All others take the same steps in stream.py. The records of several detectors take each step together: the detectors of thousands of
keys are in no cache, and while the trees of one wait for memory, those of the others go on.
"""

from libc.math cimport NAN, sqrt
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from shingle._ring cimport ring_push, ring_window

from rcf._core cimport Forest, kind_of, learn_of_many, room_to_learn
from rcf.detector.evidence cimport Evidence, likelihood_of
from rcf.detector.feature cimport HEAD
from rcf.detector.times cimport Times
from rcf.detector.views cimport FLOOR, NOVELTY, Views
from rcf.detector.window cimport Window

cdef enum:
    TOGETHER = 12  # number of detectors whose records take each step together


cpdef double joint(double point, double whole) noexcept nogil:
    """The score of both forests: ``point ** (3 / 8) * whole ** (5 / 8)``, with the same bits on every CPU."""
    return sqrt(sqrt(sqrt((point * point * point) * (whole * whole * whole * whole * whole))))


cdef class Pipeline:
    """The parts of a detector that a record passes, and what a record needs to know of the others."""

    def __init__(self, Times clock not None, Views views not None, Window window not None, Forest whole, Forest point,
                 Evidence evidence not None, str method, int64_t sure):
        self.clock, self.views, self.window, self.whole, self.point, self.evidence = clock, views, window, whole, point, evidence
        self.kind, self.sure = kind_of(method), sure

    cdef bint ordinary(self) noexcept nogil:
        """Whether the next record is ordinary if nothing is missing in it or before it."""
        return (self.views.n >= HEAD and not self.silent and self.window.whole()
                and (self.point is None or self.point.settled()) and (self.whole is None or self.whole.settled()))

    cdef int64_t learned(self) noexcept nogil:
        """Number of records, or else of windows, that the trees have learned."""
        return self.whole.trees.seen if self.point is None else self.point.trees.seen

    cdef bint goes_on(self, double time, bint local) noexcept nogil:
        """Whether a record comes when it is due. The time is NaN if the record has none."""
        if time != time:
            return self.clock.at != self.clock.at
        return self.clock.goes_on_at(time, local) and (self.views.day > 0 or self.clock.day_length() == 0.0)

    cdef bint begin(self, const double* record, double time, double offset) noexcept nogil:
        """The steps before the trees. Returns False, with nothing changed, if there is no memory for the trees or the evidence."""
        cdef int j
        cdef double second = NAN
        if not self.evidence.make_room() or (self.point is not None and not self.point.begin_record()):
            return False
        if self.whole is not None and not self.whole.begin_record():
            if self.point is not None:
                self.point.end_record()
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
        """Whether trees see the window, or the newest record."""
        return self.whole is not None if whole else self.point is not None

    cdef void* for_trees(self, bint whole, const double** record) noexcept nogil:
        """The Forest that sees the window or the newest record, and what it sees."""
        record[0] = ring_window(&self.window.ring, False) if whole else self.views.p
        return <void*>self.whole if whole else <void*>self.point

    cdef void judge(self, double point, double whole, Result* result) noexcept nogil:
        """The steps after the trees, given the scores of both forests."""
        cdef double counted, seen = <double>self.views.n / max(self.sure, self.views.day)
        cdef double threshold = self.evidence.threshold
        result.score = point + whole if self.point is None or self.whole is None else joint(point, whole)
        result.evidence = self.evidence.weigh(point, whole, self.learned(), self.views.row[NOVELTY], self.views.row[FLOOR],
                                              &counted, &result.beside)
        result.likelihood, result.alarm = likelihood_of(counted, threshold), counted >= threshold
        result.confidence = min(seen, 1.0)

    cdef bint alike(self, Pipeline other) noexcept nogil:
        """Whether the trees of both have one layout and one kind of score."""
        return self.kind == other.kind and same_layout(self.point, other.point) and same_layout(self.whole, other.whole)

    def take(self, list record not None, double time, double offset, bint local):
        """The results for the next record if it is ordinary, as (score, evidence, threshold, likelihood, confidence, alarm, beside).

        None if it is not; nothing has changed then. Without time stamps, `time` is NaN.
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
        if whole:
            make_shared_room(self)
            take_together(&one, &values, &time, &offset, &result, 1, shared, shared_for)
        if values != few:
            free(values)
        if not whole:
            return None
        if not result.done:
            raise MemoryError("no memory for the boxes of a tree")
        return (result.score, result.evidence, self.evidence.threshold, result.likelihood, result.confidence, bool(result.alarm),
                bool(result.beside))


cdef void take_together(void** pipelines, double** records, const double* times, const double* offsets, Result* results, int n,
                        void* scratch, int64_t capacity) noexcept nogil:
    """The next record of each of n pipelines, at most TOGETHER, which are alike. `scratch` is for trees of that capacity."""
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
        learn_of_many(forests, rows, k, (<Pipeline>pipelines[0]).method(), scratch, capacity, points)
    if (<Pipeline>pipelines[0]).has(True):
        for g in range(k):
            forests[g] = (<Pipeline>pipelines[at[g]]).for_trees(True, &rows[g])
        learn_of_many(forests, rows, k, (<Pipeline>pipelines[0]).method(), scratch, capacity, wholes)
    for g in range(k):
        (<Pipeline>pipelines[at[g]]).judge(points[g], wholes[g], &results[at[g]])


cdef inline bint complete(const double* record, int d) noexcept nogil:
    """Whether no value is missing."""
    cdef int j
    for j in range(d):
        if record[j] != record[j]:
            return False
    return True


cdef bint same_layout(Forest one, Forest other) noexcept nogil:
    if one is None or other is None:
        return one is other
    return (one.trees.stride == other.trees.stride and one.trees.low_memory == other.trees.low_memory
            and one.trees.tree[0].compact == other.trees.tree[0].compact)


# Scratch space of single records. Safe because take() keeps the GIL; a buffer per detector would dominate memory.
cdef void* shared = NULL
cdef int64_t shared_for = 0


cdef int make_shared_room(Pipeline pipeline) except -1:
    global shared, shared_for
    cdef int64_t capacity = (pipeline.whole if pipeline.point is None else pipeline.point).trees.capacity
    if capacity > shared_for:
        free(shared)
        shared_for = 0
        shared = malloc(room_to_learn(capacity))
        if shared == NULL:
            raise MemoryError
        shared_for = capacity
    return 0
