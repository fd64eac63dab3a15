"""From scores to alarms: a threshold that follows the scores, and the rules that keep one event one alarm.

Compiled, for the rules run once a record and each depends on the one before: 3 µs in Python, where the forests take 6.
"""

import numpy as np

from rcf._validate import finite, whole_number

from libc.math cimport INFINITY, M_PI, log1p, pow, sqrt
from libc.stdint cimport int64_t, uint8_t

REASONS = (None, "warming up", "echo", "drift", "noise", "near expected")

# Of the alarms one in ten may be chance if a share `anomaly_rate` of the records are anomalies: so where nothing stands
# out a tenth of that share is called.
cdef double CHANCE = 0.1
cdef enum:
    BLOCKS = 16  # whose maxima are kept: their scale is then known to 25 %, with 32 to 17 % at twice the delay
    FIRST = 8  # records in a block at the start: the least in which most events end that begin there
    SETTLED = 4  # blocks that make the first limit, 32 scores
# Scale of the tail over the deviation of all scores, where nothing stands out. With blocks of 128 it is 1.9 to 2.0 for white
# noise, AR(1) and a noisy sine, 2.6 for exponential noise, Student's t with 3 degrees and over-dispersed counts.
cdef double RATIO = 2.3

cdef enum Reason:
    NONE, WARMING_UP, ECHO, DRIFT, NOISE


cdef struct Verdict:
    double likelihood
    bint call
    Reason reason


cdef double grade(double score, double limit, bint call) noexcept:
    """Of a score that was called: 0.5 at the threshold, then towards 1."""
    return 1.0 - 0.5 * limit / score if call else 0.0


