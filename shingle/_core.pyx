"""The last records of a stream as a Python object."""

import numpy as np

from rcf._validate import wrong_width

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from shingle._ring cimport Ring, ring_push, ring_window


cdef class RingCore:
    """The last `size` records in one array. Each record has `width` numbers."""
    cdef Ring ring

    def __init__(self, int64_t size, int64_t width):
        if size < 1 or width < 1 or size > (1 << 58) // width:
            raise MemoryError(f"a window of {size} x {width} numbers does not fit into memory")
        free(self.ring.values)
        self.ring.values = <double*>calloc(2 * size * width, sizeof(double))
        if self.ring.values == NULL:
            raise MemoryError(f"a window of {size} x {width} numbers does not fit into memory")
        self.ring.size, self.ring.width, self.ring.seen = size, width, 0

    def __dealloc__(self):
        free(self.ring.values)

    def push(self, const double[::1] record):
        if record.shape[0] != self.ring.width:
            raise wrong_width(record.shape[0], self.ring.width, "Shingler")
        ring_push(&self.ring, &record[0])

    def window(self, bint rotate):
        """A copy of the window, of shape (size * width,)."""
        out = np.empty(self.ring.size * self.ring.width)
        cdef double[::1] target = out
        memcpy(&target[0], ring_window(&self.ring, rotate), self.ring.size * self.ring.width * sizeof(double))
        return out

    @property
    def seen(self):
        return self.ring.seen

    def reset(self):
        self.ring.seen = 0

    def __reduce__(self):
        return RingCore, (self.ring.size, self.ring.width), (self.ring.seen, <bytes>(<char*>self.ring.values)[:self.n_bytes()])

    def __setstate__(self, state):
        self.ring.seen = state[0]
        memcpy(self.ring.values, <const char*><bytes>state[1], self.n_bytes())

    cdef Py_ssize_t n_bytes(self) noexcept:
        return 2 * self.ring.size * self.ring.width * sizeof(double)
