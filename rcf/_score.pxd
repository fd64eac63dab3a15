"""Walks over a tree that return more than a number: what each feature adds to the score.

The scores themselves are in _kernels.h, where a group of records goes through a tree together.
"""

from libc.stdint cimport int32_t

from rcf._tree cimport (
    lower_of, mass_of, rcf_ratios, rcf_scale, rcf_tree, rcf_walks,
    rcf_value_equal, rcf_value_separated, same_point, upper_of, RCF_CODISP, RCF_DISPLACEMENT,
)


cdef inline double gaps(const float* lower, const float* upper, const float* x, int32_t dims, double* gap) noexcept nogil:
    """How far x lies above (even places) and below (odd places) the box in each feature; returns the sum."""
    cdef double total = 0.0, high, low
    cdef int32_t i
    for i in range(dims):
        high = <double>x[i] - <double>upper[i]
        low = <double>lower[i] - <double>x[i]
        gap[2 * i] = high if high > 0.0 else 0.0
        gap[2 * i + 1] = low if low > 0.0 else 0.0
        total += gap[2 * i] + gap[2 * i + 1]
    return total


cdef inline void begin(double* parts, const double* gap, int32_t n, double add) noexcept nogil:
    """Not blend(.., 0.0, add): the memory is new, and 0 times the NaN that may lie there is NaN."""
    cdef int32_t i
    for i in range(n):
        parts[i] = add * gap[i]


cdef inline void blend(double* parts, const double* gap, int32_t n, double keep, double add) noexcept nogil:
    cdef int32_t i
    for i in range(n):
        parts[i] = keep * parts[i] + add * gap[i]


cdef inline void tree_attribute(int kind, const rcf_tree* t, const float* x, double* work, double* ratios,
                                double* out) noexcept nogil:
    """out[2 i], out[2 i + 1] += what feature i, x above or below, adds to the score of x by this tree.

    `work` holds 4 * dims doubles and 4 * stride floats after them. A record that equals a leaf is cut off
    by no box of its own path, so its score is shared out as that of the same record in the tree without it: the
    boxes above are then the hulls of the siblings on the path.
    """
    cdef int32_t n = 2 * t.dims, i, h = 0, v = t.root, leaf, step, other, mass
    cdef double* parts = work
    cdef double* gap = work + n
    cdef float* box
    cdef float* shadow = <float*>(work + 2 * n)
    cdef double above = 0.0, total, size, score, factor
    cdef bint within
    if t.mass == 0:
        return
    factor = rcf_scale(kind, t.mass)
    while v >= 0:
        v = t.nodes[v].child[1 if x[t.nodes[v].dim] > t.nodes[v].cut else 0]
        h += 1
    leaf = ~v
    if kind == RCF_CODISP:
        above = rcf_ratios(t, x, ratios)
    within = same_point(t, leaf, x)
    if not within:
        score = 0.0
        total = gaps(lower_of(t, v), upper_of(t, v), x, t.dims, gap)
        begin(parts, gap, n, rcf_value_separated(kind, h, t.leaves[leaf].mass, above) / total)
        step = t.leaves[leaf].parent
        while step >= 0:
            h -= 1
            total = gaps(lower_of(t, step), upper_of(t, step), x, t.dims, gap)
            if total == 0.0:
                break
            size = total + t.nodes[step].range
            blend(parts, gap, n, t.nodes[step].range / size,
                  rcf_value_separated(kind, h, t.nodes[step].mass, ratios[h] if kind == RCF_CODISP else 0.0) / size)
            step = t.nodes[step].parent
        for i in range(n):
            out[i] += factor * parts[i]
        return
    mass = t.leaves[leaf].mass
    score = factor * rcf_value_equal(kind, h, mass, t.mass, above)
    step = t.leaves[leaf].parent
    if step < 0:  # the only value there is: nothing tells the features apart
        for i in range(n):
            out[i] += score / n
        return
    if kind == RCF_CODISP:
        kind = RCF_DISPLACEMENT  # its ratios are those of another path; displacement shares out alike
    # down the sibling, which takes the place of the parent
    h -= 1
    v = t.nodes[step].child[1] if t.nodes[step].child[0] == ~leaf else t.nodes[step].child[0]
    other = v
    while v >= 0:
        v = t.nodes[v].child[1 if x[t.nodes[v].dim] > t.nodes[v].cut else 0]
        h += 1
    total = gaps(lower_of(t, v), upper_of(t, v), x, t.dims, gap)
    begin(parts, gap, n, rcf_value_separated(kind, h, mass_of(t, v), 0.0) / total)
    while v != other:
        v = t.leaves[~v].parent if v < 0 else t.nodes[v].parent
        h -= 1
        total = gaps(lower_of(t, v), upper_of(t, v), x, t.dims, gap)
        if total == 0.0:
            break
        size = total + t.nodes[v].range
        blend(parts, gap, n, t.nodes[v].range / size, rcf_value_separated(kind, h, t.nodes[v].mass, 0.0) / size)
    if total > 0.0:
        # above, the boxes without x
        rcf_walks.hull(shadow, lower_of(t, other), upper_of(t, other), lower_of(t, other), upper_of(t, other), t.stride)
        box = shadow + 2 * t.stride
        v = step
        step = t.nodes[v].parent
        while step >= 0:
            h -= 1
            other = t.nodes[step].child[1] if t.nodes[step].child[0] == v else t.nodes[step].child[0]
            size = rcf_walks.hull(box, shadow, shadow + t.stride, lower_of(t, other), upper_of(t, other), t.stride)
            total = gaps(box, box + t.stride, x, t.dims, gap)
            if total == 0.0:
                break
            blend(parts, gap, n, size / (total + size),
                  rcf_value_separated(kind, h, t.nodes[step].mass - mass, 0.0) / (total + size))
            shadow, box = box, shadow
            v = step
            step = t.nodes[step].parent
    total = 0.0
    for i in range(n):
        total += parts[i]
    for i in range(n):
        out[i] += score * (parts[i] / total)
