"""The sampler of the trees as a Python object."""

import numpy as np

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free

from rcf._native.rng cimport Rng
from sampling._reservoir cimport *

SLOT = np.dtype([("key", np.float64), ("arrival", np.int64), ("place", np.int32)])


cdef class ReservoirCore:
    """The sampler of the trees. Each held record has a place from 0 to capacity - 1, at which the owner stores its data."""
    cdef Sample sample
    cdef Rng rng
    cdef readonly int64_t n_seen

    def __init__(self, int32_t capacity, double time_decay, seed):
        cdef int j
        words = np.random.SeedSequence(seed).generate_state(4, np.uint64)
        for j in range(4):
            self.rng.s[j] = words[j]
        free(self.sample.slots)
        self.sample.slots = <Slot*>calloc(capacity, sizeof(Slot))
        if self.sample.slots == NULL:
            raise MemoryError(f"cannot allocate a reservoir of {capacity} records")
        self.sample.capacity = capacity
        self.sample.decay = time_decay
        sample_clear(&self.sample)
        sample_foresee(&self.sample)
        self.n_seen = 0

    def __dealloc__(self):
        free(self.sample.slots)

    def offer(self, double weight):
        """Offer the next record. Returns its place if it enters, otherwise -1."""
        cdef int64_t n = self.n_seen + 1
        cdef int32_t place
        self.check_count(1)
        self.n_seen = n
        if weight == 1.0:
            if n < self.sample.next:
                return -1
        elif not sample_admits(&self.sample, n, weight):
            return -1
        # the new record gets the place of the record that is dropped
        place = item_of(&self.sample, 0) if self.sample.size == self.sample.capacity else self.sample.size
        sample_enter(&self.sample, n, weight, place, &self.rng)
        return place

    def pass_by(self, int64_t n):
        """Skip those of the next n records of weight 1 that precede the next one that enters. Returns their number."""
        cdef int64_t passed = min(n, self.sample.next - self.n_seen - 1)
        self.check_count(passed)
        self.n_seen += passed
        return passed

    cpdef int check_count(self, int64_t more) except -1:
        """Raise a ValueError if `more` records cannot be counted."""
        cdef int64_t most = most_arrivals(self.sample.capacity)
        if self.n_seen > most - 1 - more:
            raise ValueError(f"a reservoir of {self.sample.capacity} records counts at most {most - 1} records")
        return 0

    @property
    def slots(self):
        """Key, arrival and place of each held record."""
        cdef const Sample* s = &self.sample
        cdef int32_t i
        return np.array([(s.slots[i].key, arrival_of(s, i), item_of(s, i)) for i in range(s.size)], dtype=SLOT)

    @property
    def threshold(self):
        return self.sample.threshold

    def replace(self, slots, double threshold, int64_t n_seen):
        """Set the slots (with descending keys, and places 0 .. size - 1) and the number of records seen."""
        cdef int32_t k
        for k, (key, arrival) in enumerate(zip(slots["key"].tolist(), slots["arrival"].tolist())):
            self.sample.slots[k].key, self.sample.slots[k].held = key, held_as(&self.sample, arrival, k)
        self.sample.size = len(slots)
        self.sample.threshold = threshold
        self.n_seen = n_seen
        sample_next(&self.sample, n_seen, &self.rng)

    def __getstate__(self):
        return (self.sample.capacity, self.sample.decay, self.slots, self.sample.threshold, self.sample.next,
                self.sample.settled, self.sample.budget, [self.rng.s[j] for j in range(4)], self.n_seen)

    def __setstate__(self, state):
        cdef int j
        capacity, decay, slots, threshold, following, settled, budget, words, n_seen = state
        self.__init__(capacity, decay, 0)
        for j in range(4):
            self.rng.s[j] = words[j]
        for j in range(len(slots)):
            self.sample.slots[j].key = slots["key"][j]
            self.sample.slots[j].held = held_as(&self.sample, slots["arrival"][j], slots["place"][j])
        self.sample.size, self.sample.threshold, self.sample.next = len(slots), threshold, following
        self.sample.settled, self.sample.budget, self.n_seen = settled, budget, n_seen

    def __reduce__(self):
        return ReservoirCore, (self.sample.capacity, self.sample.decay, 0), self.__getstate__()
