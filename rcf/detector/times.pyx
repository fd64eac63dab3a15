"""Keep the last time stamp of a stream and the step between records. This is the part of a Clock that every record needs."""

from libc.math cimport INFINITY, NAN, fmod, rint

cdef extern from *:
    """
    #define RCF_A_DAY (86400.0)
    """
    const double A_DAY "RCF_A_DAY"

DAY = A_DAY  # seconds
WEEK = 7.0 * A_DAY
MONDAY = 4.0 * A_DAY  # seconds after 1970-01-01, a Thursday
# The default limit of a step: so many intervals or a year, whichever is longer. A sensor that reports every second may be switched
# off for a night, which is more than 10 000 intervals. A time stamp in milliseconds exceeds both limits.
cdef double LONGEST = 10_000.0, YEAR = 366.0 * A_DAY
cdef double HOUR = 3600.0  # clocks are set back by at most this


cdef class Times:
    """The last time, and the interval between times, which may be unknown.

    Parameters
    ----------
    interval : float or None
    strict : bool
        Whether each time must be later than the previous one.
    max_step : float or None
        The longest step that is accepted.
    """

    def __init__(self, interval, bint strict, max_step):
        self.interval, self.strict = interval, strict
        self.max_step = NAN if max_step is None else max_step
        self.at, self.offset, self.fresh = NAN, 0.0, False
        self.forget_refused()

    @property
    def now(self):
        """The last time, or None."""
        return None if self.at != self.at else self.at

    @now.setter
    def now(self, time):
        self.at = NAN if time is None else time

    @property
    def interval(self):
        """Seconds between records, or None."""
        return None if self.step != self.step else self.step

    @interval.setter
    def interval(self, seconds):
        self.step = NAN if seconds is None else seconds

    @property
    def refused(self):
        """The last refused time, or None."""
        return None if self.last_refused != self.last_refused else self.last_refused

    @refused.setter
    def refused(self, time):
        self.last_refused = NAN if time is None else time

    @property
    def most(self):
        """The longest step that is accepted."""
        return self.longest()

    cdef double longest(self) noexcept nogil:
        if self.max_step == self.max_step:
            return self.max_step
        return INFINITY if self.step != self.step else max(LONGEST * self.step, YEAR)

    def follows(self, double before, double time, bint local):
        """Whether a time may follow another. `local` means that it is a date without a zone."""
        return bool(self.may_follow(before, time, local))

    cdef bint may_follow(self, double before, double time, bint local) noexcept nogil:
        cdef double step = time - before
        if self.strict:
            return 0.0 < step <= self.longest()
        # equal stamps are allowed; local time may go back by an hour when a clock is set back
        return 0.0 <= step <= self.longest() or (local and -HOUR <= step < 0.0)

    def settle(self):
        """Forget the refused times, because a time was admitted."""
        self.forget_refused()

    cdef void forget_refused(self) noexcept nogil:
        self.last_refused, self.refusals = NAN, 0

    def misses_none(self, double step):
        """Whether no record is missing in a step. While the interval is unknown, this is true of every step."""
        return bool(self.is_one(step))

    cdef bint is_one(self, double step) noexcept nogil:
        return not step > 1.5 * self.step

    cdef bint goes_on_at(self, double time, bint local) noexcept nogil:
        """Whether the next record may come at this time, with none missing before it. False while the interval is unknown."""
        return (self.step == self.step and not self.fresh and self.may_follow(self.at, time, local)
                and self.is_one(time - self.at))

    def records_in_a_day(self):
        """The number of records in a day, or 0 if it is unknown, less than 2, or too large to count."""
        return self.day_length()

    cdef double day_length(self) noexcept nogil:
        cdef double day = rint(A_DAY / self.step)
        return day if 2.0 <= day < 1099511627776.0 else 0.0

    def second(self):
        """The second of the week of the last time stamp in local time; Monday at midnight is 0."""
        return self.week_second()

    cdef double week_second(self) noexcept nogil:
        cdef double second = fmod(self.at + self.offset - 4.0 * A_DAY, 7.0 * A_DAY)
        return second + 7.0 * A_DAY if second < 0.0 else second if second > 0.0 else 0.0
