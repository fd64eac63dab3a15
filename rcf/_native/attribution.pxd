"""Walks over a tree that return more than a number: the attribution of a score, and a density.

Both process the boxes from which a cut can separate a record, from its leaf up; `start_climb` and `next_box` find these boxes. The
scores themselves are computed in descend.h and climb.h, where many records walk through a tree together.
"""

from libc.stdint cimport int32_t

from rcf._native.tree cimport (
    corners_of, mass_of, parent_of, range_of, rcf_descend_from, rcf_ratios, rcf_scale, rcf_tree, rcf_walks,
    rcf_value_equal, rcf_value_separated, same_point, sibling_of, RCF_CODISP, RCF_DISPLACEMENT,
)


cdef inline double gaps(const float* lower, const float* upper, const float* x, int32_t dims, double* gap) noexcept nogil:
    """Write to gap how far x lies above (even entries) and below (odd entries) the box in each feature. Returns the sum."""
    cdef double total = 0.0, high, low
    cdef int32_t i
    for i in range(dims):
        high = <double>x[i] - <double>upper[i]
        low = <double>lower[i] - <double>x[i]
        gap[2 * i] = high if high > 0.0 else 0.0
        gap[2 * i + 1] = low if low > 0.0 else 0.0
        total += gap[2 * i] + gap[2 * i + 1]
    return total


cdef inline double join_box(const rcf_tree* t, int32_t v, float* scratch, const float* box, float* joined) noexcept nogil:
    """Write to `joined` the hull of `box` and the box of node v, or only the latter if `box` is NULL. Returns its range."""
    cdef const float* lower
    cdef const float* upper
    corners_of(t, v, scratch, &lower, &upper)
    if box == NULL:
        return rcf_walks.hull(joined, lower, upper, lower, upper, t.stride)
    return rcf_walks.hull(joined, box, box + t.stride, lower, upper, t.stride)


# ---- the boxes on the way up -----------------------------------------------------------------------------------

cdef struct Climb:
    const rcf_tree* tree
    const float* x
    int32_t at          # the node or leaf that the last box belongs to
    int32_t top         # the root of the sibling's subtree, if `own` > 0
    int32_t own         # number of records equal to x, which are treated as if the tree did not hold them
    bint started
    bint hulls          # from here on, boxes are computed without the records equal to x
    float* scratch      # for a box that is not in memory
    float* hull
    float* spare
    # the box that next_box() found
    const float* lower
    const float* upper
    double extent       # the sum of its sides
    int32_t mass        # number of records in the box that differ from x
    int32_t depth


cdef inline void start_climb(Climb* c, const rcf_tree* t, const float* x, int32_t leaf, int32_t depth, bint equal, float* room) noexcept nogil:
    """Start at the leaf that x reaches, which is at depth `depth`. `room` holds six rows.

    If x equals the leaf, all boxes on its path contain it. So x is scored in the tree without this leaf: there the leaf's sibling
    takes the place of their parent, and each box above is the union of the siblings' boxes on the path. x lies outside all boxes of
    the sibling's subtree, because the parent's cut separates x from them.
    """
    cdef int32_t parent = parent_of(t, ~leaf)
    c.tree, c.x = t, x
    c.hull, c.spare, c.scratch = room, room + 2 * t.stride, room + 4 * t.stride
    c.started = c.hulls = False
    c.own = 0
    c.at, c.depth = ~leaf, depth
    if equal:
        c.own = mass_of(t, ~leaf)
        c.top = sibling_of(t, parent, ~leaf)
        c.depth -= 1
        c.at = ~rcf_descend_from(t, c.top, x, &c.depth)


cdef inline bint next_box(Climb* c) noexcept nogil:
    """Go to the leaf, then to each node above it. False above the root."""
    cdef const rcf_tree* t = c.tree
    cdef int32_t other
    if not c.started:
        c.started = True
    else:
        if c.own and not c.hulls and c.at == c.top:
            join_box(t, c.top, c.scratch, NULL, c.hull)
            c.hulls = True
            c.at = parent_of(t, c.top)  # this parent does not exist in the tree without x
        other = c.at
        c.at = parent_of(t, other)
        if c.at < 0:
            return False
        c.depth -= 1
        if c.hulls:
            c.extent = join_box(t, sibling_of(t, c.at, other), c.scratch, c.hull, c.spare)
            c.hull, c.spare = c.spare, c.hull
            c.lower, c.upper = c.hull, c.hull + t.stride
            c.mass = mass_of(t, c.at) - c.own
            return True
    corners_of(t, c.at, c.scratch, &c.lower, &c.upper)
    c.extent = range_of(t, c.at, c.scratch) if c.at >= 0 else 0.0
    c.mass = mass_of(t, c.at)
    return True


