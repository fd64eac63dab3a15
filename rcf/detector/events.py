"""Events. An event begins with an alarm and lasts while the feature stays on the unusual side."""

from __future__ import annotations

from typing import Any, NamedTuple

from .._validate import finite, whole_number
from .findings import Finding, signed_log

HOLD = 30  # an event ends after this many usual records; the evidence of an alarm must exceed that of the same number of records
APART = 0.25  # a value is new if it is farther from all known values than this share of its distance to the usual value
USUAL = "back to usual"
LEVEL = "the new level has become usual"
SIDES = ("high", "low", "stuck")
Values = list[float]


class Event(NamedTuple):
    """An event at one record.

    Attributes
    ----------
    state : {"opened", "open", "closed"}
    feature : str
        The feature that stood out.
    side : {"high", "low", "stuck"}
    start : int
        Number of the record with the alarm, counted from 0.
    since : object
        Time stamp of that record as it was given; None without time stamps.
    duration : int
        Number of records from the start to the last unusual one.
    peak : float
        The most extreme value of the feature.
    why : str or None
        Why the event closed: "back to usual", after 30 usual records in a row, or "the new level has become usual", after
        `max_samples` records.

    See Also
    --------
    Detection : Its `event` is an Event.

    Examples
    --------
    >>> import numpy as np
    >>> from rcf import StreamDetector
    >>> load = np.random.default_rng(0).normal(20.0, 1.0, size=1200)
    >>> load[1000:1060] += 30.0
    >>> found = StreamDetector(random_state=0).update_many(load)
    >>> for i in (1000, 1030, 1089):
    ...     print(i, found[i].event.state, found[i].event.duration, found[i].event.why)
    1000 opened 1 None
    1030 open 31 None
    1089 closed 60 back to usual
    """

    state: str
    feature: str
    side: str
    start: int
    since: Any
    duration: int
    peak: float
    why: str | None


class Running:
    """An event that has not ended."""

    __slots__ = ("feature", "kind", "last", "middle", "off", "peak", "side", "since", "start", "unit", "usual")

    def __init__(self, feature: int, side: str, kind: str, start: int, since: Any, came: float, usual: float, unit: float,
                 middle: float, off: float) -> None:  # fmt: skip
        self.feature, self.side, self.kind = feature, side, kind
        self.start, self.since, self.last = start, since, start
        self.peak, self.usual, self.unit = came, usual, unit
        # values beyond this limit belong to the event; it is a logarithm, or for a season half of the residual
        self.middle = middle
        self.off = off  # half of the first residual, or 0 if that was on the other side; smaller residuals are outside the event

    def holds(self, value: float, left: float, now: float) -> bool:
        """Whether a value, or its residual from the season, is still unusual.

        The residual matters because a value that raised an alarm can be usual at another time of the day. With the values alone, an
        event of hourly records with a daily season would stay open for days.
        """
        if self.side == "stuck":
            return value == self.usual
        if self.kind in ("day", "week"):
            # the newest value may lie on the other side of the usual value than the values before it
            return left >= self.middle if self.middle > 0.0 else left <= self.middle
        where, high = signed_log(value, self.unit), self.side == "high"
        if self.off != 0.0 and (now < self.off if high else now > self.off):
            return False
        return where >= self.middle if high else where <= self.middle

    def ends_with(self, value: float, left: float, now: float) -> bool:
        """Whether a value is back to usual, rather than as unusual on the other side."""
        if self.holds(value, left, now):
            return False
        if self.side == "stuck" or self.kind in ("day", "week"):
            return True
        return abs(value - self.usual) < 0.5 * abs(self.peak - self.usual)

    def seen(self, n: int, value: float) -> None:
        """Add record n to the event."""
        self.last = n
        if (value > self.peak) == (self.side == "high"):
            self.peak = value

    def event(self, state: str, names: Any, why: str | None = None) -> Event:
        name = f"x{self.feature}" if names is None else str(names[self.feature])
        return Event(state, name, self.side, self.start, self.since, self.last - self.start + 1, self.peak, why)


