"""Keep the last records of a stream: as they came, as the forests see them, and which share of each was filled."""

import numpy as np

from rcf._validate import whole_number

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from shingle._ring cimport Ring, ring_push, ring_window

from rcf.detector.views cimport Views

Step = tuple[list[float], list[float], list[float], list[float]]  # a moment
Flags = tuple[bool, bool]

cdef enum:
    RAW, BASE, CENTRE, SCALE, N_PARTS  # the parts of a moment, which convert the numbers of a record back to its units


cdef list numbers(const double* at, int n):
    return [at[j] for j in range(n)]


cdef class Window:
    """`size` records of d features side by side.

    A moment has four lists: the record with filled values, the base of its change, the centre and the scale. They convert the numbers
    that the forests see back to the units of the data.
    """

    def __cinit__(self, int64_t size, int d):
        cdef int64_t many
        if size < 1 or d < 1 or size > (<int64_t>1 << 55) // d:
            raise MemoryError(f"a window of {size} x {d} numbers does not fit into memory")
        many = 2 * size * d + N_PARTS * size * d + 2 * d + size
        self.room = <double*>calloc(many, sizeof(double))
        if self.room == NULL:
            raise MemoryError(f"a window of {size} x {d} numbers does not fit into memory")
        self.size, self.d, self.held = size, d, []
        self.latest = self.room
        self.steps = self.room + 2 * d
        self.ring.values = self.steps + N_PARTS * size * d
        self.ring.size, self.ring.width = size, d
        self.shares = self.ring.values + 2 * size * d

    def __dealloc__(self):
        free(self.room)

    # ---- records -----------------------------------------------------------------------------------------------

    @property
    def full(self):
        """Whether the trees can see a whole window. A gap while the first records are held back empties only the moments."""
        return self.ring.seen >= self.size and self.n_steps == self.size

    @property
    def filled_share(self):
        return self.sum_of_shares() / self.size if self.any_filled else 0.0

    @property
    def known_share(self):
        if self.any_filled or self.n_steps < self.size:
            return <double>self.n_steps / self.size - self.filled_share
        return 1.0

    cdef bint whole(self) noexcept nogil:
        """Whether the window is full and nothing in it was filled."""
        return self.ring.seen >= self.size and self.n_steps == self.size and not self.any_filled

    cdef double sum_of_shares(self) noexcept nogil:
        """The sum from the oldest record to the newest; the order affects the last bits."""
        cdef double total = 0.0
        cdef int64_t k
        for k in range(self.n - self.n_shares, self.n):
            total += self.shares[k % self.size]
        return total

    def row(self):
        """The input of the forests, shape (size * d,), the oldest record first."""
        cdef double[::1] out = np.empty(self.size * self.d)
        memcpy(&out[0], ring_window(&self.ring, False), self.size * self.d * sizeof(double))
        return out.base

    def push(self, const double[:, ::1] rows not None):
        """Add transformed records, shape (n, d)."""
        cdef Py_ssize_t i
        if rows.shape[1] != self.d:
            raise ValueError(f"records of {rows.shape[1]} features for a window of {self.d}")
        for i in range(rows.shape[0]):
            ring_push(&self.ring, &rows[i, 0])

    cdef void take_whole(self, Views views) noexcept nogil:
        """The part of `take` that suffices if neither the record nor the window has filled values."""
        cdef int j, d = self.d
        cdef double* step = self.steps + self.n % self.size * N_PARTS * d
        for j in range(d):
            step[RAW * d + j], step[BASE * d + j] = views.filled[j], views.base[j]
            step[CENTRE * d + j], step[SCALE * d + j] = views.centre_at[j], views.scale_at[j]
        memcpy(self.latest, self.latest + d, d * sizeof(double))
        memcpy(self.latest + d, views.filled, d * sizeof(double))
        self.n_latest = min(self.n_latest + 1, 2)
        self.n_steps = min(self.n_steps + 1, self.size)
        self.n += 1

    def take(self, Views views not None, double filled, bint bridged):
        """Add the last record of the views. `filled` is the share of it that was filled, which is 1 if the record bridges a gap.

        Returns two Flags: whether the window is full, and whether the record is scored but not learned. A record is not learned if
        it bridges a gap or if more than half of the window was filled.
        """
        self.take_whole(views)
        if filled or self.any_filled:
            self.shares[(self.n - 1) % self.size] = filled
            self.n_shares = min(self.n_shares + 1, self.size)
            self.any_filled = self.sum_of_shares() > 0.0
            if not self.any_filled:
                self.n_shares = 0
        return self.n_steps == self.size, bridged or (self.any_filled and self.filled_share > 0.5)

    def settle(self, Views views not None):
        """Process the records that were held back until their scale was known. Returns their Flags."""
        cdef int64_t k
        cdef int j
        cdef double* step
        for k in range(self.n - self.n_steps, self.n):
            step = self.steps + k % self.size * N_PARTS * self.d
            for j in range(self.d):
                step[CENTRE * self.d + j], step[SCALE * self.d + j] = views.window_scale(j).centre, views.divisor(j)
        held, self.held = self.held, []
        return held

    def restart(self):
        """Start again after a gap."""
        self.ring.seen = self.n_steps = self.n_shares = 0
        self.any_filled = False

    # ---- contents -----------------------------------------------------------------------------------------

    @property
    def last(self):
        """The last two records with filled values, as lists; NaN for a feature without values so far."""
        return [numbers(self.latest + k * self.d, self.d) for k in range(2 - self.n_latest, 2)]

    @property
    def moments(self):
        """The moments of the records, the oldest first."""
        cdef int64_t k
        cdef int d = self.d
        cdef double* at
        found = []
        for k in range(self.n - self.n_steps, self.n):
            at = self.steps + k % self.size * N_PARTS * d
            found.append((numbers(at, d), numbers(at + d, d), numbers(at + 2 * d, d), numbers(at + 3 * d, d)))
        return found

    def hold(self, list last not None, list moments not None):
        """Set the last two records and the moments of a full window in which nothing is filled."""
        cdef int64_t k
        cdef int j, part
        self.n, self.n_steps, self.n_latest, self.n_shares = len(moments), len(moments), len(last), 0
        for k, step in enumerate(moments):
            for part in range(N_PARTS):
                for j in range(self.d):
                    self.steps[(k * N_PARTS + part) * self.d + j] = step[part][j]
        for k, values in enumerate(last):
            for j in range(self.d):
                self.latest[(2 - self.n_latest + k) * self.d + j] = values[j]

    # ---- state -------------------------------------------------------------------------------------------------

    def state(self):
        cdef int64_t k, n_ring = min(self.ring.seen, self.size), place = 0
        cdef int d = self.d, moment = N_PARTS * self.d
        # one array, because each takes 20 microseconds
        out = np.empty(self.n_latest * d + self.n_shares + self.n_steps * moment + n_ring * d)
        cdef double[::1] to = out
        cdef double* at = &to[0] if to.shape[0] else NULL
        memcpy(at, self.latest + (2 - self.n_latest) * d, self.n_latest * d * sizeof(double))
        place = self.n_latest * d
        for k in range(self.n - self.n_shares, self.n):
            at[place] = self.shares[k % self.size]
            place += 1
        for k in range(self.n - self.n_steps, self.n):
            memcpy(at + place, self.steps + k % self.size * moment, moment * sizeof(double))
            place += moment
        memcpy(at + place, ring_window(&self.ring, False) + (self.size - n_ring) * d, n_ring * d * sizeof(double))
        return {
            "window": out.astype("<f8", copy=False).tobytes(),
            "rows": [self.n_latest, self.n_shares, self.n_steps, n_ring],
            "held": [list(flags) for flags in self.held],
        }

    def restore(self, dict state not None, int64_t held_back):
        """Restore a state in which `held_back` records are held back. Raises ValueError if it is not valid."""
        cdef int64_t k, size = self.size, place
        cdef int d = self.d, moment = N_PARTS * self.d
        latest, shares, steps, ring = [
            whole_number("rows of a window", many, 0, most)
            for many, most in zip(state["rows"], (2, size, size, size), strict=True)
        ]
        given = np.frombuffer(state["window"], dtype="<f8").astype(np.float64)
        cdef const double[::1] numbers = given
        cdef const double* at = &numbers[0] if numbers.shape[0] else NULL
        if numbers.shape[0] != latest * d + shares + steps * moment + ring * d or np.isinf(given).any():
            raise ValueError("the window has the wrong number of values, or an infinite value")
        self.n_latest, self.n_shares, self.n_steps = latest, shares, steps
        self.n = max(self.n_steps, self.n_shares)
        memcpy(self.latest + (2 - self.n_latest) * d, at, self.n_latest * d * sizeof(double))
        place = self.n_latest * d
        for k in range(self.n - self.n_shares, self.n):
            if not 0.0 <= at[place] <= 1.0:
                raise ValueError("the window has a share outside 0 to 1")
            self.shares[k % size] = at[place]
            self.any_filled |= at[place] > 0.0
            place += 1
        for k in range(self.n - self.n_steps, self.n):
            memcpy(self.steps + k % size * moment, at + place, moment * sizeof(double))
            place += moment
        for k in range(ring * d):
            if at[place + k] != at[place + k]:
                raise ValueError("the window has a missing value")  # one is NaN in what came and in its moment alone
        for k in range(ring):
            ring_push(&self.ring, at + place + k * d)
        self.held = [(full, doubtful) for full, doubtful in state["held"]]
        if len(self.held) != held_back or not all(type(flag) is bool for flags in self.held for flag in flags):
            raise ValueError(f"held must have two booleans for each of the {held_back} records held back")
