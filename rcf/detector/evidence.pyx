"""From scores and novelty to alarms: evidence, its return time, and one alarm per event.

The forest measures how isolated a record is among recent records, and the nets measure how new it is. Their product is multiplied by
the fourth root of the return time: the number of records since the product was last as high. So one threshold fits streams with many
and with few high scores. A record alarms if its evidence exceeds the threshold and that of the last 30 records.
"""

import numpy as np

from libc.math cimport INFINITY, log2, pow, sqrt
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove, memset

from rcf._native.bits cimport (
    rcf_get_double, rcf_get_number, rcf_left, rcf_make_room, rcf_put_double, rcf_put_number, rcf_reader, rcf_writer, rcf_written,
)

cdef enum:
    LONGEST = 1000   # records; longest return time
    FIRST_ROOM = 16
    BEGUN = 64       # number of records that are not judged, because they determine the scale

cdef double LEAST = 0.02  # lowest novelty of a record


def threshold_of(double anomaly_rate):
    """The evidence above which a record alarms: 2 at the default rate of 0.005.

    Evidence grows with the fourth root of its return time, so a rate 16 times as high halves the threshold.
    """
    return 2.0 * pow(0.005 / anomaly_rate, 0.25)


METHODS = {"depth": DEPTH, "opensearch": DEPTH, "codisp": RATIO, "displacement": RATIO}


cdef inline double as_depth(Method method, double score, double mass) noexcept nogil:
    """Convert the score of another method to the scale of "depth", for which the threshold is made.

    Suppose that a cut at depth h isolates the record from the ``mass / 2**h`` records that are left there. Then its displacement is
    ``mass / 2**h`` and its depth score is ``log2(mass) / (h + 1)``.
    """
    if method == DEPTH or score <= 0.0:
        return score
    return log2(mass) / (1.0 + log2(max(mass / score, 1.0)))


