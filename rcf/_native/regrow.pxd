"""Grow the trees of a merged forest from the samples that merge.py has merged."""

from libc.stdint cimport int32_t, int64_t

from rcf._native.rng cimport Rng
from rcf._native.tree cimport tree_build
from rcf._native.trees cimport Trees
from sampling._reservoir cimport Sample, held_as, sample_next


cdef inline int grow_merged(Trees* f, const Rng* rng, state) except -1:
    """Fill the samples of f from a state of merged_records(), and build its trees. Tree i draws random numbers from a copy of rng[i].

    The trees are empty and have room for the records.
    """
    import numpy as np

    cdef int i, n
    cdef int64_t at = 0, k
    cdef Sample* s
    cdef float[:, ::1] rows
    cdef const int32_t[::1] record = state["record"]
    cdef const double[::1] key = state["key"]
    cdef const int64_t[::1] arrivals = state["arrival"]
    cdef int32_t[::1] items = np.empty(f.capacity, dtype=np.int32)
    table = np.pad(state["points"], ((0, 0), (0, f.stride - f.n_features)))
    for i in range(f.n_trees):
        s = &f.sample[i]
        f.rng[i] = rng[i]
        n = state["size"][i]
        s.threshold = state["threshold"][i]
        if n > 0:
            rows = table[state["record"][at:at + n]]
            if not tree_build(&f.tree[i], &rows[0, 0], n, &items[0], &f.rng[i]):
                raise MemoryError
            for k in range(n):
                s.slots[k].key, s.slots[k].held = key[at + k], held_as(s, arrivals[record[at + k]], items[k])
            s.size = n
            at += n
        sample_next(s, f.seen, &f.rng[i])
    return 0
