"""Time stamps: check their order, learn their interval, count the missing records between them, and find the local time."""

from __future__ import annotations

from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from .._validate import finite, finite_number, whole_number
from .records import Moment, moment_of, written
from .times import DAY, MONDAY, WEEK, Times

Floats = NDArray[np.float64]
GAPS = 15  # the interval is the median of this many steps
LEARNING = 64  # the interval is usually known after this many stamps
AGREED = 3  # the last of this many consistent refusals in a row starts a new clock
ORDERS = ("clock", "strict")
GAP = 2**62  # stands for more missing records than any window has
_ADVICE = "or give each series a key of its own (KeyedDetector)"
_GOES_ON = "after three in a row that agree, `update` goes on from there"
_MISSING = "the records before had time stamps (an index of dates counts as such): this one needs one too"


class Rules(NamedTuple):
    """The rules for accepting a time stamp."""

    order: str  # of ORDERS
    max_step: float | None  # seconds
    zone: ZoneInfo | None


class Clock(Times):
    """The last time stamp, and the interval between time stamps. The interval is given or learned from the first steps."""

    __slots__ = ("rules", "steps")

    def __init__(self, interval: float | None, rules: Rules) -> None:
        super().__init__(interval, rules.order == "strict", rules.max_step)
        self.rules = rules
        self.steps: list[float] = []

    # ---- accepting time stamps ------------------------------------------------------------------------------------------

    def goes_on(self, before: float, moment: Moment) -> bool:
        """Whether a time may follow another."""
        return self.follows(before, moment.time, moment.local)

    def admit(self, timestamp: Any) -> Moment | None:
        """The moment of the next record, or None if the stream has no time stamps. Raises ValueError if the stamp is not accepted.

        If three refused stamps in a row are consistent with each other, the third is accepted and starts a new clock. In this case
        the last accepted stamp was wrong, or the clock was set.
        """
        if timestamp is None:
            if self.now is not None:
                raise ValueError(_MISSING)
            return None
        moment = moment_of(timestamp, self.rules.zone)
        if self.now is None or self.goes_on(self.now, moment):
            self.settle()
            return moment
        if self._begins_anew(moment):
            self.begin_anew()
            return moment
        self.refused, self.refusals = moment.time, self.refusals + 1 if self._agrees(moment) else 1
        raise ValueError(self.refusal(self.now, moment, timestamp))

    def _agrees(self, moment: Moment) -> bool:
        """Whether a time may follow the last refused one."""
        return self.refused is not None and self.goes_on(self.refused, moment)

    def _begins_anew(self, moment: Moment) -> bool:
        """Whether a time may not follow the last accepted one, but is the third consistent refusal in a row."""
        return (
            self.now is not None
            and self.refusals + 1 >= AGREED
            and not self.goes_on(self.now, moment)
            and self._agrees(moment)
        )

    def _learner(self, fresh: bool) -> Clock:
        """A copy that continues from here and learns the interval, so that this clock does not change."""
        learner = Clock(self.interval, self.rules)
        learner.now, learner.steps, learner.fresh = self.now, list(self.steps), fresh
        return learner

    def refusal(self, before: float, moment: Moment, timestamp: Any) -> str:
        """The text that says why a time stamp is refused."""
        last = written(before, timestamp)
        if moment.time > before:
            return (
                f"timestamp {timestamp} is more than {self.most:.10g} seconds after the last one, {last}: correct it, or set "
                f"max_step; {_GOES_ON}"
            )
        what, do = "is before", "sort the records by time"
        if moment.time == before:
            what, do = "is the same as", 'keep one record of each time, set time_order="clock"'
        return f"timestamp {timestamp} {what} the last one, {last}: {do}, {_ADVICE}; {_GOES_ON}"

    def admit_many(self, timestamps: Any, n: int, note: str) -> tuple[Floats, Floats, bool]:
        """Times and offsets of n records, and whether the first starts a new clock. An error names the first invalid row.

        A batch is refused if `admit` would refuse one of its records when they come one by one; nothing changes then. So which
        stamps are accepted does not depend on how a stream is cut into batches.
        """
        if timestamps is None:
            if self.now is not None and n:
                raise ValueError(f"row 0: {_MISSING}{note}")
            return np.empty(0), np.empty(0), False
        given = getattr(timestamps, "to_numpy", lambda: timestamps)()
        if len(given) != n:
            raise ValueError(f"{len(given)} timestamps for {n} records")
        times = self._all_go_on(given)
        if times is not None:
            return times, np.zeros(n), False
        if self.interval is None and isinstance(given, np.ndarray) and n > 2 * LEARNING:
            # the first stamps determine the interval; then the others can be checked at once
            first, offsets, fresh = self.admit_many(given[:LEARNING], LEARNING, note)
            learner = self._learner(fresh)
            for time in first.tolist():
                learner.missed(Moment(time, 0.0, False))
            times = learner._all_go_on(given[LEARNING:])
            if times is not None:
                return np.append(first, times), np.append(offsets, np.zeros(len(times))), fresh
        stamps = list(given)
        moments = []
        for i, stamp in enumerate(stamps):
            try:
                if stamp is None:
                    raise ValueError(_MISSING)
                moments.append(moment_of(stamp, self.rules.zone))
            except ValueError as error:
                raise ValueError(f"row {i}: {error}{note}") from None
        fresh = bool(moments) and self._begins_anew(moments[0])
        learner = self._learner(fresh)
        for i, moment in enumerate(moments):
            before = learner.now
            if before is not None and not learner.goes_on(before, moment) and not (fresh and i == 0):
                raise ValueError(f"row {i}: {learner.refusal(before, moment, stamps[i])}{note}")
            learner.missed(moment)
        return np.array([m.time for m in moments]), np.array([m.offset for m in moments]), fresh

    def _all_go_on(self, stamps: Any) -> Floats | None:
        """The times in an array of numbers or of dates without a zone, if each may follow the previous one.

        Otherwise None: they must be checked one by one, which takes 4 microseconds each.
        """
        if not isinstance(stamps, np.ndarray) or stamps.ndim != 1 or self.interval is None or self.now is None:
            return None
        if stamps.dtype.kind == "M":
            if np.isnat(stamps).any():
                return None
            times: Floats = stamps.astype("datetime64[us]").astype(np.int64) / 1e6
        elif stamps.dtype == np.float64 and self.rules.zone is None:
            times = stamps.copy()
        else:
            return None
        steps = np.diff(times, prepend=self.now)
        least = np.nextafter(0.0, 1.0) if self.rules.order == "strict" else 0.0
        # a comparison with NaN is false, so NaN is refused
        return times if bool(((steps >= least) & (steps <= self.most)).all()) else None

    def begin_anew(self) -> None:
        """Start a new clock with the next time."""
        self.fresh = True
        self.settle()

    # ---- steps -------------------------------------------------------------------------------------------------

    def missed(self, moment: Moment) -> int:
        """The number of missing records before this moment. The moment becomes the last one."""
        before, self.now, self.offset = self.now, moment.time, moment.offset
        if self.fresh:
            self.fresh = False
            return GAP
        if before is None:
            return 0
        step = moment.time - before
        if self.interval is None:
            if step > 0.0:
                self.steps.append(step)
            if len(self.steps) == GAPS:
                self.interval, self.steps = sorted(self.steps)[GAPS // 2], []
            return 0
        return 0 if self.misses_none(step) else round(step / self.interval) - 1

    def even(self, times: Floats) -> int:
        """The number of time stamps before the first gap among the next ones; 0 while the interval is unknown."""
        if self.interval is None or self.now is None or self.fresh:
            return 0
        late = np.flatnonzero(np.diff(times, prepend=self.now) > 1.5 * self.interval)
        return int(late[0]) if len(late) else len(times)

    @staticmethod
    def seconds(times: Floats, offsets: Floats) -> Floats:
        """`second` of many time stamps."""
        return (times + offsets - MONDAY) % WEEK

    # ---- state -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {
            "time": self.now,
            "offset": self.offset,
            "step": self.interval,
            "steps": list(self.steps),
            "refused": self.refused,
            "refusals": self.refusals,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state. Raises ValueError if it is not valid."""
        self.now = None if state["time"] is None else finite_number("time", state["time"])
        self.offset = finite_number("offset", state["offset"], -2 * DAY, 2 * DAY)
        self.interval = None if state["step"] is None else finite_number("step", state["step"], 5e-324)
        if state["steps"] != []:
            self.steps = finite("steps", state["steps"], (GAPS - 1 if self.interval is None else 0,), 0.0).tolist()
        self.refused = None if state["refused"] is None else finite_number("refused", state["refused"])
        self.refusals = whole_number("refusals", state["refusals"], 0, AGREED)