# ---- attribution -----------------------------------------------------------------------------------------------

cdef inline void share_out(Climb* c, int kind, const double* ratios, double* gap, double* parts) noexcept nogil:
    """parts[k] becomes the part of side k in the score of x, from the cuts of all boxes on the way up."""
    cdef int32_t n = 2 * c.tree.dims, k
    cdef double total, size, keep, add
    for k in range(n):
        parts[k] = 0.0
    while next_box(c):
        total = gaps(c.lower, c.upper, c.x, c.tree.dims, gap)
        if total == 0.0:
            return
        size = total + c.extent
        keep = c.extent / size
        add = rcf_value_separated(kind, c.depth, c.mass, ratios[c.depth] if kind == RCF_CODISP else 0.0) / size
        for k in range(n):
            parts[k] = keep * parts[k] + add * gap[k]


cdef inline void tree_attribute(int kind, const rcf_tree* t, const float* x, double* work, double* ratios,
                                double* out) noexcept nogil:
    """Add the part of feature i in this tree's score of x to out[2 i] if x lies above the boxes, and to out[2 i + 1] if below.

    `work` holds 4 * dims doubles and 6 * stride floats after them. If x equals a leaf, its score is divided in the proportions that
    the tree without this leaf gives.
    """
    cdef int32_t n = 2 * t.dims, k, depth = 0, leaf
    cdef double* parts = work
    cdef double above = 0.0, total = 0.0, score
    cdef Climb climb
    cdef bint equal
    if t.mass == 0:
        return
    leaf = rcf_descend_from(t, t.root, x, &depth)
    if kind == RCF_CODISP:
        above = ratios[depth] = rcf_ratios(t, x, ratios)
    equal = same_point(t, leaf, x)
    score = rcf_scale(kind, t.mass)
    if equal:
        score *= rcf_value_equal(kind, depth, mass_of(t, ~leaf), t.mass, above)
        if parent_of(t, ~leaf) < 0:  # the tree holds a single value, so all features get equal parts
            for k in range(n):
                out[k] += score / n
            return
        if kind == RCF_CODISP:
            kind = RCF_DISPLACEMENT  # `ratios` belongs to another path, and displacement has the same proportions
    start_climb(&climb, t, x, leaf, depth, equal, <float*>(work + 2 * n))
    share_out(&climb, kind, ratios, work + n, parts)
    if not equal:
        for k in range(n):
            out[k] += score * parts[k]
        return
    for k in range(n):
        total += parts[k]
    for k in range(n):
        out[k] += score * (parts[k] / total)


# ---- density ------------------------------------------------------------------------------------------------------

cdef inline void tree_density(const rcf_tree* t, const float* x, double* work, double* out) noexcept nogil:
    """Add three numbers for each feature and side to out[0 : 6 dims].

    The share of a side is the probability that a cut separates x from a box on that side. The first number is the mass of that box,
    relative to the mass of the tree, times the share. The second is the length of the box (including x) times the share. The third
    is the share itself.

    `work` holds 8 * dims doubles and 6 * stride floats after them. If x equals a leaf, the boxes are those of the tree without this
    leaf, as in `tree_attribute`, but its mass is added to each box.
    """
    cdef int32_t n = 2 * t.dims, k, leaf, depth = 0
    cdef double* gap = work
    cdef double* sums = work + n
    cdef double total, keep, share
    cdef Climb climb
    cdef bint equal
    if t.mass == 0:
        return
    for k in range(3 * n):
        sums[k] = 0.0
    leaf = rcf_descend_from(t, t.root, x, &depth)
    equal = same_point(t, leaf, x)
    if equal and parent_of(t, ~leaf) < 0:
        for k in range(n):  # the tree holds a single value, so the length is 0 and the sides are equal
            sums[k] = <double>t.mass / n
            sums[2 * n + k] = 1.0 / n
    else:
        start_climb(&climb, t, x, leaf, depth, equal, <float*>(work + 4 * n))
        while next_box(&climb):
            total = gaps(climb.lower, climb.upper, x, t.dims, gap)
            if total == 0.0:
                break
            keep = climb.extent / (total + climb.extent)
            for k in range(n):
                share = gap[k] / (total + climb.extent)
                sums[k] = keep * sums[k] + share * (climb.mass + climb.own)
                sums[n + k] = keep * sums[n + k] + share * (gap[k] + <double>climb.upper[k >> 1] - <double>climb.lower[k >> 1])
                sums[2 * n + k] = keep * sums[2 * n + k] + share
    for k in range(n):
        out[k] += sums[k] / t.mass
        out[n + k] += sums[n + k]
        out[2 * n + k] += sums[2 * n + k]
