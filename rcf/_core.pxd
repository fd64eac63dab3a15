"""The fields of Forest, for loops over many forests."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from rcf._native.gate cimport Gate
from rcf._native.trees cimport Trees

cdef int kind_of(method) except -1
cdef size_t room_to_learn(int64_t capacity) noexcept nogil
cdef void learn_of_many(void** forests, const double** records, int n, int kind, bint cold, void* scratch, int64_t capacity,
                        double* scores) noexcept nogil


cdef class Forest:
    cdef Trees trees
    cdef list memory       # for each tree, the Memory that holds its sample and its arrays
    cdef Gate gate

    cdef int reserve(self, int i, int64_t leaves) except -1
    cdef int reserve_boxes(self, int i, int32_t boxes) except -1
    cdef int check_count(self, int64_t seen) except -1
    cdef int reserve_all(self, int64_t more) except -1
    cdef const double[:, :] checked(self, const double[:, :] X)
    cdef int check_record(self, const double[::1] record) except -1
    cdef int settle_origin(self) except -1
    cdef bint settled(self) noexcept nogil
    cdef bint make_ready(self) noexcept nogil
    cdef void lock(self) noexcept
    cdef void lock_nogil(self) noexcept nogil
    cdef void unlock(self) noexcept nogil
    cdef int take_record(self, record) except -1
    cdef Trees* with_record(self, const double* record) noexcept nogil
    cdef void prefetch(self) noexcept nogil
    cdef Forest merged(self, dict mine, dict theirs)
