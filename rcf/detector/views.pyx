"""Transform records for the trees and the nets, and measure the novelty of each feature.

The trees that see the window get one number per feature, from the transformation that the user chose. The trees that see the newest
record get three numbers: the value and its logarithm, each on a robust scale, and the change of the value. The nets get these and the
difference from a recent mean. They measure the distance from all known numbers (net.pxd). feature.pxd finds runs of equal values
that are too long, and season.pxd finds values that are unusual for the time of the day or week.
"""

import numpy as np

from libc.math cimport NAN, fabs, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from rcf._native.bits cimport (
    rcf_get, rcf_get_double, rcf_get_number, rcf_left, rcf_make_room, rcf_put, rcf_put_double, rcf_put_number, rcf_reader, rcf_writer,
    rcf_written,
)

from rcf.detector.feature cimport (
    CLIP, ENOUGH, HEAD, NO_VIEW, Feature, Finding, Scale, clipped, feature_check, feature_clear, feature_judge,
    feature_settle, feature_start, robust_scale, scale_follow, scaled, signed_exp, signed_log, usual_unit,
)
from rcf.detector.packed cimport finite, get_feature, get_scale, get_season, known, put_feature, put_scale, put_season
from rcf.detector.season cimport season_close, season_open

LIMIT = 1.7e38  # the same as in the forest
HELD_BACK = HEAD
# (difference to what, scaled)
KINDS = {
    "none": ("zero", False),
    "normalize": ("zero", True),
    "difference": ("previous", False),
    "normalize_difference": ("previous", True),
    "subtract_moving_average": ("average", False),
}
# the columns of a row of findings
COLUMNS = ("novelty", "floor", "feature", "view", "usual", "near", "range", "kind", "cause", "season", "run", "longest", "level")

cdef enum Kind:
    NO_KIND, STUCK, DAY, WEEK

# These kinds of evidence supplement that of the forest, for records that look usual to it. With these weights, a stuck sensor and a
# midday value at night are found without a single additional alarm on any labelled corpus.
cdef double STUCK_EVIDENCE = 0.5
cdef double SEASON_EVIDENCE = 0.8


cdef copied(const double* numbers, int n):
    """An array of n numbers."""
    cdef double[::1] out = np.empty(n)
    memcpy(&out[0], numbers, n * sizeof(double))
    return out.base


