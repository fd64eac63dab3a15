"""The fields of Pipeline."""

from libc.stdint cimport int64_t, uint8_t

from rcf._core cimport Forest
from rcf.detector.evidence cimport Evidence
from rcf.detector.times cimport Times
from rcf.detector.views cimport Views
from rcf.detector.window cimport Window


# The results for a record.
cdef struct Result:
    double score, evidence, threshold, likelihood, confidence
    int64_t seen               # number of records, including this one
    bint alarm, from_floor     # from_floor: the evidence comes from the floor, not from the forests
    bint done                  # False if memory ran out; nothing has changed then


cdef class Pipeline:
    cdef Times clock
    cdef Views views
    cdef Window window
    cdef Forest whole, point   # one of them may be None
    cdef Evidence evidence
    cdef int kind              # the kind of score
    cdef int64_t sure          # number of records after which the confidence is 1
    cdef public int64_t n_seen # records so far, without filled ones
    cdef public bint silent    # whether any feature was missing in the last record
    cdef public bint checked   # whether no parameter was set since the last check
    cdef object zone           # the time zone of the clock, or None
    cdef public bint watched   # whether Python must process every record, because an event runs or a forecast is to be compared

    cdef bint ordinary(self) noexcept nogil
    cdef int64_t learned(self) noexcept nogil
    cdef int method(self) noexcept nogil
    cdef bint has(self, bint whole) noexcept nogil
    cdef void* for_trees(self, bint whole, const double** record) noexcept nogil
    cdef bint goes_on(self, double time, bint local) noexcept nogil
    cdef bint begin(self, const double* record, double time, double offset) noexcept nogil
    cdef void judge(self, double point, double whole, Result* result) noexcept nogil
    cdef void lock(self) noexcept
    cdef void lock_nogil(self) noexcept nogil
    cdef void unlock(self) noexcept nogil
    cdef void prefetch_parts(self) noexcept nogil
    cdef void prefetch_arrays(self) noexcept nogil
    cdef void prefetch_seasons(self) noexcept nogil
    cdef int n_trees(self) noexcept nogil
    cdef int width(self) noexcept nogil
    cdef bint takes(self, const double* record, double time, bint local) noexcept nogil
    cdef bint admits(self, const double* times, const uint8_t* local, const int64_t* rows, int64_t n) noexcept nogil
    cdef int64_t capacity(self) noexcept nogil
    cdef bint alike(self, Pipeline other) noexcept nogil
