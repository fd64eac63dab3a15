"""Walks over a tree that return more than a number: what each feature adds to the score.

The scores themselves are in descend.h and climb.h, where many records go through a tree together.
"""

from libc.stdint cimport int32_t

from rcf._native.tree cimport (
    corners_of, mass_of, rcf_ratios, rcf_scale, rcf_tree, rcf_walks,
    rcf_value_equal, rcf_value_separated, same_point, RCF_CODISP, RCF_DISPLACEMENT,
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


cdef inline double gaps_of(const rcf_tree* t, int32_t v, const float* x, float* scratch, double* gap) noexcept nogil:
    """The gaps between x and the box of node v, or the point of a leaf."""
    cdef const float* lower
    cdef const float* upper
    corners_of(t, v, scratch, &lower, &upper)
    return gaps(lower, upper, x, t.dims, gap)


cdef inline double join_box(const rcf_tree* t, int32_t v, float* scratch, const float* box, float* joined) noexcept nogil:
    """joined = the hull of the box, if there is one, and that of node v; returns its range."""
    cdef const float* lower
    cdef const float* upper
    corners_of(t, v, scratch, &lower, &upper)
    if box == NULL:
        return rcf_walks.hull(joined, lower, upper, lower, upper, t.stride)
    return rcf_walks.hull(joined, box, box + t.stride, lower, upper, t.stride)


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

    `work` holds 4 * dims doubles and 6 * stride floats after them. A record that equals a leaf is cut off
    by no box of its own path, so its score is shared out as that of the same record in the tree without it: the
    boxes above are then the hulls of the siblings on the path.
    """
    cdef int32_t n = 2 * t.dims, i, h = 0, v = t.root, leaf, step, other, mass
    cdef double* parts = work
    cdef double* gap = work + n
    cdef float* box
    cdef float* shadow = <float*>(work + 2 * n)
    cdef float* scratch = shadow + 4 * t.stride
    cdef double above = 0.0, total, size, score, factor
    cdef bint within
    if t.mass == 0:
        return
    factor = rcf_scale(kind, t.mass)
    while v >= 0:
        v = t.cuts[v].child[1 if x[t.cuts[v].dim] > t.cuts[v].value else 0]
        h += 1
    leaf = ~v
    if kind == RCF_CODISP:
        above = rcf_ratios(t, x, ratios)
    within = same_point(t, leaf, x)
    if not within:
        score = 0.0
        total = gaps_of(t, v, x, scratch, gap)
        begin(parts, gap, n, rcf_value_separated(kind, h, t.leaves[leaf].mass, above) / total)
        step = t.leaves[leaf].parent
        while step >= 0:
            h -= 1
            total = gaps_of(t, step, x, scratch, gap)
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
    # down the sibling, which takes the place of the parent; the parent's cut has x outside all of its boxes
    h -= 1
    v = t.cuts[step].child[1] if t.cuts[step].child[0] == ~leaf else t.cuts[step].child[0]
    other = v
    while v >= 0:
        v = t.cuts[v].child[1 if x[t.cuts[v].dim] > t.cuts[v].value else 0]
        h += 1
    total = gaps_of(t, v, x, scratch, gap)
    begin(parts, gap, n, rcf_value_separated(kind, h, mass_of(t, v), 0.0) / total)
    while v != other:
        v = t.leaves[~v].parent if v < 0 else t.nodes[v].parent
        h -= 1
        total = gaps_of(t, v, x, scratch, gap)
        size = total + t.nodes[v].range
        blend(parts, gap, n, t.nodes[v].range / size, rcf_value_separated(kind, h, t.nodes[v].mass, 0.0) / size)
    # above, the boxes without x
    join_box(t, other, scratch, NULL, shadow)
    box = shadow + 2 * t.stride
    v = step
    step = t.nodes[v].parent
    while step >= 0:
        h -= 1
        other = t.cuts[step].child[1] if t.cuts[step].child[0] == v else t.cuts[step].child[0]
        size = join_box(t, other, scratch, shadow, box)
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


# ---- density ------------------------------------------------------------------------------------------------------

cdef inline bint density_step(const float* lower, const float* upper, double extent, double mass, const float* x,
                              int32_t dims, double* gap, double* out) noexcept nogil:
    """Fold in the cut that separates x from this box, given that none above did; False where the box contains x.

    out: for each feature, above and below, the expected mass cut off times the share of that side; the length of the box, x
    included, likewise; and the share itself.
    """
    cdef double total = gaps(lower, upper, x, dims, gap), keep, share
    cdef int32_t k, n = 2 * dims
    if total == 0.0:
        return False
    keep = extent / (total + extent)
    for k in range(n):
        share = gap[k] / (total + extent)
        out[k] = keep * out[k] + share * mass
        out[n + k] = keep * out[n + k] + share * (gap[k] + <double>upper[k >> 1] - <double>lower[k >> 1])
        out[2 * n + k] = keep * out[2 * n + k] + share
    return True


cdef inline bint density_node(const rcf_tree* t, int32_t v, double mass, const float* x, float* scratch, double* gap,
                              double* out) noexcept nogil:
    """The step at node v, or at a leaf."""
    cdef const float* lower
    cdef const float* upper
    corners_of(t, v, scratch, &lower, &upper)
    return density_step(lower, upper, t.nodes[v].range if v >= 0 else 0.0, mass, x, t.dims, gap, out)


cdef inline void tree_density(const rcf_tree* t, const float* x, double* work, double* out) noexcept nogil:
    """out[0 : 6 dims] += mass, length and share of `density_step` for x in this tree, the masses as parts of the tree's.

    `work` holds 8 * dims doubles and 6 * stride floats after them. A record that the tree holds is seen from the tree
    without it, as in `tree_attribute`, and its own mass counts with each box.
    """
    cdef int32_t n = 2 * t.dims, k, v = t.root, step, other, own
    cdef double* gap = work
    cdef double* sums = work + n
    cdef float* shadow = <float*>(work + 4 * n)
    cdef float* box = shadow + 2 * t.stride
    cdef float* scratch = box + 2 * t.stride
    cdef double extent
    if t.mass == 0:
        return
    for k in range(3 * n):
        sums[k] = 0.0
    while v >= 0:
        v = t.cuts[v].child[1 if x[t.cuts[v].dim] > t.cuts[v].value else 0]
    own = t.leaves[~v].mass
    step = t.leaves[~v].parent
    if not same_point(t, ~v, x):
        density_node(t, v, own, x, scratch, gap, sums)
        while step >= 0 and density_node(t, step, t.nodes[step].mass, x, scratch, gap, sums):
            step = t.nodes[step].parent
    elif step < 0:
        for k in range(n):  # the only value there is: no length, any side
            sums[k] = <double>own / n
            sums[2 * n + k] = 1.0 / n
    else:
        other = t.cuts[step].child[1] if t.cuts[step].child[0] == v else t.cuts[step].child[0]
        v = other
        while v >= 0:
            v = t.cuts[v].child[1 if x[t.cuts[v].dim] > t.cuts[v].value else 0]
        density_node(t, v, mass_of(t, v) + own, x, scratch, gap, sums)
        while v != other:
            v = t.leaves[~v].parent if v < 0 else t.nodes[v].parent
            density_node(t, v, t.nodes[v].mass + own, x, scratch, gap, sums)
        join_box(t, other, scratch, NULL, shadow)
        v = step
        step = t.nodes[v].parent
        while step >= 0:
            other = t.cuts[step].child[1] if t.cuts[step].child[0] == v else t.cuts[step].child[0]
            extent = join_box(t, other, scratch, shadow, box)
            if not density_step(box, box + t.stride, extent, t.nodes[step].mass, x, t.dims, gap, sums):
                break
            shadow, box = box, shadow
            v = step
            step = t.nodes[step].parent
    for k in range(n):
        out[k] += sums[k] / t.mass
        out[n + k] += sums[n + k]
        out[2 * n + k] += sums[2 * n + k]
