"""The struct of a forest: its trees, each with its own sample and random number generator, and what they share."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from rcf._native.rng cimport Rng
from rcf._native.tree cimport rcf_alignment, rcf_prefetch_bytes, rcf_tree, tree_clear, tree_copy, tree_shape
from sampling._reservoir cimport Sample, Slot, sample_clear, sample_copy, sample_foresee

cdef enum:
    BLOCK = 4       # number of trees whose scores are summed together; it affects the last bits, so it must never change
    GROUP = 8       # trees that score and learn together


cdef struct Trees:
    rcf_tree* tree
    Sample* sample
    Rng* rng
    double* origin         # subtracted from a record before the difference is rounded to floats
    double* head           # the first records in double precision; NULL once the origin was computed from them
    int n_trees, capacity, n_features
    int stride             # floats from row to row: the features, and zeros that pad the row (not in the compact layout)
    double time_decay
    bint low_memory
    bint starved           # a tree did not learn a record because memory ran out
    int32_t depth_room     # no tree has more levels than this
    int64_t seen
    int64_t warm_up        # update() gives the first `warm_up` records the score 0
    int64_t table          # number of records from fit() on a table; these have no order and precede all other records
    # scratch space of update_record()
    float* row
    double* row_scores
    int* order             # indices of the trees; the trees that learn the record come first


cdef inline bint trees_open(Trees* f, int n_head) noexcept nogil:
    """Make empty trees of the sizes that are set in f. Returns False if memory runs out.

    The caller must call trees_free() in either case.
    """
    cdef int i
    f.tree = <rcf_tree*>calloc(f.n_trees, sizeof(rcf_tree))
    if f.tree == NULL:
        return False
    for i in range(f.n_trees):
        tree_shape(&f.tree[i], <int64_t>f.capacity + 1, f.n_features, f.low_memory)
    f.stride = f.tree[0].stride
    f.sample = <Sample*>calloc(f.n_trees, sizeof(Sample))
    f.rng = <Rng*>calloc(f.n_trees, sizeof(Rng))
    f.origin = <double*>calloc(f.n_features, sizeof(double))
    f.head = <double*>calloc(<size_t>n_head * f.n_features, sizeof(double))
    f.row = <float*>calloc(f.stride, sizeof(float))
    f.row_scores = <double*>calloc(f.n_trees, sizeof(double))
    f.order = <int*>calloc(f.n_trees, sizeof(int))
    if (f.sample == NULL or f.rng == NULL or f.origin == NULL or f.head == NULL
            or f.row == NULL or f.row_scores == NULL or f.order == NULL):
        return False
    for i in range(f.n_trees):
        tree_clear(&f.tree[i])
        f.sample[i].capacity = f.capacity
        f.sample[i].decay = f.time_decay
        sample_clear(&f.sample[i])
        sample_foresee(&f.sample[i])
    f.warm_up = f.capacity
    return True


cdef inline void trees_free(Trees* f) noexcept nogil:
    """Free everything except the memory of the nodes and slots, which belongs to the Forest."""
    cdef int i
    for i in range(f.n_trees if f.tree != NULL else 0):
        free(f.tree[i].box_memory)
    free(f.tree)
    free(f.sample)
    free(f.rng)
    free(f.origin)
    free(f.head)
    free(f.row)
    free(f.row_scores)
    free(f.order)


cdef inline void drop_head(Trees* f) noexcept nogil:
    """Free the first records. The origin is final from now on."""
    free(f.head)
    f.head = NULL


cdef inline void trees_copy(Trees* to, const Trees* f) noexcept nogil:
    """Copy all trees into `to`, whose trees are empty, have the same sizes, and have room for the records."""
    cdef int i
    to.seen, to.warm_up, to.table = f.seen, f.warm_up, f.table
    memcpy(to.origin, f.origin, f.n_features * sizeof(double))
    if f.head == NULL:
        drop_head(to)
    else:
        memcpy(to.head, f.head, f.seen * f.n_features * sizeof(double))
    for i in range(f.n_trees):
        to.rng[i] = f.rng[i]
        sample_copy(&to.sample[i], &f.sample[i])
        tree_copy(&to.tree[i], &f.tree[i])


cdef inline void prefetch_heads(const Trees* f) noexcept nogil:
    """Prefetch what learn_records() reads of each tree before it walks."""
    rcf_prefetch_bytes(f.tree, f.n_trees * sizeof(rcf_tree))
    rcf_prefetch_bytes(f.sample, f.n_trees * sizeof(Sample))
    rcf_prefetch_bytes(f.rng, f.n_trees * sizeof(Rng))
    rcf_prefetch_bytes(f.order, f.n_trees * sizeof(int))
    rcf_prefetch_bytes(f.row_scores, f.n_trees * sizeof(double))
    rcf_prefetch_bytes(f.row, f.stride * sizeof(float))
    rcf_prefetch_bytes(f.origin, f.n_features * sizeof(double))


cdef inline int n_blocks(const Trees* f) noexcept nogil:
    """Number of blocks of BLOCK trees; the last may be smaller."""
    return (f.n_trees + BLOCK - 1) // BLOCK


cdef inline size_t slot_bytes(const rcf_tree* t, int32_t capacity) noexcept nogil:
    """Bytes of the sample of a tree with `capacity` slots, rounded up to the alignment of the arrays that follow it."""
    cdef size_t line = rcf_alignment(t)
    return (<size_t>capacity * sizeof(Slot) + line - 1) // line * line
