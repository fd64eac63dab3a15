"""A net: at most 64 points that represent the known values of a stream, and the distance of a new value from them.

A point represents the values near it. Its weight is the number of blocks of records in which one of these values came, and
decays over `HORIZON` records. The novelty of a value is its distance to the nearest known point, divided by the usual range.
Each value is judged first and learned afterwards, so a net needs one pass and never looks ahead.

The constants lie on a plateau: on eight labelled corpora, 288 settings around them scored within 3 points of each other.
"""

from libc.math cimport exp
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memmove

cdef enum:
    POINTS = 64    # largest number of points; there is room for one more until the net is thinned out
    QUIET = 64     # the first values have no novelty, because every value is new then
    SEEN = 2       # a group of values in at most this many neighbouring blocks is rare
    YOUNG_PART = 8 # one point in this many may be excluded in the first blocks
    SWEEPS = 8     # rare groups are excluded at both ends in at most this many rounds

cdef extern from *:
    """
    #define RCF_HORIZON (5000.0)
    #define RCF_FAINT (0.02)
    #define RCF_SHARE (0.03)
    #define RCF_GAP (2.0)
    #define RCF_VISITS (0.4)
    #define RCF_FAR (1e300)
    """
    const double HORIZON "RCF_HORIZON"  # records over which a weight falls to 1/e
    const double FAINT "RCF_FAINT"  # weight below which a point is forgotten
    const double SHARE "RCF_SHARE"  # share of the blocks: in an old net, a point with values in fewer blocks is not known
    const double GAP "RCF_GAP"  # a rare group lies beyond a gap of this many times the range of the other points
    const double VISITS "RCF_VISITS"  # share of the blocks: a group with values in fewer blocks is rare, even if it is old
    const double FAR "RCF_FAR"  # larger than the distance between any two values


cdef struct Net:
    double[POINTS + 1] place   # ascending
    float[POINTS + 1] weight
    int32_t[POINTS + 1] last   # the last block with a value of the point
    int32_t size
    int32_t stale              # whether the range must be computed again
    double range               # the usual range
    double blocks              # weight that a point would have if its values came in every block
    int64_t seen               # number of values so far


# The result of a net for a value.
cdef struct Look:
    double novelty             # 0 to 1
    double near                # the nearest known point
    double range               # the usual range


cdef inline void net_clear(Net* net) noexcept nogil:
    net.size, net.stale, net.range, net.blocks, net.seen = 0, 0, 0.0, 0.0, 0


cdef inline int32_t net_end(const Net* net, int32_t low, int32_t high, bint upper, double visits, int32_t most) noexcept nogil:
    """The upper or lower end of the usual range. A rare group beyond a wide gap is excluded if it has at most `most` points."""
    cdef int32_t j, inner, outer, q, begin, end, first, last
    cdef double rest, total
    cdef bint few
    for j in range(1, min(high - low, most + 1)):
        if upper:
            inner, outer = high - j, high - j + 1
            rest = net.place[inner] - net.place[low]
            if rest <= 0.0 or net.place[outer] - net.place[inner] <= GAP * rest:
                continue
            begin, end = outer, high
        else:
            inner, outer = low + j, low + j - 1
            rest = net.place[high] - net.place[inner]
            if rest <= 0.0 or net.place[inner] - net.place[outer] <= GAP * rest:
                continue
            begin, end = low, outer
        few, total = True, 0.0
        first = last = net.last[begin]
        for q in range(begin, end + 1):
            few = few and net.weight[q] <= SEEN + 0.01
            first, last, total = min(first, net.last[q]), max(last, net.last[q]), total + net.weight[q]
        if (few and last - first < SEEN) or total <= visits:
            return inner
    return high if upper else low


cdef inline double net_range(const Net* net, int32_t most) noexcept nogil:
    """The usual range. Rare groups of at most `most` points at its ends are excluded."""
    cdef int32_t low = 0, high = net.size - 1, lower, upper, sweep
    cdef double visits = VISITS * net.blocks
    for sweep in range(SWEEPS):
        upper = net_end(net, low, high, True, visits, most)
        lower = net_end(net, low, upper, False, visits, most)
        if lower == low and upper == high:
            break
        low, high = lower, upper
    return net.place[high] - net.place[low]


cdef inline void net_forget(Net* net, double block) noexcept nogil:
    """Start a block of records: weights decay, and points with a small weight are removed."""
    cdef double decay = exp(-block / HORIZON)
    cdef int32_t j, kept = 0
    net.blocks = net.blocks * decay + 1.0
    for j in range(net.size):
        if net.weight[j] * decay >= FAINT:
            net.place[kept], net.weight[kept], net.last[kept] = net.place[j], <float>(net.weight[j] * decay), net.last[j]
            kept += 1
    net.size, net.stale = max(kept, 1), 1


