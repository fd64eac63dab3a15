"""The fields of Evidence, for the loop over many detectors."""

from libc.stdint cimport int64_t

cdef enum:
    # Number of earlier records that an alarm must exceed. Event AP is .588 with 30 records, .567 with 100, and .589 with 16, but F1 is
    # lower with 16.
    HOLD = 30

cdef enum Method:
    DEPTH, RATIO


cdef class Evidence:
    cdef public double threshold
    cdef Method method
    cdef int64_t capacity
    cdef readonly int64_t t          # records judged
    cdef double[HOLD] last
    # the records after which no record was as high: their times, and their heights, which descend
    cdef int64_t* when
    cdef double* high
    cdef int64_t held, room

    cdef bint make_room(self) noexcept nogil
    cdef double returned(self, double q) noexcept nogil
    cdef double weigh(self, double point, double whole, int64_t seen, double novelty, double floor, double* counted,
                      bint* from_floor) noexcept nogil


cdef inline double likelihood_of(double counted, double threshold) noexcept nogil:
    return counted / (counted + threshold)
