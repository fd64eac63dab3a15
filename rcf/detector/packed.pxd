"""Features with their nets and seasons as bits (rcf/_native/bits.h), and back.

Bits that are read are not trusted: the functions that read return a text that says what is wrong, or NULL. Reading past the end
gives zeros, so the caller checks once, at the end, whether there were enough bits.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from rcf._native.bits cimport *
from rcf.detector.feature cimport CHECKS, HEAD, RUN_BLOCKS, Feature, Scale
from rcf.detector.net cimport POINTS, Net
from rcf.detector.season cimport SPAN, Last, Profile, Season


cdef inline bint finite(double x) noexcept nogil:
    return -INFINITY < x < INFINITY


cdef inline bint known(double x) noexcept nogil:
    """Whether x is finite, or NaN because it is not known yet."""
    return x != x or finite(x)


# ---- nets --------------------------------------------------------------------------------------------------------

cdef inline bint put_net(rcf_writer* w, const Net* net) noexcept nogil:
    """Write a net. Returns False if memory runs out, as do all functions here that write."""
    cdef int32_t i
    cdef uint32_t weight
    if not rcf_make_room(w, 40 + 20 * <size_t>net.size):
        return False
    rcf_put_number(w, net.size)
    rcf_put_number(w, net.seen)
    rcf_put_double(w, net.blocks)
    for i in range(net.size):
        memcpy(&weight, &net.weight[i], 4)
        rcf_put_double(w, net.place[i])
        rcf_put(w, weight, 32)
        rcf_put_number(w, net.last[i])
    return True


cdef inline const char* get_net(rcf_reader* r, Net* net, int64_t n, int64_t block) noexcept nogil:
    """Read a net. `n` is the number of records so far, and `block` the number of records in a block."""
    cdef uint64_t size = rcf_get_number(r), seen = rcf_get_number(r), last
    cdef uint32_t weight
    cdef int32_t i
    if size > POINTS or seen > <uint64_t>n or (size == 0) != (seen == 0):
        return b"a net has too many points or values"
    net.size, net.seen, net.blocks, net.stale = <int32_t>size, <int64_t>seen, rcf_get_double(r), 1
    if not 0.0 <= net.blocks < INFINITY:
        return b"the blocks of a net are no number"
    for i in range(net.size):
        net.place[i], weight, last = rcf_get_double(r), <uint32_t>rcf_get(r, 32), rcf_get_number(r)
        memcpy(&net.weight[i], &weight, 4)
        net.last[i] = <int32_t>last
        if not finite(net.place[i]) or (i > 0 and net.place[i] < net.place[i - 1]):
            return b"the points of a net do not ascend"
        if not 0.0 < net.weight[i] < INFINITY or last > seen // <uint64_t>block or last > 0x7fffffff:
            return b"a point of a net has no weight, or lies in the future"
    return NULL


# ---- seasons -----------------------------------------------------------------------------------------------------

cdef inline void put_last(rcf_writer* w, const Last* last) noexcept nogil:
    cdef int32_t i
    rcf_put_number(w, last.size)
    rcf_put_number(w, last.next)
    for i in range(last.size):
        rcf_put_double(w, last.value[i])


cdef inline const char* get_last(rcf_reader* r, Last* last) noexcept nogil:
    cdef uint64_t size = rcf_get_number(r), where = rcf_get_number(r)
    cdef int32_t i
    if size > SPAN or where >= SPAN or (size < SPAN and where != size):
        return b"the last values of a season are cut"
    last.size, last.next = <int32_t>size, <int32_t>where
    for i in range(last.size):
        last.value[i] = rcf_get_double(r)
        if not finite(last.value[i]):
            return b"a value of a season is not finite"
    return NULL


cdef inline bint put_profile(rcf_writer* w, const Profile* profile) noexcept nogil:
    cdef int32_t i
    if not rcf_make_room(w, 60 + 9 * <size_t>profile.bins):
        return False
    rcf_put_number(w, profile.bin + 1)
    rcf_put_number(w, profile.taken)
    rcf_put_number(w, profile.compared)
    rcf_put_double(w, profile.slow)
    rcf_put_double(w, profile.inside)
    rcf_put_double(w, profile.around)
    for i in range(profile.bins):
        rcf_put_double(w, profile.level[i])
        rcf_put(w, profile.visits[i], 8)
    return True


cdef inline const char* get_profile(rcf_reader* r, Profile* profile, int64_t n) noexcept nogil:
    """Read a profile whose bins are allocated."""
    cdef uint64_t bin = rcf_get_number(r), taken = rcf_get_number(r), compared = rcf_get_number(r)
    cdef int32_t i
    if bin > <uint64_t>max(profile.bins, 1) or taken > <uint64_t>n or compared > <uint64_t>n:
        return b"a count of a profile is too large"
    profile.bin, profile.taken, profile.compared = <int32_t>bin - 1, <int64_t>taken, <int64_t>compared
    profile.slow, profile.inside, profile.around = rcf_get_double(r), rcf_get_double(r), rcf_get_double(r)
    if not finite(profile.slow) or not 0.0 <= profile.inside < INFINITY or not 0.0 <= profile.around < INFINITY:
        return b"a profile has numbers that are out of range"
    for i in range(profile.bins):
        profile.level[i], profile.visits[i] = rcf_get_double(r), rcf_get(r, 8)
        if not finite(profile.level[i]):
            return b"a level of a profile is not finite"
    return NULL


cdef inline bint put_season(rcf_writer* w, const Season* season) noexcept nogil:
    if not (put_profile(w, &season.day) and put_profile(w, &season.week) and rcf_make_room(w, 3 * (20 + 8 * SPAN))):
        return False
    put_last(w, &season.levels)
    put_last(w, &season.day_left)
    put_last(w, &season.week_left)
    return put_net(w, &season.level_net) and put_net(w, &season.day_net) and put_net(w, &season.week_net)


cdef inline const char* get_season(rcf_reader* r, Season* season, int64_t n, int64_t block) noexcept nogil:
    cdef const char* wrong = get_profile(r, &season.day, n)
    if wrong == NULL:
        wrong = get_profile(r, &season.week, n)
    if wrong == NULL:
        wrong = get_last(r, &season.levels)
    if wrong == NULL:
        wrong = get_last(r, &season.day_left)
    if wrong == NULL:
        wrong = get_last(r, &season.week_left)
    if wrong == NULL:
        wrong = get_net(r, &season.level_net, n, block)
    if wrong == NULL:
        wrong = get_net(r, &season.day_net, n, block)
    if wrong == NULL:
        wrong = get_net(r, &season.week_net, n, block)
    return wrong


# ---- features ----------------------------------------------------------------------------------------------------

cdef inline void put_scale(rcf_writer* w, const Scale* scale) noexcept nogil:
    rcf_put_double(w, scale.centre)
    rcf_put_double(w, scale.size)
    rcf_put_double(w, scale.mean)
    rcf_put_double(w, scale.square)


cdef inline const char* get_scale(rcf_reader* r, Scale* scale) noexcept nogil:
    scale.centre, scale.size = rcf_get_double(r), rcf_get_double(r)
    scale.mean, scale.square = rcf_get_double(r), rcf_get_double(r)
    if not finite(scale.centre) or not finite(scale.mean):
        return b"a scale is not finite"
    if not 0.0 <= scale.size < INFINITY or not 0.0 <= scale.square < INFINITY:
        return b"a scale is negative"
    return NULL


cdef inline bint put_feature(rcf_writer* w, const Feature* f) noexcept nogil:
    """All but the season."""
    cdef int32_t i
    if not rcf_make_room(w, 250 + 8 * HEAD + 9 * RUN_BLOCKS):
        return False
    put_scale(w, &f.value)
    put_scale(w, &f.log)
    rcf_put_double(w, f.unit)
    rcf_put_double(w, f.contradiction)
    rcf_put_double(w, f.mean)
    rcf_put_double(w, f.mass)
    rcf_put_double(w, f.first)
    rcf_put_double(w, f.before)
    rcf_put(w, f.settled, 1)
    rcf_put_number(w, f.seen)
    rcf_put_number(w, f.checks)
    rcf_put_number(w, f.contradicted + CHECKS)
    rcf_put_number(w, f.n_recent)
    for i in range(f.n_recent):  # the values after these are never used again
        rcf_put_double(w, f.recent[i])
    rcf_put_number(w, f.runs.seen)
    rcf_put_number(w, f.runs.run)
    rcf_put_number(w, f.runs.block)
    for i in range(RUN_BLOCKS):
        rcf_put_number(w, f.runs.longest[i])
    for i in range(4):
        if not put_net(w, &f.nets[i]):
            return False
    return True


cdef inline const char* get_feature(rcf_reader* r, Feature* f, int64_t n, int64_t block) noexcept nogil:
    cdef uint64_t seen, checks, contradicted, recent, run, longest
    cdef int32_t i
    cdef const char* wrong = get_scale(r, &f.value)
    if wrong == NULL:
        wrong = get_scale(r, &f.log)
    if wrong != NULL:
        return wrong
    f.unit, f.contradiction, f.mean, f.mass = rcf_get_double(r), rcf_get_double(r), rcf_get_double(r), rcf_get_double(r)
    f.first, f.before = rcf_get_double(r), rcf_get_double(r)
    if not 0.0 <= f.unit < INFINITY or not 0.0 <= f.mass < INFINITY:
        return b"a unit or a mass is negative"
    if not (finite(f.contradiction) and finite(f.mean) and known(f.first) and known(f.before)):
        return b"a number of a feature is not finite"
    f.settled = rcf_get(r, 1)
    seen, checks, contradicted, recent = rcf_get_number(r), rcf_get_number(r), rcf_get_number(r), rcf_get_number(r)
    if seen > <uint64_t>n or checks > CHECKS or contradicted > 2 * CHECKS or recent >= HEAD:
        return b"a count is larger than it can be"
    if n < HEAD and f.settled:
        return b"a scale was settled before its time"
    f.seen, f.checks, f.contradicted = <int64_t>seen, <int32_t>checks, <int32_t>contradicted - CHECKS
    f.n_recent = <int32_t>recent
    for i in range(f.n_recent):
        f.recent[i] = rcf_get_double(r)
        if not finite(f.recent[i]):
            return b"a recent value is not finite"
    seen, run, recent = rcf_get_number(r), rcf_get_number(r), rcf_get_number(r)
    if seen > <uint64_t>n or run > 1 << 30 or recent >= RUN_BLOCKS:
        return b"a run is longer than the stream"
    f.runs.seen, f.runs.run, f.runs.block, f.runs.most = <int64_t>seen, <int32_t>run, <int32_t>recent, 0
    for i in range(RUN_BLOCKS):
        longest = rcf_get_number(r)
        if longest > 1 << 30:
            return b"a run is longer than the stream"
        f.runs.longest[i] = <int32_t>longest
        f.runs.most = max(f.runs.most, f.runs.longest[i])
    for i in range(4):
        wrong = get_net(r, &f.nets[i], n, block)
        if wrong != NULL:
            return wrong
    return NULL