cdef class Tail:
    """The height that scores exceed with a small chance, told from the maxima of the last blocks of records.

    Scores in a row are alike, for windows overlap, and their distribution differs from stream to stream; but the maxima of
    blocks are nearly independent and, with a tail about exponential, follow Gumbel's law (Coles, "An Introduction to
    Statistical Modeling of Extreme Values", 2001, ch. 3). Its place and scale come from 16 maxima:

    The highest quarter of them count as if they were equal to the next. What came in few blocks is taken for the anomalies
    that it may be, and hides no others; what comes in more than a quarter of the blocks is how the stream is.

    16 maxima give the scale to 25 %, too little to go some scales beyond. The deviation of all scores, times `RATIO`, gives
    it to some 15 % where nothing stands out, and too low where the stream has its own rare heights; the mean of the two is taken.

    Of n maxima, the tail of the next is not that of the law with the scale found, ``exp(-y / scale)``, but of the mixture over
    what the scale may be, ``(1 + y / (n scale)) ** -n``, which for exponential excesses is exact.

    Where most heights are alike and a few much higher, as with one spike a day, no law fits and the limit lies too high: but
    there a score that is higher than all in the memory is as rare, if the memory is long enough. The lower limit holds.

    Blocks begin short, that there is a limit soon, and are joined in pairs until they are as long as `longest`, or that one
    in 16 is called.
    """

    cdef double limit, ordinary
    cdef double chance, least, mean, square, top, tail
    cdef int64_t longest, block, filled, seen
    cdef double[BLOCKS] highest
    cdef int n

    def __init__(self, double chance, int64_t longest, double least):
        self.chance, self.longest, self.least = chance, max(longest, <int64_t>FIRST), least
        self.limit = self.tail = self.ordinary = least
        self.mean = self.square = self.top = 0.0
        self.seen = self.filled = 0
        self.n, self.block = 0, FIRST

    cdef void add(self, double score) noexcept:
        cdef int i
        cdef double off, step, rate
        # as long a memory as that of the maxima; what is called enters as if it were just not
        self.seen += 1
        rate = 1.0 / min(self.seen, BLOCKS * self.longest)
        off = (self.limit if self.n >= SETTLED and score > self.limit else score) - self.mean
        step = rate * off
        self.mean += step
        self.square = (1.0 - rate) * (self.square + off * step)

        if score > self.top:
            self.top = score
            self.lower()
        self.filled += 1
        if self.filled < self.block:
            return
        if self.n == BLOCKS:
            for i in range(BLOCKS - 1):
                self.highest[i] = self.highest[i + 1]
            self.n -= 1
        self.highest[self.n] = self.top
        self.n += 1
        self.top, self.filled = 0.0, 0
        if self.n >= SETTLED:
            self.fit()
            self.lower()
        # sqrt(2) / 16: the power of two that comes nearest to 1 / 16
        if self.n == BLOCKS and 2 * self.block <= self.longest and 2.0 * self.block * self.chance < 0.0884:
            self.block *= 2
            self.n //= 2
            for i in range(BLOCKS // 2):
                self.highest[i] = max(self.highest[2 * i], self.highest[2 * i + 1])

    cdef void fit(self) noexcept:
        cdef int i, k, n = self.n
        cdef double mean = 0.0, square = 0.0, scale, x
        cdef double[BLOCKS] order
        order[0] = self.highest[0]
        for i in range(1, n):  # in order, by insertion
            x, k = self.highest[i], i
            while k > 0 and order[k - 1] > x:
                order[k] = order[k - 1]
                k -= 1
            order[k] = x
        for i in range(n):
            mean += order[min(i, n - n // 4 - 1)] / n
        for i in range(n):
            x = order[min(i, n - n // 4 - 1)] - mean
            square += x * x
        # the last factor makes good for the cut quarter (of n Gumbel maxima, simulated: to 1 % where 4 divides n, else to 10 %)
        scale = sqrt(6.0 * square / (n - 1)) / M_PI * (1.56 + 1.05 / n)
        # the deviation weighs as much as all 16 maxima
        scale = (n * scale + BLOCKS * RATIO * sqrt(self.square)) / (n + BLOCKS)
        mean -= 0.302 * scale  # to the most frequent height
        # no finer than what 50 trees scatter from seed to seed
        scale = max(scale, 0.05 * self.least)
        x = mean + scale * (n + BLOCKS) * (pow(-log1p(-self.chance * self.block), -1.0 / (n + BLOCKS)) - 1.0)
        self.tail = max(x, self.least)
        # some 4 deviations above the mean, where the limit is some 12
        self.ordinary = self.mean + (self.tail - self.mean) / 3.0

    cdef void lower(self) noexcept:
        """Set the limit to the lower of the two."""
        cdef int i
        cdef double summit = self.top
        if self.n < SETTLED:
            return
        self.limit = self.tail
        # in a memory shorter than this chance makes a highest score more than twice as often as it may
        if self.chance * self.block * self.n > 0.5:
            for i in range(self.n):
                summit = max(summit, self.highest[i])
            # 50 trees give a record scores that differ by 0.1 from seed to seed, where `least` is 1.2: by so much it is higher
            self.limit = min(self.tail, max(summit + self.least / 12.0, self.least))

    def state(self):
        return {
            "highest": [self.highest[i] for i in range(self.n)],
            "numbers": [self.mean, self.square, self.top, self.tail, self.ordinary],
            "counts": [self.seen, self.block, self.filled],
        }

    def restore(self, state):
        highest = finite("highest of the tail", state["highest"], (BLOCKS,), 0.0).tolist()
        numbers = finite("numbers of the tail", state["numbers"], (5,)).tolist()
        seen, block, filled = [whole_number("a count of the tail", c, 0, 2**62) for c in state["counts"]]
        if len(numbers) != 5 or numbers[1] < 0.0:
            raise ValueError(f"the tail has the numbers {numbers}, where 5 are due and no negative square")
        if block & (block - 1) or not FIRST <= block <= self.longest or filled >= block or seen < len(highest):
            raise ValueError(f"the tail has the counts {seen}, {block} and {filled}")
        self.n, self.seen, self.block, self.filled = len(highest), seen, block, filled
        for i, x in enumerate(highest):
            self.highest[i] = x
        self.mean, self.square, self.top, self.tail, self.ordinary = numbers
        self.limit = self.least
        self.lower()


cdef class Threshold:
    """A score is called when it exceeds what scores exceed by chance once in ``10 / anomaly_rate`` records.

    How high that is tells the :class:`Tail` of the last ``8 * max_samples`` scores, about as far back as the forest's own
    memory reaches. It never falls below `least`, for in a noiseless series any score would stand far out.

    An event is one alarm. It lasts until no score has been out of the ordinary for `hold` records; high scores in it are `echo` (the
    newest record alone is ordinary, the window still holds the cause) or `drift` (it is not ordinary, and has not been
    since). A new event is called within it when the newest record alone has been ordinary meanwhile, or when the score is
    half as high again.
    """

    cdef readonly double most
    cdef readonly int64_t hold, span
    cdef readonly bint alert_once
    cdef Tail scores, points
    cdef public double peak
    cdef public int64_t t, last_high
    cdef public bint interrupted
    # the highest score of the last `span`: a queue, in a ring, of those with none higher after them
    cdef int64_t[::1] times
    cdef double[::1] heights
    cdef int64_t first, held

    def __init__(self, double anomaly_rate, int64_t shingle_size, int64_t max_samples, bint alert_once, double least,
                 double most):
        self.scores = Tail(CHANCE * anomaly_rate, max_samples // 2, least)
        self.points = Tail(CHANCE * anomaly_rate, max_samples // 2, least)
        self.hold = max(shingle_size, 8)
        self.span = 7 * max_samples // 4
        self.alert_once = alert_once
        self.most = most
        self.peak = 0.0
        self.t = 0
        self.last_high = -(1 << 40)
        self.interrupted = False
        self.times, self.heights = np.zeros(self.span + 2, dtype=np.int64), np.zeros(self.span + 2)
        self.first = self.held = 0

    @property
    def limit(self):
        return self.scores.limit

    cdef double novelty(self, double score) noexcept:
        """How far a score stands above all of the last `span`; it then joins them."""
        # squares, for what is far out is then told better from the many that just stand out (2-3 points of the benchmark
        # that ranks by this)
        cdef int64_t room = self.times.shape[0], last
        cdef double surprise = score * score, unit, found
        while self.held and self.times[self.first] < self.t - self.span:
            self.first = (self.first + 1) % room
            self.held -= 1
        # in units of the limit one threshold suits streams with ordinary scores of any spread (1 point)
        unit = self.most * (self.most if self.scores.n < SETTLED else self.scores.limit)
        found = (surprise - self.heights[self.first] if self.held else surprise) / unit
        while self.held:
            last = (self.first + self.held - 1) % room
            if self.heights[last] > surprise:
                break
            self.held -= 1
        last = (self.first + self.held) % room
        self.times[last], self.heights[last] = self.t, surprise
        self.held += 1
        return max(found, 0.0)

    cdef Verdict judge(self, double score, double point) noexcept:
        cdef Verdict out
        cdef double limit = self.scores.limit, novelty
        cdef bint point_high
        self.t += 1
        novelty = self.novelty(score)
        out.call, out.reason = False, NONE
        if self.scores.n < SETTLED:
            out.reason = WARMING_UP
        elif score > limit:
            point_high = point > self.points.limit
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
                self.peak, self.interrupted = score, False
        elif score > self.scores.ordinary:
            out.reason = NOISE
            if self.t - self.last_high <= self.hold:  # an event begins above the limit and goes on while this lasts
                self.last_high = self.t
        if out.call:  # high for the longer memory too: counts double (1 point; with any factor from 1.5 to 5 much the same)
            novelty *= 2.0
        out.likelihood = novelty / (1.0 + novelty)
        if not out.call and point < self.points.ordinary:
            self.interrupted = True
        self.scores.add(score)
        self.points.add(point)
        return out

    def step(self, double score, double point):
        """(threshold, grade, likelihood, call, reason) of a score and that of the newest record alone; they are then learned."""
        cdef double limit = self.scores.limit  # as it was for this score
        cdef Verdict found = self.judge(score, point)
        return limit, grade(score, limit, found.call), found.likelihood, bool(found.call), REASONS[<int>found.reason]

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
                numbers[0, i], reasons[i] = self.scores.limit, WARMING_UP
                continue
            numbers[0, i] = self.scores.limit
            found = self.judge(scores[i], points[i])
            numbers[1, i], numbers[2, i] = grade(scores[i], numbers[0, i], found.call), found.likelihood
            calls[i], reasons[i] = found.call, found.reason
        return table[0], table[1], table[2], called, why

    def state(self):
        where = [(self.first + k) % self.times.shape[0] for k in range(self.held)]
        return {
            "scores": self.scores.state(),
            "points": self.points.state(),
            "peak": self.peak,
            "t": self.t,
            "last_high": self.last_high,
            "interrupted": bool(self.interrupted),
            "peak_times": [self.times[k] for k in where],
            "peak_scores": [self.heights[k] for k in where],
        }

    def restore(self, state):
        """Take over a state; ValueError where it is none."""
        cdef Py_ssize_t k
        t = whole_number("t of the threshold", state["t"], 0, 2**62)
        last_high = whole_number("last_high of the threshold", state["last_high"], -(2**40), t)
        peak = float(finite("peak of the threshold", state["peak"], (), 0.0))
        times = [whole_number("a time of the threshold", at, 0, t) for at in state["peak_times"]]
        heights = finite("scores of the threshold", state["peak_scores"], (self.span + 1,), 0.0).tolist()
        if len(times) != len(heights):
            raise ValueError(f"the threshold has {len(times)} times and {len(heights)} scores of peaks")
        self.scores.restore(state["scores"])
        self.points.restore(state["points"])
        self.t, self.last_high, self.peak = t, last_high, peak
        self.interrupted = bool(state["interrupted"])
        self.first, self.held = 0, len(times)
        for k in range(self.held):
            self.times[k], self.heights[k] = times[k], heights[k]
