"""A feature of a stream. It has a scale, a net for each of its four views, the longest run of equal values, and a season.

The first 64 records determine the scale. They are judged and learned only after that, in order.
"""

from libc.math cimport INFINITY, NAN, expm1, fabs, log1p, sqrt
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, qsort
from libc.string cimport memcpy

from rcf.detector.net cimport Look, Net, net_clear, net_take
from rcf.detector.season cimport Season, Seasonal, season_close, season_take

cdef enum:
    HEAD = 64          # number of records that determine the scale
    ENOUGH = 32        # how many of them must have a value; otherwise the scale of the feature is determined later
    RUN_BLOCK = 128    # the longest run of equal values is kept for each block of this many records
    RUN_BLOCKS = 39    # number of such blocks; together about 5000 records
    RUN_QUIET = 256    # no run is too long in the first records
    RUN_LEAST = 15     # a run is too long if it exceeds RUN_RATIO times the longest earlier run by RUN_LEAST or more
    RUN_RATIO = 3
    FIRST_CHECKS = 4   # a new scale is wrong if this many blocks of 64 records in a row contradict it
    CHECKS = 16        # the same for an older scale
    FOLLOW = 256       # the scale is compared with the running spread once in this many records
    SLOW = 2560        # length of the running spread in records

cdef extern from *:
    """
    #define RCF_CLIP (1e6)
    #define RCF_YOUNG (150.0)
    #define RCF_SLOW_MEAN (1.0 / 16.0)
    #define RCF_WRONG (100.0)
    #define RCF_APART (8.0)
    #define RCF_WILD_SPREAD (6.0)
    #define RCF_KEPT (1e3)
    """
    const double CLIP "RCF_CLIP"  # largest scaled number; with larger ones a float32 box could not distinguish ordinary values
    const double YOUNG "RCF_YOUNG"  # records: new extremes of the level are normal during the first day
    const double SLOW_MEAN "RCF_SLOW_MEAN"  # weight of a record in the recent mean of the fourth view
    const double APART "RCF_APART"  # with several features, a running spread of this many times the scale becomes the scale
    const double WILD_SPREAD "RCF_WILD_SPREAD"  # a value farther away than this many spreads counts as this far away
    const double KEPT "RCF_KEPT"  # largest distance of a level that is kept when the scale moves
    const double WRONG "RCF_WRONG"  # a spread of this many times the scale, or this fraction of it, contradicts the scale

cdef enum View:
    NO_VIEW, VALUE, LOGARITHM, CHANGE, MOVE


cdef struct Scale:
    double centre, size        # the size is 0 until a value differs from the first
    double mean, square        # running mean of all later values, and running mean square deviation from it


# Runs of equal values.
cdef struct Runs:
    int32_t[RUN_BLOCKS] longest
    int32_t run, most, block
    int64_t seen


cdef struct Feature:
    Scale value, log
    double unit                # where the logarithm becomes linear; 0 until a value other than 0 came
    double[HEAD] recent        # the first values, later the values of the current block of 64
    int32_t n_recent, checks, contradicted  # blocks checked; contradictions in a row, negative if the scale is too narrow
    double contradiction       # of the contradicting spreads, the one that is closest to the scale
    bint settled               # whether the scale is determined; no value is judged before that
    int64_t seen               # number of values
    double first, before       # the first value; the previous value, NaN if it is missing
    double mean, mass          # weighted mean of earlier logarithms, and its weight
    Net[4] nets                # value, logarithm, change, move
    Runs runs
    Season* season             # NULL without time stamps


# The findings for a value of a feature.
cdef struct Finding:
    double novelty
    View view                  # the view with the largest novelty
    double usual               # the nearest known number of that view, as a value of the feature
    double level               # the nearest known value
    double near, range         # the nearest known point of that view, and its usual range
    bint stuck, only_now       # whether the run of equal values is too long, and whether this is the first such record
    double run, longest        # number of equal values before this one, and the longest such run before
    double season              # novelty of the residual
    double season_usual, left, now
    bint weekly


cdef inline double clipped(double z, double most) noexcept nogil:
    return most if z > most else -most if z < -most else z


cdef inline void scale_begin(Scale* scale) noexcept nogil:
    """Start the running spread with the scale."""
    scale.mean, scale.square = scale.centre, scale.size * scale.size


