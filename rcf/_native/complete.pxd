"""Completion by trees of a record of which only some features are known.

A tree is searched for the point that is nearest in the known features. A cut in a missing feature excludes neither side, and boxes
that are farther than the best point so far are skipped. Each tree holds a different sample, so the points that a forest finds have
the spread of the missing features.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t

from rcf._native.tree cimport child_of, corners_of, cut_dim, cut_value, mass_of, rcf_tree
from rcf._native.trees cimport Trees


cdef inline double known_gap(const rcf_tree* t, int32_t v, const float* x, const uint8_t* missing,
                             float* scratch) noexcept nogil:
    """The distance of x from the box of v, summed over the known features."""
    cdef const float* lower
    cdef const float* upper
    cdef double total = 0.0
    cdef int32_t i
    corners_of(t, v, scratch, &lower, &upper)
    for i in range(t.dims):
        if missing[i]:
            continue
        if x[i] > upper[i]:
            total += <double>x[i] - <double>upper[i]
        elif x[i] < lower[i]:
            total += <double>lower[i] - <double>x[i]
    return total


cdef inline bint is_itself(const rcf_tree* t, int32_t leaf, const float* x) noexcept nogil:
    """Whether the leaf holds only x, which is then the record to be completed."""
    cdef const float* p = t.points + <size_t>leaf * t.stride
    cdef int32_t i
    if mass_of(t, ~leaf) > 1:
        return False
    for i in range(t.dims):
        if p[i] != x[i]:
            return False
    return True


cdef inline int32_t tree_complete(const rcf_tree* t, const float* x, const uint8_t* missing, bint held,
                                  int32_t* stack, float* scratch) noexcept nogil:
    """The leaf whose known features lie nearest to x's (L1).

    -1 if the tree is empty or holds only the record itself. `stack` has room for every node, `scratch` for a box. With `held`, a leaf
    that holds only x is skipped. Boxes farther than the best leaf so far are skipped. Among equally near leaves, the heaviest and then
    the first one is taken.
    """
    cdef int32_t top = 0, v, near, best = -1
    cdef double gap, least = 1e300
    if t.mass == 0:
        return -1
    stack[0] = t.root
    top = 1
    while top > 0:
        top -= 1
        v = stack[top]
        gap = known_gap(t, v, x, missing, scratch)
        if gap > least:
            continue
        if v < 0:
            if held and is_itself(t, ~v, x):
                continue
            if gap < least or best < 0 or mass_of(t, v) > mass_of(t, ~best):
                least = gap
                best = ~v
            continue
        near = 1 if x[cut_dim(t, v)] > cut_value(t, v) else 0
        stack[top] = child_of(t, v, 1 - near)
        top += 1
        stack[top] = child_of(t, v, near)
        top += 1
    return best


cdef inline int32_t complete_record(const Trees* f, const float* x, const int64_t[::1] places, const uint8_t* missing, bint held,
                                    double[:, ::1] out, int32_t* stack, float* scratch) noexcept nogil:
    """For each tree that knows a nearest point, a row of `out` with its features at `places`; returns how many trees do."""
    cdef int i
    cdef int32_t leaf, k = 0
    cdef Py_ssize_t j
    for i in range(f.n_trees):
        leaf = tree_complete(&f.tree[i], x, missing, held, stack, scratch)
        if leaf < 0:
            continue
        for j in range(places.shape[0]):
            out[k, j] = <double>f.tree[i].points[<size_t>leaf * f.stride + places[j]] + f.origin[places[j]]
        k += 1
    return k
