"""The fields of Views, for the loop over many detectors."""

from libc.stdint cimport int64_t

from rcf._native.bits cimport rcf_reader, rcf_writer
from rcf.detector.feature cimport Feature, Scale

# the columns of a row of findings
cdef enum:
    NOVELTY, FLOOR, FEATURE, VIEW, USUAL, NEAR, RANGE, KIND, CAUSE, SEASON, RUN, LONGEST, LEVEL, N_COLUMNS

cdef enum Origin:
    ZERO, PREVIOUS, AVERAGE


cdef class Views:
    cdef Feature* features
    cdef Scale* changes        # scales of the differences, if the window shows differences
    cdef double* held          # (HEAD, 2 d + 1): the first records: filled, as they came, and second of the week
    cdef double* room          # the memory of the arrays below
    cdef double* row           # (N_COLUMNS,): findings of the last record
    cdef double* filled        # (d,): the last record
    cdef double* came          # the last record as it came, with NaN for missing values
    cdef double* z             # (d,): the last record for the trees that see the window
    cdef double* p             # (3 d,): the last record for the trees that see the newest record
    cdef double* left          # (2 d,): residuals of the last record from the season
    cdef double* base          # the last record is the sum of its base and its difference in the window
    cdef double* average       # the last record, or the moving average; NaN before the first value
    cdef double* numbers       # scaled numbers of the last record, for the next change
    cdef double* weights
    cdef double* centre_at     # centre and scale with which the last record was transformed for the window
    cdef double* scale_at
    cdef readonly int d
    cdef readonly int64_t n, day  # number of records; records in a day, 0 if unknown
    cdef int64_t block
    cdef Origin origin
    cdef bint scales, fresh    # `fresh`: the next change is unknown, because no record precedes
    cdef double most

    cdef Scale* window_scale(self, int j) noexcept nogil
    cdef double divisor(self, int j) noexcept nogil
    cdef bint begin(self, const double* came) noexcept nogil
    cdef void show(self, const double* filled, double* z, double* p) noexcept nogil
    cdef bint judge(self, const double* came, double second, double* row, double* left) noexcept nogil
    cdef void settle_changes(self, int j) noexcept nogil
    cdef void settle(self, int j) noexcept nogil
    cdef int take(self, double second) noexcept nogil
    cdef bint put(self, rcf_writer* w) noexcept nogil
    cdef const char* get(self, rcf_reader* r) noexcept nogil