cdef inline bint scale_follow(Scale* scale, double x, int64_t n) noexcept nogil:
    """Learn value n. Returns whether the scale has widened, because the running spread has become eight times as large.

    A feature whose scale stays too small would hide the other features. When the scale widens, the centre moves so that the scaled
    number of the record does not change; the level does not jump. On labelled streams of 19 and 38 features, this raises the AP of
    records from .29 to .41 and from .34 to .35. A value far from the mean counts as six spreads away, so that rare outliers do not
    widen the scale: with 30 instead of six, the event AP of the second stream falls by .02. It falls by .03 if scales may also
    become narrower.
    """
    cdef double rate = 1.0 / min(n, <int64_t>SLOW), spread = sqrt(scale.square), off, number
    if scale.size <= 0.0:
        return False
    off = clipped(x - scale.mean, WILD_SPREAD * spread)
    scale.mean += rate * off
    scale.square = (1.0 - rate) * (scale.square + rate * off * off)
    spread = sqrt(scale.square)
    if n % FOLLOW or spread <= 1e-12 * fabs(scale.mean) or spread <= APART * scale.size:
        return False
    number = clipped((x - scale.centre) / scale.size, KEPT)
    scale.centre, scale.size = x - number * spread, spread
    return True


cdef inline int ascending(const void* a, const void* b) noexcept nogil:
    cdef double x = (<const double*>a)[0], y = (<const double*>b)[0]
    return (x > y) - (x < y)


cdef inline double quantile(const double* order, int32_t n, double q) noexcept nogil:
    """A quantile of n sorted values, interpolated linearly as in numpy.percentile."""
    cdef double at = q * (n - 1), part
    cdef int32_t i = min(<int32_t>at, n - 2) if n > 1 else 0
    if n == 1:
        return order[0]
    part = at - i
    return order[i] + part * (order[i + 1] - order[i])


cdef inline Scale robust_scale(const double* values, int32_t n) noexcept nogil:
    """The median, and the smallest of the standard deviation and three robust deviations, so that no single outlier determines them."""
    cdef Scale scale
    cdef double[HEAD] order
    cdef double mean = 0.0, square = 0.0, robust
    cdef int32_t i
    memcpy(order, values, n * sizeof(double))
    qsort(order, n, sizeof(double), ascending)
    for i in range(n):
        mean += values[i] / n
    for i in range(n):
        square += (values[i] - mean) / n * (values[i] - mean)
    scale.centre, scale.size = quantile(order, n, 0.5), sqrt(square)
    robust = 3.0 * (quantile(order, n, 0.75) - quantile(order, n, 0.25)) / 1.349
    if robust > 0.0 and robust < scale.size:
        scale.size = robust
    if order[0] == order[n - 1]:
        scale.size = 0.0  # without this, the spread would be the rounding error of the mean
    scale_begin(&scale)
    return scale


cdef inline double usual_unit(const double* values, int32_t n) noexcept nogil:
    """A tenth of the usual size of a value; 0 if all values are 0."""
    cdef double[HEAD] order
    cdef double mean = 0.0, middle
    cdef int32_t i
    for i in range(n):
        order[i] = fabs(values[i])
        mean += order[i] / n
    qsort(order, n, sizeof(double), ascending)
    middle = quantile(order, n, 0.5)
    return min(0.1 * mean, 0.3 * middle) if middle > 0.0 else 0.1 * mean


cdef inline double signed_log(double x, double unit) noexcept nogil:
    cdef double y
    if unit <= 0.0:
        return 0.0
    y = log1p(fabs(x) / unit)
    return y if x >= 0.0 else -y


cdef inline double signed_exp(double y, double unit) noexcept nogil:
    cdef double x = unit * expm1(fabs(y))
    return x if y >= 0.0 else -x


cdef inline double scaled(double x, const Scale* scale, double weight, double most) noexcept nogil:
    """The scaled number; 0 if it is missing or the scale is not known yet."""
    if scale.size <= 0.0 or x != x:
        return 0.0
    return clipped((x - scale.centre) / (scale.size / weight), most)


cdef inline void feature_clear(Feature* f) noexcept nogil:
    cdef int32_t i
    f.value.centre = f.value.size = f.log.centre = f.log.size = f.unit = f.contradiction = 0.0
    f.n_recent = f.checks = f.contradicted = 0
    f.settled, f.seen, f.first, f.before, f.mean, f.mass = False, 0, NAN, NAN, 0.0, 0.0
    f.season = NULL
    for i in range(4):
        net_clear(&f.nets[i])
    for i in range(RUN_BLOCKS):
        f.runs.longest[i] = 0
    f.runs.run = f.runs.most = f.runs.block = 0
    f.runs.seen = 0


cdef inline void feature_settle(Feature* f) noexcept nogil:
    """Determine the scales of the value and of its logarithm from the recent values."""
    cdef double[HEAD] logs
    cdef int32_t i
    f.value = robust_scale(f.recent, f.n_recent)
    for i in range(f.n_recent):
        logs[i] = signed_log(f.recent[i], f.unit)
    f.log = robust_scale(logs, f.n_recent)


cdef inline void feature_start(Feature* f, double x) noexcept nogil:
    """Determine the scale of a constant feature from its first different value, before this value is judged.

    One different value among n lies about ``sqrt(n)`` deviations from the others, so the first change stands out whatever its size.
    """
    cdef double many = sqrt(<double>f.seen + 1.0)
    if x == f.first:
        return
    if f.unit <= 0.0:
        f.unit = fabs(x) if x != 0.0 else 1.0
    if f.value.size <= 0.0:
        f.value.size = fabs(x - f.first) / many
        scale_begin(&f.value)
    if f.log.size <= 0.0:
        f.log.size = fabs(signed_log(x, f.unit) - signed_log(f.first, f.unit)) / many
        scale_begin(&f.log)


