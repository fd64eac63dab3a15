"""A table into the trees of a forest at once: a fresh sample of the rows for each tree, and a tree built on it."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from rcf._native.tree cimport rcf_narrow, tree_build
from rcf._native.trees cimport Trees
from sampling._reservoir cimport Sample, arrival_of, sample_clear, sample_stream, sample_uniform, sample_weighted, set_item


cdef inline bint sample_rows(Trees* f, int first, int last, int64_t n, const double* weights, const double* cumulative,
                             double decay, bint disjoint) noexcept nogil:
    """Fill the samples of the trees with numbers of rows (the arrivals, from 1); False where memory fails."""
    cdef int i
    cdef bint fine = True
    for i in range(first, last):
        sample_clear(&f.sample[i])
        if weights != NULL:
            sample_weighted(&f.sample[i], weights, cumulative, n, decay, &f.rng[i])
        elif disjoint:
            fine = fine and sample_uniform(&f.sample[i], n // f.n_trees, n // f.n_trees * i, n, &f.rng[i])
        elif decay > 0.0:
            sample_stream(&f.sample[i], n, &f.rng[i])
        else:
            fine = fine and sample_uniform(&f.sample[i], n, 0, n, &f.rng[i])
    return fine


cdef inline bint grow_trees(Trees* f, int first, int last, const double* X, ptrdiff_t step, float* rows, int32_t* items) noexcept nogil:
    """Build the trees on the rows of X that their samples name, `step` numbers apart; False where memory fails.

    `rows` and `items` are scratch for the largest sample.
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
            rcf_narrow(rows + j * f.stride, X + (arrival_of(s, j) - 1) * step, f.origin, f.n_features, f.stride)
        fine = fine and tree_build(&f.tree[i], rows, s.size, items, &f.rng[i])
        for j in range(s.size):
            set_item(s, j, items[j])
    return fine
