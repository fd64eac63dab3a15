"""The last `size` records of a stream in one array.

Every record is written twice, `size` records apart. So the window in order of time is always contiguous, and
reading it copies nothing.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy


cdef struct Ring:
    double* values  # (2 * size * width); the owner allocates and frees it
    int64_t size
    int64_t width
    int64_t seen    # records since the last reset


cdef inline void ring_push(Ring* r, const double* record) noexcept nogil:
    cdef int64_t at = r.seen % r.size
    memcpy(r.values + at * r.width, record, r.width * sizeof(double))
    memcpy(r.values + (at + r.size) * r.width, record, r.width * sizeof(double))
    r.seen += 1


cdef inline double* ring_window(Ring* r, bint rotate) noexcept nogil:
    """The window, oldest record first. If `rotate`, record k is at position k % size instead."""
    if rotate:
        return r.values
    return r.values + (r.seen % r.size) * r.width