cdef inline bint feature_check(Feature* f) noexcept nogil:
    """Check the scale. Returns whether it was wrong and was determined again from the last 64 values.

    A block contradicts the scale if its spread is a hundred times as large or a hundredth. Smaller differences do not matter to the
    forest, and a new scale makes its old records useless. The last 16 blocks of 64 records must all contradict the scale, so
    neither an outlier nor a quiet night moves it. Of a new scale, all blocks so far must contradict it, if there are at least four.
    The unit of the logarithm stays the same, because nets do not depend on units.
    """
    cdef Scale now = robust_scale(f.recent, f.n_recent)
    cdef double was = f.value.size
    if now.size <= 0.0 or was <= 0.0:
        return False
    f.checks = min(f.checks + 1, <int32_t>CHECKS)
    if now.size * WRONG < was:
        f.contradiction = max(f.contradiction, now.size) if f.contradicted > 0 else now.size
        f.contradicted = f.contradicted + 1 if f.contradicted > 0 else 1
    elif now.size > WRONG * was:
        f.contradiction = min(f.contradiction, now.size) if f.contradicted < 0 else now.size
        f.contradicted = f.contradicted - 1 if f.contradicted < 0 else -1
    else:
        f.contradicted = 0
    if max(f.contradicted, -f.contradicted) < max(f.checks, <int32_t>FIRST_CHECKS):
        return False
    feature_settle(f)
    f.value.size = f.contradiction
    scale_begin(&f.value)
    f.checks = f.contradicted = 0
    return True


cdef inline int64_t runs_take(Runs* runs, bint equal) noexcept nogil:
    """By how many records the run of equal values is too long. If it is not too long, the result is 0 or negative."""
    cdef int32_t i
    if runs.seen > 0 and runs.seen % RUN_BLOCK == 0:
        runs.block = <int32_t>((runs.seen // RUN_BLOCK) % RUN_BLOCKS)
        runs.longest[runs.block] = 0
        runs.most = 0
        for i in range(RUN_BLOCKS):
            runs.most = max(runs.most, runs.longest[i])
    if equal:
        runs.run += 1
    else:
        runs.longest[runs.block] = max(runs.longest[runs.block], runs.run)
        runs.most = max(runs.most, runs.run)
        runs.run = 0
    runs.seen += 1
    return runs.run - (RUN_RATIO * runs.most + RUN_LEAST) + 1 if runs.seen > RUN_QUIET else 0


cdef inline void feature_judge(Feature* f, double x, double second, int64_t block, Finding* found) noexcept nogil:
    """Judge a value at a second of the week (NaN if unknown), and learn it."""
    cdef double y, view, young, base
    cdef Look look
    cdef Seasonal seasonal
    cdef int64_t beyond
    cdef int32_t k
    found.novelty, found.view, found.stuck, found.season, found.left = 0.0, NO_VIEW, False, 0.0, NAN
    found.now = NAN
    found.usual = found.near = found.range = found.season_usual = 0.0
    found.level = x
    found.weekly = False
    y = signed_log(x, f.unit)
    young = f.seen / (f.seen + YOUNG)
    base = f.mean / f.mass if f.mass > 0.0 else y
    for k in range(4):
        if k == 2 and f.before != f.before:
            if f.seen > 0:
                continue  # the previous value is missing, so the change is unknown
            view = 0.0
        else:
            view = x if k == 0 else y if k == 1 else x - f.before if k == 2 else y - base
        look = net_take(&f.nets[k], view, 0.0, block)
        if k == 0:
            found.level = look.near
        if k < 2:
            look.novelty *= young
        if look.novelty > found.novelty:
            found.novelty, found.view, found.near, found.range = look.novelty, <View>(k + 1), look.near, look.range
            found.usual = (look.near if k == 0 else signed_exp(look.near, f.unit) if k == 1
                           else f.before + look.near if k == 2 else signed_exp(base + look.near, f.unit))
    f.mean, f.mass = f.mean * (1.0 - SLOW_MEAN) + y, f.mass * (1.0 - SLOW_MEAN) + 1.0
    beyond = runs_take(&f.runs, x == f.before)
    found.stuck, found.only_now = beyond > 0, beyond == 1
    found.run, found.longest = f.runs.run, f.runs.most
    if f.season != NULL and second == second:
        seasonal = season_take(f.season, y, second, block)
        found.season, found.left, found.now, found.weekly = seasonal.novelty, seasonal.left, seasonal.now, seasonal.weekly
        found.season_usual = signed_exp(seasonal.usual, f.unit)
    f.before = x
    f.seen += 1