cdef inline double net_third(const Net* net) noexcept nogil:
    """The 1/3 quantile of the distances between the two neighbours of each inner point."""
    cdef double[POINTS] gaps
    cdef double gap
    cdef int32_t n = net.size - 2, i, j
    for i in range(n):
        gap, j = net.place[i + 2] - net.place[i], i
        while j > 0 and gaps[j - 1] > gap:
            gaps[j] = gaps[j - 1]
            j -= 1
        gaps[j] = gap
    return gaps[n // 3]


cdef inline void net_thin(Net* net) noexcept nogil:
    """Thin out the net where its points are closest: there every other point joins its left neighbour."""
    cdef double least = net_third(net)
    cdef int32_t j, kept = 1
    cdef bint dropped = False
    for j in range(1, net.size - 1):
        # place[j - 1] may have been overwritten already, but only places from kept - 1 on are still needed
        if not dropped and net.place[j + 1] - net.place[kept - 1] <= least:
            net.weight[kept - 1] = max(net.weight[kept - 1], net.weight[j])
            net.last[kept - 1] = max(net.last[kept - 1], net.last[j])
            dropped = True
        else:
            net.place[kept], net.weight[kept], net.last[kept] = net.place[j], net.weight[j], net.last[j]
            kept += 1
            dropped = False
    j = net.size - 1
    net.place[kept], net.weight[kept], net.last[kept] = net.place[j], net.weight[j], net.last[j]
    net.size, net.stale = kept + 1, 1


cdef inline Look net_take(Net* net, double x, double floor, int64_t block) noexcept nogil:
    """Judge a value by the net and learn it. The novelty is relative to a range of at least `floor`; `block` is the length of a block."""
    cdef Look look
    cdef int32_t now = <int32_t>(net.seen // block), i, j, a, b, near = -1
    cdef double gap = FAR, known = FAR, need, range, known_by
    if net.size == 0:
        net.place[0], net.weight[0], net.last[0] = x, 1.0, now
        net.size, net.blocks, net.stale = 1, 1.0, 1
        net.seen += 1
        look.novelty, look.near, look.range = 0.0, x, 0.0
        return look
    if net.seen % block == 0:
        net_forget(net, <double>block)
    # i is the first point that is not below x
    i, j = 0, net.size
    while i < j:
        a = (i + j) // 2
        if net.place[a] < x:
            i = a + 1
        else:
            j = a
    # learning needs the nearest of all points; judging needs the nearest known point
    if i < net.size:
        near, gap = i, net.place[i] - x
    if i > 0 and x - net.place[i - 1] < gap:
        near, gap = i - 1, x - net.place[i - 1]
    need = SHARE * net.blocks
    if need <= 1.0:
        need = FAINT
    a, b = i, i - 1
    while a < net.size and net.weight[a] < need:
        a += 1
    while b >= 0 and net.weight[b] < need:
        b -= 1
    look.near = net.place[near]
    if a < net.size:
        known, look.near = net.place[a] - x, net.place[a]
    if b >= 0 and x - net.place[b] < known:
        known, look.near = x - net.place[b], net.place[b]
    if known == FAR:
        known = gap
    if net.stale:
        net.range, net.stale = net_range(net, POINTS), 0
    range = max(net.range, floor)
    look.range = net.range
    if net.seen < (SEEN + 1) * block and net.seen >= QUIET:
        # In the first blocks every group is rare, so only a few points may be excluded. If this limit applies to the first two
        # blocks only, one stream of noise in six raises an alarm at records 256 to 264, where the third block begins.
        look.range = net_range(net, net.size // YOUNG_PART)
    known_by = max(look.range, floor)
    look.novelty = 0.0
    if net.seen >= QUIET:
        if known_by > 0.0:
            look.novelty = min(1.0, known / known_by)
        elif known > 0.0:
            look.novelty = 1.0
    net.seen += 1
    # learn
    if gap <= 0.5 / POINTS * range:
        if net.last[near] != now:
            net.weight[near] += 1.0
            net.last[near] = now
            net.stale = 1
        if x < net.place[0]:
            net.place[0], net.stale = x, 1
        if x > net.place[net.size - 1]:
            net.place[net.size - 1], net.stale = x, 1
        return look
    j = net.size - i
    memmove(&net.place[i + 1], &net.place[i], j * sizeof(double))
    memmove(&net.weight[i + 1], &net.weight[i], j * sizeof(float))
    memmove(&net.last[i + 1], &net.last[i], j * sizeof(int32_t))
    net.place[i], net.weight[i], net.last[i] = x, 1.0, now
    net.size += 1
    net.stale = 1
    if net.size > POINTS:
        net_thin(net)
    return look
