"""Write and read the records that the trees of a forest hold, as bits. Each record is stored once, in the order of arrival.

The format is lossless. It saves space in two cases: windows over a stream share most of their numbers with the previous record, and
whole numbers need few bits. packed.pxd describes the format.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from rcf._native.bits cimport *
from rcf._native.trees cimport Trees
from sampling._reservoir cimport Sample, arrival_of, item_of


cdef struct Place:
    int64_t arrival
    int64_t slot      # the slots of all trees are numbered in one sequence
    const float* point


cdef inline Place* by_arrival(Place* places, Place* spare, int64_t n, int64_t least, int64_t most) noexcept nogil:
    """Sort the places by arrival. Returns `places` or `spare`, whichever holds the result. Arrivals lie between `least` and `most`.

    A radix sort with digits of 8 bits, the lowest first. It takes 3 ns per place and digit; qsort() takes 60 ns per place.
    """
    cdef int64_t[257] begin
    cdef int64_t i, k
    cdef int shift = 0
    cdef Place* swap
    while shift < rcf_width(most - least):
        memset(begin, 0, sizeof(begin))
        for i in range(n):
            begin[((places[i].arrival - least) >> shift & 255) + 1] += 1
        for k in range(256):
            begin[k + 1] += begin[k]
        for i in range(n):
            k = (places[i].arrival - least) >> shift & 255
            spare[begin[k]] = places[i]
            begin[k] += 1
        swap = places
        places = spare
        spare = swap
        shift += 8
    return places


# How the values of a feature are stored. The sign takes one bit. The other 31 bits of a float are read as a number: `zeros`, the
# count of trailing zeros that all values have, is shifted out, and `least`, the smallest result, is subtracted. The rest takes
# `width` bits, about 12 for whole numbers.
cdef struct Column:
    int zeros, width
    uint32_t least


cdef inline uint32_t bits_of(float x) noexcept nogil:
    cdef uint32_t bits
    memcpy(&bits, &x, 4)
    return bits


cdef inline void see_columns(Column* column, const Place* places, int64_t n, int n_features) noexcept nogil:
    """Choose for each feature how its values are stored."""
    cdef int64_t i
    cdef int k
    cdef uint32_t bits, every, least, most
    for k in range(n_features):
        every, least, most = 0, 0x7fffffff, 0
        for i in range(n):
            bits = bits_of(places[i].point[k]) & 0x7fffffff
            every |= bits
            least, most = min(least, bits), max(most, bits)
        column[k].zeros = 0
        while every and column[k].zeros < 31 and not every >> column[k].zeros & 1:
            column[k].zeros += 1
        column[k].least = least >> column[k].zeros
        column[k].width = rcf_width((most >> column[k].zeros) - column[k].least) if n > 0 else 0


cdef inline void put_float(rcf_writer* w, const Column* column, float x) noexcept nogil:
    cdef uint32_t bits = bits_of(x)
    rcf_put(w, <uint64_t>(((bits & 0x7fffffff) >> column.zeros) - column.least) << 1 | bits >> 31, 1 + column.width)


cdef inline float get_float(rcf_reader* r, const Column* column) noexcept nogil:
    cdef uint64_t stored = rcf_get(r, 1 + column.width)
    cdef uint32_t bits = (((<uint32_t>(stored >> 1) + column.least) << column.zeros) & 0x7fffffff) | <uint32_t>(stored & 1) << 31
    cdef float x
    memcpy(&x, &bits, 4)
    return x


cdef inline float moved(float value, double of, double to) noexcept nogil:
    """Convert a value relative to the origin `of` into one relative to the origin `to`."""
    return <float>((<double>value + of) - to) + <float>0.0


cdef inline void put_row(rcf_writer* w, const Column* column, const float* x, const float* before, int64_t shift,
                         const double* origin, int n) noexcept nogil:
    """Write the features of a record. `before` is the row of an earlier record, and before[k + shift] and x[k] are the same number
    of the stream.

    A shared number can differ by rounding, because each feature has its own origin. So 2 bits say whether it is the float computed
    from the earlier row, the next larger float, the next smaller float, or another number, which then follows the 2 bits.
    """
    cdef int k
    cdef int64_t off
    for k in range(n):
        if k + shift < n:
            off = <int64_t>rcf_rank_of_float(x[k]) - <int64_t>rcf_rank_of_float(moved(before[k + shift], origin[k + shift], origin[k]))
            if -1 <= off <= 1:
                rcf_put(w, off & 3, 2)
                continue
            rcf_put(w, 2, 2)
        put_float(w, &column[k], x[k])


cdef inline bint get_row(rcf_reader* r, const Column* column, float* x, const float* before, int64_t shift, const double* origin, int n,
                         double most) noexcept nogil:
    """Read the features of a record. Returns False if a number is not finite or is beyond `most`."""
    cdef int k, off
    cdef uint32_t rank
    for k in range(n):
        off = 2
        if k + shift < n:
            off = <int>rcf_get(r, 2)
        if off == 2:
            x[k] = get_float(r, &column[k]) + <float>0.0
        else:
            rank = rcf_rank_of_float(moved(before[k + shift], origin[k + shift], origin[k])) + (off if off < 2 else -1)
            x[k] = rcf_float_of_rank(rank) + <float>0.0
        if not -most <= x[k] <= most:
            return False
    return True


cdef inline int64_t shift_of(int step, int64_t distance, int n) noexcept nogil:
    """Places by which a window of n numbers moves in `distance` records; n if the two windows share nothing."""
    return step * distance if step > 0 and distance < n else n


cdef inline int64_t put_records(rcf_writer* w, const Trees* f, int step, int32_t** record) noexcept nogil:
    """Write the table of records. Returns its number of rows, or -1 if there is no memory.

    record[slot] becomes the row of the record in this slot; the slots of all trees are numbered in one sequence. The caller must
    free `record`.
    """
    cdef int64_t n = 0, i = 0, k, rows = 0, least = 0x7fffffffffffffff, most = 0, before = 0
    cdef int32_t j
    cdef int b
    cdef const Sample* s
    cdef const float* point = NULL
    cdef Place* places
    cdef Place* found
    cdef Column* column
    for b in range(f.n_trees):
        n += f.sample[b].size
    record[0] = <int32_t*>malloc((n + 1) * sizeof(int32_t))
    places = <Place*>malloc((2 * n + 1) * sizeof(Place) + f.n_features * sizeof(Column))
    if record[0] == NULL or places == NULL or not rcf_make_room(w, 10 + 6 * <size_t>f.n_features):
        free(places)
        return -1
    column = <Column*>(places + 2 * n + 1)
    for b in range(f.n_trees):
        s = &f.sample[b]
        for j in range(s.size):
            places[i].arrival, places[i].slot = arrival_of(s, j), i
            places[i].point = f.tree[b].points + <size_t>item_of(s, j) * f.stride
            least, most = min(least, arrival_of(s, j)), max(most, arrival_of(s, j))
            i += 1
    found = by_arrival(places, places + n, n, least, most) if n > 0 else places
    for k in range(n):
        rows += k == 0 or found[k].arrival != found[k - 1].arrival
        record[0][found[k].slot] = <int32_t>(rows - 1)
    rcf_put_number(w, rows)
    see_columns(column, found, n, f.n_features)
    for b in range(f.n_features):
        rcf_put(w, column[b].zeros, 5)
        rcf_put(w, column[b].width, 5)
        rcf_put(w, column[b].least, 31)
    for k in range(n):
        if k > 0 and found[k].arrival == before:
            continue
        if not rcf_make_room(w, 16 + 5 * <size_t>f.n_features):
            free(places)
            return -1
        if found[k].arrival - before == 1:
            rcf_put(w, 1, 1)
        else:
            rcf_put(w, 0, 1)
            rcf_put_number(w, found[k].arrival - before)
        put_row(w, column, found[k].point, point, f.n_features if k == 0 else shift_of(step, found[k].arrival - before, f.n_features),
                f.origin, f.n_features)
        before, point = found[k].arrival, found[k].point
    free(places)
    return rows


cdef inline const char* all_read(const rcf_reader* r) noexcept nogil:
    """NULL, or an error text if more bits were read than there are."""
    if r.over:
        return b"the data end too early"
    return NULL


cdef inline const char* get_record_count(rcf_reader* r, int64_t n_features, int64_t* rows) noexcept nogil:
    """Read the number of records."""
    rows[0] = <int64_t>rcf_get_number(r)
    # each record takes at least one bit, and one more for each feature
    if not rows[0] < 0x7fffffff or rows[0] * (1.0 + n_features) > rcf_left(r):
        return b"the data end too early"
    return NULL


cdef inline const char* get_records(rcf_reader* r, const Trees* f, int step, int64_t rows, int64_t* arrival, float* point,
                                    Column* column, double most) noexcept nogil:
    """Read `rows` records into `arrival` and `point`; `column` is scratch space. Returns NULL, or a text that says what is wrong.

    The absolute values of the numbers may be at most `most`.
    """
    cdef int64_t k, distance = 0, before = 0
    cdef int n = f.n_features
    for k in range(n):
        column[k].zeros, column[k].width, column[k].least = <int>rcf_get(r, 5), <int>rcf_get(r, 5), <uint32_t>rcf_get(r, 31)
    for k in range(rows):
        distance = 1 if rcf_get(r, 1) else <int64_t>rcf_get_number(r)
        if not 1 <= distance <= f.seen - before:
            return b"the arrivals of the records do not ascend within the stream"
        before += distance
        arrival[k] = before
        if not get_row(r, column, point + k * n, point + (k - 1) * n if k > 0 else NULL, n if k == 0 else shift_of(step, distance, n),
                       f.origin, n, most):
            return b"a record is not finite"
    return all_read(r)
