"""The fields of Window, for the loop over many detectors."""

from libc.stdint cimport int64_t

from shingle._ring cimport Ring

from rcf.detector.views cimport Views


cdef class Window:
    cdef readonly int64_t size
    cdef readonly int d
    cdef Ring ring             # the last records for the trees that see the window
    cdef double* room          # what the pointers below point into
    cdef double* steps         # (size, 4, d): moments of the last records, each in the place of its number
    cdef double* latest        # (2, d): the last two records with filled values; NaN for a feature without values so far
    cdef double* shares        # (size,): the share of each record that was filled, each in the place of its number
    cdef int64_t n             # records so far; determines the places
    cdef int64_t n_steps       # moments that are held
    cdef int64_t n_shares      # shares that are held; 0 if no record in the window was filled
    cdef int n_latest
    cdef readonly bint any_filled
    cdef public list held      # one Fate for each record that is held back

    cdef bint whole(self) noexcept nogil
    cdef void take_whole(self, Views views) noexcept nogil
    cdef double sum_of_shares(self) noexcept nogil