class Events:
    """The events of a stream that have not ended.

    Parameters
    ----------
    longest : int
        Number of records after which a new level counts as usual.
    """

    __slots__ = ("longest", "running")

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.running: list[Running] = []

    def step(self, n: int, values: Values, left: Values, stamp: Any, alarm: Finding | None, names: Any
             ) -> tuple[tuple[Event, ...], Running | None, bool]:  # fmt: skip
        """Update the events with the values of record n, its residuals from the season, and its finding if it raises an alarm.

        Returns three things: the events at this record, those that change first; the event that the record belongs to; and whether
        the alarm only shows that the feature of an event returned to usual.
        """
        opened, closed, still, belongs = [], [], [], None
        d = len(values)
        kept: list[Running] = []
        for event in self.running:
            j, why = event.feature, None
            value = values[j]
            out = value == value and event.holds(value, left[j], left[d + j])
            if out:
                event.seen(n, value)
                belongs = belongs or event
                why = LEVEL if n - event.start >= self.longest else None
            elif n - event.last >= HOLD:
                why = USUAL
            if why is None:
                kept.append(event)
                still.append(event.event("open", names))
            else:
                closed.append(event.event("closed", names, why))
        back = False
        if alarm is not None:
            j = alarm.feature
            own = [event for event in kept if event.feature == j]
            if not any(event.side == alarm.side for event in own):
                returns = alarm.kind in ("change", "move")
                back = returns and any(event.ends_with(alarm.came, left[j], left[d + j]) for event in own)
                if not back:
                    event = self._begun(n, left, stamp, alarm)
                    opened.append(event.event("opened", names))
                    kept.append(event)
                    belongs = event
        self.running = kept
        return (*opened, *closed, *still), belongs, back

    @staticmethod
    def _begun(n: int, left: Values, stamp: Any, alarm: Finding) -> Running:
        usual = alarm.usual
        if abs(alarm.came - alarm.level) >= APART * abs(alarm.came - usual) and (alarm.came > alarm.level) == (
            alarm.came > usual
        ):
            usual = alarm.level  # the value itself is new, so known values are a better reference than known changes
        if alarm.kind in ("day", "week"):
            middle = 0.5 * left[alarm.feature]
        else:
            middle = 0.5 * (signed_log(alarm.came, alarm.unit) + signed_log(usual, alarm.unit))
        now = left[len(left) // 2 + alarm.feature]
        off = 0.5 * now if (now > 0.0 if alarm.side == "high" else now < 0.0) else 0.0
        return Running(alarm.feature, alarm.side, alarm.kind, n, stamp, alarm.came, usual, alarm.unit, middle, off)

    def state(self) -> dict[str, Any]:
        return {"events": [[getattr(event, name) for name in Running.__slots__] for event in self.running]}

    def restore(self, state: dict[str, Any], n: int, d: int) -> None:
        """Restore a state. Raises ValueError if it is not valid."""
        for saved in state["events"]:
            fields = dict(zip(Running.__slots__, saved, strict=True))
            feature = whole_number("feature of an event", fields["feature"], 0, d - 1)
            start, last = (whole_number(f"{name} of an event", fields[name], 0, n) for name in ("start", "last"))
            if fields["side"] not in SIDES or not isinstance(fields["kind"], str) or last < start:
                raise ValueError(f"an event with side {fields['side']!r} and kind {fields['kind']!r}")
            numbers = [fields[name] for name in ("peak", "usual", "unit", "middle", "off")]
            peak, usual, unit, middle, off = finite("numbers of an event", numbers, (5,)).tolist()
            event = Running(
                feature, fields["side"], fields["kind"], start, fields["since"], peak, usual, unit, middle, off
            )
            event.last = last
            self.running.append(event)
