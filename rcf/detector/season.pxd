"""A season: the usual value at this time of the day or week, and the novelty of the residual from it.

The profile has a bin for each part of the period. In each period, a bin moves a quarter of the way to the value in it. It is
read together with its neighbours, with weights 1 : 2 : 1. The profile is used from the second period on, and only while it explains
the series. This means that its mean residual is less than 0.6 times the mean residual from a slow mean.
"""

from libc.math cimport NAN, fabs, fmod, pow
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

from rcf.detector.net cimport Look, Net, net_clear, net_take

cdef enum:
    DAY_BINS = 288     # bins of five minutes; fewer if the interval is longer
    WEEK_BINS = 168    # bins of an hour
    SPAN = 9           # the median of this many residuals is judged
    LEAST_PERIOD = 8   # a period with fewer records has no profile

cdef extern from *:
    """
    #define RCF_DAY (86400.0)
    #define RCF_QUARTER (0.75)
    #define RCF_EXPLAINED (0.6)
    #define RCF_WILD (5.0)
    """
    const double DAY "RCF_DAY"  # seconds
    const double QUARTER "RCF_QUARTER"  # weight of the old value of a bin when a new value is averaged in
    const double EXPLAINED "RCF_EXPLAINED"  # a profile is used while its residual is less than this share of the spread
    const double WILD "RCF_WILD"  # a residual larger than this many mean residuals counts as this many


# The last values, for their running median.
cdef struct Last:
    double[SPAN] value
    int32_t size, next


cdef struct Profile:
    double* level              # value of each bin
    uint8_t* visits            # number of visits of each bin, at most 255
    int32_t bins, bin          # number of bins; the bin of the last value, -1 before the first
    int64_t period, taken, compared  # records in a period, values learned, values that were compared with a profile
    double slow, inside, around  # slow mean; mean absolute residuals from the profile and from the slow mean


cdef struct Season:
    Profile day, week
    Last levels, day_left, week_left
    Net level_net, day_net, week_net


# The result of a season for a value.
cdef struct Seasonal:
    double novelty             # 0 to 1
    double usual               # the usual logarithm for this time
    double left                # median of the last residuals; NaN if no profile is used
    double now                 # the newest residual, from the profile that explains the value better
    bint weekly


cdef inline double last_median(Last* last, double value) noexcept nogil:
    """Add the value. Returns the median of the last values."""
    cdef double[SPAN] order
    cdef double x
    cdef int32_t i, j
    last.value[last.next] = value
    last.next = (last.next + 1) % SPAN
    last.size = min(last.size + 1, <int32_t>SPAN)
    for i in range(last.size):
        x, j = last.value[i], i
        while j > 0 and order[j - 1] > x:
            order[j] = order[j - 1]
            j -= 1
        order[j] = x
    i = last.size // 2
    return order[i] if last.size % 2 else 0.5 * (order[i - 1] + order[i])


cdef inline int profile_open(Profile* profile, int64_t period, int32_t bins) noexcept nogil:
    """Allocate a profile, but none if the period is too short. Returns 0 if memory runs out."""
    profile.bins = <int32_t>min(<int64_t>bins, period) if period >= LEAST_PERIOD else 0
    profile.bin, profile.period, profile.taken, profile.compared = -1, period, 0, 0
    profile.slow = profile.inside = profile.around = 0.0
    profile.level = <double*>calloc(max(profile.bins, 1), sizeof(double))
    profile.visits = <uint8_t*>calloc(max(profile.bins, 1), 1)
    return profile.level != NULL and profile.visits != NULL


cdef inline double profile_take(Profile* profile, double y, double second, double length, double* usual) noexcept nogil:
    """The residual of y at a second of a period of that length, NaN while there is none. Afterwards y is learned."""
    cdef double left = NAN, level = 0.0, mass = 0.0, rate, off, slow = 1.0 / (2.0 * profile.period), weight
    cdef int32_t bin = min(<int32_t>(second * profile.bins / length), profile.bins - 1), j, k
    cdef int64_t t = profile.taken
    if profile.bin >= 0 and bin != profile.bin and profile.visits[profile.bin] < 255:
        profile.visits[profile.bin] += 1
    profile.bin = bin
    profile.taken += 1
    if t == 0:
        profile.slow = y
    profile.slow += (y - profile.slow) * max(slow, 1.0 / (t + 1))
    if profile.visits[bin] >= 1:
        for k in range(-1, 2):
            j, weight = (bin + k + profile.bins) % profile.bins, 2.0 if k == 0 else 1.0
            if profile.visits[j] >= 1:
                level += weight * profile.level[j]
                mass += weight
        usual[0] = level / mass
        off = fabs(y - usual[0])
        profile.compared += 1
        if profile.compared > profile.period and profile.inside < EXPLAINED * profile.around and t >= 2 * profile.period:
            left = y - usual[0]
        rate = max(slow, 1.0 / profile.compared)
        if profile.compared > 20:
            off = min(off, WILD * profile.inside)
        profile.inside += (off - profile.inside) * rate
        off = fabs(y - profile.slow)
        if profile.compared > 20:
            off = min(off, WILD * profile.around)
        profile.around += (off - profile.around) * rate
    rate = 1.0 - pow(QUARTER, <double>profile.bins / profile.period)
    profile.level[bin] += (y - profile.level[bin]) * max(rate, 1.0 / (profile.visits[bin] + 1))
    return left


cdef inline void season_close(Season* season) noexcept nogil:
    if season == NULL:
        return
    free(season.day.level)
    free(season.day.visits)
    free(season.week.level)
    free(season.week.visits)
    free(season)


cdef inline Season* season_open(int64_t period) noexcept nogil:
    """A season for one feature with that many records in a day. Returns NULL if memory runs out."""
    cdef Season* season = <Season*>calloc(1, sizeof(Season))
    if season == NULL:
        return NULL
    if not (profile_open(&season.day, period, DAY_BINS) and profile_open(&season.week, 7 * period, WEEK_BINS)):
        season_close(season)
        return NULL
    net_clear(&season.level_net)
    net_clear(&season.day_net)
    net_clear(&season.week_net)
    return season


cdef inline Seasonal season_take(Season* season, double y, double second, int64_t block) noexcept nogil:
    """Judge a logarithm by its time, in seconds since Monday at midnight in local time, and learn it."""
    cdef Seasonal found
    cdef Look level, look
    cdef double left, middle, usual = 0.0
    found.novelty, found.usual, found.left, found.now, found.weekly = 0.0, 0.0, NAN, NAN, False
    level = net_take(&season.level_net, last_median(&season.levels, y), 0.0, block)
    if season.day.bins > 0:
        left = profile_take(&season.day, y, fmod(second, DAY), DAY, &usual)
        if left == left:
            middle = last_median(&season.day_left, left)
            look = net_take(&season.day_net, middle, 0.5 * level.range, block)
            found.novelty, found.usual, found.left, found.now = look.novelty, usual, middle, left
    if season.week.bins > 0:
        left = profile_take(&season.week, y, second, 7.0 * DAY, &usual)
        if left == left:
            middle = last_median(&season.week_left, left)
            look = net_take(&season.week_net, middle, 0.5 * level.range, block)
            if not fabs(found.now) <= fabs(left):
                found.now = left
            if look.novelty > found.novelty:
                found.novelty, found.usual, found.left, found.weekly = look.novelty, usual, middle, True
    return found
