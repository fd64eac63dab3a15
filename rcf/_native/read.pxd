"""Compute the scores, attributions, densities and leaves of rows from all trees of a forest. The forest does not change.

A row of `X` begins `step` numbers after the row before it. Results for row r are added to row r of `out`, which starts as zeros.
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from rcf._native.attribution cimport tree_attribute, tree_density
from rcf._native.learn cimport pairs_at_once
from rcf._native.tree cimport *
from rcf._native.trees cimport BLOCK, Trees, n_blocks
from rcf._native.work cimport Work

cdef enum:
    FEW = 16        # up to this many rows are scored by score_few_rows()
    SWEEP = 8192    # rows per sweep through a tree; more rows per leaf are faster, and these take a few MB


cdef inline int64_t rows_at_once(const Trees* f) noexcept nogil:
    # an int32 must be able to count the numbers of a batch
    return SWEEP if f.stride <= 16 else min(SWEEP // 2, 0x7fffffff // f.stride)


cdef inline void score_by_tree(int kind, const rcf_tree* tree, const float* rows, int64_t n, Work* work) noexcept nogil:
    """For each of n rows r, add the tree's score of row r to work.scores[r]."""
    cdef rcf_walk walk
    cdef int64_t r = 0
    cdef int count, p
    while r < n:
        count = min(<int64_t>pairs_at_once(kind), n - r)
        for p in range(count):
            walk.pair[p].tree = tree
            walk.pair[p].x = rows + (r + p) * tree.stride
        rcf_walks.score_pairs(kind, RCF_ONE_TREE, &walk, count, 0, work.ratios, work.levels)
        for p in range(count):
            work.scores[r + p] += walk.score[p]
        r += count


cdef inline void score_rows(const Trees* f, const double* X, ptrdiff_t step, int64_t first, int64_t last, int kind, double* out,
                            Work* work, const rcf_sweep* sweep) noexcept nogil:
    """The scores of rows first to last - 1. `work` and `sweep` have room for these rows, or for rows_at_once() if that is less."""
    cdef int i, block
    cdef int64_t r, n, begin = first
    while begin < last:
        n = min(rows_at_once(f), last - begin)
        for r in range(n):
            rcf_narrow(work.rows + r * f.stride, X + (begin + r) * step, f.origin, f.n_features, f.stride)
        for block in range(n_blocks(f)):
            memset(work.scores, 0, n * sizeof(double))
            for i in range(block * BLOCK, min((block + 1) * BLOCK, f.n_trees)):
                if f.tree[i].root >= 0 and n >= 4 * f.tree[i].n_leaves:
                    rcf_walks.sweep_rows(kind, &f.tree[i], work.rows, n, sweep, work.scores)
                else:
                    score_by_tree(kind, &f.tree[i], work.rows, n, work)
            for r in range(n):
                out[begin + r] += work.scores[r]
        for r in range(n):
            out[begin + r] = rcf_score_of_mean(kind, out[begin + r] / f.n_trees)
        begin += n


cdef inline void score_few_rows(const Trees* f, const double* X, ptrdiff_t step, int64_t first, int64_t last, int kind, double* out,
                                Work* work) noexcept nogil:
    """Like score_rows(), but faster for few rows, because pairs of different trees walk together.

    `work` has room for a score by each tree for each row.
    """
    cdef int i, block, at_once = pairs_at_once(kind), p = 0
    cdef int64_t r, n = last - first, done = 0
    cdef double sum_of_block
    cdef rcf_walk walk
    for r in range(n):
        rcf_narrow(work.rows + r * f.stride, X + (first + r) * step, f.origin, f.n_features, f.stride)
    for i in range(f.n_trees):
        for r in range(n):
            walk.pair[p].tree = &f.tree[i]
            walk.pair[p].x = work.rows + r * f.stride
            p += 1
            if p == at_once or (i == f.n_trees - 1 and r == n - 1):
                rcf_walks.score_pairs(kind, RCF_FAR_TREES, &walk, p, 0, work.ratios, work.levels)
                memcpy(work.scores + done, walk.score, p * sizeof(double))
                done += p
                p = 0
    for block in range(n_blocks(f)):
        for r in range(n):
            sum_of_block = 0.0
            for i in range(block * BLOCK, min((block + 1) * BLOCK, f.n_trees)):
                sum_of_block += work.scores[i * n + r]
            out[first + r] += sum_of_block
    for r in range(n):
        out[first + r] = rcf_score_of_mean(kind, out[first + r] / f.n_trees)


cdef inline void attribute_rows(const Trees* f, const double* X, ptrdiff_t step, int64_t first, int64_t last, int kind, double* out,
                                Work* work, double* parts) noexcept nogil:
    """Write the mean of tree_attribute() over the trees for each row, 2 n_features numbers. `parts` is its scratch space."""
    cdef int i, width = 2 * f.n_features
    cdef int64_t r, k
    cdef double* target
    for r in range(first, last):
        target = out + r * width
        rcf_narrow(work.rows, X + r * step, f.origin, f.n_features, f.stride)
        for i in range(f.n_trees):
            tree_attribute(kind, &f.tree[i], work.rows, parts, work.ratios, target)
        for k in range(width):
            target[k] /= f.n_trees


cdef inline void density_rows(const Trees* f, const double* X, ptrdiff_t step, int64_t first, int64_t last, double* out, float* row,
                              double* parts) noexcept nogil:
    """Write the mean of tree_density() over the trees for each row, 6 n_features numbers. `parts` is its scratch space."""
    cdef int i, width = 6 * f.n_features
    cdef int64_t r, k
    cdef double* target
    for r in range(first, last):
        target = out + r * width
        rcf_narrow(row, X + r * step, f.origin, f.n_features, f.stride)
        for i in range(f.n_trees):
            tree_density(&f.tree[i], row, parts, target)
        for k in range(width):
            target[k] /= f.n_trees


cdef inline void scores_of_means(const Trees* f, int kind, double[::1] sums) noexcept:
    """Convert the sums of the trees' values, one for each record, to scores in place."""
    cdef ptrdiff_t r
    for r in range(sums.shape[0]):
        sums[r] = rcf_score_of_mean(kind, sums[r] / f.n_trees)


cdef inline reached_leaves(const Trees* f, const double[::1] record):
    """An array of the points in the leaves that the record reaches, one for each tree that is not empty."""
    import numpy as np

    cdef int i, n = 0
    cdef int32_t leaf
    cdef float[::1] row = np.empty(f.stride, dtype=np.float32)
    found = np.empty((f.n_trees, f.n_features), dtype=np.float32)
    cdef float[:, ::1] points = found
    rcf_narrow(&row[0], &record[0], f.origin, f.n_features, f.stride)
    for i in range(f.n_trees):
        if f.tree[i].mass > 0:
            leaf = rcf_descend(&f.tree[i], &row[0])
            memcpy(&points[n, 0], f.tree[i].points + <size_t>leaf * f.stride, f.n_features * sizeof(float))
            n += 1
    return found[:n]
