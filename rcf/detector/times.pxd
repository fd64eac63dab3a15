"""The fields of Times, for the loop over many detectors."""


cdef class Times:
    cdef double at             # the last time stamp; NaN before the first
    cdef double step           # seconds between records; NaN while unknown
    cdef double max_step       # the longest step that is accepted; NaN for the default
    cdef double last_refused   # the last refused time; NaN for none
    cdef public int refusals   # number of consistent refusals in a row
    cdef bint strict           # whether each time must be later than the previous one
    cdef public double offset  # seconds by which the local time is ahead of the last time stamp
    cdef public bint fresh     # whether the next time starts a new clock

    cdef double longest(self) noexcept nogil
    cdef bint may_follow(self, double before, double time, bint local) noexcept nogil
    cdef void forget_refused(self) noexcept nogil
    cdef bint is_one(self, double step) noexcept nogil
    cdef bint goes_on_at(self, double time, bint local) noexcept nogil
    cdef double day_length(self) noexcept nogil
    cdef double week_second(self) noexcept nogil