cdef class Views:
    """The features of a stream.

    Parameters
    ----------
    kind : str
        A key of `KINDS`: the transformation for the trees that see the window.
    weights : list of float
        The weight of each feature.
    block : int
        Number of records in a block of the nets.
    """

    def __cinit__(self, str kind, list weights, int64_t block):
        cdef int j, d = len(weights)
        cdef double* at
        self.d, self.block = d, block
        self.origin = {"zero": ZERO, "previous": PREVIOUS, "average": AVERAGE}[KINDS[kind][0]]
        self.scales = KINDS[kind][1]
        self.most = CLIP if self.scales else LIMIT
        self.features = <Feature*>calloc(d, sizeof(Feature))
        self.changes = <Scale*>calloc(d, sizeof(Scale))
        self.held = <double*>calloc(HEAD * (2 * d + 1), sizeof(double))
        self.room = at = <double*>calloc(14 * <size_t>d + N_COLUMNS, sizeof(double))
        if self.features == NULL or self.changes == NULL or self.held == NULL or self.room == NULL:
            raise MemoryError
        # the numbers of a record are next to each other, because those of thousands of detectors are in no cache
        self.row = at
        self.filled, self.came, self.z, self.p = at + N_COLUMNS, at + N_COLUMNS + d, at + N_COLUMNS + 2 * d, at + N_COLUMNS + 3 * d
        at += N_COLUMNS + 6 * d
        self.left, self.base, self.average, self.numbers = at, at + 2 * d, at + 3 * d, at + 4 * d
        self.weights, self.centre_at, self.scale_at = at + 5 * d, at + 6 * d, at + 7 * d
        for j in range(d):
            feature_clear(&self.features[j])
            self.weights[j], self.average[j] = weights[j], NAN
            self.left[j] = self.left[d + j] = NAN
            if not self.scales:
                self.changes[j].size = 1.0
        self.n = self.day = 0
        self.fresh = True

    def __dealloc__(self):
        cdef int j
        for j in range(self.d if self.features != NULL else 0):
            season_close(self.features[j].season)
        free(self.features)
        free(self.changes)
        free(self.room)
        free(self.held)

    @property
    def settled(self):
        return self.n >= HEAD

    @property
    def novelty(self):
        """The largest novelty of the last record."""
        return self.row[NOVELTY]

    @property
    def floor(self):
        """The lowest evidence of the last record."""
        return self.row[FLOOR]

    @property
    def findings(self):
        """The row of findings of the last record, in the form that `finding` reads."""
        return [self.row[k] for k in range(N_COLUMNS)]

    @property
    def residuals(self):
        """The residuals of the last record from the season: the median of the last ones of each feature, then the newest ones."""
        return [self.left[j] for j in range(2 * self.d)]

    @property
    def for_window(self):
        """The last record for the trees that see the window, shape (d,)."""
        return copied(self.z, self.d)

    @property
    def for_point(self):
        """The last record for the trees that see the newest record, shape (3 d,)."""
        return copied(self.p, 3 * self.d)

    @property
    def centre(self):
        """The number that is subtracted from each feature, besides the base, for the trees that see the window."""
        return [self.window_scale(j).centre for j in range(self.d)]

    @property
    def scale(self):
        """The number by which each feature is divided for the trees that see the window."""
        return [self.divisor(j) for j in range(self.d)]

    @property
    def units(self):
        """The value at which the logarithm of each feature becomes linear."""
        return [self.features[j].unit for j in range(self.d)]

    def open_seasons(self, int64_t day):
        """Start the daily and the weekly season, with that many records in a day."""
        cdef int j
        for j in range(self.d):
            if self.features[j].season == NULL:
                self.features[j].season = season_open(day)
                if self.features[j].season == NULL:
                    raise MemoryError
        self.day = day

    def restart(self):
        """Start again after missing records: the next change is unknown."""
        cdef int j
        self.fresh = True
        for j in range(self.d):
            self.features[j].before = NAN
            self.features[j].mean = self.features[j].mass = 0.0

    # ---- records -----------------------------------------------------------------------------------------------

    cdef Scale* window_scale(self, int j) noexcept nogil:
        """The scale of a feature for the trees that see the window."""
        return &self.changes[j] if not self.scales or self.origin != ZERO else &self.features[j].value

    cdef double divisor(self, int j) noexcept nogil:
        cdef double size = self.window_scale(j).size
        return (size if size > 0.0 else 1.0) / self.weights[j]

    cdef bint begin(self, const double* came) noexcept nogil:
        """Give a constant feature a scale if its value now differs, and update the spreads. Returns whether a scale has changed."""
        cdef int j
        cdef Feature* f
        cdef bint changed = False
        for j in range(self.d):
            f = &self.features[j]
            if f.settled and came[j] == came[j] and (f.value.size <= 0.0 or f.log.size <= 0.0) and came[j] != f.first:
                feature_start(f, came[j])
                changed = True
            if self.scales and self.origin != ZERO and f.settled and self.changes[j].size <= 0.0 and f.value.size > 0.0:
                self.changes[j].size = f.value.size
                changed = True
            if self.d > 1 and f.settled and came[j] == came[j]:
                # a single feature needs no other scale, because the scale does not matter to a forest of one feature
                changed |= scale_follow(&f.value, came[j], f.seen + 1)
                changed |= scale_follow(&f.log, signed_log(came[j], f.unit), f.seen + 1)
                if self.origin != ZERO and self.scales and self.average[j] == self.average[j]:
                    changed |= scale_follow(&self.changes[j], came[j] - self.average[j], f.seen + 1)
        return changed

    cdef void show(self, const double* filled, double* z, double* p) noexcept nogil:
        """Write the d numbers for the trees that see the window to z, and the 3 d numbers for the other trees to p."""
        cdef int j, d = self.d
        cdef double x, number, change
        cdef Feature* f
        cdef Scale plain
        plain.centre, plain.size = 0.0, 1.0
        for j in range(d):
            self.centre_at[j], self.scale_at[j] = self.window_scale(j).centre, self.divisor(j)
            f, x = &self.features[j], filled[j]
            number = scaled(x, &f.value if self.scales else &plain, self.weights[j], self.most)
            p[j] = number
            p[d + j] = scaled(signed_log(x, f.unit), &f.log, self.weights[j], self.most)
            p[2 * d + j] = 0.0 if self.fresh else clipped(number - self.numbers[j], self.most)
            self.numbers[j] = number
            if self.origin == ZERO:
                z[j] = number
                continue
            self.base[j] = x if self.average[j] != self.average[j] else self.average[j]
            if self.origin == PREVIOUS:
                self.average[j] = x
            else:
                self.average[j] = self.base[j] + max(1.0 / self.n, 1.0 / HEAD) * (x - self.base[j])
            change = x - self.base[j]
            z[j] = scaled(change, &self.changes[j], self.weights[j], self.most)
        self.fresh = False

    cdef bint judge(self, const double* came, double second, double* row, double* left) noexcept nogil:
        """Learn the record, and write its findings as a row. Returns whether a scale was determined again."""
        cdef int j, k
        cdef double total = 0.0, best = 0.0, most = -1.0, x, size, floor
        cdef Feature* f
        cdef Finding found
        cdef bint changed = False
        for k in range(N_COLUMNS):
            row[k] = 0.0
        row[FEATURE] = row[CAUSE] = -1.0
        for j in range(self.d):
            f, x = &self.features[j], came[j]
            left[j] = left[self.d + j] = NAN
            if x != x:
                f.before = NAN
                continue
            if not f.settled:
                # the feature has had no value so far
                f.recent[f.n_recent] = x
                f.n_recent += 1
                if f.n_recent == ENOUGH:
                    self.settle(j)
                    changed = True
                continue
            feature_judge(f, x, second, self.block, &found)
            left[j], left[self.d + j] = found.left, found.now
            total += found.novelty
            if found.novelty > best:
                best = found.novelty
                row[FEATURE], row[VIEW], row[USUAL], row[NEAR], row[RANGE] = j, <int>found.view, found.usual, found.near, found.range
                row[LEVEL] = found.level
            elif best == 0.0:
                # if nothing is new, name the most extreme feature
                size = fabs(self.numbers[j])
                if size > most:
                    most = size
                    row[FEATURE], row[VIEW] = j, <int>NO_VIEW
                    row[USUAL] = row[LEVEL] = signed_exp(f.mean / f.mass, f.unit)
            # with several features, only the first record of a long run counts, because evidence at each of its records would hide
            # the other features (with 19 features event AP would fall from .67 to .48)
            floor = STUCK_EVIDENCE if found.stuck and (self.d == 1 or found.only_now) else 0.0
            if floor > row[FLOOR]:
                row[FLOOR], row[KIND], row[CAUSE] = floor, <int>STUCK, j
                row[RUN], row[LONGEST] = found.run, found.longest
            floor = SEASON_EVIDENCE * found.season
            if floor > row[FLOOR]:
                row[FLOOR], row[KIND], row[CAUSE] = floor, <int>WEEK if found.weekly else <int>DAY, j
                row[SEASON] = found.season_usual
            f.recent[f.n_recent] = x
            f.n_recent += 1
            if f.n_recent == HEAD:
                if self.scales and feature_check(f):
                    self.settle_changes(j)
                    changed = True
                f.n_recent = 0
        row[NOVELTY] = total / sqrt(<double>self.d)
        return changed

    cdef void settle_changes(self, int j) noexcept nogil:
        """Determine the scale of the window's differences from the recent values."""
        cdef Feature* f = &self.features[j]
        cdef double[HEAD] steps
        cdef int32_t i
        if not self.scales or self.origin == ZERO or f.n_recent < 2:
            return
        for i in range(1, f.n_recent):
            steps[i - 1] = f.recent[i] - f.recent[i - 1]
        self.changes[j] = robust_scale(steps, f.n_recent - 1)

    cdef void settle(self, int j) noexcept nogil:
        """Determine the scale of a feature from its first values, and learn these."""
        cdef Feature* f = &self.features[j]
        cdef Finding found
        cdef double[HEAD] first
        cdef int32_t i, n = f.n_recent
        memcpy(first, f.recent, n * sizeof(double))
        f.unit = usual_unit(f.recent, n)
        feature_settle(f)
        f.settled, f.first = True, first[0]
        self.settle_changes(j)
        f.n_recent = 0
        for i in range(n):
            feature_judge(f, first[i], NAN, self.block, &found)

    def push(self, list filled, list came, double second):
        """Add a record. Returns how many records are now ready for the trees: 0, all that were held back, or 1.

        Parameters
        ----------
        filled, came : list of float
            The record with missing values filled if possible, and the record as it came, with NaN for missing values.
        second : float
            Second of the week, NaN if unknown.

        If the result is 1, `for_window`, `for_point`, `findings` and `residuals` are those of the record. Records that were held back are
        returned by `release`.
        """
        cdef int j
        for j in range(self.d):
            self.filled[j], self.came[j] = filled[j], came[j]
        return self.take(second)

    cdef int take(self, double second) noexcept nogil:
        """The same as `push`, for the record in `filled` and `came`."""
        cdef int j, d = self.d
        cdef double* at
        self.n += 1
        if self.n <= HEAD:
            at = self.held + (self.n - 1) * (2 * d + 1)
            memcpy(at, self.filled, d * sizeof(double))
            memcpy(at + d, self.came, d * sizeof(double))
            at[2 * d] = second
            for j in range(d):
                self.centre_at[j], self.scale_at[j] = self.window_scale(j).centre, self.divisor(j)
            return HEAD if self.n == HEAD else 0
        self.begin(self.came)
        self.show(self.filled, self.z, self.p)
        self.judge(self.came, second, self.row, self.left)
        return 1

    def release(self):
        """The records held back: (64, d) numbers for the trees that see the window, (64, 3 d) for the other trees."""
        cdef int j, r, d = self.d, width = 2 * self.d + 1
        cdef double[:, ::1] Z, P
        cdef double* at
        cdef Feature* f
        z, p = np.empty((HEAD, d)), np.empty((HEAD, 3 * d))
        Z, P = z, p
        for j in range(d):
            f = &self.features[j]
            for r in range(HEAD):
                at = self.held + r * width
                if at[d + j] == at[d + j]:
                    f.recent[f.n_recent] = at[d + j]
                    f.n_recent += 1
            if f.n_recent < ENOUGH:
                continue  # too few values so far; the scale is determined later
            f.unit = usual_unit(f.recent, f.n_recent)
            feature_settle(f)
            f.settled, f.first = True, f.recent[0]
            self.settle_changes(j)
            f.n_recent = 0
        self.n = 0
        for r in range(HEAD):
            at = self.held + r * width
            self.n += 1
            self.show(at, &Z[r, 0], &P[r, 0])
            for j in range(d):
                if not self.features[j].settled:
                    at[d + j] = NAN  # it is already among the recent values
            self.judge(at + d, at[2 * d], self.row, self.left)
        for j in range(d):
            f = &self.features[j]
            if f.settled:  # these values determined the scale, so they must not be used to check it
                f.n_recent = f.checks = f.contradicted = 0
        free(self.held)
        self.held = NULL
        return z, p

    def push_many(self, const double[:, ::1] X, const double[::1] seconds):
        """Apply `push` to complete records in order, after all scales are determined.

        Returns six things: the numbers for the two kinds of trees, (n, d) and (n, 3 d); the rows of findings; the residuals of the
        season, or None; the bases, or None if they are 0; and ``[(i, centre, scale)]``, the scales that are valid from record i on.
        """
        cdef Py_ssize_t i, n = X.shape[0]
        cdef int d = self.d
        cdef double[:, ::1] Z, P, rows, lefts, bases
        cdef bint seasonal = self.day > 0, based = self.origin != ZERO
        z, p, found = np.empty((n, d)), np.empty((n, 3 * d)), np.empty((n, N_COLUMNS))
        left = np.empty((n, 2 * d)) if seasonal else None
        base = np.empty((n, d)) if based else None
        Z, P, rows = z, p, found
        if seasonal:
            lefts = left
        if based:
            bases = base
        scales = [(0, self.centre, self.scale)]
        for i in range(n):
            self.n += 1
            if self.begin(&X[i, 0]):
                scales.append((i, self.centre, self.scale))
            self.show(&X[i, 0], &Z[i, 0], &P[i, 0])
            if based:
                memcpy(&bases[i, 0], self.base, d * sizeof(double))
            if self.judge(&X[i, 0], NAN if seconds is None else seconds[i], &rows[i, 0],
                          &lefts[i, 0] if seasonal else self.left):
                scales.append((i + 1, self.centre, self.scale))
        return z, p, found, left, base, scales

    # ---- conversion back ---------------------------------------------------------------------------------------

    def next_base(self):
        """The base of the next record: the record is the sum of its base and its difference in the window."""
        if self.origin == ZERO:
            return [0.0] * self.d
        return [0.0 if self.average[j] != self.average[j] else self.average[j] for j in range(self.d)]

    def base_after(self, base, values):
        """The bases after the next records, if these are `values` (n, d) and have the bases `base` (n, d)."""
        if self.origin == ZERO:
            return base
        return values if self.origin == PREVIOUS else base + (values - base) / HEAD

    def peek(self, list x):
        """The numbers that the window would get for x as the next record. Nothing is learned."""
        base = self.next_base()
        return [
            0.0 if x[j] != x[j] else clipped((x[j] - base[j] - self.window_scale(j).centre) / self.divisor(j), self.most)
            for j in range(self.d)
        ]

    # ---- state -------------------------------------------------------------------------------------------------

    def state(self):
        """Everything that future results depend on, as bytes."""
        cdef rcf_writer bits
        memset(&bits, 0, sizeof(bits))
        try:
            if not self.put(&bits):
                raise MemoryError
            return (<char*>bits.data)[:rcf_written(&bits)]
        finally:
            free(bits.data)

    cdef bint put(self, rcf_writer* w) noexcept nogil:
        cdef int j, d = self.d
        cdef int64_t k, many = (2 * d + 1) * self.n if self.held != NULL else 0
        if not rcf_make_room(w, 40 + 8 * many):
            return False
        rcf_put_number(w, self.n)
        rcf_put_number(w, self.day)
        rcf_put(w, self.fresh, 1)
        for k in range(many):
            rcf_put_double(w, self.held[k])
        for j in range(d):
            if not (put_feature(w, &self.features[j]) and rcf_make_room(w, 60)):
                return False
            put_scale(w, &self.changes[j])
            rcf_put_double(w, self.base[j])
            rcf_put_double(w, self.average[j])
            rcf_put_double(w, self.numbers[j])
            if self.day > 0 and not put_season(w, self.features[j].season):
                return False
        return True

    def restore(self, const uint8_t[::1] state not None):
        """Restore a state. Raises ValueError if it is not valid."""
        cdef rcf_reader bits
        cdef const char* wrong
        cdef int64_t day
        memset(&bits, 0, sizeof(bits))
        bits.size = 8 * <uint64_t>state.shape[0]
        if bits.size > 0:
            bits.data = &state[0]
        self.n, day = rcf_get_number(&bits), rcf_get_number(&bits)
        if self.n > <int64_t>1 << 62 or day > <int64_t>1 << 40:
            raise ValueError("the count of records, or of those in a day, is impossible")
        if day:
            self.open_seasons(day)
        wrong = self.get(&bits)
        if wrong != NULL:
            raise ValueError(wrong.decode())
        if bits.over or rcf_left(&bits) >= 8:
            raise ValueError(f"not the views of {self.d} features")
        if self.n >= HEAD:
            free(self.held)
            self.held = NULL

    cdef const char* get(self, rcf_reader* r) noexcept nogil:
        cdef int j, d = self.d
        cdef int64_t k
        cdef const char* wrong
        self.fresh = rcf_get(r, 1)
        for k in range((2 * d + 1) * self.n if self.n < HEAD else 0):
            self.held[k] = rcf_get_double(r)
            if not known(self.held[k]):
                return b"a record that is held back is not finite"
        for j in range(d):
            wrong = get_feature(r, &self.features[j], self.n, self.block)
            if wrong == NULL:
                wrong = get_scale(r, &self.changes[j])
            if wrong != NULL:
                return wrong
            self.base[j], self.average[j], self.numbers[j] = rcf_get_double(r), rcf_get_double(r), rcf_get_double(r)
            if not (finite(self.base[j]) and known(self.average[j]) and finite(self.numbers[j])):
                return b"a number of a feature is not finite"
            if self.day > 0:
                wrong = get_season(r, self.features[j].season, self.n, self.block)
                if wrong != NULL:
                    return wrong
        return NULL
