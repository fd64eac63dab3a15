"""Recognise the format of a column of time stamps, and convert it to seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cells import CellError, is_missing

Floats = NDArray[np.float64]

_MONTH = r"[A-Za-z]{3,9}"
_DATE = re.compile(
    r"(?:(?P<weekday>[A-Za-z]{3,9}),?\s+(?=\d|" + _MONTH + r"\s))?(?:"
    r"(?P<y>\d{4})(?P<s1>[-/. ])(?P<m>\d{1,2}|" + _MONTH + r")(?P=s1)(?P<d>\d{1,2})"  # 2026-01-31, 2026-Jan-31
    r"|(?P<one>\d{1,2})(?P<s2>[-/.])(?P<two>\d{1,2})(?P=s2)(?P<y2>\d{4}|\d{2})"  # 31.01.2026 or 01/31/26
    r"|(?P<d3>\d{1,2})(?P<s3>\.? |[-/.])(?P<m3>" + _MONTH + r")(?P<s4>,? |[-/.])(?P<y3>\d{4}|\d{2})"  # 31 Jan 2026
    r"|(?P<m4>" + _MONTH + r") (?P<d4>\d{1,2})(?P<s5>,? )(?P<y4>\d{4})"  # Jan 31, 2026
    r")(?P<rest>.*)"
)
_TIME = re.compile(
    r"(?P<gap>[T ]|, | at )(?P<hour>\d{1,2}):\d{2}(?P<second>:\d{2}(?P<fraction>[.,]\d{1,9})?)?"
    r"(?P<s>\s?)(?P<half>[AaPp][Mm])?(?P<z>\s?)(?P<zone>Z|[+-]\d{2}:?\d{2}|UTC|GMT)?"
)
_OFFSET = re.compile(
    r":\d{2}(?:[.,]\d+)?\s?(?:[AaPp][Mm]\s?)?(?P<zone>Z|UTC|GMT|(?P<sign>[+-])(?P<hour>\d{2}):?(?P<minute>\d{2}))"
)
_NO_YEAR = re.compile(rf"\d{{1,2}}[-/. ]+{_MONTH}|{_MONTH}[-/. ]+\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}\.?")
_NO_DATE = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s?([AaPp][Mm])?")
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
ORDERS = ("day first", "month first")
MANY = 16  # forms that one column may mix


class AmbiguousDates(ValueError):
    """The column has dates such as 01.02.2025, and no cell determines whether the day or the month comes first."""


class Form(NamedTuple):
    """A way to read a cell: a strptime format, and whether the day or the month comes first if both are possible."""

    format: str
    order: str | None


def forms_of(cell: str) -> list[Form]:
    """The ways to read a cell as a date: none, one, or two if day and month can be in either order.

    Examples
    --------
    >>> [form.format for form in forms_of("2021-Feb-21")]
    ['%Y-%b-%d']
    >>> [form.format for form in forms_of("01.02.2025 9:30")]
    ['%d.%m.%Y %H:%M', '%m.%d.%Y %H:%M']
    >>> forms_of("1-Jan")
    []
    """
    found = _DATE.fullmatch(cell.strip())
    if found is None:
        return []
    part = found.groupdict()
    time = _time_format(part["rest"])
    if time is None:
        return []
    before = ""
    if part["weekday"]:
        comma = "," if cell.strip()[len(part["weekday"])] == "," else ""
        before = ("%a" if len(part["weekday"]) == 3 else "%A") + comma + " "
    if part["y"]:
        month = "%m" if part["m"].isdigit() else _month_format(part["m"])
        return _real(cell, [Form(before + part["s1"].join(["%Y", month, "%d"]) + time, None)])
    if part["one"]:
        mark, year = part["s2"], "%Y" if len(part["y2"]) == 4 else "%y"
        dates = mark.join(["%d", "%m", year]), mark.join(["%m", "%d", year])
        return _real(cell, [Form(before + date + time, order) for date, order in zip(dates, ORDERS, strict=True)])
    if part["d3"]:
        year = "%Y" if len(part["y3"]) == 4 else "%y"
        date = f"%d{part['s3']}{_month_format(part['m3'])}{part['s4']}{year}"
        return _real(cell, [Form(before + date + time, None)])
    return _real(cell, [Form(f"{before}{_month_format(part['m4'])} %d{part['s5']}%Y{time}", None)])


def _month_format(name: str) -> str:
    return "%b" if len(name) == 3 else "%B"


def _time_format(text: str) -> str | None:
    if not text:
        return ""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    out = part["gap"] + ("%I" if part["half"] else "%H") + ":%M"
    out += (":%S" if part["second"] else "") + (f"{part['fraction'][0]}%f" if part["fraction"] else "")
    out += part["s"] + ("%p" if part["half"] else "") + part["z"]
    return out + ({"UTC": "UTC", "GMT": "GMT", None: ""}.get(part["zone"], "%z"))


def _real(cell: str, forms: list[Form]) -> list[Form]:
    """The forms with which the cell is a valid date."""
    return [form for form in forms if _parsed(cell, form.format) is not None]


def _parsed(cell: str, form: str) -> datetime | None:
    text = cell.strip()
    if "%f" in form:  # strptime takes six digits at most
        text = re.sub(r"([.,]\d{6})\d+", r"\1", text)
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None


def not_a_date(cell: str) -> str:
    """The reason why a cell is not a time stamp, as the predicate of a sentence."""
    text = cell.strip()
    if is_missing(cell):
        return "is not a time"
    if _NO_YEAR.fullmatch(text):
        return "is not a time: it has no year"
    if _NO_DATE.fullmatch(text):
        return "is not a time: it has no date"
    return "is not a time (--time-format sets the format of times)"


def _seconds(stamp: datetime) -> float:
    """Seconds since 1970; a date without a zone counts as UTC."""
    return stamp.timestamp() if stamp.tzinfo else (stamp - datetime(1970, 1, 1)).total_seconds()


def offset_of(cell: str) -> float | None:
    """The offset of a date's time zone from UTC in seconds; None if the date has no zone.

    Examples
    --------
    >>> offset_of("2026-01-31 12:00:00+01:00"), offset_of("2026-01-31T12:00Z"), offset_of("2026-01-31 12:00")
    (3600.0, 0.0, None)
    """
    found = _OFFSET.search(cell.strip())
    if found is None or found.end() != len(cell.strip()):
        return None
    if found["sign"] is None:
        return 0.0
    seconds = 3600.0 * int(found["hour"]) + 60.0 * int(found["minute"])
    return -seconds if found["sign"] == "-" else seconds


class Dates:
    """The format of the time stamps in one column: numbers, ISO dates, or another format that the cells determine.

    Dates such as 01.02.2025 can be read in two ways. `look` reads cells until one of them decides: a number above 12 cannot be
    a month. If no cell decides, the order of the rows is used, because files are usually ordered by time. If that does not
    decide either, an error is raised.

    Parameters
    ----------
    given : str or None, default=None
        A strptime format, or ``s``, ``ms``, ``us``, ``ns`` for numbers since 1970. None recognises the format.

    Attributes
    ----------
    numeric : bool
        Whether the cells of the last call were numbers and not dates.

    Examples
    --------
    >>> dates = Dates()
    >>> dates.look(["01.02.2025", "13.02.2025"])
    True
    >>> dates.seconds(["01.02.2025", "2.2.2025"]).tolist()
    [1738368000.0, 1738454400.0]
    """

    def __init__(self, given: str | None = None) -> None:
        if given is not None and given not in _UNITS and "%" not in given:
            raise ValueError(
                f"a time format has directives such as %Y-%m-%d, or is one of s, ms, us, ns, got {given!r}"
            )
        self.given = given
        self.order: str | None = None
        self.unit = given if given in _UNITS else None
        self.numeric = False
        self._compact: bool | None = None  # whether whole numbers are dates such as 20260131
        self._known: list[str] = [given] if given is not None and given not in _UNITS else []
        # for each order of day and month, the seconds of the last ambiguous cell; and the orders in which time went
        # back
        self._last: dict[str, float] = {}
        self._back: set[str] = set()

    def look(self, cells: Iterable[str]) -> bool:
        """Read cells to recognise the format. Returns True if the order of day and month is known or does not matter.

        Cells that are not dates are ignored here; `seconds` raises an error for them.
        """
        if self.given is not None or self.order is not None:
            return True
        open_ = bool(self._last)
        for cell in cells:
            forms = forms_of(cell)
            if not any(form.order for form in forms):
                if forms and not open_:
                    return True  # the column has another format
                continue
            if len(forms) == 1:
                self.order = forms[0].order
                return True
            open_ = True
            for form in forms:
                stamp = _parsed(cell, form.format)
                assert stamp is not None
                assert form.order is not None
                now = _seconds(stamp)
                # a step back of an hour can be a clock that was set back
                if now < self._last.get(form.order, now) - 3600.0:
                    self._back.add(form.order)
                self._last[form.order] = now
        return not open_

    def settle(self, cell: str) -> None:
        """Determine the order of day and month from the order of the rows. Called if no more cells can be read before
        the first result.

        Raises
        ------
        AmbiguousDates
            If the order of the rows does not decide.
        """
        if self.order is None and self._last:
            possible = [order for order in ORDERS if order not in self._back]
            if len(possible) != 1:
                choice = " or ".join(f"--time-format '{form.format}'" for form in forms_of(cell))
                raise AmbiguousDates(
                    f"{cell!r} may have the day or the month first, and no cell decides: give {choice}"
                )
            self.order = possible[0]

    def seconds_of(self, cell: str) -> float:
        """Seconds since 1970 of one cell.

        Raises
        ------
        CellError
            If the cell is not a time stamp. It is an AmbiguousDates if the order of day and month is unknown.
        """
        return float(self.seconds([cell])[0])

    def seconds(self, cells: Sequence[str]) -> Floats:
        """Seconds since 1970 of cells, shape ``(n,)``.

        Raises
        ------
        CellError
            For the first cell that is not a time stamp; ``error.row`` is its position.
        """
        if self.given is None or self.given in _UNITS:
            numbers = _as_numbers(cells)
            if numbers is not None:
                out = self._of_numbers(cells, numbers)
                self.numeric = not self._compact
                return out
        if self.given in _UNITS:
            row = next(i for i, cell in enumerate(cells) if _as_numbers([cell]) is None)
            raise _at(row, cells[row], f"is not a number of {self.given} since 1970")
        self.numeric = False
        return self._of_texts(cells)

    def _of_numbers(self, cells: Sequence[str], numbers: Floats) -> Floats:
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise _at(row, cells[row], not_a_date(cells[row]))
        if self.unit is None and self._compact is None:
            self._compact = all(
                re.fullmatch(r"(19|20)\d{6}", cell.strip()) and _parsed(cell, "%Y%m%d") for cell in cells
            )
            # numbers from 10**11 on are not seconds, because as seconds they would be later than the year 5138
            size = float(np.abs(numbers).max(initial=0.0))
            self.unit = "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"
        if self._compact:
            return self._texts(list(cells), "%Y%m%d")
        return numbers * _UNITS[self.unit or "s"]

    def _of_texts(self, cells: Sequence[str]) -> Floats:
        import pandas as pd

        if self.given is None:
            column = pd.Series(cells, dtype="str").str.strip()
            stamps = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
            # ISO 8601 also allows a year or a month without a day, which are not time stamps here
            stamps = stamps.where(column.str.contains(r"^\d{4}-?\d{2}-?\d{2}", regex=True).to_numpy(), pd.NaT)
        else:
            stamps = pd.Series(pd.NaT, index=range(len(cells)), dtype="datetime64[us, UTC]")
        out = _to_seconds(stamps)
        tried = 0
        left = np.flatnonzero(np.isnan(out))
        while len(left):
            row = int(left[0])
            form = self._form(cells[row]) if self.given is None else self.given
            if form is None or tried == MANY:
                raise _at(row, cells[row], not_a_date(cells[row]))
            out[left] = self._texts([cells[i] for i in left.tolist()], form)
            if np.isnan(out[row]):
                told = f"is not written as --time-format {self.given}" if self.given else not_a_date(cells[row])
                raise _at(row, cells[row], told)
            left, tried = np.flatnonzero(np.isnan(out)), tried + 1
        return out

    def _form(self, cell: str) -> str | None:
        forms = forms_of(cell)
        if any(form.order for form in forms) and self.order is None:
            self.look([cell])
            self.settle(cell)
        for form in forms:
            if form.order in (None, self.order):
                return form.format
        return None

    def _texts(self, cells: list[str], form: str) -> Floats:
        import pandas as pd

        column = pd.Series(cells, dtype="str").str.strip()
        try:
            return _to_seconds(pd.to_datetime(column, format=form, errors="coerce", utc=True))
        except ValueError as error:
            raise ValueError(f"the time format {form!r} cannot be used: {error}") from error


def _to_seconds(stamps: Any) -> Floats:
    micro = stamps.astype("datetime64[us, UTC]")
    out: Floats = micro.astype("int64").to_numpy() / 1e6 if len(micro) else np.empty(0)
    out[micro.isna().to_numpy()] = np.nan
    return out


def _as_numbers(cells: Sequence[str]) -> Floats | None:
    """The cells as numbers, with NaN for missing values; None if one is not a number."""
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        pass
    try:
        return np.array([np.nan if is_missing(cell) else float(cell) for cell in cells])
    except ValueError:
        return None


def _at(row: int, cell: str, told: str) -> CellError:
    return CellError(f"{cell!r} {told}", row)
