"""From scores to alarms: a threshold that follows the scores, and the rules that keep one event one alarm.

Compiled, for the rules run once a record and each depends on the one before: 3 µs in Python, where the forests take 6.
"""

from math import log

import numpy as np

from ._validate import finite, whole_number

from libc.math cimport sqrt
from libc.stdint cimport int64_t, uint8_t

FACTOR = 1.25
cdef int64_t SETTLED = 32  # scores that make the first threshold
REASONS = (None, "warming up", "echo", "drift", "noise", "near expected")

cdef enum Reason:
    NONE, WARMING_UP, ECHO, DRIFT, NOISE


cdef struct Verdict:
    double likelihood
    bint call
    Reason reason


cdef class Threshold:
    """The mean of the scores plus ``ln(1 / anomaly_rate)`` of their standard deviations, over the last few hundred.

    That is where the tail beyond has the mass `anomaly_rate` if it falls off like an exponential; those of forest scores fall
    faster, so the rate is an upper estimate. A score above the threshold enters as if it were the threshold:
    one spike moves it little, a lasting change lifts it within some tens of records. It never falls below `least`, for in a
    noiseless series any score would stand many deviations out.

    An event is one alarm: after a call, high scores that follow closely are `echo` (the newest record alone is ordinary, the window
    still holds the cause) or `drift` (it is not ordinary, and has not been since). A new event is called within the window
    when the newest record alone has been ordinary meanwhile, or when the score is half as high again.
    """

    cdef readonly double factor, rate, least, unit
    cdef readonly int64_t hold, span
    cdef readonly bint alert_once
    cdef public double mean, square, point_mean, point_square, peak, limit
    cdef public int64_t n, t, last_high, last_call
    cdef public bint interrupted
    # the highest score of the last `span`: a queue, in a ring, of those with none higher after them
    cdef int64_t[::1] times
    cdef double[::1] heights
    cdef int64_t first, held

    def __init__(self, double anomaly_rate, int64_t shingle_size, int64_t max_samples, bint alert_once, double least,
                 double most):
        self.factor = FACTOR * log(1.0 / anomaly_rate)
        self.rate = anomaly_rate / 2.0
        self.hold = max(shingle_size, 8)
        self.span = 7 * max_samples // 4
        self.alert_once = alert_once
        self.least, self.unit = least, most * most
        self.mean = self.square = self.point_mean = self.point_square = self.peak = 0.0
        self.n = self.t = 0
        self.limit = least
        self.last_high = self.last_call = -(1 << 40)
        self.interrupted = False
        self.times, self.heights = np.zeros(self.span + 2, dtype=np.int64), np.zeros(self.span + 2)
        self.first = self.held = 0

    cdef double likelihood(self, double score) noexcept:
        """How far a score stands above all of the last `span`; it then joins them."""
        # squares, for what is far out is then told better from the many that just stand out (2-3 points of the benchmark
        # that ranks by this)
        cdef int64_t room = self.times.shape[0], last
        cdef double surprise = score * score, found
        while self.held and self.times[self.first] < self.t - self.span:
            self.first = (self.first + 1) % room
            self.held -= 1
        found = (surprise - self.heights[self.first] if self.held else surprise) / self.unit
        while self.held:
            last = (self.first + self.held - 1) % room
            if self.heights[last] > surprise:
                break
            self.held -= 1
        last = (self.first + self.held) % room
        self.times[last], self.heights[last] = self.t, surprise
        self.held += 1
        return 0.0 if found < 0.0 else 1.0 if found > 1.0 else found

    cdef Verdict judge(self, double score, double point) noexcept:
        cdef Verdict out
        cdef double mean = self.mean, point_mean = self.point_mean, limit, point_limit, rate, off, step
        cdef bint point_high
        self.t += 1
        self.n += 1
        limit = mean + self.factor * sqrt(self.square)
        if limit < self.least:
            limit = self.least
        self.limit = limit
        point_limit = point_mean + self.factor * sqrt(self.point_square)
        if point_limit < self.least:
            point_limit = self.least
        out.likelihood = self.likelihood(score)
        out.call, out.reason = False, NONE
        if self.n <= SETTLED:
            out.reason = WARMING_UP
        elif score > limit:
            point_high = point > point_limit
            if self.t - self.last_high > self.hold:
                out.call = True
            elif (point_high and self.interrupted) or score > 1.5 * self.peak:
                out.call = True
            elif not point_high:
                out.reason = ECHO
            elif self.alert_once:
                out.reason = DRIFT
            else:
                out.call = True
            self.last_high = self.t
            if out.call:
                self.last_call, self.peak, self.interrupted = self.t, score, False
        elif score > mean + 0.5 * (limit - mean):
            out.reason = NOISE
        if not out.call and point < 0.5 * (point_mean + point_limit):
            self.interrupted = True

        rate = 1.0 / self.n if self.n * self.rate < 1.0 else self.rate
        if self.n > SETTLED:
            if score > limit:
                score = limit
            if point > point_limit:
                point = point_limit
        off = score - mean
        step = rate * off
        self.mean = mean + step
        self.square = (1.0 - rate) * (self.square + off * step)
        off = point - point_mean
        step = rate * off
        self.point_mean = point_mean + step
        self.point_square = (1.0 - rate) * (self.point_square + off * step)
        return out

    def step(self, double score, double point):
        """(threshold, likelihood, call, reason) of a score and that of the newest record alone, which are then learned."""
        cdef Verdict found = self.judge(score, point)
        return self.limit, found.likelihood, bool(found.call), REASONS[<int>found.reason]

    def steps(self, const double[::1] scores, const double[::1] points):
        """(thresholds, grades, likelihoods, calls, numbers of REASONS) of scores in turn, as arrays.

        A score of 0 is that of a forest that is not warm yet: nothing is learned from it.
        """
        cdef Py_ssize_t n = scores.shape[0], i
        cdef Verdict found
        table, called, why = np.zeros((3, n)), np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.uint8)
        cdef double[:, ::1] numbers = table
        cdef uint8_t[::1] calls = called.view(np.uint8), reasons = why
        for i in range(n):
            if scores[i] == 0.0:
                numbers[0, i], reasons[i] = self.limit, WARMING_UP
                continue
            found = self.judge(scores[i], points[i])
            numbers[0, i], numbers[2, i] = self.limit, found.likelihood
            if found.call:
                numbers[1, i] = self.grade(scores[i])
            calls[i], reasons[i] = found.call, found.reason
        return table[0], table[1], table[2], called, why

    cpdef double grade(self, double score):
        """Of a score just called: 0.5 at the threshold, then towards 1."""
        return 1.0 - 0.5 * self.limit / score

    def state(self):
        where = [(self.first + k) % self.times.shape[0] for k in range(self.held)]
        return {
            "numbers": [self.mean, self.square, self.point_mean, self.point_square, self.peak, self.limit],
            "counts": [self.n, self.t, self.last_high, self.last_call],
            "interrupted": bool(self.interrupted),
            "peak_times": [self.times[k] for k in where],
            "peak_scores": [self.heights[k] for k in where],
        }

    def restore(self, state):
        """Take over a state; ValueError where it is none."""
        cdef Py_ssize_t k
        numbers = finite("numbers of the threshold", state["numbers"], (6,)).tolist()
        counts = [whole_number("a count of the threshold", c, -(2**40), 2**62) for c in state["counts"]]
        if len(numbers) != 6 or len(counts) != 4:
            raise ValueError(f"the threshold has {len(numbers)} numbers and {len(counts)} counts, where 6 and 4 are due")
        if numbers[1] < 0.0 or numbers[3] < 0.0 or counts[0] < 0 or counts[1] < 0:
            raise ValueError("a square or a count of the threshold is negative")
        times = [whole_number("a time of the threshold", t, 0, counts[1]) for t in state["peak_times"]]
        heights = finite("scores of the threshold", state["peak_scores"], (self.span + 1,), 0.0).tolist()
        if len(times) != len(heights):
            raise ValueError(f"the threshold has {len(times)} times and {len(heights)} scores of peaks")
        self.mean, self.square, self.point_mean, self.point_square, self.peak, self.limit = numbers
        self.n, self.t, self.last_high, self.last_call = counts
        self.interrupted = bool(state["interrupted"])
        self.first, self.held = 0, len(times)
        for k in range(self.held):
            self.times[k], self.heights[k] = times[k], heights[k]
