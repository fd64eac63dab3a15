"""The fields of Window, for the loop over many detectors."""

from libc.stdint cimport int64_t

from shingle._ring cimport Ring

from rcf.detector.views cimport Views


cdef class Window:
    cdef readonly int64_t size
    cdef readonly int d
    cdef Ring ring             # the last transformed records, for the trees that see the window
    cdef double* room          # the memory of all arrays below
    cdef double* steps         # (size, 4, d): moments of the last records; that of record k is at k % size
    cdef double* latest        # (2, d): the last two records with filled values; NaN for a feature without values so far
    cdef double* shares        # (size,): the share of each record that was filled; that of record k is at k % size
    cdef int64_t n             # records so far
    cdef int64_t n_steps       # number of moments
    cdef int64_t n_shares      # number of shares; 0 if no record in the window was filled
    cdef int n_latest
    cdef readonly bint any_filled
    cdef public list held      # the Flags of each record that is held back

    cdef bint whole(self) noexcept nogil
    cdef void take_whole(self, Views views) noexcept nogil
    cdef double sum_of_shares(self) noexcept nogil
