"""Fit the trees of a forest to a table: draw a new sample of the rows for each tree, and build the tree from it."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from rcf._native.tree cimport rcf_narrow, rcf_prefetch_record, rcf_walks, tree_build
from rcf._native.trees cimport Trees
from sampling._reservoir cimport Sample, arrival_of, sample_clear, sample_stream, sample_uniform, sample_weighted, set_item


cdef enum:
    AHEAD = 32  # rows of a large table are prefetched this many rows before they are needed


cdef inline bint sample_rows(Trees* f, int first, int last, int64_t n, const double* weights, const double* cumulative,
                             double decay, bint disjoint) noexcept nogil:
    """Draw samples for trees first to last - 1. Row k of the table becomes arrival k + 1. Returns False if memory runs out."""
    cdef int i
    cdef bint fine = True
    for i in range(first, last):
        sample_clear(&f.sample[i])
        if weights != NULL:
            sample_weighted(&f.sample[i], weights, cumulative, n, decay, &f.rng[i])
        elif disjoint:
            fine = fine and sample_uniform(&f.sample[i], n // f.n_trees, n // f.n_trees * i, n, &f.rng[i], rcf_walks.logs)
        elif decay > 0.0:
            sample_stream(&f.sample[i], n, &f.rng[i])
        else:
            fine = fine and sample_uniform(&f.sample[i], n, 0, n, &f.rng[i], rcf_walks.logs)
    return fine


cdef inline int64_t largest_sample(const Trees* f) noexcept nogil:
    """The number of records that the largest sample holds, or can hold before its tree needs more memory."""
    cdef int64_t most = 1
    cdef int i
    for i in range(f.n_trees):
        most = max(most, <int64_t>f.sample[i].size, <int64_t>min(f.capacity, f.tree[i].capacity))
    return most


cdef inline bint grow_trees(Trees* f, int first, int last, const double* X, ptrdiff_t step, float* rows, int32_t* items) noexcept nogil:
    """Build trees first to last - 1 from the rows of X that are in their samples. Returns False if memory runs out.

    A row of X begins `step` numbers after the row before it. `rows` and `items` have room for largest_sample() rows.
    """
    cdef int i
    cdef int64_t j
    cdef Sample* s
    cdef bint fine = True
    for i in range(first, last):
        s = &f.sample[i]
        if s.size == 0:
            continue
        for j in range(s.size):
            if j + AHEAD < s.size:
                rcf_prefetch_record(X + (arrival_of(s, j + AHEAD) - 1) * step, f.n_features)
            rcf_narrow(rows + j * f.stride, X + (arrival_of(s, j) - 1) * step, f.origin, f.n_features, f.stride)
        fine = fine and tree_build(&f.tree[i], rows, s.size, items, &f.rng[i])
        for j in range(s.size):
            set_item(s, j, items[j])
    return fine