cdef class Evidence:
    """Computes the evidence of each record, and whether it alarms.

    Parameters
    ----------
    threshold : float
    method : str
        The forests' kind of score.
    capacity : int
        Number of records that a tree holds.
    """

    def __cinit__(self, double threshold, str method, int64_t capacity):
        cdef int i
        self.threshold, self.method, self.capacity = threshold, METHODS[method], capacity
        self.t = self.held = 0
        for i in range(HOLD):
            self.last[i] = 0.0
        self.room = FIRST_ROOM
        self.when = <int64_t*>malloc(self.room * sizeof(int64_t))
        self.high = <double*>malloc(self.room * sizeof(double))
        if self.when == NULL or self.high == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.when)
        free(self.high)

    cdef bint make_room(self) noexcept nogil:
        """Make room for one more record. Returns False if there is no memory."""
        cdef void* when
        cdef void* high
        if self.held < self.room:
            return True
        when = realloc(self.when, 2 * self.room * sizeof(int64_t))
        if when == NULL:
            return False
        self.when = <int64_t*>when
        high = realloc(self.high, 2 * self.room * sizeof(double))
        if high == NULL:
            return False
        self.high = <double*>high
        self.room *= 2
        return True

    cdef double returned(self, double q) noexcept nogil:
        """Add a record of height q. Returns the number of records since the last that was at least as high, at most 1000."""
        cdef int64_t low = 0, high = self.held, middle, since
        while low < high:
            middle = (low + high) // 2
            if self.high[middle] >= q:
                low = middle + 1
            else:
                high = middle
        since = self.t - (self.when[low - 1] if low > 0 else -1)
        while self.held > 0 and self.high[self.held - 1] <= q:
            self.held -= 1
        if self.held > 0 and self.when[0] < self.t - LONGEST:
            low = 1
            while low < self.held and self.when[low] < self.t - LONGEST:
                low += 1
            self.held -= low
            memmove(self.when, self.when + low, self.held * sizeof(int64_t))
            memmove(self.high, self.high + low, self.held * sizeof(double))
        self.when[self.held], self.high[self.held] = self.t, q
        self.held += 1
        return <double>min(since, <int64_t>LONGEST)

    cdef double weigh(self, double point, double whole, int64_t seen, double novelty, double floor, double* counted,
                      bint* from_floor) noexcept nogil:
        """The evidence of a record. make_room() must be called before.

        `counted` is set to the evidence if it exceeds that of the last records, and otherwise to 0. `from_floor` says whether the
        evidence comes from the floor, which does not depend on the forests.
        """
        cdef double mass = <double>max(min(seen, self.capacity), <int64_t>2), q, e, best = 0.0
        cdef int i
        q = as_depth(self.method, max(point, whole), mass) * (LEAST + novelty)
        if self.t + BEGUN < self.capacity:  # until the trees are full; reduces the alarms of clean hosts on their first day from 29 to 18
            q *= <double>(self.t + BEGUN) / self.capacity
        from_floor[0] = q < floor
        if from_floor[0]:
            q = floor
        e = q * sqrt(sqrt(self.returned(q)))
        for i in range(HOLD):
            best = max(best, self.last[i])
        counted[0] = e if e > best else 0.0
        self.last[self.t % HOLD] = e
        self.t += 1
        return e

    def step(self, double point, double whole, int64_t seen, double novelty, double floor):
        """(evidence, likelihood, alarm, from_floor) of a record. `seen` is the number of records that the forests have learned."""
        cdef double counted
        cdef bint from_floor
        cdef double e
        if not self.make_room():
            raise MemoryError
        e = self.weigh(point, whole, seen, novelty, floor, &counted, &from_floor)
        return e, likelihood_of(counted, self.threshold), counted >= self.threshold, bool(from_floor)

    def steps(self, const double[::1] points, const double[::1] wholes, int64_t seen, const double[:, ::1] rows):
        """The results of step() for records in order, as four arrays."""
        cdef Py_ssize_t n = points.shape[0], i
        cdef double counted
        cdef bint floored
        evidence, likelihood, alarm, from_floor = np.empty(n), np.empty(n), np.empty(n, dtype=np.bool_), np.empty(n, dtype=np.bool_)
        cdef double[::1] e = evidence, part = likelihood
        cdef uint8_t[::1] calls = alarm.view(np.uint8), floors = from_floor.view(np.uint8)
        for i in range(n):
            if not self.make_room():
                raise MemoryError
            e[i] = self.weigh(points[i], wholes[i], seen + i, rows[i, 0], rows[i, 1], &counted, &floored)
            part[i] = likelihood_of(counted, self.threshold)
            calls[i], floors[i] = counted >= self.threshold, floored
        return evidence, likelihood, alarm, from_floor

    def may_alarm(self, const double[:, ::1] rows):
        """Which records may alarm for some score, as an array of bool. A score is at most the logarithm of the records held."""
        cdef Py_ssize_t n = rows.shape[0], i
        # the bound is a billionth higher, because the scores are rounded
        cdef double most = log2(<double>max(self.capacity, <int64_t>2) + 1.0), longest = sqrt(sqrt(<double>LONGEST)) * (1.0 + 1e-9)
        may = np.empty(n, dtype=np.bool_)
        cdef uint8_t[::1] flags = may.view(np.uint8)
        for i in range(n):
            flags[i] = max(most * (LEAST + rows[i, 0]), rows[i, 1]) * longest >= self.threshold
        return may

    def state(self):
        """Everything that future results depend on, as bytes."""
        cdef rcf_writer bits
        cdef int64_t k
        memset(&bits, 0, sizeof(bits))
        try:
            if not rcf_make_room(&bits, 30 + 8 * HOLD + 17 * self.held):
                raise MemoryError
            rcf_put_number(&bits, self.t)
            rcf_put_number(&bits, self.held)
            for k in range(HOLD):
                rcf_put_double(&bits, self.last[k])
            for k in range(self.held):
                rcf_put_number(&bits, self.t - self.when[k])
                rcf_put_double(&bits, self.high[k])
            return (<char*>bits.data)[:rcf_written(&bits)]
        finally:
            free(bits.data)

    def restore(self, const uint8_t[::1] state not None):
        """Restore a state. Raises ValueError if it is not valid."""
        cdef rcf_reader bits
        cdef int64_t held, ago, before, k
        memset(&bits, 0, sizeof(bits))
        bits.size = 8 * <uint64_t>state.shape[0]
        if bits.size > 0:
            bits.data = &state[0]
        self.t, held = rcf_get_number(&bits), rcf_get_number(&bits)
        if self.t > <int64_t>1 << 62 or held > min(self.t, <int64_t>LONGEST + 1) or (held == 0) != (self.t == 0):
            raise ValueError("the counts of the evidence are impossible")
        for k in range(HOLD):
            self.last[k] = rcf_get_double(&bits)
            if not 0.0 <= self.last[k] < INFINITY:
                raise ValueError("an evidence is not a number of at least 0")
        before = self.t + 1
        self.held = 0
        for k in range(held):
            if not self.make_room():
                raise MemoryError
            ago, self.high[k] = rcf_get_number(&bits), rcf_get_double(&bits)
            if not 1 <= ago < before or not 0.0 <= self.high[k] < INFINITY or (k > 0 and self.high[k] >= self.high[k - 1]):
                raise ValueError("the evidence does not fall with its times")
            self.when[k], before = self.t - ago, ago
            self.held += 1
        if held and before != 1:
            raise ValueError("the evidence does not end with the last record")
        if bits.over or rcf_left(&bits) >= 8:
            raise ValueError("not an evidence")
