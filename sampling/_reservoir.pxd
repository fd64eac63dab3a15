"""A time-decayed, weighted reservoir (Efraimidis and Spirakis, 2006), with skip-ahead.

Record n (the first is 1) of weight w gets the key ln(E / w) - decay * n, where E is drawn from Exp(1). The `capacity` records with
the smallest keys stay. A record enters if its E is below its hazard, w * exp(threshold + decay * n). No number is drawn for a
record that does not enter. Instead, the hazards of consecutive records are intervals that follow each other on a line, and the
first event of a Poisson process of rate 1 on this line is drawn. This one draw from Exp(1), the budget, determines the record in
whose interval the event falls. The position of the event within the interval is the E of this record. For records of weight 1 the
sum of hazards has a closed form, so the next record that enters is known in advance.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from rcf._native.rng cimport Rng, below, between, exponential, uniform

cdef extern from "_native/portable_math.h" nogil:
    double RCF_INFINITY
    double rcf_log(double x)
    double rcf_log1p(double x)
    double rcf_exp(double x)
    double rcf_expm1(double x)


cdef enum:
    TOGETHER = 16  # number of heaps that are processed together


cdef struct Slot:
    double key
    uint64_t held     # the arrival (number of the record in the stream) and the owner's item; see `shift`


cdef struct Sample:
    Slot* slots       # a heap with the largest key first; the owner holds memory for `capacity` slots
    int32_t size
    int32_t capacity
    int32_t shift     # number of bits of `held` for the item, which is counted from -1; the other bits hold the arrival
    double decay
    double growth     # exp(decay) - 1
    double threshold  # a record enters if its key is below this; infinite until a record has been dropped
    int64_t next      # the number of the next record of weight 1 that enters
    int64_t settled   # the budget accounts for the records up to this one
    double budget     # the rest of the draw from Exp(1)
    double hazard     # the hazard of record `hazard_of` with weight 1, which is stored because it is needed twice
    int64_t hazard_of


cdef inline int32_t item_bits(int64_t capacity) noexcept nogil:
    """The number of bits that store an integer from -1 to `capacity`. With 256 records these are 9, so 55 remain for the arrival."""
    cdef int32_t bits = 1
    while (<int64_t>1 << bits) < capacity + 2:
        bits += 1
    return bits


cdef inline int64_t most_arrivals(int64_t capacity) noexcept nogil:
    """The exclusive upper bound of the arrival numbers."""
    return <int64_t>1 << min(64 - item_bits(capacity), 62)


cdef inline int64_t arrival_of(const Sample* s, int32_t i) noexcept nogil:
    return <int64_t>(s.slots[i].held >> s.shift)


cdef inline int32_t item_of(const Sample* s, int32_t i) noexcept nogil:
    return <int32_t>(s.slots[i].held & ((<uint64_t>1 << s.shift) - 1)) - 1


cdef inline uint64_t held_as(const Sample* s, int64_t arrival, int32_t item) noexcept nogil:
    return <uint64_t>arrival << s.shift | <uint64_t>(item + 1)


cdef inline void set_item(Sample* s, int32_t i, int32_t item) noexcept nogil:
    s.slots[i].held = held_as(s, arrival_of(s, i), item)


cdef inline void sample_clear(Sample* s) noexcept nogil:
    s.shift = item_bits(s.capacity)
    s.growth = rcf_expm1(s.decay)
    s.size = 0
    s.threshold = RCF_INFINITY
    s.next = 0
    s.settled = 0
    s.budget = 0.0
    s.hazard_of = 0


cdef inline void sample_copy(Sample* to, const Sample* of) noexcept nogil:
    """Copy a sample into another one, which has memory for enough slots."""
    cdef Slot* slots = to.slots
    to[0] = of[0]
    to.slots = slots
    memcpy(slots, of.slots, <size_t>of.size * sizeof(Slot))


cdef inline double sample_hazard(const Sample* s, int64_t n) noexcept nogil:
    """The hazard of record n with weight 1."""
    return rcf_exp(s.threshold + s.decay * <double>n)


cdef inline double first_hazard(Sample* s) noexcept nogil:
    """The hazard of the first record that the budget does not account for."""
    if s.hazard_of != s.settled + 1:
        s.hazard = sample_hazard(s, s.settled + 1)
        s.hazard_of = s.settled + 1
    return s.hazard


cdef inline void sample_foresee(Sample* s) noexcept nogil:
    """Compute `next` from the budget."""
    cdef double first, gap
    if s.threshold == RCF_INFINITY:
        s.next = s.settled + 1
        return
    first = first_hazard(s)
    if s.decay > 0.0:
        gap = rcf_log1p(s.budget * s.growth / first) / s.decay if first > 0.0 else RCF_INFINITY
    else:
        gap = s.budget / first if first > 0.0 else RCF_INFINITY
    if not gap < 4e18:
        s.next = 0x7fffffffffffffff
        return
    s.next = <int64_t>gap
    if <double>s.next < gap or s.next < 1:
        s.next += 1
    s.next += s.settled


cdef inline void sample_settle(Sample* s, int64_t n) noexcept nogil:
    """Subtract from the budget the hazards of the records of weight 1 up to record n. None of these records entered."""
    cdef double passed
    if n <= s.settled:
        return
    if s.threshold != RCF_INFINITY:
        passed = first_hazard(s)
        if s.decay > 0.0:
            passed *= rcf_expm1(s.decay * <double>(n - s.settled)) / s.growth
        else:
            passed *= <double>(n - s.settled)
        s.budget = s.budget - passed if passed < s.budget else 0.0
    s.settled = n


cdef inline bint sample_admits(Sample* s, int64_t n, double weight) noexcept nogil:
    """Whether record n enters. With weights, this is called once for each record, in order."""
    cdef double hazard
    if s.threshold == RCF_INFINITY:
        return True
    sample_settle(s, n - 1)
    hazard = weight * sample_hazard(s, n)
    if s.budget <= hazard:
        return True
    s.budget -= hazard
    s.settled = n
    sample_foresee(s)
    return False


cdef inline void heap_up(Slot* slots, int32_t i, Slot slot) noexcept nogil:
    cdef int32_t parent
    while i > 0:
        parent = (i - 1) >> 1
        if slots[parent].key >= slot.key:
            break
        slots[i] = slots[parent]
        i = parent
    slots[i] = slot


cdef inline void heap_down(Slot* slots, int32_t size, int32_t i, Slot slot) noexcept nogil:
    cdef int32_t child
    while True:
        child = 2 * i + 1
        if child + 1 < size:
            child += <int32_t>(slots[child + 1].key > slots[child].key)  # no branch, because it would be mispredicted half the time
        elif child >= size:
            break
        if slots[child].key <= slot.key:
            break
        slots[i] = slots[child]
        i = child
    slots[i] = slot


cdef inline void prefetch_heaps(Sample** samples, int k) noexcept nogil:
    """Prefetch the slots that heap_down() from the root will visit. They are known, because it always goes on to the larger child.

    TOGETHER samples are processed level by level, so that their waits for memory overlap.
    """
    cdef int32_t at[TOGETHER]
    cdef int32_t child
    cdef int begin = 0, n, g, open = 1
    cdef const Slot* slots
    while begin < k:
        n = min(k - begin, TOGETHER)
        for g in range(n):
            at[g] = 0
        open = 1
        while open:
            open = 0
            for g in range(n):
                slots = samples[begin + g].slots
                child = 2 * at[g] + 1
                if child + 1 < samples[begin + g].size:
                    at[g] = child + <int32_t>(slots[child + 1].key > slots[child].key)
                    open = 1
        begin += n


cdef inline void sample_next(Sample* s, int64_t n, Rng* rng) noexcept nogil:
    """Draw the distance to the next record that enters, after record n has entered or a slot was removed."""
    if s.size == s.capacity:
        s.threshold = s.slots[0].key
    s.settled = n
    s.hazard_of = 0
    s.budget = exponential(rng) if s.threshold != RCF_INFINITY else 0.0
    sample_foresee(s)


cdef inline double sample_key(Sample* s, int64_t n, double weight, Rng* rng) noexcept nogil:
    """The key of record n, given that it enters."""
    cdef double e, key
    if s.threshold == RCF_INFINITY:
        e = exponential(rng)
    else:
        sample_settle(s, n - 1)
        e = s.budget if s.budget > 1e-320 else 1e-320
    key = rcf_log(e / weight) - s.decay * <double>n
    return key if key < s.threshold else s.threshold  # a larger value can only be due to rounding


cdef inline int32_t sample_enter(Sample* s, int64_t n, double weight, int32_t item, Rng* rng) noexcept nogil:
    """Add record n. Returns the item that it replaced, or -1."""
    cdef Slot slot
    cdef int32_t evicted = -1
    slot.key = sample_key(s, n, weight, rng)
    slot.held = held_as(s, n, item)
    if s.size < s.capacity:
        s.size += 1
        heap_up(s.slots, s.size - 1, slot)
    else:
        evicted = item_of(s, 0)
        heap_down(s.slots, s.size, 0, slot)
    sample_next(s, n, rng)
    return evicted


cdef inline void sample_remove(Sample* s, int32_t i) noexcept nogil:
    """Remove slot i. The threshold does not change, because dropped records do not return."""
    cdef Slot last
    s.size -= 1
    if i == s.size:
        return
    last = s.slots[s.size]
    if i > 0 and s.slots[(i - 1) >> 1].key < last.key:
        heap_up(s.slots, i, last)
    else:
        heap_down(s.slots, s.size, i, last)


# ---- a whole table at once ---------------------------------------------------------------------------------------
# The slots get the row numbers (from 1), and keys as if every row had arrived as record `now`. The owner sets `item`.

cdef inline bint sample_uniform(Sample* s, int64_t n, int64_t offset, int64_t now, Rng* rng,
                                void (*logs)(double* x, int32_t n) noexcept nogil) noexcept nogil:
    """Draw a uniform sample of the rows offset + 1 .. offset + n, at a cost that does not depend on n. False if there is
    no memory.

    The k smallest of n draws from Exp(1) are sums of Exp(1) / n, Exp(1) / (n - 1), ... They are drawn in order and assigned to distinct
    rows in random order. `logs` replaces n numbers by their logarithms; it computes several at once.
    """
    cdef int32_t size = <int32_t>(n if n < s.capacity else s.capacity), k
    cdef int64_t room, at, row, i
    cdef int64_t* table
    cdef double* draws
    cdef double e = 0.0
    s.size = size
    if n < 2 * <int64_t>size:
        # the first positions of a shuffle
        table = <int64_t*>malloc(n * sizeof(int64_t))
        if table == NULL:
            return False
        for i in range(n):
            table[i] = i
        for k in range(size):
            i = k + <int64_t>below(rng, n - k)
            row = table[i]
            table[i] = table[k]
            s.slots[size - 1 - k].held = held_as(s, offset + row + 1, -1)
    else:
        # repeat a draw if the row was drawn before; the hash table of drawn rows is at most a quarter full
        room = 8
        while room < 4 * <int64_t>size:
            room *= 2
        table = <int64_t*>calloc(room, sizeof(int64_t))
        if table == NULL:
            return False
        k = 0
        while k < size:
            row = 1 + <int64_t>below(rng, n)
            at = <int64_t>((<uint64_t>row * <uint64_t>0x9E3779B97F4A7C15) >> 20) & (room - 1)
            while table[at] != 0 and table[at] != row:
                at = (at + 1) & (room - 1)
            if table[at] == row:
                continue
            table[at] = row
            s.slots[size - 1 - k].held = held_as(s, offset + row, -1)
            k += 1
    draws = <double*>table  # the table is no longer needed, and is long enough
    for k in range(size):
        draws[k] = between(rng)
    logs(draws, size)
    for k in range(size):
        e += -draws[k] / <double>(n - k)
        draws[k] = e
    logs(draws, size)
    for k in range(size):
        s.slots[size - 1 - k].key = draws[k] - s.decay * <double>now  # descending keys form a heap
    free(table)
    sample_next(s, now, rng)
    return True


cdef inline void sample_stream(Sample* s, int64_t n, Rng* rng) noexcept nogil:
    """Process the records 1 .. n as a stream. Only the last ones are processed, because older records cannot stay.

    A record that is more than L records older than the last one has less than e^(-decay L) of its weight. L is chosen so that all such
    records together have less than 2^-60 of that weight, which is below the resolution of a double.
    """
    cdef double behind = s.capacity + (42.0 + rcf_log(<double>n)) / s.decay
    cdef int64_t record = 1
    if behind < <double>n:
        record = n - <int64_t>behind
    s.settled = record - 1
    sample_foresee(s)
    while s.next <= n:
        sample_enter(s, s.next, 1.0, -1, rng)


cdef inline void sample_weighted(Sample* s, const double* weights, const double* cumulative, int64_t n, double decay,
                                 Rng* rng) noexcept nogil:
    """Draw a weighted sample of the rows 1 .. n. `cumulative` holds the running sums of the weights.

    With `decay` 0, all rows count as having arrived at the same time, and the next row that enters is found by bisection in the
    running sums.
    """
    cdef int64_t row = 1, low, high, middle, i
    cdef double unit, start, keep = s.decay
    if decay > 0.0:
        for row in range(1, n + 1):
            if sample_admits(s, row, weights[row - 1]):
                sample_enter(s, row, weights[row - 1], -1, rng)
        return
    s.decay = 0.0
    while row <= n:
        if s.threshold != RCF_INFINITY:
            unit = rcf_exp(s.threshold)
            start = cumulative[row - 2]
            low = row - 1
            high = n
            while low < high:
                middle = (low + high) >> 1
                if (cumulative[middle] - start) * unit < s.budget:
                    low = middle + 1
                else:
                    high = middle
            row = low + 1
            if row > n:
                break
            s.budget -= (cumulative[row - 2] - start) * unit
            s.settled = row - 1
        sample_enter(s, row, weights[row - 1], -1, rng)
        row += 1
    s.decay = keep
    for i in range(s.size):
        s.slots[i].key -= keep * <double>n
    sample_next(s, n, rng)
