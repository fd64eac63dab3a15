"""Completion of a record that has missing features.

Each tree is searched for the point that is nearest to the record in the known features. If a node cuts a missing feature, both of its
sides are searched. Boxes that are farther away than the best point so far are skipped. The trees hold different samples, so the
points that they find show how much the missing features vary.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t

from rcf._native.tree cimport child_of, corners_of, cut_dim, cut_value, mass_of, rcf_narrow, rcf_tree
from rcf._native.trees cimport Trees


cdef inline double known_gap(const rcf_tree* t, int32_t v, const float* x, const uint8_t* missing,
                             float* scratch) noexcept nogil:
    """The L1 distance of x from the box of v, in the known features."""
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
    """Whether the leaf holds a single record that equals x. This is then the record that is completed."""
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
    """The leaf that is nearest to x in the known features (L1 distance), or -1 if there is none.

    Among equally near leaves it is the one with most records, and then the first found. With `held`, a leaf that holds a single record
    equal to x is skipped. `stack` has room for every node, `scratch` for a box.
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


cdef inline complete_record(const Trees* f, const double[::1] record, const int64_t[::1] places, bint held):
    """An array of the features `places` of the nearest point of each tree. Trees in which tree_complete() finds none are left out."""
    import numpy as np

    cdef int i
    cdef int32_t leaf, k = 0
    cdef Py_ssize_t j
    cdef uint8_t[::1] missing = np.zeros(f.n_features, dtype=np.uint8)
    cdef int32_t[::1] stack = np.empty(2 * <Py_ssize_t>f.capacity + 3, dtype=np.int32)
    cdef float[::1] row = np.zeros(f.stride, dtype=np.float32), box = np.empty(2 * f.stride, dtype=np.float32)
    out = np.empty((f.n_trees, places.shape[0]))
    cdef double[:, ::1] values = out
    for j in range(places.shape[0]):
        missing[places[j]] = 1
    rcf_narrow(&row[0], &record[0], f.origin, f.n_features, f.stride)
    with nogil:
        for i in range(f.n_trees):
            leaf = tree_complete(&f.tree[i], &row[0], &missing[0], held, &stack[0], &box[0])
            if leaf < 0:
                continue
            for j in range(places.shape[0]):
                values[k, j] = <double>f.tree[i].points[<size_t>leaf * f.stride + places[j]] + f.origin[places[j]]
            k += 1
    return out[:k]
